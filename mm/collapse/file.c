// SPDX-License-Identifier: GPL-2.0
/*
 * The collapse of a range of a file: of shmem, or of a file that nobody may write to.
 *
 *	state		the tree has		the folios there	taken back by
 *	ALLOCATED	room for all indices	-			freeing the new one
 *	GATHERED	.			locked, referenced,	unlocking them; holes
 *						mapped by nobody	are not paid for
 *	FENCED		.			.			counting out the new one
 *	COPIED		.			.			.
 *	PLUGGED		no holes, but		.			holes again
 *			XA_RETRY_ENTRY
 *	EXCHANGED	the huge page		freed			-
 *
 * Who looks an index up meanwhile finds the old folio, and waits for its lock; or nothing, or
 * XA_RETRY_ENTRY, and tries again. The huge page is in the tree only when all of it is right.
 *
 * The folios stay on their LRU lists, for the reasons given in take.c.
 */
#include <linux/dax.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>
#include <linux/userfaultfd_k.h>
#include <linux/vmstat.h>

#include "../internal.h"
#include "collapse.h"

#include <trace/events/huge_memory.h>

enum file_state {
	FILE_ALLOCATED,
	FILE_GATHERED,
	FILE_FENCED,
	FILE_COPIED,
	FILE_PLUGGED,
	FILE_EXCHANGED,
};

/**
 * struct file_collapse - of one range
 * @by: who wants it; @by->folios has the old ones
 * @file: the file
 * @mapping: its page cache
 * @first: the first index
 * @next: the index that is being dealt with
 * @state: how far it is
 * @folio: the huge page, locked
 * @nr: old folios
 * @holes: indices without one
 * @complete: all of it was there a moment ago
 * @shmem: it is a file of shmem, which may have holes, and is never written back
 */
struct file_collapse {
	struct collapse_by *by;
	struct file *file;
	struct address_space *mapping;
	pgoff_t first;
	pgoff_t next;
	enum file_state state;
	struct folio *folio;
	unsigned int nr;
	unsigned int holes;
	bool complete;
	bool shmem;
};

static void file_to(struct file_collapse *c, enum file_state state)
{
	VM_WARN_ON_ONCE(state <= c->state);
	c->state = state;
}

static pgoff_t file_end(const struct file_collapse *c)
{
	return c->first + HPAGE_PMD_NR;
}

/* --- the huge page ---------------------------------------------------------------------- */

static void file_prepare(struct file_collapse *c)
{
	__folio_set_locked(c->folio);
	if (c->shmem)
		__folio_set_swapbacked(c->folio);
	c->folio->index = c->first;
	c->folio->mapping = c->mapping;
}

/* So that to store something in the tree cannot fail later. */
static enum scan_result file_reserve(struct file_collapse *c)
{
	XA_STATE_ORDER(xas, &c->mapping->i_pages, c->first, HPAGE_PMD_ORDER);

	mapping_set_update(&xas, c->mapping);
	do {
		xas_lock_irq(&xas);
		xas_create_range(&xas);
		xas_unlock_irq(&xas);
	} while (xas_nomem(&xas, GFP_KERNEL));
	return xas_error(&xas) ? SCAN_FAIL : SCAN_SUCCEED;
}

/* --- the fence -------------------------------------------------------------------------- */

/* A file whose file system knows of no huge pages. Shmem does, and so do some file systems. */
static bool file_needs_fence(const struct file_collapse *c)
{
	return !c->shmem && !mapping_large_folio_support(c->mapping);
}

static bool file_is_clean(const struct file_collapse *c)
{
	return !mapping_tagged(c->mapping, PAGECACHE_TAG_DIRTY) &&
	       !mapping_tagged(c->mapping, PAGECACHE_TAG_WRITEBACK);
}

/* khugepaged does not wait for disks to write; it comes by again. */
static enum scan_result file_write_out(struct file_collapse *c)
{
	if (!file_needs_fence(c) || file_is_clean(c))
		return SCAN_SUCCEED;
	if (!c->by->khugepaged)
		return filemap_write_and_wait(c->mapping) ? SCAN_FAIL : SCAN_SUCCEED;
	filemap_flush(c->mapping);
	return SCAN_FAIL;
}

/* What is missing of a file is read. */
static enum scan_result file_read_in(struct file_collapse *c)
{
	pgoff_t index, next;
	struct folio *folio;

	for (index = c->first; index < file_end(c); index = next) {
		folio = filemap_get_folio(c->mapping, index);
		if (IS_ERR(folio)) {
			page_cache_sync_readahead(c->mapping, &c->file->f_ra, c->file, index,
						  file_end(c) - index);
			lru_add_drain();
			folio = filemap_get_folio(c->mapping, index);
		}
		if (IS_ERR(folio))
			return SCAN_FAIL;
		/* Until it is there. */
		folio_wait_locked(folio);
		next = folio_next_index(folio);
		folio_put(folio);
	}
	return SCAN_SUCCEED;
}

/* Before any folio is locked: who reads or writes locks folios, and the mapping. */
static enum scan_result file_ready(struct file_collapse *c)
{
	enum scan_result result = file_write_out(c);

	return result == SCAN_SUCCEED && !c->shmem && !c->complete ? file_read_in(c) : result;
}

/* What a writer that is gone has left dirty: not in the range, which is locked and clean. */
static bool file_write_rest(struct file_collapse *c)
{
	loff_t start = (loff_t)c->first << PAGE_SHIFT;

	if (file_is_clean(c))
		return true;
	return (!start || !filemap_write_and_wait_range(c->mapping, 0, start - 1)) &&
	       !filemap_write_and_wait_range(c->mapping, start + HPAGE_PMD_SIZE, LLONG_MAX);
}

static bool file_has_no_writer(struct file_collapse *c)
{
	if (inode_is_open_for_write(c->mapping->host))
		return false;
	filemap_nr_thps_inc(c->mapping);
	/* With the one of get_write_access() in do_dentry_open(). */
	smp_mb();
	if (!inode_is_open_for_write(c->mapping->host) && file_write_rest(c))
		return true;
	filemap_nr_thps_dec(c->mapping);
	return false;
}

/*
 * Who opens such a file for writing throws its page cache away, if it sees that there is a huge
 * page: so nothing in it may be dirty. The huge page is counted, and then it is looked whether
 * somebody has the file open: of the two, one sees the other. From here on who comes waits for the
 * folios' locks. The lock of the mapping keeps those away who are about to throw away; they wait
 * for folios with it held, so it is not waited for.
 */
static enum scan_result file_fence(struct file_collapse *c)
{
	bool alone = true;

	if (file_needs_fence(c)) {
		if (!filemap_invalidate_trylock_shared(c->mapping))
			return SCAN_FAIL;
		alone = file_has_no_writer(c);
		filemap_invalidate_unlock_shared(c->mapping);
	}
	if (!alone)
		return SCAN_FAIL;
	file_to(c, FILE_FENCED);
	return SCAN_SUCCEED;
}

static void file_unfence(struct file_collapse *c)
{
	if (!file_needs_fence(c))
		return;
	filemap_nr_thps_dec(c->mapping);
	/* As when it is counted: who opens the file next sees that it is not there. */
	smp_mb();
}

/* --- the old folios --------------------------------------------------------------------- */

/* Is there anything from an index on? If not, the range was truncated. */
static bool file_has_more(struct file_collapse *c)
{
	unsigned long index = c->next;

	return xa_find(&c->mapping->i_pages, &index, file_end(c) - 1, XA_PRESENT);
}

/* From swap, or what fallocate() has not yet filled; @folio NULL: a hole. */
static enum scan_result shmem_folio(struct file_collapse *c, struct folio **folio)
{
	void *entry = xa_load(&c->mapping->i_pages, c->next);

	if (!entry) {
		*folio = NULL;
		if (c->next == c->first && !file_has_more(c))
			return SCAN_TRUNCATED;
		return SCAN_SUCCEED;
	}
	if (!xa_is_value(entry)) {
		*folio = __filemap_get_folio(c->mapping, c->next, FGP_LOCK | FGP_NOWAIT, 0);
		if (IS_ERR(*folio))
			return SCAN_PAGE_LOCK;
		if (folio_test_uptodate(*folio))
			return SCAN_SUCCEED;
		folio_unlock(*folio);
		folio_put(*folio);
	}
	if (shmem_get_folio(c->mapping->host, c->next, 0, folio, SGP_NOALLOC))
		return SCAN_FAIL;
	/* What waits for its place on a list has a reference more. */
	lru_add_drain();
	return SCAN_SUCCEED;
}

/* What is dirty is so from before the file was opened for reading only: the next time it is not. */
static enum scan_result file_clean(struct file_collapse *c, struct folio *folio)
{
	bool dirty = folio_test_dirty(folio);

	if (!dirty && !folio_test_writeback(folio))
		return SCAN_SUCCEED;
	folio_unlock(folio);
	folio_put(folio);
	if (dirty)
		filemap_flush(c->mapping);
	return SCAN_FAIL;
}

static enum scan_result file_folio(struct file_collapse *c, struct folio **folio)
{
	*folio = __filemap_get_folio(c->mapping, c->next, FGP_LOCK | FGP_NOWAIT, 0);
	if (!IS_ERR(*folio))
		return file_clean(c, *folio);
	return PTR_ERR(*folio) == -EAGAIN ? SCAN_PAGE_LOCK : SCAN_FAIL;
}

/* May it be replaced? It is locked, so it stays in the page cache. */
static enum scan_result file_check(struct file_collapse *c, struct folio *folio)
{
	if (unlikely(!folio_test_uptodate(folio)))
		return SCAN_FAIL;
	/* Truncated and written again, it may have become the huge page. */
	if (folio_order(folio) == HPAGE_PMD_ORDER && folio->index == c->first)
		return SCAN_PTE_MAPPED_HUGEPAGE;
	if (folio_mapping(folio) != c->mapping)
		return SCAN_TRUNCATED;
	if (!folio_test_lru(folio))
		return SCAN_DEL_PAGE_LRU;
	if (!filemap_release_folio(folio, GFP_KERNEL))
		return SCAN_PAGE_HAS_PRIVATE;
	return SCAN_SUCCEED;
}

static void file_add(struct file_collapse *c, struct folio *folio)
{
	c->by->folios[c->nr++] = folio;
	c->next = folio_next_index(folio);
}

/* What file_check() asks, and that it is clean, of a small folio: without a call. */
static bool folio_is_plain(const struct file_collapse *c, const struct folio *folio)
{
	const unsigned long care = BIT(PG_uptodate) | BIT(PG_lru) | BIT(PG_head) |
				   BIT(PG_private) | BIT(PG_private_2) | BIT(PG_writeback) |
				   BIT(PG_swapcache) | (c->shmem ? 0 : BIT(PG_dirty));

	return (folio->flags & care) == (BIT(PG_uptodate) | BIT(PG_lru)) &&
	       folio->mapping == c->mapping;
}

/* Locked and referenced; or NULL, if it is gone or may have to be waited for. */
static struct folio *lock_plain(struct file_collapse *c, struct xa_state *xas,
				struct folio *folio)
{
	if (xas_retry(xas, folio) || xa_is_value(folio) || !folio_try_get(folio))
		return NULL;
	if (folio == xas_reload(xas) && folio_trylock(folio)) {
		if (folio_is_plain(c, folio) && folio->index == c->next)
			return folio;
		folio_unlock(folio);
	}
	folio_put(folio);
	return NULL;
}

/* The next folios, until there is something that takes more than a look. */
static void gather_plain(struct file_collapse *c)
{
	XA_STATE(xas, &c->mapping->i_pages, c->next);
	struct folio *folio;

	rcu_read_lock();
	xas_for_each(&xas, folio, file_end(c) - 1) {
		folio = lock_plain(c, &xas, folio);
		if (!folio)
			break;
		file_add(c, folio);
	}
	rcu_read_unlock();
}

static enum scan_result gather_one(struct file_collapse *c)
{
	struct folio *folio;
	enum scan_result result = c->shmem ? shmem_folio(c, &folio) : file_folio(c, &folio);

	if (result != SCAN_SUCCEED)
		return result;
	if (!folio) {
		c->holes++;
		c->next++;
		return SCAN_SUCCEED;
	}
	result = file_check(c, folio);
	if (result == SCAN_SUCCEED) {
		file_add(c, folio);
	} else {
		folio_unlock(folio);
		folio_put(folio);
	}
	return result;
}

/*
 * Nobody maps them, and nobody has a reference but the page cache and this. Who has none by now can
 * get one by looking a folio up only, and then needs the lock to do something with it.
 */
static bool file_is_ours(const struct file_collapse *c)
{
	unsigned int i;

	for (i = 0; i < c->nr; i++) {
		struct folio *folio = c->by->folios[i];

		if (folio_ref_count(folio) != 1 + folio_nr_pages(folio) || folio_mapped(folio))
			return false;
	}
	return true;
}

/*
 * All mappings of the range at once: private copies stay, and so do notes of what userfaultfd
 * protects. As the folios are locked, no new ones come. TLBs are flushed when it returns: nobody
 * writes by an old entry while the copy is made.
 */
static void file_unmap(struct file_collapse *c)
{
	struct zap_details shared_only = {};
	struct vm_area_struct *vma;

	i_mmap_lock_read(c->mapping);
	vma_interval_tree_foreach(vma, &c->mapping->i_mmap, c->first, file_end(c) - 1) {
		pgoff_t first = max(c->first, vma->vm_pgoff);
		pgoff_t end = min(file_end(c), vma->vm_pgoff + vma_pages(vma));

		zap_page_range_single(vma, vma->vm_start + ((first - vma->vm_pgoff) << PAGE_SHIFT),
				      (end - first) << PAGE_SHIFT, &shared_only);
	}
	i_mmap_unlock_read(c->mapping);
}

static enum scan_result file_gather(struct file_collapse *c)
{
	enum scan_result result;

	while (c->next < file_end(c)) {
		gather_plain(c);
		cond_resched();
		if (c->next == file_end(c))
			break;
		result = gather_one(c);
		if (result != SCAN_SUCCEED)
			return result;
	}
	/* All was taken away meanwhile. */
	if (!c->nr)
		return SCAN_TRUNCATED;
	if (mapping_mapped(c->mapping))
		file_unmap(c);
	if (!file_is_ours(c))
		return SCAN_PAGE_COUNT;
	if (c->shmem && c->holes && !shmem_charge(c->mapping->host, c->holes))
		return SCAN_FAIL;
	file_to(c, FILE_GATHERED);
	return SCAN_SUCCEED;
}

static void file_ungather(struct file_collapse *c)
{
	if (!c->shmem || !c->holes)
		return;
	xa_lock_irq(&c->mapping->i_pages);
	c->mapping->nrpages -= c->holes;
	xa_unlock_irq(&c->mapping->i_pages);
	shmem_uncharge(c->mapping->host, c->holes);
}

/* --- the contents ----------------------------------------------------------------------- */

static struct page *file_clear(struct page *to, unsigned long nr)
{
	for (; nr; nr--, to++)
		clear_highpage(to);
	return to;
}

static enum scan_result file_copy(struct file_collapse *c)
{
	struct page *to = folio_page(c->folio, 0);
	pgoff_t index = c->first;
	unsigned int i;
	long k;

	for (i = 0; i < c->nr; i++) {
		struct folio *folio = c->by->folios[i];

		to = file_clear(to, folio->index - index);
		for (k = 0; k < folio_nr_pages(folio); k++, to++)
			if (copy_mc_highpage(to, folio_page(folio, k)))
				return SCAN_COPY_MC;
		index = folio_next_index(folio);
		cond_resched();
	}
	file_clear(to, file_end(c) - index);
	file_to(c, FILE_COPIED);
	return SCAN_SUCCEED;
}

/* --- the exchange ----------------------------------------------------------------------- */

static void file_unplug(struct xa_state *xas, const struct file_collapse *c)
{
	pgoff_t index;

	xas_set(xas, c->first);
	for (index = c->first; index < file_end(c); index++)
		if (xas_next(xas) == XA_RETRY_ENTRY)
			xas_store(xas, NULL);
}

/* Does a program wait to be told of pages that are missing? It would not be told any more. */
static bool file_is_watched(const struct file_collapse *c)
{
	struct vm_area_struct *vma;

	vma_interval_tree_foreach(vma, &c->mapping->i_mmap, c->first, file_end(c))
		if (userfaultfd_missing(vma))
			return true;
	return false;
}

static enum scan_result plug_holes(struct xa_state *xas, const struct file_collapse *c)
{
	unsigned int holes = 0;
	pgoff_t index;

	xas_set(xas, c->first);
	for (index = c->first; index < file_end(c); index++) {
		if (xas_next(xas))
			continue;
		xas_store(xas, XA_RETRY_ENTRY);
		if (xas_error(xas))
			return SCAN_STORE_FAILED;
		holes++;
	}
	/* Somebody has filled one. */
	if (holes != c->holes)
		return SCAN_PAGE_FILLED;
	/* Who begins to watch later sees no hole. */
	return file_is_watched(c) ? SCAN_EXCEED_NONE_PTE : SCAN_SUCCEED;
}

/* Nobody fills holes from here on. The tree is locked on success. */
static enum scan_result file_plug(struct xa_state *xas, struct file_collapse *c)
{
	enum scan_result result = SCAN_SUCCEED;

	if (!c->holes) {
		xas_lock_irq(xas);
	} else {
		i_mmap_lock_read(c->mapping);
		xas_lock_irq(xas);
		result = plug_holes(xas, c);
		i_mmap_unlock_read(c->mapping);
	}
	if (result != SCAN_SUCCEED) {
		file_unplug(xas, c);
		xas_unlock_irq(xas);
		return result;
	}
	file_to(c, FILE_PLUGGED);
	return SCAN_SUCCEED;
}

static void count_out(const struct file_collapse *c, struct folio *of, long nr)
{
	__lruvec_stat_mod_folio(of, NR_FILE_PAGES, -nr);
	if (c->shmem)
		__lruvec_stat_mod_folio(of, NR_SHMEM, -nr);
}

/* Old and new may lie on other nodes, and be other cgroups'; mostly many old ones are alike. */
static void file_account(struct file_collapse *c)
{
	struct folio *of = NULL;
	unsigned int i;
	long nr = 0;

	for (i = 0; i < c->nr; i++) {
		struct folio *old = c->by->folios[i];

		if (of && (folio_memcg(of) != folio_memcg(old) ||
			   folio_nid(of) != folio_nid(old))) {
			count_out(c, of, nr);
			nr = 0;
		}
		of = old;
		nr += folio_nr_pages(old);
	}
	count_out(c, of, nr);
	__lruvec_stat_mod_folio(c->folio, NR_FILE_PAGES, HPAGE_PMD_NR);
	if (c->shmem)
		__lruvec_stat_mod_folio(c->folio, NR_SHMEM, HPAGE_PMD_NR);
	__lruvec_stat_mod_folio(c->folio, c->shmem ? NR_SHMEM_THPS : NR_FILE_THPS, HPAGE_PMD_NR);
}

static enum scan_result file_exchange(struct file_collapse *c)
{
	XA_STATE(xas, &c->mapping->i_pages, c->first);
	enum scan_result result;

	mapping_set_update(&xas, c->mapping);
	result = file_plug(&xas, c);
	if (result != SCAN_SUCCEED)
		return result;
	file_account(c);
	/* Before it can be found: what is not up to date would be taken for not yet written. */
	folio_mark_uptodate(c->folio);
	folio_ref_add(c->folio, HPAGE_PMD_NR - 1);
	if (c->shmem)
		folio_mark_dirty(c->folio);
	xas_set_order(&xas, c->first, HPAGE_PMD_ORDER);
	xas_store(&xas, c->folio);
	WARN_ON_ONCE(xas_error(&xas));
	xas_unlock_irq(&xas);
	folio_add_lru(c->folio);
	file_to(c, FILE_EXCHANGED);
	return SCAN_SUCCEED;
}

/* --- afterwards ------------------------------------------------------------------------- */

/* Ours, and those of the page cache, where they are no more. */
static void file_drop_old(struct file_collapse *c)
{
	unsigned int refs[PAGEVEC_SIZE], i;
	struct folio_batch batch;

	folio_batch_init(&batch);
	for (i = 0; i < c->nr; i++) {
		struct folio *folio = c->by->folios[i];

		folio->mapping = NULL;
		folio_unlock(folio);
		refs[folio_batch_count(&batch)] = 1 + folio_nr_pages(folio);
		if (!folio_batch_add(&batch, folio))
			folios_put_refs(&batch, refs);
	}
	if (folio_batch_count(&batch))
		folios_put_refs(&batch, refs);
}

static void file_undo(struct file_collapse *c)
{
	unsigned int i;

	if (c->state >= FILE_FENCED)
		file_unfence(c);
	if (c->state >= FILE_GATHERED)
		file_ungather(c);
	for (i = 0; i < c->nr; i++) {
		folio_unlock(c->by->folios[i]);
		folio_put(c->by->folios[i]);
	}
	c->folio->mapping = NULL;
	folio_unlock(c->folio);
	folio_put(c->folio);
}

static enum scan_result file_steps(struct file_collapse *c)
{
	enum scan_result result = file_reserve(c);

	if (result == SCAN_SUCCEED)
		result = file_ready(c);
	if (result == SCAN_SUCCEED)
		result = file_gather(c);
	if (result == SCAN_SUCCEED)
		result = file_fence(c);
	if (result == SCAN_SUCCEED)
		result = file_copy(c);
	if (result == SCAN_SUCCEED)
		result = file_exchange(c);
	return result;
}

/**
 * collapse_file - put a huge page into the page cache, in the place of what is there
 * @by: who wants it
 * @mm: who pays for it
 * @addr: where it is mapped there, for traces
 * @file: the file, of shmem or read only
 * @first: the first index, aligned
 * @complete: all of it is in the page cache
 *
 * Page tables that map nothing of it any more are freed, so that the next fault maps it as one.
 *
 * Context: sleeps; no lock is held.
 * Return: SCAN_SUCCEED, or for MADV_COLLAPSE SCAN_PTE_MAPPED_HUGEPAGE, as it has yet to be mapped;
 * or what went wrong, with the page cache as it was.
 */
enum scan_result collapse_file(struct collapse_by *by, struct mm_struct *mm, unsigned long addr,
			       struct file *file, pgoff_t first, bool complete)
{
	struct file_collapse c = {
		.by = by, .file = file, .mapping = file->f_mapping, .first = first, .next = first,
		.complete = complete, .shmem = shmem_file(file),
	};
	unsigned long pfn = -1;
	enum scan_result result;

	result = collapse_alloc(by, mm, &c.folio);
	if (result != SCAN_SUCCEED)
		goto out;
	pfn = folio_pfn(c.folio);
	file_prepare(&c);
	result = file_steps(&c);
	if (result == SCAN_SUCCEED) {
		collapse_retract_tables(c.mapping, first);
		if (!by->khugepaged)
			result = SCAN_PTE_MAPPED_HUGEPAGE;
		folio_unlock(c.folio);
		file_drop_old(&c);
	} else {
		file_undo(&c);
	}
out:
	trace_mm_khugepaged_collapse_file(mm, pfn, c.next, addr, c.shmem, file, HPAGE_PMD_NR,
					  result);
	return result;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * The folios of a range of a file: found, read from swap, locked, and unmapped everywhere.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>

#include "../internal.h"
#include "file.h"

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

/**
 * collapse_file_gather - lock all folios of the range, and take their mappings away
 * @c: the collapse, ALLOCATED; @c->by->folios and @c->nr say what was locked
 *
 * Context: sleeps.
 * Return: SCAN_SUCCEED; or why not, and then what was locked is still to be let go of.
 */
enum scan_result collapse_file_gather(struct file_collapse *c)
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

/**
 * collapse_file_ungather - do not pay for holes
 * @c: the collapse, GATHERED
 */
void collapse_file_ungather(struct file_collapse *c)
{
	if (!c->shmem || !c->holes)
		return;
	xa_lock_irq(&c->mapping->i_pages);
	c->mapping->nrpages -= c->holes;
	xa_unlock_irq(&c->mapping->i_pages);
	shmem_uncharge(c->mapping->host, c->holes);
}

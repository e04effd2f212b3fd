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
#include "file.h"

#include <trace/events/huge_memory.h>

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
		collapse_file_unfence(c);
	if (c->state >= FILE_GATHERED)
		collapse_file_ungather(c);
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
		result = collapse_file_ready(c);
	if (result == SCAN_SUCCEED)
		result = collapse_file_gather(c);
	if (result == SCAN_SUCCEED)
		result = collapse_file_fence(c);
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

	result = collapse_alloc(by, mm, HPAGE_PMD_ORDER, &c.folio);
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

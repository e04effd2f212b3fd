// SPDX-License-Identifier: GPL-2.0
/*
 * Is a range of a file worth a huge page?
 *
 *	in the page cache	khugepaged		MADV_COLLAPSE
 *	nothing			up to max_ptes_none	yes
 *	swapped out (shmem)	up to max_ptes_swap	yes
 *	a folio			yes			yes
 *	the huge page itself	mapped by entries, it may be
 *	pinned, isolated	never			never
 *
 * Of the pages of a file nobody knows here whether they were used lately.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rcupdate_wait.h>
#include <linux/shmem_fs.h>
#include <linux/vmstat.h>

#include "../internal.h"
#include "collapse.h"

#include <trace/events/huge_memory.h>

#ifdef CONFIG_SHMEM
/**
 * struct file_scan - what there is of a range
 * @by: who wants the huge page
 * @first: the first index
 * @present: pages in folios
 * @swapped: pages in swap
 * @bad: frame of the folio that was the end of it, for traces
 */
struct file_scan {
	struct collapse_by *by;
	pgoff_t first;
	int present;
	int swapped;
	unsigned long bad;
};

static enum scan_result scan_swapped(struct file_scan *s, int nr)
{
	s->swapped += nr;
	if (!s->by->khugepaged || s->swapped <= READ_ONCE(collapse_settings.max_ptes_swap))
		return SCAN_SUCCEED;
	count_vm_event(THP_SCAN_EXCEED_SWAP_PTE);
	return SCAN_EXCEED_SWAP_PTE;
}

static enum scan_result scan_folio(struct file_scan *s, struct folio *folio)
{
	long nr = folio_nr_pages(folio);

	s->bad = folio_pfn(folio);
	if (folio_order(folio) == HPAGE_PMD_ORDER && folio->index == s->first)
		return SCAN_PTE_MAPPED_HUGEPAGE;
	if (!collapse_node_add(s->by, folio_nid(folio), nr))
		return SCAN_SCAN_ABORT;
	if (!folio_test_lru(folio))
		return SCAN_PAGE_LRU;
	if (!collapse_folio_is_ours(folio))
		return SCAN_PAGE_COUNT;
	s->present += nr;
	s->bad = -1;
	return SCAN_SUCCEED;
}

/*
 * Folios are not locked and not referenced: RCU keeps their memory from becoming something else
 * than pages, and nothing is followed from them. One that was freed meanwhile gives a wrong
 * answer, which the collapse finds out.
 */
static enum scan_result scan_mapping(struct file_scan *s, struct address_space *mapping)
{
	XA_STATE(xas, &mapping->i_pages, s->first);
	enum scan_result result = SCAN_SUCCEED;
	struct folio *folio;

	rcu_read_lock();
	xas_for_each(&xas, folio, s->first + HPAGE_PMD_NR - 1) {
		if (xas_retry(&xas, folio))
			continue;
		if (xa_is_value(folio))
			result = scan_swapped(s, 1 << xas_get_order(&xas));
		else
			result = scan_folio(s, folio);
		if (result != SCAN_SUCCEED)
			break;
		if (need_resched()) {
			xas_pause(&xas);
			cond_resched_rcu();
		}
	}
	rcu_read_unlock();
	return result;
}

/**
 * collapse_file_scan - make a huge page of a range of a file, if it is worth while
 * @by: who wants it
 * @mm: for whom
 * @addr: where it is mapped
 * @file: the file, of shmem or read only
 * @first: the first index, aligned
 *
 * Context: sleeps; no lock is held.
 * Return: SCAN_SUCCEED; SCAN_PTE_MAPPED_HUGEPAGE if there is one, that may have to be mapped; or
 * what is wrong.
 */
enum scan_result collapse_file_scan(struct collapse_by *by, struct mm_struct *mm,
				    unsigned long addr, struct file *file, pgoff_t first)
{
	struct file_scan s = { .by = by, .first = first, .bad = -1 };
	enum scan_result result;

	collapse_nodes_clear(by);
	result = scan_mapping(&s, file->f_mapping);
	if (result == SCAN_SUCCEED && by->khugepaged &&
	    s.present < HPAGE_PMD_NR - READ_ONCE(khugepaged_max_ptes_none)) {
		count_vm_event(THP_SCAN_EXCEED_NONE_PTE);
		result = SCAN_EXCEED_NONE_PTE;
	}
	if (result == SCAN_SUCCEED)
		result = collapse_file(by, mm, addr, file, first, s.present == HPAGE_PMD_NR);
	trace_mm_khugepaged_scan_file(mm, s.bad, file, s.present, s.swapped, result);
	return result;
}
#else
enum scan_result collapse_file_scan(struct collapse_by *by, struct mm_struct *mm,
				    unsigned long addr, struct file *file, pgoff_t first)
{
	return SCAN_FAIL;
}
#endif

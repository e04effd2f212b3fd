// SPDX-License-Identifier: GPL-2.0
/*
 * Is a page table of anonymous memory worth a huge page?
 *
 *	entry			khugepaged		MADV_COLLAPSE	a VMA of userfaultfd
 *	none, zero page		up to max_ptes_none	yes		never
 *	the same, where the	never			yes		never
 *	program gave pages
 *	back; lazily freed
 *	swapped out, and	up to max_ptes_swap	yes		as without
 *	what stands for it
 *	protected for uffd	-			-		if all are, and it is
 *								done asynchronously
 *	page, ours		yes			yes		yes
 *	page, likely shared	up to max_ptes_shared	yes		yes
 *	page with a pin, or	never			never		never
 *	locked, isolated
 *	special, of a device	never			never		never
 *
 * and one of them at least must be writable, or exclusive where the VMA is writable, or a huge
 * page would have to be copied as soon as somebody writes; and for khugepaged one must have been
 * used lately, half of them if some have to come back from swap.
 *
 * The table is judged twice, by the same function: with mmap_lock held for reading, when it may
 * change the next moment; and detached, when it cannot. The second time pages are locked as well,
 * and what is not present is not there.
 */
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/page_idle.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/userfaultfd_k.h>
#include <linux/vmstat.h>

#include "../internal.h"
#include "../pte/run.h"
#include "collapse.h"

/* The header wants the names of enum scan_result. */
#define CREATE_TRACE_POINTS
#include <trace/events/huge_memory.h>

#if defined(CONFIG_PAGE_IDLE_FLAG) && defined(CONFIG_64BIT)
#define IDLE_FLAGS	BIT(PG_young)
#else
#define IDLE_FLAGS	0
#endif
/* Pages that differ in none of these are on one node. */
#define PLACE_FLAGS	(ZONEID_MASK << ZONEID_PGSHIFT)

static bool detached(const struct collapse *c)
{
	return c->state >= COLLAPSE_DETACHED;
}

/* What khugepaged may take of something; others may take it all. */
static bool exceeds(const struct collapse *c, unsigned int nr, const unsigned int *limit,
		    enum vm_event_item event)
{
	if (!c->by->khugepaged || nr <= READ_ONCE(*limit))
		return false;
	count_vm_event(event);
	return true;
}

static const unsigned int *none_limit(const struct collapse *c)
{
	static const unsigned int no_hole;

	return c->given_back ? &no_hole : &khugepaged_max_ptes_none;
}

static enum scan_result judge_empty(struct collapse *c)
{
	c->count.none++;
	if (userfaultfd_armed(c->vma)) {
		count_vm_event(THP_SCAN_EXCEED_NONE_PTE);
		return SCAN_EXCEED_NONE_PTE;
	}
	return exceeds(c, c->count.none, none_limit(c), THP_SCAN_EXCEED_NONE_PTE) ?
	       SCAN_EXCEED_NONE_PTE : SCAN_SUCCEED;
}

/* Given back, and not taken again since: nearly nothing. */
static bool is_lazily_freed(pte_t pte, struct folio *folio)
{
	return folio_test_anon(folio) && !folio_test_swapbacked(folio) && !pte_dirty(pte) &&
	       !folio_test_dirty(folio);
}

static enum scan_result judge_not_present(struct collapse *c, pte_t pte)
{
	if (detached(c))
		return SCAN_PTE_NON_PRESENT;
	c->count.swapped++;
	if (exceeds(c, c->count.swapped, &collapse_settings.max_ptes_swap,
		    THP_SCAN_EXCEED_SWAP_PTE))
		return SCAN_EXCEED_SWAP_PTE;
	return pte_swp_uffd_wp_any(pte) ? SCAN_PTE_UFFD_WP : SCAN_SUCCEED;
}

/* Of a run, how many entries were used? A folio that was is so as a whole. */
static unsigned int run_referenced(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep,
				   unsigned long nr, struct folio *folio)
{
	unsigned int referenced = 0;
	unsigned long i;

	if (folio_test_young(folio) || folio_test_referenced(folio))
		return nr;
	for (i = 0; i < nr; i++)
		referenced += pte_young(ptep_get(ptep + i)) ||
			      mmu_notifier_test_young(vma->vm_mm, addr + i * PAGE_SIZE);
	return referenced;
}

/* What is asked only as long as the folio may be anybody's. */
static enum scan_result judge_folio(struct collapse *c, struct folio *folio, unsigned long nr)
{
	if (!folio_test_anon(folio))
		return SCAN_PAGE_ANON;
	if (!collapse_node_add(c->by, folio_nid(folio), nr))
		return SCAN_SCAN_ABORT;
	if (!folio_test_lru(folio))
		return SCAN_PAGE_LRU;
	if (folio_test_locked(folio))
		return SCAN_PAGE_LOCK;
	/* With as many pins as it has mappings too many it would pass: it is asked again. */
	return collapse_folio_is_ours(folio) ? SCAN_SUCCEED : SCAN_PAGE_COUNT;
}

/**
 * collapse_judge - judge the next entries of a table
 * @c: the collapse, whose counts go up
 * @ptep: the first of them
 * @addr: its address
 * @max: entries to look at
 * @folio: set to the folio that they map, or to NULL
 * @nr: set to how many they are: a run
 *
 * Context: the table is locked.
 * Return: SCAN_SUCCEED, or what is wrong with them.
 */
enum scan_result collapse_judge(struct collapse *c, pte_t *ptep, unsigned long addr,
				unsigned long max, struct folio **folio, unsigned long *nr)
{
	pte_t pte = ptep_get(ptep);
	enum scan_result result;
	struct page *page;

	*folio = NULL;
	*nr = 1;
	if (pte_is_empty(pte))
		return judge_empty(c);
	if (!pte_present(pte))
		return judge_not_present(c, pte);
	if (pte_uffd_wp(pte) && !userfaultfd_wp_async(c->vma))
		return SCAN_PTE_UFFD_WP;
	page = vm_normal_page(c->vma, addr, pte);
	if (unlikely(!page || is_zone_device_page(page)))
		return SCAN_PAGE_NULL;
	*folio = page_folio(page);
	c->count.page = page;
	if (unlikely(is_lazily_freed(pte, *folio)) && c->given_back && c->by->khugepaged) {
		count_vm_event(THP_SCAN_EXCEED_NONE_PTE);
		return SCAN_EXCEED_NONE_PTE;
	}
	if (folio_test_large(*folio)) {
		max = min_t(unsigned long, max,
			    folio_nr_pages(*folio) - folio_page_idx(*folio, page));
		*nr = pte_run_alike(ptep, pte, max);
	}
	if (pte_uffd_wp(pte))
		c->count.uffd_wp += *nr;
	if (folio_likely_mapped_shared(*folio)) {
		c->count.shared += *nr;
		if (exceeds(c, c->count.shared, &collapse_settings.max_ptes_shared,
			    THP_SCAN_EXCEED_SHARED_PTE))
			return SCAN_EXCEED_SHARED_PTE;
	}
	if (!detached(c)) {
		result = judge_folio(c, *folio, *nr);
		if (result != SCAN_SUCCEED)
			return result;
	}
	if (pte_write(pte) || page->flags & collapse_writable_flag(c->vma))
		c->count.writable = true;
	if (c->by->khugepaged)
		c->count.referenced += run_referenced(c->vma, addr, ptep, *nr, *folio);
	return SCAN_SUCCEED;
}

/**
 * collapse_judge_all - judge what was counted of all entries
 * @c: the collapse
 *
 * Return: SCAN_SUCCEED, or why it is not worth while.
 */
enum scan_result collapse_judge_all(struct collapse *c)
{
	if (c->count.uffd_wp && c->count.uffd_wp != HPAGE_PMD_NR)
		return SCAN_PTE_UFFD_WP;
	if (!c->count.writable)
		return SCAN_PAGE_RO;
	if (!c->by->khugepaged)
		return SCAN_SUCCEED;
	if (!c->count.referenced ||
	    (c->count.swapped && c->count.referenced < HPAGE_PMD_NR / 2))
		return SCAN_LACK_REFERENCED_PAGE;
	return SCAN_SUCCEED;
}

/*
 * Most entries of most tables are of plain pages: these are gone through without a call for each.
 * Return: how many from @i on are, and were counted; 0 if the next one is to be judged.
 */
static unsigned long scan_plain(struct collapse *c, pte_t *table, unsigned long i)
{
	const unsigned long used = BIT(PG_referenced) | IDLE_FLAGS;
	const unsigned long exclusive = collapse_writable_flag(c->vma);
	unsigned long first = i, referenced = 0, flags, place = 0;
	struct page *page = NULL;
	int nid = NUMA_NO_NODE;
	bool writable = false;
	pte_t pte;

	for (; i < HPAGE_PMD_NR; i++) {
		pte = ptep_get(table + i);
		if (!collapse_pte_is_plain(pte))
			break;
		page = pte_page(pte);
		flags = READ_ONCE(page->flags);
		if (i == first) {
			place = flags & PLACE_FLAGS;
			nid = page_to_nid(page);
		}
		if ((flags & (PLACE_FLAGS | COLLAPSE_CARE)) != (place | COLLAPSE_PLAIN) ||
		    !collapse_page_is_once(page))
			break;
		referenced += pte_young(pte) || flags & used;
		writable |= pte_write(pte) || flags & exclusive;
	}
	if (i == first || !collapse_node_add(c->by, nid, i - first))
		return 0;
	c->count.page = page;
	c->count.writable |= writable;
	if (c->by->khugepaged)
		c->count.referenced += referenced;
	return i - first;
}

static enum scan_result scan_table(struct collapse *c, pte_t *table)
{
	/* Secondary MMUs have to be asked, page by page. */
	bool plain = !c->by->khugepaged || !mm_has_notifiers(c->mm);
	enum scan_result result;
	struct folio *folio;
	unsigned long i, nr;

	c->count.whole = collapse_is_whole(c->vma, c->address, table);
	if (c->count.whole)
		return SCAN_SUCCEED;
	for (i = 0; i < HPAGE_PMD_NR; i += nr) {
		nr = plain ? scan_plain(c, table, i) : 0;
		if (nr)
			continue;
		result = collapse_judge(c, table + i, c->address + i * PAGE_SIZE,
					HPAGE_PMD_NR - i, &folio, &nr);
		if (result != SCAN_SUCCEED)
			return result;
	}
	return collapse_judge_all(c);
}

/**
 * collapse_scan - is a table worth while?
 * @c: the collapse; @c->pmd and @c->count are set
 *
 * Context: mmap_lock held for reading.
 * Return: SCAN_SUCCEED, or what there is instead, or why not.
 */
enum scan_result collapse_scan(struct collapse *c)
{
	enum scan_result result = collapse_find_table(c->mm, c->address, &c->pmd);
	spinlock_t *ptl;
	pte_t *table;

	if (result == SCAN_SUCCEED) {
		collapse_nodes_clear(c->by);
		c->given_back = collapse_is_given_back(pmdp_get_lockless(c->pmd));
		table = pte_offset_map_lock(c->mm, c->pmd, c->address, &ptl);
		if (!table)
			result = SCAN_PMD_NULL;
		else if (collapse_table_is_idle(c->by, table))
			result = SCAN_LACK_REFERENCED_PAGE;
		else
			result = scan_table(c, table);
		if (table)
			pte_unmap_unlock(table, ptl);
	}
	trace_mm_khugepaged_scan_pmd(c->mm, c->count.page, c->count.writable,
				     c->count.referenced, c->count.none, result,
				     c->count.swapped);
	return result;
}

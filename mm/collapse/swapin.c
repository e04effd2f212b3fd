// SPDX-License-Identifier: GPL-2.0
/*
 * What a table has in swap comes back, before a huge page is made of it.
 */
#include <linux/mm.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "../internal.h"
#include "collapse.h"

#include <trace/events/huge_memory.h>

/*
 * The next entry that is not present, as a fault finds it: mapped, not locked, and its value.
 * @addr: where to look from, and where it is. Return: SCAN_SUCCEED with @fault->pte NULL if there
 * is none.
 */
static enum scan_result next_swapped(struct collapse *c, struct vm_fault *fault,
				     unsigned long *addr)
{
	unsigned long end = c->address + HPAGE_PMD_SIZE;
	pte_t *pte;

	fault->pte = NULL;
	if (*addr == end)
		return SCAN_SUCCEED;
	pte = pte_offset_map_nolock(c->mm, c->pmd, *addr, &fault->ptl);
	if (!pte)
		return SCAN_PMD_NULL;
	for (; *addr < end; *addr += PAGE_SIZE, pte++) {
		fault->orig_pte = ptep_get_lockless(pte);
		if (!is_swap_pte(fault->orig_pte))
			continue;
		fault->pte = pte;
		return SCAN_SUCCEED;
	}
	pte_unmap(pte - 1);
	return SCAN_SUCCEED;
}

/* As a read fault does it. Return: what do_swap_page() says; it unmaps the table. */
static vm_fault_t swap_in(struct collapse *c, struct vm_fault *at, unsigned long addr)
{
	struct vm_fault fault = {
		.vma = c->vma,
		.address = addr,
		.pgoff = linear_page_index(c->vma, addr),
		.flags = FAULT_FLAG_ALLOW_RETRY,
		.pmd = c->pmd,
		.pte = at->pte,
		.ptl = at->ptl,
		.orig_pte = at->orig_pte,
	};

	return do_swap_page(&fault);
}

/**
 * collapse_swapin - bring in what is not present
 * @c: the collapse, ALLOCATED
 *
 * Context: mmap_lock held for reading.
 * Return: SCAN_SUCCEED; or what went wrong, and then mmap_lock is not held any more.
 */
enum scan_result collapse_swapin(struct collapse *c)
{
	enum scan_result result;
	unsigned long addr = c->address;
	struct vm_fault at;
	int nr = 0;

	for (;;) {
		vm_fault_t fault;

		result = next_swapped(c, &at, &addr);
		if (result != SCAN_SUCCEED || !at.pte)
			break;
		fault = swap_in(c, &at, addr);
		/* It waited for somebody, without mmap_lock. */
		if (fault & VM_FAULT_RETRY) {
			result = SCAN_PAGE_LOCK;
			goto unlocked;
		}
		if (fault & VM_FAULT_ERROR) {
			result = SCAN_FAIL;
			break;
		}
		nr++;
		addr += PAGE_SIZE;
	}
	if (result != SCAN_SUCCEED)
		mmap_read_unlock(c->mm);
	/* What waits for its place on a list has a reference more. */
	else if (nr)
		lru_add_drain();
unlocked:
	trace_mm_collapse_huge_page_swapin(c->mm, nr, c->count.referenced, result);
	return result;
}

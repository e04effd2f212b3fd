// SPDX-License-Identifier: GPL-2.0
/*
 * madvise() with MADV_COLLAPSE, MADV_HUGEPAGE and MADV_NOHUGEPAGE.
 *
 * How MADV_COLLAPSE goes on after a PMD, and what it answers in the end, if that was the last that
 * went wrong:
 *
 *	the PMD						goes on	errno
 *	is huge, or has become so			yes	0
 *	pages pinned, locked, not on a list		yes	EAGAIN
 *	nothing there, protected, special		yes	EINVAL
 *	filled meanwhile				no	EAGAIN
 *	no huge page to be had				no	ENOMEM
 *	the cgroup may have no more; userfaultfd	no	EBUSY
 *	anything else					no	EINVAL
 */
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/khugepaged.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/swap.h>

#include "collapse.h"

/**
 * hugepage_madvise - MADV_HUGEPAGE, MADV_NOHUGEPAGE
 * @vma: the VMA
 * @vm_flags: what its flags are going to be
 * @advice: one of the two
 *
 * Return: 0.
 */
int hugepage_madvise(struct vm_area_struct *vma, unsigned long *vm_flags, int advice)
{
#ifdef CONFIG_S390
	/* Guests' memory has none there; who asks for them all the same is not told. */
	if (advice == MADV_HUGEPAGE && mm_has_pgste(vma->vm_mm))
		return 0;
#endif
	/* Said after the program has given something back: it wants huge pages of what is left. */
	if (advice == MADV_HUGEPAGE && *vm_flags & VM_NOHUGEPAGE)
		collapse_want_again(vma);
	*vm_flags &= ~(VM_HUGEPAGE | VM_NOHUGEPAGE);
	*vm_flags |= advice == MADV_HUGEPAGE ? VM_HUGEPAGE : VM_NOHUGEPAGE;
	return 0;
}

/**
 * collapse_errno - what MADV_COLLAPSE answers
 * @result: how it ended, not SCAN_SUCCEED
 *
 * Return: a negative error.
 */
int collapse_errno(enum scan_result result)
{
	switch (result) {
	case SCAN_ALLOC_HUGE_PAGE_FAIL:
		return -ENOMEM;
	case SCAN_CGROUP_CHARGE_FAIL:
	case SCAN_EXCEED_NONE_PTE:
		return -EBUSY;
	case SCAN_PAGE_COUNT:
	case SCAN_PAGE_LOCK:
	case SCAN_PAGE_LRU:
	case SCAN_DEL_PAGE_LRU:
	case SCAN_PAGE_FILLED:
		return -EAGAIN;
	default:
		return -EINVAL;
	}
}

/**
 * collapse_goes_on - does MADV_COLLAPSE go on with the next PMD?
 * @result: how one ended
 *
 * Return: true if that says something of this PMD only.
 */
bool collapse_goes_on(enum scan_result result)
{
	switch (result) {
	case SCAN_PMD_NULL:
	case SCAN_PTE_NON_PRESENT:
	case SCAN_PTE_UFFD_WP:
	case SCAN_PAGE_RO:
	case SCAN_LACK_REFERENCED_PAGE:
	case SCAN_PAGE_NULL:
	case SCAN_PAGE_COUNT:
	case SCAN_PAGE_LOCK:
	case SCAN_PAGE_COMPOUND:
	case SCAN_PAGE_LRU:
	case SCAN_DEL_PAGE_LRU:
		return true;
	default:
		return false;
	}
}

/**
 * struct madvise_range - what is left of the range
 * @mm: the address space
 * @vma: the VMA, while mmap_lock is held
 * @addr: the next PMD
 * @end: the end of the last
 * @locked: mmap_lock is held
 * @dropped: it was not, for a while
 */
struct madvise_range {
	struct mm_struct *mm;
	struct vm_area_struct *vma;
	unsigned long addr;
	unsigned long end;
	bool locked;
	bool dropped;
};

/* The lock again, and the VMA: it may have changed. */
static enum scan_result madvise_lock(struct madvise_range *r, struct collapse_by *by)
{
	enum scan_result result;

	if (r->locked)
		return SCAN_SUCCEED;
	cond_resched();
	mmap_read_lock(r->mm);
	r->locked = true;
	result = collapse_find_vma(r->mm, r->addr, by, &r->vma);
	if (result == SCAN_SUCCEED)
		r->end = min(r->end, r->vma->vm_end & HPAGE_PMD_MASK);
	return result;
}

/* Return: SCAN_SUCCEED, or what went wrong last. */
static enum scan_result madvise_all(struct madvise_range *r, struct collapse_by *by)
{
	enum scan_result result, wrong = SCAN_SUCCEED;

	for (; r->addr < r->end; r->addr += HPAGE_PMD_SIZE) {
		result = madvise_lock(r, by);
		if (result != SCAN_SUCCEED)
			return result;
		result = collapse_range(by, r->vma, r->addr, &r->locked);
		r->dropped |= !r->locked;
		if (result == SCAN_SUCCEED || result == SCAN_PMD_MAPPED)
			continue;
		wrong = result;
		if (!collapse_goes_on(result))
			break;
	}
	return wrong;
}

/**
 * madvise_collapse - MADV_COLLAPSE
 * @vma: the VMA
 * @prev: set to it, or to NULL if mmap_lock was let go of
 * @start: the first address
 * @end: the last, plus one; both in the VMA
 *
 * Each PMD that lies in the range becomes a huge page, whatever the settings say.
 *
 * Context: mmap_lock held for reading, before and after.
 * Return: 0 if all are huge pages; else see above.
 */
int madvise_collapse(struct vm_area_struct *vma, struct vm_area_struct **prev,
		     unsigned long start, unsigned long end)
{
	struct madvise_range r = {
		.mm = vma->vm_mm, .vma = vma, .addr = round_up(start, HPAGE_PMD_SIZE),
		.end = round_down(end, HPAGE_PMD_SIZE), .locked = true,
	};
	enum scan_result result = SCAN_FAIL;
	bool none = r.addr == r.end;
	struct collapse_by *by;

	*prev = vma;
	if (!thp_vma_allowable_order(vma, vma->vm_flags, 0, PMD_ORDER))
		return -EINVAL;
	by = kmalloc(sizeof(*by), GFP_KERNEL);
	if (!by)
		return -ENOMEM;
	by->khugepaged = false;
	mmgrab(r.mm);
	/* What waits for its place on a list has a reference more. */
	lru_add_drain_all();
	if (r.addr < r.end)
		result = madvise_all(&r, by);
	else if (none)
		result = SCAN_SUCCEED;
	if (r.dropped)
		*prev = NULL;
	if (!r.locked)
		mmap_read_lock(r.mm);
	mmdrop(r.mm);
	kfree(by);
	return result == SCAN_SUCCEED ? 0 : collapse_errno(result);
}

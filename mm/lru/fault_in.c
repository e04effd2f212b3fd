// SPDX-License-Identifier: GPL-2.0
/*
 * Filling locked memory.
 *
 *	entry --> as it shall be? --yes--> next
 *	  ^		| no
 *	  |		v
 *	  +---------- fault --> error, no progress, mmap_lock lost --> the caller goes on
 *
 * get_user_pages() looks at each entry before and after the fault, with the page table locked,
 * to find the page. Nobody wants the page here, so a look at the entry is enough. Whatever is
 * out of the ordinary is left to get_user_pages(), which does it again and knows the right error.
 */
#include <linux/lru_fault_in.h>
#include <linux/mm.h>
#include <linux/mmu_context.h>
#include <linux/pgtable.h>
#include <linux/sched/signal.h>
#include <linux/secretmem.h>
#include <linux/swap.h>
#include <linux/userfaultfd_k.h>

#include "lru.h"

/* An entry may need one fault to arrive and another one to become the VMA's own. */
#define FAULT_IN_TRIES	3

static bool fault_in_ordinary(struct vm_area_struct *vma, bool write)
{
	if ((vma->vm_flags & (VM_LOCKED | VM_LOCKONFAULT | VM_SHADOW_STACK)) != VM_LOCKED)
		return false;
	return vma_supports_mlock(vma) && vma_is_accessible(vma) && !vma_is_secretmem(vma) &&
	       !userfaultfd_armed(vma) && arch_vma_access_permitted(vma, write, false, false);
}

/*
 * Where to go on: behind what is there, or at @addr if that is missing.
 *
 * The entries are read without their locks. What they say may be over when it is acted upon, as
 * it may be a moment later in any case: memory that is given back while it is being filled, by
 * whoever shares the address space, stays given back. Nobody else takes pages of a VM_LOCKED VMA.
 * The table of PMD entries stays while mmap_lock is held; that of PTEs is kept by RCU from
 * pte_offset_map() to pte_unmap().
 */
static unsigned long fault_in_done(pmd_t *pmd, unsigned long addr, bool write)
{
	pte_t *ptep, pte;
	pmd_t huge;
	bool done;

	if (!pmd)
		return addr;
	huge = pmdp_get_lockless(pmd);
	if (pmd_trans_huge(huge)) {
		done = pmd_present(huge) && mlock_pmd_filled(huge, write);
		return done ? (addr & PMD_MASK) + PMD_SIZE : addr;
	}
	ptep = pte_offset_map(pmd, addr);
	if (!ptep)
		return addr;
	pte = ptep_get_lockless(ptep);
	pte_unmap(ptep);
	done = pte_present(pte) && mlock_pte_filled(pte, write);
	return done ? addr + PAGE_SIZE : addr;
}

/**
 * lru_fault_in() - fault in pages of locked memory
 * @vma: the VMA; one that is not locked, or somehow special, is left alone
 * @start: first address, page aligned
 * @end: end of the range, in the VMA
 * @locked: set to 0 if mmap_lock was dropped
 *
 * Each page that is counted in the result has been present, and the VMA's own and dirty if it is
 * private and writable, as mlock(2) promises.
 *
 * Context: mmap_lock held for reading.
 * Return: bytes from @start on that are there. If that is not all, the caller tries the rest in
 * another way, after taking mmap_lock again if it was dropped.
 */
unsigned long lru_fault_in(struct vm_area_struct *vma, unsigned long start, unsigned long end,
			   int *locked)
{
	bool write = mlock_writes(vma->vm_flags);
	unsigned int flags = FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE;
	unsigned long addr = start, next;
	unsigned int tries = 0;
	pmd_t *pmd = NULL;
	vm_fault_t ret;

	if (!fault_in_ordinary(vma, write))
		return 0;
	if (write)
		flags |= FAULT_FLAG_WRITE;
	while (addr < end) {
		if (!pmd || !(addr & ~PMD_MASK)) {
			if (fatal_signal_pending(current))
				break;
			cond_resched();
			pmd = mm_find_pmd(vma->vm_mm, addr);
		}
		next = fault_in_done(pmd, addr, write);
		if (next > addr) {
			addr = next;
			tries = 0;
			continue;
		}
		if (tries++ == FAULT_IN_TRIES || fatal_signal_pending(current))
			break;
		cond_resched();
		ret = handle_mm_fault(vma, addr, flags, NULL);
		if (ret & (VM_FAULT_RETRY | VM_FAULT_COMPLETED)) {
			*locked = 0;
			break;
		}
		if (ret & VM_FAULT_ERROR)
			break;
	}
	lru_add_drain();
	return min(addr, end) - start;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * TLB flushes put off to the end of a batch.
 *
 *	unmap a run, under the page table lock	   rmap_flush_defer(): note the CPUs, and
 *	unmap another ...			   that this mm has a flush pending
 *	...
 *	before pages are freed or written	   try_to_unmap_flush(): one flush for all
 *
 * Meanwhile a CPU may still use the old translation. That is no harm to reclaim, which
 * neither frees nor writes before the flush; but whoever changes page tables of the same
 * mm in between, and relies on what is no longer mapped not being in the TLB, must flush
 * first: flush_tlb_batched_pending().
 *
 * mm->tlb_flush_batched: two counters of 15 bits in one word,
 *
 *	31    30 ........... 16	  15	14 ............ 0
 *	 -	flushed up to	  -	  put off
 *
 * The counters being unequal says that a flush is pending. A flusher copies the value of
 * "put off" that it read before flushing; if another run was put off meanwhile the word
 * has changed, its compare-and-exchange fails, and the flush stays pending.
 */
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/rmap.h>
#include <linux/sched.h>

#include <asm/tlbflush.h>

#define CREATE_TRACE_POINTS
#include <trace/events/tlb.h>

#include "../internal.h"
#include "rmap.h"

#ifdef CONFIG_ARCH_WANT_BATCHED_UNMAP_TLB_FLUSH
#define BATCHED_SHIFT	16
#define BATCHED_MASK	GENMASK(14, 0)

/**
 * try_to_unmap_flush - flush what this task put off
 *
 * Context: before the pages unmapped are freed. No page table lock is held.
 */
void try_to_unmap_flush(void)
{
	struct tlbflush_unmap_batch *batch = &current->tlb_ubc;

	if (!batch->flush_required)
		return;
	arch_tlbbatch_flush(&batch->arch);
	batch->writable = false;
	batch->flush_required = false;
}

/**
 * try_to_unmap_flush_dirty - flush if some CPU may still write to what was unmapped
 *
 * Context: before the pages unmapped are written out.
 */
void try_to_unmap_flush_dirty(void)
{
	if (current->tlb_ubc.writable)
		try_to_unmap_flush();
}

/* Only counters of the same age are compared, so start anew long before one wraps. */
static void note_pending(struct mm_struct *mm)
{
	int word = atomic_read(&mm->tlb_flush_batched);

	while ((word & BATCHED_MASK) > BATCHED_MASK / 2)
		if (atomic_try_cmpxchg(&mm->tlb_flush_batched, &word, 1))
			return;
	atomic_inc(&mm->tlb_flush_batched);
}

/**
 * rmap_flush_defer - put off the flush of a run that was cleared
 * @mm: the address space
 * @addr: address of its first entry
 * @nr: its length
 * @pte: what the entries were, Dirty gathered
 *
 * A dirty entry may be in some TLB as writable and dirty, through which a CPU writes without
 * telling. A clean one is not: the CPU would set Dirty first, and find the entry gone.
 *
 * Context: the page table lock is held. The entries are cleared already.
 */
void rmap_flush_defer(struct mm_struct *mm, unsigned long addr, unsigned long nr, pte_t pte)
{
	struct tlbflush_unmap_batch *batch = &current->tlb_ubc;

	/* x86 notes CPUs, whatever the address; others may issue the flush of a page here. */
	if (IS_ENABLED(CONFIG_X86))
		nr = 1;
	for (; nr; nr--, addr += PAGE_SIZE)
		arch_tlbbatch_add_pending(&batch->arch, mm, addr);
	batch->flush_required = true;
	/* Whoever reads the word holds the page table lock; just keep the compiler's order. */
	barrier();
	note_pending(mm);
	if (pte_dirty(pte))
		batch->writable = true;
}

/**
 * flush_tlb_batched_pending - flush what reclaim put off in this address space
 * @mm: the address space
 *
 * For code that changes page tables and must know that what is not mapped is in no TLB.
 *
 * Context: the page table lock is held, which orders this after the puttings-off of the
 * entries in that table.
 */
void flush_tlb_batched_pending(struct mm_struct *mm)
{
	int word = atomic_read(&mm->tlb_flush_batched);
	int pending = word & BATCHED_MASK;

	if (pending == word >> BATCHED_SHIFT)
		return;
	arch_flush_tlb_batched_pending(mm);
	atomic_cmpxchg(&mm->tlb_flush_batched, word, pending | pending << BATCHED_SHIFT);
}
#endif

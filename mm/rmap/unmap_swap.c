// SPDX-License-Identifier: GPL-2.0
/*
 * try_to_unmap(): what a run of present or device entries becomes.
 *
 *	VMA locked ------------------------------------> stays, and the folio is locked again
 *	PMD, TTU_SPLIT_HUGE_PMD -----------------------> PTEs, look again
 *	PTEs: poisoned, TTU_HWPOISON ------------------> poison
 *	      content not needed (s390's guests) ------> nothing
 *	      anonymous, in the swap cache ------------> swap slots
 *	      anonymous, lazily freed -----------------> nothing, or stays if dirty or in use
 *	      of a file -------------------------------> nothing, or markers
 */
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/rmap.h>
#include <linux/rmap_runs.h>
#include <linux/sched/mm.h>
#include <linux/swap.h>

#include "../swap.h"
#include "unmap.h"

static __always_inline enum rmap_verdict swap_stays(struct rmap_unmap *u, unsigned long nr)
{
	rmap_unmap_undo(u, nr);
	return RMAP_FAIL;
}

static __always_inline enum rmap_verdict swap_gone(struct rmap_unmap *u, unsigned long nr)
{
	rmap_unmap_done(u, nr);
	return RMAP_NEXT;
}

/*
 * A PMD. Only what is mapped by PTEs can be told slot by slot. One that is lazily freed could go at
 * once, but it would have to come back if it turns out to be in use, and a PMD that is none for a
 * moment is passed over for good by zap_pmd_range(), which looks at it without the lock.
 */
static __always_inline enum rmap_verdict swap_pmd(struct rmap_unmap *u)
{
	struct rmap_run *run = &u->run;
	struct vm_area_struct *vma = run->at.vma;

	if (!(u->flags & TTU_SPLIT_HUGE_PMD)) {
		WARN_ON_ONCE(1);
		return RMAP_FAIL;
	}
	split_huge_pmd_locked(vma, run->at.address, run->at.pmd, false, run->folio);
	u->flags &= ~TTU_SPLIT_HUGE_PMD;
	return RMAP_AGAIN;
}

/*
 * Each mapping holds the slot it names. Mostly the slots' counts are small and go up
 * together; where one of them would overflow, they go up one by one, which may need memory.
 */
static bool swap_hold_slots(swp_entry_t slot, unsigned long nr)
{
	unsigned long i;
	int err = -EAGAIN;

	if (nr > 1)
		err = swap_duplicate_run(slot, nr);
	if (err != -EAGAIN)
		return !err;
	for (i = 0; i < nr; i++) {
		if (swap_duplicate(swp_entry(swp_type(slot), swp_offset(slot) + i)) < 0) {
			if (i)
				swap_free_nr(slot, i);
			return false;
		}
	}
	return true;
}

/* swapoff looks for slots in the page tables of every mm on this list. */
static void swap_list_mm(struct mm_struct *mm)
{
	if (likely(!list_empty(&mm->mmlist)))
		return;
	spin_lock(&mmlist_lock);
	if (list_empty(&mm->mmlist))
		list_add(&mm->mmlist, &init_mm.mmlist);
	spin_unlock(&mmlist_lock);
}

static __always_inline enum rmap_verdict swap_to_slots(struct rmap_unmap *u, unsigned long nr)
{
	struct rmap_run *run = &u->run;
	struct mm_struct *mm = run->at.vma->vm_mm;
	swp_entry_t slot = page_swap_entry(run->page);
	struct pte_leaf leaf = rmap_run_leaf(run);

	if (!swap_hold_slots(slot, nr))
		return swap_stays(u, nr);
	if (!rmap_unmap_may_go(u, nr)) {
		swap_free_nr(slot, nr);
		return swap_stays(u, nr);
	}
	swap_list_mm(mm);
	rmap_unmap_uncount(u, nr, MM_ANONPAGES);
	add_mm_counter(mm, MM_SWAPENTS, nr);
	leaf.kind = LEAF_SWAP;
	leaf.number = slot.val;
	pte_run_set_swp(mm, run->at.address, run->at.pte, leaf, nr);
	return swap_gone(u, nr);
}

/*
 * Clean, and nobody has a reference but the mappings and our caller?
 *
 *	here			GUP-fast			    writer
 *	  clear the entries	  takes a reference		      entry gets dirty
 *	  smp_mb()		  barrier			      takes a reference,
 *	  read the references	  finds the entry changed: drops it   marks the folio dirty
 *
 * Either the reference is seen here or GUP-fast sees the entry cleared. And who marked
 * the folio dirty had a reference then: read the references first, then dirty, and a
 * reference that is dropped between cannot hide what it wrote.
 */
static __always_inline bool swap_lazyfree_unused(struct folio *folio, bool droppable)
{
	int refs, maps;

	/* The entries were cleared before; with GUP-fast's, see above. */
	smp_mb();
	refs = folio_ref_count(folio);
	maps = folio_mapcount(folio);
	/* Whoever made it dirty did so before its reference went. */
	smp_rmb();
	return refs == 1 + maps && (droppable || !folio_test_dirty(folio));
}

/* Memory given to MADV_FREE or of a VM_DROPPABLE VMA; the latter goes even if dirty. */
static __always_inline enum rmap_verdict swap_lazyfree(struct rmap_unmap *u, unsigned long nr)
{
	struct rmap_run *run = &u->run;
	struct vm_area_struct *vma = run->at.vma;
	bool droppable = vma->vm_flags & VM_DROPPABLE;

	if (swap_lazyfree_unused(run->folio, droppable)) {
		rmap_unmap_drop(u, nr);
		return swap_gone(u, nr);
	}
	/* Written since: no longer to be freed. */
	if (!droppable)
		folio_set_swapbacked(run->folio);
	return swap_stays(u, nr);
}

static __always_inline enum rmap_verdict swap_ptes(struct rmap_unmap *u, unsigned long nr)
{
	struct rmap_run *run = &u->run;
	struct folio *folio = run->folio;

	rmap_unmap_clear(u, nr);
	if (u->flags & TTU_HWPOISON && rmap_unmap_poisoned(u, nr)) {
		rmap_unmap_poison(u, nr);
		return swap_gone(u, nr);
	}
	/*
	 * The lock of a file's folio keeps it in its file until the notifier's range ends, so
	 * nobody maps another folio here while a device still uses this one.
	 */
	if (rmap_unneeded(run->at.vma, u->old) || !folio_test_anon(folio)) {
		rmap_unmap_drop(u, nr);
		return swap_gone(u, nr);
	}
	if (WARN_ON_ONCE(folio_test_swapbacked(folio) != folio_test_swapcache(folio)))
		return swap_stays(u, nr);
	return folio_test_swapbacked(folio) ? swap_to_slots(u, nr) : swap_lazyfree(u, nr);
}

/* What becomes of one run. On RMAP_FAIL the entries are as they were, but for gathering. */
static __always_inline enum rmap_verdict swap_run(struct rmap_unmap *u, unsigned long nr)
{
	struct rmap_run *run = &u->run;

	if (unlikely(run->at.vma->vm_flags & VM_LOCKED && !(u->flags & TTU_IGNORE_MLOCK))) {
		/* An mlock that missed the folio is made up for; a large one, elsewhere. */
		if (!folio_test_large(run->folio))
			mlock_vma_folio(run->folio, run->at.vma);
		return RMAP_FAIL;
	}
	return likely(run->at.pte) ? swap_ptes(u, nr) : swap_pmd(u);
}

static noinline bool swap_one(struct folio *folio, struct vm_area_struct *vma,
			      unsigned long addr, void *arg)
{
	static const struct rmap_unmap_op op = { .one = swap_run, .event = MMU_NOTIFY_CLEAR };
	enum ttu_flags flags = (enum ttu_flags)(long)arg;

	if (folio_test_large(folio) && unlikely(folio_test_hugetlb(folio)))
		return rmap_hugetlb_unmap(folio, vma, addr, arg);
	return rmap_unmap_vma(folio, vma, addr, flags, &op);
}

static const struct rmap_visitor swap_visitor = {
	.rmap_one = swap_one,
	.done = rmap_unmap_finished,
};

/**
 * try_to_unmap - take the mappings of a folio away
 * @folio: the folio, referenced
 * @flags: TTU_*: SPLIT_HUGE_PMD to split PMDs that map it; IGNORE_MLOCK; SYNC to wait for
 *	a zap that has cleared its entry and has still to count it out; HWPOISON to leave
 *	poison for poisoned pages; BATCH_FLUSH when try_to_unmap_flush() will follow;
 *	RMAP_LOCKED when the rmap lock is held
 *
 * Anonymous pages leave the swap slots of their swap cache folio, or nothing if they are
 * lazily freed, clean, and unpinned. Pages of a file leave nothing. Whether it succeeded,
 * folio_mapped() tells.
 *
 * Context: the folio is locked. Sleeps.
 */
void try_to_unmap(struct folio *folio, enum ttu_flags flags)
{
	rmap_unmap_walk(folio, flags, &swap_visitor);
}

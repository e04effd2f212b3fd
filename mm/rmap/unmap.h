/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Taking the mappings of a folio away: what unmap_swap.c, unmap_migrate.c and
 * unmap_exclusive.c share.
 *
 *	try_to_unmap()			for each VMA	rmap_unmap_vma()
 *	try_to_migrate()				  notifier begins
 *	make_device_exclusive_range()			  for each run:
 *							    swap_run()	   or
 *							    migrate_run()  or
 *							    exclusive_run()
 *							  notifier ends
 *
 *	a run:	clear all entries, flush or put the flush off
 *		-> may it go? no: write the entries back, fail
 *		-> write what takes their place: swap slots, migration entries, nothing ...
 *		-> count the mappings out, drop the references they held
 *
 * All of it is inlined into the three loops, twice each: folios of one page are most of
 * what reclaim sees, and for them the length of the run is the constant 1.
 *
 * Everything that has an @u is called with the page table lock of the run held.
 */
#ifndef __MM_RMAP_UNMAP_H
#define __MM_RMAP_UNMAP_H

#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/userfaultfd_k.h>

#include "../internal.h"
#include "../pte/run.h"
#include "group.h"
#include "rmap.h"
#include "walk.h"

/**
 * enum rmap_verdict - what became of a run
 * @RMAP_NEXT: done with it
 * @RMAP_AGAIN: the page table changed, look again from the same address
 * @RMAP_STOP: done with this VMA
 * @RMAP_FAIL: the folio stays mapped here; stop the whole walk
 */
enum rmap_verdict {
	RMAP_NEXT,
	RMAP_AGAIN,
	RMAP_STOP,
	RMAP_FAIL,
};

struct rmap_unmap;

/**
 * struct rmap_unmap_op - one way to take mappings away
 * @one: do it to a run; its nr is run->nr, and a constant where that is known to be 1
 * @keeps: the pages are not written out
 * @event: what secondary MMUs are told
 * @owner: and by whom, or NULL
 * @arg: for @one
 */
struct rmap_unmap_op {
	enum rmap_verdict (*one)(struct rmap_unmap *u, unsigned long nr);
	bool keeps;
	enum mmu_notifier_event event;
	void *owner;
	void *arg;
};

/**
 * struct rmap_unmap - the mappings of one folio in one VMA are being taken away
 * @run: the run at hand
 * @op: how
 * @flags: TTU_*
 * @old: what was in the first entry of the run, Accessed and Dirty gathered over all
 * @table: other folios are unmapped from the same page table: count and flush once for all.
 *	NULL: this folio is alone
 */
struct rmap_unmap {
	struct rmap_run run;
	const struct rmap_unmap_op *op;
	enum ttu_flags flags;
	pte_t old;
	struct rmap_table *table;
};

/*
 * The run that was just cleared must go from the TLBs: at once, or with the batch, of which only
 * CPUs are noted on x86, so that once for a table will do.
 */
static __always_inline void rmap_unmap_flush(struct rmap_unmap *u, unsigned long nr)
{
	struct rmap_table *table = u->table;
	struct vm_area_struct *vma = u->run.at.vma;
	unsigned long addr = u->run.at.address;

	if (!rmap_flush_deferrable(vma->vm_mm, u->flags, u->op->keeps || !pte_dirty(u->old))) {
		flush_tlb_range(vma, addr, addr + nr * PAGE_SIZE);
	} else if (!IS_ENABLED(CONFIG_X86) || !table) {
		rmap_flush_defer(vma->vm_mm, addr, nr, u->old);
	} else if (!table->flush || pte_dirty(u->old)) {
		table->flush = true;
		table->old = u->old;
	}
}

/*
 * Clear the entries of a run; u->old becomes what they were. The folio is dirty if one of
 * them was.
 */
static __always_inline void rmap_unmap_clear(struct rmap_unmap *u, unsigned long nr)
{
	struct rmap_run *run = &u->run;
	struct vm_area_struct *vma = run->at.vma;
	unsigned long addr = run->at.address;
	struct mm_struct *mm = vma->vm_mm;

	if (!u->table)
		update_hiwater_rss(mm);
	if (unlikely(!pte_present(run->pte))) {
		u->old = run->pte;
		pte_clear(mm, addr, run->at.pte);
		return;
	}
	if (nr == 1)
		flush_cache_page(vma, addr, pte_pfn(run->pte));
	else
		flush_cache_range(vma, addr, addr + nr * PAGE_SIZE);
	u->old = get_and_clear_full_ptes(mm, addr, run->at.pte, nr, 0);
	if (pte_accessible(mm, u->old))
		rmap_unmap_flush(u, nr);
	if (pte_dirty(u->old))
		folio_mark_dirty(run->folio);
}

/*
 * What was gathered, for entries that shall say it all: Accessed and Dirty of all, but soft-dirty
 * only if they were. x86 sets that with Dirty, and it is in no TLB: the run had it or not.
 */
static __always_inline pte_t rmap_unmap_gathered(const struct rmap_unmap *u)
{
	return pte_soft_dirty(u->run.pte) ? u->old : pte_clear_soft_dirty(u->old);
}

/*
 * Write the entries of a run back. Each gets the Accessed and Dirty of all.
 *
 * Arm64 may make contiguous entries of them. TLBs must not know any of them in another size then,
 * and an invalidation that was put off is one that nobody has waited for yet.
 */
static __always_inline void rmap_unmap_undo(struct rmap_unmap *u, unsigned long nr)
{
	struct rmap_run *run = &u->run;
	struct vm_area_struct *vma = run->at.vma;
	unsigned long addr = run->at.address;

	if (!pte_present(u->old)) {
		set_pte_at(vma->vm_mm, addr, run->at.pte, u->old);
		return;
	}
	if (IS_ENABLED(CONFIG_ARM64_CONTPTE) && nr > 1)
		flush_tlb_range(vma, addr, addr + nr * PAGE_SIZE);
	set_ptes(vma->vm_mm, addr, run->at.pte, rmap_unmap_gathered(u), nr);
}

/*
 * Leave nothing in the place of a run. Where userfaultfd write-protected a page that can come
 * back from a file, a marker remembers it.
 */
static __always_inline void rmap_unmap_leave_markers(struct rmap_unmap *u, unsigned long nr)
{
	struct rmap_run *run = &u->run;
	unsigned long i;

	if (likely(!userfaultfd_wp(run->at.vma)))
		return;
	for (i = 0; i < nr; i++)
		pte_install_uffd_wp_if_needed(run->at.vma, run->at.address + i * PAGE_SIZE,
					      run->at.pte + i, u->old);
}

/* Count a run out of the process's memory of a kind: swapped out, discarded, lost. */
static __always_inline void rmap_unmap_uncount(struct rmap_unmap *u, unsigned long nr, int kind)
{
	add_mm_counter(u->run.at.vma->vm_mm, kind, -(long)nr);
}

/* Does nobody need what the page holds? s390's guests say so; userfaultfd would miss it. */
static __always_inline bool rmap_unneeded(struct vm_area_struct *vma, pte_t pte)
{
	return pte_present(pte) && pte_unused(pte) && !userfaultfd_armed(vma);
}

/* A run goes, and nothing is needed to find its pages again. */
static __always_inline void rmap_unmap_drop(struct rmap_unmap *u, unsigned long nr)
{
	rmap_unmap_uncount(u, nr, mm_counter(u->run.folio));
	rmap_unmap_leave_markers(u, nr);
}

/*
 * Are the pages of the run lost? A single one may be asked as late as this; of more, they were
 * found to be alike before, and one that was lost since then stands for itself alone: memory
 * failure, which waits for the folio's lock, will see to it.
 */
static __always_inline bool rmap_unmap_poisoned(const struct rmap_unmap *u, unsigned long nr)
{
	return nr == 1 ? PageHWPoison(u->run.page) : u->run.poisoned;
}

/* Write entries that say the pages are lost. */
static __always_inline void rmap_unmap_poison(struct rmap_unmap *u, unsigned long nr)
{
	struct rmap_run *run = &u->run;
	struct pte_leaf leaf = { .kind = LEAF_POISON, .number = page_to_pfn(run->page) };

	rmap_unmap_uncount(u, nr, mm_counter(run->folio));
	pte_run_set_swp(run->at.vma->vm_mm, run->at.address, run->at.pte, leaf, nr);
}

/*
 * Let pages be no process's alone any more, for what has no page flag. False, with nothing
 * changed, when the folio may be pinned.
 *
 * A page that GUP pinned must stay where it is, its process's alone. Pins are the folio's, so
 * they are looked for once; every entry of the run is cleared by now, so GUP-fast, which
 * looks at the entry again after pinning, sees that it is gone.
 */
static __always_inline bool rmap_unmap_share(struct rmap_unmap *u, unsigned long nr)
{
	struct rmap_run *run = &u->run;
	unsigned long i;

	if (!folio_test_anon(run->folio) || !PageAnonExclusive(run->page))
		return true;
	if (folio_try_share_anon_rmap_pte(run->folio, run->page))
		return false;
	if (nr == 1)
		return true;
	for (i = 1; i < nr; i++)
		ClearPageAnonExclusive(run->page + i);
	/* Before the entries are written; with the smp_rmb() of gup_must_unshare(). */
	smp_mb__after_atomic();
	return true;
}

/* Let the architecture save what it keeps beside the entries. False when it cannot. */
static __always_inline bool rmap_unmap_arch(struct rmap_unmap *u, unsigned long nr)
{
	struct rmap_run *run = &u->run;
	pte_t pte = u->old;
	unsigned long i;

	if (!pte_present(pte))
		return true;
	for (i = 0; i < nr; i++, pte = pte_next_pfn(pte))
		if (arch_unmap_one(run->at.vma->vm_mm, run->at.vma,
				   run->at.address + i * PAGE_SIZE, pte) < 0)
			return false;
	return true;
}

/* May a run go whose pages something else will name? If not, nothing but entries has changed. */
static __always_inline bool rmap_unmap_may_go(struct rmap_unmap *u, unsigned long nr)
{
	return rmap_unmap_arch(u, nr) && rmap_unmap_share(u, nr);
}

/*
 * Count the mappings of a run out and drop their references. The caller of the walk has a
 * reference too, so the folio stays.
 */
static __always_inline void rmap_unmap_done(struct rmap_unmap *u, unsigned long nr)
{
	struct rmap_run *run = &u->run;

	if (u->table)
		rmap_count_out(&u->table->tally, run->folio, run->page, nr, run->at.vma);
	else
		folio_remove_rmap_ptes(run->folio, run->page, nr, run->at.vma);
	if (unlikely(run->at.vma->vm_flags & VM_LOCKED))
		mlock_drain_local();
	folio_ref_sub(run->folio, nr);
}

/* What a folio of one page needs, without a loop; its walk stays in registers. */
static __always_inline enum rmap_verdict rmap_unmap_small(struct folio *folio,
							  struct vm_area_struct *vma,
							  unsigned long addr,
							  enum ttu_flags flags,
							  const struct rmap_unmap_op *op)
{
	struct rmap_unmap u __uninitialized;
	enum rmap_verdict verdict;

	u.flags = flags;
	u.op = op;
	u.table = NULL;
	rmap_run_init(&u.run, folio, vma, addr, 1);
	switch (rmap_find_small(&u.run)) {
	case RMAP_FOUND:
		verdict = op->one(&u, 1);
		pte_unmap_unlock(u.run.at.pte, u.run.at.ptl);
		return verdict;
	case RMAP_ABSENT:
		return RMAP_NEXT;
	default:
		return RMAP_AGAIN;
	}
}

static __always_inline enum rmap_verdict rmap_unmap_runs(struct folio *folio,
							 struct vm_area_struct *vma,
							 unsigned long addr,
							 enum ttu_flags flags,
							 const struct rmap_unmap_op *op)
{
	enum rmap_verdict verdict = RMAP_NEXT;
	struct rmap_unmap u __uninitialized;

	u.flags = flags;
	u.op = op;
	u.table = NULL;
	rmap_run_init(&u.run, folio, vma, addr, folio_nr_pages(folio));
	u.run.at.flags = flags & TTU_SYNC ? PVMW_SYNC : 0;
	while (rmap_run_next(&u.run)) {
		verdict = op->one(&u, u.run.nr);
		if (verdict == RMAP_AGAIN) {
			page_vma_mapped_walk_restart(&u.run.at);
			u.run.nr = 0;
		} else if (verdict != RMAP_NEXT) {
			page_vma_mapped_walk_done(&u.run.at);
			break;
		}
	}
	return verdict;
}

/* Where the notifiers' range ends: behind the last page of the folio in the VMA. */
static inline unsigned long rmap_unmap_end(struct folio *folio, struct vm_area_struct *vma,
					   unsigned long addr)
{
	DEFINE_FOLIO_VMA_WALK(at, folio, vma, addr, 0);

	return vma_address_end(&at);
}

/**
 * rmap_unmap_vma - take the mappings of a folio in one VMA away, run by run
 * @folio: the folio, locked
 * @vma: the VMA
 * @addr: where its pages begin there
 * @flags: TTU_*
 * @op: what to do with a run; best a constant
 *
 * A secondary MMU cannot appear meanwhile: registering one takes every rmap lock of the
 * process, and one of them is held here.
 *
 * Context: rmap lock held; sleeps in notifiers.
 * Return: what rmap_walk_control's rmap_one() returns: false to stop the walk.
 */
static __always_inline bool rmap_unmap_vma(struct folio *folio, struct vm_area_struct *vma,
					   unsigned long addr, enum ttu_flags flags,
					   const struct rmap_unmap_op *op)
{
	bool notify = IS_ENABLED(CONFIG_LOCKDEP) || mm_has_notifiers(vma->vm_mm);
	struct mmu_notifier_range range __uninitialized;
	enum rmap_verdict verdict = RMAP_AGAIN;

	if (unlikely(notify)) {
		mmu_notifier_range_init_owner(&range, op->event, 0, vma->vm_mm, addr,
					      rmap_unmap_end(folio, vma, addr), op->owner);
		mmu_notifier_invalidate_range_start(&range);
	}
	if (likely(!folio_test_large(folio) && !(flags & TTU_SYNC)))
		verdict = rmap_unmap_small(folio, vma, addr, flags, op);
	if (unlikely(verdict == RMAP_AGAIN))
		verdict = rmap_unmap_runs(folio, vma, addr, flags, op);
	if (unlikely(notify))
		mmu_notifier_invalidate_range_end(&range);
	return verdict != RMAP_FAIL;
}

static __always_inline int rmap_unmap_finished(struct folio *folio)
{
	return !folio_mapped(folio);
}

/*
 * Take the mappings of a folio away in all VMAs. Reclaim's usual case, an anonymous folio, is
 * inlined.
 */
static __always_inline void rmap_unmap_walk(struct folio *folio, enum ttu_flags flags,
					    const struct rmap_visitor *visitor)
{
	void *arg = (void *)(long)flags;

	if (likely(folio_test_anon(folio) && !folio_test_ksm(folio) &&
		   !(flags & TTU_RMAP_LOCKED))) {
		rmap_walk_anon(folio, visitor, arg);
	} else {
		struct rmap_walk_control rwc = {
			.rmap_one = visitor->rmap_one,
			.done = visitor->done,
			.invalid_vma = folio_test_anon(folio) && !folio_test_ksm(folio) ?
				       visitor->invalid_vma : NULL,
			.anon_lock = folio_lock_anon_vma_read,
			.arg = arg,
		};

		if (flags & TTU_RMAP_LOCKED)
			rmap_walk_locked(folio, &rwc);
		else
			rmap_walk(folio, &rwc);
	}
}

#endif /* __MM_RMAP_UNMAP_H */

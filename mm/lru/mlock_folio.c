// SPDX-License-Identifier: GPL-2.0
/*
 * Locked folios: those who ask for the moves of unevictable.h, and those who cannot wait for them.
 *
 *	mlock_folio()	  mark, then LRU_MLOCK(_VOID) in a batch  reverse map, reclaim
 *	mlock_new_folio() mark, then LRU_MLOCK_NEW in a batch	 faults
 *	munlock_folio()	  LRU_MUNLOCK in a batch		 reverse map
 *	mlock_folio_now(), munlock_folio_now()			 mlock_vma.c, with a page table
 *
 * A mlock and a munlock of the same folio on two CPUs may be carried out in either order. So a
 * mlock may find that its mark has gone again, and a munlock a folio that is not counted yet.
 */
#include <linux/lru_rescue.h>

#include "lru.h"
#include "unevictable.h"

/**
 * lru_rescue() - a folio is unevictable and should not be
 * @mv: folios on their way
 * @folio: on its list, or taken by a task that will look itself
 *
 * Context: as lru_move_folio().
 */
void lru_rescue(struct lru_move *mv, struct folio *folio)
{
	while (folio_test_unevictable(folio) && lru_evictable(folio) &&
	       folio_test_clear_lru(folio)) {
		lru_move_to(mv, folio);
		if (folio_test_unevictable(folio) && lru_evictable(folio))
			unevictable_to_list(mv, folio, folio_nr_pages(folio));
		folio_set_lru(folio);
		/* PG_lru before PG_mlocked, as in lru_move_give_back(). */
		smp_mb__after_atomic();
	}
}

/**
 * lru_given_back() - a folio has been given back that reclaim or compaction did not want
 * @folio: held by a reference; PG_lru has been set
 *
 * Its mark, or what made its mapping unevictable, may have gone while it was off its list.
 *
 * Context: process context; no lru_lock held.
 */
void lru_given_back(struct folio *folio)
{
	struct lru_move mv;

	/* PG_lru before PG_mlocked; pairs with the barrier in munlock_folio_elsewhere(). */
	smp_mb();
	if (likely(!folio_test_unevictable(folio) || !lru_evictable(folio)))
		return;
	lru_move_init(&mv);
	lru_rescue(&mv, folio);
	lru_move_end(&mv);
}

/**
 * munlock_folio_elsewhere() - LRU_MUNLOCK of a folio that is on no list
 * @mv: folios on their way
 * @folio: PG_lru is clear, somebody else's doing
 *
 * There is no count, so the mark goes. The task that gives the folio back decides by the mark what
 * it is; if it has done that already, it is left to us.
 *
 * Context: as lru_move_folio().
 */
void munlock_folio_elsewhere(struct lru_move *mv, struct folio *folio)
{
	if (!mlock_unmark(folio, folio_nr_pages(folio), folio_test_unevictable(folio)))
		return;
	zone_stat_mod_folio(folio, NR_MLOCK, -folio_nr_pages(folio));
	/* PG_mlocked before PG_lru; pairs with the barrier in lru_move_give_back(). */
	smp_mb__after_atomic();
	if (folio_test_lru(folio))
		lru_rescue(mv, folio);
}

/**
 * mlock_folio_now() - mark a folio and move it, without waiting in a batch
 * @mv: folios on their way, or none yet
 * @folio: mapped by a page table that the caller holds locked
 *
 * Context: a page table lock is held; lru_lock nests inside of it.
 */
void mlock_folio_now(struct lru_move *mv, struct folio *folio)
{
	long nr = folio_nr_pages(folio);
	enum mlock_marked was = mlock_mark(folio, nr);

	if (unlikely(!folio_test_clear_lru(folio))) {
		/* Somebody has it off its list, or in a batch: counted as 0 when it comes back. */
		if (was != MLOCK_MARKED_BEFORE)
			zone_stat_mod_folio(folio, NR_MLOCK, nr);
		return;
	}
	lru_move_to(mv, folio);
	if (was != MLOCK_MARKED_BEFORE)
		mv->mlocked += nr;
	lru_move_mlock(mv, folio, nr, was == MLOCK_UNMARKED_COUNT);
	lru_move_give_back(mv, folio);
}

/**
 * munlock_folio_now() - count a folio down, without waiting in a batch
 * @mv: folios on their way, or none yet
 * @folio: mapped by a page table that the caller holds locked
 *
 * Context: as for mlock_folio_now().
 */
void munlock_folio_now(struct lru_move *mv, struct folio *folio)
{
	if (unlikely(!folio_test_clear_lru(folio))) {
		munlock_folio_elsewhere(mv, folio);
		return;
	}
	lru_move_to(mv, folio);
	lru_move_munlock(mv, folio, folio_nr_pages(folio));
	lru_move_give_back(mv, folio);
}

/**
 * mlock_folio() - a folio has been mapped into a VM_LOCKED VMA
 * @folio: on its list, or off it for a while
 *
 * PG_mlocked and Mlocked of /proc/meminfo change at once, Unevictable with the batch.
 *
 * Context: the page table that maps it is locked.
 */
void mlock_folio(struct folio *folio)
{
	long nr = folio_nr_pages(folio);
	enum mlock_marked was = mlock_mark(folio, nr);

	if (was != MLOCK_MARKED_BEFORE)
		zone_stat_mod_folio(folio, NR_MLOCK, nr);
	lru_batch_add(folio, was == MLOCK_UNMARKED_COUNT ? LRU_MLOCK_VOID : LRU_MLOCK);
}

/**
 * mlock_new_folio() - a new folio is going to be mapped into a VM_LOCKED VMA
 * @folio: on no list yet, seen by nobody else; instead of folio_add_lru()
 *
 * Context: the page table that will map it is locked.
 */
void mlock_new_folio(struct folio *folio)
{
	long nr = folio_nr_pages(folio);

	if (mlock_mark(folio, nr) != MLOCK_MARKED_BEFORE)
		zone_stat_mod_folio(folio, NR_MLOCK, nr);
	lru_batch_add(folio, LRU_MLOCK_NEW);
}

/**
 * munlock_folio() - a VM_LOCKED VMA does not map the folio any more
 * @folio: on its list, or off it for a while
 *
 * Whether others have it locked is seen only when the batch is emptied.
 *
 * Context: the page table that mapped it is locked.
 */
void munlock_folio(struct folio *folio)
{
	lru_batch_add(folio, LRU_MUNLOCK);
}

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
#include "lru.h"
#include "unevictable.h"

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

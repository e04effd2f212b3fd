// SPDX-License-Identifier: GPL-2.0
/*
 * Folios that are nobody's to move just when they stop being unevictable: the second looks that
 * unevictable.h speaks of, of the task that unmarks and of the one that gives back.
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

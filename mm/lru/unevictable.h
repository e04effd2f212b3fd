/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Folios that reclaim must leave alone.
 *
 * state	PG_lru	PG_unevictable	PG_mlocked	folio->mlock_count
 * ---------------------------------------------------------------------------------
 * off list	0	0 or 1, old	0 or 1		none: the link is somebody's
 * evictable	1	0		0		none: the link is in a list
 * marked	1	0		1		none; a lock is on its way
 * culled	1	1		0		void: its mapping is unevictable
 * locked	1	1		1		VM_LOCKED mappings that were counted
 *
 *		  enter				  leave
 *  evictable, ---------> culled or locked ---------------> evictable
 *  marked, new		    | count up, count down |
 *			    +----------------------+
 *
 *  mark: PG_mlocked is set by whoever maps the folio into a VM_LOCKED VMA, with the page table
 *	locked, whatever the state.
 *  unmark: PG_mlocked is cleared when the count has come to 0, or when nobody can say what it
 *	is. If that is wrong, the folio is evictable too early, and reclaim, which meets the
 *	VM_LOCKED VMA, marks it again. The other error, a folio that stays unevictable and is
 *	locked by nobody, would never be found: so whatever cannot be counted counts as 0, and
 *	a mark begins a new count where it finds an old one: an unmarked folio that is unevictable
 *	with a count, or in somebody's hands and so perhaps with one. Locks that come after the
 *	mark may be counted before the one that made it, so only that one may void a count, and
 *	only if there was one to void.
 *
 *			changed by					under what
 *  PG_lru		the task that clears it by test-and-clear	-
 *  PG_unevictable,	the holder of PG_lru, or of a new folio		lru_lock
 *  mlock_count
 *  PG_mlocked 0 -> 1	the task that maps it				page table lock
 *  PG_mlocked 1 -> 0	the holder of PG_lru				lru_lock
 *			a task that could not take PG_lru		-
 *			the task that drops the last reference		-
 *
 * Nobody is left behind: a task that unmarks a folio which it cannot take looks at PG_lru
 * afterwards, and one that gives an unevictable folio back looks at PG_mlocked afterwards:
 *
 *	clear PG_mlocked		set PG_lru
 *	full barrier			full barrier
 *	PG_lru? rescue			PG_mlocked clear? rescue
 *
 * so one of them at least sees what the other did. The same holds for a mapping that stops being
 * unevictable while its folio is on its way: then its folios are gone through, PG_lru is tried.
 * Two elsewhere set PG_lru again: compaction, of a folio that it took and does not want, and
 * check_move_unevictable_folios(). A hook in each calls lru_given_back() for the look.
 *
 * PG_unevictable excludes PG_active. There is no list of unevictable folios, only its size; the
 * count lies where the link would be.
 */
#ifndef MM_LRU_UNEVICTABLE_H
#define MM_LRU_UNEVICTABLE_H

#include "lru.h"

/* Asserted by each transition but mark and unmark: the folio is ours, and its lruvec locked. */
static __always_inline void lru_assert_ours(const struct lru_move *mv, struct folio *folio)
{
	lockdep_assert_held(&mv->lruvec->lru_lock);
	VM_WARN_ON_ONCE_FOLIO(folio_test_lru(folio), folio);
}

/*
 * May reclaim look at the folio? PG_mlocked first: it answers for all that is locked, and
 * anonymous memory needs no look at a mapping.
 */
static __always_inline bool lru_evictable(struct folio *folio)
{
	if (folio_test_mlocked(folio))
		return false;
	return folio_test_anon(folio) || folio_evictable(folio);
}

/*
 * Give the folio back. Its mark may have gone while we had it: see "nobody is left behind".
 */
static __always_inline void lru_move_give_back(struct lru_move *mv, struct folio *folio)
{
	folio_set_lru(folio);
	if (!folio_test_unevictable(folio))
		return;
	/* PG_lru before PG_mlocked; pairs with the barrier in munlock_folio_elsewhere(). */
	smp_mb__after_atomic();
	if (unlikely(lru_evictable(folio)))
		lru_rescue(mv, folio);
}

/* What a folio was like that has been marked. */
enum mlock_marked {
	MLOCK_MARKED_BEFORE,
	MLOCK_UNMARKED,		/* the caller counts it in NR_MLOCK, as for the next one */
	MLOCK_UNMARKED_COUNT,	/* and there may be a count that belongs to no mark */
};

/*
 * mark; @nr: the folio's pages.
 *
 * Whether there is a count is looked at before, without a lock: after it, the count may be one of
 * locks that know of the mark. As long as there is no mark nobody counts up, so what is seen is the
 * old count, or 0 if the folio is taken off its list meanwhile. In somebody's hands the count's
 * place may be part of a list, so there it is not looked at.
 */
static __always_inline enum mlock_marked mlock_mark(struct folio *folio, long nr)
{
	bool count = folio_test_unevictable(folio);

	if (count && folio_test_lru(folio)) {
		/* Without the lock: a count of the past may be seen, or none. */
		count = data_race(folio->mlock_count);
	}
	if (folio_test_set_mlocked(folio))
		return MLOCK_MARKED_BEFORE;
	count_vm_events(UNEVICTABLE_PGMLOCKED, nr);
	return count ? MLOCK_UNMARKED_COUNT : MLOCK_UNMARKED;
}

/*
 * unmark. @lost: the folio is unevictable, and in somebody else's hands.
 * Return: whether it was marked; then the caller takes it out of NR_MLOCK.
 */
static __always_inline bool mlock_unmark(struct folio *folio, long nr, bool lost)
{
	if (!folio_test_clear_mlocked(folio))
		return false;
	count_vm_events(lost ? UNEVICTABLE_PGSTRANDED : UNEVICTABLE_PGMUNLOCKED, nr);
	return true;
}

/* enter, off the evictable lists or from none; the caller puts it on the unevictable one. */
static __always_inline void unevictable_enter(struct lru_move *mv, struct folio *folio, long nr,
					      unsigned int count)
{
	lru_assert_ours(mv, folio);
	VM_WARN_ON_ONCE_FOLIO(folio_test_unevictable(folio), folio);
	if (folio_test_active(folio))
		folio_clear_active(folio);
	folio->mlock_count = count;
	folio_set_unevictable(folio);
	__count_vm_events(UNEVICTABLE_PGCULLED, nr);
}

/* leave; the caller puts it on an evictable list. */
static __always_inline void unevictable_leave(struct lru_move *mv, struct folio *folio, long nr)
{
	lru_assert_ours(mv, folio);
	VM_WARN_ON_ONCE_FOLIO(!folio_test_unevictable(folio), folio);
	folio_clear_unevictable(folio);
	__count_vm_events(UNEVICTABLE_PGRESCUED, nr);
}

/* count up: one more VM_LOCKED mapping. */
static __always_inline void mlock_count_up(struct lru_move *mv, struct folio *folio)
{
	lru_assert_ours(mv, folio);
	VM_WARN_ON_ONCE_FOLIO(!folio_test_unevictable(folio), folio);
	folio->mlock_count++;
}

/* count down. Return: how many are left, as far as they were counted. */
static __always_inline unsigned int mlock_count_down(struct lru_move *mv, struct folio *folio)
{
	lru_assert_ours(mv, folio);
	VM_WARN_ON_ONCE_FOLIO(!folio_test_unevictable(folio), folio);
	if (folio->mlock_count)
		folio->mlock_count--;
	return folio->mlock_count;
}

/* --- the moves, PG_lru taken and @mv at the folio's lruvec; @nr: its pages --------------- */

/* leave, and onto the list. */
static __always_inline void unevictable_to_list(struct lru_move *mv, struct folio *folio, long nr)
{
	lru_move_del(mv, folio, nr);
	unevictable_leave(mv, folio, nr);
	lru_move_add(mv, folio, nr, false);
}

/*
 * LRU_MLOCK and LRU_MLOCK_VOID: enter or count up; or find that the mark went meanwhile.
 * @void_count: the count belongs to a mark that was taken away by somebody who could not touch the
 * count.
 */
static __always_inline void lru_move_mlock(struct lru_move *mv, struct folio *folio, long nr,
					   bool void_count)
{
	bool unevictable = folio_test_unevictable(folio);

	if (unlikely(lru_evictable(folio))) {
		if (unevictable)
			unevictable_to_list(mv, folio, nr);
	} else if (!unevictable) {
		lru_move_del(mv, folio, nr);
		unevictable_enter(mv, folio, nr, folio_test_mlocked(folio));
		lru_move_add(mv, folio, nr, false);
	} else if (folio_test_mlocked(folio)) {
		if (unlikely(void_count))
			folio->mlock_count = 0;
		mlock_count_up(mv, folio);
	}
}

/* LRU_MLOCK_NEW: the folio has never been on a list. */
static __always_inline void lru_move_mlock_new(struct lru_move *mv, struct folio *folio, long nr)
{
	if (likely(!lru_evictable(folio)))
		unevictable_enter(mv, folio, nr, folio_test_mlocked(folio));
	lru_move_add(mv, folio, nr, false);
}

/* LRU_MUNLOCK: count down; unmark and leave with the last. */
static __always_inline void lru_move_munlock(struct lru_move *mv, struct folio *folio, long nr)
{
	bool unevictable = folio_test_unevictable(folio);

	if (unevictable && mlock_count_down(mv, folio))
		return;
	/* Not counted yet, or counted out: that was the last lock, as far as anybody knows. */
	if (mlock_unmark(folio, nr, false))
		mv->mlocked -= nr;
	/* The mapping may be unevictable as well, and somebody may have marked it just now. */
	if (unevictable && lru_evictable(folio))
		unevictable_to_list(mv, folio, nr);
}

#endif

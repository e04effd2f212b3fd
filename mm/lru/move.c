// SPDX-License-Identifier: GPL-2.0
/*
 * Folios change lists.
 *
 *	PG_lru taken -> lruvec locked -> off the old list -> flags -> onto the new one -> PG_lru
 *	 (from here on nobody else moves it, and its memcg stays)
 *
 * lru_lock is held from the first folio to lru_move_end(), with interrupts off, so callers move
 * at most a batch of folios at a time; see lruvec.c.
 */
#include "lru.h"
#include "unevictable.h"

#define CREATE_TRACE_POINTS
#include <trace/events/pagemap.h>

/* An event of a folio with @nr pages, in the system's and in the memcg's books. */
static void lru_count(struct lru_move *mv, long nr, enum vm_event_item what)
{
	__count_vm_events(what, nr);
	__count_memcg_events(lruvec_memcg(mv->lruvec), what, nr);
}

/*
 * The first place. A folio that was taken off for a while keeps PG_unevictable meanwhile, but
 * what it is now is decided here. Its count was lost with the link: 0, see unevictable.h.
 */
static __always_inline void lru_move_first(struct lru_move *mv, struct folio *folio, long nr)
{
	bool was = folio_test_unevictable(folio);

	if (likely(lru_evictable(folio))) {
		if (unlikely(was))
			unevictable_leave(mv, folio, nr);
	} else if (was) {
		/* Somebody may have touched it in the batch. */
		folio_clear_active(folio);
		folio->mlock_count = 0;
	} else {
		unevictable_enter(mv, folio, nr, 0);
	}
	lru_move_add(mv, folio, nr, false);
	trace_mm_lru_insertion(folio);
}

static void lru_move_activate(struct lru_move *mv, struct folio *folio, long nr)
{
	if (folio_test_active(folio) || folio_test_unevictable(folio))
		return;
	lru_move_del(mv, folio, nr);
	folio_set_active(folio);
	lru_move_add(mv, folio, nr, false);
	trace_mm_lru_activate(folio);
	lru_count(mv, nr, PGACTIVATE);
}

/* Forget what is known of its use; off its list. */
static void lru_move_cool(struct lru_move *mv, struct folio *folio, long nr)
{
	lru_move_del(mv, folio, nr);
	folio_clear_active(folio);
	folio_clear_referenced(folio);
}

static void lru_move_deactivate(struct lru_move *mv, struct folio *folio, long nr)
{
	if (folio_test_unevictable(folio))
		return;
	if (!folio_test_active(folio) && !lru_gen_enabled())
		return;
	lru_move_cool(mv, folio, nr);
	lru_move_add(mv, folio, nr, false);
	lru_count(mv, nr, PGDEACTIVATE);
}

/*
 * Somebody wanted the cache of a file gone and this folio could not go. Clean, it is the first
 * that reclaim shall take. Dirty, it goes to the head, which gives the flusher time, with
 * PG_reclaim: when it is written, it will be rotated to the tail. PG_reclaim is PG_readahead
 * too; if writing ends just now, readahead may be misled once.
 */
static void lru_move_drop_behind(struct lru_move *mv, struct folio *folio, long nr)
{
	bool active = folio_test_active(folio);
	bool busy;

	if (folio_test_unevictable(folio) || folio_mapped(folio))
		return;
	lru_move_cool(mv, folio, nr);
	busy = folio_test_dirty(folio) || folio_test_writeback(folio);
	lru_move_add(mv, folio, nr, !busy);
	if (busy)
		folio_set_reclaim(folio);
	else
		__count_vm_events(PGROTATED, nr);
	if (active)
		lru_count(mv, nr, PGDEACTIVATE);
}

/* Without PG_swapbacked an anonymous folio is as good as a clean page of a file. */
static void lru_move_lazyfree(struct lru_move *mv, struct folio *folio, long nr)
{
	if (!folio_test_anon(folio) || !folio_test_swapbacked(folio) ||
	    folio_test_swapcache(folio) || folio_test_unevictable(folio))
		return;
	lru_move_cool(mv, folio, nr);
	folio_clear_swapbacked(folio);
	lru_move_add(mv, folio, nr, false);
	lru_count(mv, nr, PGLAZYFREE);
}

static void lru_move_rotate(struct lru_move *mv, struct folio *folio, long nr)
{
	if (folio_test_unevictable(folio))
		return;
	lru_move_del(mv, folio, nr);
	folio_clear_active(folio);
	lru_move_add(mv, folio, nr, true);
	__count_vm_events(PGROTATED, nr);
}

/**
 * lru_move_folio() - make one move
 * @mv: folios on their way; its lock passes on to the next one
 * @folio: held by a reference, by a locked page table that maps it, or by writeback
 * @op: the move
 *
 * A folio that somebody else has taken off its list stays as it is, apart from a munlock, which
 * takes the mark away. The conditions of a move are looked at again here: since it was asked
 * for, the folio may have been locked, mapped or written to.
 *
 * Context: any but NMI. After the first call the lruvec's lock is held, with interrupts off, until
 * lru_move_end().
 */
void lru_move_folio(struct lru_move *mv, struct folio *folio, enum lru_op op)
{
	long nr = folio_nr_pages(folio);

	if (lru_op_is_new(op)) {
		VM_WARN_ON_ONCE_FOLIO(folio_test_lru(folio), folio);
	} else if (!folio_test_clear_lru(folio)) {
		if (op == LRU_MUNLOCK)
			munlock_folio_elsewhere(mv, folio);
		return;
	}
	lru_move_to(mv, folio);
	switch (op) {
	case LRU_ADD:
		lru_move_first(mv, folio, nr);
		break;
	case LRU_ACTIVATE:
		lru_move_activate(mv, folio, nr);
		break;
	case LRU_DEACTIVATE:
		lru_move_deactivate(mv, folio, nr);
		break;
	case LRU_DROP_BEHIND:
		lru_move_drop_behind(mv, folio, nr);
		break;
	case LRU_LAZYFREE:
		lru_move_lazyfree(mv, folio, nr);
		break;
	case LRU_WRITTEN:
		lru_move_rotate(mv, folio, nr);
		break;
	case LRU_MLOCK:
	case LRU_MLOCK_VOID:
		lru_move_mlock(mv, folio, nr, op == LRU_MLOCK_VOID);
		break;
	case LRU_MLOCK_NEW:
		lru_move_mlock_new(mv, folio, nr);
		break;
	case LRU_MUNLOCK:
		lru_move_munlock(mv, folio, nr);
		break;
	}
	lru_move_give_back(mv, folio);
}

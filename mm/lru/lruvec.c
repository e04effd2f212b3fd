// SPDX-License-Identifier: GPL-2.0
/*
 * A struct lru_move carries lru_lock from folio to folio.
 *
 *	lru_move_init()
 *	lru_move_to(folio) ----> same zone and memcg: nothing to do
 *	   |		   \---> else lru_move_switch(): account; unlock and lock, if it is
 *	   |			  another lruvec
 *	lru_move_del(), lru_move_add() ...	summed up in size[] and mlocked
 *	lru_move_end() --------> account, unlock
 *
 * What the lists gain and lose is told to the statistics once for each lruvec and zone: the
 * node's, the memcg's and the zone's counters cost more than the move itself.
 */
#include "lru.h"

static void lru_move_account(struct lru_move *mv)
{
	enum lru_list lru;

	for_each_lru(lru) {
		if (!mv->size[lru])
			continue;
		update_lru_size(mv->lruvec, lru, mv->zid, mv->size[lru]);
		mv->size[lru] = 0;
	}
	if (mv->mlocked) {
		__mod_zone_page_state(&lruvec_pgdat(mv->lruvec)->node_zones[mv->zid], NR_MLOCK,
				      mv->mlocked);
		mv->mlocked = 0;
	}
}

/**
 * lru_move_switch() - go to the lruvec and the zone of a folio
 * @mv: folios on their way
 * @folio: the next one, PG_lru taken or not yet visible to anybody
 *
 * Context: any; returns with the lruvec locked and interrupts off.
 */
void lru_move_switch(struct lru_move *mv, struct folio *folio)
{
	if (mv->lruvec) {
		lru_move_account(mv);
		if (!folio_matches_lruvec(folio, mv->lruvec)) {
			unlock_page_lruvec_irqrestore(mv->lruvec, mv->flags);
			mv->lruvec = NULL;
		}
	} else {
		memset(mv->size, 0, sizeof(mv->size));
		mv->mlocked = 0;
	}
	if (!mv->lruvec)
		mv->lruvec = folio_lruvec_lock_irqsave(folio, &mv->flags);
	mv->memcg = folio_memcg(folio);
	mv->zone = page_zone_id(&folio->page);
	mv->zid = folio_zonenum(folio);
}

/**
 * lru_move_unlock() - account everything and unlock
 * @mv: folios on their way, an lruvec locked: lru_move_end() asks for that first
 */
void lru_move_unlock(struct lru_move *mv)
{
	lru_move_account(mv);
	unlock_page_lruvec_irqrestore(mv->lruvec, mv->flags);
	mv->lruvec = NULL;
}

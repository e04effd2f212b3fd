/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_LRU_RESCUE_H
#define _LINUX_LRU_RESCUE_H

#include <linux/pagevec.h>

/*
 * For code outside mm/lru that gives a folio back to its list by setting PG_lru, and no more: the
 * folio may have stopped being unevictable meanwhile.
 */
#ifdef CONFIG_FOLIAGE_LRU
void lru_given_back(struct folio *folio);
#else
static inline void lru_given_back(struct folio *folio)
{
}
#endif

static inline void lru_batch_given_back(struct folio_batch *batch)
{
	unsigned int i;

	if (!IS_ENABLED(CONFIG_FOLIAGE_LRU))
		return;
	for (i = 0; i < folio_batch_count(batch); i++)
		lru_given_back(batch->folios[i]);
}

#endif

// SPDX-License-Identifier: GPL-2.0
/*
 * How much memory the pools may take.
 *
 *		       max_pool_percent
 *		    -----------------------> full
 *	taking pages			       | pages are written back,
 *		    <----------------------- v no more are taken
 *		    accept_threshold_percent of that
 */
#include <linux/mm.h>

#include "zswap.h"

static bool full;

static unsigned long max_pages(void)
{
	return totalram_pages() * READ_ONCE(zswap_max_pool_percent) / 100;
}

static unsigned long accept_pages(void)
{
	return max_pages() * READ_ONCE(zswap_accept_percent) / 100;
}

/**
 * zswap_limit_reached - are no more pages taken?
 *
 * Several may ask at once: the answer goes by what is there now, so that they agree, or differ by
 * what came in between.
 */
bool zswap_limit_reached(void)
{
	unsigned long pages = zswap_total_pages();

	if (pages >= max_pages()) {
		zswap_count(ZSWAP_STAT_LIMIT_HIT, 1);
		WRITE_ONCE(full, true);
	} else if (READ_ONCE(full) && pages <= accept_pages()) {
		WRITE_ONCE(full, false);
	}
	return READ_ONCE(full);
}

/* zswap_limit_exceeded - is there more than what write-back should leave? */
bool zswap_limit_exceeded(void)
{
	return zswap_total_pages() > accept_pages();
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * zswap by runs: what the swap code says to it beside <linux/zswap.h>.
 */
#ifndef _LINUX_ZSWAP_RUNS_H
#define _LINUX_ZSWAP_RUNS_H

#include <linux/zswap.h>

#ifdef CONFIG_FOLIAGE_ZSWAP

void zswap_invalidate_range(swp_entry_t swp, int nr);
bool zswap_is_run(swp_entry_t swp);
bool zswap_can_load(swp_entry_t swp, int nr, bool from_device);

/* Large folios may be read while zswap is in use, if zswap_can_load() says so. */
static inline bool zswap_blocks_large(void)
{
	return false;
}

#else

/* Stock's zswap holds what was a single page only. */
static inline void zswap_invalidate_range(swp_entry_t swp, int nr)
{
	if (nr == 1)
		zswap_invalidate(swp);
}

static inline bool zswap_is_run(swp_entry_t swp)
{
	return false;
}

static inline bool zswap_can_load(swp_entry_t swp, int nr, bool from_device)
{
	return from_device;
}

static inline bool zswap_blocks_large(void)
{
	return !zswap_never_enabled();
}

#endif

#endif /* _LINUX_ZSWAP_RUNS_H */

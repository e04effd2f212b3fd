/* SPDX-License-Identifier: GPL-2.0 */
/*
 * zswap by runs: what the swap code says to it beside <linux/zswap.h>.
 */
#ifndef _LINUX_ZSWAP_RUNS_H
#define _LINUX_ZSWAP_RUNS_H

#include <linux/swap.h>
#include <linux/zswap.h>

#ifdef CONFIG_FOLIAGE_ZSWAP

void zswap_invalidate_range(swp_entry_t swp, int nr);
bool zswap_is_run(swp_entry_t swp);
bool zswap_can_load(swp_entry_t swp, int nr, bool from_device);

/* The zeromap has it now: no older version of it may be written back over that. */
static inline void zswap_is_zeroes(struct folio *folio)
{
	zswap_invalidate_range(folio->swap, folio_nr_pages(folio));
}

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

static inline void zswap_is_zeroes(struct folio *folio)
{
}

static inline bool zswap_blocks_large(void)
{
	return !zswap_never_enabled();
}

#endif

static inline bool swap_is_synchronous(struct swap_info_struct *si)
{
	/* Other flags change while the device is in use; this one does not. */
	return data_race(si->flags & SWP_SYNCHRONOUS_IO);
}

/**
 * zswap_past_cache - should a fault read past the swap cache?
 * @si: the swap device, which stays
 * @swp: the slot, of one user; not the caller's yet
 */
static inline bool zswap_past_cache(struct swap_info_struct *si, swp_entry_t swp)
{
	return swap_is_synchronous(si) || zswap_is_run(swp);
}

/**
 * zswap_reads_at_once - will it be read by the time that swap_read_folio() returns?
 * @si: the swap device
 * @folio: to be read; its slots are the caller's
 */
static inline bool zswap_reads_at_once(struct swap_info_struct *si, struct folio *folio)
{
	return swap_is_synchronous(si) ||
	       (!folio_test_swapcache(folio) &&
		zswap_can_load(folio->swap, folio_nr_pages(folio), false));
}

#endif /* _LINUX_ZSWAP_RUNS_H */

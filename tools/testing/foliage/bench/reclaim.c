// SPDX-License-Identifier: GPL-2.0
/*
 * Taking pages away: discarded when the program gave them up, compressed into zram when it did not.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static void check_gone(const struct region *r, size_t stayed, const char *how)
{
	size_t pages = r->len / PAGE;

	if (stayed > pages / 100)
		fail("%zu of %zu pages were not %s", stayed, pages, how);
}

void reclaim_lazyfree(struct bench *b)
{
	struct region r = region_new(b, b->op->size);

	must(madvise(r.mem, r.len, MADV_FREE));
	drain_lru();
	meter_begin(b);
	must(madvise(r.mem, r.len, MADV_PAGEOUT));
	meter_end(b, r.len / PAGE);
	check_gone(&r, region_count(&r, PM_PRESENT), "discarded");
	region_free(&r);
}

void reclaim_zram(struct bench *b)
{
	struct region r;

	zram_swap_on(2 * b->size);
	r = region_new(b, b->op->size);
	drain_lru();
	meter_begin(b);
	must(madvise(r.mem, r.len, MADV_PAGEOUT));
	meter_end(b, r.len / PAGE);
	check_gone(&r, r.len / PAGE - region_count(&r, PM_SWAP), "swapped out");
	region_free(&r);
	zram_swap_off();
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What tests of files that become huge have in common.
 */
#ifndef FOLIAGE_TEST_COLLAPSE_FILE_H
#define FOLIAGE_TEST_COLLAPSE_FILE_H

#include "harness.h"
#include "../thp/thp.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

/* What others of the guest may add to a figure meanwhile, in pages. */
#define SLACK	64

static inline int collapse(char *p)
{
	settle_lru();
	return madvise(p, HUGE, MADV_COLLAPSE) ? -errno : 0;
}

/* Figures of all CPUs, together. */
static inline long count_now(const char *name)
{
	write_text("/proc/sys/vm/stat_refresh", "1");
	return vm_count(name);
}

#endif

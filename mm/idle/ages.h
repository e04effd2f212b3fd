/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Idle ages: what the thread (ages.c), the bytes (age_map.c) and the files
 * (histogram.c) share.
 */
#ifndef __MM_IDLE_AGES_H
#define __MM_IDLE_AGES_H

#include <linux/sizes.h>
#include <linux/xarray.h>

#include "window.h"

struct folio;
struct seq_file;

enum idle_age_kind { IDLE_AGE_ANON, IDLE_AGE_FILE, IDLE_AGE_UNEVICTABLE, NR_IDLE_AGE_KINDS };

/**
 * struct idle_age_table - bytes of memory by age and kind
 * @bytes: see idle_age_bucket() and enum idle_age_kind
 */
struct idle_age_table {
	u64 bytes[IDLE_AGE_BUCKETS][NR_IDLE_AGE_KINDS];
};

/**
 * struct idle_age_snapshot - what one sweep over all memory found
 * @sweeps: sweeps completed, this one included
 * @period_ms: the period it was made under
 * @all: all LRU folios
 * @groups: an idle_age_table per memory cgroup, each folio where it is charged; by the
 *	    css's serial number, which is never used again (a cgroup's id outlives the
 *	    controller being switched off and on)
 *
 * Filled by the sweeping thread alone, never changed once published.
 */
struct idle_age_snapshot {
	u64 sweeps;
	unsigned int period_ms;
	struct idle_age_table all;
	struct xarray groups;
};

/* Frames that share one allocation of ages, and one window of the thread's sweep. */
#define IDLE_AGE_CHUNK	((unsigned long)SZ_128M >> PAGE_SHIFT)

/**
 * struct idle_age_map - one byte a frame; only the first frame of a folio is used
 * @nr: number of chunks
 * @chunk: the bytes of IDLE_AGE_CHUNK frames, or NULL where no memory was seen yet
 */
struct idle_age_map {
	unsigned long nr;
	u8 *chunk[];
};

/**
 * struct idle_age_book - where a sweep over all memory keeps its accounts
 * @snap: the snapshot being filled
 * @ages: ages of the window at hand
 * @start: its first frame
 * @group_id: memory cgroup of the last folio counted
 * @group: its table, or NULL
 * @incomplete: a table was missing, so the sums do not add up
 */
struct idle_age_book {
	struct idle_age_snapshot *snap;
	u8 *ages;
	unsigned long start;
	u64 group_id;
	struct idle_age_table *group;
	bool incomplete;
};

/* age_map.c */
bool idle_map_begin(void);
void idle_map_end(void);
struct idle_age_map *idle_map_fit(void);
bool idle_map_chunk(struct idle_age_map *map, unsigned long start, u8 **ages);

/* histogram.c */
void idle_snapshot_expect(unsigned int period_ms);
struct idle_age_snapshot *idle_snapshot_alloc(u64 sweeps, unsigned int period_ms);
void idle_snapshot_free(struct idle_age_snapshot *snap);
void idle_snapshot_publish(struct idle_age_snapshot *snap);
void idle_snapshot_add(struct idle_age_book *book, struct folio *folio, u8 age);
ssize_t idle_ages_emit(char *buf);

#endif /* __MM_IDLE_AGES_H */

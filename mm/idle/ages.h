/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Idle ages: what the thread (ages.c) and the files (histogram.c) share.
 */
#ifndef __MM_IDLE_AGES_H
#define __MM_IDLE_AGES_H

#include <linux/xarray.h>

#include "window.h"

struct folio;
struct seq_file;

enum idle_age_kind { IDLE_AGE_ANON, IDLE_AGE_FILE, IDLE_AGE_UNEVICTABLE, NR_IDLE_AGE_KINDS };

/* Bytes of memory by age and kind. */
struct idle_age_table {
	u64 bytes[IDLE_AGE_BUCKETS][NR_IDLE_AGE_KINDS];
};

/**
 * struct idle_age_snapshot - what one sweep over all memory found
 * @sweeps: sweeps completed, this one included
 * @all: all LRU folios
 * @groups: an idle_age_table per memory cgroup id, each folio where it is charged
 *
 * Filled by the sweeping thread alone, never changed once published.
 */
struct idle_age_snapshot {
	u64 sweeps;
	struct idle_age_table all;
	struct xarray groups;
};

/* One byte a frame; only the first frame of a folio is used. */
struct idle_age_map {
	unsigned long nr;
	u8 age[];
};

/**
 * struct idle_age_book - where a sweep over all memory keeps its accounts
 * @map: the ages
 * @snap: the snapshot being filled
 * @group_id: memory cgroup of the last folio counted
 * @group: its table, or NULL
 */
struct idle_age_book {
	struct idle_age_map *map;
	struct idle_age_snapshot *snap;
	u64 group_id;
	struct idle_age_table *group;
};

/* histogram.c */
struct idle_age_snapshot *idle_snapshot_alloc(u64 sweeps);
void idle_snapshot_free(struct idle_age_snapshot *snap);
void idle_snapshot_publish(struct idle_age_snapshot *snap);
void idle_snapshot_add(struct idle_age_book *book, struct folio *folio, u8 age);
ssize_t idle_ages_emit(char *buf);

#endif /* __MM_IDLE_AGES_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pagewatch slabs: what its files share.
 *
 *   slabs         reads the kernel's caches, tells of them once
 *   slabs_record  looks again and again, keeps it, reads it back
 *   slabs_plot    records as a picture
 */
#ifndef SLABS_H
#define SLABS_H

#include "pagewatch.h"

struct slab {
	char *name;
	char *folder;		/* in /sys/kernel/slab; NULL when read from a record */
	unsigned int names;	/* that share it */
	uint64_t object;	/* bytes of one */
	uint64_t used;		/* objects */
	uint64_t objects;	/* that there is room for */
	uint64_t slabs;
	uint64_t bytes;		/* of all pages */
	uint64_t loss;
	int64_t growth;		/* of @bytes over the interval */
};

struct slab_list {
	struct slab *slab;
	size_t nr;
};

/* Looks at the same caches, one after the other. */
struct slab_sample {
	double time;		/* since the start */
	struct slab_list list;
};

struct slab_record {
	const char *path;	/* that it was read from */
	double interval;
	bool slabinfo;		/* where it was read: /proc/slabinfo */
	struct slab_sample *sample;
	size_t nr;
};

/* slabs.c */
void slab_list_free(struct slab_list *l);
void slab_list_take(struct slab_list *l, struct slab *s, uint64_t slab_bytes);
int slabs_read(struct slab_list *l, bool *slabinfo);
void slabs_sort(struct slab_list *l, bool by_loss);
void slabs_add_up(const struct slab_list *l, struct slab *sum);

/* slabs_record.c */
struct slab_watch {
	double interval;
	unsigned int count;	/* 0: until stopped */
	const char *record;	/* file to keep it in, or NULL */
	bool slabinfo;		/* tell it as slabinfo -X does */
};

int slabs_watch(const struct slab_watch *w);
bool is_slab_record(const char *path);
int slab_record_read(struct slab_record *r, const char *path);
void slab_record_free(struct slab_record *r);
int slabs_report(char **path, size_t nr, const struct report *how);
const struct slab *slab_find(const struct slab_list *l, const char *name, unsigned int nth);

/* slabs_plot.c */
int slabs_plot(const struct slab_record *r, size_t nr, const struct report *how);

#endif

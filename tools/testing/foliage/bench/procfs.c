// SPDX-License-Identifier: GPL-2.0
/* The files of /proc that show frames and page tables, read in large pieces as tools do. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define PIECE		8192UL		/* entries per call */
#define OWNERS_GAP	16UL		/* frames: page tables, a slab */
#define MIN_RUN		64UL		/* shorter runs of frames would measure the call itself */

static uint64_t entries[PIECE];

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/*
 * Where runs of frames begin, with no more than @gap from one to the next: those that are long
 * enough are moved to the front.
 */
static size_t find_runs(uint64_t *pfn, size_t end, size_t gap, size_t *length)
{
	size_t i, n, runs = 0;

	qsort(pfn, end, 8, by_value);
	for (i = 0; i < end; i += n) {
		uint64_t first = pfn[i], last = first;

		for (n = 1; i + n < end; n++) {
			if (pfn[i + n] - last > gap || pfn[i + n] - first >= PIECE)
				break;
			last = pfn[i + n];
		}
		if (last - first + 1 < MIN_RUN)
			continue;
		pfn[runs] = first;
		length[runs++] = last - first + 1;
	}
	return runs;
}

/* Read a file of 8 bytes per frame over @end frames, in runs. */
static void read_runs(struct bench *b, const char *path, uint64_t *pfn, size_t end, size_t gap)
{
	size_t runs, i, *length = need_memory(end * sizeof(*length));
	int fd = open_file(path, O_RDONLY);
	uint64_t units = 0;

	memset(entries, 0, sizeof(entries));
	runs = find_runs(pfn, end, gap, length);
	meter_begin(b);
	for (i = 0; i < runs; i++) {
		read_fully(fd, entries, length[i] * 8, pfn[i] * 8, path);
		units += length[i];
	}
	meter_end(b, units);
	if (units < end / 2)
		fail("the test's memory is in pieces of under %lu frames: run on a fresh boot",
		     MIN_RUN);
	close(fd);
	free(length);
}

static void read_frames(struct bench *b, const char *path)
{
	struct region r = region_new(b, b->op->size);
	uint64_t *pfn = region_pfns(&r);

	read_runs(b, path, pfn, r.len / PAGE, 1);
	free(pfn);
	region_free(&r);
}

/* All frames in large reads: what is kept of one frame must not be told of another. */
static void check_cgroups(const struct owners *o)
{
	int fd = open_file("/proc/kpagecgroup", O_RDONLY);
	size_t i = 0;

	while (i < o->n) {
		uint64_t first = o->pfn[i], n;

		n = must(pread(fd, entries, sizeof(entries), first * 8)) / 8;
		if (!n)
			fail("/proc/kpagecgroup ends before frame %#llx",
			     (unsigned long long)first);
		for (; i < o->n && o->pfn[i] - first < n; i++)
			if (entries[o->pfn[i] - first] != o->cgroup[i])
				fail("frame %#llx is said to be charged to cgroup %llu, not %llu",
				     (unsigned long long)o->pfn[i],
				     (unsigned long long)entries[o->pfn[i] - first],
				     (unsigned long long)o->cgroup[i]);
	}
	close(fd);
}

/*
 * The same over memory of many small owners, in folios of several sizes, and what the kernel
 * itself has taken for them in between.
 */
static void read_owners(struct bench *b, const char *path)
{
	struct owners o = owners_start(b);

	check_cgroups(&o);
	read_runs(b, path, o.pfn, o.n, OWNERS_GAP);
	owners_stop(&o);
}

void kpageflags_read(struct bench *b)
{
	read_frames(b, "/proc/kpageflags");
}

void kpagecount_read(struct bench *b)
{
	read_frames(b, "/proc/kpagecount");
}

void kpagecgroup_read(struct bench *b)
{
	read_frames(b, "/proc/kpagecgroup");
}

void kpageflags_owners(struct bench *b)
{
	read_owners(b, "/proc/kpageflags");
}

void kpagecount_owners(struct bench *b)
{
	read_owners(b, "/proc/kpagecount");
}

void kpagecgroup_owners(struct bench *b)
{
	read_owners(b, "/proc/kpagecgroup");
}

/* Free memory at the top of the guest, which nothing of the test has touched. */
void kpageflags_free(struct bench *b)
{
	size_t bytes = b->size / PAGE * 8, end, at;
	int fd = open_file("/proc/kpageflags", O_RDONLY);
	uint64_t *flags = need_memory(bytes);

	for (end = 0; pread(fd, entries, 8, end * 8) == 8; )
		end += b->size / PAGE;
	/* The window with the fewest frames in use: the last of memory, or close to it. */
	for (at = end - b->size / PAGE; at; at -= b->size / PAGE) {
		size_t i, free_frames = 0, n = pread(fd, flags, bytes, at * 8) / 8;

		for (i = 0; i < n; i++)
			free_frames += flags[i] >> 10 & 1;
		if (n == b->size / PAGE && free_frames == n)
			break;
	}
	if (!at)
		fail("no %zu MiB of memory are free in one piece: run on a fresh boot",
		     b->size / MiB);
	meter_begin(b);
	read_fully(fd, flags, bytes, at * 8, "/proc/kpageflags");
	meter_end(b, b->size / PAGE);
	free(flags);
	close(fd);
}

static void read_pagemap(struct bench *b, const struct region *r)
{
	int fd = open_file("/proc/self/pagemap", O_RDONLY);
	size_t first = (uintptr_t)r->mem / PAGE, end = r->len / PAGE, i, n;

	memset(entries, 0, sizeof(entries));
	meter_begin(b);
	for (i = 0; i < end; i += n) {
		n = end - i < PIECE ? end - i : PIECE;
		read_fully(fd, entries, n * 8, (first + i) * 8, "/proc/self/pagemap");
	}
	meter_end(b, end);
	close(fd);
}

void pagemap_read(struct bench *b)
{
	struct region r = region_new(b, b->op->size);

	read_pagemap(b, &r);
	region_free(&r);
}

void pagemap_read_hole(struct bench *b)
{
	struct region r = region_map(b, FOLIO_4K, 0);

	read_pagemap(b, &r);
	region_free(&r);
}

/* As most tools do: one entry, wherever they happen to be. */
void pagemap_read_one(struct bench *b)
{
	struct region r = region_new(b, FOLIO_4K);
	int fd = open_file("/proc/self/pagemap", O_RDONLY);
	size_t i, end = r.len / PAGE / 16;

	meter_begin(b);
	for (i = 0; i < end; i++)
		read_fully(fd, entries, 8, ((uintptr_t)r.mem / PAGE + i * 16) * 8,
			   "/proc/self/pagemap");
	meter_end(b, end);
	close(fd);
	region_free(&r);
}

// SPDX-License-Identifier: GPL-2.0
/* The files of /proc that show frames and page tables, read in large pieces as tools do. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define PIECE		8192UL		/* entries per call */
#define MIN_RUN		64UL		/* shorter runs of frames would measure the call itself */

static uint64_t entries[PIECE];

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Read a file of 8 bytes per frame over the test's frames, in runs of consecutive ones. */
static void read_frames(struct bench *b, const char *path)
{
	struct region r = region_new(b, b->op->size);
	uint64_t *pfn = region_pfns(&r), units = 0;
	size_t i, n, end = r.len / PAGE;
	int fd = open_file(path, O_RDONLY);

	memset(entries, 0, sizeof(entries));
	qsort(pfn, end, 8, by_value);
	meter_begin(b);
	for (i = 0; i < end; i += n) {
		for (n = 1; n < PIECE && i + n < end && pfn[i + n] == pfn[i] + n; )
			n++;
		if (n < MIN_RUN)
			continue;
		read_fully(fd, entries, n * 8, pfn[i] * 8, path);
		units += n;
	}
	meter_end(b, units);
	if (units < end / 2)
		fail("the test's memory is in pieces of under %lu frames: run on a fresh boot",
		     MIN_RUN);
	close(fd);
	free(pfn);
	region_free(&r);
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

void pagemap_read(struct bench *b)
{
	struct region r = region_new(b, b->op->size);
	int fd = open_file("/proc/self/pagemap", O_RDONLY);
	size_t first = (uintptr_t)r.mem / PAGE, end = r.len / PAGE, i, n;

	memset(entries, 0, sizeof(entries));
	meter_begin(b);
	for (i = 0; i < end; i += n) {
		n = end - i < PIECE ? end - i : PIECE;
		read_fully(fd, entries, n * 8, (first + i) * 8, "/proc/self/pagemap");
	}
	meter_end(b, end);
	close(fd);
	region_free(&r);
}

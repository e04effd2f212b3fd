// SPDX-License-Identifier: GPL-2.0
/*
 * Compaction of a node whose memory is in pieces. Blocks of 2 MiB are filled with small folios, and
 * every second of them is freed: no block is free, and half of them could be. The rest of the node
 * is free, or in use, in whole blocks, in which compaction finds nothing to do.
 *
 * The unit is a page of 4 KiB that was moved. How many blocks of 2 MiB are free that were not is
 * told beside it: a kernel that moves fewer pages, and frees fewer blocks, must not look cheaper.
 * Scanning is part of the cost. How many pages are moved is decided by where the two scanners meet:
 * a few hundred of 16,000 more or less, and a block or two with them, which depends on where
 * others' pages lie. So the whole call's cost repeats to 2% only, that of a page to 0.4% with small
 * pages, and to 1% with 64 KiB folios, where the scan has more weight.
 *
 * The rows with a driver's pages have a few of them in every block, and nothing else: where they
 * cannot be moved, no block can be freed. Their unit is a block under test, freed or not.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define COMPACT		"/sys/devices/system/node/node0/compact"
#define PCP_FRACTION	"/proc/sys/vm/percpu_pagelist_high_fraction"
#define DRIVER		"/sys/kernel/debug/test_movable/"
/* Pages of the driver. */
#define PER_BLOCK	8
#define BLOCK_ORDER	9
#define UNEVICTABLE	"/proc/sys/vm/compact_unevictable_allowed"
#define FILL_MAX	(256 * MiB)
/* In pages. The allocator takes 63 at a time for a CPU, and cuts up a block when it must. */
#define FILL_LEFT	64
#define FILL_STEP	16UL
/* Times the --size of the benchmark. */
#define TIMES		4
#define PCP_ROUNDS	500
/* Of one CPU in one zone, below which it is no use. */
#define PCP_LEFT	256

/* Pages of node 0 that wait in a CPU's list of free pages, the longest list. */
static size_t pcp_longest(void)
{
	FILE *f = fopen("/proc/zoneinfo", "re");
	size_t count, longest = 0;
	char line[256];
	int node = -1;

	if (!f)
		fail("/proc/zoneinfo: %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		sscanf(line, "Node %d,", &node);
		if (!node && sscanf(line, " count: %zu", &count) == 1 && count > longest)
			longest = count;
	}
	fclose(f);
	return longest;
}

/*
 * What the CPUs keep in their lists is free but in no block. With the shortest lists allowed, each
 * refresh of the statistics gives back a part of them.
 */
static void drain_free(void)
{
	int i;

	put(PCP_FRACTION, "1000000");
	for (i = 0; i < PCP_ROUNDS && pcp_longest() > PCP_LEFT; i++)
		put("/proc/sys/vm/stat_refresh", "1");
	if (i == PCP_ROUNDS)
		fail("%zu pages stay in a CPU's list of free pages", pcp_longest());
}

/*
 * Free pages of node 0 in lines of a table whose columns are orders, from order @from on, or up to
 * there; @pattern says what the lines begin with, and leaves the table's start to its %n.
 */
static size_t free_pages(const char *path, const char *pattern, int from, int to)
{
	FILE *f = fopen(path, "re");
	size_t pages = 0, n;
	char line[256], *at, *end;
	int node, start, order;

	if (!f)
		fail("%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		start = 0;
		if (sscanf(line, pattern, &node, &start) != 1 || node || !start)
			continue;
		for (order = 0, at = line + start; ; order++, at = end) {
			n = strtoul(at, &end, 10);
			if (end == at)
				break;
			if (order >= from && order <= to)
				pages += n << order;
		}
	}
	fclose(f);
	return pages;
}

/* Of 2 MiB each. */
static size_t free_blocks(void)
{
	return free_pages("/proc/buddyinfo", "Node %d, zone %*s%n", BLOCK_ORDER, INT_MAX) >>
	       BLOCK_ORDER;
}

/* Free pages of orders below @order, and of the kind that the test's memory is taken from. */
static size_t free_pieces(int order)
{
	return free_pages("/proc/pagetypeinfo", "Node %d, zone %*s type Movable%n", 0, order - 1);
}

/**
 * struct filler - locked memory in what others have left in pieces
 * @mem: FILL_MAX bytes of address space
 * @used: bytes of it that are present
 *
 * Small pieces of free memory would take part in compaction as places to move to, and one page of
 * them in the wrong moment decides whether a large folio finds a place or is split: so they are
 * used up. Compaction is told to leave locked pages where they are.
 */
struct filler {
	char *mem;
	size_t used;
};

static void fill_pieces(struct filler *f, int order, size_t left)
{
	size_t pieces, step;

	drain_lru();
	drain_free();
	while ((pieces = free_pieces(order)) > left) {
		step = pieces / 2 > FILL_STEP ? pieces / 2 * PAGE : FILL_STEP * PAGE;
		if (f->used + step > FILL_MAX)
			fail("too little memory lies together: run on a fresh boot");
		must(mlock(f->mem + f->used, step));
		f->used += step;
	}
	drain_lru();
}

static struct filler filler_new(void)
{
	struct filler f = { 0 };

	f.mem = mmap(NULL, FILL_MAX, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (f.mem == MAP_FAILED)
		fail("mapping memory: %s", strerror(errno));
	put(UNEVICTABLE, "0");
	must(madvise(f.mem, FILL_MAX, MADV_NOHUGEPAGE));
	fill_pieces(&f, BLOCK_ORDER, FILL_LEFT);
	return f;
}

static void filler_free(struct filler *f)
{
	must(munmap(f->mem, FILL_MAX));
	put(UNEVICTABLE, "1");
	settings_steady();
}

/* Counts @units, or the pages that were moved. */
static void compact(struct bench *b, size_t units)
{
	uint64_t moved;
	size_t before, after;

	drain_lru();
	drain_free();
	before = free_blocks();
	moved = vmstat("pgmigrate_success");
	meter_begin(b);
	put(COMPACT, "1");
	meter_end(b, units);
	if (!units)
		b->units = vmstat("pgmigrate_success") - moved;
	drain_free();
	after = free_blocks();
	if (after < before)
		fail("compaction left %zu free blocks of %zu", after, before);
	b->blocks = after - before;
}

/* Every second folio is kept: what does it hold? */
static void check_kept(const struct region *r)
{
	size_t at;

	for (at = 0; at < r->len; at += PAGE)
		if (at / r->folio % 2 && *(volatile uint64_t *)(r->mem + at) != at + 1)
			fail("page %zu holds %#llx instead of %#zx", at / PAGE,
			     (unsigned long long)*(uint64_t *)(r->mem + at), at + 1);
}

/* Half of the blocks could be free, but for a few that pages of others get into. */
static void check_gain(const struct bench *b, const struct region *r)
{
	size_t want = r->len / FOLIO_2M * 3 / 8;

	if (b->blocks < (int64_t)want)
		fail("only %lld blocks of %zu became free", (long long)b->blocks,
		     r->len / FOLIO_2M);
	if (b->units < r->len / PAGE * 3 / 16)
		fail("only %llu pages were moved", (unsigned long long)b->units);
}

void compact_anon(struct bench *b)
{
	struct region r;
	struct filler f;
	size_t at;

	b->size *= TIMES;
	f = filler_new();
	r = region_new(b, FOLIO_2M);
	drain_lru();
	region_split(&r, b->op->size);
	region_check(&r);
	/* No smaller piece at all; 64 KiB go back past the CPUs' lists, so there will be none. */
	if (r.folio != FOLIO_4K)
		fill_pieces(&f, __builtin_ctzl(r.folio / PAGE), 0);
	for (at = 0; at < r.len; at += 2 * r.folio)
		must(madvise(r.mem + at, r.folio, MADV_DONTNEED));
	compact(b, 0);
	check_gain(b, &r);
	check_kept(&r);
	region_free(&r);
	filler_free(&f);
}

void compact_file(struct bench *b)
{
	struct region r;
	struct filler f;
	size_t at;
	int fd;

	b->size *= TIMES;
	f = filler_new();
	r = region_map(b, FOLIO_2M, 0);
	fd = region_shmem(&r);
	/* In huge folios at first; cutting holes into it splits them. */
	r.folio = FOLIO_4K;
	drain_lru();
	for (at = 0; at < r.len; at += 2 * PAGE)
		must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, PAGE));
	check_kept(&r);
	compact(b, 0);
	check_gain(b, &r);
	check_kept(&r);
	region_free(&r);
	filler_free(&f);
	close(fd);
}

static void driver_leave_out(void)
{
	if (access(DRIVER, F_OK))
		leave_out();
}

/* A few holes in each block, and nothing else free in pieces: the driver fills them. */
static void driver_spread(const struct region *r, bool movable)
{
	size_t blocks = r->len / FOLIO_2M, i, j, at;
	char text[32];

	for (i = 0; i < blocks; i++)
		for (j = 0; j < PER_BLOCK; j++) {
			at = (i * 37 + j * (FOLIO_2M / PAGE / PER_BLOCK)) % (FOLIO_2M / PAGE);
			must(madvise(r->mem + i * FOLIO_2M + at * PAGE, PAGE, MADV_DONTNEED));
		}
	put(DRIVER "movable", movable ? "1" : "0");
	snprintf(text, sizeof(text), "%zu 0", blocks * PER_BLOCK);
	put(DRIVER "alloc", text);
	put(DRIVER "movable", "1");
}

/* In how many blocks the driver has pages. */
static size_t driver_blocks(void)
{
	FILE *f = fopen(DRIVER "pages", "re");
	unsigned long pfn, max = sysconf(_SC_PHYS_PAGES) * 2;
	char *seen = need_memory(max >> BLOCK_ORDER);
	char line[128];
	size_t n = 0;

	if (!f)
		fail(DRIVER "pages: %s", strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*u %lu", &pfn) != 1 || pfn >= max)
			fail("a line of " DRIVER "pages is '%s'", line);
		n += !seen[pfn >> BLOCK_ORDER];
		seen[pfn >> BLOCK_ORDER] = 1;
	}
	fclose(f);
	free(seen);
	return n;
}

static void driver_verify(size_t want)
{
	FILE *f = fopen(DRIVER "verify", "re");
	size_t pages, wrong;

	if (!f || fscanf(f, "pages %zu wrong %zu", &pages, &wrong) != 2)
		fail(DRIVER "verify cannot be read");
	fclose(f);
	if (pages != want || wrong)
		fail("the driver has %zu of %zu pages, %zu of them with wrong contents", pages,
		     want, wrong);
}

static void compact_driver(struct bench *b, bool movable)
{
	struct filler f;
	struct region r;
	size_t blocks;

	driver_leave_out();
	b->size *= TIMES;
	blocks = b->size / FOLIO_2M;
	f = filler_new();
	r = region_new(b, FOLIO_2M);
	drain_lru();
	region_split(&r, FOLIO_4K);
	region_check(&r);
	driver_spread(&r, movable);
	if (driver_blocks() < blocks * 7 / 8)
		fail("the driver's pages are in %zu of %zu blocks only", driver_blocks(), blocks);
	region_free(&r);
	compact(b, blocks);
	driver_verify(blocks * PER_BLOCK);
	if (movable && b->blocks < (int64_t)blocks / 2)
		fail("only %lld of %zu blocks became free", (long long)b->blocks, blocks);
	if (!movable && driver_blocks() < blocks * 7 / 8)
		fail("pages that cannot be moved are in %zu blocks now", driver_blocks());
	put(DRIVER "free", "all");
	filler_free(&f);
}

void compact_movable(struct bench *b)
{
	compact_driver(b, true);
}

void compact_pinned(struct bench *b)
{
	compact_driver(b, false);
}

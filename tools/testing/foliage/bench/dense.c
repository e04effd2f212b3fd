// SPDX-License-Identifier: GPL-2.0
/*
 * Memory placed by frame. Work on frame numbers costs something for every frame of a window, the
 * test's or not, and the allocator's mood must not decide how many windows a test is spread over.
 *
 * So: take 2 MiB folios (the pool) until enough of them lie in the same windows, give just those
 * back, and let the test's memory take them at once, while all other folios of the pool are still
 * held.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define BLOCK_FRAMES	(FOLIO_2M / PAGE)
#define MAX_STRAYS	64
#define SPLIT_TRIES	5
#define GROW_BLOCKS	16
#define SPARE_BLOCKS	512		/* address space only, until it is needed */
#define NONE		(~0ULL)

/**
 * struct pool - 2 MiB folios held
 * @window: of each block, which window it lies in; NONE once given back
 */
struct pool {
	struct region r;
	size_t blocks;
	size_t populated;
	uint64_t *window;
};

static size_t node0_free(void)
{
	const char *path = "/sys/devices/system/node/node0/meminfo";
	size_t kib = 0;
	char line[128];
	FILE *f = fopen(path, "re");

	if (!f)
		fail("%s: %s (CONFIG_NUMA is needed)", path, strerror(errno));
	while (fgets(line, sizeof(line), f))
		sscanf(line, "Node 0 MemFree: %zu", &kib);
	fclose(f);
	return kib << 10;
}

static uint64_t frame_of(const void *at)
{
	struct region page = { .mem = (char *)at, .len = PAGE, .folio = PAGE };
	uint64_t *pfn = region_pfns(&page), frame = *pfn;

	free(pfn);
	return frame;
}

static void pool_grow(struct pool *p, size_t blocks, size_t frames)
{
	size_t end = p->populated + blocks, i;

	if (end > p->blocks || node0_free() < (blocks + 32) * FOLIO_2M)
		fail("too little memory lies together: run on a fresh boot or shrink --size");
	for (i = p->populated; i < end; i++) {
		char *at = p->r.mem + i * FOLIO_2M;

		*(volatile char *)at = 1;
		p->window[i] = frame_of(at) / frames;
	}
	p->populated = end;
	if (anon_huge_bytes() < end * FOLIO_2M)
		fail("too few 2 MiB folios to be had: run on a fresh boot or shrink --size");
}

static size_t pool_count(const struct pool *p, uint64_t window)
{
	size_t i, n = 0;

	for (i = 0; i < p->populated; i++)
		n += p->window[i] == window;
	return n;
}

static bool is_chosen(uint64_t window, const uint64_t *chosen, size_t nr)
{
	size_t i;

	for (i = 0; i < nr; i++)
		if (window == chosen[i])
			return true;
	return false;
}

/* Fill @chosen with windows that hold @blocks of the pool's blocks; false if there are too few. */
static bool choose(const struct pool *p, size_t blocks, size_t per_window, uint64_t *chosen,
		   size_t nr)
{
	size_t i, n = 0;

	for (i = 0; i < p->populated && n < nr; i++) {
		size_t left = blocks - n * per_window;
		size_t want = left < per_window ? left : per_window;

		if (!is_chosen(p->window[i], chosen, n) && pool_count(p, p->window[i]) >= want)
			chosen[n++] = p->window[i];
	}
	return n == nr;
}

static void give_back(struct pool *p, const uint64_t *chosen, size_t nr, size_t blocks)
{
	size_t i;

	for (i = 0; i < p->populated && blocks; i++) {
		if (!is_chosen(p->window[i], chosen, nr))
			continue;
		must(madvise(p->r.mem + i * FOLIO_2M, FOLIO_2M, MADV_DONTNEED));
		p->window[i] = NONE;
		blocks--;
	}
}

/*
 * The allocator may have had a 2 MiB block from elsewhere at hand: take it out of the region, hold
 * it for the moment, and fault the place in again.
 */
static void replace_strays(const struct region *r, const uint64_t *chosen, size_t nr, size_t frames)
{
	void *held[MAX_STRAYS];
	size_t at = 0, n = 0;

	while (at < r->len) {
		if (is_chosen(frame_of(r->mem + at) / frames, chosen, nr)) {
			at += FOLIO_2M;
			continue;
		}
		if (n == MAX_STRAYS)
			fail("more than %d folios are in the wrong place: run on a fresh boot",
			     MAX_STRAYS);
		held[n] = mremap(r->mem + at, FOLIO_2M, FOLIO_2M, MREMAP_MAYMOVE | MREMAP_DONTUNMAP,
				 NULL);
		if (held[n++] == MAP_FAILED)
			fail("mremap: %s", strerror(errno));
		*(volatile char *)(r->mem + at) = 1;
	}
	while (n)
		must(munmap(held[--n], FOLIO_2M));
}

/* Have the kernel split the region's 2 MiB folios into folios of @folio bytes. */
void region_split(struct region *r, size_t folio)
{
	char request[96];

	snprintf(request, sizeof(request), "%d,%#lx,%#lx,%d", getpid(), (unsigned long)r->mem,
		 (unsigned long)r->mem + r->len, __builtin_ctzl(folio / PAGE));
	put("/sys/kernel/debug/split_huge_pages", request);
	r->folio = folio;
}

/* Compaction may hold a folio for a moment, and then it does not split. */
static void split_surely(struct region *r, size_t folio)
{
	int tries = SPLIT_TRIES;

	do {
		drain_lru();
		region_split(r, folio);
	} while (region_misfit(r) != NO_PAGE && --tries && !usleep(10000));
}

/* Like region_new(), in as few aligned windows of @frames frames as can hold it. */
struct region region_dense(const struct bench *b, size_t folio, size_t frames)
{
	size_t blocks = b->size / FOLIO_2M, per_window = frames / BLOCK_FRAMES;
	size_t nr = (blocks + per_window - 1) / per_window;
	uint64_t *chosen = need_memory(nr * sizeof(*chosen));
	struct bench all = *b;
	struct pool p = { .blocks = blocks + 8 * per_window + SPARE_BLOCKS };
	struct region r;

	all.size = p.blocks * FOLIO_2M;
	p.window = need_memory(p.blocks * sizeof(*p.window));
	p.r = region_map(&all, FOLIO_2M, MAP_NORESERVE);
	pool_grow(&p, blocks + per_window, frames);
	while (!choose(&p, blocks, per_window, chosen, nr))
		pool_grow(&p, GROW_BLOCKS, frames);
	r = region_map(b, FOLIO_2M, 0);
	give_back(&p, chosen, nr, blocks);
	region_populate(&r);
	replace_strays(&r, chosen, nr, frames);
	region_populate(&r);
	region_free(&p.r);
	if (folio != FOLIO_2M)
		split_surely(&r, folio);
	region_check(&r);
	free(p.window);
	free(chosen);
	return r;
}

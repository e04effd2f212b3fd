// SPDX-License-Identifier: GPL-2.0
/*
 * Memory under test, and proof that it is what the operation wants: pagemap for frames, kpageflags
 * for folios.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

#define SHMEM_THP	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define PM_FRAME	((1ULL << 55) - 1)
#define HEAD		(1ULL << KPF_COMPOUND_HEAD)
#define TAIL		(1ULL << KPF_COMPOUND_TAIL)

/* A mapping that nothing has touched yet. */
struct region region_map(const struct bench *b, size_t folio, int extra_flags)
{
	struct region r = { .len = b->size, .folio = folio, .base_len = b->size + 2 * FOLIO_2M };
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

	settings_folio(folio);
	r.base = mmap(NULL, r.base_len, PROT_NONE, flags, -1, 0);
	if (r.base == MAP_FAILED)
		fail("no address space for %zu bytes: %s", r.base_len, strerror(errno));
	r.mem = (char *)(((uintptr_t)r.base + FOLIO_2M) & ~(FOLIO_2M - 1));
	if (mmap(r.mem, r.len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | extra_flags, -1, 0) == MAP_FAILED)
		fail("mapping %zu bytes: %s", r.len, strerror(errno));
	if (folio == FOLIO_2M)
		must(madvise(r.mem, r.len, MADV_HUGEPAGE));
	return r;
}

void region_populate(const struct region *r)
{
	size_t at;

	for (at = 0; at < r->len; at += PAGE)
		*(volatile uint64_t *)(r->mem + at) = at + 1;
}

/* Populated in the order that the operation wants. */
void region_fill(const struct bench *b, const struct region *r)
{
	if (b->op->scattered)
		region_populate_scattered(r);
	else
		region_populate(r);
}

/* Populated with folios of the size wanted, and checked. */
struct region region_new(const struct bench *b, size_t folio)
{
	struct region r = region_map(b, folio, 0);

	region_fill(b, &r);
	region_check(&r);
	return r;
}

void region_free(struct region *r)
{
	must(munmap(r->base, r->base_len));
	r->base = NULL;
}

/* One pagemap entry per 4 KiB; the caller frees. */
uint64_t *region_pagemap(const struct region *r)
{
	size_t n = r->len / PAGE;
	uint64_t *map = need_memory(n * 8);
	int fd = open_file("/proc/self/pagemap", O_RDONLY);

	read_fully(fd, map, n * 8, (uintptr_t)r->mem / PAGE * 8, "/proc/self/pagemap");
	close(fd);
	return map;
}

size_t region_count(const struct region *r, uint64_t pagemap_bits)
{
	uint64_t *map = region_pagemap(r);
	size_t i, n = 0;

	for (i = 0; i < r->len / PAGE; i++)
		n += !!(map[i] & pagemap_bits);
	free(map);
	return n;
}

/* One frame number per 4 KiB; the caller frees. */
uint64_t *region_pfns(const struct region *r)
{
	uint64_t *map = region_pagemap(r);
	size_t i;

	for (i = 0; i < r->len / PAGE; i++) {
		if (!(map[i] & PM_PRESENT))
			fail("page %zu of the test's memory is not present: shrink --size", i);
		map[i] &= PM_FRAME;
		if (!map[i])
			fail("/proc/self/pagemap hides frame numbers: run as root");
	}
	return map;
}

static bool page_fits(const struct region *r, size_t i, const uint64_t *pfn, uint64_t flags)
{
	size_t in_folio = i % (r->folio / PAGE);
	uint64_t want = r->folio == PAGE ? 0 : in_folio ? TAIL : HEAD;

	return (flags & (HEAD | TAIL)) == want && pfn[i] == pfn[i - in_folio] + in_folio;
}

/* The first page that is not in a folio of the size wanted, or NO_PAGE. */
size_t region_misfit(const struct region *r)
{
	uint64_t *pfn = region_pfns(r), flags[512];
	int fd = open_file("/proc/kpageflags", O_RDONLY);
	size_t i, j, n, end = r->len / PAGE, found = NO_PAGE;

	for (i = 0; i < end && found == NO_PAGE; i += n) {
		for (n = 1; n < 512 && i + n < end && pfn[i + n] == pfn[i] + n; )
			n++;
		read_fully(fd, flags, n * 8, pfn[i] * 8, "/proc/kpageflags");
		for (j = 0; j < n && found == NO_PAGE; j++)
			if (!page_fits(r, i + j, pfn, flags[j]))
				found = i + j;
	}
	close(fd);
	free(pfn);
	return found;
}

void region_check(const struct region *r)
{
	size_t misfit = region_misfit(r);

	if (misfit != NO_PAGE)
		fail("page %zu of the test is not in a %zu KiB folio: run on a fresh boot", misfit,
		     r->folio >> 10);
	if (r->folio == FOLIO_2M && anon_huge_bytes() < r->len)
		fail("the test's 2 MiB folios are not mapped by PMDs");
}

/* Bytes that this process maps through PMDs. */
size_t anon_huge_bytes(void)
{
	char line[256];
	size_t kib = 0;
	FILE *f = fopen("/proc/self/smaps_rollup", "re");

	if (!f)
		fail("/proc/self/smaps_rollup: %s", strerror(errno));
	while (fgets(line, sizeof(line), f))
		sscanf(line, "AnonHugePages: %zu", &kib);
	fclose(f);
	return kib << 10;
}

/*
 * Fresh pages wait in a per-CPU batch before they reach an LRU list, and while there idle tracking
 * passes over them. Moving a page to the node where it is has the batches of all CPUs emptied.
 */
void drain_lru(void)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int node = 0, status = 0;
	long left;

	if (page == MAP_FAILED)
		fail("mapping a page: %s", strerror(errno));
	*(volatile char *)page = 1;
	left = syscall(SYS_move_pages, 0, 1UL, &page, &node, &status, MPOL_MF_MOVE);
	if (left < 0 && errno != ENOSYS)
		fail("move_pages of one page to its own node: %s", strerror(errno));
	must(munmap(page, PAGE));
}

/*
 * Idle tracking clears Accessed bits without a TLB flush, so a load through a cached translation
 * would leave no trace. Protecting more pages than are worth flushing one by one flushes all of
 * this process's translations.
 */
void forget_tlb(void)
{
	size_t len = 256 * PAGE;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		fail("mapping scratch memory: %s", strerror(errno));
	must(mprotect(p, len, PROT_READ));
	must(munmap(p, len));
}

/* A file in memory, of huge folios, in the place of the region's memory; its descriptor. */
int region_shmem(struct region *r)
{
	int fd = must(memfd_create("bench", MFD_CLOEXEC));

	must(ftruncate(fd, r->len));
	if (mmap(r->mem, r->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
	    MAP_FAILED)
		fail("mapping a file: %s", strerror(errno));
	must(madvise(r->mem, r->len, MADV_HUGEPAGE));
	put(SHMEM_THP, "advise");
	region_populate(r);
	put(SHMEM_THP, "never");
	if (region_misfit(r) != NO_PAGE)
		fail("page %zu of the file is in no huge folio: run on a fresh boot",
		     region_misfit(r));
	return fd;
}

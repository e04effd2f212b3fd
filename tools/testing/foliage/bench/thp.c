// SPDX-License-Identifier: GPL-2.0
/* Huge folios taken apart: first the mapping, then the folio; and what becomes of their mappings. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#endif

static void check_no_pmds(void)
{
	if (anon_huge_bytes())
		fail("%zu bytes are still mapped by PMDs", anon_huge_bytes());
}

/*
 * Protecting one page of a huge folio has its mapping rewritten as 512 entries; the folio stays
 * whole.
 */
void thp_split_pmd(struct bench *b)
{
	struct region r = region_new(b, FOLIO_2M);
	size_t at;

	drain_lru();
	meter_begin(b);
	for (at = 0; at < r.len; at += FOLIO_2M)
		must(mprotect(r.mem + at + FOLIO_2M / 2, PAGE, PROT_READ));
	meter_end(b, r.len / FOLIO_2M);
	check_no_pmds();
	region_free(&r);
}

/* The same, and one of the entries goes. */
void thp_split_pmd_drop(struct bench *b)
{
	struct region r = region_new(b, FOLIO_2M);
	size_t at;

	drain_lru();
	meter_begin(b);
	for (at = 0; at < r.len; at += FOLIO_2M)
		must(madvise(r.mem + at + FOLIO_2M / 2, PAGE, MADV_DONTNEED));
	meter_end(b, r.len / FOLIO_2M);
	check_no_pmds();
	region_free(&r);
}

static void split_all(struct bench *b, struct region *r, size_t folio)
{
	size_t units = r->len / r->folio;

	drain_lru();
	meter_begin(b);
	region_split(r, folio);
	meter_end(b, units);
	region_check(r);
	region_free(r);
}

void thp_split_folio(struct bench *b)
{
	struct region r = region_new(b, FOLIO_2M);

	split_all(b, &r, FOLIO_4K);
}

/* The folios are mapped by entries of their pages, since one of those was protected for a moment. */
void thp_split_ptes(struct bench *b)
{
	struct region r = region_new(b, FOLIO_2M);

	map_by_ptes(&r);
	split_all(b, &r, FOLIO_4K);
}

void thp_split_64k(struct bench *b)
{
	struct region r = region_new(b, FOLIO_64K);

	split_all(b, &r, FOLIO_4K);
}

void thp_split_to_64k(struct bench *b)
{
	struct region r = region_new(b, FOLIO_2M);

	split_all(b, &r, FOLIO_64K);
}

/* The page in the middle of each 2 MiB is a folio by itself. */
static void check_middles(const struct region *r)
{
	uint64_t *pfn = region_pfns(r), flags;
	size_t at;

	for (at = FOLIO_2M / PAGE / 2; at < r->len / PAGE; at += FOLIO_2M / PAGE) {
		flags = frame_flags(pfn[at]);
		if (flags >> KPF_COMPOUND_HEAD & 1 || flags >> KPF_COMPOUND_TAIL & 1)
			fail("page %zu is still a part of a large folio", at);
	}
	free(pfn);
}

/* One page is not used any more, which splits the folio; what becomes of the others is not asked. */
void thp_split_one(struct bench *b)
{
	struct region r = region_new(b, FOLIO_2M);
	size_t at;

	drain_lru();
	meter_begin(b);
	for (at = 0; at < r.len; at += FOLIO_2M)
		must(madvise(r.mem + at + FOLIO_2M / 2, PAGE, MADV_COLD));
	meter_end(b, r.len / FOLIO_2M);
	check_middles(&r);
	region_free(&r);
}

/* A hole of one page in a file. That the folio was split is seen by the memory that the file has. */
void thp_split_one_shmem(struct bench *b)
{
	struct region r = region_map(b, FOLIO_2M, 0);
	int fd = region_shmem(&r);
	struct stat st;
	size_t at;

	drain_lru();
	meter_begin(b);
	for (at = 0; at < r.len; at += FOLIO_2M)
		must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       at + FOLIO_2M / 2, PAGE));
	meter_end(b, r.len / FOLIO_2M);
	must(fstat(fd, &st));
	if ((size_t)st.st_blocks * 512 != r.len - r.len / FOLIO_2M * PAGE)
		fail("the file has %zu bytes after %zu holes", (size_t)st.st_blocks * 512,
		     r.len / FOLIO_2M);
	region_free(&r);
	close(fd);
}

/* Mappings by PMDs stay that: protected and not, moved, given to reclaim. */
void thp_protect(struct bench *b)
{
	struct region r = region_new(b, FOLIO_2M);

	drain_lru();
	meter_begin(b);
	must(mprotect(r.mem, r.len, PROT_READ));
	must(mprotect(r.mem, r.len, PROT_READ | PROT_WRITE));
	meter_end(b, 2 * r.len / FOLIO_2M);
	region_check(&r);
	region_free(&r);
}

void thp_remap(struct bench *b)
{
	struct region r = region_new(b, FOLIO_2M), to = region_map(b, FOLIO_2M, 0);

	drain_lru();
	meter_begin(b);
	if (mremap(r.mem, r.len, r.len, MREMAP_MAYMOVE | MREMAP_FIXED, to.mem) != to.mem)
		fail("mremap: %s", strerror(errno));
	meter_end(b, r.len / FOLIO_2M);
	region_check(&to);
	region_free(&to);
	region_free(&r);
}

void thp_lazyfree(struct bench *b)
{
	struct region r = region_new(b, FOLIO_2M);

	drain_lru();
	meter_begin(b);
	must(madvise(r.mem, r.len, MADV_FREE));
	meter_end(b, r.len / FOLIO_2M);
	region_check(&r);
	region_free(&r);
}

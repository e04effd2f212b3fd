// SPDX-License-Identifier: GPL-2.0
/* Huge folios made from small ones, and taken apart again: first the mapping, then the folio. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

void thp_collapse(struct bench *b)
{
	struct region r = region_new(b, FOLIO_4K);

	drain_lru();
	meter_begin(b);
	if (madvise(r.mem, r.len, MADV_COLLAPSE))
		fail("MADV_COLLAPSE: %s", strerror(errno));
	meter_end(b, r.len / FOLIO_2M);
	r.folio = FOLIO_2M;
	region_check(&r);
	region_free(&r);
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
	if (anon_huge_bytes())
		fail("%zu bytes are still mapped by PMDs", anon_huge_bytes());
	region_free(&r);
}

void thp_split_folio(struct bench *b)
{
	struct region r = region_new(b, FOLIO_2M);

	drain_lru();
	meter_begin(b);
	region_split(&r, FOLIO_4K);
	meter_end(b, r.len / FOLIO_2M);
	region_check(&r);
	region_free(&r);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Out to zswap and in again, without the compressor's cost: half pages are copied (../copy). Folios
 * of 64 KiB go there on our kernel; stock's way is to have them in single pages, or on the device.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define PARAMETERS	"/sys/module/zswap/parameters/"
#define STORED		"/sys/kernel/debug/zswap/stored_pages"
#define OURS		"/sys/kernel/debug/zswap/stored_runs"
#define HALF		(PAGE / 2)

/* One of the two is for this kernel: the other one is refused for its version. */
static void load_compressor(void)
{
	static const char * const built[] = { "stock", "ours" };
	char self[PATH_MAX] = "", path[2 * PATH_MAX];
	int i, fd;

	must(readlink("/proc/self/exe", self, sizeof(self) - 1));
	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/copy-%s/foliage_copy.ko", dirname(strdupa(self)),
			 built[i]);
		fd = open_file(path, O_RDONLY);
		if (!syscall(SYS_finit_module, fd, "", 0) || errno == EEXIST)
			break;
		close(fd);
	}
	if (i == 2)
		fail("no compressor for this kernel: finit_module: %s", strerror(errno));
	close(fd);
}

static void zswap_on(const struct bench *b, const char *compressor)
{
	zram_swap_on(2 * b->size);
	load_compressor();
	put(PARAMETERS "compressor", compressor);
	put(PARAMETERS "max_pool_percent", "50");
	put(PARAMETERS "enabled", "1");
}

static void zswap_off(void)
{
	put(PARAMETERS "enabled", "0");
	zram_swap_off();
}

static size_t stored(void)
{
	char text[32] = "";
	int fd = open_file(STORED, O_RDONLY);

	must(read(fd, text, sizeof(text) - 1));
	close(fd);
	return strtoull(text, NULL, 10);
}

static uint64_t word(size_t page, size_t i)
{
	return (page << 16 | i) * 0x9e3779b97f4a7c15ULL | 1;
}

/* Half a page of words that are all different, or a page of one word. */
static void fill(const struct region *r, bool same)
{
	for (size_t at = 0; at < r->len / PAGE; at++) {
		uint64_t *p = (uint64_t *)(r->mem + at * PAGE);

		for (size_t i = 0; i < PAGE / 8; i++)
			p[i] = same ? word(at, 0) : i < HALF / 8 ? word(at, i) : 0;
	}
}

static void verify(const struct region *r)
{
	for (size_t at = 0; at < r->len / PAGE; at++) {
		const uint64_t *p = (const uint64_t *)(r->mem + at * PAGE);

		for (size_t i = 0; i < PAGE / 8; i++)
			if (p[i] != (i < HALF / 8 ? word(at, i) : 0))
				fail("page %zu came back with another word %zu", at, i);
	}
}

/* Pages of one word do not end in zeroes: for them it is a real compressor, stock's own choice. */
static struct region filled(struct bench *b, bool same)
{
	struct region r;

	zswap_on(b, same ? "lzo" : "foliage-copy");
	r = region_new(b, access(OURS, F_OK) ? FOLIO_4K : b->op->size);
	fill(&r, same);
	drain_lru();
	return r;
}

static void check_out(const struct region *r)
{
	if (region_count(r, PM_SWAP) != r->len / PAGE || stored() != r->len / PAGE)
		fail("of %zu pages %zu are swapped out, %zu in zswap", r->len / PAGE,
		     region_count(r, PM_SWAP), stored());
}

static void out(struct bench *b, bool same)
{
	struct region r = filled(b, same);

	meter_begin(b);
	must(madvise(r.mem, r.len, MADV_PAGEOUT));
	meter_end(b, r.len / PAGE);
	check_out(&r);
	region_free(&r);
	zswap_off();
}

void zswap_out(struct bench *b)
{
	out(b, false);
}

void zswap_out_same(struct bench *b)
{
	out(b, true);
}

void zswap_in(struct bench *b)
{
	struct region r = filled(b, false);

	must(madvise(r.mem, r.len, MADV_PAGEOUT));
	check_out(&r);
	meter_begin(b);
	for (size_t at = 0; at < r.len; at += PAGE)
		*(volatile char *)(r.mem + at);
	meter_end(b, r.len / PAGE);
	verify(&r);
	region_free(&r);
	zswap_off();
}

/* A program ends while it is swapped out. */
void zswap_drop(struct bench *b)
{
	struct region r = filled(b, false);

	must(madvise(r.mem, r.len, MADV_PAGEOUT));
	check_out(&r);
	meter_begin(b);
	must(munmap(r.mem, r.len));
	meter_end(b, r.len / PAGE);
	if (stored())
		fail("%zu pages are still in zswap", stored());
	region_free(&r);
	zswap_off();
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Idle page tracking. The bitmap is used as working-set tools use it: 4096-byte calls, every bit of
 * a window set. Windows (the 32768 frames of one call) that hold no page of the test are left out
 * of the figures; so that the others hold nothing else, the test's memory is placed by frame and
 * rounded up to whole windows.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define BITMAP		"/sys/kernel/mm/page_idle/bitmap"
#define WINDOW_BYTES	4096UL		/* at most */
#define WINDOW_FRAMES	(WINDOW_BYTES * 8)
#define FREE_WINDOWS	4

/**
 * struct sweep - the windows of one test
 * @frames: frames of a window
 * @pfn: frame of each page of the test
 * @number: windows by number, @nr of them
 * @bits: what was read, by the same index
 */
struct sweep {
	int fd;
	size_t frames;
	uint64_t *pfn;
	size_t pages;
	uint64_t *number;
	size_t nr;
	uint64_t (*bits)[WINDOW_BYTES / 8];
};

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void sweep_open(struct sweep *s, const struct bench *b, const struct region *r)
{
	size_t i, n = 0;

	s->fd = open_file(BITMAP, O_RDWR);
	s->frames = b->call * 8;
	s->pfn = region_pfns(r);
	s->pages = r->len / PAGE;
	s->number = need_memory(s->pages * 8);
	for (i = 0; i < s->pages; i++)
		s->number[i] = s->pfn[i] / s->frames;
	qsort(s->number, s->pages, 8, by_value);
	for (i = 0; i < s->pages; i++)
		if (!n || s->number[i] != s->number[n - 1])
			s->number[n++] = s->number[i];
	s->nr = n;
	s->bits = need_memory(n * WINDOW_BYTES);
	memset(s->bits, 0, n * WINDOW_BYTES);
}

static void sweep_close(struct sweep *s)
{
	close(s->fd);
	free(s->pfn);
	free(s->number);
	free(s->bits);
}

/* The last window of memory may be short; only nothing at all is an error. */
static void sweep_mark(const struct sweep *s)
{
	uint64_t ones[WINDOW_BYTES / 8];
	size_t bytes = s->frames / 8, i;

	memset(ones, 0xff, sizeof(ones));
	for (i = 0; i < s->nr; i++)
		if (pwrite(s->fd, ones, bytes, s->number[i] * bytes) <= 0)
			fail("writing %s at window %llu: %s", BITMAP,
			     (unsigned long long)s->number[i], strerror(errno));
}

static void sweep_read(struct sweep *s)
{
	size_t bytes = s->frames / 8, i;

	for (i = 0; i < s->nr; i++)
		if (pread(s->fd, s->bits[i], bytes, s->number[i] * bytes) <= 0)
			fail("reading %s at window %llu: %s", BITMAP,
			     (unsigned long long)s->number[i], strerror(errno));
}

static bool sweep_is_idle(const struct sweep *s, uint64_t pfn)
{
	uint64_t number = pfn / s->frames, bit = pfn % s->frames;
	uint64_t *w = bsearch(&number, s->number, s->nr, 8, by_value);

	return w && s->bits[w - s->number][bit / 64] >> bit % 64 & 1;
}

/*
 * Do the bits say what happened? Folios 0, @step, 2 * @step ... were touched, all others are idle;
 * 0: none was. One in a hundred may differ: a page can be off its list for a moment.
 */
static void sweep_check(const struct sweep *s, const struct region *r, size_t step)
{
	size_t per = r->folio / PAGE, folios = s->pages / per, wrong = 0, i;

	for (i = 0; i < folios; i++) {
		bool touched = step && i % step == 0;

		wrong += sweep_is_idle(s, s->pfn[i * per]) == touched;
	}
	if (wrong > folios / 100)
		fail("%zu of %zu folios have the wrong idle bit%s", wrong, folios,
		     step ? " after every other one was touched" : " after all were marked");
}

/*
 * Loads, not stores: a store to a shared page would copy it. @step 1: every folio, 2: every other
 * one.
 */
static void touch(const struct region *r, size_t step)
{
	size_t at;

	forget_tlb();
	for (at = 0; at < r->len; at += step * r->folio)
		*(volatile char *)(r->mem + at);
}

static void mark(struct bench *b, struct region *r)
{
	struct sweep s;

	drain_lru();
	sweep_open(&s, b, r);
	touch(r, 1);
	meter_begin(b);
	sweep_mark(&s);
	meter_end(b, s.pages);
	sweep_read(&s);
	sweep_check(&s, r, 0);
	sweep_close(&s);
}

static void read_back(struct bench *b, struct region *r)
{
	struct sweep s;

	drain_lru();
	sweep_open(&s, b, r);
	sweep_mark(&s);
	touch(r, 2);
	meter_begin(b);
	sweep_read(&s);
	meter_end(b, s.pages);
	sweep_check(&s, r, 2);
	sweep_close(&s);
}

/* Windows are filled to the last frame. */
static struct region whole_windows(struct bench *b)
{
	size_t frames = b->call * 8, window = frames * PAGE;
	struct region r;

	b->size = (b->size + window - 1) / window * window;
	r = region_dense(b, b->op->size, frames);
	if (b->op->scattered)
		region_scatter(b, &r);
	return r;
}

void idle_mark(struct bench *b)
{
	struct region r = whole_windows(b);

	mark(b, &r);
	region_free(&r);
}

void idle_read(struct bench *b)
{
	struct region r = whole_windows(b);

	read_back(b, &r);
	region_free(&r);
}

static void check_mapcount(const struct region *r, int want)
{
	int fd = open_file("/proc/kpagecount", O_RDONLY);
	uint64_t *pfn = region_pfns(r), count;

	read_fully(fd, &count, 8, pfn[r->len / PAGE / 2] * 8, "/proc/kpagecount");
	if (count != (uint64_t)want)
		fail("a page of the test is mapped %llu times instead of %d",
		     (unsigned long long)count, want);
	free(pfn);
	close(fd);
}

static void touch_all(void *region)
{
	touch(region, 1);
}

/* @first: what the other processes do with their mappings, which fork() has left old. */
static void shared(struct bench *b, void (*first)(void *region),
		   void (*measure)(struct bench *b, struct region *r))
{
	struct region r = whole_windows(b);
	pid_t *pids = sharers_start(b->sharers - 1, first, &r);

	check_mapcount(&r, b->sharers);
	measure(b, &r);
	sharers_stop(pids, b->sharers - 1);
	region_free(&r);
}

void idle_mark_shared(struct bench *b)
{
	shared(b, NULL, mark);
}

/* All processes have just used all pages: each mapping's Accessed bit is to be cleared. */
void idle_mark_used(struct bench *b)
{
	shared(b, touch_all, mark);
}

void idle_read_shared(struct bench *b)
{
	shared(b, NULL, read_back);
}

/* Is every frame of this window in the buddy allocator's hands? -1: memory ends before it does. */
static int window_is_free(int fd, uint64_t number)
{
	static uint64_t flags[WINDOW_FRAMES / 8];
	uint64_t part, i;

	for (part = 0; part < 8; part++) {
		off_t at = (number * WINDOW_FRAMES + part * WINDOW_FRAMES / 8) * 8;
		ssize_t n = must(pread(fd, flags, sizeof(flags), at));

		if (n < (ssize_t)sizeof(flags))
			return -1;
		for (i = 0; i < WINDOW_FRAMES / 8; i++)
			if (!(flags[i] >> KPF_BUDDY & 1) || flags[i] >> KPF_NOPAGE & 1)
				return 0;
	}
	return 1;
}

void idle_read_free(struct bench *b)
{
	int fd = open_file("/proc/kpageflags", O_RDONLY), is_free = 0;
	uint64_t number[FREE_WINDOWS], n;
	struct sweep s = { .number = number, .frames = WINDOW_FRAMES };

	for (n = 0; s.nr < FREE_WINDOWS && is_free >= 0; n++) {
		is_free = window_is_free(fd, n);
		if (is_free > 0)
			number[s.nr++] = n;
	}
	close(fd);
	if (!s.nr)
		fail("no 128 MiB of memory are free in one piece: run on a fresh boot");
	s.fd = open_file(BITMAP, O_RDWR);
	s.bits = need_memory(s.nr * WINDOW_BYTES);
	meter_begin(b);
	sweep_read(&s);
	meter_end(b, s.nr * WINDOW_FRAMES);
	close(s.fd);
	free(s.bits);
}

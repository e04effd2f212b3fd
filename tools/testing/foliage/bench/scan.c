// SPDX-License-Identifier: GPL-2.0
/*
 * PAGEMAP_SCAN as a tracker of writes uses it: 1 GiB, one page in 64 written since the last time,
 * which ones is asked and they are write-protected again. What is tracked is always 1 GiB. And as
 * one uses it who wants to know what is there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

/* Newer than the headers of some distributions that build this: kernel 6.7. */
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC	(1 << 15)
#endif
#ifndef PAGEMAP_SCAN
struct page_region {
	uint64_t start, end, categories;
};

struct pm_scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted,
		 category_mask, category_anyof_mask, return_mask;
};

#define PAGEMAP_SCAN		_IOWR('f', 16, struct pm_scan_arg)
#define PAGE_IS_WRITTEN		(1 << 1)
#define PAGE_IS_PRESENT		(1 << 3)
#define PAGE_IS_SWAPPED		(1 << 4)
#define PM_SCAN_WP_MATCHING	(1 << 0)
#endif

#define TRACKED		(1024 * MiB)
#define EVERY		64
#define REGIONS		(TRACKED / PAGE / EVERY)

static int tracker(const struct region *r)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC };
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)r->mem, .len = r->len },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		fail("userfaultfd: %s (needs root and CONFIG_USERFAULTFD)", strerror(errno));
	if (ioctl(fd, UFFDIO_API, &api) < 0)
		fail("userfaultfd lacks asynchronous write-protection: %s", strerror(errno));
	must(ioctl(fd, UFFDIO_REGISTER, &reg));
	return fd;
}

/* Which pages were written, protected again; how many regions that makes. */
static long scan(int fd, const struct region *r, struct page_region *vec, size_t len)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg), .flags = PM_SCAN_WP_MATCHING,
		.start = (uintptr_t)r->mem, .end = (uintptr_t)r->mem + r->len,
		.vec = (uintptr_t)vec, .vec_len = len,
		.category_mask = PAGE_IS_WRITTEN, .return_mask = PAGE_IS_WRITTEN,
	};

	return must(ioctl(fd, PAGEMAP_SCAN, &arg));
}

void scan_written(struct bench *b)
{
	struct bench big = { .size = TRACKED };
	struct region r = region_map(&big, FOLIO_4K, 0);
	struct page_region *vec = need_memory((REGIONS + 1) * sizeof(*vec));
	int track = tracker(&r), fd = open_file("/proc/self/pagemap", O_RDONLY);
	size_t at;
	long n;

	region_fill(b, &r);
	scan(fd, &r, vec, REGIONS + 1);
	for (at = 0; at < r.len; at += EVERY * PAGE)
		*(volatile char *)(r.mem + at) = 1;
	meter_begin(b);
	n = scan(fd, &r, vec, REGIONS + 1);
	meter_end(b, r.len / PAGE);
	if (n != REGIONS)
		fail("%ld regions were found of %zu that were written", n, (size_t)REGIONS);
	if (scan(fd, &r, vec, REGIONS + 1))
		fail("pages are still writable after they were write-protected");
	close(track);
	close(fd);
	free(vec);
	region_free(&r);
}

/* All pages match and make one region, and none is asked whether it is a file's. */
void scan_present(struct bench *b)
{
	struct region r = region_new(b, b->op->size);
	struct page_region vec = { 0 };
	struct pm_scan_arg arg = {
		.size = sizeof(arg), .start = (uintptr_t)r.mem,
		.end = (uintptr_t)r.mem + r.len, .vec = (uintptr_t)&vec, .vec_len = 1,
		.category_mask = PAGE_IS_PRESENT, .return_mask = PAGE_IS_PRESENT,
	};
	int fd = open_file("/proc/self/pagemap", O_RDONLY);
	long n;

	meter_begin(b);
	n = must(ioctl(fd, PAGEMAP_SCAN, &arg));
	meter_end(b, r.len / PAGE);
	if (n != 1 || vec.start != arg.start || vec.end != arg.end ||
	    vec.categories != PAGE_IS_PRESENT)
		fail("pages that are present were not found");
	close(fd);
	region_free(&r);
}

/* --- how long a reader keeps others from changing the address space --- */

#define TRACING	"/sys/kernel/tracing/"

/*
 * The longest time between taking the mmap lock, as @taken says, and giving it back, in nanoseconds.
 */
static uint64_t longest_hold(const char *taken)
{
	FILE *f = fopen(TRACING "trace", "r");
	unsigned long sec, usec, at, since = 0, longest = 0;
	char line[512], *event;

	if (!f)
		fail(TRACING "trace cannot be read");
	while (fgets(line, sizeof(line), f)) {
		event = strstr(line, ": mmap_lock_");
		if (!event)
			continue;
		*event = 0;
		if (sscanf(strrchr(line, ' '), "%lu.%lu", &sec, &usec) != 2)
			fail("no time in the trace: %s", line);
		at = sec * 1000000 + usec;
		if (!strncmp(event + 2, "mmap_lock_acquire_returned", 26))
			since = strstr(event + 2, taken) ? at : 0;
		else if (!strncmp(event + 2, "mmap_lock_released", 18) && since && at - since > longest)
			longest = at - since;
	}
	fclose(f);
	return longest * 1000;
}

/**
 * meter_hold - the figure is not what something takes, but the longest hold of the mmap lock in it
 * @b: the row
 * @r: the memory
 * @taken: the hold that counts, a word of the trace: "write=true", or "" for any
 * @act: does it
 */
void meter_hold(struct bench *b, const struct region *r, const char *taken,
		void (*act)(const struct region *r))
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", getpid());
	put(TRACING "trace_clock", "mono");
	put(TRACING "set_event_pid", pid);
	put(TRACING "trace", "");
	meter_begin(b);
	put(TRACING "events/mmap_lock/enable", "1");
	act(r);
	put(TRACING "events/mmap_lock/enable", "0");
	meter_end(b, 1);
	b->ns = longest_hold(taken);
	put(TRACING "trace", "");
}

static void hold(struct bench *b, void (*read_it)(const struct region *r))
{
	struct bench big = { .size = TRACKED };
	struct region r = region_map(&big, FOLIO_4K, 0);

	region_populate(&r);
	meter_hold(b, &r, "", read_it);
	region_free(&r);
}

/* Nothing is reported, so that only the looking is seen. */
static void scan_all(const struct region *r)
{
	struct page_region vec;
	struct pm_scan_arg arg = {
		.size = sizeof(arg), .start = (uintptr_t)r->mem,
		.end = (uintptr_t)r->mem + r->len, .vec = (uintptr_t)&vec, .vec_len = 1,
		.category_mask = PAGE_IS_SWAPPED, .return_mask = PAGE_IS_SWAPPED,
	};
	int fd = open_file("/proc/self/pagemap", O_RDONLY);

	if (must(ioctl(fd, PAGEMAP_SCAN, &arg)))
		fail("pages are swapped");
	close(fd);
}

void scan_hold(struct bench *b)
{
	hold(b, scan_all);
}

static void read_all(const struct region *r)
{
	size_t bytes = r->len / PAGE * 8;
	uint64_t *entries = need_memory(bytes);
	int fd = open_file("/proc/self/pagemap", O_RDONLY);

	read_fully(fd, entries, bytes, (uintptr_t)r->mem / PAGE * 8, "/proc/self/pagemap");
	close(fd);
	free(entries);
}

void pagemap_hold(struct bench *b)
{
	hold(b, read_all);
}

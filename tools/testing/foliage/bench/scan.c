// SPDX-License-Identifier: GPL-2.0
/*
 * PAGEMAP_SCAN as a tracker of writes uses it: 1 GiB, one page in 64 written since the last time,
 * which ones is asked and they are write-protected again. What is tracked is always 1 GiB.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
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
	long n = must(ioctl(fd, PAGEMAP_SCAN, &arg));

	return n;
}

void scan_written(struct bench *b)
{
	struct bench big = { .size = TRACKED };
	struct region r = region_map(&big, FOLIO_4K, 0);
	struct page_region *vec = need_memory((REGIONS + 1) * sizeof(*vec));
	int track = tracker(&r), fd = open_file("/proc/self/pagemap", O_RDONLY);
	size_t at;
	long n;

	region_populate(&r);
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

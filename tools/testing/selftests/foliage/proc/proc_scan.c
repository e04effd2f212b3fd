// SPDX-License-Identifier: GPL-2.0
/*
 * PAGEMAP_SCAN to the letter: errors, where a scan ends and how it is gone on with, who may protect
 * pages from being written to, and which.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>

#include "harness.h"
#include "proc_abi.h"

FIXTURE(scan)
{
	int fd;
	struct region r;
	struct page_region vec[1200];
	struct pm_scan_arg arg;
};

static long scan(int fd, struct pm_scan_arg *arg)
{
	return ioctl(fd, PAGEMAP_SCAN, arg);
}

FIXTURE_SETUP(scan)
{
	self->fd = open_or_die("/proc/self/pagemap");
	region_make(&self->r, ANON_4K, 1024);
	self->arg = scan_of(self->r.p, 1024, self->vec, 1200);
}

FIXTURE_TEARDOWN(scan)
{
	region_free(&self->r);
	close(self->fd);
}

#define EXPECT_REFUSED(error, change) do {				\
	struct pm_scan_arg keep = self->arg;				\
	change;								\
	EXPECT_EQ(-1, scan(self->fd, &self->arg));					\
	EXPECT_EQ(error, errno);					\
	/* Refused at once: nothing is written. */			\
	EXPECT_EQ(0, self->arg.walk_end);				\
	self->arg = keep;						\
} while (0)

TEST_F(scan, bad_arguments)
{
	EXPECT_REFUSED(EINVAL, self->arg.size = 0);
	EXPECT_REFUSED(EINVAL, self->arg.size = sizeof(self->arg) + 8);
	EXPECT_REFUSED(EINVAL, self->arg.flags = 4);
	EXPECT_REFUSED(EINVAL, self->arg.flags = 1ULL << 63);
	EXPECT_REFUSED(EINVAL, self->arg.category_mask = 0x100);
	EXPECT_REFUSED(EINVAL, self->arg.category_anyof_mask = 0x100);
	EXPECT_REFUSED(EINVAL, self->arg.category_inverted = 0x100);
	EXPECT_REFUSED(EINVAL, self->arg.return_mask = 1ULL << 40);
	EXPECT_REFUSED(EINVAL, self->arg.start++);
	EXPECT_REFUSED(EINVAL, self->arg.vec = 0);
	EXPECT_REFUSED(EFAULT, self->arg.end = -PAGE);
	EXPECT_REFUSED(EFAULT, self->arg.end = self->arg.start - PAGE);
	EXPECT_REFUSED(EFAULT, self->arg.vec = -PAGE);
	EXPECT_REFUSED(EFAULT, self->arg.vec_len = 1ULL << 50);
	EXPECT_EQ(-1, ioctl(self->fd, PAGEMAP_SCAN, 8));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(1, scan(self->fd, &self->arg));
	EXPECT_EQ(self->arg.end, self->arg.walk_end);
}

TEST_F(scan, array_that_cannot_be_written)
{
	self->arg.vec = (uintptr_t)before_the_edge(0);
	EXPECT_EQ(-1, scan(self->fd, &self->arg));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(scan, empty_range)
{
	self->arg.end = self->arg.start;
	EXPECT_EQ(0, scan(self->fd, &self->arg));
	EXPECT_EQ(self->arg.start, self->arg.walk_end);
}

/* The end is rounded up to a whole page. */
TEST_F(scan, end_inside_a_page)
{
	self->arg.end = self->arg.start + 1;
	EXPECT_EQ(1, scan(self->fd, &self->arg));
	EXPECT_EQ(self->arg.start + PAGE, self->vec[0].end);
	EXPECT_EQ(self->arg.start + PAGE, self->arg.walk_end);
}

/* Stopped by max_pages or the array, and gone on with, it finds what it finds in one go. */
TEST_F(scan, in_steps)
{
	static char seen[1024];
	size_t limit, at;
	long n, i;

	/* Every third page is in no region. */
	for (at = 0; at < 1024; at += 3)
		madvise(self->r.p + at * PAGE, PAGE, MADV_DONTNEED);
	self->arg.category_mask = PAGE_IS_PRESENT;
	for (limit = 1; limit < 1500; limit = limit * 2 + 1) {
		memset(seen, 0, sizeof(seen));
		self->arg.start = (uintptr_t)self->r.p;
		while (self->arg.start < self->arg.end) {
			if (limit & 2)
				self->arg.max_pages = limit;
			else
				self->arg.vec_len = limit < 1200 ? limit : 1200;
			n = scan(self->fd, &self->arg);
			ASSERT_GE(n, 0);
			for (i = 0; i < n; i++)
				for (at = self->vec[i].start; at < self->vec[i].end; at += PAGE)
					seen[(at - (uintptr_t)self->r.p) / PAGE]++;
			ASSERT_GT(self->arg.walk_end, self->arg.start);
			self->arg.start = self->arg.walk_end;
		}
		for (at = 0; at < 1024; at++)
			EXPECT_EQ(at % 3 ? 1 : 0, seen[at]);
		self->arg.max_pages = 0;
		self->arg.vec_len = 1200;
	}
}

/* More regions than are collected at once, and the array has room for all: it is the end. */
TEST_F(scan, end_after_many_regions)
{
	size_t at;

	if (stock())
		SKIP(return, "stock leaves an earlier address in walk_end");
	for (at = 0; at < 1024; at += 2)
		madvise(self->r.p + at * PAGE, PAGE, MADV_DONTNEED);
	self->arg.category_mask = PAGE_IS_PRESENT;
	EXPECT_EQ(512, scan(self->fd, &self->arg));
	EXPECT_EQ(self->arg.end, self->arg.walk_end);
	for (at = 0; at < 512; at++)
		EXPECT_EQ((uintptr_t)self->r.p + (2 * at + 1) * PAGE, self->vec[at].start);
}

TEST_F(scan, write_protection_needs_permission)
{
	self->arg.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC;
	EXPECT_EQ(-1, scan(self->fd, &self->arg));
	EXPECT_EQ(EPERM, errno);
	/* Without the check what may not be protected is passed over. */
	self->arg.flags = PM_SCAN_WP_MATCHING;
	EXPECT_EQ(0, scan(self->fd, &self->arg));
}

/* Where a VMA that is not tracked comes after one that is. */
TEST_F(scan, permission_ends_in_the_middle)
{
	int track = track_writes(self->r.p, 512 * PAGE);

	self->arg.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC;
	EXPECT_EQ(-1, scan(self->fd, &self->arg));
	EXPECT_EQ(EPERM, errno);
	if (!stock())
		EXPECT_EQ((uintptr_t)self->r.p + 512 * PAGE, self->arg.walk_end);
	close(track);
}

/* No page is reported and none protected that is not of the kind asked for. */
TEST_F(scan, protects_only_what_matches)
{
	int track = track_writes(self->r.p, 1024 * PAGE);

	self->arg.flags = PM_SCAN_WP_MATCHING;
	self->arg.category_mask = PAGE_IS_FILE;
	EXPECT_EQ(0, scan(self->fd, &self->arg));
	if (!stock()) {
		/* Nor without an array. */
		self->arg.vec = 0;
		self->arg.vec_len = 0;
		EXPECT_EQ(0, scan(self->fd, &self->arg));
	}
	self->arg = scan_of(self->r.p, 1024, self->vec, 1200);
	self->arg.category_mask = PAGE_IS_WRITTEN;
	EXPECT_EQ(1, scan(self->fd, &self->arg));
	EXPECT_EQ(self->arg.end, self->vec[0].end);
	close(track);
}

/* A hugetlb page is protected whole or not at all, and said to be so. */
TEST_F(scan, hugetlb_page_that_does_not_fit)
{
	struct region h;
	int track;

	if (stock())
		SKIP(return, "stock goes on behind the page and says that it did not");
	region_make(&h, HUGETLB, 2048);
	track = track_writes(h.p, 2048 * PAGE);
	self->arg = scan_of(h.p, 2048, self->vec, 1200);
	self->arg.flags = PM_SCAN_WP_MATCHING;
	self->arg.category_mask = PAGE_IS_WRITTEN;
	self->arg.max_pages = 700;
	EXPECT_EQ(1, scan(self->fd, &self->arg));
	EXPECT_EQ((uintptr_t)h.p + HUGE, self->vec[0].end);
	EXPECT_EQ((uintptr_t)h.p + HUGE, self->arg.walk_end);
	self->arg.max_pages = 0;
	/* The range begins and ends inside of a page: those two are left alone. */
	self->arg.start = (uintptr_t)h.p + HUGE / 2;
	self->arg.end = (uintptr_t)h.p + 3 * HUGE + HUGE / 2;
	EXPECT_EQ(1, scan(self->fd, &self->arg));
	EXPECT_EQ((uintptr_t)h.p + HUGE, self->vec[0].start);
	EXPECT_EQ((uintptr_t)h.p + 3 * HUGE, self->vec[0].end);
	EXPECT_EQ(self->arg.end, self->arg.walk_end);
	close(track);
	region_free(&h);
}

/* Ranges much larger than one hold of a lock: nothing is lost or split where it pauses. */
TEST_F(scan, across_pauses)
{
	size_t len = 1UL << 30, at, step = 64UL << 20;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int track;

	ASSERT_NE(MAP_FAILED, p);
	madvise(p, len, MADV_NOHUGEPAGE);
	track = track_writes(p, len);
	self->arg = scan_of(p, len / PAGE, self->vec, 1200);
	self->arg.flags = PM_SCAN_WP_MATCHING;
	self->arg.category_mask = PAGE_IS_WRITTEN;
	/* Never populated: one region, of markers from now on. */
	EXPECT_EQ(1, scan(self->fd, &self->arg));
	EXPECT_EQ(self->arg.end, self->vec[0].end);
	EXPECT_EQ(self->arg.end, self->arg.walk_end);
	EXPECT_EQ(0, scan(self->fd, &self->arg));
	for (at = 0; at < len; at += step)
		p[at] = 1;
	EXPECT_EQ(len / step, scan(self->fd, &self->arg));
	EXPECT_EQ(0, scan(self->fd, &self->arg));
	close(track);
	munmap(p, len);
}

TEST_HARNESS_MAIN

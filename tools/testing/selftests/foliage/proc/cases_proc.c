// SPDX-License-Identifier: GPL-2.0
/*
 * What users of pagemap, PAGEMAP_SCAN and /proc/kpagecount met, one test for each: checkpoints that
 * missed a write, counts of shared memory that did not add up, huge pages whose entries differed,
 * holes that were said to be written, scans that hung, and such that kept others waiting.
 *
 * Stock fails scan_lets_others_map: it holds the lock of the address space as long as the array has
 * room.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "harness.h"
#include "proc.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

#define RW	(PROT_READ | PROT_WRITE)
#define ANON	(MAP_PRIVATE | MAP_ANONYMOUS)
#define TABLE	512UL		/* pages that a page table maps */

static char *aligned(size_t pages, int flags, int fd)
{
	char *p = mmap(NULL, pages * PAGE + 2 * HUGE, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		fail_setup("address space");
	p = (char *)(((uintptr_t)p + HUGE) & -HUGE);
	p = mmap(p, pages * PAGE, RW, flags | MAP_FIXED, fd, 0);
	if (p == MAP_FAILED)
		fail_setup("mmap");
	return p;
}

static void entries_of(pid_t pid, const char *p, size_t pages, uint64_t *map)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY);
	if (fd < 0 || pread(fd, map, pages * 8, (uintptr_t)p / PAGE * 8) != (ssize_t)pages * 8)
		fail_setup("%s", path);
	close(fd);
}

/* --- pagemap ----------------------------------------------------------------------------- */

/* A child that waits, if @want, and goes with the test. */
static pid_t sleeper(bool want)
{
	pid_t pid = want ? fork() : -1;

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

static void end(pid_t pid)
{
	if (pid < 0)
		return;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/*
 * A checkpoint takes pages by vmsplice(), clears the bits and lets the program go on. The pipe must
 * see what it saw before there were bits: a page that is the program's alone is written in place,
 * one that it shares with a child is copied. The bit is set either way.
 */
TEST(page_in_a_pipe)
{
	for (int forked = 0; forked < 2; forked++) {
		char *p = aligned(1, ANON, -1), before[PAGE];
		struct iovec iov = { p, PAGE };
		uint64_t entry;
		int fd[2];
		pid_t pid;

		memset(p, 'a', PAGE);
		ASSERT_EQ(pipe(fd), 0);
		ASSERT_EQ(vmsplice(fd[1], &iov, 1, 0), (ssize_t)PAGE);
		pid = sleeper(forked);
		ASSERT_TRUE(write_text("/proc/self/clear_refs", "4"));
		entries_of(getpid(), p, 1, &entry);
		EXPECT_FALSE(entry & PM_SOFT_DIRTY);
		*(volatile char *)p = 'b';
		entries_of(getpid(), p, 1, &entry);
		EXPECT_TRUE(entry & PM_SOFT_DIRTY);
		ASSERT_EQ(read(fd[0], before, PAGE), (ssize_t)PAGE);
		EXPECT_EQ(before[0], forked ? 'a' : 'b');
		EXPECT_EQ(before[1], 'a');
		EXPECT_EQ(p[0], 'b');
		end(pid);
		close(fd[0]);
		close(fd[1]);
	}
}

/* Pss of the mappings in a range, in KiB. */
static long pss_of(pid_t pid, const char *from, size_t pages)
{
	unsigned long a = (uintptr_t)from, start, stop;
	static char text[1 << 18];
	bool inside = false;
	char path[64], *line;
	long sum = 0;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	if (!read_text(path, text, sizeof(text)))
		fail_setup("%s", path);
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		if (sscanf(line, "%lx-%lx ", &start, &stop) == 2)
			inside = start < a + pages * PAGE && stop > a;
		else if (inside && !strncmp(line, "Pss:", 4))
			sum += atol(line + 4);
	}
	return sum;
}

#define SHARED	(2 * TABLE)

/* Entries of two processes, and the frames behind them: how often is each mapped? */
static void count_frames(struct __test_metadata *_metadata, const uint64_t *a, const uint64_t *b,
			 size_t *frames)
{
	int fd = open("/proc/kpagecount", O_RDONLY);
	size_t wrong = 0;

	ASSERT_GE(fd, 0);
	*frames = 0;
	for (size_t i = 0; i < 2 * SHARED; i++) {
		uint64_t e = i < SHARED ? a[i] : b[i - SHARED], count, seen = 0;
		size_t first = 2 * SHARED;

		if (!(e & PM_PRESENT))
			continue;
		for (size_t k = 0; k < 2 * SHARED; k++) {
			uint64_t o = k < SHARED ? a[k] : b[k - SHARED];

			if (!(o & PM_PRESENT) || (o & PM_FRAME) != (e & PM_FRAME))
				continue;
			if (!seen++)
				first = k;
		}
		*frames += first == i;
		ASSERT_EQ(pread(fd, &count, 8, (e & PM_FRAME) * 8), 8);
		wrong += count != seen;
	}
	EXPECT_EQ(wrong, 0);
	close(fd);
}

/*
 * After a restore a tree of processes seemed larger: huge pages, half filled, were shared, taken
 * apart by one and copied by another. What all sharers are said to have is what there is.
 */
TEST(sharers_add_up)
{
	static uint64_t a[SHARED], b[SHARED];
	char *p = aligned(SHARED, ANON, -1), c;
	size_t frames;
	int fd[2];
	pid_t pid;

	ASSERT_EQ(pipe(fd), 0);
	madvise(p, SHARED * PAGE, MADV_HUGEPAGE);
	for (size_t i = 0; i < SHARED; i += 2)
		p[i * PAGE] = 1;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* It gives up a part, copies another, and changes a third. */
		madvise(p + 100 * PAGE, 50 * PAGE, MADV_DONTNEED);
		for (size_t i = 700; i < 730; i++)
			p[i * PAGE] = 2;
		mprotect(p + 300 * PAGE, 17 * PAGE, PROT_READ);
		c = write(fd[1], "", 1) == 1;
		for (;;)
			pause();
	}
	ASSERT_EQ(read(fd[0], &c, 1), 1);
	madvise(p + 600 * PAGE, 9 * PAGE, MADV_DONTNEED);
	entries_of(getpid(), p, SHARED, a);
	entries_of(pid, p, SHARED, b);
	count_frames(_metadata, a, b, &frames);
	EXPECT_GT(frames, SHARED / 2);
	/* Each mapping may be rounded down. */
	EXPECT_LE(labs(pss_of(getpid(), p, SHARED) + pss_of(pid, p, SHARED) - (long)frames * 4), 12);
	end(pid);
	munmap(p, SHARED * PAGE);
	close(fd[0]);
	close(fd[1]);
}

/* Each page of a huge one has the next frame and the same bits, wherever a read begins. */
TEST(pages_of_a_huge_page)
{
	static uint64_t map[2 * TABLE];
	struct region r;

	region_make(&r, ANON_2M, 2 * TABLE);
	for (int cleared = 0; cleared < 2; cleared++) {
		for (size_t from = 0; from < TABLE; from += 67) {
			memset(map, 0, sizeof(map));
			entries_of(getpid(), r.p + from * PAGE, 2 * TABLE - from, map);
			for (size_t i = from; i < 2 * TABLE; i++) {
				uint64_t head = r.pfn[i / TABLE * TABLE], e = map[i - from];

				ASSERT_EQ(e & PM_FRAME, head + i % TABLE);
				ASSERT_EQ(e & ~PM_FRAME, PM_PRESENT | PM_EXCLUSIVE |
					  (cleared ? 0 : PM_SOFT_DIRTY));
			}
		}
		for (size_t i = 0; i < 2 * TABLE; i++) {
			uint64_t flags = frame_flags(r.pfn[i]);

			EXPECT_TRUE(flags & KPF(KPF_THP));
			EXPECT_TRUE(flags & KPF(i % TABLE ? KPF_TAIL : KPF_HEAD));
		}
		ASSERT_TRUE(write_text("/proc/self/clear_refs", "4"));
	}
	region_free(&r);
}

/* --- PAGEMAP_SCAN ------------------------------------------------------------------------ */

static int own_pagemap(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0)
		fail_setup("/proc/self/pagemap");
	return fd;
}

/* Pages in @r regions of a scan. */
static size_t pages_in(const struct page_region *vec, long n)
{
	size_t pages = 0;

	for (long i = 0; i < n; i++)
		pages += (vec[i].end - vec[i].start) / PAGE;
	return pages;
}

/* Pages of [@p, @p + @pages) that are written, and protected again if @flags say so. */
static long written(int fd, const char *p, size_t pages, uint64_t flags)
{
	static struct page_region vec[1024];
	struct pm_scan_arg arg = scan_of(p, pages, vec, 1024);
	long n;

	arg.flags = flags;
	arg.category_mask = PAGE_IS_WRITTEN;
	n = ioctl(fd, PAGEMAP_SCAN, &arg);
	return n < 0 ? -errno : arg.walk_end != arg.end ? -1000 : (long)pages_in(vec, n);
}

/* Zeroes that a read has mapped as a huge page were not said to be zeroes. */
TEST(huge_zero_page)
{
	char *p = aligned(TABLE, ANON, -1);
	struct page_region vec[4];
	struct pm_scan_arg arg = scan_of(p, TABLE, vec, 4);
	int fd = own_pagemap();

	madvise(p, HUGE, MADV_HUGEPAGE);
	EXPECT_EQ(*(volatile char *)(p + 5 * PAGE), 0);
	ASSERT_EQ(ioctl(fd, PAGEMAP_SCAN, &arg), 1);
	EXPECT_EQ(vec[0].end - vec[0].start, HUGE);
	EXPECT_TRUE(vec[0].categories & PAGE_IS_PRESENT);
	EXPECT_TRUE(vec[0].categories & PAGE_IS_PFNZERO);
	EXPECT_TRUE(vec[0].categories & PAGE_IS_HUGE);
	arg.category_mask = PAGE_IS_PFNZERO;
	arg.category_inverted = PAGE_IS_PFNZERO;
	EXPECT_EQ(ioctl(fd, PAGEMAP_SCAN, &arg), 0);
	munmap(p, HUGE);
	close(fd);
}

/*
 * Memory in which nothing is: under no page table, under an empty one, and beside a page. A hole is
 * written or not for the same reason everywhere, and what was protected is not until it is written.
 */
TEST(holes_are_alike)
{
	const size_t pages = 3 * TABLE;

	for (int shared = 0; shared < 2; shared++) {
		int file = shared ? memfd_create("holes", 0) : -1, fd = own_pagemap(), track;
		char *p;

		if (shared)
			ASSERT_EQ(ftruncate(file, pages * PAGE), 0);
		p = aligned(pages, shared ? MAP_SHARED : ANON, file);
		madvise(p, pages * PAGE, MADV_NOHUGEPAGE);
		p[TABLE * PAGE] = 1;
		madvise(p + TABLE * PAGE, PAGE, MADV_DONTNEED);
		p[2 * TABLE * PAGE] = 1;
		track = track_writes(p, pages * PAGE);
		EXPECT_EQ(written(fd, p, TABLE, 0), written(fd, p + TABLE * PAGE, TABLE, 0));
		EXPECT_EQ(written(fd, p, TABLE, 0) ? TABLE : 1,
			  written(fd, p + 2 * TABLE * PAGE, TABLE, 0));
		EXPECT_GE(written(fd, p, pages, PM_SCAN_WP_MATCHING), 1);
		EXPECT_EQ(written(fd, p, pages, 0), 0);
		for (size_t i = 7; i < pages; i += TABLE)
			*(volatile char *)(p + i * PAGE) = 2;
		EXPECT_EQ(written(fd, p, pages, 0), 3);
		/* Read only: not written, though there is a page now. */
		for (size_t i = 9; i < pages; i += TABLE)
			(void)*(volatile char *)(p + i * PAGE);
		EXPECT_EQ(written(fd, p, pages, PM_SCAN_WP_MATCHING), 3);
		EXPECT_EQ(written(fd, p, pages, 0), 0);
		close(track);
		munmap(p, pages * PAGE);
		close(fd);
		close(file);
	}
}

/* Protecting without an array to fill wrote through a pointer that was not there. */
TEST(no_array)
{
	char *p = aligned(3 * TABLE, ANON, -1);
	int track, fd = own_pagemap();
	struct pm_scan_arg arg = scan_of(p, 3 * TABLE, NULL, 0);

	madvise(p, HUGE, MADV_HUGEPAGE);
	memset(p, 1, (TABLE + 30) * PAGE);
	track = track_writes(p, 3 * TABLE * PAGE);
	arg.flags = PM_SCAN_WP_MATCHING;
	arg.category_mask = PAGE_IS_WRITTEN;
	arg.return_mask = 0;
	EXPECT_EQ(ioctl(fd, PAGEMAP_SCAN, &arg), 0);
	EXPECT_EQ(arg.walk_end, arg.end);
	EXPECT_EQ(written(fd, p, 3 * TABLE, 0), 0);
	p[3 * PAGE] = 2;
	p[(TABLE + 3) * PAGE] = 2;
	p[(2 * TABLE + 3) * PAGE] = 2;
	EXPECT_GE(written(fd, p, 3 * TABLE, 0), 3);
	/* To ask for nothing and change nothing is an error or is done: it writes nowhere. */
	arg.flags = 0;
	ioctl(fd, PAGEMAP_SCAN, &arg);
	close(track);
	munmap(p, 3 * TABLE * PAGE);
	close(fd);
}

/* Protecting huge pages of hugetlbfs that were not there yet hung for ever. */
TEST(hugetlb_holes)
{
	char was[32];

	ASSERT_TRUE(read_text("/proc/sys/vm/nr_hugepages", was, sizeof(was)));
	ASSERT_TRUE(write_text("/proc/sys/vm/nr_hugepages", "12"));
	for (int shared = 0; shared < 2; shared++) {
		char *p = aligned(4 * TABLE, (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS |
				  MAP_HUGETLB, -1);
		int fd = own_pagemap(), track;
		struct pm_scan_arg arg = scan_of(p, 4 * TABLE, NULL, 0);

		p[HUGE] = 1;
		track = track_writes(p, 4 * HUGE);
		EXPECT_GE(written(fd, p, 4 * TABLE, PM_SCAN_WP_MATCHING), (long)TABLE);
		EXPECT_EQ(written(fd, p, 4 * TABLE, 0), 0);
		/* The hole behind the one that gets a page now. */
		p[2 * HUGE] = 1;
		EXPECT_EQ(written(fd, p, 4 * TABLE, 0), (long)TABLE);
		arg.flags = PM_SCAN_WP_MATCHING;
		arg.category_mask = PAGE_IS_WRITTEN;
		EXPECT_EQ(ioctl(fd, PAGEMAP_SCAN, &arg), 0);
		EXPECT_EQ(written(fd, p, 4 * TABLE, 0), 0);
		p[HUGE] = 2;
		p[3 * HUGE] = 1;
		EXPECT_EQ(written(fd, p, 4 * TABLE, PM_SCAN_WP_MATCHING), 2 * (long)TABLE);
		close(track);
		munmap(p, 4 * HUGE);
		close(fd);
	}
	write_text("/proc/sys/vm/nr_hugepages", was);
}

/* A program ended in the middle of a scan, and of a read, of its memory. */
TEST(target_exits)
{
	static struct page_region vec[1024];
	static uint64_t map[TABLE];
	size_t gone = 0, pages = 64 * TABLE;
	char *p = aligned(pages, ANON | MAP_NORESERVE, -1);

	madvise(p, pages * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < pages; i += 16)
		p[i * PAGE] = 1;
	for (int round = 0; round < 40; round++) {
		pid_t pid = sleeper(true);
		struct pm_scan_arg arg;
		char path[64];
		long n = 0, got;
		int fd;

		snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
		fd = open(path, O_RDONLY);
		ASSERT_GE(fd, 0);
		for (int i = 0; ; i++) {
			if (i == round % 4)
				kill(pid, SIGKILL);
			arg = scan_of(p, pages, vec, 1024);
			arg.category_mask = PAGE_IS_PRESENT;
			n = ioctl(fd, PAGEMAP_SCAN, &arg);
			got = pread(fd, map, sizeof(map), (uintptr_t)p / PAGE * 8);
			if (n < 0 || !got)
				break;
			ASSERT_LE(pages_in(vec, n), pages / 16);
			ASSERT_EQ(got % 8, 0);
			ASSERT_LE(i, 100000);
		}
		/* What may be said of a program that is not there. */
		if (n < 0)
			EXPECT_TRUE(errno == ESRCH || errno == EINTR) TH_LOG("%s", strerror(errno));
		gone++;
		close(fd);
		end(pid);
	}
	EXPECT_EQ(gone, 40);
	munmap(p, pages * PAGE);
}

/* --- others who wait --------------------------------------------------------------------- */

static atomic_bool stop;
static atomic_ulong longest, mapped;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000UL + t.tv_nsec;
}

static void *map_and_unmap(void *arg)
{
	while (!stop) {
		uint64_t start = now_ns(), took;
		void *p = mmap(NULL, PAGE, RW, ANON, -1, 0);

		munmap(p, PAGE);
		took = now_ns() - start;
		if (took > longest)
			longest = took;
		mapped++;
	}
	return NULL;
}

#define TABLES	2048UL

/* As many entries as four gigabytes have, of two megabytes of memory. */
static char *many_entries(void)
{
	int file = memfd_create("many", 0);
	char *p = aligned(TABLES * TABLE, ANON | MAP_NORESERVE, -1);

	if (file < 0 || ftruncate(file, HUGE))
		fail_setup("memfd");
	for (size_t i = 0; i < TABLES; i++)
		if (mmap(p + i * HUGE, HUGE, RW, MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED ||
		    madvise(p + i * HUGE, HUGE, MADV_POPULATE_READ))
			fail_setup("mappings of a memfd");
	close(file);
	return p;
}

/*
 * A monitor that looked at all memory in one go made the program wait for as long, when it wanted to
 * map something. The wait is to be a part of a scan. A busy host may stop either of the two at any
 * time, so some tries are made, until one shows it.
 */
TEST(scan_lets_others_map)
{
	char *p = many_entries();
	struct page_region vec[16];
	uint64_t took = 0, best = ~0UL;
	int fd = own_pagemap();
	pthread_t thread;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one processor");
	stop = false;
	ASSERT_EQ(pthread_create(&thread, NULL, map_and_unmap, NULL), 0);
	for (int i = 0; i < 60 && best >= 500; i++) {
		struct pm_scan_arg arg = scan_of(p, TABLES * TABLE, vec, 16);
		uint64_t start, before, during;

		/* None is found, so it goes through without a stop for the array. */
		arg.category_mask = PAGE_IS_SWAPPED;
		longest = 0;
		before = mapped;
		start = now_ns();
		ASSERT_EQ(ioctl(fd, PAGEMAP_SCAN, &arg), 0);
		took = now_ns() - start;
		during = mapped - before;
		/* The one that waits now is told of when it has what it wants. */
		for (before = mapped; mapped < before + 2; )
			usleep(100);
		/* The thread may have had no processor. */
		if ((during || longest > took / 2) && longest * 1000 / took < best)
			best = longest * 1000 / took;
	}
	stop = true;
	pthread_join(thread, NULL);
	TH_LOG("a scan takes %lu us, the longest wait at best %lu of 1000 parts", took / 1000, best);
	EXPECT_LT(best, 500);
	munmap(p, TABLES * HUGE);
	close(fd);
}

TEST_HARNESS_MAIN

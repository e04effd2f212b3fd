// SPDX-License-Identifier: GPL-2.0
/*
 * The /proc files of pages to the letter: positions, lengths, errors, who may read what; and
 * whether they agree with each other and with what else tells of memory (mincore, smaps, the
 * allocator's own counts).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "harness.h"
#include "proc.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define NOBODY	65534

/* What stock gets wrong, and tests of it are skipped for. */
static bool stock(void)
{
	struct utsname u;

	return uname(&u) || !strstr(u.release, "foliage");
}

static int open_or_die(const char *path)
{
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		fail_setup("%s", path);
	return fd;
}

static void *pages(size_t n)
{
	void *p = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fail_setup("mmap");
	return p;
}

/* The @n bytes before a page that cannot be written to. */
static char *before_the_edge(size_t n)
{
	char *p = pages(4);

	if (mprotect(p + 2 * PAGE, 2 * PAGE, PROT_NONE))
		fail_setup("mprotect");
	return p + 2 * PAGE - n;
}

/* --- /proc/kpage* --- */

FIXTURE(kpage)
{
	int fd;
};

FIXTURE_VARIANT(kpage)
{
	const char *path;
};

FIXTURE_VARIANT_ADD(kpage, flags) { .path = "/proc/kpageflags" };
FIXTURE_VARIANT_ADD(kpage, count) { .path = "/proc/kpagecount" };
FIXTURE_VARIANT_ADD(kpage, cgroup) { .path = "/proc/kpagecgroup" };

FIXTURE_SETUP(kpage)
{
	self->fd = open_or_die(variant->path);
}

FIXTURE_TEARDOWN(kpage)
{
	close(self->fd);
}

static uint64_t end_of(int fd)
{
	uint64_t lo = 0, hi = 1ULL << 40, v;

	while (hi - lo > 1) {
		uint64_t mid = (lo + hi) / 2;

		if (pread(fd, &v, 8, mid * 8) == 8)
			lo = mid;
		else
			hi = mid;
	}
	return hi;
}

TEST_F(kpage, whole_numbers_only)
{
	uint64_t v[2];

	for (int off = 1; off < 8; off++) {
		EXPECT_EQ(-1, pread(self->fd, v, 8, off));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(-1, pread(self->fd, v, off, 0));
		EXPECT_EQ(EINVAL, errno);
	}
	EXPECT_EQ(0, pread(self->fd, v, 0, 0));
	EXPECT_EQ(16, pread(self->fd, v, 16, 800));
}

TEST_F(kpage, ends_with_memory)
{
	uint64_t end = end_of(self->fd), v[4];

	EXPECT_EQ(16, pread(self->fd, v, 32, (end - 2) * 8));
	EXPECT_EQ(0, pread(self->fd, v, 32, end * 8));
	EXPECT_EQ(0, pread(self->fd, v, 32, (end + 1000) * 8));
	EXPECT_EQ(0, pread(self->fd, v, 32, 0x7fffffffffff0000));
	/* All files are of one length. */
	EXPECT_EQ(end, end_of(open_or_die("/proc/kpageflags")));
}

TEST_F(kpage, position_moves)
{
	uint64_t a[300], b[300];

	ASSERT_EQ(8000, lseek(self->fd, 8000, SEEK_SET));
	ASSERT_EQ(2400, read(self->fd, a, 2400));
	ASSERT_EQ(10400, lseek(self->fd, 0, SEEK_CUR));
	ASSERT_EQ(2400, pread(self->fd, b, 2400, 8000));
	/* The memory of the kernel's image and early tables does not change. */
	EXPECT_EQ(0, memcmp(a, b, 800));
}

/* However it is cut, the answer is the same: batches, and reads that begin inside of one. */
TEST_F(kpage, pieces_make_the_whole)
{
	enum { N = 1000 };
	uint64_t whole[N], pieces[N];
	uint64_t from = end_of(self->fd) / 3;
	int tries, n, at;

	/* Other programs may use memory in between: one quiet moment is enough. */
	for (tries = 0; tries < 20; tries++) {
		ASSERT_EQ(N * 8, pread(self->fd, whole, N * 8, from * 8));
		for (at = 0, n = 1; at < N; at += n, n = n * 3 % 257) {
			if (n > N - at)
				n = N - at;
			ASSERT_EQ(n * 8, pread(self->fd, pieces + at, n * 8, (from + at) * 8));
		}
		if (!memcmp(whole, pieces, sizeof(whole)))
			break;
	}
	EXPECT_LT(tries, 20);
}

TEST_F(kpage, bad_address)
{
	EXPECT_EQ(-1, pread(self->fd, before_the_edge(0), 800, 0));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(kpage, bad_address_later)
{
	uint64_t v[100];
	char *p;

	if (stock())
		SKIP(return, "stock gives an error and moves the position");
	/* In the first batch, at its end, in a later one. */
	for (int n = 8; n <= 3200; n += 8) {
		p = before_the_edge(n);
		ASSERT_EQ(0, lseek(self->fd, 0, SEEK_SET));
		ASSERT_EQ(n, read(self->fd, p, 8000));
		ASSERT_EQ(n, lseek(self->fd, 0, SEEK_CUR));
		munmap((void *)((uintptr_t)p & ~(PAGE - 1)), 3 * PAGE);
	}
	/* What a number is cut by is no number. */
	p = before_the_edge(20);
	EXPECT_EQ(16, pread(self->fd, p, 800, 0));
	ASSERT_EQ(16, pread(self->fd, v, 16, 0));
	EXPECT_EQ(0, memcmp(p, v, 16));
}

TEST_F(kpage, root_only)
{
	struct stat st;

	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(S_IFREG | 0400, st.st_mode);
	EXPECT_EQ(0, st.st_uid);
}

/* --- what they say --- */

/* Every free frame is said to be free: within a little, as others run meanwhile. */
TEST(free_frames)
{
	static uint64_t v[8192];
	unsigned long buddy = 0, nr_free = 0, at = 0;
	char text[8192], *s;
	ssize_t n;
	int fd = open_or_die("/proc/kpageflags");

	settle_lru();
	ASSERT_TRUE(read_text("/proc/vmstat", text, sizeof(text)));
	s = strstr(text, "nr_free_pages ");
	ASSERT_NE(NULL, s);
	nr_free = atol(s + 14);
	while ((n = pread(fd, v, sizeof(v), at)) > 0) {
		for (int i = 0; i < n / 8; i++)
			buddy += v[i] >> KPF_BUDDY & 1;
		at += n;
	}
	/* Pages in the lists of each CPU are free, and of no block. */
	EXPECT_GT(buddy, nr_free - nr_free / 20);
	EXPECT_LT(buddy, nr_free + nr_free / 20);
}

TEST(ksm_is_said_of_ksm_only)
{
	struct region r;

	if (stock())
		SKIP(return, "stock sets KPF_KSM on all anonymous memory");
	region_make(&r, ANON_4K, 4);
	EXPECT_EQ(0, frame_flags(r.pfn[0]) & KPF(KPF_KSM));
	EXPECT_NE(0, frame_flags(r.pfn[0]) & KPF(KPF_ANON));
	region_free(&r);
}

/* Pages that are mapped by many: the count is how many. */
TEST(count_of_sharers)
{
	struct region r;
	uint64_t count;
	int fd = open_or_die("/proc/kpagecount");
	pid_t pid[5];

	for (enum kind kind = ANON_4K; kind <= HUGETLB; kind++) {
		region_make(&r, kind, 1024);
		for (int i = 0; i < 5; i++) {
			pid[i] = fork();
			if (!pid[i])
				pause();
			/* File pages are not copied by fork. */
			if (r.fd < 0) {
				ASSERT_EQ(8, pread(fd, &count, 8, r.pfn[700] * 8));
				EXPECT_EQ(i + 2, count);
			}
		}
		for (int i = 0; i < 5; i++) {
			kill(pid[i], SIGKILL);
			waitpid(pid[i], NULL, 0);
		}
		ASSERT_EQ(8, pread(fd, &count, 8, r.pfn[700] * 8));
		EXPECT_EQ(1, count);
		region_free(&r);
	}
}

/* --- /proc/PID/pagemap --- */

FIXTURE(pagemap)
{
	int fd;
};

FIXTURE_SETUP(pagemap)
{
	self->fd = open_or_die("/proc/self/pagemap");
}

FIXTURE_TEARDOWN(pagemap)
{
	close(self->fd);
}

TEST_F(pagemap, whole_entries_only)
{
	uint64_t v[2];

	for (int off = 1; off < 8; off++) {
		EXPECT_EQ(-1, pread(self->fd, v, 8, off));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(-1, pread(self->fd, v, off, 0));
		EXPECT_EQ(EINVAL, errno);
	}
	EXPECT_EQ(0, pread(self->fd, v, 0, 0));
}

TEST_F(pagemap, ends_with_the_address_space)
{
	uint64_t last = 0x7ffffffff000 / PAGE, v[4];

	EXPECT_EQ(16, pread(self->fd, v, 32, (last - 2) * 8));
	EXPECT_EQ(0, pread(self->fd, v, 32, last * 8));
	EXPECT_EQ(0, pread(self->fd, v, 32, last * 16));
	EXPECT_EQ(0, pread(self->fd, v, 32, 0x7fffffffffff0000));
}

TEST_F(pagemap, position_moves)
{
	uint64_t v[1000];

	ASSERT_EQ(8000, lseek(self->fd, 8000, SEEK_SET));
	ASSERT_EQ(8000, read(self->fd, v, 8000));
	ASSERT_EQ(16000, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(pagemap, pieces_make_the_whole)
{
	enum { N = 5000 };
	uint64_t *whole = pages(16), *piece = pages(16);
	struct region r;
	size_t at, n;
	off_t from;

	region_make(&r, ANON_64K, 4096);
	from = ((uintptr_t)r.p / PAGE - 500) * 8;
	ASSERT_EQ(N * 8, pread(self->fd, whole, N * 8, from));
	for (at = 0, n = 1; at < N; at += n, n = n * 3 % 1777) {
		if (n > N - at)
			n = N - at;
		ASSERT_EQ(n * 8, pread(self->fd, piece + at, n * 8, from + at * 8));
	}
	EXPECT_EQ(0, memcmp(whole, piece, N * 8));
	region_free(&r);
}

TEST_F(pagemap, bad_address)
{
	EXPECT_EQ(-1, pread(self->fd, before_the_edge(0), 800, 0));
	EXPECT_EQ(EFAULT, errno);
	if (stock())
		SKIP(return, "stock gives an error where a part was read");
	EXPECT_EQ(PAGE, pread(self->fd, before_the_edge(PAGE), 4 * PAGE, 0));
	EXPECT_EQ(16, pread(self->fd, before_the_edge(20), 4 * PAGE, 0));
}

TEST_F(pagemap, other_requests)
{
	EXPECT_EQ(-1, ioctl(self->fd, _IO('f', 99), 0));
	EXPECT_EQ(EINVAL, errno);
}

/* A process that is gone has no pages; one that never had any cannot be opened. */
TEST_F(pagemap, of_the_dead)
{
	char path[64];
	uint64_t v;
	pid_t pid;
	int fd;

	pid = fork();
	if (!pid)
		pause();
	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open_or_die(path);
	EXPECT_EQ(8, pread(fd, &v, 8, 8));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	EXPECT_EQ(0, pread(fd, &v, 8, 8));
	EXPECT_EQ(-1, ioctl(fd, PAGEMAP_SCAN, &v));
	EXPECT_EQ(ESRCH, errno);
	/* kthreadd */
	EXPECT_EQ(-1, open("/proc/2/pagemap", O_RDONLY));
	EXPECT_EQ(ESRCH, errno);
}

static void become_nobody(void)
{
	if (setgid(NOBODY) || setuid(NOBODY) || prctl(PR_SET_DUMPABLE, 1))
		fail_setup("setuid");
}

/* Without the capability: what is there, but not where. And others' not at all. */
TEST_F(pagemap, unprivileged)
{
	struct region r, s;
	pid_t parent = getpid(), pid;
	int status;

	need_swap();
	region_make(&r, ANON_4K, 600);
	region_make(&s, ANON_2M, 512);
	madvise(r.p, 100 * PAGE, MADV_PAGEOUT);
	pid = fork();
	if (!pid) {
		uint64_t v[600];
		char path[64];
		int fd, bad = 0;

		become_nobody();
		fd = open("/proc/self/pagemap", O_RDONLY);
		bad |= pread(fd, v, 4800, (uintptr_t)r.p / PAGE * 8) != 4800;
		for (int i = 0; i < 600; i++)
			bad |= !(v[i] & (PM_PRESENT | PM_SWAP)) || v[i] & PM_FRAME;
		bad |= pread(fd, v, 4096, (uintptr_t)s.p / PAGE * 8) != 4096;
		for (int i = 0; i < 512; i++)
			bad |= !(v[i] & PM_PRESENT) || v[i] & PM_FRAME;
		snprintf(path, sizeof(path), "/proc/%d/pagemap", parent);
		bad |= open(path, O_RDONLY) >= 0 || errno != EACCES;
		bad |= open("/proc/kpageflags", O_RDONLY) >= 0 || errno != EACCES;
		_exit(bad);
	}
	waitpid(pid, &status, 0);
	EXPECT_EQ(0, status);
	region_free(&r);
	region_free(&s);
}

/* It is who opened the file that counts. */
TEST_F(pagemap, opened_by_root)
{
	struct region r;
	uint64_t v;
	pid_t pid;
	int status;

	region_make(&r, ANON_4K, 4);
	pid = fork();
	if (!pid) {
		become_nobody();
		_exit(pread(self->fd, &v, 8, (uintptr_t)r.p / PAGE * 8) != 8 ||
		      (v & PM_FRAME) != r.pfn[0]);
	}
	waitpid(pid, &status, 0);
	EXPECT_EQ(0, status);
	region_free(&r);
}

/* The counts of one mapping in smaps, in KiB. */
static long smaps_kib(const void *p, const char *what)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long lo, hi;
	char line[256];
	bool here = false;
	long kib = -1;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &lo, &hi) == 2)
			here = lo <= (uintptr_t)p && (uintptr_t)p < hi;
		else if (here && !strncmp(line, what, strlen(what)) && line[strlen(what)] == ':')
			kib = atol(line + strlen(what) + 1);
	}
	if (f)
		fclose(f);
	return kib;
}

/* pagemap, mincore and smaps are three ways to ask the same. */
TEST_F(pagemap, agrees_with_mincore_and_smaps)
{
	struct region r;

	need_swap();
	for (enum kind kind = ANON_4K; kind <= FILE_EXT4; kind++) {
		static unsigned char core[2048];
		static uint64_t v[2048];
		long present = 0, swap = 0, alone = 0;

		region_make(&r, kind, 2048);
		if (r.fd < 0)
			madvise(r.p, 512 * PAGE, MADV_PAGEOUT);
		madvise(r.p + 1000 * PAGE, 100 * PAGE, MADV_DONTNEED);
		ASSERT_EQ(0, mincore(r.p, r.pages * PAGE, core));
		ASSERT_EQ(16384, pread(self->fd, v, 16384, (uintptr_t)r.p / PAGE * 8));
		for (int i = 0; i < 2048; i++) {
			present += !!(v[i] & PM_PRESENT);
			swap += !!(v[i] & PM_SWAP);
			alone += v[i] & PM_PRESENT && v[i] & PM_EXCLUSIVE;
			if (v[i] & PM_PRESENT)
				EXPECT_EQ(1, core[i] & 1);
			EXPECT_EQ(r.fd >= 0 && v[i] & PM_PRESENT, !!(v[i] & PM_FILE));
		}
		EXPECT_EQ(smaps_kib(r.p, "Rss"), present * 4);
		if (r.fd < 0)
			EXPECT_EQ(smaps_kib(r.p, "Swap"), swap * 4);
		EXPECT_EQ(smaps_kib(r.p, "Private_Dirty") + smaps_kib(r.p, "Private_Clean"),
			  alone * 4);
		region_free(&r);
	}
}

/* --- PAGEMAP_SCAN --- */

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

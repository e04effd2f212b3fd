// SPDX-License-Identifier: GPL-2.0
/*
 * The /proc files of pages to the letter: positions, lengths, errors, who may read what; and
 * whether they agree with each other and with what else tells of memory (mincore, smaps, the
 * allocator's own counts).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "harness.h"
#include "proc_abi.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define NOBODY	65534

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

TEST_HARNESS_MAIN

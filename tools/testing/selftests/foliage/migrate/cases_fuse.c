// SPDX-License-Identifier: GPL-2.0
/*
 * Compaction that meets pages which are being read, by a file system in user space that takes its
 * time. They are locked and have no contents yet. Somebody waited for such a lock for minutes,
 * while the server waited for memory. Compaction that is not to wait for I/O must pass them over,
 * move their neighbours and get done; what is read arrives in the end.
 *
 * To be run where one node has a gigabyte: all of it is filled, and holes are made everywhere.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "harness.h"
#include "fuse.h"

#define KPF_LOCKED	0
#define KPF_UPTODATE	3

#define BLOCK		512UL		/* pages, of an x86 pageblock and a huge page */
#define KEPT		4		/* one page in so many stays: the rest is holes */
#define LAST		(FUSE_PAGES + 16)
#define LOW_ZONE	4096UL		/* ends there */
#define SPARE		(96UL << 20)
#define LIMIT		120		/* seconds, of which an emulated debug kernel needs 30 */
#define PROACTIVENESS	"/proc/sys/vm/compaction_proactiveness"
#define NR_HUGEPAGES	"/proc/sys/vm/nr_hugepages"

struct mine {
	uint64_t pfn;
	size_t page;
};

FIXTURE(unread) {
	char *p;
	size_t pages, kept;
	struct mine *all, *mine;	/* by frame: what was there, and what is left */
	struct fuse fuse;
	pid_t server;
	int fd;
	uint64_t locked[FUSE_PAGES];
	size_t n;
	long huge;		/* free blocks before */
};

FIXTURE_VARIANT(unread) {
	void (*compact)(long blocks);
	bool most;	/* of what is free will be blocks again, not just some */
};

/* --- memory full of holes ----------------------------------------------------------------- */

static int by_frame(const void *a, const void *b)
{
	const struct mine *x = a, *y = b;

	return x->pfn < y->pfn ? -1 : x->pfn > y->pfn;
}

static void fill(struct _test_data_unread *self)
{
	struct sysinfo info;

	sysinfo(&info);
	if (info.freeram < 3 * SPARE)
		fail_setup("%lu MiB of free memory", info.freeram >> 20);
	self->pages = (info.freeram - SPARE) / PAGE;
	self->p = mem_map(self->pages, RW, ANON, -1);
	madvise(self->p, self->pages * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < self->pages; i++)
		*(size_t *)(self->p + i * PAGE) = i;
}

static void find_frames(struct _test_data_unread *self, struct mine *mine, size_t n)
{
	uint64_t *map = malloc(self->pages * 8);

	pagemap_read(self->p, self->pages, map);
	for (size_t i = 0; i < n; i++)
		mine[i].pfn = map[mine[i].page] & ((1ULL << 55) - 1);
	free(map);
}

/* The first page of a block, and the whole block is mine. */
static bool is_whole(const struct mine *m, size_t left)
{
	return m->pfn >= LOW_ZONE && m->pfn % BLOCK == 0 && left >= BLOCK &&
	       m[BLOCK - 1].pfn == m->pfn + BLOCK - 1;
}

/*
 * The last holes are the first pages of the lowest blocks that are all mine: what is allocated next
 * is one of those. What is kept is never first of anything: that is where compaction looks when it
 * has found few free pages and makes longer steps.
 */
static void make_holes(struct _test_data_unread *self)
{
	struct mine *all = calloc(self->pages, sizeof(*all));
	size_t last[LAST], n = 0;

	/* Freed now, its frames would be the next ones. */
	self->all = all;
	self->mine = calloc(self->pages, sizeof(*all));
	for (size_t i = 0; i < self->pages; i++)
		all[i].page = i;
	find_frames(self, all, self->pages);
	qsort(all, self->pages, sizeof(*all), by_frame);
	for (size_t i = 0; i < self->pages; i++) {
		if (all[i].pfn % KEPT == 1)
			self->mine[self->kept++] = all[i];
		else if (n < LAST && is_whole(all + i, self->pages - i))
			last[n++] = i;
		else
			madvise(self->p + all[i].page * PAGE, PAGE, MADV_DONTNEED);
	}
	if (n < LAST)
		fail_setup("%zu blocks are all mine", n);
	while (n-- > 0)
		madvise(self->p + all[last[n]].page * PAGE, PAGE, MADV_DONTNEED);
}

static size_t wrong(struct _test_data_unread *self)
{
	size_t n = 0;

	for (size_t i = 0; i < self->kept; i++)
		n += *(size_t *)(self->p + self->mine[i].page * PAGE) != self->mine[i].page;
	return n;
}

/* Free blocks of the size of a huge page. */
static long huge_blocks(void)
{
	char text[4096], *line = text;
	long n[11], sum = 0;

	if (!read_text("/proc/buddyinfo", text, sizeof(text)))
		fail_setup("/proc/buddyinfo");
	for (; (line = strstr(line, "zone ")); line++)
		if (sscanf(line, "zone %*s %ld %ld %ld %ld %ld %ld %ld %ld %ld %ld %ld", n, n + 1,
			   n + 2, n + 3, n + 4, n + 5, n + 6, n + 7, n + 8, n + 9, n + 10) == 11)
			sum += n[9] + 2 * n[10];
	return sum;
}

/* --- pages that are being read ------------------------------------------------------------ */

/* On LRU lists, locked, of a file, without contents. */
static size_t find_locked(uint64_t *pfn, size_t max)
{
	static uint64_t flags[4096];
	int fd = open("/proc/kpageflags", O_RDONLY);
	size_t n = 0;
	ssize_t got;

	for (uint64_t at = 0; (got = pread(fd, flags, sizeof(flags), at * 8)) > 0; at += got / 8)
		for (ssize_t i = 0; i < got / 8; i++)
			if (flags[i] & KPF(KPF_LOCKED) && flags[i] & KPF(KPF_LRU) && n < max &&
			    !(flags[i] & (KPF(KPF_UPTODATE) | KPF(KPF_ANON) | KPF(KPF_NOPAGE))))
				pfn[n++] = at + i;
	close(fd);
	return n;
}

/* All pages of the file are asked for, which waits for none of them. */
static void start_reading(struct _test_data_unread *self)
{
	self->fd = open(FUSE_FILE, O_RDONLY);
	if (self->fd < 0)
		fail_setup(FUSE_FILE);
	for (size_t i = 0; i < FUSE_PAGES; i += 16)
		if (readahead(self->fd, i * PAGE, 16 * PAGE))
			fail_setup("readahead");
}

/* My pages in a block. */
static size_t neighbours(struct _test_data_unread *self, uint64_t block)
{
	size_t n = 0;

	for (size_t i = 0; i < self->kept; i++)
		n += self->mine[i].pfn / BLOCK == block;
	return n;
}

FIXTURE_SETUP(unread)
{
	cpu_set_t one;

	if (access("/dev/fuse", F_OK))
		SKIP(return, "no FUSE in this kernel");
	/* What was freed here is what is allocated here. */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	write_text(PROACTIVENESS, "0");
	self->server = fuse_start(&self->fuse);
	ASSERT_EQ(access(FUSE_FILE, F_OK), 0);
	settle_lru();
	fill(self);
	make_holes(self);
	start_reading(self);
	settle_lru();
	find_frames(self, self->mine, self->kept);
	self->n = find_locked(self->locked, FUSE_PAGES);
	ASSERT_EQ(self->n, FUSE_PAGES);
	self->huge = huge_blocks();
}

FIXTURE_TEARDOWN(unread)
{
	int status;

	fuse_answer(&self->fuse);
	write_text(PROACTIVENESS, "0");
	write_text(NR_HUGEPAGES, "0");
	close(self->fd);
	munmap(self->p, self->pages * PAGE);
	free(self->mine);
	free(self->all);
	EXPECT_EQ(umount2(FUSE_DIR, 0), 0);
	EXPECT_EQ(waitpid(self->server, &status, 0), self->server);
	EXPECT_EQ(status, 0);
}

/* --- compaction --------------------------------------------------------------------------- */

static bool daemon_sleeps(void)
{
	return system("cat /proc/[0-9]*/stat 2> /dev/null | grep -q '(kcompactd0) [SI]'") == 0;
}

/* Two seconds of sleep: between two rounds it would be half of one. */
static void by_daemon(long blocks)
{
	if (!write_text(PROACTIVENESS, "100"))
		fail_setup(PROACTIVENESS);
	for (int slept = 0; huge_blocks() < blocks || slept < 20; usleep(100000))
		slept = daemon_sleeps() ? slept + 1 : 0;
	write_text(PROACTIVENESS, "0");
}

/* Who wants huge pages compacts memory himself. He gives up when one was not to be had: ask again. */
static void by_pool(long blocks)
{
	char text[32], got[32];

	snprintf(text, sizeof(text), "%ld", blocks);
	do {
		write_text(NR_HUGEPAGES, text);
		if (!read_text(NR_HUGEPAGES, got, sizeof(got)))
			_exit(1);
	} while (atol(got) < blocks);
}

FIXTURE_VARIANT_ADD(unread, kcompactd) { by_daemon, true };
FIXTURE_VARIANT_ADD(unread, hugetlb) { by_pool, false };

/*
 * In a process of its own, which may hang until what it waits for has been read. -> its status, or
 * -1 when it does not end in time.
 */
static int in_time(struct _test_data_unread *self, void (*compact)(long), long blocks)
{
	time_t end = time(NULL) + LIMIT;
	pid_t pid = fork();
	int status;

	if (!pid) {
		compact(blocks);
		_exit(0);
	}
	while (time(NULL) < end) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		usleep(50000);
	}
	kill(pid, SIGKILL);
	fuse_answer(&self->fuse);
	waitpid(pid, &status, 0);
	return -1;
}

/* Blocks with a page that is being read, of which everything of mine has left. */
static size_t emptied(struct __test_metadata *_metadata, struct _test_data_unread *self)
{
	size_t n = 0, sum = 0, left = 0, before[FUSE_PAGES];

	for (size_t i = 0; i < self->n; i++)
		before[i] = neighbours(self, self->locked[i] / BLOCK);
	find_frames(self, self->mine, self->kept);
	for (size_t i = 0; i < self->n; i++) {
		uint64_t block = self->locked[i] / BLOCK;
		size_t after = neighbours(self, block);

		if (i && self->locked[i - 1] / BLOCK == block)
			continue;
		sum += before[i];
		left += after;
		n += before[i] >= BLOCK / KEPT / 2 && !after;
	}
	TH_LOG("around them %zu pages, then %zu; %zu blocks are empty", sum, left, n);
	return n;
}

/* It arrives, in the pages that were waiting for it. */
static void expect_contents(struct __test_metadata *_metadata, struct _test_data_unread *self)
{
	size_t bad = 0, same = 0;
	uint64_t *map;

	map = mmap(NULL, FUSE_PAGES * PAGE, PROT_READ, MAP_SHARED, self->fd, 0);
	ASSERT_NE(map, MAP_FAILED);
	for (size_t i = 0; i < FUSE_PAGES * PAGE / 8; i++)
		bad += map[i] != fuse_word(i);
	EXPECT_EQ(bad, 0);
	for (size_t i = 0; i < FUSE_PAGES; i++) {
		uint64_t pfn = frame_of((char *)map + i * PAGE);

		for (size_t k = 0; k < self->n; k++)
			same += self->locked[k] == pfn;
	}
	EXPECT_EQ(same, FUSE_PAGES);
	munmap(map, FUSE_PAGES * PAGE);
}

TEST_F(unread, passed_over)
{
	long failed = vm_count("pgmigrate_fail"), blocks;
	uint64_t locked[FUSE_PAGES];
	struct timespec t0, t1;
	struct sysinfo info;
	int status;

	sysinfo(&info);
	blocks = variant->most ? info.freeram / HUGE / 2 : self->huge + 32;
	clock_gettime(CLOCK_MONOTONIC, &t0);
	status = in_time(self, variant->compact, blocks);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	TH_LOG("of %ld blocks %ld were free, %ld wanted; %ld pages did not move, %ld seconds",
	       info.freeram / HUGE, self->huge, blocks, vm_count("pgmigrate_fail") - failed,
	       t1.tv_sec - t0.tv_sec);
	EXPECT_LT(self->huge, blocks);
	EXPECT_EQ(status, 0);
	/* They have been met: they are where they were, and what was around them is not. */
	settle_lru();
	EXPECT_EQ(find_locked(locked, FUSE_PAGES), FUSE_PAGES);
	EXPECT_EQ(memcmp(locked, self->locked, sizeof(locked)), 0);
	EXPECT_GE(emptied(_metadata, self), 1);
	EXPECT_GT(vm_count("pgmigrate_fail"), failed);
	EXPECT_EQ(wrong(self), 0);

	fuse_answer(&self->fuse);
	expect_contents(_metadata, self);
}

TEST_HARNESS_MAIN

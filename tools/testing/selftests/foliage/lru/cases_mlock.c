// SPDX-License-Identifier: GPL-2.0
/*
 * What users and maintainers of mlock and of mappings met, one test for each: counts that did not
 * fit, mappings that may not be locked, mremap that leaves half of a locked mapping behind, a
 * locker that is killed for want of memory, and the order of locking and touching.
 */
#define _GNU_SOURCE
#include "mlock_count.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* mlock.h has its own of these. */
#undef RW
#undef ANON
#undef MADV_DONTNEED_LOCKED
#include "mlock.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE	0x08
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define TIB		(1UL << 40)
#define PRINTK		"/proc/sys/kernel/printk"

/* --- counts ------------------------------------------------------------------------------ */

/*
 * A sparse heap of more pages than an int counts was locked once more, and what was locked already
 * counted against the limit. 9 TiB are a negative number of pages in an int, 17 TiB a small one.
 */
TEST(more_pages_than_an_int_counts)
{
	static const unsigned long sizes[] = { 9 * TIB, 17 * TIB };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		unsigned long size = sizes[i];
		char *p = mmap(NULL, size, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
		pid_t pid = fork();
		int status;

		ASSERT_NE(p, MAP_FAILED);
		if (!pid) {
			limit(size / PAGE + 100);
			drop_ipc_lock();
			EXPECT_EQ(mlock2(p, size, MLOCK_ONFAULT), 0);
			EXPECT_LOCKED(size / PAGE);
			/* All of it again, then a part that is locked and a part that is not. */
			EXPECT_EQ(mlock2(p, size, MLOCK_ONFAULT), 0);
			EXPECT_LOCKED(size / PAGE);
			EXPECT_EQ(munlock(p + size - PAGE, PAGE), 0);
			EXPECT_EQ(mlock2(p, size, MLOCK_ONFAULT), 0);
			EXPECT_LOCKED(size / PAGE);
			EXPECT_ERR(mlock2(anon(101), 101 * PAGE, MLOCK_ONFAULT), ENOMEM);
			EXPECT_EQ(munlock(p, size), 0);
			EXPECT_LOCKED(0);
			_exit(_metadata->exit_code == KSFT_FAIL);
		}
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_EQ(status, 0);
		munmap(p, size);
	}
}

/* --- mappings ---------------------------------------------------------------------------- */

/* Memory that the kernel may drop was marked as locked, and then was neither. */
TEST(droppable)
{
	char *p = mmap(NULL, 16 * PAGE, RW, MAP_ANONYMOUS | MAP_DROPPABLE, -1, 0), *q;

	if (p == MAP_FAILED)
		SKIP(return, "no MAP_DROPPABLE");
	fill(p, 16);
	EXPECT_EQ(mlock(p, 16 * PAGE), 0);
	EXPECT_LOCKED(0);
	EXPECT_EQ(mlock2(p, 16 * PAGE, MLOCK_ONFAULT), 0);
	EXPECT_LOCKED(0);
	settle_lru();
	EXPECT_SEEN(p, 16, 0, 0);
	EXPECT_EQ(munlock(p, 16 * PAGE), 0);
	EXPECT_EQ(mlockall(MCL_CURRENT | MCL_FUTURE), 0);
	EXPECT_FALSE(is_lo(p));
	q = mmap(NULL, 16 * PAGE, RW, MAP_ANONYMOUS | MAP_DROPPABLE, -1, 0);
	if (q != MAP_FAILED)
		EXPECT_FALSE(is_lo(q));
	EXPECT_EQ(pages_locked(), pages_lo());
	EXPECT_EQ(munlockall(), 0);
	EXPECT_LOCKED(0);
	/* Asked for in one call: refused, or not locked. */
	q = mmap(NULL, 16 * PAGE, RW, MAP_ANONYMOUS | MAP_DROPPABLE | MAP_LOCKED, -1, 0);
	if (q != MAP_FAILED)
		EXPECT_FALSE(is_lo(q));
	EXPECT_LOCKED(0);
}

static size_t moved_to(char *p, size_t pages, int node)
{
	void *page[64];
	int nodes[64], status[64];
	size_t n = 0;

	for (size_t i = 0; i < pages; i++) {
		page[i] = p + i * PAGE;
		nodes[i] = node;
	}
	settle_lru();
	syscall(SYS_move_pages, 0, pages, page, nodes, status, MPOL_MF_MOVE_ALL);
	syscall(SYS_move_pages, 0, pages, page, NULL, status, 0);
	for (size_t i = 0; i < pages; i++)
		n += status[i] == node;
	return n;
}

static size_t wrong_fill(const char *p, size_t from, size_t pages)
{
	size_t n = 0;

	for (size_t i = 0; i < pages; i++)
		n += *(volatile uint32_t *)(p + i * PAGE) != 1000 + from + i;
	return n;
}

/*
 * mremap() that leaves the old mapping (a garbage collector's way) or moves a part had the account
 * of locked pages and the place of pages in their mapping wrong. @first of 64 pages: a half is moved.
 */
static void move_half(struct __test_metadata *_metadata, size_t first, int flags, bool locked)
{
	char *p = anon(64), *to = room(64), *q;
	int status;
	pid_t pid;

	fill(p, 64);
	if (locked)
		ASSERT_EQ(mlock(p, 64 * PAGE), 0);
	q = mremap(p + first * PAGE, 32 * PAGE, 32 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | flags, to);
	ASSERT_EQ(q, to);
	EXPECT_EQ(pages_locked(), pages_lo());
	EXPECT_EQ(is_lo(q), locked);
	EXPECT_EQ(wrong_fill(q, first, 32), 0);
	EXPECT_EQ(wrong_fill(p + (32 - first) * PAGE, 32 - first, 32), 0);
	/* What is left behind is a hole; written to, it is other memory. */
	if (flags) {
		EXPECT_EQ(present(p + first * PAGE, 32), 0);
		fill(p + first * PAGE, 32);
	}
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	/* Every mapping of a page is found, or it could not move. */
	for (int node = 1; node >= 0; node--) {
		EXPECT_EQ(moved_to(q, 32, node), 32);
		EXPECT_EQ(moved_to(p + (32 - first) * PAGE, 32, node), 32);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	EXPECT_EQ(wrong_fill(q, first, 32), 0);
	EXPECT_EQ(munlockall(), 0);
	EXPECT_LOCKED(0);
	munmap(p, 64 * PAGE);
	munmap(q, 32 * PAGE);
}

TEST(mremap_of_a_half)
{
	struct figures start = figures_now();

	for (int k = 0; k < 8; k++)
		move_half(_metadata, k & 1 ? 32 : 0, k & 2 ? MREMAP_DONTUNMAP : 0, k & 4);
	EXPECT_COUNTED(&start, 0, 0);
}

/* --- no memory --------------------------------------------------------------------------- */

enum { BY_MLOCK, BY_MMAP, BY_MLOCKALL, BY_ONFAULT, LOCK_WAYS };

static void lock_too_much(const char *cgroup, int way)
{
	size_t len = 64UL << 20;
	char file[300], *p;

	snprintf(file, sizeof(file), "%s/cgroup.procs", cgroup);
	if (!write_text(file, "0"))
		_exit(1);
	if (way == BY_MLOCKALL && mlockall(MCL_FUTURE))
		_exit(2);
	p = mmap(NULL, len, RW, ANON | (way == BY_MMAP ? MAP_LOCKED : 0), -1, 0);
	if (way == BY_MLOCK)
		mlock(p, len);
	if (way == BY_ONFAULT && !mlock2(p, len, MLOCK_ONFAULT))
		memset(p, 1, len);
	/* Not reached with memory for a quarter. */
	_exit(3);
}

/* A test that locked more than there was ran out of memory: it dies, and leaves nothing locked. */
TEST(killed_while_populating)
{
	struct figures start;
	char cgroup[256], file[300], was[64];
	int status;
	pid_t pid;

	enter_cgroup("cases_mlock", cgroup, sizeof(cgroup));
	write_text("/sys/fs/cgroup/cgroup.procs", "0");
	snprintf(file, sizeof(file), "%s/memory.max", cgroup);
	ASSERT_TRUE(write_text(file, "16M"));
	snprintf(file, sizeof(file), "%s/memory.swap.max", cgroup);
	write_text(file, "0");
	/* The report of a task that is killed looks like that of a fault of the kernel. */
	ASSERT_TRUE(read_text(PRINTK, was, sizeof(was)));
	write_text(PRINTK, "1");
	start = figures_now();
	for (int way = 0; way < LOCK_WAYS; way++) {
		pid = fork();
		if (!pid)
			lock_too_much(cgroup, way);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
			TH_LOG("way %d: status 0x%x", way, status);
		EXPECT_COUNTED(&start, 0, 0);
		EXPECT_EQ(cgroup_pages(cgroup, "unevictable ", 0), 0);
	}
	write_text(PRINTK, was);
	leave_cgroup(cgroup);
}

/* --- order ------------------------------------------------------------------------------- */

/*
 * A tool that keeps files in memory locked first and touched then, to save a walk, and was asked
 * whether the same is locked then. Pages of the file are in memory before.
 */
static void both_orders(struct __test_metadata *_metadata, enum kind kind)
{
	struct figures start;
	struct region r;

	region_make(&r, kind, PAGES);
	start = figures_now();
	for (int order = 0; order < 3; order++) {
		char *p = mmap(NULL, BYTES, RW, MAP_SHARED, r.fd, 0);

		ASSERT_NE(p, MAP_FAILED);
		if (order == 0)
			ASSERT_EQ(mlock2(p, BYTES, MLOCK_ONFAULT), 0);
		for (size_t i = 0; i < PAGES; i++)
			*(volatile char *)(p + i * PAGE);
		if (order == 1)
			ASSERT_EQ(mlock2(p, BYTES, MLOCK_ONFAULT), 0);
		if (order == 2)
			ASSERT_EQ(mlock(p, BYTES), 0);
		EXPECT_COUNTED(&start, PAGES, PAGES);
		EXPECT_SEEN(p, PAGES, PAGES, PAGES);
		munmap(p, BYTES);
		EXPECT_COUNTED(&start, 0, 0);
	}
	region_free(&r);
}

TEST(locked_before_or_after_the_touch)
{
	both_orders(_metadata, SHMEM);
	both_orders(_metadata, FILE_EXT4);
}

TEST_HARNESS_MAIN

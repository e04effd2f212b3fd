// SPDX-License-Identifier: GPL-2.0
/*
 * Each allocation of making a userfaultfd, of registering memory, of fork, munmap and close fails
 * once: the call says so or does without, what was there is as it was, and nothing leaks.
 */
#define _GNU_SOURCE
#include <sched.h>

#include "uffd.h"

#include "harness.h"
#include "failslab.h"

#define PAGES	16
#define TRIES	600
#define EVENTS	(UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_UNMAP)

static const char * const ours[] = { "uffd_", "userfaultfd" };

static int fd;
static char *p;

FIXTURE(alloc) { pthread_t reader; };

FIXTURE_SETUP(alloc)
{
	if (!can_fail())
		SKIP(return, "no CONFIG_FAILSLAB");
	fd = uffd_with(EVENTS, O_CLOEXEC);
	p = uffd_memory(fd, PAGES, MISSING);
	ASSERT_EQ(uffd_fill(fd, p, 0, 0), 0);
	any_may_fail();
}

FIXTURE_TEARDOWN(alloc)
{
	close(fd);
}

/* Somebody who reads the events, as what causes them waits for it. */
static void *read_all(void *arg)
{
	struct uffd_msg m;

	while (uffd_next(fd, &m))
		if (m.event == UFFD_EVENT_FORK)
			close(m.arg.fork.ufd);
		else if (m.event == UFFD_EVENT_PAGEFAULT)
			return arg;
	return arg;
}

static void reader_start(pthread_t *reader)
{
	if (pthread_create(reader, NULL, read_all, NULL))
		fail_setup("a thread");
}

/* It ends at a fault. Whatever has failed, nothing has changed for ever: the fault is answered at once. */
static void reader_end(struct __test_metadata *_metadata, pthread_t reader, size_t page)
{
	struct toucher t;

	touch_start(&t, p + page * PAGE, false);
	pthread_join(reader, NULL);
	EXPECT_EQ(uffd_fill(fd, p, page, 0), 0);
	pthread_join(t.thread, NULL);
	EXPECT_EQ(t.saw, page + 1);
}

static int make(void)
{
	int made = uffd_open(O_CLOEXEC);

	if (made < 0)
		return -errno;
	close(made);
	return 0;
}

TEST_F_TIMEOUT(alloc, make, 600)
{
	int n, result;

	for (n = 1; n < TRIES && failing(n, make, &result); n++)
		EXPECT_TRUE(!result || result == -ENOMEM || result == -ENFILE) TH_LOG("%d: %d", n, result);
	EXPECT_GT(n, 3);
	EXPECT_LT(n, TRIES);
}

static int register_middle(void)
{
	return uffd_remove(fd, p + 4 * PAGE, 4 * PAGE) ?: uffd_add(fd, p + 4 * PAGE, 4 * PAGE, MISSING | WP);
}

/* VMAs are split and merged. One that could not be is registered as it was. */
TEST_F_TIMEOUT(alloc, register, 600)
{
	int n, result;

	for (n = 1; n < TRIES && failing(n, register_middle, &result); n++) {
		EXPECT_TRUE(!result || result == -ENOMEM) TH_LOG("%d: %d", n, result);
		ASSERT_EQ(uffd_add(fd, p, PAGES * PAGE, MISSING), 0);
		ASSERT_EQ(uffd_fill(fd, p, 5, 0), 0);
		ASSERT_EQ(madvise(p + 5 * PAGE, PAGE, MADV_DONTNEED), 0);
	}
	EXPECT_GT(n, 2);
	EXPECT_LT(n, TRIES);
}

static int fork_once(void)
{
	int status, pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);

	if (pid < 0)
		return -errno;
	if (!pid)
		_exit(*(volatile uint64_t *)p == 1 ? 0 : 3);
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return status;
}

TEST_F_TIMEOUT(alloc, fork, 600)
{
	int n, result;

	reader_start(&self->reader);
	for (n = 1; n < TRIES && failing(n, fork_once, &result); n++) {
		EXPECT_TRUE(!result || result == -ENOMEM || result == -EAGAIN) TH_LOG("%d: %d", n, result);
		ASSERT_EQ(uffd_fill(fd, p, 3, 0), 0);
		ASSERT_EQ(madvise(p + 3 * PAGE, PAGE, MADV_DONTNEED), 0);
	}
	EXPECT_GT(n, 20);
	EXPECT_LT(n, TRIES);
	reader_end(_metadata, self->reader, 7);
}

static char *piece;

static int unmap(void)
{
	return munmap(piece + PAGE, PAGE) ? -errno : 0;
}

/* The middle of a VMA, which is split for it: it is unmapped, or still there. */
TEST_F_TIMEOUT(alloc, munmap, 600)
{
	int n, result;

	reader_start(&self->reader);
	for (n = 1; n < TRIES; n++) {
		bool failed;

		piece = uffd_memory(fd, 3, MISSING);
		ASSERT_EQ(uffd_fill(fd, piece, 1, 0), 0);
		failed = failing(n, unmap, &result);
		EXPECT_TRUE(!result || result == -ENOMEM) TH_LOG("%d: %d", n, result);
		/* Not EAGAIN: nothing is changing any more. */
		EXPECT_EQ(uffd_fill(fd, piece, 1, 0), result ? -EEXIST : -ENOENT);
		ASSERT_EQ(munmap(piece, 3 * PAGE), 0);
		if (!failed)
			break;
	}
	EXPECT_GT(n, 2);
	EXPECT_LT(n, TRIES);
	reader_end(_metadata, self->reader, 7);
}

static int second;

static int close_it(void)
{
	return close(second);
}

/* The VMAs' merge at the end may fail, but not the end. */
TEST_F_TIMEOUT(alloc, close, 600)
{
	char *q = mmap(NULL, 3 * PAGE, RW, ANON, -1, 0);
	int n, result;

	ASSERT_NE(q, MAP_FAILED);
	for (n = 1; n < TRIES; n++) {
		bool failed;

		second = uffd_with(0, O_CLOEXEC);
		ASSERT_EQ(uffd_add(second, q + PAGE, PAGE, MISSING), 0);
		failed = failing(n, close_it, &result);
		EXPECT_EQ(result, 0);
		EXPECT_EQ(q[PAGE], 0);
		ASSERT_EQ(madvise(q, 3 * PAGE, MADV_DONTNEED), 0);
		if (!failed)
			break;
	}
	EXPECT_LT(n, TRIES);
	munmap(q, 3 * PAGE);
}

TEST_NOTHING_LEAKED(ours)

TEST_HARNESS_MAIN

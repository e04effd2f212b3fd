// SPDX-License-Identifier: GPL-2.0
/*
 * MADV_COLLAPSE of anonymous memory: what it makes of each kind of page, and what it answers.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "harness.h"
#include "../thp/thp.h"

#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_UNPOPULATED	(1 << 13)
#define UFFD_FEATURE_WP_ASYNC		(1 << 15)
#endif

FIXTURE(anon) { char *p; };

FIXTURE_SETUP(anon)
{
	self->p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	madvise(self->p, HUGE, MADV_NOHUGEPAGE);
}

FIXTURE_TEARDOWN(anon)
{
	munmap(self->p, HUGE);
}

static bool is_huge(const char *p)
{
	return smaps_kb(p, "AnonHugePages") == 2048;
}

/* MADV_NOHUGEPAGE holds for MADV_COLLAPSE, too. */
static int collapse(char *p)
{
	settle_lru();
	madvise(p, HUGE, MADV_HUGEPAGE);
	return madvise(p, HUGE, MADV_COLLAPSE) ? -errno : 0;
}

TEST_F(anon, full)
{
	long isolated;

	thp_fill(self->p, PAGES);
	isolated = vm_count("nr_isolated_anon");
	ASSERT_EQ(collapse(self->p), 0);
	EXPECT_TRUE(is_huge(self->p));
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	EXPECT_EQ(smaps_kb(self->p, "Rss"), 2048);
	EXPECT_EQ(vm_count("nr_isolated_anon"), isolated);
	EXPECT_EQ(collapse(self->p), 0);
}

/* Nothing where nothing was. */
TEST_F(anon, one_page)
{
	size_t i, n = 0;

	self->p[77 * PAGE] = 7;
	ASSERT_EQ(collapse(self->p), 0);
	EXPECT_TRUE(is_huge(self->p));
	for (i = 0; i < HUGE; i++)
		n += self->p[i] != (i == 77 * PAGE ? 7 : 0);
	EXPECT_EQ(n, 0);
	EXPECT_EQ(smaps_kb(self->p, "Rss"), 2048);
}

TEST_F(anon, zero_pages)
{
	size_t i, n = 0;

	for (i = 1; i < PAGES; i++)
		n += self->p[i * PAGE];
	self->p[0] = 1;
	ASSERT_EQ(collapse(self->p), 0);
	EXPECT_TRUE(is_huge(self->p));
	for (i = 1; i < HUGE; i++)
		n += self->p[i];
	EXPECT_EQ(n, 0);
}

TEST_F(anon, nothing)
{
	EXPECT_EQ(collapse(self->p), -EINVAL);
	EXPECT_FALSE(is_huge(self->p));
}

/* One large folio, mapped in pieces: it is locked once. */
TEST_F(anon, large_folios)
{
	char *q = thp_new_ptes();
	size_t i;

	for (i = 3; i < PAGES; i += 7)
		ASSERT_EQ(madvise(q + i * PAGE, PAGE, MADV_DONTNEED), 0);
	ASSERT_EQ(collapse(q), 0);
	EXPECT_TRUE(is_huge(q));
	EXPECT_EQ(thp_wrong(q, PAGES), (PAGES - 3 + 6) / 7);
	munmap(q, HUGE);
}

TEST_F(anon, swapped)
{
	need_swap();
	thp_fill(self->p, PAGES);
	settle_lru();
	ASSERT_EQ(madvise(self->p + 100 * PAGE, 50 * PAGE, 21 /* MADV_PAGEOUT */), 0);
	ASSERT_EQ(collapse(self->p), 0);
	EXPECT_TRUE(is_huge(self->p));
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

TEST_F(anon, pinned)
{
	struct iovec iov = { .iov_base = self->p + 300 * PAGE, .iov_len = 8 };
	int fds[2];

	thp_fill(self->p, PAGES);
	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(vmsplice(fds[1], &iov, 1, 0), 8);
	EXPECT_EQ(collapse(self->p), -EAGAIN);
	EXPECT_FALSE(is_huge(self->p));
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	close(fds[0]);
	close(fds[1]);
	EXPECT_EQ(collapse(self->p), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

/* The child's pages are not the parent's any more; both hold what they held. */
TEST_F(anon, shared)
{
	int status = -1;
	pid_t pid;

	thp_fill(self->p, PAGES);
	pid = fork();
	if (!pid) {
		self->p[0] = 1;
		thp_fill(self->p, 1);
		_exit(collapse(self->p) || !is_huge(self->p) || thp_wrong(self->p, PAGES));
	}
	waitpid(pid, &status, 0);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	/* None of them can be written to since: the first write would have copied all of the huge page. */
	EXPECT_EQ(collapse(self->p), -EINVAL);
	thp_fill(self->p, 1);
	EXPECT_EQ(collapse(self->p), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

TEST_F(anon, read_only)
{
	thp_fill(self->p, PAGES);
	ASSERT_EQ(mprotect(self->p, HUGE, PROT_READ), 0);
	EXPECT_EQ(collapse(self->p), -EINVAL);
	EXPECT_FALSE(is_huge(self->p));
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

TEST_F(anon, locked)
{
	thp_fill(self->p, PAGES);
	ASSERT_EQ(mlock(self->p, HUGE), 0);
	ASSERT_EQ(collapse(self->p), 0);
	settle_lru();
	EXPECT_TRUE(flags_at(self->p) & KPF(KPF_MLOCKED));
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

/* Of memory whose writes are tracked: all entries are protected since the last look, or none. */
static int track(char *p)
{
	struct uffdio_api api = {
		.api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED };
	struct uffdio_register reg = { .range = { (uintptr_t)p, HUGE }, .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = { .range = reg.range, .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg) ||
	    ioctl(fd, UFFDIO_WRITEPROTECT, &wp))
		fail_setup("a userfaultfd that protects asynchronously");
	return fd;
}

static size_t tracked_unwritten(const char *p)
{
	size_t i, n = 0;

	for (i = 0; i < PAGES; i++)
		n += !!(pagemap_of(p + i * PAGE) & PM_UFFD_WP);
	return n;
}

TEST_F(anon, tracked)
{
	int fd;

	thp_fill(self->p, PAGES);
	fd = track(self->p);
	ASSERT_EQ(collapse(self->p), 0);
	EXPECT_TRUE(is_huge(self->p));
	EXPECT_EQ(tracked_unwritten(self->p), PAGES);
	thp_fill(self->p, 3);
	EXPECT_EQ(tracked_unwritten(self->p), PAGES - 3);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	close(fd);
}

/* One PMD cannot say which were written to. */
TEST_F(anon, tracked_and_written)
{
	int fd;

	thp_fill(self->p, PAGES);
	fd = track(self->p);
	thp_fill(self->p, 3);
	EXPECT_EQ(collapse(self->p), -EINVAL);
	EXPECT_FALSE(is_huge(self->p));
	EXPECT_EQ(tracked_unwritten(self->p), PAGES - 3);
	thp_fill(self->p, PAGES);
	EXPECT_EQ(collapse(self->p), 0);
	EXPECT_EQ(tracked_unwritten(self->p), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	close(fd);
}

TEST_F(anon, tracked_huge)
{
	char *q = thp_new_ptes();
	uint64_t frame = frame_of(q);
	int fd = track(q);

	ASSERT_EQ(collapse(q), 0);
	EXPECT_TRUE(is_huge(q));
	EXPECT_EQ(frame_of(q), frame);
	EXPECT_EQ(tracked_unwritten(q), PAGES);
	thp_fill(q, 3);
	EXPECT_EQ(tracked_unwritten(q), PAGES - 3);
	EXPECT_EQ(thp_wrong(q, PAGES), 0);
	close(fd);
	munmap(q, HUGE);
}

/* Ranges, as they are answered. */
TEST_F(anon, ranges)
{
	thp_fill(self->p, PAGES);
	settle_lru();
	madvise(self->p, HUGE, MADV_HUGEPAGE);
	/* In one PMD, without all of it. */
	EXPECT_EQ(madvise(self->p + PAGE, 10 * PAGE, MADV_COLLAPSE), -1);
	EXPECT_EQ(errno, EINVAL);
	/* From within it to its end. */
	EXPECT_EQ(madvise(self->p + PAGE, HUGE - PAGE, MADV_COLLAPSE), 0);
	EXPECT_FALSE(is_huge(self->p));
	EXPECT_EQ(madvise(self->p, HUGE, MADV_COLLAPSE), 0);
	EXPECT_TRUE(is_huge(self->p));
}

TEST_HARNESS_MAIN

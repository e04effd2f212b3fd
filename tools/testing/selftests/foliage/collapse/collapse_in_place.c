// SPDX-License-Identifier: GPL-2.0
/*
 * A huge page that is mapped by entries gets its PMD back with the frames that it has, if a PMD can
 * say what the entries say; else it is copied, or refused, as it always was.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "harness.h"
#include "../thp/thp.h"

FIXTURE(in_place) {
	char *p;
	uint64_t frame;
};

FIXTURE_SETUP(in_place)
{
	self->p = thp_new_ptes();
	settle_lru();
	self->frame = frame_of(self->p);
}

FIXTURE_TEARDOWN(in_place)
{
	munmap(self->p, HUGE);
}

static bool is_huge(const char *p)
{
	return smaps_kb(p, "AnonHugePages") == 2048;
}

/* The same pages, and what they hold. */
#define EXPECT_IN_PLACE(p) do {				\
	EXPECT_TRUE(is_huge(p));			\
	EXPECT_EQ(frame_of(p), self->frame);		\
	EXPECT_EQ(thp_wrong(p, PAGES), 0);		\
	EXPECT_EQ(smaps_kb(p, "Rss"), 2048);		\
} while (0)

TEST_F(in_place, protected_and_back)
{
	long allocs = vm_count("thp_collapse_alloc");

	ASSERT_FALSE(is_huge(self->p));
	ASSERT_EQ(madvise(self->p, HUGE, MADV_COLLAPSE), 0);
	EXPECT_IN_PLACE(self->p);
	EXPECT_EQ(vm_count("thp_collapse_alloc"), allocs);
	thp_fill(self->p, PAGES);
	EXPECT_IN_PLACE(self->p);
	EXPECT_EQ(pages_with(self->p, PAGES, KPF_LRU), PAGES);
}

/* It is one mapping now: a child shares it as one, and a write copies a page. */
TEST_F(in_place, fork_later)
{
	int status = -1;
	pid_t pid;

	ASSERT_EQ(madvise(self->p, HUGE, MADV_COLLAPSE), 0);
	pid = fork();
	if (!pid) {
		self->p[5 * PAGE] = 77;
		_exit(!(thp_page_is(self->p + 6 * PAGE, 6) && self->p[5 * PAGE] == 77));
	}
	waitpid(pid, &status, 0);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

/* Shared since a fork: both keep what they have, and whoever writes gets a copy. */
TEST_F(in_place, shared)
{
	int up[2], down[2], status = -1;
	char c = 0;
	pid_t pid;

	ASSERT_EQ(pipe(up) | pipe(down), 0);
	pid = fork();
	if (!pid) {
		c = madvise(self->p, HUGE, MADV_COLLAPSE) || frame_of(self->p) != self->frame;
		if (write(up[1], &c, 1) != 1 || read(down[0], &c, 1) != 1)
			_exit(2);
		_exit(c || thp_wrong(self->p, PAGES));
	}
	ASSERT_EQ(read(up[0], &c, 1), 1);
	EXPECT_EQ(c, 0);
	thp_fill(self->p + 100 * PAGE, 1);
	c = 0;
	ASSERT_EQ(write(down[1], &c, 1), 1);
	waitpid(pid, &status, 0);
	EXPECT_EQ(status, 0);
	EXPECT_TRUE(thp_page_is(self->p + 100 * PAGE, 0));
	EXPECT_TRUE(thp_page_is(self->p + 101 * PAGE, 101));
}

/* One half is shared with a child, the other is not: one PMD cannot say that, so all is copied. */
TEST_F(in_place, shared_in_part)
{
	int up[2], status = -1;
	char c = 0;
	pid_t pid;

	ASSERT_EQ(pipe(up), 0);
	ASSERT_EQ(madvise(self->p, HUGE / 2, MADV_DONTFORK), 0);
	pid = fork();
	if (!pid) {
		if (read(up[0], &c, 1) != 1)
			_exit(2);
		_exit(!thp_page_is(self->p + 300 * PAGE, 300));
	}
	ASSERT_EQ(madvise(self->p, HUGE / 2, MADV_DOFORK), 0);
	settle_lru();
	ASSERT_EQ(madvise(self->p, HUGE, MADV_COLLAPSE), 0);
	EXPECT_TRUE(is_huge(self->p));
	EXPECT_NE(frame_of(self->p), self->frame);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	memset(self->p + 300 * PAGE, 77, PAGE);
	ASSERT_EQ(write(up[1], &c, 1), 1);
	waitpid(pid, &status, 0);
	EXPECT_EQ(status, 0);
}

/* A pin keeps a page from being copied; here none is. */
TEST_F(in_place, pinned)
{
	struct iovec iov = { .iov_base = self->p + 300 * PAGE, .iov_len = 16 };
	uint64_t got[2];
	int fds[2];

	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(vmsplice(fds[1], &iov, 1, 0), 16);
	ASSERT_EQ(madvise(self->p, HUGE, MADV_COLLAPSE), 0);
	EXPECT_IN_PLACE(self->p);
	ASSERT_EQ(read(fds[0], got, 16), 16);
	EXPECT_EQ(got[0], 301);
	close(fds[0]);
	close(fds[1]);
}

TEST_F(in_place, locked)
{
	ASSERT_EQ(mlock(self->p, HUGE), 0);
	settle_lru();
	ASSERT_EQ(madvise(self->p, HUGE, MADV_COLLAPSE), 0);
	EXPECT_IN_PLACE(self->p);
	settle_lru();
	EXPECT_TRUE(flags_at(self->p) & KPF(KPF_MLOCKED));
	ASSERT_EQ(munlock(self->p, HUGE), 0);
	settle_lru();
	EXPECT_FALSE(flags_at(self->p) & KPF(KPF_MLOCKED));
}

TEST_F(in_place, moved)
{
	char *to = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	ASSERT_EQ(mremap(self->p, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	self->p = to;
	ASSERT_EQ(madvise(to, HUGE, MADV_COLLAPSE), 0);
	EXPECT_IN_PLACE(to);
}

/* At an address where a PMD could not map it, it is copied. */
TEST_F(in_place, unaligned)
{
	char *from = thp_room(3 * PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	char *to = thp_room(4 * PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1) + 16 * PAGE;
	char *table = to + HUGE - 16 * PAGE;

	*(volatile char *)(from + HUGE) = 1;
	thp_fill(from + HUGE, PAGES);
	ASSERT_EQ(mremap(from, 3 * HUGE, 3 * HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	settle_lru();
	self->frame = frame_of(to + HUGE);
	ASSERT_EQ(madvise(table, HUGE, MADV_COLLAPSE), 0);
	EXPECT_TRUE(is_huge(table));
	EXPECT_NE(frame_of(to + HUGE), self->frame);
	EXPECT_EQ(thp_wrong(to + HUGE, PAGES), 0);
	munmap(to, 3 * HUGE);
}

/* A page is another one: all is copied. */
TEST_F(in_place, a_page_less)
{
	ASSERT_EQ(madvise(self->p + 9 * PAGE, PAGE, MADV_DONTNEED), 0);
	self->p[9 * PAGE] = 9;
	settle_lru();
	ASSERT_EQ(madvise(self->p, HUGE, MADV_COLLAPSE), 0);
	EXPECT_TRUE(is_huge(self->p));
	EXPECT_NE(frame_of(self->p), self->frame);
	EXPECT_EQ(self->p[9 * PAGE], 9);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 1);
}

/* Read only is what it stays where that is what the mapping says, and can be written to after that. */
TEST_F(in_place, read_only)
{
	ASSERT_EQ(mprotect(self->p, HUGE, PROT_READ), 0);
	ASSERT_EQ(madvise(self->p, HUGE, MADV_COLLAPSE), 0);
	EXPECT_IN_PLACE(self->p);
	ASSERT_EQ(mprotect(self->p, HUGE, RW), 0);
	thp_fill(self->p, PAGES);
	EXPECT_IN_PLACE(self->p);
}

TEST_F(in_place, soft_dirty)
{
	ASSERT_TRUE(write_text("/proc/self/clear_refs", "4"));
	*(volatile char *)(self->p + 40 * PAGE) = *(volatile char *)(self->p + 40 * PAGE);
	ASSERT_EQ(madvise(self->p, HUGE, MADV_COLLAPSE), 0);
	EXPECT_IN_PLACE(self->p);
	EXPECT_TRUE(pagemap_of(self->p + 40 * PAGE) & PM_SOFT_DIRTY);
}

/* What userfaultfd protects stays as small as it is. */
TEST_F(in_place, userfaultfd)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg = {
		.range = { (uintptr_t)self->p, HUGE }, .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)self->p + 8 * PAGE, PAGE }, .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	int fd = syscall(SYS_userfaultfd, 0);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(ioctl(fd, UFFDIO_API, &api), 0);
	ASSERT_EQ(ioctl(fd, UFFDIO_REGISTER, &reg), 0);
	ASSERT_EQ(ioctl(fd, UFFDIO_WRITEPROTECT, &wp), 0);
	EXPECT_EQ(madvise(self->p, HUGE, MADV_COLLAPSE), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_TRUE(pagemap_of(self->p + 8 * PAGE) & PM_UFFD_WP);
	wp.mode = 0;
	ASSERT_EQ(ioctl(fd, UFFDIO_WRITEPROTECT, &wp), 0);
	ASSERT_EQ(madvise(self->p, HUGE, MADV_COLLAPSE), 0);
	EXPECT_IN_PLACE(self->p);
	close(fd);
}

/* In swap afterwards and back, split, given up: it is a huge page like others. */
TEST_F(in_place, lives_on)
{
	ASSERT_EQ(madvise(self->p, HUGE, MADV_COLLAPSE), 0);
	ASSERT_EQ(split_range(self->p, PAGES, 0), 0);
	EXPECT_EQ(pages_with(self->p, PAGES, KPF_HEAD), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	ASSERT_EQ(madvise(self->p, HUGE, MADV_DONTNEED), 0);
	EXPECT_EQ(*(volatile char *)self->p, 0);
}

TEST_HARNESS_MAIN

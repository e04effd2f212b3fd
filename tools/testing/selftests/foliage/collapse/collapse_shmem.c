// SPDX-License-Identifier: GPL-2.0
/*
 * MADV_COLLAPSE of shmem, which may have holes, and pages in swap.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "file.h"

static bool shmem_huge(const char *p)
{
	return smaps_kb(p, "ShmemPmdMapped") == 2048;
}

/* The blocks that a file has, in pages. */
static long blocks_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		fail_setup("fstat");
	return st.st_blocks / 8;
}

static int uffd_open(char *p, uint64_t mode)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_HUGETLBFS_SHMEM };
	struct uffdio_register reg = { .range = { (uintptr_t)p, HUGE }, .mode = mode };
	int fd = syscall(SYS_userfaultfd, 0);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		fail_setup("userfaultfd of shmem");
	return fd;
}

FIXTURE(shmem) {
	char *p;
	int fd;
};

FIXTURE_SETUP(shmem)
{
	self->fd = memfd_create("collapse", 0);
	if (self->fd < 0 || ftruncate(self->fd, HUGE))
		fail_setup("memfd");
	self->p = thp_room(PAGES, MAP_SHARED, self->fd);
}

FIXTURE_TEARDOWN(shmem)
{
	munmap(self->p, HUGE);
	close(self->fd);
}

/* The same file, mapped once more. */
static char *map_again(int fd, int flags)
{
	return thp_room(PAGES, flags, fd);
}

TEST_F(shmem, full)
{
	thp_fill(self->p, PAGES);
	ASSERT_FALSE(shmem_huge(self->p));
	ASSERT_EQ(collapse(self->p), 0);
	EXPECT_TRUE(shmem_huge(self->p));
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	EXPECT_EQ(smaps_kb(self->p, "Rss"), 2048);
	EXPECT_EQ(blocks_of(self->fd), PAGES);
	/* Once more is no error. */
	EXPECT_EQ(collapse(self->p), 0);
	EXPECT_TRUE(shmem_huge(self->p));
}

/* It is written to, read by read(), and given back like any other. */
TEST_F(shmem, lives_on)
{
	uint64_t word = 0;

	thp_fill(self->p, PAGES);
	ASSERT_EQ(collapse(self->p), 0);
	memset(self->p, 0, HUGE);
	thp_fill(self->p, PAGES);
	ASSERT_EQ(pread(self->fd, &word, 8, 77 * PAGE), 8);
	EXPECT_EQ(word, 78);
	ASSERT_EQ(split_range(self->p, PAGES, 0), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	ASSERT_EQ(fallocate(self->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, HUGE), 0);
	EXPECT_EQ(blocks_of(self->fd), 0);
	EXPECT_EQ(*(volatile uint64_t *)(self->p + 77 * PAGE), 0);
}

/* Zeroes where nothing was; and the file has all of the blocks, then. */
TEST_F(shmem, holes)
{
	static const size_t at[] = { 1, 77, 78, 400, 510 };
	size_t i, n = 0;

	for (i = 0; i < ARRAY_SIZE(at); i++)
		self->p[at[i] * PAGE] = at[i] % 100 + 1;
	EXPECT_EQ(blocks_of(self->fd), ARRAY_SIZE(at));
	ASSERT_EQ(collapse(self->p), 0);
	EXPECT_TRUE(shmem_huge(self->p));
	EXPECT_EQ(blocks_of(self->fd), PAGES);
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		EXPECT_EQ(self->p[at[i] * PAGE], at[i] % 100 + 1);
		self->p[at[i] * PAGE] = 0;
	}
	for (i = 0; i < HUGE; i++)
		n += !!self->p[i];
	EXPECT_EQ(n, 0);
}

/* What fallocate() has given, nobody has yet filled. */
TEST_F(shmem, allocated)
{
	size_t i, n = 0;

	ASSERT_EQ(fallocate(self->fd, 0, 0, HUGE / 2), 0);
	self->p[3 * PAGE] = 3;
	ASSERT_EQ(collapse(self->p), 0);
	EXPECT_TRUE(shmem_huge(self->p));
	for (i = 0; i < HUGE; i++)
		n += self->p[i] != (i == 3 * PAGE ? 3 : 0);
	EXPECT_EQ(n, 0);
}

TEST_F(shmem, swapped)
{
	need_swap();
	thp_fill(self->p, PAGES);
	settle_lru();
	ASSERT_EQ(madvise(self->p + 100 * PAGE, 50 * PAGE, MADV_PAGEOUT), 0);
	EXPECT_GT(smaps_kb(self->p, "Swap"), 0);
	ASSERT_EQ(collapse(self->p), 0);
	EXPECT_TRUE(shmem_huge(self->p));
	EXPECT_EQ(smaps_kb(self->p, "Swap"), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

/* Another process maps it: by entries before, as one when it has touched it again. */
TEST_F(shmem, second_process)
{
	int up[2], down[2], status = -1;
	char c = 0;
	pid_t pid;

	thp_fill(self->p, PAGES);
	ASSERT_EQ(pipe(up) | pipe(down), 0);
	pid = fork();
	if (!pid) {
		c = !!thp_wrong(self->p, PAGES);
		if (write(up[1], &c, 1) != 1 || read(down[0], &c, 1) != 1)
			_exit(1);
		if (thp_wrong(self->p, PAGES))
			_exit(2);
		if (!shmem_huge(self->p))
			_exit(3);
		self->p[9 * PAGE + 99] = 99;
		_exit(0);
	}
	ASSERT_EQ(read(up[0], &c, 1), 1);
	ASSERT_EQ(c, 0);
	EXPECT_EQ(collapse(self->p), 0);
	EXPECT_TRUE(shmem_huge(self->p));
	ASSERT_EQ(write(down[1], &c, 1), 1);
	waitpid(pid, &status, 0);
	EXPECT_EQ(WEXITSTATUS(status), 0);
	EXPECT_EQ(self->p[9 * PAGE + 99], 99);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

/* A private mapping keeps the page that it has for itself, whoever collapses the file. */
TEST_F(shmem, private_page)
{
	char *q = map_again(self->fd, MAP_PRIVATE);

	thp_fill(self->p, PAGES);
	EXPECT_EQ(thp_wrong(q, PAGES), 0);
	q[5 * PAGE] = 55;
	ASSERT_EQ(collapse(self->p), 0);
	EXPECT_TRUE(shmem_huge(self->p));
	EXPECT_EQ(q[5 * PAGE], 55);
	EXPECT_EQ(thp_wrong(q, PAGES), 1);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	/* It is in the way of a PMD there. */
	EXPECT_EQ(collapse(q), -EINVAL);
	EXPECT_EQ(q[5 * PAGE], 55);
	EXPECT_EQ(thp_wrong(q, PAGES), 1);
	/* A write there is still nobody else's. */
	q[6 * PAGE] = 66;
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	munmap(q, HUGE);
}

/* A private mapping without pages of its own maps the huge page, and a write copies. */
TEST_F(shmem, private_mapping)
{
	char *q = map_again(self->fd, MAP_PRIVATE);

	thp_fill(self->p, PAGES);
	ASSERT_EQ(collapse(q), 0);
	EXPECT_EQ(thp_wrong(q, PAGES), 0);
	q[6 * PAGE] = 66;
	EXPECT_EQ(thp_wrong(q, PAGES), 1);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	munmap(q, HUGE);
}

/* Where nothing was ever mapped for a gigabyte around, tables have to be made for the huge page. */
TEST_F(shmem, far_from_all)
{
	uintptr_t far = ((uintptr_t)self->p & -(1UL << 30)) - (64UL << 30);
	char *q = mmap((void *)far, HUGE, RW, MAP_PRIVATE | MAP_FIXED_NOREPLACE, self->fd, 0);

	ASSERT_EQ((uintptr_t)q, far);
	thp_fill(self->p, PAGES);
	ASSERT_EQ(collapse(q), 0);
	EXPECT_EQ(thp_wrong(q, PAGES), 0);
	munmap(q, HUGE);
}

TEST_F(shmem, pinned)
{
	struct iovec iov = { .iov_base = self->p + 300 * PAGE, .iov_len = 8 };
	uint64_t word = 0;
	int fds[2];

	thp_fill(self->p, PAGES);
	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(vmsplice(fds[1], &iov, 1, 0), 8);
	EXPECT_EQ(collapse(self->p), -EAGAIN);
	EXPECT_FALSE(shmem_huge(self->p));
	EXPECT_EQ(pages_with(self->p, PAGES, KPF_THP), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	EXPECT_EQ(blocks_of(self->fd), PAGES);
	/* The pipe has the page that is in the file. */
	*(volatile uint64_t *)(self->p + 300 * PAGE) = 4711;
	ASSERT_EQ(read(fds[0], &word, 8), 8);
	EXPECT_EQ(word, 4711);
	close(fds[0]);
	close(fds[1]);
	thp_fill(self->p, PAGES);
	EXPECT_EQ(collapse(self->p), 0);
	EXPECT_TRUE(shmem_huge(self->p));
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

/* Refused with holes, it still has them. */
TEST_F(shmem, pinned_with_holes)
{
	struct iovec iov = { .iov_base = self->p + 300 * PAGE, .iov_len = 8 };
	int fds[2];

	self->p[300 * PAGE] = 3;
	self->p[301 * PAGE] = 4;
	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(vmsplice(fds[1], &iov, 1, 0), 8);
	EXPECT_EQ(collapse(self->p), -EAGAIN);
	EXPECT_EQ(blocks_of(self->fd), 2);
	EXPECT_EQ(self->p[300 * PAGE], 3);
	EXPECT_EQ(self->p[301 * PAGE], 4);
	close(fds[0]);
	close(fds[1]);
}

TEST_F(shmem, truncated)
{
	thp_fill(self->p, PAGES);
	ASSERT_EQ(ftruncate(self->fd, 0), 0);
	EXPECT_EQ(collapse(self->p), -EINVAL);
	EXPECT_EQ(blocks_of(self->fd), 0);
	/* As long as before, without anything in it. */
	ASSERT_EQ(ftruncate(self->fd, HUGE), 0);
	EXPECT_EQ(collapse(self->p), -EINVAL);
	EXPECT_EQ(blocks_of(self->fd), 0);
	thp_fill(self->p, PAGES);
	EXPECT_EQ(collapse(self->p), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

/* Shorter than a huge page since: what is behind the end of it is gone for good. */
/* The one page that is there goes while the holes before it are counted. */
static void *empty_again_and_again(void *arg)
{
	int fd = *(int *)arg;
	char byte = 1;

	for (;;) {
		if (pwrite(fd, &byte, 1, HUGE - PAGE) != 1 ||
		    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, HUGE - PAGE, PAGE))
			return NULL;
		pthread_testcancel();
	}
}

TEST_F(shmem, emptied_meanwhile)
{
	pthread_t thread;
	time_t end;

	ASSERT_EQ(fallocate(self->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, HUGE), 0);
	ASSERT_EQ(pthread_create(&thread, NULL, empty_again_and_again, &self->fd), 0);
	for (end = time(NULL) + 4; time(NULL) < end;) {
		madvise(self->p, HUGE, MADV_COLLAPSE);
		fallocate(self->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, HUGE - PAGE);
	}
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	ASSERT_EQ(fallocate(self->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, HUGE), 0);
	thp_fill(self->p, PAGES);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

TEST_F(shmem, cut_afterwards)
{
	thp_fill(self->p, PAGES);
	ASSERT_EQ(collapse(self->p), 0);
	ASSERT_EQ(ftruncate(self->fd, 100 * PAGE), 0);
	EXPECT_EQ(thp_wrong(self->p, 100), 0);
	ASSERT_EQ(ftruncate(self->fd, HUGE), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), PAGES - 100);
	EXPECT_EQ(collapse(self->p), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), PAGES - 100);
}

TEST_F(shmem, counted)
{
	long shmem, file, huge;
	size_t i;

	for (i = 0; i < PAGES / 2; i++)
		self->p[i * PAGE] = 1;
	shmem = count_now("nr_shmem");
	file = count_now("nr_file_pages");
	huge = count_now("nr_shmem_hugepages");
	ASSERT_EQ(collapse(self->p), 0);
	EXPECT_EQ(count_now("nr_shmem_hugepages"), huge + 1);
	EXPECT_LE(labs(count_now("nr_shmem") - shmem - (long)PAGES / 2), SLACK);
	/* settle_lru() drops what is clean: there may be less of others'. */
	EXPECT_LE(count_now("nr_file_pages") - file - (long)PAGES / 2, SLACK);
	file = count_now("nr_file_pages");
	shmem = count_now("nr_shmem");
	ASSERT_EQ(ftruncate(self->fd, 0), 0);
	EXPECT_EQ(count_now("nr_shmem_hugepages"), huge);
	EXPECT_LE(labs(count_now("nr_shmem") - shmem + (long)PAGES), SLACK);
	EXPECT_LE(labs(count_now("nr_file_pages") - file + (long)PAGES), SLACK);
}

/* Refused, nothing is counted. */
TEST_F(shmem, counted_nothing)
{
	struct iovec iov = { .iov_base = self->p + 3 * PAGE, .iov_len = 8 };
	long shmem, huge;
	int fds[2];

	self->p[PAGE] = self->p[3 * PAGE] = 1;
	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(vmsplice(fds[1], &iov, 1, 0), 8);
	shmem = count_now("nr_shmem");
	huge = count_now("nr_shmem_hugepages");
	EXPECT_EQ(collapse(self->p), -EAGAIN);
	EXPECT_LE(labs(count_now("nr_shmem") - shmem), SLACK);
	EXPECT_EQ(count_now("nr_shmem_hugepages"), huge);
	close(fds[0]);
	close(fds[1]);
}

TEST_F(shmem, locked)
{
	thp_fill(self->p, PAGES);
	ASSERT_EQ(mlock(self->p, HUGE), 0);
	ASSERT_EQ(collapse(self->p), 0);
	EXPECT_TRUE(shmem_huge(self->p));
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	ASSERT_EQ(munlock(self->p, HUGE), 0);
	settle_lru();
	EXPECT_EQ(pages_with(self->p, PAGES, KPF_MLOCKED), 0);
	EXPECT_EQ(pages_with(self->p, PAGES, KPF_UNEVICTABLE), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

/* The table has notes of what is protected, which a PMD has no room for. */
TEST_F(shmem, userfaultfd_wp)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)self->p + 8 * PAGE, PAGE }, .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	int fd;

	thp_fill(self->p, PAGES);
	fd = uffd_open(self->p, UFFDIO_REGISTER_MODE_WP);
	ASSERT_EQ(ioctl(fd, UFFDIO_WRITEPROTECT, &wp), 0);
	EXPECT_EQ(collapse(self->p), -EINVAL);
	EXPECT_FALSE(shmem_huge(self->p));
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	EXPECT_FALSE(shmem_huge(self->p));
	EXPECT_TRUE(pagemap_of(self->p + 8 * PAGE) & PM_UFFD_WP);
	EXPECT_FALSE(pagemap_of(self->p + 9 * PAGE) & PM_UFFD_WP);
	close(fd);
	EXPECT_EQ(collapse(self->p), 0);
	EXPECT_TRUE(shmem_huge(self->p));
}

/* Who wants to be told of missing pages would not be told any more. */
TEST_F(shmem, userfaultfd_missing)
{
	int fd;

	thp_fill(self->p, PAGES / 2);
	fd = uffd_open(self->p, UFFDIO_REGISTER_MODE_MISSING);
	EXPECT_EQ(collapse(self->p), -EBUSY);
	EXPECT_EQ(blocks_of(self->fd), PAGES / 2);
	EXPECT_EQ(thp_wrong(self->p, PAGES / 2), 0);
	close(fd);
	EXPECT_EQ(collapse(self->p), 0);
	EXPECT_TRUE(shmem_huge(self->p));
	EXPECT_EQ(thp_wrong(self->p, PAGES), PAGES / 2);
}

/* The huge page that there is anyway, mapped by entries of another mapping. */
TEST_F(shmem, remapped)
{
	char *q = map_again(self->fd, MAP_SHARED);
	long allocs;
	size_t i;

	thp_fill(self->p, PAGES);
	ASSERT_EQ(collapse(self->p), 0);
	/* A mapping of a part has a table; and the whole of it is one VMA again. */
	ASSERT_EQ(mprotect(q + PAGE, PAGE, PROT_READ), 0);
	EXPECT_EQ(thp_wrong(q, PAGES), 0);
	ASSERT_EQ(mprotect(q + PAGE, PAGE, RW), 0);
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(frame_of(q + i * PAGE), frame_of(self->p + i * PAGE));
	allocs = vm_count("thp_collapse_alloc");
	ASSERT_EQ(collapse(q), 0);
	EXPECT_TRUE(shmem_huge(q));
	EXPECT_EQ(vm_count("thp_collapse_alloc"), allocs);
	EXPECT_EQ(thp_wrong(q, PAGES), 0);
	munmap(q, HUGE);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Memory is filled many pages at a time: what is told of it is exact wherever it ends, and pages are
 * where and what they would have been if each had come by itself.
 */
#define _GNU_SOURCE
#include <linux/mempolicy.h>
#include <setjmp.h>

#include "uffd.h"

#include "harness.h"
#include "proc.h"

/* Two page tables and a half, so that batches and tables end inside. */
#define PAGES	1280UL
#define MIDDLE	700UL
#define KPF_MLOCKED	33
#define KPF_ZERO_PAGE	24

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE	0x100000
#endif

static uint64_t *word(char *base, size_t page)
{
	return (uint64_t *)(base + page * PAGE);
}

/* Pages that name themselves, in the middle too, at an address that is not a page's. */
static char *source_new(size_t pages)
{
	char *p = mmap(NULL, (pages + 1) * PAGE, RW, ANON, -1, 0);

	if (p == MAP_FAILED)
		fail_setup("memory");
	p += 64;
	for (size_t i = 0; i < pages; i++) {
		*word(p, i) = i + 1;
		*word(p + 2048, i) = ~i;
	}
	return p;
}

/* How many pages from @first on are the source's? */
static size_t same(char *p, size_t first, size_t pages)
{
	size_t i = first;

	while (i < first + pages && *word(p, i) == i + 1 && *word(p + 2048, i) == ~i)
		i++;
	return i - first;
}

static size_t present(char *p, size_t pages)
{
	uint64_t pfn[PAGES];
	size_t n = 0;

	frames_of(p, pfn, pages);
	for (size_t i = 0; i < pages; i++)
		n += !!pfn[i];
	return n;
}

/* The ioctls that have no source: words are start, len, mode, done. */
static int64_t fill(int fd, unsigned long cmd, char *dst, size_t pages)
{
	int64_t words[4] = { (uintptr_t)dst, pages * PAGE, 0, 77 };
	int ret = ioctl(fd, cmd, words), err = errno;

	if (ret ? err != (words[3] < 0 ? -words[3] : EAGAIN) : words[3] != (int64_t)(pages * PAGE))
		fail_setup("%lx: %d, errno %d, done %lld", cmd, ret, err, (long long)words[3]);
	return words[3];
}

static int protect(int fd, char *p, size_t pages, bool on)
{
	uint64_t words[3] = { (uintptr_t)p, pages * PAGE, on };

	return ioctl(fd, UFFDIO_WRITEPROTECT, words) ? -errno : 0;
}

FIXTURE(fill) { int fd; char *p, *src; };

FIXTURE_SETUP(fill)
{
	self->fd = uffd_with(UFFD_FEATURE_WP_UNPOPULATED, O_CLOEXEC);
	self->p = uffd_memory(self->fd, PAGES, MISSING | WP);
	self->src = source_new(PAGES);
}

FIXTURE_TEARDOWN(fill)
{
	close(self->fd);
	munmap(self->p, PAGES * PAGE);
	munmap(self->src - 64, (PAGES + 1) * PAGE);
}

TEST_F(fill, copies_all)
{
	ASSERT_EQ(copy(self->fd, self->p, self->src, PAGES, 0), PAGES * PAGE);
	EXPECT_EQ(same(self->p, 0, PAGES), PAGES);
	/* They are this process's own, and can be written. */
	for (size_t i = 0; i < PAGES; i += 99) {
		*word(self->p, i) = 5;
		EXPECT_EQ(*word(self->src, i), i + 1);
	}
}

/* What is there already, at the beginning of a batch, in one, and where a table begins. */
TEST_F(fill, copy_meets_a_page)
{
	static const size_t at[] = { 1, 31, 32, 33, MIDDLE, PAGES - 1 };

	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		ASSERT_EQ(madvise(self->p, PAGES * PAGE, MADV_DONTNEED), 0);
		ASSERT_EQ(copy(self->fd, self->p + at[i] * PAGE, self->src, 1, 0), PAGE);
		EXPECT_EQ(copy(self->fd, self->p, self->src, PAGES, 0), at[i] * PAGE);
		EXPECT_EQ(same(self->p, 0, at[i]), at[i]);
		EXPECT_EQ(*word(self->p, at[i]), 1);
		EXPECT_EQ(present(self->p, PAGES), at[i] + 1);
		EXPECT_EQ(copy(self->fd, self->p + at[i] * PAGE, self->src, PAGES - at[i], 0), -EEXIST);
	}
}

/* A source that cannot be read: what comes before is copied, and that is told. */
TEST_F(fill, copy_source_ends)
{
	static const size_t at[] = { 0, 1, 32, MIDDLE };
	long free_before, lost;

	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		char *page = (char *)(((uintptr_t)self->src + at[i] * PAGE + PAGE) & -PAGE);

		ASSERT_EQ(madvise(self->p, PAGES * PAGE, MADV_DONTNEED), 0);
		ASSERT_EQ(mprotect(page, PAGE, PROT_NONE), 0);
		EXPECT_EQ(copy(self->fd, self->p, self->src, PAGES, 0), at[i] ? (int64_t)(at[i] * PAGE) : -EFAULT);
		EXPECT_EQ(present(self->p, PAGES), at[i]);
		ASSERT_EQ(mprotect(page, PAGE, RW), 0);
		EXPECT_EQ(same(self->p, 0, at[i]), at[i]);
	}
	/* The pages that were made for nothing are free again: 31 each time would be 120 MiB. */
	ASSERT_EQ(mprotect((char *)(((uintptr_t)self->src + PAGE) & -PAGE), PAGE, PROT_NONE), 0);
	free_before = sysconf(_SC_AVPHYS_PAGES);
	for (int i = 0; i < 1000; i++)
		copy(self->fd, self->p, self->src, PAGES, 0);
	lost = free_before - sysconf(_SC_AVPHYS_PAGES);
	EXPECT_LT(lost, 8000);
}

/* A source that was not touched yet: its faults are answered between holds. */
TEST_F(fill, copy_source_not_there)
{
	need_swap();
	madvise((void *)((uintptr_t)self->src & -PAGE), (PAGES + 1) * PAGE, 21 /* MADV_PAGEOUT */);
	ASSERT_EQ(copy(self->fd, self->p, self->src, PAGES, 0), PAGES * PAGE);
	EXPECT_EQ(same(self->p, 0, PAGES), PAGES);
}

struct answer { int fd; char *memory; atomic_int answered; };

static void *answer_all(void *arg)
{
	struct answer *a = arg;
	struct uffd_msg m;

	while (uffd_next(a->fd, &m)) {
		size_t page = (m.arg.pagefault.address - (uintptr_t)a->memory) / PAGE;

		if (uffd_fill(a->fd, a->memory, page, 0))
			fail_setup("an answer for page %zu", page);
		if (++a->answered == 100)
			break;
	}
	return NULL;
}

/* A source that waits for user space itself, whose answer wants the same VMA locks. */
TEST_F(fill, copy_source_of_another)
{
	struct answer a = { .fd = uffd_with(0, O_CLOEXEC) };
	pthread_t thread;

	a.memory = uffd_memory(a.fd, 100, MISSING);
	ASSERT_EQ(pthread_create(&thread, NULL, answer_all, &a), 0);
	EXPECT_EQ(copy(self->fd, self->p, a.memory, 100, 0), 100 * PAGE);
	pthread_join(thread, NULL);
	EXPECT_EQ(a.answered, 100);
	for (size_t i = 0; i < 100; i++)
		EXPECT_EQ(*word(self->p, i), i + 1);
	close(a.fd);
	munmap(a.memory, 100 * PAGE);
}

/* Zeroes and poison do not replace a marker; a copy does. */
TEST_F(fill, markers)
{
	ASSERT_EQ(protect(self->fd, self->p + MIDDLE * PAGE, 3, true), 0);
	EXPECT_EQ(fill(self->fd, UFFDIO_ZEROPAGE, self->p, PAGES), MIDDLE * PAGE);
	EXPECT_EQ(fill(self->fd, UFFDIO_ZEROPAGE, self->p + MIDDLE * PAGE, 1), -EEXIST);
	EXPECT_EQ(fill(self->fd, UFFDIO_POISON, self->p + MIDDLE * PAGE, 1), -EEXIST);
	EXPECT_EQ(copy(self->fd, self->p + MIDDLE * PAGE, self->src, 3, 0), 3 * PAGE);
	EXPECT_EQ(*word(self->p, MIDDLE + 2), 3);
}

TEST_F(fill, zeroes)
{
	ASSERT_EQ(copy(self->fd, self->p + MIDDLE * PAGE, self->src, 1, 0), PAGE);
	EXPECT_EQ(fill(self->fd, UFFDIO_ZEROPAGE, self->p, PAGES), MIDDLE * PAGE);
	EXPECT_EQ(fill(self->fd, UFFDIO_ZEROPAGE, self->p + (MIDDLE + 1) * PAGE, PAGES - MIDDLE - 1),
		  (PAGES - MIDDLE - 1) * PAGE);
	for (size_t i = 0; i < PAGES; i++)
		EXPECT_EQ(*word(self->p, i), i == MIDDLE ? 1 : 0);
	for (size_t i = 0; i < PAGES; i++) {
		*word(self->p, i) = i + 1;
		*word(self->p + 2048, i) = ~i;
	}
	EXPECT_EQ(same(self->p, 0, PAGES), PAGES);
}

static sigjmp_buf bus;

static void on_bus(int sig)
{
	siglongjmp(bus, sig);
}

static bool poisoned(char *at)
{
	struct sigaction act = { .sa_handler = on_bus };
	volatile bool is = true;

	sigaction(SIGBUS, &act, NULL);
	if (!sigsetjmp(bus, 1)) {
		(void)*(volatile char *)at;
		is = false;
	}
	return is;
}

TEST_F(fill, poison)
{
	ASSERT_EQ(copy(self->fd, self->p + MIDDLE * PAGE, self->src, 1, 0), PAGE);
	EXPECT_EQ(fill(self->fd, UFFDIO_POISON, self->p, PAGES), MIDDLE * PAGE);
	for (size_t i = 0; i < MIDDLE; i += 100)
		EXPECT_TRUE(poisoned(self->p + i * PAGE));
	EXPECT_TRUE(poisoned(self->p + (MIDDLE - 1) * PAGE));
	EXPECT_FALSE(poisoned(self->p + MIDDLE * PAGE));
	EXPECT_EQ(fill(self->fd, UFFDIO_POISON, self->p, 1), -EEXIST);
	/* What was lost has come after all. */
	EXPECT_EQ(copy(self->fd, self->p, self->src, MIDDLE, 0), MIDDLE * PAGE);
	EXPECT_EQ(same(self->p, 0, MIDDLE), MIDDLE);
}

/* Protected while it comes. */
TEST_F(fill, copy_protected)
{
	uint64_t e;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	ASSERT_EQ(copy(self->fd, self->p, self->src, PAGES, UFFDIO_COPY_MODE_WP), PAGES * PAGE);
	for (size_t i = 0; i < PAGES; i++) {
		ASSERT_EQ(pread(fd, &e, 8, (uintptr_t)(self->p + i * PAGE) / PAGE * 8), 8);
		EXPECT_TRUE(e & PM_UFFD_WP);
	}
	ASSERT_EQ(protect(self->fd, self->p, PAGES, false), 0);
	*word(self->p, 3) = 4;
	EXPECT_EQ(same(self->p, 0, PAGES), PAGES);
	close(fd);
}

/* Locked memory: its pages are, too. */
TEST_F(fill, copy_locked)
{
	uint64_t flags[64];

	ASSERT_EQ(syscall(SYS_mlock2, self->p, 64 * PAGE, 1 /* MLOCK_ONFAULT */), 0);
	ASSERT_EQ(copy(self->fd, self->p, self->src, 64, 0), 64 * PAGE);
	settle_lru();
	flags_of(self->p, flags, 64);
	for (int i = 0; i < 64; i++)
		EXPECT_TRUE(flags[i] & KPF(KPF_MLOCKED));
	ASSERT_EQ(munlock(self->p, 64 * PAGE), 0);
}

static size_t pages_on(char *p, size_t pages, int node)
{
	void *at[PAGES];
	int status[PAGES];
	size_t n = 0;

	for (size_t i = 0; i < pages; i++)
		at[i] = p + i * PAGE;
	if (syscall(SYS_move_pages, 0, pages, at, NULL, status, 0))
		fail_setup("move_pages");
	for (size_t i = 0; i < pages; i++)
		n += status[i] == node;
	return n;
}

/* Pages are where the VMA's policy wants them, or else where the task's does. */
TEST_F(fill, copy_by_policy)
{
	unsigned long both = 3, one[2] = { 1, 2 };

	if (access("/sys/devices/system/node/node1", F_OK))
		SKIP(return, "one node");
	for (int n = 0; n < 2; n++) {
		ASSERT_EQ(syscall(SYS_set_mempolicy, MPOL_BIND, &one[n], 64), 0);
		ASSERT_EQ(copy(self->fd, self->p, self->src, 100, 0), 100 * PAGE);
		EXPECT_EQ(pages_on(self->p, 100, n), 100);
		ASSERT_EQ(madvise(self->p, PAGES * PAGE, MADV_DONTNEED), 0);
	}
	ASSERT_EQ(syscall(SYS_mbind, self->p, PAGES * PAGE, MPOL_BIND, &one[0], 64, 0), 0);
	ASSERT_EQ(copy(self->fd, self->p, self->src, 100, 0), 100 * PAGE);
	EXPECT_EQ(pages_on(self->p, 100, 0), 100);
	ASSERT_EQ(madvise(self->p, PAGES * PAGE, MADV_DONTNEED), 0);
	/* By address: the same page lands on the same node each time. */
	ASSERT_EQ(syscall(SYS_mbind, self->p, PAGES * PAGE, MPOL_INTERLEAVE, &both, 64, 0), 0);
	ASSERT_EQ(copy(self->fd, self->p, self->src, 100, 0), 100 * PAGE);
	EXPECT_EQ(pages_on(self->p, 100, 0), 50);
	EXPECT_NE(pages_on(self->p, 1, 0), pages_on(self->p + PAGE, 1, 0));
	ASSERT_EQ(syscall(SYS_mbind, self->p, PAGES * PAGE, MPOL_DEFAULT, NULL, 0, 0), 0);
	ASSERT_EQ(madvise(self->p, PAGES * PAGE, MADV_DONTNEED), 0);
	ASSERT_EQ(syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, &both, 64), 0);
	ASSERT_EQ(copy(self->fd, self->p, self->src, 100, 0), 100 * PAGE);
	EXPECT_EQ(pages_on(self->p, 100, 0), 50);
	EXPECT_NE(pages_on(self->p, 1, 0), pages_on(self->p + PAGE, 1, 0));
	ASSERT_EQ(syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0), 0);
}

/* The memory of another userfaultfd is not to be filled, nor protected. */
TEST_F(fill, not_of_another)
{
	int other = uffd_with(0, O_CLOEXEC);

	EXPECT_EQ(copy(other, self->p, self->src, 2, 0), -EINVAL);
	EXPECT_EQ(fill(other, UFFDIO_ZEROPAGE, self->p, 2), -EINVAL);
	EXPECT_EQ(fill(other, UFFDIO_POISON, self->p, 2), -EINVAL);
	EXPECT_EQ(protect(other, self->p, 2, true), -EINVAL);
	EXPECT_EQ(present(self->p, PAGES), 0);
	close(other);
}

/* A private mapping of /dev/zero is anonymous memory, whatever the device's size. */
TEST_F(fill, dev_zero)
{
	int zero = open("/dev/zero", O_RDWR);
	char *p = mmap(NULL, 64 * PAGE, RW, MAP_PRIVATE, zero, 0);

	ASSERT_NE(p, MAP_FAILED);
	ASSERT_EQ(uffd_add(self->fd, p, 64 * PAGE, MISSING), 0);
	EXPECT_EQ(copy(self->fd, p, self->src, 64, 0), 64 * PAGE);
	EXPECT_EQ(same(p, 0, 64), 64);
	munmap(p, 64 * PAGE);
	close(zero);
}

FIXTURE(shared) { int fd, mem; char *p, *map, *src; };

FIXTURE_VARIANT(shared) { bool huge; };
FIXTURE_VARIANT_ADD(shared, small) { .huge = false };
FIXTURE_VARIANT_ADD(shared, huge) { .huge = true };

/* Room for a file, where a huge page can be. */
static char *map_file(int mem, int flags)
{
	char *room = mmap(NULL, PAGES * PAGE + 2 * HUGE, PROT_NONE, ANON, -1, 0);

	room = (char *)(((uintptr_t)room + HUGE - 1) & -HUGE);
	room = mmap(room, PAGES * PAGE, RW, flags | MAP_FIXED, mem, 0);
	if (room == MAP_FAILED)
		fail_setup("a mapping of the file");
	return room;
}

/* A file that is mapped twice; the second mapping waits for what the first one gets. */
FIXTURE_SETUP(shared)
{
	self->mem = memfd_create("uffd", 0);
	ASSERT_EQ(ftruncate(self->mem, PAGES * PAGE), 0);
	self->map = map_file(self->mem, MAP_SHARED);
	self->p = map_file(self->mem, MAP_SHARED);
	self->src = source_new(PAGES);
	if (variant->huge && !write_text("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "advise"))
		SKIP(return, "no huge pages of shared memory");
	if (variant->huge)
		madvise(self->map, PAGES * PAGE, MADV_HUGEPAGE);
	self->fd = uffd_with(0, O_CLOEXEC);
}

FIXTURE_TEARDOWN(shared)
{
	write_text("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "never");
	munmap(self->p, PAGES * PAGE);
	munmap(self->map, PAGES * PAGE);
	munmap(self->src - 64, (PAGES + 1) * PAGE);
	close(self->mem);
	close(self->fd);
}

TEST_F(shared, continues)
{
	ASSERT_EQ(uffd_add(self->fd, self->p, PAGES * PAGE, UFFDIO_REGISTER_MODE_MINOR), 0);
	memcpy(self->map, self->src, PAGES * PAGE);
	EXPECT_EQ(fill(self->fd, UFFDIO_CONTINUE, self->p + 5 * PAGE, 1), PAGE);
	EXPECT_EQ(fill(self->fd, UFFDIO_CONTINUE, self->p, PAGES), 5 * PAGE);
	EXPECT_EQ(fill(self->fd, UFFDIO_CONTINUE, self->p + 6 * PAGE, PAGES - 6), (PAGES - 6) * PAGE);
	EXPECT_EQ(present(self->p, PAGES), PAGES);
	EXPECT_EQ(same(self->p, 0, PAGES), PAGES);
	/* It is one file: what is written here is seen there. */
	*word(self->p, 7) = 1234;
	EXPECT_EQ(*word(self->map, 7), 1234);
	/* References and counts are right: all of it can go. */
	ASSERT_EQ(munmap(self->p, PAGES * PAGE), 0);
	ASSERT_EQ(fallocate(self->mem, 3 /* punch, keep size */, 0, PAGES * PAGE), 0);
	EXPECT_EQ(*word(self->map, 7), 0);
}

/* Where the file has nothing, and behind its end. */
TEST_F(shared, continue_ends)
{
	ASSERT_EQ(uffd_add(self->fd, self->p, PAGES * PAGE, UFFDIO_REGISTER_MODE_MINOR), 0);
	memcpy(self->map, self->src, PAGES * PAGE);
	ASSERT_EQ(fallocate(self->mem, 3, MIDDLE * PAGE, PAGE), 0);
	EXPECT_EQ(fill(self->fd, UFFDIO_CONTINUE, self->p, PAGES), MIDDLE * PAGE);
	EXPECT_EQ(fill(self->fd, UFFDIO_CONTINUE, self->p + MIDDLE * PAGE, 1), -EFAULT);
	ASSERT_EQ(ftruncate(self->mem, 1000 * PAGE), 0);
	EXPECT_EQ(fill(self->fd, UFFDIO_CONTINUE, self->p + (MIDDLE + 1) * PAGE, PAGES - MIDDLE - 1),
		  (1000 - MIDDLE - 1) * PAGE);
	EXPECT_EQ(fill(self->fd, UFFDIO_CONTINUE, self->p + 1000 * PAGE, 1), -EINVAL);
	EXPECT_EQ(same(self->p, MIDDLE + 1, 1000 - MIDDLE - 1), 1000 - MIDDLE - 1);
}

/* Copies become pages of the file. */
TEST_F(shared, copies)
{
	ASSERT_EQ(uffd_add(self->fd, self->p, PAGES * PAGE, MISSING), 0);
	ASSERT_EQ(copy(self->fd, self->p + MIDDLE * PAGE, self->src, 1, 0), PAGE);
	EXPECT_EQ(copy(self->fd, self->p, self->src, PAGES, 0), MIDDLE * PAGE);
	EXPECT_EQ(same(self->map, 0, MIDDLE), MIDDLE);
	EXPECT_EQ(fill(self->fd, UFFDIO_ZEROPAGE, self->p + (MIDDLE + 1) * PAGE, 10), 10 * PAGE);
	EXPECT_EQ(*word(self->map, MIDDLE + 5), 0);
	ASSERT_EQ(ftruncate(self->mem, (MIDDLE + 12) * PAGE), 0);
	EXPECT_EQ(copy(self->fd, self->p + (MIDDLE + 11) * PAGE, self->src, 2, 0), PAGE);
	EXPECT_EQ(copy(self->fd, self->p + (MIDDLE + 12) * PAGE, self->src, 1, 0), -EFAULT);
}

/* A source that cannot be read, and one that is not in memory. */
TEST_F(shared, copy_source)
{
	char *page = (char *)(((uintptr_t)self->src + 10 * PAGE + PAGE) & -PAGE);

	ASSERT_EQ(uffd_add(self->fd, self->p, PAGES * PAGE, MISSING), 0);
	ASSERT_EQ(mprotect(page, PAGE, PROT_NONE), 0);
	EXPECT_EQ(copy(self->fd, self->p, self->src, PAGES, 0), 10 * PAGE);
	ASSERT_EQ(mprotect(page, PAGE, RW), 0);
	need_swap();
	madvise((void *)((uintptr_t)self->src & -PAGE), (PAGES + 1) * PAGE, 21 /* MADV_PAGEOUT */);
	EXPECT_EQ(copy(self->fd, self->p + 10 * PAGE, self->src + 10 * PAGE, 100, 0), 100 * PAGE);
	EXPECT_EQ(same(self->p, 0, 110), 110);
}

/* Locked by two mappings, a page stays locked until both have let go. */
TEST_F(shared, locked_twice)
{
	uint64_t flags[8];

	ASSERT_EQ(uffd_add(self->fd, self->p, PAGES * PAGE, MISSING), 0);
	ASSERT_EQ(syscall(SYS_mlock2, self->p, 8 * PAGE, 1 /* MLOCK_ONFAULT */), 0);
	ASSERT_EQ(copy(self->fd, self->p, self->src, 8, 0), 8 * PAGE);
	settle_lru();
	ASSERT_EQ(mlock(self->map, 8 * PAGE), 0);
	settle_lru();
	ASSERT_EQ(munlock(self->p, 8 * PAGE), 0);
	settle_lru();
	flags_of(self->map, flags, 8);
	for (int i = 0; i < 8; i++)
		EXPECT_TRUE(flags[i] & KPF(KPF_MLOCKED));
	ASSERT_EQ(munlock(self->map, 8 * PAGE), 0);
	settle_lru();
	flags_of(self->map, flags, 8);
	for (int i = 0; i < 8; i++)
		EXPECT_FALSE(flags[i] & KPF(KPF_MLOCKED));
}

/* Pages of a private mapping are its own, and end where the file does. */
TEST_F(shared, private)
{
	ASSERT_EQ(munmap(self->p, PAGES * PAGE), 0);
	self->p = map_file(self->mem, MAP_PRIVATE);
	ASSERT_EQ(uffd_add(self->fd, self->p, PAGES * PAGE, MISSING), 0);
	ASSERT_EQ(ftruncate(self->mem, MIDDLE * PAGE), 0);
	EXPECT_EQ(copy(self->fd, self->p, self->src, PAGES, 0), MIDDLE * PAGE);
	EXPECT_EQ(copy(self->fd, self->p + MIDDLE * PAGE, self->src, 1, 0), -EFAULT);
	EXPECT_EQ(fill(self->fd, UFFDIO_ZEROPAGE, self->p + MIDDLE * PAGE, 1), -EFAULT);
	EXPECT_EQ(fill(self->fd, UFFDIO_POISON, self->p + MIDDLE * PAGE, 1), -EFAULT);
	EXPECT_EQ(same(self->p, 0, MIDDLE), MIDDLE);
	*word(self->p, 3) = 9;
	EXPECT_EQ(*word(self->map, 3), 0);
}

TEST_HARNESS_MAIN

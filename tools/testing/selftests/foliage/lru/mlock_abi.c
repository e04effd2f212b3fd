// SPDX-License-Identifier: GPL-2.0
/*
 * What mlock, mlock2, munlock, mlockall, munlockall, MAP_LOCKED, MCL_FUTURE and SHM_LOCK promise
 * to their callers: errors, limits, accounting, flags and number of mappings. That a range is
 * complete once it has been locked is for mlock_whole.c.
 *
 * Not covered: EINTR, and EAGAIN of mlock() itself, which takes a kernel without memory.
 */
#define _GNU_SOURCE
#include "mlock.h"

/* --- arguments and errors --------------------------------------------------------------- */

TEST(bad_arguments)
{
	char *p = anon(16);

	EXPECT_ERR(mlock2(p, 16 * PAGE, 2), EINVAL);
	EXPECT_ERR(mlock2(p, 16 * PAGE, -1), EINVAL);
	EXPECT_ERR(mlock(p, -2 * PAGE), EINVAL);
	EXPECT_ERR(mlock2(p, -2 * PAGE, MLOCK_ONFAULT), EINVAL);
	EXPECT_ERR(mlockall(0), EINVAL);
	EXPECT_ERR(mlockall(MCL_ONFAULT), EINVAL);
	EXPECT_ERR(mlockall(8), EINVAL);
	EXPECT_ERR(mlockall(MCL_CURRENT | MCL_FUTURE | 8), EINVAL);
	EXPECT_LOCKED(0);
	EXPECT_EQ(present(p, 16), 0);

	/* And what is locked stays so. */
	ASSERT_EQ(mlock(p, 4 * PAGE), 0);
	EXPECT_ERR(munlock(p, -2 * PAGE), EINVAL);
	EXPECT_LOCKED(4);
}

TEST(nothing_is_a_range_too)
{
	char *p = anon(4);

	EXPECT_EQ(mlock(p, 0), 0);
	EXPECT_EQ(munlock(p, 0), 0);
	EXPECT_EQ(mlock(NULL, 0), 0);
	EXPECT_LOCKED(0);
	EXPECT_EQ(present(p, 4), 0);
}

TEST(holes)
{
	char *p = anon(16);

	ASSERT_EQ(munmap(p + 8 * PAGE, 2 * PAGE), 0);
	EXPECT_ERR(mlock(p + 8 * PAGE, PAGE), ENOMEM);
	EXPECT_ERR(mlock(p + 8 * PAGE, 4 * PAGE), ENOMEM);
	EXPECT_LOCKED(0);
	/* What lies before the hole may be locked or not; account and marks must agree. */
	EXPECT_ERR(mlock(p, 16 * PAGE), ENOMEM);
	EXPECT_EQ(pages_locked(), pages_lo());
	EXPECT_FALSE(is_lo(p + 10 * PAGE));
	munlockall();

	ASSERT_EQ(mlock(p, 8 * PAGE), 0);
	ASSERT_EQ(mlock(p + 10 * PAGE, 6 * PAGE), 0);
	EXPECT_LOCKED(14);
	EXPECT_ERR(munlock(p + 8 * PAGE, PAGE), ENOMEM);
	EXPECT_LOCKED(14);
	EXPECT_ERR(munlock(p, 16 * PAGE), ENOMEM);
	EXPECT_EQ(pages_locked(), pages_lo());
	EXPECT_TRUE(is_lo(p + 10 * PAGE));
}

TEST(rounded_to_pages)
{
	char *p = anon(16);

	ASSERT_EQ(mlock(p + 2 * PAGE - 1, 2), 0);
	EXPECT_LOCKED(2);
	EXPECT_EQ(present(p, 16), 2);
	EXPECT_TRUE(is_lo(p + PAGE) && is_lo(p + 2 * PAGE));
	ASSERT_EQ(mlock(p + 5 * PAGE + 1, PAGE), 0);
	EXPECT_LOCKED(4);
	EXPECT_EQ(present(p + 5 * PAGE, 2), 2);
	ASSERT_EQ(munlock(p + 2 * PAGE + 77, 1), 0);
	EXPECT_LOCKED(3);
	EXPECT_FALSE(is_lo(p + 2 * PAGE));
	ASSERT_EQ(munlock(p + 100, 15 * PAGE), 0);
	EXPECT_LOCKED(0);
}

TEST(no_access)
{
	char *p = anon(12);
	size_t there = present(p, 12);

	ASSERT_EQ(mprotect(p + 4 * PAGE, 4 * PAGE, PROT_NONE), 0);
	EXPECT_ERR(mlock(p + 4 * PAGE, 4 * PAGE), ENOMEM);
	EXPECT_LOCKED(4);
	EXPECT_EQ(present(p, 12), there);
	EXPECT_ERR(mlock(p, 12 * PAGE), ENOMEM);
	EXPECT_LOCKED(12);
	EXPECT_EQ(present(p, 4), 4);
	/* Locking what is touched later asks for no access now. */
	EXPECT_EQ(mlock2(p, 12 * PAGE, MLOCK_ONFAULT), 0);
	EXPECT_EQ(munlock(p, 12 * PAGE), 0);
	EXPECT_LOCKED(0);
	EXPECT_EQ(mlockall(MCL_CURRENT), 0);
	EXPECT_TRUE(is_lo(p + 4 * PAGE));
}

/* Pages past the end of a file cannot be had; MAP_LOCKED only tries. */
TEST(past_the_end_of_a_file)
{
	char *p = map_at(room(8), 8, RW, MAP_SHARED, memfd(4));

	EXPECT_ERR(mlock(p, 8 * PAGE), ENOMEM);
	EXPECT_LOCKED(8);
	EXPECT_EQ(present(p, 8), 4);
	munmap(p, 8 * PAGE);
	EXPECT_LOCKED(0);
	p = mmap(p, 8 * PAGE, RW, MAP_SHARED | MAP_LOCKED | MAP_FIXED, memfd(4), 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_LOCKED(8);
	EXPECT_EQ(present(p, 8), 4);
}

TEST(too_many_mappings)
{
	char *p = anon(16), old[32], new[32];
	long before = vma_count();

	if (!read_text("/proc/sys/vm/max_map_count", old, sizeof(old)))
		fail_setup("max_map_count");
	snprintf(new, sizeof(new), "%ld", before - 1);
	write_text("/proc/sys/vm/max_map_count", new);
	EXPECT_ERR(mlock(p + 4 * PAGE, PAGE), ENOMEM);
	write_text("/proc/sys/vm/max_map_count", old);
	EXPECT_LOCKED(0);
	EXPECT_EQ(vma_count(), before);
	EXPECT_EQ(mlock(p + 4 * PAGE, PAGE), 0);
}

/* --- limits ----------------------------------------------------------------------------- */

TEST(limit_refuses_and_leaves_all_as_it_was)
{
	char *p = anon(32);

	limit(8);
	drop_ipc_lock();
	EXPECT_ERR(mlock(p, 9 * PAGE), ENOMEM);
	EXPECT_ERR(mlock2(p, 9 * PAGE, MLOCK_ONFAULT), ENOMEM);
	EXPECT_ERR(mlock(p + 1, 8 * PAGE), ENOMEM);
	EXPECT_LOCKED(0);
	EXPECT_EQ(present(p, 32), 0);
	EXPECT_EQ(mlock(p, 8 * PAGE), 0);
	EXPECT_ERR(mlock(p + 16 * PAGE, PAGE), ENOMEM);
	EXPECT_LOCKED(8);
	EXPECT_FALSE(is_lo(p + 16 * PAGE));
	EXPECT_EQ(munlock(p, PAGE), 0);
	EXPECT_EQ(mlock2(p + 16 * PAGE, PAGE, MLOCK_ONFAULT), 0);
	EXPECT_LOCKED(8);
}

TEST(locked_pages_are_not_counted_twice)
{
	char *p = anon(32);

	limit(8);
	drop_ipc_lock();
	ASSERT_EQ(mlock(p + 4 * PAGE, 8 * PAGE), 0);
	EXPECT_EQ(mlock(p + 4 * PAGE, 8 * PAGE), 0);
	EXPECT_EQ(mlock2(p + 6 * PAGE, 2 * PAGE, MLOCK_ONFAULT), 0);
	EXPECT_LOCKED(8);
	EXPECT_ERR(mlock(p, 8 * PAGE), ENOMEM);
	EXPECT_ERR(mlock(p + 4 * PAGE, 9 * PAGE), ENOMEM);
	EXPECT_LOCKED(8);
	limit(12);
	EXPECT_EQ(mlock(p, 8 * PAGE), 0);
	EXPECT_LOCKED(12);
	/* A locked part at both ends and one in between. */
	ASSERT_EQ(munlock(p + 2 * PAGE, 2 * PAGE), 0);
	ASSERT_EQ(munlock(p + 6 * PAGE, 2 * PAGE), 0);
	EXPECT_LOCKED(8);
	EXPECT_EQ(mlock(p, 12 * PAGE), 0);
	EXPECT_LOCKED(12);
}

TEST(zero_limit)
{
	char *p = anon(8);

	limit(0);
	/* Who has the capability needs no limit. */
	EXPECT_EQ(mlock(p, PAGE), 0);
	drop_ipc_lock();
	EXPECT_ERR(mlock(p + PAGE, PAGE), EPERM);
	EXPECT_ERR(mlock2(p + PAGE, PAGE, MLOCK_ONFAULT), EPERM);
	EXPECT_ERR(mlockall(MCL_CURRENT), EPERM);
	EXPECT_ERR(mlockall(MCL_FUTURE), EPERM);
	EXPECT_ERR(mmap(NULL, PAGE, RW, ANON | MAP_LOCKED, -1, 0), EPERM);
	EXPECT_LOCKED(1);
	/* Letting go is for everybody. */
	EXPECT_EQ(munlock(p, PAGE), 0);
	EXPECT_LOCKED(0);
	EXPECT_EQ(munlockall(), 0);
}

TEST(limit_of_a_user_without_privileges)
{
	char *p = anon(16);

	limit(4);
	ASSERT_EQ(setuid(65534), 0);
	EXPECT_ERR(mlock(p, 5 * PAGE), ENOMEM);
	EXPECT_EQ(mlock(p, 4 * PAGE), 0);
	EXPECT_EQ(pages_locked(), 4);
	EXPECT_ERR(mlockall(MCL_CURRENT), ENOMEM);
	EXPECT_EQ(pages_locked(), 4);
	EXPECT_EQ(mlockall(MCL_FUTURE), 0);
	EXPECT_ERR(mmap(NULL, PAGE, RW, ANON, -1, 0), EAGAIN);
	EXPECT_EQ(munlockall(), 0);
	EXPECT_EQ(pages_locked(), 0);
}

TEST(limit_of_mmap_and_mremap)
{
	char *p, *q = room(64);

	limit(8);
	drop_ipc_lock();
	EXPECT_ERR(mmap(NULL, 9 * PAGE, RW, ANON | MAP_LOCKED, -1, 0), EAGAIN);
	EXPECT_LOCKED(0);
	p = map_at(room(64), 6, RW, ANON | MAP_LOCKED, -1);
	EXPECT_LOCKED(6);
	EXPECT_EQ(present(p, 6), 6);
	EXPECT_ERR(mremap(p, 6 * PAGE, 9 * PAGE, MREMAP_MAYMOVE), EAGAIN);
	EXPECT_ERR(mremap(p, 6 * PAGE, 9 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q), EAGAIN);
	EXPECT_LOCKED(6);
	EXPECT_EQ(present(p, 6), 6);
	p = mremap(p, 6 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_LOCKED(8);
	EXPECT_EQ(present(p, 8), 8);
}

TEST(limit_of_brk)
{
	char *end = (char *)(((uintptr_t)sbrk(0) + PAGE - 1) & -PAGE);

	ASSERT_EQ(brk(end), 0);
	ASSERT_EQ(mlockall(MCL_FUTURE), 0);
	limit(8);
	drop_ipc_lock();
	EXPECT_ERR(brk(end + 9 * PAGE), ENOMEM);
	EXPECT_LOCKED(0);
	EXPECT_EQ(brk(end + 8 * PAGE), 0);
	EXPECT_LOCKED(8);
	EXPECT_EQ(present(end, 8), 8);
	EXPECT_EQ(brk(end), 0);
	EXPECT_LOCKED(0);
}

/* A stack that grows with nothing in its way. */
static char *stack_of(size_t pages)
{
	char *p = room(1024);

	munmap(p, 1024 * PAGE);
	return map_at(p + 1000 * PAGE, pages, RW, ANON | MAP_GROWSDOWN, -1);
}

TEST(stack_growth)
{
	char *p = stack_of(4);

	ASSERT_EQ(mlock(p, 4 * PAGE), 0);
	EXPECT_LOCKED(4);
	*(volatile char *)(p - PAGE) = 1;
	EXPECT_LOCKED(5);
	*(volatile char *)(p - 3 * PAGE) = 1;
	EXPECT_LOCKED(7);
	EXPECT_EQ(present(p - 3 * PAGE, 1), 1);
	EXPECT_TRUE(is_lo(p - 3 * PAGE));
	ASSERT_EQ(munlock(p - 3 * PAGE, 7 * PAGE), 0);
	EXPECT_LOCKED(0);
}

TEST_SIGNAL(limit_of_a_stack, SIGSEGV)
{
	char *p = stack_of(4);

	limit(8);
	drop_ipc_lock();
	ASSERT_EQ(mlock(p, 4 * PAGE), 0);
	*(volatile char *)(p - 4 * PAGE) = 1;
	EXPECT_LOCKED(8);
	*(volatile char *)(p - 5 * PAGE) = 1;
}

TEST(limit_of_shm_lock)
{
	int big, small, other;

	if (getuid() == 0)
		ASSERT_EQ(setuid(12345), 0);
	big = shmget(IPC_PRIVATE, 8 * PAGE, 0600);
	small = shmget(IPC_PRIVATE, 10, 0600);
	other = shmget(IPC_PRIVATE, 9 * PAGE, 0600);
	limit(8);
	EXPECT_ERR(shmctl(other, SHM_LOCK, NULL), ENOMEM);
	EXPECT_EQ(shmctl(big, SHM_LOCK, NULL), 0);
	EXPECT_EQ(shmctl(big, SHM_LOCK, NULL), 0);
	EXPECT_ERR(shmctl(small, SHM_LOCK, NULL), ENOMEM);
	EXPECT_EQ(shmctl(big, SHM_UNLOCK, NULL), 0);
	EXPECT_EQ(shmctl(big, SHM_UNLOCK, NULL), 0);
	/* A part of a page counts as one. */
	EXPECT_EQ(shmctl(small, SHM_LOCK, NULL), 0);
	EXPECT_ERR(shmctl(big, SHM_LOCK, NULL), ENOMEM);
	/* A locked segment that is removed gives its share back. */
	EXPECT_EQ(shmctl(small, IPC_RMID, NULL), 0);
	EXPECT_EQ(shmctl(big, SHM_LOCK, NULL), 0);
	/* The account of segments is not that of mappings. */
	EXPECT_EQ(pages_locked(), 0);
	limit(0);
	EXPECT_ERR(shmctl(other, SHM_LOCK, NULL), EPERM);
	EXPECT_EQ(shmctl(big, SHM_UNLOCK, NULL), 0);
	EXPECT_EQ(shmctl(big, IPC_RMID, NULL), 0);
	EXPECT_EQ(shmctl(other, IPC_RMID, NULL), 0);
}

/* --- mappings, flags, accounts ---------------------------------------------------------- */

TEST(split_and_merge)
{
	char *p = anon(16);
	long before = vma_count();

	ASSERT_EQ(mlock(p + 4 * PAGE, 4 * PAGE), 0);
	EXPECT_EQ(vma_count(), before + 2);
	EXPECT_FALSE(is_lo(p + 3 * PAGE) || is_lo(p + 8 * PAGE));
	ASSERT_EQ(mlock(p + 8 * PAGE, 8 * PAGE), 0);
	EXPECT_EQ(vma_count(), before + 1);
	ASSERT_EQ(mlock(p, 4 * PAGE), 0);
	EXPECT_EQ(vma_count(), before);
	EXPECT_LOCKED(16);
	EXPECT_EQ(present(p, 16), 16);
	/* Locked in another way is another mapping. */
	ASSERT_EQ(mlock2(p, 2 * PAGE, MLOCK_ONFAULT), 0);
	EXPECT_EQ(vma_count(), before + 1);
	EXPECT_LOCKED(16);
	ASSERT_EQ(mlock(p, 16 * PAGE), 0);
	EXPECT_EQ(vma_count(), before);
	for (size_t i = 0; i < 16; i += 2)
		ASSERT_EQ(munlock(p + i * PAGE, PAGE), 0);
	EXPECT_EQ(vma_count(), before + 15);
	EXPECT_LOCKED(8);
	ASSERT_EQ(munlock(p, 16 * PAGE), 0);
	EXPECT_EQ(vma_count(), before);
	EXPECT_LOCKED(0);
}

TEST(onfault)
{
	char *p = anon(64);
	struct vma v;

	ASSERT_EQ(mlock2(p, 64 * PAGE, MLOCK_ONFAULT), 0);
	v = vma_of(p);
	EXPECT_TRUE(v.lo && v.lf);
	EXPECT_EQ(present(p, 64), 0);
	EXPECT_EQ(v.locked_kb, 0);
	fill(p + 10 * PAGE, 4);
	EXPECT_EQ(vma_of(p).locked_kb, 16);
	EXPECT_LOCKED(64);
	/* The same again does nothing; without ONFAULT it populates. */
	ASSERT_EQ(mlock2(p, 64 * PAGE, MLOCK_ONFAULT), 0);
	EXPECT_EQ(present(p, 64), 4);
	ASSERT_EQ(mlock(p, 64 * PAGE), 0);
	v = vma_of(p);
	EXPECT_TRUE(v.lo && !v.lf);
	EXPECT_EQ(present(p, 64), 64);
	EXPECT_EQ(v.locked_kb, 256);
	EXPECT_EQ(write_faults(p, 64), 0);
	EXPECT_LOCKED(64);
	/* And back: what is there stays. */
	ASSERT_EQ(mlock2(p, 64 * PAGE, MLOCK_ONFAULT), 0);
	EXPECT_EQ(present(p, 64), 64);
	EXPECT_LOCKED(64);
	EXPECT_TRUE(vma_of(p).lf);
	ASSERT_EQ(munlock(p, 64 * PAGE), 0);
	v = vma_of(p);
	EXPECT_TRUE(!v.lo && !v.lf && !v.locked_kb);
}

TEST(mlockall_current)
{
	char *p = anon(16), *q, *at;
	struct vma v;

	ASSERT_EQ(mlockall(MCL_CURRENT | MCL_ONFAULT), 0);
	EXPECT_EQ(present(p, 16), 0);
	EXPECT_TRUE(vma_of(p).lf);
	EXPECT_EQ(pages_locked(), pages_lo());
	ASSERT_EQ(mlockall(MCL_CURRENT), 0);
	EXPECT_EQ(present(p, 16), 16);
	EXPECT_EQ(write_faults(p, 16), 0);
	EXPECT_EQ(pages_locked(), pages_lo());
	q = anon(16);
	EXPECT_FALSE(is_lo(q));
	/* Code, data and stack, but nothing that is not memory. */
	EXPECT_TRUE(is_lo(&pages_lo) && is_lo(text) && is_lo(&v) && is_lo(&errno));
	at = smaps();
	while (next_vma(&at, &v))
		EXPECT_FALSE(v.lo && v.lf);
	ASSERT_EQ(munlockall(), 0);
	EXPECT_LOCKED(0);
}

TEST(mlockall_future)
{
	char *p = anon(16), *q;

	ASSERT_EQ(mlockall(MCL_FUTURE), 0);
	EXPECT_FALSE(is_lo(p));
	q = mmap(NULL, 16 * PAGE, RW, ANON, -1, 0);
	EXPECT_EQ(present(q, 16), 16);
	EXPECT_EQ(write_faults(q, 16), 0);
	EXPECT_TRUE(is_lo(q));
	EXPECT_EQ(pages_locked(), pages_lo());
	/* Each call replaces what the one before said of the future. */
	ASSERT_EQ(mlockall(MCL_FUTURE | MCL_ONFAULT), 0);
	EXPECT_FALSE(vma_of(q).lf);
	q = mmap(NULL, 16 * PAGE, RW, ANON, -1, 0);
	EXPECT_EQ(present(q, 16), 0);
	EXPECT_TRUE(vma_of(q).lf);
	fill(q, 16);
	EXPECT_EQ(vma_of(q).locked_kb % 64, 0);
	ASSERT_EQ(mlockall(MCL_CURRENT), 0);
	EXPECT_TRUE(is_lo(p));
	EXPECT_FALSE(is_lo(mmap(NULL, PAGE, PROT_READ, ANON, -1, 0)));
	ASSERT_EQ(mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT), 0);
	EXPECT_TRUE(vma_of(p).lf);
	ASSERT_EQ(mlockall(MCL_CURRENT | MCL_FUTURE), 0);
	EXPECT_FALSE(vma_of(p).lf);
	/* A mapping nobody can read is locked and empty, and that is no error. */
	q = mmap(NULL, 4 * PAGE, PROT_NONE, ANON, -1, 0);
	ASSERT_NE(q, MAP_FAILED);
	EXPECT_TRUE(is_lo(q));
	ASSERT_EQ(munlockall(), 0);
	EXPECT_LOCKED(0);
	EXPECT_FALSE(is_lo(mmap(NULL, PAGE, RW, ANON, -1, 0)));
}

static __attribute__((noinline)) long deep_stack(void)
{
	volatile char big[1 << 20];

	for (size_t i = sizeof(big); i >= PAGE; i -= PAGE)
		big[i - 1] = 1;
	return present((char *)big, sizeof(big) / PAGE);
}

TEST(future_growth)
{
	char *end = (char *)(((uintptr_t)sbrk(0) + PAGE - 1) & -PAGE), *p;
	long before;

	ASSERT_EQ(mlockall(MCL_CURRENT | MCL_FUTURE), 0);
	before = pages_locked();
	EXPECT_GE(deep_stack(), 255);
	EXPECT_GT(pages_locked(), before + 200);
	EXPECT_EQ(pages_locked(), pages_lo());
	ASSERT_EQ(brk(end + 32 * PAGE), 0);
	EXPECT_EQ(present(end, 32), 32);
	EXPECT_EQ(write_faults(end, 32), 0);
	EXPECT_EQ(pages_locked(), pages_lo());
	munlockall();

	/* Growth of one locked mapping, and moving and shrinking it. */
	p = mmap(NULL, 16 * PAGE, RW, ANON | MAP_LOCKED, -1, 0);
	p = mremap(p, 16 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_LOCKED(64);
	EXPECT_EQ(write_faults(p, 64), 0);
	p = mremap(p, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room(64));
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_LOCKED(64);
	EXPECT_EQ(write_faults(p, 64), 0);
	p = mremap(p, 64 * PAGE, 8 * PAGE, 0);
	EXPECT_LOCKED(8);
	ASSERT_EQ(mlock2(p, 8 * PAGE, MLOCK_ONFAULT), 0);
	p = mremap(p, 8 * PAGE, 16 * PAGE, MREMAP_MAYMOVE);
	EXPECT_LOCKED(16);
	EXPECT_EQ(present(p, 16), 8);
	munmap(p + 4 * PAGE, 8 * PAGE);
	EXPECT_LOCKED(8);
}

TEST(not_inherited)
{
	char *p = anon(16);
	int fd[2], status;
	pid_t pid;

	ASSERT_EQ(mlock(p, 16 * PAGE), 0);
	ASSERT_EQ(mlockall(MCL_FUTURE), 0);
	ASSERT_EQ(pipe(fd), 0);
	pid = fork();
	if (!pid) {
		char *q = mmap(NULL, 4 * PAGE, RW, ANON, -1, 0);

		if (pages_locked() || pages_lo() || present(q, 4))
			_exit(1);
		dup2(fd[1], 1);
		mlockall(MCL_CURRENT | MCL_FUTURE);
		execl("/bin/grep", "grep", "VmLck", "/proc/self/status", NULL);
		_exit(2);
	}
	close(fd[1]);
	status = read(fd[0], text, sizeof(text) - 1);
	text[status > 0 ? status : 0] = 0;
	EXPECT_NE(strstr(text, "VmLck:"), NULL);
	EXPECT_EQ(atol(text + 6), 0);
	waitpid(pid, &status, 0);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(pages_locked(), pages_lo());
	EXPECT_TRUE(is_lo(p));
}

/* --- mappings of another kind ----------------------------------------------------------- */

/* A mapping by its name in /proc/self/maps. */
static char *mapping_named(const char *name)
{
	char *p, *line;

	if (!read_text("/proc/self/maps", text, sizeof(text)))
		fail_setup("maps");
	p = strstr(text, name);
	if (!p)
		return NULL;
	for (line = p; line > text && line[-1] != '\n'; line--)
		;
	return (char *)strtoul(line, NULL, 16);
}

/* VM_IO and VM_PFNMAP: no error, no mark, no account. VM_DONTEXPAND (vdso): the same. */
TEST(special_mappings)
{
	char *where[3] = { mapping_named("[vvar]"), mapping_named("[vdso]"), MAP_FAILED };
	int fd = open("/dev/mem", O_RDONLY);

	if (fd >= 0)
		where[2] = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0xf0000);
	for (int i = 0; i < 3; i++) {
		if (!where[i] || where[i] == MAP_FAILED)
			continue;
		EXPECT_EQ(mlock(where[i], PAGE), 0);
		EXPECT_EQ(mlock2(where[i], PAGE, MLOCK_ONFAULT), 0);
		EXPECT_LOCKED(0);
		EXPECT_EQ(munlock(where[i], PAGE), 0);
	}
	ASSERT_NE(where[1], NULL);
	ASSERT_EQ(mlockall(MCL_CURRENT), 0);
	EXPECT_FALSE(where[0] && is_lo(where[0]));
	EXPECT_FALSE(is_lo(where[1]));
	EXPECT_EQ(pages_locked(), pages_lo());
}

TEST(hugetlb)
{
	char *p = room(1024);

	write_text("/proc/sys/vm/nr_hugepages", "4");
	p = mmap(p, 2 * HUGE, RW, ANON | MAP_HUGETLB | MAP_FIXED, -1, 0);
	if (p == MAP_FAILED)
		SKIP(return, "no huge pages");
	EXPECT_EQ(mlock(p, 2 * HUGE), 0);
	EXPECT_LOCKED(0);
	EXPECT_EQ(present(p, 1024), 1024);
	EXPECT_EQ(write_faults(p, 1024), 0);
	EXPECT_EQ(munlock(p, 2 * HUGE), 0);
	munmap(p, 2 * HUGE);
	p = mmap(p, HUGE, RW, ANON | MAP_HUGETLB | MAP_LOCKED | MAP_FIXED, -1, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_LOCKED(0);
	EXPECT_EQ(present(p, 512), 512);
	munmap(p, HUGE);
	write_text("/proc/sys/vm/nr_hugepages", "0");
}

#define KPF_UNEVICTABLE	18

static size_t unevictable(char *p, size_t pages)
{
	size_t n = 0;

	settle_lru();
	for (size_t i = 0; i < pages; i++)
		n += !!(frame_flags(frame_of(p + i * PAGE)) & KPF(KPF_UNEVICTABLE));
	return n;
}

/*
 * Secret memory is unevictable because of its file. Its mappings are never marked, its pages are
 * never unlocked, and nobody populates it from outside: mlock() fails, and does nothing.
 */
TEST(secret_memory)
{
	int fd = syscall(SYS_memfd_secret, 0);
	char *p;

	if (fd < 0)
		SKIP(return, "no memfd_secret");
	ASSERT_EQ(ftruncate(fd, 8 * PAGE), 0);
	p = mmap(NULL, 8 * PAGE, RW, MAP_SHARED, fd, 0);
	ASSERT_NE(p, MAP_FAILED);
	fill(p, 4);
	EXPECT_EQ(unevictable(p, 4), 4);
	EXPECT_ERR(mlock(p, 8 * PAGE), ENOMEM);
	EXPECT_EQ(present(p, 8), 4);
	EXPECT_LOCKED(0);
	EXPECT_EQ(munlock(p, 8 * PAGE), 0);
	EXPECT_EQ(unevictable(p, 4), 4);
	EXPECT_EQ(munlock(p + 2 * PAGE, PAGE), 0);
	EXPECT_EQ(mlockall(MCL_CURRENT), 0);
	EXPECT_EQ(munlockall(), 0);
	EXPECT_EQ(unevictable(p, 4), 4);
	EXPECT_EQ(vma_of(p).end - vma_of(p).start, 8 * PAGE);
	EXPECT_LOCKED(0);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that a device has: for its exclusive use, with an entry in the place of the mapping that
 * keeps the page; or in memory of its own, with an entry that names the page there. The device is
 * the one of lib/test_hmm.c (CONFIG_TEST_HMM), which mirrors the process that opened it.
 *
 * Whatever happens to the mapping meanwhile, data is kept, and a processor that touches it gets it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../../../../lib/test_hmm_uapi.h"
#include "harness.h"
#include "foliage.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

#define PM_SOFT_DIRTY	(1ULL << 55)
#define PM_UFFD_WP	(1ULL << 57)
#define PM_SWAP		(1ULL << 62)
#define PM_PRESENT	(1ULL << 63)

#define MTHP_64K	"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled"

#define PAGES	256UL
#define SPAN	(PAGES * PAGE)
#define SECONDS	5

/* A command to the device. What it copies to or from the process is at @buf. */
static int device(int fd, unsigned long what, const void *p, size_t pages, void *buf)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)p,
		.ptr = (uintptr_t)buf,
		.npages = pages,
	};

	return ioctl(fd, what, &cmd) ? -errno : 0;
}

static uint64_t value(size_t i)
{
	return 0x5000000 + i;
}

static void fill(char *p)
{
	for (size_t i = 0; i < PAGES; i++)
		*(uint64_t *)(p + i * PAGE) = value(i);
}

static size_t wrong(const char *p)
{
	size_t n = 0;

	for (size_t i = 0; i < PAGES; i++)
		n += *(volatile uint64_t *)(p + i * PAGE) != value(i);
	return n;
}

static void look(const char *p, uint64_t *map)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (pread(fd, map, PAGES * 8, (uintptr_t)p / PAGE * 8) != PAGES * 8)
		fail_setup("pagemap");
	close(fd);
}

static size_t count(const char *p, uint64_t bits)
{
	uint64_t map[PAGES];
	size_t n = 0;

	look(p, map);
	for (size_t i = 0; i < PAGES; i++)
		n += (map[i] & bits) == bits;
	return n;
}

/* Pages of which the bit is not what belongs to every third. */
static size_t differ(const char *p, uint64_t bit)
{
	uint64_t map[PAGES];
	size_t n = 0;

	look(p, map);
	for (size_t i = 0; i < PAGES; i++)
		n += !!(map[i] & bit) != (i % 3 == 0);
	return n;
}

static size_t move_to(char *p, int node)
{
	void *pages[PAGES];
	int nodes[PAGES], status[PAGES];
	size_t n = 0;

	for (size_t i = 0; i < PAGES; i++) {
		pages[i] = p + i * PAGE;
		nodes[i] = node;
		status[i] = -1;
	}
	syscall(SYS_move_pages, 0, PAGES, pages, nodes, status, MPOL_MF_MOVE);
	for (size_t i = 0; i < PAGES; i++)
		n += status[i] == node;
	return n;
}

FIXTURE(device) {
	int fd;
	char *p, *buf;
};

FIXTURE_SETUP(device)
{
	self->fd = hmm_device_open();
	if (self->fd < 0)
		SKIP(return, "no CONFIG_TEST_HMM");
	self->p = mmap(NULL, SPAN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	self->buf = mmap(NULL, SPAN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (self->p == MAP_FAILED || self->buf == MAP_FAILED)
		fail_setup("mmap");
	madvise(self->p, SPAN, MADV_NOHUGEPAGE);
	madvise(self->buf, SPAN, MADV_NOHUGEPAGE);
	need_swap();
	fill(self->p);
	settle_lru();
}

FIXTURE_TEARDOWN(device)
{
	close(self->fd);
	munmap(self->p, SPAN);
	munmap(self->buf, SPAN);
}

/* --- exclusive use ---------------------------------------------------------------------- */

/* Several tries: a page that somebody else has locked just now is refused. */
static int make_exclusive(int fd, char *p, size_t pages, char *buf)
{
	int err = 0;

	for (int i = 0; i < 20; i++) {
		err = device(fd, HMM_DMIRROR_EXCLUSIVE, p, pages, buf);
		if (err != -EBUSY)
			break;
		usleep(10000);
	}
	return err;
}

/*
 * Entries that are neither present nor swap: no swap device has so high a number. The driver would
 * tell too (HMM_DMIRROR_CHECK_EXCLUSIVE), but it forgets a page more than it is told to.
 */
static bool is_exclusive(uint64_t entry)
{
	return entry & PM_SWAP && entry % 32 > 1;
}

static size_t exclusive(const char *p)
{
	uint64_t map[PAGES];
	size_t n = 0;

	look(p, map);
	for (size_t i = 0; i < PAGES; i++)
		n += is_exclusive(map[i]);
	return n;
}

/* A touch ends it for the page touched and for no other. */
TEST_F(device, exclusive)
{
	uint64_t map[PAGES];

	ASSERT_EQ(make_exclusive(self->fd, self->p, PAGES, self->buf), 0);
	EXPECT_EQ(device(self->fd, HMM_DMIRROR_CHECK_EXCLUSIVE, self->p, 1, NULL), -EPERM);
	EXPECT_EQ(exclusive(self->p), PAGES);
	EXPECT_EQ(count(self->p, PM_PRESENT), 0);
	EXPECT_EQ(wrong(self->buf), 0);
	for (size_t i = 0; i < PAGES; i += 4)
		EXPECT_EQ(*(volatile uint64_t *)(self->p + i * PAGE), value(i));
	for (size_t i = 1; i < PAGES; i += 4)
		*(volatile uint64_t *)(self->p + i * PAGE) = 7 * i;
	EXPECT_EQ(exclusive(self->p), PAGES / 2);
	EXPECT_EQ(count(self->p, PM_PRESENT), PAGES / 2);
	look(self->p, map);
	for (size_t i = 0; i < PAGES; i++) {
		EXPECT_EQ(is_exclusive(map[i]), i % 4 > 1);
		EXPECT_EQ(*(volatile uint64_t *)(self->p + i * PAGE),
			  i % 4 == 1 ? 7 * i : value(i));
	}
	EXPECT_EQ(count(self->p, PM_PRESENT), PAGES);
	EXPECT_EQ(device(self->fd, HMM_DMIRROR_CHECK_EXCLUSIVE, self->p, PAGES, NULL), 0);
}

/* Pages that a child shares are copied first; those of a file cannot be had. */
TEST_F(device, exclusive_of_shared)
{
	char *shared = mmap(NULL, SPAN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int go[2], status;
	char c = 0;
	pid_t pid;

	fill(shared);
	EXPECT_EQ(device(self->fd, HMM_DMIRROR_EXCLUSIVE, shared, PAGES, self->buf), -EBUSY);
	EXPECT_EQ(wrong(shared), 0);
	munmap(shared, SPAN);

	ASSERT_EQ(pipe(go), 0);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		if (read(go[0], &c, 1) != 1)
			_exit(2);
		_exit(wrong(self->p) != 0 || count(self->p, PM_PRESENT) != PAGES);
	}
	ASSERT_EQ(make_exclusive(self->fd, self->p, PAGES, self->buf), 0);
	EXPECT_EQ(exclusive(self->p), PAGES);
	ASSERT_EQ(write(go[1], &c, 1), 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(exclusive(self->p), PAGES);
	EXPECT_EQ(wrong(self->p), 0);
}

/*
 * A device that takes the first page of a large folio has all of it. Once a processor has touched
 * some pages, those are mapped again and the others are still the device's: entries that keep the
 * folio but are no mappings, so that nobody may take them away or count them out.
 */
TEST_F(device, exclusive_part_of_large)
{
	char *room, *p;

	write_text(MTHP_64K, "always");
	room = mmap(NULL, 2 * SPAN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(room, MAP_FAILED);
	p = (char *)(((uintptr_t)room + SPAN - 1) & -SPAN);
	fill(p);
	write_text(MTHP_64K, "never");
	settle_lru();
	for (size_t i = 0; i < PAGES; i += 16) {
		ASSERT_TRUE(frame_flags(frame_of(p + i * PAGE)) & KPF(KPF_HEAD));
		ASSERT_EQ(make_exclusive(self->fd, p + i * PAGE, 1, self->buf), 0);
		EXPECT_EQ(*(volatile uint64_t *)(p + (i + 3) * PAGE), value(i + 3));
		EXPECT_EQ(*(volatile uint64_t *)(p + (i + 9) * PAGE), value(i + 9));
	}
	ASSERT_EQ(exclusive(p), PAGES / 16 * 14);
	/* The device's references are in the way. */
	move_to(p, 1);
	madvise(p, SPAN, MADV_PAGEOUT);
	EXPECT_EQ(wrong(p), 0);
	EXPECT_EQ(exclusive(p), 0);
	settle_lru();
	/* Of pages of one folio, some may be told that it is on its way already. */
	move_to(p, 1);
	EXPECT_EQ(move_to(p, 1), PAGES);
	EXPECT_EQ(wrong(p), 0);
	munmap(room, 2 * SPAN);
}

/* A fork needs the page, so it ends the exclusive use. */
TEST_F(device, exclusive_fork)
{
	int status;
	pid_t pid;

	ASSERT_EQ(make_exclusive(self->fd, self->p, PAGES, self->buf), 0);
	EXPECT_EQ(exclusive(self->p), PAGES);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		if (wrong(self->p))
			_exit(1);
		memset(self->p, 1, SPAN);
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(exclusive(self->p), 0);
	EXPECT_EQ(wrong(self->p), 0);
}

static sigjmp_buf fault;

static void on_fault(int sig)
{
	siglongjmp(fault, 1);
}

static bool write_dies(volatile char *p)
{
	volatile bool died = true;

	signal(SIGSEGV, on_fault);
	if (!sigsetjmp(fault, 1)) {
		*p = *p;
		died = false;
	}
	signal(SIGSEGV, SIG_DFL);
	return died;
}

TEST_F(device, exclusive_mprotect)
{
	ASSERT_EQ(make_exclusive(self->fd, self->p, PAGES, self->buf), 0);
	ASSERT_EQ(exclusive(self->p), PAGES);
	ASSERT_EQ(mprotect(self->p, SPAN / 2, PROT_READ), 0);
	for (size_t i = 0; i < PAGES; i++)
		EXPECT_EQ(write_dies(self->p + i * PAGE), i < PAGES / 2);
	EXPECT_EQ(wrong(self->p), 0);
	ASSERT_EQ(mprotect(self->p, SPAN, PROT_READ | PROT_WRITE), 0);
	for (size_t i = 0; i < PAGES; i++)
		EXPECT_FALSE(write_dies(self->p + i * PAGE));
	EXPECT_EQ(exclusive(self->p), 0);
	EXPECT_EQ(wrong(self->p), 0);
}

/* Parts unmapped, parts moved within the address space. */
TEST_F(device, exclusive_unmap)
{
	size_t quarter = SPAN / 4;
	char *to;

	ASSERT_EQ(make_exclusive(self->fd, self->p, PAGES, self->buf), 0);
	ASSERT_EQ(exclusive(self->p), PAGES);
	to = mremap(self->p + quarter, quarter, quarter, MREMAP_MAYMOVE | MREMAP_FIXED, self->buf);
	ASSERT_EQ(to, self->buf);
	ASSERT_EQ(munmap(self->p + 2 * quarter, quarter), 0);
	ASSERT_EQ(madvise(self->p + 3 * quarter, quarter, MADV_DONTNEED), 0);
	for (size_t i = 0; i < PAGES / 4; i++) {
		EXPECT_EQ(*(uint64_t *)(self->p + i * PAGE), value(i));
		EXPECT_EQ(*(uint64_t *)(to + i * PAGE), value(PAGES / 4 + i));
		EXPECT_EQ(*(uint64_t *)(self->p + 3 * quarter + i * PAGE), 0);
	}
}

/* A page that is nowhere mapped can be neither moved nor paged out, nor does it get lost. */
TEST_F(device, exclusive_stays)
{
	char cgroup[256], path[300];

	enter_cgroup("rmap_device", cgroup, sizeof(cgroup));
	snprintf(path, sizeof(path), "%s/memory.reclaim", cgroup);
	for (int round = 0; round < 3; round++) {
		ASSERT_EQ(make_exclusive(self->fd, self->p, PAGES, self->buf), 0);
		EXPECT_EQ(move_to(self->p, 1), 0);
		madvise(self->p, SPAN, MADV_PAGEOUT);
		write_text(path, "4M");
		EXPECT_EQ(exclusive(self->p), PAGES);
		EXPECT_EQ(wrong(self->p), 0);
		EXPECT_EQ(exclusive(self->p), 0);
		settle_lru();
		madvise(self->p, SPAN, MADV_PAGEOUT);
		EXPECT_EQ(wrong(self->p), 0);
		EXPECT_EQ(move_to(self->p, 1), PAGES);
		EXPECT_EQ(move_to(self->p, 0), PAGES);
	}
	leave_cgroup(cgroup);
}

/* --- memory of the device --------------------------------------------------------------- */

static size_t in_device(int fd, const char *p)
{
	unsigned char map[PAGES];
	size_t n = 0;

	if (device(fd, HMM_DMIRROR_SNAPSHOT, p, PAGES, map))
		fail_setup("HMM_DMIRROR_SNAPSHOT");
	for (size_t i = 0; i < PAGES; i++)
		n += (map[i] & ~HMM_DMIRROR_PROT_WRITE & ~HMM_DMIRROR_PROT_READ) ==
		     HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL;
	return n;
}

/* How many pages are there then. Pages in per-CPU batches are refused at first. */
static size_t to_device(int fd, char *p, char *buf)
{
	size_t n = 0;

	for (int i = 0; i < 10 && n < PAGES; i++) {
		settle_lru();
		device(fd, HMM_DMIRROR_MIGRATE_TO_DEV, p, PAGES, buf);
		n = in_device(fd, p);
	}
	return n;
}

static void to_system(int fd, char *p, char *buf)
{
	device(fd, HMM_DMIRROR_MIGRATE_TO_SYS, p, PAGES, buf);
}

TEST_F(device, private)
{
	ASSERT_EQ(to_device(self->fd, self->p, self->buf), PAGES);
	EXPECT_EQ(count(self->p, PM_PRESENT), 0);
	EXPECT_EQ(count(self->p, PM_SWAP), PAGES);
	EXPECT_EQ(wrong(self->p), 0);		/* by faults */
	EXPECT_EQ(in_device(self->fd, self->p), 0);
	EXPECT_EQ(count(self->p, PM_PRESENT), PAGES);
	ASSERT_EQ(to_device(self->fd, self->p, self->buf), PAGES);
	to_system(self->fd, self->p, self->buf);
	EXPECT_EQ(in_device(self->fd, self->p), 0);
	EXPECT_EQ(count(self->p, PM_PRESENT), PAGES);
	EXPECT_EQ(wrong(self->p), 0);
}

/* What the device writes there is what the processor reads here. */
TEST_F(device, private_written)
{
	ASSERT_EQ(to_device(self->fd, self->p, self->buf), PAGES);
	for (size_t i = 0; i < PAGES; i++)
		*(uint64_t *)(self->buf + i * PAGE) = value(i) + 1;
	ASSERT_EQ(device(self->fd, HMM_DMIRROR_WRITE, self->p, PAGES, self->buf), 0);
	EXPECT_EQ(in_device(self->fd, self->p), PAGES);
	for (size_t i = 0; i < PAGES; i++)
		EXPECT_EQ(*(volatile uint64_t *)(self->p + i * PAGE), value(i) + 1);
}

/* The driver takes its memory back when its file is closed: found by the reverse map alone. */
TEST_F(device, private_evicted)
{
	ASSERT_EQ(to_device(self->fd, self->p, self->buf), PAGES);
	ASSERT_EQ(close(self->fd), 0);
	self->fd = -1;
	EXPECT_EQ(count(self->p, PM_PRESENT), PAGES);
	EXPECT_EQ(wrong(self->p), 0);
}

TEST_F(device, private_fork)
{
	int status;
	pid_t pid;

	for (int round = 0; round < 3; round++) {
		ASSERT_EQ(to_device(self->fd, self->p, self->buf), PAGES);
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid) {
			if (count(self->p, PM_PRESENT))
				_exit(1);
			if (round == 1 && wrong(self->p))
				_exit(1);
			if (round == 2)
				memset(self->p, 1, SPAN);
			_exit(0);
		}
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_EQ(status, 0);
		/* The child's reads brought them back here too. */
		if (round == 1)
			EXPECT_EQ(count(self->p, PM_PRESENT), PAGES);
		EXPECT_EQ(wrong(self->p), 0);
	}
}

TEST_F(device, private_unmap)
{
	size_t quarter = SPAN / 4;
	char *to;

	ASSERT_EQ(to_device(self->fd, self->p, self->buf), PAGES);
	to = mremap(self->p + quarter, quarter, quarter, MREMAP_MAYMOVE | MREMAP_FIXED, self->buf);
	ASSERT_EQ(to, self->buf);
	ASSERT_EQ(mprotect(self->p, quarter, PROT_READ), 0);
	ASSERT_EQ(munmap(self->p + 2 * quarter, quarter), 0);
	ASSERT_EQ(madvise(self->p + 3 * quarter, quarter, MADV_DONTNEED), 0);
	EXPECT_TRUE(write_dies(self->p));
	for (size_t i = 0; i < PAGES / 4; i++) {
		EXPECT_EQ(*(volatile uint64_t *)(self->p + i * PAGE), value(i));
		EXPECT_EQ(*(volatile uint64_t *)(to + i * PAGE), value(PAGES / 4 + i));
		EXPECT_EQ(*(volatile uint64_t *)(self->p + 3 * quarter + i * PAGE), 0);
	}
}

/* A figure of /proc/self/status, in pages. */
static long status_of(const char *name)
{
	static char text[8192];
	char *p;

	if (!read_text("/proc/self/status", text, sizeof(text)))
		fail_setup("status");
	p = strstr(text, name);
	return p ? atol(p + strlen(name)) / 4 : -1;
}

#define MANY	4096UL		/* pages, of which counts that are held back are a small part */
#define ABOUT	512

static char *many(int fd, bool in_device)
{
	char *p = mmap(NULL, MANY * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fail_setup("mmap");
	madvise(p, MANY * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < MANY; i++)
		p[i * PAGE] = 1 + i % 100;
	settle_lru();
	for (size_t i = 0; in_device && i < MANY; i += PAGES) {
		static char buf[SPAN];

		if (to_device(fd, p + i * PAGE, buf) != PAGES)
			fail_setup("memory of the device");
	}
	return p;
}

/*
 * The most that a process ever had counts memory that a device has now, whichever way it goes: it
 * is dropped, unmapped, or comes back and is paged out.
 */
TEST_F(device, private_counts_as_peak)
{
	enum { DROPPED, UNMAPPED, BACK_AND_OUT, EXCLUSIVE_AND_OUT, WAYS };

	for (int way = 0; way < WAYS; way++) {
		long rss, peak;
		char *p;

		ASSERT_TRUE(write_text("/proc/self/clear_refs", "5"));
		rss = status_of("VmRSS:");
		ASSERT_LE(status_of("VmHWM:"), rss + ABOUT);
		p = many(self->fd, way != EXCLUSIVE_AND_OUT);
		peak = rss + MANY;
		EXPECT_GE(status_of("VmRSS:"), peak - ABOUT);
		if (way == DROPPED) {
			ASSERT_EQ(madvise(p, MANY * PAGE, MADV_DONTNEED), 0);
		} else if (way == UNMAPPED) {
			ASSERT_EQ(munmap(p, MANY * PAGE), 0);
		} else {
			for (size_t i = 0; i < MANY && way == EXCLUSIVE_AND_OUT; i += PAGES)
				make_exclusive(self->fd, p + i * PAGE, PAGES, self->buf);
			for (size_t i = 0; i < MANY; i++)
				EXPECT_EQ(*(volatile char *)(p + i * PAGE), (char)(1 + i % 100));
			settle_lru();
			ASSERT_EQ(madvise(p, MANY * PAGE, MADV_PAGEOUT), 0);
		}
		EXPECT_LE(status_of("VmRSS:"), rss + ABOUT);
		EXPECT_GE(status_of("VmHWM:"), peak - ABOUT);
		EXPECT_LE(status_of("VmHWM:"), peak + ABOUT);
		if (way != UNMAPPED)
			munmap(p, MANY * PAGE);
	}
}

/* The device's frames, as the entries name them; sorted. */
static int by_number(const void *a, const void *b)
{
	uint64_t x = *(uint64_t *)a, y = *(uint64_t *)b;

	return (x > y) - (x < y);
}

static void device_frames(const char *p, uint64_t *frames)
{
	look(p, frames);
	qsort(frames, PAGES, sizeof(*frames), by_number);
}

/*
 * Memory may be locked and go to the device nevertheless. Its pages there are the driver's: whoever
 * drops the last reference to one, be it a batch of munlocks, must give it back to the driver, who
 * then uses the same ones again.
 */
TEST_F(device, private_locked)
{
	static uint64_t first[PAGES], now[PAGES];

	for (int round = 0; round < 4; round++) {
		ASSERT_EQ(mlock(self->p, SPAN), 0);
		ASSERT_EQ(to_device(self->fd, self->p, self->buf), PAGES);
		device_frames(self->p, round ? now : first);
		if (round)
			EXPECT_EQ(memcmp(first, now, sizeof(first)), 0);
		if (round % 2) {
			EXPECT_EQ(munlock(self->p, SPAN), 0);
			EXPECT_EQ(wrong(self->p), 0);
			continue;
		}
		ASSERT_EQ(munmap(self->p, SPAN), 0);
		settle_lru();
		ASSERT_EQ(mmap(self->p, SPAN, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), self->p);
		madvise(self->p, SPAN, MADV_NOHUGEPAGE);
		fill(self->p);
	}
	EXPECT_EQ(wrong(self->p), 0);
}

static int protect_thirds(char *p)
{
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg = { .range = { (uintptr_t)p, SPAN },
				       .mode = UFFDIO_REGISTER_MODE_WP };

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		fail_setup("userfaultfd");
	for (size_t i = 0; i < PAGES; i += 3) {
		struct uffdio_writeprotect wp = { .range = { (uintptr_t)p + i * PAGE, PAGE },
						  .mode = UFFDIO_WRITEPROTECT_MODE_WP };

		if (ioctl(fd, UFFDIO_WRITEPROTECT, &wp))
			fail_setup("UFFDIO_WRITEPROTECT");
	}
	return fd;
}

/*
 * The entries of a child are changed through the reverse map when its parent's memory goes to the
 * device and comes back. They keep what they said, present or not.
 */
static int child_with_bits(char *p, int in, int out, uint64_t bit)
{
	int uffd = bit == PM_UFFD_WP ? protect_thirds(p) : -1, bad = 0;
	char c = 0;

	for (int step = 0; step < 3; step++) {
		bad |= differ(p, bit) != 0;
		bad |= count(p, PM_PRESENT) != (step == 1 ? 0 : PAGES);
		if (write(out, &c, 1) != 1 || read(in, &c, 1) != 1)
			return 2;
	}
	bad |= wrong(p) != 0;
	bad |= differ(p, bit) != 0;
	close(uffd);
	return bad;
}

static void share_bits(struct __test_metadata *_metadata, int fd, char *p, char *buf, uint64_t bit)
{
	int to[2], from[2], status;
	char c;
	pid_t pid;

	ASSERT_EQ(pipe(to), 0);
	ASSERT_EQ(pipe(from), 0);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(child_with_bits(p, to[0], from[1], bit));
	ASSERT_EQ(read(from[0], &c, 1), 1);
	EXPECT_EQ(to_device(fd, p, buf), PAGES);
	ASSERT_EQ(write(to[1], &c, 1), 1);
	ASSERT_EQ(read(from[0], &c, 1), 1);
	to_system(fd, p, buf);
	EXPECT_EQ(in_device(fd, p), 0);
	ASSERT_EQ(write(to[1], &c, 1), 1);
	ASSERT_EQ(read(from[0], &c, 1), 1);
	ASSERT_EQ(write(to[1], &c, 1), 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(wrong(p), 0);
}

TEST_F(device, private_keeps_soft_dirty)
{
	ASSERT_TRUE(write_text("/proc/self/clear_refs", "4"));
	for (size_t i = 0; i < PAGES; i += 3)
		*(volatile uint64_t *)(self->p + i * PAGE) += 0;
	EXPECT_EQ(differ(self->p, PM_SOFT_DIRTY), 0);
	share_bits(_metadata, self->fd, self->p, self->buf, PM_SOFT_DIRTY);
	EXPECT_EQ(differ(self->p, PM_SOFT_DIRTY), 0);
}

TEST_F(device, private_keeps_uffd_wp)
{
	share_bits(_metadata, self->fd, self->p, self->buf, PM_UFFD_WP);
}

/* --- the race --------------------------------------------------------------------------- */

/*
 * One thread counts pages up and knows what they must hold. The others let the device have them,
 * for its use and in its memory, move them between nodes, page them out, change permissions, fork.
 */
struct race {
	int fd;
	char *p;
	uint64_t want[PAGES];
	atomic_bool stop;
	atomic_long exclusive, device, moved, wrong;
};

static void *race_device(void *arg)
{
	static char buf[64 * PAGE];
	struct race *r = arg;
	unsigned int seed = 1;

	while (!r->stop) {
		size_t i = rand_r(&seed) % (PAGES - 64), n = 1 + rand_r(&seed) % 64;

		if (rand_r(&seed) % 2) {
			if (!device(r->fd, HMM_DMIRROR_EXCLUSIVE, r->p + i * PAGE, n, buf))
				r->exclusive++;
		} else {
			if (!device(r->fd, HMM_DMIRROR_MIGRATE_TO_DEV, r->p + i * PAGE, n, buf))
				r->device++;
		}
	}
	return NULL;
}

static void *race_mover(void *arg)
{
	struct race *r = arg;

	for (int node = 0; !r->stop; node = !node) {
		r->moved += move_to(r->p, node);
		madvise(r->p, SPAN, MADV_PAGEOUT);
		usleep(1000);
	}
	return NULL;
}

static void *race_changer(void *arg)
{
	struct race *r = arg;

	for (unsigned int i = 0; !r->stop; i++) {
		pid_t pid = fork();

		if (!pid) {
			r->p[i % PAGES * PAGE + 8] = 1;
			_exit(0);
		}
		usleep(2000);
		if (pid > 0)
			waitpid(pid, NULL, 0);
	}
	return NULL;
}

static void *race_writer(void *arg)
{
	struct race *r = arg;
	unsigned int seed = 2;

	while (!r->stop) {
		size_t i = rand_r(&seed) % PAGES;
		volatile uint64_t *at = (uint64_t *)(r->p + i * PAGE);

		r->wrong += *at != r->want[i];
		*at = ++r->want[i];
	}
	return NULL;
}

TEST_F(device, race)
{
	static void *(*const work[])(void *) = {
		race_device, race_mover, race_changer, race_writer,
	};
	static struct race r;
	pthread_t t[ARRAY_SIZE(work)];
	size_t bad = 0, counted = 0;

	r = (struct race){ .fd = self->fd, .p = self->p };
	for (size_t i = 0; i < PAGES; i++)
		r.want[i] = value(i);
	for (size_t i = 0; i < ARRAY_SIZE(work); i++)
		ASSERT_EQ(pthread_create(&t[i], NULL, work[i], &r), 0);
	sleep(SECONDS);
	for (int i = 0; i < 120 && !(r.exclusive && r.device && r.moved); i++)
		sleep(1);
	r.stop = true;
	for (size_t i = 0; i < ARRAY_SIZE(work); i++)
		pthread_join(t[i], NULL);
	for (size_t i = 0; i < PAGES; i++) {
		bad += *(volatile uint64_t *)(self->p + i * PAGE) != r.want[i];
		counted += r.want[i] - value(i);
	}
	TH_LOG("%zu writes; made exclusive %ld times, to the device %ld times, %ld pages moved",
	       counted, (long)r.exclusive, (long)r.device, (long)r.moved);
	EXPECT_EQ(bad, 0);
	EXPECT_EQ(r.wrong, 0);
	EXPECT_GT(r.exclusive, 0);
	EXPECT_GT(r.device, 0);
	EXPECT_GT(r.moved, 0);
}

TEST_HARNESS_MAIN

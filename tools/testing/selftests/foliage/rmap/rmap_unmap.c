// SPDX-License-Identifier: GPL-2.0
/*
 * What the reverse map takes away and gives back must be what it was: data, soft-dirty,
 * userfaultfd's write protection and exclusiveness of every page, for folios of every size,
 * alone and shared, through swap and through migration.
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
#include <unistd.h>

#include "harness.h"
#include "foliage.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif
#ifndef MADV_HWPOISON
#define MADV_HWPOISON	100
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

#define PM_SOFT_DIRTY	(1ULL << 55)
#define PM_EXCLUSIVE	(1ULL << 56)
#define PM_UFFD_WP	(1ULL << 57)
#define PM_SWAP		(1ULL << 62)
#define PM_PRESENT	(1ULL << 63)

#define SPAN	(4UL << 20)
#define PAGES	(SPAN / PAGE)
#define THP	"/sys/kernel/mm/transparent_hugepage/"

/* The memory of a test. */
struct mem {
	char *p;
	uint64_t *map;	/* pagemap, read by look() */
	size_t folio;	/* pages */
};

FIXTURE(unmap) {
	struct mem m;
};

FIXTURE_VARIANT(unmap) {
	int kib;	/* folio size */
	bool ptes;	/* split the PMD that maps it */
};

FIXTURE_VARIANT_ADD(unmap, order_0)
{
	.kib = 4,
};

FIXTURE_VARIANT_ADD(unmap, order_2)
{
	.kib = 16,
};

FIXTURE_VARIANT_ADD(unmap, order_3)
{
	.kib = 32,
};

FIXTURE_VARIANT_ADD(unmap, order_4)
{
	.kib = 64,
};

FIXTURE_VARIANT_ADD(unmap, order_5)
{
	.kib = 128,
};

FIXTURE_VARIANT_ADD(unmap, order_6)
{
	.kib = 256,
};

FIXTURE_VARIANT_ADD(unmap, order_7)
{
	.kib = 512,
};

FIXTURE_VARIANT_ADD(unmap, order_8)
{
	.kib = 1024,
};

FIXTURE_VARIANT_ADD(unmap, order_9)
{
	.kib = 2048,
};

FIXTURE_VARIANT_ADD(unmap, order_9_ptes)
{
	.kib = 2048,
	.ptes = true,
};

static void folio_size(int kib, const char *how)
{
	char path[96];

	if (kib == 4)
		return;
	snprintf(path, sizeof(path), THP "hugepages-%dkB/enabled", kib);
	if (!write_text(path, how))
		fail_setup("%s", path);
}

static void fill(char *p)
{
	for (size_t i = 0; i < PAGES; i++)
		*(uint64_t *)(p + i * PAGE) = 0x1000000 + i;
}

static size_t wrong(const char *p)
{
	size_t n = 0;

	for (size_t i = 0; i < PAGES; i++)
		n += *(volatile uint64_t *)(p + i * PAGE) != 0x1000000 + i;
	return n;
}

static void look(struct mem *m)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (pread(fd, m->map, PAGES * 8, (uintptr_t)m->p / PAGE * 8) != PAGES * 8)
		fail_setup("pagemap");
	close(fd);
}

static size_t count(struct mem *m, uint64_t bits)
{
	size_t n = 0;

	look(m);
	for (size_t i = 0; i < PAGES; i++)
		n += (m->map[i] & bits) == bits;
	return n;
}

/* Every page to swap; some tries, as a page may be in a per-CPU batch. */
static size_t page_out(struct mem *m)
{
	for (int i = 0; i < 10; i++) {
		settle_lru();
		madvise(m->p, SPAN, MADV_PAGEOUT);
		if (count(m, PM_SWAP) == PAGES)
			break;
		usleep(20000);
	}
	return count(m, PM_SWAP);
}

/* Every page to @node; how many are there. */
static size_t move_to(struct mem *m, int node)
{
	static void *pages[PAGES];
	static int nodes[PAGES], status[PAGES];
	size_t n = 0;

	settle_lru();
	for (size_t i = 0; i < PAGES; i++) {
		pages[i] = m->p + i * PAGE;
		nodes[i] = node;
	}
	if (syscall(SYS_move_pages, 0, PAGES, pages, nodes, status, MPOL_MF_MOVE) < 0)
		return 0;
	syscall(SYS_move_pages, 0, PAGES, pages, NULL, status, 0);
	for (size_t i = 0; i < PAGES; i++)
		n += status[i] == node;
	return n;
}

static void clear_soft_dirty(void)
{
	if (!write_text("/proc/self/clear_refs", "4"))
		fail_setup("clear_refs");
}

/* A userfaultfd that write-protects every third page. */
static int protect_thirds(struct mem *m)
{
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg = { .range = { (uintptr_t)m->p, SPAN },
				       .mode = UFFDIO_REGISTER_MODE_WP };

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		fail_setup("userfaultfd");
	for (size_t i = 0; i < PAGES; i += 3) {
		struct uffdio_writeprotect wp = { .range = { (uintptr_t)m->p + i * PAGE, PAGE },
						  .mode = UFFDIO_WRITEPROTECT_MODE_WP };

		if (ioctl(fd, UFFDIO_WRITEPROTECT, &wp))
			fail_setup("UFFDIO_WRITEPROTECT");
	}
	return fd;
}

/* Pages of which @bit is not what @want says. */
static size_t differ(struct mem *m, uint64_t bit, bool (*want)(size_t))
{
	size_t n = 0;

	look(m);
	for (size_t i = 0; i < PAGES; i++)
		n += !!(m->map[i] & bit) != want(i);
	return n;
}

static bool third(size_t i)
{
	return i % 3 == 0;
}

static bool every(size_t i)
{
	return true;
}

FIXTURE_SETUP(unmap)
{
	need_swap();
	write_text("/proc/self/clear_refs", "4");
	self->m.folio = variant->kib / 4;
	self->m.map = calloc(PAGES, 8);
	folio_size(variant->kib, "always");
	self->m.p = mmap(NULL, SPAN + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	self->m.p = (char *)(((uintptr_t)self->m.p + HUGE - 1) & -HUGE);
	self->m.p = mmap(self->m.p, SPAN, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (self->m.p == MAP_FAILED)
		fail_setup("mmap");
	if (variant->kib == 4)
		madvise(self->m.p, SPAN, MADV_NOHUGEPAGE);
	fill(self->m.p);
	folio_size(variant->kib, "never");
	if (variant->kib > 4 && !(frame_flags(frame_of(self->m.p)) & KPF(KPF_HEAD)))
		fail_setup("no folio of %d KiB", variant->kib);
	if (variant->ptes) {
		mprotect(self->m.p + PAGE, PAGE, PROT_READ);
		mprotect(self->m.p + PAGE, PAGE, PROT_READ | PROT_WRITE);
		mprotect(self->m.p + HUGE + PAGE, PAGE, PROT_READ);
		mprotect(self->m.p + HUGE + PAGE, PAGE, PROT_READ | PROT_WRITE);
	}
}

FIXTURE_TEARDOWN(unmap)
{
	munmap(self->m.p, SPAN);
	free(self->m.map);
}

TEST_F(unmap, swap)
{
	ASSERT_EQ(page_out(&self->m), PAGES);
	EXPECT_EQ(count(&self->m, PM_EXCLUSIVE), 0);	/* present pages only have it */
	EXPECT_EQ(wrong(self->m.p), 0);
	EXPECT_EQ(count(&self->m, PM_PRESENT | PM_EXCLUSIVE), PAGES);
	/* Once more: now they are in the swap cache, or were. */
	ASSERT_EQ(page_out(&self->m), PAGES);
	EXPECT_EQ(wrong(self->m.p), 0);
}

/* A child shares half of the pages and has copied the others; then nobody's data is another's. */
TEST_F(unmap, swap_shared)
{
	int status;
	pid_t pid = fork();

	ASSERT_GE(pid, 0);
	if (!pid) {
		for (size_t i = 1; i < PAGES; i += 2)
			*(uint64_t *)(self->m.p + i * PAGE) = 7 * i;
		for (int round = 0; round < 3; round++) {
			madvise(self->m.p, SPAN, MADV_PAGEOUT);
			for (size_t i = 0; i < PAGES; i++)
				if (*(volatile uint64_t *)(self->m.p + i * PAGE) !=
				    (i % 2 ? 7 * i : 0x1000000 + i))
					_exit(1);
		}
		_exit(0);
	}
	for (int round = 0; round < 3; round++) {
		madvise(self->m.p, SPAN, MADV_PAGEOUT);
		EXPECT_EQ(wrong(self->m.p), 0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	ASSERT_EQ(page_out(&self->m), PAGES);
	EXPECT_EQ(wrong(self->m.p), 0);
}

/* Slots named by two processes: their counts must be right when one goes after the other. */
TEST_F(unmap, swap_then_fork)
{
	int status;
	pid_t pid;

	ASSERT_EQ(page_out(&self->m), PAGES);
	for (int i = 0; i < 3; i++) {
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid)
			_exit(wrong(self->m.p) != 0);
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_EQ(status, 0);
	}
	EXPECT_EQ(wrong(self->m.p), 0);
}

TEST_F(unmap, swap_keeps_soft_dirty)
{
	/* One bit for all that a PMD maps. */
	bool (*want)(size_t) = variant->kib == 2048 && !variant->ptes ? every : third;

	clear_soft_dirty();
	for (size_t i = 0; i < PAGES; i += 3)
		*(volatile uint64_t *)(self->m.p + i * PAGE) += 0;
	EXPECT_EQ(differ(&self->m, PM_SOFT_DIRTY, want), 0);
	ASSERT_EQ(page_out(&self->m), PAGES);
	EXPECT_EQ(differ(&self->m, PM_SOFT_DIRTY, want), 0);
	EXPECT_EQ(wrong(self->m.p), 0);
}

TEST_F(unmap, swap_keeps_uffd_wp)
{
	int fd = protect_thirds(&self->m);

	ASSERT_EQ(page_out(&self->m), PAGES);
	EXPECT_EQ(differ(&self->m, PM_UFFD_WP, third), 0);
	EXPECT_EQ(wrong(self->m.p), 0);
	EXPECT_EQ(differ(&self->m, PM_UFFD_WP, third), 0);
	close(fd);
}

TEST_F(unmap, migrate)
{
	ASSERT_EQ(move_to(&self->m, 1), PAGES);
	EXPECT_EQ(wrong(self->m.p), 0);
	EXPECT_EQ(count(&self->m, PM_PRESENT | PM_EXCLUSIVE), PAGES);
	ASSERT_EQ(move_to(&self->m, 0), PAGES);
	EXPECT_EQ(wrong(self->m.p), 0);
}

TEST_F(unmap, migrate_keeps_soft_dirty)
{
	/* One bit for all that a PMD maps. */
	bool (*want)(size_t) = variant->kib == 2048 && !variant->ptes ? every : third;

	clear_soft_dirty();
	for (size_t i = 0; i < PAGES; i += 3)
		*(volatile uint64_t *)(self->m.p + i * PAGE) += 0;
	ASSERT_EQ(move_to(&self->m, 1), PAGES);
	EXPECT_EQ(differ(&self->m, PM_SOFT_DIRTY, want), 0);
	EXPECT_EQ(wrong(self->m.p), 0);
}

TEST_F(unmap, migrate_keeps_uffd_wp)
{
	int fd = protect_thirds(&self->m);

	ASSERT_EQ(move_to(&self->m, 1), PAGES);
	EXPECT_EQ(differ(&self->m, PM_UFFD_WP, third), 0);
	EXPECT_EQ(wrong(self->m.p), 0);
	close(fd);
}

/* A pinned page of a folio keeps all of it where it is, and nothing is lost by the attempt. */
TEST_F(unmap, pinned_stays)
{
	struct iovec iov = { self->m.p + 5 * PAGE, PAGE };
	int fd[2];

	ASSERT_EQ(pipe(fd), 0);
	ASSERT_EQ(vmsplice(fd[1], &iov, 1, 0), (ssize_t)PAGE);
	settle_lru();
	move_to(&self->m, 1);
	madvise(self->m.p, SPAN, MADV_PAGEOUT);
	look(&self->m);
	EXPECT_EQ(wrong(self->m.p), 0);
	/* What the pipe holds is still our page: a write here shows there. */
	*(uint64_t *)(self->m.p + 5 * PAGE) = 4711;
	ASSERT_EQ(read(fd[0], self->m.map, PAGE), (ssize_t)PAGE);
	if (variant->kib == 4)
		EXPECT_EQ(self->m.map[0], 4711);
	close(fd[0]);
	close(fd[1]);
}

/* Discarded where clean; what was written after MADV_FREE stays. */
TEST_F(unmap, lazyfree)
{
	size_t kept = 0, lost = 0;

	settle_lru();
	ASSERT_EQ(madvise(self->m.p, SPAN, MADV_FREE), 0);
	for (size_t i = 0; i < PAGES; i += 2 * self->m.folio)
		*(uint64_t *)(self->m.p + i * PAGE) = 99;
	settle_lru();
	madvise(self->m.p, SPAN, MADV_PAGEOUT);
	for (size_t i = 0; i < PAGES; i++) {
		uint64_t v = *(volatile uint64_t *)(self->m.p + i * PAGE);

		if (i % (2 * self->m.folio) == 0) {
			EXPECT_EQ(v, 99);
			kept++;
		} else {
			EXPECT_TRUE(v == 0 || v == 0x1000000 + i);
			lost += v == 0;
		}
	}
	EXPECT_GT(kept, 0);
	EXPECT_GT(lost, PAGES / 4);
}

/*
 * One page in four is written after MADV_FREE, and all of it is reported. Reclaim takes the entries
 * of such a folio away, finds it dirty, and puts them back: nothing was written by that.
 */
TEST_F(unmap, lazyfree_put_back_keeps_soft_dirty)
{
	struct mem *m = &self->m;

	ASSERT_EQ(madvise(m->p, SPAN, MADV_FREE), 0);
	for (size_t i = 0; i < PAGES; i += 4)
		*(uint64_t *)(m->p + i * PAGE) = 0x1000000 + i;
	clear_soft_dirty();
	ASSERT_EQ(count(m, PM_SOFT_DIRTY), 0);
	madvise(m->p, SPAN, MADV_PAGEOUT);
	/* A dirty PMD is split into dirty entries, which x86 calls soft-dirty: not the reverse map. */
	if (variant->kib < 2048 || variant->ptes)
		EXPECT_EQ(count(m, PM_SOFT_DIRTY), 0);
	for (size_t i = 0; i < PAGES; i += 4)
		EXPECT_EQ(*(volatile uint64_t *)(m->p + i * PAGE), 0x1000000 + i);
}

/*
 * MADV_FREE gives up what the caller sees, not what another process does that shares the page.
 * Pages that came back from a swap device without a swap cache are in memory only, though no
 * entry of them is dirty.
 */
TEST_F(unmap, lazyfree_by_a_sharer)
{
	int status;
	pid_t pid;

	ASSERT_EQ(page_out(&self->m), PAGES);
	EXPECT_EQ(wrong(self->m.p), 0);
	settle_lru();
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(madvise(self->m.p, SPAN, MADV_FREE) != 0);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	settle_lru();
	madvise(self->m.p, SPAN, MADV_PAGEOUT);
	EXPECT_EQ(wrong(self->m.p), 0);
}

static atomic_bool stop;

static void *page_out_forever(void *arg)
{
	while (!stop)
		madvise(arg, SPAN, MADV_PAGEOUT);
	return NULL;
}

/* A write after MADV_FREE is never lost, however it meets the reclaim of its page. */
TEST_F(unmap, lazyfree_race)
{
	pthread_t thread;
	size_t lost = 0;

	stop = false;
	ASSERT_EQ(pthread_create(&thread, NULL, page_out_forever, self->m.p), 0);
	for (uint64_t round = 1; round <= 30; round++) {
		madvise(self->m.p, SPAN, MADV_FREE);
		for (size_t i = 0; i < PAGES; i += 7)
			*(volatile uint64_t *)(self->m.p + i * PAGE) = round << 32 | i;
		for (size_t i = 0; i < PAGES; i += 7)
			lost += *(volatile uint64_t *)(self->m.p + i * PAGE) != (round << 32 | i);
	}
	stop = true;
	pthread_join(thread, NULL);
	EXPECT_EQ(lost, 0);
}

static sigjmp_buf bus;

static void on_bus(int sig)
{
	siglongjmp(bus, 1);
}

static bool touch_dies(volatile char *p)
{
	volatile bool died = true;

	signal(SIGBUS, on_bus);
	if (!sigsetjmp(bus, 1)) {
		(void)*p;
		died = false;
	}
	signal(SIGBUS, SIG_DFL);
	return died;
}

/* Who reports the error of a page that it maps may be told of it at once, by the signal. */
static bool poison(char *p)
{
	signal(SIGBUS, on_bus);
	if (!sigsetjmp(bus, 1) && madvise(p, PAGE, MADV_HWPOISON))
		return false;
	signal(SIGBUS, SIG_DFL);
	return true;
}

/* Soft offlining moves the data; a hard error takes the one page and leaves the others. */
TEST_F(unmap, soft_offline)
{
	uint64_t before = frame_of(self->m.p + 20 * PAGE);

	settle_lru();
	ASSERT_EQ(madvise(self->m.p + 20 * PAGE, PAGE, MADV_SOFT_OFFLINE), 0);
	EXPECT_EQ(wrong(self->m.p), 0);
	EXPECT_NE(frame_of(self->m.p + 20 * PAGE), before);
}

TEST_F(unmap, memory_failure)
{
	size_t dead = 0;

	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_LATE, 0, 0);
	settle_lru();
	ASSERT_TRUE(poison(self->m.p + 20 * PAGE));
	for (size_t i = 0; i < PAGES; i++) {
		if (touch_dies(self->m.p + i * PAGE))
			dead += i == 20 ? 1 : 1000;
		else
			EXPECT_EQ(*(uint64_t *)(self->m.p + i * PAGE), 0x1000000 + i);
	}
	EXPECT_EQ(dead, 1);
}

/* --- what has no variants --------------------------------------------------------------- */

TEST(hugetlb_migrates)
{
	struct region r;
	void *page;
	int node = 1, status = -1;

	region_make(&r, HUGETLB, 512);
	page = r.p;
	ASSERT_EQ(syscall(SYS_move_pages, 0, 1, &page, &node, &status, MPOL_MF_MOVE), 0);
	ASSERT_EQ(syscall(SYS_move_pages, 0, 1, &page, NULL, &status, 0), 0);
	EXPECT_EQ(status, 1);
	for (size_t i = 0; i < r.pages; i++)
		EXPECT_EQ(r.p[i * PAGE], (char)(1 + i % 100));
	region_free(&r);
}

/*
 * Every write reaches the file: a page that was cleaned by msync() or by write-back must be
 * dirtied again by the next write, not only by the first.
 */
TEST(mkclean)
{
	struct region r;
	char *copy;
	size_t bad = 0;
	int fd;

	region_make(&r, FILE_EXT4, 512);
	for (int round = 1; round <= 20; round++) {
		for (size_t i = 0; i < r.pages; i++)
			r.p[i * PAGE + 8] = round + i;
		ASSERT_EQ(round % 2 ? msync(r.p, r.pages * PAGE, MS_SYNC) : fsync(r.fd), 0);
	}
	for (size_t i = 0; i < r.pages; i += 2)
		r.p[i * PAGE + 8] = 77;
	ASSERT_EQ(fsync(r.fd), 0);
	/* Past the page cache: it must have come to the device. */
	ASSERT_EQ(munmap(r.p, r.pages * PAGE), 0);
	ASSERT_TRUE(write_text("/proc/sys/vm/drop_caches", "3"));
	fd = dup(r.fd);
	copy = mmap(NULL, r.pages * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(copy, MAP_FAILED);
	for (size_t i = 0; i < r.pages; i++)
		bad += copy[i * PAGE + 8] != (char)(i % 2 ? 20 + i : 77);
	EXPECT_EQ(bad, 0);
	munmap(copy, r.pages * PAGE);
	close(fd);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Which list a page belongs on, and whose account, where more than one lock of one mapping decides:
 * pages that are unevictable for other reasons, counts that cannot be kept, one frame behind many
 * addresses, compaction, and cgroups that end before their pages do. What locking does to the pages
 * of each kind is in mlock_state.c.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mlock_count.h"

/* --- fixture ---------------------------------------------------------------------------- */

/* Memory without a kind of its own; the counters all the same. */
FIXTURE(other) {
	struct figures start;
	char cgroup[256];
};

FIXTURE_SETUP(other)
{
	struct region quiet;

	need_swap();
	enter_cgroup("mlock_other", self->cgroup, sizeof(self->cgroup));
	region_make(&quiet, ANON_4K, 1);
	region_free(&quiet);
	self->start = figures_now();
}

FIXTURE_TEARDOWN(other)
{
	EXPECT_COUNTED(&self->start, 0, 0);
	leave_cgroup(self->cgroup);
}

static void join(const char *cgroup)
{
	char file[320];

	snprintf(file, sizeof(file), "%s/cgroup.procs", cgroup);
	if (!write_text(file, "0"))
		fail_setup("%s", file);
}

/* --- unevictable for other reasons ------------------------------------------------------ */

static int file_in(const char *type, const char *options, const char *dir, char *name, size_t size)
{
	static char block[PAGE] = "unevictable";
	int fd;

	mkdir(dir, 0755);
	if (mount("none", dir, type, 0, options))
		return -1;
	snprintf(name, size, "%s/file", dir);
	fd = open(name, O_RDWR | O_CREAT, 0600);
	for (size_t i = 0; i < PAGES; i++)
		if (write(fd, block, PAGE) != PAGE)
			fail_setup("%s", name);
	return fd;
}

/* Born unevictable, never mlocked; and a lock on top changes nothing but the mark. */
static void file_is_unevictable(struct __test_metadata *_metadata, const struct figures *start,
				int fd, const char *cgroup)
{
	char *p = mmap(NULL, BYTES, RW, MAP_SHARED | MAP_POPULATE, fd, 0);

	ASSERT_NE(p, MAP_FAILED);
	EXPECT_COUNTED(start, 0, PAGES);
	EXPECT_SEEN(p, PAGES, 0, PAGES);
	EXPECT_EQ(cgroup_pages(cgroup, "unevictable ", PAGES), (long)PAGES);
	reclaim_from(cgroup, "16M");
	EXPECT_SEEN(p, PAGES, 0, PAGES);
	ASSERT_EQ(mlock(p, BYTES), 0);
	EXPECT_COUNTED(start, PAGES, PAGES);
	ASSERT_EQ(munlock(p, BYTES / 2), 0);
	EXPECT_COUNTED(start, PAGES / 2, PAGES);
	munmap(p, BYTES);
	EXPECT_COUNTED(start, 0, PAGES);
	ASSERT_EQ(ftruncate(fd, BYTES / 2), 0);
	EXPECT_COUNTED(start, 0, PAGES / 2);
}

TEST_F(other, ramfs)
{
	char name[64];
	int fd = file_in("ramfs", NULL, "/tmp/foliage-ramfs", name, sizeof(name));

	ASSERT_GE(fd, 0);
	file_is_unevictable(_metadata, &self->start, fd, self->cgroup);
	close(fd);
	EXPECT_EQ(umount("/tmp/foliage-ramfs"), 0);
}

TEST_F(other, tmpfs_without_swap)
{
	char name[64];
	int fd = file_in("tmpfs", "noswap,size=16m", "/tmp/foliage-noswap", name, sizeof(name));

	if (fd < 0)
		SKIP(return, "no tmpfs without swap");
	file_is_unevictable(_metadata, &self->start, fd, self->cgroup);
	close(fd);
	EXPECT_EQ(umount("/tmp/foliage-noswap"), 0);
}

/*
 * A segment's pages are left where they are when it gets locked, become unevictable when reclaim
 * meets them, and are all looked at when it is unlocked.
 */
TEST_F(other, shm_lock)
{
	int id = shmget(IPC_PRIVATE, 2 * BYTES, 0600);
	char *p = shmat(id, NULL, 0);
	struct figures f;
	struct seen s;

	ASSERT_NE(p, (char *)-1);
	memset(p, 1, BYTES);
	ASSERT_EQ(shmctl(id, SHM_LOCK, NULL), 0);
	/* Not before. */
	s = look(p, PAGES);
	EXPECT_EQ(s.mlocked, 0);
	memset(p + BYTES, 1, PAGES / 2 * PAGE);
	settle_lru();
	EXPECT_SEEN(p + BYTES, PAGES / 2, 0, PAGES / 2);
	for (int i = 0; i < 12 && look(p, PAGES).unevictable < PAGES; i++) {
		reclaim_from(self->cgroup, "16M");
		settle_lru();
	}
	EXPECT_SEEN(p, PAGES, 0, PAGES);
	EXPECT_COUNTED(&self->start, 0, PAGES * 3 / 2);
	f = figures_since(&self->start);
	EXPECT_EQ(f.n[RESCUED], 0);

	/* A lock of a mapping in addition: its end alone does not rescue. */
	ASSERT_EQ(mlock(p, BYTES), 0);
	EXPECT_COUNTED(&self->start, PAGES, PAGES * 3 / 2);
	ASSERT_EQ(munlock(p, BYTES), 0);
	EXPECT_COUNTED(&self->start, 0, PAGES * 3 / 2);
	ASSERT_EQ(mlock(p, BYTES), 0);
	ASSERT_EQ(shmctl(id, SHM_UNLOCK, NULL), 0);
	EXPECT_COUNTED(&self->start, PAGES, PAGES);
	f = figures_since(&self->start);
	EXPECT_EQ(f.n[RESCUED], (long)PAGES / 2);
	EXPECT_GE(f.n[SCANNED], (long)PAGES / 2);
	ASSERT_EQ(munlock(p, BYTES), 0);
	EXPECT_COUNTED(&self->start, 0, 0);
	EXPECT_SEEN(p, PAGES, 0, 0);

	/* Removed while it is locked. */
	ASSERT_EQ(shmctl(id, SHM_LOCK, NULL), 0);
	reclaim_from(self->cgroup, "16M");
	ASSERT_EQ(shmctl(id, IPC_RMID, NULL), 0);
	ASSERT_EQ(shmdt(p), 0);
	EXPECT_COUNTED(&self->start, 0, 0);
}

/* --- counts that cannot be kept --------------------------------------------------------- */

static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail_setup("processor %d", cpu);
}

/*
 * Pages that wait in another processor's batch cannot be counted. Two locks may count as one, so
 * that the first munlock takes the mark; the pages stay, and reclaim marks them again.
 */
TEST_F(other, lock_while_on_no_list)
{
	const size_t few = 12, n = few * PAGE;
	static char block[12 * PAGE];
	char *p, *q;
	int fd = memfd_create("undercount", 0);

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one processor only");
	for (int round = 0; round < 10; round++) {
		run_on(1);
		settle_lru();
		ASSERT_EQ(ftruncate(fd, 0), 0);
		ASSERT_EQ(pwrite(fd, block, n, 0), (ssize_t)n);
		run_on(0);
		p = mmap(NULL, n, RW, MAP_SHARED, fd, 0);
		q = mmap(NULL, n, RW, MAP_SHARED, fd, 0);
		ASSERT_EQ(mlock(p, n), 0);
		ASSERT_EQ(mlock(q, n), 0);
		EXPECT_COUNTED(&self->start, few, few);
		EXPECT_SEEN(p, few, few, few);
		ASSERT_EQ(munlock(p, n), 0);
		remark(self->cgroup, q, few);
		EXPECT_SEEN(q, few, few, few);
		EXPECT_COUNTED(&self->start, few, few);
		ASSERT_EQ(munlock(q, n), 0);
		EXPECT_COUNTED(&self->start, 0, 0);
		EXPECT_SEEN(p, few, 0, 0);
		munmap(p, n);
		munmap(q, n);
	}
	close(fd);
}

/* One frame behind many addresses, each of which locks it. */
TEST_F(other, merged)
{
	const char *run = "/sys/kernel/mm/ksm/run";
	const size_t n = 64;
	char *p = mmap(NULL, n * PAGE, RW, ANON, -1, 0);
	size_t same = 0;

	memset(p, 9, n * PAGE);
	ASSERT_EQ(madvise(p, n * PAGE, MADV_MERGEABLE), 0);
	write_text("/sys/kernel/mm/ksm/sleep_millisecs", "1");
	write_text("/sys/kernel/mm/ksm/pages_to_scan", "1000");
	if (!write_text(run, "1"))
		SKIP(return, "no KSM");
	for (int i = 0; i < 600 && same < n; i++) {
		usleep(50000);
		same = 0;
		for (size_t k = 0; k < n; k++)
			same += frame_of(p + k * PAGE) == frame_of(p);
	}
	write_text(run, "0");
	ASSERT_EQ(same, n);
	/* Locked writable, each page would become a copy. */
	ASSERT_EQ(mprotect(p, n * PAGE, PROT_READ), 0);
	ASSERT_EQ(mlock(p, n * PAGE), 0);
	EXPECT_COUNTED(&self->start, 1, 1);
	ASSERT_EQ(munlock(p, (n - 1) * PAGE), 0);
	EXPECT_COUNTED(&self->start, 1, 1);
	EXPECT_SEEN(p, n, n, n);
	ASSERT_EQ(munlock(p + (n - 1) * PAGE, PAGE), 0);
	EXPECT_COUNTED(&self->start, 0, 0);
	ASSERT_EQ(mlock(p, n * PAGE), 0);
	/* The writer leaves the page that the others have locked. */
	ASSERT_EQ(mprotect(p, n * PAGE, RW), 0);
	EXPECT_COUNTED(&self->start, n, n);
	munmap(p, n * PAGE);
	write_text(run, "2");
	write_text(run, "0");
}

/* --- compaction, cgroups ---------------------------------------------------------------- */

static size_t frames_changed(const char *p, uint64_t *was, size_t pages, size_t step)
{
	size_t n = 0;

	for (size_t i = 0; i < pages; i += step) {
		uint64_t pfn = frame_of(p + i * PAGE);

		n += was[i] && was[i] != pfn;
		was[i] = pfn;
	}
	return n;
}

#define NODE0	"/sys/devices/system/node/node0/"

/*
 * Compaction moves what lies low to where it is free higher up. So spread the pages of @p over
 * node 0: between any two of them much else is allocated, for a while.
 */
static void fill_spread(char *p, size_t pages)
{
	unsigned long nodes = 1;
	char text[4096], *fill;
	size_t huge, done = 0;

	if (!read_text(NODE0 "meminfo", text, sizeof(text)) || !strstr(text, "MemFree:") ||
	    syscall(SYS_set_mempolicy, MPOL_BIND, &nodes, 8))
		fail_setup("node 0");
	huge = strtoul(strstr(text, "MemFree:") + 8, NULL, 10) * 1024 / HUGE * 2 / 3;
	fill = mmap(NULL, huge * HUGE, RW, ANON | MAP_NORESERVE, -1, 0);
	if (fill == MAP_FAILED)
		fail_setup("mmap");
	madvise(fill, huge * HUGE, MADV_HUGEPAGE);
	for (size_t i = 0; i < huge; i++) {
		fill[i * HUGE] = 1;
		for (; done < pages * (i + 1) / huge; done++)
			p[done * PAGE] = 1;
	}
	munmap(fill, huge * HUGE);
}

/* Every fourth page of a region stays and is locked: something to move, and room to move it. */
static char *locked_among_holes(size_t pages)
{
	char *p = mmap(NULL, pages * PAGE, RW, ANON, -1, 0);

	if (p == MAP_FAILED)
		fail_setup("mmap");
	madvise(p, pages * PAGE, MADV_NOHUGEPAGE);
	fill_spread(p, pages);
	for (size_t i = 0; i < pages; i++)
		if (i % 4)
			madvise(p + i * PAGE, PAGE, MADV_DONTNEED);
	if (mlock2(p, pages * PAGE, MLOCK_ONFAULT))
		fail_setup("mlock2");
	settle_lru();
	return p;
}

/* Where the pages came to lie, and so whether there is anything to move, is not in our hands. */
TEST_F(other, compaction)
{
	const size_t pages = 4 * PAGES;
	static uint64_t was[4 * PAGES];
	size_t moved = 0;
	char *p, old[16];

	if (!read_text("/proc/sys/vm/compact_unevictable_allowed", old, sizeof(old)) ||
	    access(NODE0 "compact", W_OK))
		SKIP(return, "no compaction, or no nodes");
	join("/sys/fs/cgroup");
	for (int round = 0; round < 20 && !moved; round++) {
		p = locked_among_holes(pages);
		frames_changed(p, was, pages, 4);
		write_text("/proc/sys/vm/compact_unevictable_allowed", "0");
		ASSERT_TRUE(write_text(NODE0 "compact", "1"));
		EXPECT_EQ(frames_changed(p, was, pages, 4), 0);
		write_text("/proc/sys/vm/compact_unevictable_allowed", "1");
		write_text(NODE0 "compact", "1");
		moved = frames_changed(p, was, pages, 4);
		settle_lru();
		EXPECT_COUNTED(&self->start, PAGES, PAGES);
		EXPECT_EQ(look(p, pages).mlocked, PAGES);
		EXPECT_EQ(look(p, pages).unevictable, PAGES);
		munmap(p, pages * PAGE);
	}
	write_text("/proc/sys/vm/compact_unevictable_allowed", old);
	EXPECT_GT(moved, 0);
}

/*
 * Shared pages that a cgroup has made and locked outlive it, on the account of its parent, and
 * are unlocked there by another one that has them locked too.
 */
TEST_F(other, cgroup_goes)
{
	char a[300], b[300], file[310];
	int fd = memfd_create("shared", 0), status, to[2], from[2];
	long lru;
	pid_t pid;
	char *p, c;

	leave_cgroup(self->cgroup);
	mkdir(self->cgroup, 0755);
	snprintf(file, sizeof(file), "%s/cgroup.subtree_control", self->cgroup);
	ASSERT_TRUE(write_text(file, "+memory"));
	snprintf(a, sizeof(a), "%s/a", self->cgroup);
	snprintf(b, sizeof(b), "%s/b", self->cgroup);
	ASSERT_EQ(mkdir(a, 0755), 0);
	ASSERT_EQ(mkdir(b, 0755), 0);
	ASSERT_EQ(ftruncate(fd, BYTES), 0);
	p = mmap(NULL, BYTES, RW, MAP_SHARED, fd, 0);
	if (pipe(to) || pipe(from))
		fail_setup("pipe");
	pid = fork();
	if (!pid) {
		join(a);
		child_life(p, EXIT, to[0], from[1]);
	}
	ASSERT_EQ(read(from[0], &c, 1), 1);
	ASSERT_EQ(c, 'y');
	EXPECT_EQ(cgroup_pages(a, "unevictable ", PAGES), (long)PAGES);
	join(b);
	ASSERT_EQ(mlock(p, BYTES), 0);
	EXPECT_COUNTED(&self->start, PAGES, PAGES);
	EXPECT_EQ(cgroup_pages(a, "unevictable ", PAGES), (long)PAGES);
	EXPECT_EQ(cgroup_pages(b, "unevictable ", 0), 0);

	ASSERT_EQ(write(to[1], &c, 1), 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_EQ(rmdir(a), 0);
	EXPECT_COUNTED(&self->start, PAGES, PAGES);
	EXPECT_SEEN(p, PAGES, PAGES, PAGES);
	EXPECT_EQ(cgroup_pages(self->cgroup, "unevictable ", PAGES), (long)PAGES);
	ASSERT_EQ(munlock(p, BYTES), 0);
	EXPECT_COUNTED(&self->start, 0, 0);
	EXPECT_EQ(cgroup_pages(self->cgroup, "unevictable ", 0), 0);
	lru = cgroup_pages(self->cgroup, "inactive_anon ", -1) +
	      cgroup_pages(self->cgroup, "active_anon ", -1);
	EXPECT_GE(lru, (long)PAGES);
	munmap(p, BYTES);
	close(fd);
	leave_cgroup(b);
}

/* In cgroup v2 what is charged stays charged: the counts do not move with the process. */
TEST_F(other, process_moves)
{
	char *p = mmap(NULL, BYTES, RW, ANON | MAP_LOCKED, -1, 0);

	settle_lru();
	EXPECT_EQ(cgroup_pages(self->cgroup, "unevictable ", PAGES), (long)PAGES);
	join("/sys/fs/cgroup");
	EXPECT_EQ(cgroup_pages(self->cgroup, "unevictable ", PAGES), (long)PAGES);
	EXPECT_COUNTED(&self->start, PAGES, PAGES);
	ASSERT_EQ(munlock(p, BYTES), 0);
	EXPECT_EQ(cgroup_pages(self->cgroup, "unevictable ", 0), 0);
	munmap(p, BYTES);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * What locking does to the pages: the marks Mlocked and Unevictable of each folio, and every
 * figure that counts them, for folios of every size and kind, mapped once and twice, let go in
 * every way there is, moved, split, copied and met by reclaim. After each test nothing is counted
 * that is no longer locked.
 *
 * The marks may come late (a count that could not be kept errs low, and reclaim repairs it), but a
 * page of a locked mapping is never evicted, and no page stays unevictable that nobody has locked.
 * Other reasons to be unevictable, compaction and cgroups are in mlock_class.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mlock_count.h"

#ifndef MADV_COLD
#define MADV_COLD	20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

#define MTHP_64K "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled"

/* --- fixture ---------------------------------------------------------------------------- */

FIXTURE(state) {
	struct region r;
	struct figures start;
	char cgroup[256];
};

FIXTURE_VARIANT(state) {
	enum kind kind;
};

FIXTURE_VARIANT_ADD(state, anon_4k)
{
	.kind = ANON_4K,
};

FIXTURE_VARIANT_ADD(state, anon_64k)
{
	.kind = ANON_64K,
};

FIXTURE_VARIANT_ADD(state, anon_2m)
{
	.kind = ANON_2M,
};

FIXTURE_VARIANT_ADD(state, shmem)
{
	.kind = SHMEM,
};

FIXTURE_VARIANT_ADD(state, ext4)
{
	.kind = FILE_EXT4,
};

FIXTURE_SETUP(state)
{
	need_swap();
	enter_cgroup("mlock_state", self->cgroup, sizeof(self->cgroup));
	region_make(&self->r, variant->kind, PAGES);
	self->start = figures_now();
}

FIXTURE_TEARDOWN(state)
{
	region_free(&self->r);
	EXPECT_COUNTED(&self->start, 0, 0);
	leave_cgroup(self->cgroup);
}

/* Press until fewer than @most pages of @p are left, or it is plain that they will not go. */
static size_t press(const char *cgroup, const char *p, size_t pages, size_t most)
{
	for (int i = 0; i < 12 && look(p, pages).present > most; i++) {
		settle_lru();
		reclaim_from(cgroup, "16M");
	}
	return look(p, pages).present;
}

static bool is_file(const struct region *r)
{
	return r->fd >= 0;
}

/* --- lock and let go -------------------------------------------------------------------- */

TEST_F(state, mlock_munlock)
{
	struct region *r = &self->r;
	struct figures f;

	EXPECT_SEEN(r->p, PAGES, 0, 0);
	ASSERT_EQ(mlock(r->p, BYTES), 0);
	f = figures_since(&self->start);
	EXPECT_EQ(f.n[MLOCKED], (long)PAGES);
	EXPECT_EQ(f.n[CULLED], (long)PAGES);
	EXPECT_EQ(f.n[MUNLOCKED] + f.n[RESCUED], 0);
	EXPECT_COUNTED(&self->start, PAGES, PAGES);
	EXPECT_SEEN(r->p, PAGES, PAGES, PAGES);
	EXPECT_EQ(cgroup_pages(self->cgroup, "unevictable ", PAGES), (long)PAGES);

	/* Once more is nothing new. */
	ASSERT_EQ(mlock(r->p, BYTES), 0);
	EXPECT_COUNTED(&self->start, PAGES, PAGES);

	ASSERT_EQ(munlock(r->p, BYTES), 0);
	f = figures_since(&self->start);
	EXPECT_EQ(f.n[MLOCKED], (long)PAGES);
	EXPECT_EQ(f.n[MUNLOCKED], (long)PAGES);
	EXPECT_EQ(f.n[RESCUED], (long)PAGES);
	EXPECT_EQ(f.n[CLEARED] + f.n[STRANDED], 0);
	EXPECT_COUNTED(&self->start, 0, 0);
	EXPECT_SEEN(r->p, PAGES, 0, 0);
	EXPECT_EQ(cgroup_pages(self->cgroup, "unevictable ", 0), 0);
}

/* Another process has it locked, and lets go; we have it mapped all the time. */
TEST_F(state, ways_to_let_go)
{
	struct region *r = &self->r;
	int to[2], from[2], status;
	pid_t pid;
	char c;

	/* Or else the child would lock copies. */
	ASSERT_EQ(mprotect(r->p, BYTES, PROT_READ), 0);
	for (enum way way = 0; way < WAYS; way++) {
		if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
			fail_setup("pipe");
		pid = fork();
		if (!pid)
			child_life(r->p, way, to[0], from[1]);
		close(to[0]);
		close(from[1]);
		ASSERT_EQ(read(from[0], &c, 1), 1);
		ASSERT_EQ(c, 'y');
		EXPECT_COUNTED(&self->start, PAGES, PAGES);
		if (way == KILL)
			kill(pid, SIGKILL);
		else
			ASSERT_EQ(write(to[1], &c, 1), 1);
		/* An answer, or the end of those who have gone. */
		status = read(from[0], &c, 1);
		EXPECT_EQ(status, way == EXIT || way == KILL || way == EXEC ? 0 : 1);
		EXPECT_COUNTED(&self->start, 0, 0);
		EXPECT_SEEN(r->p, PAGES, 0, 0);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		close(to[1]);
		close(from[0]);
	}
}

/* Locked by two mappings, or by two processes: the last one counts. */
TEST_F(state, locked_twice)
{
	struct region *r = &self->r;
	int to[2], from[2], status;
	char *q = NULL, c;
	pid_t pid;

	ASSERT_EQ(mprotect(r->p, BYTES, PROT_READ), 0);
	if (pipe(to) || pipe(from))
		fail_setup("pipe");
	ASSERT_EQ(mlock(r->p, BYTES), 0);
	pid = fork();
	if (!pid)
		child_life(r->p, MUNMAP, to[0], from[1]);
	ASSERT_EQ(read(from[0], &c, 1), 1);
	if (is_file(r)) {
		q = mmap(NULL, BYTES, RW, MAP_SHARED, r->fd, 0);
		ASSERT_EQ(mlock(q, BYTES), 0);
	}
	EXPECT_COUNTED(&self->start, PAGES, PAGES);
	ASSERT_EQ(munlock(r->p, BYTES), 0);
	EXPECT_COUNTED(&self->start, PAGES, PAGES);
	EXPECT_SEEN(r->p, PAGES, PAGES, PAGES);
	ASSERT_EQ(mlock(r->p, BYTES), 0);
	ASSERT_EQ(write(to[1], &c, 1), 1);
	ASSERT_EQ(read(from[0], &c, 1), 1);
	EXPECT_COUNTED(&self->start, PAGES, PAGES);
	ASSERT_EQ(munlock(r->p, BYTES), 0);
	if (is_file(r)) {
		EXPECT_COUNTED(&self->start, PAGES, PAGES);
		EXPECT_SEEN(r->p, PAGES, PAGES, PAGES);
		munmap(q, BYTES);
	}
	EXPECT_COUNTED(&self->start, 0, 0);
	EXPECT_SEEN(r->p, PAGES, 0, 0);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* Only what has been touched is locked, a large folio as a whole. */
TEST_F(state, onfault)
{
	struct region *r = &self->r;
	struct seen s;

	/* The same place again, empty. A file's pages are in the cache and not mapped. */
	if (is_file(r))
		mmap(r->p, BYTES, RW, MAP_SHARED | MAP_FIXED, r->fd, 0);
	else
		madvise(r->p, BYTES, MADV_DONTNEED);
	ASSERT_EQ(mlock2(r->p, BYTES, MLOCK_ONFAULT), 0);
	EXPECT_COUNTED(&self->start, 0, 0);
	if (r->kind == ANON_64K)
		write_text(MTHP_64K, "always");
	for (size_t i = 0; i < PAGES / 2; i += 64)
		r->p[i * PAGE] = 1;
	if (r->kind == ANON_64K)
		write_text(MTHP_64K, "never");
	settle_lru();
	s = look(r->p, PAGES);
	EXPECT_GE(s.present, 8);
	EXPECT_LE(s.present, PAGES * 3 / 4);
	/*
	 * 64 KiB: a fault does not know whether the mapping covers the folio, so the mark waits
	 * for reclaim.
	 */
	if (r->kind == ANON_64K) {
		EXPECT_EQ(s.present, 8 * r->step);
		for (size_t i = 0; i < PAGES / 2; i += 64)
			remark(self->cgroup, r->p + i * PAGE, r->step);
		EXPECT_EQ(look(r->p, PAGES).present, s.present);
		s = look(r->p, PAGES);
	}
	EXPECT_EQ(s.mlocked, s.present);
	EXPECT_EQ(s.unevictable, s.present);
	EXPECT_COUNTED(&self->start, s.present, s.present);
	ASSERT_EQ(munlock(r->p, BYTES), 0);
}

TEST_F(state, advice_is_refused)
{
	static const int advice[] = { MADV_DONTNEED, MADV_FREE, MADV_COLD, MADV_PAGEOUT, MADV_REMOVE };
	struct region *r = &self->r;

	ASSERT_EQ(mlock(r->p, BYTES), 0);
	for (size_t i = 0; i < ARRAY_SIZE(advice); i++) {
		errno = 0;
		EXPECT_EQ(madvise(r->p + 3 * PAGE, 40 * PAGE, advice[i]), -1);
		EXPECT_EQ(errno, EINVAL);
	}
	settle_lru();
	EXPECT_SEEN(r->p, PAGES, PAGES, PAGES);
	EXPECT_COUNTED(&self->start, PAGES, PAGES);
	/* But who says that he means it gets it. */
	ASSERT_EQ(madvise(r->p, BYTES / 2, MADV_DONTNEED_LOCKED), 0);
	EXPECT_COUNTED(&self->start, PAGES / 2, PAGES / 2);
}

/* --- reclaim, migration, copies --------------------------------------------------------- */

TEST_F(state, never_evicted)
{
	struct region *r = &self->r;
	size_t half = PAGES / 2, left;

	for (size_t i = 0; i < half && r->kind == ANON_4K; i += 2)
		madvise(r->p + i * PAGE, PAGE, MADV_FREE);
	ASSERT_EQ(mlock(r->p, BYTES / 2), 0);
	left = press(self->cgroup, r->p + BYTES / 2, half, half / 4);
	EXPECT_LE(left, half / 4);
	EXPECT_SEEN(r->p, half, half, half);
	EXPECT_COUNTED(&self->start, half, half);
	for (size_t i = 0; i < PAGES; i++)
		EXPECT_EQ(r->p[i * PAGE], (char)(1 + i % 100));
	/* And when it is unlocked it goes like anything else. */
	ASSERT_EQ(munlock(r->p, BYTES / 2), 0);
	/* What came with MADV_FREE may need a second try: mlock has marked it as dirty. */
	for (int i = 0; i < 4; i++) {
		settle_lru();
		ASSERT_EQ(madvise(r->p, BYTES / 2, MADV_PAGEOUT), 0);
	}
	EXPECT_LE(look(r->p, half).present, half / 4);
	for (size_t i = 0; i < PAGES && r->kind != ANON_4K; i++)
		EXPECT_EQ(r->p[i * PAGE], (char)(1 + i % 100));
}

/* Every page to @node; how many are there. */
static size_t move_to(char *p, int node)
{
	static void *pages[PAGES];
	static int nodes[PAGES], status[PAGES];
	size_t n = 0;

	settle_lru();
	for (size_t i = 0; i < PAGES; i++) {
		pages[i] = p + i * PAGE;
		nodes[i] = node;
	}
	if (syscall(SYS_move_pages, 0, PAGES, pages, nodes, status, MPOL_MF_MOVE) < 0)
		return 0;
	syscall(SYS_move_pages, 0, PAGES, pages, NULL, status, 0);
	for (size_t i = 0; i < PAGES; i++)
		n += status[i] == node;
	return n;
}

static int node_of(char *p)
{
	void *page = p;
	int status = -1;

	syscall(SYS_move_pages, 0, 1, &page, NULL, &status, 0);
	return status;
}

/*
 * Marks and counts survive a move. With stock a large folio loses its mark, as whoever maps it
 * does not know whether the mapping covers it; reclaim finds out.
 */
TEST_F(state, migrated)
{
	struct region *r = &self->r;
	int node = node_of(r->p);

	ASSERT_EQ(mlock(r->p, BYTES), 0);
	for (int i = 0; i < 3; i++) {
		node = !node;
		ASSERT_EQ(move_to(r->p, node), PAGES);
		settle_lru();
		if (r->step > 1)
			remark(self->cgroup, r->p, PAGES);
		EXPECT_COUNTED(&self->start, PAGES, PAGES);
		EXPECT_SEEN(r->p, PAGES, PAGES, PAGES);
	}
	EXPECT_EQ(cgroup_pages(self->cgroup, "unevictable ", PAGES), (long)PAGES);
	ASSERT_EQ(munlock(r->p, BYTES), 0);
	EXPECT_COUNTED(&self->start, 0, 0);
	EXPECT_SEEN(r->p, PAGES, 0, 0);
}

static struct seen frames_seen(const uint64_t *pfn, size_t n)
{
	struct seen s = {};

	for (size_t i = 0; i < n; i++)
		see_frame(&s, frame_flags(pfn[i]));
	return s;
}

/* A copy on write in a locked mapping: the old page is let go, the new one locked. */
TEST_F(state, copied)
{
	struct region *r = &self->r;
	struct seen s;
	int status;
	pid_t pid;

	if (is_file(r))
		return;
	ASSERT_EQ(mlock(r->p, BYTES), 0);
	pid = fork();
	if (!pid)
		for (;;)
			pause();
	EXPECT_COUNTED(&self->start, PAGES, PAGES);
	for (size_t i = 0; i < PAGES; i++)
		r->p[i * PAGE] = 3;
	EXPECT_COUNTED(&self->start, PAGES, PAGES);
	EXPECT_SEEN(r->p, PAGES, PAGES, PAGES);
	/* The child has what was locked before. */
	s = frames_seen(r->pfn, PAGES);
	EXPECT_EQ(s.mlocked, 0);
	EXPECT_EQ(s.unevictable, 0);
	EXPECT_EQ(s.lru, PAGES);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	EXPECT_COUNTED(&self->start, PAGES, PAGES);
}

/* --- truncation ------------------------------------------------------------------------- */

TEST_F(state, truncated)
{
	struct region *r = &self->r;

	if (!is_file(r))
		return;
	ASSERT_EQ(mlock(r->p, BYTES), 0);
	ASSERT_EQ(fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BYTES / 4), 0);
	EXPECT_COUNTED(&self->start, PAGES * 3 / 4, PAGES * 3 / 4);
	ASSERT_EQ(ftruncate(r->fd, BYTES / 2), 0);
	EXPECT_COUNTED(&self->start, PAGES / 4, PAGES / 4);
	EXPECT_SEEN(r->p + BYTES / 4, PAGES / 4, PAGES / 4, PAGES / 4);
	ASSERT_EQ(ftruncate(r->fd, 0), 0);
	EXPECT_COUNTED(&self->start, 0, 0);
}

/* Private copies go with the end of the file, and stay over a hole in it. */
TEST_F(state, truncated_copies)
{
	struct region *r = &self->r;
	char *p;

	if (!is_file(r))
		return;
	p = mmap(NULL, BYTES, RW, MAP_PRIVATE, r->fd, 0);
	memset(p, 5, BYTES / 2);
	ASSERT_EQ(mlock(p, BYTES / 2), 0);
	ASSERT_EQ(mprotect(p + BYTES / 2, BYTES / 2, PROT_READ), 0);
	ASSERT_EQ(mlock(p + BYTES / 2, BYTES / 2), 0);
	EXPECT_COUNTED(&self->start, PAGES, PAGES);
	/* Half of what is taken are copies, and half the file's own. */
	ASSERT_EQ(fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BYTES / 4, BYTES / 2), 0);
	EXPECT_COUNTED(&self->start, PAGES * 3 / 4, PAGES * 3 / 4);
	EXPECT_SEEN(p, PAGES / 2, PAGES / 2, PAGES / 2);
	ASSERT_EQ(ftruncate(r->fd, BYTES / 4), 0);
	EXPECT_COUNTED(&self->start, PAGES / 4, PAGES / 4);
	EXPECT_SEEN(p, PAGES / 4, PAGES / 4, PAGES / 4);
	munmap(p, BYTES);
}

/* --- large folios in part --------------------------------------------------------------- */

/* Lock the half of each folio that begins @from pages after its first. */
static void lock_halves(struct __test_metadata *_metadata, struct region *r, size_t from)
{
	for (size_t i = from; i < PAGES; i += r->step)
		ASSERT_EQ(mlock(r->p + i * PAGE, r->step / 2 * PAGE), 0);
	settle_lru();
}

static struct seen halves(struct region *r, size_t from)
{
	struct seen sum = {};

	for (size_t i = from; i < PAGES; i += r->step) {
		struct seen s = look(r->p + i * PAGE, r->step / 2);

		sum.present += s.present;
		sum.mlocked += s.mlocked;
	}
	return sum;
}

/*
 * A folio of which only a part is locked is not marked, and stays on an evictable list. Its
 * locked pages stay when it is reclaimed. Stock's reclaim comes by the pages from first to last:
 * it takes what lies before the locked ones, and the folio stays whole and without a mark; or it
 * meets a locked one first and gives up. Who pages out the other half by advice has the folio
 * split, and then the locked pages, small folios now, are marked.
 */
TEST_F(state, locked_in_part)
{
	struct region *r = &self->r;
	size_t n = r->step / 2;

	if (r->step == 1)
		return;
	for (size_t from = 0; from <= n; from += n) {
		size_t other = n - from;

		lock_halves(_metadata, r, from);
		EXPECT_COUNTED(&self->start, 0, 0);
		for (int i = 0; i < 4; i++)
			reclaim_from(self->cgroup, "16M");
		settle_lru();
		TH_LOG("locked from %zu: reclaim leaves %zu and %zu of %lu pages", from,
		       halves(r, from).present, halves(r, other).present, PAGES / 2);
		EXPECT_EQ(halves(r, from).present, PAGES / 2);
		for (size_t i = other; i < PAGES; i += r->step)
			ASSERT_EQ(madvise(r->p + i * PAGE, n * PAGE, MADV_PAGEOUT), 0);
		settle_lru();
		EXPECT_EQ(halves(r, from).present, PAGES / 2);
		EXPECT_LE(halves(r, other).present, PAGES / 8);
		for (int i = 0; i < 12 && !from && halves(r, from).mlocked < PAGES / 2; i++) {
			reclaim_from(self->cgroup, "16M");
			settle_lru();
		}
		EXPECT_EQ(halves(r, from).present, PAGES / 2);
		if (!from)
			EXPECT_COUNTED(&self->start, PAGES / 2, PAGES / 2);
		munlockall();
		EXPECT_COUNTED(&self->start, 0, 0);
		for (size_t i = 0; i < PAGES; i++)
			EXPECT_EQ(r->p[i * PAGE], (char)(1 + i % 100));
		/* Large folios anew for the other half. */
		region_free(r);
		region_make(r, variant->kind, PAGES);
	}
}

/* Locked in two calls, a folio is locked as a whole after all; the mark comes with reclaim. */
TEST_F(state, locked_in_two_calls)
{
	struct region *r = &self->r;
	size_t cut = r->step / 2 * PAGE;

	ASSERT_EQ(mlock(r->p, BYTES / 2 + cut), 0);
	ASSERT_EQ(mlock(r->p + BYTES / 2 + cut, BYTES / 2 - cut), 0);
	remark(self->cgroup, r->p, PAGES);
	EXPECT_SEEN(r->p, PAGES, PAGES, PAGES);
	EXPECT_COUNTED(&self->start, PAGES, PAGES);
	/* And one in the middle of which the lock ends is unlocked as a whole. */
	ASSERT_EQ(munlock(r->p + cut, BYTES - cut), 0);
	EXPECT_COUNTED(&self->start, 0, 0);
	EXPECT_EQ(look(r->p, PAGES).present, PAGES);
}

/* A THP that is locked, split by force, and by what happens to its mapping. */
TEST_F(state, split)
{
	struct region *r = &self->r;
	struct seen s;
	char text[96];

	if (r->kind != ANON_2M)
		return;
	ASSERT_EQ(mlock(r->p, BYTES), 0);
	snprintf(text, sizeof(text), "%d,0x%lx,0x%lx", getpid(), (long)r->p, (long)r->p + BYTES / 2);
	if (!write_text("/sys/kernel/debug/split_huge_pages", text))
		SKIP(return, "no split_huge_pages");
	EXPECT_FALSE(frame_flags(frame_of(r->p)) & KPF(KPF_THP));
	EXPECT_TRUE(frame_flags(frame_of(r->p + HUGE)) & KPF(KPF_THP));
	EXPECT_COUNTED(&self->start, PAGES, PAGES);
	EXPECT_SEEN(r->p, PAGES, PAGES, PAGES);
	/* A border inside of the other one. Its mark may go, until reclaim meets it; it stays. */
	ASSERT_EQ(mprotect(r->p + HUGE + 9 * PAGE, 7 * PAGE, PROT_READ), 0);
	ASSERT_EQ(mprotect(r->p + HUGE + 9 * PAGE, 7 * PAGE, RW), 0);
	remark(self->cgroup, r->p, PAGES);
	EXPECT_SEEN(r->p, PAGES, PAGES, PAGES);
	EXPECT_COUNTED(&self->start, PAGES, PAGES);
	/* Unmapped in part: what is left of the folio is still locked. */
	ASSERT_EQ(munmap(r->p + HUGE + HUGE / 2, HUGE / 2), 0);
	for (int i = 0; i < 6; i++)
		reclaim_from(self->cgroup, "16M");
	s = look(r->p, PAGES);
	EXPECT_EQ(s.present, PAGES * 3 / 4);
	ASSERT_EQ(munlock(r->p, BYTES * 3 / 4), 0);
	EXPECT_COUNTED(&self->start, 0, 0);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * What locking does to the pages: the marks Mlocked and Unevictable of each folio, and every
 * figure that counts them (struct figures, and memory.stat of a cgroup), for folios of every
 * size and kind, mapped once and twice, let go in every way there is, moved, split, copied and met
 * by reclaim. After each test nothing is counted that is no longer locked.
 *
 * The marks may come late (a count that could not be kept errs low, and reclaim repairs it), but a
 * page of a locked mapping is never evicted, and no page stays unevictable that nobody has locked.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "foliage.h"

#ifndef MADV_COLD
#define MADV_COLD	20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

#define KPF_ACTIVE	6
#define KPF_UNEVICTABLE	18
#define KPF_MLOCKED	33

#define PAGES	1024UL
#define BYTES	(PAGES * PAGE)
#define RW	(PROT_READ | PROT_WRITE)
#define ANON	(MAP_PRIVATE | MAP_ANONYMOUS)
#define MTHP_64K "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled"

/* --- what is counted -------------------------------------------------------------------- */

enum figure {
	NR_MLOCK, NR_UNEVICTABLE, CULLED, SCANNED, RESCUED, MLOCKED, MUNLOCKED, CLEARED, STRANDED,
	MEMINFO_MLOCKED, MEMINFO_UNEVICTABLE, FIGURES
};

static const char *const figure_names[FIGURES] = {
	"nr_mlock ", "nr_unevictable ", "unevictable_pgs_culled ", "unevictable_pgs_scanned ",
	"unevictable_pgs_rescued ", "unevictable_pgs_mlocked ", "unevictable_pgs_munlocked ",
	"unevictable_pgs_cleared ", "unevictable_pgs_stranded ", "Mlocked:", "Unevictable:",
};

/* In pages, all of them. */
struct figures {
	long n[FIGURES];
};

/* What a line of @text says that begins with @name. */
static long line_of(const char *text, const char *name)
{
	size_t len = strlen(name);

	while (text && strncmp(text, name, len)) {
		text = strchr(text, '\n');
		text = text ? text + 1 : NULL;
	}
	return text ? atol(text + len) : -1;
}

static struct figures figures_now(void)
{
	static char vmstat[32768], meminfo[8192];
	struct figures f;

	settle_lru();
	write_text("/proc/sys/vm/stat_refresh", "1");
	if (!read_text("/proc/vmstat", vmstat, sizeof(vmstat)) ||
	    !read_text("/proc/meminfo", meminfo, sizeof(meminfo)))
		fail_setup("/proc/vmstat");
	for (int i = 0; i < FIGURES; i++)
		f.n[i] = i < MEMINFO_MLOCKED ? line_of(vmstat, figure_names[i]) :
					       line_of(meminfo, figure_names[i]) / 4;
	return f;
}

static struct figures figures_since(const struct figures *start)
{
	struct figures f = figures_now();

	for (int i = 0; i < FIGURES; i++)
		f.n[i] -= start->n[i];
	return f;
}

/* Pages that are marked now were marked once, and have not been unmarked since. */
static long unbalanced(const struct figures *f)
{
	return f->n[NR_MLOCK] - (f->n[MLOCKED] - f->n[MUNLOCKED] - f->n[CLEARED] - f->n[STRANDED]);
}

/* So many more pages are locked and unevictable than at the start. */
#define EXPECT_COUNTED(start, mlocked, unevictable)			\
do {									\
	struct figures _f = figures_since(start);			\
									\
	EXPECT_EQ(_f.n[NR_MLOCK], (long)(mlocked));			\
	EXPECT_EQ(_f.n[MEMINFO_MLOCKED], (long)(mlocked));		\
	EXPECT_EQ(_f.n[NR_UNEVICTABLE], (long)(unevictable));		\
	EXPECT_EQ(_f.n[MEMINFO_UNEVICTABLE], (long)(unevictable));	\
	EXPECT_EQ(unbalanced(&_f), 0);					\
} while (0)

/* Pages of some memory that are there, and what their folios are. */
struct seen {
	size_t present, mlocked, unevictable, lru, wrong;
};

static void see_frame(struct seen *s, uint64_t flags)
{
	bool mlocked = flags & KPF(KPF_MLOCKED), unevictable = flags & KPF(KPF_UNEVICTABLE);

	s->present++;
	s->mlocked += mlocked;
	s->unevictable += unevictable;
	s->lru += !!(flags & KPF(KPF_LRU));
	s->wrong += unevictable && flags & KPF(KPF_ACTIVE);
}

static struct seen look(const char *p, size_t pages)
{
	static uint64_t map[4096];
	int fd = open("/proc/self/pagemap", O_RDONLY), flags_fd = open("/proc/kpageflags", O_RDONLY);
	struct seen s = {};
	uint64_t flags;

	if (fd < 0 || flags_fd < 0 || pages > 4096 ||
	    pread(fd, map, pages * 8, (uintptr_t)p / PAGE * 8) != (ssize_t)pages * 8)
		fail_setup("pagemap, kpageflags");
	for (size_t i = 0; i < pages; i++) {
		if (!(map[i] >> 63))
			continue;
		if (pread(flags_fd, &flags, 8, (map[i] & ((1ULL << 55) - 1)) * 8) != 8)
			fail_setup("kpageflags");
		see_frame(&s, flags);
	}
	close(fd);
	close(flags_fd);
	return s;
}

/* Of @p's pages, all are there, and so many are marked and so many unevictable. */
#define EXPECT_SEEN(p, pages, n_mlocked, n_unevictable)		\
do {								\
	struct seen _s = look(p, pages);			\
								\
	EXPECT_EQ(_s.present, (size_t)(pages));			\
	EXPECT_EQ(_s.mlocked, (size_t)(n_mlocked));		\
	EXPECT_EQ(_s.unevictable, (size_t)(n_unevictable));	\
	EXPECT_EQ(_s.lru, (size_t)(pages));			\
	EXPECT_EQ(_s.wrong, 0);					\
} while (0)

static struct seen frames_seen(const uint64_t *pfn, size_t n)
{
	struct seen s = {};

	for (size_t i = 0; i < n; i++)
		see_frame(&s, frame_flags(pfn[i]));
	return s;
}

/*
 * A figure of memory.stat, in pages. What processors hold back gets there every other second, or
 * with the next hundred pages.
 */
static long cgroup_pages(const char *path, const char *key, long want)
{
	static char stat[16384];
	char file[300];
	long n = -1;

	snprintf(file, sizeof(file), "%s/memory.stat", path);
	for (int i = 0; i < 100; i++) {
		if (!read_text(file, stat, sizeof(stat)))
			fail_setup("%s", file);
		n = line_of(stat, key) / (long)PAGE;
		if (n == want || want < 0)
			break;
		usleep(100000);
	}
	return n;
}

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

static void reclaim(const char *cgroup, const char *bytes)
{
	char file[300];

	/* Reclaim decides by statistics that may be two seconds old; who reads them makes them new. */
	cgroup_pages(cgroup, "anon ", -1);
	snprintf(file, sizeof(file), "%s/memory.reclaim", cgroup);
	write_text(file, bytes);
}

/* Press until fewer than @most pages of @p are left, or it is plain that they will not go. */
static size_t press(const char *cgroup, const char *p, size_t pages, size_t most)
{
	for (int i = 0; i < 12 && look(p, pages).present > most; i++) {
		settle_lru();
		reclaim(cgroup, "16M");
	}
	return look(p, pages).present;
}

/* Let reclaim meet every page of a locked mapping, until it has marked those that lack it. */
static void remark(const char *cgroup, const char *p, size_t pages)
{
	for (int i = 0; i < 12 && look(p, pages).mlocked < pages; i++) {
		reclaim(cgroup, "16M");
		settle_lru();
	}
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

enum way { MUNLOCKALL, MUNMAP, MAP_OVER, SHRINK, DROP, EXIT, KILL, EXEC, WAYS };

/* In a child: locks the memory, tells it, and lets go in one way at the next byte. */
static void child_life(char *p, enum way way, int in, int out)
{
	char c = mlock(p, BYTES) || look(p, PAGES).present != PAGES ? 'n' : 'y';

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (write(out, &c, 1) != 1 || read(in, &c, 1) != 1)
		_exit(1);
	if (way == MUNLOCKALL)
		munlockall();
	else if (way == MUNMAP)
		munmap(p, BYTES);
	else if (way == MAP_OVER)
		mmap(p, BYTES, PROT_NONE, ANON | MAP_FIXED, -1, 0);
	else if (way == SHRINK)
		mremap(p, BYTES, PAGE, 0), munlock(p, PAGE);
	else if (way == DROP)
		madvise(p, BYTES, MADV_DONTNEED_LOCKED);
	else if (way == EXIT)
		_exit(0);
	else if (way == EXEC)
		execl("/bin/sleep", "sleep", "1000", NULL);
	if (write(out, &c, 1) == 1)
		pause();
	_exit(1);
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
			reclaim(self->cgroup, "16M");
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
			reclaim(self->cgroup, "16M");
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
		reclaim(self->cgroup, "16M");
	s = look(r->p, PAGES);
	EXPECT_EQ(s.present, PAGES * 3 / 4);
	ASSERT_EQ(munlock(r->p, BYTES * 3 / 4), 0);
	EXPECT_COUNTED(&self->start, 0, 0);
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
	reclaim(cgroup, "16M");
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
		reclaim(self->cgroup, "16M");
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
	reclaim(self->cgroup, "16M");
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

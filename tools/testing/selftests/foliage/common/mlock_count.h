/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of locked pages share: the marks Mlocked and Unevictable of each folio, every
 * figure that counts them (struct figures, and memory.stat of a cgroup), reclaim that meets locked
 * pages, and another process that locks them.
 */
#ifndef FOLIAGE_MLOCK_COUNT_H
#define FOLIAGE_MLOCK_COUNT_H

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "harness.h"
#include "foliage.h"

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
static inline long line_of(const char *text, const char *name)
{
	size_t len = strlen(name);

	while (text && strncmp(text, name, len)) {
		text = strchr(text, '\n');
		text = text ? text + 1 : NULL;
	}
	return text ? atol(text + len) : -1;
}

static inline struct figures figures_now(void)
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

static inline struct figures figures_since(const struct figures *start)
{
	struct figures f = figures_now();

	for (int i = 0; i < FIGURES; i++)
		f.n[i] -= start->n[i];
	return f;
}

/* Pages that are marked now were marked once, and have not been unmarked since. */
static inline long unbalanced(const struct figures *f)
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

static inline void see_frame(struct seen *s, uint64_t flags)
{
	bool mlocked = flags & KPF(KPF_MLOCKED), unevictable = flags & KPF(KPF_UNEVICTABLE);

	s->present++;
	s->mlocked += mlocked;
	s->unevictable += unevictable;
	s->lru += !!(flags & KPF(KPF_LRU));
	s->wrong += unevictable && flags & KPF(KPF_ACTIVE);
}

static inline struct seen look(const char *p, size_t pages)
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

/*
 * A figure of memory.stat, in pages. What processors hold back gets there every other second, or
 * with the next hundred pages.
 */
static inline long cgroup_pages(const char *path, const char *key, long want)
{
	static char stat[16384];
	char file[320];
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

/* --- reclaim, and another process ------------------------------------------------------- */

static inline void reclaim_from(const char *cgroup, const char *bytes)
{
	char file[320];

	/* Reclaim decides by statistics that may be two seconds old; who reads them makes them new. */
	cgroup_pages(cgroup, "anon ", -1);
	snprintf(file, sizeof(file), "%s/memory.reclaim", cgroup);
	write_text(file, bytes);
}

/* Let reclaim meet every page of a locked mapping, until it has marked those that lack it. */
static inline void remark(const char *cgroup, const char *p, size_t pages)
{
	for (int i = 0; i < 12 && look(p, pages).mlocked < pages; i++) {
		reclaim_from(cgroup, "16M");
		settle_lru();
	}
}

enum way { MUNLOCKALL, MUNMAP, MAP_OVER, SHRINK, DROP, EXIT, KILL, EXEC, WAYS };

/* In a child: locks the memory, tells it, and lets go in one way at the next byte. */
static inline void child_life(char *p, enum way way, int in, int out)
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

#endif

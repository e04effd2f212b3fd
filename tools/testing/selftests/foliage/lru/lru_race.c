// SPDX-License-Identifier: GPL-2.0
/*
 * Everything that locks, unlocks, moves and frees pages, at once: several processes lock and unlock
 * a file in memory that they share and anonymous memory of their own, fork, write to copies, exit
 * and unmap while memory is locked, truncate the file and punch holes into it, split and collapse
 * huge pages, move pages between nodes, swap them out, while their cgroup is reclaimed from. What
 * the memory holds is checked all along.
 *
 * Afterwards no count may be lost: Mlocked and Unevictable are back where they began, no page
 * carries the flag of a locked one, and nothing is left on the cgroup's lists.
 *
 *	argument 1: seconds (default 8); it runs longer until everything has happened often enough
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/mempolicy.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest.h"
#include "foliage.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT		21
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED	24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT		1
#endif

#define KPF_MLOCKED	33

#define CGROUP		"/sys/fs/cgroup/lru_race"
#define SPLIT		"/sys/kernel/debug/split_huge_pages"
#define WORKERS		4
#define SPAN		(4UL << 20)	/* of the file, and of a process */
#define PAGES		(SPAN / PAGE)
#define AT_LEAST	10		/* times that each thing must have happened */
#define CAP_SECONDS	200

/* What a process can do, and how often it worked. */
enum event {
	LOCK, LOCK_ONFAULT, UNLOCK, WRITE, FORK, MOVE, COLLAPSE, SPLIT_HUGE, PAGEOUT, DROP, REMAP,
	FILE_LOCK, FILE_UNLOCK, FILE_WRITE, FILE_MOVE, FILE_PAGEOUT, FILE_PUNCH, FILE_TRUNCATE,
	FILE_COPY, EVENTS
};

static const char * const event_names[] = {
	"lock", "lock on fault", "unlock", "write", "fork", "move", "collapse", "split",
	"swap out", "drop", "map anew", "lock file", "unlock file", "write file", "move file",
	"swap out file", "punch", "truncate", "copy locked file",
};

/*
 * What the kernel must have done, as it counts itself. A page is still locked when it is freed only
 * where truncation meets munlock: that is said, and may never happen on a slow machine.
 */
static const struct {
	const char *name;
	long least;
} stats[] = {
	{ "unevictable_pgs_mlocked", AT_LEAST }, { "unevictable_pgs_munlocked", AT_LEAST },
	{ "unevictable_pgs_cleared", 0 }, { "pgmigrate_success", AT_LEAST },
	{ "pswpout", AT_LEAST }, { "thp_split_page", 5 }, { "thp_collapse_alloc", AT_LEAST },
};

static struct {
	atomic_bool stop;
	atomic_ulong count[EVENTS];
} *shared;

static int file;
static long stat_start[ARRAY_SIZE(stats)];

/*
 * A process: the memory that is its own, with what each page holds (0: nothing yet), and the file,
 * of which a page holds its number or, where somebody has cut a hole, nothing.
 */
struct worker {
	char *own;
	uint64_t want[PAGES];
	char *file;
	unsigned int seed;
};

static sigjmp_buf beyond_end;

static unsigned int draw(struct worker *w, unsigned int n)
{
	return rand_r(&w->seed) % n;
}

/* Pages @from up to @from + the result. */
static size_t draw_range(struct worker *w, size_t *from)
{
	*from = draw(w, PAGES);
	return 1 + draw(w, draw(w, 3) ? (PAGES - *from) / 16 + 1 : PAGES - *from);
}

static void happened(enum event e, bool yes)
{
	if (yes)
		atomic_fetch_add(&shared->count[e], 1);
}

static void wrong(const char *what, size_t page, uint64_t got, uint64_t want)
{
	fprintf(stderr, "# pid %d: %s: page %zu holds %#llx, not %#llx\n", getpid(), what, page,
		(unsigned long long)got, (unsigned long long)want);
	_exit(1);
}

static void check_own(struct worker *w)
{
	for (size_t i = 0; i < PAGES; i++) {
		uint64_t got = *(volatile uint64_t *)(w->own + i * PAGE);

		if (got != w->want[i])
			wrong("own memory", i, got, w->want[i]);
	}
}

static void check_file(const char *p, size_t from, size_t n)
{
	for (size_t i = from; i < from + n; i++) {
		uint64_t got = *(volatile uint64_t *)(p + i * PAGE);

		if (got && got != i + 1)
			wrong("the file", i, got, i + 1);
	}
}

static void write_own(struct worker *w, size_t from, size_t n)
{
	for (size_t i = from; i < from + n; i++) {
		w->want[i] = 1 + rand_r(&w->seed);
		*(volatile uint64_t *)(w->own + i * PAGE) = w->want[i];
	}
}

static void map_own(struct worker *w)
{
	char *p, *at;

	/* What is locked is unmapped as it is. */
	if (w->own)
		munmap(w->own, SPAN);
	p = mmap(NULL, SPAN + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	at = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	if (p == MAP_FAILED || mprotect(at, SPAN, PROT_READ | PROT_WRITE))
		fail_setup("mmap");
	munmap(p, at - p);
	munmap(at + SPAN, p + HUGE - at);
	w->own = at;
	madvise(w->own, SPAN, MADV_HUGEPAGE);
	memset(w->want, 0, sizeof(w->want));
}

/* -> whether a page has arrived at the other node */
static bool move(struct worker *w, char *mem, size_t from, size_t n, int how)
{
	static void *pages[PAGES];
	static int nodes[PAGES], status[PAGES];
	int node = draw(w, 2);
	bool any = false;

	for (size_t i = 0; i < n; i++) {
		pages[i] = mem + (from + i) * PAGE;
		nodes[i] = node;
		status[i] = -1;
	}
	if (syscall(SYS_move_pages, 0, n, pages, nodes, status, how) < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		any |= status[i] == node;
	return any;
}

static bool split(char *mem)
{
	char text[96];

	snprintf(text, sizeof(text), "%d,0x%lx,0x%lx", getpid(), (unsigned long)mem,
		 (unsigned long)mem + SPAN);
	return write_text(SPLIT, text);
}

/* A child with the parent's memory: it locks and writes, and exits with what it has locked. */
static void fork_one(struct worker *w)
{
	size_t from, n = draw_range(w, &from);
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return;
	if (!pid) {
		w->seed += 7919 * getpid();
		mlock(w->own + from * PAGE, n * PAGE);
		check_own(w);
		write_own(w, from, n);
		check_own(w);
		_exit(0);
	}
	write_own(w, from, n);
	check_own(w);
	if (waitpid(pid, &status, 0) != pid || status)
		_exit(1);
	happened(FORK, true);
}

static void change_own(struct worker *w, enum event e)
{
	size_t from, n = draw_range(w, &from), len = n * PAGE;
	char *at = w->own + from * PAGE;
	bool done = true;

	switch (e) {
	case LOCK:
		done = !mlock(at, len);
		break;
	case LOCK_ONFAULT:
		done = !mlock2(at, len, MLOCK_ONFAULT);
		break;
	case UNLOCK:
		done = draw(w, 2) ? !munlock(at, len) : !munlock(w->own, SPAN);
		break;
	case FORK:
		fork_one(w);
		return;
	case MOVE:
		done = move(w, w->own, from, n, MPOL_MF_MOVE);
		break;
	case COLLAPSE:
		done = !madvise(w->own, SPAN, MADV_COLLAPSE);
		break;
	case SPLIT_HUGE:
		done = split(w->own);
		break;
	case PAGEOUT:
		/* Not where it is locked. */
		munlock(w->own, SPAN);
		done = !madvise(w->own, SPAN, MADV_PAGEOUT);
		break;
	case DROP:
		done = !madvise(at, len, MADV_DONTNEED_LOCKED);
		memset(w->want + from, 0, done ? n * sizeof(*w->want) : 0);
		break;
	case REMAP:
		map_own(w);
		break;
	default:
		write_own(w, from, n);
	}
	happened(e, done);
	check_own(w);
}

/* Copies of the file's pages, locked: truncation takes them away, too. */
static bool copy_file(struct worker *w, size_t from, size_t n)
{
	char *p = mmap(NULL, SPAN, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);

	if (p == MAP_FAILED)
		return false;
	if (!sigsetjmp(beyond_end, 1)) {
		mlock(p + from * PAGE, n * PAGE);
		for (size_t i = from; i < from + n; i++)
			*(volatile uint64_t *)(p + i * PAGE) = i + 1;
		check_file(p, from, n);
	}
	return !munmap(p, SPAN);
}

/* In the middle of a page, but not of a word. */
static bool truncate_file(struct worker *w)
{
	return !ftruncate(file, draw(w, PAGES) * PAGE + draw(w, PAGE / 8) * 8) && !ftruncate(file, SPAN);
}

static void change_file(struct worker *w, enum event e)
{
	size_t from, n = draw_range(w, &from), len = n * PAGE;
	char *at = w->file + from * PAGE;
	bool done = true;

	switch (e) {
	case FILE_LOCK:
		done = !mlock(at, len);
		break;
	case FILE_UNLOCK:
		done = !munlock(w->file, SPAN);
		break;
	case FILE_MOVE:
		done = move(w, w->file, from, n, MPOL_MF_MOVE_ALL);
		break;
	case FILE_PAGEOUT:
		munlock(w->file, SPAN);
		done = !madvise(w->file, SPAN, MADV_PAGEOUT);
		break;
	case FILE_PUNCH:
		done = !fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from * PAGE,
				  len);
		break;
	case FILE_TRUNCATE:
		done = truncate_file(w);
		break;
	case FILE_COPY:
		done = copy_file(w, from, n);
		break;
	default:
		if (sigsetjmp(beyond_end, 1))
			return;
		for (size_t i = from; i < from + n; i++)
			*(volatile uint64_t *)(w->file + i * PAGE) = i + 1;
	}
	happened(e, done);
	if (!sigsetjmp(beyond_end, 1))
		check_file(w->file, 0, PAGES);
}

static void on_bus(int sig)
{
	(void)sig;
	siglongjmp(beyond_end, 1);
}

static void work(int nr)
{
	struct sigaction act = { .sa_handler = on_bus };
	struct worker *w = calloc(1, sizeof(*w));

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGBUS, &act, NULL);
	w->seed = nr * 104729 + time(NULL);
	map_own(w);
	w->file = mmap(NULL, SPAN, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (w->file == MAP_FAILED)
		fail_setup("mmap of the file");
	while (!atomic_load(&shared->stop)) {
		enum event e = draw(w, EVENTS);

		if (e < FILE_LOCK)
			change_own(w, e);
		else
			change_file(w, e);
	}
	/* Whatever is locked goes with the process. */
	_exit(0);
}

static void take_and_compact(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; ; i++) {
		write_text(CGROUP "/memory.reclaim", "1M");
		if (i % 50 == 0)
			write_text("/proc/sys/vm/compact_memory", "1");
		usleep(2000);
	}
}

/* The number after @name in a file of such lines; -1 where there is none. */
static long number(const char *path, const char *name)
{
	static char text[65536];
	size_t len = strlen(name);
	char *p;

	if (!read_text(path, text, sizeof(text)))
		fail_setup("%s", path);
	for (p = text; p && *p; p = strchr(p, '\n'), p += !!p)
		if (!strncmp(p, name, len) && (p[len] == ' ' || p[len] == ':'))
			return strtol(p + len + 1, NULL, 10);
	return -1;
}

static bool enough(bool say)
{
	bool yes = true;

	for (int i = 0; i < EVENTS; i++) {
		unsigned long n = atomic_load(&shared->count[i]);

		if (say)
			ksft_print_msg("%s: %lu\n", event_names[i], n);
		yes &= n >= AT_LEAST;
	}
	for (size_t i = 0; i < ARRAY_SIZE(stats); i++) {
		long n = number("/proc/vmstat", stats[i].name) - stat_start[i];

		if (say)
			ksft_print_msg("%s: %ld\n", stats[i].name, n);
		yes &= n >= stats[i].least;
	}
	return yes;
}

/* Frames that carry the flag of a locked page. */
static long locked_frames(void)
{
	static uint64_t flags[8192];
	int fd = open("/proc/kpageflags", O_RDONLY);
	long count = 0;
	ssize_t n;

	if (fd < 0)
		fail_setup("/proc/kpageflags");
	while ((n = read(fd, flags, sizeof(flags))) > 0)
		for (ssize_t i = 0; i < n / 8; i++)
			count += flags[i] >> KPF_MLOCKED & 1;
	close(fd);
	return count;
}

/* What must be back where it began, or at 0. */
static const struct count {
	const char *file;
	const char *name;
	bool zero;
} counts[] = {
	{ "/proc/meminfo", "Mlocked" },
	{ "/proc/meminfo", "Unevictable" },
	{ "/proc/vmstat", "nr_mlock" },
	{ "/proc/vmstat", "nr_unevictable" },
	{ CGROUP "/memory.stat", "unevictable", true },
	{ CGROUP "/memory.stat", "active_anon", true },
	{ CGROUP "/memory.stat", "inactive_anon", true },
	{ CGROUP "/memory.stat", "anon", true },
	{ CGROUP "/memory.stat", "shmem", true },
};

static long count_start[ARRAY_SIZE(counts)];

/* How far @c is from where it should be. */
static long astray(size_t i)
{
	return number(counts[i].file, counts[i].name) - (counts[i].zero ? 0 : count_start[i]);
}

/* Statistics wait per CPU, pages in batches: let both be over, but do not wait for ever. */
static void settle(void)
{
	for (int i = 0; i < 100; i++) {
		bool good = true;

		settle_lru();
		write_text(CGROUP "/memory.reclaim", "4M");
		write_text("/proc/sys/vm/stat_refresh", "1");
		for (size_t k = 0; k < ARRAY_SIZE(counts); k++)
			good &= !astray(k);
		if (good)
			return;
		usleep(100000);
	}
}

/* What the cgroup has on its lists of file pages is what it has of file pages. */
static long file_lists_astray(void)
{
	static const char path[] = CGROUP "/memory.stat";

	return number(path, "active_file") + number(path, "inactive_file") +
	       number(path, "shmem") - number(path, "file");
}

static int run(int seconds)
{
	pid_t pids[WORKERS], reclaimer;
	time_t start = time(NULL), now;
	int status, bad = 0;

	for (int i = 0; i < WORKERS; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			write_text(CGROUP "/cgroup.procs", "0");
			work(i);
		}
	}
	reclaimer = fork();
	if (!reclaimer)
		take_and_compact();
	do {
		usleep(200000);
		now = time(NULL);
	} while (now < start + seconds || (!enough(false) && now < start + CAP_SECONDS));
	atomic_store(&shared->stop, true);
	for (int i = 0; i < WORKERS; i++) {
		waitpid(pids[i], &status, 0);
		bad += status != 0;
	}
	kill(reclaimer, SIGKILL);
	waitpid(reclaimer, &status, 0);
	ksft_print_msg("ran for %ld s, and %ld s until all had ended\n", (long)(now - start),
		       (long)(time(NULL) - now));
	return bad;
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 8, bad;
	long frames, left;
	char path[64];

	ksft_print_header();
	ksft_set_plan(4 + ARRAY_SIZE(counts));
	need_swap();
	enter_cgroup("lru_race", path, sizeof(path));
	write_text("/sys/fs/cgroup/cgroup.procs", "0");
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	file = memfd_create("lru_race", 0);
	if (shared == MAP_FAILED || file < 0 || ftruncate(file, SPAN))
		fail_setup("shared memory");
	atomic_store(&shared->stop, false);
	settle_lru();
	write_text("/proc/sys/vm/stat_refresh", "1");
	frames = locked_frames();
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		count_start[i] = number(counts[i].file, counts[i].name);
	for (size_t i = 0; i < ARRAY_SIZE(stats); i++)
		stat_start[i] = number("/proc/vmstat", stats[i].name);

	bad = run(seconds);
	ksft_test_result(enough(true), "everything has happened often enough\n");
	ksft_test_result(!bad, "no page held what it should not (%d of %d processes failed)\n", bad,
			 WORKERS);
	close(file);
	settle();
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		ksft_test_result(!astray(i), "%s in %s is back at %ld (off by %ld)\n",
				 counts[i].name, counts[i].file,
				 counts[i].zero ? 0 : count_start[i], astray(i));
	left = file_lists_astray();
	ksft_test_result(!left, "the lists of file pages hold them all (off by %ld)\n", left);
	left = locked_frames();
	ksft_test_result(left == frames, "no page stays locked (%ld, and %ld before)\n", left,
			 frames);
	rmdir(CGROUP);
	ksft_finished();
}

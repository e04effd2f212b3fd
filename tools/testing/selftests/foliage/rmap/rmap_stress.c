// SPDX-License-Identifier: GPL-2.0
/*
 * Everything that changes mappings, at once, and data that must survive it: forks three deep
 * with random copies on write, munmap, mremap, mprotect, MADV_FREE and exits, merging by KSM,
 * huge pages, while memory.reclaim takes pages away and compaction moves them.
 *
 * Afterwards the counts are back where they began: no page of the cgroup is mapped.
 *
 *	argument 1: seconds (default 10)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest.h"
#include "foliage.h"

#define SPAN	(6UL << 20)
#define PAGES	(SPAN / PAGE)
#define DEPTH	3
#define THP	"/sys/kernel/mm/transparent_hugepage/"

static char cgroup[256];
static time_t end;

/* What a process believes its memory to hold; 0 also stands for pages that may be freed. */
struct belief {
	char *p;
	uint32_t want[PAGES];
	bool lazy[PAGES];
	bool merge;	/* by KSM */
};

static unsigned int seed;

static unsigned int draw(unsigned int n)
{
	return rand_r(&seed) % n;
}

static void die(const char *what, size_t page, uint32_t got, uint32_t want)
{
	fprintf(stderr, "# pid %d: %s: page %zu holds %u, not %u\n", getpid(), what, page, got, want);
	_exit(1);
}

static void check(struct belief *b, const char *what)
{
	for (size_t i = 0; i < PAGES; i++) {
		uint32_t got = *(volatile uint32_t *)(b->p + i * PAGE);

		if (got == b->want[i])
			continue;
		if (!b->lazy[i] || got)
			die(what, i, got, b->want[i]);
		b->want[i] = 0;
	}
}

static void write_some(struct belief *b)
{
	size_t from = draw(PAGES), n = draw(4) ? draw(40) : draw(PAGES);

	for (size_t i = from; i < from + n && i < PAGES; i++) {
		/* Few values, so that KSM finds pages to merge. */
		b->want[i] = draw(3) ? 1 + draw(5) : 1 + draw(1 << 30);
		b->lazy[i] = false;
		*(volatile uint32_t *)(b->p + i * PAGE) = b->want[i];
	}
}

static void free_lazily(struct belief *b)
{
	size_t from = draw(PAGES), n = draw(PAGES - from);

	/* KSM and MADV_FREE together lose data in mm/ksm.c, with any reverse map. */
	if (b->merge || madvise(b->p + from * PAGE, n * PAGE, MADV_FREE))
		return;
	for (size_t i = from; i < from + n; i++)
		b->lazy[i] = true;
}

static void drop(struct belief *b)
{
	size_t from = draw(PAGES), n = draw(PAGES - from);

	madvise(b->p + from * PAGE, n * PAGE, MADV_DONTNEED);
	for (size_t i = from; i < from + n; i++) {
		b->want[i] = 0;
		b->lazy[i] = false;
	}
}

static void move(struct belief *b)
{
	char *to = mmap(NULL, SPAN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (to == MAP_FAILED)
		return;
	to = mremap(b->p, SPAN, SPAN, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	if (to != MAP_FAILED)
		b->p = to;
}

static void protect(struct belief *b)
{
	size_t from = draw(PAGES), n = 1 + draw(PAGES - from);

	mprotect(b->p + from * PAGE, n * PAGE, PROT_READ);
	mprotect(b->p + from * PAGE, n * PAGE, PROT_READ | PROT_WRITE);
}

static void live(struct belief *b, int depth);

static void fork_one(struct belief *b, int depth)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return;
	if (!pid) {
		seed += 7919 * getpid();
		live(b, depth + 1);
		_exit(0);
	}
	for (int i = 0; i < 3; i++)
		write_some(b);
	check(b, "beside a child");
	if (waitpid(pid, &status, 0) != pid || status)
		_exit(1);
}

static void live(struct belief *b, int depth)
{
	for (int i = 0; i < 12 && time(NULL) < end; i++) {
		switch (draw(9)) {
		case 0:
			free_lazily(b);
			break;
		case 1:
			drop(b);
			break;
		case 2:
			move(b);
			break;
		case 3:
			protect(b);
			break;
		case 4:
		case 5:
			if (depth < DEPTH)
				fork_one(b, depth);
			break;
		default:
			write_some(b);
		}
		check(b, "after a change");
	}
}

static void family(int nr)
{
	struct belief *b = calloc(1, sizeof(*b));

	enter_cgroup("rmap_stress", cgroup, sizeof(cgroup));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	seed = nr * 104729 + time(NULL);
	while (time(NULL) < end) {
		b->p = mmap(NULL, SPAN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (b->p == MAP_FAILED)
			_exit(1);
		memset(b->want, 0, sizeof(b->want));
		memset(b->lazy, 0, sizeof(b->lazy));
		b->merge = nr % 2;
		madvise(b->p, SPAN, b->merge ? MADV_MERGEABLE : MADV_HUGEPAGE);
		live(b, 0);
		munmap(b->p, SPAN);
	}
	_exit(0);
}

static void reclaim(void)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/memory.reclaim", cgroup);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; ; i++) {
		write_text(path, "2M");
		if (i % 20 == 0)
			write_text("/proc/sys/vm/compact_memory", "1");
		usleep(1000);
	}
}

/* A number from memory.stat. */
static long stat_of(const char *name)
{
	static char text[16384];
	char path[300], *p;

	snprintf(path, sizeof(path), "%s/memory.stat", cgroup);
	if (!read_text(path, text, sizeof(text)))
		fail_setup("%s", path);
	for (p = text; p && *p; p = strchr(p, '\n'), p += !!p)
		if (!strncmp(p, name, strlen(name)) && p[strlen(name)] == ' ')
			return strtol(p + strlen(name), NULL, 10);
	return -1;
}

/*
 * Statistics are folded now and then, and who frees the last slot of a page in the swap cache
 * leaves a page that is locked to reclaim: so reclaim, and wait, but not for ever.
 */
static long settled(const char *name, long floor)
{
	char path[300];
	long v = stat_of(name);

	snprintf(path, sizeof(path), "%s/memory.reclaim", cgroup);
	for (int i = 0; i < 50 && v > floor; i++) {
		settle_lru();
		write_text(path, "1M");
		usleep(100000);
		v = stat_of(name);
	}
	return v;
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 10, status, bad = 0;
	static const char * const sizes[] = { "64", "128", "512", "2048" };
	static const char * const counts[] = { "anon", "anon_thp", "swapcached" };
	pid_t pids[4], reclaimer;
	char path[96];

	ksft_print_header();
	ksft_set_plan(1 + ARRAY_SIZE(counts));
	need_swap();
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		snprintf(path, sizeof(path), THP "hugepages-%skB/enabled", sizes[i]);
		write_text(path, "madvise");
	}
	write_text("/sys/kernel/mm/ksm/pages_to_scan", "2000");
	write_text("/sys/kernel/mm/ksm/sleep_millisecs", "5");
	write_text("/sys/kernel/mm/ksm/run", "1");
	/* Its children only: what this process touched in there would stay charged to it. */
	snprintf(cgroup, sizeof(cgroup), "/sys/fs/cgroup/rmap_stress");
	end = time(NULL) + seconds;

	for (int i = 0; i < 4; i++) {
		pids[i] = fork();
		if (!pids[i])
			family(i);
	}
	reclaimer = fork();
	if (!reclaimer)
		reclaim();
	for (int i = 0; i < 4; i++) {
		waitpid(pids[i], &status, 0);
		bad += status != 0;
	}
	kill(reclaimer, SIGKILL);
	waitpid(reclaimer, &status, 0);
	write_text("/sys/kernel/mm/ksm/run", "2");
	ksft_test_result(!bad, "no page held what it should not (%d of 4 families failed)\n", bad);
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		long v = settled(counts[i], 0);

		ksft_test_result(v == 0, "%s is 0 afterwards (%ld)\n", counts[i], v);
	}
	leave_cgroup(cgroup);
	ksft_finished();
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that KSM has merged are found through the pages' own list of addresses and not through one
 * anon_vma. They are swapped out, moved, copied on write and unmapped, alone and all at once, in
 * several processes: everybody keeps his data, and when all is over the counts are what they were.
 *
 * MADV_FREE is left out: together with it mm/ksm.c loses data, with any reverse map.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "foliage.h"

#ifndef MADV_UNMERGEABLE
#define MADV_UNMERGEABLE 13
#endif

#define KSM		"/sys/kernel/mm/ksm/"
#define PM_SWAP		(1ULL << 62)
#define PM_PRESENT	(1ULL << 63)

#define PAGES	256UL
#define SPAN	(PAGES * PAGE)
#define KINDS	64	/* of content, in the quiet tests */
#define FAMILIES 5
#define SECONDS	6

static char cgroup[256];

static long number(const char *path)
{
	char text[64];

	if (!read_text(path, text, sizeof(text)))
		fail_setup("%s", path);
	return strtol(text, NULL, 10);
}

/* A line of /proc/vmstat, what processors have not yet added up included. */
static long vm_count(const char *name)
{
	static char text[32768];
	size_t len = strlen(name);
	char *p = text;

	write_text("/proc/sys/vm/stat_refresh", "1");
	if (!read_text("/proc/vmstat", text, sizeof(text)))
		fail_setup("/proc/vmstat");
	while (p && (strncmp(p, name, len) || p[len] != ' '))
		p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL;
	return p ? strtol(p + len, NULL, 10) : 0;
}

static void reclaim_some(const char *how)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/memory.reclaim", cgroup);
	write_text(path, how);
}

/* Reclaim decides by statistics that may be two seconds old; who reads them makes them new. */
static void refresh_stat(void)
{
	static char text[16384];
	char path[300];

	snprintf(path, sizeof(path), "%s/memory.stat", cgroup);
	read_text(path, text, sizeof(text));
}

static char *mergeable(void)
{
	char *p = mmap(NULL, SPAN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || madvise(p, SPAN, MADV_MERGEABLE))
		fail_setup("madvise");
	madvise(p, SPAN, MADV_NOHUGEPAGE);
	return p;
}

static char *filled(void)
{
	char *p = mergeable();

	for (size_t i = 0; i < PAGES; i++)
		*(uint32_t *)(p + i * PAGE) = 100 + i % KINDS;
	return p;
}

static size_t wrong(const char *p)
{
	size_t n = 0;

	for (size_t i = 0; i < PAGES; i++)
		n += *(volatile uint32_t *)(p + i * PAGE) != 100 + i % KINDS;
	return n;
}

static size_t count(const char *p, uint64_t bit)
{
	uint64_t map[PAGES];
	int fd = open("/proc/self/pagemap", O_RDONLY);
	size_t n = 0;

	if (pread(fd, map, sizeof(map), (uintptr_t)p / PAGE * 8) != sizeof(map))
		fail_setup("pagemap");
	close(fd);
	for (size_t i = 0; i < PAGES; i++)
		n += !!(map[i] & bit);
	return n;
}

static size_t merged(const char *p)
{
	size_t n = 0;

	for (size_t i = 0; i < PAGES; i++) {
		uint64_t pfn = frame_of(p + i * PAGE);

		n += pfn && frame_flags(pfn) & KPF(KPF_KSM);
	}
	return n;
}

static size_t wait_merged(const char *p)
{
	size_t n = merged(p);

	for (int i = 0; i < 150 && n < PAGES; i++) {
		usleep(100000);
		n = merged(p);
	}
	return n;
}

static void ksm_on(const char *sharing)
{
	/* How often a page may be shared can be changed only while none is. */
	if (!write_text(KSM "run", "2") || !write_text(KSM "max_page_sharing", sharing))
		fail_setup(KSM);
	write_text(KSM "smart_scan", "0");
	write_text(KSM "use_zero_pages", "0");
	write_text(KSM "pages_to_scan", "2000");
	write_text(KSM "sleep_millisecs", "2");
	write_text(KSM "run", "1");
}

FIXTURE(ksm) {
	char *p, *q;
	pid_t child;
	int to, from;
};

/* Another process with the same contents. At each byte it looks at them and answers. */
static void child_life(int in, int out)
{
	char *p = filled(), c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(in, &c, 1) == 1) {
		if (c == 'm')
			c = wait_merged(p) == PAGES ? 'y' : 'n';
		else if (c == 's')
			c = count(p, PM_SWAP) == PAGES ? 'y' : 'n';
		else if (c == 'w')
			memset(p, 1, SPAN), c = 'y';
		else
			c = wrong(p) ? 'n' : 'y';
		if (write(out, &c, 1) != 1)
			break;
	}
	_exit(0);
}

#define ask(what) ({				\
	char _c = what;				\
						\
	if (write(self->to, &_c, 1) != 1 ||	\
	    read(self->from, &_c, 1) != 1)	\
		_c = '?';			\
	_c;					\
})

FIXTURE_SETUP(ksm)
{
	int to[2], from[2];

	if (access(KSM "run", W_OK))
		SKIP(return, "no CONFIG_KSM");
	need_swap();
	enter_cgroup("rmap_ksm", cgroup, sizeof(cgroup));
	ksm_on("256");
	if (pipe(to) || pipe(from))
		fail_setup("pipe");
	self->to = to[1];
	self->from = from[0];
	self->child = fork();
	if (!self->child) {
		close(to[1]);
		child_life(to[0], from[1]);
	}
	close(from[1]);
	self->p = filled();
	self->q = filled();
	ASSERT_EQ(wait_merged(self->p), PAGES);
	ASSERT_EQ(wait_merged(self->q), PAGES);
	ASSERT_EQ(ask('m'), 'y');
}

FIXTURE_TEARDOWN(ksm)
{
	close(self->to);
	close(self->from);
	waitpid(self->child, NULL, 0);
	munmap(self->p, SPAN);
	munmap(self->q, SPAN);
	leave_cgroup(cgroup);
}

TEST_F(ksm, swap)
{
	write_text(KSM "run", "0");
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 50; i++) {
			settle_lru();
			refresh_stat();
			reclaim_some("4M swappiness=200");
			if (count(self->p, PM_SWAP) == PAGES && count(self->q, PM_SWAP) == PAGES &&
			    ask('s') == 'y')
				break;
		}
		EXPECT_EQ(count(self->p, PM_SWAP), PAGES);
		EXPECT_EQ(count(self->q, PM_SWAP), PAGES);
		EXPECT_EQ(ask('s'), 'y');
		EXPECT_EQ(wrong(self->p), 0);
		EXPECT_EQ(ask('?'), 'y');
		EXPECT_EQ(wrong(self->q), 0);
	}
}

/* All mappings follow the page to the other node. */
TEST_F(ksm, migrate)
{
	void *page[KINDS];
	int node[KINDS], status[KINDS];
	size_t moved = 0;

	write_text(KSM "run", "0");
	settle_lru();
	for (int target = 1; target >= 0; target--) {
		for (size_t i = 0; i < KINDS; i++) {
			page[i] = self->p + i * PAGE;
			node[i] = target;
		}
		ASSERT_GE(syscall(SYS_move_pages, 0, KINDS, page, node, status,
				  MPOL_MF_MOVE_ALL), 0);
		for (size_t i = 0; i < KINDS; i++)
			moved += status[i] == target;
		EXPECT_EQ(merged(self->p), PAGES);
		EXPECT_EQ(merged(self->q), PAGES);
		EXPECT_EQ(ask('m'), 'y');
		EXPECT_EQ(count(self->p, PM_PRESENT), PAGES);
		EXPECT_EQ(wrong(self->p), 0);
		EXPECT_EQ(wrong(self->q), 0);
		EXPECT_EQ(ask('?'), 'y');
	}
	EXPECT_EQ(moved, 2 * KINDS);
}

/* Who writes has a copy, the others their page; who leaves takes nothing along. */
TEST_F(ksm, copies)
{
	long before = vm_count("cow_ksm");

	EXPECT_EQ(ask('w'), 'y');
	EXPECT_GE(vm_count("cow_ksm") - before, (long)PAGES);
	EXPECT_EQ(wrong(self->p), 0);
	for (size_t i = 0; i < PAGES; i += 2)
		*(uint32_t *)(self->p + i * PAGE) = i;
	EXPECT_EQ(wrong(self->q), 0);
	ASSERT_EQ(munmap(self->q, SPAN), 0);
	for (size_t i = 0; i < PAGES; i++)
		EXPECT_EQ(*(uint32_t *)(self->p + i * PAGE), i % 2 ? 100 + i % KINDS : i);
}

/* --- all at once ------------------------------------------------------------------------ */

/* What a process believes its memory to hold. */
struct belief {
	char *p;
	unsigned int seed;
	uint32_t want[PAGES];
};

/* Shared with all of them: the first process has seen enough. */
static volatile bool *over;

static unsigned int draw(struct belief *b, unsigned int n)
{
	return rand_r(&b->seed) % n;
}

static void check(struct belief *b, const char *when)
{
	for (size_t i = 0; i < PAGES; i++) {
		uint32_t got = *(volatile uint32_t *)(b->p + i * PAGE);

		if (got == b->want[i])
			continue;
		fprintf(stderr, "# pid %d: %s: page %zu holds %u, not %u\n", getpid(), when, i, got,
			b->want[i]);
		_exit(1);
	}
}

static void write_some(struct belief *b)
{
	size_t from = draw(b, PAGES), n = draw(b, 4) ? draw(b, 40) : PAGES;

	for (size_t i = from; i < from + n && i < PAGES; i++) {
		b->want[i] = 1 + draw(b, 5);
		*(volatile uint32_t *)(b->p + i * PAGE) = b->want[i];
	}
}

static void drop(struct belief *b)
{
	size_t from = draw(b, PAGES), n = draw(b, PAGES - from);

	madvise(b->p + from * PAGE, n * PAGE, MADV_DONTNEED);
	memset(b->want + from, 0, n * sizeof(*b->want));
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

static void unmerge(struct belief *b)
{
	size_t from = draw(b, PAGES), n = 1 + draw(b, PAGES - from);

	madvise(b->p + from * PAGE, n * PAGE, MADV_UNMERGEABLE);
	madvise(b->p + from * PAGE, n * PAGE, MADV_MERGEABLE);
}

static void migrate(struct belief *b)
{
	void *pages[PAGES];
	int nodes[PAGES], status[PAGES], target = draw(b, 2);

	for (size_t i = 0; i < PAGES; i++) {
		pages[i] = b->p + i * PAGE;
		nodes[i] = target;
	}
	syscall(SYS_move_pages, 0, PAGES, pages, nodes, status, MPOL_MF_MOVE_ALL);
}

static void fork_one(struct belief *b)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return;
	if (!pid) {
		b->seed += getpid();
		check(b, "just forked");
		for (int i = 0; i < 4; i++) {
			write_some(b);
			usleep(20000);
			check(b, "in a child");
		}
		_exit(0);
	}
	write_some(b);
	check(b, "beside a child");
	if (waitpid(pid, &status, 0) != pid || status)
		_exit(1);
}

static void live(struct belief *b)
{
	switch (draw(b, 8)) {
	case 0:
		drop(b);
		break;
	case 1:
		move(b);
		break;
	case 2:
		unmerge(b);
		break;
	case 3:
		migrate(b);
		break;
	case 4:
		fork_one(b);
		break;
	default:
		write_some(b);
	}
	check(b, "after a change");
	/* Time for KSM to see pages twice that have not changed in between. */
	usleep(30000);
	check(b, "after a rest");
}

static pid_t family(int nr)
{
	struct belief *b;
	pid_t pid = fork();

	if (pid)
		return pid;
	enter_cgroup("rmap_ksm", cgroup, sizeof(cgroup));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	b = calloc(1, sizeof(*b));
	b->seed = nr * 104729 + time(NULL);
	while (!*over) {
		b->p = mergeable();
		memset(b->want, 0, sizeof(b->want));
		for (int i = 0; i < 20 && !*over; i++)
			live(b);
		munmap(b->p, SPAN);
	}
	_exit(0);
}

static pid_t reclaimer(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 0; ; i++) {
		reclaim_some("256K swappiness=200");
		if (i % 50 == 0)
			write_text("/proc/sys/vm/compact_memory", "1");
		usleep(5000);
	}
}

/* Others come and go, and frees are put off for a while: so wait, but not for ever. */
static long settled(long (*get)(void), long most)
{
	for (int i = 0; i < 50 && get() > most; i++) {
		settle_lru();
		usleep(100000);
	}
	return get();
}

static long anon_pages(void)
{
	return vm_count("nr_anon_pages");
}

static long pages_shared(void)
{
	return number(KSM "pages_shared") + number(KSM "pages_sharing");
}

static const char * const events[] = { "cow_ksm", "pswpout", "pgmigrate_success" };

/* Each of the events a hundred times, and a hundred pages merged at a time. */
static bool enough(const long *before, long most)
{
	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		if (vm_count(events[i]) - before[i] <= 100)
			return false;
	return most > 100;
}

TEST(everything_at_once)
{
	long before[ARRAY_SIZE(events)], anon, most = 0;
	pid_t pids[FAMILIES], helper;
	time_t end;
	int status;

	if (access(KSM "run", W_OK))
		SKIP(return, "no CONFIG_KSM");
	need_swap();
	/* Children only are in it: this process's memory shall not be reclaimed. */
	enter_cgroup("rmap_ksm", cgroup, sizeof(cgroup));
	write_text("/sys/fs/cgroup/cgroup.procs", "0");
	/* Few sharers a page, so that several pages have the same content. */
	ksm_on("8");
	EXPECT_EQ(pages_shared(), 0);
	anon = anon_pages();
	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		before[i] = vm_count(events[i]);
	over = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(over, MAP_FAILED);
	end = time(NULL) + SECONDS;
	for (int i = 0; i < FAMILIES; i++)
		pids[i] = family(i);
	helper = reclaimer();
	/* A slow machine has more time for it. */
	while (time(NULL) < end || (!enough(before, most) && time(NULL) < end + 120)) {
		if (pages_shared() > most)
			most = pages_shared();
		usleep(50000);
	}
	*over = true;
	for (int i = 0; i < FAMILIES; i++) {
		ASSERT_EQ(waitpid(pids[i], &status, 0), pids[i]);
		EXPECT_EQ(status, 0);
	}
	kill(helper, SIGKILL);
	waitpid(helper, NULL, 0);
	EXPECT_GT(most, 100);
	for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
		long n = vm_count(events[i]) - before[i];

		TH_LOG("%s: %ld", events[i], n);
		EXPECT_GT(n, 100);
	}
	TH_LOG("at most %ld pages and sharers", most);
	write_text(KSM "run", "2");
	EXPECT_EQ(settled(pages_shared, 0), 0);
	/* A page counted wrong each time would be thousands. */
	EXPECT_LT(settled(anon_pages, anon + 40), anon + 41);
	EXPECT_GT(anon_pages(), anon - 40);
	munmap((void *)over, PAGE);
	leave_cgroup(cgroup);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages of hugetlbfs whose page tables processes share.
 *
 * A shared mapping that covers a whole gigabyte, aligned, has its PMD table in common with the
 * other processes that map the same. The reverse map finds each of them, and must take a mapping
 * away by leaving the common table, the last one excepted. The mapping is large, but few pages of
 * it are used, so that it takes little memory.
 */
#define _GNU_SOURCE
#include <fcntl.h>
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

#include "harness.h"
#include "foliage.h"

#ifndef MADV_HWPOISON
#define MADV_HWPOISON	100
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

#define GIGA	(1UL << 30)
#define NODE	"/sys/devices/system/node/node%d"
#define NODES	2
#define PER_NODE "24"	/* huge pages, so that all that are used can move */
#define USED	16UL	/* pages, spread over the mapping */
#define STRIDE	(GIGA / USED)
#define SHARERS	2	/* children */
#define SECONDS	6

static uint64_t *word(char *p, size_t page, size_t nr)
{
	/* Several in each page, in different base pages. */
	return (uint64_t *)(p + page * STRIDE + nr * 37 * PAGE);
}

static uint64_t value(size_t page, size_t nr)
{
	return 0x9000000 + page * 100 + nr;
}

static void fill(char *p)
{
	for (size_t i = 0; i < USED; i++)
		for (size_t nr = 0; nr < 10; nr++)
			*word(p, i, nr) = value(i, nr);
}

static size_t wrong_page(char *p, size_t i)
{
	size_t n = 0;

	for (size_t nr = 0; nr < 10; nr++)
		n += *(volatile uint64_t *)word(p, i, nr) != value(i, nr);
	return n;
}

static size_t wrong(char *p)
{
	size_t n = 0;

	for (size_t i = 0; i < USED; i++)
		n += wrong_page(p, i);
	return n;
}

/* How many entries map the page: a table is counted once, whoever shares it. */
static uint64_t mappings(char *p, size_t page)
{
	uint64_t n, pfn = frame_of(p + page * STRIDE);
	int fd = open("/proc/kpagecount", O_RDONLY);

	if (fd < 0 || pread(fd, &n, 8, pfn * 8) != 8)
		fail_setup("/proc/kpagecount");
	close(fd);
	return n;
}

static sigjmp_buf fault;

static void on_fault(int sig)
{
	siglongjmp(fault, 1);
}

static bool dies(volatile char *p, int sig, bool write)
{
	volatile bool died = true;

	signal(sig, on_fault);
	if (!sigsetjmp(fault, 1)) {
		if (write)
			*p = *p;
		else
			(void)*p;
		died = false;
	}
	signal(sig, SIG_DFL);
	return died;
}

/* A child does what it is told, a letter at a time, and says yes or no. */
static bool obey(char *p, char c)
{
	switch (c) {
	case 'c':
		return !wrong(p);
	case 's':
		return !wrong(p) && mappings(p, 0) == 1 && mappings(p, USED - 1) == 1;
	case 'u':
		return !munmap(p, GIGA);
	case 'r':
		return !mprotect(p, GIGA, PROT_READ) && dies(p, SIGSEGV, true) && !wrong(p);
	case 'w':
		return !mprotect(p, GIGA, PROT_READ | PROT_WRITE) && !dies(p, SIGSEGV, true);
	case 'd':
		for (size_t i = 0; i < USED; i++)
			if (i == 3 ? !dies(p + i * STRIDE, SIGBUS, false) : wrong_page(p, i))
				return false;
		return true;
	default:
		return false;
	}
}

struct child {
	pid_t pid;
	int to, from;
};

static void child_start(struct child *child, char *p)
{
	int to[2], from[2];
	char c;

	if (pipe(to) || pipe(from))
		fail_setup("pipe");
	child->to = to[1];
	child->from = from[0];
	child->pid = fork();
	if (child->pid) {
		close(to[0]);
		close(from[1]);
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(to[1]);
	while (read(to[0], &c, 1) == 1) {
		c = obey(p, c) ? 'y' : 'n';
		if (write(from[1], &c, 1) != 1)
			break;
	}
	_exit(0);
}

static bool ask(struct child *child, char c)
{
	return write(child->to, &c, 1) == 1 && read(child->from, &c, 1) == 1 && c == 'y';
}

static bool pages_reserve(const char *pages)
{
	char path[128], text[32];
	bool enough = true;

	for (int node = 0; node < NODES; node++) {
		snprintf(path, sizeof(path), NODE "/hugepages/hugepages-2048kB/nr_hugepages", node);
		enough &= write_text(path, pages) && read_text(path, text, sizeof(text)) &&
			  atoi(text) >= atoi(pages);
	}
	return enough;
}

static char *map_gigabyte(int fd)
{
	char *at = mmap(NULL, 2 * GIGA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			-1, 0);

	if (at == MAP_FAILED)
		return at;
	at = (char *)(((uintptr_t)at + GIGA - 1) & -GIGA);
	return mmap(at, GIGA, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
		    fd, 0);
}

FIXTURE(hugetlb) {
	int fd;
	char *p;
	struct child child[SHARERS];
};

FIXTURE_SETUP(hugetlb)
{
	if (!pages_reserve(PER_NODE)) {
		pages_reserve("0");
		SKIP(return, "no " PER_NODE " huge pages on each of two nodes");
	}
	self->fd = memfd_create("rmap_hugetlb", MFD_HUGETLB);
	if (self->fd < 0 || ftruncate(self->fd, GIGA))
		SKIP(return, "no hugetlbfs");
	self->p = map_gigabyte(self->fd);
	ASSERT_NE(self->p, MAP_FAILED);
	fill(self->p);
	for (int i = 0; i < SHARERS; i++)
		child_start(&self->child[i], self->p);
	for (int i = 0; i < SHARERS; i++)
		EXPECT_TRUE(ask(&self->child[i], 's'));
	/* Without this nothing of what follows would be tested. */
	for (size_t i = 0; i < USED; i++)
		ASSERT_EQ(mappings(self->p, i), 1);
}

FIXTURE_TEARDOWN(hugetlb)
{
	for (int i = 0; i < SHARERS; i++) {
		close(self->child[i].to);
		close(self->child[i].from);
		/* Its brothers still hold the pipe open. */
		kill(self->child[i].pid, SIGKILL);
		waitpid(self->child[i].pid, NULL, 0);
	}
	munmap(self->p, GIGA);
	close(self->fd);
	pages_reserve("0");
}

static size_t move_all(char *p, int node)
{
	void *pages[USED];
	int nodes[USED], status[USED];
	size_t n = 0;

	for (size_t i = 0; i < USED; i++) {
		pages[i] = p + i * STRIDE;
		nodes[i] = node;
		status[i] = -1;
		/* Who has left the table has no mapping to name the page by. */
		(void)*(volatile char *)pages[i];
	}
	syscall(SYS_move_pages, 0, USED, pages, nodes, status, MPOL_MF_MOVE_ALL);
	for (size_t i = 0; i < USED; i++)
		n += status[i] == node;
	return n;
}

TEST_F(hugetlb, migrate)
{
	for (int round = 0; round < 4; round++) {
		ASSERT_EQ(move_all(self->p, !(round % 2)), USED);
		if (round % 2)
			EXPECT_EQ(wrong(self->p), 0);
		for (int i = 0; i < SHARERS; i++)
			EXPECT_TRUE(ask(&self->child[i], 'c'));
		EXPECT_EQ(wrong(self->p), 0);
		/* They have come together again. */
		EXPECT_EQ(mappings(self->p, 0), 1);
	}
}

TEST_F(hugetlb, mbind)
{
	unsigned long node;
	void *page = self->p + 5 * STRIDE;
	int status;

	for (int target = 1; target >= 0; target--) {
		node = 1UL << target;
		ASSERT_EQ(syscall(SYS_mbind, self->p, GIGA, MPOL_BIND, &node, 8 * sizeof(node),
				  MPOL_MF_MOVE_ALL | MPOL_MF_STRICT), 0);
		EXPECT_EQ(wrong(self->p), 0);
		for (int i = 0; i < SHARERS; i++)
			EXPECT_TRUE(ask(&self->child[i], 'c'));
		ASSERT_EQ(syscall(SYS_move_pages, 0, 1, &page, NULL, &status, 0), 0);
		EXPECT_EQ(status, target);
	}
}

TEST_F(hugetlb, unmap_in_one)
{
	EXPECT_TRUE(ask(&self->child[0], 'u'));
	EXPECT_EQ(wrong(self->p), 0);
	EXPECT_TRUE(ask(&self->child[1], 's'));
	EXPECT_EQ(move_all(self->p, 1), USED);
	EXPECT_TRUE(ask(&self->child[1], 'c'));
	EXPECT_EQ(wrong(self->p), 0);
}

/* Who has another protection has a table of his own, whose entries are moved one by one. */
TEST_F(hugetlb, protect_in_one)
{
	EXPECT_TRUE(ask(&self->child[0], 'r'));
	EXPECT_EQ(wrong(self->p), 0);
	EXPECT_EQ(mappings(self->p, 0), 2);
	for (int node = 1; node >= 0; node--) {
		EXPECT_EQ(move_all(self->p, node), USED);
		EXPECT_TRUE(ask(&self->child[0], 'r'));
		EXPECT_TRUE(ask(&self->child[1], 'c'));
		EXPECT_EQ(wrong(self->p), 0);
	}
	EXPECT_TRUE(ask(&self->child[0], 'w'));
	EXPECT_TRUE(ask(&self->child[0], 'c'));
	EXPECT_EQ(wrong(self->p), 0);
}

TEST_F(hugetlb, soft_offline)
{
	uint64_t before = frame_of(self->p + 3 * STRIDE);

	ASSERT_EQ(madvise(self->p + 3 * STRIDE, HUGE, MADV_SOFT_OFFLINE), 0);
	EXPECT_EQ(wrong(self->p), 0);
	EXPECT_NE(frame_of(self->p + 3 * STRIDE), before);
	for (int i = 0; i < SHARERS; i++)
		EXPECT_TRUE(ask(&self->child[i], 'c'));
}

/* Who reports the error of a page that it maps may be told of it at once, by the signal. */
static bool poison(char *p)
{
	signal(SIGBUS, on_fault);
	if (!sigsetjmp(fault, 1) && madvise(p, PAGE, MADV_HWPOISON))
		return false;
	signal(SIGBUS, SIG_DFL);
	return true;
}

/* All of one page is lost to everybody, and nothing else. */
TEST_F(hugetlb, memory_failure)
{
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_LATE, 0, 0);
	ASSERT_TRUE(poison(self->p + 3 * STRIDE));
	EXPECT_TRUE(obey(self->p, 'd'));
	for (int i = 0; i < SHARERS; i++)
		EXPECT_TRUE(ask(&self->child[i], 'd'));
}

/* --- the race --------------------------------------------------------------------------- */

/* Each process counts up a word of its own in each page while the pages move under it. */
static void count_forever(int fd, char *p, int nr, atomic_bool *stop)
{
	uint64_t want[USED];
	unsigned int seed = nr;

	for (size_t i = 0; i < USED; i++)
		want[i] = value(i, nr);
	for (int round = 1; !atomic_load(stop); round++) {
		for (size_t i = 0; i < USED; i++) {
			volatile uint64_t *at = word(p, i, nr);

			if (*at != want[i])
				_exit(1);
			*at = ++want[i];
		}
		if (rand_r(&seed) % 20)
			continue;
		if (round % 2) {
			mprotect(p, GIGA, PROT_READ);
			mprotect(p, GIGA, PROT_READ | PROT_WRITE);
		} else if (mmap(p, GIGA, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0) != p) {
			_exit(2);
		}
	}
	for (size_t i = 0; i < USED; i++)
		if (*(volatile uint64_t *)word(p, i, nr) != want[i])
			_exit(3);
	_exit(0);
}

TEST_F(hugetlb, race)
{
	atomic_bool *stop = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
				 -1, 0);
	time_t end = time(NULL) + SECONDS;
	size_t moved = 0, counted = 0;
	pid_t pids[3];
	int status;

	for (int i = 0; i < 3; i++) {
		pids[i] = fork();
		if (!pids[i])
			count_forever(self->fd, self->p, i + 1, stop);
	}
	for (int node = 1; time(NULL) < end || (moved <= USED && time(NULL) < end + 90); node = !node) {
		moved += move_all(self->p, node);
		usleep(1000);
	}
	atomic_store(stop, true);
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(waitpid(pids[i], &status, 0), pids[i]);
		EXPECT_EQ(status, 0);
	}
	for (size_t i = 0; i < USED; i++) {
		for (size_t nr = 0; nr < 10; nr++) {
			uint64_t v = *word(self->p, i, nr);

			/* Words 1 to 3 were counted up. */
			if (nr >= 1 && nr <= 3) {
				counted += v - value(i, nr);
				continue;
			}
			EXPECT_EQ(v, value(i, nr));
		}
	}
	TH_LOG("%zu pages moved, %zu writes", moved, counted);
	EXPECT_GT(moved, USED);
	EXPECT_GT(counted, 1000);
}

TEST_HARNESS_MAIN

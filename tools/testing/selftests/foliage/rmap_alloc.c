// SPDX-License-Identifier: GPL-2.0
/*
 * Every allocation of the anon_vma forest fails once, at every point of every operation that
 * makes some: the call must fail cleanly, memory must hold what it held, the next try must
 * succeed, and nothing may be left behind.
 *
 * Needs CONFIG_FAILSLAB and CONFIG_FAULT_INJECTION_DEBUG_FS, which the debug kernel has. With
 * CONFIG_DEBUG_KMEMLEAK the kernel itself says what nobody refers to any more.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "foliage.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define FAILSLAB	"/sys/kernel/debug/failslab/"
#define SLAB		"/sys/kernel/slab/"
#define KMEMLEAK	"/sys/kernel/debug/kmemleak"
#define PAGES		16
#define ROUNDS		20

static char *p;

/* Of what is reported, only objects that these functions allocated or linked are ours. */
static const char * const suspects[] = { "anon_vma", "vm_area" };

/* One object of the report: from its line to the next one's. NULL behind the last. */
static char *next_object(char **report)
{
	char *at = *report ? strstr(*report, "unreferenced object") : NULL, *next;

	if (!at)
		return NULL;
	next = strstr(at + 1, "unreferenced object");
	if (next)
		next[-1] = 0;
	*report = next;
	return at;
}

/* Print the objects reported that are ours; how many. */
static int leaks_reported(void)
{
	static char text[1 << 20];
	char *report = text, *object;
	int n = 0;

	if (!read_text(KMEMLEAK, text, sizeof(text)))
		fail_setup(KMEMLEAK);
	while ((object = next_object(&report))) {
		bool ours = false;

		for (size_t i = 0; i < ARRAY_SIZE(suspects); i++)
			ours |= !!strstr(object, suspects[i]);
		n += ours;
		for (char *line = strtok(object, "\n"); ours && line; line = strtok(NULL, "\n"))
			printf("# %s\n", line);
	}
	return n;
}

/*
 * The first scan takes a sum of each object that nothing refers to, the second reports those whose
 * sum is still the same; and none that is younger than five seconds. False if kmemleak is off.
 */
static bool leaks_scan(void)
{
	if (!write_text(KMEMLEAK, "scan"))
		return false;
	sleep(6);
	return write_text(KMEMLEAK, "scan");
}

static long objects(const char *slab)
{
	char path[96], text[64];

	snprintf(path, sizeof(path), SLAB "%s/shrink", slab);
	write_text(path, "1");
	snprintf(path, sizeof(path), SLAB "%s/objects", slab);
	if (!read_text(path, text, sizeof(text)))
		fail_setup("%s", path);
	return atol(text);
}

/* Let the @n-th allocation from now on fail; what is left of @n after @op says if there was one. */
static bool failing(int n, int (*op)(void), int *result)
{
	char text[16];
	int fd = open("/proc/thread-self/fail-nth", O_RDWR);
	int left;

	snprintf(text, sizeof(text), "%d", n);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail_setup("fail-nth");
	*result = op();
	memset(text, 0, sizeof(text));
	if (pread(fd, text, sizeof(text) - 1, 0) < 0)
		fail_setup("fail-nth");
	left = atoi(text);
	if (pwrite(fd, "0", 1, 0) < 0)
		fail_setup("fail-nth");
	close(fd);
	return !left;
}

static int op_fork(void)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -1;
	if (!pid) {
		p[0]++;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return 0;
}

/* Splits the VMA in three. */
static int op_mprotect(void)
{
	return mprotect(p + 4 * PAGE, 4 * PAGE, PROT_READ);
}

static char *fresh;

/* The first page of a VMA, which needs an anon_vma. */
static int op_fault(void)
{
	return madvise(fresh, PAGE, MADV_POPULATE_WRITE);
}

static size_t wrong(void)
{
	size_t n = 0;

	for (size_t i = 0; i < PAGES; i++)
		n += p[i * PAGE + 1] != (char)(i + 1);
	return n;
}

static void memory_make(void)
{
	p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(p, PAGES * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < PAGES; i++)
		p[i * PAGE + 1] = i + 1;
	fresh = mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(fresh + PAGE, PAGE, PROT_READ | PROT_WRITE);
	fresh += PAGE;
}

/*
 * One allocation after the other fails, until none is left to fail. Returns how many calls
 * failed; -1 when one succeeded without its memory, or left something wrong.
 */
static int try_all(int (*op)(void), void (*undo)(void))
{
	int n, result, failed = 0;

	for (n = 1; n < 200; n++) {
		if (!failing(n, op, &result)) {
			if (undo)
				undo();
			return result || wrong() ? -1 : failed;
		}
		failed += result != 0;
		if (wrong())
			return -1;
		if (!result && undo)
			undo();
	}
	return -1;
}

static void undo_mprotect(void)
{
	mprotect(p + 4 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE);
}

/* Fixtures run in the order of the file: what has leaked before is none of ours. */
FIXTURE(before) {
};

FIXTURE_SETUP(before)
{
	if (access(KMEMLEAK, W_OK))
		SKIP(return, "no CONFIG_DEBUG_KMEMLEAK");
}

FIXTURE_TEARDOWN(before)
{
}

TEST_F_TIMEOUT(before, forget_leaks, 120)
{
	if (!leaks_scan())
		SKIP(return, "kmemleak is off");
	EXPECT_TRUE(write_text(KMEMLEAK, "clear"));
}

FIXTURE(alloc) {
	long avs;
	long chains;
};

FIXTURE_SETUP(alloc)
{
	if (access("/proc/self/fail-nth", W_OK) || access(FAILSLAB "cache-filter", W_OK))
		SKIP(return, "no CONFIG_FAILSLAB");
	write_text(FAILSLAB "verbose", "0");
	write_text(FAILSLAB "ignore-gfp-wait", "N");
	write_text(FAILSLAB "cache-filter", "Y");
	if (!write_text(SLAB "anon_vma/failslab", "1") ||
	    !write_text(SLAB "anon_vma_chain/failslab", "1"))
		fail_setup("failslab of the anon_vma slabs");
	memory_make();
	self->avs = objects("anon_vma");
	self->chains = objects("anon_vma_chain");
}

FIXTURE_TEARDOWN(alloc)
{
}

/* Leaks would be one an attempt at least; other processes come and go meanwhile. */
static void leaks(struct __test_metadata *_metadata, const struct _test_data_alloc *self)
{
	usleep(200000);
	EXPECT_LT(objects("anon_vma") - self->avs, ROUNDS * 2);
	EXPECT_LT(objects("anon_vma_chain") - self->chains, ROUNDS * 2);
}

TEST_F(alloc, fork)
{
	for (int i = 0; i < ROUNDS; i++)
		EXPECT_GT(try_all(op_fork, NULL), 0);
	leaks(_metadata, self);
}

/* A child's VMAs have longer chains. */
TEST_F(alloc, fork_below_forks)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		p[2]++;
		pid = fork();
		if (!pid) {
			p[3 * PAGE]++;
			_exit(try_all(op_fork, NULL) > 3 ? 0 : 1);
		}
		waitpid(pid, &status, 0);
		_exit(status != 0);
	}
	waitpid(pid, &status, 0);
	EXPECT_EQ(status, 0);
	leaks(_metadata, self);
}

TEST_F(alloc, mprotect)
{
	for (int i = 0; i < ROUNDS; i++)
		EXPECT_GT(try_all(op_mprotect, undo_mprotect), 0);
	leaks(_metadata, self);
}

TEST_F(alloc, first_fault)
{
	/* It fails once for the chain, once for the anon_vma, and then is there to stay. */
	EXPECT_EQ(try_all(op_fault, NULL), 2);
	fresh[0] = 1;
	leaks(_metadata, self);
}

FIXTURE(after) {
};

FIXTURE_SETUP(after)
{
	if (access(KMEMLEAK, W_OK))
		SKIP(return, "no CONFIG_DEBUG_KMEMLEAK");
}

FIXTURE_TEARDOWN(after)
{
}

TEST_F_TIMEOUT(after, nothing_leaked, 120)
{
	/* What was put off to RCU is not yet free, and still referred to from there. */
	sleep(2);
	if (!leaks_scan())
		SKIP(return, "kmemleak is off");
	EXPECT_EQ(leaks_reported(), 0);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Every allocation of the anon_vma forest fails once, at every point of every operation that
 * makes some: the call must fail cleanly, memory must hold what it held, the next try must
 * succeed, and nothing may be left behind.
 * Needs what failslab.h names.
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

#include "failslab.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define PAGES		16
#define ROUNDS		20

static char *p;

/* Of what kmemleak reports, only objects that these functions allocated or linked are ours. */
static const char * const suspects[] = { "anon_vma", "vm_area" };

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

FIXTURE(alloc) {
	long avs;
	long chains;
};

FIXTURE_SETUP(alloc)
{
	if (!can_fail())
		SKIP(return, "no CONFIG_FAILSLAB");
	may_fail("anon_vma");
	may_fail("anon_vma_chain");
	memory_make();
	self->avs = objects_in("anon_vma");
	self->chains = objects_in("anon_vma_chain");
}

FIXTURE_TEARDOWN(alloc)
{
}

/* Leaks would be one an attempt at least; other processes come and go meanwhile. */
static void leaks(struct __test_metadata *_metadata, const struct _test_data_alloc *self)
{
	usleep(200000);
	EXPECT_LT(objects_in("anon_vma") - self->avs, ROUNDS * 2);
	EXPECT_LT(objects_in("anon_vma_chain") - self->chains, ROUNDS * 2);
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

TEST_NOTHING_LEAKED(suspects)

TEST_HARNESS_MAIN

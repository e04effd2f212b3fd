// SPDX-License-Identifier: GPL-2.0
/*
 * Interrupts that migration sends to other processors. move_pages(2) and mbind(2) switch the batches
 * of the LRU lists off, which all processors have to take note of; those that are idle need not be
 * woken for it. A monitor that moves one page at a time calls often, and idle processors pay.
 *
 * The limit is a little above what stock sends. It needs four CPUs, which nothing else keeps busy.
 */
#define _GNU_SOURCE
#include <sched.h>

#include "harness.h"
#include "migrate.h"

#define CALLS		2000
/* Interrupts for ten calls. Stock sends 20 on four CPUs; one to each other CPU would be 30. */
#define LIMIT		22

/* Calls of functions on other processors, all of them. */
static long function_calls(void)
{
	static char text[1 << 16];
	char *p;
	long n = 0;

	if (!read_text("/proc/interrupts", text, sizeof(text)))
		fail_setup("/proc/interrupts");
	p = strstr(text, "CAL:");
	if (!p)
		return -1;
	for (p += 4; ; ) {
		char *end;
		long one = strtol(p, &end, 10);

		if (end == p)
			return n;
		n += one;
		p = end;
	}
}

FIXTURE(interrupts) {
	char *p;
};

FIXTURE_SETUP(interrupts)
{
	cpu_set_t set;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 4 || function_calls() < 0)
		SKIP(return, "fewer than four processors, or no count of calls");
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail_setup("processor 0");
	self->p = mem_map(1, RW, ANON, -1);
	madvise(self->p, PAGE, MADV_NOHUGEPAGE);
	*self->p = 1;
	settle_lru();
}

FIXTURE_TEARDOWN(interrupts)
{
	munmap(self->p, PAGE);
}

TEST_F(interrupts, move_pages)
{
	int node = node_of(self->p), status;
	long before = function_calls(), sent;

	for (int i = 0; i < CALLS; i++) {
		node = !node;
		ASSERT_EQ(move_one(self->p, node, &status, MOVE_OWN), 0);
		ASSERT_EQ(status, node);
	}
	sent = function_calls() - before;
	TH_LOG("%ld interrupts for %d moves", sent, CALLS);
	EXPECT_LE(sent, CALLS * LIMIT / 10);
}

TEST_F(interrupts, mbind)
{
	int node = node_of(self->p);
	long before = function_calls(), sent;

	for (int i = 0; i < CALLS; i++) {
		unsigned long mask = 1UL << (node = !node);

		ASSERT_EQ(syscall(SYS_mbind, self->p, PAGE, MPOL_BIND, &mask, 64, MPOL_MF_MOVE), 0);
	}
	sent = function_calls() - before;
	ASSERT_EQ(node_of(self->p), node);
	TH_LOG("%ld interrupts for %d moves", sent, CALLS);
	EXPECT_LE(sent, CALLS * LIMIT / 10);
}

TEST_HARNESS_MAIN

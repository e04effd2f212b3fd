// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that are pinned for long leave movable memory first, for which they must be on their LRU
 * lists and nobody else's. Those that were used just now wait in the batch of some processor and are
 * held by it: whoever pins them has to empty it, his own or another one's, or tries for ever.
 *
 * A block of memory is made movable, and its pages are pinned by the driver of mm/gup_test.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "../../../../../mm/gup_test.h"
#include "memory_block.h"
#include "mlock_count.h"

#ifndef MADV_COLD
#define MADV_COLD	20
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT	1
#endif

#define FEW		5UL	/* less than a batch */
#define ROUNDS		100
#define WRITE		PIN_LONGTERM_TEST_FLAG_USE_WRITE
#define FAST		PIN_LONGTERM_TEST_FLAG_USE_FAST

/* What is to become of the pages that wait. */
enum waits { NEW, LOCKED, COLD };

FIXTURE(pins)
{
	int block, driver;
	char *p;
};

FIXTURE_VARIANT(pins)
{
	enum waits waits;
	int cpu;	/* in whose batch */
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(pins, new_here) { .waits = NEW, .cpu = 0, .flags = WRITE };
FIXTURE_VARIANT_ADD(pins, new_there) { .waits = NEW, .cpu = 1, .flags = WRITE };
FIXTURE_VARIANT_ADD(pins, new_there_fast) { .waits = NEW, .cpu = 1, .flags = FAST };
FIXTURE_VARIANT_ADD(pins, locked_here) { .waits = LOCKED, .cpu = 0, .flags = WRITE };
FIXTURE_VARIANT_ADD(pins, locked_there) { .waits = LOCKED, .cpu = 1, .flags = WRITE };
FIXTURE_VARIANT_ADD(pins, cold_here) { .waits = COLD, .cpu = 0, .flags = WRITE };
FIXTURE_VARIANT_ADD(pins, cold_there) { .waits = COLD, .cpu = 1, .flags = WRITE };

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail_setup("processor %d", cpu);
}

static size_t in_block(const char *p, int block)
{
	size_t n = 0;

	for (size_t i = 0; i < FEW; i++)
		n += frame_of(p + i * PAGE) / BLOCK_FRAMES == (uint64_t)block;
	return n;
}

FIXTURE_SETUP(pins)
{
	unsigned long node = 1UL << 1;

	self->block = -1;
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one processor");
	self->driver = open("/sys/kernel/debug/gup_test", O_RDWR);
	if (self->driver < 0)
		SKIP(return, "no CONFIG_GUP_TEST");
	self->block = block_movable();
	if (self->block < 0)
		SKIP(return, "no block of memory can go offline");
	self->p = mmap(NULL, FEW * PAGE, RW, ANON, -1, 0);
	if (self->p == MAP_FAILED || madvise(self->p, FEW * PAGE, MADV_NOHUGEPAGE) ||
	    syscall(SYS_mbind, self->p, FEW * PAGE, MPOL_BIND, &node, 64, 0))
		fail_setup("memory of node 1");
	/* For pins that would try for ever. */
	alarm(60);
}

FIXTURE_TEARDOWN(pins)
{
	if (self->block < 0)
		return;
	munmap(self->p, FEW * PAGE);
	close(self->driver);
	settle_lru();
	block_set(self->block, "offline");
	EXPECT_TRUE(block_set(self->block, "online"));
}

/* Pages of the block, in the batch of a processor. */
static void make_them_wait(char *p, enum waits waits, int cpu)
{
	on_cpu(cpu);
	if (waits == LOCKED && syscall(SYS_mlock2, p, FEW * PAGE, MLOCK_ONFAULT))
		fail_setup("mlock2");
	for (size_t i = 0; i < FEW; i++)
		p[i * PAGE] = 1 + i;
	if (waits == COLD) {
		settle_lru();
		if (madvise(p, FEW * PAGE, MADV_COLD))
			fail_setup("MADV_COLD");
	}
	on_cpu(0);
}

TEST_F(pins, leave_the_block)
{
	size_t waited = 0, stayed = 0, wrong = 0;

	for (int round = 0; round < ROUNDS; round++) {
		struct pin_longterm_test pin = {
			.addr = (uintptr_t)self->p, .size = FEW * PAGE, .flags = variant->flags,
		};

		make_them_wait(self->p, variant->waits, variant->cpu);
		ASSERT_EQ(in_block(self->p, self->block), FEW);
		/* A cold page is on a list while it waits. */
		for (size_t i = 0; i < FEW; i++)
			waited += !(frame_flags(frame_of(self->p + i * PAGE)) & KPF(KPF_LRU));
		ASSERT_EQ(ioctl(self->driver, PIN_LONGTERM_TEST_START, &pin), 0)
			TH_LOG("round %d: %s", round, strerror(errno));
		stayed += in_block(self->p, self->block);
		for (size_t i = 0; i < FEW; i++)
			wrong += *(volatile char *)(self->p + i * PAGE) != (char)(1 + i);
		ASSERT_EQ(ioctl(self->driver, PIN_LONGTERM_TEST_STOP), 0);
		munlock(self->p, FEW * PAGE);
		madvise(self->p, FEW * PAGE, MADV_DONTNEED);
	}
	EXPECT_EQ(stayed, 0);
	EXPECT_EQ(wrong, 0);
	if (variant->waits != COLD)
		EXPECT_GE(waited, FEW * ROUNDS / 2);
}

TEST_HARNESS_MAIN

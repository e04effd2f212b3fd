// SPDX-License-Identifier: GPL-2.0
/*
 * Every allocation of a call that locks or unlocks fails once, and then all of them together. The
 * call fails with ENOMEM or EAGAIN, or does without; either way the account of locked memory
 * (VmLck) and the marks of the mappings (VmFlags) agree, memory holds what it held, and the same
 * call, made once more, succeeds. At the end no page is locked, and nothing is left behind in the
 * slabs.
 *
 * mlockall and munlockall leave out a mapping that they cannot merge with its neighbours, and say
 * nothing of it: so does stock.
 *
 * Needs what failslab.h names.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "failslab.h"
#include "mlock.h"
#include "mlock_count.h"

#define FEW	16	/* pages of our memory */
#define CUT	4	/* and of the part that is locked or unlocked */
#define ROUNDS	10
#define MAX_NTH	200

static const char * const slabs[] = { "vm_area_struct", "anon_vma", "anon_vma_chain", "maple_node" };

/* Of what kmemleak reports, only objects that these functions allocated or linked are ours. */
static const char * const suspects[] = { "anon_vma", "vm_area", "mas_", "mlock" };

/* --- memory ----------------------------------------------------------------------------- */

enum layout {
	PLAIN,		/* one mapping, every page there */
	WHOLE,		/* the same, locked */
	EMPTY,		/* no page, and not yet an anon_vma */
	HOLE,		/* locked but for the middle */
	ISLAND,		/* not locked but for the middle */
	TWO,		/* two mappings: the second half is read-only */
	OTHER,		/* PLAIN, and what MAP_LOCKED will replace is locked memory too */
};

/* Our memory, and where calls map some more. Both in a place that only this file uses. */
static char *p, *q;

static void memory_free(void)
{
	munlockall();
	if (!p) {
		p = room(4 * FEW);
		q = p + 2 * FEW * PAGE;
	}
	map_at(p, 4 * FEW, PROT_NONE, ANON | MAP_NORESERVE, -1);
}

/* Anew each time: a call that failed may have split the mapping. */
static void memory_make(enum layout layout)
{
	bool locked = layout == WHOLE || layout == HOLE;

	memory_free();
	map_at(p, FEW, RW, ANON, -1);
	madvise(p, FEW * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < FEW && layout != EMPTY; i++)
		p[i * PAGE + 1] = i + 1;
	if (layout == TWO && mprotect(p + FEW / 2 * PAGE, FEW / 2 * PAGE, PROT_READ))
		fail_setup("mprotect");
	if ((locked && mlock(p, FEW * PAGE)) ||
	    (layout == HOLE && munlock(p + CUT * PAGE, CUT * PAGE)) ||
	    (layout == ISLAND && mlock(p + CUT * PAGE, CUT * PAGE)))
		fail_setup("mlock");
	if (layout == OTHER)
		map_at(q, FEW, RW, ANON | MAP_LOCKED, -1);
}

static size_t wrong(enum layout layout)
{
	size_t n = 0;

	for (size_t i = 0; i < FEW; i++)
		n += p[i * PAGE + 1] != (layout == EMPTY ? 0 : (char)(i + 1));
	return n;
}

/* --- calls: 0, or an error -------------------------------------------------------------- */

static int error_of(int result)
{
	return result ? errno : 0;
}

static int lock_start(void)
{
	return error_of(mlock(p, CUT * PAGE));
}

static int lock_middle(void)
{
	return error_of(mlock(p + CUT * PAGE, CUT * PAGE));
}

static int lock_end(void)
{
	return error_of(mlock(p + (FEW - CUT) * PAGE, CUT * PAGE));
}

static int lock_whole(void)
{
	return error_of(mlock(p, FEW * PAGE));
}

/* From the middle of one mapping to that of the next. */
static int lock_across(void)
{
	return error_of(mlock(p + FEW / 4 * PAGE, FEW / 2 * PAGE));
}

static int lock_middle_onfault(void)
{
	return error_of(mlock2(p + CUT * PAGE, CUT * PAGE, MLOCK_ONFAULT));
}

static int unlock_start(void)
{
	return error_of(munlock(p, CUT * PAGE));
}

static int unlock_middle(void)
{
	return error_of(munlock(p + CUT * PAGE, CUT * PAGE));
}

static int unlock_end(void)
{
	return error_of(munlock(p + (FEW - CUT) * PAGE, CUT * PAGE));
}

static int unlock_all(void)
{
	return error_of(munlockall());
}

static int map_more(int flags)
{
	return error_of(mmap(q, FEW * PAGE, RW, ANON | MAP_FIXED | flags, -1, 0) == MAP_FAILED);
}

static int map_locked(void)
{
	return map_more(MAP_LOCKED);
}

static int lock_all_and_map(void)
{
	return error_of(mlockall(MCL_CURRENT | MCL_FUTURE)) ?: map_more(0);
}

/* --- fixtures, in the order of the file ------------------------------------------------- */

FIXTURE(alloc) {
	struct figures start;
	long objects[ARRAY_SIZE(slabs)];
};

#define EVERYTHING	-1	/* all mappings of the process */

FIXTURE_VARIANT(alloc) {
	enum layout layout;
	int (*call)(void);
	long locked;	/* pages, when it has succeeded */
	bool maps;	/* so many more pages at @q */
	int error;	/* when nothing can be allocated; 0: it does not fail */
};

FIXTURE_VARIANT_ADD(alloc, mlock_start) { PLAIN, lock_start, CUT, false, ENOMEM };
FIXTURE_VARIANT_ADD(alloc, mlock_middle) { PLAIN, lock_middle, CUT, false, ENOMEM };
FIXTURE_VARIANT_ADD(alloc, mlock_end) { PLAIN, lock_end, CUT, false, ENOMEM };
FIXTURE_VARIANT_ADD(alloc, mlock_onfault) { PLAIN, lock_middle_onfault, CUT, false, ENOMEM };
/* A fault that finds no memory says so in another way; one that fails once may be tried again. */
FIXTURE_VARIANT_ADD(alloc, mlock_and_fault) { EMPTY, lock_whole, FEW, false, EAGAIN };
FIXTURE_VARIANT_ADD(alloc, mlock_joins) { HOLE, lock_middle, FEW, false, ENOMEM };
FIXTURE_VARIANT_ADD(alloc, mlock_two) { TWO, lock_across, FEW / 2, false, ENOMEM };
FIXTURE_VARIANT_ADD(alloc, munlock_start) { WHOLE, unlock_start, FEW - CUT, false, ENOMEM };
FIXTURE_VARIANT_ADD(alloc, munlock_middle) { WHOLE, unlock_middle, FEW - CUT, false, ENOMEM };
FIXTURE_VARIANT_ADD(alloc, munlock_end) { WHOLE, unlock_end, FEW - CUT, false, ENOMEM };
FIXTURE_VARIANT_ADD(alloc, munlock_joins) { ISLAND, unlock_middle, 0, false, ENOMEM };
FIXTURE_VARIANT_ADD(alloc, munlockall) { HOLE, unlock_all, 0, false, 0 };
FIXTURE_VARIANT_ADD(alloc, mlockall) { HOLE, lock_all_and_map, EVERYTHING, true, ENOMEM };
FIXTURE_VARIANT_ADD(alloc, map_locked) { PLAIN, map_locked, FEW, true, ENOMEM };
FIXTURE_VARIANT_ADD(alloc, map_locked_over) { OTHER, map_locked, FEW, true, ENOMEM };

/* Objects of each slab. What was freed may still wait for RCU, so the lowest of some counts. */
static void count_objects(long *lowest)
{
	for (int i = 0; i < 10; i++) {
		usleep(100000);
		for (size_t s = 0; s < ARRAY_SIZE(slabs); s++) {
			long n = objects_in(slabs[s]);

			lowest[s] = i && lowest[s] < n ? lowest[s] : n;
		}
	}
}

FIXTURE_SETUP(alloc)
{
	if (!can_fail())
		SKIP(return, "no CONFIG_FAILSLAB");
	for (size_t i = 0; i < ARRAY_SIZE(slabs); i++)
		may_fail(slabs[i]);
	memory_make(variant->layout);
	memory_free();
	self->start = figures_now();
	count_objects(self->objects);
}

FIXTURE_TEARDOWN(alloc)
{
	memory_free();
	EXPECT_COUNTED(&self->start, 0, 0);
}

/* The account and the marks agree, and nothing has been overwritten. */
static void agree(struct __test_metadata *_metadata, enum layout layout)
{
	EXPECT_EQ(pages_locked(), pages_lo());
	EXPECT_EQ(wrong(layout), 0);
}

static void succeeded(struct __test_metadata *_metadata,
		      const struct _fixture_variant_alloc *variant)
{
	EXPECT_EQ(present(p, FEW), FEW);
	if (variant->layout == EMPTY)
		EXPECT_EQ(write_faults(p, FEW), 0);
	if (variant->maps) {
		EXPECT_EQ(present(q, FEW), FEW);
		EXPECT_TRUE(is_lo(q));
	}
	if (variant->locked == EVERYTHING) {
		EXPECT_TRUE(is_lo(p));
		EXPECT_TRUE(is_lo(p + CUT * PAGE));
		EXPECT_TRUE(is_lo(&slabs));
	} else {
		EXPECT_EQ(pages_locked(), variant->locked);
	}
	agree(_metadata, variant->layout);
}

/* Let the @n-th allocation of the call fail, or with 0 all of them. Returns whether there was one. */
static bool attempt(struct __test_metadata *_metadata, int n,
		    const struct _fixture_variant_alloc *variant, int *error)
{
	/* mlockall and munlockall may leave out a mapping, and MAP_LOCKED pages. */
	bool strict = variant->error && !variant->maps, hit = true;

	memory_make(variant->layout);
	if (n)
		hit = failing(n, variant->call, error);
	else
		failing_all(variant->call, error);
	EXPECT_TRUE(!*error || (hit && (*error == ENOMEM || *error == EAGAIN)));
	if (!*error && (!hit || strict))
		succeeded(_metadata, variant);
	else
		agree(_metadata, variant->layout);
	EXPECT_EQ(variant->call(), 0);
	succeeded(_metadata, variant);
	return hit;
}

TEST_F(alloc, each_fails_once)
{
	long now[ARRAY_SIZE(slabs)];
	int error, n, failed = 0;

	for (int round = 0; round < ROUNDS; round++) {
		EXPECT_TRUE(attempt(_metadata, 0, variant, &error));
		EXPECT_EQ(error, variant->error);
		for (n = 1; n < MAX_NTH && attempt(_metadata, n, variant, &error); n++)
			failed += error != 0;
		/* There was something to fail, and an end to it. */
		ASSERT_GT(n, 1);
		ASSERT_LT(n, MAX_NTH);
	}
	TH_LOG("%d allocations, %d of %d calls failed", n - 1, failed, ROUNDS * n);
	if (variant->error != EAGAIN)
		EXPECT_EQ(failed > 0, variant->error != 0);
	memory_free();
	/* A leak would be one in a round at least; other processes come and go meanwhile. */
	count_objects(now);
	for (size_t i = 0; i < ARRAY_SIZE(slabs); i++)
		EXPECT_LT(now[i] - self->objects[i], ROUNDS / 2);
}

TEST_NOTHING_LEAKED(suspects)

TEST_HARNESS_MAIN

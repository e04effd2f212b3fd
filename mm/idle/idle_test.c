// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of idle page tracking: what needs no page tables.
 * Run: boot with kunit.enable=1, read /sys/kernel/debug/kunit/foliage_idle/results.
 */
#include <kunit/test.h>

#include "window.h"

#define MAX_FRAME	0x100000UL

static void plan_whole_words(struct kunit *test)
{
	struct idle_window win;

	KUNIT_ASSERT_EQ(test, idle_window_plan(&win, 0, 4096, MAX_FRAME), 0);
	KUNIT_EXPECT_EQ(test, win.start, 0UL);
	KUNIT_EXPECT_EQ(test, win.nr, 32768UL);
	KUNIT_EXPECT_EQ(test, win.bytes, 4096UL);

	KUNIT_ASSERT_EQ(test, idle_window_plan(&win, 24, 8, MAX_FRAME), 0);
	KUNIT_EXPECT_EQ(test, win.start, 192UL);
	KUNIT_EXPECT_EQ(test, win.nr, 64UL);
	KUNIT_EXPECT_EQ(test, win.bytes, 8UL);
}

static void plan_refuses(struct kunit *test)
{
	struct idle_window win;

	KUNIT_EXPECT_EQ(test, idle_window_plan(&win, 4, 8, MAX_FRAME), -EINVAL);
	KUNIT_EXPECT_EQ(test, idle_window_plan(&win, 8, 7, MAX_FRAME), -EINVAL);
	KUNIT_EXPECT_EQ(test, idle_window_plan(&win, -8, 8, MAX_FRAME), -EINVAL);
	KUNIT_EXPECT_EQ(test, idle_window_plan(&win, MAX_FRAME / 8, 8, MAX_FRAME), -ENXIO);
	/* A position whose frame number does not fit in 64 bits must not come round to 0. */
	KUNIT_EXPECT_EQ(test, idle_window_plan(&win, 1LL << 61, 8, MAX_FRAME), -ENXIO);
	KUNIT_EXPECT_EQ(test, idle_window_plan(&win, S64_MAX - 7, 8, MAX_FRAME), -ENXIO);
}

static void plan_end_of_memory(struct kunit *test)
{
	struct idle_window win;

	/* Cut at the end. */
	KUNIT_ASSERT_EQ(test, idle_window_plan(&win, MAX_FRAME / 8 - 16, 4096, MAX_FRAME), 0);
	KUNIT_EXPECT_EQ(test, win.nr, 128UL);
	KUNIT_EXPECT_EQ(test, win.bytes, 16UL);

	/* The last word is there though memory ends inside it. */
	KUNIT_ASSERT_EQ(test, idle_window_plan(&win, 8, 4096, 64 + 10), 0);
	KUNIT_EXPECT_EQ(test, win.nr, 10UL);
	KUNIT_EXPECT_EQ(test, win.bytes, 8UL);

	KUNIT_ASSERT_EQ(test, idle_window_plan(&win, 0, 0, MAX_FRAME), 0);
	KUNIT_EXPECT_EQ(test, win.nr, 0UL);
	KUNIT_EXPECT_EQ(test, win.bytes, 0UL);
}

static void done_counts_words(struct kunit *test)
{
	struct idle_window win = { .start = 0, .nr = 138, .bytes = 24 };

	KUNIT_EXPECT_EQ(test, idle_window_done(&win, 0), 0UL);
	KUNIT_EXPECT_EQ(test, idle_window_done(&win, 63), 0UL);
	KUNIT_EXPECT_EQ(test, idle_window_done(&win, 64), 8UL);
	KUNIT_EXPECT_EQ(test, idle_window_done(&win, 137), 16UL);
	KUNIT_EXPECT_EQ(test, idle_window_done(&win, 138), 24UL);
}

static void block_rest(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, idle_block_rest(0, 512), 512UL);
	KUNIT_EXPECT_EQ(test, idle_block_rest(1, 512), 511UL);
	KUNIT_EXPECT_EQ(test, idle_block_rest(1023, 512), 1UL);
	KUNIT_EXPECT_EQ(test, idle_block_rest(48, 16), 16UL);
	KUNIT_EXPECT_EQ(test, idle_block_rest(7, 1), 1UL);
	/* Torn lengths must still move on, and by one. */
	KUNIT_EXPECT_EQ(test, idle_block_rest(7, 0), 1UL);
	KUNIT_EXPECT_EQ(test, idle_block_rest(7, 3), 1UL);
	KUNIT_EXPECT_EQ(test, idle_block_rest(7, ULONG_MAX), 1UL);
}

static void age_next(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, idle_age_next(0, false), 1);
	KUNIT_EXPECT_EQ(test, idle_age_next(0, true), 0);
	KUNIT_EXPECT_EQ(test, idle_age_next(77, true), 0);
	KUNIT_EXPECT_EQ(test, idle_age_next(IDLE_AGE_MAX - 1, false), IDLE_AGE_MAX);
	KUNIT_EXPECT_EQ(test, idle_age_next(IDLE_AGE_MAX, false), IDLE_AGE_MAX);
	KUNIT_EXPECT_EQ(test, idle_age_next(IDLE_AGE_TOUCHED, false), 0);
	KUNIT_EXPECT_EQ(test, idle_age_next(IDLE_AGE_TOUCHED, true), 0);
}

static void age_bucket(struct kunit *test)
{
	static const unsigned int first[IDLE_AGE_BUCKETS] = { 0, 1, 2, 4, 8, 16, 32, 64, 128 };
	unsigned int b, age, want = 0;

	for (b = 0; b < IDLE_AGE_BUCKETS; b++)
		KUNIT_EXPECT_EQ(test, idle_bucket_label(b), first[b]);
	for (age = 0; age <= IDLE_AGE_MAX; age++) {
		if (want + 1 < IDLE_AGE_BUCKETS && age >= first[want + 1])
			want++;
		KUNIT_EXPECT_EQ_MSG(test, idle_age_bucket(age), want, "age %u", age);
	}
}

static struct kunit_case idle_cases[] = {
	KUNIT_CASE(plan_whole_words),
	KUNIT_CASE(plan_refuses),
	KUNIT_CASE(plan_end_of_memory),
	KUNIT_CASE(done_counts_words),
	KUNIT_CASE(block_rest),
	KUNIT_CASE(age_next),
	KUNIT_CASE(age_bucket),
	{ }
};

static struct kunit_suite idle_suite = {
	.name = "foliage_idle",
	.test_cases = idle_cases,
};

kunit_test_suite(idle_suite);

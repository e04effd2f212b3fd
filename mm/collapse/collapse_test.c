// SPDX-License-Identifier: GPL-2.0
/*
 * What is decided without looking at memory: orders of smaller folios, against a slow model that
 * says it in other words; errors of MADV_COLLAPSE; and how lately something must have been used.
 */
#include <kunit/test.h>
#include <linux/prandom.h>

#include "collapse.h"
#include "order.h"

static struct collapse_layout *layout_new(struct kunit *test)
{
	struct collapse_layout *layout = kunit_kzalloc(test, sizeof(*layout), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, layout);
	return layout;
}

/* @nr pages of folios of an order from entry @first on, used. */
static void layout_add(struct collapse_layout *layout, unsigned int first, unsigned int nr,
		       unsigned int order)
{
	memset(layout->kind + first, PART_OF(order), nr);
	bitmap_set(layout->used, first, nr);
}

static void test_order_full(struct kunit *test)
{
	struct collapse_layout *layout = layout_new(test);
	unsigned int order;

	layout_add(layout, 0, HPAGE_PMD_NR, 0);
	for (order = 1; order < PMD_ORDER; order++) {
		KUNIT_EXPECT_EQ(test, collapse_order_choose(layout, 0, BIT(order), 0), order);
		KUNIT_EXPECT_EQ(test, collapse_order_choose(layout, 1U << order, BIT(order), 0),
				order);
		KUNIT_EXPECT_EQ(test, collapse_order_choose(layout, 1U << (order - 1), BIT(order),
							    0), 0);
	}
	/* Of huge pages nothing is said here. */
	KUNIT_EXPECT_EQ(test, collapse_order_choose(layout, 0, BIT(PMD_ORDER), 0), 0);
	KUNIT_EXPECT_EQ(test, collapse_order_choose(layout, 0, BIT(PMD_ORDER) | BIT(4) | BIT(6), 0),
			6);
}

static void test_order_none(struct kunit *test)
{
	struct collapse_layout *layout = layout_new(test);
	unsigned int order, limit;

	for (order = 2; order < PMD_ORDER; order++) {
		limit = collapse_none_scaled(255, order);
		memset(layout, 0, sizeof(*layout));
		layout_add(layout, 0, (1U << order) - limit, 0);
		KUNIT_EXPECT_EQ(test, collapse_order_choose(layout, 0, BIT(order), 255), order);
		layout->kind[0] = PART_EMPTY;
		KUNIT_EXPECT_EQ(test, collapse_order_choose(layout, 0, BIT(order), 255), 0);
	}
	memset(layout, 0, sizeof(*layout));
	bitmap_fill(layout->used, HPAGE_PMD_NR);
	KUNIT_EXPECT_EQ(test, collapse_order_choose(layout, 0, BIT(4), HPAGE_PMD_NR - 1), 0);
}

static void test_order_no_growth(struct kunit *test)
{
	struct collapse_layout *layout = layout_new(test);
	const unsigned int most = HPAGE_PMD_NR - 1;

	layout_add(layout, 0, 16, 4);
	KUNIT_EXPECT_EQ(test, collapse_order_choose(layout, 0, BIT(4), most), 0);
	KUNIT_EXPECT_EQ(test, collapse_order_choose(layout, 0, BIT(5) | BIT(6), most), 0);
	layout_add(layout, 16, 1, 0);
	KUNIT_EXPECT_EQ(test, collapse_order_choose(layout, 0, BIT(5), most), 5);
	/* Two that are full are one larger one. */
	layout_add(layout, 16, 16, 4);
	KUNIT_EXPECT_EQ(test, collapse_order_choose(layout, 0, BIT(5), 0), 5);
	/* A small page that is alone is one of those that share is about. */
	memset(layout, 0, sizeof(*layout));
	layout_add(layout, 3, 1, 0);
	KUNIT_EXPECT_EQ(test, collapse_order_choose(layout, 0, BIT(2), most), 2);
}

/* The rules of order.h, one after the other. */
static bool model_suits(const struct collapse_layout *layout, unsigned int first,
			unsigned int order, unsigned int max_none)
{
	unsigned int nr = 1U << order, present = 0, used = 0, at, i;
	unsigned int folios[PMD_ORDER + 1] = {};

	if (first % nr)
		return false;
	for (i = 0; i < nr; i++) {
		at = layout->kind[first + i];
		if (at == PART_BLOCKED || (at && at - 1 >= order))
			return false;
		if (at) {
			present++;
			folios[at - 1]++;
		}
		used += test_bit(first + i, layout->used);
	}
	if (!present || !used || (nr - present) * HPAGE_PMD_NR > max_none * nr)
		return false;
	for (i = 1; i < order; i++)
		if (present < nr && folios[i] == present && present == 1U << i)
			return false;
	return true;
}

static unsigned int model_choose(const struct collapse_layout *layout, unsigned int first,
				 unsigned long orders, unsigned int max_none)
{
	unsigned int order, best = 0;

	for (order = 1; order < PMD_ORDER; order++)
		if (orders & BIT(order) && model_suits(layout, first, order, max_none))
			best = order;
	return best;
}

static void layout_random(struct collapse_layout *layout, struct rnd_state *rnd)
{
	unsigned int i, nr, mostly = prandom_u32_state(rnd) % 4;

	memset(layout, 0, sizeof(*layout));
	for (i = 0; i < HPAGE_PMD_NR; i += nr) {
		unsigned int dice = prandom_u32_state(rnd) % 256, order;

		order = dice < 32 ? dice % 5 : 0;
		nr = IS_ALIGNED(i, 1U << order) ? 1U << order : 1;
		if (dice == 255)
			layout->kind[i] = PART_BLOCKED;
		else if (dice % 4 >= mostly)
			layout_add(layout, i, nr, ilog2(nr));
		if (dice & 128)
			bitmap_clear(layout->used, i, nr);
	}
}

static void test_order_model(struct kunit *test)
{
	static const unsigned int limits[] = { 0, 64, 255, 256, 400, 511 };
	struct collapse_layout *layout = layout_new(test);
	unsigned int round, first, found = 0, none = 0;
	struct rnd_state rnd;

	prandom_seed_state(&rnd, 612);
	for (round = 0; round < 200; round++) {
		unsigned long orders = prandom_u32_state(&rnd) & GENMASK(PMD_ORDER, 2);
		unsigned int limit = limits[round % ARRAY_SIZE(limits)];

		layout_random(layout, &rnd);
		for (first = 0; first < HPAGE_PMD_NR; first++) {
			unsigned int got = collapse_order_choose(layout, first, orders, limit);

			KUNIT_ASSERT_EQ_MSG(test, got, model_choose(layout, first, orders, limit),
					    "round %u, entry %u, orders %lx, %u may be empty",
					    round, first, orders, limit);
			found += !!got;
			none += !got;
		}
	}
	KUNIT_EXPECT_GT(test, found, 1000);
	KUNIT_EXPECT_GT(test, none, 1000);
}

static const struct {
	enum scan_result result;
	int error;
	bool goes_on;
} answers[] = {
	{ SCAN_PAGE_COUNT, -EAGAIN, true },
	{ SCAN_PAGE_LOCK, -EAGAIN, true },
	{ SCAN_PAGE_LRU, -EAGAIN, true },
	{ SCAN_PMD_NULL, -EINVAL, true },
	{ SCAN_PTE_UFFD_WP, -EINVAL, true },
	{ SCAN_PAGE_NULL, -EINVAL, true },
	{ SCAN_PAGE_FILLED, -EAGAIN, false },
	{ SCAN_ALLOC_HUGE_PAGE_FAIL, -ENOMEM, false },
	{ SCAN_CGROUP_CHARGE_FAIL, -EBUSY, false },
	{ SCAN_EXCEED_NONE_PTE, -EBUSY, false },
	{ SCAN_VMA_CHECK, -EINVAL, false },
	{ SCAN_COPY_MC, -EINVAL, false },
	{ SCAN_TRUNCATED, -EINVAL, false },
};

static void test_answers(struct kunit *test)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(answers); i++) {
		KUNIT_EXPECT_EQ_MSG(test, collapse_errno(answers[i].result), answers[i].error,
				    "result %d", answers[i].result);
		KUNIT_EXPECT_EQ_MSG(test, collapse_goes_on(answers[i].result), answers[i].goes_on,
				    "result %d", answers[i].result);
	}
}

static void test_idle_limit(struct kunit *test)
{
	static const unsigned int eight[] = { 1, 2, 4, 8, 1, 2, 4, 8 };
	static const unsigned int five[] = { 1, 2, 4, 5, 1, 2, 4, 5 };
	unsigned int scan;

	for (scan = 0; scan < 8; scan++) {
		KUNIT_EXPECT_EQ(test, collapse_idle_limit(scan, 8), eight[scan]);
		KUNIT_EXPECT_EQ(test, collapse_idle_limit(scan, 5), five[scan]);
		KUNIT_EXPECT_EQ(test, collapse_idle_limit(scan, 1), 1);
		KUNIT_EXPECT_EQ(test, collapse_idle_limit(scan, 0), 0);
	}
	/* What nobody asked for, but may write. */
	KUNIT_EXPECT_EQ(test, collapse_idle_limit(31, UINT_MAX), 1U << 31);
	KUNIT_EXPECT_EQ(test, collapse_idle_limit(32, UINT_MAX), UINT_MAX);
}

static struct kunit_case collapse_cases[] = {
	KUNIT_CASE(test_order_full),
	KUNIT_CASE(test_order_none),
	KUNIT_CASE(test_order_no_growth),
	KUNIT_CASE_SLOW(test_order_model),
	KUNIT_CASE(test_answers),
	KUNIT_CASE(test_idle_limit),
	{}
};

static struct kunit_suite collapse_suite = {
	.name = "foliage_collapse",
	.test_cases = collapse_cases,
};

kunit_test_suite(collapse_suite);

// SPDX-License-Identifier: GPL-2.0
/*
 * What zswap decides and keeps books of, without a swap device: words that repeat, slots and the
 * runs in them, marks of poor pages. The slots are those of a swap type that no device has.
 */
#include <kunit/test.h>
#include <linux/slab.h>

#include "zswap.h"

#define TYPE	(MAX_SWAPFILES - 1)

/* --- words ------------------------------------------------------------------------------ */

static void test_repeats(struct kunit *test)
{
	unsigned long *page = kunit_kmalloc(test, PAGE_SIZE, GFP_KERNEL), word;
	unsigned int i, n = PAGE_SIZE / sizeof(*page);

	KUNIT_ASSERT_NOT_NULL(test, page);
	memset_l(page, ~0UL, n);
	KUNIT_EXPECT_TRUE(test, zswap_repeats(page, &word));
	KUNIT_EXPECT_EQ(test, word, ~0UL);
	memset_l(page, 0x12345678UL, n);
	KUNIT_EXPECT_TRUE(test, zswap_repeats(page, &word));
	KUNIT_EXPECT_EQ(test, word, 0x12345678UL);
	/* Any one that differs, in any bit, is seen. */
	for (i = 0; i < n; i++) {
		page[i] ^= 1UL << i % BITS_PER_LONG;
		KUNIT_EXPECT_FALSE_MSG(test, zswap_repeats(page, &word), "word %u", i);
		page[i] ^= 1UL << i % BITS_PER_LONG;
	}
}

/* --- slots ------------------------------------------------------------------------------ */

/*
 * Runs in books of their own: the pool's references are counted, there is no data in it, and so no
 * list; nobody pays.
 */
struct books {
	struct zswap_pool pool;
	struct kunit *test;
};

static void no_release(struct percpu_ref *ref)
{
}

static int slots_init(struct kunit *test)
{
	struct books *books = kunit_kzalloc(test, sizeof(*books), GFP_KERNEL);

	if (!books)
		return -ENOMEM;
	/* At boot, before anybody can have enabled it but the command line. */
	if (zswap_runs_init())
		kunit_skip(test, "zswap is set up");
	if (zswap_swapon(TYPE, 2048))
		return -ENOMEM;
	if (percpu_ref_init(&books->pool.ref, no_release, PERCPU_REF_INIT_ATOMIC, GFP_KERNEL))
		return -ENOMEM;
	test->priv = books;
	return 0;
}

static void slots_exit(struct kunit *test)
{
	struct books *books = test->priv;

	if (!books)
		return;
	percpu_ref_kill(&books->pool.ref);
	percpu_ref_exit(&books->pool.ref);
	zswap_swapoff(TYPE);
	zswap_runs_exit();
}

static struct zswap_run *run_new(struct kunit *test, unsigned long offset, unsigned int order)
{
	struct books *books = test->priv;
	struct zswap_run *run = zswap_run_alloc(order, NUMA_NO_NODE);

	KUNIT_ASSERT_NOT_NULL(test, run);
	run->first = swp_entry(TYPE, offset);
	run->pool = &books->pool;
	run->objcg = NULL;
	atomic_set(&run->there, (1U << (1U << order)) - 1);
	percpu_ref_get(&books->pool.ref);
	atomic_add(1 << order, &zswap_stored_pages);
	atomic_long_inc(&zswap_nr_runs);
	KUNIT_ASSERT_EQ(test, zswap_slots_store(run), 0);
	return run;
}

static void expect(struct kunit *test, unsigned long offset, unsigned int nr, void *entry)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		KUNIT_EXPECT_PTR_EQ_MSG(test, zswap_slot_get(swp_entry(TYPE, offset + i)), entry,
					"slot %lu", offset + i);
}

static void expect_stored(struct kunit *test, int pages, long runs)
{
	KUNIT_EXPECT_EQ(test, atomic_read(&zswap_stored_pages), pages);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&zswap_nr_runs), runs);
}

static void test_store_and_erase(struct kunit *test)
{
	struct zswap_run *run = run_new(test, 512, 4);

	expect(test, 512, 16, run);
	expect(test, 496, 16, NULL);
	expect(test, 528, 16, NULL);
	expect_stored(test, 16, 1);
	zswap_invalidate(swp_entry(TYPE, 515));
	zswap_invalidate(swp_entry(TYPE, 515));
	expect_stored(test, 15, 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&run->there), 0xfff7);
	expect(test, 515, 1, NULL);
	/* More than is there, on both sides. */
	zswap_invalidate_range(swp_entry(TYPE, 500), 20);
	expect_stored(test, 8, 1);
	zswap_invalidate_range(swp_entry(TYPE, 0), 2048);
	expect_stored(test, 0, 0);
	expect(test, 0, 2048, NULL);
}

/* A folio that is stored again takes the place of what was there, of several runs in part. */
static void test_store_over(struct kunit *test)
{
	struct zswap_run *small = run_new(test, 64, 0), *pair = run_new(test, 66, 1);
	struct zswap_run *large, *over;

	expect(test, 64, 1, small);
	expect(test, 66, 2, pair);
	large = run_new(test, 64, 4);
	expect(test, 64, 16, large);
	expect_stored(test, 16, 1);
	over = run_new(test, 72, 2);
	expect(test, 64, 8, large);
	expect(test, 72, 4, over);
	expect(test, 76, 4, large);
	expect_stored(test, 16, 2);
	KUNIT_EXPECT_EQ(test, atomic_read(&large->there), 0xf0ff);
	zswap_slots_erase_runs(swp_entry(TYPE, 64), 16);
	expect_stored(test, 0, 0);
}

static void test_can_load(struct kunit *test)
{
	swp_entry_t first = swp_entry(TYPE, 1024);

	KUNIT_EXPECT_TRUE(test, zswap_can_load(first, 16, true));
	KUNIT_EXPECT_FALSE(test, zswap_can_load(first, 16, false));
	KUNIT_EXPECT_FALSE(test, zswap_is_run(first));
	run_new(test, 1024, 3);
	KUNIT_EXPECT_TRUE(test, zswap_can_load(first, 8, false));
	KUNIT_EXPECT_TRUE(test, zswap_is_run(first));
	KUNIT_EXPECT_FALSE(test, zswap_can_load(first, 16, true));
	/* Of two runs as of one. */
	run_new(test, 1032, 3);
	KUNIT_EXPECT_TRUE(test, zswap_can_load(first, 16, false));
	zswap_invalidate(swp_entry(TYPE, 1039));
	KUNIT_EXPECT_FALSE(test, zswap_can_load(first, 16, true));
	KUNIT_EXPECT_FALSE(test, zswap_is_run(swp_entry(TYPE, 1038)));
	KUNIT_EXPECT_TRUE(test, zswap_is_run(swp_entry(TYPE, 1037)));
	zswap_invalidate_range(first, 16);
	/* Single pages are no run, wherever they lie. */
	run_new(test, 1024, 0);
	run_new(test, 1025, 0);
	KUNIT_EXPECT_FALSE(test, zswap_is_run(first));
	KUNIT_EXPECT_TRUE(test, zswap_can_load(first, 2, false));
	zswap_invalidate_range(first, 16);
	expect_stored(test, 0, 0);
}

/* --- marks ------------------------------------------------------------------------------ */

/* How many stores pass by, from one try to the next. */
static unsigned int skips(struct kunit *test, unsigned long offset, unsigned int nr)
{
	unsigned int n = 0;

	while (__zswap_poor_skip(swp_entry(TYPE, offset), nr) && n < 1000)
		n++;
	return n;
}

static void test_poor(struct kunit *test)
{
	static const unsigned int want[] = { 1, 2, 4, 8, 16, 32, 64, 64, 64 };
	swp_entry_t swp = swp_entry(TYPE, 7);
	unsigned int i;

	KUNIT_EXPECT_EQ(test, skips(test, 0, 16), 0);
	for (i = 0; i < ARRAY_SIZE(want); i++) {
		zswap_poor_note(swp);
		KUNIT_EXPECT_EQ(test, skips(test, 0, 16), want[i]);
		KUNIT_EXPECT_EQ(test, skips(test, 8, 8), 0);
	}
	/* A reject for another reason leaves it, and it can be read from the device only. */
	zswap_slots_erase_runs(swp, 1);
	zswap_poor_note(swp);
	KUNIT_EXPECT_TRUE(test, zswap_can_load(swp_entry(TYPE, 0), 16, true));
	KUNIT_EXPECT_FALSE(test, zswap_can_load(swp, 1, false));
	KUNIT_EXPECT_EQ(test, skips(test, 7, 1), 64);
	/* Gone with the slot, or with a page that compresses. */
	zswap_invalidate(swp);
	zswap_poor_note(swp);
	KUNIT_EXPECT_EQ(test, skips(test, 7, 1), 1);
	run_new(test, 0, 4);
	KUNIT_EXPECT_EQ(test, skips(test, 0, 16), 0);
	zswap_invalidate_range(swp_entry(TYPE, 0), 16);
	expect(test, 0, 16, NULL);
	expect_stored(test, 0, 0);
}

/* Two pages of a folio: it is tried when neither is to be passed by. */
static void test_poor_two(struct kunit *test)
{
	zswap_poor_note(swp_entry(TYPE, 32));
	zswap_poor_note(swp_entry(TYPE, 35));
	KUNIT_EXPECT_EQ(test, skips(test, 32, 4), 1);
	zswap_poor_note(swp_entry(TYPE, 35));
	KUNIT_EXPECT_EQ(test, skips(test, 32, 4), 2);
	zswap_invalidate_range(swp_entry(TYPE, 32), 4);
	KUNIT_EXPECT_EQ(test, skips(test, 32, 4), 0);
}

static struct kunit_case zswap_cases[] = {
	KUNIT_CASE(test_repeats),
	KUNIT_CASE(test_store_and_erase),
	KUNIT_CASE(test_store_over),
	KUNIT_CASE(test_can_load),
	KUNIT_CASE(test_poor),
	KUNIT_CASE(test_poor_two),
	{ }
};

static struct kunit_suite zswap_suite = {
	.name = "foliage_zswap",
	.init = slots_init,
	.exit = slots_exit,
	.test_cases = zswap_cases,
};

kunit_test_suites(&zswap_suite);

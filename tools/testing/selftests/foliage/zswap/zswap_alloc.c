// SPDX-License-Identifier: GPL-2.0
/*
 * Each allocation of a store, of write-back and of a change of settings fails once: the folio goes
 * to the device, or stays; the setting is as it was; and nothing is lost or leaked.
 */
#define _GNU_SOURCE
#include "harness.h"
#include "failslab.h"
#include "zswap.h"

#define PAGES	64
#define TRIES	400

static const char * const ours[] = { "zswap", "zpool", "zs_", "crypto_alloc" };

static char *memory;

FIXTURE(alloc) { int zero; };
FIXTURE_VARIANT(alloc) { unsigned int kib; };
FIXTURE_VARIANT_ADD(alloc, small) { };
FIXTURE_VARIANT_ADD(alloc, large) { .kib = 64 };

FIXTURE_SETUP(alloc)
{
	if (!can_fail())
		SKIP(return, "no CONFIG_FAILSLAB");
	need_swap();
	zswap_defaults();
	memory = room(PAGES * PAGE, variant->kib);
}

FIXTURE_TEARDOWN(alloc)
{
	write_text(FAILSLAB "cache-filter", "N");
	munmap(memory, PAGES * PAGE);
	zswap_defaults();
	EXPECT_EQ(count_of("stored_pages"), 0);
}

static int out(void)
{
	return madvise(memory, PAGES * PAGE, MADV_PAGEOUT);
}

/* All memory that a store takes from slabs: runs, nodes of the tree, handles of the pool. */
TEST_F_TIMEOUT(alloc, store, 600)
{
	long refused = count_of("reject_kmemcache_fail") + count_of("reject_alloc_fail");
	int n, result;

	any_may_fail();
	for (n = 1; n < TRIES; n++) {
		bool failed;

		fill(memory, PAGES, TEXT, n);
		settle_lru();
		failed = failing(n, out, &result);
		ASSERT_EQ(wrong(memory, PAGES, TEXT, n), 0);
		ASSERT_EQ(count_of("stored_pages"), 0);
		if (!failed)
			break;
	}
	EXPECT_GT(n, 3);
	if (is_ours())
		EXPECT_GT(count_of("reject_kmemcache_fail") + count_of("reject_alloc_fail"),
			  refused);
}

/* Pages: those of the pool, and of new slabs. */
TEST_F_TIMEOUT(alloc, store_pages, 600)
{
	int n, result;

	if (!pages_can_fail())
		SKIP(return, "no CONFIG_FAIL_PAGE_ALLOC");
	fill(memory, PAGES, TEXT, 0);
	settle_lru();
	write_text(FAILSLAB "cache-filter", "Y");
	write_text(FAIL_PAGE "verbose", "0");
	write_text(FAIL_PAGE "min-order", "0");
	write_text(FAIL_PAGE "ignore-gfp-wait", "N");
	write_text(FAIL_PAGE "ignore-gfp-highmem", "N");
	write_text(FAIL_PAGE "task-filter", "Y");
	for (n = 1; n < TRIES; n++) {
		bool failed;

		fill(memory, PAGES, TEXT, n);
		settle_lru();
		failed = failing(n, out, &result);
		ASSERT_EQ(wrong(memory, PAGES, TEXT, n), 0);
		if (!failed)
			break;
	}
	EXPECT_GT(n, 2);
}

static int change_compressor(void)
{
	return try_parameter("compressor", "lz4") ? 0 : -errno;
}

static int change_zpool(void)
{
	return try_parameter("zpool", "zbud") ? 0 : -errno;
}

/* The new pool, or the old one, whole: its name says which, and pages go there. */
static void change(struct __test_metadata *_metadata, const char *file, const char *from,
		   const char *to, int (*op)(void))
{
	int n, result;

	any_may_fail();
	for (n = 1; n < TRIES; n++) {
		bool failed;

		set_parameter(file, from);
		failed = failing(n, op, &result);
		ASSERT_TRUE(parameter_is(file, result ? from : to))
			TH_LOG("%d: result %d", n, result);
		fill(memory, PAGES, TEXT, n);
		swap_out(memory, PAGES);
		ASSERT_EQ(count_of("stored_pages"), PAGES);
		ASSERT_EQ(wrong(memory, PAGES, TEXT, n), 0);
		if (!failed)
			break;
		EXPECT_NE(result, 1);
	}
	EXPECT_GT(n, 5);
	EXPECT_EQ(result, 0);
}

TEST_F_TIMEOUT(alloc, compressor, 600)
{
	if (variant->kib)
		SKIP(return, "the same");
	change(_metadata, "compressor", "lzo", "lz4", change_compressor);
}

TEST_F_TIMEOUT(alloc, zpool, 600)
{
	if (variant->kib)
		SKIP(return, "the same");
	change(_metadata, "zpool", "zsmalloc", "zbud", change_zpool);
}

TEST_NOTHING_LEAKED(ours)

TEST_HARNESS_MAIN

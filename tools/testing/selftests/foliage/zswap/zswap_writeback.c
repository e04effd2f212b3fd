// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that zswap writes to the device after all: at the pool's limit, and as reclaim asks. What
 * was written is read from there, and no page is lost or read twice.
 */
#define _GNU_SOURCE
#include "harness.h"
#include "zswap.h"

#define PAGES	2048

FIXTURE(writeback) { char *p; };
FIXTURE_VARIANT(writeback) { unsigned int kib; bool loop; enum contents kind; };
FIXTURE_VARIANT_ADD(writeback, small_zram) { .kind = TEXT };
FIXTURE_VARIANT_ADD(writeback, large_zram) { .kib = 64, .kind = TEXT };
FIXTURE_VARIANT_ADD(writeback, large_loop) { .kib = 64, .loop = true, .kind = TEXT };
FIXTURE_VARIANT_ADD(writeback, mixed_zram) { .kib = 64, .kind = MIXED };
FIXTURE_VARIANT_ADD(writeback, mixed_loop) { .kib = 128, .loop = true, .kind = MIXED };

FIXTURE_SETUP(writeback)
{
	need_swap();
	zswap_defaults();
	if (variant->kib && !is_ours())
		SKIP(return, "no CONFIG_FOLIAGE_ZSWAP");
	if (variant->loop)
		swap_on_loop(128);
	self->p = room(PAGES * PAGE, variant->kib);
	fill(self->p, PAGES, variant->kind, 1);
	swap_out(self->p, PAGES);
}

FIXTURE_TEARDOWN(writeback)
{
	munmap(self->p, PAGES * PAGE);
	zswap_defaults();
	if (variant->loop)
		EXPECT_TRUE(swap_off_loop());
	EXPECT_EQ(count_of("stored_pages"), 0);
}

/* A store that meets the limit starts the worker; it ends below the threshold. */
static void press(long least)
{
	char *p = room(HUGE, 0);

	for (int i = 0; i < 200 && count_of("pool_total_size") > least; i++) {
		fill(p, 64, TEXT, i);
		settle_lru();
		madvise(p, 64 * PAGE, MADV_PAGEOUT);
		usleep(20000);
	}
	munmap(p, HUGE);
}

static long data_pages(enum contents kind)
{
	long n = 0;

	for (size_t i = 1; i <= PAGES; i++)
		n += kind == TEXT || i % 3 == 0;
	return n;
}

TEST_F(writeback, at_the_pools_limit)
{
	long wb = vmstat_of("zswpwb"), pages = count_of("stored_pages");

	set_parameter("max_pool_percent", "0");
	press(0);
	EXPECT_EQ(count_of("pool_total_size"), 0);
	/* What repeats a word takes no room, and stays. */
	EXPECT_EQ(vmstat_of("zswpwb") - wb, data_pages(variant->kind));
	EXPECT_EQ(count_of("stored_pages"), pages - data_pages(variant->kind));
	EXPECT_EQ(wrong(self->p, PAGES, variant->kind, 1), 0);
}

/* A part of them, so that folios are here and there; read in an order that meets both. */
TEST_F(writeback, in_part)
{
	long size = count_of("pool_total_size");

	set_parameter("max_pool_percent", "0");
	press(size / 2);
	set_parameter("max_pool_percent", "20");
	EXPECT_GT(count_of("written_back_pages"), 0);
	for (size_t i = 0; i < PAGES; i++) {
		size_t at = (i * 1021 + 13) % PAGES;

		ASSERT_TRUE(page_is(self->p + at * PAGE, variant->kind, at + 1));
	}
}

/* The worker may be at it still: until nothing changes. */
static long stored_in_the_end(void)
{
	long n = count_of("stored_pages"), before;

	do {
		before = n;
		usleep(300000);
		n = count_of("stored_pages");
	} while (n != before);
	return n;
}

/* Full until it is below the threshold, not only below the limit. */
TEST_F(writeback, hysteresis)
{
	char *p = room(HUGE, 0);
	long stored;

	set_parameter("max_pool_percent", "0");
	fill(p, 8, TEXT, 1);
	swap_out(p, 8);
	/* The limit is far now, and the threshold is not: nothing is taken. */
	set_parameter("accept_threshold_percent", "0");
	set_parameter("max_pool_percent", "50");
	stored = count_of("pool_total_size");
	if (stored) {
		fill(p, 8, TEXT, 2);
		swap_out(p, 8);
		EXPECT_LE(count_of("pool_total_size"), stored);
	}
	set_parameter("accept_threshold_percent", "90");
	stored = stored_in_the_end();
	fill(p, 8, TEXT, 3);
	swap_out(p, 8);
	EXPECT_EQ(count_of("stored_pages"), stored + 8);
	EXPECT_EQ(wrong(p, 8, TEXT, 3), 0);
	EXPECT_EQ(wrong(self->p, PAGES, variant->kind, 1), 0);
	munmap(p, HUGE);
}

/* Reclaim of slabs: nothing while it is off, and by and by all of it when it is on. */
TEST_F(writeback, by_the_shrinker)
{
	long wb = vmstat_of("zswpwb");

	write_text("/proc/sys/vm/drop_caches", "2");
	EXPECT_EQ(vmstat_of("zswpwb"), wb);
	set_parameter("shrinker_enabled", "1");
	/* The better it compresses the less is looked at; and all of it gets a second chance. */
	for (int i = 0; i < 1000 && vmstat_of("zswpwb") - wb < 100; i++)
		write_text("/proc/sys/vm/drop_caches", "2");
	EXPECT_GE(vmstat_of("zswpwb") - wb, 100);
	set_parameter("shrinker_enabled", "0");
	EXPECT_EQ(wrong(self->p, PAGES, variant->kind, 1), 0);
}

TEST_HARNESS_MAIN

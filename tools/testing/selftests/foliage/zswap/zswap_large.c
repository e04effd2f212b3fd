// SPDX-License-Identifier: GPL-2.0
/*
 * Large folios: stored as they are, all or nothing; read together, or one page at a time; words
 * that repeat; and pages that do not compress.
 */
#define _GNU_SOURCE
#include "harness.h"
#include "zswap.h"

#define PAGES	512

FIXTURE(large) { char *p; };
FIXTURE_VARIANT(large) { bool loop; };
FIXTURE_VARIANT_ADD(large, zram) { };
FIXTURE_VARIANT_ADD(large, loop) { .loop = true };

FIXTURE_SETUP(large)
{
	need_swap();
	zswap_defaults();
	if (!is_ours())
		SKIP(return, "no CONFIG_FOLIAGE_ZSWAP");
	if (variant->loop)
		swap_on_loop(64);
	self->p = room(PAGES * PAGE, 64);
}

FIXTURE_TEARDOWN(large)
{
	munmap(self->p, PAGES * PAGE);
	zswap_defaults();
	if (variant->loop)
		EXPECT_TRUE(swap_off_loop());
}

TEST_F(large, stored_as_runs)
{
	static const struct { unsigned int kib, runs; } size[] = {
		{ 0, PAGES }, { 16, PAGES / 4 }, { 32, PAGES / 8 }, { 64, PAGES / 16 },
		{ 128, PAGES / 16 }, { 2048, PAGES / 16 },
	};
	long out = vmstat_of("zswpout");

	for (int i = 0; i < 6; i++) {
		char *p = room(PAGES * PAGE, size[i].kib);

		fill(p, PAGES, TEXT, i);
		swap_out(p, PAGES);
		EXPECT_EQ(count_of("stored_pages"), PAGES) TH_LOG("%u KiB", size[i].kib);
		EXPECT_EQ(count_of("stored_runs"), size[i].runs) TH_LOG("%u KiB", size[i].kib);
		munmap(p, PAGES * PAGE);
		EXPECT_EQ(count_of("stored_runs"), 0);
	}
	EXPECT_EQ(vmstat_of("zswpout"), out + 6 * PAGES);
}

/* One fault brings a folio back where its size is allowed, and it is dirty: nothing else has it. */
TEST_F(large, read_together)
{
	long in = vmstat_of("zswpin"), faults;

	fill(self->p, PAGES, TEXT, 1);
	swap_out(self->p, PAGES);
	faults = own_faults();
	for (size_t i = 0; i < PAGES; i += PER_FOLIO)
		*(volatile char *)(self->p + i * PAGE);
	EXPECT_EQ(own_faults() - faults, PAGES / PER_FOLIO);
	EXPECT_EQ(swapped(self->p, PAGES), 0);
	EXPECT_TRUE(in_large_folio(self->p));
	EXPECT_EQ(vmstat_of("zswpin"), in + PAGES);
	EXPECT_EQ(count_of("stored_pages"), 0);
	EXPECT_EQ(wrong(self->p, PAGES, TEXT, 1), 0);
}

TEST_F(large, not_where_the_size_is_not_allowed)
{
	fill(self->p, PAGES, TEXT, 1);
	swap_out(self->p, PAGES);
	write_text(THP "hugepages-64kB/enabled", "never");
	EXPECT_EQ(wrong(self->p, PAGES, TEXT, 1), 0);
	EXPECT_FALSE(in_large_folio(self->p));
	EXPECT_EQ(count_of("stored_pages"), 0);
}

/* Of a folio of which a part has gone the rest comes page by page. */
TEST_F(large, not_when_a_part_has_gone)
{
	fill(self->p, PAGES, TEXT, 1);
	swap_out(self->p, PAGES);
	for (size_t i = 5; i < PAGES; i += PER_FOLIO)
		ASSERT_EQ(madvise(self->p + i * PAGE, PAGE, MADV_DONTNEED), 0);
	for (size_t i = 0; i < PAGES; i++)
		ASSERT_TRUE(i % PER_FOLIO == 5 ? page_is(self->p + i * PAGE, ZEROES, 0) :
						 page_is(self->p + i * PAGE, TEXT, 1 + i));
	EXPECT_FALSE(in_large_folio(self->p));
	EXPECT_EQ(count_of("stored_runs"), 0);
}

/* Of a folio of which the device has a page, nothing is read from the wrong place. */
TEST_F(large, all_or_nothing)
{
	long poor = count_of("reject_compress_poor"), out = vmstat_of("zswpout");

	fill(self->p, PAGES, TEXT, 1);
	for (size_t i = 9; i < PAGES; i += PER_FOLIO)
		page_fill(self->p + i * PAGE, NOISE, i);
	swap_out(self->p, PAGES);
	EXPECT_EQ(count_of("stored_pages"), 0);
	EXPECT_EQ(count_of("pool_total_size"), 0);
	EXPECT_EQ(count_of("reject_compress_poor"), poor + PAGES);
	EXPECT_EQ(vmstat_of("zswpout"), out);
	for (size_t i = 0; i < PAGES; i++)
		ASSERT_TRUE(i % PER_FOLIO == 9 ? page_is(self->p + i * PAGE, NOISE, i) :
						 page_is(self->p + i * PAGE, TEXT, 1 + i));
}

TEST_F(large, repeated_words_take_no_memory)
{
	fill(self->p, PAGES, WORD, 3);
	swap_out(self->p, PAGES);
	EXPECT_EQ(count_of("stored_pages"), PAGES);
	EXPECT_EQ(count_of("pool_total_size"), 0);
	EXPECT_EQ(wrong(self->p, PAGES, WORD, 3), 0);
	EXPECT_EQ(count_of("stored_pages"), 0);
	/* All but the last word, the first, one in the middle. */
	fill(self->p, 3, WORD, 3);
	*(volatile uint64_t *)(self->p + PAGE - 8) ^= 1;
	*(volatile uint64_t *)(self->p + PAGE) ^= 1;
	*(volatile uint64_t *)(self->p + 2 * PAGE + 1000 * 2) ^= 1;
	swap_out(self->p, PER_FOLIO);
	EXPECT_GT(count_of("pool_total_size"), 0);
	EXPECT_EQ(*(volatile uint64_t *)(self->p + PAGE - 8), word_of(WORD, 3, 0) ^ 1);
	EXPECT_EQ(*(volatile uint64_t *)(self->p + PAGE), word_of(WORD, 4, 0) ^ 1);
	EXPECT_EQ(*(volatile uint64_t *)(self->p + 2 * PAGE + 2000), word_of(WORD, 5, 0) ^ 1);
}

/* Written to in the swap cache, and out again to the same slots: the new version is read. */
TEST_F(large, stored_again)
{
	char *p = room(PAGES * PAGE, 0);

	for (int round = 0; round < 5; round++) {
		fill(p, PAGES, round == 3 ? NOISE : TEXT, round);
		swap_out(p, PAGES);
		if (round == 1)
			set_parameter("enabled", "0");
		if (round == 2)
			set_parameter("enabled", "1");
		/* Read only: clean, and in the swap cache where the device is slow. */
		ASSERT_EQ(wrong(p, PAGES, round == 3 ? NOISE : TEXT, round), 0);
		swap_out(p, PAGES);
		ASSERT_EQ(wrong(p, PAGES, round == 3 ? NOISE : TEXT, round), 0);
	}
	munmap(p, PAGES * PAGE);
	EXPECT_EQ(count_of("stored_pages"), 0);
}

TEST_HARNESS_MAIN

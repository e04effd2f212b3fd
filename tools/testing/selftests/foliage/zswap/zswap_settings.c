// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/module/zswap/parameters: what is taken, what is refused, and what holds for pages that are
 * there already. The first test is the first to touch zswap in this boot: its order matters.
 */
#define _GNU_SOURCE
#include "harness.h"
#include "zswap.h"

#define PAGES	512

FIXTURE(untouched) { };
FIXTURE_SETUP(untouched) { }
FIXTURE_TEARDOWN(untouched) { }

TEST_F(untouched, off_by_default)
{
	if (count_of("stored_pages") >= 0)
		SKIP(return, "somebody has enabled it before");
	EXPECT_TRUE(parameter_is("enabled", "N"));
	EXPECT_TRUE(parameter_is("shrinker_enabled", "N"));
	EXPECT_TRUE(parameter_is("max_pool_percent", "20"));
	EXPECT_TRUE(parameter_is("accept_threshold_percent", "90"));
	EXPECT_TRUE(parameter_is("compressor", "lzo"));
	EXPECT_TRUE(parameter_is("zpool", "zsmalloc"));
	/* What cannot be done does not set it up. */
	EXPECT_FALSE(try_parameter("enabled", "perhaps"));
	EXPECT_EQ(errno, EINVAL);
	EXPECT_TRUE(try_parameter("enabled", "0"));
}

TEST_F(untouched, bad_names_before_it_is_set_up)
{
	if (count_of("stored_pages") >= 0)
		SKIP(return, "somebody has enabled it before");
	EXPECT_FALSE(try_parameter("compressor", "no-such"));
	EXPECT_TRUE(parameter_is("compressor", "lzo"));
	EXPECT_FALSE(try_parameter("zpool", "no-such"));
	EXPECT_TRUE(parameter_is("zpool", "zsmalloc"));
	/* A good one is kept for later. */
	EXPECT_TRUE(try_parameter("compressor", "lz4"));
	EXPECT_TRUE(parameter_is("compressor", "lz4"));
	EXPECT_TRUE(try_parameter("enabled", "1"));
	EXPECT_TRUE(parameter_is("compressor", "lz4"));
}

FIXTURE(settings) { char *p; };

FIXTURE_SETUP(settings)
{
	need_swap();
	zswap_defaults();
	self->p = room(PAGES * PAGE, 0);
	fill(self->p, PAGES, TEXT, 1);
}

FIXTURE_TEARDOWN(settings)
{
	munmap(self->p, PAGES * PAGE);
	zswap_defaults();
}

TEST_F(settings, bad_names)
{
	static const char * const bad[] = {
		"\n", "no-such", "lzo,lz4", "zsmalloc lzo",
		"a-name-that-is-longer-than-any-algorithm-has-and-so-cannot-be-one-of-them-whatever-"
		"else-it-may-say-about-itself-in-a-hundred-and-twenty-eight-letters-or-more",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		EXPECT_FALSE(try_parameter("compressor", bad[i])) TH_LOG("'%s'", bad[i]);
		EXPECT_EQ(errno, ENOENT);
		EXPECT_FALSE(try_parameter("zpool", bad[i]));
		EXPECT_EQ(errno, ENOENT);
	}
	/* A hash is an algorithm, and no compressor. */
	EXPECT_FALSE(try_parameter("compressor", "crc32c"));
	EXPECT_TRUE(parameter_is("compressor", "lzo"));
	EXPECT_TRUE(parameter_is("zpool", "zsmalloc"));
	swap_out(self->p, PAGES);
	EXPECT_EQ(count_of("stored_pages"), PAGES);
	EXPECT_EQ(wrong(self->p, PAGES, TEXT, 1), 0);
}

TEST_F(settings, numbers)
{
	static const char * const files[] = { "max_pool_percent", "accept_threshold_percent" };

	for (int i = 0; i < 2; i++) {
		EXPECT_FALSE(try_parameter(files[i], "-1"));
		EXPECT_FALSE(try_parameter(files[i], "many"));
		EXPECT_FALSE(try_parameter(files[i], "\n"));
		EXPECT_TRUE(try_parameter(files[i], "50\n"));
		EXPECT_TRUE(parameter_is(files[i], "50"));
	}
	EXPECT_FALSE(try_parameter("shrinker_enabled", "2"));
	EXPECT_FALSE(try_parameter("enabled", "2"));
	EXPECT_TRUE(parameter_is("enabled", "Y"));
	EXPECT_TRUE(try_parameter("enabled", "n"));
	EXPECT_TRUE(parameter_is("enabled", "N"));
}

TEST_F(settings, white_space)
{
	EXPECT_TRUE(try_parameter("compressor", "  lz4\n"));
	EXPECT_TRUE(parameter_is("compressor", "lz4"));
	EXPECT_TRUE(try_parameter("compressor", "lz4"));
}

/* Nothing new, and what is there stays until it is read. */
TEST_F(settings, switched_off)
{
	long in = vmstat_of("zswpin");
	char *more = room(PAGES * PAGE, 0);

	swap_out(self->p, PAGES);
	set_parameter("enabled", "0");
	fill(more, PAGES, TEXT, 7);
	swap_out(more, PAGES);
	EXPECT_EQ(count_of("stored_pages"), PAGES);
	EXPECT_EQ(wrong(more, PAGES, TEXT, 7), 0);
	EXPECT_EQ(vmstat_of("zswpin"), in);
	EXPECT_EQ(wrong(self->p, PAGES, TEXT, 1), 0);
	EXPECT_EQ(vmstat_of("zswpin"), in + PAGES);
	EXPECT_EQ(count_of("stored_pages"), 0);
	/* Written again while it is off: the old version is not what is read later. */
	fill(self->p, PAGES, TEXT, 9);
	swap_out(self->p, PAGES);
	set_parameter("enabled", "1");
	EXPECT_EQ(wrong(self->p, PAGES, TEXT, 9), 0);
	munmap(more, PAGES * PAGE);
}

/* Old pages are read from where they are, new ones go to the new pool; there and back again. */
TEST_F(settings, switched_pools)
{
	static const char * const to[][2] = {
		{ "lz4", "zsmalloc" }, { "lz4", "zbud" }, { "lzo", "zbud" }, { "lzo", "zsmalloc" },
	};
	char *p[4];

	for (int i = 0; i < 4; i++) {
		set_parameter("compressor", to[i][0]);
		set_parameter("zpool", to[i][1]);
		p[i] = room(PAGES * PAGE, 0);
		fill(p[i], PAGES, TEXT, i * PAGES);
		swap_out(p[i], PAGES);
		EXPECT_EQ(count_of("stored_pages"), (i + 1) * PAGES);
	}
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(wrong(p[i], PAGES, TEXT, i * PAGES), 0);
		EXPECT_EQ(count_of("stored_pages"), (3 - i) * PAGES);
		munmap(p[i], PAGES * PAGE);
	}
	EXPECT_EQ(count_of("pool_total_size"), 0);
}

/* A pool that still has pages is taken again. */
TEST_F(settings, a_pool_comes_back)
{
	swap_out(self->p, PAGES);
	for (int i = 0; i < 20; i++) {
		set_parameter("compressor", "lz4");
		set_parameter("compressor", "lzo");
	}
	EXPECT_EQ(wrong(self->p, PAGES, TEXT, 1), 0);
	EXPECT_EQ(count_of("stored_pages"), 0);
	fill(self->p, PAGES, TEXT, 2);
	swap_out(self->p, PAGES);
	EXPECT_EQ(count_of("stored_pages"), PAGES);
	EXPECT_EQ(wrong(self->p, PAGES, TEXT, 2), 0);
}

/* An emptied pool is freed, in its own time: its name and its memory are gone. */
TEST_F(settings, an_empty_pool_is_freed)
{
	long before = count_of("pool_total_size");

	for (int i = 0; i < 50; i++) {
		set_parameter("zpool", "zbud");
		fill(self->p, PAGES, TEXT, i);
		swap_out(self->p, PAGES);
		set_parameter("zpool", "zsmalloc");
		ASSERT_EQ(wrong(self->p, PAGES, TEXT, i), 0);
	}
	EXPECT_EQ(count_of("pool_total_size"), before);
}

TEST_HARNESS_MAIN

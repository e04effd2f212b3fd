// SPDX-License-Identifier: GPL-2.0
/*
 * What a program has given back stays given back: allocators return pages to the system from the
 * middle of what they keep, and khugepaged at its default settings would fill them again.
 */
#define _GNU_SOURCE
#include <sys/wait.h>

#include "harness.h"
#include "khugepaged.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif

#define TABLES	8

FIXTURE(given_back) { char *p; };

FIXTURE_SETUP(given_back)
{
	knobs_save();
	knob_set(MAX_NONE, PAGES - 1);
	knob_set(SLEEP, 10);
	knob_set(TO_SCAN, 64 * PAGES);
	self->p = thp_room(TABLES * PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

FIXTURE_TEARDOWN(given_back)
{
	munmap(self->p, TABLES * HUGE);
	knobs_restore();
}

/* Of all tables, each @nth page stays. */
static void give_back(char *p, size_t nth, int advice)
{
	for (size_t i = 0; i < TABLES * PAGES; i += nth) {
		size_t nr = nth - 1;

		if (i + nth > TABLES * PAGES)
			nr = TABLES * PAGES - i - 1;
		if (nr && madvise(p + (i + 1) * PAGE, nr * PAGE, advice))
			fail_setup("madvise(%d) of page %zu", advice, i + 1);
	}
}

/* Small pages, which khugepaged does not see before something of them was given back. */
static void fill_small(char *p)
{
	long scans;

	introduce();
	knob_set(SLEEP, 3600000);
	madvise(p, TABLES * HUGE, MADV_NOHUGEPAGE);
	thp_fill(p, TABLES * PAGES);
	/* A round that the knob has begun. */
	do {
		scans = number_of("full_scans");
		usleep(200000);
	} while (number_of("full_scans") != scans);
	madvise(p, TABLES * HUGE, MADV_HUGEPAGE);
}

static bool passes(int n)
{
	while (n-- > 0)
		if (!scanned())
			return false;
	return true;
}

/* golang/go #64332: 31 of 32. */
TEST_F(given_back, of_huge_pages)
{
	thp_fill(self->p, TABLES * PAGES);
	ASSERT_TRUE(is_huge(self->p) || smaps_kb(self->p, "AnonHugePages") == TABLES * 2048);
	give_back(self->p, 32, MADV_DONTNEED);
	ASSERT_TRUE(passes(3));
	EXPECT_EQ(smaps_kb(self->p, "Rss"), TABLES * 2048 / 32);
	EXPECT_EQ(thp_wrong(self->p, 1), 0);
}

/* gperftools #1073: all but each 33rd, so that tables differ. */
TEST_F(given_back, of_small_pages)
{
	fill_small(self->p);
	give_back(self->p, 33, MADV_DONTNEED);
	knob_set(SLEEP, 10);
	ASSERT_TRUE(passes(3));
	EXPECT_EQ(smaps_kb(self->p, "Rss"), (TABLES * PAGES + 32) / 33 * 4);
}

/* Reclaim would take them: they are in nobody's use. */
TEST_F(given_back, lazily)
{
	fill_small(self->p);
	give_back(self->p, 32, MADV_FREE);
	settle_lru();
	knob_set(SLEEP, 10);
	ASSERT_TRUE(passes(3));
	EXPECT_EQ(smaps_kb(self->p, "AnonHugePages"), 0);
}

/* All of it is used again. */
TEST_F(given_back, and_taken_again)
{
	thp_fill(self->p, TABLES * PAGES);
	give_back(self->p, 32, MADV_DONTNEED);
	thp_fill(self->p, TABLES * PAGES);
	settle_lru();
	ASSERT_TRUE(passes(3));
	EXPECT_EQ(smaps_kb(self->p, "AnonHugePages"), TABLES * 2048);
	EXPECT_EQ(thp_wrong(self->p, TABLES * PAGES), 0);
}

/* The note has gone with that: from here on it is as if nothing had been given back. */
TEST_F(given_back, forgotten)
{
	thp_fill(self->p, PAGES);
	ASSERT_EQ(madvise(self->p + PAGE, PAGE, MADV_DONTNEED), 0);
	thp_fill(self->p, PAGES);
	settle_lru();
	ASSERT_TRUE(passes(2));
	ASSERT_EQ(smaps_kb(self->p, "AnonHugePages"), 2048);
	/* Entries again, and a hole; but a page that was moved away was not given back. */
	ASSERT_NE(mremap(self->p + PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL), MAP_FAILED);
	ASSERT_TRUE(passes(2));
	EXPECT_EQ(smaps_kb(self->p, "AnonHugePages"), 2048);
}

/* A hole that nobody made is filled, as far as max_ptes_none allows. */
TEST_F(given_back, never)
{
	self->p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	madvise(self->p, HUGE, MADV_NOHUGEPAGE);
	thp_fill(self->p, 1);
	offer(self->p);
	ASSERT_TRUE(passes(2));
	EXPECT_TRUE(is_huge(self->p));
}

/* What was said last counts. */
TEST_F(given_back, and_wanted_again)
{
	thp_fill(self->p, PAGES);
	madvise(self->p, HUGE, MADV_NOHUGEPAGE);
	ASSERT_EQ(madvise(self->p + PAGE, (PAGES - 1) * PAGE, MADV_DONTNEED), 0);
	settle_lru();
	madvise(self->p, HUGE, MADV_HUGEPAGE);
	ASSERT_TRUE(passes(2));
	EXPECT_TRUE(is_huge(self->p));
}

/* Who asks for it gets it. */
TEST_F(given_back, and_asked_for)
{
	thp_fill(self->p, PAGES);
	ASSERT_EQ(madvise(self->p + PAGE, (PAGES - 1) * PAGE, MADV_DONTNEED), 0);
	settle_lru();
	ASSERT_EQ(madvise(self->p, HUGE, MADV_COLLAPSE), 0);
	EXPECT_EQ(smaps_kb(self->p, "Rss"), 2048);
	EXPECT_EQ(thp_wrong(self->p, 1), 0);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * What goes out comes back, byte for byte: each folio size, compressor, pool and kind of contents,
 * from a device that answers at once and from one that does not.
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "harness.h"
#include "zswap.h"

#define PAGES	512

FIXTURE(data) { char *p; };
FIXTURE_VARIANT(data) { const char *compressor, *zpool; bool loop; };
FIXTURE_VARIANT_ADD(data, lzo_zsmalloc) { .compressor = "lzo", .zpool = "zsmalloc" };
FIXTURE_VARIANT_ADD(data, lz4_zsmalloc) { .compressor = "lz4", .zpool = "zsmalloc" };
FIXTURE_VARIANT_ADD(data, lzo_zbud) { .compressor = "lzo", .zpool = "zbud" };
FIXTURE_VARIANT_ADD(data, lz4_zbud) { .compressor = "lz4", .zpool = "zbud" };
/* By the name of the driver there is no way but by requests. */
FIXTURE_VARIANT_ADD(data, request_zsmalloc) { .compressor = "lz4-scomp", .zpool = "zsmalloc" };
FIXTURE_VARIANT_ADD(data, request_zbud) { .compressor = "lz4-scomp", .zpool = "zbud" };
FIXTURE_VARIANT_ADD(data, lz4_loop) { .compressor = "lz4", .zpool = "zsmalloc", .loop = true };

FIXTURE_SETUP(data)
{
	need_swap();
	zswap_defaults();
	if (!try_parameter("compressor", variant->compressor) ||
	    !try_parameter("zpool", variant->zpool))
		SKIP(return, "this kernel has no %s or %s", variant->compressor, variant->zpool);
	if (variant->loop)
		swap_on_loop(64);
}

FIXTURE_TEARDOWN(data)
{
	zswap_defaults();
	if (variant->loop)
		EXPECT_TRUE(swap_off_loop());
}

static void out_and_in(struct __test_metadata *_metadata, unsigned int kib, enum contents kind)
{
	char *p = room(PAGES * PAGE, kib);

	for (int round = 0; round < 2; round++) {
		fill(p, PAGES, kind, round * PAGES);
		swap_out(p, PAGES);
		EXPECT_EQ(wrong(p, PAGES, kind, round * PAGES), 0)
			TH_LOG("folios of %u KiB, contents %d, round %d", kib, kind, round);
	}
	/* Again, unchanged: from the swap cache, or stored anew. */
	swap_out(p, PAGES);
	EXPECT_EQ(wrong(p, PAGES, kind, PAGES), 0);
	munmap(p, PAGES * PAGE);
}

TEST_F_TIMEOUT(data, comes_back, 600)
{
	static const unsigned int kib[] = { 0, 16, 64, 2048 };
	static const enum contents kinds[] = { TEXT, NOISE, MIXED };

	for (int i = 0; i < 4; i++)
		for (int j = 0; j < 3; j++)
			out_and_in(_metadata, kib[i], kinds[j]);
	EXPECT_EQ(count_of("stored_pages"), 0);
}

/* Read backwards, in leaps, and only in part. */
TEST_F(data, in_any_order)
{
	char *p = room(PAGES * PAGE, 64);

	fill(p, PAGES, MIXED, 5);
	swap_out(p, PAGES);
	for (size_t i = 0; i < PAGES; i++) {
		size_t at = (i * 389 + 17) % PAGES;

		ASSERT_TRUE(page_is(p + at * PAGE, MIXED, 5 + at));
	}
	munmap(p, PAGES * PAGE);
	p = room(PAGES * PAGE, 64);
	fill(p, PAGES, TEXT, 5);
	swap_out(p, PAGES);
	for (size_t i = 0; i < PAGES; i += 7)
		ASSERT_TRUE(page_is(p + i * PAGE, TEXT, 5 + i));
	munmap(p, PAGES * PAGE);
	EXPECT_EQ(count_of("stored_pages"), 0);
}

/* Two processes have it; each writes, and keeps what it had. */
TEST_F(data, fork)
{
	char *p = room(PAGES * PAGE, 64);
	int status;
	pid_t pid;

	fill(p, PAGES, TEXT, 1);
	swap_out(p, PAGES);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		size_t bad = wrong(p, PAGES, TEXT, 1);

		fill(p, PAGES, TEXT, 2);
		swap_out(p, PAGES);
		_exit(bad || wrong(p, PAGES, TEXT, 2));
	}
	fill(p, PAGES / 2, TEXT, 3);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(wrong(p, PAGES / 2, TEXT, 3), 0);
	EXPECT_EQ(wrong(p + PAGES / 2 * PAGE, PAGES / 2, TEXT, 1 + PAGES / 2), 0);
	munmap(p, PAGES * PAGE);
	EXPECT_EQ(count_of("stored_pages"), 0);
}

/* Files in memory are swapped, too. */
TEST_F(data, shmem)
{
	int fd = memfd_create("zswap", 0);
	char *p;

	ASSERT_EQ(ftruncate(fd, PAGES * PAGE), 0);
	p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(p, MAP_FAILED);
	fill(p, PAGES, MIXED, 3);
	settle_lru();
	ASSERT_EQ(madvise(p, PAGES * PAGE, MADV_PAGEOUT), 0);
	EXPECT_GT(count_of("stored_pages"), 0);
	EXPECT_EQ(wrong(p, PAGES, MIXED, 3), 0);
	settle_lru();
	ASSERT_EQ(madvise(p, PAGES * PAGE, MADV_PAGEOUT), 0);
	ASSERT_EQ(ftruncate(fd, PAGE), 0);
	EXPECT_TRUE(page_is(p, MIXED, 3));
	munmap(p, PAGES * PAGE);
	close(fd);
	EXPECT_EQ(count_of("stored_pages"), 0);
}

/* What is given back, unmapped or left behind is dropped, and nothing else. */
TEST_F(data, given_back)
{
	char *p = room(PAGES * PAGE, 64);
	long base;

	fill(p, PAGES, TEXT, 1);
	swap_out(p, PAGES);
	base = count_of("stored_pages");
	ASSERT_EQ(base, PAGES);
	/* Slots are freed in batches, and what they hold at once. */
	ASSERT_EQ(madvise(p + 3 * PAGE, 2 * PAGE, MADV_DONTNEED), 0);
	EXPECT_EQ(count_of("stored_pages"), base - 2);
	ASSERT_EQ(madvise(p + FOLIO, FOLIO, MADV_DONTNEED), 0);
	EXPECT_EQ(count_of("stored_pages"), base - 2 - (long)PER_FOLIO);
	ASSERT_EQ(madvise(p + 8 * PAGE, FOLIO, MADV_FREE), 0);
	EXPECT_EQ(count_of("stored_pages"), base - 2 - (long)PER_FOLIO - 8);
	EXPECT_EQ(wrong(p, 3, TEXT, 1), 0);
	EXPECT_EQ(wrong(p + 3 * PAGE, 2, ZEROES, 0), 0);
	EXPECT_EQ(wrong(p + 5 * PAGE, 3, TEXT, 6), 0);
	EXPECT_EQ(wrong(p + 2 * FOLIO, PAGES - 32, TEXT, 33), 0);
	munmap(p, PAGES * PAGE);
	EXPECT_EQ(count_of("stored_pages"), 0);
	EXPECT_EQ(count_of("pool_total_size"), 0);
}

static volatile bool touching;

static void *touch(void *p)
{
	while (touching)
		for (size_t i = 0; i < PAGES; i++)
			*((volatile char *)p + i * PAGE);
	return NULL;
}

/*
 * A page can be stored and stay in memory, when somebody touches it in that moment. Zeroes that are
 * written to it later are kept elsewhere (swap_zeromap): the old version may not stay behind, as it
 * would be written back over them.
 */
TEST(zeroes_leave_nothing)
{
	/* Where a round takes its time a few have to do. */
	time_t end = time(NULL) + 20;
	pthread_t thread;
	char *p;

	need_swap();
	zswap_defaults();
	p = room(PAGES * PAGE, 0);
	for (int round = 0; round < 20 && (round < 2 || time(NULL) < end); round++) {
		fill(p, PAGES, TEXT, round);
		touching = true;
		ASSERT_EQ(pthread_create(&thread, NULL, touch, p), 0);
		for (int i = 0; i < 20; i++)
			madvise(p, PAGES * PAGE, MADV_PAGEOUT);
		touching = false;
		ASSERT_EQ(pthread_join(thread, NULL), 0);
		ASSERT_EQ(wrong(p, PAGES, TEXT, round), 0);
		fill(p, PAGES, ZEROES, 0);
		swap_out(p, PAGES);
		ASSERT_EQ(count_of("stored_pages"), 0) TH_LOG("round %d", round);
		ASSERT_EQ(wrong(p, PAGES, ZEROES, 0), 0);
	}
	munmap(p, PAGES * PAGE);
}

/* A device is taken away: what zswap has of its pages is read, too. */
TEST(device_taken_away)
{
	char *p;

	need_swap();
	zswap_defaults();
	swap_on_loop(64);
	p = room(PAGES * PAGE, 64);
	fill(p, PAGES, MIXED, 1);
	swap_out(p, PAGES);
	ASSERT_GT(count_of("stored_pages"), 0);
	ASSERT_TRUE(swap_off_loop());
	EXPECT_EQ(swapped(p, PAGES), 0);
	EXPECT_EQ(count_of("stored_pages"), 0);
	EXPECT_EQ(wrong(p, PAGES, MIXED, 1), 0);
	munmap(p, PAGES * PAGE);
}

TEST_HARNESS_MAIN

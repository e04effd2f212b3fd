// SPDX-License-Identifier: GPL-2.0
/*
 * Faults of huge pages where memory is fragmented: no page block is free as a whole, and compaction
 * cannot make one so. Of each block one page is locked in memory, and such pages are not moved.
 */
#define _GNU_SOURCE
#include <time.h>

#include "harness.h"
#include "thp.h"

#define UNEVICTABLE	"/proc/sys/vm/compact_unevictable_allowed"
#define RESERVE		(64UL << 20)	/* for the system: it stays as it is */
#define FAULTS		512UL
#define BLOCKS		(1UL << 20)	/* of memory, at most */
#define LONGEST_MS	12800		/* LAST_MS of mm/thp/backoff.c */

FIXTURE(backoff) {
	char *locked, *p;
	size_t pages;
	char saved[16];
};

static size_t pages_free(void)
{
	char text[4096], *at;

	/* Counters of each CPU are summed up. */
	write_text("/proc/sys/vm/stat_refresh", "1");
	if (!read_text("/proc/meminfo", text, sizeof(text)))
		fail_setup("/proc/meminfo");
	at = strstr(text, "MemFree:");
	return strtoul(at + sizeof("MemFree:"), NULL, 10) / 4 - RESERVE / PAGE;
}

/* Give back all of what is locked but one page of each block. */
static void fragment(char *p, size_t pages)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	static bool kept[BLOCKS];
	size_t begin = 0, i, block;
	uint64_t e[PAGES];

	memset(kept, 0, sizeof(kept));
	for (i = 0; i <= pages; i++) {
		if (i % PAGES == 0 && pread(fd, e, sizeof(e), ((uintptr_t)p / PAGE + i) * 8) != sizeof(e))
			fail_setup("pagemap");
		block = (e[i % PAGES] & PM_FRAME) / PAGES % BLOCKS;
		if (i < pages && kept[block])
			continue;
		kept[block] = true;
		if (i > begin && munmap(p + begin * PAGE, (i - begin) * PAGE))
			fail_setup("munmap");
		begin = i + 1;
	}
	close(fd);
}

FIXTURE_SETUP(backoff)
{
	ASSERT_TRUE(read_text(UNEVICTABLE, self->saved, sizeof(self->saved)));
	ASSERT_TRUE(write_text(UNEVICTABLE, "0"));
	write_text("/proc/sys/vm/drop_caches", "3");
	self->pages = pages_free();
	self->locked = mmap(NULL, self->pages * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(self->locked, MAP_FAILED);
	madvise(self->locked, self->pages * PAGE, MADV_NOHUGEPAGE);
	ASSERT_EQ(mlock(self->locked, self->pages * PAGE), 0);
	fragment(self->locked, self->pages);
	self->p = thp_room(FAULTS * PAGES, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}

FIXTURE_TEARDOWN(backoff)
{
	munmap(self->p, FAULTS * HUGE);
	munmap(self->locked, self->pages * PAGE);
	EXPECT_TRUE(write_text(UNEVICTABLE, self->saved));
}

static double ms_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* A fault in each of these. Return: the longest, in milliseconds. */
static double fault_each(char *p, size_t nr)
{
	double longest = 0, begin, took;

	for (size_t i = 0; i < nr; i++) {
		begin = ms_now();
		p[i * HUGE] = 1;
		took = ms_now() - begin;
		if (took > longest)
			longest = took;
	}
	return longest;
}

/* The first waits; those that come after it do not. */
TEST_F(backoff, others_are_spared)
{
	long stalls = vm_count("compact_stall");
	double begin = ms_now(), longest = fault_each(self->p, FAULTS);

	stalls = vm_count("compact_stall") - stalls;
	TH_LOG("%lu faults took %.0f ms, the longest %.1f; %ld compacted", FAULTS, ms_now() - begin, longest, stalls);
	EXPECT_GT(stalls, 0);
	EXPECT_LE(stalls, FAULTS / 16);
}

/* Nobody is spared for good. What is free after all is used up meanwhile. */
TEST_F(backoff, tried_again)
{
	long stalls, fallbacks = vm_count("thp_fault_fallback"), last;
	double begin = ms_now();
	size_t i = FAULTS / 4;

	fault_each(self->p, i);
	stalls = vm_count("compact_stall");
	for (; i < FAULTS && vm_count("compact_stall") == stalls; i++) {
		last = fallbacks;
		fault_each(self->p + i * HUGE, 1);
		fallbacks = vm_count("thp_fault_fallback");
		if (fallbacks > last)
			usleep(2 * LONGEST_MS * 1000 / FAULTS);
	}
	TH_LOG("tried again after %.0f ms, %lu faults", ms_now() - begin, i);
	EXPECT_GT(vm_count("compact_stall"), stalls);
}

/* Programs that are not to wait at all never do. */
TEST_F(backoff, defer)
{
	long stalls = vm_count("compact_stall");
	char saved[256], *word;

	ASSERT_TRUE(read_text(THP_DIR "defrag", saved, sizeof(saved)));
	ASSERT_TRUE(write_text(THP_DIR "defrag", "defer"));
	fault_each(self->p, FAULTS);
	word = strchr(saved, '[');
	*strchr(word, ']') = 0;
	EXPECT_TRUE(write_text(THP_DIR "defrag", word + 1));
	EXPECT_EQ(vm_count("compact_stall"), stalls);
}

int main(int argc, char **argv)
{
	return test_harness_run(argc, argv);
}

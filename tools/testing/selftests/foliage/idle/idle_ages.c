// SPDX-License-Identifier: GPL-2.0
/*
 * Idle ages: the period file, the histogram's form, and that the thread and the
 * bitmap leave each other's answers true.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "foliage.h"

#define BUCKETS	9
#define PAGES	8192UL
#define BYTES	(PAGES * PAGE)

struct ages {
	unsigned int period;
	unsigned long long sweeps;
	unsigned long long bytes[BUCKETS][3];	/* anon, file, unevictable */
};

/* Strict: a line more, a word more or another label is a failure. */
static bool ages_parse(const char *path, struct ages *a)
{
	static const char * const label[BUCKETS] = { "0", "1", "2", "4", "8", "16", "32", "64", "128+" };
	char text[4096], name[8];
	int n, b;
	char *at = text;

	memset(a, 0, sizeof(*a));
	if (!read_text(path, text, sizeof(text)) ||
	    sscanf(at, "age anon file unevictable period_ms=%u sweeps=%llu\n%n", &a->period, &a->sweeps, &n) != 2)
		return false;
	for (at += n, b = 0; b < BUCKETS; b++, at += n)
		if (sscanf(at, "%7s %llu %llu %llu\n%n", name, &a->bytes[b][0], &a->bytes[b][1],
			   &a->bytes[b][2], &n) != 4 || strcmp(name, label[b]))
			return false;
	return !*at;
}

/* Wait for @more complete sweeps; one may have begun before the call, so 2 for a whole one. */
static void wait_sweeps(const char *path, struct ages *a, int more)
{
	unsigned long long until;

	if (!ages_parse(path, a))
		fail_setup("%s does not parse", path);
	until = a->sweeps + more;
	for (int i = 0; i < 600 && a->sweeps < until; i++) {
		usleep(100000);
		if (!ages_parse(path, a))
			fail_setup("%s does not parse", path);
	}
	if (a->sweeps < until)
		fail_setup("no sweep in a minute");
}

static unsigned long long anon_from(const struct ages *a, int first)
{
	unsigned long long sum = 0;

	for (int b = first; b < BUCKETS; b++)
		sum += a->bytes[b][0];
	return sum;
}

FIXTURE(ages) {
	char group[64];
	char file[96];
};

FIXTURE_SETUP(ages)
{
	ASSERT_TRUE(write_text(PERIOD, "0"));
	enter_cgroup("ages", self->group, sizeof(self->group));
	snprintf(self->file, sizeof(self->file), "%s/memory.idle_ages", self->group);
}

FIXTURE_TEARDOWN(ages)
{
	write_text(PERIOD, "0");
	leave_cgroup(self->group);
}

TEST_F(ages, off_by_default_and_empty)
{
	struct ages a;
	struct stat st;

	ASSERT_TRUE(ages_parse(AGES, &a));
	EXPECT_EQ(0, a.period);
	EXPECT_EQ(0, a.sweeps);
	for (int b = 0; b < BUCKETS; b++)
		EXPECT_EQ(0, a.bytes[b][0] + a.bytes[b][1] + a.bytes[b][2]);
	ASSERT_EQ(0, stat(AGES, &st));
	EXPECT_EQ(0444, st.st_mode & 07777);
	ASSERT_EQ(0, stat(PERIOD, &st));
	EXPECT_EQ(0644, st.st_mode & 07777);
}

TEST_F(ages, bad_periods)
{
	static const char * const bad[] = { "1", "999", "-1", "x", "", "1000x", "99999999999", "4294967295" };
	char text[32];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		if (*bad[i]) {
			EXPECT_FALSE(write_text(PERIOD, bad[i])) TH_LOG("accepted '%s'", bad[i]);
			EXPECT_EQ(EINVAL, errno);
		}
		ASSERT_TRUE(read_text(PERIOD, text, sizeof(text)));
		EXPECT_STREQ("0\n", text);
	}
	EXPECT_TRUE(write_text(PERIOD, "1000"));
	EXPECT_TRUE(write_text(PERIOD, "5000\n"));
	EXPECT_FALSE(write_text(PERIOD, "999"));
	ASSERT_TRUE(read_text(PERIOD, text, sizeof(text)));
	EXPECT_STREQ("5000\n", text);
}

TEST_F(ages, idle_memory_grows_old)
{
	struct region r;
	struct ages a;

	region_make(&r, ANON_4K, PAGES);
	ASSERT_TRUE(write_text(PERIOD, "1000"));
	wait_sweeps(self->file, &a, 4);
	EXPECT_EQ(1000, a.period);
	/* The first sweep found them in use, then nothing did: age 3. */
	EXPECT_LE(BYTES * 95 / 100, anon_from(&a, 2));
	EXPECT_GE(BYTES * 12 / 10, anon_from(&a, 0));

	flush_tlb();
	for (size_t i = 0; i < PAGES / 2; i++)
		r.p[i * PAGE]++;
	wait_sweeps(self->file, &a, 2);
	EXPECT_LE(BYTES * 45 / 100, a.bytes[0][0] + a.bytes[1][0]);
	EXPECT_LE(BYTES * 45 / 100, anon_from(&a, 3));
	EXPECT_GE(BYTES * 55 / 100, anon_from(&a, 3));
	region_free(&r);
}

TEST_F(ages, kinds)
{
	struct region file, locked;
	struct ages a;

	region_make(&locked, ANON_4K, PAGES);
	ASSERT_EQ(0, mlock(locked.p, BYTES));
	region_make(&file, FILE_EXT4, 2048);
	ASSERT_TRUE(write_text(PERIOD, "1000"));
	wait_sweeps(self->file, &a, 2);
	for (int b = 1; b < BUCKETS; b++)
		for (int k = 0; k < 3; k++)
			a.bytes[0][k] += a.bytes[b][k];
	EXPECT_LE(2048 * PAGE, a.bytes[0][1]);
	EXPECT_LE(BYTES, a.bytes[0][2]);
	region_free(&file);
	region_free(&locked);
}

TEST_F(ages, groups_add_up)
{
	struct ages root, all, mine;
	struct region r;

	region_make(&r, ANON_4K, PAGES);
	ASSERT_TRUE(write_text(PERIOD, "1000"));
	/* Another sweep may be published between two reads: then read again. */
	wait_sweeps(AGES, &all, 2);
	for (int i = 0; i < 10; i++) {
		ASSERT_TRUE(ages_parse(AGES, &all));
		ASSERT_TRUE(ages_parse(self->file, &mine));
		ASSERT_TRUE(ages_parse("/sys/fs/cgroup/memory.idle_ages", &root));
		if (all.sweeps == root.sweeps)
			break;
	}
	ASSERT_EQ(all.sweeps, root.sweeps);
	for (int b = 0; b < BUCKETS; b++) {
		EXPECT_GE(all.bytes[b][0], root.bytes[b][0]);
		EXPECT_GE(root.bytes[b][0], mine.bytes[b][0]);
	}
	EXPECT_LE(BYTES, anon_from(&mine, 0));
	region_free(&r);
}

/* What the thread consumes, the bitmap still sees; what it does not find, stays idle. */
TEST_F(ages, thread_does_not_deceive_the_bitmap)
{
	static bool idle[PAGES];
	size_t wrong = 0;
	struct region r;
	struct ages a;

	region_make(&r, ANON_4K, PAGES);
	ASSERT_TRUE(write_text(PERIOD, "1000"));
	wait_sweeps(self->file, &a, 1);
	for (size_t i = 0; i < PAGES; i++)
		r.p[i * PAGE]++;
	wait_sweeps(self->file, &a, 2);
	region_read(&r, idle);
	for (size_t i = 0; i < PAGES; i++)
		wrong += idle[i];
	EXPECT_EQ(0, wrong) TH_LOG("%zu pages turned idle by themselves", wrong);

	region_mark(&r);
	flush_tlb();
	for (size_t i = 0; i < PAGES; i += 2)
		r.p[i * PAGE]++;
	/* The thread takes the Accessed bits first. */
	wait_sweeps(self->file, &a, 2);
	region_read(&r, idle);
	wrong = 0;
	for (size_t i = 0; i < PAGES; i++)
		wrong += idle[i] != i % 2;
	EXPECT_EQ(0, wrong) TH_LOG("%zu wrong answers", wrong);
	region_free(&r);
}

/* What the bitmap consumes, the thread still counts as a reference. */
TEST_F(ages, bitmap_does_not_deceive_the_thread)
{
	struct region r;
	struct ages a;

	region_make(&r, ANON_4K, PAGES);
	ASSERT_TRUE(write_text(PERIOD, "1000"));
	wait_sweeps(self->file, &a, 3);
	for (int i = 0; i < 3; i++) {
		flush_tlb();
		for (size_t k = 0; k < PAGES; k++)
			r.p[k * PAGE]++;
		region_mark(&r);	/* harvests every bit */
		wait_sweeps(self->file, &a, 2);
		EXPECT_LE(BYTES * 95 / 100, a.bytes[0][0] + a.bytes[1][0]);
	}
	region_free(&r);
}

TEST_F(ages, read_counts_as_a_reference)
{
	static char buf[1 << 20];
	unsigned long long old = 0;
	struct region r;
	struct ages a;

	region_make(&r, FILE_EXT4, PAGES);
	munmap(r.p, BYTES);
	ASSERT_TRUE(write_text(PERIOD, "1000"));
	wait_sweeps(self->file, &a, 4);
	for (int b = 2; b < BUCKETS; b++)
		old += a.bytes[b][1];
	EXPECT_LE(BYTES * 95 / 100, old);
	for (size_t at = 0; at < BYTES; at += sizeof(buf))
		ASSERT_EQ((ssize_t)sizeof(buf), pread(r.fd, buf, sizeof(buf), at));
	wait_sweeps(self->file, &a, 2);
	EXPECT_LE(BYTES * 95 / 100, a.bytes[0][1] + a.bytes[1][1]);
	close(r.fd);
	free(r.pfn);
}

/*
 * Reclaim clears the Accessed bits that it looks at. What it has seen must not be lost: memory
 * that was used between two sweeps is young, whoever looked at it in between.
 */
TEST_F(ages, reclaim_keeps_what_was_used_young)
{
	unsigned long long sweeps;
	struct region r;
	struct ages a;
	char path[96];
	int tries;

	need_swap();
	snprintf(path, sizeof(path), "%s/memory.reclaim", self->group);
	region_make(&r, ANON_4K, PAGES);
	ASSERT_TRUE(write_text(PERIOD, "4000"));
	wait_sweeps(self->file, &a, 2);
	/* All of it between the same two sweeps, or it shows nothing. */
	for (tries = 0; tries < 10; tries++) {
		wait_sweeps(self->file, &a, 1);
		sweeps = a.sweeps;
		flush_tlb();
		for (size_t i = 0; i < PAGES; i++)
			*(volatile char *)(r.p + i * PAGE) = i;
		write_text(path, "2M swappiness=200");
		ASSERT_TRUE(ages_parse(self->file, &a));
		if (a.sweeps == sweeps)
			break;
	}
	ASSERT_LT(tries, 10);
	wait_sweeps(self->file, &a, 1);
	EXPECT_GE(BYTES / 50, anon_from(&a, 1));
	EXPECT_LE(BYTES * 8 / 10, a.bytes[0][0]);
	region_free(&r);
}

TEST_F(ages, frames_start_young)
{
	struct region r;
	struct ages a;

	region_make(&r, ANON_4K, PAGES);
	ASSERT_TRUE(write_text(PERIOD, "1000"));
	wait_sweeps(self->file, &a, 4);
	region_free(&r);
	region_make(&r, ANON_4K, PAGES);
	wait_sweeps(self->file, &a, 1);
	EXPECT_GE(BYTES / 10, anon_from(&a, 3));
	region_free(&r);
}

static long move_to(char *p, unsigned long nodes)
{
	return syscall(SYS_mbind, p, BYTES, MPOL_BIND, &nodes, 64, MPOL_MF_MOVE | MPOL_MF_STRICT);
}

/* It is the same memory, in other frames. */
TEST_F(ages, stay_over_a_migration)
{
	struct region small, huge;
	struct ages a;

	region_make(&small, ANON_4K, PAGES);
	region_make(&huge, ANON_2M, PAGES);
	ASSERT_TRUE(write_text(PERIOD, "1000"));
	/* The first sweep may have begun before, the second found them in use. */
	wait_sweeps(self->file, &a, 10);
	EXPECT_LE(2 * BYTES * 95 / 100, anon_from(&a, 4));
	settle_lru();
	for (unsigned long nodes = 1; nodes <= 2; nodes <<= 1) {
		EXPECT_EQ(0, move_to(small.p, nodes));
		EXPECT_EQ(0, move_to(huge.p, nodes));
	}
	wait_sweeps(self->file, &a, 1);
	EXPECT_LE(2 * BYTES * 95 / 100, anon_from(&a, 4));
	region_free(&small);
	region_free(&huge);
}

TEST_F(ages, on_and_off_in_a_hurry)
{
	struct ages a;

	for (int i = 0; i < 50; i++) {
		ASSERT_TRUE(write_text(PERIOD, "1000"));
		ASSERT_TRUE(ages_parse(AGES, &a));
		ASSERT_TRUE(write_text(PERIOD, "0"));
		ASSERT_TRUE(ages_parse(self->file, &a));
		EXPECT_EQ(0, a.sweeps);
	}
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * khugepaged where idle ages are kept: what is used becomes huge, what has been idle for long does not,
 * and what was used a while ago does later.
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "harness.h"
#include "khugepaged.h"

#define MAX_IDLE	KHUGEPAGED "max_idle_sweeps"
#define SWEEP_MS	"1000"

static char was_idle[64], was_period[64];
static volatile bool stop;
static char *hot;

/* --- memory that is used all the time, and memory that is not ---------------------------- */

static void *use(void *unused)
{
	while (!stop) {
		flush_tlb();
		for (size_t i = 0; i < PAGES; i += 7)
			*(volatile char *)(hot + i * PAGE + 8) = 1;
		usleep(5000);
	}
	return NULL;
}

/* Small pages, written to once. */
static char *memory(void)
{
	char *p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	madvise(p, HUGE, MADV_NOHUGEPAGE);
	thp_fill(p, PAGES);
	return p;
}

static long sweeps(void)
{
	char text[4096], *at;

	if (!read_text(AGES, text, sizeof(text)))
		return 0;
	at = strstr(text, "sweeps=");
	return at ? atol(at + strlen("sweeps=")) : 0;
}

/* Sweeps over all memory since: the one that is going on may have been past us. */
static bool swept(int n)
{
	long began = sweeps();

	for (int i = 0; i < 6000; i++) {
		if (sweeps() > began + n)
			return true;
		usleep(10000);
	}
	return false;
}

static void idle_limit(const char *text)
{
	if (!write_text(MAX_IDLE, text))
		fail_setup(MAX_IDLE);
}

/* --- the tests -------------------------------------------------------------------------- */

FIXTURE(used) { char *cold; pthread_t user; };

FIXTURE_SETUP(used)
{
	if (access(PERIOD, W_OK))
		SKIP(return, "no idle ages: CONFIG_FOLIAGE_IDLE");
	knobs_save();
	if (!read_text(MAX_IDLE, was_idle, sizeof(was_idle)) || !read_text(PERIOD, was_period, sizeof(was_period)))
		fail_setup(MAX_IDLE);
	knob_set(SLEEP, 3600000);
	knob_set(TO_SCAN, 64 * PAGES);
	introduce();
	/* Its round is over before there is anything to be seen. */
	usleep(500000);
	hot = memory();
	self->cold = memory();
	settle_lru();
	stop = false;
	pthread_create(&self->user, NULL, use, NULL);
	if (!write_text(PERIOD, SWEEP_MS))
		fail_setup(PERIOD);
}

FIXTURE_TEARDOWN(used)
{
	stop = true;
	pthread_join(self->user, NULL);
	write_text(PERIOD, was_period);
	write_text(MAX_IDLE, was_idle);
	munmap(hot, HUGE);
	munmap(self->cold, HUGE);
	knobs_restore();
}

/* A scan passes over an address space whose lock somebody waits for, so one is not enough. */
#define MANY	10

/* Full scans, and none after these: how many there were. */
static long scans_of(char *cold, int n)
{
	long began = number_of("full_scans");

	madvise(hot, HUGE, MADV_HUGEPAGE);
	madvise(cold, HUGE, MADV_HUGEPAGE);
	knob_set(SLEEP, 10);
	for (int i = 0; i < 6000 && number_of("full_scans") < began + n; i++)
		usleep(1000);
	knob_set(SLEEP, 3600000);
	return number_of("full_scans") - began;
}

TEST_F(used, idle_is_left)
{
	idle_limit("2");
	ASSERT_TRUE(swept(4));
	/* However many: 4 sweeps are too long ago for all of them. */
	EXPECT_GE(scans_of(self->cold, MANY), MANY);
	EXPECT_TRUE(is_huge(hot));
	EXPECT_FALSE(is_huge(self->cold));
	/* Used once more, it is not idle. */
	*(volatile char *)self->cold = *(volatile char *)self->cold;
	EXPECT_GE(scans_of(self->cold, MANY), MANY);
	EXPECT_TRUE(is_huge(self->cold));
	EXPECT_EQ(thp_wrong(self->cold, PAGES), 0);
}

TEST_F(used, unless_nobody_asks)
{
	idle_limit("0");
	ASSERT_TRUE(swept(4));
	EXPECT_GE(scans_of(self->cold, MANY), MANY);
	EXPECT_TRUE(is_huge(hot));
	EXPECT_TRUE(is_huge(self->cold));
}

/* All of a row of limits, 1 2 4 ... 64: some of them let it pass, though the first do not. */
TEST_F(used, later)
{
	idle_limit("64");
	ASSERT_TRUE(swept(4));
	EXPECT_GE(scans_of(self->cold, 3 * MANY), 3 * MANY);
	EXPECT_TRUE(is_huge(hot));
	EXPECT_TRUE(is_huge(self->cold));
	EXPECT_EQ(thp_wrong(self->cold, PAGES), 0);
}

/* Where ages were never kept, all is used. */
TEST_F(used, without_ages)
{
	ASSERT_TRUE(write_text(PERIOD, "0"));
	idle_limit("1");
	sleep(3);
	EXPECT_GE(scans_of(self->cold, MANY), MANY);
	EXPECT_TRUE(is_huge(self->cold));
}

TEST_F(used, knob)
{
	EXPECT_FALSE(write_text(MAX_IDLE, "-1"));
	EXPECT_FALSE(write_text(MAX_IDLE, "some"));
	EXPECT_FALSE(write_text(MAX_IDLE, "4294967296"));
	EXPECT_EQ(number_of("max_idle_sweeps"), atol(was_idle));
	EXPECT_EQ(atol(was_idle), 8);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Where a huge page lies that was made later, and who pays for it: the node with the most of the
 * memory, and the cgroup of the process, within its limit.
 */
#define _GNU_SOURCE
#include <linux/mempolicy.h>
#include <sys/syscall.h>

#include "harness.h"
#include "khugepaged.h"

#define CGROUP_SLACK	(2UL << 20)	/* what a cgroup counts in advance, on two CPUs */

static char *small_room(void)
{
	char *p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	madvise(p, HUGE, MADV_NOHUGEPAGE);
	return p;
}

/* Not by khugepaged, which sleeps. */
static int collapse(char *p)
{
	settle_lru();
	madvise(p, HUGE, MADV_HUGEPAGE);
	return madvise(p, HUGE, MADV_COLLAPSE) ? -errno : 0;
}

/* --- nodes ------------------------------------------------------------------------------ */

FIXTURE(node) { char *p; };
FIXTURE_VARIANT(node) { size_t on_second; int want; };
FIXTURE_VARIANT_ADD(node, most_on_first) { .on_second = 200, .want = 0 };
FIXTURE_VARIANT_ADD(node, most_on_second) { .on_second = 300, .want = 1 };
FIXTURE_VARIANT_ADD(node, all_on_second) { .on_second = PAGES, .want = 1 };

FIXTURE_SETUP(node)
{
	if (access("/sys/devices/system/node/node1", F_OK))
		SKIP(return, "one node only");
	knobs_save();
	knob_set(SLEEP, 3600000);
	introduce();
	usleep(100000);
	self->p = small_room();
}

FIXTURE_TEARDOWN(node)
{
	munmap(self->p, HUGE);
	knobs_restore();
}

static int node_of(char *p)
{
	void *page = p;
	int status = -1;

	if (syscall(SYS_move_pages, 0, 1, &page, NULL, &status, 0))
		fail_setup("move_pages");
	return status;
}

/* The last @nr pages lie on the second node; every other page of a pair may. */
static void fill_nodes(char *p, size_t nr)
{
	int policy[2] = { PAGES - nr, nr };

	for (int node = 0; node < 2; node++) {
		unsigned long mask = 1UL << node;

		if (syscall(SYS_set_mempolicy, MPOL_BIND, &mask, 8 * sizeof(mask)))
			fail_setup("set_mempolicy");
		for (int i = 0; i < policy[node]; i++) {
			size_t at = node ? PAGES - nr + i : i;

			*(volatile uint64_t *)(p + at * PAGE) = at + 1;
			*(volatile uint64_t *)(p + at * PAGE + PAGE - 8) = ~(at + 1);
		}
	}
	if (syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0))
		fail_setup("set_mempolicy");
}

TEST_F(node, by_advice)
{
	fill_nodes(self->p, variant->on_second);
	ASSERT_EQ(node_of(self->p + (PAGES - 1) * PAGE), 1);
	ASSERT_EQ(collapse(self->p), 0);
	EXPECT_EQ(node_of(self->p), variant->want);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

TEST_F(node, by_khugepaged)
{
	knob_set(MAX_NONE, 0);
	knob_set(SLEEP, 10);
	knob_set(TO_SCAN, 64 * PAGES);
	fill_nodes(self->p, variant->on_second);
	offer(self->p);
	ASSERT_TRUE(scanned());
	ASSERT_TRUE(is_huge(self->p));
	EXPECT_EQ(node_of(self->p), variant->want);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

/* --- cgroups ---------------------------------------------------------------------------- */

FIXTURE(cgroup) { char path[128], *p; };

FIXTURE_SETUP(cgroup)
{
	knobs_save();
	knob_set(SLEEP, 3600000);
	introduce();
	usleep(100000);
	enter_cgroup("collapse-where", self->path, sizeof(self->path));
	self->p = small_room();
	/* So that nothing can be reclaimed to make room for more. */
	if (mlock(self->p, HUGE))
		fail_setup("mlock");
	thp_fill(self->p, PAGES);
}

FIXTURE_TEARDOWN(cgroup)
{
	munmap(self->p, HUGE);
	leave_cgroup(self->path);
	knobs_restore();
}

static long cgroup_number(const char *path, const char *file)
{
	char name[256], text[64];

	snprintf(name, sizeof(name), "%s/%s", path, file);
	if (!read_text(name, text, sizeof(text)))
		fail_setup("%s", name);
	return atol(text);
}

static void cgroup_write(const char *path, const char *file, long value)
{
	char name[256], text[64];

	snprintf(name, sizeof(name), "%s/%s", path, file);
	snprintf(text, sizeof(text), "%ld", value);
	if (!write_text(name, value < 0 ? "max" : text))
		fail_setup("%s", name);
}

/* A line of memory.stat or memory.events. */
static long cgroup_line(const char *path, const char *file, const char *what)
{
	static char text[65536] = "\n";
	char name[256], *at;

	snprintf(name, sizeof(name), "%s/%s", path, file);
	if (!read_text(name, text + 1, sizeof(text) - 1))
		fail_setup("%s", name);
	snprintf(name, sizeof(name), "\n%s ", what);
	at = strstr(text, name);
	return at ? atol(at + strlen(name)) : -1;
}

/* The old and the new pages have to be paid for at once, for a moment. */
TEST_F(cgroup, no_room)
{
	cgroup_write(self->path, "memory.max", cgroup_number(self->path, "memory.current") + HUGE / 2);
	EXPECT_EQ(collapse(self->p), -EBUSY);
	EXPECT_FALSE(is_huge(self->p));
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	EXPECT_EQ(cgroup_line(self->path, "memory.events", "oom_kill"), 0);
	cgroup_write(self->path, "memory.max", -1);
	EXPECT_EQ(collapse(self->p), 0);
	EXPECT_TRUE(is_huge(self->p));
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

/* In the end as much is paid for as before, by who paid before. */
TEST_F(cgroup, who_pays)
{
	long before = cgroup_number(self->path, "memory.current"), after;

	EXPECT_EQ(collapse(self->p), 0);
	after = cgroup_number(self->path, "memory.current");
	EXPECT_LT(labs(after - before), CGROUP_SLACK) TH_LOG("%ld, then %ld", before, after);
	EXPECT_EQ(cgroup_line(self->path, "memory.stat", "anon_thp"), HUGE);
	EXPECT_GE(cgroup_line(self->path, "memory.stat", "anon"), (long)HUGE);
	EXPECT_LT(cgroup_line(self->path, "memory.stat", "anon"), (long)(2 * HUGE));
	EXPECT_EQ(cgroup_line(self->path, "memory.stat", "thp_collapse_alloc"), 1);
}

/* khugepaged has no cgroup of its own that would pay. */
TEST_F(cgroup, khugepaged_does_not_pay)
{
	knob_set(MAX_NONE, 0);
	knob_set(SLEEP, 10);
	knob_set(TO_SCAN, 64 * PAGES);
	offer(self->p);
	ASSERT_TRUE(scanned());
	ASSERT_TRUE(is_huge(self->p));
	EXPECT_GE(cgroup_line(self->path, "memory.stat", "anon_thp"), (long)HUGE);
	EXPECT_GE(cgroup_line(self->path, "memory.stat", "thp_collapse_alloc"), 1);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

TEST_HARNESS_MAIN

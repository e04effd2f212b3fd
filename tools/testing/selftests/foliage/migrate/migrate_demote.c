// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that nobody has used for long goes to a slower node instead of to swap. Reclaim isolates
 * the folios and has migrate_pages() move them, with targets that may fail; here the memory of a
 * cgroup is asked for (memory.reclaim). It needs a guest with such a node: scripts/vm --slow-node.
 */
#define _GNU_SOURCE
#include <sys/prctl.h>

#include "harness.h"
#include "migrate.h"

#define DEMOTION	"/sys/kernel/mm/numa/demotion_enabled"
#define TIERS		"/sys/devices/virtual/memory_tiering/"
#define PAGES		1024UL
#define SLOW		1

static char cgroup[128];
static char *reason;

/* Two tiers have one folder each. */
static bool slow_node(void)
{
	char text[64];
	int tiers = 0;

	for (int i = 0; i < 1000; i++) {
		char path[96];

		snprintf(path, sizeof(path), TIERS "memory_tier%d/nodelist", i);
		tiers += read_text(path, text, sizeof(text));
	}
	return tiers == 2;
}

static long demoted(void)
{
	return vm_count("pgdemote_kswapd") + vm_count("pgdemote_direct") +
	       vm_count("pgdemote_khugepaged");
}

/* Ask for all of it, again and again, as what was used lately has a second chance. */
static size_t reclaim_until(const struct mem *m, size_t want)
{
	char path[160];
	size_t there = 0;

	snprintf(path, sizeof(path), "%s/memory.reclaim", cgroup);
	for (int i = 0; i < 100 && there < want; i++) {
		write_text(path, "4M");
		there = count_on(m->p, m->pages, SLOW);
	}
	return there;
}

FIXTURE(demote) {
	struct mem m;
};

FIXTURE_VARIANT(demote) {
	enum mem_kind kind;
};

FIXTURE_VARIANT_ADD(demote, anon_4k) { .kind = M_4K };
FIXTURE_VARIANT_ADD(demote, anon_64k) { .kind = M_64K };
FIXTURE_VARIANT_ADD(demote, thp) { .kind = M_THP };
FIXTURE_VARIANT_ADD(demote, thp_by_ptes) { .kind = M_THP_PTES };
FIXTURE_VARIANT_ADD(demote, shmem) { .kind = M_SHMEM };
FIXTURE_VARIANT_ADD(demote, shmem_huge) { .kind = M_SHMEM_HUGE };

FIXTURE_SETUP(demote)
{
	if (reason)
		SKIP(return, "%s", reason);
	mem_make(&self->m, variant->kind, PAGES);
}

FIXTURE_TEARDOWN(demote)
{
	write_text(DEMOTION, "0");
	mem_free(&self->m);
}

TEST_F(demote, to_the_slow_node)
{
	long before = demoted();
	size_t there;

	ASSERT_TRUE(write_text(DEMOTION, "1"));
	there = reclaim_until(&self->m, PAGES / 2);
	TH_LOG("%zu of %lu pages demoted, %ld counted", there, PAGES, demoted() - before);
	EXPECT_GE(there, PAGES / 2);
	EXPECT_GE(demoted() - before, (long)there);
	EXPECT_EQ(mem_wrong(&self->m), 0);
	/* And back, as anybody may ask. */
	EXPECT_EQ(mem_move(&self->m, 0), PAGES);
	EXPECT_EQ(mem_wrong(&self->m), 0);
}

/* Without demotion, and without swap, the memory stays. */
TEST_F(demote, not_when_it_is_off)
{
	ASSERT_TRUE(write_text(DEMOTION, "0"));
	EXPECT_EQ(reclaim_until(&self->m, 1), 0);
	EXPECT_EQ(mem_wrong(&self->m), 0);
}

static pid_t program;

static void __attribute__((constructor)) before_all(void)
{
	program = getpid();
	if (!slow_node())
		reason = "no slow node: scripts/vm --slow-node";
	mem_mount_huge();
	enter_cgroup("migrate_demote", cgroup, sizeof(cgroup));
}

static void __attribute__((destructor)) after_all(void)
{
	if (getpid() == program)
		leave_cgroup(cgroup);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of unevictable.h's table and of the batches, on folios of their own.
 * Run: boot with kunit.enable=1, read /sys/kernel/debug/kunit/foliage_lru/results.
 */
#include <kunit/test.h>

#include <linux/lru_rescue.h>

#include "lru.h"
#include "unevictable.h"

/* What can be seen of a folio. */
struct state {
	bool lru, unevictable, mlocked, active;
	unsigned int count;
};

#define OFF_LIST(...)	{ .lru = false, __VA_ARGS__ }
#define ON_LIST(...)	{ .lru = true, __VA_ARGS__ }
#define LOCKED(n)	{ .lru = true, .unevictable = true, .mlocked = true, .count = (n) }
#define CULLED		{ .lru = true, .unevictable = true }

struct transition {
	const char *name;
	enum lru_op op;
	bool pinned;	/* by an unevictable mapping */
	struct state from, to;
};

static const struct transition transitions[] = {
	{ "a new folio", LRU_ADD, false, OFF_LIST(), ON_LIST() },
	{ "a new active folio", LRU_ADD, false, OFF_LIST(.active = true), ON_LIST(.active = true) },
	{ "a new folio, locked", LRU_MLOCK_NEW, false, OFF_LIST(.mlocked = true), LOCKED(1) },
	{ "a new folio whose mark has gone", LRU_MLOCK_NEW, false, OFF_LIST(), ON_LIST() },
	{ "put back, marked meanwhile", LRU_ADD, false, OFF_LIST(.mlocked = true), LOCKED(0) },
	{ "put back, locked as before", LRU_ADD, false,
	  OFF_LIST(.mlocked = true, .unevictable = true), LOCKED(0) },
	{ "put back, unlocked meanwhile", LRU_ADD, false,
	  OFF_LIST(.unevictable = true), ON_LIST() },
	{ "put back locked as before, touched", LRU_ADD, false,
	  OFF_LIST(.mlocked = true, .unevictable = true, .active = true), LOCKED(0) },
	{ "put back active, marked", LRU_ADD, false,
	  OFF_LIST(.mlocked = true, .active = true), LOCKED(0) },

	{ "lock", LRU_MLOCK, false, ON_LIST(.mlocked = true), LOCKED(1) },
	{ "lock of an active folio", LRU_MLOCK, false,
	  ON_LIST(.mlocked = true, .active = true), LOCKED(1) },
	{ "second lock", LRU_MLOCK, false, LOCKED(1), LOCKED(2) },
	{ "lock that found a lost mark's count", LRU_MLOCK_VOID, false, LOCKED(2), LOCKED(1) },
	{ "lock after one that was not counted", LRU_MLOCK, false, LOCKED(0), LOCKED(1) },
	{ "lock whose mark has gone", LRU_MLOCK, false, ON_LIST(), ON_LIST() },
	{ "lock whose mark has gone, culled", LRU_MLOCK, false, CULLED, ON_LIST() },
	{ "lock of a folio that is off", LRU_MLOCK, false,
	  OFF_LIST(.mlocked = true), OFF_LIST(.mlocked = true) },

	{ "unlock of one of two", LRU_MUNLOCK, false, LOCKED(2), LOCKED(1) },
	{ "last unlock", LRU_MUNLOCK, false, LOCKED(1), ON_LIST() },
	{ "unlock of what was not counted", LRU_MUNLOCK, false, LOCKED(0), ON_LIST() },
	{ "unlock before the lock was carried out", LRU_MUNLOCK, false,
	  ON_LIST(.mlocked = true), ON_LIST() },
	{ "unlock of what is not locked", LRU_MUNLOCK, false, ON_LIST(), ON_LIST() },
	{ "unlock of a folio that is off", LRU_MUNLOCK, false,
	  OFF_LIST(.mlocked = true, .unevictable = true), OFF_LIST(.unevictable = true) },

	{ "activation", LRU_ACTIVATE, false, ON_LIST(), ON_LIST(.active = true) },
	{ "activation of an active folio", LRU_ACTIVATE, false,
	  ON_LIST(.active = true), ON_LIST(.active = true) },
	{ "activation of a locked folio", LRU_ACTIVATE, false, LOCKED(1), LOCKED(1) },
	{ "activation of a folio that is off", LRU_ACTIVATE, false, OFF_LIST(), OFF_LIST() },
	{ "deactivation", LRU_DEACTIVATE, false, ON_LIST(.active = true), ON_LIST() },
	{ "deactivation of a locked folio", LRU_DEACTIVATE, false, LOCKED(3), LOCKED(3) },
	{ "behind a reader", LRU_DROP_BEHIND, false, ON_LIST(.active = true), ON_LIST() },
	{ "behind a reader, locked", LRU_DROP_BEHIND, false, LOCKED(1), LOCKED(1) },
	{ "lazyfree", LRU_LAZYFREE, false, ON_LIST(.active = true), ON_LIST() },
	{ "lazyfree of a locked folio", LRU_LAZYFREE, false, LOCKED(1), LOCKED(1) },
	{ "written", LRU_WRITTEN, false, ON_LIST(.active = true), ON_LIST() },
	{ "written, locked", LRU_WRITTEN, false, LOCKED(1), LOCKED(1) },

	{ "a new folio of an unevictable mapping", LRU_ADD, true, OFF_LIST(), CULLED },
	{ "lock of a culled folio", LRU_MLOCK, true,
	  { .lru = true, .unevictable = true, .mlocked = true }, LOCKED(1) },
	{ "last unlock of a culled folio", LRU_MUNLOCK, true, LOCKED(1), CULLED },
	{ "a mapping that has become unevictable", LRU_MLOCK, true, ON_LIST(), CULLED },

	/* Nobody is left behind: the mark went while the folio was in somebody's hands. */
	{ "activation finds it unlocked", LRU_ACTIVATE, false, CULLED, ON_LIST() },
	{ "a mapping that is evictable again", LRU_WRITTEN, false, CULLED, ON_LIST() },
};

static void transition_name(const struct transition *t, char *name)
{
	strscpy(name, t->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(transition, transitions, transition_name);

static struct address_space unevictable_mapping;

static struct folio *folio_in(struct kunit *test, struct lru_move *mv, const struct transition *t)
{
	struct folio *folio = folio_alloc(GFP_KERNEL, 0);

	KUNIT_ASSERT_NOT_NULL(test, folio);
	KUNIT_ASSERT_EQ(test, mem_cgroup_charge(folio, NULL, GFP_KERNEL), 0);
	if (t->pinned) {
		__set_bit(AS_UNEVICTABLE, &unevictable_mapping.flags);
		folio->mapping = &unevictable_mapping;
	} else {
		folio->mapping = (void *)PAGE_MAPPING_ANON;
		__folio_set_swapbacked(folio);
	}
	if (t->from.mlocked) {
		folio_set_mlocked(folio);
		zone_stat_mod_folio(folio, NR_MLOCK, 1);
	}
	if (t->from.active)
		folio_set_active(folio);
	if (t->from.unevictable)
		folio_set_unevictable(folio);
	if (t->from.lru) {
		lru_move_to(mv, folio);
		lru_move_add(mv, folio, 1, false);
		folio->mlock_count = t->from.unevictable ? t->from.count : folio->mlock_count;
		folio_set_lru(folio);
		lru_move_end(mv);
	}
	return folio;
}

static void folio_done(struct folio *folio)
{
	folio->mapping = NULL;
	if (folio_test_clear_mlocked(folio))
		zone_stat_mod_folio(folio, NR_MLOCK, -1);
	/* One that was left off a list is on none. */
	if (!folio_test_lru(folio)) {
		folio_clear_active(folio);
		folio_clear_unevictable(folio);
	}
	folio_put(folio);
}

static enum lru_list list_of(const struct transition *t, const struct state *s, bool after)
{
	bool file = t->pinned || (after && t->op == LRU_LAZYFREE && t->from.lru);

	if (s->unevictable)
		return LRU_UNEVICTABLE;
	return (file ? LRU_INACTIVE_FILE : LRU_INACTIVE_ANON) + (s->active ? LRU_ACTIVE : 0);
}

/* Every transition leads where the table says, and the statistics get what the lists got. */
static void test_transition(struct kunit *test)
{
	const struct transition *t = test->param_value;
	long size[NR_LRU_LISTS] = {}, mlocked = 0;
	struct folio *folio;
	struct lru_move mv;
	enum lru_list lru;

	if (lru_gen_enabled())
		kunit_skip(test, "the generational LRU keeps other books");
	lru_move_init(&mv);
	folio = folio_in(test, &mv, t);
	lru_move_folio(&mv, folio, t->op);
	if (mv.lruvec) {
		memcpy(size, mv.size, sizeof(size));
		mlocked = mv.mlocked;
	}
	lru_move_end(&mv);

	KUNIT_EXPECT_EQ(test, folio_test_lru(folio), t->to.lru);
	KUNIT_EXPECT_EQ(test, folio_test_unevictable(folio), t->to.unevictable);
	KUNIT_EXPECT_EQ(test, folio_test_mlocked(folio), t->to.mlocked);
	KUNIT_EXPECT_EQ(test, folio_test_active(folio), t->to.active);
	if (t->to.lru && t->to.unevictable)
		KUNIT_EXPECT_EQ(test, folio->mlock_count, t->to.count);
	for_each_lru(lru) {
		long want = (t->to.lru && lru == list_of(t, &t->to, true)) -
			    (t->from.lru && lru == list_of(t, &t->from, false));

		KUNIT_EXPECT_EQ(test, size[lru], want);
	}
	if (t->from.lru)
		KUNIT_EXPECT_EQ(test, mlocked, t->to.mlocked - t->from.mlocked);
	folio_done(folio);
}

/* A folio that was given back before its mark went is rescued by the task that took it. */
static void test_elsewhere(struct kunit *test)
{
	const struct transition locked = { "", LRU_MUNLOCK, false, LOCKED(0), };
	const struct transition taken = {
		"", LRU_MUNLOCK, false, OFF_LIST(.mlocked = true, .unevictable = true),
	};
	struct folio *folio;
	struct lru_move mv;

	lru_move_init(&mv);
	folio = folio_in(test, &mv, &locked);
	munlock_folio_elsewhere(&mv, folio);
	lru_move_end(&mv);
	KUNIT_EXPECT_TRUE(test, folio_test_lru(folio));
	KUNIT_EXPECT_FALSE(test, folio_test_mlocked(folio));
	KUNIT_EXPECT_FALSE(test, folio_test_unevictable(folio));
	folio_done(folio);

	folio = folio_in(test, &mv, &taken);
	munlock_folio_elsewhere(&mv, folio);
	lru_move_end(&mv);
	KUNIT_EXPECT_FALSE(test, folio_test_lru(folio));
	KUNIT_EXPECT_FALSE(test, folio_test_mlocked(folio));
	KUNIT_EXPECT_TRUE(test, folio_test_unevictable(folio));
	folio_done(folio);
}

static struct folio *new_anon(struct kunit *test)
{
	static const struct transition fresh = { "", LRU_ADD, false, OFF_LIST() };
	struct lru_move mv;

	lru_move_init(&mv);
	return folio_in(test, &mv, &fresh);
}

/* What is asked for of one folio is done in that order, so a lock behind an addition counts. */
static void test_batch_order(struct kunit *test)
{
	struct folio *folio = new_anon(test);

	migrate_disable();
	lru_add_drain();
	folio_add_lru(folio);
	KUNIT_EXPECT_FALSE(test, folio_test_lru(folio));
	KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 2);
	mlock_folio(folio);
	mlock_folio(folio);
	KUNIT_EXPECT_TRUE(test, folio_test_mlocked(folio));
	lru_add_drain();
	migrate_enable();
	KUNIT_EXPECT_TRUE(test, folio_test_lru(folio));
	KUNIT_EXPECT_TRUE(test, folio_test_unevictable(folio));
	KUNIT_EXPECT_EQ(test, folio->mlock_count, 2);
	KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 1);
	munlock_folio(folio);
	munlock_folio(folio);
	lru_add_drain_all();
	KUNIT_EXPECT_FALSE(test, folio_test_mlocked(folio));
	KUNIT_EXPECT_FALSE(test, folio_test_unevictable(folio));
	folio_done(folio);
}

/*
 * The lock that marked a folio waits, as if in the batch of another CPU, while one that came later
 * is counted: it is not forgotten.
 */
static void test_mark_waits(struct kunit *test)
{
	static const struct transition listed = { "", LRU_MLOCK, false, ON_LIST() };
	struct folio *folio;
	struct lru_move mv;

	lru_move_init(&mv);
	folio = folio_in(test, &mv, &listed);
	migrate_disable();
	lru_add_drain();
	mlock_folio(folio);
	mlock_folio_now(&mv, folio);
	lru_move_end(&mv);
	lru_add_drain();
	migrate_enable();
	KUNIT_EXPECT_EQ(test, folio->mlock_count, 2);
	munlock_folio_now(&mv, folio);
	lru_move_end(&mv);
	KUNIT_EXPECT_TRUE(test, folio_test_mlocked(folio));
	KUNIT_EXPECT_TRUE(test, folio_test_unevictable(folio));
	folio_done(folio);
}

/* A count that no mark belongs to is seen by the one that marks, and by nobody else. */
static void test_mark_finds_count(struct kunit *test)
{
	static const struct {
		struct transition t;
		enum mlock_marked was;
	} marks[] = {
		{ { .from = ON_LIST() }, MLOCK_UNMARKED },
		{ { .from = OFF_LIST() }, MLOCK_UNMARKED },
		{ { .from = OFF_LIST(.unevictable = true) }, MLOCK_UNMARKED_COUNT },
		{ { .from = CULLED, .pinned = true }, MLOCK_UNMARKED },
		{ { .from = { .lru = true, .unevictable = true, .count = 2 } },
		  MLOCK_UNMARKED_COUNT },
		{ { .from = LOCKED(2) }, MLOCK_MARKED_BEFORE },
	};
	struct lru_move mv;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(marks); i++) {
		struct folio *folio;
		enum mlock_marked was;

		lru_move_init(&mv);
		folio = folio_in(test, &mv, &marks[i].t);
		was = mlock_mark(folio, 1);
		if (was != MLOCK_MARKED_BEFORE)
			zone_stat_mod_folio(folio, NR_MLOCK, 1);
		KUNIT_EXPECT_EQ_MSG(test, was, marks[i].was, "row %zu", i);
		folio_done(folio);
	}
}

/* Given back by somebody who does not look: what is no more to be unevictable is found. */
static void test_given_back(struct kunit *test)
{
	static const struct transition lost = { "", LRU_MLOCK, false, CULLED };
	static const struct transition locked = { "", LRU_MLOCK, false, LOCKED(1) };
	static const struct transition pinned = { "", LRU_MLOCK, true, CULLED };
	struct folio *folio;
	struct lru_move mv;

	lru_move_init(&mv);
	folio = folio_in(test, &mv, &lost);
	lru_given_back(folio);
	KUNIT_EXPECT_FALSE(test, folio_test_unevictable(folio));
	KUNIT_EXPECT_TRUE(test, folio_test_lru(folio));
	folio_done(folio);
	folio = folio_in(test, &mv, &locked);
	lru_given_back(folio);
	KUNIT_EXPECT_TRUE(test, folio_test_unevictable(folio));
	KUNIT_EXPECT_EQ(test, folio->mlock_count, 1);
	folio_done(folio);
	folio = folio_in(test, &mv, &pinned);
	lru_given_back(folio);
	KUNIT_EXPECT_TRUE(test, folio_test_unevictable(folio));
	folio_done(folio);
}

/* Drained as if by another CPU; a folio that only the batch held is freed. */
static void test_batch_taken(struct kunit *test)
{
	struct folio *kept = new_anon(test), *dropped = new_anon(test);
	int cpu;

	migrate_disable();
	cpu = smp_processor_id();
	lru_add_drain_cpu(cpu);
	folio_add_lru(kept);
	folio_add_lru(dropped);
	dropped->mapping = NULL;
	folio_put(dropped);
	KUNIT_EXPECT_TRUE(test, need_mlock_drain(cpu));
	lru_add_drain_cpu(cpu);
	KUNIT_EXPECT_FALSE(test, need_mlock_drain(cpu));
	migrate_enable();
	KUNIT_EXPECT_TRUE(test, folio_test_lru(kept));
	KUNIT_EXPECT_EQ(test, folio_ref_count(kept), 1);
	folio_done(kept);
}

/* A folio is made active while it waits in a batch, but not in somebody else's hands. */
static void test_batch_activate(struct kunit *test)
{
	struct folio *folio;

	if (lru_gen_enabled())
		kunit_skip(test, "the generational LRU counts touches");
	folio = new_anon(test);
	migrate_disable();
	lru_add_drain();
	folio_mark_accessed(folio);
	folio_mark_accessed(folio);
	KUNIT_EXPECT_FALSE(test, folio_test_active(folio));
	folio_clear_referenced(folio);
	folio_add_lru(folio);
	folio_mark_accessed(folio);
	KUNIT_EXPECT_TRUE(test, folio_test_referenced(folio));
	folio_mark_accessed(folio);
	KUNIT_EXPECT_TRUE(test, folio_test_active(folio));
	KUNIT_EXPECT_FALSE(test, folio_test_referenced(folio));
	lru_add_drain();
	migrate_enable();
	KUNIT_EXPECT_TRUE(test, folio_test_active(folio));
	folio_done(folio);
}

static void test_cache_disable(struct kunit *test)
{
	struct folio *before = new_anon(test), *after = new_anon(test);

	folio_add_lru(before);
	lru_cache_disable();
	KUNIT_EXPECT_TRUE(test, folio_test_lru(before));
	folio_add_lru(after);
	KUNIT_EXPECT_TRUE(test, folio_test_lru(after));
	KUNIT_EXPECT_EQ(test, folio_ref_count(after), 1);
	lru_cache_enable();
	folio_done(before);
	folio_done(after);
}

static struct kunit_case lru_cases[] = {
	KUNIT_CASE_PARAM(test_transition, transition_gen_params),
	KUNIT_CASE(test_elsewhere),
	KUNIT_CASE(test_batch_order),
	KUNIT_CASE(test_mark_waits),
	KUNIT_CASE(test_mark_finds_count),
	KUNIT_CASE(test_given_back),
	KUNIT_CASE(test_batch_taken),
	KUNIT_CASE(test_batch_activate),
	KUNIT_CASE(test_cache_disable),
	{}
};

static struct kunit_suite lru_suite = {
	.name = "foliage_lru",
	.test_cases = lru_cases,
};

kunit_test_suite(lru_suite);

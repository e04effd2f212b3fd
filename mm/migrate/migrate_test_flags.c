// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the settings that a folio carries along when it moves.
 */
#include <linux/memcontrol.h>
#include <linux/page_idle.h>

#include "migrate_test.h"

struct carried {
	const char *name;
	unsigned long flag;
	bool carried;
	bool stays;	/* with the old folio, too */
};

static const struct carried flags[] = {
	{ "referenced", PG_referenced, true, true },
	{ "uptodate", PG_uptodate, true, true },
	{ "active", PG_active, true, false },
	{ "unevictable", PG_unevictable, true, false },
	{ "workingset", PG_workingset, true, true },
	{ "checked", PG_checked, true, true },
	{ "mappedtodisk", PG_mappedtodisk, true, true },
	{ "dirty", PG_dirty, true, true },
	{ "readahead", PG_readahead, true, true },
	{ "mlocked", PG_mlocked, false, true },
	{ "private", PG_private, false, false },
	{ "reserved", PG_reserved, false, true },
#if defined(CONFIG_PAGE_IDLE_FLAG) && defined(CONFIG_64BIT)
	{ "young", PG_young, true, true },
	{ "idle", PG_idle, true, true },
#endif
};

static void flag_name(const struct carried *flag, char *name)
{
	strscpy(name, flag->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(flag, flags, flag_name);

static void test_flag(struct kunit *test)
{
	const struct carried *c = test->param_value;
	struct folio *src = new_folio(test), *dst = new_folio(test);
	unsigned long before = dst->flags;

	KUNIT_ASSERT_EQ(test, 0, mem_cgroup_charge(src, NULL, GFP_KERNEL));
	set_bit(c->flag, &src->flags);
	folio_migrate_flags(dst, src);
	KUNIT_EXPECT_EQ(test, test_bit(c->flag, &dst->flags), c->carried);
	KUNIT_EXPECT_EQ(test, dst->flags & ~BIT(c->flag) & ~LAST_CPUPID_MASK,
			before & ~LAST_CPUPID_MASK);
	KUNIT_EXPECT_EQ(test, test_bit(c->flag, &src->flags), c->stays);
	KUNIT_EXPECT_PTR_EQ(test, folio_memcg(src), NULL);
	clear_bit(c->flag, &src->flags);
	clear_bit(c->flag, &dst->flags);
	folio_unlock(src);
	folio_unlock(dst);
	folio_put(src);
	folio_put(dst);
}

static void test_cpupid(struct kunit *test)
{
	struct folio *src = new_folio(test), *dst = new_folio(test);
	int cpupid = cpu_pid_to_cpupid(1, 77);

	KUNIT_ASSERT_EQ(test, 0, mem_cgroup_charge(src, NULL, GFP_KERNEL));
	folio_xchg_last_cpupid(src, cpupid);
	folio_migrate_flags(dst, src);
	KUNIT_EXPECT_EQ(test, folio_xchg_last_cpupid(dst, -1), cpupid & LAST_CPUPID_MASK);
	folio_unlock(src);
	folio_unlock(dst);
	folio_put(src);
	folio_put(dst);
}

static struct kunit_case migrate_flags_cases[] = {
	KUNIT_CASE_PARAM(test_flag, flag_gen_params),
	KUNIT_CASE(test_cpupid),
	{}
};

static struct kunit_suite migrate_flags_suite = {
	.name = "foliage_migrate_flags",
	.test_cases = migrate_flags_cases,
};

kunit_test_suite(migrate_flags_suite);

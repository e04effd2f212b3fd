// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the groups of folios that are walked together.
 */

#include "../rmap/group.h"
#include "migrate_test.h"

#define GROUP	5

struct grouping {
	const char *name;
	pgoff_t index[GROUP];
	int other;		/* this one is of another mapping; -1: none */
	unsigned int length;
	pgoff_t first, last;
};

static const struct grouping groupings[] = {
	{ "neighbours", { 7, 8, 9, 10, 11 }, -1, 5, 7, 11 },
	{ "with holes", { 0, 2, 4, 8, 16 }, -1, 5, 0, 16 },
	{ "downwards", { 4, 3, 2, 1, 0 }, -1, 5, 0, 4 },
	{ "to and fro", { 100, 90, 110, 80, 120 }, -1, 5, 80, 120 },
	{ "as far as it goes", { 0, 512, 1024, 512, 0 }, -1, 5, 0, 1024 },
	{ "too far up", { 0, 1, 514, 515, 516 }, -1, 2, 0, 1 },
	{ "too far down", { 600, 599, 86, 85, 84 }, -1, 2, 599, 600 },
	{ "alone", { 0, 1000, 1001, 1002, 1003 }, -1, 1 },
	{ "another mapping first", { 0, 1, 2, 3, 4 }, 0, 1 },
	{ "another mapping later", { 0, 1, 2, 3, 4 }, 3, 3, 0, 2 },
};

static void grouping_name(const struct grouping *g, char *name)
{
	strscpy(name, g->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(grouping, groupings, grouping_name);

static void test_group(struct kunit *test)
{
	const struct grouping *g = test->param_value;
	static struct address_space one, another;
	struct folio *folios[GROUP];
	struct rmap_group group = { .folios = folios };
	unsigned int i;

	for (i = 0; i < GROUP; i++) {
		folios[i] = new_folio(test);
		folios[i]->index = g->index[i];
		folios[i]->mapping = i == g->other ? &another : &one;
	}
	rmap_group_form(&group, GROUP);
	KUNIT_EXPECT_EQ(test, group.nr, g->length);
	if (g->length > 1) {
		KUNIT_EXPECT_EQ(test, group.first, g->first);
		KUNIT_EXPECT_EQ(test, group.last, g->last);
	}
	rmap_group_form(&group, 1);
	KUNIT_EXPECT_EQ(test, group.nr, 1);
	for (i = 0; i < GROUP; i++)
		folios[i]->mapping = NULL;
	rmap_group_form(&group, GROUP);
	KUNIT_EXPECT_EQ(test, group.nr, 1);
	for (i = 0; i < GROUP; i++) {
		folio_unlock(folios[i]);
		folio_put(folios[i]);
	}
}

/* Large folios of a group: all their pages may be mapped somewhere, or only the last. */
static void test_group_large(struct kunit *test)
{
	static const pgoff_t index[] = { 8, 4, 16, 0 };
	static struct address_space mapping;
	struct folio *folios[ARRAY_SIZE(index)];
	struct rmap_group group = { .folios = folios };
	unsigned int i, nr;

	for (i = 0; i < ARRAY_SIZE(index); i++) {
		folios[i] = folio_alloc(GFP_HIGHUSER_MOVABLE, 2);
		KUNIT_ASSERT_NOT_NULL(test, folios[i]);
		folios[i]->index = index[i];
		folios[i]->mapping = &mapping;
	}
	for (nr = 2; nr <= ARRAY_SIZE(index); nr++) {
		rmap_group_form(&group, nr);
		KUNIT_EXPECT_EQ(test, group.nr, nr);
		KUNIT_EXPECT_EQ(test, group.first, nr == ARRAY_SIZE(index) ? 0 : 4);
		KUNIT_EXPECT_EQ(test, group.last, nr == 2 ? 11 : 19);
	}
	for (i = 0; i < ARRAY_SIZE(index); i++) {
		folios[i]->mapping = NULL;
		folio_put(folios[i]);
	}
}

static struct kunit_case migrate_group_cases[] = {
	KUNIT_CASE_PARAM(test_group, grouping_gen_params),
	KUNIT_CASE(test_group_large),
	{}
};

static struct kunit_suite migrate_group_suite = {
	.name = "foliage_migrate_group",
	.test_cases = migrate_group_cases,
};

kunit_test_suite(migrate_group_suite);

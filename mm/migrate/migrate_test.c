// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of migrate_pages() on pages of a driver made up here, of the exchange in a file, of
 * the settings that are carried along, and of the groups that are walked together.
 * Run: boot with kunit.enable=1, read /sys/kernel/debug/kunit/foliage_migrate/results.
 */
#include <kunit/test.h>
#include <linux/memcontrol.h>
#include <linux/page_idle.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>

#include "../rmap/group.h"
#include "migrate.h"

/* --- a driver, and an allocator of targets ---------------------------------------------- */

#define MOST	1100

/* What the driver's and the allocator's callbacks shall do, and what they have seen. */
static struct {
	int err;		/* of migrate_page() ... */
	unsigned int errors;	/* ... so many times */
	unsigned int no_target;	/* the so-many-th allocation fails, counted from 1; 0: none */
	unsigned int isolated, migrated, refused, put_back;
	unsigned int got, given_back;
} world;

static bool driver_isolate(struct page *page, isolate_mode_t mode)
{
	world.isolated++;
	return true;
}

static int driver_migrate(struct page *dst, struct page *src, enum migrate_mode mode)
{
	if (world.errors) {
		world.errors--;
		world.refused++;
		return world.err;
	}
	set_page_private(dst, page_private(src));
	__SetPageMovable(dst, page_movable_ops(src));
	/* The driver's own reference: from the old page to the new one. */
	get_page(dst);
	put_page(src);
	__ClearPageMovable(src);
	world.migrated++;
	return MIGRATEPAGE_SUCCESS;
}

static void driver_put_back(struct page *page)
{
	world.put_back++;
}

static const struct movable_operations driver = {
	.isolate_page = driver_isolate,
	.migrate_page = driver_migrate,
	.putback_page = driver_put_back,
};

static struct page *new_page[MOST];

static struct folio *get_target(struct folio *src, unsigned long private)
{
	struct page *page;

	if (++world.got == world.no_target)
		return NULL;
	page = alloc_page(GFP_KERNEL);
	new_page[world.got - 1] = page;
	return page ? page_folio(page) : NULL;
}

static void put_target(struct folio *dst, unsigned long private)
{
	world.given_back++;
	folio_put(dst);
}

/* @nr pages of the driver, isolated, on @list. */
static void isolate_pages(struct kunit *test, struct list_head *list, unsigned int nr)
{
	unsigned int i;

	memset(&world, 0, sizeof(world));
	for (i = 0; i < nr; i++) {
		struct page *page = alloc_page(GFP_KERNEL);

		KUNIT_ASSERT_NOT_NULL(test, page);
		set_page_private(page, i);
		lock_page(page);
		__SetPageMovable(page, &driver);
		unlock_page(page);
		KUNIT_ASSERT_TRUE(test, isolate_folio_to_list(page_folio(page), list));
	}
	KUNIT_EXPECT_EQ(test, world.isolated, nr);
}

/* The driver frees a page. */
static void free_driver_page(struct page *page)
{
	lock_page(page);
	__ClearPageMovable(page);
	unlock_page(page);
	put_page(page);
}

static unsigned int list_count(struct list_head *list)
{
	struct list_head *at;
	unsigned int nr = 0;

	list_for_each(at, list)
		nr++;
	return nr;
}

static void free_new_pages(struct kunit *test)
{
	unsigned int i;

	for (i = 0; i < world.got; i++) {
		if (!new_page[i])
			continue;
		KUNIT_EXPECT_EQ(test, page_count(new_page[i]), 1);
		KUNIT_EXPECT_FALSE(test, PageLocked(new_page[i]));
		free_driver_page(new_page[i]);
	}
}

/* What is left on the list goes back to the driver, which frees it. */
static void free_left(struct kunit *test, struct list_head *list)
{
	unsigned int left = list_count(list), i = 0;
	struct page *page[MOST / 32];
	struct folio *folio;

	KUNIT_ASSERT_LE(test, left, ARRAY_SIZE(page));
	list_for_each_entry(folio, list, lru) {
		KUNIT_EXPECT_TRUE(test, folio_test_isolated(folio));
		KUNIT_EXPECT_FALSE(test, folio_test_locked(folio));
		KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 2);
		page[i++] = &folio->page;
	}
	putback_movable_pages(list);
	KUNIT_EXPECT_TRUE(test, list_empty(list));
	KUNIT_EXPECT_EQ(test, world.put_back, left);
	for (i = 0; i < left; i++) {
		KUNIT_EXPECT_FALSE(test, PageIsolated(page[i]));
		free_driver_page(page[i]);
	}
}

/* --- migrate_pages() -------------------------------------------------------------------- */

/* Around the sizes at which batches are cut and room is allocated. */
static const unsigned int sizes[] = { 1, 15, 16, 17, 31, 32, 33, 511, 512, 513, 1025, };

static void size_name(const unsigned int *size, char *name)
{
	snprintf(name, KUNIT_PARAM_DESC_SIZE, "%u", *size);
}

KUNIT_ARRAY_PARAM(size, sizes, size_name);

static void test_all_move(struct kunit *test)
{
	unsigned int nr = *(const unsigned int *)test->param_value, moved, i;
	LIST_HEAD(list);

	isolate_pages(test, &list, nr);
	KUNIT_EXPECT_EQ(test, 0, migrate_pages(&list, get_target, put_target, 0, MIGRATE_ASYNC,
					       MR_COMPACTION, &moved));
	KUNIT_EXPECT_EQ(test, moved, nr);
	KUNIT_EXPECT_EQ(test, world.migrated, nr);
	KUNIT_EXPECT_EQ(test, world.got, nr);
	KUNIT_EXPECT_EQ(test, world.given_back, 0);
	KUNIT_EXPECT_TRUE(test, list_empty(&list));
	/* In the order of the list, which was filled at its head. */
	for (i = 0; i < nr; i++)
		KUNIT_ASSERT_EQ(test, page_private(new_page[i]), nr - 1 - i);
	free_new_pages(test);
}

/* A driver says so many times that it has no time now. */
static void try_again(struct kunit *test, enum migrate_mode mode, unsigned int errors,
		      unsigned int tries)
{
	bool moves = errors < tries;
	unsigned int moved;
	LIST_HEAD(list);

	isolate_pages(test, &list, 1);
	world.err = -EAGAIN;
	world.errors = errors;
	KUNIT_EXPECT_EQ(test, !moves, migrate_pages(&list, get_target, put_target, 0, mode,
						    MR_COMPACTION, &moved));
	KUNIT_EXPECT_EQ(test, moved, moves);
	KUNIT_EXPECT_EQ(test, world.refused, min(errors, tries));
	KUNIT_EXPECT_EQ(test, world.got - world.given_back, moves);
	if (moves)
		free_driver_page(new_page[world.got - 1]);
	free_left(test, &list);
}

static void test_again(struct kunit *test)
{
	static const enum migrate_mode modes[] = {
		MIGRATE_ASYNC, MIGRATE_SYNC_LIGHT, MIGRATE_SYNC,
	};
	unsigned int i;

	/* Ten tries in any mode. */
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		try_again(test, modes[i], 1, 10);
		try_again(test, modes[i], 9, 10);
		try_again(test, modes[i], 10, 10);
		try_again(test, modes[i], 1000, 10);
	}
}

/* Any other error is for good in an asynchronous migration, and asked once more singly. */
static void test_give_up(struct kunit *test)
{
	unsigned int moved;
	LIST_HEAD(list);

	isolate_pages(test, &list, 3);
	world.err = -EBUSY;
	world.errors = 2;
	KUNIT_EXPECT_EQ(test, 2, migrate_pages(&list, get_target, put_target, 0, MIGRATE_ASYNC,
					       MR_COMPACTION, &moved));
	KUNIT_EXPECT_EQ(test, moved, 1);
	KUNIT_EXPECT_EQ(test, world.refused, 2);
	KUNIT_EXPECT_EQ(test, world.given_back, 2);
	KUNIT_EXPECT_EQ(test, list_count(&list), 2);
	free_driver_page(new_page[2]);
	free_left(test, &list);

	isolate_pages(test, &list, 1);
	world.err = -EBUSY;
	world.errors = 2;
	KUNIT_EXPECT_EQ(test, 1, migrate_pages(&list, get_target, put_target, 0, MIGRATE_SYNC,
					       MR_COMPACTION, NULL));
	KUNIT_EXPECT_EQ(test, world.refused, 2);
	KUNIT_EXPECT_EQ(test, world.given_back, 2);
	free_left(test, &list);
}

/* Without memory it ends there: those before are moved, those after were not tried. */
static void test_no_memory(struct kunit *test)
{
	unsigned int moved;
	LIST_HEAD(list);

	isolate_pages(test, &list, 5);
	world.no_target = 3;
	new_page[2] = NULL;
	KUNIT_EXPECT_EQ(test, -ENOMEM, migrate_pages(&list, get_target, put_target, 0,
						     MIGRATE_ASYNC, MR_COMPACTION, &moved));
	KUNIT_EXPECT_EQ(test, moved, 2);
	KUNIT_EXPECT_EQ(test, world.got, 3);
	KUNIT_EXPECT_EQ(test, list_count(&list), 3);
	free_new_pages(test);
	free_left(test, &list);
}

/* Somebody else has the lock: nothing is waited for, and everything is as it was. */
static void test_locked(struct kunit *test)
{
	unsigned int moved;
	struct page *page;
	LIST_HEAD(list);

	isolate_pages(test, &list, 1);
	page = &list_first_entry(&list, struct folio, lru)->page;
	lock_page(page);
	KUNIT_EXPECT_EQ(test, 1, migrate_pages(&list, get_target, put_target, 0, MIGRATE_ASYNC,
					       MR_COMPACTION, &moved));
	KUNIT_EXPECT_EQ(test, moved, 0);
	KUNIT_EXPECT_EQ(test, world.refused + world.migrated, 0);
	KUNIT_EXPECT_EQ(test, world.got, world.given_back);
	KUNIT_EXPECT_TRUE(test, PageLocked(page));
	unlock_page(page);
	free_left(test, &list);
}

/* The driver frees a page that is isolated: alone it is dropped, else it counts as moved. */
static void test_released(struct kunit *test)
{
	struct page *first, *second;
	unsigned int moved;
	LIST_HEAD(list);

	isolate_pages(test, &list, 2);
	first = &list_first_entry(&list, struct folio, lru)->page;
	second = &list_last_entry(&list, struct folio, lru)->page;
	free_driver_page(first);
	get_page(second);
	free_driver_page(second);
	KUNIT_EXPECT_EQ(test, 0, migrate_pages(&list, get_target, put_target, 0, MIGRATE_ASYNC,
					       MR_COMPACTION, &moved));
	KUNIT_EXPECT_EQ(test, moved, 2);
	KUNIT_EXPECT_EQ(test, world.migrated, 0);
	KUNIT_EXPECT_FALSE(test, PageIsolated(second));
	KUNIT_EXPECT_EQ(test, page_count(second), 1);
	put_page(second);

	isolate_pages(test, &list, 1);
	first = &list_first_entry(&list, struct folio, lru)->page;
	get_page(first);
	free_driver_page(first);
	putback_movable_pages(&list);
	KUNIT_EXPECT_EQ(test, world.put_back, 0);
	KUNIT_EXPECT_FALSE(test, PageIsolated(first));
	KUNIT_EXPECT_EQ(test, page_count(first), 1);
	put_page(first);
}

static void test_isolate(struct kunit *test)
{
	struct page *page;
	LIST_HEAD(list);

	isolate_pages(test, &list, 1);
	page = &list_first_entry(&list, struct folio, lru)->page;
	KUNIT_EXPECT_FALSE(test, isolate_movable_page(page, 0));
	KUNIT_EXPECT_EQ(test, page_count(page), 2);
	putback_movable_pages(&list);
	lock_page(page);
	KUNIT_EXPECT_FALSE(test, isolate_movable_page(page, 0));
	unlock_page(page);
	KUNIT_EXPECT_EQ(test, world.isolated, 1);
	KUNIT_EXPECT_EQ(test, page_count(page), 1);
	get_page(page);
	free_driver_page(page);
	KUNIT_EXPECT_FALSE(test, isolate_movable_page(page, 0));
	KUNIT_EXPECT_EQ(test, page_count(page), 1);
	put_page(page);
}

/* --- the exchange ----------------------------------------------------------------------- */

static struct folio *new_folio(struct kunit *test)
{
	struct folio *folio = folio_alloc(GFP_HIGHUSER_MOVABLE, 0);

	KUNIT_ASSERT_NOT_NULL(test, folio);
	folio_lock(folio);
	return folio;
}

static void test_exchange(struct kunit *test)
{
	struct file *file = shmem_kernel_file_setup("migrate_test", SZ_64K, 0);
	struct address_space *mapping;
	struct folio *src, *dst;
	int refs;

	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	mapping = file->f_mapping;
	src = shmem_read_folio_gfp(mapping, 3, GFP_KERNEL);
	KUNIT_ASSERT_FALSE(test, IS_ERR(src));
	lru_add_drain();
	KUNIT_ASSERT_TRUE(test, folio_isolate_lru(src));
	folio_put(src);
	folio_lock(src);
	folio_set_dirty(src);
	memset(folio_address(src), 0x5a, PAGE_SIZE);
	dst = new_folio(test);
	refs = folio_ref_count(src);

	/* Somebody has a reference: nothing changes. */
	folio_get(src);
	KUNIT_EXPECT_EQ(test, -EAGAIN, migrate_folio(mapping, dst, src, MIGRATE_SYNC));
	KUNIT_EXPECT_PTR_EQ(test, xa_load(&mapping->i_pages, 3), (void *)src);
	KUNIT_EXPECT_PTR_EQ(test, dst->mapping, NULL);
	KUNIT_EXPECT_EQ(test, folio_ref_count(dst), 1);
	/* Unless its owner says that it is his. */
	KUNIT_EXPECT_EQ(test, 0, folio_migrate_mapping(mapping, dst, src, 1));
	folio_put(src);
	KUNIT_EXPECT_PTR_EQ(test, xa_load(&mapping->i_pages, 3), (void *)dst);
	KUNIT_EXPECT_EQ(test, folio_ref_count(dst), 2);
	KUNIT_EXPECT_EQ(test, folio_ref_count(src), refs - 1);
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(dst) && !folio_test_dirty(src));
	KUNIT_EXPECT_TRUE(test, folio_test_swapbacked(dst));
	folio_migrate_flags(dst, src);
	src->mapping = NULL;
	folio_unlock(src);
	folio_put(src);

	/* And back to a third one, contents and all. */
	src = dst;
	memset(folio_address(src), 0xa5, PAGE_SIZE);
	dst = new_folio(test);
	KUNIT_EXPECT_EQ(test, 0, migrate_contents(dst, src, MIGRATE_ASYNC));
	KUNIT_EXPECT_EQ(test, *(u8 *)(folio_address(dst) + PAGE_SIZE - 1), 0xa5);
	KUNIT_EXPECT_PTR_EQ(test, src->mapping, NULL);
	folio_unlock(src);
	folio_put(src);
	folio_unlock(dst);
	folio_add_lru(dst);
	folio_put(dst);
	fput(file);
}

/* --- settings --------------------------------------------------------------------------- */

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

/* --- groups ----------------------------------------------------------------------------- */

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

static struct kunit_case migrate_cases[] = {
	KUNIT_CASE_PARAM(test_all_move, size_gen_params),
	KUNIT_CASE(test_again),
	KUNIT_CASE(test_give_up),
	KUNIT_CASE(test_no_memory),
	KUNIT_CASE(test_locked),
	KUNIT_CASE(test_released),
	KUNIT_CASE(test_isolate),
	KUNIT_CASE(test_exchange),
	KUNIT_CASE_PARAM(test_flag, flag_gen_params),
	KUNIT_CASE_PARAM(test_group, grouping_gen_params),
	{}
};

static struct kunit_suite migrate_suite = {
	.name = "foliage_migrate",
	.test_cases = migrate_cases,
};

kunit_test_suite(migrate_suite);

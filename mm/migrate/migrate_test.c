// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of migrate_pages() on pages of a driver made up here, of the exchange in a file, of
 * the settings that are carried along, and of the groups that are walked together.
 * Run: boot with kunit.enable=1, read /sys/kernel/debug/kunit/foliage_migrate/results.
 */
#include <kunit/test.h>
#include <linux/backing-dev.h>
#include <linux/buffer_head.h>
#include <linux/memcontrol.h>
#include <linux/mman.h>
#include <linux/page_idle.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>
#include <linux/workqueue.h>

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
	/* Unless its owner claims it. */
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

/* --- waiting ---------------------------------------------------------------------------- */

static void unlock_later(struct work_struct *work);
static DECLARE_DELAYED_WORK(unlocker, unlock_later);
static struct page *unlock_this;

static void unlock_later(struct work_struct *work)
{
	unlock_page(unlock_this);
}

/* Somebody has the lock, and lets it go after a while. Does a migration wait for that? */
static void expect_waits(struct kunit *test, enum migrate_mode mode, bool uptodate, bool alloc,
			 bool waits)
{
	unsigned int flags = 0;
	LIST_HEAD(list);
	int left;

	isolate_pages(test, &list, 1);
	unlock_this = &list_first_entry(&list, struct folio, lru)->page;
	lock_page(unlock_this);
	if (uptodate)
		SetPageUptodate(unlock_this);
	schedule_delayed_work(&unlocker, HZ);
	if (alloc)
		flags = memalloc_noreclaim_save();
	left = migrate_pages(&list, get_target, put_target, 0, mode, MR_COMPACTION, NULL);
	if (alloc)
		memalloc_noreclaim_restore(flags);
	KUNIT_EXPECT_EQ(test, left, !waits);
	KUNIT_EXPECT_EQ(test, world.got - world.given_back, waits);
	/* Not waited for: it is not unlocked yet. */
	if (!waits)
		KUNIT_EXPECT_TRUE(test, delayed_work_pending(&unlocker));
	flush_delayed_work(&unlocker);
	if (!left)
		free_driver_page(new_page[world.got - 1]);
	free_left(test, &list);
}

static void test_lock_waits(struct kunit *test)
{
	expect_waits(test, MIGRATE_ASYNC, true, false, false);
	expect_waits(test, MIGRATE_SYNC_LIGHT, true, false, true);
	expect_waits(test, MIGRATE_SYNC, true, false, true);
	/* One that is being read has that lock until the disk has answered. */
	expect_waits(test, MIGRATE_SYNC_LIGHT, false, false, false);
	expect_waits(test, MIGRATE_SYNC, false, false, true);
	/* A task that reclaims may itself hold what the owner of the lock waits for. */
	expect_waits(test, MIGRATE_SYNC_LIGHT, true, true, false);
	expect_waits(test, MIGRATE_SYNC, true, true, false);
}

/* --- targets ---------------------------------------------------------------------------- */

/* With a reference more, so that it can be looked at afterwards. */
static struct folio *get_target_held(struct folio *src, unsigned long private)
{
	struct folio *dst = get_target(src, private);

	folio_get(dst);
	return dst;
}

/* A caller without put_new leaves it to us to free what was not used. */
static void test_unused_target(struct kunit *test)
{
	unsigned int i;
	LIST_HEAD(list);

	isolate_pages(test, &list, 3);
	world.err = -EBUSY;
	world.errors = 3;
	KUNIT_EXPECT_EQ(test, 3, migrate_pages(&list, get_target_held, NULL, 0, MIGRATE_ASYNC,
					       MR_COMPACTION, NULL));
	KUNIT_EXPECT_EQ(test, world.got, 3);
	for (i = 0; i < world.got; i++) {
		KUNIT_EXPECT_EQ(test, page_count(new_page[i]), 1);
		KUNIT_EXPECT_FALSE(test, PageLocked(new_page[i]));
		put_page(new_page[i]);
	}
	free_left(test, &list);
}

/* Targets are allocated for all of a batch; if all but one are free by then, the rest goes back. */
static void test_spares(struct kunit *test)
{
	struct migration_target_control mtc = {
		.nid = 0,
		.gfp_mask = GFP_KERNEL,
		.reason = MR_COMPACTION,
	};
	struct folio *folio, *next;
	unsigned int round;
	LIST_HEAD(list);
	long before = 0;

	for (round = 0; round < 300; round++) {
		/* The first ones fill the lists of processors. */
		if (round == 100)
			before = global_zone_page_state(NR_FREE_PAGES);
		isolate_pages(test, &list, 40);
		world.err = -EBUSY;
		world.errors = 1;
		list_for_each_entry_safe(folio, next, &list, lru)
			if (!list_is_first(&folio->lru, &list))
				free_driver_page(&folio->page);
		KUNIT_ASSERT_EQ(test, 1, migrate_pages(&list, alloc_migration_target, NULL,
						       (unsigned long)&mtc, MIGRATE_ASYNC,
						       MR_COMPACTION, NULL));
		free_left(test, &list);
	}
	/* 31 spares a round would be 6200. */
	KUNIT_EXPECT_LT(test, before - (long)global_zone_page_state(NR_FREE_PAGES), 2000);
}

/* --- files ------------------------------------------------------------------------------ */

/* A folio of a file, isolated and locked, with what it has for writing given by the test. */
struct filed {
	struct file *file;
	struct address_space *mapping;
	const struct address_space_operations *ops;
	struct folio *src;
};

static void file_folio(struct kunit *test, struct filed *f, gfp_t gfp)
{
	f->file = shmem_kernel_file_setup("migrate_test", SZ_64K, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(f->file));
	f->mapping = f->file->f_mapping;
	f->ops = f->mapping->a_ops;
	f->src = shmem_read_folio_gfp(f->mapping, 3, gfp);
	KUNIT_ASSERT_FALSE(test, IS_ERR(f->src));
	lru_add_drain();
	KUNIT_ASSERT_TRUE(test, folio_isolate_lru(f->src));
	folio_put(f->src);
	folio_lock(f->src);
	folio_clear_dirty(f->src);
}

/* @dst is in its place, or it is still there itself if @dst is NULL. */
static void file_folio_done(struct filed *f, struct folio *dst)
{
	f->mapping->a_ops = f->ops;
	folio_unlock(f->src);
	if (!dst)
		folio_add_lru(f->src);
	folio_put(f->src);
	if (dst) {
		folio_unlock(dst);
		folio_add_lru(dst);
		folio_put(dst);
	}
	fput(f->file);
}

static void test_inaccessible(struct kunit *test)
{
	struct folio *dst = new_folio(test);
	struct filed f;

	file_folio(test, &f, GFP_KERNEL);
	mapping_set_inaccessible(f.mapping);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, migrate_contents(dst, f.src, MIGRATE_SYNC));
	KUNIT_EXPECT_PTR_EQ(test, f.src->mapping, f.mapping);
	KUNIT_EXPECT_PTR_EQ(test, dst->mapping, NULL);
	folio_unlock(dst);
	folio_put(dst);
	file_folio_done(&f, NULL);
}

/* A file system that cannot move folios, and how it writes them. */
static struct {
	unsigned int calls;
	int ret;
} written;

static int fs_writepage(struct page *page, struct writeback_control *wbc)
{
	written.calls++;
	if (written.ret != AOP_WRITEPAGE_ACTIVATE)
		unlock_page(page);
	return written.ret;
}

static const struct address_space_operations fs_read_only = {
	.dirty_folio = noop_dirty_folio,
};

static const struct address_space_operations fs_writing = {
	.dirty_folio = noop_dirty_folio,
	.writepage = fs_writepage,
};

static void expect_writes(struct kunit *test, struct filed *f, struct folio *dst, int ret, int err)
{
	written.calls = 0;
	written.ret = ret;
	folio_set_dirty(f->src);
	KUNIT_EXPECT_EQ(test, err, migrate_contents(dst, f->src, MIGRATE_SYNC));
	KUNIT_EXPECT_EQ(test, written.calls, 1);
	KUNIT_EXPECT_FALSE(test, folio_test_dirty(f->src));
	KUNIT_EXPECT_TRUE(test, folio_test_locked(f->src));
	KUNIT_EXPECT_PTR_EQ(test, f->src->mapping, f->mapping);
	/* For what comes next, if it was not. */
	if (!folio_test_locked(f->src))
		folio_lock(f->src);
}

/* Clean folios are moved without help; dirty ones are written first, if that may be waited for. */
static void test_without_help(struct kunit *test)
{
	struct folio *dst = new_folio(test);
	struct filed f;

	file_folio(test, &f, GFP_KERNEL);
	f.mapping->a_ops = &fs_writing;
	written.calls = 0;
	folio_set_dirty(f.src);
	KUNIT_EXPECT_EQ(test, -EBUSY, migrate_contents(dst, f.src, MIGRATE_ASYNC));
	KUNIT_EXPECT_EQ(test, -EBUSY, migrate_contents(dst, f.src, MIGRATE_SYNC_LIGHT));
	KUNIT_EXPECT_EQ(test, written.calls, 0);
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(f.src));
	f.mapping->a_ops = &fs_read_only;
	KUNIT_EXPECT_EQ(test, -EINVAL, migrate_contents(dst, f.src, MIGRATE_SYNC));
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(f.src));
	f.mapping->a_ops = &fs_writing;
	expect_writes(test, &f, dst, 0, -EINPROGRESS);
	expect_writes(test, &f, dst, AOP_WRITEPAGE_ACTIVATE, -EINPROGRESS);
	expect_writes(test, &f, dst, -ENOSPC, -EIO);
	KUNIT_EXPECT_PTR_EQ(test, xa_load(&f.mapping->i_pages, 3), (void *)f.src);
	KUNIT_EXPECT_EQ(test, 0, migrate_contents(dst, f.src, MIGRATE_ASYNC));
	KUNIT_EXPECT_PTR_EQ(test, xa_load(&f.mapping->i_pages, 3), (void *)dst);
	file_folio_done(&f, dst);
}

/* A file system whose writing goes on for a while after it has been asked for. */
static struct {
	struct delayed_work work;
	struct folio *folio;
	bool moved;
} writing;

static void fs_written(struct work_struct *work)
{
	writing.moved = !READ_ONCE(writing.folio->mapping);
	folio_end_writeback(writing.folio);
}

static int fs_write_later(struct page *page, struct writeback_control *wbc)
{
	written.calls++;
	writing.folio = page_folio(page);
	folio_start_writeback(writing.folio);
	folio_unlock(writing.folio);
	schedule_delayed_work(&writing.work, msecs_to_jiffies(50));
	return 0;
}

static const struct address_space_operations fs_slow = {
	.dirty_folio = noop_dirty_folio,
	.writepage = fs_write_later,
};

/* Nobody maps the folio, so only its being written says that the next try has to wait. */
static void test_written_later(struct kunit *test)
{
	struct migration_target_control mtc = { .nid = NUMA_NO_NODE, .gfp_mask = GFP_KERNEL };
	struct filed f;
	LIST_HEAD(list);

	file_folio(test, &f, GFP_KERNEL);
	f.mapping->a_ops = &fs_slow;
	written.calls = 0;
	INIT_DELAYED_WORK(&writing.work, fs_written);
	folio_set_dirty(f.src);
	folio_unlock(f.src);
	list_add(&f.src->lru, &list);
	node_stat_mod_folio(f.src, NR_ISOLATED_ANON + folio_is_file_lru(f.src), 1);
	KUNIT_EXPECT_EQ(test, 0, migrate_pages(&list, alloc_migration_target, NULL,
					       (unsigned long)&mtc, MIGRATE_SYNC,
					       MR_SYSCALL, NULL));
	KUNIT_EXPECT_EQ(test, written.calls, 1);
	flush_delayed_work(&writing.work);
	KUNIT_EXPECT_FALSE_MSG(test, writing.moved, "moved while it was being written");
	if (!list_empty(&list))
		putback_movable_pages(&list);
	f.mapping->a_ops = f.ops;
	fput(f.file);
}

static bool all_buffers(struct folio *folio, bool locked)
{
	struct buffer_head *head = folio_buffers(folio), *bh = head;

	do {
		if (buffer_locked(bh) != locked || bh->b_folio != folio)
			return false;
		bh = bh->b_this_page;
	} while (bh != head);
	return true;
}

static void test_buffers(struct kunit *test)
{
	struct folio *dst = new_folio(test), *third;
	struct buffer_head *head, *second;
	struct filed f;

	file_folio(test, &f, GFP_KERNEL);
	head = create_empty_buffers(f.src, SZ_1K, 0);
	second = head->b_this_page;
	/* A buffer is read or written: those before it are unlocked again, it is not. */
	lock_buffer(second);
	KUNIT_EXPECT_EQ(test, -EAGAIN,
			buffer_migrate_folio(f.mapping, dst, f.src, MIGRATE_ASYNC));
	KUNIT_EXPECT_FALSE(test, buffer_locked(head));
	KUNIT_EXPECT_TRUE(test, buffer_locked(second));
	clear_buffer_locked(head);
	/* Waited for in this mode only when it is being written. */
	clear_buffer_uptodate(second);
	KUNIT_EXPECT_EQ(test, -EAGAIN,
			buffer_migrate_folio(f.mapping, dst, f.src, MIGRATE_SYNC_LIGHT));
	set_buffer_uptodate(second);
	KUNIT_EXPECT_FALSE(test, buffer_locked(head));
	KUNIT_EXPECT_TRUE(test, buffer_locked(second));
	clear_buffer_locked(head);
	unlock_buffer(second);
	/* Somebody uses a buffer: only who does that with the folio locked does not mind. */
	get_bh(second);
	KUNIT_EXPECT_EQ(test, -EAGAIN,
			buffer_migrate_folio_norefs(f.mapping, dst, f.src, MIGRATE_SYNC));
	KUNIT_EXPECT_TRUE(test, all_buffers(f.src, false));
	KUNIT_EXPECT_PTR_EQ(test, folio_buffers(dst), NULL);
	if (folio_buffers(dst))
		goto out;
	KUNIT_EXPECT_EQ(test, 0, buffer_migrate_folio(f.mapping, dst, f.src, MIGRATE_SYNC));
	put_bh(second);
	KUNIT_EXPECT_PTR_EQ(test, folio_buffers(dst), head);
	KUNIT_EXPECT_PTR_EQ(test, folio_buffers(f.src), NULL);
	KUNIT_EXPECT_TRUE(test, all_buffers(dst, false));
	third = new_folio(test);
	f.src->mapping = NULL;
	folio_unlock(f.src);
	folio_put(f.src);
	f.src = dst;
	dst = third;
	KUNIT_EXPECT_EQ(test, 0, buffer_migrate_folio_norefs(f.mapping, dst, f.src, MIGRATE_SYNC));
	KUNIT_EXPECT_TRUE(test, all_buffers(dst, false));
out:
	f.src->mapping = NULL;
	try_to_free_buffers(dst);
	file_folio_done(&f, dst);
}

/* Truncated, but not free as it has buffers: they go, and with them it does. */
static void test_orphan(struct kunit *test)
{
	struct folio *src = folio_alloc(GFP_KERNEL, 0);
	static struct address_space mapping;
	unsigned int moved;
	LIST_HEAD(list);

	KUNIT_ASSERT_NOT_NULL(test, src);
	memset(&world, 0, sizeof(world));
	spin_lock_init(&mapping.i_private_lock);
	src->mapping = &mapping;
	create_empty_buffers(src, SZ_1K, 0);
	src->mapping = NULL;
	folio_count_isolated(src);
	list_add(&src->lru, &list);
	KUNIT_EXPECT_EQ(test, 0, migrate_pages(&list, get_target, put_target, 0, MIGRATE_ASYNC,
					       MR_COMPACTION, &moved));
	KUNIT_EXPECT_EQ(test, moved, 1);
	KUNIT_EXPECT_TRUE(test, list_empty(&list));
	/* There was nothing to move. */
	KUNIT_EXPECT_EQ(test, world.got, world.given_back);
}

/* --- what nodes and zones count ---------------------------------------------------------- */

static long node_count(int node, enum node_stat_item item)
{
	struct pglist_data *pgdat = NODE_DATA(node);
	long n = atomic_long_read(&pgdat->vm_stat[item]);
	int cpu;

	for_each_possible_cpu(cpu)
		n += per_cpu_ptr(pgdat->per_cpu_nodestats, cpu)->vm_node_stat_diff[item];
	return n;
}

static long zone_count(struct folio *folio, enum zone_stat_item item)
{
	struct zone *zone = folio_zone(folio);
	long n = atomic_long_read(&zone->vm_stat[item]);
	int cpu;

	for_each_possible_cpu(cpu)
		n += per_cpu_ptr(zone->per_cpu_zonestats, cpu)->vm_stat_diff[item];
	return n;
}

static const enum node_stat_item counted[] = { NR_FILE_PAGES, NR_SHMEM, NR_FILE_DIRTY };

/* A file folio that is in a cache, dirty, moves; @gfp and @node say from where and to where. */
static void expect_counts(struct kunit *test, gfp_t from_gfp, int from, gfp_t to_gfp, int to)
{
	struct folio *src, *dst = __folio_alloc_node(to_gfp | __GFP_THISNODE | __GFP_NOWARN, 0, to);
	static struct backing_dev_info bdi = { .capabilities = BDI_CAP_WRITEBACK };
	static struct super_block sb = { .s_bdi = &bdi };
	long was[2][ARRAY_SIZE(counted)], pending[2];
	struct super_block *sb_was;
	struct filed f;
	unsigned int i;
	int gone;

	file_folio(test, &f, GFP_KERNEL);
	/* To where it is to come from. */
	src = __folio_alloc_node(from_gfp | __GFP_THISNODE | __GFP_NOWARN, 0, from);
	if (!src || !dst) {
		kunit_info(test, "no memory there");
		goto out;
	}
	folio_lock(src);
	folio_lock(dst);
	KUNIT_ASSERT_EQ(test, 0, migrate_contents(src, f.src, MIGRATE_ASYNC));
	folio_unlock(f.src);
	folio_put(f.src);
	f.src = src;
	gone = folio_zone(src) != folio_zone(dst);
	folio_set_dirty(src);
	for (i = 0; i < ARRAY_SIZE(counted); i++) {
		was[0][i] = node_count(from, counted[i]);
		was[1][i] = node_count(to, counted[i]);
	}
	pending[0] = zone_count(src, NR_ZONE_WRITE_PENDING);
	pending[1] = zone_count(dst, NR_ZONE_WRITE_PENDING);
	/* A file that can be written back, for as long as that. */
	sb_was = f.mapping->host->i_sb;
	f.mapping->host->i_sb = &sb;
	KUNIT_EXPECT_EQ(test, 0, migrate_contents(dst, src, MIGRATE_ASYNC));
	f.mapping->host->i_sb = sb_was;
	for (i = 0; i < ARRAY_SIZE(counted); i++) {
		KUNIT_EXPECT_EQ(test, was[0][i] - node_count(from, counted[i]), from != to);
		KUNIT_EXPECT_EQ(test, node_count(to, counted[i]) - was[1][i], from != to);
	}
	KUNIT_EXPECT_EQ(test, pending[0] - zone_count(src, NR_ZONE_WRITE_PENDING), gone);
	KUNIT_EXPECT_EQ(test, zone_count(dst, NR_ZONE_WRITE_PENDING) - pending[1], gone);
	/* Nobody has counted it as dirty in fact. */
	mod_node_page_state(NODE_DATA(from), NR_FILE_DIRTY, from != to);
	mod_node_page_state(NODE_DATA(to), NR_FILE_DIRTY, -(from != to));
	mod_zone_page_state(folio_zone(src), NR_ZONE_WRITE_PENDING, gone);
	mod_zone_page_state(folio_zone(dst), NR_ZONE_WRITE_PENDING, -gone);
	folio_clear_dirty(dst);
	file_folio_done(&f, dst);
	return;
out:
	if (src)
		folio_put(src);
	if (dst)
		folio_put(dst);
	file_folio_done(&f, NULL);
}

static void test_counts(struct kunit *test)
{
	int first = first_memory_node, last = first, node;

	for_each_node_state(node, N_MEMORY)
		last = node;
	expect_counts(test, GFP_HIGHUSER, first, GFP_HIGHUSER, last);
	expect_counts(test, GFP_HIGHUSER, last, GFP_HIGHUSER, first);
	expect_counts(test, GFP_HIGHUSER, first, GFP_HIGHUSER, first);
	/* Within a node the zones differ. */
	for_each_node_state(node, N_MEMORY) {
		expect_counts(test, GFP_HIGHUSER, node, GFP_USER | GFP_DMA32, node);
		expect_counts(test, GFP_USER | GFP_DMA32, node, GFP_HIGHUSER, node);
		expect_counts(test, GFP_USER | GFP_DMA, node, GFP_HIGHUSER, node);
	}
}

/* The swap cache has an entry for each page of a large folio, and each has to follow. */
static void test_slots(struct kunit *test)
{
	struct folio *src = folio_alloc(GFP_HIGHUSER_MOVABLE | __GFP_COMP, 4), *dst, *other[8];
	swp_entry_t entry = swp_entry(1, 0x30);
	static struct address_space mapping;
	unsigned int i, others = 0;
	pgoff_t at;

	KUNIT_ASSERT_NOT_NULL(test, src);
	/* In the same zone, so that nothing is counted. */
	while ((dst = __folio_alloc_node(GFP_HIGHUSER_MOVABLE | __GFP_COMP, 4, folio_nid(src))) &&
	       folio_zone(dst) != folio_zone(src) && others < ARRAY_SIZE(other))
		other[others++] = dst;
	while (others)
		folio_put(other[--others]);
	KUNIT_ASSERT_NOT_NULL(test, dst);
	KUNIT_ASSERT_PTR_EQ(test, folio_zone(dst), folio_zone(src));
	xa_init_flags(&mapping.i_pages, XA_FLAGS_LOCK_IRQ);
	folio_lock(src);
	folio_lock(dst);
	src->swap = entry;
	folio_set_swapbacked(src);
	folio_set_swapcache(src);
	at = folio_index(src);
	for (i = 0; i < 16; i++)
		xa_store(&mapping.i_pages, at + i, src, GFP_KERNEL);
	folio_ref_add(src, 16);
	KUNIT_EXPECT_EQ(test, -EAGAIN, migrate_exchange(&mapping, dst, src, 16));
	KUNIT_EXPECT_EQ(test, 0, migrate_exchange(&mapping, dst, src, 17));
	for (i = 0; i < 16; i++)
		KUNIT_EXPECT_PTR_EQ(test, xa_load(&mapping.i_pages, at + i), (void *)dst);
	KUNIT_EXPECT_PTR_EQ(test, xa_load(&mapping.i_pages, at + 16), NULL);
	KUNIT_EXPECT_EQ(test, dst->swap.val, entry.val);
	KUNIT_EXPECT_TRUE(test, folio_test_swapcache(dst));
	KUNIT_EXPECT_EQ(test, folio_ref_count(dst), 17);
	KUNIT_EXPECT_EQ(test, folio_ref_count(src), 1);
	xa_destroy(&mapping.i_pages);
	folio_clear_swapcache(src);
	folio_clear_swapcache(dst);
	src->private = NULL;
	dst->private = NULL;
	folio_ref_sub(dst, 16);
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

/* --- without targets for large folios ---------------------------------------------------- */

static struct folio *get_small_target(struct folio *src, unsigned long private)
{
	return folio_test_large(src) ? NULL : get_target(src, private);
}

/* A file with one large folio, isolated, at the head of @list. */
static struct file *large_file(struct kunit *test, struct list_head *list, unsigned int order)
{
	struct file *file = shmem_kernel_file_setup("migrate_test", PAGE_SIZE << order, 0);
	struct folio *folio = folio_alloc(GFP_HIGHUSER_MOVABLE, order);

	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	KUNIT_ASSERT_NOT_NULL(test, folio);
	folio_mark_uptodate(folio);
	KUNIT_ASSERT_EQ(test, 0, filemap_add_folio(file->f_mapping, folio, 0, GFP_KERNEL));
	folio_unlock(folio);
	lru_add_drain();
	KUNIT_ASSERT_TRUE(test, folio_isolate_lru(folio));
	folio_count_isolated(folio);
	folio_put(folio);
	list_add(&folio->lru, list);
	return file;
}

static void large_file_done(struct file *file)
{
	truncate_inode_pages(file->f_mapping, 0);
	fput(file);
}

static void test_split(struct kunit *test)
{
	struct page *page;
	struct file *file;
	unsigned int moved;
	enum migrate_mode mode;
	LIST_HEAD(list);

	/* There is room for its parts. */
	for (mode = MIGRATE_ASYNC; mode <= MIGRATE_SYNC; mode++) {
		memset(&world, 0, sizeof(world));
		file = large_file(test, &list, 4);
		KUNIT_EXPECT_EQ(test, 0, migrate_pages(&list, get_small_target, put_target, 0,
						       mode, MR_COMPACTION, &moved));
		KUNIT_EXPECT_EQ(test, moved, 16);
		KUNIT_EXPECT_TRUE(test, list_empty(&list));
		putback_movable_pages(&list);
		large_file_done(file);
	}

	/* For five of them. None is lost of the others. */
	for (mode = MIGRATE_ASYNC; mode <= MIGRATE_SYNC; mode++) {
		memset(&world, 0, sizeof(world));
		world.no_target = 6;
		file = large_file(test, &list, 4);
		KUNIT_EXPECT_EQ(test, 1, migrate_pages(&list, get_small_target, put_target, 0,
						       mode, MR_COMPACTION, &moved));
		KUNIT_EXPECT_EQ(test, moved, 5);
		KUNIT_EXPECT_EQ(test, list_count(&list), 11);
		putback_movable_pages(&list);
		large_file_done(file);
	}

	/* No memory for what comes after it, which ends it before the parts are tried. */
	isolate_pages(test, &list, 1);
	world.no_target = 1;
	page = &list_first_entry(&list, struct folio, lru)->page;
	file = large_file(test, &list, 4);
	KUNIT_EXPECT_EQ(test, -ENOMEM, migrate_pages(&list, get_small_target, put_target, 0,
						     MIGRATE_ASYNC, MR_COMPACTION, &moved));
	KUNIT_EXPECT_EQ(test, moved, 0);
	KUNIT_EXPECT_EQ(test, list_count(&list), 17);
	putback_movable_pages(&list);
	free_driver_page(page);
	large_file_done(file);

	/* NUMA balancing leaves it as it is. */
	memset(&world, 0, sizeof(world));
	file = large_file(test, &list, 4);
	KUNIT_EXPECT_NE(test, 0, migrate_pages(&list, get_small_target, put_target, 0,
					       MIGRATE_ASYNC, MR_NUMA_MISPLACED, &moved));
	KUNIT_EXPECT_EQ(test, moved, 0);
	KUNIT_EXPECT_EQ(test, list_count(&list), 1);
	KUNIT_EXPECT_TRUE(test, folio_test_large(list_first_entry(&list, struct folio, lru)));
	putback_movable_pages(&list);
	large_file_done(file);
}

#if defined(CONFIG_VM_EVENT_COUNTERS) && defined(CONFIG_TRANSPARENT_HUGEPAGE)
static const struct {
	enum vm_event_item item;
	int want;
} split_events[] = {
	{ PGMIGRATE_SUCCESS, HPAGE_PMD_NR },
	{ PGMIGRATE_FAIL, 0 },
	{ THP_MIGRATION_SUCCESS, 0 },
	{ THP_MIGRATION_FAIL, 1 },
	{ THP_MIGRATION_SPLIT, 1 },
};

/* A huge page that is split has failed as such, and its parts have not. */
static void test_split_huge(struct kunit *test)
{
	static unsigned long was[NR_VM_EVENT_ITEMS], now[NR_VM_EVENT_ITEMS];
	enum migrate_mode mode;
	struct file *file;
	unsigned int i;
	LIST_HEAD(list);

	for (mode = MIGRATE_ASYNC; mode <= MIGRATE_SYNC; mode++) {
		memset(&world, 0, sizeof(world));
		file = large_file(test, &list, HPAGE_PMD_ORDER);
		all_vm_events(was);
		KUNIT_EXPECT_EQ(test, 0, migrate_pages(&list, get_small_target, put_target, 0,
						       mode, MR_COMPACTION, NULL));
		all_vm_events(now);
		for (i = 0; i < ARRAY_SIZE(split_events); i++)
			KUNIT_EXPECT_EQ(test, now[split_events[i].item] - was[split_events[i].item],
					split_events[i].want);
		putback_movable_pages(&list);
		large_file_done(file);
	}
}
#endif

/* --- an anon_vma --------------------------------------------------------------------------- */

static struct anon_vma *watched;
static int seen_refs;

static void put_target_and_look(struct folio *dst, unsigned long private)
{
	seen_refs = atomic_read(&watched->refcount);
	put_target(dst, private);
}

/* While there are migration entries only, the anon_vma is kept by us; afterwards not any more. */
static void test_anon_vma(struct kunit *test)
{
	unsigned long addr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
					   MAP_ANONYMOUS | MAP_PRIVATE, 0);
	struct page *page;
	struct folio *folio;
	LIST_HEAD(list);
	int refs;

	KUNIT_ASSERT_NE(test, addr, 0);
	KUNIT_ASSERT_EQ(test, 1, get_user_pages_fast(addr, 1, FOLL_WRITE, &page));
	folio = page_folio(page);
	KUNIT_ASSERT_FALSE(test, folio_test_large(folio));
	lru_add_drain();
	memset(&world, 0, sizeof(world));
	KUNIT_ASSERT_TRUE(test, isolate_folio_to_list(folio, &list));
	watched = folio_anon_vma(folio);
	refs = atomic_read(&watched->refcount);
	/* Held by us, it cannot move. */
	KUNIT_EXPECT_EQ(test, 1, migrate_pages(&list, get_target, put_target_and_look, 0,
					       MIGRATE_ASYNC, MR_COMPACTION, NULL));
	KUNIT_EXPECT_EQ(test, world.given_back, 1);
	KUNIT_EXPECT_EQ(test, seen_refs, refs + 1);
	KUNIT_EXPECT_EQ(test, atomic_read(&watched->refcount), refs);
	KUNIT_EXPECT_TRUE(test, folio_mapped(folio));
	put_page(page);
	KUNIT_EXPECT_EQ(test, 0, migrate_pages(&list, get_target, put_target, 0, MIGRATE_ASYNC,
					       MR_COMPACTION, NULL));
	KUNIT_EXPECT_EQ(test, atomic_read(&watched->refcount), refs);
	putback_movable_pages(&list);
}

/* Freed while it was isolated: it is on no list, which is what its flags have to say. */
static void test_freed(struct kunit *test)
{
	static const int places[] = { PG_active, PG_unevictable };
	unsigned int i, moved;
	LIST_HEAD(list);

	for (i = 0; i < ARRAY_SIZE(places); i++) {
		struct folio *folio = folio_alloc(GFP_HIGHUSER_MOVABLE, 0);

		KUNIT_ASSERT_NOT_NULL(test, folio);
		memset(&world, 0, sizeof(world));
		set_bit(places[i], &folio->flags);
		folio_count_isolated(folio);
		list_add(&folio->lru, &list);
		/* For this reason it is not freed, so that we can look at it. */
		KUNIT_EXPECT_EQ(test, 0, migrate_pages(&list, get_target, put_target, 0,
						       MIGRATE_ASYNC, MR_MEMORY_FAILURE, &moved));
		KUNIT_EXPECT_EQ(test, moved, 1);
		KUNIT_EXPECT_EQ(test, world.got, 0);
		KUNIT_EXPECT_TRUE(test, list_empty(&list));
		KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 1);
		KUNIT_EXPECT_FALSE(test, test_bit(places[i], &folio->flags));
		clear_bit(places[i], &folio->flags);
		folio_put(folio);
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

/* --- NUMA balancing ----------------------------------------------------------------------- */

static void test_misplaced(struct kunit *test)
{
	struct file *file = shmem_kernel_file_setup("migrate_test", SZ_64K, 0);
	struct folio *folio = folio_alloc(GFP_HIGHUSER_MOVABLE, 0);
	static struct vm_area_struct vma;
	int from = folio_nid(folio), to;
	long isolated;

	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	KUNIT_ASSERT_NOT_NULL(test, folio);
	to = next_node_in(from, node_states[N_MEMORY]);
	folio_mark_uptodate(folio);
	KUNIT_ASSERT_EQ(test, 0, filemap_add_folio(file->f_mapping, folio, 3, GFP_KERNEL));
	lru_add_drain();
	isolated = node_count(from, NR_ISOLATED_FILE);
	/* It would have to be written first. */
	folio_set_dirty(folio);
	folio_unlock(folio);
	KUNIT_EXPECT_EQ(test, -EAGAIN, migrate_misplaced_folio_prepare(folio, &vma, to));
	KUNIT_EXPECT_TRUE(test, folio_test_lru(folio));
	folio_clear_dirty(folio);
	/* Somebody has it, besides the cache: it is put back. */
	KUNIT_ASSERT_EQ(test, 0, migrate_misplaced_folio_prepare(folio, &vma, to));
	KUNIT_EXPECT_FALSE(test, folio_test_lru(folio));
	KUNIT_EXPECT_EQ(test, node_count(from, NR_ISOLATED_FILE), isolated + 1);
	KUNIT_EXPECT_EQ(test, -EAGAIN, migrate_misplaced_folio(folio, &vma, to));
	lru_add_drain();
	KUNIT_EXPECT_TRUE(test, folio_test_lru(folio));
	KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 2);
	KUNIT_EXPECT_EQ(test, node_count(from, NR_ISOLATED_FILE), isolated);
	if (!folio_test_lru(folio))
		return;
	/* Nobody does any more. */
	KUNIT_ASSERT_EQ(test, 0, migrate_misplaced_folio_prepare(folio, &vma, to));
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, 0, migrate_misplaced_folio(folio, &vma, to));
	KUNIT_EXPECT_EQ(test, node_count(from, NR_ISOLATED_FILE), isolated);
	folio = filemap_get_folio(file->f_mapping, 3);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	KUNIT_EXPECT_EQ(test, folio_nid(folio), to);
	folio_put(folio);
	large_file_done(file);
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
	KUNIT_CASE(test_lock_waits),
	KUNIT_CASE(test_unused_target),
	KUNIT_CASE(test_spares),
	KUNIT_CASE(test_inaccessible),
	KUNIT_CASE(test_without_help),
	KUNIT_CASE(test_written_later),
	KUNIT_CASE(test_buffers),
	KUNIT_CASE(test_orphan),
	KUNIT_CASE(test_counts),
	KUNIT_CASE(test_split),
#if defined(CONFIG_VM_EVENT_COUNTERS) && defined(CONFIG_TRANSPARENT_HUGEPAGE)
	KUNIT_CASE(test_split_huge),
#endif
	KUNIT_CASE(test_anon_vma),
	KUNIT_CASE(test_freed),
	KUNIT_CASE(test_group_large),
	KUNIT_CASE(test_misplaced),
	KUNIT_CASE(test_slots),
	KUNIT_CASE(test_cpupid),
	{}
};

static struct kunit_suite migrate_suite = {
	.name = "foliage_migrate",
	.test_cases = migrate_cases,
};

kunit_test_suite(migrate_suite);

// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of migrate_pages(): on pages of a driver that is made up, on targets, and on what is
 * freed, truncated or unmapped meanwhile.
 * Run: boot with kunit.enable=1, read what is called results in the folders foliage_migrate* of
 * /sys/kernel/debug/kunit.
 */
#include <linux/buffer_head.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>
#include <linux/workqueue.h>

#include "migrate_test.h"

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

/* --- what has gone meanwhile ------------------------------------------------------------ */

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

static struct kunit_case migrate_cases[] = {
	KUNIT_CASE_PARAM(test_all_move, size_gen_params),
	KUNIT_CASE(test_again),
	KUNIT_CASE(test_give_up),
	KUNIT_CASE(test_no_memory),
	KUNIT_CASE(test_locked),
	KUNIT_CASE(test_released),
	KUNIT_CASE(test_isolate),
	KUNIT_CASE(test_lock_waits),
	KUNIT_CASE(test_unused_target),
	KUNIT_CASE(test_spares),
	KUNIT_CASE(test_freed),
	KUNIT_CASE(test_orphan),
	KUNIT_CASE(test_anon_vma),
	{}
};

static struct kunit_suite migrate_suite = {
	.name = "foliage_migrate",
	.test_cases = migrate_cases,
};

kunit_test_suite(migrate_suite);

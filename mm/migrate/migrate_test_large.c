// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of large folios for which there are no targets, so that they are split.
 */
#include <linux/shmem_fs.h>
#include <linux/vmstat.h>

#include "migrate_test.h"

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

static struct kunit_case migrate_large_cases[] = {
	KUNIT_CASE(test_split),
#if defined(CONFIG_VM_EVENT_COUNTERS) && defined(CONFIG_TRANSPARENT_HUGEPAGE)
	KUNIT_CASE(test_split_huge),
#endif
	{}
};

static struct kunit_suite migrate_large_suite = {
	.name = "foliage_migrate_large",
	.test_cases = migrate_large_cases,
};

kunit_test_suite(migrate_large_suite);

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the KUnit tests of migration make up: folios that are of nothing, a driver of movable pages,
 * and an allocator of targets. Each file of tests has a world of its own.
 */
#ifndef __MM_MIGRATE_TEST_H
#define __MM_MIGRATE_TEST_H

#include <kunit/test.h>
#include <linux/migrate.h>
#include <linux/pagemap.h>

#include "migrate.h"

/* A folio, locked. */
static inline struct folio *new_folio(struct kunit *test)
{
	struct folio *folio = folio_alloc(GFP_HIGHUSER_MOVABLE, 0);

	KUNIT_ASSERT_NOT_NULL(test, folio);
	folio_lock(folio);
	return folio;
}

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

static inline bool driver_isolate(struct page *page, isolate_mode_t mode)
{
	world.isolated++;
	return true;
}

static inline int driver_migrate(struct page *dst, struct page *src, enum migrate_mode mode)
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

static inline void driver_put_back(struct page *page)
{
	world.put_back++;
}

static const struct movable_operations driver = {
	.isolate_page = driver_isolate,
	.migrate_page = driver_migrate,
	.putback_page = driver_put_back,
};

static struct page *new_page[MOST];

static inline struct folio *get_target(struct folio *src, unsigned long private)
{
	struct page *page;

	if (++world.got == world.no_target)
		return NULL;
	page = alloc_page(GFP_KERNEL);
	new_page[world.got - 1] = page;
	return page ? page_folio(page) : NULL;
}

static inline void put_target(struct folio *dst, unsigned long private)
{
	world.given_back++;
	folio_put(dst);
}

/* @nr pages of the driver, isolated, on @list. */
static inline void isolate_pages(struct kunit *test, struct list_head *list, unsigned int nr)
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
static inline void free_driver_page(struct page *page)
{
	lock_page(page);
	__ClearPageMovable(page);
	unlock_page(page);
	put_page(page);
}

static inline unsigned int list_count(struct list_head *list)
{
	struct list_head *at;
	unsigned int nr = 0;

	list_for_each(at, list)
		nr++;
	return nr;
}

static inline void free_new_pages(struct kunit *test)
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
static inline void free_left(struct kunit *test, struct list_head *list)
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

#endif /* __MM_MIGRATE_TEST_H */

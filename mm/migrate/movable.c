// SPDX-License-Identifier: GPL-2.0
/*
 * Isolation and putting back; and pages of drivers, which are on no LRU list.
 *
 *		    a page of a driver			  PG_isolated
 *
 *	owned by its driver					0
 *	   |  isolate_page(), page locked: the driver takes
 *	   |  the page off its lists; page->lru is ours
 *	   v
 *	isolated						1
 *	   |  migrate_page(), both pages locked		  putback_page(), page locked
 *	   +--> 0: the driver has the new page, the old	----> owned, as before	0
 *	   |	one is not movable any more: freed	0
 *	   `--> -EAGAIN: soon again; other: give up	1
 *
 *	At any time the driver may free the page: under the page lock it is made not movable, and
 *	the driver's reference goes. Whoever has it isolated then drops it.
 *
 * How a driver marks its pages: __SetPageMovable() and __ClearPageMovable(), under the page lock.
 * The mark is a bit of page->mapping that stays when the page is not movable any more, so
 * __folio_test_movable() without the lock says what kind of page an isolated one is, and
 * folio_test_movable() under the lock whether its driver still has it.
 */
#include <linux/hugetlb.h>

#include "migrate.h"

/*
 * Could this be a page of a driver? It is not locked yet, as nothing is known of it: a page that
 * was just allocated has flags that its owner changes without atomic operations, so not even the
 * lock bit may be touched. A slab page uses the word for something else. The barriers pair with
 * those where pages become slabs and are given back: if the mark was seen before a slab took the
 * page, the second look sees the slab.
 */
static bool maybe_driver_page(struct folio *folio)
{
	if (unlikely(folio_test_slab(folio)))
		return false;
	/* Pairs with the one where a slab is freed. */
	smp_rmb();
	if (likely(!__folio_test_movable(folio)))
		return false;
	/* Pairs with the one where a slab is allocated. */
	smp_rmb();
	return !folio_test_slab(folio);
}

/* Under the page lock, which every change of the mark and of PG_isolated is made under. */
static bool isolate_locked(struct folio *folio, isolate_mode_t mode)
{
	const struct movable_operations *mops;

	if (!folio_test_movable(folio) || folio_test_isolated(folio))
		return false;
	mops = folio_movable_ops(folio);
	if (!mops->isolate_page(&folio->page, mode))
		return false;
	WARN_ON_ONCE(folio_test_isolated(folio));
	folio_set_isolated(folio);
	return true;
}

/**
 * isolate_movable_page - take a page of a driver, to move it
 * @page: any page, found by its frame number
 * @mode: ISOLATE_*, for the driver
 *
 * Context: process context; nothing is waited for but the driver.
 * Return: true with a reference, and page->lru free to use; false when it is no such page, or is
 * locked, isolated already, being freed, or its driver does not want it moved now.
 */
bool isolate_movable_page(struct page *page, isolate_mode_t mode)
{
	struct folio *folio = folio_get_nontail_page(page);
	bool isolated;

	if (!folio)
		return false;
	if (!maybe_driver_page(folio) || !folio_trylock(folio)) {
		folio_put(folio);
		return false;
	}
	isolated = isolate_locked(folio, mode);
	folio_unlock(folio);
	/* If the driver freed it, this is the last reference. */
	if (!isolated)
		folio_put(folio);
	return isolated;
}

/**
 * migrate_movable - have a driver move its page
 * @dst: the new page
 * @src: the old one, isolated
 * @mode: for the driver
 *
 * Context: both pages are locked.
 * Return: 0 with @src not isolated any more, and not its driver's: moved, or freed meanwhile. An
 * error of the driver, with nothing changed.
 */
int migrate_movable(struct page *dst, struct page *src, enum migrate_mode mode)
{
	int err = MIGRATEPAGE_SUCCESS;

	VM_WARN_ON_ONCE_PAGE(!PageIsolated(src), src);
	if (PageMovable(src))
		err = page_movable_ops(src)->migrate_page(dst, src, mode);
	if (!err)
		ClearPageIsolated(src);
	return err;
}

static void putback_driver_page(struct folio *folio)
{
	folio_lock(folio);
	VM_WARN_ON_ONCE_FOLIO(!folio_test_isolated(folio), folio);
	if (folio_test_movable(folio))
		folio_movable_ops(folio)->putback_page(&folio->page);
	folio_clear_isolated(folio);
	folio_unlock(folio);
	folio_put(folio);
}

/**
 * putback_movable_pages - give up folios that were isolated, where they belong
 * @l: LRU folios, hugetlb folios and pages of drivers; empty afterwards
 *
 * Context: process context; sleeps.
 */
void putback_movable_pages(struct list_head *l)
{
	struct folio *folio, *next;

	list_for_each_entry_safe(folio, next, l, lru) {
		if (unlikely(folio_test_hugetlb(folio))) {
			folio_putback_active_hugetlb(folio);
			continue;
		}
		list_del(&folio->lru);
		/* The mapping of a folio that was on an LRU list does not have that bit. */
		if (unlikely(__folio_test_movable(folio))) {
			putback_driver_page(folio);
			continue;
		}
		node_stat_mod_folio(folio, NR_ISOLATED_ANON + folio_is_file_lru(folio),
				    -folio_nr_pages(folio));
		folio_putback_lru(folio);
	}
}

/**
 * isolate_folio_to_list - isolate a folio of any kind
 * @folio: the folio, referenced; hugetlb may be isolated without that
 * @list: where it goes
 *
 * Context: process context.
 * Return: true with another reference, false when it cannot be had now.
 */
bool isolate_folio_to_list(struct folio *folio, struct list_head *list)
{
	if (folio_test_hugetlb(folio))
		return isolate_hugetlb(folio, list);
	if (__folio_test_movable(folio)) {
		if (!isolate_movable_page(&folio->page, ISOLATE_UNEVICTABLE))
			return false;
	} else {
		if (!folio_isolate_lru(folio))
			return false;
		folio_count_isolated(folio);
	}
	list_add(&folio->lru, list);
	return true;
}

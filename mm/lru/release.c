// SPDX-License-Identifier: GPL-2.0
/*
 * The last reference goes.
 *
 *	references dropped --> of nobody's use? --> off its list --> uncharged --> page allocator
 *			       hugetlb and device memory go their own ways
 *
 * First all references of a batch are dropped, without a lock; then what is left for us is taken
 * off its lists in one go. PG_mlocked stays for the page allocator, which counts it out: a folio
 * of a truncated file may be freed with its munlock missing.
 */
#include <linux/export.h>
#include <linux/hugetlb.h>
#include <linux/memremap.h>

#include "lru.h"

/* Nobody else can find the folio, so its flags need no atomic operations. */
static void lru_take_off(struct folio_batch *dead)
{
	struct lru_move mv;
	unsigned int i;

	lru_move_init(&mv);
	for (i = 0; i < dead->nr; i++) {
		struct folio *folio = dead->folios[i];

		if (!folio_test_lru(folio))
			continue;
		lru_move_to(&mv, folio);
		lru_move_del(&mv, folio, folio_nr_pages(folio));
		__folio_clear_lru_flags(folio);
	}
	lru_move_end(&mv);
}

/*
 * A folio whose last reference has gone. Hugetlb goes back to its pool and device memory to its
 * driver at once. Return: whether it is a common one, for free_dead().
 */
static __always_inline bool folio_is_ours_to_free(struct folio *folio)
{
	if (unlikely(folio_is_zone_device(folio))) {
		free_zone_device_folio(folio);
		return false;
	}
	if (unlikely(folio_test_hugetlb(folio))) {
		free_huge_folio(folio);
		return false;
	}
	folio_unqueue_deferred_split(folio);
	return true;
}

/* Return: whether the folio is to be freed by the caller. */
static __always_inline bool folio_drop(struct folio *folio, unsigned int refs)
{
	if (is_huge_zero_folio(folio))
		return false;
	/* Of some device memory the first reference is the driver's own, which gets word of it. */
	if (unlikely(folio_is_zone_device(folio)) && put_devmap_managed_folio_refs(folio, refs))
		return false;
	return folio_ref_sub_and_test(folio, refs) && folio_is_ours_to_free(folio);
}

static void free_dead(struct folio_batch *dead)
{
	lru_take_off(dead);
	mem_cgroup_uncharge_folios(dead);
	free_unref_folios(dead);
}

/**
 * lru_release() - free folios whose last reference has gone
 * @dead: the folios, of any kind; empty afterwards
 *
 * Context: any but NMI; no batch and no lru_lock held.
 */
void lru_release(struct folio_batch *dead)
{
	unsigned int i, nr = 0;

	for (i = 0; i < dead->nr; i++)
		if (folio_is_ours_to_free(dead->folios[i]))
			dead->folios[nr++] = dead->folios[i];
	dead->nr = nr;
	if (nr)
		free_dead(dead);
}

/**
 * __folio_put() - free a folio whose last reference has gone
 * @folio: as folio_put() leaves it; device memory and hugetlb, too
 *
 * Context: any but NMI; spinlocks may be held.
 */
void __folio_put(struct folio *folio)
{
	struct lru_move mv;

	if (!folio_is_ours_to_free(folio))
		return;
	if (folio_test_lru(folio)) {
		lru_move_init(&mv);
		lru_move_to(&mv, folio);
		lru_move_del(&mv, folio, folio_nr_pages(folio));
		__folio_clear_lru_flags(folio);
		lru_move_end(&mv);
	}
	mem_cgroup_uncharge(folio);
	free_unref_page(&folio->page, folio_order(folio));
}
EXPORT_SYMBOL(__folio_put);

/**
 * folios_put_refs() - drop references of many folios
 * @folios: the folios; empty afterwards, to be filled again without initialisation
 * @refs: how many of each, or NULL: one of each
 *
 * Context: any but NMI; spinlocks may be held.
 */
void folios_put_refs(struct folio_batch *folios, unsigned int *refs)
{
	unsigned int i, dead = 0;

	for (i = 0; i < folios->nr; i++) {
		struct folio *folio = folios->folios[i];

		if (folio_drop(folio, refs ? refs[i] : 1))
			folios->folios[dead++] = folio;
	}
	folio_batch_reinit(folios);
	folios->nr = dead;
	if (dead)
		free_dead(folios);
}
EXPORT_SYMBOL(folios_put_refs);

/**
 * put_pages_list() - drop a reference of each page of a list
 * @pages: linked by page->lru, so not on LRU lists; empty afterwards
 *
 * Context: any but NMI.
 */
void put_pages_list(struct list_head *pages)
{
	struct folio *folio, *next;
	struct folio_batch dead;

	folio_batch_init(&dead);
	list_for_each_entry_safe(folio, next, pages, lru) {
		if (!folio_put_testzero(folio))
			continue;
		if (folio_test_hugetlb(folio))
			free_huge_folio(folio);
		else if (!folio_batch_add(&dead, folio))
			free_unref_folios(&dead);
	}
	if (folio_batch_count(&dead))
		free_unref_folios(&dead);
	INIT_LIST_HEAD(pages);
}
EXPORT_SYMBOL(put_pages_list);

/**
 * release_pages() - drop references of pages
 * @arg: folios, pages, or encoded pages as the MMU gather has them: one with
 *	ENCODED_PAGE_BIT_NR_PAGES_NEXT set is followed by the number of references
 * @nr: entries of @arg
 *
 * Context: any but NMI.
 */
void release_pages(release_pages_arg arg, int nr)
{
	struct encoded_page **at = arg.encoded_pages, **end = at + nr;
	unsigned int refs[PAGEVEC_SIZE];
	struct folio_batch batch;

	folio_batch_init(&batch);
	while (at < end) {
		struct encoded_page *page = *at++;
		unsigned int n = 1;

		if (encoded_page_flags(page) & ENCODED_PAGE_BIT_NR_PAGES_NEXT)
			n = encoded_nr_pages(*at++);
		refs[batch.nr] = n;
		if (!folio_batch_add(&batch, page_folio(encoded_page_ptr(page))))
			folios_put_refs(&batch, refs);
	}
	if (folio_batch_count(&batch))
		folios_put_refs(&batch, refs);
}
EXPORT_SYMBOL(release_pages);

/**
 * folio_batch_remove_exceptionals() - keep the folios, drop shadow, swap and DAX entries
 * @fbatch: what find_get_entries() found; the order stays
 */
void folio_batch_remove_exceptionals(struct folio_batch *fbatch)
{
	unsigned int i, nr = 0;

	for (i = 0; i < folio_batch_count(fbatch); i++)
		if (!xa_is_value(fbatch->folios[i]))
			fbatch->folios[nr++] = fbatch->folios[i];
	fbatch->nr = nr;
}

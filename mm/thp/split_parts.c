// SPDX-License-Identifier: GPL-2.0
/*
 * The parting of a folio that is frozen: FROZEN -> PARTED, in split.h.
 *
 *	folio	[h t t t t t t t]	one head, tails that point to it; no references
 *		 | each part is made a folio, from the head's flags
 *		 v
 *	parts	[h t][h t][h t][h t]	no references: those who try to get one fail, or try again
 *		 | in the place of the folio in the page cache or swap cache
 *		 | onto the LRU list, all at once
 *		 v
 *	parts	with references		of the cache, and of this split
 *
 * Nobody reaches a part before all of this is done: so lists and trees are locked only for the
 * moment in which the parts enter them. Who finds a frozen folio in the page cache tries again
 * without sleeping; for those, what has the folio does not sleep either.
 */
#include <linux/mm.h>
#include <linux/backing-dev.h>
#include <linux/idle_ages.h>
#include <linux/memcontrol.h>
#include <linux/mm_inline.h>
#include <linux/page_idle.h>
#include <linux/page_owner.h>
#include <linux/pagemap.h>
#include <linux/pgalloc_tag.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>

#include "../swap.h"
#include "split.h"

/* What parts inherit. PG_anon_exclusive is in migration entries, poison belongs to one page. */
#define INHERITED	(BIT(PG_locked) | BIT(PG_referenced) | BIT(PG_uptodate) | BIT(PG_dirty) | \
			 BIT(PG_active) | BIT(PG_workingset) | BIT(PG_swapbacked) |		  \
			 BIT(PG_swapcache) | BIT(PG_unevictable) | INHERITED_MLOCKED |		  \
			 INHERITED_ARCH)
/* What the generational LRU changes under its lock only, so that is read there. */
#define INHERITED_LRU	(LRU_GEN_MASK | LRU_REFS_MASK)
#ifdef CONFIG_MMU
#define INHERITED_MLOCKED	BIT(PG_mlocked)
#else
#define INHERITED_MLOCKED	0
#endif
#ifdef CONFIG_ARCH_USES_PG_ARCH_2
#define INHERITED_ARCH_2	BIT(PG_arch_2)
#else
#define INHERITED_ARCH_2	0
#endif
#ifdef CONFIG_ARCH_USES_PG_ARCH_3
#define INHERITED_ARCH		(INHERITED_ARCH_2 | BIT(PG_arch_3))
#else
#define INHERITED_ARCH		INHERITED_ARCH_2
#endif

/**
 * struct parting - what is the same for all parts; the first is the folio itself
 * @flags: of the pages they begin with
 * @nr: pages of the first part
 * @cpupid: who used the folio last
 * @young: PG_young, wherever it is kept
 * @idle: PG_idle
 * @poisoned: some page is lost to a memory error
 */
struct parting {
	unsigned long flags;
	unsigned long nr;
	int cpupid;
	bool young;
	bool idle;
	bool poisoned;
};

/*
 * The order of the part that begins with a page: as large as its place lets it be, and lying in the
 * range or out of it.
 */
static noinline unsigned int part_order_by_range(const struct thp_split *s, unsigned long i)
{
	unsigned int order = s->order - 1;

	if (i)
		order = min(order, __ffs(i));
	for (; order; order--) {
		unsigned long end = i + (1UL << order);

		if (end <= s->first || i >= s->last)
			break;
		if (i >= s->first && end <= s->last && order <= s->new_order)
			break;
	}
	/* The list of the deferred queue is in the third page. */
	return order == 1 ? 0 : order;
}

static __always_inline unsigned int part_order(const struct thp_split *s, unsigned long i)
{
	return likely(s->step) ? s->new_order : part_order_by_range(s, i);
}

/* Where the part behind one that is not the first begins. */
static __always_inline unsigned long part_next(const struct thp_split *s, unsigned long i)
{
	return i + (likely(s->step) ? s->step :
		    folio_nr_pages((struct folio *)folio_page(s->folio, i)));
}

static void part_note_poison(const struct parting *p, struct folio *part)
{
	unsigned long i, nr = folio_nr_pages(part);

	for (i = 0; p->poisoned && i < nr; i++) {
		if (!PageHWPoison(folio_page(part, i)))
			continue;
		folio_set_has_hwpoisoned(part);
		return;
	}
}

/* A part that is not the first: pages with nothing of their own but their frames. */
static __always_inline void part_tail(struct thp_split *s, const struct parting *p, unsigned long i,
				      unsigned int order)
{
	struct page *page = folio_page(s->folio, i);
	/* No folio until it is no tail any more. */
	struct folio *part = (struct folio *)page;

	VM_WARN_ON_ONCE_PAGE(page_ref_count(page) || atomic_read(&page->_mapcount) != -1, page);
	/* Not by a plain write: a memory failure may mark the page now. */
	set_mask_bits(&page->flags, PAGE_FLAGS_CHECK_AT_PREP, p->flags);
	page->mapping = s->folio->mapping;
	page->index = s->folio->index + i;
	page->private = 0;
	if (p->flags & BIT(PG_swapcache))
		part->swap.val = s->folio->swap.val + i;
	/* Flags before the page is found to be a head. */
	smp_wmb();
	clear_compound_head(page);
	if (order) {
		prep_compound_page(page, order);
		folio_set_large_rmappable(part);
		part_note_poison(p, part);
	}
	if (p->young)
		folio_set_young(part);
	if (p->idle)
		folio_set_idle(part);
	folio_xchg_last_cpupid(part, p->cpupid);
	idle_ages_carry(s->folio, part);
}

static void part_head(struct thp_split *s, const struct parting *p)
{
	struct folio *folio = s->folio;

	if (p->nr > 1) {
		folio_set_order(folio, ilog2(p->nr));
		part_note_poison(p, folio);
	} else {
		ClearPageCompound(&folio->page);
	}
}

/* --- accounts --------------------------------------------------------------------------- */

/*
 * What the memcg and the profile of allocations know of the folio, each part gets from the one that
 * it was a half of, which comes before it. Before a part can be on a list, which is its memcg's.
 */
static void part_account(struct thp_split *s, unsigned long nr)
{
	unsigned long i;

	if (s->step) {
		split_page_memcg(&s->folio->page, s->order, s->new_order);
		pgalloc_tag_split(s->folio, s->order, s->new_order);
		return;
	}
	for (i = nr; i < thp_split_pages(s); i = part_next(s, i)) {
		unsigned int order = __ffs(i);
		struct page *half = folio_page(s->folio, i - (1UL << order));

		split_page_memcg(half, order + 1, order);
		pgalloc_tag_split((struct folio *)half, order + 1, order);
	}
}

/* The first part has its order by now. */
static void part_account_owner(struct thp_split *s)
{
	unsigned long i;

	if (s->step) {
		split_page_owner(&s->folio->page, s->order, s->new_order);
		return;
	}
	for (i = 0; i < thp_split_pages(s); i = part_next(s, i)) {
		struct folio *part = (struct folio *)folio_page(s->folio, i);

		split_page_owner(&part->page, folio_order(part), folio_order(part));
	}
}

/* --- caches ----------------------------------------------------------------------------- */

/* Beyond the end of the file nobody will look for it. */
static bool part_is_beyond(const struct thp_split *s, unsigned long i)
{
	return s->mapping && s->folio->index + i >= s->end;
}

static void part_drop(struct thp_split *s, struct folio *part)
{
	if (shmem_mapping(s->mapping))
		s->dropped += folio_nr_pages(part);
	else if (folio_test_clear_dirty(part))
		folio_account_cleaned(part, inode_to_wb(s->mapping->host));
	__filemap_remove_folio(part, NULL);
}

/*
 * The tree has the folio at each place of a part; the marks of the folio, each part has by then.
 * @i_pages is locked.
 */
static void part_store(struct thp_split *s, struct xarray *i_pages, pgoff_t index,
		       unsigned long nr)
{
	XA_STATE(xas, i_pages, index + nr);
	unsigned long i;

	for (i = nr; i < thp_split_pages(s); i = part_next(s, i)) {
		/* Then all that follow are so, too. */
		if (part_is_beyond(s, i)) {
			part_drop(s, page_folio(folio_page(s->folio, i)));
			continue;
		}
		if (s->new_order)
			xas_set_order(&xas, index + i, s->new_order);
		else if (i > nr)
			xas_next(&xas);
		xas_store(&xas, folio_page(s->folio, i));
	}
}

/* It is no huge page any more, of those that are counted. */
static void part_uncount_huge(struct thp_split *s)
{
	long nr = thp_split_pages(s);

	if (s->order < HPAGE_PMD_ORDER || s->new_order >= HPAGE_PMD_ORDER)
		return;
	if (folio_test_swapbacked(s->folio)) {
		__lruvec_stat_mod_folio(s->folio, NR_SHMEM_THPS, -nr);
	} else {
		__lruvec_stat_mod_folio(s->folio, NR_FILE_THPS, -nr);
		filemap_nr_thps_dec(s->mapping);
	}
}

static void part_file(struct thp_split *s, unsigned long nr)
{
	xas_lock_irq(&s->xas);
	xas_reset(&s->xas);
	/* The folio is locked, so it is there. */
	VM_WARN_ON_ONCE(xas_load(&s->xas) != s->folio);
	xas_split(&s->xas, s->folio, s->order);
	part_uncount_huge(s);
	part_store(s, &s->mapping->i_pages, s->folio->index, nr);
	xas_unlock_irq(&s->xas);
}

static void part_swap(struct thp_split *s, unsigned long nr)
{
	struct address_space *cache = swap_address_space(s->folio->swap);

	xa_lock_irq(&cache->i_pages);
	part_store(s, &cache->i_pages, swap_cache_index(s->folio->swap), nr);
	xa_unlock_irq(&cache->i_pages);
}

/* --- lists ------------------------------------------------------------------------------ */

static void part_onto_list(struct thp_split *s, const struct parting *p)
{
	unsigned long i;

	VM_WARN_ON_ONCE_FOLIO(folio_test_lru(s->folio), s->folio);
	for (i = p->nr; i < thp_split_pages(s); i = part_next(s, i))
		list_add_tail(&folio_page(s->folio, i)->lru, s->list);
	part_head(s, p);
}

/*
 * Reclaim, which comes from the list's end, meets the parts in the order of their addresses. Of
 * locked memory, how often it is locked is not known of a part: munlock() need not know.
 */
static void part_link(struct thp_split *s, const struct parting *p, struct list_head *parts)
{
	unsigned long i;

	for (i = p->nr; i < thp_split_pages(s); i = part_next(s, i)) {
		struct page *page = folio_page(s->folio, i);

		if (p->flags & BIT(PG_unevictable))
			page->mlock_count = 0;
		else
			list_add(&page->lru, parts);
	}
}

/*
 * The folio is on its list, or else somebody had a reference who took it off. There it is as large
 * as it was until its parts join it: an aging list moves it as it is, without a reference.
 */
static void part_onto_lru(struct thp_split *s, const struct parting *p)
{
	struct folio *folio = s->folio;
	struct lruvec *lruvec;
	LIST_HEAD(parts);
	unsigned long i;

	VM_WARN_ON_ONCE_FOLIO(!folio_test_lru(folio), folio);
	part_link(s, p, &parts);
	lruvec = folio_lruvec_lock_irq(folio);
	if (folio->flags & INHERITED_LRU) {
		for (i = p->nr; i < thp_split_pages(s); i = part_next(s, i))
			set_mask_bits(&folio_page(folio, i)->flags, 0,
				      folio->flags & INHERITED_LRU);
	}
	if (!list_empty(&parts))
		list_splice_tail(&parts, &folio->lru);
	part_head(s, p);
	unlock_page_lruvec_irq(lruvec);
}

/* --- references ------------------------------------------------------------------------- */

/*
 * One for this split, or for whom a part is given to; one a page for the cache that it is in; one
 * for the list of the caller. From then on a part may do as it likes.
 */
static void part_unfreeze(struct thp_split *s, unsigned long nr)
{
	unsigned long i, next;

	for (i = nr; i < thp_split_pages(s); i = next) {
		int refs = 1 + !!s->list;

		/* Not asked for any more once it may do as it likes. */
		next = part_next(s, i);
		if (s->cached && !part_is_beyond(s, i))
			refs += next - i;
		page_ref_unfreeze(folio_page(s->folio, i), refs);
	}
	folio_ref_unfreeze(s->folio, 1 + (s->cached ? nr : 0));
}

/**
 * thp_part - part a folio
 * @s: the split; becomes PARTED
 *
 * Context: does not sleep.
 */
void thp_part(struct thp_split *s)
{
	struct folio *folio = s->folio;
	struct parting p = {
		.flags = folio->flags & INHERITED,
		.nr = 1UL << part_order(s, 0),
		.cpupid = folio_last_cpupid(folio),
		.young = folio_test_young(folio),
		.idle = folio_test_idle(folio),
		.poisoned = folio_test_has_hwpoisoned(folio),
	};
	unsigned long i;

	if (!s->list)
		p.flags |= BIT(PG_lru);
	ClearPageHasHWPoisoned(&folio->page);
	for (i = p.nr; i < thp_split_pages(s); i = part_next(s, i))
		part_tail(s, &p, i, part_order(s, i));
	part_account(s, p.nr);
	if (s->mapping)
		part_file(s, p.nr);
	else if (folio_test_swapcache(folio))
		part_swap(s, p.nr);
	if (s->list)
		part_onto_list(s, &p);
	else
		part_onto_lru(s, &p);
	part_account_owner(s);
	part_unfreeze(s, p.nr);
	thp_split_to(s, SPLIT_PARTED);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * One folio takes the place of another.
 *
 *	the file's slot, index, mapping, dirty	exchange: with the old folio's references frozen,
 *						so that nobody can find it while it is in between
 *	everything else			flags:	afterwards, before the target is unlocked
 *
 * The references that are expected of a folio that is locked and unmapped: one of whom migrates
 * it, one a page of a file or of the swap cache, one for PG_private. Any other is somebody who
 * may look at the contents, or write to them: then the folio must stay.
 */
#include <linux/backing-dev.h>
#include <linux/export.h>
#include <linux/idle_ages.h>
#include <linux/ksm.h>
#include <linux/memcontrol.h>
#include <linux/memory-tiers.h>
#include <linux/page_idle.h>
#include <linux/page_owner.h>
#include <linux/pagemap.h>
#include <linux/pgalloc_tag.h>
#include <linux/sched/sysctl.h>
#include <linux/swap.h>
#include <linux/writeback.h>

#include "migrate.h"

/* --- the exchange ----------------------------------------------------------------------- */

/* What makes the folio the one that it is; from here on there is no way back. */
static __always_inline void exchange_identity(struct folio *dst, struct folio *src)
{
	dst->index = src->index;
	dst->mapping = src->mapping;
	if (folio_test_large(src) && folio_test_anon(src))
		mod_mthp_stat(folio_order(src), MTHP_STAT_NR_ANON, 1);
	if (folio_test_swapbacked(src))
		__folio_set_swapbacked(dst);
}

/*
 * Nobody reads or writes an anonymous folio that is not mapped and not in the swap cache, although
 * anybody may find it by its frame; so it need not be frozen. But the shrinker splits a large one
 * that it finds on its queue.
 */
static __always_inline int exchange_anon(struct folio *dst, struct folio *src, int expected)
{
	if (folio_test_large(src) && folio_test_large_rmappable(src)) {
		if (!folio_ref_freeze(src, expected))
			return -EAGAIN;
		folio_unqueue_deferred_split(src);
		folio_ref_unfreeze(src, expected);
	}
	exchange_identity(dst, src);
	return MIGRATEPAGE_SUCCESS;
}

/* A file has one entry for a large folio, the swap cache one for each page. */
static void exchange_slots(struct xa_state *xas, struct folio *dst, long entries)
{
	for (; entries; entries--) {
		xas_store(xas, dst);
		xas_next(xas);
	}
}

struct exchange_stats {
	struct lruvec *from, *to;
	struct zone *from_zone, *to_zone;
	long nr;
};

static void exchange_stat(const struct exchange_stats *e, enum node_stat_item item)
{
	__mod_lruvec_state(e->from, item, -e->nr);
	__mod_lruvec_state(e->to, item, e->nr);
}

/*
 * What is counted by node and zone, and belongs to being in a cache. What belongs to mappings
 * changes with them.
 */
static void exchange_account(struct address_space *mapping, struct folio *dst, struct folio *src,
			     bool dirty)
{
	struct mem_cgroup *memcg = folio_memcg(src);
	struct exchange_stats e = {
		.from_zone = folio_zone(src),
		.to_zone = folio_zone(dst),
		.nr = folio_nr_pages(src),
	};

	if (e.from_zone == e.to_zone)
		return;
	e.from = mem_cgroup_lruvec(memcg, e.from_zone->zone_pgdat);
	e.to = mem_cgroup_lruvec(memcg, e.to_zone->zone_pgdat);
	exchange_stat(&e, NR_FILE_PAGES);
	if (folio_test_swapcache(dst)) {
#ifdef CONFIG_SWAP
		exchange_stat(&e, NR_SWAPCACHE);
#endif
	} else if (folio_test_swapbacked(dst)) {
		exchange_stat(&e, NR_SHMEM);
		if (folio_test_pmd_mappable(dst))
			exchange_stat(&e, NR_SHMEM_THPS);
	}
	if (dirty && mapping_can_writeback(mapping)) {
		exchange_stat(&e, NR_FILE_DIRTY);
		__mod_zone_page_state(e.from_zone, NR_ZONE_WRITE_PENDING, -e.nr);
		__mod_zone_page_state(e.to_zone, NR_ZONE_WRITE_PENDING, e.nr);
	}
}

/*
 * The slots keep their marks, so a dirty folio stays one that write-back will find; PG_dirty moves
 * while the old folio is frozen and the new one is not seen yet.
 */
static int exchange_cached(struct address_space *mapping, struct folio *dst, struct folio *src,
			   int expected)
{
	XA_STATE(xas, &mapping->i_pages, folio_index(src));
	long nr = folio_nr_pages(src), entries = 1;
	bool dirty;

	xas_lock_irq(&xas);
	if (!folio_ref_freeze(src, expected)) {
		xas_unlock_irq(&xas);
		return -EAGAIN;
	}
	folio_unqueue_deferred_split(src);
	exchange_identity(dst, src);
	folio_ref_add(dst, nr);
	if (folio_test_swapcache(src)) {
		folio_set_swapcache(dst);
		dst->private = folio_get_private(src);
		entries = nr;
	}
	dirty = folio_test_dirty(src);
	if (dirty) {
		folio_clear_dirty(src);
		folio_set_dirty(dst);
	}
	exchange_slots(&xas, dst, entries);
	/* The cache's references have gone over to the new folio; ours is left. */
	folio_ref_unfreeze(src, expected - nr);
	xas_unlock(&xas);
	/* The statistics' helpers want interrupts to be off. */
	exchange_account(mapping, dst, src, dirty);
	local_irq_enable();
	return MIGRATEPAGE_SUCCESS;
}

/**
 * migrate_exchange - put a folio in the place of another
 * @mapping: of @src; NULL for anonymous memory that is not in the swap cache
 * @dst: the new folio
 * @src: the old one
 * @expected: its references
 *
 * Context: both folios are locked, @src is not mapped.
 * Return: 0, or -EAGAIN when there are other references.
 */
int migrate_exchange(struct address_space *mapping, struct folio *dst, struct folio *src,
		     int expected)
{
	if (!mapping)
		return exchange_anon(dst, src, expected);
	return exchange_cached(mapping, dst, src, expected);
}

/**
 * folio_migrate_mapping - put a folio in the place of another
 * @mapping: of @folio, or NULL
 * @newfolio: the new folio
 * @folio: the old one
 * @extra_count: references that the caller knows of, beyond those that mm does
 *
 * For file systems that have their own way to move contents. Contents and settings are not moved
 * here: folio_migrate_flags() is to follow.
 *
 * Context: both folios are locked, @folio is not mapped. Enables interrupts.
 * Return: 0; -EAGAIN when somebody else has a reference, and nothing has changed.
 */
int folio_migrate_mapping(struct address_space *mapping, struct folio *newfolio,
			  struct folio *folio, int extra_count)
{
	int expected = folio_expected_ref_count(folio) + extra_count + 1;

	if (folio_ref_count(folio) != expected)
		return -EAGAIN;
	return migrate_exchange(mapping, newfolio, folio, expected);
}
EXPORT_SYMBOL(folio_migrate_mapping);

#ifdef CONFIG_HUGETLB_PAGE
/**
 * migrate_huge_page_move_mapping - copy a hugetlb folio and put the copy in its place
 * @mapping: the hugetlbfs file
 * @dst: the new folio
 * @src: the old one
 *
 * Context: both folios are locked, @src is not mapped. Sleeps.
 * Return: 0; -EAGAIN when somebody else has a reference, -EHWPOISON when memory is bad.
 */
int migrate_huge_page_move_mapping(struct address_space *mapping, struct folio *dst,
				   struct folio *src)
{
	XA_STATE(xas, &mapping->i_pages, folio_index(src));
	int expected = folio_expected_ref_count(src) + 1, err;

	if (folio_ref_count(src) != expected)
		return -EAGAIN;
	err = folio_mc_copy(dst, src);
	if (unlikely(err))
		return err;
	xas_lock_irq(&xas);
	if (!folio_ref_freeze(src, expected)) {
		xas_unlock_irq(&xas);
		return -EAGAIN;
	}
	dst->index = src->index;
	dst->mapping = src->mapping;
	folio_ref_add(dst, folio_nr_pages(dst));
	xas_store(&xas, dst);
	folio_ref_unfreeze(src, expected - folio_nr_pages(src));
	xas_unlock_irq(&xas);
	return MIGRATEPAGE_SUCCESS;
}
#endif

/* --- settings --------------------------------------------------------------------------- */

/*
 * Flags that mean the same for the new folio. PG_mappedtodisk is PG_anon_exclusive, too: the
 * first page of a huge page may have it although it is not mapped. PG_mlocked is no setting: the
 * reverse map sets it with the mappings of locked memory.
 */
#define CARRIED_ALWAYS	(BIT(PG_referenced) | BIT(PG_uptodate) | BIT(PG_workingset) | \
			 BIT(PG_checked) | BIT(PG_mappedtodisk) | BIT(PG_dirty))
#define CARRIED_PLACE	(BIT(PG_active) | BIT(PG_unevictable))
#if defined(CONFIG_PAGE_IDLE_FLAG) && defined(CONFIG_64BIT)
#define CARRIED_IDLE	(BIT(PG_young) | BIT(PG_idle))
#else
#define CARRIED_IDLE	0UL
#endif

static __always_inline void carry_flags(struct folio *dst, struct folio *src)
{
	unsigned long old = READ_ONCE(src->flags), new;

	VM_WARN_ON_ONCE_FOLIO((old & CARRIED_PLACE) == CARRIED_PLACE, src);
	/* PG_uptodate says that the contents are there: pairs with folio_test_uptodate(). */
	smp_wmb();
	new = old & (CARRIED_ALWAYS | CARRIED_PLACE | CARRIED_IDLE);
	set_mask_bits(&dst->flags, 0, new);
	/* The old folio leaves no list when it is freed. */
	if (old & CARRIED_PLACE)
		set_mask_bits(&src->flags, CARRIED_PLACE, 0);
	if (CARRIED_IDLE)
		return;
	if (folio_test_young(src))
		folio_set_young(dst);
	if (folio_test_idle(src))
		folio_set_idle(dst);
}

/*
 * Who used the folio last, and where: so that NUMA balancing does not move it again at once. For
 * memory tiers slow memory has a time in its place, which means nothing in fast memory.
 */
static __always_inline void carry_cpupid(struct folio *dst, struct folio *src)
{
	int cpupid = folio_xchg_last_cpupid(src, -1);

	if (sysctl_numa_balancing_mode & NUMA_BALANCING_MEMORY_TIERING &&
	    node_is_toptier(folio_nid(src)) != node_is_toptier(folio_nid(dst)))
		cpupid = -1;
	folio_xchg_last_cpupid(dst, cpupid);
}

/**
 * folio_migrate_flags - carry over all that is known of a folio but its place and contents
 * @newfolio: the new folio; it has the mapping of the old one already
 * @folio: the old folio; only good to be freed afterwards
 *
 * Flags, age, NUMA hints, KSM's node, the owner's trace, and the charge of its memcg.
 *
 * Context: both folios are locked.
 */
void folio_migrate_flags(struct folio *newfolio, struct folio *folio)
{
	carry_flags(newfolio, folio);
	idle_ages_carry(folio, newfolio);
	carry_cpupid(newfolio, folio);
	folio_migrate_ksm(newfolio, folio);
	/* After KSM: ksm_get_folio() takes the swap cache's flag for a sign that it is too late. */
	if (unlikely(folio_test_swapcache(folio)))
		folio_clear_swapcache(folio);
	if (folio_test_private(folio))
		folio_clear_private(folio);
	/* Hugetlb has flags there. */
	if (!folio_test_hugetlb(folio))
		folio->private = NULL;
	/* Somebody may have waited for the new folio in its life before. */
	if (unlikely(folio_test_writeback(newfolio)))
		folio_end_writeback(newfolio);
	/* The bit is PG_reclaim's too, which the end of write-back clears. */
	if (folio_test_readahead(folio))
		folio_set_readahead(newfolio);
	folio_copy_owner(newfolio, folio);
	pgalloc_tag_copy(newfolio, folio);
	mem_cgroup_migrate(folio, newfolio);
}
EXPORT_SYMBOL(folio_migrate_flags);

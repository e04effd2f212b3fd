// SPDX-License-Identifier: GPL-2.0
/*
 * NUMA balancing: a hinting fault has found a folio on the wrong node.
 *
 *	migrate_misplaced_folio_prepare()	page table locked: worth it? room there? isolate
 *	migrate_misplaced_folio()		without locks: move it, or put it back
 *
 * It is a guess that may be wrong, made in a fault that somebody waits for: nothing is waited for,
 * nothing is reclaimed, and no folio is split for want of a target.
 */
#include <linux/memcontrol.h>
#include <linux/memory-tiers.h>
#include <linux/sched/sysctl.h>
#include <linux/vmstat.h>

#include "migrate.h"

/* Some zone has room above the high watermark, so that kswapd need not wake for this. */
static bool node_has_room(struct pglist_data *pgdat, unsigned long pages)
{
	int z;

	for (z = pgdat->nr_zones - 1; z >= 0; z--) {
		struct zone *zone = pgdat->node_zones + z;

		if (managed_zone(zone) &&
		    zone_watermark_ok(zone, 0, high_wmark_pages(zone) + pages, ZONE_MOVABLE,
				      ALLOC_CMA))
			return true;
	}
	return false;
}

/* Fast memory is full: with tiers, have something demoted, so that there is room another time. */
static void make_room(struct pglist_data *pgdat, unsigned int order)
{
	int z;

	if (!(sysctl_numa_balancing_mode & NUMA_BALANCING_MEMORY_TIERING))
		return;
	for (z = pgdat->nr_zones - 1; z >= 0; z--) {
		if (!managed_zone(pgdat->node_zones + z))
			continue;
		wakeup_kswapd(pgdat->node_zones + z, 0, order, ZONE_MOVABLE);
		return;
	}
}

/*
 * Code that several processes run is used on all nodes. A dirty folio of a file may have to be
 * written first, which we do not wait for.
 */
static int file_worth_it(struct folio *folio, struct vm_area_struct *vma)
{
	if (!folio_is_file_lru(folio))
		return 0;
	if (vma->vm_flags & VM_EXEC && folio_likely_mapped_shared(folio))
		return -EACCES;
	return folio_test_dirty(folio) ? -EAGAIN : 0;
}

/**
 * migrate_misplaced_folio_prepare - isolate a folio that should be on another node
 * @folio: the folio, mapped
 * @vma: by this VMA
 * @node: where it should be
 *
 * Context: the page table lock is held.
 * Return: 0 with a reference: migrate_misplaced_folio() must follow. -EACCES: shared code; -EAGAIN:
 * not now.
 */
int migrate_misplaced_folio_prepare(struct folio *folio, struct vm_area_struct *vma, int node)
{
	int err = file_worth_it(folio, vma);

	if (err)
		return err;
	if (!node_has_room(NODE_DATA(node), folio_nr_pages(folio))) {
		make_room(NODE_DATA(node), folio_order(folio));
		return -EAGAIN;
	}
	if (!folio_isolate_lru(folio))
		return -EAGAIN;
	folio_count_isolated(folio);
	return 0;
}

static struct folio *misplaced_target(struct folio *src, unsigned long node)
{
	gfp_t gfp = __GFP_THISNODE;

	if (folio_test_large(src))
		gfp |= GFP_TRANSHUGE_LIGHT;
	else
		gfp |= (GFP_HIGHUSER_MOVABLE & ~__GFP_RECLAIM) | __GFP_NOMEMALLOC |
		       __GFP_NORETRY | __GFP_NOWARN;
	return __folio_alloc_node(gfp, folio_order(src), node);
}

static void misplaced_count(struct mem_cgroup *memcg, int from, int to, unsigned int pages)
{
	count_vm_numa_events(NUMA_PAGE_MIGRATE, pages);
	count_memcg_events(memcg, NUMA_PAGE_MIGRATE, pages);
	if (sysctl_numa_balancing_mode & NUMA_BALANCING_MEMORY_TIERING &&
	    !node_is_toptier(from) && node_is_toptier(to))
		mod_lruvec_state(mem_cgroup_lruvec(memcg, NODE_DATA(to)), PGPROMOTE_SUCCESS,
				 pages);
}

/**
 * migrate_misplaced_folio - move a folio to the node where it is used
 * @folio: isolated by migrate_misplaced_folio_prepare(); its reference is used up
 * @vma: by which it was mapped
 * @node: where it should be
 *
 * Context: no page table lock. Sleeps.
 * Return: 0, or -EAGAIN when it stays where it is.
 */
int migrate_misplaced_folio(struct folio *folio, struct vm_area_struct *vma, int node)
{
	struct mem_cgroup *memcg = get_mem_cgroup_from_folio(folio);
	int from = folio_nid(folio), failed;
	unsigned int pages;
	LIST_HEAD(list);

	list_add(&folio->lru, &list);
	failed = migrate_pages(&list, misplaced_target, NULL, node, MIGRATE_ASYNC,
			       MR_NUMA_MISPLACED, &pages);
	if (failed)
		putback_movable_pages(&list);
	if (pages)
		misplaced_count(memcg, from, node, pages);
	mem_cgroup_put(memcg);
	return failed ? -EAGAIN : 0;
}

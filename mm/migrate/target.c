// SPDX-License-Identifier: GPL-2.0
/*
 * Where folios go.
 *
 *	the caller's get_new() --------------------------> a target
 *	alloc_migration_target(), single pages, many -+--> a target
 *						      `--> spares, for the next ones
 *
 * Targets are allocated before any folio of the batch is locked: the allocation may reclaim, for
 * which nobody who wants one of the folios shall have to wait.
 *
 * Spares are allocated without the scopes of the task (memalloc_pin_save() and its like): who pins
 * memory for long names no node, so it gets none.
 */
#include <linux/gfp.h>
#include <linux/hugetlb.h>

#include "migrate.h"

static gfp_t target_gfp(struct folio *src, const struct migration_target_control *mtc)
{
	enum zone_type zone = folio_zonenum(src);
	gfp_t gfp = mtc->gfp_mask;

	/* As hard as for any huge page, and no harder. */
	if (folio_test_large(src))
		gfp = (gfp & ~__GFP_RECLAIM) | GFP_TRANSHUGE;
	/* What is in movable memory was allocated for there. */
	if (is_highmem_idx(zone) || zone == ZONE_MOVABLE)
		gfp |= __GFP_HIGHMEM;
	return gfp;
}

static inline int target_node(struct folio *src, const struct migration_target_control *mtc)
{
	return mtc->nid == NUMA_NO_NODE ? folio_nid(src) : mtc->nid;
}

static struct folio *target_hugetlb(struct folio *src, const struct migration_target_control *mtc)
{
	gfp_t gfp = htlb_modify_alloc_mask(folio_hstate(src), mtc->gfp_mask);

	return alloc_hugetlb_folio_nodemask(folio_hstate(src), target_node(src, mtc), mtc->nmask,
					    gfp, htlb_allow_alloc_fallback(mtc->reason));
}

/**
 * alloc_migration_target - allocate a folio like another one, elsewhere
 * @src: the folio
 * @private: a struct migration_target_control: node (NUMA_NO_NODE: as @src), nodes to fall back to,
 *	GFP flags, and the reason
 *
 * For migrate_pages().
 *
 * Context: @src is not locked. Sleeps.
 * Return: a folio of the same size, or NULL.
 */
struct folio *alloc_migration_target(struct folio *src, unsigned long private)
{
	const struct migration_target_control *mtc = (void *)private;

	if (folio_test_hugetlb(src))
		return target_hugetlb(src, mtc);
	return __folio_alloc(target_gfp(src, mtc), folio_order(src), target_node(src, mtc),
			     mtc->nmask);
}

static void spares_drop(struct migrate_spares *spares)
{
	while (spares->nr)
		__free_page(spares->page[--spares->nr]);
}

/*
 * Allocate many at once. Where memory is short that gets few, or one after reclaim, or none: then
 * NULL is the answer for this folio, as it would have been alone.
 */
static struct folio *spares_get(struct migrate_call *call, struct folio *src, unsigned int want)
{
	const struct migration_target_control *mtc = (void *)call->private;
	struct migrate_spares *spares = &call->room->spares;
	gfp_t gfp = target_gfp(src, mtc);

	if (spares->nr && spares->gfp != gfp)
		spares_drop(spares);
	if (!spares->nr) {
		memset(spares->page, 0, sizeof(spares->page));
		spares->gfp = gfp;
		spares->nr = __alloc_pages_bulk(gfp, mtc->nid, mtc->nmask,
						min(want, MIGRATE_FEW), NULL, spares->page);
		if (!spares->nr)
			return NULL;
	}
	return page_folio(spares->page[--spares->nr]);
}

/**
 * target_get - get a target for a folio
 * @call: whose
 * @src: the folio
 * @more: so many, with this one, may be wanted soon
 *
 * Context: @src is not locked. Sleeps.
 * Return: a folio, to be given back with target_put() or used; or NULL.
 */
struct folio *target_get(struct migrate_call *call, struct folio *src, unsigned int more)
{
	const struct migration_target_control *mtc = (void *)call->private;

	if (!call->room || call->get_new != alloc_migration_target || folio_test_large(src) ||
	    mtc->nid == NUMA_NO_NODE || (more == 1 && !call->room->spares.nr))
		return call->get_new(src, call->private);
	return spares_get(call, src, more);
}

/**
 * target_put - give a target back
 * @call: whose
 * @dst: the target, not locked
 */
void target_put(struct migrate_call *call, struct folio *dst)
{
	if (call->put_new)
		call->put_new(dst, call->private);
	else
		folio_put(dst);
}

/* No more targets are wanted. */
void targets_end(struct migrate_call *call)
{
	if (call->room)
		spares_drop(&call->room->spares);
}

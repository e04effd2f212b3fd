// SPDX-License-Identifier: GPL-2.0
/*
 * The huge page that is to take the place of others: where it lies, and who pays for it.
 */
#include <linux/gfp.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/topology.h>
#include <linux/vmstat.h>

#include "../internal.h"
#include "collapse.h"

/**
 * collapse_nodes_clear - forget where memory was seen
 * @by: who wants huge pages
 */
void collapse_nodes_clear(struct collapse_by *by)
{
	nodes_clear(by->seen);
}

/* Is it too far from another node that memory was seen on? */
static bool node_is_far(const struct collapse_by *by, int nid)
{
	int other;

	/* Then nobody minds where memory is. */
	if (!node_reclaim_enabled())
		return false;
	for_each_node_mask(other, by->seen)
		if (node_distance(nid, other) > node_reclaim_distance)
			return true;
	return false;
}

/**
 * collapse_node_new - pages were seen on a node where none were before
 * @by: who wants huge pages
 * @nid: the node
 * @nr: how many
 *
 * Return: false if no node can be right for all.
 */
bool collapse_node_new(struct collapse_by *by, int nid, unsigned long nr)
{
	if (node_is_far(by, nid))
		return false;
	node_set(nid, by->seen);
	by->load[nid] = nr;
	return true;
}

/*
 * The first node with the most of it; *@also: all of those that have as much. Any node, where
 * none of it is in memory.
 */
static int node_of_most(const struct collapse_by *by, nodemask_t *also)
{
	int nid, most = NUMA_NO_NODE;

	nodes_clear(*also);
	for_each_node_mask(nid, by->seen) {
		if (most == NUMA_NO_NODE || by->load[nid] > by->load[most]) {
			most = nid;
			nodes_clear(*also);
		}
		if (by->load[nid] == by->load[most])
			node_set(nid, *also);
	}
	if (most != NUMA_NO_NODE)
		return most;
	*also = node_states[N_ONLINE];
	return first_online_node;
}

/* For a small folio the allocator would kill somebody, which it does not for a large one. */
static gfp_t target_gfp(const struct collapse_by *by, unsigned int order)
{
	gfp_t gentle = order < HPAGE_PMD_ORDER ? __GFP_NORETRY : 0;

	if (by->khugepaged && !(READ_ONCE(transparent_hugepage_flags) &
				BIT(TRANSPARENT_HUGEPAGE_DEFRAG_KHUGEPAGED_FLAG)))
		return GFP_TRANSHUGE_LIGHT | gentle;
	return GFP_TRANSHUGE | gentle;
}

/* The events are of huge pages. */
static void count(unsigned int order, bool got)
{
	count_mthp_stat(order, got ? MTHP_STAT_COLLAPSE_ALLOC : MTHP_STAT_COLLAPSE_ALLOC_FAILED);
	if (order == HPAGE_PMD_ORDER)
		count_vm_event(got ? THP_COLLAPSE_ALLOC : THP_COLLAPSE_ALLOC_FAILED);
}

/**
 * collapse_alloc - a huge page or a smaller folio, charged
 * @by: who wants it
 * @mm: for whom
 * @order: of the folio
 * @folio: set to it, or to NULL
 *
 * Context: sleeps, and for long if it must compact: no lock may be held.
 * Return: SCAN_SUCCEED, SCAN_ALLOC_HUGE_PAGE_FAIL, SCAN_CGROUP_CHARGE_FAIL.
 */
enum scan_result collapse_alloc(struct collapse_by *by, struct mm_struct *mm,
				unsigned int order, struct folio **folio)
{
	gfp_t gfp = target_gfp(by, order);
	nodemask_t nodes;
	int nid = node_of_most(by, &nodes);

	*folio = __folio_alloc(gfp, order, nid, &nodes);
	count(order, *folio);
	if (!*folio)
		return SCAN_ALLOC_HUGE_PAGE_FAIL;
	if (unlikely(mem_cgroup_charge(*folio, mm, gfp))) {
		folio_put(*folio);
		*folio = NULL;
		return SCAN_CGROUP_CHARGE_FAIL;
	}
	if (order == HPAGE_PMD_ORDER)
		count_memcg_folio_events(*folio, THP_COLLAPSE_ALLOC, 1);
	return SCAN_SUCCEED;
}

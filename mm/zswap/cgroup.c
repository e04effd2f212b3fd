// SPDX-License-Identifier: GPL-2.0
/*
 * What zswap tells cgroups: who pays for data, and memory.zswap.rejects.
 */
#include <linux/cgroup.h>
#include <linux/sched/mm.h>
#include <linux/seq_file.h>

#include "zswap.h"

static void add_to_stat(struct obj_cgroup *objcg, int bytes, int pages)
{
	struct mem_cgroup *memcg;

	rcu_read_lock();
	memcg = obj_cgroup_memcg(objcg);
	mod_memcg_state(memcg, MEMCG_ZSWAP_B, bytes);
	mod_memcg_state(memcg, MEMCG_ZSWAPPED, pages);
	rcu_read_unlock();
}

/**
 * zswap_charge - a run was stored
 * @objcg: pays; gets a reference. NULL if nobody does.
 * @bytes: how much data it has in the pool
 * @pages: how many pages it holds
 *
 * Its limit was looked at before it was known how much that would be: what is in is charged.
 *
 * Context: may sleep.
 */
void zswap_charge(struct obj_cgroup *objcg, unsigned int bytes, unsigned int pages)
{
	unsigned int flags;

	if (!objcg)
		return;
	obj_cgroup_get(objcg);
	if (!cgroup_subsys_on_dfl(memory_cgrp_subsys))
		return;
	/* Reclaim is never refused; some drivers write their pages out by themselves. */
	flags = memalloc_noreclaim_save();
	if (bytes)
		WARN_ON_ONCE(obj_cgroup_charge(objcg, GFP_KERNEL, bytes));
	memalloc_noreclaim_restore(flags);
	add_to_stat(objcg, bytes, pages);
}

/**
 * zswap_uncharge - pages of a run are dropped
 * @objcg: paid for them, or NULL; keeps its reference
 * @bytes: of data
 * @pages: their number
 */
void zswap_uncharge(struct obj_cgroup *objcg, unsigned int bytes, unsigned int pages)
{
	if (!objcg || !cgroup_subsys_on_dfl(memory_cgrp_subsys))
		return;
	if (bytes)
		obj_cgroup_uncharge(objcg, bytes);
	add_to_stat(objcg, -(int)bytes, -(int)pages);
}

static const char * const reject_names[NR_ZSWAP_REJECTS] = {
	[ZSWAP_REJECT_POOL_LIMIT]	= "pool_limit",
	[ZSWAP_REJECT_CGROUP_LIMIT]	= "cgroup_limit",
	[ZSWAP_REJECT_POOR]		= "incompressible",
	[ZSWAP_REJECT_KNOWN_POOR]	= "incompressible_before",
	[ZSWAP_REJECT_COMPRESSOR]	= "compressor_failed",
	[ZSWAP_REJECT_POOL_MEMORY]	= "no_pool_memory",
	[ZSWAP_REJECT_RUN_MEMORY]	= "no_memory",
};

static atomic_long_t *rejects_of(struct mem_cgroup *memcg, int nid)
{
	return mem_cgroup_lruvec(memcg, NODE_DATA(nid))->zswap_lruvec_state.rejects;
}

/**
 * zswap_cgroup_reject - count for the cgroup of a folio
 * @folio: locked
 * @why: the reason
 * @nr: pages
 *
 * Folios stay charged to a cgroup that is going away: then for the one above it.
 */
void zswap_cgroup_reject(struct folio *folio, enum zswap_reject why, long nr)
{
	struct mem_cgroup *memcg;

	if (mem_cgroup_disabled())
		return;
	rcu_read_lock();
	for (memcg = folio_memcg(folio); memcg && css_is_dying(&memcg->css); )
		memcg = parent_mem_cgroup(memcg);
	if (memcg)
		atomic_long_add(nr, rejects_of(memcg, folio_nid(folio)) + why);
	rcu_read_unlock();
}

/**
 * zswap_rejects_pass_on - a cgroup goes: what it counted stays with its parent
 * @memcg: the cgroup; dying
 *
 * Who looked at it before that, and counts after this, is not seen for long: some pages at most.
 */
void zswap_rejects_pass_on(struct mem_cgroup *memcg)
{
	struct mem_cgroup *parent = parent_mem_cgroup(memcg);
	int nid, why;

	if (!parent)
		return;
	for_each_node_state(nid, N_MEMORY)
		for (why = 0; why < NR_ZSWAP_REJECTS; why++)
			atomic_long_add(atomic_long_xchg(rejects_of(memcg, nid) + why, 0),
					rejects_of(parent, nid) + why);
}

static void add_rejects(struct mem_cgroup *memcg, unsigned long *sum)
{
	int nid, why;

	for_each_node_state(nid, N_MEMORY)
		for (why = 0; why < NR_ZSWAP_REJECTS; why++)
			sum[why] += atomic_long_read(rejects_of(memcg, nid) + why);
}

/* Those of the cgroup and of all below it, in pages. */
static int rejects_show(struct seq_file *m, void *v)
{
	struct mem_cgroup *root = mem_cgroup_from_seq(m), *memcg;
	unsigned long sum[NR_ZSWAP_REJECTS] = { };
	int why;

	for (memcg = mem_cgroup_iter(root, NULL, NULL); memcg;
	     memcg = mem_cgroup_iter(root, memcg, NULL))
		add_rejects(memcg, sum);
	for (why = 0; why < NR_ZSWAP_REJECTS; why++)
		seq_printf(m, "%s %lu\n", reject_names[why], sum[why]);
	return 0;
}

static struct cftype rejects_files[] = {
	{
		.name = "zswap.rejects",
		.seq_show = rejects_show,
	},
	{ }
};

static int __init rejects_init(void)
{
	if (mem_cgroup_disabled())
		return 0;
	return cgroup_add_dfl_cftypes(&memory_cgrp_subsys, rejects_files);
}
subsys_initcall(rejects_init);

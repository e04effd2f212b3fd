// SPDX-License-Identifier: GPL-2.0
/*
 * Idle ages as text: /sys/kernel/mm/page_idle/ages and memory.idle_ages.
 *
 * A sweep over all memory fills a snapshot: one table for everything and one per
 * memory cgroup, each folio counted where it is charged. When the sweep is complete
 * the snapshot is published and never changes again, so a reader sees one moment,
 * and what a cgroup and its children show adds up. A cgroup's file sums the tables
 * of its subtree.
 *
 * snapshot_mutex holds the published snapshot still while it is read or replaced.
 */
#include <linux/cgroup.h>
#include <linux/memcontrol.h>
#include <linux/mm_inline.h>
#include <linux/mutex.h>
#include <linux/seq_buf.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "ages.h"
#include "idle.h"

static DEFINE_MUTEX(snapshot_mutex);
static struct idle_age_snapshot *published;
static unsigned int expected_ms;

static struct idle_age_table *idle_group_table(struct idle_age_snapshot *snap, u64 id, gfp_t gfp)
{
	struct idle_age_table *table = xa_load(&snap->groups, id);

	if (table)
		return table;
	table = kzalloc(sizeof(*table), gfp | __GFP_NOWARN);
	if (table && xa_err(xa_store(&snap->groups, id, table, gfp | __GFP_NOWARN))) {
		kfree(table);
		table = NULL;
	}
	return table;
}

#ifdef CONFIG_MEMCG
/* Tables for the cgroups that exist: the sweep itself must not sleep for one. */
static bool idle_snapshot_prepare(struct idle_age_snapshot *snap)
{
	struct mem_cgroup *memcg;

	if (mem_cgroup_disabled())
		return true;
	for (memcg = mem_cgroup_iter(NULL, NULL, NULL); memcg;
	     memcg = mem_cgroup_iter(NULL, memcg, NULL)) {
		if (!idle_group_table(snap, memcg->css.serial_nr, GFP_KERNEL)) {
			mem_cgroup_iter_break(NULL, memcg);
			return false;
		}
	}
	return true;
}

/* Serial number of the memory cgroup that @folio is charged to; 0 for none. */
static u64 idle_folio_group(struct folio *folio)
{
	struct mem_cgroup *memcg;
	u64 id = 0;

	rcu_read_lock();
	memcg = folio_memcg(folio);
	if (memcg)
		id = memcg->css.serial_nr;
	rcu_read_unlock();
	return id;
}
#else
static bool idle_snapshot_prepare(struct idle_age_snapshot *snap)
{
	return true;
}

static u64 idle_folio_group(struct folio *folio)
{
	return 0;
}
#endif

/**
 * idle_snapshot_alloc - an empty snapshot
 * @sweeps: sweeps completed when this one is
 * @period_ms: the period of the sweeps, in milliseconds
 *
 * Context: process, may sleep.
 * Return: the snapshot, or NULL without memory.
 */
struct idle_age_snapshot *idle_snapshot_alloc(u64 sweeps, unsigned int period_ms)
{
	struct idle_age_snapshot *snap = kzalloc(sizeof(*snap), GFP_KERNEL);

	if (!snap)
		return NULL;
	snap->sweeps = sweeps;
	snap->period_ms = period_ms;
	xa_init(&snap->groups);
	if (idle_snapshot_prepare(snap))
		return snap;
	idle_snapshot_free(snap);
	return NULL;
}

/**
 * idle_snapshot_free - the other end of idle_snapshot_alloc()
 * @snap: a snapshot that is not published, or NULL
 */
void idle_snapshot_free(struct idle_age_snapshot *snap)
{
	struct idle_age_table *table;
	unsigned long id;

	if (!snap)
		return;
	xa_for_each(&snap->groups, id, table)
		kfree(table);
	xa_destroy(&snap->groups);
	kfree(snap);
}

/**
 * idle_snapshot_publish - show a complete snapshot from now on
 * @snap: the snapshot, or NULL for none
 */
void idle_snapshot_publish(struct idle_age_snapshot *snap)
{
	mutex_lock(&snapshot_mutex);
	swap(published, snap);
	mutex_unlock(&snapshot_mutex);
	idle_snapshot_free(snap);
}

/**
 * idle_snapshot_add - count a folio
 * @book: the accounts of this sweep
 * @folio: the folio, kept from being freed
 * @age: its age, not IDLE_AGE_TOUCHED
 *
 * Context: any; does not sleep. A cgroup made during the sweep for which there is no
 * memory at this moment makes the whole snapshot incomplete.
 */
void idle_snapshot_add(struct idle_age_book *book, struct folio *folio, u8 age)
{
	unsigned int bucket = idle_age_bucket(age);
	enum idle_age_kind kind = IDLE_AGE_ANON;
	u64 id = idle_folio_group(folio);

	if (folio_test_unevictable(folio))
		kind = IDLE_AGE_UNEVICTABLE;
	else if (folio_is_file_lru(folio))
		kind = IDLE_AGE_FILE;
	book->snap->all.bytes[bucket][kind] += folio_size(folio);

	if (!id)
		return;
	if (id != book->group_id) {
		book->group_id = id;
		book->group = idle_group_table(book->snap, id, GFP_NOWAIT);
	}
	if (!book->group)
		book->incomplete = true;
	else
		book->group->bytes[bucket][kind] += folio_size(folio);
}

/**
 * idle_snapshot_expect - say what period is shown as long as there is no snapshot
 * @period_ms: milliseconds
 */
void idle_snapshot_expect(unsigned int period_ms)
{
	WRITE_ONCE(expected_ms, period_ms);
}

/* @snap gives the header; NULL while no sweep is complete. */
static void idle_table_print(struct seq_buf *out, const struct idle_age_snapshot *snap,
			     const struct idle_age_table *table)
{
	unsigned int b;

	seq_buf_printf(out, "age anon file unevictable period_ms=%u sweeps=%llu\n",
		       snap ? snap->period_ms : READ_ONCE(expected_ms), snap ? snap->sweeps : 0);
	for (b = 0; b < IDLE_AGE_BUCKETS; b++)
		seq_buf_printf(out, "%u%s %llu %llu %llu\n", idle_bucket_label(b),
			       b == IDLE_AGE_BUCKETS - 1 ? "+" : "",
			       table->bytes[b][IDLE_AGE_ANON], table->bytes[b][IDLE_AGE_FILE],
			       table->bytes[b][IDLE_AGE_UNEVICTABLE]);
}

/**
 * idle_ages_emit - the text of /sys/kernel/mm/page_idle/ages
 * @buf: a page
 *
 * Return: its length.
 */
ssize_t idle_ages_emit(char *buf)
{
	static const struct idle_age_table empty;
	struct seq_buf out;

	seq_buf_init(&out, buf, PAGE_SIZE);
	mutex_lock(&snapshot_mutex);
	idle_table_print(&out, published, published ? &published->all : &empty);
	mutex_unlock(&snapshot_mutex);
	return seq_buf_used(&out);
}

#ifdef CONFIG_MEMCG
static void idle_table_add(struct idle_age_table *sum, const struct idle_age_table *table)
{
	unsigned int b, k;

	for (b = 0; b < IDLE_AGE_BUCKETS; b++)
		for (k = 0; k < NR_IDLE_AGE_KINDS; k++)
			sum->bytes[b][k] += table->bytes[b][k];
}

/* The tables of @root and all below it. snapshot_mutex held. */
static void idle_sum_groups(struct idle_age_table *sum, struct mem_cgroup *root)
{
	struct idle_age_table *table;
	struct mem_cgroup *memcg;

	for (memcg = mem_cgroup_iter(root, NULL, NULL); memcg;
	     memcg = mem_cgroup_iter(root, memcg, NULL)) {
		table = xa_load(&published->groups, memcg->css.serial_nr);
		if (table)
			idle_table_add(sum, table);
	}
}

static int idle_ages_group_show(struct seq_file *m, void *v)
{
	struct idle_age_table sum = {};
	struct seq_buf out;
	char *buf;
	size_t size;

	size = seq_get_buf(m, &buf);
	seq_buf_init(&out, buf, size);
	mutex_lock(&snapshot_mutex);
	if (published)
		idle_sum_groups(&sum, mem_cgroup_from_seq(m));
	idle_table_print(&out, published, &sum);
	mutex_unlock(&snapshot_mutex);
	seq_commit(m, seq_buf_has_overflowed(&out) ? -1 : (int)seq_buf_used(&out));
	return 0;
}

static struct cftype idle_ages_files[] = {
	{
		.name = "idle_ages",
		.seq_show = idle_ages_group_show,
	},
	{ }
};

static int __init idle_ages_group_init(void)
{
	if (mem_cgroup_disabled())
		return 0;
	return cgroup_add_dfl_cftypes(&memory_cgrp_subsys, idle_ages_files);
}
subsys_initcall(idle_ages_group_init);
#endif

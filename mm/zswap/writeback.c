// SPDX-License-Identifier: GPL-2.0
/*
 * Runs that nobody has asked for go to the device, where they would have gone without us.
 *
 *	why				from which list		how much
 *	memory.zswap.max is reached	the cgroup's		a run of each node
 *	max_pool_percent is reached	one cgroup's after	down to the threshold
 *	(worker)			the other's
 *	reclaim (shrinker_enabled)	as reclaim says		what shrinks well
 *
 * A list has the runs of one cgroup and node, in the order in which they came. The first time that
 * a run is met it gets a second chance.
 *
 *	on the list --> looked at under the list's lock, pages noted down, put last, lock dropped
 *		  page by page: a folio in the swap cache for the slot, and so the slot is ours
 *		    - somebody else has one: it is in use, or being freed
 *		    - there is another run, or none: it was freed, or stored anew
 *		    - there is: decompressed, taken out of its slot, written, dropped
 *
 * Once the lock is dropped the run may be freed, and another one be in its place in memory. It is
 * not looked at before it is found in a slot that is ours: if it is another one, then it is one
 * that holds this slot, and as good.
 */
#include <linux/mempolicy.h>
#include <linux/pagemap.h>
#include <linux/shrinker.h>
#include <linux/slab.h>
#include <linux/writeback.h>

#include "../internal.h"
#include "zswap.h"

static struct list_lru lru;
static struct shrinker *shrinker;
static struct workqueue_struct *queue;

/* ---- lists ---- */

/*
 * A cgroup may go meanwhile: under RCU it is there still, and its lists are its parent's from the
 * moment on in which its id is that, which the list's lock orders.
 */
void zswap_lru_add(struct zswap_run *run)
{
	rcu_read_lock();
	list_lru_add(&lru, &run->lru, page_to_nid(virt_to_page(run)), zswap_memcg(run));
	rcu_read_unlock();
}

void zswap_lru_del(struct zswap_run *run)
{
	rcu_read_lock();
	list_lru_del(&lru, &run->lru, page_to_nid(virt_to_page(run)), zswap_memcg(run));
	rcu_read_unlock();
}

/**
 * zswap_lru_prepare - have lists for a cgroup, so that zswap_lru_add() does not fail
 * @objcg: the cgroup's
 *
 * Return: 0 or -ENOMEM.
 */
int zswap_lru_prepare(struct obj_cgroup *objcg)
{
	struct mem_cgroup *memcg = get_mem_cgroup_from_objcg(objcg);
	int err = memcg_list_lru_alloc(memcg, &lru, GFP_KERNEL);

	mem_cgroup_put(memcg);
	return err;
}

/* ---- one page ---- */

static void abandon(struct folio *folio)
{
	delete_from_swap_cache(folio);
	folio_unlock(folio);
	folio_put(folio);
}

/* @folio is locked and new in the swap cache: the slot is ours. */
static int write_out(struct zswap_run *run, struct folio *folio)
{
	struct writeback_control wbc = { .sync_mode = WB_SYNC_NONE };
	unsigned int i;

	if (zswap_slot_get(folio->swap) != run)
		return -ENOENT;
	i = zswap_index(run, folio->swap);
	if (zswap_run_load(run, i, 1, folio_page(folio, 0)))
		return -EIO;
	count_vm_event(ZSWPWB);
	if (run->objcg)
		count_objcg_events(run->objcg, ZSWPWB, 1);
	zswap_slots_erase_runs(folio->swap, 1);

	folio_mark_uptodate(folio);
	/* It was swapped out once: to be reclaimed as soon as it is written. */
	folio_set_reclaim(folio);
	__swap_writepage(folio, &wbc);
	return 0;
}

/*
 * Return: 0; -EEXIST if the slot's page is in memory, and so in use; -ENOMEM if there is no folio,
 * or the slot is free or somebody's; -ENOENT or -EIO as write_out().
 */
static int write_page(struct zswap_run *run, swp_entry_t swp)
{
	struct folio *folio;
	bool new;
	int err;

	folio = __read_swap_cache_async(swp, GFP_KERNEL, get_task_policy(current),
					NO_INTERLEAVE_INDEX, &new, true);
	if (!folio)
		return -ENOMEM;
	if (!new) {
		folio_put(folio);
		return -EEXIST;
	}
	err = write_out(run, folio);
	if (err)
		abandon(folio);
	else
		folio_put(folio);
	return err;
}

/* ---- one run ---- */

/**
 * struct zswap_shrink - a walk over a list
 * @written: pages
 * @stop_if_used: do not go on where memory is in use
 * @met_used: and so it ended
 */
struct zswap_shrink {
	unsigned long written;
	bool stop_if_used;
	bool met_used;
};

static bool is_to_stop(struct zswap_shrink *shrink)
{
	return shrink->stop_if_used && shrink->met_used;
}

/* @run is not to be looked at. @pages: bit i, for slot @first + i. */
static void write_pages(struct zswap_shrink *shrink, struct zswap_run *run, swp_entry_t first,
			unsigned long pages)
{
	unsigned int i;

	for_each_set_bit(i, &pages, ZSWAP_RUN_PAGES) {
		int err = write_page(run, swp_entry(swp_type(first), swp_offset(first) + i));

		if (!err) {
			shrink->written++;
			zswap_count(ZSWAP_STAT_WRITTEN_BACK, 1);
			continue;
		}
		zswap_count(ZSWAP_STAT_WRITEBACK_FAILED, 1);
		if (err == -EEXIST)
			shrink->met_used = true;
		if (is_to_stop(shrink))
			break;
	}
}

static enum lru_status shrink_run(struct list_head *item, struct list_lru_one *list,
				  spinlock_t *lock, void *arg)
{
	struct zswap_run *run = container_of(item, struct zswap_run, lru);
	unsigned long pages = atomic_read(&run->there) & run->data;
	struct zswap_shrink *shrink = arg;
	swp_entry_t first = run->first;

	if (run->referenced) {
		run->referenced = false;
		return LRU_ROTATE;
	}
	/* What is left of it repeats a word, and takes no memory in the pool. */
	if (!pages) {
		list_lru_isolate(list, item);
		return LRU_REMOVED;
	}
	list_move_tail(item, &list->list);
	spin_unlock(lock);
	write_pages(shrink, run, first, pages);
	spin_lock(lock);
	return is_to_stop(shrink) ? LRU_STOP : LRU_RETRY;
}

/* ---- a cgroup, as its limit is reached ---- */

/* Return: 0; -EAGAIN if nothing could be written; -ENOENT if there is nothing that may be. */
static int shrink_cgroup(struct mem_cgroup *memcg)
{
	struct zswap_shrink shrink = { };
	unsigned long looked_at = 0;
	int nid;

	if (!mem_cgroup_zswap_writeback_enabled(memcg))
		return -ENOENT;
	/* The lists of one that is gone are its parent's, whose turn comes. */
	if (memcg && !mem_cgroup_online(memcg))
		return -ENOENT;
	for_each_node_state(nid, N_NORMAL_MEMORY) {
		unsigned long nr = 1;

		list_lru_walk_one(&lru, nid, memcg, shrink_run, &shrink, &nr);
		looked_at += 1 - nr;
	}
	if (!looked_at)
		return -ENOENT;
	return shrink.written ? 0 : -EAGAIN;
}

/**
 * zswap_make_room - the cgroup has reached its memory.zswap.max
 * @objcg: the cgroup's
 *
 * Return: true if something was written to the device.
 */
bool zswap_make_room(struct obj_cgroup *objcg)
{
	struct mem_cgroup *memcg = get_mem_cgroup_from_objcg(objcg);
	bool room = !shrink_cgroup(memcg);

	mem_cgroup_put(memcg);
	return room;
}

/* ---- all cgroups in turn, as the pool's limit is reached ---- */

/*
 * Whose turn it was; holds a reference, and so must not stay at a cgroup that goes away. That one
 * is moved on from once, when it goes (zswap_memcg_offline_cleanup()): an offline cgroup may be
 * here only while the lock is held.
 */
static struct mem_cgroup *turn;
static DEFINE_SPINLOCK(turn_lock);

/* Return: a cgroup that is online, with a reference of our own; NULL at the end of a round. */
static struct mem_cgroup *next_cgroup(void)
{
	struct mem_cgroup *memcg;

	spin_lock(&turn_lock);
	do
		turn = mem_cgroup_iter(NULL, turn, NULL);
	while (turn && !mem_cgroup_tryget_online(turn));
	memcg = turn;
	spin_unlock(&turn_lock);
	return memcg;
}

/**
 * zswap_memcg_offline_cleanup - a cgroup goes away
 * @memcg: the cgroup; not online any more
 */
void zswap_memcg_offline_cleanup(struct mem_cgroup *memcg)
{
	spin_lock(&turn_lock);
	if (turn == memcg)
		do
			turn = mem_cgroup_iter(NULL, turn, NULL);
		while (turn && !mem_cgroup_online(turn));
	spin_unlock(&turn_lock);
	zswap_rejects_pass_on(memcg);
}

/*
 * Until there is room again. Ended by MAX_RECLAIM_RETRIES attempts in vain, where a round over all
 * cgroups in which none had anything to write is one.
 */
static void write_back(struct work_struct *work)
{
	unsigned int in_vain = 0;
	bool any = false;

	do {
		struct mem_cgroup *memcg = next_cgroup();

		if (memcg || mem_cgroup_disabled()) {
			int err = shrink_cgroup(memcg);

			mem_cgroup_put(memcg);
			any |= err != -ENOENT;
			in_vain += err == -EAGAIN;
			/* Without cgroups each look is a round. */
			if (!memcg)
				in_vain += err == -ENOENT;
		} else {
			in_vain += !any;
			any = false;
		}
		cond_resched();
	} while (in_vain < MAX_RECLAIM_RETRIES && zswap_limit_exceeded());
}

static DECLARE_WORK(write_back_work, write_back);

/* zswap_writeback_start - have a worker make room; returns at once. */
void zswap_writeback_start(void)
{
	queue_work(queue, &write_back_work);
}

/* ---- reclaim ---- */

/* How many pages a run holds, all in all: reclaim counts pages, and lists have runs. */
static unsigned long pages_per_run(void)
{
	unsigned long runs = atomic_long_read(&zswap_nr_runs);

	/* Both change while they are read: there may be no pages, of some runs. */
	return runs ? max(1, atomic_read(&zswap_stored_pages) / runs) : 1;
}

static bool may_shrink(struct shrink_control *sc)
{
	return READ_ONCE(zswap_shrinker_enabled) && mem_cgroup_zswap_writeback_enabled(sc->memcg);
}

static unsigned long shrinker_scan(struct shrinker *s, struct shrink_control *sc)
{
	struct zswap_shrink shrink = { .stop_if_used = true };
	unsigned long pages = pages_per_run(), nr;

	sc->nr_scanned = 0;
	if (!may_shrink(sc))
		return SHRINK_STOP;
	nr = DIV_ROUND_UP(sc->nr_to_scan, pages);
	sc->nr_scanned = nr;
	list_lru_walk_one(&lru, sc->nid, sc->memcg, shrink_run, &shrink, &nr);
	sc->nr_scanned = min((sc->nr_scanned - nr) * pages, sc->nr_to_scan);
	return shrink.met_used || !shrink.written ? SHRINK_STOP : shrink.written;
}

/*
 * Pages read from the device after all are a sign that too much was written there: as many are left
 * in peace, once.
 */
static unsigned long minus_disk_swapins(struct lruvec *lruvec, unsigned long pages)
{
	atomic_long_t *swapins = &lruvec->zswap_lruvec_state.nr_disk_swapins;
	unsigned long nr = atomic_long_read(swapins), spent;

	do
		spent = min(nr, pages);
	while (!atomic_long_try_cmpxchg(swapins, (long *)&nr, nr - spent));
	return pages - spent;
}

/*
 * How much memory the pages take, of how many pages: the less, the less is gained by writing. What
 * the root has itself is charged to nobody: it goes by all.
 */
static void space_taken(struct mem_cgroup *memcg, unsigned long *taken, unsigned long *stored)
{
	if (mem_cgroup_disabled() || mem_cgroup_is_root(memcg)) {
		*taken = zswap_total_pages();
		*stored = atomic_read(&zswap_stored_pages);
		return;
	}
	/* There are none for a node of a cgroup. */
	mem_cgroup_flush_stats(memcg);
	*taken = memcg_page_state(memcg, MEMCG_ZSWAP_B) >> PAGE_SHIFT;
	*stored = memcg_page_state(memcg, MEMCG_ZSWAPPED);
}

static unsigned long shrinker_count(struct shrinker *s, struct shrink_control *sc)
{
	unsigned long pages, taken, stored;

	/* To write means to allocate, and to enter block devices and file systems. */
	if (!may_shrink(sc) || !gfp_has_io_fs(sc->gfp_mask))
		return 0;
	space_taken(sc->memcg, &taken, &stored);
	if (!stored)
		return 0;
	pages = list_lru_shrink_count(&lru, sc) * pages_per_run();
	pages = minus_disk_swapins(mem_cgroup_lruvec(sc->memcg, NODE_DATA(sc->nid)), pages);
	return mult_frac(pages, taken, stored);
}

/**
 * zswap_lruvec_state_init - nothing was counted yet
 * @lruvec: zeroed
 */
void zswap_lruvec_state_init(struct lruvec *lruvec)
{
	atomic_long_set(&lruvec->zswap_lruvec_state.nr_disk_swapins, 0);
}

/**
 * zswap_folio_swapin - a folio is read from the device
 * @folio: the folio
 */
void zswap_folio_swapin(struct folio *folio)
{
	atomic_long_add(folio_nr_pages(folio),
			&folio_lruvec(folio)->zswap_lruvec_state.nr_disk_swapins);
}

/* ---- start ---- */

/* zswap_writeback_init - before the first run is stored. Return: 0 or -ENOMEM. */
int zswap_writeback_init(void)
{
	queue = alloc_workqueue("zswap-shrink", WQ_UNBOUND | WQ_MEM_RECLAIM, 1);
	if (!queue)
		return -ENOMEM;
	shrinker = shrinker_alloc(SHRINKER_NUMA_AWARE | SHRINKER_MEMCG_AWARE, "mm-zswap");
	if (!shrinker)
		goto free_queue;
	if (list_lru_init_memcg(&lru, shrinker))
		goto free_shrinker;
	shrinker->scan_objects = shrinker_scan;
	shrinker->count_objects = shrinker_count;
	shrinker_register(shrinker);
	return 0;
free_shrinker:
	shrinker_free(shrinker);
free_queue:
	destroy_workqueue(queue);
	return -ENOMEM;
}

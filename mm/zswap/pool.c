// SPDX-License-Identifier: GPL-2.0
/*
 * Pools: where the data goes, and how it is compressed.
 *
 *	zswap_pool_prepare()		    zswap_pool_use()
 *	-------------------> prepared --------------------> current: new pages go there
 *	      ^		        | zswap_pool_discard()         | another one is used
 *	      |		        v			       v
 *	      +------------- retired: pages stay, none come <--+
 *	   the same names again | the last run is gone
 *			        v
 *			      freed, in a work item, after an RCU grace period
 *
 * A pool's percpu_ref is alive until the pool is retired, so that runs are counted without touching
 * what other CPUs touch. Prepare, use and discard are called by one at a time (settings.c).
 */
#include <linux/cpuhotplug.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "zswap.h"

static struct zswap_pool __rcu *current_pool;
static LIST_HEAD(pools);
/* Of changes of the list. The last reference may be put in a softirq. */
static DEFINE_SPINLOCK(pools_lock);

static int cpu_prepare(unsigned int cpu, struct hlist_node *node)
{
	struct zswap_pool *pool = hlist_entry(node, struct zswap_pool, cpuhp);
	struct zswap_compressor *c = per_cpu_ptr(pool->compressors, cpu);

	/* It stays when a CPU goes: a task that was there may use it still. */
	if (c->buffer)
		return 0;
	return zswap_compressor_setup(c, pool->compressor, cpu_to_node(cpu));
}

static void free_compressors(struct zswap_pool *pool)
{
	int cpu;

	for_each_possible_cpu(cpu)
		zswap_compressor_free(per_cpu_ptr(pool->compressors, cpu));
	free_percpu(pool->compressors);
}

static int setup_compressors(struct zswap_pool *pool)
{
	int cpu, err;

	pool->compressors = alloc_percpu(struct zswap_compressor);
	if (!pool->compressors)
		return -ENOMEM;
	for_each_possible_cpu(cpu)
		mutex_init(&per_cpu_ptr(pool->compressors, cpu)->lock);
	err = cpuhp_state_add_instance(CPUHP_MM_ZSWP_POOL_PREPARE, &pool->cpuhp);
	if (err)
		free_compressors(pool);
	return err;
}

static void pool_free(struct work_struct *work)
{
	struct zswap_pool *pool = container_of(to_rcu_work(work), struct zswap_pool, release);

	cpuhp_state_remove_instance(CPUHP_MM_ZSWP_POOL_PREPARE, &pool->cpuhp);
	percpu_ref_exit(&pool->ref);
	free_compressors(pool);
	zpool_destroy_pool(pool->zpool);
	kfree(pool);
}

static void pool_is_empty(struct percpu_ref *ref)
{
	struct zswap_pool *pool = container_of(ref, struct zswap_pool, ref);

	spin_lock_bh(&pools_lock);
	list_del_rcu(&pool->list);
	spin_unlock_bh(&pools_lock);
	INIT_RCU_WORK(&pool->release, pool_free);
	queue_rcu_work(system_wq, &pool->release);
}

/* What a zpool may do for memory: zswap is a part of reclaim, and can do without. */
#define POOL_GFP	(__GFP_NORETRY | __GFP_NOWARN | __GFP_KSWAPD_RECLAIM)

static struct zpool *zpool_create(const char *type)
{
	static atomic_t count;
	char name[sizeof("zswap") + 2 * sizeof(int)];

	/* zsmalloc wants another name for each. */
	snprintf(name, sizeof(name), "zswap%x", atomic_inc_return(&count));
	return zpool_create_pool(type, name, POOL_GFP);
}

static struct zswap_pool *pool_create(const char *type, const char *compressor)
{
	struct zswap_pool *pool = kzalloc(sizeof(*pool), GFP_KERNEL);

	if (!pool)
		return NULL;
	strscpy(pool->compressor, compressor);
	pool->zpool = zpool_create(type);
	if (!pool->zpool)
		goto free;
	if (setup_compressors(pool))
		goto destroy;
	if (percpu_ref_init(&pool->ref, pool_is_empty, PERCPU_REF_ALLOW_REINIT, GFP_KERNEL))
		goto compressors;
	spin_lock_bh(&pools_lock);
	list_add_tail_rcu(&pool->list, &pools);
	spin_unlock_bh(&pools_lock);
	return pool;
compressors:
	cpuhp_state_remove_instance(CPUHP_MM_ZSWP_POOL_PREPARE, &pool->cpuhp);
	free_compressors(pool);
destroy:
	zpool_destroy_pool(pool->zpool);
free:
	pr_err("zswap: no pool of %s for %s could be made\n", type, compressor);
	kfree(pool);
	return NULL;
}

/* A retired pool of these names that has pages still; with a reference. */
static struct zswap_pool *find_retired(const char *type, const char *compressor)
{
	struct zswap_pool *pool, *found = NULL;

	spin_lock_bh(&pools_lock);
	list_for_each_entry(pool, &pools, list)
		if (!strcmp(pool->compressor, compressor) &&
		    !strcmp(zpool_get_type(pool->zpool), type) &&
		    pool != rcu_access_pointer(current_pool) && percpu_ref_tryget(&pool->ref)) {
			found = pool;
			break;
		}
	spin_unlock_bh(&pools_lock);
	return found;
}

/**
 * zswap_pool_prepare - get a pool ready for use
 * @zpool: which zpool, by name; one that exists
 * @compressor: which algorithm; one that exists
 *
 * A retired one of these names is taken, if it has not been freed yet.
 *
 * Context: may sleep; no other preparation is under way. The names are not those in use.
 * Return: to be passed to zswap_pool_use() or zswap_pool_discard(); NULL if it could not be made,
 * and the log says why.
 */
struct zswap_pool *zswap_pool_prepare(const char *zpool, const char *compressor)
{
	struct zswap_pool *pool = find_retired(zpool, compressor);

	if (!pool)
		return pool_create(zpool, compressor);
	percpu_ref_resurrect(&pool->ref);
	percpu_ref_put(&pool->ref);
	return pool;
}

/**
 * zswap_pool_use - new pages go to this pool from now on
 * @pool: prepared
 *
 * The one in use until now is retired.
 */
void zswap_pool_use(struct zswap_pool *pool)
{
	struct zswap_pool *old;

	spin_lock_bh(&pools_lock);
	old = rcu_replace_pointer(current_pool, pool, lockdep_is_held(&pools_lock));
	spin_unlock_bh(&pools_lock);
	if (old)
		zswap_pool_discard(old);
}

/**
 * zswap_pool_discard - this pool will not be used, or no longer
 * @pool: prepared, or in use until now
 *
 * It is freed when the last run is gone from it.
 */
void zswap_pool_discard(struct zswap_pool *pool)
{
	percpu_ref_kill(&pool->ref);
}

/* zswap_pool_in_use - has there ever been a pool? */
bool zswap_pool_in_use(void)
{
	return rcu_access_pointer(current_pool);
}

/**
 * zswap_pool_get_current - the pool for new pages
 *
 * Return: a pool with a reference, or NULL if there is none.
 */
struct zswap_pool *zswap_pool_get_current(void)
{
	struct zswap_pool *pool;

	rcu_read_lock();
	do {
		pool = rcu_dereference(current_pool);
		/* Only one that is not the current one any more can be without references. */
	} while (pool && !percpu_ref_tryget(&pool->ref));
	rcu_read_unlock();
	return pool;
}

/**
 * zswap_pool_alloc - keep data in a pool
 * @pool: where
 * @data: what
 * @length: in bytes, less than a page
 * @handle: what the zpool knows it by
 *
 * Return: 0; -ENOSPC if the zpool does not take anything of that length; or -ENOMEM.
 */
int zswap_pool_alloc(struct zswap_pool *pool, const void *data, unsigned int length,
		     unsigned long *handle)
{
	gfp_t gfp = POOL_GFP;
	void *to;
	int err;

	if (zpool_malloc_support_movable(pool->zpool))
		gfp |= __GFP_HIGHMEM | __GFP_MOVABLE;
	err = zpool_malloc(pool->zpool, length, gfp, handle);
	if (err)
		return err;
	to = zpool_map_handle(pool->zpool, *handle, ZPOOL_MM_WO);
	memcpy(to, data, length);
	zpool_unmap_handle(pool->zpool, *handle);
	return 0;
}

/**
 * zswap_total_pages - how much memory the pools take, in pages
 *
 * That of pools that are being emptied, too.
 */
unsigned long zswap_total_pages(void)
{
	struct zswap_pool *pool;
	unsigned long pages = 0;

	rcu_read_lock();
	list_for_each_entry_rcu(pool, &pools, list)
		pages += zpool_get_total_pages(pool->zpool);
	rcu_read_unlock();
	return pages;
}

/* zswap_pools_init - before the first pool is made. Return: 0, or an error. */
int zswap_pools_init(void)
{
	return cpuhp_setup_state_multi(CPUHP_MM_ZSWP_POOL_PREPARE, "mm/zswap_pool:prepare",
				       cpu_prepare, NULL);
}

/* zswap_pools_exit - undo zswap_pools_init(), when no pool was made. */
void zswap_pools_exit(void)
{
	cpuhp_remove_multi_state(CPUHP_MM_ZSWP_POOL_PREPARE);
}

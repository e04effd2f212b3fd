// SPDX-License-Identifier: GPL-2.0
/*
 * Runs: allocated, given up page by page, freed.
 */
#include <linux/slab.h>

#include "zswap.h"

/* Pages in zswap, those that repeat a word included. /proc/meminfo shows it. */
atomic_t zswap_stored_pages = ATOMIC_INIT(0);
atomic_long_t zswap_nr_runs;

/* By order: a run of one page takes 64 bytes, one of sixteen 208. */
static struct kmem_cache *caches[ZSWAP_RUN_ORDER + 1];

/**
 * zswap_run_alloc - a run that holds nothing yet
 * @order: of its number of pages; at most ZSWAP_RUN_ORDER
 * @nid: the folio's node; the run's list is that of the node that it is on itself
 *
 * Return: a run, or NULL.
 */
struct zswap_run *zswap_run_alloc(unsigned int order, int nid)
{
	struct zswap_run *run = kmem_cache_alloc_node(caches[order], GFP_KERNEL, nid);

	if (!run)
		return NULL;
	INIT_LIST_HEAD(&run->lru);
	run->data = 0;
	run->order = order;
	run->referenced = true;
	return run;
}

/* zswap_run_free - free a run without data, of which nobody knows */
void zswap_run_free(struct zswap_run *run)
{
	kmem_cache_free(caches[run->order], run);
}

/**
 * zswap_run_free_data - give data of pages back to the pool
 * @run: the run
 * @pages: bit i: of page i, if it has any
 */
void zswap_run_free_data(struct zswap_run *run, unsigned int pages)
{
	unsigned long bits = pages & run->data;
	unsigned int i;

	for_each_set_bit(i, &bits, ZSWAP_RUN_PAGES)
		zpool_free(run->pool->zpool, run->handle[i]);
}

static unsigned int bytes_of(struct zswap_run *run, unsigned int pages)
{
	unsigned long bits = pages & run->data;
	unsigned int i, bytes = 0;

	for_each_set_bit(i, &bits, ZSWAP_RUN_PAGES)
		bytes += zswap_lengths(run)[i];
	return bytes;
}

/**
 * zswap_run_drop - give up pages that were taken out of their slots
 * @run: the run
 * @pages: bit i: page i. The caller has taken them out, and so nobody else has.
 *
 * Who gives up the last ones frees the run. Others may do the same for other pages at any time: the
 * run is not looked at any more after the bits are cleared, but by whom is left alone with it, who
 * sees all that the others have done to it before (atomic_fetch_andnot() is fully ordered).
 */
void zswap_run_drop(struct zswap_run *run, unsigned int pages)
{
	unsigned int nr = hweight32(pages);

	zswap_uncharge(run->objcg, bytes_of(run, pages), nr);
	zswap_run_free_data(run, pages);
	atomic_sub(nr, &zswap_stored_pages);
	if (atomic_fetch_andnot(pages, &run->there) != pages)
		return;
	if (run->data)
		zswap_lru_del(run);
	percpu_ref_put(&run->pool->ref);
	obj_cgroup_put(run->objcg);
	zswap_run_free(run);
	atomic_long_dec(&zswap_nr_runs);
}

/* zswap_runs_init - before the first run is made. Return: 0, -EBUSY if it was done, or -ENOMEM. */
int zswap_runs_init(void)
{
	unsigned int order;
	char name[sizeof("zswap_run_16")];

	if (caches[0])
		return -EBUSY;
	for (order = 0; order <= ZSWAP_RUN_ORDER; order++) {
		unsigned int pages = 1 << order;

		snprintf(name, sizeof(name), "zswap_run_%u", pages);
		caches[order] = kmem_cache_create(name, sizeof(struct zswap_run) +
						  pages * (sizeof(long) + sizeof(u16)), 0, 0, NULL);
		if (!caches[order]) {
			zswap_runs_exit();
			return -ENOMEM;
		}
	}
	return 0;
}

/* zswap_runs_exit - undo zswap_runs_init(), when no run was made. */
void zswap_runs_exit(void)
{
	unsigned int order;

	for (order = 0; order <= ZSWAP_RUN_ORDER; order++) {
		kmem_cache_destroy(caches[order]);
		caches[order] = NULL;
	}
}

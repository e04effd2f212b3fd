/* SPDX-License-Identifier: GPL-2.0 */
/*
 * zswap: compressed copies, in memory, of pages that are swapped out.
 *
 *	tables, by swap slot (slots.c)
 *	+-----+-----+-----+-----+-----+-----+---
 *	|  *  |  *  |     |  *  | mark|  *  |
 *	+--|--+--|--+-----+--|--+-----+--|--+---
 *	   +-----+-----------+           |
 *	   v				 v
 *	zswap_run: four pages of a	zswap_run: one page
 *	folio, the third one gone
 *	   |-- data of each page, in a zpool, or the word that all of it repeats
 *	   |-- zswap_pool: zpool, and a compressor for each CPU
 *	   |-- obj_cgroup: who pays
 *	   `-- list: the older ones are written to the device first
 *
 * A mark stands for a page that was written to the device as it did not compress (poor.c).
 *
 * Who may touch what
 *	What a slot holds belongs to who owns the swap slot: who holds the lock of the folio in the
 *	swap cache, or has taken SWAP_HAS_CACHE, or frees the slot after its last user. There is
 *	one at a time, so that no lock is needed here.
 *	Who takes a page out of its slot owns the page's data, and frees it once; the last page of a
 *	run frees the run. Pages of one run can belong to as many owners.
 *	What is on the list may be looked at under the list's lock: it is taken off before it is
 *	freed.
 *
 * Locks: a CPU's compressor (a mutex); inside it those of the zpool. A list's lock: nothing inside;
 * pages may be dropped under a page table's lock.
 */
#ifndef _MM_ZSWAP_H
#define _MM_ZSWAP_H

#include <crypto/acompress.h>
#include <linux/crypto.h>
#include <linux/list_lru.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/percpu-refcount.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/xarray.h>
#include <linux/zpool.h>
#include <linux/zswap_rejects.h>
#include <linux/zswap_runs.h>

#include "../swap.h"

/* Most of what is asked once for a run is saved by then, and one mutex is not held for long. */
#define ZSWAP_RUN_ORDER		4
#define ZSWAP_RUN_PAGES		BIT(ZSWAP_RUN_ORDER)

/**
 * struct zswap_run - consecutive pages of one folio
 * @first: the swap slot of the first one
 * @pool: holds their data; a reference
 * @objcg: pays for them; a reference, or NULL
 * @lru: on a list while one of them has data in the pool
 * @there: bit i: page i is in its slot. Who clears the last bit frees the run.
 * @data: bit i: page i has data in the pool
 * @order: a power of two of pages were stored
 * @referenced: stored since the writer last came by
 * @handle: what the zpool knows the data by, or the word that the page repeats; lengths follow
 */
struct zswap_run {
	swp_entry_t first;
	struct zswap_pool *pool;
	struct obj_cgroup *objcg;
	struct list_head lru;
	atomic_t there;
	u16 data;
	u8 order;
	bool referenced;
	unsigned long handle[];
};

/* Lengths in bytes of what is in the pool, less than a page. They stand behind the handles. */
static inline u16 *zswap_lengths(struct zswap_run *run)
{
	return (u16 *)(run->handle + (1 << run->order));
}

static inline unsigned int zswap_index(struct zswap_run *run, swp_entry_t swp)
{
	return swp_offset(swp) - swp_offset(run->first);
}

/* compressor.c */
#define ZSWAP_POOR	(-E2BIG)

/**
 * struct zswap_compressor - one CPU's
 * @lock: held while it is used; may be another CPU's after the task was moved
 * @buffer: two pages, as what does not compress becomes longer
 * @comp: takes addresses, if the algorithm has this and does not sleep; or else
 * @acomp: takes requests,
 * @req: this one,
 * @wait: waited for here
 */
struct zswap_compressor {
	struct mutex lock;
	u8 *buffer;
	struct crypto_comp *comp;
	struct crypto_acomp *acomp;
	struct acomp_req *req;
	struct crypto_wait wait;
};

int zswap_compressor_setup(struct zswap_compressor *c, const char *name, int nid);
void zswap_compressor_free(struct zswap_compressor *c);
int zswap_compress(struct zswap_compressor *c, struct page *page, unsigned int *length);
int zswap_decompress(struct zswap_compressor *c, struct zswap_run *run, unsigned int i,
		     struct page *page);

/* pool.c */
/**
 * struct zswap_pool - a zpool and a compressor, in use together
 * @zpool: keeps the data
 * @compressors: one for each CPU that was ever online meanwhile
 * @ref: one for each run, and one while new pages go there; freed with the last
 * @list: of all pools; RCU
 * @release: frees it, as that may sleep
 * @cpuhp: has compressors set up for CPUs that come
 * @compressor: its name
 */
struct zswap_pool {
	struct zpool *zpool;
	struct zswap_compressor __percpu *compressors;
	struct percpu_ref ref;
	struct list_head list;
	struct rcu_work release;
	struct hlist_node cpuhp;
	char compressor[CRYPTO_MAX_ALG_NAME];
};

int zswap_pools_init(void);
void zswap_pools_exit(void);
struct zswap_pool *zswap_pool_prepare(const char *zpool, const char *compressor);
void zswap_pool_use(struct zswap_pool *pool);
void zswap_pool_discard(struct zswap_pool *pool);
bool zswap_pool_in_use(void);
struct zswap_pool *zswap_pool_get_current(void);
int zswap_pool_alloc(struct zswap_pool *pool, const void *data, unsigned int length,
		     unsigned long *handle);

static inline struct zswap_compressor *zswap_compressor_lock(struct zswap_pool *pool)
{
	struct zswap_compressor *c = raw_cpu_ptr(pool->compressors);

	/* If the task is moved here, it is another CPU's: still there, and still only ours. */
	mutex_lock(&c->lock);
	return c;
}

static inline void zswap_compressor_unlock(struct zswap_compressor *c)
{
	mutex_unlock(&c->lock);
}

/* run.c */
extern atomic_long_t zswap_nr_runs;

int zswap_runs_init(void);
void zswap_runs_exit(void);
struct zswap_run *zswap_run_alloc(unsigned int order, int nid);
void zswap_run_free(struct zswap_run *run);
void zswap_run_free_data(struct zswap_run *run, unsigned int pages);
void zswap_run_drop(struct zswap_run *run, unsigned int pages);

/* slots.c */
void *zswap_slot_get(swp_entry_t swp);
void zswap_slot_mark(swp_entry_t swp, void *mark);
int zswap_slots_store(struct zswap_run *run);
void zswap_slots_erase_runs(swp_entry_t swp, int nr);

/* poor.c */
extern bool zswap_any_marks;

bool __zswap_poor_skip(swp_entry_t swp, int nr);

/* Where all pages compress nobody needs to look. */
static inline bool zswap_poor_skip(swp_entry_t swp, int nr)
{
	return READ_ONCE(zswap_any_marks) && __zswap_poor_skip(swp, nr);
}

void zswap_poor_note(swp_entry_t swp);

/* load.c */
int zswap_run_load(struct zswap_run *run, unsigned int i, unsigned int nr, struct page *page);

/* store.c */
bool zswap_repeats(const unsigned long *page, unsigned long *word);

/* writeback.c */
int zswap_writeback_init(void);
void zswap_lru_add(struct zswap_run *run);
void zswap_lru_del(struct zswap_run *run);
int zswap_lru_prepare(struct obj_cgroup *objcg);
bool zswap_make_room(struct obj_cgroup *objcg);
void zswap_writeback_start(void);

/* settings.c */
extern unsigned int zswap_max_pool_percent, zswap_accept_percent;
extern bool zswap_shrinker_enabled;

/* limit.c */
bool zswap_limit_reached(void);
bool zswap_limit_exceeded(void);

/* stat.c */
/* What debugfs shows. The first ones are the reasons of rejects, alike. */
enum zswap_stat {
	ZSWAP_STAT_LIMIT_HIT = NR_ZSWAP_REJECTS,
	ZSWAP_STAT_WRITTEN_BACK,
	ZSWAP_STAT_WRITEBACK_FAILED,
	ZSWAP_STAT_REPEATED,
	NR_ZSWAP_STATS
};

void zswap_count(enum zswap_stat stat, long nr);
void zswap_count_reject(struct folio *folio, enum zswap_reject why);
void zswap_stat_init(void);

/* cgroup.c */
#ifdef CONFIG_MEMCG
void zswap_charge(struct obj_cgroup *objcg, unsigned int bytes, unsigned int pages);
void zswap_uncharge(struct obj_cgroup *objcg, unsigned int bytes, unsigned int pages);
void zswap_cgroup_reject(struct folio *folio, enum zswap_reject why, long nr);
void zswap_rejects_pass_on(struct mem_cgroup *memcg);

/* Under RCU. */
static inline struct mem_cgroup *zswap_memcg(struct zswap_run *run)
{
	return run->objcg ? obj_cgroup_memcg(run->objcg) : NULL;
}
#else
static inline struct mem_cgroup *zswap_memcg(struct zswap_run *run)
{
	return NULL;
}

static inline void zswap_charge(struct obj_cgroup *objcg, unsigned int bytes,
				unsigned int pages) { }
static inline void zswap_uncharge(struct obj_cgroup *objcg, unsigned int bytes,
				  unsigned int pages) { }
static inline void zswap_cgroup_reject(struct folio *folio, enum zswap_reject why, long nr) { }
static inline void zswap_rejects_pass_on(struct mem_cgroup *memcg) { }
#endif

#endif /* _MM_ZSWAP_H */

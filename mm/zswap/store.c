// SPDX-License-Identifier: GPL-2.0
/*
 * A folio that is about to be written to a swap device goes to memory, compressed; all of it or
 * nothing.
 *
 *	zswap_store(folio)
 *	  |- limits, a pool, a list: asked for once
 *	  |- each run of up to 16 pages: repeat a word, or compress --> pool
 *	  |    `- all of it good: into its slots, charged, onto the list
 *	  `- one page was refused: what the slots of the folio hold, old or new, is dropped
 *
 * Meanwhile the folio is locked and in the swap cache: nobody reads, writes back or frees a part.
 */
#include <linux/highmem.h>

#include "zswap.h"

/**
 * struct zswap_store - one folio on its way in
 * @folio: the folio
 * @pool: where to, with a reference
 * @objcg: who pays, with a reference, or NULL
 * @repeat: pages that repeat a word
 * @why: it was refused
 * @poor: the page that did not compress, if that was why
 */
struct zswap_store {
	struct folio *folio;
	struct zswap_pool *pool;
	struct obj_cgroup *objcg;
	unsigned int repeat;
	enum zswap_reject why;
	unsigned int poor;
};

static bool reject(struct zswap_store *s, enum zswap_reject why)
{
	s->why = why;
	return false;
}

/**
 * zswap_repeats - is a page the same word over and over?
 * @page: its contents
 * @word: which one
 */
bool zswap_repeats(const unsigned long *page, unsigned long *word)
{
	unsigned int i, last = PAGE_SIZE / sizeof(*page) - 1;
	unsigned long w = page[0];

	if (page[last] != w)
		return false;
	for (i = 0; i < last; i += 8)
		if (page[i + 1] != w || page[i + 2] != w || page[i + 3] != w || page[i + 4] != w ||
		    page[i + 5] != w || page[i + 6] != w || page[i + 7] != w || page[i] != w)
			return false;
	*word = w;
	return true;
}

static bool page_repeats(struct page *page, unsigned long *word)
{
	void *contents = kmap_local_page(page);
	bool repeats = zswap_repeats(contents, word);

	kunmap_local(contents);
	return repeats;
}

/* May it be tried at all? */
static bool may_store(struct zswap_store *s)
{
	if (s->objcg && !obj_cgroup_may_zswap(s->objcg) && !zswap_make_room(s->objcg))
		return reject(s, ZSWAP_REJECT_CGROUP_LIMIT);
	if (zswap_limit_reached()) {
		zswap_writeback_start();
		return reject(s, ZSWAP_REJECT_POOL_LIMIT);
	}
	if (zswap_poor_skip(s->folio->swap, folio_nr_pages(s->folio)))
		return reject(s, ZSWAP_REJECT_KNOWN_POOR);
	if (s->objcg && zswap_lru_prepare(s->objcg))
		return reject(s, ZSWAP_REJECT_RUN_MEMORY);
	s->pool = zswap_pool_get_current();
	return s->pool || reject(s, ZSWAP_REJECT_RUN_MEMORY);
}

static bool store_page(struct zswap_store *s, struct zswap_run *run, unsigned int i,
		       struct zswap_compressor *c, struct page *page)
{
	unsigned int length;
	int err;

	if (page_repeats(page, &run->handle[i]))
		return true;
	err = zswap_compress(c, page, &length);
	if (err)
		return reject(s, err == ZSWAP_POOR ? ZSWAP_REJECT_POOR : ZSWAP_REJECT_COMPRESSOR);
	err = zswap_pool_alloc(run->pool, c->buffer, length, &run->handle[i]);
	/* Some pools take nothing that is nearly a page. */
	if (err)
		return reject(s, err == -ENOSPC ? ZSWAP_REJECT_POOR : ZSWAP_REJECT_POOL_MEMORY);
	run->data |= 1U << i;
	zswap_lengths(run)[i] = length;
	return true;
}

static bool store_pages(struct zswap_store *s, struct zswap_run *run, unsigned int first)
{
	struct zswap_compressor *c = zswap_compressor_lock(run->pool);
	unsigned int i, nr = 1U << run->order;

	for (i = 0; i < nr; i++)
		if (!store_page(s, run, i, c, folio_page(s->folio, first + i)))
			break;
	zswap_compressor_unlock(c);
	s->poor = first + i;
	return i == nr;
}

static unsigned int bytes_in_pool(struct zswap_run *run)
{
	unsigned int i, bytes = 0;

	for (i = 0; i < 1U << run->order; i++)
		if (run->data & 1U << i)
			bytes += zswap_lengths(run)[i];
	return bytes;
}

/*
 * Readers find the run as soon as it is in its slots, those who free it too, and they are kept out
 * by the folio's lock; who writes back finds it on the list, and then the swap cache's folio.
 */
static bool publish(struct zswap_store *s, struct zswap_run *run)
{
	unsigned int nr = 1U << run->order;

	if (zswap_slots_store(run))
		return reject(s, ZSWAP_REJECT_RUN_MEMORY);
	percpu_ref_get(&run->pool->ref);
	zswap_charge(run->objcg, bytes_in_pool(run), nr);
	atomic_add(nr, &zswap_stored_pages);
	atomic_long_inc(&zswap_nr_runs);
	s->repeat += nr - hweight16(run->data);
	if (run->data)
		zswap_lru_add(run);
	return true;
}

static bool store_run(struct zswap_store *s, unsigned int first, unsigned int order)
{
	struct zswap_run *run = zswap_run_alloc(order, folio_nid(s->folio));

	if (!run)
		return reject(s, ZSWAP_REJECT_RUN_MEMORY);
	run->first = page_swap_entry(folio_page(s->folio, first));
	run->pool = s->pool;
	run->objcg = s->objcg;
	atomic_set(&run->there, (1U << (1U << order)) - 1);
	if (store_pages(s, run, first) && publish(s, run))
		return true;
	zswap_run_free_data(run, run->data);
	zswap_run_free(run);
	return false;
}

static bool store_runs(struct zswap_store *s)
{
	unsigned int order = min(folio_order(s->folio), ZSWAP_RUN_ORDER);
	unsigned int first, nr = folio_nr_pages(s->folio);

	for (first = 0; first < nr; first += 1U << order)
		if (!store_run(s, first, order))
			return false;
	if (s->repeat)
		zswap_count(ZSWAP_STAT_REPEATED, s->repeat);
	count_vm_events(ZSWPOUT, nr);
	if (s->objcg)
		count_objcg_events(s->objcg, ZSWPOUT, nr);
	return true;
}

static bool store(struct zswap_store *s)
{
	bool stored;

	s->objcg = get_obj_cgroup_from_folio(s->folio);
	stored = may_store(s) && store_runs(s);
	if (s->pool)
		percpu_ref_put(&s->pool->ref);
	obj_cgroup_put(s->objcg);
	return stored;
}

/* All slots of the folio are empty, or marked. */
static void note_reject(struct zswap_store *s)
{
	zswap_count_reject(s->folio, s->why);
	if (s->why == ZSWAP_REJECT_POOR)
		zswap_poor_note(page_swap_entry(folio_page(s->folio, s->poor)));
}

/**
 * zswap_store - keep a folio in memory, compressed
 * @folio: locked, in the swap cache, mapped by nobody who writes to it
 *
 * If it is refused its slots hold no older version of it either, which write-back would put over
 * what the caller is about to write to the device.
 *
 * Context: reclaim; may sleep.
 * Return: true if zswap has all of it.
 */
bool zswap_store(struct folio *folio)
{
	struct zswap_store s = { .folio = folio };
	bool enabled = zswap_is_enabled();

	VM_WARN_ON_ONCE(!folio_test_locked(folio));
	VM_WARN_ON_ONCE(!folio_test_swapcache(folio));

	if (enabled && store(&s))
		return true;
	zswap_slots_erase_runs(folio->swap, folio_nr_pages(folio));
	if (enabled)
		note_reject(&s);
	return false;
}

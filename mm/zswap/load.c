// SPDX-License-Identifier: GPL-2.0
/*
 * A folio is read from swap: what zswap has of it is decompressed.
 *
 *	read into	what it held after that
 *	the swap cache	nothing: the folio is dirty, and the only copy
 *	a fault's own	all, until the slots are freed: the fault may yet fail
 */
#include <linux/highmem.h>

#include "zswap.h"

static void repeat(struct page *page, unsigned long word)
{
	unsigned long *contents = kmap_local_page(page);

	memset_l(contents, word, PAGE_SIZE / sizeof(word));
	kunmap_local(contents);
	flush_dcache_page(page);
}

static int fill(struct zswap_run *run, unsigned int i, struct zswap_compressor *c,
		struct page *page)
{
	if (run->data & 1U << i)
		return zswap_decompress(c, run, i, page);
	repeat(page, run->handle[i]);
	return 0;
}

/**
 * zswap_run_load - fill pages
 * @run: the run
 * @i: its first page that is wanted
 * @nr: how many; they are the caller's
 * @page: the first page to be filled; the others come after it in its folio
 *
 * Return: 0, or the compressor's error. The log tells of it: the data is damaged.
 */
int zswap_run_load(struct zswap_run *run, unsigned int i, unsigned int nr, struct page *page)
{
	struct zswap_compressor *c = zswap_compressor_lock(run->pool);
	unsigned int last = i + nr - 1;
	int err;

	do
		err = fill(run, i, c, page++);
	while (!err && i++ < last);
	zswap_compressor_unlock(c);
	if (err)
		pr_err_ratelimited("zswap: %s: slot %lu of swap device %u cannot be read: error %d\n",
				   run->pool->compressor, swp_offset(run->first) + i,
				   swp_type(run->first), err);
	return err;
}

/* All pages of a large folio, of one run after the other. */
static int load_large(struct folio *folio)
{
	unsigned int i, n, nr = folio_nr_pages(folio);
	swp_entry_t swp = folio->swap;

	for (i = 0; i < nr; i += n, swp.val += n) {
		struct zswap_run *run = zswap_slot_get(swp);
		unsigned int at = zswap_index(run, swp);
		int err;

		n = min(nr - i, (1U << run->order) - at);
		err = zswap_run_load(run, at, n, folio_page(folio, i));
		if (err)
			return err;
	}
	return 0;
}

static int load_small(struct folio *folio)
{
	struct zswap_run *run = zswap_slot_get(folio->swap);

	return zswap_run_load(run, zswap_index(run, folio->swap), 1, folio_page(folio, 0));
}

/* Read into the folio, or fail and leave it without PG_uptodate: then its reader gets an error. */
static void load(struct folio *folio)
{
	unsigned int nr = folio_nr_pages(folio);
	struct obj_cgroup *objcg;

	if (folio_test_large(folio) ? load_large(folio) : load_small(folio))
		return;
	count_vm_events(ZSWPIN, nr);
	objcg = get_obj_cgroup_from_folio(folio);
	if (objcg)
		count_objcg_events(objcg, ZSWPIN, nr);
	obj_cgroup_put(objcg);
	/* Nowhere else, or not for long: a fault that reads past the swap cache frees the slots. */
	folio_mark_dirty(folio);
	if (folio_test_swapcache(folio))
		zswap_slots_erase_runs(folio->swap, nr);
	folio_mark_uptodate(folio);
}

/**
 * zswap_load - read a folio, if it is here
 * @folio: locked, its slots are the caller's
 *
 * A large folio of which a part is here is not read: who allocates one asks zswap_can_load() when
 * the slots are its own.
 *
 * Return: false if it is to be read from the device. Otherwise the folio is up to date, or it is
 * not and cannot be read.
 */
bool zswap_load(struct folio *folio)
{
	int nr = folio_nr_pages(folio);

	VM_WARN_ON_ONCE(!folio_test_locked(folio));

	if (zswap_never_enabled())
		return false;
	if (zswap_can_load(folio->swap, nr, false))
		load(folio);
	else if (WARN_ON_ONCE(!zswap_can_load(folio->swap, nr, true)))
		return true;
	else
		return false;
	return true;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Which run holds the page of a swap slot.
 *
 *	devices[type].tables --> tables: a pointer for each 512 slots --> 512 entries
 *
 * A table is allocated when something is stored in its range, and stays until the device is taken
 * away: 8 bytes for each slot that was ever near one in use. So there is nothing to lock. An entry
 * is written by the owner of its slot only, and one owner has seen what the last one wrote, as
 * slots change hands under a folio's lock or a swap cluster's. Others may look at an entry at any
 * time, and see an old value; they compare it, and do not follow it.
 */
#include <linux/slab.h>

#include "zswap.h"

#define TABLE_ENTRIES	512

struct table {
	void *entry[TABLE_ENTRIES];
};

static struct {
	struct table **tables;
	unsigned long nr;
} devices[MAX_SWAPFILES];

static bool is_run(void *entry)
{
	return entry && !xa_is_value(entry);
}

static struct table **place_of(swp_entry_t swp)
{
	return devices[swp_type(swp)].tables + swp_offset(swp) / TABLE_ENTRIES;
}

/* Entries from a slot on, up to the end of its table; NULL if nothing was ever stored near. */
static void **entries(swp_entry_t swp)
{
	/* Who finds a table finds it zeroed: by the address dependency, after entries_new(). */
	struct table *table = READ_ONCE(*place_of(swp));

	return table ? table->entry + swp_offset(swp) % TABLE_ENTRIES : NULL;
}

static void **entries_new(swp_entry_t swp)
{
	struct table *table = kzalloc(sizeof(*table), GFP_KERNEL);

	/* The owner of another slot may do the same. cmpxchg() orders the zeroes first. */
	if (table && cmpxchg(place_of(swp), NULL, table))
		kfree(table);
	return entries(swp);
}

/* zswap_slot_get - what a slot holds: a run, a mark or NULL. To be followed by its owner only. */
void *zswap_slot_get(swp_entry_t swp)
{
	void **entry = entries(swp);

	return entry ? READ_ONCE(*entry) : NULL;
}

/**
 * zswap_slot_mark - put a mark where no run is
 * @swp: the slot; the caller's
 * @mark: the mark
 *
 * Where there is no memory for it, it is lost.
 */
void zswap_slot_mark(swp_entry_t swp, void *mark)
{
	void **entry = entries(swp);

	if (!entry)
		entry = entries_new(swp);
	if (entry)
		WRITE_ONCE(*entry, mark);
}

/* Pages of a run that were taken out of their slots, to be dropped together. */
struct dropped {
	struct zswap_run *run;
	unsigned int pages;
};

static void drop(struct dropped *d)
{
	if (d->run)
		zswap_run_drop(d->run, d->pages);
	d->run = NULL;
	d->pages = 0;
}

static void drop_later(struct dropped *d, struct zswap_run *run, swp_entry_t swp)
{
	if (run != d->run)
		drop(d);
	d->run = run;
	d->pages |= 1U << zswap_index(run, swp);
}

/**
 * zswap_slots_store - put a run into its slots
 * @run: complete
 *
 * What a slot held before is dropped: the folio was written to since.
 *
 * Context: the slots are the caller's.
 * Return: 0, or -ENOMEM and nothing has changed.
 */
int zswap_slots_store(struct zswap_run *run)
{
	unsigned int i, nr = 1U << run->order;
	void **entry = entries(run->first);
	struct dropped dropped = { };

	if (!entry)
		entry = entries_new(run->first);
	if (!entry)
		return -ENOMEM;
	/* Slots of a folio are aligned to its size: those of a run are in one table. */
	VM_WARN_ON_ONCE(!IS_ALIGNED(swp_offset(run->first), nr));
	for (i = 0; i < nr; i++) {
		void *old = entry[i];

		WRITE_ONCE(entry[i], run);
		if (unlikely(is_run(old)))
			drop_later(&dropped, old, swp_entry(swp_type(run->first),
							    swp_offset(run->first) + i));
	}
	drop(&dropped);
	return 0;
}

static void erase(swp_entry_t swp, int nr, bool marks)
{
	struct dropped dropped = { };

	for (; nr > 0; nr--, swp.val++) {
		void **entry = entries(swp);
		void *old;

		if (!entry)
			continue;
		old = *entry;
		if (is_run(old))
			drop_later(&dropped, old, swp);
		else if (!old || !marks)
			continue;
		WRITE_ONCE(*entry, NULL);
	}
	drop(&dropped);
}

/**
 * zswap_slots_erase_runs - drop the pages of slots
 * @swp: the first slot
 * @nr: how many
 *
 * Marks of poor pages stay.
 *
 * Context: the slots are the caller's.
 */
void zswap_slots_erase_runs(swp_entry_t swp, int nr)
{
	erase(swp, nr, false);
}

/**
 * zswap_invalidate_range - slots are freed: what they held is not needed any more
 * @swp: the first slot
 * @nr: how many
 *
 * Context: the slots are the caller's; a spinlock may be held.
 */
void zswap_invalidate_range(swp_entry_t swp, int nr)
{
	erase(swp, nr, true);
}

/**
 * zswap_invalidate - a slot is freed: what it held is not needed any more
 * @swp: the slot
 *
 * Context: the slot is the caller's; a spinlock may be held.
 */
void zswap_invalidate(swp_entry_t swp)
{
	erase(swp, 1, true);
}

/**
 * zswap_is_run - is the page of a slot in zswap, with a neighbour of the same folio?
 * @swp: the slot
 *
 * For a fault: then it is worth to read them together. Nobody owns the slot, so this is a guess,
 * and zswap_can_load() is asked when the slots are the caller's.
 *
 * Context: the swap device stays (get_swap_device()).
 */
bool zswap_is_run(swp_entry_t swp)
{
	void *entry = zswap_slot_get(swp);

	return is_run(entry) &&
	       zswap_slot_get(swp_entry(swp_type(swp), swp_offset(swp) ^ 1)) == entry;
}

/**
 * zswap_can_load - can these slots be read into one folio?
 * @swp: the first slot
 * @nr: how many, aligned to their number
 * @from_device: the caller could read them from the device, too
 *
 * Context: the swap device stays. If the slots are not the caller's this is a guess: pages may be
 * written to the device at any time.
 * Return: true if zswap holds all of them, or none and @from_device.
 */
bool zswap_can_load(swp_entry_t swp, int nr, bool from_device)
{
	int i, held = 0;

	for (i = 0; i < nr; i++, swp.val++)
		held += is_run(zswap_slot_get(swp));
	return held == nr || (!held && from_device);
}

/**
 * zswap_swapon - a swap device comes
 * @type: its number
 * @nr_pages: its size
 *
 * Return: 0 or -ENOMEM.
 */
int zswap_swapon(int type, unsigned long nr_pages)
{
	unsigned long nr = DIV_ROUND_UP(nr_pages, TABLE_ENTRIES);
	struct table **tables = kvcalloc(nr, sizeof(*tables), GFP_KERNEL);

	if (!tables)
		return -ENOMEM;
	devices[type].tables = tables;
	devices[type].nr = nr;
	return 0;
}

/**
 * zswap_swapoff - a swap device has gone
 * @type: its number
 *
 * All of its slots were freed before, and so what we held.
 */
void zswap_swapoff(int type)
{
	struct table **tables = devices[type].tables;
	unsigned long i;

	for (i = 0; tables && i < devices[type].nr; i++) {
		VM_WARN_ON_ONCE(tables[i] && memchr_inv(tables[i], 0, sizeof(*tables[i])));
		kfree(tables[i]);
	}
	devices[type].tables = NULL;
	devices[type].nr = 0;
	kvfree(tables);
}

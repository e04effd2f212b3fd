// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel says of a folio, and which move that means.
 *
 *				unreferenced	    referenced
 *			      +-----------+ touch +-----------+
 *	folio_add_lru() ----> | inactive  | ----> | inactive  |
 *			      +-----------+	  +-----------+
 *				^ folio_deactivate()	| touch: LRU_ACTIVATE
 *				|			v
 *			      +-----------+ touch +-----------+
 *			      |  active   | <---- | (active,  |
 *			      |referenced |	  |  unref.)  |
 *			      +-----------+	  +-----------+
 *
 * A touch is folio_mark_accessed(). With the generational LRU it counts up a number in the flags
 * instead, and reclaim does the rest.
 *
 * The tests here spare a batch moves that would be refused. They are made without a lock, and
 * move.c makes them again.
 */
#include <linux/export.h>
#include <linux/idle_ages.h>
#include <linux/init.h>
#include <linux/page_idle.h>

#include "lru.h"

/* Swap is read ahead in clusters of two to the power of this many pages (vm.page-cluster). */
int page_cluster;
const int page_cluster_max = 31;

/* swap_setup() - a default for vm.page-cluster by the size of memory, once, at boot */
void __init swap_setup(void)
{
	page_cluster = totalram_pages() < SZ_16M / PAGE_SIZE ? 2 : 3;
}

/* What a fault brings in goes to the youngest generation. */
static __always_inline void lru_new(struct folio *folio)
{
	VM_WARN_ON_ONCE_FOLIO(folio_test_lru(folio), folio);
	VM_WARN_ON_ONCE_FOLIO(folio_test_active(folio) && folio_test_unevictable(folio), folio);

	if (lru_gen_enabled() && lru_gen_in_fault() && !folio_test_unevictable(folio) &&
	    !(current->flags & PF_MEMALLOC))
		folio_set_active(folio);
}

/**
 * folio_add_lru() - give a new folio a place on an LRU list
 * @folio: on none; charged, and its flags say active or not, swap-backed or not
 *
 * Which list it will be is decided when the batch is emptied: folio_mark_accessed() may still
 * make it active. Until then PG_lru is clear.
 *
 * Context: process context; page table locks may be held. So for all below but
 * folio_rotate_reclaimable() and the costs.
 */
void folio_add_lru(struct folio *folio)
{
	lru_new(folio);
	lru_batch_add(folio, LRU_ADD);
}
EXPORT_SYMBOL(folio_add_lru);

/**
 * folios_add_lru() - give new folios their places at once, without waiting in a batch
 * @folios: the folios, as for folio_add_lru(); best of one node and memcg
 * @nr: how many; lru_lock is held for that long
 *
 * Context: process context; page table locks may be held.
 */
void folios_add_lru(struct folio **folios, unsigned int nr)
{
	struct lru_move mv;
	unsigned int i;

	lru_move_init(&mv);
	for (i = 0; i < nr; i++) {
		lru_new(folios[i]);
		lru_move_folio(&mv, folios[i], LRU_ADD);
	}
	lru_move_end(&mv);
}

/**
 * folio_add_lru_vma() - give a new folio a place, an unevictable one in locked memory
 * @folio: on no list; will be mapped by @vma
 * @vma: the VMA, its page table locked
 */
void folio_add_lru_vma(struct folio *folio, struct vm_area_struct *vma)
{
	VM_WARN_ON_ONCE_FOLIO(folio_test_lru(folio), folio);

	/* A special VMA is never locked, but may look so while a driver's mmap sets it up. */
	if (unlikely(vma->vm_flags & VM_LOCKED && !(vma->vm_flags & VM_SPECIAL)))
		mlock_new_folio(folio);
	else
		folio_add_lru(folio);
}

#ifdef CONFIG_LRU_GEN
/*
 * A touch, in generations: first PG_referenced, then PG_workingset, then a number that stays at
 * its maximum. Together they are the tier.
 */
static void lru_gen_touch(struct folio *folio)
{
	unsigned long flags = READ_ONCE(folio->flags), more;

	if (folio_test_unevictable(folio))
		return;
	if (!folio_test_referenced(folio)) {
		folio_set_referenced(folio);
	} else if (!folio_test_workingset(folio)) {
		folio_set_workingset(folio);
	} else {
		do {
			if ((flags & LRU_REFS_MASK) == LRU_REFS_MASK)
				return;
			more = flags + BIT(LRU_REFS_PGOFF);
		} while (!try_cmpxchg(&folio->flags, &flags, more));
	}
}
#else
static void lru_gen_touch(struct folio *folio)
{
}
#endif

/* The second touch of an inactive folio. */
static void lru_promote(struct folio *folio)
{
	if (folio_test_lru(folio))
		folio_activate(folio);
	else
		lru_batch_activate(folio);
	folio_clear_referenced(folio);
	workingset_activation(folio);
}

/**
 * folio_mark_accessed() - a folio has been used
 * @folio: a reference or a lock keeps it
 *
 * Inactive and unreferenced becomes referenced; inactive and referenced becomes active and
 * unreferenced; active and unreferenced becomes referenced. Unevictable folios do not move.
 * An idle folio is idle no more, and its age begins again.
 *
 * A new folio that nobody can see yet may as well be marked with __folio_set_referenced().
 */
void folio_mark_accessed(struct folio *folio)
{
	if (lru_gen_enabled()) {
		folio_note_reference(folio);
		lru_gen_touch(folio);
		return;
	}
	if (!folio_test_referenced(folio))
		folio_set_referenced(folio);
	else if (!folio_test_active(folio) && !folio_test_unevictable(folio))
		lru_promote(folio);
	if (folio_test_idle(folio))
		folio_clear_idle(folio);
	idle_ages_touch(folio);
}
EXPORT_SYMBOL(folio_mark_accessed);

/**
 * folio_activate() - make a folio active
 * @folio: held by the caller; nothing happens unless it is on an inactive list
 */
void folio_activate(struct folio *folio)
{
	if (folio_test_lru(folio) && !folio_test_active(folio) && !folio_test_unevictable(folio))
		lru_batch_add(folio, LRU_ACTIVATE);
}

/**
 * folio_deactivate() - make a folio inactive and forget its use, for reclaim to take it sooner
 * @folio: held by the caller; nothing happens unless it is on an active list or in a generation
 */
void folio_deactivate(struct folio *folio)
{
	if (folio_test_lru(folio) && !folio_test_unevictable(folio) &&
	    (lru_gen_enabled() || folio_test_active(folio)))
		lru_batch_add(folio, LRU_DEACTIVATE);
}

/**
 * deactivate_file_folio() - a file's cache was to go, and this folio could not
 * @folio: held by the caller; nothing happens while it is mapped or unevictable
 */
void deactivate_file_folio(struct folio *folio)
{
	if (folio_test_lru(folio) && !folio_test_unevictable(folio))
		lru_batch_add(folio, LRU_DROP_BEHIND);
}

/**
 * folio_mark_lazyfree() - the contents of an anonymous folio may be lost (MADV_FREE)
 * @folio: held by the caller, clean, without swap; goes to the inactive file list
 */
void folio_mark_lazyfree(struct folio *folio)
{
	if (folio_test_lru(folio) && folio_test_anon(folio) && folio_test_swapbacked(folio) &&
	    !folio_test_swapcache(folio) && !folio_test_unevictable(folio))
		lru_batch_add(folio, LRU_LAZYFREE);
}

/**
 * folio_rotate_reclaimable() - a folio that reclaim wrote out is clean
 * @folio: under writeback until now, which keeps it; to the tail, if it can be reclaimed at once
 *
 * Context: any but NMI; writeback ends in interrupts.
 */
void folio_rotate_reclaimable(struct folio *folio)
{
	if (folio_test_lru(folio) && !folio_test_locked(folio) && !folio_test_dirty(folio) &&
	    !folio_test_unevictable(folio))
		lru_batch_add_irq(folio, LRU_WRITTEN);
}

/* --- what reclaim costs ------------------------------------------------------------------- */

static unsigned long lruvec_pages(struct lruvec *lruvec)
{
	unsigned long pages = 0;
	enum lru_list lru;

	for_each_evictable_lru(lru)
		pages += lruvec_page_state(lruvec, NR_LRU_BASE + lru);
	return pages;
}

/**
 * lru_note_cost() - reclaim of one kind of memory has cost something
 * @lruvec: where; the lruvecs of all memcgs above have paid as well
 * @file: pages of files, not anonymous ones
 * @nr_io: pages written, or read again
 * @nr_rotated: pages scanned for nothing
 *
 * Reclaim divides its work between the two kinds by what each has cost. An I/O counts as much as
 * a batch of scanned pages. Old costs count less and less: when the sum grows beyond a quarter of
 * the lists' length, both are halved.
 *
 * Context: interrupts on. The caller keeps @lruvec: it reclaims there, or holds the RCU read lock
 * and a folio of it that is on no list yet.
 */
void lru_note_cost(struct lruvec *lruvec, bool file, unsigned int nr_io, unsigned int nr_rotated)
{
	unsigned long cost = (unsigned long)nr_io * SWAP_CLUSTER_MAX + nr_rotated;

	for (; lruvec; lruvec = parent_lruvec(lruvec)) {
		unsigned long *sum = file ? &lruvec->file_cost : &lruvec->anon_cost;

		spin_lock_irq(&lruvec->lru_lock);
		*sum += cost;
		if (lruvec->anon_cost + lruvec->file_cost > lruvec_pages(lruvec) / 4) {
			lruvec->anon_cost /= 2;
			lruvec->file_cost /= 2;
		}
		spin_unlock_irq(&lruvec->lru_lock);
	}
}

/**
 * lru_note_cost_refault() - a folio had to be read again soon after it was reclaimed
 * @folio: locked, charged, on no list yet
 *
 * Context: as lru_note_cost(); the RCU read lock is held.
 */
void lru_note_cost_refault(struct folio *folio)
{
	lru_note_cost(folio_lruvec(folio), folio_is_file_lru(folio), folio_nr_pages(folio), 0);
}

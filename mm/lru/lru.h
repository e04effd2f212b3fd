/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of mm/lru know of each other.
 *
 *	place.c			which move a folio needs: folio_add_lru(), folio_activate(), ...
 *	mlock_folio.c		the same for locked memory: mlock_folio(), munlock_folio(), ...
 *	  |  lru_batch_add(folio, op)
 *	  v
 *	batch.c			moves wait, per CPU, until many can be made together
 *	  |  lru_move_folio(move, folio, op)
 *	  v
 *	move.c			the moves themselves
 *	  v
 *	unevictable.c		a folio that nobody could move when it stopped being unevictable
 *	  |  lru_move_to(), _del(), _add(), _end()
 *	  v
 *	lruvec.c		one lruvec locked, statistics summed up
 *
 *	mlock_vma.c		mlock(2) and its kin, for folios that a locked page table holds;
 *				down to lruvec.c without a batch
 *	fault_in.c		what mlock(2) found missing
 *	release.c		folios of no more use leave their list; it needs lruvec.c alone, and
 *				batch.c it, for what a batch was the last to hold
 *
 * Calls go downwards.
 *
 * unevictable.h has the state of a folio that reclaim must leave alone.
 */
#ifndef MM_LRU_LRU_H
#define MM_LRU_LRU_H

#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/pagevec.h>
#include <linux/swap.h>

#include "../internal.h"

/**
 * enum lru_op - what is to be done with a folio
 * @LRU_ADD: give a folio that is on no list its first place
 * @LRU_ACTIVATE: to the head of the active list
 * @LRU_DEACTIVATE: to the head of the inactive list
 * @LRU_DROP_BEHIND: a page of a file that could not be dropped: to the inactive list
 * @LRU_LAZYFREE: an anonymous folio whose contents may be lost: to the inactive file list
 * @LRU_WRITTEN: written out and clean: to the tail of the inactive list
 * @LRU_MLOCK: was mlocked once more: to be unevictable, or counted there
 * @LRU_MLOCK_VOID: the same, and what was counted there before is void
 * @LRU_MLOCK_NEW: LRU_ADD and LRU_MLOCK at once
 * @LRU_MUNLOCK: counted down, and evictable again with the last of them
 */
enum lru_op {
	LRU_ADD,
	LRU_ACTIVATE,
	LRU_DEACTIVATE,
	LRU_DROP_BEHIND,
	LRU_LAZYFREE,
	LRU_WRITTEN,
	LRU_MLOCK,
	LRU_MLOCK_VOID,
	LRU_MLOCK_NEW,
	LRU_MUNLOCK,
};

/* Does the folio come from nowhere? All other moves begin with taking PG_lru. */
static inline bool lru_op_is_new(enum lru_op op)
{
	return op == LRU_ADD || op == LRU_MLOCK_NEW;
}

/* --- batch.c ---------------------------------------------------------------------------- */

void lru_batch_add(struct folio *folio, enum lru_op op);
void lru_batch_add_irq(struct folio *folio, enum lru_op op);
void lru_batch_activate(struct folio *folio);

/* --- move.c ----------------------------------------------------------------------------- */

/**
 * struct lru_move - folios on their way to other lists
 * @lruvec: the one whose lock is held; NULL when none is
 * @memcg: of @lruvec's folios
 * @zone: of the folios in @size and @mlocked, as page_zone_id() says it
 * @zid: the same, as an index into the node's zones
 * @flags: interrupt state from before
 * @size: by how many pages each list grew, not yet in the statistics
 * @mlocked: by how much NR_MLOCK grew, not yet in the statistics
 *
 * The lock is taken again, and the statistics are told, only when a folio belongs elsewhere.
 */
struct lru_move {
	struct lruvec *lruvec;
	struct mem_cgroup *memcg;
	int zone;
	int zid;
	unsigned long flags;
	long size[NR_LRU_LISTS];
	long mlocked;
};

void lru_move_folio(struct lru_move *mv, struct folio *folio, enum lru_op op);

/* --- unevictable.c ---------------------------------------------------------------------- */

void lru_rescue(struct lru_move *mv, struct folio *folio);
void munlock_folio_elsewhere(struct lru_move *mv, struct folio *folio);

/* --- lruvec.c --------------------------------------------------------------------------- */

void lru_move_switch(struct lru_move *mv, struct folio *folio);
void lru_move_unlock(struct lru_move *mv);

static __always_inline void lru_move_init(struct lru_move *mv)
{
	mv->lruvec = NULL;
}

/* Let go of the lock; everything is accounted. */
static __always_inline void lru_move_end(struct lru_move *mv)
{
	if (mv->lruvec)
		lru_move_unlock(mv);
}

/*
 * Lock the lruvec of @folio. Whoever calls has taken PG_lru, or nobody else has the folio: so
 * its memcg does not change.
 */
static __always_inline void lru_move_to(struct lru_move *mv, struct folio *folio)
{
	if (unlikely(!mv->lruvec || mv->zone != page_zone_id(&folio->page) ||
		     mv->memcg != folio_memcg(folio)))
		lru_move_switch(mv, folio);
}

#ifdef CONFIG_LRU_GEN
/*
 * Is the folio in a generation? Then it left the classic lists, and the calls below keep the
 * books. A folio may be in one while the generations are being switched off, and the other way.
 */
static __always_inline bool lru_in_generation(const struct folio *folio)
{
	return folio_lru_gen((struct folio *)folio) >= 0;
}

static __always_inline bool lru_has_generations(const struct lruvec *lruvec)
{
	return lruvec->lrugen.enabled;
}
#else
static __always_inline bool lru_in_generation(const struct folio *folio)
{
	return false;
}

static __always_inline bool lru_has_generations(const struct lruvec *lruvec)
{
	return false;
}
#endif

/* Off its list. @mv is at its lruvec; the flags still say which list that is; @nr: its pages. */
static __always_inline void lru_move_del(struct lru_move *mv, struct folio *folio, long nr)
{
	enum lru_list lru = folio_lru_list(folio);

	if (unlikely(lru_in_generation(folio))) {
		lru_gen_del_folio(mv->lruvec, folio, false);
		return;
	}
	if (lru != LRU_UNEVICTABLE)
		list_del(&folio->lru);
	mv->size[lru] -= nr;
}

/* Onto the list that its flags name; @tail: where reclaim looks first. */
static __always_inline void lru_move_add(struct lru_move *mv, struct folio *folio, long nr,
					 bool tail)
{
	enum lru_list lru = folio_lru_list(folio);

	if (unlikely(lru_has_generations(mv->lruvec)) &&
	    lru_gen_add_folio(mv->lruvec, folio, tail))
		return;
	mv->size[lru] += nr;
	if (lru == LRU_UNEVICTABLE)
		return;		/* no list: the link holds the count of mlocks */
	if (tail)
		list_add_tail(&folio->lru, &mv->lruvec->lists[lru]);
	else
		list_add(&folio->lru, &mv->lruvec->lists[lru]);
}

/**
 * lru_move_take - take a folio off its list, for a caller that has a reference
 * @mv: folios on their way
 * @folio: the folio
 *
 * folio_isolate_lru(), for many: the reference is the caller's own. Account it as isolated, give it
 * back with folio_putback_lru().
 *
 * Context: process context. The lruvec's lock is held, with interrupts off, until lru_move_end().
 * Return: false when somebody else has it off its list.
 */
static __always_inline bool lru_move_take(struct lru_move *mv, struct folio *folio)
{
	if (unlikely(!folio_test_clear_lru(folio)))
		return false;
	lru_move_to(mv, folio);
	lru_move_del(mv, folio, folio_nr_pages(folio));
	return true;
}

/* --- place.c ---------------------------------------------------------------------------- */

void folios_add_lru(struct folio **folios, unsigned int nr);

/* --- mlock_folio.c ---------------------------------------------------------------------- */

void mlock_folio_now(struct lru_move *mv, struct folio *folio);
void munlock_folio_now(struct lru_move *mv, struct folio *folio);

/* --- mlock_vma.c, fault_in.c ------------------------------------------------------------ */

/* Is locked memory of a VMA with @flags to be filled as if it were written to? */
static __always_inline bool mlock_writes(vm_flags_t flags)
{
	return (flags & (VM_WRITE | VM_SHARED)) == VM_WRITE;
}

/*
 * Is a present entry as a fault would leave it? One that is to be written and clean might be given
 * up. One of NUMA hinting cannot be written to, but a page to be read is there.
 */
static __always_inline bool mlock_pte_filled(pte_t pte, bool write)
{
	return !write || (pte_write(pte) && pte_dirty(pte));
}

static __always_inline bool mlock_pmd_filled(pmd_t pmd, bool write)
{
	return !write || (pmd_write(pmd) && pmd_dirty(pmd));
}

/* --- release.c -------------------------------------------------------------------------- */

void lru_release(struct folio_batch *dead);

#endif

// SPDX-License-Identifier: GPL-2.0
/*
 * The life of folios on their way. The states are drawn in migrate.h; set_state() changes them.
 *
 *	move_provide()		one folio:	ISOLATED -> TARGETED
 *	move_prepare()		one folio:	TARGETED -> LOCKED -> READY
 *	moves_unmap()		all of them:	READY -> UNMAPPED
 *		(the TLBs are flushed once)
 *	moves_carry_out()	a few at once:	UNMAPPED -> MOVED -> DONE
 *	move_undo()		one folio:	back, from wherever it is
 *
 * While a folio is UNMAPPED, faults on it wait for its lock, GUP finds no page, and neither fork
 * nor munmap harms: they copy or drop the migration entry. A reference from before is noticed by
 * the count of references, and a fork that was faster than the walk by that of maps.
 */
#include <linux/buffer_head.h>
#include <linux/page_owner.h>
#include <linux/pagevec.h>
#include <linux/sched.h>

#include "../lru/lru.h"
#include "../rmap/rmap.h"
#include "migrate.h"

static __always_inline void set_state(struct move *move, enum move_state state)
{
	VM_WARN_ON_ONCE(state >= MOVE_LOCKED && state <= MOVE_MOVED &&
			!folio_test_locked(move->src));
	VM_WARN_ON_ONCE((state == MOVE_READY || state == MOVE_UNMAPPED || state == MOVE_MOVED) &&
			!folio_test_locked(move->dst));
	move->state = state;
}

static inline bool is_driver_page(const struct move *move)
{
	/* Isolated: it stays one until its driver has let it go, and that is noticed later. */
	return data_race(__folio_test_movable(move->src));
}

/* --- ready ------------------------------------------------------------------------------ */

/*
 * Lock the folio, if it is allowed to wait for that. Not in direct compaction: a reader may have
 * locked several folios, of which it has submitted none yet, and now allocates memory for the
 * next. Nor lightly for a folio whose contents are just being read.
 */
static bool lock_source(struct folio *src, enum migrate_mode mode)
{
	if (folio_trylock(src))
		return true;
	if (mode == MIGRATE_ASYNC || current->flags & PF_MEMALLOC)
		return false;
	if (mode == MIGRATE_SYNC_LIGHT && !folio_test_uptodate(src))
		return false;
	folio_lock(src);
	return true;
}

/*
 * Once its last mapping has gone, nothing else keeps the anon_vma, which is needed to find the
 * migration entries again. Neighbours share one reference; it is kept to the end of the batch.
 * Without any mapping there is none to be had, and none is needed: no mapping can come while the
 * folio is locked.
 *
 * An anon_vma that is pinned cannot be freed and made again, so being equal to it says that the
 * folio's is pinned. A fault may give the folio to another one between two tries; others may rely
 * on the first, so it is not let go of, and this folio is not moved now.
 */
static bool pin_anon_vma(struct migrate_batch *batch, struct move *move)
{
	struct folio *src = move->src;
	struct anon_vma *av;

	if (!folio_test_anon(src) || folio_test_ksm(src))
		return true;
	av = folio_anon_vma(src);
	if (av == batch->pinned || av == move->pin)
		return true;
	if (move->pin)
		return false;
	move->pin = folio_get_anon_vma(src);
	if (move->pin)
		batch->pinned = move->pin;
	return true;
}

/* From LOCKED to READY. */
static int make_ready(struct migrate_batch *batch, struct move *move)
{
	struct folio *src = move->src;

	if (unlikely(folio_test_writeback(src))) {
		if (batch->mode != MIGRATE_SYNC)
			return -EBUSY;
		folio_wait_writeback(src);
	}
	if (!pin_anon_vma(batch, move))
		return -EAGAIN;
	/* A scan of all memory may have locked it, taking it for what it was before. */
	if (unlikely(!folio_trylock(move->dst)))
		return -EAGAIN;
	set_state(move, MOVE_READY);
	return 0;
}

/*
 * Truncated while a file system held it by its buffers: nobody but us can find it any more. With
 * them gone it can be freed. And what was just read into the swap cache has no mapping yet, and
 * no reverse map: nothing to unmap.
 */
static bool orphan_with_buffers(struct move *move)
{
	struct folio *src = move->src;

	if (likely(src->mapping) || is_driver_page(move) || !folio_test_private(src))
		return false;
	try_to_free_buffers(src);
	return true;
}

static void count_success(struct migrate_batch *batch, struct folio *folio)
{
	batch->stats.succeeded += folio_nr_pages(folio);
	batch->stats.thp_succeeded += folio_is_thp(folio);
}

/* --- done ------------------------------------------------------------------------------- */

/* Folios that are done with, to be counted and freed together. */
struct leaving {
	struct folio_batch dead;
	struct isolated isolated;
};

static void leaving_init(struct leaving *leaving)
{
	folio_batch_init(&leaving->dead);
	leaving->isolated = (struct isolated){};
}

static void leaving_end(struct leaving *leaving)
{
	isolated_end(&leaving->isolated);
	/* One alone, as NUMA balancing has it, is freed quicker without the batch. */
	if (folio_batch_count(&leaving->dead) == 1)
		folio_put(leaving->dead.folios[0]);
	else if (folio_batch_count(&leaving->dead))
		folios_put(&leaving->dead);
}

/*
 * Our reference, the last one, goes; a folio of memory failure stays with whom asked for it.
 * Pages of drivers were never counted as isolated, nor is demotion's way of isolating.
 */
static void leave(struct leaving *leaving, struct migrate_batch *batch, struct move *move)
{
	struct folio *src = move->src;

	if (!is_driver_page(move) && batch->call->reason != MR_DEMOTION)
		isolated_add(&leaving->isolated, src, -1);
	list_del(&src->lru);
	set_state(move, MOVE_DONE);
	if (batch->call->reason != MR_MEMORY_FAILURE && !folio_batch_add(&leaving->dead, src))
		folios_put(&leaving->dead);
}

/* It was freed but for our reference: then that is all there was to do. */
static void drop_freed(struct migrate_batch *batch, struct move *move)
{
	struct leaving leaving;

	if (move->dst)
		move_undo(batch, move, MOVE_ISOLATED);
	folio_clear_active(move->src);
	folio_clear_unevictable(move->src);
	count_success(batch, move->src);
	leaving_init(&leaving);
	leave(&leaving, batch, move);
	leaving_end(&leaving);
}

/**
 * move_provide - get a target for a folio
 * @batch: whose
 * @move: in state ISOLATED or TARGETED
 *
 * Return: 0: it is TARGETED, or DONE since nobody had it any more; -ENOMEM: as before.
 */
int move_provide(struct migrate_batch *batch, struct move *move)
{
	if (unlikely(folio_ref_count(move->src) == 1)) {
		drop_freed(batch, move);
		return 0;
	}
	if (move->dst)
		return 0;
	move->dst = target_get(batch->call, move->src, batch->nr - (move - batch->moves));
	if (!move->dst)
		return -ENOMEM;
	set_state(move, MOVE_TARGETED);
	return 0;
}

/**
 * move_prepare - do all that can be done for a folio alone, before mappings are taken away
 * @batch: whose
 * @move: in state TARGETED
 *
 * Return: 0: it is READY; an error: TARGETED.
 */
int move_prepare(struct migrate_batch *batch, struct move *move)
{
	int err;

	if (!lock_source(move->src, batch->mode))
		return -EAGAIN;
	set_state(move, MOVE_LOCKED);
	err = make_ready(batch, move);
	if (!err && unlikely(orphan_with_buffers(move)))
		err = -EAGAIN;
	if (unlikely(err))
		move_undo(batch, move, MOVE_TARGETED);
	return err;
}

/* --- unmapped --------------------------------------------------------------------------- */

/* Some moves that are made together. */
struct few {
	struct move *move[MIGRATE_CHUNK];
	unsigned int nr;
};

/* False: it is full. */
static __always_inline bool few_add(struct few *few, struct move *move)
{
	few->move[few->nr] = move;
	return ++few->nr < MIGRATE_CHUNK;
}

/* Return: how many could not be unmapped. */
static unsigned int unmap_few(struct migrate_batch *batch, struct few *few)
{
	struct folio *src[MIGRATE_CHUNK];
	unsigned int i, failed = 0;

	for (i = 0; i < few->nr; i++)
		src[i] = few->move[i]->src;
	rmap_migrate_folios(src, few->nr,
			    batch->mode == MIGRATE_ASYNC ? TTU_BATCH_FLUSH : 0);
	for (i = 0; i < few->nr; i++) {
		struct move *move = few->move[i];

		/* Also if it was not quite unmapped, there are entries to be put back. */
		move->mapped = true;
		set_state(move, MOVE_UNMAPPED);
		if (unlikely(folio_mapped(move->src))) {
			move_undo(batch, move, MOVE_TARGETED);
			move->err = -EAGAIN;
			failed++;
		}
	}
	few->nr = 0;
	return failed;
}

/**
 * moves_unmap - put migration entries in the place of the mappings of all that is READY
 * @batch: the batch
 *
 * What could not be unmapped is TARGETED again, with -EAGAIN. The TLBs are not flushed yet.
 *
 * Return: how many could not.
 */
unsigned int moves_unmap(struct migrate_batch *batch)
{
	struct move *move, *end = batch->moves + batch->nr;
	unsigned int failed = 0;
	struct few few;

	few.nr = 0;
	for (move = batch->moves; move < end; move++) {
		if (move->state != MOVE_READY)
			continue;
		if (is_driver_page(move) || !move->src->mapping || !folio_mapped(move->src)) {
			set_state(move, MOVE_UNMAPPED);
		} else if (!few_add(&few, move)) {
			failed += unmap_few(batch, &few);
			cond_resched();
		}
	}
	if (few.nr)
		failed += unmap_few(batch, &few);
	return failed;
}

/* --- moved ------------------------------------------------------------------------------ */

/* Was a large folio on the queue of those to be split? Known only until it is moved. */
enum queued {
	NOT_QUEUED,
	QUEUED,
	QUEUED_PARTLY_MAPPED,
};

static enum queued was_queued(struct folio *src)
{
	/* Others may queue or split it: a place in the queue more or less is no harm. */
	if (folio_order(src) <= 1 || data_race(list_empty(&src->_deferred_list)))
		return NOT_QUEUED;
	return folio_test_partially_mapped(src) ? QUEUED_PARTLY_MAPPED : QUEUED;
}

static __always_inline int move_contents(struct migrate_batch *batch, struct move *move,
					 u8 *queued)
{
	*queued = NOT_QUEUED;
	if (unlikely(is_driver_page(move)))
		return migrate_movable(&move->dst->page, &move->src->page, batch->mode);
	if (folio_test_large(move->src))
		*queued = was_queued(move->src);
	return migrate_contents(move->dst, move->src, batch->mode);
}

/* So many folios are worth lru_lock; fewer go by way of this CPU's batch. */
#define WORTH_LOCKING	4

/* New folios go onto their lists before they are mapped: locked memory is counted there. */
static noinline void place_few(struct few *few)
{
	struct folio *dst[MIGRATE_CHUNK];
	unsigned int i;

	for (i = 0; i < few->nr; i++)
		dst[i] = few->move[i]->dst;
	if (few->nr >= WORTH_LOCKING)
		folios_add_lru(dst, few->nr);
	else
		for (i = 0; i < few->nr; i++)
			folio_add_lru(dst[i]);
}

static noinline void restore_few(struct few *few)
{
	struct folio *src[MIGRATE_CHUNK], *dst[MIGRATE_CHUNK];
	unsigned int i, nr = 0;

	for (i = 0; i < few->nr; i++) {
		if (!few->move[i]->mapped)
			continue;
		src[nr] = few->move[i]->src;
		dst[nr++] = few->move[i]->dst;
	}
	if (nr)
		rmap_restore_folios(src, dst, nr);
}

/*
 * Everybody may have it. The new folio's owners have references of their own; the old one has none
 * but ours.
 */
static void finish(struct migrate_batch *batch, struct move *move, struct leaving *leaving)
{
	folio_unlock(move->dst);
	set_page_owner_migrate_reason(&move->dst->page, batch->call->reason);
	folio_put(move->dst);
	count_success(batch, move->src);
	folio_unlock(move->src);
	leave(leaving, batch, move);
}

static void carry_out_few(struct migrate_batch *batch, struct few *few, const u8 *queued,
			  struct leaving *leaving)
{
	unsigned int i;

	if (!few->nr)
		return;
	place_few(few);
	restore_few(few);
	for (i = 0; i < few->nr; i++) {
		if (unlikely(queued[i] != NOT_QUEUED))
			deferred_split_folio(few->move[i]->dst, queued[i] == QUEUED_PARTLY_MAPPED);
		finish(batch, few->move[i], leaving);
	}
	few->nr = 0;
}

/*
 * Not moved. True: only tried again, as it is. What is being written has to be waited for, and
 * unmapped again, first.
 */
static bool carry_out_failed(struct migrate_batch *batch, struct move *move)
{
	switch (move->err) {
	case -EAGAIN:
		return true;
	case -EINPROGRESS:
		move_undo(batch, move, MOVE_TARGETED);
		move->err = -EAGAIN;
		batch->anew = true;
		return false;
	default:
		move_undo(batch, move, MOVE_ISOLATED);
		return false;
	}
}

/* Drivers and some file systems may sleep, in an asynchronous migration, too. */
static __always_inline bool may_sleep(const struct move *move)
{
	if (likely(folio_test_anon(move->src) && !folio_test_swapcache(move->src)))
		return false;
	return is_driver_page(move) ||
	       (move->src->mapping && migrate_contents_sleeps(move->src));
}

/* Folios on the last part of their way: to be mapped together, and to be left. */
struct arriving {
	struct few few;
	u8 queued[MIGRATE_CHUNK];
	unsigned long pages;
	struct leaving leaving;
};

static void arrive(struct migrate_batch *batch, struct arriving *to)
{
	carry_out_few(batch, &to->few, to->queued, &to->leaving);
	to->pages = 0;
}

/* Return: whether the move shall be tried again as it is. */
static __always_inline bool carry_out(struct migrate_batch *batch, struct move *move,
				      struct arriving *to)
{
	cond_resched();
	move->err = move_contents(batch, move, &to->queued[to->few.nr]);
	if (unlikely(move->err))
		return carry_out_failed(batch, move);
	set_state(move, MOVE_MOVED);
	/* A page of a driver needs neither list nor mappings. */
	if (unlikely(is_driver_page(move))) {
		finish(batch, move, &to->leaving);
		return false;
	}
	to->pages += folio_nr_pages(move->src);
	if (!few_add(&to->few, move) || to->pages >= MIGRATE_CHUNK_PAGES)
		arrive(batch, to);
	return false;
}

/* What may sleep: one after the other, while nothing that was moved is left unmapped for it. */
static noinline unsigned int carry_out_slow(struct migrate_batch *batch, struct arriving *to)
{
	struct move *move, *end = batch->moves + batch->nr;
	unsigned int again = 0;

	for (move = batch->moves; move < end; move++) {
		if (move->state != MOVE_UNMAPPED || !may_sleep(move))
			continue;
		again += carry_out(batch, move, to);
		arrive(batch, to);
	}
	return again;
}

/**
 * moves_carry_out - copy and exchange all that is UNMAPPED, and bring it to its end
 * @batch: the batch; the TLBs have been flushed
 *
 * What may succeed later is UNMAPPED still, with -EAGAIN; for other errors the move is undone.
 * Faults wait as long as a folio is unmapped, so what may sleep comes after all others are mapped.
 *
 * Return: how many shall be tried again.
 */
unsigned int moves_carry_out(struct migrate_batch *batch)
{
	struct move *move, *end = batch->moves + batch->nr;
	unsigned int again = 0, slow = 0;
	struct arriving to;

	to.few.nr = 0;
	to.pages = 0;
	leaving_init(&to.leaving);
	for (move = batch->moves; move < end; move++) {
		if (move->state != MOVE_UNMAPPED)
			continue;
		if (unlikely(may_sleep(move)))
			slow++;
		else
			again += carry_out(batch, move, &to);
	}
	arrive(batch, &to);
	if (unlikely(slow))
		again += carry_out_slow(batch, &to);
	leaving_end(&to.leaving);
	return again;
}

/* --- back ------------------------------------------------------------------------------- */

/**
 * move_undo - take back what was done, exactly
 * @batch: whose
 * @move: not MOVED yet
 * @to: how far back, ISOLATED or TARGETED
 */
void move_undo(struct migrate_batch *batch, struct move *move, enum move_state to)
{
	switch (move->state) {
	case MOVE_UNMAPPED:
		if (move->mapped)
			rmap_restore_folios(&move->src, &move->src, 1);
		move->mapped = false;
		fallthrough;
	case MOVE_READY:
		folio_unlock(move->dst);
		fallthrough;
	case MOVE_LOCKED:
		folio_unlock(move->src);
		fallthrough;
	case MOVE_TARGETED:
		if (to == MOVE_TARGETED)
			break;
		target_put(batch->call, move->dst);
		move->dst = NULL;
		break;
	default:
		WARN_ON_ONCE(move->state != MOVE_ISOLATED);
		return;
	}
	set_state(move, to);
}

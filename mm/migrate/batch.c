// SPDX-License-Identifier: GPL-2.0
/*
 * migrate_pages(): folios go to other frames, many at once.
 *
 *	from --> hugetlb folios one by one (hugetlb.c)
 *	  |
 *	  |  512 pages at a time
 *	  v
 *	batch:	targets, locks --> unmap all --> flush TLBs once --> copy, exchange, map --> done
 *		   |  again, in case of -EAGAIN      ^  |			|
 *		   +---------------------------------+  +--- again -------------+
 *		   |
 *		   +--> given up: back to the caller, who puts them back
 *		   +--> no target for a large folio: split, the parts are tried at the end
 *
 * A synchronous migration may wait: for locks, for write-back. A task that waits must not hold
 * locks for which others wait that way. So a batch never waits: MIGRATE_ASYNC. What it could not
 * move is then migrated in the caller's mode, one folio at a time.
 *
 * All statistics are in struct migrate_stats, added up at the end of a batch; see tally().
 */
#include <linux/export.h>
#include <linux/rmap.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vmstat.h>

#include <trace/events/migrate.h>

#include "migrate.h"

/* --- large folios ----------------------------------------------------------------------- */

/* Into the list of what is tried at the end. The folio stays where it is if that fails. */
static int split_large(struct migrate_batch *batch, struct folio *folio)
{
	struct list_head *parts = &batch->call->split;
	int err;

	if (batch->mode != MIGRATE_ASYNC)
		folio_lock(folio);
	else if (!folio_trylock(folio))
		return -EAGAIN;
	err = split_folio_to_list(folio, parts);
	folio_unlock(folio);
	if (!err)
		list_move_tail(&folio->lru, parts);
	return err;
}

static int move_split(struct migrate_batch *batch, struct move *move)
{
	bool thp = folio_is_thp(move->src);
	int err = split_large(batch, move->src);

	if (err)
		return err;
	batch->stats.split++;
	batch->stats.thp_split += thp;
	batch->stats.thp_failed += thp;
	move->split = true;
	move->err = 0;
	return 0;
}

/*
 * A folio that waits to be split as parts of it are unused is split rather than moved. The queue
 * is only looked at: the split takes the folio off it.
 */
static bool split_rather(struct migrate_batch *batch, struct folio *folio)
{
	if (batch->keep || folio_order(folio) <= 1)
		return false;
	/* Others may queue or split it: the split itself looks again. */
	return !data_race(list_empty(&folio->_deferred_list)) &&
	       folio_test_partially_mapped(folio);
}

/* --- passes ----------------------------------------------------------------------------- */

/*
 * No target. A large folio may find some for its parts; for NUMA balancing it is not worth that.
 * True: -ENOMEM is not the end.
 */
static bool without_target(struct migrate_batch *batch, struct move *move)
{
	int err;

	if (!folio_test_large(move->src) || batch->keep ||
	    batch->call->reason == MR_NUMA_MISPLACED)
		return false;
	err = move_split(batch, move);
	/* Whoever pins for long needs it moved: the reason why it could not be split may pass. */
	if (err == -EAGAIN && batch->call->reason == MR_LONGTERM_PIN) {
		move->err = -EAGAIN;
		return true;
	}
	return !err;
}

/* Is the move to be tried, or tried again? */
static bool move_pending(const struct move *move)
{
	return (move->state == MOVE_ISOLATED || move->state == MOVE_TARGETED) && !move->split &&
	       (!move->err || move->err == -EAGAIN);
}

/* Get a target for a folio, or split it. False: memory is short, stop. */
static bool provide(struct migrate_batch *batch, struct move *move)
{
	struct folio *src = move->src;

	if (unlikely(folio_test_large(src))) {
		if (split_rather(batch, src) && !move_split(batch, move))
			return true;
		if (!thp_migration_supported() && folio_is_thp(src)) {
			if (batch->keep || move_split(batch, move))
				move->err = -EOPNOTSUPP;
			return true;
		}
	}
	move->err = move_provide(batch, move);
	return likely(!move->err) || without_target(batch, move);
}

/* Return: 0, or -ENOMEM. *@again: how many shall be tried again. */
static int prepare_all(struct migrate_batch *batch, unsigned int *again)
{
	struct move *move, *end = batch->moves + batch->nr;
	int err = 0;

	*again = 0;
	for (move = batch->moves; move < end && !err; move++) {
		if (!move_pending(move))
			continue;
		if (!provide(batch, move))
			err = -ENOMEM;
		*again += move->err == -EAGAIN;
	}
	for (move = batch->moves; move < end; move++) {
		if (move->state != MOVE_TARGETED || !move_pending(move))
			continue;
		move->err = move_prepare(batch, move);
		*again += move->err == -EAGAIN;
	}
	cond_resched_tasks_rcu_qs();
	*again += moves_unmap(batch);
	return err;
}

static void undo_rest(struct migrate_batch *batch)
{
	struct move *move, *end = batch->moves + batch->nr;

	for (move = batch->moves; move < end; move++)
		if (move->state != MOVE_DONE)
			move_undo(batch, move, MOVE_ISOLATED);
	/* Only now: neighbours relied on them. */
	for (move = batch->moves; move < end; move++)
		if (move->pin)
			put_anon_vma(move->pin);
}

/*
 * Count what is not done. Folios that were not tried, as memory was short, do not count. What can
 * be tried again stays on the list, what cannot goes to the given up ones.
 *
 * Return: how many folios failed; one that was split is one.
 */
static int tally(struct migrate_batch *batch)
{
	struct move *move, *end = batch->moves + batch->nr;
	int failed = 0;

	for (move = batch->moves; move < end; move++) {
		if (move->state == MOVE_DONE || (!move->err && !move->split))
			continue;
		failed++;
		if (move->split)
			continue;
		batch->stats.failed += folio_nr_pages(move->src);
		batch->stats.thp_failed += folio_is_thp(move->src);
		if (move->err != -EAGAIN && move->err != -ENOMEM)
			list_move_tail(&move->src->lru, &batch->call->given_up);
	}
	return failed;
}

/*
 * From the beginning to the end, each part as often as is allowed. Return: 0, or -ENOMEM when it
 * ended for want of memory.
 */
static int run_through(struct migrate_batch *batch)
{
	unsigned int again = 1;
	int pass, err = 0;

	for (pass = 0; pass < batch->tries && again && !err; pass++)
		err = prepare_all(batch, &again);
	try_to_unmap_flush();
	again = 1;
	for (pass = 0; pass < batch->tries && again; pass++)
		again = moves_carry_out(batch);
	return err;
}

/**
 * run_batch - migrate the folios of a batch
 * @batch: with moves, nr, mode and tries
 *
 * Return: how many failed; -ENOMEM when it ended for want of memory.
 */
static int run_batch(struct migrate_batch *batch)
{
	int err, failed;

	VM_WARN_ON_ONCE(batch->mode != MIGRATE_ASYNC && batch->nr > 1);
	err = run_through(batch);
	/* What had to be written has been written. */
	if (unlikely(batch->anew) && !err)
		err = run_through(batch);
	undo_rest(batch);
	failed = tally(batch);
	return err ?: failed;
}

static void stats_add(struct migrate_stats *to, const struct migrate_stats *more)
{
	to->succeeded += more->succeeded;
	to->failed += more->failed;
	to->thp_succeeded += more->thp_succeeded;
	to->thp_failed += more->thp_failed;
	to->thp_split += more->thp_split;
	to->split += more->split;
}

/* The folios of @list, as many as there is room for, get a move each. */
static void batch_fill(struct migrate_batch *batch, struct migrate_call *call,
		       struct list_head *list, struct move *moves, unsigned int max)
{
	struct folio *folio;

	memset(batch, 0, sizeof(*batch));
	batch->call = call;
	batch->moves = moves;
	list_for_each_entry(folio, list, lru) {
		if (batch->nr == max)
			break;
		moves[batch->nr++] = (struct move){ .src = folio };
	}
}

/* One after the other, in the caller's mode. */
static int migrate_each_alone(struct migrate_call *call, struct list_head *list)
{
	struct migrate_batch batch;
	int failed = 0, err;
	LIST_HEAD(single);
	struct move move;

	while (!list_empty(list)) {
		list_move(list->next, &single);
		batch_fill(&batch, call, &single, &move, 1);
		batch.mode = call->mode;
		batch.tries = MIGRATE_TRIES_ONE;
		err = run_batch(&batch);
		stats_add(&call->stats, &batch.stats);
		list_splice_tail_init(&single, &call->given_up);
		if (err < 0)
			return err;
		failed += err;
	}
	return failed;
}

/*
 * A batch, and what is left of it singly if the mode allows to wait. What failed in the batch is
 * then tried again, so only what was split counts as failed.
 */
static int migrate_together(struct migrate_call *call, struct list_head *list, struct move *moves,
			    unsigned int max)
{
	bool sync = call->mode != MIGRATE_ASYNC;
	struct migrate_batch batch;
	LIST_HEAD(before);
	int err;

	list_splice_init(&call->given_up, &before);
	batch_fill(&batch, call, list, moves, max);
	batch.tries = sync ? MIGRATE_TRIES_BATCH : MIGRATE_TRIES;
	batch.mode = MIGRATE_ASYNC;
	err = run_batch(&batch);
	if (sync && err >= 0) {
		batch.stats.failed = 0;
		batch.stats.thp_failed = batch.stats.thp_split;
		list_splice_tail_init(&call->given_up, list);
		err = migrate_each_alone(call, list);
		if (err >= 0)
			err += batch.stats.split;
	}
	stats_add(&call->stats, &batch.stats);
	list_splice_tail_init(list, &call->given_up);
	list_splice(&before, &call->given_up);
	return err;
}

/*
 * Parts of large folios: one try, as long as there is memory. That the whole has failed is counted
 * already.
 */
static void migrate_parts(struct migrate_call *call, struct move *moves, unsigned int max)
{
	struct migrate_batch batch;
	LIST_HEAD(parts);
	int err;

	list_splice_init(&call->split, &parts);
	while (!list_empty(&parts)) {
		LIST_HEAD(some);

		batch_fill(&batch, call, &parts, moves, max);
		list_cut_position(&some, &parts, &moves[batch.nr - 1].src->lru);
		batch.mode = MIGRATE_ASYNC;
		batch.tries = 1;
		batch.keep = true;
		err = run_batch(&batch);
		stats_add(&call->stats, &batch.stats);
		list_splice_tail_init(&some, &call->given_up);
		if (err < 0)
			break;
	}
	list_splice_tail(&parts, &call->given_up);
}

/* --- the call --------------------------------------------------------------------------- */

/* The next folios, of 512 pages in all or @max; hugetlb folios that failed are sorted out. */
static void cut_batch(struct migrate_call *call, struct list_head *list, unsigned int max)
{
	struct folio *folio, *next;
	unsigned long pages = 0;

	list_for_each_entry_safe(folio, next, call->from, lru) {
		if (folio_test_hugetlb(folio)) {
			list_move_tail(&folio->lru, &call->given_up);
			continue;
		}
		pages += folio_nr_pages(folio);
		list_move_tail(&folio->lru, list);
		if (pages >= MIGRATE_BATCH_PAGES || !--max)
			break;
	}
}

static int migrate_in_batches(struct migrate_call *call, struct move *moves, unsigned int max)
{
	int failed = 0, err;

	do {
		LIST_HEAD(list);

		cut_batch(call, &list, max);
		if (list_empty(&list))
			break;
		err = migrate_together(call, &list, moves, max);
		if (err < 0) {
			list_splice_tail_init(&call->split, &call->given_up);
			return err;
		}
		if (!list_empty(&call->split))
			migrate_parts(call, moves, max);
		failed += err;
	} while (!list_empty(call->from));
	return failed;
}

static bool list_is_longer(struct list_head *list, unsigned int nr)
{
	struct list_head *at;

	list_for_each(at, list)
		if (!nr--)
			return true;
	return false;
}

/* Few folios: noinline, so that the stack has room for them only as long. */
static noinline int migrate_on_stack(struct migrate_call *call)
{
	struct move few[MIGRATE_FEW];

	return migrate_in_batches(call, few, MIGRATE_FEW);
}

/* One folio, and nothing to wait for, as NUMA balancing has it: no lists to cut and to join. */
static noinline int migrate_only_one(struct migrate_call *call)
{
	struct migrate_batch batch;
	struct move one;
	int err;

	batch_fill(&batch, call, call->from, &one, 1);
	batch.mode = MIGRATE_ASYNC;
	batch.tries = MIGRATE_TRIES;
	err = run_batch(&batch);
	stats_add(&call->stats, &batch.stats);
	if (!list_empty(&call->split))
		migrate_parts(call, &one, 1);
	return err;
}

/*
 * A large batch needs room. It must not take from the reserves, nor wake anybody to make some:
 * without it, batches are smaller.
 */
static int migrate_with_room(struct migrate_call *call)
{
	int err;

	if (list_is_singular(call->from) && call->mode == MIGRATE_ASYNC &&
	    !folio_test_hugetlb(list_first_entry(call->from, struct folio, lru)))
		return migrate_only_one(call);
	if (list_is_longer(call->from, MIGRATE_FEW))
		call->room = kmalloc(sizeof(*call->room), __GFP_NOMEMALLOC | __GFP_NOWARN);
	if (!call->room)
		return migrate_on_stack(call);
	call->room->spares.nr = 0;
	err = migrate_in_batches(call, call->room->moves, MIGRATE_MANY);
	targets_end(call);
	kfree(call->room);
	return err;
}

static void report(const struct migrate_call *call)
{
	const struct migrate_stats *s = &call->stats;

	count_vm_events(PGMIGRATE_SUCCESS, s->succeeded);
	count_vm_events(PGMIGRATE_FAIL, s->failed);
	count_vm_events(THP_MIGRATION_SUCCESS, s->thp_succeeded);
	count_vm_events(THP_MIGRATION_FAIL, s->thp_failed);
	count_vm_events(THP_MIGRATION_SPLIT, s->thp_split);
	trace_mm_migrate_pages(s->succeeded, s->failed, s->thp_succeeded, s->thp_failed,
			       s->thp_split, s->split, call->mode, call->reason);
}

/**
 * migrate_pages - move folios to other frames
 * @from: the folios, isolated: of LRU lists, of hugetlb, pages of drivers. Afterwards those that
 *	were not moved; putback_movable_pages() takes them
 * @get_new_folio: allocates a target for a folio, from the same node or another
 * @put_new_folio: takes a target back, or NULL: its reference is dropped
 * @private: passed on to both
 * @mode: MIGRATE_ASYNC: wait for nothing; MIGRATE_SYNC_LIGHT: for locks, not for I/O;
 *	MIGRATE_SYNC: for everything
 * @reason: MR_*, for statistics and for how hard to try
 * @ret_succeeded: how many pages were moved; or NULL
 *
 * Each folio is tried ten times if the reason for its failure may pass. Large folios for which no
 * target can be had are split, and their parts moved.
 *
 * Context: sleeps. No lock is held that a folio's lock nests in.
 * Return: how many folios (of whatever size) were not moved; a large one that was split counts as
 * one, unless all parts of all were moved, and nothing else is left. -ENOMEM when there was no
 * target. 0 whenever @from is empty.
 */
int migrate_pages(struct list_head *from, new_folio_t get_new_folio, free_folio_t put_new_folio,
		  unsigned long private, enum migrate_mode mode, int reason,
		  unsigned int *ret_succeeded)
{
	struct migrate_call call = {
		.from = from,
		.get_new = get_new_folio,
		.put_new = put_new_folio,
		.private = private,
		.mode = mode,
		.reason = reason,
		.given_up = LIST_HEAD_INIT(call.given_up),
		.split = LIST_HEAD_INIT(call.split),
	};
	int failed = 0, err;

	trace_mm_migrate_pages_start(mode, reason);
	/* One folio, as NUMA balancing has it, needs but one look. */
	if (!list_is_singular(from) ||
	    folio_test_hugetlb(list_first_entry(from, struct folio, lru)))
		failed = migrate_hugetlbs(&call);
	err = failed;
	if (failed >= 0) {
		err = migrate_with_room(&call);
		if (err >= 0)
			err += failed;
	}
	list_splice(&call.given_up, from);
	if (list_empty(from))
		err = 0;
	report(&call);
	if (ret_succeeded)
		*ret_succeeded = call.stats.succeeded;
	return err;
}

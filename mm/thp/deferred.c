// SPDX-License-Identifier: GPL-2.0
/*
 * Folios that are split when memory is short: of which parts are not mapped any more, or of which
 * most was never used.
 *
 *	       first mapped, or a part unmapped
 *	alone --------------------------------> queued --shrinker--> taken --split--> parts
 *	  ^					| ^			 |
 *	  +--freed, migrated, split by others---+ +--partially mapped,---+
 *	  |					     could not be split	 |
 *	  +----------------all of it is used-----------------------------+
 *
 * There is a queue for each memcg, and one for each node for what is charged to none. That of a
 * memcg that goes away is joined to its parent's, and who comes to it later goes there.
 * Partially mapped folios are taken first: of them something is certainly gained.
 *
 * A folio is on the queue, and counted as partially mapped, or neither: PG_partially_mapped
 * changes under the queue's lock. A folio of which nobody has a reference can be taken off by
 * whoever frees or freezes it, without looking at the queue first if it is on none: only who has a
 * reference puts it there. The shrinker has one of what it took, and the folio's lock, without
 * which the folio does not change its memcg; so it can put it back.
 */
#include <linux/mm.h>
#include <linux/khugepaged.h>
#include <linux/memcontrol.h>
#include <linux/shrinker.h>
#include <linux/thp_runs.h>
#include <linux/vmstat.h>

#include "thp.h"

static struct shrinker *deferred_shrinker;

#ifdef CONFIG_MEMCG
static struct deferred_split *queue_of(struct folio *folio, struct mem_cgroup *memcg)
{
	return memcg ? &memcg->deferred_split_queue :
		       &NODE_DATA(folio_nid(folio))->deferred_split_queue;
}

/* The memcg has gone away: its folios are in its parent's queue, or in that one's parent's. */
static bool queue_is_dead(const struct deferred_split *q)
{
	lockdep_assert_held(&q->split_queue_lock);
	return unlikely(!q->split_queue.next);
}

/* The queue that a folio is on, or goes to; locked. A memcg keeps its ancestors. */
static struct deferred_split *queue_lock(struct folio *folio, unsigned long *flags)
{
	struct mem_cgroup *memcg = folio_memcg(folio);
	struct deferred_split *q;

	for (;; memcg = parent_mem_cgroup(memcg)) {
		q = queue_of(folio, memcg);
		spin_lock_irqsave(&q->split_queue_lock, *flags);
		if (!queue_is_dead(q))
			return q;
		spin_unlock_irqrestore(&q->split_queue_lock, *flags);
	}
}

static struct deferred_split *queue_shrunk(const struct shrink_control *sc)
{
	return sc->memcg ? &sc->memcg->deferred_split_queue :
			   &NODE_DATA(sc->nid)->deferred_split_queue;
}

/* Let memory that is short in the memcg ask for it. */
static void queue_wake(struct deferred_split *q, struct folio *folio)
{
	if (folio_memcg(folio))
		set_shrinker_bit(container_of(q, struct mem_cgroup, deferred_split_queue),
				 folio_nid(folio), deferred_shrinker->id);
}

/**
 * thp_memcg_offline - the queue of a memcg goes to its parent
 * @memcg: the memcg, not the root, of which the children went before
 *
 * Nobody shrinks a memcg that is offline, but its folios may live on for long.
 */
void thp_memcg_offline(struct mem_cgroup *memcg)
{
	struct mem_cgroup *parent = parent_mem_cgroup(memcg);
	struct deferred_split *q = &memcg->deferred_split_queue;
	struct deferred_split *to = &parent->deferred_split_queue;
	int nid;

	spin_lock_irq(&q->split_queue_lock);
	spin_lock_nested(&to->split_queue_lock, SINGLE_DEPTH_NESTING);
	list_splice_tail(&q->split_queue, &to->split_queue);
	WRITE_ONCE(to->split_queue_len, to->split_queue_len + q->split_queue_len);
	WRITE_ONCE(q->split_queue_len, 0);
	q->split_queue.next = NULL;
	spin_unlock(&to->split_queue_lock);
	spin_unlock_irq(&q->split_queue_lock);
	if (!deferred_shrinker)
		return;
	for_each_node(nid)
		set_shrinker_bit(parent, nid, deferred_shrinker->id);
}
#else
static bool queue_is_dead(const struct deferred_split *q)
{
	return false;
}

static struct deferred_split *queue_lock(struct folio *folio, unsigned long *flags)
{
	struct deferred_split *q = &NODE_DATA(folio_nid(folio))->deferred_split_queue;

	spin_lock_irqsave(&q->split_queue_lock, *flags);
	return q;
}

static struct deferred_split *queue_shrunk(const struct shrink_control *sc)
{
	return &NODE_DATA(sc->nid)->deferred_split_queue;
}

static void queue_wake(struct deferred_split *q, struct folio *folio)
{
}
#endif

/* --- under the queue's lock ------------------------------------------------------------- */

static bool queued(struct folio *folio)
{
	return !list_empty(&folio->_deferred_list);
}

static void queue_mark(struct deferred_split *q, struct folio *folio)
{
	lockdep_assert_held(&q->split_queue_lock);
	folio_set_partially_mapped(folio);
	mod_mthp_stat(folio_order(folio), MTHP_STAT_NR_ANON_PARTIALLY_MAPPED, 1);
}

static void queue_add(struct deferred_split *q, struct folio *folio, bool first)
{
	lockdep_assert_held(&q->split_queue_lock);
	if (first)
		list_add(&folio->_deferred_list, &q->split_queue);
	else
		list_add_tail(&folio->_deferred_list, &q->split_queue);
	WRITE_ONCE(q->split_queue_len, q->split_queue_len + 1);
	queue_wake(q, folio);
}

static void queue_del(struct deferred_split *q, struct folio *folio)
{
	lockdep_assert_held(&q->split_queue_lock);
	list_del_init(&folio->_deferred_list);
	WRITE_ONCE(q->split_queue_len, q->split_queue_len - 1);
	if (!folio_test_partially_mapped(folio))
		return;
	folio_clear_partially_mapped(folio);
	mod_mthp_stat(folio_order(folio), MTHP_STAT_NR_ANON_PARTIALLY_MAPPED, -1);
}

/* --- folios come and go ----------------------------------------------------------------- */

/* Can khugepaged's limit be met by any folio? At 511 it is by none. */
static bool underused_can_be(void)
{
	return READ_ONCE(thp_shrink_underused) &&
	       READ_ONCE(khugepaged_max_ptes_none) < HPAGE_PMD_NR - 1;
}

/**
 * deferred_split_folio - a folio may be split when memory is short
 * @folio: the folio, anonymous
 * @partially_mapped: some of its pages are not mapped any more; false: it is new, and may turn
 *	out not to be used
 *
 * What is partially mapped stays so.
 *
 * Context: the caller has a reference, and the folio does not change its memcg: it holds the lock
 * of a page table that maps, or did map, the folio.
 */
void deferred_split_folio(struct folio *folio, bool partially_mapped)
{
	struct deferred_split *q;
	unsigned long flags;

	/* A folio of two pages has no room for the list. */
	if (folio_order(folio) <= 1 || (!partially_mapped && !underused_can_be()))
		return;
	/* Reclaim has it in its hands already. */
	if (folio_test_swapcache(folio))
		return;
	q = queue_lock(folio, &flags);
	if (partially_mapped && !folio_test_partially_mapped(folio)) {
		queue_mark(q, folio);
		count_mthp_stat(folio_order(folio), MTHP_STAT_SPLIT_DEFERRED);
		if (folio_test_pmd_mappable(folio))
			count_vm_event(THP_DEFERRED_SPLIT_PAGE);
		if (queued(folio))
			list_move(&folio->_deferred_list, &q->split_queue);
	}
	if (!queued(folio))
		queue_add(q, folio, partially_mapped);
	spin_unlock_irqrestore(&q->split_queue_lock, flags);
}

/**
 * __folio_unqueue_deferred_split - take a folio off its queue
 * @folio: the folio, of which nobody has a reference
 *
 * Called by folio_unqueue_deferred_split() only, before the folio is uncharged.
 *
 * Return: whether it was on one.
 */
bool __folio_unqueue_deferred_split(struct folio *folio)
{
	struct deferred_split *q;
	unsigned long flags;
	bool was;

	WARN_ON_ONCE(folio_ref_count(folio));
	WARN_ON_ONCE(!mem_cgroup_disabled() && !folio_memcg(folio));
	q = queue_lock(folio, &flags);
	was = queued(folio);
	if (was)
		queue_del(q, folio);
	spin_unlock_irqrestore(&q->split_queue_lock, flags);
	return was;
}

/**
 * thp_freeze - let nobody reach a folio
 * @folio: the folio
 * @refs: the references that it may have
 *
 * Return: true if it had no more: now it has none, and is on no queue.
 */
bool thp_freeze(struct folio *folio, int refs)
{
	if (!folio_ref_freeze(folio, refs))
		return false;
	folio_unqueue_deferred_split(folio);
	return true;
}

/* --- shrinker --------------------------------------------------------------------------- */

/*
 * The first folio of a queue, referenced. *@locked: it is locked, too, and off the queue; if not,
 * somebody else has locked it, and it goes to the end. *@partially_mapped: it was counted as such.
 */
static struct folio *queue_take(struct deferred_split *q, bool *locked, bool *partially_mapped)
{
	struct folio *folio = NULL;
	unsigned long flags;

	spin_lock_irqsave(&q->split_queue_lock, flags);
	while (!queue_is_dead(q) &&
	       (folio = list_first_entry_or_null(&q->split_queue, struct folio, _deferred_list))) {
		/* It is being freed, or split. */
		if (!folio_try_get(folio)) {
			queue_del(q, folio);
			continue;
		}
		*partially_mapped = folio_test_partially_mapped(folio);
		*locked = folio_trylock(folio);
		if (*locked)
			queue_del(q, folio);
		else
			list_move_tail(&folio->_deferred_list, &q->split_queue);
		break;
	}
	spin_unlock_irqrestore(&q->split_queue_lock, flags);
	return folio;
}

/* Back onto its queue, at the end; if it is not there already. */
static void queue_again(struct folio *folio)
{
	struct deferred_split *q;
	unsigned long flags;

	q = queue_lock(folio, &flags);
	if (!folio_test_partially_mapped(folio))
		queue_mark(q, folio);
	if (!queued(folio))
		queue_add(q, folio, false);
	spin_unlock_irqrestore(&q->split_queue_lock, flags);
}

/* Does a folio hold more pages of zeroes than khugepaged would fill up? */
static bool folio_is_underused(struct folio *folio)
{
	unsigned int limit = READ_ONCE(khugepaged_max_ptes_none), nr = folio_nr_pages(folio);
	unsigned int i, zeroes = 0, left = HPAGE_PMD_NR - limit;

	if (!underused_can_be() || folio_contain_hwpoisoned_page(folio))
		return false;
	for (i = 0; i < nr && left; i++) {
		/* Where memory has tags, they are compared, too. */
		if (!pages_identical(folio_page(folio, i), ZERO_PAGE(0)))
			left--;
		else if (++zeroes > limit)
			return true;
	}
	return false;
}

/*
 * Are the pages that nobody maps in a row? They may change while this looks: then the range is not
 * the best one, but every range is a right one.
 */
static bool folio_unmapped_range(struct folio *folio, unsigned long *first, unsigned long *nr)
{
	unsigned long i, pages = folio_nr_pages(folio);

	*nr = 0;
	if (folio_entire_mapcount(folio))
		return false;
	for (i = 0; i < pages; i++) {
		if (atomic_read(&folio_page(folio, i)->_mapcount) >= 0)
			continue;
		if (!*nr)
			*first = i;
		else if (i != *first + *nr)
			return false;
		(*nr)++;
	}
	/* Of a folio that nobody maps at all there is nothing to keep. */
	return *nr && *nr < pages;
}

/* What nobody maps is split off alone, if that is simple, and if the rest is used. */
static int shrink_split(struct folio *folio, bool partially_mapped, bool underused)
{
	unsigned long first, nr;

	if (partially_mapped && !underused && folio_unmapped_range(folio, &first, &nr))
		return split_folio_range(folio, first, nr);
	return split_folio(folio);
}

/* A folio that was taken. Return: whether it was split. */
static bool shrink_folio(struct folio *folio, bool partially_mapped)
{
	bool underused = folio_is_underused(folio);

	if (!partially_mapped && !underused)
		return false;
	if (!shrink_split(folio, partially_mapped, underused)) {
		if (!partially_mapped)
			count_vm_event(THP_UNDERUSED_SPLIT_PAGE);
		return true;
	}
	/* What was underused counts as used from now on. */
	if (partially_mapped)
		queue_again(folio);
	return false;
}

static unsigned long deferred_count(struct shrinker *shrinker, struct shrink_control *sc)
{
	return READ_ONCE(queue_shrunk(sc)->split_queue_len);
}

static unsigned long deferred_scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct deferred_split *q = queue_shrunk(sc);
	unsigned long nr = min(sc->nr_to_scan, READ_ONCE(q->split_queue_len)), split = 0;
	struct folio *folio;
	bool locked, partially;

	for (; nr; nr--) {
		folio = queue_take(q, &locked, &partially);
		if (!folio)
			break;
		if (locked) {
			split += shrink_folio(folio, partially);
			folio_unlock(folio);
		}
		folio_put(folio);
		cond_resched();
	}
	return split || READ_ONCE(q->split_queue_len) ? split : SHRINK_STOP;
}

/**
 * thp_deferred_init - let memory that is short be gained from folios
 *
 * Return: 0 or -ENOMEM.
 */
int __init thp_deferred_init(void)
{
	struct shrinker *s = shrinker_alloc(SHRINKER_NUMA_AWARE | SHRINKER_MEMCG_AWARE |
					    SHRINKER_NONSLAB, "thp-deferred_split");

	if (!s)
		return -ENOMEM;
	s->count_objects = deferred_count;
	s->scan_objects = deferred_scan;
	deferred_shrinker = s;
	shrinker_register(s);
	return 0;
}

/**
 * thp_deferred_exit - undo thp_deferred_init()
 */
void __init thp_deferred_exit(void)
{
	shrinker_free(deferred_shrinker);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Moves that wait.
 *
 *	 CPU 0			 CPU 1 (isolated)
 *	+--------------+	+--------------+
 *	| add	 folio |	| add	 folio |	one batch for all kinds of moves, in
 *	| munlock folio|	|	       |	the order in which they came
 *	+--------------+	+--------------+
 *	| rotate folio |	|	       |	and one for interrupts
 *	+--------------+	+--------------+
 *	       |		       |
 *	       | full		       | taken: the caller of lru_add_drain_all() copies the
 *	       |		       | batch out under its lock and makes the moves itself,
 *	       v		       v on its own CPU
 *		      moves (move.c)
 *
 *	state of a batch: filling -- put --> filling, or full -- run, under its lock --> empty
 *			  filling or full -- taken, by anybody --> empty
 *
 * Each batch has a lock, which in its own CPU's hands is uncontended and in that CPU's cache.
 * Nothing is ever asked of another CPU for them: no work is queued there, no interrupt is sent.
 * The most that an isolated CPU sees of a drain is that it waits for a copy of 31 pointers, if it
 * adds a folio in that moment.
 *
 * A folio in a batch is held by a reference. It is not on a list unless it was before: whoever
 * needs it there (migration, hot-unplug, ...) calls lru_add_drain_all(). A large folio never
 * waits.
 *
 * Locks: page table lock > batch > lru_lock, and what freeing a folio takes: one that turns out to
 * be held by nobody else is freed before the batch looks empty. Batches with rotations are locked
 * with interrupts off; no interrupt takes the lock of the others, so interrupts stay on there.
 */
#include <linux/buffer_head.h>
#include <linux/cpumask.h>
#include <linux/export.h>
#include <linux/lockdep.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/sched/isolation.h>
#include <linux/smp.h>

#include "lru.h"

#define LRU_BATCH	PAGEVEC_SIZE

/* The moves of a batch: folios[i] is to be op[i]. */
struct lru_moves {
	u8 nr;
	u8 op[LRU_BATCH];
	struct folio *folios[LRU_BATCH];
};

struct lru_batch {
	spinlock_t lock;
	struct lru_moves moves;
};

static DEFINE_PER_CPU_ALIGNED(struct lru_batch, lru_batch) = {
	.lock = __SPIN_LOCK_UNLOCKED(lru_batch.lock),
};

/* For interrupts. */
static DEFINE_PER_CPU_ALIGNED(struct lru_batch, lru_batch_irq) = {
	.lock = __SPIN_LOCK_UNLOCKED(lru_batch_irq.lock),
};

/* How many users want no folio to wait in a batch: lru_cache_disabled(). */
atomic_t lru_disable_count = ATOMIC_INIT(0);

/* Make the moves, and free what nobody else has a reference to. */
static void lru_moves_run(struct lru_moves *m)
{
	unsigned int i, nr = m->nr;
	struct folio_batch dead;
	struct lru_move mv;

	/* Folios of others must not wait here for a task that does not run. */
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		lockdep_assert_preemption_disabled();
	folio_batch_init(&dead);
	lru_move_init(&mv);
	for (i = 0; i < nr; i++) {
		struct folio *folio = m->folios[i];

		lru_move_folio(&mv, folio, m->op[i]);
		if (unlikely(folio_put_testzero(folio)))
			folio_batch_add(&dead, folio);
	}
	lru_move_end(&mv);
	if (folio_batch_count(&dead))
		lru_release(&dead);
	/* Pairs with lru_batch_empty(): what was in it is done, and free. */
	smp_store_release(&m->nr, 0);
}

/*
 * Must what is in the batch go now? lru_cache_disabled() is looked at under the lock: either this
 * addition is seen by the drain of lru_cache_disable(), which comes after its increment, or the
 * increment is seen here.
 */
static bool lru_moves_put(struct lru_moves *m, struct folio *folio, enum lru_op op)
{
	m->folios[m->nr] = folio;
	m->op[m->nr++] = op;
	return m->nr == LRU_BATCH || lru_cache_disabled();
}

/*
 * Large folios do not wait, and nobody's do while that is forbidden. The caller's reference, the
 * page table that it has locked, or writeback that it is about to end keeps the folio.
 */
static bool lru_must_not_wait(struct folio *folio)
{
	return !folio_may_be_lru_cached(folio) || lru_cache_disabled();
}

static noinline void lru_move_now(struct folio *folio, enum lru_op op)
{
	struct lru_move mv;

	lru_move_init(&mv);
	lru_move_folio(&mv, folio, op);
	lru_move_end(&mv);
}

/* Put a folio into a batch that is locked. */
static __always_inline void lru_batch_put(struct lru_batch *b, struct folio *folio, enum lru_op op)
{
	folio_get(folio);
	if (unlikely(lru_moves_put(&b->moves, folio, op)))
		lru_moves_run(&b->moves);
}

/**
 * lru_batch_add() - have a move made, sooner or later
 * @folio: the folio; the batch takes a reference of its own
 * @op: the move
 *
 * The task may be moved to another CPU before it has the lock. Then it is another CPU's batch,
 * which is as good.
 *
 * Context: process context; page table locks may be held.
 */
void lru_batch_add(struct folio *folio, enum lru_op op)
{
	struct lru_batch *b;

	if (lru_must_not_wait(folio)) {
		lru_move_now(folio, op);
		return;
	}
	b = raw_cpu_ptr(&lru_batch);
	spin_lock(&b->lock);
	lru_batch_put(b, folio, op);
	spin_unlock(&b->lock);
}

/**
 * lru_batch_add_irq() - have a move made that may be asked for in an interrupt
 * @folio: the folio
 * @op: the move
 *
 * As lru_batch_add(): a reference is taken.
 *
 * Context: any but NMI.
 */
void lru_batch_add_irq(struct folio *folio, enum lru_op op)
{
	struct lru_batch *b;
	unsigned long flags;

	if (lru_must_not_wait(folio)) {
		lru_move_now(folio, op);
		return;
	}
	b = raw_cpu_ptr(&lru_batch_irq);
	spin_lock_irqsave(&b->lock, flags);
	lru_batch_put(b, folio, op);
	spin_unlock_irqrestore(&b->lock, flags);
}

/**
 * lru_batch_activate() - a folio that has not got its first place yet shall get an active one
 * @folio: not on a list
 *
 * It is looked for in this CPU's batch only, the latest first: it was most likely put there just
 * now. One that is in a batch has no place, and under the lock it does not get one, so nobody
 * counts it as inactive meanwhile. Anywhere else it may be in anybody's hands.
 *
 * Context: process context; page table locks may be held.
 */
void lru_batch_activate(struct folio *folio)
{
	struct lru_batch *b = raw_cpu_ptr(&lru_batch);
	struct lru_moves *m = &b->moves;
	int i;

	spin_lock(&b->lock);
	for (i = m->nr - 1; i >= 0; i--) {
		if (m->folios[i] == folio && m->op[i] == LRU_ADD) {
			folio_set_active(folio);
			break;
		}
	}
	spin_unlock(&b->lock);
}

/* --- drains ----------------------------------------------------------------------------- */

/*
 * Is there anything to drain? Read without the lock. A caller that wants to see a certain folio
 * drained knows of it because it put it there itself or was told so, so this read comes after the
 * addition; and what comes later is not its business. If it says empty, the moves have been made
 * and the references dropped: acquire, against the release that says so. Or they have been taken
 * by lru_drain_all(): see there.
 */
static bool lru_batch_empty(struct lru_batch *b)
{
	/* Pairs with the release in lru_moves_run(). */
	return !smp_load_acquire(&b->moves.nr);
}

/* Empty a batch, under its lock: everybody else who wants to waits until it is done. */
static void lru_batch_drain(struct lru_batch *b)
{
	if (lru_batch_empty(b))
		return;
	spin_lock(&b->lock);
	lru_moves_run(&b->moves);
	spin_unlock(&b->lock);
}

static void lru_batch_drain_irq(struct lru_batch *b)
{
	unsigned long flags;

	if (lru_batch_empty(b))
		return;
	spin_lock_irqsave(&b->lock, flags);
	lru_moves_run(&b->moves);
	spin_unlock_irqrestore(&b->lock, flags);
}

static void lru_moves_take(struct lru_moves *m, struct lru_moves *taken)
{
	taken->nr = m->nr;
	memcpy(taken->op, m->op, m->nr);
	memcpy(taken->folios, m->folios, m->nr * sizeof(m->folios[0]));
	m->nr = 0;
}

/*
 * Empty another CPU's batches: the moves are copied out, so that it need not wait for them. Its own
 * lru_add_drain() may then be over before they are made. For lru_drain_all() only, whose mutex
 * makes those wait who must.
 *
 * Between the copy and the moves the folios, others' own, are on no list and have a reference too
 * many. So the caller is not to be scheduled away there, perhaps for long; where spinlocks sleep,
 * that cannot be had.
 */
static void lru_batches_take(int cpu, bool always)
{
	struct lru_batch *b = per_cpu_ptr(&lru_batch, cpu), *irq = per_cpu_ptr(&lru_batch_irq, cpu);
	struct lru_moves taken;
	unsigned long flags;

	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_disable();
	if (always || !lru_batch_empty(b)) {
		spin_lock(&b->lock);
		lru_moves_take(&b->moves, &taken);
		spin_unlock(&b->lock);
		lru_moves_run(&taken);
	}
	if (always || !lru_batch_empty(irq)) {
		spin_lock_irqsave(&irq->lock, flags);
		lru_moves_take(&irq->moves, &taken);
		spin_unlock_irqrestore(&irq->lock, flags);
		lru_moves_run(&taken);
	}
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_enable();
}

/**
 * lru_add_drain_cpu() - make the moves that wait on a CPU
 * @cpu: any possible CPU, online or not
 *
 * The caller's CPU makes them. Replaces a function that could only be called on @cpu or after
 * its death; those callers need not change.
 *
 * Context: as lru_add_drain().
 */
void lru_add_drain_cpu(int cpu)
{
	lru_batch_drain(per_cpu_ptr(&lru_batch, cpu));
	lru_batch_drain_irq(per_cpu_ptr(&lru_batch_irq, cpu));
}

/**
 * lru_add_drain() - make the moves that wait on this CPU
 *
 * For callers that want their own latest additions on the lists. If the task was moved to another
 * CPU since, they are not.
 *
 * Context: process context; spinlocks may be held, but not lru_lock.
 */
void lru_add_drain(void)
{
	lru_batch_drain(raw_cpu_ptr(&lru_batch));
	lru_batch_drain_irq(raw_cpu_ptr(&lru_batch_irq));
}

/**
 * __folio_batch_release() - drop a reference of each folio of a batch
 * @fbatch: the folios; empty afterwards
 *
 * Folios that are given back now may still wait for their place on a list. Once per batch those
 * of this CPU are made to arrive, so that memory is free when it is thought to be.
 *
 * Context: process context.
 */
void __folio_batch_release(struct folio_batch *fbatch)
{
	if (!fbatch->percpu_pvec_drained) {
		fbatch->percpu_pvec_drained = true;
		lru_add_drain();
	}
	folios_put(fbatch);
}
EXPORT_SYMBOL(__folio_batch_release);

/**
 * lru_add_drain_cpu_zone() - lru_add_drain(), and give free pages of @zone back to it
 * @zone: what compaction works on; this CPU's list of free pages of it is emptied
 *
 * Context: process context.
 */
void lru_add_drain_cpu_zone(struct zone *zone)
{
	migrate_disable();
	lru_add_drain();
	drain_local_pages(zone);
	migrate_enable();
}

/*
 * Buffer heads that a CPU remembers hold their pages, too. Only that CPU can forget them, in an
 * interrupt. A CPU that is isolated remembers none (bh_lru_install()), so it gets none; one that
 * has only just been isolated, by a cpuset, may remember some from before, and gets its last.
 *
 * Nor is an idle CPU asked: there nobody is about to remember one. If a task has begun to run there
 * and that is not seen here, it will see that it must not: it has found the buffer by taking a
 * reference of its folio, a full barrier between rq->curr and lru_disable_count, which are read in
 * the other order here.
 */
static bool lru_may_remember_buffers(int cpu, void *unused)
{
	return IS_ENABLED(CONFIG_BUFFER_HEAD) && !cpu_is_isolated(cpu) && !idle_cpu(cpu);
}

static void lru_nothing(void *unused)
{
}

/*
 * @disabled: lru_disable_count has been raised, and none shall be remembered from now on.
 * bh_lru_install() looks at the count and remembers with interrupts off. So once an interrupt has
 * been to all CPUs that do such things, whoever read the old count is done. A grace period would
 * say so, too; but an expedited one could reach isolated CPUs.
 */
static void lru_forget_buffers(bool disabled)
{
	if (disabled)
		on_each_cpu_cond(lru_may_remember_buffers, lru_nothing, NULL, true);
	invalidate_bh_lrus();
}

/*
 * Drain all CPUs, those too that are not online: one may be about to go, and its last additions
 * must not be missed.
 *
 * @always: lru_disable_count was raised; lock every batch, empty or not. Otherwise one that looks
 * empty is passed over, and so is everything if somebody else's drain began after we were called:
 * it did our work.
 *
 * That somebody's drain began later is known by its number. We read the number after our caller's
 * additions, the other drain looks at the batches after it changed it, with full barriers in
 * between on both sides. So if we read the old number the other one sees what our caller added.
 */
static void lru_drain_all(bool always)
{
	static DEFINE_MUTEX(lock);
	static unsigned int begun;
	unsigned int seen, cpu;

	/* Additions before the number. */
	smp_mb();
	seen = READ_ONCE(begun);
	mutex_lock(&lock);
	if (seen == begun || always) {
		WRITE_ONCE(begun, begun + 1);
		/* The number before the batches. */
		smp_mb();
		for_each_possible_cpu(cpu)
			lru_batches_take(cpu, always);
		lru_forget_buffers(always);
	}
	mutex_unlock(&lock);
}

/**
 * lru_add_drain_all() - make the moves that wait on any CPU
 *
 * Folios that were put into a batch before the call are on their lists afterwards, and the batches
 * hold no reference to them. Buffer heads that CPUs remember are forgotten.
 *
 * Context: may sleep. No CPU but the caller's does anything, apart from those that remember
 * buffer heads, which get an interrupt; isolated ones do not remember any.
 */
void lru_add_drain_all(void)
{
	lru_drain_all(false);
}

/**
 * lru_cache_disable() - let no folio wait in a batch, until lru_cache_enable()
 *
 * For those who are about to take folios off their lists and cannot do with some of them missing.
 * Additions go on, but each is carried out at once.
 *
 * An addition that did not see the count is in its batch when that is drained: the count is
 * looked at with the batch locked, and every batch is locked here.
 *
 * Context: may sleep.
 */
void lru_cache_disable(void)
{
	atomic_inc(&lru_disable_count);
	lru_drain_all(true);
}

/* --- mlock's names for the same batches --------------------------------------------------- */

/**
 * mlock_drain_local() - carry out mlocks and munlocks that wait on this CPU
 *
 * They wait in the common batch, so everything else in it is carried out, too: reverse map,
 * migration and THP call this when references of the batch are in their way.
 *
 * Context: as lru_add_drain().
 */
void mlock_drain_local(void)
{
	lru_batch_drain(raw_cpu_ptr(&lru_batch));
}

/**
 * mlock_drain_remote() - carry out mlocks and munlocks that wait on a CPU that has gone
 * @cpu: it is offline
 *
 * Context: as lru_add_drain().
 */
void mlock_drain_remote(int cpu)
{
	WARN_ON_ONCE(cpu_online(cpu));
	lru_batch_drain(per_cpu_ptr(&lru_batch, cpu));
}

/**
 * need_mlock_drain() - may mlocks or munlocks wait on a CPU?
 * @cpu: any
 *
 * Return: whether anything at all waits there. It may have changed by then.
 */
bool need_mlock_drain(int cpu)
{
	return !lru_batch_empty(per_cpu_ptr(&lru_batch, cpu));
}

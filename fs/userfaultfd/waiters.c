// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that wait for an answer: a tree by address, so that an answer finds those it wakes
 * without a look at the others, and a list of what nobody has read.
 */
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/wait.h>

#include "uffd.h"

static u64 waiter_address(const struct rb_node *node)
{
	return rb_entry(node, struct uffd_waiter, node)->msg.arg.pagefault.address;
}

static bool waiter_before(struct rb_node *a, const struct rb_node *b)
{
	return waiter_address(a) < waiter_address(b);
}

/*
 * The only place that changes the state of a waiter. The owner may be gone after
 * UFFD_WAITER_WOKEN.
 */
static void set_waiter_state(struct uffd *u, struct uffd_waiter *w, enum uffd_waiter_state state)
{
	lockdep_assert_held(&u->lock);
	if (w->state == UFFD_WAITER_UNREAD) {
		list_del(&w->unread);
		WRITE_ONCE(u->nr_unread, u->nr_unread - 1);
	}
	if (state == UFFD_WAITER_WOKEN) {
		rb_erase(&w->node, &u->waiters);
		WRITE_ONCE(u->nr_waiters, u->nr_waiters - 1);
	}
	/* Pairs with the load-acquire in uffd_waiter_leave(). */
	smp_store_release(&w->state, state);
}

/**
 * uffd_waiter_add - from here on a thread can be read of, and woken
 * @u: the userfaultfd
 * @w: with @msg and @task filled in; it belongs to @u until uffd_waiter_leave()
 *
 * The later of two at one address is behind the earlier.
 * Context: the fault's lock is held; takes @u's.
 */
void uffd_waiter_add(struct uffd *u, struct uffd_waiter *w)
{
	w->state = UFFD_WAITER_UNREAD;
	spin_lock(&u->lock);
	rb_add(&w->node, &u->waiters, waiter_before);
	list_add_tail(&w->unread, &u->unread);
	WRITE_ONCE(u->nr_unread, u->nr_unread + 1);
	WRITE_ONCE(u->nr_waiters, u->nr_waiters + 1);
	spin_unlock(&u->lock);
}

/**
 * uffd_waiter_leave - the thread goes on, whoever let it
 * @u: the userfaultfd
 * @w: the caller's, not on @u any more afterwards
 *
 * Context: process context; takes @u's lock unless somebody woke @w.
 * Return: whether somebody woke it on purpose.
 */
bool uffd_waiter_leave(struct uffd *u, struct uffd_waiter *w)
{
	bool woken;

	/* Who said so has taken it off, and does not touch it again. */
	if (smp_load_acquire(&w->state) == UFFD_WAITER_WOKEN)
		return true;
	spin_lock(&u->lock);
	woken = w->state == UFFD_WAITER_WOKEN;
	if (!woken)
		set_waiter_state(u, w, UFFD_WAITER_WOKEN);
	spin_unlock(&u->lock);
	return woken;
}

/**
 * uffd_waiter_read - the oldest fault that nobody has read
 * @u: the userfaultfd, its lock held
 *
 * Return: the fault, now read; NULL when there is none.
 */
struct uffd_waiter *uffd_waiter_read(struct uffd *u)
{
	struct uffd_waiter *w = list_first_entry_or_null(&u->unread, struct uffd_waiter, unread);

	if (w)
		set_waiter_state(u, w, UFFD_WAITER_READ);
	return w;
}

/* The first waiter at @start or above. */
static struct rb_node *first_from(struct uffd *u, unsigned long start)
{
	struct rb_node *node = u->waiters.rb_node, *found = NULL;

	while (node) {
		if (waiter_address(node) >= start) {
			found = node;
			node = node->rb_left;
		} else {
			node = node->rb_right;
		}
	}
	return found;
}

/*
 * Who waits for memory of a range has its answer. The caller holds the lock, and wakes @q
 * without it.
 */
static void wake_in(struct uffd *u, unsigned long start, unsigned long len, struct wake_q_head *q)
{
	struct rb_node *node, *next;

	for (node = first_from(u, start); node && waiter_address(node) - start < len; node = next) {
		struct uffd_waiter *w = rb_entry(node, struct uffd_waiter, node);

		next = rb_next(node);
		/* A reference on the task first: the state lets it return, and exit. */
		wake_q_add(q, w->task);
		set_waiter_state(u, w, UFFD_WAITER_WOKEN);
	}
}

/* What uffd_wake() does when anybody waits, wherever. */
void uffd_wake_range(struct uffd *u, unsigned long start, unsigned long len)
{
	DEFINE_WAKE_Q(q);

	spin_lock(&u->lock);
	wake_in(u, start, len, &q);
	spin_unlock(&u->lock);
	wake_up_q(&q);
}

/**
 * uffd_wake_all - wake everybody who waits, as the descriptor is closed
 * @u: the userfaultfd; nobody is added any more, or looks at ctx.released after it was added
 */
void uffd_wake_all(struct uffd *u)
{
	uffd_wake_range(u, 0, ULONG_MAX);
}

/**
 * uffd_tell_reader - there is something to read
 * @u: the userfaultfd, a message of it queued
 *
 * One of those who wait in read() is woken, as one is enough to take the message, and everybody
 * who polls. Readers look at the lists between queueing and sleeping, so that none is missed:
 * the queue's lock, which both take, orders what was queued before this with their look.
 *
 * Context: process context, without @u's lock.
 */
void uffd_tell_reader(struct uffd *u)
{
	wake_up_poll(&u->ctx.fd_wqh, EPOLLIN);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * What happens to the address space beside faults: fork, mremap, MADV_DONTNEED and its like,
 * munmap. User space is told, and who does it waits until that has been read. Each of the four
 * is one struct uffd_event with another message.
 *
 *	begin()		before the address space changes: mmap_changing is raised
 *	deliver()	when the locks are dropped: queued, read, done
 *	cancel()	instead, when it did not happen
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "uffd.h"

/* From here on nobody fills, moves or protects: who is at it has ended when this returns. */
static void begin(struct uffd *u)
{
	uffd_get(u);
	down_write(&u->ctx.map_changing_lock);
	atomic_inc(&u->ctx.mmap_changing);
	up_write(&u->ctx.map_changing_lock);
}

/*
 * The only place that changes the state of an event. The owner may be gone after UFFD_EVENT_DONE.
 * mmap_changing falls with the last word about the event, so that who has read it need not wait for
 * its owner to run.
 */
static void set_event_state(struct uffd_event *e, enum uffd_event_state state)
{
	struct uffd *u = e->u;

	lockdep_assert_held(&u->lock);
	if (e->state == UFFD_EVENT_QUEUED)
		list_del(&e->list);
	if (e->state == UFFD_EVENT_TAKEN)
		e->taken->event = NULL;
	if (state == UFFD_EVENT_QUEUED)
		list_add_tail(&e->list, &u->events);
	if (state == UFFD_EVENT_DONE || state == UFFD_EVENT_GONE)
		atomic_dec(&u->ctx.mmap_changing);
	/* Pairs with the load-acquire in leave(). */
	smp_store_release(&e->state, state);
}

/* It was read. */
static void event_read(struct uffd_event *e, struct wake_q_head *q)
{
	/* A reference on the task first: the state lets it return, and exit. */
	wake_q_add(q, e->task);
	set_event_state(e, UFFD_EVENT_DONE);
}

/* The owner goes on. When nobody has read of a fork, nobody will know the child's descriptor. */
static void leave(struct uffd_event *e)
{
	struct uffd *u = e->u;

	/* Who said so has taken it off, and does not touch it again. */
	if (smp_load_acquire(&e->state) == UFFD_EVENT_DONE)
		return;
	spin_lock(&u->lock);
	if (e->state != UFFD_EVENT_DONE)
		set_event_state(e, UFFD_EVENT_GONE);
	spin_unlock(&u->lock);
	if (e->state == UFFD_EVENT_GONE && e->child) {
		userfaultfd_release_new(&e->child->ctx);
		uffd_put(e->child);
	}
}

/*
 * Queue an event and wait until it has been read, somebody kills the task, or the descriptor is
 * closed.
 */
static void deliver(struct uffd_event *e)
{
	struct uffd *u = e->u;

	e->task = current;
	e->state = UFFD_EVENT_NEW;
	spin_lock(&u->lock);
	set_event_state(e, UFFD_EVENT_QUEUED);
	spin_unlock(&u->lock);
	uffd_tell_reader(u);
	for (;;) {
		/*
		 * The barrier in here: either this sees released, or uffd_events_close() the
		 * event.
		 */
		set_current_state(TASK_KILLABLE);
		if (READ_ONCE(e->state) == UFFD_EVENT_DONE || READ_ONCE(u->ctx.released) ||
		    fatal_signal_pending(current))
			break;
		schedule();
	}
	__set_current_state(TASK_RUNNING);
	leave(e);
	uffd_put(u);
}

/* It did not happen, and nobody is told. */
static void cancel(struct uffd *u)
{
	atomic_dec(&u->ctx.mmap_changing);
	uffd_put(u);
}

/**
 * uffd_event_take - the oldest event, for a reader
 * @u: the userfaultfd, its lock held
 * @taken: of a fork: what has to be ended by uffd_event_end_take(); otherwise cleared
 * @msg: what to tell user space
 * @q: whom the caller wakes when it has dropped the lock
 *
 * Return: whether there was one.
 */
bool uffd_event_take(struct uffd *u, struct uffd_taken *taken, struct uffd_msg *msg,
		     struct wake_q_head *q)
{
	struct uffd_event *e = list_first_entry_or_null(&u->events, struct uffd_event, list);

	*taken = (struct uffd_taken){ };
	if (!e)
		return false;
	*msg = e->msg;
	if (!e->child) {
		event_read(e, q);
		return true;
	}
	/* The forking task may be killed meanwhile, and drops its reference then. */
	uffd_get(e->child);
	taken->child = e->child;
	taken->event = e;
	e->taken = taken;
	set_event_state(e, UFFD_EVENT_TAKEN);
	return true;
}

/**
 * uffd_event_end_take - a child's descriptor was made, or not
 * @u: the userfaultfd
 * @taken: from uffd_event_take(), with a child
 * @made: the descriptor stands, and owns a reference on the child
 *
 * Without one the event is queued again, as the youngest: what else there is can be read.
 * Context: process context; takes @u's lock.
 */
void uffd_event_end_take(struct uffd *u, struct uffd_taken *taken, bool made)
{
	struct uffd_event *e;
	DEFINE_WAKE_Q(q);

	spin_lock(&u->lock);
	e = taken->event;
	if (e && made)
		event_read(e, &q);
	else if (e)
		set_event_state(e, UFFD_EVENT_QUEUED);
	spin_unlock(&u->lock);
	wake_up_q(&q);
	if (e && !made)
		uffd_tell_reader(u);
	/*
	 * The descriptor has that of the task that forked, or, when this was killed, the one
	 * taken here.
	 */
	if (e || !made)
		uffd_put(taken->child);
}

/**
 * uffd_events_close - nobody will read what is queued
 * @u: the userfaultfd, ctx.released
 */
void uffd_events_close(struct uffd *u)
{
	struct uffd_event *e;
	DEFINE_WAKE_Q(q);

	spin_lock(&u->lock);
	list_for_each_entry(e, &u->events, list)
		wake_q_add(&q, e->task);
	spin_unlock(&u->lock);
	wake_up_q(&q);
}

/* ---- fork ---- */

static struct uffd_event *fork_begin(struct uffd *u, struct mm_struct *mm)
{
	struct uffd_event *e = kzalloc(sizeof(*e), GFP_KERNEL);

	if (!e)
		return NULL;
	e->child = uffd_new(mm, u->ctx.flags, u->ctx.features);
	if (!e->child) {
		kfree(e);
		return NULL;
	}
	e->u = u;
	e->msg.event = UFFD_EVENT_FORK;
	begin(u);
	return e;
}

/**
 * dup_userfaultfd - a VMA is copied by fork
 * @vma: the child's, still with the parent's userfaultfd
 * @fcs: struct uffd_event of this fork, one for each userfaultfd
 *
 * With UFFD_FEATURE_EVENT_FORK the child gets a userfaultfd of its own; otherwise it has none.
 * Context: both mmap_locks are held for writing.
 * Return: 0; -ENOMEM.
 */
int dup_userfaultfd(struct vm_area_struct *vma, struct list_head *fcs)
{
	struct userfaultfd_ctx *ctx = vma->vm_userfaultfd_ctx.ctx;
	struct uffd_event *e;

	if (!ctx)
		return 0;
	if (!(ctx->features & UFFD_FEATURE_EVENT_FORK)) {
		userfaultfd_reset_ctx(vma);
		return 0;
	}
	/* Neighbours mostly have the same one, so that it is the last. */
	list_for_each_entry_reverse(e, fcs, list)
		if (e->u == uffd_of(ctx))
			goto found;
	e = fork_begin(uffd_of(ctx), vma->vm_mm);
	if (!e)
		return -ENOMEM;
	list_add_tail(&e->list, fcs);
found:
	vma->vm_userfaultfd_ctx.ctx = &e->child->ctx;
	return 0;
}

/**
 * dup_userfaultfd_complete - the address space is copied: tell user space
 * @fcs: from dup_userfaultfd()
 *
 * Context: no lock is held; waits until it has been read.
 */
void dup_userfaultfd_complete(struct list_head *fcs)
{
	struct uffd_event *e, *next;

	list_for_each_entry_safe(e, next, fcs, list) {
		list_del(&e->list);
		deliver(e);
		kfree(e);
	}
}

/**
 * dup_userfaultfd_fail - the address space was not copied
 * @fcs: from dup_userfaultfd()
 *
 * The child's VMAs, which go with its address space, do not hold a reference.
 */
void dup_userfaultfd_fail(struct list_head *fcs)
{
	struct uffd_event *e, *next;

	list_for_each_entry_safe(e, next, fcs, list) {
		list_del(&e->list);
		cancel(e->u);
		uffd_put(e->child);
		kfree(e);
	}
}

/* ---- mremap ---- */

/**
 * mremap_userfaultfd_prep - a VMA was moved, its pages follow
 * @vma: the new one
 * @vm_ctx: for mremap_userfaultfd_complete(); left alone when nobody is to be told
 *
 * Without UFFD_FEATURE_EVENT_REMAP what was moved is not registered any more.
 * Context: mmap_lock is held for writing.
 */
void mremap_userfaultfd_prep(struct vm_area_struct *vma, struct vm_userfaultfd_ctx *vm_ctx)
{
	struct userfaultfd_ctx *ctx = vma->vm_userfaultfd_ctx.ctx;

	if (!ctx)
		return;
	if (!(ctx->features & UFFD_FEATURE_EVENT_REMAP)) {
		userfaultfd_reset_ctx(vma);
		return;
	}
	vm_ctx->ctx = ctx;
	begin(uffd_of(ctx));
}

/**
 * mremap_userfaultfd_complete - the pages have followed: tell user space
 * @vm_ctx: from mremap_userfaultfd_prep()
 * @from: address they were at
 * @to: address they are at; an error when they did not move
 * @len: bytes
 *
 * Context: no lock is held; waits until it has been read.
 */
void mremap_userfaultfd_complete(struct vm_userfaultfd_ctx *vm_ctx, unsigned long from,
				 unsigned long to, unsigned long len)
{
	struct uffd_event e = { .msg.event = UFFD_EVENT_REMAP };

	if (!vm_ctx->ctx)
		return;
	e.u = uffd_of(vm_ctx->ctx);
	if (!PAGE_ALIGNED(to)) {
		cancel(e.u);
		return;
	}
	e.msg.arg.remap.from = from;
	e.msg.arg.remap.to = to;
	e.msg.arg.remap.len = len;
	deliver(&e);
}

/* ---- MADV_DONTNEED, MADV_REMOVE, MADV_FREE ---- */

/**
 * userfaultfd_remove - pages are about to be taken away: tell user space first
 * @vma: where; invalid after false is returned
 * @start: address of the first
 * @end: address behind the last
 *
 * Context: mmap_lock is held for reading; waits without it.
 * Return: true when nobody is to be told; false when mmap_lock was dropped.
 */
bool userfaultfd_remove(struct vm_area_struct *vma, unsigned long start, unsigned long end)
{
	struct userfaultfd_ctx *ctx = vma->vm_userfaultfd_ctx.ctx;
	struct uffd_event e = { .msg.event = UFFD_EVENT_REMOVE };

	if (!ctx || !(ctx->features & UFFD_FEATURE_EVENT_REMOVE))
		return true;
	e.u = uffd_of(ctx);
	begin(e.u);
	mmap_read_unlock(vma->vm_mm);
	e.msg.arg.remove.start = start;
	e.msg.arg.remove.end = end;
	deliver(&e);
	return false;
}

/* ---- munmap ---- */

/**
 * userfaultfd_unmap_prep - a VMA is about to be unmapped
 * @vma: one in the range
 * @start: address of the range
 * @end: address behind it
 * @unmaps: struct uffd_event of this call, one for each userfaultfd and range
 *
 * Context: mmap_lock is held for writing.
 * Return: 0; -ENOMEM.
 */
int userfaultfd_unmap_prep(struct vm_area_struct *vma, unsigned long start, unsigned long end,
			   struct list_head *unmaps)
{
	struct userfaultfd_ctx *ctx = vma->vm_userfaultfd_ctx.ctx;
	struct uffd_event *e;

	if (!ctx || !(ctx->features & UFFD_FEATURE_EVENT_UNMAP))
		return 0;
	/* Neighbours mostly have the same one, so that it is the last. */
	list_for_each_entry_reverse(e, unmaps, list)
		if (e->u == uffd_of(ctx) && e->msg.arg.remove.start == start &&
		    e->msg.arg.remove.end == end)
			return 0;
	e = kzalloc(sizeof(*e), GFP_KERNEL);
	if (!e)
		return -ENOMEM;
	e->u = uffd_of(ctx);
	e->msg.event = UFFD_EVENT_UNMAP;
	e->msg.arg.remove.start = start;
	e->msg.arg.remove.end = end;
	begin(e->u);
	list_add_tail(&e->list, unmaps);
	return 0;
}

/**
 * userfaultfd_unmap_complete - the range is unmapped, or will not be: tell user space
 * @mm: whose
 * @uf: from userfaultfd_unmap_prep()
 *
 * Context: no lock is held; waits until it has been read.
 */
void userfaultfd_unmap_complete(struct mm_struct *mm, struct list_head *uf)
{
	struct uffd_event *e, *next;

	list_for_each_entry_safe(e, next, uf, list) {
		list_del(&e->list);
		deliver(e);
		kfree(e);
	}
}

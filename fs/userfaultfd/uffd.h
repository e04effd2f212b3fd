/* SPDX-License-Identifier: GPL-2.0 */
/*
 * userfaultfd: faults of one address space that user space answers.
 *
 *	a thread that faults			a handler
 *	fault.c					read.c, ioctl.c
 *	   |					   ^	|
 *	   | adds itself			   |	| UFFDIO_COPY, _WAKE, ...
 *	   v					   |	v
 *	struct uffd
 *	   waiters, by address	*---*---*---*---*---*	whom an answer wakes	(waiters.c)
 *	   unread, oldest first	    *-------*		what read() takes
 *	   events, oldest first	O---O			what else happened	(events.c)
 *
 * A waiter
 *
 *	(none) --add--> UNREAD --read()--> READ --answer, WAKE, close--> WOKEN --> (none)
 *	                   |                 |                             ^
 *	                   +-----------------+--- answer, WAKE, close -----+
 *	                   +-----------------+--- signal --> (none)
 *
 * An event
 *
 *	(none) --deliver--> QUEUED --read()--> DONE --> (none)
 *	                     |  ^
 *	          read(),    |  | no descriptor could be made
 *	          of a fork  v  |
 *	                    TAKEN --descriptor made--> DONE
 *	          QUEUED, TAKEN --killed, close--> GONE --> (none)
 *
 * While an event is neither DONE nor GONE, ctx.mmap_changing is raised: what would change the
 * address space is told to come again.
 *
 * Waiters and events are on the stacks of those who wait, or in what they own. Who may touch one:
 * who holds uffd.lock and found it on the tree or a list. The last that another thread does to one
 * is to take it off and to say so in its state, by a store-release under that lock; the owner goes
 * on when it has seen this, or has taken it off itself under the lock. The task to be woken was
 * added to a wake_q, which has a reference, before the state said so.
 *
 * Locks, outermost first: the fault's lock (of the VMA or mmap_lock) or mmap_lock for writing;
 * ctx.map_changing_lock; uffd.lock; ctx.fd_wqh.lock is taken inside none of ours.
 * Nothing is taken inside uffd.lock.
 */
#ifndef _FS_UFFD_H
#define _FS_UFFD_H

#include <linux/poll.h>
#include <linux/rbtree.h>
#include <linux/sched/wake_q.h>
#include <linux/spinlock.h>
#include <linux/userfaultfd.h>
#include <linux/userfaultfd_k.h>

/* In ctx.features, beside what user space asked for: UFFDIO_API was called. */
#define UFFD_INITIALIZED	BIT(31)

/**
 * struct uffd - a userfaultfd
 * @ctx: what the rest of the kernel knows of it. Of its wait queues only fd_wqh is used, by readers
 *	and pollers.
 * @lock: of all that follows
 * @waiters: faults, by the address that user space is told
 * @unread: those of them that nobody has read, the oldest first
 * @events: not read yet, the oldest first
 * @nr_waiters: on the tree
 * @nr_unread: on the list
 * @event_next: the last message was a fault: an event that waits comes before the next one
 */
struct uffd {
	struct userfaultfd_ctx ctx;
	spinlock_t lock;
	struct rb_root waiters;
	struct list_head unread;
	struct list_head events;
	unsigned long nr_waiters;
	unsigned long nr_unread;
	bool event_next;
};

enum uffd_waiter_state { UFFD_WAITER_UNREAD, UFFD_WAITER_READ, UFFD_WAITER_WOKEN };

/**
 * struct uffd_waiter - a thread that waits for its fault to be answered
 * @node: on the tree until it is woken or goes
 * @unread: on the list while @state is UFFD_WAITER_UNREAD
 * @msg: what user space is told
 * @task: who waits
 * @state: see the drawing
 */
struct uffd_waiter {
	struct rb_node node;
	struct list_head unread;
	struct uffd_msg msg;
	struct task_struct *task;
	enum uffd_waiter_state state;
};

enum uffd_event_state {
	UFFD_EVENT_NEW,
	UFFD_EVENT_QUEUED,
	UFFD_EVENT_TAKEN,
	UFFD_EVENT_DONE,
	UFFD_EVENT_GONE,
};

/**
 * struct uffd_taken - a reader makes the descriptor of a child
 * @event: the fork; NULL when who forked has been killed meanwhile. uffd.lock
 * @child: the child's userfaultfd; a reference
 */
struct uffd_taken {
	struct uffd_event *event;
	struct uffd *child;
};

/**
 * struct uffd_event - something happened to the address space, and user space is to be told
 * @list: in the list of the system call it belongs to; then in that of @u
 * @u: whom it is told to; a reference
 * @child: of a fork: the child's userfaultfd; a reference
 * @taken: of a fork, while it is UFFD_EVENT_TAKEN: where the reader keeps it
 * @msg: what user space is told
 * @task: who waits for it to be read
 * @state: see the drawing
 */
struct uffd_event {
	struct list_head list;
	struct uffd *u;
	struct uffd *child;
	struct uffd_taken *taken;
	struct uffd_msg msg;
	struct task_struct *task;
	enum uffd_event_state state;
};

static inline struct uffd *uffd_of(struct userfaultfd_ctx *ctx)
{
	return container_of(ctx, struct uffd, ctx);
}

static inline bool uffd_initialized(struct uffd *u)
{
	return READ_ONCE(u->ctx.features) & UFFD_INITIALIZED;
}

/* ctx.c */
struct uffd *uffd_new(struct mm_struct *mm, unsigned int flags, unsigned int features);
void uffd_put(struct uffd *u);
int uffd_install(struct uffd *u, struct inode *owner);

static inline void uffd_get(struct uffd *u)
{
	refcount_inc(&u->ctx.refcount);
}

/* waiters.c */
void uffd_waiter_add(struct uffd *u, struct uffd_waiter *w);
bool uffd_waiter_leave(struct uffd *u, struct uffd_waiter *w);
struct uffd_waiter *uffd_waiter_read(struct uffd *u);
void uffd_wake_range(struct uffd *u, unsigned long start, unsigned long len);
void uffd_wake_all(struct uffd *u);
void uffd_tell_reader(struct uffd *u);

/**
 * uffd_wake - wake who waits for memory of a range
 * @u: the userfaultfd
 * @start: address of the first byte
 * @len: bytes, more than 0
 *
 * Most memory is filled before anybody waits for it, so that the lock is left alone then. Ours:
 * write the entry, barrier, read nr_waiters. A waiter's: raise nr_waiters, barrier (in
 * set_current_state()), read the entry. One of the two sees the other.
 * Context: process context; takes @u's lock when anybody waits.
 */
static inline void uffd_wake(struct uffd *u, unsigned long start, unsigned long len)
{
	smp_mb();	/* between the entry and nr_waiters, as above */
	if (READ_ONCE(u->nr_waiters))
		uffd_wake_range(u, start, len);
}

/* events.c */
bool uffd_event_take(struct uffd *u, struct uffd_taken *taken, struct uffd_msg *msg,
		     struct wake_q_head *q);
void uffd_event_end_take(struct uffd *u, struct uffd_taken *taken, bool made);
void uffd_events_close(struct uffd *u);

/* read.c */
__poll_t uffd_poll(struct file *file, poll_table *wait);
ssize_t uffd_read_iter(struct kiocb *iocb, struct iov_iter *to);

/* api.c */
int uffd_api(struct uffd *u, void __user *arg);
void uffd_show_fdinfo(struct seq_file *m, struct file *file);

/* register.c */
int uffd_register(struct uffd *u, void __user *arg);
int uffd_unregister(struct uffd *u, void __user *arg);

/* ioctl.c */
int uffd_range_check(struct mm_struct *mm, u64 start, u64 len);
long uffd_ioctl(struct file *file, unsigned int cmd, unsigned long arg);

#endif /* _FS_UFFD_H */

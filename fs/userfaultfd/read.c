// SPDX-License-Identifier: GPL-2.0
/*
 * What user space reads: faults and events, 32 bytes each, by turns when there are both, so that
 * many faults do not keep a fork or a munmap() waiting.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/uio.h>
#include <linux/wait.h>

#include "uffd.h"

static bool take_fault(struct uffd *u, struct uffd_msg *msg)
{
	struct uffd_waiter *w = uffd_waiter_read(u);

	if (w)
		*msg = w->msg;
	return w;
}

/* Take the next message, if there is one. */
static bool next_message(struct uffd *u, struct uffd_msg *msg, struct uffd_taken *taken)
{
	bool event, fault = false;
	DEFINE_WAKE_Q(q);

	spin_lock(&u->lock);
	event = u->event_next && uffd_event_take(u, taken, msg, &q);
	if (!event)
		fault = take_fault(u, msg);
	if (!event && !fault)
		event = uffd_event_take(u, taken, msg, &q);
	u->event_next = fault;
	spin_unlock(&u->lock);
	wake_up_q(&q);
	return event || fault;
}

/* A message, now or later. The readers that wait are woken one for each message. */
static int wait_for_message(struct uffd *u, bool nowait, struct uffd_msg *msg,
			    struct uffd_taken *taken)
{
	if (!nowait)
		return wait_event_interruptible_exclusive(u->ctx.fd_wqh,
							  next_message(u, msg, taken));
	if (next_message(u, msg, taken))
		return 0;
	return signal_pending(current) ? -ERESTARTSYS : -EAGAIN;
}

/* A fork: the reader gets a descriptor for the child, which may sleep. */
static int make_descriptor(struct uffd *u, struct inode *inode, struct uffd_msg *msg,
			   struct uffd_taken *taken)
{
	int fd = uffd_install(taken->child, inode);

	if (fd >= 0)
		msg->arg.fork.ufd = fd;
	uffd_event_end_take(u, taken, fd >= 0);
	return fd < 0 ? fd : 0;
}

static int read_message(struct uffd *u, bool nowait, struct inode *inode, struct uffd_msg *msg)
{
	struct uffd_taken taken = { };
	int ret = wait_for_message(u, nowait, msg, &taken);

	if (!ret && taken.child)
		ret = make_descriptor(u, inode, msg, &taken);
	return ret;
}

/**
 * uffd_read_iter - read(2), and io_uring
 * @iocb: of the descriptor
 * @to: room for at least one message
 *
 * Waits for the first message only, and fills whole ones.
 * Return: bytes; -EINVAL before UFFDIO_API and without room for a message; -EAGAIN when nothing is
 * there and the descriptor or the call does not wait; -ERESTARTSYS; -EFAULT; what making a child's
 * descriptor failed with, the event stays.
 */
ssize_t uffd_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	struct file *file = iocb->ki_filp;
	struct uffd *u = file->private_data;
	bool nowait = file->f_flags & O_NONBLOCK || iocb->ki_flags & IOCB_NOWAIT;
	struct uffd_msg msg;
	ssize_t done = 0;
	int ret = 0;

	if (!uffd_initialized(u) || iov_iter_count(to) < sizeof(msg))
		return -EINVAL;
	while (!ret && iov_iter_count(to) >= sizeof(msg)) {
		ret = read_message(u, nowait || done, file_inode(file), &msg);
		if (!ret && !copy_to_iter_full(&msg, sizeof(msg), to))
			ret = -EFAULT;
		if (!ret)
			done += sizeof(msg);
	}
	return done ?: ret;
}

/**
 * uffd_poll - poll(2)
 * @file: the descriptor
 * @wait: where to be told
 *
 * Return: EPOLLIN when there is a message; EPOLLERR before UFFDIO_API, and for a descriptor whose
 * read() waits, as another reader may be quicker.
 */
__poll_t uffd_poll(struct file *file, poll_table *wait)
{
	struct uffd *u = file->private_data;
	bool some;

	poll_wait(file, &u->ctx.fd_wqh, wait);
	if (!uffd_initialized(u) || !(file->f_flags & O_NONBLOCK))
		return EPOLLERR;
	spin_lock(&u->lock);
	some = !list_empty(&u->unread) || !list_empty(&u->events);
	spin_unlock(&u->lock);
	return some ? EPOLLIN : 0;
}

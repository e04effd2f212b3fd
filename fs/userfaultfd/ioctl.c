// SPDX-License-Identifier: GPL-2.0
/*
 * What a handler asks for. Operations on memory stand in a table: what comes in, what goes out,
 * which modes there are, and who does it. Their structs are alike: three or four words come in,
 * and behind them goes out how many bytes were done, or an error.
 *
 *	UFFDIO_COPY, MOVE			dst	src	len	mode	-> done
 *	UFFDIO_ZEROPAGE, CONTINUE, POISON	start	len	mode		-> done
 *	UFFDIO_WRITEPROTECT			start	len	mode
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>

#include "uffd.h"

/**
 * struct operation - one call on memory, in the order of the words of a call with a source
 * @dst: address of the first byte that is answered
 * @src: where it comes from, if from anywhere
 * @len: bytes
 * @mode: bits
 */
struct operation {
	u64 dst;
	u64 src;
	u64 len;
	u64 mode;
};

static int check_length(struct mm_struct *mm, u64 start, u64 len)
{
	u64 size = mm->task_size;

	if (!len || !PAGE_ALIGNED(len) || start >= size || len > size - start)
		return -EINVAL;
	return 0;
}

/**
 * uffd_range_check - is this a range that an address space can have?
 * @mm: the address space
 * @start: address of the first byte
 * @len: bytes
 *
 * Return: 0; -EINVAL for what is not of whole pages, empty, or reaches beyond the end.
 */
int uffd_range_check(struct mm_struct *mm, u64 start, u64 len)
{
	return PAGE_ALIGNED(start) ? check_length(mm, start, len) : -EINVAL;
}

static uffd_flags_t fill_flags(const struct operation *o, u64 wp)
{
	return o->mode & wp ? MFILL_ATOMIC_WP : 0;
}

static ssize_t do_copy(struct userfaultfd_ctx *ctx, const struct operation *o)
{
	return mfill_atomic_copy(ctx, o->dst, o->src, o->len, fill_flags(o, UFFDIO_COPY_MODE_WP));
}

static ssize_t do_zeropage(struct userfaultfd_ctx *ctx, const struct operation *o)
{
	return mfill_atomic_zeropage(ctx, o->dst, o->len);
}

static ssize_t do_continue(struct userfaultfd_ctx *ctx, const struct operation *o)
{
	return mfill_atomic_continue(ctx, o->dst, o->len, fill_flags(o, UFFDIO_CONTINUE_MODE_WP));
}

static ssize_t do_poison(struct userfaultfd_ctx *ctx, const struct operation *o)
{
	return mfill_atomic_poison(ctx, o->dst, o->len, 0);
}

static ssize_t do_move(struct userfaultfd_ctx *ctx, const struct operation *o)
{
	return move_pages(ctx, o->dst, o->src, o->len, o->mode);
}

static ssize_t do_writeprotect(struct userfaultfd_ctx *ctx, const struct operation *o)
{
	bool on = o->mode & UFFDIO_WRITEPROTECT_MODE_WP;

	return mwriteprotect_range(ctx, o->dst, o->len, on) ?: o->len;
}

/* The source is a buffer like any other. */
static int check_copy(struct mm_struct *mm, const struct operation *o)
{
	return check_length(mm, o->src, o->len);
}

/* Page tables of one address space only. */
static int check_move(struct mm_struct *mm, const struct operation *o)
{
	return mm == current->mm ? uffd_range_check(mm, o->src, o->len) : -EINVAL;
}

#define WP_MODES	(UFFDIO_WRITEPROTECT_MODE_WP | UFFDIO_WRITEPROTECT_MODE_DONTWAKE)

/* To protect is no answer, so that there is nobody not to wake. */
static int check_writeprotect(struct mm_struct *mm, const struct operation *o)
{
	return o->mode == WP_MODES ? -EINVAL : 0;
}

/**
 * struct kind - what there is to know of an ioctl on memory
 * @cmd: its number
 * @words: that come in: four with a source
 * @says: how much was done is written behind them
 * @modes: bits that are known
 * @asleep: with one of these nobody is woken
 * @check: what else must hold of the arguments, or NULL
 * @run: does it. Returns bytes, or an error
 */
struct kind {
	unsigned int cmd;
	u8 words;
	bool says;
	u64 modes;
	u64 asleep;
	int (*check)(struct mm_struct *mm, const struct operation *o);
	ssize_t (*run)(struct userfaultfd_ctx *ctx, const struct operation *o);
};

static const struct kind kinds[] = {
	[_UFFDIO_COPY] = {
		UFFDIO_COPY, 4, true, UFFDIO_COPY_MODE_DONTWAKE | UFFDIO_COPY_MODE_WP,
		UFFDIO_COPY_MODE_DONTWAKE, check_copy, do_copy },
	[_UFFDIO_ZEROPAGE] = {
		UFFDIO_ZEROPAGE, 3, true, UFFDIO_ZEROPAGE_MODE_DONTWAKE,
		UFFDIO_ZEROPAGE_MODE_DONTWAKE, NULL, do_zeropage },
	[_UFFDIO_CONTINUE] = {
		UFFDIO_CONTINUE, 3, true, UFFDIO_CONTINUE_MODE_DONTWAKE | UFFDIO_CONTINUE_MODE_WP,
		UFFDIO_CONTINUE_MODE_DONTWAKE, NULL, do_continue },
	[_UFFDIO_POISON] = {
		UFFDIO_POISON, 3, true, UFFDIO_POISON_MODE_DONTWAKE,
		UFFDIO_POISON_MODE_DONTWAKE, NULL, do_poison },
	[_UFFDIO_MOVE] = {
		UFFDIO_MOVE, 4, true, UFFDIO_MOVE_MODE_DONTWAKE | UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES,
		UFFDIO_MOVE_MODE_DONTWAKE, check_move, do_move },
	[_UFFDIO_WRITEPROTECT] = {
		UFFDIO_WRITEPROTECT, 3, false, WP_MODES,
		WP_MODES, check_writeprotect, do_writeprotect },
};

static const struct kind *kind_of(unsigned int cmd)
{
	unsigned int nr = _IOC_NR(cmd);

	return nr < ARRAY_SIZE(kinds) && kinds[nr].cmd == cmd ? &kinds[nr] : NULL;
}

static int get_operation(const struct kind *k, const u64 __user *words, struct operation *o)
{
	if (copy_from_user(o, words, k->words * sizeof(*words)))
		return -EFAULT;
	/* Three words: there is no source among them. */
	if (k->words == 3)
		*o = (struct operation){ .dst = o->dst, .len = o->src, .mode = o->len };
	return 0;
}

static int check_operation(struct mm_struct *mm, const struct kind *k, const struct operation *o)
{
	if (o->mode & ~k->modes || uffd_range_check(mm, o->dst, o->len))
		return -EINVAL;
	return k->check ? k->check(mm, o) : 0;
}

static ssize_t run_operation(struct uffd *u, const struct kind *k, const struct operation *o)
{
	struct mm_struct *mm = u->ctx.mm;
	ssize_t done = check_operation(mm, k, o);

	if (done)
		return done;
	if (!mmget_not_zero(mm))
		return -ESRCH;
	done = k->run(&u->ctx, o);
	mmput(mm);
	if (done > 0 && !(o->mode & k->asleep))
		uffd_wake(u, o->dst, done);
	return done;
}

/*
 * Bytes that were done, or an error, to user space in every case. It is done all the same when that
 * cannot be written.
 */
static int on_memory(struct uffd *u, const struct kind *k, void __user *arg)
{
	u64 __user *words = arg;
	struct operation o;
	ssize_t done;

	/*
	 * Something happens to the address space that user space has not read of: let it read
	 * first.
	 */
	if (atomic_read(&u->ctx.mmap_changing))
		done = -EAGAIN;
	else
		done = get_operation(k, words, &o) ?: run_operation(u, k, &o);
	if (k->says && put_user((u64)done, words + k->words))
		return -EFAULT;
	if (done < 0)
		return done;
	return done == o.len ? 0 : -EAGAIN;
}

/* UFFDIO_WAKE: for those who were answered with a DONTWAKE mode. */
static int wake(struct uffd *u, void __user *arg)
{
	struct uffdio_range range;
	int ret;

	if (copy_from_user(&range, arg, sizeof(range)))
		return -EFAULT;
	ret = uffd_range_check(u->ctx.mm, range.start, range.len);
	if (!ret)
		uffd_wake(u, range.start, range.len);
	return ret;
}

/**
 * uffd_ioctl - ioctl(2)
 * @file: the descriptor
 * @cmd: UFFDIO_*
 * @arg: its struct, in user space
 *
 * Operations on memory write what they did, or the error, to the last word of their struct.
 * Return: 0; -EINVAL for what is not known, before UFFDIO_API, and for bad arguments; -EFAULT;
 * -EAGAIN while an event waits to be read, and when not all was done; -ESRCH when the address
 * space is gone; what the operation says.
 */
long uffd_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *argp = (void __user *)arg;
	struct uffd *u = file->private_data;
	const struct kind *k;

	if (cmd == UFFDIO_API)
		return uffd_api(u, argp);
	if (!uffd_initialized(u))
		return -EINVAL;
	k = kind_of(cmd);
	if (k)
		return on_memory(u, k, argp);
	switch (cmd) {
	case UFFDIO_REGISTER:
		return uffd_register(u, argp);
	case UFFDIO_UNREGISTER:
		return uffd_unregister(u, argp);
	case UFFDIO_WAKE:
		return wake(u, argp);
	}
	return -EINVAL;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * PAGEMAP_SCAN: which pages of a range are of some kind, and write-protect them at once.
 *
 *	arguments --> pass --> pass --> pass --> walk_end
 *		       |mmap lock|
 *		       page tables --> regions --(full, or the end)--> the caller's array
 *
 * A pass ends at the end of the range (0), when it has looked at enough page tables for one
 * hold of the mmap lock (-EAGAIN), when something did not fit (-ENOSPC), or with an error;
 * s->stop says where. Regions stay open from pass to pass, so that they are merged as if it
 * had been one. What did not fit is looked at again once the regions are copied out, or ends
 * the call when the caller's array or max_pages is used up.
 */
#include <linux/pagewalk.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "pagemap.h"
#include "scan.h"

#define SCAN_CATEGORIES	(PAGE_IS_WPALLOWED | PAGE_IS_WRITTEN | PAGE_IS_FILE | PAGE_IS_PRESENT | \
			 PAGE_IS_SWAPPED | PAGE_IS_PFNZERO | PAGE_IS_HUGE | PAGE_IS_SOFT_DIRTY)
#define SCAN_FLAGS	(PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC)

/* Regions that are collected before they are copied out: a page of them. */
#define SCAN_BUFFER	(PAGE_SIZE / sizeof(struct page_region))

static int scan_check_vec(const struct pm_scan_arg *arg)
{
	u64 bytes;

	if (!arg->vec)
		return arg->vec_len ? -EINVAL : 0;
	if (arg->vec_len > SIZE_MAX)
		return -EINVAL;
	if (check_mul_overflow(arg->vec_len, (u64)sizeof(struct page_region), &bytes) ||
	    bytes > SIZE_MAX || !access_ok((void __user *)(unsigned long)arg->vec, bytes))
		return -EFAULT;
	return 0;
}

static int scan_check(const struct pm_scan_arg *arg)
{
	u64 categories = arg->category_inverted | arg->category_mask |
			 arg->category_anyof_mask | arg->return_mask;

	if (arg->size != sizeof(*arg) || arg->flags & ~SCAN_FLAGS ||
	    categories & ~SCAN_CATEGORIES || !IS_ALIGNED(arg->start, PAGE_SIZE))
		return -EINVAL;
	if (!access_ok((void __user *)(unsigned long)arg->start, arg->end - arg->start))
		return -EFAULT;
	return scan_check_vec(arg);
}

/* What the caller asks for, checked, with what was left out filled in. */
static int scan_args(struct pagemap_scan *s, const struct pm_scan_arg __user *uarg)
{
	struct pm_scan_arg *arg = &s->arg;
	int err;

	if (copy_from_user(arg, uarg, sizeof(*arg)))
		return -EFAULT;
	arg->start = untagged_addr((unsigned long)arg->start);
	arg->end = untagged_addr((unsigned long)arg->end);
	arg->vec = untagged_addr((unsigned long)arg->vec);
	err = scan_check(arg);
	if (err)
		return err;

	arg->end = PAGE_ALIGN(arg->end);
	if (!arg->max_pages)
		arg->max_pages = ULONG_MAX;
	s->asked = arg->category_mask | arg->category_anyof_mask | arg->return_mask;
	s->vec = (struct page_region __user *)(unsigned long)arg->vec;
	s->max = min(arg->vec_len, SCAN_BUFFER);
	if (!s->max)
		return 0;
	s->buf = kmalloc_array(s->max, sizeof(*s->buf), GFP_KERNEL);
	return s->buf ? 0 : -ENOMEM;
}

/* Give the caller what was found so far. */
static int scan_copy_out(struct pagemap_scan *s)
{
	if (!s->nr)
		return 0;
	if (copy_to_user(s->vec, s->buf, s->nr * sizeof(*s->buf)))
		return -EFAULT;
	s->vec += s->nr;
	s->regions += s->nr;
	s->arg.vec_len -= s->nr;
	s->nr = 0;
	s->max = min(s->max, s->arg.vec_len);
	return 0;
}

/* Is there no use in going on, with the regions copied out? */
static bool scan_used_up(const struct pagemap_scan *s)
{
	return s->stuck || !s->arg.vec_len || s->found == s->arg.max_pages;
}

/* Pass after pass. Return: 0 when the range, or what was granted, is used up; or an error. */
static int scan_passes(struct pagemap_scan *s, struct mm_struct *mm)
{
	int err = 0;

	for (s->stop = s->arg.start; s->stop < s->arg.end; ) {
		if (fatal_signal_pending(current))
			return -EINTR;
		err = scan_pass(s, mm, s->stop);
		if (err == -ENOSPC) {
			err = scan_copy_out(s);
			if (err || scan_used_up(s))
				return err;
		} else if (err && err != -EAGAIN) {
			return err;
		}
		cond_resched();
	}
	return 0;
}

/**
 * pagemap_scan_ioctl - the PAGEMAP_SCAN ioctl
 * @mm: the address space
 * @uarg: struct pm_scan_arg of the caller; walk_end is written
 *
 * A page is looked at and write-protected in one hold of its page table's lock, and no TLB
 * can write to it any more when this returns: a write is either in what was reported, or is
 * noticed by the next scan. It is no picture of the whole range at one moment.
 *
 * Context: process, may sleep; takes the mmap lock for reading, for a limited time.
 * Return: the number of regions; -ESRCH without an address space; -EINVAL for what makes no
 * sense; -EFAULT for memory that is not the caller's; -EPERM when PM_SCAN_CHECK_WPASYNC met a
 * VMA without asynchronous write-protection; -ENOMEM; -EINTR. After an error regions that
 * were found before it may have been written, and walk_end says how far it came.
 */
long pagemap_scan_ioctl(struct mm_struct *mm, unsigned long uarg)
{
	struct pm_scan_arg __user *user = (struct pm_scan_arg __user *)uarg;
	struct pagemap_scan s = {};
	u64 walk_end;
	long ret;
	int err;

	if (!mmget_not_zero(mm))
		return -ESRCH;
	ret = scan_args(&s, user);
	if (ret)
		goto out;

	ret = scan_passes(&s, mm);
	err = scan_copy_out(&s);
	walk_end = s.stop;
	if (put_user(walk_end, &user->walk_end))
		err = -EFAULT;
	ret = err ?: ret ?: s.regions;
out:
	kfree(s.buf);
	mmput(mm);
	return ret;
}

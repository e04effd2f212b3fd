// SPDX-License-Identifier: GPL-2.0
/*
 * Which memory is a userfaultfd's, and what it is told of it. All VMAs are checked before one
 * is changed.
 */
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>

#include "uffd.h"

/**
 * struct request - a range to be registered, or not any more
 * @u: the userfaultfd
 * @start: address of the first byte
 * @end: address behind the last
 * @vm_flags: what it will be told of; 0 to unregister
 * @hugetlb: some of it is hugetlb
 */
struct request {
	struct uffd *u;
	unsigned long start;
	unsigned long end;
	unsigned long vm_flags;
	bool hugetlb;
};

static bool wp_async(const struct request *r)
{
	return r->u->ctx.features & UFFD_FEATURE_WP_ASYNC;
}

/* VM flags of the modes; 0 when one is not known or not of this architecture. */
static unsigned long flags_of_modes(u64 modes)
{
	static const struct {
		u64 mode;
		unsigned long flag;
		bool here;
	} known[] = {
		{ UFFDIO_REGISTER_MODE_MISSING, VM_UFFD_MISSING, true },
		{ UFFDIO_REGISTER_MODE_WP, VM_UFFD_WP,
		  IS_ENABLED(CONFIG_HAVE_ARCH_USERFAULTFD_WP) },
		{ UFFDIO_REGISTER_MODE_MINOR, VM_UFFD_MINOR,
		  IS_ENABLED(CONFIG_HAVE_ARCH_USERFAULTFD_MINOR) },
	};
	unsigned long flags = 0;

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (!(modes & known[i].mode) || !known[i].here)
			continue;
		flags |= known[i].flag;
		modes &= ~known[i].mode;
	}
	return modes ? 0 : flags;
}

/* Does the range cut a page of hugetlb? */
static bool begins_in_page(const struct request *r, struct vm_area_struct *first)
{
	return is_vm_hugetlb_page(first) && !IS_ALIGNED(r->start, vma_kernel_pagesize(first));
}

static bool ends_in_page(const struct request *r, struct vm_area_struct *vma)
{
	return is_vm_hugetlb_page(vma) && r->end < vma->vm_end &&
	       !IS_ALIGNED(r->end, vma_kernel_pagesize(vma));
}

static int may_register(struct request *r, struct vm_area_struct *vma)
{
	struct userfaultfd_ctx *ctx = vma->vm_userfaultfd_ctx.ctx;

	if (!vma_can_userfault(vma, r->vm_flags, wp_async(r)))
		return -EINVAL;
	/*
	 * Holes of a file are filled without PROT_WRITE, but not of one that may not be written
	 * to.
	 */
	if (!(vma->vm_flags & VM_MAYWRITE))
		return -EPERM;
	if (ends_in_page(r, vma))
		return -EINVAL;
	/* Whom would a fault be told to? */
	if (ctx && ctx != &r->u->ctx)
		return -EBUSY;
	r->hugetlb |= is_vm_hugetlb_page(vma);
	return 0;
}

static int may_unregister(struct request *r, struct vm_area_struct *vma)
{
	struct userfaultfd_ctx *ctx = vma->vm_userfaultfd_ctx.ctx;

	if (!vma_can_userfault(vma, vma->vm_flags, wp_async(r)) || ends_in_page(r, vma))
		return -EINVAL;
	/* What is another one's it unregisters itself. */
	return ctx && ctx != &r->u->ctx ? -EINVAL : 0;
}

/* Look at all VMAs of the range. Returns the first one, or an error. */
static struct vm_area_struct *check_all(struct request *r)
{
	struct vm_area_struct *vma, *first = NULL;
	struct vma_iterator vmi;
	int ret;

	vma_iter_init(&vmi, r->u->ctx.mm, r->start);
	for_each_vma_range(vmi, vma, r->end) {
		cond_resched();
		if (!first && begins_in_page(r, vma))
			return ERR_PTR(-EINVAL);
		ret = r->vm_flags ? may_register(r, vma) : may_unregister(r, vma);
		if (ret)
			return ERR_PTR(ret);
		if (!first)
			first = vma;
	}
	return first ?: ERR_PTR(-EINVAL);
}

static int register_all(struct request *r, struct vm_area_struct *first)
{
	return userfaultfd_register_range(&r->u->ctx, first, r->vm_flags, r->start, r->end,
					  wp_async(r));
}

/*
 * A fault that holds the VMA's lock alone can still begin to wait before the VMA is changed,
 * but not after: who is woken then are all. They find memory that is like any other.
 */
static int unregister_all(struct request *r, struct vm_area_struct *vma)
{
	struct vm_area_struct *prev;
	struct vma_iterator vmi;
	unsigned long start, end;

	vma_iter_init(&vmi, r->u->ctx.mm, r->start);
	prev = vma_prev(&vmi);
	if (vma->vm_start < r->start)
		prev = vma;
	for_each_vma_range(vmi, vma, r->end) {
		cond_resched();
		if (vma->vm_userfaultfd_ctx.ctx) {
			start = max(r->start, vma->vm_start);
			end = min(r->end, vma->vm_end);
			vma = userfaultfd_clear_vma(&vmi, prev, vma, start, end);
			if (IS_ERR(vma))
				return PTR_ERR(vma);
			uffd_wake(r->u, start, end - start);
		}
		prev = vma;
	}
	return 0;
}

static int change(struct request *r, int (*all)(struct request *r, struct vm_area_struct *first))
{
	struct mm_struct *mm = r->u->ctx.mm;
	struct vm_area_struct *first;
	int ret;

	if (!mmget_not_zero(mm))
		return -ENOMEM;
	mmap_write_lock(mm);
	first = check_all(r);
	ret = IS_ERR(first) ? PTR_ERR(first) : all(r, first);
	mmap_write_unlock(mm);
	mmput(mm);
	return ret;
}

/* What is sure to work on all of the range. */
static u64 ioctls_of(const struct request *r)
{
	u64 ioctls = r->hugetlb ? UFFD_API_RANGE_IOCTLS_BASIC : UFFD_API_RANGE_IOCTLS;

	if (!(r->vm_flags & VM_UFFD_WP))
		ioctls &= ~BIT_ULL(_UFFDIO_WRITEPROTECT);
	if (!(r->vm_flags & VM_UFFD_MINOR))
		ioctls &= ~BIT_ULL(_UFFDIO_CONTINUE);
	return ioctls;
}

/**
 * uffd_register - UFFDIO_REGISTER
 * @u: the userfaultfd
 * @arg: struct uffdio_register
 *
 * Return: 0, and ioctls is filled in; -EFAULT; -EINVAL for modes that are not known, a bad
 * range, one without memory, and memory that cannot be registered so; -EPERM for memory that
 * may not be written to; -EBUSY for that of another userfaultfd; -ENOMEM, also when the address
 * space is gone.
 */
int uffd_register(struct uffd *u, void __user *arg)
{
	struct uffdio_register __user *out = arg;
	struct uffdio_register in;
	struct request r = { .u = u };
	int ret;

	if (copy_from_user(&in, arg, offsetof(struct uffdio_register, ioctls)))
		return -EFAULT;
	r.vm_flags = flags_of_modes(in.mode);
	if (!r.vm_flags)
		return -EINVAL;
	ret = uffd_range_check(u->ctx.mm, in.range.start, in.range.len);
	if (ret)
		return ret;
	r.start = in.range.start;
	r.end = r.start + in.range.len;
	return change(&r, register_all) ?: put_user(ioctls_of(&r), &out->ioctls);
}

/**
 * uffd_unregister - UFFDIO_UNREGISTER
 * @u: the userfaultfd
 * @arg: struct uffdio_range
 *
 * Who waits for memory of the range is woken. What is not registered there stays so.
 * Return: 0; -EFAULT; -EINVAL for a bad range, one without memory, memory that cannot be
 * registered, and that of another userfaultfd; -ENOMEM, also when the address space is gone.
 */
int uffd_unregister(struct uffd *u, void __user *arg)
{
	struct uffdio_range in;
	struct request r = { .u = u };
	int ret;

	if (copy_from_user(&in, arg, sizeof(in)))
		return -EFAULT;
	ret = uffd_range_check(u->ctx.mm, in.start, in.len);
	if (ret)
		return ret;
	r.start = in.start;
	r.end = r.start + in.len;
	return change(&r, unregister_all);
}

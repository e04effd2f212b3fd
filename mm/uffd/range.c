// SPDX-License-Identifier: GPL-2.0
/*
 * VMAs that belong to a userfaultfd: they are given to it, taken back, and given up with it.
 *
 *	a part of a VMA becomes one of its own, or becomes one with its neighbour:
 *
 *	before	|------------- none -------------|--- ctx ---|
 *	register	 |<---------->|
 *	after	|- none -|---- ctx ---|-- none --|--- ctx ---|
 */
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>

#include "../vma.h"
#include "uffd.h"

/* Who holds the VMA's lock sees the old owner and the old modes, or the new ones. */
static void range_give(struct vm_area_struct *vma, struct userfaultfd_ctx *ctx,
		       unsigned long modes)
{
	bool wp = userfaultfd_wp(vma);

	vma_start_write(vma);
	vma->vm_userfaultfd_ctx.ctx = ctx;
	vm_flags_reset(vma, (vma->vm_flags & ~__VM_UFFD_FLAGS) | modes);
	/* Writes to shared memory have to be noticed, or need not be any more. */
	if (vma->vm_flags & VM_SHARED && wp != userfaultfd_wp(vma))
		vma_set_page_prot(vma);
}

/**
 * userfaultfd_reset_ctx - a VMA belongs to no userfaultfd any more
 * @vma: the VMA
 *
 * Entries stay as they are.
 *
 * Context: mmap_lock held for writing.
 */
void userfaultfd_reset_ctx(struct vm_area_struct *vma)
{
	range_give(vma, NULL, 0);
}

/**
 * userfaultfd_clear_vma - take a part of a VMA from its userfaultfd
 * @vmi: the iterator that found @vma
 * @prev: the VMA before it, which it may become one with
 * @vma: the VMA
 * @start: address of the part's first byte
 * @end: of the part
 *
 * Context: mmap_lock held for writing; sleeps.
 * Return: the VMA that has the part now, its entries not write-protected; an error when it could
 * not be split, with entries not protected.
 */
struct vm_area_struct *userfaultfd_clear_vma(struct vma_iterator *vmi, struct vm_area_struct *prev,
					     struct vm_area_struct *vma, unsigned long start,
					     unsigned long end)
{
	/* A whole VMA can do without becoming one with a neighbour: so that this never fails. */
	bool whole = start == vma->vm_start && end == vma->vm_end;

	if (userfaultfd_wp(vma))
		uffd_wp_range(vma, start, end - start, false);
	vma = vma_modify_flags_uffd(vmi, prev, vma, start, end, vma->vm_flags & ~__VM_UFFD_FLAGS,
				    NULL_VM_UFFD_CTX, whole);
	/* One that has become a part of its neighbour is as before until now. */
	if (!IS_ERR(vma))
		userfaultfd_reset_ctx(vma);
	return vma;
}

/* Give a part of a VMA to @ctx. Return: the VMA that has it now, or an error. */
static struct vm_area_struct *range_register(struct vma_iterator *vmi, struct vm_area_struct *prev,
					     struct vm_area_struct *vma, unsigned long start,
					     unsigned long end, struct userfaultfd_ctx *ctx,
					     unsigned long modes)
{
	vma = vma_modify_flags_uffd(vmi, prev, vma, start, end,
				    (vma->vm_flags & ~__VM_UFFD_FLAGS) | modes,
				    (struct vm_userfaultfd_ctx){ ctx }, false);
	if (IS_ERR(vma))
		return vma;
	range_give(vma, ctx, modes);
	if (is_vm_hugetlb_page(vma) && uffd_disable_huge_pmd_share(vma))
		hugetlb_unshare_all_pmds(vma);
	return vma;
}

/**
 * userfaultfd_register_range - give VMAs to a userfaultfd
 * @ctx: the userfaultfd
 * @vma: the first VMA that has something of the range
 * @vm_flags: VM_UFFD_*: the modes
 * @start: address of the first byte
 * @end: of the range
 * @wp_async: faults of protected memory are answered by the kernel
 *
 * The caller has asked each VMA whether this may be. After an error those before belong to it.
 *
 * Context: mmap_lock held for writing; sleeps.
 * Return: 0 or -ENOMEM.
 */
int userfaultfd_register_range(struct userfaultfd_ctx *ctx, struct vm_area_struct *vma,
			       unsigned long vm_flags, unsigned long start, unsigned long end,
			       bool wp_async)
{
	struct vm_area_struct *prev;
	struct vma_iterator vmi;

	vma_iter_init(&vmi, ctx->mm, start);
	prev = vma_prev(&vmi);
	if (vma->vm_start < start)
		prev = vma;
	for_each_vma_range(vmi, vma, end) {
		struct userfaultfd_ctx *owner = vma->vm_userfaultfd_ctx.ctx;

		cond_resched();
		WARN_ON_ONCE(!vma_can_userfault(vma, vm_flags, wp_async) ||
			     (owner && owner != ctx) || !(vma->vm_flags & VM_MAYWRITE));
		start = max(start, vma->vm_start);
		if (owner != ctx || (vma->vm_flags & vm_flags) != vm_flags)
			vma = range_register(&vmi, prev, vma, start, min(end, vma->vm_end), ctx,
					     vm_flags);
		if (IS_ERR(vma))
			return PTR_ERR(vma);
		prev = vma;
		start = vma->vm_end;
	}
	return 0;
}

/**
 * userfaultfd_release_new - the child of a fork shall not have the userfaultfd that was made for it
 * @ctx: the userfaultfd
 *
 * Context: takes mmap_lock for writing.
 */
void userfaultfd_release_new(struct userfaultfd_ctx *ctx)
{
	struct mm_struct *mm = ctx->mm;
	struct vm_area_struct *vma;
	struct vma_iterator vmi;

	mmap_write_lock(mm);
	vma_iter_init(&vmi, mm, 0);
	for_each_vma(vmi, vma)
		if (vma->vm_userfaultfd_ctx.ctx == ctx)
			userfaultfd_reset_ctx(vma);
	mmap_write_unlock(mm);
}

/**
 * userfaultfd_release_all - a userfaultfd is closed: its VMAs belong to nobody
 * @mm: the address space, which may be gone
 * @ctx: the userfaultfd; ctx->released is set
 *
 * A fault that has found the VMA, and not yet that @ctx is released, is over when mmap_lock is
 * ours; one that comes later finds that it is released, and is tried again. So none ends in SIGBUS.
 *
 * Context: takes mmap_lock for writing; sleeps.
 */
void userfaultfd_release_all(struct mm_struct *mm, struct userfaultfd_ctx *ctx)
{
	struct vm_area_struct *vma, *prev = NULL;
	struct vma_iterator vmi;

	if (!mmget_not_zero(mm))
		return;
	mmap_write_lock(mm);
	vma_iter_init(&vmi, mm, 0);
	for_each_vma(vmi, vma) {
		cond_resched();
		WARN_ON_ONCE(!vma->vm_userfaultfd_ctx.ctx != !(vma->vm_flags & __VM_UFFD_FLAGS));
		if (vma->vm_userfaultfd_ctx.ctx == ctx)
			vma = userfaultfd_clear_vma(&vmi, prev, vma, vma->vm_start, vma->vm_end);
		prev = vma;
	}
	mmap_write_unlock(mm);
	mmput(mm);
}

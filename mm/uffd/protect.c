// SPDX-License-Identifier: GPL-2.0
/*
 * Write protection for user space: UFFDIO_WRITEPROTECT, and PAGEMAP_SCAN.
 */
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <asm/tlb.h>

#include "uffd.h"

/*
 * Protection of shared memory is in vm_page_prot already, so that an entry that is protected no
 * longer has to be asked whether it may be written at once.
 */
static unsigned int protect_flags(struct vm_area_struct *vma, bool enable)
{
	if (enable)
		return MM_CP_UFFD_WP;
	return MM_CP_UFFD_WP_RESOLVE |
	       (vma_wants_manual_pte_write_upgrade(vma) ? MM_CP_TRY_CHANGE_WRITABLE : 0);
}

static long protect_vma(struct mmu_gather *tlb, struct vm_area_struct *vma, unsigned long start,
			unsigned long end, bool enable)
{
	VM_WARN_ON_ONCE(start < vma->vm_start || end > vma->vm_end);
	return change_protection(tlb, vma, start, end, protect_flags(vma, enable));
}

/**
 * uffd_wp_range - write-protect a range of a VMA, or end that
 * @vma: the VMA
 * @start: address of the first byte, of a page
 * @len: bytes, not beyond the VMA
 * @enable_wp: protect?
 *
 * Context: mmap_lock held. TLBs are flushed on return.
 * Return: pages that changed; -ENOMEM when there was none for a page table.
 */
long uffd_wp_range(struct vm_area_struct *vma, unsigned long start, unsigned long len,
		   bool enable_wp)
{
	struct mmu_gather tlb;
	long ret;

	tlb_gather_mmu(&tlb, vma->vm_mm);
	ret = protect_vma(&tlb, vma, start, start + len, enable_wp);
	tlb_finish_mmu(&tlb);
	return ret;
}

/* May this part of the VMA be protected? */
static int protect_check(struct userfaultfd_ctx *ctx, struct vm_area_struct *vma,
			 unsigned long start, unsigned long len)
{
	unsigned long size = vma_kernel_pagesize(vma);

	if (!userfaultfd_wp(vma))
		return -ENOENT;
	if (vma->vm_userfaultfd_ctx.ctx != ctx)
		return -EINVAL;
	return IS_ALIGNED(start, size) && IS_ALIGNED(len, size) ? 0 : -EINVAL;
}

static int protect_vmas(struct userfaultfd_ctx *ctx, struct mmu_gather *tlb, unsigned long start,
			unsigned long len, bool enable)
{
	unsigned long end = start + len;
	struct vm_area_struct *vma;
	struct vma_iterator vmi;
	long err = -ENOENT;

	vma_iter_init(&vmi, ctx->mm, start);
	for_each_vma_range(vmi, vma, end) {
		unsigned long from = max(vma->vm_start, start);

		err = protect_check(ctx, vma, start, len);
		if (err)
			break;
		err = protect_vma(tlb, vma, from, min(vma->vm_end, end), enable);
		if (err < 0)
			break;
		err = 0;
	}
	return err;
}

/**
 * mwriteprotect_range - write-protect memory, or end that
 * @ctx: the userfaultfd that the memory is registered with
 * @start: address of the first byte, of a page
 * @len: bytes, whole pages, more than 0
 * @enable_wp: protect?
 *
 * Memory of several VMAs; where none is, nothing is said. After an error a part may be done.
 *
 * Context: sleeps; takes mmap_lock for reading.
 * Return: 0; -ENOENT for what is not registered for write protection, or when there is no VMA;
 * -EINVAL for another userfaultfd's, and for hugetlb when it is not of whole pages; -EAGAIN while
 * an event waits to be read; -ENOMEM.
 */
int mwriteprotect_range(struct userfaultfd_ctx *ctx, unsigned long start, unsigned long len,
			bool enable_wp)
{
	struct mmu_gather tlb;
	int err = -EAGAIN;

	mmap_read_lock(ctx->mm);
	down_read(&ctx->map_changing_lock);
	if (!atomic_read(&ctx->mmap_changing)) {
		/* One flush for all. */
		tlb_gather_mmu(&tlb, ctx->mm);
		err = protect_vmas(ctx, &tlb, start, len, enable_wp);
		tlb_finish_mmu(&tlb);
	}
	up_read(&ctx->map_changing_lock);
	mmap_read_unlock(ctx->mm);
	return err;
}

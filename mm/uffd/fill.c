// SPDX-License-Identifier: GPL-2.0
/*
 * Memory is filled: UFFDIO_COPY, ZEROPAGE, CONTINUE, POISON.
 *
 *	for each page table
 *	   fill_begin()		VMA found, locked, and asked whether this may be
 *	   for what is left of it
 *	      a step		as many pages as can be made together; what it says:
 *				0	they are filled
 *				again	nothing was done, and the hold is another one
 *				error	nothing was done
 *	   fill_end()
 *
 * While a VMA is locked no fault may happen: it would want the lock of another address space, whose
 * faults may want this one. So a step copies with faults switched off, and if the source is not in
 * memory it ends the hold, copies, and begins again.
 *
 * The caller is told how many bytes were filled before the error, or the error if none were.
 */
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>

#include "uffd.h"

/**
 * uffd_pmd_alloc - the PMD of an address
 * @mm: the address space
 * @addr: the address
 *
 * Context: sleeps; the VMA is locked.
 * Return: the PMD, which may be empty; NULL when there is no memory for the tables above it, or a
 * device's fault has just put a huge page in place of one.
 */
pmd_t *uffd_pmd_alloc(struct mm_struct *mm, unsigned long addr)
{
	p4d_t *p4d = p4d_alloc(mm, pgd_offset(mm, addr), addr);
	pud_t *pud = p4d ? pud_alloc(mm, p4d, addr) : NULL;
	pmd_t *pmd = pud ? pmd_alloc(mm, pud, addr) : NULL;

	return pmd && !pud_trans_unstable(pud) ? pmd : NULL;
}

/* May this VMA be filled so? That it may be written was asked when it was registered. */
static __always_inline int fill_check(struct fill *f)
{
	struct vm_area_struct *vma = f->vma;

	if (f->end > vma->vm_end || !vma->vm_userfaultfd_ctx.ctx)
		return -ENOENT;
	/* Something happens to the address space that user space has not read of. */
	if (atomic_read(&f->ctx->mmap_changing))
		return -EAGAIN;
	if (vma->vm_userfaultfd_ctx.ctx != f->ctx)
		return -EINVAL;
	if (f->flags & MFILL_ATOMIC_WP && !userfaultfd_wp(vma))
		return -EINVAL;
	if (vma_is_anonymous(vma))
		return fill_is(f, MFILL_ATOMIC_CONTINUE) ? -EINVAL : 0;
	if (is_vm_hugetlb_page(vma))
		return fill_hugetlb_check(f);
	return vma_is_shmem(vma) ? 0 : -EINVAL;
}

/* A page table for f->dst, whose entries can be written; or an empty PMD that may become huge. */
static __always_inline int fill_find_table(struct fill *f)
{
	struct mm_struct *mm = f->vma->vm_mm;
	pmd_t pmd;

	f->pmd = uffd_pmd_alloc(mm, f->dst);
	if (!f->pmd)
		return -ENOMEM;
	f->huge = pmd_none(pmdp_get_lockless(f->pmd)) && fill_may_be_huge(f);
	if (f->huge)
		return 0;
	if (pte_alloc(mm, f->pmd))
		return -ENOMEM;
	/* Only a look: who locks the table finds out whether it is still there. */
	pmd = pmdp_get_lockless(f->pmd);
	if (!pmd_present(pmd) || pmd_trans_huge(pmd) || pmd_devmap(pmd))
		return -EEXIST;
	return pmd_bad(pmd) ? -EFAULT : 0;
}

static __always_inline int begin(struct fill *f)
{
	struct vm_area_struct *vma = uffd_vma_lock(f->ctx->mm, f->dst);
	int err;

	if (IS_ERR(vma))
		return PTR_ERR(vma);
	f->vma = vma;
	f->huge = false;
	down_read(&f->ctx->map_changing_lock);
	err = fill_check(f);
	if (err)
		return err;
	if (is_vm_hugetlb_page(vma)) {
		f->table_end = min(f->end, f->dst + vma_kernel_pagesize(vma));
		return 0;
	}
	f->table_end = pmd_addr_end(f->dst, f->end);
	return fill_find_table(f);
}

/**
 * fill_begin - lock what is needed to fill the next table
 * @f: the fill; nothing is locked
 *
 * Context: sleeps. Until fill_end() faults must be off.
 * Return: 0; what is wrong with the VMA; -ENOMEM; -EEXIST when a huge page is there. After an error
 * @f->vma may be locked or not.
 */
int fill_begin(struct fill *f)
{
	return begin(f);
}

/**
 * fill_end - undo fill_begin()
 * @f: the fill; it may be unlocked already
 */
void fill_end(struct fill *f)
{
	if (!f->vma)
		return;
	up_read(&f->ctx->map_changing_lock);
	uffd_vma_unlock(f->vma);
	f->vma = NULL;
}

/* All of the table's range at once; or a table, to go on in. */
static int fill_whole(struct fill *f)
{
	int err = fill_huge(f);

	return err == FILL_SMALLER ? fill_find_table(f) : err;
}

static int fill_step(struct fill *f)
{
	if (f->huge)
		return fill_whole(f);
	if (is_vm_hugetlb_page(f->vma))
		return fill_hugetlb(f);
	if (fill_is(f, MFILL_ATOMIC_CONTINUE))
		return fill_continue(f);
	if (fill_is(f, MFILL_ATOMIC_POISON))
		return fill_poison(f);
	/* A private mapping gets pages of its own, and the file keeps its hole. */
	if (f->vma->vm_flags & VM_SHARED)
		return fill_shmem(f);
	return fill_is(f, MFILL_ATOMIC_COPY) ? fill_pages(f) : fill_zero(f);
}

/* A range of whole pages that is not empty and does not wrap. */
static ssize_t fill(struct userfaultfd_ctx *ctx, unsigned long dst, unsigned long src,
		    unsigned long len, uffd_flags_t flags)
{
	struct fill f = { .ctx = ctx, .flags = flags, .dst = dst, .src = src, .end = dst + len };
	int err;

	do {
		err = begin(&f);
		while (!err && f.dst < f.table_end) {
			err = fill_step(&f);
			if (err == FILL_AGAIN)
				err = 0;
			cond_resched();
			if (!err && fatal_signal_pending(current))
				err = -EINTR;
		}
		fill_end(&f);
	} while (!err && f.dst < f.end);
	return f.dst == dst ? err : f.dst - dst;
}

/**
 * mfill_atomic_copy - fill memory with what is elsewhere
 * @ctx: the userfaultfd that the memory is registered with
 * @dst_start: address of the first byte, of a page
 * @src_start: where the contents are, in the caller's address space; need not be aligned
 * @len: bytes, whole pages, more than 0
 * @flags: MFILL_ATOMIC_WP to have it write-protected
 *
 * Context: sleeps; @ctx->mm is held.
 * Return: bytes, when any were filled. Else -ENOENT for what is not registered memory of one VMA;
 * -EINVAL for another userfaultfd's, or when it is not registered for write protection; -EAGAIN
 * while an event waits to be read; -EEXIST where something is; -EFAULT behind a file's end, and
 * when the source cannot be read; -ENOMEM; -EINTR when the caller is being killed.
 */
ssize_t mfill_atomic_copy(struct userfaultfd_ctx *ctx, unsigned long dst_start,
			  unsigned long src_start, unsigned long len, uffd_flags_t flags)
{
	return fill(ctx, dst_start, src_start, len, uffd_flags_set_mode(flags, MFILL_ATOMIC_COPY));
}

/**
 * mfill_atomic_zeropage - fill memory with zeroes
 * @ctx: as for mfill_atomic_copy()
 * @dst_start: the same
 * @len: the same
 *
 * Context: sleeps; @ctx->mm is held.
 * Return: as mfill_atomic_copy(); -EINVAL for hugetlb, which has no zero page.
 */
ssize_t mfill_atomic_zeropage(struct userfaultfd_ctx *ctx, unsigned long dst_start,
			      unsigned long len)
{
	return fill(ctx, dst_start, 0, len, uffd_flags_set_mode(0, MFILL_ATOMIC_ZEROPAGE));
}

/**
 * mfill_atomic_continue - map what the file has already
 * @ctx: as for mfill_atomic_copy()
 * @dst_start: the same
 * @len: the same
 * @flags: the same
 *
 * What the caller wrote to the pages before is seen by who reads them through the new mapping.
 *
 * Context: sleeps; @ctx->mm is held.
 * Return: as mfill_atomic_copy(); -EINVAL for anonymous memory; -EFAULT where the file has nothing;
 * -EIO for a page that is lost.
 */
ssize_t mfill_atomic_continue(struct userfaultfd_ctx *ctx, unsigned long dst_start,
			      unsigned long len, uffd_flags_t flags)
{
	smp_wmb();	/* between contents and entries; pairs with who walks the new entries */
	return fill(ctx, dst_start, 0, len, uffd_flags_set_mode(flags, MFILL_ATOMIC_CONTINUE));
}

/**
 * mfill_atomic_poison - who touches this memory gets SIGBUS
 * @ctx: as for mfill_atomic_copy()
 * @start: address of the first byte, of a page
 * @len: as for mfill_atomic_copy()
 * @flags: nothing yet
 *
 * Context: sleeps; @ctx->mm is held.
 * Return: as mfill_atomic_copy().
 */
ssize_t mfill_atomic_poison(struct userfaultfd_ctx *ctx, unsigned long start, unsigned long len,
			    uffd_flags_t flags)
{
	return fill(ctx, start, 0, len, uffd_flags_set_mode(flags, MFILL_ATOMIC_POISON));
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Write protection for user space: UFFDIO_WRITEPROTECT, and PAGEMAP_SCAN.
 *
 *	VMA ----> hugetlb: change_protection()
 *	  |
 *	  +-----> table by table: huge and all of it asked for: as it is
 *				  nothing there, but markers are wanted: a table is made
 *				  a table: protect_run.c
 */
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagewalk.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <asm/tlb.h>

#include "uffd.h"

/*
 * Protection of shared memory is in vm_page_prot already, so that an entry that is protected no
 * longer has to be asked whether it may be written at once.
 */
static unsigned int protect_flags(const struct uffd_protect *p)
{
	if (p->enable)
		return MM_CP_UFFD_WP;
	return MM_CP_UFFD_WP_RESOLVE | (p->upgrade ? MM_CP_TRY_CHANGE_WRITABLE : 0);
}

/* Markers are entries: of a file's huge page nothing is left but the table for them. */
static bool protect_stays_huge(const struct uffd_protect *p, unsigned long addr, unsigned long end)
{
	return end - addr == HPAGE_PMD_SIZE && (!p->enable || vma_is_anonymous(p->vma));
}

/* Return: whether it is done with; otherwise there is a table, or nothing, by now. */
static bool protect_huge(struct uffd_protect *p, pmd_t *pmd, unsigned long addr, unsigned long end)
{
	struct vm_area_struct *vma = p->vma;
	int pages;

	if (!protect_stays_huge(p, addr, end)) {
		split_huge_pmd(vma, pmd, addr);
		return false;
	}
	pages = change_huge_pmd(p->tlb, vma, pmd, addr, vma->vm_page_prot, protect_flags(p));
	if (pages == HPAGE_PMD_NR)
		p->pages += pages;
	return pages;
}

/* A PMD that was not empty. */
static int protect_pmd(pmd_t *pmd, unsigned long addr, unsigned long end, struct mm_walk *walk)
{
	struct uffd_protect *p = walk->private;
	pmd_t seen = pmdp_get_lockless(pmd);

	if ((is_swap_pmd(seen) || pmd_trans_huge(seen) || pmd_devmap(seen)) &&
	    protect_huge(p, pmd, addr, end))
		return 0;
	if (p->markers && pte_alloc(p->vma->vm_mm, pmd))
		return -ENOMEM;
	if (!uffd_protect_entries(p, pmd, addr, end))
		walk->action = ACTION_AGAIN;
	cond_resched();
	return 0;
}

/* What has no table needs one for its markers. */
static int protect_hole(unsigned long addr, unsigned long end, int depth, struct mm_walk *walk)
{
	struct uffd_protect *p = walk->private;
	struct mm_struct *mm = p->vma->vm_mm;
	unsigned long next;
	pmd_t *pmd;

	for (; p->markers && addr != end; addr = next) {
		next = pmd_addr_end(addr, end);
		do {
			pmd = uffd_pmd_alloc(mm, addr);
			if (!pmd || pte_alloc(mm, pmd))
				return -ENOMEM;
			/* A fault may have mapped a huge page meanwhile. */
			split_huge_pmd(p->vma, pmd, addr);
		} while (!uffd_protect_entries(p, pmd, addr, next));
		cond_resched();
	}
	return 0;
}

static const struct mm_walk_ops protect_ops = {
	.pmd_entry = protect_pmd,
	.pte_hole = protect_hole,
	.walk_lock = PGWALK_RDLOCK,
};

static long protect_tables(struct mmu_gather *tlb, struct vm_area_struct *vma,
			   unsigned long start, unsigned long end, bool enable)
{
	struct uffd_protect p = {
		.tlb = tlb, .vma = vma, .enable = enable,
		/* Drivers' memory may look so, too. */
		.anonymous = vma_is_anonymous(vma) && !(vma->vm_flags & (VM_PFNMAP | VM_MIXEDMAP)),
		.markers = enable && userfaultfd_wp_use_markers(vma),
		.upgrade = !enable && vma_wants_manual_pte_write_upgrade(vma),
	};
	struct mmu_notifier_range range;
	int err;

	mmu_notifier_range_init(&range, MMU_NOTIFY_PROTECTION_VMA, 0, vma->vm_mm, start, end);
	mmu_notifier_invalidate_range_start(&range);
	tlb_start_vma(tlb, vma);
	err = walk_page_range_vma(vma, start, end, &protect_ops, &p);
	tlb_end_vma(tlb, vma);
	mmu_notifier_invalidate_range_end(&range);
	return err ? err : p.pages;
}

static long protect_vma(struct mmu_gather *tlb, struct vm_area_struct *vma, unsigned long start,
			unsigned long end, bool enable)
{
	VM_WARN_ON_ONCE(start < vma->vm_start || end > vma->vm_end);
	/* No bit for it, and so nothing was ever registered. */
	if (!IS_ENABLED(CONFIG_PTE_MARKER_UFFD_WP))
		return 0;
	if (is_vm_hugetlb_page(vma))
		return change_protection(tlb, vma, start, end,
					 enable ? MM_CP_UFFD_WP : MM_CP_UFFD_WP_RESOLVE);
	return protect_tables(tlb, vma, start, end, enable);
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

// SPDX-License-Identifier: GPL-2.0
/*
 * Huge PUDs. Only devices have them: so there is no folio to be counted and no copy on write, and
 * what has to be split is unmapped, to fault in again by smaller ones.
 */
#include <linux/mmu_notifier.h>
#include <asm/tlb.h>

#include "thp.h"

static bool pud_is_huge(pud_t pud)
{
	return pud_trans_huge(pud) || pud_devmap(pud);
}

/**
 * __pud_trans_huge_lock - lock a PUD if it is huge
 * @pudp: the PUD
 * @vma: the VMA
 *
 * Return: the lock, held; NULL, and nothing held, if it is not huge.
 */
spinlock_t *__pud_trans_huge_lock(pud_t *pudp, struct vm_area_struct *vma)
{
	spinlock_t *ptl = pud_lock(vma->vm_mm, pudp);

	if (pud_is_huge(*pudp))
		return ptl;
	spin_unlock(ptl);
	return NULL;
}

#ifdef CONFIG_HAVE_ARCH_TRANSPARENT_HUGEPAGE_PUD
/**
 * touch_pud - set the bits that an access would have set
 * @vma: the VMA
 * @addr: an address that the PUD maps
 * @pudp: the PUD, huge
 * @write: is it an access for writing?
 *
 * Context: the PUD is locked.
 */
void touch_pud(struct vm_area_struct *vma, unsigned long addr, pud_t *pudp, bool write)
{
	pud_t pud = pud_mkyoung(*pudp);

	if (write)
		pud = pud_mkdirty(pud);
	if (pudp_set_access_flags(vma, addr & HPAGE_PUD_MASK, pudp, pud, write))
		update_mmu_cache_pud(vma, addr, pudp);
}

/**
 * huge_pud_set_accessed - a fault only because the processor does not set such bits itself
 * @vmf: the fault
 * @orig_pud: what it saw
 */
void huge_pud_set_accessed(struct vm_fault *vmf, pud_t orig_pud)
{
	vmf->ptl = pud_lock(vmf->vma->vm_mm, vmf->pud);
	if (likely(pud_same(*vmf->pud, orig_pud)))
		touch_pud(vmf->vma, vmf->address, vmf->pud, vmf->flags & FAULT_FLAG_WRITE);
	spin_unlock(vmf->ptl);
}

/**
 * copy_huge_pud - fork() of a huge PUD
 * @dst_mm: the child
 * @src_mm: the parent
 * @dst_pud: the child's, empty
 * @src_pud: the parent's
 * @addr: the address
 * @vma: the parent's VMA
 *
 * Context: mmap_lock of both held for writing.
 * Return: 0, or -EAGAIN when it is a table.
 */
int copy_huge_pud(struct mm_struct *dst_mm, struct mm_struct *src_mm, pud_t *dst_pud,
		  pud_t *src_pud, unsigned long addr, struct vm_area_struct *vma)
{
	spinlock_t *dst_ptl = pud_lock(dst_mm, dst_pud), *src_ptl = pud_lockptr(src_mm, src_pud);
	int err = -EAGAIN;
	pud_t pud;

	spin_lock_nested(src_ptl, SINGLE_DEPTH_NESTING);
	pud = *src_pud;
	if (likely(pud_is_huge(pud))) {
		if (is_cow_mapping(vma->vm_flags) && pud_write(pud)) {
			pudp_set_wrprotect(src_mm, addr, src_pud);
			pud = pud_wrprotect(pud);
		}
		set_pud_at(dst_mm, addr, dst_pud, pud_mkold(pud));
		err = 0;
	}
	spin_unlock(src_ptl);
	spin_unlock(dst_ptl);
	return err;
}

/**
 * change_huge_pud - mprotect() of a huge PUD
 * @tlb: gathers what must be flushed
 * @vma: the VMA
 * @pudp: the PUD
 * @addr: its address
 * @newprot: the new protection
 * @cp_flags: MM_CP_*
 *
 * Return: 0 if it is not huge any more; 1 if nothing was to be done; HPAGE_PUD_NR.
 */
int change_huge_pud(struct mmu_gather *tlb, struct vm_area_struct *vma, pud_t *pudp,
		    unsigned long addr, pgprot_t newprot, unsigned long cp_flags)
{
	spinlock_t *ptl;
	pud_t old;

	tlb_change_page_size(tlb, HPAGE_PUD_SIZE);
	/* NUMA balancing leaves devices alone, and userfaultfd does not write-protect them. */
	if (cp_flags & MM_CP_PROT_NUMA || WARN_ON_ONCE(cp_flags & MM_CP_UFFD_WP_ALL))
		return 1;
	ptl = __pud_trans_huge_lock(pudp, vma);
	if (!ptl)
		return 0;
	/* Never none, not for a moment: see change_huge_pmd(). */
	old = pudp_invalidate(vma, addr, pudp);
	set_pud_at(vma->vm_mm, addr, pudp, pud_modify(old, newprot));
	tlb_flush_pud_range(tlb, addr, HPAGE_PUD_SIZE);
	spin_unlock(ptl);
	return HPAGE_PUD_NR;
}

/**
 * zap_huge_pud - unmap a huge PUD
 * @tlb: gathers what must be flushed
 * @vma: the VMA
 * @pudp: the PUD
 * @addr: its address
 *
 * Return: 1, or 0 if it is not huge any more.
 */
int zap_huge_pud(struct mmu_gather *tlb, struct vm_area_struct *vma, pud_t *pudp,
		 unsigned long addr)
{
	spinlock_t *ptl = __pud_trans_huge_lock(pudp, vma);
	pud_t old;

	if (!ptl)
		return 0;
	old = pudp_huge_get_and_clear_full(vma, addr, pudp, tlb->fullmm);
	arch_check_zapped_pud(vma, old);
	tlb_remove_pud_tlb_entry(tlb, pudp, addr);
	spin_unlock(ptl);
	/* There is no other kind; if there were, its folio would now be lost, not the machine. */
	WARN_ON_ONCE(!vma_is_special_huge(vma));
	return 1;
}

/**
 * __split_huge_pud - no huge PUD maps this address any more
 * @vma: the VMA
 * @pudp: the PUD
 * @address: the address
 *
 * What it mapped faults in again by smaller ones.
 *
 * Context: may sleep in notifiers.
 */
void __split_huge_pud(struct vm_area_struct *vma, pud_t *pudp, unsigned long address)
{
	unsigned long addr = address & HPAGE_PUD_MASK;
	struct mmu_notifier_range range;
	spinlock_t *ptl;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, vma->vm_mm, addr,
				addr + HPAGE_PUD_SIZE);
	mmu_notifier_invalidate_range_start(&range);
	ptl = __pud_trans_huge_lock(pudp, vma);
	if (ptl) {
		VM_WARN_ON_ONCE(!range_in_vma(vma, addr, addr + HPAGE_PUD_SIZE));
		count_vm_event(THP_SPLIT_PUD);
		pudp_huge_clear_flush(vma, addr, pudp);
		spin_unlock(ptl);
	}
	mmu_notifier_invalidate_range_end(&range);
}
#else
void __split_huge_pud(struct vm_area_struct *vma, pud_t *pudp, unsigned long address)
{
}
#endif /* CONFIG_HAVE_ARCH_TRANSPARENT_HUGEPAGE_PUD */

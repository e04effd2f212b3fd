// SPDX-License-Identifier: GPL-2.0
/*
 * Small things about a huge PMD: its lock, and the bits that an access sets.
 */
#include "thp.h"

/**
 * maybe_pmd_mkwrite - a PMD that may be written to, if the VMA may
 * @pmd: the PMD, dirty if it becomes writable
 * @vma: the VMA
 */
pmd_t maybe_pmd_mkwrite(pmd_t pmd, struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_WRITE ? pmd_mkwrite(pmd, vma) : pmd;
}

/**
 * touch_pmd - set the bits that an access would have set
 * @vma: the VMA
 * @addr: an address that the PMD maps
 * @pmdp: the PMD, huge
 * @write: is it an access for writing?
 *
 * Context: the PMD is locked.
 */
void touch_pmd(struct vm_area_struct *vma, unsigned long addr, pmd_t *pmdp, bool write)
{
	pmd_t pmd = pmd_mkyoung(*pmdp);

	if (write)
		pmd = pmd_mkdirty(pmd);
	if (pmdp_set_access_flags(vma, addr & HPAGE_PMD_MASK, pmdp, pmd, write))
		update_mmu_cache_pmd(vma, addr, pmdp);
}

/**
 * __pmd_trans_huge_lock - lock a PMD if it is huge
 * @pmdp: the PMD
 * @vma: the VMA
 *
 * Context: mmap_lock, the VMA's lock or an rmap lock keeps the table that @pmdp is in.
 * Return: the lock, held, if the PMD maps a huge page or is a migration entry of one; NULL, and
 * nothing held, if not.
 */
spinlock_t *__pmd_trans_huge_lock(pmd_t *pmdp, struct vm_area_struct *vma)
{
	return thp_lock_pmd(pmdp, vma);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Migration entries: a task that faults on one waits for the lock of its folio, then faults again;
 * and they are replaced by rmap's restore.c.
 *
 * The folio has no reference of the waiter's: the entry keeps it, so it is found under the page
 * table lock, and that is dropped by migration_entry_wait_on_locked() when the waiter is queued.
 */
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/rmap_runs.h>
#include <linux/swapops.h>

#include "migrate.h"

/**
 * remove_migration_ptes - put mappings in the place of migration entries
 * @src: the folio that the entries name
 * @dst: the folio to map in its stead; may be the same
 * @flags: RMP_LOCKED when the rmap lock is held; RMP_USE_SHARED_ZEROPAGE to map the zero page for
 *	pages of zeroes, for which @src and @dst are the same
 *
 * Context: both folios are locked. Sleeps.
 */
void remove_migration_ptes(struct folio *src, struct folio *dst, int flags)
{
	rmap_restore(src, dst, flags);
}

/**
 * migration_entry_wait - wait for a migration that was met in a page table
 * @mm: the address space
 * @pmd: of the table
 * @address: where the entry was
 *
 * It may be over by now, or the table gone: then there is nothing to wait for.
 *
 * Context: mmap_lock or VMA lock held; no page table lock. Sleeps.
 */
void migration_entry_wait(struct mm_struct *mm, pmd_t *pmd, unsigned long address)
{
	spinlock_t *ptl;
	pte_t *ptep = pte_offset_map_lock(mm, pmd, address, &ptl), pte;

	if (!ptep)
		return;
	pte = ptep_get(ptep);
	pte_unmap(ptep);
	if (is_swap_pte(pte) && is_migration_entry(pte_to_swp_entry(pte)))
		migration_entry_wait_on_locked(pte_to_swp_entry(pte), ptl);
	else
		spin_unlock(ptl);
}

#ifdef CONFIG_ARCH_ENABLE_THP_MIGRATION
/**
 * pmd_migration_entry_wait - wait for a migration of a huge page
 * @mm: the address space
 * @pmd: where the entry was
 *
 * Context: as migration_entry_wait().
 */
void pmd_migration_entry_wait(struct mm_struct *mm, pmd_t *pmd)
{
	spinlock_t *ptl = pmd_lock(mm, pmd);

	if (is_pmd_migration_entry(*pmd))
		migration_entry_wait_on_locked(pmd_to_swp_entry(*pmd), ptl);
	else
		spin_unlock(ptl);
}
#endif

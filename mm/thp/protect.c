// SPDX-License-Identifier: GPL-2.0
/*
 * Protection of a huge page: mprotect(), NUMA hinting, write-protection for userfaultfd.
 */
#include <linux/memory-tiers.h>
#include <linux/sched/numa_balancing.h>
#include <linux/sched/sysctl.h>
#include <asm/tlb.h>

#include "../pte/leaf_pmd.h"
#include "thp.h"

/**
 * thp_pmd_may_write - may a huge page be mapped writable, without the fault that would make it so?
 * @vma: the VMA, which may be written to
 * @addr: the PMD's address
 * @pmd: what it says, with the VMA's protection
 *
 * That fault must not have anything else to do: count a use, note what was written, tell a user,
 * copy, or ask the file system.
 *
 * Context: the PMD is locked.
 */
bool thp_pmd_may_write(struct vm_area_struct *vma, unsigned long addr, pmd_t pmd)
{
	struct page *page;

	if (WARN_ON_ONCE(!(vma->vm_flags & VM_WRITE)))
		return false;
	if (pmd_protnone(pmd) || pmd_needs_soft_dirty_wp(vma, pmd) ||
	    userfaultfd_huge_pmd_wp(vma, pmd))
		return false;
	if (vma->vm_flags & VM_SHARED)
		return pmd_dirty(pmd);
	page = vm_normal_page_pmd(vma, addr, pmd);
	return page && PageAnon(page) && PageAnonExclusive(page);
}

#ifdef CONFIG_ARCH_ENABLE_THP_MIGRATION
/*
 * An entry that was writable is not so when it is restored. Whether the VMA may be written to by
 * then, the fault will find out.
 */
static void protect_migrating(struct vm_area_struct *vma, unsigned long addr, pmd_t *pmdp,
			      unsigned long cp_flags)
{
	struct pte_leaf leaf = pmd_leaf_decode_migration(*pmdp);
	pmd_t pmd;

	if (leaf.flags & LEAF_WRITE) {
		leaf.flags &= ~LEAF_WRITE;
		/* Of a file's folio nobody asks. */
		if (!folio_test_anon(pfn_folio(leaf.number)))
			leaf.flags &= ~LEAF_EXCLUSIVE;
	}
	if (cp_flags & MM_CP_UFFD_WP)
		leaf.flags |= LEAF_UFFD_WP;
	else if (cp_flags & MM_CP_UFFD_WP_RESOLVE)
		leaf.flags &= ~LEAF_UFFD_WP;
	pmd = pmd_leaf_encode(&leaf);
	if (!pmd_same(*pmdp, pmd))
		set_pmd_at(vma->vm_mm, addr, pmdp, pmd);
}
#else
static void protect_migrating(struct vm_area_struct *vma, unsigned long addr, pmd_t *pmdp,
			      unsigned long cp_flags)
{
}
#endif

/* Would a hinting fault tell anything? If so, it is noted when it was asked for. */
static bool protect_hints(pmd_t pmd)
{
	struct folio *folio;

	/* Everybody reads it, from the nearest cache. */
	if (is_huge_zero_pmd(pmd) || pmd_protnone(pmd))
		return false;
	folio = pmd_folio(pmd);
	/* When only promotion is wanted, the fastest memory is left alone. */
	if (!(sysctl_numa_balancing_mode & NUMA_BALANCING_NORMAL) &&
	    node_is_toptier(folio_nid(folio)))
		return false;
	if (folio_use_access_time(folio))
		folio_xchg_access_time(folio, jiffies_to_msecs(jiffies));
	return true;
}

/* What @old becomes. */
static pmd_t protect_pmd(struct vm_area_struct *vma, unsigned long addr, pmd_t old,
			 pgprot_t newprot, unsigned long cp_flags)
{
	pmd_t pmd = pmd_modify(old, newprot);

	/* Resolved, a write still faults, which copies if it has to. */
	if (cp_flags & MM_CP_UFFD_WP)
		pmd = pmd_mkuffd_wp(pmd);
	else if (cp_flags & MM_CP_UFFD_WP_RESOLVE)
		pmd = pmd_clear_uffd_wp(pmd);
	if (cp_flags & MM_CP_TRY_CHANGE_WRITABLE && !pmd_write(pmd) &&
	    thp_pmd_may_write(vma, addr, pmd))
		pmd = pmd_mkwrite(pmd, vma);
	return pmd;
}

/**
 * change_huge_pmd - change the protection of a huge page
 * @tlb: gathers what must be flushed
 * @vma: the VMA
 * @pmdp: the PMD
 * @addr: its address
 * @newprot: the new protection
 * @cp_flags: MM_CP_*
 *
 * With MM_CP_PROT_NUMA mmap_lock is held for reading only, as it is by MADV_DONTNEED on another
 * CPU, which passes over a PMD that is none when it looks. So the PMD is invalid while it changes,
 * but never none.
 *
 * Return: 0 if it is not huge any more; 1 if there is nothing to be flushed; HPAGE_PMD_NR.
 */
int change_huge_pmd(struct mmu_gather *tlb, struct vm_area_struct *vma, pmd_t *pmdp,
		    unsigned long addr, pgprot_t newprot, unsigned long cp_flags)
{
	bool hint = cp_flags & MM_CP_PROT_NUMA;
	pmd_t old, pmd;
	spinlock_t *ptl;
	int ret = 1;

	tlb_change_page_size(tlb, HPAGE_PMD_SIZE);
	/* A hint that cannot be followed. */
	if (hint && !thp_migration_supported())
		return 1;
	ptl = thp_lock_pmd(pmdp, vma);
	if (!ptl)
		return 0;
	if (unlikely(is_swap_pmd(*pmdp))) {
		protect_migrating(vma, addr, pmdp, cp_flags);
	} else if (!hint || protect_hints(*pmdp)) {
		/* With what the processor noted until then. */
		old = pmdp_invalidate_ad(vma, addr, pmdp);
		pmd = protect_pmd(vma, addr, old, newprot, cp_flags);
		set_pmd_at(vma->vm_mm, addr, pmdp, pmd);
		if (huge_pmd_needs_flush(old, pmd))
			tlb_flush_pmd_range(tlb, addr, HPAGE_PMD_SIZE);
		ret = HPAGE_PMD_NR;
	}
	spin_unlock(ptl);
	return ret;
}

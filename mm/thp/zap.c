// SPDX-License-Identifier: GPL-2.0
/*
 * Huge PMDs that go, and folios of which the contents may go.
 *
 *	zap_huge_pmd()		   munmap, exit, MADV_DONTNEED, truncation
 *	madvise_free_huge_pmd()	   MADV_FREE
 *
 *	a PMD of			counted out	counters	table	reference
 *	device or PFNs			-		-		(1)	-
 *	the huge zero folio		-		-		freed	of the mm, at exit
 *	an anonymous folio		yes		anon		freed	after the flush
 *	a file's folio			yes, dirty kept	file, shmem	(1)	after the flush
 *	one being moved			-		as the folio's	as the	-
 *							kind says	kind
 *
 * (1) where the architecture deposits one always.
 */
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/thp_runs.h>
#include <asm/tlb.h>

#include "thp.h"

/* Return: the folio whose reference goes with the mapping, or NULL. */
static struct folio *zap_mapped(struct mmu_gather *tlb, struct vm_area_struct *vma, pmd_t pmd)
{
	struct folio *folio;
	bool present = pmd_present(pmd);

	/* A migration entry has no reference, and was counted out when it was made. */
	if (!present) {
		folio = pfn_swap_entry_folio(pmd_to_swp_entry(pmd));
	} else {
		folio = pmd_folio(pmd);
		folio_remove_rmap_pmd(folio, pmd_page(pmd), vma);
		if (!folio_test_anon(folio) && pmd_dirty(pmd))
			folio_mark_dirty(folio);
	}
	add_mm_counter(tlb->mm, folio_test_anon(folio) ? MM_ANONPAGES : mm_counter_file(folio),
		       -HPAGE_PMD_NR);
	return present ? folio : NULL;
}

/**
 * zap_huge_pmd - unmap a huge page
 * @tlb: gathers what must be flushed and freed
 * @vma: the VMA
 * @pmdp: the PMD
 * @addr: its address
 *
 * Return: 1, or 0 if it is a table by now, or nothing.
 */
int zap_huge_pmd(struct mmu_gather *tlb, struct vm_area_struct *vma, pmd_t *pmdp,
		 unsigned long addr)
{
	struct folio *folio = NULL;
	bool deposited;
	spinlock_t *ptl;
	pmd_t old;

	tlb_change_page_size(tlb, HPAGE_PMD_SIZE);
	ptl = thp_lock_pmd(pmdp, vma);
	if (!ptl)
		return 0;
	old = pmdp_huge_get_and_clear_full(vma, addr, pmdp, tlb->fullmm);
	arch_check_zapped_pmd(vma, old);
	tlb_remove_pmd_tlb_entry(tlb, pmdp, addr);

	deposited = arch_needs_pgtable_deposit();
	if (is_huge_zero_pmd(old) && !vma_is_special_huge(vma)) {
		deposited = true;
	} else if (!vma_is_special_huge(vma)) {
		deposited |= vma_is_anonymous(vma);
		folio = zap_mapped(tlb, vma, old);
	}
	if (deposited)
		thp_free_deposited(tlb->mm, pmdp);
	spin_unlock(ptl);
	if (folio)
		tlb_remove_page_size(tlb, &folio->page, HPAGE_PMD_SIZE);
	return 1;
}

/* Only a part of the folio may go: it is split off, or the folio stays as it was. */
static void free_part(struct folio *folio, unsigned long first, unsigned long nr, spinlock_t *ptl)
{
	folio_get(folio);
	spin_unlock(ptl);
	split_folio_range(folio, first, nr);
	folio_unlock(folio);
	folio_put(folio);
}

/**
 * madvise_free_huge_pmd - the contents of a huge page may be lost
 * @tlb: gathers what must be flushed
 * @vma: the VMA
 * @pmdp: the PMD
 * @addr: where the range begins in it
 * @next: where it ends
 *
 * Return: true if it is done. False to go on with a table, if it is one by now: it is for a part
 * of the huge page, if the folio could be split.
 */
bool madvise_free_huge_pmd(struct mmu_gather *tlb, struct vm_area_struct *vma, pmd_t *pmdp,
			   unsigned long addr, unsigned long next)
{
	struct folio *folio;
	bool done = false;
	spinlock_t *ptl;
	pmd_t pmd;

	tlb_change_page_size(tlb, HPAGE_PMD_SIZE);
	ptl = pmd_trans_huge_lock(pmdp, vma);
	if (!ptl)
		return false;
	pmd = *pmdp;
	if (is_huge_zero_pmd(pmd) || !pmd_present(pmd))
		goto out;
	folio = pmd_folio(pmd);
	/* Others have not given it up. */
	if (folio_likely_mapped_shared(folio) || !folio_trylock(folio))
		goto out;
	if (next - addr != HPAGE_PMD_SIZE) {
		free_part(folio, pte_index(addr), (next - addr) >> PAGE_SHIFT, ptl);
		return false;
	}
	if (folio_test_dirty(folio))
		folio_clear_dirty(folio);
	folio_unlock(folio);
	/* Whether it is written to from now on decides. */
	if (pmd_young(pmd) || pmd_dirty(pmd)) {
		pmdp_invalidate(vma, addr, pmdp);
		set_pmd_at(tlb->mm, addr, pmdp, pmd_mkclean(pmd_mkold(pmd)));
		tlb_remove_pmd_tlb_entry(tlb, pmdp, addr);
	}
	folio_mark_lazyfree(folio);
	done = true;
out:
	spin_unlock(ptl);
	return done;
}

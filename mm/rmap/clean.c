// SPDX-License-Identifier: GPL-2.0
/*
 * Write-protect the shared mappings of a file's pages, so that the next write tells.
 *
 *	folio_mkclean()		a folio, wherever it is mapped		before write-back
 *	pfn_mkclean_range()	frames of a DAX file, in one VMA
 *
 * Entries that are writable or dirty become clean and read-only. The TLB is flushed once for
 * each table's worth of them, before its lock is dropped: a write through an old translation
 * happens before we return, so it is part of what is then written back.
 */
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>

#include <asm/tlbflush.h>

#include "../internal.h"
#include "../pte/run.h"
#include "rmap.h"

static bool clean_pte(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep)
{
	pte_t pte = ptep_get(ptep);

	if (!pte_dirty(pte) && !pte_write(pte))
		return false;
	flush_cache_page(vma, addr, pte_pfn(pte));
	pte = ptep_get_and_clear(vma->vm_mm, addr, ptep);
	set_pte_at(vma->vm_mm, addr, ptep, pte_wrprotect(pte_mkclean(pte)));
	return true;
}

/* The run at @at. Returns its length, and adds to @cleaned. */
static unsigned long clean_ptes(struct page_vma_mapped_walk *at, int *cleaned)
{
	struct vm_area_struct *vma = at->vma;
	unsigned long addr = at->address, i, nr = 1;
	pte_t pte = ptep_get(at->pte);
	int changed = 0;

	/* An entry for a device's use only: its driver tells of writes. */
	if (!pte_present(pte))
		return 1;
	if (at->nr_pages > 1)
		nr = pte_run_length(at->pte, pte, rmap_run_room(at, pte_pfn(pte),
								vma_address_end(at)));
	for (i = 0; i < nr; i++)
		changed += clean_pte(vma, addr + i * PAGE_SIZE, at->pte + i);
	if (changed)
		flush_tlb_range(vma, addr, addr + nr * PAGE_SIZE);
	*cleaned += changed;
	return nr;
}

static int clean_pmd(struct page_vma_mapped_walk *at)
{
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
	struct vm_area_struct *vma = at->vma;
	unsigned long addr = at->address & HPAGE_PMD_MASK;
	pmd_t pmd = *at->pmd;

	if (!pmd_dirty(pmd) && !pmd_write(pmd))
		return 0;
	flush_cache_range(vma, addr, addr + HPAGE_PMD_SIZE);
	pmd = pmdp_invalidate(vma, addr, at->pmd);
	set_pmd_at(vma->vm_mm, addr, at->pmd, pmd_wrprotect(pmd_mkclean(pmd)));
	return 1;
#else
	WARN_ON_ONCE(1);
	return 0;
#endif
}

static int clean_vma(struct page_vma_mapped_walk *at)
{
	struct mmu_notifier_range range;
	unsigned long nr = 0;
	int cleaned = 0;

	mmu_notifier_range_init(&range, MMU_NOTIFY_PROTECTION_PAGE, 0, at->vma->vm_mm,
				at->address, vma_address_end(at));
	mmu_notifier_invalidate_range_start(&range);
	while (rmap_step(at, nr)) {
		if (at->pte) {
			nr = clean_ptes(at, &cleaned);
		} else {
			cleaned += clean_pmd(at);
			nr = 1;
		}
	}
	mmu_notifier_invalidate_range_end(&range);
	return cleaned;
}

static bool clean_one(struct folio *folio, struct vm_area_struct *vma, unsigned long addr,
		      void *arg)
{
	DEFINE_FOLIO_VMA_WALK(at, folio, vma, addr, PVMW_SYNC);
	int *cleaned = arg;

	*cleaned += clean_vma(&at);
	return true;
}

/* A private mapping has no way to write to the file. */
static bool clean_invalid_vma(struct vm_area_struct *vma, void *arg)
{
	return !(vma->vm_flags & VM_SHARED);
}

/**
 * folio_mkclean - write-protect and clean the mappings of a folio
 * @folio: the folio, of a file
 *
 * Context: the folio is locked. Sleeps.
 * Return: how many entries were changed; not 0 means that the folio must be written back.
 */
int folio_mkclean(struct folio *folio)
{
	int cleaned = 0;
	struct rmap_walk_control rwc = {
		.rmap_one = clean_one,
		.invalid_vma = clean_invalid_vma,
		.arg = &cleaned,
	};

	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);
	if (folio_mapped(folio) && folio_mapping(folio))
		rmap_walk(folio, &rwc);
	return cleaned;
}
EXPORT_SYMBOL_GPL(folio_mkclean);

/**
 * pfn_mkclean_range - write-protect and clean the mappings of frames in one VMA
 * @pfn: the first frame
 * @nr_pages: frames, consecutive
 * @pgoff: where the first is in the file, in pages
 * @vma: the VMA; it maps some of that part of the file
 *
 * For DAX, whose pages have no folios to go by.
 *
 * Context: i_mmap lock held. Sleeps in notifiers.
 * Return: how many entries were changed.
 */
int pfn_mkclean_range(unsigned long pfn, unsigned long nr_pages, pgoff_t pgoff,
		      struct vm_area_struct *vma)
{
	struct page_vma_mapped_walk at = {
		.pfn = pfn,
		.nr_pages = nr_pages,
		.pgoff = pgoff,
		.vma = vma,
		.address = vma_address(vma, pgoff, nr_pages),
		.flags = PVMW_SYNC,
	};

	if (clean_invalid_vma(vma, NULL))
		return 0;
	VM_WARN_ON_ONCE(at.address == -EFAULT);
	return clean_vma(&at);
}

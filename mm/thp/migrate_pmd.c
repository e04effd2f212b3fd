// SPDX-License-Identifier: GPL-2.0
/*
 * A huge PMD whose folio is being moved.
 *
 *	huge --set_pmd_migration_entry()--> migration entry --remove_migration_pmd()--> huge
 *
 * What it says beside the frame goes along; see leaf_pmd.h.
 */
#include <linux/mm.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#define CREATE_TRACE_POINTS
#include <trace/events/thp.h>

#include "../pte/leaf_pmd.h"
#include "thp.h"

#ifdef CONFIG_ARCH_ENABLE_THP_MIGRATION
/**
 * set_pmd_migration_entry - put a migration entry in the place of a huge PMD
 * @at: the PMD, locked
 * @page: the first page of the folio that it maps
 *
 * Return: 0; -EBUSY if the folio may be pinned, and nothing changed.
 */
int set_pmd_migration_entry(struct page_vma_mapped_walk *at, struct page *page)
{
	struct vm_area_struct *vma = at->vma;
	struct folio *folio = page_folio(page);
	unsigned long addr = at->address;
	struct pte_leaf leaf;
	pmd_t old, pmd;

	if (!at->pmd || at->pte)
		return 0;
	flush_cache_range(vma, addr, addr + HPAGE_PMD_SIZE);
	/* Nobody can pin it any more without the lock, so what is asked next stays true. */
	old = pmdp_invalidate(vma, addr, at->pmd);
	leaf = pmd_leaf_decode_present(old);
	if (folio_test_anon(folio) && PageAnonExclusive(page)) {
		if (folio_try_share_anon_rmap_pmd(folio, page)) {
			set_pmd_at(vma->vm_mm, addr, at->pmd, old);
			return -EBUSY;
		}
		leaf.flags |= LEAF_EXCLUSIVE;
	}
	if (leaf.flags & LEAF_DIRTY)
		folio_mark_dirty(folio);
	leaf.kind = LEAF_MIGRATION;
	leaf.number = page_to_pfn(page);
	pmd = pmd_leaf_encode(&leaf);
	set_pmd_at(vma->vm_mm, addr, at->pmd, pmd);
	folio_remove_rmap_pmd(folio, page, vma);
	folio_put(folio);
	trace_set_migration_pmd(addr, pmd_val(pmd));
	return 0;
}

/**
 * remove_migration_pmd - map a folio in the place of a migration entry
 * @at: the migration entry, locked
 * @new: the first page of the folio
 */
void remove_migration_pmd(struct page_vma_mapped_walk *at, struct page *new)
{
	unsigned long addr = at->address & HPAGE_PMD_MASK;
	struct vm_area_struct *vma = at->vma;
	struct folio *folio = page_folio(new);
	struct pte_leaf leaf;
	pmd_t pmd;

	if (!at->pmd || at->pte)
		return;
	leaf = pmd_leaf_decode_migration(*at->pmd);
	/* Written back meanwhile, it is clean. */
	if (!folio_test_dirty(folio))
		leaf.flags &= ~LEAF_DIRTY;
	pmd = pmd_leaf_map(&leaf, vma, new);
	folio_get(folio);
	/* Counted before anybody can see it. */
	if (folio_test_anon(folio))
		folio_add_anon_rmap_pmd(folio, new, vma, addr,
					leaf.flags & LEAF_EXCLUSIVE ? RMAP_EXCLUSIVE : RMAP_NONE);
	else
		folio_add_file_rmap_pmd(folio, new, vma);
	set_pmd_at(vma->vm_mm, addr, at->pmd, pmd);
	/* It was not present, so no TLB knows of it. */
	update_mmu_cache_pmd(vma, at->address, at->pmd);
	trace_remove_migration_pmd(at->address, pmd_val(pmd));
}
#endif

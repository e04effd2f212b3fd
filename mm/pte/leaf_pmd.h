/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Leaves of PMDs: what a PMD says that is no page table, in the same words as a PTE's.
 *
 *	PMD			kind		number		page
 *	none			LEAF_NONE	-		-
 *	a table			LEAF_NONE	-		-
 *	huge, DAX, PFNs		LEAF_PRESENT	first frame	where there is one
 *	huge, being moved	LEAF_MIGRATION	first frame	yes
 *
 * A PMD that was made invalid for a moment is huge nevertheless, and present.
 */
#ifndef __MM_PTE_LEAF_PMD_H
#define __MM_PTE_LEAF_PMD_H

#include <linux/mm.h>

#include "leaf.h"

static __always_inline struct pte_leaf pmd_leaf_decode_present(pmd_t pmd)
{
	struct pte_leaf leaf = { .kind = LEAF_PRESENT, .number = pmd_pfn(pmd) };

	if (pmd_write(pmd))
		leaf.flags |= LEAF_WRITE;
	if (pmd_young(pmd))
		leaf.flags |= LEAF_YOUNG;
	if (pmd_dirty(pmd))
		leaf.flags |= LEAF_DIRTY;
	if (pmd_soft_dirty(pmd))
		leaf.flags |= LEAF_SOFT_DIRTY;
	if (pmd_uffd_wp(pmd))
		leaf.flags |= LEAF_UFFD_WP;
	return leaf;
}

/* As for a PTE, writable implies exclusive. */
static __always_inline struct pte_leaf pmd_leaf_decode_migration(pmd_t pmd)
{
	swp_entry_t entry = pmd_to_swp_entry(pmd);
	struct pte_leaf leaf = { .kind = LEAF_MIGRATION, .number = swp_offset_pfn(entry) };

	if (is_writable_migration_entry(entry))
		leaf.flags |= LEAF_WRITE | LEAF_EXCLUSIVE;
	else if (!is_readable_migration_entry(entry))
		leaf.flags |= LEAF_EXCLUSIVE;
	if (is_migration_entry_young(entry))
		leaf.flags |= LEAF_YOUNG;
	if (is_migration_entry_dirty(entry))
		leaf.flags |= LEAF_DIRTY;
	if (pmd_swp_soft_dirty(pmd))
		leaf.flags |= LEAF_SOFT_DIRTY;
	if (pmd_swp_uffd_wp(pmd))
		leaf.flags |= LEAF_UFFD_WP;
	return leaf;
}

/**
 * pmd_leaf_decode - say what a PMD says
 * @pmd: the PMD
 *
 * Return: the leaf. LEAF_EXCLUSIVE is set only where the PMD itself tells.
 */
static __always_inline struct pte_leaf pmd_leaf_decode(pmd_t pmd)
{
	if (unlikely(is_pmd_migration_entry(pmd)))
		return pmd_leaf_decode_migration(pmd);
	if (pmd_trans_huge(pmd) || pmd_devmap(pmd))
		return pmd_leaf_decode_present(pmd);
	return (struct pte_leaf){ .kind = LEAF_NONE };
}

#ifdef CONFIG_ARCH_ENABLE_THP_MIGRATION
/**
 * pmd_leaf_encode - make the PMD that says this
 * @leaf: of kind LEAF_MIGRATION
 *
 * Return: the PMD.
 */
static __always_inline pmd_t pmd_leaf_encode(const struct pte_leaf *leaf)
{
	pmd_t pmd = swp_entry_to_pmd(pte_leaf_migration_entry(leaf));

	if (leaf->flags & LEAF_SOFT_DIRTY)
		pmd = pmd_swp_mksoft_dirty(pmd);
	if (leaf->flags & LEAF_UFFD_WP)
		pmd = pmd_swp_mkuffd_wp(pmd);
	return pmd;
}
#endif

/**
 * pmd_leaf_map - make the huge PMD that says this
 * @leaf: what to say, its kind and number aside
 * @vma: the VMA, for its protection
 * @page: the first page to map
 *
 * Protection for userfaultfd goes before LEAF_WRITE, should a leaf have both.
 *
 * Return: the PMD.
 */
static __always_inline pmd_t pmd_leaf_map(const struct pte_leaf *leaf,
					  struct vm_area_struct *vma, struct page *page)
{
	pmd_t pmd = mk_huge_pmd(page, READ_ONCE(vma->vm_page_prot));

	if (!(leaf->flags & LEAF_YOUNG))
		pmd = pmd_mkold(pmd);
	if (leaf->flags & LEAF_DIRTY)
		pmd = pmd_mkdirty(pmd);
	if (leaf->flags & LEAF_SOFT_DIRTY)
		pmd = pmd_mksoft_dirty(pmd);
	else
		pmd = pmd_clear_soft_dirty(pmd);
	if (leaf->flags & LEAF_UFFD_WP)
		pmd = pmd_mkuffd_wp(pmd);
	else if (leaf->flags & LEAF_WRITE)
		pmd = pmd_mkwrite(pmd, vma);
	return pmd;
}

#endif /* __MM_PTE_LEAF_PMD_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * A table that maps one whole huge page, each part at its place: it gets its PMD back, and nothing
 * is allocated or copied. A program comes to that by protecting a part of a huge page and taking
 * that back, by giving up a part of it for a moment, by a move, or by a fork with pins.
 *
 *	entries of a huge page		the PMD
 *	all exclusive			exclusive; writable if all of them are
 *	none exclusive			not exclusive, not writable
 *	some				not done: it can say one thing only
 *	any young, dirty, soft-dirty	young, dirty, soft-dirty
 *	protected for userfaultfd	protected, if all are and it is not asked; else not done
 *
 * Pins stay good, as no page goes elsewhere; so does what other processes map.
 */
#include <linux/mm.h>
#include <linux/rmap.h>
#include <linux/userfaultfd_k.h>

#include "../internal.h"
#include "../pte/leaf_pmd.h"
#include "../pte/run.h"
#include "collapse.h"

/* Do all pages say the same of being exclusive? */
static bool exclusive_alike(struct folio *folio)
{
	bool exclusive = PageAnonExclusive(&folio->page);
	unsigned long i;

	for (i = 1; i < HPAGE_PMD_NR; i++)
		if (PageAnonExclusive(folio_page(folio, i)) != exclusive)
			return false;
	return true;
}

/**
 * collapse_is_whole - does a table say what a PMD can say?
 * @vma: its VMA
 * @addr: its address
 * @table: the table, locked
 */
bool collapse_is_whole(struct vm_area_struct *vma, unsigned long addr, pte_t *table)
{
	pte_t pte = ptep_get(table);
	struct folio *folio;
	struct page *page;

	if (!pte_present(pte) || (pte_uffd_wp(pte) && !userfaultfd_wp_async(vma)))
		return false;
	page = vm_normal_page(vma, addr, pte);
	if (!page || !PageHead(page))
		return false;
	folio = page_folio(page);
	return folio_order(folio) == HPAGE_PMD_ORDER && folio_test_anon(folio) &&
	       !folio_test_has_hwpoisoned(folio) &&
	       pte_run_length(table, pte, HPAGE_PMD_NR) == HPAGE_PMD_NR &&
	       exclusive_alike(folio);
}

/* What the PMD says, gathered from all entries. */
static struct pte_leaf gather(pte_t *table)
{
	struct pte_leaf leaf = pte_leaf_decode_present(ptep_get(table));
	unsigned long i;

	for (i = 1; i < HPAGE_PMD_NR; i++) {
		unsigned int flags = pte_leaf_decode_present(ptep_get(table + i)).flags;

		leaf.flags |= flags & (LEAF_YOUNG | LEAF_DIRTY | LEAF_SOFT_DIRTY);
		leaf.flags &= flags | ~LEAF_WRITE;
	}
	return leaf;
}

/**
 * collapse_in_place - turn mappings of a whole huge page into one
 * @c: the collapse, DETACHED
 * @table: the table, locked, of which collapse_is_whole() is true; empty afterwards
 *
 * The mapping of the whole is counted before those of its parts are counted out: so it is
 * mapped all the time, and no counter of the node goes up and down.
 *
 * Return: the PMD to set.
 */
pmd_t collapse_in_place(struct collapse *c, pte_t *table)
{
	struct folio *folio = page_folio(pte_page(ptep_get(table)));
	bool exclusive = PageAnonExclusive(&folio->page);
	struct pte_leaf leaf = gather(table);
	unsigned long i;

	for (i = 0; i < HPAGE_PMD_NR; i++) {
		ptep_clear(c->mm, c->address + i * PAGE_SIZE, table + i);
		/* Of a PMD the first page says it. */
		if (i)
			ClearPageAnonExclusive(folio_page(folio, i));
	}
	folio_get(folio);
	folio_add_anon_rmap_pmd(folio, &folio->page, c->vma, c->address,
				exclusive ? RMAP_EXCLUSIVE : RMAP_NONE);
	folio_remove_rmap_ptes(folio, &folio->page, HPAGE_PMD_NR, c->vma);
	folio_put_refs(folio, HPAGE_PMD_NR);
	/* To take mappings away has unlocked it. */
	if (c->vma->vm_flags & VM_LOCKED) {
		mlock_vma_folio(folio, c->vma);
		mlock_drain_local();
	}
	return pmd_leaf_map(&leaf, c->vma, &folio->page);
}

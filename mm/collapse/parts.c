// SPDX-License-Identifier: GPL-2.0
/*
 * Folios smaller than a PMD, of parts of a table that no huge page is to be made of: too much of it
 * is empty, or was given back; there is no huge page; the settings allow smaller folios only; or it
 * is not all of one VMA.
 *
 *	mmap_lock	step		what holds				undone by
 *	for reading	survey		by->layout says what there is
 *	-		alloc		by->folios[i] is for the part at i	freeing it
 *	for reading	replace		see parts_replace.c
 */
#include <linux/mm.h>
#include <linux/page_idle.h>
#include <linux/userfaultfd_k.h>

#include "../internal.h"
#include "parts.h"

/* The VMA, its table, and which part of that it has. Context: mmap_lock held. */
static bool parts_find(struct parts *p)
{
	struct collapse *c = p->c;
	struct vm_area_struct *vma;

	if (collapse_mm_is_out(c->mm))
		return false;
	vma = vma_lookup(c->mm, p->where);
	/* As for what is copied ahead. */
	if (!vma || !vma_is_anonymous(vma) || !vma->anon_vma || userfaultfd_armed(vma) ||
	    (vma->vm_flags & (VM_WRITE | VM_SHADOW_STACK)) != VM_WRITE)
		return false;
	c->vma = vma;
	p->orders = collapse_orders(vma) & ~BIT(PMD_ORDER);
	p->first = (max(vma->vm_start, c->address) - c->address) / PAGE_SIZE;
	p->last = (min(vma->vm_end, c->address + HPAGE_PMD_SIZE) - c->address) / PAGE_SIZE;
	if (!p->orders || collapse_find_table(c->mm, c->address, &c->pmd) != SCAN_SUCCEED)
		return false;
	p->max_none = collapse_is_given_back(pmdp_get_lockless(c->pmd)) ?
		      0 : READ_ONCE(khugepaged_max_ptes_none);
	return true;
}

/* --- survey ----------------------------------------------------------------------------- */

static bool small_is_ours(const struct page *page)
{
	return (READ_ONCE(page->flags) & COLLAPSE_CARE) == COLLAPSE_PLAIN &&
	       collapse_page_is_once(page);
}

static bool run_is_used(pte_t *ptep, unsigned long nr, struct folio *folio)
{
	unsigned long i;

	if (folio_test_young(folio) || folio_test_referenced(folio))
		return true;
	for (i = 0; i < nr; i++)
		if (pte_young(ptep_get(ptep + i)))
			return true;
	return false;
}

/* Return: how many entries are alike. */
static unsigned long survey_some(struct parts *p, pte_t *table, unsigned long i)
{
	struct collapse_layout *layout = &p->c->by->layout;
	pte_t pte = ptep_get(table + i);
	struct folio *folio;
	unsigned long nr = 1;

	layout->kind[i] = PART_BLOCKED;
	if (pte_is_empty(pte)) {
		layout->kind[i] = PART_EMPTY;
		return 1;
	}
	if (!collapse_pte_is_plain(pte))
		return 1;
	folio = page_folio(pte_page(pte));
	if (folio_test_large(folio)) {
		if (!large_is_ours(folio) || !large_is_here(p, table, i, folio))
			return 1;
		nr = folio_nr_pages(folio);
	} else if (!small_is_ours(&folio->page)) {
		return 1;
	}
	if (!collapse_node_add(p->c->by, folio_nid(folio), nr))
		return 1;
	memset(layout->kind + i, PART_OF(folio_order(folio)), nr);
	/* What a secondary MMU knows is not asked for: the program's own use is enough. */
	if (run_is_used(table + i, nr, folio))
		bitmap_set(layout->used, i, nr);
	return nr;
}

/* Return: false if there is no table, or nobody uses it. */
static bool parts_survey(struct parts *p)
{
	struct collapse *c = p->c;
	spinlock_t *ptl;
	unsigned long i;
	pte_t *table;
	bool idle;

	collapse_nodes_clear(c->by);
	bitmap_zero(c->by->layout.used, HPAGE_PMD_NR);
	memset(c->by->layout.kind, PART_BLOCKED, HPAGE_PMD_NR);
	table = pte_offset_map_lock(c->mm, c->pmd, c->address, &ptl);
	if (!table)
		return false;
	idle = collapse_table_is_idle(c->by, table);
	for (i = p->first; !idle && i < p->last;)
		i += survey_some(p, table, i);
	pte_unmap_unlock(table, ptl);
	return !idle;
}

static unsigned int choose(const struct parts *p, unsigned long i)
{
	return collapse_order_choose(&p->c->by->layout, i, p->orders, p->max_none);
}

static bool parts_any(const struct parts *p)
{
	unsigned long i;

	for (i = p->first; i < p->last; i++)
		if (choose(p, i))
			return true;
	return false;
}

/* --- alloc ------------------------------------------------------------------------------ */

/* Where there is none of an order, there are smaller ones. */
static unsigned int part_alloc(struct parts *p, unsigned long i)
{
	struct collapse *c = p->c;
	unsigned int order;

	while ((order = choose(p, i))) {
		if (collapse_alloc(c->by, c->mm, order, &c->by->folios[i]) == SCAN_SUCCEED) {
			p->made++;
			return order;
		}
		p->orders &= BIT(order) - 1;
	}
	return 0;
}

static void parts_alloc(struct parts *p)
{
	unsigned long i;

	memset(p->c->by->folios, 0, sizeof(p->c->by->folios));
	for (i = p->first; i < p->last; i += 1UL << part_alloc(p, i))
		cond_resched();
}

/* --- all of it -------------------------------------------------------------------------- */

static bool parts_worth_while(struct parts *p)
{
	return parts_find(p) && parts_survey(p) && parts_any(p);
}

/**
 * collapse_parts - make folios smaller than a PMD of what a table has
 * @by: khugepaged
 * @mm: the address space
 * @where: the first address of the table that is in the VMA
 * @locked: whether mmap_lock is held for reading, before and after
 *
 * Where nothing is worth while, a lock that was held is held on.
 *
 * Context: sleeps.
 */
void collapse_parts(struct collapse_by *by, struct mm_struct *mm, unsigned long where,
		    bool *locked)
{
	struct collapse c = { .by = by, .mm = mm, .address = where & HPAGE_PMD_MASK };
	struct parts p = { .c = &c, .where = where };
	struct folio *folio;
	unsigned long i;

	if (!*locked)
		mmap_read_lock(mm);
	if (!parts_worth_while(&p)) {
		if (!*locked)
			mmap_read_unlock(mm);
		return;
	}
	mmap_read_unlock(mm);
	*locked = false;
	parts_alloc(&p);
	if (!p.made)
		return;
	mmap_read_lock(mm);
	if (parts_find(&p))
		collapse_parts_replace(&p);
	mmap_read_unlock(mm);
	for (i = 0; i < HPAGE_PMD_NR; i++) {
		folio = p.c->by->folios[i];
		if (folio)
			part_free(&p, i);
	}
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Walks of many folios at once; the drawing is in group.h.
 */
#include <linux/ksm.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>

#include "../internal.h"
#include "group.h"

/* The mapping of KSM folios is no anon_vma, and hugetlb has locks of its own. */
static __always_inline bool groupable(struct folio *folio)
{
	return folio->mapping && !folio_test_ksm(folio) && !folio_test_hugetlb(folio) &&
	       !folio_is_zone_device(folio);
}

/* Farther than a page table off, there may be VMAs of others in between. */
static __always_inline bool near(pgoff_t one, pgoff_t other)
{
	return one - other + PTRS_PER_PTE <= 2 * PTRS_PER_PTE;
}

/**
 * rmap_group_form - let folios that can be walked together be a group
 * @group: with @folios, all of them locked; all of them mapped, or none
 * @nr: how many there are, at least 1
 *
 * The group begins with the first folio. It is alone if it is like none of its neighbours; then it
 * is better walked as such, and sometimes must be.
 */
void rmap_group_form(struct rmap_group *group, unsigned int nr)
{
	struct folio *first = group->folios[0];
	pgoff_t at = folio_pgoff(first);
	unsigned int i;

	group->nr = 1;
	if (nr == 1 || !groupable(first))
		return;
	group->first = at;
	group->last = at + folio_nr_pages(first) - 1;
	for (i = 1; i < nr; i++) {
		struct folio *folio = group->folios[i];

		if (folio->mapping != first->mapping || !near(folio_pgoff(folio), at) ||
		    !groupable(folio))
			break;
		at = folio_pgoff(folio);
		group->first = min(group->first, at);
		group->last = max(group->last, at + folio_nr_pages(folio) - 1);
	}
	group->nr = i;
}

static void walk_anon(struct rmap_group *group, struct anon_vma *av)
{
	pgoff_t first = group->first, last = group->last;
	struct anon_vma_chain *avc;

	avc = anon_vma_interval_tree_iter_first(&av->rb_root, first, last);
	while (avc && group->visit(group, avc->vma)) {
		cond_resched();
		avc = anon_vma_interval_tree_iter_next(avc, first, last);
	}
}

static void walk_file(struct rmap_group *group, struct address_space *mapping)
{
	pgoff_t first = group->first, last = group->last;
	struct vm_area_struct *vma;

	vma = vma_interval_tree_iter_first(&mapping->i_mmap, first, last);
	while (vma && group->visit(group, vma)) {
		cond_resched();
		vma = vma_interval_tree_iter_next(vma, first, last);
	}
}

/**
 * rmap_group_walk - visit the VMAs that may map some of a group of folios
 * @group: of more than one, formed by rmap_group_form()
 *
 * Context: the folios are locked, and the caller has a reference on their anon_vma, if they are
 * anonymous and may be unmapped. Sleeps; takes the anon_vma or i_mmap lock for reading.
 */
void rmap_group_walk(struct rmap_group *group)
{
	struct folio *folio = group->folios[0];

	if (folio_test_anon(folio)) {
		struct anon_vma *av = folio_anon_vma(folio);

		anon_vma_lock_read(av);
		walk_anon(group, av);
		anon_vma_unlock_read(av);
	} else {
		struct address_space *mapping = folio->mapping;

		i_mmap_lock_read(mapping);
		walk_file(group, mapping);
		i_mmap_unlock_read(mapping);
	}
}

/**
 * rmap_group_walk_locked - rmap_group_walk() of anonymous folios whose anon_vma is locked
 * @group: with the folios, and their first and last index
 *
 * Context: the caller has locked the folios and the anon_vma. Sleeps.
 */
void rmap_group_walk_locked(struct rmap_group *group)
{
	walk_anon(group, folio_anon_vma(group->folios[0]));
}

/* Map the table of an address, without its lock. */
void rmap_table_enter(struct rmap_table *table, unsigned long addr)
{
	table->addr = addr & PMD_MASK;
	table->found = rmap_enter(&table->place, table->vma->vm_mm, table->addr);
}

/*
 * Lock the table. False when it is a table no more, or perhaps another one: then it is left, and
 * the caller has to begin again.
 */
bool rmap_table_lock(struct rmap_table *table)
{
	table->locked = rmap_lock(&table->place);
	if (unlikely(!table->locked))
		rmap_table_leave(table);
	return table->locked;
}

/**
 * rmap_table_leave - done with a table
 * @table: the table; it may be none, or not locked
 *
 * What was counted is told, the flush of what was cleared is put off: both while the lock is
 * held, on which flush_tlb_batched_pending() relies.
 */
void rmap_table_leave(struct rmap_table *table)
{
	if (table->found != RMAP_FOUND)
		return;
	if (table->flush)
		rmap_flush_defer(table->vma->vm_mm, 0, 1, table->old);
	rmap_tally_end(&table->tally);
	if (table->locked)
		spin_unlock(table->place.ptl);
	pte_unmap(table->place.pte);
	table->found = RMAP_ABSENT;
	table->locked = false;
	table->flush = false;
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Many folios at once: neighbours in one file, or in one anon_vma, are walked together.
 *
 *	folios	  f0   f1   f2   f3	one mapping, each not far from the one before, in any order
 *		   |    |    |    |
 *	VMA A	 [ pte  pte  pte][pte ]		 each page table is found and locked once,
 *	VMA B	      [ pte  pte  pte ]		 and left when all of its folios are done
 *
 * The rmap lock is taken once for the group, a VMA is visited once, statistics and TLB flushes
 * are told once for a table. The visitor of a VMA does to each folio what the walk of that folio
 * alone would do; what is not an entry or run that maps all of it there is left to that walk.
 */
#ifndef __MM_RMAP_GROUP_H
#define __MM_RMAP_GROUP_H

#include "../internal.h"
#include "rmap.h"

/**
 * struct rmap_group - folios that are walked together
 * @folios: with mapping and index; the first ones of an array
 * @old: the folios that migration entries name, in the same order; or NULL
 * @nr: how many
 * @first: the lowest of their pages' indexes
 * @last: and the highest
 * @flags: TTU_*, for the visitor
 * @visit: what to do in a VMA of which at least a page of one of them may be mapped; false: done
 */
struct rmap_group {
	struct folio **folios;
	struct folio **old;
	unsigned int nr;
	pgoff_t first;
	pgoff_t last;
	enum ttu_flags flags;
	bool (*visit)(struct rmap_group *group, struct vm_area_struct *vma);
};

void rmap_group_form(struct rmap_group *group, unsigned int nr);
void rmap_group_walk(struct rmap_group *group);
void rmap_group_walk_locked(struct rmap_group *group);

/**
 * struct rmap_tally - mappings counted, not yet in the statistics
 * @folio: one of the folios; all are of one node, memcg and kind. NULL: none yet
 * @pages: by how many pages NR_ANON_MAPPED or NR_FILE_MAPPED changes
 */
struct rmap_tally {
	struct folio *folio;
	long pages;
};

void rmap_count_new(struct rmap_tally *tally, struct folio *folio, struct vm_area_struct *vma,
		    unsigned long addr);
void rmap_count_in(struct rmap_tally *tally, struct folio *folio, struct page *page, int nr,
		   struct vm_area_struct *vma, unsigned long addr, rmap_t flags);
void rmap_count_out(struct rmap_tally *tally, struct folio *folio, struct page *page, int nr,
		    struct vm_area_struct *vma);
void rmap_tally_end(struct rmap_tally *tally);

/**
 * struct rmap_table - a page table that is being gone through
 * @vma: the VMA
 * @addr: the first address that it maps
 * @place: its entry of the lowest address
 * @found: what the look for it came to; the rest means nothing if it is not RMAP_FOUND
 * @locked: false while no entry was worth it
 * @tally: what was counted since it was locked
 * @flush: entries were cleared, their flush is to be put off
 * @old: one of them, a dirty one if there was
 */
struct rmap_table {
	struct vm_area_struct *vma;
	unsigned long addr;
	struct rmap_place place;
	enum rmap_found found;
	bool locked;
	struct rmap_tally tally;
	bool flush;
	pte_t old;
};

static __always_inline void rmap_table_init(struct rmap_table *table, struct vm_area_struct *vma)
{
	table->vma = vma;
	table->found = RMAP_ABSENT;
	table->locked = false;
	table->tally.folio = NULL;
	table->flush = false;
}

void rmap_table_enter(struct rmap_table *table, unsigned long addr);
bool rmap_table_lock(struct rmap_table *table);
void rmap_table_leave(struct rmap_table *table);

/**
 * rmap_table_at - go to the entry of an address
 * @table: the table at hand; left if the address is in another one
 * @addr: the address
 *
 * Context: an rmap lock of the VMA is held. The entry is locked only if table->locked.
 * Return: the entry; NULL when there is no table: rmap_table_absent() tells whether nothing at
 * all of a folio is mapped there.
 */
static __always_inline pte_t *rmap_table_at(struct rmap_table *table, unsigned long addr)
{
	if (unlikely(table->found != RMAP_FOUND || (addr & PMD_MASK) != table->addr)) {
		rmap_table_leave(table);
		rmap_table_enter(table, addr);
		if (table->found != RMAP_FOUND)
			return NULL;
	}
	return table->place.pte + pte_index(addr);
}

/*
 * After rmap_table_at() found no table: is it because nothing is mapped there of a folio of @nr
 * pages? Of one that goes on into the next table, that one may map the rest.
 */
static inline bool rmap_table_absent(const struct rmap_table *table, unsigned long addr,
				     unsigned long nr)
{
	return table->found == RMAP_ABSENT && pte_index(addr) + nr <= PTRS_PER_PTE;
}

/*
 * May all of @folio be mapped by one run that begins at @addr? If not, the walk of this folio
 * alone has to find out how it is.
 */
static __always_inline bool rmap_group_whole(struct vm_area_struct *vma, struct folio *folio,
					     unsigned long addr, unsigned long nr)
{
	return linear_page_index(vma, addr) == folio_pgoff(folio) &&
	       nr <= (vma->vm_end - addr) >> PAGE_SHIFT &&
	       pte_index(addr) + nr <= PTRS_PER_PTE;
}

/* Where a folio of a group begins in a VMA; -EFAULT when no page of it can be there. */
static __always_inline unsigned long rmap_group_addr(struct vm_area_struct *vma,
						     struct folio *folio)
{
	return vma_address(vma, folio_pgoff(folio), folio_nr_pages(folio));
}

#endif /* __MM_RMAP_GROUP_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Folios smaller than a PMD, of parts of a table: parts.c chooses and allocates them,
 * parts_replace.c puts them in the place of what is there.
 */
#ifndef MM_COLLAPSE_PARTS_H
#define MM_COLLAPSE_PARTS_H

#include "../pte/run.h"
#include "collapse.h"

/**
 * struct parts - the parts of one table
 * @c: the table
 * @where: the first address of it that is in the VMA
 * @orders: those that are allowed, and that there is memory for
 * @max_none: entries of a whole table that may be empty
 * @first: the first entry that is in the VMA
 * @last: the last, plus one
 * @made: folios that were allocated, and are not mapped
 */
struct parts {
	struct collapse *c;
	unsigned long where;
	unsigned long orders;
	unsigned int max_none;
	unsigned long first;
	unsigned long last;
	unsigned int made;
};

static inline unsigned long entry_address(const struct parts *p, unsigned long i)
{
	return p->c->address + i * PAGE_SIZE;
}

/* Mapped once, by as many entries as it has pages, and nobody has a reference more. */
static inline bool large_is_ours(const struct folio *folio)
{
	unsigned int nr = folio_nr_pages(folio);

	return folio_test_anon(folio) && folio_test_lru(folio) && folio_test_swapbacked(folio) &&
	       !folio_test_swapcache(folio) && !folio_test_has_hwpoisoned(folio) &&
	       folio_mapcount(folio) == nr && folio_ref_count(folio) == nr;
}

/* Does a run of entries map all of it, at its place? */
static inline bool large_is_here(const struct parts *p, pte_t *table, unsigned long i,
				 const struct folio *folio)
{
	pte_t pte = ptep_get(table + i);
	unsigned long nr = folio_nr_pages(folio);

	return IS_ALIGNED(i, nr) && i + nr <= p->last && pte_page(pte) == &folio->page &&
	       pte_run_length(table + i, pte, nr) == nr;
}

static inline void part_free(struct parts *p, unsigned long i)
{
	folio_put(p->c->by->folios[i]);
	p->c->by->folios[i] = NULL;
	p->made--;
}

void collapse_parts_replace(struct parts *p);

#endif /* MM_COLLAPSE_PARTS_H */

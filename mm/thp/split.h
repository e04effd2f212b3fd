/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The split of a folio.
 *
 *	state		what holds					taken back by
 *	NEW		the caller has a reference and the folio's lock
 *	CHECKED		the folio can be split to this order at all
 *	HELD		its VMAs do not change; there is memory for the page cache
 *									letting go
 *	UNMAPPED	migration entries, or nothing, in the place of mappings
 *									mapping it again
 *	FROZEN		nobody has a reference, and nobody can get one	-
 *	PARTED		the parts are folios that anybody can reach	-
 *	MAPPED		migration entries became mappings of the parts	-
 *	RELEASED	the parts are unlocked, but the caller's; VMAs may change
 *
 * Each follows the one above. A split fails before FROZEN, or not at all.
 *
 * Of an anonymous folio a range of pages can be what is split off. Then its parts are as large as
 * they can be without lying across a border of the range:
 *
 *	0	4	8	12	16
 *	[			       ]	folio
 *		   [	  ]			range
 *	[      ][ ][][   ][    ][      ]	parts
 */
#ifndef __MM_THP_SPLIT_H
#define __MM_THP_SPLIT_H

#include <linux/xarray.h>

#include "thp.h"

enum thp_split_state {
	SPLIT_NEW,
	SPLIT_CHECKED,
	SPLIT_HELD,
	SPLIT_UNMAPPED,
	SPLIT_FROZEN,
	SPLIT_PARTED,
	SPLIT_MAPPED,
	SPLIT_RELEASED,
};

/**
 * struct thp_split - the split of one folio
 * @folio: the folio, later its first part
 * @page: the page of it that the caller's reference and lock go to
 * @list: where parts go, each with a reference; NULL: the LRU list that the folio is on
 * @order: of the folio
 * @new_order: of the parts, or of the largest within the range
 * @first: the first page of the range across whose borders no part may lie
 * @last: the page after it
 * @step: pages of each part, if they are alike and there is no range; else 0
 * @state: how far it is
 * @anon_vma: of anonymous memory, locked for writing and referenced; else NULL
 * @mapping: of a file, its i_mmap locked for reading; else NULL
 * @xas: of a file: with the memory that its tree needs for the parts
 * @end: of a file: parts from this index on are beyond its end, and dropped
 * @cached: page cache or swap cache has a reference for each page
 * @dropped: pages that were beyond the end
 */
struct thp_split {
	struct folio *folio;
	struct page *page;
	struct list_head *list;
	unsigned int order;
	unsigned int new_order;
	unsigned long first;
	unsigned long last;
	unsigned long step;
	enum thp_split_state state;
	struct anon_vma *anon_vma;
	struct address_space *mapping;
	struct xa_state xas;
	pgoff_t end;
	bool cached;
	unsigned long dropped;
};

/* The one place where the state changes. */
static inline void thp_split_to(struct thp_split *s, enum thp_split_state state)
{
	VM_WARN_ON_ONCE(state != s->state + 1);
	s->state = state;
}

static inline unsigned long thp_split_pages(const struct thp_split *s)
{
	return 1UL << s->order;
}

/* split_parts.c */
void thp_part(struct thp_split *s);

#endif /* __MM_THP_SPLIT_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which folios smaller than a PMD to make of a table. Without state, so that KUnit can test it.
 *
 *	entries		a b . c  d . . .  E E E E  f ! g h	'!': cannot be taken
 *	used		      *			     *
 *	order 2		made	 left	  is one   left
 *	    3		     left		left
 *
 * At each place the largest order is tried first. A folio is made if all of its entries are empty,
 * or map pages that can be taken, one of which was used; if no more are empty than max_ptes_none
 * allows, scaled; and if it is not only a folio that is there, grown into what nobody has touched:
 * or every pass would make the next larger one possible, until memory is full of zeroes.
 */
#ifndef MM_COLLAPSE_ORDER_H
#define MM_COLLAPSE_ORDER_H

#include <linux/bitmap.h>
#include <linux/mm.h>

#define PART_EMPTY	0
#define PART_BLOCKED	255
/* The page can be taken, and is of a folio that lies in the table as a whole. */
#define PART_OF(order)	((order) + 1)

/**
 * struct collapse_layout - what a table has
 * @kind: of each entry PART_EMPTY, PART_BLOCKED, PART_OF()
 * @used: entries that were used lately
 */
struct collapse_layout {
	u8 kind[HPAGE_PMD_NR];
	DECLARE_BITMAP(used, HPAGE_PMD_NR);
};

/**
 * collapse_none_scaled - how many entries of a part may be empty
 * @max_none: how many of a whole table may be
 * @order: of the part
 */
static inline unsigned int collapse_none_scaled(unsigned int max_none, unsigned int order)
{
	return max_none >> (PMD_ORDER - order);
}

unsigned int collapse_order_choose(const struct collapse_layout *layout, unsigned int first,
				   unsigned long orders, unsigned int max_none);

#endif /* MM_COLLAPSE_ORDER_H */

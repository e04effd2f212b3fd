// SPDX-License-Identifier: GPL-2.0
/*
 * The choice of an order. See order.h.
 */
#include "order.h"

static bool is_used(const struct collapse_layout *layout, unsigned int first, unsigned int nr)
{
	return find_next_bit(layout->used, first + nr, first) < first + nr;
}

static bool order_suits(const struct collapse_layout *layout, unsigned int first,
			unsigned int order, unsigned int max_none)
{
	unsigned int nr = 1U << order, none = 0, largest = 0, i;

	for (i = first; i < first + nr; i++) {
		unsigned int kind = layout->kind[i];

		/* Blocked entries count as larger than anything. */
		if (kind >= PART_OF(order))
			return false;
		none += kind == PART_EMPTY;
		largest = max(largest, kind);
	}
	if (none > collapse_none_scaled(max_none, order) || none == nr)
		return false;
	/* One folio, and nothing else. */
	if (none && largest > PART_OF(0) && nr - none == 1U << (largest - PART_OF(0)))
		return false;
	return is_used(layout, first, nr);
}

/**
 * collapse_order_choose - the order of the folio to be made at an entry
 * @layout: what the table has
 * @first: the entry
 * @orders: those that are allowed, by bits; those of a PMD and more are not looked at
 * @max_none: how many entries of a whole table may be empty
 *
 * Return: the largest order that suits; 0 if none does.
 */
unsigned int collapse_order_choose(const struct collapse_layout *layout, unsigned int first,
				   unsigned long orders, unsigned int max_none)
{
	unsigned int order;

	for (order = PMD_ORDER - 1; order; order--)
		if (orders & BIT(order) && IS_ALIGNED(first, 1U << order) &&
		    order_suits(layout, first, order, max_none))
			return order;
	return 0;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * The used first. Where idle ages are kept (scan_period_ms of page_idle/), khugepaged does not ask
 * whether a page was used since somebody looked last, which may be long ago, but how long ago:
 *
 *	full scan	tables of which a page was used in the last
 *	0		1 sweep
 *	1		2
 *	2		4
 *	...
 *	n		max_idle_sweeps
 *	n + 1		1 sweep, and so on
 *
 * So what is in use becomes huge in the first scan, whatever lies before it; what is used now and
 * then some scans later; and what has been idle for longer is left.
 */
#include <linux/idle_ages.h>
#include <linux/log2.h>
#include <linux/mm.h>

#include "../internal.h"
#include "collapse.h"
#include "order.h"

/**
 * collapse_idle_limit - how lately a page must have been used in a full scan
 * @scan: how many full scans there were before
 * @most: max_idle_sweeps
 *
 * Return: in sweeps; 0 if it does not matter.
 */
unsigned int collapse_idle_limit(unsigned int scan, unsigned int most)
{
	unsigned int step = most ? scan % (order_base_2(most) + 1) : 0;

	/* 1 << 32, where somebody wrote the largest number. */
	return min_t(u64, most, 1ULL << step);
}

static bool entry_is_used(pte_t pte, unsigned int limit)
{
	struct page *page;

	if (!pte_present(pte))
		return false;
	if (pte_young(pte))
		return true;
	if (pte_is_empty(pte) || !collapse_pte_is_plain(pte))
		return false;
	page = pte_page(pte);
	return idle_age(page_folio(page)) < limit;
}

/**
 * collapse_table_is_idle - was nothing of a table used lately?
 * @by: who wants huge pages
 * @table: the table, locked
 *
 * Return: false where ages are not kept, or not asked for.
 */
bool collapse_table_is_idle(const struct collapse_by *by, pte_t *table)
{
	unsigned int limit, i;

	if (!by->khugepaged || !idle_ages_kept())
		return false;
	limit = collapse_idle_limit(READ_ONCE(collapse_settings.full_scans),
				    READ_ONCE(collapse_settings.max_idle_sweeps));
	if (!limit)
		return false;
	for (i = 0; i < HPAGE_PMD_NR; i++)
		if (entry_is_used(ptep_get(table + i), limit))
			return false;
	return true;
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What transparent huge pages on runs offer beyond <linux/huge_mm.h>.
 */
#ifndef _LINUX_THP_RUNS_H
#define _LINUX_THP_RUNS_H

#include <linux/mm.h>

#ifdef CONFIG_FOLIAGE_THP
int split_folio_range(struct folio *folio, unsigned long first, unsigned long nr);
#else
static inline int split_folio_range(struct folio *folio, unsigned long first, unsigned long nr)
{
	return split_folio(folio);
}
#endif

#endif /* _LINUX_THP_RUNS_H */

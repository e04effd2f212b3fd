/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What transparent huge pages on runs offer beyond <linux/huge_mm.h>.
 */
#ifndef _LINUX_THP_RUNS_H
#define _LINUX_THP_RUNS_H

#include <linux/mm.h>

struct mem_cgroup;

#ifdef CONFIG_FOLIAGE_THP
int split_folio_range(struct folio *folio, unsigned long first, unsigned long nr);
int split_page_out(struct page *page);
void thp_memcg_offline(struct mem_cgroup *memcg);
#else
static inline int split_folio_range(struct folio *folio, unsigned long first, unsigned long nr)
{
	return split_folio(folio);
}

static inline int split_page_out(struct page *page)
{
	return split_huge_page(page);
}

static inline void thp_memcg_offline(struct mem_cgroup *memcg)
{
}
#endif

#endif /* _LINUX_THP_RUNS_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the reverse map on runs offers beyond <linux/rmap.h>.
 */
#ifndef _LINUX_RMAP_RUNS_H
#define _LINUX_RMAP_RUNS_H

#include <linux/mm.h>

/* With FOLIAGE_RMAP only; without it, nobody calls it. */
void rmap_restore(struct folio *src, struct folio *dst, int flags);
void rmap_restore_parts(struct folio *folio, unsigned long nr, int flags);
void rmap_pmd_to_ptes(struct folio *folio, struct vm_area_struct *vma, unsigned long address,
		      bool exclusive);

#ifdef CONFIG_FOLIAGE_RMAP

/**
 * rmap_only_copy - say that an anonymous folio just read from swap is nowhere else
 * @folio: the folio, locked, not in the swap cache; its slots are about to be freed
 *
 * Its entries will be clean, as it was read for reading, and so is the folio. Unless it is
 * marked, MADV_FREE cannot tell it from one that was given up, and does not look whether
 * others map it.
 */
static inline void rmap_only_copy(struct folio *folio)
{
	folio_set_dirty(folio);
}

#ifdef CONFIG_SWAP
int swap_duplicate_run(swp_entry_t entry, unsigned int nr);
#else
static inline int swap_duplicate_run(swp_entry_t entry, unsigned int nr)
{
	return 0;
}
#endif
#else /* !CONFIG_FOLIAGE_RMAP */
static inline void rmap_only_copy(struct folio *folio)
{
}
#endif /* CONFIG_FOLIAGE_RMAP */

#endif /* _LINUX_RMAP_RUNS_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Stand-in: the marker of userfaultfd, where a machine has write protection of it.
 */
#ifndef _LINUX_USERFAULTFD_K_H
#define _LINUX_USERFAULTFD_K_H

#include <linux/swapops.h>

static inline bool pte_marker_uffd_wp(pte_t pte)
{
	swp_entry_t entry = pte_to_swp_entry(pte);

	return ENTRY_WP != 0 && !pte_present(pte) && !pte_none(pte) &&
	       swp_type(entry) == SWP_PTE_MARKER && swp_offset(entry) & PTE_MARKER_UFFD_WP;
}

#endif /* _LINUX_USERFAULTFD_K_H */

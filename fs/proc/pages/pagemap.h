/* SPDX-License-Identifier: GPL-2.0 */
/*
 * /proc/PID/pagemap: what its two halves share, the array of entries and PAGEMAP_SCAN.
 */
#ifndef __FS_PROC_PAGEMAP_H
#define __FS_PROC_PAGEMAP_H

#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/types.h>

/* An entry of the array: a frame, or a swap type and above it an offset; and flags. */
#define PM_ENTRY_BYTES		sizeof(u64)
#define PM_PFRAME_BITS		55
#define PM_PFRAME_MASK		GENMASK_ULL(PM_PFRAME_BITS - 1, 0)
#define PM_SOFT_DIRTY		BIT_ULL(55)
#define PM_MMAP_EXCLUSIVE	BIT_ULL(56)
#define PM_UFFD_WP		BIT_ULL(57)
#define PM_FILE			BIT_ULL(61)
#define PM_SWAP			BIT_ULL(62)
#define PM_PRESENT		BIT_ULL(63)

/**
 * pagemap_page - the page that an entry maps, when its folio may be asked
 * @vma: the VMA
 * @addr: the address
 * @pte: the entry, present
 *
 * vm_normal_page() for the usual case inline: ordinary memory, and an architecture that
 * marks in the entry what is not.
 *
 * Return: the page; NULL for the zero page, raw frames and device memory.
 */
static __always_inline struct page *pagemap_page(struct vm_area_struct *vma, unsigned long addr,
						 pte_t pte)
{
	if (IS_ENABLED(CONFIG_ARCH_HAS_PTE_SPECIAL) && likely(!pte_special(pte)) &&
	    likely(!pte_devmap(pte)) && likely(pte_pfn(pte) < max_pfn))
		return pfn_to_page(pte_pfn(pte));
	return vm_normal_page(vma, addr, pte);
}

/* Frames from @pfn on whose struct pages follow each other. */
static inline unsigned long pagemap_map_rest(unsigned long pfn)
{
#if defined(CONFIG_SPARSEMEM) && !defined(CONFIG_SPARSEMEM_VMEMMAP)
	return PAGES_PER_SECTION - pfn % PAGES_PER_SECTION;
#else
	return ULONG_MAX;
#endif
}

long pagemap_scan_ioctl(struct mm_struct *mm, unsigned long uarg);

#endif /* __FS_PROC_PAGEMAP_H */

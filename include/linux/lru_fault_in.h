/* SPDX-License-Identifier: GPL-2.0 */
/* What mm/lru offers to the code that fills mappings, see mm/lru/fault_in.c. */
#ifndef _LINUX_LRU_FAULT_IN_H
#define _LINUX_LRU_FAULT_IN_H

#include <linux/types.h>

struct vm_area_struct;

#ifdef CONFIG_FOLIAGE_LRU
unsigned long lru_fault_in(struct vm_area_struct *vma, unsigned long start, unsigned long end,
			   int *locked);

/**
 * lru_filled - lru_fault_in() as a step of a loop over VMAs
 * @vma: the VMA
 * @start: moved forward to what is left to do
 * @end: where the loop goes on afterwards: @start if mmap_lock was dropped, for a new look
 * @locked: set to 0 if mmap_lock was dropped
 *
 * Return: whether the loop shall go on at @end.
 */
static inline bool lru_filled(struct vm_area_struct *vma, unsigned long *start,
			      unsigned long *end, int *locked)
{
	*start += lru_fault_in(vma, *start, *end, locked);
	if (!*locked)
		*end = *start;
	return *start == *end;
}
#else
static inline bool lru_filled(struct vm_area_struct *vma, unsigned long *start,
			      unsigned long *end, int *locked)
{
	return false;
}
#endif

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/* What a program has given back, khugepaged does not fill again. */
#ifndef _LINUX_COLLAPSE_GIVEN_BACK_H
#define _LINUX_COLLAPSE_GIVEN_BACK_H

struct vm_area_struct;

#ifdef CONFIG_FOLIAGE_COLLAPSE
void collapse_given_back(struct vm_area_struct *vma, unsigned long start, unsigned long end);
#else
static inline void collapse_given_back(struct vm_area_struct *vma, unsigned long start,
				       unsigned long end)
{
}
#endif

#endif /* _LINUX_COLLAPSE_GIVEN_BACK_H */

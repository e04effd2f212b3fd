/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What faults tell khugepaged.
 */
#ifndef _LINUX_COLLAPSE_HINTS_H
#define _LINUX_COLLAPSE_HINTS_H

struct vm_area_struct;

#ifdef CONFIG_FOLIAGE_COLLAPSE
void collapse_anon_begins(struct vm_area_struct *vma);
void collapse_soon(struct vm_area_struct *vma, unsigned long addr);
#else
static inline void collapse_anon_begins(struct vm_area_struct *vma) { }
static inline void collapse_soon(struct vm_area_struct *vma, unsigned long addr) { }
#endif

#endif /* _LINUX_COLLAPSE_HINTS_H */

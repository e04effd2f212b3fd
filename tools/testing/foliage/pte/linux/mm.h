/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Stand-in: the compiler's helpers, frames and VMAs, as far as mm/pte knows of them.
 */
#ifndef _LINUX_MM_H
#define _LINUX_MM_H

#include <stdbool.h>
#include <stdint.h>

#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)
#define BIT(nr)		(1UL << (nr))
#define READ_ONCE(x)	(x)

/* Counted, so that a test can say how many there should have been. */
extern unsigned long warnings;
#define WARN_ON_ONCE(cond) ({ bool _cond = (cond); warnings += _cond; _cond; })

#define PAGE_SHIFT	12
#define PAGE_SIZE	BIT(PAGE_SHIFT)
#define VM_SHADOW_STACK	BIT(37)

struct page;
struct mm_struct { char unused; };
struct pgprot { unsigned long pgprot; };

#define pgprot_t	struct pgprot

struct vm_area_struct {
	struct mm_struct *vm_mm;
	pgprot_t vm_page_prot;
	unsigned long vm_flags;
};

/* A page is only ever a name of its frame: there is nothing behind the pointer. */
static inline struct page *pfn_to_page(unsigned long pfn)
{
	return (struct page *)((pfn + 1) * 64);
}

static inline unsigned long page_to_pfn(const struct page *page)
{
	return (unsigned long)page / 64 - 1;
}

#endif /* _LINUX_MM_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine with entries of 32 bits, and a kernel with as many options off as can be: no
 * soft-dirty, no write protection of userfaultfd, of the special swap types only markers.
 */
#ifndef MACHINE_SMALL_H
#define MACHINE_SMALL_H

#define HAS_SPECIAL	false
#define PFN_BITS	20
#define SWP_OFFSET_BITS	20

#define pteval_t	uint32_t

#define ENTRY_VALID	BIT(0)
#define ENTRY_RW	BIT(1)
#define ENTRY_YOUNG	BIT(2)
#define ENTRY_DIRTY	BIT(3)
#define ENTRY_NX	BIT(4)
#define ENTRY_PROTNONE	BIT(5)
#define ENTRY_WP	0UL
#define ENTRY_SOFT	0UL

#define ENTRY_PRESENT	(ENTRY_VALID | ENTRY_PROTNONE)
#define ENTRY_NOISE	0UL

#define PAGE_NONE		(ENTRY_PROTNONE | ENTRY_YOUNG)
#define PAGE_READONLY_EXEC	(ENTRY_VALID | ENTRY_YOUNG)
#define PAGE_READONLY		(PAGE_READONLY_EXEC | ENTRY_NX)
#define PAGE_SHARED		(PAGE_READONLY | ENTRY_RW)

#define SWP_EXCLUSIVE	BIT(1)
#define SWP_WP		0UL
#define SWP_SOFT	0UL

static inline pteval_t entry_make(unsigned long pfn, pteval_t prot)
{
	return prot | pfn << PAGE_SHIFT;
}

static inline unsigned long entry_pfn(pteval_t v)
{
	return v >> PAGE_SHIFT;
}

static inline pteval_t entry_advance(pteval_t v)
{
	return v + PAGE_SIZE;
}

static inline bool entry_write(pteval_t v)
{
	return v & ENTRY_RW;
}

static inline bool entry_dirty(pteval_t v)
{
	return v & ENTRY_DIRTY;
}

static inline pteval_t entry_clean(pteval_t v)
{
	return v & ~ENTRY_DIRTY;
}

static inline pteval_t entry_mkdirty(pteval_t v)
{
	return v | ENTRY_DIRTY;
}

static inline pteval_t entry_wrprotect(pteval_t v)
{
	return v & ~ENTRY_RW;
}

static inline pteval_t entry_mkwrite(pteval_t v, bool shadow_stack)
{
	return v | ENTRY_RW;
}

static inline pteval_t entry_cpu_write(pteval_t v)
{
	return v & ENTRY_VALID && v & ENTRY_RW ? v | ENTRY_YOUNG | ENTRY_DIRTY : v;
}

static inline pteval_t entry_swp(unsigned int type, unsigned long offset)
{
	return type << 6 | (offset & (BIT(SWP_OFFSET_BITS) - 1)) << 12;
}

static inline unsigned int entry_swp_type(pteval_t v)
{
	return v >> 6 & 31;
}

static inline unsigned long entry_swp_offset(pteval_t v)
{
	return v >> 12;
}

#endif /* MACHINE_SMALL_H */

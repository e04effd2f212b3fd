/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine like arm64, without soft-dirty.
 *
 * What is odd here: to make a writable entry dirty, a CPU clears a bit, which says "clean
 * so far" where the entry is writable and "read only" where it is not.
 */
#ifndef MACHINE_ARM64_H
#define MACHINE_ARM64_H

#define HAS_SPECIAL	true
#define PFN_BITS	36
#define SWP_OFFSET_BITS	50

#define pteval_t	unsigned long

#define ENTRY_VALID	BIT(0)
#define ENTRY_USER	BIT(6)
#define ENTRY_RDONLY	BIT(7)
#define ENTRY_YOUNG	BIT(10)
#define ENTRY_PROTNONE	BIT(11)
#define ENTRY_DBM	BIT(51)	/* writable */
#define ENTRY_UXN	BIT(54)
#define ENTRY_SWDIRTY	BIT(55)
#define ENTRY_WP	BIT(58)
#define ENTRY_SOFT	0UL

#define ENTRY_PRESENT	(ENTRY_VALID | ENTRY_PROTNONE)
#define ENTRY_NOISE	0UL
#define ENTRY_FRAME	(BIT(48) - BIT(PAGE_SHIFT))

#define PAGE_NONE		(ENTRY_PROTNONE | ENTRY_RDONLY | ENTRY_YOUNG | ENTRY_UXN)
#define PAGE_READONLY_EXEC	(ENTRY_VALID | ENTRY_USER | ENTRY_RDONLY | ENTRY_YOUNG)
#define PAGE_READONLY		(PAGE_READONLY_EXEC | ENTRY_UXN)
#define PAGE_SHARED		(PAGE_READONLY | ENTRY_DBM)

#define SWP_EXCLUSIVE	BIT(2)
#define SWP_WP		BIT(3)
#define SWP_SOFT	0UL

static inline pteval_t entry_make(unsigned long pfn, pteval_t prot)
{
	return prot | pfn << PAGE_SHIFT;
}

static inline unsigned long entry_pfn(pteval_t v)
{
	return (v & ENTRY_FRAME) >> PAGE_SHIFT;
}

static inline pteval_t entry_advance(pteval_t v)
{
	return v + PAGE_SIZE;
}

static inline bool entry_write(pteval_t v)
{
	return v & ENTRY_DBM;
}

static inline bool entry_dirty(pteval_t v)
{
	return v & ENTRY_SWDIRTY || (v & ENTRY_DBM && !(v & ENTRY_RDONLY));
}

static inline pteval_t entry_clean(pteval_t v)
{
	return (v & ~ENTRY_SWDIRTY) | ENTRY_RDONLY;
}

static inline pteval_t entry_mkdirty(pteval_t v)
{
	v |= ENTRY_SWDIRTY;
	return v & ENTRY_DBM ? v & ~ENTRY_RDONLY : v;
}

static inline pteval_t entry_wrprotect(pteval_t v)
{
	if (entry_dirty(v))
		v |= ENTRY_SWDIRTY;
	return (v & ~ENTRY_DBM) | ENTRY_RDONLY;
}

static inline pteval_t entry_mkwrite(pteval_t v, bool shadow_stack)
{
	v |= ENTRY_DBM;
	return v & ENTRY_SWDIRTY ? v & ~ENTRY_RDONLY : v;
}

static inline pteval_t entry_cpu_write(pteval_t v)
{
	return v & ENTRY_VALID && v & ENTRY_DBM ? (v | ENTRY_YOUNG) & ~ENTRY_RDONLY : v;
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
	return v >> 12 & (BIT(SWP_OFFSET_BITS) - 1);
}

#endif /* MACHINE_ARM64_H */

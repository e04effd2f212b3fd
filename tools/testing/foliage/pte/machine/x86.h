/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine like x86-64, with everything that an entry can hold.
 *
 * What is odd here: an entry that is neither 0 nor valid has its frame number, or its swap
 * offset, inverted, so in a run of PROT_NONE the entries count down; Dirty without Write
 * is a shadow stack, so the dirtiness of what is not writable is in another bit; and a CPU
 * may leave Accessed and Dirty in an entry that is none.
 */
#ifndef MACHINE_X86_H
#define MACHINE_X86_H

#define CONFIG_X86	1
#define HAS_SPECIAL	true
#define PFN_BITS	40
#define SWP_OFFSET_BITS	50

#define pteval_t	unsigned long

#define _PAGE_BIT_ACCESSED	5
#define ENTRY_VALID	BIT(0)
#define ENTRY_RW	BIT(1)
#define ENTRY_USER	BIT(2)
#define ENTRY_YOUNG	BIT(_PAGE_BIT_ACCESSED)
#define ENTRY_DIRTY	BIT(6)
#define ENTRY_PROTNONE	BIT(8)
#define ENTRY_WP	BIT(10)
#define ENTRY_SOFT	BIT(11)
#define ENTRY_SAVED	BIT(58)	/* dirty and not writable */
#define ENTRY_NX	BIT(63)

#define ENTRY_PRESENT	(ENTRY_VALID | ENTRY_PROTNONE)
#define ENTRY_NOISE	(ENTRY_YOUNG | ENTRY_DIRTY)
#define ENTRY_FRAME	(BIT(52) - BIT(PAGE_SHIFT))

#define PAGE_NONE		(ENTRY_PROTNONE | ENTRY_YOUNG)
#define PAGE_READONLY_EXEC	(ENTRY_VALID | ENTRY_USER | ENTRY_YOUNG)
#define PAGE_READONLY		(PAGE_READONLY_EXEC | ENTRY_NX)
#define PAGE_SHARED		(PAGE_READONLY | ENTRY_RW)

#define SWP_SOFT	BIT(1)
#define SWP_WP		BIT(2)
#define SWP_EXCLUSIVE	BIT(3)

static inline pteval_t entry_make(unsigned long pfn, pteval_t prot)
{
	pteval_t frame = pfn << PAGE_SHIFT;

	return prot | ((prot & ENTRY_VALID ? frame : ~frame) & ENTRY_FRAME);
}

static inline unsigned long entry_pfn(pteval_t v)
{
	return ((v & ENTRY_VALID ? v : ~v) & ENTRY_FRAME) >> PAGE_SHIFT;
}

static inline pteval_t entry_advance(pteval_t v)
{
	return v & ENTRY_VALID ? v + PAGE_SIZE : v - PAGE_SIZE;
}

/* Dirtiness goes to the bit that it belongs in. */
static inline pteval_t entry_settle(pteval_t v)
{
	if (!(v & (ENTRY_DIRTY | ENTRY_SAVED)))
		return v;
	v &= ~(ENTRY_DIRTY | ENTRY_SAVED);
	return v | (v & ENTRY_RW ? ENTRY_DIRTY : ENTRY_SAVED);
}

static inline bool entry_write(pteval_t v)
{
	return v & ENTRY_RW || v & ENTRY_DIRTY;
}

static inline bool entry_dirty(pteval_t v)
{
	return v & (ENTRY_DIRTY | ENTRY_SAVED);
}

static inline pteval_t entry_clean(pteval_t v)
{
	return v & ~(ENTRY_DIRTY | ENTRY_SAVED);
}

static inline pteval_t entry_mkdirty(pteval_t v)
{
	return entry_settle(v | ENTRY_DIRTY);
}

static inline pteval_t entry_wrprotect(pteval_t v)
{
	return entry_settle(v & ~ENTRY_RW);
}

static inline pteval_t entry_mkwrite(pteval_t v, bool shadow_stack)
{
	return shadow_stack ? (v & ~ENTRY_RW) | ENTRY_DIRTY : entry_settle(v | ENTRY_RW);
}

static inline pteval_t entry_cpu_write(pteval_t v)
{
	return v & ENTRY_VALID && v & ENTRY_RW ? v | ENTRY_YOUNG | ENTRY_DIRTY : v;
}

static inline pteval_t entry_swp(unsigned int type, unsigned long offset)
{
	return (pteval_t)type << 59 | (~offset & (BIT(SWP_OFFSET_BITS) - 1)) << 9;
}

static inline unsigned int entry_swp_type(pteval_t v)
{
	return v >> 59;
}

static inline unsigned long entry_swp_offset(pteval_t v)
{
	return ~v >> 9 & (BIT(SWP_OFFSET_BITS) - 1);
}

#endif /* MACHINE_X86_H */

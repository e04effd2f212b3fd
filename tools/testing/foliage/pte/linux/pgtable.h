/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Stand-in: page table entries. What the bits are is told by one of machine/, which gives
 * entry_*() on plain numbers; here they get the kernel's names and types.
 *
 * Who reads or writes an entry in memory must be allowed to, see struct stage.
 */
#ifndef _LINUX_PGTABLE_H
#define _LINUX_PGTABLE_H

#include <linux/mm.h>
#include MACHINE

struct pte { pteval_t pte; };
struct swp_entry { unsigned long val; };

#define pte_t		struct pte
#define swp_entry_t	struct swp_entry

#define __pte(x)	((pte_t){ (x) })
#define pte_val(x)	((x).pte)

/**
 * struct stage - the part of a page table that the code under test was given
 * @vma: its VMA
 * @addr: the address of @first
 * @first: the first entry
 * @end: behind the last entry
 * @cpu_writes: right after that many reads from now, a CPU writes through the entry read; 0: never
 * @written: the entry that it wrote through
 * @clears: how often Accessed was cleared, set or not
 * @strays: how often something was done to another entry, address or VMA
 */
struct stage {
	struct vm_area_struct *vma;
	unsigned long addr;
	pte_t *first;
	pte_t *end;
	unsigned long cpu_writes;
	pte_t *written;
	unsigned long clears;
	unsigned long strays;
};

extern struct stage stage;

static inline bool on_stage(const pte_t *ptep)
{
	bool in = ptep >= stage.first && ptep < stage.end;

	stage.strays += !in;
	return in;
}

static inline void expect_at(unsigned long addr, const pte_t *ptep)
{
	stage.strays += addr != stage.addr + (ptep - stage.first) * PAGE_SIZE;
}

static inline pte_t ptep_get(pte_t *ptep)
{
	pte_t pte = {};

	if (!on_stage(ptep))
		return pte;
	pte = *ptep;
	if (stage.cpu_writes && !--stage.cpu_writes) {
		stage.written = ptep;
		ptep->pte = entry_cpu_write(pte.pte);
	}
	return pte;
}

static inline void set_pte_at(struct mm_struct *mm, unsigned long addr, pte_t *ptep, pte_t pte)
{
	stage.strays += mm != stage.vma->vm_mm;
	expect_at(addr, ptep);
	if (on_stage(ptep))
		*ptep = pte;
}

static inline bool ptep_test_and_clear_young(struct vm_area_struct *vma, unsigned long addr,
					     pte_t *ptep)
{
	bool young;

	stage.strays += vma != stage.vma;
	expect_at(addr, ptep);
	if (!on_stage(ptep))
		return false;
	stage.clears++;
	young = ptep->pte & ENTRY_YOUNG;
	ptep->pte &= ~ENTRY_YOUNG;
	return young;
}

static inline bool test_and_clear_bit(long nr, unsigned long *word)
{
	bool was;

	if (!on_stage((pte_t *)word))
		return false;
	stage.clears++;
	was = *word & BIT(nr);
	*word &= ~BIT(nr);
	return was;
}

static inline bool pte_none(pte_t pte) { return !(pte.pte & ~ENTRY_NOISE); }
static inline bool pte_present(pte_t pte) { return pte.pte & ENTRY_PRESENT; }
static inline bool pte_same(pte_t a, pte_t b) { return a.pte == b.pte; }
static inline bool pte_write(pte_t pte) { return entry_write(pte.pte); }
static inline bool pte_young(pte_t pte) { return pte.pte & ENTRY_YOUNG; }
static inline bool pte_dirty(pte_t pte) { return entry_dirty(pte.pte); }
static inline bool pte_soft_dirty(pte_t pte) { return pte.pte & ENTRY_SOFT; }
static inline bool pte_uffd_wp(pte_t pte) { return pte.pte & ENTRY_WP; }
static inline unsigned long pte_pfn(pte_t pte) { return entry_pfn(pte.pte); }

static inline pte_t pte_next_pfn(pte_t pte) { return __pte(entry_advance(pte.pte)); }
static inline pte_t pte_wrprotect(pte_t pte) { return __pte(entry_wrprotect(pte.pte)); }
static inline pte_t pte_mkclean(pte_t pte) { return __pte(entry_clean(pte.pte)); }
static inline pte_t pte_mkold(pte_t pte) { return __pte(pte.pte & ~ENTRY_YOUNG); }
static inline pte_t pte_mksoft_dirty(pte_t pte) { return __pte(pte.pte | ENTRY_SOFT); }
static inline pte_t pte_clear_soft_dirty(pte_t pte) { return __pte(pte.pte & ~ENTRY_SOFT); }

/* Nothing at all where there is no such bit. */
static inline pte_t pte_mkuffd_wp(pte_t pte)
{
	return ENTRY_WP ? __pte(entry_wrprotect(pte.pte | ENTRY_WP)) : pte;
}

/* What the kernel makes dirty it makes soft-dirty too; a CPU does not. */
static inline pte_t pte_mkdirty(pte_t pte)
{
	return pte_mksoft_dirty(__pte(entry_mkdirty(pte.pte)));
}

static inline pte_t pte_mkwrite(pte_t pte, struct vm_area_struct *vma)
{
	return __pte(entry_mkwrite(pte.pte, vma->vm_flags & VM_SHADOW_STACK));
}

static inline pte_t mk_pte(struct page *page, pgprot_t prot)
{
	return __pte(entry_make(page_to_pfn(page), prot.pgprot));
}

static inline bool pte_swp_exclusive(pte_t pte) { return pte.pte & SWP_EXCLUSIVE; }
static inline bool pte_swp_soft_dirty(pte_t pte) { return pte.pte & SWP_SOFT; }
static inline bool pte_swp_uffd_wp(pte_t pte) { return pte.pte & SWP_WP; }
static inline pte_t pte_swp_mkexclusive(pte_t pte) { return __pte(pte.pte | SWP_EXCLUSIVE); }
static inline pte_t pte_swp_mksoft_dirty(pte_t pte) { return __pte(pte.pte | SWP_SOFT); }
static inline pte_t pte_swp_mkuffd_wp(pte_t pte) { return __pte(pte.pte | SWP_WP); }

#endif /* _LINUX_PGTABLE_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Runs: consecutive entries of one page table that map consecutive frames.
 *
 * The table's lock is held by the caller of everything here.
 */
#ifndef __MM_PTE_RUN_H
#define __MM_PTE_RUN_H

#include <linux/pgtable.h>

#include "leaf.h"

/**
 * pte_run_clear_young - test and clear the Accessed bit of one entry
 * @vma: the VMA it belongs to
 * @addr: the address it maps
 * @ptep: the entry
 *
 * What ptep_test_and_clear_young() does. x86 keeps that one out of line, which costs a
 * loop over a run more than the operation itself.
 *
 * Return: true when the bit was set. The TLB is not flushed.
 */
static __always_inline bool pte_run_clear_young(struct vm_area_struct *vma, unsigned long addr,
						pte_t *ptep)
{
#ifdef CONFIG_X86
	return test_and_clear_bit(_PAGE_BIT_ACCESSED, (unsigned long *)ptep);
#else
	return ptep_test_and_clear_young(vma, addr, ptep);
#endif
}

/* What must be equal, frame number apart, for two entries to belong to one run. */
static inline pte_t pte_run_bare(pte_t pte)
{
	return pte_wrprotect(pte_mkclean(pte_mkold(pte_clear_soft_dirty(pte))));
}

/**
 * pte_run_harvest - find a run and clear its Accessed bits
 * @vma: the VMA it belongs to
 * @addr: address of the first entry
 * @ptep: the first entry, which is present
 * @max: entries to look at, at least 1; none of them past the folio, table or VMA
 * @young: set to whether an Accessed bit was set; the CPU's only, no secondary MMU is asked
 *
 * Return: the length of the run. The TLB is not flushed.
 */
static __always_inline unsigned long pte_run_harvest(struct vm_area_struct *vma,
						     unsigned long addr, pte_t *ptep,
						     unsigned long max, bool *young)
{
	pte_t pte = ptep_get(ptep), bare = pte_run_bare(pte);
	/* From one frame to the next an entry changes by the same amount each time. */
	const typeof(pte_val(bare)) step = pte_val(pte_next_pfn(bare)) - pte_val(bare);
	typeof(pte_val(bare)) expect = pte_val(bare);
	unsigned long nr = 0;
	bool seen = false;

	do {
		if (pte_young(pte))
			seen |= pte_run_clear_young(vma, addr + nr * PAGE_SIZE, ptep + nr);
		if (++nr == max)
			break;
		pte = ptep_get(ptep + nr);
		expect += step;
	} while (pte_val(pte_run_bare(pte)) == expect);

	*young = seen;
	return nr;
}

/*
 * Accessed and Dirty are gathered over a run; in all else its entries are alike. On a shadow
 * stack Dirty is what makes an entry writable, so there it stays.
 */
static inline pte_t pte_run_gathered(pte_t pte)
{
	pte_t bare = pte_mkclean(pte_mkold(pte));

	if (VM_SHADOW_STACK && pte_write(pte) != pte_write(bare))
		return pte_mkold(pte);
	return bare;
}

/* Entries like the first, which without what may differ is @bare, for consecutive frames. */
static __always_inline unsigned long pte_run_count(pte_t *ptep, pte_t bare, unsigned long max,
						   pte_t (*strip)(pte_t pte))
{
	const typeof(pte_val(bare)) step = pte_val(pte_next_pfn(bare)) - pte_val(bare);
	typeof(pte_val(bare)) expect = pte_val(bare) + step;
	pte_t *at = ptep + 1, *end = ptep + max;

	while (at < end && pte_val(strip(ptep_get(at))) == expect) {
		expect += step;
		at++;
	}
	return at - ptep;
}

/**
 * pte_run_length - how many entries map consecutive frames?
 * @ptep: the first entry
 * @pte: its value, present
 * @max: entries to look at, at least 1; none of them past the folio, table or VMA
 *
 * Return: the length of the run. Its entries may differ in Accessed, Dirty, soft-dirty and
 * in being writable.
 */
static inline unsigned long pte_run_length(pte_t *ptep, pte_t pte, unsigned long max)
{
	return pte_run_count(ptep, pte_run_bare(pte), max, pte_run_bare);
}

/**
 * pte_run_alike - how many entries say the same of consecutive frames?
 * @ptep: the first entry
 * @pte: its value, present
 * @max: as for pte_run_length()
 *
 * Return: the length of the run of entries that differ in Accessed and Dirty only.
 */
static inline unsigned long pte_run_alike(pte_t *ptep, pte_t pte, unsigned long max)
{
	return pte_run_count(ptep, pte_run_gathered(pte), max, pte_run_gathered);
}

unsigned long pte_run_alike_swp(pte_t *ptep, pte_t pte, unsigned long max);
void pte_run_set_swp(struct mm_struct *mm, unsigned long addr, pte_t *ptep, struct pte_leaf leaf,
		     unsigned long nr);

#endif /* __MM_PTE_RUN_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * Runs of entries that are not present.
 */
#include "run.h"

/*
 * The entry that says of the next frame or slot what @pte says of @leaf's; @leaf goes on to that.
 * On x86 the offset of a swap entry is one field, so an addition does it.
 */
static __always_inline pte_t next_swp(pte_t pte, struct pte_leaf *leaf)
{
#ifdef CONFIG_X86_64
	const pteval_t step = pte_val(swp_entry_to_pte(swp_entry(0, 1))) -
			      pte_val(swp_entry_to_pte(swp_entry(0, 0)));

	return __pte(pte_val(pte) + step);
#else
	leaf->number++;
	return pte_leaf_encode(leaf);
#endif
}

/**
 * pte_run_alike_swp - how many entries say the same of consecutive frames or slots?
 * @ptep: the first entry
 * @pte: its value, a frame or a slot that can be counted on from: no marker and no poison
 * @max: entries to look at, at least 1
 *
 * Here Accessed and Dirty are part of what an entry says.
 *
 * Context: the page table lock is held.
 * Return: the length of the run.
 */
unsigned long pte_run_alike_swp(pte_t *ptep, pte_t pte, unsigned long max)
{
	struct pte_leaf leaf = pte_leaf_decode_swp(pte);
	unsigned long nr;

	for (nr = 1; nr < max; nr++) {
		pte = next_swp(pte, &leaf);
		if (!pte_same(ptep_get(ptep + nr), pte))
			break;
	}
	return nr;
}

/**
 * pte_run_set_swp - write a run of entries that are not present
 * @mm: the address space
 * @addr: address of the first
 * @ptep: the first; all of them are none
 * @leaf: what the first says; the others say it of the frames or slots that follow
 * @nr: entries to write
 *
 * Context: the page table lock is held.
 */
void pte_run_set_swp(struct mm_struct *mm, unsigned long addr, pte_t *ptep, struct pte_leaf leaf,
		     unsigned long nr)
{
	pte_t pte = pte_leaf_encode(&leaf);

	for (; nr--; ptep++, addr += PAGE_SIZE) {
		set_pte_at(mm, addr, ptep, pte);
		pte = next_swp(pte, &leaf);
	}
}

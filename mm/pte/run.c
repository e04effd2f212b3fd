// SPDX-License-Identifier: GPL-2.0
/*
 * Runs of entries that are not present.
 */
#include "run.h"

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
		leaf.number++;
		if (!pte_same(ptep_get(ptep + nr), pte_leaf_encode(&leaf)))
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
	for (; nr--; leaf.number++, ptep++, addr += PAGE_SIZE)
		set_pte_at(mm, addr, ptep, pte_leaf_encode(&leaf));
}

// SPDX-License-Identifier: GPL-2.0
/*
 * What a program has given back is not filled again.
 *
 *	the program	MADV_DONTNEED, MADV_FREE		touches all of it again
 *				|				      |
 *	page table	[. . a . . . b .]  noted	[a b c d e f g h]  noted
 *				|				      |
 *	khugepaged	leaves it, whatever		makes a huge page, and
 *			max_ptes_none allows		forgets the note
 *
 * The note is a flag of the page that holds the page table, so it goes where the table goes and
 * ends when that does. A table that is kept for the split of a huge page has none. MADV_HUGEPAGE
 * where MADV_NOHUGEPAGE was said ends it, as the last that was said; MADV_COLLAPSE does not ask
 * for it. A child has tables of its own, without.
 */
#include <linux/collapse_given_back.h>
#include <linux/mm.h>

#include "../internal.h"
#include "collapse.h"

/* The note in all tables of a range of anonymous memory. */
static void note(struct vm_area_struct *vma, unsigned long start, unsigned long end, bool given)
{
	unsigned long addr, next;
	pmd_t *pmd, value;

	if (!vma_is_anonymous(vma))
		return;
	for (addr = start; addr < end; addr = next) {
		next = pmd_addr_end(addr, end);
		pmd = mm_find_pmd(vma->vm_mm, addr);
		if (!pmd)
			continue;
		value = pmdp_get_lockless(pmd);
		if (pmd_present(value) && !pmd_leaf(value) && !pmd_bad(value))
			assign_bit(PG_workingset, &pmd_page(value)->flags, given);
	}
}

/**
 * collapse_given_back - a program has given memory back
 * @vma: the VMA
 * @start: the first address
 * @end: the last, plus one
 *
 * Context: mmap_lock held, so that tables stay; after the entries are gone, as only then there is
 * a table where a huge page was.
 */
void collapse_given_back(struct vm_area_struct *vma, unsigned long start, unsigned long end)
{
	note(vma, start, end, true);
}

/**
 * collapse_want_again - a program wants huge pages where it wanted none
 * @vma: the VMA
 *
 * Context: mmap_lock held for writing.
 */
void collapse_want_again(struct vm_area_struct *vma)
{
	note(vma, vma->vm_start, vma->vm_end, false);
}

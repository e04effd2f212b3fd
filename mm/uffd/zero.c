// SPDX-License-Identifier: GPL-2.0
/*
 * Entries without a page of their own: the zero page, and poison. Only an empty entry is written,
 * a marker stays.
 */
#include <linux/mm.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "uffd.h"

static __always_inline pte_t special_entry(struct fill *f, unsigned long addr, bool poison)
{
	if (poison)
		return make_pte_marker(PTE_MARKER_POISONED);
	return pte_mkspecial(pfn_pte(my_zero_pfn(addr), f->vma->vm_page_prot));
}

/* As many of @room entries as are empty. */
static __always_inline unsigned long special_write(struct fill *f, pte_t *ptep, unsigned long room,
						   bool poison)
{
	struct mm_struct *mm = f->vma->vm_mm;
	unsigned long addr = f->dst, nr = 0;

	arch_enter_lazy_mmu_mode();
	for (; nr < room && pte_none(ptep_get(ptep + nr)); nr++, addr += PAGE_SIZE)
		set_pte_at(mm, addr, ptep + nr, special_entry(f, addr, poison));
	arch_leave_lazy_mmu_mode();
	return nr;
}

static __always_inline int fill_special(struct fill *f, bool poison)
{
	struct vm_area_struct *vma = f->vma;
	unsigned long room, nr;
	spinlock_t *ptl;
	pte_t *ptep;

	ptep = pte_offset_map_lock(vma->vm_mm, f->pmd, f->dst, &ptl);
	if (!ptep)
		return -EAGAIN;
	room = uffd_pages_in_file(vma, f->dst, fill_pages_left(f));
	nr = special_write(f, ptep, room, poison);
	/* Nothing was there: no TLB has anything to forget. */
	if (nr)
		update_mmu_cache_range(NULL, vma, f->dst, ptep, nr);
	pte_unmap_unlock(ptep, ptl);
	fill_advance(f, nr);
	if (nr)
		return 0;
	return room ? -EEXIST : -EFAULT;
}

/**
 * fill_zero - a step of ZEROPAGE to private memory
 * @f: the fill
 *
 * Context: between fill_begin() and fill_end().
 * Return: 0; -EEXIST, -EFAULT, -EAGAIN when the table vanished; as fill_zeroed().
 */
int fill_zero(struct fill *f)
{
	if (mm_forbids_zeropage(f->vma->vm_mm))
		return fill_zeroed(f);
	return fill_special(f, false);
}

/**
 * fill_poison - a step of POISON
 * @f: the fill
 *
 * Context: between fill_begin() and fill_end().
 * Return: as fill_zero().
 */
int fill_poison(struct fill *f)
{
	return fill_special(f, true);
}

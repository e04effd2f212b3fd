// SPDX-License-Identifier: GPL-2.0
/*
 * Which orders of folios a VMA may have, where its memory lies, and how much an allocation may
 * cost.
 *
 *	kind of VMA	orders it can have	in a fault		else (khugepaged, smaps,
 *									MADV_COLLAPSE)
 *	anonymous	4 pages to PMD		settings		settings, a whole one fits;
 *									not the stack of exec()
 *	DAX		PMD, PUD		always			never
 *	PFNs, devices	PMD, PUD		if it has huge_fault()	smaps alone
 *	shmem		2 pages and more	if it has huge_fault()	shmem's own settings
 *	other files	2 pages and more	if it has huge_fault()	regular, not open for
 *									writing
 *
 * Of anonymous memory the settings were asked by huge_mm.h, inline, before.
 */
#include <linux/mm.h>
#include <linux/compat.h>
#include <linux/dax.h>
#include <linux/export.h>
#include <linux/gfp.h>
#include <linux/rmap.h>
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>

#include "thp.h"

static unsigned long orders_of_kind(struct vm_area_struct *vma)
{
	if (vma_is_anonymous(vma))
		return THP_ORDERS_ALL_ANON;
	if (vma_is_special_huge(vma))
		return THP_ORDERS_ALL_SPECIAL;
	return THP_ORDERS_ALL_FILE_DEFAULT;
}

/* Those of which an aligned one fits before the VMA's end; if one does, smaller ones do. */
static unsigned long orders_that_fit(struct vm_area_struct *vma, unsigned long orders)
{
	int order = highest_order(orders);

	while (orders && !thp_vma_suitable_order(vma, vma->vm_end - (PAGE_SIZE << order), order))
		order = next_order(&orders, order);
	return orders;
}

/* MADV_COLLAPSE does not ask. Nor do PFNs: nobody can make huge mappings of them later. */
static bool file_is_set(const struct vm_area_struct *vma, vm_flags_t vm_flags, bool enforce)
{
	if (!enforce || (vm_flags & VM_PFNMAP && vma->vm_ops->huge_fault))
		return true;
	return hugepage_global_always() ||
	       (vm_flags & VM_HUGEPAGE && hugepage_global_enabled());
}

static bool file_may(const struct vm_area_struct *vma, vm_flags_t vm_flags, unsigned long tva)
{
	bool has_fault = vma->vm_ops->huge_fault;

	if (!file_is_set(vma, vm_flags, tva & TVA_ENFORCE_SYSFS))
		return false;
	/* huge_fault() knows itself what it can. */
	if (tva & TVA_IN_PF)
		return has_fault;
	return (tva & TVA_SMAPS && has_fault) || file_thp_enabled(vma);
}

/**
 * __thp_vma_allowable_orders - of these orders, which may the folios of a VMA have?
 * @vma: the VMA
 * @vm_flags: its flags, or what they are going to be
 * @tva_flags: TVA_*: who asks, and whether the settings are to be obeyed
 * @orders: bit n for order n
 *
 * Context: the VMA does not change.
 * Return: the bits of those that it may have.
 */
unsigned long __thp_vma_allowable_orders(struct vm_area_struct *vma, unsigned long vm_flags,
					 unsigned long tva_flags, unsigned long orders)
{
	bool fault = tva_flags & TVA_IN_PF, smaps = tva_flags & TVA_SMAPS;

	orders &= orders_of_kind(vma);
	/* The vdso has no mm. */
	if (!orders || !vma->vm_mm)
		return 0;
	if (thp_disabled_by_hw() || vma_thp_disabled(vma, vm_flags))
		return 0;
	/* Before what follows: some DAX mappings are VM_MIXEDMAP. */
	if (vma_is_dax(vma))
		return fault ? orders : 0;
	/* Where in the VMA a fault is, its handler looks at. */
	if (!fault) {
		if (!smaps && vm_flags & VM_NO_KHUGEPAGED)
			return 0;
		orders = orders_that_fit(vma, orders);
		if (!orders)
			return 0;
		if (shmem_file(vma->vm_file))
			return shmem_allowable_huge_orders(file_inode(vma->vm_file), vma,
							   vma->vm_pgoff, 0,
							   !(tva_flags & TVA_ENFORCE_SYSFS));
	}
	if (!vma_is_anonymous(vma))
		return file_may(vma, vm_flags, tva_flags) ? orders : 0;
	if (vma_is_temporary_stack(vma))
		return 0;
	/* Without an anon_vma there is nothing yet to be collapsed. */
	return vma->anon_vma || smaps || fault ? orders : 0;
}

/**
 * vma_thp_gfp_mask - what the allocation of a huge page may do
 * @vma: for which VMA, or NULL
 *
 *	defrag		 MADV_HUGEPAGE			else
 *	always		 reclaim, compact, try hard	reclaim, compact, once
 *	defer		 wake kswapd			wake kswapd
 *	defer+madvise	 reclaim, compact		wake kswapd
 *	madvise		 reclaim, compact		only what is free
 *	never		 only what is free		only what is free
 *
 * Return: GFP flags.
 */
gfp_t vma_thp_gfp_mask(struct vm_area_struct *vma)
{
	bool advised = vma && vma->vm_flags & VM_HUGEPAGE;
	unsigned long flags = READ_ONCE(transparent_hugepage_flags);

	if (flags & BIT(TRANSPARENT_HUGEPAGE_DEFRAG_DIRECT_FLAG))
		return advised ? GFP_TRANSHUGE : GFP_TRANSHUGE | __GFP_NORETRY;
	if (flags & BIT(TRANSPARENT_HUGEPAGE_DEFRAG_KSWAPD_FLAG))
		return GFP_TRANSHUGE_LIGHT | __GFP_KSWAPD_RECLAIM;
	if (flags & BIT(TRANSPARENT_HUGEPAGE_DEFRAG_KSWAPD_OR_MADV_FLAG))
		return GFP_TRANSHUGE_LIGHT |
		       (advised ? __GFP_DIRECT_RECLAIM : __GFP_KSWAPD_RECLAIM);
	if (flags & BIT(TRANSPARENT_HUGEPAGE_DEFRAG_REQ_MADV_FLAG) && advised)
		return GFP_TRANSHUGE_LIGHT | __GFP_DIRECT_RECLAIM;
	return GFP_TRANSHUGE_LIGHT;
}

/* --- addresses -------------------------------------------------------------------------- */

/*
 * Room for a huge page more is looked for, and the mapping begins in it where file and address are
 * aligned alike. Return: 0 if that cannot be.
 */
static unsigned long aligned_area(struct file *file, unsigned long addr, unsigned long len,
				  loff_t off, unsigned long flags, vm_flags_t vm_flags)
{
	const unsigned long size = PMD_SIZE, padded = len + size;
	loff_t first = round_up(off, size);
	unsigned long found, shift;

	if (!IS_ENABLED(CONFIG_64BIT) || in_compat_syscall())
		return 0;
	/* Is there a whole huge page in it, and no overflow? */
	if (off + (loff_t)len < first + (loff_t)size || padded < len || off + padded < off)
		return 0;
	found = mm_get_unmapped_area_vmflags(current->mm, file, addr, padded, off >> PAGE_SHIFT,
					     flags, vm_flags);
	if (IS_ERR_VALUE(found))
		return 0;
	/* What was asked for is free. */
	if (found == addr)
		return addr;
	shift = (off - found) & (size - 1);
	/* Downwards, without a gap below the neighbour above. */
	if (!shift && test_bit(MMF_TOPDOWN, &current->mm->flags))
		shift = size;
	return found + shift;
}

/**
 * thp_get_unmapped_area_vmflags - where to map, so that huge pages fit
 * @file: what is mapped, or NULL
 * @addr: where it would be best, or 0
 * @len: bytes
 * @pgoff: where in the file, in pages
 * @flags: MAP_*
 * @vm_flags: what the VMA is going to have
 *
 * Context: mmap_lock held for writing.
 * Return: an address, aligned if one is free; or an error.
 */
unsigned long thp_get_unmapped_area_vmflags(struct file *file, unsigned long addr,
					    unsigned long len, unsigned long pgoff,
					    unsigned long flags, vm_flags_t vm_flags)
{
	return aligned_area(file, addr, len, (loff_t)pgoff << PAGE_SHIFT, flags, vm_flags) ?:
	       mm_get_unmapped_area_vmflags(current->mm, file, addr, len, pgoff, flags, vm_flags);
}

/**
 * thp_get_unmapped_area - get_unmapped_area() of a file that can have huge pages
 * @file: what is mapped
 * @addr: where it would be best, or 0
 * @len: bytes
 * @pgoff: where in the file, in pages
 * @flags: MAP_*
 *
 * Context: mmap_lock held for writing.
 * Return: an address, aligned if one is free; or an error.
 */
unsigned long thp_get_unmapped_area(struct file *file, unsigned long addr, unsigned long len,
				    unsigned long pgoff, unsigned long flags)
{
	return thp_get_unmapped_area_vmflags(file, addr, len, pgoff, flags, 0);
}
EXPORT_SYMBOL_GPL(thp_get_unmapped_area);

// SPDX-License-Identifier: GPL-2.0
/*
 * One PMD of a VMA: is it there, what is in it, and who is to collapse it.
 */
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/rmap.h>

#include "../internal.h"
#include "collapse.h"

/**
 * collapse_mm_ends - has the last thread of an address space gone?
 * @mm: the address space
 *
 * Then its page tables are about to go, when nobody has mmap_lock.
 */
bool collapse_mm_ends(struct mm_struct *mm)
{
	return !atomic_read(&mm->mm_users);
}

/**
 * collapse_mm_is_out - is an address space to be left alone?
 * @mm: the address space
 *
 * Return: true if it ends, or if prctl(PR_SET_THP_DISABLE) said so.
 */
bool collapse_mm_is_out(struct mm_struct *mm)
{
	return collapse_mm_ends(mm) || test_bit(MMF_DISABLE_THP, &mm->flags);
}

/**
 * collapse_find_vma - the VMA that may have a huge page at an address
 * @mm: the address space, mmap_lock held
 * @addr: the address, aligned
 * @by: who wants the huge page; what the settings forbid, khugepaged does not get
 * @vma: set to the VMA
 *
 * Return: SCAN_SUCCEED; or what is wrong.
 */
enum scan_result collapse_find_vma(struct mm_struct *mm, unsigned long addr,
				   const struct collapse_by *by, struct vm_area_struct **vma)
{
	unsigned long tva = by->khugepaged ? TVA_ENFORCE_SYSFS : 0;

	if (unlikely(collapse_mm_is_out(mm)))
		return SCAN_ANY_PROCESS;
	*vma = find_vma(mm, addr);
	if (!*vma)
		return SCAN_VMA_NULL;
	if (!thp_vma_suitable_order(*vma, addr, PMD_ORDER))
		return SCAN_ADDRESS_RANGE;
	if (!thp_vma_allowable_order(*vma, (*vma)->vm_flags, tva, PMD_ORDER))
		return SCAN_VMA_CHECK;
	return SCAN_SUCCEED;
}

/**
 * collapse_find_table - the PMD that holds the page table of an address
 * @mm: the address space, mmap_lock or a lock of the rmap held
 * @addr: the address
 * @pmd: set to the PMD
 *
 * Nothing is locked below mmap_lock: a table may become a huge page the next moment, and a fault
 * may put one where nothing was. Who acts on the answer asks again.
 *
 * Return: SCAN_SUCCEED if there is a table, or what there is.
 */
enum scan_result collapse_find_table(struct mm_struct *mm, unsigned long addr, pmd_t **pmd)
{
	pmd_t value;

	*pmd = mm_find_pmd(mm, addr);
	if (!*pmd)
		return SCAN_PMD_NULL;
	value = pmdp_get_lockless(*pmd);
	if (pmd_none(value))
		return SCAN_PMD_NONE;
	if (pmd_present(value) && pmd_trans_huge(value))
		return SCAN_PMD_MAPPED;
	if (!pmd_present(value) || pmd_devmap(value) || pmd_bad(value))
		return SCAN_PMD_NULL;
	return SCAN_SUCCEED;
}

/**
 * collapse_orders - the orders that the settings allow a VMA
 * @vma: the VMA
 *
 * Return: bits of orders. Files have huge pages only.
 */
unsigned long collapse_orders(struct vm_area_struct *vma)
{
	unsigned long orders = vma_is_anonymous(vma) ? THP_ORDERS_ALL_ANON : BIT(PMD_ORDER);

	return thp_vma_allowable_orders(vma, vma->vm_flags, TVA_ENFORCE_SYSFS, orders);
}

static enum scan_result range_of_table(struct collapse_by *by, struct vm_area_struct *vma,
				       unsigned long addr, bool *locked)
{
	struct collapse c = { .by = by, .mm = vma->vm_mm, .vma = vma, .address = addr };
	enum scan_result result = collapse_scan(&c);

	if (result != SCAN_SUCCEED)
		return result;
	*locked = false;
	return collapse_anon(&c);
}

/* May parts of a table become larger folios, though the whole did not become a huge page? */
static bool parts_may(enum scan_result result)
{
	switch (result) {
	case SCAN_EXCEED_NONE_PTE:
	case SCAN_EXCEED_SWAP_PTE:
	case SCAN_EXCEED_SHARED_PTE:
	case SCAN_ALLOC_HUGE_PAGE_FAIL:
	case SCAN_CGROUP_CHARGE_FAIL:
	case SCAN_ADDRESS_RANGE:
		return true;
	default:
		return false;
	}
}

static enum scan_result range_of_anon(struct collapse_by *by, struct vm_area_struct *vma,
				      unsigned long addr, bool *locked)
{
	enum scan_result result = SCAN_ADDRESS_RANGE;
	unsigned long where = max(addr, vma->vm_start);
	struct mm_struct *mm = vma->vm_mm;
	unsigned long orders = by->khugepaged ? collapse_orders(vma) : BIT(PMD_ORDER);

	if (orders & BIT(PMD_ORDER) && where == addr && addr + HPAGE_PMD_SIZE <= vma->vm_end)
		result = range_of_table(by, vma, addr, locked);
	if (orders & ~BIT(PMD_ORDER) && parts_may(result))
		collapse_parts(by, mm, where, locked);
	return result;
}

/*
 * A huge page that is in the page cache already may still be mapped by entries: then the table can
 * go. khugepaged leaves it to the next fault to map the huge page.
 */
static enum scan_result range_remap(struct collapse_by *by, struct mm_struct *mm,
				    unsigned long addr)
{
	enum scan_result result = SCAN_ANY_PROCESS;

	mmap_read_lock(mm);
	if (!by->khugepaged || !collapse_mm_is_out(mm))
		result = collapse_pte_mapped_thp(mm, addr, !by->khugepaged);
	mmap_read_unlock(mm);
	return result == SCAN_PMD_MAPPED && by->khugepaged ? SCAN_SUCCEED : result;
}

static enum scan_result range_of_file(struct collapse_by *by, struct vm_area_struct *vma,
				      unsigned long addr, bool *locked)
{
	pgoff_t first = linear_page_index(vma, addr);
	struct file *file = get_file(vma->vm_file);
	struct mm_struct *mm = vma->vm_mm;
	enum scan_result result;

	/* What follows is about the file; the VMA may go. */
	mmap_read_unlock(mm);
	*locked = false;
	result = collapse_file_scan(by, mm, addr, file, first);
	fput(file);
	if (result == SCAN_PTE_MAPPED_HUGEPAGE)
		result = range_remap(by, mm, addr);
	return result;
}

/**
 * collapse_range - make a huge page of what a PMD has
 * @by: who wants it
 * @vma: the VMA, which may have huge pages
 * @addr: the first address, aligned; for khugepaged, of anonymous memory some of the PMD may lie
 *	outside of @vma
 * @locked: set to false if mmap_lock was let go of; @vma may be gone then
 *
 * Context: mmap_lock held for reading. Sleeps.
 * Return: SCAN_SUCCEED if there is one now; SCAN_PMD_MAPPED if there was one; or what is wrong, and
 * then khugepaged may have made smaller folios.
 */
enum scan_result collapse_range(struct collapse_by *by, struct vm_area_struct *vma,
				unsigned long addr, bool *locked)
{
	if (IS_ENABLED(CONFIG_SHMEM) && !vma_is_anonymous(vma))
		return range_of_file(by, vma, addr, locked);
	return range_of_anon(by, vma, addr, locked);
}

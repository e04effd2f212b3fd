// SPDX-License-Identifier: GPL-2.0
/*
 * hugetlb: a step is a page, of whatever size. hugetlb makes and maps it.
 */
#include <linux/hugetlb.h>
#include <linux/mm.h>

#include "uffd.h"

/**
 * fill_hugetlb_check - may this be done to hugetlb?
 * @f: the fill; its VMA is locked
 *
 * Return: 0; -EINVAL for ZEROPAGE, as there is no zero page of each size, and for a range that is
 * not of whole pages.
 */
int fill_hugetlb_check(struct fill *f)
{
	unsigned long size = vma_kernel_pagesize(f->vma);

	if (fill_is(f, MFILL_ATOMIC_ZEROPAGE))
		return -EINVAL;
	return IS_ALIGNED(f->dst, size) && IS_ALIGNED(f->end, size) ? 0 : -EINVAL;
}

/* CONTINUE finds out for itself what is there. */
static int hugetlb_fill_entry(struct fill *f, pte_t *ptep, struct folio **folio)
{
	if (!fill_is(f, MFILL_ATOMIC_CONTINUE) &&
	    !huge_pte_none_mostly(huge_ptep_get(f->vma->vm_mm, f->dst, ptep)))
		return -EEXIST;
	return hugetlb_mfill_atomic_pte(ptep, f->vma, f->dst, f->src, f->flags, folio);
}

/*
 * The VMA's own lock keeps the entry valid where page tables are shared; the mutex keeps out faults
 * of the same page.
 */
static int hugetlb_fill_page(struct fill *f, struct folio **folio)
{
	struct address_space *mapping = f->vma->vm_file->f_mapping;
	pgoff_t index = hugetlb_linear_page_index(f->vma, f->dst);
	struct mutex *mutex;
	pte_t *ptep;
	int err;

	mutex = &hugetlb_fault_mutex_table[hugetlb_fault_mutex_hash(mapping, index)];
	mutex_lock(mutex);
	hugetlb_vma_lock_read(f->vma);
	ptep = huge_pte_alloc(f->vma->vm_mm, f->vma, f->dst, vma_kernel_pagesize(f->vma));
	err = ptep ? hugetlb_fill_entry(f, ptep, folio) : -ENOMEM;
	hugetlb_vma_unlock_read(f->vma);
	mutex_unlock(mutex);
	return err;
}

/* A page was made and could not be copied to. The VMA may be another one afterwards. */
static int hugetlb_source(struct fill *f, struct folio *folio, unsigned long size)
{
	int err;

	fill_end(f);
	if (copy_folio_from_user(folio, (const void __user *)f->src, true))
		return -EFAULT;
	err = fill_begin(f);
	if (err)
		return err;
	if (!is_vm_hugetlb_page(f->vma))
		return -ENOENT;
	return vma_kernel_pagesize(f->vma) == size ? 0 : -EINVAL;
}

/**
 * fill_hugetlb - a step of COPY, CONTINUE or POISON to hugetlb
 * @f: the fill
 *
 * Context: as for fill_pages().
 * Return: 0; -EEXIST, -ENOMEM, -EFAULT; what hugetlb_mfill_atomic_pte() and fill_begin() say.
 */
int fill_hugetlb(struct fill *f)
{
	unsigned long size = vma_kernel_pagesize(f->vma);
	struct folio *folio = NULL;
	int err;

	for (;;) {
		err = hugetlb_fill_page(f, &folio);
		/* It says so when the page waits for its contents. */
		if (err != -ENOENT || !folio)
			break;
		err = hugetlb_source(f, folio, size);
		if (err)
			break;
	}
	if (folio)
		folio_put(folio);
	if (!err)
		fill_advance(f, size >> PAGE_SHIFT);
	return err;
}

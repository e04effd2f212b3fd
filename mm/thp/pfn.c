// SPDX-License-Identifier: GPL-2.0
/*
 * Huge PMDs of frames that have no page, or one that is a device's: DAX and PFN mappings.
 *
 *	none	--vmf_insert_pfn_pmd()-->	devmap, if the frames have a struct dev_pagemap
 *						special, if not
 *	there	--for writing----------->	the same, writable and dirty
 */
#include <linux/export.h>
#include <linux/memremap.h>
#include <linux/pfn_t.h>

#include "thp.h"

/* A VMA is of frames or of a mixture, and whoever copies on write must see pages. */
static bool pfn_vma_is_sane(const struct vm_area_struct *vma, pfn_t pfn)
{
	const vm_flags_t both = VM_PFNMAP | VM_MIXEDMAP, flags = vma->vm_flags & both;

	if (flags == both || (!flags && !pfn_t_devmap(pfn)))
		return false;
	return !(flags & VM_PFNMAP) || !is_cow_mapping(vma->vm_flags);
}

/*
 * What both sizes begin with. Return: 0 to go on, with @prot as the frame's owner wants it.
 * A driver that inserts a frame where it must not be is a bug, and the program's end, but not
 * that of the machine.
 */
static vm_fault_t pfn_begin(struct vm_area_struct *vma, unsigned long addr, pfn_t pfn,
			    pgprot_t *prot)
{
	if (WARN_ON_ONCE(!pfn_vma_is_sane(vma, pfn)))
		return VM_FAULT_SIGBUS;
	if (addr < vma->vm_start || addr >= vma->vm_end)
		return VM_FAULT_SIGBUS;
	track_pfn_insert(vma, prot, pfn);
	return 0;
}

static pmd_t pfn_pmd_of(struct vm_area_struct *vma, pfn_t pfn, pgprot_t prot, bool write)
{
	pmd_t pmd = pmd_mkhuge(pfn_t_pmd(pfn, prot));

	pmd = pfn_t_devmap(pfn) ? pmd_mkdevmap(pmd) : pmd_mkspecial(pmd);
	return write ? maybe_pmd_mkwrite(pmd_mkdirty(pmd_mkyoung(pmd)), vma) : pmd;
}

/* The frame is there already; a write takes more than that. */
static void pfn_pmd_again(struct vm_area_struct *vma, unsigned long addr, pmd_t *pmdp, pfn_t pfn)
{
	pmd_t pmd = *pmdp;

	if (pmd_pfn(pmd) != pfn_t_to_pfn(pfn)) {
		/* DAX maps a hole with the zero folio; that has to be unmapped first. */
		WARN_ON_ONCE(!is_huge_zero_pmd(pmd));
		return;
	}
	pmd = maybe_pmd_mkwrite(pmd_mkdirty(pmd_mkyoung(pmd)), vma);
	if (pmdp_set_access_flags(vma, addr, pmdp, pmd, 1))
		update_mmu_cache_pmd(vma, addr, pmdp);
}

/**
 * vmf_insert_pfn_pmd - map frames of the size of a huge page
 * @vmf: the fault
 * @pfn: the first of them
 * @write: is the fault for writing?
 *
 * vmf_insert_pfn() and vmf_insert_mixed() for a huge page.
 *
 * Return: VM_FAULT_NOPAGE, also when something else is there; VM_FAULT_SIGBUS when the huge page
 * does not begin in the VMA; VM_FAULT_OOM.
 */
vm_fault_t vmf_insert_pfn_pmd(struct vm_fault *vmf, pfn_t pfn, bool write)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long addr = vmf->address & PMD_MASK;
	pgprot_t prot = vma->vm_page_prot;
	pgtable_t table = NULL;
	vm_fault_t ret;
	spinlock_t *ptl;

	ret = pfn_begin(vma, addr, pfn, &prot);
	if (ret)
		return ret;
	if (arch_needs_pgtable_deposit()) {
		table = pte_alloc_one(vma->vm_mm);
		if (!table)
			return VM_FAULT_OOM;
	}
	ptl = pmd_lock(vma->vm_mm, vmf->pmd);
	if (pmd_none(*vmf->pmd)) {
		if (table)
			thp_deposit(vma->vm_mm, vmf->pmd, table);
		table = NULL;
		set_pmd_at(vma->vm_mm, addr, vmf->pmd, pfn_pmd_of(vma, pfn, prot, write));
		update_mmu_cache_pmd(vma, addr, vmf->pmd);
	} else if (write) {
		pfn_pmd_again(vma, addr, vmf->pmd, pfn);
	}
	spin_unlock(ptl);
	if (table)
		pte_free(vma->vm_mm, table);
	return VM_FAULT_NOPAGE;
}
EXPORT_SYMBOL_GPL(vmf_insert_pfn_pmd);

/**
 * follow_devmap_pmd - the page of a device that is mapped by a PMD
 * @vma: the VMA
 * @addr: the address whose page is wanted
 * @pmdp: its PMD
 * @flags: FOLL_*
 * @pgmap: the struct dev_pagemap that holds the device, referenced; NULL for none yet
 *
 * Context: the PMD is locked.
 * Return: the page, with the reference that @flags ask for; NULL if that is not what is there, or
 * may not be written to; -EEXIST without FOLL_GET or FOLL_PIN, as such pages must not be used
 * without; -EFAULT if the device is going away; what try_grab_folio() says.
 */
struct page *follow_devmap_pmd(struct vm_area_struct *vma, unsigned long addr, pmd_t *pmdp,
			       int flags, struct dev_pagemap **pgmap)
{
	bool write = flags & FOLL_WRITE;
	pmd_t pmd = *pmdp;
	struct page *page;
	unsigned long pfn;
	int err;

	assert_spin_locked(pmd_lockptr(vma->vm_mm, pmdp));
	if (!pmd_present(pmd) || !pmd_devmap(pmd) || (write && !pmd_write(pmd)))
		return NULL;
	if (flags & FOLL_TOUCH)
		touch_pmd(vma, addr, pmdp, write);
	if (!(flags & (FOLL_GET | FOLL_PIN)))
		return ERR_PTR(-EEXIST);
	pfn = pmd_pfn(pmd) + pte_index(addr);
	*pgmap = get_dev_pagemap(pfn, *pgmap);
	if (!*pgmap)
		return ERR_PTR(-EFAULT);
	page = pfn_to_page(pfn);
	err = try_grab_folio(page_folio(page), 1, flags);
	return err ? ERR_PTR(err) : page;
}

#ifdef CONFIG_HAVE_ARCH_TRANSPARENT_HUGEPAGE_PUD
static pud_t pfn_pud_writable(struct vm_area_struct *vma, pud_t pud)
{
	pud = pud_mkdirty(pud_mkyoung(pud));
	return vma->vm_flags & VM_WRITE ? pud_mkwrite(pud) : pud;
}

static pud_t pfn_pud_of(struct vm_area_struct *vma, pfn_t pfn, pgprot_t prot, bool write)
{
	pud_t pud = pud_mkhuge(pfn_t_pud(pfn, prot));

	pud = pfn_t_devmap(pfn) ? pud_mkdevmap(pud) : pud_mkspecial(pud);
	return write ? pfn_pud_writable(vma, pud) : pud;
}

/**
 * vmf_insert_pfn_pud - map frames of the size of a PUD
 * @vmf: the fault
 * @pfn: the first of them
 * @write: is the fault for writing?
 *
 * Return: as vmf_insert_pfn_pmd(), but no memory is needed for it.
 */
vm_fault_t vmf_insert_pfn_pud(struct vm_fault *vmf, pfn_t pfn, bool write)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long addr = vmf->address & PUD_MASK;
	pgprot_t prot = vma->vm_page_prot;
	pud_t *pudp = vmf->pud;
	vm_fault_t ret;
	spinlock_t *ptl;

	ret = pfn_begin(vma, addr, pfn, &prot);
	if (ret)
		return ret;
	ptl = pud_lock(vma->vm_mm, pudp);
	if (pud_none(*pudp)) {
		set_pud_at(vma->vm_mm, addr, pudp, pfn_pud_of(vma, pfn, prot, write));
		update_mmu_cache_pud(vma, addr, pudp);
	} else if (write && !WARN_ON_ONCE(pud_pfn(*pudp) != pfn_t_to_pfn(pfn)) &&
		   pudp_set_access_flags(vma, addr, pudp, pfn_pud_writable(vma, *pudp), 1)) {
		update_mmu_cache_pud(vma, addr, pudp);
	}
	spin_unlock(ptl);
	return VM_FAULT_NOPAGE;
}
EXPORT_SYMBOL_GPL(vmf_insert_pfn_pud);
#endif /* CONFIG_HAVE_ARCH_TRANSPARENT_HUGEPAGE_PUD */

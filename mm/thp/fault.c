// SPDX-License-Identifier: GPL-2.0
/*
 * Faults of anonymous huge pages.
 *
 *	PMD		 access	   becomes
 *	none		 read	   the huge zero folio, if that is allowed; else as for writing
 *	none		 write	   a new folio; FALLBACK when there is none, or it cannot be charged
 *	read only	 read	   young
 *	read only, ours	 write	   writable
 *	read only, else	 write	   a table, then a small page is copied: FALLBACK
 *	zero folio	 write	   the same
 *
 * FALLBACK: the fault goes on with smaller pages.
 */
#include <linux/collapse_hints.h>
#include <linux/mm.h>
#include <linux/khugepaged.h>
#include <linux/memcontrol.h>
#include <linux/migrate.h>
#include <linux/oom.h>
#include <linux/rmap.h>
#include <linux/sched/clock.h>
#include <linux/sched/numa_balancing.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/userfaultfd_k.h>
#include <linux/vmstat.h>

#include "thp.h"

/* --- nothing is there yet --------------------------------------------------------------- */

/* khugepaged comes by, when there may be one. */
static vm_fault_t fault_fallback(struct vm_fault *vmf, enum mthp_stat_item also)
{
	collapse_soon(vmf->vma, vmf->address);
	count_vm_event(THP_FAULT_FALLBACK);
	count_mthp_stat(HPAGE_PMD_ORDER, MTHP_STAT_ANON_FAULT_FALLBACK);
	if (also != MTHP_STAT_ANON_FAULT_FALLBACK) {
		count_vm_event(THP_FAULT_FALLBACK_CHARGE);
		count_mthp_stat(HPAGE_PMD_ORDER, also);
	}
	return VM_FAULT_FALLBACK;
}

static void map_zero(struct vm_fault *vmf, struct folio *folio)
{
	struct vm_area_struct *vma = vmf->vma;

	set_pmd_at(vma->vm_mm, vmf->address & HPAGE_PMD_MASK, vmf->pmd,
		   mk_huge_pmd(&folio->page, vma->vm_page_prot));
}

/* The folio is counted and on its way to the LRU before anybody can see it. */
static void map_new(struct vm_fault *vmf, struct folio *folio)
{
	unsigned long addr = vmf->address & HPAGE_PMD_MASK;
	struct vm_area_struct *vma = vmf->vma;
	pmd_t pmd = pmd_mkdirty(mk_huge_pmd(&folio->page, vma->vm_page_prot));

	folio_add_new_anon_rmap(folio, vma, addr, RMAP_EXCLUSIVE);
	folio_add_lru_vma(folio, vma);
	add_mm_counter(vma->vm_mm, MM_ANONPAGES, HPAGE_PMD_NR);
	set_pmd_at(vma->vm_mm, addr, vmf->pmd, maybe_pmd_mkwrite(pmd, vma));
	deferred_split_folio(folio, false);
}

/*
 * Map a folio where nothing is. Return: as a fault handler. *@mapped: it was; if not, it is still
 * the caller's, who must have let go of it before the fault is told to a user: @userfault.
 */
static vm_fault_t fault_map(struct vm_fault *vmf, struct folio *folio, pgtable_t *table,
			    bool *userfault)
{
	struct vm_area_struct *vma = vmf->vma;
	struct mm_struct *mm = vma->vm_mm;
	vm_fault_t ret = 0;

	vmf->ptl = pmd_lock(mm, vmf->pmd);
	/* Somebody else was faster. */
	if (!pmd_none(*vmf->pmd))
		goto out;
	ret = check_stable_address_space(mm);
	*userfault = !ret && userfaultfd_missing(vma);
	if (ret || *userfault)
		goto out;
	thp_deposit(mm, vmf->pmd, *table);
	*table = NULL;
	if (is_huge_zero_folio(folio))
		map_zero(vmf, folio);
	else
		map_new(vmf, folio);
	update_mmu_cache_pmd(vma, vmf->address, vmf->pmd);
out:
	spin_unlock(vmf->ptl);
	return ret;
}

static vm_fault_t fault_zero(struct vm_fault *vmf)
{
	struct mm_struct *mm = vmf->vma->vm_mm;
	pgtable_t table = pte_alloc_one(mm);
	bool userfault = false;
	struct folio *folio;
	vm_fault_t ret;

	if (unlikely(!table))
		return VM_FAULT_OOM;
	folio = mm_get_huge_zero_folio(mm);
	if (likely(folio)) {
		ret = fault_map(vmf, folio, &table, &userfault);
	} else {
		count_vm_event(THP_FAULT_FALLBACK);
		ret = VM_FAULT_FALLBACK;
	}
	if (table)
		pte_free(mm, table);
	return userfault ? handle_userfault(vmf, VM_UFFD_MISSING) : ret;
}

static struct folio *fault_alloc(struct vm_fault *vmf, gfp_t gfp)
{
	int nid = numa_node_id();
	struct folio *folio;
	u64 start;

	gfp = thp_backoff_gfp(gfp, nid);
	start = local_clock();
	folio = vma_alloc_folio(gfp, HPAGE_PMD_ORDER, vmf->vma, vmf->address & HPAGE_PMD_MASK,
				true);
	thp_backoff_note(gfp, nid, folio, local_clock() - start);
	return folio;
}

static vm_fault_t fault_folio(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	gfp_t gfp = vma_thp_gfp_mask(vma);
	bool userfault = false;
	struct folio *folio;
	pgtable_t table;
	vm_fault_t ret;

	folio = fault_alloc(vmf, gfp);
	if (unlikely(!folio))
		return fault_fallback(vmf, MTHP_STAT_ANON_FAULT_FALLBACK);
	if (mem_cgroup_charge(folio, vma->vm_mm, gfp)) {
		folio_put(folio);
		return fault_fallback(vmf, MTHP_STAT_ANON_FAULT_FALLBACK_CHARGE);
	}
	folio_throttle_swaprate(folio, gfp);
	table = pte_alloc_one(vma->vm_mm);
	if (unlikely(!table)) {
		folio_put(folio);
		return VM_FAULT_OOM;
	}
	folio_zero_user(folio, vmf->address);
	/* With a barrier: the zeroes are seen before the mapping is. */
	__folio_mark_uptodate(folio);

	ret = fault_map(vmf, folio, &table, &userfault);
	if (likely(!table)) {
		count_vm_event(THP_FAULT_ALLOC);
		count_mthp_stat(HPAGE_PMD_ORDER, MTHP_STAT_ANON_FAULT_ALLOC);
		count_memcg_event_mm(vma->vm_mm, THP_FAULT_ALLOC);
		return 0;
	}
	pte_free(vma->vm_mm, table);
	folio_put(folio);
	return userfault ? handle_userfault(vmf, VM_UFFD_MISSING) : ret;
}

/**
 * do_huge_pmd_anonymous_page - a fault in anonymous memory where not even a page table is
 * @vmf: the fault
 *
 * Context: mmap_lock or the VMA's lock held for reading.
 * Return: 0, also when somebody else was faster; VM_FAULT_FALLBACK to try smaller pages, with
 * nothing changed; VM_FAULT_OOM; or what handle_userfault() and vmf_anon_prepare() say.
 */
vm_fault_t do_huge_pmd_anonymous_page(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	vm_fault_t ret;

	if (!thp_vma_suitable_order(vma, vmf->address & HPAGE_PMD_MASK, PMD_ORDER))
		return VM_FAULT_FALLBACK;
	ret = vmf_anon_prepare(vmf);
	if (ret)
		return ret;
	khugepaged_enter_vma(vma, vma->vm_flags);
	if (!(vmf->flags & FAULT_FLAG_WRITE) && transparent_hugepage_use_zero_page() &&
	    !mm_forbids_zeropage(vma->vm_mm))
		return fault_zero(vmf);
	return fault_folio(vmf);
}

/* --- something is there ----------------------------------------------------------------- */

/* Lock the PMD if it still says what the fault saw. */
static bool fault_lock(struct vm_fault *vmf)
{
	vmf->ptl = pmd_lock(vmf->vma->vm_mm, vmf->pmd);
	if (likely(pmd_same(*vmf->pmd, vmf->orig_pmd)))
		return true;
	spin_unlock(vmf->ptl);
	return false;
}

/**
 * huge_pmd_set_accessed - a fault only because the processor does not set such bits itself
 * @vmf: the fault
 */
void huge_pmd_set_accessed(struct vm_fault *vmf)
{
	if (!fault_lock(vmf))
		return;
	touch_pmd(vmf->vma, vmf->address, vmf->pmd, vmf->flags & FAULT_FLAG_WRITE);
	spin_unlock(vmf->ptl);
}

/*
 * Lock the folio of a PMD that is locked. False, and neither is, if the PMD changed while that
 * took its time.
 */
static bool wp_lock_folio(struct vm_fault *vmf, struct folio *folio)
{
	bool same;

	if (folio_trylock(folio))
		return true;
	folio_get(folio);
	spin_unlock(vmf->ptl);
	folio_lock(folio);
	same = fault_lock(vmf);
	if (!same)
		folio_unlock(folio);
	folio_put(folio);
	return same;
}

/*
 * Has nobody else the folio? The swap cache does not count, if it gives it up. That a batch of
 * folios on their way to the LRU holds a reference need not be thought of: large ones do not
 * wait in any.
 */
static bool wp_only_owner(struct folio *folio)
{
	int cache = folio_test_swapcache(folio) ? folio_nr_pages(folio) : 0;

	if (folio_ref_count(folio) > 1 + cache)
		return false;
	if (cache)
		folio_free_swap(folio);
	return folio_ref_count(folio) == 1;
}

/* Unsharing for a reader needs no more than that the folio is its own. */
static void wp_reuse(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	pmd_t pmd = pmd_mkdirty(pmd_mkyoung(vmf->orig_pmd));

	if (vmf->flags & FAULT_FLAG_UNSHARE)
		return;
	if (pmdp_set_access_flags(vma, vmf->address & HPAGE_PMD_MASK, vmf->pmd,
				  maybe_pmd_mkwrite(pmd, vma), 1))
		update_mmu_cache_pmd(vma, vmf->address, vmf->pmd);
}

/*
 * Make the page exclusive if it can be. False, and the PMD still locked, if it is shared; not
 * locked, and *@changed, if the PMD is another one by now.
 */
static bool wp_make_exclusive(struct vm_fault *vmf, struct page *page, bool *changed)
{
	struct folio *folio = page_folio(page);

	if (PageAnonExclusive(page))
		return true;
	if (!wp_lock_folio(vmf, folio)) {
		*changed = true;
		return false;
	}
	/* The PMD may have been unlocked meanwhile, and the page been given to us by another. */
	if (!PageAnonExclusive(page) && wp_only_owner(folio)) {
		folio_move_anon_rmap(folio, vmf->vma);
		SetPageAnonExclusive(page);
	}
	folio_unlock(folio);
	return PageAnonExclusive(page);
}

/**
 * do_huge_pmd_wp_page - a write to a huge page that is mapped read only, or unsharing it
 * @vmf: the fault
 *
 * Return: 0, also when the PMD changed; VM_FAULT_FALLBACK when the PMD was split, as the page is
 * shared and has to be copied.
 */
vm_fault_t do_huge_pmd_wp_page(struct vm_fault *vmf)
{
	bool changed = false;

	VM_WARN_ON_ONCE(!vmf->vma->anon_vma);
	if (!is_huge_zero_pmd(vmf->orig_pmd)) {
		if (!fault_lock(vmf))
			return 0;
		if (wp_make_exclusive(vmf, pmd_page(vmf->orig_pmd), &changed)) {
			wp_reuse(vmf);
			spin_unlock(vmf->ptl);
			return 0;
		}
		if (changed)
			return 0;
		spin_unlock(vmf->ptl);
	}
	__split_huge_pmd(vmf->vma, vmf->pmd, vmf->address, false, NULL);
	return VM_FAULT_FALLBACK;
}

/* --- NUMA hinting ----------------------------------------------------------------------- */

/* Is the folio better off on another node? Then it is isolated, and that node returned. */
static int numa_target(struct vm_fault *vmf, struct folio *folio, bool writable, int *flags,
		       int *last_cpupid)
{
	int nid = numa_migrate_check(folio, vmf, vmf->address & HPAGE_PMD_MASK, flags, writable,
				     last_cpupid);

	if (nid == NUMA_NO_NODE)
		return nid;
	if (!migrate_misplaced_folio_prepare(folio, vmf->vma, nid))
		return nid;
	*flags |= TNF_MIGRATE_FAIL;
	return NUMA_NO_NODE;
}

/* Give back the access that was taken to get this fault. */
static void numa_restore(struct vm_fault *vmf, bool writable)
{
	struct vm_area_struct *vma = vmf->vma;
	pmd_t pmd = pmd_mkyoung(pmd_modify(pmdp_get(vmf->pmd), vma->vm_page_prot));

	if (writable)
		pmd = pmd_mkwrite(pmd, vma);
	set_pmd_at(vma->vm_mm, vmf->address & HPAGE_PMD_MASK, vmf->pmd, pmd);
	update_mmu_cache_pmd(vma, vmf->address, vmf->pmd);
	spin_unlock(vmf->ptl);
}

/**
 * do_huge_pmd_numa_page - a fault for the sake of learning who uses a huge page
 * @vmf: the fault
 *
 * Return: 0: either the folio was moved to the node of its user, or it is accessible again.
 */
vm_fault_t do_huge_pmd_numa_page(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	int nid, target, last_cpupid, flags = 0;
	struct folio *folio;
	bool writable;
	pmd_t pmd;

	if (!fault_lock(vmf))
		return 0;
	/* Only while the PMD is locked can that be said. */
	pmd = pmd_modify(vmf->orig_pmd, vma->vm_page_prot);
	writable = pmd_write(pmd) || (vma_wants_manual_pte_write_upgrade(vma) &&
				      thp_pmd_may_write(vma, vmf->address, pmd));
	folio = vm_normal_folio_pmd(vma, vmf->address & HPAGE_PMD_MASK, pmd);
	if (!folio) {
		numa_restore(vmf, writable);
		return 0;
	}
	nid = folio_nid(folio);
	target = numa_target(vmf, folio, writable, &flags, &last_cpupid);
	if (target == NUMA_NO_NODE) {
		numa_restore(vmf, writable);
	} else {
		/* It is isolated, which comes with a reference. */
		spin_unlock(vmf->ptl);
		if (!migrate_misplaced_folio(folio, vma, target)) {
			flags |= TNF_MIGRATED;
			nid = target;
		} else {
			flags |= TNF_MIGRATE_FAIL;
			if (!fault_lock(vmf))
				return 0;
			numa_restore(vmf, false);
		}
	}
	task_numa_fault(last_cpupid, nid, HPAGE_PMD_NR, flags);
	return 0;
}

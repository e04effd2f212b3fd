// SPDX-License-Identifier: GPL-2.0
/*
 * Migration entries: put in the place of mappings, and mappings in theirs.
 *
 *	present, device entry  --try_to_migrate()-->	migration entry
 *	present, device entry <--rmap_restore()-----	migration entry
 *
 * What an entry says beside the frame goes along in both directions; see leaf.h.
 */
#include <linux/hugetlb.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/rmap.h>
#include <linux/rmap_runs.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/userfaultfd_k.h>

#define CREATE_TRACE_POINTS
#include <trace/events/migrate.h>

#include "unmap.h"

static enum rmap_verdict migrate_pmd(struct rmap_unmap *u)
{
#ifdef CONFIG_ARCH_ENABLE_THP_MIGRATION
	if (!set_pmd_migration_entry(&u->run.at, u->run.page))
		return RMAP_NEXT;
#else
	WARN_ON_ONCE(1);
#endif
	return RMAP_FAIL;
}

static void trace_set_run(const struct rmap_run *run)
{
	unsigned long i;

	if (!trace_set_migration_pte_enabled())
		return;
	for (i = 0; i < run->nr; i++)
		trace_set_migration_pte(run->at.address + i * PAGE_SIZE,
					pte_val(ptep_get(run->at.pte + i)),
					folio_order(run->folio));
}

static __always_inline enum rmap_verdict migrate_write(struct rmap_unmap *u, unsigned long nr)
{
	struct rmap_run *run = &u->run;
	struct pte_leaf leaf = rmap_run_leaf(run);

	if (!rmap_unmap_arch(u, nr) || !rmap_unmap_share(u, nr)) {
		rmap_unmap_undo(u, nr);
		return RMAP_FAIL;
	}
	leaf.kind = LEAF_MIGRATION;
	leaf.number = page_to_pfn(run->page);
	leaf.flags &= ~(LEAF_YOUNG | LEAF_DIRTY);
	if (pte_present(u->old)) {
		leaf.flags |= pte_young(u->old) ? LEAF_YOUNG : 0;
		leaf.flags |= pte_dirty(u->old) ? LEAF_DIRTY : 0;
	}
	pte_run_set_swp(run->at.vma->vm_mm, run->at.address, run->at.pte, leaf, nr);
	trace_set_run(run);
	return RMAP_NEXT;
}

/* What becomes of one run. On RMAP_FAIL the entries are as they were, but for gathering. */
static __always_inline enum rmap_verdict migrate_run(struct rmap_unmap *u, unsigned long nr)
{
	struct rmap_run *run = &u->run;

	if (unlikely(!run->at.pte))
		return migrate_pmd(u);
	rmap_unmap_clear(u, nr);
	VM_WARN_ON_FOLIO(folio_test_anon(run->folio) && pte_present(u->old) && pte_write(u->old) &&
			 !PageAnonExclusive(run->page), run->folio);
	if (unlikely(PageHWPoison(run->page)) && !folio_is_device_private(run->folio)) {
		rmap_unmap_poison(u, nr);
	} else if (pte_present(u->old) && pte_unused(u->old) && !userfaultfd_armed(run->at.vma)) {
		/* s390: the guest does not need what it held. */
		rmap_unmap_uncount(u, nr, mm_counter(run->folio));
		rmap_unmap_none(u, nr);
	} else if (migrate_write(u, nr) == RMAP_FAIL) {
		return RMAP_FAIL;
	}
	rmap_unmap_done(u, nr);
	return RMAP_NEXT;
}

static noinline bool migrate_one(struct folio *folio, struct vm_area_struct *vma,
				 unsigned long addr, void *arg)
{
	static const struct rmap_unmap_op op = {
		.one = migrate_run,
		.keeps = true,
		.event = MMU_NOTIFY_CLEAR,
	};
	enum ttu_flags flags = (enum ttu_flags)(long)arg;

	if (folio_test_large(folio) && unlikely(folio_test_hugetlb(folio)))
		return rmap_hugetlb_migrate(folio, vma, addr, arg);
	/* The split of a folio asks for this: its PMDs become PTEs of migration entries. */
	if (flags & TTU_SPLIT_HUGE_PMD)
		split_huge_pmd_address(vma, addr, true, folio);
	return rmap_unmap_vma(folio, vma, addr, flags, &op);
}

/*
 * While exec() moves the new stack into place, its page tables move without the rmap lock
 * that covers the VMA: migration entries might not be found again. So leave it alone.
 */
static bool migrate_invalid_vma(struct vm_area_struct *vma, void *arg)
{
	return vma_is_temporary_stack(vma);
}

static const struct rmap_visitor migrate_visitor = {
	.rmap_one = migrate_one,
	.done = rmap_unmap_finished,
	.invalid_vma = migrate_invalid_vma,
};

/**
 * try_to_migrate - put migration entries in the place of the mappings of a folio
 * @folio: the folio, referenced
 * @flags: of TTU_* only RMAP_LOCKED, SPLIT_HUGE_PMD, SYNC and BATCH_FLUSH. Locked memory is
 *	moved too
 *
 * remove_migration_ptes() reverts it. Who faults meanwhile waits. Whether it succeeded,
 * folio_mapped() tells.
 *
 * Context: the folio is locked. Sleeps.
 */
void try_to_migrate(struct folio *folio, enum ttu_flags flags)
{
	if (WARN_ON_ONCE(flags & ~(TTU_RMAP_LOCKED | TTU_SPLIT_HUGE_PMD | TTU_SYNC |
				   TTU_BATCH_FLUSH)))
		return;
	if (folio_is_zone_device(folio) && !folio_is_device_private(folio) &&
	    !folio_is_device_coherent(folio))
		return;
	rmap_unmap_walk(folio, flags, &migrate_visitor);
}

/*
 * The entry that maps @page as @leaf, a migration entry, did. Dirty is kept only while the
 * folio is dirty: written back meanwhile, it is clean.
 */
static pte_t restore_entry(struct pte_leaf leaf, struct folio *dst, struct vm_area_struct *vma,
			   struct page *page)
{
	if (!folio_test_dirty(dst))
		leaf.flags &= ~LEAF_DIRTY;
	if (likely(!is_device_private_page(page)))
		return pte_leaf_map(&leaf, vma, page);
	leaf.kind = LEAF_DEVICE_PRIVATE;
	leaf.number = page_to_pfn(page);
	return pte_leaf_encode(&leaf);
}

static void trace_remove_run(const struct rmap_run *run, pte_t pte, struct folio *dst)
{
	unsigned long i;

	if (!trace_remove_migration_pte_enabled())
		return;
	for (i = 0; i < run->nr; i++, pte = pte_next_pfn(pte))
		trace_remove_migration_pte(run->at.address + i * PAGE_SIZE, pte_val(pte),
					   folio_order(dst));
}

/* A run of migration entries. The mappings are counted before anybody can see them. */
static __always_inline void restore_ptes(struct rmap_run *run, struct folio *dst,
					 struct pte_leaf leaf)
{
	struct vm_area_struct *vma = run->at.vma;
	struct page *page = folio_page(dst, folio_page_idx(run->folio, run->page));
	pte_t pte = restore_entry(leaf, dst, vma, page);
	unsigned long addr = run->at.address;

	folio_ref_add(dst, run->nr);
	if (folio_test_anon(dst))
		folio_add_anon_rmap_ptes(dst, page, run->nr, vma, addr,
					 leaf.flags & LEAF_EXCLUSIVE ? RMAP_EXCLUSIVE :
					 RMAP_NONE);
	else
		folio_add_file_rmap_ptes(dst, page, run->nr, vma);
	set_ptes(vma->vm_mm, addr, run->at.pte, pte, run->nr);
	if (vma->vm_flags & VM_LOCKED)
		mlock_drain_local();
	trace_remove_run(run, pte, dst);
	/* They were not present, so no TLB knows of them. */
	update_mmu_cache_range(NULL, vma, addr, run->at.pte, run->nr);
}

/* What rmap_restore() passes to restore_one(). */
struct restore {
	struct folio *src;	/* the folio that the entries name */
	bool zero;		/* map the zero page in the stead of pages of zeroes */
};

/*
 * The pages of a huge page that was split because most of it was never used: those that hold
 * nothing but zeroes need no memory of their own. @pte was a migration entry, whose folio gave
 * its reference up when it was frozen.
 */
static bool restore_zero(struct rmap_run *run, struct pte_leaf leaf)
{
	struct vm_area_struct *vma = run->at.vma;
	pte_t pte;

	if (folio_test_large(run->folio) || PageHWPoison(run->page) ||
	    folio_test_mlocked(run->folio) || vma->vm_flags & VM_LOCKED ||
	    mm_forbids_zeropage(vma->vm_mm) || !pages_identical(run->page, ZERO_PAGE(0)))
		return false;
	pte = pte_mkspecial(pfn_pte(my_zero_pfn(run->at.address), vma->vm_page_prot));
	if (leaf.flags & LEAF_SOFT_DIRTY)
		pte = pte_mksoft_dirty(pte);
	if (leaf.flags & LEAF_UFFD_WP)
		pte = pte_mkuffd_wp(pte);
	set_pte_at(vma->vm_mm, run->at.address, run->at.pte, pte);
	dec_mm_counter(vma->vm_mm, mm_counter(run->folio));
	return true;
}

/*
 * The entry of a folio of one page, without the walk. The table may have gone before its lock
 * was taken: then its PMD is another. False when it takes the walk to find out.
 */
static __always_inline bool restore_small(struct rmap_run *run, struct folio *dst, bool zero)
{
	struct page_vma_mapped_walk *at = &run->at;
	struct mm_struct *mm = at->vma->vm_mm;
	struct pte_leaf leaf;
	pmd_t pmd;

	at->pmd = rmap_find_pmd(mm, at->address);
	if (!at->pmd)
		return true;
	pmd = pmdp_get_lockless(at->pmd);
	at->pte = rmap_map_table(mm, at->pmd, at->address, &at->ptl);
	if (unlikely(!at->pte))
		return false;
	spin_lock(at->ptl);
	if (unlikely(!pmd_same(pmd, pmdp_get_lockless(at->pmd)))) {
		pte_unmap_unlock(at->pte, at->ptl);
		return false;
	}
	run->pte = ptep_get(at->pte);
	if (is_swap_pte(run->pte)) {
		leaf = pte_leaf_decode_swp(run->pte);
		run->page = &run->folio->page;
		run->nr = 1;
		if (leaf.kind == LEAF_MIGRATION && leaf.number == at->pfn &&
		    !(unlikely(zero) && restore_zero(run, leaf)))
			restore_ptes(run, dst, leaf);
	}
	pte_unmap_unlock(at->pte, at->ptl);
	return true;
}

static noinline bool restore_one(struct folio *folio, struct vm_area_struct *vma,
				 unsigned long addr, void *arg)
{
	struct restore *r = arg;
	struct folio *src = r->src;
	struct rmap_run run __uninitialized;

	if (folio_test_large(folio) && unlikely(folio_test_hugetlb(folio)))
		return rmap_hugetlb_restore(folio, vma, addr, src);
	if (!folio_test_large(src)) {
		rmap_run_init(&run, src, vma, addr, 1);
		if (likely(restore_small(&run, folio, r->zero)))
			return true;
	}
	rmap_run_init(&run, src, vma, addr, folio_nr_pages(src));
	run.at.flags = PVMW_SYNC | PVMW_MIGRATION;
	while (rmap_run_next(&run)) {
		if (run.at.pte)
			restore_ptes(&run, folio, pte_leaf_decode_swp(run.pte));
		else if (IS_ENABLED(CONFIG_ARCH_ENABLE_THP_MIGRATION))
			remove_migration_pmd(&run.at, &folio->page);
	}
	return true;
}

/**
 * rmap_restore - put mappings in the place of migration entries
 * @src: the folio that the entries name
 * @dst: the folio to map in its stead; may be the same
 * @flags: RMP_LOCKED when the rmap lock is held; RMP_USE_SHARED_ZEROPAGE to map the zero page for
 *	pages of zeroes, for which @src and @dst are the same
 *
 * remove_migration_ptes() begins, and ends, with this.
 *
 * Context: both folios are locked; @dst has its mapping and index. Sleeps.
 * Return: true: everything is done.
 */
bool rmap_restore(struct folio *src, struct folio *dst, int flags)
{
	struct restore r = { .src = src, .zero = flags & RMP_USE_SHARED_ZEROPAGE };
	struct rmap_walk_control rwc = { .rmap_one = restore_one, .arg = &r };

	VM_WARN_ON_FOLIO(r.zero && src != dst, src);
	if (flags & RMP_LOCKED)
		rmap_walk_locked(dst, &rwc);
	else
		rmap_walk(dst, &rwc);
	return true;
}

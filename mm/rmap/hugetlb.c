// SPDX-License-Identifier: GPL-2.0
/*
 * The reverse map of hugetlb folios: never a run, one entry per VMA, at whatever level.
 *
 * What is different: page tables of shared mappings may be shared by processes, and taking
 * a mapping away then means leaving the shared table. Map counts have no statistics. The
 * lock order is another: i_mmap_rwsem is outside the folio lock, so the callers took it for
 * writing before (TTU_RMAP_LOCKED), and the hugetlb lock of a VMA can only be tried here.
 *
 *	rmap_hugetlb_unmap()	poisoned pages only: leave poison
 *	rmap_hugetlb_migrate()	present -> migration entry
 *	rmap_hugetlb_restore()	migration entry -> present
 */
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include <asm/tlb.h>

#include <trace/events/migrate.h>

#include "../internal.h"
#include "../pte/leaf.h"
#include "rmap.h"
#include "unmap.h"

static bool hugetlb_wanted(const struct page_vma_mapped_walk *at, unsigned long nr)
{
	pte_t pte = huge_ptep_get(at->vma->vm_mm, at->address, at->pte);
	struct pte_leaf leaf = pte_leaf_decode(pte);
	enum pte_leaf_kind kind = at->flags & PVMW_MIGRATION ? LEAF_MIGRATION : LEAF_PRESENT;

	return leaf.kind == kind && leaf.number < at->pfn + at->nr_pages &&
	       at->pfn < leaf.number + nr;
}

/**
 * rmap_hugetlb_step - rmap_step() in a hugetlb VMA
 * @at: the walk
 *
 * Context: i_mmap_rwsem or the anon_vma's lock is held, so the page tables stay.
 * Return: true once, if the entry maps the folio, with its lock held.
 */
bool rmap_hugetlb_step(struct page_vma_mapped_walk *at)
{
	struct hstate *h = hstate_vma(at->vma);

	if (at->pte) {
		spin_unlock(at->ptl);
		at->ptl = NULL;
		at->pte = NULL;
		return false;
	}
	at->pte = hugetlb_walk(at->vma, at->address, huge_page_size(h));
	if (!at->pte)
		return false;
	at->ptl = huge_pte_lock(h, at->vma->vm_mm, at->pte);
	if (hugetlb_wanted(at, pages_per_huge_page(h)))
		return true;
	spin_unlock(at->ptl);
	at->ptl = NULL;
	at->pte = NULL;
	return false;
}

/* One entry of a hugetlb VMA that is to go. */
struct hugetlb_unmap {
	struct page_vma_mapped_walk at;
	struct mmu_notifier_range range;
	struct folio *folio;
	enum ttu_flags flags;
	pte_t old;
};

/*
 * If the table is shared with other processes, leave it: that takes all of its mappings
 * away from this one.
 */
static enum rmap_verdict hugetlb_leave_shared(struct hugetlb_unmap *u)
{
	struct vm_area_struct *vma = u->at.vma;
	enum rmap_verdict verdict = RMAP_NEXT;
	struct mmu_gather tlb;

	if (folio_test_anon(u->folio))
		return RMAP_NEXT;
	VM_WARN_ON_ONCE(!(u->flags & TTU_RMAP_LOCKED));
	if (!hugetlb_vma_trylock_write(vma))
		return RMAP_FAIL;
	tlb_gather_mmu_vma(&tlb, vma);
	if (huge_pmd_unshare(&tlb, vma, u->at.address, u->at.pte))
		verdict = RMAP_STOP;
	hugetlb_vma_unlock_write(vma);
	if (verdict == RMAP_STOP)
		huge_pmd_unshare_flush(&tlb, vma);
	tlb_finish_mmu(&tlb);
	return verdict;
}

static void hugetlb_set(struct hugetlb_unmap *u, pte_t pte)
{
	set_huge_pte_at(u->at.vma->vm_mm, u->at.address, u->at.pte, pte,
			huge_page_size(hstate_vma(u->at.vma)));
}

static void hugetlb_uncount(struct hugetlb_unmap *u)
{
	hugetlb_count_sub(folio_nr_pages(u->folio), u->at.vma->vm_mm);
}

static void hugetlb_poison(struct hugetlb_unmap *u)
{
	struct pte_leaf leaf = { .kind = LEAF_POISON, .number = folio_pfn(u->folio) };

	hugetlb_uncount(u);
	hugetlb_set(u, pte_leaf_encode(&leaf));
}

/* Only a poisoned folio gets here. An anonymous one has nowhere else to be, so poison it is. */
static enum rmap_verdict hugetlb_unmap_entry(struct hugetlb_unmap *u)
{
	VM_WARN_ON_FOLIO(!folio_test_hwpoison(u->folio), u->folio);
	if (WARN_ON_ONCE(folio_test_anon(u->folio) && !(u->flags & TTU_HWPOISON))) {
		hugetlb_set(u, u->old);
		return RMAP_FAIL;
	}
	pte_install_uffd_wp_if_needed(u->at.vma, u->at.address, u->at.pte, u->old);
	if (u->flags & TTU_HWPOISON)
		hugetlb_poison(u);
	else
		hugetlb_uncount(u);
	return RMAP_NEXT;
}

static enum rmap_verdict hugetlb_migrate_entry(struct hugetlb_unmap *u)
{
	bool exclusive = folio_test_anon(u->folio) && PageAnonExclusive(&u->folio->page);
	struct pte_leaf leaf;

	if (folio_test_hwpoison(u->folio)) {
		hugetlb_poison(u);
		return RMAP_NEXT;
	}
	if (rmap_unneeded(u->at.vma, u->old)) {
		hugetlb_uncount(u);
		return RMAP_NEXT;
	}
	if (exclusive && hugetlb_try_share_anon_rmap(u->folio)) {
		hugetlb_set(u, u->old);
		return RMAP_FAIL;
	}
	leaf = pte_leaf_decode_present(u->old);
	leaf.kind = LEAF_MIGRATION;
	leaf.number = folio_pfn(u->folio);
	leaf.flags |= exclusive ? LEAF_EXCLUSIVE : 0;
	hugetlb_set(u, pte_leaf_encode(&leaf));
	trace_set_migration_pte(u->at.address, pte_val(pte_leaf_encode(&leaf)),
				folio_order(u->folio));
	return RMAP_NEXT;
}

static enum rmap_verdict hugetlb_entry(struct hugetlb_unmap *u,
				       enum rmap_verdict (*one)(struct hugetlb_unmap *u))
{
	struct vm_area_struct *vma = u->at.vma;
	enum rmap_verdict verdict;

	/* Which of the shared table's entries are cached is not known: flush them all. */
	flush_cache_range(vma, u->range.start, u->range.end);
	verdict = hugetlb_leave_shared(u);
	if (verdict != RMAP_NEXT)
		return verdict;
	u->old = huge_ptep_clear_flush(vma, u->at.address, u->at.pte);
	if (pte_dirty(u->old))
		folio_mark_dirty(u->folio);
	update_hiwater_rss(vma->vm_mm);
	verdict = one(u);
	if (verdict != RMAP_NEXT)
		return verdict;
	hugetlb_remove_rmap(u->folio);
	folio_put(u->folio);
	return RMAP_NEXT;
}

static bool hugetlb_unmap_vma(struct hugetlb_unmap *u, void *arg,
			      enum rmap_verdict (*one)(struct hugetlb_unmap *u))
{
	struct vm_area_struct *vma = u->at.vma;
	enum rmap_verdict verdict = RMAP_NEXT;

	u->flags = (enum ttu_flags)(long)arg;
	if (u->flags & TTU_SYNC)
		u->at.flags = PVMW_SYNC;
	mmu_notifier_range_init(&u->range, MMU_NOTIFY_CLEAR, 0, vma->vm_mm, u->at.address,
				vma_address_end(&u->at));
	adjust_range_if_pmd_sharing_possible(vma, &u->range.start, &u->range.end);
	mmu_notifier_invalidate_range_start(&u->range);
	while (verdict == RMAP_NEXT && rmap_hugetlb_step(&u->at))
		verdict = hugetlb_entry(u, one);
	if (verdict != RMAP_NEXT)
		page_vma_mapped_walk_done(&u->at);
	mmu_notifier_invalidate_range_end(&u->range);
	return verdict != RMAP_FAIL;
}

/**
 * rmap_hugetlb_unmap - try_to_unmap() for a hugetlb folio in one VMA
 * @folio: the folio, poisoned, locked
 * @vma: the VMA
 * @addr: where it is mapped
 * @arg: TTU_*
 *
 * Context: the rmap lock is held; of a shared mapping, for writing. Sleeps in notifiers.
 * Return: false when the folio stays mapped here.
 */
bool rmap_hugetlb_unmap(struct folio *folio, struct vm_area_struct *vma, unsigned long addr,
			void *arg)
{
	DEFINE_FOLIO_VMA_WALK(at, folio, vma, addr, 0);
	struct hugetlb_unmap u = { .at = at, .folio = folio };

	if (vma->vm_flags & VM_LOCKED && !((enum ttu_flags)(long)arg & TTU_IGNORE_MLOCK))
		return false;
	return hugetlb_unmap_vma(&u, arg, hugetlb_unmap_entry);
}

/**
 * rmap_hugetlb_migrate - try_to_migrate() for a hugetlb folio in one VMA
 * @folio: the folio, locked
 * @vma: the VMA
 * @addr: where it is mapped
 * @arg: TTU_*
 *
 * Context: the rmap lock is held; of a shared mapping, for writing. Sleeps in notifiers.
 * Return: false when the folio stays mapped here.
 */
bool rmap_hugetlb_migrate(struct folio *folio, struct vm_area_struct *vma, unsigned long addr,
			  void *arg)
{
	DEFINE_FOLIO_VMA_WALK(at, folio, vma, addr, 0);
	struct hugetlb_unmap u = { .at = at, .folio = folio };

	return hugetlb_unmap_vma(&u, arg, hugetlb_migrate_entry);
}

/**
 * rmap_hugetlb_restore - rmap_restore() for a hugetlb folio in one VMA
 * @folio: the folio to map
 * @vma: the VMA
 * @addr: where
 * @arg: the folio that the migration entry names
 *
 * Context: the rmap lock is held.
 * Return: true, to go on with the next VMA.
 */
bool rmap_hugetlb_restore(struct folio *folio, struct vm_area_struct *vma, unsigned long addr,
			  void *arg)
{
	DEFINE_FOLIO_VMA_WALK(at, (struct folio *)arg, vma, addr, PVMW_SYNC | PVMW_MIGRATION);
	struct hstate *h = hstate_vma(vma);
	struct pte_leaf leaf;
	pte_t pte;

	while (rmap_hugetlb_step(&at)) {
		leaf = pte_leaf_decode(huge_ptep_get(vma->vm_mm, at.address, at.pte));
		if (!folio_test_dirty(folio))
			leaf.flags &= ~LEAF_DIRTY;
		pte = arch_make_huge_pte(pte_leaf_map(&leaf, vma, &folio->page),
					 huge_page_shift(h), vma->vm_flags);
		folio_get(folio);
		if (folio_test_anon(folio))
			hugetlb_add_anon_rmap(folio, vma, at.address, leaf.flags & LEAF_EXCLUSIVE ?
					      RMAP_EXCLUSIVE : RMAP_NONE);
		else
			hugetlb_add_file_rmap(folio);
		set_huge_pte_at(vma->vm_mm, at.address, at.pte, pte, huge_page_size(h));
		trace_remove_migration_pte(at.address, pte_val(pte), folio_order(folio));
		update_mmu_cache(vma, at.address, at.pte);
	}
	return true;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * A huge PMD becomes a page table, or nothing.
 *
 *	a PMD of		becomes
 *	an anonymous folio	a table of entries that say what the PMD said: 512 mappings of it
 *	the same, freeze	a table of migration entries, if the folio may be unmapped
 *	a migration entry	a table of migration entries
 *	the huge zero folio	a table of entries of the zero page
 *	a file's folio		nothing: it faults in again
 *	frames without a folio	nothing
 *
 *	PMD:	huge --invalidate, flush--> huge, but no CPU uses it --populate--> table
 *
 * No CPU may have a huge and a small translation of an address at once (some hang then, AMD's
 * erratum 383), so the PMD is invalid and flushed before there is a table. It is never none: page
 * table walkers that do not take the lock would pass over it. The deposited table is taken after
 * that, since Power looks at it to invalidate; and what it holds is seen before it is.
 *
 * Protection for NUMA hinting is not handed down: the fault will be had another time.
 */
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include <linux/rmap_runs.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "../pte/leaf_pmd.h"
#include "../pte/run.h"
#include "thp.h"

/**
 * struct thp_table - a PMD that is being split
 * @vma: the VMA
 * @addr: the PMD's address
 * @pmdp: the PMD, locked
 * @table: what it becomes
 * @unseen: a PMD that nobody walks, with this table
 * @ptep: the table's first entry
 */
struct thp_table {
	struct vm_area_struct *vma;
	unsigned long addr;
	pmd_t *pmdp;
	pgtable_t table;
	pmd_t unseen;
	pte_t *ptep;
};

static void table_begin(struct thp_table *t)
{
	struct mm_struct *mm = t->vma->vm_mm;

	t->table = pgtable_trans_huge_withdraw(mm, t->pmdp);
	pmd_populate(mm, &t->unseen, t->table);
	t->ptep = pte_offset_map(&t->unseen, t->addr);
	VM_WARN_ON_ONCE(!t->ptep || !pte_none(ptep_get(t->ptep)));
}

static void table_end(struct thp_table *t)
{
	pte_unmap(t->ptep);
	/* The entries before the table. */
	smp_wmb();
	pmd_populate(t->vma->vm_mm, t->pmdp, t->table);
}

static void split_zero(struct thp_table *t)
{
	struct vm_area_struct *vma = t->vma;
	struct pte_leaf leaf;
	unsigned long i;

	/* Secondary MMUs need not know: before and after, zeroes are read and writes fault. */
	leaf = pmd_leaf_decode_present(pmdp_invalidate(vma, t->addr, t->pmdp));
	table_begin(t);
	for (i = 0; i < HPAGE_PMD_NR; i++) {
		unsigned long addr = t->addr + i * PAGE_SIZE;
		pte_t pte = pte_mkspecial(pfn_pte(my_zero_pfn(addr), vma->vm_page_prot));

		if (leaf.flags & LEAF_UFFD_WP)
			pte = pte_mkuffd_wp(pte);
		set_pte_at(vma->vm_mm, addr, t->ptep + i, pte);
	}
	table_end(t);
}

static void split_migrating(struct thp_table *t)
{
	struct pte_leaf leaf = pmd_leaf_decode_migration(*t->pmdp);

	table_begin(t);
	pte_run_set_swp(t->vma->vm_mm, t->addr, t->ptep, leaf, HPAGE_PMD_NR);
	table_end(t);
}

/* One mapping becomes 512, with as many references. */
static void split_mapped(struct thp_table *t, struct folio *folio, struct pte_leaf leaf)
{
	struct page *page = pfn_to_page(leaf.number);

	folio_ref_add(folio, HPAGE_PMD_NR - 1);
	table_begin(t);
	set_ptes(t->vma->vm_mm, t->addr, t->ptep, pte_leaf_map(&leaf, t->vma, page),
		 HPAGE_PMD_NR);
	rmap_pmd_to_ptes(folio, t->vma, t->addr, leaf.flags & LEAF_EXCLUSIVE);
	table_end(t);
}

/* One mapping becomes none, for now: migration entries have no reference. */
static void split_frozen(struct thp_table *t, struct folio *folio, struct pte_leaf leaf)
{
	struct page *page = pfn_to_page(leaf.number);

	leaf.kind = LEAF_MIGRATION;
	table_begin(t);
	pte_run_set_swp(t->vma->vm_mm, t->addr, t->ptep, leaf, HPAGE_PMD_NR);
	folio_remove_rmap_pmd(folio, page, t->vma);
	folio_put(folio);
	table_end(t);
}

static void split_anon(struct thp_table *t, bool freeze)
{
	struct pte_leaf leaf = pmd_leaf_decode_present(pmdp_invalidate(t->vma, t->addr, t->pmdp));
	struct page *page = pfn_to_page(leaf.number);
	struct folio *folio = page_folio(page);

	VM_WARN_ON_FOLIO(!folio_ref_count(folio) || !folio_test_anon(folio), folio);
	if (leaf.flags & LEAF_DIRTY)
		folio_set_dirty(folio);
	if (PageAnonExclusive(page)) {
		leaf.flags |= LEAF_EXCLUSIVE;
		/* Pinned: then only the PMD is split, and try_to_migrate() will see that. */
		if (freeze && folio_try_share_anon_rmap_pmd(folio, page))
			freeze = false;
	}
	if (freeze)
		split_frozen(t, folio, leaf);
	else
		split_mapped(t, folio, leaf);
}

/* What the mapping knew, the folio is told; mlock's count begins anew with the next fault. */
static void unmap_file(struct vm_area_struct *vma, struct folio *folio, pmd_t pmd)
{
	if (pmd_dirty(pmd) && !folio_test_dirty(folio))
		folio_mark_dirty(folio);
	if (pmd_young(pmd) && !folio_test_referenced(folio))
		folio_set_referenced(folio);
	folio_remove_rmap_pmd(folio, pmd_page(pmd), vma);
	add_mm_counter(vma->vm_mm, mm_counter_file(folio), -HPAGE_PMD_NR);
	folio_put(folio);
}

static void split_file(struct thp_table *t)
{
	pmd_t pmd = pmdp_huge_clear_flush(t->vma, t->addr, t->pmdp);
	struct mm_struct *mm = t->vma->vm_mm;

	if (arch_needs_pgtable_deposit())
		thp_free_deposited(mm, t->pmdp);
	if (vma_is_special_huge(t->vma))
		return;
	if (is_pmd_migration_entry(pmd))
		add_mm_counter(mm, mm_counter_file(pfn_swap_entry_folio(pmd_to_swp_entry(pmd))),
			       -HPAGE_PMD_NR);
	else
		unmap_file(t->vma, pmd_folio(pmd), pmd);
}

/**
 * split_huge_pmd_locked - no huge page is mapped here any more
 * @vma: the VMA
 * @address: where the PMD begins
 * @pmdp: the PMD
 * @freeze: let there be migration entries instead; if the folio is pinned it stays mapped
 * @folio: only if it is this one that is mapped, which is locked; or NULL for any. Needed with
 *	@freeze
 *
 * Context: the PMD is locked, and notifiers are told.
 */
void split_huge_pmd_locked(struct vm_area_struct *vma, unsigned long address, pmd_t *pmdp,
			   bool freeze, struct folio *folio)
{
	struct thp_table t = { .vma = vma, .addr = address, .pmdp = pmdp };
	bool migrating = is_pmd_migration_entry(*pmdp);

	VM_WARN_ON_ONCE(!IS_ALIGNED(address, HPAGE_PMD_SIZE) || (freeze && !folio));
	if (!migrating && !pmd_trans_huge(*pmdp) && !pmd_devmap(*pmdp))
		return;
	/* What is being moved is locked by somebody else, so it is not @folio. */
	if (folio && (migrating || folio != pmd_folio(*pmdp)))
		return;
	VM_WARN_ON_ONCE(!range_in_vma(vma, address, address + HPAGE_PMD_SIZE));
	count_vm_event(THP_SPLIT_PMD);
	if (!vma_is_anonymous(vma))
		split_file(&t);
	else if (is_huge_zero_pmd(*pmdp))
		split_zero(&t);
	else if (migrating)
		split_migrating(&t);
	else
		split_anon(&t, freeze);
}

/**
 * __split_huge_pmd - split_huge_pmd_locked(), with all that it takes
 * @vma: the VMA
 * @pmdp: the PMD
 * @address: an address that it maps
 * @freeze: as there
 * @folio: as there
 *
 * Context: sleeps in notifiers. mmap_lock, the VMA's lock or an rmap lock keeps the table that
 * @pmdp is in.
 */
void __split_huge_pmd(struct vm_area_struct *vma, pmd_t *pmdp, unsigned long address, bool freeze,
		      struct folio *folio)
{
	unsigned long addr = address & HPAGE_PMD_MASK;
	struct mmu_notifier_range range;
	spinlock_t *ptl;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, vma->vm_mm, addr,
				addr + HPAGE_PMD_SIZE);
	mmu_notifier_invalidate_range_start(&range);
	ptl = pmd_lock(vma->vm_mm, pmdp);
	split_huge_pmd_locked(vma, addr, pmdp, freeze, folio);
	spin_unlock(ptl);
	mmu_notifier_invalidate_range_end(&range);
}

/**
 * split_huge_pmd_address - __split_huge_pmd() of an address
 * @vma: the VMA
 * @address: the address
 * @freeze: as there
 * @folio: as there
 */
void split_huge_pmd_address(struct vm_area_struct *vma, unsigned long address, bool freeze,
			    struct folio *folio)
{
	pmd_t *pmdp = mm_find_pmd(vma->vm_mm, address);

	if (pmdp)
		__split_huge_pmd(vma, pmdp, address, freeze, folio);
}

/* Somewhere a VMA will begin or end: there no huge page may be across. */
static void split_at(struct vm_area_struct *vma, unsigned long addr)
{
	unsigned long start = ALIGN_DOWN(addr, HPAGE_PMD_SIZE);

	if (start != addr && range_in_vma(vma, start, start + HPAGE_PMD_SIZE))
		split_huge_pmd_address(vma, addr, false, NULL);
}

/**
 * vma_adjust_trans_huge - a VMA is about to change its borders
 * @vma: the VMA
 * @start: where it will begin
 * @end: where it will end
 * @adjust_next: by how many bytes the beginning of the next one moves up, if it does
 *
 * Context: mmap_lock held for writing.
 */
void vma_adjust_trans_huge(struct vm_area_struct *vma, unsigned long start, unsigned long end,
			   long adjust_next)
{
	split_at(vma, start);
	split_at(vma, end);
	if (adjust_next > 0) {
		struct vm_area_struct *next = find_vma(vma->vm_mm, vma->vm_end);

		split_at(next, next->vm_start + adjust_next);
	}
}

/**
 * unmap_huge_pmd_locked - discard a lazily freed huge page as one
 * @vma: the VMA
 * @addr: where the PMD begins
 * @pmdp: the PMD
 * @folio: what it maps
 *
 * It would have to be cleared, and put back if the folio turned out to be in use; and MADV_DONTNEED
 * or exit, which do not take the lock of a PMD that is none, would pass over it meanwhile. So it
 * is split, and discarded entry by entry.
 *
 * Return: false: it was not discarded.
 */
bool unmap_huge_pmd_locked(struct vm_area_struct *vma, unsigned long addr, pmd_t *pmdp,
			   struct folio *folio)
{
	return false;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings, put back in the place of migration entries.
 *
 *	migration entry	 --rmap_restore()-->	     present, or a device's entry
 *			 --rmap_restore_folios()-->  for many folios
 *			 --rmap_restore_parts()-->   for the parts of one that was split
 *
 *	entry: decoded -> another frame, less what is no longer true -> encoded
 *	      (the mapping is counted before anybody can see it)
 *
 * While a folio was being moved its entries may have been copied by fork, or taken away by
 * munmap: so all VMAs are visited, and what they hold is put back, be it more or less than what
 * was there before.
 */
#include <linux/hugetlb.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/rmap_runs.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include <trace/events/migrate.h>

#include "../internal.h"
#include "group.h"

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

/*
 * A large folio is locked in memory where a VM_LOCKED VMA maps all of it. folio_add_*_rmap_ptes()
 * cannot know that; and taking the mappings away has unlocked it.
 */
static __always_inline void restore_mlock(struct folio *dst, struct vm_area_struct *vma,
					  unsigned long restored)
{
	if (likely(!(vma->vm_flags & VM_LOCKED)))
		return;
	if (folio_test_large(dst) && restored == folio_nr_pages(dst))
		mlock_vma_folio(dst, vma);
	mlock_drain_local();
}

/*
 * A run of migration entries. The mappings are counted before anybody can see them: in @tally, or
 * at once.
 */
static __always_inline void restore_ptes(struct rmap_run *run, struct folio *dst,
					 struct pte_leaf leaf, struct rmap_tally *tally)
{
	struct vm_area_struct *vma = run->at.vma;
	struct page *page = folio_page(dst, folio_page_idx(run->folio, run->page));
	pte_t pte = restore_entry(leaf, dst, vma, page);
	unsigned long addr = run->at.address;
	rmap_t flags = leaf.flags & LEAF_EXCLUSIVE ? RMAP_EXCLUSIVE : RMAP_NONE;

	folio_ref_add(dst, run->nr);
	if (tally)
		rmap_count_in(tally, dst, page, run->nr, vma, addr, flags);
	else if (folio_test_anon(dst))
		folio_add_anon_rmap_ptes(dst, page, run->nr, vma, addr, flags);
	else
		folio_add_file_rmap_ptes(dst, page, run->nr, vma);
	set_ptes(vma->vm_mm, addr, run->at.pte, pte, run->nr);
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

/* The entry of a folio of one page, without the walk. False when it takes that to find out. */
static __always_inline bool restore_small(struct rmap_run *run, struct folio *dst, bool zero)
{
	struct page_vma_mapped_walk *at = &run->at;
	struct rmap_place place;
	struct pte_leaf leaf;

	switch (rmap_enter(&place, at->vma->vm_mm, at->address)) {
	case RMAP_FOUND:
		break;
	case RMAP_ABSENT:
		return true;
	default:
		return false;
	}
	if (unlikely(!rmap_lock(&place))) {
		pte_unmap(place.pte);
		return false;
	}
	run->pte = ptep_get(place.pte);
	if (is_swap_pte(run->pte)) {
		leaf = pte_leaf_decode_swp(run->pte);
		at->pte = place.pte;
		run->page = &run->folio->page;
		run->nr = 1;
		if (leaf.kind == LEAF_MIGRATION && leaf.number == at->pfn &&
		    !(unlikely(zero) && restore_zero(run, leaf))) {
			restore_ptes(run, dst, leaf, NULL);
			restore_mlock(dst, at->vma, 0);
		}
	}
	pte_unmap_unlock(place.pte, place.ptl);
	return true;
}

/* What is there of a folio in a VMA, run by run. */
static void restore_runs(struct folio *dst, struct folio *src, struct vm_area_struct *vma,
			 unsigned long addr)
{
	struct rmap_run run __uninitialized;
	unsigned long restored = 0;

	rmap_run_init(&run, src, vma, addr, folio_nr_pages(src));
	run.at.flags = PVMW_SYNC | PVMW_MIGRATION;
	while (rmap_run_next(&run)) {
		if (run.at.pte) {
			restore_ptes(&run, dst, pte_leaf_decode_swp(run.pte), NULL);
			restored += run.nr;
		} else if (IS_ENABLED(CONFIG_ARCH_ENABLE_THP_MIGRATION)) {
			remove_migration_pmd(&run.at, &dst->page);
			restored = folio_nr_pages(dst);
		}
		restore_mlock(dst, vma, restored);
	}
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
	restore_runs(folio, src, vma, addr);
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
 */
void rmap_restore(struct folio *src, struct folio *dst, int flags)
{
	struct restore r = { .src = src, .zero = flags & RMP_USE_SHARED_ZEROPAGE };
	struct rmap_walk_control rwc = { .rmap_one = restore_one, .arg = &r };

	VM_WARN_ON_FOLIO(r.zero && src != dst, src);
	if (flags & RMP_LOCKED)
		rmap_walk_locked(dst, &rwc);
	else
		rmap_walk(dst, &rwc);
}

/* As migrate_in_table(), for the way back. False when the walk of this folio must find out. */
static __always_inline bool restore_in_table(struct rmap_table *table, struct folio *dst,
					     struct folio *src, unsigned long addr)
{
	struct rmap_run run __uninitialized;
	unsigned long nr = folio_nr_pages(src);
	pte_t *ptep = rmap_table_at(table, addr);
	struct pte_leaf leaf;
	swp_entry_t entry;

	/* Or an entry of a huge page that mremap() has in its hands: that locks the PMD. */
	if (unlikely(!ptep))
		return rmap_table_absent(table, addr, nr) && !folio_test_pmd_mappable(src);
	if (!table->locked && unlikely(!rmap_table_lock(table)))
		return false;
	run.pte = ptep_get(ptep);
	if (!is_swap_pte(run.pte))
		return nr == 1;
	entry = pte_to_swp_entry(run.pte);
	if (!is_migration_entry(entry) || swp_offset_pfn(entry) != folio_pfn(src))
		return nr == 1;
	leaf = pte_leaf_decode_migration(run.pte, entry);
	if (unlikely(nr > 1 && (!rmap_group_whole(table->vma, src, addr, nr) ||
				pte_run_alike_swp(ptep, run.pte, nr) != nr)))
		return false;
	run.at.vma = table->vma;
	run.at.address = addr;
	run.at.pte = ptep;
	run.folio = src;
	run.page = &src->page;
	run.nr = nr;
	restore_ptes(&run, dst, leaf, &table->tally);
	restore_mlock(dst, table->vma, nr);
	return true;
}

static bool restore_group_visit(struct rmap_group *group, struct vm_area_struct *vma)
{
	struct rmap_table table;
	unsigned int i;

	rmap_table_init(&table, vma);
	for (i = 0; i < group->nr; i++) {
		struct folio *dst = group->folios[i], *src = group->old[i];
		unsigned long addr = rmap_group_addr(vma, dst);

		if (addr == -EFAULT || restore_in_table(&table, dst, src, addr))
			continue;
		rmap_table_leave(&table);
		restore_runs(dst, src, vma, addr);
	}
	rmap_table_leave(&table);
	return true;
}

/**
 * rmap_restore_folios - put mappings in the place of migration entries, for many folios
 * @src: the folios that the entries name
 * @dst: those to map in their stead, in the same order; may be the same
 * @nr: how many
 *
 * rmap_restore() for each of them, but neighbours are walked together.
 *
 * Context: all folios are locked, and references are held on their anon_vmas; @dst have mapping and
 * index. Sleeps.
 */
void rmap_restore_folios(struct folio **src, struct folio **dst, unsigned int nr)
{
	struct rmap_group group = { .visit = restore_group_visit };
	unsigned int i;

	for (i = 0; i < nr; i += group.nr) {
		group.folios = dst + i;
		group.old = src + i;
		rmap_group_form(&group, nr - i);
		if (group.nr > 1)
			rmap_group_walk(&group);
		else
			rmap_restore(src[i], dst[i], 0);
	}
}

/* --- the parts of a folio that was split ------------------------------------------------ */

/**
 * struct restore_parts - parts that lie in a row, in memory and in their mapping
 * @group: their walk
 * @page: the first page
 * @nr: pages of all parts together
 * @zero: as in struct restore
 */
struct restore_parts {
	struct rmap_group group;
	struct page *page;
	unsigned long nr;
	bool zero;
};

/*
 * Parts of one page each, until there is a larger one. The entry is made once, and counted on.
 * Return: how many.
 */
static unsigned long restore_small_parts(struct rmap_run *run, struct pte_leaf leaf, bool zero,
					 struct rmap_tally *tally)
{
	rmap_t flags = leaf.flags & LEAF_EXCLUSIVE ? RMAP_EXCLUSIVE : RMAP_NONE;
	struct vm_area_struct *vma = run->at.vma;
	struct page *first = run->page, *end = first + run->nr;
	pte_t pte = restore_entry(leaf, page_folio(first), vma, first);

	for (; run->page < end && !PageCompound(run->page);
	     run->page++, run->at.pte++, run->at.address += PAGE_SIZE) {
		run->folio = (struct folio *)run->page;
		if (!(zero && restore_zero(run, leaf))) {
			folio_ref_inc(run->folio);
			rmap_count_in(tally, run->folio, run->page, 1, vma, run->at.address,
				      flags);
			set_pte_at(vma->vm_mm, run->at.address, run->at.pte, pte);
			update_mmu_cache(vma, run->at.address, run->at.pte);
			trace_remove_migration_pte(run->at.address, pte_val(pte), 0);
		}
		pte = pte_next_pfn(pte);
	}
	return run->page - first;
}

/* A larger one, or what room there is for it here. Return: how many pages. */
static unsigned long restore_large_part(struct rmap_run *run, struct pte_leaf leaf,
					struct rmap_tally *tally)
{
	struct folio *part = page_folio(run->page);
	unsigned long left = folio_nr_pages(part) - folio_page_idx(part, run->page);

	run->folio = part;
	run->nr = pte_run_alike_swp(run->at.pte, run->pte, min(run->nr, left));
	restore_ptes(run, part, leaf, tally);
	restore_mlock(part, run->at.vma, run->nr);
	return run->nr;
}

/* Return: how many pages to go on; 0 to look at this entry again. */
static unsigned long restore_parts_at(const struct restore_parts *rp, struct rmap_table *table,
				      unsigned long addr, unsigned long end)
{
	unsigned long room = min((end - addr) >> PAGE_SHIFT, PTRS_PER_PTE - pte_index(addr));
	struct page *page = rp->page + linear_page_index(table->vma, addr) - rp->group.first;
	struct rmap_run run __uninitialized;
	pte_t *ptep = rmap_table_at(table, addr);
	swp_entry_t entry;
	struct pte_leaf leaf;

	/* Nothing, or a huge page, which is another one. */
	if (!ptep)
		return room;
	if (!table->locked && unlikely(!rmap_table_lock(table)))
		return 0;
	run.pte = ptep_get(ptep);
	if (!is_swap_pte(run.pte))
		return 1;
	entry = pte_to_swp_entry(run.pte);
	if (!is_migration_entry(entry) || swp_offset_pfn(entry) != page_to_pfn(page))
		return 1;
	leaf = pte_leaf_decode_migration(run.pte, entry);
	run.at.vma = table->vma;
	run.at.address = addr;
	run.at.pte = ptep;
	run.page = page;
	run.nr = room;
	if (PageCompound(page))
		return restore_large_part(&run, leaf, &table->tally);
	run.nr = pte_run_alike_swp(ptep, run.pte, room);
	return restore_small_parts(&run, leaf, rp->zero, &table->tally);
}

static bool restore_parts_visit(struct rmap_group *group, struct vm_area_struct *vma)
{
	struct restore_parts *rp = container_of(group, struct restore_parts, group);
	unsigned long addr = vma_address(vma, group->first, rp->nr);
	unsigned long left = group->last + 1 - linear_page_index(vma, addr);
	unsigned long end = min(vma->vm_end, addr + left * PAGE_SIZE);
	struct rmap_table table;

	rmap_table_init(&table, vma);
	while (addr < end)
		addr += restore_parts_at(rp, &table, addr, end) * PAGE_SIZE;
	rmap_table_leave(&table);
	if (vma->vm_flags & VM_LOCKED)
		mlock_drain_local();
	return true;
}

/**
 * rmap_restore_parts - put mappings in the place of migration entries, for parts of a folio
 * @folio: the first part; or all of it, if it was not split after all
 * @nr: pages of all parts together
 * @flags: RMP_USE_SHARED_ZEROPAGE, as for rmap_restore()
 *
 * All parts are walked together, entry by entry.
 *
 * Context: the parts are locked, and so is their anon_vma; mm/thp alone calls it. Sleeps.
 */
void rmap_restore_parts(struct folio *folio, unsigned long nr, int flags)
{
	struct restore_parts rp = {
		.group = { .folios = &folio, .nr = 1, .first = folio_pgoff(folio),
			   .last = folio_pgoff(folio) + nr - 1, .visit = restore_parts_visit },
		.page = &folio->page,
		.nr = nr,
		.zero = flags & RMP_USE_SHARED_ZEROPAGE,
	};

	if (folio_nr_pages(folio) == nr)
		rmap_restore(folio, folio, flags | RMP_LOCKED);
	else
		rmap_group_walk_locked(&rp.group);
}

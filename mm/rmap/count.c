// SPDX-License-Identifier: GPL-2.0
/*
 * Counting mappings.
 *
 *			     one page			a large folio
 *	page->_mapcount	     mappings of the folio	PTEs that map this page
 *	_entire_mapcount     -				PMDs that map all of it
 *	_large_mapcount	     -				PTEs and PMDs together
 *	_nr_pages_mapped     -				pages with a PTE, and ENTIRELY_MAPPED
 *							for PMDs
 *
 * Map counts begin at -1. A run is counted once in all of them but page->_mapcount.
 *
 * The statistics tell how many pages are mapped at all, so they change only where a page
 * gets its first mapping or loses its last; a page counts as mapped through the PMD as
 * long as there is one, whatever its PTEs. No lock covers a folio's page tables together:
 * an add and a remove may meet between their steps. Each acts on what the one atomic
 * operation on _nr_pages_mapped returned, so every change is counted by one of them, and a
 * result that only such a meeting can give counts for nothing.
 *
 * Calls back: a large anonymous folio of which a part was unmapped goes to the deferred
 * split queue of huge_memory.c; a mapping in a VM_LOCKED VMA goes to mlock.c.
 */
#include <linux/hugetlb.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/rmap.h>
#include <linux/rmap_runs.h>

#include "../internal.h"
#include "group.h"
#include "rmap.h"

/* What a change of map counts amounts to. */
struct mapped {
	int pages;	/* pages that got their first mapping, or lost their last */
	int huge;	/* as many as a PMD maps, if the folio's first or last one changed */
	bool partly;	/* a large folio lost mappings of some pages and kept others */
};

static __always_inline struct mapped count_add_ptes(struct folio *folio, struct page *page, int nr)
{
	struct mapped change = {};
	int i, fresh = 0;

	if (!folio_test_large(folio)) {
		change.pages = atomic_inc_and_test(&folio->_mapcount);
		return change;
	}
	for (i = 0; i < nr; i++)
		fresh += atomic_inc_and_test(&page[i]._mapcount);
	if (fresh && atomic_add_return_relaxed(fresh, &folio->_nr_pages_mapped) < ENTIRELY_MAPPED)
		change.pages = fresh;
	atomic_add(nr, &folio->_large_mapcount);
	return change;
}

static __always_inline struct mapped count_add_pmd(struct folio *folio)
{
	struct mapped change = {};
	int now;

	atomic_inc(&folio->_large_mapcount);
	if (!atomic_inc_and_test(&folio->_entire_mapcount))
		return change;
	now = atomic_add_return_relaxed(ENTIRELY_MAPPED, &folio->_nr_pages_mapped);
	/* Twice: the PMD that went last has still to take its part off. */
	if (unlikely(now >= 2 * ENTIRELY_MAPPED))
		return change;
	change.huge = folio_nr_pages(folio);
	change.pages = max(change.huge - (now & FOLIO_PAGES_MAPPED), 0);
	return change;
}

static __always_inline struct mapped count_remove_ptes(struct folio *folio, struct page *page,
						       int nr)
{
	struct mapped change = {};
	int i, left, gone = 0;

	if (!folio_test_large(folio)) {
		change.pages = atomic_add_negative(-1, &folio->_mapcount);
		return change;
	}
	atomic_sub(nr, &folio->_large_mapcount);
	for (i = 0; i < nr; i++)
		gone += atomic_add_negative(-1, &page[i]._mapcount);
	if (!gone)
		return change;
	left = atomic_sub_return_relaxed(gone, &folio->_nr_pages_mapped);
	if (left < ENTIRELY_MAPPED)
		change.pages = gone;
	change.partly = change.pages && left;
	return change;
}

static __always_inline struct mapped count_remove_pmd(struct folio *folio)
{
	struct mapped change = {};
	int left;

	atomic_dec(&folio->_large_mapcount);
	if (!atomic_add_negative(-1, &folio->_entire_mapcount))
		return change;
	left = atomic_sub_return_relaxed(ENTIRELY_MAPPED, &folio->_nr_pages_mapped);
	/* Another PMD's part is on already. */
	if (unlikely(left >= ENTIRELY_MAPPED))
		return change;
	change.huge = folio_nr_pages(folio);
	change.pages = max(change.huge - (left & FOLIO_PAGES_MAPPED), 0);
	change.partly = change.pages && change.pages < change.huge;
	return change;
}

static void count_huge(struct folio *folio, int nr)
{
	if (folio_test_anon(folio))
		__lruvec_stat_mod_folio(folio, NR_ANON_THPS, nr);
	else if (folio_test_swapbacked(folio))
		__mod_node_page_state(folio_pgdat(folio), NR_SHMEM_PMDMAPPED, nr);
	else
		__mod_node_page_state(folio_pgdat(folio), NR_FILE_PMDMAPPED, nr);
}

static __always_inline void count_stats(struct folio *folio, int pages, int huge)
{
	if (pages)
		__lruvec_stat_mod_folio(folio, folio_test_anon(folio) ? NR_ANON_MAPPED :
					NR_FILE_MAPPED, pages);
	if (huge)
		count_huge(folio, huge);
}

/*
 * A large folio is locked in memory only where all of it is mapped in the VMA, which is
 * not known here: reclaim finds that out.
 */
static __always_inline void count_mlock(struct folio *folio, struct vm_area_struct *vma)
{
	if (!folio_test_large(folio))
		mlock_vma_folio(folio, vma);
}

/* Whose folio and at which index: must be as folio_add_new_anon_rmap() wrote it. */
static __always_inline void count_check_anon(struct folio *folio, struct page *page,
					     struct vm_area_struct *vma, unsigned long addr)
{
	VM_WARN_ON_FOLIO(!folio_test_anon(folio), folio);
	if (!IS_ENABLED(CONFIG_DEBUG_VM) || folio_test_ksm(folio))
		return;
	VM_WARN_ON_ONCE_FOLIO(folio_anon_vma(folio)->root != vma->anon_vma->root, folio);
	VM_WARN_ON_ONCE_FOLIO(folio_pgoff(folio) + folio_page_idx(folio, page) !=
			linear_page_index(vma, addr), folio);
}

/* A page that has a second mapping is nobody's alone. PMD and PTEs count together for the
 * moment of a PMD's split.
 */
static __always_inline void count_check_exclusive(struct folio *folio, struct page *page, int nr)
{
	int i;

	if (!IS_ENABLED(CONFIG_DEBUG_VM))
		return;
	for (i = 0; i < nr; i++)
		VM_WARN_ON_FOLIO(PageAnonExclusive(page + i) &&
				 (atomic_read(&page[i]._mapcount) > 0 ||
				  (folio_test_large(folio) && folio_entire_mapcount(folio) > 1)),
				 folio);
}

/**
 * folio_add_anon_rmap_ptes - count PTEs that map pages of an anonymous folio
 * @folio: the folio; it has, or had, mappings before: its mapping and index are set
 * @page: the first page mapped
 * @nr_pages: pages mapped, consecutive
 * @vma: the VMA
 * @address: where @page is mapped
 * @flags: RMAP_EXCLUSIVE when the pages become this process's alone
 *
 * Context: the page table lock is held, and the folio is locked: no other mapping is added
 * meanwhile, and it does not become a KSM folio.
 */
void folio_add_anon_rmap_ptes(struct folio *folio, struct page *page, int nr_pages,
			      struct vm_area_struct *vma, unsigned long address, rmap_t flags)
{
	struct mapped change;
	int i;

	__folio_rmap_sanity_checks(folio, page, nr_pages, RMAP_LEVEL_PTE);
	change = count_add_ptes(folio, page, nr_pages);
	count_check_anon(folio, page, vma, address);
	count_stats(folio, change.pages, 0);
	if (flags & RMAP_EXCLUSIVE)
		for (i = 0; i < nr_pages; i++)
			SetPageAnonExclusive(page + i);
	count_check_exclusive(folio, page, nr_pages);
	count_mlock(folio, vma);
}

/**
 * folio_add_anon_rmap_pmd - count a PMD that maps an anonymous folio
 * @folio: the folio, as for folio_add_anon_rmap_ptes()
 * @page: its first page
 * @vma: the VMA
 * @address: where it is mapped
 * @flags: RMAP_EXCLUSIVE when the folio becomes this process's alone
 *
 * Context: the page table lock is held, and the folio is locked.
 */
void folio_add_anon_rmap_pmd(struct folio *folio, struct page *page, struct vm_area_struct *vma,
			     unsigned long address, rmap_t flags)
{
	struct mapped change;

	if (WARN_ON_ONCE(!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE)))
		return;
	__folio_rmap_sanity_checks(folio, page, folio_nr_pages(folio), RMAP_LEVEL_PMD);
	change = count_add_pmd(folio);
	count_check_anon(folio, page, vma, address);
	count_stats(folio, change.pages, change.huge);
	if (flags & RMAP_EXCLUSIVE)
		SetPageAnonExclusive(page);
	count_check_exclusive(folio, page, folio_nr_pages(folio));
	count_mlock(folio, vma);
}

/* Nobody else counts mappings of a folio that is mapped once, and by us: nothing is atomic. */
static void count_exclusive_to_ptes(struct folio *folio, int nr)
{
	struct page *page = &folio->page, *end = page + nr;

	for (; page < end; page++) {
		atomic_set(&page->_mapcount, 0);
		SetPageAnonExclusive(page);
	}
	atomic_set(&folio->_large_mapcount, nr - 1);
	atomic_set(&folio->_entire_mapcount, -1);
	atomic_set(&folio->_nr_pages_mapped, nr);
	count_huge(folio, -nr);
}

/**
 * rmap_pmd_to_ptes - a PMD that maps an anonymous folio becomes entries that map its pages
 * @folio: the folio
 * @vma: the VMA
 * @address: where the folio is mapped
 * @exclusive: is it this process's alone?
 *
 * What folio_add_anon_rmap_ptes() and folio_remove_rmap_pmd() come to, in one pass, and with
 * statistics told only where they change. The references of the entries are the caller's task.
 *
 * Context: the PMD is locked, and invalid.
 */
void rmap_pmd_to_ptes(struct folio *folio, struct vm_area_struct *vma, unsigned long address,
		      bool exclusive)
{
	struct page *page = &folio->page;
	int nr = folio_nr_pages(folio);
	struct mapped added, removed;

	__folio_rmap_sanity_checks(folio, page, nr, RMAP_LEVEL_PMD);
	count_check_anon(folio, page, vma, address);
	if (exclusive) {
		count_exclusive_to_ptes(folio, nr);
	} else {
		added = count_add_ptes(folio, page, nr);
		removed = count_remove_pmd(folio);
		count_stats(folio, added.pages - removed.pages, -removed.huge);
	}
	munlock_vma_folio(folio, vma);
}

/*
 * Say to whom a folio belongs. The mapping word is written at once, flag and pointer
 * together, because readers follow it without the folio lock.
 */
static void count_set_mapping(struct folio *folio, struct anon_vma *av)
{
	WRITE_ONCE(folio->mapping, (void *)((unsigned long)av | PAGE_MAPPING_ANON));
}

/*
 * A folio that other processes may map too must be found by all of them, so it belongs to
 * the anon_vma that has all of them: the root.
 */
static void count_set_anon(struct folio *folio, struct vm_area_struct *vma, unsigned long addr,
			   bool exclusive)
{
	VM_WARN_ON_ONCE(!vma->anon_vma);
	count_set_mapping(folio, exclusive ? vma->anon_vma : vma->anon_vma->root);
	folio->index = linear_page_index(vma, addr);
}

/* All pages of a large folio that is mapped by PTEs, for the first time. */
static void count_new_ptes(struct folio *folio, int nr, bool exclusive)
{
	int i;

	for (i = 0; i < nr; i++) {
		struct page *page = folio_page(folio, i);

		atomic_set(&page->_mapcount, 0);
		if (exclusive)
			SetPageAnonExclusive(page);
	}
	atomic_set(&folio->_large_mapcount, nr - 1);
	atomic_set(&folio->_nr_pages_mapped, nr);
}

/**
 * folio_add_new_anon_rmap - map an anonymous folio for the first time
 * @folio: the folio, not mapped before; all of it gets mapped: by a PMD if it is as large
 *	as one, else by PTEs
 * @vma: the VMA; it has an anon_vma, and its part from @address on has room for the folio
 * @address: where the folio is mapped
 * @flags: RMAP_EXCLUSIVE when no other process can map it
 *
 * Nobody else can count this folio's mappings yet, so nothing here is atomic. The folio
 * becomes swap-backed, unless it is one that VM_DROPPABLE lets go.
 *
 * Context: the page table lock is held; without RMAP_EXCLUSIVE the folio is locked.
 */
void folio_add_new_anon_rmap(struct folio *folio, struct vm_area_struct *vma,
			     unsigned long address, rmap_t flags)
{
	const bool exclusive = flags & RMAP_EXCLUSIVE;
	const int nr = folio_nr_pages(folio);
	int huge = 0;

	VM_WARN_ON_FOLIO(folio_test_hugetlb(folio), folio);
	VM_WARN_ON_FOLIO(!exclusive && !folio_test_locked(folio), folio);
	VM_WARN_ON_ONCE(address < vma->vm_start || address + folio_size(folio) > vma->vm_end);

	if (!folio_test_swapbacked(folio) && !(vma->vm_flags & VM_DROPPABLE))
		__folio_set_swapbacked(folio);
	count_set_anon(folio, vma, address, exclusive);
	if (!folio_test_large(folio)) {
		atomic_set(&folio->_mapcount, 0);
	} else if (!folio_test_pmd_mappable(folio)) {
		count_new_ptes(folio, nr, exclusive);
	} else {
		huge = nr;
		atomic_set(&folio->_entire_mapcount, 0);
		atomic_set(&folio->_large_mapcount, 0);
		atomic_set(&folio->_nr_pages_mapped, ENTIRELY_MAPPED);
	}
	if (exclusive && (huge || nr == 1))
		SetPageAnonExclusive(&folio->page);
	count_stats(folio, nr, huge);
	mod_mthp_stat(folio_order(folio), MTHP_STAT_NR_ANON, 1);
}

/**
 * folio_move_anon_rmap - give a folio to the anon_vma of one VMA
 * @folio: an anonymous folio that this VMA's process alone maps
 * @vma: the VMA
 *
 * After a copy on write left the original to one process, walks for it need not ask the
 * relatives any more.
 *
 * Context: the folio is locked, the page table lock is held.
 */
void folio_move_anon_rmap(struct folio *folio, struct vm_area_struct *vma)
{
	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);
	VM_WARN_ON_ONCE(!vma->anon_vma);
	count_set_mapping(folio, vma->anon_vma);
}

/**
 * folio_add_file_rmap_ptes - count PTEs that map pages of a file's folio
 * @folio: the folio; shared memory's too, or one that belongs to a driver
 * @page: the first page mapped
 * @nr_pages: pages mapped, consecutive
 * @vma: the VMA
 *
 * Context: the page table lock is held.
 */
void folio_add_file_rmap_ptes(struct folio *folio, struct page *page, int nr_pages,
			      struct vm_area_struct *vma)
{
	struct mapped change;

	VM_WARN_ON_FOLIO(folio_test_anon(folio), folio);
	__folio_rmap_sanity_checks(folio, page, nr_pages, RMAP_LEVEL_PTE);
	change = count_add_ptes(folio, page, nr_pages);
	count_stats(folio, change.pages, 0);
	count_mlock(folio, vma);
}

/**
 * folio_add_file_rmap_pmd - count a PMD that maps a file's folio
 * @folio: the folio
 * @page: its first page
 * @vma: the VMA
 *
 * Context: the page table lock is held.
 */
void folio_add_file_rmap_pmd(struct folio *folio, struct page *page, struct vm_area_struct *vma)
{
	struct mapped change;

	if (WARN_ON_ONCE(!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE)))
		return;
	VM_WARN_ON_FOLIO(folio_test_anon(folio), folio);
	__folio_rmap_sanity_checks(folio, page, folio_nr_pages(folio), RMAP_LEVEL_PMD);
	change = count_add_pmd(folio);
	count_stats(folio, change.pages, change.huge);
	count_mlock(folio, vma);
}

/*
 * What follows from mappings that went. The folio keeps its mapping and index, although
 * they mean nothing once it is unmapped: a new mapping may have been added meanwhile, so
 * they are cleared where the folio is freed.
 */
static __always_inline void count_removed(struct folio *folio, struct vm_area_struct *vma,
					  struct mapped change)
{
	if (change.partly && folio_test_anon(folio) && !folio_test_partially_mapped(folio))
		deferred_split_folio(folio, true);
	count_stats(folio, -change.pages, -change.huge);
	munlock_vma_folio(folio, vma);
}

/**
 * folio_remove_rmap_ptes - count PTEs out that mapped pages of a folio
 * @folio: the folio, of either kind; the caller has a reference on it still
 * @page: the first page that was mapped
 * @nr_pages: pages, consecutive
 * @vma: the VMA
 *
 * Context: the page table lock is held.
 */
void folio_remove_rmap_ptes(struct folio *folio, struct page *page, int nr_pages,
			    struct vm_area_struct *vma)
{
	__folio_rmap_sanity_checks(folio, page, nr_pages, RMAP_LEVEL_PTE);
	count_removed(folio, vma, count_remove_ptes(folio, page, nr_pages));
}

/**
 * folio_remove_rmap_pmd - count a PMD out that mapped a folio
 * @folio: the folio, of either kind; the caller has a reference on it still
 * @page: its first page
 * @vma: the VMA
 *
 * Context: the page table lock is held.
 */
void folio_remove_rmap_pmd(struct folio *folio, struct page *page, struct vm_area_struct *vma)
{
	if (WARN_ON_ONCE(!IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE)))
		return;
	__folio_rmap_sanity_checks(folio, page, folio_nr_pages(folio), RMAP_LEVEL_PMD);
	count_removed(folio, vma, count_remove_pmd(folio));
}

/* --- many folios at once ------------------------------------------------------------------ */

static inline enum node_stat_item tally_item(struct folio *folio)
{
	return folio_test_anon(folio) ? NR_ANON_MAPPED : NR_FILE_MAPPED;
}

/* The folio is locked, so its memcg stays what it is until the tally ends. */
static __always_inline void tally_add(struct rmap_tally *tally, struct folio *folio, int pages)
{
	if (unlikely(tally->folio && (folio_pgdat(tally->folio) != folio_pgdat(folio) ||
				      folio_memcg(tally->folio) != folio_memcg(folio) ||
				      folio_test_anon(tally->folio) != folio_test_anon(folio))))
		rmap_tally_end(tally);
	if (!tally->folio) {
		tally->folio = folio;
		tally->pages = 0;
	}
	tally->pages += pages;
}

/**
 * rmap_tally_end - tell the statistics
 * @tally: what was counted; empty afterwards
 *
 * Context: the page table lock is still held.
 */
void rmap_tally_end(struct rmap_tally *tally)
{
	if (tally->folio && tally->pages)
		__lruvec_stat_mod_folio(tally->folio, tally_item(tally->folio), tally->pages);
	tally->folio = NULL;
}

/**
 * rmap_count_new - map a new page of one process for the first time, one of many
 * @tally: for the statistics, which are told later
 * @folio: the page, a small folio that nobody else has, not mapped before
 * @vma: the VMA; it has an anon_vma
 * @addr: where it is mapped
 *
 * What folio_add_new_anon_rmap() does for RMAP_EXCLUSIVE.
 *
 * Context: the page table lock is held. Nobody finds the folio to move it to another memcg.
 */
void rmap_count_new(struct rmap_tally *tally, struct folio *folio, struct vm_area_struct *vma,
		    unsigned long addr)
{
	VM_WARN_ON_FOLIO(folio_test_large(folio), folio);
	if (!(vma->vm_flags & VM_DROPPABLE))
		__folio_set_swapbacked(folio);
	count_set_anon(folio, vma, addr, true);
	atomic_set(&folio->_mapcount, 0);
	SetPageAnonExclusive(&folio->page);
	tally_add(tally, folio, 1);
}

/**
 * rmap_count_in - count PTEs that map pages of a folio, one of many
 * @tally: for the statistics, which are told later
 * @folio: the folio, of either kind, with its mapping and index
 * @page: the first page mapped
 * @nr: pages mapped, consecutive
 * @vma: the VMA
 * @addr: where @page is mapped
 * @flags: as for folio_add_anon_rmap_ptes()
 *
 * Context: the page table lock is held, and the folio is locked.
 */
void rmap_count_in(struct rmap_tally *tally, struct folio *folio, struct page *page, int nr,
		   struct vm_area_struct *vma, unsigned long addr, rmap_t flags)
{
	struct mapped change;
	int i;

	__folio_rmap_sanity_checks(folio, page, nr, RMAP_LEVEL_PTE);
	change = count_add_ptes(folio, page, nr);
	tally_add(tally, folio, change.pages);
	if (folio_test_anon(folio)) {
		count_check_anon(folio, page, vma, addr);
		if (flags & RMAP_EXCLUSIVE)
			for (i = 0; i < nr; i++)
				SetPageAnonExclusive(page + i);
		count_check_exclusive(folio, page, nr);
	}
	count_mlock(folio, vma);
}

/**
 * rmap_count_out - count PTEs out that mapped a folio, one of many
 * @tally: for the statistics, which are told later
 * @folio: the folio, of either kind; the caller has a reference on it still
 * @page: the first page that was mapped
 * @nr: pages, consecutive
 * @vma: the VMA
 *
 * Context: the page table lock is held, and the folio is locked.
 */
void rmap_count_out(struct rmap_tally *tally, struct folio *folio, struct page *page, int nr,
		    struct vm_area_struct *vma)
{
	struct mapped change;

	__folio_rmap_sanity_checks(folio, page, nr, RMAP_LEVEL_PTE);
	change = count_remove_ptes(folio, page, nr);
	/* All of it is gone from this process, but others may map some pages. */
	if (unlikely(change.partly)) {
		count_removed(folio, vma, change);
		return;
	}
	tally_add(tally, folio, -change.pages);
	munlock_vma_folio(folio, vma);
}

#ifdef CONFIG_HUGETLB_PAGE
/**
 * hugetlb_add_anon_rmap - count a mapping of an anonymous hugetlb folio
 * @folio: the folio, with its mapping and index set
 * @vma: the VMA
 * @address: where it is mapped
 * @flags: RMAP_EXCLUSIVE when the folio becomes this process's alone
 *
 * Context: the page table lock is held, and the folio is locked. No statistics.
 */
void hugetlb_add_anon_rmap(struct folio *folio, struct vm_area_struct *vma, unsigned long address,
			   rmap_t flags)
{
	VM_WARN_ON_FOLIO(!folio_test_hugetlb(folio) || !folio_test_anon(folio), folio);
	atomic_inc(&folio->_large_mapcount);
	atomic_inc(&folio->_entire_mapcount);
	if (flags & RMAP_EXCLUSIVE)
		SetPageAnonExclusive(&folio->page);
	VM_WARN_ON_FOLIO(PageAnonExclusive(&folio->page) && folio_entire_mapcount(folio) > 1,
			 folio);
}

/**
 * hugetlb_add_new_anon_rmap - map an anonymous hugetlb folio for the first time
 * @folio: the folio; it becomes this process's alone, and its reservation is used up
 * @vma: the VMA
 * @address: where it is mapped
 *
 * Context: the page table lock is held.
 */
void hugetlb_add_new_anon_rmap(struct folio *folio, struct vm_area_struct *vma,
			       unsigned long address)
{
	VM_WARN_ON_FOLIO(!folio_test_hugetlb(folio), folio);
	VM_WARN_ON_ONCE(address < vma->vm_start || address >= vma->vm_end);
	count_set_anon(folio, vma, address, true);
	atomic_set(&folio->_large_mapcount, 0);
	atomic_set(&folio->_entire_mapcount, 0);
	SetPageAnonExclusive(&folio->page);
	folio_clear_hugetlb_restore_reserve(folio);
}
#endif

// SPDX-License-Identifier: GPL-2.0
/*
 * From a VMA to the runs that map a folio.
 *
 *	rmap_run_next()		 the next run, as long as its entries are alike
 *	  rmap_step()		 the next entry; nr entries further on
 *	    mm_find_pmd()	 absent ------------------------------------> next table
 *	    pmd --+-- huge ----> found, or another folio's -----------------> next table
 *		  +-- none ----------------------------------------------------> next table
 *		  `-- table ---> scan: entry, entry, ... found; none left --> next table
 *
 *	page_vma_mapped_walk()	 rmap_step() by one entry, for the rest of the kernel
 *
 * Without PVMW_SYNC, entries are looked at without the page table lock until one maps the
 * folio, and that one is looked at again under it. What the unlocked look may miss: an
 * entry that is written after it, or that is cleared for a moment to be changed. The first
 * is a mapping made after the walk; the second is why try_to_unmap() of a folio that must
 * go uses TTU_SYNC. The table itself cannot be freed meanwhile: mapping it took the RCU
 * read lock. If it was unlinked, its entries were cleared first (its pages unmapped, or
 * moved with the rmap locks held that our caller has), so the second look finds nothing.
 */
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "../internal.h"
#include "../pte/run.h"
#include "rmap.h"

/* What a look at one PMD came to. */
enum look {
	LOOK_FOUND,	/* at->pmd or at->pte, with at->ptl held */
	LOOK_ABSENT,	/* the folio is not mapped through it */
	LOOK_TABLE,	/* it is, or now is, a table: look at its entries */
};

/**
 * mm_find_pmd - the PMD through which an address is mapped
 * @mm: the address space
 * @address: the address
 *
 * Context: something keeps the page tables above the PMD from being freed: mmap_lock, or
 * an rmap lock of a VMA there.
 * Return: the PMD, whatever it says, or NULL when there is no table of PMDs.
 */
pmd_t *mm_find_pmd(struct mm_struct *mm, unsigned long address)
{
	return rmap_find_pmd(mm, address);
}

/* Do the frames that a PMD maps overlap those that are looked for? */
static bool pmd_wanted(const struct page_vma_mapped_walk *at, unsigned long pfn)
{
	return pfn < at->pfn + at->nr_pages && at->pfn < pfn + PTRS_PER_PTE;
}

static bool swp_wanted(const struct page_vma_mapped_walk *at, pte_t pte)
{
	struct pte_leaf leaf = pte_leaf_decode_swp(pte);

	if (at->flags & PVMW_MIGRATION)
		return leaf.kind == LEAF_MIGRATION && rmap_pfn_wanted(at, leaf.number);
	return pte_leaf_maps(&leaf) && rmap_pfn_wanted(at, leaf.number);
}

static __always_inline bool pte_wanted(const struct page_vma_mapped_walk *at, pte_t pte)
{
	if (pte_present(pte))
		return !(at->flags & PVMW_MIGRATION) && rmap_pfn_wanted(at, pte_pfn(pte));
	return !pte_none(pte) && swp_wanted(at, pte);
}

static enum look look_migrating_pmd(struct page_vma_mapped_walk *at, pmd_t pmd)
{
	swp_entry_t entry = pmd_to_swp_entry(pmd);

	if (!thp_migration_supported() || !(at->flags & PVMW_MIGRATION) ||
	    !is_migration_entry(entry) || !pmd_wanted(at, swp_offset_pfn(entry)))
		return LOOK_ABSENT;
	return LOOK_FOUND;
}

/* A PMD that was seen to be huge or migrating. Found, it stays locked. */
static enum look look_huge(struct page_vma_mapped_walk *at)
{
	enum look look;
	pmd_t pmd;

	at->ptl = pmd_lock(at->vma->vm_mm, at->pmd);
	pmd = *at->pmd;
	if (!pmd_present(pmd))
		look = look_migrating_pmd(at, pmd);
	else if (!pmd_trans_huge(pmd) && !pmd_devmap(pmd))
		look = LOOK_TABLE;
	else if (at->flags & PVMW_MIGRATION || !pmd_wanted(at, pmd_pfn(pmd)))
		look = LOOK_ABSENT;
	else
		look = LOOK_FOUND;
	if (look != LOOK_FOUND) {
		spin_unlock(at->ptl);
		at->ptl = NULL;
	}
	return look;
}

/*
 * Nothing is mapped there. But a task that clears a huge PMD counts the mapping out later, under
 * the same lock: a PVMW_SYNC walk waits for that.
 */
static void look_none(struct page_vma_mapped_walk *at)
{
	/* HPAGE_PMD_NR is a build error where no PMD can be huge. */
	if (IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) && at->flags & PVMW_SYNC &&
	    at->nr_pages >= HPAGE_PMD_NR &&
	    thp_vma_suitable_order(at->vma, at->address, PMD_ORDER))
		spin_unlock(pmd_lock(at->vma->vm_mm, at->pmd));
}

static enum look look_pmd(struct page_vma_mapped_walk *at)
{
	pmd_t pmd;

	at->pmd = rmap_find_pmd(at->vma->vm_mm, at->address);
	if (!at->pmd)
		return LOOK_ABSENT;
	pmd = pmdp_get_lockless(at->pmd);
	if (unlikely(pmd_trans_huge(pmd) || is_pmd_migration_entry(pmd) ||
		     (pmd_present(pmd) && pmd_devmap(pmd))))
		return look_huge(at);
	if (likely(pmd_present(pmd)))
		return LOOK_TABLE;
	look_none(at);
	return LOOK_ABSENT;
}

static void leave_table(struct page_vma_mapped_walk *at)
{
	pte_unmap(at->pte);
	if (at->ptl)
		spin_unlock(at->ptl);
	at->pte = NULL;
	at->ptl = NULL;
}

/*
 * Look at the entries from at->pte on, up to @end or the end of the table. @ptl is its
 * lock; at->ptl says whether it is held. Finding nothing leaves the table, and at->address
 * is where to go on.
 */
static __always_inline bool scan_table(struct page_vma_mapped_walk *at, spinlock_t *ptl,
				       unsigned long end)
{
	unsigned long stop = pmd_addr_end(at->address, end);
	pte_t *ptep = at->pte;
	pte_t pte;

	for (; at->address < stop; at->address += PAGE_SIZE, ptep++) {
		pte = at->ptl ? ptep_get(ptep) : ptep_get_lockless(ptep);
		if (!pte_wanted(at, pte))
			continue;
		if (!at->ptl) {
			at->ptl = ptl;
			spin_lock(ptl);
			if (!pte_wanted(at, ptep_get(ptep)))
				continue;
		}
		at->pte = ptep;
		return true;
	}
	leave_table(at);
	return false;
}

/* False when there is no table any more: the PMD must be looked at again. */
static bool enter_table(struct page_vma_mapped_walk *at, spinlock_t **ptl)
{
	struct mm_struct *mm = at->vma->vm_mm;

	if (at->flags & PVMW_SYNC) {
		at->pte = pte_offset_map_lock(mm, at->pmd, at->address, ptl);
		at->ptl = at->pte ? *ptl : NULL;
	} else {
		at->pte = pte_offset_map_nolock(mm, at->pmd, at->address, ptl);
	}
	return at->pte;
}

/* The first entry of the folio from at->address on, with no table entered. */
static bool rmap_seek(struct page_vma_mapped_walk *at, unsigned long end)
{
	spinlock_t *ptl;

	while (at->address < end) {
		switch (look_pmd(at)) {
		case LOOK_FOUND:
			return true;
		case LOOK_ABSENT:
			at->address = pmd_addr_end(at->address, end);
			break;
		case LOOK_TABLE:
			if (enter_table(at, &ptl) && scan_table(at, ptl, end))
				return true;
			break;
		}
	}
	return false;
}

/**
 * rmap_step - go to the next entry that maps some of a range of frames
 * @at: the walk; pfn, nr_pages, pgoff, vma, address and flags are set, the rest is 0 at first
 * @nr: entries to step over, from the one found last; 0 at first. All in its table
 *
 * Context: an rmap lock of the VMA is held, or mmap_lock. Takes at->ptl.
 * Return: true with at->address, at->pmd and at->pte (NULL: the PMD itself) at the entry,
 * and at->ptl held; false, with nothing held, when there is none left.
 */
bool rmap_step(struct page_vma_mapped_walk *at, unsigned long nr)
{
	unsigned long end, next;

	if (unlikely(is_vm_hugetlb_page(at->vma)))
		return rmap_hugetlb_step(at);
	if (unlikely(at->pmd && !at->pte)) {
		/* A PMD maps all of the folio, so there is no more of it. */
		spin_unlock(at->ptl);
		at->ptl = NULL;
		return false;
	}
	if (!at->pte)
		return rmap_seek(at, vma_address_end(at));
	if (at->nr_pages == 1) {
		leave_table(at);
		return false;
	}
	end = vma_address_end(at);
	next = at->address + nr * PAGE_SIZE;
	if (next < pmd_addr_end(at->address, end)) {
		at->pte += nr;
		at->address = next;
		if (scan_table(at, at->ptl, end))
			return true;
	} else {
		leave_table(at);
		at->address = next;
	}
	return rmap_seek(at, end);
}

/**
 * page_vma_mapped_walk - go to the next entry that maps some of a range of frames
 * @pvmw: the walk, as for rmap_step(); for a hugetlb VMA the entry is at pvmw->pte, at
 *	whatever level
 *
 * To end a walk before it returns false, call page_vma_mapped_walk_done().
 *
 * Context: as for rmap_step().
 * Return: true with the entry's lock held, false when there is none left.
 */
bool page_vma_mapped_walk(struct page_vma_mapped_walk *pvmw)
{
	return rmap_step(pvmw, pvmw->pte ? 1 : 0);
}

#ifdef CONFIG_MEMORY_FAILURE
#define PAGE_POISONED	BIT(PG_hwpoison)
#else
#define PAGE_POISONED	0UL
#endif

/*
 * How many of the pages are alike in what a page tells of its mapping. A memory error may strike
 * at any time, so whether they are poisoned is decided here, once for all of them.
 */
static unsigned long pages_alike(const struct page *page, unsigned long nr, bool anon,
				 bool *poisoned)
{
	unsigned long mask = PAGE_POISONED | (anon ? BIT(PG_anon_exclusive) : 0), flags, i;

	flags = READ_ONCE(page->flags) & mask;
	*poisoned = flags & PAGE_POISONED;
	if (!mask)
		return nr;
	for (i = 1; i < nr; i++)
		if ((READ_ONCE(page[i].flags) & mask) != flags)
			break;
	return i;
}

/**
 * rmap_run_length - the length of the run that begins at run->at
 * @run: the walk, with the first entry and its page found
 *
 * Says in run->poisoned what its pages are.
 *
 * Context: the page table lock is held.
 */
unsigned long rmap_run_length(struct rmap_run *run)
{
	struct page_vma_mapped_walk *at = &run->at;
	unsigned long nr;

	run->poisoned = PageHWPoison(run->page);
	if (at->nr_pages == 1)
		return 1;
	nr = rmap_run_room(at, page_to_pfn(run->page), vma_address_end(at));
	if (!pte_present(run->pte))
		return at->flags & PVMW_MIGRATION ? pte_run_alike_swp(at->pte, run->pte, nr) : 1;
	nr = pte_run_alike(at->pte, run->pte, nr);
	return pages_alike(run->page, nr, folio_test_anon(run->folio), &run->poisoned);
}

/**
 * rmap_run_next - go to the next run that maps some of a folio
 * @run: the walk; run->at is set as for rmap_step(), of the pages of run->folio, and the rest
 *	is 0 at first
 *
 * Not for hugetlb. A PMD is a run of one entry, with run->page the first of the folio.
 *
 * Context: as for rmap_step(). The folio is locked if its mappings are to be changed.
 * Return: true with the run's lock held, false when there is none left.
 */
bool rmap_run_next(struct rmap_run *run)
{
	struct folio *folio = run->folio;
	unsigned long pfn;

	if (!rmap_step(&run->at, run->nr))
		return false;
	if (!run->at.pte) {
		run->nr = 1;
		run->page = &folio->page;
		return true;
	}
	run->pte = ptep_get(run->at.pte);
	pfn = pte_present(run->pte) ? pte_pfn(run->pte) : pte_leaf_decode_swp(run->pte).number;
	run->page = folio_page(folio, pfn - folio_pfn(folio));
	run->nr = rmap_run_length(run);
	return true;
}

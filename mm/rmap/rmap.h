/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The reverse map's own header. What the rest of the kernel sees is <linux/rmap.h>.
 *
 *	anon_vma.c    the forest: which VMAs may map an anonymous folio
 *	count.c	      map counts and the statistics made of them
 *	walk.c	      folio -> VMAs
 *	vma_walk.c    VMA -> runs
 *	referenced.c  clean.c			what asks and changes mappings
 *	unmap_swap.c  unmap_migrate.c  unmap_exclusive.c	what takes mappings away
 *	unmap.h	      what these share
 *	restore.c     what brings them back after migration
 *	group.c	      the walk of many folios at once
 *	hugetlb.c     flush.c
 */
#ifndef __MM_RMAP_RMAP_H
#define __MM_RMAP_RMAP_H

#include <linux/mmu_notifier.h>
#include <linux/rmap.h>

#include "../pte/leaf.h"
#include "../pte/run.h"

/**
 * struct rmap_run - entries of one page table that map consecutive pages of one folio
 * @at: where the run begins: VMA, address, entry, and the lock, which is held. at.pte is NULL
 *	for a PMD that maps the whole folio, as with page_vma_mapped_walk()
 * @folio: the folio
 * @page: the first page mapped
 * @nr: entries; 0 before the first run
 * @poisoned: the pages are lost to a memory error, all of them or none
 * @pte: the first entry. All are like it, Accessed and Dirty aside; so are the pages in
 *	being exclusive and in being poisoned
 */
struct rmap_run {
	struct page_vma_mapped_walk at;
	struct folio *folio;
	struct page *page;
	unsigned long nr;
	bool poisoned;
	pte_t pte;
};

bool rmap_step(struct page_vma_mapped_walk *at, unsigned long nr);
bool rmap_run_next(struct rmap_run *run);
unsigned long rmap_run_length(struct rmap_run *run);

/**
 * rmap_run_init - begin a walk over the runs that map a folio in a VMA
 * @run: the walk; it need not be cleared
 * @folio: the folio
 * @vma: the VMA
 * @addr: where its pages begin there
 * @nr: its pages
 *
 * The walk is with no PVMW_* flags; set run->at.flags for them.
 */
static __always_inline void rmap_run_init(struct rmap_run *run, struct folio *folio,
					  struct vm_area_struct *vma, unsigned long addr,
					  unsigned long nr)
{
	run->at.pfn = folio_pfn(folio);
	run->at.nr_pages = nr;
	run->at.pgoff = folio_pgoff(folio);
	run->at.vma = vma;
	run->at.address = addr;
	run->at.pmd = NULL;
	run->at.pte = NULL;
	run->at.ptl = NULL;
	run->at.flags = 0;
	run->folio = folio;
	run->nr = 0;
}

/* The first entry of a run, decoded, the page's own part included. */
static __always_inline struct pte_leaf rmap_run_leaf(const struct rmap_run *run)
{
	struct pte_leaf leaf = pte_leaf_decode(run->pte);

	if (folio_test_anon(run->folio) && PageAnonExclusive(run->page))
		leaf.flags |= LEAF_EXCLUSIVE;
	return leaf;
}

static inline bool rmap_pfn_wanted(const struct page_vma_mapped_walk *at, unsigned long pfn)
{
	return pfn - at->pfn < at->nr_pages;
}

static __always_inline pmd_t *rmap_find_pmd(struct mm_struct *mm, unsigned long address)
{
	pgd_t *pgd = pgd_offset(mm, address);
	p4d_t *p4d;
	pud_t *pud;

	if (unlikely(!pgd_present(*pgd)))
		return NULL;
	p4d = p4d_offset(pgd, address);
	if (unlikely(!p4d_present(*p4d)))
		return NULL;
	pud = pud_offset(p4d, address);
	/* A device may be mapped by a huge PUD. */
	if (unlikely(!pud_present(*pud) || pud_leaf(*pud)))
		return NULL;
	return pmd_offset(pud, address);
}

/* What a look for a table, or for an entry in it, came to. */
enum rmap_found {
	RMAP_FOUND,
	RMAP_ABSENT,	/* nothing is mapped there */
	RMAP_UNSURE,	/* nothing that is met often: let rmap_run_next() look */
};

/**
 * struct rmap_place - an entry of a page table
 * @pmd: the table's PMD; NULL: there is not even room for one
 * @seen: what it said
 * @pte: the entry, or NULL when @pmd is no table
 * @ptl: the table's lock
 */
struct rmap_place {
	pmd_t *pmd;
	pmd_t seen;
	pte_t *pte;
	spinlock_t *ptl;
};

/*
 * Does a PMD name a table? Huge and migrating ones do not. x86 needs but one test: there all
 * others are bad. MIPS, for one, calls huge ones good.
 */
static __always_inline bool rmap_pmd_is_table(pmd_t pmd)
{
	if (IS_ENABLED(CONFIG_X86))
		return !pmd_bad(pmd);
	return pmd_present(pmd) && !pmd_leaf(pmd) && !pmd_trans_huge(pmd) && !pmd_devmap(pmd) &&
	       !pmd_bad(pmd);
}

/*
 * pte_offset_map_nolock(), inlined where a PMD can be read at once and tables are always
 * mapped. NULL also for what is no table at all.
 */
static __always_inline pte_t *rmap_map_table(struct mm_struct *mm, unsigned long addr,
					     struct rmap_place *place)
{
#if defined(CONFIG_HIGHPTE) || defined(CONFIG_GUP_GET_PXX_LOW_HIGH)
	/* Read again by what is called: a table that comes and goes in between is not noticed. */
	place->seen = pmdp_get_lockless(place->pmd);
	return pte_offset_map_nolock(mm, place->pmd, addr, &place->ptl);
#else
	rcu_read_lock();
	place->seen = pmdp_get_lockless(place->pmd);
	if (unlikely(!rmap_pmd_is_table(place->seen))) {
		rcu_read_unlock();
		return NULL;
	}
	place->ptl = pte_lockptr(mm, &place->seen);
	return pte_offset_kernel(&place->seen, addr);
#endif
}

/**
 * rmap_enter - go to the entry of an address, without locking its table
 * @place: set to where that is
 * @mm: the address space
 * @addr: the address
 *
 * The RCU read lock, which mapping the table took, keeps the table. If it was unlinked since, its
 * entries were cleared before, or moved with the rmap locks held that the caller has one of.
 *
 * Context: an rmap lock of a VMA there is held. If found, pte_unmap(place->pte) is to follow.
 * Return: RMAP_FOUND, RMAP_ABSENT, or RMAP_UNSURE for a PMD that is huge or migrating.
 */
static __always_inline enum rmap_found rmap_enter(struct rmap_place *place, struct mm_struct *mm,
						  unsigned long addr)
{
	place->pte = NULL;
	place->pmd = rmap_find_pmd(mm, addr);
	if (unlikely(!place->pmd))
		return RMAP_ABSENT;
	place->pte = rmap_map_table(mm, addr, place);
	if (likely(place->pte))
		return RMAP_FOUND;
	return pmd_none(place->seen) ? RMAP_ABSENT : RMAP_UNSURE;
}

/*
 * Lock a table that was entered. False, and not locked, when it is a table no more, or perhaps
 * another one.
 */
static __always_inline bool rmap_lock(const struct rmap_place *place)
{
	spin_lock(place->ptl);
	if (likely(pmd_same(place->seen, pmdp_get_lockless(place->pmd))))
		return true;
	spin_unlock(place->ptl);
	return false;
}

/**
 * rmap_find_small - find the entry that maps a folio of one page
 * @run: the walk, just begun, without flags
 *
 * rmap_run_next(), inlined for what is met most: a page that is present, through a table.
 * For the unlocked look at the entry, see vma_walk.c.
 *
 * Context: an rmap lock of the VMA is held. Takes run->at.ptl if found.
 */
static __always_inline enum rmap_found rmap_find_small(struct rmap_run *run)
{
	struct page_vma_mapped_walk *at = &run->at;
	struct rmap_place place;
	enum rmap_found found = rmap_enter(&place, at->vma->vm_mm, at->address);

	if (unlikely(found != RMAP_FOUND))
		return found;
	run->pte = ptep_get_lockless(place.pte);
	if (unlikely(!pte_present(run->pte) || pte_pfn(run->pte) != at->pfn)) {
		pte_unmap(place.pte);
		return pte_none(run->pte) || pte_present(run->pte) ? RMAP_ABSENT : RMAP_UNSURE;
	}
	at->pmd = place.pmd;
	at->pte = place.pte;
	at->ptl = place.ptl;
	spin_lock(at->ptl);
	/* That the entry is as it was says of the table what rmap_lock() would. */
	if (unlikely(!pte_same(run->pte, ptep_get(at->pte)))) {
		/* Changed, perhaps in Accessed or Dirty only. */
		pte_unmap_unlock(at->pte, at->ptl);
		at->pte = NULL;
		at->ptl = NULL;
		return RMAP_UNSURE;
	}
	run->page = &run->folio->page;
	run->nr = 1;
	return RMAP_FOUND;
}

/* How many entries from @at on may belong to one run. */
static inline unsigned long rmap_run_room(const struct page_vma_mapped_walk *at,
					  unsigned long pfn, unsigned long end)
{
	unsigned long table = ((at->address & PMD_MASK) + PMD_SIZE - at->address) >> PAGE_SHIFT;

	return min3(at->pfn + at->nr_pages - pfn, table, (end - at->address) >> PAGE_SHIFT);
}

#ifdef CONFIG_ARCH_WANT_BATCHED_UNMAP_TLB_FLUSH
/**
 * rmap_flush_deferrable - may the flush of entries that were cleared be put off?
 * @mm: the address space
 * @flags: TTU_BATCH_FLUSH when the caller will call try_to_unmap_flush()
 * @once: nothing but the end of the batch will ask for the flush
 *
 * Always where other CPUs must be interrupted. Where only this CPU is concerned a flush of a
 * page is cheap, but a flush of everything once for many pages is cheaper: if it comes at the
 * end of the batch, and not before each page as for those that reclaim has to write.
 */
static __always_inline bool rmap_flush_deferrable(struct mm_struct *mm, enum ttu_flags flags,
						  bool once)
{
	return flags & TTU_BATCH_FLUSH &&
	       ((IS_ENABLED(CONFIG_X86) && once) || arch_tlbbatch_should_defer(mm));
}

void rmap_flush_defer(struct mm_struct *mm, unsigned long addr, unsigned long nr, pte_t pte);
#else
static inline bool rmap_flush_deferrable(struct mm_struct *mm, enum ttu_flags flags, bool once)
{
	return false;
}

static inline void rmap_flush_defer(struct mm_struct *mm, unsigned long addr, unsigned long nr,
				    pte_t pte)
{
}
#endif

void rmap_migrate_folios(struct folio **folios, unsigned int nr, enum ttu_flags flags);
void rmap_restore_folios(struct folio **src, struct folio **dst, unsigned int nr);

#ifdef CONFIG_HUGETLB_PAGE
bool rmap_hugetlb_unmap(struct folio *folio, struct vm_area_struct *vma, unsigned long addr,
			void *arg);
bool rmap_hugetlb_migrate(struct folio *folio, struct vm_area_struct *vma, unsigned long addr,
			  void *arg);
bool rmap_hugetlb_restore(struct folio *folio, struct vm_area_struct *vma, unsigned long addr,
			  void *arg);
bool rmap_hugetlb_step(struct page_vma_mapped_walk *at);
#else
static inline bool rmap_hugetlb_unmap(struct folio *folio, struct vm_area_struct *vma,
				      unsigned long addr, void *arg)
{
	return true;
}

static inline bool rmap_hugetlb_migrate(struct folio *folio, struct vm_area_struct *vma,
					unsigned long addr, void *arg)
{
	return true;
}

static inline bool rmap_hugetlb_restore(struct folio *folio, struct vm_area_struct *vma,
					unsigned long addr, void *arg)
{
	return true;
}

static inline bool rmap_hugetlb_step(struct page_vma_mapped_walk *at)
{
	return false;
}
#endif

#endif /* __MM_RMAP_RMAP_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Huge pages made later, of memory that is there.
 *
 *	settings.c	what khugepaged/ in sysfs says
 *	slots.c		which address spaces khugepaged looks through, and how far it is
 *	soon.c		where it goes first: faults that got no huge page
 *	used.c		and what it leaves, as nobody uses it
 *	thread.c	khugepaged, its rounds and its sleep
 *	madvise.c	MADV_COLLAPSE, MADV_HUGEPAGE, MADV_NOHUGEPAGE
 *	   |
 *	   v
 *	range.c		one PMD of a VMA: of anonymous memory, or of a file
 *	   |		 |
 *	   v		 v
 *	scan.c		file_scan.c		is it worth while?
 *	anon.c		file.c			do it
 *	ahead.c take.c		file_tables.c
 *	in_place.c swapin.c
 *	parts.c order.c				or smaller folios of what is worth it
 *	   |		 |
 *	   v		 v
 *	target.c		node, allocation, charge
 *
 * Calls go downwards. One collapse of anonymous memory:
 *
 *	state		what holds					taken back by
 *	SCANNED		the table was worth while, mmap_lock held for reading
 *	ALLOCATED	there is a huge page, charged; no lock		freeing it
 *	AHEAD		pages that nobody writes to are copied: locked	unlocking them
 *	LOCKED		mmap_lock, the VMA and anon_vma, for writing	letting go
 *	DETACHED	no CPU can reach the table: it is in no PMD	the table comes back
 *	TAKEN		its folios are locked; nobody else has them	unlocking them
 *	COPIED		the huge page holds what they hold		-
 *	MAPPED		it is in the PMD; they are let go of		-
 *
 * Each follows the one above. Where nobody else could be kept waiting, nothing is done AHEAD. A
 * table that maps one whole huge page needs no other one: it goes from SCANNED to LOCKED, and from
 * DETACHED to MAPPED.
 */
#ifndef MM_COLLAPSE_COLLAPSE_H
#define MM_COLLAPSE_COLLAPSE_H

#include <linux/bitmap.h>
#include <linux/khugepaged.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/sched/coredump.h>

#include "order.h"

/**
 * enum scan_result - how a look at one PMD, or its collapse, has ended
 *
 * The names, and what they are called there, are those of trace/events/huge_memory.h.
 */
enum scan_result {
	SCAN_FAIL,
	SCAN_SUCCEED,
	/* the PMD */
	SCAN_PMD_NULL,
	SCAN_PMD_NONE,
	SCAN_PMD_MAPPED,
	/* limits of the settings */
	SCAN_EXCEED_NONE_PTE,
	SCAN_EXCEED_SWAP_PTE,
	SCAN_EXCEED_SHARED_PTE,
	/* an entry */
	SCAN_PTE_NON_PRESENT,
	SCAN_PTE_UFFD_WP,
	SCAN_PTE_MAPPED_HUGEPAGE,
	/* all entries */
	SCAN_PAGE_RO,
	SCAN_LACK_REFERENCED_PAGE,
	/* a page */
	SCAN_PAGE_NULL,
	SCAN_SCAN_ABORT,
	SCAN_PAGE_COUNT,
	SCAN_PAGE_LRU,
	SCAN_PAGE_LOCK,
	SCAN_PAGE_ANON,
	SCAN_PAGE_COMPOUND,
	/* the address space */
	SCAN_ANY_PROCESS,
	SCAN_VMA_NULL,
	SCAN_VMA_CHECK,
	SCAN_ADDRESS_RANGE,
	SCAN_DEL_PAGE_LRU,
	/* the huge page */
	SCAN_ALLOC_HUGE_PAGE_FAIL,
	SCAN_CGROUP_CHARGE_FAIL,
	/* a file */
	SCAN_TRUNCATED,
	SCAN_PAGE_HAS_PRIVATE,
	SCAN_STORE_FAILED,
	SCAN_COPY_MC,
	SCAN_PAGE_FILLED,
};

enum collapse_state {
	COLLAPSE_SCANNED,
	COLLAPSE_ALLOCATED,
	COLLAPSE_AHEAD,
	COLLAPSE_LOCKED,
	COLLAPSE_DETACHED,
	COLLAPSE_TAKEN,
	COLLAPSE_COPIED,
	COLLAPSE_MAPPED,
};

/**
 * struct collapse_by - who wants huge pages, and where their memory may be
 * @khugepaged: it is khugepaged: the settings and their limits hold
 * @seen: nodes that memory of the range lies on
 * @load: how many pages on each of them; means nothing for others
 * @folios: room for those that are locked: of a table the large ones, of a file all; of parts of
 *	a table the new ones
 * @ahead: what entries say whose pages were copied ahead; none for others
 * @cleared: pages of the huge one that were cleared ahead
 * @layout: of a table that folios smaller than a PMD are made of
 */
struct collapse_by {
	bool khugepaged;
	nodemask_t seen;
	u32 load[MAX_NUMNODES];
	struct folio *folios[HPAGE_PMD_NR];
	pte_t ahead[HPAGE_PMD_NR];
	DECLARE_BITMAP(cleared, HPAGE_PMD_NR);
	struct collapse_layout layout;
};

/**
 * struct collapse_count - what the entries of a table are
 * @none: nothing, or the zero page
 * @swapped: not present
 * @shared: of folios that others are likely to map
 * @referenced: used lately
 * @uffd_wp: protected for a userfaultfd that is not asked, but notes who was written to
 * @writable: one at least can be written to, without its page being copied
 * @whole: all of them map one huge page as a PMD would
 * @page: the last page that was looked at, for traces
 */
struct collapse_count {
	unsigned int none;
	unsigned int swapped;
	unsigned int shared;
	unsigned int referenced;
	unsigned int uffd_wp;
	bool writable;
	bool whole;
	struct page *page;
};

/**
 * struct collapse - of one PMD of anonymous memory
 * @by: who wants it
 * @mm: the address space
 * @vma: its VMA; may have changed each time that mmap_lock was not held
 * @address: the first address of the PMD
 * @state: how far it is
 * @count: what there was in the table
 * @folio: the new huge page, until it is mapped
 * @pmd: the PMD
 * @table: what was in it
 * @large: folios in @by->folios
 * @given_back: the program has given memory of the table back: holes stay
 * @ahead: @by->ahead and @by->cleared mean something
 * @ahead_seq: collapse_lock_seq() when they were made
 * @hints: collapse_hint_scan() when entries were made read only and clean
 */
struct collapse {
	struct collapse_by *by;
	struct mm_struct *mm;
	struct vm_area_struct *vma;
	unsigned long address;
	enum collapse_state state;
	struct collapse_count count;
	struct folio *folio;
	pmd_t *pmd;
	pmd_t table;
	unsigned int large;
	bool given_back;
	bool ahead;
	unsigned int ahead_seq;
	unsigned long hints;
};

/**
 * collapse_lock_seq - goes up when somebody locks an address space for writing, and when he is done
 * @mm: the address space, mmap_lock held
 */
static inline unsigned int collapse_lock_seq(const struct mm_struct *mm)
{
#ifdef CONFIG_PER_VMA_LOCK
	return mm->mm_lock_seq.sequence;
#else
	return 0;
#endif
}

/**
 * collapse_hint_scan - changes when a scan begins that makes entries fault for NUMA hints
 * @mm: the address space
 *
 * That needs mmap_lock for reading only, and no folio's lock: so what was writable for a moment may
 * look as if it had not been. It takes two scans, as entries that are hints are not copied ahead.
 */
static inline unsigned long collapse_hint_scan(const struct mm_struct *mm)
{
#ifdef CONFIG_NUMA_BALANCING
	return READ_ONCE(mm->numa_next_scan);
#else
	return 0;
#endif
}

/* The one place where the state changes. */
static inline void collapse_to(struct collapse *c, enum collapse_state state)
{
	VM_WARN_ON_ONCE(state <= c->state);
	c->state = state;
}

/* --- settings.c ------------------------------------------------------------------------- */

/**
 * struct collapse_settings - the files of khugepaged/
 * @pages_to_scan: entries of a round; a PMD has 512, a VMA counts as one
 * @scan_sleep_ms: between rounds
 * @alloc_sleep_ms: when there was no huge page
 * @max_ptes_swap: entries that may be swapped out
 * @max_ptes_shared: entries of folios that others are likely to map
 * @max_idle_sweeps: what was used longer ago is left, where idle ages are kept; 0: it is not
 * @collapsed: huge pages made
 * @folios_collapsed: smaller folios made
 * @full_scans: times that all address spaces were looked through
 */
struct collapse_settings {
	unsigned int pages_to_scan;
	unsigned int scan_sleep_ms;
	unsigned int alloc_sleep_ms;
	unsigned int max_ptes_swap;
	unsigned int max_ptes_shared;
	unsigned int max_idle_sweeps;
	unsigned int collapsed;
	unsigned int folios_collapsed;
	unsigned int full_scans;
};

extern struct collapse_settings collapse_settings;

bool collapse_pmd_enabled(void);
bool collapse_enabled(void);
void __init collapse_settings_init(void);

/* --- slots.c ---------------------------------------------------------------------------- */

int __init collapse_slots_init(void);
void __init collapse_slots_exit(void);
bool collapse_slots_empty(void);
bool collapse_slots_at_start(void);
unsigned int collapse_slots_scan(struct collapse_by *by, unsigned int budget,
				 enum scan_result *result);
void collapse_slots_forget(void);

/**
 * struct collapse_place - a PMD of an address space that may have gone
 * @mm: the address space
 * @address: the first address
 * @tries: times that it was visited
 */
struct collapse_place {
	struct mm_struct *mm;
	unsigned long address;
	unsigned int tries;
};

enum scan_result collapse_slots_visit(struct collapse_by *by, const struct collapse_place *place);

/* --- soon.c ----------------------------------------------------------------------------- */

unsigned int collapse_soon_scan(struct collapse_by *by, unsigned int budget,
				enum scan_result *result);

/* --- madvise.c -------------------------------------------------------------------------- */

int collapse_errno(enum scan_result result);
bool collapse_goes_on(enum scan_result result);

/* --- thread.c --------------------------------------------------------------------------- */

extern struct collapse_by khugepaged_collapse_control;

void collapse_thread_wake(void);
void collapse_thread_wake_now(void);

/* --- range.c ---------------------------------------------------------------------------- */

bool collapse_mm_ends(struct mm_struct *mm);
bool collapse_mm_is_out(struct mm_struct *mm);
unsigned long collapse_orders(struct vm_area_struct *vma);
enum scan_result collapse_find_vma(struct mm_struct *mm, unsigned long addr,
				   const struct collapse_by *by, struct vm_area_struct **vma);
enum scan_result collapse_find_table(struct mm_struct *mm, unsigned long addr, pmd_t **pmd);
enum scan_result collapse_range(struct collapse_by *by, struct vm_area_struct *vma,
				unsigned long addr, bool *locked);

/* --- scan.c ----------------------------------------------------------------------------- */

/* Can it be the zero page? Where there is a bit for what is no common page, it has that. */
static inline bool pte_may_be_zero(pte_t pte)
{
	return pte_present(pte) && (pte_special(pte) || !IS_ENABLED(CONFIG_ARCH_HAS_PTE_SPECIAL));
}

/* Entries that are nothing, or stand for nothing: the same to a reader. */
static inline bool pte_is_empty(pte_t pte)
{
	return pte_none(pte) || (pte_may_be_zero(pte) && is_zero_pfn(pte_pfn(pte)));
}

/**
 * collapse_pte_is_plain - does an entry map a page and say nothing else?
 * @pte: the entry
 */
static inline bool collapse_pte_is_plain(pte_t pte)
{
	return IS_ENABLED(CONFIG_ARCH_HAS_PTE_SPECIAL) && pte_present(pte) && !pte_special(pte) &&
	       !pte_devmap(pte) && !pte_uffd_wp(pte);
}

/*
 * Small, on its LRU list, not lazily freed, in no cache, unlocked. Tails, and pages of devices,
 * are on no list.
 */
#define COLLAPSE_CARE	(COLLAPSE_PLAIN | BIT(PG_locked) | BIT(PG_head) | BIT(PG_swapcache) | \
			 BIT(PG_private))
#define COLLAPSE_PLAIN	(BIT(PG_lru) | BIT(PG_swapbacked))

/*
 * The flag of pages that a write fault leaves where they are: an entry may be read only and yet as
 * good as writable. Where the VMA is not, there is none.
 */
static inline unsigned long collapse_writable_flag(const struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_WRITE ? BIT(PG_anon_exclusive) : 0;
}

/* Anonymous, not of KSM, mapped once, and nobody else has a reference. */
static inline bool collapse_page_is_once(const struct page *page)
{
	return ((unsigned long)page->mapping & PAGE_MAPPING_FLAGS) == PAGE_MAPPING_ANON &&
	       !atomic_read(&page->_mapcount) && page_ref_count(page) == 1;
}

/**
 * collapse_folio_is_ours - has nobody a reference but mappings and caches?
 * @folio: the folio
 *
 * Without the folio's lock, and while somebody can map it, it may be different the next moment.
 */
static inline bool collapse_folio_is_ours(const struct folio *folio)
{
	int mapped = folio_mapcount(folio), refs = mapped + folio_test_private(folio);

	if (!folio_test_anon(folio) || folio_test_swapcache(folio))
		refs += folio_nr_pages(folio);
	if (!folio_test_large(folio))
		return folio_ref_count(folio) == refs;
	/* A mapping of another part that goes in between, and a pin, would be none of both. */
	smp_rmb();
	if (folio_ref_count(folio) != refs)
		return false;
	smp_rmb(); /* as above */
	return folio_mapcount(folio) == mapped;
}

enum scan_result collapse_judge(struct collapse *c, pte_t *ptep, unsigned long addr,
				unsigned long max, struct folio **folio, unsigned long *nr);
enum scan_result collapse_judge_all(struct collapse *c);
enum scan_result collapse_scan(struct collapse *c);

/* --- used.c ------------------------------------------------------------------------------- */

unsigned int collapse_idle_limit(unsigned int scan, unsigned int most);
bool collapse_table_is_idle(const struct collapse_by *by, pte_t *table);

/* --- given_back.c ------------------------------------------------------------------------- */

void collapse_want_again(struct vm_area_struct *vma);

/* The page that holds a page table; nothing else uses the flag there. */
static inline bool collapse_is_given_back(pmd_t table)
{
	return test_bit(PG_workingset, &pmd_page(table)->flags);
}

static inline void collapse_forget_given_back(pmd_t table)
{
	if (collapse_is_given_back(table))
		clear_bit(PG_workingset, &pmd_page(table)->flags);
}

/* --- anon.c, ahead.c, take.c, in_place.c, swapin.c --------------------------------------- */

enum scan_result collapse_anon(struct collapse *c);
enum scan_result collapse_anon_find(struct collapse *c);
struct folio *collapse_lock_plain(pte_t pte);
pte_t collapse_protect(struct collapse *c, pte_t *ptep, unsigned long addr, struct folio *folio);
enum scan_result collapse_ahead(struct collapse *c);
void collapse_ahead_check(struct collapse *c, pte_t *table);
unsigned long collapse_ahead_take(struct collapse *c, unsigned long i);
void collapse_ahead_release(struct collapse *c, unsigned long first);
enum scan_result collapse_take(struct collapse *c, pte_t *table);
void collapse_give_back(struct collapse *c, pte_t *table, unsigned long nr);
enum scan_result collapse_copy(struct collapse *c, pte_t *table);
void collapse_let_go(struct collapse *c, pte_t *table, spinlock_t *ptl);
bool collapse_is_whole(struct vm_area_struct *vma, unsigned long addr, pte_t *table);
pmd_t collapse_in_place(struct collapse *c, pte_t *table);
enum scan_result collapse_swapin(struct collapse *c);

/* --- parts.c ---------------------------------------------------------------------------- */

void collapse_parts(struct collapse_by *by, struct mm_struct *mm, unsigned long where,
		    bool *locked);

/* --- target.c --------------------------------------------------------------------------- */

void collapse_nodes_clear(struct collapse_by *by);
bool collapse_node_new(struct collapse_by *by, int nid, unsigned long nr);

/**
 * collapse_node_add - pages were seen on a node
 * @by: who wants huge pages
 * @nid: the node
 * @nr: how many
 *
 * Return: false if no node can be right for all.
 */
static inline bool collapse_node_add(struct collapse_by *by, int nid, unsigned long nr)
{
	if (!node_isset(nid, by->seen))
		return collapse_node_new(by, nid, nr);
	by->load[nid] += nr;
	return true;
}

enum scan_result collapse_alloc(struct collapse_by *by, struct mm_struct *mm,
				unsigned int order, struct folio **folio);

/* --- file_scan.c, file.c, file_tables.c ------------------------------------------------- */

enum scan_result collapse_file_scan(struct collapse_by *by, struct mm_struct *mm,
				    unsigned long addr, struct file *file, pgoff_t first);
enum scan_result collapse_file(struct collapse_by *by, struct mm_struct *mm, unsigned long addr,
			       struct file *file, pgoff_t first, bool complete);
void collapse_retract_tables(struct address_space *mapping, pgoff_t first);

#endif /* MM_COLLAPSE_COLLAPSE_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * From a folio to its page tables: gather and clear Accessed bits.
 *
 *	folio --rmap_walk()--> VMA --> page table, locked
 *	                                 |
 *	   own run:      |. . r r r r . . . . . . .|   the folio that led here
 *	   look-around:  |a a . . . . b c c c . d .|   others, finished on the spot
 *
 * A *run* is a stretch of entries of one page table that map consecutive pages of
 * one folio; a PMD entry is a run of one.
 *
 * The look-around. Most folios are mapped by one table only, and their neighbours in
 * that table are often frames of the same window. While the table is locked, a folio
 * all of whose mappings are in the run at hand (its map count equals the run's
 * length) is finished without a walk of its own. Under the page table lock the
 * entries cannot change, each holds a reference on its folio, and fork cannot copy
 * them; another process may fault a file page in meanwhile, as it may right after a
 * walk. Folios with other mappings are left to their own walk.
 *
 * What it may cost is bounded: a table is looked around for folios mapped once only,
 * at most once per window and VMA (a hash of tables seen; a collision loses a
 * shortcut, never an answer), and a look-around that finds little makes the sweep
 * leave out the next ones, twice as many each time.
 */
#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/rmap.h>

#include "../internal.h"
#include "../pte/run.h"
#include "idle.h"

/* A look-around that finishes fewer folios than this did not pay. */
#define IDLE_LOOK_PAYS		8
#define IDLE_BACKOFF_MAX	63

/**
 * struct idle_walk - one folio's walk through the reverse map
 * @sweep: the sweep it belongs to
 * @folio: the folio
 * @nr: its pages
 * @pfn: its first frame
 * @found: mappings seen so far
 * @referenced: an Accessed bit was set
 * @shared: it had several mappings when the walk began
 */
struct idle_walk {
	struct idle_sweep *sweep;
	struct folio *folio;
	unsigned long nr;
	unsigned long pfn;
	int found;
	bool referenced;
	bool shared;
};

/**
 * struct idle_look - one look-around
 * @vma: the VMA; its part of the page table is looked at
 * @addr: where it begins
 * @end: where the table or the VMA ends
 * @ptep: entry of @addr, its table locked
 * @finished: folios finished so far
 */
struct idle_look {
	struct vm_area_struct *vma;
	unsigned long addr;
	unsigned long end;
	pte_t *ptep;
	unsigned long finished;
};

/* A run's Accessed bits, secondary MMUs included. No TLB flush: see idle.rst. */
static __always_inline unsigned long idle_harvest_run(struct vm_area_struct *vma,
						      unsigned long addr, pte_t *ptep,
						      unsigned long max, bool *young)
{
	unsigned long nr = pte_run_harvest(vma, addr, ptep, max, young);

	*young |= idle_clear_secondary(vma->vm_mm, addr, addr + nr * PAGE_SIZE);
	return nr;
}

/*
 * Is a look-around of the @vma's part of the block at @block worth its price? Asked once;
 * a yes is remembered. VMAs that may map frames in other than the counted way are left
 * alone; in the others only the zero page is mapped so, and it is on no LRU list.
 */
static bool idle_look_allowed(struct idle_sweep *s, struct vm_area_struct *vma,
			      unsigned long block)
{
	unsigned long key = (unsigned long)vma ^ block;

	if (vma->vm_flags & (VM_PFNMAP | VM_MIXEDMAP | VM_IO) || vma_is_dax(vma))
		return false;
	if (s->skip) {
		s->skip--;
		return false;
	}
	return !__test_and_set_bit(hash_long(key, IDLE_TABLE_HASH), s->tables);
}

static void idle_look_paid(struct idle_sweep *s, unsigned long finished)
{
	s->harvested += finished;
	if (finished >= IDLE_LOOK_PAYS)
		s->backoff = 0;
	else
		s->backoff = min(2 * s->backoff + 1, IDLE_BACKOFF_MAX);
	s->skip = s->backoff;
}

/*
 * A folio of one page that is on an LRU list and mapped once: three tests of two
 * words. Typed pages have a negative count. A zero page or device memory is on no
 * list, so an entry that maps it never gets here.
 */
static __always_inline bool idle_small_mapped_once(struct folio *folio)
{
	const unsigned long mask = BIT(PG_lru) | BIT(PG_head);

	return (READ_ONCE(folio->flags) & mask) == BIT(PG_lru) &&
	       atomic_read(&folio->_mapcount) == 0;
}

/*
 * The run of a large folio that begins at @addr: finish the folio if it has no other
 * mapping. Returns how many entries to step over.
 *
 * The length is known only when the bits are cleared. Where it falls short of the map
 * count, what was found is noted at once, as a folio's own walk would have noted it,
 * and that walk comes later. A count that no run can reach is seen before.
 */
static __always_inline unsigned long idle_look_large(struct idle_sweep *s, enum idle_op op,
						     struct idle_look *l, unsigned long pfn,
						     unsigned long addr, pte_t *ptep)
{
	struct folio *folio = page_folio(pfn_to_page(pfn));
	unsigned long head = folio_pfn(folio), off = head - s->start;
	unsigned long left = head + folio_nr_pages(folio) - pfn;
	unsigned long nr, max = min(left, (l->end - addr) >> PAGE_SHIFT);
	unsigned long mapped = folio_large_mapcount(folio);
	bool young;

	if (off >= s->nr || mapped > max || test_bit(off, s->done) || !folio_test_lru(folio) ||
	    !idle_sweep_wants(op, folio))
		return 1;
	nr = idle_harvest_run(l->vma, addr, ptep, max, &young);
	if (nr == mapped) {
		idle_sweep_done(s, off, folio_nr_pages(folio));
		idle_sweep_finish(s, op, folio, off, young);
		l->finished++;
	} else if (young) {
		idle_sweep_note(op, folio);
		if (op == IDLE_AGE)
			idle_ages_touch(folio);
	}
	return nr;
}

/*
 * Every entry from @l->addr to @l->end. This loop is what a sweep of ordinary memory
 * spends its time in, so there is one of it for each operation.
 *
 * A frame that the sweep does not want is done as well: its bit says that there is
 * nothing to do. A secondary MMU cannot appear meanwhile, because registering one takes
 * every anon_vma and i_mmap lock of the process, and one of them is held here.
 */
static __always_inline void idle_look_at(struct idle_sweep *s, enum idle_op op,
					 struct idle_look *l)
{
	const unsigned long start = s->start, frames = s->nr, end = l->end;
	const bool secondary = idle_has_secondary(l->vma->vm_mm);
	unsigned long addr, off, nr, finished = 0;
	pte_t pte, *ptep = l->ptep;
	struct folio *folio;
	bool young;

	for (addr = l->addr; addr < end; addr += PAGE_SIZE, ptep++) {
		pte = ptep_get(ptep);
		if (!pte_present(pte))
			continue;
		off = pte_pfn(pte) - start;
		if (off >= frames)
			continue;
		folio = (struct folio *)pfn_to_page(off + start);
		if (!idle_small_mapped_once(folio)) {
			if (!PageCompound(&folio->page))
				continue;
			nr = idle_look_large(s, op, l, off + start, addr, ptep) - 1;
			addr += nr << PAGE_SHIFT;
			ptep += nr;
			continue;
		}
		if (__test_and_set_bit(off, s->done) || !idle_sweep_wants(op, folio))
			continue;
		young = pte_young(pte) && pte_run_clear_young(l->vma, addr, ptep);
		if (unlikely(secondary))
			young |= idle_clear_secondary(l->vma->vm_mm, addr, addr + PAGE_SIZE);
		idle_sweep_finish(s, op, folio, off, young);
		finished++;
	}
	l->finished += finished;
}

static noinline void idle_look_read(struct idle_sweep *s, struct idle_look *l)
{
	idle_look_at(s, IDLE_READ, l);
}

static noinline void idle_look_mark(struct idle_sweep *s, struct idle_look *l)
{
	idle_look_at(s, IDLE_MARK, l);
}

static noinline void idle_look_age(struct idle_sweep *s, struct idle_look *l)
{
	idle_look_at(s, IDLE_AGE, l);
}

/*
 * @here mappings of the walked folio were found in the table that is locked, the first
 * of them at @ptep, for @addr or behind it. Only a folio that has no others promises
 * that its neighbours are such too: then look around in the table. A secondary MMU is
 * asked page by page under this lock, so there the look is a short one.
 */
static void idle_look_around(struct idle_walk *w, struct vm_area_struct *vma,
			     unsigned long addr, pte_t *ptep, int here)
{
	unsigned long span = idle_has_secondary(vma->vm_mm) ? 64 * PAGE_SIZE : PMD_SIZE;
	unsigned long block = addr & ~(span - 1);
	struct idle_sweep *s = w->sweep;
	struct idle_look l = {
		.vma = vma,
		.addr = max(block, vma->vm_start),
		.end = min(block + span - 1, vma->vm_end - 1) + 1,
	};

	if (here != folio_mapcount(w->folio) || !idle_look_allowed(s, vma, block))
		return;
	l.ptep = ptep - ((addr - l.addr) >> PAGE_SHIFT);
	if (s->op == IDLE_READ)
		idle_look_read(s, &l);
	else if (s->op == IDLE_MARK)
		idle_look_mark(s, &l);
	else
		idle_look_age(s, &l);
	idle_look_paid(s, l.finished);
}

/*
 * An Accessed bit of the folio at hand is found. Noted under the page table lock, or before the
 * bit is cleared, so that another sweep, which finds the bit gone, finds the folio busy.
 */
static void idle_walk_note(struct idle_walk *w)
{
	w->referenced = true;
	idle_sweep_note(w->sweep->op, w->folio);
}

/* The entries from @addr to @end, all of one page table. */
static void idle_walk_ptes(struct idle_walk *w, struct vm_area_struct *vma, unsigned long addr,
			   unsigned long end, pmd_t *pmd)
{
	unsigned long nr, page, begin = addr;
	pte_t *first, *ptep, pte;
	spinlock_t *ptl;
	int here = 0;
	bool young;

	first = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	if (!first)
		return;
	for (ptep = first; addr < end; addr += nr << PAGE_SHIFT, ptep += nr) {
		nr = 1;
		pte = ptep_get(ptep);
		page = pte_pfn(pte) - w->pfn;
		if (!pte_present(pte) || page >= w->nr)
			continue;
		nr = idle_harvest_run(vma, addr, ptep,
				      min(w->nr - page, (end - addr) >> PAGE_SHIFT), &young);
		if (young)
			idle_walk_note(w);
		here += nr;
	}
	w->found += here;
	if (here)
		idle_look_around(w, vma, begin, first, here);
	pte_unmap_unlock(first, ptl);
}

/*
 * Make an entry old without its table's lock: only where the CPU itself sets bits of entries
 * with atomic operations, so that whoever changes one reckons with that, and where an entry is
 * by itself. Exchanged is the very value that was read; had the entry changed, or moved, in
 * between, this fails. The note comes first, as for all to whom the lock is not the order.
 */
static bool idle_small_make_old(struct idle_walk *w, pte_t *ptep, pte_t pte)
{
#ifdef CONFIG_X86_64
	pteval_t old = pte_val(pte);

	idle_walk_note(w);
	return try_cmpxchg((pteval_t *)ptep, &old, old & ~_PAGE_ACCESSED);
#else
	return false;
#endif
}

/*
 * Can the entry at @addr of a folio of one page do without its table's lock? One that maps
 * another page or is old can: the value was read in one go, RCU and the reverse map's lock keep
 * the table from being freed until pte_unmap(), and an access after the read is one after the
 * walk. A young one is made old, see above. Entries that a secondary MMU may have used, or
 * that cannot be read in one go, are for the locked path.
 */
static bool idle_small_unlocked(struct idle_walk *w, struct vm_area_struct *vma,
				unsigned long addr, pmd_t *pmd)
{
	pte_t *ptep, pte;
	bool here, done;

	if (IS_ENABLED(CONFIG_GUP_GET_PXX_LOW_HIGH) || idle_has_secondary(vma->vm_mm))
		return false;
	ptep = pte_offset_map(pmd, addr);
	if (!ptep)
		return true;
	pte = ptep_get_lockless(ptep);
	here = pte_present(pte) && pte_pfn(pte) == w->pfn;
	done = !here || !pte_young(pte) || idle_small_make_old(w, ptep, pte);
	pte_unmap(ptep);
	if (!here || !done)
		return done;
	/*
	 * If another sweep has just cleared the bit, it cleared the idle flag before
	 * that, with the full barrier of a test-and-clear between.
	 */
	smp_rmb();
	w->found++;
	return true;
}

/*
 * The one entry at @addr, for a folio of one page. A table that has become a huge page
 * or gone away is refused by pte_offset_map_lock().
 */
static void idle_walk_small(struct idle_walk *w, struct vm_area_struct *vma, unsigned long addr)
{
	pmd_t *pmd = mm_find_pmd(vma->vm_mm, addr);
	spinlock_t *ptl;
	pte_t *ptep, pte;

	if (!pmd || (w->shared && idle_small_unlocked(w, vma, addr, pmd)))
		return;
	ptep = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	if (!ptep)
		return;
	pte = ptep_get(ptep);
	if (pte_present(pte) && pte_pfn(pte) == w->pfn) {
		w->found++;
		if (idle_clear_secondary(vma->vm_mm, addr, addr + PAGE_SIZE))
			idle_walk_note(w);
		if (pte_young(pte)) {
			/* In this order, for idle_small_unlocked() in another task. */
			idle_walk_note(w);
			pte_run_clear_young(vma, addr, ptep);
		}
		idle_look_around(w, vma, addr, ptep, 1);
	}
	pte_unmap_unlock(ptep, ptl);
}

/* A PMD that was seen to map a huge page. False when it does so no more. */
static bool idle_walk_pmd(struct idle_walk *w, struct vm_area_struct *vma, unsigned long addr,
			  pmd_t *pmd)
{
	spinlock_t *ptl = pmd_lock(vma->vm_mm, pmd);
	bool huge = pmd_trans_huge(*pmd);

	if (huge && pmd_pfn(*pmd) == w->pfn) {
		if (pmdp_clear_young_notify(vma, addr, pmd))
			idle_walk_note(w);
		w->found++;
	}
	spin_unlock(ptl);
	return huge;
}

/* The pages of a large folio from @addr on, in all page tables of the VMA. */
static void idle_walk_large(struct idle_walk *w, struct vm_area_struct *vma, unsigned long addr)
{
	unsigned long next, end;
	pmd_t *pmd;

	/* Never KSM, so its index is its place. The sum may wrap at the top. */
	end = vma->vm_start + ((folio_pgoff(w->folio) + w->nr - vma->vm_pgoff) << PAGE_SHIFT);
	if (end > vma->vm_end || end < vma->vm_start)
		end = vma->vm_end;
	for (; addr < end; addr = next) {
		next = pmd_addr_end(addr, end);
		pmd = mm_find_pmd(vma->vm_mm, addr);
		if (!pmd)
			continue;
		if (pmd_trans_huge(pmdp_get_lockless(pmd)) &&
		    idle_walk_pmd(w, vma, addr & PMD_MASK, pmd))
			continue;
		idle_walk_ptes(w, vma, addr, next, pmd);
	}
}

/* rmap_walk() calls this for each VMA that may map the folio, from @addr on. */
static bool idle_walk_vma(struct folio *folio, struct vm_area_struct *vma, unsigned long addr,
			  void *arg)
{
	struct idle_walk *w = arg;

	if (w->nr == 1)
		idle_walk_small(w, vma, addr);
	else
		idle_walk_large(w, vma, addr);
	/*
	 * A folio that had one mapping, has one, and was seen needs no more VMAs. With
	 * several the count is no guide: it falls when a mapping goes that was seen
	 * already, fork() may just have added the one that was seen, and KSM offers the
	 * same VMA twice.
	 */
	return w->shared || !w->found || folio_mapcount(folio) > 1;
}

/**
 * idle_walk_folio - gather and clear the Accessed bits of all mappings of a folio
 * @s: the sweep; other folios of its window may be finished on the way
 * @folio: the folio, referenced by the caller and on an LRU list
 * @referenced: set when an Accessed bit was found
 *
 * Context: process, sleeps on the reverse map's lock. File and KSM folios need the
 * folio lock, which is only tried: a folio locked elsewhere is not waited for.
 *
 * Return: false when the folio's mappings could not be visited.
 */
bool idle_walk_folio(struct idle_sweep *s, struct folio *folio, bool *referenced)
{
	struct idle_walk w = {
		.sweep = s,
		.folio = folio,
		.nr = folio_nr_pages(folio),
		.pfn = folio_pfn(folio),
		.shared = folio_mapcount(folio) > 1,
	};
	struct rmap_walk_control rwc = {
		.rmap_one = idle_walk_vma,
		.anon_lock = folio_lock_anon_vma_read,
		.arg = &w,
	};
	bool lock;

	if (!folio_mapped(folio) || !folio_raw_mapping(folio))
		return true;
	lock = !folio_test_anon(folio) || folio_test_ksm(folio);
	if (lock && !folio_trylock(folio))
		return false;
	rmap_walk(folio, &rwc);
	if (lock)
		folio_unlock(folio);
	s->walked++;
	*referenced = w.referenced;
	return true;
}

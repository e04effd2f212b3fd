// SPDX-License-Identifier: GPL-2.0
/*
 * Entries of one page table are moved to another, a run at a time.
 *
 *	look	what is the first entry? None of what follows trusts that
 *	take	folios locked, with a reference, as many as are free and belong to one anon_vma
 *	lock	the anon_vma, and both tables
 *	check	each folio is still there, as a whole, with no mapping but this one, and no pins;
 *		there is room for it
 *	clear	the source's entries; one flush
 *	pins	those that have become pinned meanwhile are put back, with all behind them
 *	set	anon_vma, index, and the destination's entries
 *
 * A folio is moved whole. One of which only a part is wanted, or has room, is split first.
 *
 * GUP-fast takes a reference and looks at the entry again; here entries are cleared, and then
 * references are looked at. So either it sees that the entry has changed, or we see the reference.
 */
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <asm/tlbflush.h>

#include "../pte/run.h"
#include "uffd.h"

/* Folios that are moved together. */
#define MOVE_BATCH	32

/**
 * struct move_run - folios that lie one behind the other
 * @m: the move
 * @nr: how many
 * @pages: in them
 * @folios: locked, each with a reference
 * @was: what the source's entries said, Accessed and Dirty gathered over each folio
 */
struct move_run {
	struct uffd_move *m;
	unsigned int nr;
	unsigned long pages;
	struct folio *folios[MOVE_BATCH];
	pte_t was[MOVE_BATCH];
};

/* --- both tables ------------------------------------------------------------------------ */

/* Find both entries. They may change until the tables are locked. */
static __always_inline bool move_tables_map(struct uffd_move *m, struct move_tables *t)
{
	t->dst = pte_offset_map_nolock(m->mm, m->dst_pmd, m->dst, &t->dst_ptl);
	if (!t->dst)
		return false;
	t->src = pte_offset_map_nolock(m->mm, m->src_pmd, m->src, &t->src_ptl);
	if (t->src)
		return true;
	pte_unmap(t->dst);
	return false;
}

/* The last that was mapped goes first, as kmap_local wants it. */
static __always_inline void move_tables_unmap(struct move_tables *t)
{
	pte_unmap(t->src);
	pte_unmap(t->dst);
}

/**
 * move_tables_lock - lock both page tables of a move
 * @m: the move; its VMAs are locked
 * @t: where the entries are
 *
 * Tables of private anonymous memory do not go away while their VMA is locked: who exchanges one
 * for a huge page has mmap_lock for writing. So this fails only where there is none yet.
 *
 * Context: sleeping is forbidden until move_tables_unlock().
 * Return: whether there are two tables.
 */
bool move_tables_lock(struct uffd_move *m, struct move_tables *t)
{
	if (!move_tables_map(m, t))
		return false;
	double_pt_lock(t->dst_ptl, t->src_ptl);
	return true;
}

/**
 * move_tables_unlock - undo move_tables_lock()
 * @t: the tables
 */
void move_tables_unlock(struct move_tables *t)
{
	double_pt_unlock(t->dst_ptl, t->src_ptl);
	move_tables_unmap(t);
}

/* --- nothing, and zero pages ------------------------------------------------------------ */

static unsigned long count_holes(struct move_tables *t, unsigned long max)
{
	unsigned long nr = 0;

	while (nr < max && pte_none(ptep_get(t->src + nr)) && pte_none(ptep_get(t->dst + nr)))
		nr++;
	return nr;
}

static bool pte_is_zero_page(pte_t pte)
{
	return pte_present(pte) && is_zero_pfn(pte_pfn(pte));
}

/* Zero pages vanish here and appear there. */
static unsigned long move_zeroes(struct uffd_move *m, struct move_tables *t, unsigned long max)
{
	unsigned long nr = 0, dst = m->dst, src = m->src;

	for (; nr < max && pte_is_zero_page(ptep_get(t->src + nr)) &&
	     pte_none(ptep_get(t->dst + nr)); nr++) {
		ptep_get_and_clear(m->mm, src + nr * PAGE_SIZE, t->src + nr);
		set_pte_at(m->mm, dst + nr * PAGE_SIZE, t->dst + nr,
			   pte_mkspecial(pfn_pte(my_zero_pfn(dst + nr * PAGE_SIZE),
						 m->dst_vma->vm_page_prot)));
	}
	if (nr)
		flush_tlb_range(m->src_vma, src, src + nr * PAGE_SIZE);
	return nr;
}

/*
 * Who exchanges an entry (a migration, a change of protection) leaves it empty for a moment,
 * with the table locked: only under the lock is what looks like a hole one.
 */
static int move_nothing(struct uffd_move *m, bool zero)
{
	struct move_tables t;
	unsigned long nr;

	if (!move_tables_lock(m, &t))
		return -EAGAIN;
	nr = zero ? move_zeroes(m, &t, move_pages_left(m)) : count_holes(&t, move_pages_left(m));
	move_tables_unlock(&t);
	if (nr && !zero && !(m->mode & UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES))
		return -ENOENT;
	move_advance(m, nr);
	return nr ? 0 : -EAGAIN;
}

/* --- pages: take ------------------------------------------------------------------------ */

/* Is all of a folio here, from entry @ptep on, and wanted, and aligned where it goes? */
static __always_inline bool run_has_all(struct move_run *r, struct folio *folio, pte_t *ptep,
					pte_t pte, unsigned long max)
{
	unsigned long nr = folio_nr_pages(folio);

	if (nr == 1)
		return true;
	return nr <= max && pte_pfn(pte) == folio_pfn(folio) &&
	       IS_ALIGNED(linear_page_index(r->m->dst_vma, r->m->dst) + r->pages, nr) &&
	       pte_run_alike(ptep, pte, nr) == nr;
}

/*
 * Take the folio of one entry, if it can be had at once.
 * Return: 0; -EBUSY for a page that is not this process's alone; -EAGAIN when somebody has it
 * locked, with a reference in *@busy to wait with; -E2BIG, with the folio taken, when it must be
 * split.
 */
static __always_inline int run_take_one(struct move_run *r, pte_t *ptep, unsigned long max,
					struct folio **busy)
{
	pte_t pte = ptep_get(ptep);
	struct folio *folio;

	if (!pte_present(pte) || is_zero_pfn(pte_pfn(pte)))
		return -EAGAIN;
	/* No driver's memory: move_check(). */
	if (pte_special(pte))
		return -EBUSY;
	folio = page_folio(pte_page(pte));
	if (!folio_test_anon(folio) || !PageAnonExclusive(pte_page(pte)))
		return -EBUSY;
	if (!folio_trylock(folio)) {
		/* Who waits with a reference on a large folio keeps others from splitting it. */
		if (busy && !folio_test_large(folio)) {
			folio_get(folio);
			*busy = folio;
		}
		return -EAGAIN;
	}
	folio_get(folio);
	r->folios[r->nr] = folio;
	return run_has_all(r, folio, ptep, pte, max) ? 0 : -E2BIG;
}

static void run_drop_one(struct folio *folio)
{
	folio_unlock(folio);
	folio_put(folio);
}

static void run_count(struct move_run *r)
{
	r->pages += folio_nr_pages(r->folios[r->nr]);
	r->nr++;
}

/* One more behind the others, of the same anon_vma. Return: was there one? */
static bool run_take_next(struct move_run *r, pte_t *ptep, unsigned long max)
{
	int err = run_take_one(r, ptep, max, NULL);

	if (!err && r->folios[r->nr]->mapping == r->folios[0]->mapping) {
		run_count(r);
		return true;
	}
	if (!err || err == -E2BIG)
		run_drop_one(r->folios[r->nr]);
	return false;
}

/*
 * Take as many folios as there are, one behind the other.
 * Return: 0 with at least one; or as run_take_one(), of the first.
 */
static int run_take(struct move_run *r, struct move_tables *t, struct folio **busy)
{
	unsigned long max = move_pages_left(r->m);
	int err;

	spin_lock(t->src_ptl);
	err = run_take_one(r, t->src, max, busy);
	if (!err || err == -E2BIG)
		run_count(r);
	while (!err && r->pages < max && r->nr < MOVE_BATCH)
		if (!run_take_next(r, t->src + r->pages, max - r->pages))
			break;
	spin_unlock(t->src_ptl);
	return err;
}

/* All but the first few. */
static void run_drop(struct move_run *r, unsigned int keep)
{
	while (r->nr > keep)
		run_drop_one(r->folios[--r->nr]);
}

/* --- pages: check, clear, set ----------------------------------------------------------- */

static bool entries_none(pte_t *ptep, unsigned long nr)
{
	unsigned long i;

	for (i = 0; i < nr; i++)
		if (!pte_none(ptep_get(ptep + i)))
			return false;
	return true;
}

static bool pages_exclusive(struct folio *folio, unsigned long nr)
{
	unsigned long i;

	for (i = 0; i < nr; i++)
		if (!PageAnonExclusive(folio_page(folio, i)))
			return false;
	return true;
}

/* As a whole it is mapped here alone, and so all of its entries are these; and there is room. */
static bool large_can_go(struct folio *folio, struct move_tables *t, unsigned long i, pte_t pte)
{
	unsigned long nr = folio_nr_pages(folio);

	return entries_none(t->dst + i, nr) && pte_run_alike(t->src + i, pte, nr) == nr &&
	       folio_mapcount(folio) == nr && pages_exclusive(folio, nr);
}

/*
 * At entry @i of both tables. Return: 0 if the folio can go; an error that holds for its first
 * page; -E2BIG when it cannot go as a whole.
 */
static __always_inline int run_check_one(struct folio *folio, struct move_tables *t,
					 unsigned long i)
{
	pte_t pte = ptep_get(t->src + i);

	if (!pte_none(ptep_get(t->dst + i)))
		return -EEXIST;
	if (!pte_present(pte) || pte_pfn(pte) != folio_pfn(folio))
		return -EAGAIN;
	if (!PageAnonExclusive(&folio->page) || folio_maybe_dma_pinned(folio))
		return -EBUSY;
	return !folio_test_large(folio) || large_can_go(folio, t, i, pte) ? 0 : -E2BIG;
}

/* Keep those from the first on that can go. Return: 0 if any are left. */
static int run_check(struct move_run *r, struct move_tables *t)
{
	unsigned long pages = 0;
	unsigned int i;
	int err = 0;

	for (i = 0; i < r->nr; i++) {
		err = run_check_one(r->folios[i], t, pages);
		if (err)
			break;
		pages += folio_nr_pages(r->folios[i]);
	}
	r->pages = pages;
	return i ? 0 : err;
}

static void run_clear(struct move_run *r, struct move_tables *t)
{
	struct uffd_move *m = r->m;
	unsigned long i = 0, nr;
	struct folio **f;

	for (f = r->folios; i < r->pages; f++, i += nr) {
		nr = folio_nr_pages(*f);
		r->was[f - r->folios] = get_and_clear_full_ptes(m->mm, m->src + i * PAGE_SIZE,
								t->src + i, nr, 0);
	}
	flush_tlb_range(m->src_vma, m->src, m->src + r->pages * PAGE_SIZE);
}

/* Soft-dirty, so that who watches sees that something came. */
static pte_t run_entry(struct move_run *r, struct folio *folio, pte_t was)
{
	pte_t pte = mk_pte(&folio->page, r->m->dst_vma->vm_page_prot);

	pte = pte_mksoft_dirty(pte);
	if (pte_dirty(was))
		pte = pte_mkdirty(pte);
	return pte_mkwrite(pte, r->m->dst_vma);
}

static __always_inline void run_set_one(struct move_run *r, struct move_tables *t,
					struct folio *folio, pte_t was, unsigned long i)
{
	struct uffd_move *m = r->m;
	unsigned long addr = m->dst + i * PAGE_SIZE;

	folio_move_anon_rmap(folio, m->dst_vma);
	folio->index = linear_page_index(m->dst_vma, addr);
	set_ptes(m->mm, addr, t->dst + i, run_entry(r, folio, was), folio_nr_pages(folio));
}

/* Those before the first that is pinned go; the others are put back. Return: 0 if any went. */
static int run_set(struct move_run *r, struct move_tables *t)
{
	struct uffd_move *m = r->m;
	unsigned long i = 0, went = 0, nr;
	bool pinned = false;
	struct folio **f;

	for (f = r->folios; i < r->pages; f++, i += nr) {
		pte_t was = r->was[f - r->folios];

		nr = folio_nr_pages(*f);
		pinned = pinned || folio_maybe_dma_pinned(*f);
		if (pinned) {
			set_ptes(m->mm, m->src + i * PAGE_SIZE, t->src + i, was, nr);
		} else {
			run_set_one(r, t, *f, was, i);
			went += nr;
		}
	}
	move_advance(m, went);
	return went ? 0 : -EBUSY;
}

/* With the anon_vma locked, and both tables mapped. */
static int run_move(struct move_run *r, struct move_tables *t)
{
	int err;

	double_pt_lock(t->dst_ptl, t->src_ptl);
	err = run_check(r, t);
	if (!err) {
		run_clear(r, t);
		err = run_set(r, t);
	}
	double_pt_unlock(t->dst_ptl, t->src_ptl);
	return err;
}

/*
 * All of the folios belong to one anon_vma: it is locked once. Where that means to wait the tables
 * are let go for so long. They are mapped before, and are not on return.
 */
static int run_move_locked(struct move_run *r, struct move_tables *t)
{
	struct anon_vma *anon_vma = folio_get_anon_vma(r->folios[0]);
	bool mapped = true;
	int err = -EAGAIN;

	/* None: it has been unmapped meanwhile. */
	if (!anon_vma) {
		move_tables_unmap(t);
		return err;
	}
	if (!anon_vma_trylock_write(anon_vma)) {
		move_tables_unmap(t);
		anon_vma_lock_write(anon_vma);
		mapped = move_tables_map(r->m, t);
	}
	if (mapped) {
		err = run_move(r, t);
		move_tables_unmap(t);
	}
	anon_vma_unlock_write(anon_vma);
	put_anon_vma(anon_vma);
	return err;
}

/* Somebody has the folio locked: wait until that is over, with nothing locked but the VMAs. */
static int run_wait(struct folio *busy)
{
	if (!busy)
		return -EAGAIN;
	folio_wait_locked(busy);
	folio_put(busy);
	return -EAGAIN;
}

/* The first folio cannot go as a whole. One that is pinned cannot be split, however often. */
static int run_split(struct move_run *r)
{
	int err;

	run_drop(r, 1);
	err = folio_maybe_dma_pinned(r->folios[0]) ? -EBUSY : split_folio(r->folios[0]);
	run_drop(r, 0);
	return err;
}

/* The tables are mapped, and are not on return. */
static int move_present(struct uffd_move *m, struct move_tables *t)
{
	struct move_run r __uninitialized;
	struct folio *busy = NULL;
	int err;

	r.m = m;
	r.nr = 0;
	r.pages = 0;
	err = run_take(&r, t, &busy);
	if (err) {
		move_tables_unmap(t);
		if (err == -E2BIG)
			return run_split(&r);
		return err == -EAGAIN ? run_wait(busy) : err;
	}
	err = run_move_locked(&r, t);
	if (err == -E2BIG)
		return run_split(&r);
	run_drop(&r, 0);
	return err;
}

/* --- entries ---------------------------------------------------------------------------- */

/**
 * move_entries - move what can be moved at once from the first entry on
 * @m: the move; both tables have been there
 *
 * Context: VMAs are locked; sleeps.
 * Return: 0, also when nothing was moved but a folio was split; -EEXIST, -ENOENT, -EBUSY, -EFAULT
 * as for move_pages(); -EAGAIN when something has changed or is busy.
 */
int move_entries(struct uffd_move *m)
{
	struct move_tables t;
	pte_t dst, src;

	if (!move_tables_map(m, &t))
		return -EAGAIN;
	dst = ptep_get_lockless(t.dst);
	src = ptep_get_lockless(t.src);
	if (pte_none(dst) && pte_present(src) && !is_zero_pfn(pte_pfn(src)))
		return move_present(m, &t);
	move_tables_unmap(&t);
	if (!pte_none(dst))
		return -EEXIST;
	if (pte_none(src))
		return move_nothing(m, false);
	return pte_present(src) ? move_nothing(m, true) : move_not_present(m, src);
}

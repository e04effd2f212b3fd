// SPDX-License-Identifier: GPL-2.0
/*
 * Large folios for private anonymous memory, where one call gives all of what one has.
 *
 *	what is there			what comes	what for
 *	no table, 2 MiB are wanted	huge page	COPY
 *	the same			huge zero page	ZEROPAGE
 *	a table, empty entries		a smaller one	COPY: the largest that is aligned
 *
 * Of the sizes that the settings of transparent huge pages allow for a fault there: user space gave
 * all of these pages, so it is as if it had touched them all. Where one cannot be had, or anything
 * is not as it looked, small pages are made.
 *
 * The source may end, or cannot be read, in the middle. Then the folio is given up, and small pages
 * come as far as the source goes, so that what is told is exact.
 */
#include <linux/mm.h>
#include <linux/khugepaged.h>
#include <linux/memcontrol.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/uaccess.h>
#include <linux/vmstat.h>
#include <asm/pgalloc.h>

#include "uffd.h"

#define LARGE_SETTINGS	(TVA_IN_PF | TVA_ENFORCE_SYSFS)

/* Orders that begin at f->dst and end with what is wanted of this table, at most. */
static unsigned long orders_fitting(struct fill *f)
{
	unsigned long left = fill_pages_left(f), first = f->dst >> PAGE_SHIFT;
	unsigned int order = min(__fls(left), __ffs(first | HPAGE_PMD_NR));

	return GENMASK(order, 0);
}

static unsigned long orders_allowed(struct fill *f, unsigned long orders)
{
	struct vm_area_struct *vma = f->vma;

	orders = thp_vma_suitable_orders(vma, f->dst, orders & orders_fitting(f));
	if (!orders)
		return 0;
	return thp_vma_allowable_orders(vma, vma->vm_flags, LARGE_SETTINGS, orders);
}

/**
 * fill_may_be_huge - could a huge page do what is left of this table?
 * @f: the fill; its PMD is empty, for now
 *
 * Return: whether fill_huge() is worth a try.
 */
bool fill_may_be_huge(struct fill *f)
{
	if (f->dst < f->small_end || f->table_end - f->dst < HPAGE_PMD_SIZE)
		return false;
	/*
	 * A file's PMD that has to become entries is dropped, and user space would be asked for all
	 * of it once more: so not where a part may be protected, or written to by one process only.
	 */
	if (fill_is(f, MFILL_ATOMIC_CONTINUE))
		return f->vma->vm_flags & VM_SHARED && !userfaultfd_wp(f->vma);
	if (!vma_is_anonymous(f->vma))
		return false;
	if (fill_is(f, MFILL_ATOMIC_ZEROPAGE) &&
	    (!transparent_hugepage_use_zero_page() || mm_forbids_zeropage(f->vma->vm_mm)))
		return false;
	if (fill_is(f, MFILL_ATOMIC_POISON))
		return false;
	return orders_allowed(f, BIT(HPAGE_PMD_ORDER));
}

/* Do so many entries look empty? */
static bool large_room(struct fill *f, unsigned long nr)
{
	pte_t *ptep = pte_offset_map(f->pmd, f->dst);
	unsigned long i;

	if (!ptep)
		return false;
	for (i = 0; i < nr && pte_none_mostly(ptep_get_lockless(ptep + i)); i++)
		;
	pte_unmap(ptep);
	return i == nr;
}

/* A folio that is charged; NULL when there is none to be had. */
static struct folio *large_alloc(struct fill *f, int order)
{
	struct vm_area_struct *vma = f->vma;
	gfp_t gfp = vma_thp_gfp_mask(vma);
	struct folio *folio;

	folio = vma_alloc_folio(gfp, order, vma, f->dst, order == HPAGE_PMD_ORDER);
	if (folio && mem_cgroup_charge(folio, vma->vm_mm, gfp)) {
		folio_put(folio);
		return NULL;
	}
	return folio;
}

/* Go on with the copy at page @i. Return: up to where it came. */
static unsigned long large_copy(struct fill *f, struct folio *folio, unsigned long i)
{
	unsigned long nr = folio_nr_pages(folio);

	while (i < nr && fill_copy_page(folio_page(folio, i), f->src + i * PAGE_SIZE)) {
		i++;
		cond_resched();
	}
	return i;
}

/* Small pages instead, as far as the folio would have gone. */
static int large_give_up(struct fill *f, struct folio *folio)
{
	f->small_end = f->dst + folio_size(folio);
	folio_put(folio);
	return FILL_SMALLER;
}

/* After a hold has ended and another begun: is everything as when the folio was made? */
static bool large_still_fits(struct fill *f, struct folio *folio, bool huge)
{
	return f->huge == huge && vma_is_anonymous(f->vma) &&
	       orders_allowed(f, BIT(folio_order(folio)));
}

/* The source is not in memory: the rest of the copy is made without locks. As large_contents(). */
static int large_source(struct fill *f, struct folio *folio, unsigned long done)
{
	unsigned long nr = folio_nr_pages(folio);
	bool huge = f->huge;
	int err;

	fill_end(f);
	if (large_copy(f, folio, done) < nr) {
		large_give_up(f, folio);
		return fill_begin(f) ?: FILL_AGAIN;
	}
	err = fill_begin(f);
	if (!err && large_still_fits(f, folio, huge))
		return 0;
	large_give_up(f, folio);
	return err ?: FILL_AGAIN;
}

/*
 * The folio's contents. Return: 0; or the folio is freed, and FILL_AGAIN, when there is another
 * hold now, or what fill_begin() says.
 */
static int large_contents(struct fill *f, struct folio *folio)
{
	unsigned long done;
	int err = 0;

	pagefault_disable();
	done = large_copy(f, folio, 0);
	pagefault_enable();
	if (unlikely(done < folio_nr_pages(folio)))
		err = large_source(f, folio, done);
	/* With a barrier: contents are seen before the mapping is. */
	if (!err)
		__folio_mark_uptodate(folio);
	return err;
}

static void large_count(struct fill *f, struct folio *folio)
{
	count_mthp_stat(folio_order(folio), MTHP_STAT_ANON_FAULT_ALLOC);
	if (!f->huge)
		return;
	count_vm_event(THP_FAULT_ALLOC);
	count_memcg_event_mm(f->vma->vm_mm, THP_FAULT_ALLOC);
}

/* --- a huge page ------------------------------------------------------------------------ */

static pmd_t huge_entry(struct fill *f, struct folio *folio)
{
	pmd_t pmd = pmd_mkhuge(mk_pmd(&folio->page, f->vma->vm_page_prot));

	if (is_huge_zero_folio(folio))
		return pmd;
	pmd = maybe_pmd_mkwrite(pmd_mkdirty(pmd), f->vma);
	return f->flags & MFILL_ATOMIC_WP ? pmd_mkuffd_wp(pmd) : pmd;
}

/* With the PMD locked. */
static void huge_map(struct fill *f, struct folio *folio, pgtable_t table)
{
	struct vm_area_struct *vma = f->vma;
	struct mm_struct *mm = vma->vm_mm;

	if (!is_huge_zero_folio(folio)) {
		folio_add_new_anon_rmap(folio, vma, f->dst, RMAP_EXCLUSIVE);
		folio_add_lru_vma(folio, vma);
		add_mm_counter(mm, MM_ANONPAGES, HPAGE_PMD_NR);
	}
	pgtable_trans_huge_deposit(mm, f->pmd, table);
	mm_inc_nr_ptes(mm);
	set_pmd_at(mm, f->dst, f->pmd, huge_entry(f, folio));
	/* Nothing was there: no TLB has anything to forget. */
	update_mmu_cache_pmd(vma, f->dst, f->pmd);
	if (!is_huge_zero_folio(folio))
		deferred_split_folio(folio, false);
}

/* Return: 0, and the mapping has the folio; FILL_SMALLER. */
static int huge_install(struct fill *f, struct folio *folio)
{
	struct mm_struct *mm = f->vma->vm_mm;
	pgtable_t table = pte_alloc_one(mm);
	bool mapped = false;
	spinlock_t *ptl;

	if (!table)
		return FILL_SMALLER;
	ptl = pmd_lock(mm, f->pmd);
	if (pmd_none(*f->pmd)) {
		huge_map(f, folio, table);
		mapped = true;
	}
	spin_unlock(ptl);
	if (mapped)
		return 0;
	pte_free(mm, table);
	return FILL_SMALLER;
}

static int huge_copy(struct fill *f)
{
	struct folio *folio = large_alloc(f, HPAGE_PMD_ORDER);
	int err;

	if (!folio)
		return FILL_SMALLER;
	err = large_contents(f, folio);
	if (err)
		return err;
	if (huge_install(f, folio))
		return large_give_up(f, folio);
	large_count(f, folio);
	return 0;
}

static int huge_zero(struct fill *f)
{
	struct folio *folio = mm_get_huge_zero_folio(f->vma->vm_mm);

	return folio ? huge_install(f, folio) : FILL_SMALLER;
}

static int huge_new(struct fill *f)
{
	/* As after a fault of this VMA: what will be small is to become huge later. */
	khugepaged_enter_vma(f->vma, f->vma->vm_flags);
	return fill_is(f, MFILL_ATOMIC_COPY) ? huge_copy(f) : huge_zero(f);
}

/**
 * fill_huge - a step that fills all of a page table's range by a huge page
 * @f: the fill; fill_may_be_huge() said so
 *
 * Context: as for fill_pages().
 * Return: 0; FILL_SMALLER when small pages have to do it; FILL_AGAIN; what fill_begin() and
 * fill_continue_huge() say.
 */
int fill_huge(struct fill *f)
{
	int err;

	if (f->dst < f->small_end)
		return FILL_SMALLER;
	err = fill_is(f, MFILL_ATOMIC_CONTINUE) ? fill_continue_huge(f) : huge_new(f);
	if (!err)
		fill_advance(f, HPAGE_PMD_NR);
	else if (err == FILL_SMALLER)
		f->small_end = f->dst + HPAGE_PMD_SIZE;
	return err;
}

/* --- a folio among others in a table ---------------------------------------------------- */

static int large_fill(struct fill *f, struct folio *folio)
{
	int err = large_contents(f, folio);

	if (err)
		return err;
	if (uffd_install_large(f, folio))
		return large_give_up(f, folio);
	large_count(f, folio);
	fill_advance(f, folio_nr_pages(folio));
	return 0;
}

/**
 * fill_large - a step of COPY that fills some entries by one folio
 * @f: the fill; there is a table
 *
 * Context: as for fill_pages().
 * Return: 0; FILL_SMALLER when small pages have to do it; FILL_AGAIN; what fill_begin() says.
 */
int fill_large(struct fill *f)
{
	struct vm_area_struct *vma = f->vma;
	unsigned long allowed, orders;
	int order;

	/* The smallest has four pages. */
	if (fill_pages_left(f) < 4 || f->dst < f->small_end || !vma_is_anonymous(vma))
		return FILL_SMALLER;
	allowed = thp_vma_allowable_orders(vma, vma->vm_flags, LARGE_SETTINGS,
					   THP_ORDERS_ALL_ANON & ~BIT(HPAGE_PMD_ORDER));
	if (!allowed)
		return FILL_SMALLER;
	orders = thp_vma_suitable_orders(vma, f->dst, allowed & orders_fitting(f));
	for (order = highest_order(orders); orders; order = next_order(&orders, order)) {
		struct folio *folio;

		folio = large_room(f, 1UL << order) ? large_alloc(f, order) : NULL;
		if (folio)
			return large_fill(f, folio);
	}
	/* Small pages up to where the next folio could begin. */
	f->small_end = round_up(f->dst + PAGE_SIZE, PAGE_SIZE << __ffs(allowed));
	return FILL_SMALLER;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * The pages of a table that no CPU can reach any more: taken, copied, and let go of.
 *
 *	entries		   folios
 *	[a a a a . b z c]  a b c	locked, if nobody has a reference but mappings and caches
 *	      |
 *	      v			 zeroes for '.' (nothing) and 'z' (the zero page)
 *	[a a a a 0 b 0 c]		the huge page
 *	      |
 *	[. . . . . . . .]		counted out and freed; the table is kept for its split
 *
 * They stay on their LRU lists. Who isolates one meanwhile, to move or reclaim it, needs the
 * folio's lock for that, and finds that nobody maps it when it gets the lock. Who would write to it
 * needs a mapping or a pin: this table's mappings are gone, other processes' are read only as the
 * page is shared, and of pins there are none. So nothing is put back onto a list only to be
 * taken off again and freed.
 */
#include <linux/highmem.h>
#include <linux/ksm.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/rmap.h>
#include <linux/swap.h>

#include "../internal.h"
#include "../pte/run.h"
#include "../rmap/group.h"
#include "../swap.h"
#include "collapse.h"

#include <trace/events/huge_memory.h>

/* Of large folios a table may have several runs, but the folio is locked once. */
static bool is_taken(const struct collapse *c, const struct folio *folio)
{
	unsigned int i;

	/* The last is the likeliest. */
	for (i = c->large; i; i--)
		if (c->by->folios[i - 1] == folio)
			return true;
	return false;
}

static enum scan_result take_folio(struct collapse *c, struct folio *folio)
{
	if (!folio_trylock(folio))
		return folio_test_large(folio) && is_taken(c, folio) ? SCAN_SUCCEED :
								       SCAN_PAGE_LOCK;
	if (!collapse_folio_is_ours(folio)) {
		folio_unlock(folio);
		return SCAN_PAGE_COUNT;
	}
	if (folio_test_large(folio))
		c->by->folios[c->large++] = folio;
	return SCAN_SUCCEED;
}

/**
 * collapse_give_back - unlock what was taken
 * @c: the collapse
 * @table: the table
 * @nr: entries that were dealt with
 */
void collapse_give_back(struct collapse *c, pte_t *table, unsigned long nr)
{
	struct folio *folio;
	unsigned long i;

	for (i = 0; i < nr; i++) {
		pte_t pte = ptep_get(table + i);

		if (pte_is_empty(pte))
			continue;
		folio = pfn_folio(pte_pfn(pte));
		if (!folio_test_large(folio))
			folio_unlock(folio);
	}
	while (c->large)
		folio_unlock(c->by->folios[--c->large]);
}

/* As scan_plain(): whatever is not plain any more when it is locked is judged. */
static unsigned long take_plain(struct collapse *c, pte_t *table, unsigned long i)
{
	const unsigned long exclusive = collapse_writable_flag(c->vma);
	unsigned long first = i;
	bool writable = false;

	for (; i < HPAGE_PMD_NR; i++) {
		pte_t pte = ptep_get(table + i);
		struct folio *folio;
		struct page *page;

		if (!collapse_pte_is_plain(pte))
			break;
		page = pte_page(pte);
		if ((READ_ONCE(page->flags) & COLLAPSE_CARE) != COLLAPSE_PLAIN)
			break;
		folio = (struct folio *)page;
		if (!folio_trylock(folio))
			break;
		if (!collapse_page_is_once(page) || folio_test_swapcache(folio)) {
			folio_unlock(folio);
			break;
		}
		writable |= pte_write(pte) || page->flags & exclusive;
	}
	c->count.writable |= writable;
	/* That they were used lately was found out before. */
	if (c->by->khugepaged)
		c->count.referenced += i - first;
	return i - first;
}

/**
 * collapse_take - lock all folios of a table, if nobody has them but mappings and caches
 * @c: the collapse, DETACHED
 * @table: the table, locked
 *
 * No reference is taken: the entries have some, and nobody can take those away.
 *
 * Return: SCAN_SUCCEED; or why not, with nothing taken.
 */
enum scan_result collapse_take(struct collapse *c, pte_t *table)
{
	enum scan_result result = SCAN_SUCCEED;
	struct folio *folio;
	unsigned long i, nr;

	c->count = (struct collapse_count){};
	collapse_ahead_check(c, table);
	for (i = 0; i < HPAGE_PMD_NR; i += nr) {
		nr = collapse_ahead_take(c, i);
		if (!nr)
			nr = take_plain(c, table, i);
		if (nr)
			continue;
		result = collapse_judge(c, table + i, c->address + i * PAGE_SIZE,
					HPAGE_PMD_NR - i, &folio, &nr);
		if (result == SCAN_SUCCEED && folio)
			result = take_folio(c, folio);
		if (result != SCAN_SUCCEED)
			break;
	}
	if (result == SCAN_SUCCEED)
		result = collapse_judge_all(c);
	if (result != SCAN_SUCCEED) {
		collapse_give_back(c, table, i);
		collapse_ahead_release(c, i);
	}
	trace_mm_collapse_huge_page_isolate(c->count.page, c->count.none, c->count.referenced,
					    c->count.writable, result);
	return result;
}

static bool is_done_ahead(const struct collapse *c, unsigned long i, pte_t pte)
{
	return c->ahead && (pte_is_empty(pte) ? test_bit(i, c->by->cleared) :
						!pte_none(c->by->ahead[i]));
}

/**
 * collapse_copy - fill the huge page
 * @c: the collapse, TAKEN
 * @table: the table
 *
 * Return: SCAN_SUCCEED; SCAN_COPY_MC when some memory cannot be read.
 */
enum scan_result collapse_copy(struct collapse *c, pte_t *table)
{
	unsigned long i;

	for (i = 0; i < HPAGE_PMD_NR; i++) {
		struct page *page = folio_page(c->folio, i);
		unsigned long addr = c->address + i * PAGE_SIZE;
		pte_t pte = ptep_get(table + i);

		if (is_done_ahead(c, i, pte))
			continue;
		if (pte_is_empty(pte))
			clear_user_highpage(page, addr);
		else if (copy_mc_user_highpage(page, pte_page(pte), addr, c->vma))
			return SCAN_COPY_MC;
	}
	return SCAN_SUCCEED;
}

/* --- letting go ------------------------------------------------------------------------- */

/* The zero page is mapped without being counted. */
static void let_go_empty(struct collapse *c, pte_t *ptep, unsigned long addr)
{
	pte_t pte = ptep_get(ptep);

	if (pte_none(pte))
		return;
	ptep_clear(c->mm, addr, ptep);
	ksm_might_unmap_zero_page(c->mm, pte);
}

/* The reference of an entry was all that kept them; or somebody else maps one, too. */
static void let_go_all(struct folio_batch *dead)
{
	unsigned int k;

	for (k = 0; k < folio_batch_count(dead); k++) {
		folio_unlock(dead->folios[k]);
		if (folio_test_swapcache(dead->folios[k]))
			free_swap_cache(dead->folios[k]);
	}
	folios_put(dead);
}

/* A run of a large folio, which keeps a reference for as long as it is locked. */
static unsigned long let_go_run(struct collapse *c, pte_t *ptep, unsigned long addr,
				unsigned long max, struct rmap_tally *tally)
{
	pte_t pte = ptep_get(ptep);
	struct page *page = pte_page(pte);
	struct folio *folio = page_folio(page);
	unsigned long nr, k;

	max = min_t(unsigned long, max, folio_nr_pages(folio) - folio_page_idx(folio, page));
	nr = pte_run_alike(ptep, pte, max);
	for (k = 0; k < nr; k++)
		ptep_clear(c->mm, addr + k * PAGE_SIZE, ptep + k);
	rmap_count_out(tally, folio, page, nr, c->vma);
	folio_put_refs(folio, nr);
	return nr;
}

/* Entries from @i on, until a batch of folios is full. Return: the next entry. */
static unsigned long let_go_some(struct collapse *c, pte_t *table, unsigned long i,
				 struct folio_batch *dead)
{
	struct rmap_tally tally = {};

	while (i < HPAGE_PMD_NR && folio_batch_space(dead)) {
		unsigned long addr = c->address + i * PAGE_SIZE;
		pte_t *ptep = table + i, pte = ptep_get(ptep);
		struct page *page;

		if (pte_is_empty(pte)) {
			let_go_empty(c, ptep, addr);
			i++;
			continue;
		}
		page = pte_page(pte);
		if (PageCompound(page)) {
			i += let_go_run(c, ptep, addr, HPAGE_PMD_NR - i, &tally);
			continue;
		}
		ptep_clear(c->mm, addr, ptep);
		rmap_count_out(&tally, (struct folio *)page, page, 1, c->vma);
		folio_batch_add(dead, (struct folio *)page);
		i++;
	}
	rmap_tally_end(&tally);
	return i;
}

/**
 * collapse_let_go - count out what was copied, and free what nobody else has
 * @c: the collapse, COPIED
 * @table: the table; empty afterwards
 * @ptl: its lock
 */
void collapse_let_go(struct collapse *c, pte_t *table, spinlock_t *ptl)
{
	struct folio_batch dead;
	unsigned long i = 0;
	unsigned int k;

	/* A reference more, so that they can be unlocked. */
	for (k = 0; k < c->large; k++)
		folio_get(c->by->folios[k]);
	add_mm_counter(c->mm, MM_ANONPAGES, c->count.none);
	folio_batch_init(&dead);
	while (i < HPAGE_PMD_NR) {
		/* For the statistics, which count for each CPU; the table itself is ours. */
		spin_lock(ptl);
		i = let_go_some(c, table, i, &dead);
		spin_unlock(ptl);
		let_go_all(&dead);
	}
	while (c->large) {
		struct folio *folio = c->by->folios[--c->large];

		folio_unlock(folio);
		free_swap_cache(folio);
		folio_put(folio);
	}
}

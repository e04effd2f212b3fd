// SPDX-License-Identifier: GPL-2.0
/*
 * New folios take the place of what parts of a table map.
 *
 *	the table is	step	what holds					undone by
 *	locked		protect	old folios are locked, their entries read	unlocking them
 *				only and clean, and noted in by->ahead
 *	-		copy	new folios hold what they hold
 *	locked		take	the entries are gone, from TLBs, too		setting them again
 *	locked		map	the new folios are mapped
 *
 * mmap_lock is held for reading all the time, and nobody is locked out. What is copied is as it
 * was if entries are, for the reasons in ahead.c; and as nobody has mmap_lock for writing, no fork
 * or mprotect() hides that one was writable for a moment (of NUMA hints see collapse_hint_scan()).
 * A fault may make an entry writable, or give an empty one a page: then the part is left.
 *
 * Nobody else maps the old folios, and their locks keep away who would map, move or reclaim them.
 *
 * GUP-fast takes a reference and looks at the entry again; here entries are cleared, and then
 * references are looked at. So either it sees that the entry has changed, or we see the reference.
 *
 * Of a part that could not be made entries stay read only, as after a fork. Who writes finds the
 * page exclusive.
 */
#include <linux/highmem.h>
#include <linux/hugetlb.h>
#include <linux/ksm.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagevec.h>
#include <linux/rmap.h>
#include <linux/swap.h>

#include "../internal.h"
#include "../pte/leaf.h"
#include "../rmap/group.h"
#include "parts.h"

/* --- protect ---------------------------------------------------------------------------- */

/*
 * The next old folio from entry *@i on. Each lies in the table as a whole, so *@i is behind it
 * then, and nothing of it is looked at again when it may have been freed.
 */
static struct folio *next_old(const struct parts *p, unsigned long *i, unsigned long end)
{
	struct folio *folio;

	while (*i < end && pte_none(p->c->by->ahead[*i]))
		++*i;
	if (*i >= end)
		return NULL;
	folio = page_folio(pte_page(p->c->by->ahead[*i]));
	*i += folio_nr_pages(folio);
	return folio;
}

static void release_old(struct parts *p, unsigned long first, unsigned long nr)
{
	struct folio_batch batch;
	unsigned long i = first;
	struct folio *folio;

	folio_batch_init(&batch);
	while ((folio = next_old(p, &i, first + nr))) {
		folio_unlock(folio);
		if (!folio_batch_add(&batch, folio))
			folios_put(&batch);
	}
	folios_put(&batch);
	memset(p->c->by->ahead + first, 0, nr * sizeof(pte_t));
}

static void part_drop(struct parts *p, unsigned long i)
{
	release_old(p, i, folio_nr_pages(p->c->by->folios[i]));
	part_free(p, i);
}

/* -> locked, with a reference; NULL if it cannot be taken any more */
static struct folio *lock_old(struct parts *p, pte_t *table, unsigned long i, unsigned int order)
{
	pte_t pte = ptep_get(table + i);
	struct folio *folio;

	if (!collapse_pte_is_plain(pte) || pte_protnone(pte))
		return NULL;
	folio = page_folio(pte_page(pte));
	if (!folio_test_large(folio)) {
		folio = collapse_lock_plain(pte);
	} else {
		if (folio_order(folio) >= order || !large_is_here(p, table, i, folio) ||
		    !folio_trylock(folio))
			return NULL;
		if (!large_is_ours(folio)) {
			folio_unlock(folio);
			return NULL;
		}
	}
	if (folio)
		folio_get(folio);
	return folio;
}

/* Return: how many entries it was; 0 if the part cannot be made any more. */
static unsigned long protect_some(struct parts *p, pte_t *table, unsigned long i,
				  unsigned int order)
{
	struct collapse *c = p->c;
	struct folio *folio;
	unsigned long k, nr;

	if (pte_is_empty(ptep_get(table + i)))
		return 1;
	folio = lock_old(p, table, i, order);
	if (!folio)
		return 0;
	nr = folio_nr_pages(folio);
	for (k = i; k < i + nr; k++)
		c->by->ahead[k] = pte_mkold(collapse_protect(c, table + k, entry_address(p, k),
							     folio));
	return nr;
}

/* Is as much there as when it was chosen? The program may have given something back since. */
static bool is_dense(const struct parts *p, unsigned long first, unsigned int order)
{
	unsigned int none = 0, nr = 1U << order, i;

	for (i = 0; i < nr; i++)
		none += pte_none(p->c->by->ahead[first + i]);
	return none < nr && none <= collapse_none_scaled(p->max_none, order);
}

static void part_protect(struct parts *p, pte_t *table, unsigned long i)
{
	struct folio *folio = p->c->by->folios[i];
	unsigned long at = i, end = i + folio_nr_pages(folio), nr;

	/* The VMA may have become smaller. */
	nr = i >= p->first && end <= p->last;
	for (; nr && at < end; at += nr)
		nr = protect_some(p, table, at, folio_order(folio));
	if (!nr || !is_dense(p, i, folio_order(folio)))
		part_drop(p, i);
}

/* Secondary MMUs have to look again, before and after. */
static void with_table(struct parts *p, void (*act)(struct parts *p, pte_t *table))
{
	struct mmu_notifier_range range;
	struct collapse *c = p->c;
	spinlock_t *ptl;
	pte_t *table;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, c->mm, entry_address(p, p->first),
				entry_address(p, p->last));
	mmu_notifier_invalidate_range_start(&range);
	table = pte_offset_map_lock(c->mm, c->pmd, c->address, &ptl);
	if (table) {
		act(p, table);
		pte_unmap_unlock(table, ptl);
	}
	mmu_notifier_invalidate_range_end(&range);
}

static void flush(struct parts *p)
{
	flush_tlb_range(p->c->vma, entry_address(p, p->first), entry_address(p, p->last));
}

static void protect_all(struct parts *p, pte_t *table)
{
	unsigned long i;

	p->c->hints = collapse_hint_scan(p->c->mm);
	for (i = 0; i < HPAGE_PMD_NR; i++)
		if (p->c->by->folios[i])
			part_protect(p, table, i);
	flush(p);
}

/* --- copy ------------------------------------------------------------------------------- */

/* Ours, and those of its entries, which are not counted out before all is well. */
static bool old_is_ours(const struct parts *p, unsigned long first, unsigned long nr)
{
	unsigned long i = first;
	struct folio *folio;

	while ((folio = next_old(p, &i, first + nr)))
		if (folio_ref_count(folio) != 1 + folio_nr_pages(folio))
			return false;
	smp_rmb(); /* if there is none any more, what was written by it is there */
	return true;
}

static bool part_copy(struct parts *p, unsigned long first, struct folio *folio)
{
	unsigned long i, nr = folio_nr_pages(folio);

	for (i = 0; i < nr; i++) {
		unsigned long at = entry_address(p, first + i);
		pte_t old = p->c->by->ahead[first + i];

		if (pte_none(old))
			clear_user_highpage(folio_page(folio, i), at);
		else if (copy_mc_user_highpage(folio_page(folio, i), pte_page(old), at, p->c->vma))
			return false;
	}
	__folio_mark_uptodate(folio); /* with a barrier: contents, then the mapping */
	return true;
}

static void parts_copy(struct parts *p)
{
	struct folio *folio;
	unsigned long i;

	smp_mb(); /* entries, then references: see above */
	for (i = 0; i < HPAGE_PMD_NR; i++) {
		folio = p->c->by->folios[i];
		if (folio) {
			if (!old_is_ours(p, i, folio_nr_pages(folio)) || !part_copy(p, i, folio))
				part_drop(p, i);
			cond_resched();
		}
	}
}

/* --- take ------------------------------------------------------------------------------- */

static bool part_is_same(struct parts *p, pte_t *table, unsigned long first, unsigned long nr)
{
	unsigned long i;

	for (i = first; i < first + nr; i++) {
		pte_t pte = ptep_get(table + i), old = p->c->by->ahead[i];

		if (pte_none(old) ? !pte_is_empty(pte) : !pte_same(pte_mkold(pte), old))
			return false;
	}
	return true;
}

/* What was used meanwhile is young. The zero page is not counted, and not worth a way back. */
static void part_clear(struct parts *p, pte_t *table, unsigned long first, unsigned long nr)
{
	struct mm_struct *mm = p->c->mm;
	unsigned long i;

	for (i = first; i < first + nr; i++) {
		pte_t pte = ptep_get(table + i);

		if (pte_none(pte))
			continue;
		pte = ptep_get_and_clear(mm, entry_address(p, i), table + i);
		if (pte_is_empty(pte))
			ksm_might_unmap_zero_page(mm, pte);
		else
			p->c->by->ahead[i] = pte;
	}
}

static void part_restore(struct parts *p, pte_t *table, unsigned long first, unsigned long nr)
{
	unsigned long i;

	for (i = first; i < first + nr; i++)
		if (!pte_none(p->c->by->ahead[i]))
			set_pte_at(p->c->mm, entry_address(p, i), table + i, p->c->by->ahead[i]);
}

/* --- map -------------------------------------------------------------------------------- */

static unsigned long count_out_old(struct parts *p, unsigned long first, unsigned long nr)
{
	unsigned long i = first, mapped = 0, pages;
	struct rmap_tally tally = {};
	struct folio *folio;

	while ((folio = next_old(p, &i, first + nr))) {
		pages = folio_nr_pages(folio);
		rmap_count_out(&tally, folio, &folio->page, pages, p->c->vma);
		/* Ours is left. */
		folio_ref_sub(folio, pages);
		mapped += pages;
	}
	rmap_tally_end(&tally);
	return mapped;
}

/* An entry says what the old one said; where there was none, that it was written to. */
static pte_t new_entry(struct parts *p, unsigned long i, struct page *page)
{
	struct pte_leaf leaf = { .flags = LEAF_YOUNG | LEAF_SOFT_DIRTY };
	pte_t old = p->c->by->ahead[i], pte;

	if (!pte_none(old))
		leaf.flags &= pte_leaf_decode_present(old).flags;
	leaf.flags |= LEAF_DIRTY;
	pte = pte_leaf_map(&leaf, p->c->vma, page);
	if (can_change_pte_writable(p->c->vma, entry_address(p, i), pte))
		pte = pte_mkwrite(pte, p->c->vma);
	return pte;
}

static void part_map(struct parts *p, pte_t *table, unsigned long first, struct folio *folio)
{
	unsigned long i, nr = folio_nr_pages(folio), addr = entry_address(p, first);
	struct collapse *c = p->c;

	add_mm_counter(c->mm, MM_ANONPAGES, nr - count_out_old(p, first, nr));
	folio_ref_add(folio, nr - 1);
	folio_add_new_anon_rmap(folio, c->vma, addr, RMAP_EXCLUSIVE);
	folio_add_lru_vma(folio, c->vma);
	for (i = 0; i < nr; i++)
		set_pte_at(c->mm, addr + i * PAGE_SIZE, table + first + i,
			   new_entry(p, first + i, folio_page(folio, i)));
	update_mmu_cache_range(NULL, c->vma, addr, table + first, nr);
	collapse_settings.folios_collapsed++;
	c->by->folios[first] = NULL;
	p->made--;
}

/* All are taken, with one flush, and then those mapped that nobody has pinned. */
static void replace_all(struct parts *p, pte_t *table)
{
	/* Of who is killed for memory nothing is to become more. */
	bool good = !test_bit(MMF_UNSTABLE, &p->c->mm->flags) &&
		    p->c->hints == collapse_hint_scan(p->c->mm);
	struct folio *folio;
	unsigned long i, nr;

	for (i = 0; i < HPAGE_PMD_NR; i++) {
		folio = p->c->by->folios[i];
		if (folio) {
			nr = folio_nr_pages(folio);
			if (good && part_is_same(p, table, i, nr))
				part_clear(p, table, i, nr);
			else
				part_drop(p, i);
		}
	}
	flush(p);
	smp_mb(); /* entries, then references: see above */
	for (i = 0; i < HPAGE_PMD_NR; i++) {
		folio = p->c->by->folios[i];
		if (folio) {
			nr = folio_nr_pages(folio);
			if (old_is_ours(p, i, nr)) {
				part_map(p, table, i, folio);
			} else {
				part_restore(p, table, i, nr);
				part_drop(p, i);
			}
		}
	}
}

/* --- all of it -------------------------------------------------------------------------- */

/**
 * collapse_parts_replace - put new folios in the place of what is there
 * @p: the parts, with folios; those that could not be mapped are left in there
 *
 * Context: mmap_lock held for reading; the VMA and the table were found with it. Sleeps.
 */
void collapse_parts_replace(struct parts *p)
{
	memset(p->c->by->ahead, 0, sizeof(p->c->by->ahead));
	with_table(p, protect_all);
	parts_copy(p);
	if (p->made)
		with_table(p, replace_all);
	/* The old ones, which nobody maps any more; or the table has gone meanwhile. */
	release_old(p, 0, HPAGE_PMD_NR);
}

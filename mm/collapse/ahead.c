// SPDX-License-Identifier: GPL-2.0
/*
 * Pages are copied, and others cleared, before the address space is locked.
 *
 *	entry, when the table is looked at	done ahead	holds in the end if
 *	nothing, or the zero page		cleared		it is still that
 *	a small page that nobody else has	copied		the entry says what it was made to
 *							say, and nobody has the page yet
 *	anything else				-		-
 *
 * An entry whose page is copied is made to say "read only, clean" first. Who wants to write has to
 * fault, and that makes it say "dirty" at least. So as long as it says what it said, the page
 * holds what was copied; unless somebody else has made it clean again, or mapped the page anew.
 * Those (reclaim, KSM, migration) need the folio's lock for that, which is held here from before
 * the copy until the table is detached. Pins that are there are seen, as they are references; who
 * pins the page to write later has to fault as well; who pins it to read is seen in the end.
 *
 * With folios locked nobody may be waited for: who holds mmap_lock, or a VMA's lock, may be
 * waiting for one of the folios. So these locks are only tried for; if they cannot be had, the
 * folios are let go of, and all is done in the way that it would have been without this.
 *
 * One way is left: a hint fault or mprotect() makes an entry writable that is clean, a pin comes,
 * is written through and goes without the entry, and a fork makes it read only again. All that
 * leads back to "read only, clean" without the folio's lock has mmap_lock for writing; so that
 * nobody had it since is asked as well, of its sequence number. Scans for NUMA hints have it not:
 * entries that are hints are not copied, and no other scan may have begun since, see
 * collapse_hint_scan(). In a VMA of a userfaultfd nothing
 * is done ahead: who waits there looks at the entry to see whether it still has to.
 *
 * Who reads is kept waiting by nothing; who writes has a fault more. If nothing comes of it,
 * entries stay read only until then, as they do after a fork; the pages are exclusive, so they
 * count as writable.
 */
#include <linux/highmem.h>
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include <linux/userfaultfd_k.h>

#include "../internal.h"
#include "collapse.h"

/* Is there anybody whom a lock could keep waiting? */
static bool is_worth_while(const struct collapse *c)
{
	return IS_ENABLED(CONFIG_PER_VMA_LOCK) &&
	       (c->by->khugepaged || atomic_read(&c->mm->mm_users) > 1);
}

static struct folio *ahead_folio(const struct collapse *c, unsigned long i)
{
	return pfn_folio(pte_pfn(c->by->ahead[i]));
}

static void release_one(struct collapse *c, unsigned long i)
{
	struct folio *folio;

	if (pte_none(c->by->ahead[i]))
		return;
	folio = ahead_folio(c, i);
	c->by->ahead[i] = __pte(0);
	folio_unlock(folio);
	folio_put(folio);
}

/**
 * collapse_ahead_release - let go of folios that were copied ahead
 * @c: the collapse
 * @first: the first entry; those before it were taken
 */
void collapse_ahead_release(struct collapse *c, unsigned long first)
{
	unsigned long i;

	if (c->ahead)
		for (i = first; i < HPAGE_PMD_NR; i++)
			release_one(c, i);
}

/* --- before the copy -------------------------------------------------------------------- */

/**
 * collapse_lock_plain - lock a small page that nobody has but an entry
 * @pte: the entry
 *
 * Context: the table is locked.
 * Return: the folio, without a reference more; NULL if it is anything else.
 */
struct folio *collapse_lock_plain(pte_t pte)
{
	struct folio *folio;
	struct page *page;

	if (!collapse_pte_is_plain(pte) || pte_protnone(pte))
		return NULL;
	page = pte_page(pte);
	if ((READ_ONCE(page->flags) & COLLAPSE_CARE) != COLLAPSE_PLAIN)
		return NULL;
	folio = (struct folio *)page;
	if (!folio_trylock(folio))
		return NULL;
	if (collapse_page_is_once(page) && !folio_test_swapcache(folio))
		return folio;
	folio_unlock(folio);
	return NULL;
}

/**
 * collapse_protect - make an entry read only and clean
 * @c: the collapse
 * @ptep: the entry
 * @addr: its address
 * @folio: its folio; what was dirty is so by this from here on
 *
 * Context: the table is locked. TLBs are to be flushed before it is let go of, if it has changed.
 * Return: what the entry says now.
 */
pte_t collapse_protect(struct collapse *c, pte_t *ptep, unsigned long addr, struct folio *folio)
{
	pte_t pte = ptep_get(ptep);

	if (!pte_write(pte) && !pte_dirty(pte))
		return pte;
	pte = ptep_get_and_clear(c->mm, addr, ptep);
	if (pte_dirty(pte))
		folio_set_dirty(folio);
	pte = pte_wrprotect(pte_mkclean(pte));
	set_pte_at(c->mm, addr, ptep, pte);
	return pte;
}

/* Return: whether an entry has changed. */
static bool protect_all(struct collapse *c, pte_t *table)
{
	bool changed = false;
	unsigned long i;

	for (i = 0; i < HPAGE_PMD_NR; i++) {
		pte_t pte = ptep_get(table + i);
		struct folio *folio;

		c->by->ahead[i] = __pte(0);
		if (pte_is_empty(pte)) {
			__set_bit(i, c->by->cleared);
			continue;
		}
		folio = collapse_lock_plain(pte);
		if (!folio)
			continue;
		folio_get(folio);
		changed |= pte_write(pte) || pte_dirty(pte);
		pte = collapse_protect(c, table + i, c->address + i * PAGE_SIZE, folio);
		c->by->ahead[i] = pte_mkold(pte);
	}
	return changed;
}

static void protect_table(struct collapse *c)
{
	struct mmu_notifier_range range;
	spinlock_t *ptl;
	pte_t *table;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, c->mm, c->address,
				c->address + HPAGE_PMD_SIZE);
	mmu_notifier_invalidate_range_start(&range);
	table = pte_offset_map_lock(c->mm, c->pmd, c->address, &ptl);
	if (table) {
		c->ahead = true;
		c->hints = collapse_hint_scan(c->mm);
		if (protect_all(c, table))
			flush_tlb_range(c->vma, c->address, c->address + HPAGE_PMD_SIZE);
		pte_unmap_unlock(table, ptl);
	}
	mmu_notifier_invalidate_range_end(&range);
}

/* --- the copy --------------------------------------------------------------------------- */

static enum scan_result copy_all(struct collapse *c)
{
	unsigned long i;

	/*
	 * Who pins a page without a lock takes the reference and looks at the entry again; here
	 * the entries were changed, and now it is looked for references: so one sees the other.
	 */
	smp_mb();
	for (i = 0; i < HPAGE_PMD_NR; i++) {
		struct page *page = folio_page(c->folio, i);

		if (!pte_none(c->by->ahead[i]) && folio_ref_count(ahead_folio(c, i)) != 2)
			release_one(c, i);
		smp_rmb(); /* and if there is none, what was written by it is there */
		if (test_bit(i, c->by->cleared))
			clear_highpage(page);
		else if (!pte_none(c->by->ahead[i]) &&
			 copy_mc_highpage(page, pfn_to_page(pte_pfn(c->by->ahead[i]))))
			return SCAN_COPY_MC;
		if (i % 32 == 0)
			cond_resched();
	}
	return SCAN_SUCCEED;
}

/**
 * collapse_ahead - do what can be done before anything is locked
 * @c: the collapse, ALLOCATED
 *
 * Context: no lock is held; folios are locked afterwards, so nobody may be waited for.
 * Return: SCAN_SUCCEED, though nothing may have been done; or why the collapse cannot be.
 */
enum scan_result collapse_ahead(struct collapse *c)
{
	enum scan_result result;

	c->ahead = false;
	if (!is_worth_while(c))
		return SCAN_SUCCEED;
	bitmap_zero(c->by->cleared, HPAGE_PMD_NR);
	mmap_read_lock(c->mm);
	result = collapse_anon_find(c);
	/*
	 * On a shadow stack "dirty" means something else. Where the VMA is read only, a debugger
	 * writes without making the entry dirty.
	 */
	if (result == SCAN_SUCCEED && !userfaultfd_armed(c->vma) &&
	    (c->vma->vm_flags & (VM_WRITE | VM_SHADOW_STACK)) == VM_WRITE)
		protect_table(c);
	c->ahead_seq = collapse_lock_seq(c->mm);
	mmap_read_unlock(c->mm);
	if (result != SCAN_SUCCEED || !c->ahead)
		return result;
	collapse_to(c, COLLAPSE_AHEAD);
	result = copy_all(c);
	if (result != SCAN_SUCCEED)
		collapse_ahead_release(c, 0);
	return result;
}

/* --- after it --------------------------------------------------------------------------- */

static bool holds(const struct collapse *c, unsigned long i, pte_t pte,
		  const struct folio *folio)
{
	return pte_same(pte_mkold(pte), c->by->ahead[i]) && folio_ref_count(folio) == 2 &&
	       !folio_test_swapcache(folio);
}

/**
 * collapse_ahead_check - let go of folios whose copies are not good any more
 * @c: the collapse, DETACHED
 * @table: the table, locked
 *
 * After it, what was noted of an entry is what the entry says; so nobody who goes through the table
 * takes something else there for copied.
 */
void collapse_ahead_check(struct collapse *c, pte_t *table)
{
	unsigned long i;

	if (!c->ahead)
		return;
	if (c->hints != collapse_hint_scan(c->mm))
		collapse_ahead_release(c, 0);
	for (i = 0; i < HPAGE_PMD_NR; i++)
		if (!pte_none(c->by->ahead[i]) &&
		    !holds(c, i, ptep_get(table + i), ahead_folio(c, i)))
			release_one(c, i);
}

/**
 * collapse_ahead_take - take pages that were copied ahead
 * @c: the collapse, of which collapse_ahead_check() has left what is good
 * @i: the entry to begin with
 *
 * They are locked already; of the two references the mapping's stays.
 *
 * Return: how many there are in a row. The entry after them is to be judged.
 */
unsigned long collapse_ahead_take(struct collapse *c, unsigned long i)
{
	const unsigned long exclusive = collapse_writable_flag(c->vma);
	unsigned long first = i;
	struct folio *folio;

	if (!c->ahead)
		return 0;
	for (; i < HPAGE_PMD_NR && !pte_none(c->by->ahead[i]); i++) {
		folio = ahead_folio(c, i);
		folio_ref_sub(folio, 1);
		c->count.writable |= !!(folio->flags & exclusive);
	}
	if (c->by->khugepaged)
		c->count.referenced += i - first;
	return i - first;
}

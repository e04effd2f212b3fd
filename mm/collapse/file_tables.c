// SPDX-License-Identifier: GPL-2.0
/*
 * Page tables of files, where a huge page could be mapped in their stead: they are freed, so that
 * a fault maps it; or it is mapped at once.
 *
 *	the VMA					the table of an aligned range
 *	aligned otherwise, too small		stays
 *	private, and written to			stays: its own pages would split the PMD soon
 *	userfaultfd-wp				stays: it holds notes of what is protected
 *	else, mapping nothing			goes			collapse_retract_tables()
 *	else, mapping the huge page alone	is emptied, and goes	collapse_pte_mapped_thp()
 *
 * Others may be in a table without any lock, by RCU: so it is freed after a grace period, and
 * who then locks it finds that the PMD is another one. Its lock is held when the PMD is cleared, so
 * that nobody is writing to it.
 */
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/page_table_check.h>
#include <linux/pagemap.h>
#include <linux/pgalloc.h>
#include <linux/rmap.h>
#include <linux/userfaultfd_k.h>
#include <asm/pgalloc.h>

#include "../internal.h"
#include "../pte/run.h"
#include "collapse.h"

#ifdef CONFIG_SHMEM
/**
 * struct file_table - a page table of a file
 * @mm: the address space
 * @vma: the VMA
 * @address: the first address
 * @pmd: the PMD
 * @range: what secondary MMUs are told
 * @pmd_ptl: the PMD's lock, if it is held
 * @ptl: the table's lock; may be the same
 */
struct file_table {
	struct mm_struct *mm;
	struct vm_area_struct *vma;
	unsigned long address;
	pmd_t *pmd;
	struct mmu_notifier_range range;
	spinlock_t *pmd_ptl;
	spinlock_t *ptl;
};

static void table_notify(struct file_table *t)
{
	mmu_notifier_range_init(&t->range, MMU_NOTIFY_CLEAR, 0, t->mm, t->address,
				t->address + HPAGE_PMD_SIZE);
	mmu_notifier_invalidate_range_start(&t->range);
}

static void table_lock_pmd(struct file_table *t)
{
	t->pmd_ptl = pmd_lock(t->mm, t->pmd);
}

static void table_lock(struct file_table *t)
{
	if (!t->pmd_ptl)
		spin_lock(t->ptl);
	else if (t->ptl != t->pmd_ptl)
		spin_lock_nested(t->ptl, SINGLE_DEPTH_NESTING);
}

static void table_unlock(struct file_table *t)
{
	if (t->ptl != t->pmd_ptl)
		spin_unlock(t->ptl);
	if (t->pmd_ptl)
		spin_unlock(t->pmd_ptl);
	t->pmd_ptl = NULL;
}

/* An empty table out of its PMD. Both are locked; neither is afterwards. */
static void table_remove(struct file_table *t)
{
	pmd_t table = pmdp_collapse_flush(t->vma, t->address, t->pmd);

	pmdp_get_lockless_sync();
	table_unlock(t);
	mmu_notifier_invalidate_range_end(&t->range);
	mm_dec_nr_ptes(t->mm);
	page_table_check_pte_clear_range(t->mm, t->address, table);
	pte_free_defer(t->mm, pmd_pgtable(table));
}

/* --- all VMAs of a file ----------------------------------------------------------------- */

static bool vma_keeps_tables(struct vm_area_struct *vma)
{
	return READ_ONCE(vma->anon_vma) || userfaultfd_wp(vma);
}

/*
 * mmap_lock is not held: the table is found as the reverse map finds it, and who gives the VMA an
 * anon_vma or a userfaultfd may put something into it. Under the table's lock that is asked again.
 */
static void retract_in_vma(struct vm_area_struct *vma, pgoff_t first)
{
	struct file_table t = { .mm = vma->vm_mm, .vma = vma };

	t.address = vma->vm_start + ((first - vma->vm_pgoff) << PAGE_SHIFT);
	if (t.address & ~HPAGE_PMD_MASK || vma->vm_end < t.address + HPAGE_PMD_SIZE ||
	    vma_keeps_tables(vma))
		return;
	if (collapse_find_table(t.mm, t.address, &t.pmd) != SCAN_SUCCEED ||
	    collapse_mm_ends(t.mm))
		return;
	table_notify(&t);
	table_lock_pmd(&t);
	t.ptl = pte_lockptr(t.mm, t.pmd);
	table_lock(&t);
	if (likely(!vma_keeps_tables(vma))) {
		table_remove(&t);
		return;
	}
	table_unlock(&t);
	mmu_notifier_invalidate_range_end(&t.range);
}

/**
 * collapse_retract_tables - free the page tables of a range of which nothing is mapped
 * @mapping: the file's page cache
 * @first: the first index, aligned
 *
 * Context: the huge page there is locked, so nothing gets mapped.
 */
void collapse_retract_tables(struct address_space *mapping, pgoff_t first)
{
	struct vm_area_struct *vma;

	i_mmap_lock_read(mapping);
	vma_interval_tree_foreach(vma, &mapping->i_mmap, first, first)
		retract_in_vma(vma, first);
	i_mmap_unlock_read(mapping);
}

/* --- one VMA, which maps the huge page by entries --------------------------------------- */

/*
 * How many of the next entries map the next pages of the folio? 0 if the first is something else,
 * and *@result says what; *@empty: they are nothing.
 */
static unsigned long table_run(struct file_table *t, pte_t *table, unsigned long i,
			       struct folio *folio, bool *empty, enum scan_result *result)
{
	pte_t pte = ptep_get(table + i);
	struct page *page;

	*empty = pte_none(pte);
	if (*empty)
		return 1;
	if (!pte_present(pte)) {
		*result = SCAN_PTE_NON_PRESENT;
		return 0;
	}
	page = vm_normal_page(t->vma, t->address + i * PAGE_SIZE, pte);
	/* A page of its own, of a debugger or of a private mapping. */
	if (page != folio_page(folio, i)) {
		*result = SCAN_FAIL;
		return 0;
	}
	return pte_run_length(table + i, pte, HPAGE_PMD_NR - i);
}

/* Do they map nothing else? Before secondary MMUs are told, as mostly they do. */
static enum scan_result table_check(struct file_table *t, struct folio *folio)
{
	enum scan_result result = SCAN_SUCCEED;
	unsigned long i, nr;
	spinlock_t *ptl;
	pte_t *table;
	bool empty;

	table = pte_offset_map_lock(t->mm, t->pmd, t->address, &ptl);
	if (!table)
		return SCAN_FAIL;
	for (i = 0; i < HPAGE_PMD_NR; i += nr) {
		nr = table_run(t, table, i, folio, &empty, &result);
		if (!nr)
			break;
	}
	pte_unmap_unlock(table, ptl);
	return result;
}

/*
 * The entries go, and their number into *@cleared, until one is something else: a fault may have
 * copied a page, or reclaim taken one, since they were looked at. An entry must be gone before the
 * folio's lock is, or truncation would count it out again. They are not flushed one by one: the PMD
 * is, or the caller does it.
 */
static enum scan_result table_clear(struct file_table *t, pte_t *table, struct folio *folio,
				    unsigned long *cleared)
{
	enum scan_result result = SCAN_SUCCEED;
	unsigned long i, k, nr;
	bool empty;

	for (i = 0; i < HPAGE_PMD_NR; i += nr) {
		nr = table_run(t, table, i, folio, &empty, &result);
		if (!nr)
			break;
		if (empty)
			continue;
		for (k = i; k < i + nr; k++)
			ptep_clear(t->mm, t->address + k * PAGE_SIZE, table + k);
		folio_remove_rmap_ptes(folio, folio_page(folio, i), nr, t->vma);
		*cleared += nr;
	}
	return result;
}

static void table_count_out(struct file_table *t, struct folio *folio, unsigned long nr)
{
	if (!nr)
		return;
	folio_ref_sub(folio, nr);
	add_mm_counter(t->mm, mm_counter_file(folio), -nr);
}

/*
 * In a private mapping of a userfaultfd's, UFFDIO_COPY puts pages into the table without having
 * looked at the page cache: the folio's lock does not keep it away, so the table's lock is not let
 * go of until the table is in no PMD; then the PMD's lock, which comes first, is taken first.
 */
static bool table_is_filled_blindly(const struct file_table *t)
{
	return userfaultfd_armed(t->vma) && !(t->vma->vm_flags & VM_SHARED);
}

static enum scan_result table_empty_and_remove(struct file_table *t, struct folio *folio)
{
	enum scan_result result = SCAN_FAIL;
	unsigned long cleared = 0;
	pte_t *table;

	table_notify(t);
	if (table_is_filled_blindly(t))
		table_lock_pmd(t);
	table = pte_offset_map_nolock(t->mm, t->pmd, t->address, &t->ptl);
	if (!table)
		goto out;
	table_lock(t);
	result = table_clear(t, table, folio, &cleared);
	pte_unmap(table);
	table_count_out(t, folio, cleared);
	if (result == SCAN_SUCCEED && !t->pmd_ptl) {
		spin_unlock(t->ptl);
		table_lock_pmd(t);
		table_lock(t);
	}
	if (result == SCAN_SUCCEED) {
		table_remove(t);
		return result;
	}
	if (cleared)
		flush_tlb_mm(t->mm);
	table_unlock(t);
	mmu_notifier_invalidate_range_end(&t->range);
	return result;
out:
	if (t->pmd_ptl)
		spin_unlock(t->pmd_ptl);
	mmu_notifier_invalidate_range_end(&t->range);
	return result;
}

/* Where nothing was ever mapped there may be nothing to hold the PMD. */
static bool table_levels(struct file_table *t)
{
	p4d_t *p4d = p4d_alloc(t->mm, pgd_offset(t->mm, t->address), t->address);
	pud_t *pud = p4d ? pud_alloc(t->mm, p4d, t->address) : NULL;

	return pud && pmd_alloc(t->mm, pud, t->address);
}

static enum scan_result map_huge(struct file_table *t, struct folio *folio)
{
	struct vm_fault fault = { .vma = t->vma, .address = t->address, .pmd = t->pmd };

	if (do_set_pmd(&fault, &folio->page))
		return SCAN_FAIL;
	folio_get(folio);
	return SCAN_SUCCEED;
}

static enum scan_result remap_folio(struct file_table *t, struct folio *folio, bool install)
{
	enum scan_result result = collapse_find_table(t->mm, t->address, &t->pmd);

	if (result == SCAN_SUCCEED) {
		result = table_check(t, folio);
		if (result == SCAN_SUCCEED)
			result = table_empty_and_remove(t, folio);
	} else if (result == SCAN_PMD_NONE) {
		result = SCAN_SUCCEED;
	}
	return result == SCAN_SUCCEED && install ? map_huge(t, folio) : result;
}

/**
 * collapse_pte_mapped_thp - map a huge page of the page cache as one
 * @mm: the address space
 * @addr: an address in the range
 * @install_pmd: map it; else the next fault does
 *
 * Uprobes call this when a page of their own is gone again. Settings are not asked: a fault would
 * map it, too.
 *
 * Context: mmap_lock held.
 * Return: SCAN_SUCCEED; SCAN_PMD_MAPPED if it was; or what is in its way.
 */
int collapse_pte_mapped_thp(struct mm_struct *mm, unsigned long addr, bool install_pmd)
{
	struct file_table t = { .mm = mm, .address = addr & HPAGE_PMD_MASK };
	enum scan_result result;
	struct folio *folio;

	mmap_assert_locked(mm);
	t.vma = vma_lookup(mm, t.address);
	if (!t.vma || !t.vma->vm_file ||
	    !range_in_vma(t.vma, t.address, t.address + HPAGE_PMD_SIZE))
		return SCAN_VMA_CHECK;
	if (collapse_find_table(mm, t.address, &t.pmd) == SCAN_PMD_MAPPED)
		return SCAN_PMD_MAPPED;
	if (!thp_vma_allowable_order(t.vma, t.vma->vm_flags, 0, PMD_ORDER))
		return SCAN_VMA_CHECK;
	if (userfaultfd_wp(t.vma))
		return SCAN_PTE_UFFD_WP;
	/* Before the folio is locked, as for that it may be waited. */
	if (install_pmd && !t.pmd && !table_levels(&t))
		return SCAN_ALLOC_HUGE_PAGE_FAIL;
	folio = filemap_lock_folio(t.vma->vm_file->f_mapping,
				   linear_page_index(t.vma, t.address));
	if (IS_ERR(folio))
		return SCAN_PAGE_NULL;
	result = folio_order(folio) == HPAGE_PMD_ORDER ? remap_folio(&t, folio, install_pmd) :
							 SCAN_PAGE_COMPOUND;
	folio_unlock(folio);
	folio_put(folio);
	return result;
}
#else
void collapse_retract_tables(struct address_space *mapping, pgoff_t first)
{
}
#endif

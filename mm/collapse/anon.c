// SPDX-License-Identifier: GPL-2.0
/*
 * The collapse of a table of anonymous memory. Its states are in collapse.h.
 *
 * What keeps others away while the table is in no PMD:
 *
 *	page faults		mmap_lock and the VMA's lock are held for writing
 *	the reverse map		anon_vma is locked until the folios are, and it needs their locks
 *	GUP-fast		looks at the PMD again after it took a reference; and works with
 *				interrupts off, which is waited for
 *	other CPUs' TLBs	are flushed when the PMD is cleared
 *	secondary MMUs		were told; they look again when asked, with mmap_lock
 *	UFFDIO_MOVE, mremap,	need mmap_lock
 *	madvise, munmap, exit
 */
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pgalloc.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <asm/pgalloc.h>
#include <asm/tlb.h>

#include "../internal.h"
#include "collapse.h"

#include <trace/events/huge_memory.h>

static enum scan_result anon_vma_find(struct collapse *c)
{
	enum scan_result result = collapse_find_vma(c->mm, c->address, c->by, &c->vma);

	if (result == SCAN_SUCCEED && (!c->vma->anon_vma || !vma_is_anonymous(c->vma)))
		return SCAN_PAGE_ANON;
	return result;
}

/**
 * collapse_anon_find - the VMA and the PMD again, after mmap_lock was let go of
 * @c: the collapse; @c->vma and @c->pmd are set
 *
 * Context: mmap_lock held.
 * Return: SCAN_SUCCEED if memory is still anonymous, in a table; or what it is.
 */
enum scan_result collapse_anon_find(struct collapse *c)
{
	enum scan_result result = anon_vma_find(c);

	return result == SCAN_SUCCEED ? collapse_find_table(c->mm, c->address, &c->pmd) : result;
}

/* The huge page is there before anything is locked: to make room for it may take long. */
static enum scan_result anon_alloc(struct collapse *c)
{
	enum scan_result result = collapse_alloc(c->by, c->mm, HPAGE_PMD_ORDER, &c->folio);

	if (result == SCAN_SUCCEED)
		collapse_to(c, COLLAPSE_ALLOCATED);
	return result;
}

/* Not under the lock for writing: a fault may have to wait for the swap device. */
static enum scan_result anon_swapin(struct collapse *c)
{
	enum scan_result result;

	if (!c->count.swapped)
		return SCAN_SUCCEED;
	mmap_read_lock(c->mm);
	result = collapse_anon_find(c);
	if (result != SCAN_SUCCEED) {
		mmap_read_unlock(c->mm);
		return result;
	}
	result = collapse_swapin(c);
	if (result == SCAN_SUCCEED)
		mmap_read_unlock(c->mm);
	return result;
}

/* mmap_write_lock() and vma_start_write() that do not wait. */
static bool mm_try_write(struct mm_struct *mm)
{
	bool locked;

	__mmap_lock_trace_start_locking(mm, true);
	locked = down_write_trylock(&mm->mmap_lock);
	if (locked)
		mm_lock_seqcount_begin(mm);
	__mmap_lock_trace_acquire_returned(mm, true, locked);
	return locked;
}

static bool vma_try_write(struct vm_area_struct *vma)
{
#ifdef CONFIG_PER_VMA_LOCK
	unsigned int seq;

	if (__is_vma_write_locked(vma, &seq))
		return true;
	if (!down_write_trylock(&vma->vm_lock->lock))
		return false;
	WRITE_ONCE(vma->vm_lock_seq, seq);
	up_write(&vma->vm_lock->lock);
#endif
	return true;
}

/* With what was found; or with nothing. */
static enum scan_result anon_locked(struct collapse *c, enum scan_result result)
{
	if (result != SCAN_SUCCEED) {
		mmap_write_unlock(c->mm);
		return result;
	}
	anon_vma_lock_write(c->vma->anon_vma);
	collapse_to(c, COLLAPSE_LOCKED);
	return SCAN_SUCCEED;
}

/* With folios locked: see ahead.c. Return: false if somebody would have to be waited for. */
static bool anon_try_lock(struct collapse *c, enum scan_result *result)
{
	if (!mm_try_write(c->mm))
		return false;
	/* Nobody but us. */
	if (collapse_lock_seq(c->mm) != c->ahead_seq + 1) {
		mmap_write_unlock(c->mm);
		return false;
	}
	*result = collapse_anon_find(c);
	if (*result == SCAN_SUCCEED && !vma_try_write(c->vma)) {
		mmap_write_unlock(c->mm);
		return false;
	}
	*result = anon_locked(c, *result);
	if (*result != SCAN_SUCCEED)
		collapse_ahead_release(c, 0);
	return true;
}

static enum scan_result anon_lock(struct collapse *c)
{
	enum scan_result result;

	if (c->ahead) {
		if (anon_try_lock(c, &result))
			return result;
		collapse_ahead_release(c, 0);
	}
	mmap_write_lock(c->mm);
	result = collapse_anon_find(c);
	if (result == SCAN_SUCCEED)
		vma_start_write(c->vma);
	return anon_locked(c, result);
}

static void anon_detach(struct collapse *c)
{
	struct mmu_notifier_range range;
	spinlock_t *ptl;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, c->mm, c->address,
				c->address + HPAGE_PMD_SIZE);
	mmu_notifier_invalidate_range_start(&range);
	ptl = pmd_lock(c->mm, c->pmd);
	/* No CPU may have small and huge entries of one address in its TLB. */
	c->table = pmdp_collapse_flush(c->vma, c->address, c->pmd);
	c->given_back = collapse_is_given_back(c->table);
	spin_unlock(ptl);
	mmu_notifier_invalidate_range_end(&range);
	tlb_remove_table_sync_one();
	collapse_to(c, COLLAPSE_DETACHED);
}

/* Before folios are unlocked: who comes by the reverse map then has to find it. */
static void anon_attach(struct collapse *c)
{
	spinlock_t *ptl = pmd_lock(c->mm, c->pmd);

	VM_WARN_ON_ONCE(!pmd_none(*c->pmd));
	pmd_populate(c->mm, c->pmd, pmd_pgtable(c->table));
	spin_unlock(ptl);
}

/* The empty table is kept: to split the huge page one day takes no memory. */
static void anon_set(struct collapse *c, pmd_t pmd)
{
	collapse_forget_given_back(c->table);
	pgtable_trans_huge_deposit(c->mm, c->pmd, pmd_pgtable(c->table));
	set_pmd_at(c->mm, c->address, c->pmd, pmd);
	update_mmu_cache_pmd(c->vma, c->address, c->pmd);
	collapse_to(c, COLLAPSE_MAPPED);
}

/* If one entry was protected for userfaultfd, all were: it would see no write otherwise. */
static pmd_t anon_pmd(struct collapse *c)
{
	pmd_t pmd = pmd_mkdirty(mk_huge_pmd(&c->folio->page, c->vma->vm_page_prot));

	return c->count.uffd_wp ? pmd_mkuffd_wp(pmd) : maybe_pmd_mkwrite(pmd, c->vma);
}

static void anon_map(struct collapse *c)
{
	pmd_t pmd = anon_pmd(c);
	spinlock_t *ptl;

	/* With a barrier: the contents are seen before the mapping is. */
	__folio_mark_uptodate(c->folio);
	ptl = pmd_lock(c->mm, c->pmd);
	VM_WARN_ON_ONCE(!pmd_none(*c->pmd));
	folio_add_new_anon_rmap(c->folio, c->vma, c->address, RMAP_EXCLUSIVE);
	folio_add_lru_vma(c->folio, c->vma);
	anon_set(c, pmd);
	deferred_split_folio(c->folio, false);
	spin_unlock(ptl);
	c->folio = NULL;
}

/* --- by a copy -------------------------------------------------------------------------- */

/* anon_vma is unlocked in here, as soon as the folios' locks keep the reverse map away. */
static enum scan_result anon_replace(struct collapse *c)
{
	enum scan_result result = SCAN_PMD_NULL;
	spinlock_t *ptl;
	pte_t *table;

	table = pte_offset_map_lock(c->mm, &c->table, c->address, &ptl);
	if (table) {
		result = collapse_take(c, table);
		spin_unlock(ptl);
	} else {
		collapse_ahead_release(c, 0);
	}
	if (result != SCAN_SUCCEED) {
		if (table)
			pte_unmap(table);
		anon_attach(c);
		anon_vma_unlock_write(c->vma->anon_vma);
		return result;
	}
	collapse_to(c, COLLAPSE_TAKEN);
	anon_vma_unlock_write(c->vma->anon_vma);

	result = collapse_copy(c, table);
	if (result == SCAN_SUCCEED) {
		collapse_to(c, COLLAPSE_COPIED);
		collapse_let_go(c, table, ptl);
		pte_unmap(table);
		anon_map(c);
	} else {
		anon_attach(c);
		collapse_give_back(c, table, HPAGE_PMD_NR);
		pte_unmap(table);
	}
	return result;
}

static enum scan_result anon_by_copy(struct collapse *c)
{
	enum scan_result result = anon_alloc(c);

	if (result == SCAN_SUCCEED)
		result = anon_swapin(c);
	if (result == SCAN_SUCCEED)
		result = collapse_ahead(c);
	if (result == SCAN_SUCCEED)
		result = anon_lock(c);
	if (result == SCAN_SUCCEED) {
		anon_detach(c);
		result = anon_replace(c);
		mmap_write_unlock(c->mm);
	}
	if (c->folio)
		folio_put(c->folio);
	return result;
}

/* --- in place --------------------------------------------------------------------------- */

/* Detached, it cannot change; it may have changed before. */
static enum scan_result anon_convert(struct collapse *c)
{
	spinlock_t *pmd_ptl, *ptl;
	pte_t *table;
	pmd_t pmd;
	bool whole;

	table = pte_offset_map_lock(c->mm, &c->table, c->address, &ptl);
	whole = table && collapse_is_whole(c->vma, c->address, table);
	if (whole)
		pmd = collapse_in_place(c, table);
	if (table)
		pte_unmap_unlock(table, ptl);
	if (!whole) {
		anon_attach(c);
		return SCAN_PAGE_COUNT;
	}
	pmd_ptl = pmd_lock(c->mm, c->pmd);
	anon_set(c, pmd);
	spin_unlock(pmd_ptl);
	return SCAN_SUCCEED;
}

static enum scan_result anon_in_place(struct collapse *c)
{
	enum scan_result result = anon_lock(c);

	if (result != SCAN_SUCCEED)
		return result;
	anon_detach(c);
	result = anon_convert(c);
	anon_vma_unlock_write(c->vma->anon_vma);
	mmap_write_unlock(c->mm);
	return result;
}

/**
 * collapse_anon - make a huge page of a table that is worth while
 * @c: the collapse, SCANNED
 *
 * Context: mmap_lock held for reading; not held afterwards. Sleeps.
 * Return: SCAN_SUCCEED; or what went wrong, with the table as it was.
 */
enum scan_result collapse_anon(struct collapse *c)
{
	enum scan_result result;

	mmap_read_unlock(c->mm);
	result = c->count.whole ? anon_in_place(c) : anon_by_copy(c);
	trace_mm_collapse_huge_page(c->mm, result == SCAN_SUCCEED, result);
	return result;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Hugetlb folios. They are moved one by one: each has its locks, its pool to be asked for a target,
 * and a TLB flush more or less does not matter for so many pages.
 *
 *	target -> lock -> pin the anon_vma -> lock the target
 *		-> (shared: i_mmap for writing, since page tables may be unshared)
 *		-> migration entries -> contents -> new entries or the old ones
 *		-> unlock -> the pool's books
 *
 * Direct I/O leaves no PG_writeback here, but references: then the folio stays.
 */
#include <linux/hugetlb.h>
#include <linux/hugetlb_cgroup.h>
#include <linux/pagemap.h>
#include <linux/rmap_runs.h>
#include <linux/sched.h>
#include <linux/swapops.h>

#include "migrate.h"

/* Patience: so many tries are made without waiting for the folio's lock. */
#define HUGETLB_TRYLOCKS	3

/**
 * migration_entry_wait_huge - wait for a migration of a hugetlb folio
 * @vma: the VMA, its hugetlb lock held; released when this returns
 * @addr: where the entry was
 * @ptep: the entry
 *
 * The lock keeps the page table, which may be shared; once the entry is found to be one of
 * migration under the page table lock, that keeps it.
 *
 * Context: sleeps.
 */
void migration_entry_wait_huge(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep)
{
	spinlock_t *ptl = huge_pte_lockptr(hstate_vma(vma), vma->vm_mm, ptep);
	pte_t pte;

	hugetlb_vma_assert_locked(vma);
	spin_lock(ptl);
	pte = huge_ptep_get(vma->vm_mm, addr, ptep);
	if (is_hugetlb_entry_migration(pte)) {
		hugetlb_vma_unlock_read(vma);
		migration_entry_wait_on_locked(pte_to_swp_entry(pte), ptl);
	} else {
		spin_unlock(ptl);
		hugetlb_vma_unlock_read(vma);
	}
}

/* Both folios are locked, the anon_vma is pinned. */
static int hugetlb_move(struct folio *dst, struct folio *src, enum migrate_mode mode)
{
	struct address_space *mapping = NULL;
	bool mapped = folio_mapped(src);
	int err = -EAGAIN;

	if (mapped && !folio_test_anon(src)) {
		mapping = hugetlb_folio_mapping_lock_write(src);
		if (!mapping)
			return -EAGAIN;
	}
	if (mapped)
		try_to_migrate(src, mapping ? TTU_RMAP_LOCKED : 0);
	if (!folio_mapped(src))
		err = migrate_contents(dst, src, mode);
	if (mapped)
		rmap_restore(src, err ? src : dst, mapping ? RMP_LOCKED : 0);
	if (mapping)
		i_mmap_unlock_write(mapping);
	return err;
}

static int hugetlb_move_locked(struct migrate_call *call, struct folio *dst, struct folio *src)
{
	struct anon_vma *av = NULL;
	int err = -EAGAIN;

	/* It is being freed; with its mapping gone, the subpool's use would be counted wrong. */
	if (hugetlb_folio_subpool(src) && !folio_mapping(src))
		return -EBUSY;
	if (folio_test_anon(src))
		av = folio_get_anon_vma(src);
	if (likely(folio_trylock(dst))) {
		err = hugetlb_move(dst, src, call->mode);
		folio_unlock(dst);
	}
	if (av)
		put_anon_vma(av);
	if (!err)
		move_hugetlb_state(src, dst, call->reason);
	return err;
}

static bool hugetlb_lock_source(struct migrate_call *call, struct folio *src, bool wait)
{
	if (folio_trylock(src))
		return true;
	if (!wait || call->mode != MIGRATE_SYNC)
		return false;
	folio_lock(src);
	return true;
}

/* Return: 0, and it is off the list; -EAGAIN; -ENOMEM: no target; or why not. */
static int migrate_hugetlb(struct migrate_call *call, struct folio *src, bool wait)
{
	struct folio *dst;
	int err = -EAGAIN;

	/* How it is mapped may not be known to the caller, who found it by its frame. */
	if (!hugepage_migration_supported(folio_hstate(src)))
		return -EOPNOTSUPP;
	if (folio_ref_count(src) == 1) {
		folio_putback_active_hugetlb(src);
		return 0;
	}
	dst = call->get_new(src, call->private);
	if (!dst)
		return -ENOMEM;
	if (hugetlb_lock_source(call, src, wait)) {
		err = hugetlb_move_locked(call, dst, src);
		folio_unlock(src);
	}
	if (!err)
		folio_putback_active_hugetlb(src);
	/* Used or not, our reference of it goes: into the pool's list, or to whom has it. */
	if (err && call->put_new)
		call->put_new(dst, call->private);
	else
		folio_putback_active_hugetlb(dst);
	return err;
}

/* One pass over the hugetlb folios of the list. Return: -ENOMEM, or how many are left. */
static int hugetlb_pass(struct migrate_call *call, int pass, int *failed, unsigned int *left)
{
	struct folio *folio, *next;
	int again = 0;

	*left = 0;
	list_for_each_entry_safe(folio, next, call->from, lru) {
		unsigned long nr = folio_nr_pages(folio);
		int err;

		if (!folio_test_hugetlb(folio))
			continue;
		cond_resched();
		err = migrate_hugetlb(call, folio, pass >= HUGETLB_TRYLOCKS);
		if (!err) {
			call->stats.succeeded += nr;
		} else if (err == -ENOMEM) {
			*left += nr;
			return -ENOMEM;
		} else if (err == -EAGAIN) {
			again++;
			*left += nr;
		} else {
			(*failed)++;
			call->stats.failed += nr;
			list_move_tail(&folio->lru, &call->given_up);
		}
	}
	return again;
}

/**
 * migrate_hugetlbs - migrate the hugetlb folios of a call
 * @call: the call; those that may succeed another time stay on its list
 *
 * Return: how many failed; -ENOMEM when there was no target for one.
 */
int migrate_hugetlbs(struct migrate_call *call)
{
	int pass, failed = 0, again = 1;
	unsigned int left = 0;

	for (pass = 0; pass < MIGRATE_TRIES && again > 0; pass++)
		again = hugetlb_pass(call, pass, &failed, &left);
	call->stats.failed += left;
	return again < 0 ? again : failed + again;
}

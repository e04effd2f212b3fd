// SPDX-License-Identifier: GPL-2.0
/*
 * Device-exclusive entries: pages that one device may use and no CPU.
 *
 *	make_device_exclusive_range()	for each page: GUP, lock
 *	  exclusive_folio()		  walk the reverse map
 *	    exclusive_run()		    present -> device exclusive
 *
 * A CPU that touches the page faults, the driver's notifier is called, and the mapping is
 * put back. The entry counts as a mapping no more but keeps its reference.
 */
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "unmap.h"

#ifdef CONFIG_DEVICE_PRIVATE
/* One folio to be made exclusive, and the mapping that must be among those replaced. */
struct exclusive {
	struct mm_struct *mm;
	unsigned long address;
	void *owner;
	bool writable;	/* the mapping wanted was found, writable, and replaced */
};

static __always_inline enum rmap_verdict exclusive_run(struct rmap_unmap *u, unsigned long nr)
{
	struct exclusive *want = u->op->arg;
	struct rmap_run *run = &u->run;
	unsigned long addr = run->at.address;
	struct pte_leaf leaf;

	if (WARN_ON_ONCE(!run->at.pte) || !pte_present(run->pte))
		return RMAP_FAIL;
	leaf = pte_leaf_decode_present(run->pte);
	rmap_unmap_clear(u, nr);
	if (want->mm == run->at.vma->vm_mm && leaf.flags & LEAF_WRITE &&
	    want->address - addr < nr * PAGE_SIZE)
		want->writable = true;
	leaf.kind = LEAF_DEVICE_EXCLUSIVE;
	pte_run_set_swp(run->at.vma->vm_mm, addr, run->at.pte, leaf, nr);
	/* The entries keep their references. */
	folio_remove_rmap_ptes(run->folio, run->page, nr, run->at.vma);
	return RMAP_NEXT;
}

static bool exclusive_one(struct folio *folio, struct vm_area_struct *vma, unsigned long addr,
			  void *arg)
{
	struct exclusive *want = arg;
	struct rmap_unmap_op op = {
		.one = exclusive_run,
		.event = MMU_NOTIFY_EXCLUSIVE,
		.owner = want->owner,
		.arg = want,
	};

	return rmap_unmap_vma(folio, vma, addr, 0, &op);
}

/* Anonymous memory only: a file's would have to be written back meanwhile. */
static bool exclusive_folio(struct folio *folio, struct exclusive *want)
{
	struct rmap_walk_control rwc = {
		.rmap_one = exclusive_one,
		.done = rmap_unmap_finished,
		.anon_lock = folio_lock_anon_vma_read,
		.arg = want,
	};

	if (!folio_test_anon(folio) || folio_test_hugetlb(folio))
		return false;
	rmap_walk(folio, &rwc);
	return want->writable && !folio_mapped(folio);
}

/**
 * make_device_exclusive_range - let a device use pages of a process alone
 * @mm: the process's address space
 * @start: where the pages are, page aligned
 * @end: where they end
 * @pages: set to each page, locked and referenced, or NULL where it could not be had
 * @owner: given to the notifiers as MMU_NOTIFY_EXCLUSIVE's owner, for a driver to know its
 *	own calls
 *
 * The driver programs the device inside a notifier critical section, then unlocks and
 * releases the pages; a CPU's next touch calls the notifiers and ends the exclusive use.
 *
 * Context: mmap_lock held for reading. Sleeps, faults pages in for writing.
 * Return: pages found, of which @pages has those that were replaced; or a negative errno.
 */
int make_device_exclusive_range(struct mm_struct *mm, unsigned long start, unsigned long end,
				struct page **pages, void *owner)
{
	struct exclusive want = { .mm = mm, .address = start, .owner = owner };
	long i, nr;

	mmap_assert_locked(mm);
	nr = get_user_pages_remote(mm, start, (end - start) >> PAGE_SHIFT,
				   FOLL_GET | FOLL_WRITE | FOLL_SPLIT_PMD, pages, NULL);
	for (i = 0; i < nr; i++, want.address += PAGE_SIZE) {
		struct folio *folio = page_folio(pages[i]);
		bool locked = !PageTail(pages[i]) && folio_trylock(folio);

		want.writable = false;
		if (locked && exclusive_folio(folio, &want))
			continue;
		if (locked)
			folio_unlock(folio);
		folio_put(folio);
		pages[i] = NULL;
	}
	return nr;
}
EXPORT_SYMBOL_GPL(make_device_exclusive_range);
#endif

// SPDX-License-Identifier: GPL-2.0
/*
 * Has a folio been used? Reclaim asks, for all mappings, and clears what it found.
 *
 *	folio_referenced() -> rmap_walk() -> for each VMA: referenced_one()
 *						for each run: Accessed, secondary MMUs
 *
 * A folio counts once per VMA that used it, and once more if idle tracking took an
 * Accessed bit away since (the Young flag). A VMA that is locked in memory ends the walk:
 * the folio is not to be reclaimed at all.
 */
#include <linux/hugetlb.h>
#include <linux/idle_ages.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mmu_notifier.h>
#include <linux/oom.h>
#include <linux/page_idle.h>
#include <linux/rmap.h>
#include <linux/swap.h>

#include <asm/tlbflush.h>

#include "../internal.h"
#include "../pte/run.h"
#include "rmap.h"
#include "walk.h"

/**
 * struct referenced - one question
 * @left: mappings not seen yet
 * @count: VMAs that used the folio; -1 when it is about to be freed by an exit
 * @vm_flags: flags of those VMAs
 * @memcg: whose uses count, or NULL for all
 */
struct referenced {
	int left;
	int count;
	unsigned long vm_flags;
	struct mem_cgroup *memcg;
};

/* The look-around of the generational LRU clears the neighbours' Accessed bits with the one
 * it is asked about, so a run needs few calls; but a secondary MMU may know of any page.
 */
static bool referenced_lru_gen(struct page_vma_mapped_walk *at, unsigned long nr)
{
	struct page_vma_mapped_walk entry = *at;
	bool ask = mm_has_notifiers(at->vma->vm_mm), used = false;

	for (; nr--; entry.pte++, entry.address += PAGE_SIZE)
		if (ask || pte_young(ptep_get(entry.pte)))
			used |= lru_gen_look_around(&entry);
	return used;
}

/*
 * Accessed bits of the run at @at. x86 does not flush here: an Accessed bit that stays
 * clear because the translation is in a TLB errs for one round, and costs no IPI.
 */
static unsigned long referenced_ptes(struct page_vma_mapped_walk *at, bool *used)
{
	struct vm_area_struct *vma = at->vma;
	unsigned long addr = at->address, nr = 1, end;
	pte_t pte = ptep_get(at->pte);
	bool young;

	/* Not the CPU's at present. */
	if (!pte_present(pte))
		return 1;
	if (at->nr_pages > 1)
		nr = rmap_run_room(at, pte_pfn(pte), vma_address_end(at));
	if (lru_gen_enabled()) {
		nr = pte_run_length(at->pte, pte, nr);
		*used |= referenced_lru_gen(at, nr);
		return nr;
	}
	nr = pte_run_harvest(vma, addr, at->pte, nr, &young);
	end = addr + nr * PAGE_SIZE;
	if (young && !IS_ENABLED(CONFIG_X86))
		flush_tlb_range(vma, addr, end);
	young |= mmu_notifier_clear_flush_young(vma->vm_mm, addr, end);
	*used |= young;
	return nr;
}

/* A PMD: at->address is where it begins. */
static bool referenced_pmd(struct page_vma_mapped_walk *at)
{
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
	return pmdp_clear_flush_young_notify(at->vma, at->address, at->pmd);
#else
	WARN_ON_ONCE(1);
	return false;
#endif
}

/* Mapped by nobody but a process that is going: it will be freed without being swapped out. */
static bool referenced_exiting(struct folio *folio, struct vm_area_struct *vma)
{
	return (!atomic_read(&vma->vm_mm->mm_users) || check_stable_address_space(vma->vm_mm)) &&
	       folio_test_anon(folio) && folio_test_swapbacked(folio) &&
	       !folio_likely_mapped_shared(folio);
}

/* What one VMA's answer adds. Returns whether to ask the next. */
static bool referenced_add(struct folio *folio, struct vm_area_struct *vma,
			   struct referenced *ref, bool used)
{
	if (used) {
		folio_clear_idle(folio);
		idle_ages_touch(folio);
	}
	if (folio_test_clear_young(folio))
		used = true;
	if (used) {
		ref->count++;
		ref->vm_flags |= vma->vm_flags & ~VM_LOCKED;
	}
	return ref->left;
}

static bool referenced_relock(struct folio *folio, struct vm_area_struct *vma,
			      struct referenced *ref)
{
	mlock_vma_folio(folio, vma);
	ref->vm_flags |= VM_LOCKED;
	return false;
}

/*
 * A VMA locked in memory. What missed its mlock gets it now, if all of the folio is mapped
 * here and through one table; a folio that sticks out of the VMA may be split and reclaimed,
 * and this VMA's use of it does not count.
 */
static bool referenced_locked(struct folio *folio, struct vm_area_struct *vma,
			      unsigned long first, struct referenced *ref)
{
	DEFINE_FOLIO_VMA_WALK(walk, folio, vma, first, 0);
	struct page_vma_mapped_walk *at = &walk;
	unsigned long last = first + folio_size(folio) - 1;
	unsigned long nr = 0, mapped = 0;
	pte_t pte;

	while (rmap_step(at, nr)) {
		if (!at->pte || !folio_test_large(folio)) {
			referenced_relock(folio, vma, ref);
			page_vma_mapped_walk_done(at);
			return false;
		}
		pte = ptep_get(at->pte);
		nr = 1;
		if (pte_present(pte))
			nr = pte_run_length(at->pte, pte, rmap_run_room(at, pte_pfn(pte),
									vma_address_end(at)));
		mapped += nr;
	}
	ref->left -= mapped;
	if (folio_test_large(folio) && folio_within_vma(folio, vma) &&
	    mapped == folio_nr_pages(folio) && (first & PMD_MASK) == (last & PMD_MASK))
		return referenced_relock(folio, vma, ref);
	return referenced_add(folio, vma, ref, false);
}

/* The entry of a folio of one page, without the walk. False when it takes that to find out. */
static __always_inline bool referenced_small(struct folio *folio, struct vm_area_struct *vma,
					     unsigned long addr, struct referenced *ref,
					     bool *used)
{
	struct rmap_run run __uninitialized;

	rmap_run_init(&run, folio, vma, addr, 1);
	switch (rmap_find_small(&run)) {
	case RMAP_ABSENT:
		return true;
	case RMAP_UNSURE:
		return false;
	case RMAP_FOUND:
		break;
	}
	if (unlikely(referenced_exiting(folio, vma))) {
		ref->count = -1;
	} else if (lru_gen_enabled()) {
		*used = lru_gen_look_around(&run.at);
	} else {
		*used = pte_young(run.pte) && pte_run_clear_young(vma, addr, run.at.pte);
		if (*used && !IS_ENABLED(CONFIG_X86))
			flush_tlb_page(vma, addr);
		*used |= mmu_notifier_clear_flush_young(vma->vm_mm, addr, addr + PAGE_SIZE);
	}
	ref->left--;
	pte_unmap_unlock(run.at.pte, run.at.ptl);
	return true;
}

static bool referenced_walk(struct folio *folio, struct vm_area_struct *vma, unsigned long addr,
			    struct referenced *ref)
{
	DEFINE_FOLIO_VMA_WALK(at, folio, vma, addr, 0);
	bool used = false, pmd_used;
	unsigned long nr = 0;

	while (rmap_step(&at, nr)) {
		if (!nr && referenced_exiting(folio, vma)) {
			page_vma_mapped_walk_done(&at);
			ref->count = -1;
			break;
		}
		if (at.pte) {
			nr = referenced_ptes(&at, &used);
		} else {
			pmd_used = referenced_pmd(&at);
			used |= pmd_used;
			nr = 1;
		}
		ref->left -= nr;
	}
	return used;
}

static bool referenced_one(struct folio *folio, struct vm_area_struct *vma, unsigned long addr,
			   void *arg)
{
	struct referenced *ref = arg;
	bool used = false;

	if (unlikely(vma->vm_flags & VM_LOCKED))
		return referenced_locked(folio, vma, addr, ref);
	if (folio_test_large(folio) || !referenced_small(folio, vma, addr, ref, &used))
		used = referenced_walk(folio, vma, addr, ref);
	if (ref->count < 0)
		return false;
	return referenced_add(folio, vma, ref, used);
}

/*
 * A VMA that is read once from end to end, or at random by the user's own word, tells
 * nothing of what will be used again; nor does another cgroup's, for a cgroup's reclaim.
 */
static bool referenced_invalid_vma(struct vm_area_struct *vma, void *arg)
{
	struct referenced *ref = arg;

	return !vma_has_recency(vma) || (ref->memcg && !mm_match_cgroup(vma->vm_mm, ref->memcg));
}

/**
 * folio_referenced - test and clear the Accessed bits of all mappings of a folio
 * @folio: the folio, referenced, off the LRU lists
 * @is_locked: the caller holds the folio lock
 * @memcg: count uses by this cgroup's processes only, or NULL
 * @vm_flags: set to the flags of the VMAs that used it; VM_LOCKED alone may be of one that
 *	did not
 *
 * Context: sleeps, but does not wait for the rmap lock.
 * Return: how many VMAs used it; 1 when it was locked by somebody else; -1 when the rmap lock
 * was taken, or the folio is about to be freed.
 */
int folio_referenced(struct folio *folio, int is_locked, struct mem_cgroup *memcg,
		     unsigned long *vm_flags)
{
	struct referenced ref = { .left = folio_mapcount(folio), .memcg = memcg };
	struct rmap_walk_control rwc = {
		.rmap_one = referenced_one,
		.invalid_vma = referenced_invalid_vma,
		.anon_lock = folio_lock_anon_vma_read,
		.try_lock = true,
		.arg = &ref,
	};
	bool lock = !is_locked && (!folio_test_anon(folio) || folio_test_ksm(folio));

	*vm_flags = 0;
	if (!ref.left || !folio_raw_mapping(folio))
		return 0;
	if (lock && !folio_trylock(folio))
		return 1;
	rmap_walk(folio, &rwc);
	if (lock)
		folio_unlock(folio);
	*vm_flags = ref.vm_flags;
	return rwc.contended ? -1 : ref.count;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * A huge page goes to another address, as it is.
 *
 *	move_huge_pmd()		mremap(): the VMA goes too, so the reverse map is right as it is
 *	move_pages_huge_pmd()	UFFDIO_MOVE: to another VMA, so it must be nobody else's, and its
 *				place in the reverse map changes
 */
#include <linux/mm.h>
#include <linux/hugetlb.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/userfaultfd_k.h>

#include "thp.h"

/* --- mremap() --------------------------------------------------------------------------- */

/* Power always moves the table; elsewhere it lies with the PMD's lock, for anonymous memory. */
static bool table_moves(spinlock_t *new_ptl, spinlock_t *old_ptl, struct vm_area_struct *vma)
{
#ifdef pmd_move_must_withdraw
	return pmd_move_must_withdraw(new_ptl, old_ptl, vma);
#else
	return new_ptl != old_ptl && vma_is_anonymous(vma);
#endif
}

/* Moved memory counts as written; and is not userfaultfd's, unless that is told of the move. */
static pmd_t moved_pmd(struct vm_area_struct *vma, pmd_t pmd)
{
	bool present = pmd_present(pmd);

	if (IS_ENABLED(CONFIG_MEM_SOFT_DIRTY))
		pmd = present ? pmd_mksoft_dirty(pmd) : pmd_swp_mksoft_dirty(pmd);
	if (vma_has_uffd_without_event_remap(vma))
		pmd = present ? pmd_clear_uffd_wp(pmd) : pmd_swp_clear_uffd_wp(pmd);
	return pmd;
}

/**
 * move_huge_pmd - mremap() of a huge page
 * @vma: the VMA that it is in until now
 * @old_addr: where it is
 * @new_addr: where it shall be
 * @old_pmd: its PMD
 * @new_pmd: the PMD to be, empty as a rule
 *
 * Context: mmap_lock held for writing, so two PMDs may be locked in any order.
 * Return: true if it was moved; false if that has to be done as for a table: if it is none, or if
 * there is already a table where it should go, which a collapse of a file may have put there.
 */
bool move_huge_pmd(struct vm_area_struct *vma, unsigned long old_addr, unsigned long new_addr,
		   pmd_t *old_pmd, pmd_t *new_pmd)
{
	struct mm_struct *mm = vma->vm_mm;
	spinlock_t *old_ptl, *new_ptl;
	pmd_t pmd;

	if (!pmd_none(*new_pmd)) {
		VM_WARN_ON_ONCE(pmd_trans_huge(*new_pmd));
		return false;
	}
	old_ptl = thp_lock_pmd(old_pmd, vma);
	if (!old_ptl)
		return false;
	new_ptl = pmd_lockptr(mm, new_pmd);
	if (new_ptl != old_ptl)
		spin_lock_nested(new_ptl, SINGLE_DEPTH_NESTING);
	pmd = pmdp_huge_get_and_clear(mm, old_addr, old_pmd);
	VM_WARN_ON_ONCE(!pmd_none(*new_pmd));
	if (table_moves(new_ptl, old_ptl, vma))
		pgtable_trans_huge_deposit(mm, new_pmd, pgtable_trans_huge_withdraw(mm, old_pmd));
	set_pmd_at(mm, new_addr, new_pmd, moved_pmd(vma, pmd));
	/* Before the lock is given up: afterwards another may write to the page, or clean it. */
	if (pmd_present(pmd))
		flush_pmd_tlb_range(vma, old_addr, old_addr + PMD_SIZE);
	if (new_ptl != old_ptl)
		spin_unlock(new_ptl);
	spin_unlock(old_ptl);
	return true;
}

/* --- UFFDIO_MOVE ------------------------------------------------------------------------ */

#ifdef CONFIG_USERFAULTFD
/**
 * struct thp_relocation - a huge page on its way to another VMA
 * @mm: the address space
 * @src_vma: where it is
 * @dst_vma: where it shall be
 * @src_addr: its address there
 * @dst_addr: its address to be
 * @src: its PMD
 * @dst: the PMD to be
 * @src_was: what @src said when this began
 * @dst_was: and @dst: nothing
 * @folio: the folio; NULL for the huge zero folio, which needs no care
 */
struct thp_relocation {
	struct mm_struct *mm;
	struct vm_area_struct *src_vma;
	struct vm_area_struct *dst_vma;
	unsigned long src_addr;
	unsigned long dst_addr;
	pmd_t *src;
	pmd_t *dst;
	pmd_t src_was;
	pmd_t dst_was;
	struct folio *folio;
};

/* Nobody else maps or pins it. */
static bool relocation_is_alone(const struct thp_relocation *r)
{
	return PageAnonExclusive(&r->folio->page) && !folio_maybe_dma_pinned(r->folio);
}

/* With both PMDs locked, and the folio and its anon_vma. */
static int relocate_locked(struct thp_relocation *r)
{
	struct page *page = pmd_page(r->src_was);
	pmd_t old, new;

	if (!pmd_same(*r->src, r->src_was) || !pmd_same(*r->dst, r->dst_was))
		return -EAGAIN;
	if (r->folio && (!relocation_is_alone(r) ||
			 WARN_ON_ONCE(!folio_test_large(r->folio) || !folio_test_anon(r->folio))))
		return -EBUSY;
	old = pmdp_huge_clear_flush(r->src_vma, r->src_addr, r->src);
	/* GUP-fast takes its pin and looks at the PMD again: one of us sees the other. */
	if (r->folio && folio_maybe_dma_pinned(r->folio)) {
		set_pmd_at(r->mm, r->src_addr, r->src, old);
		return -EBUSY;
	}
	new = mk_huge_pmd(page, r->dst_vma->vm_page_prot);
	if (r->folio) {
		folio_move_anon_rmap(r->folio, r->dst_vma);
		r->folio->index = linear_page_index(r->dst_vma, r->dst_addr);
		/* As mremap() does, it counts as written. */
		new = pmd_mkwrite(pmd_mkdirty(new), r->dst_vma);
	}
	set_pmd_at(r->mm, r->dst_addr, r->dst, new);
	pgtable_trans_huge_deposit(r->mm, r->dst, pgtable_trans_huge_withdraw(r->mm, r->src));
	return 0;
}

static int relocate_pmds(struct thp_relocation *r)
{
	spinlock_t *src_ptl = pmd_lockptr(r->mm, r->src), *dst_ptl = pmd_lockptr(r->mm, r->dst);
	int err;

	double_pt_lock(src_ptl, dst_ptl);
	err = relocate_locked(r);
	double_pt_unlock(src_ptl, dst_ptl);
	return err;
}

/*
 * A split of the folio walks its anon_vma without the folio's lock: so that is locked, too, while
 * the folio changes its place there.
 */
static int relocate_folio(struct thp_relocation *r)
{
	struct anon_vma *anon_vma;
	int err = -EAGAIN;

	if (!r->folio)
		return relocate_pmds(r);
	folio_lock(r->folio);
	anon_vma = folio_get_anon_vma(r->folio);
	if (anon_vma) {
		anon_vma_lock_write(anon_vma);
		err = relocate_pmds(r);
		anon_vma_unlock_write(anon_vma);
		put_anon_vma(anon_vma);
	}
	folio_unlock(r->folio);
	return err;
}

/*
 * What is there to be moved? With the PMD locked. Return: 0 with a reference of the folio;
 * -EINPROGRESS if it is being moved by somebody else; -ENOENT for a table; -EBUSY if it is shared.
 */
static int relocation_begin(struct thp_relocation *r)
{
	struct page *page;

	if (WARN_ON_ONCE(!pmd_none(r->dst_was) || !IS_ALIGNED(r->src_addr, HPAGE_PMD_SIZE) ||
			 !IS_ALIGNED(r->dst_addr, HPAGE_PMD_SIZE)))
		return -EINVAL;
	if (is_pmd_migration_entry(r->src_was))
		return -EINPROGRESS;
	if (!pmd_trans_huge(r->src_was))
		return -ENOENT;
	if (is_huge_zero_pmd(r->src_was))
		return 0;
	page = pmd_page(r->src_was);
	if (!PageAnonExclusive(page))
		return -EBUSY;
	r->folio = page_folio(page);
	folio_get(r->folio);
	return 0;
}

/**
 * move_pages_huge_pmd - UFFDIO_MOVE of a huge page
 * @mm: the address space
 * @dst_pmd: the PMD to be
 * @src_pmd: its PMD, locked
 * @dst_pmdval: what @dst_pmd was seen to say: nothing
 * @dst_vma: where it shall be
 * @src_vma: where it is
 * @dst_addr: its address to be
 * @src_addr: its address
 *
 * Context: both VMAs are locked; gives up the lock of @src_pmd. Sleeps.
 * Return: 0; -EAGAIN to begin again; -ENOENT if it is not huge; -EBUSY if it is shared or pinned;
 * -EINVAL for what callers must not do.
 */
int move_pages_huge_pmd(struct mm_struct *mm, pmd_t *dst_pmd, pmd_t *src_pmd, pmd_t dst_pmdval,
			struct vm_area_struct *dst_vma, struct vm_area_struct *src_vma,
			unsigned long dst_addr, unsigned long src_addr)
{
	struct thp_relocation r = {
		.mm = mm, .src_vma = src_vma, .dst_vma = dst_vma, .src_addr = src_addr,
		.dst_addr = dst_addr, .src = src_pmd, .dst = dst_pmd, .src_was = *src_pmd,
		.dst_was = dst_pmdval,
	};
	spinlock_t *src_ptl = pmd_lockptr(mm, src_pmd);
	struct mmu_notifier_range range;
	int err;

	lockdep_assert_held(src_ptl);
	vma_assert_locked(src_vma);
	vma_assert_locked(dst_vma);
	err = relocation_begin(&r);
	spin_unlock(src_ptl);
	if (err == -EINPROGRESS) {
		pmd_migration_entry_wait(mm, src_pmd);
		return -EAGAIN;
	}
	if (err)
		return err;
	flush_cache_range(src_vma, src_addr, src_addr + HPAGE_PMD_SIZE);
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, src_addr,
				src_addr + HPAGE_PMD_SIZE);
	mmu_notifier_invalidate_range_start(&range);
	err = relocate_folio(&r);
	mmu_notifier_invalidate_range_end(&range);
	if (r.folio)
		folio_put(r.folio);
	return err;
}
#endif /* CONFIG_USERFAULTFD */

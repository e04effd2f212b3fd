// SPDX-License-Identifier: GPL-2.0
/*
 * PAGEMAP_SCAN: page tables. For each entry, or each thing that is one entry:
 *
 *	categories --> wanted? --> fits? --> reported --> write-protected, if it was written
 *		      no: next	  no: the pass ends here
 *
 * A page counts as written when it is not write-protected for userfaultfd. The usual question
 * is which pages were written, and the usual answer is few: entries that are present and
 * protected are passed over eight at a time. Where what a page is needs no look at the page,
 * entries that say the same are reported together.
 *
 * TLBs are flushed once for each VMA and pass, at its end, and not while the page table's
 * lock is held. Until then a CPU may write through a translation from before. That is no
 * harm: the page is reported as written by a call that has not returned yet. A fault that
 * copies the page must not miss such a write, and is told by mm_tlb_flush_pending() to flush
 * first, as for mprotect().
 *
 * Locks: mmap_lock for reading over a pass; one page table's lock; for hugetlb pages that
 * are write-protected, i_mmap_rwsem before that.
 */
#include <linux/hugetlb.h>
#include <linux/mm_inline.h>
#include <linux/mmu_notifier.h>
#include <linux/pagewalk.h>
#include <linux/swapops.h>
#include <linux/userfaultfd_k.h>

#include "../../../mm/pte/leaf.h"
#include "pagemap.h"
#include "scan.h"

/* Page tables in one hold of the mmap lock, and bytes of a hole that markers are put into. */
#define SCAN_TABLES	64
#define SCAN_HOLE	(SCAN_TABLES * PMD_SIZE)

/* How a walk step ends: at @at for want of room, or with enough done, or not at all. */
static int scan_full(struct pagemap_scan *s, unsigned long at)
{
	s->stop = at;
	return -ENOSPC;
}

static int scan_counted(struct pagemap_scan *s, unsigned long end)
{
	if (--s->tables)
		return 0;
	s->stop = end;
	return -EAGAIN;
}

/* Secondary MMUs forget a range before it is write-protected. */
static void scan_notify_start(struct pagemap_scan *s, struct mmu_notifier_range *range,
			      struct mm_struct *mm, unsigned long start, unsigned long end)
{
	if (!scan_protects(s))
		return;
	mmu_notifier_range_init(range, MMU_NOTIFY_PROTECTION_VMA, 0, mm, start, end);
	mmu_notifier_invalidate_range_start(range);
}

static void scan_notify_end(struct pagemap_scan *s, struct mmu_notifier_range *range)
{
	if (scan_protects(s))
		mmu_notifier_invalidate_range_end(range);
}

/*
 * Before an entry is changed, under its lock: whoever takes that lock next and sees the entry
 * sees that a flush is pending too.
 */
static void scan_flush_later(struct pagemap_scan *s, struct mm_struct *mm, unsigned long start,
			     unsigned long end)
{
	if (s->flush.start == s->flush.end) {
		inc_tlb_flush_pending(mm);
		s->flush.start = start;
	}
	s->flush.end = end;
}

static void scan_flush(struct pagemap_scan *s, struct vm_area_struct *vma)
{
	if (s->flush.start == s->flush.end)
		return;
	flush_tlb_range(vma, s->flush.start, s->flush.end);
	dec_tlb_flush_pending(vma->vm_mm);
	s->flush.start = 0;
	s->flush.end = 0;
}

static void scan_vma_end(struct mm_walk *walk)
{
	scan_flush(walk->private, walk->vma);
}

/* --- small pages --- */

static u64 scan_pte_present(const struct pagemap_scan *s, struct vm_area_struct *vma,
			    unsigned long addr, pte_t pte)
{
	u64 categories = PAGE_IS_PRESENT;

	if (!pte_uffd_wp(pte))
		categories |= PAGE_IS_WRITTEN;
	if (pte_soft_dirty(pte))
		categories |= PAGE_IS_SOFT_DIRTY;
	if (is_zero_pfn(pte_pfn(pte)))
		categories |= PAGE_IS_PFNZERO;
	if (s->asked & PAGE_IS_FILE) {
		struct page *page = pagemap_page(vma, addr, pte);

		if (page && !PageAnon(page))
			categories |= PAGE_IS_FILE;
	}
	return categories;
}

/* A migration or device entry still knows its page, and so whether that is a file's. */
static u64 scan_swap_file(const struct pagemap_scan *s, swp_entry_t entry)
{
	if (!(s->asked & PAGE_IS_FILE) || !is_pfn_swap_entry(entry))
		return 0;
	return folio_test_anon(pfn_swap_entry_folio(entry)) ? 0 : PAGE_IS_FILE;
}

static u64 scan_pte_swapped(const struct pagemap_scan *s, pte_t pte)
{
	u64 categories = PAGE_IS_SWAPPED | scan_swap_file(s, pte_to_swp_entry(pte));

	if (!pte_swp_uffd_wp_any(pte))
		categories |= PAGE_IS_WRITTEN;
	if (pte_swp_soft_dirty(pte))
		categories |= PAGE_IS_SOFT_DIRTY;
	return categories;
}

/* An empty entry in a table has no marker, so what was there, or was not, is not protected. */
static __always_inline u64 scan_pte_category(const struct pagemap_scan *s,
					     struct vm_area_struct *vma, unsigned long addr,
					     pte_t pte)
{
	if (pte_present(pte))
		return scan_pte_present(s, vma, addr, pte);
	return pte_none(pte) ? PAGE_IS_WRITTEN : scan_pte_swapped(s, pte);
}

/*
 * An entry that is restored later must not be restored writable: that would undo it. Whether
 * the page is exclusive means something for anonymous memory only.
 */
static pte_t scan_protect_swp(pte_t pte)
{
	struct pte_leaf leaf = pte_leaf_decode_swp(pte);

	if (!(leaf.flags & LEAF_WRITE))
		return pte_swp_mkuffd_wp(pte);
	leaf.flags &= ~LEAF_WRITE;
	leaf.flags |= LEAF_UFFD_WP;
	if (!folio_test_anon(pfn_swap_entry_folio(pte_to_swp_entry(pte))))
		leaf.flags &= ~LEAF_EXCLUSIVE;
	return pte_leaf_encode(&leaf);
}

static void scan_protect_pte(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep,
			     pte_t pte)
{
	if (pte_present(pte)) {
		pte_t old = ptep_modify_prot_start(vma, addr, ptep);

		ptep_modify_prot_commit(vma, addr, ptep, old, pte_mkuffd_wp(old));
		return;
	}
	pte = pte_none(pte) ? make_pte_marker(PTE_MARKER_UFFD_WP) : scan_protect_swp(pte);
	set_pte_at(vma->vm_mm, addr, ptep, pte);
}

static __always_inline bool scan_protected(pte_t pte)
{
	return pte_present(pte) && pte_uffd_wp(pte);
}

static __always_inline u64 scan_and_four(pte_t *ptep)
{
	return pte_val(ptep_get(ptep)) & pte_val(ptep_get(ptep + 1)) &
	       pte_val(ptep_get(ptep + 2)) & pte_val(ptep_get(ptep + 3));
}

/*
 * Where the next entry is that may have been written. The architectures that have uffd-wp say
 * so, and that an entry is present, by bits that are set: what eight entries have in common
 * says it of each.
 */
static __always_inline pte_t *scan_skip(pte_t *ptep, const pte_t *end)
{
	while (end - ptep >= 8 &&
	       scan_protected(__pte(scan_and_four(ptep) & scan_and_four(ptep + 4))))
		ptep += 8;
	while (ptep < end && scan_protected(ptep_get(ptep)))
		ptep++;
	return ptep;
}

/* Do entries that say the same belong to the same categories, whatever their pages are? */
static bool scan_by_entry(const struct pagemap_scan *s)
{
	return !(s->asked & (PAGE_IS_FILE | PAGE_IS_PFNZERO));
}

/* How many entries from the first one, which is present, say the same as it? */
static __always_inline unsigned long scan_alike(pte_t pte, pte_t *ptep, const pte_t *end)
{
	const int protected = pte_uffd_wp(pte), dirty = pte_soft_dirty(pte);
	pte_t *first = ptep;

	for (ptep++; ptep < end; ptep++) {
		pte = ptep_get(ptep);
		if (!pte_present(pte) || pte_uffd_wp(pte) != protected ||
		    pte_soft_dirty(pte) != dirty)
			break;
	}
	return ptep - first;
}

static void scan_protect_ptes(struct pagemap_scan *s, struct vm_area_struct *vma,
			      unsigned long addr, unsigned long end, pte_t *ptep)
{
	scan_flush_later(s, vma->vm_mm, addr, end);
	for (; addr < end; addr += PAGE_SIZE, ptep++)
		scan_protect_pte(vma, addr, ptep, ptep_get(ptep));
}

/*
 * An entry, or a run of entries of the same categories, and if they are wanted pages of the
 * caller's. @nr: how many, of which the last may not have had room.
 */
static __always_inline int scan_run(struct pagemap_scan *s, struct vm_area_struct *vma,
				    unsigned long addr, pte_t *ptep, const pte_t *last,
				    bool by_entry, unsigned long *nr)
{
	pte_t pte = ptep_get(ptep);
	u64 categories = s->vma_category | scan_pte_category(s, vma, addr, pte);
	unsigned long end, fit;

	*nr = by_entry && pte_present(pte) ? scan_alike(pte, ptep, last) : 1;
	if (!scan_wants(s, categories))
		return 0;
	end = addr + *nr * PAGE_SIZE;
	fit = scan_fit(s, addr, end, categories);
	scan_report(s, addr, fit, categories);
	if (scan_protects(s) && categories & PAGE_IS_WRITTEN && fit > addr)
		scan_protect_ptes(s, vma, addr, fit, ptep);
	return fit == end ? 0 : scan_full(s, fit);
}

static int scan_ptes(struct pagemap_scan *s, struct vm_area_struct *vma, pte_t *start,
		     unsigned long addr, unsigned long end)
{
	pte_t *last = start + ((end - addr) >> PAGE_SHIFT), *ptep = start;
	/* Written pages are few, and rarely beside each other. */
	const bool skips = scan_wants_written(s), by_entry = !skips && scan_by_entry(s);
	unsigned long nr;
	int err = 0;

	for (; !err && ptep < last; ptep += nr) {
		if (skips) {
			ptep = scan_skip(ptep, last);
			if (ptep == last)
				break;
		}
		err = scan_run(s, vma, addr + (ptep - start) * PAGE_SIZE, ptep, last, by_entry,
			       &nr);
	}
	return err;
}

static int scan_table(pmd_t *pmdp, unsigned long start, unsigned long end, struct mm_walk *walk)
{
	struct pagemap_scan *s = walk->private;
	spinlock_t *ptl;
	pte_t *ptep;
	int err;

	ptep = pte_offset_map_lock(walk->mm, pmdp, start, &ptl);
	if (!ptep) {
		/* It changed under us: the walk looks again. */
		walk->action = ACTION_AGAIN;
		return 0;
	}
	arch_enter_lazy_mmu_mode();
	err = scan_ptes(s, walk->vma, ptep, start, end);
	arch_leave_lazy_mmu_mode();
	pte_unmap_unlock(ptep, ptl);
	return err;
}

/* --- huge pages --- */

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
static u64 scan_pmd_present(const struct pagemap_scan *s, struct vm_area_struct *vma,
			    unsigned long addr, pmd_t pmd)
{
	u64 categories = PAGE_IS_HUGE | PAGE_IS_PRESENT;

	if (!pmd_uffd_wp(pmd))
		categories |= PAGE_IS_WRITTEN;
	if (pmd_soft_dirty(pmd))
		categories |= PAGE_IS_SOFT_DIRTY;
	if (is_huge_zero_pmd(pmd))
		categories |= PAGE_IS_PFNZERO;
	if (s->asked & PAGE_IS_FILE) {
		struct page *page = vm_normal_page_pmd(vma, addr, pmd);

		if (page && !PageAnon(page))
			categories |= PAGE_IS_FILE;
	}
	return categories;
}

static u64 scan_pmd_category(const struct pagemap_scan *s, struct vm_area_struct *vma,
			     unsigned long addr, pmd_t pmd)
{
	u64 categories = PAGE_IS_HUGE | PAGE_IS_SWAPPED;

	if (pmd_present(pmd))
		return scan_pmd_present(s, vma, addr, pmd);
	if (!pmd_swp_uffd_wp(pmd))
		categories |= PAGE_IS_WRITTEN;
	if (pmd_swp_soft_dirty(pmd))
		categories |= PAGE_IS_SOFT_DIRTY;
	return categories | scan_swap_file(s, pmd_to_swp_entry(pmd));
}

/* What scan_protect_swp() does, for a huge page that is being moved. */
static pmd_t scan_protect_swp_pmd(pmd_t pmd)
{
	swp_entry_t entry = pmd_to_swp_entry(pmd);
	pmd_t readable;

	if (!is_writable_migration_entry(entry))
		return pmd_swp_mkuffd_wp(pmd);
	if (folio_test_anon(pfn_swap_entry_folio(entry)))
		entry = make_readable_exclusive_migration_entry(swp_offset(entry));
	else
		entry = make_readable_migration_entry(swp_offset(entry));
	readable = swp_entry_to_pmd(entry);
	if (pmd_swp_soft_dirty(pmd))
		readable = pmd_swp_mksoft_dirty(readable);
	return pmd_swp_mkuffd_wp(readable);
}

static void scan_protect_pmd(struct vm_area_struct *vma, unsigned long addr, pmd_t *pmdp)
{
	pmd_t pmd = *pmdp;

	if (pmd_present(pmd))
		pmd = pmd_mkuffd_wp(pmdp_invalidate_ad(vma, addr, pmdp));
	else
		pmd = scan_protect_swp_pmd(pmd);
	set_pmd_at(vma->vm_mm, addr, pmdp, pmd);
}

/*
 * A huge page that one PMD maps. Return: -ENOENT when there is none, or none any more because
 * a part of it is to be write-protected, which takes small entries.
 */
static int scan_huge(pmd_t *pmdp, unsigned long start, unsigned long end, struct mm_walk *walk)
{
	struct pagemap_scan *s = walk->private;
	struct vm_area_struct *vma = walk->vma;
	spinlock_t *ptl = pmd_trans_huge_lock(pmdp, vma);
	unsigned long fit;
	u64 categories;
	int err = 0;

	if (!ptl)
		return -ENOENT;
	categories = s->vma_category | scan_pmd_category(s, vma, start, *pmdp);
	if (!scan_wants(s, categories))
		goto out;
	fit = scan_fit(s, start, end, categories);
	if (scan_protects(s) && categories & PAGE_IS_WRITTEN && fit > start) {
		if (fit - start != HPAGE_PMD_SIZE) {
			spin_unlock(ptl);
			split_huge_pmd(vma, pmdp, start);
			return -ENOENT;
		}
		scan_flush_later(s, vma->vm_mm, start, fit);
		scan_protect_pmd(vma, start, pmdp);
	}
	scan_report(s, start, fit, categories);
	if (fit < end)
		err = scan_full(s, fit);
out:
	spin_unlock(ptl);
	return err;
}
#else
static int scan_huge(pmd_t *pmdp, unsigned long start, unsigned long end, struct mm_walk *walk)
{
	return -ENOENT;
}
#endif

static int scan_pmd(pmd_t *pmdp, unsigned long start, unsigned long end, struct mm_walk *walk)
{
	struct mmu_notifier_range range;
	int err;

	scan_notify_start(walk->private, &range, walk->mm, start, end);
	err = scan_huge(pmdp, start, end, walk);
	if (err == -ENOENT)
		err = scan_table(pmdp, start, end, walk);
	scan_notify_end(walk->private, &range);
	cond_resched();
	if (err || walk->action == ACTION_AGAIN)
		return err;
	return scan_counted(walk->private, end);
}

/* --- hugetlb --- */

#ifdef CONFIG_HUGETLB_PAGE
static u64 scan_hugetlb_category(pte_t pte)
{
	u64 categories = PAGE_IS_HUGE;

	if (pte_present(pte)) {
		categories |= PAGE_IS_PRESENT;
		if (!huge_pte_uffd_wp(pte))
			categories |= PAGE_IS_WRITTEN;
		if (!PageAnon(pte_page(pte)))
			categories |= PAGE_IS_FILE;
		if (is_zero_pfn(pte_pfn(pte)))
			categories |= PAGE_IS_PFNZERO;
		if (pte_soft_dirty(pte))
			categories |= PAGE_IS_SOFT_DIRTY;
	} else if (!huge_pte_none(pte)) {
		categories |= PAGE_IS_SWAPPED;
		if (!pte_swp_uffd_wp_any(pte))
			categories |= PAGE_IS_WRITTEN;
		if (pte_swp_soft_dirty(pte))
			categories |= PAGE_IS_SOFT_DIRTY;
	}
	return categories;
}

static void scan_protect_hugetlb(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep,
				 pte_t pte)
{
	unsigned long size = huge_page_size(hstate_vma(vma));

	if (is_hugetlb_entry_hwpoisoned(pte) || is_pte_marker(pte))
		return;
	if (is_hugetlb_entry_migration(pte)) {
		set_huge_pte_at(vma->vm_mm, addr, ptep, scan_protect_swp(pte), size);
	} else {
		pte_t old = huge_ptep_modify_prot_start(vma, addr, ptep);

		huge_ptep_modify_prot_commit(vma, addr, ptep, old, huge_pte_mkuffd_wp(old));
		flush_hugetlb_tlb_range(vma, addr, addr + size);
	}
}

/*
 * One hugetlb page, or the part of it that the range has. No part of one can be protected by
 * itself: it is left alone where the range cuts it, and ends the scan where max_pages does.
 */
static int scan_hugetlb_locked(struct pagemap_scan *s, struct vm_area_struct *vma, pte_t *ptep,
			       unsigned long start, unsigned long end)
{
	pte_t pte = huge_ptep_get(vma->vm_mm, start, ptep);
	u64 categories = s->vma_category | scan_hugetlb_category(pte);
	bool protect = scan_protects(s) && categories & PAGE_IS_WRITTEN;
	unsigned long fit;

	if (!scan_wants(s, categories))
		return 0;
	fit = scan_fit(s, start, end, categories);
	if (fit == start)
		return scan_full(s, start);
	if (protect && end - start != huge_page_size(hstate_vma(vma)))
		return 0;
	if (protect && fit != end) {
		s->stuck = true;
		return scan_full(s, start);
	}
	if (protect)
		scan_protect_hugetlb(vma, start, ptep, pte);
	scan_report(s, start, fit, categories);
	return fit < end ? scan_full(s, fit) : 0;
}

static int scan_hugetlb(pte_t *ptep, unsigned long hmask, unsigned long start,
			unsigned long end, struct mm_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;
	struct pagemap_scan *s = walk->private;
	struct mmu_notifier_range range;
	spinlock_t *ptl;
	int err;

	if (!scan_protects(s))
		return scan_hugetlb_locked(s, vma, ptep, start, end) ?: scan_counted(s, end);

	scan_notify_start(s, &range, walk->mm, start, end);
	i_mmap_lock_write(vma->vm_file->f_mapping);
	ptl = huge_pte_lock(hstate_vma(vma), walk->mm, ptep);
	err = scan_hugetlb_locked(s, vma, ptep, start, end);
	spin_unlock(ptl);
	i_mmap_unlock_write(vma->vm_file->f_mapping);
	scan_notify_end(s, &range);
	return err ?: scan_counted(s, end);
}

/*
 * A marker for a hugetlb page that is not there. uffd_wp_range() would take the VMA's
 * hugetlb lock, which the walk already holds for reading. A page that was faulted in
 * meanwhile is left to the next scan, as this one does not say that it was written.
 */
static int scan_mark_hugetlb(struct vm_area_struct *vma, unsigned long start, unsigned long end)
{
	struct hstate *h = hstate_vma(vma);
	spinlock_t *ptl;
	pte_t *ptep;

	if (end - start != huge_page_size(h))
		return 0;
	ptep = huge_pte_alloc(vma->vm_mm, vma, start, huge_page_size(h));
	if (!ptep)
		return -ENOMEM;
	ptl = huge_pte_lock(h, vma->vm_mm, ptep);
	if (huge_pte_none(huge_ptep_get(vma->vm_mm, start, ptep)))
		set_huge_pte_at(vma->vm_mm, start, ptep, make_pte_marker(PTE_MARKER_UFFD_WP),
				huge_page_size(h));
	spin_unlock(ptl);
	return 0;
}
#else
#define scan_hugetlb NULL
static int scan_mark_hugetlb(struct vm_area_struct *vma, unsigned long start, unsigned long end)
{
	return 0;
}
#endif

/* --- holes and VMAs --- */

/* Put markers where there is no page table. */
static long scan_mark(struct pagemap_scan *s, struct vm_area_struct *vma, unsigned long start,
		      unsigned long end)
{
	if (is_vm_hugetlb_page(vma))
		return scan_mark_hugetlb(vma, start, end);
	/* It flushes by itself, and all of the process when it sees others at it. */
	scan_flush(s, vma);
	return uffd_wp_range(vma, start, end - start, true);
}

/*
 * A part of a VMA without a page table. Registration for write-protection of what is not
 * populated leaves markers, so that in such a VMA an empty place is one that was given up.
 */
static int scan_hole(unsigned long start, unsigned long end, int depth, struct mm_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;
	struct pagemap_scan *s = walk->private;
	unsigned long fit, stop = end;
	u64 categories;
	long err;

	if (!vma)
		return 0;
	categories = s->vma_category;
	if (userfaultfd_wp(vma) && !is_vm_hugetlb_page(vma))
		categories |= PAGE_IS_WRITTEN;
	if (!scan_wants(s, categories))
		return 0;
	if (scan_protects(s) && !is_vm_hugetlb_page(vma))
		stop = min(end, start + SCAN_HOLE);
	fit = scan_fit(s, start, stop, categories);
	if (scan_protects(s) && fit > start) {
		err = scan_mark(s, vma, start, fit);
		if (err < 0) {
			s->stop = start;
			return err;
		}
	}
	scan_report(s, start, fit, categories);
	if (fit < stop)
		return scan_full(s, fit);
	if (stop == end)
		return 0;
	s->stop = stop;
	return -EAGAIN;
}

/* Is the VMA to be walked (0), passed over (1), or the end of it all? */
static int scan_vma(unsigned long start, unsigned long end, struct mm_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;
	struct pagemap_scan *s = walk->private;
	bool allowed = userfaultfd_wp_async(vma) && userfaultfd_wp_use_markers(vma);
	u64 must = s->arg.category_mask & PAGE_IS_WPALLOWED;

	if (!allowed && s->arg.flags & PM_SCAN_CHECK_WPASYNC) {
		s->stop = start;
		return -EPERM;
	}
	if (vma->vm_flags & VM_PFNMAP || (!allowed && scan_protects(s)))
		return 1;

	s->vma_category = allowed ? PAGE_IS_WPALLOWED : 0;
	if (vma->vm_flags & VM_SOFTDIRTY)
		s->vma_category |= PAGE_IS_SOFT_DIRTY;
	return ((s->vma_category ^ s->arg.category_inverted) & must) != must;
}

static const struct mm_walk_ops scan_walk = {
	.test_walk = scan_vma,
	.pmd_entry = scan_pmd,
	.pte_hole = scan_hole,
	.hugetlb_entry = scan_hugetlb,
	.post_vma = scan_vma_end,
	.walk_lock = PGWALK_RDLOCK,
};

/**
 * scan_pass - look at page tables for one hold of the mmap lock
 * @s: the scan; @s->stop is set to the first address that was not finished
 * @mm: the address space
 * @addr: where to begin, before the end of the range
 *
 * Return: 0 at the end of the range; -EAGAIN to be called again from @s->stop; -ENOSPC to
 * have regions copied out first; or an error.
 */
int scan_pass(struct pagemap_scan *s, struct mm_struct *mm, unsigned long addr)
{
	int err = mmap_read_lock_killable(mm);

	if (err)
		return err;
	s->tables = SCAN_TABLES;
	err = walk_page_range(mm, addr, s->arg.end, &scan_walk, s);
	mmap_read_unlock(mm);
	if (!err)
		s->stop = s->arg.end;
	return err;
}

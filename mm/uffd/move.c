// SPDX-License-Identifier: GPL-2.0
/*
 * UFFDIO_MOVE: pages of private anonymous memory go to another address, without a copy.
 *
 *	source			destination	what is done
 *	huge page		empty PMD	the PMD is moved, if it is wanted and fits
 *	huge page		else		becomes a table first
 *	page, of one process	empty entry	moved, with its folio if that is wanted and
 *						fits; else the folio is split first
 *	zero page		empty entry	another one
 *	in swap			empty entry	moved, and what the swap cache has of it
 *	nothing			empty entry	left, if holes are allowed
 *	anything		not empty	-EEXIST
 *
 * A page that is busy is tried again a few times, and then user space is told, by -EAGAIN.
 *
 * Pages are found by their folio's index and anon_vma, so both change with the entry, while no walk
 * of the reverse map can be there: folio_referenced() alone comes without the folio's lock, and
 * looks at the mapping again when it has the anon_vma's. So the folio and its anon_vma are locked,
 * and both page tables.
 */
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "uffd.h"

/*
 * So often is a busy page tried at once, and then so often after some milliseconds, in which
 * nothing is locked: half a second or so, which is more than the I/O takes that has it locked.
 */
#define MOVE_TRIES_AT_ONCE	16
#define MOVE_TRIES		200

#define MOVE_NEVER	(VM_PFNMAP | VM_IO | VM_HUGETLB | VM_MIXEDMAP | VM_SHADOW_STACK | VM_SHARED)
#define MOVE_ALIKE	(VM_ACCESS_FLAGS | VM_LOCKED)

/**
 * double_pt_lock - lock two page tables
 * @ptl1: one's lock
 * @ptl2: the other's, or the same
 *
 * Whoever locks two takes the lock at the lower address first.
 */
void double_pt_lock(spinlock_t *ptl1, spinlock_t *ptl2)
	__acquires(ptl1)
	__acquires(ptl2)
{
	spin_lock(min(ptl1, ptl2));
	if (ptl1 != ptl2)
		spin_lock_nested(max(ptl1, ptl2), SINGLE_DEPTH_NESTING);
	else
		__acquire(ptl2);
}

/**
 * double_pt_unlock - undo double_pt_lock()
 * @ptl1: one's lock
 * @ptl2: the other's, or the same
 */
void double_pt_unlock(spinlock_t *ptl1, spinlock_t *ptl2)
	__releases(ptl1)
	__releases(ptl2)
{
	spin_unlock(ptl1);
	if (ptl1 != ptl2)
		spin_unlock(ptl2);
	else
		__release(ptl2);
}

/* May pages of one VMA become pages of the other? They must not notice. */
static int move_check(struct uffd_move *m)
{
	struct vm_area_struct *dst = m->dst_vma, *src = m->src_vma;

	if (atomic_read(&m->ctx->mmap_changing))
		return -EAGAIN;
	if (m->end > src->vm_end || m->end - m->src > dst->vm_end - m->dst)
		return -EINVAL;
	if ((src->vm_flags ^ dst->vm_flags) & MOVE_ALIKE ||
	    pgprot_val(src->vm_page_prot) != pgprot_val(dst->vm_page_prot))
		return -EINVAL;
	if (!(src->vm_flags & VM_WRITE) || (src->vm_flags | dst->vm_flags) & MOVE_NEVER)
		return -EINVAL;
	if (dst->vm_userfaultfd_ctx.ctx != m->ctx)
		return -EINVAL;
	return vma_is_anonymous(src) && vma_is_anonymous(dst) ? 0 : -EINVAL;
}

static int move_begin(struct uffd_move *m)
{
	int err = uffd_vma_lock_two(m->mm, m->dst, m->src, &m->dst_vma, &m->src_vma);

	if (err)
		return err;
	down_read(&m->ctx->map_changing_lock);
	m->table_end = min(pmd_addr_end(m->src, m->end),
			   m->src + (pmd_addr_end(m->dst, m->dst + (m->end - m->src)) - m->dst));
	err = move_check(m);
	if (err) {
		up_read(&m->ctx->map_changing_lock);
		uffd_vma_unlock_two(m->dst_vma, m->src_vma);
	}
	return err;
}

static void move_end(struct uffd_move *m)
{
	up_read(&m->ctx->map_changing_lock);
	uffd_vma_unlock_two(m->dst_vma, m->src_vma);
}

/* Is all of the huge page wanted, and can it be huge where it goes? */
static bool move_is_whole(struct uffd_move *m, pmd_t dst_pmd)
{
	return pmd_none(dst_pmd) && IS_ALIGNED(m->src | m->dst, HPAGE_PMD_SIZE) &&
	       m->end - m->src >= HPAGE_PMD_SIZE;
}

/* Others' pages stay: before a PMD becomes a table for nothing. One of migration is asked later. */
static bool move_is_shared(pmd_t pmd)
{
	struct folio *folio;

	if (!pmd_present(pmd))
		return false;
	folio = pmd_folio(pmd);
	return !is_huge_zero_folio(folio) && !PageAnonExclusive(&folio->page);
}

/* The source's PMD is huge, and locked by @ptl, which is released. */
static int move_huge(struct uffd_move *m, pmd_t dst_pmd, spinlock_t *ptl)
{
	bool shared = move_is_shared(*m->src_pmd);
	int err;

	/* The bit means something else in the entry of a migration. */
	if (pmd_present(*m->src_pmd) && pmd_devmap(*m->src_pmd)) {
		spin_unlock(ptl);
		return -ENOENT;
	}
	if (!move_is_whole(m, dst_pmd)) {
		spin_unlock(ptl);
		if (shared)
			return -EBUSY;
		split_huge_pmd(m->src_vma, m->src_pmd, m->src);
		return 0;
	}
	err = move_pages_huge_pmd(m->mm, m->dst_pmd, m->src_pmd, dst_pmd, m->dst_vma, m->src_vma,
				  m->dst, m->src);
	if (!err)
		move_advance(m, HPAGE_PMD_NR);
	return err;
}

static int move_small(struct uffd_move *m)
{
	struct mmu_notifier_range range;
	int err;

	/* The source's may be there only now: a hole becomes a table of holes. */
	if (pte_alloc(m->mm, m->src_pmd) || pte_alloc(m->mm, m->dst_pmd))
		return -ENOMEM;
	flush_cache_range(m->src_vma, m->src, m->table_end);
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, m->mm, m->src, m->table_end);
	mmu_notifier_invalidate_range_start(&range);
	do {
		err = move_entries(m);
		cond_resched();
	} while (!err && m->src < m->table_end && !fatal_signal_pending(current));
	mmu_notifier_invalidate_range_end(&range);
	return err;
}

/* What lies in one pair of tables, or a huge page. Nothing may be done without an error. */
static int move_table(struct uffd_move *m)
{
	pmd_t dst_pmd;
	spinlock_t *ptl;

	m->src_pmd = mm_find_pmd(m->mm, m->src);
	if (!m->src_pmd && !(m->mode & UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES))
		return -ENOENT;
	if (!m->src_pmd)
		m->src_pmd = uffd_pmd_alloc(m->mm, m->src);
	m->dst_pmd = uffd_pmd_alloc(m->mm, m->dst);
	if (!m->src_pmd || !m->dst_pmd)
		return -ENOMEM;

	/* One that becomes huge after this look is noticed by who locks it. */
	dst_pmd = pmdp_get_lockless(m->dst_pmd);
	if (pmd_trans_huge(dst_pmd) || is_swap_pmd(dst_pmd))
		return -EEXIST;
	ptl = pmd_trans_huge_lock(m->src_pmd, m->src_vma);
	if (ptl)
		return move_huge(m, dst_pmd, ptl);
	if (pmd_none(pmdp_get_lockless(m->src_pmd)) &&
	    !(m->mode & UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES))
		return -ENOENT;
	return move_small(m);
}

/* Give what is busy a moment. Return: 0 to try again. */
static int move_wait(struct uffd_move *m)
{
	if (m->tries > MOVE_TRIES)
		return -EAGAIN;
	usleep_range(1000, 4000);
	return 0;
}

static int move_tables(struct uffd_move *m)
{
	int err = 0;

	while (!err && m->src < m->table_end) {
		unsigned long before = m->src;

		err = move_table(m);
		if (m->src != before)
			m->tries = 0;
		cond_resched();
		if (fatal_signal_pending(current) && (!err || err == -EAGAIN))
			err = -EINTR;
		else if (err == -EAGAIN && ++m->tries < MOVE_TRIES_AT_ONCE)
			err = 0;
	}
	return err;
}

/**
 * move_pages - move pages of private anonymous memory to another address
 * @ctx: the userfaultfd that the destination is registered with
 * @dst_start: address of the first byte, of a page
 * @src_start: from where
 * @len: bytes, whole pages, more than 0; of one VMA each
 * @mode: UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES: where nothing is nothing is moved, and counted as moved
 *
 * Moved are pages that this process alone has. Each is at one of the addresses at any time, and
 * never at both. Ranges may lie in the same VMA.
 *
 * Context: sleeps; @ctx->mm is the caller's own.
 * Return: bytes, when any were moved. Else -ENOENT when there is no VMA, and for a hole; -EEXIST
 * where something is already; -EINVAL for VMAs that are not alike, not writable, not private
 * anonymous memory, or not registered here; -EBUSY for a page that others have or that is pinned;
 * -EFAULT for what is neither page nor in swap; -EAGAIN while an event waits to be read, or a page
 * stays busy; -ENOMEM; -EINTR when the caller is being killed.
 */
ssize_t move_pages(struct userfaultfd_ctx *ctx, unsigned long dst_start, unsigned long src_start,
		   unsigned long len, __u64 mode)
{
	struct uffd_move m = { .ctx = ctx, .mm = ctx->mm, .mode = mode, .dst = dst_start,
			       .src = src_start, .end = src_start + len };
	int err;

	do {
		err = move_begin(&m);
		if (err)
			break;
		err = move_tables(&m);
		move_end(&m);
		if (err == -EAGAIN)
			err = move_wait(&m);
	} while (!err && m.src < m.end);
	return m.src == src_start ? err : m.src - src_start;
}

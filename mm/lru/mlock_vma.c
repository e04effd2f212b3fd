// SPDX-License-Identifier: GPL-2.0
/*
 * mlock(2), mlock2(2), munlock(2), mlockall(2), munlockall(2), and SHM_LOCK's limit.
 *
 *	system call --> check arguments, limits
 *	   |  mmap_lock for writing
 *	   |	for each VMA of the range: split or merge, set or clear VM_LOCKED
 *	   |	   |  a VMA that changes
 *	   |	   +--> walk its page tables: each folio is marked and moved, or counted down;
 *	   |		what is not there, or not as a fault would leave it, is "missing"
 *	   |  mmap_lock dropped
 *	   +--> what is missing is faulted in; nothing, if all was there
 *
 * What a walk has seen need not be faulted in, and cannot go away again unless somebody takes it
 * away on purpose: VM_LOCKED is set before the walk locks a page table, and reclaim looks at it
 * with the page table locked.
 *
 * The walk moves folios at once, without a batch: the locked page table keeps them. A large folio
 * is locked as a whole or not at all: only if the VMA maps all of it. If it does not, the folio
 * stays evictable. What is locked of it stays in memory all the same, since the reverse map does
 * not unmap it there; the rest goes when the folio is split.
 */
#include <linux/capability.h>
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmu_context.h>
#include <linux/pagewalk.h>
#include <linux/secretmem.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/syscalls.h>

#include "lru.h"

/* Others get lru_lock after so much work: an entry looked at is 1, a folio moved 4 more. */
#define MLOCK_WORK	160

/**
 * struct mlock_call - one system call
 * @set: VM_LOCKED, perhaps with VM_LOCKONFAULT; or none, to unlock
 * @missing: first address that must be faulted in, if below @missing_end
 * @missing_end: and the end; in between there may be others that need not
 * @write: the VMA at hand is private and writable, so its pages must be its own
 * @work: done since lru_lock was taken
 */
struct mlock_call {
	vm_flags_t set;
	unsigned long missing;
	unsigned long missing_end;
	bool write;
	unsigned int work;
};

static void mlock_missing(struct mlock_call *call, unsigned long addr, unsigned long end)
{
	call->missing = min(call->missing, addr);
	call->missing_end = max(call->missing_end, end);
}

/* --- the walk --------------------------------------------------------------------------- */

static void mlock_move(struct mlock_call *call, struct lru_move *mv, struct folio *folio)
{
	if (call->set)
		mlock_folio_now(mv, folio);
	else
		munlock_folio_now(mv, folio);
	call->work += 4;
}

/*
 * How many entries from @ptep on map consecutive pages of @folio? It does not matter here what
 * else they say.
 */
static unsigned int mlock_run(struct mlock_call *call, struct folio *folio, pte_t *ptep,
			      unsigned long addr, unsigned long end)
{
	unsigned long pfn = pte_pfn(ptep_get(ptep));
	unsigned int most = min((end - addr) >> PAGE_SHIFT,
				folio_pfn(folio) + folio_nr_pages(folio) - pfn);
	unsigned int nr;

	for (nr = 1; nr < most; nr++) {
		pte_t pte = ptep_get(ptep + nr);

		if (!pte_present(pte) || pte_pfn(pte) != pfn + nr)
			break;
		if (!mlock_pte_filled(pte, call->write))
			mlock_missing(call, addr + nr * PAGE_SIZE, addr + (nr + 1) * PAGE_SIZE);
	}
	return nr;
}

/* One entry, or as many as map the same large folio. Return: how many. */
static __always_inline unsigned int mlock_entry(struct mlock_call *call, struct lru_move *mv,
						struct vm_area_struct *vma, pte_t *ptep,
						unsigned long addr, unsigned long end)
{
	pte_t pte = ptep_get(ptep);
	struct folio *folio;
	unsigned int nr = 1;

	if (!pte_present(pte)) {
		mlock_missing(call, addr, addr + PAGE_SIZE);
		return 1;
	}
	if (!mlock_pte_filled(pte, call->write))
		mlock_missing(call, addr, addr + PAGE_SIZE);
	folio = vm_normal_folio(vma, addr, pte);
	if (!folio || folio_is_zone_device(folio))
		return 1;
	if (folio_test_large(folio)) {
		nr = mlock_run(call, folio, ptep, addr, end);
		if (call->set && nr != folio_nr_pages(folio))
			return nr;
	}
	mlock_move(call, mv, folio);
	return nr;
}

static void mlock_huge(struct mlock_call *call, pmd_t pmd, unsigned long addr, unsigned long end)
{
	struct lru_move mv;

	if (!pmd_present(pmd) || !mlock_pmd_filled(pmd, call->write))
		mlock_missing(call, addr, end);
	if (!pmd_present(pmd) || is_huge_zero_pmd(pmd))
		return;
	lru_move_init(&mv);
	mlock_move(call, &mv, pmd_folio(pmd));
	lru_move_end(&mv);
}

static int mlock_table(pmd_t *pmd, unsigned long addr, unsigned long end, struct mm_walk *walk)
{
	struct mlock_call *call = walk->private;
	struct lru_move mv;
	pte_t *first, *pte;
	unsigned int nr;
	spinlock_t *ptl;

	ptl = pmd_trans_huge_lock(pmd, walk->vma);
	if (ptl) {
		mlock_huge(call, *pmd, addr, end);
		spin_unlock(ptl);
		cond_resched();
		return 0;
	}
	first = pte_offset_map_lock(walk->mm, pmd, addr, &ptl);
	if (!first) {
		walk->action = ACTION_AGAIN;
		return 0;
	}
	lru_move_init(&mv);
	call->work = 0;
	for (pte = first; addr < end; pte += nr, addr += nr * PAGE_SIZE) {
		nr = mlock_entry(call, &mv, walk->vma, pte, addr, end);
		call->work += nr;
		if (call->work > MLOCK_WORK) {
			lru_move_end(&mv);
			call->work = 0;
		}
	}
	lru_move_end(&mv);
	pte_unmap_unlock(first, ptl);
	cond_resched();
	return 0;
}

static int mlock_hole(unsigned long addr, unsigned long end, int depth, struct mm_walk *walk)
{
	mlock_missing(walk->private, addr, end);
	return 0;
}

static const struct mm_walk_ops mlock_walk_ops = {
	.pmd_entry = mlock_table,
	.pte_hole = mlock_hole,
	.walk_lock = PGWALK_WRLOCK_VERIFY,
};

/*
 * Set new flags and tell the folios.
 *
 * Migration and reclaim may map or meet a folio of the VMA while it is being walked, and would
 * lock it by themselves: it would be counted twice, and unlocked once. VM_IO together with
 * VM_LOCKED, which no VMA has that is at rest, keeps mlock_vma_folio() from that. They look at
 * the flags with the page table locked, which we lock after setting them; everybody else is kept
 * out by mmap_lock.
 *
 * New pages that wait in this CPU's batch are put on their lists before: they could not be
 * counted there.
 */
static void mlock_walk_vma(struct mlock_call *call, struct vm_area_struct *vma,
			   unsigned long start, unsigned long end, vm_flags_t flags)
{
	vma_start_write(vma);
	vm_flags_reset_once(vma, call->set ? flags | VM_IO : flags);
	lru_add_drain();

	call->write = mlock_writes(flags);
	/* Faults would fail: let them, for the error. */
	if (call->set && (!vma_is_accessible(vma) || flags & VM_SHADOW_STACK ||
			  !arch_vma_access_permitted(vma, call->write, false, false)))
		mlock_missing(call, start, end);
	walk_page_range(vma->vm_mm, start, end, &mlock_walk_ops, call);

	if (call->set)
		vm_flags_reset_once(vma, flags);
}

/* --- VMAs ------------------------------------------------------------------------------- */

/*
 * Lock or unlock [start, end) of a VMA; it is split or merged as needed.
 *
 * Some are passed over. Secret memory is always locked. Memory of devices and of drivers has
 * nothing to lock, and hugetlb and DAX cannot go; what of theirs can be faulted in is, though.
 *
 * @prev: set to the VMA that ends at @end, for the next call
 */
static int mlock_vma(struct mlock_call *call, struct vma_iterator *vmi, struct vm_area_struct *vma,
		     struct vm_area_struct **prev, unsigned long start, unsigned long end)
{
	vm_flags_t was = vma->vm_flags, flags = (was & ~VM_LOCKED_MASK) | call->set;
	unsigned long pages = (end - start) >> PAGE_SHIFT;

	if (flags == was || vma_is_secretmem(vma) || !vma_supports_mlock(vma)) {
		if (!(was & (VM_IO | VM_PFNMAP)))
			mlock_missing(call, start, end);
		*prev = vma;
		return 0;
	}
	vma = vma_modify_flags(vmi, *prev, vma, start, end, flags);
	if (IS_ERR(vma)) {
		*prev = vma;
		return PTR_ERR(vma);
	}
	*prev = vma;

	if ((was ^ flags) & VM_LOCKED) {
		vma->vm_mm->locked_vm += call->set ? pages : -pages;
		mlock_walk_vma(call, vma, start, end, flags);
	} else {
		/* Locked before: its folios have been counted. */
		vma_start_write(vma);
		vm_flags_reset(vma, flags);
		mlock_missing(call, start, end);
	}
	return 0;
}

/*
 * [start, end) of the caller's memory. It ends at the first hole with -ENOMEM; what lies before
 * that has been done, as the manual says it may.
 */
static int mlock_range(struct mlock_call *call, unsigned long start, unsigned long end)
{
	VMA_ITERATOR(vmi, current->mm, start);
	struct vm_area_struct *vma, *prev;
	unsigned long at = start;
	int err;

	if (start == end)
		return 0;
	vma = vma_iter_load(&vmi);
	if (!vma)
		return -ENOMEM;
	/* This also steps back, so that the loop begins with @vma. */
	prev = vma_prev(&vmi);
	if (start > vma->vm_start)
		prev = vma;

	for_each_vma_range(vmi, vma, end) {
		if (vma->vm_start > at)
			return -ENOMEM;
		err = mlock_vma(call, &vmi, vma, &prev, at, min(vma->vm_end, end));
		if (err)
			return err;
		at = vma_iter_end(&vmi);
	}
	return at < end ? -ENOMEM : 0;
}

/* --- limits ----------------------------------------------------------------------------- */

/**
 * can_do_mlock() - may the caller lock any memory at all?
 *
 * Return: true with a limit above 0 or with CAP_IPC_LOCK.
 */
bool can_do_mlock(void)
{
	return rlimit(RLIMIT_MEMLOCK) || capable(CAP_IPC_LOCK);
}
EXPORT_SYMBOL(can_do_mlock);

/* Pages in [start, end) that are locked already, and so are in mm->locked_vm. */
static unsigned long mlock_pages_before(struct mm_struct *mm, unsigned long start,
					unsigned long end)
{
	VMA_ITERATOR(vmi, mm, start);
	struct vm_area_struct *vma;
	unsigned long bytes = 0;

	for_each_vma_range(vmi, vma, end)
		if (vma->vm_flags & VM_LOCKED)
			bytes += min(vma->vm_end, end) - max(vma->vm_start, start);
	return bytes >> PAGE_SHIFT;
}

static bool mlock_within_limit(unsigned long start, unsigned long end)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	struct mm_struct *mm = current->mm;
	unsigned long pages = mm->locked_vm + ((end - start) >> PAGE_SHIFT);

	if (pages <= limit || capable(CAP_IPC_LOCK))
		return true;
	return pages - mlock_pages_before(mm, start, end) <= limit;
}

/* --- system calls ----------------------------------------------------------------------- */

static struct mlock_call mlock_begin(vm_flags_t set)
{
	return (struct mlock_call){ .set = set, .missing = ULONG_MAX };
}

/* Fault in what the walk has missed. */
static int mlock_populate(const struct mlock_call *call)
{
	int err;

	if (call->missing >= call->missing_end)
		return 0;
	err = __mm_populate(call->missing, call->missing_end - call->missing, 0);
	/* POSIX: ENOMEM where nothing can be faulted in, EAGAIN if memory was short. */
	if (err == -EFAULT)
		return -ENOMEM;
	return err == -ENOMEM ? -EAGAIN : err;
}

/*
 * Whole pages around [*start, *start + len). Return: -EINVAL if the range goes beyond the end of
 * all addresses.
 */
static int mlock_round(unsigned long *start, unsigned long *end, size_t len)
{
	unsigned long from = untagged_addr(*start), to = from + len;

	if (to < from || PAGE_ALIGN(to) < to)
		return -EINVAL;
	*start = from & PAGE_MASK;
	*end = PAGE_ALIGN(to);
	return 0;
}

static int do_mlock(unsigned long start, size_t len, vm_flags_t set)
{
	struct mlock_call call = mlock_begin(set);
	unsigned long end;
	int err;

	if (!can_do_mlock())
		return -EPERM;
	err = mlock_round(&start, &end, len);
	if (err)
		return err;
	if (mmap_write_lock_killable(current->mm))
		return -EINTR;
	err = mlock_within_limit(start, end) ? mlock_range(&call, start, end) : -ENOMEM;
	mmap_write_unlock(current->mm);
	return err ?: mlock_populate(&call);
}

SYSCALL_DEFINE2(mlock, unsigned long, start, size_t, len)
{
	return do_mlock(start, len, VM_LOCKED);
}

SYSCALL_DEFINE3(mlock2, unsigned long, start, size_t, len, int, flags)
{
	if (flags & ~MLOCK_ONFAULT)
		return -EINVAL;
	return do_mlock(start, len, flags ? VM_LOCKED | VM_LOCKONFAULT : VM_LOCKED);
}

SYSCALL_DEFINE2(munlock, unsigned long, start, size_t, len)
{
	struct mlock_call call = mlock_begin(0);
	unsigned long end;
	int err;

	err = mlock_round(&start, &end, len);
	if (err)
		return err;
	if (mmap_write_lock_killable(current->mm))
		return -EINTR;
	err = mlock_range(&call, start, end);
	mmap_write_unlock(current->mm);
	return err;
}

/* All VMAs. One that cannot be split or merged is left; that is no error here. */
static void mlock_all(struct mlock_call *call)
{
	VMA_ITERATOR(vmi, current->mm, 0);
	struct vm_area_struct *vma, *prev = NULL;

	for_each_vma(vmi, vma) {
		if (mlock_vma(call, &vmi, vma, &prev, vma->vm_start, vma->vm_end)) {
			mlock_missing(call, vma->vm_start, vma->vm_end);
			prev = vma;
		}
		cond_resched();
	}
}

static int do_mlockall(int flags)
{
	struct mlock_call call = mlock_begin(flags & MCL_ONFAULT ? VM_LOCKED | VM_LOCKONFAULT :
						     VM_LOCKED);
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	struct mm_struct *mm = current->mm;

	if (mmap_write_lock_killable(mm))
		return -EINTR;
	if (flags & MCL_CURRENT && mm->total_vm > limit && !capable(CAP_IPC_LOCK)) {
		mmap_write_unlock(mm);
		return -ENOMEM;
	}
	/* What an earlier call said of the future is forgotten. */
	mm->def_flags &= ~VM_LOCKED_MASK;
	if (flags & MCL_FUTURE)
		mm->def_flags |= call.set;
	if (flags & MCL_CURRENT)
		mlock_all(&call);
	mmap_write_unlock(mm);
	if (call.missing < call.missing_end)
		mm_populate(call.missing, call.missing_end - call.missing);
	return 0;
}

SYSCALL_DEFINE1(mlockall, int, flags)
{
	/* MCL_ONFAULT says how, so it needs one that says what. */
	if (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) ||
	    !(flags & (MCL_CURRENT | MCL_FUTURE)))
		return -EINVAL;
	if (!can_do_mlock())
		return -EPERM;
	return do_mlockall(flags);
}

SYSCALL_DEFINE0(munlockall)
{
	struct mlock_call call = mlock_begin(0);

	if (mmap_write_lock_killable(current->mm))
		return -EINTR;
	current->mm->def_flags &= ~VM_LOCKED_MASK;
	mlock_all(&call);
	mmap_write_unlock(current->mm);
	return 0;
}

/* --- SHM_LOCK --------------------------------------------------------------------------- */

/* Segments outlive processes, so they are on their user's account. */
static DEFINE_SPINLOCK(shm_lock_account);

/**
 * user_shm_lock() - put a segment on its user's account of locked memory
 * @size: bytes
 * @ucounts: the user's; referenced on success
 *
 * Return: 1, or 0 where RLIMIT_MEMLOCK or the namespace's limit forbids it.
 */
int user_shm_lock(size_t size, struct ucounts *ucounts)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK);
	long pages = DIV_ROUND_UP(size, PAGE_SIZE), now;
	int allowed;

	if (limit != RLIM_INFINITY)
		limit >>= PAGE_SHIFT;
	spin_lock(&shm_lock_account);
	/* LONG_MAX: over the limit of a user namespace above. */
	now = inc_rlimit_ucounts(ucounts, UCOUNT_RLIMIT_MEMLOCK, pages);
	allowed = (now != LONG_MAX && now <= limit) || capable(CAP_IPC_LOCK);
	if (!allowed || !get_ucounts(ucounts)) {
		dec_rlimit_ucounts(ucounts, UCOUNT_RLIMIT_MEMLOCK, pages);
		allowed = 0;
	}
	spin_unlock(&shm_lock_account);
	return allowed;
}

/**
 * user_shm_unlock() - take a segment off its user's account again
 * @size: bytes, as for user_shm_lock()
 * @ucounts: the same; its reference is dropped
 */
void user_shm_unlock(size_t size, struct ucounts *ucounts)
{
	spin_lock(&shm_lock_account);
	dec_rlimit_ucounts(ucounts, UCOUNT_RLIMIT_MEMLOCK, DIV_ROUND_UP(size, PAGE_SIZE));
	spin_unlock(&shm_lock_account);
	put_ucounts(ucounts);
}

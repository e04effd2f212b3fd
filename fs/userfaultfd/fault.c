// SPDX-License-Identifier: GPL-2.0
/*
 * A fault that user space answers: may it wait, must it wait, and what the fault code is told then.
 */
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/sched/signal.h>
#include <linux/swapops.h>

#include "../../mm/internal.h"
#include "uffd.h"

static void make_message(struct vm_fault *vmf, unsigned long reason, unsigned int features,
			 struct uffd_msg *msg)
{
	bool exact = features & UFFD_FEATURE_EXACT_ADDRESS;
	u64 flags = 0;

	/* All 32 bytes go to user space. */
	memset(msg, 0, sizeof(*msg));
	if (vmf->flags & FAULT_FLAG_WRITE)
		flags |= UFFD_PAGEFAULT_FLAG_WRITE;
	if (reason == VM_UFFD_WP)
		flags |= UFFD_PAGEFAULT_FLAG_WP;
	if (reason == VM_UFFD_MINOR)
		flags |= UFFD_PAGEFAULT_FLAG_MINOR;
	msg->event = UFFD_EVENT_PAGEFAULT;
	msg->arg.pagefault.flags = flags;
	msg->arg.pagefault.address = exact ? vmf->real_address : vmf->address;
	if (features & UFFD_FEATURE_THREAD_ID)
		msg->arg.pagefault.feat.ptid = task_pid_vnr(current);
}

/*
 * What an entry lacks of what the fault needs. That of something not present says nothing of
 * writing.
 */
static bool pte_waits(pte_t pte, unsigned long reason)
{
	if (pte_none_mostly(pte))
		return true;
	return reason == VM_UFFD_WP && pte_present(pte) && !pte_write(pte);
}

static bool pmd_waits(pmd_t pmd, unsigned long reason)
{
	return reason == VM_UFFD_WP && pmd_trans_huge(pmd) && !pmd_write(pmd);
}

/*
 * Is there still nothing that the fault could use? No lock is taken: an answer that comes after
 * this look finds the waiter, which was added before it. A table that is changed meanwhile is
 * not freed: of the page tables above it by the fault's lock, itself by pte_offset_map()'s RCU.
 */
static bool entry_waits(struct vm_fault *vmf, unsigned long reason)
{
	pmd_t *pmdp = mm_find_pmd(vmf->vma->vm_mm, vmf->address), pmd;
	pte_t *ptep;
	bool waits;

	if (!pmdp)
		return true;
	do {
		pmd = pmdp_get_lockless(pmdp);
		if (pmd_none(pmd))
			return true;
		if (!pmd_present(pmd) || pmd_devmap(pmd) || pmd_trans_huge(pmd))
			return pmd_waits(pmd, reason);
		ptep = pte_offset_map(pmdp, vmf->address);
	} while (!ptep);
	waits = pte_waits(ptep_get(ptep), reason);
	pte_unmap(ptep);
	return waits;
}

#ifdef CONFIG_HUGETLB_PAGE
/* The same of hugetlb, whose table can be shared: the VMA's lock keeps it. */
static bool huge_entry_waits(struct vm_fault *vmf, unsigned long reason)
{
	struct vm_area_struct *vma = vmf->vma;
	pte_t *ptep = hugetlb_walk(vma, vmf->address, vma_mmu_pagesize(vma)), pte;

	if (!ptep)
		return true;
	pte = huge_ptep_get(vma->vm_mm, vmf->address, ptep);
	if (huge_pte_none_mostly(pte))
		return true;
	return reason == VM_UFFD_WP && pte_present(pte) && !huge_pte_write(pte);
}
#else
static bool huge_entry_waits(struct vm_fault *vmf, unsigned long reason)
{
	return false;
}
#endif

/* What may end the wait besides an answer. */
static unsigned int wait_state(unsigned int flags)
{
	if (flags & FAULT_FLAG_INTERRUPTIBLE)
		return TASK_INTERRUPTIBLE;
	return flags & FAULT_FLAG_KILLABLE ? TASK_KILLABLE : TASK_UNINTERRUPTIBLE;
}

/*
 * Wait for an answer. Comes with the fault's lock, returns without it.
 * Return: whether there was one; otherwise a signal came, or nobody had to wait.
 */
static bool wait_for_answer(struct vm_fault *vmf, struct uffd *u, unsigned long reason)
{
	struct vm_area_struct *vma = vmf->vma;
	bool hugetlb = is_vm_hugetlb_page(vma), waits;
	struct uffd_waiter w = { .task = current };

	make_message(vmf, reason, u->ctx.features, &w.msg);
	/* It may sleep: before the task's state is set. */
	if (hugetlb)
		hugetlb_vma_lock_read(vma);
	uffd_waiter_add(u, &w);
	/* The barrier in here is the one that uffd_wake() and uffd_release() count on. */
	set_current_state(wait_state(vmf->flags));
	waits = hugetlb ? huge_entry_waits(vmf, reason) : entry_waits(vmf, reason);
	if (hugetlb)
		hugetlb_vma_unlock_read(vma);
	release_fault_lock(vmf);
	if (waits && !READ_ONCE(u->ctx.released) && READ_ONCE(w.state) != UFFD_WAITER_WOKEN) {
		uffd_tell_reader(u);
		schedule();
	}
	__set_current_state(TASK_RUNNING);
	return uffd_waiter_leave(u, &w);
}

/*
 * May the fault wait for user space? 0 if so, otherwise what it is told.
 *
 * When it can be tried again the lock is dropped with VM_FAULT_RETRY, but not when it must not
 * wait.
 */
static vm_fault_t refuse(struct vm_fault *vmf, struct userfaultfd_ctx *ctx)
{
	if (!ctx || ctx->features & UFFD_FEATURE_SIGBUS)
		return VM_FAULT_SIGBUS;
	if (ctx->flags & UFFD_USER_MODE_ONLY && !(vmf->flags & FAULT_FLAG_USER))
		return VM_FAULT_SIGBUS;
	if (!(vmf->flags & FAULT_FLAG_ALLOW_RETRY))
		return VM_FAULT_SIGBUS;
	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;
	/*
	 * Who closes the descriptor is about to take it from the VMA, and needs the lock for
	 * that: to be told anything but RETRY, GUP would come back with the lock still held.
	 */
	if (READ_ONCE(ctx->released)) {
		release_fault_lock(vmf);
		return VM_FAULT_RETRY;
	}
	return 0;
}

/*
 * An answer to a thread in user mode is in its page table: the instruction is run again,
 * without a second way through the fault code. Of anonymous memory only, as the fault code of
 * files takes the value for a page that it got. Taken for what the second way would have
 * counted: a major fault where it would have known that it is the second.
 */
static vm_fault_t after_answer(unsigned int flags, bool anonymous)
{
	if (!anonymous || !(flags & FAULT_FLAG_USER))
		return VM_FAULT_RETRY;
	if (flags & FAULT_FLAG_VMA_LOCK)
		return VM_FAULT_COMPLETED;
	return VM_FAULT_COMPLETED | VM_FAULT_MAJOR;
}

/**
 * handle_userfault - let user space answer a fault
 * @vmf: the fault, in a VMA that is registered
 * @reason: one of VM_UFFD_MISSING, VM_UFFD_WP, VM_UFFD_MINOR: what is the matter
 *
 * Context: the fault's lock is held, no page table's; it is dropped unless VM_FAULT_SIGBUS is
 * returned or the fault must not wait (FAULT_FLAG_RETRY_NOWAIT).
 * Return: VM_FAULT_RETRY: look again; VM_FAULT_COMPLETED: it was answered, go back to user
 * mode; VM_FAULT_SIGBUS where nobody may wait: the fault cannot be tried again, the task exits
 * or dumps its core, user space asked for the signal, or allows only faults of user mode.
 */
vm_fault_t handle_userfault(struct vm_fault *vmf, unsigned long reason)
{
	bool anonymous = vma_is_anonymous(vmf->vma);
	unsigned int flags = vmf->flags;
	struct uffd *u;
	vm_fault_t ret;

	if (current->flags & (PF_EXITING | PF_DUMPCORE))
		return VM_FAULT_SIGBUS;
	assert_fault_locked(vmf);
	ret = refuse(vmf, vmf->vma->vm_userfaultfd_ctx.ctx);
	if (ret)
		return ret;
	VM_WARN_ON_ONCE(hweight_long(reason) != 1 || reason & ~__VM_UFFD_FLAGS);
	u = uffd_of(vmf->vma->vm_userfaultfd_ctx.ctx);
	uffd_get(u);
	/* The VMA may be gone when it returns. */
	ret = wait_for_answer(vmf, u, reason) ? after_answer(flags, anonymous) : VM_FAULT_RETRY;
	uffd_put(u);
	return ret;
}

/**
 * userfaultfd_wp_unpopulated - are entries that map nothing marked as protected too?
 * @vma: any
 *
 * Return: what UFFD_FEATURE_WP_UNPOPULATED said; false when nothing is registered.
 */
bool userfaultfd_wp_unpopulated(struct vm_area_struct *vma)
{
	struct userfaultfd_ctx *ctx = vma->vm_userfaultfd_ctx.ctx;

	return ctx && ctx->features & UFFD_FEATURE_WP_UNPOPULATED;
}

/**
 * userfaultfd_wp_async - does a write to a protected page just take the protection away?
 * @vma: any
 *
 * Return: what UFFD_FEATURE_WP_ASYNC said; false when nothing is registered.
 */
bool userfaultfd_wp_async(struct vm_area_struct *vma)
{
	struct userfaultfd_ctx *ctx = vma->vm_userfaultfd_ctx.ctx;

	return ctx && ctx->features & UFFD_FEATURE_WP_ASYNC;
}

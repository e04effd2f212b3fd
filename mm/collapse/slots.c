// SPDX-License-Identifier: GPL-2.0
/*
 * The address spaces that khugepaged looks through, one after the other, and where it is.
 *
 *	an address space	flag	slot	who ends it
 *	unknown			-	-
 *	waiting			set	yes	exit
 *	being scanned		set	yes	khugepaged, when it is done with it; exit waits for
 *						mmap_lock, so that page tables stay as long
 *	gone			-	-
 *
 * MMF_VM_HUGEPAGE is the flag, and says that there is a slot. The slot has a reference of the
 * mm_struct. The list, its hash and the cursor change under slots_lock.
 */
#include <linux/collapse_hints.h>
#include <linux/hashtable.h>
#include <linux/khugepaged.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "../mm_slot.h"
#include "collapse.h"

static DEFINE_SPINLOCK(slots_lock);
static LIST_HEAD(slots);
static DEFINE_READ_MOSTLY_HASHTABLE(slots_hash, 10);
static struct kmem_cache *slots_cache __ro_after_init;

/* The slot that is being scanned, NULL between two passes; and the address that comes next. */
static struct mm_slot *cursor;
static unsigned long cursor_address;
/* The one that is looked at out of turn. */
static struct mm_slot *visited;

/**
 * collapse_slots_init - before there is any
 *
 * Return: 0 or -ENOMEM.
 */
int __init collapse_slots_init(void)
{
	slots_cache = KMEM_CACHE(mm_slot, 0);
	return slots_cache ? 0 : -ENOMEM;
}

/**
 * collapse_slots_exit - undo collapse_slots_init()
 */
void __init collapse_slots_exit(void)
{
	kmem_cache_destroy(slots_cache);
}

/**
 * collapse_slots_empty - is there no address space to be looked through?
 */
bool collapse_slots_empty(void)
{
	return list_empty(&slots);
}

/**
 * collapse_slots_at_start - does the next step begin with the first address space?
 */
bool collapse_slots_at_start(void)
{
	return !READ_ONCE(cursor);
}

static void slot_del(struct mm_slot *slot)
{
	lockdep_assert_held(&slots_lock);
	hash_del(&slot->hash);
	list_del(&slot->mm_node);
}

static void slot_free(struct mm_slot *slot)
{
	mmdrop(slot->mm);
	mm_slot_free(slots_cache, slot);
}

/**
 * __khugepaged_enter - khugepaged is to look through an address space
 * @mm: the address space, which does not end meanwhile
 *
 * Without memory for it nothing is noted, and the next who comes tries again.
 */
void __khugepaged_enter(struct mm_struct *mm)
{
	struct mm_slot *slot;
	bool first;

	VM_WARN_ON_ONCE_MM(collapse_mm_ends(mm), mm);
	if (test_bit(MMF_VM_HUGEPAGE, &mm->flags))
		return;
	slot = mm_slot_alloc(slots_cache);
	if (!slot)
		return;
	/* Two threads may have come so far. */
	if (test_and_set_bit(MMF_VM_HUGEPAGE, &mm->flags)) {
		mm_slot_free(slots_cache, slot);
		return;
	}
	mmgrab(mm);
	spin_lock(&slots_lock);
	mm_slot_insert(slots_hash, mm, slot);
	first = list_empty(&slots);
	/* Behind all others: it is quiet by the time that it is looked at. */
	list_add_tail(&slot->mm_node, &slots);
	spin_unlock(&slots_lock);
	if (first)
		collapse_thread_wake();
}

/**
 * khugepaged_enter_vma - khugepaged is to look through the address space of a VMA, if it may
 * @vma: the VMA
 * @vm_flags: its flags, or what they are going to be
 */
void khugepaged_enter_vma(struct vm_area_struct *vma, unsigned long vm_flags)
{
	unsigned long orders = vma_is_anonymous(vma) ? THP_ORDERS_ALL_ANON : BIT(PMD_ORDER);

	if (test_bit(MMF_VM_HUGEPAGE, &vma->vm_mm->flags) || !collapse_enabled())
		return;
	if (thp_vma_allowable_orders(vma, vm_flags, TVA_ENFORCE_SYSFS, orders))
		__khugepaged_enter(vma->vm_mm);
}

/**
 * collapse_anon_begins - a VMA has got its anon_vma
 * @vma: the VMA
 *
 * Where no huge page is allowed, but smaller folios are, no fault calls khugepaged_enter_vma().
 *
 * Context: mmap_lock held.
 */
void collapse_anon_begins(struct vm_area_struct *vma)
{
	khugepaged_enter_vma(vma, vma->vm_flags);
}

/**
 * __khugepaged_exit - an address space ends
 * @mm: the address space, of which nobody is a user any more
 *
 * When it returns its page tables are nobody's but the caller's.
 */
void __khugepaged_exit(struct mm_struct *mm)
{
	struct mm_slot *slot;
	bool scanned;

	spin_lock(&slots_lock);
	slot = mm_slot_lookup(slots_hash, mm);
	scanned = slot && (slot == cursor || slot == visited);
	if (slot && !scanned)
		slot_del(slot);
	spin_unlock(&slots_lock);
	if (scanned) {
		/* khugepaged has the lock, or will see that the address space ends. */
		mmap_write_lock(mm);
		mmap_write_unlock(mm);
	} else if (slot) {
		clear_bit(MMF_VM_HUGEPAGE, &mm->flags);
		slot_free(slot);
	}
}

/* --- the cursor ------------------------------------------------------------------------- */

static struct mm_slot *cursor_begin(void)
{
	spin_lock(&slots_lock);
	if (!cursor) {
		cursor = list_first_entry_or_null(&slots, struct mm_slot, mm_node);
		cursor_address = 0;
	}
	spin_unlock(&slots_lock);
	return cursor;
}

/* On to the next; of one that has ended there is no slot any more, as exit left it to us. */
static void cursor_next(struct mm_slot *slot, bool last_wraps)
{
	bool gone;

	lockdep_assert_held(&slots_lock);
	gone = collapse_mm_ends(slot->mm);
	if (list_is_last(&slot->mm_node, &slots)) {
		cursor = NULL;
		collapse_settings.full_scans += last_wraps;
	} else {
		cursor = list_next_entry(slot, mm_node);
		cursor_address = 0;
	}
	if (gone) {
		slot_del(slot);
		slot_free(slot);
	}
}

/* @all: there is nothing left in this address space. */
static void cursor_end(struct mm_slot *slot, bool all)
{
	spin_lock(&slots_lock);
	if (all || collapse_mm_ends(slot->mm))
		cursor_next(slot, true);
	spin_unlock(&slots_lock);
}

/**
 * collapse_slots_forget - khugepaged ends in the middle of an address space
 */
void collapse_slots_forget(void)
{
	spin_lock(&slots_lock);
	if (cursor) {
		cursor_next(cursor, false);
		cursor = NULL;
	}
	spin_unlock(&slots_lock);
}

/* --- one address space ------------------------------------------------------------------ */

/**
 * struct slot_scan - a step through one address space
 * @by: khugepaged
 * @mm: the address space
 * @budget: entries that may be looked at
 * @done: how many were; a VMA counts as one
 * @result: of the last PMD
 * @locked: mmap_lock is held
 */
struct slot_scan {
	struct collapse_by *by;
	struct mm_struct *mm;
	unsigned int budget;
	unsigned int done;
	enum scan_result result;
	bool locked;
};

/*
 * The PMDs of a VMA from the cursor on. False when the step ends: the lock had to be let go of, the
 * budget is used up, or the address space is to be left alone.
 */
static bool scan_vma(struct slot_scan *s, struct vm_area_struct *vma)
{
	unsigned long start = vma->vm_start, end = vma->vm_end, orders = collapse_orders(vma);
	unsigned long at, next;

	/* Huge pages only where there is room for them. */
	if (!(orders & ~BIT(PMD_ORDER))) {
		start = round_up(start, HPAGE_PMD_SIZE);
		end = round_down(end, HPAGE_PMD_SIZE);
	}
	if (cursor_address > end || !orders) {
		s->done++;
		return true;
	}
	cursor_address = max(cursor_address, start);
	while (cursor_address < end) {
		cond_resched();
		if (unlikely(collapse_mm_is_out(s->mm)))
			return false;
		at = cursor_address & HPAGE_PMD_MASK;
		/* The rest of a table that ends elsewhere may be of the next VMA. */
		next = end - at > HPAGE_PMD_SIZE ? at + HPAGE_PMD_SIZE : end;
		s->done += (next - cursor_address) / PAGE_SIZE;
		cursor_address = next;
		s->result = collapse_range(s->by, vma, at, &s->locked);
		if (s->result == SCAN_SUCCEED)
			collapse_settings.collapsed++;
		if (!s->locked || s->done >= s->budget)
			return false;
	}
	return true;
}

/* Return: whether there is nothing left. */
static bool scan_mm(struct slot_scan *s)
{
	VMA_ITERATOR(vmi, s->mm, cursor_address);
	struct vm_area_struct *vma;

	s->done++;
	if (unlikely(collapse_mm_is_out(s->mm)))
		return true;
	for_each_vma(vmi, vma) {
		cond_resched();
		if (unlikely(collapse_mm_is_out(s->mm)))
			return true;
		if (!scan_vma(s, vma))
			return unlikely(s->locked && collapse_mm_is_out(s->mm));
	}
	return true;
}

/* --- out of turn ------------------------------------------------------------------------ */

static struct mm_slot *visit_begin(struct mm_struct *mm)
{
	spin_lock(&slots_lock);
	visited = mm_slot_lookup(slots_hash, mm);
	spin_unlock(&slots_lock);
	return visited;
}

/* As cursor_end(): exit has left the slot to us. */
static void visit_end(struct mm_slot *slot)
{
	spin_lock(&slots_lock);
	visited = NULL;
	if (slot != cursor && collapse_mm_ends(slot->mm)) {
		slot_del(slot);
		slot_free(slot);
	}
	spin_unlock(&slots_lock);
}

/**
 * collapse_slots_visit - look at one place, wherever the cursor is
 * @by: khugepaged
 * @place: the place; its address space may have gone
 *
 * Return: how it ended; SCAN_FAIL if there is nothing to be looked at.
 */
enum scan_result collapse_slots_visit(struct collapse_by *by, const struct collapse_place *place)
{
	struct mm_slot *slot = visit_begin(place->mm);
	enum scan_result result = SCAN_PAGE_LOCK;
	struct vm_area_struct *vma;
	bool locked = true;

	if (!slot)
		return SCAN_FAIL;
	if (mmap_read_trylock(slot->mm)) {
		result = collapse_find_vma(slot->mm, place->address, by, &vma);
		if (result == SCAN_SUCCEED)
			result = collapse_range(by, vma, place->address, &locked);
		if (locked)
			mmap_read_unlock(slot->mm);
	}
	if (result == SCAN_SUCCEED)
		collapse_settings.collapsed++;
	visit_end(slot);
	return result;
}

/**
 * collapse_slots_scan - a step of khugepaged
 * @by: khugepaged
 * @budget: entries that may be looked at
 * @result: set to how the last PMD ended
 *
 * Who waits for an address space's lock is not waited for: the next one is looked at instead.
 *
 * Return: how many entries were looked at; 0 if there is no address space.
 */
unsigned int collapse_slots_scan(struct collapse_by *by, unsigned int budget,
				 enum scan_result *result)
{
	struct mm_slot *slot = cursor_begin();
	struct slot_scan s = { .by = by, .budget = budget, .result = SCAN_FAIL, .locked = true };
	bool all = true;

	if (!slot)
		return 0;
	s.mm = slot->mm;
	if (likely(mmap_read_trylock(s.mm))) {
		all = scan_mm(&s);
		if (s.locked)
			mmap_read_unlock(s.mm);
	}
	cursor_end(slot, all);
	*result = s.result;
	return s.done;
}

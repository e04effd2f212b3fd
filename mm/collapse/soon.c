// SPDX-License-Identifier: GPL-2.0
/*
 * Faults that wanted a huge page and got a small one: khugepaged visits them before it goes on with
 * its round, as they are in use right now.
 *
 *	fault, no huge page --> queued --> khugepaged, next round --> huge
 *				  ^			|
 *				  |			+--> no such place any more, or it
 *				  |			|    was in vain for the third time
 *				  +-- no huge page -----+
 *				  +-- pages are busy ---+
 *
 * The queue is short. When it is full nothing is noted: there are no huge pages at all then, and
 * the round comes by. An entry keeps nothing alive: if its address space has gone there is no slot
 * for it; and if another one is in its place, that is looked at in vain at worst.
 */
#include <linux/collapse_hints.h>
#include <linux/mm.h>
#include <linux/spinlock.h>

#include "collapse.h"

#define NR_SOON		32
#define NR_TRIES	3

static DEFINE_SPINLOCK(soon_lock);
static struct collapse_place soon[NR_SOON];
/* Those at first, first + 1 ... first + nr - 1, modulo NR_SOON. */
static unsigned int first, nr;

static bool is_queued(const struct collapse_place *place)
{
	unsigned int i;

	for (i = first; i != first + nr; i++)
		if (soon[i % NR_SOON].mm == place->mm &&
		    soon[i % NR_SOON].address == place->address)
			return true;
	return false;
}

static void queue(const struct collapse_place *place)
{
	spin_lock(&soon_lock);
	if (nr < NR_SOON && !is_queued(place))
		soon[(first + nr++) % NR_SOON] = *place;
	spin_unlock(&soon_lock);
}

/**
 * collapse_soon - a fault has fallen back to a small page
 * @vma: the VMA
 * @addr: an address that a huge page was wanted for
 *
 * Context: mmap_lock or the VMA's lock is held.
 */
void collapse_soon(struct vm_area_struct *vma, unsigned long addr)
{
	struct collapse_place place = { .mm = vma->vm_mm, .address = addr & HPAGE_PMD_MASK };

	queue(&place);
}

static bool next(struct collapse_place *place)
{
	bool any;

	spin_lock(&soon_lock);
	any = nr;
	if (any) {
		*place = soon[first];
		first = (first + 1) % NR_SOON;
		nr--;
	}
	spin_unlock(&soon_lock);
	return any;
}

/* Once more, if that may come to something. */
static void queue_again(struct collapse_place *place, enum scan_result result)
{
	if (result == SCAN_ALLOC_HUGE_PAGE_FAIL ||
	    (result != SCAN_SUCCEED && result != SCAN_PMD_MAPPED && result != SCAN_FAIL &&
	     ++place->tries < NR_TRIES))
		queue(place);
}

/**
 * collapse_soon_scan - visit the places of faults that fell back
 * @by: khugepaged
 * @budget: entries that may be looked at
 * @result: set to how the last of them ended
 *
 * Return: how many were.
 */
unsigned int collapse_soon_scan(struct collapse_by *by, unsigned int budget,
				enum scan_result *result)
{
	struct collapse_place place;
	unsigned int done = 0, visits = READ_ONCE(nr);

	while (done < budget && next(&place)) {
		*result = collapse_slots_visit(by, &place);
		cond_resched();
		done += HPAGE_PMD_NR;
		queue_again(&place, *result);
		/* What is queued again is for the next round. */
		if (*result == SCAN_ALLOC_HUGE_PAGE_FAIL || !--visits)
			break;
	}
	return done;
}

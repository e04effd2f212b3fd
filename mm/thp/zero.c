// SPDX-License-Identifier: GPL-2.0
/*
 * The huge zero folio, which all processes map that have read huge pages and written none.
 *
 *	absent --first user: allocated--> in use (1 + users)
 *	   ^				   |	  ^
 *	   | shrinker: 1 -> 0		   v	  | user
 *	   +---------------------------- idle (1)
 *
 * Users are address spaces, not mappings: each has one reference from its first such mapping to
 * its end. The shrinker has one, and takes the folio away when that is the only one.
 *
 * Whoever goes from 0 to 1 does it under the lock; others count up what is not 0 without it.
 */
#include <linux/mm.h>
#include <linux/sched/coredump.h>
#include <linux/shrinker.h>
#include <linux/vmstat.h>

#include "thp.h"

struct folio *huge_zero_folio __read_mostly;
unsigned long huge_zero_pfn __read_mostly = ~0UL;

static atomic_t zero_refs;
static DEFINE_SPINLOCK(zero_lock);
static struct shrinker *zero_shrinker;

/* The folio and its frame change together. */
static void zero_set(struct folio *folio)
{
	lockdep_assert_held(&zero_lock);
	WRITE_ONCE(huge_zero_folio, folio);
	WRITE_ONCE(huge_zero_pfn, folio ? folio_pfn(folio) : ~0UL);
}

static bool zero_alloc(void)
{
	struct folio *folio = folio_alloc((GFP_TRANSHUGE | __GFP_ZERO) & ~__GFP_MOVABLE,
					  HPAGE_PMD_ORDER);

	if (!folio) {
		count_vm_event(THP_ZERO_PAGE_ALLOC_FAILED);
		return false;
	}
	/* It is mapped without being counted. */
	folio_clear_large_rmappable(folio);
	spin_lock(&zero_lock);
	if (!huge_zero_folio) {
		zero_set(folio);
		/* Pairs with atomic_inc_not_zero(): who counts sees the folio. */
		atomic_set_release(&zero_refs, 2);
		folio = NULL;
	} else {
		atomic_inc(&zero_refs);
	}
	spin_unlock(&zero_lock);
	/* Somebody was faster. */
	if (folio)
		folio_put(folio);
	else
		count_vm_event(THP_ZERO_PAGE_ALLOC);
	return true;
}

static void zero_put(void)
{
	/* The last one is the shrinker's. */
	WARN_ON_ONCE(atomic_dec_return(&zero_refs) < 1);
}

/**
 * mm_get_huge_zero_folio - the huge zero folio, for an address space
 * @mm: which has it until mm_put_huge_zero_folio()
 *
 * Context: sleeps.
 * Return: the folio; NULL when there is no memory for it.
 */
struct folio *mm_get_huge_zero_folio(struct mm_struct *mm)
{
	if (!test_bit(MMF_HUGE_ZERO_PAGE, &mm->flags)) {
		if (!atomic_inc_not_zero(&zero_refs) && !zero_alloc())
			return NULL;
		/* Another thread of it may have been first. */
		if (test_and_set_bit(MMF_HUGE_ZERO_PAGE, &mm->flags))
			zero_put();
	}
	return READ_ONCE(huge_zero_folio);
}

/**
 * mm_put_huge_zero_folio - an address space ends
 * @mm: the address space
 */
void mm_put_huge_zero_folio(struct mm_struct *mm)
{
	if (test_bit(MMF_HUGE_ZERO_PAGE, &mm->flags))
		zero_put();
}

static unsigned long zero_count(struct shrinker *shrinker, struct shrink_control *sc)
{
	return atomic_read(&zero_refs) == 1 ? HPAGE_PMD_NR : 0;
}

static unsigned long zero_scan(struct shrinker *shrinker, struct shrink_control *sc)
{
	struct folio *folio = NULL;

	spin_lock(&zero_lock);
	if (atomic_cmpxchg(&zero_refs, 1, 0) == 1) {
		folio = huge_zero_folio;
		zero_set(NULL);
	}
	spin_unlock(&zero_lock);
	if (!folio)
		return 0;
	folio_put(folio);
	return HPAGE_PMD_NR;
}

/**
 * thp_zero_init - let the huge zero folio go when memory is short
 *
 * Return: 0 or -ENOMEM.
 */
int __init thp_zero_init(void)
{
	zero_shrinker = shrinker_alloc(0, "thp-zero");
	if (!zero_shrinker)
		return -ENOMEM;
	zero_shrinker->count_objects = zero_count;
	zero_shrinker->scan_objects = zero_scan;
	shrinker_register(zero_shrinker);
	return 0;
}

/**
 * thp_zero_exit - undo thp_zero_init()
 */
void __init thp_zero_exit(void)
{
	shrinker_free(zero_shrinker);
}

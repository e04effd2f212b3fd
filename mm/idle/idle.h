/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Idle page tracking: what its files share.
 *
 *	bitmap.c (sysfs)   ages.c (thread)
 *	     \               /
 *	      sweep.c: frames of a window, in order, each once
 *	         |
 *	      walk.c: one folio through the reverse map, and the rest of the
 *	         |    page table that it leads to
 *	      age_map.c: a byte a frame, which hooks change too
 *	         |
 *	      histogram.c: ages added up, and shown
 *
 * Calls go downwards.
 */
#ifndef __MM_IDLE_H
#define __MM_IDLE_H

#include <linux/bitmap.h>
#include <linux/idle_ages.h>
#include <linux/mmu_notifier.h>
#include <linux/page_idle.h>
#include <linux/rcupdate.h>

#include "window.h"

/* What a sweep does with the folios it finds. */
enum idle_op {
	IDLE_READ,	/* report the folios that are still idle */
	IDLE_MARK,	/* set idle on the frames the caller named */
	IDLE_AGE,	/* count sweeps since the last reference */
};

/* Page tables of one sweep that were looked around, hashed to one bit each. */
#define IDLE_TABLE_HASH		12

struct idle_age_book;

/**
 * struct idle_sweep - one pass over a window of frames
 * @op: what to do
 * @start: first frame
 * @nr: number of frames
 * @words: READ: answers, zeroed. Bit n is frame @start + n
 * @book: AGE: where ages are kept and counted
 * @tables: page tables already looked around
 * @backoff: look-arounds to leave out after one that found too little
 * @skip: how many of those are still to be left out
 * @walked: folios walked through the reverse map
 * @harvested: folios finished while the page table of another was locked
 * @skipped: folios isolated or locked elsewhere
 * @done: one bit a frame: the folio is finished, or was never asked for
 *
 * Private to the task that sweeps: no lock.
 */
struct idle_sweep {
	enum idle_op op;
	unsigned long start;
	unsigned long nr;
	u64 *words;
	struct idle_age_book *book;

	DECLARE_BITMAP(tables, 1 << IDLE_TABLE_HASH);
	unsigned int backoff;
	unsigned int skip;

	unsigned long walked;
	unsigned long harvested;
	unsigned long skipped;
	unsigned long done[];
};

/* age_map.c */
void idle_age_finish(struct idle_age_book *book, struct folio *folio, bool referenced);
void idle_age_keep(struct idle_age_book *book, struct folio *folio);

/* ages.c */
extern const struct attribute_group idle_ages_group;

static inline void idle_word_set(struct idle_sweep *s, unsigned long off)
{
	s->words[off / IDLE_WORD_BITS] |= 1ULL << (off % IDLE_WORD_BITS);
}

static inline bool idle_has_secondary(struct mm_struct *mm)
{
#ifdef CONFIG_MMU_NOTIFIER
	return mm_has_notifiers(mm);
#else
	return false;
#endif
}

/* Secondary MMUs (KVM) keep Accessed bits of their own. Page table lock held. */
static inline bool idle_clear_secondary(struct mm_struct *mm, unsigned long start,
					unsigned long end)
{
#ifdef CONFIG_MMU_NOTIFIER
	return mmu_notifier_clear_young(mm, start, end);
#else
	return false;
#endif
}

/**
 * idle_sweep_wants - has this sweep anything to do with a folio?
 * @op: the sweep's operation; a constant where it matters
 * @folio: a folio, maybe without a reference: the answer is then a hint
 *
 * A mark wants what the caller named; the rest is done from the start.
 *
 * Return: true when the folio is worth a walk.
 */
static __always_inline bool idle_sweep_wants(enum idle_op op, struct folio *folio)
{
	return op != IDLE_READ || folio_test_idle(folio);
}

/*
 * An Accessed bit of @folio was cleared. Reclaim has not seen it, so Young stands in
 * for it; the ages are told unless it is their own sweep that will count it.
 */
static __always_inline void idle_sweep_note(enum idle_op op, struct folio *folio)
{
	if (!folio_test_young(folio))
		folio_set_young(folio);
	if (op != IDLE_MARK && folio_test_idle(folio))
		folio_clear_idle(folio);
	if (op != IDLE_AGE)
		idle_ages_touch(folio);
}

/* Head and tails of a folio of @nr pages need no more attention. */
static inline void idle_sweep_done(struct idle_sweep *s, unsigned long off, unsigned long nr)
{
	nr = min(nr, s->nr - off);
	if (nr <= BITS_PER_LONG)
		bitmap_write(s->done, ~0UL, off, nr);
	else
		bitmap_set(s->done, off, nr);
}

/**
 * idle_sweep_finish - the Accessed bits of a folio are gathered: draw the conclusion
 * @s: the sweep
 * @op: its operation; a constant where it matters
 * @folio: the folio, kept by a reference or by a locked page table that maps it
 * @off: its head frame, counted from the window's start
 * @referenced: an Accessed bit was found set, and was cleared
 *
 * Context: any, page table locks included. Called once per folio and sweep, after
 * its bits in @done were set.
 */
static __always_inline void idle_sweep_finish(struct idle_sweep *s, enum idle_op op,
					      struct folio *folio, unsigned long off,
					      bool referenced)
{
	if (referenced)
		idle_sweep_note(op, folio);

	if (op == IDLE_AGE)
		idle_age_finish(s->book, folio, referenced);
	else if (op == IDLE_MARK && !folio_test_idle(folio))
		folio_set_idle(folio);
	else if (op == IDLE_READ && folio_test_idle(folio))
		idle_word_set(s, off);
}

/* sweep.c */
struct idle_sweep *idle_sweep_alloc(enum idle_op op, unsigned long nr);
void idle_sweep_free(struct idle_sweep *s);
void idle_sweep_only(struct idle_sweep *s, const u64 *words);
unsigned long idle_sweep_run(struct idle_sweep *s);

/* walk.c */
bool idle_walk_folio(struct idle_sweep *s, struct folio *folio, bool *referenced);

#endif /* __MM_IDLE_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Idle ages: how many sweeps a folio has gone without a reference.
 *
 * The rest of mm tells three things, through the calls below: a folio was
 * referenced, a folio moved to other frames, frames were freed. Each is a
 * patched-out jump until /sys/kernel/mm/page_idle/scan_period_ms is first set.
 */
#ifndef _LINUX_IDLE_AGES_H
#define _LINUX_IDLE_AGES_H

#include <linux/jump_label.h>
#include <linux/page_idle.h>

struct folio;
struct page;

#ifdef CONFIG_FOLIAGE_IDLE

DECLARE_STATIC_KEY_FALSE(idle_ages_key);

unsigned int __idle_age(struct folio *folio);
void __idle_ages_touch(struct folio *folio);
void __idle_ages_carry(struct folio *from, struct folio *to);
void __idle_ages_forget(struct page *page);

/**
 * idle_ages_kept - were ages ever switched on?
 *
 * Switched off since, all are 0.
 */
static inline bool idle_ages_kept(void)
{
	return static_branch_unlikely(&idle_ages_key);
}

/**
 * idle_age - how many sweeps a folio has gone without a reference
 * @folio: the folio; it may be freed meanwhile, and the age is another's then
 *
 * Context: any; takes no lock.
 * Return: sweeps; 0 if it was used in the last one, is newer than that, or nobody knows.
 */
static inline unsigned int idle_age(struct folio *folio)
{
	return idle_ages_kept() ? __idle_age(folio) : 0;
}

/**
 * idle_ages_touch - a reference to @folio was consumed outside the idle sweep
 * @folio: the folio; the caller keeps it from being freed
 *
 * Called where an Accessed bit is cleared by somebody else than the sweep, or
 * where a reference leaves no Accessed bit (read(2), write(2)). The next sweep
 * then counts the folio as referenced.
 *
 * Context: any; takes no lock.
 */
static inline void idle_ages_touch(struct folio *folio)
{
	if (static_branch_unlikely(&idle_ages_key))
		__idle_ages_touch(folio);
}

/**
 * idle_ages_carry - @to inherits the age of @from: it takes its place or is split off
 * @from: the old folio
 * @to: the new folio
 *
 * Context: any; the caller keeps both folios from being freed.
 */
static inline void idle_ages_carry(struct folio *from, struct folio *to)
{
	if (static_branch_unlikely(&idle_ages_key))
		__idle_ages_carry(from, to);
}

/**
 * idle_ages_forget - frames are being freed: whoever gets them starts young
 * @page: the first page; only a folio's first frame ever has an age
 *
 * Context: any; the caller is the only owner of the pages.
 */
static inline void idle_ages_forget(struct page *page)
{
	if (static_branch_unlikely(&idle_ages_key))
		__idle_ages_forget(page);
}

/**
 * folio_note_reference - an Accessed bit of @folio was found set and cleared
 * @folio: the folio; the caller keeps it from being freed
 *
 * For page table walkers that consume Accessed bits for a purpose of their own
 * (the generational LRU): what they saw must not be lost to idle tracking. The
 * Young flag is not set, because the walker is reclaim itself.
 *
 * Context: any; takes no lock.
 */
static inline void folio_note_reference(struct folio *folio)
{
	if (folio_test_idle(folio))
		folio_clear_idle(folio);
	idle_ages_touch(folio);
}

#else /* !CONFIG_FOLIAGE_IDLE */

static inline bool idle_ages_kept(void)
{
	return false;
}

static inline unsigned int idle_age(struct folio *folio)
{
	return 0;
}

static inline void idle_ages_touch(struct folio *folio) { }
static inline void idle_ages_carry(struct folio *from, struct folio *to) { }
static inline void idle_ages_forget(struct page *page) { }
static inline void folio_note_reference(struct folio *folio) { }

#endif /* CONFIG_FOLIAGE_IDLE */
#endif /* _LINUX_IDLE_AGES_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * The sweep: every frame of a window, in order, each folio finished once.
 *
 *	window   |FFFFFFFF|h t t t|s|s|-|s|S S S S|h t t t t t t t|  frames
 *	pass over ^^^^^^^^          done ^   ^^^^^^^     ^^^^^^^^^^^^^
 *	          free block             not on an LRU   tails
 *
 * A folio is reached in one of two ways. The loop below comes to its head frame,
 * takes a reference and walks the reverse map; or, before that, the walk of
 * another folio has locked the one page table that maps it, and finishes it there
 * (walk.c). Either way idle_sweep_finish() is called once and its bit in @done is
 * set.
 *
 * Why the order does not matter: the answer for a folio depends on its own
 * mappings' Accessed bits, its own idle flag and nothing else, and finishing one
 * folio changes no other folio's bits.
 *
 * What is read without a lock or a reference (the kind of a frame, the length of a
 * block) may be stale or torn. It only ever decides how many frames to pass over, at
 * most one block of the page allocator, and whether a reference is worth trying. What
 * is passed over wrongly was being freed, allocated or split at that moment, and counts
 * as isolated: it is skipped, as it may be.
 *
 * Locks: memmap_read_lock() over the window, so that no struct page in it goes away;
 * inside it what the reverse map takes (folio lock by trylock only, anon_vma or
 * i_mmap for reading, one page table lock).
 */
#include <linux/ktime.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>

#include "../internal.h"
#include "../memmap/memmap.h"
#include "idle.h"

#define CREATE_TRACE_POINTS
#include <trace/events/page_idle.h>

/*
 * Whether memory exists and is online is asked once per chunk: neither sections, nor
 * device memory inside them, nor holes of the memory map change at a finer grain.
 */
#define IDLE_CHUNK	min_t(unsigned long, SZ_2M >> PAGE_SHIFT, pageblock_nr_pages)

/**
 * idle_sweep_alloc - a sweep over up to @nr frames
 * @op: what to do with the folios found
 * @nr: number of frames
 *
 * Context: process, may sleep.
 * Return: the sweep, or NULL without memory.
 */
struct idle_sweep *idle_sweep_alloc(enum idle_op op, unsigned long nr)
{
	struct idle_sweep *s;

	s = kvzalloc(struct_size(s, done, BITS_TO_LONGS(nr)), GFP_KERNEL);
	if (s) {
		s->op = op;
		s->nr = nr;
	}
	return s;
}

/**
 * idle_sweep_free - the other end of idle_sweep_alloc()
 * @s: the sweep
 */
void idle_sweep_free(struct idle_sweep *s)
{
	kvfree(s);
}

/**
 * idle_sweep_only - leave out the frames that were not named
 * @s: a sweep that has not begun
 * @words: one bit a frame; those that are clear are left out
 */
void idle_sweep_only(struct idle_sweep *s, const u64 *words)
{
	unsigned long off;

	for (off = 0; off < s->nr; off += BITS_PER_LONG)
		s->done[off / BITS_PER_LONG] =
			~(unsigned long)(words[off / IDLE_WORD_BITS] >> (off % IDLE_WORD_BITS));
}

/*
 * The folio at @page if it is user memory that can be held: on an LRU list, so that
 * the reverse map knows it, and not being freed.
 */
static struct folio *idle_get_folio(struct page *page)
{
	struct folio *folio = page_folio(page);

	if (!folio_try_get(folio))
		return NULL;
	if (page_folio(page) == folio && &folio->page == page && folio_test_lru(folio))
		return folio;
	folio_put(folio);
	return NULL;
}

static void idle_sweep_folio(struct idle_sweep *s, struct page *page, unsigned long off)
{
	struct folio *folio = idle_get_folio(page);
	bool referenced = false, walked;

	if (!folio) {
		s->skipped++;
		return;
	}
	/* Finished from here on: its own table must not be looked around for it. */
	idle_sweep_done(s, off, folio_nr_pages(folio));
	walked = idle_walk_folio(s, folio, &referenced);
	if (!walked)
		s->skipped++;
	if (s->op == IDLE_AGE && !walked)
		idle_age_keep(s->book, folio);
	else
		idle_sweep_finish(s, s->op, folio, off, referenced);
	folio_put(folio);
}

/*
 * Frames to pass over from @pfn on, or 0 when a folio on an LRU list may start there.
 * Tails never carry the LRU flag themselves, so the commonest kinds need one test.
 */
static __always_inline unsigned long idle_pass_over(struct page *page, unsigned long pfn)
{
	unsigned long order;

	if (test_bit(PG_lru, &page->flags))
		return 0;
	if (PageBuddy(page)) {
		order = buddy_order_unsafe(page);
		return order <= MAX_PAGE_ORDER ? idle_block_rest(pfn, 1UL << order) : 1;
	}
	if (PageCompound(page))
		return min(idle_block_rest(pfn, folio_nr_pages(page_folio(page))), IDLE_CHUNK);
	return 1;
}

/*
 * The frames from @pfn to @end, all of one online chunk that starts at @page. Returns
 * where to go on: a free block may reach past @end, and only its first frame tells.
 */
static unsigned long idle_sweep_chunk(struct idle_sweep *s, struct page *page,
				      unsigned long pfn, unsigned long end)
{
	unsigned long nr, off;

	for (; pfn < end; pfn += nr, page += nr) {
		off = pfn - s->start;
		if (test_bit(off, s->done)) {
			nr = find_next_zero_bit(s->done, end - s->start, off) - off;
			continue;
		}
		nr = idle_pass_over(page, pfn);
		if (nr)
			continue;
		nr = 1;
		if (!idle_sweep_wants(s->op, page_folio(page)))
			continue;
		idle_sweep_folio(s, page, off);
		cond_resched();
	}
	return pfn;
}

/**
 * idle_sweep_run - sweep the window
 * @s: the sweep; start, nr and what its operation needs are set
 *
 * Context: process, sleeps; yields between chunks of 2 MiB and between walks.
 * Return: the frames finished, counted from the start: all of them unless a fatal
 * signal is pending.
 */
unsigned long idle_sweep_run(struct idle_sweep *s)
{
	unsigned long pfn, next, end = s->start + s->nr;
	u64 began = trace_idle_sweep_enabled() ? ktime_get_ns() : 0;
	struct page *page;
	int lock;

	lock = memmap_read_lock();
	for (pfn = s->start; pfn < end && !fatal_signal_pending(current); pfn = next) {
		next = min(ALIGN(pfn + 1, IDLE_CHUNK), end);
		page = pfn_to_online_page(pfn);
		if (page)
			next = min(idle_sweep_chunk(s, page, pfn, next), end);
		cond_resched();
	}
	memmap_read_unlock(lock);

	trace_idle_sweep(s, pfn - s->start, began ? ktime_get_ns() - began : 0);
	return pfn - s->start;
}

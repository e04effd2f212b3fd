/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A call of move_pages(2) in the making, for the tests of its answers. A status that the kernel
 * did not write keeps the UNTOLD that is there before each call.
 */
#ifndef FOLIAGE_MIGRATE_CALL_H
#define FOLIAGE_MIGRATE_CALL_H

#include "migrate.h"

#define UNTOLD	-1000

/* A call: so many pages, to which nodes, and what was told of each. */
struct call {
	void *page[MAX_PAGES];
	int node[MAX_PAGES];
	int status[MAX_PAGES];
	size_t n;
};

static struct call call;

static inline void call_clear(void)
{
	call.n = 0;
}

static inline void call_add(void *page, int node)
{
	call.page[call.n] = page;
	call.node[call.n] = node;
	call.status[call.n++] = UNTOLD;
}

static inline long call_move(int flags)
{
	settle_lru();
	return move_pages_raw(0, call.n, call.page, call.node, call.status, flags);
}

static inline long call_ask(void)
{
	return move_pages_raw(0, call.n, call.page, NULL, call.status, 0);
}

/* Statuses that are not @want. */
static inline size_t differ(size_t from, size_t to, int want)
{
	size_t n = 0;

	for (size_t i = from; i < to; i++)
		n += call.status[i] != want;
	return n;
}

static inline char *anon(size_t pages)
{
	char *p = mem_map(pages, RW, ANON, -1);

	madvise(p, pages * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < pages; i++)
		*(uint64_t *)(p + i * PAGE) = i;
	settle_lru();
	move_range(p, pages, 1, 0, MOVE_OWN);
	if (count_on(p, pages, 0) != pages)
		fail_setup("memory on node 0");
	return p;
}

static inline size_t anon_wrong(const char *p, size_t pages)
{
	size_t n = 0;

	for (size_t i = 0; i < pages; i++)
		n += *(volatile uint64_t *)(p + i * PAGE) != i;
	return n;
}

#endif

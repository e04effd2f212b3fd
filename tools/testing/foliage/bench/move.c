// SPDX-License-Identifier: GPL-2.0
/* Migration between two NUMA nodes, one address per folio in one call. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

#define TARGET	1
/* Enough pages for what a call costs by itself not to be seen in the figure of one. */
#define SHARED	128

void move_nodes(struct bench *b)
{
	struct region r = region_new(b, b->op->size);
	size_t n = r.len / r.folio, i;
	void **pages = need_memory(n * sizeof(*pages));
	int *nodes = need_memory(n * sizeof(*nodes));
	int *status = need_memory(n * sizeof(*status));
	long left;

	for (i = 0; i < n; i++) {
		pages[i] = r.mem + i * r.folio;
		nodes[i] = TARGET;
		status[i] = -1;
	}
	drain_lru();
	meter_begin(b);
	left = syscall(SYS_move_pages, 0, n, pages, nodes, status, MPOL_MF_MOVE);
	meter_end(b, r.len / PAGE);
	if (left < 0)
		fail("move_pages to node %d: %s (two NUMA nodes with memory are needed)", TARGET,
		     strerror(errno));
	if (left)
		fail("move_pages left %ld of %zu folios behind", left, n);
	must(syscall(SYS_move_pages, 0, n, pages, NULL, status, 0));
	for (i = 0; i < n; i++)
		if (status[i] != TARGET)
			fail("folio %zu is on node %d instead of %d", i, status[i], TARGET);
	region_check(&r);
	free(pages);
	free(nodes);
	free(status);
	region_free(&r);
}

/* The first pages of @r, as process @pid maps them (0: this one), wherever else they are mapped. */
static void move_first(struct bench *b, const struct region *r, pid_t pid)
{
	void *pages[SHARED];
	int nodes[SHARED], status[SHARED];
	size_t i;

	for (i = 0; i < SHARED; i++) {
		pages[i] = r->mem + i * PAGE;
		nodes[i] = TARGET;
	}
	drain_lru();
	meter_begin(b);
	must(syscall(SYS_move_pages, pid, SHARED, pages, nodes, status, MPOL_MF_MOVE_ALL));
	meter_end(b, SHARED);
	must(syscall(SYS_move_pages, pid, SHARED, pages, NULL, status, 0));
	for (i = 0; i < SHARED; i++)
		if (status[i] != TARGET)
			fail("page %zu is on node %d instead of %d", i, status[i], TARGET);
}

/* Pages that --sharers processes map: all of their mappings must be found. */
void move_shared(struct bench *b)
{
	struct region r = region_new(b, FOLIO_4K);
	pid_t *pids = sharers_start(b->sharers - 1, NULL, NULL);

	move_first(b, &r, 0);
	sharers_stop(pids, b->sharers - 1);
	region_free(&r);
}

static void copy_first(void *arg)
{
	const struct region *r = arg;
	size_t i;

	for (i = 0; i < SHARED; i++)
		*(volatile uint64_t *)(r->mem + i * PAGE) = i;
}

/* One of --sharers children's own copies: the others are none of its business. */
void move_copied(struct bench *b)
{
	struct region r = region_new(b, FOLIO_4K);
	pid_t *pids = sharers_start(b->sharers, copy_first, &r);

	move_first(b, &r, pids[b->sharers / 2]);
	sharers_stop(pids, b->sharers);
	region_free(&r);
}

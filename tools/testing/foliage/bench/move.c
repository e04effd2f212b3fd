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

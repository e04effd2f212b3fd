// SPDX-License-Identifier: GPL-2.0
/*
 * Copying an address space, dropping it, and what long chains of copies leave in the reverse map.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define CHAIN	5
#define FORKS	5

/* Several times: what one exit leaves to RCU, another pays for. */
static void fork_and_exit(void)
{
	int i;

	for (i = 0; i < FORKS; i++) {
		pid_t pid = must(fork());

		if (!pid)
			_exit(0);
		wait_child(pid);
	}
}

void fork_exit(struct bench *b)
{
	struct region r = region_new(b, b->op->size);

	drain_lru();
	meter_begin(b);
	fork_and_exit();
	meter_end(b, r.len / PAGE * FORKS);
	region_free(&r);
}

/* The same where each folio has lost its second page: two runs of entries in the place of one. */
void fork_exit_holes(struct bench *b)
{
	struct region r = region_new(b, b->op->size);
	size_t at;

	for (at = 0; at < r.len; at += r.folio)
		must(madvise(r.mem + at + PAGE, PAGE, MADV_DONTNEED));
	drain_lru();
	meter_begin(b);
	fork_and_exit();
	meter_end(b, r.len / PAGE * FORKS);
	region_free(&r);
}

/* The same while --sharers processes already map the memory. */
void fork_exit_shared(struct bench *b)
{
	struct region r = region_new(b, b->op->size);
	pid_t *pids = sharers_start(b->sharers - 1, NULL, NULL);

	drain_lru();
	meter_begin(b);
	fork_and_exit();
	meter_end(b, r.len / PAGE * FORKS);
	sharers_stop(pids, b->sharers - 1);
	region_free(&r);
}

void fork_unmap(struct bench *b)
{
	struct region r = region_new(b, b->op->size);

	drain_lru();
	meter_begin(b);
	must(munmap(r.mem, r.len));
	meter_end(b, r.len / PAGE);
	region_free(&r);
}

/* One-page VMAs with a hole after each, so that each has an anon_vma of its own. */
static char *map_vmas(int n)
{
	size_t i, len = 2 * PAGE * n;
	char *base = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED)
		fail("no address space for %d VMAs: %s", n, strerror(errno));
	must(munmap(base, len));
	for (i = 0; i < (size_t)n; i++) {
		char *at = base + 2 * PAGE * i;

		if (mmap(at, PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != at)
			fail("mapping VMA %zu of %d: %s (see /proc/sys/vm/max_map_count)", i, n,
			     strerror(errno));
		*(volatile char *)at = 1;
	}
	return base;
}

static void write_vmas(char *base, int n)
{
	size_t i;

	for (i = 0; i < (size_t)n; i++)
		*(volatile char *)(base + 2 * PAGE * i) = 2;
}

void fork_vmas(struct bench *b)
{
	char *base;

	settings_folio(FOLIO_4K);
	base = map_vmas(b->vmas);
	meter_begin(b);
	fork_and_exit();
	meter_end(b, (uint64_t)b->vmas * FORKS);
	must(munmap(base, 2 * PAGE * b->vmas));
}

/*
 * Each process of the chain forks the next, writes to every VMA, and waits for the rest of the
 * chain.
 */
static void chain(char *base, int vmas, int left)
{
	pid_t pid = must(fork());

	if (pid) {
		wait_child(pid);
		return;
	}
	write_vmas(base, vmas);
	if (left > 1)
		chain(base, vmas, left - 1);
	_exit(0);
}

void fork_chain(struct bench *b)
{
	char *base;

	settings_folio(FOLIO_4K);
	base = map_vmas(b->vmas);
	meter_begin(b);
	chain(base, b->vmas, CHAIN);
	meter_end(b, (uint64_t)b->vmas * CHAIN);
	must(munmap(base, 2 * PAGE * b->vmas));
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Memory as it is on a machine that has been up for a while: neighbours in an address space that
 * are no neighbours in memory, and frames in a row that belong to many. What walks page tables in
 * one order and frames in the other finds runs in fresh memory that are not there in such.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "uffd.h"

/* In percent: more neighbours than these among the frames, and they are not scattered. */
#define MAX_NEIGHBOURS	5

/* The same numbers in every run (xorshift). */
static uint64_t chance(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* The numbers below @n in random order; the caller frees. */
static size_t *shuffle(size_t n)
{
	size_t *order = need_memory(n * sizeof(*order)), i;
	uint64_t state = 0x9e3779b97f4a7c15;

	for (i = 0; i < n; i++)
		order[i] = i;
	for (i = n; i > 1; i--) {
		size_t other = chance(&state) % i, kept = order[i - 1];

		order[i - 1] = order[other];
		order[other] = kept;
	}
	return order;
}

static void check_scattered(const struct region *r)
{
	size_t n = r->len / PAGE, close = 0, i;
	uint64_t *pfn = region_pfns(r);

	for (i = 1; i < n; i++)
		close += pfn[i] == pfn[i - 1] + 1 || pfn[i] + 1 == pfn[i - 1];
	if (close > n * MAX_NEIGHBOURS / 100)
		fail("%zu of %zu pages lie beside the one before: the memory is not scattered",
		     close, n);
	free(pfn);
}

/* What region_populate() does, in random order. */
void region_populate_scattered(const struct region *r)
{
	size_t n = r->len / PAGE, *order = shuffle(n), i;

	for (i = 0; i < n; i++)
		*(volatile uint64_t *)(r->mem + order[i] * PAGE) = order[i] * PAGE + 1;
	free(order);
	check_scattered(r);
}

/* Keep the frames, which were chosen, and put them into another mapping in random order. */
void region_scatter(const struct bench *b, struct region *r)
{
	struct region to = region_map(b, r->folio, 0);
	size_t n = r->len / PAGE, *order = shuffle(n), i;
	int fd = uffd_open(&to, UFFD_FEATURE_MOVE);

	for (i = 0; i < n; i++) {
		struct uffdio_move m = {
			.dst = (uintptr_t)to.mem + order[i] * PAGE,
			.src = (uintptr_t)r->mem + i * PAGE, .len = PAGE,
		};

		must(ioctl(fd, UFFDIO_MOVE, &m));
	}
	close(fd);
	free(order);
	region_free(r);
	*r = to;
	check_scattered(r);
}

/* --- many small owners --- */

#define OWNERS		16
#define CGROUP		"/sys/fs/cgroup/"
#define SLOT		(128UL << 10)
#define FOLIO_16K	(16UL << 10)

/**
 * struct turns - what the owners have in common
 * @ring: an owner waits for a byte in its pipe, and then writes one into the next one's
 * @done: all memory is in use
 * @pages: frames taken, and whose they are, as many as @want; @nr of them
 */
struct turns {
	int ring[OWNERS][2];
	int done[2];
	size_t want, nr;
	struct owned pages[];
};

static size_t turns_bytes(const struct bench *b)
{
	return sizeof(struct turns) + b->size / PAGE * sizeof(struct owned);
}

/* Of ten pieces of memory nine are pages; the others are folios of 16 KiB, and a few of 64. */
static size_t piece_size(uint64_t *state)
{
	uint64_t n = chance(state) % 100;

	return n < 90 ? FOLIO_4K : n < 98 ? FOLIO_16K : FOLIO_64K;
}

/* A mapping as large as the folio that is to be in it, so that none other fits. */
static void take_piece(struct turns *t, int owner, char *at, size_t size)
{
	struct region piece = { .mem = at, .len = size, .folio = size };
	uint64_t *pfn;
	size_t i;

	must(mprotect(at, size, PROT_READ | PROT_WRITE));
	region_populate(&piece);
	pfn = region_pfns(&piece);
	for (i = 0; i < size / PAGE && t->nr < t->want; i++)
		t->pages[t->nr++] = (struct owned){ pfn[i], owner, i > 0 };
	free(pfn);
}

static void enter_cgroup(int owner)
{
	char path[64];

	snprintf(path, sizeof(path), CGROUP "foliage_bench_%d", owner);
	if (mkdir(path, 0755) && errno != EEXIST)
		fail("mkdir %s: %s (is cgroup v2 mounted there?)", path, strerror(errno));
	strcat(path, "/cgroup.procs");
	put(path, "0");
}

static uint64_t cgroup_inode(int owner)
{
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), CGROUP "foliage_bench_%d", owner);
	must(stat(path, &st));
	return st.st_ino;
}

/* One owner: a piece in each of its turns, until there is enough. */
static void own(struct turns *t, int owner)
{
	size_t room = t->want / OWNERS * 2 * SLOT;
	uint64_t state = owner + 1;
	char *base, *at, token;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	enter_cgroup(owner);
	base = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		_exit(1);
	at = (char *)(((uintptr_t)base + SLOT - 1) & ~(SLOT - 1));
	for (; at + SLOT < base + room; at += SLOT) {
		if (read(t->ring[owner][0], &token, 1) != 1)
			_exit(1);
		take_piece(t, owner, at, piece_size(&state));
		if (t->nr == t->want)
			break;
		must(write(t->ring[(owner + 1) % OWNERS][1], "", 1));
	}
	if (t->nr == t->want)
		must(write(t->done[1], "", 1));
	for (;;)
		pause();
}

static int by_frame(const void *a, const void *b)
{
	uint64_t x = ((const struct owned *)a)->pfn, y = ((const struct owned *)b)->pfn;

	return x < y ? -1 : x > y;
}

/* Frames in a row that are no folio together belong to different owners. */
static void check_owners(const struct turns *t)
{
	size_t same = 0, i;

	for (i = 1; i < t->nr; i++)
		same += !t->pages[i].tail && t->pages[i].pfn == t->pages[i - 1].pfn + 1 &&
			t->pages[i].owner == t->pages[i - 1].owner;
	if (same > t->nr * MAX_NEIGHBOURS / 100)
		fail("%zu of %zu frames belong to the owner of the one before", same, t->nr);
}

/**
 * owners_start - as much memory as the test's in use by many, each in a cgroup of its own
 * @b: the run
 *
 * Return: what to end it with.
 */
struct owners owners_start(const struct bench *b)
{
	struct turns *t = mmap(NULL, turns_bytes(b), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct owners o = { .n = b->size / PAGE, .pids = need_memory(OWNERS * sizeof(pid_t)) };
	uint64_t inode[OWNERS];
	char done;
	int i;

	if (t == MAP_FAILED)
		fail("mapping %zu bytes: %s", turns_bytes(b), strerror(errno));
	put(CGROUP "cgroup.subtree_control", "+memory");
	settings_folio(FOLIO_4K | FOLIO_16K | FOLIO_64K);
	t->want = o.n;
	must(pipe(t->done));
	for (i = 0; i < OWNERS; i++)
		must(pipe(t->ring[i]));
	for (i = 0; i < OWNERS; i++) {
		o.pids[i] = must(fork());
		if (!o.pids[i])
			own(t, i);
	}
	close(t->done[1]);
	must(write(t->ring[0][1], "", 1));
	if (must(read(t->done[0], &done, 1)) != 1 || t->nr != t->want)
		fail("the owners took %zu pages of %zu: run on a fresh boot", t->nr, t->want);
	close(t->done[0]);
	for (i = 0; i < OWNERS; i++) {
		close(t->ring[i][0]);
		close(t->ring[i][1]);
	}
	qsort(t->pages, t->nr, sizeof(*t->pages), by_frame);
	check_owners(t);
	o.pfn = need_memory(o.n * sizeof(*o.pfn));
	o.cgroup = need_memory(o.n * sizeof(*o.cgroup));
	for (i = 0; i < OWNERS; i++)
		inode[i] = cgroup_inode(i);
	for (size_t at = 0; at < o.n; at++) {
		o.pfn[at] = t->pages[at].pfn;
		o.cgroup[at] = inode[t->pages[at].owner];
	}
	must(munmap(t, turns_bytes(b)));
	return o;
}

void owners_stop(struct owners *o)
{
	char path[64];

	sharers_stop(o->pids, OWNERS);
	for (int i = 0; i < OWNERS; i++) {
		snprintf(path, sizeof(path), CGROUP "foliage_bench_%d", i);
		rmdir(path);
	}
	free(o->pfn);
	free(o->cgroup);
}

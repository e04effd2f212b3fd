// SPDX-License-Identifier: GPL-2.0
/*
 * Locking memory that is present, unlocking it, unmapping it while locked, and mapping it locked;
 * and many processes that lock the same file.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bench.h"

/* Bytes of the file that processes lock together. */
#define SHARED	(2 * MiB)

/* What the processes of a shared row are told, and what they answer with. */
enum { DO_LOCK, DO_UNLOCK, DO_EXIT, STEPS };

struct crowd {
	struct region r;
	int go[STEPS][2];
	int done[2];
	pid_t *pids;
	int n;
};

/* A page in the middle tells whether the whole region is off the lists that reclaim looks at. */
static void check_locked(const struct region *r, bool want)
{
	uint64_t *pfn = region_pfns(r), head = r->len / PAGE / 2, flags;
	int fd = open_file("/proc/kpageflags", O_RDONLY);

	read_fully(fd, &flags, 8, pfn[head] * 8, "/proc/kpageflags");
	if ((flags >> KPF_UNEVICTABLE & 1) != want)
		fail("the test's memory is %s (flags %#llx)",
		     want ? "locked but not unevictable" : "unlocked but still unevictable",
		     (unsigned long long)flags);
	close(fd);
	free(pfn);
}

void mlock_lock(struct bench *b)
{
	struct region r = region_new(b, b->op->size);

	drain_lru();
	meter_begin(b);
	must(mlock(r.mem, r.len));
	meter_end(b, r.len / PAGE);
	check_locked(&r, true);
	region_free(&r);
}

void mlock_unlock(struct bench *b)
{
	struct region r = region_new(b, b->op->size);

	drain_lru();
	must(mlock(r.mem, r.len));
	check_locked(&r, true);
	drain_lru();
	meter_begin(b);
	must(munlock(r.mem, r.len));
	meter_end(b, r.len / PAGE);
	check_locked(&r, false);
	region_free(&r);
}

void mlock_unmap(struct bench *b)
{
	struct region r = region_new(b, b->op->size);

	drain_lru();
	must(mlock(r.mem, r.len));
	check_locked(&r, true);
	drain_lru();
	meter_begin(b);
	must(munmap(r.mem, r.len));
	meter_end(b, r.len / PAGE);
	region_free(&r);
}

void mlock_populate(struct bench *b)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_LOCKED;
	struct region r = region_map(b, b->op->size, 0);
	void *p;

	meter_begin(b);
	p = mmap(r.mem, r.len, PROT_READ | PROT_WRITE, flags, -1, 0);
	meter_end(b, r.len / PAGE);
	if (p == MAP_FAILED)
		fail("mmap with MAP_LOCKED failed: raise RLIMIT_MEMLOCK (ulimit -l)");
	check_locked(&r, true);
	region_check(&r);
	region_free(&r);
}

/* One member: a token of each step's pipe is its turn, so none has two turns of a step. */
static void join_crowd(struct crowd *c)
{
	char failed = 0, token;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	region_populate(&c->r);
	must(write(c->done[1], &failed, 1));
	for (int step = 0; step < STEPS; step++) {
		if (must(read(c->go[step][0], &token, 1)) != 1)
			_exit(1);
		if (step == DO_LOCK)
			failed = mlock(c->r.mem, c->r.len) < 0;
		else if (step == DO_UNLOCK)
			failed = munlock(c->r.mem, c->r.len) < 0;
		must(write(c->done[1], &failed, 1));
	}
	_exit(0);
}

/* As many answers as members. */
static void await_crowd(struct crowd *c)
{
	char failed;

	for (int i = 0; i < c->n; i++)
		if (must(read(c->done[0], &failed, 1)) != 1 || failed)
			fail("a process could not lock or unlock the file that it shares");
}

static void step_crowd(struct crowd *c, int step)
{
	for (int i = 0; i < c->n; i++)
		must(write(c->go[step][1], "", 1));
	await_crowd(c);
}

static struct crowd start_crowd(struct bench *b)
{
	struct crowd c = { .n = b->sharers, .r = { .len = SHARED, .folio = FOLIO_4K } };
	int fd = must(memfd_create("bench", MFD_CLOEXEC));

	must(ftruncate(fd, SHARED));
	c.r.mem = mmap(NULL, SHARED, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	c.r.base = c.r.mem;
	c.r.base_len = SHARED;
	if (c.r.mem == MAP_FAILED)
		fail("mapping a file of %lu bytes failed", SHARED);
	close(fd);
	region_populate(&c.r);
	for (int step = 0; step < STEPS; step++)
		must(pipe(c.go[step]));
	must(pipe(c.done));
	c.pids = need_memory(c.n * sizeof(*c.pids));
	for (int i = 0; i < c.n; i++) {
		c.pids[i] = must(fork());
		if (!c.pids[i])
			join_crowd(&c);
	}
	close(c.done[1]);
	await_crowd(&c);
	drain_lru();
	return c;
}

static void end_crowd(struct crowd *c)
{
	step_crowd(c, DO_EXIT);
	for (int i = 0; i < c->n; i++)
		wait_child(c->pids[i]);
	for (int step = 0; step < STEPS; step++) {
		close(c->go[step][0]);
		close(c->go[step][1]);
	}
	close(c->done[0]);
	free(c->pids);
	region_free(&c->r);
}

/* --sharers processes lock one file: what one of them pays for a page must not depend on them. */
void mlock_shared(struct bench *b)
{
	struct crowd c = start_crowd(b);

	meter_begin(b);
	step_crowd(&c, DO_LOCK);
	meter_end(b, c.r.len / PAGE * c.n);
	check_locked(&c.r, true);
	step_crowd(&c, DO_UNLOCK);
	check_locked(&c.r, false);
	end_crowd(&c);
}

void munlock_shared(struct bench *b)
{
	struct crowd c = start_crowd(b);

	step_crowd(&c, DO_LOCK);
	check_locked(&c.r, true);
	drain_lru();
	meter_begin(b);
	step_crowd(&c, DO_UNLOCK);
	meter_end(b, c.r.len / PAGE * c.n);
	check_locked(&c.r, false);
	end_crowd(&c);
}

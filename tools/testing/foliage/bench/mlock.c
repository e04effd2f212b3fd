// SPDX-License-Identifier: GPL-2.0
/*
 * Locking memory that is present, unlocking it, unmapping it while locked, and mapping it locked.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

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

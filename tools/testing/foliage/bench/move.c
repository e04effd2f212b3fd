// SPDX-License-Identifier: GPL-2.0
/*
 * Migration between two NUMA nodes: by move_pages, one address per folio in one call, and by what
 * else moves a process's pages. Every row looks at where its pages are afterwards, and at what
 * they hold.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define HOME		0
#define TARGET		1
/* Enough pages for what a call costs by itself not to be seen in the figure of one. */
#define SHARED		128
#define MEMORY		"/sys/devices/system/memory/"
#define RCU_EXPEDITED	"/sys/kernel/rcu_expedited"
#define BALANCING	"/proc/sys/kernel/numa_balancing"
/* Of this process's own CPU time: the kernel looks at a process once a second. */
#define SCAN_SECONDS	20
#ifndef MPOL_F_NUMA_BALANCING
#define MPOL_F_NUMA_BALANCING	(1 << 13)
#endif

/* What move_pages(2) takes, for all folios of a region. */
struct call {
	size_t n;
	void **pages;
	int *nodes;
	int *status;
};

static struct call call_new(const struct region *r, int node)
{
	struct call c = { .n = r->len / r->folio };
	size_t i;

	c.pages = need_memory(c.n * sizeof(*c.pages));
	c.nodes = need_memory(c.n * sizeof(*c.nodes));
	c.status = need_memory(c.n * sizeof(*c.status));
	for (i = 0; i < c.n; i++) {
		c.pages[i] = r->mem + i * r->folio;
		c.nodes[i] = node;
		c.status[i] = -1;
	}
	return c;
}

static void call_free(struct call *c)
{
	free(c->pages);
	free(c->nodes);
	free(c->status);
}

static void check_status(const struct call *c, int node)
{
	size_t i;

	for (i = 0; i < c->n; i++)
		if (c->status[i] != node)
			fail("folio %zu is on node %d instead of %d", i, c->status[i], node);
}

static void check_node(const struct region *r, int node)
{
	struct call c = call_new(r, node);

	must(syscall(SYS_move_pages, 0, c.n, c.pages, NULL, c.status, 0));
	check_status(&c, node);
	call_free(&c);
}

void region_verify(const struct region *r)
{
	size_t at;

	for (at = 0; at < r->len; at += PAGE)
		if (*(volatile uint64_t *)(r->mem + at) != at + 1)
			fail("page %zu holds %#llx instead of %#zx", at / PAGE,
			     (unsigned long long)*(uint64_t *)(r->mem + at), at + 1);
}

/* The whole region in one metered call. */
static void move_region(struct bench *b, const struct region *r, int node)
{
	struct call c = call_new(r, node);
	long left;

	drain_lru();
	meter_begin(b);
	left = syscall(SYS_move_pages, 0, c.n, c.pages, c.nodes, c.status, MPOL_MF_MOVE);
	meter_end(b, r->len / PAGE);
	if (left < 0)
		fail("move_pages to node %d: %s (two NUMA nodes with memory are needed)", node,
		     strerror(errno));
	if (left)
		fail("move_pages left %ld of %zu folios behind", left, c.n);
	check_status(&c, node);
	call_free(&c);
	check_node(r, node);
	region_verify(r);
}

void move_nodes(struct bench *b)
{
	struct region r = region_new(b, b->op->size);

	move_region(b, &r, TARGET);
	region_check(&r);
	region_free(&r);
}

/* To where they are already. */
void move_here(struct bench *b)
{
	struct region r = region_new(b, b->op->size);

	move_region(b, &r, HOME);
	region_free(&r);
}

/* Nowhere: only the question where they are. */
void move_query(struct bench *b)
{
	struct region r = region_new(b, b->op->size);
	struct call c = call_new(&r, HOME);

	drain_lru();
	meter_begin(b);
	must(syscall(SYS_move_pages, 0, c.n, c.pages, NULL, c.status, 0));
	meter_end(b, r.len / PAGE);
	check_status(&c, HOME);
	call_free(&c);
	region_free(&r);
}

/* Locked: off the lists that reclaim looks at, before as after. */
void move_mlocked(struct bench *b)
{
	struct region r = region_new(b, b->op->size);
	uint64_t *pfn, flags;
	size_t i;
	int fd;

	drain_lru();
	must(mlock(r.mem, r.len));
	move_region(b, &r, TARGET);
	drain_lru();
	pfn = region_pfns(&r);
	fd = open_file("/proc/kpageflags", O_RDONLY);
	for (i = 0; i < r.len / PAGE; i += 64) {
		read_fully(fd, &flags, 8, pfn[i] * 8, "/proc/kpageflags");
		if (!(flags >> KPF_UNEVICTABLE & 1))
			fail("locked page %zu became evictable (flags %#llx)", i,
			     (unsigned long long)flags);
	}
	close(fd);
	free(pfn);
	region_free(&r);
}

/* Pages of a file in memory, mapped by this process only. */
void move_file(struct bench *b)
{
	struct region r = region_map(b, b->op->size, 0);
	int fd = must(memfd_create("bench", MFD_CLOEXEC));

	must(ftruncate(fd, r.len));
	if (mmap(r.mem, r.len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		fail("mapping a file: %s", strerror(errno));
	region_populate(&r);
	region_check(&r);
	move_region(b, &r, TARGET);
	region_check(&r);
	region_free(&r);
	close(fd);
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

/* Huge pages that are set aside on a node, none in use. */
static void huge_pool(int node, size_t pages)
{
	char path[128], text[32] = "";
	int fd;

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/nr_hugepages", node);
	snprintf(text, sizeof(text), "%zu", pages);
	put(path, text);
	memset(text, 0, sizeof(text));
	fd = open_file(path, O_RDONLY);
	must(read(fd, text, sizeof(text) - 1));
	close(fd);
	if (strtoul(text, NULL, 10) != pages)
		fail("node %d gave %lu of %zu huge pages: run on a fresh boot", node,
		     strtoul(text, NULL, 10), pages);
}

static struct region hugetlb_new(const struct bench *b)
{
	struct region r = region_map(b, FOLIO_2M, 0);

	must(munmap(r.mem, r.len));
	if (mmap(r.mem, r.len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_HUGETLB, -1, 0) == MAP_FAILED)
		fail("mapping %zu bytes of huge pages: %s", r.len, strerror(errno));
	region_populate(&r);
	return r;
}

void move_hugetlb(struct bench *b)
{
	struct region r;

	huge_pool(HOME, b->size / FOLIO_2M);
	huge_pool(TARGET, b->size / FOLIO_2M);
	r = hugetlb_new(b);
	move_region(b, &r, TARGET);
	if (region_misfit(&r) != NO_PAGE)
		fail("page %zu is in no huge page any more", region_misfit(&r));
	region_free(&r);
	huge_pool(HOME, 0);
	huge_pool(TARGET, 0);
}

/* One write fault per huge page. */
static uint64_t write_faults(struct bench *b, const struct region *r)
{
	size_t at;

	meter_begin(b);
	for (at = 0; at < r->len; at += FOLIO_2M)
		*(volatile uint64_t *)(r->mem + at) = at + 1;
	meter_end(b, r->len / PAGE);
	return b->ns;
}

static void check_copied(const struct region *r, const uint64_t *before)
{
	uint64_t *after = region_pfns(r);
	size_t i;

	for (i = 0; i < r->len / PAGE; i++)
		if (after[i] == before[i])
			fail("page %zu was not copied", i);
	free(after);
}

/*
 * Copying alone. A write to a huge page (hugetlb) that another process maps as well has the kernel
 * copy it, by the routine that migration copies with, too: page by page, copy_mc_to_kernel(). The
 * copy goes to a page of the pool, which nobody clears, and the old page stays with the other
 * process. A second write fault, on the same pages while no one else has them, does all but the
 * copy, the allocation and the exchange; it is taken off. What stays beside the copy is 2% of it:
 * the loop over the pages has some 17 instructions a page more than migration's, and allocation
 * and exchange are some thousands once per 512 pages. So a move may be cheaper than this row, as
 * that of a huge page is. Nothing of it is migration's code: the row is the same on all kernels.
 *
 * Moving pages to their own node would not do (nothing is copied), nor a write to a huge folio of
 * anonymous memory (copied by 4 KiB faults), nor process_vm_writev() (another routine).
 */
uint64_t copying(struct bench *b)
{
	struct region r;
	uint64_t *before, copied, reused;
	int64_t flushes;
	pid_t *other;

	huge_pool(HOME, 2 * b->size / FOLIO_2M);
	r = hugetlb_new(b);
	before = region_pfns(&r);
	other = sharers_start(1, NULL, NULL);
	copied = write_faults(b, &r);
	flushes = b->flushes;
	check_copied(&r, before);
	region_verify(&r);
	sharers_stop(other, 1);
	free(before);

	before = region_pfns(&r);
	must(mprotect(r.mem, r.len, PROT_READ));
	must(mprotect(r.mem, r.len, PROT_READ | PROT_WRITE));
	reused = write_faults(b, &r);
	if (reused >= copied)
		fail("faults that copy were not dearer than faults that do not");
	region_free(&r);
	free(before);
	huge_pool(HOME, 0);
	b->flushes = flushes;
	return copied - reused;
}

void copy_huge(struct bench *b)
{
	uint64_t ns = copying(b);

	b->ns = ns;
}

/*
 * What a move costs beyond copying, which costs the same per 4 KiB in folios of any size. The copy
 * is measured a little too high (see above): where next to nothing is left, it counts as nothing.
 */
void move_extra(struct bench *b)
{
	uint64_t copy = copying(b);
	struct region r = region_new(b, b->op->size);

	move_region(b, &r, TARGET);
	region_check(&r);
	region_free(&r);
	b->ns = b->ns > copy ? b->ns - copy : 0;
}

/* All the process has; what else it had on the node goes along with the round that warms up. */
void migrate_process(struct bench *b)
{
	struct region r = region_new(b, b->op->size);
	unsigned long from = 1 << HOME, to = 1 << TARGET;

	drain_lru();
	meter_begin(b);
	must(syscall(SYS_migrate_pages, 0, 8 * sizeof(from), &from, &to));
	meter_end(b, r.len / PAGE);
	check_node(&r, TARGET);
	region_verify(&r);
	region_free(&r);
}

void mbind_move(struct bench *b)
{
	struct region r = region_new(b, b->op->size);
	unsigned long to = 1 << TARGET;

	drain_lru();
	meter_begin(b);
	must(syscall(SYS_mbind, r.mem, r.len, MPOL_BIND, &to, 8 * sizeof(to), MPOL_MF_MOVE));
	meter_end(b, r.len / PAGE);
	check_node(&r, TARGET);
	region_verify(&r);
	region_free(&r);
}

/* A line of /proc/vmstat. */
uint64_t vmstat(const char *name)
{
	char line[128], key[64];
	unsigned long long value;
	FILE *f = fopen("/proc/vmstat", "re");

	if (!f)
		fail("/proc/vmstat: %s", strerror(errno));
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %llu", key, &value) == 2 && !strcmp(key, name)) {
			fclose(f);
			return value;
		}
	fail("no %s in /proc/vmstat", name);
}

/* Work until the kernel has taken away the access to as many pages as the region has. */
static void await_hints(const struct region *r)
{
	uint64_t before = vmstat("numa_pte_updates");
	struct timespec t;
	volatile int i;

	do {
		for (i = 0; i < 1000000; i++)
			;
		must(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t));
		if (vmstat("numa_pte_updates") - before >= r->len / PAGE)
			return;
	} while (t.tv_sec < SCAN_SECONDS);
	fail("NUMA balancing has looked at %llu of %zu pages",
	     (unsigned long long)(vmstat("numa_pte_updates") - before), r->len / PAGE);
}

static void read_all(const struct region *r)
{
	size_t at;

	for (at = 0; at < r->len; at += PAGE)
		(void)*(volatile uint64_t *)(r->mem + at);
}

/*
 * Faults on pages of the wrong node that NUMA balancing has taken the access from: each brings its
 * page here. In a child: balancing takes the pages of a young process at once, those of an older
 * one only when they have been used from here twice. It is off while the meter runs: it has marked
 * the pages, and need not look at them again.
 */
static void hint_faults(struct bench *b)
{
	unsigned long home = 1 << HOME;
	struct region r = region_new(b, b->op->size);

	move_region(b, &r, TARGET);
	must(syscall(SYS_set_mempolicy, MPOL_BIND | MPOL_F_NUMA_BALANCING, &home,
		     8 * sizeof(home)));
	put(BALANCING, "1");
	await_hints(&r);
	put(BALANCING, "0");
	drain_lru();
	meter_begin(b);
	read_all(&r);
	meter_end(b, r.len / PAGE);
	check_node(&r, HOME);
	region_verify(&r);
	region_free(&r);
}

void numa_hint(struct bench *b)
{
	struct bench *result = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	if (result == MAP_FAILED)
		fail("mapping a page: %s", strerror(errno));
	*result = *b;
	pid = must(fork());
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fail_from_here();
		hint_faults(result);
		_exit(0);
	}
	must(waitpid(pid, &status, 0));
	if (status)
		_exit(1);	/* the child has said why */
	*b = *result;
	must(munmap(result, PAGE));
}

static size_t memory_block_size(void)
{
	char text[32] = "";
	int fd = open_file(MEMORY "block_size_bytes", O_RDONLY);

	must(read(fd, text, sizeof(text) - 1));
	close(fd);
	return strtoul(text, NULL, 16);
}

/* None of it may be in memory block @block any more. */
static void check_left(const struct region *r, size_t block_size, size_t block)
{
	uint64_t *pfn = region_pfns(r);
	size_t i;

	for (i = 0; i < r->len / PAGE; i++)
		if (pfn[i] / (block_size / PAGE) == block)
			fail("page %zu is still in memory block %zu", i, block);
	free(pfn);
}

/*
 * A block of memory that anonymous pages fill is taken off line: all of them have to go. The memory
 * under test is as large as the block. Grace periods are expedited: others last for so many ticks,
 * whatever they cost.
 */
void offline_block(struct bench *b)
{
	size_t size = b->size = memory_block_size(), block;
	struct region r = region_dense(b, b->op->size, size / PAGE);
	uint64_t *pfn = region_pfns(&r);
	char path[128];

	block = *pfn / (size / PAGE);
	free(pfn);
	region_populate(&r);
	snprintf(path, sizeof(path), MEMORY "memory%zu/state", block);
	put(RCU_EXPEDITED, "1");
	drain_lru();
	meter_begin(b);
	put(path, "offline");
	meter_end(b, r.len / PAGE);
	put(RCU_EXPEDITED, "0");
	check_left(&r, size, block);
	region_verify(&r);
	put(path, "online");
	region_free(&r);
}

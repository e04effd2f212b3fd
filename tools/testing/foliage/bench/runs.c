// SPDX-License-Identifier: GPL-2.0
/*
 * Large folios that page tables map page by page: aged, moved, and taken away with their file.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define CGROUP	"/sys/fs/cgroup/"
#define OURS	CGROUP "foliage_bench/"
#define IMAGE	"/tmp/bench-ext4.img"
#define MOUNT	"/tmp/bench-ext4"

/* A cgroup of its own, so that only the test's memory is reclaimed. */
static void cgroup_enter(void)
{
	put(CGROUP "cgroup.subtree_control", "+memory");
	if (mkdir(OURS, 0755) && errno != EEXIST)
		fail("mkdir " OURS ": %s (is cgroup v2 mounted there?)", strerror(errno));
	put(OURS "cgroup.procs", "0");
}

static uint64_t cgroup_stat(const char *name)
{
	char line[128], key[64];
	unsigned long long value;
	FILE *f = fopen(OURS "memory.stat", "re");

	if (!f)
		fail(OURS "memory.stat: %s", strerror(errno));
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %llu", key, &value) == 2 && !strcmp(key, name)) {
			fclose(f);
			return value;
		}
	fail("no %s in " OURS "memory.stat", name);
}

/* Reclaim that may come to an end before it has as much as was asked for. */
static void cgroup_reclaim(const char *how)
{
	int fd = open_file(OURS "memory.reclaim", O_WRONLY);

	if (write(fd, how, strlen(how)) < 0 && errno != EAGAIN)
		fail("'%s' to memory.reclaim: %s", how, strerror(errno));
	close(fd);
}

/* GUP twice over everything makes inactive folios active. */
static void activate(const struct region *r)
{
	static char buf[FOLIO_2M];
	size_t at;
	int i;

	for (i = 0; i < 2; i++) {
		for (at = 0; at < r->len; at += sizeof(buf)) {
			struct iovec to = { buf, sizeof(buf) }, from = { r->mem + at, sizeof(buf) };

			must(process_vm_readv(getpid(), &to, 1, &from, 1, 0));
		}
		drain_lru();
	}
}

/* The PMDs of huge folios become tables; the folios stay whole. */
void map_by_ptes(const struct region *r)
{
	size_t at;

	for (at = 0; at < r->len; at += FOLIO_2M) {
		must(mprotect(r->mem + at, PAGE, PROT_READ));
		must(mprotect(r->mem + at, PAGE, PROT_READ | PROT_WRITE));
	}
	if (anon_huge_bytes())
		fail("%zu bytes are still mapped by PMDs", anon_huge_bytes());
}

/*
 * Reclaim that may not swap still balances the lists: it looks at active anonymous folios, clears
 * their Accessed bits and deactivates them, until half are inactive. What the same call costs
 * when there is nothing more to balance is taken off.
 */
void age(struct bench *b)
{
	struct region r;
	uint64_t before, ns;
	size_t at;

	zram_swap_on(16 * MiB);
	cgroup_enter();
	r = region_new(b, b->op->size);
	if (b->op->size == FOLIO_2M)
		map_by_ptes(&r);
	activate(&r);
	forget_tlb();
	for (at = 0; at < r.len; at += PAGE)
		*(volatile uint64_t *)(r.mem + at) = at + 1;
	before = cgroup_stat("inactive_anon");
	meter_begin(b);
	cgroup_reclaim("1G swappiness=0");
	meter_end(b, 1);
	ns = b->ns;
	b->units = (cgroup_stat("inactive_anon") - before) / PAGE;
	if (b->units < r.len / PAGE / 4)
		fail("only %llu of %zu pages were aged", (unsigned long long)b->units, r.len / PAGE);
	before = b->units;
	meter_begin(b);
	cgroup_reclaim("1G swappiness=0");
	meter_end(b, before);
	b->ns = ns > b->ns ? ns - b->ns : 0;
	region_free(&r);
	put(CGROUP "cgroup.procs", "0");
	rmdir(OURS);
	zram_swap_off();
}

static uint64_t move_all(struct bench *b, struct region *r)
{
	size_t n = r->len / r->folio, i;
	void **pages = need_memory(n * sizeof(*pages));
	int *nodes = need_memory(n * sizeof(*nodes));
	int *status = need_memory(n * sizeof(*status));

	for (i = 0; i < n; i++) {
		pages[i] = r->mem + i * r->folio;
		nodes[i] = 1;
	}
	drain_lru();
	meter_begin(b);
	must(syscall(SYS_move_pages, 0, n, pages, nodes, status, MPOL_MF_MOVE));
	meter_end(b, r->len / PAGE);
	for (i = 0; i < n; i++)
		if (status[i] != 1)
			fail("folio %zu is on node %d instead of 1", i, status[i]);
	free(pages);
	free(nodes);
	free(status);
	return b->ns;
}

/* What moving a huge folio that is mapped by PTEs costs more than one that is mapped by a PMD. */
void move_ptes(struct bench *b)
{
	struct region r = region_new(b, FOLIO_2M);
	uint64_t by_pmd = move_all(b, &r), by_ptes;

	region_free(&r);
	r = region_new(b, FOLIO_2M);
	map_by_ptes(&r);
	by_ptes = move_all(b, &r);
	if (by_ptes < by_pmd)
		fail("moving by PTEs was cheaper than by PMDs");
	b->ns = by_ptes - by_pmd;
	region_free(&r);
}

static void ext4_make(size_t bytes)
{
	char cmd[256];

	if (!access(MOUNT "/file", F_OK))
		return;
	snprintf(cmd, sizeof(cmd), "mkdir -p " MOUNT " && truncate -s %zu " IMAGE " && mkfs.ext4 -q "
		 IMAGE " && mount -o loop " IMAGE " " MOUNT " && dd if=/dev/zero of=" MOUNT
		 "/file bs=1M count=%zu conv=fsync 2> /dev/null", 2 * bytes, bytes / MiB);
	if (system(cmd))
		fail("an ext4 file system on a loop device: '%s' failed", cmd);
}

/* Page by page into the cache, then into huge folios; pages in per-CPU batches are refused. */
static void collapse_file(char *p, size_t len)
{
	size_t at;
	int i;

	for (i = 0; i < 10; i++) {
		for (at = 0; at < len; at += PAGE)
			(void)*(volatile char *)(p + at);
		drain_lru();
		if (!madvise(p, len, MADV_COLLAPSE))
			return;
		usleep(100000);
	}
	fail("collapsing %zu bytes of a file: %s (CONFIG_READ_ONLY_THP_FOR_FS is needed)", len,
	     strerror(errno));
}

/*
 * Clean pages of a file in huge folios, mapped off by a page so that only PTEs can, used once, and
 * reclaimed.
 */
void reclaim_file(struct bench *b)
{
	size_t len = b->size, at;
	uint64_t left;
	char *p, how[32];
	int fd;

	ext4_make(len);
	put("/proc/sys/vm/drop_caches", "3");
	cgroup_enter();
	fd = open_file(MOUNT "/file", O_RDONLY);
	p = mmap(NULL, len + FOLIO_2M, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	p = (char *)(((uintptr_t)p + FOLIO_2M - 1) & ~(FOLIO_2M - 1));
	p = mmap(p, len, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0);
	if (p == MAP_FAILED)
		fail("mapping the file: %s", strerror(errno));
	collapse_file(p, len);
	must(munmap(p, len));
	p = mmap(p, len - PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, PAGE);
	if (p == MAP_FAILED)
		fail("mapping the file: %s", strerror(errno));
	for (at = 0; at < len - PAGE; at += PAGE)
		(void)*(volatile char *)(p + at);
	drain_lru();
	snprintf(how, sizeof(how), "%zu", len);
	meter_begin(b);
	cgroup_reclaim(how);
	meter_end(b, len / PAGE);
	left = cgroup_stat("file_mapped");
	if (left > len / 8)
		fail("%llu of %zu bytes stayed", (unsigned long long)left, len);
	must(munmap(p, len - PAGE));
	close(fd);
	put(CGROUP "cgroup.procs", "0");
	rmdir(OURS);
}

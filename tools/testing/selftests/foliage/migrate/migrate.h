/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of page migration share: memory of every kind that can be moved, with contents
 * that name their page, move_pages(2) with its errors as negative numbers, pages that are pinned,
 * and the kernel's own counts of what has moved.
 */
#ifndef FOLIAGE_MIGRATE_H
#define FOLIAGE_MIGRATE_H

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "foliage.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

#define RW		(PROT_READ | PROT_WRITE)
#define ANON		(MAP_PRIVATE | MAP_ANONYMOUS)
#define MOVE_OWN	MPOL_MF_MOVE
#define MOVE_ALL	MPOL_MF_MOVE_ALL

#define PM_SOFT_DIRTY	(1ULL << 55)
#define PM_EXCLUSIVE	(1ULL << 56)
#define PM_UFFD_WP	(1ULL << 57)
#define PM_SWAP		(1ULL << 62)
#define PM_PRESENT	(1ULL << 63)

#define MAX_PAGES	2048UL	/* of what the helpers below are asked for */
#define THP_DIR		"/sys/kernel/mm/transparent_hugepage/"
#define HUGE_TMPFS	"/tmp/migrate-huge"
#define KSM_DIR		"/sys/kernel/mm/ksm/"
#define NODE_HUGETLB	"/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/nr_hugepages"

/* --- memory ----------------------------------------------------------------------------- */

enum mem_kind {
	M_4K, M_64K, M_THP, M_THP_PTES, M_SHMEM, M_SHMEM_HUGE, M_EXT4, M_TMPFS, M_KSM, M_HUGETLB
};

struct mem {
	enum mem_kind kind;
	char *p;
	size_t pages;
	size_t step;	/* pages of a folio */
	int fd;
	int how;	/* flag that is needed to move them: merged pages are always shared */
};

static inline bool mem_is_file(const struct mem *m)
{
	return m->fd >= 0;
}

static inline bool mem_is_anon(const struct mem *m)
{
	return m->fd < 0 && m->kind != M_HUGETLB;
}

/* Two pages in one, so that they can be merged. */
static inline uint64_t mem_value(const struct mem *m, size_t i)
{
	return 0x1000000 + (m->kind == M_KSM ? i % (m->pages / 2) : i);
}

static inline void mem_fill_page(const struct mem *m, char *page, size_t i)
{
	*(volatile uint64_t *)page = mem_value(m, i);
	*(volatile uint64_t *)(page + PAGE - 8) = ~mem_value(m, i);
}

static inline bool mem_page_wrong(const struct mem *m, const char *page, size_t i)
{
	return *(volatile uint64_t *)page != mem_value(m, i) ||
	       *(volatile uint64_t *)(page + PAGE - 8) != ~mem_value(m, i);
}

static inline void mem_fill(const struct mem *m)
{
	for (size_t i = 0; i < m->pages; i++)
		mem_fill_page(m, m->p + i * PAGE, i);
}

/* Pages that do not hold what they should. */
static inline size_t mem_wrong(const struct mem *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->pages; i++)
		n += mem_page_wrong(m, m->p + i * PAGE, i);
	return n;
}

/* An aligned place; the memory is @pages of @flags and @fd. */
static inline char *mem_map(size_t pages, int prot, int flags, int fd)
{
	char *p = mmap(NULL, pages * PAGE + HUGE, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		fail_setup("address space");
	p = (char *)(((uintptr_t)p + HUGE - 1) & -HUGE);
	p = mmap(p, pages * PAGE, prot, flags | MAP_FIXED, fd, 0);
	if (p == MAP_FAILED)
		fail_setup("mmap of %zu pages", pages);
	return p;
}

static inline size_t frames_with(const char *p, size_t pages, int bit)
{
	size_t n = 0;

	for (size_t i = 0; i < pages; i++) {
		uint64_t pfn = frame_of(p + i * PAGE);

		n += pfn && frame_flags(pfn) & KPF(bit);
	}
	return n;
}

static inline void mem_merge(struct mem *m)
{
	madvise(m->p, m->pages * PAGE, MADV_MERGEABLE);
	write_text(KSM_DIR "pages_to_scan", "5000");
	write_text(KSM_DIR "sleep_millisecs", "1");
	if (!write_text(KSM_DIR "run", "1"))
		fail_setup("ksm");
	for (int i = 0; i < 3000 && frames_with(m->p, m->pages, KPF_KSM) < m->pages; i++)
		usleep(10000);
	write_text(KSM_DIR "run", "0");
	if (frames_with(m->p, m->pages, KPF_KSM) < m->pages)
		fail_setup("pages are not merged");
	m->how = MOVE_ALL;
}

static inline void mem_huge_tmpfs(struct mem *m)
{
	mkdir(HUGE_TMPFS, 0755);
	m->fd = open(HUGE_TMPFS, O_TMPFILE | O_RDWR, 0600);
	if (m->fd < 0 || ftruncate(m->fd, m->pages * PAGE))
		fail_setup(HUGE_TMPFS);
	m->p = mem_map(m->pages, RW, MAP_SHARED, m->fd);
	m->step = 512;
}

/* Pages of a file that are mapped privately, for reading. */
static inline void mem_tmpfs(struct mem *m)
{
	static char page[PAGE];

	m->fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	for (size_t i = 0; i < m->pages; i++) {
		mem_fill_page(m, page, i);
		if (pwrite(m->fd, page, PAGE, i * PAGE) != (ssize_t)PAGE)
			fail_setup("a file of tmpfs");
	}
	m->p = mem_map(m->pages, PROT_READ, MAP_PRIVATE, m->fd);
	madvise(m->p, m->pages * PAGE, MADV_POPULATE_READ);
}

static inline void mem_region(struct mem *m, enum kind kind)
{
	struct region r;

	region_make(&r, kind, m->pages);
	m->p = r.p;
	m->fd = r.fd;
	m->step = r.step;
	free(r.pfn);
}

/* A huge page that is mapped by entries of a page table. */
static inline void mem_split_pmds(struct mem *m)
{
	for (size_t i = 1; i < m->pages; i += 512) {
		mprotect(m->p + i * PAGE, PAGE, PROT_READ);
		mprotect(m->p + i * PAGE, PAGE, RW);
	}
}

/* A node for all that this process allocates; -1 for the nearest again. */
static inline void allocate_on(int node)
{
	unsigned long mask = 1UL << (node < 0 ? 0 : node);

	if (syscall(SYS_set_mempolicy, node < 0 ? MPOL_DEFAULT : MPOL_BIND,
		    node < 0 ? NULL : &mask, node < 0 ? 0 : 64))
		fail_setup("set_mempolicy");
}

static inline void mem_make_here(struct mem *m, enum mem_kind kind, size_t pages)
{
	static const enum kind regions[] = {
		[M_4K] = ANON_4K, [M_64K] = ANON_64K, [M_THP] = ANON_2M, [M_THP_PTES] = ANON_2M,
		[M_SHMEM] = SHMEM, [M_EXT4] = FILE_EXT4, [M_KSM] = ANON_4K, [M_HUGETLB] = HUGETLB,
	};

	*m = (struct mem){ .kind = kind, .pages = pages, .step = 1, .fd = -1, .how = MOVE_OWN };
	if (kind == M_SHMEM_HUGE)
		mem_huge_tmpfs(m);
	else if (kind == M_TMPFS)
		mem_tmpfs(m);
	else
		mem_region(m, regions[kind]);
	if (kind != M_TMPFS)
		mem_fill(m);
	if (kind == M_SHMEM_HUGE && !(frame_flags(frame_of(m->p)) & KPF(KPF_THP)))
		fail_setup("no huge page in %s", HUGE_TMPFS);
	if (kind == M_THP_PTES)
		mem_split_pmds(m);
	if (kind == M_KSM)
		mem_merge(m);
	if (kind == M_EXT4)
		fsync(m->fd);
	settle_lru();
}

/* On node 0, where it has been from the start: a move changes more than the place. */
static inline void mem_make(struct mem *m, enum mem_kind kind, size_t pages)
{
	allocate_on(0);
	mem_make_here(m, kind, pages);
	allocate_on(-1);
}

static inline void mem_free(struct mem *m)
{
	munmap(m->p, m->pages * PAGE);
	if (m->fd >= 0)
		close(m->fd);
	if (m->kind == M_HUGETLB)
		write_text("/proc/sys/vm/nr_hugepages", "0");
}

/* To be called before the tests run: a fixture's mount would end with its process. */
static inline void mem_mount_huge(void)
{
	mkdir(HUGE_TMPFS, 0755);
	if (mount("tmpfs", HUGE_TMPFS, "tmpfs", 0, "huge=always,size=64M"))
		fail_setup("tmpfs with huge pages");
}

/* --- move_pages(2) ---------------------------------------------------------------------- */

static inline long move_pages_raw(pid_t pid, unsigned long n, const void *pages, const void *nodes,
				  void *status, int flags)
{
	long ret = syscall(SYS_move_pages, pid, n, pages, nodes, status, flags);

	return ret < 0 ? -errno : ret;
}

/* Node of a page, or the error that is told instead. */
static inline int node_of(const void *addr)
{
	int status = -1000;
	long ret = move_pages_raw(0, 1, &addr, NULL, &status, 0);

	return ret < 0 ? (int)ret : status;
}

static inline long move_one(const void *addr, int node, int *status, int flags)
{
	*status = -1000;
	return move_pages_raw(0, 1, &addr, &node, status, flags);
}

static inline size_t count_on(const char *p, size_t pages, int node)
{
	static __thread const void *addr[MAX_PAGES];
	static __thread int status[MAX_PAGES];
	size_t n = 0;

	for (size_t i = 0; i < pages; i++)
		addr[i] = p + i * PAGE;
	move_pages_raw(0, pages, addr, NULL, status, 0);
	for (size_t i = 0; i < pages; i++)
		n += status[i] == node;
	return n;
}

/* One call for all, an address in every @step pages. */
static inline long move_range(char *p, size_t pages, size_t step, int node, int flags)
{
	static __thread void *addr[MAX_PAGES];
	static __thread int nodes[MAX_PAGES], status[MAX_PAGES];
	size_t n = 0;

	for (size_t i = 0; i < pages; i += step) {
		addr[n] = p + i * PAGE;
		nodes[n++] = node;
	}
	return move_pages_raw(0, n, addr, nodes, status, flags);
}

/* -> how many pages are there then */
static inline size_t mem_move(const struct mem *m, int node)
{
	settle_lru();
	move_range(m->p, m->pages, m->step, node, m->how);
	return count_on(m->p, m->pages, node);
}

/* Somewhere to start from. */
static inline void mem_home(const struct mem *m)
{
	if (count_on(m->p, m->pages, 0) != m->pages && mem_move(m, 0) != m->pages)
		fail_setup("the memory is not on node 0");
}

/* --- pins ------------------------------------------------------------------------------- */

/* A pipe that holds a page itself, and not a copy. */
struct pin {
	int fd[2];
};

static inline void pin_page(struct pin *pin, char *page)
{
	struct iovec iov = { page, PAGE };

	if (pipe(pin->fd) || vmsplice(pin->fd[1], &iov, 1, 0) != (ssize_t)PAGE)
		fail_setup("vmsplice");
}

static inline void unpin_page(struct pin *pin)
{
	close(pin->fd[0]);
	close(pin->fd[1]);
}

/* --- what the kernel counts -------------------------------------------------------------- */

/* A line of /proc/vmstat, what processors have not yet added up included. */
static inline long vm_count(const char *name)
{
	static __thread char text[32768];
	size_t len = strlen(name);
	char *p = text;

	write_text("/proc/sys/vm/stat_refresh", "1");
	if (!read_text("/proc/vmstat", text, sizeof(text)))
		fail_setup("/proc/vmstat");
	while (p && (strncmp(p, name, len) || p[len] != ' '))
		p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL;
	return p ? strtol(p + len, NULL, 10) : 0;
}

/* What migrate_pages() has done, in pages and in huge pages. */
enum moved { OK, FAIL, THP_OK, THP_FAIL, THP_SPLIT, MOVED };

struct moves {
	long n[MOVED];
};

static inline struct moves moves_now(void)
{
	static const char * const names[MOVED] = {
		"pgmigrate_success", "pgmigrate_fail", "thp_migration_success",
		"thp_migration_fail", "thp_migration_split",
	};
	struct moves v;

	for (int i = 0; i < MOVED; i++)
		v.n[i] = vm_count(names[i]);
	return v;
}

static inline struct moves moves_since(const struct moves *start)
{
	struct moves v = moves_now();

	for (int i = 0; i < MOVED; i++)
		v.n[i] -= start->n[i];
	return v;
}

#define TRACING	"/sys/kernel/tracing/"
#define EVENT	TRACING "events/migrate/mm_migrate_pages/"

/*
 * Once for a program: changing the kernel's text is nothing to be done often on an emulated
 * machine. Names of tasks are not needed, and to record them would change the scheduler's.
 */
static inline void moves_trace_on(void)
{
	write_text(TRACING "options/record-cmd", "0");
	if (!write_text(EVENT "enable", "1") || !write_text(TRACING "tracing_on", "1"))
		fail_setup("tracing");
}

static inline void moves_trace_off(void)
{
	write_text(EVENT "enable", "0");
	write_text(EVENT "filter", "0");
}

/* From now on what move_pages(2) does for this process is traced; it may compact memory, too. */
static inline void moves_trace(void)
{
	char text[64];

	snprintf(text, sizeof(text), "common_pid == %d && reason == 3", getpid());
	if (!write_text(EVENT "filter", text) ||
	    close(open(TRACING "trace", O_WRONLY | O_TRUNC)))
		fail_setup("tracing");
}

/* The sum of what the tracepoint has said. */
static inline struct moves moves_traced(void)
{
	static char text[1 << 20];
	struct moves v = {}, one;
	char *p = text;

	if (!read_text(TRACING "trace", text, sizeof(text)))
		fail_setup("trace");
	while ((p = strstr(p, "nr_succeeded="))) {
		if (sscanf(p, "nr_succeeded=%ld nr_failed=%ld nr_thp_succeeded=%ld "
			   "nr_thp_failed=%ld nr_thp_split=%ld", &one.n[OK], &one.n[FAIL],
			   &one.n[THP_OK], &one.n[THP_FAIL], &one.n[THP_SPLIT]) != MOVED)
			fail_setup("a line of the trace");
		for (int i = 0; i < MOVED; i++)
			v.n[i] += one.n[i];
		p++;
	}
	return v;
}

/* memory.current, in pages. */
static inline long cgroup_current(const char *cgroup)
{
	char file[320], text[64];

	snprintf(file, sizeof(file), "%s/memory.current", cgroup);
	if (!read_text(file, text, sizeof(text)))
		fail_setup("%s", file);
	return atol(text) / (long)PAGE;
}

static inline void pagemap_read(const char *p, size_t pages, uint64_t *map)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0 || pread(fd, map, pages * 8, (uintptr_t)p / PAGE * 8) != (ssize_t)pages * 8)
		fail_setup("pagemap");
	close(fd);
}

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The Foliage benchmark: what one operation of memory management costs per page.
 *
 * An operation prepares its memory, times exactly the part it is named after between meter_begin()
 * and meter_end(), checks that the part did what it should have done, and gives everything back. It
 * runs in a process of its own, several rounds in a row; the first warms up, the median of the
 * others is the figure. Anything unexpected ends the process through fail(): no figure is better
 * than a false one.
 */
#ifndef FOLIAGE_BENCH_H
#define FOLIAGE_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGE		4096UL
#define FOLIO_4K	PAGE
#define FOLIO_64K	(64UL << 10)
#define FOLIO_2M	(2UL << 20)
#define MiB		(1UL << 20)

struct bench;

/**
 * struct op - one row of the benchmark
 * @name: what the row is called, the key under which kernels are compared
 * @area: rows of one area share a colour in the picture
 * @unit: what @run counts
 * @run: one round, the meter used exactly once
 * @size: folio size of the test's memory, or bytes per call where @run says so
 * @scattered: the test's pages, of 4 KiB, are no neighbours in memory
 */
struct op {
	const char *name;
	const char *area;
	const char *unit;
	void (*run)(struct bench *b);
	size_t size;
	bool scattered;
};

extern const struct op ops[];

/**
 * struct bench - one run of one operation
 * @size: bytes of memory under test, a multiple of 2 MiB
 * @call: bytes of the idle bitmap per call, a power of two
 * @sharers: processes that map the shared pages, the test's own among them; or that have copied
 *	them
 * @vmas: one-page mappings for the rows that count VMAs
 * @ns: metered time; the guest counts instructions as nanoseconds under scripts/vm --icount
 * @flushes: metered TLB flushes, -1 where the kernel does not count them
 * @blocks: free blocks of 2 MiB that compaction has made, -1 in rows that compact nothing
 */
struct bench {
	const struct op *op;
	size_t size;
	size_t call;
	int sharers;
	int vmas;
	uint64_t units;
	uint64_t ns;
	int64_t flushes;
	int64_t blocks;
	uint64_t start_ns;
	int64_t start_flushes;
};

/* meter.c: time and flushes */
void meter_begin(struct bench *b);
void meter_end(struct bench *b, uint64_t units);

/* main.c: an error may be told by one process; it is this one from now on */
void fail_from_here(void);
/* This kernel cannot run the operation: no row, and no error. */
void __attribute__((noreturn)) leave_out(void);

/* util.c: failing clearly, files, processes */
void fail(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
long must_(long result, const char *what);
#define must(call) must_((long)(call), #call)
void *need_memory(size_t bytes);
int open_file(const char *path, int flags);
void put(const char *path, const char *text);
void read_fully(int fd, void *buf, size_t bytes, off_t at, const char *path);
void pin_here(void);
void settle(void);
void wait_child(pid_t pid);
uint64_t frame_flags(uint64_t pfn);
pid_t *sharers_start(int n, void (*first)(void *arg), void *arg);
void sharers_stop(pid_t *pids, int n);

/* settings.c: what the operations change in the system, put back after each of them */
void settings_save(void);
void settings_restore(void);
void settings_steady(void);
void settings_folio(size_t folio);
void zram_swap_on(size_t bytes);
void zram_swap_off(void);

/**
 * struct region - the memory under test: one VMA, PROT_NONE neighbours keep others from merging
 * @mem: start, aligned to 2 MiB
 * @len: bytes
 * @folio: size of the folios that populate it
 * @base: the whole reservation, @base_len bytes
 */
struct region {
	char *mem;
	size_t len;
	size_t folio;
	char *base;
	size_t base_len;
};

/* region.c */
struct region region_map(const struct bench *b, size_t folio, int extra_flags);
struct region region_new(const struct bench *b, size_t folio);
void region_free(struct region *r);
void region_populate(const struct region *r);
void region_fill(const struct bench *b, const struct region *r);
uint64_t *region_pagemap(const struct region *r);
uint64_t *region_pfns(const struct region *r);
size_t region_misfit(const struct region *r);
void region_check(const struct region *r);
int region_shmem(struct region *r);
size_t region_count(const struct region *r, uint64_t pagemap_bits);
size_t anon_huge_bytes(void);
void drain_lru(void);
void forget_tlb(void);

#define NO_PAGE		SIZE_MAX
#define PM_SWAP		(1ULL << 62)
#define PM_PRESENT	(1ULL << 63)
#define PM_UFFD_WP	(1ULL << 57)

/* runs.c */
void map_by_ptes(const struct region *r);

/* scan.c */
void meter_hold(struct bench *b, const struct region *r, const char *taken,
		void (*act)(const struct region *r));

/* move.c: what region_populate() wrote is still there; a line of /proc/vmstat */
void region_verify(const struct region *r);
uint64_t vmstat(const char *name);
/* What it takes to copy @b->size bytes */
uint64_t copying(struct bench *b);

/* scatter.c */
void region_populate_scattered(const struct region *r);
void region_scatter(const struct bench *b, struct region *r);

/* A frame, whose it is, and whether it follows the one before in a folio. */
struct owned {
	uint64_t pfn;
	uint32_t owner;
	uint32_t tail;
};

/**
 * struct owners - processes with little memory each, whose frames lie mixed
 * @pids: the processes
 * @pfn: their frames in order, @n of them
 * @cgroup: of each frame, the inode number of its owner's cgroup
 */
struct owners {
	pid_t *pids;
	uint64_t *pfn;
	uint64_t *cgroup;
	size_t n;
};

struct owners owners_start(const struct bench *b);
void owners_stop(struct owners *o);

/* uffd.c */
int uffd_open(const struct region *r, uint64_t features);

/* dense.c */
struct region region_dense(const struct bench *b, size_t folio, size_t frames);
void region_split(struct region *r, size_t folio);

/* One per area */
void idle_mark(struct bench *b);
void idle_read(struct bench *b);
void idle_mark_shared(struct bench *b);
void idle_mark_used(struct bench *b);
void idle_read_shared(struct bench *b);
void idle_read_free(struct bench *b);
void kpageflags_read(struct bench *b);
void kpagecount_read(struct bench *b);
void kpagecgroup_read(struct bench *b);
void kpageflags_owners(struct bench *b);
void kpagecount_owners(struct bench *b);
void kpagecgroup_owners(struct bench *b);
void kpageflags_free(struct bench *b);
void pagemap_read(struct bench *b);
void pagemap_read_hole(struct bench *b);
void pagemap_read_one(struct bench *b);
void pagemap_hold(struct bench *b);
void scan_written(struct bench *b);
void scan_present(struct bench *b);
void scan_hold(struct bench *b);
void watch_types(struct bench *b);
void watch_wss(struct bench *b);
void mlock_lock(struct bench *b);
void mlock_unlock(struct bench *b);
void mlock_unmap(struct bench *b);
void mlock_populate(struct bench *b);
void mlock_shared(struct bench *b);
void munlock_shared(struct bench *b);
void fault_first(struct bench *b);
void exit_own(struct bench *b);
void read_cold(struct bench *b);
void read_hot(struct bench *b);
void read_hot_small(struct bench *b);
void fork_exit(struct bench *b);
void fork_exit_holes(struct bench *b);
void fork_exit_shared(struct bench *b);
void fork_unmap(struct bench *b);
void fork_vmas(struct bench *b);
void fork_chain(struct bench *b);
void reclaim_lazyfree(struct bench *b);
void reclaim_zram(struct bench *b);

/* zswap.c */
void zswap_out(struct bench *b);
void zswap_out_same(struct bench *b);
void zswap_in(struct bench *b);
void zswap_drop(struct bench *b);
void move_nodes(struct bench *b);
void move_shared(struct bench *b);
void move_copied(struct bench *b);
void move_extra(struct bench *b);
void move_file(struct bench *b);
void move_here(struct bench *b);
void move_hugetlb(struct bench *b);
void move_mlocked(struct bench *b);
void move_query(struct bench *b);
void copy_huge(struct bench *b);
void migrate_process(struct bench *b);
void mbind_move(struct bench *b);
void numa_hint(struct bench *b);
void offline_block(struct bench *b);
void compact_anon(struct bench *b);
void compact_file(struct bench *b);
void compact_movable(struct bench *b);
void compact_pinned(struct bench *b);
void age(struct bench *b);
void move_ptes(struct bench *b);
void reclaim_file(struct bench *b);
void uffd_copy(struct bench *b);
void uffd_copy_large(struct bench *b);
void uffd_copy_beside(struct bench *b);
void uffd_zeropage(struct bench *b);
void uffd_move(struct bench *b);
void uffd_move_large(struct bench *b);
void uffd_protect(struct bench *b);
void uffd_unprotect(struct bench *b);
void uffd_continue(struct bench *b);
void uffd_fault(struct bench *b);
void uffd_fault_beside(struct bench *b);
void collapse_pages(struct bench *b);
void collapse_extra(struct bench *b);
void collapse_in_place(struct bench *b);
void collapse_shmem(struct bench *b);
void collapse_readonly(struct bench *b);
void collapse_hold(struct bench *b);
void khugepaged_in_vain(struct bench *b);
void khugepaged_all(struct bench *b);
void thp_split_pmd(struct bench *b);
void thp_split_pmd_drop(struct bench *b);
void thp_split_folio(struct bench *b);
void thp_split_ptes(struct bench *b);
void thp_split_64k(struct bench *b);
void thp_split_to_64k(struct bench *b);
void thp_split_one(struct bench *b);
void thp_split_one_shmem(struct bench *b);
void thp_protect(struct bench *b);
void thp_remap(struct bench *b);
void thp_lazyfree(struct bench *b);

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What Foliage's selftests share: frames behind addresses, bits of the idle
 * bitmap, and memory of a known kind. Failures of the set-up end the test
 * program with a message, because no later answer would mean anything.
 */
#ifndef FOLIAGE_H
#define FOLIAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BITMAP		"/sys/kernel/mm/page_idle/bitmap"
#define AGES		"/sys/kernel/mm/page_idle/ages"
#define PERIOD		"/sys/kernel/mm/page_idle/scan_period_ms"
#define PAGE		4096UL
#define HUGE		(2UL << 20)
#define WINDOW_BYTES	4096UL
#define WINDOW_FRAMES	(WINDOW_BYTES * 8)

/* Bits of /proc/kpageflags that the tests look at. */
#define KPF(bit)	(1ULL << (bit))
#define KPF_DIRTY	4
#define KPF_LRU		5
#define KPF_BUDDY	10
#define KPF_MMAP	11
#define KPF_ANON	12
#define KPF_SWAPCACHE	13
#define KPF_HEAD	15
#define KPF_TAIL	16
#define KPF_HUGE	17
#define KPF_NOPAGE	20
#define KPF_KSM		21
#define KPF_THP		22
#define KPF_IDLE	25

/* What the loop device of FILE_EXT4 is made of: what is in there is on disk. */
#define EXT4_IMAGE	"/tmp/foliage-ext4.img"

enum kind { ANON_4K, ANON_64K, ANON_2M, SHMEM, FILE_EXT4, HUGETLB };

/* Memory of one kind, every page of it present and on its LRU list. */
struct region {
	enum kind kind;
	char *p;
	size_t pages;
	size_t step;	/* pages of one folio: only the first carries the idle flag */
	int fd;		/* SHMEM and FILE_EXT4 */
	uint64_t *pfn;
};

__attribute__((noreturn, format(printf, 1, 2))) void fail_setup(const char *fmt, ...);

void region_make(struct region *r, enum kind kind, size_t pages);
void region_free(struct region *r);
/* Frames anew, after something may have moved them. */
void region_frames(struct region *r);

/* Frames of this process's pages, and what /proc/kpageflags says of them: 0 where none is mapped. */
void frames_of(const void *addr, uint64_t *pfn, size_t pages);
void flags_of(const void *addr, uint64_t *flags, size_t pages);
uint64_t frame_of(const void *addr);
uint64_t frame_flags(uint64_t pfn);
uint64_t frames_total(void);

int bitmap_open(int flags);
/* One word of the bitmap, the one that holds @pfn. */
uint64_t word_read(uint64_t pfn);
void word_mark(uint64_t pfn, uint64_t bits);
bool frame_idle(uint64_t pfn);
void frame_mark(uint64_t pfn);

/* Mark all folios of a region, in whole windows: what a tool would do. */
void region_mark(const struct region *r);
/* idle[i] for each page; reads whole windows. */
void region_read(const struct region *r, bool *idle);

/* A translation in the TLB may hide an access; make the next one walk the table. */
void flush_tlb(void);
/* Pages that were just faulted in wait in per-CPU batches, off the LRU lists. */
void settle_lru(void);

/* Faults that this thread has taken; none is added by the kernel's or the counting's own needs. */
long own_faults(void);

bool write_text(const char *path, const char *text);
bool read_text(const char *path, char *buf, size_t size);

/* Swap on zram, once per program. */
void need_swap(void);
/* A cgroup v2 with the memory controller; the caller is moved in. Path in @path. */
void enter_cgroup(const char *name, char *path, size_t size);
void leave_cgroup(const char *path);

/* The device of lib/test_hmm.c, its node made where nobody has made it. -1 without the driver. */
int hmm_device_open(void);

#endif

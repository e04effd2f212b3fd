/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of transparent huge pages share: huge pages whose small ones name themselves,
 * what is known of each page, and the file that splits folios.
 */
#ifndef FOLIAGE_THP_H
#define FOLIAGE_THP_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../kselftest.h"
#include "foliage.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif
#ifndef MADV_COLD
#define MADV_COLD	20
#endif

#define RW		(PROT_READ | PROT_WRITE)
#define PAGES		512UL
#define THP_DIR		"/sys/kernel/mm/transparent_hugepage/"
#define SPLIT_FILE	"/sys/kernel/debug/split_huge_pages"
#define HUGE_TMPFS	"/tmp/thp-huge"

#define KPF_REFERENCED	2
#define KPF_ACTIVE	6
#define KPF_UNEVICTABLE	18
#define KPF_SWAPBACKED	14
#define KPF_ZERO_PAGE	24
#define KPF_MLOCKED	33

#define PM_FRAME	((1ULL << 55) - 1)
#define PM_SOFT_DIRTY	(1ULL << 55)
#define PM_EXCLUSIVE	(1ULL << 56)
#define PM_UFFD_WP	(1ULL << 57)
#define PM_FILE		(1ULL << 61)
#define PM_SWAP		(1ULL << 62)
#define PM_PRESENT	(1ULL << 63)

#ifndef WITH_KHUGEPAGED
/*
 * khugepaged would change what is looked at: until the program ends it sleeps. If it has nothing to do,
 * it begins as soon as there is something: so there is.
 */
#define SCAN_SLEEP	THP_DIR "khugepaged/scan_sleep_millisecs"
#define FULL_SCANS	THP_DIR "khugepaged/full_scans"

static char scan_sleep[64];
static pid_t scan_sleep_owner;

__attribute__((constructor)) static void khugepaged_stop(void)
{
	char *decoy = mmap(NULL, 2 * HUGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char before[64], now[64];

	if (decoy == MAP_FAILED || madvise(decoy, 2 * HUGE, MADV_HUGEPAGE) ||
	    !read_text(FULL_SCANS, before, sizeof(before)))
		fail_setup("a mapping for khugepaged");
	*(volatile char *)decoy = 1;
	if (!read_text(SCAN_SLEEP, scan_sleep, sizeof(scan_sleep)) || !write_text(SCAN_SLEEP, "3600000"))
		fail_setup(SCAN_SLEEP);
	scan_sleep_owner = getpid();
	/* That began a round, if it runs at all; it is nearly over when everything was looked at. */
	for (int i = 0; i < 100 && read_text(FULL_SCANS, now, sizeof(now)) && !strcmp(now, before); i++)
		usleep(10000);
	usleep(20000);
}

__attribute__((destructor)) static void khugepaged_go_on(void)
{
	if (getpid() == scan_sleep_owner)
		write_text(SCAN_SLEEP, scan_sleep);
}
#endif

/* Room for @pages that begins where a huge page can, with a page that belongs to nobody around. */
static inline char *thp_room(size_t pages, int flags, int fd)
{
	char *p = mmap(NULL, pages * PAGE + 3 * HUGE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		fail_setup("address space");
	p = (char *)(((uintptr_t)p + 2 * HUGE - 1) & -HUGE);
	p = mmap(p, pages * PAGE, RW, flags | MAP_FIXED, fd, 0);
	if (p == MAP_FAILED)
		fail_setup("mmap of %zu pages", pages);
	madvise(p, pages * PAGE, MADV_HUGEPAGE);
	return p;
}

static inline void thp_fill(char *p, size_t pages)
{
	for (size_t i = 0; i < pages; i++) {
		*(volatile uint64_t *)(p + i * PAGE) = i + 1;
		*(volatile uint64_t *)(p + i * PAGE + PAGE - 8) = ~(i + 1);
	}
}

static inline bool thp_page_is(const char *page, size_t i)
{
	return *(volatile const uint64_t *)page == i + 1 &&
	       *(volatile const uint64_t *)(page + PAGE - 8) == ~(i + 1);
}

/* Pages that do not hold what thp_fill() wrote there. */
static inline size_t thp_wrong(const char *p, size_t pages)
{
	size_t n = 0;

	for (size_t i = 0; i < pages; i++)
		n += !thp_page_is(p + i * PAGE, i);
	return n;
}

static inline uint64_t pagemap_of(const void *addr)
{
	static int fd = -1;
	uint64_t e = 0;

	if (fd < 0)
		fd = open("/proc/self/pagemap", O_RDONLY);
	if (pread(fd, &e, 8, (uintptr_t)addr / PAGE * 8) != 8)
		fail_setup("pagemap");
	return e;
}

static inline uint64_t flags_at(const void *addr)
{
	uint64_t pfn = frame_of(addr);

	return pfn ? frame_flags(pfn) : 0;
}

/* How many of these pages have a flag of /proc/kpageflags? */
static inline size_t pages_with(const char *p, size_t pages, int bit)
{
	uint64_t flags[PAGES];
	size_t n = 0;

	for (size_t at = 0, some; at < pages; at += some) {
		some = pages - at < PAGES ? pages - at : PAGES;
		flags_of(p + at * PAGE, flags, some);
		for (size_t i = 0; i < some; i++)
			n += !!(flags[i] & KPF(bit));
	}
	return n;
}

/* A line of /proc/self/smaps of the VMA that has @addr, in kB. */
static inline long smaps_kb(const void *addr, const char *name)
{
	unsigned long start, end;
	FILE *f = fopen("/proc/self/smaps", "r");
	bool here = false;
	char line[512];
	long kb = -1;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = (uintptr_t)addr >= start && (uintptr_t)addr < end;
		else if (here && !strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
			kb = atol(line + strlen(name) + 1);
	}
	if (f)
		fclose(f);
	return kb;
}

/* A huge page, mapped by a PMD, of which all pages were written to. */
static inline char *thp_new(void)
{
	char *p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	thp_fill(p, PAGES);
	if (smaps_kb(p, "AnonHugePages") != 2048)
		fail_setup("no huge page");
	return p;
}

/* The same, mapped by entries of a page table. */
static inline char *thp_new_ptes(void)
{
	char *p = thp_new();

	mprotect(p + PAGE, PAGE, PROT_READ);
	mprotect(p + PAGE, PAGE, RW);
	return p;
}

static inline long vm_count(const char *name)
{
	static char text[65536];
	char *at = text, word[64];

	snprintf(word, sizeof(word), "%s ", name);
	if (!read_text("/proc/vmstat", text, sizeof(text)))
		fail_setup("/proc/vmstat");
	while (at && strncmp(at, word, strlen(word))) {
		at = strchr(at, '\n');
		at += !!at;
	}
	return at ? atol(at + strlen(word)) : -1;
}

static inline long size_count(const char *size, const char *name)
{
	char path[256], text[64];

	snprintf(path, sizeof(path), THP_DIR "hugepages-%s/stats/%s", size, name);
	return read_text(path, text, sizeof(text)) ? atol(text) : -1;
}

/* -> 0, or the error of the write */
static inline int split_write(const char *text)
{
	int fd = open(SPLIT_FILE, O_WRONLY), err;

	if (fd < 0)
		fail_setup(SPLIT_FILE);
	err = write(fd, text, strlen(text)) < 0 ? errno : 0;
	close(fd);
	return err;
}

static inline int split_range(const void *p, size_t pages, int order)
{
	char text[128];

	snprintf(text, sizeof(text), "%d,0x%lx,0x%lx,%d", getpid(), (unsigned long)p,
		 (unsigned long)p + pages * PAGE, order);
	return split_write(text);
}

/* To be called before the tests run: a fixture's mount would end with its process. */
static inline void mount_huge(void)
{
	mkdir(HUGE_TMPFS, 0755);
	if (mount("tmpfs", HUGE_TMPFS, "tmpfs", 0, "huge=always,size=64M"))
		fail_setup("tmpfs with huge pages");
}

static inline char *thp_new_shmem(int *fd)
{
	char *p;

	*fd = open(HUGE_TMPFS, O_TMPFILE | O_RDWR, 0600);
	if (*fd < 0 || ftruncate(*fd, HUGE))
		fail_setup(HUGE_TMPFS);
	p = thp_room(PAGES, MAP_SHARED, *fd);
	thp_fill(p, PAGES);
	if (!(flags_at(p) & KPF(KPF_THP)))
		fail_setup("no huge page in " HUGE_TMPFS);
	return p;
}

/* The parts that there must be, by halving: 1 where one begins. */
static inline void want_parts(char *begins, size_t at, size_t nr, size_t first, size_t last)
{
	bool outside = at + nr <= first || at >= last, inside = at >= first && at + nr <= last;

	if (nr == 1 || (nr != 2 && (outside || inside))) {
		begins[at] = 1;
		return;
	}
	want_parts(begins, at, nr / 2, first, last);
	want_parts(begins, at + nr / 2, nr / 2, first, last);
}

/* Pages that are not head, tail or single as they must be. */
static inline size_t not_parted(const char *p, const char *begins)
{
	size_t wrong = 0, i;

	for (i = 0; i < PAGES; i++) {
		uint64_t flags = flags_at(p + i * PAGE);
		bool single = begins[i] && (i + 1 == PAGES || begins[i + 1]);

		wrong += !!(flags & KPF(KPF_HEAD)) != (begins[i] && !single);
		wrong += !!(flags & KPF(KPF_TAIL)) != !begins[i];
	}
	return wrong;
}

#endif

// SPDX-License-Identifier: GPL-2.0
/* Huge folios made of memory that is there, when a program asks for it, and by khugepaged. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define THP		"/sys/kernel/mm/transparent_hugepage/"
#define KHUGEPAGED	THP "khugepaged/"
#define IMAGE		"/tmp/bench-collapse.img"
#define MOUNT		"/tmp/bench-collapse"

static void collapse(const struct region *r)
{
	if (madvise(r->mem, r->len, MADV_COLLAPSE))
		fail("MADV_COLLAPSE: %s", strerror(errno));
}

static void meter_collapse(struct bench *b, struct region *r)
{
	drain_lru();
	meter_begin(b);
	collapse(r);
	meter_end(b, r->len / FOLIO_2M);
}

static void check_huge(struct region *r)
{
	r->folio = FOLIO_2M;
	region_check(r);
	region_verify(r);
	region_free(r);
}

void collapse_pages(struct bench *b)
{
	struct region r = region_new(b, b->op->size);

	meter_collapse(b, &r);
	check_huge(&r);
}

/* What it costs beyond copying, as for moves. */
void collapse_extra(struct bench *b)
{
	uint64_t copy = copying(b);

	collapse_pages(b);
	b->ns = b->ns > copy ? b->ns - copy : 0;
}

/* Huge folios that are mapped by entries, since a page of each was protected for a moment. */
void collapse_in_place(struct bench *b)
{
	struct region r = region_new(b, FOLIO_2M);

	map_by_ptes(&r);
	meter_collapse(b, &r);
	check_huge(&r);
}

/* --- files ------------------------------------------------------------------------------ */

/* Bytes that this process maps through PMDs, of shmem or of other files. */
static size_t file_huge_bytes(void)
{
	char line[256];
	size_t kib = 0, sum = 0;
	FILE *f = fopen("/proc/self/smaps_rollup", "re");

	if (!f)
		fail("/proc/self/smaps_rollup: %s", strerror(errno));
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "ShmemPmdMapped: %zu", &kib) == 1 ||
		    sscanf(line, "FilePmdMapped: %zu", &kib) == 1)
			sum += kib << 10;
	fclose(f);
	return sum;
}

static void check_file(struct region *r)
{
	size_t at;

	if (file_huge_bytes() != r->len)
		fail("%zu of %zu bytes are mapped by PMDs", file_huge_bytes(), r->len);
	for (at = 0; at < r->len; at += PAGE)
		if (*(size_t *)(r->mem + at) != at + 1)
			fail("page %zu is not what was written", at / PAGE);
	region_free(r);
}

static void map_file(struct region *r, int fd, int prot)
{
	if (mmap(r->mem, r->len, prot, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		fail("mapping a file: %s", strerror(errno));
}

static void fill(struct region *r)
{
	size_t at;

	for (at = 0; at < r->len; at += PAGE)
		*(size_t *)(r->mem + at) = at + 1;
}

void collapse_shmem(struct bench *b)
{
	struct region r = region_map(b, FOLIO_4K, 0);
	int fd = must(memfd_create("bench", MFD_CLOEXEC));

	must(ftruncate(fd, r.len));
	map_file(&r, fd, PROT_READ | PROT_WRITE);
	fill(&r);
	meter_collapse(b, &r);
	check_file(&r);
	close(fd);
}

static void shell(const char *command)
{
	if (system(command))
		fail("'%s' failed", command);
}

/* Written, closed, forgotten, and open for reading only since: as programs and libraries are. */
static void ext4_fill(const struct bench *b)
{
	struct region r = region_map(b, FOLIO_4K, 0);
	int fd = open(MOUNT "/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, r.len))
		fail(MOUNT "/file: %s", strerror(errno));
	map_file(&r, fd, PROT_READ | PROT_WRITE);
	fill(&r);
	must(fsync(fd));
	region_free(&r);
	must(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	close(fd);
}

void collapse_readonly(struct bench *b)
{
	struct region r;
	size_t at;
	int fd;

	shell("mkdir -p " MOUNT " && truncate -s 256M " IMAGE " && mkfs.ext4 -q -F " IMAGE
	      " && mount -o loop " IMAGE " " MOUNT);
	ext4_fill(b);
	r = region_map(b, FOLIO_4K, 0);
	fd = open_file(MOUNT "/file", O_RDONLY);
	map_file(&r, fd, PROT_READ | PROT_EXEC);
	must(madvise(r.mem, r.len, MADV_HUGEPAGE));
	for (at = 0; at < r.len; at += PAGE)
		*(volatile char *)(r.mem + at);
	meter_collapse(b, &r);
	check_file(&r);
	close(fd);
	shell("umount " MOUNT " && rm " IMAGE);
}

/* --- the lock --------------------------------------------------------------------------- */

static void *sleeper(void *arg)
{
	pause();
	return arg;
}

/*
 * One table, of which the op's size says how many entries are empty; in a process of two threads, as
 * otherwise nobody is kept waiting.
 */
void collapse_hold(struct bench *b)
{
	struct bench one = { .size = FOLIO_2M };
	struct region r = region_map(&one, FOLIO_4K, 0);
	pthread_t thread;
	size_t at;

	if (pthread_create(&thread, NULL, sleeper, NULL))
		fail("a thread: %s", strerror(errno));
	for (at = b->op->size * PAGE; at < r.len; at += PAGE)
		r.mem[at] = 1;
	drain_lru();
	meter_hold(b, &r, "write=true", collapse);
	if (anon_huge_bytes() != r.len)
		fail("it is no huge page");
	region_free(&r);
}

/* --- khugepaged ------------------------------------------------------------------------- */

static unsigned long number_of(const char *path)
{
	char text[64] = "";
	int fd = open_file(path, O_RDONLY);

	must(read(fd, text, sizeof(text) - 1));
	close(fd);
	return strtoul(text, NULL, 10);
}

/* The thread's time, in nanoseconds. */
static uint64_t khugepaged_ran(void)
{
	static char path[64];
	struct dirent *d;
	char text[64];
	DIR *proc;
	int fd;

	if (*path)
		return number_of(path);
	proc = opendir("/proc");
	while (proc && (d = readdir(proc))) {
		snprintf(path, sizeof(path), "/proc/%.20s/comm", d->d_name);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			continue;
		memset(text, 0, sizeof(text));
		must(read(fd, text, sizeof(text) - 1));
		close(fd);
		if (strcmp(text, "khugepaged\n"))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/schedstat", d->d_name);
		closedir(proc);
		return number_of(path);
	}
	fail("khugepaged does not run");
}

/* Small pages are there; from now on they may become huge ones. */
static void allow(const struct region *r)
{
	put(THP "hugepages-2048kB/enabled", "madvise");
	must(madvise(r->mem, r->len, MADV_HUGEPAGE));
}

/* One round over everything. Stock does not hear of the knob when it is about to go to sleep. */
static void khugepaged_round(void)
{
	unsigned long scans = number_of(KHUGEPAGED "full_scans"), tries;

	for (tries = 0; number_of(KHUGEPAGED "full_scans") == scans; tries++) {
		if (tries == 10000)
			fail("khugepaged does not get to its end");
		if (tries % 100 == 0)
			put(KHUGEPAGED "scan_sleep_millisecs", "1000000000");
		usleep(10000);
	}
	usleep(10000);
}

/* Of each table a page is missing, which is found at its end. */
void khugepaged_in_vain(struct bench *b)
{
	struct region r = region_new(b, FOLIO_4K);
	uint64_t ran;
	size_t at;

	for (at = FOLIO_2M - PAGE; at < r.len; at += FOLIO_2M)
		must(madvise(r.mem + at, PAGE, MADV_DONTNEED));
	put(KHUGEPAGED "max_ptes_none", "0");
	put(KHUGEPAGED "pages_to_scan", "1000000000");
	allow(&r);
	khugepaged_round();
	drain_lru();
	ran = khugepaged_ran();
	meter_begin(b);
	khugepaged_round();
	meter_end(b, r.len / PAGE);
	b->ns = khugepaged_ran() - ran;
	if (anon_huge_bytes())
		fail("a huge page was made");
	region_free(&r);
}

/* From none to all, as fast as the settings that a system starts with let it. */
void khugepaged_all(struct bench *b)
{
	struct region r = region_new(b, FOLIO_4K);
	unsigned int seconds = 0;
	uint64_t ran;

	drain_lru();
	ran = khugepaged_ran();
	meter_begin(b);
	allow(&r);
	put(KHUGEPAGED "scan_sleep_millisecs", "10000");
	while (anon_huge_bytes() < r.len) {
		if (seconds++ > r.len / FOLIO_2M * 10)
			fail("%zu of %zu bytes after %u s", anon_huge_bytes(), r.len, seconds);
		sleep(1);
	}
	meter_end(b, r.len / FOLIO_2M);
	b->ns = khugepaged_ran() - ran;
	put(KHUGEPAGED "scan_sleep_millisecs", "1000000000");
	check_huge(&r);
}

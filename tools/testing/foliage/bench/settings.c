// SPDX-License-Identifier: GPL-2.0
/*
 * System-wide settings that operations need: folio sizes, and a swap device in memory. The folio
 * settings are saved once and put back after every operation, by the parent, so that an operation
 * that failed leaves none.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <unistd.h>

#include "bench.h"

#define THP		"/sys/kernel/mm/transparent_hugepage/"
#define KHUGEPAGED_SLEEP	THP "khugepaged/scan_sleep_millisecs"
#define PCP_FRACTION	"/proc/sys/vm/percpu_pagelist_high_fraction"
#define ZRAM		"/sys/block/zram0/"
#define ZRAM_DEV	"/dev/zram0"
#define MAX_SAVED	32

static struct {
	char path[128];
	char value[32];
} saved[MAX_SAVED];
static int nr_saved;

/* "always [madvise] never" -> "madvise"; a number is itself */
static bool read_choice(const char *path, char *out, size_t room)
{
	char text[128], *from, *to;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n < 0)
		return false;
	text[n] = 0;
	from = strchr(text, '[');
	from = from ? from + 1 : text;
	to = from + strcspn(from, "]\n");
	*to = 0;
	if ((size_t)(to - from) >= room)
		return false;
	memcpy(out, from, to - from + 1);
	return true;
}

/*
 * khugepaged would collapse what an operation has just laid out. It starts when the first process
 * with eligible memory appears, and then comes by at intervals: so give it a mapping to look at, an
 * interval of days, and the moment it takes. Operations run in children, which do not inherit it.
 */
static void settings_still(void)
{
	int fd = open(KHUGEPAGED_SLEEP, O_WRONLY | O_CLOEXEC);
	char *decoy = mmap(NULL, 2 * FOLIO_2M, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (fd < 0 || write(fd, "1000000000", 10) != 10 || decoy == MAP_FAILED ||
	    madvise(decoy, 2 * FOLIO_2M, MADV_HUGEPAGE) ||
	    madvise(decoy, 2 * FOLIO_2M, MADV_DONTFORK))
		fprintf(stderr, "bench: %s: %s: khugepaged may disturb\n", KHUGEPAGED_SLEEP,
			strerror(errno));
	else
		decoy[0] = 1;
	if (fd >= 0)
		close(fd);
	usleep(200000);
}

void settings_save(void)
{
	glob_t found;
	size_t i;

	settings_still();
	glob(THP "enabled", 0, NULL, &found);
	glob(THP "hugepages-*/enabled", GLOB_APPEND, NULL, &found);
	glob(PCP_FRACTION, GLOB_APPEND, NULL, &found);
	glob(THP "khugepaged/max_ptes_none", GLOB_APPEND, NULL, &found);
	glob(THP "khugepaged/pages_to_scan", GLOB_APPEND, NULL, &found);
	glob(KHUGEPAGED_SLEEP, GLOB_APPEND, NULL, &found);
	for (i = 0; i < found.gl_pathc && nr_saved < MAX_SAVED; i++) {
		snprintf(saved[nr_saved].path, sizeof(saved[0].path), "%s", found.gl_pathv[i]);
		if (read_choice(saved[nr_saved].path, saved[nr_saved].value,
				sizeof(saved[0].value)))
			nr_saved++;
	}
	globfree(&found);
}

/* Called between operations, where there is nobody to report to but stderr. */
void settings_restore(void)
{
	int i;

	for (i = 0; i < nr_saved; i++) {
		int fd = open(saved[i].path, O_WRONLY | O_CLOEXEC);

		if (fd < 0 || write(fd, saved[i].value, strlen(saved[i].value)) < 0)
			fprintf(stderr, "bench: could not put %s back to '%s': %s\n", saved[i].path,
				saved[i].value, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
}

/*
 * The per-CPU lists of free pages grow and shrink with what was freed lately, and with them the
 * cost of the next page: an operation would be charged for its predecessors. With the largest lists
 * that the kernel allows, a test's memory comes from them and goes back to them.
 */
void settings_steady(void)
{
	put(PCP_FRACTION, "8");
}

/* From here on anonymous faults make folios of this size, or of the sizes that it is the sum of. */
void settings_folio(size_t folio)
{
	size_t left = folio & ~FOLIO_4K, size;
	int i;

	for (i = 0; i < nr_saved; i++) {
		const char *name = strstr(saved[i].path, "hugepages-");

		if (!name) {
			if (!strcmp(saved[i].path, THP "enabled"))
				put(saved[i].path, "madvise");
			continue;
		}
		size = strtoul(name + strlen("hugepages-"), NULL, 10) << 10;
		if (size & folio)
			put(saved[i].path, size == FOLIO_2M ? "madvise" : "always");
		else
			put(saved[i].path, "never");
		left &= ~size;
	}
	if (left)
		fail("no " THP "hugepages-%zukB: the kernel cannot make folios of this size",
		     left >> 10);
}

/* What mkswap writes: a header page, the format's version 1. */
static void write_swap_header(size_t bytes)
{
	uint32_t header[PAGE / 4] = { 0 };
	int fd = open_file(ZRAM_DEV, O_RDWR);

	header[256] = 1;			/* version */
	header[257] = bytes / PAGE - 1;		/* last page */
	memcpy((char *)header + PAGE - 10, "SWAPSPACE2", 10);
	if (pwrite(fd, header, PAGE, 0) != (ssize_t)PAGE)
		fail("writing a swap header to %s: %s", ZRAM_DEV, strerror(errno));
	must(fsync(fd));
	close(fd);
}

/* Leaves alone a zram device that somebody else uses. */
void zram_swap_on(size_t bytes)
{
	char text[32] = "";
	int fd = open_file(ZRAM "disksize", O_RDONLY);

	must(read(fd, text, sizeof(text) - 1));
	close(fd);
	if (strtoull(text, NULL, 10))
		fail("%s is in use: swapoff and reset it first", ZRAM_DEV);
	snprintf(text, sizeof(text), "%zu", bytes);
	put(ZRAM "disksize", text);
	write_swap_header(bytes);
	must(swapon(ZRAM_DEV, SWAP_FLAG_PREFER | 100));
}

void zram_swap_off(void)
{
	must(swapoff(ZRAM_DEV));
	put(ZRAM "reset", "1");
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of zswap share: settings and counters, swap on a device that answers at once (zram)
 * or later (loop), memory with contents of a known kind, and the way out and in.
 */
#ifndef FOLIAGE_ZSWAP_H
#define FOLIAGE_ZSWAP_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "foliage.h"

#define PARAMETERS	"/sys/module/zswap/parameters/"
#define COUNTS		"/sys/kernel/debug/zswap/"
#define THP		"/sys/kernel/mm/transparent_hugepage/"
#define LOOP_FILE	"/tmp/zswap-loop.img"
#define FOLIO		(64UL << 10)
#define PER_FOLIO	(FOLIO / PAGE)

/* --- settings and counters -------------------------------------------------------------- */

static inline bool try_parameter(const char *name, const char *word)
{
	char path[128];

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	return write_text(path, word);
}

static inline void set_parameter(const char *name, const char *word)
{
	if (!try_parameter(name, word))
		fail_setup("%s to zswap's %s", word, name);
}

static inline bool parameter_is(const char *name, const char *word)
{
	char path[128], text[128];

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	if (!read_text(path, text, sizeof(text)))
		fail_setup("%s", path);
	text[strcspn(text, "\n")] = 0;
	return !strcmp(text, word);
}

static inline long count_of(const char *name)
{
	char path[128], text[64];

	snprintf(path, sizeof(path), COUNTS "%s", name);
	return read_text(path, text, sizeof(text)) ? atol(text) : -1;
}

/* A line of a file of "name number". */
static inline long line_of(const char *path, const char *name)
{
	char text[1 << 15], find[64], *at;

	snprintf(find, sizeof(find), "\n%s ", name);
	text[0] = '\n';
	if (!read_text(path, text + 1, sizeof(text) - 1))
		return -1;
	at = strstr(text, find);
	return at ? atol(at + strlen(find)) : -1;
}

static inline long vmstat_of(const char *name)
{
	return line_of("/proc/vmstat", name);
}

static inline bool is_ours(void)
{
	return !access("/sys/fs/cgroup/memory.zswap.rejects", F_OK) || count_of("stored_runs") >= 0;
}

/* Known from here on, whatever ran before. */
static inline void zswap_defaults(void)
{
	set_parameter("enabled", "1");
	set_parameter("max_pool_percent", "20");
	set_parameter("accept_threshold_percent", "90");
	set_parameter("shrinker_enabled", "0");
	set_parameter("compressor", "lzo");
	set_parameter("zpool", "zsmalloc");
}

/* --- swap ------------------------------------------------------------------------------- */

/* A device that does not answer at once, so that reads from it are ahead and through the swap cache. */
static inline void swap_on_loop(unsigned int mib)
{
	char command[256];

	snprintf(command, sizeof(command),
		 "truncate -s %uM " LOOP_FILE " && losetup /dev/loop7 " LOOP_FILE
		 " && mkswap /dev/loop7 >/dev/null && swapon -p 100 /dev/loop7", mib);
	if (system(command))
		fail_setup("swap on a loop device");
}

static inline bool swap_off_loop(void)
{
	return !swapoff("/dev/loop7") && !system("losetup -d /dev/loop7; rm -f " LOOP_FILE);
}

/* --- memory ----------------------------------------------------------------------------- */

enum contents {
	TEXT,		/* compresses to a few hundred bytes */
	NOISE,		/* does not compress */
	WORD,		/* the same word over and over */
	ZEROES,
	MIXED,		/* each page another one of TEXT, WORD and ZEROES */
};

static inline uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	return x ^ x >> 33;
}

/* Word @i of a page whose number is @seed. */
static inline uint64_t word_of(enum contents kind, uint64_t seed, unsigned int i)
{
	switch (kind) {
	case TEXT:
		return i % 16 ? 0x6f662d7265666572ULL : mix(seed << 16 | i / 16);
	case NOISE:
		return mix(seed << 16 | i);
	case WORD:
		return mix(seed) | 1;
	case MIXED:
		return word_of(seed % 3 ? (seed % 3 == 1 ? WORD : ZEROES) : TEXT, seed, i);
	default:
		return 0;
	}
}

static inline void page_fill(char *page, enum contents kind, uint64_t seed)
{
	volatile uint64_t *word = (volatile uint64_t *)page;

	for (unsigned int i = 0; i < PAGE / sizeof(*word); i++)
		word[i] = word_of(kind, seed, i);
}

static inline bool page_is(const char *page, enum contents kind, uint64_t seed)
{
	const volatile uint64_t *word = (const volatile uint64_t *)page;

	for (unsigned int i = 0; i < PAGE / sizeof(*word); i++)
		if (word[i] != word_of(kind, seed, i))
			return false;
	return true;
}

static inline void fill(char *p, size_t pages, enum contents kind, uint64_t seed)
{
	for (size_t i = 0; i < pages; i++)
		page_fill(p + i * PAGE, kind, seed + i);
}

/* How many pages are not what they were filled with. */
static inline size_t wrong(const char *p, size_t pages, enum contents kind, uint64_t seed)
{
	size_t n = 0;

	for (size_t i = 0; i < pages; i++)
		n += !page_is(p + i * PAGE, kind, seed + i);
	return n;
}

/* Anonymous memory in folios of one size, 0 for single pages; on 2 MiB. */
static inline char *room(size_t bytes, unsigned int folio_kib)
{
	static const int sizes[] = { 16, 32, 64, 128, 256, 512, 1024, 2048 };
	char path[128], *p;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		snprintf(path, sizeof(path), THP "hugepages-%dkB/enabled", sizes[i]);
		if (!write_text(path, sizes[i] == (int)folio_kib ? "always" : "never") &&
		    sizes[i] == (int)folio_kib)
			fail_setup("%s", path);
	}
	p = mmap(NULL, bytes + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		fail_setup("mmap");
	return (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
}

static inline uint64_t entry_of(const char *p)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0 || pread(fd, &entry, 8, (uintptr_t)p / PAGE * 8) != 8)
		fail_setup("pagemap");
	close(fd);
	return entry;
}

static inline size_t swapped(const char *p, size_t pages)
{
	size_t n = 0;

	for (size_t i = 0; i < pages; i++)
		n += entry_of(p + i * PAGE) >> 62 & 1;
	return n;
}

static inline bool in_large_folio(const char *p)
{
	uint64_t flags = frame_flags(frame_of(p));

	return flags & (KPF(KPF_HEAD) | KPF(KPF_TAIL));
}

/* Out; all of it, or the set-up has failed. A page may be in a batch the first time. */
static inline void swap_out(char *p, size_t pages)
{
	for (int i = 0; i < 20; i++) {
		settle_lru();
		if (madvise(p, pages * PAGE, MADV_PAGEOUT))
			fail_setup("MADV_PAGEOUT");
		if (swapped(p, pages) == pages)
			return;
		usleep(10000);
	}
	fail_setup("%zu of %zu pages were swapped out", swapped(p, pages), pages);
}

#endif

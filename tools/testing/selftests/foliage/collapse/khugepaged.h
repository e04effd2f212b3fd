/* SPDX-License-Identifier: GPL-2.0 */
/*
 * khugepaged for a test: its settings, and to know that it has looked at everything.
 */
#ifndef FOLIAGE_TEST_KHUGEPAGED_H
#define FOLIAGE_TEST_KHUGEPAGED_H

#define WITH_KHUGEPAGED
#include "../thp/thp.h"

#define KHUGEPAGED	THP_DIR "khugepaged/"

/* --- settings --------------------------------------------------------------------------- */

enum { SLEEP, ALLOC_SLEEP, TO_SCAN, MAX_NONE, MAX_SWAP, MAX_SHARED, KNOBS };

static const char * const knobs[KNOBS] = {
	"scan_sleep_millisecs", "alloc_sleep_millisecs", "pages_to_scan", "max_ptes_none", "max_ptes_swap",
	"max_ptes_shared",
};

#define ENABLED		THP_DIR "enabled"
#define SHMEM_ENABLED	THP_DIR "shmem_enabled"

static char was[KNOBS][64], was_enabled[64], was_shmem[64];

static inline void knob_write(int knob, const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), KHUGEPAGED "%s", knobs[knob]);
	if (!write_text(path, text))
		fail_setup("%s", path);
}

static inline void knob_set(int knob, unsigned int value)
{
	char text[32];

	snprintf(text, sizeof(text), "%u", value);
	knob_write(knob, text);
}

static inline long number_of(const char *name)
{
	char path[256], text[64];

	snprintf(path, sizeof(path), KHUGEPAGED "%s", name);
	if (!read_text(path, text, sizeof(text)))
		fail_setup("%s", path);
	return atol(text);
}

/* Of several words, the one in brackets. */
static inline void choice_read(const char *path, char *word, size_t size)
{
	char text[128], *at;

	if (!read_text(path, text, sizeof(text)))
		fail_setup("%s", path);
	at = strchr(text, '[');
	if (!at || !strchr(at, ']'))
		fail_setup("%s: %s", path, text);
	*strchr(at, ']') = 0;
	snprintf(word, size, "%.60s", at + 1);
}

static inline void knobs_save(void)
{
	char path[256];

	choice_read(ENABLED, was_enabled, sizeof(was_enabled));
	choice_read(SHMEM_ENABLED, was_shmem, sizeof(was_shmem));

	for (int i = 0; i < KNOBS; i++) {
		snprintf(path, sizeof(path), KHUGEPAGED "%s", knobs[i]);
		if (!read_text(path, was[i], sizeof(was[i])))
			fail_setup("%s", path);
		was[i][strcspn(was[i], "\n")] = 0;
	}
}

static inline void knobs_restore(void)
{
	for (int i = 0; i < KNOBS; i++)
		knob_write(i, was[i]);
	if (!write_text(ENABLED, was_enabled) || !write_text(SHMEM_ENABLED, was_shmem))
		fail_setup(ENABLED);
}

/* --- what khugepaged does --------------------------------------------------------------- */

static inline bool is_huge(const char *p)
{
	return smaps_kb(p, "AnonHugePages") == 2048;
}

/* Everything was looked at since: the round that is going on may have been past us. */
static inline bool scanned(void)
{
	long scans = number_of("full_scans");

	for (int i = 0; i < 2000; i++) {
		if (number_of("full_scans") - scans >= 2)
			return true;
		usleep(10000);
	}
	return false;
}

/* From here on it is khugepaged's. Nothing waits for a place on a list. */
static inline void offer(char *p)
{
	settle_lru();
	/* Advice that changes nothing tells khugepaged nothing. */
	madvise(p, HUGE, MADV_NOHUGEPAGE);
	madvise(p, HUGE, MADV_HUGEPAGE);
}

/* The address space is looked through, though not for the memory of the test. */
static inline void introduce(void)
{
	*(volatile char *)thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1) = 1;
}

#endif

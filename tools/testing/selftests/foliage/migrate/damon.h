/* SPDX-License-Identifier: GPL-2.0 */
/*
 * DAMON by its files in sysfs: it is told which ranges to watch, and asked how often it has found
 * them accessed.
 */
#ifndef FOLIAGE_DAMON_H
#define FOLIAGE_DAMON_H

#include <inttypes.h>

#include "migrate.h"

#define DAMON_DIR	"/sys/kernel/mm/damon/admin/kdamonds/"
#define DAMON_SAMPLE	20000UL			/* microseconds from a look to the next */
#define DAMON_LOOKS	10			/* after so many it counts anew */
#define DAMON_NEVER	1000000000UL

struct watched {
	uint64_t start, end;
	int place;	/* to which of the caller's places it belongs */
};

static inline bool damon_text(int k, const char *file, const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), DAMON_DIR "%d/%s", k, file);
	return write_text(path, text);
}

static inline void damon_set(int k, const char *file, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	if (!damon_text(k, file, text))
		fail_setup("DAMON: %s to %s", text, file);
}

/* None is left by a test that ended early: its process was their target. */
static inline void damon_count(int kdamonds)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", kdamonds);
	for (int i = 0; i < 200; i++) {
		if (write_text(DAMON_DIR "nr_kdamonds", text))
			return;
		usleep(50000);
	}
	fail_setup("DAMON: %d kdamonds", kdamonds);
}

static inline void damon_ranges(int k, const struct watched *w, size_t n)
{
	char file[128];

	damon_set(k, "contexts/0/targets/0/regions/nr_regions", n);
	for (size_t i = 0; i < n; i++) {
		snprintf(file, sizeof(file), "contexts/0/targets/0/regions/%zu/start", i);
		damon_set(k, file, w[i].start);
		snprintf(file, sizeof(file), "contexts/0/targets/0/regions/%zu/end", i);
		damon_set(k, file, w[i].end);
	}
}

/* A scheme that does nothing, for regions of all sizes, ages and rates: they are listed. */
static inline void damon_list_all(int k)
{
	static const char * const most[] = { "sz", "nr_accesses", "age" };
	char file[128];

	damon_set(k, "contexts/0/schemes/nr_schemes", 1);
	if (!damon_text(k, "contexts/0/schemes/0/action", "stat"))
		fail_setup("DAMON: stat");
	for (int i = 0; i < 3; i++) {
		snprintf(file, sizeof(file), "contexts/0/schemes/0/access_pattern/%s/max", most[i]);
		damon_set(k, file, i ? UINT32_MAX : UINT64_MAX);
	}
}

/*
 * Watch the ranges @w, sorted. @how is vaddr for addresses of this process or paddr for those of the
 * machine. Without any range vaddr takes what is mapped, which is looked at every @update
 * microseconds.
 */
static inline void damon_start(int k, const char *how, const struct watched *w, size_t n,
			       uint64_t update)
{
	damon_set(k, "contexts/nr_contexts", 1);
	if (!damon_text(k, "contexts/0/operations", how))
		fail_setup("DAMON: %s", how);
	damon_set(k, "contexts/0/monitoring_attrs/intervals/sample_us", DAMON_SAMPLE);
	damon_set(k, "contexts/0/monitoring_attrs/intervals/aggr_us", DAMON_LOOKS * DAMON_SAMPLE);
	damon_set(k, "contexts/0/monitoring_attrs/intervals/update_us", update);
	damon_set(k, "contexts/0/monitoring_attrs/nr_regions/max", 200);
	damon_set(k, "contexts/0/targets/nr_targets", 1);
	if (!strcmp(how, "vaddr"))
		damon_set(k, "contexts/0/targets/0/pid_target", getpid());
	damon_ranges(k, w, n);
	damon_list_all(k);
	if (!damon_text(k, "state", "on"))
		fail_setup("DAMON: on");
}

static inline void damon_stop(int k)
{
	damon_text(k, "state", "off");
}

static inline bool damon_region(int k, size_t i, const char *what, uint64_t *value)
{
	char path[256], text[32];

	snprintf(path, sizeof(path), DAMON_DIR "%d/contexts/0/schemes/0/tried_regions/%zu/%s", k,
		 i, what);
	if (!read_text(path, text, sizeof(text)))
		return false;
	*value = strtoull(text, NULL, 10);
	return true;
}

/*
 * What it has counted last: rate[] of each place becomes the mean of its ranges, 0 to DAMON_LOOKS.
 * -> the highest rate of all regions, watched by name or not; -1 when it does not answer.
 */
static inline long damon_rates(int k, const struct watched *w, size_t n, double *rate, size_t places)
{
	uint64_t start, end, accesses, size[places];
	long most = 0;

	memset(size, 0, sizeof(size));
	for (size_t i = 0; i < n; i++)
		size[w[i].place] += w[i].end - w[i].start;
	for (size_t i = 0; i < places; i++)
		rate[i] = 0;
	if (!damon_text(k, "state", "update_schemes_tried_regions"))
		return -1;
	for (size_t r = 0; damon_region(k, r, "start", &start); r++) {
		if (!damon_region(k, r, "end", &end) ||
		    !damon_region(k, r, "nr_accesses", &accesses))
			return -1;
		most = (long)accesses > most ? (long)accesses : most;
		for (size_t i = 0; i < n; i++) {
			uint64_t from = start > w[i].start ? start : w[i].start;
			uint64_t to = end < w[i].end ? end : w[i].end;

			if (from < to)
				rate[w[i].place] += (double)accesses * (to - from) / size[w[i].place];
		}
	}
	return most;
}

#endif

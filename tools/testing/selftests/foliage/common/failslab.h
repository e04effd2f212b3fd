/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests share that let allocations from slabs fail: one allocation of a call, how many
 * objects a slab holds, and what kmemleak says.
 *
 * Needs CONFIG_FAILSLAB and CONFIG_FAULT_INJECTION_DEBUG_FS, for pages CONFIG_FAIL_PAGE_ALLOC, which
 * the debug kernel has. With CONFIG_DEBUG_KMEMLEAK the kernel itself says what nobody refers to
 * any more.
 */
#ifndef FOLIAGE_FAILSLAB_H
#define FOLIAGE_FAILSLAB_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"
#include "foliage.h"

#define FAILSLAB	"/sys/kernel/debug/failslab/"
#define FAIL_PAGE	"/sys/kernel/debug/fail_page_alloc/"
#define SLAB		"/sys/kernel/slab/"
#define KMEMLEAK	"/sys/kernel/debug/kmemleak"

/* --- what is left behind ---------------------------------------------------------------- */

/* One object of the report: from its line to the next one's. NULL behind the last. */
static inline char *next_object(char **report)
{
	char *at = *report ? strstr(*report, "unreferenced object") : NULL, *next;

	if (!at)
		return NULL;
	next = strstr(at + 1, "unreferenced object");
	if (next)
		next[-1] = 0;
	*report = next;
	return at;
}

/*
 * Print the objects reported that are ours; how many. Those are ours that a function allocated or
 * linked whose name contains one of @suspects.
 */
static inline int leaks_reported(const char * const *suspects, size_t nr)
{
	static char text[1 << 20];
	char *report = text, *object;
	int n = 0;

	if (!read_text(KMEMLEAK, text, sizeof(text)))
		fail_setup(KMEMLEAK);
	while ((object = next_object(&report))) {
		bool ours = false;

		for (size_t i = 0; i < nr; i++)
			ours |= !!strstr(object, suspects[i]);
		n += ours;
		for (char *line = strtok(object, "\n"); ours && line; line = strtok(NULL, "\n"))
			printf("# %s\n", line);
	}
	return n;
}

/*
 * The first scan takes a sum of each object that nothing refers to, the second reports those whose
 * sum is still the same; and none that is younger than five seconds. False if kmemleak is off.
 */
static inline bool leaks_scan(void)
{
	if (!write_text(KMEMLEAK, "scan"))
		return false;
	sleep(6);
	return write_text(KMEMLEAK, "scan");
}

#define LEAK_TRIES	3

/*
 * What leaks_reported() finds, of objects that nobody refers to in three scans: what was on its way
 * from one list to another, or only in a register, during one is found in the next.
 */
static inline int leaks_lasting(const char * const *suspects, size_t nr)
{
	int n = leaks_reported(suspects, nr);

	for (int i = 1; n && i < LEAK_TRIES; i++) {
		printf("# %d objects, looking again\n", n);
		if (!leaks_scan())
			break;
		n = leaks_reported(suspects, nr);
	}
	return n;
}

/* Fixtures run in the order of the file, so this is the first: what has leaked before is none of ours. */
FIXTURE(before) { };
FIXTURE_SETUP(before)
{
	if (access(KMEMLEAK, W_OK))
		SKIP(return, "no CONFIG_DEBUG_KMEMLEAK");
}

FIXTURE_TEARDOWN(before)
{
}

TEST_F_TIMEOUT(before, forget_leaks, 600)
{
	if (!leaks_scan())
		SKIP(return, "kmemleak is off");
	EXPECT_TRUE(write_text(KMEMLEAK, "clear"));
}

/* And this the last, at the end of the file. What was put off to RCU is still referred to from there. */
#define TEST_NOTHING_LEAKED(_suspects)					\
FIXTURE(after) { };							\
FIXTURE_SETUP(after)							\
{									\
	if (access(KMEMLEAK, W_OK))					\
		SKIP(return, "no CONFIG_DEBUG_KMEMLEAK");		\
}									\
									\
FIXTURE_TEARDOWN(after)							\
{									\
}									\
									\
TEST_F_TIMEOUT(after, nothing_leaked, 600)				\
{									\
	sleep(2);							\
	if (!leaks_scan())						\
		SKIP(return, "kmemleak is off");			\
	EXPECT_EQ(leaks_lasting(_suspects, ARRAY_SIZE(_suspects)), 0);	\
}

static inline long objects_in(const char *slab)
{
	char path[96], text[64];

	snprintf(path, sizeof(path), SLAB "%s/shrink", slab);
	write_text(path, "1");
	snprintf(path, sizeof(path), SLAB "%s/objects", slab);
	if (!read_text(path, text, sizeof(text)))
		fail_setup("%s", path);
	return atol(text);
}

/* --- failures --------------------------------------------------------------------------- */

static inline bool can_fail(void)
{
	return !access("/proc/self/fail-nth", W_OK) && !access(FAILSLAB "cache-filter", W_OK);
}

/* From now on allocations from this slab count; from any other they do not, and cannot fail. */
static inline void may_fail(const char *slab)
{
	char path[96];

	write_text(FAILSLAB "verbose", "0");
	write_text(FAILSLAB "ignore-gfp-wait", "N");
	write_text(FAILSLAB "cache-filter", "Y");
	snprintf(path, sizeof(path), SLAB "%s/failslab", slab);
	if (!write_text(path, "1"))
		fail_setup("%s", path);
}

/* From now on allocations from any slab count. */
static inline void any_may_fail(void)
{
	write_text(FAILSLAB "verbose", "0");
	write_text(FAILSLAB "ignore-gfp-wait", "N");
	write_text(FAILSLAB "cache-filter", "N");
}

static inline bool pages_can_fail(void)
{
	return can_fail() && !access(FAIL_PAGE "min-order", W_OK);
}

/* Allocations of pages count, of any size and for anybody; those of slabs do not. */
static inline void pages_may_fail(void)
{
	/* Or a page of the program itself may be wanted, in vain, for ever. */
	if (mlockall(MCL_CURRENT))
		fail_setup("mlockall");
	write_text(FAILSLAB "cache-filter", "Y");
	write_text(FAIL_PAGE "verbose", "0");
	if (!write_text(FAIL_PAGE "min-order", "0") ||
	    !write_text(FAIL_PAGE "ignore-gfp-wait", "N") ||
	    !write_text(FAIL_PAGE "ignore-gfp-highmem", "N") ||
	    !write_text(FAIL_PAGE "task-filter", "Y"))
		fail_setup("fail_page_alloc");
}

/* Let the @n-th allocation from now on fail; what is left of @n after @op says if there was one. */
static inline bool failing(int n, int (*op)(void), int *result)
{
	char text[16];
	int fd = open("/proc/thread-self/fail-nth", O_RDWR);
	int left;

	snprintf(text, sizeof(text), "%d", n);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail_setup("fail-nth");
	*result = op();
	memset(text, 0, sizeof(text));
	if (pread(fd, text, sizeof(text) - 1, 0) < 0)
		fail_setup("fail-nth");
	left = atoi(text);
	if (pwrite(fd, "0", 1, 0) < 0)
		fail_setup("fail-nth");
	close(fd);
	return !left;
}

/* Let every allocation of @op fail. */
static inline void failing_all(int (*op)(void), int *result)
{
	if (!write_text(FAILSLAB "task-filter", "Y") || !write_text(FAILSLAB "times", "-1") ||
	    !write_text(FAILSLAB "probability", "100") ||
	    !write_text("/proc/self/make-it-fail", "1"))
		fail_setup("make-it-fail");
	*result = op();
	if (!write_text("/proc/self/make-it-fail", "0") ||
	    !write_text(FAILSLAB "probability", "0"))
		fail_setup("make-it-fail");
}

#endif

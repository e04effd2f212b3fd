// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the tests and tells the results as TAP. One program tests one machine; the exit
 * status is 1 when a test failed.
 */
#include <string.h>

#include "pte.h"

#define TOLD	5	/* of the failures of one test; the others look the same */

struct stage stage;
unsigned long warnings;

static unsigned long failures;

/* Count a failure. True when the details are to be told, too. */
bool failed(const char *file, int line, const char *what)
{
	const char *base = strrchr(file, '/');

	if (failures++ >= TOLD)
		return false;
	printf("# %s:%d: not so: %s\n", base ? base + 1 : file, line, what);
	return true;
}

static unsigned int count(const struct test *tests)
{
	unsigned int nr = 0;

	while (tests[nr].run)
		nr++;
	return nr;
}

/* Every test runs on kernels with and without Accessed and Dirty in migration entries. */
static void run_test(const struct test *test)
{
	allow_migration_ad(false);
	test->run();
	allow_migration_ad(true);
	test->run();
	CHECK(!warnings, "%lu warnings", warnings);
	CHECK(!stage.strays, "%lu accesses out of bounds", stage.strays);
	warnings = 0;
	stage = (struct stage){};
}

int main(void)
{
	const struct test *suites[] = { leaf_tests, run_tests }, *test;
	unsigned int nr = 0, i;
	bool bad = false;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n1..%u\n", count(leaf_tests) + count(run_tests));
	for (i = 0; i < 2; i++) {
		for (test = suites[i]; test->run; test++) {
			failures = 0;
			run_test(test);
			if (failures > TOLD)
				printf("# and %lu failures more\n", failures - TOLD);
			printf("%s %u - %s\n", failures ? "not ok" : "ok", ++nr, test->name);
			bad |= failures;
		}
	}
	return bad;
}

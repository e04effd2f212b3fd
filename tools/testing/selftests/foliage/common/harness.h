/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kselftest harness, with more time for a test: an emulated debug kernel on a busy machine
 * can need several times the 30 seconds of the harness.
 */
#ifndef FOLIAGE_HARNESS_H
#define FOLIAGE_HARNESS_H

#include "../../kselftest_harness.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 240

/* TEST_HARNESS_MAIN of a race: the first argument can be how many seconds it goes on. */
#define RACE_HARNESS_MAIN(seconds)			\
int main(int argc, char **argv)				\
{							\
	if (argc > 1 && atoi(argv[1]) > 0) {		\
		(seconds) = atoi(argv[1]);		\
		argc--;					\
		argv++;					\
	}						\
	return test_harness_run(argc, argv);		\
}

#endif

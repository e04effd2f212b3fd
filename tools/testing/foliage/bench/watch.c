// SPDX-License-Identifier: GPL-2.0
/*
 * What a person runs, as a whole: pagewatch over the machine, which reads /proc/kpageflags,
 * kpagecount and the idle bitmap in large pieces. The program is beside this one in the build
 * folder (build/tools), or named by PAGEWATCH.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

static const char *program(void)
{
	static char path[PATH_MAX + 32];
	const char *named = getenv("PAGEWATCH");
	ssize_t n;

	if (named)
		return named;
	n = readlink("/proc/self/exe", path, PATH_MAX);
	if (n < 0)
		fail("/proc/self/exe cannot be read");
	path[n] = 0;
	/* build/bench/bench and build/tools/pagewatch */
	*strrchr(path, '/') = 0;
	strcat(path, "/../tools/pagewatch");
	return path;
}

static void run(char *const argv[])
{
	const char *path = program();
	pid_t pid;

	if (access(path, X_OK))
		fail("no %s: build it with 'make tools', or set PAGEWATCH", path);
	pid = must(fork());
	if (!pid) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, STDOUT_FILENO);
		execv(path, argv);
		_exit(127);
	}
	wait_child(pid);
}

static size_t frames(void)
{
	return sysconf(_SC_PHYS_PAGES);
}

void watch_types(struct bench *b)
{
	char *const argv[] = { "pagewatch", "types", NULL };

	meter_begin(b);
	run(argv);
	meter_end(b, frames());
}

/* The interval is a millisecond, which the meter counts as a million instructions. */
void watch_wss(struct bench *b)
{
	char *const argv[] = { "pagewatch", "wss", "--all", "-n", "1", "-i", "0.001", NULL };

	meter_begin(b);
	run(argv);
	meter_end(b, frames());
}

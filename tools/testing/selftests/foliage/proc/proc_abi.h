/* SPDX-License-Identifier: GPL-2.0 */
/* For the tests that take what the /proc files of pages say to the letter. */
#ifndef PROC_ABI_H
#define PROC_ABI_H

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include "proc.h"

/* What stock gets wrong, and tests of it are skipped for. */
static inline bool stock(void)
{
	struct utsname u;

	return uname(&u) || !strstr(u.release, "foliage");
}

static inline int open_or_die(const char *path)
{
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		fail_setup("%s", path);
	return fd;
}

static inline void *pages(size_t n)
{
	void *p = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fail_setup("mmap");
	return p;
}

/* The @n bytes before a page that cannot be written to. */
static inline char *before_the_edge(size_t n)
{
	char *p = pages(4);

	if (mprotect(p + 2 * PAGE, 2 * PAGE, PROT_NONE))
		fail_setup("mprotect");
	return p + 2 * PAGE - n;
}

#endif

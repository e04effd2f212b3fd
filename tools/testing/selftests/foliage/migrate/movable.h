/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The driver of lib/test_movable.c, driven from user space: its files, its counters, its pages;
 * and those who move its pages: compaction, and memory blocks that go offline.
 *
 * A kernel without the driver is given it as a module: the last argument of the program, or the
 * environment's TEST_MOVABLE.
 */
#ifndef FOLIAGE_MOVABLE_H
#define FOLIAGE_MOVABLE_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "foliage.h"

#define MOVABLE		"/sys/kernel/debug/test_movable/"
#define NODES		"/sys/devices/system/node/"
#define BLOCKS		"/sys/devices/system/memory/"

/* --- the driver ------------------------------------------------------------------------- */

/*
 * True if the driver is there, or could be loaded; the module's name is taken from the arguments.
 * Else the reason is in @why.
 */
static inline bool movable_load(int *argc, char **argv, char *why, size_t size)
{
	char *module = getenv("TEST_MOVABLE");
	size_t len = *argc > 1 ? strlen(argv[*argc - 1]) : 0;
	int fd;

	if (len > 3 && !strcmp(argv[*argc - 1] + len - 3, ".ko")) {
		module = argv[--*argc];
		argv[*argc] = NULL;
	}
	if (!access(MOVABLE "stat", R_OK))
		return true;
	if (!module) {
		snprintf(why, size, "no %s: CONFIG_TEST_MOVABLE is not set, give test_movable.ko as an argument",
			 MOVABLE);
		return false;
	}
	fd = open(module, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || syscall(SYS_finit_module, fd, "", 0)) {
		snprintf(why, size, "%s: %s", module, strerror(errno));
		return false;
	}
	close(fd);
	if (access(MOVABLE "stat", R_OK))
		snprintf(why, size, "%s: %s", MOVABLE, strerror(errno));
	return !access(MOVABLE "stat", R_OK);
}

/* Write to a file of the driver: 0 or the negative error. */
__attribute__((format(printf, 2, 3)))
static inline int movable_write(const char *file, const char *fmt, ...)
{
	char path[96], text[64];
	va_list ap;
	int fd, n, err;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(path, sizeof(path), MOVABLE "%s", file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = write(fd, text, n) == n ? 0 : -errno;
	close(fd);
	return err;
}

/* A line of the stat file. */
static inline long movable_stat(const char *name)
{
	char text[1024], *p = text;
	size_t len = strlen(name);

	if (!read_text(MOVABLE "stat", text, sizeof(text)))
		fail_setup(MOVABLE "stat");
	while (p && (strncmp(p, name, len) || p[len] != ' '))
		p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL;
	if (!p)
		fail_setup("no %s in " MOVABLE "stat", name);
	return strtol(p + len, NULL, 10);
}

/* Look at all pages' contents: how many pages there are, and in @wrong how many have changed. */
static inline long movable_verify(long *wrong)
{
	char text[96];
	long n;

	if (!read_text(MOVABLE "verify", text, sizeof(text)) ||
	    sscanf(text, "pages %ld wrong %ld", &n, wrong) != 2)
		fail_setup(MOVABLE "verify");
	return n;
}

/* No page, no order, counters at zero. */
static inline void movable_reset(void)
{
	static const char * const orders[] = {
		"fail_isolate", "fail_migrate", "release_isolated", "release_migrate",
	};

	for (size_t i = 0; i < sizeof(orders) / sizeof(*orders); i++)
		if (movable_write("order", "%s 0", orders[i]))
			fail_setup(MOVABLE "order");
	movable_write("delay_us", "0");
	movable_write("movable", "1");
	movable_write("hold", "none");
	movable_write("free", "all");
	movable_write("stat", "0");
}

/* A page of the driver's. */
struct movable_page {
	unsigned long number;
	uint64_t pfn;
	int node;
	bool movable, isolated, held;
};

/* All pages, by number; their count in @n. To be freed. */
static inline struct movable_page *movable_pages(size_t *n)
{
	struct movable_page *list = NULL, p;
	size_t room = 0;
	char flags[8];
	FILE *f = fopen(MOVABLE "pages", "re");

	if (!f)
		fail_setup(MOVABLE "pages");
	*n = 0;
	while (fscanf(f, "%lu %lu %d %7s", &p.number, &p.pfn, &p.node, flags) == 4) {
		p.movable = flags[0] == 'm';
		p.isolated = flags[1] == 'i';
		p.held = flags[2] == 'h';
		if (*n == room) {
			room = 2 * room + 1024;
			list = realloc(list, room * sizeof(*list));
			if (!list)
				fail_setup("memory");
		}
		list[(*n)++] = p;
	}
	fclose(f);
	return list;
}

/*
 * From now on nobody compacts memory but who is told to, and freed pages do not wait by the tens of
 * thousands in lists of the processors, where compaction cannot see that they are free.
 */
static inline void compaction_alone(bool on)
{
	if (!write_text("/proc/sys/vm/percpu_pagelist_high_fraction", on ? "1000000" : "0") ||
	    !write_text("/proc/sys/vm/compaction_proactiveness", on ? "0" : "20"))
		fail_setup("/proc/sys/vm");
}

/* For atexit(). */
static inline void compaction_as_usual(void)
{
	compaction_alone(false);
}

/*
 * @count pages on @node of which one of @keep is kept, so that there are holes for compaction to
 * fill. An odd number: compaction looks for free pages in steps of powers of two, and finds none
 * where they come at every second place. Wants compaction_alone().
 */
static inline void movable_spread(long count, int node, int keep)
{
	if (movable_write("alloc", "%ld %d", count, node))
		fail_setup("%ld pages of the driver on node %d", count, node);
	if (keep > 1 && movable_write("free", "keep %d", keep))
		fail_setup(MOVABLE "free");
}

/* --- after a test --------------------------------------------------------------------- */

/* The number behind @name in a file. */
static inline long field_of(const char *path, const char *name)
{
	static char text[65536];
	char *p;

	if (!read_text(path, text, sizeof(text)))
		fail_setup("%s", path);
	p = strstr(text, name);
	return p ? strtol(p + strlen(name), NULL, 10) : 0;
}

static inline long vm_count(const char *name)
{
	char line[64];

	write_text("/proc/sys/vm/stat_refresh", "1");
	snprintf(line, sizeof(line), "\n%s ", name);
	return field_of("/proc/vmstat", line);
}

/* Only pages of LRU lists are counted as isolated; somebody else may have some of them. */
static inline bool nothing_isolated(void)
{
	for (int i = 0; i < 100; i++) {
		if (!vm_count("nr_isolated_anon") && !vm_count("nr_isolated_file"))
			return true;
		usleep(100000);
	}
	return false;
}

/*
 * For tests with the kselftest harness: contents are right, nobody broke the contract, and every
 * isolation has ended in one of its three ways.
 */
#define EXPECT_CONSISTENT() do {								\
	long wrong_;										\
												\
	EXPECT_EQ(movable_stat("broken"), 0);							\
	EXPECT_EQ(movable_stat("isolated_now"), 0);						\
	EXPECT_EQ(movable_stat("isolate_ok"), movable_stat("migrate_ok") +			\
		  movable_stat("putback") + movable_stat("released_isolated"));			\
	EXPECT_EQ(movable_verify(&wrong_), movable_stat("allocated") - movable_stat("freed"));	\
	EXPECT_EQ(wrong_, 0);									\
	EXPECT_TRUE(nothing_isolated());							\
} while (0)

/* --- those who move --------------------------------------------------------------------- */

static inline bool compact_all(void)
{
	return write_text("/proc/sys/vm/compact_memory", "1");
}

static inline bool compact_node(int node)
{
	char path[96];

	snprintf(path, sizeof(path), NODES "node%d/compact", node);
	return write_text(path, "1");
}

/* The last node with memory. */
static inline int last_node(void)
{
	char path[96];
	int node = 0;

	for (int i = 0; i < 8; i++) {
		snprintf(path, sizeof(path), NODES "node%d/meminfo", i);
		if (!access(path, R_OK))
			node = i;
	}
	return node;
}

/* Pages of a memory block; 0 if the kernel has none. */
static inline uint64_t block_pages(void)
{
	char text[64];

	if (!read_text(BLOCKS "block_size_bytes", text, sizeof(text)))
		return 0;
	return strtoull(text, NULL, 16) / PAGE;
}

/* Change a block's state: 0 or the negative error. */
static inline int block_set(long block, const char *state)
{
	char path[96];
	int fd, err;

	snprintf(path, sizeof(path), BLOCKS "memory%ld/state", block);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = write(fd, state, strlen(state)) < 0 ? -errno : 0;
	close(fd);
	return err;
}

static inline bool block_online(long block)
{
	char path[96], text[32];

	snprintf(path, sizeof(path), BLOCKS "memory%ld/state", block);
	return read_text(path, text, sizeof(text)) && !strcmp(text, "online\n");
}

/*
 * A block of @node in a zone that only movable pages come from, and first of all: what can be
 * moved, and is allocated on the node next, lies in this block. -1 if no block can be had.
 */
static inline long block_make_movable(int node)
{
	char path[96];

	for (long block = 4096; block > 0; block--) {
		snprintf(path, sizeof(path), NODES "node%d/memory%ld", node, block);
		if (access(path, F_OK) || block_set(block, "offline"))
			continue;
		if (!block_set(block, "online_movable"))
			return block;
		block_set(block, "online");
	}
	return -1;
}

/* Give the block back to the zone that it came from. */
static inline int block_restore(long block)
{
	if (block_online(block))
		block_set(block, "offline");
	return block_set(block, "online_kernel");
}

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The parts of lru_isolated: the process on the isolated CPU and the tests (lru_isolated.c), what
 * tells of a disturbance (lru_isolated_eyes.c), and the operations (lru_isolated_ops.c).
 */
#ifndef FOLIAGE_LRU_ISOLATED_H
#define FOLIAGE_LRU_ISOLATED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PM_PRESENT	(1ULL << 63)
#define PM_SWAP		(1ULL << 62)
#define PM_FRAME	((1ULL << 55) - 1)

#define THP		"/sys/kernel/mm/transparent_hugepage/"
#define CGROUP		"/sys/fs/cgroup/lru_isolated"

/* --- lru_isolated.c --------------------------------------------------------------------- */

extern int cpu;		/* the isolated one */
extern pid_t spinner;	/* runs there */

/* Memory that begins at a huge page of its own. */
char *map_anon(size_t bytes);
/* @pid is to run on one CPU, or below 0 on all that are not isolated. */
void pin(pid_t pid, int to);
uint64_t map_entry(pid_t pid, const char *addr);

/* --- lru_isolated_eyes.c ---------------------------------------------------------------- */

#define MAX_ROWS	256

struct row {
	char name[24];
	unsigned long count;
};

struct snapshot {
	struct row rows[MAX_ROWS];
	int nr;
};

void start_traces(void);
void stop_traces(void);
void clear_traces(void);
/* Events of both traces that contain @want; up to @show lines of them are printed. */
int read_traces(int show, const char *want);
void look(struct snapshot *s);
/* How many counters moved; each is printed if @show. */
int moved(const struct snapshot *a, const struct snapshot *b, bool show);
/* Wait until what went before has no more consequences. */
bool quiet(void);

/* --- lru_isolated_ops.c ----------------------------------------------------------------- */

/* Not all kinds suit every operation. */
enum { ADD = 1, LOCKED = 2, ACTIVATE = 4, ALL = ADD | LOCKED | ACTIVATE };

struct test {
	const char *name;
	bool (*run)(void);
	bool (*rehearse)(void);	/* where it is not @run itself */
	unsigned int kinds;
	bool drains;		/* the pages must be on their lists afterwards */
};

extern const struct test tests[];
extern const size_t nr_tests;

/* The memory that the operations work on, and a process with a copy of it. */
void make_work(void);
void end_work(void);

#endif

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pagewatch top: what is measured (top_sweep.c), and how it is shown (top.c).
 */
#ifndef TOP_H
#define TOP_H

#include "pagewatch.h"

#define TOP_HISTORY	10

/* A process, or all processes of a cgroup. */
struct top_row {
	pid_t pid;		/* 0: a cgroup */
	char *name;
	uint64_t rss;		/* in bytes, as the others */
	uint64_t referenced;
	uint64_t idle;
	uint64_t huge;
	uint64_t swapped;
	unsigned char history[TOP_HISTORY];	/* share referenced, 1 to 101; 0: not known */
	bool seen;		/* in the sweep at hand */
};

struct top_rows {
	struct top_row *row;
	size_t nr;
};

/* One mapping of the process that was picked. */
struct top_range {
	uint64_t start;
	uint64_t end;
	char perms[5];
	char *name;
	struct tally tally;
};

struct top {
	struct watch watch;
	double interval;	/* that was asked for */
	double budget;		/* of a CPU, as a share */
	double wait;		/* to the next sweep, by both */
	double cost;		/* seconds of a CPU for the last sweep */
	unsigned int sweeps;
	struct top_rows processes;
	struct top_rows cgroups;
	pid_t picked;		/* whose ranges are wanted; 0: nobody's */
	struct top_range *range;
	size_t nr_ranges;
	bool ranges_known;
};

int top_begin(struct top *t);
int top_sweep(struct top *t);
void top_forget_ranges(struct top *t);
void top_end(struct top *t);

#endif

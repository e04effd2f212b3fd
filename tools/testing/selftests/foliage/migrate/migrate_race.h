/* SPDX-License-Identifier: GPL-2.0 */
/* Pages that move while something else happens to them: one scene for each such thing. */
#ifndef MIGRATE_RACE_H
#define MIGRATE_RACE_H

#include <stdatomic.h>

#include "../../kselftest.h"
#include "migrate.h"

#define PAGES		512UL
#define SPAN		(PAGES * PAGE)
#define MAX_EXTRA	4

struct race {
	const struct scene *scene;
	char *_Atomic p;
	char *room;		/* address space for twice the memory and more */
	uint64_t want[PAGES];	/* 0: an empty page */
	unsigned int seed;
	int fd, direct, uffd, gup;
	atomic_ulong times;
	atomic_int extras;
};

struct scene {
	const char *name;
	void (*make)(struct race *r);
	void (*op)(struct race *r);
	void (*extra)(struct race *r, int nr);	/* a step of another thread */
	int extras;
	bool pages_go;		/* then nobody can read them without care */
	const char *also;	/* a line of vmstat that has to grow */
};

/* In migrate_race_ops.c. */
extern const struct scene scenes[];
extern const size_t nr_scenes;

/* In migrate_race.c: the time is over. */
extern atomic_bool stop;

static inline volatile uint64_t *word(char *p, size_t page, size_t nr)
{
	return (volatile uint64_t *)(p + page * PAGE) + nr;
}

/* Says so and ends the process. */
void wrong(const char *what, size_t page, uint64_t got, uint64_t want);

#endif

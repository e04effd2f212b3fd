// SPDX-License-Identifier: GPL-2.0
/*
 * Everything that may happen to huge pages, at once, by threads and forked children; and memory that
 * must hold what was written there. Argument: seconds.
 *
 * Each worker has huge pages of its own, whose contents it knows, and does to them what it likes;
 * "others" split, compact, move and shrink whatever they find.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define WITH_KHUGEPAGED
#include "thp.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

#define WORKERS	3

static volatile bool stop;
static long wrong, rounds;
static char shape[WORKERS][PAGES];	/* 1: must hold its number; 0: zeroes; 2: either */

struct worker {
	int n;
	unsigned int seed;
	char *p;
	char *model;
};

static unsigned int pick(struct worker *w, unsigned int n)
{
	return rand_r(&w->seed) % n;
}

static void check(struct worker *w, const char *after)
{
	for (size_t i = 0; i < PAGES; i++) {
		const char *page = w->p + i * PAGE;
		bool full = thp_page_is(page, i), zero = !*(volatile uint64_t *)page;

		if ((w->model[i] == 1 && !full) || (w->model[i] == 0 && !zero) || (!full && !zero)) {
			printf("# worker %d, after %s: page %zu holds %lx, model %d\n", w->n, after, i,
			       *(volatile uint64_t *)page, w->model[i]);
			__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
			stop = true;
			return;
		}
	}
}

/* Where an operation takes place. */
struct part {
	size_t first;
	size_t nr;
	char *at;
	size_t len;
};

static void op_write(struct worker *w, const struct part *p)
{
	for (size_t i = p->first; i < p->first + p->nr; i++) {
		*(volatile uint64_t *)(w->p + i * PAGE) = i + 1;
		*(volatile uint64_t *)(w->p + i * PAGE + PAGE - 8) = ~(i + 1);
		w->model[i] = 1;
	}
}

static void op_read(struct worker *w, const struct part *p)
{
}

static void op_fork(struct worker *w, const struct part *p)
{
	pid_t pid = fork();

	if (!pid) {
		for (int i = 0; i < 8; i++)
			*(volatile uint64_t *)(w->p + pick(w, PAGES) * PAGE) = 99;
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static void op_drop(struct worker *w, const struct part *p)
{
	if (!madvise(p->at, p->len, MADV_DONTNEED))
		memset(w->model + p->first, 0, p->nr);
}

/* A page that was not written since may be what it was, or zeroes. */
static void op_free(struct worker *w, const struct part *p)
{
	if (madvise(p->at, p->len, MADV_FREE))
		return;
	for (size_t i = p->first; i < p->first + p->nr; i++)
		w->model[i] = w->model[i] ? 2 : 0;
}

static void op_protect(struct worker *w, const struct part *p)
{
	mprotect(p->at, p->len, PROT_READ);
	mprotect(p->at, p->len, RW);
}

static void op_remap(struct worker *w, const struct part *p)
{
	char *q = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (mremap(w->p, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, q) == MAP_FAILED) {
		munmap(q - HUGE, 3 * HUGE);
		return;
	}
	munmap(w->p - HUGE, HUGE);
	munmap(w->p + HUGE, HUGE);
	w->p = q;
}

static void op_collapse(struct worker *w, const struct part *p)
{
	madvise(w->p, HUGE, MADV_COLLAPSE);
}

static void op_split(struct worker *w, const struct part *p)
{
	split_range(p->at, p->nr, (int)(pick(w, 8) + 1) & ~1);
}

static void op_move(struct worker *w, const struct part *p)
{
	int node = pick(w, 2), status;
	void *at = p->at;

	syscall(SYS_move_pages, 0, 1, &at, &node, &status, 2);
}

static void op_cold(struct worker *w, const struct part *p)
{
	madvise(p->at, p->len, MADV_COLD);
}

static void op_out(struct worker *w, const struct part *p)
{
	madvise(p->at, p->len, MADV_PAGEOUT);
}

static void op_lock(struct worker *w, const struct part *p)
{
	mlock(p->at, p->len);
	munlock(p->at, p->len);
}

static void op_clear_refs(struct worker *w, const struct part *p)
{
	write_text("/proc/self/clear_refs", pick(w, 2) ? "4" : "1");
}

static const struct {
	const char *name;
	void (*call)(struct worker *w, const struct part *p);
} ops[] = {
	{ "write", op_write }, { "read", op_read }, { "fork", op_fork }, { "MADV_DONTNEED", op_drop },
	{ "MADV_FREE", op_free }, { "mprotect", op_protect }, { "mremap", op_remap },
	{ "MADV_COLLAPSE", op_collapse }, { "split", op_split }, { "move_pages", op_move }, { "MADV_COLD", op_cold },
	{ "MADV_PAGEOUT", op_out }, { "mlock", op_lock }, { "clear_refs", op_clear_refs },
};

/* All of it, from somewhere on, or some pages. */
static struct part pick_part(struct worker *w)
{
	struct part p = { .first = pick(w, 4) ? pick(w, PAGES) : 0 };

	p.nr = pick(w, 4) ? 1 + pick(w, PAGES - p.first) : PAGES - p.first;
	p.at = w->p + p.first * PAGE;
	p.len = p.nr * PAGE;
	return p;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	w->p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	while (!stop) {
		unsigned int op = pick(w, ARRAY_SIZE(ops));
		struct part p = pick_part(w);

		ops[op].call(w, &p);
		check(w, ops[op].name);
		__atomic_fetch_add(&rounds, 1, __ATOMIC_RELAXED);
	}
	munmap(w->p - HUGE, 3 * HUGE);
	return NULL;
}

static void *others(void *arg)
{
	unsigned int seed = 5;

	while (!stop) {
		unsigned int what = rand_r(&seed) % 4;

		if (what == 0)
			split_write("1");
		else if (what == 1)
			write_text("/proc/sys/vm/compact_memory", "1");
		else if (what == 2)
			write_text("/proc/sys/vm/drop_caches", "2");
		else
			usleep(20000);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 10;
	long partial = size_count("2048kB", "nr_anon_partially_mapped");
	struct worker w[WORKERS];
	pthread_t t[WORKERS + 1];
	time_t end = time(NULL) + seconds;
	bool ok;

	need_swap();
	printf("TAP version 13\n1..2\n");
	for (int i = 0; i < WORKERS; i++) {
		w[i] = (struct worker){ .n = i, .seed = time(NULL) + i, .model = shape[i] };
		pthread_create(&t[i], NULL, work, &w[i]);
	}
	pthread_create(&t[WORKERS], NULL, others, NULL);
	while (!stop && time(NULL) < end)
		usleep(100000);
	stop = true;
	for (int i = 0; i <= WORKERS; i++)
		pthread_join(t[i], NULL);
	printf("# %ld rounds\n", rounds);
	printf("%sok 1 contents\n", wrong || !rounds ? "not " : "");
	settle_lru();
	ok = size_count("2048kB", "nr_anon_partially_mapped") == partial;
	printf("%sok 2 nothing stays counted as partially mapped\n", ok ? "" : "not ");
	return wrong || !rounds || !ok;
}

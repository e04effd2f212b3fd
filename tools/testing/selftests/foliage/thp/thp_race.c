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

static void write_some(struct worker *w, size_t first, size_t nr)
{
	for (size_t i = first; i < first + nr; i++) {
		*(volatile uint64_t *)(w->p + i * PAGE) = i + 1;
		*(volatile uint64_t *)(w->p + i * PAGE + PAGE - 8) = ~(i + 1);
		w->model[i] = 1;
	}
}

static void fork_some(struct worker *w)
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

static void move_some(struct worker *w)
{
	void *at = w->p + pick(w, PAGES) * PAGE;
	int node = pick(w, 2), status;

	syscall(SYS_move_pages, 0, 1, &at, &node, &status, 2);
}

static void remap(struct worker *w)
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

enum op { WRITE, READ, FORK, DROP, FREE, PROTECT, REMAP, COLLAPSE, SPLIT, MOVE, COLD, OUT, LOCK, SOFT, NR_OPS };
static const char *const names[] = { "write", "read", "fork", "MADV_DONTNEED", "MADV_FREE", "mprotect", "mremap",
	"MADV_COLLAPSE", "split", "move_pages", "MADV_COLD", "MADV_PAGEOUT", "mlock", "clear_refs" };

static void one(struct worker *w, enum op op)
{
	size_t first = pick(w, 4) ? pick(w, PAGES) : 0, nr = pick(w, 4) ? 1 + pick(w, PAGES - first) : PAGES - first;
	char *at = w->p + first * PAGE;

	switch (op) {
	case WRITE: write_some(w, first, nr); break;
	case READ: break;
	case FORK: fork_some(w); break;
	case DROP:
		if (!madvise(at, nr * PAGE, MADV_DONTNEED))
			memset(w->model + first, 0, nr);
		break;
	case FREE:
		/* A page that was not written since may be what it was, or zeroes. */
		if (!madvise(at, nr * PAGE, MADV_FREE))
			for (size_t i = first; i < first + nr; i++)
				w->model[i] = w->model[i] ? 2 : 0;
		break;
	case PROTECT:
		mprotect(at, nr * PAGE, PROT_READ);
		mprotect(at, nr * PAGE, RW);
		break;
	case REMAP: remap(w); break;
	case COLLAPSE: madvise(w->p, HUGE, MADV_COLLAPSE); break;
	case SPLIT: split_range(at, nr, (int)(pick(w, 8) + 1) & ~1); break;
	case MOVE: move_some(w); break;
	case COLD: madvise(at, nr * PAGE, MADV_COLD); break;
	case OUT: madvise(at, nr * PAGE, MADV_PAGEOUT); break;
	case LOCK: mlock(at, nr * PAGE); munlock(at, nr * PAGE); break;
	case SOFT: write_text("/proc/self/clear_refs", pick(w, 2) ? "4" : "1"); break;
	default: break;
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;

	w->p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	while (!stop) {
		enum op op = pick(w, NR_OPS);

		one(w, op);
		check(w, names[op]);
		__atomic_fetch_add(&rounds, 1, __ATOMIC_RELAXED);
	}
	munmap(w->p - HUGE, 3 * HUGE);
	return NULL;
}

static void *others(void *arg)
{
	unsigned int seed = 5;

	(void)arg;
	while (!stop) {
		switch (rand_r(&seed) % 4) {
		case 0: split_write("1"); break;
		case 1: write_text("/proc/sys/vm/compact_memory", "1"); break;
		case 2: write_text("/proc/sys/vm/drop_caches", "2"); break;
		case 3: usleep(20000); break;
		}
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

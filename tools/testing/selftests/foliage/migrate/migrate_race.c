// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that move while something else happens to them. Two threads move the pages of a region
 * between the nodes, a third compacts all memory, a fourth reads all pages all the time, and a
 * fifth does one thing after the other to them: one process for each such thing. Every page holds
 * its number, and a word that changes with each write; what it should be is known.
 *
 *	argument 1: rounds (default 4); a race runs until so many hundred pages have moved and so
 *	often the other thing has happened
 *	argument 2: name of a race, if it is to be the only one
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>

#include "migrate_race.h"

#define MOVES		500	/* pages a round */
#define TIMES		10	/* other things a round */
#define CAP_SECONDS	150

atomic_bool stop;
static int rounds = 4;

void wrong(const char *what, size_t page, uint64_t got, uint64_t want)
{
	fprintf(stderr, "# %s: page %zu holds %#llx, not %#llx\n", what, page,
		(unsigned long long)got, (unsigned long long)want);
	_exit(1);
}

static void *mover(void *arg)
{
	struct race *r = arg;
	unsigned int seed = (uintptr_t)&seed;

	for (int node = 0; !atomic_load(&stop); node = !node) {
		size_t from = rand_r(&seed) % PAGES, n = 1 + rand_r(&seed) % (PAGES - from);

		if (rand_r(&seed) % 4 == 0) {
			from = 0;
			n = PAGES;
		}
		move_range(r->p + from * PAGE, n, 1, node, MOVE_ALL);
		/* Two movers and a reader would leave the others no time on a small machine. */
		usleep(500);
	}
	return NULL;
}

static void *compactor(void *arg)
{
	while (!atomic_load(&stop)) {
		write_text("/proc/sys/vm/compact_memory", "1");
		for (int i = 0; i < 20 && !atomic_load(&stop); i++)
			usleep(50000);
	}
	return NULL;
}

static void *reader(void *arg)
{
	struct race *r = arg;

	while (!atomic_load(&stop) && !r->scene->pages_go)
		for (size_t i = 0; i < PAGES; i++)
			if (*word(r->p, i, 1) != i + 1)
				wrong("number", i, *word(r->p, i, 1), i + 1);
	return NULL;
}

static void *operator(void *arg)
{
	struct race *r = arg;

	while (!atomic_load(&stop)) {
		r->scene->op(r);
		r->times++;
	}
	return NULL;
}

/* It goes on until the operator is done, who may wait for it. */
static atomic_bool stop_extra;

static void *extra(void *arg)
{
	struct race *r = arg;
	int nr = r->extras++;

	while (!atomic_load(&stop_extra))
		r->scene->extra(r, nr);
	return NULL;
}

static pthread_t started(void *(*fn)(void *), void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, fn, arg))
		fail_setup("thread");
	return thread;
}

/* Until enough has happened; false if it has not. */
static bool run_until_enough(struct race *r, long *moved, long *also)
{
	const char *line = r->scene->also;
	long moved0 = vm_count("pgmigrate_success"), also0 = line ? vm_count(line) : 0;
	time_t end = time(NULL) + CAP_SECONDS;

	do {
		usleep(50000);
		*moved = vm_count("pgmigrate_success") - moved0;
		*also = line ? vm_count(line) - also0 : rounds;
		if (*moved >= rounds * MOVES && r->times >= rounds * TIMES && *also >= rounds)
			return true;
	} while (time(NULL) < end);
	return false;
}

static int race(const struct scene *scene)
{
	struct race *r = calloc(1, sizeof(*r));
	pthread_t threads[5 + MAX_EXTRA];
	time_t began = time(NULL);
	long moved, also;
	int n = 0;
	bool enough;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	r->scene = scene;
	r->seed = time(NULL);
	r->fd = r->direct = r->uffd = r->gup = -1;
	scene->make(r);
	for (int i = 0; i < scene->extras; i++)
		threads[5 + i] = started(extra, r);
	threads[n++] = started(operator, r);
	threads[n++] = started(mover, r);
	threads[n++] = started(mover, r);
	threads[n++] = started(compactor, r);
	threads[n++] = started(reader, r);
	enough = run_until_enough(r, &moved, &also);
	stop = true;
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	scene->op(r);
	stop_extra = true;
	for (int i = 0; i < scene->extras; i++)
		pthread_join(threads[5 + i], NULL);
	printf("# %s: %ld pages moved, %lu times in %ld s", scene->name, moved, r->times,
	       (long)(time(NULL) - began));
	if (scene->also)
		printf(", %s %ld", scene->also, also);
	printf("\n");
	fflush(stdout);
	return enough ? 0 : 3;
}

static long settled(const char *name, long want)
{
	for (int i = 0; i < 100 && vm_count(name) != want; i++) {
		settle_lru();
		usleep(50000);
	}
	return vm_count(name);
}

int main(int argc, char **argv)
{
	const char *only = argc > 2 ? argv[2] : NULL;
	long mlocked;
	int status;

	setbuf(stdout, NULL);
	if (argc > 1)
		rounds = atoi(argv[1]);
	if (rounds < 1)
		rounds = 1;
	ksft_print_header();
	ksft_set_plan((only ? 1 : nr_scenes) + 2);
	need_swap();
	mlocked = vm_count("nr_mlock");
	for (size_t i = 0; i < nr_scenes; i++) {
		pid_t pid;

		if (only && strcmp(only, scenes[i].name))
			continue;
		pid = fork();
		if (!pid)
			_exit(race(&scenes[i]));
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			fail_setup("fork");
		write_text(KSM_DIR "run", "0");
		ksft_test_result(!status, "%s (status %d)\n", scenes[i].name, status);
	}
	ksft_test_result(!settled("nr_isolated_anon", 0) && !settled("nr_isolated_file", 0),
			 "no page is left isolated\n");
	ksft_test_result(settled("nr_mlock", mlocked) == mlocked, "no page is left locked\n");
	ksft_finished();
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages that were given to MADV_FREE are reclaimed while their mapping goes. Reclaim may find
 * that such a page is still in use and leave it where it was. It must not take the mapping away for
 * that moment: MADV_DONTNEED and exit pass over what is not mapped without waiting, so that memory
 * that was dropped is there again, or is left over when its page tables are freed.
 *
 * A page that a pipe holds is in use, so that reclaim always has to leave it.
 *
 *	argument 1: seconds for each of the two races (default 4)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest.h"
#include "foliage.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

#define HEAD		512UL	/* pages of a huge page */
#define PM_PRESENT	(1ULL << 63)

static char *room;
static int hold[2];
static int seconds;

/* A huge page that may go, but for the page that the pipe holds. */
static void free_lazily(bool held)
{
	struct iovec iov = { room + 8, 8 };

	for (size_t i = 0; i < HEAD; i += 64)
		*(volatile uint64_t *)(room + i * PAGE) = i + 1;
	if (held && vmsplice(hold[1], &iov, 1, 0) != 8)
		fail_setup("vmsplice");
	if (madvise(room, HUGE, MADV_FREE))
		fail_setup("MADV_FREE");
}

static void let_go(void)
{
	char buf[8];

	if (read(hold[0], buf, 8) != 8)
		fail_setup("pipe");
}

static long anon_huge_kib(void)
{
	static char text[8192];
	char *p;

	if (!read_text("/proc/meminfo", text, sizeof(text)))
		fail_setup("meminfo");
	p = strstr(text, "AnonHugePages:");
	return p ? atol(p + 14) : -1;
}

/* --- against MADV_DONTNEED ---------------------------------------------------------------- */

static atomic_bool stop;
static atomic_long reclaims, seen_there;

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *reclaimer(void *arg)
{
	on_cpu(1);
	while (!stop) {
		madvise(room, HUGE, MADV_PAGEOUT);
		reclaims++;
	}
	return NULL;
}

static void *looker(void *arg)
{
	static uint64_t map[HEAD];
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0)
		fail_setup("pagemap");
	while (!stop) {
		if (pread(fd, map, sizeof(map), (uintptr_t)room / PAGE * 8) != sizeof(map))
			fail_setup("pagemap");
		for (size_t i = 0; i < HEAD; i++)
			seen_there += !!(map[i] & PM_PRESENT);
		usleep(1000);
	}
	close(fd);
	return NULL;
}

static size_t not_zero(void)
{
	size_t n = 0;

	for (size_t i = 0; i < HEAD; i += 64)
		n += !!*(volatile uint64_t *)(room + i * PAGE);
	return n;
}

/* Of any order of magnitude, as nobody knows how fast this machine is. */
static void wait_a_little(unsigned int *seed)
{
	unsigned int n = rand_r(seed) % (1U << rand_r(seed) % 16);

	for (volatile unsigned int i = 0; i < n; i++)
		;
}

/* Rounds in which something was there that had been dropped. */
static long drop_while_reclaimed(long *rounds)
{
	time_t end = time(NULL) + seconds;
	unsigned int seed = 1;
	pthread_t thread[2];
	long bad = 0;

	on_cpu(0);
	if (pthread_create(&thread[0], NULL, reclaimer, NULL) ||
	    pthread_create(&thread[1], NULL, looker, NULL))
		fail_setup("threads");
	for (*rounds = 0; time(NULL) < end; ++*rounds) {
		bool held = *rounds % 8;

		free_lazily(held);
		wait_a_little(&seed);
		madvise(room, HUGE, MADV_DONTNEED);
		bad += !!not_zero();
		madvise(room, HUGE, MADV_DONTNEED);
		if (held)
			let_go();
	}
	stop = true;
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	return bad;
}

/* --- against exit ------------------------------------------------------------------------- */

static void reclaim_forever(const char *cgroup)
{
	char path[300];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	on_cpu(1);
	snprintf(path, sizeof(path), "%s/memory.reclaim", cgroup);
	for (;;)
		write_text(path, "2M");
}

static void exit_while_reclaimed(const char *cgroup, long *rounds)
{
	time_t end = time(NULL) + seconds;
	unsigned int seed = 1;
	pid_t reclaim = fork();

	if (!reclaim)
		reclaim_forever(cgroup);
	on_cpu(0);
	for (*rounds = 0; time(NULL) < end; ++*rounds) {
		pid_t pid = fork();

		if (!pid) {
			char path[300];

			snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
			write_text(path, "0");
			free_lazily(true);
			seed += getpid();
			wait_a_little(&seed);
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			fail_setup("fork");
		let_go();
	}
	kill(reclaim, SIGKILL);
	waitpid(reclaim, NULL, 0);
}

/* Lines of the kernel's log with @what. */
static int log_lines(const char *what)
{
	static char text[1 << 20];
	int n = 0, len = klogctl(3, text, sizeof(text) - 1);

	text[len > 0 ? len : 0] = 0;
	for (char *p = text; (p = strstr(p, what)); p++)
		n++;
	return n;
}

int main(int argc, char **argv)
{
	int bad_pmds = log_lines("bad pmd"), bad_pages = log_lines("Bad ");
	char cgroup[256] = "/sys/fs/cgroup/rmap_lazyfree";
	long before, rounds, bad, after = 0;

	seconds = argc > 1 ? atoi(argv[1]) : 4;
	ksft_print_header();
	ksft_set_plan(3);
	need_swap();
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		ksft_exit_skip("one processor\n");
	if (pipe(hold))
		fail_setup("pipe");
	room = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED)
		fail_setup("memory");
	room = (char *)(((uintptr_t)room + HUGE - 1) & -HUGE);
	madvise(room, HUGE, MADV_HUGEPAGE);
	settle_lru();
	before = anon_huge_kib();

	bad = drop_while_reclaimed(&rounds);
	ksft_test_result(!bad && reclaims && seen_there,
			 "what is dropped is gone (not in %ld of %ld rounds, %ld reclaims)\n",
			 bad, rounds, (long)reclaims);
	enter_cgroup("rmap_lazyfree", cgroup, sizeof(cgroup));
	write_text("/sys/fs/cgroup/cgroup.procs", "0");
	exit_while_reclaimed(cgroup, &rounds);
	for (int i = 0; i < 50; i++) {
		settle_lru();
		after = anon_huge_kib();
		if (after <= before)
			break;
		usleep(100000);
	}
	ksft_test_result(after <= before, "no huge page is left (%ld KiB, %ld before, %ld exits)\n",
			 after, before, rounds);
	bad_pmds = log_lines("bad pmd") - bad_pmds;
	bad_pages = log_lines("Bad ") - bad_pages;
	ksft_test_result(!bad_pmds && !bad_pages, "the kernel is silent (%d and %d lines)\n",
			 bad_pmds, bad_pages);
	leave_cgroup(cgroup);
	ksft_finished();
}

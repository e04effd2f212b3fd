// SPDX-License-Identifier: GPL-2.0
/*
 * Memory management on other CPUs leaves an isolated CPU alone, even while that CPU's LRU batches
 * hold pages. A process spins there in user space; around each operation, done elsewhere, all
 * that could tell of a disturbance is read: the CPU's interrupts, its calls of the scheduler, the
 * context switches of the process, and a trace of whatever runs on the CPU or is sent to it.
 *
 * The process has put pages into its CPU's batches before: fresh anonymous ones, fresh ones in a
 * locked mapping, and one of a file that is to become active. An operation that needs them on the
 * lists must find them there, so for each test the pages are looked at before and after.
 *
 * Stock drains by a work item on every CPU whose batches are not empty: where the table of the
 * operations (lru_isolated_ops.c) says DRAINS a kworker runs, and the test fails there; the
 * operation even waits for a second or so until the scheduler takes the CPU from the real-time
 * process.
 *
 * What disturbs an isolated CPU on any kernel and has nothing to do with the LRU is kept out:
 *  - code is patched when a feature is first used, and a CPU's cached slabs are flushed when memory
 *    goes offline: so each operation is rehearsed. Between the rehearsal and the test the process
 *    only faults pages and reads: that allocates nothing from slabs.
 *  - collapse into a huge page interrupts all CPUs to wait for walkers without locks: so
 *    MADV_COLLAPSE is given memory that is huge already, and khugepaged none to collapse.
 *  - pages of the process itself would be flushed from its TLB if they moved: it is locked, its
 *    memory is on the other node, and whole-machine compaction finds only locked pages.
 *  - the local timer may tick now and then: its interrupt is not counted. Those of devices are sent
 *    to other CPUs first, and so are kcompactd and kswapd.
 *  - the scheduler looks once a second at a CPU with a task of the default class, lest the task
 *    starve: the process is a real-time one, as control loops are.
 *
 * It needs a guest of its own: isolcpus=nohz,domain,managed_irq,3 nohz_full=3 rcu_nocbs=3.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest.h"
#include "foliage.h"
#include "lru_isolated.h"

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT	1
#endif

#define KPF_ACTIVE	6
#define KPF_UNEVICTABLE	18

#define FRESH		4		/* pages of a kind per test: fewer than a batch holds */
#define POOL		(4UL << 20)	/* of each kind: enough for all tests */
#define POOL_PAGES	(POOL / PAGE)

/*
 * What this process and the one on the isolated CPU share. One writes an order, the other answers
 * with it; @beats counts while it spins.
 */
struct control {
	atomic_uint order;
	atomic_uint answer;
	atomic_uint kinds;
	atomic_uint quit;
	atomic_ulong beats;
	atomic_ulong gap;	/* the longest time between two of them, in ticks of the TSC */
	char *add_pool;
	char *locked_pool;
};

/*
 * The memory of the isolated process: two pools of its own and a file. The pages of a test follow
 * those of the last one.
 */
static struct control *control;
static int file;
static char *file_pages;	/* where this process sees them */
static size_t next_page;
pid_t spinner;
int cpu;

/*
 * Part 1: the process on the isolated CPU
 */

static unsigned long ticks(void)
{
	return __builtin_ia32_rdtsc();
}

/* Only faults and reads: see the top of the file. */
static void refill(unsigned int kinds, size_t first)
{
	char c;

	for (size_t i = first; i < first + FRESH; i++) {
		if (kinds & ADD)
			*(volatile char *)(control->add_pool + i * PAGE) = 1;
		if (kinds & LOCKED)
			*(volatile char *)(control->locked_pool + i * PAGE) = 1;
	}
	/* Once to be referenced, and then to be active. */
	for (int i = 0; i < 2 && kinds & ACTIVATE; i++)
		if (pread(file, &c, 1, first * PAGE) != 1)
			_exit(1);
}

static void spin(void)
{
	unsigned long last = ticks(), now, gap;
	unsigned int done = 0;

	for (;;) {
		unsigned int order = atomic_load(&control->order);

		if (atomic_load(&control->quit))
			_exit(0);
		if (order != done) {
			refill(atomic_load(&control->kinds), order * FRESH);
			atomic_store(&control->answer, order);
			atomic_store(&control->gap, 0);
			done = order;
			last = ticks();
			continue;
		}
		now = ticks();
		gap = now - last;
		if (gap > atomic_load(&control->gap))
			atomic_store(&control->gap, gap);
		atomic_fetch_add(&control->beats, 1);
		last = now;
	}
}

char *map_anon(size_t bytes)
{
	char *p = mmap(NULL, bytes + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *at = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));

	if (p == MAP_FAILED || mprotect(at, bytes, PROT_READ | PROT_WRITE))
		fail_setup("mmap");
	return at;
}

void pin(pid_t pid, int to)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int i = 0; i < (to < 0 ? cpu : 0); i++)
		CPU_SET(i, &set);
	if (to >= 0)
		CPU_SET(to, &set);
	if (sched_setaffinity(pid, sizeof(set), &set))
		fail_setup("sched_setaffinity");
}

/* The first page of each page table: later faults need not allocate one. */
static char *new_pool(void)
{
	char *pool = map_anon(POOL);

	madvise(pool, POOL, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < POOL; at += HUGE)
		*(volatile char *)(pool + at) = 1;
	return pool;
}

/* Away from the node whose memory the operations move; without a second node, no matter. */
static void live_on_last_node(void)
{
	unsigned long mask = 2;

	syscall(SYS_set_mempolicy, MPOL_PREFERRED, &mask, 8 * sizeof(mask));
}

static void be_spinner(void)
{
	const struct sched_param param = { .sched_priority = 1 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(0, cpu);
	live_on_last_node();
	if (mlockall(MCL_CURRENT))
		fail_setup("mlockall");
	control->add_pool = new_pool();
	control->locked_pool = new_pool();
	if (mlock2(control->locked_pool, POOL, MLOCK_ONFAULT))
		fail_setup("mlock2");
	if (sched_setscheduler(0, SCHED_FIFO, &param))
		fail_setup("SCHED_FIFO");
	atomic_store(&control->beats, 1);
	spin();
}

static void start_spinner(void)
{
	control = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	file = memfd_create("lru_isolated", 0);
	if (control == MAP_FAILED || file < 0 || ftruncate(file, POOL))
		fail_setup("shared memory");
	for (size_t i = 0; i < POOL_PAGES; i++)
		if (pwrite(file, "x", 1, i * PAGE) != 1)
			fail_setup("write to a file in memory");
	spinner = fork();
	if (spinner < 0)
		fail_setup("fork");
	if (!spinner)
		be_spinner();
	while (!atomic_load(&control->beats) && !waitpid(spinner, NULL, WNOHANG))
		usleep(10000);
	/* Never unmapped, which would reference the pages. */
	file_pages = mmap(NULL, POOL, PROT_READ, MAP_SHARED, file, 0);
	if (file_pages == MAP_FAILED)
		fail_setup("mmap of the file");
	for (size_t i = 0; i < POOL_PAGES; i++)
		(void)*(volatile char *)(file_pages + i * PAGE);
}

/*
 * Part 2: pages in the batches of the isolated CPU
 */

uint64_t map_entry(pid_t pid, const char *addr)
{
	uint64_t e;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY);
	if (fd < 0 || pread(fd, &e, 8, (uintptr_t)addr / PAGE * 8) != 8)
		fail_setup("%s", path);
	close(fd);
	return e;
}

/* The pages of this test: how many carry flag @bit. */
static int carry(const char *pool, int bit)
{
	int n = 0;

	for (int i = 0; i < FRESH; i++) {
		uint64_t e = map_entry(spinner, pool + (next_page + i) * PAGE);

		if (!(e & PM_PRESENT))
			fail_setup("a page of the isolated process is not there");
		n += frame_flags(e & PM_FRAME) >> bit & 1;
	}
	return n;
}

static bool file_page_active(void)
{
	uint64_t pfn = frame_of(file_pages + next_page * PAGE);

	if (!pfn)
		fail_setup("a page of the file is not there");
	return frame_flags(pfn) >> KPF_ACTIVE & 1;
}

/* MGLRU ages by other means. */
static bool mglru(void)
{
	char text[32];

	return read_text("/sys/kernel/mm/lru_gen/enabled", text, sizeof(text)) &&
	       strtoul(text, NULL, 16) & 1;
}

/* All of the pages wait (@lists false), or all are on their lists. Says so where not. */
static bool pages_are(unsigned int kinds, bool lists, const char *when)
{
	bool good = true;

	if (kinds & ADD && carry(control->add_pool, KPF_LRU) != lists * FRESH) {
		ksft_print_msg("   %s: %d of %d fresh pages are on the LRU\n", when,
			       carry(control->add_pool, KPF_LRU), FRESH);
		good = false;
	}
	if (kinds & LOCKED && (carry(control->locked_pool, KPF_LRU) != lists * FRESH ||
			       (lists && carry(control->locked_pool, KPF_UNEVICTABLE) != FRESH))) {
		ksft_print_msg("   %s: %d of %d locked pages are on the LRU, %d unevictable\n",
			       when, carry(control->locked_pool, KPF_LRU), FRESH,
			       carry(control->locked_pool, KPF_UNEVICTABLE));
		good = false;
	}
	if (kinds & ACTIVATE && !mglru() && file_page_active() != lists) {
		ksft_print_msg("   %s: the file's page is %sactive\n", when, lists ? "not " : "");
		good = false;
	}
	return good;
}

static bool order_refill(unsigned int kinds)
{
	unsigned int order = atomic_load(&control->order) + 1;

	next_page = order * FRESH;
	if (next_page + FRESH > POOL_PAGES)
		fail_setup("the pools are too small");
	atomic_store(&control->kinds, kinds);
	atomic_store(&control->order, order);
	for (int i = 0; i < 600 && atomic_load(&control->answer) != order; i++)
		usleep(100000);
	return atomic_load(&control->answer) == order;
}

/*
 * Part 3: the tests
 */

/* -> whether nothing came to the isolated CPU while @run ran. Says what did. */
static bool undisturbed(bool (*run)(void), bool *did)
{
	struct snapshot before, after;
	unsigned long beats = atomic_load(&control->beats);
	int counters, events;

	clear_traces();
	look(&before);
	*did = run();
	/* What it left to others comes soon. */
	usleep(200000);
	look(&after);
	counters = moved(&before, &after, true);
	events = read_traces(40, NULL);
	if (events)
		ksft_print_msg("   %d events in the traces\n", events);
	/* A process that does not spin is disturbed without a trace. */
	if (atomic_load(&control->beats) == beats) {
		ksft_print_msg("   the isolated process has not spun\n");
		return false;
	}
	return !counters && !events;
}

/* The pause says little on an emulated machine, where the host takes CPUs away: it is only told. */
static unsigned long ticks_per_us;

static void measure_ticks(void)
{
	struct timespec a, b;
	unsigned long from;

	clock_gettime(CLOCK_MONOTONIC, &a);
	from = ticks();
	usleep(100000);
	clock_gettime(CLOCK_MONOTONIC, &b);
	ticks_per_us = (ticks() - from) /
		       ((b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000);
	ticks_per_us += !ticks_per_us;
}

/*
 * From empty batches: a full one would be drained by its owner. What a rehearsal has left to a kernel
 * thread may still drain them, so a few attempts.
 */
static bool fill_batches(unsigned int kinds)
{
	for (int i = 0; i < 5; i++) {
		settle_lru();
		if (order_refill(kinds) && quiet() && pages_are(kinds, false, "before"))
			return true;
	}
	return false;
}

static void run_test(const struct test *t)
{
	bool ready, alone, did;

	ksft_print_msg("%s\n", t->name);

	if (!(t->rehearse ? t->rehearse : t->run)()) {
		ksft_print_msg("   the rehearsal failed (%s)\n", strerror(errno));
		ksft_test_result(false, "%s\n", t->name);
		return;
	}
	ready = fill_batches(t->kinds);
	alone = undisturbed(t->run, &did);
	if (!did)
		ksft_print_msg("   the operation failed (%s)\n", strerror(errno));
	if (!ready)
		ksft_print_msg("   the batches were not filled, or the CPU was not quiet\n");
	if (t->drains)
		ready &= pages_are(t->kinds, true, "after");
	ksft_print_msg("   longest pause: %lu us\n", atomic_load(&control->gap) / ticks_per_us);
	/* Nothing that differs each time is part of the name: by it the result is found when it is asked again. */
	ksft_test_result(ready && alone && did, "%s\n", t->name);
}

/* The eyes work: a work item on every CPU is seen by all of them. */
static void test_eyes(void)
{
	struct snapshot before, after;
	bool good;

	good = quiet();
	look(&before);
	good &= write_text("/proc/sys/vm/stat_refresh", "1");
	look(&after);
	for (int i = 0; i < after.nr; i++) {
		const char *name = after.rows[i].name;
		bool must = !strcmp(name, "schedule()") || !strcmp(name, "nonvoluntary");

		if (must && after.rows[i].count == before.rows[i].count) {
			ksft_print_msg("   %s has not moved\n", name);
			good = false;
		}
	}
	good &= read_traces(0, "workqueue_queue_work") > 0;
	good &= read_traces(0, "workqueue_execute_start") > 0;
	good &= read_traces(0, "sched_switch") > 0;
	good &= read_traces(0, "ipi_send_cpu") > 0;
	ksft_test_result(good, "a disturbance is seen\n");
}

static bool nothing(void)
{
	return !sleep(2);
}

static void isolated_cpu(void)
{
	char text[64], *last;

	if (!read_text("/sys/devices/system/cpu/nohz_full", text, sizeof(text)) ||
	    text[0] < '1' || text[0] > '9')
		fail_setup("boot with isolcpus=nohz,domain,managed_irq,3 nohz_full=3 rcu_nocbs=3");
	last = strpbrk(text, ",-");
	cpu = atoi(last ? last + 1 : text);
	if (!read_text("/sys/devices/system/cpu/isolated", text, sizeof(text)) || text[0] == '\n')
		fail_setup("CPU %d is not isolated from the scheduler: isolcpus=nohz,domain,%d", cpu,
			   cpu);
}

/* Interrupts of devices are the administrator's to keep away. */
static void move_interrupts(void)
{
	char command[160];

	snprintf(command, sizeof(command),
		 "for f in /proc/irq/[0-9]*; do echo 0-%d > $f/smp_affinity_list; done 2>/dev/null",
		 cpu - 1);
	if (system(command))
		ksft_print_msg("not every interrupt can be moved\n");
}

/*
 * A node's own threads may run on all its CPUs, isolated or not, and they wake up now and then: by a
 * timer of the CPU on which they went to sleep. It has expired a second later.
 */
static void move_node_threads(void)
{
	char command[200];

	snprintf(command, sizeof(command),
		 "for p in /proc/[0-9]*; do case $(cat $p/comm) in kcompactd*|kswapd*) "
		 "taskset -pc 0-%d ${p#/proc/} || exit;; esac; done >/dev/null 2>&1", cpu - 1);
	if (system(command))
		fail_setup("taskset (util-linux)");
	sleep(1);
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void prepare(void)
{
	struct sigaction act = { .sa_handler = on_alarm };	/* no SA_RESTART */
	unsigned long node0 = 1;
	char text[32];

	sigaction(SIGALRM, &act, NULL);
	isolated_cpu();
	pin(0, -1);
	write_text("/proc/sys/kernel/numa_balancing", "0");
	write_text("/proc/sys/vm/compact_unevictable_allowed", "0");
	write_text("/proc/sys/kernel/sched_schedstats", "1");
	write_text("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	write_text(THP "khugepaged/scan_sleep_millisecs", "1000000000");
	/* With the last cgroup go features whose code is then patched. */
	mkdir(CGROUP "_idle", 0755);
	if (!read_text("/sys/class/zram-control/hot_add", text, sizeof(text)) ||
	    !write_text("/sys/block/zram1/disksize", "4M"))
		fail_setup("a second zram device");
	need_swap();
	move_interrupts();
	move_node_threads();
	start_spinner();
	syscall(SYS_set_mempolicy, MPOL_PREFERRED, &node0, 64);
	make_work();
	start_traces();
	settle_lru();
}

int main(void)
{
	bool did;

	ksft_print_header();
	ksft_set_plan(2 + nr_tests);
	prepare();
	measure_ticks();
	test_eyes();
	if (!order_refill(ALL) || !quiet())
		ksft_print_msg("   CPU %d is never quiet\n", cpu);
	ksft_test_result(undisturbed(nothing, &did) && did, "CPU %d is left alone\n", cpu);
	for (size_t i = 0; i < nr_tests; i++)
		run_test(&tests[i]);
	atomic_store(&control->quit, 1);
	waitpid(spinner, NULL, 0);
	end_work();
	stop_traces();
	rmdir(CGROUP "_idle");
	ksft_finished();
}

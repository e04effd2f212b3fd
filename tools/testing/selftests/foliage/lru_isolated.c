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
 * Stock drains by a work item on every CPU whose batches are not empty: where the table says DRAINS
 * a kworker runs, and the test fails there; the operation even waits for a second or so until the
 * scheduler takes the CPU from the real-time process.
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
 *    to other CPUs first.
 *  - the scheduler looks once a second at a CPU with a task of the default class, lest the task
 *    starve: the process is a real-time one, as control loops are.
 *
 * It needs a guest of its own: isolcpus=nohz,domain,managed_irq,3 nohz_full=3 rcu_nocbs=3.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../kselftest.h"
#include "foliage.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT		21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT		1
#endif

#define KPF_ACTIVE	6
#define KPF_UNEVICTABLE	18
#define PM_PRESENT	(1ULL << 63)
#define PM_SWAP		(1ULL << 62)
#define PM_FRAME	((1ULL << 55) - 1)

#define THP		"/sys/kernel/mm/transparent_hugepage/"
#define KSM		"/sys/kernel/mm/ksm/"
#define NODE0		"/sys/devices/system/node/node0/"
#define MEMORY		"/sys/devices/system/memory/"
#define TRACING		"/sys/kernel/tracing/instances/"
#define CGROUP		"/sys/fs/cgroup/lru_isolated"

#define FRESH		4		/* pages of a kind per test: fewer than a batch holds */
#define POOL		(4UL << 20)	/* of each kind: enough for all tests */
#define POOL_PAGES	(POOL / PAGE)
#define WORK		(4UL << 20)	/* memory that an operation works on */
#define WORK_PAGES	(WORK / PAGE)
#define MAX_ROWS	256

/* Not all kinds suit every operation. */
enum { ADD = 1, LOCKED = 2, ACTIVATE = 4, ALL = ADD | LOCKED | ACTIVATE };

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
static pid_t spinner;
static int cpu;

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

static char *map_anon(size_t bytes)
{
	char *p = mmap(NULL, bytes + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *at = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));

	if (p == MAP_FAILED || mprotect(at, bytes, PROT_READ | PROT_WRITE))
		fail_setup("mmap");
	return at;
}

static void pin(pid_t pid, int to)
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
 * Part 2: what tells of a disturbance
 */

struct row {
	char name[24];
	unsigned long count;
};

struct snapshot {
	struct row rows[MAX_ROWS];
	int nr;
};

static void add_row(struct snapshot *s, const char *name, unsigned long count)
{
	if (s->nr == MAX_ROWS)
		fail_setup("too many counters");
	snprintf(s->rows[s->nr].name, sizeof(s->rows[0].name), "%s", name);
	s->rows[s->nr++].count = count;
}

/* The local timer does not count; what it does to the process would be seen elsewhere. */
static void read_interrupts(struct snapshot *s)
{
	static char line[4096];
	FILE *f = fopen("/proc/interrupts", "r");

	if (!f || !fgets(line, sizeof(line), f))
		fail_setup("/proc/interrupts");
	while (fgets(line, sizeof(line), f)) {
		char *name = strtok(line, " :"), *word = strtok(NULL, " ");

		for (int i = 0; i < cpu && word; i++)
			word = strtok(NULL, " ");
		if (word && strcmp(name, "LOC"))
			add_row(s, name, strtoul(word, NULL, 10));
	}
	fclose(f);
}

/* Calls of schedule(), and wake-ups. */
static void read_schedstat(struct snapshot *s)
{
	unsigned long yields, old, calls, idle, wakes, local;
	char line[512], want[16];
	FILE *f = fopen("/proc/schedstat", "r");

	if (!f)
		fail_setup("/proc/schedstat: a kernel with CONFIG_SCHEDSTATS is needed");
	snprintf(want, sizeof(want), "cpu%d ", cpu);
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, want, strlen(want)))
			continue;
		if (sscanf(line + strlen(want), "%lu %lu %lu %lu %lu %lu", &yields, &old, &calls,
			   &idle, &wakes, &local) != 6)
			fail_setup("/proc/schedstat has another format");
		add_row(s, "schedule()", calls);
		add_row(s, "wake-ups", wakes);
	}
	fclose(f);
}

static void read_switches(struct snapshot *s)
{
	char path[64], text[4096], *p;

	snprintf(path, sizeof(path), "/proc/%d/status", spinner);
	if (!read_text(path, text, sizeof(text)))
		fail_setup("%s", path);
	p = strstr(text, "\nvoluntary_ctxt_switches:");
	if (p)
		add_row(s, "voluntary", strtoul(p + strlen("\nvoluntary_ctxt_switches:"), NULL, 10));
	p = strstr(text, "nonvoluntary_ctxt_switches:");
	if (p)
		add_row(s, "nonvoluntary", strtoul(p + strlen("nonvoluntary_ctxt_switches:"), NULL, 10));
}

/*
 * Two traces: "on" records what happens on the isolated CPU, "to" what other CPUs send there.
 */
static const char * const traces[] = { TRACING "isolated_on", TRACING "isolated_to" };

static const char * const on_events[] = {
	"sched/sched_switch", "sched/sched_waking", "workqueue/workqueue_execute_start",
	"irq/irq_handler_entry", "irq_vectors/call_function_entry",
	"irq_vectors/call_function_single_entry", "irq_vectors/irq_work_entry",
	"irq_vectors/reschedule_entry",
};

static const struct {
	const char *event;
	const char *filter;
} to_events[] = {
	{ "workqueue/workqueue_queue_work", "cpu == %d" },
	{ "ipi/ipi_send_cpu", "cpu == %d" },
	{ "ipi/ipi_send_cpumask", "cpumask & CPUS{%d}" },
};

static void trace_put(const char *trace, const char *name, const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", trace, name);
	if (!write_text(path, text))
		fail_setup("%s", path);
}

static void start_traces(void)
{
	char path[128], text[64];

	for (size_t i = 0; i < ARRAY_SIZE(traces); i++)
		if (mkdir(traces[i], 0700) && errno != EEXIST)
			fail_setup("%s", traces[i]);
	snprintf(text, sizeof(text), "%x", 1 << cpu);
	trace_put(traces[0], "tracing_cpumask", text);
	for (size_t i = 0; i < ARRAY_SIZE(on_events); i++) {
		snprintf(path, sizeof(path), "events/%s/enable", on_events[i]);
		trace_put(traces[0], path, "1");
	}
	for (size_t i = 0; i < ARRAY_SIZE(to_events); i++) {
		snprintf(path, sizeof(path), "events/%s/filter", to_events[i].event);
		snprintf(text, sizeof(text), to_events[i].filter, cpu);
		trace_put(traces[1], path, text);
		snprintf(path, sizeof(path), "events/%s/enable", to_events[i].event);
		trace_put(traces[1], path, "1");
	}
}

static void stop_traces(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(traces); i++)
		rmdir(traces[i]);
}

static void clear_traces(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(traces); i++) {
		char path[128];
		int fd;

		snprintf(path, sizeof(path), "%s/trace", traces[i]);
		fd = open(path, O_WRONLY | O_TRUNC);
		if (fd < 0)
			fail_setup("%s", path);
		close(fd);
	}
}

/* Events of both traces; up to @show lines of them are printed. */
static int read_traces(int show, const char *want)
{
	char path[128], line[1024];
	int n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(traces); i++) {
		FILE *f;

		snprintf(path, sizeof(path), "%s/trace", traces[i]);
		f = fopen(path, "r");
		if (!f)
			fail_setup("%s", path);
		while (fgets(line, sizeof(line), f)) {
			if (line[0] == '#' || (want && !strstr(line, want)))
				continue;
			if (n++ < show)
				ksft_print_msg("   %s", line);
		}
		fclose(f);
	}
	return n;
}

static void look(struct snapshot *s)
{
	s->nr = 0;
	read_interrupts(s);
	read_schedstat(s);
	read_switches(s);
}

/* How many counters moved; each is printed if @show. */
static int moved(const struct snapshot *a, const struct snapshot *b, bool show)
{
	int n = 0;

	if (a->nr != b->nr)
		return 1;
	for (int i = 0; i < a->nr; i++) {
		if (a->rows[i].count == b->rows[i].count)
			continue;
		n++;
		if (show)
			ksft_print_msg("   %s: +%lu\n", b->rows[i].name,
				       b->rows[i].count - a->rows[i].count);
	}
	return n;
}

/* Wait until what went before has no more consequences. */
static bool quiet(void)
{
	struct snapshot a, b;

	for (int i = 0; i < 300; i++) {
		clear_traces();
		look(&a);
		usleep(200000);
		look(&b);
		if (!moved(&a, &b, false) && !read_traces(0, NULL))
			return true;
	}
	moved(&a, &b, true);
	read_traces(10, NULL);
	return false;
}

/*
 * Part 3: pages in the batches of the isolated CPU
 */

static uint64_t map_entry(pid_t pid, const char *addr)
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
 * Part 4: the operations. Each returns whether it did what it is named after.
 */

static char *work;	/* WORK bytes of this process, on node 0 */
static pid_t victim;	/* a process with a copy of @work */

static void fill_work(void)
{
	for (size_t i = 0; i < WORK_PAGES; i++)
		*(volatile size_t *)(work + i * PAGE) = i + 1;
}

/* It has its copy when this returns. */
static pid_t start_victim(void)
{
	int ready[2];
	char c;
	pid_t pid;

	if (pipe(ready))
		fail_setup("pipe");
	pid = fork();
	if (pid < 0)
		fail_setup("fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fill_work();
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	if (read(ready[0], &c, 1) != 1)
		fail_setup("a process to work on");
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void stop_victim(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static long vm_count(const char *name)
{
	static char text[32768];
	size_t len = strlen(name);
	char *p;

	if (!read_text("/proc/vmstat", text, sizeof(text)))
		fail_setup("/proc/vmstat");
	for (p = text; p && *p; p = strchr(p, '\n'), p += !!p)
		if (!strncmp(p, name, len) && p[len] == ' ')
			return atol(p + len);
	return -1;
}

static long status_kib(const char *name)
{
	char text[4096], *p;

	if (!read_text("/proc/self/status", text, sizeof(text)))
		fail_setup("/proc/self/status");
	p = strstr(text, name);
	return p ? atol(p + strlen(name)) : -1;
}

static bool op_mlock(void)
{
	bool good = !mlock(work, WORK) && status_kib("VmLck:") == WORK / 1024;

	return !munlock(work, WORK) && good && status_kib("VmLck:") == 0;
}

static bool op_map_locked(void)
{
	char *p = mmap(NULL, WORK, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);

	return p != MAP_FAILED && !munmap(p, WORK);
}

static bool op_mlockall(void)
{
	bool good = !mlockall(MCL_CURRENT) && status_kib("VmLck:") >= (long)WORK / 1024;

	return !munlockall() && good;
}

static bool op_compact_node(void)
{
	long before = vm_count("compact_migrate_scanned");

	return write_text(NODE0 "compact", "1") && vm_count("compact_migrate_scanned") > before;
}

static bool op_compact_all(void)
{
	long before = vm_count("compact_migrate_scanned");

	return write_text("/proc/sys/vm/compact_memory", "1") &&
	       vm_count("compact_migrate_scanned") > before;
}

/* Pages of @pid's copy of @work that are on node @node. */
static int on_node(pid_t pid, int node)
{
	void *pages[WORK_PAGES];
	int status[WORK_PAGES], n = 0;

	for (size_t i = 0; i < WORK_PAGES; i++)
		pages[i] = work + i * PAGE;
	if (syscall(SYS_move_pages, pid, WORK_PAGES, pages, NULL, status, 0))
		return -1;
	for (size_t i = 0; i < WORK_PAGES; i++)
		n += status[i] == node;
	return n;
}

static bool op_move_pages(void)
{
	void *pages[WORK_PAGES];
	int nodes[WORK_PAGES], status[WORK_PAGES];
	bool good = true;

	for (int node = 1; node >= 0; node--) {
		for (size_t i = 0; i < WORK_PAGES; i++) {
			pages[i] = work + i * PAGE;
			nodes[i] = node;
		}
		good &= !syscall(SYS_move_pages, victim, WORK_PAGES, pages, nodes, status,
				 MPOL_MF_MOVE);
		good &= on_node(victim, node) == WORK_PAGES;
	}
	return good;
}

/* With CAP_SYS_NICE migrate_pages(2) moves what others map as well: the program itself, say. */
static bool be_nice(bool able)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2];

	if (syscall(SYS_capget, &head, caps))
		return false;
	if (able)
		caps[0].effective |= 1 << CAP_SYS_NICE;
	else
		caps[0].effective &= ~(1 << CAP_SYS_NICE);
	return !syscall(SYS_capset, &head, caps);
}

static bool op_migrate_pages(void)
{
	unsigned long from = 1, to = 2;
	bool good = be_nice(false);

	good &= !syscall(SYS_migrate_pages, victim, 64, &from, &to);

	good &= on_node(victim, 1) == WORK_PAGES;
	good &= !syscall(SYS_migrate_pages, victim, 64, &to, &from);
	good &= on_node(victim, 0) == WORK_PAGES;
	return be_nice(true) && good;
}

static bool op_mbind(void)
{
	unsigned long mask = 2;
	bool good;

	fill_work();
	good = !syscall(SYS_mbind, work, WORK, MPOL_BIND, &mask, 64, MPOL_MF_MOVE) &&
	       on_node(0, 1) == WORK_PAGES;
	mask = 1;
	good &= !syscall(SYS_mbind, work, WORK, MPOL_BIND, &mask, 64, MPOL_MF_MOVE) &&
		on_node(0, 0) == WORK_PAGES;
	syscall(SYS_mbind, work, WORK, MPOL_DEFAULT, NULL, 0, 0);
	return good;
}

static bool op_pageout(void)
{
	size_t n = 0;

	fill_work();
	if (madvise(work, WORK, MADV_PAGEOUT))
		return false;
	for (size_t i = 0; i < WORK_PAGES; i++)
		n += !!(map_entry(getpid(), work + i * PAGE) & PM_SWAP);
	fill_work();
	return n > WORK_PAGES / 2;
}

static bool op_drop_caches(void)
{
	return write_text("/proc/sys/vm/drop_caches", "3");
}

/* Pages in the batch of a CPU that this process has left are pinned until it is drained. */
static bool op_seal(void)
{
	int fd = memfd_create("seal", MFD_ALLOW_SEALING);
	bool good = fd >= 0;

	pin(0, 0);
	for (int i = 0; i < 8; i++)
		good &= pwrite(fd, "x", 1, i * PAGE) == 1;
	pin(0, 1);
	good &= !fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) && write(fd, "x", 1) < 0;
	pin(0, -1);
	close(fd);
	return good;
}

static bool cgroup_put(const char *name, const char *fmt, long value)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), CGROUP "/%s", name);
	snprintf(text, sizeof(text), fmt, value);
	return write_text(path, text);
}

static bool leave(void)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", victim);
	if (!write_text("/sys/fs/cgroup/cgroup.procs", text))
		return false;
	for (int i = 0; i < 100 && rmdir(CGROUP); i++)
		usleep(10000);
	return access(CGROUP, F_OK) < 0;
}

static bool op_cgroup(void)
{
	bool good = !mkdir(CGROUP, 0755) && cgroup_put("cgroup.procs", "%ld", victim) &&
		    cgroup_put("memory.high", "%ld", 64L << 20) &&
		    cgroup_put("memory.max", "%ld", 128L << 20);

	return leave() && good;
}

/* More than there is: the last attempt wants the batches empty. */
static bool op_reclaim(void)
{
	long before = vm_count("pswpout");
	bool good = !mkdir(CGROUP, 0755) && cgroup_put("cgroup.procs", "%ld", getpid());
	pid_t pid = start_victim();

	good &= write_text("/sys/fs/cgroup/cgroup.procs", "0");
	good &= cgroup_put("memory.reclaim", "%ld", 1L << 20);
	good &= !cgroup_put("memory.reclaim", "%ld", 1L << 30) && errno == EAGAIN;
	stop_victim(pid);
	for (int i = 0; i < 100 && rmdir(CGROUP); i++)
		usleep(10000);
	return good && vm_count("pswpout") > before;
}

/* A number in sysfs that grows by @by, with time enough. */
static bool grows(const char *path, long by)
{
	char text[32] = "0";
	long start;

	read_text(path, text, sizeof(text));
	start = atol(text);
	for (int i = 0; i < 3000; i++) {
		usleep(10000);
		if (read_text(path, text, sizeof(text)) && atol(text) >= start + by)
			return true;
	}
	return false;
}

/* Memory to look at that is huge already. Its first fault makes khugepaged know this process. */
static bool op_khugepaged(void)
{
	char *p = map_anon(HUGE);
	bool good = !madvise(p, HUGE, MADV_HUGEPAGE);

	*(volatile char *)p = 1;
	good &= write_text(THP "khugepaged/scan_sleep_millisecs", "20");
	good &= grows(THP "khugepaged/full_scans", 2);
	write_text(THP "khugepaged/scan_sleep_millisecs", "1000000000");
	munmap(p, HUGE);
	return good;
}

static bool op_collapse(void)
{
	char *p = map_anon(HUGE);
	bool good = !madvise(p, HUGE, MADV_HUGEPAGE);

	*(volatile char *)p = 1;
	good &= frame_flags(frame_of(p)) >> KPF_THP & 1 && !madvise(p, HUGE, MADV_COLLAPSE);
	munmap(p, HUGE);
	return good;
}

static bool op_ksm(void)
{
	bool good;

	memset(work, 1, WORK);
	good = !madvise(work, WORK, MADV_MERGEABLE) && write_text(KSM "run", "1") &&
	       grows(KSM "full_scans", 3) && write_text(KSM "run", "0");
	madvise(work, WORK, MADV_UNMERGEABLE);
	fill_work();
	return good;
}

static bool op_flush_device(void)
{
	int fd = open("/dev/zram1", O_RDONLY);
	char c;
	bool good = fd >= 0 && read(fd, &c, 1) == 1 && !ioctl(fd, BLKFLSBUF, 0);

	close(fd);
	return good;
}

/* Pages of a program that runs cannot be dropped: the second attempt wants the batches empty. */
static bool op_fadvise(void)
{
	int fd = open("/proc/self/exe", O_RDONLY);
	bool good = fd >= 0 && !posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);

	close(fd);
	return good;
}

static bool op_soft_offline(void)
{
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool good;

	*(volatile char *)p = 7;
	good = !madvise(p, PAGE, MADV_SOFT_OFFLINE) && *(volatile char *)p == 7;
	munmap(p, PAGE);
	return good;
}

static int block = -1;		/* of memory, which can go offline */

static bool block_put(int nr, const char *state)
{
	char path[128], text[32] = "";
	bool good;

	snprintf(path, sizeof(path), MEMORY "memory%d/state", nr);
	/* The kernel tries for ever, or until a signal comes. */
	alarm(20);
	good = write_text(path, state);
	alarm(0);
	return good && read_text(path, text, sizeof(text)) &&
	       !strncmp(text, state, strlen(state));
}

static bool op_offline(void)
{
	return block_put(block, "offline");
}

static bool op_online(void)
{
	return block_put(block, "online");
}

/* Marks blocks with a page of @pid in them. */
static void blocks_of(pid_t pid, uint64_t frames_per_block, bool *used, int nr)
{
	char path[64], line[512];
	unsigned long from, to;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "r");
	if (!f)
		fail_setup("%s", path);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx", &from, &to) != 2 || from >> 63)
			continue;
		for (; from < to; from += PAGE) {
			uint64_t e = map_entry(pid, (char *)from);
			uint64_t b = (e & PM_FRAME) / frames_per_block;

			if (e & PM_PRESENT && b < (uint64_t)nr)
				used[b] = true;
		}
	}
	fclose(f);
}

/*
 * The first block that goes offline, on the node where the isolated process does not live, from the
 * end, where less has been allocated since the boot. Back online, with its state as it was.
 */
static void find_block(void)
{
	static bool used[4096];
	char text[64];
	uint64_t bytes;

	if (!read_text(MEMORY "block_size_bytes", text, sizeof(text)))
		return;
	bytes = strtoull(text, NULL, 16);
	blocks_of(spinner, bytes / PAGE, used, ARRAY_SIZE(used));
	for (int nr = ARRAY_SIZE(used) - 1; nr >= 0 && block < 0; nr--) {
		snprintf(text, sizeof(text), NODE0 "memory%d", nr);
		if (used[nr] || access(text, F_OK))
			continue;
		if (block_put(nr, "offline"))
			block = nr;
		block_put(nr, "online");
	}
}

static bool offline_first(void)
{
	if (block < 0)
		find_block();
	return block >= 0 && op_offline() && op_online();
}

static bool online_first(void)
{
	return block >= 0 && op_online() && op_offline();
}

/*
 * Part 5: the tests
 */

struct test {
	const char *name;
	bool (*run)(void);
	bool (*rehearse)(void);	/* where it is not @run itself */
	unsigned int kinds;
	bool drains;		/* the pages must be on their lists afterwards */
};

#define DRAINS true

static const struct test tests[] = {
	{ "mlock and munlock", op_mlock, NULL, ALL },
	{ "mmap of locked memory", op_map_locked, NULL, ALL },
	{ "compaction of a node", op_compact_node, NULL, ALL, DRAINS },
	{ "compaction of everything", op_compact_all, NULL, LOCKED, DRAINS },
	{ "move_pages", op_move_pages, NULL, ALL, DRAINS },
	{ "migrate_pages", op_migrate_pages, NULL, ALL, DRAINS },
	{ "mbind", op_mbind, NULL, ALL, DRAINS },
	{ "memory goes offline", op_offline, offline_first, ALL, DRAINS },
	{ "memory comes online", op_online, online_first, ALL },
	{ "a cgroup comes, is joined, is limited, and goes", op_cgroup, NULL, ALL },
	{ "memory.reclaim", op_reclaim, NULL, ALL, DRAINS },
	{ "a file in memory is sealed", op_seal, NULL, ALL, DRAINS },
	{ "MADV_PAGEOUT", op_pageout, NULL, ALL },
	{ "drop_caches", op_drop_caches, NULL, ALL, DRAINS },
	{ "posix_fadvise", op_fadvise, NULL, ALL, DRAINS },
	{ "a block device is flushed", op_flush_device, NULL, ALL, DRAINS },
	{ "khugepaged", op_khugepaged, NULL, ALL, DRAINS },
	{ "MADV_COLLAPSE", op_collapse, NULL, ALL, DRAINS },
	{ "KSM", op_ksm, NULL, ALL, DRAINS },
	{ "MADV_SOFT_OFFLINE", op_soft_offline, NULL, ALL, DRAINS },
	/*
	 * The last one: it may unlock pages that the isolated process has locked, too. How often a
	 * page is locked errs low, and reclaim would have to find it. Before that it may be moved.
	 */
	{ "mlockall and munlockall", op_mlockall, NULL, ALL },
};

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
	ksft_test_result(ready && alone && did, "%s (longest pause: %lu us)\n", t->name,
			 atomic_load(&control->gap) / ticks_per_us);
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
	start_spinner();
	syscall(SYS_set_mempolicy, MPOL_PREFERRED, &node0, 64);
	work = map_anon(WORK);
	madvise(work, WORK, MADV_NOHUGEPAGE);
	fill_work();
	victim = start_victim();
	start_traces();
	settle_lru();
}

int main(void)
{
	bool did;

	ksft_print_header();
	ksft_set_plan(2 + ARRAY_SIZE(tests));
	prepare();
	measure_ticks();
	test_eyes();
	if (!order_refill(ALL) || !quiet())
		ksft_print_msg("   CPU %d is never quiet\n", cpu);
	ksft_test_result(undisturbed(nothing, &did) && did, "CPU %d is left alone\n", cpu);
	for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
		run_test(&tests[i]);
	atomic_store(&control->quit, 1);
	waitpid(spinner, NULL, 0);
	stop_victim(victim);
	stop_traces();
	rmdir(CGROUP "_idle");
	ksft_finished();
}

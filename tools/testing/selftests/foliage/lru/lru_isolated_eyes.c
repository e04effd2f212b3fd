// SPDX-License-Identifier: GPL-2.0
/*
 * What tells that the isolated CPU was disturbed: its interrupts, its calls of the scheduler, the
 * context switches of the process that spins there, and two traces.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../kselftest.h"
#include "foliage.h"
#include "lru_isolated.h"

#define TRACING		"/sys/kernel/tracing/instances/"

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

void start_traces(void)
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

void stop_traces(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(traces); i++)
		rmdir(traces[i]);
}

void clear_traces(void)
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

int read_traces(int show, const char *want)
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

void look(struct snapshot *s)
{
	s->nr = 0;
	read_interrupts(s);
	read_schedstat(s);
	read_switches(s);
}

int moved(const struct snapshot *a, const struct snapshot *b, bool show)
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

bool quiet(void)
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

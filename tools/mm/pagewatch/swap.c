// SPDX-License-Identifier: GPL-2.0
/*
 * pagewatch swap: what is swapped out, of whom, and what zswap makes of it.
 *
 *	machine		/proc/meminfo, /proc/vmstat, /sys/kernel/debug/zswap
 *	cgroups		memory.swap.current, memory.zswap.current, memory.stat,
 *			memory.zswap.rejects where the kernel has it (CONFIG_FOLIAGE_ZSWAP)
 *	processes	/proc/PID/status
 *
 * Which of a process's pages are in zswap the kernel does not tell; of a cgroup's it does.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pagewatch.h"

#define ZSWAP_DEBUG	"/sys/kernel/debug/zswap/"

static const char *const rejects[] = {
	"pool_limit_hit", "reject_reclaim_fail", "reject_alloc_fail", "reject_kmemcache_fail",
	"reject_compress_fail", "reject_compress_poor",
};

/* Events of vmstat, in pages. */
enum { EV_IN, EV_OUT, EV_ZIN, EV_ZOUT, EV_ZBACK, NR_EVENTS };
static const char *const events[NR_EVENTS] = { "pswpin", "pswpout", "zswpin", "zswpout", "zswpwb" };

struct machine {
	uint64_t total;		/* bytes */
	uint64_t used;
	uint64_t cached;	/* of those, what is in memory, too */
	bool zswap;		/* the kernel has it */
	uint64_t stored;	/* by zswap, as it was */
	uint64_t pool;		/* as it is kept */
	uint64_t event[NR_EVENTS];
	bool knows_rejects;
	uint64_t reject[ARRAY_SIZE(rejects)];
};

struct process {
	pid_t pid;
	char comm[32];
	uint64_t rss;
	uint64_t swap;
};

struct group {
	char *name;
	uint64_t current;
	uint64_t swap;
	uint64_t stored;
	uint64_t pool;
	uint64_t back;		/* pages written back from zswap */
	char *rejects;		/* "reason pages" lines, or NULL */
	uint64_t rejected;	/* pages, for all reasons */
};

struct swap {
	pid_t pid;
	const char *cgroup;
	bool watch;
	bool json;
	double interval;
	unsigned int count;
	struct machine machine;
	struct process *process;
	size_t nr_processes;
	struct group *group;
	size_t nr_groups;
};

/* --- the machine ------------------------------------------------------------------------ */

/* "Name:   number kB", or "name number". Return: whether it is there. */
static bool number_after(const char *text, const char *name, uint64_t unit, uint64_t *v)
{
	size_t len = strlen(name);
	const char *at = text;

	while (at && (strncmp(at, name, len) || (at[len] != ':' && at[len] != ' '))) {
		at = strchr(at, '\n');
		at += !!at;
	}
	*v = at ? strtoull(at + len + 1, NULL, 10) * unit : 0;
	return at;
}

static bool file_number(const char *path, uint64_t *v)
{
	char *text = read_text(AT_FDCWD, path, NULL);

	*v = text ? strtoull(text, NULL, 10) : 0;
	free(text);
	return text;
}

static int read_machine(struct machine *m)
{
	char *info = read_text(AT_FDCWD, "/proc/meminfo", NULL), path[96];
	char *stat = read_text(AT_FDCWD, "/proc/vmstat", NULL);
	uint64_t left;
	size_t i;

	*m = (struct machine){ 0 };
	if (!info || !stat || !number_after(info, "SwapTotal", 1024, &m->total)) {
		free(info);
		free(stat);
		return fail("the kernel has no swap: no SwapTotal in /proc/meminfo (CONFIG_SWAP)");
	}
	number_after(info, "SwapFree", 1024, &left);
	m->used = m->total - left;
	number_after(info, "SwapCached", 1024, &m->cached);
	m->zswap = number_after(info, "Zswap", 1024, &m->pool);
	number_after(info, "Zswapped", 1024, &m->stored);
	for (i = 0; i < NR_EVENTS; i++)
		number_after(stat, events[i], 1, &m->event[i]);
	for (i = 0; i < ARRAY_SIZE(rejects); i++) {
		snprintf(path, sizeof(path), ZSWAP_DEBUG "%s", rejects[i]);
		m->knows_rejects |= file_number(path, &m->reject[i]);
	}
	free(info);
	free(stat);
	return 0;
}

/* --- processes -------------------------------------------------------------------------- */

static void add_process(struct swap *s, pid_t pid, bool always)
{
	struct process p = { .pid = pid };
	char path[48], *text, *name;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	text = read_text(AT_FDCWD, path, NULL);
	/* Gone, or a kernel thread. */
	if (!text || !number_after(text, "VmRSS", 1024, &p.rss)) {
		free(text);
		return;
	}
	number_after(text, "VmSwap", 1024, &p.swap);
	name = text + strlen("Name:\t");
	name[strcspn(name, "\n")] = 0;
	snprintf(p.comm, sizeof(p.comm), "%s", text_plain(name, ""));
	free(text);
	if (!p.swap && !always)
		return;
	s->process = xrealloc(s->process, (s->nr_processes + 1) * sizeof(p));
	s->process[s->nr_processes++] = p;
}

static void add_all_processes(struct swap *s)
{
	DIR *dir = opendir("/proc");
	struct dirent *e;
	uint64_t pid;

	while (dir && (e = readdir(dir))) {
		const char *at = e->d_name;

		if (text_number(&at, 10, INT_MAX, &pid) && !*at)
			add_process(s, pid, false);
	}
	if (dir)
		closedir(dir);
}

static int by_swap(const void *a, const void *b)
{
	const struct process *x = a, *y = b;

	return x->swap != y->swap ? (x->swap > y->swap ? -1 : 1) : x->pid - y->pid;
}

/* --- cgroups ---------------------------------------------------------------------------- */

static uint64_t group_number(int dir, const char *file)
{
	char *text = read_text(dir, file, NULL);
	uint64_t v = text ? strtoull(text, NULL, 10) : 0;

	free(text);
	return v;
}

/* A line of "reason pages". Return: the next one, or NULL at the end. @name is not terminated. */
static const char *next_reason(const char *at, const char **name, int *len, uint64_t *pages)
{
	*len = strcspn(at, " \n");
	if (!*len || at[*len] != ' ')
		return NULL;
	*name = at;
	*pages = strtoull(at + *len, NULL, 10);
	at += strcspn(at, "\n");
	return at + !!*at;
}

static void read_rejects(struct group *g, int dir)
{
	const char *at, *name;
	uint64_t pages;
	int len;

	g->rejects = read_text(dir, "memory.zswap.rejects", NULL);
	for (at = g->rejects; at && (at = next_reason(at, &name, &len, &pages)); )
		g->rejected += pages;
}

/* @name is kept. Takes over @dir. */
static void add_groups(struct swap *s, int dir, const char *name, bool always)
{
	struct group g = { .current = group_number(dir, "memory.current"),
			   .swap = group_number(dir, "memory.swap.current"),
			   .pool = group_number(dir, "memory.zswap.current") };
	char *stat = read_text(dir, "memory.stat", NULL), *below;
	DIR *d = fdopendir(dir);
	struct dirent *e;

	if (stat) {
		number_after(stat, "zswapped", 1, &g.stored);
		number_after(stat, "zswpwb", 1, &g.back);
	}
	free(stat);
	read_rejects(&g, dir);
	/* The root's figures are the machine's. */
	if ((*name && (g.swap || g.stored || g.rejected)) || always) {
		g.name = xstrdup(name);
		s->group = xrealloc(s->group, (s->nr_groups + 1) * sizeof(g));
		s->group[s->nr_groups++] = g;
	} else {
		free(g.rejects);
	}
	while (d && (e = readdir(d))) {
		int fd;

		if (e->d_type != DT_DIR || *e->d_name == '.')
			continue;
		fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			continue;
		below = xrealloc(NULL, strlen(name) + strlen(e->d_name) + 2);
		sprintf(below, "%s%s%s", name, *name ? "/" : "", e->d_name);
		add_groups(s, fd, below, false);
		free(below);
	}
	if (d)
		closedir(d);
	else
		close(dir);
}

/* --- all of it -------------------------------------------------------------------------- */

static void forget(struct swap *s)
{
	size_t i;

	for (i = 0; i < s->nr_groups; i++) {
		free(s->group[i].name);
		free(s->group[i].rejects);
	}
	s->nr_groups = s->nr_processes = 0;
}

static int look_at_cgroup(struct swap *s)
{
	struct cgroup cg;
	int err = cgroup_open(&cg, s->cgroup), dir;
	size_t i;

	if (!err)
		err = cgroup_scan(&cg);
	for (i = 0; !err && i < cg.nr_pids; i++)
		add_process(s, cg.pid[i], true);
	dir = err ? -1 : open(cg.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0)
		add_groups(s, dir, s->cgroup, true);
	else if (err == E_GONE || !err)
		err = fail("cgroup %s is gone", cg.path);
	cgroup_close(&cg);
	return err;
}

static int look(struct swap *s)
{
	int dir, err;

	forget(s);
	err = read_machine(&s->machine);
	if (err)
		return err;
	if (s->cgroup) {
		err = look_at_cgroup(s);
	} else if (s->pid) {
		add_process(s, s->pid, true);
		if (!s->nr_processes)
			err = fail("no process %d with memory of its own", s->pid);
	} else {
		add_all_processes(s);
		dir = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir >= 0)
			add_groups(s, dir, "", false);
	}
	if (s->nr_processes)
		qsort(s->process, s->nr_processes, sizeof(*s->process), by_swap);
	return err;
}

static void ratio(char out[16], uint64_t stored, uint64_t pool)
{
	snprintf(out, 16, "-");
	if (pool)
		snprintf(out, 16, "%.2f", (double)stored / pool);
}

static void print_machine(const struct machine *m)
{
	char a[16], b[16], c[16];
	size_t i;

	printf("%s of %s of swap are used, %s of that are in memory, too\n", human(m->used, a),
	       human(m->total, b), human(m->cached, c));
	if (!m->zswap) {
		puts("zswap: the kernel has none (CONFIG_ZSWAP)");
		return;
	}
	ratio(c, m->stored, m->pool);
	printf("zswap: %s in %s, ratio %s; %llu pages were written back\n", human(m->stored, a),
	       human(m->pool, b), c, (unsigned long long)m->event[EV_ZBACK]);
	if (!m->knows_rejects) {
		puts("zswap: what it rejects is not to be had: it was never switched on, or there is no\n"
		     ZSWAP_DEBUG " (mount debugfs; be root)");
		return;
	}
	fputs("zswap rejected:", stdout);
	for (i = 0; i < ARRAY_SIZE(rejects); i++)
		printf("%s %s %llu", i ? "," : "", rejects[i], (unsigned long long)m->reject[i]);
	puts("");
}

static void print_text(const struct swap *s)
{
	char a[16], b[16], c[16], d[16], e[16], back[16], rejected[16];
	size_t i;

	print_machine(&s->machine);
	if (s->nr_processes)
		printf("\n%8s %-16s %8s %8s\n", "PID", "COMM", "RSS", "SWAPPED");
	for (i = 0; i < s->nr_processes; i++)
		printf("%8d %-16s %8s %8s\n", s->process[i].pid, s->process[i].comm,
		       human(s->process[i].rss, a), human(s->process[i].swap, b));
	if (s->nr_groups)
		printf("\n%8s %8s %8s %8s %6s %12s %8s  %s\n", "CHARGED", "SWAPPED", "IN ZSWAP",
		       "POOL", "RATIO", "WRITTEN BACK", "REJECTED", "CGROUP");
	for (i = 0; i < s->nr_groups; i++) {
		const struct group *g = &s->group[i];
		char *name = text_plain(xstrdup(*g->name ? g->name : "/"), "");

		ratio(e, g->stored, g->pool);
		printf("%8s %8s %8s %8s %6s %12s %8s  %s\n", human(g->current, a),
		       human(g->swap, b), human(g->stored, c), human(g->pool, d), e,
		       human(g->back * page_size, back),
		       g->rejects ? human(g->rejected * page_size, rejected) : "-", name);
		free(name);
	}
}

static void json_rejects(const struct group *g)
{
	const char *at = g->rejects, *name;
	char key[64];
	uint64_t pages;
	int len;

	if (!at)
		return;
	json_open("rejects", '{');
	while ((at = next_reason(at, &name, &len, &pages))) {
		snprintf(key, sizeof(key), "%.*s", len, name);
		json_int(key, pages);
	}
	json_close('}');
}

static void print_json(const struct swap *s)
{
	const struct machine *m = &s->machine;
	size_t i;

	json_open(NULL, '{');
	json_str("command", "swap");
	json_str("version", VERSION);
	json_int("page_size", page_size);
	json_int("total", m->total);
	json_int("used", m->used);
	json_int("cached", m->cached);
	if (m->zswap) {
		json_int("zswapped", m->stored);
		json_int("zswap", m->pool);
	}
	json_open("events", '{');
	for (i = 0; i < NR_EVENTS; i++)
		json_int(events[i], m->event[i]);
	json_close('}');
	if (m->knows_rejects) {
		json_open("rejects", '{');
		for (i = 0; i < ARRAY_SIZE(rejects); i++)
			json_int(rejects[i], m->reject[i]);
		json_close('}');
	}
	json_open("processes", '[');
	for (i = 0; i < s->nr_processes; i++) {
		json_open(NULL, '{');
		json_int("pid", s->process[i].pid);
		json_str("comm", s->process[i].comm);
		json_int("rss", s->process[i].rss);
		json_int("swap", s->process[i].swap);
		json_close('}');
	}
	json_close(']');
	json_open("cgroups", '[');
	for (i = 0; i < s->nr_groups; i++) {
		const struct group *g = &s->group[i];

		json_open(NULL, '{');
		json_str("name", g->name);
		json_int("current", g->current);
		json_int("swap", g->swap);
		json_int("zswapped", g->stored);
		json_int("zswap", g->pool);
		json_int("written_back", g->back * page_size);
		json_rejects(g);
		json_close('}');
	}
	json_close(']');
	json_close('}');
}

/* --- again and again -------------------------------------------------------------------- */

static uint64_t rejected(const struct machine *m)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rejects); i++)
		sum += m->reject[i];
	return sum;
}

static void print_rates(const struct machine *was, const struct machine *m, double time,
			double seconds)
{
	char b[NR_EVENTS][16], used[16], stored[16];
	int i;

	for (i = 0; i < NR_EVENTS; i++)
		human((m->event[i] - was->event[i]) * page_size / seconds, b[i]);
	printf("%8.1f %8s %8s %8s %8s %8s %8s %8s %8.0f\n", time, human(m->used, used),
	       human(m->stored, stored), b[EV_OUT], b[EV_IN], b[EV_ZOUT], b[EV_ZIN], b[EV_ZBACK],
	       (rejected(m) - rejected(was)) / seconds);
	fflush(stdout);
}

static int watch(struct swap *s)
{
	double start = now(), at = start, t;
	struct machine was;
	unsigned int n;
	int err = read_machine(&s->machine);

	if (!err)
		printf("%8s %8s %8s %8s %8s %8s %8s %8s %8s\n", "TIME", "USED", "IN ZSWAP", "OUT/s",
		       "IN/s", "ZOUT/s", "ZIN/s", "BACK/s", "REJECT/s");
	for (n = 0; !err && (!s->count || n < s->count); n++) {
		was = s->machine;
		err = proc_sleep(NULL, start + (n + 1) * s->interval, "waiting");
		progress_end();
		if (err)
			return n ? 0 : fail("interrupted before the first interval was over");
		err = read_machine(&s->machine);
		t = now();
		if (!err)
			print_rates(&was, &s->machine, t - start, t - at);
		at = t;
	}
	return err;
}

int cmd_swap(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "pid", 1, NULL, 'p' }, { "cgroup", 1, NULL, 'C' }, { "watch", 0, NULL, 'w' },
		{ "interval", 1, NULL, 'i' }, { "count", 1, NULL, 'n' }, { "json", 0, NULL, 'j' },
		{ "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' }, { 0 }
	};
	struct swap s = { .interval = 1 };
	int c, err;

	while ((c = getopt_long(argc, argv, "p:C:wi:n:hV", longs, NULL)) != -1) {
		switch (c) {
		case 'p':
			s.pid = opt_pid(optarg);
			break;
		case 'C':
			s.cgroup = optarg;
			break;
		case 'w':
			s.watch = true;
			break;
		case 'i':
			s.interval = opt_seconds(optarg);
			break;
		case 'n':
			s.count = opt_count(optarg);
			break;
		case 'j':
			s.json = true;
			break;
		default:
			common_option(c);
		}
	}
	if (optind < argc)
		usage_error("'%s' is one word too many", argv[optind]);
	if (s.pid && s.cgroup)
		usage_error("give -p PID or -C CGROUP, not both");
	if (s.watch && (s.pid || s.cgroup || s.json))
		usage_error("--watch is of the whole machine, and text");
	if (s.watch) {
		err = watch(&s);
	} else {
		err = look(&s);
		if (!err && s.json)
			print_json(&s);
		else if (!err)
			print_text(&s);
	}
	forget(&s);
	free(s.group);
	free(s.process);
	return err || out_finish() ? EXIT_FAILED : EXIT_OK;
}

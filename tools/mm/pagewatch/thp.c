// SPDX-License-Identifier: GPL-2.0
/* pagewatch thp: how much memory is huge, in which folios the rest is, and why. */
#include <dirent.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "thp.h"

static int look_at_pid(struct thp *t)
{
	struct proc p;
	int err = proc_open(&p, t->pid);

	if (!err) {
		snprintf(t->comm, sizeof(t->comm), "%s", p.comm);
		err = thp_look(t, &p);
	}
	if (err == E_GONE)
		err = fail("process %d (%s) has exited", p.pid, p.comm);
	proc_close(&p);
	return err;
}

/* One of many: that it has exited, or has no memory as a kernel thread, is nothing to talk about. */
static int look_at_one(struct thp *t, pid_t pid)
{
	struct proc p;
	int err = proc_open_quietly(&p, pid) ? E_GONE : thp_look(t, &p);

	proc_close(&p);
	return err == E_GONE ? 0 : err;
}

static int look_at_cgroup(struct thp *t)
{
	struct cgroup cg;
	size_t i;
	int err = cgroup_open(&cg, t->cgroup);

	if (!err)
		err = cgroup_scan(&cg);
	if (err == E_GONE)
		err = fail("cgroup %s is gone", cg.path);
	for (i = 0; !err && i < cg.nr_pids; i++)
		err = look_at_one(t, cg.pid[i]);
	if (!err && !t->processes)
		note("no process in %s has memory of its own", cg.path);
	cgroup_close(&cg);
	return err;
}

static int look_at_machine(struct thp *t)
{
	DIR *dir = opendir("/proc");
	struct dirent *e;
	uint64_t pid;
	int err = 0;

	while (dir && !err && (e = readdir(dir))) {
		const char *at = e->d_name;

		if (text_number(&at, 10, INT_MAX, &pid) && !*at)
			err = look_at_one(t, pid);
	}
	if (dir)
		closedir(dir);
	return err;
}

static int look_and_tell(struct thp *t)
{
	size_t i;
	int err = thp_settings_read(&t->settings);

	if (err)
		return EXIT_FAILED;
	t->flags = kpage_open("kpageflags");
	if (t->flags < 0)
		return EXIT_FAILED;
	err = t->pid ? look_at_pid(t) : t->cgroup ? look_at_cgroup(t) : look_at_machine(t);
	progress_end();
	close(t->flags);
	if (err && stop_requested())
		fail("interrupted before all was looked at");
	if (!err && t->prometheus)
		err = thp_prometheus(t);
	if (!err && t->json)
		thp_json(t);
	else if (!err && !t->prometheus)
		thp_text(t);
	for (i = 0; i < t->nr_vmas; i++)
		free(t->vma[i].name);
	free(t->vma);
	return err || out_finish() ? EXIT_FAILED : EXIT_OK;
}

int cmd_thp(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "pid", 1, NULL, 'p' }, { "cgroup", 1, NULL, 'C' }, { "all", 0, NULL, 'a' },
		{ "verbose", 0, NULL, 'v' }, { "zeroes", 0, NULL, 'z' },
		{ "prometheus", 1, NULL, 'P' }, { "json", 0, NULL, 'j' },
		{ "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' }, { 0 }
	};
	struct thp t = { 0 };
	int c;

	while ((c = getopt_long(argc, argv, "p:C:avzP:hV", longs, NULL)) != -1) {
		switch (c) {
		case 'p':
			t.pid = opt_pid(optarg);
			break;
		case 'C':
			t.cgroup = optarg;
			break;
		case 'a':
			t.all = true;
			break;
		case 'v':
			t.verbose = true;
			break;
		case 'z':
			t.zeroes = true;
			break;
		case 'P':
			t.prometheus = optarg;
			break;
		case 'j':
			t.json = true;
			break;
		default:
			common_option(c);
		}
	}
	if (optind < argc)
		usage_error("'%s' is one word too many", argv[optind]);
	if (!!t.pid + !!t.cgroup + t.all != 1)
		usage_error("give one of -p PID, -C CGROUP and --all");
	if (t.verbose && !t.pid)
		usage_error("-v is for -p: only of one process each mapping is shown");
	return look_and_tell(&t);
}

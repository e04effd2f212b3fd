// SPDX-License-Identifier: GPL-2.0
/*
 * pagewatch top, the measuring. One watch of the whole machine; at the end of each interval its idle
 * bits are read once, and each process's page tables tell which of the frames are its own:
 *
 *	mark all --- wait --- read idle bits --- each process: pagemap x bits --- mark all ...
 *		     ^				 +- its cgroup: the sum of its processes
 *		     |
 *		     as long as it takes for the sweeps to stay within their budget of a CPU
 */
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "top.h"

static double cpu_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* The next sweep comes after so long that what the last one has cost is within the budget. */
static void pace(struct top *t, double began)
{
	t->cost = cpu_seconds() - began;
	t->wait = t->cost / t->budget - t->cost;
	if (t->wait < t->interval)
		t->wait = t->interval;
	t->sweeps++;
}

static struct top_row *row_of(struct top_rows *rows, pid_t pid, const char *name)
{
	struct top_row *r;
	size_t i;

	for (i = 0; i < rows->nr; i++) {
		r = &rows->row[i];
		/* A PID may be used again. */
		if (r->pid == pid && !strcmp(r->name, name))
			break;
	}
	if (i == rows->nr) {
		rows->row = xrealloc(rows->row, (rows->nr + 1) * sizeof(*r));
		rows->row[rows->nr++] = (struct top_row){ .pid = pid, .name = xstrdup(name) };
	}
	r = &rows->row[i];
	if (!r->seen)
		r->rss = r->referenced = r->idle = r->huge = r->swapped = 0;
	r->seen = true;
	return r;
}

/* What was not seen is gone; of the others the history goes on. */
static void settle(struct top_rows *rows)
{
	size_t i, kept = 0;

	for (i = 0; i < rows->nr; i++) {
		struct top_row r = rows->row[i];
		uint64_t known = r.referenced + r.idle;

		if (!r.seen) {
			free(r.name);
			continue;
		}
		memmove(r.history, r.history + 1, TOP_HISTORY - 1);
		r.history[TOP_HISTORY - 1] = known ? 1 + r.referenced * 100 / known : 1;
		r.seen = false;
		rows->row[kept++] = r;
	}
	rows->nr = kept;
}

static void free_rows(struct top_rows *rows)
{
	size_t i;

	for (i = 0; i < rows->nr; i++)
		free(rows->row[i].name);
	free(rows->row);
	*rows = (struct top_rows){ 0 };
}

/* Frames that the machine's flags do not tell of are a device's. */
static void tally_span(const struct frames *f, const struct span *s, struct tally *t)
{
	uint64_t last = (s->pfn + s->nr - 1) / PIECE_FRAMES, piece;

	for (piece = s->pfn / PIECE_FRAMES; piece <= last; piece++) {
		if (piece >= f->nr || !f->piece[piece]) {
			t->untracked += s->nr;
			return;
		}
	}
	frames_tally(f, s->pfn, s->nr, t);
}

/* "/a.slice/b.service" of the line "0::/a.slice/b.service". */
static char *cgroup_of(const struct proc *p)
{
	char *text = read_text(p->dir, "cgroup", NULL), *at, *name;

	at = text ? strstr(text, "0::") : NULL;
	if (!at || (at != text && at[-1] != '\n')) {
		free(text);
		return NULL;
	}
	at += 3;
	at[strcspn(at, "\n")] = 0;
	name = text_plain(xstrdup(at), "");
	free(text);
	return name;
}

static uint64_t kib_after(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) * 1024 : 0;
}

static void add(struct top_row *r, const struct top_row *of)
{
	r->rss += of->rss;
	r->referenced += of->referenced;
	r->idle += of->idle;
	r->huge += of->huge;
	r->swapped += of->swapped;
}

void top_forget_ranges(struct top *t)
{
	size_t i;

	for (i = 0; i < t->nr_ranges; i++)
		free(t->range[i].name);
	free(t->range);
	t->range = NULL;
	t->nr_ranges = 0;
	t->ranges_known = false;
}

static void note_ranges(struct top *t, const struct proc *p, const struct spans *s)
{
	size_t i;

	top_forget_ranges(t);
	t->range = xcalloc(p->nr_vmas, sizeof(*t->range));
	t->nr_ranges = p->nr_vmas;
	t->ranges_known = true;
	for (i = 0; i < p->nr_vmas; i++) {
		const struct vma *v = &p->vma[i];
		struct top_range *r = &t->range[i];

		r->start = v->start;
		r->end = v->end;
		memcpy(r->perms, v->perms, sizeof(r->perms));
		r->name = text_plain(xstrdup(*v->name ? v->name : kind_names[v->kind]), "");
	}
	for (i = 0; i < s->nr; i++)
		tally_span(&t->watch.frames, &s->span[i], &t->range[s->span[i].vma].tally);
}

/* Whoever exits in the middle is left out, without a word: it is gone from the next picture. */
static int look_at(struct top *t, pid_t pid)
{
	struct spans spans = { 0 };
	struct tally sum = { 0 };
	struct top_row r = { 0 };
	struct proc p;
	char *text, *cgroup;
	size_t i;
	int err;

	if (proc_open_quietly(&p, pid)) {
		proc_close(&p);
		return 0;
	}
	text = read_text(p.dir, "smaps_rollup", NULL);
	err = text ? pagemap_read(&p, &spans) : E_GONE;
	if (!err) {
		for (i = 0; i < spans.nr; i++)
			tally_span(&t->watch.frames, &spans.span[i], &sum);
		r.rss = kib_after(text, "\nRss:");
		r.referenced = sum.referenced * page_size;
		r.idle = sum.idle * page_size;
		r.huge = kib_after(text, "\nAnonHugePages:") + kib_after(text, "\nShmemPmdMapped:") +
			 kib_after(text, "\nFilePmdMapped:");
		r.swapped = kib_after(text, "\nSwap:");
		add(row_of(&t->processes, pid, p.comm), &r);
		cgroup = cgroup_of(&p);
		if (cgroup)
			add(row_of(&t->cgroups, 0, cgroup), &r);
		free(cgroup);
		if (pid == t->picked)
			note_ranges(t, &p, &spans);
	}
	free(spans.span);
	free(text);
	proc_close(&p);
	return err == E_GONE ? 0 : err;
}

static int look_at_all(struct top *t)
{
	DIR *dir = opendir("/proc");
	struct dirent *e;
	uint64_t pid;
	int err = 0;

	if (!dir)
		return fail("cannot read /proc");
	while (!err && (e = readdir(dir))) {
		const char *at = e->d_name;

		if (text_number(&at, 10, INT_MAX, &pid) && !*at)
			err = look_at(t, pid);
	}
	closedir(dir);
	return err;
}

int top_begin(struct top *t)
{
	double began = cpu_seconds();
	int err = watch_open(&t->watch, 0, NULL);

	/* The screen says what a sweep costs. */
	t->watch.said_slow = true;
	if (!err)
		err = watch_begin(&t->watch);
	pace(t, began);
	t->sweeps = 0;
	/* The first picture is not to be waited for. */
	t->wait = t->interval;
	return err;
}

/* 0, or -1: an error that was told, or the user wants to stop. */
int top_sweep(struct top *t)
{
	double began = cpu_seconds();
	int err = watch_interval(&t->watch, 0);

	if (!err)
		err = look_at_all(t);
	if (err)
		return -1;
	settle(&t->processes);
	settle(&t->cgroups);
	err = watch_again(&t->watch);
	pace(t, began);
	return err;
}

void top_end(struct top *t)
{
	top_forget_ranges(t);
	free_rows(&t->processes);
	free_rows(&t->cgroups);
	watch_close(&t->watch);
}

// SPDX-License-Identifier: GPL-2.0
/* pagewatch wss: how much memory is in use, interval by interval. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "pagewatch.h"

#define UNKNOWN	UINT64_MAX

struct wss {
	struct watch watch;
	double interval;
	unsigned int count;	/* 0: until stopped */
	bool verbose;
	bool json;
	double start;
	unsigned int done;
	struct tally kind[NR_KINDS];
	struct tally total;
	uint64_t rss;
	uint64_t pss;		/* of the machine: what is mapped, each frame once */
};

static void count_process(struct wss *s)
{
	const struct watch *w = &s->watch;
	size_t i;

	for (i = 0; i < w->spans.nr; i++) {
		const struct span *span = &w->spans.span[i];

		frames_tally(&w->frames, span->pfn, span->nr,
			     &s->kind[w->proc.vma[span->vma].kind]);
	}
}

/* Without a process there are no VMAs: the frame's own flags say what it is. */
static void count_frames(struct wss *s)
{
	const struct frames *f = &s->watch.frames;
	size_t i, w;

	for (i = 0; i < f->nr; i++) {
		const struct piece *p = f->piece[i];

		for (w = 0; p && w < PIECE_WORDS; w++) {
			uint64_t want = p->want[w], anon = p->anon[w];
			uint64_t shmem = p->swapbacked[w] & ~anon;

			if (!want)
				continue;
			tally_words(p, w, want & anon, &s->kind[K_ANON]);
			tally_words(p, w, want & shmem, &s->kind[K_SHMEM]);
			tally_words(p, w, want & ~anon & ~shmem, &s->kind[K_FILE]);
		}
	}
}

static void add_up(struct wss *s)
{
	size_t i;

	for (i = 0; i < NR_KINDS; i++) {
		s->total.referenced += s->kind[i].referenced;
		s->total.idle += s->kind[i].idle;
		s->total.untracked += s->kind[i].untracked;
		s->total.rss += s->kind[i].rss;
		s->total.pss += s->kind[i].pss;
	}
}

static void measure(struct wss *s)
{
	const struct cgroup *cg = &s->watch.cgroup;
	size_t i;

	memset(s->kind, 0, sizeof(s->kind));
	memset(&s->total, 0, sizeof(s->total));
	s->rss = s->pss = 0;
	if (s->watch.target == T_PID)
		count_process(s);
	else
		count_frames(s);
	add_up(s);
	if (s->watch.target == T_PID) {
		s->rss = s->total.rss * page_size;
		s->pss = s->total.pss * page_size;
	} else if (s->watch.target == T_CGROUP) {
		for (i = 0; i < cg->nr_pids; i++)
			proc_rollup(cg->pid[i], &s->rss, &s->pss);
	} else {
		s->rss = proc_resident_all();
		s->pss = s->total.rss * page_size;	/* not shares, but each frame once */
	}
}

static void text_cgroup(const char *path)
{
	char *plain = text_plain(xstrdup(path), "");

	printf("cgroup %s", plain);
	free(plain);
}

static void text_begin(const struct wss *s)
{
	const struct watch *w = &s->watch;

	if (w->target == T_PID)
		printf("process %d (%s)", w->proc.pid, w->proc.comm);
	else if (w->target == T_CGROUP)
		text_cgroup(w->cgroup.path);
	else
		printf("the whole machine");
	printf(", %s\n", w->cumulative ? "referenced since the start" :
	       "referenced in each interval");
	printf("%9s %-10s %10s %10s %10s %10s %10s %5s\n", "SECONDS", s->verbose ? "KIND" : "",
	       "REFERENCED", "IDLE", "UNTRACKED", "RSS", w->target == T_ALL ? "MAPPED" : "PSS",
	       "REF%");
	fflush(stdout);
}

static void text_line(const struct wss *s, const char *kind, const struct tally *t, uint64_t rss,
		      uint64_t pss)
{
	uint64_t known = t->referenced + t->idle;
	char b[5][16];

	if (kind)
		printf("%9s %-10s", "", kind);
	else
		printf("%9.2f %-10s", now() - s->start, s->verbose ? "total" : "");
	printf(" %10s %10s %10s", human(t->referenced * page_size, b[0]),
	       human(t->idle * page_size, b[1]), human(t->untracked * page_size, b[2]));
	printf(" %10s", rss == UNKNOWN ? "-" : human(rss, b[3]));
	printf(" %10s", pss == UNKNOWN ? "-" : human(pss, b[4]));
	if (known)
		printf(" %4.0f%%\n", 100.0 * t->referenced / known);
	else
		printf(" %5s\n", "-");
}

/* A frame's flags do not tell how often it is mapped, nor whether by a cgroup's own processes. */
static uint64_t kind_rss(const struct wss *s, const struct tally *t)
{
	return s->watch.target == T_PID ? t->rss * page_size : UNKNOWN;
}

static uint64_t kind_pss(const struct wss *s, const struct tally *t)
{
	if (s->watch.target == T_CGROUP)
		return UNKNOWN;
	return s->watch.target == T_PID ? (uint64_t)(t->pss * page_size) : t->rss * page_size;
}

static bool is_empty(const struct tally *t)
{
	return !t->referenced && !t->idle && !t->untracked;
}

static void text_interval(const struct wss *s)
{
	size_t i;

	text_line(s, NULL, &s->total, s->rss, s->pss);
	for (i = 0; s->verbose && i < NR_KINDS; i++) {
		const struct tally *t = &s->kind[i];

		if (!is_empty(t))
			text_line(s, kind_names[i], t, kind_rss(s, t), kind_pss(s, t));
	}
	fflush(stdout);
}

static void json_begin(const struct wss *s)
{
	const struct watch *w = &s->watch;

	json_open(NULL, '{');
	json_str("command", "wss");
	json_str("version", VERSION);
	if (w->target == T_PID) {
		json_int("pid", w->proc.pid);
		json_str("comm", w->proc.comm);
	} else if (w->target == T_CGROUP) {
		json_str("cgroup", w->cgroup.path);
	}
	json_num("interval", s->interval);
	json_str("mode", w->cumulative ? "cumulative" : "snapshot");
	json_int("page_size", page_size);
	json_open("intervals", '[');
}

static void json_tally(const struct wss *s, const struct tally *t, uint64_t rss, uint64_t pss)
{
	json_int("referenced", t->referenced * page_size);
	json_int("idle", t->idle * page_size);
	json_int("untracked", t->untracked * page_size);
	if (rss != UNKNOWN)
		json_int("rss", rss);
	if (pss != UNKNOWN)
		json_int(s->watch.target == T_ALL ? "mapped" : "pss", pss);
}

static void json_interval(const struct wss *s)
{
	size_t i;

	json_open(NULL, '{');
	json_num("time", now() - s->start);
	json_num("seconds", s->watch.seconds);
	json_num("sweep_seconds", s->watch.sweep);
	json_num("work_seconds", s->watch.work);
	json_tally(s, &s->total, s->rss, s->pss);
	if (s->verbose) {
		json_open("kinds", '{');
		for (i = 0; i < NR_KINDS; i++) {
			const struct tally *t = &s->kind[i];

			if (is_empty(t))
				continue;
			json_open(kind_names[i], '{');
			json_tally(s, t, kind_rss(s, t), kind_pss(s, t));
			json_close('}');
		}
		json_close('}');
	}
	json_close('}');
	fflush(stdout);
}

static void json_end(const char *why)
{
	json_close(']');
	json_str("ended", why);
	json_close('}');
}

static int run_intervals(struct wss *s)
{
	int err = watch_begin(&s->watch);

	while (!err && (!s->count || s->done < s->count)) {
		err = watch_interval(&s->watch, s->interval);
		if (err)
			break;
		measure(s);
		s->done++;
		if (s->json)
			json_interval(s);
		else
			text_interval(s);
		if (ferror(stdout))
			return -1;
		if (!s->count || s->done < s->count)
			err = watch_again(&s->watch);
	}
	return err;
}

static int watch_it(struct wss *s)
{
	int err;

	s->start = now();
	if (s->json)
		json_begin(s);
	else
		text_begin(s);
	err = run_intervals(s);
	progress_end();
	if (err == E_GONE && s->watch.target == T_PID)
		proc_say_gone(&s->watch.proc, s->done);
	else if (err == E_GONE)
		note("cgroup %s is gone after %u complete intervals", s->watch.cgroup.path,
		     s->done);
	if (s->json)
		json_end(err == E_GONE ? "exited" : stop_requested() ? "interrupted" :
			 err ? "failed" : "count");
	if (!s->done && err != E_GONE && stop_requested())
		fail("interrupted before the first interval was over");
	if (err == E_GONE || stop_requested())
		return s->done ? EXIT_OK : EXIT_FAILED;
	return err ? EXIT_FAILED : EXIT_OK;
}

int cmd_wss(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "pid", 1, NULL, 'p' }, { "cgroup", 1, NULL, 'C' }, { "all", 0, NULL, 'a' },
		{ "interval", 1, NULL, 'i' }, { "count", 1, NULL, 'n' },
		{ "verbose", 0, NULL, 'v' }, { "cumulative", 0, NULL, 'c' },
		{ "json", 0, NULL, 'j' }, { "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' },
		{ 0 }
	};
	struct wss s = { .interval = 1, .watch.want_pss = true };
	const char *cgroup = NULL;
	bool all = false;
	pid_t pid = 0;
	int c, ret;

	while ((c = getopt_long(argc, argv, "p:C:ai:n:vchV", longs, NULL)) != -1) {
		switch (c) {
		case 'p':
			pid = opt_pid(optarg);
			break;
		case 'C':
			cgroup = optarg;
			break;
		case 'a':
			all = true;
			break;
		case 'i':
			s.interval = opt_seconds(optarg);
			break;
		case 'n':
			s.count = opt_count(optarg);
			break;
		case 'v':
			s.verbose = true;
			break;
		case 'c':
			s.watch.cumulative = true;
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
	if (!!pid + !!cgroup + all != 1)
		usage_error("give one of -p PID, -C CGROUP and --all");
	ret = watch_open(&s.watch, pid, cgroup) ? EXIT_FAILED : watch_it(&s);
	watch_close(&s.watch);
	return out_finish() ? EXIT_FAILED : ret;
}

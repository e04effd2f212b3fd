// SPDX-License-Identifier: GPL-2.0
/* pagewatch heatmap and report: a process's address space over time, as a record and a picture. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "slabs.h"

#define WANTED_ROWS	320	/* of a picture: more are thinner than a pixel or two */
#define MIN_CELL_PAGES	4

struct heatmap {
	struct watch watch;
	struct record record;
	unsigned int count;
	const char *keep;
	struct report how;
};

static const char *region_name(const struct vma *v)
{
	const char *slash = strrchr(v->name, '/');

	if (!*v->name)
		return "anon";
	if (*v->name == '[')
		return v->name;
	return slash && slash[1] ? slash + 1 : v->name;
}

/* The smallest power of two that needs no more rows than a picture has. */
static uint64_t cell_size(const struct spans *s)
{
	uint64_t cell = MIN_CELL_PAGES;

	while (cell * WANTED_ROWS < s->pages)
		cell *= 2;
	return cell * page_size;
}

static void record_interval(struct heatmap *h, double time)
{
	const struct watch *w = &h->watch;
	uint64_t cell_bytes = h->record.cell_bytes;
	struct cell c = { 0 };
	uint32_t last_vma = 0;
	struct shot *shot;
	size_t i;

	shot = record_shot(&h->record, time);
	for (i = 0; i < w->proc.nr_vmas; i++)
		record_region(&h->record, w->proc.vma[i].start, w->proc.vma[i].end,
			      region_name(&w->proc.vma[i]));
	for (i = 0; i < w->spans.nr; i++) {
		struct span s = w->spans.span[i];

		while (s.nr) {
			uint64_t end = (s.addr / cell_bytes + 1) * cell_bytes;
			uint32_t n = (end - s.addr) / page_size;
			struct tally t = { 0 };

			/* A cell begins with its first page that is there, within one VMA. */
			if (!c.addr || s.vma != last_vma ||
			    c.addr / cell_bytes != s.addr / cell_bytes) {
				if (c.addr)
					record_cell(shot, &c);
				c = (struct cell){ .addr = s.addr / cell_bytes * cell_bytes };
				if (c.addr < w->proc.vma[s.vma].start)
					c.addr = w->proc.vma[s.vma].start;
				last_vma = s.vma;
			}
			if (n > s.nr)
				n = s.nr;
			frames_tally(&w->frames, s.pfn, n, &t);
			c.referenced += t.referenced;
			c.idle += t.idle;
			c.untracked += t.untracked;
			s.addr += (uint64_t)n * page_size;
			s.pfn += n;
			s.nr -= n;
		}
	}
	if (c.addr)
		record_cell(shot, &c);
}

static int gather(struct heatmap *h)
{
	struct record *r = &h->record;
	double start = now();
	int err = watch_begin(&h->watch);

	r->pid = h->watch.proc.pid;
	memcpy(r->comm, h->watch.proc.comm, sizeof(r->comm));
	r->page_size = page_size;
	r->cell_bytes = cell_size(&h->watch.spans);
	while (!err && r->nr_shots < h->count) {
		snprintf(h->watch.label, sizeof(h->watch.label), "interval %zu of %u",
			 r->nr_shots + 1, h->count);
		err = watch_interval(&h->watch, r->interval);
		if (err)
			break;
		record_interval(h, now() - start);
		if (r->nr_shots < h->count)
			err = watch_again(&h->watch);
	}
	progress_end();
	if (err == E_GONE)
		proc_say_gone(&h->watch.proc, r->nr_shots);
	else if (err && !stop_requested())
		return -1;
	if (!r->nr_shots)
		return err == E_GONE ? -1 : fail("interrupted before the first interval was over");
	return 0;
}

/* The record first: it is what cannot be made again. */
static int deliver(const struct record *r, const char *keep, const struct report *how)
{
	if (keep && record_write(r, keep))
		return -1;
	if (how->json)
		record_json(r);
	if (how->picture && plot(r, how))
		return -1;
	if (how->picture && !how->json)
		printf("%s\n", how->picture);
	return out_finish();
}

int cmd_heatmap(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "pid", 1, NULL, 'p' }, { "interval", 1, NULL, 'i' }, { "count", 1, NULL, 'n' },
		{ "output", 1, NULL, 'o' }, { "record", 1, NULL, 'r' }, { "json", 0, NULL, 'j' },
		{ "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' }, { 0 }
	};
	struct heatmap h = { .count = 60, .record.interval = 1, .how = REPORT };
	pid_t pid = 0;
	int c, err;

	while ((c = getopt_long(argc, argv, "p:i:n:o:r:hV", longs, NULL)) != -1) {
		switch (c) {
		case 'p':
			pid = opt_pid(optarg);
			break;
		case 'i':
			h.record.interval = opt_seconds(optarg);
			break;
		case 'n':
			h.count = opt_count(optarg);
			break;
		case 'o':
			h.how.picture = optarg;
			break;
		case 'r':
			h.keep = optarg;
			break;
		case 'j':
			h.how.json = true;
			break;
		default:
			common_option(c);
		}
	}
	if (optind < argc)
		usage_error("'%s' is one word too many", argv[optind]);
	if (!pid)
		usage_error("give -p PID");
	if (!h.how.picture && !h.keep && !h.how.json)
		usage_error("nothing to do with the result: give -o FILE, --record FILE or --json");
	if ((h.how.picture && (plot_check(h.how.picture) || newfile_check(h.how.picture))) ||
	    (h.keep && newfile_check(h.keep)))
		return EXIT_FAILED;
	err = watch_open(&h.watch, pid, NULL);
	if (!err)
		err = gather(&h);
	if (!err)
		err = deliver(&h.record, h.keep, &h.how);
	watch_close(&h.watch);
	record_free(&h.record);
	return err ? EXIT_FAILED : EXIT_OK;
}

static void summarise(const struct record *r)
{
	uint64_t used = 0, known = 0;
	size_t i, k;

	for (i = 0; i < r->nr_shots; i++) {
		for (k = 0; k < r->shot[i].nr; k++) {
			used += r->shot[i].cell[k].referenced;
			known += r->shot[i].cell[k].referenced + r->shot[i].cell[k].idle;
		}
	}
	printf("process %d (%s): %zu intervals of %g s, %zu regions, "
	       "on average %.0f%% %s\n",
	       r->pid, r->comm, r->nr_shots, r->interval, r->nr_regions,
	       known ? 100.0 * used / known : 0.0, r->written ? "written" : "referenced");
}

/* Only the intervals that were asked for. */
static int cut(struct record *r, const char *path, const struct report *how)
{
	size_t i, last = how->last && how->last < r->nr_shots ? how->last : r->nr_shots;
	double before = how->first > 1 && how->first <= r->nr_shots ? r->shot[how->first - 2].time : 0;

	if (how->first > r->nr_shots)
		return fail("%s holds %zu intervals: there is none from %zu on", path, r->nr_shots,
			    how->first);
	for (i = 0; i < r->nr_shots; i++)
		if (i + 1 < how->first || i >= last)
			free(r->shot[i].cell);
	r->nr_shots = last - how->first + 1;
	memmove(r->shot, r->shot + how->first - 1, r->nr_shots * sizeof(*r->shot));
	/* A picture begins at 0, and its columns are as wide as they were. */
	for (i = 0; i < r->nr_shots; i++)
		r->shot[i].time -= before;
	return 0;
}

static int report_heatmap(const char *path, const struct report *how)
{
	struct record r;
	int err = record_read(&r, path);

	if (!err)
		err = cut(&r, path, how);
	if (!err && !how->picture && !how->json)
		summarise(&r);
	if (!err)
		err = deliver(&r, NULL, how);
	record_free(&r);
	return err;
}

int cmd_report(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "output", 1, NULL, 'o' }, { "size", 1, NULL, 's' }, { "range", 1, NULL, 'r' },
		{ "json", 0, NULL, 'j' }, { "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' }, { 0 }
	};
	struct report how = REPORT;
	int c, err;

	while ((c = getopt_long(argc, argv, "o:s:r:hV", longs, NULL)) != -1) {
		switch (c) {
		case 'o':
			how.picture = optarg;
			break;
		case 's':
			opt_size(optarg, &how);
			break;
		case 'r':
			opt_range(optarg, &how);
			break;
		case 'j':
			how.json = true;
			break;
		default:
			common_option(c);
		}
	}
	if (optind >= argc)
		usage_error("give a FILE that --record of heatmap, dirty or slabs wrote");
	if (how.picture && (plot_check(how.picture) || newfile_check(how.picture)))
		return EXIT_FAILED;
	if (is_slab_record(argv[optind])) {
		err = slabs_report(argv + optind, argc - optind, &how);
	} else {
		if (optind + 1 < argc)
			usage_error("'%s' is one word too many: only records of slabs can stand side by side",
				    argv[optind + 1]);
		err = report_heatmap(argv[optind], &how);
	}
	return err || out_finish() ? EXIT_FAILED : EXIT_OK;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * pagewatch dirty: which pages a process writes to.
 *
 *	PAGEMAP_SCAN	written since the last time --> protected again, in one call
 *
 * The kernel can do that where the program has armed a range itself, with a userfaultfd that notes
 * writes by itself (UFFD_FEATURE_WP_ASYNC). Of all else nobody knows, so it is told as not tracked.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pagewatch.h"

#define WANTED_ROWS	320
#define MIN_CELL_PAGES	4

struct dirty {
	struct proc proc;
	struct record record;
	unsigned int count;	/* 0: until interrupted */
	const char *keep;
	struct report how;
	bool said;		/* the head of the table */
	uint64_t written;	/* of the interval, in pages */
	uint64_t clean;
	uint64_t untracked;
};

/* --- pages into cells ------------------------------------------------------------------- */

struct cells {
	struct shot *shot;
	uint64_t bytes;
	struct cell at;
	bool any;
};

static void cell_end(struct cells *c)
{
	if (c->any)
		record_cell(c->shot, &c->at);
	c->any = false;
}

/* Pages from @from to @to are all of one kind; ranges come in the order of addresses. */
static void cell_add(struct cells *c, uint64_t from, uint64_t to, size_t kind)
{
	while (from < to) {
		uint64_t end = (from / c->bytes + 1) * c->bytes;
		uint32_t nr;

		if (end > to)
			end = to;
		nr = (end - from) / page_size;
		if (!c->any || c->at.addr / c->bytes != from / c->bytes) {
			cell_end(c);
			c->at = (struct cell){ .addr = from };
			c->any = true;
		}
		c->at.referenced += kind == 0 ? nr : 0;
		c->at.idle += kind == 1 ? nr : 0;
		c->at.untracked += kind == 2 ? nr : 0;
		from = end;
	}
}

/* --- one look at all memory ------------------------------------------------------------- */

struct sweep {
	struct cells cells;
	struct extents written;
	size_t next;		/* of those, the first that is not behind us */
	uint64_t pages[3];	/* written, not written, not tracked */
};

static void take_written(void *data, uint64_t from, uint64_t to, uint64_t categories)
{
	struct sweep *s = data;

	(void)categories;
	extents_add(&s->written, from, to);
}

static void count(struct sweep *s, uint64_t from, uint64_t to, size_t kind)
{
	s->pages[kind] += (to - from) / page_size;
	if (s->cells.shot)
		cell_add(&s->cells, from, to, kind);
}

/* A range that is tracked, in parts that were written and parts that were not. */
static void take_tracked(struct sweep *s, uint64_t from, uint64_t to)
{
	const struct extents *w = &s->written;

	while (from < to) {
		uint64_t begin = to, end = to;

		while (s->next < w->nr && w->extent[s->next].to <= from)
			s->next++;
		if (s->next < w->nr && w->extent[s->next].from < to) {
			begin = w->extent[s->next].from > from ? w->extent[s->next].from : from;
			end = w->extent[s->next].to < to ? w->extent[s->next].to : to;
		}
		count(s, from, begin, 1);
		count(s, begin, end, 0);
		from = end;
	}
}

static void take_range(void *data, uint64_t from, uint64_t to, uint64_t categories)
{
	if (categories & SCAN_WPALLOWED)
		take_tracked(data, from, to);
	else
		count(data, from, to, 2);
}

/*
 * To ask what was written and to protect it again is one call, or a write in between would never be
 * told. What there is besides is asked afterwards.
 */
static int sweep_vma(struct sweep *s, int fd, const struct vma *v)
{
	struct pagemap_query q = {
		.from = v->start, .to = v->end, .all_of = SCAN_WPALLOWED | SCAN_WRITTEN,
		.any_of = SCAN_PRESENT | SCAN_SWAPPED, .wanted = SCAN_WRITTEN, .protect = true,
	};
	int err;

	s->written.nr = s->next = 0;
	err = pagemap_scan(fd, &q, take_written, s);
	q.all_of = 0;
	q.wanted = SCAN_WPALLOWED;
	q.protect = false;
	if (!err)
		err = pagemap_scan(fd, &q, take_range, s);
	cell_end(&s->cells);
	return err;
}

/* @time: when it is, for the record; negative: only to begin. */
static int sweep(struct dirty *d, double time)
{
	struct sweep s = { 0 };
	int fd, err = 0;
	size_t i;

	if (proc_read_vmas(&d->proc))
		return E_GONE;
	fd = openat(d->proc.dir, "pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return proc_gone(&d->proc) ? E_GONE :
		       fail("cannot open /proc/%d/pagemap: %s", d->proc.pid, strerror(errno));
	if (time >= 0) {
		s.cells.shot = record_shot(&d->record, time);
		s.cells.bytes = d->record.cell_bytes;
	}
	for (i = 0; i < d->proc.nr_vmas && !err; i++) {
		const struct vma *v = &d->proc.vma[i];

		/* What cannot be written to is of no interest. */
		if (v->start >> 63 || v->perms[1] != 'w')
			continue;
		if (time >= 0)
			record_region(&d->record, v->start, v->end, *v->name ? v->name : "anon");
		err = sweep_vma(&s, fd, v);
	}
	close(fd);
	free(s.written.extent);
	d->written = s.pages[0];
	d->clean = s.pages[1];
	d->untracked = s.pages[2];
	return err;
}

/* --- what is told of it ----------------------------------------------------------------- */

static void print_row(struct dirty *d, double time)
{
	uint64_t tracked = d->written + d->clean;
	char a[16], b[16], c[16], share[16] = "-";

	if (!d->said)
		printf("%9s %9s %7s %9s %12s\n", "TIME", "WRITTEN", "SHARE", "TRACKED", "NOT TRACKED");
	d->said = true;
	if (tracked)
		snprintf(share, sizeof(share), "%.1f%%", 100.0 * d->written / tracked);
	printf("%9.2f %9s %7s %9s %12s\n", time, human(d->written * page_size, a), share,
	       human(tracked * page_size, b), human(d->untracked * page_size, c));
	fflush(stdout);
}

static void print_json(const struct dirty *d)
{
	const struct record *r = &d->record;
	size_t i, k;

	json_open(NULL, '{');
	json_str("command", "dirty");
	json_str("version", VERSION);
	json_int("pid", r->pid);
	json_str("comm", r->comm);
	json_num("interval", r->interval);
	json_int("page_size", page_size);
	json_open("intervals", '[');
	for (i = 0; i < r->nr_shots; i++) {
		uint64_t n[3] = { 0 };

		for (k = 0; k < r->shot[i].nr; k++) {
			n[0] += r->shot[i].cell[k].referenced;
			n[1] += r->shot[i].cell[k].idle;
			n[2] += r->shot[i].cell[k].untracked;
		}
		json_open(NULL, '{');
		json_num("time", r->shot[i].time);
		json_int("written", n[0] * page_size);
		json_int("tracked", (n[0] + n[1]) * page_size);
		json_int("not_tracked", n[2] * page_size);
		json_close('}');
	}
	json_close(']');
	json_close('}');
}

static uint64_t cell_size(uint64_t pages)
{
	uint64_t cell = MIN_CELL_PAGES;

	while (cell * WANTED_ROWS < pages)
		cell *= 2;
	return cell * page_size;
}

static void shot_forget(struct shot *s)
{
	free(s->cell);
	s->cell = NULL;
	s->nr = 0;
}

static int gather(struct dirty *d)
{
	struct record *r = &d->record;
	double start;
	int err;

	err = sweep(d, -1);
	r->pid = d->proc.pid;
	r->written = true;
	memcpy(r->comm, d->proc.comm, sizeof(r->comm));
	r->page_size = page_size;
	r->cell_bytes = cell_size(d->written + d->clean + d->untracked);
	if (!err && !d->written && !d->clean)
		note("process %d (%s) tracks no writes: it would have to register memory with a "
		     "userfaultfd, with UFFD_FEATURE_WP_ASYNC", d->proc.pid, d->proc.comm);
	start = now();
	while (!err && (!d->count || r->nr_shots < d->count)) {
		err = proc_sleep(&d->proc, start + (r->nr_shots + 1) * r->interval, "waiting");
		progress_end();
		if (!err)
			err = sweep(d, now() - start);
		if (!err && !d->how.json && !d->how.picture)
			print_row(d, now() - start);
		/* What goes on until it is interrupted must not grow. */
		if (!d->how.json && !d->how.picture && !d->keep && r->nr_shots)
			shot_forget(&r->shot[r->nr_shots - 1]);
	}
	if (err == E_GONE)
		proc_say_gone(&d->proc, r->nr_shots);
	else if (err && !stop_requested())
		return -1;
	if (!r->nr_shots)
		return err == E_GONE ? -1 : fail("interrupted before the first interval was over");
	return 0;
}

static int deliver(const struct dirty *d)
{
	if (d->keep && record_write(&d->record, d->keep))
		return -1;
	if (d->how.json)
		print_json(d);
	if (d->how.picture && plot(&d->record, &d->how))
		return -1;
	if (d->how.picture && !d->how.json)
		printf("%s\n", d->how.picture);
	return out_finish();
}

int cmd_dirty(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "pid", 1, NULL, 'p' }, { "interval", 1, NULL, 'i' }, { "count", 1, NULL, 'n' },
		{ "output", 1, NULL, 'o' }, { "record", 1, NULL, 'r' }, { "json", 0, NULL, 'j' },
		{ "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' }, { 0 }
	};
	struct dirty d = { .record.interval = 1, .how = REPORT };
	pid_t pid = 0;
	int c, err;

	while ((c = getopt_long(argc, argv, "p:i:n:o:r:hV", longs, NULL)) != -1) {
		switch (c) {
		case 'p':
			pid = opt_pid(optarg);
			break;
		case 'i':
			d.record.interval = opt_seconds(optarg);
			break;
		case 'n':
			d.count = opt_count(optarg);
			break;
		case 'o':
			d.how.picture = optarg;
			break;
		case 'r':
			d.keep = optarg;
			break;
		case 'j':
			d.how.json = true;
			break;
		default:
			common_option(c);
		}
	}
	if (optind < argc)
		usage_error("'%s' is one word too many", argv[optind]);
	if (!pid)
		usage_error("give -p PID");
	if ((d.how.picture && (plot_check(d.how.picture) || newfile_check(d.how.picture))) ||
	    (d.keep && newfile_check(d.keep)))
		return EXIT_FAILED;
	err = proc_open(&d.proc, pid);
	if (!err)
		err = gather(&d);
	if (!err)
		err = deliver(&d);
	proc_close(&d.proc);
	record_free(&d.record);
	return err ? EXIT_FAILED : EXIT_OK;
}

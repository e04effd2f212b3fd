// SPDX-License-Identifier: GPL-2.0
/*
 * A heatmap's record: lines of words, so that a script can read it too. The first line names the
 * format and its version, the last counts the shots, so that a copy cut short is noticed.
 *
 *   pagewatch-record 1
 *   pid 4711
 *   comm redis-server
 *   interval 1.000
 *   page_size 4096
 *   cell_bytes 1048576
 *   written                         of pagewatch dirty: pages written to, not referenced
 *   region START END NAME            hex; one for each VMA seen
 *   shot SECONDS CELLS               then CELLS lines, by address:
 *   ADDRESS REFERENCED IDLE UNTRACKED     hex, then pages
 *   end SHOTS
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pagewatch.h"

#define MAGIC		"pagewatch-record"
#define FORMAT		1
#define MAX_CELLS	(1U << 24)
#define MAX_SECONDS	1e10
#define MAX_PAGE	(1ULL << 30)
#define MAX_CELL	(1ULL << 42)

void record_region(struct record *r, uint64_t start, uint64_t end, const char *name)
{
	size_t i;

	/* A heap or a stack that grew is still the same region. */
	for (i = r->nr_regions; i-- > 0;) {
		struct region *old = &r->region[i];

		if ((old->start == start || old->end == end) && !strcmp(old->name, name)) {
			old->start = start < old->start ? start : old->start;
			old->end = end > old->end ? end : old->end;
			return;
		}
	}
	r->region = xrealloc(r->region, (r->nr_regions + 1) * sizeof(*r->region));
	r->region[r->nr_regions++] = (struct region){
		.start = start, .end = end, .name = xstrdup(name),
	};
}

struct shot *record_shot(struct record *r, double time)
{
	r->shot = xrealloc(r->shot, (r->nr_shots + 1) * sizeof(*r->shot));
	r->shot[r->nr_shots] = (struct shot){ .time = time };
	return &r->shot[r->nr_shots++];
}

void record_cell(struct shot *s, const struct cell *c)
{
	/* Room doubles whenever the number has become a power of two. */
	if (!(s->nr & (s->nr - 1)))
		s->cell = xrealloc(s->cell, (s->nr ? s->nr * 2 : 1) * sizeof(*s->cell));
	s->cell[s->nr++] = *c;
}

void record_free(struct record *r)
{
	size_t i;

	for (i = 0; i < r->nr_regions; i++)
		free(r->region[i].name);
	for (i = 0; i < r->nr_shots; i++)
		free(r->shot[i].cell);
	free(r->region);
	free(r->shot);
	*r = (struct record){ 0 };
}

static void put_line_text(FILE *f, const char *text)
{
	char *plain = text_plain(xstrdup(text), "");

	fprintf(f, "%s\n", plain);
	free(plain);
}

int record_write(const struct record *r, const char *path)
{
	struct newfile nf;
	size_t i, k;

	if (newfile_open(&nf, path))
		return -1;
	fprintf(nf.f, MAGIC " %d\npid %d\ncomm ", FORMAT, r->pid);
	put_line_text(nf.f, r->comm);
	fprintf(nf.f, "interval %.3f\npage_size %llu\ncell_bytes %llu\n", r->interval,
		(unsigned long long)r->page_size, (unsigned long long)r->cell_bytes);
	if (r->written)
		fputs("written\n", nf.f);
	for (i = 0; i < r->nr_regions; i++) {
		fprintf(nf.f, "region %llx %llx ", (unsigned long long)r->region[i].start,
			(unsigned long long)r->region[i].end);
		put_line_text(nf.f, r->region[i].name);
	}
	for (i = 0; i < r->nr_shots; i++) {
		const struct shot *s = &r->shot[i];

		fprintf(nf.f, "shot %.3f %zu\n", s->time, s->nr);
		for (k = 0; k < s->nr; k++)
			fprintf(nf.f, "%llx %u %u %u\n", (unsigned long long)s->cell[k].addr,
				s->cell[k].referenced, s->cell[k].idle, s->cell[k].untracked);
	}
	fprintf(nf.f, "end %zu\n", r->nr_shots);
	return newfile_commit(&nf);
}

static int read_header(struct record *r, struct reading *rd)
{
	const char *at;
	uint64_t pid;

	if (reading_format(rd, MAGIC, FORMAT, "pagewatch heatmap --record") ||
	    reading_number(rd, "pid", INT32_MAX, &pid) || reading_next(rd))
		return -1;
	r->pid = pid;
	at = reading_after(rd, "comm");
	if (!at)
		return reading_bad(rd, "'comm NAME' expected");
	/* The file need not be ours: what it says of names goes to a terminal too. */
	snprintf(r->comm, sizeof(r->comm), "%s", at);
	text_plain(r->comm, "");
	if (reading_next(rd))
		return -1;
	at = reading_after(rd, "interval");
	if (!at || !text_seconds(&at, MAX_SECONDS, &r->interval) || *at || r->interval <= 0)
		return reading_bad(rd, "'interval SECONDS' expected");
	if (reading_number(rd, "page_size", MAX_PAGE, &r->page_size) ||
	    reading_number(rd, "cell_bytes", MAX_CELL, &r->cell_bytes))
		return -1;
	if (!r->page_size || r->page_size & (r->page_size - 1))
		return reading_bad(rd, "page_size is no power of two");
	if (!r->cell_bytes || r->cell_bytes % r->page_size)
		return reading_bad(rd, "cell_bytes is no multiple of page_size");
	return 0;
}

static int read_cell(struct shot *s, struct reading *rd, uint64_t most)
{
	const char *at = rd->line;
	uint64_t addr, n[3];
	struct cell c;
	int i;

	if (!text_number(&at, 16, UINT64_MAX, &addr))
		return reading_bad(rd, "'ADDRESS REFERENCED IDLE UNTRACKED' expected");
	for (i = 0; i < 3; i++)
		if (!text_number(&at, 10, UINT32_MAX, &n[i]))
			return reading_bad(rd, "'ADDRESS REFERENCED IDLE UNTRACKED' expected");
	if (*at)
		return reading_bad(rd, "'ADDRESS REFERENCED IDLE UNTRACKED' expected");
	if (n[0] + n[1] + n[2] > most)
		return reading_bad(rd, "more pages than a cell has");
	if (s->nr && addr <= s->cell[s->nr - 1].addr)
		return reading_bad(rd, "addresses must rise");
	c = (struct cell){ .addr = addr, .referenced = n[0], .idle = n[1], .untracked = n[2] };
	record_cell(s, &c);
	return 0;
}

static int read_shot(struct record *r, struct reading *rd)
{
	const char *at = reading_after(rd, "shot");
	uint64_t nr, i;
	struct shot *s;
	double time;

	if (!at || !text_seconds(&at, MAX_SECONDS, &time) ||
	    !text_number(&at, 10, MAX_CELLS, &nr) || *at)
		return reading_bad(rd, "'shot SECONDS CELLS' expected");
	s = record_shot(r, time);
	for (i = 0; i < nr; i++)
		if (reading_next(rd) || read_cell(s, rd, r->cell_bytes / r->page_size))
			return -1;
	return 0;
}

static int read_region(struct record *r, struct reading *rd, const char *at)
{
	uint64_t start, end;
	char *name;

	if (!text_number(&at, 16, UINT64_MAX, &start) ||
	    !text_number(&at, 16, UINT64_MAX, &end) || *at != ' ')
		return reading_bad(rd, "'region START END NAME' expected");
	if (start >= end)
		return reading_bad(rd, "a region that ends before it starts");
	name = text_plain(xstrdup(at + 1), "");
	record_region(r, start, end, name);
	free(name);
	return 0;
}

static int read_body(struct record *r, struct reading *rd)
{
	uint64_t shots;
	const char *at;
	int err = 0;

	while (!err) {
		if (reading_next(rd))
			return -1;
		at = reading_after(rd, "end");
		if (at && text_number(&at, 10, UINT64_MAX, &shots) && !*at)
			return shots == r->nr_shots ? 0 : reading_bad(rd, "shots are missing before it");
		if (!strcmp(rd->line, "written")) {
			r->written = true;
			continue;
		}
		at = reading_after(rd, "region");
		err = at ? read_region(r, rd, at) : read_shot(r, rd);
	}
	return err;
}

int record_read(struct record *r, const char *path)
{
	struct reading rd;
	int err = reading_open(&rd, path);

	*r = (struct record){ 0 };
	if (err)
		return err;
	err = read_header(r, &rd);
	if (!err)
		err = read_body(r, &rd);
	if (!err && !r->nr_shots)
		err = fail("%s holds no measurement", path);
	reading_close(&rd);
	return err;
}

void record_json(const struct record *r)
{
	size_t i, k;

	json_open(NULL, '{');
	json_str("command", "heatmap");
	json_str("version", VERSION);
	json_int("pid", r->pid);
	json_str("comm", r->comm);
	if (r->written)
		json_str("of", "written");
	json_num("interval", r->interval);
	json_int("page_size", r->page_size);
	json_int("cell_bytes", r->cell_bytes);
	json_open("regions", '[');
	for (i = 0; i < r->nr_regions; i++) {
		json_open(NULL, '{');
		json_int("start", r->region[i].start);
		json_int("end", r->region[i].end);
		json_str("name", r->region[i].name);
		json_close('}');
	}
	json_close(']');
	json_open("shots", '[');
	for (i = 0; i < r->nr_shots; i++) {
		json_open(NULL, '{');
		json_num("time", r->shot[i].time);
		json_open("cells", '[');
		for (k = 0; k < r->shot[i].nr; k++) {
			const struct cell *c = &r->shot[i].cell[k];

			json_open(NULL, '[');
			json_int(NULL, c->addr);
			json_int(NULL, c->referenced);
			json_int(NULL, c->idle);
			json_int(NULL, c->untracked);
			json_close(']');
		}
		json_close(']');
		json_close('}');
	}
	json_close(']');
	json_close('}');
}

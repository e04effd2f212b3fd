// SPDX-License-Identifier: GPL-2.0
/*
 * Slab caches over time: looked at once an interval, kept as a record, or told as slabinfo -X does.
 *
 *   pagewatch-slabs 1
 *   interval 1.000
 *   source /sys/kernel/slab
 *   sample SECONDS CACHES            then CACHES lines:
 *   OBJECT USED OBJECTS SLABS BYTES LOSS NAME
 *   end SAMPLES
 *
 * A record grows with each sample and is written at the end, when the user interrupts too.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "slabs.h"

#define MAGIC		"pagewatch-slabs"
#define FORMAT		1
#define MAX_CACHES	100000
#define MAX_SECONDS	1e10
#define MAX_AMOUNT	(1ULL << 56)
#define TOP		5	/* rows of a list as slabinfo -X has it */

void slab_record_free(struct slab_record *r)
{
	size_t i;

	for (i = 0; i < r->nr; i++)
		slab_list_free(&r->sample[i].list);
	free(r->sample);
	*r = (struct slab_record){ 0 };
}

static struct slab_sample *new_sample(struct slab_record *r, double time)
{
	r->sample = xrealloc(r->sample, (r->nr + 1) * sizeof(*r->sample));
	r->sample[r->nr] = (struct slab_sample){ .time = time };
	return &r->sample[r->nr++];
}

static void add_row(struct slab_list *l, const struct slab *s)
{
	l->slab = xrealloc(l->slab, (l->nr + 1) * sizeof(*s));
	l->slab[l->nr++] = *s;
}

/* Names need not be unique: the @nth of this one, from 0. */
const struct slab *slab_find(const struct slab_list *l, const char *name, unsigned int nth)
{
	size_t i;

	for (i = 0; i < l->nr; i++)
		if (!strcmp(l->slab[i].name, name) && !nth--)
			return &l->slab[i];
	return NULL;
}

/* --- as a file -------------------------------------------------------------------------- */

static void put_row(FILE *f, const struct slab *s)
{
	fprintf(f, "%llu %llu %llu %llu %llu %llu %s\n", (unsigned long long)s->object,
		(unsigned long long)s->used, (unsigned long long)s->objects,
		(unsigned long long)s->slabs, (unsigned long long)s->bytes,
		(unsigned long long)s->loss, s->name);
}

static int record_write_slabs(const struct slab_record *r, const char *path)
{
	struct newfile nf;
	size_t i, k;

	if (newfile_open(&nf, path))
		return -1;
	fprintf(nf.f, MAGIC " %d\ninterval %.3f\nsource %s\n", FORMAT, r->interval,
		r->slabinfo ? "/proc/slabinfo" : "/sys/kernel/slab");
	for (i = 0; i < r->nr; i++) {
		const struct slab_list *l = &r->sample[i].list;

		fprintf(nf.f, "sample %.3f %zu\n", r->sample[i].time, l->nr);
		for (k = 0; k < l->nr; k++)
			put_row(nf.f, &l->slab[k]);
	}
	fprintf(nf.f, "end %zu\n", r->nr);
	return newfile_commit(&nf);
}

static int read_row(struct slab_list *l, struct reading *rd)
{
	struct slab s = { .names = 1 };
	uint64_t *const to[] = { &s.object, &s.used, &s.objects, &s.slabs, &s.bytes, &s.loss };
	const char *at = rd->line;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(to); i++)
		if (!text_number(&at, 10, MAX_AMOUNT, to[i]))
			return reading_bad(rd, "'OBJECT USED OBJECTS SLABS BYTES LOSS NAME' expected");
	if (*at != ' ' || !at[1])
		return reading_bad(rd, "a cache without a name");
	s.name = text_plain(xstrdup(at + 1), "");
	add_row(l, &s);
	return 0;
}

static int read_sample(struct slab_record *r, struct reading *rd)
{
	const char *at = reading_after(rd, "sample");
	struct slab_sample *s;
	uint64_t nr, i;
	double time;

	if (!at || !text_seconds(&at, MAX_SECONDS, &time) ||
	    !text_number(&at, 10, MAX_CACHES, &nr) || *at)
		return reading_bad(rd, "'sample SECONDS CACHES' expected");
	if (r->nr && time < r->sample[r->nr - 1].time)
		return reading_bad(rd, "time must rise");
	s = new_sample(r, time);
	for (i = 0; i < nr; i++)
		if (reading_next(rd) || read_row(&s->list, rd))
			return -1;
	return 0;
}

static int read_head(struct slab_record *r, struct reading *rd)
{
	const char *at;

	if (reading_format(rd, MAGIC, FORMAT, "pagewatch slabs --record") || reading_next(rd))
		return -1;
	at = reading_after(rd, "interval");
	if (!at || !text_seconds(&at, MAX_SECONDS, &r->interval) || *at || r->interval <= 0)
		return reading_bad(rd, "'interval SECONDS' expected");
	if (reading_next(rd))
		return -1;
	at = reading_after(rd, "source");
	if (!at)
		return reading_bad(rd, "'source FILE' expected");
	r->slabinfo = !strcmp(at, "/proc/slabinfo");
	return 0;
}

static int read_samples(struct slab_record *r, struct reading *rd)
{
	uint64_t nr;
	const char *at;

	for (;;) {
		if (reading_next(rd))
			return -1;
		at = reading_after(rd, "end");
		if (at && text_number(&at, 10, UINT64_MAX, &nr) && !*at)
			return nr == r->nr ? 0 : reading_bad(rd, "samples are missing before it");
		if (read_sample(r, rd))
			return -1;
	}
}

int slab_record_read(struct slab_record *r, const char *path)
{
	struct reading rd;
	int err = reading_open(&rd, path);

	*r = (struct slab_record){ .path = path };
	if (err)
		return err;
	err = read_head(r, &rd);
	if (!err)
		err = read_samples(r, &rd);
	if (!err && !r->nr)
		err = fail("%s holds no sample", path);
	reading_close(&rd);
	return err;
}

/*
 * What cannot be read is no record of slabs: who reads it for real says why. Of a pipe nothing is read
 * here, as it would be missing then.
 */
bool is_slab_record(const char *path)
{
	char start[sizeof(MAGIC)] = "";
	struct stat st;
	FILE *f = stat(path, &st) || !S_ISREG(st.st_mode) ? NULL : fopen(path, "r");
	bool is = f && fgets(start, sizeof(start), f) && !strcmp(start, MAGIC);

	if (f)
		fclose(f);
	return is;
}

/* --- as slabinfo -X tells it ------------------------------------------------------------ */

/* Words and columns that slabinfo-gnuplot.sh looks for; all amounts in bytes. */
static void tell_list(struct slab_list *l, bool by_loss)
{
	size_t i;

	slabs_sort(l, by_loss);
	printf("\nSlabs sorted by %s\n--------------------\n%-24s %10s %8s %14s\n", by_loss ? "loss" : "size", "Name",
	       "Objects", "Objsize", by_loss ? "Loss" : "Space");
	for (i = 0; i < l->nr && i < TOP; i++) {
		const struct slab *s = &l->slab[i];

		printf("%-24s %10llu %8llu %14llu\n", s->name, (unsigned long long)s->used,
		       (unsigned long long)s->object,
		       (unsigned long long)(by_loss ? s->loss : s->bytes));
	}
}

static void tell_as_slabinfo(struct slab_list *l)
{
	struct slab sum;

	slabs_add_up(l, &sum);
	printf("Slabcache Totals\nSlabcaches : %15zu\n"
	       "Memory used: %15llu   # Loss   : %15llu   MRatio:%6.0f%%\n", l->nr,
	       (unsigned long long)sum.bytes, (unsigned long long)sum.loss,
	       sum.bytes > sum.loss ? 100.0 * sum.loss / (sum.bytes - sum.loss) : 0.0);
	tell_list(l, true);
	tell_list(l, false);
	puts("");
	fflush(stdout);
}

/* --- again and again -------------------------------------------------------------------- */

/* 0, or -1 for an error: one that was told, or the user who has seen enough. */
static int sample(struct slab_record *r, const struct slab_watch *w, double start)
{
	struct slab_sample *s = new_sample(r, now() - start);
	int err = slabs_read(&s->list, &r->slabinfo);

	if (!err && w->slabinfo)
		tell_as_slabinfo(&s->list);
	if (err || !w->record) {
		slab_list_free(&s->list);
		r->nr--;
	}
	return err || ferror(stdout) ? -1 : 0;
}

/**
 * slabs_watch() - look at all caches once an interval, and keep or tell what was seen
 * @w: how often, how many times, and where to
 *
 * An interrupt ends it early: what there is is kept.
 *
 * Return: 0; -1 when something failed, which has been said, or when nothing was seen.
 */
int slabs_watch(const struct slab_watch *w)
{
	struct slab_record r = { .interval = w->interval };
	double start = now();
	unsigned int done = 0;
	int err;

	if (w->record && newfile_check(w->record))
		return -1;
	do {
		err = sample(&r, w, start);
		done += !err;
		/* From the start on, so that what a look costs adds up to nothing. */
	} while (!err && done != w->count && !proc_sleep(NULL, start + done * w->interval, "waiting"));
	progress_end();
	if (w->record && r.nr)
		err |= record_write_slabs(&r, w->record);
	slab_record_free(&r);
	return err;
}

/* --- what a record says ----------------------------------------------------------------- */

/* What has grown most from the first sample to the last. */
static const struct slab *grew_most(const struct slab_record *r, int64_t *most)
{
	const struct slab_list *first = &r->sample[0].list, *last = &r->sample[r->nr - 1].list;
	const struct slab *found = NULL;
	size_t i;

	*most = 0;
	for (i = 0; i < last->nr; i++) {
		const struct slab *was = slab_find(first, last->slab[i].name, 0);
		int64_t grown = last->slab[i].bytes - (was ? was->bytes : 0);

		if (grown > *most) {
			*most = grown;
			found = &last->slab[i];
		}
	}
	return found;
}

static void summarise(const struct slab_record *r)
{
	const struct slab *most;
	struct slab first, last;
	char a[16], b[16], c[16];
	int64_t grown;

	slabs_add_up(&r->sample[0].list, &first);
	slabs_add_up(&r->sample[r->nr - 1].list, &last);
	printf("%s: %zu samples of %g s, %s at the start, %s at the end, of which %s are loss", r->path,
	       r->nr, r->interval, human(first.bytes, a), human(last.bytes, b), human(last.loss, c));
	most = grew_most(r, &grown);
	if (most)
		printf("; %s grew most, by %s", most->name, human(grown, a));
	puts("");
}

static void json_sample(const struct slab_sample *s)
{
	size_t i;

	json_open(NULL, '{');
	json_num("time", s->time);
	json_open("slabs", '[');
	for (i = 0; i < s->list.nr; i++) {
		const struct slab *x = &s->list.slab[i];

		json_open(NULL, '{');
		json_str("name", x->name);
		json_int("object_size", x->object);
		json_int("used", x->used);
		json_int("objects", x->objects);
		json_int("slabs", x->slabs);
		json_int("bytes", x->bytes);
		json_int("loss", x->loss);
		json_close('}');
	}
	json_close(']');
	json_close('}');
}

static void tell_json(const struct slab_record *r)
{
	size_t i;

	json_open(NULL, '{');
	json_str("command", "slabs");
	json_str("version", VERSION);
	json_str("source", r->slabinfo ? "/proc/slabinfo" : "/sys/kernel/slab");
	json_num("interval", r->interval);
	json_open("samples", '[');
	for (i = 0; i < r->nr; i++)
		json_sample(&r->sample[i]);
	json_close(']');
	json_close('}');
}

/* Only the samples that were asked for. */
static int cut(struct slab_record *r, const struct report *how)
{
	size_t i, last = how->last && how->last < r->nr ? how->last : r->nr;

	if (how->first > r->nr)
		return fail("%s holds %zu samples: there is none from %zu on", r->path, r->nr, how->first);
	for (i = 0; i < r->nr; i++)
		if (i + 1 < how->first || i >= last)
			slab_list_free(&r->sample[i].list);
	r->nr = last - how->first + 1;
	memmove(r->sample, r->sample + how->first - 1, r->nr * sizeof(*r->sample));
	return 0;
}

/**
 * slabs_report() - summarise, draw or print records of slabs
 * @path: the records' files
 * @nr: how many; several are drawn side by side, to the same scale
 * @how: the picture, the range of samples, JSON
 *
 * Return: 0, or -1 when something failed, which has been said.
 */
int slabs_report(char **path, size_t nr, const struct report *how)
{
	struct slab_record *r = xcalloc(nr, sizeof(*r));
	size_t i;
	int err = 0;

	if (how->json && nr > 1)
		usage_error("--json tells one record: give one FILE");
	for (i = 0; i < nr && !err; i++) {
		err = slab_record_read(&r[i], path[i]);
		err = err ? err : cut(&r[i], how);
	}
	for (i = 0; i < nr && !err && !how->picture && !how->json; i++)
		summarise(&r[i]);
	if (!err && how->json)
		tell_json(&r[0]);
	if (!err && how->picture) {
		err = slabs_plot(r, nr, how);
		if (!err && !how->json)
			puts(how->picture);
	}
	for (i = 0; i < nr; i++)
		slab_record_free(&r[i]);
	free(r);
	return err;
}

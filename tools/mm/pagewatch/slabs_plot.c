// SPDX-License-Identifier: GPL-2.0
/*
 * Records of slabs as a picture: a column for each record, all to one scale and with the same caches
 * in the same colours, so that before and after can be compared.
 *
 *		before.rec		after.rec
 *		+-----------------+	+-----------------+
 *	MiB	| all, loss	  |	|		  |	of all caches
 *		+-----------------+	+-----------------+
 *	MiB	| a line each	  |	|		  |	the largest
 *		+-----------------+	+-----------------+
 *	MiB	| a line each	  |	|		  |	those with most loss
 *		+-----------------+	+-----------------+
 *		seconds
 */
#include <stdlib.h>
#include <string.h>

#include "slabs.h"

#define SHOWN	6	/* caches with a line of their own */
#define LEFT	0.06
#define RIGHT	0.99
#define TOP	0.93
#define BOTTOM	0.06
#define GAP	0.07

/* A cache of any of the records: the nth of its name. */
struct shown {
	const char *name;
	unsigned int nth;
	uint64_t most;
};

struct drawing {
	const struct slab_record *r;
	size_t nr;
	const struct report *how;
	struct shown largest[SHOWN];
	struct shown lossy[SHOWN];
	double top[3];		/* of each row of panels, in MiB */
};

static const char *const colours[SHOWN] = {
	"#12204d", "#7d3aa0", "#d8476b", "#f98d3c", "#2a9d8f", "#6b7280",
};

static unsigned int nth_of(const struct slab_list *l, size_t index)
{
	unsigned int nth = 0;
	size_t i;

	for (i = 0; i < index; i++)
		nth += !strcmp(l->slab[i].name, l->slab[index].name);
	return nth;
}

/* Among the best of its kind, if its amount is large enough. */
static void note_cache(struct shown *best, const char *name, unsigned int nth, uint64_t amount)
{
	struct shown it = { .name = name, .nth = nth, .most = amount };
	size_t i;

	/* Its own older place first; all behind it move up. */
	for (i = 0; i < SHOWN; i++) {
		if (!best[i].name || best[i].nth != nth || strcmp(best[i].name, name))
			continue;
		if (best[i].most >= amount)
			return;
		memmove(&best[i], &best[i + 1], (SHOWN - 1 - i) * sizeof(*best));
		best[SHOWN - 1] = (struct shown){ 0 };
		break;
	}
	for (i = 0; i < SHOWN && best[i].most >= amount; i++)
		;
	if (i == SHOWN)
		return;
	memmove(&best[i + 1], &best[i], (SHOWN - 1 - i) * sizeof(*best));
	best[i] = it;
}

static void note_top(double *top, uint64_t bytes)
{
	double mib = bytes / 1048576.0;

	*top = mib > *top ? mib : *top;
}

static void choose(struct drawing *d)
{
	size_t k, i, c;

	for (k = 0; k < d->nr; k++) {
		for (i = 0; i < d->r[k].nr; i++) {
			const struct slab_list *l = &d->r[k].sample[i].list;
			struct slab sum;

			slabs_add_up(l, &sum);
			note_top(&d->top[0], sum.bytes);
			for (c = 0; c < l->nr; c++) {
				const struct slab *s = &l->slab[c];
				unsigned int nth = nth_of(l, c);

				note_cache(d->largest, s->name, nth, s->bytes);
				note_cache(d->lossy, s->name, nth, s->loss);
			}
		}
	}
	note_top(&d->top[1], d->largest[0].most);
	note_top(&d->top[2], d->lossy[0].most);
}

static double amount_of(const struct slab_list *l, const struct shown *what, bool loss)
{
	const struct slab *s = slab_find(l, what->name, what->nth);

	return s ? (loss ? s->loss : s->bytes) / 1048576.0 : 0;
}

/* One block for each record: time, all, loss, the largest, those with most loss. */
static void put_data(const struct drawing *d, size_t k, FILE *f)
{
	const struct slab_record *r = &d->r[k];
	struct slab sum;
	size_t i, c;

	fprintf(f, "$r%zu << EOD\n", k);
	for (i = 0; i < r->nr; i++) {
		const struct slab_list *l = &r->sample[i].list;

		slabs_add_up(l, &sum);
		fprintf(f, "%.3f %.6f %.6f", r->sample[i].time, sum.bytes / 1048576.0,
			sum.loss / 1048576.0);
		for (c = 0; c < SHOWN && d->largest[c].name; c++)
			fprintf(f, " %.6f", amount_of(l, &d->largest[c], false));
		for (; c < SHOWN; c++)
			fputs(" 0", f);
		for (c = 0; c < SHOWN && d->lossy[c].name; c++)
			fprintf(f, " %.6f", amount_of(l, &d->lossy[c], true));
		fputc('\n', f);
	}
	fputs("EOD\n", f);
}

static void put_lines(const struct shown *best, size_t k, int column, FILE *f)
{
	size_t c;

	fputs("plot", f);
	for (c = 0; c < SHOWN && best[c].name; c++) {
		fprintf(f, "%s '$r%zu' using 1:%zu with linespoints pt 7 ps 0.3 lw 1.6 lc rgb '%s' title '",
			c ? "," : "", k, column + c, colours[c]);
		plot_text(f, best[c].name);
		fputc('\'', f);
	}
	fputc('\n', f);
}

static void put_panel(const struct drawing *d, size_t k, int row, FILE *f)
{
	static const char *const titles[] = { "all caches", "the largest", "most loss" };
	double width = (RIGHT - LEFT + GAP) / d->nr, height = (TOP - BOTTOM + GAP) / 3;
	double left = LEFT + k * width, bottom = BOTTOM + (2 - row) * height;

	fprintf(f, "set lmargin at screen %.4f\nset rmargin at screen %.4f\n"
		"set bmargin at screen %.4f\nset tmargin at screen %.4f\n"
		"set yrange [0:%.6f]\nset title '%s' font ',10' offset 0,-0.6\n",
		left, left + width - GAP, bottom, bottom + height - GAP,
		d->top[row] > 0 ? d->top[row] * 1.4 : 1, titles[row]);
	fprintf(f, "set ylabel '%s'\nset xlabel '%s' offset 0,0.6\n", k ? "" : "MiB",
		row == 2 ? "seconds" : "");
	if (row == 1)
		put_lines(d->largest, k, 4, f);
	else if (row == 2)
		put_lines(d->lossy, k, 4 + SHOWN, f);
	else
		fprintf(f, "plot '$r%zu' using 1:2 with filledcurves y1=0 fc rgb '#c7cbe6' title 'size', "
			"'$r%zu' using 1:3 with filledcurves y1=0 fc rgb '#f98d3c' title 'loss'\n", k, k);
}

static void put_script(const void *what, FILE *f, bool svg)
{
	const struct drawing *d = what;
	size_t k;
	int row;

	plot_terminal(f, svg, d->how);
	fputs("set encoding utf8\nset tics nomirror scale 0.5 font ',9'\nset border 3 lc rgb '#9ca3af'\n"
	      "set grid y lw 0.5 lc rgb '#e5e7eb'\n"
	      "set key top left Left reverse samplen 1.2 font ',8' maxrows 3\n", f);
	for (k = 0; k < d->nr; k++)
		put_data(d, k, f);
	fputs("set multiplot\n", f);
	for (k = 0; k < d->nr; k++) {
		double width = (RIGHT - LEFT + GAP) / d->nr;

		fprintf(f, "set label 1 '");
		plot_text(f, d->r[k].path);
		fprintf(f, "' at screen %.4f, 0.975 left font ',13'\n", LEFT + k * width);
		for (row = 0; row < 3; row++) {
			put_panel(d, k, row, f);
			fputs("unset label 1\n", f);
		}
	}
	fputs("unset multiplot\n", f);
}

int slabs_plot(const struct slab_record *r, size_t nr, const struct report *how)
{
	struct drawing d = { .r = r, .nr = nr, .how = how };

	choose(&d);
	if (!d.largest[0].name)
		return fail("%s holds no cache to draw", r->path);
	return plot_draw(how->picture, put_script, &d);
}

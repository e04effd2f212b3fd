// SPDX-License-Identifier: GPL-2.0
/*
 * A record as a picture, drawn by gnuplot.
 *
 *   cell   a fixed stretch of addresses, as measured
 *   row    one cell of a large region, or several small regions together
 *   band   neighbouring rows that carry one name; blank lines stand between bands
 *   line   what is drawn: a row is as many equal lines as its band needs to be legible
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pagewatch.h"

#define MIN_BAND	36	/* a band is at least 1/36 of the height, so that its name fits */
#define FAR		(1ULL << 30)	/* what lies further apart is never one band */

/*
 * Where things are, in parts of the picture's width and height, for gnuplot:
 *
 *	      LEFT				    RIGHT   BOX
 *		title					    TITLE
 *		what it shows				    SUBTITLE
 *		+-----------------------------------+	    MAP_TOP
 *	  name	| map: time across, memory up	    | address   colours
 *		+-----------------------------------+	    MAP_BOTTOM
 *		| sums				    | key	    SUMS_TOP
 *		+-----------------------------------+	    SUMS_BOTTOM
 */
#define LEFT		"0.185"
#define RIGHT		"0.83"
#define BOX		"0.935"
#define BOX_WIDTH	"0.014"
#define TITLE		"0.955"
#define SUBTITLE	"0.918"
#define MAP_TOP		"0.89"
#define MAP_BOTTOM	"0.26"
#define MAP_HEIGHT	"0.63"
#define SUMS_TOP	"0.235"
#define SUMS_BOTTOM	"0.085"
/* Beside a band, in parts of the map's width. */
#define NAME_ENDS	"-0.052"
#define SIZE_ENDS	"-0.008"
#define ADDRESS_BEGINS	"1.008"
#define KEY_BEGINS	"1.01"

#define INK		"tc rgb '#111827'"
#define INK_NAMES	"tc rgb '#1f2937'"
#define INK_AXES	"tc rgb '#374151'"
#define INK_PALE	"tc rgb '#6b7280'"
#define INK_FAINT	"tc rgb '#9ca3af'"

struct band {
	size_t first_row;
	size_t nr_rows;
	size_t weight;		/* lines for each row */
	size_t line;		/* its lowest */
	uint64_t start;
	uint64_t pages;
	const char *name;	/* of its largest region */
	uint64_t name_pages;
	unsigned int others;	/* further regions in it */
	bool small;
};

struct picture {
	const struct record *r;
	const struct report *how;
	uint64_t *addr;		/* of all cells ever seen, sorted */
	size_t *row;		/* that shows the cell */
	uint64_t *pages;	/* at most in the cell */
	size_t nr_cells;
	size_t nr_rows;
	struct band *band;
	size_t nr_bands;
	size_t nr_lines;
	size_t least;		/* lines of the thinnest band */
	float *share;		/* [row][shot], negative where nothing is */
};

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static size_t cell_index(const struct picture *p, uint64_t addr)
{
	uint64_t *at = bsearch(&addr, p->addr, p->nr_cells, sizeof(addr), by_value);

	return at - p->addr;
}

static void collect_cells(struct picture *p)
{
	const struct record *r = p->r;
	size_t i, k, n = 0;

	for (i = 0; i < r->nr_shots; i++)
		n += r->shot[i].nr;
	p->addr = xcalloc(n, sizeof(*p->addr));
	for (i = n = 0; i < r->nr_shots; i++)
		for (k = 0; k < r->shot[i].nr; k++)
			p->addr[n++] = r->shot[i].cell[k].addr;
	qsort(p->addr, n, sizeof(*p->addr), by_value);
	for (i = k = 0; i < n; i++)
		if (!i || p->addr[i] != p->addr[i - 1])
			p->addr[k++] = p->addr[i];
	p->nr_cells = k;
	p->row = xcalloc(k, sizeof(*p->row));
	p->pages = xcalloc(k, sizeof(*p->pages));
	for (i = 0; i < r->nr_shots; i++) {
		for (k = 0; k < r->shot[i].nr; k++) {
			const struct cell *c = &r->shot[i].cell[k];
			uint64_t pages = (uint64_t)c->referenced + c->idle + c->untracked;
			uint64_t *most = &p->pages[cell_index(p, c->addr)];

			*most = pages > *most ? pages : *most;
		}
	}
}

/* The newest region there: a VMA may have taken the place of another. */
static const char *name_at(const struct record *r, uint64_t addr)
{
	size_t i;

	for (i = r->nr_regions; i-- > 0;)
		if (addr >= r->region[i].start && addr < r->region[i].end)
			return r->region[i].name;
	return "?";
}

static struct band *new_band(struct picture *p, uint64_t start, bool small)
{
	p->band = xrealloc(p->band, (p->nr_bands + 1) * sizeof(*p->band));
	p->band[p->nr_bands] = (struct band){
		.first_row = p->nr_rows, .start = start, .small = small, .name = "",
	};
	return &p->band[p->nr_bands++];
}

/* The end of the cells from @i on that have one name and lie close to each other. */
static size_t same_name(const struct picture *p, size_t i)
{
	const char *name = name_at(p->r, p->addr[i]);

	for (i++; i < p->nr_cells; i++)
		if (p->addr[i] - p->addr[i - 1] > FAR || strcmp(name_at(p->r, p->addr[i]), name))
			break;
	return i;
}

/* Libraries and the like, each less than half a cell, share one row: alone they would be noise. */
static void make_bands(struct picture *p)
{
	const struct record *r = p->r;
	uint64_t half = r->cell_bytes / r->page_size / 2;
	struct band *b = NULL;
	const char *last = NULL;
	size_t i, k, c;

	for (i = 0; i < p->nr_cells; i = k) {
		const char *name = name_at(r, p->addr[i]);
		bool far = i && p->addr[i] - p->addr[i - 1] > FAR;
		uint64_t pages = 0;
		bool small;

		k = same_name(p, i);
		for (c = i; c < k; c++)
			pages += p->pages[c];
		small = pages < half;
		if (!b || far || b->small != small || (!small && strcmp(name, last))) {
			b = new_band(p, p->addr[i], small);
			if (small)
				p->nr_rows++;
		} else {
			b->others++;
		}
		last = name;
		b->pages += pages;
		if (pages > b->name_pages) {
			b->name_pages = pages;
			b->name = name;
		}
		for (c = i; c < k; c++)
			p->row[c] = small ? p->nr_rows - 1 : p->nr_rows++;
		b->nr_rows = p->nr_rows - b->first_row;
	}
}

/* Thin bands are stretched; between two bands lies a blank stretch. */
static void lay_out(struct picture *p)
{
	size_t gap, i;
	size_t parts = p->nr_bands > MIN_BAND * 2 / 3 ? p->nr_bands * 3 / 2 : MIN_BAND;
	size_t scale = p->nr_rows < 300 ? 300 / p->nr_rows + 1 : 1;

	p->least = (p->nr_rows * scale + parts - 1) / parts;
	gap = p->least / 4 + 1;
	for (i = 0; i < p->nr_bands; i++) {
		struct band *b = &p->band[i];

		b->weight = b->small ? p->least : scale;
		if (b->nr_rows * b->weight < p->least)
			b->weight = (p->least + b->nr_rows - 1) / b->nr_rows;
		if (i)
			p->nr_lines += gap;
		b->line = p->nr_lines;
		p->nr_lines += b->nr_rows * b->weight;
	}
}

static void fill_rows(struct picture *p)
{
	const struct record *r = p->r;
	uint64_t *used = xcalloc(p->nr_rows * 2, sizeof(*used)), *known = used + p->nr_rows;
	size_t i, k;

	p->share = xcalloc(p->nr_rows * r->nr_shots, sizeof(*p->share));
	for (i = 0; i < r->nr_shots; i++) {
		memset(used, 0, p->nr_rows * 2 * sizeof(*used));
		for (k = 0; k < r->shot[i].nr; k++) {
			const struct cell *c = &r->shot[i].cell[k];
			size_t row = p->row[cell_index(p, c->addr)];

			used[row] += c->referenced;
			known[row] += (uint64_t)c->referenced + c->idle;
		}
		for (k = 0; k < p->nr_rows; k++)
			p->share[k * r->nr_shots + i] = known[k] ? (float)used[k] / known[k] : -1;
	}
	free(used);
}

/* Names come from other people's processes, and gnuplot has backquotes: let through few signs. */
void plot_text(FILE *f, const char *text)
{
	static const char plain[] = " ._+-:/,()[]%#=";
	int n = 0;

	for (; *text && n < 40; text++, n++) {
		bool word = (*text >= '0' && *text <= '9') || (*text >= 'A' && *text <= 'Z') ||
			    (*text >= 'a' && *text <= 'z');

		fputc(word || strchr(plain, *text) ? *text : '?', f);
	}
}

static void put_matrix(const struct picture *p, FILE *f)
{
	size_t b, row, copy, i, line = 0, shots = p->r->nr_shots;

	fputs("$map << EOD\n", f);
	for (b = 0; b < p->nr_bands; b++) {
		const struct band *band = &p->band[b];

		for (; line < band->line; line++) {
			for (i = 0; i < shots; i++)
				fputs("NaN ", f);
			fputc('\n', f);
		}
		for (row = band->first_row; row < band->first_row + band->nr_rows; row++) {
			for (copy = 0; copy < band->weight; copy++, line++) {
				for (i = 0; i < shots; i++) {
					float v = p->share[row * shots + i];

					if (v < 0)
						fputs("NaN ", f);
					else
						fprintf(f, "%.1f ", v * 100);
				}
				fputc('\n', f);
			}
		}
	}
	fputs("EOD\n", f);
}

static void put_totals(const struct record *r, FILE *f)
{
	size_t i, k;

	fputs("$sum << EOD\n", f);
	for (i = 0; i < r->nr_shots; i++) {
		uint64_t used = 0, idle = 0;
		double mib = r->page_size / 1048576.0;

		for (k = 0; k < r->shot[i].nr; k++) {
			used += r->shot[i].cell[k].referenced;
			idle += r->shot[i].cell[k].idle;
		}
		/* Steps: a value holds for its whole interval. */
		fprintf(f, "%zu %.3f %.3f\n%zu %.3f %.3f\n", i, used * mib, (used + idle) * mib,
			i + 1, used * mib, (used + idle) * mib);
	}
	fputs("EOD\n", f);
}

static void put_tics(const struct picture *p, FILE *f)
{
	char size[16];
	size_t i;

	for (i = 0; i < p->nr_bands; i++) {
		const struct band *b = &p->band[i];
		double middle = b->line + b->nr_rows * b->weight / 2.0;

		fprintf(f, "set label '");
		plot_text(f, b->name);
		if (b->small && b->others)
			fprintf(f, " +%u", b->others);
		fprintf(f, "' at graph " NAME_ENDS ", first %.1f right font ',10' " INK_NAMES "\n", middle);
		fprintf(f, "set label '%s' at graph " SIZE_ENDS ", first %.1f right font ',9' "
			INK_PALE "\n", human(b->pages * p->r->page_size, size), middle);
		fprintf(f, "set label '%llx' at graph " ADDRESS_BEGINS ", first %.1f left "
			"font 'DejaVu Sans Mono,8' " INK_FAINT "\n",
			(unsigned long long)b->start, b->line + p->least / 2.0);
	}
}

static const char style[] =
	"set encoding utf8\n"
	"set border lw 0.6 lc rgb '#9ca3af'\n"
	"set tics nomirror scale 0.5 " INK_AXES " font ',10'\n"
	"set lmargin at screen " LEFT "\nset rmargin at screen " RIGHT "\n"
	"set palette defined (0 '#12204d', 12 '#2f3a8f', 35 '#7d3aa0', 60 '#d8476b', 80 '#f98d3c', "
	"100 '#ffe680')\n"
	"set cbrange [0:100]\n"
	"set colorbox user origin screen " BOX ", " MAP_BOTTOM
	" size screen " BOX_WIDTH ", " MAP_HEIGHT "\n"
	"set cbtics 20 font ',9'\n";

void plot_terminal(FILE *f, bool svg, const struct report *how)
{
	fprintf(f, "set terminal %s size %u,%u noenhanced font 'DejaVu Sans,11' "
		"background rgb 'white'\n", svg ? "svg dynamic" : "pngcairo", how->width, how->height);
}

static void put_script(const void *what_is_drawn, FILE *f, bool svg)
{
	const struct picture *p = what_is_drawn;
	const struct record *r = p->r;
	double width = r->shot[r->nr_shots - 1].time / r->nr_shots;
	const char *what = r->written ? "written" : "referenced";

	plot_terminal(f, svg, p->how);
	fputs(style, f);
	fprintf(f, "set cblabel 'share %s, %%' font ',10' " INK_AXES " offset 0.5,0\n", what);
	put_matrix(p, f);
	put_totals(r, f);
	fputs("set multiplot\nset tmargin at screen " MAP_TOP "\nset bmargin at screen " MAP_BOTTOM "\n"
	      "set label '", f);
	plot_text(f, r->comm);
	fprintf(f, "' at screen " LEFT ", " TITLE " left font ',17' " INK "\n"
		"set label 'process %d: memory %s in each %.3g s, by address' "
		"at screen " LEFT ", " SUBTITLE " left font ',11' " INK_PALE "\n", r->pid, what, width);
	put_tics(p, f);
	fprintf(f, "w = %.6f\nset xrange [0:%.6f]\nset yrange [0:%zu]\n"
		"unset ytics\nset format x ''\nunset key\n"
		"plot '$map' matrix using (($1 + 0.5) * w):($2 + 0.5):3 with image\n",
		width, width * r->nr_shots, p->nr_lines);
	fputs("unset label\nunset colorbox\n"
	      "set tmargin at screen " SUMS_TOP "\nset bmargin at screen " SUMS_BOTTOM "\n"
	      "set format x '%g'\nset xlabel 'seconds' font ',10' " INK_AXES " offset 0,0.4\n"
	      "set yrange [0:*]\nset ytics font ',9'\nset ytics autofreq\n"
	      "set ylabel 'MiB' font ',10' " INK_AXES "\n"
	      "set grid y lw 0.5 lc rgb '#e5e7eb'\n"
	      "set key at graph " KEY_BEGINS ", 1 left top Left reverse samplen 1.2 font ',9' "
	      INK_AXES "\n"
	      "plot '$sum' using ($1 * w):3 with filledcurves y1=0 fc rgb '#c7cbe6' title '", f);
	fprintf(f, "%s', '$sum' using ($1 * w):2 with filledcurves y1=0 fc rgb '#f98d3c' "
		"title '%s'\nunset multiplot\n", r->written ? "not written" : "idle", what);
}

/* gnuplot warns of every blank stretch: its words are of interest only when it fails. */
static int gnuplot_failed(FILE *words, int status)
{
	char line[200];

	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return fail("gnuplot is not installed: apt-get install gnuplot-nox");
	rewind(words);
	while (fgets(line, sizeof(line), words))
		fputs(text_plain(line, "\n\t"), stderr);
	return fail("gnuplot could not draw the picture");
}

/* The picture goes to gnuplot's standard output, so that no path needs quoting. */
static int run_gnuplot(void (*script)(const void *, FILE *, bool), const void *what, FILE *out,
		       FILE *words, bool svg)
{
	int fds[2], status;
	pid_t child;
	FILE *f;

	if (pipe(fds))
		return fail("cannot make a pipe: %s", strerror(errno));
	child = fork();
	if (!child) {
		dup2(fds[0], STDIN_FILENO);
		dup2(fileno(out), STDOUT_FILENO);
		dup2(fileno(words), STDERR_FILENO);
		close(fds[1]);
		execlp("gnuplot", "gnuplot", "-d", "-", (char *)NULL);
		_exit(127);
	}
	close(fds[0]);
	f = child > 0 ? fdopen(fds[1], "w") : NULL;
	if (!f) {
		close(fds[1]);
		return fail("cannot start gnuplot: %s", strerror(errno));
	}
	script(what, f, svg);
	fclose(f);		/* a write that failed shows in gnuplot's status */
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return fail("cannot wait for gnuplot: %s", strerror(errno));
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : gnuplot_failed(words, status);
}

static const char *suffix_of(const char *path)
{
	size_t len = strlen(path);

	if (len > 4 && (!strcmp(path + len - 4, ".png") || !strcmp(path + len - 4, ".svg")))
		return path + len - 4;
	return NULL;
}

/* Into the file @path, what gnuplot makes of what @script tells it of @what. */
int plot_draw(const char *path, void (*script)(const void *what, FILE *f, bool svg), const void *what)
{
	bool svg = !strcmp(suffix_of(path), ".svg");
	FILE *words = tmpfile();
	struct newfile nf;
	int err;

	if (!words)
		return fail("cannot make a temporary file: %s", strerror(errno));
	err = newfile_open(&nf, path);
	if (!err && run_gnuplot(script, what, nf.f, words, svg)) {
		newfile_abort(&nf);
		err = -1;
	} else if (!err) {
		err = newfile_commit(&nf);
	}
	fclose(words);
	return err;
}

/* Before any measuring: could a picture be drawn there? */
int plot_check(const char *path)
{
	const char *dirs = getenv("PATH");
	char *copy, *rest, *dir;
	bool found = false;

	if (!suffix_of(path))
		usage_error("'%s': a picture's name ends in .png or .svg", path);
	copy = rest = xstrdup(dirs ? dirs : "/usr/bin");
	while (!found && (dir = strsep(&rest, ":"))) {
		char file[4096];

		snprintf(file, sizeof(file), "%s/gnuplot", *dir ? dir : ".");
		found = !access(file, X_OK);
	}
	free(copy);
	return found ? 0 : fail("gnuplot is not installed: apt-get install gnuplot-nox "
				"(or keep --record FILE and draw it elsewhere)");
}

int plot(const struct record *r, const struct report *how)
{
	struct picture p = { .r = r, .how = how };
	int err;

	collect_cells(&p);
	if (!p.nr_cells) {
		free(p.addr);
		free(p.row);
		free(p.pages);
		return fail("the record holds no memory to draw");
	}
	make_bands(&p);
	lay_out(&p);
	fill_rows(&p);
	err = plot_draw(how->picture, put_script, &p);
	free(p.addr);
	free(p.row);
	free(p.pages);
	free(p.band);
	free(p.share);
	return err;
}

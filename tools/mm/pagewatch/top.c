// SPDX-License-Identifier: GPL-2.0
/*
 * pagewatch top: working sets, live, on the whole screen.
 *
 *	measured ---> sorted, shown <--- a key: other order, other line, other page
 *	    ^		  |
 *	    +-- wait -----+   top_sweep.c says how long
 *
 * Only reverse and bold are used, so that a serial line without colours shows all there is.
 */
#include <curses.h>
#include <errno.h>
#include <getopt.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "top.h"

enum page { P_PROCESSES, P_CGROUPS, P_RANGES };
enum order { BY_REFERENCED, BY_RSS, BY_IDLE, BY_HUGE, BY_SWAPPED, BY_NAME };

struct screen {
	struct top top;
	enum page page;
	enum page came_from;
	enum order order;
	size_t line;		/* picked, from 0 */
	size_t first;		/* shown at the top */
	unsigned int count;	/* 0: until q */
	bool quit;
	FILE *words;		/* what went to standard error meanwhile */
};

static const struct {
	int key;
	const char *word;
} orders[] = {
	[BY_REFERENCED] = { 'w', "REFERENCED" }, [BY_RSS] = { 'r', "RSS" }, [BY_IDLE] = { 'i', "IDLE" },
	[BY_HUGE] = { 'h', "HUGE" }, [BY_SWAPPED] = { 's', "SWAPPED" }, [BY_NAME] = { 'n', "NAME" },
};

/* --- in order --------------------------------------------------------------------------- */

static enum order order;

static uint64_t value_of(const struct top_row *r)
{
	switch (order) {
	case BY_REFERENCED:
		return r->referenced;
	case BY_RSS:
		return r->rss;
	case BY_IDLE:
		return r->idle;
	case BY_HUGE:
		return r->huge;
	case BY_SWAPPED:
		return r->swapped;
	default:
		return 0;
	}
}

static int by_order(const void *a, const void *b)
{
	const struct top_row *x = a, *y = b;
	uint64_t u = value_of(x), v = value_of(y);

	if (u != v)
		return u > v ? -1 : 1;
	return strcmp(x->name, y->name) ?: x->pid - y->pid;
}

static struct top_rows *rows_of(struct screen *s)
{
	return s->page == P_CGROUPS ? &s->top.cgroups : &s->top.processes;
}

/* The line that is picked stays with its row, wherever that goes. */
static void sort_rows(struct screen *s)
{
	struct top_rows *rows = rows_of(s);
	char *name = s->line < rows->nr ? xstrdup(rows->row[s->line].name) : NULL;
	pid_t pid = name ? rows->row[s->line].pid : 0;
	size_t i;

	order = s->order;
	qsort(rows->row, rows->nr, sizeof(*rows->row), by_order);
	for (i = 0; name && s->line && i < rows->nr; i++) {
		if (rows->row[i].pid == pid && !strcmp(rows->row[i].name, name)) {
			s->line = i;
			break;
		}
	}
	free(name);
}

/* --- on the screen ---------------------------------------------------------------------- */

static bool utf8;

/* A share of 0 to 100 as one cell. */
static const char *cell(unsigned int percent)
{
	static const char *const blocks[] = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	static const char *const plain[] = { ".", ":", "-", "=", "+", "*", "%", "#" };
	unsigned int step = percent * 8 / 101;

	return (utf8 ? blocks : plain)[step];
}

static void put_history(const struct top_row *r)
{
	int i;

	for (i = 0; i < TOP_HISTORY; i++)
		addstr(r->history[i] ? cell(r->history[i] - 1) : " ");
}

/* As wide as the screen, so that what was there before is gone. */
static void head_line(int y, int attr, const char *text)
{
	attrset(attr);
	mvprintw(y, 0, "%-*.*s", COLS, COLS, text);
	attrset(A_NORMAL);
}

static void put_head(const struct screen *s, size_t nr)
{
	static const char *const pages[] = { "processes", "cgroups", "mappings" };
	const struct top *t = &s->top;
	char text[200];

	/* In 80 columns. */
	snprintf(text, sizeof(text), "%zu %s by %s; sweep %.2f s CPU each %.1f s (%.1f%%, budget %g%%)", nr,
		 pages[s->page], s->page == P_RANGES ? "address" : orders[s->order].word, t->cost,
		 t->cost + t->wait, 100 * t->cost / (t->cost + t->wait), t->budget * 100);
	head_line(0, A_BOLD, text);
}

static void put_keys(const struct screen *s)
{
	head_line(LINES - 1, A_REVERSE, s->page == P_RANGES ? "q back  up/down scroll" :
		  "q quit  sort: w)orking set r)ss i)dle h)uge s)wapped n)ame  c)groups  ENTER mappings");
}

static void put_row(const struct top_row *r)
{
	char b[5][16];

	if (r->pid)
		printw("%7d %-15.15s", r->pid, r->name);
	else
		printw("%-23.23s", strlen(r->name) > 23 ? r->name + strlen(r->name) - 23 : r->name);
	printw(" %8s %10s %8s %8s %8s ", human(r->rss, b[0]), human(r->referenced, b[1]),
	       human(r->idle, b[2]), human(r->huge, b[3]), human(r->swapped, b[4]));
	put_history(r);
	clrtoeol();
}

static void show_rows(struct screen *s)
{
	struct top_rows *rows = rows_of(s);
	size_t room = LINES > 4 ? LINES - 3 : 1, i;

	sort_rows(s);
	if (s->line >= rows->nr)
		s->line = rows->nr ? rows->nr - 1 : 0;
	if (s->line < s->first)
		s->first = s->line;
	if (s->line >= s->first + room)
		s->first = s->line - room + 1;
	put_head(s, rows->nr);
	head_line(1, A_UNDERLINE, s->page == P_CGROUPS ?
		  "CGROUP                       RSS REFERENCED     IDLE     HUGE  SWAPPED HISTORY" :
		  "    PID NAME                 RSS REFERENCED     IDLE     HUGE  SWAPPED HISTORY");
	for (i = 0; i < room; i++) {
		move(2 + i, 0);
		if (s->first + i < rows->nr) {
			attrset(s->first + i == s->line ? A_REVERSE : A_NORMAL);
			put_row(&rows->row[s->first + i]);
			attrset(A_NORMAL);
		} else {
			clrtoeol();
		}
	}
}

static void put_range(const struct top_range *r)
{
	uint64_t known = r->tally.referenced + r->tally.idle;
	int width = COLS > 66 ? COLS - 66 : 0;
	char b[3][16];

	printw("%12llx %8s %s %10s %8s ", (unsigned long long)r->start, human(r->end - r->start, b[0]),
	       r->perms, human(r->tally.referenced * page_size, b[1]), human(r->tally.idle * page_size, b[2]));
	addstr(known ? cell(r->tally.referenced * 100 / known) : " ");
	printw(" %-*.*s", width + 16, width + 16, r->name);
	clrtoeol();
}

static void show_ranges(struct screen *s)
{
	const struct top *t = &s->top;
	size_t room = LINES > 4 ? LINES - 3 : 1, i;

	if (s->first + room > t->nr_ranges)
		s->first = t->nr_ranges > room ? t->nr_ranges - room : 0;
	put_head(s, t->nr_ranges);
	head_line(1, A_UNDERLINE, "     ADDRESS     SIZE PERM REFERENCED     IDLE   MAPPING");
	for (i = 0; i < room; i++) {
		move(2 + i, 0);
		if (s->first + i < t->nr_ranges)
			put_range(&t->range[s->first + i]);
		else
			clrtoeol();
	}
	if (!t->ranges_known)
		mvprintw(3, 2, "process %d: its mappings come with the next sweep, in %.1f s", t->picked, t->wait);
}

static void show(struct screen *s)
{
	if (s->page == P_RANGES)
		show_ranges(s);
	else
		show_rows(s);
	if (!s->top.sweeps)
		mvprintw(3, 2, "measuring: the first interval is over in %.1f s", s->top.wait);
	put_keys(s);
	refresh();
}

/* --- keys ------------------------------------------------------------------------------- */

static void turn_to(struct screen *s, enum page page)
{
	s->page = page;
	s->line = s->first = 0;
	erase();
}

static void pick(struct screen *s)
{
	struct top_rows *rows = rows_of(s);

	if (s->page != P_PROCESSES || s->line >= rows->nr)
		return;
	s->top.picked = rows->row[s->line].pid;
	s->came_from = s->page;
	top_forget_ranges(&s->top);
	turn_to(s, P_RANGES);
}

static void go_back(struct screen *s)
{
	if (s->page != P_RANGES) {
		s->quit = true;
		return;
	}
	s->top.picked = 0;
	turn_to(s, s->came_from);
}

static void scroll_by(struct screen *s, int lines)
{
	size_t *at = s->page == P_RANGES ? &s->first : &s->line;

	*at = lines < 0 && *at < (size_t)-lines ? 0 : *at + lines;
}

static void obey(struct screen *s, int key)
{
	size_t i;

	switch (key) {
	case 'q':
	case 27:
		go_back(s);
		return;
	case KEY_UP:
	case 'k':
		scroll_by(s, -1);
		return;
	case KEY_DOWN:
	case 'j':
		scroll_by(s, 1);
		return;
	case KEY_PPAGE:
	case KEY_NPAGE:
		scroll_by(s, key == KEY_PPAGE ? 3 - LINES : LINES - 3);
		return;
	case '\n':
	case '\r':
	case KEY_ENTER:
		pick(s);
		return;
	case KEY_RESIZE:
		erase();
		return;
	case 'c':
		if (s->page != P_RANGES)
			turn_to(s, s->page == P_CGROUPS ? P_PROCESSES : P_CGROUPS);
		return;
	}
	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		if (key == orders[i].key && s->page != P_RANGES) {
			s->order = i;
			s->line = s->first = 0;
		}
	}
}

/* Until the next sweep is due, or there is nobody any more. */
static void wait_for_keys(struct screen *s, double until)
{
	while (!s->quit && !stop_requested()) {
		double left = until - now();
		int key;

		if (left <= 0)
			return;
		show(s);
		/* A signal is to be seen within a while. */
		timeout(left < 0.5 ? (int)(left * 1000) + 1 : 500);
		key = getch();
		/* The terminal has gone away: not even an order to wait. */
		if (key == ERR && errno == EIO)
			s->quit = true;
		else if (key != ERR)
			obey(s, key);
		errno = 0;
	}
}

/* --- in and out ------------------------------------------------------------------------- */

/* Standard error is the screen, too: what is said there comes when the screen is given back. */
static int begin_screen(struct screen *s, int *error)
{
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return fail("needs a terminal: 'pagewatch wss --all' tells the same in lines");
	s->words = tmpfile();
	if (!s->words)
		return fail("cannot make a temporary file: %s", strerror(errno));
	setlocale(LC_CTYPE, "");
	utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
	/* It ends the program when it does not know the terminal, and says so. */
	initscr();
	fflush(stderr);
	*error = dup(STDERR_FILENO);
	dup2(fileno(s->words), STDERR_FILENO);
	cbreak();
	noecho();
	keypad(stdscr, true);
	set_escdelay(50);
	curs_set(0);
	return 0;
}

static void end_screen(struct screen *s, int error)
{
	char line[300];

	endwin();
	dup2(error, STDERR_FILENO);
	close(error);
	rewind(s->words);
	while (fgets(line, sizeof(line), s->words))
		fputs(line, stderr);
	fclose(s->words);
}

static int run(struct screen *s)
{
	int error = -1, err = begin_screen(s, &error);

	if (err)
		return err;
	err = top_begin(&s->top);
	while (!err && !s->quit) {
		wait_for_keys(s, s->top.watch.from + s->top.wait);
		if (s->quit || stop_requested())
			break;
		err = top_sweep(&s->top);
		if (s->count && s->top.sweeps == s->count) {
			show(s);
			break;
		}
	}
	end_screen(s, error);
	top_end(&s->top);
	return stop_requested() ? 0 : err;
}

static double opt_budget(const char *word)
{
	const char *at = word;
	double v;

	if (!text_seconds(&at, 100, &v) || *at || v < 0.01)
		usage_error("'%s' is no budget: give percent of a CPU, from 0.01 to 100", word);
	return v / 100;
}

int cmd_top(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "interval", 1, NULL, 'i' }, { "budget", 1, NULL, 'b' }, { "count", 1, NULL, 'n' },
		{ "cgroups", 0, NULL, 'c' }, { "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' }, { 0 }
	};
	struct screen s = { .top.interval = 2, .top.budget = 0.05 };
	int c;

	while ((c = getopt_long(argc, argv, "i:b:n:chV", longs, NULL)) != -1) {
		switch (c) {
		case 'i':
			s.top.interval = opt_seconds(optarg);
			break;
		case 'b':
			s.top.budget = opt_budget(optarg);
			break;
		case 'n':
			s.count = opt_count(optarg);
			break;
		case 'c':
			s.page = P_CGROUPS;
			break;
		default:
			common_option(c);
		}
	}
	if (optind < argc)
		usage_error("'%s' is one word too many", argv[optind]);
	return run(&s) ? EXIT_FAILED : EXIT_OK;
}

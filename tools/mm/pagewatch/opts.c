// SPDX-License-Identifier: GPL-2.0
/* Words of the command line to values; whatever is wrong with them ends here with status 2. */
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "pagewatch.h"

static volatile sig_atomic_t stop;

void usage_error(const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) >= 0)
		fprintf(stderr, "pagewatch: %s", text_plain(text, ""));
	va_end(ap);
	if (this_cmd)
		fprintf(stderr, "\nTry 'pagewatch %s --help'.\n", this_cmd->name);
	else
		fputs("\nTry 'pagewatch --help'.\n", stderr);
	exit(EXIT_USAGE);
}

/* What every subcommand understands. */
void common_option(int c)
{
	if (c == 'h') {
		fputs(this_cmd->help, stdout);
		exit(out_finish() ? EXIT_FAILED : EXIT_OK);
	}
	if (c == 'V') {
		puts("pagewatch (Foliage) " VERSION);
		exit(out_finish() ? EXIT_FAILED : EXIT_OK);
	}
	/* getopt_long has said what it did not understand. */
	fprintf(stderr, "Try 'pagewatch %s --help'.\n", this_cmd->name);
	exit(EXIT_USAGE);
}

pid_t opt_pid(const char *s)
{
	const char *at = s;
	uint64_t v;

	if (!text_number(&at, 10, INT_MAX, &v) || *at || !v)
		usage_error("'%s' is no process ID: give a positive number", s);
	return v;
}

double opt_seconds(const char *s)
{
	const char *at = s;
	double v;

	if (!text_seconds(&at, 1e6, &v) || *at || v < 0.001)
		usage_error("'%s' is no interval: give seconds from 0.001 to 1000000", s);
	return v;
}

unsigned int opt_count(const char *s)
{
	const char *at = s;
	uint64_t v;

	if (!text_number(&at, 10, 1000000, &v) || *at || !v)
		usage_error("'%s' is no count: give a number from 1 to 1000000", s);
	return v;
}

/* Two numbers with @sep between them. */
static bool two_numbers(const char *s, char sep, uint64_t max, uint64_t v[2])
{
	char *copy = xstrdup(s), *second = strchr(copy, sep);
	const char *at = copy, *then = second ? second + 1 : "";
	bool good;

	if (second)
		*second = 0;
	good = second && text_number(&at, 10, max, &v[0]) && !*at &&
	       text_number(&then, 10, max, &v[1]) && !*then;
	free(copy);
	return good;
}

void opt_size(const char *s, struct report *how)
{
	uint64_t v[2];

	if (!two_numbers(s, 'x', 20000, v) || v[0] < 200 || v[1] < 200)
		usage_error("'%s' is no size: give WIDTHxHEIGHT in pixels, each from 200 to 20000", s);
	how->width = v[0];
	how->height = v[1];
}

void opt_range(const char *s, struct report *how)
{
	uint64_t v[2];

	if (!two_numbers(s, ',', 1000000, v) || !v[0] || v[0] > v[1])
		usage_error("'%s' is no range: give FIRST,LAST, counted from 1", s);
	how->first = v[0];
	how->last = v[1];
}

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

/* No SA_RESTART: a signal ends the wait between two intervals, and what was seen is kept. */
void stop_on_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal }, was;

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	/* nohup is to be obeyed. */
	if (!sigaction(SIGHUP, NULL, &was) && was.sa_handler != SIG_IGN)
		sigaction(SIGHUP, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

bool stop_requested(void)
{
	return stop;
}

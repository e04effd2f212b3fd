// SPDX-License-Identifier: GPL-2.0
/* Errors, progress, JSON. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pagewatch.h"

static bool progress_shown;
static double progress_since;
static double progress_drawn;

static void say(const char *fmt, va_list ap)
{
	char *text;

	progress_end();
	fflush(stdout);
	/* What is quoted may be a name that somebody else has chosen. */
	if (vasprintf(&text, fmt, ap) < 0)
		return;
	fprintf(stderr, "pagewatch: %s\n", text_plain(text, "\n"));
	free(text);
}

int fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	return -1;
}

void note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Only what lasts longer than half a second is worth a line, and only a person needs one. */
void progress(const char *what, uint64_t done, uint64_t total)
{
	double t = now();

	if (!isatty(STDERR_FILENO))
		return;
	if (!progress_since)
		progress_since = t;
	if (t - progress_since < 0.5 || t - progress_drawn < 0.1)
		return;
	progress_drawn = t;
	progress_shown = true;
	if (total)
		fprintf(stderr, "\r\033[K%s: %u%%", what, (unsigned int)(done * 100 / total));
	else
		fprintf(stderr, "\r\033[K%s: %llu", what, (unsigned long long)done);
	fflush(stderr);
}

void progress_end(void)
{
	if (progress_shown)
		fputs("\r\033[K", stderr);
	fflush(stderr);
	progress_shown = false;
	progress_since = 0;
}

void *xrealloc(void *p, size_t size)
{
	p = realloc(p, size ? size : 1);
	if (!p) {
		fail("out of memory");
		exit(EXIT_FAILED);
	}
	return p;
}

void *xcalloc(size_t nr, size_t size)
{
	return memset(xrealloc(NULL, nr * size), 0, nr * size);
}

char *xstrdup(const char *s)
{
	size_t len = strlen(s) + 1;

	return memcpy(xrealloc(NULL, len), s, len);
}

const char *human(uint64_t bytes, char buf[16])
{
	static const char units[] = "BKMGTPE";
	double v = bytes;
	unsigned int u = 0;

	while (v >= 1000 && u < sizeof(units) - 2) {
		v /= 1024;
		u++;
	}
	snprintf(buf, 16, u && v < 100 ? "%.1f%c" : "%.0f%c", v, units[u]);
	return buf;
}

/*
 * JSON. A comma is owed when the last thing written was a value; an array's line breaks keep long
 * output readable and let a reader follow a running watch line by line.
 */
static bool json_owes_comma;
static int json_depth;

static void json_key(const char *key)
{
	if (json_owes_comma)
		putchar(',');
	if (json_depth == 2 && !key)
		putchar('\n');
	if (key)
		printf("\"%s\":", key);
	json_owes_comma = true;
}

void json_open(const char *key, char bracket)
{
	json_key(key);
	putchar(bracket);
	json_owes_comma = false;
	json_depth++;
}

void json_close(char bracket)
{
	putchar(bracket);
	json_owes_comma = true;
	if (!--json_depth) {
		putchar('\n');
		json_owes_comma = false;
	}
	fflush(stdout);
}

void json_int(const char *key, uint64_t v)
{
	json_key(key);
	printf("%llu", (unsigned long long)v);
}

void json_num(const char *key, double v)
{
	json_key(key);
	printf("%.6g", isfinite(v) ? v : 0.0);
}

/* Bytes beyond ASCII (names may be anything) go out as Latin-1 code points: valid JSON. */
void json_str(const char *key, const char *v)
{
	json_key(key);
	putchar('"');
	for (; *v; v++) {
		unsigned char c = *v;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

/* A full disk or a closed pipe must not look like success. */
int out_finish(void)
{
	if (fflush(stdout) || ferror(stdout))
		return fail("cannot write the output: %s", strerror(errno));
	return 0;
}

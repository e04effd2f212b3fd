// SPDX-License-Identifier: GPL-2.0
/*
 * pagewatch ages: the kernel's histogram of how many sweeps ago memory was last referenced.
 *
 *   age anon file unevictable period_ms=5000 sweeps=12
 *   0 1048576 4096 0
 *   ...                     label L: L to 2L-1 sweeps; values in bytes
 *   128+ 0 0 0
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pagewatch.h"

#define AGES_FILE	"/sys/kernel/mm/page_idle/ages"
#define BAR_COLUMNS	32

/* More memory than this no machine has, and sums of it stay far from the end of 64 bits. */
#define MAX_BYTES	(1ULL << 56)
#define MAX_PERIOD_MS	(1ULL << 40)

const char *const age_labels[NR_AGES] = { "0", "1", "2", "4", "8", "16", "32", "64", "128+" };
const char *const age_kinds[3] = { "anon", "file", "unevictable" };

static int malformed(const char *path, int line, const char *what)
{
	return fail("%s, line %d: %s", path, line, what);
}

static bool parse_header(struct ages *a, const char **text)
{
	static const char title[] = "age anon file unevictable period_ms=";
	static const char sweeps[] = " sweeps=";
	const char *at = *text;
	bool good;

	if (strncmp(at, title, sizeof(title) - 1))
		return false;
	/* Digits follow the '=' at once, and a number ends at a blank. */
	at += sizeof(title) - 1;
	if (*at == ' ' || !text_number(&at, 10, MAX_PERIOD_MS, &a->period_ms) ||
	    strncmp(at, sweeps, sizeof(sweeps) - 1))
		return false;
	at += sizeof(sweeps) - 1;
	good = *at != ' ' && text_number(&at, 10, UINT64_MAX, &a->sweeps) && *at == '\n';
	*text = at + 1;
	return good;
}

static int parse_row(struct ages *a, const char **text, const char *path, int row)
{
	const char *at = *text;
	size_t len = strlen(age_labels[row]);
	int i;

	if (!*at)
		return malformed(path, row + 2, "the histogram is cut short");
	if (strncmp(at, age_labels[row], len) || at[len] != ' ')
		return malformed(path, row + 2, "an age and three numbers expected");
	at += len;
	for (i = 0; i < 3; i++)
		if (!text_number(&at, 10, MAX_BYTES, &a->bytes[row][i]))
			return malformed(path, row + 2, "an age and three numbers expected");
	if (!*at)
		return malformed(path, row + 2, "the histogram is cut short");
	if (*at != '\n')
		return malformed(path, row + 2, "an age and three numbers expected");
	*text = at + 1;
	return 0;
}

static int parse(struct ages *a, const char *text, const char *path)
{
	int row;

	if (!parse_header(a, &text))
		return malformed(path, 1, "this is no age histogram ('age anon file unevictable "
				 "period_ms=N sweeps=N' expected)");
	for (row = 0; row < NR_AGES; row++)
		if (parse_row(a, &text, path, row))
			return -1;
	return *text ? malformed(path, row + 2, "more lines than ages") : 0;
}

static int read_file(struct ages *a, const char *path, bool kernel)
{
	char *text = read_text(AT_FDCWD, path, NULL);
	int err;

	if (!text && kernel && errno == ENOENT)
		return fail("the kernel lacks CONFIG_FOLIAGE_IDLE: no %s", path);
	if (!text && (errno == EACCES || errno == EPERM))
		return fail("needs root: not allowed to read %s", path);
	if (!text)
		return fail("cannot read %s: %s", path, strerror(errno));
	err = parse(a, text, path);
	free(text);
	if (!err && !a->period_ms)
		err = fail("sweeps are off, so there are no ages: switch them on with\n"
			   "  echo 60000 > /sys/kernel/mm/page_idle/scan_period_ms");
	return err;
}

static int read_cgroup(struct ages *a, const char *path)
{
	size_t len = strlen(path) + 24;
	char *file = xrealloc(NULL, len);
	int err;

	snprintf(file, len, "%s/memory.stat", path);
	if (access(file, F_OK) && !access(AGES_FILE, F_OK)) {
		err = fail("no memory is charged to %s: switch its controller on with\n"
			   "  echo +memory > %s/../cgroup.subtree_control", path, path);
	} else {
		snprintf(file, len, "%s/memory.idle_ages", path);
		err = read_file(a, file, true);
	}
	free(file);
	return err;
}

/* How long ago @sweeps is, in words of few letters. */
static const char *span_of(uint64_t sweeps, uint64_t period_ms, char buf[16])
{
	double s = sweeps * (period_ms / 1000.0);

	if (s < 120)
		snprintf(buf, 16, "%.*fs", s == (int)s ? 0 : 1, s);
	else if (s < 7200)
		snprintf(buf, 16, "%.0fmin", s / 60);
	else if (s < 48 * 3600)
		snprintf(buf, 16, "%.1fh", s / 3600);
	else
		snprintf(buf, 16, "%.1fd", s / 86400);
	return buf;
}

static void print_text(const struct ages *a, const char *of)
{
	char *title = text_plain(xstrdup(of), ""), b[5][16];
	uint64_t sum[NR_AGES], most = 1, all = 0;
	int row, i;

	for (row = 0; row < NR_AGES; row++) {
		sum[row] = a->bytes[row][0] + a->bytes[row][1] + a->bytes[row][2];
		most = sum[row] > most ? sum[row] : most;
		all += sum[row];
	}
	printf("%s: a sweep every %g s, %llu so far\n", title, a->period_ms / 1000.0,
	       (unsigned long long)a->sweeps);
	free(title);
	printf("%5s %9s %9s %9s %11s %6s\n", "AGE", "IDLE FOR", "ANON", "FILE", "UNEVICTABLE",
	       "SHARE");
	for (row = 0; row < NR_AGES; row++) {
		int bar = (sum[row] * BAR_COLUMNS * 2 + most - 1) / most;

		span_of(atoi(age_labels[row]), a->period_ms, b[0]);
		printf("%5s %c%8s %9s %9s %11s %5.1f%% ", age_labels[row], row ? '>' : ' ',
		       row ? b[0] : "in use", human(a->bytes[row][0], b[1]),
		       human(a->bytes[row][1], b[2]), human(a->bytes[row][2], b[3]),
		       all ? 100.0 * sum[row] / all : 0.0);
		for (i = 0; i < bar / 2; i++)
			fputs("█", stdout);
		puts(bar % 2 ? "▌" : "");
	}
	printf("%5s %9s in all\n", "", human(all, b[4]));
	if (!a->sweeps)
		puts("The first sweep is not over yet: all ages are 0 until then.");
}

static void print_json(const struct ages *a, const char *cgroup)
{
	int row, i;

	json_open(NULL, '{');
	json_str("command", "ages");
	json_str("version", VERSION);
	if (cgroup)
		json_str("cgroup", cgroup);
	json_int("period_ms", a->period_ms);
	json_int("sweeps", a->sweeps);
	json_open("ages", '[');
	for (row = 0; row < NR_AGES; row++) {
		json_open(NULL, '{');
		json_str("age", age_labels[row]);
		for (i = 0; i < 3; i++)
			json_int(age_kinds[i], a->bytes[row][i]);
		json_close('}');
	}
	json_close(']');
	json_close('}');
}

int cmd_ages(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "cgroup", 1, NULL, 'C' }, { "file", 1, NULL, 'f' },
		{ "prometheus", 1, NULL, 'P' }, { "json", 0, NULL, 'j' },
		{ "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' }, { 0 }
	};
	const char *cgroup = NULL, *file = NULL, *prom = NULL;
	char *path = NULL;
	bool json = false;
	struct ages a;
	int c, err;

	while ((c = getopt_long(argc, argv, "C:f:P:hV", longs, NULL)) != -1) {
		switch (c) {
		case 'C':
			cgroup = optarg;
			break;
		case 'f':
			file = optarg;
			break;
		case 'P':
			prom = optarg;
			break;
		case 'j':
			json = true;
			break;
		default:
			common_option(c);
		}
	}
	if (optind < argc)
		usage_error("'%s' is one word too many", argv[optind]);
	if (cgroup && !file) {
		path = cgroup_path(cgroup);
		if (!path)
			return EXIT_FAILED;
	}
	/* With both, the cgroup is what the saved copy is said to be of. */
	if (file)
		err = read_file(&a, file, false);
	else
		err = path ? read_cgroup(&a, path) : read_file(&a, AGES_FILE, true);
	if (!err && prom)
		err = prom_write(&a, cgroup, prom);
	if (!err && json)
		print_json(&a, cgroup);
	else if (!err && !prom)
		print_text(&a, cgroup ? cgroup : file ? file : "the whole machine");
	free(path);
	return err || out_finish() ? EXIT_FAILED : EXIT_OK;
}

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

const char *const age_labels[NR_AGES] = { "0", "1", "2", "4", "8", "16", "32", "64", "128+" };
const char *const age_kinds[3] = { "anon", "file", "unevictable" };

static int malformed(const char *path, int line, const char *what)
{
	return fail("%s, line %d: %s", path, line, what);
}

static int parse(struct ages *a, const char *text, const char *path)
{
	unsigned long long period, sweeps, v[3];
	char label[8];
	int row, n = 0;

	if (sscanf(text, "age anon file unevictable period_ms=%llu sweeps=%llu%n", &period,
		   &sweeps, &n) != 2 || text[n] != '\n')
		return malformed(path, 1, "this is no age histogram ('age anon file unevictable "
				 "period_ms=N sweeps=N' expected)");
	a->period_ms = period;
	a->sweeps = sweeps;
	text += n + 1;
	for (row = 0; row < NR_AGES; row++) {
		if (!*text)
			return malformed(path, row + 2, "the histogram is cut short");
		n = 0;
		if (sscanf(text, "%7s %llu %llu %llu%n", label, &v[0], &v[1], &v[2], &n) != 4 ||
		    strcmp(label, age_labels[row]) || (text[n] && text[n] != '\n'))
			return malformed(path, row + 2, "an age and three numbers expected");
		if (text[n] != '\n')
			return malformed(path, row + 2, "the histogram is cut short");
		a->bytes[row][0] = v[0];
		a->bytes[row][1] = v[1];
		a->bytes[row][2] = v[2];
		text += n + 1;
	}
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
	uint64_t sum[NR_AGES], most = 1, all = 0;
	char b[5][16];
	int row, i;

	for (row = 0; row < NR_AGES; row++) {
		sum[row] = a->bytes[row][0] + a->bytes[row][1] + a->bytes[row][2];
		most = sum[row] > most ? sum[row] : most;
		all += sum[row];
	}
	printf("%s: a sweep every %g s, %llu so far\n", of, a->period_ms / 1000.0,
	       (unsigned long long)a->sweeps);
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

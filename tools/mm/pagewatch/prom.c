// SPDX-License-Identifier: GPL-2.0
/* The age histogram in the text format of Prometheus, for node_exporter's textfile collector. */
#include "pagewatch.h"

/* A label's value knows three escapes. */
void prom_label(FILE *f, const char *name, const char *value)
{
	fprintf(f, "%s=\"", name);
	for (; *value; value++) {
		if (*value == '\n')
			fputs("\\n", f);
		else if (*value == '"' || *value == '\\')
			fprintf(f, "\\%c", *value);
		else
			fputc(*value, f);
	}
	fputc('"', f);
}

static void put_plain(FILE *f, const char *name, const char *type, const char *help)
{
	fprintf(f, "# HELP foliage_idle_%s %s\n# TYPE foliage_idle_%s %s\n", name, help, name,
		type);
}

static void put_value(FILE *f, const char *name, const char *cgroup, double value)
{
	fprintf(f, "foliage_idle_%s", name);
	if (cgroup) {
		fputc('{', f);
		prom_label(f, "cgroup", cgroup);
		fputc('}', f);
	}
	fprintf(f, " %.15g\n", value);
}

int prom_write(const struct ages *a, const char *cgroup, const char *path)
{
	struct newfile nf;
	int row, i;

	if (newfile_open(&nf, path))
		return -1;
	put_plain(nf.f, "age_bytes", "gauge",
		  "Memory by the number of sweeps since it was last referenced (at least).");
	for (row = 0; row < NR_AGES; row++) {
		for (i = 0; i < 3; i++) {
			fputs("foliage_idle_age_bytes{", nf.f);
			prom_label(nf.f, "kind", age_kinds[i]);
			fputc(',', nf.f);
			prom_label(nf.f, "age", age_labels[row]);
			if (cgroup) {
				fputc(',', nf.f);
				prom_label(nf.f, "cgroup", cgroup);
			}
			fprintf(nf.f, "} %llu\n", (unsigned long long)a->bytes[row][i]);
		}
	}
	put_plain(nf.f, "scan_period_seconds", "gauge", "Time from one sweep to the next.");
	put_value(nf.f, "scan_period_seconds", cgroup, a->period_ms / 1000.0);
	put_plain(nf.f, "sweeps_total", "counter", "Sweeps completed since they were switched on.");
	put_value(nf.f, "sweeps_total", cgroup, a->sweeps);
	return newfile_commit(&nf);
}

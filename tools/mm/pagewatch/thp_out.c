// SPDX-License-Identifier: GPL-2.0
/* What thp_look.c has found: for people, for programs, for node_exporter. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "thp.h"

uint64_t thp_mapped(const struct thp_sum *s)
{
	uint64_t sum = s->pmd + s->hugetlb + s->zero_page;
	int order;

	for (order = 0; order <= MAX_ORDER; order++)
		sum += s->order[order];
	return sum;
}

uint64_t thp_not_huge(const struct thp_sum *s)
{
	uint64_t sum = 0;
	int why;

	for (why = 0; why < NR_WHYS; why++)
		sum += s->not_huge[why];
	return sum;
}

/* --- text ------------------------------------------------------------------------------- */

static void row(const char *what, const char *how, uint64_t bytes, uint64_t all)
{
	char size[16];

	if (bytes)
		printf("%8s %-10s %8s %5.1f%%\n", what, how, human(bytes, size),
		       100.0 * bytes / all);
}

static void print_folios(const struct thp *t)
{
	const struct thp_sum *s = &t->sum;
	uint64_t all = thp_mapped(s);
	char size[16], looked[16];
	int order;

	printf("%8s %-10s %8s %6s\n", "FOLIOS", "MAPPED BY", "BYTES", "SHARE");
	row("hugetlb", "", s->hugetlb, all);
	row(human(t->settings.huge, size), "PMD", s->pmd, all);
	for (order = MAX_ORDER; order >= 0; order--)
		row(human((uint64_t)page_size << order, size), "entries", s->order[order], all);
	row("zero", "entries", s->zero_page, all);
	if (t->zeroes)
		printf("%s of zeroes, of %s in folios larger than a page\n",
		       human(s->zeroes, size), human(s->looked, looked));
}

static void print_whys(const struct thp *t)
{
	char size[16];
	int why;

	if (!thp_not_huge(&t->sum))
		return;
	printf("\n%8s  %s\n", "NOT HUGE", "WHY");
	for (why = 0; why < NR_WHYS; why++)
		if (t->sum.not_huge[why])
			printf("%8s  %-11s  %s\n", human(t->sum.not_huge[why], size), why_names[why],
			       why_texts[why]);
}

/* The reason for most of what is not huge. */
static const char *main_why(const struct thp_sum *s)
{
	int why, most = 0;

	for (why = 1; why < NR_WHYS; why++)
		if (s->not_huge[why] > s->not_huge[most])
			most = why;
	return s->not_huge[most] ? why_names[most] : "";
}

/* Those that a huge page would fit in and that are not huge; all of them if asked for. */
static void print_vmas(const struct thp *t)
{
	char a[16], b[16], c[16];
	bool head = false;
	size_t i;

	for (i = 0; i < t->nr_vmas; i++) {
		const struct thp_vma *v = &t->vma[i];

		if (!t->verbose && thp_not_huge(&v->sum) < t->settings.huge)
			continue;
		if (!head)
			printf("\n%-29s %-6s %8s %8s %8s  %-11s %s\n", "ADDRESSES", "KIND", "MAPPED",
			       "BY PMD", "NOT HUGE", "MOSTLY", "NAME");
		head = true;
		printf("%014" PRIx64 "-%014" PRIx64 " %-6s %8s %8s %8s  %-11s %s\n", v->start, v->end,
		       kind_names[v->kind], human(thp_mapped(&v->sum), a), human(v->sum.pmd, b),
		       human(thp_not_huge(&v->sum), c), main_why(&v->sum), text_plain(v->name, ""));
	}
}

void thp_text(const struct thp *t)
{
	char size[16];

	if (t->pid)
		printf("%s (%d): ", t->comm, t->pid);
	else
		printf("%s, %u processes: ", t->cgroup ? t->cgroup : "the whole machine",
		       t->processes);
	printf("%s mapped\n", human(thp_mapped(&t->sum), size));
	print_folios(t);
	print_whys(t);
	print_vmas(t);
}

/* --- JSON ------------------------------------------------------------------------------- */

static void json_sum(const struct thp_sum *s, bool zeroes)
{
	char name[32];
	int i;

	json_int("mapped", thp_mapped(s));
	json_int("pmd", s->pmd);
	json_int("hugetlb", s->hugetlb);
	json_int("zero_page", s->zero_page);
	json_open("folios", '{');
	for (i = 0; i <= MAX_ORDER; i++) {
		snprintf(name, sizeof(name), "%llu", (unsigned long long)page_size << i);
		if (s->order[i])
			json_int(name, s->order[i]);
	}
	json_close('}');
	json_open("not_huge", '{');
	for (i = 0; i < NR_WHYS; i++)
		json_int(why_names[i], s->not_huge[i]);
	json_close('}');
	if (!zeroes)
		return;
	json_int("zeroes", s->zeroes);
	json_int("looked_for_zeroes", s->looked);
}

static void json_vma(const struct thp *t, const struct thp_vma *v)
{
	char hex[24];

	json_open(NULL, '{');
	snprintf(hex, sizeof(hex), "0x%llx", (unsigned long long)v->start);
	json_str("start", hex);
	snprintf(hex, sizeof(hex), "0x%llx", (unsigned long long)v->end);
	json_str("end", hex);
	json_str("kind", kind_names[v->kind]);
	json_str("name", v->name);
	json_sum(&v->sum, t->zeroes);
	json_close('}');
}

void thp_json(const struct thp *t)
{
	size_t i;

	json_open(NULL, '{');
	json_str("command", "thp");
	json_str("version", VERSION);
	if (t->pid)
		json_int("pid", t->pid);
	if (t->pid)
		json_str("comm", t->comm);
	if (t->cgroup)
		json_str("cgroup", t->cgroup);
	json_int("processes", t->processes);
	json_int("page_size", page_size);
	json_int("huge_page_size", t->settings.huge);
	json_sum(&t->sum, t->zeroes);
	if (t->pid) {
		json_open("vmas", '[');
		for (i = 0; i < t->nr_vmas; i++)
			json_vma(t, &t->vma[i]);
		json_close(']');
	}
	json_close('}');
}

/* --- Prometheus ------------------------------------------------------------------------- */

static void put_of(FILE *f, const struct thp *t)
{
	if (t->pid)
		fprintf(f, ",pid=\"%d\"", t->pid);
	if (t->cgroup) {
		fputc(',', f);
		prom_label(f, "cgroup", t->cgroup);
	}
}

static void put_bytes(FILE *f, const struct thp *t, uint64_t size, const char *by, uint64_t bytes)
{
	fprintf(f, "foliage_thp_mapped_bytes{folio=\"%" PRIu64 "\",by=\"%s\"", size, by);
	put_of(f, t);
	fprintf(f, "} %" PRIu64 "\n", bytes);
}

int thp_prometheus(const struct thp *t)
{
	struct newfile nf;
	int i;

	if (newfile_open(&nf, t->prometheus))
		return -1;
	fputs("# HELP foliage_thp_mapped_bytes Mapped memory by the size of its folios; each mapping counts.\n"
	      "# TYPE foliage_thp_mapped_bytes gauge\n", nf.f);
	put_bytes(nf.f, t, t->settings.huge, "pmd", t->sum.pmd);
	for (i = 0; (uint64_t)page_size << i <= t->settings.huge; i++)
		put_bytes(nf.f, t, (uint64_t)page_size << i, "entries", t->sum.order[i]);
	fputs("# HELP foliage_thp_not_huge_bytes Mapped memory that could be huge pages, by why it is not.\n"
	      "# TYPE foliage_thp_not_huge_bytes gauge\n", nf.f);
	for (i = 0; i < NR_WHYS; i++) {
		fprintf(nf.f, "foliage_thp_not_huge_bytes{why=\"%s\"", why_names[i]);
		put_of(nf.f, t);
		fprintf(nf.f, "} %" PRIu64 "\n", t->sum.not_huge[i]);
	}
	return newfile_commit(&nf);
}

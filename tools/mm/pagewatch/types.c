// SPDX-License-Identifier: GPL-2.0
/* pagewatch types: how many frames have which flags. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pagewatch.h"

#define CHUNK	PIECE_FRAMES
#define BLOCK	512UL		/* frames read at once for a process */

struct type {
	uint64_t flags;
	uint64_t pages;
};

struct types {
	pid_t pid;
	const char *cgroup;
	struct flag_filter filter;
	bool raw;
	bool json;
	int fd;
	struct type *table;	/* hashed by flags, a power of two in size */
	size_t size;
	size_t used;
	uint64_t total;
};

static struct type *slot_of(struct types *t, uint64_t flags)
{
	size_t i = (flags * 0x9e3779b97f4a7c15ULL) >> 32 & (t->size - 1);

	while (t->table[i].pages && t->table[i].flags != flags)
		i = (i + 1) & (t->size - 1);
	return &t->table[i];
}

static void grow(struct types *t)
{
	struct type *old = t->table;
	size_t i, size = t->size;

	t->size = size ? size * 2 : 1024;
	t->table = xcalloc(t->size, sizeof(*t->table));
	for (i = 0; i < size; i++)
		if (old[i].pages)
			*slot_of(t, old[i].flags) = old[i];
	free(old);
}

static void add_frame(struct types *t, uint64_t flags)
{
	uint64_t expanded = flags_expand(flags);
	/* Without --raw a filter may use either name of a bit with two meanings. */
	uint64_t names = t->raw ? expanded : flags | expanded;
	struct type *slot;

	if ((names & t->filter.set) != t->filter.set || names & t->filter.clear)
		return;
	if (t->used * 2 >= t->size)
		grow(t);
	flags = t->raw ? expanded : flags_plain(flags & (KPF_BIT(61) - 1));
	slot = slot_of(t, flags);
	slot->flags = flags;
	t->used += !slot->pages++;
	t->total++;
}

static int scan_machine(struct types *t)
{
	static uint64_t flags[CHUNK];
	uint64_t pfn;

	for (pfn = 0;; pfn += CHUNK) {
		ssize_t n = kpage_read(t->fd, "kpageflags", pfn, flags, CHUNK), i;

		if (n <= 0)
			return n;
		for (i = 0; i < n; i++)
			add_frame(t, flags[i]);
		progress("reading page flags, MiB", pfn * page_size >> 20, 0);
	}
}

/* kpagecgroup shows an owner for heads only: what follows one as a tail is its owner's too. */
static int scan_charged(struct types *t, const struct cgroup *cg, int owners)
{
	static uint64_t flags[CHUNK], owner[CHUNK];
	bool ours = false;
	uint64_t pfn;

	for (pfn = 0;; pfn += CHUNK) {
		ssize_t n = kpage_read(t->fd, "kpageflags", pfn, flags, CHUNK), i;

		if (n <= 0 || kpage_read(owners, "kpagecgroup", pfn, owner, n) < 0)
			return n <= 0 ? n : -1;
		for (i = 0; i < n; i++) {
			if (!(flags[i] & KPF_BIT(KPF_TAIL)) || owner[i])
				ours = cgroup_has(cg, owner[i]);
			if (ours)
				add_frame(t, flags[i]);
		}
		progress("reading page flags, MiB", pfn * page_size >> 20, 0);
	}
}

static int scan_cgroup(struct types *t)
{
	struct cgroup cg;
	int owners = -1, err;

	err = cgroup_open(&cg, t->cgroup);
	if (!err)
		err = cgroup_scan(&cg);
	if (err == E_GONE)
		err = fail("cgroup %s is gone", cg.path);
	if (!err)
		owners = kpage_open("kpagecgroup");
	if (!err)
		err = owners < 0 ? -1 : scan_charged(t, &cg, owners);
	if (owners >= 0)
		close(owners);
	cgroup_close(&cg);
	return err;
}

static int by_pfn(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	return x->pfn < y->pfn ? -1 : x->pfn > y->pfn;
}

static uint64_t table_bits(const struct span *s)
{
	return s->bits & PM_FILE ? KPF_BIT(61) | (s->bits & PM_EXCLUSIVE ? KPF_BIT(63) : 0) :
	       s->bits & PM_EXCLUSIVE ? KPF_BIT(63) : 0;
}

/* In the order of frames, so that no block is read twice and none alone. */
static int scan_spans(struct types *t, struct spans *s)
{
	static uint64_t flags[BLOCK];
	uint64_t have = UINT64_MAX;
	size_t i, k;

	qsort(s->span, s->nr, sizeof(*s->span), by_pfn);
	for (i = 0; i < s->nr; i++) {
		const struct span *span = &s->span[i];

		for (k = 0; k < span->nr; k++) {
			uint64_t pfn = span->pfn + k, block = pfn / BLOCK;

			if (block != have &&
			    kpage_read(t->fd, "kpageflags", block * BLOCK, flags, BLOCK) < 0)
				return -1;
			have = block;
			add_frame(t, flags[pfn % BLOCK] | table_bits(span));
		}
		progress("reading page flags", i + 1, s->nr);
	}
	return 0;
}

static int scan_process(struct types *t)
{
	struct spans spans = { 0 };
	struct proc p;
	int err;

	err = proc_open(&p, t->pid);
	if (!err)
		err = pagemap_read(&p, &spans);
	if (err == E_GONE)
		err = fail("process %d (%s) has exited", p.pid, p.comm);
	if (!err)
		err = scan_spans(t, &spans);
	free(spans.span);
	proc_close(&p);
	return err;
}

static int by_pages(const void *a, const void *b)
{
	const struct type *x = a, *y = b;

	if (x->pages != y->pages)
		return x->pages > y->pages ? -1 : 1;
	return x->flags < y->flags ? -1 : x->flags > y->flags;
}

static void print_row(const struct type *row)
{
	char letters[65], size[16];
	unsigned int bit, n = 0;
	const char *comma = "";

	for (bit = 0; bit < 64; bit++)
		if (flag_name(bit))
			letters[n++] = row->flags >> bit & 1 ? flag_letter(bit) : '_';
	letters[n] = 0;
	printf("0x%016llx %10llu %8s  %s  ", (unsigned long long)row->flags,
	       (unsigned long long)row->pages, human(row->pages * page_size, size), letters);
	for (bit = 0; bit < 64; bit++) {
		if (!(row->flags >> bit & 1))
			continue;
		printf("%s%s", comma, flag_name(bit) ? flag_name(bit) : "?");
		comma = ",";
	}
	puts(row->flags ? "" : "-");
}

static void print_text(const struct types *t)
{
	char size[16];
	size_t i;

	printf("%-18s %10s %8s  %-44s  %s\n", "FLAGS", "PAGES", "BYTES", "SHORT", "LONG");
	for (i = 0; i < t->used; i++)
		print_row(&t->table[i]);
	printf("%-18s %10llu %8s\n", "total", (unsigned long long)t->total,
	       human(t->total * page_size, size));
}

static void print_json(const struct types *t)
{
	unsigned int bit;
	char hex[24];
	size_t i;

	json_open(NULL, '{');
	json_str("command", "types");
	json_str("version", VERSION);
	if (t->pid)
		json_int("pid", t->pid);
	if (t->cgroup)
		json_str("cgroup", t->cgroup);
	json_int("page_size", page_size);
	json_int("total_pages", t->total);
	json_int("total_bytes", t->total * page_size);
	json_open("types", '[');
	for (i = 0; i < t->used; i++) {
		const struct type *row = &t->table[i];

		json_open(NULL, '{');
		snprintf(hex, sizeof(hex), "0x%llx", (unsigned long long)row->flags);
		json_str("flags", hex);
		json_open("names", '[');
		for (bit = 0; bit < 64; bit++)
			if (row->flags >> bit & 1 && flag_name(bit))
				json_str(NULL, flag_name(bit));
		json_close(']');
		json_int("pages", row->pages);
		json_int("bytes", row->pages * page_size);
		json_close('}');
	}
	json_close(']');
	json_close('}');
}

static void list_flags(void)
{
	unsigned int bit;

	for (bit = 0; bit < 64; bit++)
		if (flag_name(bit))
			printf("%2u  %c  %s\n", bit, flag_letter(bit), flag_name(bit));
}

static void list_flags_json(void)
{
	char letter[2] = "";
	unsigned int bit;

	json_open(NULL, '{');
	json_str("command", "types");
	json_str("version", VERSION);
	json_open("flags", '[');
	for (bit = 0; bit < 64; bit++) {
		if (!flag_name(bit))
			continue;
		*letter = flag_letter(bit);
		json_open(NULL, '{');
		json_int("bit", bit);
		json_str("letter", letter);
		json_str("name", flag_name(bit));
		json_close('}');
	}
	json_close(']');
	json_close('}');
}

static int count_and_print(struct types *t)
{
	int err;

	t->fd = kpage_open("kpageflags");
	if (t->fd < 0)
		return EXIT_FAILED;
	grow(t);
	err = t->pid ? scan_process(t) : t->cgroup ? scan_cgroup(t) : scan_machine(t);
	progress_end();
	close(t->fd);
	if (err && stop_requested())
		fail("interrupted before all frames were counted");
	if (!err) {
		qsort(t->table, t->size, sizeof(*t->table), by_pages);
		if (t->json)
			print_json(t);
		else
			print_text(t);
		err = out_finish();
	}
	free(t->table);
	return err ? EXIT_FAILED : EXIT_OK;
}

int cmd_types(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "pid", 1, NULL, 'p' }, { "cgroup", 1, NULL, 'C' }, { "flag", 1, NULL, 'f' },
		{ "raw", 0, NULL, 'r' }, { "list-flags", 0, NULL, 'l' },
		{ "json", 0, NULL, 'j' }, { "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' },
		{ 0 }
	};
	struct types t = { 0 };
	bool list = false;
	int c;

	while ((c = getopt_long(argc, argv, "p:C:f:rlhV", longs, NULL)) != -1) {
		switch (c) {
		case 'p':
			t.pid = opt_pid(optarg);
			break;
		case 'C':
			t.cgroup = optarg;
			break;
		case 'f':
			flag_filter_add(&t.filter, optarg);
			break;
		case 'r':
			t.raw = true;
			break;
		case 'l':
			list = true;
			break;
		case 'j':
			t.json = true;
			break;
		default:
			common_option(c);
		}
	}
	if (optind < argc)
		usage_error("'%s' is one word too many", argv[optind]);
	if (t.pid && t.cgroup)
		usage_error("give -p PID or -C CGROUP, not both");
	if (!list)
		return count_and_print(&t);
	if (t.json)
		list_flags_json();
	else
		list_flags();
	return out_finish() ? EXIT_FAILED : EXIT_OK;
}

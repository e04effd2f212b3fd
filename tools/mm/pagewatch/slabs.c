// SPDX-License-Identifier: GPL-2.0
/*
 * pagewatch slabs: the kernel's own objects, by cache.
 *
 *	/sys/kernel/slab	a folder for each cache; caches of one size and kind share one, and
 *				their names are links to it
 *	/proc/slabinfo		where there is no SLUB with sysfs; names need not be unique
 *
 * Loss is what pages hold besides objects in use: free objects, padding, the rest of a slab.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "slabs.h"

#define SLAB_DIR	"/sys/kernel/slab"
#define SLABINFO	"/proc/slabinfo"

enum order { BY_SIZE, BY_LOSS, BY_GROWTH };

struct slabs {
	enum order order;
	double interval;
	unsigned int rows;	/* 0: all */
	bool exact;		/* bytes, not M and G */
	bool json;
	bool slabinfo;		/* where they were read from */
	struct slab_list list;
};

void slab_list_free(struct slab_list *l)
{
	size_t i;

	for (i = 0; i < l->nr; i++) {
		free(l->slab[i].name);
		free(l->slab[i].folder);
	}
	free(l->slab);
	*l = (struct slab_list){ 0 };
}

void slab_list_take(struct slab_list *l, struct slab *s, uint64_t slab_bytes)
{
	uint64_t used = s->used * s->object;

	s->bytes = s->slabs * slab_bytes;
	s->loss = s->bytes > used ? s->bytes - used : 0;
	l->slab = xrealloc(l->slab, (l->nr + 1) * sizeof(*s));
	l->slab[l->nr++] = *s;
}

/* --- /sys/kernel/slab ------------------------------------------------------------------- */

static bool slab_number(int dir, const char *cache, const char *file, uint64_t *v)
{
	char path[PATH_MAX], *text;

	snprintf(path, sizeof(path), "%s/%s", cache, file);
	text = read_text(dir, path, NULL);
	*v = text ? strtoull(text, NULL, 10) : 0;
	free(text);
	return text;
}

/* A cache may go while it is read: then it is left out. */
static void add_cache(struct slab_list *l, int dir, const char *name)
{
	struct slab s = { .names = 1 };
	uint64_t order;

	if (!slab_number(dir, name, "object_size", &s.object) ||
	    !slab_number(dir, name, "objects", &s.used) ||
	    !slab_number(dir, name, "total_objects", &s.objects) ||
	    !slab_number(dir, name, "slabs", &s.slabs) ||
	    !slab_number(dir, name, "order", &order) || order > 20)
		return;
	s.name = text_plain(xstrdup(name), "");
	s.folder = xstrdup(name);
	slab_list_take(l, &s, (uint64_t)page_size << order);
}

/* A link "name -> :a-0000256": the folder has the name of what is alike, this one is a user's. */
static void add_link(struct slab_list *l, int dir, const char *name)
{
	char target[PATH_MAX];
	ssize_t len = readlinkat(dir, name, target, sizeof(target) - 1);
	const char *base;
	size_t i;

	if (len <= 0)
		return;
	target[len] = 0;
	base = strrchr(target, '/') ? strrchr(target, '/') + 1 : target;
	for (i = 0; i < l->nr; i++) {
		struct slab *s = &l->slab[i];

		if (strcmp(s->folder, base))
			continue;
		/* The first of its users is a name that people know. */
		if (s->names++ == 1 && *base == ':') {
			free(s->name);
			s->name = text_plain(xstrdup(name), "");
		}
		return;
	}
}

static int read_sysfs(struct slab_list *l)
{
	int links, fd;
	struct dirent *e;
	DIR *d;

	/* Links come after the folders that they lead to. */
	for (links = 0; links < 2; links++) {
		fd = open(SLAB_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		d = fd < 0 ? NULL : fdopendir(fd);
		if (!d)
			return -1;
		while ((e = readdir(d))) {
			if (*e->d_name == '.')
				continue;
			if (links && e->d_type == DT_LNK)
				add_link(l, dirfd(d), e->d_name);
			else if (!links && e->d_type == DT_DIR)
				add_cache(l, dirfd(d), e->d_name);
		}
		closedir(d);
	}
	return l->nr ? 0 : -1;
}

/* --- /proc/slabinfo --------------------------------------------------------------------- */

static int read_slabinfo(struct slab_list *l)
{
	char *text = read_text(AT_FDCWD, SLABINFO, NULL), *line, *next, name[128];

	if (!text)
		return -1;
	for (line = text; *line; line = next) {
		unsigned long long used, objects, size, per, pages, slabs;
		struct slab s = { .names = 1 };

		next = strchrnul(line, '\n');
		if (*next)
			*next++ = 0;
		if (sscanf(line, "%127s %llu %llu %llu %llu %llu : tunables %*u %*u %*u : slabdata %*u %llu",
			   name, &used, &objects, &size, &per, &pages, &slabs) != 7)
			continue;
		s.name = text_plain(xstrdup(name), "");
		s.object = size;
		s.used = used;
		s.objects = objects;
		s.slabs = slabs;
		slab_list_take(l, &s, pages * page_size);
	}
	free(text);
	return l->nr ? 0 : -1;
}

int slabs_read(struct slab_list *l, bool *slabinfo)
{
	*l = (struct slab_list){ 0 };
	*slabinfo = false;
	if (!read_sysfs(l))
		return 0;
	slab_list_free(l);
	*slabinfo = true;
	if (!read_slabinfo(l))
		return 0;
	if (errno == EACCES || errno == EPERM)
		return fail("needs root: neither " SLAB_DIR " nor " SLABINFO " can be read");
	return fail("the kernel does not tell: no " SLAB_DIR " (CONFIG_SLUB_SYSFS), no " SLABINFO);
}

/* --- growth and order ------------------------------------------------------------------- */

/* The same cache, as it was: of two of one name the first goes with the first. */
static void grow(struct slab_list *l, struct slab_list *was)
{
	size_t i, k;

	for (i = 0; i < l->nr; i++) {
		l->slab[i].growth = l->slab[i].bytes;
		for (k = 0; k < was->nr; k++) {
			if (!was->slab[k].name || strcmp(was->slab[k].name, l->slab[i].name))
				continue;
			l->slab[i].growth = l->slab[i].bytes - was->slab[k].bytes;
			free(was->slab[k].name);
			was->slab[k].name = NULL;
			break;
		}
	}
}

static enum order order;

static int by_order(const void *a, const void *b)
{
	const struct slab *x = a, *y = b;
	int64_t u = order == BY_LOSS ? (int64_t)x->loss : order == BY_GROWTH ? x->growth :
		    (int64_t)x->bytes;
	int64_t v = order == BY_LOSS ? (int64_t)y->loss : order == BY_GROWTH ? y->growth :
		    (int64_t)y->bytes;

	return u != v ? (u > v ? -1 : 1) : strcmp(x->name, y->name);
}

void slabs_sort(struct slab_list *l, bool by_loss)
{
	order = by_loss ? BY_LOSS : BY_SIZE;
	qsort(l->slab, l->nr, sizeof(*l->slab), by_order);
}

static int look(struct slabs *s)
{
	struct slab_list was;
	int err = slabs_read(&s->list, &s->slabinfo);

	if (err || !s->interval)
		return err;
	was = s->list;
	s->list = (struct slab_list){ 0 };
	err = proc_sleep(NULL, now() + s->interval, "waiting");
	progress_end();
	if (err)
		err = fail("interrupted before the interval was over");
	else
		err = slabs_read(&s->list, &s->slabinfo);
	if (!err)
		grow(&s->list, &was);
	slab_list_free(&was);
	return err;
}

/* --- what is told ----------------------------------------------------------------------- */

static const char *amount(const struct slabs *s, int64_t bytes, bool sign, char out[32])
{
	char size[24];
	uint64_t v = bytes < 0 ? -(uint64_t)bytes : (uint64_t)bytes;

	if (s->exact)
		snprintf(size, sizeof(size), "%llu", (unsigned long long)v);
	else
		human(v, size);
	snprintf(out, 32, "%s%s", bytes < 0 ? "-" : sign && bytes ? "+" : "", size);
	return out;
}

void slabs_add_up(const struct slab_list *l, struct slab *sum)
{
	size_t i;

	*sum = (struct slab){ 0 };
	for (i = 0; i < l->nr; i++) {
		sum->bytes += l->slab[i].bytes;
		sum->loss += l->slab[i].loss;
		sum->used += l->slab[i].used;
		sum->growth += l->slab[i].growth;
	}
}

static void print_totals(const struct slabs *s)
{
	char a[32], b[32], c[32];
	struct slab sum;

	slabs_add_up(&s->list, &sum);
	printf("%zu caches, %llu objects in %s, of which %s (%.1f%%) are loss", s->list.nr,
	       (unsigned long long)sum.used, amount(s, sum.bytes, false, a),
	       amount(s, sum.loss, false, b), sum.bytes ? 100.0 * sum.loss / sum.bytes : 0.0);
	if (s->interval)
		printf("; %s in %g s", amount(s, sum.growth, true, c), s->interval);
	puts(s->slabinfo ? "\nfrom " SLABINFO ": there is no " SLAB_DIR : "");
}

static void print_text(const struct slabs *s)
{
	size_t i, nr = s->rows && s->rows < s->list.nr ? s->rows : s->list.nr;
	char a[32], b[32], c[32];

	print_totals(s);
	printf("\n%-24s %8s %12s %12s %10s %10s", "CACHE", "OBJECT", "USED", "ROOM FOR", "SIZE", "LOSS");
	puts(s->interval ? "     GROWTH" : "");
	for (i = 0; i < nr; i++) {
		const struct slab *x = &s->list.slab[i];

		printf("%-24s %8llu %12llu %12llu %10s %10s", x->name, (unsigned long long)x->object,
		       (unsigned long long)x->used, (unsigned long long)x->objects,
		       amount(s, x->bytes, false, a), amount(s, x->loss, false, b));
		if (s->interval)
			printf(" %10s", amount(s, x->growth, true, c));
		puts("");
	}
}

static void print_json(const struct slabs *s)
{
	size_t i, nr = s->rows && s->rows < s->list.nr ? s->rows : s->list.nr;

	json_open(NULL, '{');
	json_str("command", "slabs");
	json_str("version", VERSION);
	json_str("source", s->slabinfo ? SLABINFO : SLAB_DIR);
	json_num("interval", s->interval);
	json_int("caches", s->list.nr);
	json_open("slabs", '[');
	for (i = 0; i < nr; i++) {
		const struct slab *x = &s->list.slab[i];

		json_open(NULL, '{');
		json_str("name", x->name);
		json_int("names", x->names);
		json_int("object_size", x->object);
		json_int("used", x->used);
		json_int("objects", x->objects);
		json_int("slabs", x->slabs);
		json_int("bytes", x->bytes);
		json_int("loss", x->loss);
		if (s->interval)
			json_num("growth", x->growth);
		json_close('}');
	}
	json_close(']');
	json_close('}');
}

static enum order opt_order(const char *word)
{
	static const char *const words[] = { "size", "loss", "growth" };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(word, words[i]))
			return i;
	usage_error("'%s' is no order: give size, loss or growth", word);
}

/* Once, or with two looks, from which growth follows. */
static int tell(struct slabs *s)
{
	int err = look(s);

	order = s->order;
	if (!err)
		qsort(s->list.slab, s->list.nr, sizeof(*s->list.slab), by_order);
	if (!err && s->json)
		print_json(s);
	else if (!err)
		print_text(s);
	slab_list_free(&s->list);
	return err;
}

int cmd_slabs(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "sort", 1, NULL, 's' }, { "rows", 1, NULL, 'N' }, { "bytes", 0, NULL, 'B' },
		{ "interval", 1, NULL, 'i' }, { "count", 1, NULL, 'n' },
		{ "record", 1, NULL, 'r' }, { "slabinfo", 0, NULL, 'X' }, { "json", 0, NULL, 'j' },
		{ "help", 0, NULL, 'h' }, { "version", 0, NULL, 'V' }, { 0 }
	};
	struct slabs s = { .rows = 20 };
	struct slab_watch w = { 0 };
	int c, err;

	while ((c = getopt_long(argc, argv, "s:N:Bi:n:r:hV", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			s.order = opt_order(optarg);
			break;
		case 'N':
			s.rows = opt_count(optarg);
			break;
		case 'B':
			s.exact = true;
			break;
		case 'i':
			s.interval = opt_seconds(optarg);
			break;
		case 'n':
			w.count = opt_count(optarg);
			break;
		case 'r':
			w.record = optarg;
			break;
		case 'X':
			w.slabinfo = true;
			break;
		case 'j':
			s.json = true;
			break;
		default:
			common_option(c);
		}
	}
	if (optind < argc)
		usage_error("'%s' is one word too many", argv[optind]);
	if (s.order == BY_GROWTH && !s.interval)
		s.interval = 1;
	if (w.record || w.slabinfo) {
		if (s.json)
			usage_error("--json goes with neither --record nor --slabinfo: 'pagewatch report "
				    "FILE --json' tells a record");
		w.interval = s.interval ? s.interval : 1;
		err = slabs_watch(&w);
	} else {
		if (w.count)
			usage_error("-n COUNT goes with --record or --slabinfo");
		err = tell(&s);
	}
	return err || out_finish() ? EXIT_FAILED : EXIT_OK;
}

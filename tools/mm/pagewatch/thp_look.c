// SPDX-License-Identifier: GPL-2.0
/*
 * The memory of one process, window by window of the size of a huge page: is it mapped by a PMD, and
 * if not, in which folios is it, and why?
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "thp.h"

#define KPF_HEAD	15
#define KPF_HUGE	17
#define KPF_ZERO_PAGE	24
#define MAX_BLOCK	(1UL << MAX_ORDER)

/**
 * struct look - at one process
 * @t: what is asked for, and the sums
 * @p: the process
 * @spans: what it maps, by addresses
 * @next: the first of them that is not behind us
 * @huge: where PMDs map, by addresses
 * @next_huge: likewise
 * @mem: /proc/PID/mem; -1 if zeroes are not looked for
 * @disabled: it has no huge pages at all
 */
struct look {
	struct thp *t;
	struct proc *p;
	struct spans spans;
	size_t next;
	struct extents huge;
	size_t next_huge;
	int mem;
	bool disabled;
};

/* --- flags of VMAs ---------------------------------------------------------------------- */

/* "VmFlags: rd wr ..." of the VMA that begins at @start. They are in the order of maps. */
static void flags_of(const char **at, uint64_t start, struct thp_flags *f)
{
	const char *line;
	char head[32];

	*f = (struct thp_flags){ 0 };
	snprintf(head, sizeof(head), "\n%08llx-", (unsigned long long)start);
	line = strstr(*at, head);
	if (!line)
		return;
	*at = line;
	line = strstr(line, "\nVmFlags:");
	if (!line)
		return;
	for (line += strlen("\nVmFlags:"); *line == ' '; line += 3) {
		if (!line[1] || line[1] == '\n')
			break;
		f->advised |= !strncmp(line, " hg", 3);
		f->refused |= !strncmp(line, " nh", 3);
		f->hugetlb |= !strncmp(line, " ht", 3);
		f->userfault |= !strncmp(line, " um", 3) || !strncmp(line, " uw", 3) ||
				!strncmp(line, " ui", 3);
	}
}

static bool is_disabled(struct proc *p)
{
	char *text = read_text(p->dir, "status", NULL);
	bool disabled = text && strstr(text, "\nTHP_enabled:\t0");

	free(text);
	return disabled;
}

/* --- folios ----------------------------------------------------------------------------- */

/*
 * The order of the folio that a frame is of, and how many pages of it are left from there on. Folios
 * are aligned, so none goes over the end of a block as large as a huge page.
 */
static int order_of(struct look *l, uint64_t pfn, uint64_t *left, uint64_t *flags)
{
	static uint64_t block[MAX_BLOCK], have = UINT64_MAX;
	uint64_t nr = l->t->settings.huge / page_size, first = pfn & -nr, head, end;

	if (first != have && kpage_read(l->t->flags, "kpageflags", first, block, nr) < 0) {
		have = UINT64_MAX;
		return -1;
	}
	have = first;
	head = end = pfn - first;
	*flags = block[head];
	*left = 1;
	if (*flags & KPF_BIT(KPF_ZERO_PAGE))
		return 0;
	while (head && block[head] & KPF_BIT(KPF_TAIL))
		head--;
	if (!(block[head] & KPF_BIT(KPF_HEAD)))
		return 0;
	for (end++; end < nr && block[end] & KPF_BIT(KPF_TAIL);)
		end++;
	*left = end - (pfn - first);
	return __builtin_ctzll(end - head);
}

/* --- zeroes ----------------------------------------------------------------------------- */

/* What cannot be read, as a driver's, is not looked at. */
static void look_for_zeroes(struct look *l, struct thp_sum *sum, uint64_t addr, uint64_t nr)
{
	static const char zeroes[65536];
	static char page[65536];

	for (; nr && !stop_requested(); nr--, addr += page_size) {
		if (pread(l->mem, page, page_size, addr) != page_size)
			return;
		sum->looked += page_size;
		if (!memcmp(page, zeroes, page_size))
			sum->zeroes += page_size;
	}
}

/* --- windows ---------------------------------------------------------------------------- */

static bool is_huge(struct look *l, uint64_t addr)
{
	const struct extent *e = l->huge.extent;

	while (l->next_huge < l->huge.nr && e[l->next_huge].to <= addr)
		l->next_huge++;
	return l->next_huge < l->huge.nr && e[l->next_huge].from <= addr;
}

/* Pages of a span, from one of them on, by folios. */
static int look_at_folios(struct look *l, struct thp_sum *sum, const struct span *s, uint64_t skip,
			  uint64_t nr)
{
	uint64_t k = 0, left, flags;

	while (k < nr) {
		int order = order_of(l, s->pfn + skip + k, &left, &flags);
		uint64_t part = left < nr - k ? left : nr - k;

		if (order < 0)
			return -1;
		if (flags & KPF_BIT(KPF_ZERO_PAGE))
			sum->zero_page += part * page_size;
		else
			sum->order[order] += part * page_size;
		if (order && l->mem >= 0)
			look_for_zeroes(l, sum, s->addr + (skip + k) * page_size, part);
		k += part;
	}
	return 0;
}

struct window {
	uint64_t present;
	uint64_t shared;
};

/* The pages of a window. */
static int look_at_window(struct look *l, struct thp_sum *sum, uint64_t from, uint64_t to,
			  bool hugetlb, bool huge, struct window *w)
{
	for (; l->next < l->spans.nr; l->next++) {
		const struct span *s = &l->spans.span[l->next];
		uint64_t end = s->addr + (uint64_t)s->nr * page_size;
		uint64_t a = s->addr > from ? s->addr : from, b = end < to ? end : to;
		uint64_t nr = a < b ? (b - a) / page_size : 0;

		if (s->addr >= to)
			break;
		w->present += nr;
		if (!(s->bits & PM_EXCLUSIVE))
			w->shared += nr;
		if (hugetlb)
			sum->hugetlb += nr * page_size;
		else if (huge)
			sum->pmd += nr * page_size;
		if (nr && huge && l->mem >= 0)
			look_for_zeroes(l, sum, a, nr);
		if (nr && !hugetlb && !huge &&
		    look_at_folios(l, sum, s, (a - s->addr) / page_size, nr))
			return -1;
		if (end > to)
			break;
	}
	return 0;
}

/* Files have huge pages of their own file system's, or none: that is nothing a setting changes. */
static bool can_be_huge(const struct vma *v, const struct thp_flags *f)
{
	return !f->hugetlb && v->kind != K_FILE && v->kind != K_OTHER;
}

static int look_at_vma(struct look *l, const struct vma *v, const struct thp_flags *f,
		       struct thp_sum *sum)
{
	uint64_t size = l->t->settings.huge, at;

	for (at = v->start & -size; at < v->end; at += size) {
		uint64_t from = at > v->start ? at : v->start;
		uint64_t to = at + size < v->end ? at + size : v->end;
		bool huge = is_huge(l, from);
		struct window w = { 0 };

		if (look_at_window(l, sum, from, to, f->hugetlb, huge, &w))
			return -1;
		if (w.present && !huge && can_be_huge(v, f))
			sum->not_huge[thp_why(l->t, v, f, l->disabled, at, w.present, w.shared)] +=
				w.present * page_size;
		if (l->next >= l->spans.nr)
			break;
		/* What is reserved and empty may be terabytes. */
		from = l->spans.span[l->next].addr & -size;
		if (from > at + size)
			at = from - size;
	}
	return 0;
}

static void add(struct thp_sum *to, const struct thp_sum *from)
{
	uint64_t *a = (uint64_t *)to;
	const uint64_t *b = (const uint64_t *)from;
	size_t i;

	for (i = 0; i < sizeof(*to) / sizeof(*a); i++)
		a[i] += b[i];
}

static void keep_vma(struct thp *t, const struct vma *v, const struct thp_sum *sum)
{
	struct thp_vma *new;

	t->vma = xrealloc(t->vma, (t->nr_vmas + 1) * sizeof(*t->vma));
	new = &t->vma[t->nr_vmas++];
	*new = (struct thp_vma){ .start = v->start, .end = v->end, .kind = v->kind,
				 .name = xstrdup(v->name), .sum = *sum };
}

static int look_at_all(struct look *l)
{
	size_t i;
	char *smaps = read_text(l->p->dir, "smaps", NULL);
	const char *at;
	int err = 0;

	if (!smaps)
		return proc_gone(l->p) ? E_GONE :
		       fail("cannot read /proc/%d/smaps: %s", l->p->pid, strerror(errno));
	/* As if a line went before the first VMA's. */
	smaps = xrealloc(smaps, strlen(smaps) + 2);
	memmove(smaps + 1, smaps, strlen(smaps) + 1);
	*smaps = '\n';
	at = smaps;
	for (i = 0; i < l->p->nr_vmas && !err; i++) {
		const struct vma *v = &l->p->vma[i];
		struct thp_sum sum = { 0 };
		struct thp_flags f;

		if (v->start >> 63)
			break;
		flags_of(&at, v->start, &f);
		err = look_at_vma(l, v, &f, &sum);
		if (stop_requested())
			err = -1;
		add(&l->t->sum, &sum);
		if (!err && l->t->pid && thp_mapped(&sum))
			keep_vma(l->t, v, &sum);
		progress("looking at folios", i + 1, l->p->nr_vmas);
	}
	free(smaps);
	return err;
}

/* E_GONE when it has exited; what was seen of it by then is in the sums. */
int thp_look(struct thp *t, struct proc *p)
{
	struct look l = { .t = t, .p = p, .mem = -1, .disabled = is_disabled(p) };
	int err = pagemap_read(p, &l.spans);

	if (!err)
		err = pagemap_read_huge(p, &l.huge);
	if (!err && t->zeroes) {
		l.mem = openat(p->dir, "mem", O_RDONLY | O_CLOEXEC);
		if (l.mem < 0)
			err = proc_gone(p) ? E_GONE : fail("cannot open /proc/%d/mem: %s", p->pid,
							   strerror(errno));
	}
	if (!err)
		err = look_at_all(&l);
	if (l.mem >= 0)
		close(l.mem);
	free(l.spans.span);
	free(l.huge.extent);
	t->processes += !err;
	return err;
}

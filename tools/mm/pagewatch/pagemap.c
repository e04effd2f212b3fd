// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/PID/pagemap: eight bytes a virtual page. Frames that follow each other in both spaces make
 * one span. Where a process has reserved far more than it uses (sanitizers, Go, Java), the kernel
 * is first asked which parts are populated at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "pagewatch.h"

#define BUF_PAGES	(128 * 1024)	/* 1 MiB of entries: 512 MiB of memory in one read */
#define MIN_PAGES	64
#define NEAR_PAGES	512		/* passing over a hole is cheaper than a call */
#define SPARSE_BYTES	(64UL << 20)
#define PFN_MASK	((1ULL << 55) - 1)
#define NR_PARTS	256

/* The argument of the PAGEMAP_SCAN ioctl (Linux 6.7), for headers that are older. */
struct scan_part {
	uint64_t from, to, categories;
};

struct scan_request {
	uint64_t bytes, flags;
	uint64_t from, to, stopped_at;
	uint64_t parts, nr_parts, max_pages;
	uint64_t inverted, all_of, any_of, wanted;
};

#define SCAN_IOCTL	_IOWR('f', 16, struct scan_request)
#define SCAN_PROTECT	(1 << 0)

struct reader {
	const struct proc *proc;
	int fd;
	uint32_t vma;		/* that the pages being added belong to */
	struct spans *out;
	uint64_t *buf;
	bool no_scan;		/* the kernel cannot, or the process is gone */
};

static void add_page(struct reader *r, uint64_t addr, uint64_t entry)
{
	struct spans *s = r->out;
	struct span *last = s->nr ? &s->span[s->nr - 1] : NULL;
	uint64_t pfn = entry & PFN_MASK, bits = entry & (PM_EXCLUSIVE | PM_FILE);

	s->pages++;
	if (last && last->pfn + last->nr == pfn && last->bits == bits && last->vma == r->vma &&
	    last->addr + (uint64_t)last->nr * page_size == addr) {
		last->nr++;
		return;
	}
	if (s->nr == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 4096;
		s->span = xrealloc(s->span, s->cap * sizeof(*s->span));
	}
	s->span[s->nr++] = (struct span){
		.addr = addr, .pfn = pfn, .nr = 1, .vma = r->vma, .bits = bits,
	};
}

/* Entries for [from, from + nr pages); E_GONE when no address space is left to read. */
static int fill(struct reader *r, uint64_t from, size_t nr)
{
	size_t bytes = nr * 8, done = 0;

	while (done < bytes) {
		ssize_t got = pread(r->fd, (char *)r->buf + done, bytes - done,
				    from / page_size * 8 + done);

		if (got < 0 && errno == EINTR && !stop_requested())
			continue;
		if (got < 0)
			return errno == EINTR ? -1 : errno == ESRCH ? E_GONE :
			       fail("cannot read pagemap: %s", strerror(errno));
		if (!got && !done)
			return E_GONE;
		if (!got)
			break;		/* the end of what a process can map */
		done += got;
	}
	memset((char *)r->buf + done, 0, bytes - done);
	return 0;
}

/* Of what was just read from @from on, the entries of VMA @i. */
static int take(struct reader *r, size_t i, uint64_t from, size_t nr)
{
	const struct vma *v = &r->proc->vma[i];
	size_t k = v->start > from ? (v->start - from) / page_size : 0;

	r->vma = i;
	for (; k < nr && from + k * page_size < v->end; k++) {
		if (!(r->buf[k] & PM_PRESENT))
			continue;
		if (!(r->buf[k] & PFN_MASK))
			return fail("needs root: /proc/PID/pagemap hides frame numbers otherwise "
				    "(CAP_SYS_ADMIN)");
		add_page(r, from + k * page_size, r->buf[k]);
	}
	return 0;
}

/* [from, to), where VMAs @i to @last lie. A short one is read with what follows it. */
static int read_range(struct reader *r, size_t i, size_t last, uint64_t from, uint64_t to)
{
	while (from < to) {
		size_t nr = (to - from) / page_size, k;
		int err;

		if (nr > BUF_PAGES)
			nr = BUF_PAGES;
		err = fill(r, from, nr < MIN_PAGES ? MIN_PAGES : nr);
		for (k = i; k <= last && !err; k++)
			err = take(r, k, from, nr);
		if (err)
			return err;
		from += nr * page_size;
	}
	return 0;
}

static bool close_by(uint64_t end, uint64_t next)
{
	return next - end <= NEAR_PAGES * (uint64_t)page_size;
}

static int read_sparse(struct reader *r, size_t vma)
{
	uint64_t from = r->proc->vma[vma].start, to = r->proc->vma[vma].end;
	static struct scan_part part[NR_PARTS];
	int nr, i, k, err;

	while (from < to) {
		struct scan_request q = {
			.bytes = sizeof(q), .from = from, .to = to,
			.parts = (uintptr_t)part, .nr_parts = NR_PARTS,
			.all_of = SCAN_PRESENT, .wanted = SCAN_PRESENT,
		};

		nr = ioctl(r->fd, SCAN_IOCTL, &q);
		if (nr < 0) {
			r->no_scan = true;
			return read_range(r, vma, vma, from, to);
		}
		for (i = 0; i < nr; i = k) {
			for (k = i + 1; k < nr && close_by(part[k - 1].to, part[k].from); k++)
				;
			err = read_range(r, vma, vma, part[i].from, part[k - 1].to);
			if (err)
				return err;
		}
		if (q.stopped_at <= from)
			break;
		from = q.stopped_at;
	}
	return 0;
}

static bool is_sparse(const struct reader *r, size_t i)
{
	return !r->no_scan && r->proc->vma[i].end - r->proc->vma[i].start >= SPARSE_BYTES;
}

static int read_vmas(struct reader *r)
{
	const struct vma *v = r->proc->vma;
	size_t nr = r->proc->nr_vmas, i, last;
	int err = 0;

	while (nr && v[nr - 1].start >> 63)
		nr--;		/* vsyscall: not in the process's half */
	for (i = 0; i < nr && !err; i = last + 1) {
		last = i;
		if (is_sparse(r, i)) {
			err = read_sparse(r, i);
		} else {
			/* Libraries have many small VMAs: one read for neighbours. */
			while (last + 1 < nr && !is_sparse(r, last + 1) &&
			       close_by(v[last].end, v[last + 1].start) &&
			       v[last + 1].end - v[i].start <= BUF_PAGES * (uint64_t)page_size)
				last++;
			err = read_range(r, i, last, v[i].start, v[last].end);
		}
		progress("reading pagemap", last + 1, nr);
	}
	return err;
}

/* proc_read_vmas() comes first. The order of spans is that of addresses. */
int pagemap_read(struct proc *p, struct spans *s)
{
	struct reader r = { .proc = p, .out = s };
	int err;

	s->nr = 0;
	s->pages = 0;
	/* Opened anew each time: after execve() the old file shows the old, empty space. */
	r.fd = openat(p->dir, "pagemap", O_RDONLY | O_CLOEXEC);
	if (r.fd < 0 && (errno == ENOENT || errno == ESRCH))
		return proc_gone(p) ? E_GONE :
		       fail("the kernel lacks CONFIG_PROC_PAGE_MONITOR: no /proc/PID/pagemap");
	if (r.fd < 0 && (errno == EACCES || errno == EPERM))
		return fail("needs root: not allowed to read /proc/%d/pagemap", p->pid);
	if (r.fd < 0)
		return fail("cannot open /proc/%d/pagemap: %s", p->pid, strerror(errno));
	r.buf = xrealloc(NULL, BUF_PAGES * 8);
	err = read_vmas(&r);
	free(r.buf);
	close(r.fd);
	return err;
}

/* --- PMDs ------------------------------------------------------------------------------- */

void extents_add(struct extents *e, uint64_t from, uint64_t to)
{
	if (e->nr && e->extent[e->nr - 1].to == from) {
		e->extent[e->nr - 1].to = to;
		return;
	}
	e->extent = xrealloc(e->extent, (e->nr + 1) * sizeof(*e->extent));
	e->extent[e->nr++] = (struct extent){ from, to };
}

static void take_huge(void *data, uint64_t from, uint64_t to, uint64_t categories)
{
	(void)categories;
	extents_add(data, from, to);
}

/* All ranges that fit, in the order of addresses: what they are is for the callback. */
int pagemap_scan(int fd, const struct pagemap_query *query,
		 void (*take)(void *data, uint64_t from, uint64_t to, uint64_t categories), void *data)
{
	static struct scan_part part[NR_PARTS];
	uint64_t from = query->from;

	while (from < query->to) {
		struct scan_request q = {
			.bytes = sizeof(q), .flags = query->protect ? SCAN_PROTECT : 0,
			.from = from, .to = query->to,
			.parts = (uintptr_t)part, .nr_parts = NR_PARTS,
			.all_of = query->all_of, .any_of = query->any_of, .wanted = query->wanted,
		};
		int nr = ioctl(fd, SCAN_IOCTL, &q), i;

		if (nr < 0 && errno == EINTR && !stop_requested())
			continue;
		if (nr < 0)
			return errno == ESRCH ? E_GONE : errno == EINTR ? -1 :
			       errno == ENOTTY || errno == EINVAL ?
			       fail("the kernel lacks PAGEMAP_SCAN (Linux 6.7)") :
			       fail("PAGEMAP_SCAN: %s", strerror(errno));
		for (i = 0; i < nr; i++)
			take(data, part[i].from, part[i].to, part[i].categories);
		if (q.stopped_at <= from)
			break;
		from = q.stopped_at;
	}
	return 0;
}

int pagemap_read_huge(struct proc *p, struct extents *e)
{
	int fd = openat(p->dir, "pagemap", O_RDONLY | O_CLOEXEC), err = 0;
	size_t i;

	e->nr = 0;
	if (fd < 0)
		return proc_gone(p) ? E_GONE : fail("cannot open /proc/%d/pagemap: %s", p->pid,
						    strerror(errno));
	for (i = 0; i < p->nr_vmas && !err && !(p->vma[i].start >> 63); i++)
		err = pagemap_scan(fd, &(struct pagemap_query){
			.from = p->vma[i].start, .to = p->vma[i].end,
			.all_of = SCAN_HUGE, .wanted = SCAN_HUGE }, take_huge, e);
	close(fd);
	return err;
}

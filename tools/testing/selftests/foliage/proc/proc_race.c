// SPDX-License-Identifier: GPL-2.0
/*
 * The /proc files of pages, read while all that they tell of changes: address spaces come, go
 * and are rearranged, huge pages are collapsed and split, pages swapped, memory goes offline.
 * No answer is right for long, but some can never be right, and those are looked for.
 *
 * And writes, tracked by PAGEMAP_SCAN: a mirror that copies what is reported as written must in
 * the end be equal to the memory that was written to, however the two met.
 *
 *	proc_race [SECONDS]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "../../kselftest.h"
#include "proc.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define PAGES		2048UL
#define SPAN		(PAGES * PAGE)
#define CHURNERS	4

static int seconds = 6;
static atomic_bool stop;
static atomic_ulong answers, nonsense, offlines;

static unsigned int next(unsigned int *state, unsigned int below)
{
	*state = *state * 1103515245 + 12345;
	return (*state >> 8) % below;
}

/* --- what changes --- */

/* At a fixed address, so that readers know where to look. */
static char *const field = (char *)0x100000000000;

static void field_map(size_t at, size_t len)
{
	mmap(field + at * PAGE, len * PAGE, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void churn_once(unsigned int *s)
{
	size_t len = 1 + next(s, 600), at = next(s, PAGES - len), to = next(s, PAGES - len);
	char *p = field + at * PAGE;

	switch (next(s, 9)) {
	case 0:
		munmap(p, len * PAGE);
		break;
	case 1:
		field_map(at, len);
		break;
	case 2:
		mremap(p, len * PAGE, len * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		       field + (PAGES + to) * PAGE);
		break;
	case 3:
		madvise(p, len * PAGE, MADV_COLLAPSE);
		break;
	case 4:
		madvise(p, len * PAGE, MADV_DONTNEED);
		break;
	case 5:
		madvise(p, len * PAGE, MADV_PAGEOUT);
		break;
	case 6:
		mprotect(p, len * PAGE, PROT_READ);
		mprotect(p, len * PAGE, PROT_READ | PROT_WRITE);
		break;
	case 7:
		field_map(0, PAGES);
		madvise(field, SPAN, MADV_HUGEPAGE);
		break;
	case 8:
		madvise(p, len * PAGE, MADV_POPULATE_WRITE);
		break;
	}
}

/* A process that lives for a while; sometimes it has a child that shares its pages. */
static void churn(unsigned int seed)
{
	unsigned int n = 20 + next(&seed, 200);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	field_map(0, PAGES);
	while (n--) {
		churn_once(&seed);
		if (!next(&seed, 40) && !fork())
			_exit(0);
	}
	_exit(0);
}

static atomic_int churners[CHURNERS];

static void *keep_churning(void *arg)
{
	unsigned int seed = 7;

	while (!stop) {
		for (int i = 0; i < CHURNERS; i++) {
			if (churners[i] && waitpid(churners[i], NULL, WNOHANG) != churners[i])
				continue;
			churners[i] = fork();
			if (!churners[i])
				churn(++seed * 1000 + i);
			seed++;
		}
		usleep(1000);
	}
	for (int i = 0; i < CHURNERS; i++) {
		kill(churners[i], SIGKILL);
		waitpid(churners[i], NULL, 0);
	}
	return NULL;
}

/* Blocks at the end of memory are the likeliest to be free of what cannot move. */
static void *keep_offlining(void *arg)
{
	char path[80];

	for (int block = 60; !stop; block = block > 30 ? block - 1 : 60) {
		snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%d/state", block);
		if (!write_text(path, "offline"))
			continue;
		offlines++;
		usleep(20000);
		if (!write_text(path, "online"))
			ksft_print_msg("%s stays offline\n", path);
	}
	return NULL;
}

/* --- who reads --- */

static void wrong(const char *what, uint64_t at, uint64_t value)
{
	if (nonsense++ < 20)
		ksft_print_msg("%s: %#llx: %#llx\n", what, (unsigned long long)at,
			       (unsigned long long)value);
}

static void look_at_flags(uint64_t pfn, uint64_t v)
{
	uint64_t huge = v & (KPF(KPF_HEAD) | KPF(KPF_TAIL));

	if (v & KPF(KPF_NOPAGE) && v != KPF(KPF_NOPAGE))
		wrong("a frame without memory has flags", pfn, v);
	if (huge == (KPF(KPF_HEAD) | KPF(KPF_TAIL)))
		wrong("head and tail in one", pfn, v);
	if (v >> 43 || v >> 27 & 0x1f)
		wrong("flags that there are not", pfn, v);
	if (v & KPF(KPF_HUGE) && v & KPF(KPF_BUDDY))
		wrong("hugetlb and free", pfn, v);
}

static void look_at_count(uint64_t pfn, uint64_t v)
{
	if ((int64_t)v < 0 || v > 1000000)
		wrong("a map count", pfn, v);
}

static void look_at_cgroup(uint64_t pfn, uint64_t v)
{
	if (v > 1000000)
		wrong("an inode number", pfn, v);
}

struct reader {
	const char *path;
	void (*look)(uint64_t pfn, uint64_t v);
};

static void *read_frames(void *arg)
{
	static const size_t lengths[] = { 8, 512, 4096, 1 << 18 };
	struct reader *r = arg;
	uint64_t *v = malloc(1 << 18);
	unsigned int s = (uintptr_t)arg;
	int fd = open(r->path, O_RDONLY);
	uint64_t end = frames_total();

	while (!stop) {
		uint64_t pfn = next(&s, end);
		ssize_t i, n = pread(fd, v, lengths[next(&s, 4)], pfn * 8);

		if (n < 0)
			wrong(r->path, pfn, errno);
		for (i = 0; i < n / 8; i++)
			r->look(pfn + i, v[i]);
		answers += n > 0 ? n / 8 : 0;
	}
	close(fd);
	free(v);
	return NULL;
}

static void look_at_entry(uint64_t at, uint64_t v)
{
	if (v >> 58 & 7)
		wrong("bits that there are not", at, v);
	if (v & PM_PRESENT && v & PM_SWAP)
		wrong("present and swapped", at, v);
	if (v & PM_PRESENT && !(v & PM_FRAME))
		wrong("present without a frame", at, v);
	if (!(v & (PM_PRESENT | PM_SWAP)) && v & (PM_FRAME | PM_EXCLUSIVE | PM_FILE))
		wrong("nothing there, and yet", at, v);
}

static void look_at_region(const struct pm_scan_arg *arg, const struct page_region *r)
{
	if (r->start >= r->end || r->start < arg->start || r->end > arg->end ||
	    (r->start | r->end) % PAGE)
		wrong("a region", r->start, r->end);
	if (r->categories & ~ALL_CATEGORIES || (r->categories & (PAGE_IS_PRESENT | PAGE_IS_SWAPPED))
	    == (PAGE_IS_PRESENT | PAGE_IS_SWAPPED))
		wrong("categories", r->start, r->categories);
}

static void scan_once(int fd, unsigned int *s)
{
	static __thread struct page_region vec[600];
	struct pm_scan_arg arg = scan_of(field, 2 * PAGES, vec, 1 + next(s, 599));
	uint64_t last = 0;
	long i, n;

	arg.category_anyof_mask = next(s, 256);
	arg.max_pages = next(s, 2) ? next(s, 3000) : 0;
	n = ioctl(fd, PAGEMAP_SCAN, &arg);
	if (n < 0 && errno != ESRCH)
		wrong("scan", errno, arg.category_anyof_mask);
	for (i = 0; i < n; i++) {
		look_at_region(&arg, &vec[i]);
		if (vec[i].start < last)
			wrong("regions out of order", vec[i].start, last);
		last = vec[i].end;
	}
	answers += n > 0 ? n : 0;
}

static void *read_processes(void *arg)
{
	uint64_t *v = malloc(2 * PAGES * 8);
	unsigned int s = 3;
	char path[64];

	while (!stop) {
		size_t len = 1 + next(&s, 2 * PAGES - 1), at = next(&s, 2 * PAGES - len);
		uint64_t from = (uintptr_t)field / PAGE + at;
		ssize_t i, n;
		int fd;

		snprintf(path, sizeof(path), "/proc/%d/pagemap", churners[next(&s, CHURNERS)]);
		fd = open(path, O_RDONLY);
		if (fd < 0)
			continue;
		n = pread(fd, v, len * 8, from * 8);
		/* All of it, or nothing of a process that has ended; it may end in between. */
		if (n < 0 || n % 8)
			wrong(path, n, errno);
		for (i = 0; i < n / 8; i++)
			look_at_entry(from + i, v[i]);
		answers += n > 0 ? n / 8 : 0;
		scan_once(fd, &s);
		close(fd);
	}
	free(v);
	return NULL;
}

/* --- the mirror --- */

struct mirror {
	struct region r;
	char *copy;
	atomic_bool stop;
	atomic_ulong written;
	unsigned long copied;
	int rounds;
};

/* Enough for the answer to mean something. */
static bool enough(const struct mirror *m)
{
	return m->written >= 100 && m->copied > PAGES && m->rounds >= 2;
}

static void *keep_writing(void *arg)
{
	struct mirror *m = arg;
	unsigned int s = 11;

	while (!m->stop) {
		char *p = m->r.p + next(&s, m->r.pages) * PAGE + next(&s, PAGE / 8) * 8;

		__atomic_fetch_add((uint64_t *)p, 1, __ATOMIC_RELAXED);
		m->written++;
	}
	return NULL;
}

/* Huge pages are collapsed and split, pages go to swap, under the eyes of the tracker. */
static void *keep_disturbing(void *arg)
{
	struct mirror *m = arg;
	unsigned int s = 5;

	while (!m->stop) {
		size_t len = 1 + next(&s, 600), at = next(&s, m->r.pages - len);
		char *p = m->r.p + at * PAGE;

		if (m->r.kind == HUGETLB)
			usleep(1000);
		else if (next(&s, 2))
			madvise(p, len * PAGE, MADV_PAGEOUT);
		else
			madvise(p, len * PAGE, MADV_COLLAPSE);
	}
	return NULL;
}

/* Copy what was written since the last time. */
static void mirror_update(struct mirror *m, int fd)
{
	static struct page_region vec[300];
	struct pm_scan_arg arg = scan_of(m->r.p, m->r.pages, vec, 300);
	long i, n;

	arg.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC;
	arg.category_mask = PAGE_IS_WRITTEN;
	for (; arg.start < arg.end; arg.start = arg.walk_end) {
		n = ioctl(fd, PAGEMAP_SCAN, &arg);
		if (n < 0)
			fail_setup("PAGEMAP_SCAN");
		for (i = 0; i < n; i++) {
			memcpy(m->copy + (vec[i].start - (uintptr_t)m->r.p), (void *)vec[i].start,
			       vec[i].end - vec[i].start);
			m->copied += (vec[i].end - vec[i].start) / PAGE;
		}
		/* Kernels before ours may leave an earlier address there: the array decides. */
		if (n < 300)
			break;
	}
}

static void mirrored(enum kind kind, const char *name)
{
	struct mirror m = { .copy = mmap(NULL, SPAN, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) };
	int track, fd = open("/proc/self/pagemap", O_RDONLY);
	pthread_t writer, disturber;
	time_t end;
	bool equal;

	region_make(&m.r, kind, PAGES);
	track = track_writes(m.r.p, SPAN);
	pthread_create(&writer, NULL, keep_writing, &m);
	pthread_create(&disturber, NULL, keep_disturbing, &m);
	end = time(NULL) + 1 + seconds / 3;
	/* A slow machine may have up to a minute more. */
	for (; time(NULL) < end || (!enough(&m) && time(NULL) < end + 60); m.rounds++)
		mirror_update(&m, fd);
	m.stop = true;
	pthread_join(writer, NULL);
	pthread_join(disturber, NULL);
	mirror_update(&m, fd);
	equal = !memcmp(m.copy, m.r.p, SPAN);
	ksft_print_msg("%s: %lu writes, %lu pages copied in %d rounds\n", name, m.written, m.copied,
		       m.rounds);
	if (!enough(&m))
		ksft_test_result_fail("%s: too little happened\n", name);
	else
		ksft_test_result(equal, "%s: the mirror is equal\n", name);
	close(track);
	close(fd);
	munmap(m.copy, SPAN);
	region_free(&m.r);
}

int main(int argc, char **argv)
{
	static struct reader readers[] = {
		{ "/proc/kpageflags", look_at_flags },
		{ "/proc/kpagecount", look_at_count },
		{ "/proc/kpagecgroup", look_at_cgroup },
	};
	pthread_t t[6];

	if (argc > 1)
		seconds = atoi(argv[1]);
	ksft_print_header();
	ksft_set_plan(7);
	need_swap();
	write_text("/sys/kernel/mm/transparent_hugepage/enabled", "madvise");

	mirrored(ANON_4K, "4 KiB pages");
	mirrored(ANON_64K, "64 KiB folios");
	mirrored(ANON_2M, "huge pages");
	mirrored(SHMEM, "shared memory");
	mirrored(HUGETLB, "hugetlb pages");

	pthread_create(&t[0], NULL, keep_churning, NULL);
	pthread_create(&t[1], NULL, keep_offlining, NULL);
	for (int i = 0; i < 3; i++)
		pthread_create(&t[2 + i], NULL, read_frames, &readers[i]);
	pthread_create(&t[5], NULL, read_processes, NULL);
	sleep(2 * seconds);
	stop = true;
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
	ksft_print_msg("%lu answers, %lu blocks were offline\n", answers, offlines);
	ksft_test_result(!nonsense && answers > 100000, "no answer that cannot be\n");
	ksft_test_result(offlines > 0, "memory was offline meanwhile\n");
	ksft_finished();
}

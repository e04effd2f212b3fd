// SPDX-License-Identifier: GPL-2.0
/*
 * A program with a known access pattern: it maps SIZE MiB, writes all of it once, says that it is
 * ready, and then keeps touching the first PERCENT of it until it is killed.
 *
 *   toucher SIZE 4k|64k|thp|half|shmem|file PERCENT [FILE]
 *
 * "half" is thp with the first half of each huge page unmapped: all that is left are tails.
 *
 * The hot part is passed over every PAUSE_MS, so any interval of a few of those sees all of it. But
 * a processor that still holds a translation does not set the Accessed bit again, and a quiet
 * machine may keep one for long: so each pass ends with a flush.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_MS	20
#define HUGE_BYTES	(2UL << 20)

struct pattern {
	size_t bytes;
	size_t hot;
	const char *kind;
	const char *file;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void usage(void)
{
	fputs("usage: toucher SIZE_MIB 4k|64k|thp|half|shmem|file PERCENT [FILE]\n", stderr);
	exit(2);
}

static char *map_file(const struct pattern *p)
{
	int fd = open(p->file, O_RDWR | O_CREAT | O_TRUNC, 0600);
	char *m;

	if (fd < 0 || ftruncate(fd, p->bytes))
		die(p->file);
	m = mmap(NULL, p->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED)
		die("mmap");
	close(fd);
	unlink(p->file);
	return m;
}

static char *map_it(const struct pattern *p)
{
	int share = strcmp(p->kind, "shmem") ? MAP_PRIVATE : MAP_SHARED;
	int huge = !strcmp(p->kind, "thp") || !strcmp(p->kind, "64k") || !strcmp(p->kind, "half");
	char *m;

	if (!strcmp(p->kind, "file"))
		return map_file(p);
	m = mmap(NULL, p->bytes + HUGE_BYTES, PROT_READ | PROT_WRITE, share | MAP_ANONYMOUS, -1,
		 0);
	if (m == MAP_FAILED)
		die("mmap");
	m = (char *)(((unsigned long)m + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1));
	if (madvise(m, p->bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) && huge)
		die("madvise");
	return m;
}

/* Taking write permission from more pages than the kernel flushes one by one flushes them all. */
static void flush_tlb(void)
{
	static char *some;
	size_t bytes = 64 * sysconf(_SC_PAGESIZE);

	if (!some) {
		some = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (some == MAP_FAILED)
			die("mmap");
	}
	memset(some, 1, bytes);
	if (mprotect(some, bytes, PROT_READ) || mprotect(some, bytes, PROT_READ | PROT_WRITE))
		die("mprotect");
}

static void unmap_halves(const struct pattern *p, char *m)
{
	size_t i;

	for (i = 0; i < p->bytes; i += HUGE_BYTES)
		if (munmap(m + i, HUGE_BYTES / 2))
			die("munmap");
}

int main(int argc, char **argv)
{
	const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000L };
	struct pattern p = { 0 };
	size_t step = sysconf(_SC_PAGESIZE), i;
	int percent, half;
	char *m;

	if (argc < 4)
		usage();
	p.bytes = strtoul(argv[1], NULL, 10) << 20;
	p.kind = argv[2];
	percent = atoi(argv[3]);
	p.file = argc > 4 ? argv[4] : NULL;
	if (!p.bytes || percent < 0 || percent > 100 || (!strcmp(p.kind, "file") && !p.file))
		usage();
	p.hot = p.bytes / 100 * percent;

	prctl(PR_SET_NAME, "toucher");
	m = map_it(&p);
	for (i = 0; i < p.bytes; i += step)
		m[i] = i / step;
	half = !strcmp(p.kind, "half");
	if (half)
		unmap_halves(&p, m);
	printf("ready %d %p\n", getpid(), (void *)m);
	fflush(stdout);
	for (;;) {
		for (i = 0; i < p.hot; i += step)
			if (!half || i % HUGE_BYTES >= HUGE_BYTES / 2)
				((volatile char *)m)[i]++;
		flush_tlb();
		nanosleep(&pause, NULL);
	}
}

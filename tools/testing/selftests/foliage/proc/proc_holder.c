// SPDX-License-Identifier: GPL-2.0
/*
 * A process that knows what each page of its memory holds, for readers of /proc to look at and for
 * checkpoints to save and restore:
 *
 *   proc_holder FILE       FILE is made, and mapped privately
 *
 * It says "area NAME FIRST PAGES" for each piece of memory, FIRST being a page number, then
 * "ready", and is quiet until signals come:
 *
 *   SIGUSR2   the next phase: some pages are given back, and a sixteenth of the first quarter of
 *             each area is rewritten over and over from now on, another one in each phase;
 *             "phase N" when all of it was rewritten once
 *   SIGUSR1   every byte is compared: "OK PASSES" or what is wrong
 */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES	4096UL
#define WORDS		(PAGE_BYTES / sizeof(uint64_t))
#define HUGE_BYTES	(2UL << 20)
#define HUGE_PAGES	(HUGE_BYTES / PAGE_BYTES)
#define FOLIO_BYTES	(64UL << 10)
#define MAX_PAGES	2048
#define DROPPED		16
#define PASS_MS		10

/* Whether the phases write to an area. */
enum heat { COLD, HOT };

struct area {
	const char *name;
	enum heat heat;
	unsigned int pages;
	uint64_t *mem;
	/* What each page holds: a pattern of this generation; nothing but zeroes when 0. */
	unsigned int gen[MAX_PAGES];
};

enum { SMALL, THP, TORN, MTHP, SHARED, FILEMAP, ZERO, LOCKED, SWAPPED, AREAS };

static struct area areas[AREAS] = {
	[SMALL]   = { "small",   HOT,  2048 },
	[THP]     = { "thp",     HOT,  2 * HUGE_PAGES },
	/* The second half of a huge page whose first half was unmapped. */
	[TORN]    = { "torn",    HOT,  HUGE_PAGES / 2 },
	/* One folio short of where a huge page would fit. */
	[MTHP]    = { "mthp",    HOT,  HUGE_PAGES - FOLIO_BYTES / PAGE_BYTES },
	[SHARED]  = { "shared",  HOT,  512 },
	/* A quarter of it is copied by being written. */
	[FILEMAP] = { "file",    HOT,  256 },
	/* Read, never written. */
	[ZERO]    = { "zero",    COLD, 1024 },
	[LOCKED]  = { "locked",  HOT,  256 },
	[SWAPPED] = { "swapped", COLD, 512 },
};

static unsigned int passes = 1;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* Straight to the file: a restored process has no business with what a buffer held. */
static void say(const char *format, ...)
{
	char line[200];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	if (write(STDOUT_FILENO, line, n) != n)
		die("write");
}

/* ---- what a page holds ---- */

static uint64_t word_of(const struct area *a, unsigned int page, unsigned int gen, unsigned int i)
{
	uint64_t seed = ((uint64_t)(a - areas) << 56) | ((uint64_t)page << 32) | gen;

	return gen ? (seed ^ (seed >> 29)) * 0x9e3779b97f4a7c15ULL + i * 0x10001ULL : 0;
}

static void fill(struct area *a, unsigned int page, unsigned int gen)
{
	uint64_t *p = a->mem + page * WORDS;
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		p[i] = word_of(a, page, gen, i);
	a->gen[page] = gen;
}

static void fill_all(struct area *a)
{
	unsigned int page;

	for (page = 0; page < a->pages; page++)
		fill(a, page, 1);
}

static unsigned int wrong_words(const struct area *a, unsigned int page)
{
	const volatile uint64_t *p = a->mem + page * WORDS;
	unsigned int i, wrong = 0;

	for (i = 0; i < WORDS; i++)
		wrong += p[i] != word_of(a, page, a->gen[page], i);
	return wrong;
}

static void compare(void)
{
	unsigned int page, n, wrong = 0;
	struct area *a;

	for (a = areas; a < areas + AREAS; a++) {
		for (page = 0; page < a->pages; page++) {
			n = wrong_words(a, page);
			if (n && wrong++ < 5)
				say("BAD %s: page %u of generation %u: %u words are wrong\n",
				    a->name, page, a->gen[page], n);
		}
	}
	if (wrong)
		say("BAD %u pages\n", wrong);
	else
		say("OK %u\n", passes);
}

/* ---- mappings ---- */

/* With room to the next huge page on either side, so that no two of them become one. */
static void *map(size_t bytes, int flags, int advice)
{
	size_t all = bytes + 3 * HUGE_BYTES;
	char *m = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (m == MAP_FAILED)
		die("mmap");
	m = (char *)(((uintptr_t)m + 2 * HUGE_BYTES - 1) & ~(HUGE_BYTES - 1));
	if (mmap(m, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != m)
		die("mmap");
	/* A kernel without huge pages knows no advice about them. */
	madvise(m, bytes, advice);
	return m;
}

static void map_anon(struct area *a, int advice)
{
	a->mem = map(a->pages * PAGE_BYTES, MAP_PRIVATE, advice);
	fill_all(a);
}

static void map_torn(struct area *a)
{
	char *m = map(HUGE_BYTES, MAP_PRIVATE, MADV_HUGEPAGE);

	a->mem = (uint64_t *)(m + HUGE_BYTES / 2);
	fill_all(a);
	if (munmap(m, HUGE_BYTES / 2))
		die("munmap");
}

static void map_mthp(struct area *a)
{
	char *m = map(HUGE_BYTES, MAP_PRIVATE, MADV_HUGEPAGE);

	if (munmap(m, FOLIO_BYTES))
		die("munmap");
	a->mem = (uint64_t *)(m + FOLIO_BYTES);
	fill_all(a);
}

/* A child has it mapped too, and none of the other areas when they come after it. */
static void map_shared(struct area *a)
{
	int ready[2];
	pid_t pid;
	char c;

	a->mem = map(a->pages * PAGE_BYTES, MAP_SHARED, MADV_NOHUGEPAGE);
	fill_all(a);
	if (pipe(ready))
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		unsigned int page, wrong = 0;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (page = 0; page < a->pages; page++)
			wrong += wrong_words(a, page);
		if (!wrong && write(ready[1], "", 1) != 1)
			die("write");
		close(ready[0]);
		close(ready[1]);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &c, 1) != 1)
		die("the child");
	close(ready[0]);
}

static void map_file(struct area *a, const char *path)
{
	size_t bytes = a->pages * PAGE_BYTES;
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	unsigned int page;

	if (fd < 0 || ftruncate(fd, bytes))
		die(path);
	a->mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (a->mem == MAP_FAILED)
		die("mmap");
	fill_all(a);
	munmap(a->mem, bytes);
	a->mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (a->mem == MAP_FAILED)
		die("mmap");
	close(fd);
	for (page = 0; page < a->pages; page++)
		if (wrong_words(a, page))
			die("file");
	for (page = 0; page < a->pages; page += 4)
		fill(a, page, 2);
}

static void map_zero(struct area *a)
{
	unsigned int page;

	a->mem = map(a->pages * PAGE_BYTES, MAP_PRIVATE, MADV_NOHUGEPAGE);
	for (page = 0; page < a->pages; page++)
		if (wrong_words(a, page))
			die("zero");
}

/* Pages that wait on another processor's list for the LRU cannot be taken: so more than once. */
static void map_swapped(struct area *a)
{
	const struct timespec pause = { .tv_nsec = 20 * 1000000L };
	unsigned char in[MAX_PAGES];
	unsigned int page, left, try;

	map_anon(a, MADV_NOHUGEPAGE);
	for (try = 0; try < 100; try++) {
		if (madvise(a->mem, a->pages * PAGE_BYTES, MADV_PAGEOUT) ||
		    mincore(a->mem, a->pages * PAGE_BYTES, in))
			return;
		for (left = page = 0; page < a->pages; page++)
			left += in[page] & 1;
		if (!left)
			return;
		nanosleep(&pause, NULL);
	}
}

static void map_all(const char *path)
{
	map_shared(&areas[SHARED]);
	map_anon(&areas[SMALL], MADV_NOHUGEPAGE);
	map_anon(&areas[THP], MADV_HUGEPAGE);
	map_torn(&areas[TORN]);
	map_mthp(&areas[MTHP]);
	map_file(&areas[FILEMAP], path);
	map_zero(&areas[ZERO]);
	map_anon(&areas[LOCKED], MADV_NOHUGEPAGE);
	if (mlock(areas[LOCKED].mem, areas[LOCKED].pages * PAGE_BYTES))
		die("mlock");
	map_swapped(&areas[SWAPPED]);
}

/* ---- phases ---- */

static void pass(unsigned int phase)
{
	unsigned int page;
	struct area *a;

	passes++;
	for (a = areas; a < areas + AREAS; a++)
		for (page = phase % 16; a->heat == HOT && page < a->pages / 4; page += 16)
			fill(a, page, passes);
}

/* Pages that a checkpoint has seen and that are there no more. */
static void drop(unsigned int phase)
{
	struct area *a = &areas[SMALL];
	unsigned int page = a->pages / 2 + phase * DROPPED % (a->pages / 2);

	if (madvise(a->mem + page * WORDS, DROPPED * PAGE_BYTES, MADV_DONTNEED))
		die("madvise");
	memset(a->gen + page, 0, DROPPED * sizeof(*a->gen));
}

int main(int argc, char **argv)
{
	const struct timespec wait = { .tv_nsec = PASS_MS * 1000000L };
	unsigned int phase = 0;
	sigset_t set;
	int i, sig;

	if (argc != 2) {
		fputs("usage: proc_holder FILE\n", stderr);
		return 2;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	map_all(argv[1]);
	for (i = 0; i < AREAS; i++)
		say("area %s 0x%lx %u\n", areas[i].name, (unsigned long)areas[i].mem / PAGE_BYTES,
		    areas[i].pages);
	say("ready\n");
	for (;;) {
		sig = sigtimedwait(&set, NULL, &wait);
		if (sig == SIGUSR2)
			drop(++phase);
		if (phase)
			pass(phase);
		if (sig == SIGUSR2)
			say("phase %u\n", phase);
		if (sig == SIGUSR1)
			compare();
	}
}

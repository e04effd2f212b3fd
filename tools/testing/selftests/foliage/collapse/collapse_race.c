// SPDX-License-Identifier: GPL-2.0
/*
 * Writes that go on while memory is collapsed, split, moved and taken away: none may be lost, and no
 * page may hold what belongs to another one. Argument: seconds.
 *
 * Each page of a region has a role, by its number:
 *
 *	0 1	0 1	writers, which write increasing numbers in short bursts, and look before each
 *	2 3		whether the one before is still there
 *	4		written to by the kernel: process_vm_writev(), and O_DIRECT from a loop device, which
 *			pins some pages and fills them later
 *	5		written to once
 *	6		nobody's: is given up at any time
 *	7		never written to: zeroes
 *
 * "Others" do to all of them what must not change what they hold. "Movers" have memory of their own
 * whose contents and address change.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#define WITH_KHUGEPAGED
#include "../thp/thp.h"
#include "proc.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

#define PMDS		2
#define ALL		(PMDS * PAGES)
#define WRITERS		2
#define KERNEL_WRITERS	2
#define OTHERS		2
#define MOVERS		2
#define BURST		40
#define BLOCKS		64
#define BATCH		16	/* blocks read at once */
#define SHMEM_ENABLED	THP_DIR "shmem_enabled"
#define NUMA		"/sys/kernel/debug/sched/numa_balancing/"
#define FOLIOS_COLLAPSED THP_DIR "khugepaged/folios_collapsed"
#define HUGE_ENABLED	THP_DIR "hugepages-2048kB/enabled"
#define DISK		"/tmp/collapse-disk"

enum { ANON_REGION, KSM_REGION, UFFD_REGION, SHMEM_REGION, REGIONS };

static const char * const names[REGIONS] = { "anonymous", "KSM", "userfaultfd", "shmem" };
/* Words of a page that are looked at. */
static const size_t words[] = { 0, 257, 511 };

static volatile bool stop;
static char *regions[REGIONS];
static long wrong, bursts, reads, collapses, rounds;
static int uffd, disk;
/* Where most of it happens, for a while. */
static volatile int focus;

static int pick_region(unsigned int *seed)
{
	return rand_r(seed) % 4 ? focus : rand_r(seed) % REGIONS;
}

/* --- what pages hold -------------------------------------------------------------------- */

static volatile uint64_t *word(char *page, int w)
{
	return (volatile uint64_t *)page + words[w];
}

/* Region and page in the upper half: foreign contents show where they are from. */
static uint64_t value(int region, size_t i, uint64_t gen)
{
	return (uint64_t)(region + 1) << 60 | i << 48 | gen;
}

static void complain(const char *who, int region, size_t i, uint64_t found, uint64_t want)
{
	printf("# %s: %s page %zu holds %lx, wanted %lx, entry %lx\n", who, names[region], i, found, want,
	       pagemap_of(regions[region] + i * PAGE));
	__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
	stop = true;
}

static bool holds(const char *who, int region, size_t i, uint64_t want)
{
	for (int w = 0; w < ARRAY_SIZE(words); w++) {
		uint64_t found = *word(regions[region] + i * PAGE, w);

		if (found != want) {
			complain(who, region, i, found, want);
			return false;
		}
	}
	return true;
}

static void put(int region, size_t i, uint64_t v)
{
	for (int w = 0; w < ARRAY_SIZE(words); w++)
		*word(regions[region] + i * PAGE, w) = v;
}

/* For KSM they are all the same. */
static uint64_t written_once(int region, size_t i)
{
	return region == KSM_REGION ? value(region, 5, 1) : value(region, i, 1);
}

static void check_quiet(const char *who, int region)
{
	for (size_t i = 0; i < ALL && !stop; i += 8) {
		holds(who, region, i + 5, written_once(region, i + 5));
		holds(who, region, i + 7, 0);
	}
}

/* --- those who write -------------------------------------------------------------------- */

static void *writer(void *arg)
{
	static uint64_t gens[WRITERS][REGIONS][ALL];
	int me = (long)arg;

	for (unsigned int seed = me; !stop;) {
		int region = pick_region(&seed);
		size_t i = rand_r(&seed) % (ALL / 8) * 8 + me * 2 + rand_r(&seed) % 2;
		uint64_t *gen = &gens[me][region][i];

		for (int k = 0; k < BURST; k++) {
			if (!holds("writer", region, i, value(region, i, *gen)))
				return NULL;
			put(region, i, value(region, i, ++*gen));
		}
		__atomic_fetch_add(&bursts, 1, __ATOMIC_RELAXED);
		/* Others want to get on, too. */
		if (!(rand_r(&seed) % 256))
			usleep(500);
	}
	return NULL;
}

static bool write_by_call(int region, size_t i, uint64_t v)
{
	for (int w = 0; w < ARRAY_SIZE(words); w++) {
		struct iovec from = { &v, 8 }, to = { (void *)word(regions[region] + i * PAGE, w), 8 };

		if (process_vm_writev(getpid(), &from, 1, &to, 1, 0) != 8)
			return false;
	}
	return true;
}

/* O_DIRECT into some pages at once, from as many blocks on: all are pinned until the last is filled. */
static void read_disk(int region, const size_t *pages, int nr, int block, uint64_t *want)
{
	struct iovec iov[BATCH];

	for (int k = 0; k < nr; k++)
		iov[k] = (struct iovec){ regions[region] + pages[k] * PAGE, PAGE };
	if (preadv(disk, iov, nr, block * PAGE) != (ssize_t)(nr * PAGE))
		return;
	for (int k = 0; k < nr; k++)
		want[pages[k]] = block + k + 1;
}

/* What the kernel has written is there when the call returns, and stays. */
static void *kernel_writer(void *arg)
{
	static uint64_t wants[KERNEL_WRITERS][REGIONS][ALL];
	unsigned int seed = 77 + (long)arg;

	while (!stop) {
		int region = pick_region(&seed), nr = 1 + rand_r(&seed) % BATCH, k;
		uint64_t *want = wants[(long)arg][region], v = rand_r(&seed);
		size_t pages[BATCH];

		/* Every other one of role 4 is the other thread's. */
		pages[0] = (rand_r(&seed) % (ALL / 16) * 2 + (long)arg) * 8 + 4;
		for (k = 0; k < nr && pages[0] + k * 16 < ALL; k++) {
			pages[k] = pages[0] + k * 16;
			holds("written by the kernel", region, pages[k], want[pages[k]]);
		}
		nr = k;
		if (rand_r(&seed) % 4)
			read_disk(region, pages, nr, rand_r(&seed) % (BLOCKS - BATCH), want);
		else if (write_by_call(region, pages[0], v))
			want[pages[0]] = v;
		for (k = 0; k < nr; k++)
			holds("just written by the kernel", region, pages[k], want[pages[k]]);
		__atomic_fetch_add(&reads, nr, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *collapser(void *arg)
{
	for (unsigned int seed = 99; !stop;) {
		char *at = regions[pick_region(&seed)] + rand_r(&seed) % PMDS * HUGE;

		if (!madvise(at, HUGE, MADV_COLLAPSE))
			__atomic_fetch_add(&collapses, 1, __ATOMIC_RELAXED);
		if (!(rand_r(&seed) % 4))
			usleep(rand_r(&seed) % 2000);
	}
	return NULL;
}

/* --- others: what must not change what there is ----------------------------------------- */

struct place {
	unsigned int *seed;
	int region;
	size_t i;	/* a page, and some from there on */
	char *at;
	size_t len;
};

static unsigned int pick(const struct place *p, unsigned int n)
{
	return rand_r(p->seed) % n;
}

/* A page that may be executed, for a moment: no one waits, and a huge page cannot be that in part. */
static void other_protect(const struct place *p)
{
	mprotect(p->at, PAGE, RW | PROT_EXEC);
	mprotect(p->at, PAGE, RW);
}

static void other_drop(const struct place *p)
{
	char *page = regions[p->region] + (p->i / 8 * 8 + 6) * PAGE;

	*(volatile char *)page = 1;
	madvise(page, PAGE, pick(p, 2) ? MADV_DONTNEED : p->region == SHMEM_REGION ? MADV_REMOVE : MADV_FREE);
}

static void other_out(const struct place *p)
{
	madvise(p->at, p->len, MADV_PAGEOUT);
}

static void other_cold(const struct place *p)
{
	madvise(p->at, p->len, MADV_COLD);
}

static void other_move(const struct place *p)
{
	int node = pick(p, 2), status;
	void *at = p->at;

	syscall(SYS_move_pages, 0, 1, &at, &node, &status, 2);
}

static void other_split(const struct place *p)
{
	split_range(regions[p->region] + p->i / PAGES * HUGE, PAGES, pick(p, 2) ? 0 : 4);
}

static void other_lock(const struct place *p)
{
	mlock(p->at, p->len);
	munlock(p->at, p->len);
}

static void other_clear_refs(const struct place *p)
{
	write_text("/proc/self/clear_refs", pick(p, 3) ? "4" : "1");
}

static void other_protect_writes(const struct place *p)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)regions[UFFD_REGION] + p->i * PAGE, p->len },
		.mode = pick(p, 4) ? UFFDIO_WRITEPROTECT_MODE_WP : 0 };

	ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);
}

static void other_read(const struct place *p)
{
	size_t i = p->i / 8 * 8 + 5;
	uint64_t got = 0;
	struct iovec to = { &got, 8 }, from = { regions[p->region] + i * PAGE, 8 };

	if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 8 && got != written_once(p->region, i))
		complain("process_vm_readv", p->region, i, got, written_once(p->region, i));
}

/* The pipe has the page for a while, which keeps it from being collapsed. */
static void other_pin(const struct place *p)
{
	size_t i = p->i / 8 * 8 + 5;
	struct iovec iov = { regions[p->region] + i * PAGE, 8 };
	uint64_t got = 0;
	int fds[2];

	if (pipe(fds))
		return;
	if (vmsplice(fds[1], &iov, 1, 0) == 8) {
		usleep(pick(p, 1000));
		if (read(fds[0], &got, 8) == 8 && got != written_once(p->region, i))
			complain("vmsplice", p->region, i, got, written_once(p->region, i));
	}
	close(fds[0]);
	close(fds[1]);
}

static void other_look(const struct place *p)
{
	check_quiet("quiet", p->region);
}

/* What a child writes is its own, but in shmem. Writers are in the middle of something. */
static int child_life(const struct place *p)
{
	char *at = regions[p->region];

	for (int k = 0; k < 20; k++) {
		size_t i = pick(p, ALL / 8) * 8 + pick(p, 4);
		uint64_t found = *word(at + i * PAGE, pick(p, ARRAY_SIZE(words)));

		if (found >> 48 != value(p->region, i, 0) >> 48)
			return 1;
		if (p->region != SHMEM_REGION)
			put(p->region, i, value(p->region, i, 0xffffffff0000));
		if (k % 5 == 0)
			madvise(at + pick(p, PMDS) * HUGE, HUGE, MADV_COLLAPSE);
		if (p->region != SHMEM_REGION && *word(at + i * PAGE, 0) != value(p->region, i, 0xffffffff0000))
			return 2;
	}
	for (size_t i = 5; i < ALL; i += 8)
		if (*word(at + i * PAGE, 1) != written_once(p->region, i) || *word(at + (i + 2) * PAGE, 1))
			return 3;
	return 0;
}

static void other_fork(const struct place *p)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid)
		_exit(child_life(p));
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !status)
		return;
	printf("# a child of the %s region ended with %x\n", names[p->region], status);
	__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
	stop = true;
}

static void (* const others[])(const struct place *) = {
	other_protect, other_protect, other_protect, other_drop, other_drop, other_drop, other_out, other_cold,
	other_move, other_move, other_split, other_lock, other_clear_refs, other_protect_writes, other_read,
	other_pin, other_look, other_fork,
};

static void *other(void *arg)
{
	unsigned int seed = 1000 + (long)arg;

	while (!stop) {
		struct place p = { .seed = &seed, .region = pick_region(&seed), .i = rand_r(&seed) % ALL };
		size_t nr = 1 + rand_r(&seed) % 32;

		p.at = regions[p.region] + p.i * PAGE;
		p.len = (p.i + nr > ALL ? ALL - p.i : nr) * PAGE;
		others[rand_r(&seed) % ARRAY_SIZE(others)](&p);
		__atomic_fetch_add(&rounds, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* --- movers: memory whose address and contents change ----------------------------------- */

/* @model: of each page, 1 its number, 0 zeroes, 2 either. */
struct mover {
	int n;
	int fd;
	unsigned int seed;
	char *p;
	char model[PAGES];
};

static void mover_write(struct mover *m, size_t first, size_t nr)
{
	for (size_t i = first; i < first + nr; i++) {
		*(volatile uint64_t *)(m->p + i * PAGE) = i + 1;
		*(volatile uint64_t *)(m->p + i * PAGE + PAGE - 8) = ~(i + 1);
	}
	memset(m->model + first, 1, nr);
}

static void mover_drop(struct mover *m, size_t first, size_t nr)
{
	if (!madvise(m->p + first * PAGE, nr * PAGE, m->fd < 0 ? MADV_DONTNEED : MADV_REMOVE))
		memset(m->model + first, 0, nr);
}

static void mover_free(struct mover *m, size_t first, size_t nr)
{
	if (madvise(m->p + first * PAGE, nr * PAGE, MADV_FREE))
		return;
	for (size_t i = first; i < first + nr; i++)
		m->model[i] = m->model[i] ? 2 : 0;
}

static void mover_protect(struct mover *m, size_t first, size_t nr)
{
	mprotect(m->p + first * PAGE, nr * PAGE, PROT_READ);
	mprotect(m->p + first * PAGE, nr * PAGE, RW);
}

static char *mover_room(const struct mover *m)
{
	return thp_room(PAGES, m->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, m->fd);
}

/* With what thp_room() has around it. */
static void mover_unmap(char *p)
{
	munmap(p - HUGE, 3 * HUGE);
}

static void mover_remap(struct mover *m, size_t first, size_t nr)
{
	char *q = mover_room(m);

	if (mremap(m->p, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, q) == MAP_FAILED) {
		mover_unmap(q);
		return;
	}
	mover_unmap(m->p);
	m->p = q;
}

static void mover_map_anew(struct mover *m, size_t first, size_t nr)
{
	mover_unmap(m->p);
	m->p = mover_room(m);
	if (m->fd < 0)
		memset(m->model, 0, PAGES);
}

static void mover_collapse(struct mover *m, size_t first, size_t nr)
{
	madvise(m->p, HUGE, MADV_COLLAPSE);
}

static void mover_out(struct mover *m, size_t first, size_t nr)
{
	madvise(m->p + first * PAGE, nr * PAGE, MADV_PAGEOUT);
}

static void (* const moves[])(struct mover *m, size_t first, size_t nr) = {
	mover_write, mover_drop, mover_free, mover_protect, mover_remap, mover_map_anew, mover_collapse,
	mover_collapse, mover_out,
};

static void mover_check(const struct mover *m, unsigned int move)
{
	for (size_t i = 0; i < PAGES; i++) {
		const char *page = m->p + i * PAGE;
		bool full = thp_page_is(page, i), zero = !*(volatile uint64_t *)page;

		if (m->model[i] == 2 ? full || zero : m->model[i] ? full : zero)
			continue;
		printf("# mover %d, after %u: page %zu holds %lx, model %d\n", m->n, move, i,
		       *(volatile uint64_t *)page, m->model[i]);
		__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
		stop = true;
		return;
	}
}

static void *mover(void *arg)
{
	static struct mover movers[MOVERS];
	struct mover *m = &movers[(long)arg];

	*m = (struct mover){ .n = (long)arg, .fd = -1, .seed = time(NULL) };
	/* The last one has shmem. */
	if (m->n == MOVERS - 1) {
		m->fd = memfd_create("mover", 0);
		if (m->fd < 0 || ftruncate(m->fd, HUGE))
			fail_setup("memfd");
	}
	m->p = mover_room(m);
	while (!stop) {
		unsigned int move = rand_r(&m->seed) % ARRAY_SIZE(moves);
		size_t first = rand_r(&m->seed) % PAGES;

		moves[move](m, first, 1 + rand_r(&m->seed) % (PAGES - first));
		mover_check(m, move);
		__atomic_fetch_add(&rounds, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* --- pinned to be read ------------------------------------------------------------------ */

/*
 * What is written after a page went into a pipe comes out of it, or the page was taken while the pipe
 * had it. All of it is given up and filled anew, so that there is always something to be collapsed.
 */
static void *pinner(void *arg)
{
	char *p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	uint64_t gen = 0, got;
	int fds[2];

	/* Or a write may have to copy, and the pipe has what a child has. */
	if (pipe(fds) || madvise(p, HUGE, MADV_DONTFORK))
		fail_setup("pipe");
	for (unsigned int seed = 5; !stop;) {
		madvise(p, HUGE, MADV_DONTNEED);
		for (size_t i = 0; i < PAGES; i++)
			*(volatile uint64_t *)(p + i * PAGE) = gen;
		for (int k = 0; k < 100 && !stop; k++) {
			volatile uint64_t *page = (uint64_t *)(p + rand_r(&seed) % PAGES * PAGE);
			struct iovec iov = { (void *)page, 8 };

			if (vmsplice(fds[1], &iov, 1, 0) != 8)
				continue;
			usleep(rand_r(&seed) % 500);
			*page = ++gen;
			if (read(fds[0], &got, 8) == 8 && got == gen)
				continue;
			printf("# a pipe holds %lx, wanted %lx, entry %lx\n", got, gen,
			       pagemap_of((void *)page));
			__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
			stop = true;
		}
	}
	return NULL;
}

/* --- the set-up ------------------------------------------------------------------------- */

/* What is changed of the system, and how it was. */
static struct {
	const char *path, *text;
	char was[64];
} settings[] = {
	{ THP_DIR "khugepaged/scan_sleep_millisecs", "0" },
	{ THP_DIR "khugepaged/alloc_sleep_millisecs", "0" },
	{ THP_DIR "khugepaged/pages_to_scan", "8192" },
	{ THP_DIR "khugepaged/max_ptes_none", "200" },
	{ THP_DIR "hugepages-16kB/enabled", "always" },
	{ THP_DIR "hugepages-64kB/enabled", "always" },
	{ THP_DIR "hugepages-256kB/enabled", "always" },
	{ HUGE_ENABLED, "inherit" },
	{ SHMEM_ENABLED, "advise" },
	{ "/proc/sys/kernel/numa_balancing", "1" },
	{ NUMA "scan_delay_ms", "1" },
	{ NUMA "scan_period_min_ms", "10" },
	{ NUMA "scan_period_max_ms", "20" },
	{ "/sys/kernel/mm/ksm/sleep_millisecs", "1" },
	{ "/sys/kernel/mm/ksm/pages_to_scan", "500" },
	{ "/sys/kernel/mm/ksm/run", "1" },
};

/* Of several words the one in brackets. */
static void settings_set(void)
{
	for (int i = 0; i < ARRAY_SIZE(settings); i++) {
		char text[128], *at;

		/* Not every kernel can be made to scan so often. */
		if (strstr(settings[i].path, "numa") && access(settings[i].path, W_OK))
			continue;
		if (!read_text(settings[i].path, text, sizeof(text)))
			fail_setup("%s", settings[i].path);
		at = strchr(text, '[') ? strchr(text, '[') + 1 : text;
		at[strcspn(at, "]\n")] = 0;
		snprintf(settings[i].was, sizeof(settings[i].was), "%.60s", at);
		if (!write_text(settings[i].path, settings[i].text))
			fail_setup("%s", settings[i].path);
	}
}

static void settings_restore(void)
{
	for (int i = 0; i < ARRAY_SIZE(settings); i++)
		if (*settings[i].was)
			write_text(settings[i].path, settings[i].was);
}

/* Block k is full of k + 1. */
static void disk_make(void)
{
	uint64_t block[PAGE / 8];
	char name[64] = "";
	FILE *f;
	int fd = open(DISK, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	for (int k = 0; k < BLOCKS; k++) {
		for (int i = 0; i < PAGE / 8; i++)
			block[i] = k + 1;
		if (write(fd, block, PAGE) != PAGE)
			fail_setup(DISK);
	}
	close(fd);
	f = popen("losetup -f --show " DISK, "r");
	if (!f || !fgets(name, sizeof(name), f) || pclose(f))
		fail_setup("losetup");
	name[strcspn(name, "\n")] = 0;
	disk = open(name, O_RDONLY | O_DIRECT);
	if (disk < 0)
		fail_setup("%s", name);
}

static void disk_end(void)
{
	close(disk);
	if (system("losetup -j " DISK " | cut -d: -f1 | xargs losetup -d"))
		printf("# losetup -d failed\n");
	unlink(DISK);
}

static void regions_make(void)
{
	int fd = memfd_create("race", 0);

	if (fd < 0 || ftruncate(fd, PMDS * HUGE))
		fail_setup("memfd");
	for (int r = 0; r < REGIONS; r++) {
		regions[r] = thp_room(ALL, r == SHMEM_REGION ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS,
				      r == SHMEM_REGION ? fd : -1);
		for (size_t i = 0; i < ALL; i++) {
			if (i % 8 < 4)
				put(r, i, value(r, i, 0));
			else if (i % 8 == 5)
				put(r, i, written_once(r, i));
		}
	}
	if (madvise(regions[KSM_REGION], PMDS * HUGE, MADV_MERGEABLE))
		fail_setup("MADV_MERGEABLE");
	uffd = track_writes(regions[UFFD_REGION], PMDS * HUGE);
}

/* Smaller folios that khugepaged has made; stock makes none. */
static long parts_made(void)
{
	char text[64];

	return read_text(FOLIOS_COLLAPSED, text, sizeof(text)) ? atol(text) : 0;
}

static long isolated(void)
{
	settle_lru();
	write_text("/proc/sys/vm/stat_refresh", "1");
	return vm_count("nr_isolated_anon") + vm_count("nr_isolated_file");
}

static const struct {
	void *(*call)(void *);
	long nr;
} threads[] = {
	{ writer, WRITERS }, { kernel_writer, KERNEL_WRITERS }, { collapser, 1 }, { other, OTHERS },
	{ mover, MOVERS }, { pinner, 1 },
};

static void run(int seconds)
{
	pthread_t t[16];
	time_t end = time(NULL) + seconds;
	int n = 0;

	for (int k = 0; k < ARRAY_SIZE(threads); k++)
		for (long i = 0; i < threads[k].nr; i++)
			pthread_create(&t[n++], NULL, threads[k].call, (void *)i);
	/* Half of the time khugepaged makes smaller folios only. */
	for (int k = 0; !stop && time(NULL) < end; k++) {
		focus = k % REGIONS;
		if (!write_text(HUGE_ENABLED, k / REGIONS % 2 ? "never" : "inherit"))
			fail_setup(HUGE_ENABLED);
		usleep(100000);
	}
	stop = true;
	while (n)
		pthread_join(t[--n], NULL);
}

int main(int argc, char **argv)
{
	long before, after, by_thread, parts;
	bool worked;

	setvbuf(stdout, NULL, _IOLBF, 0);
	need_swap();
	disk_make();
	before = isolated();
	by_thread = vm_count("thp_collapse_alloc");
	parts = parts_made();
	settings_set();
	regions_make();
	printf("TAP version 13\n1..3\n");
	run(argc > 1 ? atoi(argv[1]) : 10);
	settings_restore();
	disk_end();
	parts = parts_made() - parts;
	printf("# %ld bursts, %ld writes by the kernel, %ld collapses of %ld huge pages, %ld smaller folios\n",
	       bursts, reads, collapses, vm_count("thp_collapse_alloc") - by_thread, parts);
	printf("# %ld other things, %ld hint faults\n", rounds, vm_count("numa_hint_faults"));
	stop = false;
	for (int r = 0; r < REGIONS; r++)
		check_quiet("in the end", r);
	printf("%sok 1 contents\n", wrong ? "not " : "");
	worked = bursts && reads && collapses && rounds && (parts || access(FOLIOS_COLLAPSED, R_OK));
	printf("%sok 2 everybody got something done\n", worked ? "" : "not ");
	after = isolated();
	for (int i = 0; i < 50 && after != before; i++) {
		usleep(100000);
		after = isolated();
	}
	printf("%sok 3 nothing stays isolated: %ld, %ld\n", after == before ? "" : "not ", before, after);
	return wrong || !worked || after != before;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * A range is complete once it has been locked: every page is there, and in a private writable
 * mapping every page is already the caller's own, so the writes that follow take no fault. That
 * is shown for every state which a page can be in before the call, and in patterns of pages in
 * that state and others that are as they should be.
 */
#define _GNU_SOURCE
#include "mlock.h"

/* --- a locked range is complete --------------------------------------------------------- */

#define FIRST	300UL		/* the range begins and ends within tables, folios and pages */
#define SPAN	460UL		/* and crosses a boundary of tables */
#define ROOM	1024UL

/* Which pages of the range are not in order when it gets locked. */
static bool no_page(size_t i) { return false; }
static bool all_pages(size_t i) { return true; }
static bool first_page(size_t i) { return i == 0; }
static bool last_page(size_t i) { return i == SPAN - 1; }
static bool one_inside(size_t i) { return i == 212; }	/* the first of the second table */
static bool a_block(size_t i) { return i >= 100 && i < 360; }
static bool one_in_seven(size_t i) { return i % 7 == 3; }
static bool six_in_seven(size_t i) { return i % 7 != 3; }

static bool (*const patterns[])(size_t) = {
	no_page, all_pages, first_page, last_page, one_inside, a_block, one_in_seven, six_in_seven,
};

/* What is wrong with a page. */
enum state { HOLE, READ, SWAPPED, LAZYFREE, PROTECTED, SHARED, WAS_SHARED, CLEAN, MIXED };

struct place {
	char *p;
	int fd;		/* of a file mapping */
	pid_t child;
};

FIXTURE(whole) {
	struct place at;
};

FIXTURE_VARIANT(whole) {
	enum kind kind;
	enum state state;
};

#define STATES(name, what)				\
FIXTURE_VARIANT_ADD(whole, name##_holes)		\
{							\
	.kind = what, .state = HOLE,			\
};							\
							\
FIXTURE_VARIANT_ADD(whole, name##_read)			\
{							\
	.kind = what, .state = READ,			\
};							\
							\
FIXTURE_VARIANT_ADD(whole, name##_shared_by_fork)	\
{							\
	.kind = what, .state = SHARED,			\
};							\
							\
FIXTURE_VARIANT_ADD(whole, name##_mixed)		\
{							\
	.kind = what, .state = MIXED,			\
}

/* What happens to anonymous pages only; a private mapping of a file has them too, no others. */
#define ANON_STATES(name, what)				\
FIXTURE_VARIANT_ADD(whole, name##_swapped)		\
{							\
	.kind = what, .state = SWAPPED,			\
};							\
							\
FIXTURE_VARIANT_ADD(whole, name##_lazyfree)		\
{							\
	.kind = what, .state = LAZYFREE,		\
};							\
							\
FIXTURE_VARIANT_ADD(whole, name##_protected)		\
{							\
	.kind = what, .state = PROTECTED,		\
};							\
							\
FIXTURE_VARIANT_ADD(whole, name##_child_gone)		\
{							\
	.kind = what, .state = WAS_SHARED,		\
};							\
							\
FIXTURE_VARIANT_ADD(whole, name##_soft_dirty_cleared)	\
{							\
	.kind = what, .state = CLEAN,			\
}

STATES(anon_4k, ANON_4K);
ANON_STATES(anon_4k, ANON_4K);
STATES(anon_64k, ANON_64K);
ANON_STATES(anon_64k, ANON_64K);
STATES(anon_2m, ANON_2M);
ANON_STATES(anon_2m, ANON_2M);
/* Private mappings of a file in memory and of one on disk. */
STATES(shmem, SHMEM);
STATES(ext4, FILE_EXT4);

/* The same without states. */
FIXTURE(kinds) {
	struct place at;
};

FIXTURE_VARIANT(kinds) {
	enum kind kind;
};

FIXTURE_VARIANT_ADD(kinds, anon_4k)
{
	.kind = ANON_4K,
};

FIXTURE_VARIANT_ADD(kinds, anon_64k)
{
	.kind = ANON_64K,
};

FIXTURE_VARIANT_ADD(kinds, anon_2m)
{
	.kind = ANON_2M,
};

FIXTURE_VARIANT_ADD(kinds, shmem)
{
	.kind = SHMEM,
};

FIXTURE_VARIANT_ADD(kinds, ext4)
{
	.kind = FILE_EXT4,
};

static struct place place_for(enum kind kind)
{
	struct place at = { .p = room(ROOM), .fd = -1 };
	struct region r;

	need_swap();
	/* Khugepaged is told to be quiet, and the file comes from there. */
	if (kind == SHMEM || kind == FILE_EXT4) {
		region_make(&r, kind, ROOM);
		at.fd = dup(r.fd);
	} else {
		region_make(&r, ANON_4K, 1);
	}
	region_free(&r);
	return at;
}

FIXTURE_SETUP(whole)
{
	self->at = place_for(variant->kind);
}

FIXTURE_TEARDOWN(whole)
{
}

FIXTURE_SETUP(kinds)
{
	self->at = place_for(variant->kind);
}

FIXTURE_TEARDOWN(kinds)
{
}

static pid_t sleeping_child(void)
{
	pid_t pid = fork();

	if (pid < 0)
		fail_setup("fork");
	if (!pid)
		for (;;)
			pause();
	return pid;
}

static void end_child(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* Private and writable, every page there and its own. */
static void whole_map(struct place *at, enum kind kind)
{
	map_at(at->p, ROOM, RW, at->fd < 0 ? ANON : MAP_PRIVATE, at->fd);
	if (kind == ANON_64K)
		write_text(MTHP_64K, "always");
	else if (kind == ANON_2M)
		madvise(at->p, ROOM * PAGE, MADV_HUGEPAGE);
	/* With folios that reach over both ends; a THP comes as a whole anyhow. */
	fill(at->p + (FIRST - 16) * PAGE, SPAN + 32);
	if (kind == ANON_64K)
		write_text(MTHP_64K, "never");
}

static void whole_unmap(struct place *at)
{
	munmap(at->p, ROOM * PAGE);
	if (at->child)
		end_child(at->child);
	at->child = 0;
}

/* One page out of order. States of the whole mapping have been made before. */
static void spoil(char *p, enum state state)
{
	switch (state) {
	case HOLE:
		madvise(p, PAGE, MADV_DONTNEED);
		break;
	case READ:
		madvise(p, PAGE, MADV_DONTNEED);
		(void)*(volatile char *)p;
		break;
	case SWAPPED:
		madvise(p, PAGE, MADV_PAGEOUT);
		break;
	case LAZYFREE:
		madvise(p, PAGE, MADV_FREE);
		break;
	case PROTECTED:
		mprotect(p, PAGE, PROT_READ);
		mprotect(p, PAGE, RW);
		break;
	default:
		break;
	}
}

static void disorder(char *p, enum state state, bool (*chosen)(size_t), pid_t *child)
{
	unsigned int seed = 4711;

	if (state == SWAPPED)
		settle_lru();
	if (state == CLEAN)
		write_text("/proc/self/clear_refs", "4");
	if (state == SHARED || state == WAS_SHARED || state == MIXED)
		*child = sleeping_child();
	for (size_t i = 0; i < SPAN; i++) {
		if (!chosen(i))
			*(volatile char *)(p + i * PAGE + 8) = 1;
		else
			spoil(p + i * PAGE, state == MIXED ? rand_r(&seed) % SHARED : state);
	}
	if (state == WAS_SHARED) {
		end_child(*child);
		*child = 0;
	}
}

static bool keeps_data(enum state state)
{
	return state != HOLE && state != READ && state != MIXED;
}

#define each_pattern(n)	for (size_t n = 0; n < ARRAY_SIZE(patterns); n++)

TEST_F(whole, private_writable)
{
	char *p = self->at.p + FIRST * PAGE;
	size_t away = 0, bad;

	each_pattern(n) {
		whole_map(&self->at, variant->kind);
		disorder(p, variant->state, patterns[n], &self->at.child);
		away += SPAN - present(p, SPAN);

		ASSERT_EQ(mlock(p + 123, SPAN * PAGE - 200), 0);
		EXPECT_EQ(present(p, SPAN), SPAN) TH_LOG("pattern %zu", n);
		EXPECT_EQ(with(p, SPAN, PM_FILE), 0) TH_LOG("pattern %zu", n);
		EXPECT_EQ(write_faults(p, SPAN), 0) TH_LOG("pattern %zu", n);
		EXPECT_EQ(pages_locked(), SPAN);
		bad = 0;
		for (size_t i = 0; i < SPAN && keeps_data(variant->state); i++)
			bad += *(uint32_t *)(p + i * PAGE) != 1016 + i;
		EXPECT_EQ(bad, 0) TH_LOG("pattern %zu", n);

		whole_unmap(&self->at);
		EXPECT_EQ(pages_locked(), 0);
	}
	/* The pages were out of order indeed. */
	if (variant->state == HOLE || variant->state == SWAPPED)
		EXPECT_GT(away, SPAN);
}

/*
 * What is locked already is not walked again, and yet populated: after holes have been made in a
 * locked mapping, and after a fork has made its pages shared.
 */
TEST_F(kinds, locked_once_more)
{
	char *p = self->at.p + FIRST * PAGE;

	each_pattern(n) {
		whole_map(&self->at, variant->kind);
		ASSERT_EQ(mlock(p, SPAN * PAGE), 0);
		for (size_t i = 0; i < SPAN; i++)
			if (patterns[n](i))
				ASSERT_EQ(madvise(p + i * PAGE, PAGE, MADV_DONTNEED_LOCKED), 0);
		ASSERT_EQ(mlock(p, SPAN * PAGE), 0);
		EXPECT_EQ(present(p, SPAN), SPAN) TH_LOG("pattern %zu", n);
		EXPECT_EQ(write_faults(p, SPAN), 0) TH_LOG("pattern %zu", n);

		disorder(p, SHARED, patterns[n], &self->at.child);
		ASSERT_EQ(mlock(p, SPAN * PAGE), 0);
		EXPECT_EQ(write_faults(p, SPAN), 0) TH_LOG("pattern %zu", n);
		whole_unmap(&self->at);
	}
}

/* Mappings that need no copy: read-only ones, and those that become writable when locked. */
TEST_F(kinds, read_only)
{
	static const int prots[] = { PROT_READ, PROT_EXEC };
	char *p = self->at.p + FIRST * PAGE;

	each_pattern(n) {
		int prot = prots[n % 2];

		whole_map(&self->at, variant->kind);
		disorder(p, n % 3 ? HOLE : READ, patterns[n], &self->at.child);
		ASSERT_EQ(mprotect(self->at.p, ROOM * PAGE, prot), 0);
		ASSERT_EQ(mlock(p, SPAN * PAGE), 0);
		EXPECT_EQ(present(p, SPAN), SPAN) TH_LOG("pattern %zu", n);
		if (prot == PROT_READ)
			EXPECT_EQ(read_faults(p, SPAN), 0) TH_LOG("pattern %zu", n);
		/* The copies are made when they may be written. */
		ASSERT_EQ(mprotect(p, SPAN * PAGE, RW), 0);
		EXPECT_EQ(write_faults(p, SPAN), 0) TH_LOG("pattern %zu", n);
		whole_unmap(&self->at);
	}
}

/* Shared mappings of a file: their pages are there, and are those of the file. */
TEST_F(kinds, shared_file)
{
	char *p = self->at.p + FIRST * PAGE;

	if (self->at.fd < 0)
		return;
	each_pattern(n) {
		map_at(self->at.p, ROOM, RW, MAP_SHARED, self->at.fd);
		for (size_t i = 0; i < SPAN; i++)
			if (!patterns[n](i))
				*(volatile char *)(p + i * PAGE + 8) = n;
		ASSERT_EQ(mlock(p, SPAN * PAGE), 0);
		EXPECT_EQ(with(p, SPAN, PM_FILE), SPAN) TH_LOG("pattern %zu", n);
		EXPECT_EQ(present(p, SPAN), SPAN) TH_LOG("pattern %zu", n);
		EXPECT_EQ(read_faults(p, SPAN), 0) TH_LOG("pattern %zu", n);
		whole_unmap(&self->at);
	}
}

/* Of every kind something, holes and borders everywhere, and one call. */
TEST(many_mappings_in_one_call)
{
	char *p = room(4096), *at = p;
	int shm = memfd(256), status;
	struct region file;
	pid_t child;

	region_make(&file, FILE_EXT4, 256);
	write_text("/proc/sys/vm/nr_hugepages", "2");
	map_at(at, 300, RW, ANON, -1);
	fill(at + 50 * PAGE, 100);
	map_at(at + 300 * PAGE, 212, PROT_READ, ANON, -1);
	at += HUGE;
	map_at(at, 512, RW, ANON, -1);
	madvise(at, HUGE, MADV_HUGEPAGE);
	fill(at, 512);
	at += HUGE;
	status = mmap(at, HUGE, RW, ANON | MAP_HUGETLB | MAP_FIXED, -1, 0) != MAP_FAILED;
	if (!status)
		map_at(at, 512, RW, ANON, -1);
	at += HUGE;
	map_at(at, 256, RW, MAP_PRIVATE, file.fd);
	fill(at + 20 * PAGE, 20);
	map_at(at + 256 * PAGE, 256, RW, MAP_SHARED, file.fd);
	at += HUGE;
	map_at(at, 256, RW, MAP_PRIVATE, shm);
	map_at(at + 256 * PAGE, 256, PROT_READ, MAP_SHARED, shm);
	child = sleeping_child();
	fill(p + 80 * PAGE, 30);

	ASSERT_EQ(mlock(p + 10 * PAGE + 5, 5 * HUGE - 20 * PAGE), 0);
	at = p + 10 * PAGE;
	EXPECT_EQ(present(at, 5 * 512 - 19), 5 * 512 - 19);
	EXPECT_EQ(write_faults(at, 290), 0);
	EXPECT_EQ(read_faults(p + 300 * PAGE, 212), 0);
	EXPECT_EQ(write_faults(p + HUGE, 1024), 0);
	EXPECT_EQ(write_faults(p + 3 * HUGE, 256), 0);
	EXPECT_EQ(write_faults(p + 4 * HUGE, 256), 0);
	EXPECT_EQ(present(p, 10), 0);
	EXPECT_LOCKED(5 * 512 - 19 - (status ? 512 : 0));
	ASSERT_EQ(munlock(p, 5 * HUGE), 0);
	EXPECT_LOCKED(0);
	end_child(child);
	munmap(p, 5 * HUGE);
	region_free(&file);
	write_text("/proc/sys/vm/nr_hugepages", "0");
}

/* --- userfaultfd and NUMA hints --------------------------------------------------------- */

struct monitor {
	int fd, stop[2];
	pthread_t thread;
	long missing, protected;
};

static void *answer_faults(void *arg)
{
	struct monitor *m = arg;
	struct pollfd p[2] = { { m->fd, POLLIN }, { m->stop[0], POLLIN } };
	static char page[PAGE];
	struct uffd_msg msg;

	while (poll(p, 2, -1) > 0 && !p[1].revents) {
		uint64_t at;

		if (read(m->fd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		at = msg.arg.pagefault.address & -PAGE;
		if (msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
			struct uffdio_writeprotect wp = { .range = { at, PAGE } };

			m->protected++;
			ioctl(m->fd, UFFDIO_WRITEPROTECT, &wp);
		} else {
			struct uffdio_copy copy = { at, (uintptr_t)page, PAGE };

			m->missing++;
			ioctl(m->fd, UFFDIO_COPY, &copy);
		}
	}
	return NULL;
}

static void monitor_start(struct monitor *m, char *p, size_t pages, uint64_t mode)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg = { .range = { (uintptr_t)p, pages * PAGE }, .mode = mode };

	*m = (struct monitor){ .fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK) };
	if (m->fd < 0 || ioctl(m->fd, UFFDIO_API, &api) || ioctl(m->fd, UFFDIO_REGISTER, &reg) ||
	    pipe(m->stop) || pthread_create(&m->thread, NULL, answer_faults, m))
		fail_setup("userfaultfd");
}

static void monitor_stop(struct monitor *m)
{
	if (write(m->stop[1], "", 1) != 1)
		fail_setup("pipe");
	pthread_join(m->thread, NULL);
	close(m->fd);
}

/* The monitor is asked for each page that mlock needs, and for no other. */
TEST(userfault)
{
	char *p = anon(SPAN);
	struct monitor m;
	size_t want = 0;

	fill(p, SPAN);
	monitor_start(&m, p, SPAN, UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MISSING);
	for (size_t i = 0; i < SPAN; i++) {
		struct uffdio_writeprotect wp = { .range = { (uintptr_t)p + i * PAGE, PAGE },
						  .mode = UFFDIO_WRITEPROTECT_MODE_WP };

		if (i % 5 == 1) {
			ASSERT_EQ(ioctl(m.fd, UFFDIO_WRITEPROTECT, &wp), 0);
			ASSERT_EQ(madvise(p + (i + 1) * PAGE, PAGE, MADV_DONTNEED), 0);
			want++;
		}
	}
	ASSERT_EQ(mlock(p, SPAN * PAGE), 0);
	EXPECT_EQ(m.protected, (long)want);
	EXPECT_EQ(m.missing, (long)want);
	EXPECT_EQ(present(p, SPAN), SPAN);
	EXPECT_EQ(write_faults(p, SPAN), 0);
	monitor_stop(&m);
}

static long vm_count(const char *name)
{
	char *p;

	if (!read_text("/proc/vmstat", text, sizeof(text)))
		fail_setup("vmstat");
	p = strstr(text, name);
	return p ? atol(p + strlen(name)) : 0;
}

static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail_setup("processor %d", cpu);
}

/* Entries that the NUMA balancer has made unreadable stand for pages that are there. */
TEST(numa_hints)
{
	char *p = anon(ROOM);
	long before;
	volatile long spin = 0;

	write_text("/sys/kernel/debug/sched/numa_balancing/scan_delay_ms", "1");
	write_text("/sys/kernel/debug/sched/numa_balancing/scan_period_min_ms", "1");
	/* Of a task with one thread, it takes only what lies on another node. */
	run_on(sysconf(_SC_NPROCESSORS_ONLN) - 1);
	fill(p, ROOM);
	run_on(0);
	before = vm_count("numa_pte_updates");
	if (!write_text("/proc/sys/kernel/numa_balancing", "1"))
		SKIP(return, "no NUMA balancing");
	/* A task is scanned while it computes. */
	for (int i = 0; i < 2000 && vm_count("numa_pte_updates") < before + (long)ROOM; i++)
		for (long k = 0; k < 200000; k++)
			spin++;
	write_text("/proc/sys/kernel/numa_balancing", "0");
	if (vm_count("numa_pte_updates") == before)
		SKIP(return, "the balancer does not come");
	for (size_t i = 0; i < ROOM; i += 3)
		madvise(p + i * PAGE, PAGE, MADV_DONTNEED);
	ASSERT_EQ(mlock(p, ROOM * PAGE), 0);
	EXPECT_EQ(present(p, ROOM), ROOM);
	for (size_t i = 0; i < ROOM; i++)
		EXPECT_EQ(*(uint32_t *)(p + i * PAGE), i % 3 ? 1000 + i : 0);
	EXPECT_EQ(write_faults(p, ROOM), 0);
	EXPECT_LOCKED(ROOM);
}

/*
 * Merged pages of a writable mapping are taken apart; in a read-only one they stay. One frame for
 * all tells them: stock's /proc/kpageflags sets the bit KSM for each anonymous page.
 */
TEST(merged_pages)
{
	const char *ksm = "/sys/kernel/mm/ksm/run";
	char *p = anon(64);
	size_t merged = 0;

	if (!write_text("/sys/kernel/mm/ksm/sleep_millisecs", "1"))
		SKIP(return, "no KSM");
	write_text("/sys/kernel/mm/ksm/pages_to_scan", "1000");
	for (size_t i = 0; i < 64; i++)
		memset(p + i * PAGE, 7, PAGE);
	ASSERT_EQ(madvise(p, 64 * PAGE, MADV_MERGEABLE), 0);
	write_text(ksm, "1");
	for (int k = 0; k < 600 && merged < 64; k++) {
		usleep(50000);
		merged = 0;
		for (size_t i = 0; i < 64; i++)
			merged += frame_of(p + i * PAGE) == frame_of(p);
	}
	/* Stopped, with the merged pages as they are. */
	write_text(ksm, "0");
	ASSERT_EQ(merged, 64);
	ASSERT_EQ(mprotect(p, 32 * PAGE, PROT_READ), 0);
	ASSERT_EQ(mlock(p, 64 * PAGE), 0);
	EXPECT_EQ(write_faults(p + 32 * PAGE, 32), 0);
	EXPECT_EQ(read_faults(p, 32), 0);
	for (size_t i = 0; i < 64; i++)
		EXPECT_EQ(frame_of(p + i * PAGE) == frame_of(p), i < 32);
	munmap(p, 64 * PAGE);
	write_text(ksm, "2");
	write_text(ksm, "0");
}

TEST_HARNESS_MAIN

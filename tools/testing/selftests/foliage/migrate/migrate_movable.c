// SPDX-License-Identifier: GPL-2.0
/*
 * Movable pages of a driver (lib/test_movable.c) under compaction and soft offlining: every outcome
 * of every callback, pages released while they are isolated, two movers of one page, pages that
 * somebody else holds, and what compaction gains by them. Memory offlining and races are in
 * migrate_movable_block.c.
 *
 * After each test the driver's pages hold what they held, the VM has kept its side of the contract
 * (the driver counts breaches), and each isolation has ended in exactly one of three ways: moved,
 * put back, or released by the driver.
 *
 *	migrate_movable [test_movable.ko]
 */
#define _GNU_SOURCE
#include <linux/mempolicy.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "movable.h"

#define KPF_LOCKED	0
#define KPF_SLAB	7
#define KPF_RECLAIM	9	/* PG_isolated is the same bit */
#define KPF_HWPOISON	19

#define SOFT_OFFLINE	"/sys/devices/system/memory/soft_offline_page"
#define UNPOISON	"/sys/kernel/debug/hwpoison/unpoison-pfn"

#define PAGES		12288L	/* allocated; one of KEEP stays */
#define KEEP		3
#define KEPT		(PAGES / KEEP)

static const int some_errors[] = { EBUSY, ENOMEM, EIO };

/* --- what everything rests on ----------------------------------------------------------- */

static long free_on(int node)
{
	char path[96];

	snprintf(path, sizeof(path), NODES "node%d/meminfo", node);
	write_text("/proc/sys/vm/stat_refresh", "1");
	return field_of(path, "MemFree:") / 4;
}

/* How many pages are not where they were. */
static size_t moved(const struct movable_page *old, size_t n_old)
{
	size_t n, count = 0;
	struct movable_page *now = movable_pages(&n);

	for (size_t i = 0, k = 0; i < n_old && k < n; i++) {
		while (k < n && now[k].number < old[i].number)
			k++;
		count += k < n && now[k].number == old[i].number && now[k].pfn != old[i].pfn;
	}
	free(now);
	return count;
}

static int soft_offline(uint64_t pfn)
{
	char text[32];
	int fd = open(SOFT_OFFLINE, O_WRONLY), err;

	snprintf(text, sizeof(text), "%#llx", (unsigned long long)pfn * PAGE);
	err = write(fd, text, strlen(text)) < 0 ? errno : 0;
	close(fd);
	return err;
}

static bool poisoned(uint64_t pfn)
{
	return frame_flags(pfn) & KPF(KPF_HWPOISON);
}

static void unpoison(uint64_t pfn)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)pfn);
	write_text(UNPOISON, text);
}

FIXTURE(movable) {
	int node;
	struct movable_page *pages;
	size_t n;
};

FIXTURE_SETUP(movable)
{
	movable_reset();
	self->node = last_node();
	self->pages = NULL;
}

FIXTURE_TEARDOWN(movable)
{
	movable_reset();
	free(self->pages);
}

/* Pages with holes among them, as compaction wants it, or few for who picks one. */
static void make_pages(struct _test_data_movable *self, long count, int keep)
{
	movable_spread(count, self->node, keep);
	movable_write("stat", "0");
	self->pages = movable_pages(&self->n);
}

/* --- the driver's own files ------------------------------------------------------------- */

TEST_F(movable, bad_input)
{
	static const struct {
		const char *file, *text;
		int err;
	} tries[] = {
		{ "alloc", "", EINVAL }, { "alloc", "0", EINVAL }, { "alloc", "x", EINVAL },
		{ "alloc", "1 x", EINVAL }, { "alloc", "1 0 0", EINVAL }, { "alloc", "1 77", EINVAL },
		{ "alloc", "-1", EINVAL }, { "alloc", "1000000000000", ERANGE },
		{ "free", "", EINVAL }, { "free", "some", EINVAL }, { "free", "every 0", EINVAL },
		{ "free", "range 5", EINVAL }, { "free", "range 5 4", EINVAL },
		{ "free", "all x", EINVAL }, { "free", "all", ENOENT },
		{ "free", "range 1 1", ENOENT }, { "free", "keep 3", ENOENT },
		{ "order", "fail_isolate", EINVAL }, { "order", "fail_isolate -2", ERANGE },
		{ "order", "fail_migrate 1", ERANGE }, { "order", "fail_migrate 1 4096", ERANGE },
		{ "order", "fail_migrate 1 -11", ERANGE }, { "order", "nothing 1", EINVAL },
		{ "order", "release_migrate 1 1 1", EINVAL },
		{ "hold", "1", EINVAL }, { "hold", "2 1", EINVAL }, { "hold", "1 1", ENOENT },
		{ "verify", "1", EINVAL }, { "pages", "1", EINVAL },
	};

	for (size_t i = 0; i < sizeof(tries) / sizeof(*tries); i++) {
		EXPECT_EQ(movable_write(tries[i].file, "%s", tries[i].text), -tries[i].err) {
			TH_LOG("%s: '%s'", tries[i].file, tries[i].text);
		}
	}
	EXPECT_CONSISTENT();
}

TEST_F(movable, freeing)
{
	size_t n;

	ASSERT_EQ(movable_write("alloc", "30 %d", self->node), 0);
	self->pages = movable_pages(&self->n);
	ASSERT_EQ(self->n, 30);
	EXPECT_EQ(movable_write("free", "every 3"), 0);
	EXPECT_EQ(movable_write("free", "range %lu %lu", self->pages[0].number,
				self->pages[4].number), 0);
	free(movable_pages(&n));
	EXPECT_EQ(n, 20 - 4);
	EXPECT_EQ(movable_write("free", "keep 4"), 0);
	free(movable_pages(&n));
	EXPECT_EQ(n, 4);
	for (size_t i = 0; i < self->n; i++) {
		EXPECT_EQ(self->pages[i].node, self->node);
	}
	EXPECT_CONSISTENT();
}

/* --- compaction: every outcome, for many pages ------------------------------------------ */

TEST_F(movable, compaction_moves)
{
	long before = vm_count("pgmigrate_success");

	make_pages(self, PAGES, KEEP);
	ASSERT_TRUE(compact_node(self->node));
	EXPECT_GT(movable_stat("migrate_ok"), KEPT / 10);
	EXPECT_EQ(moved(self->pages, self->n), movable_stat("migrate_ok"));
	EXPECT_GE(vm_count("pgmigrate_success") - before, movable_stat("migrate_ok"));
	EXPECT_CONSISTENT();
}

TEST_F(movable, isolation_refused)
{
	make_pages(self, PAGES, KEEP);
	ASSERT_EQ(movable_write("order", "fail_isolate -1"), 0);
	ASSERT_TRUE(compact_node(self->node));
	EXPECT_GT(movable_stat("isolate_refused"), KEPT / 10);
	EXPECT_EQ(movable_stat("isolate_ok"), 0);
	EXPECT_EQ(moved(self->pages, self->n), 0);

	movable_write("stat", "0");
	ASSERT_EQ(movable_write("order", "fail_isolate 10"), 0);
	ASSERT_TRUE(compact_node(self->node));
	EXPECT_EQ(movable_stat("isolate_refused"), 10);
	EXPECT_GT(movable_stat("migrate_ok"), KEPT / 10);
}

/* -EAGAIN means to try again soon: those who said it are moved without another isolation. */
TEST_F(movable, again_then_success)
{
	make_pages(self, PAGES, KEEP);
	ASSERT_EQ(movable_write("order", "fail_migrate 20 %d", EAGAIN), 0);
	ASSERT_TRUE(compact_node(self->node));
	EXPECT_EQ(movable_stat("migrate_eagain"), 20);
	EXPECT_GT(movable_stat("ok_after_eagain"), 0);
	EXPECT_GT(movable_stat("migrate_ok"), KEPT / 10);
	EXPECT_EQ(moved(self->pages, self->n), movable_stat("migrate_ok"));
	EXPECT_CONSISTENT();
}

TEST_F(movable, again_for_ever)
{
	make_pages(self, PAGES, KEEP);
	ASSERT_EQ(movable_write("order", "fail_migrate -1 %d", EAGAIN), 0);
	ASSERT_TRUE(compact_node(self->node));
	EXPECT_GT(movable_stat("isolate_ok"), KEPT / 10);
	EXPECT_EQ(movable_stat("migrate_ok"), 0);
	EXPECT_EQ(movable_stat("putback"), movable_stat("isolate_ok"));
	EXPECT_GT(movable_stat("migrate_eagain"), movable_stat("isolate_ok"));
	EXPECT_EQ(moved(self->pages, self->n), 0);
	EXPECT_CONSISTENT();

	ASSERT_EQ(movable_write("order", "fail_migrate 0"), 0);
	ASSERT_TRUE(compact_node(self->node));
	EXPECT_GT(movable_stat("migrate_ok"), KEPT / 10);
	EXPECT_CONSISTENT();
}

/* Any other error means to give up: the page is put back, and the others' moves go on. */
TEST_F(movable, errors)
{
	make_pages(self, PAGES, KEEP);
	for (size_t i = 0; i < sizeof(some_errors) / sizeof(*some_errors); i++) {
		ASSERT_EQ(movable_write("order", "fail_migrate -1 %d", some_errors[i]), 0);
		ASSERT_TRUE(compact_node(self->node));
		EXPECT_GT(movable_stat("isolate_ok"), KEPT / 10);
		EXPECT_EQ(movable_stat("migrate_ok"), 0);
		EXPECT_EQ(movable_stat("putback"), movable_stat("isolate_ok"));
		/* At most once more: in a batch at first, then alone. */
		EXPECT_LE(movable_stat("call_after_error"), movable_stat("isolate_ok"));
		EXPECT_EQ(moved(self->pages, self->n), 0);
	}
	EXPECT_GT(movable_stat("migrate_ebusy"), 0);
	EXPECT_GT(movable_stat("migrate_enomem"), 0);
	EXPECT_GT(movable_stat("migrate_other"), 0);
	EXPECT_CONSISTENT();

	ASSERT_EQ(movable_write("order", "fail_migrate 20 %d", EBUSY), 0);
	ASSERT_TRUE(compact_node(self->node));
	EXPECT_GT(movable_stat("migrate_ok"), KEPT / 10);
	EXPECT_CONSISTENT();
}

/* --- released while isolated ------------------------------------------------------------ */

/* Free pages of the node are what they were before the driver had any, but for a few. */
static bool memory_is_back(int node, long before, long used)
{
	for (int i = 0; i < 100; i++) {
		if (free_on(node) >= before - used / 4)
			return true;
		usleep(100000);
	}
	return false;
}

/* Every page that is isolated is released then: nothing is moved, nothing put back, nothing lost. */
TEST_F(movable, released_after_isolation)
{
	long before = free_on(self->node), released = 0;

	for (int i = 0; i < 50 && released < KEPT; i++) {
		free(self->pages);
		make_pages(self, PAGES, KEEP);
		ASSERT_EQ(movable_write("order", "release_isolated -1"), 0);
		ASSERT_TRUE(compact_node(self->node));
		EXPECT_EQ(movable_stat("released_isolated"),
			  movable_stat("isolate_ok") - movable_stat("putback"));
		EXPECT_EQ(movable_stat("migrate_ok"), 0);
		EXPECT_EQ(moved(self->pages, self->n), 0);
		/* Not all of them in the move: most were free by then. */
		EXPECT_LT(movable_stat("migrate_released"), movable_stat("released_isolated"));
		EXPECT_CONSISTENT();
		released += movable_stat("released_isolated");
		movable_reset();
	}
	EXPECT_GE(released, KEPT);
	EXPECT_TRUE(memory_is_back(self->node, before, released));
}

/* The driver frees the page in the callback, whatever it returns: neither page is lost. */
TEST_F(movable, released_in_the_move)
{
	static const int answers[] = { 0, EAGAIN, EBUSY };

	for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
		long before = free_on(self->node), released = 0;

		for (int k = 0; k < 50 && released < KEPT; k++) {
			free(self->pages);
			make_pages(self, PAGES, KEEP);
			ASSERT_EQ(movable_write("order", "release_migrate -1 %d", answers[i]), 0);
			ASSERT_TRUE(compact_node(self->node));
			EXPECT_EQ(movable_stat("released_isolated"),
				  movable_stat("migrate_released"));
			EXPECT_EQ(movable_stat("migrate_ok"), 0);
			EXPECT_CONSISTENT();
			released += movable_stat("released_isolated");
			movable_reset();
		}
		EXPECT_GE(released, KEPT);
		EXPECT_TRUE(memory_is_back(self->node, before, released));
	}
}

/* --- one page at a time: soft offlining ------------------------------------------------- */

#define SKIP_WITHOUT_SOFT_OFFLINE() do {						\
	if (access(SOFT_OFFLINE, W_OK) || access(UNPOISON, W_OK))			\
		SKIP(return, "needs " SOFT_OFFLINE " and " UNPOISON);			\
} while (0)

TEST_F(movable, one_page)
{
	static const struct {
		const char *order;
		bool moves, stays;	/* neither: it is released */
		long isolated, putback, least, most;	/* the last two: failures */
	} tries[] = {
		{ "fail_migrate 0", true, false, 1, 0, 0, 0 },
		{ "fail_isolate 1", false, true, 0, 0, 0, 0 },
		{ "fail_migrate 1 11", true, false, 1, 0, 1, 1 },
		{ "fail_migrate 3 11", true, false, 1, 0, 3, 3 },
		{ "fail_migrate -1 11", false, true, 1, 1, 2, 100 },
		{ "fail_migrate -1 16", false, true, 1, 1, 1, 2 },
		{ "fail_migrate -1 12", false, true, 1, 1, 1, 2 },
		{ "fail_migrate -1 5", false, true, 1, 1, 1, 2 },
		{ "release_migrate 1 0", false, false, 1, 0, 0, 0 },
		{ "release_migrate 1 11", false, false, 1, 0, 0, 0 },
		{ "release_isolated 1", false, false, 1, 0, 0, 0 },
	};

	SKIP_WITHOUT_SOFT_OFFLINE();
	make_pages(self, 100, 1);
	for (size_t i = 0; i < sizeof(tries) / sizeof(*tries); i++) {
		struct movable_page *p = &self->pages[i];
		long failed;
		int err;

		TH_LOG("%s", tries[i].order);
		movable_write("stat", "0");
		ASSERT_EQ(movable_write("order", "%s", tries[i].order), 0);
		err = soft_offline(p->pfn);
		movable_write("order", "fail_migrate 0");
		failed = movable_stat("migrate_eagain") + movable_stat("migrate_ebusy") +
			 movable_stat("migrate_enomem") + movable_stat("migrate_other");
		EXPECT_EQ(!err, !tries[i].stays);
		EXPECT_EQ(poisoned(p->pfn), !tries[i].stays);
		EXPECT_EQ(moved(p, 1), tries[i].moves);
		EXPECT_EQ(movable_stat("isolate_ok"), tries[i].isolated);
		EXPECT_EQ(movable_stat("migrate_ok"), tries[i].moves);
		EXPECT_EQ(movable_stat("putback"), tries[i].putback);
		EXPECT_EQ(movable_stat("released_isolated"), !tries[i].moves && !tries[i].stays);
		EXPECT_GE(failed, tries[i].least);
		EXPECT_LE(failed, tries[i].most);
		EXPECT_EQ(movable_stat("broken"), 0);
		if (!err)
			unpoison(p->pfn);
		EXPECT_FALSE(poisoned(p->pfn));
	}
}

static void *soft_offline_thread(void *arg)
{
	return (void *)(long)soft_offline(((struct movable_page *)arg)->pfn);
}

static bool is_isolated(const struct movable_page *p)
{
	bool yes = false;
	size_t n;
	struct movable_page *now = movable_pages(&n);

	for (size_t i = 0; i < n; i++)
		if (now[i].number == p->number && now[i].pfn == p->pfn)
			yes = now[i].isolated;
	free(now);
	return yes;
}

/* A thread that sits in the move of a page for a second. */
static pthread_t start_slow_move(struct __test_metadata *_metadata, struct movable_page *p)
{
	pthread_t thread;

	ASSERT_EQ(movable_write("delay_us", "1000000"), 0);
	ASSERT_EQ(pthread_create(&thread, NULL, soft_offline_thread, p), 0);
	while (!is_isolated(p))
		usleep(1000);
	movable_write("delay_us", "0");
	return thread;
}

/*
 * In /proc/kpageflags a movable page is on no list, has no mapping of a user's, and shows by
 * KPF_RECLAIM, whose bit PG_isolated uses, that it is isolated.
 */
TEST_F(movable, flags)
{
	const uint64_t never = KPF(KPF_LRU) | KPF(KPF_MMAP) | KPF(KPF_ANON) | KPF(KPF_SLAB) |
			       KPF(KPF_BUDDY) | KPF(KPF_KSM) | KPF(KPF_HEAD) | KPF(KPF_TAIL);
	const uint64_t moving = KPF(KPF_RECLAIM) | KPF(KPF_LOCKED);
	uint64_t flags = 0;
	pthread_t thread;
	bool seen = false;

	SKIP_WITHOUT_SOFT_OFFLINE();
	make_pages(self, 100, 1);
	for (size_t i = 0; i < self->n; i++) {
		EXPECT_EQ(frame_flags(self->pages[i].pfn) & (never | moving), 0);
	}
	for (size_t i = 0; i < 50 && !seen; i++) {
		struct movable_page *p = &self->pages[i];

		thread = start_slow_move(_metadata, p);
		flags = frame_flags(p->pfn);
		/* Not over in the meantime. */
		seen = (flags & KPF(KPF_LOCKED)) && is_isolated(p);
		pthread_join(thread, NULL);
		unpoison(p->pfn);
	}
	ASSERT_TRUE(seen);
	EXPECT_EQ(flags & (never | moving), moving);
	free(self->pages);
	self->pages = movable_pages(&self->n);
	for (size_t i = 0; i < self->n; i++) {
		EXPECT_EQ(frame_flags(self->pages[i].pfn) & (never | moving), 0);
	}
	EXPECT_CONSISTENT();
}

/* Who comes across a page that another is moving leaves it alone, and moves its neighbours. */
TEST_F(movable, two_movers)
{
	bool overlap = false;

	SKIP_WITHOUT_SOFT_OFFLINE();
	for (int i = 0; i < 50 && !overlap; i++) {
		pthread_t thread;
		long others;

		free(self->pages);
		make_pages(self, PAGES, KEEP);
		/* The first page is the lowest one of a fresh node: compaction begins there. */
		thread = start_slow_move(_metadata, &self->pages[0]);
		ASSERT_TRUE(compact_node(self->node));
		others = movable_stat("migrate_ok");
		overlap = is_isolated(&self->pages[0]) && others > KEPT / 10;
		pthread_join(thread, NULL);
		EXPECT_EQ(moved(self->pages, 1), 1);
		unpoison(self->pages[0].pfn);
		EXPECT_CONSISTENT();
		movable_write("free", "all");
	}
	EXPECT_TRUE(overlap);
}

/* To free a page that is being moved takes until the move is over; then the new one is freed. */
TEST_F(movable, freed_during_the_move)
{
	struct movable_page *p;
	pthread_t thread;

	SKIP_WITHOUT_SOFT_OFFLINE();
	make_pages(self, 100, 1);
	p = &self->pages[7];
	thread = start_slow_move(_metadata, p);
	EXPECT_EQ(movable_write("free", "range %lu %lu", p->number, p->number), 0);
	pthread_join(thread, NULL);
	EXPECT_EQ(movable_write("free", "range %lu %lu", p->number, p->number), -ENOENT);
	EXPECT_EQ(movable_stat("isolate_ok"), 1);
	EXPECT_EQ(movable_stat("migrate_ok") + movable_stat("released_isolated"), 1);
	unpoison(p->pfn);
	EXPECT_CONSISTENT();
}

/* --- held ------------------------------------------------------------------------------- */

/*
 * The driver decides about references, not the VM: a page that somebody holds moves, and the old
 * page is his alone until he lets go.
 */
TEST_F(movable, held)
{
	size_t gone = 0;
	struct movable_page *now;
	size_t n;

	make_pages(self, PAGES, KEEP);
	ASSERT_EQ(movable_write("hold", "%lu %lu", self->pages[0].number,
				self->pages[self->n - 1].number), 0);
	ASSERT_TRUE(compact_node(self->node));
	ASSERT_GT(movable_stat("migrate_ok"), KEPT / 10);
	now = movable_pages(&n);
	ASSERT_EQ(n, self->n);
	for (size_t i = 0; i < n; i++) {
		EXPECT_TRUE(now[i].held);
		if (now[i].pfn == self->pages[i].pfn)
			continue;
		gone++;
		EXPECT_EQ(frame_flags(self->pages[i].pfn) &
			  (KPF(KPF_BUDDY) | KPF(KPF_LRU) | KPF(KPF_SLAB) | KPF(KPF_RECLAIM)), 0);
		/* Two of the driver's pages are never in one place, held or not. */
		for (size_t k = 0; gone < 20 && k < n; k++) {
			EXPECT_NE(now[k].pfn, self->pages[i].pfn);
		}
	}
	free(now);
	EXPECT_EQ(gone, movable_stat("migrate_ok"));
	EXPECT_EQ(movable_write("hold", "none"), 0);
	EXPECT_CONSISTENT();
}

/* --- what movable pages are for --------------------------------------------------------- */

#define SPREAD_PAGES	32768L		/* 64 blocks of order 9 */
#define SPREAD_KEEP	63

static long blocks_free(int node)
{
	char want[16], *zone;
	static char text[8192];
	long orders[11], sum = 0;

	snprintf(want, sizeof(want), "Node %d,", node);
	if (!read_text("/proc/buddyinfo", text, sizeof(text)))
		fail_setup("/proc/buddyinfo");
	for (char *p = strstr(text, want); p; p = strstr(p + 1, want)) {
		zone = strstr(p, "zone") + 4;
		zone += strspn(zone, " ");
		zone += strcspn(zone, " ");
		for (int i = 0; i < 11; i++)
			orders[i] = strtol(zone, &zone, 10);
		sum += orders[9] + 2 * orders[10];
	}
	return sum;
}

/* Blocks that compaction makes of what is left when most of the driver's pages were freed. */
static long blocks_regained(int node, bool movable)
{
	long before, after;

	write_text("/proc/sys/vm/drop_caches", "3");
	movable_write("movable", movable ? "1" : "0");
	movable_spread(SPREAD_PAGES, node, SPREAD_KEEP);
	before = blocks_free(node);
	for (int i = 0; i < 3; i++)
		compact_node(node);
	after = blocks_free(node);
	movable_write("free", "all");
	return after - before;
}

TEST_F(movable, compaction_frees_blocks)
{
	long pinned, free_to_move;

	compact_node(self->node);
	pinned = blocks_regained(self->node, false);
	free_to_move = blocks_regained(self->node, true);
	TH_LOG("blocks of order 9: %ld with pinned pages, %ld with movable ones", pinned, free_to_move);
	EXPECT_GT(free_to_move, pinned + SPREAD_PAGES / 512 / 2);
	EXPECT_EQ(movable_stat("broken"), 0);
}

/* --- who waits for a driver that sleeps ---------------------------------------------------- */

#define STALL_PAGES	64L
#define STALL_DELAY_US	400000L
#define STALL_BLOCK	512L	/* pages of a page block */
#define STALL_ROOM	(32 * STALL_BLOCK)

struct staller {
	char *p;
	atomic_bool stop;
	long longest_us;
};

/* Touches all pages again and again, and keeps the longest time that one took. */
static void *stall_touch(void *arg)
{
	struct staller *s = arg;
	struct timespec a, b;

	while (!atomic_load(&s->stop)) {
		for (long i = 0; i < STALL_PAGES; i++) {
			long us;

			clock_gettime(CLOCK_MONOTONIC, &a);
			(*(volatile char *)(s->p + i * PAGE))++;
			clock_gettime(CLOCK_MONOTONIC, &b);
			us = (b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000;
			if (us > s->longest_us)
				s->longest_us = us;
		}
	}
	return NULL;
}

/* A process's own pages, on the node of its policy: STALL_ROOM of them, none in a huge page. */
static char *stall_room(void)
{
	char *p = mmap(NULL, STALL_ROOM * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fail_setup("mmap");
	madvise(p, STALL_ROOM * PAGE, MADV_NOHUGEPAGE);
	memset(p, 1, STALL_ROOM * PAGE);
	return p;
}

/* Gives back all but one page of each page block. */
static void stall_holes(char *p)
{
	for (long i = 0; i < STALL_ROOM; i += STALL_BLOCK)
		madvise(p + (i + 1) * PAGE, (STALL_BLOCK - 1) * PAGE, MADV_DONTNEED);
}

/*
 * Pages of a process and of the driver side by side, so that compaction moves them together. While
 * the driver sleeps in the move of its own, no fault on the others waits for it.
 *
 * Compaction moves pages up, and never into a page block that is free as a whole. So there are
 * blocks with holes on either side: what the allocator gives before and after the pages.
 */
TEST_F(movable, nobody_waits_for_the_driver)
{
	unsigned long mask = 1UL << self->node;
	struct staller s = {};
	char *before, *after;
	pthread_t thread;
	long moved;

	write_text("/proc/sys/vm/drop_caches", "3");
	ASSERT_EQ(syscall(SYS_set_mempolicy, MPOL_BIND, &mask, 64), 0);
	before = stall_room();
	s.p = mmap(NULL, STALL_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		   -1, 0);
	ASSERT_NE(s.p, MAP_FAILED);
	madvise(s.p, STALL_PAGES * PAGE, MADV_NOHUGEPAGE);
	/* In turns. */
	for (long i = 0; i < STALL_PAGES; i++) {
		s.p[i * PAGE] = 1;
		if (i % 8 == 0)
			ASSERT_EQ(movable_write("alloc", "1 %d", self->node), 0);
	}
	after = stall_room();
	ASSERT_EQ(syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0), 0);
	stall_holes(before);
	stall_holes(after);
	settle_lru();
	ASSERT_EQ(movable_write("stat", "0"), 0);
	ASSERT_EQ(movable_write("delay_us", "%ld", STALL_DELAY_US), 0);
	ASSERT_EQ(pthread_create(&thread, NULL, stall_touch, &s), 0);
	compact_node(self->node);
	atomic_store(&s.stop, true);
	pthread_join(thread, NULL);
	movable_write("delay_us", "0");
	moved = movable_stat("migrate_ok");
	TH_LOG("%ld pages of the driver moved, the longest fault took %ld us", moved, s.longest_us);
	EXPECT_GT(moved, 0);
	EXPECT_LT(s.longest_us, STALL_DELAY_US * 3 / 4);
	munmap(s.p, STALL_PAGES * PAGE);
	munmap(before, STALL_ROOM * PAGE);
	munmap(after, STALL_ROOM * PAGE);
}

int main(int argc, char **argv)
{
	char why[256];

	if (!movable_load(&argc, argv, why, sizeof(why))) {
		ksft_print_header();
		ksft_exit_skip("%s\n", why);
	}
	compaction_alone(true);
	atexit(compaction_as_usual);
	return test_harness_run(argc, argv);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * UFFDIO_MOVE of 4 MiB, there and back, while the same pages are moved between nodes, protected, swapped
 * out, made huge and looked at. A source that is full has no holes, however its entries are looked at: a
 * move ends with all of it moved, or waits for what is busy. Each page holds its number at every end.
 *	uffd_move_race [seconds]
 */
#define _GNU_SOURCE
#include "uffd.h"

#include "harness.h"

#define MOVES	(1 << 16)	/* UFFD_FEATURE_MOVE */
#define SPAN	(2 * HUGE)
#define PAGES	(SPAN / PAGE)

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

static int seconds_to_go = 20;
static int fd;
static char *here, *there;
static char *_Atomic at;	/* where the pages are, or were a moment ago */
static atomic_bool stop;
static atomic_long migrated;

static uint64_t *word(char *p, size_t page)
{
	return (uint64_t *)(p + page * PAGE);
}

/* Pages of @p, or all of them: two that work on the same often meet. */
static char *some(uint32_t *x, size_t *pages)
{
	size_t first = rand_r(x) % PAGES;

	*pages = PAGES - first;
	if (rand_r(x) % 4 == 0) {
		first = 0;
		*pages = PAGES;
	}
	return at + first * PAGE;
}

static void *migrate(void *arg)
{
	void *addr[PAGES];
	int node[PAGES], before[PAGES], status[PAGES];
	uint32_t x = 1 + (uintptr_t)arg;
	size_t pages;

	for (int to = 0; !stop; to = !to) {
		char *p = some(&x, &pages);

		for (size_t i = 0; i < pages; i++) {
			addr[i] = p + i * PAGE;
			node[i] = to;
		}
		/* Where they are, and then where they are to be. */
		if (syscall(SYS_move_pages, 0, pages, addr, NULL, before, 0) ||
		    syscall(SYS_move_pages, 0, pages, addr, node, status, 1 << 2) < 0)
			continue;
		for (size_t i = 0; i < pages; i++)
			migrated += before[i] == !to && status[i] == to;
		usleep(300);
	}
	return arg;
}

static void *protect(void *arg)
{
	uint32_t x = 500;
	size_t pages;

	while (!stop) {
		struct uffdio_writeprotect wp = { .mode = rand_r(&x) % 2 ? UFFDIO_WRITEPROTECT_MODE_WP : 0 };

		wp.range.start = (uintptr_t)some(&x, &pages);
		wp.range.len = pages * PAGE;
		ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
		usleep(500);
	}
	return arg;
}

static void *advise(void *arg)
{
	static const int advice[] = { MADV_PAGEOUT, MADV_COLD, MADV_COLLAPSE, MADV_WILLNEED };
	uint32_t x = 900;
	size_t pages;

	while (!stop) {
		char *p = some(&x, &pages);

		madvise(p, pages * PAGE, advice[rand_r(&x) % 4]);
		usleep(20000);
	}
	return arg;
}

/* Reads where the pages are just now, without asking for those that are not there. */
static void *look(void *arg)
{
	static unsigned char in_core[PAGES];

	while (!stop) {
		mincore(at, SPAN, in_core);
		usleep(100);
	}
	return arg;
}

/* Who writes to what is protected goes on. */
static void *answer(void *arg)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	struct uffd_msg m;

	while (!stop) {
		struct uffdio_writeprotect off = { .range.len = PAGE };

		if (poll(&poll_fd, 1, 20) < 1 || !uffd_next(fd, &m))
			continue;
		off.range.start = m.arg.pagefault.address;
		ioctl(fd, UFFDIO_WRITEPROTECT, &off);
	}
	return arg;
}

/*
 * Bytes moved in all, or the error that nothing explains. A large folio in the swap cache that must be written
 * once more stays busy: who writes to it has it back in memory.
 */
static int64_t move_all(char *to, char *from)
{
	uint64_t done = 0;

	while (done < SPAN) {
		struct { uint64_t dst, src, len, mode; int64_t move; } m = {
			(uintptr_t)to + done, (uintptr_t)from + done, SPAN - done };

		if (ioctl(fd, UFFDIO_MOVE, &m) && errno != EAGAIN && errno != EBUSY)
			return -errno;
		if (m.move > 0)
			done += m.move;
		else if (m.move == -EBUSY)
			*word(from, done / PAGE) = done / PAGE + 1;
	}
	return done;
}

static size_t wrong_pages(char *p)
{
	size_t wrong = 0;

	for (size_t i = 0; i < PAGES; i++) {
		volatile uint64_t *w = word(p, i);

		wrong += *w != i + 1;
		/* Who reads a page from swap may share it with the swap cache; who writes has it alone. */
		*w = i + 1;
	}
	return wrong;
}

static char *room(int advice)
{
	char *p = mmap(NULL, SPAN + HUGE, RW, ANON, -1, 0);

	if (p == MAP_FAILED)
		fail_setup("memory");
	p = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	madvise(p, SPAN, advice);
	return p;
}

/* There and back as often as there is time, beside @fns. */
static void race(struct __test_metadata *_metadata, void *(*const fns[])(void *), size_t nr, int advice)
{
	pthread_t threads[8];
	long moves = 0;
	double end;

	need_swap();
	fd = uffd_with(MOVES, O_CLOEXEC | O_NONBLOCK);
	here = room(advice);
	there = room(advice);
	for (size_t i = 0; i < PAGES; i++)
		*word(here, i) = i + 1;
	/* Missing pages too: else a huge page could be made of a place that is half empty. */
	ASSERT_EQ(uffd_add(fd, here, SPAN, MISSING | WP), 0);
	ASSERT_EQ(uffd_add(fd, there, SPAN, MISSING | WP), 0);
	at = here;
	for (size_t i = 0; i < nr; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, fns[i], (void *)i), 0);
	/* Half of the time for each of the two tests. */
	for (end = seconds() + seconds_to_go / 2.0; seconds() < end || moves < 16; moves++) {
		char *from = at, *to = from == here ? there : here;

		ASSERT_EQ(move_all(to, from), SPAN);
		at = to;
		if (moves % 16 == 0)
			ASSERT_EQ(wrong_pages(to), 0);
	}
	ASSERT_EQ(wrong_pages(at), 0);
	stop = true;
	for (size_t i = 0; i < nr; i++)
		pthread_join(threads[i], NULL);
	TH_LOG("%ld moves; %ld pages went to the other node meanwhile", moves, migrated);
	EXPECT_GT(migrated, 1000);
	close(fd);
}

/* Entries that are empty for a moment, again and again. */
TEST(small_pages)
{
	void *(*const fns[])(void *) = { migrate, migrate, protect, answer };

	race(_metadata, fns, 4, MADV_NOHUGEPAGE);
}

TEST(all_kinds)
{
	void *(*const fns[])(void *) = { migrate, migrate, protect, answer, advise, look };

	race(_metadata, fns, 6, MADV_HUGEPAGE);
}

RACE_HARNESS_MAIN(seconds_to_go)

// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that wait for user space: many at a time, answered in any order, by signals, by the end of
 * the registration and of the descriptor, and killed.
 */
#define _GNU_SOURCE
#include "uffd.h"

#include "harness.h"

#define MANY	1000

static struct toucher many[MANY];

static size_t number_done(size_t n)
{
	size_t done = 0;

	for (size_t i = 0; i < n; i++)
		done += many[i].done;
	return done;
}

/* Threads that wait for a page each. */
static void start_many(int fd, char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		touch_start(&many[i], p + i * PAGE, false);
	if (!UNTIL(uffd_info(fd, "total:") == (long)n))
		fail_setup("%ld of %zu threads wait", uffd_info(fd, "total:"), n);
}

static void join_many(size_t n)
{
	for (size_t i = 0; i < n; i++)
		pthread_join(many[i].thread, NULL);
}

static void shuffle(size_t *order, size_t n)
{
	for (size_t i = 0; i < n; i++)
		order[i] = i;
	for (size_t i = n - 1; i; i--) {
		size_t k = random() % (i + 1), was = order[i];

		order[i] = order[k];
		order[k] = was;
	}
}

FIXTURE(waiters) {
	int fd;
	char *p;
};

FIXTURE_SETUP(waiters)
{
	self->fd = uffd_with(0, O_CLOEXEC | O_NONBLOCK);
	self->p = uffd_memory(self->fd, MANY, MISSING);
}

FIXTURE_TEARDOWN(waiters)
{
	close(self->fd);
	munmap(self->p, MANY * PAGE);
}

/* Each is answered for itself, whether its fault was read or not, and nobody else goes on. */
TEST_F(waiters, answered_in_any_order)
{
	size_t order[MANY];
	struct uffd_msg m;

	start_many(self->fd, self->p, MANY);
	EXPECT_EQ(uffd_info(self->fd, "pending:"), MANY);
	for (size_t i = 0; i < MANY / 2; i++)
		ASSERT_TRUE(uffd_next(self->fd, &m));
	EXPECT_EQ(uffd_info(self->fd, "pending:"), MANY / 2);
	EXPECT_EQ(uffd_info(self->fd, "total:"), MANY);
	shuffle(order, MANY);
	for (size_t i = 0; i < MANY; i++) {
		ASSERT_EQ(uffd_fill(self->fd, self->p, order[i], 0), 0);
		if (i % 100 == 50) {
			EXPECT_EQ(uffd_info(self->fd, "total:"), (long)(MANY - 1 - i));
			EXPECT_LE(number_done(MANY), i + 1);
		}
	}
	join_many(MANY);
	for (size_t i = 0; i < MANY; i++)
		ASSERT_EQ(many[i].saw, i + 1);
	EXPECT_EQ(uffd_info(self->fd, "total:"), 0);
	EXPECT_FALSE(uffd_next(self->fd, &m));
	EXPECT_EQ(errno, EAGAIN);
}

/* The oldest fault is read first. */
TEST_F(waiters, read_in_order)
{
	struct uffd_msg m[8];

	for (size_t i = 0; i < 8; i++) {
		touch_start(&many[i], self->p + (7 - i) * PAGE, false);
		ASSERT_TRUE(UNTIL(uffd_info(self->fd, "total:") == (long)i + 1));
	}
	ASSERT_EQ(read(self->fd, m, sizeof(m)), (ssize_t)sizeof(m));
	for (size_t i = 0; i < 8; i++) {
		EXPECT_EQ(m[i].event, UFFD_EVENT_PAGEFAULT);
		EXPECT_EQ(m[i].arg.pagefault.address, (uintptr_t)self->p + (7 - i) * PAGE);
		EXPECT_EQ(uffd_fill(self->fd, self->p, i, 0), 0);
	}
	join_many(8);
}

/* All that wait for one page go on by one answer. */
TEST_F(waiters, one_page)
{
	for (size_t i = 0; i < 50; i++)
		touch_start(&many[i], self->p + 3 * PAGE, i % 2);
	ASSERT_TRUE(UNTIL(uffd_info(self->fd, "total:") == 50));
	EXPECT_EQ(uffd_fill(self->fd, self->p, 3, 0), 0);
	join_many(50);
	EXPECT_EQ(uffd_info(self->fd, "total:"), 0);
}

/* DONTWAKE fills and wakes nobody; WAKE wakes who is in its range. */
TEST_F(waiters, dontwake)
{
	start_many(self->fd, self->p, 16);
	for (size_t i = 0; i < 16; i++)
		EXPECT_EQ(uffd_fill(self->fd, self->p, i, UFFDIO_COPY_MODE_DONTWAKE), 0);
	usleep(50000);
	EXPECT_EQ(number_done(16), 0);
	EXPECT_EQ(uffd_info(self->fd, "total:"), 16);
	EXPECT_EQ(uffd_wake(self->fd, self->p + 4 * PAGE, 8 * PAGE), 0);
	EXPECT_TRUE(UNTIL(number_done(16) == 8));
	EXPECT_EQ(uffd_info(self->fd, "total:"), 8);
	for (size_t i = 0; i < 16; i++)
		EXPECT_EQ(many[i].done, i >= 4 && i < 12);
	EXPECT_EQ(uffd_wake(self->fd, self->p, 16 * PAGE), 0);
	join_many(16);
}

static atomic_int signals;

static void count_signal(int sig)
{
	signals++;
}

/* A signal is handled while its thread waits; the thread comes back to wait, and is told of again. */
TEST_F(waiters, signals)
{
	struct sigaction act = { .sa_handler = count_signal };
	struct uffd_msg m;

	sigaction(SIGUSR1, &act, NULL);
	signals = 0;
	start_many(self->fd, self->p, 64);
	for (size_t i = 0; i < 64; i++)
		ASSERT_TRUE(uffd_next(self->fd, &m));
	for (size_t i = 0; i < 64; i += 2)
		pthread_kill(many[i].thread, SIGUSR1);
	ASSERT_TRUE(UNTIL(signals == 32));
	ASSERT_TRUE(UNTIL(uffd_info(self->fd, "pending:") == 32));
	EXPECT_EQ(uffd_info(self->fd, "total:"), 64);
	EXPECT_EQ(number_done(64), 0);
	for (size_t i = 0; i < 64; i++)
		EXPECT_EQ(uffd_fill(self->fd, self->p, i, 0), 0);
	join_many(64);
	EXPECT_FALSE(uffd_next(self->fd, &m));
}

/* Signals and answers at once, for a while: nobody is lost, nothing is left. */
TEST_F(waiters, signals_and_answers)
{
	struct sigaction act = { .sa_handler = count_signal };
	size_t order[MANY];

	sigaction(SIGUSR1, &act, NULL);
	start_many(self->fd, self->p, 256);
	shuffle(order, 256);
	for (size_t i = 0; i < 256; i++) {
		pthread_kill(many[order[(i + 1) % 256]].thread, SIGUSR1);
		pthread_kill(many[order[i]].thread, SIGUSR1);
		ASSERT_EQ(uffd_fill(self->fd, self->p, order[i], 0), 0);
		pthread_kill(many[order[(i + 7) % 256]].thread, SIGUSR1);
	}
	join_many(256);
	for (size_t i = 0; i < 256; i++)
		ASSERT_EQ(many[i].saw, i + 1);
	EXPECT_EQ(uffd_info(self->fd, "total:"), 0);
	EXPECT_EQ(uffd_info(self->fd, "pending:"), 0);
}

/* What is closed answers with what was not there. */
TEST_F(waiters, close)
{
	start_many(self->fd, self->p, 64);
	close(self->fd);
	join_many(64);
	for (size_t i = 0; i < 64; i++)
		EXPECT_EQ(many[i].saw, 0);
	self->fd = open("/dev/null", O_RDONLY);
}

TEST_F(waiters, unregister)
{
	start_many(self->fd, self->p, 64);
	EXPECT_EQ(uffd_remove(self->fd, self->p + 16 * PAGE, 16 * PAGE), 0);
	EXPECT_TRUE(UNTIL(number_done(64) == 16));
	usleep(20000);
	EXPECT_EQ(number_done(64), 16);
	EXPECT_EQ(uffd_remove(self->fd, self->p, 64 * PAGE), 0);
	join_many(64);
}

/* Who waits for protection to end is told, too. */
TEST_F(waiters, unregister_protected)
{
	struct uffdio_writeprotect wp = { .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	char *p = mmap(NULL, 8 * PAGE, RW, ANON, -1, 0);

	ASSERT_NE(p, MAP_FAILED);
	memset(p, 1, 8 * PAGE);
	ASSERT_EQ(uffd_add(self->fd, p, 8 * PAGE, WP), 0);
	wp.range = (struct uffdio_range){ (uintptr_t)p, 8 * PAGE };
	ASSERT_EQ(ioctl(self->fd, UFFDIO_WRITEPROTECT, &wp), 0);
	for (size_t i = 0; i < 8; i++)
		touch_start(&many[i], p + i * PAGE, true);
	ASSERT_TRUE(UNTIL(uffd_info(self->fd, "total:") == 8));
	EXPECT_EQ(uffd_remove(self->fd, p, 8 * PAGE), 0);
	EXPECT_TRUE(UNTIL(number_done(8) == 8));
	EXPECT_EQ(uffd_wake(self->fd, p, 8 * PAGE), 0);
	join_many(8);
	munmap(p, 8 * PAGE);
}

/* ---- each kind of memory ---- */

#define HUGE	(2UL << 20)
#define HUGETLB_PAGES	"/proc/sys/vm/nr_hugepages"

FIXTURE(kinds) {
	int fd;
	int memfd;
	char *p;
	char *source;
};

FIXTURE_VARIANT(kinds) {
	size_t unit;	/* bytes of one answer */
	bool shmem;
	bool hugetlb;
	bool huge;	/* where a fault would make a huge page */
};

FIXTURE_VARIANT_ADD(kinds, anon) { .unit = PAGE };
FIXTURE_VARIANT_ADD(kinds, anon_huge) { .unit = PAGE, .huge = true };
FIXTURE_VARIANT_ADD(kinds, shmem) { .unit = PAGE, .shmem = true };
FIXTURE_VARIANT_ADD(kinds, hugetlb) { .unit = HUGE, .hugetlb = true };
FIXTURE_VARIANT_ADD(kinds, hugetlb_shared) { .unit = HUGE, .hugetlb = true, .shmem = true };

FIXTURE_SETUP(kinds)
{
	int flags = (variant->shmem ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED;
	char *room = mmap(NULL, 4 * HUGE, PROT_NONE, ANON, -1, 0);

	self->memfd = -1;
	if (variant->hugetlb)
		ASSERT_TRUE(write_text(HUGETLB_PAGES, "4"));
	if (variant->shmem) {
		self->memfd = memfd_create("kinds", variant->hugetlb ? MFD_HUGETLB : 0);
		ASSERT_EQ(ftruncate(self->memfd, 2 * HUGE), 0);
	}
	self->p = (char *)(((uintptr_t)room + HUGE - 1) & ~(HUGE - 1));
	self->p = mmap(self->p, 2 * HUGE, RW, flags | (variant->shmem ? 0 : MAP_ANONYMOUS) |
		       (variant->hugetlb && !variant->shmem ? MAP_HUGETLB : 0), self->memfd, 0);
	ASSERT_NE(self->p, MAP_FAILED);
	if (!variant->hugetlb)
		madvise(self->p, 2 * HUGE, variant->huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	self->source = aligned_alloc(HUGE, HUGE);
	memset(self->source, 0x55, HUGE);
	self->fd = uffd_with(0, O_CLOEXEC);
	ASSERT_EQ(uffd_add(self->fd, self->p, 2 * HUGE, MISSING | WP), 0);
}

FIXTURE_TEARDOWN(kinds)
{
	close(self->fd);
	close(self->memfd);
	munmap(self->p, 2 * HUGE);
	free(self->source);
	if (variant->hugetlb)
		write_text(HUGETLB_PAGES, "0");
}

static int answer_with(int fd, char *at, char *source, size_t unit, uint64_t mode)
{
	struct uffdio_copy c = { .dst = (uintptr_t)at, .src = (uintptr_t)source, .len = unit, .mode = mode };

	return ioctl(fd, UFFDIO_COPY, &c) ? -errno : 0;
}

/* One that is missing, one that is protected, both answered; the program sees what it was given and what it wrote. */
TEST_F(kinds, missing_and_protected)
{
	char *at = self->p + variant->unit;
	struct uffdio_writeprotect off = { .range = { (uintptr_t)at, variant->unit } };
	struct toucher t;
	struct uffd_msg m;

	touch_start(&t, at + 16, false);
	ASSERT_TRUE(uffd_next(self->fd, &m));
	EXPECT_EQ(m.arg.pagefault.address, (uintptr_t)at);
	EXPECT_EQ(m.arg.pagefault.flags, 0);
	ASSERT_EQ(answer_with(self->fd, at, self->source, variant->unit, UFFDIO_COPY_MODE_WP), 0);
	pthread_join(t.thread, NULL);
	EXPECT_EQ(t.saw, 0x5555555555555555);
	touch_start(&t, at + 16, true);
	ASSERT_TRUE(uffd_next(self->fd, &m));
	EXPECT_EQ(m.arg.pagefault.address, (uintptr_t)at);
	EXPECT_EQ(m.arg.pagefault.flags, UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE);
	ASSERT_EQ(ioctl(self->fd, UFFDIO_WRITEPROTECT, &off), 0);
	pthread_join(t.thread, NULL);
	EXPECT_EQ(t.saw, 99);
}

/* An answer that was there before its fault had begun to wait, many times: nobody sleeps on. */
TEST_F(kinds, answered_meanwhile)
{
	size_t n = 2 * HUGE / variant->unit;
	struct toucher t;

	fcntl(self->fd, F_SETFL, O_NONBLOCK);
	if (n > 200)
		n = 200;
	for (size_t i = 0; i < n; i++) {
		touch_start(&t, self->p + i * variant->unit, false);
		for (volatile int k = i * 97 % 5000; k > 0; k--)
			;
		ASSERT_EQ(answer_with(self->fd, self->p + i * variant->unit, self->source, variant->unit, 0), 0);
		pthread_join(t.thread, NULL);
		ASSERT_EQ(t.saw, 0x5555555555555555);
	}
	EXPECT_EQ(uffd_info(self->fd, "total:"), 0);
}

/* Faults of a process that is killed do not keep it: in user mode, and in the kernel. */
FIXTURE(killed) {
};

FIXTURE_VARIANT(killed) {
	bool kernel;
};

FIXTURE_VARIANT_ADD(killed, in_user_mode) { .kernel = false };
FIXTURE_VARIANT_ADD(killed, in_kernel_mode) { .kernel = true };

FIXTURE_SETUP(killed)
{
}

FIXTURE_TEARDOWN(killed)
{
}

static void wait_for_ever(bool kernel, int ready)
{
	int fd = uffd_with(0, O_CLOEXEC | O_NONBLOCK);
	char *p = uffd_memory(fd, MANY, MISSING);

	start_many(fd, p, 32);
	if (write(ready, "x", 1) != 1)
		_exit(1);
	if (kernel)
		_exit(read(open("/dev/zero", O_RDONLY), p + 40 * PAGE, PAGE) < 0);
	_exit(p[41 * PAGE]);
}

TEST_F(killed, dies_at_once)
{
	int ready[2], status;
	double began;
	char byte;
	pid_t pid;

	ASSERT_EQ(pipe(ready), 0);
	pid = fork();
	if (!pid)
		wait_for_ever(variant->kernel, ready[1]);
	ASSERT_EQ(read(ready[0], &byte, 1), 1);
	usleep(100000);
	ASSERT_EQ(waitpid(pid, &status, WNOHANG), 0);
	began = seconds();
	kill(pid, SIGKILL);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_LT(seconds() - began, 5.0);
	close(ready[0]);
	close(ready[1]);
}

/* ---- readers ---- */

#define READERS	8
#define FAULTS	64

struct reader {
	pthread_t thread;
	int fd;
	char *base;
	_Atomic pid_t tid;
};

static atomic_int answered;

/* Reads and answers, until enough was answered: then each ends with its next fault. */
static void *read_and_answer(void *arg)
{
	struct reader *r = arg;
	struct uffd_msg m;

	r->tid = gettid();
	while (answered < FAULTS && uffd_next(r->fd, &m)) {
		uffd_fill(r->fd, r->base, (m.arg.pagefault.address - (uintptr_t)r->base) / PAGE, 0);
		answered++;
	}
	return NULL;
}

static long switches_of(pid_t tid)
{
	char path[64], text[4096], *at;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", tid);
	if (!read_text(path, text, sizeof(text)))
		return 0;
	at = strstr(text, "\nvoluntary_ctxt_switches:");
	return at ? atol(at + strlen("\nvoluntary_ctxt_switches:")) : 0;
}

static long switches(struct reader *readers)
{
	long all = 0;

	for (size_t i = 0; i < READERS; i++)
		all += switches_of(readers[i].tid);
	return all;
}

static void one_fault(char *at)
{
	struct toucher t;

	touch_start(&t, at, false);
	pthread_join(t.thread, NULL);
}

/* A fault wakes one of the threads that read, not each of them. */
TEST(a_fault_wakes_one_reader)
{
	int fd = uffd_with(0, O_CLOEXEC);
	char *p = uffd_memory(fd, FAULTS + READERS, MISSING);
	struct reader readers[READERS];
	long before, after;

	answered = 0;
	for (size_t i = 0; i < READERS; i++) {
		readers[i] = (struct reader){ .fd = fd, .base = p };
		ASSERT_EQ(pthread_create(&readers[i].thread, NULL, read_and_answer, &readers[i]), 0);
	}
	for (size_t i = 0; i < READERS; i++)
		ASSERT_TRUE(UNTIL(readers[i].tid));
	usleep(200000);
	before = switches(readers);
	for (size_t i = 0; i < FAULTS - 1; i++)
		one_fault(p + i * PAGE);
	usleep(200000);
	after = switches(readers);
	/* Each reads, sleeps again, and is now and then in somebody's way; all of them would be 504. */
	EXPECT_GE(after - before, FAULTS - 1);
	EXPECT_LT(after - before, 3 * FAULTS);
	TH_LOG("%d faults, %ld times that one of %d readers slept", FAULTS - 1, after - before, READERS);
	for (size_t i = 0; i < READERS; i++)
		one_fault(p + (FAULTS + i) * PAGE);
	for (size_t i = 0; i < READERS; i++)
		pthread_join(readers[i].thread, NULL);
	munmap(p, (FAULTS + READERS) * PAGE);
	close(fd);
}

TEST_HARNESS_MAIN

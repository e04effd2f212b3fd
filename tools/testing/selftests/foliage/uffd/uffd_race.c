// SPDX-License-Identifier: GPL-2.0
/*
 * Threads that fault, threads that answer, and meanwhile all that may happen to the memory: it is given
 * up, protected, moved away and back, forked, registered anew; signals; answers in vain. Nobody waits
 * for ever, and who reads a page sees its number or a page of zeroes.
 *	uffd_race [seconds]
 */
#define _GNU_SOURCE
#include <sched.h>

#include "uffd.h"

#include "harness.h"

#define PAGES	256
#define USERS	6
#define ANSWERS	3
#define EVENTS	(UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | \
		 UFFD_FEATURE_EVENT_UNMAP)

static int seconds_to_go = 20;
static int fd;
static char *p;
static char *other;	/* where a part of it is moved to and back */
static atomic_bool stop, users_gone;
static atomic_long faults, wrong, children, given_up, signals;

static uint32_t mix(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

static void on_signal(int sig)
{
	signals++;
}

/* Reads pages and writes to them what they are to hold. */
static void *use(void *arg)
{
	uint32_t x = 77 + (uintptr_t)arg;

	while (!stop) {
		size_t page = mix(&x) % PAGES;
		volatile uint64_t *at = (void *)(p + page * PAGE);
		uint64_t saw = *at;

		if (saw && saw != page + 1)
			wrong++;
		if (mix(&x) % 4 == 0)
			*at = page + 1;
	}
	return arg;
}

static void answer(const struct uffd_msg *m, uint32_t *x)
{
	uint64_t at = m->arg.pagefault.address;
	size_t page = (at - (uintptr_t)p) / PAGE;
	struct uffdio_zeropage z = { .range = { at, PAGE } };

	faults++;
	if (m->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
		struct uffdio_writeprotect off = { .range = { at, PAGE } };

		ioctl(fd, UFFDIO_WRITEPROTECT, &off);
	} else if (mix(x) % 3) {
		uffd_fill(fd, p, page, mix(x) % 8 ? 0 : UFFDIO_COPY_MODE_WP);
	} else {
		ioctl(fd, UFFDIO_ZEROPAGE, &z);
	}
	/*
	 * It was there, or is no more, or something has happened that is to be read first, perhaps by
	 * this thread: whoever waits looks again, and says so again.
	 */
	uffd_wake(fd, (char *)at, PAGE);
}

static void *read_and_answer(void *arg)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	uint32_t x = 5 + (uintptr_t)arg;
	struct uffd_msg m;

	while (!users_gone) {
		if (poll(&poll_fd, 1, 20) < 1 || !uffd_next(fd, &m))
			continue;
		if (m.event == UFFD_EVENT_PAGEFAULT)
			answer(&m, &x);
		else if (m.event == UFFD_EVENT_FORK)
			close(m.arg.fork.ufd);
	}
	return arg;
}

static void one_child(uint32_t *x)
{
	size_t page = mix(x) % PAGES;
	int status, pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);

	if (pid < 0)
		return;
	if (!pid) {
		uint64_t saw = *(volatile uint64_t *)(p + page * PAGE);

		_exit(saw && saw != page + 1);
	}
	waitpid(pid, &status, 0);
	wrong += status != 0;
	children++;
}

static void protect(size_t page, size_t pages, bool on)
{
	struct uffdio_writeprotect wp = { .range = { (uintptr_t)p + page * PAGE, pages * PAGE },
					  .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0 };

	ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
}

static void *disturb(void *arg)
{
	uint32_t x = 900 + (uintptr_t)arg;

	while (!stop) {
		size_t page = mix(&x) % (PAGES - 16), pages = 1 + mix(&x) % 16;

		switch (mix(&x) % 6) {
		case 0:
			one_child(&x);
			break;
		case 1:
			uffd_wake(fd, p + page * PAGE, pages * PAGE);
			break;
		case 2:
			protect(page, pages, mix(&x) % 2);
			break;
		case 3:
			mprotect(p + page * PAGE, pages * PAGE, RW);
			break;
		default:
			madvise(p + page * PAGE, pages * PAGE, MADV_DONTNEED);
			given_up++;
		}
	}
	return arg;
}

/* Another piece of memory of the same userfaultfd: moved, unmapped and registered all the time. */
static void *move(void *arg)
{
	while (!stop) {
		char *q = mmap(NULL, 8 * PAGE, RW, ANON, -1, 0);

		if (uffd_add(fd, q, 8 * PAGE, MISSING))
			wrong++;
		if (mremap(q, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, other) != other)
			wrong++;
		uffd_remove(fd, other + 2 * PAGE, 2 * PAGE);
		if (other[2 * PAGE])
			wrong++;
		munmap(other, 8 * PAGE);
		mmap(other, 8 * PAGE, PROT_NONE, ANON | MAP_FIXED, -1, 0);
	}
	return arg;
}

static long info(const char *name)
{
	return uffd_info(fd, name);
}

TEST(all_at_once)
{
	struct sigaction act = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	pthread_t users[USERS], answers[ANSWERS], others[3];
	double end = seconds() + seconds_to_go;
	uint32_t x = 3;

	sigaction(SIGUSR1, &act, NULL);
	fd = uffd_with(EVENTS, O_CLOEXEC | O_NONBLOCK);
	p = uffd_memory(fd, PAGES, MISSING | WP);
	other = mmap(NULL, 8 * PAGE, PROT_NONE, ANON, -1, 0);
	for (uintptr_t i = 0; i < ANSWERS; i++)
		ASSERT_EQ(pthread_create(&answers[i], NULL, read_and_answer, (void *)i), 0);
	for (uintptr_t i = 0; i < USERS; i++)
		ASSERT_EQ(pthread_create(&users[i], NULL, use, (void *)i), 0);
	ASSERT_EQ(pthread_create(&others[0], NULL, disturb, NULL), 0);
	ASSERT_EQ(pthread_create(&others[1], NULL, disturb, (void *)1), 0);
	ASSERT_EQ(pthread_create(&others[2], NULL, move, NULL), 0);
	while (seconds() < end) {
		pthread_kill(users[mix(&x) % USERS], SIGUSR1);
		usleep(mix(&x) % 3000);
	}
	stop = true;
	for (int i = 0; i < USERS; i++)
		pthread_join(users[i], NULL);
	for (int i = 0; i < 3; i++)
		pthread_join(others[i], NULL);
	users_gone = true;
	for (int i = 0; i < ANSWERS; i++)
		pthread_join(answers[i], NULL);
	TH_LOG("%ld faults, %ld children, %ld times given up, %ld signals", faults, children, given_up, signals);
	EXPECT_EQ(wrong, 0);
	EXPECT_GT(faults, 0);
	EXPECT_GT(children, 0);
	EXPECT_GT(given_up, 0);
	EXPECT_GT(signals, 0);
	EXPECT_EQ(info("total:"), 0);
	EXPECT_EQ(info("pending:"), 0);
	EXPECT_EQ(uffd_remove(fd, p, PAGES * PAGE), 0);
	close(fd);
}

RACE_HARNESS_MAIN(seconds_to_go)

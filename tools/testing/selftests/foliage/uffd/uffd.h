/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests of userfaultfd share: a descriptor, memory, threads that fault, a handler's calls. */
#ifndef FOLIAGE_UFFD_H
#define FOLIAGE_UFFD_H

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "foliage.h"

/* The build machine's headers may be older. */
#ifndef _UFFDIO_MOVE
#define _UFFDIO_MOVE	5
#define UFFDIO_MOVE	_IOWR(UFFDIO, _UFFDIO_MOVE, uint64_t[5])
#endif
#ifndef _UFFDIO_POISON
#define _UFFDIO_POISON	8
#define UFFDIO_POISON	_IOWR(UFFDIO, _UFFDIO_POISON, uint64_t[4])
#endif

#define ANON	(MAP_PRIVATE | MAP_ANONYMOUS)
#define RW	(PROT_READ | PROT_WRITE)
#define MISSING	UFFDIO_REGISTER_MODE_MISSING
#define WP	UFFDIO_REGISTER_MODE_WP

static inline int uffd_open(int flags)
{
	return syscall(SYS_userfaultfd, flags);
}

/* A descriptor past its handshake. */
static inline int uffd_with(uint64_t features, int flags)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = uffd_open(flags);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		fail_setup("userfaultfd: CONFIG_USERFAULTFD and root are needed");
	return fd;
}

static inline int uffd_add(int fd, const void *p, size_t len, uint64_t mode)
{
	struct uffdio_register r = { .range = { (uintptr_t)p, len }, .mode = mode };

	return ioctl(fd, UFFDIO_REGISTER, &r) ? -errno : 0;
}

static inline int uffd_remove(int fd, const void *p, size_t len)
{
	struct uffdio_range r = { (uintptr_t)p, len };

	return ioctl(fd, UFFDIO_UNREGISTER, &r) ? -errno : 0;
}

/* Memory that nobody has touched, registered. */
static inline char *uffd_memory(int fd, size_t pages, uint64_t mode)
{
	char *p = mmap(NULL, pages * PAGE, RW, ANON, -1, 0);

	if (p == MAP_FAILED || uffd_add(fd, p, pages * PAGE, mode))
		fail_setup("memory for userfaultfd");
	return p;
}

/* Fill a page with its number. Returns 0 or the error. */
static inline int uffd_fill(int fd, char *base, size_t page, uint64_t mode)
{
	static __thread uint64_t source[PAGE / 8] __attribute__((aligned(4096)));
	struct uffdio_copy c = { .dst = (uintptr_t)base + page * PAGE, .src = (uintptr_t)source, .len = PAGE,
				 .mode = mode };

	source[0] = page + 1;
	return ioctl(fd, UFFDIO_COPY, &c) ? -errno : 0;
}

/* UFFDIO_COPY of many pages: bytes, or the error. The call says so twice. */
static inline int64_t copy(int fd, char *dst, char *src, size_t pages, uint64_t mode)
{
	struct uffdio_copy c = { .dst = (uintptr_t)dst, .src = (uintptr_t)src, .len = pages * PAGE, .mode = mode };
	int ret = ioctl(fd, UFFDIO_COPY, &c), err = errno;

	if (ret ? err != (c.copy < 0 ? -c.copy : EAGAIN) : c.copy != (int64_t)(pages * PAGE))
		fail_setup("UFFDIO_COPY: %d, errno %d, copy %lld", ret, err, (long long)c.copy);
	return c.copy;
}

static inline int uffd_wake(int fd, const char *p, size_t len)
{
	struct uffdio_range r = { (uintptr_t)p, len };

	return ioctl(fd, UFFDIO_WAKE, &r) ? -errno : 0;
}

/* The next message; false when there is none (O_NONBLOCK) or on an error. */
static inline bool uffd_next(int fd, struct uffd_msg *m)
{
	return read(fd, m, sizeof(*m)) == sizeof(*m);
}

/* One of the numbers in fdinfo. */
static inline long uffd_info(int fd, const char *name)
{
	char path[64], text[4096], *at;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	if (!read_text(path, text, sizeof(text)))
		fail_setup("%s", path);
	at = strstr(text, name);
	return at ? atol(at + strlen(name) + 1) : -1;
}

static inline double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Wait, half a minute at most, until something is so, which is asked no more when it is. */
#define UNTIL(what) ({						\
	double end = seconds() + 30;				\
	bool so;						\
								\
	while (!(so = (what)) && seconds() < end)		\
		usleep(1000);					\
	so;							\
})

/* A thread that reads a page, and what it saw. */
struct toucher {
	pthread_t thread;
	char *at;
	_Atomic pid_t tid;
	_Atomic uint64_t saw;
	atomic_bool done;
	bool write;
};

static inline void *touch(void *arg)
{
	struct toucher *t = arg;

	t->tid = gettid();
	if (t->write)
		*(volatile uint64_t *)t->at = 99;
	t->saw = *(volatile uint64_t *)t->at;
	t->done = true;
	return NULL;
}

static inline void touch_start(struct toucher *t, char *at, bool write)
{
	pthread_attr_t small;

	*t = (struct toucher){ .at = at, .write = write };
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 << 10);
	if (pthread_create(&t->thread, &small, touch, t))
		fail_setup("a thread");
	pthread_attr_destroy(&small);
}

#endif

// SPDX-License-Identifier: GPL-2.0
/*
 * What a handler is told besides faults: fork, mremap, madvise, munmap. Who does it waits until it has
 * been read, and not longer; meanwhile the address space is not filled.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <sys/resource.h>

#include "uffd.h"

#include "harness.h"

#define PAGES	16
#define EVENTS	(UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | \
		 UFFD_FEATURE_EVENT_UNMAP)

/* A thread that changes the address space. */
struct changer {
	pthread_t thread;
	void (*change)(struct changer *c);
	char *p;
	size_t len;
	char *to;
	int pid;
	_Atomic int ret;
	atomic_bool done;
};

static void do_remap(struct changer *c)
{
	c->to = mremap(c->p, c->len, c->len, MREMAP_MAYMOVE | MREMAP_FIXED, c->to);
	c->ret = c->to == MAP_FAILED ? -errno : 0;
}

static void do_dontneed(struct changer *c)
{
	c->ret = madvise(c->p, c->len, MADV_DONTNEED) ? -errno : 0;
}

static void do_unmap(struct changer *c)
{
	c->ret = munmap(c->p, c->len) ? -errno : 0;
}

/* A child that looks at the memory that it got. It shares the descriptors, so that close() is the end of one. */
static void do_fork(struct changer *c)
{
	c->pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (!c->pid)
		_exit(*(volatile uint64_t *)c->p == 1 ? 0 : 3);
	c->ret = c->pid < 0 ? -errno : 0;
}

static void *change(void *arg)
{
	struct changer *c = arg;

	c->change(c);
	c->done = true;
	return NULL;
}

static void change_start(struct changer *c, void (*how)(struct changer *c), char *p, size_t len)
{
	*c = (struct changer){ .change = how, .p = p, .len = len, .to = c->to };
	if (pthread_create(&c->thread, NULL, change, c))
		fail_setup("a thread");
}

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1 && p.revents & POLLIN;
}

FIXTURE(events) {
	int fd;
	char *p;
};

FIXTURE_SETUP(events)
{
	self->fd = uffd_with(EVENTS, O_CLOEXEC | O_NONBLOCK);
	self->p = uffd_memory(self->fd, PAGES, MISSING);
	for (size_t i = 0; i < PAGES; i += 2)
		ASSERT_EQ(uffd_fill(self->fd, self->p, i, 0), 0);
}

FIXTURE_TEARDOWN(events)
{
	close(self->fd);
}

/* It waits; nothing is filled; reading lets it go on. */
static void read_event(struct __test_metadata *_metadata, int fd, struct changer *c, char *free_page,
		       unsigned int event, struct uffd_msg *m)
{
	ASSERT_TRUE(UNTIL(readable(fd)));
	usleep(20000);
	EXPECT_FALSE(c->done);
	EXPECT_EQ(uffd_fill(fd, free_page, 0, 0), -EAGAIN);
	ASSERT_TRUE(uffd_next(fd, m));
	EXPECT_EQ(m->event, event);
	/* Read, so that the next answer is taken, whether or not the other thread ran. */
	EXPECT_NE(uffd_fill(fd, free_page, 0, 0), -EAGAIN);
	EXPECT_TRUE(UNTIL(c->done));
	pthread_join(c->thread, NULL);
	EXPECT_EQ(c->ret, 0);
	EXPECT_FALSE(readable(fd));
}

TEST_F(events, remove)
{
	struct changer c = { };
	struct uffd_msg m;

	change_start(&c, do_dontneed, self->p + 2 * PAGE, 3 * PAGE);
	read_event(_metadata, self->fd, &c, self->p + 9 * PAGE, UFFD_EVENT_REMOVE, &m);
	EXPECT_EQ(m.arg.remove.start, (uintptr_t)self->p + 2 * PAGE);
	EXPECT_EQ(m.arg.remove.end, (uintptr_t)self->p + 5 * PAGE);
	/* Gone, so that it can be filled again. */
	EXPECT_EQ(uffd_fill(self->fd, self->p, 4, 0), 0);
	EXPECT_EQ(uffd_fill(self->fd, self->p, 6, 0), -EEXIST);
}

TEST_F(events, unmap)
{
	struct changer c = { };
	struct uffd_msg m;

	change_start(&c, do_unmap, self->p, 4 * PAGE);
	read_event(_metadata, self->fd, &c, self->p + 9 * PAGE, UFFD_EVENT_UNMAP, &m);
	EXPECT_EQ(m.arg.remove.start, (uintptr_t)self->p);
	EXPECT_EQ(m.arg.remove.end, (uintptr_t)self->p + 4 * PAGE);
	EXPECT_EQ(uffd_fill(self->fd, self->p, 1, 0), -ENOENT);
}

/* One for the whole range, though it is of several VMAs. */
TEST_F(events, unmap_of_many)
{
	struct changer c = { };
	struct uffd_msg m;

	for (size_t i = 1; i < PAGES - 1; i += 4)
		ASSERT_EQ(mprotect(self->p + i * PAGE, PAGE, PROT_READ), 0);
	change_start(&c, do_unmap, self->p, (PAGES - 1) * PAGE);
	read_event(_metadata, self->fd, &c, self->p + (PAGES - 1) * PAGE, UFFD_EVENT_UNMAP, &m);
	EXPECT_EQ(m.arg.remove.end, (uintptr_t)self->p + (PAGES - 1) * PAGE);
}

/* Memory that was moved is still registered, where it is now. */
TEST_F(events, remap)
{
	struct changer c = { .to = mmap(NULL, PAGES * PAGE, PROT_NONE, ANON, -1, 0) };
	struct toucher t;
	struct uffd_msg m;

	change_start(&c, do_remap, self->p, 4 * PAGE);
	ASSERT_TRUE(UNTIL(readable(self->fd)));
	ASSERT_TRUE(uffd_next(self->fd, &m));
	EXPECT_EQ(m.event, UFFD_EVENT_REMAP);
	EXPECT_EQ(m.arg.remap.from, (uintptr_t)self->p);
	EXPECT_EQ(m.arg.remap.to, (uintptr_t)c.to);
	EXPECT_EQ(m.arg.remap.len, 4 * PAGE);
	/* And it was unmapped where it was. */
	ASSERT_TRUE(UNTIL(readable(self->fd)));
	ASSERT_TRUE(uffd_next(self->fd, &m));
	EXPECT_EQ(m.event, UFFD_EVENT_UNMAP);
	pthread_join(c.thread, NULL);
	EXPECT_EQ(c.ret, 0);
	EXPECT_EQ(*(uint64_t *)c.to, 1);
	touch_start(&t, c.to + PAGE, false);
	ASSERT_TRUE(UNTIL(readable(self->fd)));
	ASSERT_TRUE(uffd_next(self->fd, &m));
	EXPECT_EQ(m.arg.pagefault.address, (uintptr_t)c.to + PAGE);
	EXPECT_EQ(uffd_fill(self->fd, c.to, 1, 0), 0);
	pthread_join(t.thread, NULL);
}

/* Without the event it is moved and not registered any more. */
TEST(remap_untold)
{
	int fd = uffd_with(0, O_CLOEXEC | O_NONBLOCK);
	char *p = uffd_memory(fd, 4, MISSING), *to = mmap(NULL, 4 * PAGE, PROT_NONE, ANON, -1, 0);

	ASSERT_EQ(mremap(p, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
	EXPECT_EQ(*(volatile char *)(to + PAGE), 0);
	EXPECT_FALSE(readable(fd));
	close(fd);
}

/* The child has a descriptor of its own, and a fault of its is read there. */
TEST_F(events, fork)
{
	struct changer c = { };
	struct uffd_msg m;
	int status, child;

	/* What is there the child has; of the rest it is told. */
	change_start(&c, do_fork, self->p + PAGE, 0);
	read_event(_metadata, self->fd, &c, self->p + 9 * PAGE, UFFD_EVENT_FORK, &m);
	child = m.arg.fork.ufd;
	EXPECT_TRUE(fcntl(child, F_GETFD) & FD_CLOEXEC);
	ASSERT_TRUE(UNTIL(readable(child)));
	ASSERT_TRUE(uffd_next(child, &m));
	EXPECT_EQ(m.event, UFFD_EVENT_PAGEFAULT);
	EXPECT_EQ(m.arg.pagefault.address, (uintptr_t)self->p + PAGE);
	EXPECT_EQ(uffd_fill(child, self->p + PAGE, 0, 0), 0);
	ASSERT_EQ(waitpid(c.pid, &status, 0), c.pid);
	EXPECT_EQ(status, 0);
	/* The child's memory is gone, its descriptor says so. */
	EXPECT_EQ(uffd_fill(child, self->p + 3 * PAGE, 0, 0), -ESRCH);
	close(child);
}

/* Without a free descriptor the fork stays, and can be read when there is one. */
TEST_F(events, fork_without_descriptors)
{
	struct rlimit was, few;
	struct changer c = { };
	struct uffd_msg m;
	int status, top;

	top = dup(self->fd);
	ASSERT_GE(top, 0);
	ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &was), 0);
	change_start(&c, do_fork, self->p, 0);
	ASSERT_TRUE(UNTIL(readable(self->fd)));
	few = (struct rlimit){ top + 1, was.rlim_max };
	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	for (int i = 0; i < 3; i++) {
		EXPECT_FALSE(uffd_next(self->fd, &m));
		EXPECT_EQ(errno, EMFILE);
	}
	EXPECT_FALSE(c.done);
	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &was), 0);
	ASSERT_TRUE(readable(self->fd));
	ASSERT_TRUE(uffd_next(self->fd, &m));
	EXPECT_EQ(m.event, UFFD_EVENT_FORK);
	pthread_join(c.thread, NULL);
	ASSERT_EQ(waitpid(c.pid, &status, 0), c.pid);
	EXPECT_EQ(status, 0);
	close(m.arg.fork.ufd);
	close(top);
}

/* Nobody reads any more: all go on. */
TEST_F(events, close)
{
	struct changer c[4] = { };
	int status;

	change_start(&c[0], do_fork, self->p, 0);
	ASSERT_TRUE(UNTIL(readable(self->fd)));
	for (int i = 1; i < 4; i++)
		change_start(&c[i], do_dontneed, self->p + (2 + i) * PAGE, PAGE);
	usleep(100000);
	for (int i = 0; i < 4; i++)
		EXPECT_FALSE(c[i].done);
	close(self->fd);
	self->fd = open("/dev/null", O_RDONLY);
	for (int i = 0; i < 4; i++) {
		EXPECT_TRUE(UNTIL(c[i].done));
		pthread_join(c[i].thread, NULL);
		EXPECT_EQ(c[i].ret, 0);
	}
	ASSERT_EQ(waitpid(c[0].pid, &status, 0), c[0].pid);
	EXPECT_EQ(status, 0);
}

#define MANY	64

static size_t number_done(const struct changer *c, size_t n)
{
	size_t done = 0;

	for (size_t i = 0; i < n; i++)
		done += c[i].done;
	return done;
}

/* Many events at once: each one that is read lets one go on. */
TEST_F(events, one_each)
{
	static struct changer c[MANY];
	struct uffd_msg m;

	for (size_t i = 0; i < MANY; i++)
		change_start(&c[i], do_dontneed, self->p + i % PAGES * PAGE, PAGE);
	usleep(300000);
	for (size_t i = 0; i < MANY; i++) {
		ASSERT_TRUE(UNTIL(readable(self->fd)));
		ASSERT_TRUE(uffd_next(self->fd, &m));
		EXPECT_EQ(m.event, UFFD_EVENT_REMOVE);
		if (i % 16)
			continue;
		EXPECT_TRUE(UNTIL(number_done(c, MANY) == i + 1));
		usleep(20000);
		EXPECT_EQ(number_done(c, MANY), i + 1);
	}
	for (size_t i = 0; i < MANY; i++)
		pthread_join(c[i].thread, NULL);
	EXPECT_FALSE(readable(self->fd));
	EXPECT_EQ(uffd_fill(self->fd, self->p, 1, 0), 0);
}

/* Faults do not keep an event waiting: with both there, they are read by turns. */
TEST_F(events, by_turns)
{
	static struct toucher t[PAGES];
	struct changer c[2] = { };
	struct uffd_msg m[8];
	size_t events = 0;

	for (size_t i = 1; i < PAGES; i += 2)
		touch_start(&t[i], self->p + i * PAGE, false);
	ASSERT_TRUE(UNTIL(uffd_info(self->fd, "total:") == PAGES / 2));
	for (int i = 0; i < 2; i++)
		change_start(&c[i], do_dontneed, self->p + 2 * i * PAGE, PAGE);
	usleep(200000);
	ASSERT_EQ(read(self->fd, m, 4 * sizeof(*m)), (ssize_t)(4 * sizeof(*m)));
	for (size_t i = 0; i < 4; i++)
		events += m[i].event == UFFD_EVENT_REMOVE;
	EXPECT_EQ(events, 2);
	for (int i = 0; i < 2; i++)
		pthread_join(c[i].thread, NULL);
	for (size_t i = 1; i < PAGES; i += 2)
		EXPECT_EQ(uffd_fill(self->fd, self->p, i, 0), 0);
	for (size_t i = 1; i < PAGES; i += 2)
		pthread_join(t[i].thread, NULL);
}

/* Who is killed while its event waits takes it along; a fork's child goes too. */
TEST(killed)
{
	int fds[2], status;
	char byte;
	pid_t pid;

	ASSERT_EQ(pipe(fds), 0);
	pid = fork();
	if (!pid) {
		int fd = uffd_with(EVENTS, O_CLOEXEC | O_NONBLOCK);
		char *p = uffd_memory(fd, PAGES, MISSING);
		struct changer c[3] = { };

		for (int i = 0; i < 2; i++)
			change_start(&c[i], do_dontneed, p + i * PAGE, PAGE);
		change_start(&c[2], do_unmap, p + 4 * PAGE, PAGE);
		while (!readable(fd))
			usleep(1000);
		usleep(100000);
		if (write(fds[1], "x", 1) != 1)
			_exit(1);
		fork();
		pause();
	}
	ASSERT_EQ(read(fds[0], &byte, 1), 1);
	usleep(100000);
	kill(pid, SIGKILL);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_TRUE(WIFSIGNALED(status));
	close(fds[0]);
	close(fds[1]);
}

/* A fork of a process that nobody handles for: memory is as in any other. */
TEST(fork_untold)
{
	int fd = uffd_with(0, O_CLOEXEC | O_NONBLOCK), status;
	char *p = uffd_memory(fd, 4, MISSING);
	pid_t pid = fork();

	if (!pid)
		_exit(*(volatile char *)(p + PAGE));
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_FALSE(readable(fd));
	close(fd);
}

TEST_HARNESS_MAIN

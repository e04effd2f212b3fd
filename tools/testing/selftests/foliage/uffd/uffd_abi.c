// SPDX-License-Identifier: GPL-2.0
/*
 * The descriptor and its calls: who may have one, the handshake, each call with each bad argument,
 * what is said of what was done.
 */
#define _GNU_SOURCE
#include <sys/prctl.h>
#include <sys/uio.h>

#include "uffd.h"

#include "harness.h"

#define SYSCTL	"/proc/sys/vm/unprivileged_userfaultfd"
#define NOBODY	65534
#define PAGES	16
#define NOWHERE	((void *)-4096L)

/* ---- making one ---- */

TEST(flags)
{
	static const int good[] = { 0, O_CLOEXEC, O_NONBLOCK, O_CLOEXEC | O_NONBLOCK, UFFD_USER_MODE_ONLY };
	static const int bad[] = { 2, O_RDWR, O_SYNC, O_CLOEXEC | O_APPEND, -1 };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		int fd = uffd_open(good[i]);

		ASSERT_GE(fd, 0);
		EXPECT_EQ(!!(fcntl(fd, F_GETFD) & FD_CLOEXEC), !!(good[i] & O_CLOEXEC));
		EXPECT_EQ(!!(fcntl(fd, F_GETFL) & O_NONBLOCK), !!(good[i] & O_NONBLOCK));
		EXPECT_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
		close(fd);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(uffd_open(bad[i]), -1);
		EXPECT_EQ(errno, EINVAL);
	}
}

/* -> the error of userfaultfd(flags), and of the device, as somebody without privileges. */
static int as_nobody(int flags)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(255);
		_exit(uffd_open(flags) < 0 ? errno : 0);
	}
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}

TEST(privileges)
{
	ASSERT_TRUE(write_text(SYSCTL, "0"));
	EXPECT_EQ(as_nobody(0), EPERM);
	EXPECT_EQ(as_nobody(O_CLOEXEC), EPERM);
	EXPECT_EQ(as_nobody(UFFD_USER_MODE_ONLY), 0);
	/* The privilege is asked for before the flags are looked at. */
	EXPECT_EQ(as_nobody(2), EPERM);
	ASSERT_TRUE(write_text(SYSCTL, "1"));
	EXPECT_EQ(as_nobody(0), 0);
	EXPECT_EQ(as_nobody(2), EINVAL);
	EXPECT_FALSE(write_text(SYSCTL, "2"));
	EXPECT_FALSE(write_text(SYSCTL, "-1"));
	ASSERT_TRUE(write_text(SYSCTL, "0"));
}

TEST(device)
{
	int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC), fd;

	ASSERT_GE(dev, 0);
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	ASSERT_GE(fd, 0);
	EXPECT_TRUE(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	EXPECT_EQ(ioctl(dev, USERFAULTFD_IOC_NEW, 2), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(ioctl(dev, USERFAULTFD_IOC_NEW + 1, 0), -1);
	EXPECT_EQ(errno, EINVAL);
	close(fd);
	close(dev);
}

/* ---- handshake ---- */

static int handshake(int fd, uint64_t version, uint64_t features, struct uffdio_api *api)
{
	*api = (struct uffdio_api){ .api = version, .features = features, .ioctls = 77 };
	return ioctl(fd, UFFDIO_API, api) ? -errno : 0;
}

static bool zeroed(const struct uffdio_api *api)
{
	return !api->api && !api->features && !api->ioctls;
}

TEST(nothing_before_the_handshake)
{
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct uffdio_range range = { 0, PAGE };
	struct uffd_msg m;

	EXPECT_EQ(read(fd, &m, sizeof(m)), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(poll(&p, 1, 0), 1);
	EXPECT_EQ(p.revents, POLLERR);
	EXPECT_EQ(ioctl(fd, UFFDIO_WAKE, &range), -1);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_EQ(ioctl(fd, UFFDIO_UNREGISTER, &range), -1);
	EXPECT_EQ(errno, EINVAL);
	close(fd);
}

TEST(handshake_once)
{
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct uffdio_api api;
	struct uffd_msg m;

	EXPECT_EQ(handshake(fd, UFFD_API + 1, 0, &api), -EINVAL);
	EXPECT_TRUE(zeroed(&api));
	EXPECT_EQ(handshake(fd, UFFD_API, 1ULL << 17, &api), -EINVAL);
	EXPECT_TRUE(zeroed(&api));
	EXPECT_EQ(handshake(fd, UFFD_API, 1ULL << 63, &api), -EINVAL);
	EXPECT_EQ(ioctl(fd, UFFDIO_API, NOWHERE), -1);
	EXPECT_EQ(errno, EFAULT);
	/* None of these was the one. */
	ASSERT_EQ(handshake(fd, UFFD_API, 0, &api), 0);
	EXPECT_EQ(api.features, (1ULL << 17) - 1);
	EXPECT_EQ(api.ioctls, 1ULL << _UFFDIO_REGISTER | 1ULL << _UFFDIO_UNREGISTER | 1ULL << _UFFDIO_API);
	EXPECT_EQ(handshake(fd, UFFD_API, 0, &api), -EINVAL);
	EXPECT_TRUE(zeroed(&api));
	EXPECT_EQ(poll(&p, 1, 0), 0);
	EXPECT_EQ(read(fd, &m, sizeof(m)), -1);
	EXPECT_EQ(errno, EAGAIN);
	EXPECT_EQ(read(fd, &m, sizeof(m) - 1), -1);
	EXPECT_EQ(errno, EINVAL);
	close(fd);
}

/* One after the other, and what fdinfo says of them. */
TEST(each_feature)
{
	char path[64], text[512], want[64];
	struct uffdio_api api;

	for (int bit = 0; bit < 17; bit++) {
		int fd = uffd_open(O_CLOEXEC);
		/* Asynchronous protection is of empty entries, too. */
		unsigned int has = 1U << 31 | 1U << bit | (bit == 15 ? 1U << 13 : 0);

		ASSERT_EQ(handshake(fd, UFFD_API, 1ULL << bit, &api), 0);
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
		ASSERT_TRUE(read_text(path, text, sizeof(text)));
		snprintf(want, sizeof(want), "pending:\t0\ntotal:\t0\nAPI:\taa:%x:", has);
		EXPECT_NE(strstr(text, want), NULL) TH_LOG("feature %d: %s", bit, text);
		close(fd);
	}
}

static int fork_event_of_nobody(void)
{
	struct uffdio_api api;
	int fd = uffd_open(O_CLOEXEC), status;
	pid_t pid = fork();

	if (!pid) {
		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(255);
		_exit(-handshake(fd, UFFD_API, UFFD_FEATURE_EVENT_FORK, &api));
	}
	waitpid(pid, &status, 0);
	close(fd);
	return WEXITSTATUS(status);
}

TEST(fork_event_is_a_privilege)
{
	EXPECT_EQ(fork_event_of_nobody(), EPERM);
}

/* A descriptor whose read() waits cannot be polled: another reader may be quicker. */
TEST(poll_wants_nonblock)
{
	int fd = uffd_with(0, O_CLOEXEC);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	EXPECT_EQ(poll(&p, 1, 0), 1);
	EXPECT_EQ(p.revents, POLLERR);
	close(fd);
}

/* ---- calls on memory ---- */

enum call { COPY, ZEROPAGE, CONTINUE, POISON, MOVE, WRITEPROTECT, CALLS };

static const struct {
	const char *name;
	unsigned long cmd;
	int words;
	bool says;
	uint64_t modes;
} calls[CALLS] = {
	[COPY] = { "COPY", UFFDIO_COPY, 4, true, 3 },
	[ZEROPAGE] = { "ZEROPAGE", UFFDIO_ZEROPAGE, 3, true, 1 },
	[CONTINUE] = { "CONTINUE", UFFDIO_CONTINUE, 3, true, 3 },
	[POISON] = { "POISON", UFFDIO_POISON, 3, true, 1 },
	[MOVE] = { "MOVE", UFFDIO_MOVE, 4, true, 3 },
	[WRITEPROTECT] = { "WRITEPROTECT", UFFDIO_WRITEPROTECT, 3, false, 3 },
};

FIXTURE(calls) {
	int fd;
	char *p;
	char *source;
};

FIXTURE_VARIANT(calls) {
	enum call call;
};

FIXTURE_VARIANT_ADD(calls, copy) { .call = COPY };
FIXTURE_VARIANT_ADD(calls, zeropage) { .call = ZEROPAGE };
FIXTURE_VARIANT_ADD(calls, cont) { .call = CONTINUE };
FIXTURE_VARIANT_ADD(calls, poison) { .call = POISON };
FIXTURE_VARIANT_ADD(calls, move) { .call = MOVE };
FIXTURE_VARIANT_ADD(calls, writeprotect) { .call = WRITEPROTECT };

FIXTURE_SETUP(calls)
{
	self->fd = uffd_with(UFFD_FEATURE_EVENT_REMOVE, O_CLOEXEC | O_NONBLOCK);
	self->p = uffd_memory(self->fd, PAGES, MISSING | WP);
	self->source = mmap(NULL, PAGES * PAGE, RW, ANON, -1, 0);
	ASSERT_NE(self->source, MAP_FAILED);
	memset(self->source, 5, PAGES * PAGE);
}

FIXTURE_TEARDOWN(calls)
{
	close(self->fd);
}

#define UNSAID	0x5555

/* -> 0 or the error; *said is what was written behind the arguments. */
static int ask(int fd, enum call call, uint64_t dst, uint64_t src, uint64_t len, uint64_t mode, int64_t *said)
{
	uint64_t w[5] = { dst, src, len, mode, UNSAID };
	int err;

	if (calls[call].words == 3) {
		uint64_t short_words[5] = { dst, len, mode, UNSAID };

		memcpy(w, short_words, sizeof(w));
	}
	err = ioctl(fd, calls[call].cmd, w) ? -errno : 0;
	*said = w[calls[call].words];
	return err;
}

/* The error is said in the struct, too, where it has room for it. */
#define REFUSES(err, dst, src, len, mode)	do {								\
	int64_t said;												\
														\
	EXPECT_EQ(ask(self->fd, variant->call, dst, src, len, mode, &said), err);				\
	EXPECT_EQ(said, calls[variant->call].says ? err : UNSAID) {						\
		TH_LOG("%s(%lx, %lx, %lx, %lx)", calls[variant->call].name, (long)(dst), (long)(src),		\
		       (long)(len), (long)(mode));								\
	}													\
} while (0)

TEST_F(calls, bad_arguments)
{
	uint64_t p = (uintptr_t)self->p, s = (uintptr_t)self->source;

	REFUSES(-EINVAL, p + 1, s, PAGE, 0);
	REFUSES(-EINVAL, p, s, 0, 0);
	REFUSES(-EINVAL, p, s, PAGE + 1, 0);
	REFUSES(-EINVAL, p, s, PAGE - 1, 0);
	REFUSES(-EINVAL, p, s, -PAGE, 0);
	REFUSES(-EINVAL, 1ULL << 47, s, PAGE, 0);
	REFUSES(-EINVAL, (1ULL << 47) - PAGE, s, 2 * PAGE, 0);
	REFUSES(-EINVAL, -PAGE, s, PAGE, 0);
	for (uint64_t bit = 1; bit; bit <<= 1)
		if (!(bit & calls[variant->call].modes))
			REFUSES(-EINVAL, p, s, PAGE, bit);
	if (variant->call == COPY || variant->call == MOVE) {
		REFUSES(-EINVAL, p, 1ULL << 47, PAGE, 0);
		REFUSES(-EINVAL, p, (1ULL << 47) - PAGE, 2 * PAGE, 0);
	}
	if (variant->call == MOVE)
		REFUSES(-EINVAL, p, s + 1, PAGE, 0);
	if (variant->call == WRITEPROTECT)
		REFUSES(-EINVAL, p, s, PAGE, 3);
}

TEST_F(calls, no_arguments)
{
	EXPECT_EQ(ioctl(self->fd, calls[variant->call].cmd, NOWHERE), -1);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(ioctl(self->fd, calls[variant->call].cmd + 64, NULL), -1);
	EXPECT_EQ(errno, EINVAL);
}

/* Where nothing is mapped, and where something is that is not registered. */
TEST_F(calls, not_registered)
{
	uint64_t s = (uintptr_t)self->source;
	char *hole = mmap(NULL, PAGES * PAGE, RW, ANON, -1, 0), *other = mmap(NULL, PAGES * PAGE, RW, ANON, -1, 0);
	int err = variant->call == MOVE ? -EINVAL : -ENOENT;

	munmap(hole, PAGES * PAGE);
	REFUSES(-ENOENT, (uintptr_t)hole, s, PAGE, 0);
	REFUSES(err, (uintptr_t)other, s, PAGE, 0);
	munmap(other, PAGES * PAGE);
}

static void *give_up_memory(void *arg)
{
	madvise(arg, PAGE, MADV_DONTNEED);
	return NULL;
}

/* While user space has not read what happened, before anything else is looked at. */
TEST_F(calls, while_it_changes)
{
	struct uffd_msg m;
	pthread_t thread;
	uint64_t s = (uintptr_t)self->source;

	ASSERT_EQ(pthread_create(&thread, NULL, give_up_memory, self->p + 2 * PAGE), 0);
	ASSERT_TRUE(UNTIL(poll(&(struct pollfd){ .fd = self->fd, .events = POLLIN }, 1, 0) == 1));
	REFUSES(-EAGAIN, (uintptr_t)self->p, s, PAGE, 0);
	REFUSES(-EAGAIN, (uintptr_t)self->p + 1, s, 7, ~0ULL);
	ASSERT_TRUE(uffd_next(self->fd, &m));
	EXPECT_EQ(m.event, UFFD_EVENT_REMOVE);
	REFUSES(-EINVAL, (uintptr_t)self->p + 1, s, 7, ~0ULL);
	pthread_join(thread, NULL);
}

/* What was done before something was in the way is said, with EAGAIN. */
TEST(partly)
{
	int fd = uffd_with(0, O_CLOEXEC | O_NONBLOCK);
	char *p = uffd_memory(fd, PAGES, MISSING), *source = mmap(NULL, PAGES * PAGE, RW, ANON, -1, 0);
	int64_t said;

	memset(source, 7, PAGES * PAGE);
	ASSERT_EQ(uffd_fill(fd, p, 5, 0), 0);
	EXPECT_EQ(ask(fd, COPY, (uintptr_t)p, (uintptr_t)source, PAGES * PAGE, 0, &said), -EAGAIN);
	EXPECT_EQ(said, 5 * PAGE);
	EXPECT_EQ(ask(fd, COPY, (uintptr_t)p, (uintptr_t)source, PAGES * PAGE, 0, &said), -EEXIST);
	EXPECT_EQ(said, -EEXIST);
	EXPECT_EQ(ask(fd, ZEROPAGE, (uintptr_t)p + 6 * PAGE, 0, 4 * PAGE, 0, &said), 0);
	EXPECT_EQ(said, 4 * PAGE);
	EXPECT_EQ(p[4 * PAGE], 7);
	EXPECT_EQ(p[6 * PAGE], 0);
	close(fd);
}

/* ---- registration ---- */

TEST(register_bad_arguments)
{
	int fd = uffd_with(0, O_CLOEXEC | O_NONBLOCK), other = uffd_with(0, O_CLOEXEC | O_NONBLOCK);
	char *p = mmap(NULL, PAGES * PAGE, RW, ANON, -1, 0), *file;

	EXPECT_EQ(uffd_add(fd, p, PAGE, 0), -EINVAL);
	EXPECT_EQ(uffd_add(fd, p, PAGE, 8), -EINVAL);
	EXPECT_EQ(uffd_add(fd, p + 1, PAGE, MISSING), -EINVAL);
	EXPECT_EQ(uffd_add(fd, p, 0, MISSING), -EINVAL);
	EXPECT_EQ(uffd_add(fd, p, 100, MISSING), -EINVAL);
	EXPECT_EQ(uffd_add(fd, (void *)(1UL << 47), PAGE, MISSING), -EINVAL);
	EXPECT_EQ(ioctl(fd, UFFDIO_REGISTER, NOWHERE), -1);
	EXPECT_EQ(errno, EFAULT);
	/* Minor faults are of files. */
	EXPECT_EQ(uffd_add(fd, p, PAGE, UFFDIO_REGISTER_MODE_MINOR), -EINVAL);
	EXPECT_EQ(uffd_add(fd, p, PAGES * PAGE, MISSING), 0);
	EXPECT_EQ(uffd_add(fd, p, PAGE, MISSING), 0);
	EXPECT_EQ(uffd_add(other, p, PAGE, MISSING), -EBUSY);
	/* Nobody takes away what is another's. */
	EXPECT_EQ(uffd_remove(other, p, PAGE), -EINVAL);
	EXPECT_EQ(uffd_add(other, p, PAGE, MISSING), -EBUSY);
	EXPECT_EQ(uffd_remove(fd, p, PAGES * PAGE), 0);
	EXPECT_EQ(uffd_remove(fd, p, PAGES * PAGE), 0);
	EXPECT_EQ(uffd_add(other, p, PAGE, MISSING), 0);
	munmap(p, PAGES * PAGE);
	EXPECT_EQ(uffd_add(fd, p, PAGE, MISSING), -EINVAL);
	EXPECT_EQ(uffd_remove(fd, p, PAGE), -EINVAL);
	/* A file of a disk, and one that may not be written to. */
	file = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, open("/proc/self/exe", O_RDONLY), 0);
	ASSERT_NE(file, MAP_FAILED);
	EXPECT_EQ(uffd_add(fd, file, PAGE, MISSING), -EINVAL);
	EXPECT_EQ(uffd_remove(fd, file, PAGE), -EINVAL);
	close(fd);
	close(other);
}

/* All of it or nothing: what cannot be at the end leaves the beginning as it was. */
TEST(register_all_or_nothing)
{
	int fd = uffd_with(0, O_CLOEXEC | O_NONBLOCK), other = uffd_with(0, O_CLOEXEC | O_NONBLOCK);
	char *p = mmap(NULL, PAGES * PAGE, RW, ANON, -1, 0);

	ASSERT_EQ(uffd_add(other, p + 8 * PAGE, PAGE, MISSING), 0);
	EXPECT_EQ(uffd_add(fd, p, PAGES * PAGE, MISSING), -EBUSY);
	EXPECT_EQ(uffd_fill(fd, p, 0, 0), -ENOENT);
	EXPECT_EQ(uffd_add(fd, p, 8 * PAGE, MISSING), 0);
	EXPECT_EQ(uffd_remove(fd, p, PAGES * PAGE), -EINVAL);
	EXPECT_EQ(uffd_fill(fd, p, 0, 0), 0);
	close(fd);
	close(other);
}

static uint64_t ioctls_of(int fd, void *p, size_t len, uint64_t mode)
{
	struct uffdio_register r = { .range = { (uintptr_t)p, len }, .mode = mode };

	return ioctl(fd, UFFDIO_REGISTER, &r) ? 0 : r.ioctls;
}

/* What works on a range is said when it is registered. */
TEST(register_says_what_works)
{
	const uint64_t all = 1 << _UFFDIO_WAKE | 1 << _UFFDIO_COPY | 1 << _UFFDIO_ZEROPAGE | 1 << _UFFDIO_POISON |
			     1 << _UFFDIO_MOVE, wp = 1 << _UFFDIO_WRITEPROTECT, minor = 1 << _UFFDIO_CONTINUE;
	int fd = uffd_with(0, O_CLOEXEC | O_NONBLOCK), memfd = memfd_create("shmem", MFD_CLOEXEC);
	char *p = mmap(NULL, PAGES * PAGE, RW, ANON, -1, 0), *shmem;

	ASSERT_EQ(ftruncate(memfd, PAGES * PAGE), 0);
	shmem = mmap(NULL, PAGES * PAGE, RW, MAP_SHARED, memfd, 0);
	EXPECT_EQ(ioctls_of(fd, p, PAGE, MISSING), all);
	EXPECT_EQ(ioctls_of(fd, p, PAGE, WP), all | wp);
	EXPECT_EQ(ioctls_of(fd, p, PAGE, MISSING | WP), all | wp);
	EXPECT_EQ(ioctls_of(fd, shmem, PAGE, MISSING | UFFDIO_REGISTER_MODE_MINOR), all | minor);
	EXPECT_EQ(ioctls_of(fd, shmem, PAGE, WP | UFFDIO_REGISTER_MODE_MINOR), all | wp | minor);
	close(fd);
	close(memfd);
}

/* hugetlb: whole pages only, and no ZEROPAGE or MOVE. */
TEST(register_hugetlb)
{
	int fd = uffd_with(0, O_CLOEXEC | O_NONBLOCK);
	size_t huge = 2 << 20;
	char *p;

	ASSERT_TRUE(write_text("/proc/sys/vm/nr_hugepages", "2"));
	p = mmap(NULL, 2 * huge, RW, ANON | MAP_HUGETLB, -1, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(uffd_add(fd, p + PAGE, huge - PAGE, MISSING), -EINVAL);
	EXPECT_EQ(uffd_add(fd, p, huge + PAGE, MISSING), -EINVAL);
	EXPECT_EQ(uffd_add(fd, p + huge - PAGE, huge + PAGE, MISSING), -EINVAL);
	EXPECT_EQ(ioctls_of(fd, p, huge, MISSING), 1 << _UFFDIO_WAKE | 1 << _UFFDIO_COPY | 1 << _UFFDIO_POISON);
	EXPECT_EQ(uffd_remove(fd, p + PAGE, huge), -EINVAL);
	EXPECT_EQ(uffd_remove(fd, p, huge - PAGE), -EINVAL);
	EXPECT_EQ(uffd_remove(fd, p, huge), 0);
	munmap(p, 2 * huge);
	write_text("/proc/sys/vm/nr_hugepages", "0");
	close(fd);
}

/* ---- faults ---- */

/* The features that change what is told, and which faults there are. */
TEST(exact_address_and_thread)
{
	int fd = uffd_with(UFFD_FEATURE_EXACT_ADDRESS | UFFD_FEATURE_THREAD_ID, O_CLOEXEC);
	char *p = uffd_memory(fd, PAGES, MISSING);
	struct toucher t;
	struct uffd_msg m;

	touch_start(&t, p + PAGE + 24, true);
	ASSERT_TRUE(uffd_next(fd, &m));
	EXPECT_EQ(m.arg.pagefault.address, (uintptr_t)p + PAGE + 24);
	EXPECT_EQ(m.arg.pagefault.feat.ptid, (uint32_t)t.tid);
	EXPECT_EQ(m.arg.pagefault.flags, UFFD_PAGEFAULT_FLAG_WRITE);
	EXPECT_EQ(uffd_fill(fd, p, 1, 0), 0);
	pthread_join(t.thread, NULL);
	close(fd);
}

TEST(plain_message)
{
	int fd = uffd_with(0, O_CLOEXEC);
	char *p = uffd_memory(fd, PAGES, MISSING | WP);
	struct toucher t;
	struct uffd_msg m, want = { .event = UFFD_EVENT_PAGEFAULT };

	touch_start(&t, p + PAGE + 24, false);
	memset(&m, 0xff, sizeof(m));
	ASSERT_TRUE(uffd_next(fd, &m));
	/* Every byte of it. */
	want.arg.pagefault.address = (uintptr_t)p + PAGE;
	EXPECT_EQ(memcmp(&m, &want, sizeof(m)), 0);
	EXPECT_EQ(uffd_fill(fd, p, 1, UFFDIO_COPY_MODE_WP), 0);
	pthread_join(t.thread, NULL);
	touch_start(&t, p + PAGE, true);
	ASSERT_TRUE(uffd_next(fd, &m));
	EXPECT_EQ(m.arg.pagefault.flags, UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP);
	EXPECT_EQ(uffd_remove(fd, p, PAGES * PAGE), 0);
	pthread_join(t.thread, NULL);
	EXPECT_EQ(t.saw, 99);
	close(fd);
}

#define DIES_OF	128	/* and the number of the signal, which is that of an error, too */

/* -> what a child dies of as it reads a page, or the error of a system call that does. */
static int child_meets(uint64_t features, int flags, bool in_kernel)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		int fd = uffd_with(features, flags | O_CLOEXEC);
		char *p = uffd_memory(fd, 2, MISSING);

		alarm(5);
		if (in_kernel)
			_exit(read(open("/dev/zero", O_RDONLY), p, PAGE) < 0 ? errno : 0);
		_exit(*(volatile char *)p);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? DIES_OF + WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(faults_that_do_not_wait)
{
	EXPECT_EQ(child_meets(UFFD_FEATURE_SIGBUS, 0, false), DIES_OF + SIGBUS);
	EXPECT_EQ(child_meets(UFFD_FEATURE_SIGBUS, 0, true), EFAULT);
	EXPECT_EQ(child_meets(0, UFFD_USER_MODE_ONLY, true), EFAULT);
	EXPECT_EQ(child_meets(0, UFFD_USER_MODE_ONLY, false), DIES_OF + SIGALRM);
	EXPECT_EQ(child_meets(0, 0, true), DIES_OF + SIGALRM);
}

/* A message at a time for who does not wait: io_uring asks in this way. */
TEST(read_without_waiting)
{
	int fd = uffd_with(0, O_CLOEXEC);
	char *p = uffd_memory(fd, PAGES, MISSING);
	struct uffd_msg m[3];
	struct iovec iov = { m, sizeof(m) };
	struct toucher t[2];

	EXPECT_EQ(preadv2(fd, &iov, 1, -1, RWF_NOWAIT), -1);
	EXPECT_EQ(errno, EAGAIN);
	for (int i = 0; i < 2; i++)
		touch_start(&t[i], p + i * PAGE, false);
	ASSERT_TRUE(UNTIL(uffd_info(fd, "pending:") == 2));
	/* Two are there, and it does not wait for a third. */
	EXPECT_EQ(preadv2(fd, &iov, 1, -1, RWF_NOWAIT), 2 * (ssize_t)sizeof(*m));
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(uffd_fill(fd, p, i, 0), 0);
		pthread_join(t[i].thread, NULL);
	}
	close(fd);
}

/* read() to memory that is not there: the message is gone, as ever, and the fault is told again by none. */
TEST(read_to_nowhere)
{
	int fd = uffd_with(0, O_CLOEXEC | O_NONBLOCK);
	char *p = uffd_memory(fd, PAGES, MISSING), *closed = mmap(NULL, PAGE, PROT_NONE, ANON, -1, 0);
	struct toucher t;

	touch_start(&t, p, false);
	ASSERT_TRUE(UNTIL(uffd_info(fd, "pending:") == 1));
	EXPECT_EQ(read(fd, closed, 32), -1);
	EXPECT_EQ(errno, EFAULT);
	EXPECT_EQ(uffd_info(fd, "pending:"), 0);
	EXPECT_EQ(uffd_fill(fd, p, 0, 0), 0);
	pthread_join(t.thread, NULL);
	close(fd);
}

/* WAKE of a bad range. */
TEST(wake_bad_arguments)
{
	int fd = uffd_with(0, O_CLOEXEC | O_NONBLOCK);
	char *p = uffd_memory(fd, PAGES, MISSING);

	EXPECT_EQ(uffd_wake(fd, p + 1, PAGE), -EINVAL);
	EXPECT_EQ(uffd_wake(fd, p, 0), -EINVAL);
	EXPECT_EQ(uffd_wake(fd, p, PAGE / 2), -EINVAL);
	EXPECT_EQ(uffd_wake(fd, p, PAGE), 0);
	EXPECT_EQ(ioctl(fd, UFFDIO_WAKE, NOWHERE), -1);
	EXPECT_EQ(errno, EFAULT);
	/* Any range that could be memory. */
	EXPECT_EQ(uffd_wake(fd, (char *)(PAGE * 1000), PAGE), 0);
	close(fd);
}

TEST_HARNESS_MAIN

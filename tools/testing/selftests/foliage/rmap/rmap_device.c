// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that a device has in memory of its own, with an entry that names the page there; and, in a
 * race, for its exclusive use too.
 *
 * Whatever happens to the mapping meanwhile, data is kept, and a processor that touches it gets it.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "rmap_device.h"

#define PM_SOFT_DIRTY	(1ULL << 55)
#define PM_UFFD_WP	(1ULL << 57)

#define SECONDS	5

static size_t in_device(int fd, const char *p)
{
	unsigned char map[PAGES];
	size_t n = 0;

	if (device(fd, HMM_DMIRROR_SNAPSHOT, p, PAGES, map))
		fail_setup("HMM_DMIRROR_SNAPSHOT");
	for (size_t i = 0; i < PAGES; i++)
		n += (map[i] & ~HMM_DMIRROR_PROT_WRITE & ~HMM_DMIRROR_PROT_READ) ==
		     HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL;
	return n;
}

/* How many pages are there then. Pages in per-CPU batches are refused at first. */
static size_t to_device(int fd, char *p, char *buf)
{
	size_t n = 0;

	for (int i = 0; i < 10 && n < PAGES; i++) {
		settle_lru();
		device(fd, HMM_DMIRROR_MIGRATE_TO_DEV, p, PAGES, buf);
		n = in_device(fd, p);
	}
	return n;
}

static void to_system(int fd, char *p, char *buf)
{
	device(fd, HMM_DMIRROR_MIGRATE_TO_SYS, p, PAGES, buf);
}

TEST_F(device, private)
{
	ASSERT_EQ(to_device(self->fd, self->p, self->buf), PAGES);
	EXPECT_EQ(count(self->p, PM_PRESENT), 0);
	EXPECT_EQ(count(self->p, PM_SWAP), PAGES);
	EXPECT_EQ(wrong(self->p), 0);		/* by faults */
	EXPECT_EQ(in_device(self->fd, self->p), 0);
	EXPECT_EQ(count(self->p, PM_PRESENT), PAGES);
	ASSERT_EQ(to_device(self->fd, self->p, self->buf), PAGES);
	to_system(self->fd, self->p, self->buf);
	EXPECT_EQ(in_device(self->fd, self->p), 0);
	EXPECT_EQ(count(self->p, PM_PRESENT), PAGES);
	EXPECT_EQ(wrong(self->p), 0);
}

/* What the device writes there is what the processor reads here. */
TEST_F(device, private_written)
{
	ASSERT_EQ(to_device(self->fd, self->p, self->buf), PAGES);
	for (size_t i = 0; i < PAGES; i++)
		*(uint64_t *)(self->buf + i * PAGE) = value(i) + 1;
	ASSERT_EQ(device(self->fd, HMM_DMIRROR_WRITE, self->p, PAGES, self->buf), 0);
	EXPECT_EQ(in_device(self->fd, self->p), PAGES);
	for (size_t i = 0; i < PAGES; i++)
		EXPECT_EQ(*(volatile uint64_t *)(self->p + i * PAGE), value(i) + 1);
}

/* The driver takes its memory back when its file is closed: found by the reverse map alone. */
TEST_F(device, private_evicted)
{
	ASSERT_EQ(to_device(self->fd, self->p, self->buf), PAGES);
	ASSERT_EQ(close(self->fd), 0);
	self->fd = -1;
	EXPECT_EQ(count(self->p, PM_PRESENT), PAGES);
	EXPECT_EQ(wrong(self->p), 0);
}

TEST_F(device, private_fork)
{
	int status;
	pid_t pid;

	for (int round = 0; round < 3; round++) {
		ASSERT_EQ(to_device(self->fd, self->p, self->buf), PAGES);
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid) {
			if (count(self->p, PM_PRESENT))
				_exit(1);
			if (round == 1 && wrong(self->p))
				_exit(1);
			if (round == 2)
				memset(self->p, 1, SPAN);
			_exit(0);
		}
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_EQ(status, 0);
		/* The child's reads brought them back here too. */
		if (round == 1)
			EXPECT_EQ(count(self->p, PM_PRESENT), PAGES);
		EXPECT_EQ(wrong(self->p), 0);
	}
}

TEST_F(device, private_unmap)
{
	size_t quarter = SPAN / 4;
	char *to;

	ASSERT_EQ(to_device(self->fd, self->p, self->buf), PAGES);
	to = mremap(self->p + quarter, quarter, quarter, MREMAP_MAYMOVE | MREMAP_FIXED, self->buf);
	ASSERT_EQ(to, self->buf);
	ASSERT_EQ(mprotect(self->p, quarter, PROT_READ), 0);
	ASSERT_EQ(munmap(self->p + 2 * quarter, quarter), 0);
	ASSERT_EQ(madvise(self->p + 3 * quarter, quarter, MADV_DONTNEED), 0);
	EXPECT_TRUE(write_dies(self->p));
	for (size_t i = 0; i < PAGES / 4; i++) {
		EXPECT_EQ(*(volatile uint64_t *)(self->p + i * PAGE), value(i));
		EXPECT_EQ(*(volatile uint64_t *)(to + i * PAGE), value(PAGES / 4 + i));
		EXPECT_EQ(*(volatile uint64_t *)(self->p + 3 * quarter + i * PAGE), 0);
	}
}

/* A figure of /proc/self/status, in pages. */
static long status_of(const char *name)
{
	static char text[8192];
	char *p;

	if (!read_text("/proc/self/status", text, sizeof(text)))
		fail_setup("status");
	p = strstr(text, name);
	return p ? atol(p + strlen(name)) / 4 : -1;
}

#define MANY	4096UL		/* pages, of which counts that are held back are a small part */
#define ABOUT	512

static char *many(int fd, bool in_device)
{
	char *p = mmap(NULL, MANY * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fail_setup("mmap");
	madvise(p, MANY * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < MANY; i++)
		p[i * PAGE] = 1 + i % 100;
	settle_lru();
	for (size_t i = 0; in_device && i < MANY; i += PAGES) {
		static char buf[SPAN];

		if (to_device(fd, p + i * PAGE, buf) != PAGES)
			fail_setup("memory of the device");
	}
	return p;
}

/*
 * The most that a process ever had counts memory that a device has now, whichever way it goes: it
 * is dropped, unmapped, or comes back and is paged out.
 */
TEST_F(device, private_counts_as_peak)
{
	enum { DROPPED, UNMAPPED, BACK_AND_OUT, EXCLUSIVE_AND_OUT, WAYS };

	for (int way = 0; way < WAYS; way++) {
		long rss, peak;
		char *p;

		ASSERT_TRUE(write_text("/proc/self/clear_refs", "5"));
		rss = status_of("VmRSS:");
		ASSERT_LE(status_of("VmHWM:"), rss + ABOUT);
		p = many(self->fd, way != EXCLUSIVE_AND_OUT);
		peak = rss + MANY;
		EXPECT_GE(status_of("VmRSS:"), peak - ABOUT);
		if (way == DROPPED) {
			ASSERT_EQ(madvise(p, MANY * PAGE, MADV_DONTNEED), 0);
		} else if (way == UNMAPPED) {
			ASSERT_EQ(munmap(p, MANY * PAGE), 0);
		} else {
			for (size_t i = 0; i < MANY && way == EXCLUSIVE_AND_OUT; i += PAGES)
				make_exclusive(self->fd, p + i * PAGE, PAGES, self->buf);
			for (size_t i = 0; i < MANY; i++)
				EXPECT_EQ(*(volatile char *)(p + i * PAGE), (char)(1 + i % 100));
			settle_lru();
			ASSERT_EQ(madvise(p, MANY * PAGE, MADV_PAGEOUT), 0);
		}
		EXPECT_LE(status_of("VmRSS:"), rss + ABOUT);
		EXPECT_GE(status_of("VmHWM:"), peak - ABOUT);
		EXPECT_LE(status_of("VmHWM:"), peak + ABOUT);
		if (way != UNMAPPED)
			munmap(p, MANY * PAGE);
	}
}

/* The device's frames, as the entries name them; sorted. */
static int by_number(const void *a, const void *b)
{
	uint64_t x = *(uint64_t *)a, y = *(uint64_t *)b;

	return (x > y) - (x < y);
}

static void device_frames(const char *p, uint64_t *frames)
{
	look(p, frames);
	qsort(frames, PAGES, sizeof(*frames), by_number);
}

/*
 * Memory may be locked and go to the device nevertheless. Its pages there are the driver's: whoever
 * drops the last reference to one, be it a batch of munlocks, must give it back to the driver, who
 * then uses the same ones again.
 */
TEST_F(device, private_locked)
{
	static uint64_t first[PAGES], now[PAGES];

	for (int round = 0; round < 4; round++) {
		ASSERT_EQ(mlock(self->p, SPAN), 0);
		ASSERT_EQ(to_device(self->fd, self->p, self->buf), PAGES);
		device_frames(self->p, round ? now : first);
		if (round)
			EXPECT_EQ(memcmp(first, now, sizeof(first)), 0);
		if (round % 2) {
			EXPECT_EQ(munlock(self->p, SPAN), 0);
			EXPECT_EQ(wrong(self->p), 0);
			continue;
		}
		ASSERT_EQ(munmap(self->p, SPAN), 0);
		settle_lru();
		ASSERT_EQ(mmap(self->p, SPAN, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), self->p);
		madvise(self->p, SPAN, MADV_NOHUGEPAGE);
		fill(self->p);
	}
	EXPECT_EQ(wrong(self->p), 0);
}

static int protect_thirds(char *p)
{
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg = { .range = { (uintptr_t)p, SPAN },
				       .mode = UFFDIO_REGISTER_MODE_WP };

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		fail_setup("userfaultfd");
	for (size_t i = 0; i < PAGES; i += 3) {
		struct uffdio_writeprotect wp = { .range = { (uintptr_t)p + i * PAGE, PAGE },
						  .mode = UFFDIO_WRITEPROTECT_MODE_WP };

		if (ioctl(fd, UFFDIO_WRITEPROTECT, &wp))
			fail_setup("UFFDIO_WRITEPROTECT");
	}
	return fd;
}

/* Pages of which the bit is not what belongs to every third. */
static size_t differ(const char *p, uint64_t bit)
{
	uint64_t map[PAGES];
	size_t n = 0;

	look(p, map);
	for (size_t i = 0; i < PAGES; i++)
		n += !!(map[i] & bit) != (i % 3 == 0);
	return n;
}

/*
 * The entries of a child are changed through the reverse map when its parent's memory goes to the
 * device and comes back. They keep what they said, present or not.
 */
static int child_with_bits(char *p, int in, int out, uint64_t bit)
{
	int uffd = bit == PM_UFFD_WP ? protect_thirds(p) : -1, bad = 0;
	char c = 0;

	for (int step = 0; step < 3; step++) {
		bad |= differ(p, bit) != 0;
		bad |= count(p, PM_PRESENT) != (step == 1 ? 0 : PAGES);
		if (write(out, &c, 1) != 1 || read(in, &c, 1) != 1)
			return 2;
	}
	bad |= wrong(p) != 0;
	bad |= differ(p, bit) != 0;
	close(uffd);
	return bad;
}

static void share_bits(struct __test_metadata *_metadata, int fd, char *p, char *buf, uint64_t bit)
{
	int to[2], from[2], status;
	char c;
	pid_t pid;

	ASSERT_EQ(pipe(to), 0);
	ASSERT_EQ(pipe(from), 0);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(child_with_bits(p, to[0], from[1], bit));
	ASSERT_EQ(read(from[0], &c, 1), 1);
	EXPECT_EQ(to_device(fd, p, buf), PAGES);
	ASSERT_EQ(write(to[1], &c, 1), 1);
	ASSERT_EQ(read(from[0], &c, 1), 1);
	to_system(fd, p, buf);
	EXPECT_EQ(in_device(fd, p), 0);
	ASSERT_EQ(write(to[1], &c, 1), 1);
	ASSERT_EQ(read(from[0], &c, 1), 1);
	ASSERT_EQ(write(to[1], &c, 1), 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(wrong(p), 0);
}

TEST_F(device, private_keeps_soft_dirty)
{
	ASSERT_TRUE(write_text("/proc/self/clear_refs", "4"));
	for (size_t i = 0; i < PAGES; i += 3)
		*(volatile uint64_t *)(self->p + i * PAGE) += 0;
	EXPECT_EQ(differ(self->p, PM_SOFT_DIRTY), 0);
	share_bits(_metadata, self->fd, self->p, self->buf, PM_SOFT_DIRTY);
	EXPECT_EQ(differ(self->p, PM_SOFT_DIRTY), 0);
}

TEST_F(device, private_keeps_uffd_wp)
{
	share_bits(_metadata, self->fd, self->p, self->buf, PM_UFFD_WP);
}

/* --- the race --------------------------------------------------------------------------- */

/*
 * One thread counts pages up and knows what they must hold. The others let the device have them,
 * for its use and in its memory, move them between nodes, page them out, change permissions, fork.
 */
struct race {
	int fd;
	char *p;
	uint64_t want[PAGES];
	atomic_bool stop;
	atomic_long exclusive, device, moved, wrong;
};

static void *race_device(void *arg)
{
	static char buf[64 * PAGE];
	struct race *r = arg;
	unsigned int seed = 1;

	while (!r->stop) {
		size_t i = rand_r(&seed) % (PAGES - 64), n = 1 + rand_r(&seed) % 64;

		if (rand_r(&seed) % 2) {
			if (!device(r->fd, HMM_DMIRROR_EXCLUSIVE, r->p + i * PAGE, n, buf))
				r->exclusive++;
		} else {
			if (!device(r->fd, HMM_DMIRROR_MIGRATE_TO_DEV, r->p + i * PAGE, n, buf))
				r->device++;
		}
	}
	return NULL;
}

static void *race_mover(void *arg)
{
	struct race *r = arg;

	for (int node = 0; !r->stop; node = !node) {
		r->moved += move_to(r->p, node);
		madvise(r->p, SPAN, MADV_PAGEOUT);
		usleep(1000);
	}
	return NULL;
}

static void *race_changer(void *arg)
{
	struct race *r = arg;

	for (unsigned int i = 0; !r->stop; i++) {
		pid_t pid = fork();

		if (!pid) {
			r->p[i % PAGES * PAGE + 8] = 1;
			_exit(0);
		}
		usleep(2000);
		if (pid > 0)
			waitpid(pid, NULL, 0);
	}
	return NULL;
}

static void *race_writer(void *arg)
{
	struct race *r = arg;
	unsigned int seed = 2;

	while (!r->stop) {
		size_t i = rand_r(&seed) % PAGES;
		volatile uint64_t *at = (uint64_t *)(r->p + i * PAGE);

		r->wrong += *at != r->want[i];
		*at = ++r->want[i];
	}
	return NULL;
}

TEST_F(device, race)
{
	static void *(*const work[])(void *) = {
		race_device, race_mover, race_changer, race_writer,
	};
	static struct race r;
	pthread_t t[ARRAY_SIZE(work)];
	size_t bad = 0, counted = 0;

	r = (struct race){ .fd = self->fd, .p = self->p };
	for (size_t i = 0; i < PAGES; i++)
		r.want[i] = value(i);
	for (size_t i = 0; i < ARRAY_SIZE(work); i++)
		ASSERT_EQ(pthread_create(&t[i], NULL, work[i], &r), 0);
	sleep(SECONDS);
	for (int i = 0; i < 120 && !(r.exclusive && r.device && r.moved); i++)
		sleep(1);
	r.stop = true;
	for (size_t i = 0; i < ARRAY_SIZE(work); i++)
		pthread_join(t[i], NULL);
	for (size_t i = 0; i < PAGES; i++) {
		bad += *(volatile uint64_t *)(self->p + i * PAGE) != r.want[i];
		counted += r.want[i] - value(i);
	}
	TH_LOG("%zu writes; made exclusive %ld times, to the device %ld times, %ld pages moved",
	       counted, (long)r.exclusive, (long)r.device, (long)r.moved);
	EXPECT_EQ(bad, 0);
	EXPECT_EQ(r.wrong, 0);
	EXPECT_GT(r.exclusive, 0);
	EXPECT_GT(r.device, 0);
	EXPECT_GT(r.moved, 0);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * UFFDIO_WRITEPROTECT of every kind of memory: what is marked, who is told of a write, and what becomes
 * writable at once when the protection ends. Where a page is shared it must not.
 */
#define _GNU_SOURCE
#include "uffd.h"

#include <sched.h>

#include "harness.h"
#include "../thp/thp.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif
#define N		64	/* pages of a test */
#define PM_UFFD_WP	(1ULL << 57)
#define PM_SWAP		(1ULL << 62)
#define PM_PRESENT	(1ULL << 63)

FIXTURE(protect) { int fd; char *p; };

FIXTURE_SETUP(protect)
{
	self->fd = uffd_with(UFFD_FEATURE_WP_HUGETLBFS_SHMEM, O_CLOEXEC | O_NONBLOCK);
	self->p = mmap(NULL, N * PAGE, RW, ANON, -1, 0);
	ASSERT_NE(self->p, MAP_FAILED);
	madvise(self->p, N * PAGE, MADV_NOHUGEPAGE);
}

FIXTURE_TEARDOWN(protect)
{
	close(self->fd);
	munmap(self->p, N * PAGE);
}

static int protect(int fd, char *p, size_t page, size_t pages, bool on)
{
	struct uffdio_writeprotect wp = { .range = { (uintptr_t)p + page * PAGE, pages * PAGE },
					  .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0 };

	return ioctl(fd, UFFDIO_WRITEPROTECT, &wp) ? -errno : 0;
}

static uint64_t entry(const char *p, size_t page)
{
	static int pagemap = -1;
	uint64_t word;

	if (pagemap < 0)
		pagemap = open("/proc/self/pagemap", O_RDONLY);
	if (pread(pagemap, &word, 8, ((uintptr_t)p / PAGE + page) * 8) != 8)
		fail_setup("/proc/self/pagemap");
	return word;
}

/* How many of some pages have all of these bits? */
static size_t with_bits(const char *p, size_t page, size_t pages, uint64_t bits)
{
	size_t n = 0;

	for (size_t i = page; i < page + pages; i++)
		n += (entry(p, i) & bits) == bits;
	return n;
}

static uint64_t *word(char *p, size_t page)
{
	return (uint64_t *)(p + page * PAGE);
}

static void write_all(char *p, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		*word(p, i) = i + 1;
}

static size_t wrong(char *p, size_t pages)
{
	size_t n = 0;

	for (size_t i = 0; i < pages; i++)
		n += *(volatile uint64_t *)word(p, i) != i + 1;
	return n;
}

static void register_all(struct __test_metadata *_metadata, int fd, char *p, size_t pages)
{
	ASSERT_EQ(uffd_add(fd, p, pages * PAGE, WP), 0);
}

/* Is a write to the page told of, and goes on when the page is not protected any more? */
static bool is_told(int fd, char *p, size_t page)
{
	struct uffd_msg m = {};
	struct toucher t;
	bool told;

	touch_start(&t, p + page * PAGE, true);
	told = UNTIL(uffd_next(fd, &m) || t.done) && m.event == UFFD_EVENT_PAGEFAULT &&
	       m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP &&
	       m.arg.pagefault.address == (uintptr_t)p + page * PAGE && !t.done;
	protect(fd, p, page, 1, false);
	pthread_join(t.thread, NULL);
	return told && t.saw == 99;
}

/* Faults of writing to some pages. */
static long faults_of_writes(char *p, size_t page, size_t pages)
{
	long before = own_faults();

	for (size_t i = page; i < page + pages; i++)
		*(volatile uint64_t *)word(p, i) = i + 1;
	return own_faults() - before;
}

TEST_F(protect, own_pages)
{
	write_all(self->p, N);
	register_all(_metadata, self->fd, self->p, N);
	ASSERT_EQ(protect(self->fd, self->p, 0, N, true), 0);
	EXPECT_EQ(with_bits(self->p, 0, N, PM_PRESENT | PM_UFFD_WP), N);
	EXPECT_TRUE(is_told(self->fd, self->p, 5));
	EXPECT_EQ(with_bits(self->p, 0, N, PM_UFFD_WP), N - 1);
	ASSERT_EQ(protect(self->fd, self->p, 0, N, false), 0);
	EXPECT_EQ(with_bits(self->p, 0, N, PM_UFFD_WP), 0);
	*word(self->p, 5) = 6;
	EXPECT_EQ(wrong(self->p, N), 0);
	/* They are this process's alone: writable without a fault. */
	EXPECT_EQ(faults_of_writes(self->p, 0, N), 0);
}

/* Twice is as once, and of a part no more than that part. */
TEST_F(protect, parts)
{
	write_all(self->p, N);
	register_all(_metadata, self->fd, self->p, N);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(protect(self->fd, self->p, 3, 6, true), 0);
		EXPECT_EQ(with_bits(self->p, 3, 6, PM_UFFD_WP), 6);
		EXPECT_EQ(with_bits(self->p, 0, N, PM_UFFD_WP), 6);
	}
	EXPECT_EQ(faults_of_writes(self->p, 0, 3), 0);
	EXPECT_EQ(faults_of_writes(self->p, 9, N - 9), 0);
	ASSERT_EQ(protect(self->fd, self->p, 4, 2, false), 0);
	EXPECT_EQ(with_bits(self->p, 0, N, PM_UFFD_WP), 4);
	EXPECT_EQ(with_bits(self->p, 4, 2, PM_UFFD_WP), 0);
	ASSERT_EQ(protect(self->fd, self->p, 0, N, false), 0);
	EXPECT_EQ(with_bits(self->p, 0, N, PM_UFFD_WP), 0);
}

/* A child has the same pages: they must be copied, whatever was protected and is no more. */
TEST_F(protect, shared_with_a_child)
{
	int to_child[2], from_child[2], status;
	char c = 0;

	write_all(self->p, N);
	register_all(_metadata, self->fd, self->p, N);
	ASSERT_EQ(protect(self->fd, self->p, 0, N, true), 0);
	ASSERT_EQ(pipe(to_child) | pipe(from_child), 0);
	pid_t pid = fork();

	if (!pid) {
		if (write(from_child[1], &c, 1) != 1 || read(to_child[0], &c, 1) != 1)
			_exit(9);
		_exit(wrong(self->p, N) != 0);
	}
	ASSERT_EQ(read(from_child[0], &c, 1), 1);
	/* A few of them are this process's alone again. */
	for (size_t i = 0; i < N; i += 8) {
		ASSERT_EQ(protect(self->fd, self->p, i, 1, false), 0);
		*word(self->p, i) = 99;
		ASSERT_EQ(protect(self->fd, self->p, i, 1, true), 0);
	}
	ASSERT_EQ(protect(self->fd, self->p, 0, N, false), 0);
	EXPECT_EQ(faults_of_writes(self->p, 0, N), N - N / 8);
	ASSERT_EQ(write(to_child[1], &c, 1), 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(wrong(self->p, N), 0);
}

/* Neighbours that are alike in nothing: written, read, empty, written and out in swap. */
TEST_F(protect, mixed)
{
	size_t out = 0;

	need_swap();
	for (size_t i = 0; i < N; i++) {
		if (i % 4 == 0 || i % 4 == 3)
			*word(self->p, i) = i + 1;
		else if (i % 4 == 1)
			*(volatile uint64_t *)word(self->p, i);
	}
	for (size_t i = 3; i < N; i += 4)
		for (int again = 0; again < 100 && entry(self->p, i) & PM_PRESENT; again++) {
			madvise(self->p + i * PAGE, PAGE, MADV_PAGEOUT);
			usleep(again * 1000);
		}
	for (size_t i = 3; i < N; i += 4)
		out += with_bits(self->p, i, 1, PM_SWAP);
	EXPECT_EQ(out, N / 4);
	register_all(_metadata, self->fd, self->p, N);
	ASSERT_EQ(protect(self->fd, self->p, 0, N, true), 0);
	for (size_t i = 0; i < N; i++)
		EXPECT_EQ(with_bits(self->p, i, 1, PM_UFFD_WP), i % 4 != 2);
	/* Read from swap it is still protected. */
	EXPECT_EQ(*(volatile uint64_t *)word(self->p, 7), 8);
	EXPECT_EQ(with_bits(self->p, 7, 1, PM_PRESENT | PM_UFFD_WP), 1);
	for (size_t i = 0; i < 16; i++)
		EXPECT_EQ(is_told(self->fd, self->p, i), i % 4 != 2);
	ASSERT_EQ(protect(self->fd, self->p, 0, N, false), 0);
	EXPECT_EQ(with_bits(self->p, 0, N, PM_UFFD_WP), 0);
	for (size_t i = 16; i < N; i++)
		EXPECT_EQ(*(volatile uint64_t *)word(self->p, i), i % 4 == 0 || i % 4 == 3 ? i + 1 : 0);
	write_all(self->p, N);
	EXPECT_EQ(wrong(self->p, N), 0);
}

/* The zero page is everybody's. */
TEST_F(protect, zero_pages)
{
	for (size_t i = 0; i < N; i++)
		EXPECT_EQ(*(volatile uint64_t *)word(self->p, i), 0);
	register_all(_metadata, self->fd, self->p, N);
	ASSERT_EQ(protect(self->fd, self->p, 0, N, true), 0);
	EXPECT_EQ(with_bits(self->p, 0, N, PM_UFFD_WP), N);
	EXPECT_TRUE(is_told(self->fd, self->p, 1));
	ASSERT_EQ(protect(self->fd, self->p, 0, N, false), 0);
	EXPECT_EQ(faults_of_writes(self->p, 2, N - 2), N - 2);
	char *q = mmap(NULL, PAGE, RW, ANON, -1, 0);

	EXPECT_EQ(*(volatile uint64_t *)q, 0);
	munmap(q, PAGE);
}

/* Where nothing is nothing is marked, unless that was asked for. */
TEST_F(protect, nothing_there)
{
	int fd = uffd_with(1 << 13, O_CLOEXEC | O_NONBLOCK);	/* UFFD_FEATURE_WP_UNPOPULATED */

	register_all(_metadata, self->fd, self->p, N);
	ASSERT_EQ(protect(self->fd, self->p, 0, N, true), 0);
	EXPECT_EQ(with_bits(self->p, 0, N, PM_UFFD_WP), 0);
	EXPECT_FALSE(is_told(self->fd, self->p, 1));
	ASSERT_EQ(uffd_remove(self->fd, self->p, N * PAGE), 0);
	madvise(self->p, N * PAGE, MADV_DONTNEED);

	register_all(_metadata, fd, self->p, N);
	ASSERT_EQ(protect(fd, self->p, 0, N, true), 0);
	EXPECT_EQ(with_bits(self->p, 0, N, PM_UFFD_WP), N);
	EXPECT_TRUE(is_told(fd, self->p, 1));
	EXPECT_EQ(*(volatile uint64_t *)word(self->p, 2), 0);
	EXPECT_EQ(with_bits(self->p, 2, 1, PM_PRESENT | PM_UFFD_WP), 1);
	ASSERT_EQ(protect(fd, self->p, 0, N, false), 0);
	EXPECT_EQ(with_bits(self->p, 0, N, PM_UFFD_WP), 0);
	EXPECT_FALSE(is_told(fd, self->p, 3));
	close(fd);
}

/* Memory of a file: what is not mapped is marked too, as a read can map it from the page cache. */
TEST_F(protect, shared_memory)
{
	int file = memfd_create("uffd_protect", 0);
	char *p, *other;

	ASSERT_EQ(ftruncate(file, N * PAGE), 0);
	p = mmap(NULL, N * PAGE, RW, MAP_SHARED, file, 0);
	other = mmap(NULL, N * PAGE, RW, MAP_SHARED, file, 0);
	write_all(other, N);
	for (size_t i = 0; i < N / 2; i++)
		*(volatile uint64_t *)word(p, i);
	ASSERT_EQ(madvise(p + N / 2 * PAGE, N / 2 * PAGE, MADV_DONTNEED), 0);
	register_all(_metadata, self->fd, p, N);
	ASSERT_EQ(protect(self->fd, p, 0, N, true), 0);
	EXPECT_EQ(with_bits(p, 0, N, PM_UFFD_WP), N);
	EXPECT_TRUE(is_told(self->fd, p, 1));
	EXPECT_EQ(*word(other, 1), 99);
	/* Through the marker: a read maps what another wrote, and it is still protected. */
	EXPECT_EQ(*(volatile uint64_t *)word(p, N - 1), N);
	EXPECT_EQ(with_bits(p, N - 1, 1, PM_PRESENT | PM_UFFD_WP), 1);
	EXPECT_TRUE(is_told(self->fd, p, N - 1));
	EXPECT_TRUE(is_told(self->fd, p, N - 2));
	ASSERT_EQ(protect(self->fd, p, 0, N, false), 0);
	EXPECT_EQ(with_bits(p, 0, N, PM_UFFD_WP), 0);
	EXPECT_FALSE(is_told(self->fd, p, N - 3));
	write_all(p, N);
	EXPECT_EQ(wrong(other, N), 0);
	munmap(p, N * PAGE);
	munmap(other, N * PAGE);
	close(file);
}

/* Poison is not taken for a mark, nor taken away with one. */
TEST_F(protect, poison)
{
	uint64_t poison[5] = { (uintptr_t)self->p + PAGE, PAGE };
	int fd = uffd_with(1 << 14, O_CLOEXEC | O_NONBLOCK);	/* UFFD_FEATURE_POISON */
	int status;

	ASSERT_EQ(uffd_add(fd, self->p, N * PAGE, MISSING | WP), 0);
	ASSERT_EQ(ioctl(fd, UFFDIO_POISON, poison), 0);
	for (int on = 1; on >= 0; on--) {
		ASSERT_EQ(protect(fd, self->p, 0, 3, on), 0);
		pid_t pid = fork();

		if (!pid) {
			signal(SIGBUS, SIG_DFL);
			_exit(*(volatile uint64_t *)word(self->p, 1));
		}
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
		EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	}
	close(fd);
}

/* A huge page stays one where all of it is meant, and only the table of a part is made. */
TEST_F(protect, huge_pages)
{
	char *p = thp_room(3 * 512, ANON, -1);

	for (size_t i = 0; i < 3 * 512; i++)
		*word(p, i) = i + 1;
	ASSERT_EQ(smaps_kb(p, "AnonHugePages"), 6144);
	register_all(_metadata, self->fd, p, 3 * 512);
	ASSERT_EQ(protect(self->fd, p, 0, 2 * 512 + 100, true), 0);
	EXPECT_EQ(smaps_kb(p, "AnonHugePages"), 4096);
	EXPECT_EQ(with_bits(p, 0, 3 * 512, PM_UFFD_WP), 2 * 512 + 100);
	EXPECT_EQ(faults_of_writes(p, 2 * 512 + 100, 412), 0);
	ASSERT_EQ(protect(self->fd, p, 512, 2 * 512, false), 0);
	EXPECT_EQ(smaps_kb(p, "AnonHugePages"), 4096);
	EXPECT_EQ(with_bits(p, 0, 3 * 512, PM_UFFD_WP), 512);
	EXPECT_EQ(faults_of_writes(p, 512, 2 * 512), 0);
	/* Of the first only a page ends being protected. */
	EXPECT_TRUE(is_told(self->fd, p, 7));
	EXPECT_EQ(smaps_kb(p, "AnonHugePages"), 2048);
	EXPECT_EQ(with_bits(p, 0, 512, PM_UFFD_WP), 511);
	ASSERT_EQ(protect(self->fd, p, 0, 512, false), 0);
	*word(p, 7) = 8;
	EXPECT_EQ(wrong(p, 3 * 512), 0);
	munmap(p, 3 * HUGE);
}

/* Over several mappings, with holes in page tables between them, and one that is not registered. */
TEST_F(protect, several_mappings)
{
	size_t pages = 4 * 512;
	char *p = mmap(NULL, pages * PAGE, RW, ANON, -1, 0);

	madvise(p, pages * PAGE, MADV_NOHUGEPAGE);
	ASSERT_EQ(mprotect(p + 700 * PAGE, PAGE, PROT_READ), 0);
	register_all(_metadata, self->fd, p, pages);
	*word(p, 0) = *word(p, 699) = *word(p, 701) = *word(p, pages - 1) = 1;
	ASSERT_EQ(protect(self->fd, p, 0, pages, true), 0);
	EXPECT_EQ(with_bits(p, 0, pages, PM_UFFD_WP), 4);
	ASSERT_EQ(protect(self->fd, p, 0, 700, false), 0);
	EXPECT_EQ(with_bits(p, 0, pages, PM_UFFD_WP), 2);
	ASSERT_EQ(uffd_remove(self->fd, p + 1024 * PAGE, 512 * PAGE), 0);
	EXPECT_EQ(protect(self->fd, p, 0, pages, false), -ENOENT);
	EXPECT_EQ(with_bits(p, pages - 1, 1, PM_UFFD_WP), 1);
	/* Who is not registered any more is not protected. */
	ASSERT_EQ(uffd_remove(self->fd, p, pages * PAGE), 0);
	EXPECT_EQ(with_bits(p, 0, pages, PM_UFFD_WP), 0);
	EXPECT_EQ(faults_of_writes(p, pages - 1, 1), 0);
	munmap(p, pages * PAGE);
}

/* Where writes are watched otherwise, too, they still are. */
TEST_F(protect, soft_dirty)
{
	write_all(self->p, N);
	register_all(_metadata, self->fd, self->p, N);
	ASSERT_EQ(protect(self->fd, self->p, 0, N, true), 0);
	ASSERT_TRUE(write_text("/proc/self/clear_refs", "4"));
	ASSERT_EQ(protect(self->fd, self->p, 0, N, false), 0);
	EXPECT_EQ(with_bits(self->p, 0, N, 1ULL << 55), 0);
	*word(self->p, 3) = 4;
	EXPECT_EQ(with_bits(self->p, 0, N, 1ULL << 55), 1);
	EXPECT_EQ(with_bits(self->p, 3, 1, 1ULL << 55), 1);
}

/* Threads on every processor that write to all pages, each a word of its own, as often as they can. */
#define WRITERS	4

struct writer {
	pthread_t thread;
	volatile uint64_t *word;
	size_t pages;
	int cpu;
	atomic_bool *stop;
};

static void *write_on(void *arg)
{
	struct writer *w = arg;
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(w->cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
	while (!*w->stop)
		for (size_t i = 0; i < w->pages; i++)
			w->word[i * PAGE / 8]++;
	return NULL;
}

static uint64_t sum(char *p, size_t pages)
{
	uint64_t n = 0;

	for (size_t i = 0; i < pages; i++)
		for (size_t k = 0; k < WRITERS; k++)
			n += ((volatile uint64_t *)word(p, i))[k];
	return n;
}

/* Rounds in which something was written before the protection, and how often after it. */
struct written { size_t before, after; };

static struct written protect_beside_writers(int fd, char *p, size_t pages)
{
	struct writer w[WRITERS];
	struct written n = {};
	atomic_bool stop = false;
	uint64_t had, was = 0;

	for (size_t i = 0; i < WRITERS; i++) {
		w[i] = (struct writer){ .word = word(p, 0) + i, .pages = pages, .cpu = i % 2, .stop = &stop };
		if (pthread_create(&w[i].thread, NULL, write_on, &w[i]))
			fail_setup("a thread");
	}
	for (int round = 0; round < 40; round++) {
		usleep(5000);
		if (protect(fd, p, 0, pages, true))
			fail_setup("UFFDIO_WRITEPROTECT");
		had = sum(p, pages);
		n.before += had != was;
		usleep(5000);
		was = sum(p, pages);
		n.after += was != had;
		stop = round == 39;
		protect(fd, p, 0, pages, false);
	}
	for (size_t i = 0; i < WRITERS; i++)
		pthread_join(w[i].thread, NULL);
	return n;
}

/* When the call has returned nobody writes any more, whatever a processor remembers of the entries. */
TEST_F(protect, nobody_writes_after)
{
	char *huge = thp_room(512, ANON, -1);
	struct written n;

	write_all(self->p, N);
	register_all(_metadata, self->fd, self->p, N);
	n = protect_beside_writers(self->fd, self->p, N);
	EXPECT_GT(n.before, 20);
	EXPECT_EQ(n.after, 0);
	write_all(huge, 512);
	register_all(_metadata, self->fd, huge, 512);
	n = protect_beside_writers(self->fd, huge, 512);
	EXPECT_GT(n.before, 20);
	EXPECT_EQ(n.after, 0);
	EXPECT_EQ(smaps_kb(huge, "AnonHugePages"), 2048);
	munmap(huge, HUGE);
}

/* Where nobody is asked, a write ends the protection by itself; of a private file it is a copy that is written to. */
TEST_F(protect, by_itself)
{
	int fd = uffd_with(1 << 15, O_CLOEXEC | O_NONBLOCK);	/* UFFD_FEATURE_WP_ASYNC */
	int file = open("/tmp/uffd_protect", O_RDWR | O_CREAT | O_TRUNC, 0600);
	char *shared, *private;

	ASSERT_GE(file, 0);
	unlink("/tmp/uffd_protect");
	ASSERT_EQ(ftruncate(file, N * PAGE), 0);
	shared = mmap(NULL, N * PAGE, RW, MAP_SHARED, file, 0);
	private = mmap(NULL, N * PAGE, RW, MAP_PRIVATE, file, 0);
	write_all(shared, N);
	/* Read, written to, and not there. */
	for (size_t i = 0; i < N; i += 4) {
		EXPECT_EQ(*(volatile uint64_t *)word(private, i), i + 1);
		*word(private, i + 1) = 99;
	}
	register_all(_metadata, fd, private, N);
	for (int again = 0; again < 2; again++) {
		ASSERT_EQ(protect(fd, private, 0, N, true), 0);
		EXPECT_EQ(with_bits(private, 0, N, PM_UFFD_WP), N);
		for (size_t i = 0; i < N; i += 4) {
			EXPECT_EQ(*(volatile uint64_t *)word(private, i + 2), again ? 77 : i + 3);
			EXPECT_EQ(with_bits(private, i + 2, 1, PM_PRESENT | PM_UFFD_WP), 1);
			*word(private, i) = *word(private, i + 2) = 77;
		}
		EXPECT_EQ(with_bits(private, 0, N, PM_UFFD_WP), N / 2);
	}
	for (size_t i = 0; i < N; i += 4)
		EXPECT_EQ(*(volatile uint64_t *)word(private, i + 1), 99);
	EXPECT_EQ(wrong(shared, N), 0);
	munmap(private, N * PAGE);
	munmap(shared, N * PAGE);
	close(file);
	close(fd);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * UFFDIO_CONTINUE of memory that a file has already: by PMDs where all of a huge page is wanted, and by
 * entries where it is not, where a page is in the way, and where it is to be write-protected.
 */
#define _GNU_SOURCE
#include "uffd.h"

#include "harness.h"
#include "../thp/thp.h"

#define N		1280UL	/* two huge pages and a half */
#define SETTING		THP_DIR "shmem_enabled"
#define MINOR		UFFDIO_REGISTER_MODE_MINOR
#define WP_TOO		(1ULL << 1)	/* UFFDIO_CONTINUE_MODE_WP */

/* A file that is mapped twice: what one mapping gets the other one waits for. */
FIXTURE(cont) { int fd, mem; char *p, *map; };

FIXTURE_VARIANT(cont) { bool huge; };
FIXTURE_VARIANT_ADD(cont, small) { .huge = false };
FIXTURE_VARIANT_ADD(cont, huge) { .huge = true };

FIXTURE_SETUP(cont)
{
	self->mem = memfd_create("uffd_continue", 0);
	ASSERT_EQ(ftruncate(self->mem, N * PAGE), 0);
	self->map = thp_room(N, MAP_SHARED, self->mem);
	self->p = thp_room(N, MAP_SHARED, self->mem);
	ASSERT_TRUE(write_text(SETTING, variant->huge ? "advise" : "never"));
	madvise(self->map, N * PAGE, MADV_HUGEPAGE);
	thp_fill(self->map, N);
	self->fd = uffd_with(0, O_CLOEXEC);
	ASSERT_EQ(uffd_add(self->fd, self->p, N * PAGE, MINOR), 0);
}

FIXTURE_TEARDOWN(cont)
{
	write_text(SETTING, "never");
	munmap(self->p, N * PAGE);
	munmap(self->map, N * PAGE);
	close(self->mem);
	close(self->fd);
}

/* Bytes, or the error. */
static int64_t map_more(int fd, char *p, size_t pages, uint64_t mode)
{
	int64_t words[4] = { (uintptr_t)p, pages * PAGE, mode, 77 };
	int ret = ioctl(fd, UFFDIO_CONTINUE, words), err = errno;

	if (ret ? err != (words[3] < 0 ? -words[3] : EAGAIN) : words[3] != (int64_t)(pages * PAGE))
		fail_setup("UFFDIO_CONTINUE: %d, errno %d, mapped %lld", ret, err, (long long)words[3]);
	return words[3];
}

static size_t present(char *p, size_t pages)
{
	size_t n = 0;

	for (size_t i = 0; i < pages; i++)
		n += !!(pagemap_of(p + i * PAGE) & PM_PRESENT);
	return n;
}

static size_t right(char *p, size_t pages)
{
	size_t n = 0;

	for (size_t i = 0; i < pages; i++)
		n += thp_page_is(p + i * PAGE, i);
	return n;
}

static long huge_kb(char *p)
{
	return smaps_kb(p, "ShmemPmdMapped");
}

TEST_F(cont, whole)
{
	uint64_t here[N], there[N];

	ASSERT_EQ(map_more(self->fd, self->p, N, 0), N * PAGE);
	EXPECT_EQ(huge_kb(self->p), variant->huge ? 4096 : 0);
	EXPECT_EQ(right(self->p, N), N);
	frames_of(self->p, here, N);
	frames_of(self->map, there, N);
	EXPECT_EQ(memcmp(here, there, sizeof(here)), 0);
	/* It is one file: what is written here is seen there, and without asking again. */
	long before = own_faults();

	*(volatile uint64_t *)(self->p + 7 * PAGE) = 1234;
	EXPECT_EQ(own_faults() - before, 0);
	EXPECT_EQ(*(volatile uint64_t *)(self->map + 7 * PAGE), 1234);
	EXPECT_EQ(map_more(self->fd, self->p, PAGES, 0), -EEXIST);
	EXPECT_EQ(map_more(self->fd, self->p + 9 * PAGE, 1, 0), -EEXIST);
}

/* A page that is there already: up to it, and from the next one on. */
TEST_F(cont, in_the_way)
{
	ASSERT_EQ(map_more(self->fd, self->p + 20 * PAGE, 1, 0), PAGE);
	EXPECT_EQ(map_more(self->fd, self->p, N, 0), 20 * PAGE);
	EXPECT_EQ(map_more(self->fd, self->p + 21 * PAGE, 2 * PAGES - 21, 0), (2 * PAGES - 21) * PAGE);
	EXPECT_EQ(huge_kb(self->p), variant->huge ? 2048 : 0);
	EXPECT_EQ(present(self->p, N), 2 * PAGES);
	EXPECT_EQ(right(self->p, 2 * PAGES), 2 * PAGES);
}

/* The file becomes shorter: what is behind its end is nobody's, and what is left stays. */
TEST_F(cont, made_shorter)
{
	ASSERT_EQ(map_more(self->fd, self->p, N, 0), N * PAGE);
	ASSERT_EQ(ftruncate(self->mem, 700 * PAGE), 0);
	EXPECT_EQ(present(self->p + 700 * PAGE, N - 700), 0);
	/* A huge page that was mapped as one is not mapped at all now, until it is touched. */
	ASSERT_EQ(uffd_remove(self->fd, self->p, N * PAGE), 0);
	EXPECT_EQ(right(self->p, 700), 700);
	EXPECT_EQ(right(self->map, 700), 700);
	ASSERT_EQ(ftruncate(self->mem, 0), 0);
	EXPECT_EQ(present(self->p, N), 0);
}

/*
 * The end in the middle of what is a huge page: made by who touched it when the file ended there already, as a
 * file that is made shorter splits it.
 */
TEST_F(cont, ends_inside)
{
	ASSERT_EQ(ftruncate(self->mem, 0), 0);
	ASSERT_EQ(ftruncate(self->mem, 700 * PAGE), 0);
	thp_fill(self->map, 700);
	EXPECT_EQ(map_more(self->fd, self->p, N, 0), 700 * PAGE);
	EXPECT_EQ(present(self->p, N), 700);
	EXPECT_EQ(right(self->p, 700), 700);
	EXPECT_EQ(huge_kb(self->p), variant->huge ? 2048 : 0);
}

TEST_F(cont, protected)
{
	ASSERT_EQ(uffd_add(self->fd, self->p, N * PAGE, MINOR | WP), 0);
	ASSERT_EQ(map_more(self->fd, self->p, PAGES, WP_TOO), PAGES * PAGE);
	EXPECT_EQ(huge_kb(self->p), 0);
	EXPECT_EQ(right(self->p, PAGES), PAGES);
	for (size_t i = 0; i < PAGES; i++)
		ASSERT_TRUE(pagemap_of(self->p + i * PAGE) & PM_UFFD_WP);
}

/* And afterwards: who may protect it has it by entries from the start, so that nothing has to be unmapped. */
TEST_F(cont, protected_later)
{
	uint64_t words[3] = { (uintptr_t)self->p, PAGES * PAGE, UFFDIO_WRITEPROTECT_MODE_WP };

	ASSERT_EQ(uffd_add(self->fd, self->p, N * PAGE, MINOR | WP), 0);
	ASSERT_EQ(map_more(self->fd, self->p, PAGES, 0), PAGES * PAGE);
	ASSERT_EQ(ioctl(self->fd, UFFDIO_WRITEPROTECT, words), 0);
	EXPECT_EQ(huge_kb(self->p), 0);
	for (size_t i = 0; i < PAGES; i++)
		ASSERT_TRUE(pagemap_of(self->p + i * PAGE) & PM_UFFD_WP);
	EXPECT_EQ(right(self->p, PAGES), PAGES);
}

/* A private mapping sees the file until it writes, and then has a page of its own. */
TEST_F(cont, private_mapping)
{
	char *q = thp_room(N, MAP_PRIVATE, self->mem);

	ASSERT_EQ(uffd_add(self->fd, q, N * PAGE, MINOR), 0);
	ASSERT_EQ(map_more(self->fd, q, N, 0), N * PAGE);
	EXPECT_EQ(right(q, N), N);
	*(volatile uint64_t *)(q + 7 * PAGE) = 1234;
	EXPECT_EQ(right(self->map, N), N);
	EXPECT_EQ(*(volatile uint64_t *)(q + 7 * PAGE), 1234);
	munmap(q, N * PAGE);
}

/* Counts and references are right: all can go, and the memory with it. */
TEST_F(cont, all_goes)
{
	long pmds, mapped;
	uint64_t frames[N];

	write_text("/proc/sys/vm/stat_refresh", "1");
	pmds = vm_count("nr_shmem_pmdmapped");
	mapped = vm_count("nr_mapped");
	ASSERT_EQ(map_more(self->fd, self->p, N, 0), N * PAGE);
	ASSERT_EQ(munmap(self->p, N * PAGE), 0);
	frames_of(self->map, frames, N);
	ASSERT_EQ(munmap(self->map, N * PAGE), 0);
	ASSERT_EQ(ftruncate(self->mem, 0), 0);
	settle_lru();
	/* Free, and perhaps something else since: but no more a file's. */
	for (size_t i = 0; i < N; i++)
		ASSERT_FALSE(frame_flags(frames[i]) & (KPF(KPF_SWAPBACKED) | KPF(KPF_MMAP)) &&
			     !(frame_flags(frames[i]) & KPF(KPF_ANON)));
	write_text("/proc/sys/vm/stat_refresh", "1");
	/* Others may have mapped a little meanwhile. */
	EXPECT_LE(vm_count("nr_mapped"), mapped - (long)N + 200);
	EXPECT_EQ(vm_count("nr_shmem_pmdmapped"), pmds - (variant->huge ? 2 : 0));
}

struct mapper {
	int fd;
	char *p;
	atomic_bool stop;
	atomic_ulong calls;
};

/* Asks for all of it, again and again. */
static void *map_on(void *arg)
{
	struct mapper *m = arg;

	for (; !m->stop; m->calls++) {
		int64_t words[4] = { (uintptr_t)m->p, N * PAGE };

		if (ioctl(m->fd, UFFDIO_CONTINUE, words) && words[3] == -EEXIST)
			madvise(m->p, N * PAGE, MADV_DONTNEED);
	}
	return NULL;
}

/* The file becomes shorter meanwhile: when it is, nothing behind its end stays mapped. */
TEST_F_TIMEOUT(cont, beside_truncation, 120)
{
	struct mapper m = { .fd = self->fd, .p = self->p };
	size_t behind = 0, mapped = 0;
	pthread_t thread;

	ASSERT_EQ(pthread_create(&thread, NULL, map_on, &m), 0);
	for (double began = seconds(); seconds() < began + (mapped > 5 ? 5 : 60);) {
		unsigned long calls = m.calls;

		ASSERT_EQ(ftruncate(self->mem, N * PAGE), 0);
		thp_fill(self->map, N);
		UNTIL(m.calls > calls + 2);
		mapped += present(self->p + 7 * PAGE, N - 7) > 0;
		ASSERT_EQ(ftruncate(self->mem, 7 * PAGE), 0);
		behind += present(self->p + 7 * PAGE, N - 7);
	}
	m.stop = true;
	pthread_join(thread, NULL);
	EXPECT_EQ(behind, 0);
	EXPECT_GT(mapped, 5);
}

TEST_HARNESS_MAIN

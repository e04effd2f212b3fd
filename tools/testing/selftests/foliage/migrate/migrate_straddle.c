// SPDX-License-Identifier: GPL-2.0
/*
 * Large folios that lie across two page tables, of which only the second one exists: a file that is
 * mapped so that a folio of 64 KiB begins half of its size below a boundary of 2 MiB, touched above
 * it alone. Whoever takes mappings away, or puts them back, together with those of neighbours must
 * not be done with such a folio because the first table is not there.
 */
#define _GNU_SOURCE
#include <sys/wait.h>

#include "harness.h"
#include "migrate_call.h"

#define SHMEM_64K	"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/shmem_enabled"
#define FOLIO		16UL
#define PAGES		(4 * FOLIO)
#define BELOW		(FOLIO / 2)	/* pages of the first folio below the boundary */

static uint64_t value(size_t i)
{
	return 0x7000000 + i;
}

/* A file of whole folios of 64 KiB, that nobody maps. */
static int make_file(void)
{
	int fd = memfd_create("straddle", 0);
	char *p;

	write_text(SHMEM_64K, "always");
	if (fd < 0 || ftruncate(fd, PAGES * PAGE))
		fail_setup("memfd");
	allocate_on(0);
	p = mem_map(PAGES, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	for (size_t i = 0; i < PAGES; i++)
		*(uint64_t *)(p + i * PAGE) = value(i);
	allocate_on(-1);
	write_text(SHMEM_64K, "never");
	for (size_t i = 0; i < PAGES; i++) {
		uint64_t kind = KPF(i % FOLIO ? KPF_TAIL : KPF_HEAD);

		if (!(frame_flags(frame_of(p + i * PAGE)) & kind))
			fail_setup("no folios of 64 KiB of shared memory");
	}
	settle_lru();
	munmap(p, PAGES * PAGE);
	return fd;
}

/* Mapped across the boundary, and present above it only. */
static char *map_across(int fd)
{
	char *room = mem_map(1024, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	char *p = mmap(room + HUGE - BELOW * PAGE, PAGES * PAGE, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_FIXED, fd, 0);

	if (p == MAP_FAILED)
		fail_setup("mmap");
	for (size_t i = BELOW; i < PAGES; i++)
		*(volatile char *)(p + i * PAGE);
	return p;
}

static size_t wrong(const char *p, size_t from)
{
	size_t n = 0;

	for (size_t i = from; i < PAGES; i++)
		n += *(volatile uint64_t *)(p + i * PAGE) != value(i);
	return n;
}

/* The first folio and its neighbours, in either order, there and back. */
TEST(moved_with_neighbours)
{
	int fd = make_file(), status;
	pid_t pid;

	/* What is left behind shows when the address space ends. */
	pid = fork();
	if (!pid) {
		char *p = map_across(fd);
		size_t bad = 0;

		for (int round = 0; round < 8; round++) {
			int node = !(round % 2);

			call_clear();
			for (size_t f = 0; f < PAGES / FOLIO; f++) {
				size_t at = round & 2 ? PAGES / FOLIO - 1 - f : f;

				call_add(p + (at ? at * FOLIO : BELOW) * PAGE, node);
			}
			bad += call_move(MPOL_MF_MOVE) != 0;
			bad += differ(0, call.n, node);
			/* A fault on an entry that names a folio of the past would hang, or worse. */
			alarm(20);
			bad += wrong(p, BELOW);
			alarm(0);
		}
		_exit(bad ? 1 : 0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	close(fd);
}

/* The same with a second process that maps all of it; the pages move for both. */
TEST(moved_for_two)
{
	int fd = make_file(), status;
	char *whole = mem_map(PAGES, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	char *p = map_across(fd);
	pid_t pid;

	EXPECT_EQ(wrong(whole, 0), 0);
	pid = fork();
	if (!pid) {
		size_t bad = wrong(p, BELOW) + wrong(whole, 0);

		_exit(bad || move_range(whole, PAGES, FOLIO, 1, MPOL_MF_MOVE_ALL) < 0 ||
		      count_on(whole, PAGES, 1) != PAGES || wrong(p, BELOW) || wrong(whole, 0));
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(count_on(whole, PAGES, 1), PAGES);
	EXPECT_EQ(wrong(p, 0), 0);
	EXPECT_EQ(wrong(whole, 0), 0);
	munmap(p, PAGES * PAGE);
	munmap(whole, PAGES * PAGE);
	close(fd);
}

TEST_HARNESS_MAIN

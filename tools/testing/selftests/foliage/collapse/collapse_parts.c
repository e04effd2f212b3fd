// SPDX-License-Identifier: GPL-2.0
/*
 * Folios smaller than a huge page, of parts of a table: which ones khugepaged makes, what they hold and
 * say afterwards, and what keeps it from making them. Stock makes none.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "harness.h"
#include "khugepaged.h"
#include "proc.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

#define SIZES		10	/* 4, 8, 16 kB ... 2048 kB: orders 0 to 9 */
#define SMALLEST	2	/* that anonymous memory may have */

static char was_size[SIZES][64];

/* --- settings --------------------------------------------------------------------------- */

static void size_path(char *path, size_t size, int order, const char *file)
{
	snprintf(path, size, THP_DIR "hugepages-%dkB/%s", 4 << order, file);
}

/* Orders by bits; of those that are not named, none is allowed. */
static void allow(unsigned int orders)
{
	char path[128];

	for (int order = SMALLEST; order < SIZES; order++) {
		size_path(path, sizeof(path), order, "enabled");
		if (!write_text(path, orders & 1 << order ? "madvise" : "never"))
			fail_setup("%s", path);
	}
}

static long counted(int order, const char *file)
{
	char name[32];

	snprintf(name, sizeof(name), "%dkB", 4 << order);
	return size_count(name, file);
}

/* --- folios ----------------------------------------------------------------------------- */

/* The order of the folio that begins at a page; -1 if none does, or if none is there. */
static int order_at(const char *p)
{
	uint64_t pfn = frame_of(p);
	int nr = 1;

	if (!pfn || frame_flags(pfn) & KPF(KPF_TAIL))
		return -1;
	if (!(frame_flags(pfn) & KPF(KPF_HEAD)))
		return 0;
	while (frame_flags(pfn + nr) & KPF(KPF_TAIL))
		nr++;
	return __builtin_ctz(nr);
}

static size_t present(const char *p, size_t pages)
{
	size_t n = 0;

	for (size_t i = 0; i < pages; i++)
		n += !!(pagemap_of(p + i * PAGE) & PM_PRESENT);
	return n;
}

/* Pages hold what thp_fill() would write to page @at and those that follow. */
static void fill(char *p, size_t at, size_t nr)
{
	for (size_t i = at; i < at + nr; i++) {
		*(volatile uint64_t *)(p + i * PAGE) = i + 1;
		*(volatile uint64_t *)(p + i * PAGE + PAGE - 8) = ~(i + 1);
	}
}

static size_t wrong(const char *p, size_t at, size_t nr)
{
	size_t n = 0;

	for (size_t i = at; i < at + nr; i++)
		n += !thp_page_is(p + i * PAGE, i);
	return n;
}

static size_t not_zero(const char *p, size_t at, size_t nr)
{
	size_t n = 0;

	for (size_t i = at; i < at + nr; i++)
		n += !!*(volatile uint64_t *)(p + i * PAGE);
	return n;
}

/* --- the fixture ------------------------------------------------------------------------ */

FIXTURE(parts) { char *p; };

FIXTURE_SETUP(parts)
{
	char path[128];

	knobs_save();
	for (int order = SMALLEST; order < SIZES; order++) {
		size_path(path, sizeof(path), order, "enabled");
		choice_read(path, was_size[order], sizeof(was_size[order]));
	}
	allow(0);
	knob_set(MAX_NONE, 0);
	knob_set(SLEEP, 10);
	knob_set(TO_SCAN, 64 * PAGES);
	self->p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

FIXTURE_TEARDOWN(parts)
{
	char path[128];

	munmap(self->p, HUGE);
	for (int order = SMALLEST; order < SIZES; order++) {
		size_path(path, sizeof(path), order, "enabled");
		if (!write_text(path, was_size[order]))
			fail_setup("%s", path);
	}
	knobs_restore();
}

/* khugepaged may make these of what is there now, and has looked at everything. */
static bool made(unsigned int orders)
{
	char *other;

	settle_lru();
	allow(orders);
	/* A first touch, of something else, makes the address space known. */
	other = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	*(volatile char *)other = 1;
	munmap(other, HUGE);
	return scanned() && scanned();
}

/* --- which ones ------------------------------------------------------------------------- */

FIXTURE(order) { FIXTURE_DATA(parts) parts; };
FIXTURE_VARIANT(order) { int order; };
FIXTURE_VARIANT_ADD(order, o2) { .order = 2 };
FIXTURE_VARIANT_ADD(order, o3) { .order = 3 };
FIXTURE_VARIANT_ADD(order, o4) { .order = 4 };
FIXTURE_VARIANT_ADD(order, o5) { .order = 5 };
FIXTURE_VARIANT_ADD(order, o6) { .order = 6 };
FIXTURE_VARIANT_ADD(order, o7) { .order = 7 };
FIXTURE_VARIANT_ADD(order, o8) { .order = 8 };
FIXTURE_SETUP(order)
{
	parts_setup(_metadata, &self->parts, NULL);
}

FIXTURE_TEARDOWN(order)
{
	parts_teardown(_metadata, &self->parts, NULL);
}

/* The second of two is full, the first lacks a page; what is empty stays so. */
TEST_F(order, alone)
{
	size_t nr = 1 << variant->order;
	long collapsed = number_of("pages_collapsed"), folios = number_of("folios_collapsed");
	long got = counted(variant->order, "collapse_alloc"), anon = counted(variant->order, "nr_anon");
	char *p = self->parts.p;

	fill(p, 1, 2 * nr - 1);
	ASSERT_TRUE(made(1 << variant->order));
	EXPECT_EQ(order_at(p + nr * PAGE), variant->order);
	EXPECT_EQ(order_at(p + PAGE), 0);
	EXPECT_EQ(present(p, PAGES), 2 * nr - 1);
	EXPECT_EQ(wrong(p, 1, 2 * nr - 1), 0);
	EXPECT_EQ(smaps_kb(p, "Rss"), (2 * nr - 1) * 4);
	EXPECT_EQ(number_of("pages_collapsed"), collapsed);
	EXPECT_EQ(number_of("folios_collapsed"), folios + 1);
	EXPECT_EQ(counted(variant->order, "collapse_alloc"), got + 1);
	EXPECT_EQ(counted(variant->order, "nr_anon"), anon + 1);
}

/* As many may be empty as max_ptes_none says of the whole; they read as zeroes and are counted. */
TEST_F(order, holes)
{
	size_t nr = 1 << variant->order, limit = 255 >> (9 - variant->order);
	char *p = self->parts.p;

	knob_set(MAX_NONE, 255);
	fill(p, 0, nr - limit - 1);
	fill(p, nr, nr - limit);
	ASSERT_TRUE(made(1 << variant->order));
	EXPECT_EQ(order_at(p), 0);
	EXPECT_EQ(order_at(p + nr * PAGE), variant->order);
	EXPECT_EQ(present(p, PAGES), nr - limit - 1 + nr);
	EXPECT_EQ(smaps_kb(p, "Rss"), (nr - limit - 1 + nr) * 4);
	EXPECT_EQ(wrong(p, 0, nr - limit - 1), 0);
	EXPECT_EQ(wrong(p, nr, nr - limit), 0);
	EXPECT_EQ(not_zero(p, 2 * nr - limit, limit), 0);
}

TEST_F(parts, largest_first)
{
	fill(self->p, 0, 64 + 16 + 4);
	ASSERT_TRUE(made(1 << 6 | 1 << 4 | 1 << 2));
	EXPECT_EQ(order_at(self->p), 6);
	EXPECT_EQ(order_at(self->p + 64 * PAGE), 4);
	EXPECT_EQ(order_at(self->p + 80 * PAGE), 2);
	EXPECT_EQ(present(self->p, PAGES), 84);
	EXPECT_EQ(wrong(self->p, 0, 84), 0);
}

/* All of a table, where there may be no huge page. */
TEST_F(parts, of_all)
{
	thp_fill(self->p, PAGES);
	ASSERT_TRUE(made(1 << 4));
	for (size_t i = 0; i < PAGES; i += 16) {
		ASSERT_EQ(order_at(self->p + i * PAGE), 4) TH_LOG("page %zu", i);
	}
	EXPECT_EQ(wrong(self->p, 0, PAGES), 0);
}

/* Folios that are there are made larger, small pages among them. */
TEST_F(parts, of_parts)
{
	fill(self->p, 0, 16);
	ASSERT_TRUE(made(1 << 3));
	ASSERT_EQ(order_at(self->p), 3);
	fill(self->p, 16, 16);
	ASSERT_TRUE(made(1 << 5));
	EXPECT_EQ(order_at(self->p), 5);
	EXPECT_EQ(wrong(self->p, 0, 32), 0);
}

/* More old folios than are let go of at once. */
TEST_F(parts, of_many_parts)
{
	thp_fill(self->p, PAGES);
	ASSERT_TRUE(made(1 << 2));
	ASSERT_EQ(order_at(self->p), 2);
	ASSERT_TRUE(made(1 << 8));
	EXPECT_EQ(order_at(self->p), 8);
	EXPECT_EQ(order_at(self->p + 256 * PAGE), 8);
	EXPECT_EQ(wrong(self->p, 0, PAGES), 0);
}

/* Not by what nobody has touched, though half of it may be empty. */
TEST_F(parts, do_not_grow)
{
	knob_set(MAX_NONE, 400);
	fill(self->p, 0, 16);
	ASSERT_TRUE(made(1 << 4));
	ASSERT_EQ(order_at(self->p), 4);
	ASSERT_TRUE(made(1 << 4 | 1 << 5));
	EXPECT_EQ(order_at(self->p), 4);
	EXPECT_EQ(present(self->p, PAGES), 16);
	/* By one page more, it does. */
	fill(self->p, 16, 1);
	ASSERT_TRUE(made(1 << 4 | 1 << 5));
	EXPECT_EQ(order_at(self->p), 5);
	EXPECT_EQ(wrong(self->p, 0, 17), 0);
}

/* What was given back stays so, and what is left becomes large where it is dense. */
TEST_F(parts, of_what_was_not_given_back)
{
	knob_set(MAX_NONE, PAGES - 1);
	allow(1 << 9);
	munmap(self->p, HUGE);
	self->p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	thp_fill(self->p, PAGES);
	ASSERT_TRUE(is_huge(self->p));
	ASSERT_EQ(split_range(self->p, PAGES, 0), 0);
	for (size_t i = 0; i < PAGES; i += 32)
		ASSERT_EQ(madvise(self->p + i * PAGE, 16 * PAGE, MADV_DONTNEED), 0);
	ASSERT_EQ(madvise(self->p + 511 * PAGE, PAGE, MADV_DONTNEED), 0);
	ASSERT_TRUE(made(1 << 9 | 1 << 4));
	EXPECT_EQ(present(self->p, PAGES), PAGES / 2 - 1);
	for (size_t i = 16; i < PAGES; i += 32) {
		EXPECT_EQ(order_at(self->p + i * PAGE), i == 496 ? 0 : 4) TH_LOG("page %zu", i);
	}
}

/* A table of which the VMA has a part: at both ends. */
TEST_F(parts, of_a_small_mapping)
{
	char *q = self->p + 40 * PAGE;

	munmap(self->p, 40 * PAGE);
	munmap(self->p + 200 * PAGE, HUGE - 200 * PAGE);
	fill(self->p, 40, 160);
	ASSERT_TRUE(made(1 << 9 | 1 << 4));
	EXPECT_EQ(order_at(q), 0);
	for (size_t i = 48; i < 192; i += 16) {
		EXPECT_EQ(order_at(self->p + i * PAGE), 4) TH_LOG("page %zu", i);
	}
	EXPECT_EQ(order_at(self->p + 192 * PAGE), 0);
	EXPECT_EQ(wrong(self->p, 40, 160), 0);
}

/* Two VMAs share a table: the second is looked at, too. */
TEST_F(parts, of_two_mappings)
{
	thp_fill(self->p, PAGES);
	ASSERT_EQ(mprotect(self->p + 256 * PAGE, 256 * PAGE, RW | PROT_EXEC), 0);
	ASSERT_TRUE(made(1 << 9 | 1 << 4));
	for (size_t i = 0; i < PAGES; i += 16) {
		EXPECT_EQ(order_at(self->p + i * PAGE), 4) TH_LOG("page %zu", i);
	}
	EXPECT_EQ(wrong(self->p, 0, PAGES), 0);
}

/* A whole huge page goes before. */
TEST_F(parts, not_where_all_can_be)
{
	thp_fill(self->p, PAGES);
	ASSERT_TRUE(made(1 << 9 | 1 << 4));
	EXPECT_TRUE(is_huge(self->p));
	EXPECT_EQ(wrong(self->p, 0, PAGES), 0);
}

/* --- what is kept ----------------------------------------------------------------------- */

/* That it was written to since is noted of each page. */
TEST_F(parts, keep_soft_dirty)
{
	fill(self->p, 0, 16);
	ASSERT_TRUE(write_text("/proc/self/clear_refs", "4"));
	*(volatile char *)(self->p + 3 * PAGE + 8) = 1;
	ASSERT_TRUE(made(1 << 4));
	ASSERT_EQ(order_at(self->p), 4);
	for (size_t i = 0; i < 16; i++) {
		EXPECT_EQ(!!(pagemap_of(self->p + i * PAGE) & PM_SOFT_DIRTY), i == 3)
			TH_LOG("page %zu", i);
	}
	/* And still is, of those that could be written to without anybody seeing it. */
	*(volatile char *)(self->p + 5 * PAGE + 8) = 1;
	EXPECT_TRUE(pagemap_of(self->p + 5 * PAGE) & PM_SOFT_DIRTY);
	EXPECT_EQ(wrong(self->p, 0, 16), 0);
}

/* No fault when they are written to afterwards: they are writable and exclusive. */
TEST_F(parts, stay_writable)
{
	long faults;

	fill(self->p, 0, 16);
	ASSERT_TRUE(made(1 << 4));
	ASSERT_EQ(order_at(self->p), 4);
	faults = own_faults();
	fill(self->p, 0, 16);
	EXPECT_EQ(own_faults(), faults);
	for (size_t i = 0; i < 16; i++)
		EXPECT_TRUE(pagemap_of(self->p + i * PAGE) & PM_EXCLUSIVE);
}

TEST_F(parts, stay_locked)
{
	fill(self->p, 0, 16);
	ASSERT_EQ(mlock(self->p, 16 * PAGE), 0);
	ASSERT_TRUE(made(1 << 4));
	ASSERT_EQ(order_at(self->p), 4);
	EXPECT_TRUE(flags_at(self->p) & KPF(KPF_MLOCKED));
	EXPECT_EQ(munlock(self->p, 16 * PAGE), 0);
	EXPECT_FALSE(flags_at(self->p) & KPF(KPF_MLOCKED));
	EXPECT_EQ(wrong(self->p, 0, 16), 0);
}

TEST_F(parts, survive_fork_and_swap)
{
	int status;
	pid_t pid;

	need_swap();
	fill(self->p, 0, 16);
	ASSERT_TRUE(made(1 << 4));
	ASSERT_EQ(order_at(self->p), 4);
	pid = fork();
	if (!pid) {
		memset(self->p, 0x11, 16 * PAGE);
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(wrong(self->p, 0, 16), 0);
	EXPECT_EQ(madvise(self->p, 16 * PAGE, MADV_PAGEOUT), 0);
	EXPECT_GT(smaps_kb(self->p, "Swap"), 0);
	EXPECT_EQ(wrong(self->p, 0, 16), 0);
}

/* --- what keeps it from being made ------------------------------------------------------ */

TEST_F(parts, not_of_the_pinned)
{
	struct iovec iov = { self->p + 5 * PAGE, 8 };
	int fds[2];

	fill(self->p, 0, 32);
	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(vmsplice(fds[1], &iov, 1, 0), 8);
	ASSERT_TRUE(made(1 << 4));
	EXPECT_EQ(order_at(self->p), 0);
	EXPECT_EQ(order_at(self->p + 16 * PAGE), 4);
	close(fds[0]);
	close(fds[1]);
	ASSERT_TRUE(scanned());
	EXPECT_EQ(order_at(self->p), 4);
	EXPECT_EQ(wrong(self->p, 0, 32), 0);
}

TEST_F(parts, not_of_the_shared)
{
	int fds[2], status;
	pid_t pid;
	char c;

	fill(self->p, 0, 16);
	ASSERT_EQ(pipe(fds), 0);
	pid = fork();
	if (!pid) {
		close(fds[1]);
		_exit(read(fds[0], &c, 1) != 0 || wrong(self->p, 0, 16));
	}
	ASSERT_TRUE(made(1 << 4));
	EXPECT_EQ(order_at(self->p), 0);
	close(fds[1]);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	/* Nobody else has them any more. */
	ASSERT_TRUE(scanned());
	EXPECT_EQ(order_at(self->p), 4);
	EXPECT_EQ(wrong(self->p, 0, 16), 0);
	close(fds[0]);
}

TEST_F(parts, not_of_what_is_in_swap)
{
	need_swap();
	fill(self->p, 0, 32);
	settle_lru();
	ASSERT_EQ(madvise(self->p + 3 * PAGE, PAGE, MADV_PAGEOUT), 0);
	ASSERT_EQ(smaps_kb(self->p, "Swap"), 4);
	ASSERT_TRUE(made(1 << 4));
	EXPECT_EQ(order_at(self->p), 0);
	EXPECT_EQ(order_at(self->p + 16 * PAGE), 4);
	EXPECT_EQ(smaps_kb(self->p, "Swap"), 4);
	EXPECT_EQ(wrong(self->p, 0, 32), 0);
}

TEST_F(parts, not_of_a_part_moved_elsewhere)
{
	fill(self->p, 0, 16);
	ASSERT_TRUE(made(1 << 3));
	ASSERT_EQ(order_at(self->p), 3);
	/* A folio that lies on both sides of where a larger one would begin. */
	ASSERT_EQ(mremap(self->p, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, self->p + 100 * PAGE),
		  self->p + 100 * PAGE);
	for (size_t i = 96; i < 112; i++)
		if (i < 100 || i >= 108)
			fill(self->p, i, 1);
	ASSERT_TRUE(made(1 << 4));
	EXPECT_EQ(order_at(self->p + 100 * PAGE), 3);
}

TEST_F(parts, not_in_a_read_only_mapping)
{
	fill(self->p, 0, 16);
	ASSERT_EQ(mprotect(self->p, HUGE, PROT_READ), 0);
	ASSERT_TRUE(made(1 << 4));
	EXPECT_EQ(order_at(self->p), 0);
	EXPECT_EQ(wrong(self->p, 0, 16), 0);
}

TEST_F(parts, not_under_userfaultfd)
{
	int uffd;

	fill(self->p, 0, 16);
	uffd = track_writes(self->p, HUGE);
	ASSERT_TRUE(made(1 << 4));
	EXPECT_EQ(order_at(self->p), 0);
	close(uffd);
	ASSERT_TRUE(scanned());
	EXPECT_EQ(order_at(self->p), 4);
}

TEST_F(parts, not_where_the_program_says_so)
{
	fill(self->p, 0, 16);
	ASSERT_EQ(madvise(self->p, HUGE, MADV_NOHUGEPAGE), 0);
	ASSERT_TRUE(made(1 << 4));
	EXPECT_EQ(order_at(self->p), 0);
}

/* The zero page is a hole. */
TEST_F(parts, of_zero_pages)
{
	knob_set(MAX_NONE, 255);
	EXPECT_EQ(not_zero(self->p, 8, 8), 0);
	fill(self->p, 0, 9);
	ASSERT_TRUE(made(1 << 4));
	EXPECT_EQ(order_at(self->p), 4);
	EXPECT_EQ(smaps_kb(self->p, "Rss"), 64);
	EXPECT_EQ(wrong(self->p, 0, 9), 0);
	EXPECT_EQ(not_zero(self->p, 9, 7), 0);
	fill(self->p, 9, 7);
	EXPECT_EQ(wrong(self->p, 0, 16), 0);
}

TEST_HARNESS_MAIN

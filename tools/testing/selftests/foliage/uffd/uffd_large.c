// SPDX-License-Identifier: GPL-2.0
/*
 * Large folios come where a call gives all of what one has and the settings allow its size; and never
 * where not. Whatever comes, what is told is exact.
 */
#define _GNU_SOURCE
#include "uffd.h"

#include "harness.h"
#include "../thp/thp.h"

#define MANY	2048UL	/* four huge pages */
#define DIR64	THP_DIR "hugepages-64kB/"

static char was[64], limit[256];

FIXTURE(large) { int fd; char *p, *src; };

static void allow(const char *size, const char *word)
{
	char path[128];

	snprintf(path, sizeof(path), THP_DIR "hugepages-%s/enabled", size);
	if (!write_text(path, word))
		fail_setup("%s", path);
}

FIXTURE_SETUP(large)
{
	if (!*was && !read_text(DIR64 "enabled", was, sizeof(was)))
		fail_setup(DIR64);
	self->fd = uffd_with(0, O_CLOEXEC);
	self->p = thp_room(MANY, ANON, -1);
	self->src = mmap(NULL, MANY * PAGE, RW, ANON, -1, 0);
	ASSERT_NE(self->src, MAP_FAILED);
	madvise(self->src, MANY * PAGE, MADV_NOHUGEPAGE);
	thp_fill(self->src, MANY);
	ASSERT_EQ(uffd_add(self->fd, self->p, MANY * PAGE, MISSING | WP), 0);
}

FIXTURE_TEARDOWN(large)
{
	allow("64kB", strstr(was, "[never]") ? "never" : "inherit");
	allow("2048kB", "inherit");
	close(self->fd);
	munmap(self->p, MANY * PAGE);
	munmap(self->src, MANY * PAGE);
}

static long huge_kb(char *p)
{
	return smaps_kb(p, "AnonHugePages");
}

/* Folios of @nr pages that are all there, one behind the other. */
static size_t folios(char *p, size_t pages, size_t nr)
{
	uint64_t frames[PAGES], flags[PAGES];
	size_t n = 0;

	for (size_t i = 0; i + nr <= pages; i += nr) {
		bool all = true;

		frames_of(p + i * PAGE, frames, nr);
		flags_of(p + i * PAGE, flags, nr);
		for (size_t j = 0; j < nr; j++)
			all = all && frames[j] == frames[0] + j && flags[j] & KPF(j ? KPF_TAIL : KPF_HEAD);
		n += all;
	}
	return n;
}

static size_t present(char *p, size_t pages)
{
	size_t n = 0;

	for (size_t i = 0; i < pages; i++)
		n += !!(pagemap_of(p + i * PAGE) & PM_PRESENT);
	return n;
}

TEST_F(large, huge)
{
	long before = vm_count("thp_fault_alloc");

	ASSERT_EQ(copy(self->fd, self->p, self->src, MANY, 0), MANY * PAGE);
	EXPECT_EQ(huge_kb(self->p), 4 * 2048);
	EXPECT_EQ(vm_count("thp_fault_alloc") - before, 4);
	EXPECT_EQ(thp_wrong(self->p, MANY), 0);
	/* They can be written, given up in part, and forked. */
	*(volatile uint64_t *)(self->p + 5 * PAGE) = 6;
	ASSERT_EQ(madvise(self->p + PAGES * PAGE, PAGE, MADV_DONTNEED), 0);
	EXPECT_EQ(huge_kb(self->p), 3 * 2048);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

/* Ends that are no huge page, and a page that is there already. */
TEST_F(large, huge_among_small)
{
	ASSERT_EQ(copy(self->fd, self->p + 3 * PAGE, self->src + 3 * PAGE, MANY - 10, 0), (MANY - 10) * PAGE);
	EXPECT_EQ(huge_kb(self->p), 2 * 2048);
	EXPECT_EQ(present(self->p, MANY), MANY - 10);
	for (size_t i = 3; i < MANY - 7; i += 50)
		EXPECT_TRUE(thp_page_is(self->p + i * PAGE, i));
	ASSERT_EQ(madvise(self->p, MANY * PAGE, MADV_DONTNEED), 0);
	ASSERT_EQ(copy(self->fd, self->p + 1100 * PAGE, self->src, 1, 0), PAGE);
	EXPECT_EQ(copy(self->fd, self->p, self->src, MANY, 0), 1100 * PAGE);
	/* The first table is there from before, and the third from the page that is in the way. */
	EXPECT_EQ(huge_kb(self->p), 2048);
	EXPECT_EQ(present(self->p, MANY), 1101);
	EXPECT_EQ(thp_wrong(self->p, 1100), 0);
	/* A huge page is in the way. */
	EXPECT_EQ(copy(self->fd, self->p, self->src, PAGES, 0), -EEXIST);
}

/* The settings say no. */
TEST_F(large, not_allowed)
{
	allow("2048kB", "never");
	ASSERT_EQ(copy(self->fd, self->p, self->src, MANY, 0), MANY * PAGE);
	EXPECT_EQ(huge_kb(self->p), 0);
	EXPECT_EQ(folios(self->p, MANY, 16), 0);
	ASSERT_EQ(madvise(self->p, MANY * PAGE, MADV_DONTNEED), 0);
	allow("2048kB", "inherit");
	ASSERT_EQ(madvise(self->p, MANY * PAGE, MADV_NOHUGEPAGE), 0);
	ASSERT_EQ(copy(self->fd, self->p, self->src, MANY, 0), MANY * PAGE);
	EXPECT_EQ(huge_kb(self->p), 0);
	EXPECT_EQ(thp_wrong(self->p, MANY), 0);
}

TEST_F(large, of_64k)
{
	allow("2048kB", "never");
	allow("64kB", "always");
	ASSERT_EQ(copy(self->fd, self->p, self->src, MANY, 0), MANY * PAGE);
	EXPECT_EQ(folios(self->p, MANY, 16), MANY / 16);
	EXPECT_EQ(thp_wrong(self->p, MANY), 0);
	ASSERT_EQ(madvise(self->p, MANY * PAGE, MADV_DONTNEED), 0);
	/* Those that are aligned and wanted as a whole, and find their entries empty. */
	ASSERT_EQ(copy(self->fd, self->p + 40 * PAGE, self->src + 40 * PAGE, 1, 0), PAGE);
	EXPECT_EQ(copy(self->fd, self->p + 5 * PAGE, self->src + 5 * PAGE, 100, 0), 35 * PAGE);
	EXPECT_EQ(copy(self->fd, self->p + 41 * PAGE, self->src + 41 * PAGE, 64, 0), 64 * PAGE);
	EXPECT_EQ(folios(self->p + 16 * PAGE, 16, 16), 1);
	EXPECT_EQ(folios(self->p + 32 * PAGE, 16, 16), 0);
	EXPECT_EQ(folios(self->p + 48 * PAGE, 48, 16), 3);
	EXPECT_EQ(present(self->p, MANY), 100);
	for (size_t i = 5; i < 105; i++)
		EXPECT_TRUE(thp_page_is(self->p + i * PAGE, i));
}

/* One page a call is one page, whatever is allowed. */
TEST_F(large, by_pages)
{
	allow("64kB", "always");
	for (size_t i = 0; i < 32; i++)
		ASSERT_EQ(copy(self->fd, self->p + i * PAGE, self->src + i * PAGE, 1, 0), PAGE);
	EXPECT_EQ(folios(self->p, 32, 16), 0);
	EXPECT_EQ(present(self->p, MANY), 32);
}

/* The source ends in the middle of a folio. */
TEST_F(large, source_ends)
{
	static const size_t at[] = { 0, 1, 20, 511, 512, 700 };

	allow("64kB", "always");
	for (int huge = 0; huge < 2; huge++) {
		allow("2048kB", huge ? "inherit" : "never");
		for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
			char *page = self->src + at[i] * PAGE;

			ASSERT_EQ(mprotect(page, PAGE, PROT_NONE), 0);
			EXPECT_EQ(copy(self->fd, self->p, self->src, MANY, 0),
				  at[i] ? (int64_t)(at[i] * PAGE) : -EFAULT);
			EXPECT_EQ(present(self->p, MANY), at[i]);
			ASSERT_EQ(mprotect(page, PAGE, RW), 0);
			EXPECT_EQ(thp_wrong(self->p, at[i]), 0);
			EXPECT_EQ(huge_kb(self->p), huge && at[i] >= PAGES ? 2048 : 0);
			ASSERT_EQ(madvise(self->p, MANY * PAGE, MADV_DONTNEED), 0);
			/* Without a table too. */
			munmap(self->p, MANY * PAGE);
			self->p = thp_room(MANY, ANON, -1);
			ASSERT_EQ(uffd_add(self->fd, self->p, MANY * PAGE, MISSING | WP), 0);
		}
	}
}

/* A source that is not in memory is a large folio all the same. */
TEST_F(large, source_not_there)
{
	need_swap();
	settle_lru();
	madvise(self->src, MANY * PAGE, 21 /* MADV_PAGEOUT */);
	ASSERT_EQ(copy(self->fd, self->p, self->src, MANY, 0), MANY * PAGE);
	EXPECT_EQ(huge_kb(self->p), 4 * 2048);
	EXPECT_EQ(thp_wrong(self->p, MANY), 0);
}

TEST_F(large, protected)
{
	uint64_t words[3] = { (uintptr_t)self->p, MANY * PAGE, 0 };

	allow("64kB", "always");
	ASSERT_EQ(copy(self->fd, self->p, self->src, PAGES + 64, UFFDIO_COPY_MODE_WP), HUGE + 64 * PAGE);
	EXPECT_EQ(huge_kb(self->p), 2048);
	for (size_t i = 0; i < PAGES + 64; i += 3)
		EXPECT_TRUE(pagemap_of(self->p + i * PAGE) & PM_UFFD_WP);
	ASSERT_EQ(ioctl(self->fd, UFFDIO_WRITEPROTECT, words), 0);
	*(volatile uint64_t *)(self->p + 7 * PAGE) = 8;
	*(volatile uint64_t *)(self->p + (PAGES + 7) * PAGE) = PAGES + 8;
	EXPECT_EQ(thp_wrong(self->p, PAGES + 64), 0);
}

/* Zeroes: the huge zero page, which costs nothing, and becomes small ones where it is written. */
TEST_F(large, zeroes)
{
	struct uffdio_zeropage z = { .range = { (uintptr_t)self->p, MANY * PAGE } };

	ASSERT_EQ(ioctl(self->fd, UFFDIO_ZEROPAGE, &z), 0);
	EXPECT_EQ(z.zeropage, MANY * PAGE);
	EXPECT_EQ(pages_with(self->p, MANY, KPF_THP), MANY);
	EXPECT_EQ(smaps_kb(self->p, "Rss"), 0);
	*(volatile uint64_t *)(self->p + 5 * PAGE) = 6;
	for (size_t i = 0; i < MANY; i++)
		EXPECT_EQ(*(volatile uint64_t *)(self->p + i * PAGE), i == 5 ? 6 : 0);
}

/* At a cgroup's limit large folios are not to be had, and pages are swapped out for those that come. */
TEST_F(large, limit)
{
	char path[200];

	need_swap();
	enter_cgroup("uffd-large", path, sizeof(path));
	snprintf(limit, sizeof(limit), "%s/memory.max", path);
	allow("64kB", "always");
	if (!write_text(limit, "3M"))
		fail_setup("%s", limit);
	ASSERT_EQ(copy(self->fd, self->p, self->src, MANY, 0), MANY * PAGE);
	EXPECT_LT(present(self->p, MANY), (3 << 20) / PAGE + 1);
	EXPECT_EQ(thp_wrong(self->p, MANY), 0);
	write_text(limit, "max");
	ASSERT_EQ(madvise(self->p, MANY * PAGE, MADV_DONTNEED), 0);
	leave_cgroup(path);
}

TEST_HARNESS_MAIN

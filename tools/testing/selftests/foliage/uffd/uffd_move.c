// SPDX-License-Identifier: GPL-2.0
/*
 * UFFDIO_MOVE: every kind of source, whole, in part, and where it ends in the middle. The same frame is
 * at the new address, nothing is at the old one, and what is told is exact.
 */
#define _GNU_SOURCE
#include "uffd.h"

#include "../../../../../mm/gup_test.h"
#include "harness.h"
#include "../thp/thp.h"

#define MANY	1280UL
#define MIDDLE	700UL
#define HOLES	2	/* UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES */
#define SIZES	THP_DIR "hugepages-64kB/enabled"

/* A device that writes when it has time: what is swapped out there stays in the swap cache. */
#define DISK	"/tmp/uffd-swap"

static bool disk_swap(bool on)
{
	return !system(on ? "truncate -s 64M " DISK " && losetup /dev/loop6 " DISK " && mkswap /dev/loop6 > /dev/null"
			    " && swapon -p 100 /dev/loop6"
			  : "swapoff /dev/loop6 && losetup -d /dev/loop6 && rm " DISK);
}

FIXTURE(move) { int fd; char *dst, *src; };

FIXTURE_SETUP(move)
{
	self->fd = uffd_with(1 << 16 /* UFFD_FEATURE_MOVE */, O_CLOEXEC);
	/* Huge pages come only where a test asks for them. */
	self->dst = thp_room(MANY, ANON, -1);
	self->src = thp_room(MANY, ANON, -1);
	madvise(self->dst, MANY * PAGE, MADV_NOHUGEPAGE);
	madvise(self->src, MANY * PAGE, MADV_NOHUGEPAGE);
	ASSERT_EQ(uffd_add(self->fd, self->dst, MANY * PAGE, MISSING), 0);
}

FIXTURE_TEARDOWN(move)
{
	close(self->fd);
	munmap(self->dst, MANY * PAGE);
	munmap(self->src, MANY * PAGE);
	if (!access(DISK, F_OK))
		disk_swap(false);
}

/* Bytes, or the error. The call says so twice. */
static int64_t move(int fd, char *dst, char *src, size_t pages, uint64_t mode)
{
	int64_t words[5] = { (uintptr_t)dst, (uintptr_t)src, pages * PAGE, mode, 77 };
	int ret = ioctl(fd, UFFDIO_MOVE, words), err = errno;

	if (ret ? err != (words[4] < 0 ? -words[4] : EAGAIN) : words[4] != (int64_t)(pages * PAGE))
		fail_setup("UFFDIO_MOVE: %d, errno %d, move %lld", ret, err, (long long)words[4]);
	return words[4];
}

/* Pages of @p that have what thp_fill() wrote to the page that is @from pages on. */
static size_t right(char *p, size_t from, size_t pages)
{
	size_t n = 0;

	for (size_t i = 0; i < pages; i++)
		n += thp_page_is(p + i * PAGE, from + i);
	return n;
}

static size_t present(char *p, size_t pages)
{
	size_t n = 0;

	for (size_t i = 0; i < pages; i++)
		n += !!(pagemap_of(p + i * PAGE) & (PM_PRESENT | PM_SWAP));
	return n;
}

/* To a place that lies otherwise in its table. The frames are those of before. */
TEST_F(move, small)
{
	uint64_t before[MANY], after[MANY];

	thp_fill(self->src, MANY - 3);
	frames_of(self->src, before, MANY - 3);
	ASSERT_EQ(move(self->fd, self->dst + 3 * PAGE, self->src, MANY - 3, 0), (MANY - 3) * PAGE);
	frames_of(self->dst + 3 * PAGE, after, MANY - 3);
	EXPECT_EQ(memcmp(before, after, (MANY - 3) * 8), 0);
	EXPECT_EQ(present(self->src, MANY), 0);
	EXPECT_EQ(right(self->dst + 3 * PAGE, 0, MANY - 3), MANY - 3);
	for (size_t i = 3; i < MANY; i++)
		EXPECT_TRUE(pagemap_of(self->dst + i * PAGE) & PM_SOFT_DIRTY);
}

/* The reverse map finds them where they are: to be swapped out they must be unmapped. */
TEST_F(move, found_by_the_reverse_map)
{
	need_swap();
	thp_fill(self->src, 100);
	ASSERT_EQ(move(self->fd, self->dst, self->src, 100, 0), 100 * PAGE);
	settle_lru();
	ASSERT_EQ(madvise(self->dst, 100 * PAGE, 21 /* MADV_PAGEOUT */), 0);
	for (size_t i = 0; i < 100; i++)
		EXPECT_TRUE(pagemap_of(self->dst + i * PAGE) & PM_SWAP);
	EXPECT_EQ(right(self->dst, 0, 100), 100);
}

/* A page of whom it is not known whether it was written to must be written out all the same. */
TEST_F(move, clean_stays_clean)
{
	need_swap();
	thp_fill(self->src, 40);
	ASSERT_EQ(madvise(self->src, 40 * PAGE, 8 /* MADV_FREE */), 0);
	*(volatile uint64_t *)(self->src + 7 * PAGE) = 99;
	ASSERT_EQ(move(self->fd, self->dst, self->src, 40, 0), 40 * PAGE);
	settle_lru();
	ASSERT_EQ(madvise(self->dst, 40 * PAGE, 21), 0);
	EXPECT_EQ(*(volatile uint64_t *)(self->dst + 7 * PAGE), 99);
}

static const size_t ends[] = { 0, 1, 31, 32, 511, 512, MIDDLE };

TEST_F(move, hole)
{
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		thp_fill(self->src, MANY);
		ASSERT_EQ(madvise(self->src + ends[i] * PAGE, PAGE, MADV_DONTNEED), 0);
		EXPECT_EQ(move(self->fd, self->dst, self->src, MANY, 0),
			  ends[i] ? (int64_t)(ends[i] * PAGE) : -ENOENT);
		EXPECT_EQ(right(self->dst, 0, ends[i]), ends[i]);
		EXPECT_EQ(present(self->dst, MANY), ends[i]);
		EXPECT_EQ(move(self->fd, self->dst + ends[i] * PAGE, self->src + ends[i] * PAGE, MANY - ends[i],
			       HOLES), (MANY - ends[i]) * PAGE);
		EXPECT_EQ(present(self->dst, MANY), MANY - 1);
		EXPECT_EQ(right(self->dst + (ends[i] + 1) * PAGE, ends[i] + 1, MANY - ends[i] - 1), MANY - ends[i] - 1);
		ASSERT_EQ(madvise(self->dst, MANY * PAGE, MADV_DONTNEED), 0);
	}
	/* Nothing at all, not even a table. */
	EXPECT_EQ(move(self->fd, self->dst, self->src, MANY, HOLES), MANY * PAGE);
	EXPECT_EQ(present(self->dst, MANY), 0);
}

TEST_F(move, meets_a_page)
{
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		thp_fill(self->src, MANY);
		ASSERT_EQ(uffd_fill(self->fd, self->dst, ends[i], 0), 0);
		EXPECT_EQ(move(self->fd, self->dst, self->src, MANY, 0),
			  ends[i] ? (int64_t)(ends[i] * PAGE) : -EEXIST);
		EXPECT_EQ(right(self->dst, 0, ends[i]), ends[i]);
		EXPECT_EQ(right(self->src + ends[i] * PAGE, ends[i], MANY - ends[i]), MANY - ends[i]);
		ASSERT_EQ(madvise(self->dst, MANY * PAGE, MADV_DONTNEED), 0);
	}
}

/* Holes and zero pages meet one too. */
TEST_F(move, nothing_meets_a_page)
{
	ASSERT_EQ(uffd_fill(self->fd, self->dst, 40, 0), 0);
	EXPECT_EQ(move(self->fd, self->dst, self->src, 100, HOLES), 40 * PAGE);
	for (size_t i = 0; i < 100; i++)
		(void)*(volatile char *)(self->src + i * PAGE);
	EXPECT_EQ(move(self->fd, self->dst, self->src, 100, 0), 40 * PAGE);
	EXPECT_EQ(present(self->src, 100), 60);
	EXPECT_EQ(present(self->dst, 100), 41);
	EXPECT_EQ(*(volatile uint64_t *)(self->dst + 39 * PAGE), 0);
	*(volatile uint64_t *)(self->dst + 39 * PAGE) = 5;
	EXPECT_EQ(*(volatile uint64_t *)(self->dst + 38 * PAGE), 0);
}

/* A page that a child has too stays, and what is behind it. */
TEST_F(move, shared)
{
	int ends_now[2], status;
	pid_t child;

	thp_fill(self->src, MANY);
	ASSERT_EQ(pipe(ends_now), 0);
	ASSERT_EQ(madvise(self->src, MANY * PAGE, 10 /* MADV_DONTFORK */), 0);
	ASSERT_EQ(madvise(self->src + 45 * PAGE, PAGE, 11 /* MADV_DOFORK */), 0);
	child = fork();
	if (!child) {
		close(ends_now[1]);
		_exit(read(ends_now[0], &status, 1) != 0);
	}
	ASSERT_EQ(madvise(self->src, MANY * PAGE, 11), 0);
	EXPECT_EQ(move(self->fd, self->dst, self->src, 100, 0), 45 * PAGE);
	EXPECT_EQ(move(self->fd, self->dst + 45 * PAGE, self->src + 45 * PAGE, 1, 0), -EBUSY);
	EXPECT_EQ(right(self->src + 45 * PAGE, 45, 55), 55);
	close(ends_now[1]);
	close(ends_now[0]);
	ASSERT_EQ(waitpid(child, &status, 0), child);
	/* One's own again after a write. */
	*(volatile uint64_t *)(self->src + 45 * PAGE) = 46;
	EXPECT_EQ(move(self->fd, self->dst + 45 * PAGE, self->src + 45 * PAGE, 55, 0), 55 * PAGE);
	EXPECT_EQ(right(self->dst, 0, 100), 100);
}

/* What a device may write to stays, and what is behind it. */
TEST_F(move, pinned)
{
	int gup = open("/sys/kernel/debug/gup_test", O_RDWR);
	struct pin_longterm_test pin = { .addr = (uintptr_t)self->src + 45 * PAGE, .size = PAGE,
					 .flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE };

	if (gup < 0)
		SKIP(return, "no CONFIG_GUP_TEST");
	thp_fill(self->src, 100);
	ASSERT_EQ(ioctl(gup, PIN_LONGTERM_TEST_START, &pin), 0);
	EXPECT_EQ(move(self->fd, self->dst, self->src, 100, 0), 45 * PAGE);
	EXPECT_EQ(move(self->fd, self->dst + 45 * PAGE, self->src + 45 * PAGE, 1, 0), -EBUSY);
	EXPECT_EQ(right(self->src + 45 * PAGE, 45, 55), 55);
	ASSERT_EQ(ioctl(gup, PIN_LONGTERM_TEST_STOP), 0);
	EXPECT_EQ(move(self->fd, self->dst + 45 * PAGE, self->src + 45 * PAGE, 55, 0), 55 * PAGE);
	EXPECT_EQ(right(self->dst, 0, 100), 100);
	close(gup);
}

/* Pages in swap, with the swap cache and without. */
TEST_F(move, swapped)
{
	need_swap();
	thp_fill(self->src, 100);
	settle_lru();
	ASSERT_EQ(madvise(self->src, 100 * PAGE, 21), 0);
	(void)*(volatile char *)(self->src + 20 * PAGE);
	ASSERT_EQ(move(self->fd, self->dst, self->src, 100, 0), 100 * PAGE);
	EXPECT_EQ(present(self->src, 100), 0);
	EXPECT_EQ(present(self->dst, 100), 100);
	EXPECT_EQ(right(self->dst, 0, 100), 100);
}

/* A large folio that is in swap, and in the swap cache as one: its pages go all the same. */
TEST_F(move, swapped_huge)
{
	char *src = thp_new();
	long cached = vm_count("nr_swapcached");
	size_t out = 0;

	ASSERT_TRUE(disk_swap(true));
	settle_lru();
	ASSERT_EQ(madvise(src, HUGE, 21), 0);
	UNTIL(!(pagemap_of(src) & PM_PRESENT));
	for (size_t i = 0; i < PAGES; i++)
		out += !!(pagemap_of(src + i * PAGE) & PM_SWAP);
	EXPECT_EQ(out, PAGES);
	EXPECT_GE(vm_count("nr_swapcached") - cached, PAGES)
		TH_LOG("the test shows nothing: the swap cache has not got it");
	ASSERT_EQ(move(self->fd, self->dst + 3 * PAGE, src, PAGES, 0), HUGE);
	EXPECT_EQ(present(src, PAGES), 0);
	EXPECT_EQ(present(self->dst, MANY), PAGES);
	EXPECT_EQ(right(self->dst + 3 * PAGE, 0, PAGES), PAGES);
	munmap(src, HUGE);
	EXPECT_TRUE(disk_swap(false));
	EXPECT_EQ(right(self->dst + 3 * PAGE, 0, PAGES), PAGES);
}

/* A huge page: where it fits its PMD goes, frame and all. */
TEST_F(move, huge)
{
	char *src = thp_new();
	uint64_t frame = frame_of(src);

	ASSERT_EQ(madvise(self->dst, MANY * PAGE, MADV_HUGEPAGE), 0);
	ASSERT_EQ(move(self->fd, self->dst, src, PAGES, 0), HUGE);
	EXPECT_EQ(frame_of(self->dst), frame);
	EXPECT_EQ(smaps_kb(self->dst, "AnonHugePages"), 2048);
	EXPECT_EQ(right(self->dst, 0, PAGES), PAGES);
	EXPECT_EQ(present(src, PAGES), 0);
	munmap(src, HUGE);
}

/* Where it does not fit, or only a part of it is wanted, its pages go. */
TEST_F(move, huge_in_part)
{
	char *src = thp_new();

	ASSERT_EQ(move(self->fd, self->dst + PAGE, src, PAGES, 0), HUGE);
	EXPECT_EQ(right(self->dst + PAGE, 0, PAGES), PAGES);
	EXPECT_EQ(present(src, PAGES), 0);
	thp_fill(src, PAGES);
	EXPECT_EQ(smaps_kb(src, "AnonHugePages"), 0);
	munmap(src, HUGE);
	src = thp_new();
	ASSERT_EQ(move(self->fd, self->dst + 600 * PAGE, src + 7 * PAGE, 100, 0), 100 * PAGE);
	EXPECT_EQ(right(self->dst + 600 * PAGE, 7, 100), 100);
	EXPECT_EQ(right(src, 0, 7), 7);
	EXPECT_EQ(right(src + 107 * PAGE, 107, PAGES - 107), PAGES - 107);
	EXPECT_EQ(present(src, PAGES), PAGES - 100);
	munmap(src, HUGE);
}

/* Pages of a huge page that is mapped by entries, all of which are wanted. */
TEST_F(move, huge_by_entries)
{
	char *src = thp_new_ptes();
	uint64_t frame = frame_of(src);

	ASSERT_EQ(move(self->fd, self->dst, src, PAGES, 0), HUGE);
	EXPECT_EQ(frame_of(self->dst), frame);
	EXPECT_EQ(right(self->dst, 0, PAGES), PAGES);
	EXPECT_EQ(present(src, PAGES), 0);
	munmap(src, HUGE);
}

TEST_F(move, huge_zero)
{
	char *src = thp_room(PAGES, ANON, -1);

	(void)*(volatile char *)src;
	ASSERT_EQ(move(self->fd, self->dst, src, PAGES, 0), HUGE);
	EXPECT_EQ(*(volatile uint64_t *)(self->dst + 77 * PAGE), 0);
	*(volatile uint64_t *)(self->dst + 77 * PAGE) = 5;
	EXPECT_EQ(*(volatile uint64_t *)(self->dst + 78 * PAGE), 0);
	EXPECT_EQ(present(src, PAGES), 0);
	munmap(src, HUGE);
}

/* Which of 16 pages begin a folio of 64 KiB that is all there? */
static size_t large_folios(char *p, size_t pages)
{
	size_t n = 0;

	for (size_t i = 0; i < pages; i += 16) {
		uint64_t frames[16], flags[16];
		bool all = true;

		frames_of(p + i * PAGE, frames, 16);
		flags_of(p + i * PAGE, flags, 16);
		for (int j = 0; j < 16; j++)
			all = all && frames[j] == frames[0] + j && flags[j] & KPF(j ? KPF_TAIL : KPF_HEAD);
		n += all;
	}
	return n;
}

static void fill_large(char *p, size_t pages)
{
	char was[64];

	if (!read_text(SIZES, was, sizeof(was)) || !write_text(SIZES, "always"))
		fail_setup(SIZES);
	madvise(p, pages * PAGE, MADV_HUGEPAGE);
	thp_fill(p, pages);
	if (!write_text(SIZES, strstr(was, "[never]") ? "never" : "inherit"))
		fail_setup(SIZES);
}

/* Folios of 64 KiB: whole where they fit, whatever their number, and split where not. */
TEST_F(move, large)
{
	size_t whole;

	/* Not aligned to a huge page, so that none of that size comes. */
	fill_large(self->src + 1024 * PAGE, 256);
	whole = large_folios(self->src + 1024 * PAGE, 256);
	ASSERT_EQ(whole, 16);
	ASSERT_EQ(move(self->fd, self->dst + 16 * PAGE, self->src + 1024 * PAGE, 256, 0), 256 * PAGE);
	EXPECT_EQ(right(self->dst + 16 * PAGE, 0, 256), 256);
	EXPECT_EQ(present(self->src, MANY), 0);
	EXPECT_EQ(large_folios(self->dst + 16 * PAGE, 256), 16);
	/* They are as good as new: a part of one can be given up, and all of them be split. */
	ASSERT_EQ(madvise(self->dst + 20 * PAGE, PAGE, MADV_DONTNEED), 0);
	EXPECT_EQ(right(self->dst + 21 * PAGE, 5, 251), 251);
}

TEST_F(move, large_in_part)
{
	fill_large(self->src + 1024 * PAGE, 256);
	ASSERT_EQ(large_folios(self->src + 1024 * PAGE, 256), 16);
	/* From the middle of one to the middle of another; those between are whole. */
	ASSERT_EQ(move(self->fd, self->dst + 5 * PAGE, self->src + 1029 * PAGE, 100, 0), 100 * PAGE);
	EXPECT_EQ(right(self->dst + 5 * PAGE, 5, 100), 100);
	EXPECT_EQ(large_folios(self->dst + 16 * PAGE, 80), 5);
	EXPECT_EQ(right(self->src + 1024 * PAGE, 0, 5), 5);
	EXPECT_EQ(right(self->src + 1129 * PAGE, 105, 151), 151);
	/* To where none fits. */
	ASSERT_EQ(move(self->fd, self->dst + 301 * PAGE, self->src + 1136 * PAGE, 64, 0), 64 * PAGE);
	EXPECT_EQ(right(self->dst + 301 * PAGE, 112, 64), 64);
}

/* A page is in the way of a part of one: what comes before goes, and the rest is as it was. */
TEST_F(move, large_meets_a_page)
{
	fill_large(self->src + 1024 * PAGE, 256);
	ASSERT_EQ(uffd_fill(self->fd, self->dst, 42, 0), 0);
	EXPECT_EQ(move(self->fd, self->dst, self->src + 1024 * PAGE, 256, 0), 42 * PAGE);
	EXPECT_EQ(right(self->dst, 0, 42), 42);
	EXPECT_EQ(right(self->src + 1066 * PAGE, 42, 214), 214);
	EXPECT_EQ(move(self->fd, self->dst + 42 * PAGE, self->src + 1066 * PAGE, 1, 0), -EEXIST);
	/* In the first of them, too. */
	ASSERT_EQ(uffd_fill(self->fd, self->dst, 106, 0), 0);
	EXPECT_EQ(move(self->fd, self->dst + 96 * PAGE, self->src + 1120 * PAGE, 64, 0), 10 * PAGE);
	EXPECT_EQ(right(self->dst + 96 * PAGE, 96, 10), 10);
}

/* A child has a part of one: those before go. */
TEST_F(move, large_shared_in_part)
{
	int ends_now[2], status;
	char *p = self->src + 1024 * PAGE;
	pid_t child;

	fill_large(p, 256);
	ASSERT_EQ(pipe(ends_now), 0);
	ASSERT_EQ(madvise(p, 256 * PAGE, 10 /* MADV_DONTFORK */), 0);
	ASSERT_EQ(madvise(p + 42 * PAGE, 5 * PAGE, 11 /* MADV_DOFORK */), 0);
	child = fork();
	if (!child) {
		close(ends_now[1]);
		_exit(read(ends_now[0], &status, 1) != 0);
	}
	ASSERT_EQ(madvise(p, 256 * PAGE, 11), 0);
	/* All entries alike. */
	ASSERT_EQ(mprotect(p, 256 * PAGE, PROT_READ), 0);
	ASSERT_EQ(mprotect(p, 256 * PAGE, RW), 0);
	EXPECT_EQ(move(self->fd, self->dst, p, 256, 0), 42 * PAGE);
	EXPECT_EQ(move(self->fd, self->dst + 42 * PAGE, p + 42 * PAGE, 1, 0), -EBUSY);
	EXPECT_EQ(right(self->dst, 0, 42), 42);
	EXPECT_EQ(right(p + 42 * PAGE, 42, 214), 214);
	close(ends_now[1]);
	close(ends_now[0]);
	ASSERT_EQ(waitpid(child, &status, 0), child);
}

/* One of which a part is wanted, and a page is pinned. */
TEST_F(move, large_pinned)
{
	int gup = open("/sys/kernel/debug/gup_test", O_RDWR);
	struct pin_longterm_test pin = { .addr = (uintptr_t)self->src + 1069 * PAGE, .size = PAGE,
					 .flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE };

	if (gup < 0)
		SKIP(return, "no CONFIG_GUP_TEST");
	fill_large(self->src + 1024 * PAGE, 256);
	ASSERT_EQ(ioctl(gup, PIN_LONGTERM_TEST_START, &pin), 0);
	EXPECT_EQ(move(self->fd, self->dst, self->src + 1024 * PAGE, 40, 0), 32 * PAGE);
	EXPECT_EQ(move(self->fd, self->dst + 32 * PAGE, self->src + 1056 * PAGE, 1, 0), -EBUSY);
	EXPECT_EQ(move(self->fd, self->dst + 32 * PAGE, self->src + 1056 * PAGE, 16, 0), -EBUSY);
	ASSERT_EQ(ioctl(gup, PIN_LONGTERM_TEST_STOP), 0);
	EXPECT_EQ(move(self->fd, self->dst + 32 * PAGE, self->src + 1056 * PAGE, 224, 0), 224 * PAGE);
	EXPECT_EQ(right(self->dst, 0, 256), 256);
	close(gup);
}

/* Within one VMA, and back. */
TEST_F(move, one_vma)
{
	thp_fill(self->src, 100);
	ASSERT_EQ(move(self->fd, self->dst, self->src, 100, 0), 100 * PAGE);
	ASSERT_EQ(move(self->fd, self->dst + 600 * PAGE, self->dst, 100, 0), 100 * PAGE);
	EXPECT_EQ(right(self->dst + 600 * PAGE, 0, 100), 100);
	ASSERT_EQ(move(self->fd, self->dst + 200 * PAGE, self->dst + 600 * PAGE, 100, 0), 100 * PAGE);
	EXPECT_EQ(right(self->dst + 200 * PAGE, 0, 100), 100);
	EXPECT_EQ(present(self->dst, MANY), 100);
}

/* VMAs that are not alike. */
TEST_F(move, refused)
{
	int other = uffd_with(1 << 16, O_CLOEXEC);

	thp_fill(self->src, 10);
	EXPECT_EQ(move(other, self->dst, self->src, 10, 0), -EINVAL);
	ASSERT_EQ(mprotect(self->src, MANY * PAGE, PROT_READ), 0);
	EXPECT_EQ(move(self->fd, self->dst, self->src, 10, 0), -EINVAL);
	ASSERT_EQ(mprotect(self->src, MANY * PAGE, RW), 0);
	ASSERT_EQ(mlock(self->src, MANY * PAGE), 0);
	EXPECT_EQ(move(self->fd, self->dst, self->src, 10, 0), -EINVAL);
	ASSERT_EQ(munlock(self->src, MANY * PAGE), 0);
	EXPECT_EQ(move(self->fd, self->src, self->dst, 10, 0), -EINVAL);
	EXPECT_EQ(move(self->fd, self->dst, self->src + (MANY - 5) * PAGE, 10, 0), -EINVAL);
	EXPECT_EQ(move(self->fd, self->dst + (MANY - 5) * PAGE, self->src, 10, 0), -EINVAL);
	EXPECT_EQ(move(self->fd, self->dst, self->src, 10, 0), 10 * PAGE);
	close(other);
}

TEST_HARNESS_MAIN

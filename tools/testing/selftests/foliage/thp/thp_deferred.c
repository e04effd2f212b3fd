// SPDX-License-Identifier: GPL-2.0
/*
 * Folios that wait to be split: what is counted of them, that memory which is short gets their
 * unmapped and unused pages back, and that nothing stays counted when they are gone.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "harness.h"
#include "thp.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

#define MAX_NONE	THP_DIR "khugepaged/max_ptes_none"

static long partially_mapped(void)
{
	return size_count("2048kB", "nr_anon_partially_mapped");
}

FIXTURE(deferred) {
	char cgroup[256];
	char *p;
	long partial;
};

FIXTURE_SETUP(deferred)
{
	need_swap();
	enter_cgroup("thp_deferred", self->cgroup, sizeof(self->cgroup));
	self->partial = partially_mapped();
	self->p = thp_new();
	settle_lru();
}

FIXTURE_TEARDOWN(deferred)
{
	if (self->p)
		munmap(self->p, HUGE);
	EXPECT_EQ(partially_mapped(), self->partial);
	EXPECT_TRUE(write_text(MAX_NONE, "511"));
	leave_cgroup(self->cgroup);
}

/* Let the shrinkers of the cgroup run; the rest of the memory is not asked for. */
static void shrink(const char *cgroup)
{
	(void)cgroup;
	write_text("/proc/sys/vm/drop_caches", "2");
}

/* What is unmapped in a row is split off alone: the rest stays as large as it can be. */
TEST_F(deferred, rest_stays_large)
{
	static const struct { size_t first, nr; } holes[] = { { 0, 100 }, { 77, 1 }, { 256, 256 }, { 100, 300 } };
	char begins[PAGES];
	size_t h, i, wrong;

	for (h = 0; h < ARRAY_SIZE(holes); h++) {
		size_t end = holes[h].first + holes[h].nr;

		munmap(self->p, HUGE);
		self->p = thp_new();
		settle_lru();
		ASSERT_EQ(madvise(self->p + holes[h].first * PAGE, holes[h].nr * PAGE, MADV_DONTNEED), 0);
		EXPECT_EQ(partially_mapped(), self->partial + 1);
		shrink(self->cgroup);
		EXPECT_EQ(partially_mapped(), self->partial);
		memset(begins, 0, sizeof(begins));
		want_parts(begins, 0, PAGES, holes[h].first, end);
		/* Nothing is there of these. */
		memset(begins + holes[h].first, 1, holes[h].nr);
		EXPECT_EQ(not_parted(self->p, begins), 0)
			TH_LOG("%zu pages from %zu", holes[h].nr, holes[h].first);
		for (i = wrong = 0; i < PAGES; i++)
			wrong += (i < holes[h].first || i >= end) && !thp_page_is(self->p + i * PAGE, i);
		EXPECT_EQ(wrong, 0);
	}
}

/* Holes here and there: it becomes small pages, and what is in the holes is freed. */
TEST_F(deferred, many_holes)
{
	size_t i, wrong;

	for (i = 0; i < PAGES; i += 7)
		ASSERT_EQ(madvise(self->p + i * PAGE, PAGE, MADV_DONTNEED), 0);
	shrink(self->cgroup);
	EXPECT_EQ(partially_mapped(), self->partial);
	EXPECT_EQ(pages_with(self->p, PAGES, KPF_HEAD) + pages_with(self->p, PAGES, KPF_TAIL), 0);
	for (i = wrong = 0; i < PAGES; i++)
		wrong += i % 7 && !thp_page_is(self->p + i * PAGE, i);
	EXPECT_EQ(wrong, 0);
}

/* The part that is unmapped is given back, the other stays as it is. */
TEST_F(deferred, unmapped_part)
{
	long put = size_count("2048kB", "split_deferred"), events = vm_count("thp_deferred_split_page");
	long split = vm_count("thp_split_page");

	ASSERT_EQ(madvise(self->p, 100 * PAGE, MADV_DONTNEED), 0);
	EXPECT_EQ(partially_mapped(), self->partial + 1);
	EXPECT_EQ(size_count("2048kB", "split_deferred"), put + 1);
	EXPECT_EQ(vm_count("thp_deferred_split_page"), events + 1);
	/* It is there once. */
	ASSERT_EQ(madvise(self->p + 200 * PAGE, PAGE, MADV_DONTNEED), 0);
	EXPECT_EQ(size_count("2048kB", "split_deferred"), put + 1);
	shrink(self->cgroup);
	EXPECT_EQ(partially_mapped(), self->partial);
	EXPECT_EQ(vm_count("thp_split_page"), split + 1);
	for (size_t i = 100; i < PAGES; i++)
		if (i != 200)
			ASSERT_TRUE(thp_page_is(self->p + i * PAGE, i));
}

TEST_F(deferred, freed)
{
	ASSERT_EQ(munmap(self->p, 10 * PAGE), 0);
	EXPECT_EQ(partially_mapped(), self->partial + 1);
	munmap(self->p + 10 * PAGE, HUGE - 10 * PAGE);
	self->p = NULL;
	EXPECT_EQ(partially_mapped(), self->partial);
}

TEST_F(deferred, split_by_others)
{
	ASSERT_EQ(madvise(self->p, 10 * PAGE, MADV_DONTNEED), 0);
	ASSERT_EQ(split_range(self->p + 10 * PAGE, PAGES - 10, 0), 0);
	EXPECT_EQ(partially_mapped(), self->partial);
}

TEST_F(deferred, moved)
{
	int node = 1, status = -1;
	void *at = self->p + 20 * PAGE;

	ASSERT_EQ(madvise(self->p, 10 * PAGE, MADV_DONTNEED), 0);
	syscall(SYS_move_pages, 0, 1, &at, &node, &status, 2);
	for (size_t i = 10; i < PAGES; i++)
		ASSERT_TRUE(thp_page_is(self->p + i * PAGE, i));
	shrink(self->cgroup);
	EXPECT_EQ(partially_mapped(), self->partial);
}

TEST_F(deferred, swapped)
{
	ASSERT_EQ(madvise(self->p, 10 * PAGE, MADV_DONTNEED), 0);
	madvise(self->p + 10 * PAGE, HUGE - 10 * PAGE, MADV_PAGEOUT);
	for (size_t i = 10; i < PAGES; i++)
		ASSERT_TRUE(thp_page_is(self->p + i * PAGE, i));
	shrink(self->cgroup);
	EXPECT_EQ(partially_mapped(), self->partial);
}

/* What cannot be split now is there the next time. */
TEST_F(deferred, pinned)
{
	struct iovec iov = { .iov_base = self->p + 300 * PAGE, .iov_len = 8 };
	int fds[2];

	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(vmsplice(fds[1], &iov, 1, 0), 8);
	ASSERT_EQ(madvise(self->p, 10 * PAGE, MADV_DONTNEED), 0);
	shrink(self->cgroup);
	EXPECT_EQ(partially_mapped(), self->partial + 1);
	close(fds[0]);
	close(fds[1]);
	settle_lru();
	shrink(self->cgroup);
	EXPECT_EQ(partially_mapped(), self->partial);
	EXPECT_TRUE(thp_page_is(self->p + 300 * PAGE, 300));
}

/* A cgroup goes away; its folios, queued before and after that, are split all the same. */
static void cgroup_goes(struct __test_metadata *_metadata, struct _test_data_deferred *self, const char *name)
{
	char other[256], *p, *q;

	enter_cgroup(name, other, sizeof(other));
	p = thp_new();
	q = thp_new();
	settle_lru();
	ASSERT_EQ(madvise(p, 10 * PAGE, MADV_DONTNEED), 0);
	leave_cgroup(other);
	/* It is taken offline by a worker. */
	usleep(300000);
	ASSERT_NE(access(other, F_OK), 0);
	EXPECT_EQ(partially_mapped(), self->partial + 1);
	ASSERT_EQ(madvise(q, 10 * PAGE, MADV_DONTNEED), 0);
	EXPECT_EQ(partially_mapped(), self->partial + 2);
	shrink(self->cgroup);
	EXPECT_EQ(partially_mapped(), self->partial);
	for (size_t i = 10; i < PAGES; i++)
		ASSERT_TRUE(thp_page_is(p + i * PAGE, i) && thp_page_is(q + i * PAGE, i));
	munmap(p, HUGE);
	munmap(q, HUGE);
}

TEST_F(deferred, cgroup_gone)
{
	cgroup_goes(_metadata, self, "thp_deferred_gone");
}

#define UP	"/sys/fs/cgroup/thp_deferred_up"

TEST_F(deferred, cgroup_in_cgroup_gone)
{
	ASSERT_EQ(mkdir(UP, 0755), 0);
	ASSERT_TRUE(write_text(UP "/cgroup.subtree_control", "+memory"));
	cgroup_goes(_metadata, self, "thp_deferred_up/gone");
	EXPECT_EQ(rmdir(UP), 0);
}

/* --- what was never used ---------------------------------------------------------------- */

static char *sparse(size_t used)
{
	char *p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	thp_fill(p, used);
	settle_lru();
	return p;
}

TEST_F(deferred, underused)
{
	long split = vm_count("thp_underused_split_page");

	ASSERT_TRUE(write_text(MAX_NONE, "409"));
	char *p = sparse(100), *q = sparse(110);

	shrink(self->cgroup);
	EXPECT_EQ(smaps_kb(p, "Rss"), 400);
	EXPECT_EQ(smaps_kb(q, "Rss"), 2048);
	EXPECT_EQ(vm_count("thp_underused_split_page"), split + 1);
	EXPECT_EQ(thp_wrong(p, 100) + thp_wrong(q, 110), 0);
	EXPECT_EQ(*(volatile uint64_t *)(p + 200 * PAGE), 0);
	/* What was seen to be used is not looked at again. */
	memset(q, 0, HUGE);
	shrink(self->cgroup);
	EXPECT_EQ(smaps_kb(q, "Rss"), 2048);
	munmap(p, HUGE);
	munmap(q, HUGE);
}

TEST_F(deferred, underused_is_off)
{
	ASSERT_TRUE(write_text(MAX_NONE, "409"));
	ASSERT_TRUE(write_text(THP_DIR "shrink_underused", "0"));
	char *p = sparse(10);

	shrink(self->cgroup);
	EXPECT_EQ(smaps_kb(p, "Rss"), 2048);
	EXPECT_TRUE(write_text(THP_DIR "shrink_underused", "1"));
	munmap(p, HUGE);
}

/* With the default, no folio is so little used; none is looked at. */
TEST_F(deferred, underused_by_default)
{
	char *p = sparse(1);

	shrink(self->cgroup);
	EXPECT_EQ(smaps_kb(p, "Rss"), 2048);
	munmap(p, HUGE);
}

TEST_HARNESS_MAIN

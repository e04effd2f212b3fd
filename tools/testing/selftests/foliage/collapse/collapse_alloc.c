// SPDX-License-Identifier: GPL-2.0
/*
 * No memory: one allocation after the other fails in MADV_COLLAPSE and in the first MADV_HUGEPAGE, and
 * khugepaged finds no huge pages. The answer says so, what was there is as it was, the next try works,
 * and nothing is left behind.
 *
 * Needs CONFIG_FAIL_PAGE_ALLOC, and what failslab.h names: the debug kernel has it.
 */
#define _GNU_SOURCE
#include <sys/wait.h>

#include "failslab.h"
#include "../thp/thp.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

#define TOO_MANY	2000

static const char * const suspects[] = { "collapse", "khugepaged", "mm_slot" };

/* Slabs that an operation may need: some kernels have some of them. */
static const char * const slabs[] = {
	"radix_tree_node", "vm_area_struct", "maple_node", "anon_vma", "anon_vma_chain", "mm_slot",
	"khugepaged_mm_slot", "kmalloc-512", "kmalloc-1k", "kmalloc-8k",
};

static char *p;
static int fd;

/* --- memory ----------------------------------------------------------------------------- */

/* Small pages: what is not advised to be huge is not, when it is written to. */
static void make_anon(void)
{
	fd = -1;
	p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	madvise(p, HUGE, MADV_NOHUGEPAGE);
	thp_fill(p, PAGES);
}

static void make_swapped(void)
{
	make_anon();
	settle_lru();
	madvise(p + 100 * PAGE, 4 * PAGE, MADV_PAGEOUT);
}

static void make_entries(void)
{
	fd = -1;
	p = thp_new_ptes();
}

static void make_file(void)
{
	fd = memfd_create("collapse", 0);
	if (fd < 0 || ftruncate(fd, HUGE))
		fail_setup("memfd");
	p = thp_room(PAGES, MAP_SHARED, fd);
}

static void make_shmem(void)
{
	make_file();
	thp_fill(p, PAGES);
}

static void make_holes(void)
{
	make_file();
	thp_fill(p, 3);
}

static void make_shmem_swapped(void)
{
	make_shmem();
	settle_lru();
	madvise(p + 100 * PAGE, 4 * PAGE, MADV_PAGEOUT);
}

static bool is_huge(void)
{
	return smaps_kb(p, fd < 0 ? "AnonHugePages" : "ShmemPmdMapped") == 2048;
}

static long blocks(void)
{
	struct stat st = {};

	if (fd >= 0)
		fstat(fd, &st);
	return st.st_blocks;
}

static int op_collapse(void)
{
	return madvise(p, HUGE, MADV_COLLAPSE) ? -errno : 0;
}

static int op_advise(void)
{
	return madvise(p, HUGE, MADV_HUGEPAGE) ? -errno : 0;
}

static void failures_allow(void)
{
	char path[96];

	pages_may_fail();
	for (int i = 0; i < ARRAY_SIZE(slabs); i++) {
		snprintf(path, sizeof(path), SLAB "%s/failslab", slabs[i]);
		if (!access(path, W_OK))
			may_fail(slabs[i]);
	}
}

/* --- fixtures --------------------------------------------------------------------------- */

FIXTURE(collapse) { };
FIXTURE_VARIANT(collapse)
{
	void (*make)(void);
	size_t filled;
};

FIXTURE_VARIANT_ADD(collapse, anon) { .make = make_anon, .filled = PAGES };
FIXTURE_VARIANT_ADD(collapse, anon_swapped) { .make = make_swapped, .filled = PAGES };
FIXTURE_VARIANT_ADD(collapse, in_place) { .make = make_entries, .filled = PAGES };
FIXTURE_VARIANT_ADD(collapse, shmem) { .make = make_shmem, .filled = PAGES };
FIXTURE_VARIANT_ADD(collapse, shmem_holes) { .make = make_holes, .filled = 3 };
FIXTURE_VARIANT_ADD(collapse, shmem_swapped) { .make = make_shmem_swapped, .filled = PAGES };

FIXTURE_SETUP(collapse)
{
	if (!pages_can_fail())
		SKIP(return, "no CONFIG_FAILSLAB, no CONFIG_FAIL_PAGE_ALLOC");
	need_swap();
	/* khugepaged sleeps when it has seen the first address space. */
	*(volatile char *)thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1) = 1;
	usleep(200000);
	failures_allow();
}

FIXTURE_TEARDOWN(collapse)
{
}

/* The @n-th allocation fails. -1 if there are not so many, else what the call said. */
static int attempt(struct __test_metadata *_metadata, const struct _fixture_variant_collapse *variant, int n)
{
	long had;
	int result;
	bool fails;

	variant->make();
	settle_lru();
	had = blocks();
	if (fd < 0)
		madvise(p, HUGE, MADV_HUGEPAGE);
	fails = failing(n, op_collapse, &result);
	EXPECT_TRUE(fails || !result) TH_LOG("allocation %d: nothing failed, %d", n, result);
	if (result) {
		EXPECT_TRUE(result == -ENOMEM || result == -EINVAL) TH_LOG("allocation %d: %d", n, result);
		EXPECT_FALSE(is_huge());
		EXPECT_EQ(blocks(), had);
	} else {
		EXPECT_TRUE(is_huge());
	}
	EXPECT_EQ(thp_wrong(p, PAGES), PAGES - variant->filled);
	/* What has read the holes as the test did may be on its way to a list. */
	settle_lru();
	EXPECT_EQ(op_collapse(), 0) TH_LOG("after the failure of allocation %d", n);
	EXPECT_TRUE(is_huge());
	EXPECT_EQ(thp_wrong(p, PAGES), PAGES - variant->filled);
	munmap(p - HUGE, 3 * HUGE);
	if (fd >= 0)
		close(fd);
	return fails ? -result : -1;
}

TEST_F_TIMEOUT(collapse, each, 300)
{
	int n, err, no_memory = 0, other = 0;

	for (n = 1; n < TOO_MANY; n++) {
		err = attempt(_metadata, variant, n);
		if (err < 0)
			break;
		no_memory += err == ENOMEM;
		other += err && err != ENOMEM;
	}
	TH_LOG("%d allocations: %d times ENOMEM, %d another error", n - 1, no_memory, other);
	EXPECT_LT(n, TOO_MANY);
	EXPECT_GT(no_memory, 0);
}

/* --- khugepaged's list of address spaces ------------------------------------------------ */

#define DIR	THP_DIR "khugepaged/"

static long number_of(const char *path)
{
	char text[64];

	if (!read_text(path, text, sizeof(text)))
		fail_setup("%s", path);
	return atol(text);
}

static bool scanned(void)
{
	long scans = number_of(DIR "full_scans");

	for (int i = 0; i < 3000; i++) {
		if (number_of(DIR "full_scans") - scans >= 2)
			return true;
		usleep(10000);
	}
	return false;
}

#define TO_SCAN	DIR "pages_to_scan"
/* Half of a huge page. */
#define HALF	THP_DIR "hugepages-1024kB/enabled"

FIXTURE(khugepaged) { char alloc_sleep[64], to_scan[64]; };

FIXTURE_SETUP(khugepaged)
{
	if (!pages_can_fail())
		SKIP(return, "no CONFIG_FAILSLAB, no CONFIG_FAIL_PAGE_ALLOC");
	failures_allow();
	if (!read_text(DIR "alloc_sleep_millisecs", self->alloc_sleep, sizeof(self->alloc_sleep)) ||
	    !read_text(TO_SCAN, self->to_scan, sizeof(self->to_scan)) ||
	    !write_text(DIR "alloc_sleep_millisecs", "10") || !write_text(SCAN_SLEEP, "10"))
		fail_setup(DIR);
}

FIXTURE_TEARDOWN(khugepaged)
{
	write_text(FAIL_PAGE "probability", "0");
	write_text(DIR "alloc_sleep_millisecs", self->alloc_sleep);
	write_text(SCAN_SLEEP, "3600000");
	write_text(TO_SCAN, self->to_scan);
	write_text(HALF, "never");
}

/* Of nobody, from now on: as if memory were in pieces. */
static void no_huge_page(void)
{
	if (!write_text(FAIL_PAGE "min-order", "9") || !write_text(FAIL_PAGE "task-filter", "N") ||
	    !write_text(FAIL_PAGE "times", "-1") || !write_text(FAIL_PAGE "interval", "1") ||
	    !write_text(FAIL_PAGE "probability", "100"))
		fail_setup(FAIL_PAGE);
}

/*
 * In a process that khugepaged does not know, whose first advice lacks the @n-th allocation: 0 if all
 * went well, 1 if there are not so many. What it missed, a fault of a huge page makes up for.
 */
static int introduce(int n)
{
	int result;
	bool fails;

	make_anon();
	settle_lru();
	fails = failing(n, op_advise, &result);
	if (result && (!fails || result != -ENOMEM))
		return 2;
	if (thp_wrong(p, PAGES) || (result && op_advise()))
		return 3;
	*(volatile char *)thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1) = 1;
	if (!scanned())
		return 4;
	if (!is_huge() || thp_wrong(p, PAGES))
		return 5;
	return !fails;
}

TEST_F_TIMEOUT(khugepaged, introduced, 300)
{
	int n, status = 0;
	pid_t pid;

	for (n = 1; n < TOO_MANY && !status; n++) {
		pid = fork();
		if (!pid)
			_exit(introduce(n));
		ASSERT_EQ(waitpid(pid, &status, 0), pid);
	}
	TH_LOG("%d allocations", n - 2);
	EXPECT_EQ(WEXITSTATUS(status), 1);
	EXPECT_GT(n, 2);
}

/* It says so, sleeps, and goes on when there are some again. */
TEST_F_TIMEOUT(khugepaged, no_huge_pages, 300)
{
	long failed, collapsed;

	/* mlockall() has filled all that the program has: that becomes huge before, and is not counted. */
	ASSERT_TRUE(scanned());
	failed = vm_count("thp_collapse_alloc_failed");
	collapsed = number_of(DIR "pages_collapsed");
	make_anon();
	settle_lru();
	no_huge_page();
	EXPECT_EQ(op_advise(), 0);
	for (int i = 0; i < 1000 && vm_count("thp_collapse_alloc_failed") < failed + 3; i++)
		usleep(10000);
	EXPECT_GE(vm_count("thp_collapse_alloc_failed"), failed + 3);
	EXPECT_FALSE(is_huge());
	EXPECT_EQ(number_of(DIR "pages_collapsed"), collapsed);
	EXPECT_EQ(thp_wrong(p, PAGES), 0);
	ASSERT_TRUE(write_text(FAIL_PAGE "probability", "0"));
	EXPECT_TRUE(scanned());
	EXPECT_TRUE(is_huge());
	EXPECT_EQ(number_of(DIR "pages_collapsed"), collapsed + 1);
	EXPECT_EQ(thp_wrong(p, PAGES), 0);
}

/* Two halves are better than nothing, and when there are huge pages again they become one. */
TEST_F_TIMEOUT(khugepaged, smaller_instead, 300)
{
	long made = number_of(DIR "folios_collapsed"), got = size_count("1024kB", "collapse_alloc");

	ASSERT_TRUE(scanned());
	make_anon();
	settle_lru();
	ASSERT_TRUE(write_text(HALF, "madvise"));
	no_huge_page();
	EXPECT_EQ(op_advise(), 0);
	EXPECT_TRUE(scanned());
	EXPECT_FALSE(is_huge());
	EXPECT_GE(number_of(DIR "folios_collapsed"), made + 2);
	EXPECT_GE(size_count("1024kB", "collapse_alloc"), got + 2);
	EXPECT_GT(size_count("2048kB", "collapse_alloc_failed"), 0);
	EXPECT_EQ(pages_with(p, PAGES, KPF_HEAD), 2);
	EXPECT_EQ(pages_with(p, PAGES, KPF_TAIL), PAGES - 2);
	EXPECT_EQ(thp_wrong(p, PAGES), 0);
	ASSERT_TRUE(write_text(FAIL_PAGE "probability", "0"));
	EXPECT_TRUE(scanned());
	EXPECT_TRUE(is_huge());
	EXPECT_EQ(thp_wrong(p, PAGES), 0);
}

#define BEFORE	32

/* A fault that wanted a huge page has it before what lies on the way, of which a round has one. */
TEST_F_TIMEOUT(khugepaged, fallen_back_first, 300)
{
	char *before;

	ASSERT_TRUE(scanned());
	/* Later mappings are lower, which is where a round begins. */
	p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	fd = -1;
	before = thp_room(BEFORE * PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	ASSERT_LT(before, p);
	madvise(before, BEFORE * HUGE, MADV_NOHUGEPAGE);
	thp_fill(before, BEFORE * PAGES);
	settle_lru();
	ASSERT_TRUE(write_text(TO_SCAN, "512"));
	no_huge_page();
	madvise(before, BEFORE * HUGE, MADV_HUGEPAGE);
	thp_fill(p, PAGES);
	ASSERT_FALSE(is_huge());
	settle_lru();
	ASSERT_TRUE(write_text(FAIL_PAGE "probability", "0"));
	/* A round that was on its way has one of the others first. */
	for (int i = 0; i < 10000 && !is_huge(); i++)
		usleep(1000);
	EXPECT_TRUE(is_huge());
	EXPECT_LT(smaps_kb(before, "AnonHugePages"), BEFORE / 4 * 2048);
	EXPECT_EQ(thp_wrong(p, PAGES), 0);
}

TEST_NOTHING_LEAKED(suspects)

TEST_HARNESS_MAIN

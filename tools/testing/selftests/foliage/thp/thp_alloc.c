// SPDX-License-Identifier: GPL-2.0
/*
 * No memory: one allocation after the other fails in what is done with huge pages. The answer says
 * so or smaller pages serve, what was there is as it was, and nothing is left behind.
 *
 * Needs CONFIG_FAIL_PAGE_ALLOC, and what failslab.h names: the debug kernel has it.
 */
#define _GNU_SOURCE
#include <sys/wait.h>

#include "failslab.h"
#include "thp.h"

#define LAST	150	/* of a call's allocations these are tried; a fork has more */
#define TOO_MANY 100000

static const char * const suspects[] = { "thp_", "huge_pmd", "split_", "fault_folio", "fault_zero" };

static char *p, *to;
static int shmem_fd;

/* --- operations: 0, or a negative error ------------------------------------------------- */

static int op_write(void)
{
	p[0] = 1;
	return 0;
}

static int op_read(void)
{
	return *(volatile char *)p;
}

static int op_fork(void)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(!thp_page_is(p + 7 * PAGE, 7));
	if (pid < 0)
		return -errno;
	waitpid(pid, &status, 0);
	return status;
}

static int op_move(void)
{
	return mremap(p, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to ? 0 : -errno;
}

static int op_split(void)
{
	return split_range(p, PAGES, 0);
}

static int op_cold(void)
{
	return madvise(p + 77 * PAGE, PAGE, MADV_COLD) ? -errno : 0;
}

static int op_protect(void)
{
	return mprotect(p + 77 * PAGE, PAGE, PROT_READ) ? -errno : 0;
}

/* --- fixtures --------------------------------------------------------------------------- */

static void make_room(void)
{
	p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static void make_anon(void)
{
	p = thp_new();
	to = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	settle_lru();
}

static void make_shmem(void)
{
	if (access(HUGE_TMPFS, F_OK))
		mount_huge();
	p = thp_new_shmem(&shmem_fd);
	settle_lru();
}

FIXTURE(alloc) { };
FIXTURE_VARIANT(alloc)
{
	void (*make)(void);
	int (*op)(void);
	bool refused;	/* the call can fail; if not, smaller pages serve */
	bool filled;
};

FIXTURE_VARIANT_ADD(alloc, write) { .make = make_room, .op = op_write };
FIXTURE_VARIANT_ADD(alloc, read) { .make = make_room, .op = op_read };
FIXTURE_VARIANT_ADD(alloc, fork) { .make = make_anon, .op = op_fork, .refused = true, .filled = true };
FIXTURE_VARIANT_ADD(alloc, mremap) { .make = make_anon, .op = op_move, .refused = true, .filled = true };
FIXTURE_VARIANT_ADD(alloc, mprotect) { .make = make_anon, .op = op_protect, .refused = true, .filled = true };
FIXTURE_VARIANT_ADD(alloc, split_shmem) { .make = make_shmem, .op = op_split, .refused = true, .filled = true };

FIXTURE_SETUP(alloc)
{
	if (!can_fail() || access(FAIL_PAGE "min-order", W_OK))
		SKIP(return, "no CONFIG_FAILSLAB, no CONFIG_FAIL_PAGE_ALLOC");
	pages_may_fail();
	may_fail("radix_tree_node");
	may_fail("vm_area_struct");
}

FIXTURE_TEARDOWN(alloc)
{
}

/* The @n-th allocation fails. False if there are not so many; *@refused: the call said so. */
static bool attempt(struct __test_metadata *_metadata, const struct _fixture_variant_alloc *variant, int n,
		    bool *refused)
{
	char *was;
	int result;
	bool fails;

	variant->make();
	was = p;
	fails = failing(n, variant->op, &result);
	/* The file says nothing of folios that it could not split. */
	*refused = variant->op == op_split ? pages_with(p, PAGES, KPF_HEAD) : result;
	EXPECT_TRUE(fails || !result);
	if (variant->op == op_move && !result)
		was = to;
	EXPECT_EQ(variant->filled ? thp_wrong(was, PAGES) : (size_t)p[PAGE], 0);
	munmap(was, HUGE);
	if (shmem_fd > 0)
		close(shmem_fd);
	shmem_fd = 0;
	return fails;
}

TEST_F_TIMEOUT(alloc, each, 300)
{
	int n, low = 0, high = 1, step, times = 0;
	bool refused;

	/* The last allocation that there is: low < it <= high. */
	while (attempt(_metadata, variant, high, &refused) && high < TOO_MANY) {
		low = high;
		high *= 2;
	}
	for (step = (high - low) / 2; step; step = (high - low) / 2) {
		if (attempt(_metadata, variant, low + step, &refused))
			low += step;
		else
			high = low + step;
	}
	for (n = low > LAST ? low - LAST : 1; n <= low; n++) {
		attempt(_metadata, variant, n, &refused);
		times += refused;
	}
	TH_LOG("%d allocations; of the last, %d were missed", low, times);
	EXPECT_GT(low, 0);
	EXPECT_EQ(!!times, variant->refused);
}

FIXTURE(no_alloc) { };
FIXTURE_SETUP(no_alloc)
{
	if (!can_fail() || access(FAIL_PAGE "min-order", W_OK))
		SKIP(return, "no CONFIG_FAILSLAB, no CONFIG_FAIL_PAGE_ALLOC");
	pages_may_fail();
	may_fail("radix_tree_node");
}

FIXTURE_TEARDOWN(no_alloc)
{
}

/* Does it take memory? A slab that is full takes some for the next object: not each time. */
static bool always_takes(int (*op)(void))
{
	int result;

	for (int i = 0; i < 8; i++) {
		make_anon();
		if (!failing(1, op, &result))
			return result;
		munmap(p, HUGE);
		munmap(to, HUGE);
	}
	return true;
}

/* A split of anonymous memory takes none: it is done where there is none. */
TEST_F(no_alloc, split)
{
	ASSERT_FALSE(always_takes(op_split));
	EXPECT_EQ(pages_with(p, PAGES, KPF_HEAD), 0);
	EXPECT_EQ(thp_wrong(p, PAGES), 0);
	ASSERT_FALSE(always_takes(op_cold));
	EXPECT_GT(pages_with(p, PAGES, KPF_HEAD), 1);
	EXPECT_EQ(thp_wrong(p, PAGES), 0);
}

TEST_NOTHING_LEAKED(suspects)

TEST_HARNESS_MAIN

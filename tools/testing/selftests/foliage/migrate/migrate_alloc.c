// SPDX-License-Identifier: GPL-2.0
/*
 * No page for the target: the allocation of one folio after the other fails, and all of them, in
 * move_pages(2), mbind(2), compaction and memory offlining, for memory of each kind. What could
 * not move is where it was and holds what it held, the answer says so, the next try succeeds, and
 * the pages that were taken meanwhile are given back.
 *
 * Needs CONFIG_FAIL_PAGE_ALLOC, and what failslab.h names: the debug kernel has it.
 */
#define _GNU_SOURCE
#include <signal.h>

#include "failslab.h"
#include "migrate.h"

#define BLOCK		"/sys/devices/system/memory/memory%d/state"
#define PAGES		1024UL
#define BYTES		(PAGES * PAGE)

static struct mem m;
static const char * const suspects[] = { "migrate", "move_pages", "mbind", "compact" };

/* --- failures --------------------------------------------------------------------------- */

/* No page for anything that @op wants. */
static int failing_pages(int (*op)(void))
{
	int fd = open("/proc/self/make-it-fail", O_RDWR), result;

	if (fd < 0 || !write_text(FAIL_PAGE "times", "-1") ||
	    !write_text(FAIL_PAGE "probability", "100") || pwrite(fd, "1", 1, 0) != 1)
		fail_setup("make-it-fail");
	result = op();
	if (pwrite(fd, "0", 1, 0) != 1 || !write_text(FAIL_PAGE "probability", "0"))
		fail_setup("make-it-fail");
	close(fd);
	return result;
}

/* --- operations ------------------------------------------------------------------------- */

/* Merged pages are there twice. */
static size_t distinct(void)
{
	return m.kind == M_KSM ? PAGES / 2 : PAGES;
}

static int op_move(void)
{
	return move_range(m.p, distinct(), m.step, 1, m.how);
}

static int op_mbind(void)
{
	unsigned long node = 2;
	int flags = (m.how == MOVE_ALL ? MPOL_MF_MOVE_ALL : MPOL_MF_MOVE) | MPOL_MF_STRICT;

	return syscall(SYS_mbind, m.p, BYTES, MPOL_BIND, &node, 64, flags) ? -errno : 0;
}

static int op_file = -1;	/* opened before, as that takes memory too */

static int op_compact(void)
{
	return pwrite(op_file, "1", 1, 0) == 1 ? 0 : -errno;
}

static int op_offline(void)
{
	return pwrite(op_file, "offline", 7, 0) == 7 ? 0 : -errno;
}

/* --- fixtures --------------------------------------------------------------------------- */

FIXTURE(alloc) {
};

FIXTURE_VARIANT(alloc) {
	enum mem_kind kind;
};

FIXTURE_VARIANT_ADD(alloc, anon_4k) { .kind = M_4K };
FIXTURE_VARIANT_ADD(alloc, anon_64k) { .kind = M_64K };
FIXTURE_VARIANT_ADD(alloc, thp) { .kind = M_THP };
FIXTURE_VARIANT_ADD(alloc, thp_by_ptes) { .kind = M_THP_PTES };
FIXTURE_VARIANT_ADD(alloc, shmem) { .kind = M_SHMEM };
FIXTURE_VARIANT_ADD(alloc, shmem_huge) { .kind = M_SHMEM_HUGE };
FIXTURE_VARIANT_ADD(alloc, ext4) { .kind = M_EXT4 };
FIXTURE_VARIANT_ADD(alloc, tmpfs_private) { .kind = M_TMPFS };
FIXTURE_VARIANT_ADD(alloc, ksm) { .kind = M_KSM };
FIXTURE_VARIANT_ADD(alloc, hugetlb) { .kind = M_HUGETLB };

static void make(enum mem_kind kind)
{
	char path[128];

	mem_make(&m, kind, PAGES);
	snprintf(path, sizeof(path), NODE_HUGETLB, 1);
	/* Or else the target would be there already. */
	if (kind == M_HUGETLB)
		write_text(path, "0");
}

FIXTURE_SETUP(alloc)
{
	if (!pages_can_fail())
		SKIP(return, "no CONFIG_FAIL_PAGE_ALLOC");
	pages_may_fail();
	make(variant->kind);
	mem_home(&m);
	/* What the calls themselves use is there from now on, the kernel's answers included. */
	move_range(m.p, PAGES, 1, 0, MOVE_OWN);
}

FIXTURE_TEARDOWN(alloc)
{
	if (!m.p)
		return;
	mem_free(&m);
	for (int i = 0; i < 100 && (vm_count("nr_isolated_anon") || vm_count("nr_isolated_file")); i++)
		usleep(50000);
	EXPECT_EQ(vm_count("nr_isolated_anon"), 0);
	EXPECT_EQ(vm_count("nr_isolated_file"), 0);
}

/* Large folios are split where they do not move: the next attempt needs others. */
static void anew(enum mem_kind kind)
{
	if (m.step > 1) {
		mem_free(&m);
		make(kind);
	} else {
		syscall(SYS_mbind, m.p, BYTES, MPOL_DEFAULT, NULL, 0, 0);
	}
	move_range(m.p, PAGES, 1, 0, m.how);
	if (count_on(m.p, PAGES, 0) != PAGES)
		fail_setup("memory on node 0");
}

/*
 * An answer of no error means that all have moved, and any other that some have not; none is
 * anywhere else.
 */
static void expect_true_answer(struct __test_metadata *_metadata, int result, int error)
{
	size_t there;

	/* A file's huge page is unmapped when it is split: look at the pages before they are counted. */
	EXPECT_EQ(mem_wrong(&m), 0);
	there = count_on(m.p, PAGES, 1);
	EXPECT_TRUE(result >= 0 || result == error || result == -ENOMEM)
		TH_LOG("answer %d", result);
	EXPECT_EQ(result == 0, there == PAGES)
		TH_LOG("answer %d, and %zu pages have moved", result, there);
	EXPECT_EQ(there + count_on(m.p, PAGES, 0), PAGES);
}

static void expect_next_succeeds(struct __test_metadata *_metadata)
{
	settle_lru();
	move_range(m.p, PAGES, 1, 1, m.how);
	EXPECT_EQ(count_on(m.p, PAGES, 1), PAGES);
	EXPECT_EQ(mem_wrong(&m), 0);
}

static void fail_each(struct __test_metadata *_metadata, enum mem_kind kind, int (*op)(void),
		      int error)
{
	static const int nth[] = { 1, 2, 3, 4, 5, 8, 64, 511, 512, 513, 1023, 1024, 4000 };
	int result, hits = 0, refused = 0;
	bool hit = true;

	for (size_t i = 0; i < ARRAY_SIZE(nth) && hit; i++) {
		anew(kind);
		hit = failing(nth[i], op, &result);
		hits += hit;
		refused += result != 0;
		expect_true_answer(_metadata, result, error);
		expect_next_succeeds(_metadata);
	}
	EXPECT_GT(hits, 0);
	EXPECT_FALSE(hit);
	/* A large folio moves in pieces where it cannot as a whole. */
	if (m.step == 1)
		EXPECT_GT(refused, 0);
}

static void fail_all(struct __test_metadata *_metadata, enum mem_kind kind, int (*op)(void),
		     int error)
{
	int result;

	anew(kind);
	result = failing_pages(op);
	EXPECT_NE(result, 0);
	expect_true_answer(_metadata, result, error);
	EXPECT_EQ(count_on(m.p, PAGES, 0), PAGES);
	expect_next_succeeds(_metadata);
}

TEST_F(alloc, move_pages)
{
	fail_each(_metadata, variant->kind, op_move, -ENOMEM);
	fail_all(_metadata, variant->kind, op_move, -ENOMEM);
}

TEST_F(alloc, mbind)
{
	/* A merged page is met twice, which is an error for STRICT. */
	if (variant->kind == M_KSM)
		return;
	fail_each(_metadata, variant->kind, op_mbind, -EIO);
	fail_all(_metadata, variant->kind, op_mbind, -EIO);
}

/* Free pages, and those that processors keep for themselves. */
static long free_pages(void)
{
	static char text[65536];
	long n;

	settle_lru();
	n = vm_count("nr_free_pages");
	if (!read_text("/proc/zoneinfo", text, sizeof(text)))
		fail_setup("/proc/zoneinfo");
	for (char *p = text; (p = strstr(p, "count:")); p++)
		n += atol(p + 6);
	return n;
}

#define ATTEMPTS 32
#define NOISE	512	/* pages; the machine is never quite at rest */

/* A batch, or a huge page, that is lost in each attempt would be more than the noise. */
TEST_F(alloc, pages_come_back)
{
	long before = 0, lost;
	int result;

	for (int i = -1; i < ATTEMPTS; i++) {
		failing(m.step > 1 ? 2 : 300, op_move, &result);
		move_range(m.p, PAGES, 1, 0, m.how);
		if (i < 0)
			before = free_pages();
	}
	lost = before - free_pages();
	TH_LOG("%ld pages less are free", lost);
	EXPECT_LT(lost, NOISE);
	EXPECT_EQ(mem_wrong(&m), 0);
}

/* Compaction has its targets from the free lists, and needs no page from the allocator. */
TEST_F(alloc, compaction)
{
	op_file = open("/proc/sys/vm/compact_memory", O_WRONLY);
	ASSERT_GE(op_file, 0);
	EXPECT_EQ(failing_pages(op_compact), 0);
	EXPECT_EQ(mem_wrong(&m), 0);
	close(op_file);
}

/* --- memory that is to go --------------------------------------------------------------- */

static bool block_set(int block, const char *state)
{
	char path[96];

	snprintf(path, sizeof(path), BLOCK, block);
	return write_text(path, state);
}

static int block_movable(void)
{
	for (int block = 47; block > 32; block--)
		if (block_set(block, "offline") && block_set(block, "online_movable"))
			return block;
	return -1;
}

static void on_alarm(int sig)
{
}

static size_t in_block(int block)
{
	static uint64_t map[PAGES];
	size_t n = 0;

	pagemap_read(m.p, PAGES, map);
	for (size_t i = 0; i < PAGES; i++)
		n += (map[i] & ((1ULL << 55) - 1)) / 32768 == (uint64_t)block;
	return n;
}

/* Memory does not go as long as there is no other place, and whoever waits for it can give up. */
TEST(offline)
{
	struct sigaction act = { .sa_handler = on_alarm };
	static const enum mem_kind kinds[] = { M_4K, M_64K, M_THP, M_SHMEM, M_EXT4 };
	char path[96];
	int block, result;

	if (!pages_can_fail())
		SKIP(return, "no CONFIG_FAIL_PAGE_ALLOC");
	pages_may_fail();
	block = block_movable();
	ASSERT_GE(block, 0);
	sigaction(SIGALRM, &act, NULL);
	snprintf(path, sizeof(path), BLOCK, block);
	op_file = open(path, O_RDWR);
	ASSERT_GE(op_file, 0);
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		allocate_on(1);
		mem_make_here(&m, kinds[k], PAGES);
		allocate_on(-1);
		ASSERT_GT(in_block(block), 0);
		alarm(4);
		EXPECT_LT(failing_pages(op_offline), 0);
		alarm(0);
		EXPECT_EQ(mem_wrong(&m), 0);
		EXPECT_GT(in_block(block), 0);
		for (int n = 1; n <= 4; n++) {
			if (failing(n, op_offline, &result) && result)
				EXPECT_EQ(block_set(block, "offline"), true);
			EXPECT_EQ(in_block(block), 0);
			EXPECT_EQ(mem_wrong(&m), 0);
			ASSERT_TRUE(block_set(block, "online_movable"));
			syscall(SYS_migrate_pages, 0, 64, &(unsigned long){ 2 }, &(unsigned long){ 1 });
			syscall(SYS_migrate_pages, 0, 64, &(unsigned long){ 1 }, &(unsigned long){ 2 });
		}
		mem_free(&m);
	}
	close(op_file);
	ASSERT_TRUE(block_set(block, "offline"));
	ASSERT_TRUE(block_set(block, "online"));
}

TEST_NOTHING_LEAKED(suspects)

static void __attribute__((constructor)) before_all(void)
{
	mem_mount_huge();
}

TEST_HARNESS_MAIN

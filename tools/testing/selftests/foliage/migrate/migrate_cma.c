// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that is lent out until it is needed in one piece: an area of CMA, here the one kept for a
 * huge page of 1 GiB (hugetlb_cma=0:1G on the kernel's command line). Movable pages live in it,
 * user's and drivers'; when the huge page is asked for, every one of them must move out, and
 * nothing may be lost.
 *
 * A page that somebody holds makes the request fail, and only that.
 */
#define _GNU_SOURCE
#include "harness.h"
#include "migrate.h"
#define vm_count movable_vm_count	/* both headers have one */
#include "movable.h"

#define POOL		"/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"
#define GIANT		(1UL << 30)
#define AREA_PAGES	(GIANT / PAGE)
#define CHUNK		4096UL		/* pages */
#define CHUNKS		256
#define WANTED		4096UL		/* pages of each kind in the area */

static char *reason;
static uint64_t area;	/* its first frame */

static bool in_area(uint64_t pfn)
{
	return pfn >= area && pfn < area + AREA_PAGES;
}

static long pool_set(const char *count)
{
	char text[32];

	if (!write_text(POOL, count) || !read_text(POOL, text, sizeof(text)))
		fail_setup(POOL);
	return strtol(text, NULL, 10);
}

/* The huge page itself tells where the area is. */
static void find_area(void)
{
	char *p;

	if (access(POOL, W_OK)) {
		reason = "no huge pages of 1 GiB";
		return;
	}
	if (pool_set("1") != 1) {
		reason = "no room for a huge page of 1 GiB: boot with hugetlb_cma=0:1G";
		return;
	}
	p = mmap(NULL, GIANT, PROT_READ, ANON | MAP_HUGETLB | (30 << MAP_HUGE_SHIFT), -1, 0);
	if (p == MAP_FAILED || madvise(p, PAGE, MADV_POPULATE_READ))
		fail_setup("a huge page of 1 GiB");
	area = frame_of(p);
	munmap(p, GIANT);
	pool_set("0");
}

/* Memory in chunks, taken until enough of it lies in the area. */
struct tenant {
	char *chunk[CHUNKS];
	size_t chunks;
	size_t inside;
};

static size_t pages_inside(const char *p, size_t pages)
{
	size_t n = 0;

	for (size_t i = 0; i < pages; i++)
		n += in_area(frame_of(p + i * PAGE));
	return n;
}

static size_t tenant_inside(const struct tenant *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->chunks; i++)
		n += pages_inside(t->chunk[i], CHUNK);
	return n;
}

static uint64_t content(size_t chunk, size_t page)
{
	return (chunk << 32 | page) ^ 0x5a5a5a5a00000000;
}

static void tenant_move_in(struct tenant *t, int flags)
{
	for (t->chunks = t->inside = 0; t->inside < WANTED; t->chunks++) {
		char *p;

		if (t->chunks == CHUNKS)
			fail_setup("only %zu pages got into the area", t->inside);
		p = mem_map(CHUNK, RW, flags, -1);
		madvise(p, CHUNK * PAGE, MADV_NOHUGEPAGE);
		for (size_t i = 0; i < CHUNK; i++)
			*(uint64_t *)(p + i * PAGE) = content(t->chunks, i);
		t->chunk[t->chunks] = p;
		t->inside += pages_inside(p, CHUNK);
	}
	settle_lru();
}

static size_t tenant_wrong(const struct tenant *t)
{
	size_t n = 0;

	for (size_t c = 0; c < t->chunks; c++)
		for (size_t i = 0; i < CHUNK; i++)
			n += *(volatile uint64_t *)(t->chunk[c] + i * PAGE) != content(c, i);
	return n;
}

static void tenant_leave(struct tenant *t)
{
	for (size_t c = 0; c < t->chunks; c++)
		munmap(t->chunk[c], CHUNK * PAGE);
}

/* Pages of the driver of lib/test_movable. */
static size_t driver_inside(void)
{
	size_t n, inside = 0;
	struct movable_page *pages = movable_pages(&n);

	for (size_t i = 0; i < n; i++)
		inside += in_area(pages[i].pfn);
	free(pages);
	return inside;
}

static void driver_move_in(void)
{
	char why[128];
	int argc = 0;

	if (!movable_load(&argc, NULL, why, sizeof(why)))
		fail_setup("%s", why);
	movable_reset();
	for (int i = 0; i < CHUNKS && driver_inside() < WANTED; i++)
		if (movable_write("alloc", "%lu 0", CHUNK))
			fail_setup("pages of the driver");
}

FIXTURE(area) {
};

FIXTURE_SETUP(area)
{
	if (reason)
		SKIP(return, "%s", reason);
	ASSERT_EQ(pool_set("0"), 0);
}

FIXTURE_TEARDOWN(area)
{
	pool_set("0");
}

TEST_F(area, anonymous_pages_move_out)
{
	struct tenant t;

	tenant_move_in(&t, ANON);
	TH_LOG("%zu of %zu pages in the area", t.inside, t.chunks * CHUNK);
	EXPECT_EQ(pool_set("1"), 1);
	EXPECT_EQ(tenant_inside(&t), 0);
	EXPECT_EQ(tenant_wrong(&t), 0);
	tenant_leave(&t);
}

TEST_F(area, shared_memory_moves_out)
{
	struct tenant t;

	tenant_move_in(&t, MAP_SHARED | MAP_ANONYMOUS);
	TH_LOG("%zu of %zu pages in the area", t.inside, t.chunks * CHUNK);
	EXPECT_EQ(pool_set("1"), 1);
	EXPECT_EQ(tenant_inside(&t), 0);
	EXPECT_EQ(tenant_wrong(&t), 0);
	tenant_leave(&t);
}

TEST_F(area, pages_of_a_driver_move_out)
{
	size_t inside;

	driver_move_in();
	inside = driver_inside();
	TH_LOG("%zu pages in the area", inside);
	EXPECT_GE(inside, WANTED);
	EXPECT_EQ(pool_set("1"), 1);
	EXPECT_EQ(driver_inside(), 0);
	EXPECT_GE(movable_stat("migrate_ok"), (long)inside);
	EXPECT_CONSISTENT();
	movable_reset();
}

/* The page stays, the others keep their contents; later the request succeeds. */
TEST_F(area, page_that_is_held)
{
	struct tenant t;
	struct pin pin;
	char *held = NULL;
	uint64_t pfn;

	tenant_move_in(&t, ANON);
	for (size_t i = 0; i < CHUNK && !held; i++)
		if (in_area(frame_of(t.chunk[t.chunks - 1] + i * PAGE)))
			held = t.chunk[t.chunks - 1] + i * PAGE;
	ASSERT_NE(held, NULL);
	pin_page(&pin, held);
	pfn = frame_of(held);
	EXPECT_EQ(pool_set("1"), 0);
	EXPECT_EQ(frame_of(held), pfn);
	EXPECT_EQ(tenant_wrong(&t), 0);
	unpin_page(&pin);
	EXPECT_EQ(pool_set("1"), 1);
	EXPECT_EQ(tenant_inside(&t), 0);
	EXPECT_EQ(tenant_wrong(&t), 0);
	tenant_leave(&t);
}

static void __attribute__((constructor)) before_all(void)
{
	find_area();
}

TEST_HARNESS_MAIN

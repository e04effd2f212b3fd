// SPDX-License-Identifier: GPL-2.0
/*
 * What cgroups see of zswap: memory.zswap.max, .current, .writeback and .rejects, and memory.stat.
 */
#define _GNU_SOURCE
#include <sys/stat.h>

#include "harness.h"
#include "zswap.h"

#define PAGES	1024

FIXTURE(cgroup) { char path[128], *p; };
FIXTURE_VARIANT(cgroup) { unsigned int kib; };
FIXTURE_VARIANT_ADD(cgroup, small) { .kib = 0 };
FIXTURE_VARIANT_ADD(cgroup, large) { .kib = 64 };

static void cg_set(const char *path, const char *file, const char *word)
{
	char name[256];

	snprintf(name, sizeof(name), "%s/%s", path, file);
	if (!write_text(name, word))
		fail_setup("%s to %s", word, name);
}

static long cg_number(const char *path, const char *file)
{
	char name[256], text[64];

	snprintf(name, sizeof(name), "%s/%s", path, file);
	return read_text(name, text, sizeof(text)) ? atol(text) : -1;
}

static long cg_line(const char *path, const char *file, const char *line)
{
	char name[256];

	snprintf(name, sizeof(name), "%s/%s", path, file);
	return line_of(name, line);
}

static long rejects(const char *path, const char *why)
{
	return cg_line(path, "memory.zswap.rejects", why);
}

FIXTURE_SETUP(cgroup)
{
	need_swap();
	zswap_defaults();
	enter_cgroup("zswap-test", self->path, sizeof(self->path));
	self->p = room(PAGES * PAGE, variant->kib);
	fill(self->p, PAGES, TEXT, 1);
}

FIXTURE_TEARDOWN(cgroup)
{
	munmap(self->p, PAGES * PAGE);
	zswap_defaults();
	leave_cgroup(self->path);
}

TEST_F(cgroup, counts)
{
	long pages = variant->kib && !is_ours() ? 0 : PAGES;

	EXPECT_EQ(cg_number(self->path, "memory.zswap.current"), 0);
	swap_out(self->p, PAGES);
	EXPECT_EQ(cg_line(self->path, "memory.stat", "zswpout"), pages);
	EXPECT_EQ(cg_line(self->path, "memory.stat", "zswapped"), pages * (long)PAGE);
	EXPECT_EQ(cg_line(self->path, "memory.stat", "zswap"),
		  cg_number(self->path, "memory.zswap.current"));
	if (pages) {
		EXPECT_GT(cg_number(self->path, "memory.zswap.current"), PAGES * 64);
		EXPECT_LT(cg_number(self->path, "memory.zswap.current"), PAGES * (long)PAGE / 2);
	}
	EXPECT_EQ(wrong(self->p, PAGES, TEXT, 1), 0);
	EXPECT_EQ(cg_line(self->path, "memory.stat", "zswpin"), pages);
	EXPECT_EQ(cg_line(self->path, "memory.stat", "zswapped"), 0);
	EXPECT_EQ(cg_number(self->path, "memory.zswap.current"), 0);
}

TEST_F(cgroup, max_of_zero)
{
	cg_set(self->path, "memory.zswap.max", "0");
	swap_out(self->p, PAGES);
	EXPECT_EQ(cg_line(self->path, "memory.stat", "zswpout"), 0);
	EXPECT_EQ(count_of("stored_pages"), 0);
	EXPECT_EQ(wrong(self->p, PAGES, TEXT, 1), 0);
	if (is_ours()) {
		EXPECT_EQ(rejects(self->path, "cgroup_limit"), PAGES);
		EXPECT_EQ(rejects(self->path, "pool_limit"), 0);
	}
}

/* At the limit something older is written to the device, and it is kept to. */
TEST_F(cgroup, max_writes_back)
{
	const long max = 64 << 10;

	if (variant->kib && !is_ours())
		SKIP(return, "no CONFIG_FOLIAGE_ZSWAP");
	cg_set(self->path, "memory.zswap.max", "65536");
	swap_out(self->p, PAGES);
	EXPECT_GT(cg_line(self->path, "memory.stat", "zswpwb"), 0);
	EXPECT_GT(cg_number(self->path, "memory.zswap.current"), 0);
	/* It is looked at before it is known what comes. */
	EXPECT_LT(cg_number(self->path, "memory.zswap.current"), max + (long)(2 * FOLIO));
	EXPECT_EQ(wrong(self->p, PAGES, TEXT, 1), 0);
}

TEST_F(cgroup, no_writeback)
{
	long written;

	if (variant->kib && !is_ours())
		SKIP(return, "no CONFIG_FOLIAGE_ZSWAP");
	cg_set(self->path, "memory.zswap.max", "65536");
	cg_set(self->path, "memory.zswap.writeback", "0");
	settle_lru();
	written = vmstat_of("pswpout");
	ASSERT_EQ(madvise(self->p, PAGES * PAGE, MADV_PAGEOUT), 0);
	EXPECT_EQ(vmstat_of("pswpout"), written);
	EXPECT_EQ(cg_line(self->path, "memory.stat", "zswpwb"), 0);
	EXPECT_GT(count_of("stored_pages"), 0);
	EXPECT_LT(count_of("stored_pages"), PAGES);
	EXPECT_EQ(wrong(self->p, PAGES, TEXT, 1), 0);
}

/* A page that does not compress and may not be written is met by each reclaim: 1, 2, 4 ... go by. */
TEST_F(cgroup, poor_pages_are_not_tried_each_time)
{
	static const int tries[] = { 1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4 };

	if (!is_ours())
		SKIP(return, "no CONFIG_FOLIAGE_ZSWAP");
	cg_set(self->path, "memory.zswap.writeback", "0");
	fill(self->p, PAGES, NOISE, 1);
	settle_lru();
	for (int i = 0; i < 12; i++) {
		ASSERT_EQ(madvise(self->p, PAGES * PAGE, MADV_PAGEOUT), 0);
		EXPECT_EQ(rejects(self->path, "incompressible"), tries[i] * PAGES) TH_LOG("%d", i);
		EXPECT_EQ(rejects(self->path, "incompressible_before"), (i + 1 - tries[i]) * PAGES);
		/* Mapped again, from the swap cache; its slots stay. */
		ASSERT_EQ(wrong(self->p, PAGES, NOISE, 1), 0);
		settle_lru();
	}
	/* What compresses now is taken at its next try, which is not far. */
	fill(self->p, PAGES, TEXT, 1);
	for (int i = 0; i < 9 && !count_of("stored_pages"); i++) {
		ASSERT_EQ(wrong(self->p, PAGES, TEXT, 1), 0);
		settle_lru();
		ASSERT_EQ(madvise(self->p, PAGES * PAGE, MADV_PAGEOUT), 0);
	}
	EXPECT_EQ(count_of("stored_pages"), PAGES);
	EXPECT_EQ(rejects(self->path, "incompressible"), 4 * PAGES);
	EXPECT_EQ(wrong(self->p, PAGES, TEXT, 1), 0);
}

TEST_F(cgroup, pool_limit)
{
	set_parameter("max_pool_percent", "0");
	swap_out(self->p, PAGES);
	EXPECT_EQ(count_of("stored_pages"), 0);
	if (is_ours())
		EXPECT_EQ(rejects(self->path, "pool_limit"), PAGES);
	EXPECT_EQ(wrong(self->p, PAGES, TEXT, 1), 0);
}

/* The file has one line a reason, in this order, and adds up what is below; a child's stay. */
TEST_F(cgroup, rejects_of_children)
{
	static const char * const names[] = {
		"pool_limit", "cgroup_limit", "incompressible", "incompressible_before",
		"compressor_failed", "no_pool_memory", "no_memory",
	};
	char name[256], child[200], text[512], *line;
	int status, n = 0;

	if (!is_ours())
		SKIP(return, "no CONFIG_FOLIAGE_ZSWAP");
	snprintf(name, sizeof(name), "%s/memory.zswap.rejects", self->path);
	ASSERT_TRUE(read_text(name, text, sizeof(text)));
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), n++) {
		ASSERT_LT(n, 7);
		ASSERT_EQ(strncmp(line, names[n], strlen(names[n])), 0);
		ASSERT_EQ(strcmp(line + strlen(names[n]), " 0"), 0);
	}
	ASSERT_EQ(n, 7);

	/* A group with processes hands no controller on. */
	ASSERT_TRUE(write_text("/sys/fs/cgroup/cgroup.procs", "0"));
	cg_set(self->path, "cgroup.subtree_control", "+memory");
	snprintf(child, sizeof(child), "%s/child", self->path);
	ASSERT_EQ(mkdir(child, 0755), 0);
	cg_set(child, "memory.zswap.max", "0");
	if (!fork()) {
		char *p;

		snprintf(name, sizeof(name), "%s/cgroup.procs", child);
		write_text(name, "0");
		p = room(PAGES * PAGE, variant->kib);
		fill(p, PAGES, TEXT, 1);
		swap_out(p, PAGES);
		_exit(0);
	}
	ASSERT_GT(wait(&status), 0);
	ASSERT_EQ(status, 0);
	EXPECT_EQ(rejects(child, "cgroup_limit"), PAGES);
	EXPECT_EQ(rejects(self->path, "cgroup_limit"), PAGES);
	ASSERT_EQ(rmdir(child), 0);
	EXPECT_EQ(rejects(self->path, "cgroup_limit"), PAGES);
}

/* Its pages stay in zswap when a cgroup goes away that paid for them. */
TEST_F(cgroup, goes_away)
{
	long pages = variant->kib && !is_ours() ? 0 : PAGES;

	swap_out(self->p, PAGES);
	ASSERT_TRUE(write_text("/sys/fs/cgroup/cgroup.procs", "0"));
	ASSERT_EQ(rmdir(self->path), 0);
	EXPECT_EQ(count_of("stored_pages"), pages);
	EXPECT_EQ(wrong(self->p, PAGES, TEXT, 1), 0);
	EXPECT_EQ(count_of("stored_pages"), 0);
}

TEST_HARNESS_MAIN

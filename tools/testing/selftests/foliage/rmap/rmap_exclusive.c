// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that a device has for its exclusive use, with an entry in the place of the mapping that
 * keeps the page.
 *
 * Whatever happens to the mapping meanwhile, data is kept, and a processor that touches it gets it.
 */
#define _GNU_SOURCE
#include "rmap_device.h"

#define MTHP_64K	"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled"

/*
 * Entries that are neither present nor swap: no swap device has so high a number. The driver would
 * tell too (HMM_DMIRROR_CHECK_EXCLUSIVE), but it forgets a page more than it is told to.
 */
static bool is_exclusive(uint64_t entry)
{
	return entry & PM_SWAP && entry % 32 > 1;
}

static size_t exclusive(const char *p)
{
	uint64_t map[PAGES];
	size_t n = 0;

	look(p, map);
	for (size_t i = 0; i < PAGES; i++)
		n += is_exclusive(map[i]);
	return n;
}

/* A touch ends it for the page touched and for no other. */
TEST_F(device, exclusive)
{
	uint64_t map[PAGES];

	ASSERT_EQ(make_exclusive(self->fd, self->p, PAGES, self->buf), 0);
	EXPECT_EQ(device(self->fd, HMM_DMIRROR_CHECK_EXCLUSIVE, self->p, 1, NULL), -EPERM);
	EXPECT_EQ(exclusive(self->p), PAGES);
	EXPECT_EQ(count(self->p, PM_PRESENT), 0);
	EXPECT_EQ(wrong(self->buf), 0);
	for (size_t i = 0; i < PAGES; i += 4)
		EXPECT_EQ(*(volatile uint64_t *)(self->p + i * PAGE), value(i));
	for (size_t i = 1; i < PAGES; i += 4)
		*(volatile uint64_t *)(self->p + i * PAGE) = 7 * i;
	EXPECT_EQ(exclusive(self->p), PAGES / 2);
	EXPECT_EQ(count(self->p, PM_PRESENT), PAGES / 2);
	look(self->p, map);
	for (size_t i = 0; i < PAGES; i++) {
		EXPECT_EQ(is_exclusive(map[i]), i % 4 > 1);
		EXPECT_EQ(*(volatile uint64_t *)(self->p + i * PAGE),
			  i % 4 == 1 ? 7 * i : value(i));
	}
	EXPECT_EQ(count(self->p, PM_PRESENT), PAGES);
	EXPECT_EQ(device(self->fd, HMM_DMIRROR_CHECK_EXCLUSIVE, self->p, PAGES, NULL), 0);
}

/* Pages that a child shares are copied first; those of a file cannot be had. */
TEST_F(device, exclusive_of_shared)
{
	char *shared = mmap(NULL, SPAN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int go[2], status;
	char c = 0;
	pid_t pid;

	fill(shared);
	EXPECT_EQ(device(self->fd, HMM_DMIRROR_EXCLUSIVE, shared, PAGES, self->buf), -EBUSY);
	EXPECT_EQ(wrong(shared), 0);
	munmap(shared, SPAN);

	ASSERT_EQ(pipe(go), 0);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		if (read(go[0], &c, 1) != 1)
			_exit(2);
		_exit(wrong(self->p) != 0 || count(self->p, PM_PRESENT) != PAGES);
	}
	ASSERT_EQ(make_exclusive(self->fd, self->p, PAGES, self->buf), 0);
	EXPECT_EQ(exclusive(self->p), PAGES);
	ASSERT_EQ(write(go[1], &c, 1), 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(exclusive(self->p), PAGES);
	EXPECT_EQ(wrong(self->p), 0);
}

/*
 * A device that takes the first page of a large folio has all of it. Once a processor has touched
 * some pages, those are mapped again and the others are still the device's: entries that keep the
 * folio but are no mappings, so that nobody may take them away or count them out.
 */
TEST_F(device, exclusive_part_of_large)
{
	char *room, *p;

	write_text(MTHP_64K, "always");
	room = mmap(NULL, 2 * SPAN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(room, MAP_FAILED);
	p = (char *)(((uintptr_t)room + SPAN - 1) & -SPAN);
	fill(p);
	write_text(MTHP_64K, "never");
	settle_lru();
	for (size_t i = 0; i < PAGES; i += 16) {
		ASSERT_TRUE(frame_flags(frame_of(p + i * PAGE)) & KPF(KPF_HEAD));
		ASSERT_EQ(make_exclusive(self->fd, p + i * PAGE, 1, self->buf), 0);
		EXPECT_EQ(*(volatile uint64_t *)(p + (i + 3) * PAGE), value(i + 3));
		EXPECT_EQ(*(volatile uint64_t *)(p + (i + 9) * PAGE), value(i + 9));
	}
	ASSERT_EQ(exclusive(p), PAGES / 16 * 14);
	/* The device's references are in the way. */
	move_to(p, 1);
	madvise(p, SPAN, MADV_PAGEOUT);
	EXPECT_EQ(wrong(p), 0);
	EXPECT_EQ(exclusive(p), 0);
	settle_lru();
	/* Of pages of one folio, some may be told that it is on its way already. */
	move_to(p, 1);
	EXPECT_EQ(move_to(p, 1), PAGES);
	EXPECT_EQ(wrong(p), 0);
	munmap(room, 2 * SPAN);
}

/* A fork needs the page, so it ends the exclusive use. */
TEST_F(device, exclusive_fork)
{
	int status;
	pid_t pid;

	ASSERT_EQ(make_exclusive(self->fd, self->p, PAGES, self->buf), 0);
	EXPECT_EQ(exclusive(self->p), PAGES);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		if (wrong(self->p))
			_exit(1);
		memset(self->p, 1, SPAN);
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(exclusive(self->p), 0);
	EXPECT_EQ(wrong(self->p), 0);
}

TEST_F(device, exclusive_mprotect)
{
	ASSERT_EQ(make_exclusive(self->fd, self->p, PAGES, self->buf), 0);
	ASSERT_EQ(exclusive(self->p), PAGES);
	ASSERT_EQ(mprotect(self->p, SPAN / 2, PROT_READ), 0);
	for (size_t i = 0; i < PAGES; i++)
		EXPECT_EQ(write_dies(self->p + i * PAGE), i < PAGES / 2);
	EXPECT_EQ(wrong(self->p), 0);
	ASSERT_EQ(mprotect(self->p, SPAN, PROT_READ | PROT_WRITE), 0);
	for (size_t i = 0; i < PAGES; i++)
		EXPECT_FALSE(write_dies(self->p + i * PAGE));
	EXPECT_EQ(exclusive(self->p), 0);
	EXPECT_EQ(wrong(self->p), 0);
}

/* Parts unmapped, parts moved within the address space. */
TEST_F(device, exclusive_unmap)
{
	size_t quarter = SPAN / 4;
	char *to;

	ASSERT_EQ(make_exclusive(self->fd, self->p, PAGES, self->buf), 0);
	ASSERT_EQ(exclusive(self->p), PAGES);
	to = mremap(self->p + quarter, quarter, quarter, MREMAP_MAYMOVE | MREMAP_FIXED, self->buf);
	ASSERT_EQ(to, self->buf);
	ASSERT_EQ(munmap(self->p + 2 * quarter, quarter), 0);
	ASSERT_EQ(madvise(self->p + 3 * quarter, quarter, MADV_DONTNEED), 0);
	for (size_t i = 0; i < PAGES / 4; i++) {
		EXPECT_EQ(*(uint64_t *)(self->p + i * PAGE), value(i));
		EXPECT_EQ(*(uint64_t *)(to + i * PAGE), value(PAGES / 4 + i));
		EXPECT_EQ(*(uint64_t *)(self->p + 3 * quarter + i * PAGE), 0);
	}
}

/* A page that is nowhere mapped can be neither moved nor paged out, nor does it get lost. */
TEST_F(device, exclusive_stays)
{
	char cgroup[256], path[300];

	enter_cgroup("rmap_device", cgroup, sizeof(cgroup));
	snprintf(path, sizeof(path), "%s/memory.reclaim", cgroup);
	for (int round = 0; round < 3; round++) {
		ASSERT_EQ(make_exclusive(self->fd, self->p, PAGES, self->buf), 0);
		EXPECT_EQ(move_to(self->p, 1), 0);
		madvise(self->p, SPAN, MADV_PAGEOUT);
		write_text(path, "4M");
		EXPECT_EQ(exclusive(self->p), PAGES);
		EXPECT_EQ(wrong(self->p), 0);
		EXPECT_EQ(exclusive(self->p), 0);
		settle_lru();
		madvise(self->p, SPAN, MADV_PAGEOUT);
		EXPECT_EQ(wrong(self->p), 0);
		EXPECT_EQ(move_to(self->p, 1), PAGES);
		EXPECT_EQ(move_to(self->p, 0), PAGES);
	}
	leave_cgroup(cgroup);
}

TEST_HARNESS_MAIN

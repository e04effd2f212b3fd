// SPDX-License-Identifier: GPL-2.0
/*
 * khugepaged: what it takes and what it leaves, to the entry; what it counts; and that address spaces
 * may end while it is in them.
 *
 * Memory is prepared under MADV_NOHUGEPAGE, and khugepaged sees it from MADV_HUGEPAGE on.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "harness.h"
#include "khugepaged.h"

#define EXPECT_TAKEN(p, huge) do {		\
	offer(p);				\
	ASSERT_TRUE(scanned());			\
	EXPECT_EQ(is_huge(p), huge);		\
} while (0)

FIXTURE(khugepaged) { char *p; };

FIXTURE_SETUP(khugepaged)
{
	knobs_save();
	knob_set(SLEEP, 10);
	knob_set(ALLOC_SLEEP, 10);
	knob_set(TO_SCAN, 64 * PAGES);
	self->p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	madvise(self->p, HUGE, MADV_NOHUGEPAGE);
}

FIXTURE_TEARDOWN(khugepaged)
{
	munmap(self->p, HUGE);
	knobs_restore();
}

TEST_F(khugepaged, full)
{
	long collapsed = number_of("pages_collapsed"), allocs = vm_count("thp_collapse_alloc");

	thp_fill(self->p, PAGES);
	EXPECT_TAKEN(self->p, true);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	EXPECT_EQ(number_of("pages_collapsed"), collapsed + 1);
	EXPECT_GT(vm_count("thp_collapse_alloc"), allocs);
	/* It is done with it. */
	allocs = vm_count("thp_collapse_alloc");
	ASSERT_TRUE(scanned());
	EXPECT_EQ(vm_count("thp_collapse_alloc"), allocs);
	EXPECT_EQ(number_of("pages_collapsed"), collapsed + 1);
}

TEST_F(khugepaged, empty)
{
	knob_set(MAX_NONE, 300);
	thp_fill(self->p, PAGES - 301);
	EXPECT_TAKEN(self->p, false);
	madvise(self->p, HUGE, MADV_NOHUGEPAGE);
	thp_fill(self->p, PAGES - 300);
	EXPECT_TAKEN(self->p, true);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 300);
	EXPECT_EQ(*(volatile uint64_t *)(self->p + HUGE - PAGE), 0);
}

/* The zero page is nothing, too. */
TEST_F(khugepaged, zero_pages)
{
	size_t i, n = 0;

	knob_set(MAX_NONE, 300);
	for (i = PAGES - 301; i < PAGES; i++)
		n += *(volatile char *)(self->p + i * PAGE);
	EXPECT_EQ(n, 0);
	thp_fill(self->p, PAGES - 301);
	EXPECT_TAKEN(self->p, false);
	madvise(self->p, HUGE, MADV_NOHUGEPAGE);
	thp_fill(self->p, PAGES - 300);
	EXPECT_TAKEN(self->p, true);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 300);
}

TEST_F(khugepaged, none_may_be_empty)
{
	knob_set(MAX_NONE, 0);
	thp_fill(self->p, PAGES - 1);
	EXPECT_TAKEN(self->p, false);
	madvise(self->p, HUGE, MADV_NOHUGEPAGE);
	thp_fill(self->p, PAGES);
	EXPECT_TAKEN(self->p, true);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

static size_t swapped_out(const char *p)
{
	size_t n = 0;

	for (size_t i = 0; i < PAGES; i++)
		n += !!(pagemap_of(p + i * PAGE) & PM_SWAP);
	return n;
}

TEST_F(khugepaged, swapped)
{
	need_swap();
	knob_set(MAX_SWAP, 20);
	thp_fill(self->p, PAGES);
	settle_lru();
	ASSERT_EQ(madvise(self->p + 300 * PAGE, 21 * PAGE, MADV_PAGEOUT), 0);
	ASSERT_EQ(swapped_out(self->p), 21);
	EXPECT_TAKEN(self->p, false);
	ASSERT_EQ(swapped_out(self->p), 21);
	madvise(self->p, HUGE, MADV_NOHUGEPAGE);
	/* Its neighbours may come back with it. */
	thp_fill(self->p, PAGES);
	settle_lru();
	ASSERT_EQ(madvise(self->p + 300 * PAGE, 20 * PAGE, MADV_PAGEOUT), 0);
	ASSERT_EQ(swapped_out(self->p), 20);
	EXPECT_TAKEN(self->p, true);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

/* The child has them all, and the parent all but those that it writes to. */
TEST_F(khugepaged, shared)
{
	int down[2], status = -1;
	pid_t pid;
	char c;

	knob_set(MAX_SHARED, 100);
	thp_fill(self->p, PAGES);
	ASSERT_EQ(pipe(down), 0);
	pid = fork();
	if (!pid) {
		close(down[1]);
		_exit(read(down[0], &c, 1) || thp_wrong(self->p, PAGES) || is_huge(self->p));
	}
	close(down[0]);
	thp_fill(self->p, PAGES - 101);
	EXPECT_TAKEN(self->p, false);
	thp_fill(self->p, PAGES - 100);
	EXPECT_TAKEN(self->p, true);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	close(down[1]);
	waitpid(pid, &status, 0);
	EXPECT_EQ(status, 0);
}

/* Nothing that can be written to: the first write would have to copy all of it. */
TEST_F(khugepaged, read_only)
{
	thp_fill(self->p, PAGES);
	ASSERT_EQ(mprotect(self->p, HUGE, PROT_READ), 0);
	EXPECT_TAKEN(self->p, false);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

TEST_F(khugepaged, not_used_lately)
{
	thp_fill(self->p, PAGES);
	settle_lru();
	ASSERT_TRUE(write_text("/proc/self/clear_refs", "1"));
	EXPECT_TAKEN(self->p, false);
	/* A translation that a TLB still has would not be noted. */
	flush_tlb();
	EXPECT_TRUE(thp_page_is(self->p + 9 * PAGE, 9));
	EXPECT_TAKEN(self->p, true);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

TEST_F(khugepaged, advised_not_to)
{
	thp_fill(self->p, PAGES);
	settle_lru();
	introduce();
	ASSERT_TRUE(scanned());
	EXPECT_FALSE(is_huge(self->p));
	EXPECT_TAKEN(self->p, true);
}

TEST_F(khugepaged, disabled_for_the_process)
{
	thp_fill(self->p, PAGES);
	introduce();
	ASSERT_EQ(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
	EXPECT_TAKEN(self->p, false);
	ASSERT_EQ(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);
	EXPECT_TAKEN(self->p, true);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

TEST_F(khugepaged, locked)
{
	thp_fill(self->p, PAGES);
	ASSERT_EQ(mlock(self->p, HUGE), 0);
	EXPECT_TAKEN(self->p, true);
	settle_lru();
	EXPECT_TRUE(flags_at(self->p) & KPF(KPF_MLOCKED));
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

/* A VMA that has no aligned range in it, and one that begins in the middle of one. */
TEST_F(khugepaged, no_room)
{
	char *q = thp_room(3 * PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	madvise(q, 3 * HUGE, MADV_NOHUGEPAGE);
	thp_fill(q, 3 * PAGES);
	ASSERT_EQ(munmap(q, PAGE), 0);
	ASSERT_EQ(munmap(q + 3 * HUGE - PAGE, PAGE), 0);
	settle_lru();
	madvise(q + PAGE, 3 * HUGE - 2 * PAGE, MADV_HUGEPAGE);
	ASSERT_TRUE(scanned());
	EXPECT_EQ(smaps_kb(q + PAGE, "AnonHugePages"), 2048);
	EXPECT_TRUE(flags_at(q + HUGE) & KPF(KPF_THP));
	munmap(q + PAGE, 3 * HUGE - 2 * PAGE);
}

/* A few at a time: what a round did not get to, the next one does. */
TEST_F(khugepaged, small_rounds)
{
	char *q = thp_room(8 * PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	madvise(q, 8 * HUGE, MADV_NOHUGEPAGE);
	thp_fill(q, 8 * PAGES);
	knob_set(TO_SCAN, 1);
	knob_set(SLEEP, 1);
	settle_lru();
	madvise(q, 8 * HUGE, MADV_HUGEPAGE);
	ASSERT_TRUE(scanned());
	EXPECT_EQ(smaps_kb(q, "AnonHugePages"), 8 * 2048);
	EXPECT_EQ(thp_wrong(q, 8 * PAGES), 0);
	munmap(q, 8 * HUGE);
}

/* A huge page that is mapped by entries is mapped as one again: nothing is allocated or copied. */
TEST_F(khugepaged, in_place)
{
	char *q = thp_new();
	uint64_t frame;
	long allocs;

	madvise(q, HUGE, MADV_NOHUGEPAGE);
	mprotect(q + PAGE, PAGE, PROT_READ);
	mprotect(q + PAGE, PAGE, RW);
	ASSERT_FALSE(is_huge(q));
	frame = frame_of(q);
	allocs = vm_count("thp_collapse_alloc");
	EXPECT_TAKEN(q, true);
	EXPECT_EQ(frame_of(q), frame);
	EXPECT_EQ(vm_count("thp_collapse_alloc"), allocs);
	EXPECT_EQ(thp_wrong(q, PAGES), 0);
	munmap(q, HUGE);
}

/* --- shmem ------------------------------------------------------------------------------ */

/* @used: pages there are. */
static char *shmem_new(int *fd, size_t used)
{
	char *p;

	*fd = memfd_create("khugepaged", 0);
	if (*fd < 0 || ftruncate(*fd, HUGE))
		fail_setup("memfd");
	p = thp_room(PAGES, MAP_SHARED, *fd);
	madvise(p, HUGE, MADV_NOHUGEPAGE);
	thp_fill(p, used);
	return p;
}

/* It leaves it to the next fault to map it. */
TEST_F(khugepaged, shmem)
{
	int fd;
	char *q = shmem_new(&fd, PAGES - 301);

	ASSERT_TRUE(write_text(SHMEM_ENABLED, "advise"));
	knob_set(MAX_NONE, 300);
	offer(q);
	ASSERT_TRUE(scanned());
	EXPECT_FALSE(flags_at(q) & KPF(KPF_THP));
	madvise(q, HUGE, MADV_NOHUGEPAGE);
	thp_fill(q, PAGES - 300);
	offer(q);
	ASSERT_TRUE(scanned());
	EXPECT_EQ(thp_wrong(q, PAGES), 300);
	EXPECT_TRUE(flags_at(q) & KPF(KPF_THP));
	EXPECT_EQ(smaps_kb(q, "ShmemPmdMapped"), 2048);
	munmap(q, HUGE);
	close(fd);
}

/* --- address spaces that end ------------------------------------------------------------ */

#define MOST	32	/* huge pages' worth of a child: 64 MiB */
#define LIVES	200

/* Fills some of it, lets khugepaged come, and goes at some time. */
static void short_life(unsigned int seed)
{
	size_t len = (1 + rand_r(&seed) % MOST) * HUGE;
	char *p = thp_room(len / PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	/* Every page of a part is there, of the rest one of each table. */
	madvise(p, len, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < len; at += at < 4 * HUGE ? PAGE : HUGE)
		p[at] = 1;
	madvise(p, len, MADV_HUGEPAGE);
	usleep(rand_r(&seed) % 20000);
	_exit(0);
}

TEST_F(khugepaged, exits)
{
	int alive = 0, n, status, bad = 0;

	knob_set(SLEEP, 0);
	for (n = 0; n < LIVES || alive;) {
		if (n < LIVES && alive < 4) {
			if (!fork())
				short_life(n);
			n++;
			alive++;
			continue;
		}
		if (wait(&status) < 0)
			break;
		bad += status != 0;
		alive--;
	}
	EXPECT_EQ(bad, 0);
	/* And it goes on as before. */
	knob_set(SLEEP, 10);
	thp_fill(self->p, PAGES);
	EXPECT_TAKEN(self->p, true);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

/* Killed, while khugepaged may be in there. */
TEST_F(khugepaged, kills)
{
	int i, status;
	pid_t pid;

	knob_set(SLEEP, 0);
	for (i = 0; i < 20; i++) {
		pid = fork();
		if (!pid) {
			char *q = thp_room(8 * PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);

			for (;;) {
				madvise(q, 8 * HUGE, MADV_NOHUGEPAGE);
				thp_fill(q, 8 * PAGES);
				madvise(q, 8 * HUGE, MADV_HUGEPAGE);
				madvise(q, 8 * HUGE, MADV_DONTNEED);
			}
		}
		usleep(20000 + i * 3000);
		kill(pid, SIGKILL);
		EXPECT_EQ(waitpid(pid, &status, 0), pid);
	}
	knob_set(SLEEP, 10);
	thp_fill(self->p, PAGES);
	EXPECT_TAKEN(self->p, true);
}

/* Switched off and on again: the thread goes, and comes back to what it knew. */
TEST_F(khugepaged, off_and_on)
{
	thp_fill(self->p, PAGES);
	for (int i = 0; i < 10; i++) {
		EXPECT_TRUE(write_text(ENABLED, "never"));
		EXPECT_TRUE(write_text(ENABLED, "madvise"));
	}
	EXPECT_TRUE(write_text(ENABLED, "never"));
	offer(self->p);
	usleep(200000);
	EXPECT_FALSE(is_huge(self->p));
	EXPECT_TRUE(write_text(ENABLED, "madvise"));
	EXPECT_TAKEN(self->p, true);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

TEST_HARNESS_MAIN

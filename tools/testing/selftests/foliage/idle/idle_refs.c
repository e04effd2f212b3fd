// SPDX-License-Identifier: GPL-2.0
/*
 * What makes a folio busy, and what does not: for each kind of memory, each way
 * to reference it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "foliage.h"

#define PAGES	2048UL	/* four folios of 2 MiB */

FIXTURE(refs) {
	struct region r;
	bool idle[PAGES];
};

FIXTURE_VARIANT(refs) {
	enum kind kind;
};

FIXTURE_VARIANT_ADD(refs, anon_4k) { .kind = ANON_4K };
FIXTURE_VARIANT_ADD(refs, anon_64k) { .kind = ANON_64K };
FIXTURE_VARIANT_ADD(refs, anon_2m) { .kind = ANON_2M };
FIXTURE_VARIANT_ADD(refs, shmem) { .kind = SHMEM };
FIXTURE_VARIANT_ADD(refs, ext4) { .kind = FILE_EXT4 };

FIXTURE_SETUP(refs)
{
	region_make(&self->r, variant->kind, PAGES);
}

FIXTURE_TEARDOWN(refs)
{
	region_free(&self->r);
}

/* Folios whose answer differs from what @busy(folio number) says. */
static int wrong_answers(struct region *r, bool *idle, bool (*busy)(size_t folio))
{
	int wrong = 0;

	region_read(r, idle);
	for (size_t i = 0; i < r->pages; i += r->step)
		wrong += idle[i] == busy(i / r->step);
	return wrong;
}

static bool none(size_t folio) { return false; }
static bool odd(size_t folio) { return folio % 2; }
static bool first(size_t folio) { return folio == 0; }
/* A fault on a file maps the pages around it too, as if they had been used. */
static bool faulted_around(size_t folio) { return folio < 16; }

TEST_F(refs, untouched_stays_idle)
{
	region_mark(&self->r);
	EXPECT_EQ(0, wrong_answers(&self->r, self->idle, none));
	/* Asking again changes nothing. */
	EXPECT_EQ(0, wrong_answers(&self->r, self->idle, none));
}

TEST_F(refs, unmarked_is_not_idle)
{
	struct region *r = &self->r;

	region_read(r, self->idle);
	for (size_t i = 0; i < r->pages; i++)
		ASSERT_FALSE(self->idle[i]);
}

TEST_F(refs, load)
{
	struct region *r = &self->r;

	region_mark(r);
	flush_tlb();
	for (size_t i = r->step; i < r->pages; i += 2 * r->step)
		(void)*(volatile char *)(r->p + i * PAGE);
	EXPECT_EQ(0, wrong_answers(r, self->idle, odd));
	/* The answer stands until the next mark. */
	EXPECT_EQ(0, wrong_answers(r, self->idle, odd));
}

TEST_F(refs, store_to_the_last_page_of_a_folio)
{
	struct region *r = &self->r;

	region_mark(r);
	flush_tlb();
	for (size_t i = r->step; i < r->pages; i += 2 * r->step)
		r->p[(i + r->step - 1) * PAGE + PAGE - 1] = 1;
	EXPECT_EQ(0, wrong_answers(r, self->idle, odd));
}

TEST_F(refs, word_by_word)
{
	struct region *r = &self->r;

	for (size_t i = 0; i < 64; i++)
		frame_mark(r->pfn[i]);
	flush_tlb();
	r->p[0] = 1;
	for (size_t i = 0; i < 64; i += r->step)
		EXPECT_EQ(i != 0, frame_idle(r->pfn[i]));
}

TEST_F(refs, read_and_write_of_the_file)
{
	struct region *r = &self->r;
	char c = 7;

	if (r->fd < 0)
		SKIP(return, "memory without a file");
	region_mark(r);
	ASSERT_EQ(1, pread(r->fd, &c, 1, 10 * PAGE));
	ASSERT_EQ(1, pwrite(r->fd, &c, 1, 20 * PAGE));
	region_read(r, self->idle);
	EXPECT_FALSE(self->idle[10]);
	EXPECT_FALSE(self->idle[20]);
	EXPECT_TRUE(self->idle[11]);
	EXPECT_TRUE(self->idle[21]);
}

TEST_F(refs, unmapped_file_pages)
{
	struct region *r = &self->r;
	char c;

	if (r->fd < 0)
		SKIP(return, "memory without a file");
	/* Nothing maps them: only the flag itself can answer. */
	ASSERT_EQ(0, munmap(r->p, r->pages * PAGE));
	region_mark(r);
	EXPECT_EQ(0, wrong_answers(r, self->idle, none));
	ASSERT_EQ(1, pread(r->fd, &c, 1, 0));
	EXPECT_EQ(0, wrong_answers(r, self->idle, first));
	r->p = mmap(r->p, r->pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, r->fd, 0);
}

TEST_F(refs, gup)
{
	struct region *r = &self->r;
	struct iovec from = { .iov_base = r->p, .iov_len = 8 }, to;
	char buf[8];
	ssize_t n;

	to = (struct iovec){ .iov_base = buf, .iov_len = 8 };
	region_mark(r);
	/* On x86 a pin for reading leaves no trace in a huge entry, one for writing does. */
	n = r->kind == ANON_2M ? process_vm_writev(getpid(), &to, 1, &from, 1, 0) :
				 process_vm_readv(getpid(), &to, 1, &from, 1, 0);
	ASSERT_EQ(8, n);
	EXPECT_EQ(0, wrong_answers(r, self->idle, first));
}

/* A child that touches page @touch when told to, and lives until it is killed. */
static pid_t child_that_touches(struct region *r, size_t touch, int *go, int *done)
{
	int a[2], b[2];
	pid_t pid;
	char c;

	if (pipe(a) || pipe(b))
		fail_setup("pipe");
	pid = fork();
	if (pid)  {
		close(a[0]);
		close(b[1]);
		*go = a[1];
		*done = b[0];
		return pid;
	}
	if (read(a[0], &c, 1) == 1) {
		(void)*(volatile char *)(r->p + touch * PAGE);
		if (write(b[1], &c, 1) == 1)
			pause();
	}
	_exit(0);
}

TEST_F(refs, fork_sharing)
{
	struct region *r = &self->r;
	int go[8], done[8], status;
	pid_t pid[8];
	char c = 0;

	for (int i = 0; i < 8; i++)
		pid[i] = child_that_touches(r, 0, &go[i], &done[i]);
	/* File pages are mapped by who touches them only; anonymous ones by all nine. */
	region_mark(r);
	EXPECT_EQ(0, wrong_answers(r, self->idle, none));
	ASSERT_EQ(1, write(go[5], &c, 1));
	ASSERT_EQ(1, read(done[5], &c, 1));
	EXPECT_EQ(0, wrong_answers(r, self->idle, r->fd < 0 ? first : faulted_around));
	for (int i = 0; i < 8; i++) {
		kill(pid[i], SIGKILL);
		waitpid(pid[i], &status, 0);
		close(go[i]);
		close(done[i]);
	}
}

TEST_F(refs, split_by_mprotect_and_moved_by_mremap)
{
	struct region *r = &self->r;
	size_t half = r->pages / 2 * PAGE;
	char *to;

	/* Several VMAs in one page table, and an address that is not the first one. */
	for (size_t i = 64; i < 512; i += 128)
		ASSERT_EQ(0, mprotect(r->p + i * PAGE, 64 * PAGE, PROT_READ));
	region_mark(r);
	flush_tlb();
	(void)*(volatile char *)(r->p + 64 * PAGE);
	region_read(r, self->idle);
	EXPECT_FALSE(self->idle[64 / r->step * r->step]);
	EXPECT_TRUE(self->idle[1024]);

	to = mremap(r->p + half, half, half, MREMAP_MAYMOVE | MREMAP_FIXED, r->p - 64 * HUGE + 3 * PAGE);
	ASSERT_NE(MAP_FAILED, to);
	region_mark(r);
	flush_tlb();
	(void)*(volatile char *)(to + r->step * PAGE);
	region_read(r, self->idle);
	EXPECT_TRUE(self->idle[r->pages / 2]);
	EXPECT_FALSE(self->idle[r->pages / 2 + r->step]);
	munmap(to, half);
}

TEST_F(refs, kpageflags_agrees)
{
	struct region *r = &self->r;

	region_mark(r);
	flush_tlb();
	r->p[0] = 1;
	region_read(r, self->idle);
	EXPECT_FALSE(frame_flags(r->pfn[0]) & KPF(KPF_IDLE));
	EXPECT_TRUE(frame_flags(r->pfn[r->step]) & KPF(KPF_IDLE));
}

/* A large folio mapped in part, twice, or by entries of two page tables. */
TEST_F(refs, partly_mapped)
{
	struct region *r = &self->r;
	size_t last = r->step - 1;

	if (r->kind != ANON_64K && r->kind != ANON_2M)
		SKIP(return, "no large folios");
	/* The second folio keeps its first and last page only. */
	ASSERT_EQ(0, munmap(r->p + (r->step + 1) * PAGE, (r->step - 2) * PAGE));
	frame_mark(r->pfn[0]);
	frame_mark(r->pfn[r->step]);
	EXPECT_TRUE(frame_idle(r->pfn[r->step]));
	flush_tlb();
	r->p[(r->step + last) * PAGE] = 1;
	EXPECT_FALSE(frame_idle(r->pfn[r->step]));
	EXPECT_TRUE(frame_idle(r->pfn[0]));
}

TEST(swap_cache)
{
	static bool idle[1024];
	uint64_t total = frames_total(), *flags, pfn = 0;
	struct region r;
	int fd;

	need_swap();
	region_make(&r, ANON_4K, 1024);
	for (size_t i = 0; i < r.pages; i++)
		r.p[i * PAGE + 8] = i * 7 ^ i >> 3;
	ASSERT_EQ(0, madvise(r.p, r.pages * PAGE, MADV_PAGEOUT));
	/* Read in, not mapped: what readahead leaves behind. */
	ASSERT_EQ(0, madvise(r.p, r.pages * PAGE, MADV_WILLNEED));
	settle_lru();
	flags = calloc(total, 8);
	fd = open("/proc/kpageflags", O_RDONLY);
	ASSERT_LT(0, pread(fd, flags, total * 8, 0));
	close(fd);
	for (uint64_t i = 0; i < total && !pfn; i++)
		if (flags[i] & KPF(KPF_SWAPCACHE) && flags[i] & KPF(KPF_LRU) && !(flags[i] & KPF(KPF_MMAP)))
			pfn = i;
	free(flags);
	ASSERT_NE(0, pfn) TH_LOG("no page in the swap cache");
	frame_mark(pfn);
	EXPECT_TRUE(frame_idle(pfn));
	/* Once mapped, it has been used. */
	for (size_t i = 0; i < r.pages; i++)
		ASSERT_EQ((char)(i * 7 ^ i >> 3), r.p[i * PAGE + 8]);
	EXPECT_FALSE(frame_idle(pfn));
	(void)idle;
	region_free(&r);
}

/*
 * An Accessed bit that was harvested here is not lost to reclaim: pages touched
 * before the mark survive the reclaim that takes their untouched neighbours.
 */
TEST(young_is_seen_by_reclaim)
{
	const size_t pages = 4096;
	size_t touched = 0, untouched = 0;
	char path[64], file[96], text[32];
	struct region r;

	need_swap();
	enter_cgroup("young", path, sizeof(path));
	region_make(&r, ANON_4K, pages);
	/* Old and inactive, nothing set that speaks for any of them. */
	ASSERT_EQ(0, madvise(r.p, pages * PAGE, MADV_COLD));
	settle_lru();
	flush_tlb();
	for (size_t i = 0; i < pages; i += 2)
		r.p[i * PAGE] = 2;
	region_mark(&r);

	snprintf(file, sizeof(file), "%s/memory.reclaim", path);
	snprintf(text, sizeof(text), "%zu", pages / 4 * PAGE);
	write_text(file, text);
	for (size_t i = 0; i < pages; i++) {
		bool here = frame_of(r.p + i * PAGE);

		if (i % 2)
			untouched += here;
		else
			touched += here;
	}
	leave_cgroup(path);
	TH_LOG("of %zu pages each, %zu touched and %zu untouched ones are left", pages / 2, touched, untouched);
	EXPECT_LT(pages / 2 * 9 / 10, touched);
	EXPECT_GT(pages / 2 * 7 / 10, untouched);
	munmap(r.p, pages * PAGE);
	free(r.pfn);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Every advice that madvise(2) takes, for locked memory of every kind: what would take pages away
 * is refused with EINVAL, everything else is done or refused as for memory that is not locked. In
 * either case the memory is locked afterwards, every page of it is there, is marked, and holds what
 * it held. Only MADV_DONTNEED_LOCKED drops pages, and MADV_HWPOISON loses one.
 *
 * A checkpoint was restored with an advice that one kernel refused and another took.
 */
#define _GNU_SOURCE
#include "mlock_count.h"

#include <errno.h>
#include <setjmp.h>
#include <sys/syscall.h>

/* mlock.h and proc.h have their own of these. */
#undef RW
#undef ANON
#undef PAGES
#undef BYTES
#undef MADV_DONTNEED_LOCKED
#include "mlock.h"
#undef PM_FILE
#undef PM_SWAP
#undef PM_PRESENT
#include "proc.h"

#ifndef MADV_COLD
#define MADV_COLD		20
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif
#ifndef SYS_mseal
#define SYS_mseal		462
#endif

#define N		512UL

/* --- memory ------------------------------------------------------------------------------ */

/* The kinds of foliage.h, and pages of a file that were copied by a write to a private mapping. */
enum { COPIES = HUGETLB + 1 };

static void make(struct region *r, int kind)
{
	if (kind != COPIES) {
		region_make(r, kind, N);
		return;
	}
	*r = (struct region){ .kind = SHMEM, .pages = N, .step = 1, .fd = memfd(N) };
	r->p = map_at(room(N), N, RW, MAP_PRIVATE, r->fd);
	for (size_t i = 0; i < N; i++)
		r->p[i * PAGE] = 1 + i % 100;
	settle_lru();
}

static bool is_file(const struct region *r)
{
	return r->fd >= 0;
}

/*
 * The pages that advice is about: the middle half, but all of a huge page. One whose mapping is split
 * is not marked until reclaim meets it.
 */
static size_t from(const struct region *r)
{
	return r->step == N ? 0 : N / 4;
}

static size_t some(const struct region *r)
{
	return r->step == N ? N : N / 2;
}

static size_t wrong_pages(const struct region *r, size_t from, size_t n)
{
	size_t bad = 0;

	for (size_t i = from; i < from + n; i++)
		bad += *(volatile char *)(r->p + i * PAGE) != (char)(1 + i % 100);
	return bad;
}

/* Ways to have it locked. */
enum { BY_MLOCK, BY_ONFAULT, AND_TRACKED, AND_SEALED };

FIXTURE(advice)
{
	struct region r;
	struct figures start;
	int track;
};

FIXTURE_VARIANT(advice)
{
	int kind, way;
};

FIXTURE_VARIANT_ADD(advice, anon) { .kind = ANON_4K, .way = BY_MLOCK };
FIXTURE_VARIANT_ADD(advice, anon_onfault) { .kind = ANON_4K, .way = BY_ONFAULT };
FIXTURE_VARIANT_ADD(advice, anon_tracked) { .kind = ANON_4K, .way = AND_TRACKED };
FIXTURE_VARIANT_ADD(advice, anon_sealed) { .kind = ANON_4K, .way = AND_SEALED };
FIXTURE_VARIANT_ADD(advice, anon_64k) { .kind = ANON_64K, .way = BY_MLOCK };
FIXTURE_VARIANT_ADD(advice, anon_2m) { .kind = ANON_2M, .way = BY_MLOCK };
FIXTURE_VARIANT_ADD(advice, anon_2m_onfault) { .kind = ANON_2M, .way = BY_ONFAULT };
FIXTURE_VARIANT_ADD(advice, copies) { .kind = COPIES, .way = BY_MLOCK };
FIXTURE_VARIANT_ADD(advice, shmem) { .kind = SHMEM, .way = BY_MLOCK };
FIXTURE_VARIANT_ADD(advice, shmem_onfault) { .kind = SHMEM, .way = BY_ONFAULT };
FIXTURE_VARIANT_ADD(advice, shmem_tracked) { .kind = SHMEM, .way = AND_TRACKED };
FIXTURE_VARIANT_ADD(advice, shmem_sealed) { .kind = SHMEM, .way = AND_SEALED };
FIXTURE_VARIANT_ADD(advice, ext4) { .kind = FILE_EXT4, .way = BY_MLOCK };
FIXTURE_VARIANT_ADD(advice, ext4_onfault) { .kind = FILE_EXT4, .way = BY_ONFAULT };

FIXTURE_SETUP(advice)
{
	int err;

	make(&self->r, variant->kind);
	self->start = figures_now();
	self->track = -1;
	if (variant->way == AND_TRACKED)
		self->track = track_writes(self->r.p, N * PAGE);
	err = variant->way == BY_ONFAULT ? mlock2(self->r.p, N * PAGE, MLOCK_ONFAULT) :
					   mlock(self->r.p, N * PAGE);
	if (err)
		fail_setup("mlock");
	if (variant->way == AND_SEALED && syscall(SYS_mseal, self->r.p, N * PAGE, 0))
		SKIP(return, "no mseal()");
}

/* Sealed memory goes with the process. */
FIXTURE_TEARDOWN(advice)
{
	if (self->track >= 0)
		close(self->track);
	if (variant->way == AND_SEALED)
		return;
	region_free(&self->r);
	EXPECT_COUNTED(&self->start, 0, 0);
}

/* Locked, all there, all marked, all as it was. */
#define EXPECT_AS_BEFORE(r)				\
do {							\
	long _faults = own_faults();			\
							\
	EXPECT_EQ(wrong_pages(r, 0, N), 0);		\
	EXPECT_EQ(own_faults(), _faults);		\
	EXPECT_LOCKED(N);				\
	settle_lru();					\
	EXPECT_SEEN((r)->p, N, N, N);			\
} while (0)

/* --- the table --------------------------------------------------------------------------- */

/* In pairs, so that what the first one says of the mapping is taken back. */
static const struct {
	int advice;
	const char *name;
	int anon, file;		/* the error, or 0 */
} table[] = {
	{ MADV_RANDOM, "RANDOM" },
	{ MADV_SEQUENTIAL, "SEQUENTIAL" },
	{ MADV_NORMAL, "NORMAL" },
	{ MADV_WILLNEED, "WILLNEED" },
	{ MADV_DONTNEED, "DONTNEED", EINVAL, EINVAL },
	{ MADV_FREE, "FREE", EINVAL, EINVAL },
	{ MADV_REMOVE, "REMOVE", EINVAL, EINVAL },
	{ MADV_COLD, "COLD", EINVAL, EINVAL },
	{ MADV_PAGEOUT, "PAGEOUT", EINVAL, EINVAL },
	{ MADV_DONTFORK, "DONTFORK" },
	{ MADV_DOFORK, "DOFORK" },
	{ MADV_WIPEONFORK, "WIPEONFORK", 0, EINVAL },
	{ MADV_KEEPONFORK, "KEEPONFORK" },
	{ MADV_DONTDUMP, "DONTDUMP" },
	{ MADV_DODUMP, "DODUMP" },
	{ MADV_MERGEABLE, "MERGEABLE" },
	{ MADV_UNMERGEABLE, "UNMERGEABLE" },
	{ MADV_NOHUGEPAGE, "NOHUGEPAGE" },
	{ MADV_HUGEPAGE, "HUGEPAGE" },
	{ MADV_POPULATE_READ, "POPULATE_READ" },
	{ MADV_POPULATE_WRITE, "POPULATE_WRITE" },
	/* No advice, or not of this kernel: guard pages came later. */
	{ 5, "5", EINVAL, EINVAL },
	{ 26, "26", EINVAL, EINVAL },
	{ 99, "99", EINVAL, EINVAL },
	{ 102, "GUARD_INSTALL", EINVAL, EINVAL },
	{ 103, "GUARD_REMOVE", EINVAL, EINVAL },
	{ -1, "-1", EINVAL, EINVAL },
};

TEST_F(advice, every_one)
{
	struct region *r = &self->r;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		int want = is_file(r) ? table[i].file : table[i].anon, err;

		err = madvise(r->p + from(r) * PAGE, some(r) * PAGE, table[i].advice) ? errno : 0;
		EXPECT_EQ(err, want)
			TH_LOG("MADV_%s", table[i].name);
		EXPECT_AS_BEFORE(r);
	}
	EXPECT_COUNTED(&self->start, N, N);
}

/* The one that means it. What comes back is locked and marked again. */
TEST_F(advice, dontneed_locked)
{
	struct region *r = &self->r;
	size_t first = from(r), n = some(r), end = first + n;
	char *p = r->p + first * PAGE;

	ASSERT_EQ(madvise(p, n * PAGE, MADV_DONTNEED_LOCKED), 0);
	EXPECT_LOCKED(N);
	EXPECT_EQ(present(r->p, N), N - n);
	EXPECT_EQ(present(p, n), 0);
	EXPECT_COUNTED(&self->start, N - n, N - n);
	/* Zeroes, or what the file holds. */
	if (variant->kind == COPIES) {
		EXPECT_EQ(memcmp(p, "memfd", 5), 0);
	} else {
		EXPECT_EQ(*(volatile char *)p, is_file(r) ? (char)(1 + first % 100) : 0);
	}
	EXPECT_EQ(wrong_pages(r, first, n), variant->kind >= SHMEM && variant->kind < COPIES ? 0 : n);
	for (size_t i = 0; i < n; i++)
		p[i * PAGE] = 1 + (first + i) % 100;
	EXPECT_EQ(wrong_pages(r, 0, first), 0);
	EXPECT_EQ(wrong_pages(r, end, N - end), 0);
	/* A mark that a fault leaves to reclaim: see mlock_state.c. */
	if (r->step == 1)
		EXPECT_AS_BEFORE(r);
}

/* --- a part of it is not locked ----------------------------------------------------------- */

/*
 * What comes before the locked part is advised, and nothing behind it. A hole is said to be one only
 * if nothing worse is met.
 */
TEST_F(advice, up_to_the_locked_part)
{
	struct region *r = &self->r;
	char *p = r->p;

	if (variant->way == AND_SEALED)
		SKIP(return, "a hole in what is sealed");
	ASSERT_EQ(munlock(p, 64 * PAGE), 0);
	ASSERT_EQ(munlock(p + (N - 64) * PAGE, 64 * PAGE), 0);
	EXPECT_ERR(madvise(p, N * PAGE, MADV_DONTNEED), EINVAL);
	EXPECT_EQ(present(p, 64), 0);
	EXPECT_EQ(present(p + 64 * PAGE, N - 64), N - 64);
	EXPECT_LOCKED(N - 128);
	ASSERT_EQ(munmap(p, 16 * PAGE), 0);
	EXPECT_ERR(madvise(p, N * PAGE, MADV_DONTNEED), EINVAL);
	EXPECT_ERR(madvise(p, 32 * PAGE, MADV_DONTNEED), ENOMEM);
	EXPECT_ERR(madvise(p, N * PAGE, MADV_RANDOM), ENOMEM);
	EXPECT_ERR(madvise(p + 64 * PAGE + 1, PAGE, MADV_RANDOM), EINVAL);
	EXPECT_ERR(madvise(p + 64 * PAGE, -PAGE, MADV_RANDOM), EINVAL);
	EXPECT_EQ(madvise(p + 64 * PAGE, 0, MADV_DONTNEED), 0);
	EXPECT_EQ(wrong_pages(r, 64, N - 64), 0);
	EXPECT_LOCKED(N - 128);
}

/* --- advice that moves pages -------------------------------------------------------------- */

TEST_F(advice, collapse)
{
	struct region *r = &self->r;
	int want = 0, err;

	if (variant->kind == SHMEM && variant->way == AND_TRACKED)
		SKIP(return, "whether a file's tracked pages are collapsed is a matter of luck");
	/* Files on disk that may be written to have no huge pages, nor have private mappings. */
	if (variant->kind == FILE_EXT4 || variant->kind == COPIES)
		want = EINVAL;
	ASSERT_EQ(madvise(r->p, N * PAGE, MADV_HUGEPAGE), 0);
	err = madvise(r->p, N * PAGE, MADV_COLLAPSE) ? errno : 0;
	EXPECT_EQ(err, want);
	/* One of a file is marked when reclaim meets it. */
	if (want || !is_file(r))
		EXPECT_AS_BEFORE(r);
	EXPECT_EQ(wrong_pages(r, 0, N), 0);
	EXPECT_LOCKED(N);
	EXPECT_EQ(present(r->p, N), N);
	EXPECT_EQ(!!(frame_flags(frame_of(r->p)) & KPF(KPF_THP)), !want);
}

/* The page is put out of use, another one has its place, and is locked as it was. */
TEST_F(advice, soft_offline)
{
	struct region *r = &self->r;
	char *p = r->p + 131 * PAGE;
	uint64_t was = frame_of(p);
	char number[32];

	ASSERT_EQ(madvise(p, PAGE, MADV_SOFT_OFFLINE), 0)
		TH_LOG("%s", strerror(errno));
	EXPECT_EQ(wrong_pages(r, 0, N), 0);
	EXPECT_NE(frame_of(p), was);
	EXPECT_LOCKED(N);
	EXPECT_EQ(present(r->p, N), N);
	settle_lru();
	EXPECT_SEEN(r->p, N, N, N);
	snprintf(number, sizeof(number), "%lu", (unsigned long)was);
	write_text("/sys/kernel/debug/hwpoison/unpoison-pfn", number);
}

static sigjmp_buf lost;
static volatile bool reading;

static void on_bus(int sig)
{
	if (reading)
		siglongjmp(lost, 1);
}

static bool read_dies(volatile char *p)
{
	volatile bool died = true;

	reading = true;
	if (!sigsetjmp(lost, 1)) {
		(void)*p;
		died = false;
	}
	reading = false;
	return died;
}

/* The page is lost, and with it nothing else. */
TEST_F(advice, hwpoison)
{
	struct region *r = &self->r;
	size_t at = 131;
	char *p = r->p + at * PAGE;
	char number[32];

	if (variant->kind == FILE_EXT4 || variant->way == AND_SEALED)
		SKIP(return, "a file system that is told of an error tells everybody");
	snprintf(number, sizeof(number), "%lu", (unsigned long)frame_of(p));
	signal(SIGBUS, on_bus);
	ASSERT_EQ(madvise(p, PAGE, MADV_HWPOISON), 0)
		TH_LOG("%s", strerror(errno));
	EXPECT_TRUE(read_dies(p));
	EXPECT_LOCKED(N);
	EXPECT_EQ(wrong_pages(r, 0, at), 0);
	EXPECT_EQ(wrong_pages(r, at + 1, N - at - 1), 0);
	munmap(r->p, N * PAGE);
	signal(SIGBUS, SIG_DFL);
	settle_lru();
	if (r->fd >= 0)
		ASSERT_EQ(ftruncate(r->fd, 0), 0);
	write_text("/sys/kernel/debug/hwpoison/unpoison-pfn", number);
}

TEST_HARNESS_MAIN

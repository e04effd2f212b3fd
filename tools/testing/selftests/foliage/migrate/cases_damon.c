// SPDX-License-Identifier: GPL-2.0
/*
 * DAMON over memory of every kind, by addresses and by frames, which it gets to by page walks and
 * by the reverse map. A kernel crashed there when it followed the page table of a huge mapping.
 *
 * Of each kind there is memory that is read all the time and memory that nobody touches, so that it
 * is known what DAMON must say; and memory whose mappings come and go.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

#include "harness.h"
#include "damon.h"

#define MANY	512	/* ranges that DAMON is told to watch */

enum use { HOT, COLD, CHURNED, USES };

/* More than the kinds of migrate.h: what is no page that anybody owns. */
enum { ZERO = M_HUGETLB + 1, HUGE_ZERO, DEVICE };

/*
 * By frames DAMON sees what is on LRU lists, by addresses huge pages of hugetlb too. Neither the zero
 * pages nor memory without pages is ever accessed, as far as it knows.
 */
static const struct kind_of {
	const char *name;
	int kind;
	size_t pages;
	bool by_address, by_frame;
} kinds[] = {
	{ "4 KiB", M_4K, 128, true, true },
	{ "64 KiB", M_64K, 128, true, true },
	{ "huge", M_THP, 512, true, true },
	{ "huge by PTEs", M_THP_PTES, 512, true, true },
	{ "shmem", M_SHMEM, 128, true, true },
	{ "huge shmem", M_SHMEM_HUGE, 512, true, true },
	{ "ext4", M_EXT4, 128, true, true },
	{ "hugetlb", M_HUGETLB, 512, true, false },
	{ "zero", ZERO, 128, false, false },
	{ "huge zero", HUGE_ZERO, 512, false, false },
	{ "device", DEVICE, 16, false, false },
};

#define KINDS	ARRAY_SIZE(kinds)
#define PLACES	(2 * KINDS)	/* of which something is known: one of each kind is hot, one is cold */

FIXTURE(memory) {
	struct mem m[USES][KINDS];
	pthread_t reader, mover, renewer;
	atomic_ulong reads, rounds, renewals;
	atomic_bool end, still;
};

static bool is_owned(const struct mem *m)
{
	return (int)m->kind < ZERO;
}

/* Frames without an owner: the BIOS, by way of /dev/mem. */
static void map_device(struct mem *m)
{
	int fd = open("/dev/mem", O_RDONLY);

	if (fd < 0 || mmap(m->p, m->pages * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd,
			   0xf0000) != m->p)
		fail_setup("/dev/mem");
	close(fd);
}

static void make_zero(struct mem *m)
{
	madvise(m->p, m->pages * PAGE, (int)m->kind == ZERO ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	for (size_t i = 0; i < m->pages; i++)
		(void)*(volatile char *)(m->p + i * PAGE);
}

static void make(struct mem *m, const struct kind_of *k)
{
	if (k->kind < ZERO) {
		mem_make(m, k->kind, k->pages);
		return;
	}
	*m = (struct mem){ .kind = k->kind, .pages = k->pages, .step = 1, .fd = -1,
			   .how = MOVE_OWN };
	m->p = mem_map(k->pages, RW, ANON, -1);
	if (k->kind == DEVICE)
		map_device(m);
	else
		make_zero(m);
}

/* --- what is done to the memory ----------------------------------------------------------- */

/* All that is hot, again and again; a translation in the TLB would hide that from DAMON. */
static void *read_on(void *arg)
{
	struct _test_data_memory *self = arg;

	while (!self->end) {
		for (size_t k = 0; k < KINDS; k++) {
			const struct mem *m = &self->m[HOT][k];

			for (size_t i = 0; i < m->pages; i++)
				(void)*(volatile char *)(m->p + i * PAGE);
		}
		flush_tlb();
		self->reads++;
	}
	return NULL;
}

static void *move_on(void *arg)
{
	struct _test_data_memory *self = arg;

	for (int node = 1; !self->still; node = !node) {
		for (int u = 0; u < USES; u++) {
			for (size_t k = 0; k < KINDS; k++) {
				const struct mem *m = &self->m[u][k];

				move_range(m->p, m->pages, m->step, node, m->how);
				usleep(200);
			}
		}
		self->rounds++;
	}
	return NULL;
}

/* Half of it is unmapped, and then all of it is mapped anew. */
static void renew(struct mem *m)
{
	int flags = m->fd >= 0 ? MAP_SHARED : ANON | (m->kind == M_HUGETLB ? MAP_HUGETLB : 0);
	size_t from = m->kind == M_HUGETLB ? 0 : m->pages / 4;

	munmap(m->p + from * PAGE, (m->pages - 2 * from) * PAGE);
	if (mmap(m->p, m->pages * PAGE, RW, flags | MAP_FIXED, m->fd, 0) != m->p)
		fail_setup("mmap");
	if ((int)m->kind == DEVICE) {
		map_device(m);
	} else if (!is_owned(m)) {
		make_zero(m);
	} else {
		if (m->step == 512 && m->kind != M_HUGETLB)
			madvise(m->p, m->pages * PAGE, MADV_HUGEPAGE);
		mem_fill(m);
	}
	if (m->kind == M_THP_PTES)
		mem_split_pmds(m);
}

static void *renew_on(void *arg)
{
	struct _test_data_memory *self = arg;

	while (!self->still) {
		for (size_t k = 0; k < KINDS; k++) {
			renew(&self->m[CHURNED][k]);
			usleep(1000);
		}
		self->renewals++;
	}
	return NULL;
}

/* --- what DAMON is asked ------------------------------------------------------------------ */

static int by_start(const void *a, const void *b)
{
	const struct watched *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static size_t addresses(struct _test_data_memory *self, struct watched *w)
{
	for (size_t i = 0; i < PLACES; i++) {
		const struct mem *m = &self->m[i / KINDS][i % KINDS];

		w[i] = (struct watched){ (uintptr_t)m->p, (uintptr_t)m->p + m->pages * PAGE, i };
	}
	qsort(w, PLACES, sizeof(*w), by_start);
	return PLACES;
}

/*
 * Neighbours of one place become one range. DAMON may do the same with neighbours of two places
 * while it has seen nothing of either, so there is always something between them.
 */
static size_t joined(struct watched *w, size_t n)
{
	size_t kept = 0;

	qsort(w, n, sizeof(*w), by_start);
	for (size_t i = 0; i < n; i++) {
		struct watched *last = kept ? &w[kept - 1] : NULL;
		bool touch = last && last->end == w[i].start;

		if (touch && last->place == w[i].place) {
			last->end = w[i].end;
			continue;
		}
		if (touch) {
			last->end -= PAGE;
			kept -= last->end == last->start;
		}
		w[kept++] = w[i];
	}
	return kept;
}

/* Zero pages and the BIOS are the same frames in all places; they are left out. */
static size_t frames(struct _test_data_memory *self, struct watched *w)
{
	static struct watched all[PLACES * 512];
	static uint64_t map[512];
	size_t n = 0;

	for (size_t i = 0; i < PLACES; i++) {
		const struct mem *m = &self->m[i / KINDS][i % KINDS];

		if (!is_owned(m))
			continue;
		pagemap_read(m->p, m->pages, map);
		for (size_t k = 0; k < m->pages; k++) {
			uint64_t at = (map[k] & ((1ULL << 55) - 1)) * PAGE;

			if (map[k] & PM_PRESENT)
				all[n++] = (struct watched){ at, at + PAGE, i };
		}
	}
	n = joined(all, n);
	/* What lies scattered is more than need be looked at: take some from everywhere. */
	for (size_t i = 0; i < MANY && i < n; i++)
		w[i] = all[n > MANY ? i * n / MANY : i];
	return n < MANY ? n : MANY;
}

static size_t whole_machine(struct watched *w)
{
	char line[256];
	FILE *f = fopen("/proc/iomem", "r");
	size_t n = 0;

	while (f && n < MANY && fgets(line, sizeof(line), f))
		if (line[0] != ' ' && strstr(line, "System RAM") &&
		    sscanf(line, "%" SCNx64 "-%" SCNx64, &w[n].start, &w[n].end) == 2)
			w[n++].end++;
	if (!n || !w[n - 1].end)
		fail_setup("/proc/iomem");
	fclose(f);
	return n;
}

/* --- what it must say --------------------------------------------------------------------- */

FIXTURE_SETUP(memory)
{
	if (access(DAMON_DIR, F_OK))
		SKIP(return, "no DAMON in this kernel");
	for (int u = 0; u < USES; u++)
		for (size_t k = 0; k < KINDS; k++)
			make(&self->m[u][k], &kinds[k]);
	settle_lru();
	damon_count(3);
	ASSERT_EQ(pthread_create(&self->reader, NULL, read_on, self), 0);
}

FIXTURE_TEARDOWN(memory)
{
	self->end = true;
	pthread_join(self->reader, NULL);
	damon_count(0);
	for (int u = 0; u < USES; u++) {
		for (size_t k = 0; k < KINDS; k++) {
			if (is_owned(&self->m[u][k])) {
				EXPECT_EQ(mem_wrong(&self->m[u][k]), 0)
					TH_LOG("%s", kinds[k].name);
			}
			mem_free(&self->m[u][k]);
		}
	}
}

static bool is_seen(size_t place, bool by_frame)
{
	const struct kind_of *k = &kinds[place % KINDS];

	return place < KINDS && (by_frame ? k->by_frame : k->by_address);
}

/* What is read is seen in most looks, at least once it is; what is not, or cannot be, in none. */
static void expect_told_apart(struct __test_metadata *_metadata, struct _test_data_memory *self,
			      bool by_frame)
{
	double rate[PLACES], best[PLACES] = {};
	static struct watched w[MANY];
	size_t n = by_frame ? frames(self, w) : addresses(self, w), missing = 1;

	damon_start(0, by_frame ? "paddr" : "vaddr", w, n, DAMON_NEVER);
	for (int i = 0; i < 5 || (missing && i < 100); i++) {
		missing = 0;
		ASSERT_GE(damon_rates(0, w, n, rate, PLACES), 0);
		for (size_t p = 0; p < PLACES; p++) {
			best[p] = rate[p] > best[p] ? rate[p] : best[p];
			missing += is_seen(p, by_frame) && best[p] < DAMON_LOOKS / 2;
		}
	}
	damon_stop(0);
	for (size_t p = 0; p < PLACES; p++) {
		const char *name = kinds[p % KINDS].name, *use = p < KINDS ? "hot" : "cold";

		if (is_seen(p, by_frame)) {
			EXPECT_GE(best[p], DAMON_LOOKS / 2)
				TH_LOG("%s, %s", name, use);
		} else {
			EXPECT_EQ(best[p], 0)
				TH_LOG("%s, %s", name, use);
		}
	}
}

TEST_F(memory, by_address)
{
	expect_told_apart(_metadata, self, false);
}

TEST_F(memory, by_frame)
{
	expect_told_apart(_metadata, self, true);
}

/* Where the process is in all its memory, and where in the machine, beside what has been named. */
enum { NAMED, PROCESS, MACHINE, KDAMONDS };

struct seen {
	double sum[PLACES];	/* of the rates */
	long most[KDAMONDS];
};

/* Several looks, and more until all has been met that must be. */
static void watch(struct __test_metadata *_metadata, struct _test_data_memory *self,
		  const struct watched *w, size_t n, struct seen *seen)
{
	double rate[PLACES];

	for (int i = 0; i < 10 || (i < 200 && (self->rounds < 4 || !seen->most[MACHINE])); i++) {
		for (int k = 0; k < KDAMONDS; k++) {
			bool named = k == NAMED;
			long most = damon_rates(k, w, named ? n : 0, rate, named ? PLACES : 0);

			ASSERT_GE(most, 0);
			seen->most[k] = most > seen->most[k] ? most : seen->most[k];
			for (size_t p = 0; named && p < PLACES; p++)
				seen->sum[p] += rate[p];
		}
	}
}

/*
 * A page that is away for a move when DAMON wants to mark it may count as accessed, and one that is
 * away when it looks again as not; the difference stays.
 */
static void expect_difference(struct __test_metadata *_metadata, const struct seen *seen)
{
	for (size_t k = 0; k < KINDS; k++) {
		double hot = seen->sum[k], cold = seen->sum[KINDS + k];

		TH_LOG("%s: hot %.1f, cold %.1f", kinds[k].name, hot, cold);
		if (kinds[k].by_address) {
			EXPECT_GE(hot, DAMON_LOOKS);
			EXPECT_GE(hot, 3 * cold);
		} else {
			EXPECT_EQ(hot + cold, 0);
		}
	}
}

/*
 * All is moved to the other node and back while three of DAMON's threads watch: what is hot and
 * cold by address, all that the process maps while that changes, and all frames of the machine.
 * Then nothing moves any more, and DAMON must find everything where it is now.
 */
TEST_F(memory, moved_and_unmapped)
{
	static struct watched w[MANY], ram[MANY];
	size_t n = addresses(self, w), rams = whole_machine(ram);
	struct moves start = moves_now(), moved;
	struct seen seen = {};

	damon_start(NAMED, "vaddr", w, n, DAMON_NEVER);
	damon_start(PROCESS, "vaddr", NULL, 0, 4 * DAMON_SAMPLE);
	damon_start(MACHINE, "paddr", ram, rams, DAMON_NEVER);
	ASSERT_EQ(pthread_create(&self->mover, NULL, move_on, self), 0);
	ASSERT_EQ(pthread_create(&self->renewer, NULL, renew_on, self), 0);
	watch(_metadata, self, w, n, &seen);
	self->still = true;
	pthread_join(self->mover, NULL);
	pthread_join(self->renewer, NULL);
	for (int k = 0; k < KDAMONDS; k++)
		damon_stop(k);

	moved = moves_since(&start);
	TH_LOG("%lu reads of all, %lu renewals, %lu rounds of moves: %ld pages, %ld huge",
	       self->reads, self->renewals, self->rounds, moved.n[OK], moved.n[THP_OK]);
	EXPECT_GE(self->renewals, 1);
	EXPECT_GE(moved.n[OK], 4000);
	EXPECT_GE(moved.n[THP_OK], 8);
	EXPECT_GT(seen.most[PROCESS], 0);
	EXPECT_GT(seen.most[MACHINE], 0);
	expect_difference(_metadata, &seen);
	settle_lru();
	expect_told_apart(_metadata, self, true);
}

static void __attribute__((constructor)) before_all(void)
{
	mem_mount_huge();
}

TEST_HARNESS_MAIN

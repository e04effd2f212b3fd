// SPDX-License-Identifier: GPL-2.0
/*
 * What is counted and kept by page migration, beside what is in migrate_state.c: statistics of
 * nodes and of sizes, objects that must not be leaked, and batches of the LRU lists.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#include "mlock_count.h"
#include "migrate.h"

static long node_pages(int node, const char *name)
{
	static char text[16384];
	char file[96];

	write_text("/proc/sys/vm/stat_refresh", "1");
	snprintf(file, sizeof(file), "/sys/devices/system/node/node%d/vmstat", node);
	if (!read_text(file, text, sizeof(text)))
		fail_setup("%s", file);
	return line_of(text, name);
}

/* Objects in use of a slab cache; a few more for each processor. */
static long slab_objects(const char *cache)
{
	static char text[1 << 17];
	char name[64];

	snprintf(name, sizeof(name), "%s ", cache);
	write_text("/proc/sys/vm/drop_caches", "2");
	if (!read_text("/proc/slabinfo", text, sizeof(text)))
		fail_setup("slabinfo");
	return line_of(text, name);
}

/* With KASAN objects that were freed are in quarantine for long, and are counted all that time. */
static bool frees_are_seen(void)
{
	long before = slab_objects("anon_vma");

	for (int i = 0; i < 500; i++) {
		char *p = mem_map(1, RW, ANON, -1);

		*(volatile char *)p = 1;
		munmap(p, PAGE);
	}
	return slab_objects("anon_vma") - before < 250;
}

static bool near_to(long a, long b, long slack)
{
	return labs(a - b) <= slack;
}

/* --- statistics of nodes ---------------------------------------------------------------- */

struct counter {
	enum mem_kind kind;
	const char *name;
	long pages;		/* of PAGES, in its unit */
};

static const struct counter counters[] = {
	{ M_4K, "nr_anon_pages ", 1024 },
	{ M_THP, "nr_anon_transparent_hugepages ", 2 },
	{ M_SHMEM, "nr_shmem ", 1024 },
	{ M_SHMEM, "nr_file_pages ", 1024 },
	{ M_SHMEM_HUGE, "nr_shmem ", 1024 },
	{ M_SHMEM_HUGE, "nr_shmem_hugepages ", 2 },
	{ M_SHMEM_HUGE, "nr_shmem_pmdmapped ", 2 },
	{ M_EXT4, "nr_file_pages ", 1024 },
	{ M_EXT4, "nr_mapped ", 1024 },
	{ M_EXT4, "nr_dirty ", 1024 },
};

TEST(node_counts)
{
	for (size_t k = 0; k < ARRAY_SIZE(counters); k++) {
		const struct counter *c = &counters[k];
		long was[2], now[2], slack = c->pages < 250 ? 0 : 250;
		struct mem m;

		mem_make(&m, c->kind, PAGES);
		mem_home(&m);
		/* Dirty, where that is what is counted. */
		if (c->kind == M_EXT4)
			mem_fill(&m);
		for (int node = 1; node >= 0; node--) {
			for (int i = 0; i < 2; i++)
				was[i] = node_pages(i, c->name);
			ASSERT_EQ(mem_move(&m, node), PAGES);
			for (int i = 0; i < 2; i++)
				now[i] = node_pages(i, c->name);
			EXPECT_TRUE(near_to(now[node] - was[node], c->pages, slack))
				TH_LOG("%son node %d: %ld, then %ld", c->name, node, was[node], now[node]);
			EXPECT_TRUE(near_to(was[!node] - now[!node], c->pages, slack))
				TH_LOG("%son node %d: %ld, then %ld", c->name, !node, was[!node], now[!node]);
		}
		mem_free(&m);
	}
}

static long of_size(const char *size, const char *stat)
{
	char file[128], text[64];

	snprintf(file, sizeof(file), THP_DIR "hugepages-%s/stats/%s", size, stat);
	if (!read_text(file, text, sizeof(text)))
		fail_setup("%s", file);
	return atol(text);
}

/* Large anonymous folios are counted by their size when they are made, and when they are freed. */
TEST(counted_by_size)
{
	static const enum mem_kind kinds[] = { M_64K, M_THP, M_THP_PTES };
	static const char * const sizes[] = { "64kB", "2048kB", "2048kB" };

	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct mem m;
		long was;

		mem_make(&m, kinds[k], PAGES);
		mem_home(&m);
		was = of_size(sizes[k], "nr_anon");
		EXPECT_GE(was, (long)(PAGES / m.step));
		ASSERT_EQ(mem_move(&m, 1), PAGES);
		/* Some may be split by others, but not all of them. */
		EXPECT_TRUE(near_to(of_size(sizes[k], "nr_anon"), was, PAGES / m.step / 2))
			TH_LOG("%s: %ld, then %ld", sizes[k], was, of_size(sizes[k], "nr_anon"));
		mem_free(&m);
	}
}

/* --- nothing leaks ---------------------------------------------------------------------- */

#define ROUNDS	2000

/* Each time an address space's first page, and with it an anon_vma of its own. */
TEST(anon_vma)
{
	long before;

	if (!frees_are_seen())
		SKIP(return, "freed objects are counted");
	before = slab_objects("anon_vma");
	for (int i = 0; i < ROUNDS; i++) {
		char *p = mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		int status;

		/* Alone, so that its anon_vma is no neighbour's. */
		mprotect(p, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
		*(volatile char *)p = 1;
		ASSERT_EQ(move_one(p, node_of(p) == 0, &status, MOVE_OWN), 0);
		ASSERT_GE(status, 0);
		munmap(p, PAGE);
	}
	EXPECT_LT(slab_objects("anon_vma") - before, ROUNDS / 2)
		TH_LOG("%ld, then %ld", before, slab_objects("anon_vma"));
}

TEST(anon_vma_hugetlb)
{
	long before;

	if (!frees_are_seen())
		SKIP(return, "freed objects are counted");
	write_text("/proc/sys/vm/nr_hugepages", "8");
	before = slab_objects("anon_vma");
	for (int i = 0; i < ROUNDS / 5; i++) {
		char *p = mmap(NULL, HUGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
		int status;

		ASSERT_NE(p, MAP_FAILED);
		*(volatile char *)p = 1;
		ASSERT_EQ(move_one(p, node_of(p) == 0, &status, MOVE_OWN), 0);
		ASSERT_GE(status, 0);
		munmap(p, HUGE);
	}
	EXPECT_LT(slab_objects("anon_vma") - before, ROUNDS / 10)
		TH_LOG("%ld, then %ld", before, slab_objects("anon_vma"));
	write_text("/proc/sys/vm/nr_hugepages", "0");
}

#define CHILDREN	400

/* Another process's pages: it and its memory are gone when it has ended. */
TEST(another_process)
{
	long tasks, mms;
	char *p = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int down[2], status;
	char c = 0;

	if (!frees_are_seen())
		SKIP(return, "freed objects are counted");
	tasks = slab_objects("task_struct");
	mms = slab_objects("mm_struct");
	ASSERT_EQ(pipe(down), 0);
	for (int i = 0; i < CHILDREN; i++) {
		pid_t pid = fork();
		int where = -1000;
		const void *at = p;

		if (!pid)
			_exit(read(down[0], &c, 1) != 1);
		EXPECT_EQ(move_pages_raw(pid, 1, &at, NULL, &where, 0), 0);
		ASSERT_EQ(write(down[1], &c, 1), 1);
		waitpid(pid, &status, 0);
	}
	EXPECT_LT(slab_objects("task_struct") - tasks, CHILDREN / 2)
		TH_LOG("tasks: %ld, then %ld", tasks, slab_objects("task_struct"));
	EXPECT_LT(slab_objects("mm_struct") - mms, CHILDREN / 2)
		TH_LOG("mms: %ld, then %ld", mms, slab_objects("mm_struct"));
}

/* --- batches of the LRU lists ------------------------------------------------------------ */

/* Pages that were just made are not on their lists yet: move_pages(2) sees to that. */
TEST(fresh_pages)
{
	char *p = mem_map(PAGES, RW, ANON, -1);
	int wrong = 0, fresh = 0;

	madvise(p, BYTES, MADV_NOHUGEPAGE);
	allocate_on(0);
	for (size_t i = 0; i < 200; i++) {
		int status;

		*(volatile char *)(p + i * PAGE) = 1;
		fresh += !(frame_flags(frame_of(p + i * PAGE)) & KPF(KPF_LRU));
		move_one(p + i * PAGE, 1, &status, MOVE_OWN);
		wrong += status != 1;
	}
	allocate_on(-1);
	EXPECT_EQ(wrong, 0);
	/* And afterwards the batches are there again. */
	EXPECT_GT(fresh, 100);
	munmap(p, BYTES);
}

/* --- write-back ------------------------------------------------------------------------- */

/* What is on its way to the disk is waited for: there is no page that cannot be moved. */
TEST(under_writeback)
{
	struct mem m;
	int left = 0;

	mem_make(&m, M_EXT4, PAGES);
	mem_home(&m);
	for (int i = 0; i < 6; i++) {
		mem_fill(&m);
		ASSERT_EQ(sync_file_range(m.fd, 0, BYTES, SYNC_FILE_RANGE_WRITE), 0);
		left += move_range(m.p, PAGES, 1, i % 2 == 0, MOVE_OWN) != 0;
		EXPECT_EQ(count_on(m.p, PAGES, i % 2 == 0), PAGES);
		EXPECT_EQ(mem_wrong(&m), 0);
	}
	EXPECT_EQ(left, 0);
	mem_free(&m);
}

/* --- the swap cache --------------------------------------------------------------------- */

/*
 * A pin keeps a folio in memory that has a slot, and whose mappings are swap entries. A child has
 * those too; then the folio is moved, and the child finds each of its pages where it is now.
 */
static void slots_follow(struct __test_metadata *_metadata, enum mem_kind kind, size_t pages)
{
	int down[2], status;
	long was, now, cached;
	struct pin *pin;
	struct mem m;
	pid_t pid;
	char c = 0;

	need_swap();
	mem_make(&m, kind, pages);
	mem_home(&m);
	pin = calloc(pages / m.step, sizeof(*pin));
	for (size_t i = 0; i < pages / m.step; i++)
		pin_page(&pin[i], m.p + i * m.step * PAGE);
	for (int i = 0; i < 10; i++) {
		settle_lru();
		madvise(m.p, pages * PAGE, MADV_PAGEOUT);
	}
	for (size_t i = 0; i < pages / m.step; i++)
		unpin_page(&pin[i]);
	ASSERT_EQ(pipe(down), 0);
	pid = fork();
	if (!pid)
		_exit(read(down[0], &c, 1) == 1 && mem_wrong(&m) ? 1 : 0);
	/* Read one page of each: they have the folio again, and the child has its slot. */
	for (size_t i = 0; i < pages; i += m.step)
		(void)*(volatile char *)(m.p + i * PAGE);
	settle_lru();
	cached = frames_with(m.p, pages, KPF_SWAPCACHE);
	TH_LOG("%ld in the swap cache", cached);
	EXPECT_GE(cached, (long)pages / 2);
	was = node_pages(1, "nr_swapcached ");
	move_range(m.p, pages, m.step, 1, MOVE_ALL);
	now = node_pages(1, "nr_swapcached ");
	TH_LOG("%zu on node 1, nr_swapcached there %ld, then %ld", count_on(m.p, pages, 1), was, now);
	EXPECT_GE(now - was, (long)pages / 2);
	ASSERT_EQ(write(down[1], &c, 1), 1);
	waitpid(pid, &status, 0);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(mem_wrong(&m), 0);
	free(pin);
	mem_free(&m);
}

/* Large ones do not come into the swap cache while they are pinned: see test_slots of KUnit. */
TEST(slots)
{
	slots_follow(_metadata, M_4K, 128);
}

/* --- hugetlb: the pool's books ----------------------------------------------------------- */

static long pool_of(int node, const char *what)
{
	char file[160], text[64];

	snprintf(file, sizeof(file), "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/%s",
		 node, what);
	if (!read_text(file, text, sizeof(text)))
		fail_setup("%s", file);
	return atol(text);
}

/*
 * All pages of the pool are in use, so that targets are such as the pool does not have: by the move
 * they become its own, and the old ones go.
 */
TEST(hugetlb_pool)
{
	char first[128], second[128];
	char *p;

	snprintf(first, sizeof(first), NODE_HUGETLB, 0);
	snprintf(second, sizeof(second), NODE_HUGETLB, 1);
	write_text("/proc/sys/vm/nr_hugepages", "0");
	ASSERT_TRUE(write_text(first, "4"));
	ASSERT_EQ(pool_of(0, "nr_hugepages"), 4);
	p = mmap(NULL, 4 * HUGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	ASSERT_NE(p, MAP_FAILED);
	for (size_t i = 0; i < 4; i++)
		p[i * HUGE] = 1;
	ASSERT_EQ(pool_of(0, "free_hugepages"), 0);
	for (int node = 1; node >= 0; node--) {
		ASSERT_EQ(move_range(p, 2048, 512, node, MOVE_OWN), 0);
		EXPECT_EQ(count_on(p, 2048, node), 2048);
		for (int i = 0; i < 2; i++) {
			EXPECT_EQ(pool_of(i, "nr_hugepages"), i == node ? 4 : 0);
			EXPECT_EQ(pool_of(i, "free_hugepages"), 0);
			EXPECT_EQ(pool_of(i, "surplus_hugepages"), 0);
		}
	}
	munmap(p, 4 * HUGE);
	EXPECT_EQ(pool_of(0, "nr_hugepages"), 4);
	EXPECT_EQ(pool_of(0, "free_hugepages"), 4);
	EXPECT_EQ(pool_of(1, "nr_hugepages"), 0);
	write_text(first, "0");
	write_text(second, "0");
}

/* --- faults that meet a migration --------------------------------------------------------- */

struct toucher {
	char *p;
	atomic_int stop;
	long faults, touched;
};

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *touch_it(void *arg)
{
	struct toucher *t = arg;
	long before;

	on_cpu(1);
	before = own_faults();
	for (; !t->stop; t->touched++)
		*(volatile char *)(t->p + t->touched * PAGE % HUGE) += 1;
	t->faults = own_faults() - before;
	return NULL;
}

/*
 * Who meets a migration entry sleeps until the move is over, and does not fault all the time
 * instead: it is known by the faults that are counted, of which each wait is one. @most are a move's.
 */
static void few_faults(struct __test_metadata *_metadata, enum mem_kind kind, long most)
{
	struct toucher t = {};
	pthread_t thread;
	long moves = 0;
	struct mem m;

	mem_make(&m, kind, 512);
	t.p = m.p;
	on_cpu(0);
	ASSERT_EQ(pthread_create(&thread, NULL, touch_it, &t), 0);
	for (int i = 0; i < 60; i++)
		moves += !move_range(m.p, 512, m.step, i % 2 == 0, MOVE_OWN);
	t.stop = 1;
	pthread_join(thread, NULL);
	TH_LOG("%ld moves, %ld faults of %ld touches", moves, t.faults, t.touched);
	EXPECT_GT(moves, 30);
	EXPECT_LE(t.faults, most * moves);
	mem_free(&m);
}

/* Who goes from page to page may meet the move at each of them. */
TEST(faults_wait)
{
	few_faults(_metadata, M_4K, 512);
}

TEST(faults_wait_huge)
{
	few_faults(_metadata, M_THP, 10);
}

/* --- huge pages that are mostly zeroes --------------------------------------------------- */

#define KHUGEPAGED	THP_DIR "khugepaged/"

/* They wait to be split when memory is short, and do so after a move. */
TEST(underused)
{
	char cgroup[256], was[32] = "", *p;
	long before;

	need_swap();
	ASSERT_TRUE(read_text(KHUGEPAGED "max_ptes_none", was, sizeof(was)));
	ASSERT_TRUE(write_text(KHUGEPAGED "max_ptes_none", "100"));
	enter_cgroup("migrate_underused", cgroup, sizeof(cgroup));
	allocate_on(0);
	p = mem_map(MAX_PAGES, RW, ANON, -1);
	madvise(p, MAX_PAGES * PAGE, MADV_HUGEPAGE);
	for (size_t i = 0; i < MAX_PAGES; i += 512)
		*(volatile char *)(p + i * PAGE) = 1;
	allocate_on(-1);
	settle_lru();
	ASSERT_EQ(move_range(p, MAX_PAGES, 512, 1, MOVE_OWN), 0);
	before = vm_count("thp_underused_split_page");
	for (int i = 0; i < 10 && vm_count("thp_underused_split_page") == before; i++)
		write_text("/proc/sys/vm/drop_caches", "2");
	EXPECT_GT(vm_count("thp_underused_split_page"), before);
	munmap(p, MAX_PAGES * PAGE);
	write_text(KHUGEPAGED "max_ptes_none", was);
	leave_cgroup(cgroup);
}

/* --- the last test ----------------------------------------------------------------------- */

/* The files show a counter below 0 as 0; a refresh says so on the console. */
static bool counts_below_0(int kmsg)
{
	char line[8192];
	bool found = false;
	ssize_t n;

	lseek(kmsg, 0, SEEK_END);
	write_text("/proc/sys/vm/stat_refresh", "1");
	while ((n = read(kmsg, line, sizeof(line) - 1)) > 0) {
		line[n] = 0;
		found |= !!strstr(line, "vmstat_refresh: ");
	}
	return found;
}

/* Others may be counting right now, so it is a mistake only if it stays. */
TEST(no_count_below_0)
{
	int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK), below = 0;
	char *p = mem_map(PAGES, RW, ANON, -1);

	ASSERT_GE(kmsg, 0);
	memset(p, 1, BYTES);
	for (int i = 0; i < 4; i++)
		move_range(p, PAGES, 1, i % 2, MOVE_OWN);
	EXPECT_EQ(madvise(p, 8 * PAGE, MADV_SOFT_OFFLINE), 0);
	munmap(p, BYTES);
	for (; counts_below_0(kmsg) && below < 20; below++)
		usleep(500000);
	TH_LOG("%d times below 0", below);
	EXPECT_LT(below, 20);
	close(kmsg);
}

static void __attribute__((constructor)) before_all(void)
{
	mem_mount_huge();
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * Those who move pages, beside move_pages(2): compaction, memory offlining, long-term pins, NUMA
 * balancing and soft offlining, with memory of each kind; moves while a processor goes and comes.
 * And pages in a state of their own: dirty ones of a file, such that have a swap slot too, huge
 * pages of which a part is unmapped, and such that find no room as a whole.
 *
 * Left out: demotion, as a guest has one memory tier only.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/swap.h>
#include <time.h>

#include "memory_block.h"
#include "mlock_count.h"
#include "migrate.h"

#define GUP_TEST	"/sys/kernel/debug/gup_test"

/* --- single cases ----------------------------------------------------------------------- */

static void fill_with(struct mem *m, uint64_t value)
{
	for (size_t i = 0; i < PAGES; i++)
		*(volatile uint64_t *)(m->p + i * PAGE) = value + i;
}

/* What the device holds, past the page cache. */
static size_t disk_wrong(struct mem *m, uint64_t value)
{
	static char buf[HUGE] __attribute__((aligned(4096)));
	char path[64];
	size_t wrong = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", m->fd);
	fd = open(path, O_RDONLY | O_DIRECT);
	for (size_t at = 0; at < BYTES; at += HUGE) {
		if (fd < 0 || pread(fd, buf, HUGE, at) != (ssize_t)HUGE)
			fail_setup("O_DIRECT");
		for (size_t i = 0; i < HUGE / PAGE; i++)
			wrong += *(uint64_t *)(buf + i * PAGE) != value + at / PAGE + i;
	}
	close(fd);
	return wrong;
}

/* Dirty pages are written after their move; clean ones that are written to become dirty again. */
TEST(dirty_reaches_the_disk)
{
	struct mem m;

	mem_make(&m, M_EXT4, PAGES);
	fill_with(&m, 5000000);
	ASSERT_EQ(mem_move(&m, 1), PAGES);
	EXPECT_EQ(frames_with(m.p, PAGES, KPF_DIRTY), PAGES);
	ASSERT_EQ(fsync(m.fd), 0);
	EXPECT_EQ(frames_with(m.p, PAGES, KPF_DIRTY), 0);
	EXPECT_EQ(disk_wrong(&m, 5000000), 0);
	ASSERT_EQ(mem_move(&m, 0), PAGES);
	EXPECT_EQ(frames_with(m.p, PAGES, KPF_DIRTY), 0);
	fill_with(&m, 6000000);
	ASSERT_EQ(fsync(m.fd), 0);
	EXPECT_EQ(disk_wrong(&m, 6000000), 0);
	mem_free(&m);
}

/* Pages that have a slot too: a child refers to it, and finds the page where it has gone. */
TEST(swap_cache)
{
	int down[2], status;
	size_t cached;
	struct mem m;
	pid_t pid;
	char c = 0;

	need_swap();
	mem_make(&m, M_4K, PAGES);
	for (int i = 0; i < 10 && look(m.p, PAGES).present; i++) {
		settle_lru();
		madvise(m.p, BYTES, MADV_PAGEOUT);
	}
	ASSERT_EQ(look(m.p, PAGES).present, 0);
	ASSERT_EQ(pipe(down), 0);
	pid = fork();
	if (!pid)
		_exit(read(down[0], &c, 1) == 1 && mem_wrong(&m) ? 1 : 0);
	EXPECT_EQ(mem_wrong(&m), 0);
	cached = frames_with(m.p, PAGES, KPF_SWAPCACHE);
	EXPECT_GT(cached, PAGES / 2);
	for (int node = 1; node >= 0; node--) {
		ASSERT_EQ(mem_move(&m, node), PAGES);
		EXPECT_GE(frames_with(m.p, PAGES, KPF_SWAPCACHE), cached / 2);
		EXPECT_EQ(mem_wrong(&m), 0);
	}
	ASSERT_EQ(write(down[1], &c, 1), 1);
	waitpid(pid, &status, 0);
	EXPECT_EQ(status, 0);
	madvise(m.p, BYTES, MADV_PAGEOUT);
	EXPECT_EQ(mem_wrong(&m), 0);
	mem_free(&m);
}

/* Half of each huge page is no longer mapped: it comes free under pressure, moved or not. */
TEST(mapped_in_part)
{
	char cgroup[256];
	struct mem m;
	long before;

	enter_cgroup("migrate_part", cgroup, sizeof(cgroup));
	mem_make(&m, M_THP, PAGES);
	before = cgroup_current(cgroup);
	for (size_t i = 256; i < PAGES; i += 512)
		ASSERT_EQ(madvise(m.p + i * PAGE, 256 * PAGE, MADV_DONTNEED), 0);
	settle_lru();
	ASSERT_GE(move_range(m.p, PAGES, 512, 1, MOVE_OWN), 0);
	for (size_t i = 0; i < PAGES; i += 512)
		EXPECT_EQ(node_of(m.p + i * PAGE), 1);
	for (int i = 0; i < 200 && cgroup_current(cgroup) > before - 400; i++)
		reclaim_from(cgroup, "2M");
	EXPECT_LE(cgroup_current(cgroup), before - 400);
	for (size_t i = 0; i < PAGES; i++) {
		if (i % 512 < 256) {
			EXPECT_FALSE(mem_page_wrong(&m, m.p + i * PAGE, i));
		} else {
			EXPECT_EQ(m.p[i * PAGE], 0);
		}
	}
	mem_free(&m);
	leave_cgroup(cgroup);
}

/* --- the others who move pages ---------------------------------------------------------- */

static const enum mem_kind all_kinds[] = {
	M_4K, M_64K, M_THP, M_THP_PTES, M_SHMEM, M_SHMEM_HUGE, M_EXT4, M_TMPFS, M_KSM
};

#define KINDS	ARRAY_SIZE(all_kinds)

static struct mem mems[KINDS];

static void make_all(void)
{
	for (size_t k = 0; k < KINDS; k++)
		mem_make_here(&mems[k], all_kinds[k], PAGES);
}

static size_t all_wrong(void)
{
	size_t n = 0;

	for (size_t k = 0; k < KINDS; k++)
		n += mem_wrong(&mems[k]);
	return n;
}

static void free_all(void)
{
	for (size_t k = 0; k < KINDS; k++)
		mem_free(&mems[k]);
}

/* Of all, the pages whose frames lie in [@from, @to). */
static size_t frames_in(uint64_t from, uint64_t to)
{
	static uint64_t map[PAGES];
	size_t n = 0;

	for (size_t k = 0; k < KINDS; k++) {
		pagemap_read(mems[k].p, PAGES, map);
		for (size_t i = 0; i < PAGES; i++) {
			uint64_t pfn = map[i] & ((1ULL << 55) - 1);

			n += map[i] & PM_PRESENT && pfn >= from && pfn < to;
		}
	}
	return n;
}

#define SPAN	16384UL
#define SPANS	40

/* Of four pages one is kept. */
static char *make_holes(void)
{
	char *p = mem_map(SPAN, RW, ANON, -1);

	madvise(p, SPAN * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < SPAN; i++)
		*(uint64_t *)(p + i * PAGE) = i;
	for (size_t i = 0; i < SPAN; i++)
		if (i % 4)
			madvise(p + i * PAGE, PAGE, MADV_DONTNEED);
	return p;
}

static size_t holes_wrong(char *p)
{
	size_t wrong = 0;

	for (size_t i = 0; i < SPAN; i++)
		wrong += *(uint64_t *)(p + i * PAGE) != (i % 4 ? 0 : i);
	return wrong;
}

/* How many of the pages that were kept have been moved. */
static size_t compact(char *p)
{
	static uint64_t was[SPAN], now[SPAN];
	size_t moved = 0;

	pagemap_read(p, SPAN, was);
	if (!write_text("/proc/sys/vm/compact_memory", "1"))
		fail_setup("compact_memory");
	pagemap_read(p, SPAN, now);
	for (size_t i = 0; i < SPAN; i += 4)
		moved += (was[i] ^ now[i]) & ((1ULL << 55) - 1) ? 1 : 0;
	return moved;
}

/*
 * Memory full of holes, with ours in some: the rest of it goes together, and ours with it. That is not
 * so for what lies where the free pages are looked for, in which case there are holes elsewhere too.
 */
TEST(compaction)
{
	char *p[SPANS];
	size_t moved = 0, n = 0;
	long before;

	make_all();
	for (; n < SPANS && !moved; n++) {
		p[n] = make_holes();
		before = vm_count("pgmigrate_success");
		moved = compact(p[n]);
		EXPECT_GE(vm_count("pgmigrate_success") - before, (long)moved);
	}
	TH_LOG("%zu of %zu pages moved, at try %zu", moved, SPAN / 4, n);
	EXPECT_GT(moved, 0);
	EXPECT_EQ(all_wrong(), 0);
	free_all();
	while (n--) {
		EXPECT_EQ(holes_wrong(p[n]), 0);
		munmap(p[n], SPAN * PAGE);
	}
}

static void fill_block(struct __test_metadata *_metadata, int block)
{
	allocate_on(1);
	make_all();
	allocate_on(-1);
	EXPECT_GT(frames_in(block * BLOCK_FRAMES, (block + 1) * BLOCK_FRAMES), KINDS * PAGES / 2);
}

/* Memory goes away with our pages in it, which are elsewhere then. */
TEST(memory_offline)
{
	int block = block_movable();

	ASSERT_GE(block, 0);
	for (int i = 0; i < 2; i++) {
		fill_block(_metadata, block);
		ASSERT_TRUE(block_set(block, "offline"));
		EXPECT_EQ(frames_in(block * BLOCK_FRAMES, (block + 1) * BLOCK_FRAMES), 0);
		EXPECT_EQ(frames_in(0, -1ULL), KINDS * PAGES);
		EXPECT_EQ(all_wrong(), 0);
		free_all();
		ASSERT_TRUE(block_set(block, "online_movable"));
	}
	ASSERT_TRUE(block_set(block, "offline"));
	ASSERT_TRUE(block_set(block, "online"));
}

/* The interface of the kernel's gup_test. */
struct longterm {
	uint64_t addr, size;
	uint32_t flags;
};

#define LONGTERM_START	_IOW('g', 7, struct longterm)
#define LONGTERM_STOP	_IO('g', 8)
#define LONGTERM_READ	_IOW('g', 9, uint64_t)

/* Who holds a page for long may not hold it in memory that is to be movable: it moves first. */
static void pin_for_long(struct __test_metadata *_metadata, struct mem *m, int block)
{
	uint64_t from = block * BLOCK_FRAMES, to = from + BLOCK_FRAMES;
	struct longterm pin = { .addr = (uintptr_t)m->p, .size = BYTES,
				.flags = m->kind == M_TMPFS ? 0 : 1 };
	char *copy = mmap(NULL, BYTES, RW, ANON, -1, 0);
	struct mem held = *m;
	int fd = open(GUP_TEST, O_RDWR);
	uint64_t word = (uintptr_t)copy;
	static uint64_t map[PAGES];
	size_t inside = 0;

	if (fd < 0)
		fail_setup(GUP_TEST);
	/* A file of a disk cannot be held for writing, and holding a merged page gives a copy. */
	if (m->kind == M_EXT4)
		pin.flags = 0;
	ASSERT_EQ(ioctl(fd, LONGTERM_START, &pin), 0)
		TH_LOG("kind %d: %s", m->kind, strerror(errno));
	pagemap_read(m->p, PAGES, map);
	for (size_t i = 0; i < PAGES; i++) {
		uint64_t pfn = map[i] & ((1ULL << 55) - 1);

		inside += pfn >= from && pfn < to;
	}
	EXPECT_EQ(inside, 0);
	/* What is held is what is mapped: it stays, and what is written here is seen there. */
	move_range(m->p, PAGES, m->step, node_of(m->p) == 0, MOVE_ALL);
	if (m->kind != M_TMPFS)
		mem_fill(m);
	ASSERT_EQ(ioctl(fd, LONGTERM_READ, &word), 0);
	held.p = copy;
	EXPECT_EQ(mem_wrong(&held), 0);
	ASSERT_EQ(ioctl(fd, LONGTERM_STOP), 0);
	close(fd);
	munmap(copy, BYTES);
}

TEST(longterm_pin)
{
	int block = block_movable();

	ASSERT_GE(block, 0);
	fill_block(_metadata, block);
	for (size_t k = 0; k < KINDS; k++)
		pin_for_long(_metadata, &mems[k], block);
	EXPECT_EQ(all_wrong(), 0);
	free_all();
	ASSERT_TRUE(block_set(block, "offline"));
	ASSERT_TRUE(block_set(block, "online"));
}

/* A page of each kind has to be given up; files' clean pages may be read anew instead. */
TEST(soft_offline)
{
	make_all();
	for (size_t k = 0; k < KINDS; k++) {
		char *page = mems[k].p + 20 * PAGE;
		uint64_t before = frame_of(page);

		settle_lru();
		EXPECT_EQ(madvise(page, PAGE, MADV_SOFT_OFFLINE), 0);
		EXPECT_EQ(mem_wrong(&mems[k]), 0);
		EXPECT_NE(frame_of(page), before);
	}
	free_all();
}

static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail_setup("sched_setaffinity");
}

/* Pages follow who uses them. */
static int numa_balanced(char *unused)
{
	static const enum mem_kind kinds[] = { M_4K, M_64K, M_THP, M_SHMEM };
	time_t end = time(NULL) + 100;
	struct mem m[4];
	size_t here[4] = {}, all = 0;

	for (int k = 0; k < 4; k++)
		mem_make(&m[k], kinds[k], PAGES);
	run_on(1);
	while (time(NULL) < end && all < 4) {
		all = 0;
		for (int k = 0; k < 4; k++) {
			if (mem_wrong(&m[k]))
				return 1;
			here[k] = count_on(m[k].p, PAGES, 1);
			all += here[k] > PAGES / 2;
		}
	}
	for (int k = 0; k < 4; k++)
		printf("# kind %d: %zu of %lu pages have followed\n", kinds[k], here[k], PAGES);
	fflush(stdout);
	return all == 4 ? 0 : 2;
}

/* Cgroups beside this one that are removed, but that something still refers to. */
static long cgroups_dying(const char *cgroup)
{
	char file[320], text[512], *end;

	snprintf(file, sizeof(file), "%s", cgroup);
	end = strrchr(file, '/');
	snprintf(end, file + sizeof(file) - end, "/cgroup.stat");
	if (!read_text(file, text, sizeof(text)))
		fail_setup("%s", file);
	return line_of(text, "nr_dying_descendants ");
}

TEST(numa_balancing)
{
	long before = vm_count("numa_pages_migrated"), dying;
	char cgroup[256] = "/sys/fs/cgroup/migrate_numa";
	int status;
	pid_t pid;

	dying = cgroups_dying(cgroup);
	ASSERT_TRUE(write_text("/proc/sys/kernel/numa_balancing", "1"));
	/* Only the child is in the cgroup, so that all it is charged for goes with it. */
	pid = fork();
	if (!pid) {
		enter_cgroup("migrate_numa", cgroup, sizeof(cgroup));
		_exit(numa_balanced(NULL));
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	write_text("/proc/sys/kernel/numa_balancing", "0");
	EXPECT_EQ(status, 0);
	EXPECT_GT(vm_count("numa_pages_migrated"), before);
	/* Nothing of it is left, when the caches have gone too. */
	rmdir(cgroup);
	for (int i = 0; i < 100 && cgroups_dying(cgroup) > dying; i++) {
		write_text("/proc/sys/vm/drop_caches", "3");
		usleep(100000);
	}
	EXPECT_LE(cgroups_dying(cgroup), dying);
	EXPECT_EQ(vm_count("nr_isolated_anon"), 0);
	EXPECT_EQ(vm_count("nr_isolated_file"), 0);
}

/* The only processor of a node goes and comes. */
TEST(cpu_hotplug)
{
	atomic_long *moved = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		make_all();
		for (int i = 0; ; i++) {
			for (size_t k = 0; k < KINDS; k++)
				move_range(mems[k].p, PAGES, 1, i % 2, MOVE_ALL);
			if (all_wrong())
				_exit(1);
			for (size_t k = 0; k < KINDS; k++)
				*moved += count_on(mems[k].p, PAGES, i % 2);
		}
	}
	for (int i = 0; i < 400 && !*moved; i++)
		usleep(100000);
	for (int i = 0; i < 4; i++) {
		ASSERT_TRUE(write_text("/sys/devices/system/cpu/cpu1/online", "0"));
		usleep(200000);
		ASSERT_TRUE(write_text("/sys/devices/system/cpu/cpu1/online", "1"));
		usleep(200000);
	}
	/* Still at it, so nothing was wrong. */
	EXPECT_EQ(waitpid(pid, &status, WNOHANG), 0);
	TH_LOG("%ld pages moved", *moved);
	EXPECT_GT(*moved, KINDS * PAGES / 2);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* --- no room: the last tests, as they leave no swap ------------------------------------- */

#define HOLES	32768UL	/* of which half has to be far more than the reserves of the node */

/*
 * Leave node 1 without room for a huge page: all of them are taken, and free are only the holes
 * between pages that compaction may not move.
 */
static char *take_huge(const char *pool)
{
	unsigned long node1 = 2;
	char *holes, *p;

	swapoff("/dev/zram0");
	write_text("/proc/sys/vm/compact_unevictable_allowed", "0");
	settle_lru();
	/* Where that would be an order, the kernel would kill for want of memory there. */
	if (syscall(SYS_set_mempolicy, MPOL_PREFERRED, &node1, 64))
		fail_setup("set_mempolicy");
	holes = mem_map(HOLES, RW, ANON, -1);
	madvise(holes, HOLES * PAGE, MADV_NOHUGEPAGE);
	if (mlock(holes, HOLES * PAGE))
		fail_setup("mlock");
	write_text(pool, "2000");
	for (size_t i = 0; i < HOLES; i += 2)
		madvise(holes + i * PAGE, PAGE, MADV_DONTNEED_LOCKED);
	settle_lru();
	for (int failed = 0; failed < 4; ) {
		p = mem_map(512, RW, ANON, -1);
		madvise(p, HUGE, MADV_HUGEPAGE);
		p[0] = 1;
		failed += node_of(p) != 1 || !(frame_flags(frame_of(p)) & KPF(KPF_THP));
	}
	allocate_on(-1);
	return holes;
}

/*
 * The daemons of the node, which the failing allocations have woken, may free a block yet. What is moved whole into it
 * stays there, so that each try leaves less room than the one before.
 */
#define TRIES	64

struct tries {
	struct mem m[TRIES];
	int n;			/* the last one */
	long answer;
	struct moves traced, counted;
};

/* The huge pages of @m, and @last if it is not NULL. */
static long move_huge_pages(struct mem *m, void *last)
{
	void *addr[PAGES / 512 + 1];
	int nodes[PAGES / 512 + 1], status[PAGES / 512 + 1];
	size_t n;

	for (n = 0; n < PAGES / 512; n++) {
		addr[n] = m->p + n * HUGE;
		nodes[n] = 1;
	}
	addr[n] = last;
	nodes[n] = 1;
	return move_pages_raw(0, n + !!last, addr, nodes, status, MOVE_OWN);
}

static void try_until_split(struct tries *t, void *last)
{
	struct moves start;

	memset(t, 0, sizeof(*t));
	for (;; t->n++) {
		mem_make(&t->m[t->n], M_THP, PAGES);
		settle_lru();
		start = moves_now();
		moves_trace();
		t->answer = move_huge_pages(&t->m[t->n], last);
		t->traced = moves_traced();
		t->counted = moves_since(&start);
		if (t->traced.n[THP_SPLIT] || t->n == TRIES - 1)
			break;
	}
}

/* All their pieces are moved. */
static void expect_split(struct __test_metadata *_metadata, void *last)
{
	char pool[128], *holes;
	struct tries t;

	snprintf(pool, sizeof(pool), NODE_HUGETLB, 1);
	holes = take_huge(pool);
	try_until_split(&t, last);
	TH_LOG("at try %d %ld huge pages split, %ld moved whole; %ld pages moved, %ld not", t.n + 1,
	       t.traced.n[THP_SPLIT], t.traced.n[THP_OK], t.traced.n[OK], t.traced.n[FAIL]);
	EXPECT_GE(t.traced.n[THP_SPLIT], 1);
	/* Which is no failure, but what was split is part of the answer if that is not 0 anyway. */
	EXPECT_EQ(t.answer, last ? 1 + t.traced.n[THP_SPLIT] : 0);
	EXPECT_EQ(t.traced.n[FAIL], last ? 1 : 0);
	EXPECT_EQ(t.traced.n[THP_FAIL], t.traced.n[THP_SPLIT]);
	EXPECT_EQ(t.traced.n[THP_OK] + t.traced.n[THP_SPLIT], PAGES / 512);
	EXPECT_EQ(t.traced.n[OK], PAGES);
	EXPECT_GE(t.counted.n[THP_SPLIT], t.traced.n[THP_SPLIT]);
	for (int i = 0; i <= t.n; i++) {
		EXPECT_EQ(count_on(t.m[i].p, PAGES, 1), PAGES);
		EXPECT_EQ(mem_wrong(&t.m[i]), 0);
		mem_free(&t.m[i]);
	}
	write_text(pool, "0");
	munmap(holes, HOLES * PAGE);
	write_text("/proc/sys/vm/compact_unevictable_allowed", "1");
}

TEST(split_for_want_of_room)
{
	expect_split(_metadata, NULL);
}

/* The same, with a page behind them that cannot be moved. */
TEST(split_and_one_not_moved)
{
	struct pin pin;
	char *small;

	allocate_on(0);
	small = mem_map(1, RW, ANON, -1);
	*(volatile char *)small = 1;
	allocate_on(-1);
	pin_page(&pin, small);
	expect_split(_metadata, small);
	unpin_page(&pin);
	munmap(small, PAGE);
}

static pid_t program;

static void __attribute__((constructor)) before_all(void)
{
	program = getpid();
	mem_mount_huge();
	moves_trace_on();
}

static void __attribute__((destructor)) after_all(void)
{
	if (getpid() == program)
		moves_trace_off();
}

TEST_HARNESS_MAIN

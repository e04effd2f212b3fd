// SPDX-License-Identifier: GPL-2.0
/*
 * What a page takes along when it moves: for each kind of memory its contents, the bits of its
 * entries (soft-dirty, userfaultfd's write protection, read-only, young), the flags of its folio,
 * its lock, its idle age, what it is charged to, and that it reaches the disk. What has moved is
 * counted exactly, by /proc/vmstat and by the tracepoint. PG_workingset is left out: no file shows it.
 * What has no variants, and the other users of migration, are in migrate_users.c.
 *
 * Stock fails here:
 *  mlock of anon_64k, thp, thp_by_ptes, shmem_huge: a large folio loses its mark by the move;
 *  stays_whole of anon_64k, thp_by_ptes: with its entries taken away one by one a folio looks
 *  as if mapped in part, and the one that takes its place is put down to be split.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>

#include "mlock_count.h"
#include "migrate.h"

#define KPF_REFERENCED	2
#define KPF_UPTODATE	3
#define KPF_SWAPBACKED	14

FIXTURE(state) {
	struct mem m;
	char cgroup[256];
};

FIXTURE_VARIANT(state) {
	enum mem_kind kind;
};

FIXTURE_VARIANT_ADD(state, anon_4k) { .kind = M_4K };
FIXTURE_VARIANT_ADD(state, anon_64k) { .kind = M_64K };
FIXTURE_VARIANT_ADD(state, thp) { .kind = M_THP };
FIXTURE_VARIANT_ADD(state, thp_by_ptes) { .kind = M_THP_PTES };
FIXTURE_VARIANT_ADD(state, shmem) { .kind = M_SHMEM };
FIXTURE_VARIANT_ADD(state, shmem_huge) { .kind = M_SHMEM_HUGE };
FIXTURE_VARIANT_ADD(state, ext4) { .kind = M_EXT4 };
FIXTURE_VARIANT_ADD(state, tmpfs_private) { .kind = M_TMPFS };
FIXTURE_VARIANT_ADD(state, ksm) { .kind = M_KSM };
FIXTURE_VARIANT_ADD(state, hugetlb) { .kind = M_HUGETLB };

FIXTURE_SETUP(state)
{
	need_swap();
	enter_cgroup("migrate_state", self->cgroup, sizeof(self->cgroup));
	mem_make(&self->m, variant->kind, PAGES);
	mem_home(&self->m);
}

/* Nothing is left isolated, which is how a page is lost. */
FIXTURE_TEARDOWN(state)
{
	mem_free(&self->m);
	for (int i = 0; i < 100 && (vm_count("nr_isolated_anon") || vm_count("nr_isolated_file")); i++)
		usleep(50000);
	EXPECT_EQ(vm_count("nr_isolated_anon"), 0);
	EXPECT_EQ(vm_count("nr_isolated_file"), 0);
	leave_cgroup(self->cgroup);
}

static bool by_pmd(const struct mem *m)
{
	return m->kind == M_THP || m->kind == M_SHMEM_HUGE || m->kind == M_HUGETLB;
}

static bool is_thp(const struct mem *m)
{
	return m->kind == M_THP || m->kind == M_THP_PTES || m->kind == M_SHMEM_HUGE;
}

static bool writable(const struct mem *m)
{
	return m->kind != M_TMPFS;
}

/* --- contents, counts ------------------------------------------------------------------- */

static void expect_moves(struct __test_metadata *_metadata, const struct moves *got,
			 const long *want)
{
	for (int i = 0; i < MOVED; i++) {
		EXPECT_EQ(got->n[i], want[i])
			TH_LOG("count %d", i);
	}
}

/* Every page once, however many map it. */
TEST_F(state, counted)
{
	struct mem *m = &self->m;
	long all = m->kind == M_KSM ? PAGES / 2 : PAGES, thps = is_thp(m) ? 2 : 0;
	struct moves start, got;

	for (int node = 1; node >= 0; node--) {
		long want[MOVED] = { all, 0, thps, 0, 0 };

		/* Stock splits it: see stays_whole. */
		if (!node && (m->kind == M_64K || m->kind == M_THP_PTES))
			break;
		settle_lru();
		start = moves_now();
		moves_trace();
		ASSERT_EQ(move_range(m->p, all, m->step, node, m->how), 0);
		got = moves_traced();
		expect_moves(_metadata, &got, want);
		got = moves_since(&start);
		expect_moves(_metadata, &got, want);
		EXPECT_EQ(count_on(m->p, PAGES, node), PAGES);
		EXPECT_EQ(mem_wrong(m), 0);
	}
}

/* A pin keeps its folio, all of it, and nothing else; the failure is counted once. */
TEST_F(state, failures_counted)
{
	struct mem *m = &self->m;
	long all = m->kind == M_KSM ? PAGES / 2 : PAGES, thps = is_thp(m) ? 2 : 0;
	long want[MOVED] = { all - m->step, m->step, thps / 2, thps / 2, 0 };
	uint64_t before = frame_of(m->p + 5 * PAGE);
	struct moves start, got;
	struct pin pin;

	pin_page(&pin, m->p + 5 * PAGE);
	settle_lru();
	start = moves_now();
	moves_trace();
	ASSERT_EQ(move_range(m->p, all, m->step, 1, m->how), 1);
	got = moves_traced();
	expect_moves(_metadata, &got, want);
	got = moves_since(&start);
	expect_moves(_metadata, &got, want);
	EXPECT_EQ(frame_of(m->p + 5 * PAGE), before);
	EXPECT_EQ(mem_wrong(m), 0);
	unpin_page(&pin);
	EXPECT_EQ(mem_move(m, 1), PAGES);
	EXPECT_EQ(mem_wrong(m), 0);
}

static bool whole(const struct mem *m)
{
	for (size_t i = 0; i < PAGES; i++) {
		int bit = i % m->step ? KPF_TAIL : KPF_HEAD;

		if (m->step > 1 && !(frame_flags(frame_of(m->p + i * PAGE)) & KPF(bit)))
			return false;
	}
	return true;
}

/* Folios keep their size, moved again and again. */
TEST_F(state, stays_whole)
{
	struct mem *m = &self->m;
	long splits = vm_count("thp_split_page");

	for (int i = 0; i < 4; i++) {
		settle_lru();
		ASSERT_EQ(move_range(m->p, PAGES, m->step, i % 2 == 0, m->how), 0);
		EXPECT_TRUE(whole(m));
		EXPECT_EQ(mem_wrong(m), 0);
	}
	EXPECT_EQ(vm_count("thp_split_page"), splits);
}

/* --- bits of the entries ---------------------------------------------------------------- */

static size_t with_bit(const struct mem *m, uint64_t bit, size_t every)
{
	static uint64_t map[PAGES];
	size_t wrong = 0;

	pagemap_read(m->p, PAGES, map);
	for (size_t i = 0; i < PAGES; i++)
		wrong += !!(map[i] & bit) != (i % every == 0);
	return wrong;
}

TEST_F(state, soft_dirty)
{
	struct mem *m = &self->m;
	size_t every = by_pmd(m) ? 1 : 3;

	/* Entries of hugetlb do not show the bit. */
	if (!writable(m) || m->kind == M_HUGETLB)
		return;
	ASSERT_TRUE(write_text("/proc/self/clear_refs", "4"));
	EXPECT_EQ(with_bit(m, PM_SOFT_DIRTY, PAGES + 1), 1);	/* page 0 is "wrong" */
	for (size_t i = 0; i < PAGES; i += 3)
		mem_fill_page(m, m->p + i * PAGE, i);
	EXPECT_EQ(with_bit(m, PM_SOFT_DIRTY, every), 0);
	for (int node = 1; node >= 0; node--) {
		ASSERT_EQ(mem_move(m, node), PAGES);
		EXPECT_EQ(with_bit(m, PM_SOFT_DIRTY, every), 0);
	}
	EXPECT_EQ(mem_wrong(m), 0);
}

static int uffd_open(const struct mem *m)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP |
				  UFFD_FEATURE_WP_HUGETLBFS_SHMEM };
	struct uffdio_register reg = { .range = { (uintptr_t)m->p, BYTES },
				       .mode = UFFDIO_REGISTER_MODE_WP };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		fail_setup("userfaultfd");
	return fd;
}

static bool uffd_protect(int fd, char *p, size_t pages, bool on)
{
	struct uffdio_writeprotect wp = { .range = { (uintptr_t)p, pages * PAGE },
					  .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0 };

	return !ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
}

static void *write_word(void *arg)
{
	*(volatile uint64_t *)arg += 0;
	return NULL;
}

/* A write to @at waits until it is told of, and goes on when the protection goes. */
static bool write_is_told(int fd, char *at, size_t pages)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	struct uffd_msg msg = {};
	pthread_t thread;
	bool told;

	if (pthread_create(&thread, NULL, write_word, at))
		fail_setup("thread");
	told = poll(&pfd, 1, 60000) == 1 && read(fd, &msg, sizeof(msg)) == sizeof(msg) &&
	       msg.event == UFFD_EVENT_PAGEFAULT &&
	       msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP &&
	       (msg.arg.pagefault.address & -PAGE) == (uintptr_t)at;
	uffd_protect(fd, at, pages, false);
	pthread_join(thread, NULL);
	return told;
}

TEST_F(state, uffd_wp)
{
	struct mem *m = &self->m;
	size_t unit = m->kind == M_HUGETLB ? 512 : 1, every = unit > 1 ? PAGES : 3;
	int fd;

	if (m->kind == M_EXT4 || !writable(m))
		return;
	fd = uffd_open(m);
	for (size_t i = 0; i < PAGES; i += every)
		ASSERT_TRUE(uffd_protect(fd, m->p + i * PAGE, unit, true));
	/* A file's huge page is unmapped when its mapping is to be cut up. */
	EXPECT_EQ(mem_wrong(m), 0);
	for (int node = 1; node >= 0; node--) {
		ASSERT_EQ(mem_move(m, node), PAGES);
		/* All 4 KiB pages of a protected huge page show it. */
		EXPECT_EQ(with_bit(m, PM_UFFD_WP, every), unit - 1);
	}
	EXPECT_TRUE(write_is_told(fd, m->p, unit));
	if (unit == 1)
		EXPECT_TRUE(write_is_told(fd, m->p + 3 * PAGE, 1));
	EXPECT_EQ(mem_wrong(m), 0);
	close(fd);
}

static size_t frames_changed(const struct mem *m, const uint64_t *was)
{
	static uint64_t map[PAGES];
	size_t n = 0;

	pagemap_read(m->p, PAGES, map);
	for (size_t i = 0; i < PAGES; i++)
		n += (map[i] ^ was[i]) << 9 >> 9 & ((1ULL << 55) - 1) ? 1 : 0;
	return n;
}

static size_t exclusive(const struct mem *m)
{
	static uint64_t map[PAGES];
	size_t n = 0;

	pagemap_read(m->p, PAGES, map);
	for (size_t i = 0; i < PAGES; i++)
		n += (map[i] & PM_EXCLUSIVE) != 0;
	return n;
}

/* Who has a page alone writes to it, and not to a copy, after the move too. */
TEST_F(state, exclusive)
{
	struct mem *m = &self->m;
	uint64_t was[PAGES];
	int status;
	pid_t pid;

	if (!writable(m) || m->kind == M_KSM)
		return;
	EXPECT_EQ(exclusive(m), PAGES);
	ASSERT_EQ(mem_move(m, 1), PAGES);
	EXPECT_EQ(exclusive(m), PAGES);
	pagemap_read(m->p, PAGES, was);
	mem_fill(m);
	EXPECT_EQ(frames_changed(m, was), 0);
	/* Shared for a while: a small page is taken back, and where it is does not matter. */
	pid = fork();
	if (!pid)
		_exit(0);
	waitpid(pid, &status, 0);
	ASSERT_EQ(mem_move(m, 0), PAGES);
	EXPECT_EQ(exclusive(m), PAGES);
	pagemap_read(m->p, PAGES, was);
	mem_fill(m);
	if (m->step == 1)
		EXPECT_EQ(frames_changed(m, was), 0);
	EXPECT_EQ(mem_wrong(m), 0);
}

/* Who shares a page writes to a copy, after the move too. */
TEST_F(state, shared_copies)
{
	struct mem *m = &self->m;
	int down[2], up[2], status;
	pid_t pid;
	char c;

	if (!mem_is_anon(m) && m->kind != M_HUGETLB)
		return;
	ASSERT_EQ(pipe(down) | pipe(up), 0);
	pid = fork();
	if (!pid) {
		if (write(up[1], "r", 1) != 1 || read(down[0], &c, 1) != 1)
			_exit(1);
		_exit(mem_wrong(m) != 0);
	}
	ASSERT_EQ(read(up[0], &c, 1), 1);
	m->how = MOVE_ALL;
	ASSERT_EQ(mem_move(m, 1), PAGES);
	EXPECT_EQ(exclusive(m), 0);
	for (size_t i = 0; i < PAGES; i++)
		*(uint64_t *)(m->p + i * PAGE) = 3;
	ASSERT_EQ(write(down[1], &c, 1), 1);
	waitpid(pid, &status, 0);
	EXPECT_EQ(status, 0);
}

static sigjmp_buf fault;

static void on_fault(int sig)
{
	siglongjmp(fault, 1);
}

static bool write_dies(volatile char *p)
{
	volatile bool died = true;

	signal(SIGSEGV, on_fault);
	if (!sigsetjmp(fault, 1)) {
		*p = 1;
		died = false;
	}
	signal(SIGSEGV, SIG_DFL);
	return died;
}

TEST_F(state, read_only)
{
	struct mem *m = &self->m;

	ASSERT_EQ(mprotect(m->p, BYTES, PROT_READ), 0);
	for (int node = 1; node >= 0; node--) {
		ASSERT_EQ(mem_move(m, node), PAGES);
		for (size_t i = 0; i < PAGES; i += 61)
			EXPECT_TRUE(write_dies(m->p + i * PAGE));
	}
	EXPECT_EQ(mem_wrong(m), 0);
	if (!writable(m))
		return;
	ASSERT_EQ(mprotect(m->p, BYTES, RW), 0);
	mem_fill(m);
	EXPECT_EQ(mem_wrong(m), 0);
}

/* --- the folio -------------------------------------------------------------------------- */

static void read_flags(const struct mem *m, uint64_t *flags)
{
	/* An empty call waits until no processor holds pages that are on their way to a list. */
	move_pages_raw(0, 0, NULL, "", NULL, MOVE_OWN);
	for (size_t i = 0; i < PAGES; i++)
		flags[i] = frame_flags(frame_of(m->p + i * PAGE));
}

/* Look at a page as a debugger does: unless it is a huge one, the look is noted in its folio. */
static void note_use(const struct mem *m, size_t page)
{
	int fd = open("/proc/self/mem", O_RDONLY);
	uint64_t word;

	if (fd < 0 || pread(fd, &word, 8, (uintptr_t)m->p + page * PAGE) != 8)
		fail_setup("/proc/self/mem");
	close(fd);
}

TEST_F(state, flags)
{
	static const int same[] = {
		KPF_REFERENCED, KPF_UPTODATE, KPF_LRU, KPF_ACTIVE, KPF_MMAP, KPF_ANON, KPF_HEAD,
		KPF_SWAPBACKED, KPF_TAIL, KPF_HUGE, KPF_UNEVICTABLE, KPF_KSM, KPF_THP, KPF_MLOCKED,
	};
	static uint64_t before[PAGES], after[PAGES];
	struct mem *m = &self->m;
	uint64_t mask = 0;
	size_t used = 0, changed = 0, clean = 0;

	for (size_t i = 0; i < ARRAY_SIZE(same); i++)
		mask |= KPF(same[i]);
	for (size_t i = 0; i < PAGES; i += 2 * m->step) {
		note_use(m, i);
		if (i / m->step % 4 == 0)
			note_use(m, i);
	}
	read_flags(m, before);
	ASSERT_EQ(move_range(m->p, m->kind == M_KSM ? PAGES / 2 : PAGES, m->step, 1, m->how), 0);
	read_flags(m, after);
	for (size_t i = 0; i < PAGES; i++) {
		used += !!(before[i] & (KPF(KPF_REFERENCED) | KPF(KPF_ACTIVE)));
		changed += !!((before[i] ^ after[i]) & mask);
		clean += before[i] & ~after[i] & KPF(KPF_DIRTY) ? 1 : 0;
	}
	if (!by_pmd(m))
		EXPECT_GT(used, 0);
	EXPECT_EQ(changed, 0);
	EXPECT_EQ(clean, 0);
	EXPECT_EQ(count_on(m->p, PAGES, 1), PAGES);
}

/* Stock fails with large folios, as said at the top. */
TEST_F(state, mlock)
{
	struct mem *m = &self->m;
	struct figures start = figures_now();

	if (m->kind == M_HUGETLB)
		return;
	ASSERT_EQ(mlock(m->p, BYTES), 0);
	EXPECT_SEEN(m->p, PAGES, PAGES, PAGES);
	for (int i = 0; i < 3; i++) {
		settle_lru();
		ASSERT_EQ(mem_move(m, i % 2 == 0), PAGES);
		settle_lru();
		EXPECT_SEEN(m->p, PAGES, PAGES, PAGES);
		EXPECT_COUNTED(&start, PAGES, PAGES);
	}
	ASSERT_EQ(munlock(m->p, BYTES), 0);
	EXPECT_SEEN(m->p, PAGES, 0, 0);
	EXPECT_COUNTED(&start, 0, 0);
	EXPECT_EQ(mem_wrong(m), 0);
}

static void as_region(const struct mem *m, struct region *r)
{
	static uint64_t pfn[PAGES];

	*r = (struct region){ .p = m->p, .pages = PAGES, .step = m->step, .fd = -1, .pfn = pfn };
	region_frames(r);
}

/*
 * Marked as idle, then moved: still idle where nobody has looked, and not where somebody has,
 * though nobody had asked before the move.
 */
TEST_F(state, idle)
{
	struct mem *m = &self->m;
	static bool idle[PAGES];
	size_t wrong = 0;
	struct region r;

	if (m->kind == M_HUGETLB)
		return;
	as_region(m, &r);
	region_mark(&r);
	flush_tlb();
	for (size_t i = m->step; i < PAGES; i += 2 * m->step)
		(void)*(volatile char *)(m->p + i * PAGE);
	ASSERT_EQ(move_range(m->p, m->kind == M_KSM ? PAGES / 2 : PAGES, m->step, 1, m->how), 0);
	region_frames(&r);
	region_read(&r, idle);
	for (size_t i = 0; i < PAGES; i += m->step)
		wrong += idle[i] != (i / m->step % 2 == 0);
	EXPECT_EQ(wrong, 0);
	EXPECT_EQ(count_on(m->p, PAGES, 1), PAGES);
}

/* --- who pays --------------------------------------------------------------------------- */

static const char *charged_as(const struct mem *m)
{
	return m->fd < 0 ? "anon " : m->kind == M_EXT4 ? "file " : "shmem ";
}

static long cgroup_on_node(const char *cgroup, const char *key, int node)
{
	static char text[16384];
	char file[320], name[32], *line;

	snprintf(file, sizeof(file), "%s/memory.numa_stat", cgroup);
	snprintf(name, sizeof(name), " N%d=", node);
	if (!read_text(file, text, sizeof(text)))
		fail_setup("%s", file);
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		if (!strncmp(line, key, strlen(key)) && strstr(line, name))
			return atol(strstr(line, name) + 4) / (long)PAGE;
	return -1;
}

/* Processors charge in advance, up to 64 pages each; new page tables are charged too. */
#define SLACK	200

static bool about(long a, long b)
{
	return labs(a - b) <= SLACK;
}

TEST_F(state, charge)
{
	struct mem *m = &self->m;
	const char *key = charged_as(m);
	long current = cgroup_current(self->cgroup), mine;

	if (m->kind == M_HUGETLB)
		return;
	mine = m->kind == M_KSM ? PAGES / 2 : PAGES;
	EXPECT_TRUE(about(cgroup_pages(self->cgroup, key, mine), mine));
	for (int node = 1; node >= 0; node--) {
		ASSERT_EQ(mem_move(m, node), PAGES);
		for (int i = 0; i < 100; i++) {
			cgroup_pages(self->cgroup, key, -1);
			if (about(cgroup_on_node(self->cgroup, key, node), mine) &&
			    about(cgroup_on_node(self->cgroup, key, !node), 0))
				break;
			usleep(100000);
		}
		EXPECT_TRUE(about(cgroup_on_node(self->cgroup, key, node), mine));
		EXPECT_TRUE(about(cgroup_on_node(self->cgroup, key, !node), 0));
		EXPECT_TRUE(about(cgroup_pages(self->cgroup, key, mine), mine));
		EXPECT_TRUE(about(cgroup_current(self->cgroup), current));
	}
}

/* A line of the mapping's entries in smaps, summed, in KiB. */
static long smaps_of(const struct mem *m, const char *name)
{
	static char text[1 << 18];
	unsigned long start, end;
	bool inside = false;
	long sum = 0;

	if (!read_text("/proc/self/smaps", text, sizeof(text)))
		fail_setup("smaps");
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start >= (uintptr_t)m->p && end <= (uintptr_t)m->p + BYTES;
		else if (inside && !strncmp(line, name, strlen(name)))
			sum += atol(line + strlen(name));
	}
	return sum;
}

TEST_F(state, smaps)
{
	static const char * const names[] = {
		"Rss:", "Pss:", "Anonymous:", "KSM:", "AnonHugePages:", "ShmemPmdMapped:", "Swap:",
		"Shared_Hugetlb:", "Private_Hugetlb:",
	};
	struct mem *m = &self->m;
	long before[ARRAY_SIZE(names)];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		before[i] = smaps_of(m, names[i]);
	EXPECT_EQ(before[0] + before[7] + before[8], PAGES * 4);
	for (int node = 1; node >= 0; node--) {
		ASSERT_EQ(mem_move(m, node), PAGES);
		for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
			EXPECT_EQ(smaps_of(m, names[i]), before[i])
				TH_LOG("%s", names[i]);
		}
	}
}

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

TEST_F(state, node_counts)
{
	struct mem *m = &self->m;
	const char *name = m->fd < 0 ? "nr_anon_pages " : "nr_file_pages ";
	long n0 = node_pages(0, name), n1 = node_pages(1, name);
	long mine = m->kind == M_HUGETLB ? 0 : m->kind == M_KSM ? PAGES / 2 : PAGES;

	ASSERT_EQ(mem_move(m, 1), PAGES);
	EXPECT_TRUE(about(node_pages(0, name), n0 - mine));
	EXPECT_TRUE(about(node_pages(1, name), n1 + mine));
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

// SPDX-License-Identifier: GPL-2.0
/*
 * What move_pages(2) answers for each page of each kind of memory, and for each address where there
 * is none that could move; and that no page changes on its way. mbind(2) and migrate_pages(2) with
 * the same memory. Wrong arguments, and calls that end early, are in migrate_args.c.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/prctl.h>

#include "harness.h"
#include "migrate_call.h"

#define PAGES	1024UL

/* --- each kind of memory ---------------------------------------------------------------- */

FIXTURE(kinds) {
	struct mem m;
};

FIXTURE_VARIANT(kinds) {
	enum mem_kind kind;
};

FIXTURE_VARIANT_ADD(kinds, anon_4k) { .kind = M_4K };
FIXTURE_VARIANT_ADD(kinds, anon_64k) { .kind = M_64K };
FIXTURE_VARIANT_ADD(kinds, thp) { .kind = M_THP };
FIXTURE_VARIANT_ADD(kinds, thp_by_ptes) { .kind = M_THP_PTES };
FIXTURE_VARIANT_ADD(kinds, shmem) { .kind = M_SHMEM };
FIXTURE_VARIANT_ADD(kinds, shmem_huge) { .kind = M_SHMEM_HUGE };
FIXTURE_VARIANT_ADD(kinds, ext4) { .kind = M_EXT4 };
FIXTURE_VARIANT_ADD(kinds, tmpfs_private) { .kind = M_TMPFS };
FIXTURE_VARIANT_ADD(kinds, ksm) { .kind = M_KSM };
FIXTURE_VARIANT_ADD(kinds, hugetlb) { .kind = M_HUGETLB };

FIXTURE_SETUP(kinds)
{
	mem_make(&self->m, variant->kind, PAGES);
	mem_home(&self->m);
}

FIXTURE_TEARDOWN(kinds)
{
	mem_free(&self->m);
}

/*
 * Folios named by their first page, or by one in the middle. Stock splits those that page tables
 * map by entries at their second move: see migrate_state.c.
 */
TEST_F(kinds, moved_by_head_and_middle)
{
	struct mem *m = &self->m;
	int rounds = m->kind == M_64K || m->kind == M_THP_PTES ? 1 : 2;

	for (int round = 0; round < rounds; round++) {
		int node = !round;

		call_clear();
		for (size_t i = 0; i < PAGES; i += m->step) {
			bool middle = (i / m->step + round) % 2;

			call_add(m->p + (i + (middle ? m->step / 2 : 0)) * PAGE, node);
		}
		/* Of merged pages the second half is the first. */
		call.n /= m->kind == M_KSM ? 2 : 1;
		ASSERT_EQ(call_move(m->how), 0);
		EXPECT_EQ(differ(0, call.n, node), 0);
		EXPECT_EQ(count_on(m->p, PAGES, node), PAGES);
		EXPECT_EQ(mem_wrong(m), 0);
	}
}

/*
 * The same folio three times: the first isolates it, the second finds it so, which ends the batch;
 * the third finds it at its target.
 */
TEST_F(kinds, named_three_times)
{
	struct mem *m = &self->m;
	size_t next = m->step > 1;

	call_clear();
	for (size_t i = 0; i < 3; i++)
		call_add(m->p + i * next * PAGE, 1);
	ASSERT_EQ(call_move(m->how), 0);
	EXPECT_EQ(call.status[0], 1);
	EXPECT_EQ(call.status[1], -EBUSY);
	EXPECT_EQ(call.status[2], 1);
	EXPECT_EQ(node_of(m->p), 1);
	EXPECT_EQ(mem_wrong(m), 0);
}

TEST_F(kinds, already_there)
{
	struct mem *m = &self->m;
	uint64_t before = frame_of(m->p + PAGE);

	call_clear();
	for (size_t i = 0; i < PAGES; i++)
		call_add(m->p + i * PAGE, 0);
	/* Neither to whom it belongs nor that it is named many times matters then. */
	ASSERT_EQ(call_move(MOVE_OWN), 0);
	EXPECT_EQ(differ(0, PAGES, 0), 0);
	EXPECT_EQ(frame_of(m->p + PAGE), before);
	for (size_t i = 0; i < PAGES; i++)
		call.status[i] = UNTOLD;
	ASSERT_EQ(call_ask(), 0);
	EXPECT_EQ(differ(0, PAGES, 0), 0);
}

/* A child that maps the same, says what it found when asked, and ends. */
static pid_t sharer(struct mem *m, int *to, int *from)
{
	int down[2], up[2];
	char c;
	pid_t pid;

	if (pipe(down) || pipe(up))
		fail_setup("pipe");
	pid = fork();
	if (pid) {
		close(down[0]);
		close(up[1]);
		*to = down[1];
		*from = up[0];
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(down[1]);
	do {
		c = mem_wrong(m) ? 'n' : 'y';
	} while (write(up[1], &c, 1) == 1 && read(down[0], &c, 1) == 1);
	_exit(0);
}

TEST_F(kinds, shared)
{
	struct mem *m = &self->m;
	int to, from, status;
	pid_t pid = sharer(m, &to, &from);
	char c;

	ASSERT_EQ(read(from, &c, 1), 1);
	ASSERT_EQ(c, 'y');
	call_clear();
	for (size_t i = 0; i < PAGES; i += m->step)
		call_add(m->p + i * PAGE, 1);
	ASSERT_EQ(call_move(MOVE_OWN), 0);
	EXPECT_EQ(differ(0, call.n, -EACCES), 0);
	EXPECT_EQ(count_on(m->p, PAGES, 0), PAGES);
	call.n /= m->kind == M_KSM ? 2 : 1;
	ASSERT_EQ(call_move(MOVE_ALL), 0);
	EXPECT_EQ(differ(0, call.n, 1), 0);
	EXPECT_EQ(count_on(m->p, PAGES, 1), PAGES);
	EXPECT_EQ(mem_wrong(m), 0);
	ASSERT_EQ(write(to, &c, 1), 1);
	ASSERT_EQ(read(from, &c, 1), 1);
	EXPECT_EQ(c, 'y');
	close(to);
	close(from);
	waitpid(pid, &status, 0);
}

TEST_F(kinds, mbind_moves)
{
	struct mem *m = &self->m;
	int flags = m->how == MOVE_ALL ? MPOL_MF_MOVE_ALL : MPOL_MF_MOVE;

	for (int node = 1; node >= 0; node--) {
		unsigned long mask = 1UL << node;

		settle_lru();
		/* A merged page is met a second time when it is isolated: with STRICT an error. */
		flags |= m->kind == M_KSM ? 0 : MPOL_MF_STRICT;
		ASSERT_EQ(syscall(SYS_mbind, m->p, PAGES * PAGE, MPOL_BIND, &mask, 64, flags), 0);
		EXPECT_EQ(count_on(m->p, PAGES, node), PAGES);
		EXPECT_EQ(mem_wrong(m), 0);
	}
}

TEST_F(kinds, migrate_pages_moves)
{
	struct mem *m = &self->m;

	for (int node = 1; node >= 0; node--) {
		unsigned long from = 1UL << !node, to = 1UL << node;

		settle_lru();
		/* Others map pages of this program's files, and may hold some. */
		ASSERT_GE(syscall(SYS_migrate_pages, 0, 64, &from, &to), 0);
		EXPECT_EQ(count_on(m->p, PAGES, node), PAGES);
		EXPECT_EQ(mem_wrong(m), 0);
	}
}

/* --- addresses of no page that could move ----------------------------------------------- */

static char *mapping_named(const char *name)
{
	static char text[65536];
	char *p;

	if (!read_text("/proc/self/maps", text, sizeof(text)))
		fail_setup("maps");
	p = strstr(text, name);
	while (p && p > text && p[-1] != '\n')
		p--;
	return p ? (char *)strtoul(p, NULL, 16) : NULL;
}

/* Asked and moved, in one call each, every answer by itself. */
struct expected {
	const char *what;
	void *page;
	int asked, moved;
};

static void expect_each(struct __test_metadata *_metadata, struct expected *e, size_t n, int flags)
{
	call_clear();
	for (size_t i = 0; i < n; i++)
		call_add(e[i].page, 1);
	ASSERT_EQ(call_ask(), 0);
	for (size_t i = 0; i < n; i++) {
		EXPECT_EQ(call.status[i], e[i].asked)
			TH_LOG("asked: %s", e[i].what);
	}
	ASSERT_EQ(call_move(flags), 0);
	for (size_t i = 0; i < n; i++) {
		EXPECT_EQ(call.status[i], e[i].moved)
			TH_LOG("moved: %s", e[i].what);
	}
}

TEST(addresses)
{
	char *p = anon(8), *zero = mem_map(8, RW, ANON, -1), *empty = mem_map(512, RW, ANON, -1);
	char *huge_zero = mem_map(512, RW, ANON, -1);
	struct expected e[] = {
		{ "a page", p, 0, 1 },
		{ "nothing at all", NULL, -EFAULT, -EFAULT },
		{ "a page", p + PAGE, 0, 1 },
		{ "inside of a page", p + 2 * PAGE + 77, 0, 1 },
		{ "the zero page", zero, -EFAULT, -EFAULT },
		{ "the huge zero page", huge_zero, -EFAULT, -EFAULT },
		{ "its middle", huge_zero + 77 * PAGE, -EFAULT, -EFAULT },
		{ "no page yet", empty, -ENOENT, -ENOENT },
		{ "unmapped", p + 4 * PAGE, -EFAULT, -EFAULT },
		{ "behind PROT_NONE", p + 5 * PAGE, 0, 1 },
		{ "swapped out", p + 6 * PAGE, -ENOENT, -ENOENT },
		{ "of the kernel", (void *)0xffff888000000000, -EFAULT, -EFAULT },
		{ "not canonical", (void *)0x0123456789abc000, -EFAULT, -EFAULT },
		{ "a page", p + 3 * PAGE, 0, 1 },
	};

	need_swap();
	madvise(zero, 8 * PAGE, MADV_NOHUGEPAGE);
	madvise(huge_zero, HUGE, MADV_HUGEPAGE);
	(void)*(volatile char *)zero;
	(void)*(volatile char *)huge_zero;
	ASSERT_EQ(munmap(p + 4 * PAGE, PAGE), 0);
	ASSERT_EQ(mprotect(p + 5 * PAGE, PAGE, PROT_NONE), 0);
	for (int i = 0; i < 10 && frame_of(p + 6 * PAGE); i++) {
		settle_lru();
		madvise(p + 6 * PAGE, PAGE, MADV_PAGEOUT);
	}
	ASSERT_EQ(frame_of(p + 6 * PAGE), 0);
	expect_each(_metadata, e, ARRAY_SIZE(e), MOVE_OWN);
	EXPECT_EQ(anon_wrong(p, 4), 0);
	ASSERT_EQ(mprotect(p + 5 * PAGE, PAGE, PROT_READ), 0);
	EXPECT_EQ(*(uint64_t *)(p + 5 * PAGE), 5);
	EXPECT_EQ(*(uint64_t *)(p + 6 * PAGE), 6);
}

/* Frames that are no pages of the system: only who may not move them is told so. */
TEST(addresses_of_devices)
{
	int fd = open("/dev/mem", O_RDONLY);
	char *rom = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0xf0000);
	struct expected e[] = {
		{ "the ROM", rom, -ENOENT, -EFAULT },
		{ "the kernel's clock", mapping_named("[vvar]"), -ENOENT, -EFAULT },
	};

	ASSERT_NE(rom, MAP_FAILED);
	ASSERT_NE(e[1].page, NULL);
	expect_each(_metadata, e, 2, MOVE_OWN);
	expect_each(_metadata, e, 2, MOVE_ALL);
	munmap(rom, PAGE);
}

/* A page on no list. */
TEST(busy)
{
	char *vdso = mapping_named("[vdso]");
	int status, node;

	ASSERT_NE(vdso, NULL);
	(void)*(volatile char *)vdso;
	node = node_of(vdso);
	ASSERT_GE(node, 0);
	ASSERT_EQ(move_one(vdso, !node, &status, MOVE_ALL), 0);
	EXPECT_EQ(status, -EBUSY);
	ASSERT_EQ(move_one(vdso, node, &status, MOVE_ALL), 0);
	EXPECT_EQ(status, node);
}

TEST(hugetlb_not_yet_there)
{
	char *p;
	int status;

	write_text("/proc/sys/vm/nr_hugepages", "4");
	p = mmap(NULL, HUGE, RW, ANON | MAP_HUGETLB, -1, 0);
	ASSERT_NE(p, MAP_FAILED);
	EXPECT_EQ(node_of(p + PAGE), -ENOENT);
	ASSERT_EQ(move_one(p, 1, &status, MOVE_OWN), 0);
	EXPECT_EQ(status, -ENOENT);
	munmap(p, HUGE);
	write_text("/proc/sys/vm/nr_hugepages", "0");
}

/* --- policies --------------------------------------------------------------------------- */

TEST(mbind_strict)
{
	unsigned long node = 2;
	char *p = anon(64);
	struct pin pin;
	int status;
	pid_t pid;

	pin_page(&pin, p + 9 * PAGE);
	EXPECT_EQ(syscall(SYS_mbind, p, 64 * PAGE, MPOL_BIND, &node, 64,
			  MPOL_MF_MOVE | MPOL_MF_STRICT), -1);
	EXPECT_EQ(errno, EIO);
	EXPECT_EQ(count_on(p, 64, 1), 63);
	unpin_page(&pin);
	EXPECT_EQ(syscall(SYS_mbind, p, 64 * PAGE, MPOL_BIND, &node, 64,
			  MPOL_MF_MOVE | MPOL_MF_STRICT), 0);
	EXPECT_EQ(count_on(p, 64, 1), 64);
	/* What others have too stays, and that is no failure. */
	node = 1;
	pid = fork();
	if (!pid)
		for (;;)
			pause();
	EXPECT_EQ(syscall(SYS_mbind, p, 64 * PAGE, MPOL_BIND, &node, 64,
			  MPOL_MF_MOVE | MPOL_MF_STRICT), 0);
	EXPECT_EQ(count_on(p, 64, 1), 64);
	EXPECT_EQ(syscall(SYS_mbind, p, 64 * PAGE, MPOL_BIND, &node, 64,
			  MPOL_MF_MOVE_ALL | MPOL_MF_STRICT), 0);
	EXPECT_EQ(count_on(p, 64, 0), 64);
	EXPECT_EQ(anon_wrong(p, 64), 0);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* New pages come by the policy, old ones by migrate_pages(2); both come together in one mapping. */
TEST(policy_of_the_process)
{
	unsigned long node0 = 1, node1 = 2;
	char *p = anon(128);

	madvise(p + 64 * PAGE, 64 * PAGE, MADV_DONTNEED);
	ASSERT_EQ(syscall(SYS_set_mempolicy, MPOL_BIND, &node1, 64), 0);
	for (size_t i = 64; i < 128; i++)
		*(uint64_t *)(p + i * PAGE) = i;
	EXPECT_EQ(count_on(p, 64, 0), 64);
	EXPECT_EQ(count_on(p + 64 * PAGE, 64, 1), 64);
	settle_lru();
	ASSERT_GE(syscall(SYS_migrate_pages, 0, 64, &node0, &node1), 0);
	EXPECT_EQ(count_on(p, 128, 1), 128);
	EXPECT_EQ(anon_wrong(p, 128), 0);
	ASSERT_EQ(syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0), 0);
}

static void __attribute__((constructor)) before_all(void)
{
	mem_mount_huge();
}

TEST_HARNESS_MAIN

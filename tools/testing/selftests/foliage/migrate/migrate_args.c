// SPDX-License-Identifier: GPL-2.0
/*
 * The arguments of move_pages(2), to the letter: wrong flags, processes, nodes and arrays, at the
 * first, a middle and the last place, with what was done and told before; calls of many pages with
 * targets in turn; and pages that cannot move now, with which a call ends early.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>

#include "harness.h"
#include "migrate_call.h"

#define PAGES	1024UL
#define CPUSET	"/sys/fs/cgroup/migrate_args"

/* --- arguments -------------------------------------------------------------------------- */

TEST(flags)
{
	static const int bad[] = { MPOL_MF_STRICT, MPOL_MF_LAZY, 1 << 4, 1 << 30, INT_MIN,
				   MPOL_MF_MOVE | MPOL_MF_STRICT };
	char *p = anon(1);
	int status, node = 1;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(move_one(p, 1, &status, bad[i]), -EINVAL);
		EXPECT_EQ(status, UNTOLD);
		/* Looked at first. */
		EXPECT_EQ(move_pages_raw(-1, 0, NULL, NULL, NULL, bad[i]), -EINVAL);
	}
	EXPECT_EQ(node_of(p), 0);
	/* None of the two flags is not an error. */
	EXPECT_EQ(move_one(p, 1, &status, 0), 0);
	EXPECT_EQ(status, 1);
	EXPECT_EQ(move_one(p, 0, &status, MOVE_OWN | MOVE_ALL), 0);
	EXPECT_EQ(status, 0);
	/* Without nodes nothing moves, whatever the flags are. */
	EXPECT_EQ(move_pages_raw(0, 1, &p, NULL, &status, MOVE_ALL), 0);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(move_pages_raw(0, 0, NULL, NULL, NULL, MOVE_OWN), 0);
	EXPECT_EQ(move_pages_raw(0, 0, NULL, &node, NULL, MOVE_OWN), 0);
	EXPECT_EQ(move_pages_raw(0, 0, (void *)1, (void *)1, (void *)1, MOVE_ALL), 0);
}

/* What a child finds is 0, or says where it was not as it should be. */
static int child_says(int (*fn)(char *), char *p)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(fn(p));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		fail_setup("fork");
	return WIFEXITED(status) ? WEXITSTATUS(status) : -status;
}

static int as_nobody(char *p)
{
	int status, node = 1;

	if (setresuid(65534, 65534, 65534))
		return 1;
	if (move_one(p, 1, &status, MOVE_ALL) != -EPERM)
		return 2;
	if (move_pages_raw(getppid(), 1, &p, &node, &status, MOVE_OWN) != -EPERM)
		return 3;
	if (move_pages_raw(getppid(), 1, &p, NULL, &status, MOVE_OWN) != -EPERM)
		return 4;
	if (status != UNTOLD)
		return 5;
	/* A page of its own. */
	*(uint64_t *)p = 77;
	if (move_one(p, 1, &status, MOVE_OWN) || status != 1)
		return 6;
	return *(uint64_t *)p == 77 ? 0 : 7;
}

TEST(permission)
{
	char *p = anon(1);

	EXPECT_EQ(child_says(as_nobody, p), 0);
	EXPECT_EQ(node_of(p), 0);
}

TEST(which_process)
{
	char *p = anon(1);
	int status = UNTOLD, node = 1, dead;
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	/* A zombie has no memory, and a kernel thread never had any. */
	siginfo_t info;

	ASSERT_EQ(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
	EXPECT_EQ(move_pages_raw(pid, 1, &p, &node, &status, MOVE_OWN), -EINVAL);
	EXPECT_EQ(move_pages_raw(pid, 1, &p, NULL, &status, 0), -EINVAL);
	ASSERT_EQ(waitpid(pid, &dead, 0), pid);
	EXPECT_EQ(move_pages_raw(pid, 1, &p, &node, &status, MOVE_OWN), -ESRCH);
	EXPECT_EQ(move_pages_raw(pid, 0, NULL, NULL, NULL, 0), -ESRCH);
	EXPECT_EQ(move_pages_raw(-1, 1, &p, &node, &status, MOVE_OWN), -ESRCH);
	EXPECT_EQ(move_pages_raw(INT_MAX, 1, &p, &node, &status, MOVE_OWN), -ESRCH);
	EXPECT_EQ(move_pages_raw(2, 1, &p, &node, &status, MOVE_OWN), -EINVAL);
	EXPECT_EQ(status, UNTOLD);
	EXPECT_EQ(move_pages_raw(getpid(), 1, &p, &node, &status, MOVE_OWN), 0);
	EXPECT_EQ(status, 1);
}

/* The same addresses, another process: its copies move and ours do not. */
TEST(another_process)
{
	char *p = anon(64), c;
	int up[2], down[2], status;
	pid_t pid;

	ASSERT_EQ(pipe(up) | pipe(down), 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (size_t i = 0; i < 64; i++)
			*(uint64_t *)(p + i * PAGE) += 1000;
		move_range(p, 64, 1, 0, MOVE_OWN);
		if (write(up[1], "r", 1) != 1 || read(down[0], &c, 1) != 1)
			_exit(1);
		for (size_t i = 0; i < 64; i++)
			if (*(uint64_t *)(p + i * PAGE) != i + 1000)
				_exit(2);
		_exit(count_on(p, 64, 1) == 64 ? 0 : 3);
	}
	ASSERT_EQ(read(up[0], &c, 1), 1);
	call_clear();
	for (size_t i = 0; i < 64; i++)
		call_add(p + i * PAGE, 1);
	settle_lru();
	ASSERT_EQ(move_pages_raw(pid, 64, call.page, call.node, call.status, MOVE_OWN), 0);
	EXPECT_EQ(differ(0, 64, 1), 0);
	ASSERT_EQ(move_pages_raw(pid, 64, call.page, NULL, call.status, 0), 0);
	EXPECT_EQ(differ(0, 64, 1), 0);
	EXPECT_EQ(count_on(p, 64, 0), 64);
	ASSERT_EQ(write(down[1], &c, 1), 1);
	waitpid(pid, &status, 0);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(anon_wrong(p, 64), 0);
}

/* Nodes that are none end the call; what came before has been moved and told. */
TEST(nodes)
{
	static const int bad[] = { -1, INT_MIN, 2, 63, 64, 1023, 1024, 4096, INT_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		size_t at = i % 3 * 4;	/* first, middle, last of 9 */
		char *p = anon(9);

		call_clear();
		for (size_t k = 0; k < 9; k++)
			call_add(p + k * PAGE, k == at ? bad[i] : 1);
		EXPECT_EQ(call_move(MOVE_OWN), -ENODEV);
		EXPECT_EQ(differ(0, at, 1), 0);
		EXPECT_EQ(differ(at, 9, UNTOLD), 0);
		EXPECT_EQ(count_on(p, at, 1), at);
		EXPECT_EQ(count_on(p + at * PAGE, 9 - at, 0), 9 - at);
		EXPECT_EQ(anon_wrong(p, 9), 0);
		munmap(p, 9 * PAGE);
	}
}

static int in_cpuset(char *p)
{
	if (!write_text(CPUSET "/cgroup.procs", "0"))
		return 1;
	call_clear();
	for (size_t k = 0; k < 4; k++) {
		*(uint64_t *)(p + k * PAGE) += 10;
		call_add(p + k * PAGE, k == 2);
	}
	if (call_move(MOVE_OWN) != -EACCES)
		return 2;
	if (differ(0, 2, 0) || differ(2, 4, UNTOLD))
		return 3;
	if (count_on(p, 4, 0) != 4)
		return 4;
	for (size_t k = 0; k < 4; k++)
		if (*(uint64_t *)(p + k * PAGE) != k + 10)
			return 5;
	return 0;
}

TEST(cpuset)
{
	char *p = anon(4);

	ASSERT_TRUE(write_text("/sys/fs/cgroup/cgroup.subtree_control", "+cpuset"));
	mkdir(CPUSET, 0755);
	ASSERT_TRUE(write_text(CPUSET "/cpuset.mems", "0"));
	EXPECT_EQ(child_says(in_cpuset, p), 0);
	EXPECT_EQ(rmdir(CPUSET), 0);
}

/* --- arrays ----------------------------------------------------------------------------- */

/* @bytes of an array, of which the first @good can be used and the others are not there. */
static void *cut_array(const void *from, size_t good, size_t bytes)
{
	size_t room = (bytes + 2 * PAGE) & -PAGE;
	char *p = mmap(NULL, 2 * room, RW, ANON, -1, 0);

	if (p == MAP_FAILED || munmap(p + room, room))
		fail_setup("mmap");
	memcpy(p + room - good, from, good);
	return p + room - good;
}

#define CALLED	40UL
static const size_t cuts[] = { 0, 1, CALLED / 2, CALLED - 1 };

TEST(pages_not_readable)
{
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		size_t k = cuts[i];
		char *p = anon(CALLED);
		void *pages;

		call_clear();
		for (size_t n = 0; n < CALLED; n++)
			call_add(p + n * PAGE, 1);
		pages = cut_array(call.page, k * 8, CALLED * 8);
		settle_lru();
		EXPECT_EQ(move_pages_raw(0, CALLED, pages, call.node, call.status, MOVE_OWN), -EFAULT);
		EXPECT_EQ(differ(0, k, 1), 0);
		EXPECT_EQ(differ(k, CALLED, UNTOLD), 0);
		EXPECT_EQ(count_on(p, CALLED, 1), k);
		EXPECT_EQ(anon_wrong(p, CALLED), 0);
		munmap(p, CALLED * PAGE);
	}
}

TEST(nodes_not_readable)
{
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		size_t k = cuts[i];
		char *p = anon(CALLED);
		void *nodes;

		call_clear();
		for (size_t n = 0; n < CALLED; n++)
			call_add(p + n * PAGE, 1);
		nodes = cut_array(call.node, k * 4, CALLED * 4);
		settle_lru();
		EXPECT_EQ(move_pages_raw(0, CALLED, call.page, nodes, call.status, MOVE_OWN), -EFAULT);
		EXPECT_EQ(differ(0, k, 1), 0);
		EXPECT_EQ(differ(k, CALLED, UNTOLD), 0);
		EXPECT_EQ(count_on(p, CALLED, 1), k);
		EXPECT_EQ(anon_wrong(p, CALLED), 0);
		munmap(p, CALLED * PAGE);
	}
}

/* A page may have moved of which nothing could be told; what was told is true. */
TEST(status_not_writable)
{
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		size_t k = cuts[i];
		char *p = anon(CALLED);
		int *status;

		call_clear();
		for (size_t n = 0; n < CALLED; n++)
			call_add(p + n * PAGE, 1);
		status = cut_array(call.status, k * 4, CALLED * 4);
		settle_lru();
		EXPECT_EQ(move_pages_raw(0, CALLED, call.page, call.node, status, MOVE_OWN), -EFAULT);
		for (size_t n = 0; n < k; n++)
			EXPECT_EQ(status[n], 1);
		EXPECT_EQ(count_on(p, k, 1), k);
		EXPECT_EQ(anon_wrong(p, CALLED), 0);
		/* And the same where each page is told of at once, being where it should be. */
		move_range(p, CALLED, 1, 1, MOVE_OWN);
		for (size_t n = 0; n < k; n++)
			status[n] = UNTOLD;
		EXPECT_EQ(move_pages_raw(0, CALLED, call.page, call.node, status, MOVE_OWN), -EFAULT);
		for (size_t n = 0; n < k; n++)
			EXPECT_EQ(status[n], 1);
		munmap(p, CALLED * PAGE);
	}
}

/* Asking is done in lots: what is told is the beginning, and true. */
static void expect_beginning(struct __test_metadata *_metadata, const int *status, size_t can)
{
	size_t told = 0;

	while (told < can && status[told] == 0)
		told++;
	for (size_t n = told; n < can; n++)
		EXPECT_EQ(status[n], UNTOLD);
}

TEST(asking_with_bad_arrays)
{
	char *p = anon(CALLED);

	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		size_t k = cuts[i];
		int *status;

		call_clear();
		for (size_t n = 0; n < CALLED; n++)
			call_add(p + n * PAGE, 0);
		EXPECT_EQ(move_pages_raw(0, CALLED, cut_array(call.page, k * 8, CALLED * 8), NULL,
					 call.status, 0), -EFAULT);
		expect_beginning(_metadata, call.status, k);
		EXPECT_EQ(differ(k, CALLED, UNTOLD), 0);
		call_clear();
		for (size_t n = 0; n < CALLED; n++)
			call_add(p + n * PAGE, 0);
		status = cut_array(call.status, k * 4, CALLED * 4);
		EXPECT_EQ(move_pages_raw(0, CALLED, call.page, NULL, status, 0), -EFAULT);
	}
}

/* There is no limit to the number of pages, and no -E2BIG: the arrays end it. */
TEST(more_pages_than_there_are)
{
	static const unsigned long many[] = { CALLED + 1, 1UL << 31, 1UL << 32, 1UL << 61, ~0UL };

	for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
		char *p = anon(CALLED);
		void *pages;

		call_clear();
		for (size_t n = 0; n < CALLED; n++)
			call_add(p + n * PAGE, 1);
		pages = cut_array(call.page, CALLED * 8, CALLED * 8);
		settle_lru();
		EXPECT_EQ(move_pages_raw(0, many[i], pages, call.node, call.status, MOVE_OWN), -EFAULT);
		EXPECT_EQ(differ(0, CALLED, 1), 0);
		EXPECT_EQ(count_on(p, CALLED, 1), CALLED);
		EXPECT_EQ(move_pages_raw(0, many[i], pages, NULL, call.status, 0), -EFAULT);
		EXPECT_EQ(move_pages_raw(0, many[i], NULL, NULL, NULL, 0), -EFAULT);
		EXPECT_EQ(anon_wrong(p, CALLED), 0);
		munmap(p, CALLED * PAGE);
	}
}

/* --- many pages, several targets -------------------------------------------------------- */

#define MANY	1501UL

/* Runs of one target of which the longest are longer than a batch. */
static int target_of(size_t i, size_t run)
{
	return i / run % 2;
}

TEST(targets_in_turn)
{
	static const size_t runs[] = { 1, 2, 7, 512, 513, MANY };
	char *p = anon(MANY);

	for (size_t r = 0; r < ARRAY_SIZE(runs); r++) {
		size_t bad = 0;

		call_clear();
		for (size_t i = 0; i < MANY; i++)
			call_add(p + i * PAGE, target_of(i, runs[r]));
		ASSERT_EQ(call_move(MOVE_OWN), 0);
		for (size_t i = 0; i < MANY; i++)
			bad += call.status[i] != target_of(i, runs[r]);
		EXPECT_EQ(bad, 0);
		ASSERT_EQ(call_ask(), 0);
		for (size_t i = 0; i < MANY; i++)
			bad += call.status[i] != target_of(i, runs[r]);
		EXPECT_EQ(bad, 0);
		EXPECT_EQ(anon_wrong(p, MANY), 0);
	}
}

/* Addresses in no order, and between them such that cannot move: each has the answer of its own. */
TEST(order_of_statuses)
{
	char *p = anon(MANY);
	size_t bad = 0;

	for (size_t i = 0; i < MANY; i += 97)
		madvise(p + i * PAGE, PAGE, MADV_DONTNEED);
	munmap(p + 500 * PAGE, PAGE);
	call_clear();
	for (size_t i = 0; i < MANY; i++)
		call_add(p + i * 7 % MANY * PAGE, i % 200 < 100);
	ASSERT_EQ(call_move(MOVE_OWN), 0);
	for (size_t i = 0; i < MANY; i++) {
		size_t page = i * 7 % MANY;
		int want = page == 500 ? -EFAULT : page % 97 == 0 ? -ENOENT : i % 200 < 100;

		bad += call.status[i] != want;
		if (page != 500)
			bad += *(uint64_t *)(p + page * PAGE) != (page % 97 ? page : 0);
	}
	EXPECT_EQ(bad, 0);
}

/* --- pages that cannot move now --------------------------------------------------------- */

/*
 * One pinned page: the others of the batch move, and the answer is the number of pages that did
 * not. What happened to the batch's pages is not told.
 */
TEST(pinned_in_one_batch)
{
	char *p = anon(600);
	struct pin pin;
	uint64_t before = frame_of(p + 5 * PAGE);

	pin_page(&pin, p + 5 * PAGE);
	call_clear();
	for (size_t i = 0; i < 600; i++)
		call_add(p + i * PAGE, 1);
	EXPECT_EQ(call_move(MOVE_OWN), 1);
	EXPECT_EQ(differ(0, 600, UNTOLD), 0);
	EXPECT_EQ(count_on(p, 600, 1), 599);
	EXPECT_EQ(frame_of(p + 5 * PAGE), before);
	EXPECT_EQ(anon_wrong(p, 600), 0);
	/* Asked for again, all but one are there, and the one is the last of its batch each time. */
	EXPECT_EQ(call_move(MOVE_OWN), 1 + 600 - 7);
	EXPECT_EQ(differ(0, 5, 1), 0);
	EXPECT_EQ(call.status[5], UNTOLD);
	EXPECT_EQ(call.status[6], 1);
	EXPECT_EQ(differ(7, 600, UNTOLD), 0);
	unpin_page(&pin);
	EXPECT_EQ(call_move(MOVE_OWN), 0);
	EXPECT_EQ(differ(0, 600, 1), 0);
}

/* The batch that fails is the last: the answer counts what was never tried. */
TEST(pinned_before_another_target)
{
	char *p = anon(5);
	struct pin pin;

	pin_page(&pin, p + PAGE);
	call_clear();
	call_add(p, 1);
	call_add(p + PAGE, 1);
	call_add(p + 2 * PAGE, 0);
	call_add(p + 3 * PAGE, 1);
	call_add(p + 4 * PAGE, 1);
	EXPECT_EQ(call_move(MOVE_OWN), 1 + 3);
	EXPECT_EQ(differ(0, 5, UNTOLD), 0);
	EXPECT_EQ(node_of(p), 1);
	EXPECT_EQ(count_on(p + PAGE, 4, 0), 4);
	unpin_page(&pin);
	EXPECT_EQ(anon_wrong(p, 5), 0);
}

TEST(pinned_before_an_error)
{
	char *p = anon(6);
	struct pin pin;

	pin_page(&pin, p + 2 * PAGE);
	munmap(p + 4 * PAGE, PAGE);
	call_clear();
	/* A batch that succeeds, one that fails and ends with an address that has no page. */
	call_add(p, 1);
	call_add(p + PAGE, 0);
	call_add(p + 2 * PAGE, 1);
	call_add(p + 3 * PAGE, 1);
	call_add(p + 4 * PAGE, 1);
	call_add(p + 5 * PAGE, 1);
	EXPECT_EQ(call_move(MOVE_OWN), 2);
	EXPECT_EQ(call.status[0], 1);
	EXPECT_EQ(call.status[1], 0);
	EXPECT_EQ(differ(2, 4, UNTOLD), 0);
	EXPECT_EQ(call.status[4], -EFAULT);
	EXPECT_EQ(call.status[5], UNTOLD);
	EXPECT_EQ(node_of(p + 3 * PAGE), 1);
	EXPECT_EQ(node_of(p + 5 * PAGE), 0);
	/* An error of the arguments behind it is what the call says. */
	call.node[5] = 77;
	call.page[4] = p + 3 * PAGE;
	call.page[3] = p;
	EXPECT_EQ(call_move(MOVE_OWN), 1 + 6 - 4);
	unpin_page(&pin);
}

/* A huge page counts as one that did not move, wherever it is pinned. */
TEST(pinned_huge)
{
	static const enum mem_kind kinds[] = { M_THP, M_THP_PTES, M_SHMEM_HUGE, M_HUGETLB };

	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct pin pin;
		struct mem m;

		mem_make(&m, kinds[k], PAGES);
		mem_home(&m);
		pin_page(&pin, m.p + 700 * PAGE);
		call_clear();
		call_add(m.p, 1);
		call_add(m.p + 600 * PAGE, 1);
		EXPECT_EQ(call_move(MOVE_OWN), 1);
		EXPECT_EQ(differ(0, 2, UNTOLD), 0);
		EXPECT_EQ(count_on(m.p, PAGES, 1), 512);
		EXPECT_EQ(node_of(m.p), 1);
		EXPECT_EQ(mem_wrong(&m), 0);
		unpin_page(&pin);
		EXPECT_EQ(mem_move(&m, 1), PAGES);
		EXPECT_EQ(mem_wrong(&m), 0);
		mem_free(&m);
	}
}

/* --- 32-bit callers ---------------------------------------------------------------------- */

#ifdef __x86_64__
#define NR_MOVE_PAGES_32	317

/* Their way into the kernel, which is open to us too; all pointers must be of 32 bits. */
static long move_pages_32(pid_t pid, unsigned int n, const void *pages, const void *nodes,
			  void *status, int flags)
{
	register long sixth asm("r12") = flags;
	long ret;

	asm volatile("lea -128(%%rsp), %%rsp\n\t"	/* what the compiler keeps below the stack */
		     "push %%rbp\n\t"
		     "mov %%r12, %%rbp\n\t"
		     "int $0x80\n\t"
		     "pop %%rbp\n\t"
		     "lea 128(%%rsp), %%rsp"
		     : "=a" (ret)
		     : "a" (NR_MOVE_PAGES_32), "b" ((long)pid), "c" ((long)n), "d" (pages),
		       "S" (nodes), "D" (status), "r" (sixth)
		     : "memory", "cc", "r8", "r9", "r10", "r11");
	return (int)ret;
}

static int asks_nothing(char *p)
{
	return move_pages_32(0, 0, NULL, NULL, NULL, 0) != 0;
}

static char *low_map(size_t pages, int prot)
{
	char *p = mmap(NULL, pages * PAGE, prot, ANON | MAP_32BIT, -1, 0);

	if (p == MAP_FAILED)
		fail_setup("memory with 32-bit addresses");
	madvise(p, pages * PAGE, MADV_NOHUGEPAGE);
	return p;
}

struct low {
	uint32_t page[600];
	int node[600], status[600];
};

/* More than one batch; an address is four bytes long, and nothing lies between two of them. */
TEST(callers_of_32_bits)
{
	struct low *low = (struct low *)low_map(sizeof(struct low) / PAGE + 1, RW);
	char *p = low_map(600, RW), *none = low_map(2, PROT_NONE);
	int ran = child_says(asks_nothing, NULL);
	size_t wrong = 0;

	if (ran == -SIGSEGV)
		SKIP(return, "no 32-bit system calls in this kernel");
	ASSERT_EQ(ran, 0);
	for (size_t i = 0; i < 600; i++) {
		p[i * PAGE] = i;
		low->page[i] = (uintptr_t)p + i * PAGE;
		low->node[i] = i / 100 % 2;
	}
	low->page[7] = (uintptr_t)none;
	low->page[599] = 0xfffff000;
	settle_lru();
	EXPECT_EQ(move_pages_32(0, 600, low->page, low->node, low->status, MOVE_OWN), 0);
	EXPECT_EQ(low->status[7], -ENOENT);
	EXPECT_EQ(low->status[599], -EFAULT);
	for (size_t i = 0; i < 599; i++)
		wrong += i != 7 && (low->status[i] != low->node[i] || p[i * PAGE] != (char)i);
	EXPECT_EQ(wrong, 0);
	EXPECT_EQ(count_on(p, 7, 0), 7);
	EXPECT_EQ(count_on(p + 8 * PAGE, 92, 0), 92);
	EXPECT_EQ(count_on(p + 100 * PAGE, 100, 1), 100);

	/* Asked for, not moved. */
	memset(low->status, 1, sizeof(low->status));
	EXPECT_EQ(move_pages_32(0, 600, low->page, NULL, low->status, 0), 0);
	for (size_t i = 0; i < 599; i++)
		wrong += i != 7 && low->status[i] != low->node[i];
	EXPECT_EQ(wrong, 0);
	EXPECT_EQ(low->status[7], -ENOENT);

	/* An array that ends in the middle of what would be an address of 64 bits, and one too short. */
	mprotect(none, PAGE, RW);
	memcpy(none + PAGE - 12, low->page, 12);
	EXPECT_EQ(move_pages_32(0, 3, none + PAGE - 12, NULL, low->status, 0), 0);
	EXPECT_EQ(move_pages_32(0, 4, none + PAGE - 12, NULL, low->status, 0), -EFAULT);
	munmap(low, sizeof(*low));
	munmap(p, 600 * PAGE);
	munmap(none, 2 * PAGE);
}
#endif

static void __attribute__((constructor)) before_all(void)
{
	mem_mount_huge();
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: GPL-2.0
/*
 * A page that is moved while its range is being locked is mapped anew in a VMA that is locked
 * already, and would be counted by whoever maps it, and by mlock's walk when it comes there. It
 * must be counted once: counted twice it would stay locked when everybody has let go.
 *
 * A child moves the last pages of a shared file between two nodes, as fast as it can; its parent
 * locks and unlocks the file, so that the walk takes a while to come to them. Now and then both
 * rest, and no page may be locked then.
 */
#define _GNU_SOURCE
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "foliage.h"

#define PAGES		128UL
#define BEFORE		(16UL << 20)	/* to walk first */
#define SPAN		(BEFORE + PAGES * PAGE)
#define KPF_MLOCKED	33
#define ROUNDS		8
#define LOCKS		10	/* a round */
#define MOVES		5000

struct board {
	atomic_bool rest, resting;
	atomic_long moved;
};

/* @p: the first that moves. */
static void move_forever(struct board *b, char *p)
{
	int node[PAGES], status[PAGES];
	void *page[PAGES];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* A fork does not copy entries of shared memory. */
	for (size_t i = 0; i < PAGES; i++)
		*(volatile char *)(p + i * PAGE);
	for (int to = 1; ; to = !to) {
		while (atomic_load(&b->rest)) {
			atomic_store(&b->resting, true);
			usleep(100);
		}
		atomic_store(&b->resting, false);
		for (size_t i = 0; i < PAGES; i++) {
			page[i] = p + i * PAGE;
			node[i] = to;
		}
		if (syscall(SYS_move_pages, 0, PAGES, page, node, status, MPOL_MF_MOVE_ALL) < 0)
			_exit(1);
		for (size_t i = 0; i < PAGES; i++)
			atomic_fetch_add(&b->moved, status[i] == to);
	}
}

static void rest(struct board *b)
{
	atomic_store(&b->resting, false);
	atomic_store(&b->rest, true);
	while (!atomic_load(&b->resting))
		usleep(100);
	settle_lru();
}

static size_t still_locked(const char *p)
{
	size_t n = 0;

	for (size_t i = 0; i < PAGES; i++) {
		*(volatile char *)(p + i * PAGE);
		n += !!(frame_flags(frame_of(p + i * PAGE)) & KPF(KPF_MLOCKED));
	}
	return n;
}

TEST(moved_while_locked)
{
	struct board *b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			       -1, 0);
	char *p = mmap(NULL, SPAN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	time_t end = time(NULL) + 120;
	long locks = 0;
	pid_t pid;

	if (b == MAP_FAILED || p == MAP_FAILED)
		fail_setup("mmap");
	if (access("/sys/devices/system/node/node1", F_OK))
		SKIP(return, "one node");
	memset(p, 1, SPAN);
	pid = fork();
	if (!pid)
		move_forever(b, p + BEFORE);
	for (int round = 0; round < ROUNDS || atomic_load(&b->moved) < MOVES; round++) {
		ASSERT_LT(time(NULL), end);
		for (int i = 0; i < LOCKS; i++, locks++) {
			ASSERT_EQ(mlock(p, SPAN), 0);
			ASSERT_EQ(munlock(p, SPAN), 0);
		}
		rest(b);
		ASSERT_EQ(still_locked(p + BEFORE), 0);
		atomic_store(&b->rest, false);
		ASSERT_EQ(waitpid(pid, NULL, WNOHANG), 0);
	}
	TH_LOG("%ld times locked and unlocked, %ld pages moved", locks, atomic_load(&b->moved));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

TEST_HARNESS_MAIN

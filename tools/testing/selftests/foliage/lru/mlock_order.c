// SPDX-License-Identifier: GPL-2.0
/*
 * One page, locked by processes on two processors: a lock that comes with a fault waits in a batch
 * of its processor and is counted later than one by mlock(), which may have come after it. Whatever
 * the order in which they are counted, the page stays locked until the last process lets go, and
 * not longer.
 *
 * Before anybody lets go the batches are emptied: a munlock that meets a lock which still waits may
 * take the mark, and reclaim repairs that (see mlock_class.c).
 */
#define _GNU_SOURCE
#include <sched.h>
#include <sys/wait.h>

#include "mlock_count.h"

#define LOCKERS	3

/* ONFAULT waits in a batch, TOUCHED is counted at once. */
enum { ONFAULT, TOUCHED, MUNLOCK, UNMAP };

struct locker {
	int to, from;
	pid_t pid;
};

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail_setup("processor %d", cpu);
}

static bool obey(char **p, int fd, char order)
{
	if (order == ONFAULT || order == TOUCHED) {
		*p = mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0);
		if (*p == MAP_FAILED || (order == ONFAULT && mlock2(*p, PAGE, MLOCK_ONFAULT)))
			return false;
		*(volatile char *)*p;
		return order == ONFAULT || !mlock(*p, PAGE);
	}
	return (order == UNMAP || !munlock(*p, PAGE)) && !munmap(*p, PAGE);
}

static void locker_life(int cpu, int fd, int in, int out)
{
	char *p = NULL, order;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	on_cpu(cpu);
	while (read(in, &order, 1) == 1) {
		order = obey(&p, fd, order) ? 'y' : 'n';
		if (write(out, &order, 1) != 1)
			break;
	}
	_exit(1);
}

static struct locker locker_start(int cpu, int fd)
{
	int to[2], from[2];
	struct locker l;

	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		fail_setup("pipe");
	l = (struct locker){ .to = to[1], .from = from[0], .pid = fork() };
	if (!l.pid)
		locker_life(cpu, fd, to[0], from[1]);
	close(to[0]);
	close(from[1]);
	return l;
}

static void tell(struct locker *l, char order)
{
	char c;

	if (write(l->to, &order, 1) != 1 || read(l->from, &c, 1) != 1 || c != 'y')
		fail_setup("a process that locks, order %d", order);
}

FIXTURE(order)
{
	struct region r;
	struct figures start;
	struct locker l[LOCKERS];
};

FIXTURE_VARIANT(order)
{
	enum kind kind;
};

FIXTURE_VARIANT_ADD(order, shmem)
{
	.kind = SHMEM,
};

FIXTURE_VARIANT_ADD(order, ext4)
{
	.kind = FILE_EXT4,
};

FIXTURE_SETUP(order)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one processor");
	on_cpu(0);
	region_make(&self->r, variant->kind, 1);
	/* Two on the second processor, whose batch they share. */
	for (int i = 0; i < LOCKERS; i++)
		self->l[i] = locker_start(!!i, self->r.fd);
	self->start = figures_now();
}

FIXTURE_TEARDOWN(order)
{
	EXPECT_COUNTED(&self->start, 0, 0);
	for (int i = 0; i < LOCKERS; i++) {
		kill(self->l[i].pid, SIGKILL);
		waitpid(self->l[i].pid, NULL, 0);
		close(self->l[i].to);
		close(self->l[i].from);
	}
	region_free(&self->r);
}

static bool has(const struct region *r, int bit)
{
	return frame_flags(r->pfn[0]) & KPF(bit);
}

/* The lock that waits has marked the page first, and is counted last, by compaction. */
TEST_F(order, first_mark_counted_last)
{
	struct region *r = &self->r;

	tell(&self->l[1], ONFAULT);
	ASSERT_TRUE(has(r, KPF_MLOCKED));
	ASSERT_FALSE(has(r, KPF_UNEVICTABLE));
	tell(&self->l[0], TOUCHED);
	ASSERT_TRUE(has(r, KPF_UNEVICTABLE));
	ASSERT_TRUE(write_text("/proc/sys/vm/compact_memory", "1"));
	/* It may have been moved. */
	region_frames(r);
	EXPECT_COUNTED(&self->start, 1, 1);
	tell(&self->l[0], MUNLOCK);
	EXPECT_COUNTED(&self->start, 1, 1);
	EXPECT_TRUE(has(r, KPF_MLOCKED));
	tell(&self->l[1], MUNLOCK);
	EXPECT_FALSE(has(r, KPF_MLOCKED));
}

static const int orders[][LOCKERS] = {
	{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
};

/*
 * Bit i of @ways and @ends says how locker i locks and lets go, of @drains whether batches are
 * emptied after the i-th lock.
 */
static bool lock_and_let_go(struct locker *l, const struct region *r, const int *in, unsigned int ways,
			    unsigned int drains, const int *out, unsigned int ends)
{
	bool ok = true;

	for (int i = 0; i < LOCKERS; i++) {
		tell(&l[in[i]], ways >> in[i] & 1 ? TOUCHED : ONFAULT);
		if (drains >> i & 1)
			settle_lru();
	}
	settle_lru();
	for (int i = 0; i < LOCKERS; i++) {
		ok &= has(r, KPF_MLOCKED) && has(r, KPF_UNEVICTABLE);
		tell(&l[out[i]], ends >> out[i] & 1 ? UNMAP : MUNLOCK);
		settle_lru();
	}
	return ok && !has(r, KPF_MLOCKED) && !has(r, KPF_UNEVICTABLE);
}

TEST_F(order, every_order)
{
	struct region *r = &self->r;
	unsigned int bad = 0;

	for (size_t in = 0; in < ARRAY_SIZE(orders); in++)
		for (unsigned int k = 0; k < 32; k++) {
			unsigned int ways = k & 7, drains = k >> 3;
			size_t out = (in * 5 + k) % ARRAY_SIZE(orders);
			const int *i = orders[in], *o = orders[out];

			if (lock_and_let_go(self->l, r, i, ways, drains, o, k ^ in))
				continue;
			if (bad++)
				continue;
			TH_LOG("locked by %d %d %d, at once 0x%x, emptied 0x%x, unlocked by %d %d %d",
			       i[0], i[1], i[2], ways, drains, o[0], o[1], o[2]);
		}
	EXPECT_EQ(bad, 0);
}

TEST_HARNESS_MAIN

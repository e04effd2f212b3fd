// SPDX-License-Identifier: GPL-2.0
/*
 * Movable pages of a driver (lib/test_movable.c) in a memory block that goes offline, with every
 * outcome of every callback, pages released while they are isolated, pages that cannot be moved or
 * are held; and everything at once: compaction, offlining, allocating, freeing, holding, failing.
 *
 * A lost page would keep its block online for ever, so these are also the tests for leaks.
 *
 *	migrate_movable_block [test_movable.ko]
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>

#include "harness.h"
#include "movable.h"

/* --- a block -------------------------------------------------------------------------- */

FIXTURE(block) {
	int node;
	long block;
	uint64_t size;	/* pages */
	long count;	/* of the driver's, in the block */
};

static long pages_in_block(struct _test_data_block *self)
{
	size_t n, count = 0;
	struct movable_page *p = movable_pages(&n);

	for (size_t i = 0; i < n; i++)
		count += p[i].pfn / self->size == (uint64_t)self->block;
	free(p);
	return count;
}

FIXTURE_SETUP(block)
{
	movable_reset();
	self->node = last_node();
	self->size = block_pages();
	self->block = self->size ? block_make_movable(self->node) : -1;
	if (self->block < 0)
		SKIP(return, "no memory block can go offline");
}

FIXTURE_TEARDOWN(block)
{
	movable_reset();
	if (self->block >= 0) {
		EXPECT_EQ(block_restore(self->block), 0);
	}
}

static void fill_block(struct __test_metadata *_metadata, struct _test_data_block *self, bool movable)
{
	movable_write("movable", movable ? "1" : "0");
	ASSERT_EQ(movable_write("alloc", "4096 %d", self->node), 0);
	self->count = pages_in_block(self);
	ASSERT_GT(self->count, 1000);
}

TEST_F(block, offline)
{
	fill_block(_metadata, self, true);
	ASSERT_EQ(block_set(self->block, "offline"), 0);
	EXPECT_EQ(pages_in_block(self), 0);
	EXPECT_EQ(movable_stat("migrate_ok"), self->count);
	EXPECT_CONSISTENT();
}

/* Offlining tries again as long as there is something movable: failures cost time only. */
TEST_F(block, offline_in_spite_of_failures)
{
	static const int errors[] = { EAGAIN, EBUSY, ENOMEM, EIO };

	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
		fill_block(_metadata, self, true);
		ASSERT_EQ(movable_write("order", "fail_isolate 20"), 0);
		ASSERT_EQ(movable_write("order", "fail_migrate 100 %d", errors[i]), 0);
		ASSERT_EQ(block_set(self->block, "offline"), 0);
		EXPECT_EQ(pages_in_block(self), 0);
		EXPECT_CONSISTENT();
		ASSERT_EQ(block_set(self->block, "online_movable"), 0);
		EXPECT_EQ(movable_write("free", "all"), 0);
	}
	EXPECT_EQ(movable_stat("isolate_refused"), 80);
}

/* A page that is lost would keep its block online for ever. */
TEST_F(block, offline_and_release)
{
	static const char * const orders[] = {
		"release_isolated -1", "release_migrate -1 0", "release_migrate -1 11",
		"release_migrate -1 16",
	};

	for (size_t i = 0; i < sizeof(orders) / sizeof(*orders); i++) {
		fill_block(_metadata, self, true);
		movable_write("stat", "0");
		ASSERT_EQ(movable_write("order", "%s", orders[i]), 0);
		ASSERT_EQ(block_set(self->block, "offline"), 0);
		EXPECT_EQ(pages_in_block(self), 0);
		EXPECT_EQ(movable_stat("released_isolated"), self->count);
		EXPECT_EQ(movable_stat("migrate_ok"), 0);
		EXPECT_EQ(movable_stat("broken"), 0);
		movable_reset();
		ASSERT_EQ(block_set(self->block, "online_movable"), 0);
	}
}

static void on_signal(int sig)
{
}

/* A child that takes the block offline; a signal ends what does not end by itself. */
static pid_t start_offline(long block)
{
	struct sigaction act = { .sa_handler = on_signal };
	pid_t pid = fork();

	if (pid)
		return pid;
	sigaction(SIGUSR1, &act, NULL);
	_exit(-block_set(block, "offline"));
}

/* Its error, if need be after the signal. */
static int end_offline(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, WNOHANG) != pid) {
		kill(pid, SIGUSR1);
		usleep(100000);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Pages that are not movable keep their block online. */
TEST_F(block, offline_fails_with_pinned_pages)
{
	pid_t pid;

	fill_block(_metadata, self, false);
	pid = start_offline(self->block);
	sleep(2);
	EXPECT_NE(end_offline(pid), 0);
	EXPECT_TRUE(block_online(self->block));
	EXPECT_EQ(pages_in_block(self), self->count);
	EXPECT_EQ(movable_stat("isolate_ok") + movable_stat("isolate_refused"), 0);
	EXPECT_CONSISTENT();
	EXPECT_EQ(movable_write("free", "all"), 0);
	ASSERT_EQ(block_set(self->block, "offline"), 0);
}

/* In a zone that is not only for movable pages it is known at once. */
TEST_F(block, offline_refused_with_pinned_pages)
{
	size_t n;
	struct movable_page *p;

	ASSERT_EQ(block_restore(self->block), 0);
	movable_write("movable", "0");
	ASSERT_EQ(movable_write("alloc", "1024 %d", self->node), 0);
	p = movable_pages(&n);
	for (size_t i = 0; i < n; i++) {
		if (i && p[i].pfn / self->size == p[i - 1].pfn / self->size)
			continue;
		EXPECT_EQ(block_set(p[i].pfn / self->size, "offline"), -EBUSY);
	}
	free(p);
	EXPECT_CONSISTENT();
}

/* The driver's page moves away; the one that is held is in the way until it is let go. */
TEST_F(block, offline_waits_for_held_pages)
{
	struct movable_page *p;
	pid_t pid;
	size_t n;

	fill_block(_metadata, self, true);
	p = movable_pages(&n);
	for (size_t i = 0; i < n; i++) {
		if (p[i].pfn / self->size != (uint64_t)self->block)
			continue;
		ASSERT_EQ(movable_write("hold", "%lu %lu", p[i].number, p[i].number), 0);
		break;
	}
	free(p);
	pid = start_offline(self->block);
	while (pages_in_block(self))
		usleep(10000);
	sleep(1);
	EXPECT_EQ(end_offline(pid), EINTR);
	EXPECT_TRUE(block_online(self->block));
	EXPECT_CONSISTENT();
	EXPECT_EQ(movable_write("hold", "none"), 0);
	EXPECT_EQ(block_set(self->block, "offline"), 0);
	EXPECT_CONSISTENT();
}

/* --- everything at once ----------------------------------------------------------------- */

#define RACE_MOVES	20000L
#define RACE_CAP	150	/* seconds */

static atomic_bool stop;
static int race_node;
static long race_block;

static void *compact_all_thread(void *arg)
{
	while (!stop)
		compact_all();
	return NULL;
}

static void *compact_node_thread(void *arg)
{
	while (!stop)
		compact_node(race_node);
	return NULL;
}

static void *churn_thread(void *arg)
{
	static const int keep[] = { 3, 5, 2, 7 };

	for (unsigned int i = 0; !stop; i++) {
		movable_write("alloc", "3000 %d", race_node);
		movable_write("free", "%s %d", i % 3 ? "every" : "keep", keep[i % 4]);
	}
	return NULL;
}

static void *order_thread(void *arg)
{
	static const char * const orders[] = {
		"fail_migrate 50 11", "fail_isolate 20", "release_isolated 50", "fail_migrate 20 16",
		"release_migrate 10 0", "release_migrate 10 11", "fail_migrate 20 12",
		"release_migrate 10 16",
	};

	for (unsigned int i = 0; !stop; i++) {
		movable_write("order", "%s", orders[i % 8]);
		movable_write("delay_us", "%d", i % 4 ? 0 : 50);
		usleep(20000);
	}
	return NULL;
}

static void *hold_thread(void *arg)
{
	size_t n;

	while (!stop) {
		struct movable_page *p = movable_pages(&n);

		if (n)
			movable_write("hold", "%lu %lu", p[n / 2].number, p[n / 2].number + 200);
		free(p);
		usleep(10000);
		movable_write("hold", "none");
	}
	return NULL;
}

/* Pages that are held may keep the block online: no answer is wrong, but it has to come. */
static void *block_thread(void *arg)
{
	while (!stop && race_block >= 0) {
		if (!block_set(race_block, "offline"))
			block_set(race_block, "online_movable");
		usleep(100000);
	}
	return NULL;
}

TEST_F(block, race)
{
	static void *(*const threads[])(void *) = {
		compact_all_thread, compact_node_thread, compact_node_thread, churn_thread,
		churn_thread, order_thread, hold_thread, block_thread,
	};
	pthread_t thread[8];
	time_t end = time(NULL) + RACE_CAP;
	long wrong = 0;

	stop = false;
	race_node = self->node;
	race_block = self->block;
	for (int i = 0; i < 8; i++) {
		ASSERT_EQ(pthread_create(&thread[i], NULL, threads[i], NULL), 0);
	}
	while (!wrong && time(NULL) < end &&
	       (movable_stat("migrate_ok") < RACE_MOVES || movable_stat("released_isolated") < 200 ||
		movable_stat("putback") < 200))
		movable_verify(&wrong);
	stop = true;
	for (int i = 0; i < 8; i++)
		pthread_join(thread[i], NULL);
	EXPECT_EQ(wrong, 0);
	TH_LOG("moved %ld, put back %ld, released while isolated %ld", movable_stat("migrate_ok"),
	       movable_stat("putback"), movable_stat("released_isolated"));
	EXPECT_GT(movable_stat("migrate_ok"), 0);
	EXPECT_GT(movable_stat("released_isolated"), 0);
	EXPECT_GT(movable_stat("putback"), 0);
	movable_write("hold", "none");
	EXPECT_CONSISTENT();
}

int main(int argc, char **argv)
{
	char why[256];

	if (!movable_load(&argc, argv, why, sizeof(why))) {
		ksft_print_header();
		ksft_exit_skip("%s\n", why);
	}
	compaction_alone(true);
	atexit(compaction_as_usual);
	return test_harness_run(argc, argv);
}

// SPDX-License-Identifier: GPL-2.0
/* A handler that reads and answers through io_uring: messages come as completions, whatever the descriptor's mode. */
#define _GNU_SOURCE
#include <liburing.h>

#include "uffd.h"

#include "harness.h"

#define PAGES	16

FIXTURE(uring) { struct io_uring ring; int fd; char *p; };

FIXTURE_VARIANT(uring) { int flags; };
FIXTURE_VARIANT_ADD(uring, waits) { .flags = O_CLOEXEC };
FIXTURE_VARIANT_ADD(uring, nonblock) { .flags = O_CLOEXEC | O_NONBLOCK };

FIXTURE_SETUP(uring)
{
	if (io_uring_queue_init(64, &self->ring, 0))
		SKIP(return, "no io_uring");
	self->fd = uffd_with(0, variant->flags);
	self->p = uffd_memory(self->fd, PAGES, MISSING);
}

FIXTURE_TEARDOWN(uring)
{
	io_uring_queue_exit(&self->ring);
	munmap(self->p, PAGES * PAGE);
	close(self->fd);
}

static void ask(struct io_uring *ring, int fd, struct uffd_msg *m)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_read(sqe, fd, m, sizeof(*m), 0);
	io_uring_sqe_set_data(sqe, m);
	io_uring_submit(ring);
}

/* The next completion within half a minute. Return: its message, or NULL; what it says in *@res. */
static struct uffd_msg *answer(struct io_uring *ring, int *res)
{
	struct __kernel_timespec limit = { .tv_sec = 30 };
	struct io_uring_cqe *cqe;
	struct uffd_msg *m;

	if (io_uring_wait_cqe_timeout(ring, &cqe, &limit))
		return NULL;
	m = io_uring_cqe_get_data(cqe);
	*res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return m;
}

/* First the handler reads, then there is something to be read. */
TEST_F(uring, waits_for_a_fault)
{
	struct uffd_msg m = {}, *got;
	struct toucher t;
	int res = 0;

	ask(&self->ring, self->fd, &m);
	usleep(20000);
	touch_start(&t, self->p + 3 * PAGE, false);
	ASSERT_TRUE(UNTIL(uffd_info(self->fd, "total:") == 1));
	got = answer(&self->ring, &res);
	ASSERT_NE(got, NULL);
	/* The ring's worker may have been called away, and who does not wait is told so. */
	if (res == -EINTR || (res == -EAGAIN && variant->flags & O_NONBLOCK)) {
		ask(&self->ring, self->fd, &m);
		got = answer(&self->ring, &res);
		ASSERT_NE(got, NULL);
	}
	EXPECT_EQ(res, (int)sizeof(m));
	EXPECT_EQ(m.event, UFFD_EVENT_PAGEFAULT);
	EXPECT_EQ(m.arg.pagefault.address, (uintptr_t)self->p + 3 * PAGE);
	ASSERT_EQ(uffd_fill(self->fd, self->p, 3, 0), 0);
	pthread_join(t.thread, NULL);
	EXPECT_EQ(t.saw, 4);
}

/* Many faults, one ring, each message once. */
TEST_F(uring, each_once)
{
	struct toucher t[PAGES];
	struct uffd_msg m[PAGES] = {};
	bool seen[PAGES] = {};

	for (int i = 0; i < PAGES; i++)
		touch_start(&t[i], self->p + i * PAGE, i % 2);
	ASSERT_TRUE(UNTIL(uffd_info(self->fd, "pending:") == PAGES));
	for (int i = 0; i < PAGES; i++)
		ask(&self->ring, self->fd, &m[i]);
	for (int i = 0; i < PAGES; i++) {
		int res = 0;
		struct uffd_msg *got = answer(&self->ring, &res);

		ASSERT_NE(got, NULL);
		ASSERT_EQ(res, (int)sizeof(*got));
		size_t page = (got->arg.pagefault.address - (uintptr_t)self->p) / PAGE;

		ASSERT_LT(page, PAGES);
		EXPECT_FALSE(seen[page]);
		seen[page] = true;
		EXPECT_EQ(!!(got->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE), page % 2);
		ASSERT_EQ(uffd_fill(self->fd, self->p, page, 0), 0);
	}
	for (int i = 0; i < PAGES; i++)
		pthread_join(t[i].thread, NULL);
	EXPECT_EQ(uffd_info(self->fd, "total:"), 0);
}

/* A ring that goes away while it waits leaves nothing behind: the next reader has the fault. */
TEST_F(uring, goes_away)
{
	struct io_uring other;
	struct uffd_msg m = {};
	struct toucher t;
	int res = 0;

	ASSERT_EQ(io_uring_queue_init(8, &other, 0), 0);
	ask(&other, self->fd, &m);
	usleep(20000);
	io_uring_queue_exit(&other);
	touch_start(&t, self->p, false);
	ASSERT_TRUE(UNTIL(uffd_info(self->fd, "total:") == 1));
	/* The ring is given up by a worker, in its own time. */
	if (!UNTIL(uffd_info(self->fd, "pending:") == 1))
		TH_LOG("the ring had read it");
	ask(&self->ring, self->fd, &m);
	ASSERT_NE(answer(&self->ring, &res), NULL);
	EXPECT_EQ(res, (int)sizeof(m));
	ASSERT_EQ(uffd_fill(self->fd, self->p, 0, 0), 0);
	pthread_join(t.thread, NULL);
}

TEST_HARNESS_MAIN

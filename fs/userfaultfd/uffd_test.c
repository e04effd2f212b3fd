// SPDX-License-Identifier: GPL-2.0
/*
 * Who waits at a userfaultfd, against a plain array: whatever is added, read, answered and
 * given up in whatever order, the same are left, and the oldest is read first.
 */
#include <kunit/test.h>
#include <linux/prandom.h>
#include <linux/slab.h>

#include "uffd.h"

#define WAITERS	300
#define PAGES	40
#define STEPS	4000

/**
 * struct plain - what the array knows of a waiter
 * @w: the waiter
 * @address: of its fault
 * @born: when it was added
 * @waits: nobody has answered it
 * @unread: nobody has read it
 */
struct plain {
	struct uffd_waiter w;
	unsigned long address;
	unsigned int born;
	bool waits;
	bool unread;
};

struct books {
	struct uffd u;
	struct plain all[WAITERS];
	struct rnd_state rnd;
	unsigned int now;
	unsigned long waiting;
	unsigned long unread;
};

static void uffd_of_test(struct uffd *u)
{
	spin_lock_init(&u->lock);
	u->waiters = RB_ROOT;
	INIT_LIST_HEAD(&u->unread);
	INIT_LIST_HEAD(&u->events);
}

static struct books *new_books(struct kunit *test)
{
	struct books *b = kunit_kzalloc(test, sizeof(*b), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, b);
	uffd_of_test(&b->u);
	prandom_seed_state(&b->rnd, 15);
	return b;
}

static u32 any(struct books *b, u32 below)
{
	return prandom_u32_state(&b->rnd) % below;
}

static void forget(struct books *b, struct plain *p)
{
	b->waiting -= p->waits;
	b->unread -= p->unread;
	p->waits = false;
	p->unread = false;
}

/* Somewhere in a page: with UFFD_FEATURE_EXACT_ADDRESS it is no page's first byte. */
static void add(struct books *b, struct plain *p)
{
	p->address = (any(b, PAGES) << PAGE_SHIFT) + any(b, 3) * 8;
	p->born = b->now++;
	p->waits = true;
	p->unread = true;
	b->waiting++;
	b->unread++;
	p->w = (struct uffd_waiter){ .task = current };
	p->w.msg.arg.pagefault.address = p->address;
	uffd_waiter_add(&b->u, &p->w);
}

static void give_up(struct kunit *test, struct books *b, struct plain *p)
{
	KUNIT_EXPECT_FALSE(test, uffd_waiter_leave(&b->u, &p->w));
	forget(b, p);
}

static struct plain *oldest_unread(struct books *b)
{
	struct plain *found = NULL;

	for (struct plain *p = b->all; p < b->all + WAITERS; p++)
		if (p->unread && (!found || p->born < found->born))
			found = p;
	return found;
}

static void read_one(struct kunit *test, struct books *b)
{
	struct plain *want = oldest_unread(b);
	struct uffd_waiter *got;

	spin_lock(&b->u.lock);
	got = uffd_waiter_read(&b->u);
	spin_unlock(&b->u.lock);
	KUNIT_EXPECT_PTR_EQ(test, got, want ? &want->w : NULL);
	if (!want)
		return;
	KUNIT_EXPECT_EQ(test, got->state, UFFD_WAITER_READ);
	want->unread = false;
	b->unread--;
}

/* Exactly those in the range are let go. */
static void answer(struct kunit *test, struct books *b)
{
	unsigned long start = (unsigned long)any(b, PAGES) << PAGE_SHIFT;
	unsigned long len = (1UL + any(b, 4)) << PAGE_SHIFT;

	uffd_wake(&b->u, start, len);
	for (struct plain *p = b->all; p < b->all + WAITERS; p++) {
		bool in = p->waits && p->address >= start && p->address < start + len;

		if (!p->waits)
			continue;
		KUNIT_EXPECT_EQ(test, p->w.state == UFFD_WAITER_WOKEN, in);
		if (in) {
			KUNIT_EXPECT_TRUE(test, uffd_waiter_leave(&b->u, &p->w));
			forget(b, p);
		}
	}
}

static void step(struct kunit *test, struct books *b)
{
	struct plain *p = &b->all[any(b, WAITERS)];

	switch (any(b, 8)) {
	case 0:
		answer(test, b);
		break;
	case 1:
	case 2:
		read_one(test, b);
		break;
	default:
		if (!p->waits)
			add(b, p);
		else if (!any(b, 4))
			give_up(test, b, p);
	}
	KUNIT_EXPECT_EQ(test, b->u.nr_waiters, b->waiting);
	KUNIT_EXPECT_EQ(test, b->u.nr_unread, b->unread);
}

static void test_against_array(struct kunit *test)
{
	struct books *b = new_books(test);

	for (int i = 0; i < STEPS; i++)
		step(test, b);
	KUNIT_EXPECT_GT(test, b->waiting, 0);
	uffd_wake_all(&b->u);
	KUNIT_EXPECT_EQ(test, b->u.nr_waiters, 0);
	KUNIT_EXPECT_EQ(test, b->u.nr_unread, 0);
	KUNIT_EXPECT_TRUE(test, RB_EMPTY_ROOT(&b->u.waiters));
	KUNIT_EXPECT_TRUE(test, list_empty(&b->u.unread));
}

/* The ends of the address space, and of a range. */
static void test_edges(struct kunit *test)
{
	static const u64 at[] = { 0, PAGE_SIZE - 1, PAGE_SIZE, 2 * PAGE_SIZE - 1, 2 * PAGE_SIZE,
				  ~PAGE_MASK - 8, ULONG_MAX - 1 };
	static const bool woken[] = { false, false, true, true, false, false, false };
	struct books *b = new_books(test);

	for (int i = 0; i < ARRAY_SIZE(at); i++) {
		b->all[i].w = (struct uffd_waiter){ .task = current };
		b->all[i].w.msg.arg.pagefault.address = at[i];
		uffd_waiter_add(&b->u, &b->all[i].w);
	}
	uffd_wake(&b->u, PAGE_SIZE, PAGE_SIZE);
	for (int i = 0; i < ARRAY_SIZE(at); i++)
		KUNIT_EXPECT_EQ_MSG(test, b->all[i].w.state == UFFD_WAITER_WOKEN, woken[i],
				    "%d", i);
	uffd_wake_all(&b->u);
	for (int i = 0; i < ARRAY_SIZE(at); i++)
		KUNIT_EXPECT_EQ_MSG(test, b->all[i].w.state, UFFD_WAITER_WOKEN, "%d", i);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(test_against_array),
	KUNIT_CASE(test_edges),
	{ }
};

static struct kunit_suite suite = {
	.name = "foliage_uffd",
	.test_cases = cases,
};

kunit_test_suite(suite);

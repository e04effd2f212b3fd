// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of leaves and runs, on entries in plain memory.
 * Run: boot with kunit.enable=1, read /sys/kernel/debug/kunit/foliage_pte/results.
 */
#include <kunit/test.h>

#include "run.h"

#define FRAME	0x12345UL
#define ORDERS	10
#define ENTRIES	BIT(ORDERS - 1)

/* Whether migration entries have young and dirty bits; without migration nobody declares it. */
static bool migration_has_ad(void)
{
#ifdef CONFIG_MIGRATION
	return migration_entry_supports_ad();
#else
	return false;
#endif
}

/* What an entry of a kind can hold by itself; see the table in leaf.h. */
static unsigned int holds(enum pte_leaf_kind kind)
{
	unsigned int soft = IS_ENABLED(CONFIG_MEM_SOFT_DIRTY) ? LEAF_SOFT_DIRTY : 0;
	unsigned int wp = IS_ENABLED(CONFIG_HAVE_ARCH_USERFAULTFD_WP) ? LEAF_UFFD_WP : 0;

	switch (kind) {
	case LEAF_SWAP:
		return LEAF_EXCLUSIVE | soft | wp;
	case LEAF_MIGRATION:
		return LEAF_WRITE | LEAF_EXCLUSIVE | soft | wp |
		       (migration_has_ad() ? LEAF_YOUNG | LEAF_DIRTY : 0);
	case LEAF_DEVICE_PRIVATE:
	case LEAF_DEVICE_EXCLUSIVE:
		return LEAF_WRITE | soft | wp;
	default:
		return 0;
	}
}

static struct pte_leaf leaf_of(enum pte_leaf_kind kind, unsigned int flags)
{
	struct pte_leaf leaf = { .kind = kind, .flags = flags, .number = FRAME };

	if (kind == LEAF_SWAP)
		leaf.number = swp_entry(1, FRAME).val;
	else if (kind == LEAF_MARKER)
		leaf.number = PTE_MARKER_POISONED;
	return leaf;
}

static bool kind_testable(enum pte_leaf_kind kind)
{
	switch (kind) {
	case LEAF_MIGRATION:
		return IS_ENABLED(CONFIG_MIGRATION);
	case LEAF_DEVICE_PRIVATE:
	case LEAF_DEVICE_EXCLUSIVE:
		return IS_ENABLED(CONFIG_DEVICE_PRIVATE);
	case LEAF_POISON:
		/* Wants a locked page behind its number. */
		return false;
	default:
		return true;
	}
}

/* Every kind with every set of flags comes back as what it can hold of them. */
static void leaf_there_and_back(struct kunit *test)
{
	enum pte_leaf_kind kind;
	unsigned int flags, want;

	for (kind = LEAF_SWAP; kind <= LEAF_MARKER; kind++) {
		for (flags = 0; kind_testable(kind) && flags < BIT(6); flags++) {
			struct pte_leaf leaf = leaf_of(kind, flags), back;
			pte_t pte = pte_leaf_encode(&leaf);

			KUNIT_EXPECT_FALSE(test, pte_present(pte) || pte_none(pte));
			back = pte_leaf_decode(pte);
			want = flags & holds(kind);
			if (kind == LEAF_MIGRATION && want & LEAF_WRITE)
				want |= LEAF_EXCLUSIVE;
			KUNIT_EXPECT_EQ_MSG(test, back.kind, kind, "flags %x", flags);
			KUNIT_EXPECT_EQ_MSG(test, back.flags, want, "kind %d, %x", kind, flags);
			KUNIT_EXPECT_EQ(test, back.number, leaf.number);
		}
	}
}

/* The kind changes, what both can hold stays: present to swap slot, to migration, back. */
static void leaf_changes_kind(struct kunit *test)
{
	unsigned int flags, both = holds(LEAF_MIGRATION) & holds(LEAF_SWAP);
	struct pte_leaf leaf;
	pte_t pte;

	for (flags = 0; flags < BIT(6); flags++) {
		leaf = leaf_of(LEAF_MIGRATION, flags & ~LEAF_WRITE);
		pte = pte_leaf_encode(&leaf);
		leaf = pte_leaf_decode(pte);
		leaf.kind = LEAF_SWAP;
		leaf.number = swp_entry(1, 7).val;
		pte = pte_leaf_encode(&leaf);
		leaf = pte_leaf_decode(pte);
		KUNIT_EXPECT_EQ(test, leaf.kind, LEAF_SWAP);
		KUNIT_EXPECT_EQ(test, leaf.flags, flags & both);
	}
}

static void leaf_none(struct kunit *test)
{
	struct pte_leaf leaf = pte_leaf_decode(__pte(0));

	KUNIT_EXPECT_EQ(test, leaf.kind, LEAF_NONE);
	KUNIT_EXPECT_FALSE(test, pte_leaf_maps(&leaf));
}

/* Entries that map consecutive frames; the caller changes some. */
static pte_t *entries(struct kunit *test)
{
	pte_t *ptes = kunit_kcalloc(test, ENTRIES + 1, sizeof(*ptes), GFP_KERNEL);
	size_t i;

	KUNIT_ASSERT_NOT_NULL(test, ptes);
	for (i = 0; i < ENTRIES; i++)
		ptes[i] = pte_mkold(pte_mkclean(pfn_pte(FRAME + i, PAGE_READONLY)));
	return ptes;
}

static void run_ends_at_max(struct kunit *test)
{
	pte_t *ptes = entries(test);
	int order;

	for (order = 0; order < ORDERS; order++) {
		KUNIT_EXPECT_EQ(test, pte_run_alike(ptes, ptes[0], BIT(order)), BIT(order));
		KUNIT_EXPECT_EQ(test, pte_run_length(ptes, ptes[0], BIT(order)), BIT(order));
	}
}

/* At every place a hole, another frame, and another kind of entry end a run. */
static void run_ends_where_broken(struct kunit *test)
{
	struct pte_leaf leaf = leaf_of(LEAF_MIGRATION, 0);
	pte_t *ptes = entries(test), was;
	size_t at;

	for (at = 1; at < ENTRIES; at += at < 20 ? 1 : 37) {
		was = ptes[at];
		ptes[at] = __pte(0);
		KUNIT_EXPECT_EQ(test, pte_run_alike(ptes, ptes[0], ENTRIES), at);
		ptes[at] = pte_mkold(pte_mkclean(pfn_pte(FRAME + at + 1, PAGE_READONLY)));
		KUNIT_EXPECT_EQ(test, pte_run_alike(ptes, ptes[0], ENTRIES), at);
		KUNIT_EXPECT_EQ(test, pte_run_length(ptes, ptes[0], ENTRIES), at);
		leaf.number = FRAME + at;
		ptes[at] = pte_leaf_encode(&leaf);
		KUNIT_EXPECT_EQ(test, pte_run_length(ptes, ptes[0], ENTRIES), at);
		ptes[at] = was;
	}
}

/* Accessed and Dirty never end a run; write and soft-dirty end one that must be alike. */
static void run_of_different_flags(struct kunit *test)
{
	pte_t *ptes = entries(test);

	ptes[3] = pte_mkyoung(ptes[3]);
	ptes[5] = pte_mkdirty(pte_clear_soft_dirty(ptes[5]));
	KUNIT_EXPECT_EQ(test, pte_run_length(ptes, ptes[0], ENTRIES), ENTRIES);
	ptes[5] = entries(test)[5];
	KUNIT_EXPECT_EQ(test, pte_run_alike(ptes, ptes[0], ENTRIES), ENTRIES);
	ptes[9] = pte_mkwrite_novma(ptes[9]);
	KUNIT_EXPECT_EQ(test, pte_run_length(ptes, ptes[0], ENTRIES), ENTRIES);
	KUNIT_EXPECT_EQ(test, pte_run_alike(ptes, ptes[0], ENTRIES), 9);
	if (IS_ENABLED(CONFIG_MEM_SOFT_DIRTY)) {
		ptes[7] = pte_mksoft_dirty(ptes[7]);
		KUNIT_EXPECT_EQ(test, pte_run_alike(ptes, ptes[0], ENTRIES), 7);
	}
}

/* Written as a run, found as a run; one entry of other flags ends it. */
static void run_of_swp_entries(struct kunit *test)
{
	pte_t *ptes = kunit_kcalloc(test, ENTRIES, sizeof(*ptes), GFP_KERNEL);
	struct pte_leaf leaf = leaf_of(LEAF_MIGRATION, LEAF_EXCLUSIVE);
	size_t i;

	KUNIT_ASSERT_NOT_NULL(test, ptes);
	for (i = 0; i < ENTRIES; i++, leaf.number++)
		ptes[i] = pte_leaf_encode(&leaf);
	KUNIT_EXPECT_EQ(test, pte_run_alike_swp(ptes, ptes[0], ENTRIES), ENTRIES);
	KUNIT_EXPECT_EQ(test, pte_run_alike_swp(ptes, ptes[0], 5), 5);
	leaf = leaf_of(LEAF_MIGRATION, 0);
	leaf.number += 100;
	ptes[100] = pte_leaf_encode(&leaf);
	KUNIT_EXPECT_EQ(test, pte_run_alike_swp(ptes, ptes[0], ENTRIES), 100);
}

static struct kunit_case pte_cases[] = {
	KUNIT_CASE(leaf_there_and_back),
	KUNIT_CASE(leaf_changes_kind),
	KUNIT_CASE(leaf_none),
	KUNIT_CASE(run_ends_at_max),
	KUNIT_CASE(run_ends_where_broken),
	KUNIT_CASE(run_of_different_flags),
	KUNIT_CASE(run_of_swp_entries),
	{}
};

static struct kunit_suite pte_suite = {
	.name = "foliage_pte",
	.test_cases = pte_cases,
};

kunit_test_suite(pte_suite);

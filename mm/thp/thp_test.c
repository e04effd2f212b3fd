// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of huge PMDs as leaves, of what an allocation may do, of words, and of the parting
 * of a folio: what parts inherit, and where they begin.
 * Run: boot with kunit.enable=1, read /sys/kernel/debug/kunit/foliage_thp/results.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/memcontrol.h>
#include <linux/page_idle.h>

#include "../pte/leaf_pmd.h"
#include "split.h"

/* --- leaves ----------------------------------------------------------------------------- */

#define ALL_FLAGS	(LEAF_WRITE | LEAF_EXCLUSIVE | LEAF_YOUNG | LEAF_DIRTY | LEAF_SOFT_DIRTY | \
			 LEAF_UFFD_WP)

/* Those that this configuration has bits for. */
static unsigned int flags_kept(void)
{
	unsigned int flags = ALL_FLAGS;

	if (!IS_ENABLED(CONFIG_MEM_SOFT_DIRTY))
		flags &= ~LEAF_SOFT_DIRTY;
	if (!IS_ENABLED(CONFIG_HAVE_ARCH_USERFAULTFD_WP))
		flags &= ~LEAF_UFFD_WP;
	return flags;
}

#ifdef CONFIG_ARCH_ENABLE_THP_MIGRATION
static void test_leaf_migration(struct kunit *test)
{
	unsigned int flags;

	for (flags = 0; flags <= ALL_FLAGS; flags++) {
		struct pte_leaf leaf = { .kind = LEAF_MIGRATION, .flags = flags & flags_kept(),
					 .number = HPAGE_PMD_NR * 3 }, got;

		if (!migration_entry_supports_ad())
			leaf.flags &= ~(LEAF_YOUNG | LEAF_DIRTY);
		got = pmd_leaf_decode(pmd_leaf_encode(&leaf));
		/* Writable says exclusive. */
		if (leaf.flags & LEAF_WRITE)
			leaf.flags |= LEAF_EXCLUSIVE;
		KUNIT_EXPECT_EQ(test, got.kind, LEAF_MIGRATION);
		KUNIT_EXPECT_EQ(test, got.flags, leaf.flags);
		KUNIT_EXPECT_EQ(test, got.number, leaf.number);
	}
}
#else
static void test_leaf_migration(struct kunit *test)
{
	kunit_skip(test, "huge pages are not moved here");
}
#endif

static void test_leaf_map(struct kunit *test)
{
	struct folio *folio = folio_alloc(GFP_KERNEL, HPAGE_PMD_ORDER);
	struct vm_area_struct *vma = kunit_kzalloc(test, sizeof(*vma), GFP_KERNEL);
	unsigned int flags, want;

	KUNIT_ASSERT_NOT_NULL(test, folio);
	KUNIT_ASSERT_NOT_NULL(test, vma);
	vma->vm_page_prot = PAGE_READONLY;
	for (flags = 0; flags <= ALL_FLAGS; flags++) {
		struct pte_leaf leaf = { .flags = flags }, got;

		got = pmd_leaf_decode(pmd_leaf_map(&leaf, vma, &folio->page));
		/* Exclusive is the page's; protected for userfaultfd is not writable. */
		want = flags & flags_kept() & ~LEAF_EXCLUSIVE;
		if (want & LEAF_UFFD_WP)
			want &= ~LEAF_WRITE;
		KUNIT_EXPECT_EQ(test, got.kind, LEAF_PRESENT);
		KUNIT_EXPECT_EQ_MSG(test, got.flags, want, "flags %x", flags);
		KUNIT_EXPECT_EQ(test, got.number, folio_pfn(folio));
	}
	folio_put(folio);
}

static void test_leaf_none(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, pmd_leaf_decode(__pmd(0)).kind, LEAF_NONE);
	/* A table. */
	KUNIT_EXPECT_NE(test, pmd_leaf_decode(*pmd_off_k(PAGE_OFFSET)).kind, LEAF_MIGRATION);
}

/* --- policy ----------------------------------------------------------------------------- */

static const struct {
	int flag;	/* -1: never */
	gfp_t advised;
	gfp_t other;
} gfps[] = {
	{ TRANSPARENT_HUGEPAGE_DEFRAG_DIRECT_FLAG, GFP_TRANSHUGE, GFP_TRANSHUGE | __GFP_NORETRY },
	{ TRANSPARENT_HUGEPAGE_DEFRAG_KSWAPD_FLAG, GFP_TRANSHUGE_LIGHT | __GFP_KSWAPD_RECLAIM,
	  GFP_TRANSHUGE_LIGHT | __GFP_KSWAPD_RECLAIM },
	{ TRANSPARENT_HUGEPAGE_DEFRAG_KSWAPD_OR_MADV_FLAG,
	  GFP_TRANSHUGE_LIGHT | __GFP_DIRECT_RECLAIM, GFP_TRANSHUGE_LIGHT | __GFP_KSWAPD_RECLAIM },
	{ TRANSPARENT_HUGEPAGE_DEFRAG_REQ_MADV_FLAG, GFP_TRANSHUGE_LIGHT | __GFP_DIRECT_RECLAIM,
	  GFP_TRANSHUGE_LIGHT },
	{ -1, GFP_TRANSHUGE_LIGHT, GFP_TRANSHUGE_LIGHT },
};

static void test_gfp(struct kunit *test)
{
	struct vm_area_struct *vma = kunit_kzalloc(test, sizeof(*vma), GFP_KERNEL);
	unsigned long saved = transparent_hugepage_flags;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, vma);
	for (i = 0; i < ARRAY_SIZE(gfps); i++) {
		transparent_hugepage_flags = gfps[i].flag < 0 ? 0 : BIT(gfps[i].flag);
		vm_flags_init(vma, 0);
		KUNIT_EXPECT_TRUE(test, vma_thp_gfp_mask(vma) == gfps[i].other);
		KUNIT_EXPECT_TRUE(test, vma_thp_gfp_mask(NULL) == gfps[i].other);
		vm_flags_init(vma, VM_HUGEPAGE);
		KUNIT_EXPECT_TRUE(test, vma_thp_gfp_mask(vma) == gfps[i].advised);
	}
	transparent_hugepage_flags = saved;
}

static void test_words(struct kunit *test)
{
	static const struct thp_word words[] = { { "one", 1 }, { "none", 0 }, { } };
	char *buf = (char *)get_zeroed_page(GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, buf);
	KUNIT_EXPECT_PTR_EQ(test, thp_word_find(words, "one"), &words[0]);
	KUNIT_EXPECT_PTR_EQ(test, thp_word_find(words, "none\n"), &words[1]);
	KUNIT_EXPECT_NULL(test, thp_word_find(words, "on"));
	KUNIT_EXPECT_NULL(test, thp_word_find(words, "ones"));
	KUNIT_EXPECT_NULL(test, thp_word_find(words, ""));
	KUNIT_EXPECT_EQ(test, thp_words_show(words, 0, buf), strlen("one [none]\n"));
	KUNIT_EXPECT_STREQ(test, buf, "one [none]\n");
	free_page((unsigned long)buf);
}

/* --- parting ---------------------------------------------------------------------------- */

#define ORDER	6
#define PAGES	BIT(ORDER)
#define INDEX	0x1000UL
/* An anon_vma that nobody follows. */
#define MAPPING	((void *)(0x10000UL | PAGE_MAPPING_ANON))

static struct folio *frozen_folio(struct kunit *test, unsigned long flags)
{
	struct folio *folio = folio_alloc(GFP_KERNEL, ORDER);

	KUNIT_ASSERT_NOT_NULL(test, folio);
	folio->mapping = MAPPING;
	folio->index = INDEX;
	folio->flags |= flags;
	KUNIT_ASSERT_TRUE(test, folio_ref_freeze(folio, 1));
	return folio;
}

/* As if a program had let go of it. */
static void free_parts(struct folio *folio, struct list_head *list)
{
	struct folio *part, *next;

	list_for_each_entry_safe(part, next, list, lru) {
		list_del_init(&part->lru);
		part->mapping = NULL;
		part->flags &= ~PAGE_FLAGS_CHECK_AT_FREE;
		folio_put_refs(part, 2);
	}
	folio->mapping = NULL;
	folio->flags &= ~PAGE_FLAGS_CHECK_AT_FREE;
	folio_put(folio);
}

static void part_new(struct thp_split *s, struct folio *folio, struct list_head *list)
{
	*s = (struct thp_split){
		.folio = folio, .page = &folio->page, .list = list, .order = ORDER,
		.state = SPLIT_FROZEN, .step = 1,
	};
}

static void test_part_flags(struct kunit *test)
{
	static const int kept[] = { PG_locked, PG_referenced, PG_uptodate, PG_dirty, PG_active,
				    PG_workingset, PG_swapbacked, PG_mlocked };
	struct folio *folio, *part;
	struct thp_split s;
	unsigned int i, b;
	LIST_HEAD(list);

	for (b = 0; b < ARRAY_SIZE(kept); b++) {
		folio = frozen_folio(test, BIT(kept[b]));
		part_new(&s, folio, &list);
		thp_part(&s);
		KUNIT_EXPECT_EQ(test, s.state, SPLIT_PARTED);
		KUNIT_EXPECT_FALSE(test, folio_test_large(folio));
		KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 1);
		i = 1;
		list_for_each_entry(part, &list, lru) {
			KUNIT_EXPECT_PTR_EQ(test, &part->page, &folio->page + i);
			KUNIT_EXPECT_EQ(test, part->flags & PAGE_FLAGS_CHECK_AT_PREP,
					BIT(kept[b]));
			KUNIT_EXPECT_PTR_EQ(test, part->mapping, MAPPING);
			KUNIT_EXPECT_EQ(test, part->index, INDEX + i);
			KUNIT_EXPECT_NULL(test, part->private);
			KUNIT_EXPECT_EQ(test, folio_ref_count(part), 2);
			KUNIT_EXPECT_EQ(test, folio_mapcount(part), 0);
			i++;
		}
		KUNIT_EXPECT_EQ(test, i, PAGES);
		free_parts(folio, &list);
	}
}

static void test_part_idle(struct kunit *test)
{
	struct folio *folio, *part;
	struct thp_split s;
	int young, idle;
	LIST_HEAD(list);

	for (young = 0; young < 2; young++) {
		for (idle = 0; idle < 2; idle++) {
			folio = frozen_folio(test, 0);
			if (young)
				folio_set_young(folio);
			if (idle)
				folio_set_idle(folio);
			part_new(&s, folio, &list);
			thp_part(&s);
			list_for_each_entry(part, &list, lru) {
				KUNIT_EXPECT_EQ(test, folio_test_young(part), !!young);
				KUNIT_EXPECT_EQ(test, folio_test_idle(part), !!idle);
				folio_test_clear_young(part);
				folio_clear_idle(part);
			}
			folio_test_clear_young(folio);
			folio_clear_idle(folio);
			free_parts(folio, &list);
		}
	}
}

/* Poison stays with its page, and is told by the part that has it alone. */
static void test_part_poison(struct kunit *test)
{
	struct folio *folio = frozen_folio(test, 0), *part;
	struct page *poison = folio_page(folio, 21);
	struct thp_split s;
	LIST_HEAD(list);

	SetPageHWPoison(poison);
	folio_set_has_hwpoisoned(folio);
	part_new(&s, folio, &list);
	s.new_order = 3;
	s.step = 8;
	thp_part(&s);
	KUNIT_EXPECT_FALSE(test, folio_test_has_hwpoisoned(folio));
	list_for_each_entry(part, &list, lru) {
		KUNIT_EXPECT_EQ(test, folio_order(part), 3);
		KUNIT_EXPECT_EQ(test, folio_test_has_hwpoisoned(part),
				part == (struct folio *)folio_page(folio, 16));
		folio_clear_has_hwpoisoned(part);
	}
	KUNIT_EXPECT_TRUE(test, PageHWPoison(poison));
	ClearPageHWPoison(poison);
	free_parts(folio, &list);
}

/* May a fault wait at this time, on a node that no CPU of the guest has? */
static bool may_wait(void)
{
	return thp_backoff_gfp(GFP_TRANSHUGE, MAX_NUMNODES - 1) == GFP_TRANSHUGE;
}

static void note(bool got, u64 ms)
{
	thp_backoff_note(GFP_TRANSHUGE, MAX_NUMNODES - 1, got, ms * NSEC_PER_MSEC);
}

static void test_backoff(struct kunit *test)
{
	gfp_t spared = (GFP_TRANSHUGE & ~__GFP_DIRECT_RECLAIM) | __GFP_KSWAPD_RECLAIM;

	KUNIT_EXPECT_TRUE(test, may_wait());
	note(true, 0);
	KUNIT_EXPECT_TRUE(test, may_wait());
	/* Those that may not wait say nothing of those that may. */
	thp_backoff_note(GFP_TRANSHUGE_LIGHT, MAX_NUMNODES - 1, false, 0);
	KUNIT_EXPECT_TRUE(test, may_wait());
	/* It was not even tried. */
	note(false, 0);
	KUNIT_EXPECT_TRUE(test, may_wait());

	note(false, 2);
	KUNIT_EXPECT_TRUE(test, thp_backoff_gfp(GFP_TRANSHUGE, MAX_NUMNODES - 1) == spared);
	KUNIT_EXPECT_TRUE(test, thp_backoff_gfp(GFP_TRANSHUGE_LIGHT, MAX_NUMNODES - 1) ==
			  GFP_TRANSHUGE_LIGHT);
	msleep(130);
	KUNIT_EXPECT_TRUE(test, may_wait());
	/* It has waited in vain again: twice as long. */
	note(false, 2);
	msleep(130);
	KUNIT_EXPECT_FALSE(test, may_wait());
	msleep(130);
	KUNIT_EXPECT_TRUE(test, may_wait());
	/* There was one, but it took its time: the same. */
	note(true, 1000);
	msleep(260);
	KUNIT_EXPECT_FALSE(test, may_wait());
	/* Success ends it, and the next failure begins anew. */
	note(true, 0);
	KUNIT_EXPECT_TRUE(test, may_wait());
	note(false, 2);
	msleep(130);
	KUNIT_EXPECT_TRUE(test, may_wait());
	note(true, 0);
}

/* Where parts begin, by halving. */
static void want_parts(u8 *orders, unsigned long at, unsigned int order, unsigned long first,
		       unsigned long last)
{
	unsigned long end = at + BIT(order);
	bool outside = end <= first || at >= last, inside = at >= first && end <= last;

	if (!order || (order != 1 && (outside || inside))) {
		orders[at] = order + 1;
		return;
	}
	want_parts(orders, at, order - 1, first, last);
	want_parts(orders, at + BIT(order - 1), order - 1, first, last);
}

/* Every range that is not all of the folio. */
static void test_part_range(struct kunit *test)
{
	unsigned long first, last, at;
	u8 want[PAGES], got[PAGES];
	struct folio *folio, *part;
	struct thp_split s;
	LIST_HEAD(list);

	for (first = 0; first < PAGES; first++) {
		for (last = first + 1; last <= PAGES; last++) {
			if (last - first == PAGES)
				continue;
			folio = frozen_folio(test, 0);
			part_new(&s, folio, &list);
			s.new_order = ORDER - 1;
			s.step = 0;
			s.first = first;
			s.last = last;
			thp_part(&s);
			memset(want, 0, sizeof(want));
			memset(got, 0, sizeof(got));
			want_parts(want, 0, ORDER, first, last);
			got[0] = folio_order(folio) + 1;
			list_for_each_entry(part, &list, lru) {
				at = &part->page - &folio->page;
				got[at] = folio_order(part) + 1;
				KUNIT_EXPECT_EQ(test, part->index, INDEX + at);
			}
			KUNIT_EXPECT_MEMEQ_MSG(test, got, want, PAGES, "pages %lu to %lu", first,
					       last);
			free_parts(folio, &list);
		}
	}
}

static struct kunit_case thp_cases[] = {
	KUNIT_CASE(test_leaf_migration),
	KUNIT_CASE(test_leaf_map),
	KUNIT_CASE(test_leaf_none),
	KUNIT_CASE(test_gfp),
	KUNIT_CASE_SLOW(test_backoff),
	KUNIT_CASE(test_words),
	KUNIT_CASE(test_part_flags),
	KUNIT_CASE(test_part_idle),
	KUNIT_CASE(test_part_poison),
	KUNIT_CASE(test_part_range),
	{}
};

static struct kunit_suite thp_suite = {
	.name = "foliage_thp",
	.test_cases = thp_cases,
};

kunit_test_suite(thp_suite);

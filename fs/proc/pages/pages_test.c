// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the /proc files of pages: flags of made-up pages, folios and free blocks,
 * and the regions of a scan.
 */
#include <kunit/test.h>
#include <linux/mm.h>
#include <linux/page-flags.h>

#include "kpage.h"
#include "scan.h"

#define KPF(name)	BIT_ULL(KPF_##name)
#define PAGES		64

/*
 * Struct pages that are in no memory map. Their frame numbers follow from their addresses, so
 * they begin where the largest block of free memory could: who looks for the head of a block goes
 * down as far as that.
 */
static struct page *fake_pages(struct kunit *test)
{
	struct page *pages = kunit_kzalloc(test, (MAX_ORDER_NR_PAGES + PAGES) * sizeof(*pages),
					   GFP_KERNEL);
	unsigned long i;

	KUNIT_ASSERT_NOT_NULL(test, pages);
	pages += -page_to_pfn(pages) % MAX_ORDER_NR_PAGES;
	for (i = 0; i < PAGES; i++) {
		atomic_set(&pages[i]._mapcount, -1);
		set_page_count(&pages[i], 1);
	}
	return pages;
}

static void fake_folio(struct page *head, unsigned int order)
{
	struct folio *folio = (struct folio *)head;
	unsigned long i;

	head->flags |= BIT(PG_head);
	folio->_flags_1 |= order;
	atomic_set(&folio->_large_mapcount, -1);
	atomic_set(&folio->_entire_mapcount, -1);
	for (i = 1; i < BIT(order); i++)
		head[i].compound_head = (unsigned long)head | 1;
}

static void fake_free(struct page *head, unsigned int order)
{
	unsigned long i;

	for (i = 0; i < BIT(order); i++)
		set_page_count(&head[i], 0);
	head->private = order;
	head->page_type = PGTY_buddy << 24;
}

static void flags_of_a_page(struct kunit *test)
{
	static const struct { unsigned int pg; u64 kpf; } same[] = {
		{ PG_locked, KPF(LOCKED) }, { PG_referenced, KPF(REFERENCED) },
		{ PG_uptodate, KPF(UPTODATE) }, { PG_dirty, KPF(DIRTY) }, { PG_lru, KPF(LRU) },
		{ PG_active, KPF(ACTIVE) }, { PG_writeback, KPF(WRITEBACK) },
		{ PG_reclaim, KPF(RECLAIM) }, { PG_swapbacked, KPF(SWAPBACKED) },
		{ PG_unevictable, KPF(UNEVICTABLE) }, { PG_mlocked, KPF(MLOCKED) },
		{ PG_reserved, KPF(RESERVED) }, { PG_private, KPF(PRIVATE) },
		{ PG_private_2, KPF(PRIVATE_2) }, { PG_owner_2, KPF(OWNER_2) },
		{ PG_owner_priv_1, KPF(OWNER_PRIVATE) }, { PG_arch_1, KPF(ARCH) },
		{ PG_waiters, 0 }, { PG_workingset, 0 },
	};
	struct page *page = fake_pages(test);
	unsigned int i, k;

	KUNIT_EXPECT_EQ(test, stable_page_flags(NULL), KPF(NOPAGE));
	KUNIT_EXPECT_EQ(test, stable_page_flags(page), 0);
	for (i = 0; i < ARRAY_SIZE(same); i++) {
		for (k = 0; k < ARRAY_SIZE(same); k++) {
			u64 want = same[i].kpf | same[k].kpf;

			if ((want & (KPF(SWAPBACKED) | KPF(OWNER_PRIVATE))) ==
			    (KPF(SWAPBACKED) | KPF(OWNER_PRIVATE)))
				want |= KPF(SWAPCACHE);
			page->flags = BIT(same[i].pg) | BIT(same[k].pg);
			KUNIT_EXPECT_EQ(test, stable_page_flags(page), want);
		}
	}
}

static void kinds_of_page(struct kunit *test)
{
	struct page *page = fake_pages(test);
	unsigned long anon = 0x1000 | PAGE_MAPPING_ANON;

	atomic_set(&page->_mapcount, 0);
	KUNIT_EXPECT_EQ(test, stable_page_flags(page), KPF(MMAP));
	page->mapping = (void *)anon;
	KUNIT_EXPECT_EQ(test, stable_page_flags(page), KPF(MMAP) | KPF(ANON));
	page->mapping = (void *)(anon | PAGE_MAPPING_KSM);
	KUNIT_EXPECT_EQ(test, stable_page_flags(page), KPF(MMAP) | KPF(ANON) | KPF(KSM));
	page->mapping = (void *)(0x1000 | PAGE_MAPPING_MOVABLE);
	KUNIT_EXPECT_EQ(test, stable_page_flags(page), KPF(MMAP));
	page->mapping = NULL;
	page->page_type = PGTY_offline << 24;
	KUNIT_EXPECT_EQ(test, stable_page_flags(page), KPF(OFFLINE));
	page->page_type = PGTY_table << 24;
	KUNIT_EXPECT_EQ(test, stable_page_flags(page), KPF(PGTABLE));
	page->page_type = PGTY_slab << 24;
	KUNIT_EXPECT_EQ(test, stable_page_flags(page), KPF(SLAB));
}

/* Without memory failures no page has the flag, and setting it does nothing. */
#define WANT_HWPOISON	(IS_ENABLED(CONFIG_MEMORY_FAILURE) ? KPF(HWPOISON) : 0)

/* Three folios and a page, whole and from every page to every other. */
static void flags_of_folios(struct kunit *test)
{
	struct page *page = fake_pages(test);
	u64 want[PAGES] = {}, got[PAGES];
	unsigned long i, from, nr;

	fake_folio(page, 4);
	((struct folio *)page)->_flags_1 |= BIT(PG_large_rmappable);
	page->flags |= BIT(PG_dirty);
	SetPageHWPoison(&page[7]);
	atomic_set(&((struct folio *)page)->_large_mapcount, 3);
	fake_folio(page + 16, 3);
	page[16].page_type = PGTY_slab << 24;
	fake_folio(page + 32, 5);
	page[32].page_type = PGTY_hugetlb << 24;
	SetPageHWPoison(&page[32]);
	for (i = 0; i < PAGES; i++) {
		bool head = !(i % 16);

		if (i < 16)
			want[i] = KPF(THP) | KPF(DIRTY) | KPF(MMAP);
		else if (i < 24)
			want[i] = KPF(SLAB);
		else if (i >= 32)
			want[i] = KPF(HUGE) | WANT_HWPOISON;
		if (i < 24 || i >= 32)
			want[i] |= head && i != 48 ? KPF(COMPOUND_HEAD) : KPF(COMPOUND_TAIL);
	}
	want[7] |= WANT_HWPOISON;
	for (from = 0; from < PAGES; from++) {
		for (nr = 1; nr <= PAGES - from; nr++) {
			kpage_flags_fill(got, page + from, nr);
			KUNIT_EXPECT_MEMEQ(test, got, want + from, nr * sizeof(u64));
		}
	}
}

static void free_blocks(struct kunit *test)
{
	struct page *page = fake_pages(test);
	u64 want[PAGES] = {}, got[PAGES];
	unsigned long i, from, nr;

	fake_free(page, 0);
	fake_free(page + 8, 3);
	fake_free(page + 32, 5);
	page[32].flags |= BIT(PG_uptodate);
	SetPageHWPoison(&page[40]);
	/* Given back, but not yet in a block. */
	set_page_count(page + 3, 0);
	for (i = 0; i < PAGES; i++)
		if (!i || (i >= 8 && i < 16) || i >= 32)
			want[i] = KPF(BUDDY);
	want[32] |= KPF(UPTODATE);
	want[40] |= WANT_HWPOISON;
	for (from = 0; from < PAGES; from++) {
		for (nr = 1; nr <= PAGES - from; nr++) {
			kpage_flags_fill(got, page + from, nr);
			KUNIT_EXPECT_MEMEQ(test, got, want + from, nr * sizeof(u64));
		}
	}
	/* An order that was torn by whoever takes the block: some of it, and no more. */
	page[32].private = 200;
	KUNIT_EXPECT_EQ(test, kpage_block_rest(page + 33), 0);
}

static void folio_that_changes(struct kunit *test)
{
	struct page *page = fake_pages(test);
	struct folio *folio = (struct folio *)page;
	unsigned int order;

	fake_folio(page, 4);
	KUNIT_EXPECT_EQ(test, kpage_folio_rest(folio, page), 16);
	KUNIT_EXPECT_EQ(test, kpage_folio_rest(folio, page + 15), 1);
	KUNIT_EXPECT_EQ(test, kpage_folio_rest(folio, page + 16), 1);
	/* The next page's own flags, where the order was. */
	for (order = KPAGE_MAX_ORDER + 1; order < 256; order++) {
		folio->_flags_1 = order;
		KUNIT_EXPECT_EQ(test, kpage_folio_rest(folio, page), 1);
	}
	/* A folio is aligned to its length. */
	fake_folio(page + 8, 3);
	((struct folio *)(page + 8))->_flags_1 = 5;
	KUNIT_EXPECT_EQ(test, kpage_folio_rest((struct folio *)(page + 8), page + 8), 1);
}

static void scan_filter(struct kunit *test)
{
	unsigned int c, mask, any, inverted;

	for (c = 0; c < 8; c++)
		for (mask = 0; mask < 8; mask++)
			for (any = 0; any < 8; any++)
				for (inverted = 0; inverted < 8; inverted++) {
					struct pagemap_scan s = { .arg = {
						.category_mask = mask,
						.category_anyof_mask = any,
						.category_inverted = inverted,
					} };
					bool all = true, some = !any;
					unsigned int b;

					for (b = 1; b < 8; b *= 2) {
						bool has = !(c & b) != !(inverted & b);

						all &= !(mask & b) || has;
						some |= any & b && has;
					}
					KUNIT_EXPECT_EQ(test, scan_wants(&s, c), all && some);
				}
}

static void scan_regions(struct kunit *test)
{
	struct page_region buf[3];
	struct pagemap_scan s = {
		.arg = { .return_mask = 0xf, .max_pages = 20 }, .buf = buf, .max = 3,
	};
	unsigned long p = PAGE_SIZE;

	/* Alike and adjacent, once what is not returned is left out: one. */
	scan_report(&s, 10 * p, 12 * p, 0x11);
	scan_report(&s, 12 * p, 13 * p, 0x01);
	KUNIT_EXPECT_EQ(test, s.nr, 1);
	KUNIT_EXPECT_EQ(test, buf[0].start, 10 * p);
	KUNIT_EXPECT_EQ(test, buf[0].end, 13 * p);
	KUNIT_EXPECT_EQ(test, buf[0].categories, 1);
	/* A gap, and another category. */
	scan_report(&s, 14 * p, 15 * p, 0x01);
	scan_report(&s, 15 * p, 16 * p, 0x02);
	KUNIT_EXPECT_EQ(test, s.nr, 3);
	KUNIT_EXPECT_EQ(test, s.found, 5);
	/* The array is full: only what makes the last region longer fits. */
	KUNIT_EXPECT_EQ(test, scan_fit(&s, 20 * p, 22 * p, 2), 20 * p);
	KUNIT_EXPECT_EQ(test, scan_fit(&s, 16 * p, 22 * p, 1), 16 * p);
	KUNIT_EXPECT_EQ(test, scan_fit(&s, 16 * p, 22 * p, 2), 22 * p);
	/* And of that no more pages than were asked for. */
	KUNIT_EXPECT_EQ(test, scan_fit(&s, 16 * p, 99 * p, 2), 31 * p);
	scan_report(&s, 16 * p, 31 * p, 2);
	KUNIT_EXPECT_EQ(test, scan_fit(&s, 31 * p, 99 * p, 2), 31 * p);
	/* Without an array there is nothing to be full. */
	s.buf = NULL;
	KUNIT_EXPECT_EQ(test, scan_fit(&s, 31 * p, 99 * p, 2), 99 * p);
}

static struct kunit_case pages_cases[] = {
	KUNIT_CASE(flags_of_a_page),
	KUNIT_CASE(kinds_of_page),
	KUNIT_CASE(flags_of_folios),
	KUNIT_CASE(free_blocks),
	KUNIT_CASE(folio_that_changes),
	KUNIT_CASE(scan_filter),
	KUNIT_CASE(scan_regions),
	{}
};

static struct kunit_suite pages_suite = {
	.name = "foliage_pages",
	.test_cases = pages_cases,
};

kunit_test_suite(pages_suite);

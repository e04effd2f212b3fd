// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/kpageflags: what is known of a page, in bits that stay the same between kernels.
 *
 *	folio->flags	-- tables --> LOCKED DIRTY LRU ...	the same bit under another number
 *	page->mapping	------------> ANON KSM
 *	page->_mapcount ------------> MMAP, or BUDDY OFFLINE PGTABLE SLAB HUGE
 *	which page	------------> COMPOUND_HEAD COMPOUND_TAIL THP ZERO_PAGE
 *
 * A copy bit by bit would take most of the time. A table of 256 entries for each byte of the
 * flags has all copies of that byte done in advance.
 */
#include <linux/hugetlb.h>
#include <linux/kernel-page-flags.h>
#include <linux/ksm.h>
#include <linux/mm.h>
#include <linux/page_idle.h>

#include "kpage.h"

#define KPF(name)	BIT_ULL(KPF_##name)

/* Which flag of the kernel is which of user space's. */
struct kpage_copy {
	u8 pg, kpf;
};

static const struct kpage_copy kpage_copies[] __initconst = {
	{ PG_locked,		KPF_LOCKED },
	{ PG_writeback,		KPF_WRITEBACK },
	{ PG_referenced,	KPF_REFERENCED },
	{ PG_uptodate,		KPF_UPTODATE },
	{ PG_dirty,		KPF_DIRTY },
	{ PG_lru,		KPF_LRU },
	{ PG_head,		KPF_COMPOUND_HEAD },
	{ PG_active,		KPF_ACTIVE },
	{ PG_owner_priv_1,	KPF_OWNER_PRIVATE },
	{ PG_owner_2,		KPF_OWNER_2 },
	{ PG_arch_1,		KPF_ARCH },
	{ PG_reserved,		KPF_RESERVED },
	{ PG_private,		KPF_PRIVATE },
	{ PG_private_2,		KPF_PRIVATE_2 },
	{ PG_reclaim,		KPF_RECLAIM },
	{ PG_swapbacked,	KPF_SWAPBACKED },
	{ PG_unevictable,	KPF_UNEVICTABLE },
	{ PG_mlocked,		KPF_MLOCKED },
#ifdef CONFIG_MEMORY_FAILURE
	{ PG_hwpoison,		KPF_HWPOISON },
#endif
#if defined(CONFIG_PAGE_IDLE_FLAG) && defined(CONFIG_64BIT)
	{ PG_idle,		KPF_IDLE },
#endif
#ifdef CONFIG_ARCH_USES_PG_ARCH_2
	{ PG_arch_2,		KPF_ARCH_2 },
#endif
#ifdef CONFIG_ARCH_USES_PG_ARCH_3
	{ PG_arch_3,		KPF_ARCH_3 },
#endif
};

#define KPAGE_TABLES	DIV_ROUND_UP(__NR_PAGEFLAGS, 8)

static u64 kpage_table[KPAGE_TABLES][256] __ro_after_init;

/**
 * kpage_flags_init - make the tables
 */
void __init kpage_flags_init(void)
{
	unsigned int i, byte;

	for (i = 0; i < ARRAY_SIZE(kpage_copies); i++)
		for (byte = 0; byte < 256; byte++)
			if (byte & BIT(kpage_copies[i].pg % 8))
				kpage_table[kpage_copies[i].pg / 8][byte] |=
					BIT_ULL(kpage_copies[i].kpf);
}

static __always_inline u64 kpage_copy(unsigned long flags)
{
	unsigned int i;
	u64 u = 0;

	for (i = 0; i < KPAGE_TABLES; i++)
		u |= kpage_table[i][(u8)(flags >> (i * 8))];
	/* Only for memory that swap backs is the owner's private flag the swap cache's. */
	if ((u & (KPF(SWAPBACKED) | KPF(OWNER_PRIVATE))) ==
	    (KPF(SWAPBACKED) | KPF(OWNER_PRIVATE)))
		u |= KPF(SWAPCACHE);
	return u;
}

static __always_inline u64 kpage_mapping(const struct folio *folio)
{
	unsigned long kind = (unsigned long)READ_ONCE(folio->mapping) & PAGE_MAPPING_FLAGS;

	if (kind == PAGE_MAPPING_ANON)
		return KPF(ANON);
	return kind == PAGE_MAPPING_KSM ? KPF(ANON) | KPF(KSM) : 0;
}

/* The flag is elsewhere where page->flags had no room. */
static __always_inline u64 kpage_idle(const struct folio *folio)
{
#if !defined(CONFIG_64BIT)
	return folio_test_idle(folio) ? KPF(IDLE) : 0;
#else
	return 0;
#endif
}

/* What no process can map: its kind stands where the map count would. */
static u64 kpage_type(unsigned int type)
{
	switch (type >> 24) {
	case PGTY_buddy:
		return KPF(BUDDY);
	case PGTY_offline:
		return KPF(OFFLINE);
	case PGTY_table:
		return KPF(PGTABLE);
	case PGTY_slab:
		return KPF(SLAB);
	case PGTY_hugetlb:
		return KPF(HUGE);
	default:
		return 0;
	}
}

static __always_inline u64 kpage_flags_single(const struct page *page, struct kpage_memo *memo)
{
	const struct folio *folio = (const struct folio *)page;
	int mapcount = atomic_read(&page->_mapcount);
	u64 u = kpage_copy(READ_ONCE(page->flags)) | kpage_mapping(folio) | kpage_idle(folio);

	if (mapcount >= 0)
		u |= KPF(MMAP);
	else if (unlikely(mapcount != -1))
		u |= kpage_type(mapcount);
	if (unlikely(is_zero_page(page)))
		u |= KPF(ZERO_PAGE);
	return u;
}

/* Poison is a page's own, while nearly all else is its folio's or its block's. */
static void kpage_flags_poison(u64 *out, const struct page *page, unsigned long nr)
{
#ifdef CONFIG_MEMORY_FAILURE
	for (; nr; nr--, out++, page++)
		/* Set at any time, and then it stays. */
		if (unlikely(data_race(page->flags) & BIT(PG_hwpoison)))
			*out |= KPF(HWPOISON);
#endif
}

/* What the pages of a large folio have in common. */
static u64 kpage_flags_folio(const struct folio *folio)
{
	u64 u = kpage_copy(READ_ONCE(folio->flags)) | kpage_mapping(folio) | kpage_idle(folio);
	u64 type = kpage_type(READ_ONCE(folio->page.page_type)) & (KPF(SLAB) | KPF(HUGE));

	if (atomic_read(&folio->_large_mapcount) >= 0)
		u |= KPF(MMAP);
	if (!(type & KPF(HUGE))) {
		u &= ~KPF(HWPOISON);
		if (is_huge_zero_folio(folio))
			u |= KPF(ZERO_PAGE) | KPF(THP);
		else if (READ_ONCE(folio->_flags_1) & BIT(PG_large_rmappable))
			u |= KPF(THP);
	}
	return u | type;
}

/* Page tables and frames that a balloon took may be large folios too, page by page. */
static u64 kpage_flags_own(const struct page *page)
{
	return kpage_type(READ_ONCE(page->page_type)) & (KPF(OFFLINE) | KPF(PGTABLE));
}

static void kpage_flags_large(u64 *out, const struct page *page, const struct folio *folio,
			      unsigned long nr, struct kpage_memo *memo)
{
	u64 u = kpage_flags_folio(folio);
	u64 tail = (u & ~KPF(COMPOUND_HEAD)) | KPF(COMPOUND_TAIL);

	memset64(out, tail, nr);
	if (page == &folio->page)
		*out = u | kpage_flags_own(page);
	if (!(u & KPF(HUGE)))
		kpage_flags_poison(out, page, nr);
}

static const struct kpage_file kpage_flags = {
	.free = KPF(BUDDY),
	.single = kpage_flags_single,
	.large = kpage_flags_large,
	.poison = kpage_flags_poison,
};

/**
 * kpage_flags_fill - the KPF_* bits of frames that exist
 * @out: where to, 64 bits for each
 * @page: first page
 * @nr: number of pages, consecutive in the memory map
 */
void kpage_flags_fill(u64 *out, const struct page *page, unsigned long nr)
{
	kpage_fill(&kpage_flags, out, page, nr, NULL);
}

/**
 * stable_page_flags - the KPF_* bits of one page
 * @page: the page, or NULL for a frame without memory
 *
 * Context: any; no lock is taken and no reference needed. The answer may be old.
 * Return: what /proc/kpageflags says.
 */
u64 stable_page_flags(const struct page *page)
{
	u64 u;

	if (!page)
		return KPF(NOPAGE);
	kpage_flags_fill(&u, page, 1);
	return u;
}

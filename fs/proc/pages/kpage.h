/* SPDX-License-Identifier: GPL-2.0 */
/*
 * /proc/kpagecount, kpageflags and kpagecgroup: one number for each page frame.
 *
 *	kpage.c			the files, reading; what kpagecount and kpagecgroup say
 *	  kpage_flags.c		what kpageflags says
 *	    kpage_fill()	frame by frame, inlined into each
 *	      kpage_run.c	or many at once
 */
#ifndef __FS_PROC_KPAGE_H
#define __FS_PROC_KPAGE_H

#include <linux/kernel-page-flags.h>
#include <linux/mm.h>

#define KPAGE_BYTES	sizeof(u64)

/*
 * Frames that are looked at between two copies to the reader. They lie in one aligned
 * block of this length, and memory comes and goes in blocks that are no smaller, so that
 * whether they exist is asked once. Small enough for the stack: a read allocates nothing.
 */
#define KPAGE_STACK	(IS_ENABLED(CONFIG_64BIT) ? 128UL : 64UL)
#ifdef CONFIG_SPARSEMEM_VMEMMAP
#define KPAGE_BATCH	MIN(PAGES_PER_SUBSECTION, KPAGE_STACK)
#else
#define KPAGE_BATCH	KPAGE_STACK
#endif

/* No folio is larger. */
#define KPAGE_MAX_ORDER	(IS_ENABLED(CONFIG_ARCH_HAS_GIGANTIC_PAGE) ? PUD_ORDER : MAX_PAGE_ORDER)

/*
 * Answers that are kept are so many pairs, a power of two: frames in a row may belong to several
 * owners in turn. Two of sixteen owners rarely have the same place; three hardly ever.
 */
#define KPAGE_MEMOS	32

/**
 * struct kpage_answer - what was found out for a page, and is so for others
 * @key: what it was made from
 * @value: the answer
 */
struct kpage_answer {
	unsigned long key;
	u64 value;
};

/**
 * struct kpage_memo - answers for pages, which are often others' too
 * @last: the last one
 * @kept: it and others, each in one of two places that the hash of its key says
 */
struct kpage_memo {
	struct kpage_answer last;
	struct kpage_answer kept[KPAGE_MEMOS][2];
};

/**
 * struct kpage_file - what one of the files says of frames
 * @free: of a frame of a free block, other than its first
 * @single: of a page that belongs to no larger folio
 * @large: of @nr pages of a large folio from @page on
 * @poison: add to what @free said of frames what is said of poisoned ones, or NULL
 *
 * Nothing is locked and no reference is held. What was read may be old, but no pointer is
 * followed that the page held: only its own folio, which is found in the memory map.
 */
struct kpage_file {
	u64 free;
	u64 (*single)(const struct page *page, struct kpage_memo *memo);
	void (*large)(u64 *out, const struct page *page, const struct folio *folio,
		      unsigned long nr, struct kpage_memo *memo);
	void (*poison)(u64 *out, const struct page *page, unsigned long nr);
};

/* A page of a large folio? */
static __always_inline bool kpage_large(const struct page *page)
{
	/* Old by the time it is used, like all that is read here; and looked at again. */
	return data_race(page->compound_head) & 1 || data_race(page->flags) & BIT(PG_head);
}

/* Neither mapped nor anybody's: perhaps of a free block. */
static __always_inline bool kpage_unused(const struct page *page)
{
	return atomic_read(&page->_mapcount) < 0 && !page_ref_count(page);
}

/**
 * kpage_folio_rest - pages from @page to the end of its folio
 * @folio: a large folio, or what was one a moment ago
 * @page: a page of it
 *
 * Return: at least 1; 1 for what makes no sense.
 */
static inline unsigned long kpage_folio_rest(const struct folio *folio, const struct page *page)
{
	unsigned int order = READ_ONCE(folio->_flags_1) & 0xff;
	unsigned long index = page - &folio->page;

	if (order > KPAGE_MAX_ORDER || index >> order ||
	    !IS_ALIGNED(page_to_pfn(&folio->page), BIT(order)))
		return 1;
	return BIT(order) - index;
}

/**
 * kpage_block_rest - frames from @page to the end of its free block
 * @page: a page
 *
 * The free lists are not locked. A block that is split or grows meanwhile was free.
 *
 * Return: 0 for a page that is not free.
 */
static inline unsigned long kpage_block_rest(const struct page *page)
{
	unsigned long pfn = page_to_pfn(page);
	unsigned int order;

	for (order = 0; order < NR_PAGE_ORDERS; order++) {
		unsigned long index = pfn & (BIT(order) - 1);
		const struct page *head = page - index;
		unsigned long found;

		if (!PageBuddy(head))
			continue;
		found = READ_ONCE(head->private);
		if (found >= order && found < NR_PAGE_ORDERS)
			return BIT(found) - index;
	}
	return 0;
}

unsigned long kpage_fill_run(const struct kpage_file *f, u64 *out, const struct page *page,
			     unsigned long nr, struct kpage_memo *memo);

/**
 * kpage_fill - write the numbers of frames that exist
 * @f: the file, a constant, so that @f->single is inlined
 * @out: where to
 * @page: first page
 * @nr: number of pages, consecutive in the memory map
 * @memo: of this batch
 *
 * Free blocks and large folios are runs: one look, and as many numbers as they have frames.
 */
static __always_inline void kpage_fill(const struct kpage_file *f, u64 *out,
				       const struct page *page, unsigned long nr,
				       struct kpage_memo *memo)
{
	const struct page *end = page + nr;

	while (page < end) {
		if (unlikely(kpage_large(page)) || unlikely(kpage_unused(page))) {
			unsigned long n = kpage_fill_run(f, out, page, end - page, memo);

			out += n;
			page += n;
			if (n)
				continue;
		}
		*out++ = f->single(page++, memo);
	}
}

typedef void (*kpage_fill_t)(u64 *out, const struct page *page, unsigned long nr);

void kpage_flags_fill(u64 *out, const struct page *page, unsigned long nr);
void kpage_flags_init(void);

#endif /* __FS_PROC_KPAGE_H */

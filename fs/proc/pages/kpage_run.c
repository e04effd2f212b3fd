// SPDX-License-Identifier: GPL-2.0
/*
 * Frames that are looked at once for many: a large folio, a free block.
 */
#include "../internal.h"
#include "kpage.h"

/**
 * kpage_fill_run - write the numbers of a large folio or a free block
 * @f: the file
 * @out: where to
 * @page: first page, which was large or unused a moment ago
 * @nr: number of pages at most
 * @memo: of this batch
 *
 * Return: how many were written; 0 when @page is a page by itself after all.
 */
unsigned long kpage_fill_run(const struct kpage_file *f, u64 *out, const struct page *page,
			     unsigned long nr, struct kpage_memo *memo)
{
	/* Looked up once: it may be freed, split or made anew while it is described. */
	const struct folio *folio = page_folio(page);

	if (READ_ONCE(folio->flags) & BIT(PG_head)) {
		nr = min(nr, kpage_folio_rest(folio, page));
		f->large(out, page, folio, nr, memo);
		return nr;
	}
	if (!kpage_unused(page))
		return 0;
	nr = min(nr, kpage_block_rest(page));
	memset64(out, f->free, nr);
	if (f->poison)
		f->poison(out, page, nr);
	/* Of the first frame more is known: whether the host was told that the block is free. */
	if (nr && PageBuddy(page))
		*out = f->single(page, memo);
	return nr;
}

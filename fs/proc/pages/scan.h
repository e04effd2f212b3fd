/* SPDX-License-Identifier: GPL-2.0 */
/*
 * PAGEMAP_SCAN: one call's state, and what its two halves offer each other. The arguments,
 * the regions and the passes are in scan.c, the page tables in scan_walk.c.
 */
#ifndef __FS_PROC_SCAN_H
#define __FS_PROC_SCAN_H

#include <linux/fs.h>
#include <linux/mm.h>

/**
 * struct pagemap_scan - one PAGEMAP_SCAN
 * @arg: what was asked for, addresses without tags
 * @asked: categories that decide or are reported; others need not be found out
 * @vma_category: of the VMA being walked
 * @buf: regions that were found and not yet copied out; NULL when none are wanted
 * @nr: how many, the last of them may still grow
 * @max: how many @buf can hold, no more than the caller has room for
 * @vec: where the next ones go
 * @regions: how many were copied out
 * @found: pages in all regions
 * @stop: the first address that this pass did not finish
 * @stuck: the next thing does not fit into what is left of max_pages, nor can a part of it
 * @tables: page tables that this pass may still look at
 * @flush: addresses that were write-protected and may still be writable for a TLB; while there
 *	are any, mm_tlb_flush_pending() says so
 */
struct pagemap_scan {
	struct pm_scan_arg arg;
	u64 asked;
	u64 vma_category;
	struct page_region *buf;
	unsigned int nr;
	unsigned int max;
	struct page_region __user *vec;
	long regions;
	u64 found;
	unsigned long stop;
	bool stuck;
	unsigned int tables;
	struct {
		unsigned long start, end;
	} flush;
};

/* Does the caller want pages like this? */
static inline bool scan_wants(const struct pagemap_scan *s, u64 categories)
{
	const struct pm_scan_arg *arg = &s->arg;

	categories ^= arg->category_inverted;
	return (categories & arg->category_mask) == arg->category_mask &&
	       (!arg->category_anyof_mask || categories & arg->category_anyof_mask);
}

/* Is a page that was not written to of no interest, whatever else it is? */
static inline bool scan_wants_written(const struct pagemap_scan *s)
{
	return s->arg.category_mask & ~s->arg.category_inverted & PAGE_IS_WRITTEN;
}

static inline bool scan_protects(const struct pagemap_scan *s)
{
	return s->arg.flags & PM_SCAN_WP_MATCHING;
}

/* Would a page of these categories at @addr make the last region longer? */
static inline bool scan_grows(const struct pagemap_scan *s, unsigned long addr, u64 categories)
{
	const struct page_region *last = s->buf + s->nr - 1;

	return s->nr && last->end == addr && last->categories == categories;
}

/**
 * scan_fit - how much of a range could be reported?
 * @s: the scan
 * @addr: start
 * @end: end
 * @categories: what it is
 *
 * Return: an address from @addr, when there is no room, to @end.
 */
static inline unsigned long scan_fit(const struct pagemap_scan *s, unsigned long addr,
				     unsigned long end, u64 categories)
{
	u64 room = s->arg.max_pages - s->found;

	if (!s->buf)
		return end;
	if (s->nr == s->max && !scan_grows(s, addr, categories & s->arg.return_mask))
		return addr;
	return (end - addr) >> PAGE_SHIFT <= room ? end : addr + (room << PAGE_SHIFT);
}

/**
 * scan_report - report a range that fits
 * @s: the scan
 * @addr: start
 * @end: end, at most what scan_fit() said
 * @categories: what it is
 */
static inline void scan_report(struct pagemap_scan *s, unsigned long addr, unsigned long end,
			       u64 categories)
{
	categories &= s->arg.return_mask;
	if (!s->buf || addr == end)
		return;
	if (scan_grows(s, addr, categories))
		s->buf[s->nr - 1].end = end;
	else
		s->buf[s->nr++] = (struct page_region){ addr, end, categories };
	s->found += (end - addr) >> PAGE_SHIFT;
}

int scan_pass(struct pagemap_scan *s, struct mm_struct *mm, unsigned long addr);

#endif /* __FS_PROC_SCAN_H */

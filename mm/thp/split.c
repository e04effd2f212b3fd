// SPDX-License-Identifier: GPL-2.0
/*
 * A large folio becomes smaller ones, in place. Its states are in split.h.
 *
 *	check --> hold --> unmap --> freeze --> part --> map --> release
 *		    |	     |		|
 *		    |	     |		+-- a reference too many: map, let go, -EAGAIN
 *		    |	     +-- a reference too many: let go, -EAGAIN
 *		    +-- no memory, no anon_vma: -ENOMEM, -EBUSY
 *
 * That there are no other references than those of mappings, caches and the caller is asked
 * twice: before, since to unmap is expensive; and by freezing, which says for sure.
 *
 * Anonymous pages get migration entries, so that what the mappings said is not lost. Of files'
 * pages that is not needed: they fault in again.
 */
#include <linux/mm.h>
#include <linux/dax.h>
#include <linux/memcontrol.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/rmap_runs.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>
#include <linux/thp_runs.h>
#include <linux/vmstat.h>

#include "split.h"

/* --- check ------------------------------------------------------------------------------ */

/* Can a folio of this kind be of the new order? */
static bool split_order_fits(struct folio *folio, unsigned int order)
{
	/* All that is in the swap cache is one page or one PMD. */
	if (!order || folio_test_swapcache(folio))
		return !order;
	/* The list of the deferred queue is in the third page. */
	if (folio_test_anon(folio))
		return order != 1;
	if (shmem_mapping(folio->mapping))
		return false;
	/* khugepaged may put huge pages into file systems that know of none. */
	return !IS_ENABLED(CONFIG_READ_ONLY_THP_FOR_FS) ||
	       mapping_large_folio_support(folio->mapping);
}

static int split_check(struct thp_split *s)
{
	struct folio *folio = s->folio;

	if (s->new_order >= s->order)
		return -EINVAL;
	/* Truncated; or of shmem, and in the swap cache. */
	if (!folio_test_anon(folio) && !folio->mapping)
		return -EBUSY;
	if (s->step && !split_order_fits(folio, s->new_order))
		return -EINVAL;
	if (is_huge_zero_folio(folio)) {
		pr_warn_ratelimited("the huge zero folio cannot be split\n");
		return -EBUSY;
	}
	if (folio_test_writeback(folio))
		return -EBUSY;
	thp_split_to(s, SPLIT_CHECKED);
	return 0;
}

/* --- hold ------------------------------------------------------------------------------- */

/*
 * The caller need not have a VMA of it locked. For writing: others must not split or collapse
 * what is mapped here at the same time.
 */
static int split_hold_anon(struct thp_split *s)
{
	s->anon_vma = folio_get_anon_vma(s->folio);
	if (!s->anon_vma)
		return -EBUSY;
	anon_vma_lock_write(s->anon_vma);
	s->cached = folio_test_swapcache(s->folio);
	return 0;
}

/*
 * Where does the file end? Asked before the tree is locked: on 32 bits i_size_read() waits for
 * others. It may change after that, but does not shrink below the folio: that takes its lock.
 */
static pgoff_t split_file_end(struct address_space *mapping)
{
	pgoff_t end = DIV_ROUND_UP(i_size_read(mapping->host), PAGE_SIZE);

	return shmem_mapping(mapping) ? shmem_fallocend(mapping->host, end) : end;
}

static int split_hold_file(struct thp_split *s)
{
	struct address_space *mapping = s->folio->mapping;
	gfp_t gfp = current_gfp_context(mapping_gfp_mask(mapping) & GFP_RECLAIM_MASK);

	if (s->new_order < mapping_min_folio_order(mapping))
		return -EINVAL;
	if (!filemap_release_folio(s->folio, gfp))
		return -EBUSY;
	s->xas = (struct xa_state)__XA_STATE(&mapping->i_pages, 0, 0, 0);
	xas_set_order(&s->xas, s->folio->index, s->new_order);
	mapping_set_update(&s->xas, mapping);
	xas_split_alloc(&s->xas, s->folio, s->order, gfp);
	if (xas_error(&s->xas))
		return xas_error(&s->xas);
	s->mapping = mapping;
	i_mmap_lock_read(mapping);
	s->end = split_file_end(mapping);
	s->cached = true;
	return 0;
}

static int split_hold(struct thp_split *s)
{
	int err = folio_test_anon(s->folio) ? split_hold_anon(s) : split_hold_file(s);

	if (!err)
		thp_split_to(s, SPLIT_HELD);
	return err;
}

static void split_let_go(struct thp_split *s)
{
	if (s->anon_vma) {
		anon_vma_unlock_write(s->anon_vma);
		put_anon_vma(s->anon_vma);
	}
	if (s->mapping)
		i_mmap_unlock_read(s->mapping);
	s->anon_vma = NULL;
	s->mapping = NULL;
}

/* --- unmap, freeze, map ----------------------------------------------------------------- */

static int split_unmap(struct thp_split *s)
{
	enum ttu_flags flags = TTU_RMAP_LOCKED | TTU_SYNC | TTU_BATCH_FLUSH;

	if (!can_split_folio(s->folio, 1, NULL))
		return -EAGAIN;
	if (folio_test_pmd_mappable(s->folio))
		flags |= TTU_SPLIT_HUGE_PMD;
	if (folio_test_anon(s->folio))
		try_to_migrate(s->folio, flags);
	else
		try_to_unmap(s->folio, flags | TTU_IGNORE_MLOCK);
	try_to_unmap_flush();
	thp_split_to(s, SPLIT_UNMAPPED);
	return 0;
}

/* Map the folio again, or its parts. */
static void split_map(struct thp_split *s, int flags)
{
	if (folio_test_anon(s->folio))
		rmap_restore_parts(s->folio, thp_split_pages(s), flags);
}

/* Of anonymous folios of each size there are so many; of single pages nobody asks. */
static void split_count_parts(struct thp_split *s)
{
	unsigned long i, nr = thp_split_pages(s), step;

	mod_mthp_stat(s->order, MTHP_STAT_NR_ANON, -1);
	for (i = 0; i < nr && s->step != 1; i += step) {
		struct folio *part = page_folio(folio_page(s->folio, i));

		mod_mthp_stat(folio_order(part), MTHP_STAT_NR_ANON, 1);
		step = folio_nr_pages(part);
	}
}

/* From here on it cannot fail. */
static int split_part(struct thp_split *s)
{
	bool frozen;

	/* See split_parts.c for those who wait for the references to come back. */
	preempt_disable();
	frozen = thp_freeze(s->folio, 1 + (s->cached ? thp_split_pages(s) : 0));
	if (frozen) {
		thp_split_to(s, SPLIT_FROZEN);
		thp_part(s);
	}
	preempt_enable();
	if (!frozen) {
		split_map(s, 0);
		return -EAGAIN;
	}
	if (folio_test_anon(s->folio))
		split_count_parts(s);
	if (s->dropped)
		shmem_uncharge(s->mapping->host, s->dropped);
	split_map(s, RMP_USE_SHARED_ZEROPAGE);
	thp_split_to(s, SPLIT_MAPPED);
	return 0;
}

/* --- release ---------------------------------------------------------------------------- */

/*
 * Each part has a reference of ours, and is locked as the folio was; both are the caller's for the
 * part that has @page. The first part is locked as long as i_mmap is: it keeps the file.
 */
static void split_release(struct thp_split *s)
{
	unsigned long nr = thp_split_pages(s), i, step;
	struct folio *keep = page_folio(s->page);
	struct page *first = &s->folio->page;

	split_let_go(s);
	for (i = 0; i < nr; i += step) {
		struct folio *part = page_folio(first + i);

		step = s->step ?: folio_nr_pages(part);
		if (part == keep)
			continue;
		folio_unlock(part);
		/* Nobody may have mapped it: then it is freed. */
		free_page_and_swap_cache(&part->page);
	}
	thp_split_to(s, SPLIT_RELEASED);
}

/**
 * can_split_folio - has nobody a reference of a folio who would prevent its split?
 * @folio: the folio
 * @caller_pins: references of the caller
 * @pextra_pins: set to the references of page cache or swap cache; may be NULL
 *
 * Context: without the folio's lock it may be different the next moment.
 */
bool can_split_folio(struct folio *folio, int caller_pins, int *pextra_pins)
{
	bool cached = !folio_test_anon(folio) || folio_test_swapcache(folio);
	int extra = cached ? folio_nr_pages(folio) : 0;

	if (pextra_pins)
		*pextra_pins = extra;
	return folio_ref_count(folio) == folio_mapcount(folio) + extra + caller_pins;
}

/* What was refused by its kind is not counted as having failed. */
static void split_count(const struct thp_split *s, int err)
{
	if (s->order == HPAGE_PMD_ORDER)
		count_vm_event(err ? THP_SPLIT_PAGE_FAILED : THP_SPLIT_PAGE);
	count_mthp_stat(s->order, err ? MTHP_STAT_SPLIT_FAILED : MTHP_STAT_SPLIT);
}

static int split_folio_steps(struct thp_split *s)
{
	int err = split_check(s);

	if (!err)
		err = split_hold(s);
	if (!err)
		err = split_unmap(s);
	if (!err)
		err = split_part(s);
	if (!err)
		split_release(s);
	else
		split_let_go(s);
	return err;
}

static int split_do(struct thp_split *s)
{
	struct folio *folio = s->folio;
	struct mem_cgroup *memcg;
	int err;

	VM_WARN_ON_FOLIO(!folio_test_locked(folio) || !folio_test_large(folio), folio);
	/* What the page cache's tree needs is charged to whom the folio is. */
	memcg = set_active_memcg(folio_memcg(folio));
	err = split_folio_steps(s);
	set_active_memcg(memcg);
	xas_destroy(&s->xas);
	if (s->state != SPLIT_NEW)
		split_count(s, err);
	return err;
}

/**
 * split_huge_page_to_list_to_order - split a folio
 * @page: a page of it; the caller's reference and lock are of the part that has it, afterwards
 * @list: parts go there, each with a reference, but the first one; or NULL: they go where the
 *	folio is in its LRU list
 * @new_order: of the parts; not 1 for anonymous memory, 0 for shmem and in the swap cache, and
 *	not below the order that the file system needs
 *
 * Parts that are not mapped, and not in the page cache, are freed. So are those beyond the end of
 * the file. Of anonymous memory, pages of zeroes are freed, and the zero page is mapped instead.
 *
 * Context: the folio is locked, and the caller has one reference of it. Sleeps.
 * Return: 0; -EINVAL for an order that cannot be; -EBUSY for the huge zero folio, during
 * write-back, when the file system does not release what is private to it, when nobody maps it
 * any more, when it was truncated; -EAGAIN when somebody has a reference, such as a pin; -ENOMEM.
 * On error the folio is as it was.
 */
int split_huge_page_to_list_to_order(struct page *page, struct list_head *list,
				     unsigned int new_order)
{
	struct folio *folio = page_folio(page);
	struct thp_split s = {
		.folio = folio, .page = page, .list = list, .order = folio_order(folio),
		.new_order = new_order, .step = 1UL << new_order,
	};

	return split_do(&s);
}

static int split_range(struct folio *folio, struct page *page, unsigned long first,
		       unsigned long nr)
{
	struct thp_split s = {
		.folio = folio, .page = page, .order = folio_order(folio),
		.new_order = folio_order(folio) - 1, .first = first, .last = first + nr,
	};

	if (!folio_test_anon(folio) || folio_test_swapcache(folio))
		return split_huge_page(page);
	return split_do(&s);
}

/**
 * split_folio_range - split a range of pages off a folio
 * @folio: the folio, locked and referenced
 * @first: the first page of the range, counted from the folio's
 * @nr: its pages
 *
 * An anonymous folio is split into parts that are as large as they can be without lying across a
 * border of the range. Others, and those in the swap cache, are split into pages. The caller's
 * lock and reference are of the first part, afterwards.
 *
 * Context: as for split_huge_page_to_list_to_order().
 * Return: as there; 0 with nothing done when the range is all of the folio.
 */
int split_folio_range(struct folio *folio, unsigned long first, unsigned long nr)
{
	VM_WARN_ON_FOLIO(!nr || first + nr > folio_nr_pages(folio), folio);
	if (nr == folio_nr_pages(folio))
		return 0;
	return split_range(folio, &folio->page, first, nr);
}

/**
 * split_page_out - split a page off its folio
 * @page: the page; the caller's reference and lock are of it alone, afterwards
 *
 * split_folio_range() of one page.
 *
 * Context: as for split_huge_page_to_list_to_order().
 * Return: as there.
 */
int split_page_out(struct page *page)
{
	struct folio *folio = page_folio(page);

	return split_range(folio, page, folio_page_idx(folio, page), 1);
}

/**
 * min_order_for_split - to which order can a folio be split at least?
 * @folio: the folio, locked
 *
 * Return: the order, or -EBUSY when it was truncated.
 */
int min_order_for_split(struct folio *folio)
{
	if (folio_test_anon(folio))
		return 0;
	if (folio->mapping)
		return mapping_min_folio_order(folio->mapping);
	if (folio_test_pmd_mappable(folio))
		count_vm_event(THP_SPLIT_PAGE_FAILED);
	return -EBUSY;
}

/**
 * split_folio_to_list - split a folio into pages
 * @folio: the folio, locked and referenced
 * @list: as for split_huge_page_to_list_to_order()
 *
 * Return: as there.
 */
int split_folio_to_list(struct folio *folio, struct list_head *list)
{
	return split_huge_page_to_list_to_order(&folio->page, list, 0);
}

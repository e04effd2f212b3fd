// SPDX-License-Identifier: GPL-2.0
/*
 * New pages for private memory.
 *
 *	room	entries that look empty, up to a batch
 *	alloc	pages, together where no policy says where each has to be
 *	copy	their contents, with faults off; the rest without locks
 *	charge
 *	install	as many as still find their entries empty
 *
 * Nobody sees a page before it is installed. What is not installed is freed.
 */
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/hugetlb.h>
#include <linux/memcontrol.h>
#include <linux/mempolicy.h>
#include <linux/uaccess.h>

#include "uffd.h"

/* New pages that are made together. Their pointers are on the stack. */
#define FILL_BATCH	32

/*
 * May the allocator be asked for many pages at once? It knows the task's policy, but not a VMA's,
 * and nothing of addresses, by which pages are spread over nodes.
 */
static __always_inline bool fill_together(struct vm_area_struct *vma)
{
#ifdef CONFIG_NUMA
	struct mempolicy *pol = current->mempolicy;

	if (vma->vm_policy || (vma->vm_ops && vma->vm_ops->get_policy))
		return false;
	return !pol || (pol->mode != MPOL_INTERLEAVE && pol->mode != MPOL_WEIGHTED_INTERLEAVE);
#else
	return true;
#endif
}

/*
 * How many pages are to be made: for entries from f->dst on that look empty, at least one. Whether
 * they are is seen under the lock; this keeps from making pages for nothing.
 */
static unsigned int fill_room(struct fill *f)
{
	unsigned int max = min_t(unsigned long, fill_pages_left(f), FILL_BATCH), nr = 1;
	pte_t *ptep;

	if (f->dst < f->small_end)
		max = min(max, (f->small_end - f->dst) >> PAGE_SHIFT);
	if (max == 1 || !fill_together(f->vma))
		return 1;
	ptep = pte_offset_map(f->pmd, f->dst);
	if (!ptep)
		return 1;
	while (nr < max && pte_none_mostly(ptep_get_lockless(ptep + nr)))
		nr++;
	pte_unmap(ptep);
	return nr;
}

/* Return: how many there are now, from 0 to @nr. */
static __always_inline unsigned int fill_alloc(struct fill *f, struct folio **folios,
					       unsigned int nr)
{
	if (nr > 1) {
		/* A page that is not compound is a folio. */
		memset(folios, 0, nr * sizeof(*folios));
		return alloc_pages_bulk_array_mempolicy(GFP_HIGHUSER_MOVABLE, nr,
							(struct page **)folios);
	}
	folios[0] = vma_alloc_folio(GFP_HIGHUSER_MOVABLE, 0, f->vma, f->dst, false);
	return folios[0] ? 1 : 0;
}

static void fill_free(struct folio **folios, unsigned int nr)
{
	while (nr)
		folio_put(folios[--nr]);
}

/* Go on with the copy at page @i. Return: up to where it came. */
static __always_inline unsigned int fill_copy(struct fill *f, struct folio **folios,
					      unsigned int i, unsigned int nr)
{
	while (i < nr && fill_copy_page(&folios[i]->page, f->src + i * PAGE_SIZE))
		i++;
	return i;
}

/* The source is not in memory: the rest of the copy is made without locks. As fill_contents(). */
static noinline int fill_source(struct fill *f, struct folio **folios, unsigned int done,
				unsigned int nr)
{
	int err;

	fill_end(f);
	done = fill_copy(f, folios, done, nr);
	if (!done)
		return -EFAULT;
	/* There must be a table for them again. */
	f->small_end = max(f->small_end, f->dst + nr * PAGE_SIZE);
	err = fill_begin(f);
	if (err)
		return err;
	/* Meanwhile it may have become memory that these pages are not made for. */
	return is_vm_hugetlb_page(f->vma) || f->vma->vm_flags & VM_SHARED ? -EAGAIN : done;
}

/*
 * The contents of @nr pages. Where the source is not in memory the hold ends, and another begins.
 * Return: how many have them, more than 0, or an error.
 */
static __always_inline int fill_contents(struct fill *f, struct folio **folios, unsigned int nr)
{
	unsigned int done;

	pagefault_disable();
	done = fill_copy(f, folios, 0, nr);
	pagefault_enable();
	return likely(done == nr) ? nr : fill_source(f, folios, done, nr);
}

/* Return: how many of @nr are charged, more than 0, or -ENOMEM. */
static __always_inline int fill_charge(struct fill *f, struct folio **folios, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		/* With a barrier: contents are seen before the mapping is. */
		__folio_mark_uptodate(folios[i]);
		if (mem_cgroup_charge(folios[i], f->vma->vm_mm, GFP_KERNEL))
			break;
	}
	return i ? i : -ENOMEM;
}

/* Up to @nr pages, with room for their pointers. */
static __always_inline int fill_some(struct fill *f, struct folio **folios, unsigned int nr)
{
	int done;

	nr = fill_alloc(f, folios, nr);
	if (!nr)
		return -ENOMEM;
	done = fill_contents(f, folios, nr);
	if (done > 0)
		done = fill_charge(f, folios, done);
	if (done > 0)
		done = uffd_install_new(f, folios, done);
	if (done < 0) {
		fill_free(folios, nr);
		return done;
	}
	fill_free(folios + done, nr - done);
	fill_advance(f, done);
	return 0;
}

static noinline int fill_batch(struct fill *f, unsigned int nr)
{
	struct folio *folios[FILL_BATCH] __uninitialized;

	return fill_some(f, folios, nr);
}

/**
 * fill_pages - a step of COPY to private memory
 * @f: the fill
 *
 * Context: between fill_begin() and fill_end(); the hold may be another one afterwards, or have
 * ended with an error.
 * Return: 0; -ENOMEM, -EFAULT, -EEXIST, -EAGAIN when the table vanished; what fill_begin() says.
 */
int fill_pages(struct fill *f)
{
	struct folio *folio;
	unsigned int nr;
	int err;

	/* The smallest large folio has four pages. */
	err = fill_pages_left(f) < 4 ? FILL_SMALLER : fill_large(f);
	if (err != FILL_SMALLER)
		return err;
	nr = fill_room(f);
	return nr > 1 ? fill_batch(f, nr) : fill_some(f, &folio, 1);
}

/**
 * fill_zeroed - a step of ZEROPAGE where the zero page must not be mapped
 * @f: the fill
 *
 * Context: between fill_begin() and fill_end().
 * Return: as fill_pages().
 */
int fill_zeroed(struct fill *f)
{
	struct folio *folio = vma_alloc_zeroed_movable_folio(f->vma, f->dst);
	int done;

	if (!folio)
		return -ENOMEM;
	done = fill_charge(f, &folio, 1);
	if (done > 0)
		done = uffd_install_new(f, &folio, 1);
	if (done < 0) {
		folio_put(folio);
		return done;
	}
	fill_advance(f, 1);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The walk from a folio to its VMAs, inlined: for rmap_walk(), and for those who walk for every
 * page that reclaim looks at, so that their callbacks are calls of known functions or none.
 */
#ifndef __MM_RMAP_WALK_H
#define __MM_RMAP_WALK_H

#include <linux/ksm.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>

#include "../internal.h"

/**
 * struct rmap_visitor - the part of rmap_walk_control that a caller knows at compile time
 * @rmap_one: visit a VMA; false to end the walk
 * @done: after a VMA, true to end the walk; or NULL
 * @invalid_vma: true to leave a VMA out; or NULL
 */
struct rmap_visitor {
	bool (*rmap_one)(struct folio *folio, struct vm_area_struct *vma, unsigned long addr,
			 void *arg);
	int (*done)(struct folio *folio);
	bool (*invalid_vma)(struct vm_area_struct *vma, void *arg);
};

/* One VMA. False when the walk is over. */
static __always_inline bool rmap_visit(struct folio *folio, const struct rmap_visitor *visitor,
				       void *arg, struct vm_area_struct *vma)
{
	unsigned long addr = vma_address(vma, folio_pgoff(folio), folio_nr_pages(folio));

	/* The tree was asked for VMAs that overlap the folio. */
	VM_WARN_ON_ONCE(addr == -EFAULT);
	if (visitor->invalid_vma && visitor->invalid_vma(vma, arg))
		return true;
	if (!visitor->rmap_one(folio, vma, addr, arg))
		return false;
	return !visitor->done || !visitor->done(folio);
}

static __always_inline void rmap_walk_anon_tree(struct folio *folio,
						const struct rmap_visitor *visitor,
						void *arg, struct anon_vma *av)
{
	pgoff_t first = folio_pgoff(folio), last = first + folio_nr_pages(folio) - 1;
	struct anon_vma_chain *avc;

	lockdep_assert_held(&av->root->rwsem);
	avc = anon_vma_interval_tree_iter_first(&av->rb_root, first, last);
	while (avc && rmap_visit(folio, visitor, arg, avc->vma)) {
		cond_resched();
		avc = anon_vma_interval_tree_iter_next(avc, first, last);
	}
}

static __always_inline void rmap_walk_file_tree(struct folio *folio,
						const struct rmap_visitor *visitor,
						void *arg, struct address_space *mapping)
{
	pgoff_t first = folio_pgoff(folio), last = first + folio_nr_pages(folio) - 1;
	struct vm_area_struct *vma;

	i_mmap_assert_locked(mapping);
	vma = vma_interval_tree_iter_first(&mapping->i_mmap, first, last);
	while (vma && rmap_visit(folio, visitor, arg, vma)) {
		cond_resched();
		vma = vma_interval_tree_iter_next(vma, first, last);
	}
}

/**
 * rmap_walk_anon - rmap_walk() of a mapped anonymous folio, not KSM, inlined
 * @folio: the folio
 * @visitor: whom to call; best a constant
 * @arg: for it
 */
static __always_inline void rmap_walk_anon(struct folio *folio,
					   const struct rmap_visitor *visitor, void *arg)
{
	struct anon_vma *av = folio_lock_anon_vma_read(folio, NULL);

	if (!av)
		return;
	rmap_walk_anon_tree(folio, visitor, arg, av);
	anon_vma_unlock_read(av);
}

#endif /* __MM_RMAP_WALK_H */

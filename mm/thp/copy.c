// SPDX-License-Identifier: GPL-2.0
/*
 * fork() of a huge PMD.
 *
 *	parent's PMD		child's			parent's becomes
 *	a device's or PFNs	the same, old		-
 *	of a file		none: it faults in	-
 *	migration entry		the same, readable	readable
 *	the huge zero folio	the same, read only	read only
 *	a folio			the same, read only	read only
 *	a pinned folio		-EAGAIN			a table, of which pages are copied
 */
#include <linux/mm.h>
#include <linux/rmap.h>

#include "../pte/leaf_pmd.h"
#include "thp.h"

/**
 * struct thp_copy - one huge PMD to be copied
 * @dst_mm: the child
 * @src_mm: the parent
 * @dst_vma: the child's VMA
 * @src_vma: the parent's
 * @dst: the child's PMD
 * @src: the parent's
 * @addr: where it is, in both
 * @table: to be deposited; NULL when it was
 */
struct thp_copy {
	struct mm_struct *dst_mm;
	struct mm_struct *src_mm;
	struct vm_area_struct *dst_vma;
	struct vm_area_struct *src_vma;
	pmd_t *dst;
	pmd_t *src;
	unsigned long addr;
	pgtable_t table;
};

static void copy_lock(struct thp_copy *c)
{
	spin_lock(pmd_lockptr(c->dst_mm, c->dst));
	spin_lock_nested(pmd_lockptr(c->src_mm, c->src), SINGLE_DEPTH_NESTING);
}

static void copy_unlock(struct thp_copy *c)
{
	spin_unlock(pmd_lockptr(c->src_mm, c->src));
	spin_unlock(pmd_lockptr(c->dst_mm, c->dst));
}

static void copy_deposit(struct thp_copy *c)
{
	thp_deposit(c->dst_mm, c->dst, c->table);
	c->table = NULL;
}

/*
 * Frames without a folio. The parent's PMD cannot change: its mmap_lock is held for writing. It
 * is read only if a write were to copy.
 */
static void copy_special(struct thp_copy *c)
{
	pmd_t pmd;

	copy_lock(c);
	pmd = *c->src;
	VM_WARN_ON_ONCE(is_cow_mapping(c->src_vma->vm_flags) && pmd_write(pmd));
	set_pmd_at(c->dst_mm, c->addr, c->dst, pmd_mkold(pmd));
	copy_unlock(c);
}

#ifdef CONFIG_ARCH_ENABLE_THP_MIGRATION
/* The folio counts both when it is mapped again, and is nobody's alone then. */
static int copy_migrating(struct thp_copy *c)
{
	struct pte_leaf leaf = pmd_leaf_decode_migration(*c->src);

	if (leaf.flags & LEAF_EXCLUSIVE) {
		leaf.flags &= ~(LEAF_WRITE | LEAF_EXCLUSIVE);
		set_pmd_at(c->src_mm, c->addr, c->src, pmd_leaf_encode(&leaf));
	}
	if (!userfaultfd_wp(c->dst_vma))
		leaf.flags &= ~LEAF_UFFD_WP;
	add_mm_counter(c->dst_mm, MM_ANONPAGES, HPAGE_PMD_NR);
	copy_deposit(c);
	set_pmd_at(c->dst_mm, c->addr, c->dst, pmd_leaf_encode(&leaf));
	return 0;
}
#else
static int copy_migrating(struct thp_copy *c)
{
	return -EAGAIN;
}
#endif

/* Return: 0, or -EBUSY when the folio may be pinned, so that the child needs a copy now. */
static int copy_count(struct thp_copy *c, pmd_t pmd)
{
	struct folio *folio = pmd_folio(pmd);

	if (is_huge_zero_folio(folio)) {
		/* There is one, so it is not allocated: only the child's reference is taken. */
		mm_get_huge_zero_folio(c->dst_mm);
		return 0;
	}
	folio_get(folio);
	if (unlikely(folio_try_dup_anon_rmap_pmd(folio, pmd_page(pmd), c->src_vma))) {
		folio_put(folio);
		return -EBUSY;
	}
	add_mm_counter(c->dst_mm, MM_ANONPAGES, HPAGE_PMD_NR);
	return 0;
}

static int copy_present(struct thp_copy *c)
{
	pmd_t pmd = *c->src;

	if (copy_count(c, pmd))
		return -EBUSY;
	copy_deposit(c);
	pmdp_set_wrprotect(c->src_mm, c->addr, c->src);
	if (!userfaultfd_wp(c->dst_vma))
		pmd = pmd_clear_uffd_wp(pmd);
	set_pmd_at(c->dst_mm, c->addr, c->dst, pmd_mkold(pmd_wrprotect(pmd)));
	return 0;
}

static int copy_anon(struct thp_copy *c)
{
	int err = -EAGAIN;

	c->table = pte_alloc_one(c->dst_mm);
	if (unlikely(!c->table))
		return -ENOMEM;
	copy_lock(c);
	if (unlikely(is_swap_pmd(*c->src)))
		err = copy_migrating(c);
	else if (likely(pmd_trans_huge(*c->src)))
		err = copy_present(c);
	copy_unlock(c);
	if (c->table)
		pte_free(c->dst_mm, c->table);
	if (err != -EBUSY)
		return err;
	__split_huge_pmd(c->src_vma, c->src, c->addr, false, NULL);
	return -EAGAIN;
}

/**
 * copy_huge_pmd - fork() of a huge PMD
 * @dst_mm: the child
 * @src_mm: the parent
 * @dst_pmd: the child's PMD, empty
 * @src_pmd: the parent's
 * @addr: where it is, in both
 * @dst_vma: the child's VMA
 * @src_vma: the parent's
 *
 * Context: mmap_lock of both held for writing. Sleeps.
 * Return: 0; -EAGAIN when it is to be copied as a table; -ENOMEM.
 */
int copy_huge_pmd(struct mm_struct *dst_mm, struct mm_struct *src_mm, pmd_t *dst_pmd,
		  pmd_t *src_pmd, unsigned long addr, struct vm_area_struct *dst_vma,
		  struct vm_area_struct *src_vma)
{
	struct thp_copy c = {
		.dst_mm = dst_mm, .src_mm = src_mm, .dst_vma = dst_vma, .src_vma = src_vma,
		.dst = dst_pmd, .src = src_pmd, .addr = addr,
	};
	pmd_t pmd = pmdp_get_lockless(src_pmd);

	if (unlikely(pmd_present(pmd) && pmd_special(pmd))) {
		copy_special(&c);
		return 0;
	}
	return vma_is_anonymous(dst_vma) ? copy_anon(&c) : 0;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * VMAs found and locked for an operation of userfaultfd.
 *
 *	the VMA's own lock, under RCU
 *	   |
 *	   | taken by a writer just now, or no anon_vma yet
 *	   v
 *	mmap_lock for reading: nobody can be writing, so that the VMA's lock is free; or with it
 *	alone, where VMAs have no locks
 *
 * Who holds mmap_lock for reading may wait for a VMA's lock. Who holds one VMA's lock must wait for
 * nothing before it has the second: a writer that holds mmap_lock may have the second already, and
 * want the first. So two are tried under RCU, and else taken below mmap_lock together.
 */
#include <linux/rmap.h>

#include "uffd.h"

/* An anon_vma is wanted where new pages may be anonymous. */
static bool vma_is_prepared(struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_SHARED || vma->anon_vma;
}

/* With mmap_lock held. */
static struct vm_area_struct *vma_prepare(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma = vma_lookup(mm, addr);

	if (!vma)
		return ERR_PTR(-ENOENT);
	if (!vma_is_prepared(vma) && anon_vma_prepare(vma))
		return ERR_PTR(-ENOMEM);
	return vma;
}

static bool vma_has(struct vm_area_struct *vma, unsigned long addr)
{
	return addr >= vma->vm_start && addr < vma->vm_end;
}

/* With mmap_lock held: the destination's VMA ready for pages, the source's as it is. */
static int vma_find_two(struct mm_struct *mm, unsigned long dst, unsigned long src,
			struct vm_area_struct **dst_vma, struct vm_area_struct **src_vma)
{
	*dst_vma = vma_prepare(mm, dst);
	if (IS_ERR(*dst_vma))
		return PTR_ERR(*dst_vma);
	*src_vma = vma_has(*dst_vma, src) ? *dst_vma : vma_lookup(mm, src);
	return *src_vma ? 0 : -ENOENT;
}

#ifdef CONFIG_PER_VMA_LOCK
/**
 * uffd_vma_lock - find the VMA of an address and keep it from changing
 * @mm: the address space
 * @addr: the address
 *
 * Context: sleeps; nothing of @mm is locked. What was locked is given back by uffd_vma_unlock().
 * Return: the VMA, with an anon_vma if it can have anonymous pages; -ENOENT when there is none,
 * -ENOMEM.
 */
struct vm_area_struct *uffd_vma_lock(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma = lock_vma_under_rcu(mm, addr);

	if (vma && likely(vma_is_prepared(vma)))
		return vma;
	if (vma)
		vma_end_read(vma);

	mmap_read_lock(mm);
	vma = vma_prepare(mm, addr);
	/* vma_start_read() may say no for nothing. Nobody writes, so this does not wait. */
	if (!IS_ERR(vma))
		down_read(&vma->vm_lock->lock);
	mmap_read_unlock(mm);
	return vma;
}

/* As they are, without waiting. */
static bool vma_try_two(struct mm_struct *mm, unsigned long dst, unsigned long src,
			struct vm_area_struct **dst_vma, struct vm_area_struct **src_vma)
{
	*dst_vma = lock_vma_under_rcu(mm, dst);
	if (!*dst_vma)
		return false;
	if (vma_is_prepared(*dst_vma)) {
		*src_vma = vma_has(*dst_vma, src) ? *dst_vma : lock_vma_under_rcu(mm, src);
		if (*src_vma)
			return true;
	}
	vma_end_read(*dst_vma);
	return false;
}

/**
 * uffd_vma_lock_two - find the VMAs of two addresses and keep them from changing
 * @mm: the address space
 * @dst: an address that pages go to
 * @src: an address that they come from
 * @dst_vma: set to the VMA of @dst, with an anon_vma
 * @src_vma: set to the VMA of @src, which may be the same
 *
 * Context: sleeps; nothing of @mm is locked. What was locked is given back by
 * uffd_vma_unlock_two().
 * Return: 0; -ENOENT when there is none of one of them, -ENOMEM, with nothing locked.
 */
int uffd_vma_lock_two(struct mm_struct *mm, unsigned long dst, unsigned long src,
		      struct vm_area_struct **dst_vma, struct vm_area_struct **src_vma)
{
	int err;

	if (likely(vma_try_two(mm, dst, src, dst_vma, src_vma)))
		return 0;
	mmap_read_lock(mm);
	err = vma_find_two(mm, dst, src, dst_vma, src_vma);
	if (!err) {
		down_read(&(*dst_vma)->vm_lock->lock);
		if (*src_vma != *dst_vma)
			down_read_nested(&(*src_vma)->vm_lock->lock, SINGLE_DEPTH_NESTING);
	}
	mmap_read_unlock(mm);
	return err;
}

/**
 * uffd_vma_unlock_two - undo uffd_vma_lock_two()
 * @dst_vma: one VMA
 * @src_vma: the other, or the same
 */
void uffd_vma_unlock_two(struct vm_area_struct *dst_vma, struct vm_area_struct *src_vma)
{
	if (src_vma != dst_vma)
		vma_end_read(src_vma);
	vma_end_read(dst_vma);
}
#else /* !CONFIG_PER_VMA_LOCK */
struct vm_area_struct *uffd_vma_lock(struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *vma;

	mmap_read_lock(mm);
	vma = vma_prepare(mm, addr);
	if (IS_ERR(vma))
		mmap_read_unlock(mm);
	return vma;
}

int uffd_vma_lock_two(struct mm_struct *mm, unsigned long dst, unsigned long src,
		      struct vm_area_struct **dst_vma, struct vm_area_struct **src_vma)
{
	int err;

	mmap_read_lock(mm);
	err = vma_find_two(mm, dst, src, dst_vma, src_vma);
	if (err)
		mmap_read_unlock(mm);
	return err;
}

void uffd_vma_unlock_two(struct vm_area_struct *dst_vma, struct vm_area_struct *src_vma)
{
	mmap_read_unlock(dst_vma->vm_mm);
}
#endif

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * userfaultfd: memory that user space fills, moves and protects.
 *
 *	  ioctls (fs/userfaultfd/)			     PAGEMAP_SCAN
 *	     |		  |		    |		      |
 *	  fill.c	move.c		range.c	-------> protect.c
 *	     |		  |	  register, unregister,	  write protection
 *	     |		  |	  close				|
 *	     |		  +- move_run.c	   entries and folios, a run at a time
 *	     |		  +- move_swap.c   a page that is in swap	protect_run.c
 *	     |
 *	     +- fill_pages.c	anonymous memory: COPY	   -+
 *	     +- fill_large.c	the same, large folios	    |
 *	     +- zero.c		ZEROPAGE, POISON	    +-> install.c   entries of a table
 *	     +- fill_file.c	shared memory: CONTINUE	   -+
 *	     +- fill_hugetlb.c
 *
 *	vma.c	one VMA or two found and locked, for both
 *
 * A fill or a move goes table by table. For each the VMA and map_changing_lock are taken anew, so
 * that who changes the address space waits for one table's work at most.
 *
 * Locks, outermost first: the VMA (or mmap_lock, where VMAs have none); map_changing_lock;
 * hugetlb's fault mutex; folio; anon_vma; page tables, by the address of their locks.
 */
#ifndef MM_UFFD_UFFD_H
#define MM_UFFD_UFFD_H

#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/uaccess.h>
#include <linux/userfaultfd_k.h>

#include "../internal.h"

/* --- vma.c ------------------------------------------------------------------------------ */

struct vm_area_struct *uffd_vma_lock(struct mm_struct *mm, unsigned long addr);

static inline void uffd_vma_unlock(struct vm_area_struct *vma)
{
	if (IS_ENABLED(CONFIG_PER_VMA_LOCK))
		vma_end_read(vma);
	else
		mmap_read_unlock(vma->vm_mm);
}

int uffd_vma_lock_two(struct mm_struct *mm, unsigned long dst, unsigned long src,
		      struct vm_area_struct **dst_vma, struct vm_area_struct **src_vma);
void uffd_vma_unlock_two(struct vm_area_struct *dst_vma, struct vm_area_struct *src_vma);

/* --- fill ------------------------------------------------------------------------------- */

/**
 * struct fill - memory that is being filled
 * @ctx: for which userfaultfd
 * @flags: what to do, and MFILL_ATOMIC_WP
 * @dst: address of the first byte that is not filled
 * @src: for COPY: where its contents are
 * @end: of what is to be filled
 * @vma: has all from @dst to @end; locked, or NULL
 * @table_end: up to where the VMA stays locked; no farther than @dst's page table
 * @small_end: below this address only small pages are made
 * @pmd: of @dst: a table, but with hugetlb and when @huge
 * @huge: @pmd was empty, and may become a huge page
 */
struct fill {
	struct userfaultfd_ctx *ctx;
	uffd_flags_t flags;
	unsigned long dst;
	unsigned long src;
	unsigned long end;
	struct vm_area_struct *vma;
	unsigned long table_end;
	unsigned long small_end;
	pmd_t *pmd;
	bool huge;
};

/*
 * A step's results beside 0 and errors, when nothing was done: smaller pages may do it; there is
 * another hold now, so that all has to be looked at again.
 */
#define FILL_SMALLER	1
#define FILL_AGAIN	2

static inline bool fill_is(const struct fill *f, enum mfill_atomic_mode mode)
{
	return uffd_flags_mode_is(f->flags, mode);
}

static inline unsigned long fill_pages_left(const struct fill *f)
{
	return (f->table_end - f->dst) >> PAGE_SHIFT;
}

static inline void fill_advance(struct fill *f, unsigned long nr)
{
	f->dst += nr << PAGE_SHIFT;
	f->src += nr << PAGE_SHIFT;
}

/**
 * fill_copy_page - give a new page its contents
 * @page: the page
 * @src: where they are, in the caller's address space; not aligned
 *
 * Context: faults are off, or nothing is locked.
 * Return: whether all of it was copied.
 */
static __always_inline bool fill_copy_page(struct page *page, unsigned long src)
{
	void *to = kmap_local_page(page);
	unsigned long left = copy_from_user(to, (const void __user *)src, PAGE_SIZE);

	kunmap_local(to);
	flush_dcache_page(page);
	return !left;
}

/* fill.c */
pmd_t *uffd_pmd_alloc(struct mm_struct *mm, unsigned long addr);
int fill_begin(struct fill *f);
void fill_end(struct fill *f);

/* fill_pages.c */
int fill_pages(struct fill *f);
int fill_zeroed(struct fill *f);

/* fill_large.c */
#ifdef CONFIG_TRANSPARENT_HUGEPAGE
bool fill_may_be_huge(struct fill *f);
int fill_huge(struct fill *f);
int fill_large(struct fill *f);
#else
static inline bool fill_may_be_huge(struct fill *f)
{
	return false;
}

static inline int fill_huge(struct fill *f)
{
	return FILL_SMALLER;
}

static inline int fill_large(struct fill *f)
{
	return FILL_SMALLER;
}
#endif

/* zero.c */
int fill_zero(struct fill *f);
int fill_poison(struct fill *f);

/* fill_file.c */
#ifdef CONFIG_SHMEM
int fill_continue(struct fill *f);
int fill_continue_huge(struct fill *f);
int fill_shmem(struct fill *f);
#else
static inline int fill_continue_huge(struct fill *f)
{
	return FILL_SMALLER;
}

static inline int fill_continue(struct fill *f)
{
	return -EINVAL;
}

static inline int fill_shmem(struct fill *f)
{
	return -EINVAL;
}
#endif

/* fill_hugetlb.c */
#ifdef CONFIG_HUGETLB_PAGE
int fill_hugetlb_check(struct fill *f);
int fill_hugetlb(struct fill *f);
#else
static inline int fill_hugetlb_check(struct fill *f)
{
	return -EINVAL;
}

static inline int fill_hugetlb(struct fill *f)
{
	return -EINVAL;
}
#endif

/* install.c */
unsigned long pages_in_file(struct vm_area_struct *vma, unsigned long addr, unsigned long nr);

/**
 * uffd_pages_in_file - how many pages lie before the end of what the VMA maps?
 * @vma: the VMA
 * @addr: address of the first one
 * @nr: pages
 *
 * Context: the page table is locked: who makes a file shorter takes that lock after it has said so.
 * Return: 0 to @nr; @nr for anonymous memory.
 */
static inline unsigned long uffd_pages_in_file(struct vm_area_struct *vma, unsigned long addr,
					       unsigned long nr)
{
	return likely(vma_is_anonymous(vma)) ? nr : pages_in_file(vma, addr, nr);
}

int uffd_install_new(struct fill *f, struct folio **folios, unsigned int nr);
int uffd_install_large(struct fill *f, struct folio *folio);
int uffd_install_file(struct fill *f, struct folio *folio, struct page *page, unsigned long nr,
		      bool fresh);

/* --- move ------------------------------------------------------------------------------- */

/**
 * struct uffd_move - memory that is being moved
 * @ctx: for which userfaultfd
 * @mm: its address space, and the caller's
 * @mode: UFFDIO_MOVE_MODE_*
 * @dst: address of the first byte that nothing was moved to
 * @src: from where
 * @end: of the source
 * @table_end: of the source, up to where the VMAs stay locked; no farther than either page table
 * @dst_vma: has all of the destination; locked, or NULL
 * @src_vma: has all of the source, and is locked; may be the same
 * @dst_pmd: of @dst
 * @src_pmd: of @src
 * @tries: how often in a row something was busy
 */
struct uffd_move {
	struct userfaultfd_ctx *ctx;
	struct mm_struct *mm;
	u64 mode;
	unsigned long dst;
	unsigned long src;
	unsigned long end;
	unsigned long table_end;
	struct vm_area_struct *dst_vma;
	struct vm_area_struct *src_vma;
	pmd_t *dst_pmd;
	pmd_t *src_pmd;
	unsigned int tries;
};

/**
 * struct move_tables - both page tables of a move
 * @dst: the entry of uffd_move.dst
 * @src: the entry of uffd_move.src
 * @dst_ptl: the first one's lock
 * @src_ptl: the second one's; may be the same
 */
struct move_tables {
	pte_t *dst;
	pte_t *src;
	spinlock_t *dst_ptl;
	spinlock_t *src_ptl;
};

static inline unsigned long move_pages_left(const struct uffd_move *m)
{
	return (m->table_end - m->src) >> PAGE_SHIFT;
}

static inline void move_advance(struct uffd_move *m, unsigned long nr)
{
	m->dst += nr << PAGE_SHIFT;
	m->src += nr << PAGE_SHIFT;
}

/* move_run.c */
bool move_tables_lock(struct uffd_move *m, struct move_tables *t);
void move_tables_unlock(struct move_tables *t);
int move_entries(struct uffd_move *m);

/* move_swap.c */
int move_not_present(struct uffd_move *m, pte_t pte);

/* --- protect ---------------------------------------------------------------------------- */

/**
 * struct uffd_protect - memory of one VMA that is being write-protected, or is so no longer
 * @tlb: gathers what must be flushed
 * @vma: the VMA, not of hugetlb
 * @enable: protect?
 * @anonymous: all of its pages are anonymous, or the zero page
 * @markers: entries that map nothing are marked too
 * @upgrade: entries are made writable at once where a write would find nothing to do
 * @pages: that have changed
 */
struct uffd_protect {
	struct mmu_gather *tlb;
	struct vm_area_struct *vma;
	bool enable;
	bool anonymous;
	bool markers;
	bool upgrade;
	long pages;
};

/* protect_run.c */
bool uffd_protect_entries(struct uffd_protect *p, pmd_t *pmd, unsigned long addr,
			  unsigned long end);

#endif /* MM_UFFD_UFFD_H */

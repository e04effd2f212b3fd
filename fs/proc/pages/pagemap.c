// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/PID/pagemap: the array of entries, one for each page of the address space.
 *
 *	addresses  | hole    |VMA: |P P P|s|- - -|M M M M M M M ... |  hole
 *		   |         |     | run | |none |  one PMD entry   |
 *		    0 0 0 0	    f f+1 f+2	  F F+1 F+2 F+3
 *
 * A chunk of one page table, or 2048 pages of huge pages and holes, is looked at under the
 * mmap lock and copied out without it, so that a reader of a huge range lets writers of the
 * address space in after each. In a chunk everything is a run: a first value, and a step from
 * one page to the next, which is 1 in the frame number, or 1 in the offset of a swap entry,
 * or 0. Only what each page says for itself (its folio's kind, how often it is mapped) is
 * looked up page by page.
 *
 * Locks: mmap_lock for reading over a chunk; in it the lock of one page table.
 */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/pagewalk.h>
#include <linux/ptrace.h>
#include <linux/sched/mm.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/uaccess.h>
#include <linux/user_namespace.h>

#include "../../../mm/pte/run.h"
#include "../internal.h"
#include "kpage.h"
#include "pagemap.h"

/*
 * Pages that are looked at in one hold of the mmap lock: no more than one table of small ones,
 * which take longer, but several huge ones or holes.
 */
#define PAGEMAP_CHUNK	2048UL
#define PAGEMAP_ENOUGH	1

/* Reads of so few entries, which are many tools' only ones, need no memory for them. */
#define PAGEMAP_FEW	8

/**
 * struct pagemap_read - one chunk of entries being made
 * @out: where the next entry goes; never past the chunk, as each address comes once
 * @show_pfn: the reader may learn frame numbers and swap offsets
 */
struct pagemap_read {
	u64 *out;
	bool show_pfn;
};

/* Entries up to @end, each @step more than the one before: most of what a huge page costs. */
static __always_inline void pagemap_count_up(u64 *out, u64 *end, u64 value, const u64 step)
{
	unsigned int i;

	for (; end - out >= 16; out += 16, value += 16 * step) {
#pragma GCC unroll 16
		for (i = 0; i < 16; i++)
			out[i] = value + i * step;
	}
	for (; out < end; value += step)
		*out++ = value;
}

/*
 * @nr entries from @value on; with @frames the frame numbers in them count up. Only huge
 * mappings need it.
 */
static void __maybe_unused pagemap_put(struct pagemap_read *r, u64 value, bool frames,
				       unsigned long nr)
{
	if (frames)
		pagemap_count_up(r->out, r->out + nr, value, 1);
	else
		memset64(r->out, value, nr);
	r->out += nr;
}

/* What every entry of a VMA has. */
static u64 pagemap_vma_flags(const struct vm_area_struct *vma)
{
	return vma && vma->vm_flags & VM_SOFTDIRTY ? PM_SOFT_DIRTY : 0;
}

/* Nothing there: outside of VMAs, without a page table, or where no page may be shown. */
static int pagemap_hole(unsigned long start, unsigned long end, int depth, struct mm_walk *walk)
{
	struct pagemap_read *r = walk->private;
	unsigned long nr = (end - start) >> PAGE_SHIFT;

	memset64(r->out, pagemap_vma_flags(walk->vma), nr);
	r->out += nr;
	return 0;
}

/* A swap entry, of a PTE or a PMD: its type, and where, unless that is not to be shown. */
static u64 pagemap_swap(const struct pagemap_read *r, swp_entry_t entry, unsigned long index)
{
	u64 offset = is_pfn_swap_entry(entry) ? swp_offset_pfn(entry) : swp_offset(entry);

	if (!r->show_pfn)
		return PM_SWAP;
	return PM_SWAP | ((swp_type(entry) | (offset + index) << MAX_SWAPFILES_SHIFT) &
			  PM_PFRAME_MASK);
}

static u64 pagemap_swap_pte(const struct pagemap_read *r, pte_t pte)
{
	swp_entry_t entry = pte_to_swp_entry(pte);
	u64 value = pagemap_swap(r, entry, 0);

	if (pte_swp_soft_dirty(pte))
		value |= PM_SOFT_DIRTY;
	if (pte_swp_uffd_wp(pte) || pte_marker_entry_uffd_wp(entry))
		value |= PM_UFFD_WP;
	if (is_pfn_swap_entry(entry) && !folio_test_anon(pfn_swap_entry_folio(entry)))
		value |= PM_FILE;
	return value;
}

/* Pages that @others mappings have together, and each perhaps some of its own. */
static void pagemap_put_counted(struct pagemap_read *r, const struct page *page, u64 value,
				int others, unsigned long nr)
{
	u64 step = r->show_pfn;

	for (; nr; nr--, page++, value += step)
		*r->out++ = value | (atomic_read(&page->_mapcount) + 1 + others == 1 ?
				     PM_MMAP_EXCLUSIVE : 0);
}

/* All that a present entry says by itself. */
static __always_inline u64 pagemap_present(const struct pagemap_read *r, pte_t pte)
{
	u64 value = PM_PRESENT;

	if (r->show_pfn)
		value |= pte_pfn(pte) & PM_PFRAME_MASK;
	if (pte_soft_dirty(pte))
		value |= PM_SOFT_DIRTY;
	if (pte_uffd_wp(pte))
		value |= PM_UFFD_WP;
	return value;
}

/* What is not said by most: a file's page, or mapped more than once. */
static noinline u64 pagemap_unusual(const struct page *page, u64 value)
{
	if (!((unsigned long)READ_ONCE(page->mapping) & PAGE_MAPPING_ANON))
		value |= PM_FILE;
	if (atomic_read(&page->_mapcount))
		value &= ~PM_MMAP_EXCLUSIVE;
	return value;
}

/* An anonymous page that is mapped once? */
static __always_inline bool pagemap_ordinary(const struct page *page)
{
	/* Mapped under the table's lock, a page does not change its kind. */
	if (!((unsigned long)data_race(page->mapping) & PAGE_MAPPING_ANON))
		return false;
	/* That changes at any time: the answer is as old as all that is read here. */
	return !data_race(page->_mapcount.counter);
}

/* A small page. The table's lock keeps it mapped, and so what it is. */
static __always_inline u64 pagemap_small(const struct page *page, u64 value)
{
	if (likely(pagemap_ordinary(page)))
		return value | PM_MMAP_EXCLUSIVE;
	return pagemap_unusual(page, value | PM_MMAP_EXCLUSIVE);
}

/* Entries of a large folio's pages, as far as they are alike. Return: how many, at least 1. */
static unsigned long pagemap_large(struct pagemap_read *r, const struct page *page, u64 value,
				   pte_t *ptep, unsigned long max)
{
	const struct folio *folio = page_folio(page);
	unsigned long nr = 1;

	max = min3(max, kpage_folio_rest(folio, page), pagemap_map_rest(page_to_pfn(page)));
	/* Only where the entry itself says that it is ordinary, those like it are too. */
	if (IS_ENABLED(CONFIG_ARCH_HAS_PTE_SPECIAL))
		nr = pte_run_alike(ptep, ptep_get(ptep), max);
	if (!folio_test_anon(folio))
		value |= PM_FILE;
	pagemap_put_counted(r, page, value, atomic_read(&folio->_entire_mapcount) + 1, nr);
	return nr;
}

/* What maps no page of a folio. Return: how many entries were made. */
static noinline unsigned long pagemap_other(struct pagemap_read *r, pte_t *ptep, pte_t pte,
					    unsigned long max, u64 flags)
{
	unsigned long nr = 1;

	if (pte_present(pte)) {
		*r->out++ = pagemap_present(r, pte) | flags;
		return 1;
	}
	if (!pte_none(pte)) {
		*r->out++ = pagemap_swap_pte(r, pte) | flags;
		return 1;
	}
	while (nr < max && pte_none(ptep_get(ptep + nr)))
		nr++;
	memset64(r->out, flags, nr);
	r->out += nr;
	return nr;
}

/**
 * struct pagemap_memo - what the last entry said that mapped a page; most say the same
 * @bare: the entry, had it mapped frame 0
 * @flags: all that is shown of it but the frame
 * @frames: the bits of the frame that may be shown
 */
struct pagemap_memo {
	pte_t bare;
	u64 flags;
	u64 frames;
};

/*
 * How many entries from @ptep on say the same as the last, frame apart, of small anonymous pages
 * that are mapped once? Nothing of them but the frame is decoded, whichever order frames come
 * in. Bare entries are made so that the difference to one is the frame even where an entry
 * without access has its frame inverted.
 */
static noinline unsigned long pagemap_alike(u64 *out, const struct pagemap_memo *memo,
					    pte_t *ptep, unsigned long max)
{
	unsigned long nr = 0;
#ifdef CONFIG_X86_64
	const pteval_t shown = _PAGE_PRESENT | _PAGE_PROTNONE | _PAGE_SPECIAL | _PAGE_DEVMAP |
			       _PAGE_SOFT_DIRTY | _PAGE_UFFD_WP;
	const u64 flags = memo->flags | PM_MMAP_EXCLUSIVE, frames = memo->frames;
	const pteval_t bare = pte_val(memo->bare);
	const unsigned int above = BITS_PER_LONG - __PHYSICAL_MASK_SHIFT;
	const unsigned long end_pfn = max_pfn;

	for (; nr < max; nr++) {
		pteval_t differs = pte_val(ptep_get(ptep + nr)) ^ bare;
		const struct page *page;
		unsigned long pfn;

		if (unlikely(differs & shown))
			break;
		/* As by PTE_PFN_MASK, in two shifts: this loop is all that a read costs. */
		pfn = differs << above >> (above + PAGE_SHIFT);
		if (unlikely(pfn >= end_pfn))
			break;
		page = pfn_to_page(pfn);
		if (unlikely(kpage_large(page)) || unlikely(!pagemap_ordinary(page)))
			break;
		out[nr] = flags | (pfn & frames);
	}
#endif
	return nr;
}

/* The entries of a table from @ptep to before @end, @addr the address of the first. */
static void pagemap_entries(struct pagemap_read *r, struct vm_area_struct *vma, u64 flags,
			    pte_t *ptep, pte_t *end, unsigned long addr)
{
	struct pagemap_memo memo = { .frames = r->show_pfn ? PM_PFRAME_MASK : 0 };
	const struct page *page;
	unsigned long nr;

	for (; ptep < end; ptep += nr, addr += nr * PAGE_SIZE) {
		pte_t pte = ptep_get(ptep);
		u64 value;

		nr = 1;
		page = pte_present(pte) ? pagemap_page(vma, addr, pte) : NULL;
		if (unlikely(!page)) {
			nr = pagemap_other(r, ptep, pte, end - ptep, flags);
			continue;
		}
		value = pagemap_present(r, pte) | flags;
		if (kpage_large(page)) {
			nr = pagemap_large(r, page, value, ptep, end - ptep);
			continue;
		}
		*r->out++ = pagemap_small(page, value);
		if (nr == end - ptep)
			continue;
		memo.bare = pfn_pte(0, pte_pgprot(pte));
		memo.flags = value & ~PM_PFRAME_MASK;
		nr += pagemap_alike(r->out, &memo, ptep + 1, end - ptep - 1);
		r->out += nr - 1;
	}
}

/* One page table, or a part of it. */
static int pagemap_table(pmd_t *pmdp, unsigned long addr, unsigned long end,
			 struct mm_walk *walk)
{
	u64 flags = pagemap_vma_flags(walk->vma);
	spinlock_t *ptl;
	pte_t *ptep;

	ptep = pte_offset_map_lock(walk->mm, pmdp, addr, &ptl);
	if (!ptep) {
		/* It changed under us: the walk looks again. */
		walk->action = ACTION_AGAIN;
		return 0;
	}
	pagemap_entries(walk->private, walk->vma, flags, ptep,
			ptep + ((end - addr) >> PAGE_SHIFT), addr);
	pte_unmap_unlock(ptep, ptl);
	return PAGEMAP_ENOUGH;
}

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
/* A folio mapped as a whole, and perhaps elsewhere in parts. */
static void pagemap_huge_present(struct pagemap_read *r, pmd_t pmd, unsigned long index,
				 unsigned long nr, u64 value)
{
	const struct folio *folio = page_folio(pmd_page(pmd));
	const struct page *page = pmd_page(pmd) + index;

	value |= PM_PRESENT;
	if (r->show_pfn)
		value |= (pmd_pfn(pmd) + index) & PM_PFRAME_MASK;
	if (pmd_soft_dirty(pmd))
		value |= PM_SOFT_DIRTY;
	if (pmd_uffd_wp(pmd))
		value |= PM_UFFD_WP;
	if (!folio_test_anon(folio))
		value |= PM_FILE;
	/* Device memory comes in such entries too, without being a folio of that size. */
	if (!folio_test_large(folio))
		pagemap_put_counted(r, page, value, 0, nr);
	/* Nobody else maps any of it: the pages need not be asked. */
	else if (atomic_read(&folio->_large_mapcount) == 0)
		pagemap_put(r, value | PM_MMAP_EXCLUSIVE, r->show_pfn, nr);
	else
		pagemap_put_counted(r, page, value, atomic_read(&folio->_entire_mapcount) + 1,
				    nr);
}

static void pagemap_huge_swap(struct pagemap_read *r, pmd_t pmd, unsigned long index,
			      unsigned long nr, u64 value)
{
	swp_entry_t entry = pmd_to_swp_entry(pmd);

	value |= pagemap_swap(r, entry, index);
	if (pmd_swp_soft_dirty(pmd))
		value |= PM_SOFT_DIRTY;
	if (pmd_swp_uffd_wp(pmd))
		value |= PM_UFFD_WP;
	if (is_pfn_swap_entry(entry) && !folio_test_anon(pfn_swap_entry_folio(entry)))
		value |= PM_FILE;
	if (r->show_pfn)
		pagemap_count_up(r->out, r->out + nr, value, BIT(MAX_SWAPFILES_SHIFT));
	else
		memset64(r->out, value, nr);
	r->out += nr;
}

/* True when @pmdp was an entry of its own, and is done. */
static bool pagemap_huge(pmd_t *pmdp, unsigned long addr, unsigned long end,
			 struct mm_walk *walk)
{
	unsigned long index = (addr & ~PMD_MASK) >> PAGE_SHIFT, nr = (end - addr) >> PAGE_SHIFT;
	spinlock_t *ptl = pmd_trans_huge_lock(pmdp, walk->vma);
	struct pagemap_read *r = walk->private;
	u64 flags = pagemap_vma_flags(walk->vma);
	pmd_t pmd;

	if (!ptl)
		return false;
	pmd = *pmdp;
	if (pmd_present(pmd))
		pagemap_huge_present(r, pmd, index, nr, flags);
	else
		pagemap_huge_swap(r, pmd, index, nr, flags);
	spin_unlock(ptl);
	return true;
}
#else
static bool pagemap_huge(pmd_t *pmdp, unsigned long addr, unsigned long end,
			 struct mm_walk *walk)
{
	return false;
}
#endif

static int pagemap_pmd(pmd_t *pmdp, unsigned long addr, unsigned long end,
		       struct mm_walk *walk)
{
	if (pagemap_huge(pmdp, addr, end, walk))
		return 0;
	return pagemap_table(pmdp, addr, end, walk);
}

#ifdef CONFIG_HUGETLB_PAGE
/* A part of one hugetlb page. Its migration entries have never been shown as swap. */
static int pagemap_hugetlb(pte_t *ptep, unsigned long hmask, unsigned long addr,
			   unsigned long end, struct mm_walk *walk)
{
	struct pagemap_read *r = walk->private;
	u64 value = pagemap_vma_flags(walk->vma);
	pte_t pte = huge_ptep_get(walk->mm, addr, ptep);

	if (pte_present(pte)) {
		struct folio *folio = page_folio(pte_page(pte));

		value |= PM_PRESENT;
		if (!folio_test_anon(folio))
			value |= PM_FILE;
		if (!folio_likely_mapped_shared(folio) && !hugetlb_pmd_shared(ptep))
			value |= PM_MMAP_EXCLUSIVE;
		if (huge_pte_uffd_wp(pte))
			value |= PM_UFFD_WP;
		if (r->show_pfn)
			value |= (pte_pfn(pte) + ((addr & ~hmask) >> PAGE_SHIFT)) &
				 PM_PFRAME_MASK;
	} else if (pte_swp_uffd_wp_any(pte)) {
		value |= PM_UFFD_WP;
	}
	pagemap_put(r, value, value & PM_PRESENT && r->show_pfn, (end - addr) >> PAGE_SHIFT);
	return 0;
}
#else
#define pagemap_hugetlb NULL
#endif

static const struct mm_walk_ops pagemap_walk = {
	.pmd_entry = pagemap_pmd,
	.pte_hole = pagemap_hole,
	.hugetlb_entry = pagemap_hugetlb,
	.walk_lock = PGWALK_RDLOCK,
};

/* Entries of one chunk into @buf, up to @r->out; perhaps not all of them. */
static int pagemap_chunk(struct mm_struct *mm, unsigned long start, unsigned long end,
			 struct pagemap_read *r, u64 *buf)
{
	int err = mmap_read_lock_killable(mm);

	if (err)
		return err;
	r->out = buf;
	err = walk_page_range(mm, start, end, &pagemap_walk, r);
	mmap_read_unlock(mm);
	cond_resched();
	return err == PAGEMAP_ENOUGH ? 0 : err;
}

/* Entries from @start on, a chunk after the other. Bytes done, or why there is none. */
static ssize_t pagemap_range(struct mm_struct *mm, unsigned long start, unsigned long end,
			     struct pagemap_read *r, char __user *to)
{
	size_t most = min((end - start) >> PAGE_SHIFT, PAGEMAP_CHUNK);
	u64 few[PAGEMAP_FEW] __uninitialized, *buf = few;
	size_t done = 0, bytes, left;
	unsigned long next;
	ssize_t err = 0;

	if (most > PAGEMAP_FEW)
		buf = kmalloc_array(most, PM_ENTRY_BYTES, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	for (; start < end && !err; start += bytes / PM_ENTRY_BYTES * PAGE_SIZE) {
		next = ALIGN(start + 1, PAGEMAP_CHUNK * PAGE_SIZE);
		err = pagemap_chunk(mm, start, start + min(end - start, next - start), r, buf);
		if (err)
			break;
		bytes = (r->out - buf) * PM_ENTRY_BYTES;
		left = round_up(copy_to_user(to + done, buf, bytes), PM_ENTRY_BYTES);
		if (left)
			err = -EFAULT;
		done += bytes - left;
	}
	if (buf != few)
		kfree(buf);
	return done ?: err;
}

/*
 * The addresses that a position and a length stand for. A tag in the address is left out, as
 * in a pointer; what lies past the end of the address space is the end of the file.
 */
static int pagemap_bounds(struct mm_struct *mm, loff_t pos, size_t count, unsigned long *start,
			  unsigned long *end)
{
	u64 index = (u64)pos / PM_ENTRY_BYTES;
	int err;

	*start = *end = mm->task_size;
	if (index > ULONG_MAX >> PAGE_SHIFT)
		return 0;
	err = mmap_read_lock_killable(mm);
	if (err)
		return err;
	*start = min(untagged_addr_remote(mm, (unsigned long)index << PAGE_SHIFT),
		     mm->task_size);
	mmap_read_unlock(mm);
	count = min(count / PM_ENTRY_BYTES, (*end - *start) >> PAGE_SHIFT);
	*end = *start + (count << PAGE_SHIFT);
	return 0;
}

/**
 * pagemap_read - read entries
 * @file: the open file; whoever opened it decides what may be shown
 * @buf: the reader's buffer
 * @count: its length in bytes
 * @ppos: position in bytes; moved on by what was read
 *
 * Context: process, may sleep; takes the mmap lock of the process that is shown, for one page
 * table or 2048 pages of huge ones at a time.
 * Return: bytes read; 0 at the end of the address space and when it is gone; -EINVAL for a
 * position or length that is no multiple of 8; -EFAULT, -EINTR or -ENOMEM where that came
 * before the first entry.
 */
static ssize_t pagemap_read(struct file *file, char __user *buf, size_t count, loff_t *ppos)
{
	struct mm_struct *mm = file->private_data;
	struct pagemap_read r = {};
	unsigned long start, end;
	ssize_t ret;

	if (!mm || !mmget_not_zero(mm))
		return 0;
	ret = -EINVAL;
	if (*ppos % PM_ENTRY_BYTES || count % PM_ENTRY_BYTES)
		goto out;
	ret = count ? pagemap_bounds(mm, *ppos, count, &start, &end) : 0;
	if (ret || !count)
		goto out;

	/* Physical addresses help attackers: a reader that may not open kpageflags learns none. */
	r.show_pfn = file_ns_capable(file, &init_user_ns, CAP_SYS_ADMIN);
	ret = pagemap_range(mm, start, end, &r, buf);
	if (ret > 0)
		*ppos += ret;
out:
	mmput(mm);
	return ret;
}

static int pagemap_open(struct inode *inode, struct file *file)
{
	struct mm_struct *mm = proc_mem_open(inode, PTRACE_MODE_READ);

	/* A kernel thread has no address space to show. */
	if (IS_ERR_OR_NULL(mm))
		return mm ? PTR_ERR(mm) : -ESRCH;
	file->private_data = mm;
	return 0;
}

static int pagemap_release(struct inode *inode, struct file *file)
{
	if (file->private_data)
		mmdrop(file->private_data);
	return 0;
}

static long pagemap_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return cmd == PAGEMAP_SCAN ? pagemap_scan_ioctl(file->private_data, arg) : -EINVAL;
}

const struct file_operations proc_pagemap_operations = {
	.llseek = mem_lseek,
	.read = pagemap_read,
	.open = pagemap_open,
	.release = pagemap_release,
	.unlocked_ioctl = pagemap_ioctl,
	.compat_ioctl = pagemap_ioctl,
};

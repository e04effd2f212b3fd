// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/split_huge_pages, for tests: what is written says which folios to split.
 *
 *	1				all that are on an LRU list
 *	pid,0xstart,0xend[,order]	mapped by a process at these addresses
 *	/path,0xstart,0xend[,order]	in the page cache of a file at these pages
 *
 * Folios that cannot be split, or are in use, are left alone; that is no error.
 */
#include <linux/mm.h>
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/pagemap.h>
#include <linux/pagewalk.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "thp.h"

/* A path, three numbers. */
#define INPUT_MAX	(PATH_MAX + 64)

/**
 * struct split_request - what was written
 * @start: the first address, or the first page of a file
 * @end: where it ends
 * @order: of what is to be made
 */
struct split_request {
	unsigned long start;
	unsigned long end;
	unsigned int order;
};

/* Of a referenced folio. @mapping: of the file that it must be of; NULL for any, or none. */
static bool split_one(struct folio *folio, struct address_space *mapping, unsigned int order)
{
	bool split = false;

	if (!folio_trylock(folio))
		return false;
	if (!mapping || folio->mapping == mapping) {
		if (!folio_test_anon(folio) && folio->mapping)
			order = max(order, mapping_min_folio_order(folio->mapping));
		split = order < folio_order(folio) && !split_folio_to_order(folio, order);
	}
	folio_unlock(folio);
	return split;
}

/* --- all of memory ---------------------------------------------------------------------- */

/* Return: how many pages to go on from this one. */
static unsigned long split_pfn(struct zone *zone, unsigned long pfn)
{
	struct page *page = pfn_to_online_page(pfn);
	unsigned long nr = 1;
	struct folio *folio;

	/* Free, small or a tail: without touching anybody's reference count. */
	if (!page || !PageHead(page))
		return 1;
	folio = page_folio(page);
	if (!folio_try_get(folio))
		return 1;
	if (page_folio(page) == folio && folio_zone(folio) == zone && folio_test_large(folio) &&
	    folio_test_lru(folio) && !folio_test_hugetlb(folio)) {
		nr = folio_nr_pages(folio);
		split_one(folio, NULL, 0);
	}
	folio_put(folio);
	return nr;
}

static void split_all(void)
{
	struct zone *zone;

	for_each_populated_zone(zone) {
		unsigned long pfn = zone->zone_start_pfn, end = zone_end_pfn(zone);

		while (pfn < end) {
			pfn += split_pfn(zone, pfn);
			cond_resched();
		}
	}
}

/* --- a process -------------------------------------------------------------------------- */

/* How many entries from an address on map one of these frames? */
static unsigned long mapped_behind(struct vm_area_struct *vma, unsigned long addr,
				   unsigned long pfn, unsigned long nr)
{
	unsigned long end = min(vma->vm_end, (addr & PMD_MASK) + PMD_SIZE), start = addr;
	pmd_t *pmdp = mm_find_pmd(vma->vm_mm, addr);
	spinlock_t *ptl;
	pte_t *first, *ptep;

	first = pmdp ? pte_offset_map_lock(vma->vm_mm, pmdp, addr, &ptl) : NULL;
	if (!first)
		return 0;
	for (ptep = first; addr < end; addr += PAGE_SIZE, ptep++) {
		pte_t pte = ptep_get(ptep);

		if (!pte_present(pte) || pte_pfn(pte) - pfn >= nr)
			break;
	}
	pte_unmap_unlock(first, ptl);
	return (addr - start) >> PAGE_SHIFT;
}

/* Return: how many pages to go on. What was split is small, so that is passed over. */
static unsigned long split_address(struct vm_area_struct *vma, unsigned long addr,
				   unsigned int order)
{
	unsigned long step = 1, pfn, nr;
	struct folio_walk fw;
	struct folio *folio = folio_walk_start(&fw, vma, addr, 0);

	if (!folio)
		return 1;
	/* What is mapped by a PMD ends with that. */
	if (fw.level == FW_LEVEL_PMD)
		step = ((addr & PMD_MASK) + PMD_SIZE - addr) >> PAGE_SHIFT;
	pfn = folio_pfn(folio);
	nr = folio_nr_pages(folio);
	if (order >= folio_order(folio) || !folio_test_large_rmappable(folio) ||
	    is_huge_zero_folio(folio)) {
		folio_walk_end(&fw, vma);
		return step;
	}
	folio_get(folio);
	folio_walk_end(&fw, vma);
	if (split_one(folio, NULL, order))
		step = max(mapped_behind(vma, addr, pfn, nr), 1UL);
	folio_put(folio);
	return step;
}

static bool vma_has_folios(const struct vm_area_struct *vma)
{
	return !vma_is_special_huge(vma) && !(vma->vm_flags & VM_IO) && !is_vm_hugetlb_page(vma);
}

static void split_mm(struct mm_struct *mm, const struct split_request *rq)
{
	VMA_ITERATOR(vmi, mm, rq->start);
	struct vm_area_struct *vma;
	unsigned long addr, end;

	mmap_read_lock(mm);
	for_each_vma_range(vmi, vma, rq->end) {
		if (!vma_has_folios(vma))
			continue;
		addr = max(vma->vm_start, rq->start);
		end = min(vma->vm_end, rq->end);
		while (addr < end) {
			addr += split_address(vma, addr, rq->order) * PAGE_SIZE;
			cond_resched();
		}
	}
	mmap_read_unlock(mm);
}

static int split_process(pid_t pid, struct split_request *rq)
{
	struct task_struct *task = find_get_task_by_vpid(pid);
	struct mm_struct *mm;

	if (!task)
		return -ESRCH;
	mm = get_task_mm(task);
	put_task_struct(task);
	if (!mm)
		return -EINVAL;
	rq->start &= PAGE_MASK;
	rq->end &= PAGE_MASK;
	split_mm(mm, rq);
	mmput(mm);
	return 0;
}

/* --- a file ----------------------------------------------------------------------------- */

static int split_file(const char *path, const struct split_request *rq)
{
	struct file *file = filp_open(path, O_RDONLY | O_LARGEFILE, 0);
	unsigned long index = rq->start;
	struct address_space *mapping;

	if (IS_ERR(file))
		return PTR_ERR(file);
	mapping = file->f_mapping;
	while (index < rq->end) {
		struct folio *folio = filemap_get_folio(mapping, index);

		index++;
		if (IS_ERR(folio))
			continue;
		if (folio_test_large(folio)) {
			index = folio_next_index(folio);
			split_one(folio, mapping, rq->order);
		}
		folio_put(folio);
		cond_resched();
	}
	filp_close(file, NULL);
	return 0;
}

/* --- the file itself -------------------------------------------------------------------- */

/* "0xstart,0xend[,order]", and nothing after it. */
static bool request_parse(const char *text, struct split_request *rq)
{
	int end = 0, end_order = 0;

	rq->order = 0;
	if (sscanf(text, "0x%lx,0x%lx%n,%u%n", &rq->start, &rq->end, &end, &rq->order,
		   &end_order) < 2)
		return false;
	text += max(end, end_order);
	return (!*text || sysfs_streq(text, "")) && rq->order <= MAX_PAGE_ORDER;
}

static int request_do(char *text)
{
	struct split_request rq;
	char *rest = strchr(text, ',');
	pid_t pid;
	int err;

	if (sysfs_streq(text, "1")) {
		split_all();
		return 0;
	}
	if (!rest)
		return -EINVAL;
	*rest++ = '\0';
	if (!request_parse(rest, &rq))
		return -EINVAL;
	if (*text == '/')
		return split_file(text, &rq);
	err = kstrtoint(text, 10, &pid);
	return err ? -EINVAL : split_process(pid, &rq);
}

static ssize_t split_write(struct file *file, const char __user *buf, size_t count, loff_t *pos)
{
	static DEFINE_MUTEX(lock);
	char *text;
	int err;

	if (count > INPUT_MAX)
		return -EINVAL;
	text = memdup_user_nul(buf, count);
	if (IS_ERR(text))
		return PTR_ERR(text);
	err = mutex_lock_interruptible(&lock);
	if (!err) {
		err = request_do(text);
		mutex_unlock(&lock);
	}
	kfree(text);
	return err ?: count;
}

static const struct file_operations split_fops = {
	.owner = THIS_MODULE,
	.write = split_write,
};

static int __init thp_debugfs_init(void)
{
	debugfs_create_file("split_huge_pages", 0200, NULL, NULL, &split_fops);
	return 0;
}
late_initcall(thp_debugfs_init);

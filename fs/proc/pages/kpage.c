// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/kpagecount, kpageflags and kpagecgroup: reading, and the two short ones.
 *
 *	read(pos, count)
 *	  |   frames pos/8 ...			   position, length, end of file
 *	  v
 *	batch |s|s|h t t t|F F F F F F F F|s|...   up to 128 frames, which exist or do not
 *	  |     |    |          |
 *	  |   single large     free		   a run is looked at once
 *	  v
 *	copy_to_user()				   memory hotplug is let in between
 *
 * Locks: memmap_read_lock() over a batch, so that the memory map stays; nothing over the
 * copy, which may fault.
 */
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/memblock.h>
#include <linux/memcontrol.h>
#include <linux/memory_hotplug.h>
#include <linux/proc_fs.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "../../../mm/memmap/memmap.h"
#include "../internal.h"
#include "kpage.h"

/*
 * The first frame after the last: sections that were there at boot have a whole memory map,
 * even where memory ends inside of one.
 */
static unsigned long kpage_end(void)
{
#ifdef CONFIG_SPARSEMEM
	return round_up(max_pfn, PAGES_PER_SECTION);
#else
	return max_pfn;
#endif
}

/* Numbers for @nr frames from @pfn on, which lie in one block of KPAGE_BATCH. */
static void kpage_batch(u64 *out, unsigned long pfn, unsigned long nr, kpage_fill_t fill,
			u64 hole)
{
	struct page *page;
	int lock;

	lock = memmap_read_lock();
	page = pfn_to_online_page(pfn);
	if (page)
		fill(out, page, nr);
	else
		memset64(out, hole, nr);
	memmap_read_unlock(lock);
}

/**
 * kpage_read - read one of the files
 * @buf: the reader's buffer
 * @count: its length in bytes
 * @ppos: position in the file in bytes; moved on by what was read
 * @fill: writes the numbers of frames that exist
 * @hole: the number of one that does not
 *
 * Context: process, may sleep.
 * Return: bytes read, fewer than asked at the end of memory, before an address that cannot be
 * written and after a fatal signal; 0 past the end; -EINVAL for a position or length that is
 * no multiple of 8; -EFAULT or -EINTR where that came before the first number.
 */
static ssize_t kpage_read(char __user *buf, size_t count, loff_t *ppos, kpage_fill_t fill,
			  u64 hole)
{
	u64 batch[KPAGE_BATCH] __uninitialized;
	unsigned long pfn, end;
	size_t done = 0, bytes;
	ssize_t err = 0;

	if (*ppos % KPAGE_BYTES || count % KPAGE_BYTES)
		return -EINVAL;
	if ((u64)*ppos / KPAGE_BYTES >= kpage_end())
		return 0;
	pfn = *ppos / KPAGE_BYTES;
	end = pfn + min(count / KPAGE_BYTES, kpage_end() - pfn);

	while (pfn < end && !err) {
		unsigned long nr = min(end - pfn, KPAGE_BATCH - pfn % KPAGE_BATCH);

		kpage_batch(batch, pfn, nr, fill, hole);
		bytes = nr * KPAGE_BYTES;
		bytes -= round_up(copy_to_user(buf + done, batch, bytes), KPAGE_BYTES);
		if (bytes < nr * KPAGE_BYTES)
			err = -EFAULT;
		else if (fatal_signal_pending(current))
			err = -EINTR;
		done += bytes;
		pfn += nr;
		cond_resched();
	}
	*ppos += done;
	return done ?: err;
}

/* kpagecount: how many page table entries map the page. */

static __always_inline u64 kpage_mapcount(const struct page *page)
{
	int mapcount = atomic_read(&page->_mapcount) + 1;

	/* The field also says what is no page of user space, in values that no count reaches. */
	return page_mapcount_is_type(mapcount) ? 0 : mapcount;
}

static __always_inline u64 kpage_count_single(const struct page *page, struct kpage_memo *memo)
{
	return kpage_mapcount(page);
}

/* What maps the whole folio maps each page of it. */
static void kpage_count_large(u64 *out, const struct page *page, const struct folio *folio,
			      unsigned long nr, struct kpage_memo *memo)
{
	int entire = atomic_read(&folio->_entire_mapcount) + 1;

	for (; nr; nr--)
		*out++ = kpage_mapcount(page++) + entire;
}

static const struct kpage_file kpage_count = {
	.single = kpage_count_single,
	.large = kpage_count_large,
};

static void kpage_count_fill(u64 *out, const struct page *page, unsigned long nr)
{
	kpage_fill(&kpage_count, out, page, nr, NULL);
}

static ssize_t kpagecount_read(struct file *file, char __user *buf, size_t count, loff_t *ppos)
{
	return kpage_read(buf, count, ppos, kpage_count_fill, 0);
}

static const struct proc_ops kpagecount_proc_ops = {
	.proc_flags = PROC_ENTRY_PERMANENT,
	.proc_lseek = mem_lseek,
	.proc_read = kpagecount_read,
};

static ssize_t kpageflags_read(struct file *file, char __user *buf, size_t count, loff_t *ppos)
{
	return kpage_read(buf, count, ppos, kpage_flags_fill, BIT_ULL(KPF_NOPAGE));
}

static const struct proc_ops kpageflags_proc_ops = {
	.proc_flags = PROC_ENTRY_PERMANENT,
	.proc_lseek = mem_lseek,
	.proc_read = kpageflags_read,
};

#ifdef CONFIG_MEMCG
/* kpagecgroup: the inode number of the memory cgroup that the page is charged to. */

static noinline u64 kpage_cgroup_ask(const struct page *page, unsigned long key,
				     struct kpage_answer *kept, struct kpage_memo *memo)
{
	u64 ino = page_cgroup_ino((struct page *)page);

	/* Charged anew in between: this is the answer, but not that of the key. */
	if (READ_ONCE(page->memcg_data) == key) {
		memo->last = (struct kpage_answer){ key, ino };
		kept[1] = kept[0];
		kept[0] = memo->last;
	}
	return ino;
}

/*
 * Neighbours are often charged to one cgroup, or to few, so answers are kept, for one batch.
 * They may name a cgroup that goes away meanwhile; so may any answer, once it was given. Key 0
 * is that of pages that are not charged, and what an empty place holds is the answer to it.
 */
static __always_inline u64 kpage_cgroup_single(const struct page *page, struct kpage_memo *memo)
{
	unsigned long key = READ_ONCE(page->memcg_data);
	struct kpage_answer *kept;

	if (likely(key == memo->last.key))
		return memo->last.value;
	kept = memo->kept[hash_long(key, ilog2(KPAGE_MEMOS))];
	if (key != kept->key && unlikely(key != (++kept)->key))
		return kpage_cgroup_ask(page, key, kept - 1, memo);
	memo->last = *kept;
	return kept->value;
}

static void kpage_cgroup_large(u64 *out, const struct page *page, const struct folio *folio,
			       unsigned long nr, struct kpage_memo *memo)
{
	memset64(out, kpage_cgroup_single(&folio->page, memo), nr);
}

static const struct kpage_file kpage_cgroup = {
	.single = kpage_cgroup_single,
	.large = kpage_cgroup_large,
};

static void kpage_cgroup_fill(u64 *out, const struct page *page, unsigned long nr)
{
	struct kpage_memo memo = {};

	kpage_fill(&kpage_cgroup, out, page, nr, &memo);
}

static ssize_t kpagecgroup_read(struct file *file, char __user *buf, size_t count, loff_t *ppos)
{
	return kpage_read(buf, count, ppos, kpage_cgroup_fill, 0);
}

static const struct proc_ops kpagecgroup_proc_ops = {
	.proc_flags = PROC_ENTRY_PERMANENT,
	.proc_lseek = mem_lseek,
	.proc_read = kpagecgroup_read,
};
#endif /* CONFIG_MEMCG */

static int __init kpage_init(void)
{
	kpage_flags_init();
	proc_create("kpagecount", 0400, NULL, &kpagecount_proc_ops);
	proc_create("kpageflags", 0400, NULL, &kpageflags_proc_ops);
#ifdef CONFIG_MEMCG
	proc_create("kpagecgroup", 0400, NULL, &kpagecgroup_proc_ops);
#endif
	return 0;
}
fs_initcall(kpage_init);

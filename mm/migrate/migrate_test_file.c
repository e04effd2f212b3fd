// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the exchange in a file, of what is asked of its file system, and of what nodes and
 * zones count of it.
 */
#include <linux/backing-dev.h>
#include <linux/buffer_head.h>
#include <linux/initrd.h>
#include <linux/shmem_fs.h>
#include <linux/workqueue.h>

#include "migrate_test.h"

/* --- the exchange ----------------------------------------------------------------------- */

static void test_exchange(struct kunit *test)
{
	struct file *file = shmem_kernel_file_setup("migrate_test", SZ_64K, 0);
	struct address_space *mapping;
	struct folio *src, *dst;
	int refs;

	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	mapping = file->f_mapping;
	src = shmem_read_folio_gfp(mapping, 3, GFP_KERNEL);
	KUNIT_ASSERT_FALSE(test, IS_ERR(src));
	lru_add_drain();
	KUNIT_ASSERT_TRUE(test, folio_isolate_lru(src));
	folio_put(src);
	folio_lock(src);
	folio_set_dirty(src);
	memset(folio_address(src), 0x5a, PAGE_SIZE);
	dst = new_folio(test);
	refs = folio_ref_count(src);

	/* Somebody has a reference: nothing changes. */
	folio_get(src);
	KUNIT_EXPECT_EQ(test, -EAGAIN, migrate_folio(mapping, dst, src, MIGRATE_SYNC));
	KUNIT_EXPECT_PTR_EQ(test, xa_load(&mapping->i_pages, 3), (void *)src);
	KUNIT_EXPECT_PTR_EQ(test, dst->mapping, NULL);
	KUNIT_EXPECT_EQ(test, folio_ref_count(dst), 1);
	/* Unless its owner claims it. */
	KUNIT_EXPECT_EQ(test, 0, folio_migrate_mapping(mapping, dst, src, 1));
	folio_put(src);
	KUNIT_EXPECT_PTR_EQ(test, xa_load(&mapping->i_pages, 3), (void *)dst);
	KUNIT_EXPECT_EQ(test, folio_ref_count(dst), 2);
	KUNIT_EXPECT_EQ(test, folio_ref_count(src), refs - 1);
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(dst) && !folio_test_dirty(src));
	KUNIT_EXPECT_TRUE(test, folio_test_swapbacked(dst));
	folio_migrate_flags(dst, src);
	src->mapping = NULL;
	folio_unlock(src);
	folio_put(src);

	/* And back to a third one, contents and all. */
	src = dst;
	memset(folio_address(src), 0xa5, PAGE_SIZE);
	dst = new_folio(test);
	KUNIT_EXPECT_EQ(test, 0, migrate_contents(dst, src, MIGRATE_ASYNC));
	KUNIT_EXPECT_EQ(test, *(u8 *)(folio_address(dst) + PAGE_SIZE - 1), 0xa5);
	KUNIT_EXPECT_PTR_EQ(test, src->mapping, NULL);
	folio_unlock(src);
	folio_put(src);
	folio_unlock(dst);
	folio_add_lru(dst);
	folio_put(dst);
	fput(file);
}

/* --- files ------------------------------------------------------------------------------ */

/* A folio of a file, isolated and locked, with what it has for writing given by the test. */
struct filed {
	struct file *file;
	struct address_space *mapping;
	const struct address_space_operations *ops;
	struct folio *src;
};

static void file_folio(struct kunit *test, struct filed *f, gfp_t gfp)
{
	f->file = shmem_kernel_file_setup("migrate_test", SZ_64K, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(f->file));
	f->mapping = f->file->f_mapping;
	f->ops = f->mapping->a_ops;
	f->src = shmem_read_folio_gfp(f->mapping, 3, gfp);
	KUNIT_ASSERT_FALSE(test, IS_ERR(f->src));
	lru_add_drain();
	KUNIT_ASSERT_TRUE(test, folio_isolate_lru(f->src));
	folio_put(f->src);
	folio_lock(f->src);
	folio_clear_dirty(f->src);
}

/* @dst is in its place, or it is still there itself if @dst is NULL. */
static void file_folio_done(struct filed *f, struct folio *dst)
{
	f->mapping->a_ops = f->ops;
	folio_unlock(f->src);
	if (!dst)
		folio_add_lru(f->src);
	folio_put(f->src);
	if (dst) {
		folio_unlock(dst);
		folio_add_lru(dst);
		folio_put(dst);
	}
	fput(f->file);
}

static void test_inaccessible(struct kunit *test)
{
	struct folio *dst = new_folio(test);
	struct filed f;

	file_folio(test, &f, GFP_KERNEL);
	mapping_set_inaccessible(f.mapping);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, migrate_contents(dst, f.src, MIGRATE_SYNC));
	KUNIT_EXPECT_PTR_EQ(test, f.src->mapping, f.mapping);
	KUNIT_EXPECT_PTR_EQ(test, dst->mapping, NULL);
	folio_unlock(dst);
	folio_put(dst);
	file_folio_done(&f, NULL);
}

/* A file system that cannot move folios, and how it writes them. */
static struct {
	unsigned int calls;
	int ret;
} written;

static int fs_writepage(struct page *page, struct writeback_control *wbc)
{
	written.calls++;
	if (written.ret != AOP_WRITEPAGE_ACTIVATE)
		unlock_page(page);
	return written.ret;
}

static const struct address_space_operations fs_read_only = {
	.dirty_folio = noop_dirty_folio,
};

static const struct address_space_operations fs_writing = {
	.dirty_folio = noop_dirty_folio,
	.writepage = fs_writepage,
};

static void expect_writes(struct kunit *test, struct filed *f, struct folio *dst, int ret, int err)
{
	written.calls = 0;
	written.ret = ret;
	folio_set_dirty(f->src);
	KUNIT_EXPECT_EQ(test, err, migrate_contents(dst, f->src, MIGRATE_SYNC));
	KUNIT_EXPECT_EQ(test, written.calls, 1);
	KUNIT_EXPECT_FALSE(test, folio_test_dirty(f->src));
	KUNIT_EXPECT_TRUE(test, folio_test_locked(f->src));
	KUNIT_EXPECT_PTR_EQ(test, f->src->mapping, f->mapping);
	/* For what comes next, if it was not. */
	if (!folio_test_locked(f->src))
		folio_lock(f->src);
}

/* Clean folios are moved without help; dirty ones are written first, if that may be waited for. */
static void test_without_help(struct kunit *test)
{
	struct folio *dst = new_folio(test);
	struct filed f;

	file_folio(test, &f, GFP_KERNEL);
	f.mapping->a_ops = &fs_writing;
	written.calls = 0;
	folio_set_dirty(f.src);
	KUNIT_EXPECT_EQ(test, -EBUSY, migrate_contents(dst, f.src, MIGRATE_ASYNC));
	KUNIT_EXPECT_EQ(test, -EBUSY, migrate_contents(dst, f.src, MIGRATE_SYNC_LIGHT));
	KUNIT_EXPECT_EQ(test, written.calls, 0);
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(f.src));
	f.mapping->a_ops = &fs_read_only;
	KUNIT_EXPECT_EQ(test, -EINVAL, migrate_contents(dst, f.src, MIGRATE_SYNC));
	KUNIT_EXPECT_TRUE(test, folio_test_dirty(f.src));
	f.mapping->a_ops = &fs_writing;
	expect_writes(test, &f, dst, 0, -EINPROGRESS);
	expect_writes(test, &f, dst, AOP_WRITEPAGE_ACTIVATE, -EINPROGRESS);
	expect_writes(test, &f, dst, -ENOSPC, -EIO);
	KUNIT_EXPECT_PTR_EQ(test, xa_load(&f.mapping->i_pages, 3), (void *)f.src);
	KUNIT_EXPECT_EQ(test, 0, migrate_contents(dst, f.src, MIGRATE_ASYNC));
	KUNIT_EXPECT_PTR_EQ(test, xa_load(&f.mapping->i_pages, 3), (void *)dst);
	file_folio_done(&f, dst);
}

/* A file system whose writing goes on for a while after it has been asked for. */
static struct {
	struct delayed_work work;
	struct folio *folio;
	bool moved;
} writing;

static void fs_written(struct work_struct *work)
{
	writing.moved = !READ_ONCE(writing.folio->mapping);
	folio_end_writeback(writing.folio);
}

static int fs_write_later(struct page *page, struct writeback_control *wbc)
{
	written.calls++;
	writing.folio = page_folio(page);
	folio_start_writeback(writing.folio);
	folio_unlock(writing.folio);
	schedule_delayed_work(&writing.work, msecs_to_jiffies(50));
	return 0;
}

static const struct address_space_operations fs_slow = {
	.dirty_folio = noop_dirty_folio,
	.writepage = fs_write_later,
};

/* Nobody maps the folio, so only its being written says that the next try has to wait. */
static void test_written_later(struct kunit *test)
{
	struct migration_target_control mtc = { .nid = NUMA_NO_NODE, .gfp_mask = GFP_KERNEL };
	struct filed f;
	LIST_HEAD(list);

	file_folio(test, &f, GFP_KERNEL);
	f.mapping->a_ops = &fs_slow;
	written.calls = 0;
	INIT_DELAYED_WORK(&writing.work, fs_written);
	folio_set_dirty(f.src);
	folio_unlock(f.src);
	list_add(&f.src->lru, &list);
	node_stat_mod_folio(f.src, NR_ISOLATED_ANON + folio_is_file_lru(f.src), 1);
	KUNIT_EXPECT_EQ(test, 0, migrate_pages(&list, alloc_migration_target, NULL,
					       (unsigned long)&mtc, MIGRATE_SYNC,
					       MR_SYSCALL, NULL));
	KUNIT_EXPECT_EQ(test, written.calls, 1);
	flush_delayed_work(&writing.work);
	KUNIT_EXPECT_FALSE_MSG(test, writing.moved, "moved while it was being written");
	if (!list_empty(&list))
		putback_movable_pages(&list);
	f.mapping->a_ops = f.ops;
	fput(f.file);
}

static bool all_buffers(struct folio *folio, bool locked)
{
	struct buffer_head *head = folio_buffers(folio), *bh = head;

	do {
		if (buffer_locked(bh) != locked || bh->b_folio != folio)
			return false;
		bh = bh->b_this_page;
	} while (bh != head);
	return true;
}

static void test_buffers(struct kunit *test)
{
	struct folio *dst = new_folio(test), *third;
	struct buffer_head *head, *second;
	struct filed f;

	file_folio(test, &f, GFP_KERNEL);
	head = create_empty_buffers(f.src, SZ_1K, 0);
	second = head->b_this_page;
	/* A buffer is read or written: those before it are unlocked again, it is not. */
	lock_buffer(second);
	KUNIT_EXPECT_EQ(test, -EAGAIN,
			buffer_migrate_folio(f.mapping, dst, f.src, MIGRATE_ASYNC));
	KUNIT_EXPECT_FALSE(test, buffer_locked(head));
	KUNIT_EXPECT_TRUE(test, buffer_locked(second));
	clear_buffer_locked(head);
	/* Waited for in this mode only when it is being written. */
	clear_buffer_uptodate(second);
	KUNIT_EXPECT_EQ(test, -EAGAIN,
			buffer_migrate_folio(f.mapping, dst, f.src, MIGRATE_SYNC_LIGHT));
	set_buffer_uptodate(second);
	KUNIT_EXPECT_FALSE(test, buffer_locked(head));
	KUNIT_EXPECT_TRUE(test, buffer_locked(second));
	clear_buffer_locked(head);
	unlock_buffer(second);
	/* Somebody uses a buffer: only who does that with the folio locked does not mind. */
	get_bh(second);
	KUNIT_EXPECT_EQ(test, -EAGAIN,
			buffer_migrate_folio_norefs(f.mapping, dst, f.src, MIGRATE_SYNC));
	KUNIT_EXPECT_TRUE(test, all_buffers(f.src, false));
	KUNIT_EXPECT_PTR_EQ(test, folio_buffers(dst), NULL);
	if (folio_buffers(dst))
		goto out;
	KUNIT_EXPECT_EQ(test, 0, buffer_migrate_folio(f.mapping, dst, f.src, MIGRATE_SYNC));
	put_bh(second);
	KUNIT_EXPECT_PTR_EQ(test, folio_buffers(dst), head);
	KUNIT_EXPECT_PTR_EQ(test, folio_buffers(f.src), NULL);
	KUNIT_EXPECT_TRUE(test, all_buffers(dst, false));
	third = new_folio(test);
	f.src->mapping = NULL;
	folio_unlock(f.src);
	folio_put(f.src);
	f.src = dst;
	dst = third;
	KUNIT_EXPECT_EQ(test, 0, buffer_migrate_folio_norefs(f.mapping, dst, f.src, MIGRATE_SYNC));
	KUNIT_EXPECT_TRUE(test, all_buffers(dst, false));
out:
	f.src->mapping = NULL;
	try_to_free_buffers(dst);
	file_folio_done(&f, dst);
}

/* --- what nodes and zones count ---------------------------------------------------------- */

/* While a CPU's part is added to the sum it is in neither, or in both. */
static long node_count_once(int node, enum node_stat_item item)
{
	struct pglist_data *pgdat = NODE_DATA(node);
	long n = atomic_long_read(&pgdat->vm_stat[item]);
	int cpu;

	for_each_possible_cpu(cpu)
		n += per_cpu_ptr(pgdat->per_cpu_nodestats, cpu)->vm_node_stat_diff[item];
	return n;
}

static long node_count(int node, enum node_stat_item item)
{
	long n = node_count_once(node, item), was;

	do {
		was = n;
		n = node_count_once(node, item);
	} while (n != was);
	return n;
}

static long zone_count_once(struct folio *folio, enum zone_stat_item item)
{
	struct zone *zone = folio_zone(folio);
	long n = atomic_long_read(&zone->vm_stat[item]);
	int cpu;

	for_each_possible_cpu(cpu)
		n += per_cpu_ptr(zone->per_cpu_zonestats, cpu)->vm_stat_diff[item];
	return n;
}

static long zone_count(struct folio *folio, enum zone_stat_item item)
{
	long n = zone_count_once(folio, item), was;

	do {
		was = n;
		n = zone_count_once(folio, item);
	} while (n != was);
	return n;
}

static const enum node_stat_item counted[] = { NR_FILE_PAGES, NR_SHMEM, NR_FILE_DIRTY };

/* A file folio that is in a cache, dirty, moves; @gfp and @node say from where and to where. */
static void expect_counts(struct kunit *test, gfp_t from_gfp, int from, gfp_t to_gfp, int to)
{
	struct folio *src, *dst = __folio_alloc_node(to_gfp | __GFP_THISNODE | __GFP_NOWARN, 0, to);
	static struct backing_dev_info bdi = { .capabilities = BDI_CAP_WRITEBACK };
	static struct super_block sb = { .s_bdi = &bdi };
	long was[2][ARRAY_SIZE(counted)], pending[2];
	struct super_block *sb_was;
	struct filed f;
	unsigned int i;
	int gone;

	file_folio(test, &f, GFP_KERNEL);
	/* To where it is to come from. */
	src = __folio_alloc_node(from_gfp | __GFP_THISNODE | __GFP_NOWARN, 0, from);
	if (!src || !dst) {
		kunit_info(test, "no memory there");
		goto out;
	}
	folio_lock(src);
	folio_lock(dst);
	KUNIT_ASSERT_EQ(test, 0, migrate_contents(src, f.src, MIGRATE_ASYNC));
	folio_unlock(f.src);
	folio_put(f.src);
	f.src = src;
	gone = folio_zone(src) != folio_zone(dst);
	folio_set_dirty(src);
	for (i = 0; i < ARRAY_SIZE(counted); i++) {
		was[0][i] = node_count(from, counted[i]);
		was[1][i] = node_count(to, counted[i]);
	}
	pending[0] = zone_count(src, NR_ZONE_WRITE_PENDING);
	pending[1] = zone_count(dst, NR_ZONE_WRITE_PENDING);
	/* A file that can be written back, for as long as that. */
	sb_was = f.mapping->host->i_sb;
	f.mapping->host->i_sb = &sb;
	KUNIT_EXPECT_EQ(test, 0, migrate_contents(dst, src, MIGRATE_ASYNC));
	f.mapping->host->i_sb = sb_was;
	for (i = 0; i < ARRAY_SIZE(counted); i++) {
		KUNIT_EXPECT_EQ(test, was[0][i] - node_count(from, counted[i]), from != to);
		KUNIT_EXPECT_EQ(test, node_count(to, counted[i]) - was[1][i], from != to);
	}
	KUNIT_EXPECT_EQ(test, pending[0] - zone_count(src, NR_ZONE_WRITE_PENDING), gone);
	KUNIT_EXPECT_EQ(test, zone_count(dst, NR_ZONE_WRITE_PENDING) - pending[1], gone);
	/* Nobody has counted it as dirty in fact. */
	mod_node_page_state(NODE_DATA(from), NR_FILE_DIRTY, from != to);
	mod_node_page_state(NODE_DATA(to), NR_FILE_DIRTY, -(from != to));
	mod_zone_page_state(folio_zone(src), NR_ZONE_WRITE_PENDING, gone);
	mod_zone_page_state(folio_zone(dst), NR_ZONE_WRITE_PENDING, -gone);
	folio_clear_dirty(dst);
	file_folio_done(&f, dst);
	return;
out:
	if (src)
		folio_put(src);
	if (dst)
		folio_put(dst);
	file_folio_done(&f, NULL);
}

static void test_counts(struct kunit *test)
{
	int first = first_memory_node, last = first, node;

	/* Which fills a page cache meanwhile. */
	wait_for_initramfs();
	for_each_node_state(node, N_MEMORY)
		last = node;
	expect_counts(test, GFP_HIGHUSER, first, GFP_HIGHUSER, last);
	expect_counts(test, GFP_HIGHUSER, last, GFP_HIGHUSER, first);
	expect_counts(test, GFP_HIGHUSER, first, GFP_HIGHUSER, first);
	/* Within a node the zones differ. */
	for_each_node_state(node, N_MEMORY) {
		expect_counts(test, GFP_HIGHUSER, node, GFP_USER | GFP_DMA32, node);
		expect_counts(test, GFP_USER | GFP_DMA32, node, GFP_HIGHUSER, node);
		expect_counts(test, GFP_USER | GFP_DMA, node, GFP_HIGHUSER, node);
	}
}

/* The swap cache has an entry for each page of a large folio, and each has to follow. */
static void test_slots(struct kunit *test)
{
	struct folio *src = folio_alloc(GFP_HIGHUSER_MOVABLE | __GFP_COMP, 4), *dst, *other[8];
	swp_entry_t entry = swp_entry(1, 0x30);
	static struct address_space mapping;
	unsigned int i, others = 0;
	pgoff_t at;

	KUNIT_ASSERT_NOT_NULL(test, src);
	/* In the same zone, so that nothing is counted. */
	while ((dst = __folio_alloc_node(GFP_HIGHUSER_MOVABLE | __GFP_COMP, 4, folio_nid(src))) &&
	       folio_zone(dst) != folio_zone(src) && others < ARRAY_SIZE(other))
		other[others++] = dst;
	while (others)
		folio_put(other[--others]);
	KUNIT_ASSERT_NOT_NULL(test, dst);
	KUNIT_ASSERT_PTR_EQ(test, folio_zone(dst), folio_zone(src));
	xa_init_flags(&mapping.i_pages, XA_FLAGS_LOCK_IRQ);
	folio_lock(src);
	folio_lock(dst);
	src->swap = entry;
	folio_set_swapbacked(src);
	folio_set_swapcache(src);
	at = folio_index(src);
	for (i = 0; i < 16; i++)
		xa_store(&mapping.i_pages, at + i, src, GFP_KERNEL);
	folio_ref_add(src, 16);
	KUNIT_EXPECT_EQ(test, -EAGAIN, migrate_exchange(&mapping, dst, src, 16));
	KUNIT_EXPECT_EQ(test, 0, migrate_exchange(&mapping, dst, src, 17));
	for (i = 0; i < 16; i++)
		KUNIT_EXPECT_PTR_EQ(test, xa_load(&mapping.i_pages, at + i), (void *)dst);
	KUNIT_EXPECT_PTR_EQ(test, xa_load(&mapping.i_pages, at + 16), NULL);
	KUNIT_EXPECT_EQ(test, dst->swap.val, entry.val);
	KUNIT_EXPECT_TRUE(test, folio_test_swapcache(dst));
	KUNIT_EXPECT_EQ(test, folio_ref_count(dst), 17);
	KUNIT_EXPECT_EQ(test, folio_ref_count(src), 1);
	xa_destroy(&mapping.i_pages);
	folio_clear_swapcache(src);
	folio_clear_swapcache(dst);
	src->private = NULL;
	dst->private = NULL;
	folio_ref_sub(dst, 16);
	folio_unlock(src);
	folio_unlock(dst);
	folio_put(src);
	folio_put(dst);
}

/* --- NUMA balancing ----------------------------------------------------------------------- */

static void test_misplaced(struct kunit *test)
{
	struct file *file = shmem_kernel_file_setup("migrate_test", SZ_64K, 0);
	struct folio *folio = folio_alloc(GFP_HIGHUSER_MOVABLE, 0);
	static struct vm_area_struct vma;
	int from = folio_nid(folio), to;
	long isolated;

	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	KUNIT_ASSERT_NOT_NULL(test, folio);
	to = next_node_in(from, node_states[N_MEMORY]);
	folio_mark_uptodate(folio);
	KUNIT_ASSERT_EQ(test, 0, filemap_add_folio(file->f_mapping, folio, 3, GFP_KERNEL));
	lru_add_drain();
	isolated = node_count(from, NR_ISOLATED_FILE);
	/* It would have to be written first. */
	folio_set_dirty(folio);
	folio_unlock(folio);
	KUNIT_EXPECT_EQ(test, -EAGAIN, migrate_misplaced_folio_prepare(folio, &vma, to));
	KUNIT_EXPECT_TRUE(test, folio_test_lru(folio));
	folio_clear_dirty(folio);
	/* Somebody has it, besides the cache: it is put back. */
	KUNIT_ASSERT_EQ(test, 0, migrate_misplaced_folio_prepare(folio, &vma, to));
	KUNIT_EXPECT_FALSE(test, folio_test_lru(folio));
	KUNIT_EXPECT_EQ(test, node_count(from, NR_ISOLATED_FILE), isolated + 1);
	KUNIT_EXPECT_EQ(test, -EAGAIN, migrate_misplaced_folio(folio, &vma, to));
	lru_add_drain();
	KUNIT_EXPECT_TRUE(test, folio_test_lru(folio));
	KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 2);
	KUNIT_EXPECT_EQ(test, node_count(from, NR_ISOLATED_FILE), isolated);
	if (!folio_test_lru(folio))
		return;
	/* Nobody does any more. */
	KUNIT_ASSERT_EQ(test, 0, migrate_misplaced_folio_prepare(folio, &vma, to));
	folio_put(folio);
	KUNIT_EXPECT_EQ(test, 0, migrate_misplaced_folio(folio, &vma, to));
	KUNIT_EXPECT_EQ(test, node_count(from, NR_ISOLATED_FILE), isolated);
	folio = filemap_get_folio(file->f_mapping, 3);
	KUNIT_ASSERT_FALSE(test, IS_ERR(folio));
	KUNIT_EXPECT_EQ(test, folio_nid(folio), to);
	folio_put(folio);
	truncate_inode_pages(file->f_mapping, 0);
	fput(file);
}

static struct kunit_case migrate_file_cases[] = {
	KUNIT_CASE(test_exchange),
	KUNIT_CASE(test_inaccessible),
	KUNIT_CASE(test_without_help),
	KUNIT_CASE(test_written_later),
	KUNIT_CASE(test_buffers),
	KUNIT_CASE(test_counts),
	KUNIT_CASE(test_slots),
	KUNIT_CASE(test_misplaced),
	{}
};

static struct kunit_suite migrate_file_suite = {
	.name = "foliage_migrate_file",
	.test_cases = migrate_file_cases,
};

kunit_test_suite(migrate_file_suite);

// SPDX-License-Identifier: GPL-2.0
/*
 * A file that somebody may come to write to: what is dirty is written before folios are locked,
 * what is missing is read, and then nobody is let in until the huge page is there or not.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/swap.h>

#include "file.h"

/* A file whose file system knows of no huge pages. Shmem does, and so do some file systems. */
static bool file_needs_fence(const struct file_collapse *c)
{
	return !c->shmem && !mapping_large_folio_support(c->mapping);
}

static bool file_is_clean(const struct file_collapse *c)
{
	return !mapping_tagged(c->mapping, PAGECACHE_TAG_DIRTY) &&
	       !mapping_tagged(c->mapping, PAGECACHE_TAG_WRITEBACK);
}

/* khugepaged does not wait for disks to write; it comes by again. */
static enum scan_result file_write_out(struct file_collapse *c)
{
	if (!file_needs_fence(c) || file_is_clean(c))
		return SCAN_SUCCEED;
	if (!c->by->khugepaged)
		return filemap_write_and_wait(c->mapping) ? SCAN_FAIL : SCAN_SUCCEED;
	filemap_flush(c->mapping);
	return SCAN_FAIL;
}

/* What is missing of a file is read. */
static enum scan_result file_read_in(struct file_collapse *c)
{
	pgoff_t index, next;
	struct folio *folio;

	for (index = c->first; index < file_end(c); index = next) {
		folio = filemap_get_folio(c->mapping, index);
		if (IS_ERR(folio)) {
			page_cache_sync_readahead(c->mapping, &c->file->f_ra, c->file, index,
						  file_end(c) - index);
			lru_add_drain();
			folio = filemap_get_folio(c->mapping, index);
		}
		if (IS_ERR(folio))
			return SCAN_FAIL;
		/* Until it is there. */
		folio_wait_locked(folio);
		next = folio_next_index(folio);
		folio_put(folio);
	}
	return SCAN_SUCCEED;
}

/**
 * collapse_file_ready - write out and read in what has to be, before any folio is locked
 * @c: the collapse
 *
 * Who reads or writes locks folios, and the mapping.
 *
 * Context: sleeps, for as long as disks take.
 * Return: SCAN_SUCCEED or SCAN_FAIL.
 */
enum scan_result collapse_file_ready(struct file_collapse *c)
{
	enum scan_result result = file_write_out(c);

	return result == SCAN_SUCCEED && !c->shmem && !c->complete ? file_read_in(c) : result;
}

/* What a writer that is gone has left dirty: not in the range, which is locked and clean. */
static bool file_write_rest(struct file_collapse *c)
{
	loff_t start = (loff_t)c->first << PAGE_SHIFT;

	if (file_is_clean(c))
		return true;
	return (!start || !filemap_write_and_wait_range(c->mapping, 0, start - 1)) &&
	       !filemap_write_and_wait_range(c->mapping, start + HPAGE_PMD_SIZE, LLONG_MAX);
}

static bool file_has_no_writer(struct file_collapse *c)
{
	if (inode_is_open_for_write(c->mapping->host))
		return false;
	filemap_nr_thps_inc(c->mapping);
	/* With the one of get_write_access() in do_dentry_open(). */
	smp_mb();
	if (!inode_is_open_for_write(c->mapping->host) && file_write_rest(c))
		return true;
	filemap_nr_thps_dec(c->mapping);
	return false;
}

/**
 * collapse_file_fence - see to it that nobody writes, and that who comes to write waits
 * @c: the collapse, GATHERED
 *
 * Who opens such a file for writing throws its page cache away, if it sees that there is a huge
 * page: so nothing in it may be dirty. The huge page is counted, and then it is looked whether
 * somebody has the file open: of the two, one sees the other. From here on who comes waits for the
 * folios' locks. The lock of the mapping keeps those away who are about to throw away; they wait
 * for folios with it held, so it is not waited for.
 *
 * Context: the folios of the range are locked. Sleeps.
 * Return: SCAN_SUCCEED; or SCAN_FAIL, with nothing done.
 */
enum scan_result collapse_file_fence(struct file_collapse *c)
{
	bool alone = true;

	if (file_needs_fence(c)) {
		if (!filemap_invalidate_trylock_shared(c->mapping))
			return SCAN_FAIL;
		alone = file_has_no_writer(c);
		filemap_invalidate_unlock_shared(c->mapping);
	}
	if (!alone)
		return SCAN_FAIL;
	file_to(c, FILE_FENCED);
	return SCAN_SUCCEED;
}

/**
 * collapse_file_unfence - undo collapse_file_fence()
 * @c: the collapse
 */
void collapse_file_unfence(struct file_collapse *c)
{
	if (!file_needs_fence(c))
		return;
	filemap_nr_thps_dec(c->mapping);
	/* As when it is counted: who opens the file next sees that it is not there. */
	smp_mb();
}

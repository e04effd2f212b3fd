// SPDX-License-Identifier: GPL-2.0
/*
 * Folios with buffer heads.
 *
 *	lock all buffers -> (nobody uses one?) -> move the folio -> buffers point to the new one
 *							  `-> unlock all
 *
 * A locked buffer is being read or written. A task that waits for one holds the folio's lock,
 * which the end of I/O does not need.
 */
#include <linux/buffer_head.h>
#include <linux/export.h>
#include <linux/pagemap.h>

#include "migrate.h"

/* Unlock the buffers from @bh on up to @end; all of them if these are the same. */
static void buffers_unlock(struct buffer_head *bh, struct buffer_head *end)
{
	do {
		unlock_buffer(bh);
		bh = bh->b_this_page;
	} while (bh != end);
}

/* May the mode wait for this buffer, which somebody else has locked? */
static bool buffer_may_wait(struct buffer_head *bh, enum migrate_mode mode)
{
	if (mode == MIGRATE_ASYNC)
		return false;
	/* One that is not uptodate is being read from the disk. */
	return mode != MIGRATE_SYNC_LIGHT || buffer_uptodate(bh);
}

static bool buffers_lock(struct buffer_head *head, enum migrate_mode mode)
{
	struct buffer_head *bh = head;

	do {
		if (!trylock_buffer(bh)) {
			if (!buffer_may_wait(bh, mode)) {
				if (bh != head)
					buffers_unlock(head, bh);
				return false;
			}
			lock_buffer(bh);
		}
		bh = bh->b_this_page;
	} while (bh != head);
	return true;
}

static bool buffers_used(struct buffer_head *head)
{
	struct buffer_head *bh = head;

	do {
		if (atomic_read(&bh->b_count))
			return true;
		bh = bh->b_this_page;
	} while (bh != head);
	return false;
}

/*
 * References on the buffers themselves, without the folio's lock, are taken under i_private_lock.
 * So with that held, no buffer is used from here on that is not used now. The last users may only
 * be remembered, on any CPU, by the lists of recent lookups: make them forget once.
 */
static bool buffers_freeze(struct address_space *mapping, struct buffer_head *head)
{
	spin_lock(&mapping->i_private_lock);
	if (likely(!buffers_used(head)))
		return true;
	spin_unlock(&mapping->i_private_lock);
	invalidate_bh_lrus();
	spin_lock(&mapping->i_private_lock);
	if (!buffers_used(head))
		return true;
	spin_unlock(&mapping->i_private_lock);
	return false;
}

static int buffers_move(struct address_space *mapping, struct folio *dst, struct folio *src,
			enum migrate_mode mode)
{
	struct buffer_head *head = folio_buffers(src), *bh = head;
	int err = filemap_migrate_folio(mapping, dst, src, mode);

	if (err)
		return err;
	do {
		folio_set_bh(bh, dst, bh_offset(bh));
		bh = bh->b_this_page;
	} while (bh != head);
	return MIGRATEPAGE_SUCCESS;
}

static int buffers_migrate(struct address_space *mapping, struct folio *dst, struct folio *src,
			   enum migrate_mode mode, bool norefs)
{
	struct buffer_head *head = folio_buffers(src);
	int err = -EAGAIN;

	if (!head)
		return migrate_folio(mapping, dst, src, mode);
	if (folio_ref_count(src) != folio_expected_ref_count(src) + 1 ||
	    !buffers_lock(head, mode))
		return -EAGAIN;
	if (!norefs) {
		err = buffers_move(mapping, dst, src, mode);
	} else if (folio_test_large(src)) {
		/* Copying it would sleep with a spinlock held. No file system does that yet. */
		err = -EBUSY;
	} else if (buffers_freeze(mapping, head)) {
		err = buffers_move(mapping, dst, src, mode);
		spin_unlock(&mapping->i_private_lock);
	}
	buffers_unlock(head, head);
	return err;
}

/**
 * buffer_migrate_folio - move a folio with its buffers
 * @mapping: of @src
 * @dst: the new folio
 * @src: the old one
 * @mode: may buffers be waited for?
 *
 * For a file system that uses buffers of a folio only with its lock held.
 *
 * Context: both folios are locked, @src is not mapped. Sleeps.
 * Return: 0; -EAGAIN when a buffer or the folio is in use.
 */
int buffer_migrate_folio(struct address_space *mapping, struct folio *dst, struct folio *src,
			 enum migrate_mode mode)
{
	return buffers_migrate(mapping, dst, src, mode, false);
}
EXPORT_SYMBOL(buffer_migrate_folio);

/**
 * buffer_migrate_folio_norefs - move a folio with its buffers, if nobody else uses them
 * @mapping: of @src
 * @dst: the new folio
 * @src: the old one
 * @mode: may buffers be waited for?
 *
 * For block devices and file systems whose buffers are looked up and used without the folio's lock.
 *
 * Context, return: as buffer_migrate_folio().
 */
int buffer_migrate_folio_norefs(struct address_space *mapping, struct folio *dst,
				struct folio *src, enum migrate_mode mode)
{
	return buffers_migrate(mapping, dst, src, mode, true);
}
EXPORT_SYMBOL_GPL(buffer_migrate_folio_norefs);

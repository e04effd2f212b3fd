// SPDX-License-Identifier: GPL-2.0
/*
 * The contents of a folio go to another: by the file system's a_ops->migrate_folio, which is one
 * of those below or built on them, or without one.
 *
 *	no mapping				migrate_folio()
 *	a_ops->migrate_folio			that
 *	none, clean				drop what the file system keeps with it, then
 *						migrate_folio()
 *	none, dirty				written, if the mode allows to wait; tried again
 *
 * The contents are copied before the exchange, while nobody can write to them: not mapped, locked,
 * and no reference but those that were expected.
 */
#include <linux/buffer_head.h>
#include <linux/export.h>
#include <linux/pagemap.h>
#include <linux/rmap_runs.h>
#include <linux/writeback.h>

#include "migrate.h"

/* @private: what the file system keeps with the folio, to go along; or NULL */
static int copy_and_exchange(struct address_space *mapping, struct folio *dst, struct folio *src,
			     void *private)
{
	int expected = folio_expected_ref_count(src) + 1, err;

	if (folio_ref_count(src) != expected)
		return -EAGAIN;
	err = folio_mc_copy(dst, src);
	if (unlikely(err))
		return err;
	err = migrate_exchange(mapping, dst, src, expected);
	if (unlikely(err))
		return err;
	if (private)
		folio_attach_private(dst, folio_detach_private(src));
	folio_migrate_flags(dst, src);
	return MIGRATEPAGE_SUCCESS;
}

/**
 * migrate_folio - move a folio with which nobody keeps anything
 * @mapping: of @src, or NULL
 * @dst: the new folio
 * @src: the old one, without private data
 * @mode: as all of these; does not matter
 *
 * For a_ops->migrate_folio.
 *
 * Context: both folios are locked and stay so. @src is not mapped and not under write-back. Sleeps.
 * Return: 0; -EAGAIN when somebody else has a reference, -EHWPOISON when memory is bad.
 */
int migrate_folio(struct address_space *mapping, struct folio *dst, struct folio *src,
		  enum migrate_mode mode)
{
	VM_WARN_ON_ONCE_FOLIO(folio_test_writeback(src), src);
	return copy_and_exchange(mapping, dst, src, NULL);
}
EXPORT_SYMBOL(migrate_folio);

/**
 * filemap_migrate_folio - move a folio and what the file system keeps with it
 * @mapping: of @src
 * @dst: the new folio
 * @src: the old one; its private data must not say where the folio is
 * @mode: does not matter
 *
 * Context, return: as migrate_folio().
 */
int filemap_migrate_folio(struct address_space *mapping, struct folio *dst, struct folio *src,
			  enum migrate_mode mode)
{
	return copy_and_exchange(mapping, dst, src, folio_get_private(src));
}
EXPORT_SYMBOL_GPL(filemap_migrate_folio);

/*
 * A file system that cannot move folios may have a dirty one on some list of its own, so it must
 * be clean first. Writing unlocks it: whatever was found out of it is void. Before the next try it
 * has to be unmapped again, and what is still being written must be waited for.
 */
static int contents_write(struct address_space *mapping, struct folio *src)
{
	struct writeback_control wbc = {
		.sync_mode = WB_SYNC_NONE,
		.nr_to_write = 1,
		.range_start = 0,
		.range_end = LLONG_MAX,
		.for_reclaim = 1,
	};
	int err;

	if (!mapping->a_ops->writepage)
		return -EINVAL;
	if (!folio_clear_dirty_for_io(src))
		return -EAGAIN;
	/* Whoever faults on it meanwhile shall not wait for us. */
	rmap_restore(src, src, 0);
	err = mapping->a_ops->writepage(&src->page, &wbc);
	if (err != AOP_WRITEPAGE_ACTIVATE)
		folio_lock(src);
	return err < 0 ? -EIO : -EINPROGRESS;
}

static int contents_without_help(struct address_space *mapping, struct folio *dst,
				 struct folio *src, enum migrate_mode mode)
{
	if (folio_test_dirty(src))
		return mode == MIGRATE_SYNC ? contents_write(mapping, src) : -EBUSY;
	if (!filemap_release_folio(src, GFP_KERNEL))
		return mode == MIGRATE_SYNC ? -EAGAIN : -EBUSY;
	return migrate_folio(mapping, dst, src, mode);
}

/**
 * migrate_contents_sleeps - may the file of a folio sleep while it is moved, for whatever reason?
 * @src: the folio, locked, of a file or the swap cache
 *
 * Return: false for those who do it the common way, and wait for nothing if they are not to.
 */
bool migrate_contents_sleeps(const struct folio *src)
{
	const struct address_space *mapping = folio_mapping((struct folio *)src);
	typeof(mapping->a_ops->migrate_folio) move = mapping ? mapping->a_ops->migrate_folio : NULL;

	if (!mapping || move == migrate_folio || move == filemap_migrate_folio)
		return false;
	return !IS_ENABLED(CONFIG_BUFFER_HEAD) ||
	       (move != buffer_migrate_folio && move != buffer_migrate_folio_norefs);
}

/**
 * migrate_contents - move a folio, however its file does that
 * @dst: the new folio
 * @src: the old one
 * @mode: may it be waited?
 *
 * Context: both folios are locked, @src is not mapped.
 * Return: 0, and @src is only good to be freed; -EAGAIN: try again; -EINPROGRESS: @src is mapped,
 * or is being written and may be mapped: begin anew; else do not.
 */
int migrate_contents(struct folio *dst, struct folio *src, enum migrate_mode mode)
{
	struct address_space *mapping = folio_mapping(src);
	int err;

	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(src), src);
	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(dst), dst);
	/*
	 * ksmd maps one more page to a KSM folio without its lock. The exchange would not mind
	 * maps, as the references that it expects include them; it is ksmd's own one that it minds,
	 * which ksmd keeps until it has had the lock. Nobody else maps a folio that we have locked.
	 */
	if (unlikely(folio_mapped(src))) {
		WARN_ON_ONCE(!folio_test_ksm(src));
		return -EINPROGRESS;
	}
	if (likely(!mapping))
		err = migrate_folio(NULL, dst, src, mode);
	else if (mapping_inaccessible(mapping))
		err = -EOPNOTSUPP;
	else if (mapping->a_ops->migrate_folio)
		err = mapping->a_ops->migrate_folio(mapping, dst, src, mode);
	else
		err = contents_without_help(mapping, dst, src, mode);
	if (unlikely(err))
		return err;
	/* A file's folio is not freed with a mapping, an anonymous one stays that to the end. */
	if (!folio_test_anon(src))
		src->mapping = NULL;
	if (likely(!folio_is_zone_device(dst)))
		flush_dcache_folio(dst);
	return MIGRATEPAGE_SUCCESS;
}

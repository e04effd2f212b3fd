/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The collapse of a range of a file, and the steps of it that are in files of their own: its states
 * are in file.c.
 */
#ifndef MM_COLLAPSE_FILE_H
#define MM_COLLAPSE_FILE_H

#include <linux/pagemap.h>

#include "collapse.h"

enum file_state {
	FILE_ALLOCATED,
	FILE_GATHERED,
	FILE_FENCED,
	FILE_COPIED,
	FILE_PLUGGED,
	FILE_EXCHANGED,
};

/**
 * struct file_collapse - of one range
 * @by: who wants it; @by->folios has the old ones
 * @file: the file
 * @mapping: its page cache
 * @first: the first index
 * @next: the index that is being dealt with
 * @state: how far it is
 * @folio: the huge page, locked
 * @nr: old folios
 * @holes: indices without one
 * @complete: all of it was there a moment ago
 * @shmem: it is a file of shmem, which may have holes, and is never written back
 */
struct file_collapse {
	struct collapse_by *by;
	struct file *file;
	struct address_space *mapping;
	pgoff_t first;
	pgoff_t next;
	enum file_state state;
	struct folio *folio;
	unsigned int nr;
	unsigned int holes;
	bool complete;
	bool shmem;
};

static inline void file_to(struct file_collapse *c, enum file_state state)
{
	VM_WARN_ON_ONCE(state <= c->state);
	c->state = state;
}

static inline pgoff_t file_end(const struct file_collapse *c)
{
	return c->first + HPAGE_PMD_NR;
}

/* file_fence.c */
enum scan_result collapse_file_ready(struct file_collapse *c);
enum scan_result collapse_file_fence(struct file_collapse *c);
void collapse_file_unfence(struct file_collapse *c);

/* file_gather.c */
enum scan_result collapse_file_gather(struct file_collapse *c);
void collapse_file_ungather(struct file_collapse *c);

#endif /* MM_COLLAPSE_FILE_H */

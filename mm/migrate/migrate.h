/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of mm/migrate know of each other. <linux/migrate.h> is what the rest of the
 * kernel sees.
 *
 *	batch.c		migrate_pages(): lists, modes, retries, statistics
 *	  move.c	one folio's life: the state table is below
 *	    target.c	where it goes
 *	    mapping.c	the exchange in its file, and the settings it carries along
 *	    contents.c	what file systems use of that, and what is done without one
 *	    buffer.c	the same for those with buffer heads
 *	  hugetlb.c	hugetlb folios, which are moved one by one
 *	movable.c	pages of drivers; isolation and putting back
 *	wait.c		faults that meet a migration entry
 *	move_pages.c	the system call
 *	misplaced.c	NUMA balancing
 */
#ifndef __MM_MIGRATE_MIGRATE_H
#define __MM_MIGRATE_MIGRATE_H

#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/rmap.h>

#include "../internal.h"

/* Pages that a batch moves, at most: as many as one TLB flush is worth. */
#define MIGRATE_BATCH_PAGES	512
/* Folios of a batch that need no memory but the stack; compaction isolates no more at once. */
#define MIGRATE_FEW		32
/* And with memory: as many as four pages hold, with what else is there. */
#define MIGRATE_MANY		500
/* Folios of a batch whose mappings are walked together. */
#define MIGRATE_CHUNK		16
/* But not more pages than that: those that are copied first wait for the others. */
#define MIGRATE_CHUNK_PAGES	128
/* Tries: of an asynchronous migration; of a synchronous one, in a batch and then one by one. */
#define MIGRATE_TRIES		10
#define MIGRATE_TRIES_BATCH	3
#define MIGRATE_TRIES_ONE	(MIGRATE_TRIES - MIGRATE_TRIES_BATCH)

/**
 * struct migrate_stats - what became of the folios
 * @succeeded: moved, in pages
 * @failed: tried and not moved, in pages; what was split is not counted
 * @thp_succeeded: PMD-sized folios moved
 * @thp_failed: and those not moved
 * @thp_split: of which so many were split, to be moved in parts
 * @split: large folios of any size that were split
 */
struct migrate_stats {
	unsigned int succeeded;
	unsigned int failed;
	unsigned int thp_succeeded;
	unsigned int thp_failed;
	unsigned int thp_split;
	unsigned int split;
};

/* Targets that were allocated together, for folios of one page. */
struct migrate_spares {
	struct page *page[MIGRATE_FEW];
	unsigned int nr;
	gfp_t gfp;
};

struct migrate_room;

/**
 * struct migrate_call - one call of migrate_pages()
 * @from: the folios that are left
 * @get_new: allocates a target
 * @put_new: takes back one that is not needed, or NULL
 * @private: for both
 * @mode: what the caller allows
 * @reason: why, MR_*
 * @given_up: folios that are not tried again
 * @split: parts of large folios, to be tried at the end
 * @stats: what became of them
 * @room: for a large batch, or NULL
 */
struct migrate_call {
	struct list_head *from;
	new_folio_t *get_new;
	free_folio_t *put_new;
	unsigned long private;
	enum migrate_mode mode;
	int reason;
	struct list_head given_up;
	struct list_head split;
	struct migrate_stats stats;
	struct migrate_room *room;
};

/**
 * enum move_state - how far a folio has come
 * @MOVE_ISOLATED: taken off its list by the caller of migrate_pages()
 * @MOVE_TARGETED: a target is allocated
 * @MOVE_LOCKED: the folio is locked
 * @MOVE_READY: not under write-back, its anon_vma cannot go, and the target is locked
 * @MOVE_UNMAPPED: only migration entries are left of its mappings
 * @MOVE_MOVED: the target has taken its place, in its file and with its contents
 * @MOVE_DONE: freed, or not ours any more
 *
 *	from		step				if it fails	undone by
 *	ISOLATED	allocate the target		-ENOMEM		-
 *	TARGETED	lock, as the mode allows	-EAGAIN		give the target back
 *	LOCKED		wait for write-back, pin	-EBUSY,		unlock
 *			the anon_vma, lock target	-EAGAIN
 *	READY		migration entries		-EAGAIN		put back what there is,
 *								unlock the target
 *	UNMAPPED	expected references? copy,	-EAGAIN, any	put the old entries back
 *			exchange, carry settings
 *	MOVED		onto an LRU list, new entries,	cannot		-
 *			unlock, drop the old folio
 *
 * -EAGAIN: tried again, from TARGETED or from UNMAPPED; once more from the beginning, if the folio
 * had to be written (-EINPROGRESS). Any other error: undone and given up; -ENOMEM ends the
 * batch. What is undone goes through the table upwards, from where it failed.
 */
enum move_state {
	MOVE_ISOLATED,
	MOVE_TARGETED,
	MOVE_LOCKED,
	MOVE_READY,
	MOVE_UNMAPPED,
	MOVE_MOVED,
	MOVE_DONE,
};

/**
 * struct move - one folio on its way
 * @src: the folio, on the batch's list until it is done or given up
 * @dst: its target
 * @pin: a reference on an anon_vma, kept to the end of the batch: others may rely on it
 * @state: how far it has come
 * @mapped: there are migration entries to be replaced
 * @split: the folio was split; its parts are on the call's list for that
 * @err: why it is not further; 0 while there is no reason
 */
struct move {
	struct folio *src;
	struct folio *dst;
	struct anon_vma *pin;
	u8 state;
	bool mapped;
	bool split;
	int err;
};

/* What is allocated for large batches; without it, they are small. */
struct migrate_room {
	struct migrate_spares spares;
	struct move moves[MIGRATE_MANY];
};

/**
 * struct migrate_batch - folios that are moved together
 * @call: for whom
 * @mode: MIGRATE_ASYNC if they are more than one: who holds locks must not wait for others
 * @tries: how often, if the reason may pass
 * @keep: large folios are not to be split
 * @anew: some had to be written to the disk, and are to be tried anew
 * @moves: the moves
 * @nr: how many
 * @pinned: the anon_vma that was pinned last
 * @stats: what became of them
 */
struct migrate_batch {
	struct migrate_call *call;
	enum migrate_mode mode;
	int tries;
	bool keep;
	bool anew;
	struct move *moves;
	unsigned int nr;
	struct anon_vma *pinned;
	struct migrate_stats stats;
};

static inline bool folio_is_thp(struct folio *folio)
{
	return folio_test_large(folio) && folio_test_pmd_mappable(folio);
}

/**
 * struct isolated - folios off their LRU lists, to be counted together
 * @pgdat: their node
 * @item: and NR_ISOLATED_ANON or _FILE
 * @pages: so many more, or less if negative; 0 at first
 *
 * Reclaim waits when too much is isolated.
 */
struct isolated {
	struct pglist_data *pgdat;
	enum node_stat_item item;
	long pages;
};

static inline void isolated_end(struct isolated *isolated)
{
	if (isolated->pages)
		mod_node_page_state(isolated->pgdat, isolated->item, isolated->pages);
	isolated->pages = 0;
}

/* One more folio has been isolated, if @sign is 1; or given back, if it is -1. */
static __always_inline void isolated_add(struct isolated *isolated, struct folio *folio, int sign)
{
	enum node_stat_item item = NR_ISOLATED_ANON + folio_is_file_lru(folio);

	if (unlikely(isolated->pgdat != folio_pgdat(folio) || isolated->item != item)) {
		isolated_end(isolated);
		isolated->pgdat = folio_pgdat(folio);
		isolated->item = item;
	}
	isolated->pages += sign * folio_nr_pages(folio);
}

static inline void folio_count_isolated(struct folio *folio)
{
	node_stat_mod_folio(folio, NR_ISOLATED_ANON + folio_is_file_lru(folio),
			    folio_nr_pages(folio));
}

/* --- move.c ----------------------------------------------------------------------------- */

int move_provide(struct migrate_batch *batch, struct move *move);
int move_prepare(struct migrate_batch *batch, struct move *move);
unsigned int moves_unmap(struct migrate_batch *batch);
unsigned int moves_carry_out(struct migrate_batch *batch);
void move_undo(struct migrate_batch *batch, struct move *move, enum move_state to);

/* --- target.c --------------------------------------------------------------------------- */

struct folio *target_get(struct migrate_call *call, struct folio *src, unsigned int more);
void target_put(struct migrate_call *call, struct folio *dst);
void targets_end(struct migrate_call *call);

/* --- mapping.c, contents.c -------------------------------------------------------------- */

int migrate_exchange(struct address_space *mapping, struct folio *dst, struct folio *src,
		     int expected);
bool migrate_contents_sleeps(const struct folio *src);
int migrate_contents(struct folio *dst, struct folio *src, enum migrate_mode mode);

/* --- movable.c -------------------------------------------------------------------------- */

int migrate_movable(struct page *dst, struct page *src, enum migrate_mode mode);

/* --- hugetlb.c -------------------------------------------------------------------------- */

#ifdef CONFIG_HUGETLB_PAGE
int migrate_hugetlbs(struct migrate_call *call);
#else
static inline int migrate_hugetlbs(struct migrate_call *call)
{
	return 0;
}
#endif

#endif /* __MM_MIGRATE_MIGRATE_H */

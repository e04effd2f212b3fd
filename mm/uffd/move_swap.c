// SPDX-License-Identifier: GPL-2.0
/*
 * UFFDIO_MOVE of a page that is not in memory.
 *
 *	entry		swap cache	what is done
 *	migration	-		wait until it is over
 *	swap, shared	-		-EBUSY
 *	swap, own	nothing		the entry is moved, if still nothing is there under its lock
 *	swap, own	a folio		the entry is moved, and with it to whom the folio belongs
 *	swap, own	a large folio	split, if some of it is mapped; else taken out of the cache,
 *					if it has been written
 *	all else	-		-EFAULT
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "../swap.h"
#include "uffd.h"

/* It may have left the cache, and its slot been given to others, before it was locked. */
static bool swap_is_of(struct folio *folio, swp_entry_t entry)
{
	unsigned long first = folio->swap.val;

	return folio_test_swapcache(folio) && entry.val >= first &&
	       entry.val - first < folio_nr_pages(folio);
}

/*
 * Out of the swap cache: as reclaim does it, from no LRU list, so that no cgroup is left with a
 * list that it has not counted. One that somebody else looks at just now is tried again.
 */
static void swap_drop_clean(struct folio *folio)
{
	if (!folio_isolate_lru(folio))
		return;
	folio_put(folio);
	if (!remove_mapping(swap_address_space(folio->swap), folio))
		folio_add_lru(folio);
}

/*
 * A large folio that was swapped out stays in the cache until memory is short, where its device
 * takes its time to write. Its entries' pages can go to different places without it only, or when
 * it has been split, for which something of it must be mapped. Locked, with a reference.
 * Return: -EAGAIN, to look again; -EBUSY for one that has to be written first.
 */
static int swap_part(struct folio *folio)
{
	folio_wait_writeback(folio);
	if (folio_mapped(folio))
		return split_folio(folio) ? -EBUSY : -EAGAIN;
	if (folio_test_dirty(folio))
		return -EBUSY;
	swap_drop_clean(folio);
	return -EAGAIN;
}

/* What is in the swap cache for an entry, locked and with a reference; NULL for nothing. */
static struct folio *swap_folio(swp_entry_t entry)
{
	struct folio *folio = filemap_get_folio(swap_address_space(entry), swap_cache_index(entry));
	int err = -EAGAIN;

	if (IS_ERR(folio))
		return NULL;
	folio_lock(folio);
	if (swap_is_of(folio, entry)) {
		if (!folio_test_large(folio))
			return folio;
		err = swap_part(folio);
	}
	folio_unlock(folio);
	folio_put(folio);
	return ERR_PTR(err);
}

/*
 * With both tables locked: has the cache nothing, as was found before? A page that was read in and
 * written out again in between has left the entry as it was, and is in the cache. Both times the
 * entry was changed under its table's lock, after the flag, so that the flag is seen here. Where it
 * is seen for another reason the move is tried again.
 */
static bool swap_still_uncached(struct swap_info_struct *si, swp_entry_t entry)
{
	return !(READ_ONCE(si->swap_map[swp_offset(entry)]) & SWAP_HAS_CACHE);
}

static int move_swap_locked(struct uffd_move *m, struct move_tables *t, pte_t pte,
			    struct folio *folio, struct swap_info_struct *si)
{
	if (!pte_none(ptep_get(t->dst)))
		return -EEXIST;
	if (!pte_same(ptep_get(t->src), pte))
		return -EAGAIN;
	if (folio) {
		/* Who swaps in finds the folio, and maps it at the new address. */
		folio_move_anon_rmap(folio, m->dst_vma);
		folio->index = linear_page_index(m->dst_vma, m->dst);
	} else if (!swap_still_uncached(si, pte_to_swp_entry(pte))) {
		return -EAGAIN;
	}
	/* No TLB has an entry that is not present. */
	pte = ptep_get_and_clear(m->mm, m->src, t->src);
	set_pte_at(m->mm, m->dst, t->dst, pte_swp_mksoft_dirty(pte));
	move_advance(m, 1);
	return 0;
}

static int move_swap(struct uffd_move *m, pte_t pte, struct swap_info_struct *si)
{
	struct folio *folio = swap_folio(pte_to_swp_entry(pte));
	struct move_tables t;
	int err = -EAGAIN;

	if (IS_ERR(folio))
		return PTR_ERR(folio);
	if (move_tables_lock(m, &t)) {
		err = move_swap_locked(m, &t, pte, folio, si);
		move_tables_unlock(&t);
	}
	if (folio) {
		folio_unlock(folio);
		folio_put(folio);
	}
	return err;
}

/**
 * move_not_present - move one entry that has no page
 * @m: the move
 * @pte: what the source's entry said, without a lock
 *
 * Context: VMAs are locked; sleeps.
 * Return: 0; -EBUSY, -EFAULT as in the table above; -EEXIST; -EAGAIN when something has changed.
 */
int move_not_present(struct uffd_move *m, pte_t pte)
{
	swp_entry_t entry = pte_to_swp_entry(pte);
	struct swap_info_struct *si;
	int err;

	if (is_migration_entry(entry)) {
		migration_entry_wait(m->mm, m->src_pmd, m->src);
		return -EAGAIN;
	}
	if (non_swap_entry(entry))
		return -EFAULT;
	if (!pte_swp_exclusive(pte))
		return -EBUSY;
	/* The device stays while the slot is looked at. */
	si = get_swap_device(entry);
	if (!si)
		return -EAGAIN;
	err = move_swap(m, pte, si);
	put_swap_device(si);
	return err;
}

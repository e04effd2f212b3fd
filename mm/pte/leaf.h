/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Leaves: what one page table entry says, whatever the form it says it in.
 *
 *	raw entry --pte_leaf_decode()--> kind, number, flags --pte_leaf_encode()--> raw entry
 *
 * Reverse map code decodes an entry once, changes the kind, and encodes it again: an
 * entry that becomes a migration entry and comes back, or goes to swap, carries its flags
 * by itself. No kind knows all of them; an encoder leaves out what its kind cannot hold.
 *
 *			WRITE	EXCLUSIVE  YOUNG  DIRTY	 SOFT_DIRTY  UFFD_WP
 *	present		entry	page	   entry  entry	 entry	     entry
 *	swap slot	-	entry	   -	  -	 entry	     entry
 *	migration	type	type	   (1)	  (1)	 entry	     entry
 *	device private	type	page	   -	  -	 entry	     entry
 *	device excl.	type	page	   -	  -	 entry	     entry
 *	poison		-	-	   -	  -	 -	     -
 *	marker		-	-	   -	  -	 -	     (2)
 *
 * entry: a bit of the entry. type: part of the swap type. page: a flag of the page, which
 * the caller fills in after decoding and stores after encoding. (1) where the swap offset
 * has room, see migration_entry_supports_ad(). (2) PTE_MARKER_UFFD_WP says it.
 */
#ifndef __MM_PTE_LEAF_H
#define __MM_PTE_LEAF_H

#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/userfaultfd_k.h>

/**
 * enum pte_leaf_kind - what an entry is
 * @LEAF_NONE: nothing
 * @LEAF_PRESENT: it maps a frame
 * @LEAF_SWAP: a slot of a swap device
 * @LEAF_MIGRATION: a frame whose folio is being moved
 * @LEAF_DEVICE_PRIVATE: a frame that only a device can reach
 * @LEAF_DEVICE_EXCLUSIVE: a frame that a device uses alone for now
 * @LEAF_POISON: a frame lost to a memory error
 * @LEAF_MARKER: no frame, only a note
 */
enum pte_leaf_kind {
	LEAF_NONE,
	LEAF_PRESENT,
	LEAF_SWAP,
	LEAF_MIGRATION,
	LEAF_DEVICE_PRIVATE,
	LEAF_DEVICE_EXCLUSIVE,
	LEAF_POISON,
	LEAF_MARKER,
};

#define LEAF_WRITE	BIT(0)
#define LEAF_EXCLUSIVE	BIT(1)	/* an anonymous page of one process alone */
#define LEAF_YOUNG	BIT(2)
#define LEAF_DIRTY	BIT(3)
#define LEAF_SOFT_DIRTY	BIT(4)
#define LEAF_UFFD_WP	BIT(5)

/**
 * struct pte_leaf - a decoded entry
 * @kind: what it is
 * @flags: LEAF_WRITE and so on
 * @number: page frame number; for LEAF_SWAP swp_entry_t.val; for LEAF_MARKER its bits
 */
struct pte_leaf {
	enum pte_leaf_kind kind;
	unsigned int flags;
	unsigned long number;
};

struct pte_leaf pte_leaf_decode_swp(pte_t pte);
pte_t pte_leaf_encode(const struct pte_leaf *leaf);
swp_entry_t pte_leaf_migration_entry(const struct pte_leaf *leaf);
pte_t pte_leaf_map(const struct pte_leaf *leaf, struct vm_area_struct *vma, struct page *page);

static __always_inline struct pte_leaf pte_leaf_decode_present(pte_t pte)
{
	struct pte_leaf leaf = { .kind = LEAF_PRESENT, .number = pte_pfn(pte) };

	if (pte_write(pte))
		leaf.flags |= LEAF_WRITE;
	if (pte_young(pte))
		leaf.flags |= LEAF_YOUNG;
	if (pte_dirty(pte))
		leaf.flags |= LEAF_DIRTY;
	if (pte_soft_dirty(pte))
		leaf.flags |= LEAF_SOFT_DIRTY;
	if (pte_uffd_wp(pte))
		leaf.flags |= LEAF_UFFD_WP;
	return leaf;
}

/**
 * pte_leaf_decode_migration - say what an entry says that is one of migration
 * @pte: the entry
 * @entry: the same, as a swap entry
 *
 * A writable migration entry decodes as exclusive too: an anonymous page is writable only
 * where it is exclusive. For a file page the flag has no meaning.
 *
 * Return: the leaf.
 */
static __always_inline struct pte_leaf pte_leaf_decode_migration(pte_t pte, swp_entry_t entry)
{
	struct pte_leaf leaf = { .kind = LEAF_MIGRATION, .number = swp_offset_pfn(entry) };

	if (is_writable_migration_entry(entry))
		leaf.flags |= LEAF_WRITE | LEAF_EXCLUSIVE;
	else if (!is_readable_migration_entry(entry))
		leaf.flags |= LEAF_EXCLUSIVE;
	if (is_migration_entry_young(entry))
		leaf.flags |= LEAF_YOUNG;
	if (is_migration_entry_dirty(entry))
		leaf.flags |= LEAF_DIRTY;
	if (pte_swp_soft_dirty(pte))
		leaf.flags |= LEAF_SOFT_DIRTY;
	if (pte_swp_uffd_wp(pte))
		leaf.flags |= LEAF_UFFD_WP;
	return leaf;
}

/**
 * pte_leaf_decode - say what an entry says
 * @pte: the entry, of any kind but hugetlb's
 *
 * Return: the leaf. LEAF_EXCLUSIVE is set only where the entry itself tells.
 */
static __always_inline struct pte_leaf pte_leaf_decode(pte_t pte)
{
	if (likely(pte_present(pte)))
		return pte_leaf_decode_present(pte);
	if (pte_none(pte))
		return (struct pte_leaf){ .kind = LEAF_NONE };
	return pte_leaf_decode_swp(pte);
}

/**
 * pte_leaf_maps - does the map count of the frame count this entry?
 * @leaf: a decoded entry
 *
 * A device-exclusive entry was counted out when it was made; it has a reference only, and is
 * counted in again when a CPU wants the page. So it is no mapping that could be taken away.
 */
static inline bool pte_leaf_maps(const struct pte_leaf *leaf)
{
	return leaf->kind == LEAF_PRESENT || leaf->kind == LEAF_DEVICE_PRIVATE;
}

#endif /* __MM_PTE_LEAF_H */

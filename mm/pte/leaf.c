// SPDX-License-Identifier: GPL-2.0
/*
 * Leaves: decode and encode the entries that are not present. The drawing is in leaf.h.
 */
#include "leaf.h"

static enum pte_leaf_kind leaf_kind(swp_entry_t entry)
{
	if (!non_swap_entry(entry))
		return LEAF_SWAP;
	if (is_device_private_entry(entry))
		return LEAF_DEVICE_PRIVATE;
	if (is_device_exclusive_entry(entry))
		return LEAF_DEVICE_EXCLUSIVE;
	if (is_hwpoison_entry(entry))
		return LEAF_POISON;
	return LEAF_MARKER;
}

static struct pte_leaf leaf_other(swp_entry_t entry)
{
	struct pte_leaf leaf = { .kind = leaf_kind(entry), .number = swp_offset(entry) };

	if (leaf.kind == LEAF_SWAP)
		leaf.number = entry.val;
	if (is_writable_device_private_entry(entry) || is_writable_device_exclusive_entry(entry))
		leaf.flags |= LEAF_WRITE;
	return leaf;
}

/**
 * pte_leaf_decode_swp - say what an entry says that is neither none nor present
 * @pte: the entry
 *
 * Return: the leaf.
 */
struct pte_leaf pte_leaf_decode_swp(pte_t pte)
{
	swp_entry_t entry = pte_to_swp_entry(pte);
	struct pte_leaf leaf;

	if (is_migration_entry(entry))
		leaf = pte_leaf_decode_migration(pte, entry);
	else
		leaf = leaf_other(entry);
	if (pte_swp_exclusive(pte))
		leaf.flags |= LEAF_EXCLUSIVE;
	if (pte_swp_soft_dirty(pte))
		leaf.flags |= LEAF_SOFT_DIRTY;
	if (pte_swp_uffd_wp(pte) || (leaf.kind == LEAF_MARKER && pte_marker_uffd_wp(pte)))
		leaf.flags |= LEAF_UFFD_WP;
	return leaf;
}

/**
 * pte_leaf_migration_entry - the swap entry of a LEAF_MIGRATION
 * @leaf: what to say
 *
 * Soft-dirty and userfaultfd's protection are no part of it: they are bits of a PTE or PMD.
 *
 * Return: the swap entry.
 */
swp_entry_t pte_leaf_migration_entry(const struct pte_leaf *leaf)
{
	swp_entry_t entry;

	if (leaf->flags & LEAF_WRITE)
		entry = make_writable_migration_entry(leaf->number);
	else if (leaf->flags & LEAF_EXCLUSIVE)
		entry = make_readable_exclusive_migration_entry(leaf->number);
	else
		entry = make_readable_migration_entry(leaf->number);
	if (leaf->flags & LEAF_YOUNG)
		entry = make_migration_entry_young(entry);
	if (leaf->flags & LEAF_DIRTY)
		entry = make_migration_entry_dirty(entry);
	return entry;
}

static swp_entry_t leaf_entry(const struct pte_leaf *leaf)
{
	bool write = leaf->flags & LEAF_WRITE;

	switch (leaf->kind) {
	case LEAF_SWAP:
		return (swp_entry_t){ .val = leaf->number };
	case LEAF_MIGRATION:
		return pte_leaf_migration_entry(leaf);
	case LEAF_DEVICE_PRIVATE:
		return write ? make_writable_device_private_entry(leaf->number) :
			       make_readable_device_private_entry(leaf->number);
	case LEAF_DEVICE_EXCLUSIVE:
		return write ? make_writable_device_exclusive_entry(leaf->number) :
			       make_readable_device_exclusive_entry(leaf->number);
	case LEAF_POISON:
		return make_hwpoison_entry(pfn_to_page(leaf->number));
	case LEAF_MARKER:
		return make_pte_marker_entry(leaf->number);
	default:
		WARN_ON_ONCE(1);
		return make_pte_marker_entry(PTE_MARKER_POISONED);
	}
}

/**
 * pte_leaf_encode - make the entry that says this
 * @leaf: what to say; neither LEAF_NONE nor LEAF_PRESENT, for which see pte_leaf_map()
 *
 * Return: the entry. Flags that the kind cannot hold are left out.
 */
pte_t pte_leaf_encode(const struct pte_leaf *leaf)
{
	pte_t pte = swp_entry_to_pte(leaf_entry(leaf));

	if (leaf->kind == LEAF_POISON || leaf->kind == LEAF_MARKER)
		return pte;
	if (leaf->kind == LEAF_SWAP && leaf->flags & LEAF_EXCLUSIVE)
		pte = pte_swp_mkexclusive(pte);
	if (leaf->flags & LEAF_SOFT_DIRTY)
		pte = pte_swp_mksoft_dirty(pte);
	if (leaf->flags & LEAF_UFFD_WP)
		pte = pte_swp_mkuffd_wp(pte);
	return pte;
}

/**
 * pte_leaf_map - make the present entry that says this
 * @leaf: what to say, its kind and number aside
 * @vma: the VMA, for its protection
 * @page: the page to map
 *
 * A page that is writable is not write-protected for userfaultfd, so LEAF_WRITE goes
 * before LEAF_UFFD_WP.
 *
 * Return: the entry.
 */
pte_t pte_leaf_map(const struct pte_leaf *leaf, struct vm_area_struct *vma, struct page *page)
{
	pte_t pte = mk_pte(page, READ_ONCE(vma->vm_page_prot));

	if (!(leaf->flags & LEAF_YOUNG))
		pte = pte_mkold(pte);
	if (leaf->flags & LEAF_DIRTY)
		pte = pte_mkdirty(pte);
	if (leaf->flags & LEAF_SOFT_DIRTY)
		pte = pte_mksoft_dirty(pte);
	else
		pte = pte_clear_soft_dirty(pte);
	if (leaf->flags & LEAF_WRITE)
		pte = pte_mkwrite(pte, vma);
	else if (leaf->flags & LEAF_UFFD_WP)
		pte = pte_mkuffd_wp(pte);
	return pte;
}

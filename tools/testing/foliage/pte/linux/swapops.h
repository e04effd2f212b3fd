/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Stand-in: swap entries, a type of 5 bits above an offset.
 *
 * Where the offset of a machine has two bits to spare above a frame number, a migration
 * entry keeps Accessed and Dirty there.
 */
#ifndef _LINUX_SWAPOPS_H
#define _LINUX_SWAPOPS_H

#include <linux/pgtable.h>
#include <linux/swap.h>

#define SWP_TYPE_SHIFT	58
#define SWP_MIG_YOUNG	BIT(PFN_BITS)
#define SWP_MIG_DIRTY	BIT(PFN_BITS + 1)

#define PTE_MARKER_UFFD_WP	BIT(0)
#define PTE_MARKER_POISONED	BIT(1)

extern bool swap_migration_ad_supported;

static inline swp_entry_t swp_entry(unsigned long type, unsigned long offset)
{
	return (swp_entry_t){ type << SWP_TYPE_SHIFT | offset };
}

static inline unsigned int swp_type(swp_entry_t entry)
{
	return entry.val >> SWP_TYPE_SHIFT;
}

static inline unsigned long swp_offset(swp_entry_t entry)
{
	return entry.val & (BIT(SWP_TYPE_SHIFT) - 1);
}

static inline unsigned long swp_offset_pfn(swp_entry_t entry)
{
	return entry.val & (BIT(PFN_BITS) - 1);
}

static inline pte_t swp_entry_to_pte(swp_entry_t entry)
{
	return __pte(entry_swp(swp_type(entry), swp_offset(entry)));
}

static inline swp_entry_t pte_to_swp_entry(pte_t pte)
{
	pteval_t bare = pte.pte & ~(SWP_EXCLUSIVE | SWP_SOFT | SWP_WP);

	return swp_entry(entry_swp_type(bare), entry_swp_offset(bare));
}

static inline bool non_swap_entry(swp_entry_t entry)
{
	return swp_type(entry) >= MAX_SWAPFILES;
}

/* is_<name>_entry() for one type, make_<name>_entry() of an offset. */
#define SPECIAL_IS(name, type)							\
	static inline bool is_##name##_entry(swp_entry_t entry)			\
	{									\
		return HAS_SPECIAL && swp_type(entry) == (type);		\
	}
#define SPECIAL_MAKE(name, type)						\
	static inline swp_entry_t make_##name##_entry(unsigned long offset)	\
	{									\
		return HAS_SPECIAL ? swp_entry(type, offset) : (swp_entry_t){};	\
	}
SPECIAL_IS(hwpoison, SWP_HWPOISON)
SPECIAL_IS(readable_migration, SWP_MIGRATION_READ)
SPECIAL_IS(readable_exclusive_migration, SWP_MIGRATION_READ_EXCLUSIVE)
SPECIAL_IS(writable_migration, SWP_MIGRATION_WRITE)
SPECIAL_IS(readable_device_private, SWP_DEVICE_READ)
SPECIAL_IS(writable_device_private, SWP_DEVICE_WRITE)
SPECIAL_IS(readable_device_exclusive, SWP_DEVICE_EXCLUSIVE_READ)
SPECIAL_IS(writable_device_exclusive, SWP_DEVICE_EXCLUSIVE_WRITE)
SPECIAL_MAKE(readable_migration, SWP_MIGRATION_READ)
SPECIAL_MAKE(readable_exclusive_migration, SWP_MIGRATION_READ_EXCLUSIVE)
SPECIAL_MAKE(writable_migration, SWP_MIGRATION_WRITE)
SPECIAL_MAKE(readable_device_private, SWP_DEVICE_READ)
SPECIAL_MAKE(writable_device_private, SWP_DEVICE_WRITE)
SPECIAL_MAKE(readable_device_exclusive, SWP_DEVICE_EXCLUSIVE_READ)
SPECIAL_MAKE(writable_device_exclusive, SWP_DEVICE_EXCLUSIVE_WRITE)

static inline swp_entry_t make_hwpoison_entry(struct page *page)
{
	return HAS_SPECIAL ? swp_entry(SWP_HWPOISON, page_to_pfn(page)) : (swp_entry_t){};
}

static inline swp_entry_t make_pte_marker_entry(unsigned long marker)
{
	return swp_entry(SWP_PTE_MARKER, marker);
}

static inline bool is_migration_entry(swp_entry_t entry)
{
	return is_writable_migration_entry(entry) || is_readable_migration_entry(entry) ||
	       is_readable_exclusive_migration_entry(entry);
}

static inline bool is_device_private_entry(swp_entry_t entry)
{
	return is_readable_device_private_entry(entry) || is_writable_device_private_entry(entry);
}

static inline bool is_device_exclusive_entry(swp_entry_t entry)
{
	return is_readable_device_exclusive_entry(entry) ||
	       is_writable_device_exclusive_entry(entry);
}

static inline swp_entry_t migration_entry_mark(swp_entry_t entry, unsigned long mark)
{
	entry.val |= swap_migration_ad_supported ? mark : 0;
	return entry;
}

static inline bool migration_entry_marked(swp_entry_t entry, unsigned long mark)
{
	return swap_migration_ad_supported && entry.val & mark;
}

#define make_migration_entry_young(entry)	migration_entry_mark(entry, SWP_MIG_YOUNG)
#define make_migration_entry_dirty(entry)	migration_entry_mark(entry, SWP_MIG_DIRTY)
#define is_migration_entry_young(entry)		migration_entry_marked(entry, SWP_MIG_YOUNG)
#define is_migration_entry_dirty(entry)		migration_entry_marked(entry, SWP_MIG_DIRTY)

#endif /* _LINUX_SWAPOPS_H */

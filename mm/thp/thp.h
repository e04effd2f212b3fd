/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Transparent huge pages: what the files of mm/thp know of each other.
 *
 *	settings.c	words and files under /sys/kernel/mm/transparent_hugepage, boot parameters
 *	sizes.c		the same for each size, and its statistics
 *	policy.c	which orders a VMA may have, and what an allocation may do for them
 *	init.c		all of it at boot
 *	backoff.c	for how long faults do not wait for huge pages
 *	zero.c		the huge zero folio
 *
 *	a PMD		none --fault.c, pfn.c--> huge --zap.c--> none
 *			huge --protect.c, fault.c--> huge, other bits
 *			huge --copy.c--> one more of it		huge --move.c--> elsewhere
 *			huge <--migrate_pmd.c--> migration entry
 *			huge, migration entry --split_pmd.c--> a table
 *	a PUD		pud.c; devices only
 *
 *	split.c		a folio becomes smaller ones: what must hold before, and is undone; split.h
 *	split_parts.c	the parting of a folio that nobody can reach
 *	deferred.c	folios that are split when memory is short
 *	debugfs.c	split_huge_pages
 *
 * A huge PMD of anonymous memory has a page table deposited, for the day when it is split.
 */
#ifndef __MM_THP_THP_H
#define __MM_THP_THP_H

#include <linux/mm.h>
#include <linux/pgalloc.h>

#include "../internal.h"

/**
 * struct thp_word - a word of a setting
 * @name: as it is read and written
 * @value: what it stands for
 */
struct thp_word {
	const char *name;
	unsigned long value;
};

/* settings.c */
const struct thp_word *thp_word_find(const struct thp_word *words, const char *text);
ssize_t thp_words_show(const struct thp_word *words, unsigned long value, char *buf);
bool thp_boot_chosen(void);
extern bool thp_shrink_underused;
#ifdef CONFIG_SYSFS
extern const struct attribute_group thp_settings_group;
#endif

/* sizes.c */
#ifdef CONFIG_SYSFS
int thp_sizes_init(struct kobject *parent);
void thp_sizes_exit(void);
#endif
void thp_sizes_default(void);

/* backoff.c */
gfp_t thp_backoff_gfp(gfp_t gfp, int nid);
void thp_backoff_note(gfp_t gfp, int nid, bool got, u64 ns);

/* zero.c */
int thp_zero_init(void);
void thp_zero_exit(void);

/* protect.c */
bool thp_pmd_may_write(struct vm_area_struct *vma, unsigned long addr, pmd_t pmd);

/* deferred.c */
int thp_deferred_init(void);
void thp_deferred_exit(void);
bool thp_freeze(struct folio *folio, int refs);

/* __pmd_trans_huge_lock(), inlined */
static __always_inline spinlock_t *thp_lock_pmd(pmd_t *pmdp, struct vm_area_struct *vma)
{
	spinlock_t *ptl = pmd_lock(vma->vm_mm, pmdp);
	pmd_t pmd = *pmdp;

	if (likely(pmd_trans_huge(pmd) || pmd_devmap(pmd) || is_swap_pmd(pmd)))
		return ptl;
	spin_unlock(ptl);
	return NULL;
}

/* --- page tables, deposited ------------------------------------------------------------- */

static inline void thp_deposit(struct mm_struct *mm, pmd_t *pmdp, pgtable_t table)
{
	pgtable_trans_huge_deposit(mm, pmdp, table);
	mm_inc_nr_ptes(mm);
}

/* After the PMD was cleared: Power has to look at the table until then. */
static inline void thp_free_deposited(struct mm_struct *mm, pmd_t *pmdp)
{
	pte_free(mm, pgtable_trans_huge_withdraw(mm, pmdp));
	mm_dec_nr_ptes(mm);
}

/* Is there a table under a huge PMD of this VMA? */
static inline bool thp_has_deposited(struct vm_area_struct *vma)
{
	return vma_is_anonymous(vma) || arch_needs_pgtable_deposit();
}

#endif /* __MM_THP_THP_H */

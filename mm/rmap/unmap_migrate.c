// SPDX-License-Identifier: GPL-2.0
/*
 * Migration entries, put in the place of mappings; restore.c has the way back.
 *
 *	present, device entry  --try_to_migrate()-->	migration entry
 *			       --rmap_migrate_folios()->	for many folios
 *
 * What an entry says beside the frame goes along; see leaf.h.
 */
#include <linux/hugetlb.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#define CREATE_TRACE_POINTS
#include <trace/events/migrate.h>

#include "unmap.h"

static enum rmap_verdict migrate_pmd(struct rmap_unmap *u)
{
#ifdef CONFIG_ARCH_ENABLE_THP_MIGRATION
	if (!set_pmd_migration_entry(&u->run.at, u->run.page))
		return RMAP_NEXT;
#else
	WARN_ON_ONCE(1);
#endif
	return RMAP_FAIL;
}

/* By value: a run whose address is taken does not stay in registers. */
static noinline void __trace_set_run(unsigned long addr, pte_t *ptep, unsigned long nr,
				     unsigned int order)
{
	unsigned long i;

	for (i = 0; i < nr; i++)
		trace_set_migration_pte(addr + i * PAGE_SIZE, pte_val(ptep_get(ptep + i)), order);
}

static __always_inline void trace_set_run(const struct rmap_run *run, unsigned long nr)
{
	if (trace_set_migration_pte_enabled())
		__trace_set_run(run->at.address, run->at.pte, nr, folio_order(run->folio));
}

static __always_inline enum rmap_verdict migrate_write(struct rmap_unmap *u, unsigned long nr)
{
	struct rmap_run *run = &u->run;
	struct pte_leaf leaf = rmap_run_leaf(run);

	if (!rmap_unmap_may_go(u, nr)) {
		rmap_unmap_undo(u, nr);
		return RMAP_FAIL;
	}
	leaf.kind = LEAF_MIGRATION;
	leaf.number = page_to_pfn(run->page);
	leaf.flags &= ~(LEAF_YOUNG | LEAF_DIRTY);
	if (pte_present(u->old)) {
		leaf.flags |= pte_young(u->old) ? LEAF_YOUNG : 0;
		leaf.flags |= pte_dirty(u->old) ? LEAF_DIRTY : 0;
	}
	pte_run_set_swp(run->at.vma->vm_mm, run->at.address, run->at.pte, leaf, nr);
	trace_set_run(run, nr);
	return RMAP_NEXT;
}

/* What becomes of one run. On RMAP_FAIL the entries are as they were, but for gathering. */
static __always_inline enum rmap_verdict migrate_run(struct rmap_unmap *u, unsigned long nr)
{
	struct rmap_run *run = &u->run;

	if (unlikely(!run->at.pte))
		return migrate_pmd(u);
	rmap_unmap_clear(u, nr);
	VM_WARN_ON_FOLIO(folio_test_anon(run->folio) && pte_present(u->old) && pte_write(u->old) &&
			 !PageAnonExclusive(run->page), run->folio);
	if (unlikely(rmap_unmap_poisoned(u, nr)) && !folio_is_device_private(run->folio))
		rmap_unmap_poison(u, nr);
	else if (rmap_unneeded(run->at.vma, u->old))
		rmap_unmap_drop(u, nr);
	else if (migrate_write(u, nr) == RMAP_FAIL)
		return RMAP_FAIL;
	rmap_unmap_done(u, nr);
	return RMAP_NEXT;
}

static const struct rmap_unmap_op migrate_op = {
	.one = migrate_run,
	.keeps = true,
	.event = MMU_NOTIFY_CLEAR,
};

static noinline bool migrate_one(struct folio *folio, struct vm_area_struct *vma,
				 unsigned long addr, void *arg)
{
	enum ttu_flags flags = (enum ttu_flags)(long)arg;

	if (folio_test_large(folio) && unlikely(folio_test_hugetlb(folio)))
		return rmap_hugetlb_migrate(folio, vma, addr, arg);
	/* The split of a folio asks for this: its PMDs become PTEs of migration entries. */
	if (flags & TTU_SPLIT_HUGE_PMD) {
		split_huge_pmd_address(vma, addr, true, folio);
		/* The last mapping: nothing is left to be found in the table. */
		if (!folio_mapped(folio))
			return true;
	}
	return rmap_unmap_vma(folio, vma, addr, flags, &migrate_op);
}

/*
 * While exec() moves the new stack into place, its page tables move without the rmap lock
 * that covers the VMA: migration entries might not be found again. So leave it alone.
 */
static bool migrate_invalid_vma(struct vm_area_struct *vma, void *arg)
{
	return vma_is_temporary_stack(vma);
}

static const struct rmap_visitor migrate_visitor = {
	.rmap_one = migrate_one,
	.done = rmap_unmap_finished,
	.invalid_vma = migrate_invalid_vma,
};

/**
 * try_to_migrate - put migration entries in the place of the mappings of a folio
 * @folio: the folio, referenced
 * @flags: of TTU_* only RMAP_LOCKED, SPLIT_HUGE_PMD, SYNC and BATCH_FLUSH. Locked memory is
 *	moved too
 *
 * remove_migration_ptes() reverts it. A fault meanwhile waits. Whether it succeeded,
 * folio_mapped() tells.
 *
 * Context: the folio is locked. Sleeps.
 */
void try_to_migrate(struct folio *folio, enum ttu_flags flags)
{
	if (WARN_ON_ONCE(flags & ~(TTU_RMAP_LOCKED | TTU_SPLIT_HUGE_PMD | TTU_SYNC |
				   TTU_BATCH_FLUSH)))
		return;
	if (folio_is_zone_device(folio) && !folio_is_device_private(folio) &&
	    !folio_is_device_coherent(folio))
		return;
	rmap_unmap_walk(folio, flags, &migrate_visitor);
}

/* An entry, with its folio and its locked table, to be dealt with by migrate_run(). */
static __always_inline void migrate_found(struct rmap_unmap *u, struct rmap_table *table,
					  struct folio *folio, unsigned long addr, pte_t *ptep,
					  pte_t pte)
{
	u->run.at.vma = table->vma;
	u->run.at.address = addr;
	u->run.at.pte = ptep;
	u->run.folio = folio;
	u->run.page = &folio->page;
	u->run.pte = pte;
	u->op = &migrate_op;
	u->table = table;
}

/* A large folio; false when it is not mapped as one run. */
static noinline bool migrate_large(struct rmap_table *table, struct folio *folio,
				   unsigned long addr, pte_t *ptep, enum ttu_flags flags)
{
	unsigned long nr = folio_nr_pages(folio);
	struct rmap_unmap u __uninitialized;

	if (!rmap_group_whole(table->vma, folio, addr, nr))
		return false;
	rmap_run_init(&u.run, folio, table->vma, addr, nr);
	migrate_found(&u, table, folio, addr, ptep, ptep_get(ptep));
	u.flags = flags;
	if (rmap_run_length(&u.run) != nr)
		return false;
	u.run.nr = nr;
	migrate_run(&u, nr);
	return true;
}

/*
 * One folio of a group, in a table that is locked or will be if this is its entry. True when that
 * is all there is to do in this VMA, whether it could be unmapped or not; false when the walk of
 * this folio must find out: an entry of a device, a part of a folio, a PMD, a table that went.
 */
static __always_inline bool migrate_in_table(struct rmap_table *table, struct folio *folio,
					     unsigned long addr, enum ttu_flags flags)
{
	pte_t *ptep = rmap_table_at(table, addr), pte;
	bool large = folio_test_large(folio);
	struct rmap_unmap u __uninitialized;

	if (unlikely(!ptep))
		return rmap_table_absent(table, addr, folio_nr_pages(folio));
	pte = ptep_get_lockless(ptep);
	if (unlikely(!pte_present(pte)))
		return !large && pte_none(pte);
	if (pte_pfn(pte) != folio_pfn(folio))
		return !large;
	if (!table->locked && unlikely(!rmap_table_lock(table) ||
				       !pte_same(pte, ptep_get(ptep))))
		return false;
	if (large)
		return migrate_large(table, folio, addr, ptep, flags);
	migrate_found(&u, table, folio, addr, ptep, pte);
	u.flags = flags;
	migrate_run(&u, 1);
	return true;
}

/* The walk of one folio of a group, in this VMA; the notifiers know already. */
static noinline void migrate_alone(struct rmap_table *table, struct folio *folio,
				   unsigned long addr, enum ttu_flags flags)
{
	rmap_table_leave(table);
	rmap_unmap_runs(folio, table->vma, addr, flags, &migrate_op);
}

/* Return: whether some folio is still mapped. */
static bool migrate_group_folios(struct rmap_group *group, struct vm_area_struct *vma)
{
	struct rmap_table table;
	bool mapped = false;
	unsigned int i;

	rmap_table_init(&table, vma);
	update_hiwater_rss(vma->vm_mm);
	for (i = 0; i < group->nr; i++) {
		struct folio *folio = group->folios[i];
		unsigned long addr = rmap_group_addr(vma, folio);

		if (!folio_mapped(folio))
			continue;
		if (addr != -EFAULT && !migrate_in_table(&table, folio, addr, group->flags))
			migrate_alone(&table, folio, addr, group->flags);
		mapped |= folio_mapped(folio);
	}
	rmap_table_leave(&table);
	return mapped;
}

/*
 * The next folios of a group without a gap between them: secondary MMUs are told of these together,
 * and of nothing else. False when they are not in the VMA.
 */
static bool migrate_stretch(struct rmap_group *part, unsigned int nr, struct vm_area_struct *vma)
{
	struct folio *folio = part->folios[0];
	unsigned int i;

	part->first = folio_pgoff(folio);
	part->last = part->first + folio_nr_pages(folio) - 1;
	for (i = 1; i < nr; i++) {
		folio = part->folios[i];
		if (folio_pgoff(folio) == part->last + 1)
			part->last += folio_nr_pages(folio);
		else if (folio_pgoff(folio) + folio_nr_pages(folio) == part->first)
			part->first = folio_pgoff(folio);
		else
			break;
	}
	part->nr = i;
	return part->last >= vma->vm_pgoff && part->first < vma->vm_pgoff + vma_pages(vma);
}

static noinline bool migrate_group_notified(struct rmap_group *group, struct vm_area_struct *vma)
{
	struct mmu_notifier_range range;
	struct rmap_group part = *group;
	unsigned long start, end;
	bool mapped = false;
	unsigned int i;

	for (i = 0; i < group->nr; i += part.nr) {
		part.folios = group->folios + i;
		if (!migrate_stretch(&part, group->nr - i, vma)) {
			mapped = true;
			continue;
		}
		start = vma_address(vma, part.first, part.last - part.first + 1);
		end = min(part.last + 1 - vma->vm_pgoff, vma_pages(vma));
		mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, vma->vm_mm, start,
					vma->vm_start + (end << PAGE_SHIFT));
		mmu_notifier_invalidate_range_start(&range);
		mapped |= migrate_group_folios(&part, vma);
		mmu_notifier_invalidate_range_end(&range);
	}
	return mapped;
}

static bool migrate_group_visit(struct rmap_group *group, struct vm_area_struct *vma)
{
	if (folio_test_anon(group->folios[0]) && migrate_invalid_vma(vma, NULL))
		return true;
	if (unlikely(IS_ENABLED(CONFIG_LOCKDEP) || mm_has_notifiers(vma->vm_mm)))
		return migrate_group_notified(group, vma);
	return migrate_group_folios(group, vma);
}

/**
 * rmap_migrate_folios - put migration entries in the place of the mappings of many folios
 * @folios: the folios, referenced; a file's together and by index, or an anon_vma's, is best
 * @nr: how many
 * @flags: of TTU_* only BATCH_FLUSH
 *
 * try_to_migrate() of each of them, but neighbours are walked together. Of each folio that has
 * not been unmapped, folio_mapped() tells.
 *
 * Context: the folios are locked, and references are held on their anon_vmas. Sleeps.
 */
void rmap_migrate_folios(struct folio **folios, unsigned int nr, enum ttu_flags flags)
{
	struct rmap_group group = { .flags = flags, .visit = migrate_group_visit };
	unsigned int i;

	VM_WARN_ON_ONCE(flags & ~TTU_BATCH_FLUSH);
	for (i = 0; i < nr; i += group.nr) {
		group.folios = folios + i;
		rmap_group_form(&group, nr - i);
		if (group.nr > 1)
			rmap_group_walk(&group);
		else
			try_to_migrate(folios[i], flags);
	}
}

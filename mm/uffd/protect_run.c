// SPDX-License-Identifier: GPL-2.0
/*
 * Entries of one page table are write-protected, or are so no longer.
 *
 *	entry			protect				end that
 *	present			marked, not writable		not marked; writable at once where a
 *								write would find nothing to do
 *	none			left, or a marker (1)		left
 *	marker			left				cleared
 *	migration, device	marked, not writable		not marked
 *	swap			marked				not marked
 *	poison			left				left
 *
 * (1) Of a file's memory always, as what the page cache has can be mapped without a fault that
 * user space hears of; of anonymous memory where UFFD_FEATURE_WP_UNPOPULATED asks for it.
 *
 * Present entries come in rows: neighbours that say the same but for their frames. What changes in
 * the first one changes in all, so that it is found out once, and then each is exchanged by itself:
 * the processor may note an access meanwhile.
 */
#include <linux/mm.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <asm/tlb.h>

#include "../pte/leaf.h"
#include "uffd.h"

/**
 * struct row - present entries that differ in their frames alone
 * @bits: what they say besides
 * @change: those that change
 * @upgrade: those that change where a write would find nothing to do; @change if that is nowhere
 */
struct row {
	u64 bits;
	u64 change;
	u64 upgrade;
};

/* Who has a bit for userfaultfd in an entry tells the frame from the rest, too. */
static __always_inline u64 bits_of(pte_t pte)
{
	return pgprot_val(pte_pgprot(pte));
}

static __always_inline pte_t marked(struct uffd_protect *p, pte_t pte)
{
	return p->enable ? pte_mkuffd_wp(pte) : pte_clear_uffd_wp(pte);
}

static void row_begin(struct row *row, struct uffd_protect *p, pte_t pte)
{
	pte_t to = marked(p, pte);

	row->bits = bits_of(pte);
	row->change = pte_val(pte) ^ pte_val(to);
	row->upgrade = row->change;
	/* No more than a part of can_change_pte_writable(): what the bits say. */
	if (p->upgrade && !pte_special(to) && !pte_protnone(to) &&
	    !pte_needs_soft_dirty_wp(p->vma, to))
		row->upgrade = pte_val(pte) ^ pte_val(pte_mkwrite(to, p->vma));
}

/*
 * And the other part: what the page says. Of anonymous memory it is one flag, which is the page's
 * own, as none is hugetlb's.
 */
static __always_inline bool may_write(struct uffd_protect *p, unsigned long addr, pte_t old)
{
	if (likely(p->anonymous))
		return test_bit(PG_anon_exclusive, &pte_page(old)->flags);
	return can_change_pte_writable(p->vma, addr, pte_clear_uffd_wp(old));
}

static __always_inline pte_t row_changed(const struct row *row, struct uffd_protect *p,
					 unsigned long addr, pte_t old)
{
	u64 change = row->change;

	/* An access was noted meanwhile: it is no more of this row. A fault will do the rest. */
	if (unlikely(bits_of(old) != row->bits))
		return marked(p, old);
	if (row->upgrade != change && may_write(p, addr, old))
		change = row->upgrade;
	return __pte(pte_val(old) ^ change);
}

/* Return: how many entries from @ptep on are of the row that begins with @pte there. */
static unsigned long protect_row(struct uffd_protect *p, unsigned long addr, pte_t *ptep,
				 pte_t pte, unsigned long max)
{
	unsigned long nr = 0;
	struct row row;
	pte_t old;

	row_begin(&row, p, pte);
	if (!row.change) {
		while (nr < max && bits_of(ptep_get(ptep + nr)) == row.bits)
			nr++;
		return nr;
	}
	for (; nr < max && bits_of(ptep_get(ptep + nr)) == row.bits; nr++) {
		unsigned long at = addr + nr * PAGE_SIZE;

		old = ptep_modify_prot_start(p->vma, at, ptep + nr);
		ptep_modify_prot_commit(p->vma, at, ptep + nr, old,
					row_changed(&row, p, at, old));
	}
	/* Also where more is allowed: not every processor looks again after a fault. */
	if (pte_needs_flush(pte, __pte(pte_val(pte) ^ row.upgrade)))
		tlb_flush_pte_range(p->tlb, addr, nr * PAGE_SIZE);
	p->pages += nr;
	return nr;
}

/*
 * Of a page that is not there: in swap, being moved, at a device. One that was writable is not when
 * it comes back, and who writes then is asked. It stays exclusive, if it is anonymous.
 */
static pte_t protected_leaf(struct pte_leaf *leaf, bool enable)
{
	if (!enable) {
		leaf->flags &= ~LEAF_UFFD_WP;
		return pte_leaf_encode(leaf);
	}
	leaf->flags |= LEAF_UFFD_WP;
	if (leaf->flags & LEAF_WRITE) {
		leaf->flags &= ~LEAF_WRITE;
		if (leaf->kind == LEAF_MIGRATION && !folio_test_anon(pfn_folio(leaf->number)))
			leaf->flags &= ~LEAF_EXCLUSIVE;
	}
	return pte_leaf_encode(leaf);
}

/* What an entry becomes that is not present. */
static pte_t protected_absent(struct uffd_protect *p, pte_t pte)
{
	struct pte_leaf leaf = pte_leaf_decode(pte);

	switch (leaf.kind) {
	case LEAF_NONE:
		return p->enable && p->markers ? make_pte_marker(PTE_MARKER_UFFD_WP) : pte;
	case LEAF_MARKER:
		return p->enable || !(leaf.flags & LEAF_UFFD_WP) ? pte : __pte(0);
	case LEAF_POISON:
		return pte;
	default:
		return protected_leaf(&leaf, p->enable);
	}
}

static void protect_absent(struct uffd_protect *p, unsigned long addr, pte_t *ptep, pte_t old)
{
	pte_t pte = protected_absent(p, old);

	if (pte_same(pte, old))
		return;
	if (pte_none(pte))
		pte_clear(p->vma->vm_mm, addr, ptep);
	else
		set_pte_at(p->vma->vm_mm, addr, ptep, pte);
	p->pages++;
}

static unsigned long protect_entry(struct uffd_protect *p, unsigned long addr, pte_t *ptep,
				   unsigned long max)
{
	pte_t pte = ptep_get(ptep);

	if (likely(pte_present(pte)))
		return protect_row(p, addr, ptep, pte, max);
	protect_absent(p, addr, ptep, pte);
	return 1;
}

/**
 * uffd_protect_entries - write-protect entries of one page table, or end that
 * @p: how
 * @pmd: the table
 * @addr: address of the first one
 * @end: behind the last one
 *
 * Context: mmap_lock held. What has to be flushed is in p->tlb.
 * Return: false when there is no table: it is empty, or huge.
 */
bool uffd_protect_entries(struct uffd_protect *p, pmd_t *pmd, unsigned long addr, unsigned long end)
{
	struct mm_struct *mm = p->vma->vm_mm;
	unsigned long i, nr = (end - addr) >> PAGE_SHIFT;
	spinlock_t *ptl;
	pte_t *ptep;

	tlb_change_page_size(p->tlb, PAGE_SIZE);
	ptep = pte_offset_map_lock(mm, pmd, addr, &ptl);
	if (!ptep)
		return false;
	/* Reclaim may have put a flush off that an entry that is none now is still in need of. */
	flush_tlb_batched_pending(mm);
	arch_enter_lazy_mmu_mode();
	for (i = 0; i < nr;)
		i += protect_entry(p, addr + i * PAGE_SIZE, ptep + i, nr - i);
	arch_leave_lazy_mmu_mode();
	pte_unmap_unlock(ptep, ptl);
	return true;
}

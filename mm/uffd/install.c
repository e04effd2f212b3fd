// SPDX-License-Identifier: GPL-2.0
/*
 * Pages are mapped where nothing is: from one entry of a locked table on, as many as there is room
 * for.
 *
 *	what is there		page	zero page, poison
 *	none			map	write
 *	a marker		map	-EEXIST
 *	anything else		-EEXIST
 *	beyond the file's end	-EFAULT
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "../lru/lru.h"
#include "../rmap/group.h"
#include "uffd.h"

/* From so many folios on they go to the LRU lists by themselves, instead of filling its batches. */
#define LRU_AT_ONCE	8

/* The part of uffd_pages_in_file() that looks at the file. */
unsigned long pages_in_file(struct vm_area_struct *vma, unsigned long addr, unsigned long nr)
{
	pgoff_t index = linear_page_index(vma, addr);
	pgoff_t end = DIV_ROUND_UP(i_size_read(file_inode(vma->vm_file)), PAGE_SIZE);

	return index < end ? min(nr, end - index) : 0;
}

static __always_inline unsigned long entries_free(pte_t *ptep, unsigned long max)
{
	unsigned long nr = 0;

	while (nr < max && pte_none_mostly(ptep_get(ptep + nr)))
		nr++;
	return nr;
}

/*
 * Lock the table and count the entries that can be written, up to @nr.
 * Return: how many, more than 0; or an error, and nothing is locked.
 */
static __always_inline long install_lock(struct fill *f, unsigned long nr, pte_t **ptep,
					 spinlock_t **ptl)
{
	unsigned long room;

	*ptep = pte_offset_map_lock(f->vma->vm_mm, f->pmd, f->dst, ptl);
	if (!*ptep)
		return -EAGAIN;
	room = uffd_pages_in_file(f->vma, f->dst, nr);
	nr = entries_free(*ptep, room);
	if (likely(nr))
		return nr;
	pte_unmap_unlock(*ptep, *ptl);
	return room ? -EEXIST : -EFAULT;
}

/*
 * User space gave the contents, and nothing else has them: dirty. A page of the file must not be
 * written through a private mapping.
 */
static __always_inline pte_t install_entry(struct fill *f, struct page *page, bool of_file)
{
	struct vm_area_struct *vma = f->vma;
	pte_t pte = pte_mkdirty(mk_pte(page, vma->vm_page_prot));

	if (vma->vm_flags & VM_WRITE && (!of_file || vma->vm_flags & VM_SHARED))
		pte = pte_mkwrite(pte, vma);
	return f->flags & MFILL_ATOMIC_WP ? pte_mkuffd_wp(pte) : pte;
}

/* The statistics are told once. */
static __always_inline void install_count(struct fill *f, struct folio **folios, unsigned int nr)
{
	struct rmap_tally tally = {};
	unsigned int i;

	if (nr == 1) {
		folio_add_new_anon_rmap(folios[0], f->vma, f->dst, RMAP_EXCLUSIVE);
		return;
	}
	for (i = 0; i < nr; i++)
		rmap_count_new(&tally, folios[i], f->vma, f->dst + i * PAGE_SIZE);
	rmap_tally_end(&tally);
}

/* The table's lock keeps them from being unmapped, and freed, before they are on their lists. */
static __always_inline void install_lru(struct vm_area_struct *vma, struct folio **folios,
					unsigned int nr)
{
	unsigned int i;

	if (nr >= LRU_AT_ONCE && !(vma->vm_flags & VM_LOCKED)) {
		folios_add_lru(folios, nr);
		return;
	}
	for (i = 0; i < nr; i++)
		folio_add_lru_vma(folios[i], vma);
}

/**
 * uffd_install_new - map new anonymous pages
 * @f: the fill: its VMA, table, address and flags
 * @folios: the pages, charged and with their contents; a reference of each goes to its mapping
 * @nr: how many, at least 1; none beyond the table
 *
 * Context: the VMA is locked.
 * Return: how many were mapped, more than 0; -EEXIST, -EFAULT as in the table above; -EAGAIN when
 * there is no table any more.
 */
int uffd_install_new(struct fill *f, struct folio **folios, unsigned int nr)
{
	struct vm_area_struct *vma = f->vma;
	spinlock_t *ptl;
	long room, i;
	pte_t *ptep;

	room = install_lock(f, nr, &ptep, &ptl);
	if (room < 0)
		return room;
	install_count(f, folios, room);
	install_lru(vma, folios, room);
	add_mm_counter(vma->vm_mm, MM_ANONPAGES, room);
	for (i = 0; i < room; i++)
		set_pte_at(vma->vm_mm, f->dst + i * PAGE_SIZE, ptep + i,
			   install_entry(f, &folios[i]->page, false));
	/* Nothing was there: no TLB has anything to forget. */
	update_mmu_cache_range(NULL, vma, f->dst, ptep, room);
	pte_unmap_unlock(ptep, ptl);
	return room;
}

/**
 * uffd_install_large - map a new anonymous folio by entries
 * @f: the fill: its VMA, table, address and flags
 * @folio: large, charged, with its contents; the caller's reference goes to its mappings
 *
 * Context: the VMA is locked.
 * Return: 0, with all of it mapped; or as uffd_install_new(), and -EEXIST too when there is room
 * for a part only.
 */
int uffd_install_large(struct fill *f, struct folio *folio)
{
	struct vm_area_struct *vma = f->vma;
	long nr = folio_nr_pages(folio), room;
	spinlock_t *ptl;
	pte_t *ptep;

	room = install_lock(f, nr, &ptep, &ptl);
	if (room < 0)
		return room;
	if (likely(room == nr)) {
		folio_ref_add(folio, nr - 1);
		folio_add_new_anon_rmap(folio, vma, f->dst, RMAP_EXCLUSIVE);
		folio_add_lru_vma(folio, vma);
		add_mm_counter(vma->vm_mm, MM_ANONPAGES, nr);
		set_ptes(vma->vm_mm, f->dst, ptep, install_entry(f, &folio->page, false), nr);
		update_mmu_cache_range(NULL, vma, f->dst, ptep, nr);
	}
	pte_unmap_unlock(ptep, ptl);
	return room == nr ? 0 : -EEXIST;
}

/**
 * uffd_install_file - map consecutive pages of a file's folio
 * @f: the fill: its VMA, table, address and flags
 * @folio: locked, in the page cache; the caller's reference goes to the first mapping
 * @page: the first page
 * @nr: how many, at least 1; none beyond folio or table
 * @fresh: the folio is on no LRU list yet
 *
 * Context: the VMA is locked.
 * Return: as uffd_install_new().
 */
int uffd_install_file(struct fill *f, struct folio *folio, struct page *page, unsigned long nr,
		      bool fresh)
{
	struct vm_area_struct *vma = f->vma;
	spinlock_t *ptl;
	pte_t *ptep;
	long room;

	room = install_lock(f, nr, &ptep, &ptl);
	if (room < 0)
		return room;
	if (room > 1)
		folio_ref_add(folio, room - 1);
	/* First, so that locked memory finds it there to be counted. */
	if (fresh)
		folio_add_lru(folio);
	folio_add_file_rmap_ptes(folio, page, room, vma);
	add_mm_counter(vma->vm_mm, mm_counter_file(folio), room);
	set_ptes(vma->vm_mm, f->dst, ptep, install_entry(f, page, true), room);
	update_mmu_cache_range(NULL, vma, f->dst, ptep, room);
	pte_unmap_unlock(ptep, ptl);
	return room;
}

/**
 * mfill_atomic_install_pte - map a page where nothing is, for shmem
 * @dst_pmd: the table
 * @dst_vma: the VMA, locked
 * @dst_addr: where
 * @page: the page, charged, with its contents; a reference goes to the mapping. If it is of a file,
 *	its folio is locked
 * @newly_allocated: its folio is on no LRU list
 * @flags: MFILL_ATOMIC_WP
 *
 * Context: the VMA is locked.
 * Return: 0, or what uffd_install_new() says.
 */
int mfill_atomic_install_pte(pmd_t *dst_pmd, struct vm_area_struct *dst_vma,
			     unsigned long dst_addr, struct page *page, bool newly_allocated,
			     uffd_flags_t flags)
{
	struct fill f = { .flags = flags, .dst = dst_addr, .vma = dst_vma, .pmd = dst_pmd };
	struct folio *folio = page_folio(page);
	int done;

	if (folio_mapping(folio))
		done = uffd_install_file(&f, folio, page, 1, newly_allocated);
	else
		done = uffd_install_new(&f, &folio, 1);
	return done < 0 ? done : 0;
}

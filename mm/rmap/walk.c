// SPDX-License-Identifier: GPL-2.0
/*
 * From a folio to the VMAs that may map it.
 *
 *	rmap_walk() --+-- KSM folio ---> rmap_walk_ksm(), in ksm.c
 *		      +-- anonymous ---> interval tree of its anon_vma	     (anon_vma.c)
 *		      +-- file, shmem -> interval tree of its address_space
 *				|
 *				`-> for each VMA: invalid_vma()? rmap_one(), done()?
 *
 * "May map": the trees know what could be mapped where. Whether it is, the page tables say;
 * see vma_walk.c.
 *
 * Lock order of the reverse map, outermost first:
 *
 *	inode->i_rwsem				held by writers and truncation
 *	  mm->mmap_lock
 *	    mapping->invalidate_lock
 *	      folio lock			     hugetlb folios: after i_mmap_rwsem
 *		hugetlb vma lock		     tried only, when entered from here
 *		  vma lock, for writing
 *		    mapping->i_mmap_rwsem
 *		      anon_vma root's rwsem
 *			mm->page_table_lock, page table locks, pmd lock before pte lock
 *			  swap device and cluster locks	  mmlist_lock
 *			  mapping->i_pages lock		  lruvec->lru_lock
 *
 *	memory failure collects processes: anon_vma or i_mmap_rwsem, then tasklist_lock, then
 *	page tables. Secondary MMUs' range notifiers start and end outside the page table locks.
 */
#include <linux/ksm.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>

#include "../internal.h"
#include "rmap.h"
#include "walk.h"

/*
 * Without an anon_lock the caller has made sure that the anon_vma stays: restoring
 * migration entries finds a folio that is not mapped, for which
 * folio_lock_anon_vma_read() would return nothing.
 */
static struct anon_vma *rmap_lock_anon(struct folio *folio, struct rmap_walk_control *rwc)
{
	struct anon_vma *av;

	if (rwc->anon_lock)
		return rwc->anon_lock(folio, rwc);
	av = folio_anon_vma(folio);
	if (!av || anon_vma_trylock_read(av))
		return av;
	if (rwc->try_lock) {
		rwc->contended = true;
		return NULL;
	}
	anon_vma_lock_read(av);
	return av;
}

static bool rmap_lock_file(struct address_space *mapping, struct rmap_walk_control *rwc)
{
	if (i_mmap_trylock_read(mapping))
		return true;
	if (rwc->try_lock) {
		rwc->contended = true;
		return false;
	}
	i_mmap_lock_read(mapping);
	return true;
}

/*
 * The folio lock keeps the folio in its file, and a file that has folios keeps its
 * address_space; so the mapping read here can be locked and walked.
 */
static struct address_space *rmap_file_mapping(struct folio *folio)
{
	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);
	return folio_mapping(folio);
}

/**
 * rmap_walk - visit the VMAs that may map a folio
 * @folio: the folio, referenced; locked if it is a file's or KSM's
 * @rwc: whom to call; contended is set when try_lock kept the walk from being made
 *
 * Context: sleeps, unless try_lock; takes the folio's anon_vma or i_mmap lock for reading.
 */
void rmap_walk(struct folio *folio, struct rmap_walk_control *rwc)
{
	struct rmap_visitor visitor = {
		.rmap_one = rwc->rmap_one,
		.done = rwc->done,
		.invalid_vma = rwc->invalid_vma,
	};
	struct address_space *mapping;
	struct anon_vma *av;

	if (unlikely(folio_test_ksm(folio))) {
		rmap_walk_ksm(folio, rwc);
	} else if (folio_test_anon(folio)) {
		av = rmap_lock_anon(folio, rwc);
		if (!av)
			return;
		rmap_walk_anon_tree(folio, &visitor, rwc->arg, av);
		anon_vma_unlock_read(av);
	} else {
		mapping = rmap_file_mapping(folio);
		if (!mapping || !rmap_lock_file(mapping, rwc))
			return;
		rmap_walk_file_tree(folio, &visitor, rwc->arg, mapping);
		i_mmap_unlock_read(mapping);
	}
}

/**
 * rmap_walk_locked - visit the VMAs that may map a folio, the lock being held
 * @folio: the folio, not a KSM folio
 * @rwc: whom to call
 *
 * Context: the caller holds the folio's anon_vma or i_mmap lock.
 */
void rmap_walk_locked(struct folio *folio, struct rmap_walk_control *rwc)
{
	struct rmap_visitor visitor = {
		.rmap_one = rwc->rmap_one,
		.done = rwc->done,
		.invalid_vma = rwc->invalid_vma,
	};
	struct address_space *mapping;

	VM_WARN_ON_ONCE_FOLIO(folio_test_ksm(folio), folio);
	if (folio_test_anon(folio)) {
		rmap_walk_anon_tree(folio, &visitor, rwc->arg, folio_anon_vma(folio));
		return;
	}
	mapping = rmap_file_mapping(folio);
	if (mapping)
		rmap_walk_file_tree(folio, &visitor, rwc->arg, mapping);
}

/* Could this page be in this VMA at all? An anonymous one must be of the same family. */
static bool rmap_related(struct folio *folio, struct vm_area_struct *vma)
{
	struct anon_vma *av;

	if (!folio_test_anon(folio))
		return vma->vm_file && vma->vm_file->f_mapping == folio->mapping;
	/* NULL for a KSM folio, whose index tells nothing. */
	av = folio_anon_vma(folio);
	return av && vma->anon_vma && vma->anon_vma->root == av->root;
}

/**
 * page_address_in_vma - where would a page be mapped in a VMA?
 * @page: the page
 * @vma: the VMA
 *
 * Context: the folio is locked, so that its mapping and index stay.
 * Return: the address, which need not map the page; -EFAULT when it can be nowhere there.
 */
unsigned long page_address_in_vma(struct page *page, struct vm_area_struct *vma)
{
	struct folio *folio = page_folio(page);

	if (!rmap_related(folio, vma))
		return -EFAULT;
	return vma_address(vma, folio->index + folio_page_idx(folio, page), 1);
}

#ifdef CONFIG_MEMORY_FAILURE
/**
 * page_mapped_in_vma - where is a page mapped in a VMA?
 * @page: the page, of a file or anonymous, not hugetlb
 * @vma: the VMA
 *
 * Context: as for rmap_walk_locked().
 * Return: the address; -EFAULT when the page tables do not map it.
 */
unsigned long page_mapped_in_vma(struct page *page, struct vm_area_struct *vma)
{
	struct folio *folio = page_folio(page);
	struct page_vma_mapped_walk at = {
		.pfn = page_to_pfn(page),
		.nr_pages = 1,
		.vma = vma,
		.flags = PVMW_SYNC,
	};

	at.address = vma_address(vma, folio->index + folio_page_idx(folio, page), 1);
	if (at.address == -EFAULT || !rmap_step(&at, 0))
		return -EFAULT;
	page_vma_mapped_walk_done(&at);
	return at.address;
}
#endif

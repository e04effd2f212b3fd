// SPDX-License-Identifier: GPL-2.0
/*
 * Shared memory: CONTINUE maps as much of a folio as lies together; COPY and ZEROPAGE have shmem
 * make a page of the file, which it maps by mfill_atomic_install_pte().
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <asm/pgalloc.h>

#include "uffd.h"

/* The file's page at f->dst, its folio locked and with a reference. NULL where there is none. */
static int continue_find(struct fill *f, pgoff_t index, struct folio **folio)
{
	int err = shmem_get_folio(file_inode(f->vma->vm_file), index, 0, folio, SGP_NOALLOC);

	if (err == -ENOENT || (!err && !*folio))
		return -EFAULT;
	return err;
}

/* Pages before the first that is lost. The folio is marked later than its page: each is asked. */
static unsigned long pages_in_order(struct page *page, unsigned long max)
{
	unsigned long nr = 0;

	while (nr < max && !PageHWPoison(page + nr))
		nr++;
	return nr;
}

static int continue_map(struct fill *f, struct folio *folio, struct page *page)
{
	unsigned long nr = folio_nr_pages(folio) - folio_page_idx(folio, page);

	nr = pages_in_order(page, min(nr, fill_pages_left(f)));
	return nr ? uffd_install_file(f, folio, page, nr, false) : -EIO;
}

/**
 * fill_continue - a step of CONTINUE
 * @f: the fill, of shared memory
 *
 * Context: between fill_begin() and fill_end().
 * Return: 0; -EFAULT where the file has no page; -EIO for one that is lost; -EEXIST; -EAGAIN when
 * the table vanished; what shmem_get_folio() says.
 */
int fill_continue(struct fill *f)
{
	pgoff_t index = linear_page_index(f->vma, f->dst);
	struct folio *folio;
	int done;

	done = continue_find(f, index, &folio);
	if (done)
		return done;
	done = continue_map(f, folio, folio_file_page(folio, index));
	folio_unlock(folio);
	if (done < 0) {
		folio_put(folio);
		return done;
	}
	fill_advance(f, done);
	return 0;
}

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
/* All of a folio by a PMD, as the fault of a write would. */
static bool continue_map_huge(struct fill *f, struct folio *folio, pgoff_t index)
{
	struct vm_fault vmf = {
		.vma = f->vma, .address = f->dst, .pmd = f->pmd, .pgoff = index,
		.flags = FAULT_FLAG_WRITE,
	};
	bool mapped;

	/* The file may become shorter: who does that unmaps what is behind it, under our lock. */
	if (uffd_pages_in_file(f->vma, f->dst, HPAGE_PMD_NR) < HPAGE_PMD_NR)
		return false;
	if (!folio_test_pmd_mappable(folio) ||
	    pages_in_order(&folio->page, HPAGE_PMD_NR) < HPAGE_PMD_NR)
		return false;
	mapped = !do_set_pmd(&vmf, &folio->page);
	if (vmf.prealloc_pte)
		pte_free(f->vma->vm_mm, vmf.prealloc_pte);
	return mapped;
}

/**
 * fill_continue_huge - a step of CONTINUE that maps all of a page table's range by a PMD
 * @f: the fill, of memory of shmem; the PMD was empty
 *
 * Context: between fill_begin() and fill_end().
 * Return: 0; FILL_SMALLER when it has to be done by entries; as continue_find().
 */
int fill_continue_huge(struct fill *f)
{
	pgoff_t index = linear_page_index(f->vma, f->dst);
	struct folio *folio;
	bool mapped;
	int err;

	err = continue_find(f, index, &folio);
	if (err)
		return err;
	mapped = continue_map_huge(f, folio, index);
	folio_unlock(folio);
	/* Else the reference is the mapping's. */
	if (!mapped)
		folio_put(folio);
	return mapped ? 0 : FILL_SMALLER;
}
#endif

/* shmem has made a page and could not copy to it. The VMA may be another one afterwards. */
static int shmem_source(struct fill *f, struct folio *folio)
{
	int err;

	fill_end(f);
	if (!fill_copy_page(&folio->page, f->src))
		return -EFAULT;
	err = fill_begin(f);
	if (err)
		return err;
	return vma_is_shmem(f->vma) && f->vma->vm_flags & VM_SHARED ? 0 : -EAGAIN;
}

/**
 * fill_shmem - a step of COPY or ZEROPAGE to shared memory
 * @f: the fill
 *
 * Context: as for fill_pages().
 * Return: 0, or what shmem_mfill_atomic_pte() and fill_begin() say.
 */
int fill_shmem(struct fill *f)
{
	struct folio *folio = NULL;
	int err;

	for (;;) {
		err = shmem_mfill_atomic_pte(f->pmd, f->vma, f->dst, f->src, f->flags, &folio);
		/* It says so when the page waits for its contents. */
		if (err != -ENOENT || !folio)
			break;
		err = shmem_source(f, folio);
		if (err)
			break;
	}
	if (folio)
		folio_put(folio);
	if (!err)
		fill_advance(f, 1);
	return err;
}

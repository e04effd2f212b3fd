// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of what the reverse map decides by looking alone, on entries in plain memory.
 * Run: boot with kunit.enable=1, read /sys/kernel/debug/kunit/foliage_rmap/results.
 */
#include <kunit/test.h>

#include "unmap.h"

#define ORDER	4
#define NR	BIT(ORDER)

/* A folio of a file, and a VMA whose page table, which is no real one, maps all of it. */
struct fake {
	struct folio *folio;
	struct vm_area_struct vma;
	pte_t ptes[NR];
	struct rmap_unmap unmap;
};

static void fake_free(void *folio)
{
	folio_put(folio);
}

static __maybe_unused struct fake *fake_make(struct kunit *test)
{
	struct fake *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	size_t i;

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->folio = folio_alloc(GFP_KERNEL, ORDER);
	KUNIT_ASSERT_NOT_NULL(test, f->folio);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, fake_free, f->folio), 0);
	for (i = 0; i < NR; i++)
		f->ptes[i] = mk_pte(folio_page(f->folio, i), PAGE_READONLY);
	f->vma.vm_start = PMD_SIZE;
	f->vma.vm_end = 2 * PMD_SIZE;
	return f;
}

/* The run that begins with a page of the folio; wanted where pages can be poisoned. */
static __maybe_unused struct rmap_run *fake_run(struct fake *f, unsigned long first)
{
	struct rmap_run *run = &f->unmap.run;

	rmap_run_init(run, f->folio, &f->vma, PMD_SIZE + first * PAGE_SIZE, NR);
	run->at.pte = f->ptes + first;
	run->page = folio_page(f->folio, first);
	run->pte = f->ptes[first];
	run->nr = rmap_run_length(run);
	return run;
}

#ifdef CONFIG_MEMORY_FAILURE
/* A page that is lost is a run of its own. */
static void run_parted_by_poison(struct kunit *test)
{
	struct fake *f = fake_make(test);

	SetPageHWPoison(folio_page(f->folio, 5));
	KUNIT_EXPECT_EQ(test, fake_run(f, 0)->nr, 5);
	KUNIT_EXPECT_FALSE(test, rmap_unmap_poisoned(&f->unmap, 5));
	KUNIT_EXPECT_EQ(test, fake_run(f, 5)->nr, 1);
	KUNIT_EXPECT_TRUE(test, rmap_unmap_poisoned(&f->unmap, 1));
	KUNIT_EXPECT_EQ(test, fake_run(f, 6)->nr, NR - 6);
	KUNIT_EXPECT_FALSE(test, rmap_unmap_poisoned(&f->unmap, NR - 6));
	ClearPageHWPoison(folio_page(f->folio, 5));
}

/* One that is lost after the run was found does not make the others so, nor is it made whole. */
static void run_poisoned_meanwhile(struct kunit *test)
{
	struct fake *f = fake_make(test);

	KUNIT_EXPECT_EQ(test, fake_run(f, 0)->nr, NR);
	SetPageHWPoison(folio_page(f->folio, 0));
	KUNIT_EXPECT_FALSE(test, rmap_unmap_poisoned(&f->unmap, NR));
	KUNIT_EXPECT_TRUE(test, rmap_unmap_poisoned(&f->unmap, 1));
	ClearPageHWPoison(folio_page(f->folio, 0));
}
#endif

/* No table is an answer for what ends with it, not for what goes on in the next. */
static void table_absent(struct kunit *test)
{
	struct rmap_table table = { .found = RMAP_ABSENT };
	unsigned long last = PMD_SIZE - NR * PAGE_SIZE;

	KUNIT_EXPECT_TRUE(test, rmap_table_absent(&table, 0, PTRS_PER_PTE));
	KUNIT_EXPECT_TRUE(test, rmap_table_absent(&table, last, NR));
	KUNIT_EXPECT_FALSE(test, rmap_table_absent(&table, last + PAGE_SIZE, NR));
	KUNIT_EXPECT_FALSE(test, rmap_table_absent(&table, PAGE_SIZE, PTRS_PER_PTE));
	table.found = RMAP_UNSURE;
	KUNIT_EXPECT_FALSE(test, rmap_table_absent(&table, 0, 1));
}

#ifdef CONFIG_MEM_SOFT_DIRTY
/* What was gathered from dirty entries says of a clean one only that. */
static void undo_keeps_soft_dirty(struct kunit *test)
{
	struct fake *f = fake_make(test);
	pte_t clean = pte_clear_soft_dirty(f->ptes[0]);

	f->unmap.run.pte = clean;
	f->unmap.old = pte_mkdirty(clean);
	KUNIT_EXPECT_TRUE(test, pte_dirty(rmap_unmap_gathered(&f->unmap)));
	KUNIT_EXPECT_FALSE(test, pte_soft_dirty(rmap_unmap_gathered(&f->unmap)));
	f->unmap.run.pte = pte_mksoft_dirty(clean);
	f->unmap.old = pte_mksoft_dirty(clean);
	KUNIT_EXPECT_TRUE(test, pte_soft_dirty(rmap_unmap_gathered(&f->unmap)));
}
#endif

static struct kunit_case cases[] = {
#ifdef CONFIG_MEMORY_FAILURE
	KUNIT_CASE(run_parted_by_poison),
	KUNIT_CASE(run_poisoned_meanwhile),
#endif
	KUNIT_CASE(table_absent),
#ifdef CONFIG_MEM_SOFT_DIRTY
	KUNIT_CASE(undo_keeps_soft_dirty),
#endif
	{}
};

static struct kunit_suite suite = {
	.name = "foliage_rmap",
	.test_cases = cases,
};

kunit_test_suite(suite);

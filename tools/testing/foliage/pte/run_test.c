// SPDX-License-Identifier: GPL-2.0
/*
 * Runs: in one page table, where does each kind of run end, and what is changed in it?
 *
 * A test sets facts[], has them spelled into the table, and lets expect_runs() or
 * expect_swp_run() ask every function about some of it. The table is the only memory that
 * may be touched, and of it only the entries that the function was told of.
 */
#include <stdlib.h>
#include <string.h>

#include "pte.h"

#define TABLE_ADDR	(7UL << 21)
#define FRAME		0x12345UL

static struct fact facts[ENTRIES];
static pte_t *table;
static struct mm_struct mm;
static struct vm_area_struct vma = { .vm_mm = &mm };

/* From the heap, so that the sanitizer knows its end. */
static void new_table(void)
{
	free(table);
	table = calloc(ENTRIES, sizeof(*table));
	memset(facts, 0, sizeof(facts));
}

static void put(unsigned long at, struct fact fact)
{
	facts[at] = fact;
	table[at] = spell(&fact);
}

static void set_stage(unsigned long at, unsigned long nr)
{
	stage.vma = &vma;
	stage.addr = TABLE_ADDR + at * PAGE_SIZE;
	stage.first = table + at;
	stage.end = stage.first + nr;
}

/* Harvest, look at every entry that it might have changed, and put them back. */
static void expect_harvest(unsigned long at, unsigned long max, unsigned long want)
{
	pte_t before[ENTRIES], is, was;
	unsigned long nr, i, young_entries = 0;
	bool young;

	memcpy(before, table + at, max * sizeof(*table));
	/* Whatever it was before, it must be set. */
	young = at & 1;
	stage.clears = 0;
	nr = pte_run_harvest(&vma, stage.addr, table + at, max, &young);
	CHECK(nr == want, "at %lu of %lu: %lu, wanted %lu", at, max, nr, want);
	for (i = 0; i < max; i++) {
		is = table[at + i];
		was = before[i];
		if (i < want) {
			young_entries += !!(facts[at + i].flags & LEAF_YOUNG);
			was = __pte(pte_val(was) & ~ENTRY_YOUNG);
		}
		CHECK(pte_same(is, was), "at %lu + %lu: %llx, wanted %llx", at, i,
		      (unsigned long long)pte_val(is), (unsigned long long)pte_val(was));
	}
	CHECK(young == !!young_entries, "at %lu of %lu: young %d", at, max, young);
	/* It is an atomic operation: not for entries that have nothing to clear. */
	CHECK(stage.clears == young_entries, "at %lu of %lu: %lu, wanted %lu", at, max,
	      stage.clears, young_entries);
	memcpy(table + at, before, max * sizeof(*table));
}

/* The entry there is present. Returns the longest of its runs. */
static unsigned long expect_runs(unsigned long at, unsigned long max)
{
	unsigned long length = naive_run(facts + at, max, UNIMPORTANT);
	unsigned long alike = naive_run(facts + at, max, GATHERED);
	unsigned long nr;

	set_stage(at, max);
	nr = pte_run_length(table + at, table[at], max);
	CHECK(nr == length, "at %lu of %lu: %lu, wanted %lu", at, max, nr, length);
	nr = pte_run_alike(table + at, table[at], max);
	CHECK(nr == alike, "at %lu of %lu: %lu, wanted %lu", at, max, nr, alike);
	expect_harvest(at, max, length);
	return length;
}

/* The entry there is neither none nor present. */
static unsigned long expect_swp_run(unsigned long at, unsigned long max)
{
	unsigned long want = naive_run(facts + at, max, 0), nr;

	set_stage(at, max);
	nr = pte_run_alike_swp(table + at, table[at], max);
	CHECK(nr == want, "at %lu of %lu: %lu, wanted %lu", at, max, nr, want);
	return want;
}

static unsigned long expect_any(unsigned long at, unsigned long max)
{
	if (facts[at].kind == LEAF_NONE || facts[at].kind == LEAF_MARKER)
		return 1;
	return facts[at].kind == LEAF_PRESENT ? expect_runs(at, max) : expect_swp_run(at, max);
}

static const struct fact form_none, form_marker = { .kind = LEAF_MARKER, .number = 2 };

/* Frames whose successors carry into other bits, or do not. */
static const unsigned long first_frames[] = { 0, FRAME, 0xffff, BIT(PFN_BITS - 1) - 1 };

/* Two entries of any forms, the second for the same frame, the next, or the one after. */
static void pairs(const struct forms *first, const struct forms *second)
{
	unsigned int i, a, b;
	unsigned long next;

	new_table();
	for (i = 0; i < 4; i++) {
		for (a = 0; a < first->nr; a++) {
			put(0, fact_of(&first->list[a], first_frames[i]));
			for (b = 0; b < second->nr; b++) {
				for (next = 0; next < 3; next++) {
					put(1, fact_of(&second->list[b], first_frames[i] + next));
					expect_any(0, 2);
				}
			}
		}
	}
}

static void pairs_present(void)
{
	struct forms forms = present_forms();

	pairs(&forms, &forms);
}

static void pairs_swp(void)
{
	struct forms forms = swp_forms();

	pairs(&forms, &forms);
}

static void pairs_mixed(void)
{
	struct forms present = present_forms(), swp = swp_forms();

	pairs(&swp, &present);
	swp.list[swp.nr++] = form_marker;
	swp.list[swp.nr++] = form_none;
	pairs(&present, &swp);
	/* What ends a run of swap entries. */
	present = swp_forms();
	swp = (struct forms){ .list = { form_marker, form_none }, .nr = 2 };
	pairs(&present, &swp);
}

/* The kinds of entries that the longer tests are made of; those that a machine has. */
static struct forms alphabet(void)
{
	static const struct fact letters[] = {
		{ .kind = LEAF_PRESENT },
		{ .kind = LEAF_PRESENT, .flags = LEAF_YOUNG },
		{ .kind = LEAF_PRESENT, .flags = GATHERED | LEAF_WRITE },
		{ .kind = LEAF_PRESENT, .flags = GATHERED | LEAF_WRITE, .by_cpu = true },
		{ .kind = LEAF_PRESENT, .flags = LEAF_DIRTY | LEAF_SOFT_DIRTY },
		{ .kind = LEAF_PRESENT, .flags = LEAF_UFFD_WP },
		{ .kind = LEAF_PRESENT, .prot = PROT_NOTHING, .flags = LEAF_YOUNG },
		{ .kind = LEAF_MIGRATION },
		{ .kind = LEAF_MIGRATION, .flags = LEAF_EXCLUSIVE },
		{ .kind = LEAF_SWAP, .flags = LEAF_EXCLUSIVE },
		{ .kind = LEAF_DEVICE_EXCLUSIVE, .flags = LEAF_WRITE },
		{ .kind = LEAF_MARKER, .number = PTE_MARKER_POISONED },
		{ .kind = LEAF_NONE },
	};
	struct forms forms = {};
	unsigned int i;

	for (i = 0; i < sizeof(letters) / sizeof(*letters); i++)
		if (has_kind(letters[i].kind) &&
		    holds(letters[i].kind, letters[i].flags) == letters[i].flags)
			forms.list[forms.nr++] = letters[i];
	return forms;
}

#define WORD	4

/* Every word of four letters, each of them for the next frame; asked about in every length. */
static void words(void)
{
	struct forms letters = alphabet();
	unsigned long word, rest, end, at, max;

	new_table();
	for (at = 0, end = 1; at < WORD; at++)
		end *= letters.nr;
	for (word = 0; word < end; word++) {
		for (at = 0, rest = word; at < WORD; at++, rest /= letters.nr)
			put(at, fact_of(&letters.list[rest % letters.nr], FRAME + at));
		for (at = 0; at < WORD; at++)
			for (max = 1; max <= WORD - at; max++)
				expect_any(at, max);
	}
}

/* A folio of present entries that differ only in what may differ. */
static void put_folio(unsigned long at, unsigned long nr, unsigned long frame)
{
	struct fact fact = { .kind = LEAF_PRESENT };
	unsigned long i;

	for (i = 0; i < nr; i++) {
		fact.flags = holds(LEAF_PRESENT, i * 7 % 11 & UNIMPORTANT);
		fact.number = frame + i;
		put(at + i, fact);
	}
}

static void break_at(unsigned long at, const struct forms *letters, unsigned long nr)
{
	unsigned long place, i;
	struct fact was;

	for (place = at + 1; place < at + nr; place++) {
		was = facts[place];
		for (i = 0; i < letters->nr; i++) {
			put(place, fact_of(&letters->list[i], FRAME + place - at));
			expect_runs(at, nr);
		}
		was.number++;
		put(place, was);
		expect_runs(at, nr);
		was.number--;
		put(place, was);
	}
}

/* A folio of every order, at both ends of the table, broken at every place in every way. */
static void broken_everywhere(void)
{
	struct forms letters = alphabet();
	unsigned int order;

	for (order = 0; order < ORDERS; order++) {
		new_table();
		put_folio(0, BIT(order), FRAME);
		break_at(0, &letters, BIT(order));
		new_table();
		put_folio(ENTRIES - BIT(order), BIT(order), FRAME);
		break_at(ENTRIES - BIT(order), &letters, BIT(order));
	}
}

/* What a caller may ask about, an entry at a time: the folio, the VMA and the table have it. */
static unsigned long room(long at, long folio_end, long vma_end)
{
	unsigned long nr = 0;

	for (; at < ENTRIES && at < folio_end && at < vma_end; at++)
		nr++;
	return nr;
}

/* All that the VMA maps of the folio, from both to the end of the nearest. */
static void expect_mapping(long folio, long nr, long vma_start, long vma_end)
{
	long at = vma_start > folio ? vma_start : folio;
	unsigned long max, run;

	if (at < 0)
		at = 0;
	while ((max = room(at, folio + nr, vma_end))) {
		run = expect_runs(at, max);
		/* Around the folio frames and entries go on, so nothing else ends a run. */
		CHECK(run == max, "at %ld: %lu of %lu", at, run, max);
		at += run;
	}
}

/* Where to begin and end a VMA, beside a folio of some entries: before, at, in and behind. */
static void every_vma(long folio, long nr)
{
	const long edges[] = { -1000, folio, folio + 1, folio + nr / 2, folio + nr - 1,
			       folio + nr, 1000 };
	unsigned int a, b;

	for (a = 0; a < 7; a++)
		for (b = 0; b < 7; b++)
			expect_mapping(folio, nr, edges[a], edges[b]);
}

/* A folio of every order, in the table wherever it may be, and reaching over both its ends. */
static void ends_of_everything(void)
{
	unsigned int order;
	long nr, folio;

	new_table();
	for (order = 0; order < ORDERS; order++) {
		nr = BIT(order);
		put_folio(0, ENTRIES, FRAME);
		for (folio = 1 - nr; folio < ENTRIES; folio += folio % 64 == 1 ? 61 : 1)
			every_vma(folio, nr);
	}
}

/* Accessed bits alone: one, wherever it is, is found and cleared, and so are all. */
static void every_young(void)
{
	struct fact fact = { .kind = LEAF_PRESENT };
	unsigned long nr, young, i;
	unsigned int order;

	new_table();
	for (order = 0; order < ORDERS; order++) {
		nr = BIT(order);
		/* The last round has none. */
		for (young = 0; young <= nr; young++) {
			for (i = 0; i < nr; i++) {
				fact.number = FRAME + i;
				fact.flags = i == young ? LEAF_YOUNG : 0;
				put(i, fact);
			}
			expect_runs(0, nr);
		}
	}
}

/* Writable entries, of every four those young whose bit is set in @some. */
static void put_writable(unsigned long nr, unsigned int some)
{
	struct fact fact = { .kind = LEAF_PRESENT };
	unsigned long i;

	for (i = 0; i < nr; i++) {
		fact.flags = LEAF_WRITE | (some >> i % 4 & 1 ? LEAF_YOUNG : 0);
		fact.number = FRAME + i;
		put(i, fact);
	}
}

/* A CPU writes after some read of an entry: it stays written, and what was seen is told. */
static void harvest_and_write(unsigned long nr, unsigned int some, unsigned long when)
{
	unsigned long run;
	bool young;

	put_writable(nr, some);
	set_stage(0, nr);
	stage.written = NULL;
	stage.cpu_writes = when;
	run = pte_run_harvest(&vma, stage.addr, table, nr, &young);
	stage.cpu_writes = 0;
	CHECK(run == nr, "%lu of %lu", run, nr);
	CHECK(young == !!(some & (nr < 4 ? BIT(nr) - 1 : 15)), "%lu, young %d", nr, young);
	/* Every entry is read once: read again it might say something else. */
	CHECK(stage.written == (when <= nr ? table + when - 1 : NULL), "read %lu of %lu", when, nr);
	if (stage.written)
		CHECK(pte_dirty(*stage.written), "lost at %td of %lu", stage.written - table, nr);
}

static void cpu_writes_meanwhile(void)
{
	unsigned long nr, when;
	unsigned int some;

	new_table();
	for (nr = 1; nr <= 32; nr++)
		for (some = 0; some < 16; some++)
			for (when = 1; when <= 2 * nr; when++)
				harvest_and_write(nr, some, when);
}

static void expect_set(const struct fact *form, unsigned long at, unsigned long nr)
{
	struct fact fact = fact_of(form, FRAME);
	struct pte_leaf leaf = { fact.kind, fact.flags, fact.number };
	const struct fact around = { LEAF_PRESENT, 0, 0, 1, false };
	unsigned long i;
	pte_t want;

	for (i = 0; i < ENTRIES; i++)
		put(i, around);
	set_stage(at, nr);
	pte_run_set_swp(&mm, stage.addr, table + at, leaf, nr);
	for (i = 0; i < ENTRIES; i++) {
		if (i >= at && i < at + nr) {
			facts[i] = fact;
			fact.number++;
		}
		want = spell(&facts[i]);
		CHECK(pte_same(table[i], want), "%lu at %lu, entry %lu: %llx, wanted %llx", nr, at,
		      i, (unsigned long long)pte_val(table[i]),
		      (unsigned long long)pte_val(want));
	}
	if (nr)
		CHECK(expect_swp_run(at, ENTRIES - at) == nr, "%lu at %lu", nr, at);
}

/* Every form written as a run is what it should be, and is found as one. */
static void set_swp(void)
{
	struct forms forms = swp_forms();
	unsigned long nr;
	unsigned int f, order;

	new_table();
	for (f = 0; f < forms.nr; f++) {
		expect_set(&forms.list[f], 9, 0);
		for (order = 0; order < ORDERS; order++) {
			nr = BIT(order);
			expect_set(&forms.list[f], 0, nr);
			expect_set(&forms.list[f], ENTRIES - nr, nr);
			expect_set(&forms.list[f], (ENTRIES - nr) / 3, nr);
		}
	}
}

/* The same each time, so that a failure can be looked into. */
static unsigned long chance(unsigned long below)
{
	static uint64_t state = 88172645463325252ULL;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 33) % below;
}

/* One folio, or a piece of one, mostly of one form, with some entries changed. */
static void put_random(unsigned long at, unsigned long nr, const struct forms *forms)
{
	const struct fact *form = &forms->list[chance(forms->nr)];
	unsigned long frame = FRAME + chance(4) * ENTRIES + at, one_in = 1 + chance(40), i;

	for (i = 0; i < nr; i++) {
		struct fact fact = fact_of(form, frame + i);

		if (!chance(one_in) && fact.kind == LEAF_PRESENT)
			fact.flags ^= holds(LEAF_PRESENT, chance(FLAG_SETS));
		else if (!chance(2 * one_in))
			fact = fact_of(&forms->list[chance(forms->nr)], frame + i);
		else if (!chance(4 * one_in))
			fact = fact_of(form, frame + i + 1);
		/* Only a CPU that also set the other bits can have set one. */
		if ((fact.flags & (LEAF_WRITE | GATHERED)) != (LEAF_WRITE | GATHERED))
			fact.by_cpu = false;
		put(at + i, fact);
	}
}

static void random_table(const struct forms *forms)
{
	unsigned long end[ENTRIES], at, nr, i;

	for (at = 0; at < ENTRIES; at += nr) {
		nr = BIT(chance(ORDERS));
		if (nr > ENTRIES - at)
			nr = ENTRIES - at;
		put_random(at, nr, forms);
		for (i = at; i < at + nr; i++)
			end[i] = at + nr;
	}
	for (at = 0; at < ENTRIES; at += nr)
		nr = expect_any(at, end[at] - at);
}

/* Tables full of folios, from end to end, run by run as a walk would go. */
static void random_tables(void)
{
	struct forms forms = present_forms(), more = alphabet();
	unsigned int i;

	for (i = 0; i < more.nr; i++)
		forms.list[forms.nr++] = more.list[i];
	for (i = 0; i < 500; i++) {
		new_table();
		random_table(i & 1 ? &forms : &more);
	}
	free(table);
	table = NULL;
}

/*
 * On a shadow stack of x86 an entry that may be written to is one that is dirty without being
 * marked writable. Dirty is gathered over a run; that must not make the two kinds one.
 */
static void shadow_stacks(void)
{
	struct vm_area_struct stack = { .vm_mm = &mm, .vm_flags = VM_SHADOW_STACK };
	const struct fact dirty = { .kind = LEAF_PRESENT, .number = FRAME,
				    .flags = LEAF_YOUNG | LEAF_DIRTY };
	unsigned long first, at;

	new_table();
	for (first = 0; first < 2; first++) {
		for (at = 0; at < 2; at++) {
			struct fact fact = dirty;

			fact.number += at;
			put(at, fact);
			if (at == first)
				table[at] = pte_mkwrite(table[at], &stack);
		}
		set_stage(0, 2);
		CHECK(pte_write(table[0]) != pte_write(table[1]), "the machine has none");
		CHECK(pte_run_alike(table, table[0], 2) == 1, "writable: %lu of two", first);
		CHECK(pte_run_length(table, table[0], 2) == 2, "writable: %lu of two", first);
	}
	free(table);
	table = NULL;
}

const struct test run_tests[] = {
	{ "run: two present entries of any forms", pairs_present },
	{ "run: two swap entries of any forms", pairs_swp },
	{ "run: a present entry beside one that is not", pairs_mixed },
	{ "run: four entries of mixed kinds", words },
	{ "run: every order broken at every place", broken_everywhere },
	{ "run: ends of folio, VMA and table", ends_of_everything },
	{ "run: one Accessed bit anywhere", every_young },
	{ "run: a CPU writes meanwhile", cpu_writes_meanwhile },
	{ "run: a writable entry of a shadow stack", shadow_stacks },
	{ "run: written and found", set_swp },
	{ "run: random tables", random_tables },
	{}
};

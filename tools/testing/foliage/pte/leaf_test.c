// SPDX-License-Identifier: GPL-2.0
/*
 * Leaves: from entries and to entries, bit by bit, whatever an entry can say.
 */
#include "pte.h"

static const enum pte_leaf_kind first_kind = LEAF_SWAP, last_kind = LEAF_MARKER;

static void check_leaf(struct pte_leaf leaf, const struct fact *want, pte_t pte)
{
	CHECK(leaf.kind == want->kind && leaf.flags == want->flags &&
	      leaf.number == want->number,
	      "entry %llx: kind %d flags %x number %lx, wanted %d %x %lx",
	      (unsigned long long)pte_val(pte), leaf.kind, leaf.flags, leaf.number, want->kind,
	      want->flags, want->number);
}

static void check_entry(pte_t pte, pte_t want, const struct pte_leaf *leaf)
{
	CHECK(pte_same(pte, want), "kind %d flags %x number %lx: entry %llx, wanted %llx",
	      leaf->kind, leaf->flags, leaf->number, (unsigned long long)pte_val(pte),
	      (unsigned long long)pte_val(want));
}

static void decode_present(void)
{
	struct forms forms = present_forms();
	unsigned int f, i;
	unsigned long n;

	for (f = 0; f < forms.nr; f++) {
		for (i = 0; test_number(i, PFN_BITS, &n); i++) {
			struct fact fact = fact_of(&forms.list[f], n);
			pte_t pte = spell(&fact);

			CHECK(pte_present(pte), "form %u number %lx: the model is wrong", f, n);
			check_leaf(pte_leaf_decode(pte), &fact, pte);
			check_leaf(pte_leaf_decode_present(pte), &fact, pte);
		}
	}
}

static void decode_none(void)
{
	const struct fact none = { .kind = LEAF_NONE };
	pteval_t noise = 0;

	do {
		check_leaf(pte_leaf_decode(__pte(noise)), &none, __pte(noise));
		noise = (noise - ENTRY_NOISE) & ENTRY_NOISE;
	} while (noise);
}

/* What each swap type means, type by type. */
static const struct {
	enum pte_leaf_kind kind;
	unsigned int flags;
} special[SWP_TYPES] = {
	[SWP_HWPOISON] = { LEAF_POISON, 0 },
	[SWP_MIGRATION_READ] = { LEAF_MIGRATION, 0 },
	[SWP_MIGRATION_READ_EXCLUSIVE] = { LEAF_MIGRATION, LEAF_EXCLUSIVE },
	[SWP_MIGRATION_WRITE] = { LEAF_MIGRATION, LEAF_WRITE | LEAF_EXCLUSIVE },
	[SWP_DEVICE_WRITE] = { LEAF_DEVICE_PRIVATE, LEAF_WRITE },
	[SWP_DEVICE_READ] = { LEAF_DEVICE_PRIVATE, 0 },
	[SWP_DEVICE_EXCLUSIVE_WRITE] = { LEAF_DEVICE_EXCLUSIVE, LEAF_WRITE },
	[SWP_DEVICE_EXCLUSIVE_READ] = { LEAF_DEVICE_EXCLUSIVE, 0 },
	[SWP_PTE_MARKER] = { LEAF_MARKER, 0 },
};

static bool tells_wp(unsigned long marker)
{
	return ENTRY_WP != 0 && marker & PTE_MARKER_UFFD_WP;
}

static struct fact raw_fact(unsigned int type, unsigned long offset, pteval_t bits)
{
	struct fact fact = { .kind = LEAF_SWAP, .number = swp_entry(type, offset).val };

	if (type >= MAX_SWAPFILES) {
		fact.kind = special[type].kind;
		fact.flags = special[type].flags;
		fact.number = offset;
	}
	if (fact.kind == LEAF_MIGRATION) {
		fact.number &= BIT(PFN_BITS) - 1;
		if (swap_migration_ad_supported && offset & BIT(PFN_BITS))
			fact.flags |= LEAF_YOUNG;
		if (swap_migration_ad_supported && offset & BIT(PFN_BITS + 1))
			fact.flags |= LEAF_DIRTY;
	}
	if (bits & SWP_EXCLUSIVE)
		fact.flags |= LEAF_EXCLUSIVE;
	if (bits & SWP_SOFT)
		fact.flags |= LEAF_SOFT_DIRTY;
	if (bits & SWP_WP || (fact.kind == LEAF_MARKER && tells_wp(offset)))
		fact.flags |= LEAF_UFFD_WP;
	return fact;
}

/* An entry as it comes, and back, unless it has bits that are never set in its kind. */
static void check_raw(unsigned int type, unsigned long offset, pteval_t bits)
{
	struct fact fact = raw_fact(type, offset, bits);
	pte_t pte = __pte(entry_swp(type, offset) | bits);
	struct pte_leaf leaf = pte_leaf_decode_swp(pte);

	if (pte_none(pte))
		return;
	check_leaf(leaf, &fact, pte);
	check_leaf(pte_leaf_decode(pte), &fact, pte);
	if (bits & SWP_EXCLUSIVE && fact.kind != LEAF_SWAP)
		return;
	if (bits && (fact.kind == LEAF_POISON || fact.kind == LEAF_MARKER))
		return;
	check_entry(pte_leaf_encode(&leaf), pte, &leaf);
}

static void raw_with_bits(unsigned int type, unsigned long offset)
{
	const pteval_t all = SWP_EXCLUSIVE | SWP_SOFT | SWP_WP;
	pteval_t bits = 0;

	do {
		check_raw(type, offset, bits);
		bits = (bits - all) & all;
	} while (bits);
}

static bool keeps_ad(unsigned int type)
{
	return swap_migration_ad_supported && special[type].kind == LEAF_MIGRATION;
}

static unsigned int offset_bits(unsigned int type)
{
	return type < MAX_SWAPFILES ? SWP_OFFSET_BITS : PFN_BITS;
}

static void decode_raw(void)
{
	unsigned int type, i;
	unsigned long n, ad;

	for (type = 0; type < SWP_PTE_MARKER; type++)
		for (i = 0; test_number(i, offset_bits(type), &n); i++)
			for (ad = 0; ad < (keeps_ad(type) ? 4 : 1); ad++)
				raw_with_bits(type, n | ad << PFN_BITS);
	for (n = 0; n < 4; n++)
		raw_with_bits(SWP_PTE_MARKER, n);
}

/* Numbers worth a test of a kind; false when there are no more. */
static bool kind_number(enum pte_leaf_kind kind, unsigned int i, unsigned long *number)
{
	const unsigned int bits = kind == LEAF_SWAP ? SWP_OFFSET_BITS : PFN_BITS;

	if (kind == LEAF_MARKER) {
		*number = i;
		return i < 4;
	}
	if (!test_number(i, bits, number))
		return false;
	if (kind == LEAF_SWAP)
		*number = swp_entry(1 + i % (MAX_SWAPFILES - 1), *number).val;
	return true;
}

static void check_encode(enum pte_leaf_kind kind, unsigned int flags, unsigned long number)
{
	struct pte_leaf leaf = { kind, flags, number };
	struct fact fact = { kind, 0, told(kind, flags), number, false };
	pte_t pte = pte_leaf_encode(&leaf);

	check_entry(pte, spell(&fact), &leaf);
	CHECK(!pte_present(pte) && !pte_none(pte), "kind %d flags %x", kind, flags);
	if (kind == LEAF_MARKER && tells_wp(number))
		fact.flags |= LEAF_UFFD_WP;
	check_leaf(pte_leaf_decode(pte), &fact, pte);
}

/* Every kind with every set of flags; those that it cannot hold must leave no trace. */
static void encode_and_decode(void)
{
	enum pte_leaf_kind kind;
	unsigned long number;
	unsigned int flags, i;

	for (kind = first_kind; kind <= last_kind; kind++)
		for (i = 0; has_kind(kind) && kind_number(kind, i, &number); i++)
			for (flags = 0; flags < FLAG_SETS; flags++)
				check_encode(kind, flags, number);
}

static void encode_what_has_no_entry(void)
{
	const struct fact poisoned = { .kind = LEAF_MARKER, .number = PTE_MARKER_POISONED };
	unsigned long before = warnings;
	struct pte_leaf leaf = {};

	leaf.kind = LEAF_NONE;
	check_entry(pte_leaf_encode(&leaf), spell(&poisoned), &leaf);
	leaf.kind = LEAF_PRESENT;
	check_entry(pte_leaf_encode(&leaf), spell(&poisoned), &leaf);
	CHECK(warnings == before + 2, "%lu warnings", warnings - before);
	warnings = before;
}

/* What pte_leaf_map() makes of the flags, in a VMA of some protection. */
static struct fact mapped(unsigned int flags, enum prot prot, unsigned long frame)
{
	struct fact fact = { LEAF_PRESENT, prot, holds(LEAF_PRESENT, flags), frame, false };

	if (fact.flags & LEAF_WRITE)
		fact.flags &= ~LEAF_UFFD_WP;
	if (prot == PROT_WRITE) {
		fact.prot = PROT_READ;
		if (!(fact.flags & LEAF_UFFD_WP))
			fact.flags |= LEAF_WRITE;
	}
	return fact;
}

static void map(void)
{
	struct vm_area_struct vma = {};
	unsigned int flags, i;
	unsigned long n;
	enum prot prot;

	for (prot = 0; prot <= PROT_WRITE; prot++) {
		vma.vm_page_prot = prot_bits(prot);
		for (i = 0; test_number(i, PFN_BITS, &n); i++) {
			for (flags = 0; flags < FLAG_SETS; flags++) {
				struct pte_leaf leaf = { i % (LEAF_MARKER + 1), flags, ~n };
				struct fact fact = mapped(flags, prot, n);

				check_entry(pte_leaf_map(&leaf, &vma, pfn_to_page(n)),
					    spell(&fact), &leaf);
			}
		}
	}
}

/* The VMA says how an entry becomes writable. */
static void map_shadow_stack(void)
{
	struct vm_area_struct vma = { .vm_flags = VM_SHADOW_STACK };
	unsigned int flags;

	vma.vm_page_prot = prot_bits(PROT_READ);
	for (flags = 0; flags < FLAG_SETS; flags++) {
		struct pte_leaf leaf = { LEAF_MIGRATION, flags | LEAF_WRITE, 1 };
		struct fact fact = mapped(flags & ~(LEAF_WRITE | LEAF_UFFD_WP), PROT_READ, 1);
		pte_t want = __pte(entry_mkwrite(pte_val(spell(&fact)), true));

		check_entry(pte_leaf_map(&leaf, &vma, pfn_to_page(1)), want, &leaf);
	}
}

static pte_t make(const struct pte_leaf *leaf)
{
	struct vm_area_struct vma = { .vm_page_prot = prot_bits(PROT_READ) };

	if (leaf->kind == LEAF_PRESENT)
		return pte_leaf_map(leaf, &vma, pfn_to_page(leaf->number));
	return pte_leaf_encode(leaf);
}

static unsigned int told_by(enum pte_leaf_kind kind, unsigned int flags)
{
	return kind == LEAF_PRESENT ? mapped(flags, PROT_READ, 0).flags : told(kind, flags);
}

static void check_change(enum pte_leaf_kind from, enum pte_leaf_kind to, unsigned int flags)
{
	struct pte_leaf leaf = { from, flags, from == LEAF_SWAP ? swp_entry(1, 5).val : 5 };
	struct fact want = { to, 0, told_by(to, told_by(from, flags)), 6, false };
	pte_t pte = make(&leaf);

	leaf = pte_leaf_decode(pte);
	leaf.kind = to;
	leaf.number = to == LEAF_SWAP ? swp_entry(2, 6).val : 6;
	want.number = leaf.number;
	pte = make(&leaf);
	check_leaf(pte_leaf_decode(pte), &want, pte);
}

/* Any kind becomes any other: what both can hold stays, and nothing comes from nowhere. */
static void change_kind(void)
{
	enum pte_leaf_kind from, to;
	unsigned int flags;

	for (from = LEAF_PRESENT; from < LEAF_MARKER; from++)
		for (to = LEAF_PRESENT; has_kind(from) && to < LEAF_MARKER; to++)
			for (flags = 0; has_kind(to) && flags < FLAG_SETS; flags++)
				check_change(from, to, flags);
}

static void which_map(void)
{
	static const bool maps[] = {
		[LEAF_PRESENT] = true,
		[LEAF_DEVICE_PRIVATE] = true,
		[LEAF_MARKER] = false,
	};
	struct pte_leaf leaf = {};

	for (leaf.kind = LEAF_NONE; leaf.kind <= LEAF_MARKER; leaf.kind++)
		CHECK(pte_leaf_maps(&leaf) == maps[leaf.kind], "kind %d", leaf.kind);
}

const struct test leaf_tests[] = {
	{ "leaf: present entries decode", decode_present },
	{ "leaf: none decodes", decode_none },
	{ "leaf: every swap type with every bit decodes and encodes", decode_raw },
	{ "leaf: every kind with every flag encodes and decodes", encode_and_decode },
	{ "leaf: none and present do not encode", encode_what_has_no_entry },
	{ "leaf: every flag maps with every protection", map },
	{ "leaf: shadow stacks map", map_shadow_stack },
	{ "leaf: a change of kind keeps what both hold", change_kind },
	{ "leaf: what counts as a mapping", which_map },
	{}
};

// SPDX-License-Identifier: GPL-2.0
/*
 * The model: facts, and how each machine spells them.
 */
#include "pte.h"

bool swap_migration_ad_supported;

pgprot_t prot_bits(enum prot prot)
{
	static const pgprot_t bits[] = {
		[PROT_READ]	= { PAGE_READONLY },
		[PROT_EXEC]	= { PAGE_READONLY_EXEC },
		[PROT_NOTHING]	= { PAGE_NONE },
		[PROT_WRITE]	= { PAGE_SHARED },
	};

	return bits[prot];
}

bool has_kind(enum pte_leaf_kind kind)
{
	switch (kind) {
	case LEAF_MIGRATION:
	case LEAF_DEVICE_PRIVATE:
	case LEAF_DEVICE_EXCLUSIVE:
	case LEAF_POISON:
		return HAS_SPECIAL;
	default:
		return true;
	}
}

void allow_migration_ad(bool allow)
{
	swap_migration_ad_supported = allow && SWP_OFFSET_BITS >= PFN_BITS + 2;
}

/* Those of the flags that an entry of a kind can hold: the table of mm/pte/leaf.h. */
unsigned int holds(enum pte_leaf_kind kind, unsigned int flags)
{
	unsigned int tracked = (ENTRY_SOFT ? LEAF_SOFT_DIRTY : 0) | (ENTRY_WP ? LEAF_UFFD_WP : 0);

	switch (kind) {
	case LEAF_PRESENT:
		return flags & (LEAF_WRITE | GATHERED | tracked);
	case LEAF_SWAP:
		return flags & (LEAF_EXCLUSIVE | tracked);
	case LEAF_MIGRATION:
		return flags & (LEAF_WRITE | LEAF_EXCLUSIVE | tracked |
				(swap_migration_ad_supported ? GATHERED : 0));
	case LEAF_DEVICE_PRIVATE:
	case LEAF_DEVICE_EXCLUSIVE:
		return flags & (LEAF_WRITE | tracked);
	default:
		return 0;
	}
}

/* What an entry into which the flags were put tells. */
unsigned int told(enum pte_leaf_kind kind, unsigned int flags)
{
	flags = holds(kind, flags);
	if (kind == LEAF_MIGRATION && flags & LEAF_WRITE)
		flags |= LEAF_EXCLUSIVE;
	return flags;
}

struct fact fact_of(const struct fact *form, unsigned long frame)
{
	struct fact fact = *form;

	if (fact.kind == LEAF_SWAP)
		fact.number = swp_entry(1, frame).val;
	else if (fact.kind != LEAF_MARKER && fact.kind != LEAF_NONE)
		fact.number = frame;
	return fact;
}

static pteval_t spell_present(const struct fact *fact)
{
	pteval_t v = entry_make(fact->number, prot_bits(fact->prot).pgprot) & ~ENTRY_YOUNG;

	if (!fact->by_cpu && fact->flags & LEAF_YOUNG)
		v |= ENTRY_YOUNG;
	if (!fact->by_cpu && fact->flags & LEAF_DIRTY)
		v = entry_mkdirty(v);
	if (fact->flags & LEAF_WRITE)
		v = entry_mkwrite(v, false);
	if (fact->by_cpu)
		v = entry_cpu_write(v);
	if (fact->flags & LEAF_SOFT_DIRTY)
		v |= ENTRY_SOFT;
	if (fact->flags & LEAF_UFFD_WP)
		v |= ENTRY_WP;
	return v;
}

static unsigned int migration_type(const struct fact *fact)
{
	switch (fact->flags & (LEAF_WRITE | LEAF_EXCLUSIVE)) {
	case 0:
		return SWP_MIGRATION_READ;
	case LEAF_EXCLUSIVE:
		return SWP_MIGRATION_READ_EXCLUSIVE;
	default:
		return SWP_MIGRATION_WRITE;
	}
}

static unsigned int spell_type(const struct fact *fact)
{
	bool write = fact->flags & LEAF_WRITE;

	switch (fact->kind) {
	case LEAF_SWAP:
		return fact->number >> SWP_TYPE_SHIFT;
	case LEAF_MIGRATION:
		return migration_type(fact);
	case LEAF_DEVICE_PRIVATE:
		return write ? SWP_DEVICE_WRITE : SWP_DEVICE_READ;
	case LEAF_DEVICE_EXCLUSIVE:
		return write ? SWP_DEVICE_EXCLUSIVE_WRITE : SWP_DEVICE_EXCLUSIVE_READ;
	case LEAF_POISON:
		return SWP_HWPOISON;
	default:
		return SWP_PTE_MARKER;
	}
}

static unsigned long spell_offset(const struct fact *fact)
{
	unsigned long offset = fact->number;

	if (fact->kind == LEAF_SWAP)
		return offset & (BIT(SWP_TYPE_SHIFT) - 1);
	if (fact->kind == LEAF_MIGRATION && fact->flags & LEAF_YOUNG)
		offset |= BIT(PFN_BITS);
	if (fact->kind == LEAF_MIGRATION && fact->flags & LEAF_DIRTY)
		offset |= BIT(PFN_BITS + 1);
	return offset;
}

static pteval_t spell_swp(const struct fact *fact)
{
	pteval_t v = entry_swp(spell_type(fact), spell_offset(fact));

	if (fact->kind == LEAF_SWAP && fact->flags & LEAF_EXCLUSIVE)
		v |= SWP_EXCLUSIVE;
	if (fact->kind != LEAF_MARKER && fact->flags & LEAF_SOFT_DIRTY)
		v |= SWP_SOFT;
	if (fact->kind != LEAF_MARKER && fact->flags & LEAF_UFFD_WP)
		v |= SWP_WP;
	return v;
}

pte_t spell(const struct fact *fact)
{
	switch (fact->kind) {
	case LEAF_NONE:
		return __pte(0);
	case LEAF_PRESENT:
		return __pte(spell_present(fact));
	default:
		return __pte(spell_swp(fact));
	}
}

static bool goes_on(const struct fact *first, const struct fact *fact, unsigned long distance,
		    unsigned int may_differ)
{
	return fact->kind == first->kind && fact->prot == first->prot &&
	       fact->number == first->number + distance &&
	       !((fact->flags ^ first->flags) & ~may_differ);
}

unsigned long naive_run(const struct fact *fact, unsigned long max, unsigned int may_differ)
{
	unsigned long nr = 1;

	while (nr < max && goes_on(fact, fact + nr, nr, may_differ))
		nr++;
	return nr;
}

/* Every set of flags with every protection; what a CPU can have written, in both ways. */
struct forms present_forms(void)
{
	const unsigned int written = LEAF_WRITE | GATHERED;
	struct forms forms = {};
	unsigned int flags;
	enum prot prot;

	for (prot = 0; prot < PROTS; prot++) {
		for (flags = 0; flags < FLAG_SETS; flags++) {
			struct fact fact = { LEAF_PRESENT, prot, flags, 0, false };

			if (holds(LEAF_PRESENT, flags) != flags)
				continue;
			forms.list[forms.nr++] = fact;
			if ((flags & written) != written || prot == PROT_NOTHING)
				continue;
			fact.by_cpu = true;
			forms.list[forms.nr++] = fact;
		}
	}
	return forms;
}

/* Every kind that is neither none nor present, with every set of flags that it can hold. */
struct forms swp_forms(void)
{
	struct forms forms = {};
	enum pte_leaf_kind kind;
	unsigned int flags;

	for (kind = LEAF_SWAP; kind < LEAF_MARKER; kind++)
		for (flags = 0; has_kind(kind) && flags < FLAG_SETS; flags++)
			if (told(kind, flags) == flags)
				forms.list[forms.nr++] = (struct fact){ kind, 0, flags, 0, false };
	return forms;
}

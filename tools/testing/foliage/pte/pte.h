/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests share: counting failures, and the model.
 *
 * In the model an entry is a fact, spelled out in full. spell() writes it with the machine's
 * bits, without the code under test; naive_run() finds the end of a run by asking for each
 * entry whether it is what the first one says of a later frame. The tests make facts,
 * spell them, and compare what mm/pte makes of the entries with what follows from the facts.
 */
#ifndef PTE_H
#define PTE_H

#include <stdio.h>

#include "run.h"

#define ENTRIES	512
#define ORDERS	10

#define CHECK(cond, ...)						\
	do {								\
		if (!(cond) && failed(__FILE__, __LINE__, #cond))	\
			printf("#   " __VA_ARGS__), puts("");		\
	} while (0)

bool failed(const char *file, int line, const char *what);

struct test {
	const char *name;
	void (*run)(void);
};

extern const struct test leaf_tests[], run_tests[];

enum prot {
	PROT_READ,
	PROT_EXEC,
	PROT_NOTHING,
	PROT_WRITE,	/* of a VMA only; an entry that is writable has LEAF_WRITE */
	PROTS = PROT_WRITE,
};

/**
 * struct fact - all that one entry says
 * @kind: what it is
 * @prot: what else may be done than reading, where it is present
 * @flags: LEAF_*, none that the kind cannot hold
 * @number: as in a leaf
 * @by_cpu: it was a CPU that made it young and dirty
 */
struct fact {
	enum pte_leaf_kind kind;
	enum prot prot;
	unsigned int flags;
	unsigned long number;
	bool by_cpu;
};

#define FLAG_SETS	BIT(6)
#define GATHERED	(LEAF_YOUNG | LEAF_DIRTY)
#define UNIMPORTANT	(GATHERED | LEAF_SOFT_DIRTY | LEAF_WRITE)

/* Facts of frame 0; fact_of() says the same of another. */
struct forms {
	struct fact list[256];
	unsigned int nr;
};

pgprot_t prot_bits(enum prot prot);
bool has_kind(enum pte_leaf_kind kind);
unsigned int holds(enum pte_leaf_kind kind, unsigned int flags);
unsigned int told(enum pte_leaf_kind kind, unsigned int flags);
void allow_migration_ad(bool allow);
struct fact fact_of(const struct fact *form, unsigned long frame);
pte_t spell(const struct fact *fact);
unsigned long naive_run(const struct fact *fact, unsigned long max, unsigned int may_differ);
struct forms present_forms(void);
struct forms swp_forms(void);

/* Numbers with every bit alone, and with every bit and all below it; false: there are no more. */
static inline bool test_number(unsigned int i, unsigned int bits, unsigned long *number)
{
	*number = i <= bits ? BIT(i) - 1 : BIT(i - bits - 1);
	return i <= 2 * bits;
}

#endif /* PTE_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pagewatch thp: what is known of a process's huge pages.
 *
 *	thp.c		options, targets, sums
 *	thp_look.c	one process: page tables, folios, zeroes
 *	thp_why.c	why a range is not huge
 *	thp_out.c	text, JSON, Prometheus
 */
#ifndef PAGEWATCH_THP_H
#define PAGEWATCH_THP_H

#include "pagewatch.h"

#define MAX_ORDER	16	/* of any machine's PMD */

/* The first that holds is told. */
enum why {
	WHY_ADVICE,
	WHY_PROCESS,
	WHY_SETTING,
	WHY_USERFAULT,
	WHY_UNALIGNED,
	WHY_SHARED,
	WHY_EMPTY,
	WHY_NOT_YET,
	NR_WHYS
};

extern const char *const why_names[NR_WHYS];
extern const char *const why_texts[NR_WHYS];

/* Bytes, each mapping counted. */
struct thp_sum {
	uint64_t pmd;			/* mapped by PMDs */
	uint64_t order[MAX_ORDER + 1];	/* by entries, in folios of that order */
	uint64_t hugetlb;
	uint64_t zero_page;		/* reads of what was never written to */
	uint64_t not_huge[NR_WHYS];	/* of memory that could have huge pages */
	uint64_t zeroes;		/* pages of zeroes in folios larger than a page */
	uint64_t looked;		/* bytes that were looked at for those */
};

/* A VMA that has memory. */
struct thp_vma {
	uint64_t start;
	uint64_t end;
	enum vma_kind kind;
	char *name;
	struct thp_sum sum;
};

/* What the settings say, for all processes. */
struct thp_settings {
	uint64_t huge;		/* bytes of a PMD */
	char anon[16];		/* always, madvise, never: inherit is looked up */
	char shmem[16];
	uint64_t max_none;
	uint64_t max_shared;
};

/* What smaps says of a VMA. */
struct thp_flags {
	bool advised;		/* MADV_HUGEPAGE */
	bool refused;		/* MADV_NOHUGEPAGE */
	bool userfault;
	bool hugetlb;
};

struct thp {
	pid_t pid;
	const char *cgroup;
	bool all;
	bool verbose;
	bool zeroes;		/* look for them */
	bool json;
	const char *prometheus;
	struct thp_settings settings;
	struct thp_sum sum;
	struct thp_vma *vma;	/* of one process */
	size_t nr_vmas;
	unsigned int processes;
	char comm[32];
	int flags;		/* /proc/kpageflags */
};

/* thp_why.c */
int thp_settings_read(struct thp_settings *s);
enum why thp_why(const struct thp *t, const struct vma *v, const struct thp_flags *f, bool disabled,
		 uint64_t window, uint64_t present, uint64_t shared);

/* thp_look.c */
int thp_look(struct thp *t, struct proc *p);

/* thp_out.c */
uint64_t thp_mapped(const struct thp_sum *s);
uint64_t thp_not_huge(const struct thp_sum *s);
void thp_text(const struct thp *t);
void thp_json(const struct thp *t);
int thp_prometheus(const struct thp *t);

#endif

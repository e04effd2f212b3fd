// SPDX-License-Identifier: GPL-2.0
/*
 * move_pages(2).
 *
 *	for each page of the caller's arrays, in their order:
 *
 *	   bad argument ----------------------> the call ends, after the pages before are moved
 *	   |
 *	   +-- on the wrong node, isolated ---> joins the group; nothing is known of it yet
 *	   +-- anything else -----------------> its status is known: node, or -errno
 *
 *	a group ends where a page does not join it or is for another node: then it is migrated. If
 *	all of it went, its pages get their status; else the call ends, and says how many are left.
 *	Before a group has begun, those that do not join hold nobody up.
 *
 * The address space is locked for a stretch of pages, not for each. In that time page tables are
 * kept locked from one address to the next, folios are collected with a reference, and then taken
 * off their lists together.
 */
#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/cpuset.h>
#include <linux/hugetlb.h>
#include <linux/mempolicy.h>
#include <linux/pagewalk.h>
#include <linux/ptrace.h>
#include <linux/sched/mm.h>
#include <linux/security.h>
#include <linux/swap.h>
#include <linux/syscalls.h>

#include "../lru/lru.h"
#include "../rmap/rmap.h"
#include "migrate.h"

/* Entries of the caller's arrays that are looked at together. */
#define STRETCH		32

/* --- what is at an address -------------------------------------------------------------- */

/* A page table that stays locked from one address to the next. */
struct look {
	struct mm_struct *mm;
	struct vm_area_struct *vma;
	unsigned long table;	/* the first address of it */
	pte_t *ptes;		/* its first entry; NULL: none is locked */
	spinlock_t *ptl;
};

static void look_leave(struct look *look)
{
	if (look->ptes)
		pte_unmap_unlock(look->ptes, look->ptl);
	look->ptes = NULL;
}

/* Lock the table of an address. False: there is none, or none that is met often. */
static bool look_enter(struct look *look, unsigned long addr)
{
	pmd_t *pmd;

	if (likely(look->ptes && addr - look->table < PMD_SIZE))
		return true;
	look_leave(look);
	if (is_vm_hugetlb_page(look->vma))
		return false;
	pmd = rmap_find_pmd(look->mm, addr);
	if (!pmd)
		return false;
	look->table = addr & PMD_MASK;
	look->ptes = pte_offset_map_lock(look->mm, pmd, look->table, &look->ptl);
	return look->ptes;
}

/* The VMA of an address, if pages there may be moved. */
static bool look_vma(struct look *look, unsigned long addr)
{
	if (look->vma && addr >= look->vma->vm_start && addr < look->vma->vm_end)
		return true;
	look_leave(look);
	look->vma = vma_lookup(look->mm, addr);
	return look->vma;
}

/* What is done with a folio while the page table that maps it is locked. */
typedef int look_fn(struct folio *folio, void *arg);

/* Neither the zero pages nor device memory are anywhere. */
static int folio_place(struct folio *folio)
{
	if (unlikely(is_zero_folio(folio) || is_huge_zero_folio(folio)))
		return -EFAULT;
	if (unlikely(folio_is_zone_device(folio)))
		return -ENOENT;
	return folio_nid(folio);
}

/* Huge mappings, the zero page, VMAs of special kinds. */
static noinline int look_closer(struct look *look, unsigned long addr, look_fn *fn, void *arg)
{
	struct folio_walk walk;
	struct folio *folio;
	int ret;

	look_leave(look);
	folio = folio_walk_start(&walk, look->vma, addr, FW_ZEROPAGE);
	if (!folio)
		return -ENOENT;
	ret = fn(folio, arg);
	folio_walk_end(&walk, look->vma);
	return ret;
}

/* Return: what @fn says of the folio at @addr; -ENOENT when there is none. */
static __always_inline int look_at(struct look *look, unsigned long addr, look_fn *fn, void *arg)
{
	struct folio *folio = NULL;
	pte_t pte;

	if (likely(look_enter(look, addr))) {
		pte = ptep_get(look->ptes + pte_index(addr));
		if (pte_none(pte))
			return -ENOENT;
		if (likely(pte_present(pte)))
			folio = vm_normal_folio(look->vma, addr, pte);
	}
	if (unlikely(!folio))
		return look_closer(look, addr, fn, arg);
	return fn(folio, arg);
}

/* --- the call --------------------------------------------------------------------------- */

/**
 * struct move_pages - one call with target nodes
 * @mm: whose pages
 * @allowed: nodes that its task may use
 * @nr: entries of the arrays
 * @pages: addresses
 * @nodes: targets
 * @status: results
 * @all: pages that others map, too
 * @base: the first entry of the stretch at hand
 * @have: its length
 * @at: so many of them are dealt with, or in the group
 * @addr: addresses of the stretch
 * @node: targets, the same
 * @where: statuses that are not written yet, the same
 * @stop: why there are no more entries; 0 if there are
 * @group: folios to be migrated
 * @group_start: the entry of the first of them; they go up to the one at hand
 * @group_node: where they go
 * @found: folios collected, in the order of their entries
 * @nr_found: how many
 */
struct move_pages {
	struct mm_struct *mm;
	nodemask_t allowed;
	unsigned long nr;
	const void __user * __user *pages;
	const int __user *nodes;
	int __user *status;
	bool all;

	unsigned long base;
	unsigned int have;
	unsigned int at;
	unsigned long addr[STRETCH];
	int node[STRETCH];
	int where[STRETCH];
	int stop;

	struct list_head group;
	unsigned long group_start;
	int group_node;

	struct folio *found[STRETCH];
	unsigned int nr_found;
};

static inline unsigned long entry_at_hand(const struct move_pages *call)
{
	return call->base + call->at;
}

static int read_address(unsigned long *addr, const void __user * __user *pages,
			unsigned long entry)
{
	compat_uptr_t __user *compat = (compat_uptr_t __user *)pages;
	compat_uptr_t one;

	if (!in_compat_syscall())
		return get_user(*addr, (unsigned long __user *)pages + entry);
	if (get_user(one, compat + entry))
		return -EFAULT;
	*addr = (unsigned long)compat_ptr(one);
	return 0;
}

/* Return: how many could be read. */
static unsigned int read_addresses(unsigned long *addr, const void __user * __user *pages,
				   unsigned long from, unsigned int nr)
{
	unsigned int i;

	if (!in_compat_syscall() && !copy_from_user(addr, pages + from, nr * sizeof(*addr)))
		return nr;
	for (i = 0; i < nr; i++)
		if (read_address(addr + i, pages, from + i))
			break;
	return i;
}

static unsigned int read_nodes(int *node, const int __user *nodes, unsigned long from,
			       unsigned int nr)
{
	unsigned int i;

	if (!copy_from_user(node, nodes + from, nr * sizeof(*node)))
		return nr;
	for (i = 0; i < nr; i++)
		if (get_user(node[i], nodes + from + i))
			break;
	return i;
}

static int check_node(const struct move_pages *call, int node)
{
	if (node < 0 || node >= MAX_NUMNODES || !node_state(node, N_MEMORY))
		return -ENODEV;
	return node_isset(node, call->allowed) ? 0 : -EACCES;
}

/* The next entries, up to the first bad one. */
static void read_stretch(struct move_pages *call)
{
	unsigned int want, have, i;

	call->base += call->have;
	want = min_t(unsigned long, STRETCH, call->nr - call->base);
	have = read_addresses(call->addr, call->pages, call->base, want);
	have = read_nodes(call->node, call->nodes, call->base, have);
	if (have < want)
		call->stop = -EFAULT;
	for (i = 0; i < have; i++) {
		int err = check_node(call, call->node[i]);

		if (err) {
			call->stop = err;
			break;
		}
	}
	call->have = i;
	call->at = 0;
}

/* --- groups ----------------------------------------------------------------------------- */

static int migrate_group(struct move_pages *call)
{
	struct migration_target_control mtc = {
		.nid = call->group_node,
		.gfp_mask = GFP_HIGHUSER_MOVABLE | __GFP_THISNODE,
		.reason = MR_SYSCALL,
	};
	int err;

	err = migrate_pages(&call->group, alloc_migration_target, NULL, (unsigned long)&mtc,
			    MIGRATE_SYNC, MR_SYSCALL, NULL);
	if (err)
		putback_movable_pages(&call->group);
	return err;
}

static int put_statuses(struct move_pages *call, unsigned long from, unsigned long end, int status)
{
	for (; from < end; from++)
		if (put_user(status, call->status + from))
			return -EFAULT;
	return 0;
}

/*
 * Migrate the group, which goes up to the entry at hand. Return: 0; an error; or how many pages
 * are not moved, with those that were not looked at: from @rest on.
 */
static int end_group(struct move_pages *call, unsigned long rest)
{
	int err;

	if (list_empty(&call->group))
		return 0;
	err = migrate_group(call);
	if (err > 0)
		return err + call->nr - rest;
	return err ?: put_statuses(call, call->group_start, entry_at_hand(call),
				   call->group_node);
}

/* --- joining a group -------------------------------------------------------------------- */

/* What becomes of an entry, beside statuses: nodes and errors. */
#define JOINS		MAX_NUMNODES		/* it belongs to the group */
#define OTHER_NODE	(MAX_NUMNODES + 1)	/* it is for another group */
#define LATER		(MAX_NUMNODES + 2)	/* not with those that were collected */

/* With the page table locked: what of this folio? */
static int collect(struct folio *folio, void *arg)
{
	struct move_pages *call = arg;
	int place = folio_place(folio);

	if (unlikely(place < 0) || place == call->group_node)
		return place;
	if (!call->all && folio_likely_mapped_shared(folio))
		return -EACCES;
	if (unlikely(folio_test_hugetlb(folio)))
		return isolate_hugetlb(folio, &call->group) ? JOINS : -EBUSY;
	folio_get(folio);
	call->found[call->nr_found++] = folio;
	return JOINS;
}

/*
 * Take what was collected off its lists. The first that cannot be had is where the group ends; the
 * ones after it are left for later.
 *
 * Return: how many were taken.
 */
static unsigned int isolate_found(struct move_pages *call)
{
	struct isolated isolated = {};
	struct lru_move mv;
	unsigned int i, got;

	lru_move_init(&mv);
	for (got = 0; got < call->nr_found; got++)
		if (!lru_move_take(&mv, call->found[got]))
			break;
	lru_move_end(&mv);
	for (i = 0; i < got; i++) {
		list_add_tail(&call->found[i]->lru, &call->group);
		isolated_add(&isolated, call->found[i], 1);
	}
	isolated_end(&isolated);
	for (; i < call->nr_found; i++)
		folio_put(call->found[i]);
	call->nr_found = 0;
	return got;
}

/**
 * struct joined - what became of the entries at hand
 * @known: so many had a status at once, before there was a group
 * @joined: the next so many joined the group
 * @status: of the one after those, which did not; JOINS: it was not looked at
 */
struct joined {
	unsigned int known;
	unsigned int joined;
	int status;
};

static __always_inline int join_one(struct move_pages *call, struct look *look, unsigned int i)
{
	unsigned long addr = untagged_addr_remote(call->mm, call->addr[i]);

	if (!look_vma(look, addr) || !vma_migratable(look->vma))
		return -EFAULT;
	if (call->nr_found && is_vm_hugetlb_page(look->vma))
		return LATER;
	return look_at(look, addr, collect, call);
}

/*
 * Go through the stretch until somebody who does not join meets a group. A hugetlb folio joins at
 * once, not with those that were collected, so it is left for the next time if there are any.
 */
static void join_entries(struct move_pages *call, struct look *look, struct joined *j)
{
	bool group = !list_empty(&call->group);
	unsigned int i;
	int status;

	for (i = call->at; i < call->have; i++) {
		if (!group) {
			call->group_node = call->node[i];
			call->group_start = call->base + i;
		} else if (call->node[i] != call->group_node) {
			j->status = OTHER_NODE;
			return;
		}
		status = join_one(call, look, i);
		if (status == LATER)
			return;
		if (status == JOINS) {
			group = true;
			if (!call->nr_found) {
				j->joined = 1;
				return;
			}
			continue;
		}
		if (group) {
			j->status = status;
			return;
		}
		call->where[i] = status;
		j->known++;
	}
}

static void join(struct move_pages *call, struct joined *j)
{
	struct look look = { .mm = call->mm };
	unsigned int collected, got;

	*j = (struct joined){ .status = JOINS };
	mmap_read_lock(call->mm);
	join_entries(call, &look, j);
	look_leave(&look);
	mmap_read_unlock(call->mm);
	collected = call->nr_found;
	got = isolate_found(call);
	if (got < collected)
		j->status = -EBUSY;
	j->joined += got;
}

/* Let as many entries join as can. Return: 0, or what ends the call. */
static int advance(struct move_pages *call)
{
	unsigned long entry = entry_at_hand(call);
	struct joined j;
	int err = 0;

	join(call, &j);
	if (j.known && copy_to_user(call->status + entry, call->where + call->at,
				    j.known * sizeof(int)))
		err = -EFAULT;
	call->at += j.known + j.joined;
	entry = entry_at_hand(call);
	if (!err && j.status == OTHER_NODE)
		return end_group(call, entry);
	if (!err && j.status == JOINS)
		return 0;
	/* This entry is dealt with, whatever becomes of those before it. */
	if (!err)
		err = put_statuses(call, entry, entry + 1, j.status);
	if (err) {
		end_group(call, entry);
		return err;
	}
	err = end_group(call, entry + 1);
	call->at++;
	return err;
}

static int move_all(struct move_pages *call)
{
	int err, last;

	while (entry_at_hand(call) < call->nr && !fatal_signal_pending(current)) {
		if (call->at == call->have) {
			if (call->stop)
				break;
			read_stretch(call);
			continue;
		}
		err = advance(call);
		if (err)
			return err;
	}
	last = end_group(call, entry_at_hand(call));
	return call->stop ?: last;
}

/* --- without target nodes --------------------------------------------------------------- */

static int say_place(struct folio *folio, void *arg)
{
	return folio_place(folio);
}

static void stat_stretch(struct mm_struct *mm, const unsigned long *addr, int *status,
			 unsigned int nr)
{
	struct look look = { .mm = mm };
	unsigned int i;

	mmap_read_lock(mm);
	for (i = 0; i < nr; i++)
		status[i] = look_vma(&look, addr[i]) ?
			    look_at(&look, addr[i], say_place, NULL) : -EFAULT;
	look_leave(&look);
	mmap_read_unlock(mm);
}

static int stat_pages(struct mm_struct *mm, unsigned long nr,
		      const void __user * __user *pages, int __user *status)
{
	unsigned long addr[STRETCH], done;
	unsigned int want, n;
	int where[STRETCH];

	for (done = 0; done < nr; done += n) {
		want = min_t(unsigned long, STRETCH, nr - done);
		n = read_addresses(addr, pages, done, want);
		stat_stretch(mm, addr, where, n);
		if (copy_to_user(status + done, where, n * sizeof(int)) || n < want)
			return -EFAULT;
		cond_resched();
	}
	return 0;
}

/* --- the system call -------------------------------------------------------------------- */

/* The address space of a task, if we may touch it, and the nodes that it may use. */
static struct mm_struct *find_mm(pid_t pid, nodemask_t *allowed)
{
	struct task_struct *task;
	struct mm_struct *mm;
	int err = -EPERM;

	if (!pid) {
		*allowed = cpuset_mems_allowed(current);
		mmget(current->mm);
		return current->mm;
	}
	task = find_get_task_by_vpid(pid);
	if (!task)
		return ERR_PTR(-ESRCH);
	if (ptrace_may_access(task, PTRACE_MODE_READ_REALCREDS))
		err = security_task_movememory(task);
	if (err) {
		mm = ERR_PTR(err);
	} else {
		*allowed = cpuset_mems_allowed(task);
		mm = get_task_mm(task) ?: ERR_PTR(-EINVAL);
	}
	put_task_struct(task);
	return mm;
}

static int do_move_pages(struct move_pages *call)
{
	int err;

	INIT_LIST_HEAD(&call->group);
	lru_cache_disable();
	err = move_all(call);
	lru_cache_enable();
	return err;
}

SYSCALL_DEFINE6(move_pages, pid_t, pid, unsigned long, nr_pages,
		const void __user * __user *, pages,
		const int __user *, nodes,
		int __user *, status, int, flags)
{
	struct move_pages call;
	struct mm_struct *mm;
	int err;

	if (flags & ~(MPOL_MF_MOVE | MPOL_MF_MOVE_ALL))
		return -EINVAL;
	if (flags & MPOL_MF_MOVE_ALL && !capable(CAP_SYS_NICE))
		return -EPERM;
	mm = find_mm(pid, &call.allowed);
	if (IS_ERR(mm))
		return PTR_ERR(mm);
	if (nodes) {
		call.mm = mm;
		call.nr = nr_pages;
		call.pages = pages;
		call.nodes = nodes;
		call.status = status;
		call.all = flags & MPOL_MF_MOVE_ALL;
		call.base = 0;
		call.have = 0;
		call.at = 0;
		call.stop = 0;
		call.nr_found = 0;
		err = do_move_pages(&call);
	} else {
		err = stat_pages(mm, nr_pages, pages, status);
	}
	mmput(mm);
	return err;
}

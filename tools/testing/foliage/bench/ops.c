// SPDX-License-Identifier: GPL-2.0
/*
 * The table of operations: a new row of the benchmark is a line here and a function in its area's
 * file.
 */
#include "bench.h"

const struct op ops[] = {
	{ "idle-mark-4k",		"idle",	   "page",  idle_mark,		FOLIO_4K },
	{ "idle-read-4k",		"idle",	   "page",  idle_read,		FOLIO_4K },
	{ "idle-mark-4k-shared",	"idle",	   "page",  idle_mark_shared,	FOLIO_4K },
	{ "idle-read-4k-shared",	"idle",	   "page",  idle_read_shared,	FOLIO_4K },
	{ "idle-mark-64k",		"idle",	   "4 KiB", idle_mark,		FOLIO_64K },
	{ "idle-read-64k",		"idle",	   "4 KiB", idle_read,		FOLIO_64K },
	{ "idle-mark-2m",		"idle",	   "4 KiB", idle_mark,		FOLIO_2M },
	{ "idle-read-2m",		"idle",	   "4 KiB", idle_read,		FOLIO_2M },
	{ "idle-read-free",		"idle",	   "frame", idle_read_free,	0 },
	{ "kpageflags-read",		"procfs",  "page",  kpageflags_read,	FOLIO_4K },
	{ "kpagecount-read",		"procfs",  "page",  kpagecount_read,	FOLIO_4K },
	{ "kpagecgroup-read",		"procfs",  "page",  kpagecgroup_read,	FOLIO_4K },
	{ "pagemap-read",		"procfs",  "page",  pagemap_read,	FOLIO_4K },
	{ "mlock-4k",			"mlock",   "page",  mlock_lock,		FOLIO_4K },
	{ "munlock-4k",			"mlock",   "page",  mlock_unlock,	FOLIO_4K },
	{ "munmap-locked-4k",		"mlock",   "page",  mlock_unmap,	FOLIO_4K },
	{ "mlock-64k",			"mlock",   "4 KiB", mlock_lock,		FOLIO_64K },
	{ "munlock-64k",		"mlock",   "4 KiB", mlock_unlock,	FOLIO_64K },
	{ "munmap-locked-64k",		"mlock",   "4 KiB", mlock_unmap,	FOLIO_64K },
	{ "mmap-locked-populate",	"mlock",   "page",  mlock_populate,	FOLIO_4K },
	{ "fork-exit-4k",		"fork",	   "page",  fork_exit,		FOLIO_4K },
	{ "munmap-4k",			"fork",	   "page",  fork_unmap,		FOLIO_4K },
	{ "fork-exit-64k",		"fork",	   "4 KiB", fork_exit,		FOLIO_64K },
	{ "munmap-64k",			"fork",	   "4 KiB", fork_unmap,		FOLIO_64K },
	{ "fork-exit-shared",		"fork",	   "page",  fork_exit_shared,	FOLIO_4K },
	{ "fork-exit-vmas",		"fork",	   "VMA",   fork_vmas,		0 },
	{ "fork-chain-cow",		"fork",	   "VMA",   fork_chain,		0 },
	{ "lazyfree-pageout-4k",	"reclaim", "page",  reclaim_lazyfree,	FOLIO_4K },
	{ "lazyfree-pageout-64k",	"reclaim", "4 KiB", reclaim_lazyfree,	FOLIO_64K },
	{ "pageout-zram-4k",		"reclaim", "page",  reclaim_zram,	FOLIO_4K },
	{ "pageout-zram-64k",		"reclaim", "4 KiB", reclaim_zram,	FOLIO_64K },
	{ "move-pages-4k",		"move",	   "page",  move_nodes,		FOLIO_4K },
	{ "move-pages-64k",		"move",	   "4 KiB", move_nodes,		FOLIO_64K },
	{ "move-pages-2m",		"move",	   "4 KiB", move_nodes,		FOLIO_2M },
	{ "uffd-copy-4k",		"uffd",	   "page",  uffd_copy,		FOLIO_4K },
	{ "uffd-copy-2m",		"uffd",	   "4 KiB", uffd_copy,		FOLIO_2M },
	{ "uffd-zeropage-4k",		"uffd",	   "page",  uffd_zeropage,	FOLIO_4K },
	{ "uffd-zeropage-2m",		"uffd",	   "4 KiB", uffd_zeropage,	FOLIO_2M },
	{ "uffd-move-4k",		"uffd",	   "page",  uffd_move,		FOLIO_4K },
	{ "uffd-move-2m",		"uffd",	   "4 KiB", uffd_move,		FOLIO_2M },
	{ "uffd-fault",			"uffd",	   "fault", uffd_fault,		FOLIO_4K },
	{ "collapse",			"thp",	   "2 MiB", thp_collapse,	FOLIO_4K },
	{ "split-pmd",			"thp",	   "2 MiB", thp_split_pmd,	FOLIO_2M },
	{ "split-folio",		"thp",	   "2 MiB", thp_split_folio,	FOLIO_2M },
	{ 0 }
};

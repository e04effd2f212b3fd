// SPDX-License-Identifier: GPL-2.0
/*
 * The memory map, kept while it is read. The drawing is in memmap.h.
 */
#include <linux/memory.h>
#include <linux/notifier.h>
#include <linux/srcu.h>

#include "memmap.h"

DEFINE_STATIC_SRCU(memmap_srcu);

/**
 * memmap_read_lock - keep the memory map of what pfn_to_online_page() finds from now on
 *
 * A struct page may be looked at until the unlocking. Its memory may be offline by then.
 *
 * Context: any but NMI; the reader may sleep. Not to be held for long: an offline waits for it.
 * Return: what memmap_read_unlock() wants.
 */
int memmap_read_lock(void)
{
	return srcu_read_lock(&memmap_srcu);
}

/**
 * memmap_read_unlock - the other end of memmap_read_lock()
 * @lock: what that returned
 */
void memmap_read_unlock(int lock)
{
	srcu_read_unlock(&memmap_srcu, lock);
}

/*
 * The sections were marked offline before this is called, and the grace period is a full barrier on
 * both sides: a reader who begins later finds them offline, all others are waited for.
 */
static int memmap_offline(struct notifier_block *nb, unsigned long action, void *arg)
{
	if (action == MEM_OFFLINE)
		synchronize_srcu(&memmap_srcu);
	return NOTIFY_OK;
}

static int __init memmap_init(void)
{
	hotplug_memory_notifier(memmap_offline, DEFAULT_CALLBACK_PRI);
	return 0;
}
core_initcall(memmap_init);

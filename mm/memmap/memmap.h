/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The memory map, kept while it is read frame by frame.
 *
 *	reader				whoever takes memory away
 *	  memmap_read_lock()		  sections are offline: pfn_to_online_page() is NULL
 *	  pfn_to_online_page()		  MEM_OFFLINE: wait for all who read since before
 *	  looks at struct pages		  ...
 *	  memmap_read_unlock()		  the struct pages are freed
 *
 * get_online_mems() would do as well, but it waits for as long as memory is being taken offline,
 * which may be for ever, and cannot be killed meanwhile. Here nobody waits but whoever takes it
 * offline, for the readers there are. What is going offline is read as long as it is there.
 */
#ifndef __MM_MEMMAP_MEMMAP_H
#define __MM_MEMMAP_MEMMAP_H

#ifdef CONFIG_MEMORY_HOTREMOVE
int memmap_read_lock(void);
void memmap_read_unlock(int lock);
#else
static inline int memmap_read_lock(void)
{
	return 0;
}

static inline void memmap_read_unlock(int lock)
{
}
#endif

#endif

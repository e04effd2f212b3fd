// SPDX-License-Identifier: GPL-2.0
/*
 * A byte a frame: in how many sweeps has its folio not been used?
 *
 *	             referenced, or TOUCHED
 *	        +---------------------------------+
 *	        v                                 |
 *	new --> 0 --sweep--> 1 --sweep--> ... --> n ... 128 (stays)
 *	        ^                                 |
 *	        | next sweep                      | a reference consumed by others:
 *	        +--------- TOUCHED <--------------+ bitmap, reclaim, read(2)
 *
 * RCU holds the map still while hooks read it; the last reader lets it go. The thread alone adds
 * chunks to the map and replaces it, but for the beginning and the end.
 */
#include <linux/memblock.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "ages.h"
#include "idle.h"

DEFINE_STATIC_KEY_FALSE(idle_ages_key);

static struct idle_age_map __rcu *age_map;

/* A map for all frames there are, sharing the chunks of @old if there is one. */
static struct idle_age_map *idle_map_alloc(const struct idle_age_map *old)
{
	unsigned long nr = DIV_ROUND_UP(max_pfn, IDLE_AGE_CHUNK);
	struct idle_age_map *map = kvzalloc(struct_size(map, chunk, nr), GFP_KERNEL);

	if (!map)
		return NULL;
	map->nr = nr;
	if (old)
		memcpy(map->chunk, old->chunk, old->nr * sizeof(*old->chunk));
	return map;
}

/* Put @map in place of the old one and return that once no hook reads it. */
static struct idle_age_map *idle_map_replace(struct idle_age_map *map)
{
	struct idle_age_map *old = rcu_replace_pointer(age_map, map, true);

	synchronize_rcu();
	return old;
}

static void idle_map_free(struct idle_age_map *map)
{
	unsigned long i;

	for (i = 0; i < map->nr; i++)
		kvfree(map->chunk[i]);
	kvfree(map);
}

/* The age byte of a frame, or NULL where none is kept. RCU read lock held. */
static u8 *idle_age_of(unsigned long pfn)
{
	struct idle_age_map *map = rcu_dereference(age_map);
	u8 *chunk;

	if (!map || pfn / IDLE_AGE_CHUNK >= map->nr)
		return NULL;
	/* Pairs with smp_store_release() in idle_map_chunk(): the zeroes come first. */
	chunk = smp_load_acquire(&map->chunk[pfn / IDLE_AGE_CHUNK]);
	return chunk ? &chunk[pfn % IDLE_AGE_CHUNK] : NULL;
}

/* Does any memory of the chunk at @start exist? */
static bool idle_chunk_online(unsigned long start)
{
	unsigned long pfn, end = min(start + IDLE_AGE_CHUNK, max_pfn);

	for (pfn = start; pfn < end; pfn += pageblock_nr_pages)
		if (pfn_to_online_page(pfn))
			return true;
	return false;
}

/**
 * idle_map_chunk - the ages of a chunk, made now if there is memory and it was not seen before
 * @map: the map, of idle_map_fit()
 * @start: first frame of the chunk
 * @ages: its bytes; NULL for a hole
 *
 * Context: the thread alone.
 * Return: false when there is no memory to make it.
 */
bool idle_map_chunk(struct idle_age_map *map, unsigned long start, u8 **ages)
{
	u8 **slot = &map->chunk[start / IDLE_AGE_CHUNK];

	*ages = *slot;
	if (*ages || !idle_chunk_online(start))
		return true;
	*ages = kvzalloc(IDLE_AGE_CHUNK, GFP_KERNEL);
	if (!*ages)
		return false;
	/* Pairs with smp_load_acquire() in idle_age_of(). */
	smp_store_release(slot, *ages);
	return true;
}

unsigned int __idle_age(struct folio *folio)
{
	unsigned int age;
	u8 *at;

	rcu_read_lock();
	at = idle_age_of(folio_pfn(folio));
	age = at ? READ_ONCE(*at) : 0;
	rcu_read_unlock();
	return age == IDLE_AGE_TOUCHED ? 0 : age;
}

void __idle_ages_touch(struct folio *folio)
{
	u8 *age;

	rcu_read_lock();
	age = idle_age_of(folio_pfn(folio));
	if (age && READ_ONCE(*age) != IDLE_AGE_TOUCHED)
		WRITE_ONCE(*age, IDLE_AGE_TOUCHED);
	rcu_read_unlock();
}

void __idle_ages_carry(struct folio *from, struct folio *to)
{
	u8 *old, *new;

	rcu_read_lock();
	old = idle_age_of(folio_pfn(from));
	new = idle_age_of(folio_pfn(to));
	if (old && new)
		WRITE_ONCE(*new, READ_ONCE(*old));
	rcu_read_unlock();
}

void __idle_ages_forget(struct page *page)
{
	u8 *age;

	rcu_read_lock();
	age = idle_age_of(page_to_pfn(page));
	if (age && READ_ONCE(*age))
		WRITE_ONCE(*age, 0);
	rcu_read_unlock();
}

/**
 * idle_age_finish - a folio's Accessed bits were gathered: count its age
 * @book: the accounts of this sweep
 * @folio: the folio
 * @referenced: an Accessed bit was found
 *
 * A touch that comes meanwhile must not be overwritten: hence the exchange.
 *
 * Context: any, page table locks included.
 */
void idle_age_finish(struct idle_age_book *book, struct folio *folio, bool referenced)
{
	u8 *age = &book->ages[folio_pfn(folio) - book->start];
	u8 new, old = READ_ONCE(*age);

	do {
		new = idle_age_next(old, referenced);
	} while (!try_cmpxchg(age, &old, new));
	idle_snapshot_add(book, folio, new);
}

/**
 * idle_age_keep - a folio's mappings could not be visited: count it as it is
 * @book: the accounts of this sweep
 * @folio: the folio
 *
 * Context: any.
 */
void idle_age_keep(struct idle_age_book *book, struct folio *folio)
{
	u8 age = READ_ONCE(book->ages[folio_pfn(folio) - book->start]);

	idle_snapshot_add(book, folio, age == IDLE_AGE_TOUCHED ? 0 : age);
}

/**
 * idle_map_fit - the map, as long as memory is
 *
 * If memory was added since it was made it is replaced by a longer one over the same chunks.
 *
 * Context: the thread alone, which nobody else changes the map under.
 * Return: the map; as it was when there is no memory for a longer one.
 */
struct idle_age_map *idle_map_fit(void)
{
	struct idle_age_map *map = rcu_dereference_protected(age_map, true), *longer;

	if (map->nr * IDLE_AGE_CHUNK >= max_pfn)
		return map;
	longer = idle_map_alloc(map);
	if (!longer)
		return map;
	kvfree(idle_map_replace(longer));
	return longer;
}

/**
 * idle_map_begin - keep ages from now on
 *
 * Context: process context; there is no map, and no thread.
 * Return: false when there is no memory.
 */
bool idle_map_begin(void)
{
	struct idle_age_map *map = idle_map_alloc(NULL);

	if (!map)
		return false;
	idle_map_replace(map);
	/*
	 * Patched in by the first user and left so: code is not to be patched as often
	 * as somebody writes to a file. Without a map the hooks return at once.
	 */
	static_branch_enable(&idle_ages_key);
	return true;
}

/**
 * idle_map_end - forget all ages
 *
 * Context: process context; the thread has ended.
 */
void idle_map_end(void)
{
	idle_map_free(idle_map_replace(NULL));
}

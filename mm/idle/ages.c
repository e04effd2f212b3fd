// SPDX-License-Identifier: GPL-2.0
/*
 * Idle ages: a byte a frame, and the thread that counts it up.
 *
 *	             referenced, or TOUCHED
 *	        +---------------------------------+
 *	        v                                 |
 *	new --> 0 --sweep--> 1 --sweep--> ... --> n ... 128 (stays)
 *	        ^                                 |
 *	        | next sweep                      | a reference consumed by others:
 *	        +--------- TOUCHED <--------------+ bitmap, reclaim, read(2)
 *
 * Two users of the Accessed bits, and each must see what the other consumed:
 *  - the thread clears a bit: it clears the folio's idle flag and sets Young, as a
 *    read of the bitmap would have done. It never sets the idle flag.
 *  - the bitmap, reclaim or read(2) consumes a reference: the age becomes TOUCHED,
 *    which the next sweep counts as a reference.
 *
 * Locks
 *	period_mutex		period, thread: taken by the sysfs file only
 *	  snapshot_mutex	in histogram.c; the innermost
 *	RCU			age_map: hooks read it, the last reader lets it go
 * The thread takes no period_mutex, so that it can be stopped under it. It alone adds
 * chunks to the map and replaces it, but for the beginning and the end.
 */
#include <linux/freezer.h>
#include <linux/kobject.h>
#include <linux/kthread.h>
#include <linux/memblock.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/sysfs.h>
#include <linux/wait.h>

#include "ages.h"
#include "idle.h"

#define IDLE_PERIOD_MIN_MS	1000

DEFINE_STATIC_KEY_FALSE(idle_ages_key);

static struct idle_age_map __rcu *age_map;
static DEFINE_MUTEX(period_mutex);
static unsigned int period_ms;
static struct task_struct *thread;
static DECLARE_WAIT_QUEUE_HEAD(thread_wait);

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

/*
 * The ages of the chunk at @start, made now if there is memory and it was not seen
 * before. Returns false when there is no memory to make it; *@ages is NULL for a hole.
 */
static bool idle_map_chunk(struct idle_age_map *map, unsigned long start, u8 **ages)
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

/* One chunk's frames. False when there is no memory to do it. */
static bool idle_ages_window(struct idle_age_book *book, struct idle_age_map *map,
			     unsigned long start)
{
	struct idle_sweep *s;

	if (!idle_map_chunk(map, start, &book->ages))
		return false;
	if (!book->ages)
		return true;
	s = idle_sweep_alloc(IDLE_AGE, min(IDLE_AGE_CHUNK, max_pfn - start));
	if (!s)
		return false;
	s->start = start;
	s->book = book;
	book->start = start;
	idle_sweep_run(s);
	idle_sweep_free(s);
	return true;
}

/* Memory was added since the map was made: a longer map over the same chunks. */
static struct idle_age_map *idle_map_fit(void)
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

/* All memory, once. A sweep that is cut short or lacks a table publishes nothing. */
static bool idle_ages_sweep(u64 sweeps)
{
	struct idle_age_map *map = idle_map_fit();
	struct idle_age_book book = {};
	unsigned long i;
	bool whole = true;

	book.snap = idle_snapshot_alloc(sweeps, idle_ages_period());
	if (!book.snap)
		return false;
	for (i = 0; whole && i < map->nr; i++) {
		try_to_freeze();
		whole = !kthread_should_stop() && idle_ages_window(&book, map, i * IDLE_AGE_CHUNK);
	}
	whole = whole && !book.incomplete;
	if (whole)
		idle_snapshot_publish(book.snap);
	else
		idle_snapshot_free(book.snap);
	return whole;
}

static bool idle_ages_disturbed(unsigned int period)
{
	return kthread_should_stop() || READ_ONCE(period_ms) != period;
}

/* Sleep until a period has passed since @began; a new period counts at once. */
static void idle_ages_sleep(unsigned long began)
{
	unsigned int period;
	long left;

	do {
		period = READ_ONCE(period_ms);
		left = began + msecs_to_jiffies(period) - jiffies;
		if (left > 0)
			left = wait_event_freezable_timeout(thread_wait,
							    idle_ages_disturbed(period), left);
	} while (left > 0 && !kthread_should_stop());
}

static int idle_ages_thread(void *unused)
{
	unsigned long began;
	u64 sweeps = 0;

	set_user_nice(current, MAX_NICE);
	set_freezable();
	while (!kthread_should_stop()) {
		began = jiffies;
		sweeps += idle_ages_sweep(sweeps + 1);
		idle_ages_sleep(began);
	}
	return 0;
}

static int idle_ages_start(void)
{
	struct idle_age_map *map = idle_map_alloc(NULL);
	struct task_struct *task;

	if (!map)
		return -ENOMEM;
	idle_map_replace(map);
	/*
	 * Patched in by the first user and left so: code is not to be patched as often
	 * as somebody writes to a file. Without a map the hooks return at once.
	 */
	static_branch_enable(&idle_ages_key);
	task = kthread_run(idle_ages_thread, NULL, "kidle_ages");
	if (IS_ERR(task)) {
		idle_map_free(idle_map_replace(NULL));
		return PTR_ERR(task);
	}
	thread = task;
	return 0;
}

static void idle_ages_stop(void)
{
	kthread_stop(thread);
	thread = NULL;
	idle_snapshot_publish(NULL);
	idle_map_free(idle_map_replace(NULL));
}

/**
 * idle_ages_period - the period of the thread's sweeps
 *
 * Return: milliseconds; 0 when there is no thread.
 */
unsigned int idle_ages_period(void)
{
	return READ_ONCE(period_ms);
}

static ssize_t scan_period_ms_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", idle_ages_period());
}

static ssize_t scan_period_ms_store(struct kobject *kobj, struct kobj_attribute *attr,
				    const char *buf, size_t count)
{
	unsigned int period, old;
	int err;

	err = kstrtouint(buf, 10, &period);
	if (err || (period && period < IDLE_PERIOD_MIN_MS) || period > INT_MAX)
		return -EINVAL;

	mutex_lock(&period_mutex);
	old = period_ms;
	WRITE_ONCE(period_ms, period);
	if (period && !thread)
		err = idle_ages_start();
	else if (!period && thread)
		idle_ages_stop();
	else
		wake_up(&thread_wait);
	if (err)
		WRITE_ONCE(period_ms, old);
	mutex_unlock(&period_mutex);
	return err ? err : count;
}

static ssize_t ages_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return idle_ages_emit(buf);
}

static struct kobj_attribute scan_period_ms_attr =
	__ATTR(scan_period_ms, 0644, scan_period_ms_show, scan_period_ms_store);
static struct kobj_attribute ages_attr = __ATTR(ages, 0444, ages_show, NULL);

static struct attribute *idle_ages_attrs[] = {
	&scan_period_ms_attr.attr,
	&ages_attr.attr,
	NULL,
};

/* Joined to the directory that bitmap.c makes. */
const struct attribute_group idle_ages_group = {
	.name = "page_idle",
	.attrs = idle_ages_attrs,
};

// SPDX-License-Identifier: GPL-2.0
/*
 * Idle ages: the thread that counts them up, and its settings. The bytes are in age_map.c.
 *
 * Two users of the Accessed bits, and each must see what the other consumed:
 *  - the thread clears a bit: it clears the folio's idle flag and sets Young, as a
 *    read of the bitmap would have done. It never sets the idle flag.
 *  - the bitmap, reclaim or read(2) consumes a reference: the age becomes TOUCHED,
 *    which the next sweep counts as a reference.
 *
 * Locks
 *	period_mutex		period, thread, the map's beginning and end: taken by the sysfs
 *				file only
 *	  snapshot_mutex	in histogram.c; the innermost
 * The thread takes no period_mutex, so that it can be stopped under it.
 */
#include <linux/freezer.h>
#include <linux/kobject.h>
#include <linux/kthread.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/sysfs.h>
#include <linux/wait.h>

#include "ages.h"
#include "idle.h"

#define IDLE_PERIOD_MIN_MS	1000

static DEFINE_MUTEX(period_mutex);
static unsigned int period_ms;
static struct task_struct *thread;
static DECLARE_WAIT_QUEUE_HEAD(thread_wait);

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

/* All memory, once. A sweep that is cut short or lacks a table publishes nothing. */
static bool idle_ages_sweep(u64 sweeps)
{
	struct idle_age_map *map = idle_map_fit();
	struct idle_age_book book = {};
	unsigned long i;
	bool whole = true;

	book.snap = idle_snapshot_alloc(sweeps, READ_ONCE(period_ms));
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
	struct task_struct *task;

	if (!idle_map_begin())
		return -ENOMEM;
	task = kthread_run(idle_ages_thread, NULL, "kidle_ages");
	if (IS_ERR(task)) {
		idle_map_end();
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
	idle_map_end();
}

static void set_period(unsigned int period)
{
	WRITE_ONCE(period_ms, period);
	idle_snapshot_expect(period);
}

static ssize_t scan_period_ms_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(period_ms));
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
	set_period(period);
	if (period && !thread)
		err = idle_ages_start();
	else if (!period && thread)
		idle_ages_stop();
	else
		wake_up(&thread_wait);
	if (err)
		set_period(old);
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

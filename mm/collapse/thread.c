// SPDX-License-Identifier: GPL-2.0
/*
 * khugepaged: a round of so many entries, then sleep.
 *
 *	no huge pages allowed		there is no thread
 *	nothing to look through		sleeps until the first address space comes
 *	else				a round, with faults that fell back first; sleeps
 *					scan_sleep_millisecs
 *	no huge page to be had		alloc_sleep_millisecs, once a round
 */
#include <linux/freezer.h>
#include <linux/khugepaged.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/swap.h>

#include "../internal.h"
#include "collapse.h"

static struct task_struct *thread;
static DEFINE_MUTEX(thread_mutex);
static DECLARE_WAIT_QUEUE_HEAD(thread_wait);
/* Jiffies at which the thread goes on; 0: at once. */
static unsigned long thread_until;

/**
 * collapse_thread_wake - there is something to be looked through
 */
void collapse_thread_wake(void)
{
	wake_up_interruptible(&thread_wait);
}

/**
 * collapse_thread_wake_now - the time to sleep has changed
 */
void collapse_thread_wake_now(void)
{
	WRITE_ONCE(thread_until, 0);
	collapse_thread_wake();
}

static bool has_work(void)
{
	return !collapse_slots_empty() && collapse_enabled();
}

/* A write to the settings ends it early. */
static void sleep_without_memory(void)
{
	DEFINE_WAIT(wait);

	prepare_to_wait(&thread_wait, &wait, TASK_INTERRUPTIBLE | TASK_FREEZABLE);
	if (!kthread_should_stop())
		schedule_timeout(msecs_to_jiffies(READ_ONCE(collapse_settings.alloc_sleep_ms)));
	finish_wait(&thread_wait, &wait);
}

/*
 * Until the budget is used up, or everything was looked at: the second time that the first address
 * space is about to come, the round ends.
 */
static void scan_round(struct collapse_by *by)
{
	unsigned int budget = READ_ONCE(collapse_settings.pages_to_scan), done = 0, passes = 0;
	enum scan_result result = SCAN_FAIL;
	bool slept = false;

	/* What waits for its place on a list has a reference more. */
	lru_add_drain_all();
	/* Half of it at most, or who has many faults that fall back would have khugepaged alone. */
	done = collapse_soon_scan(by, DIV_ROUND_UP(budget, 2), &result);
	if (result == SCAN_ALLOC_HUGE_PAGE_FAIL) {
		sleep_without_memory();
		slept = true;
	}
	while (done < budget && !kthread_should_stop() && has_work()) {
		cond_resched();
		passes += collapse_slots_at_start();
		if (passes > 1)
			break;
		done += collapse_slots_scan(by, budget - done, &result);
		if (done >= budget || result != SCAN_ALLOC_HUGE_PAGE_FAIL)
			continue;
		if (slept)
			break;
		sleep_without_memory();
		slept = true;
	}
}

static bool sleep_is_over(void)
{
	return kthread_should_stop() || time_after_eq(jiffies, READ_ONCE(thread_until));
}

static bool work_may_come(void)
{
	return !collapse_slots_empty() || kthread_should_stop();
}

static void sleep_between_rounds(void)
{
	unsigned long time = msecs_to_jiffies(READ_ONCE(collapse_settings.scan_sleep_ms));

	if (!has_work()) {
		if (collapse_enabled())
			wait_event_freezable(thread_wait, work_may_come());
		return;
	}
	if (!time)
		return;
	WRITE_ONCE(thread_until, jiffies + time);
	wait_event_freezable_timeout(thread_wait, sleep_is_over(), time);
}

/* There is one only. */
struct collapse_by khugepaged_collapse_control = { .khugepaged = true };

static int khugepaged(void *unused)
{
	set_freezable();
	set_user_nice(current, MAX_NICE);
	while (!kthread_should_stop()) {
		scan_round(&khugepaged_collapse_control);
		sleep_between_rounds();
	}
	collapse_slots_forget();
	return 0;
}

/**
 * current_is_khugepaged - is it khugepaged that runs?
 */
bool current_is_khugepaged(void)
{
	return kthread_func(current) == khugepaged;
}

/* --- the thread, and the memory that is kept free --------------------------------------- */

/*
 * So that memory does not fragment, page blocks of each kind should find free ones of their own
 * kind: in each zone two of each kind, and one for each other kind that falls back to it; but not
 * more than a twentieth of what the kernel can use.
 */
static unsigned long min_free_recommended(void)
{
	unsigned long blocks = 2 + MIGRATE_PCPTYPES * MIGRATE_PCPTYPES;
	struct zone *zone;
	int zones = 0;

	for_each_populated_zone(zone)
		/* All that is above has movable memory only. */
		zones += zone_idx(zone) <= gfp_zone(GFP_USER);
	return min(pageblock_nr_pages * zones * blocks, nr_free_buffer_pages() / 20) <<
	       (PAGE_SHIFT - 10);
}

static void min_free_update(void)
{
	unsigned long want = min_free_recommended();

	if (!collapse_pmd_enabled()) {
		calculate_min_free_kbytes();
	} else if (want > min_free_kbytes) {
		/* Somebody has set it. */
		if (user_min_free_kbytes >= 0)
			pr_info("khugepaged: min_free_kbytes goes from %d to %lu, so that there are huge pages\n",
				min_free_kbytes, want);
		min_free_kbytes = want;
	}
	setup_per_zone_wmarks();
}

/**
 * khugepaged_min_free_kbytes_update - memory came or went
 */
void khugepaged_min_free_kbytes_update(void)
{
	mutex_lock(&thread_mutex);
	if (thread && collapse_pmd_enabled())
		min_free_update();
	mutex_unlock(&thread_mutex);
}

static int thread_start(void)
{
	struct task_struct *new = kthread_run(khugepaged, NULL, "khugepaged");

	if (IS_ERR(new)) {
		pr_err("khugepaged: no thread: %pe\n", new);
		return PTR_ERR(new);
	}
	thread = new;
	return 0;
}

/**
 * start_stop_khugepaged - the settings have changed
 *
 * Context: sleeps until a thread that is not wanted has ended.
 * Return: 0 or a negative error, if the thread could not be made.
 */
int start_stop_khugepaged(void)
{
	int err = 0;

	mutex_lock(&thread_mutex);
	if (!collapse_enabled()) {
		if (thread)
			kthread_stop(thread);
		thread = NULL;
	} else if (!thread) {
		err = thread_start();
	}
	if (thread && !collapse_slots_empty())
		collapse_thread_wake();
	if (!err)
		min_free_update();
	mutex_unlock(&thread_mutex);
	return err;
}

/**
 * khugepaged_init - before anybody can ask for huge pages
 *
 * Return: 0 or -ENOMEM.
 */
int __init khugepaged_init(void)
{
	collapse_settings_init();
	return collapse_slots_init();
}

/**
 * khugepaged_destroy - undo khugepaged_init()
 */
void __init khugepaged_destroy(void)
{
	collapse_slots_exit();
}

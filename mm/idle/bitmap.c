// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/mm/page_idle/bitmap: an array of 64-bit words, one frame a bit.
 *
 * This file knows positions, lengths and errors. What a bit means, and how it
 * is found cheaply, is the business of sweep.c.
 */
#include <linux/init.h>
#include <linux/kobject.h>
#include <linux/memblock.h>
#include <linux/sched/signal.h>
#include <linux/sysfs.h>

#include "idle.h"

/*
 * A sweep over the words of one system call, in place.
 * Returns bytes finished; a fatal signal may leave less than asked for.
 */
static ssize_t idle_bitmap_sweep(enum idle_op op, const struct idle_window *win, char *buf)
{
	struct idle_sweep *s;
	unsigned long frames;
	size_t bytes;

	if (!win->nr)
		return 0;
	s = idle_sweep_alloc(op, win->nr);
	if (!s)
		return -ENOMEM;
	s->start = win->start;
	if (op == IDLE_MARK)
		idle_sweep_only(s, (u64 *)buf);
	else
		s->words = (u64 *)buf;
	frames = idle_sweep_run(s);
	idle_sweep_free(s);

	bytes = idle_window_done(win, frames);
	return bytes ? bytes : -EINTR;
}

static ssize_t idle_bitmap_read(struct file *file, struct kobject *kobj,
				struct bin_attribute *attr, char *buf, loff_t pos,
				size_t count)
{
	struct idle_window win;
	int err = idle_window_plan(&win, pos, count, max_pfn);

	if (err == -ENXIO)
		return 0;
	if (err)
		return err;
	memset(buf, 0, win.bytes);
	return idle_bitmap_sweep(IDLE_READ, &win, buf);
}

static ssize_t idle_bitmap_write(struct file *file, struct kobject *kobj,
				 struct bin_attribute *attr, char *buf, loff_t pos,
				 size_t count)
{
	struct idle_window win;
	int err = idle_window_plan(&win, pos, count, max_pfn);

	if (err)
		return err;
	return idle_bitmap_sweep(IDLE_MARK, &win, buf);
}

static struct bin_attribute idle_bitmap_attr =
	__BIN_ATTR(bitmap, 0600, idle_bitmap_read, idle_bitmap_write, 0);

static struct bin_attribute *idle_bin_attrs[] = { &idle_bitmap_attr, NULL };

static const struct attribute_group idle_bitmap_group = {
	.name = "page_idle",
	.bin_attrs = idle_bin_attrs,
};

static int __init idle_init(void)
{
	int err = sysfs_create_group(mm_kobj, &idle_bitmap_group);

	if (!err)
		err = sysfs_merge_group(mm_kobj, &idle_ages_group);
	if (err)
		pr_err("page_idle: no files under /sys/kernel/mm/page_idle (%d)\n", err);
	return err;
}
subsys_initcall(idle_init);

// SPDX-License-Identifier: GPL-2.0
/*
 * A folder for each size of folio: whether it is made for anonymous memory, and what became of
 * those that were.
 *
 *	hugepages-NkB/
 *	  enabled		sizes that anonymous memory may have
 *	  shmem_enabled		sizes that files may have; the file is mm/shmem.c's
 *	  stats/		each counter where the size can have one
 *
 * An order is in one of three bitmaps at most, which huge_mm.h reads without a lock.
 */
#include <linux/mm.h>
#include <linux/bitmap.h>
#include <linux/kobject.h>
#include <linux/khugepaged.h>
#include <linux/memblock.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "thp.h"

unsigned long huge_anon_orders_always __read_mostly;
unsigned long huge_anon_orders_madvise __read_mostly;
unsigned long huge_anon_orders_inherit __read_mostly;

enum size_word { SIZE_ALWAYS, SIZE_INHERIT, SIZE_MADVISE, SIZE_NEVER };

static const struct thp_word size_words[] = {
	{ "always", SIZE_ALWAYS },
	{ "inherit", SIZE_INHERIT },
	{ "madvise", SIZE_MADVISE },
	{ "never", SIZE_NEVER },
	{ }
};

/* The bitmap that a word stands for; none for "never". */
static unsigned long *const size_maps[] = {
	[SIZE_ALWAYS] = &huge_anon_orders_always,
	[SIZE_INHERIT] = &huge_anon_orders_inherit,
	[SIZE_MADVISE] = &huge_anon_orders_madvise,
	[SIZE_NEVER] = NULL,
};

/* --- at boot ---------------------------------------------------------------------------- */

static bool boot_chosen __initdata;

/**
 * thp_sizes_default - unless the command line said otherwise, only PMD size is made, as the
 *	setting for the whole machine says
 *
 * Here since PMD_ORDER is no constant on each architecture.
 */
void __init thp_sizes_default(void)
{
	if (!boot_chosen)
		huge_anon_orders_inherit = BIT(PMD_ORDER);
}

/* "64K" -> its order, or -EINVAL. */
static int __init boot_order(const char *text)
{
	char *end;
	unsigned long long size = memparse(text, &end);

	if (*end || size < PAGE_SIZE || !is_power_of_2(size) ||
	    ilog2(size) - PAGE_SHIFT > PMD_ORDER ||
	    !(BIT(ilog2(size) - PAGE_SHIFT) & THP_ORDERS_ALL_ANON)) {
		pr_err("thp_anon=: %s is no size of a huge page\n", text);
		return -EINVAL;
	}
	return ilog2(size) - PAGE_SHIFT;
}

/* "16K-64K" or "16K" -> the bits of their orders; 0 if it cannot be. */
static unsigned long __init boot_range(char *range)
{
	char *first = strsep(&range, "-");
	int start = boot_order(first), end = range ? boot_order(range) : start;

	return start < 0 || end < start ? 0 : GENMASK(end, start);
}

/* "16K-64K,1M:always" into the bitmaps of @chosen. */
static bool __init boot_sizes(char *text, unsigned long *chosen)
{
	char *sizes = strsep(&text, ":"), *range;
	const struct thp_word *word = text ? thp_word_find(size_words, text) : NULL;
	unsigned int i;

	if (!word) {
		pr_err("thp_anon=: no always, inherit, madvise or never after %s:\n", sizes);
		return false;
	}
	while ((range = strsep(&sizes, ","))) {
		unsigned long orders = boot_range(range);

		if (!orders)
			return false;
		for (i = 0; i < SIZE_NEVER; i++)
			chosen[i] = i == word->value ? chosen[i] | orders : chosen[i] & ~orders;
	}
	return true;
}

/* All of it, or nothing. */
static int __init boot_anon(char *text)
{
	unsigned long chosen[SIZE_NEVER];
	char *copy = NULL, *rest, *part;
	bool good = false;
	unsigned int i;

	for (i = 0; i < SIZE_NEVER; i++)
		chosen[i] = *size_maps[i];
	if (text)
		copy = memblock_alloc(strlen(text) + 1, SMP_CACHE_BYTES);
	if (copy) {
		strscpy(copy, text, strlen(text) + 1);
		rest = copy;
		do {
			part = strsep(&rest, ";");
			good = boot_sizes(part, chosen);
		} while (good && rest);
		memblock_free(copy, strlen(text) + 1);
	}
	if (!good) {
		pr_warn("thp_anon=%s: ignored\n", text ?: "");
		return 0;
	}
	for (i = 0; i < SIZE_NEVER; i++)
		*size_maps[i] = chosen[i];
	boot_chosen = true;
	return 1;
}
__setup("thp_anon=", boot_anon);

#ifdef CONFIG_SYSFS
/* --- which sizes ------------------------------------------------------------------------ */

static DEFINE_MUTEX(size_lock);

static enum size_word size_word(int order)
{
	unsigned int i;

	for (i = 0; i < SIZE_NEVER; i++)
		if (READ_ONCE(*size_maps[i]) & BIT(order))
			break;
	return i;
}

/*
 * The new bit comes before the old one goes, so that nobody finds none. Faults read the bitmaps
 * one after the other; those that have read the new one's too early must be over before the old
 * bit goes. RCU waits for them as far as they are not preempted in the midst of three loads; then
 * one fault is that of a smaller page.
 */
static void size_change(int order, enum size_word word)
{
	unsigned int i;

	mutex_lock(&size_lock);
	if (size_word(order) != word) {
		if (size_maps[word]) {
			set_bit(order, size_maps[word]);
			synchronize_rcu();
		}
		for (i = 0; i < SIZE_NEVER; i++)
			if (i != word)
				clear_bit(order, size_maps[i]);
	}
	mutex_unlock(&size_lock);
}

static ssize_t enabled_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	enum size_word word;

	/* In the middle of a change two hold. */
	mutex_lock(&size_lock);
	word = size_word(to_thpsize(kobj)->order);
	mutex_unlock(&size_lock);
	return thp_words_show(size_words, word, buf);
}

static ssize_t enabled_store(struct kobject *kobj, struct kobj_attribute *attr, const char *buf,
			     size_t count)
{
	const struct thp_word *word = thp_word_find(size_words, buf);

	if (!word)
		return -EINVAL;
	size_change(to_thpsize(kobj)->order, word->value);
	return start_stop_khugepaged() ?: count;
}

static struct kobj_attribute enabled_attr = __ATTR_RW(enabled);

static struct attribute *control_attrs[] = {
	&enabled_attr.attr,
#ifdef CONFIG_SHMEM
	&thpsize_shmem_enabled_attr.attr,
#endif
	NULL,
};

/* Anonymous memory and files have sizes that the other has not. */
static bool size_is(struct kobject *kobj, unsigned long orders)
{
	return BIT(to_thpsize(kobj)->order) & orders;
}

static umode_t control_mode(struct kobject *kobj, struct attribute *attr, int n)
{
	return size_is(kobj, attr == &enabled_attr.attr ? THP_ORDERS_ALL_ANON :
		       THP_ORDERS_ALL_FILE_DEFAULT) ? attr->mode : 0;
}

static const struct attribute_group control_group = {
	.attrs = control_attrs,
	.is_visible = control_mode,
};

/* --- what became of them ---------------------------------------------------------------- */

DEFINE_PER_CPU(struct mthp_stat, mthp_stats);

/* Of which folios something is counted. Files in memory are swapped, too. */
enum size_kind {
	OF_ANON = 1,
	OF_FILES = 2,
	OF_EITHER = OF_ANON | OF_FILES,
	OF_SWAPPED = IS_ENABLED(CONFIG_SHMEM) ? OF_EITHER : OF_ANON,
};

/* A counter's file. */
struct size_stat {
	struct kobj_attribute attr;
	enum mthp_stat_item item;
	enum size_kind of;
};

/* Up on one CPU and down on another: what is below zero for a moment is shown as zero. */
static ssize_t stat_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	const struct size_stat *stat = container_of(attr, struct size_stat, attr);
	int cpu, order = to_thpsize(kobj)->order;
	long sum = 0;

	for_each_possible_cpu(cpu)
		sum += per_cpu(mthp_stats, cpu).stats[order][stat->item];
	return sysfs_emit(buf, "%ld\n", max(sum, 0L));
}

#define SIZE_STAT(file_name, what, kind)							\
	static struct size_stat stat_##file_name = {						\
		.attr = __ATTR(file_name, 0444, stat_show, NULL),				\
		.item = MTHP_STAT_##what,							\
		.of = kind,									\
	}

SIZE_STAT(anon_fault_alloc, ANON_FAULT_ALLOC, OF_ANON);
SIZE_STAT(anon_fault_fallback, ANON_FAULT_FALLBACK, OF_ANON);
SIZE_STAT(anon_fault_fallback_charge, ANON_FAULT_FALLBACK_CHARGE, OF_ANON);
SIZE_STAT(swpout, SWPOUT, OF_SWAPPED);
SIZE_STAT(swpout_fallback, SWPOUT_FALLBACK, OF_SWAPPED);
#ifdef CONFIG_SHMEM
SIZE_STAT(shmem_alloc, SHMEM_ALLOC, OF_FILES);
SIZE_STAT(shmem_fallback, SHMEM_FALLBACK, OF_FILES);
SIZE_STAT(shmem_fallback_charge, SHMEM_FALLBACK_CHARGE, OF_FILES);
#endif
SIZE_STAT(split, SPLIT, OF_EITHER);
#ifdef CONFIG_FOLIAGE_COLLAPSE
SIZE_STAT(collapse_alloc, COLLAPSE_ALLOC, OF_ANON);
SIZE_STAT(collapse_alloc_failed, COLLAPSE_ALLOC_FAILED, OF_ANON);
#endif
SIZE_STAT(split_failed, SPLIT_FAILED, OF_EITHER);
SIZE_STAT(split_deferred, SPLIT_DEFERRED, OF_ANON);
SIZE_STAT(nr_anon, NR_ANON, OF_ANON);
SIZE_STAT(nr_anon_partially_mapped, NR_ANON_PARTIALLY_MAPPED, OF_ANON);

static struct attribute *stat_attrs[] = {
	&stat_anon_fault_alloc.attr.attr,
	&stat_anon_fault_fallback.attr.attr,
	&stat_anon_fault_fallback_charge.attr.attr,
	&stat_swpout.attr.attr,
	&stat_swpout_fallback.attr.attr,
#ifdef CONFIG_SHMEM
	&stat_shmem_alloc.attr.attr,
	&stat_shmem_fallback.attr.attr,
	&stat_shmem_fallback_charge.attr.attr,
#endif
	&stat_split.attr.attr,
#ifdef CONFIG_FOLIAGE_COLLAPSE
	&stat_collapse_alloc.attr.attr,
	&stat_collapse_alloc_failed.attr.attr,
#endif
	&stat_split_failed.attr.attr,
	&stat_split_deferred.attr.attr,
	&stat_nr_anon.attr.attr,
	&stat_nr_anon_partially_mapped.attr.attr,
	NULL,
};

static umode_t stat_mode(struct kobject *kobj, struct attribute *attr, int n)
{
	const struct size_stat *stat = container_of(attr, struct size_stat, attr.attr);

	return (stat->of & OF_ANON && size_is(kobj, THP_ORDERS_ALL_ANON)) ||
	       (stat->of & OF_FILES && size_is(kobj, THP_ORDERS_ALL_FILE_DEFAULT)) ? attr->mode : 0;
}

static const struct attribute_group stat_group = {
	.name = "stats",
	.attrs = stat_attrs,
	.is_visible = stat_mode,
};

/* --- folders ---------------------------------------------------------------------------- */

static LIST_HEAD(sizes);

static void size_release(struct kobject *kobj)
{
	kfree(to_thpsize(kobj));
}

static const struct kobj_type size_type = {
	.release = size_release,
	.sysfs_ops = &kobj_sysfs_ops,
};

static int __init size_make(int order, struct kobject *parent)
{
	struct thpsize *size = kzalloc(sizeof(*size), GFP_KERNEL);
	int err;

	if (!size)
		return -ENOMEM;
	size->order = order;
	err = kobject_init_and_add(&size->kobj, &size_type, parent, "hugepages-%lukB",
				   (PAGE_SIZE << order) / SZ_1K);
	if (!err)
		err = sysfs_create_group(&size->kobj, &control_group);
	if (!err)
		err = sysfs_create_group(&size->kobj, &stat_group);
	if (err) {
		pr_err("no files for huge pages of order %d (%d)\n", order, err);
		kobject_put(&size->kobj);
		return err;
	}
	list_add(&size->node, &sizes);
	return 0;
}

/**
 * thp_sizes_init - make the folders of all sizes
 * @parent: the folder of transparent huge pages
 *
 * Return: 0, or an error with none of them left.
 */
int __init thp_sizes_init(struct kobject *parent)
{
	unsigned long orders = THP_ORDERS_ALL_ANON | THP_ORDERS_ALL_FILE_DEFAULT;
	int err = 0, order;

	for (order = highest_order(orders); !err && orders; order = next_order(&orders, order))
		err = size_make(order, parent);
	if (err)
		thp_sizes_exit();
	return err;
}

/**
 * thp_sizes_exit - remove the folders of all sizes
 */
void __init thp_sizes_exit(void)
{
	struct thpsize *size, *next;

	list_for_each_entry_safe(size, next, &sizes, node) {
		list_del(&size->node);
		kobject_put(&size->kobj);
	}
}
#endif /* CONFIG_SYSFS */

// SPDX-License-Identifier: GPL-2.0
/*
 * The files of /sys/kernel/mm/transparent_hugepage/khugepaged/.
 *
 * A number is one word that readers take as it is; each holds for what begins after it was
 * written.
 */
#include <linux/khugepaged.h>
#include <linux/kobject.h>
#include <linux/mm.h>
#include <linux/sysfs.h>

#include "collapse.h"

/* Huge pages may take this many entries that are empty. thp_underused() asks, too. */
unsigned int khugepaged_max_ptes_none __read_mostly;

struct collapse_settings collapse_settings __read_mostly = {
	.scan_sleep_ms = 10000,
	.alloc_sleep_ms = 60000,
	.max_idle_sweeps = 8,
};

/**
 * collapse_settings_init - what they are unless somebody says otherwise
 *
 * Here, since on some machines the size of a PMD is known at boot only.
 */
void __init collapse_settings_init(void)
{
	collapse_settings.pages_to_scan = 8 * HPAGE_PMD_NR;
	collapse_settings.max_ptes_swap = HPAGE_PMD_NR / 8;
	collapse_settings.max_ptes_shared = HPAGE_PMD_NR / 2;
	khugepaged_max_ptes_none = HPAGE_PMD_NR - 1;
}

/**
 * collapse_pmd_enabled - does any setting allow huge pages, of the size of a PMD?
 *
 * Those of files go by the global word, those of anonymous memory by the word of their size.
 */
bool collapse_pmd_enabled(void)
{
	unsigned long bit = BIT(PMD_ORDER);

	if ((READ_ONCE(huge_anon_orders_always) | READ_ONCE(huge_anon_orders_madvise)) & bit)
		return true;
	if (!hugepage_global_enabled())
		return false;
	return IS_ENABLED(CONFIG_READ_ONLY_THP_FOR_FS) ||
	       READ_ONCE(huge_anon_orders_inherit) & bit;
}

/**
 * collapse_enabled - does any setting allow folios larger than a page?
 */
bool collapse_enabled(void)
{
	return collapse_pmd_enabled() || READ_ONCE(huge_anon_orders_always) ||
	       READ_ONCE(huge_anon_orders_madvise) ||
	       (READ_ONCE(huge_anon_orders_inherit) && hugepage_global_enabled());
}

#ifdef CONFIG_SYSFS
/**
 * struct collapse_attr - a file with a number
 * @attr: the file
 * @value: the number
 * @least: that may be written
 * @of_table: no more than 511 may be, or however many entries less than all a table has
 * @wakes: khugepaged sleeps by it
 */
struct collapse_attr {
	struct kobj_attribute attr;
	unsigned int *value;
	unsigned int least;
	bool of_table;
	bool wakes;
};

static ssize_t number_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	const struct collapse_attr *a = container_of(attr, struct collapse_attr, attr);

	return sysfs_emit(buf, "%u\n", READ_ONCE(*a->value));
}

static ssize_t number_store(struct kobject *kobj, struct kobj_attribute *attr, const char *buf,
			    size_t count)
{
	const struct collapse_attr *a = container_of(attr, struct collapse_attr, attr);
	unsigned int value;

	if (kstrtouint(buf, 10, &value) || value < a->least ||
	    (a->of_table && value >= HPAGE_PMD_NR))
		return -EINVAL;
	WRITE_ONCE(*a->value, value);
	if (a->wakes)
		collapse_thread_wake_now();
	return count;
}

#define NUMBER(_name, _value, ...)							\
	static struct collapse_attr _name##_attr = {					\
		.attr = __ATTR(_name, 0644, number_show, number_store),			\
		.value = &(_value), __VA_ARGS__						\
	}
#define NUMBER_RO(_name, _value)							\
	static struct collapse_attr _name##_attr = {					\
		.attr = __ATTR(_name, 0444, number_show, NULL), .value = &(_value)	\
	}

NUMBER(pages_to_scan, collapse_settings.pages_to_scan, .least = 1);
NUMBER(scan_sleep_millisecs, collapse_settings.scan_sleep_ms, .wakes = true);
NUMBER(alloc_sleep_millisecs, collapse_settings.alloc_sleep_ms, .wakes = true);
NUMBER(max_ptes_none, khugepaged_max_ptes_none, .of_table = true);
NUMBER(max_ptes_swap, collapse_settings.max_ptes_swap, .of_table = true);
NUMBER(max_ptes_shared, collapse_settings.max_ptes_shared, .of_table = true);
NUMBER(max_idle_sweeps, collapse_settings.max_idle_sweeps);
NUMBER_RO(pages_collapsed, collapse_settings.collapsed);
NUMBER_RO(folios_collapsed, collapse_settings.folios_collapsed);
NUMBER_RO(full_scans, collapse_settings.full_scans);

/* A bit of the flags that mm/thp or mm/huge_memory.c keeps. */
static ssize_t defrag_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return single_hugepage_flag_show(kobj, attr, buf,
					 TRANSPARENT_HUGEPAGE_DEFRAG_KHUGEPAGED_FLAG);
}

static ssize_t defrag_store(struct kobject *kobj, struct kobj_attribute *attr, const char *buf,
			    size_t count)
{
	return single_hugepage_flag_store(kobj, attr, buf, count,
					  TRANSPARENT_HUGEPAGE_DEFRAG_KHUGEPAGED_FLAG);
}

static struct kobj_attribute defrag_attr = __ATTR_RW(defrag);

static struct attribute *files[] = {
	&defrag_attr.attr,
	&max_ptes_none_attr.attr.attr,
	&max_ptes_swap_attr.attr.attr,
	&max_ptes_shared_attr.attr.attr,
	&max_idle_sweeps_attr.attr.attr,
	&pages_to_scan_attr.attr.attr,
	&pages_collapsed_attr.attr.attr,
	&folios_collapsed_attr.attr.attr,
	&full_scans_attr.attr.attr,
	&scan_sleep_millisecs_attr.attr.attr,
	&alloc_sleep_millisecs_attr.attr.attr,
	NULL
};

struct attribute_group khugepaged_attr_group = {
	.name = "khugepaged",
	.attrs = files,
};
#endif /* CONFIG_SYSFS */

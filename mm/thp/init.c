// SPDX-License-Identifier: GPL-2.0
/*
 * Transparent huge pages at boot. What comes up is taken back in the other order when something
 * after it does not.
 */
#include <linux/mm.h>
#include <linux/init.h>
#include <linux/khugepaged.h>
#include <linux/kobject.h>
#include <linux/pgtable.h>
#include <linux/sizes.h>
#include <linux/sysfs.h>

#include "thp.h"

/* Less memory than that, and huge pages are wanted only by those who say so. */
#define FEW_PAGES	(SZ_512M >> PAGE_SHIFT)

static struct kobject *folder __initdata;

#ifdef CONFIG_SYSFS
static int __init sysfs_up(void)
{
	int err;

	folder = kobject_create_and_add("transparent_hugepage", mm_kobj);
	if (!folder)
		return -ENOMEM;
	/* The groups go with their folder. */
	err = sysfs_create_group(folder, &thp_settings_group);
	if (!err)
		err = sysfs_create_group(folder, &khugepaged_attr_group);
	if (!err)
		err = thp_sizes_init(folder);
	if (err)
		kobject_put(folder);
	return err;
}

static void __init sysfs_down(void)
{
	thp_sizes_exit();
	kobject_put(folder);
}
#else
static int __init sysfs_up(void)
{
	return 0;
}

static void __init sysfs_down(void)
{
}
#endif

static int __init start(void)
{
	if (totalram_pages() < FEW_PAGES && !thp_boot_chosen()) {
		transparent_hugepage_flags = 0;
		return 0;
	}
	return start_stop_khugepaged();
}

struct step {
	int (*init)(void);
	void (*exit)(void);
};

static const struct step steps[] __initconst = {
	{ sysfs_up, sysfs_down },
	{ khugepaged_init, khugepaged_destroy },
	{ thp_zero_init, thp_zero_exit },
	{ thp_deferred_init, thp_deferred_exit },
	{ start, NULL },
};

static int __init thp_init(void)
{
	unsigned int i;
	int err = 0;

	if (!has_transparent_hugepage() || WARN_ON(HPAGE_PMD_ORDER > MAX_PAGE_ORDER)) {
		transparent_hugepage_flags = BIT(TRANSPARENT_HUGEPAGE_UNSUPPORTED);
		return -EINVAL;
	}
	thp_sizes_default();
	for (i = 0; i < ARRAY_SIZE(steps) && !err; i++)
		err = steps[i].init();
	if (!err)
		return 0;
	pr_err("no transparent huge pages (%d)\n", err);
	while (--i)
		steps[i - 1].exit();
	return err;
}
subsys_initcall(thp_init);

// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/zswap/: what was counted since boot.
 */
#include <linux/debugfs.h>

#include "zswap.h"

static atomic_long_t counts[NR_ZSWAP_STATS];

void zswap_count(enum zswap_stat stat, long nr)
{
	atomic_long_add(nr, &counts[stat]);
}

/**
 * zswap_count_reject - a folio was refused
 * @folio: locked; counted by its pages
 * @why: the reason
 */
void zswap_count_reject(struct folio *folio, enum zswap_reject why)
{
	long nr = folio_nr_pages(folio);

	zswap_count((enum zswap_stat)why, nr);
	zswap_cgroup_reject(folio, why, nr);
}

#ifdef CONFIG_DEBUG_FS
static int count_get(void *data, u64 *val)
{
	*val = atomic_long_read(data);
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(count_fops, count_get, NULL, "%llu\n");

static int total_size_get(void *data, u64 *val)
{
	*val = (u64)zswap_total_pages() << PAGE_SHIFT;
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(total_size_fops, total_size_get, NULL, "%llu\n");

/* The first seven are stock's. */
static const struct {
	const char *name;
	unsigned int stat;
} count_files[] = {
	{ "pool_limit_hit",		ZSWAP_STAT_LIMIT_HIT },
	{ "reject_reclaim_fail",	ZSWAP_STAT_WRITEBACK_FAILED },
	{ "reject_alloc_fail",		ZSWAP_REJECT_POOL_MEMORY },
	{ "reject_kmemcache_fail",	ZSWAP_REJECT_RUN_MEMORY },
	{ "reject_compress_fail",	ZSWAP_REJECT_COMPRESSOR },
	{ "reject_compress_poor",	ZSWAP_REJECT_POOR },
	{ "written_back_pages",		ZSWAP_STAT_WRITTEN_BACK },
	{ "reject_pool_limit",		ZSWAP_REJECT_POOL_LIMIT },
	{ "reject_cgroup_limit",	ZSWAP_REJECT_CGROUP_LIMIT },
	{ "reject_known_poor",		ZSWAP_REJECT_KNOWN_POOR },
	{ "same_filled_stored",		ZSWAP_STAT_REPEATED },
};

/* zswap_stat_init - make the files. What cannot be made is missing, and nothing else. */
void zswap_stat_init(void)
{
	struct dentry *dir = debugfs_create_dir("zswap", NULL);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(count_files); i++)
		debugfs_create_file_unsafe(count_files[i].name, 0444, dir,
					   &counts[count_files[i].stat], &count_fops);
	debugfs_create_file_unsafe("pool_total_size", 0444, dir, NULL, &total_size_fops);
	debugfs_create_atomic_t("stored_pages", 0444, dir, &zswap_stored_pages);
	debugfs_create_file_unsafe("stored_runs", 0444, dir, &zswap_nr_runs, &count_fops);
}
#else
void zswap_stat_init(void)
{
}
#endif

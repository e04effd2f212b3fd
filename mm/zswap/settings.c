// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/module/zswap/parameters/, and the parameters of the same names at boot (zswap.enabled= ...).
 *
 *	at boot			words are kept as they are
 *	set up			when zswap is first enabled: a name that does not exist becomes the
 *				default, with a word in the log; if that does not exist either, "",
 *				and there is no pool before a name that does is written
 *	after that		another name means another pool, for new pages; or an error, and
 *				nothing has changed
 *
 * If there is no memory to set it up zswap cannot be used until the next boot.
 */
#include <crypto/acompress.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "zswap.h"

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "zswap."

enum zswap_state {
	ZSWAP_NOT_SET_UP,
	ZSWAP_READY,
	ZSWAP_BROKEN,
};

/* Of the state, the names and which pool is in use. */
static DEFINE_MUTEX(setup_lock);
static enum zswap_state state;

static DEFINE_STATIC_KEY_MAYBE(CONFIG_ZSWAP_DEFAULT_ON, ever_enabled);
static bool enabled = IS_ENABLED(CONFIG_ZSWAP_DEFAULT_ON);
static char *compressor = CONFIG_ZSWAP_COMPRESSOR_DEFAULT;
static char *zpool = CONFIG_ZSWAP_ZPOOL_DEFAULT;

unsigned int zswap_max_pool_percent = 20;
unsigned int zswap_accept_percent = 90;
bool zswap_shrinker_enabled = IS_ENABLED(CONFIG_ZSWAP_SHRINKER_DEFAULT_ON);

module_param_named(max_pool_percent, zswap_max_pool_percent, uint, 0644);
module_param_named(accept_threshold_percent, zswap_accept_percent, uint, 0644);
module_param_named(shrinker_enabled, zswap_shrinker_enabled, bool, 0644);

/* zswap_is_enabled - does zswap take pages? */
bool zswap_is_enabled(void)
{
	return READ_ONCE(enabled);
}

/* zswap_never_enabled - true if there cannot be a page in zswap, as there was never a pool */
bool zswap_never_enabled(void)
{
	return !static_branch_maybe(CONFIG_ZSWAP_DEFAULT_ON, &ever_enabled);
}

static bool compressor_exists(char *name)
{
	return crypto_has_acomp(name, 0, 0);
}

static void use(struct zswap_pool *pool)
{
	zswap_pool_use(pool);
	static_branch_enable(&ever_enabled);
}

/* ---- set up ---- */

static void replace_name(char **name, char *by)
{
	param_free_charp(name);
	*name = by;
}

static void find_name(char **name, char *by_default, const char *what, bool (*exists)(char *))
{
	if (exists(*name))
		return;
	if (strcmp(*name, by_default)) {
		pr_err("zswap: there is no %s %s, %s is used\n", what, *name, by_default);
		replace_name(name, by_default);
		if (exists(by_default))
			return;
	}
	pr_err("zswap: there is no %s %s: write another one to be able to enable zswap\n", what,
	       by_default);
	replace_name(name, "");
}

static struct zswap_pool *prepare(const char *zpool_name, const char *compressor_name)
{
	if (!*zpool_name || !*compressor_name)
		return NULL;
	return zswap_pool_prepare(zpool_name, compressor_name);
}

static void first_pool(void)
{
	struct zswap_pool *pool;

	find_name(&compressor, CONFIG_ZSWAP_COMPRESSOR_DEFAULT, "compressor", compressor_exists);
	find_name(&zpool, CONFIG_ZSWAP_ZPOOL_DEFAULT, "zpool", zpool_has_pool);
	pool = prepare(zpool, compressor);
	if (!pool) {
		enabled = false;
		return;
	}
	use(pool);
	pr_info("zswap: pages go to %s, compressed by %s\n", zpool, compressor);
}

static int alloc_parts(void)
{
	if (zswap_runs_init())
		goto failed;
	if (zswap_pools_init())
		goto runs;
	if (zswap_writeback_init())
		goto pools;
	return 0;
pools:
	zswap_pools_exit();
runs:
	zswap_runs_exit();
failed:
	return -ENOMEM;
}

static int set_up(void)
{
	if (alloc_parts()) {
		pr_err("zswap: no memory to set it up\n");
		state = ZSWAP_BROKEN;
		enabled = false;
		return -ENOMEM;
	}
	first_pool();
	zswap_stat_init();
	state = ZSWAP_READY;
	return 0;
}

/* When all algorithms are there. */
static int __init zswap_init(void)
{
	int err;

	if (!enabled)
		return 0;
	mutex_lock(&setup_lock);
	err = set_up();
	mutex_unlock(&setup_lock);
	return err;
}
late_initcall(zswap_init);

/* ---- names ---- */

static int change_pool(const char *name, const struct kernel_param *kp, const char *new_zpool,
		       const char *new_compressor)
{
	struct zswap_pool *pool;
	int err;

	if (!strcmp(name, *(char **)kp->arg) && zswap_pool_in_use())
		return 0;
	pool = prepare(new_zpool, new_compressor);
	if (!pool) {
		/* The other name may be the bad one: this is kept for when that is put right. */
		return zswap_pool_in_use() ? -EINVAL : param_set_charp(name, kp);
	}
	err = param_set_charp(name, kp);
	if (err)
		zswap_pool_discard(pool);
	else
		use(pool);
	return err;
}

static int change_name(const char *name, const struct kernel_param *kp)
{
	switch (state) {
	case ZSWAP_NOT_SET_UP:
		return param_set_charp(name, kp);
	case ZSWAP_READY:
		return change_pool(name, kp, kp->arg == &zpool ? name : zpool,
				   kp->arg == &compressor ? name : compressor);
	case ZSWAP_BROKEN:
		break;
	}
	return -ENODEV;
}

static bool exists(const struct kernel_param *kp, char *name)
{
	return kp->arg == &zpool ? zpool_has_pool(name) : compressor_exists(name);
}

static int name_set(const char *val, const struct kernel_param *kp)
{
	char copy[CRYPTO_MAX_ALG_NAME], *name;
	int err;

	/* From the command line, which stays; what exists is seen when zswap is set up. */
	if (!slab_is_available())
		return param_set_charp(val, kp);
	if (strscpy(copy, val) < 0)
		return -ENOENT;
	name = strim(copy);
	if (system_state == SYSTEM_RUNNING && !exists(kp, name)) {
		pr_err("zswap: there is no %s %s\n", kp->arg == &zpool ? "zpool" : "compressor",
		       name);
		return -ENOENT;
	}
	mutex_lock(&setup_lock);
	err = change_name(name, kp);
	mutex_unlock(&setup_lock);
	return err;
}

static const struct kernel_param_ops name_ops = {
	.set = name_set,
	.get = param_get_charp,
	.free = param_free_charp,
};
module_param_cb(compressor, &name_ops, &compressor, 0644);
module_param_cb(zpool, &name_ops, &zpool, 0644);

/* ---- on and off ---- */

static int enable(void)
{
	if (state == ZSWAP_NOT_SET_UP)
		set_up();
	if (state == ZSWAP_BROKEN) {
		pr_err("zswap: cannot be enabled: there was no memory to set it up\n");
		return -ENODEV;
	}
	if (!zswap_pool_in_use()) {
		pr_err("zswap: cannot be enabled: write a compressor and a zpool that exist\n");
		return -ENODEV;
	}
	return 0;
}

static int enabled_set(const char *val, const struct kernel_param *kp)
{
	bool on;
	int err;

	if (system_state != SYSTEM_RUNNING)
		return param_set_bool(val, kp);
	err = kstrtobool(val, &on);
	if (err)
		return err;
	mutex_lock(&setup_lock);
	err = on ? enable() : 0;
	if (!err)
		WRITE_ONCE(enabled, on);
	mutex_unlock(&setup_lock);
	return err;
}

static const struct kernel_param_ops enabled_ops = {
	.set = enabled_set,
	.get = param_get_bool,
};
module_param_cb(enabled, &enabled_ops, &enabled, 0644);

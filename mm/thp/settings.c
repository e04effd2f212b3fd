// SPDX-License-Identifier: GPL-2.0
/*
 * Settings of transparent huge pages for the whole machine. A file that offers words is a table of
 * them: a word stands for bits of transparent_hugepage_flags, which change all at once, so that no
 * fault and no reader sees anything between the old word and the new one.
 */
#include <linux/mm.h>
#include <linux/kobject.h>
#include <linux/khugepaged.h>
#include <linux/kstrtox.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "thp.h"

#define FLAG(name)	BIT(TRANSPARENT_HUGEPAGE_##name)

#define ENABLED_FLAGS	(FLAG(FLAG) | FLAG(REQ_MADV_FLAG))
#define DEFRAG_FLAGS	(FLAG(DEFRAG_DIRECT_FLAG) | FLAG(DEFRAG_KSWAPD_FLAG) | \
			 FLAG(DEFRAG_KSWAPD_OR_MADV_FLAG) | FLAG(DEFRAG_REQ_MADV_FLAG))

/* More memory for programs that gain nothing is not what everybody wants: see Kconfig. */
unsigned long transparent_hugepage_flags __read_mostly =
	(IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE_ALWAYS) ? FLAG(FLAG) : 0) |
	(IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE_MADVISE) ? FLAG(REQ_MADV_FLAG) : 0) |
	FLAG(DEFRAG_REQ_MADV_FLAG) | FLAG(DEFRAG_KHUGEPAGED_FLAG) | FLAG(USE_ZERO_PAGE_FLAG);

/* Are huge pages of which most is zero given back under pressure? */
bool thp_shrink_underused = true;

/* The last word of a table stands for no bit. */
static const struct thp_word enabled_words[] = {
	{ "always", FLAG(FLAG) },
	{ "madvise", FLAG(REQ_MADV_FLAG) },
	{ "never", 0 },
	{ }
};

static const struct thp_word defrag_words[] = {
	{ "always", FLAG(DEFRAG_DIRECT_FLAG) },
	{ "defer", FLAG(DEFRAG_KSWAPD_FLAG) },
	{ "defer+madvise", FLAG(DEFRAG_KSWAPD_OR_MADV_FLAG) },
	{ "madvise", FLAG(DEFRAG_REQ_MADV_FLAG) },
	{ "never", 0 },
	{ }
};

/**
 * thp_word_find - the word that was written
 * @words: those that there are
 * @text: what was written, perhaps with a newline
 *
 * Return: it, or NULL.
 */
const struct thp_word *thp_word_find(const struct thp_word *words, const char *text)
{
	for (; words->name; words++)
		if (sysfs_streq(text, words->name))
			return words;
	return NULL;
}

/**
 * thp_words_show - all words, the one that holds in brackets
 * @words: those that there are
 * @value: of the one that holds
 * @buf: a page
 *
 * Return: the length of what was written there.
 */
ssize_t thp_words_show(const struct thp_word *words, unsigned long value, char *buf)
{
	const struct thp_word *w;
	int len = 0;

	for (w = words; w->name; w++)
		len += sysfs_emit_at(buf, len, w->value == value ? "%s[%s]" : "%s%s",
				     w == words ? "" : " ", w->name);
	len += sysfs_emit_at(buf, len, "\n");
	return len;
}

static void flags_change(unsigned long mask, unsigned long value)
{
	unsigned long old = READ_ONCE(transparent_hugepage_flags), new;

	do {
		new = (old & ~mask) | value;
	} while (!try_cmpxchg(&transparent_hugepage_flags, &old, new));
}

/* A bit of a flag word that says no to madvise's is not looked at, should both be set. */
static unsigned long flags_word(const struct thp_word *words)
{
	unsigned long flags = READ_ONCE(transparent_hugepage_flags);

	while (words->value && !(flags & words->value))
		words++;
	return words->value;
}

/* --- at boot ---------------------------------------------------------------------------- */

static bool boot_chosen __initdata;

/**
 * thp_boot_chosen - did the command line say whether there are to be huge pages?
 */
bool __init thp_boot_chosen(void)
{
	return boot_chosen;
}

static int __init boot_enabled(char *text)
{
	const struct thp_word *word = text ? thp_word_find(enabled_words, text) : NULL;

	if (!word) {
		pr_warn("transparent_hugepage=%s: not always, madvise or never; ignored\n",
			text ?: "");
		return 0;
	}
	flags_change(ENABLED_FLAGS, word->value);
	boot_chosen = true;
	return 1;
}
__setup("transparent_hugepage=", boot_enabled);

/* --- files ------------------------------------------------------------------------------ */

#ifdef CONFIG_SYSFS
/**
 * single_hugepage_flag_show - read a file that stands for one flag
 * @kobj: its folder
 * @attr: the file
 * @buf: a page
 * @flag: the flag
 *
 * Return: the length of "0\n" or "1\n".
 */
ssize_t single_hugepage_flag_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf,
				  enum transparent_hugepage_flag flag)
{
	return sysfs_emit(buf, "%d\n", test_bit(flag, &transparent_hugepage_flags));
}

/**
 * single_hugepage_flag_store - write a file that stands for one flag
 * @kobj: its folder
 * @attr: the file
 * @buf: "0" or "1"
 * @count: its length
 * @flag: the flag
 *
 * Return: @count; what kstrtoul() says of what is no number; -EINVAL above 1.
 */
ssize_t single_hugepage_flag_store(struct kobject *kobj, struct kobj_attribute *attr,
				   const char *buf, size_t count,
				   enum transparent_hugepage_flag flag)
{
	unsigned long value;
	int err = kstrtoul(buf, 10, &value);

	if (err)
		return err;
	if (value > 1)
		return -EINVAL;
	assign_bit(flag, &transparent_hugepage_flags, value);
	return count;
}

static ssize_t enabled_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return thp_words_show(enabled_words, flags_word(enabled_words), buf);
}

static ssize_t enabled_store(struct kobject *kobj, struct kobj_attribute *attr, const char *buf,
			     size_t count)
{
	const struct thp_word *word = thp_word_find(enabled_words, buf);

	if (!word)
		return -EINVAL;
	flags_change(ENABLED_FLAGS, word->value);
	return start_stop_khugepaged() ?: count;
}

static ssize_t defrag_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return thp_words_show(defrag_words, flags_word(defrag_words), buf);
}

static ssize_t defrag_store(struct kobject *kobj, struct kobj_attribute *attr, const char *buf,
			    size_t count)
{
	const struct thp_word *word = thp_word_find(defrag_words, buf);

	if (!word)
		return -EINVAL;
	flags_change(DEFRAG_FLAGS, word->value);
	return count;
}

static ssize_t use_zero_page_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return single_hugepage_flag_show(kobj, attr, buf, TRANSPARENT_HUGEPAGE_USE_ZERO_PAGE_FLAG);
}

static ssize_t use_zero_page_store(struct kobject *kobj, struct kobj_attribute *attr,
				   const char *buf, size_t count)
{
	return single_hugepage_flag_store(kobj, attr, buf, count,
					  TRANSPARENT_HUGEPAGE_USE_ZERO_PAGE_FLAG);
}

static ssize_t hpage_pmd_size_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%lu\n", HPAGE_PMD_SIZE);
}

static ssize_t shrink_underused_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", READ_ONCE(thp_shrink_underused));
}

static ssize_t shrink_underused_store(struct kobject *kobj, struct kobj_attribute *attr,
				      const char *buf, size_t count)
{
	bool value;
	int err = kstrtobool(buf, &value);

	if (err)
		return err;
	WRITE_ONCE(thp_shrink_underused, value);
	return count;
}

static struct kobj_attribute enabled_attr = __ATTR_RW(enabled);
static struct kobj_attribute defrag_attr = __ATTR_RW(defrag);
static struct kobj_attribute use_zero_page_attr = __ATTR_RW(use_zero_page);
static struct kobj_attribute hpage_pmd_size_attr = __ATTR_RO(hpage_pmd_size);
static struct kobj_attribute shrink_underused_attr = __ATTR_RW(shrink_underused);

static struct attribute *settings_attrs[] = {
	&enabled_attr.attr,
	&defrag_attr.attr,
	&use_zero_page_attr.attr,
	&hpage_pmd_size_attr.attr,
#ifdef CONFIG_SHMEM
	&shmem_enabled_attr.attr,
#endif
	&shrink_underused_attr.attr,
	NULL,
};

const struct attribute_group thp_settings_group = {
	.attrs = settings_attrs,
};
#endif /* CONFIG_SYSFS */

// SPDX-License-Identifier: GPL-2.0
/*
 * The files of /sys/kernel/mm/transparent_hugepage: each word and number that they take, those that
 * they refuse, and that nobody sees anything between an old word and a new one.
 */
#define _GNU_SOURCE
#include <pthread.h>

#include "harness.h"
#include "thp.h"

struct file {
	const char *name;
	const char *words[6];
	const char *shows;	/* of the first word */
};

static const struct file files[] = {
	{ "enabled", { "madvise", "never", "always" }, "always [madvise] never" },
	{ "defrag", { "defer", "defer+madvise", "madvise", "never", "always" },
	  "always [defer] defer+madvise madvise never" },
	{ "use_zero_page", { "0", "1" }, "0" },
	{ "shrink_underused", { "0", "1" }, "0" },
	{ "hugepages-64kB/enabled", { "always", "madvise", "inherit", "never" },
	  "[always] inherit madvise never" },
	{ "hugepages-2048kB/enabled", { "never", "always", "madvise", "inherit" },
	  "always inherit madvise [never]" },
};

#define NR_FILES ARRAY_SIZE(files)

static void setting(const char *name, char *path)
{
	snprintf(path, 256, THP_DIR "%s", name);
}

static bool shows(const char *name, const char *want)
{
	char path[256], text[256] = "";

	setting(name, path);
	if (!read_text(path, text, sizeof(text)))
		return false;
	text[strcspn(text, "\n")] = 0;
	return !strcmp(text, want);
}

static bool set(const char *name, const char *word)
{
	char path[256];

	setting(name, path);
	return write_text(path, word);
}

/* Is one of these the word in brackets, or the number? Read once: it may change. */
static bool holds_one(const char *name, const char *word, const char *other)
{
	char path[256], text[256] = "", in_brackets[2][64];

	setting(name, path);
	if (!read_text(path, text, sizeof(text)))
		return false;
	text[strcspn(text, "\n")] = 0;
	snprintf(in_brackets[0], 64, "[%s]", word);
	snprintf(in_brackets[1], 64, "[%s]", other);
	return !strcmp(text, word) || strstr(text, in_brackets[0]) || strstr(text, in_brackets[1]);
}

static bool holds(const char *name, const char *word)
{
	return holds_one(name, word, word);
}

FIXTURE(settings) { char was[NR_FILES][256]; };
FIXTURE_SETUP(settings)
{
	char path[256], *open;

	for (size_t i = 0; i < NR_FILES; i++) {
		setting(files[i].name, path);
		ASSERT_TRUE(read_text(path, self->was[i], sizeof(self->was[i])));
		open = strchr(self->was[i], '[');
		if (open) {
			open[strcspn(open, "]")] = 0;
			memmove(self->was[i], open + 1, strlen(open));
		}
	}
}
FIXTURE_TEARDOWN(settings)
{
	for (size_t i = 0; i < NR_FILES; i++)
		EXPECT_TRUE(set(files[i].name, self->was[i]));
}

TEST_F(settings, words)
{
	const struct file *f;
	char word[64];
	size_t w;

	for (f = files; f < files + NR_FILES; f++) {
		for (w = 0; f->words[w]; w++) {
			snprintf(word, sizeof(word), "%s\n", f->words[w]);
			EXPECT_TRUE(set(f->name, w & 1 ? word : f->words[w]));
			EXPECT_TRUE(holds(f->name, f->words[w])) TH_LOG("%s %s", f->name, f->words[w]);
			EXPECT_TRUE(w || shows(f->name, f->shows));
		}
	}
}

TEST_F(settings, refused)
{
	static const char *const bad[] = { "alway", "alwaysx", "always never", "[always]", "ALWAYS", " always",
					   "-1", "2", "defer madvise" };
	size_t i, b;

	for (i = 0; i < NR_FILES; i++) {
		ASSERT_TRUE(set(files[i].name, files[i].words[0]));
		for (b = 0; b < ARRAY_SIZE(bad); b++) {
			EXPECT_FALSE(set(files[i].name, bad[b])) TH_LOG("%s '%s'", files[i].name, bad[b]);
			EXPECT_EQ(errno, EINVAL);
			EXPECT_TRUE(holds(files[i].name, files[i].words[0]));
		}
	}
	EXPECT_FALSE(set("hpage_pmd_size", "4096"));
	EXPECT_TRUE(shows("hpage_pmd_size", "2097152"));
}

/* --- between two words ------------------------------------------------------------------ */

static volatile bool stop;

static void *toggle(void *arg)
{
	const char *const *w = arg;

	while (!stop) {
		set(w[0], w[1]);
		set(w[0], w[2]);
	}
	return NULL;
}

/*
 * From one word that allows huge pages to another, and back: each fault gets one. A reader sees one
 * of the two words.
 */
static void between(struct __test_metadata *_metadata, const char *const *w, bool faults)
{
	pthread_t t;
	long small = 0, odd = 0;

	stop = false;
	ASSERT_EQ(pthread_create(&t, NULL, toggle, (void *)w), 0);
	for (int i = 0; i < 300; i++) {
		odd += !holds_one(w[0], w[1], w[2]);
		if (!faults)
			continue;
		char *p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);

		*(volatile char *)p = 1;
		small += !(flags_at(p) & KPF(KPF_THP));
		munmap(p - HUGE, 3 * HUGE);
	}
	stop = true;
	pthread_join(t, NULL);
	EXPECT_EQ(odd, 0);
	EXPECT_EQ(small, 0);
}

TEST_F(settings, enabled_at_once)
{
	static const char *const w[] = { "enabled", "always", "madvise" };

	ASSERT_TRUE(set("enabled", "always"));
	ASSERT_TRUE(set("hugepages-2048kB/enabled", "inherit"));
	between(_metadata, w, true);
}

TEST_F(settings, size_at_once)
{
	static const char *const w[] = { "hugepages-2048kB/enabled", "always", "madvise" };

	ASSERT_TRUE(set(w[0], w[1]));
	between(_metadata, w, true);
}

TEST_F(settings, defrag_at_once)
{
	static const char *const w[] = { "defrag", "defer", "always" };

	ASSERT_TRUE(set(w[0], w[1]));
	between(_metadata, w, false);
}

/* --- what they do ----------------------------------------------------------------------- */

static long huge_kb(int advice, bool write)
{
	char *p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	long kb;

	if (advice != MADV_HUGEPAGE)
		madvise(p, HUGE, advice);
	if (write)
		*(volatile char *)p = 1;
	else
		(void)*(volatile char *)p;
	kb = write ? smaps_kb(p, "AnonHugePages") : !!(pagemap_of(p + 5 * PAGE) & PM_PRESENT);
	munmap(p - HUGE, 3 * HUGE);
	return kb;
}

TEST_F(settings, obeyed)
{
	ASSERT_TRUE(set("hugepages-2048kB/enabled", "inherit"));
	ASSERT_TRUE(set("enabled", "madvise"));
	EXPECT_EQ(huge_kb(MADV_HUGEPAGE, true), 2048);
	EXPECT_EQ(huge_kb(MADV_NOHUGEPAGE, true), 0);
	ASSERT_TRUE(set("enabled", "never"));
	EXPECT_EQ(huge_kb(MADV_HUGEPAGE, true), 0);
	ASSERT_TRUE(set("hugepages-2048kB/enabled", "always"));
	EXPECT_EQ(huge_kb(MADV_HUGEPAGE, true), 2048);
	ASSERT_TRUE(set("hugepages-2048kB/enabled", "never"));
	ASSERT_TRUE(set("enabled", "always"));
	EXPECT_EQ(huge_kb(MADV_HUGEPAGE, true), 0);
}

TEST_F(settings, zero_page)
{
	ASSERT_TRUE(set("hugepages-2048kB/enabled", "inherit"));
	ASSERT_TRUE(set("enabled", "always"));
	ASSERT_TRUE(set("use_zero_page", "1"));
	char *p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	(void)*(volatile char *)p;
	EXPECT_TRUE(flags_at(p + 7 * PAGE) & KPF(KPF_ZERO_PAGE));
	EXPECT_EQ(smaps_kb(p, "Rss"), 0);
	munmap(p - HUGE, 3 * HUGE);
	ASSERT_TRUE(set("use_zero_page", "0"));
	p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	(void)*(volatile char *)p;
	EXPECT_FALSE(flags_at(p + 7 * PAGE) & KPF(KPF_ZERO_PAGE));
	EXPECT_EQ(smaps_kb(p, "AnonHugePages"), 2048);
	munmap(p - HUGE, 3 * HUGE);
}

TEST_HARNESS_MAIN

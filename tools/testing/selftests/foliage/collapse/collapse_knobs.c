// SPDX-License-Identifier: GPL-2.0
/*
 * The files of khugepaged/: what they take, what they refuse, and that a refusal changes nothing.
 */
#define _GNU_SOURCE
#include "harness.h"
#include "../thp/thp.h"

#define DIR	THP_DIR "khugepaged/"

static const struct {
	const char *name;
	long least, most;
} knobs[] = {
	{ "pages_to_scan", 1, 4294967295 },
	{ "scan_sleep_millisecs", 0, 4294967295 },
	{ "alloc_sleep_millisecs", 0, 4294967295 },
	{ "max_ptes_none", 0, 511 },
	{ "max_ptes_swap", 0, 511 },
	{ "max_ptes_shared", 0, 511 },
	{ "defrag", 0, 1 },
};

static long value_of(const char *name)
{
	char path[256], text[64];

	snprintf(path, sizeof(path), DIR "%s", name);
	if (!read_text(path, text, sizeof(text)))
		fail_setup("%s", path);
	return atol(text);
}

static bool set_text(const char *name, const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), DIR "%s", name);
	return write_text(path, text);
}

static bool set_value(const char *name, long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", value);
	return set_text(name, text);
}

TEST(limits)
{
	for (size_t i = 0; i < ARRAY_SIZE(knobs); i++) {
		long was = value_of(knobs[i].name), values[] = { knobs[i].least, knobs[i].most };

		for (int k = 0; k < 2; k++) {
			EXPECT_TRUE(set_value(knobs[i].name, values[k]));
			EXPECT_EQ(value_of(knobs[i].name), values[k]) TH_LOG("%s", knobs[i].name);
		}
		EXPECT_FALSE(set_value(knobs[i].name, knobs[i].least - 1));
		EXPECT_FALSE(set_value(knobs[i].name, knobs[i].most + 1));
		EXPECT_EQ(value_of(knobs[i].name), knobs[i].most) TH_LOG("%s", knobs[i].name);
		EXPECT_TRUE(set_value(knobs[i].name, was));
	}
}

TEST(no_numbers)
{
	static const char * const bad[] = { "x", "1x", " 1", "-1", "0x10", "1 2", "99999999999999999999999" };

	for (size_t i = 0; i < ARRAY_SIZE(knobs); i++) {
		long was = value_of(knobs[i].name);

		for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
			errno = 0;
			EXPECT_FALSE(set_text(knobs[i].name, bad[k])) TH_LOG("%s: %s", knobs[i].name, bad[k]);
		}
		EXPECT_EQ(value_of(knobs[i].name), was);
	}
}

TEST(read_only)
{
	EXPECT_FALSE(set_value("pages_collapsed", 1));
	EXPECT_FALSE(set_value("full_scans", 1));
}

TEST_HARNESS_MAIN

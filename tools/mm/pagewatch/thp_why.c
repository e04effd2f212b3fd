// SPDX-License-Identifier: GPL-2.0
/* Why memory is not huge: settings, advice, and what lies in a range that could be a huge page. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "thp.h"

#define THP_DIR	"/sys/kernel/mm/transparent_hugepage/"

const char *const why_names[NR_WHYS] = {
	"advice", "process", "setting", "userfaultfd", "unaligned", "shared", "empty", "not_yet",
};

const char *const why_texts[NR_WHYS] = {
	"MADV_NOHUGEPAGE was said",
	"prctl(PR_SET_THP_DISABLE) was said",
	"the settings say never, or want MADV_HUGEPAGE, which was not said",
	"a userfaultfd sees to it",
	"ends of mappings: no room for a huge page",
	"more of it is shared than max_ptes_shared allows",
	"more of it is empty than max_ptes_none allows",
	"not looked at yet, no memory, a page is pinned, or part of it was given back",
};

static int setting(const char *file, char *out, size_t size)
{
	char path[128], *text;

	snprintf(path, sizeof(path), THP_DIR "%s", file);
	text = read_text(AT_FDCWD, path, NULL);
	if (!text)
		return -1;
	/* Of several words, the one in brackets. */
	snprintf(out, size, "%s", strchr(text, '[') ? strchr(text, '[') + 1 : text);
	out[strcspn(out, "]\n")] = 0;
	free(text);
	return 0;
}

/* Where there is a file for each size, and it says "inherit", the one for all sizes counts. */
static int setting_of_size(const char *all, const char *each, uint64_t huge, char *out, size_t size)
{
	char file[64];

	snprintf(file, sizeof(file), "hugepages-%llukB/%s", (unsigned long long)huge >> 10, each);
	if (!setting(file, out, size) && strcmp(out, "inherit"))
		return 0;
	return setting(all, out, size);
}

static uint64_t setting_number(const char *file, uint64_t otherwise)
{
	char text[32];

	return setting(file, text, sizeof(text)) ? otherwise : strtoull(text, NULL, 10);
}

int thp_settings_read(struct thp_settings *s)
{
	s->huge = setting_number("hpage_pmd_size", 0);
	if (s->huge < (uint64_t)page_size || s->huge > (uint64_t)page_size << MAX_ORDER)
		return fail("the kernel has no huge pages: no " THP_DIR "hpage_pmd_size "
			    "(CONFIG_TRANSPARENT_HUGEPAGE)");
	if (setting_of_size("enabled", "enabled", s->huge, s->anon, sizeof(s->anon)))
		return fail("cannot read " THP_DIR "enabled: %s", strerror(errno));
	if (setting_of_size("shmem_enabled", "shmem_enabled", s->huge, s->shmem, sizeof(s->shmem)))
		snprintf(s->shmem, sizeof(s->shmem), "never");
	s->max_none = setting_number("khugepaged/max_ptes_none", s->huge / page_size - 1);
	s->max_shared = setting_number("khugepaged/max_ptes_shared", s->huge / page_size / 2);
	return 0;
}

static bool asked_for(const struct thp_settings *s, const struct vma *v, const struct thp_flags *f)
{
	const char *word = v->kind == K_SHMEM ? s->shmem : s->anon;

	if (!strcmp(word, "madvise") || !strcmp(word, "advise"))
		return f->advised;
	return strcmp(word, "never") && strcmp(word, "deny");
}

/* Of a window of the size of a huge page: @present and @shared are pages of it. */
enum why thp_why(const struct thp *t, const struct vma *v, const struct thp_flags *f, bool disabled,
		 uint64_t window, uint64_t present, uint64_t shared)
{
	const struct thp_settings *s = &t->settings;

	if (f->refused)
		return WHY_ADVICE;
	if (disabled)
		return WHY_PROCESS;
	if (!asked_for(s, v, f))
		return WHY_SETTING;
	if (f->userfault)
		return WHY_USERFAULT;
	if (window < v->start || window + s->huge > v->end)
		return WHY_UNALIGNED;
	if (shared > s->max_shared)
		return WHY_SHARED;
	if (s->huge / page_size - present > s->max_none)
		return WHY_EMPTY;
	return WHY_NOT_YET;
}

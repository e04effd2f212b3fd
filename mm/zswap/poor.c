// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that do not compress are not tried again and again.
 *
 * A folio that was written to the device as a page of it was poor can come again before its slots
 * are freed: it was written to in the swap cache, or was not written to the device at all since
 * its cgroup forbids that. Its slots are marked: pass by 1, then 2, 4 ... 64 stores, with a try
 * after each; what was written may compress now. A page that does takes the mark's place.
 *
 * A mark is a value in place of a run: how many stores are to pass by now (the lower eight bits),
 * and how many after the next try. It is lost when there is no memory for it: that is all right.
 */
#include "zswap.h"

#define SKIPS_MAX	64

/* Has there ever been a mark? */
bool zswap_any_marks __read_mostly;

static void *mark(unsigned int skips, unsigned int next)
{
	return xa_mk_value(next << 8 | skips);
}

static unsigned int mark_skips(void *entry)
{
	return xa_to_value(entry) & 0xff;
}

static unsigned int mark_next(void *entry)
{
	return xa_to_value(entry) >> 8;
}

/**
 * __zswap_poor_skip - should this folio not be tried?
 * @swp: its first slot
 * @nr: its pages
 *
 * Each call counts.
 *
 * Context: the slots are the caller's.
 */
bool __zswap_poor_skip(swp_entry_t swp, int nr)
{
	bool skip = false;

	for (; nr > 0; nr--, swp.val++) {
		void *entry = zswap_slot_get(swp);

		if (!xa_is_value(entry) || !mark_skips(entry))
			continue;
		skip = true;
		zswap_slot_mark(swp, mark(mark_skips(entry) - 1, mark_next(entry)));
	}
	return skip;
}

/**
 * zswap_poor_note - a page was found to be poor
 * @swp: its slot
 *
 * Context: the slot is the caller's, and holds no run.
 */
void zswap_poor_note(swp_entry_t swp)
{
	void *entry = zswap_slot_get(swp);
	unsigned int skips = entry ? mark_next(entry) : 1;

	zswap_slot_mark(swp, mark(skips, min(2 * skips, SKIPS_MAX)));
	if (!zswap_any_marks)
		WRITE_ONCE(zswap_any_marks, true);
}

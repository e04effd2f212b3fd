// SPDX-License-Identifier: GPL-2.0
/*
 * A program that asks for huge pages waits for memory to be compacted, if the settings say so.
 * Where that has failed, or has taken long, it will not be much better a moment later; so faults on
 * that node take what is free for a while, and kswapd and kcompactd are woken to work on it.
 *
 *		 failed, or slow		time is up
 *	calm ------------------> waiting ----------------> trying
 *	  ^			    ^			     |  |
 *	  |			    +-- failed, or slow: ----+  |
 *	  |				twice as long		|
 *	  +------------------------ done in time ---------------+
 *
 * Nothing is locked. Two faults that fail at once double the time twice, or once; a fault that
 * has read the old time waits once more for memory: neither matters.
 */
#include <linux/jiffies.h>
#include <linux/minmax.h>
#include <linux/nodemask.h>
#include <linux/sched/clock.h>
#include <linux/topology.h>

#include "thp.h"

/*
 * What is slow. A failure in less than that did not compact: compaction has a back-off of its own,
 * which counts how often it is asked, so it must be asked.
 */
#define SLOW_NS		(10 * NSEC_PER_MSEC)
#define SLOW_FAILURE_NS	NSEC_PER_MSEC
/* For how long faults are spared. */
#define FIRST_MS	100U
#define LAST_MS		12800U

static struct backoff {
	unsigned long until;	/* jiffies; means nothing in calm */
	unsigned int ms;	/* 0: calm */
} backoffs[MAX_NUMNODES];

/**
 * thp_backoff_gfp - may a fault wait for a huge page?
 * @gfp: what the settings say
 * @nid: the node of the CPU
 *
 * Return: @gfp, or less of it.
 */
gfp_t thp_backoff_gfp(gfp_t gfp, int nid)
{
	const struct backoff *b = &backoffs[nid];

	if (!(gfp & __GFP_DIRECT_RECLAIM) || likely(!READ_ONCE(b->ms)) ||
	    time_after_eq(jiffies, READ_ONCE(b->until)))
		return gfp;
	return (gfp & ~__GFP_DIRECT_RECLAIM) | __GFP_KSWAPD_RECLAIM;
}

/**
 * thp_backoff_note - tell how the allocation went
 * @gfp: what it was allowed to do
 * @nid: the node of the CPU
 * @got: was there a huge page?
 * @ns: how long it took
 */
void thp_backoff_note(gfp_t gfp, int nid, bool got, u64 ns)
{
	struct backoff *b = &backoffs[nid];
	unsigned int ms = READ_ONCE(b->ms);

	if (!(gfp & __GFP_DIRECT_RECLAIM))
		return;
	if (ns < (got ? SLOW_NS : SLOW_FAILURE_NS)) {
		if (unlikely(got && ms))
			WRITE_ONCE(b->ms, 0);
		return;
	}
	ms = clamp(2 * ms, FIRST_MS, LAST_MS);
	WRITE_ONCE(b->until, jiffies + msecs_to_jiffies(ms));
	WRITE_ONCE(b->ms, ms);
}

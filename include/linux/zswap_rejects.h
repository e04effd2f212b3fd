/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Why zswap did not take pages, counted for each cgroup.
 */
#ifndef _LINUX_ZSWAP_REJECTS_H
#define _LINUX_ZSWAP_REJECTS_H

/* memory.zswap.rejects has them in this order. */
enum zswap_reject {
	ZSWAP_REJECT_POOL_LIMIT,	/* max_pool_percent, or not yet below the threshold */
	ZSWAP_REJECT_CGROUP_LIMIT,	/* memory.zswap.max of the cgroup or of one above it */
	ZSWAP_REJECT_POOR,		/* compressed it takes a page or more */
	ZSWAP_REJECT_KNOWN_POOR,	/* it did when it was last tried: not tried again yet */
	ZSWAP_REJECT_COMPRESSOR,	/* the compressor failed */
	ZSWAP_REJECT_POOL_MEMORY,	/* no memory for the data */
	ZSWAP_REJECT_RUN_MEMORY,	/* no memory to keep track of it, or no pool */
	NR_ZSWAP_REJECTS
};

#endif /* _LINUX_ZSWAP_REJECTS_H */

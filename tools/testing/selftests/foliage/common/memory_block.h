/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Blocks of memory that are taken offline, in a guest of two nodes with 2 GiB each.
 */
#ifndef FOLIAGE_MEMORY_BLOCK_H
#define FOLIAGE_MEMORY_BLOCK_H

#include <stdio.h>

#include "foliage.h"

#define BLOCK		"/sys/devices/system/memory/memory%d/state"
#define BLOCK_FRAMES	32768UL	/* 128 MiB */

static inline bool block_set(int block, const char *state)
{
	char path[96];

	snprintf(path, sizeof(path), BLOCK, block);
	return write_text(path, state);
}

/* A block of node 1 that can go, as movable memory: there ours is then. -1 if there is none. */
static inline int block_movable(void)
{
	for (int block = 47; block > 32; block--)
		if (block_set(block, "offline") && block_set(block, "online_movable"))
			return block;
	return -1;
}

#endif

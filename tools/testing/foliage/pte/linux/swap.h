/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Stand-in: the swap types that are no devices. A machine has all of them or only markers,
 * as a kernel has that is built without the options.
 */
#ifndef _LINUX_SWAP_H
#define _LINUX_SWAP_H

enum swp_special {
	SWP_HWPOISON = 23,
	SWP_MIGRATION_READ,
	SWP_MIGRATION_READ_EXCLUSIVE,
	SWP_MIGRATION_WRITE,
	SWP_DEVICE_WRITE,
	SWP_DEVICE_READ,
	SWP_DEVICE_EXCLUSIVE_WRITE,
	SWP_DEVICE_EXCLUSIVE_READ,
	SWP_PTE_MARKER,
	SWP_TYPES,
	MAX_SWAPFILES = HAS_SPECIAL ? SWP_HWPOISON : SWP_PTE_MARKER,
};

#endif /* _LINUX_SWAP_H */

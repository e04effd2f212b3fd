/* SPDX-License-Identifier: GPL-2.0 */
/* UFFDIO_MOVE. */
#ifndef FOLIAGE_BENCH_UFFD_H
#define FOLIAGE_BENCH_UFFD_H

#include <linux/userfaultfd.h>
#include <stdint.h>

/* Newer than the headers of some distributions that build this: kernel 6.8. */
#ifndef UFFDIO_MOVE
struct uffdio_move {
	uint64_t dst, src, len, mode;
	int64_t move;
};
#define UFFDIO_MOVE		_IOWR(UFFDIO, 5, struct uffdio_move)
#define UFFD_FEATURE_MOVE	(1 << 16)
#endif

#endif

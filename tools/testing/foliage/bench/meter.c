// SPDX-License-Identifier: GPL-2.0
/* What is measured: the monotonic clock, and the kernel's own count of TLB flushes beside it. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

static uint64_t now_ns(void)
{
	struct timespec t;

	must(clock_gettime(CLOCK_MONOTONIC, &t));
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* Sum of the nr_tlb_* lines of /proc/vmstat, or -1: they exist only under CONFIG_DEBUG_TLBFLUSH. */
static int64_t tlb_flushes(void)
{
	static char text[64 << 10];
	int fd = open_file("/proc/vmstat", O_RDONLY);
	size_t have = 0;
	int64_t sum = -1;
	ssize_t n;
	char *p;

	while ((n = must(read(fd, text + have, sizeof(text) - 1 - have))) > 0)
		have += n;
	text[have] = 0;
	close(fd);
	for (p = text; (p = strstr(p, "nr_tlb_")); ) {
		p += strcspn(p, " \n");
		sum = (sum < 0 ? 0 : sum) + strtoll(p, NULL, 10);
	}
	return sum;
}

void meter_begin(struct bench *b)
{
	settle();
	b->start_flushes = tlb_flushes();
	b->start_ns = now_ns();
}

void meter_end(struct bench *b, uint64_t units)
{
	uint64_t end = now_ns();

	b->ns = end - b->start_ns;
	b->flushes = b->start_flushes < 0 ? -1 : tlb_flushes() - b->start_flushes;
	b->units = units;
}

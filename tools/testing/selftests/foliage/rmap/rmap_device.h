/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The device of lib/test_hmm.c (CONFIG_TEST_HMM), which mirrors the process that opened it, and
 * memory that it may have: of each page it is known what it holds.
 */
#ifndef RMAP_DEVICE_H
#define RMAP_DEVICE_H

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../../../lib/test_hmm_uapi.h"
#include "harness.h"
#include "foliage.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

#define PM_SWAP		(1ULL << 62)
#define PM_PRESENT	(1ULL << 63)

#define PAGES	256UL
#define SPAN	(PAGES * PAGE)

/* A command to the device. What it copies to or from the process is at @buf. */
static inline int device(int fd, unsigned long what, const void *p, size_t pages, void *buf)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)p,
		.ptr = (uintptr_t)buf,
		.npages = pages,
	};

	return ioctl(fd, what, &cmd) ? -errno : 0;
}

/* Several tries: a page that somebody else has locked just now is refused. */
static inline int make_exclusive(int fd, char *p, size_t pages, char *buf)
{
	int err = 0;

	for (int i = 0; i < 20; i++) {
		err = device(fd, HMM_DMIRROR_EXCLUSIVE, p, pages, buf);
		if (err != -EBUSY)
			break;
		usleep(10000);
	}
	return err;
}

static inline uint64_t value(size_t i)
{
	return 0x5000000 + i;
}

static inline void fill(char *p)
{
	for (size_t i = 0; i < PAGES; i++)
		*(uint64_t *)(p + i * PAGE) = value(i);
}

static inline size_t wrong(const char *p)
{
	size_t n = 0;

	for (size_t i = 0; i < PAGES; i++)
		n += *(volatile uint64_t *)(p + i * PAGE) != value(i);
	return n;
}

static inline void look(const char *p, uint64_t *map)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (pread(fd, map, PAGES * 8, (uintptr_t)p / PAGE * 8) != PAGES * 8)
		fail_setup("pagemap");
	close(fd);
}

static inline size_t count(const char *p, uint64_t bits)
{
	uint64_t map[PAGES];
	size_t n = 0;

	look(p, map);
	for (size_t i = 0; i < PAGES; i++)
		n += (map[i] & bits) == bits;
	return n;
}

static inline size_t move_to(char *p, int node)
{
	void *pages[PAGES];
	int nodes[PAGES], status[PAGES];
	size_t n = 0;

	for (size_t i = 0; i < PAGES; i++) {
		pages[i] = p + i * PAGE;
		nodes[i] = node;
		status[i] = -1;
	}
	syscall(SYS_move_pages, 0, PAGES, pages, nodes, status, MPOL_MF_MOVE);
	for (size_t i = 0; i < PAGES; i++)
		n += status[i] == node;
	return n;
}

FIXTURE(device) {
	int fd;
	char *p, *buf;
};

FIXTURE_SETUP(device)
{
	self->fd = hmm_device_open();
	if (self->fd < 0)
		SKIP(return, "no CONFIG_TEST_HMM");
	self->p = mmap(NULL, SPAN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	self->buf = mmap(NULL, SPAN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (self->p == MAP_FAILED || self->buf == MAP_FAILED)
		fail_setup("mmap");
	madvise(self->p, SPAN, MADV_NOHUGEPAGE);
	madvise(self->buf, SPAN, MADV_NOHUGEPAGE);
	need_swap();
	fill(self->p);
	settle_lru();
}

FIXTURE_TEARDOWN(device)
{
	close(self->fd);
	munmap(self->p, SPAN);
	munmap(self->buf, SPAN);
}

static sigjmp_buf fault;

static inline void on_fault(int sig)
{
	siglongjmp(fault, 1);
}

static inline bool write_dies(volatile char *p)
{
	volatile bool died = true;

	signal(SIGSEGV, on_fault);
	if (!sigsetjmp(fault, 1)) {
		*p = *p;
		died = false;
	}
	signal(SIGSEGV, SIG_DFL);
	return died;
}

#endif

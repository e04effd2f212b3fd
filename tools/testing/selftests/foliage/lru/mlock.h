/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of mlock's promises share: what the kernel says of a mapping, the account of
 * locked memory, faults, and limits.
 */
#ifndef FOLIAGE_MLOCK_H
#define FOLIAGE_MLOCK_H

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "foliage.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

#define PM_FILE		(1ULL << 61)
#define PM_SWAP		(1ULL << 62)
#define PM_PRESENT	(1ULL << 63)

#define MTHP_64K	"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled"
#define RW		(PROT_READ | PROT_WRITE)
#define ANON		(MAP_PRIVATE | MAP_ANONYMOUS)

/* --- what the kernel says --------------------------------------------------------------- */

/* One entry of /proc/self/smaps. */
struct vma {
	unsigned long start, end;
	long locked_kb;
	bool lo, lf;	/* VM_LOCKED, VM_LOCKONFAULT */
};

static char text[1 << 19];

static inline bool next_vma(char **at, struct vma *v)
{
	bool found = false;
	unsigned long start, end;
	char *line = *at, *next;

	*v = (struct vma){};
	for (; line && *line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		if (!found && sscanf(line, "%lx-%lx", &start, &end) == 2) {
			v->start = start;
			v->end = end;
			found = true;
		} else if (!strncmp(line, "Locked:", 7)) {
			v->locked_kb = atol(line + 7);
		} else if (!strncmp(line, "VmFlags:", 8)) {
			v->lo = strstr(line, " lo");
			v->lf = strstr(line, " lf");
			*at = next;
			return found;
		}
	}
	return false;
}

static inline char *smaps(void)
{
	if (!read_text("/proc/self/smaps", text, sizeof(text)))
		fail_setup("smaps");
	return text;
}

static inline struct vma vma_of(const void *addr)
{
	char *at = smaps();
	struct vma v;

	while (next_vma(&at, &v))
		if ((uintptr_t)addr >= v.start && (uintptr_t)addr < v.end)
			return v;
	return (struct vma){};
}

static inline bool is_lo(const void *addr)
{
	return vma_of(addr).lo;
}

/* Pages of all mappings that are marked as locked. */
static inline long pages_lo(void)
{
	char *at = smaps();
	struct vma v;
	long n = 0;

	while (next_vma(&at, &v))
		n += v.lo ? (v.end - v.start) / PAGE : 0;
	return n;
}

static inline long vma_count(void)
{
	char *at = smaps();
	struct vma v;
	long n = 0;

	while (next_vma(&at, &v))
		n++;
	return n;
}

/* VmLck, in pages. */
static inline long pages_locked(void)
{
	char *p;

	if (!read_text("/proc/self/status", text, sizeof(text)))
		fail_setup("status");
	p = strstr(text, "VmLck:");
	return p ? atol(p + 6) / 4 : -1;
}

/* The account and the marks agree, and say @n. */
#define EXPECT_LOCKED(n)				\
do {							\
	EXPECT_EQ(pages_locked(), (long)(n));		\
	EXPECT_EQ(pages_lo(), (long)(n));		\
} while (0)

#define EXPECT_ERR(call, err)				\
do {							\
	errno = 0;					\
	EXPECT_EQ((long)(call), -1);			\
	EXPECT_EQ(errno, err);				\
} while (0)

static inline size_t with(const char *p, size_t pages, uint64_t bits)
{
	static uint64_t map[4096];
	int fd = open("/proc/self/pagemap", O_RDONLY);
	size_t n = 0;

	if (fd < 0 || pages > 4096 ||
	    pread(fd, map, pages * 8, (uintptr_t)p / PAGE * 8) != (ssize_t)pages * 8)
		fail_setup("pagemap");
	close(fd);
	for (size_t i = 0; i < pages; i++)
		n += !!(map[i] & bits);
	return n;
}

static inline size_t present(const char *p, size_t pages)
{
	return with(p, pages, PM_PRESENT);
}

/* Faults that a write to each page takes. */
static inline long write_faults(char *p, size_t pages)
{
	long before = own_faults();

	for (size_t i = 0; i < pages; i++)
		*(volatile char *)(p + i * PAGE + 64) = 1;
	return own_faults() - before;
}

static inline long read_faults(char *p, size_t pages)
{
	long before = own_faults();

	for (size_t i = 0; i < pages; i++)
		(void)*(volatile char *)(p + i * PAGE);
	return own_faults() - before;
}

/* --- memory, limits --------------------------------------------------------------------- */

/* Address space of its own between mappings that nothing here can merge with. */
static inline char *room(size_t pages)
{
	char *p = mmap(NULL, pages * PAGE + 2 * HUGE, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		fail_setup("address space");
	return (char *)(((uintptr_t)p + HUGE) & -HUGE);
}

static inline char *map_at(char *at, size_t pages, int prot, int flags, int fd)
{
	char *p = mmap(at, pages * PAGE, prot, flags | MAP_FIXED, fd, 0);

	if (p == MAP_FAILED)
		fail_setup("mmap");
	return p;
}

static inline char *anon(size_t pages)
{
	return map_at(room(pages), pages, RW, ANON, -1);
}

static inline void fill(char *p, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		*(uint32_t *)(p + i * PAGE) = 1000 + i;
}

/* A file in memory whose pages are all there. */
static inline int memfd(size_t pages)
{
	int fd = memfd_create("mlock", 0);
	char buf[PAGE] = "memfd";

	for (size_t i = 0; i < pages; i++)
		if (pwrite(fd, buf, PAGE, i * PAGE) != PAGE)
			fail_setup("memfd");
	return fd;
}

static inline void limit(size_t pages)
{
	struct rlimit r = { pages * PAGE, pages * PAGE };

	if (setrlimit(RLIMIT_MEMLOCK, &r))
		fail_setup("RLIMIT_MEMLOCK");
}

/* From here on, RLIMIT_MEMLOCK counts. */
static inline void drop_ipc_lock(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data))
		fail_setup("capget");
	data[0].effective &= ~(1U << CAP_IPC_LOCK);
	data[0].permitted &= ~(1U << CAP_IPC_LOCK);
	if (syscall(SYS_capset, &head, data))
		fail_setup("capset");
}

#endif

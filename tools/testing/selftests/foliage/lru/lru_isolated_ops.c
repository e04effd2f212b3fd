// SPDX-License-Identifier: GPL-2.0
/*
 * What is done on other CPUs while lru_isolated watches the isolated one, and the table of it. Each
 * operation returns whether it did what it is named after.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../kselftest.h"
#include "foliage.h"
#include "lru_isolated.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT		21
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

#define KSM		"/sys/kernel/mm/ksm/"
#define NODE0		"/sys/devices/system/node/node0/"
#define MEMORY		"/sys/devices/system/memory/"

#define WORK		(4UL << 20)	/* memory that an operation works on */
#define WORK_PAGES	(WORK / PAGE)

static char *work;	/* WORK bytes of this process, on node 0 */
static pid_t victim;	/* a process with a copy of @work */

static void fill_work(void)
{
	for (size_t i = 0; i < WORK_PAGES; i++)
		*(volatile size_t *)(work + i * PAGE) = i + 1;
}

/* It has its copy when this returns. */
static pid_t start_victim(void)
{
	int ready[2];
	char c;
	pid_t pid;

	if (pipe(ready))
		fail_setup("pipe");
	pid = fork();
	if (pid < 0)
		fail_setup("fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fill_work();
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	if (read(ready[0], &c, 1) != 1)
		fail_setup("a process to work on");
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void stop_victim(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

void make_work(void)
{
	work = map_anon(WORK);
	madvise(work, WORK, MADV_NOHUGEPAGE);
	fill_work();
	victim = start_victim();
}

void end_work(void)
{
	stop_victim(victim);
}

static long vm_count(const char *name)
{
	static char text[32768];
	size_t len = strlen(name);
	char *p;

	if (!read_text("/proc/vmstat", text, sizeof(text)))
		fail_setup("/proc/vmstat");
	for (p = text; p && *p; p = strchr(p, '\n'), p += !!p)
		if (!strncmp(p, name, len) && p[len] == ' ')
			return atol(p + len);
	return -1;
}

static long status_kib(const char *name)
{
	char text[4096], *p;

	if (!read_text("/proc/self/status", text, sizeof(text)))
		fail_setup("/proc/self/status");
	p = strstr(text, name);
	return p ? atol(p + strlen(name)) : -1;
}

/*
 * Counters that a CPU holds back are fetched after a second; those of the pages that the isolated
 * process has faulted and locked there are not worth an interruption either.
 */
static bool op_wait(void)
{
	return !usleep(2500000);
}

static bool op_mlock(void)
{
	bool good = !mlock(work, WORK) && status_kib("VmLck:") == WORK / 1024;

	return !munlock(work, WORK) && good && status_kib("VmLck:") == 0;
}

static bool op_map_locked(void)
{
	char *p = mmap(NULL, WORK, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);

	return p != MAP_FAILED && !munmap(p, WORK);
}

static bool op_mlockall(void)
{
	bool good = !mlockall(MCL_CURRENT) && status_kib("VmLck:") >= (long)WORK / 1024;

	return !munlockall() && good;
}

static bool op_compact_node(void)
{
	long before = vm_count("compact_migrate_scanned");

	return write_text(NODE0 "compact", "1") && vm_count("compact_migrate_scanned") > before;
}

static bool op_compact_all(void)
{
	long before = vm_count("compact_migrate_scanned");

	return write_text("/proc/sys/vm/compact_memory", "1") &&
	       vm_count("compact_migrate_scanned") > before;
}

/* Pages of @pid's copy of @work that are on node @node. */
static int on_node(pid_t pid, int node)
{
	void *pages[WORK_PAGES];
	int status[WORK_PAGES], n = 0;

	for (size_t i = 0; i < WORK_PAGES; i++)
		pages[i] = work + i * PAGE;
	if (syscall(SYS_move_pages, pid, WORK_PAGES, pages, NULL, status, 0))
		return -1;
	for (size_t i = 0; i < WORK_PAGES; i++)
		n += status[i] == node;
	return n;
}

static bool op_move_pages(void)
{
	void *pages[WORK_PAGES];
	int nodes[WORK_PAGES], status[WORK_PAGES];
	bool good = true;

	for (int node = 1; node >= 0; node--) {
		for (size_t i = 0; i < WORK_PAGES; i++) {
			pages[i] = work + i * PAGE;
			nodes[i] = node;
		}
		good &= !syscall(SYS_move_pages, victim, WORK_PAGES, pages, nodes, status,
				 MPOL_MF_MOVE);
		good &= on_node(victim, node) == WORK_PAGES;
	}
	return good;
}

/* With CAP_SYS_NICE migrate_pages(2) moves what others map as well: the program itself, say. */
static bool be_nice(bool able)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2];

	if (syscall(SYS_capget, &head, caps))
		return false;
	if (able)
		caps[0].effective |= 1 << CAP_SYS_NICE;
	else
		caps[0].effective &= ~(1 << CAP_SYS_NICE);
	return !syscall(SYS_capset, &head, caps);
}

static bool op_migrate_pages(void)
{
	unsigned long from = 1, to = 2;
	bool good = be_nice(false);

	good &= !syscall(SYS_migrate_pages, victim, 64, &from, &to);

	good &= on_node(victim, 1) == WORK_PAGES;
	good &= !syscall(SYS_migrate_pages, victim, 64, &to, &from);
	good &= on_node(victim, 0) == WORK_PAGES;
	return be_nice(true) && good;
}

static bool op_mbind(void)
{
	unsigned long mask = 2;
	bool good;

	fill_work();
	good = !syscall(SYS_mbind, work, WORK, MPOL_BIND, &mask, 64, MPOL_MF_MOVE) &&
	       on_node(0, 1) == WORK_PAGES;
	mask = 1;
	good &= !syscall(SYS_mbind, work, WORK, MPOL_BIND, &mask, 64, MPOL_MF_MOVE) &&
		on_node(0, 0) == WORK_PAGES;
	syscall(SYS_mbind, work, WORK, MPOL_DEFAULT, NULL, 0, 0);
	return good;
}

static bool op_pageout(void)
{
	size_t n = 0;

	fill_work();
	if (madvise(work, WORK, MADV_PAGEOUT))
		return false;
	for (size_t i = 0; i < WORK_PAGES; i++)
		n += !!(map_entry(getpid(), work + i * PAGE) & PM_SWAP);
	fill_work();
	return n > WORK_PAGES / 2;
}

static bool op_drop_caches(void)
{
	return write_text("/proc/sys/vm/drop_caches", "3");
}

/* Pages in the batch of a CPU that this process has left are pinned until it is drained. */
static bool op_seal(void)
{
	int fd = memfd_create("seal", MFD_ALLOW_SEALING);
	bool good = fd >= 0;

	pin(0, 0);
	for (int i = 0; i < 8; i++)
		good &= pwrite(fd, "x", 1, i * PAGE) == 1;
	pin(0, 1);
	good &= !fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) && write(fd, "x", 1) < 0;
	pin(0, -1);
	close(fd);
	return good;
}

static bool cgroup_put(const char *name, const char *fmt, long value)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), CGROUP "/%s", name);
	snprintf(text, sizeof(text), fmt, value);
	return write_text(path, text);
}

static bool leave(void)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", victim);
	if (!write_text("/sys/fs/cgroup/cgroup.procs", text))
		return false;
	for (int i = 0; i < 100 && rmdir(CGROUP); i++)
		usleep(10000);
	return access(CGROUP, F_OK) < 0;
}

static bool op_cgroup(void)
{
	bool good = !mkdir(CGROUP, 0755) && cgroup_put("cgroup.procs", "%ld", victim) &&
		    cgroup_put("memory.high", "%ld", 64L << 20) &&
		    cgroup_put("memory.max", "%ld", 128L << 20);

	return leave() && good;
}

/* More than there is: the last attempt wants the batches empty. */
static bool op_reclaim(void)
{
	long before = vm_count("pswpout");
	bool good = !mkdir(CGROUP, 0755) && cgroup_put("cgroup.procs", "%ld", getpid());
	pid_t pid = start_victim();

	good &= write_text("/sys/fs/cgroup/cgroup.procs", "0");
	good &= cgroup_put("memory.reclaim", "%ld", 1L << 20);
	good &= !cgroup_put("memory.reclaim", "%ld", 1L << 30) && errno == EAGAIN;
	stop_victim(pid);
	for (int i = 0; i < 100 && rmdir(CGROUP); i++)
		usleep(10000);
	return good && vm_count("pswpout") > before;
}

/* A number in sysfs that grows by @by, with time enough. */
static bool grows(const char *path, long by)
{
	char text[32] = "0";
	long start;

	read_text(path, text, sizeof(text));
	start = atol(text);
	for (int i = 0; i < 3000; i++) {
		usleep(10000);
		if (read_text(path, text, sizeof(text)) && atol(text) >= start + by)
			return true;
	}
	return false;
}

/* Memory to look at that is huge already. Its first fault makes khugepaged know this process. */
static bool op_khugepaged(void)
{
	char *p = map_anon(HUGE);
	bool good = !madvise(p, HUGE, MADV_HUGEPAGE);

	*(volatile char *)p = 1;
	good &= write_text(THP "khugepaged/scan_sleep_millisecs", "20");
	good &= grows(THP "khugepaged/full_scans", 2);
	write_text(THP "khugepaged/scan_sleep_millisecs", "1000000000");
	munmap(p, HUGE);
	return good;
}

static bool op_collapse(void)
{
	char *p = map_anon(HUGE);
	bool good = !madvise(p, HUGE, MADV_HUGEPAGE);

	*(volatile char *)p = 1;
	good &= frame_flags(frame_of(p)) >> KPF_THP & 1 && !madvise(p, HUGE, MADV_COLLAPSE);
	munmap(p, HUGE);
	return good;
}

static bool op_ksm(void)
{
	bool good;

	memset(work, 1, WORK);
	good = !madvise(work, WORK, MADV_MERGEABLE) && write_text(KSM "run", "1") &&
	       grows(KSM "full_scans", 3) && write_text(KSM "run", "0");
	madvise(work, WORK, MADV_UNMERGEABLE);
	fill_work();
	return good;
}

static bool op_flush_device(void)
{
	int fd = open("/dev/zram1", O_RDONLY);
	char c;
	bool good = fd >= 0 && read(fd, &c, 1) == 1 && !ioctl(fd, BLKFLSBUF, 0);

	close(fd);
	return good;
}

/* Pages of a program that runs cannot be dropped: the second attempt wants the batches empty. */
static bool op_fadvise(void)
{
	int fd = open("/proc/self/exe", O_RDONLY);
	bool good = fd >= 0 && !posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);

	close(fd);
	return good;
}

static bool op_soft_offline(void)
{
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool good;

	*(volatile char *)p = 7;
	good = !madvise(p, PAGE, MADV_SOFT_OFFLINE) && *(volatile char *)p == 7;
	munmap(p, PAGE);
	return good;
}

static int block = -1;		/* of memory, which can go offline */

static bool block_put(int nr, const char *state)
{
	char path[128], text[32] = "";
	bool good;

	snprintf(path, sizeof(path), MEMORY "memory%d/state", nr);
	/* The kernel tries for ever, or until a signal comes. */
	alarm(20);
	good = write_text(path, state);
	alarm(0);
	return good && read_text(path, text, sizeof(text)) &&
	       !strncmp(text, state, strlen(state));
}

static bool op_offline(void)
{
	return block_put(block, "offline");
}

static bool op_online(void)
{
	return block_put(block, "online");
}

/* Marks blocks with a page of @pid in them. */
static void blocks_of(pid_t pid, uint64_t frames_per_block, bool *used, int nr)
{
	char path[64], line[512];
	unsigned long from, to;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "r");
	if (!f)
		fail_setup("%s", path);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx", &from, &to) != 2 || from >> 63)
			continue;
		for (; from < to; from += PAGE) {
			uint64_t e = map_entry(pid, (char *)from);
			uint64_t b = (e & PM_FRAME) / frames_per_block;

			if (e & PM_PRESENT && b < (uint64_t)nr)
				used[b] = true;
		}
	}
	fclose(f);
}

/*
 * The first block that goes offline, on the node where the isolated process does not live, from the
 * end, where less has been allocated since the boot. Back online, with its state as it was.
 */
static void find_block(void)
{
	static bool used[4096];
	char text[64];
	uint64_t bytes;

	if (!read_text(MEMORY "block_size_bytes", text, sizeof(text)))
		return;
	bytes = strtoull(text, NULL, 16);
	blocks_of(spinner, bytes / PAGE, used, ARRAY_SIZE(used));
	for (int nr = ARRAY_SIZE(used) - 1; nr >= 0 && block < 0; nr--) {
		snprintf(text, sizeof(text), NODE0 "memory%d", nr);
		if (used[nr] || access(text, F_OK))
			continue;
		if (block_put(nr, "offline"))
			block = nr;
		block_put(nr, "online");
	}
}

static bool offline_first(void)
{
	if (block < 0)
		find_block();
	return block >= 0 && op_offline() && op_online();
}

static bool online_first(void)
{
	return block >= 0 && op_online() && op_offline();
}

#define DRAINS true

const struct test tests[] = {
	{ "two seconds and a half", op_wait, NULL, ALL },
	{ "mlock and munlock", op_mlock, NULL, ALL },
	{ "mmap of locked memory", op_map_locked, NULL, ALL },
	{ "compaction of a node", op_compact_node, NULL, ALL, DRAINS },
	{ "compaction of everything", op_compact_all, NULL, LOCKED, DRAINS },
	{ "move_pages", op_move_pages, NULL, ALL, DRAINS },
	{ "migrate_pages", op_migrate_pages, NULL, ALL, DRAINS },
	{ "mbind", op_mbind, NULL, ALL, DRAINS },
	{ "memory goes offline", op_offline, offline_first, ALL, DRAINS },
	{ "memory comes online", op_online, online_first, ALL },
	{ "a cgroup comes, is joined, is limited, and goes", op_cgroup, NULL, ALL },
	{ "memory.reclaim", op_reclaim, NULL, ALL, DRAINS },
	{ "a file in memory is sealed", op_seal, NULL, ALL, DRAINS },
	{ "MADV_PAGEOUT", op_pageout, NULL, ALL },
	{ "drop_caches", op_drop_caches, NULL, ALL, DRAINS },
	{ "posix_fadvise", op_fadvise, NULL, ALL, DRAINS },
	{ "a block device is flushed", op_flush_device, NULL, ALL, DRAINS },
	{ "khugepaged", op_khugepaged, NULL, ALL, DRAINS },
	{ "MADV_COLLAPSE", op_collapse, NULL, ALL, DRAINS },
	{ "KSM", op_ksm, NULL, ALL, DRAINS },
	{ "MADV_SOFT_OFFLINE", op_soft_offline, NULL, ALL, DRAINS },
	/*
	 * The last one: it may unlock pages that the isolated process has locked, too. How often a
	 * page is locked errs low, and reclaim would have to find it. Before that it may be moved.
	 */
	{ "mlockall and munlockall", op_mlockall, NULL, ALL },
};

const size_t nr_tests = ARRAY_SIZE(tests);

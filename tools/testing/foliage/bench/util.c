// SPDX-License-Identifier: GPL-2.0
/* Files and processes, every result checked. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

long must_(long result, const char *what)
{
	if (result < 0)
		fail("%s: %s", what, strerror(errno));
	return result;
}

void *need_memory(size_t bytes)
{
	void *p = calloc(1, bytes);

	if (!p)
		fail("no memory for %zu bytes of bookkeeping: give a smaller --size", bytes);
	return p;
}

int open_file(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT)
		fail("%s does not exist: mount its file system or enable its kernel option",
		     path);
	if (errno == EACCES || errno == EPERM)
		fail("%s needs root", path);
	fail("%s: %s", path, strerror(errno));
}

void put(const char *path, const char *text)
{
	int fd = open_file(path, O_WRONLY);

	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		fail("writing '%s' to %s: %s", text, path, strerror(errno));
	close(fd);
}

void read_fully(int fd, void *buf, size_t bytes, off_t at, const char *path)
{
	size_t done = 0;

	while (done < bytes) {
		ssize_t n = pread(fd, (char *)buf + done, bytes - done, at + done);

		if (n < 0)
			fail("%s: %s", path, strerror(errno));
		if (n == 0)
			fail("%s ends at offset %lld", path, (long long)(at + done));
		done += n;
	}
}

/*
 * One CPU and one node: what is measured must not depend on where the scheduler or the allocator
 * looks.
 */
void pin_here(void)
{
	unsigned long node0 = 1;
	cpu_set_t cpu0;

	CPU_ZERO(&cpu0);
	CPU_SET(0, &cpu0);
	must(sched_setaffinity(0, sizeof(cpu0), &cpu0));
	if (syscall(SYS_set_mempolicy, MPOL_BIND, &node0, 8 * sizeof(node0)) < 0 && errno != ENOSYS)
		fail("binding memory to node 0: %s", strerror(errno));
}

/* Let what the preparation left to RCU be done before the meter runs: two grace periods. */
void settle(void)
{
	int i;

	for (i = 0; i < 2; i++)
		if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) < 0 &&
		    errno != ENOSYS && errno != EINVAL)
			fail("membarrier: %s", strerror(errno));
}

/* What /proc/kpageflags says of a frame. */
uint64_t frame_flags(uint64_t pfn)
{
	int fd = open_file("/proc/kpageflags", O_RDONLY);
	uint64_t flags;

	read_fully(fd, &flags, 8, pfn * 8, "/proc/kpageflags");
	close(fd);
	return flags;
}

void wait_child(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0));
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail("a child process ended badly (status %#x)", status);
}

/*
 * Start @n processes that share all memory with this one, call @first if there is one, and sleep.
 * They die with this one.
 */
pid_t *sharers_start(int n, void (*first)(void *arg), void *arg)
{
	pid_t *pids = need_memory((n + 1) * sizeof(*pids));
	pid_t parent = getpid();
	int ready[2];
	char c = 0;
	int i;

	must(pipe(ready));
	for (i = 0; i < n; i++) {
		pids[i] = must(fork());
		if (pids[i])
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (first)
			first(arg);
		if (getppid() != parent || write(ready[1], &c, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	for (i = 0; i < n; i++)
		must(read(ready[0], &c, 1));
	close(ready[0]);
	close(ready[1]);
	return pids;
}

void sharers_stop(pid_t *pids, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		must(kill(pids[i], SIGKILL));
		must(waitpid(pids[i], NULL, 0));
	}
	free(pids);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Memory is being taken offline and cannot go, as somebody holds a page of it: that may last for
 * ever. Whoever looks at frames meanwhile is not to wait for it: /proc/kpage*, the idle bitmap, the
 * thread that keeps the ages, and the one who stops it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/mempolicy.h>

#include "harness.h"
#include "foliage.h"
#include "memory_block.h"

#define PAGES	1024UL
#define LONG_S	20	/* nothing here takes that long by itself */

/* A page on @block, held in a pipe. Node 1's free memory is there first, once it is movable. */
static char *hold_page_of(int block, int *fds)
{
	unsigned long node = 1UL << 1;
	struct iovec iov = { .iov_len = PAGE };
	char *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	syscall(SYS_set_mempolicy, MPOL_BIND, &node, 64);
	memset(p, 1, PAGES * PAGE);
	syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0);
	settle_lru();
	for (size_t i = 0; i < PAGES; i++) {
		if (frame_of(p + i * PAGE) / BLOCK_FRAMES != (uint64_t)block)
			continue;
		iov.iov_base = p + i * PAGE;
		if (pipe(fds) || vmsplice(fds[1], &iov, 1, 0) != (ssize_t)PAGE)
			fail_setup("vmsplice");
		return p;
	}
	fail_setup("no page on block %d", block);
}

static bool going_offline(int block)
{
	char path[96], state[32];

	snprintf(path, sizeof(path), BLOCK, block);
	return read_text(path, state, sizeof(state)) && !strncmp(state, "going-offline", 13);
}

/* What is done in a process of its own, which can be given up. Return: whether it came to its end. */
static bool ends(void (*what)(int block), int block)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		what(block);
		_exit(0);
	}
	for (int i = 0; i < LONG_S * 100; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status == 0;
		usleep(10000);
	}
	kill(pid, SIGKILL);
	return false;
}

static void read_flags(int block)
{
	static uint64_t flags[BLOCK_FRAMES];
	int fd = open("/proc/kpageflags", O_RDONLY);

	if (pread(fd, flags, sizeof(flags), block * BLOCK_FRAMES * 8) != sizeof(flags))
		_exit(1);
}

static void read_bitmap(int block)
{
	static char words[WINDOW_BYTES];
	int fd = bitmap_open(O_RDONLY);

	if (pread(fd, words, sizeof(words), block * BLOCK_FRAMES / 8) != sizeof(words))
		_exit(1);
}

static void keep_ages(int block)
{
	if (!write_text(PERIOD, "1000"))
		_exit(1);
	sleep(3);
	if (!write_text(PERIOD, "0"))
		_exit(1);
}

TEST(nobody_waits_for_memory_that_cannot_go)
{
	int block = block_movable(), fds[2], status;
	char *held;
	pid_t pid;

	ASSERT_GE(block, 0);
	held = hold_page_of(block, fds);
	pid = fork();
	if (!pid)
		_exit(block_set(block, "offline"));
	for (int i = 0; i < 500 && !going_offline(block); i++)
		usleep(10000);
	usleep(200000);
	ASSERT_TRUE(going_offline(block));
	EXPECT_TRUE(ends(read_flags, block));
	EXPECT_TRUE(ends(read_bitmap, block));
	EXPECT_TRUE(ends(keep_ages, block));
	EXPECT_TRUE(going_offline(block));
	/* A signal ends the try. */
	kill(pid, SIGKILL);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	close(fds[0]);
	close(fds[1]);
	munmap(held, PAGES * PAGE);
	EXPECT_TRUE(block_set(block, "offline"));
	EXPECT_TRUE(block_set(block, "online"));
}

TEST_HARNESS_MAIN

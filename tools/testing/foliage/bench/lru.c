// SPDX-License-Identifier: GPL-2.0
/*
 * Pages on their way onto the LRU lists and off them: first faults, the page cache read cold and
 * hot, and the end of a process that owns its memory.
 *
 * The file lies on ext4 on zram: zram answers at once, without a thread of its own, and what the
 * pages hold is so simple that it need not decompress them. What is left is the page cache.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

#define ZRAM		"/sys/block/zram0/"
#define ZRAM_DEV	"/dev/zram0"
#define DIR		"/tmp/bench-lru"
#define MKFS		"mkfs.ext4 -q -F -O ^has_journal " \
			"-E lazy_itable_init=0,nodiscard " ZRAM_DEV " > /dev/null"
#define SMALL_READS	16384

void fault_first(struct bench *b)
{
	struct region r = region_map(b, b->op->size, 0);

	drain_lru();
	meter_begin(b);
	region_populate(&r);
	meter_end(b, r.len / PAGE);
	region_check(&r);
	region_free(&r);
}

/* A process with memory of its own: it says which frame is in the middle, and waits. */
static void live_and_die(const struct bench *b, int tell, int hear)
{
	struct region r = region_new(b, b->op->size);
	uint64_t *pfn = region_pfns(&r);
	char go;

	if (write(tell, &pfn[r.len / PAGE / 2], 8) != 8 || read(hear, &go, 1) != 1)
		_exit(1);
	_exit(0);
}

/* From the word that lets it go to its death: what only then is freed must not be shared. */
void exit_own(struct bench *b)
{
	int up[2], down[2];
	uint64_t pfn;
	pid_t pid;

	must(pipe(up));
	must(pipe(down));
	pid = must(fork());
	if (!pid)
		live_and_die(b, up[1], down[0]);
	close(up[1]);
	if (read(up[0], &pfn, 8) != 8)
		fail("the process that was to exit did not get its memory");
	drain_lru();
	if (!(frame_flags(pfn) >> KPF_ANON & 1))
		fail("the memory to be freed is not anonymous (flags %#llx)",
		     (unsigned long long)frame_flags(pfn));
	meter_begin(b);
	must(write(down[1], "", 1));
	wait_child(pid);
	meter_end(b, b->size / PAGE);
	if (frame_flags(pfn) >> KPF_ANON & 1)
		fail("memory outlived its process");
	close(up[0]);
	close(down[0]);
	close(down[1]);
}

static size_t cached_pages(int fd, size_t len)
{
	unsigned char *in = need_memory(len / PAGE);
	void *p = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	size_t i, n = 0;

	if (p == MAP_FAILED)
		fail("mapping the file: %s", strerror(errno));
	must(mincore(p, len, in));
	for (i = 0; i < len / PAGE; i++)
		n += in[i] & 1;
	must(munmap(p, len));
	free(in);
	return n;
}

/* The whole file in calls of 1 MiB; @check what it holds. */
static void read_through(int fd, size_t len, char *buf, bool check)
{
	size_t at, i;

	for (at = 0; at < len; at += MiB) {
		if (pread(fd, buf, MiB, at) != (ssize_t)MiB)
			fail("a read of 1 MiB at offset %zu was short", at);
		for (i = 0; check && i < MiB; i += PAGE)
			if (*(uint64_t *)(buf + i) != (at + i) / PAGE)
				fail("page %zu of the file holds something else", (at + i) / PAGE);
	}
}

static void write_through(int fd, size_t len, char *buf)
{
	size_t at, i;

	for (at = 0; at < len; at += MiB) {
		for (i = 0; i < MiB; i += 8)
			*(uint64_t *)(buf + i) = (at + i) / PAGE;
		if (pwrite(fd, buf, MiB, at) != (ssize_t)MiB)
			fail("a write of 1 MiB at offset %zu was short", at);
	}
	must(fsync(fd));
}

static void file_off(int fd)
{
	close(fd);
	must(umount(DIR));
	must(rmdir(DIR));
	put(ZRAM "reset", "1");
}

/* A file whose pages are on its device, and none of them in memory. */
static int file_on(size_t len, char *buf)
{
	char text[32] = "";
	int fd = open_file(ZRAM "disksize", O_RDONLY);

	must(read(fd, text, sizeof(text) - 1));
	close(fd);
	if (strtoull(text, NULL, 10))
		fail("%s is in use: swapoff and reset it first", ZRAM_DEV);
	snprintf(text, sizeof(text), "%zu", len + len / 8 + 16 * MiB);
	put(ZRAM "disksize", text);
	if (system(MKFS))
		fail("no file system on %s: apt-get install e2fsprogs", ZRAM_DEV);
	must(mkdir(DIR, 0700));
	must(mount(ZRAM_DEV, DIR, "ext4", MS_NOATIME, NULL));
	fd = must(open(DIR "/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	write_through(fd, len, buf);
	put("/proc/sys/vm/drop_caches", "3");
	if (cached_pages(fd, len))
		fail("%zu pages of the file are still in memory", cached_pages(fd, len));
	return fd;
}

static char *new_buffer(void)
{
	char *buf = mmap(NULL, MiB, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (buf == MAP_FAILED)
		fail("mapping a buffer: %s", strerror(errno));
	return buf;
}

static void check_cached(int fd, size_t len)
{
	size_t n = cached_pages(fd, len);

	if (n != len / PAGE)
		fail("only %zu of %zu pages of the file are in memory", n, len / PAGE);
}

void read_cold(struct bench *b)
{
	char *buf = new_buffer();
	int fd = file_on(b->size, buf);

	drain_lru();
	meter_begin(b);
	read_through(fd, b->size, buf, false);
	meter_end(b, b->size / PAGE);
	check_cached(fd, b->size);
	read_through(fd, b->size, buf, true);
	file_off(fd);
	must(munmap(buf, MiB));
}

/* The second read: it finds every page once referenced, and makes it active. */
void read_hot(struct bench *b)
{
	char *buf = new_buffer();
	int fd = file_on(b->size, buf);

	read_through(fd, b->size, buf, true);
	check_cached(fd, b->size);
	drain_lru();
	meter_begin(b);
	read_through(fd, b->size, buf, false);
	meter_end(b, b->size / PAGE);
	check_cached(fd, b->size);
	file_off(fd);
	must(munmap(buf, MiB));
}

/* Single pages here and there, all of them active by now. */
void read_hot_small(struct bench *b)
{
	size_t pages = b->size / PAGE, i, at = 0, wrong = 0;
	char *buf = new_buffer();
	int fd = file_on(b->size, buf);

	for (i = 0; i < 3; i++)
		read_through(fd, b->size, buf, true);
	check_cached(fd, b->size);
	drain_lru();
	meter_begin(b);
	for (i = 0; i < SMALL_READS; i++) {
		at = (at * 6364136223846793005ULL + 1442695040888963407ULL);
		wrong += pread(fd, buf, PAGE, (at >> 33) % pages * PAGE) != (ssize_t)PAGE ||
			 *(uint64_t *)buf != (at >> 33) % pages;
	}
	meter_end(b, SMALL_READS);
	if (wrong)
		fail("%zu of %d small reads failed", wrong, SMALL_READS);
	check_cached(fd, b->size);
	file_off(fd);
	must(munmap(buf, MiB));
}

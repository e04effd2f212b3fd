// SPDX-License-Identifier: GPL-2.0
/*
 * The idle bitmap as a file: positions, lengths, errors, and what a write means.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "foliage.h"

#define TRACING	"/sys/kernel/tracing/"

FIXTURE(bitmap) {
	int fd;
	uint64_t end;	/* bytes */
};

FIXTURE_SETUP(bitmap)
{
	self->fd = bitmap_open(O_RDWR);
	self->end = frames_total() / 8;
}

FIXTURE_TEARDOWN(bitmap)
{
	close(self->fd);
}

TEST_F(bitmap, mode_is_0600)
{
	struct stat st;

	ASSERT_EQ(0, stat(BITMAP, &st));
	EXPECT_EQ(0600, st.st_mode & 07777);
}

TEST_F(bitmap, odd_positions_and_sizes)
{
	char buf[32] = {};

	for (int off = 1; off < 8; off++) {
		EXPECT_EQ(-1, pread(self->fd, buf, 8, off));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(-1, pwrite(self->fd, buf, 8, off));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(-1, pread(self->fd, buf, 8 + off, 0));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(-1, pwrite(self->fd, buf, 8 + off, 0));
		EXPECT_EQ(EINVAL, errno);
	}
}

TEST_F(bitmap, past_the_end)
{
	uint64_t word = 0;

	EXPECT_EQ(0, pread(self->fd, &word, 8, self->end));
	EXPECT_EQ(-1, pwrite(self->fd, &word, 8, self->end));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(0, pread(self->fd, &word, 8, self->end + 4096));
	EXPECT_EQ(-1, pwrite(self->fd, &word, 8, self->end + 4096));
	EXPECT_EQ(ENXIO, errno);
	/* An odd position is wrong wherever it is. */
	EXPECT_EQ(-1, pread(self->fd, &word, 8, self->end + 4));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(bitmap, up_to_the_end)
{
	uint64_t words[512] = {};

	EXPECT_EQ(8, pread(self->fd, words, 8, self->end - 8));
	EXPECT_EQ(16, pread(self->fd, words, sizeof(words), self->end - 16));
	memset(words, 0, sizeof(words));
	EXPECT_EQ(16, pwrite(self->fd, words, sizeof(words), self->end - 16));
}

TEST_F(bitmap, reads_add_up)
{
	static char whole[1 << 20];
	uint64_t at = 0;
	ssize_t n;

	while ((n = read(self->fd, whole, sizeof(whole))) > 0) {
		EXPECT_EQ(0, n % 8);
		at += n;
	}
	EXPECT_EQ(0, n);
	EXPECT_EQ(self->end, at);
}

TEST_F(bitmap, bad_pointer)
{
	char *p = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(-1, pread(self->fd, p, 8, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pwrite(self->fd, p, 8, 0));
	EXPECT_EQ(EFAULT, errno);
	munmap(p, PAGE);
}

TEST_F(bitmap, no_access_for_others)
{
	pid_t pid = fork();
	int status;

	ASSERT_LE(0, pid);
	if (!pid) {
		if (setgid(65534) || setuid(65534))
			_exit(2);
		_exit(open(BITMAP, O_RDONLY) < 0 && errno == EACCES ? 0 : 1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(bitmap, write_ors)
{
	struct region r;

	region_make(&r, ANON_4K, 64);
	frame_mark(r.pfn[3]);
	EXPECT_TRUE(frame_idle(r.pfn[3]));
	/* Zeroes clear nothing. */
	word_mark(r.pfn[3], 0);
	EXPECT_TRUE(frame_idle(r.pfn[3]));
	/* Only the frames named are marked. */
	r.p[5 * PAGE] = 1;
	flush_tlb();
	frame_mark(r.pfn[4]);
	EXPECT_TRUE(frame_idle(r.pfn[4]));
	EXPECT_FALSE(frame_idle(r.pfn[5]));
	region_free(&r);
}

TEST_F(bitmap, only_lru_folios_and_only_heads)
{
	uint64_t words[WINDOW_BYTES / 8], flags[WINDOW_FRAMES / 8];
	unsigned long idle = 0, wrong = 0;
	int kpf = open("/proc/kpageflags", O_RDONLY);
	struct region r;

	ASSERT_LE(0, kpf);
	region_make(&r, ANON_4K, 1024);
	for (uint64_t at = 0; at < self->end; at += WINDOW_BYTES) {
		memset(words, 0xff, sizeof(words));
		ASSERT_LT(0, pwrite(self->fd, words, sizeof(words), at));
		ASSERT_LT(0, pread(self->fd, words, sizeof(words), at));
		for (uint64_t i = 0; i < WINDOW_FRAMES; i++) {
			uint64_t k = i % (WINDOW_FRAMES / 8);

			if (!k && pread(kpf, flags, sizeof(flags), (at * 8 + i) * 8) <= 0)
				break;
			if (!(words[i / 64] >> (i % 64) & 1))
				continue;
			idle++;
			if (flags[k] & (KPF(KPF_TAIL) | KPF(KPF_BUDDY) | KPF(KPF_HUGE) | KPF(KPF_NOPAGE)) ||
			    !(flags[k] & KPF(KPF_LRU)) || !(flags[k] & KPF(KPF_IDLE)))
				wrong++;
		}
	}
	close(kpf);
	EXPECT_LE(r.pages, idle);
	/* The two files are not read at one moment: a page or two may have moved on. */
	EXPECT_GE(idle / 50, wrong);
	region_free(&r);
}

TEST_F(bitmap, hugetlb_is_ignored)
{
	struct region r;

	region_make(&r, HUGETLB, 512);
	ASSERT_TRUE(frame_flags(r.pfn[0]) & KPF(KPF_HUGE));
	region_mark(&r);
	for (size_t i = 0; i < r.pages; i++)
		ASSERT_FALSE(frame_idle(r.pfn[i]));
	region_free(&r);
}

TEST_F(bitmap, tracepoint)
{
	static char text[1 << 20];
	const char *at;
	unsigned long seen, harvested, skipped, walked;
	struct region r;

	if (access(TRACING "events/page_idle/idle_sweep", F_OK))
		SKIP(return, "no page_idle tracepoint");
	region_make(&r, ANON_4K, 512);
	ASSERT_TRUE(write_text(TRACING "events/page_idle/idle_sweep/enable", "1"));
	region_mark(&r);
	ASSERT_TRUE(write_text(TRACING "events/page_idle/idle_sweep/enable", "0"));
	ASSERT_TRUE(read_text(TRACING "trace", text, sizeof(text)));
	at = strstr(text, "idle_sweep: op=mark");
	ASSERT_NE(NULL, at);
	ASSERT_EQ(4, sscanf(strstr(at, "seen="), "seen=%lu harvested=%lu skipped=%lu walked=%lu",
			    &seen, &harvested, &skipped, &walked));
	EXPECT_EQ(WINDOW_FRAMES, seen);
	EXPECT_LT(0, walked + harvested);
	region_free(&r);
}

TEST_HARNESS_MAIN

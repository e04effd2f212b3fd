// SPDX-License-Identifier: GPL-2.0
/*
 * The idle bitmap while everything moves: fork, exit, munmap, mremap, madvise,
 * huge page collapse and split, memory going offline, the ages thread coming and
 * going; and two quiet regions whose answers must be right all the time.
 *
 *	argument 1: seconds (default 10)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest.h"
#include "foliage.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define QUIET	512UL
#define CHURN	(16UL << 20)

static atomic_bool stop;
static struct region asleep, awake;
static atomic_ulong reads, marks, rounds;

/*
 * Held for reading from the look at the quiet regions' frames until the mark is done,
 * for writing while the frames are looked up anew: a mark with old frame numbers must
 * not fall on pages that have moved.
 */
static pthread_rwlock_t frames_lock = PTHREAD_RWLOCK_INITIALIZER;

/* The words of window @w that hold no page of the quiet regions. */
static void mark_the_rest(int fd, uint64_t w)
{
	uint64_t words[WINDOW_BYTES / 8];

	pthread_rwlock_rdlock(&frames_lock);
	memset(words, 0xff, sizeof(words));
	for (size_t i = 0; i < QUIET; i++) {
		if (asleep.pfn[i] / WINDOW_FRAMES == w)
			words[asleep.pfn[i] % WINDOW_FRAMES / 64] = 0;
		if (awake.pfn[i] / WINDOW_FRAMES == w)
			words[awake.pfn[i] % WINDOW_FRAMES / 64] = 0;
	}
	if (pwrite(fd, words, sizeof(words), w * WINDOW_BYTES) > 0)
		atomic_fetch_add(&marks, 1);
	pthread_rwlock_unlock(&frames_lock);
}

static void *marker(void *arg)
{
	uint64_t n = frames_total() / WINDOW_FRAMES;
	int fd = bitmap_open(O_WRONLY);

	for (uint64_t w = 0; !atomic_load(&stop); w = (w + 1) % n)
		mark_the_rest(fd, w);
	close(fd);
	return NULL;
}

static void *reader(void *arg)
{
	uint64_t words[WINDOW_BYTES / 8], n = frames_total() / WINDOW_FRAMES;
	int fd = bitmap_open(O_RDONLY);

	for (uint64_t w = 0; !atomic_load(&stop); w = (w + 1) % n)
		if (pread(fd, words, sizeof(words), w * WINDOW_BYTES) > 0)
			atomic_fetch_add(&reads, 1);
	close(fd);
	return NULL;
}

/* One process's life, in a hurry. */
static void churn_once(unsigned int seed)
{
	char *to, *p = mmap(NULL, CHURN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	if (p == MAP_FAILED)
		return;
	if (seed % 2)
		madvise(p, CHURN, MADV_HUGEPAGE);
	memset(p, seed, CHURN);
	pid = fork();
	if (!pid) {
		memset(p + CHURN / 4, 1, CHURN / 4);
		_exit(0);
	}
	if (seed % 3 == 0)
		madvise(p, CHURN / 2, MADV_COLLAPSE);
	madvise(p + CHURN / 2, CHURN / 4, seed % 5 ? MADV_DONTNEED : MADV_PAGEOUT);
	mprotect(p + 3 * PAGE, 7 * PAGE, PROT_READ);
	to = mremap(p, CHURN / 2, CHURN, MREMAP_MAYMOVE);
	if (to != MAP_FAILED) {
		munmap(to + PAGE, CHURN / 4);
		munmap(to, CHURN);
	}
	munmap(p + CHURN / 2, CHURN / 2);
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static void *churner(void *arg)
{
	for (unsigned int i = (uintptr_t)arg; !atomic_load(&stop); i++) {
		churn_once(i);
		atomic_fetch_add(&rounds, 1);
	}
	return NULL;
}

/* The last memory block that lets itself be taken: offline and back. */
static void *unplugger(void *arg)
{
	char path[80], text[64];
	unsigned int block;

	if (!read_text("/sys/devices/system/memory/block_size_bytes", text, sizeof(text)))
		return NULL;
	while (!atomic_load(&stop)) {
		for (block = 39; block > 30 && !atomic_load(&stop); block--) {
			snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%u/state", block);
			if (write_text(path, "offline"))
				write_text(path, "online");
		}
		write_text(PERIOD, "1000");
		usleep(300000);
		write_text(PERIOD, "0");
	}
	return NULL;
}

/*
 * Memory that was marked and not touched since is idle. A page that is isolated just now
 * (its block is about to go offline, say) may be left out once, but its flag is not lost.
 */
static unsigned long check_asleep(void)
{
	static bool idle[QUIET];
	unsigned long busy = 1;

	for (int try = 0; try < 20 && busy; try++) {
		if (try)
			usleep(10000);
		region_read(&asleep, idle);
		busy = 0;
		for (size_t i = 0; i < QUIET; i++)
			busy += !idle[i];
	}
	return busy;
}

/* What was touched is not idle, whoever else reads at the same time. */
static unsigned long check_awake(void)
{
	static bool idle[QUIET];
	unsigned long wrong = 0;

	region_mark(&awake);
	flush_tlb();
	for (size_t i = 0; i < QUIET; i++)
		awake.p[i * PAGE]++;
	region_read(&awake, idle);
	for (size_t i = 0; i < QUIET; i++)
		wrong += idle[i];
	return wrong;
}

static bool same_frames(struct region *r)
{
	uint64_t old[QUIET];

	memcpy(old, r->pfn, sizeof(old));
	pthread_rwlock_wrlock(&frames_lock);
	region_frames(r);
	pthread_rwlock_unlock(&frames_lock);
	return !memcmp(old, r->pfn, sizeof(old));
}

/* A check counts only if no frame moved meanwhile, which takes luck where each takes seconds. */
static bool everything_ran(unsigned long checks)
{
	return checks && atomic_load(&reads) && atomic_load(&marks) && atomic_load(&rounds);
}

int main(int argc, char **argv)
{
	static void *(*const work[])(void *) = { marker, reader, reader, churner, churner, unplugger };
	const size_t n = sizeof(work) / sizeof(*work);
	const int seconds = argc > 1 ? atoi(argv[1]) : 10;
	time_t end = time(NULL) + seconds, last = end + 9 * seconds;
	unsigned long wrong_asleep = 0, wrong_awake = 0, checks = 0, moved = 0, a, b;
	pthread_t t[sizeof(work) / sizeof(*work)];

	ksft_print_header();
	ksft_set_plan(3);
	need_swap();
	region_make(&asleep, ANON_4K, QUIET);
	region_make(&awake, ANON_4K, QUIET);
	mlock(asleep.p, QUIET * PAGE);
	mlock(awake.p, QUIET * PAGE);
	settle_lru();
	region_mark(&asleep);

	/*
	 * The first switch-on patches code. Emulators have been seen to trip over code
	 * that is patched while another CPU runs it, so let that be over.
	 */
	write_text(PERIOD, "1000");
	write_text(PERIOD, "0");
	for (size_t i = 0; i < n; i++)
		pthread_create(&t[i], NULL, work[i], (void *)i);
	while (time(NULL) < end || (!everything_ran(checks) && time(NULL) < last)) {
		a = check_asleep();
		b = check_awake();
		/* Only while the frames stay where they are is an answer about them. */
		if (!same_frames(&asleep) | !same_frames(&awake)) {
			moved++;
			region_mark(&asleep);
			continue;
		}
		wrong_asleep += a;
		wrong_awake += b;
		checks++;
	}
	atomic_store(&stop, true);
	for (size_t i = 0; i < n; i++)
		pthread_join(t[i], NULL);

	ksft_print_msg("%lu checks, %lu while frames moved; %lu windows read, %lu marked, %lu processes\n",
		       checks, moved, atomic_load(&reads), atomic_load(&marks), atomic_load(&rounds));
	ksft_test_result(everything_ran(checks), "everything ran\n");
	ksft_test_result(!wrong_asleep, "memory asleep is idle (%lu wrong answers)\n", wrong_asleep);
	ksft_test_result(!wrong_awake, "memory awake is not (%lu wrong answers)\n", wrong_awake);
	ksft_finished();
}

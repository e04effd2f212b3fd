// SPDX-License-Identifier: GPL-2.0
/*
 * All at once: out and in, given back, forked, moved; settings changed; written back at the limits;
 * swap taken away; CPUs going and coming. Every page keeps its contents, and in the end nothing is
 * left in zswap.
 *
 *	zswap_race [seconds]
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/resource.h>
#include <time.h>

#include "harness.h"
#include "zswap.h"

#define PAGES	512
#define USERS	3

static int seconds = 20;
static volatile bool stop;
static unsigned long bad, rounds;

static void bad_page(const char *what, size_t at)
{
	__atomic_add_fetch(&bad, 1, __ATOMIC_RELAXED);
	printf("# page %zu is wrong: %s\n", at, what);
}

static void check(const char *p, size_t first, size_t nr, enum contents kind, uint64_t seed,
		  const char *what)
{
	for (size_t i = first; i < first + nr; i++)
		if (!page_is(p + i * PAGE, kind, seed + i))
			bad_page(what, i);
}

/* One that does nothing with it but look; half of it is given back. */
static void in_a_child(char *p, uint64_t seed)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		bad = 0;
		check(p, 0, PAGES, MIXED, seed, "in a child");
		madvise(p, PAGES / 2 * PAGE, MADV_DONTNEED);
		_exit(bad > 0);
	}
	if (pid > 0 && waitpid(pid, &status, 0) == pid && status)
		bad_page("in a child", 0);
}

static void *user(void *arg)
{
	uint64_t seed = (uintptr_t)arg * 1000003, x = seed;
	char *p = mmap(NULL, PAGES * PAGE + HUGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	p = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	while (!stop) {
		enum contents kind = mix(++x) % 8 ? MIXED : NOISE;

		for (size_t i = 0; i < PAGES; i++)
			page_fill(p + i * PAGE, kind, ++seed + i);
		seed -= PAGES - 1;
		fill(p, PAGES, kind, seed);
		madvise(p, PAGES * PAGE, MADV_PAGEOUT);
		if (kind == MIXED && mix(++x) % 4 == 0)
			in_a_child(p, seed);
		/* Some of it, in some order; out again; the rest. */
		for (int i = 0; i < 100; i++) {
			size_t at = mix(++x) % PAGES;

			if (!page_is(p + at * PAGE, kind, seed + at))
				bad_page("one by one", at);
		}
		madvise(p, PAGES * PAGE, MADV_PAGEOUT);
		madvise(p + 100 * PAGE, 37 * PAGE, MADV_DONTNEED);
		check(p, 0, 100, kind, seed, "before what was given back");
		check(p, 137, PAGES - 137, kind, seed, "after what was given back");
		if (mix(++x) % 4 == 0)
			madvise(p, PAGES * PAGE, MADV_DONTNEED);
		__atomic_add_fetch(&rounds, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void some_sleep(uint64_t *x, unsigned int us)
{
	usleep(1000 + mix(++*x) % us);
}

static void *settings(void *unused)
{
	static const char * const words[][2] = {
		{ "compressor", "lz4" }, { "zpool", "zbud" }, { "enabled", "0" },
		{ "compressor", "lzo" }, { "enabled", "1" }, { "zpool", "zsmalloc" },
		{ "max_pool_percent", "0" }, { "max_pool_percent", "20" },
		{ "shrinker_enabled", "1" }, { "shrinker_enabled", "0" }, { "compressor", "none" },
	};
	uint64_t x = 5;

	while (!stop) {
		int i = mix(++x) % (sizeof(words) / sizeof(*words));

		try_parameter(words[i][0], words[i][1]);
		if (mix(++x) % 4 == 0)
			write_text("/proc/sys/vm/drop_caches", "2");
		some_sleep(&x, 20000);
	}
	return unused;
}

static void *cpus(void *unused)
{
	uint64_t x = 9;

	while (!stop) {
		write_text("/sys/devices/system/cpu/cpu1/online", "0");
		some_sleep(&x, 300000);
		write_text("/sys/devices/system/cpu/cpu1/online", "1");
		some_sleep(&x, 300000);
	}
	write_text("/sys/devices/system/cpu/cpu1/online", "1");
	return unused;
}

/* Everything on the second device moves to the first, and new pages to the second again. */
static void *devices(void *unused)
{
	uint64_t x = 7;

	while (!stop) {
		some_sleep(&x, 2000000);
		if (!swapoff("/dev/loop7"))
			swapon("/dev/loop7", SWAP_FLAG_PREFER | 100);
	}
	return unused;
}

static void *sizes(void *unused)
{
	uint64_t x = 3;

	while (!stop) {
		write_text(THP "hugepages-64kB/enabled", mix(++x) % 3 ? "always" : "never");
		write_text(THP "hugepages-512kB/enabled", mix(++x) % 3 ? "never" : "always");
		some_sleep(&x, 200000);
	}
	return unused;
}

TEST(all_at_once)
{
	static void *(*const others[])(void *) = { settings, cpus, devices, sizes };
	pthread_t thread[USERS + 4];
	char path[128];
	long n;

	need_swap();
	zswap_defaults();
	swap_on_loop(64);
	enter_cgroup("zswap-race", path, sizeof(path));
	for (uintptr_t i = 0; i < USERS; i++)
		ASSERT_EQ(pthread_create(&thread[i], NULL, user, (void *)(i + 1)), 0);
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(pthread_create(&thread[USERS + i], NULL, others[i], NULL), 0);
	for (int i = 0; i < seconds * 4; i++) {
		char file[192];

		snprintf(file, sizeof(file), "%s/memory.zswap.max", path);
		write_text(file, i % 4 == 3 ? "65536" : "max");
		usleep(250000);
	}
	stop = true;
	for (int i = 0; i < USERS + 4; i++)
		ASSERT_EQ(pthread_join(thread[i], NULL), 0);
	leave_cgroup(path);
	printf("# %lu rounds, %ld pages written back\n", rounds, count_of("written_back_pages"));
	EXPECT_EQ(bad, 0);
	EXPECT_GT(rounds, 0);
	zswap_defaults();
	/* The memory of the users is there still, in part here: given back by what follows. */
	for (n = 0; n < 3 && swapoff("/dev/loop7"); n++)
		usleep(100000);
	EXPECT_LT(n, 3);
	system("losetup -d /dev/loop7; rm -f " LOOP_FILE);
	EXPECT_EQ(swapoff("/dev/zram0"), 0);
	EXPECT_EQ(count_of("stored_pages"), 0);
	if (is_ours())
		EXPECT_EQ(count_of("stored_runs"), 0);
	EXPECT_EQ(count_of("pool_total_size"), 0);
}

RACE_HARNESS_MAIN(seconds)

// SPDX-License-Identifier: GPL-2.0
/*
 * A machine monitor restores a guest from a snapshot: its memory is filled from a file when processors touch
 * it, by four threads, in pages and in 2 MiB, while a balloon gives parts of it up. Nobody waits for ever, and
 * each page holds what the snapshot says, or zeroes where the balloon was, or what was written to it.
 *	uffd_snapshot [seconds]
 */
#define _GNU_SOURCE
#include "uffd.h"

#include "harness.h"

#define PAGES		(32UL << 20 >> 12)
#define CHUNK		512UL		/* pages that come together */
#define BALLOON		(PAGES - 2 * CHUNK)	/* those behind are never given up */
#define HANDLERS	4
#define VCPUS		3
#define WORDS		(PAGE / 8)
#define FROM_SNAPSHOT	0x5a5a000000000000UL
#define WRITTEN		0x3c3c000000000000UL

static int seconds_to_go = 20;
static int fd;
static char *ram, *snapshot;
static atomic_bool stop, all_stop;
/* Given up by the balloon: it comes back as zeroes. */
static atomic_bool given_up[PAGES];
/* How often it was begun to be given up, and how often that has ended. */
static atomic_uint begun[PAGES], ended[PAGES];
static atomic_long faults, chunks, balloons, touches[VCPUS], checked, wrong;

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static uint64_t *words(char *base, size_t page)
{
	return (uint64_t *)(base + page * PAGE);
}

static size_t page_of(uint64_t address)
{
	return (address - (uintptr_t)ram) / PAGE;
}

/* All of the aligned 2 MiB, if nothing of it was given up. Return: whether the page is there then. */
static bool fill_chunk(size_t page)
{
	size_t first = page / CHUNK * CHUNK;
	struct uffdio_copy c = { (uintptr_t)words(ram, first), (uintptr_t)words(snapshot, first), CHUNK * PAGE };

	for (size_t i = first; i < first + CHUNK; i++)
		if (given_up[i])
			return false;
	if (ioctl(fd, UFFDIO_COPY, &c))
		return c.copy > 0 && (uint64_t)c.copy > (page - first) * PAGE;
	chunks++;
	return true;
}

static void fill_page(size_t page)
{
	struct uffdio_copy c = { (uintptr_t)words(ram, page), (uintptr_t)words(snapshot, page), PAGE };
	struct uffdio_zeropage z = { .range = { c.dst, PAGE } };

	/* It was there, or is being given up: who waits tries again. */
	if (given_up[page] ? ioctl(fd, UFFDIO_ZEROPAGE, &z) : ioctl(fd, UFFDIO_COPY, &c))
		uffd_wake(fd, (char *)c.dst, PAGE);
}

static void *handle(void *arg)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	uint64_t x = 88172645463325252 + (uintptr_t)arg;
	struct uffd_msg m;

	while (!all_stop) {
		if (poll(&poll_fd, 1, 20) < 1 || !uffd_next(fd, &m))
			continue;
		if (m.event == UFFD_EVENT_PAGEFAULT) {
			size_t page = page_of(m.arg.pagefault.address);

			faults++;
			if (next_random(&x) % 4 || !fill_chunk(page))
				fill_page(page);
		} else if (m.event == UFFD_EVENT_REMOVE) {
			for (uint64_t at = m.arg.remove.start; at < m.arg.remove.end; at += PAGE)
				given_up[page_of(at)] = true;
		}
	}
	return arg;
}

/**
 * struct known - what a processor knows of a page that it alone writes to
 * @times: how often the page had been given up when it knew
 * @unsure: the page was being given up while it was written to, up to and including this time
 * @written: which of its words
 */
static struct known {
	unsigned int times;
	unsigned int unsure;
	uint64_t written[WORDS / 64];
} known[PAGES];

/* What is known of the page, if nobody is giving it up. */
static struct known *know(size_t page, unsigned int *times)
{
	struct known *k = &known[page];

	*times = ended[page];
	if (begun[page] != *times)
		return NULL;
	if (k->times != *times)
		memset(k->written, 0, sizeof(k->written));
	k->times = *times;
	return k;
}

static void read_word(size_t page, size_t i, size_t vcpu)
{
	unsigned int times;
	struct known *k = know(page, &times);
	uint64_t saw = ((volatile uint64_t *)words(ram, page))[i];

	if (!k || begun[page] != times || (k->unsure && times <= k->unsure))
		return;
	if (k->written[i / 64] >> i % 64 & 1)
		wrong += saw != (WRITTEN | page << 12 | vcpu);
	else
		wrong += saw != (FROM_SNAPSHOT | page << 12 | i) && (saw || !times);
	checked++;
}

static void write_word(size_t page, size_t i, size_t vcpu)
{
	unsigned int times;
	struct known *k = know(page, &times);

	((volatile uint64_t *)words(ram, page))[i] = WRITTEN | page << 12 | vcpu;
	if (k && begun[page] == times)
		k->written[i / 64] |= 1ULL << i % 64;
	else
		known[page].unsure = begun[page];
}

/* Each processor has its own pages: what another wrote is not known to it. */
static void *vcpu(void *arg)
{
	size_t nr = (uintptr_t)arg;
	uint64_t x = 362436069362436069 + nr;

	while (!stop) {
		size_t page = next_random(&x) % (PAGES / VCPUS) * VCPUS + nr;

		read_word(page, 0, nr);
		read_word(page, next_random(&x) % WORDS, nr);
		read_word(page, WORDS - 1, nr);
		if (next_random(&x) % 4 == 0)
			write_word(page, next_random(&x) % 8, nr);
		touches[nr]++;
	}
	return arg;
}

static int give_up(size_t page, size_t pages)
{
	int err;

	for (size_t i = page; i < page + pages; i++)
		begun[i]++;
	err = madvise(words(ram, page), pages * PAGE, MADV_DONTNEED);
	for (size_t i = page; i < page + pages; i++)
		ended[i]++;
	return err;
}

/* Mostly a little; now and then a chunk, so that there is something to be restored. */
static void *balloon(void *arg)
{
	uint64_t x = 521288629521288629;

	while (!stop) {
		size_t pages = next_random(&x) % 16 ? 1 + next_random(&x) % 64 : CHUNK;
		size_t page = next_random(&x) % (BALLOON - CHUNK);

		if (give_up(page, pages))
			wrong++;
		balloons++;
		usleep(2000);
	}
	return arg;
}

/* Memory is taken away and given back as if it had never been there, so that chunks are filled again. */
static void restore_anew(struct __test_metadata *_metadata)
{
	size_t chunk = rand() % (BALLOON / CHUNK) * CHUNK;

	ASSERT_EQ(give_up(chunk, CHUNK), 0);
	for (size_t i = chunk; i < chunk + CHUNK; i++)
		given_up[i] = false;
}

static char *aligned(int file)
{
	char *p = mmap(NULL, (PAGES + CHUNK) * PAGE, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
	char *at = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));

	at = mmap(at, PAGES * PAGE, RW, (file < 0 ? ANON : MAP_SHARED) | MAP_FIXED, file, 0);
	if (p == MAP_FAILED || at == MAP_FAILED)
		fail_setup("memory");
	return at;
}

static void make_snapshot(void)
{
	char name[] = "/tmp/uffd_snapshot.XXXXXX";
	int file = mkstemp(name);

	if (file < 0 || unlink(name) || ftruncate(file, PAGES * PAGE))
		fail_setup("%s", name);
	snapshot = aligned(file);
	close(file);
	for (size_t page = 0; page < PAGES; page++)
		for (size_t i = 0; i < WORDS; i++)
			words(snapshot, page)[i] = FROM_SNAPSHOT | page << 12 | i;
}

/* Did every processor get on since it was looked at last? */
static bool all_get_on(long *before)
{
	bool on = true;

	for (int i = 0; i < VCPUS; i++) {
		on = on && touches[i] > before[i];
		before[i] = touches[i];
	}
	return on;
}

TEST(restored)
{
	pthread_t handlers[HANDLERS], vcpus[VCPUS], ballooner;
	long before[VCPUS] = {};
	double end;

	make_snapshot();
	fd = uffd_with(UFFD_FEATURE_EVENT_REMOVE, O_CLOEXEC | O_NONBLOCK);
	ram = aligned(-1);
	ASSERT_EQ(uffd_add(fd, ram, PAGES * PAGE, MISSING), 0);
	for (uintptr_t i = 0; i < HANDLERS; i++)
		ASSERT_EQ(pthread_create(&handlers[i], NULL, handle, (void *)i), 0);
	for (uintptr_t i = 0; i < VCPUS; i++)
		ASSERT_EQ(pthread_create(&vcpus[i], NULL, vcpu, (void *)i), 0);
	ASSERT_EQ(pthread_create(&ballooner, NULL, balloon, NULL), 0);
	for (end = seconds() + seconds_to_go; seconds() < end;) {
		restore_anew(_metadata);
		usleep(100000);
		ASSERT_TRUE(UNTIL(all_get_on(before))) TH_LOG("a processor waits for ever");
	}
	stop = true;
	pthread_join(ballooner, NULL);
	for (int i = 0; i < VCPUS; i++)
		pthread_join(vcpus[i], NULL);
	all_stop = true;
	for (int i = 0; i < HANDLERS; i++)
		pthread_join(handlers[i], NULL);
	TH_LOG("%ld faults, %ld chunks of 2 MiB, %ld balloons, %ld touches, %ld words compared", faults, chunks,
	       balloons, touches[0] + touches[1] + touches[2], checked);
	EXPECT_EQ(wrong, 0);
	EXPECT_GT(checked, 1000);
	EXPECT_GT(faults, 100);
	EXPECT_GT(chunks, 0);
	EXPECT_GT(balloons, 10);
	EXPECT_EQ(uffd_info(fd, "total:"), 0);
	close(fd);
}

RACE_HARNESS_MAIN(seconds_to_go)

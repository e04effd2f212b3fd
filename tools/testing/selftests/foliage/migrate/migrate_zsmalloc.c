// SPDX-License-Identifier: GPL-2.0
/*
 * The pages of zsmalloc, which are movable and on no LRU list: a zram device is filled with pages
 * of every compressed size, a part of it is discarded, and then its memory is compacted by
 * zsmalloc itself, by the kernel, and by a memory block that goes offline under it; alone, and
 * while the device is written, read and discarded. Every byte must read back as it was written.
 *
 * The program has a zram device of its own, and direct I/O: nothing comes from the page cache.
 */
#define _GNU_SOURCE
#include <linux/fs.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "harness.h"
#include "movable.h"

#define PAGES		12288UL
#define CHUNK		64UL	/* pages of a write */
#define CONTROL		"/sys/class/zram-control/"

/* --- a device --------------------------------------------------------------------------- */

FIXTURE(zram) {
	int id, fd, node;
	long block;		/* where its memory is, or -1 */
	unsigned int *version;	/* of each page; 0: discarded */
	char *buf;		/* CHUNK pages */
};

static void attribute(int id, const char *name, char *path, size_t size)
{
	snprintf(path, size, "/sys/block/zram%d/%s", id, name);
}

static bool zram_set(int id, const char *name, const char *value)
{
	char path[64];

	attribute(id, name, path, sizeof(path));
	return write_text(path, value);
}

/* The n-th number of mm_stat. */
static long zram_stat(int id, int n)
{
	char path[64], text[256], *p = text;
	long v = 0;

	attribute(id, "mm_stat", path, sizeof(path));
	if (!read_text(path, text, sizeof(text)))
		fail_setup("%s", path);
	for (int i = 0; i <= n; i++)
		v = strtol(p, &p, 10);
	return v;
}

#define STAT_USED	2	/* bytes of memory */
#define STAT_COMPACTED	6	/* pages freed by zsmalloc's compaction */

static int device_open(int id)
{
	char path[64], text[32];
	unsigned int major, minor;

	snprintf(path, sizeof(path), "/dev/zram%d", id);
	if (access(path, F_OK)) {
		attribute(id, "dev", path, sizeof(path));
		if (!read_text(path, text, sizeof(text)) ||
		    sscanf(text, "%u:%u", &major, &minor) != 2)
			fail_setup("%s", path);
		snprintf(path, sizeof(path), "/dev/zram%d", id);
		if (mknod(path, S_IFBLK | 0600, makedev(major, minor)))
			fail_setup("%s", path);
	}
	return open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
}

/* --- what it holds ---------------------------------------------------------------------- */

/*
 * Random bytes at the front, more of them from page to page, then one that is repeated: from a
 * page that is hardly stored at all to one that cannot be compressed.
 */
static void fill_page(char *p, size_t page, unsigned int version)
{
	uint64_t x = (page + 1) * 0x9e3779b97f4a7c15ULL ^ version * 0xd1342543de82ef95ULL;
	size_t noise = version ? (page * 37 + version * 101) % 512 : 0;
	uint64_t *w = (uint64_t *)p;

	memset(p, version ? (int)(page + version) % 251 + 1 : 0, PAGE);
	for (size_t i = 0; i < noise; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		w[i] = x;
	}
}

static bool write_pages(struct _test_data_zram *self, char *buf, size_t first, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fill_page(buf + i * PAGE, first + i, self->version[first + i]);
	return pwrite(self->fd, buf, n * PAGE, first * PAGE) == (ssize_t)(n * PAGE);
}

/* How many of these pages are not what they should be. */
static size_t wrong_pages(struct _test_data_zram *self, char *buf, size_t first, size_t n)
{
	char want[PAGE] __attribute__((aligned(8)));
	size_t bad = 0;

	if (pread(self->fd, buf, n * PAGE, first * PAGE) != (ssize_t)(n * PAGE))
		return n;
	for (size_t i = 0; i < n; i++) {
		fill_page(want, first + i, self->version[first + i]);
		bad += !!memcmp(want, buf + i * PAGE, PAGE);
	}
	return bad;
}

static size_t wrong(struct _test_data_zram *self)
{
	size_t bad = 0;

	for (size_t i = 0; i < PAGES; i += CHUNK)
		bad += wrong_pages(self, self->buf, i, CHUNK);
	return bad;
}

static bool discard(struct _test_data_zram *self, size_t first, size_t n)
{
	uint64_t range[2] = { first * PAGE, n * PAGE };

	for (size_t i = 0; i < n; i++)
		self->version[first + i] = 0;
	return !ioctl(self->fd, BLKDISCARD, range);
}

/* All pages of the device, then holes: five of seven pages go. */
static void fill_device(struct __test_metadata *_metadata, struct _test_data_zram *self)
{
	for (size_t i = 0; i < PAGES; i++)
		self->version[i] = 1;
	for (size_t i = 0; i < PAGES; i += CHUNK)
		ASSERT_TRUE(write_pages(self, self->buf, i, CHUNK));
	ASSERT_EQ(wrong(self), 0);
	for (size_t i = 0; i + 7 <= PAGES; i += 7)
		ASSERT_TRUE(discard(self, i, 5));
}

/* Pages of zsmalloc in the node's zone for movable pages, which our block is all of. */
static long pages_in_block(int node)
{
	static char text[65536];
	char want[32], *p;

	snprintf(want, sizeof(want), "Node %d, zone  Movable", node);
	if (!read_text("/proc/zoneinfo", text, sizeof(text)))
		fail_setup("/proc/zoneinfo");
	p = strstr(text, want);
	p = p ? strstr(p, "nr_zspages") : NULL;
	return p ? strtol(p + strlen("nr_zspages"), NULL, 10) : 0;
}

static long moved(void)
{
	static char text[65536];
	char *p;

	write_text("/proc/sys/vm/stat_refresh", "1");
	if (!read_text("/proc/vmstat", text, sizeof(text)))
		fail_setup("/proc/vmstat");
	p = strstr(text, "\npgmigrate_success ");
	return p ? strtol(p + strlen("\npgmigrate_success "), NULL, 10) : 0;
}

FIXTURE_SETUP(zram)
{
	char text[32];
	unsigned long mask;

	self->fd = self->id = -1;
	self->block = -1;
	if (!read_text(CONTROL "hot_add", text, sizeof(text)))
		SKIP(return, "no zram");
	self->id = atoi(text);
	if (!zram_set(self->id, "disksize", "48M"))
		fail_setup("size of zram%d", self->id);
	self->fd = device_open(self->id);
	if (self->fd < 0)
		fail_setup("zram%d", self->id);
	self->node = last_node();
	self->block = block_pages() ? block_make_movable(self->node) : -1;
	/* What zsmalloc allocates for this thread is on that node, and there in the block first. */
	mask = 1UL << self->node;
	syscall(SYS_set_mempolicy, MPOL_PREFERRED, &mask, 8 * sizeof(mask));
	self->version = calloc(PAGES, sizeof(*self->version));
	self->buf = aligned_alloc(PAGE, CHUNK * PAGE);
}

FIXTURE_TEARDOWN(zram)
{
	if (self->id < 0)
		return;
	snprintf(self->buf, 32, "%d", self->id);
	close(self->fd);
	EXPECT_TRUE(write_text(CONTROL "hot_remove", self->buf));
	if (self->block >= 0) {
		EXPECT_EQ(block_restore(self->block), 0);
	}
	free(self->version);
	free(self->buf);
}

/* --- tests ------------------------------------------------------------------------------ */

TEST_F(zram, own_compaction)
{
	long used;

	fill_device(_metadata, self);
	used = zram_stat(self->id, STAT_USED);
	ASSERT_TRUE(zram_set(self->id, "compact", "1"));
	EXPECT_GT(zram_stat(self->id, STAT_COMPACTED), 0);
	EXPECT_LT(zram_stat(self->id, STAT_USED), used);
	EXPECT_EQ(wrong(self), 0);
}

TEST_F(zram, memory_compaction)
{
	long before;

	fill_device(_metadata, self);
	/* All free pages in one place, and then a part of what is there. */
	compact_all();
	for (size_t i = 0; i + 70 <= PAGES; i += 70)
		ASSERT_TRUE(discard(self, i, 35));
	before = moved();
	for (int i = 0; i < 3; i++) {
		zram_set(self->id, "compact", "1");
		EXPECT_TRUE(compact_all());
		EXPECT_EQ(wrong(self), 0);
	}
	/* Hardly any other page than ours was there to be moved. */
	EXPECT_GT(moved() - before, 100);
}

TEST_F(zram, offline)
{
	long used, before = moved();

	if (self->block < 0)
		SKIP(return, "no memory block can go offline");
	fill_device(_metadata, self);
	used = pages_in_block(self->node);
	EXPECT_GT(used, 1000);
	ASSERT_EQ(block_set(self->block, "offline"), 0);
	EXPECT_EQ(pages_in_block(self->node), 0);
	EXPECT_GE(moved() - before, used);
	EXPECT_EQ(wrong(self), 0);
	/* The device works as before. */
	for (size_t i = 0; i < PAGES; i += CHUNK) {
		self->version[i] = 2;
		ASSERT_TRUE(write_pages(self, self->buf, i, CHUNK));
	}
	EXPECT_EQ(wrong(self), 0);
}

/* --- everything at once ----------------------------------------------------------------- */

#define USERS		3
#define RACE_MOVES	20000L
#define RACE_IO		20000L
#define RACE_CAP	150	/* seconds */

static struct race {
	struct _test_data_zram *self;
	atomic_bool stop;
	atomic_long io, bad;
} race;

/* A user of the device: a third of the pages are his, so he knows what they hold. */
static void *user_thread(void *arg)
{
	unsigned int seed = (uintptr_t)arg, version = 2;
	size_t share = PAGES / USERS, base = share * (uintptr_t)arg;
	char *buf = aligned_alloc(PAGE, 8 * PAGE);

	while (!race.stop) {
		size_t n = 1 + rand_r(&seed) % 8, page = base + rand_r(&seed) % (share - 8);

		switch (rand_r(&seed) % 4) {
		case 0:
			for (size_t i = 0; i < n; i++)
				race.self->version[page + i] = version;
			version++;
			race.bad += !write_pages(race.self, buf, page, n);
			break;
		case 1:
			race.bad += !discard(race.self, page, n);
			break;
		default:
			race.bad += wrong_pages(race.self, buf, page, n);
			break;
		}
		race.io++;
	}
	free(buf);
	return NULL;
}

static void *compact_thread(void *arg)
{
	while (!race.stop) {
		compact_all();
		zram_set(race.self->id, "compact", "1");
	}
	return NULL;
}

static void *compact_node_thread(void *arg)
{
	while (!race.stop)
		compact_node(race.self->node);
	return NULL;
}

static void *block_thread(void *arg)
{
	while (!race.stop && race.self->block >= 0) {
		if (!block_set(race.self->block, "offline"))
			block_set(race.self->block, "online_movable");
		usleep(100000);
	}
	return NULL;
}

TEST_F(zram, race)
{
	static void *(*const movers[])(void *) = {
		compact_thread, compact_node_thread, block_thread,
	};
	pthread_t thread[USERS + 3];
	time_t end = time(NULL) + RACE_CAP;
	long before;

	fill_device(_metadata, self);
	race.self = self;
	before = moved();
	for (uintptr_t i = 0; i < USERS + 3; i++) {
		ASSERT_EQ(pthread_create(&thread[i], NULL,
					 i < USERS ? user_thread : movers[i - USERS], (void *)i), 0);
	}
	while (!race.bad && time(NULL) < end &&
	       (moved() - before < RACE_MOVES || race.io < RACE_IO))
		usleep(200000);
	race.stop = true;
	for (int i = 0; i < USERS + 3; i++)
		pthread_join(thread[i], NULL);
	TH_LOG("%ld operations, %ld pages moved", race.io, moved() - before);
	EXPECT_GT(moved() - before, 1000);
	EXPECT_EQ(race.bad, 0);
	EXPECT_EQ(wrong(self), 0);
}

int main(int argc, char **argv)
{
	compaction_alone(true);
	atexit(compaction_as_usual);
	return test_harness_run(argc, argv);
}

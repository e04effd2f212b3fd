// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of a file system that cannot move folios itself (eCryptfs has no a_ops->migrate_folio). Dirty
 * ones are written first, and mapped again while they are; whoever moves one then must unmap it
 * once more, or the mapping keeps the old page while the file gets a copy: what is stored through
 * the mapping from then on is lost.
 *
 * Stock loses it: there these tests fail.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

#include "harness.h"
#include "migrate.h"

#define LOWER	"/tmp/foliage-lower"
#define DIR	"/tmp/foliage-ecryptfs"
#define OPTIONS	"key=passphrase:passphrase_passwd=x,ecryptfs_cipher=aes,ecryptfs_key_bytes=16," \
		"ecryptfs_passthrough=n,ecryptfs_enable_filename_crypto=n,no_sig_cache"
#define PAGES	128UL
#define ROUNDS	12

static bool no_ecryptfs;

static void mount_ecryptfs(void)
{
	char text[4096] = "";

	read_text("/proc/filesystems", text, sizeof(text));
	no_ecryptfs = !strstr(text, "\tecryptfs\n");
	if (!no_ecryptfs && system("mkdir -p " LOWER " " DIR " && mount -t ecryptfs -o " OPTIONS " "
				   LOWER " " DIR " > /dev/null"))
		fail_setup("eCryptfs: install ecryptfs-utils");
}

FIXTURE(file) {
	int fd;
	char *p;
};

FIXTURE_SETUP(file)
{
	static char page[PAGE];

	if (no_ecryptfs)
		SKIP(return, "no eCryptfs in this kernel");
	self->fd = open(DIR "/file", O_CREAT | O_TRUNC | O_RDWR, 0600);
	ASSERT_GE(self->fd, 0);
	for (size_t i = 0; i < PAGES; i++)
		ASSERT_EQ(pwrite(self->fd, page, PAGE, i * PAGE), (ssize_t)PAGE);
	ASSERT_EQ(fsync(self->fd), 0);
	self->p = mem_map(PAGES, RW, MAP_SHARED, self->fd);
	madvise(self->p, PAGES * PAGE, MADV_POPULATE_READ);
	settle_lru();
}

FIXTURE_TEARDOWN(file)
{
	munmap(self->p, PAGES * PAGE);
	close(self->fd);
}

static atomic_ulong *word_of(char *p, size_t i)
{
	return (atomic_ulong *)(p + i * PAGE);
}

/* Pages in which read(2) does not see what the mapping shows. */
static size_t lost(struct _test_data_file *self)
{
	unsigned long v;
	size_t n = 0;

	for (size_t i = 0; i < PAGES; i++)
		n += pread(self->fd, &v, sizeof(v), i * PAGE) != sizeof(v) ||
		     v != *word_of(self->p, i);
	return n;
}

static void store(struct _test_data_file *self, unsigned long v)
{
	for (size_t i = 0; i < PAGES; i++)
		*word_of(self->p, i) = v;
}

static size_t move_all(struct _test_data_file *self, int node)
{
	size_t there = 0;

	for (int try = 0; try < 100 && there < PAGES; try++) {
		move_range(self->p, PAGES, 1, node, MOVE_OWN);
		there = count_on(self->p, PAGES, node);
	}
	return there;
}

TEST_F(file, clean)
{
	store(self, 7);
	ASSERT_EQ(fsync(self->fd), 0);
	for (int node = 1; node >= 0; node--) {
		EXPECT_EQ(move_all(self, node), PAGES);
		EXPECT_EQ(lost(self), 0);
	}
}

TEST_F(file, dirty)
{
	for (int i = 0; i < ROUNDS; i++) {
		store(self, 1000 + i);
		EXPECT_EQ(move_all(self, 1 - i % 2), PAGES);
		/* What was stored before is there ... */
		EXPECT_EQ(lost(self), 0);
		/* ... and so is what is stored now. */
		store(self, 2000 + i);
		EXPECT_EQ(lost(self), 0);
		ASSERT_EQ(fsync(self->fd), 0);
		store(self, 3000 + i);
		EXPECT_EQ(lost(self), 0);
	}
}

struct writer {
	struct _test_data_file *self;
	atomic_ulong rounds;
	atomic_bool stop;
};

static void *write_on(void *arg)
{
	struct writer *w = arg;

	while (!w->stop) {
		for (size_t i = 0; i < PAGES; i++)
			atomic_fetch_add(word_of(w->self->p, i), 1);
		w->rounds++;
	}
	return NULL;
}

/* Every page of the file has been counted up once a round, no matter when it was moved. */
TEST_F(file, written_meanwhile)
{
	struct writer w = { .self = self };
	unsigned long there = 0, v;
	pthread_t thread;

	ASSERT_EQ(pthread_create(&thread, NULL, write_on, &w), 0);
	for (int i = 0; i < 2000 && (there < 4 * PAGES || w.rounds < 100); i++) {
		move_range(self->p, PAGES, 1, 1 - i % 2, MOVE_OWN);
		there += count_on(self->p, PAGES, 1 - i % 2);
	}
	w.stop = true;
	pthread_join(thread, NULL);
	TH_LOG("%lu moves while %lu rounds were written", there, w.rounds);
	EXPECT_GE(there, 4 * PAGES);
	EXPECT_EQ(lost(self), 0);
	/* Neither the mapping nor the page cache is asked. */
	munmap(self->p, PAGES * PAGE);
	ASSERT_EQ(fsync(self->fd), 0);
	write_text("/proc/sys/vm/drop_caches", "1");
	for (size_t i = 0; i < PAGES; i++) {
		ASSERT_EQ(pread(self->fd, &v, sizeof(v), i * PAGE), sizeof(v));
		EXPECT_EQ(v, w.rounds);
	}
}

static pid_t program;

static void __attribute__((constructor)) before_all(void)
{
	program = getpid();
	mount_ecryptfs();
}

static void __attribute__((destructor)) after_all(void)
{
	if (getpid() == program && !no_ecryptfs)
		umount2(DIR, MNT_DETACH);
}

TEST_HARNESS_MAIN

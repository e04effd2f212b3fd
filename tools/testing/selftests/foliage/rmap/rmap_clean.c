// SPDX-License-Identifier: GPL-2.0
/*
 * A write through a shared mapping of a file reaches the disk, however it meets write-back.
 *
 * Write-back cleans a page and write-protects it wherever it is mapped, so that the next write
 * faults and makes the page dirty again. If one entry is forgotten, or loses its Dirty bit, a write
 * stays in memory and is gone when the page is.
 *
 * The disk is a loop device, so the file it is made of says at any time what has been written out:
 * the tests look there and not through the page cache.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "foliage.h"

#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

#define PM_SOFT_DIRTY	(1ULL << 55)
#define PM_UFFD_WP	(1ULL << 57)

#define PAGES	512UL
#define EXTENTS	512
#define CHUNK	32
#define SECONDS	4
#define MIN_SYNCS 4

/* A file, mapped whole, and where its pages are on disk. */
struct file {
	struct region r;
	char *image;
	size_t image_size;
	uint64_t at[PAGES];
};

static void file_place(struct file *f)
{
	size_t size = sizeof(struct fiemap) + EXTENTS * sizeof(struct fiemap_extent);
	struct fiemap *map = calloc(1, size);

	map->fm_length = PAGES * PAGE;
	map->fm_flags = FIEMAP_FLAG_SYNC;
	map->fm_extent_count = EXTENTS;
	if (ioctl(f->r.fd, FS_IOC_FIEMAP, map))
		fail_setup("FIEMAP");
	for (unsigned int i = 0; i < map->fm_mapped_extents; i++) {
		struct fiemap_extent *e = &map->fm_extents[i];

		for (size_t k = 0; k < PAGES; k++)
			if (k * PAGE - e->fe_logical < e->fe_length)
				f->at[k] = e->fe_physical + k * PAGE - e->fe_logical;
	}
	for (size_t k = 0; k < PAGES; k++)
		if (!f->at[k])
			fail_setup("page %zu is in none of %u extents", k, map->fm_mapped_extents);
	free(map);
}

static void file_make(struct file *f)
{
	int fd;

	region_make(&f->r, FILE_EXT4, PAGES);
	file_place(f);
	fd = open(EXT4_IMAGE, O_RDONLY);
	f->image_size = lseek(fd, 0, SEEK_END);
	f->image = mmap(NULL, f->image_size, PROT_READ, MAP_SHARED, fd, 0);
	if (f->image == MAP_FAILED)
		fail_setup(EXT4_IMAGE);
	close(fd);
}

static void file_free(struct file *f)
{
	munmap(f->image, f->image_size);
	region_free(&f->r);
}

/* Bytes in the first 1024 of a page only: a block of the file system may be that small. */
static unsigned char on_disk(const struct file *f, size_t page, size_t offset)
{
	return *(volatile unsigned char *)(f->image + f->at[page] + offset);
}

static bool sync_how(struct file *f, int how)
{
	switch (how % 3) {
	case 0:
		return !msync(f->r.p, PAGES * PAGE, MS_SYNC);
	case 1:
		return !fdatasync(f->r.fd);
	default:
		return !sync_file_range(f->r.fd, 0, PAGES * PAGE, SYNC_FILE_RANGE_WAIT_BEFORE |
					SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
	}
}

/* Write @value to every @step-th page; how many faults that took. */
static long write_pages(volatile char *p, size_t pages, size_t step, int value)
{
	long before = own_faults();

	for (size_t i = 0; i < pages; i += step)
		p[i * PAGE] = value;
	return own_faults() - before;
}

static long read_pages(volatile char *p, size_t pages)
{
	long before = own_faults();

	for (size_t i = 0; i < pages; i++)
		(void)p[i * PAGE];
	return own_faults() - before;
}

static size_t frames_dirty(const struct region *r)
{
	int fd = open("/proc/kpageflags", O_RDONLY);
	size_t n = 0;

	for (size_t i = 0; i < r->pages; i++) {
		uint64_t flags;

		if (pread(fd, &flags, 8, r->pfn[i] * 8) != 8)
			fail_setup("/proc/kpageflags");
		n += !!(flags & KPF(KPF_DIRTY));
	}
	close(fd);
	return n;
}

/* Pages of which the bit in pagemap is not what belongs to every third. */
static size_t differ(const struct region *r, uint64_t bit)
{
	static uint64_t map[PAGES];
	int fd = open("/proc/self/pagemap", O_RDONLY);
	size_t n = 0;

	if (pread(fd, map, PAGES * 8, (uintptr_t)r->p / PAGE * 8) != PAGES * 8)
		fail_setup("pagemap");
	close(fd);
	for (size_t i = 0; i < PAGES; i++)
		n += !!(map[i] & bit) != (i % 3 == 0);
	return n;
}

static size_t not_on_disk(const struct file *f, size_t step, int value)
{
	size_t n = 0;

	for (size_t i = 0; i < PAGES; i += step)
		n += on_disk(f, i, 0) != value;
	return n;
}

FIXTURE(clean) {
	struct file f;
};

FIXTURE_VARIANT(clean) {
	int how;
};

FIXTURE_VARIANT_ADD(clean, msync)
{
	.how = 0,
};

FIXTURE_VARIANT_ADD(clean, fdatasync)
{
	.how = 1,
};

FIXTURE_VARIANT_ADD(clean, sync_file_range)
{
	.how = 2,
};

FIXTURE_SETUP(clean)
{
	file_make(&self->f);
	/* Faults of the functions themselves come here. */
	write_pages(self->f.r.p, PAGES, 1, 100);
	read_pages(self->f.r.p, PAGES);
	ASSERT_TRUE(sync_how(&self->f, variant->how));
	region_frames(&self->f.r);
}

FIXTURE_TEARDOWN(clean)
{
	file_free(&self->f);
}

/*
 * The first write to a page after a sync faults and makes it dirty; reads and later writes do
 * not.
 */
TEST_F(clean, write_is_noticed)
{
	struct file *f = &self->f;

	for (int round = 1; round <= 5; round++) {
		EXPECT_EQ(frames_dirty(&f->r), 0);
		EXPECT_EQ(read_pages(f->r.p, PAGES), 0);
		EXPECT_EQ(frames_dirty(&f->r), 0);
		EXPECT_EQ(write_pages(f->r.p, PAGES, 1, round), PAGES);
		EXPECT_EQ(write_pages(f->r.p, PAGES, 1, round), 0);
		EXPECT_EQ(frames_dirty(&f->r), PAGES);
		EXPECT_EQ(not_on_disk(f, 1, round), PAGES);
		ASSERT_TRUE(sync_how(f, variant->how));
		EXPECT_EQ(not_on_disk(f, 1, round), 0);
	}
}

/* The same for every mapping of the file, of whatever part, here and in a child. */
TEST_F(clean, every_mapping)
{
	static const struct {
		size_t first, pages;
	} views[] = { { 0, PAGES }, { 1, PAGES - 1 }, { 100, 311 }, { PAGES - 1, 1 } };
	struct file *f = &self->f;
	char *p[ARRAY_SIZE(views)];
	int status;
	pid_t pid;

	for (size_t v = 0; v < ARRAY_SIZE(views); v++) {
		p[v] = mmap(NULL, views[v].pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			    f->r.fd, views[v].first * PAGE);
		ASSERT_NE(p[v], MAP_FAILED);
		write_pages(p[v], views[v].pages, 1, 1);
	}
	for (int round = 2; round <= 4; round++) {
		ASSERT_TRUE(sync_how(f, variant->how));
		for (size_t v = 0; v < ARRAY_SIZE(views); v++)
			EXPECT_EQ(write_pages(p[v], views[v].pages, 1, round), views[v].pages);
		EXPECT_EQ(frames_dirty(&f->r), PAGES);
	}
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		bool bad = false;

		/* fork() copies no entries of files. Two rounds: here by faults, then by a sync. */
		for (int round = 5; round <= 7; round++) {
			for (size_t v = 0; v < ARRAY_SIZE(views); v++)
				bad |= write_pages(p[v], views[v].pages, 1, round) < views[v].pages;
			bad |= !sync_how(f, variant->how);
		}
		_exit(bad);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	/* What the child's syncs cleaned here. */
	for (size_t v = 0; v < ARRAY_SIZE(views); v++)
		EXPECT_EQ(write_pages(p[v], views[v].pages, 1, 8), views[v].pages);
	ASSERT_TRUE(sync_how(f, variant->how));
	EXPECT_EQ(not_on_disk(f, 1, 8), 0);
	for (size_t v = 0; v < ARRAY_SIZE(views); v++)
		munmap(p[v], views[v].pages * PAGE);
}

/* Copies in a private mapping are not the file's: a sync leaves them writable. */
TEST_F(clean, private_copies_stay)
{
	struct file *f = &self->f;
	char *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, f->r.fd, 0);

	ASSERT_NE(p, MAP_FAILED);
	madvise(p, PAGES * PAGE, MADV_NOHUGEPAGE);
	write_pages(p, PAGES, 1, 50);
	write_pages(f->r.p, PAGES, 1, 51);
	ASSERT_TRUE(sync_how(f, variant->how));
	EXPECT_EQ(not_on_disk(f, 1, 51), 0);
	EXPECT_EQ(write_pages(p, PAGES, 1, 52), 0);
	EXPECT_EQ(write_pages(f->r.p, PAGES, 1, 53), PAGES);
	munmap(p, PAGES * PAGE);
}

/* The Dirty bits of entries that go away by themselves are not forgotten. */
TEST_F(clean, unmapped_dirty)
{
	struct file *f = &self->f;

	for (int round = 1; round <= 5; round++) {
		write_pages(f->r.p, PAGES, 2, round);
		ASSERT_EQ(madvise(f->r.p, PAGES * PAGE, MADV_DONTNEED), 0);
		ASSERT_TRUE(sync_how(f, variant->how));
		EXPECT_EQ(not_on_disk(f, 2, round), 0);
	}
}

/* What was written after a sync is there when the page has been away. */
TEST_F(clean, evicted)
{
	struct file *f = &self->f;
	size_t gone = 0, bad = 0;

	for (int round = 1; round <= 3; round++) {
		write_pages(f->r.p, PAGES, 1, round);
		ASSERT_TRUE(sync_how(f, variant->how));
	}
	write_pages(f->r.p, PAGES, 3, 33);
	ASSERT_TRUE(sync_how(f, variant->how));
	ASSERT_EQ(madvise(f->r.p, PAGES * PAGE, MADV_DONTNEED), 0);
	ASSERT_TRUE(write_text("/proc/sys/vm/drop_caches", "3"));
	for (size_t i = 0; i < PAGES; i++) {
		bad += f->r.p[i * PAGE] != (i % 3 ? 3 : 33);
		gone += frame_of(f->r.p + i * PAGE) != f->r.pfn[i];
	}
	EXPECT_EQ(bad, 0);
	EXPECT_GT(gone, PAGES / 2);
}

TEST_F(clean, keeps_soft_dirty)
{
	struct file *f = &self->f;

	ASSERT_TRUE(write_text("/proc/self/clear_refs", "4"));
	write_pages(f->r.p, PAGES, 3, 9);
	EXPECT_EQ(differ(&f->r, PM_SOFT_DIRTY), 0);
	ASSERT_TRUE(sync_how(f, variant->how));
	EXPECT_EQ(differ(&f->r, PM_SOFT_DIRTY), 0);
	EXPECT_EQ(not_on_disk(f, 3, 9), 0);
}

/* Asynchronous write protection is the one that files may have. */
TEST_F(clean, keeps_uffd_wp)
{
	struct file *f = &self->f;
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC };
	struct uffdio_register reg = { .range = { (uintptr_t)f->r.p, PAGES * PAGE },
				       .mode = UFFDIO_REGISTER_MODE_WP };

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		SKIP(return, "no UFFD_FEATURE_WP_ASYNC");
	write_pages(f->r.p, PAGES, 1, 5);
	for (size_t i = 0; i < PAGES; i += 3) {
		struct uffdio_writeprotect wp = { .range = { (uintptr_t)f->r.p + i * PAGE, PAGE },
						  .mode = UFFDIO_WRITEPROTECT_MODE_WP };

		ASSERT_EQ(ioctl(fd, UFFDIO_WRITEPROTECT, &wp), 0);
	}
	EXPECT_EQ(differ(&f->r, PM_UFFD_WP), 0);
	ASSERT_TRUE(sync_how(f, variant->how));
	EXPECT_EQ(differ(&f->r, PM_UFFD_WP), 0);
	EXPECT_EQ(not_on_disk(f, 1, 5), 0);
	/* And writes go through both protections. */
	EXPECT_GE(write_pages(f->r.p, PAGES, 1, 6), (long)PAGES);
	ASSERT_TRUE(sync_how(f, variant->how));
	EXPECT_EQ(not_on_disk(f, 1, 6), 0);
	close(fd);
}

/* --- the race --------------------------------------------------------------------------- */

/*
 * Each writer has a byte of its own in every page and counts it up. When it has done so, it says
 * so in done[]: what a sync finds there when it begins must be on disk when it ends, and nothing
 * can be there that is ahead of done[] by more than the write in progress.
 */
enum { WRITERS = 7 };

struct board {
	atomic_bool stop;
	atomic_uint done[WRITERS][PAGES];
	atomic_long writes, faults, moved;
};

struct writer {
	struct file *f;
	struct board *b;
	int nr;
	unsigned int seed;
	char *p;	/* its own mapping; of these pages: */
	size_t first, pages;
};

/* The first two are threads that share a mapping. */
static const struct {
	size_t first, pages;
} views[WRITERS] = {
	{ 0, PAGES }, { 0, PAGES }, { 0, PAGES }, { PAGES / 2, PAGES / 2 }, { 3, 500 }, { 7, 16 },
	{ PAGES - 33, 33 },
};

static size_t slot(int nr)
{
	return 64 * nr + 8;
}

static unsigned int draw(struct writer *w, unsigned int n)
{
	return rand_r(&w->seed) % n;
}

static void write_one(struct writer *w)
{
	size_t i = draw(w, w->pages);
	atomic_uint *done = &w->b->done[w->nr][w->first + i];
	unsigned int n = atomic_load(done) + 1;

	*(volatile unsigned char *)(w->p + i * PAGE + slot(w->nr)) = n;
	atomic_store(done, n);
}

static void map(struct writer *w)
{
	w->p = mmap(NULL, w->pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, w->f->r.fd,
		    w->first * PAGE);
	if (w->p == MAP_FAILED)
		_exit(1);
}

static void write_in_child(struct writer *w)
{
	pid_t pid = fork();

	if (!pid) {
		for (int i = 0; i < 50; i++)
			write_one(w);
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

/* Something else that takes entries away, or their permission, whose Dirty bit then matters. */
static void change(struct writer *w)
{
	size_t len = w->pages * PAGE;
	char *to;

	switch (draw(w, 5)) {
	case 0:
		munmap(w->p, len);
		map(w);
		break;
	case 1:
		mprotect(w->p, len, PROT_READ);
		mprotect(w->p, len, PROT_READ | PROT_WRITE);
		break;
	case 2:
		madvise(w->p, len, MADV_DONTNEED);
		break;
	case 3:
		to = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (to != MAP_FAILED)
			to = mremap(w->p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to);
		if (to != MAP_FAILED)
			w->p = to;
		break;
	default:
		write_in_child(w);
	}
}

static void *write_forever(void *arg)
{
	struct writer *w = arg;

	while (!atomic_load(&w->b->stop)) {
		for (int i = 0; i < 100; i++)
			write_one(w);
		atomic_fetch_add(&w->b->writes, 100);
		if (w->nr > 1 && !draw(w, 10))
			change(w);
		/* Let the others run: there are more writers than processors. */
		usleep(500);
	}
	atomic_fetch_add(&w->b->faults, own_faults());
	return NULL;
}

static pid_t writer_start(struct writer *w)
{
	pthread_t second;
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	map(w);
	if (!w->nr) {
		w[1].p = w->p;
		pthread_create(&second, NULL, write_forever, &w[1]);
	}
	write_forever(w);
	if (!w->nr)
		pthread_join(second, NULL);
	_exit(0);
}

/* Some pages to the other node; how many went. */
static long move_some(struct file *f, size_t first)
{
	void *pages[CHUNK];
	int nodes[CHUNK], status[CHUNK];
	long n = 0;

	for (size_t i = 0; i < CHUNK; i++) {
		pages[i] = f->r.p + (first + i) * PAGE;
		(void)*(volatile char *)pages[i];
	}
	syscall(SYS_move_pages, 0, CHUNK, pages, NULL, status, 0);
	for (size_t i = 0; i < CHUNK; i++)
		nodes[i] = status[i] != 1;
	syscall(SYS_move_pages, 0, CHUNK, pages, nodes, status, MPOL_MF_MOVE_ALL);
	for (size_t i = 0; i < CHUNK; i++)
		n += status[i] == nodes[i];
	return n;
}

static pid_t mover_start(struct file *f, struct board *b)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t at = 0; !atomic_load(&b->stop); at = (at + CHUNK) % PAGES) {
		atomic_fetch_add(&b->moved, move_some(f, at));
		usleep(5000);
	}
	_exit(0);
}

/* A call may take long, since reclaim waits for write-back; so it is stopped by a signal. */
static pid_t reclaimer_start(const char *cgroup)
{
	char path[300];
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(path, sizeof(path), "%s/memory.reclaim", cgroup);
	for (;;) {
		write_text(path, "512K");
		usleep(50000);
	}
}

/* Slots whose byte on disk is none of those between @begin and what is there now. */
static size_t wrong_slots(struct file *f, struct board *b, unsigned int (*begin)[PAGES])
{
	size_t n = 0;

	for (int w = 0; w < WRITERS; w++) {
		for (size_t i = views[w].first; i < views[w].first + views[w].pages; i++) {
			unsigned char ahead = on_disk(f, i, slot(w)) - begin[w][i];
			unsigned int most = atomic_load(&b->done[w][i]) + 1 - begin[w][i];

			n += ahead > most;
		}
	}
	return n;
}

static void snapshot(struct board *b, unsigned int (*to)[PAGES])
{
	for (int w = 0; w < WRITERS; w++)
		for (size_t i = 0; i < PAGES; i++)
			to[w][i] = atomic_load(&b->done[w][i]);
}

static void zero_slots(struct file *f)
{
	for (int w = 0; w < WRITERS; w++)
		for (size_t i = 0; i < PAGES; i++)
			f->r.p[i * PAGE + slot(w)] = 0;
}

/* Past the page cache, and then anew through it: exactly what was written. */
static size_t wrong_at_end(struct file *f, struct board *b)
{
	size_t n = 0;

	if (fdatasync(f->r.fd) || madvise(f->r.p, PAGES * PAGE, MADV_DONTNEED) ||
	    !write_text("/proc/sys/vm/drop_caches", "3"))
		fail_setup("dropping the page cache");
	for (int w = 0; w < WRITERS; w++) {
		for (size_t i = 0; i < PAGES; i++) {
			unsigned char want = atomic_load(&b->done[w][i]);

			n += on_disk(f, i, slot(w)) != want;
			n += (unsigned char)f->r.p[i * PAGE + slot(w)] != want;
		}
	}
	return n;
}

TEST(writers_race_with_sync)
{
	static struct writer writers[WRITERS];
	static unsigned int begin[WRITERS][PAGES];
	static struct file f;
	size_t bad = 0, rounds = 0;
	pid_t pids[WRITERS + 1], reclaimer;
	char cgroup[256];
	struct board *b;
	time_t end;
	int status;

	enter_cgroup("rmap_clean", cgroup, sizeof(cgroup));
	file_make(&f);
	zero_slots(&f);
	b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(b, MAP_FAILED);
	for (int i = 0; i < WRITERS; i++)
		writers[i] = (struct writer){ .f = &f, .b = b, .nr = i, .seed = time(NULL) + i,
					      .first = views[i].first, .pages = views[i].pages };
	for (int i = 0; i < WRITERS; i++)
		pids[i] = i == 1 ? 0 : writer_start(&writers[i]);
	pids[WRITERS] = mover_start(&f, b);
	reclaimer = reclaimer_start(cgroup);

	end = time(NULL) + SECONDS;
	while (time(NULL) < end || rounds < MIN_SYNCS ||
	       (atomic_load(&b->moved) <= 10 && time(NULL) < end + 90)) {
		snapshot(b, begin);
		ASSERT_TRUE(sync_how(&f, rounds++));
		bad += wrong_slots(&f, b, begin);
		/* What is being written out cannot be moved. */
		usleep(50000);
	}
	atomic_store(&b->stop, true);
	kill(reclaimer, SIGKILL);
	waitpid(reclaimer, NULL, 0);
	for (int i = 0; i <= WRITERS; i++) {
		if (!pids[i])
			continue;
		ASSERT_EQ(waitpid(pids[i], &status, 0), pids[i]);
		EXPECT_EQ(status, 0);
	}
	TH_LOG("%zu syncs, %ld writes, %ld faults of writers, %ld pages moved", rounds,
	       atomic_load(&b->writes), atomic_load(&b->faults), atomic_load(&b->moved));
	EXPECT_EQ(bad, 0);
	EXPECT_EQ(wrong_at_end(&f, b), 0);
	/* Did they meet at all? */
	EXPECT_GT(atomic_load(&b->faults), (long)rounds * 100);
	EXPECT_GT(atomic_load(&b->moved), 10);
	file_free(&f);
	munmap(b, sizeof(*b));
	leave_cgroup(cgroup);
}

TEST_HARNESS_MAIN

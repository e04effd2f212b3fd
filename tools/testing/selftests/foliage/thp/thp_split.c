// SPDX-License-Identifier: GPL-2.0
/*
 * The split of a folio, through the file that is there for it: to each order, of each kind, with
 * what keeps it from being split; what parts inherit; and what is written that means nothing.
 */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "harness.h"
#include "thp.h"

enum how { BY_PMD, BY_PTES };

FIXTURE(split) { char *p; };
FIXTURE_VARIANT(split) { enum how how; };
FIXTURE_VARIANT_ADD(split, pmd) { .how = BY_PMD };
FIXTURE_VARIANT_ADD(split, ptes) { .how = BY_PTES };

FIXTURE_SETUP(split)
{
	self->p = variant->how == BY_PMD ? thp_new() : thp_new_ptes();
	settle_lru();
}

FIXTURE_TEARDOWN(split)
{
	munmap(self->p, HUGE);
}

/* Folios of 1 << @order pages, and no other: heads where they must be, tails elsewhere. */
static size_t not_of_order(const char *p, int order)
{
	size_t wrong = 0;

	for (size_t i = 0; i < PAGES; i++) {
		uint64_t flags = flags_at(p + i * PAGE);
		bool head = flags & KPF(KPF_HEAD), tail = flags & KPF(KPF_TAIL);
		bool first = !(i & ((1UL << order) - 1));

		wrong += order ? head != first || tail == first : head || tail;
	}
	return wrong;
}

/* 1 is refused, and the folio stays whole; the frames stay where they are in any case. */
TEST_F(split, orders)
{
	uint64_t first;
	int order;
	long done;

	for (order = 8; order >= 0; order--) {
		done = vm_count("thp_split_page");

		munmap(self->p, HUGE);
		self->p = variant->how == BY_PMD ? thp_new() : thp_new_ptes();
		settle_lru();
		first = frame_of(self->p);
		if (order == 1)
			continue;
		ASSERT_EQ(split_range(self->p, PAGES, order), 0);
		EXPECT_EQ(not_of_order(self->p, order), 0) TH_LOG("order %d", order);
		EXPECT_EQ(vm_count("thp_split_page"), done + 1);
		for (size_t i = 0; i < PAGES; i++)
			ASSERT_EQ(frame_of(self->p + i * PAGE), first + i);
		EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
		EXPECT_EQ(smaps_kb(self->p, "Rss"), 2048);
		EXPECT_EQ(pages_with(self->p, PAGES, KPF_LRU), PAGES);
	}
}

/* Parts of parts. */
TEST_F(split, again)
{
	ASSERT_EQ(split_range(self->p, PAGES, 6), 0);
	ASSERT_EQ(split_range(self->p, PAGES, 3), 0);
	EXPECT_EQ(not_of_order(self->p, 3), 0);
	ASSERT_EQ(split_range(self->p, PAGES, 0), 0);
	EXPECT_EQ(not_of_order(self->p, 0), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

/* A reference to any page keeps all of it. */
TEST_F(split, pinned)
{
	struct iovec iov = { .iov_base = self->p + 7 * PAGE, .iov_len = 8 };
	int fds[2];

	ASSERT_EQ(pipe(fds), 0);
	ASSERT_EQ(vmsplice(fds[1], &iov, 1, 0), 8);
	EXPECT_EQ(split_range(self->p, PAGES, 0), 0);
	EXPECT_EQ(not_of_order(self->p, 9), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	close(fds[0]);
	close(fds[1]);
	settle_lru();
	EXPECT_EQ(split_range(self->p, PAGES, 0), 0);
	EXPECT_EQ(not_of_order(self->p, 0), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

/* Each process keeps what it wrote after the fork, and what it did not. */
TEST_F(split, shared)
{
	int down[2], up[2], status;
	char c = 0;
	pid_t pid;

	ASSERT_EQ(pipe(down), 0);
	ASSERT_EQ(pipe(up), 0);
	pid = fork();
	if (!pid) {
		*(volatile uint64_t *)(self->p + 3 * PAGE) = 77;
		if (write(up[1], &c, 1) != 1 || read(down[0], &c, 1) != 1)
			_exit(2);
		*(volatile uint64_t *)(self->p + 4 * PAGE) = 78;
		_exit(thp_wrong(self->p, PAGES) != 2);
	}
	ASSERT_EQ(read(up[0], &c, 1), 1);
	settle_lru();
	ASSERT_EQ(split_range(self->p, PAGES, 0), 0);
	EXPECT_EQ(not_of_order(self->p, 0), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	*(volatile uint64_t *)(self->p + 5 * PAGE) = 79;
	ASSERT_EQ(write(down[1], &c, 1), 1);
	waitpid(pid, &status, 0);
	EXPECT_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 1);
}

/* Two addresses of one folio, at another alignment to each other, and some of it nowhere. */
TEST_F(split, twice_mapped_in_parts)
{
	char *q = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	ASSERT_NE(mremap(self->p + 100 * PAGE, 50 * PAGE, 50 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			 q + 3 * PAGE), MAP_FAILED);
	ASSERT_EQ(munmap(self->p + 200 * PAGE, 10 * PAGE), 0);
	ASSERT_EQ(split_range(self->p, PAGES, 0), 0);
	for (size_t i = 0; i < PAGES; i++) {
		char *at = i >= 100 && i < 150 ? q + (i - 97) * PAGE : self->p + i * PAGE;

		if (i >= 200 && i < 210)
			continue;
		ASSERT_TRUE(thp_page_is(at, i));
		ASSERT_FALSE(flags_at(at) & (KPF(KPF_HEAD) | KPF(KPF_TAIL)));
	}
	munmap(q, HUGE);
}

/* --- what parts inherit ----------------------------------------------------------------- */

/* Soft-dirty is of each entry, and no page becomes it by a split. */
TEST_F(split, keeps_soft_dirty)
{
	ASSERT_TRUE(write_text("/proc/self/clear_refs", "4"));
	*(volatile char *)(self->p + 9 * PAGE + 64) = 1;
	for (int order = 5; order >= 0; order -= 5) {
		ASSERT_EQ(split_range(self->p, PAGES, order), 0);
		EXPECT_TRUE(pagemap_of(self->p + 9 * PAGE) & PM_SOFT_DIRTY);
		/* A PMD says it of all its pages. */
		for (size_t i = 0; i < PAGES && variant->how == BY_PTES; i++)
			ASSERT_EQ(!!(pagemap_of(self->p + i * PAGE) & PM_SOFT_DIRTY), i == 9);
	}
}

TEST_F(split, stays_clean)
{
	size_t i;

	ASSERT_TRUE(write_text("/proc/self/clear_refs", "4"));
	ASSERT_EQ(split_range(self->p, PAGES, 0), 0);
	for (i = 0; i < PAGES; i++)
		ASSERT_FALSE(pagemap_of(self->p + i * PAGE) & PM_SOFT_DIRTY) TH_LOG("page %zu", i);
}

TEST_F(split, keeps_exclusive)
{
	ASSERT_EQ(split_range(self->p, PAGES, 0), 0);
	for (size_t i = 0; i < PAGES; i++)
		ASSERT_TRUE(pagemap_of(self->p + i * PAGE) & PM_EXCLUSIVE);
	/* No copy is needed. */
	uint64_t pfn = frame_of(self->p + 5 * PAGE);

	*(volatile char *)(self->p + 5 * PAGE + 64) = 1;
	EXPECT_EQ(frame_of(self->p + 5 * PAGE), pfn);
}

TEST_F(split, keeps_read_only)
{
	ASSERT_EQ(mprotect(self->p, HUGE, PROT_READ), 0);
	ASSERT_EQ(split_range(self->p, PAGES, 0), 0);
	int fd = open("/dev/zero", O_RDONLY);

	for (size_t i = 0; i < PAGES; i += 37) {
		errno = 0;
		ASSERT_EQ(read(fd, self->p + i * PAGE, 1), -1);
		ASSERT_EQ(errno, EFAULT);
	}
	close(fd);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

TEST_F(split, keeps_flags)
{
	static const int bits[] = { KPF_SWAPBACKED, KPF_ANON, KPF_REFERENCED, KPF_ACTIVE };
	uint64_t before = flags_at(self->p), now;
	size_t i, b;

	ASSERT_EQ(split_range(self->p, PAGES, 0), 0);
	for (i = 0; i < PAGES; i++) {
		now = flags_at(self->p + i * PAGE);
		for (b = 0; b < ARRAY_SIZE(bits); b++)
			ASSERT_EQ(!!(now & KPF(bits[b])), !!(before & KPF(bits[b])))
				TH_LOG("page %zu, bit %d", i, bits[b]);
		/* The folio's, or else the mapping's. */
		ASSERT_TRUE(now & KPF(KPF_DIRTY));
	}
}

/* Parts stay where reclaim does not look, until they are unlocked, all of them. */
TEST_F(split, keeps_mlocked)
{
	ASSERT_EQ(mlock(self->p, HUGE), 0);
	settle_lru();
	ASSERT_EQ(split_range(self->p, PAGES, 0), 0);
	settle_lru();
	EXPECT_EQ(pages_with(self->p, PAGES, KPF_MLOCKED), PAGES);
	EXPECT_EQ(pages_with(self->p, PAGES, KPF_UNEVICTABLE), PAGES);
	EXPECT_EQ(pages_with(self->p, PAGES, KPF_LRU), PAGES);
	ASSERT_EQ(munlock(self->p, HUGE), 0);
	settle_lru();
	EXPECT_EQ(pages_with(self->p, PAGES, KPF_MLOCKED), 0);
	EXPECT_EQ(pages_with(self->p, PAGES, KPF_UNEVICTABLE), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
}

TEST_F(split, keeps_uffd_wp)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register reg = {
		.range = { (uintptr_t)self->p, HUGE }, .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)self->p, HUGE }, .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(ioctl(fd, UFFDIO_API, &api), 0);
	ASSERT_EQ(ioctl(fd, UFFDIO_REGISTER, &reg), 0);
	ASSERT_EQ(ioctl(fd, UFFDIO_WRITEPROTECT, &wp), 0);
	ASSERT_EQ(split_range(self->p, PAGES, 4), 0);
	ASSERT_EQ(split_range(self->p, PAGES, 0), 0);
	for (size_t i = 0; i < PAGES; i++)
		ASSERT_TRUE(pagemap_of(self->p + i * PAGE) & PM_UFFD_WP);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	close(fd);
	*(volatile char *)(self->p + 64) = 1;
}

/* Pages of zeroes are given back, and read as zeroes; not if they are locked. */
TEST_F(split, zeroes_go)
{
	bool locked = variant->how == BY_PTES;

	for (size_t i = 0; i < PAGES; i += 2)
		memset(self->p + i * PAGE, 0, PAGE);
	if (locked)
		ASSERT_EQ(mlock(self->p, HUGE), 0);
	ASSERT_EQ(split_range(self->p, PAGES, 0), 0);
	EXPECT_EQ(smaps_kb(self->p, "Rss"), locked ? 2048 : 1024);
	for (size_t i = 0; i < PAGES; i++) {
		uint64_t flags = flags_at(self->p + i * PAGE);

		ASSERT_EQ(!!(flags & KPF(KPF_ZERO_PAGE)), !locked && !(i & 1));
		if (i & 1) {
			ASSERT_TRUE(thp_page_is(self->p + i * PAGE, i));
		} else {
			ASSERT_EQ(*(volatile uint64_t *)(self->p + i * PAGE + 8), 0);
		}
	}
	*(volatile uint64_t *)self->p = 5;
	EXPECT_EQ(*(volatile uint64_t *)self->p, 5);
	EXPECT_EQ(*(volatile uint64_t *)(self->p + 2 * PAGE), 0);
}

/* --- a range ---------------------------------------------------------------------------- */

static const struct { size_t first, nr; } ranges[] = {
	{ 0, 1 }, { 511, 1 }, { 77, 1 }, { 100, 10 }, { 0, 256 }, { 256, 256 }, { 255, 2 }, { 1, 510 }, { 2, 509 },
	{ 3, 128 }, { 384, 64 },
};

/* What a program says of a part of a folio leaves the rest in folios as large as can be. */
TEST_F(split, part)
{
	static const int advices[] = { MADV_COLD, MADV_FREE };
	char begins[PAGES];
	long sizes;
	size_t r, a;

	for (r = 0; r < ARRAY_SIZE(ranges); r++) {
		for (a = 0; a < ARRAY_SIZE(advices); a++) {
			munmap(self->p, HUGE);
			self->p = variant->how == BY_PMD ? thp_new() : thp_new_ptes();
			settle_lru();
			sizes = size_count("64kB", "nr_anon");
			ASSERT_EQ(madvise(self->p + ranges[r].first * PAGE, ranges[r].nr * PAGE, advices[a]), 0);
			memset(begins, 0, sizeof(begins));
			want_parts(begins, 0, PAGES, ranges[r].first, ranges[r].first + ranges[r].nr);
			EXPECT_EQ(not_parted(self->p, begins), 0)
				TH_LOG("%zu pages from %zu", ranges[r].nr, ranges[r].first);
			EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
			EXPECT_EQ(smaps_kb(self->p, "Rss"), 2048);
			EXPECT_EQ(pages_with(self->p, PAGES, KPF_LRU), PAGES);
			for (long i = 0, n = 0; i < (long)PAGES; i += 16) {
				n = begins[i] && (i + 16 == (long)PAGES || begins[i + 16]);
				for (int k = 1; n && k < 16; k++)
					n = !begins[i + k];
				sizes += n;
			}
			EXPECT_EQ(size_count("64kB", "nr_anon"), sizes);
		}
	}
}

/* Two processes have it: it stays one for both, as what one says does not hold for the other. */
TEST_F(split, part_of_shared)
{
	int down[2];
	char c = 0;
	pid_t pid;

	ASSERT_EQ(pipe(down), 0);
	pid = fork();
	if (!pid) {
		close(down[1]);
		_exit(read(down[0], &c, 1) < 0);
	}
	settle_lru();
	ASSERT_EQ(madvise(self->p + 100 * PAGE, PAGE, MADV_COLD), 0);
	EXPECT_EQ(not_of_order(self->p, 9), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	close(down[0]);
	close(down[1]);
	waitpid(pid, NULL, 0);
}

static sigjmp_buf bus;

/* Who reports the error of a page that it maps may be told of it at once. */
static void on_bus(int sig)
{
	siglongjmp(bus, sig);
}

/* Only the page that is bad, or is going bad, leaves its folio. */
TEST_F(split, bad_page)
{
	static const struct { int advice; const char *name; } ways[] = {
		{ MADV_SOFT_OFFLINE, "soft offline" }, { MADV_HWPOISON, "memory failure" },
	};
	char begins[PAGES];
	volatile size_t w;
	size_t i, wrong;

	signal(SIGBUS, on_bus);
	for (w = 0; w < ARRAY_SIZE(ways); w++) {
		munmap(self->p, HUGE);
		self->p = variant->how == BY_PMD ? thp_new() : thp_new_ptes();
		settle_lru();
		if (!sigsetjmp(bus, 1))
			ASSERT_EQ(madvise(self->p + 77 * PAGE, PAGE, ways[w].advice), 0)
				TH_LOG("%s: %s", ways[w].name, strerror(errno));
		memset(begins, 0, sizeof(begins));
		want_parts(begins, 0, PAGES, 77, 78);
		EXPECT_EQ(not_parted(self->p, begins), 0)
			TH_LOG("%s", ways[w].name);
		for (i = wrong = 0; i < PAGES; i++)
			if (i != 77 || ways[w].advice == MADV_SOFT_OFFLINE)
				wrong += !thp_page_is(self->p + i * PAGE, i);
		EXPECT_EQ(wrong, 0);
	}
}

/* --- files ------------------------------------------------------------------------------ */

FIXTURE(shmem) { char *p; int fd; };
FIXTURE_SETUP(shmem)
{
	self->p = thp_new_shmem(&self->fd);
	settle_lru();
}
FIXTURE_TEARDOWN(shmem)
{
	munmap(self->p, HUGE);
	close(self->fd);
}

TEST_F(shmem, stays_what_it_is)
{
	static char buf[PAGE];

	ASSERT_EQ(split_range(self->p, PAGES, 0), 0);
	EXPECT_EQ(thp_wrong(self->p, PAGES), 0);
	EXPECT_EQ(not_of_order(self->p, 0), 0);
	EXPECT_EQ(smaps_kb(self->p, "ShmemPmdMapped"), 0);
	for (size_t i = 0; i < PAGES; i++) {
		ASSERT_EQ(pread(self->fd, buf, PAGE, i * PAGE), PAGE);
		ASSERT_TRUE(thp_page_is(buf, i));
	}
}

/* Parts beyond the file's end go, and their blocks with them. */
TEST_F(shmem, beyond_the_end)
{
	struct stat st;

	ASSERT_EQ(ftruncate(self->fd, 100 * PAGE + 5), 0);
	ASSERT_EQ(fstat(self->fd, &st), 0);
	EXPECT_EQ(st.st_blocks, 101 * 8);
	EXPECT_EQ(thp_wrong(self->p, 100), 0);
	EXPECT_EQ(not_of_order(self->p, 0), 0);
}

TEST_F(shmem, hole)
{
	struct stat st;

	ASSERT_EQ(fallocate(self->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 64 * PAGE, 64 * PAGE), 0);
	ASSERT_EQ(fstat(self->fd, &st), 0);
	EXPECT_EQ(st.st_blocks, (512 - 64) * 8);
	EXPECT_EQ(thp_wrong(self->p, 64), 0);
	EXPECT_EQ(*(volatile uint64_t *)(self->p + 64 * PAGE), 0);
	for (size_t i = 128; i < PAGES; i++)
		ASSERT_TRUE(thp_page_is(self->p + i * PAGE, i));
}

TEST_F(shmem, by_its_file)
{
	char text[256], name[64];

	snprintf(name, sizeof(name), HUGE_TMPFS "/%d", getpid());
	int fd = open(name, O_RDWR | O_CREAT, 0600);

	ASSERT_EQ(ftruncate(fd, HUGE), 0);
	char *p = thp_room(PAGES, MAP_SHARED, fd);

	thp_fill(p, PAGES);
	snprintf(text, sizeof(text), "%s,0x0,0x200", name);
	EXPECT_EQ(split_write(text), 0);
	EXPECT_EQ(thp_wrong(p, PAGES), 0);
	EXPECT_EQ(not_of_order(p, 0), 0);
	munmap(p, HUGE);
	close(fd);
	unlink(name);
}

/* --- what means nothing ----------------------------------------------------------------- */

TEST(refused)
{
	static const char *const einval[] = {
		"2", "x", "1,", "1,2,3", "1,0x0", "1,0x0,", "1,0x0,0xg", "1,0x0,0x1000,", "1,0x0,0x1000,x",
		"1,0x0,0x1000,0,", "1,0x0,0x1000,-1", "1,0x0,0x1000,99", "/", "/x,", "/tmp", "/tmp,0x0",
		"/tmp,0x0,0x1,x", "/tmp,0,1",
	};
	char text[9000];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(einval); i++)
		EXPECT_EQ(split_write(einval[i]), EINVAL) TH_LOG("'%s'", einval[i]);
	EXPECT_EQ(split_write("99999999,0x0,0x1000"), ESRCH);
	/* A kernel thread has no memory. */
	EXPECT_EQ(split_write("2,0x0,0x1000"), EINVAL);
	EXPECT_EQ(split_write("/nowhere/at/all,0x0,0x1"), ENOENT);
	memset(text, 'a', sizeof(text));
	text[0] = '/';
	text[sizeof(text) - 1] = 0;
	EXPECT_EQ(split_write(text), EINVAL);
}

/* Neither a hole nor a VMA without folios ends the walk; not a page is missed behind them. */
TEST(walk_goes_on)
{
	char *p = thp_room(4 * PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	thp_fill(p, 4 * PAGES);
	munmap(p + HUGE, HUGE);
	ASSERT_EQ(split_range(p, 4 * PAGES, 0), 0);
	EXPECT_EQ(not_of_order(p, 0), 0);
	EXPECT_EQ(not_of_order(p + 2 * HUGE, 0), 0);
	EXPECT_EQ(not_of_order(p + 3 * HUGE, 0), 0);
	munmap(p, 4 * HUGE);
}

TEST(all_of_memory)
{
	char *p = thp_new(), *q = thp_new_ptes();

	settle_lru();
	ASSERT_EQ(split_write("1"), 0);
	EXPECT_EQ(not_of_order(p, 0), 0);
	EXPECT_EQ(not_of_order(q, 0), 0);
	EXPECT_EQ(thp_wrong(p, PAGES) + thp_wrong(q, PAGES), 0);
	munmap(p, HUGE);
	munmap(q, HUGE);
}

int main(int argc, char **argv)
{
	mount_huge();
	return test_harness_run(argc, argv);
}

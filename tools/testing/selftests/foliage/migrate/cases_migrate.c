// SPDX-License-Identifier: GPL-2.0
/*
 * What users met when their pages moved, were unmapped or taken apart, one test for each: moves
 * against soft offlining, policies over memory of devices, reads of a file whose pages are being
 * reclaimed, huge pages that are looked at while they move, bits that were lost when pages of
 * zeroes were given back, and counts of huge pages that did not return.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "harness.h"
#include "migrate.h"
#include "proc.h"

#define HEAD	512UL		/* pages of a huge page */
#define PAGES	(2 * HEAD)

static long kib_of(const char *name)
{
	static char text[8192];
	char *p;

	if (!read_text("/proc/meminfo", text, sizeof(text)))
		fail_setup("/proc/meminfo");
	p = strstr(text, name);
	return p ? atol(p + strlen(name)) : -1;
}

/* --- soft offlining ---------------------------------------------------------------------- */

static atomic_bool stop;
static atomic_long moves, odd;

/* What the manual says of a page that does not move, and that it may be gone for a moment. */
static bool told_by_the_manual(int status)
{
	return status >= 0 || status == -EBUSY || status == -ENOENT || status == -ENOMEM ||
	       status == -EIO || status == -EFAULT;
}

static void *move_forever(void *arg)
{
	static void *addr[PAGES];
	static int nodes[PAGES], status[PAGES];
	struct mem *m = arg;
	size_t n = m->pages / m->step;

	for (int node = 1; !stop; node = !node) {
		long ret;

		for (size_t i = 0; i < n; i++) {
			addr[i] = m->p + i * m->step * PAGE;
			nodes[i] = node;
			status[i] = 0;
		}
		ret = move_pages_raw(0, n, addr, nodes, status, MOVE_ALL);
		odd += ret < 0 && ret != -ENOENT && ret != -EBUSY && ret != -ENOMEM;
		for (size_t i = 0; i < n; i++)
			odd += !told_by_the_manual(status[i]);
		moves++;
	}
	return NULL;
}

static void offline_while_moved(struct __test_metadata *_metadata, enum mem_kind kind, size_t pages)
{
	long corrupted = kib_of("HardwareCorrupted:"), good = 0, tries = 0;
	pthread_t thread;
	struct mem m;

	if (kind == M_HUGETLB)
		write_text("/proc/sys/vm/nr_hugepages", "16");
	mem_make(&m, kind, pages);
	stop = false;
	moves = 0;
	odd = 0;
	ASSERT_EQ(pthread_create(&thread, NULL, move_forever, &m), 0);
	for (; good < 10 && tries < 4000; tries++) {
		size_t i = tries % (pages / m.step) * m.step;

		usleep(200);
		if (!madvise(m.p + i * PAGE, m.step * PAGE, MADV_SOFT_OFFLINE)) {
			good++;
			continue;
		}
		EXPECT_TRUE(errno == EBUSY || errno == EIO || errno == EAGAIN || errno == ENOMEM)
			TH_LOG("kind %d: %s", kind, strerror(errno));
	}
	stop = true;
	pthread_join(thread, NULL);
	TH_LOG("kind %d: %ld of %ld offline, %ld rounds of moves", kind, good, tries, moves);
	EXPECT_EQ(good, 10);
	EXPECT_GE(moves, 1);
	EXPECT_EQ(odd, 0);
	EXPECT_EQ(mem_wrong(&m), 0);
	EXPECT_GE(kib_of("HardwareCorrupted:") - corrupted, 4 * good);
	EXPECT_LE(kib_of("HardwareCorrupted:") - corrupted, 4 * tries);
	mem_free(&m);
}

/*
 * A test suite moved pages while another task put them out of use: errors that no manual names, and
 * memory that was lost. Each page that is out of use is counted.
 */
TEST(moved_and_put_out_of_use)
{
	offline_while_moved(_metadata, M_4K, 64);
	offline_while_moved(_metadata, M_SHMEM, 64);
	offline_while_moved(_metadata, M_HUGETLB, 4 * HEAD / 2);
}

/* --- policies over memory of devices ------------------------------------------------------ */

static long bind_strictly(char *p, size_t pages)
{
	unsigned long node = 2;
	long ret = syscall(SYS_mbind, p, pages * PAGE, MPOL_BIND, &node, 64,
			   MPOL_MF_MOVE | MPOL_MF_STRICT);

	return ret < 0 ? -errno : ret;
}

/* Buffers that a socket shares with the program: ordinary pages, but on no LRU list. */
static char *packet_ring(size_t pages)
{
	struct tpacket_req req = {
		.tp_block_size = PAGE, .tp_block_nr = pages,
		.tp_frame_size = PAGE, .tp_frame_nr = pages,
	};
	int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
	char *p;

	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req)))
		return NULL;
	p = mmap(NULL, pages * PAGE, RW, MAP_SHARED, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

/* A program bound all of its memory strictly, its socket's buffers too, and the kernel crashed. */
TEST(mbind_of_a_packet_ring)
{
	char *mixed = mem_map(16, RW, ANON, -1), *p;
	void *addr;
	int status = 0;

	allocate_on(0);
	p = packet_ring(8);
	if (!p)
		SKIP(return, "no packet sockets");
	EXPECT_EQ(bind_strictly(p, 8), -EIO);
	/* The pages before it move, and nothing is wrong with them. */
	ASSERT_EQ(mremap(p, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, mixed + 8 * PAGE),
		  mixed + 8 * PAGE);
	memset(mixed, 7, 8 * PAGE);
	allocate_on(-1);
	EXPECT_EQ(bind_strictly(mixed, 16), -EIO);
	addr = mixed + 9 * PAGE;
	move_pages_raw(0, 1, &addr, &(int){ 1 }, &status, MOVE_OWN);
	EXPECT_LT(status, 0);
	for (size_t i = 0; i < 8 * PAGE; i += PAGE)
		EXPECT_EQ(mixed[i], 7);
	mixed[8 * PAGE] = 1;
	munmap(mixed, 16 * PAGE);
}

/* Frames without an owner: the BIOS, by way of /dev/mem. */
static char *bios(size_t pages)
{
	int fd = open("/dev/mem", O_RDONLY);
	char *p = MAP_FAILED;

	if (fd >= 0)
		p = mmap(NULL, pages * PAGE, PROT_READ, MAP_SHARED, fd, 0xf0000);
	close(fd);
	return p == MAP_FAILED ? NULL : p;
}

/*
 * The same for memory that is no page's. There is nothing in it that could be in the wrong place,
 * so stock says that all is well, and what is around it moves.
 */
TEST(mbind_of_device_memory)
{
	char *mixed = mem_map(24, RW, ANON, -1), *p = bios(8), *was = malloc(8 * PAGE);
	void *addr;
	int status;

	if (!p)
		SKIP(return, "no /dev/mem");
	memcpy(was, p, 8 * PAGE);
	EXPECT_EQ(bind_strictly(p, 8), 0);
	ASSERT_EQ(mremap(p, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, mixed + 8 * PAGE),
		  mixed + 8 * PAGE);
	p = mixed + 8 * PAGE;
	allocate_on(0);
	for (size_t i = 0; i < 24; i++)
		if (i / 8 != 1)
			memset(mixed + i * PAGE, 7, PAGE);
	allocate_on(-1);
	EXPECT_EQ(bind_strictly(mixed, 24), 0);
	for (size_t i = 0; i < 24; i++)
		if (i / 8 != 1)
			EXPECT_EQ(node_of(mixed + i * PAGE), 1);
	for (int node = 0; node < 2; node++) {
		status = 0;
		addr = p + PAGE;
		move_pages_raw(0, 1, &addr, &node, &status, MOVE_ALL);
		EXPECT_LT(status, 0);
	}
	EXPECT_EQ(memcmp(p, was, 8 * PAGE), 0);
	for (size_t i = 0; i < 24; i++)
		if (i / 8 != 1)
			EXPECT_EQ(mixed[i * PAGE + 9], 7);
	munmap(mixed, 24 * PAGE);
	free(was);
}

/* --- reads against reclaim ---------------------------------------------------------------- */

/* @gone: pages that had to come back, which is a major fault. */
static void page_out_forever(char *p, size_t pages, int fd, atomic_long *gone)
{
	struct rusage u;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		for (size_t i = 0; i < pages; i++)
			(void)*(volatile char *)(p + i * PAGE);
		/* Dirty pages of a disk's file would stay. */
		fdatasync(fd);
		madvise(p, pages * PAGE, MADV_PAGEOUT);
		getrusage(RUSAGE_SELF, &u);
		*gone = u.ru_majflt;
	}
}

/*
 * A kernel had a moment between the end of reclaim's look and a new mapping in which a reader
 * got the page that was given up. Another process reads the file's pages and pages them out all the
 * time, which it can as long as nobody else maps them; what was written last is read by way of a
 * new mapping of each page.
 */
static void never_stale(struct __test_metadata *_metadata, enum kind kind)
{
	const size_t pages = 64;
	atomic_long *gone = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	time_t end = time(NULL) + 20;
	uint64_t now = 0, seen;
	struct region r;
	size_t stale = 0;
	pid_t pid;

	region_make(&r, kind, pages);
	pid = fork();
	if (!pid)
		page_out_forever(r.p, pages, r.fd, gone);
	for (; now < 3000 || (*gone < 50 && time(NULL) < end); now++) {
		size_t at = now * 7 % pages * PAGE;

		if (now % 2)
			*(volatile uint64_t *)(r.p + at) = now;
		else
			ASSERT_EQ(pwrite(r.fd, &now, 8, at), 8);
		madvise(r.p + at, PAGE, MADV_DONTNEED);
		stale += *(volatile uint64_t *)(r.p + at) != now;
		ASSERT_EQ(pread(r.fd, &seen, 8, at), 8);
		stale += seen != now;
		madvise(r.p + at, PAGE, MADV_DONTNEED);
	}
	TH_LOG("kind %d: %lu writes, %ld pages came back", kind, now, *gone);
	EXPECT_EQ(stale, 0);
	EXPECT_GE(*gone, 5);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	region_free(&r);
	munmap(gone, PAGE);
}

TEST(never_stale_while_reclaimed)
{
	need_swap();
	never_stale(_metadata, FILE_EXT4);
	never_stale(_metadata, SHMEM);
}

/* --- looked at while they move ------------------------------------------------------------ */

/* All that follows entries of page tables to a folio, once. */
static void look_everywhere(struct __test_metadata *_metadata, struct mem *m, int pagemap, int idle,
			    int flags)
{
	static struct page_region vec[PAGES];
	static uint64_t map[PAGES], word;
	struct pm_scan_arg arg = scan_of(m->p, m->pages, vec, PAGES);

	arg.flags = PM_SCAN_WP_MATCHING;
	arg.category_mask = PAGE_IS_WRITTEN;
	ASSERT_GE(ioctl(pagemap, PAGEMAP_SCAN, &arg), 0);
	ASSERT_EQ(pread(pagemap, map, m->pages * 8, (uintptr_t)m->p / PAGE * 8),
		  (ssize_t)m->pages * 8);
	for (size_t i = 0; i < m->pages; i += 61) {
		uint64_t pfn = map[i] & PM_FRAME;

		if (!(map[i] & PM_PRESENT) || !pfn)
			continue;
		word = ~0ULL;
		ASSERT_EQ(pwrite(idle, &word, 8, pfn / 64 * 8), 8);
		ASSERT_EQ(pread(idle, &word, 8, pfn / 64 * 8), 8);
		ASSERT_EQ(pread(flags, &word, 8, pfn * 8), 8);
	}
}

/* New huge pages where the old ones were, which nobody has protected; -> what tracks writes to them. */
static int renew(struct mem *m)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC };
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)m->p, .len = m->pages * PAGE },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (mmap(m->p, m->pages * PAGE, RW, ANON | MAP_FIXED, -1, 0) != m->p ||
	    madvise(m->p, m->pages * PAGE, MADV_HUGEPAGE) || fd < 0 ||
	    ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		fail_setup("memory whose writes are tracked");
	mem_fill(m);
	return fd;
}

/* Until a move has begun, or a while has gone by. */
static bool wait_for_a_move(int pagemap, const struct mem *m)
{
	uint64_t entry = 0;

	for (int i = 0; i < 3000; i++) {
		if (pread(pagemap, &entry, 8, (uintptr_t)m->p / PAGE * 8) == 8 && entry & PM_SWAP)
			return true;
	}
	return false;
}

/*
 * The entry of a huge page that is being moved was taken for one of a page that is there: by
 * monitors, by splits and by protection.
 */
TEST(looked_at_while_moved)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY), idle = bitmap_open(O_RDWR);
	int flags = open("/proc/kpageflags", O_RDONLY);
	long before = vm_count("thp_migration_success"), moved = 0, met = 0;
	time_t end = time(NULL) + 20;
	pthread_t thread;
	struct mem m;

	ASSERT_GE(flags, 0);
	mem_make(&m, M_THP, PAGES);
	stop = false;
	ASSERT_EQ(pthread_create(&thread, NULL, move_forever, &m), 0);
	for (int i = 0; (i < 40 || moved < 40) && time(NULL) < end; i++) {
		int track = renew(&m);

		for (int k = 0; k < 3; k++) {
			met += wait_for_a_move(pagemap, &m);
			look_everywhere(_metadata, &m, pagemap, idle, flags);
		}
		mprotect(m.p + 77 * PAGE, PAGE, PROT_READ);
		mprotect(m.p + 77 * PAGE, PAGE, RW);
		look_everywhere(_metadata, &m, pagemap, idle, flags);
		EXPECT_EQ(mem_wrong(&m), 0);
		mem_fill(&m);
		EXPECT_EQ(mem_wrong(&m), 0);
		close(track);
		moved = vm_count("thp_migration_success") - before;
	}
	stop = true;
	pthread_join(thread, NULL);
	TH_LOG("%ld huge pages moved, %ld met", moved, met);
	EXPECT_GE(met, 10);
	close(pagemap);
	close(idle);
	close(flags);
	mem_free(&m);
}

/* --- huge pages of zeroes ---------------------------------------------------------------- */

#define MAX_NONE	THP_DIR "khugepaged/max_ptes_none"

/* Let huge pages that are mostly zeroes be taken apart. */
static bool split_underused(void)
{
	long before = vm_count("thp_underused_split_page");

	for (int i = 0; i < 10 && vm_count("thp_underused_split_page") < before + 2; i++)
		write_text("/proc/sys/vm/drop_caches", "2");
	return vm_count("thp_underused_split_page") >= before + 2;
}

static size_t bits_wrong(const char *p, uint64_t bit, size_t every)
{
	static uint64_t map[PAGES];
	size_t n = 0;

	pagemap_read(p, PAGES, map);
	for (size_t i = 0; i < PAGES; i++)
		n += !!(map[i] & bit) != !(i % every);
	return n;
}

static char *mostly_zeroes(void)
{
	char *p = mem_map(PAGES, RW, ANON, -1);

	madvise(p, PAGES * PAGE, MADV_HUGEPAGE);
	for (size_t i = 0; i < PAGES; i += HEAD)
		*(volatile char *)(p + i * PAGE) = 1;
	settle_lru();
	if (!(frame_flags(frame_of(p)) & KPF(KPF_THP)))
		fail_setup("no huge page");
	return p;
}

static void track_every(char *p, size_t every, int fd)
{
	for (size_t i = 0; i < PAGES; i += every) {
		struct uffdio_writeprotect wp = {
			.range = { .start = (uintptr_t)p + i * PAGE, .len = PAGE },
			.mode = UFFDIO_WRITEPROTECT_MODE_WP,
		};

		if (ioctl(fd, UFFDIO_WRITEPROTECT, &wp))
			fail_setup("UFFDIO_WRITEPROTECT");
	}
}

/*
 * Under pressure a huge page that is mostly zeroes is taken apart, and pages of zeroes are given
 * back for the one zero page. What was armed for them was lost: writes to them were not noticed.
 */
TEST(zeroes_given_back_keep_their_bits)
{
	size_t zeroes = 0;
	char was[32], *p;
	int track;

	need_swap();
	ASSERT_TRUE(read_text(MAX_NONE, was, sizeof(was)));
	ASSERT_TRUE(write_text(MAX_NONE, "100"));
	/* Protected one by one. */
	p = mostly_zeroes();
	track = track_writes(p, PAGES * PAGE);
	track_every(p, 3, track);
	EXPECT_EQ(bits_wrong(p, PM_UFFD_WP, 3), 0);
	ASSERT_TRUE(split_underused());
	for (size_t i = 0; i < PAGES; i++)
		zeroes += frame_of(p + i * PAGE) == frame_of(p + PAGE);
	EXPECT_GT(zeroes, PAGES / 2);
	EXPECT_EQ(bits_wrong(p, PM_UFFD_WP, 3), 0);
	for (size_t i = 0; i < PAGES; i++)
		*(volatile char *)(p + i * PAGE) += 1;
	EXPECT_EQ(bits_wrong(p, PM_UFFD_WP, PAGES + 1), 1);
	for (size_t i = 0; i < PAGES; i++)
		EXPECT_EQ(p[i * PAGE], i % HEAD ? 1 : 2);
	close(track);
	munmap(p, PAGES * PAGE);

	/* Soft-dirty, all of it, and none of it. */
	for (int clear = 0; clear < 2; clear++) {
		p = mostly_zeroes();
		if (clear)
			ASSERT_TRUE(write_text("/proc/self/clear_refs", "4"));
		EXPECT_EQ(bits_wrong(p, PM_SOFT_DIRTY, 1), clear ? PAGES : 0);
		ASSERT_TRUE(split_underused());
		EXPECT_EQ(bits_wrong(p, PM_SOFT_DIRTY, 1), clear ? PAGES : 0);
		munmap(p, PAGES * PAGE);
	}
	write_text(MAX_NONE, was);
}

/* --- counts of huge pages ----------------------------------------------------------------- */

static const char * const huge_counts[] = {
	"ShmemPmdMapped:", "FilePmdMapped:", "ShmemHugePages:", "FileHugePages:", "AnonHugePages:",
};

/*
 * Counts of huge pages in /proc/meminfo did not return to 0, and what had been written by way of a
 * huge mapping was lost when it was unmapped and reclaimed.
 */
TEST(huge_counts_return)
{
	long before[ARRAY_SIZE(huge_counts)];
	struct mem m, again;

	need_swap();
	settle_lru();
	for (size_t i = 0; i < ARRAY_SIZE(huge_counts); i++)
		before[i] = kib_of(huge_counts[i]);
	mem_make(&m, M_SHMEM_HUGE, PAGES);
	EXPECT_EQ(kib_of("ShmemPmdMapped:") - before[0], (long)PAGES * 4);
	EXPECT_EQ(kib_of("ShmemHugePages:") - before[2], (long)PAGES * 4);
	for (int node = 1; node >= 0; node--) {
		EXPECT_EQ(mem_move(&m, node), PAGES);
		EXPECT_EQ(kib_of("ShmemHugePages:") - before[2], (long)PAGES * 4);
	}
	/* One of the two by small entries. */
	mprotect(m.p + 5 * PAGE, PAGE, PROT_READ);
	mprotect(m.p + 5 * PAGE, PAGE, RW);
	/* Faults map a huge page as such again only where nothing is mapped. */
	EXPECT_EQ(kib_of("ShmemPmdMapped:") - before[0], (long)HEAD * 4);
	mem_fill(&m);
	madvise(m.p, PAGES * PAGE, MADV_DONTNEED);
	EXPECT_EQ(kib_of("ShmemPmdMapped:"), before[0]);
	again = m;
	again.p = mem_map(PAGES, RW, MAP_SHARED, m.fd);
	EXPECT_EQ(mem_wrong(&again), 0);
	for (int i = 0; i < 4; i++) {
		settle_lru();
		madvise(again.p, PAGES * PAGE, MADV_PAGEOUT);
	}
	EXPECT_EQ(mem_wrong(&again), 0);
	EXPECT_EQ(mem_wrong(&m), 0);
	munmap(again.p, PAGES * PAGE);
	mem_free(&m);
	for (size_t i = 0; i < ARRAY_SIZE(huge_counts); i++) {
		EXPECT_EQ(kib_of(huge_counts[i]), before[i])
			TH_LOG("%s", huge_counts[i]);
	}
}

static void __attribute__((constructor)) before_all(void)
{
	mem_mount_huge();
}

TEST_HARNESS_MAIN

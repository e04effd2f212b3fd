// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "foliage.h"

#define MTHP_64K	"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled"
#define EXT4_DIR	"/tmp/foliage-ext4"

void fail_setup(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("Bail out! ");
	vprintf(fmt, ap);
	printf(": %s\n", strerror(errno));
	va_end(ap);
	fflush(stdout);
	_exit(1);
}

/*
 * A fork and clear_refs write-protect a program's own memory too. The first getrusage() takes the
 * fault on this stack, and the write the one that the kernel itself would take when the task is
 * preempted: it keeps the number of the processor in the rseq area. The byte behind it is unused.
 */
long own_faults(void)
{
	volatile char *rseq = (char *)__builtin_thread_pointer() + __rseq_offset;
	struct rusage u;

	rseq[sizeof(struct rseq) - 1] = 0;
	getrusage(RUSAGE_THREAD, &u);
	getrusage(RUSAGE_THREAD, &u);
	return u.ru_minflt + u.ru_majflt;
}

bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	ssize_t n;

	if (fd < 0)
		return false;
	n = write(fd, text, strlen(text));
	close(fd);
	return n == (ssize_t)strlen(text);
}

bool read_text(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n, got = 0;

	if (fd < 0)
		return false;
	while (got < (ssize_t)size - 1 && (n = read(fd, buf + got, size - 1 - got)) > 0)
		got += n;
	close(fd);
	buf[got] = 0;
	return true;
}

/*
 * To open a file is dear on a kernel with every check on, and tests ask of each page: the files
 * stay open. Those of a parent tell of the parent's memory, so that a child opens its own.
 */
static void entries_read(bool frames, uint64_t index, uint64_t *to, size_t n)
{
	static const char * const files[] = { "/proc/self/pagemap", "/proc/kpageflags" };
	static __thread int fds[2];
	static __thread pid_t owner;

	for (int i = 0; i < 2 && owner != getpid(); i++)
		fds[i] = open(files[i], O_RDONLY | O_CLOEXEC);
	owner = getpid();
	if (pread(fds[frames], to, n * 8, index * 8) != (ssize_t)n * 8)
		fail_setup("%s, entry %llu", files[frames], (unsigned long long)index);
}

void frames_of(const void *addr, uint64_t *pfn, size_t pages)
{
	entries_read(false, (uintptr_t)addr / PAGE, pfn, pages);
	for (size_t i = 0; i < pages; i++)
		pfn[i] = pfn[i] >> 63 ? pfn[i] & ((1ULL << 55) - 1) : 0;
}

uint64_t frame_of(const void *addr)
{
	uint64_t pfn;

	frames_of(addr, &pfn, 1);
	return pfn;
}

uint64_t frame_flags(uint64_t pfn)
{
	uint64_t flags;

	entries_read(true, pfn, &flags, 1);
	return flags;
}

void flags_of(const void *addr, uint64_t *flags, size_t pages)
{
	size_t n;

	frames_of(addr, flags, pages);
	for (size_t i = 0; i < pages; i += n) {
		for (n = 1; i + n < pages && flags[i] && flags[i + n] == flags[i] + n; n++)
			;
		if (flags[i])
			entries_read(true, flags[i], flags + i, n);
	}
}

uint64_t frames_total(void)
{
	/* The bitmap has no size of its own: its end is where reads end. */
	uint64_t lo = 0, hi = 1ULL << 40, word;
	int fd = bitmap_open(O_RDONLY);

	while (hi - lo > 1) {
		uint64_t mid = (lo + hi) / 2;

		if (pread(fd, &word, 8, mid * 8) == 8)
			lo = mid;
		else
			hi = mid;
	}
	close(fd);
	return hi * 64;
}

int bitmap_open(int flags)
{
	int fd = open(BITMAP, flags);

	if (fd < 0)
		fail_setup("%s: a kernel with CONFIG_IDLE_PAGE_TRACKING and root are needed", BITMAP);
	return fd;
}

uint64_t word_read(uint64_t pfn)
{
	uint64_t v;
	int fd = bitmap_open(O_RDONLY);

	if (pread(fd, &v, 8, pfn / 64 * 8) != 8)
		fail_setup("read of the bitmap at frame %llu", (unsigned long long)pfn);
	close(fd);
	return v;
}

void word_mark(uint64_t pfn, uint64_t bits)
{
	int fd = bitmap_open(O_WRONLY);

	if (pwrite(fd, &bits, 8, pfn / 64 * 8) != 8)
		fail_setup("write of the bitmap at frame %llu", (unsigned long long)pfn);
	close(fd);
}

bool frame_idle(uint64_t pfn)
{
	return word_read(pfn) >> (pfn % 64) & 1;
}

void frame_mark(uint64_t pfn)
{
	word_mark(pfn, 1ULL << (pfn % 64));
}

/* Call @fn once for each window that holds a frame of the region. */
static void each_window(const struct region *r, void (*fn)(const struct region *, uint64_t, void *),
			void *arg)
{
	for (size_t i = 0; i < r->pages; i++) {
		uint64_t w = r->pfn[i] / WINDOW_FRAMES;
		bool seen = false;

		for (size_t k = 0; k < i && !seen; k++)
			seen = r->pfn[k] / WINDOW_FRAMES == w;
		if (!seen)
			fn(r, w, arg);
	}
}

static void mark_window(const struct region *r, uint64_t w, void *arg)
{
	uint64_t words[WINDOW_BYTES / 8] = {};
	int fd = *(int *)arg;
	ssize_t want = WINDOW_BYTES, n;

	for (size_t i = 0; i < r->pages; i++)
		if (r->pfn[i] / WINDOW_FRAMES == w)
			words[r->pfn[i] % WINDOW_FRAMES / 64] |= 1ULL << (r->pfn[i] % 64);
	n = pwrite(fd, words, want, w * WINDOW_BYTES);
	if (n <= 0)
		fail_setup("mark of window %llu", (unsigned long long)w);
}

void region_mark(const struct region *r)
{
	int fd = bitmap_open(O_WRONLY);

	each_window(r, mark_window, &fd);
	close(fd);
}

struct reading {
	int fd;
	bool *idle;
};

static void read_window(const struct region *r, uint64_t w, void *arg)
{
	struct reading *rd = arg;
	uint64_t words[WINDOW_BYTES / 8] = {};

	if (pread(rd->fd, words, WINDOW_BYTES, w * WINDOW_BYTES) <= 0)
		fail_setup("read of window %llu", (unsigned long long)w);
	for (size_t i = 0; i < r->pages; i++)
		if (r->pfn[i] / WINDOW_FRAMES == w)
			rd->idle[i] = words[r->pfn[i] % WINDOW_FRAMES / 64] >> (r->pfn[i] % 64) & 1;
}

void region_read(const struct region *r, bool *idle)
{
	struct reading rd = { .fd = bitmap_open(O_RDONLY), .idle = idle };

	each_window(r, read_window, &rd);
	close(rd.fd);
}

void flush_tlb(void)
{
	/* More pages than the kernel invalidates one by one. */
	size_t len = 64 * PAGE;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fail_setup("mmap");
	for (size_t i = 0; i < len; i += PAGE)
		p[i] = 1;
	munmap(p, len);
}

void settle_lru(void)
{
	if (!write_text("/proc/sys/vm/drop_caches", "1"))
		fail_setup("/proc/sys/vm/drop_caches");
}

static bool ext4_mounted(void)
{
	struct statfs fs;

	return !statfs(EXT4_DIR, &fs) && fs.f_type == 0xef53;
}

static int ext4_file(void)
{
	char name[] = EXT4_DIR "/XXXXXX";
	int fd;

	if (!ext4_mounted() &&
	    system("mkdir -p " EXT4_DIR " && truncate -s 96M " EXT4_IMAGE " && mkfs.ext4 -q " EXT4_IMAGE
		   " && mount -o loop " EXT4_IMAGE " " EXT4_DIR))
		fail_setup("an ext4 file system on a loop device");
	fd = mkstemp(name);
	if (fd < 0)
		fail_setup("a file under %s", EXT4_DIR);
	unlink(name);
	return fd;
}

static void region_map(struct region *r, int flags)
{
	size_t len = r->pages * PAGE;
	char *p = mmap(NULL, len + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *at = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));

	if (p == MAP_FAILED)
		fail_setup("address space");
	r->p = mmap(at, len, PROT_READ | PROT_WRITE, flags | MAP_FIXED, r->fd, 0);
	if (r->p == MAP_FAILED)
		fail_setup("mmap of %zu pages", r->pages);
}

/*
 * khugepaged would collapse what is laid out here. It starts with the first eligible
 * mapping and comes back at intervals: give it one, and an interval of days.
 */
static void quiet_khugepaged(void)
{
	static char *decoy;

	if (decoy)
		return;
	write_text("/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs", "1000000000");
	decoy = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (decoy == MAP_FAILED)
		fail_setup("mmap");
	madvise(decoy, 2 * HUGE, MADV_HUGEPAGE);
	decoy[0] = 1;
	usleep(100000);
	/* The mapping is enough from now on; its memory would be counted as idle. */
	madvise(decoy, 2 * HUGE, MADV_DONTNEED);
}

void region_make(struct region *r, enum kind kind, size_t pages)
{
	quiet_khugepaged();
	*r = (struct region){ .kind = kind, .pages = pages, .step = 1, .fd = -1 };

	if (kind == SHMEM)
		r->fd = memfd_create("foliage", 0);
	else if (kind == FILE_EXT4)
		r->fd = ext4_file();
	if (r->fd >= 0 && ftruncate(r->fd, pages * PAGE))
		fail_setup("ftruncate");
	if (kind == HUGETLB)
		write_text("/proc/sys/vm/nr_hugepages", "8");
	region_map(r, r->fd >= 0 ? MAP_SHARED :
		   MAP_PRIVATE | MAP_ANONYMOUS | (kind == HUGETLB ? MAP_HUGETLB : 0));

	if (kind == ANON_64K && !write_text(MTHP_64K, "always"))
		fail_setup(MTHP_64K);
	if (kind == ANON_2M)
		madvise(r->p, pages * PAGE, MADV_HUGEPAGE);
	else if (kind == ANON_4K)
		madvise(r->p, pages * PAGE, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < pages; i++)
		r->p[i * PAGE] = 1 + i % 100;
	if (kind == ANON_64K) {
		write_text(MTHP_64K, "never");
		r->step = 16;
	} else if (kind == ANON_2M || kind == HUGETLB) {
		r->step = 512;
	}
	if (r->fd >= 0)
		fsync(r->fd);
	settle_lru();
	r->pfn = calloc(pages, sizeof(*r->pfn));
	region_frames(r);
	for (size_t i = 0; i < pages && r->step > 1; i += r->step)
		if (!(frame_flags(r->pfn[i]) & KPF(KPF_HEAD)))
			fail_setup("page %zu is not the head of a large folio of %zu pages", i, r->step);
}

void region_frames(struct region *r)
{
	frames_of(r->p, r->pfn, r->pages);
}

void region_free(struct region *r)
{
	munmap(r->p, r->pages * PAGE);
	if (r->fd >= 0)
		close(r->fd);
	if (r->kind == HUGETLB)
		write_text("/proc/sys/vm/nr_hugepages", "0");
	free(r->pfn);
}

void need_swap(void)
{
	char text[256];

	if (read_text("/proc/swaps", text, sizeof(text)) && strstr(text, "zram"))
		return;
	if (!write_text("/sys/block/zram0/disksize", "256M") ||
	    system("mkswap /dev/zram0 > /dev/null && swapon /dev/zram0"))
		fail_setup("swap on /dev/zram0");
}

void enter_cgroup(const char *name, char *path, size_t size)
{
	char file[300];

	write_text("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	snprintf(path, size, "/sys/fs/cgroup/%s", name);
	if (mkdir(path, 0755) && errno != EEXIST)
		fail_setup("%s", path);
	snprintf(file, sizeof(file), "%s/cgroup.procs", path);
	if (!write_text(file, "0"))
		fail_setup("%s", file);
}

void leave_cgroup(const char *path)
{
	write_text("/sys/fs/cgroup/cgroup.procs", "0");
	rmdir(path);
}

int hmm_device_open(void)
{
	char text[4096], *line;
	int major;

	if (access("/dev/hmm_dmirror0", F_OK)) {
		if (!read_text("/proc/devices", text, sizeof(text)))
			return -1;
		line = strstr(text, " HMM_DMIRROR");
		while (line && line > text && line[-1] != '\n')
			line--;
		major = line ? atoi(line) : 0;
		if (!major ||
		    mknod("/dev/hmm_dmirror0", S_IFCHR | 0600, makedev(major, 0)))
			return -1;
	}
	return open("/dev/hmm_dmirror0", O_RDWR);
}

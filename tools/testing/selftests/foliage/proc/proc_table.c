// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of each kind, and what /proc/kpage*, pagemap and PAGEMAP_SCAN say of it, page by page,
 * without what chance decides (frame numbers, swap offsets, how recently it was used). Two
 * kernels must print the same.
 *
 * Lines for consecutive pages that are alike are one: "anon-4k: 0-15 pm=... flags=...".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../../../../../lib/test_hmm_uapi.h"
#include "proc.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

#define PAGES		1024UL
#define KPF_REFERENCED	2
#define KPF_ACTIVE	6
/* How recently it was used, which depends on what else the machine did. */
#define CHANCE		(KPF(KPF_REFERENCED) | KPF(KPF_ACTIVE) | KPF(KPF_IDLE))

static int pagemap, kpageflags, kpagecount, kpagecgroup;
static uint64_t own_cgroup;

static uint64_t of_frame(int fd, uint64_t pfn)
{
	uint64_t v;

	if (pread(fd, &v, 8, pfn * 8) != 8)
		fail_setup("frame %llu", (unsigned long long)pfn);
	return v;
}

static const char *cgroup_name(uint64_t ino)
{
	return !ino ? "none" : ino == own_cgroup ? "own" : "other";
}

/*
 * What is left out because kernels differ: KPF_KSM is wrong on stock kernels of this version
 * for what is not KSM's; what came back from swap is clean there, and may be lost for that.
 */
static uint64_t left_out(const char *name, unsigned long count)
{
	uint64_t bits = CHANCE;

	if (strncmp(name, "ksm", 3) || count < 2)
		bits |= KPF(KPF_KSM);
	if (!strncmp(name, "swapped", 7))
		bits |= KPF(KPF_DIRTY);
	return bits;
}

/* One page's line. */
static void describe(const char *name, uint64_t entry, char *text, size_t size)
{
	unsigned long pm = entry & ~PM_FRAME, pfn = entry & PM_FRAME, count;

	if (!(entry & PM_PRESENT)) {
		/* Of a swap entry the type stays, which says what kind it is. */
		unsigned long type = entry & PM_SWAP ? entry & 0x1f : 0;

		/* Stock leaves those of a device writable when it write-protects them. */
		if (!strncmp(name, "device", 6) && entry & PM_UFFD_WP && type & 1)
			type++;
		snprintf(text, size, "pm=%016lx", pm | type);
		return;
	}
	count = of_frame(kpagecount, pfn);
	snprintf(text, size, "pm=%016lx flags=%lx count=%lu cgroup=%s", pm,
		 of_frame(kpageflags, pfn) & ~left_out(name, count), count,
		 cgroup_name(of_frame(kpagecgroup, pfn)));
}

static void show_entries(const char *name, const void *p, size_t pages)
{
	uint64_t *entry = malloc(pages * 8);
	char text[160] = "", last[160] = "";
	size_t i, from = 0;

	settle_lru();
	if (pread(pagemap, entry, pages * 8, (uintptr_t)p / PAGE * 8) != (ssize_t)(pages * 8))
		fail_setup("pagemap of %s", name);
	for (i = 0; i <= pages; i++) {
		if (i < pages)
			describe(name, entry[i], text, sizeof(text));
		if (i == pages || (i && strcmp(text, last))) {
			printf("%s: %zu-%zu %s\n", name, from, i - 1, last);
			from = i;
		}
		memcpy(last, text, sizeof(last));
	}
	free(entry);
}

/* Regions that touch are shown as one: a kernel may split them where it splits a huge page. */
static void show_scan(const char *name, const char *what, const char *p, struct pm_scan_arg arg)
{
	struct page_region *vec = (struct page_region *)(uintptr_t)arg.vec;
	long i, n = ioctl(pagemap, PAGEMAP_SCAN, &arg);

	printf("%s: scan %s:", name, what);
	if (n < 0)
		printf(" %s", strerror(errno));
	for (i = 0; i < n; i++) {
		if (i + 1 < n && vec[i + 1].start == vec[i].end &&
		    vec[i + 1].categories == vec[i].categories) {
			vec[i + 1].start = vec[i].start;
			continue;
		}
		printf(" %lu-%lu=%02lx", (unsigned long)(vec[i].start - (uintptr_t)p) / PAGE,
		       (unsigned long)(vec[i].end - (uintptr_t)p) / PAGE - 1,
		       (unsigned long)vec[i].categories);
	}
	printf(" to %ld\n", (long)(arg.walk_end - (uintptr_t)p) / (long)PAGE);
}

static struct page_region vec[2 * PAGES];

static void show_scans(const char *name, const char *p, size_t pages)
{
	char what[32];
	unsigned int c, limit;

	for (c = 0; c <= 8; c++) {
		struct pm_scan_arg arg = scan_of(p, pages, vec, 2 * PAGES);

		arg.category_mask = c < 8 ? 1 << c : 0;
		snprintf(what, sizeof(what), "with %lx", (long)arg.category_mask);
		show_scan(name, what, p, arg);
		if (c == 8)
			break;
		arg.category_inverted = 1 << c;
		snprintf(what, sizeof(what), "without %lx", (long)arg.category_mask);
		show_scan(name, what, p, arg);
	}
	for (limit = 1; limit < PAGES; limit *= 3) {
		struct pm_scan_arg arg = scan_of(p, pages, vec, 2 * PAGES);

		arg.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
		arg.max_pages = limit;
		snprintf(what, sizeof(what), "of %u pages", limit);
		show_scan(name, what, p, arg);
		arg.max_pages = 0;
		arg.vec_len = limit;
		snprintf(what, sizeof(what), "of %u regions", limit);
		show_scan(name, what, p, arg);
	}
}

static void show(const char *name, const char *p, size_t pages)
{
	show_entries(name, p, pages);
	show_scans(name, p, pages);
}

static void in_child(void (*fn)(const char *name, const char *p, size_t pages), const char *name,
		     const char *p, size_t pages)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		fn(name, p, pages);
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

/* The child has the pages too, and then its own of some of them. */
static void copy_some(const char *name, const char *p, size_t pages)
{
	for (size_t i = 0; i < pages; i += 7)
		((volatile char *)p)[i * PAGE] = 9;
	close(pagemap);
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	show(name, p, pages);
}

static void soft_dirty(const char *name, struct region *r)
{
	char text[48];

	if (!write_text("/proc/self/clear_refs", "4"))
		return;
	for (size_t i = 0; i < r->pages; i += 100)
		r->p[i * PAGE] = 3;
	snprintf(text, sizeof(text), "%s-softdirty", name);
	show(text, r->p, r->pages);
}

/* Written since, write-protected again: with limits that cut folios, then all of it. */
static void tracked(const char *name, struct region *r)
{
	static const size_t limits[] = { 1, 700, 0 };
	char text[48], what[32];
	int fd = track_writes(r->p, r->pages * PAGE);

	snprintf(text, sizeof(text), "%s-tracked", name);
	show(text, r->p, r->pages);
	for (size_t i = 0; i < 3; i++) {
		struct pm_scan_arg arg = scan_of(r->p, r->pages, vec, 2 * PAGES);

		/* A limit inside a hugetlb page is where kernels differ. */
		if (r->kind == HUGETLB && limits[i])
			continue;
		arg.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC;
		arg.category_mask = PAGE_IS_WRITTEN;
		arg.max_pages = limits[i];
		snprintf(what, sizeof(what), "and protect %zu", limits[i]);
		show_scan(text, what, r->p, arg);
		show(text, r->p, r->pages);
	}
	for (size_t i = 0; i < r->pages; i += 100)
		r->p[i * PAGE] = 4;
	madvise(r->p + 300 * PAGE, 20 * PAGE, MADV_DONTNEED);
	show(text, r->p, r->pages);
	close(fd);
}

static void each_kind(void)
{
	static const char *const names[] = {
		[ANON_4K] = "anon-4k", [ANON_64K] = "anon-64k", [ANON_2M] = "anon-2m",
		[SHMEM] = "shmem", [FILE_EXT4] = "ext4", [HUGETLB] = "hugetlb",
	};
	char text[48];
	struct region r;

	for (enum kind kind = ANON_4K; kind <= HUGETLB; kind++) {
		region_make(&r, kind, PAGES);
		show(names[kind], r.p, r.pages);
		snprintf(text, sizeof(text), "%s-forked", names[kind]);
		in_child(copy_some, text, r.p, r.pages);
		soft_dirty(names[kind], &r);
		/* Half of a PMD mapping, and an edge of the others. */
		if (kind != HUGETLB) {
			mprotect(r.p + 100 * PAGE, 30 * PAGE, PROT_READ);
			munmap(r.p + 200 * PAGE, PAGE);
			if (mmap(r.p + 200 * PAGE, PAGE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
				fail_setup("mmap");
			snprintf(text, sizeof(text), "%s-cut", names[kind]);
			show(text, r.p, r.pages);
			mprotect(r.p, r.pages * PAGE, PROT_READ | PROT_WRITE);
		}
		if (kind != FILE_EXT4)
			tracked(names[kind], &r);
		region_free(&r);
	}
}

static void swapped(void)
{
	struct region r;

	need_swap();
	for (enum kind kind = ANON_4K; kind <= SHMEM; kind++) {
		char text[48];

		region_make(&r, kind, PAGES);
		madvise(r.p, r.pages * PAGE / 2, MADV_PAGEOUT);
		/* Until they are gone from the swap cache. */
		for (int i = 0; i < 50; i++) {
			uint64_t e;

			if (pread(pagemap, &e, 8, (uintptr_t)r.p / PAGE * 8) == 8 &&
			    !(e & PM_PRESENT))
				break;
			madvise(r.p, r.pages * PAGE / 2, MADV_PAGEOUT);
			usleep(10000);
		}
		snprintf(text, sizeof(text), "swapped-%d", kind);
		show(text, r.p, r.pages);
		tracked(text, &r);
		region_free(&r);
	}
}

static void zero_pages(void)
{
	struct region r;

	region_make(&r, ANON_4K, PAGES);
	madvise(r.p, r.pages * PAGE, MADV_DONTNEED);
	show("empty", r.p, r.pages);
	madvise(r.p, r.pages * PAGE / 2, MADV_POPULATE_READ);
	show("zero-4k", r.p, r.pages);
	tracked("zero-4k", &r);
	region_free(&r);

	region_make(&r, ANON_2M, PAGES);
	madvise(r.p, r.pages * PAGE, MADV_DONTNEED);
	show("empty-2m", r.p, r.pages);
	madvise(r.p, r.pages * PAGE / 2, MADV_POPULATE_READ);
	show("zero-2m", r.p, r.pages);
	tracked("zero-2m", &r);
	region_free(&r);
}

static void merged(void)
{
	char text[32] = "";
	struct region r;

	region_make(&r, ANON_4K, 64);
	for (size_t i = 0; i < r.pages; i++)
		memset(r.p + i * PAGE, i < 48 ? 77 : i, PAGE);
	if (madvise(r.p, r.pages * PAGE, MADV_MERGEABLE) ||
	    !write_text("/sys/kernel/mm/ksm/pages_to_scan", "1000") ||
	    !write_text("/sys/kernel/mm/ksm/sleep_millisecs", "0") ||
	    !write_text("/sys/kernel/mm/ksm/run", "1"))
		fail_setup("KSM");
	for (int i = 0; i < 1000 && atoi(text) < 47; i++) {
		usleep(10000);
		read_text("/sys/kernel/mm/ksm/pages_sharing", text, sizeof(text));
	}
	write_text("/sys/kernel/mm/ksm/run", "0");
	show("ksm", r.p, r.pages);
	write_text("/sys/kernel/mm/ksm/run", "2");
	show("ksm-unmerged", r.p, r.pages);
	region_free(&r);
}

static void locked(void)
{
	struct region r;

	region_make(&r, ANON_4K, 64);
	mlock(r.p, 32 * PAGE);
	show("mlocked", r.p, r.pages);
	region_free(&r);
}

static sigjmp_buf bus;

static void on_bus(int sig)
{
	siglongjmp(bus, 1);
}

/* A frame that is lost: its entry, and its own flags, which outlive the mapping. */
static void poisoned(void)
{
	char text[32];
	struct region r;

	region_make(&r, ANON_4K, 64);
	/* Who reports the error of a page that it maps is told of it by the signal. */
	signal(SIGBUS, on_bus);
	if (!sigsetjmp(bus, 1) && madvise(r.p + 5 * PAGE, PAGE, MADV_HWPOISON))
		fail_setup("MADV_HWPOISON");
	show("poisoned", r.p, r.pages);
	printf("poisoned: frame %lx\n", of_frame(kpageflags, r.pfn[5]) & ~left_out("poisoned", 0));
	snprintf(text, sizeof(text), "%lu", (unsigned long)r.pfn[5]);
	region_free(&r);
	write_text("/sys/kernel/debug/hwpoison/unpoison-pfn", text);
}

/* Entries that name a device's memory, or memory that it uses alone. */
static void of_a_device(void)
{
	static const struct {
		const char *name;
		unsigned long what;
	} ways[] = {
		{ "device-private", HMM_DMIRROR_MIGRATE_TO_DEV },
		{ "device-exclusive", HMM_DMIRROR_EXCLUSIVE },
	};
	static char copy[64 * PAGE];

	for (int i = 0; i < 2; i++) {
		int fd = hmm_device_open();
		struct hmm_dmirror_cmd cmd = { .ptr = (uintptr_t)copy, .npages = 32 };
		struct region r;

		if (fd < 0) {
			printf("%s: no device\n", ways[i].name);
			return;
		}
		region_make(&r, ANON_4K, 64);
		cmd.addr = (uintptr_t)r.p;
		if (ioctl(fd, ways[i].what, &cmd))
			fail_setup("%s", ways[i].name);
		show(ways[i].name, r.p, r.pages);
		tracked(ways[i].name, &r);
		region_free(&r);
		close(fd);
	}
}

/* Mappings that have no pages of their own to show, and what lies around mappings. */
static void special(void)
{
	char line[256], name[128];
	uint64_t e[8];
	void *lo, *hi;
	ssize_t n;
	FILE *f = fopen("/proc/self/maps", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%p-%p %*s %*s %*s %*s %127s", &lo, &hi, name) == 3 &&
		    (!strcmp(name, "[vvar]") || !strcmp(name, "[vdso]")))
			show(name, lo, ((char *)hi - (char *)lo) / PAGE);
	if (f)
		fclose(f);
	/* Below everything, and from the last page of the address space on. */
	n = pread(pagemap, e, sizeof(e), 0);
	printf("bottom: %zd %lx\n", n, (unsigned long)e[7]);
	n = pread(pagemap, e, sizeof(e), (0x7ffffffff000 / PAGE - 2) * 8);
	printf("top: %zd\n", n);
	n = pread(pagemap, e, sizeof(e), 0x800000000000 / PAGE * 8);
	printf("above: %zd\n", n);
}

/* How much of memory is none; and after a part of it went offline. */
static size_t frames_with(uint64_t bit, size_t *all)
{
	static uint64_t buf[8192];
	size_t n = 0, i;
	off_t at = 0;
	ssize_t got;

	while ((got = pread(kpageflags, buf, sizeof(buf), at)) > 0) {
		for (i = 0; i < (size_t)got / 8; i++)
			n += !!(buf[i] & bit);
		at += got;
	}
	*all = at / 8;
	return n;
}

static void offlined(void)
{
	size_t all, holes = frames_with(KPF(KPF_NOPAGE), &all), now;
	char path[80];
	int block;

	printf("memory: %zu frames, %zu without\n", all, holes);
	for (block = 64; block > 0; block--) {
		snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%d/state", block);
		if (write_text(path, "offline"))
			break;
	}
	now = frames_with(KPF(KPF_NOPAGE), &all);
	printf("offline: %s, %zu frames, %zu more without\n", block ? "a block" : "none", all,
	       now - holes);
	write_text(path, "online");
	printf("online: %zu without\n", frames_with(KPF(KPF_NOPAGE), &all));
}

int main(void)
{
	char path[128];
	struct stat st;

	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	pagemap = open("/proc/self/pagemap", O_RDONLY);
	kpageflags = open("/proc/kpageflags", O_RDONLY);
	kpagecount = open("/proc/kpagecount", O_RDONLY);
	kpagecgroup = open("/proc/kpagecgroup", O_RDONLY);
	if (pagemap < 0 || kpageflags < 0 || kpagecount < 0 || kpagecgroup < 0)
		fail_setup("the files of /proc, which need root");
	enter_cgroup("proc_table", path, sizeof(path));
	if (stat(path, &st))
		fail_setup("%s", path);
	own_cgroup = st.st_ino;

	each_kind();
	zero_pages();
	swapped();
	merged();
	locked();
	of_a_device();
	special();
	poisoned();
	offlined();
	leave_cgroup(path);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0
/* What happens to the pages of migrate_race while they move. */
#define _GNU_SOURCE
#include <linux/falloc.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/prctl.h>

#include "migrate_race.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

#define GUP_TEST	"/sys/kernel/debug/gup_test"
#define SPLIT		"/sys/kernel/debug/split_huge_pages"
#define FRAME		((1ULL << 55) - 1)

/* --- memory ----------------------------------------------------------------------------- */

static unsigned int draw(struct race *r, unsigned int n)
{
	return rand_r(&r->seed) % n;
}

static size_t draw_range(struct race *r, size_t *from)
{
	*from = draw(r, PAGES);
	return 1 + draw(r, draw(r, 3) ? (PAGES - *from) / 16 + 1 : PAGES - *from);
}

static void check_range(struct race *r, size_t from, size_t n)
{
	for (size_t i = from; i < from + n; i++) {
		uint64_t number = r->want[i] ? i + 1 : 0;

		if (*word(r->p, i, 0) != r->want[i])
			wrong(r->scene->name, i, *word(r->p, i, 0), r->want[i]);
		if (*word(r->p, i, 1) != number)
			wrong("number", i, *word(r->p, i, 1), number);
	}
}

static void check_all(struct race *r)
{
	check_range(r, 0, PAGES);
}

static void write_range(struct race *r, size_t from, size_t n)
{
	for (size_t i = from; i < from + n; i++) {
		r->want[i] = 1 + rand_r(&r->seed);
		*word(r->p, i, 0) = r->want[i];
		*word(r->p, i, 1) = i + 1;
	}
}

static void write_some(struct race *r)
{
	size_t from, n = draw_range(r, &from);

	write_range(r, from, n);
}

static void emptied(struct race *r, size_t from, size_t n)
{
	memset(r->want + from, 0, n * sizeof(*r->want));
}

static void make_at(struct race *r, int flags, int fd, int advice)
{
	r->room = mem_map(4 * PAGES, PROT_NONE, ANON | MAP_NORESERVE, -1);
	r->p = mmap(r->room, SPAN, RW, flags | MAP_FIXED, fd, 0);
	if (r->p == MAP_FAILED)
		fail_setup("mmap");
	if (advice)
		madvise(r->p, SPAN, advice);
	write_range(r, 0, PAGES);
}

static void make_anon(struct race *r)
{
	make_at(r, ANON, -1, MADV_NOHUGEPAGE);
}

static void open_direct(struct race *r)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", r->fd);
	r->direct = open(path, O_RDWR | O_DIRECT);
	if (r->direct < 0)
		fail_setup("O_DIRECT");
}

static int ext4_of_size(void)
{
	struct region reg;

	region_make(&reg, FILE_EXT4, PAGES);
	munmap(reg.p, SPAN);
	return reg.fd;
}

static void make_ext4(struct race *r)
{
	r->fd = ext4_of_size();
	open_direct(r);
	make_at(r, MAP_SHARED, r->fd, 0);
}

static void make_shmem(struct race *r)
{
	r->fd = memfd_create("migrate_race", 0);
	if (r->fd < 0 || ftruncate(r->fd, SPAN))
		fail_setup("memfd");
	make_at(r, MAP_SHARED, r->fd, 0);
}

/* --- who maps it ------------------------------------------------------------------------ */

static void op_fork(struct race *r)
{
	size_t from, n = draw_range(r, &from);
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return;
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		check_all(r);
		write_range(r, from, n);
		check_all(r);
		_exit(0);
	}
	write_some(r);
	check_all(r);
	if (waitpid(pid, &status, 0) != pid || status)
		_exit(2);
	check_all(r);
}

static void op_remap(struct race *r)
{
	size_t from, n = draw_range(r, &from);
	char *at = r->p + from * PAGE;

	if (draw(r, 2))
		munmap(at, n * PAGE);
	if (mmap(at, n * PAGE, RW, ANON | MAP_FIXED, -1, 0) != at)
		fail_setup("mmap");
	emptied(r, from, n);
	check_all(r);
	write_range(r, from, n);
	check_all(r);
}

static void op_mlock(struct race *r)
{
	size_t from, n = draw_range(r, &from);

	if (mlock(r->p + from * PAGE, n * PAGE))
		fail_setup("mlock");
	write_some(r);
	check_all(r);
	n = draw_range(r, &from);
	munlock(r->p + from * PAGE, n * PAGE);
	if (draw(r, 4) == 0)
		munlock(r->p, SPAN);
	check_all(r);
}

static void op_mprotect(struct race *r)
{
	size_t from, n = draw_range(r, &from);

	if (mprotect(r->p + from * PAGE, n * PAGE, PROT_READ))
		fail_setup("mprotect");
	check_all(r);
	if (mprotect(r->p + from * PAGE, n * PAGE, RW))
		fail_setup("mprotect");
	write_range(r, from, n);
	check_all(r);
}

/* To a place where the page tables are cut in another way. */
static void op_mremap(struct race *r)
{
	char *from = r->p, *to = r->room + 2 * SPAN + draw(r, PAGES) * PAGE;

	if (from != r->room)
		to = r->room;
	if (mremap(from, SPAN, SPAN, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		fail_setup("mremap");
	r->p = to;
	if (mmap(from, SPAN, PROT_NONE, ANON | MAP_NORESERVE | MAP_FIXED, -1, 0) != from)
		fail_setup("mmap");
	check_all(r);
	write_some(r);
}

/* --- who holds it ----------------------------------------------------------------------- */

/* Frame of a page; while a move is tried there is none for a moment. */
static uint64_t frame_now(char *page)
{
	uint64_t e;

	do {
		(void)*(volatile char *)page;
		pagemap_read(page, 1, &e);
	} while (!(e & PM_PRESENT) && !atomic_load(&stop));
	return e & PM_PRESENT ? e & FRAME : 0;
}

static void stays(char *page, size_t i)
{
	uint64_t first = frame_now(page), now;

	for (int k = 0; k < 5; k++) {
		usleep(500);
		now = frame_now(page);
		if (now && first && now != first)
			wrong("a held page has moved", i, now, first);
	}
}

static void op_vmsplice(struct race *r)
{
	static char copy[PAGE];
	size_t i = draw(r, PAGES);
	struct pin pin;

	pin_page(&pin, r->p + i * PAGE);
	stays(r->p + i * PAGE, i);
	write_range(r, i, 1);
	if (read(pin.fd[0], copy, PAGE) != (ssize_t)PAGE)
		fail_setup("read of the pipe");
	if (*word(copy, 0, 0) != r->want[i])
		wrong("the pipe", i, *word(copy, 0, 0), r->want[i]);
	unpin_page(&pin);
	check_all(r);
}

static void op_process_vm(struct race *r)
{
	size_t from, n = draw_range(r, &from);
	static char copy[SPAN];
	struct iovec mine = { copy, n * PAGE }, theirs = { r->p + from * PAGE, n * PAGE };

	write_range(r, from, n);
	if (process_vm_readv(getpid(), &mine, 1, &theirs, 1, 0) != (ssize_t)(n * PAGE))
		fail_setup("process_vm_readv");
	for (size_t i = 0; i < n; i++) {
		if (*word(copy, i, 0) != r->want[from + i])
			wrong("the copy", i, *word(copy, i, 0), r->want[from + i]);
		r->want[from + i] = *word(copy, i, 0) = 1 + rand_r(&r->seed);
	}
	if (process_vm_writev(getpid(), &mine, 1, &theirs, 1, 0) != (ssize_t)(n * PAGE))
		fail_setup("process_vm_writev");
	check_all(r);
}

static void make_direct(struct race *r)
{
	r->fd = ext4_of_size();
	open_direct(r);
	make_anon(r);
}

/* A device reads memory, and then writes it: what it writes has to arrive in the page. */
static void op_direct(struct race *r)
{
	size_t from, n = draw_range(r, &from);
	char *at = r->p + from * PAGE;

	write_range(r, from, n);
	if (pwrite(r->direct, at, n * PAGE, from * PAGE) != (ssize_t)(n * PAGE))
		fail_setup("write with O_DIRECT");
	for (size_t i = from; i < from + n; i++)
		*word(r->p, i, 0) = 0;
	if (pread(r->direct, at, n * PAGE, from * PAGE) != (ssize_t)(n * PAGE))
		fail_setup("read with O_DIRECT");
	check_all(r);
}

struct longterm {
	uint64_t addr, size;
	uint32_t flags;
};

static void make_longterm(struct race *r)
{
	r->gup = open(GUP_TEST, O_RDWR);
	if (r->gup < 0)
		fail_setup(GUP_TEST);
	make_anon(r);
}

/* Pins as a driver takes them, for long, and what is written meanwhile as the driver sees it. */
static void op_longterm(struct race *r)
{
	size_t from, n = draw_range(r, &from), i = from + draw(r, n);
	struct longterm pin = { (uintptr_t)(r->p + from * PAGE), n * PAGE, 1 + 2 * draw(r, 2) };
	static char copy[SPAN];
	uint64_t to = (uintptr_t)copy;

	if (ioctl(r->gup, _IOW('g', 7, struct longterm), &pin))
		fail_setup("a long-term pin");
	stays(r->p + i * PAGE, i);
	write_range(r, from, n);
	if (ioctl(r->gup, _IOW('g', 9, uint64_t), &to))
		fail_setup("read through the pin");
	for (i = 0; i < n; i++)
		if (*word(copy, i, 0) != r->want[from + i])
			wrong("the pin", i, *word(copy, i, 0), r->want[from + i]);
	ioctl(r->gup, _IO('g', 8));
	check_all(r);
}

/* --- where it is written to -------------------------------------------------------------- */

static void op_writeback(struct race *r)
{
	static char copy[SPAN] __attribute__((aligned(4096)));
	size_t from, n = draw_range(r, &from), len = n * PAGE;
	int how = draw(r, 3), failed;

	write_range(r, from, n);
	if (how == 0)
		failed = msync(r->p + from * PAGE, len, MS_SYNC);
	else if (how == 1)
		failed = fsync(r->fd);
	else
		failed = sync_file_range(r->fd, from * PAGE, len, SYNC_FILE_RANGE_WAIT_BEFORE |
					 SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
	if (failed || pread(r->direct, copy, len, from * PAGE) != (ssize_t)len)
		fail_setup("write-back");
	for (size_t i = 0; i < n; i++)
		if (*word(copy, i, 0) != r->want[from + i])
			wrong("the disk", from + i, *word(copy, i, 0), r->want[from + i]);
	check_all(r);
}

static void op_truncate(struct race *r)
{
	size_t from, n = draw_range(r, &from);

	if (draw(r, 2)) {
		if (fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from * PAGE,
			      n * PAGE))
			fail_setup("fallocate");
		emptied(r, from, n);
	} else {
		if (ftruncate(r->fd, from * PAGE) || ftruncate(r->fd, SPAN))
			fail_setup("ftruncate");
		emptied(r, from, PAGES - from);
	}
	check_all(r);
	write_some(r);
	check_all(r);
	write_range(r, from, n);
}

static void op_swap(struct race *r)
{
	size_t from, n = draw_range(r, &from);

	madvise(r->p + from * PAGE, n * PAGE, MADV_PAGEOUT);
	check_all(r);
	write_some(r);
	check_all(r);
}

/* --- what becomes of folios -------------------------------------------------------------- */

/* Pages of eight kinds, each many times. */
static void ksm_write(struct race *r, size_t from, size_t n)
{
	for (size_t i = from; i < from + n; i++) {
		r->want[i] = 100 + draw(r, 8);
		*word(r->p, i, 0) = r->want[i];
	}
}

static void make_ksm(struct race *r)
{
	make_at(r, ANON, -1, MADV_NOHUGEPAGE);
	madvise(r->p, SPAN, MADV_DONTNEED);
	ksm_write(r, 0, PAGES);
	madvise(r->p, SPAN, MADV_MERGEABLE);
	write_text(KSM_DIR "pages_to_scan", "2000");
	write_text(KSM_DIR "sleep_millisecs", "1");
	if (!write_text(KSM_DIR "run", "1"))
		fail_setup("ksm");
}

static void op_ksm(struct race *r)
{
	size_t from, n = draw_range(r, &from);

	usleep(10000);
	for (size_t i = 0; i < PAGES; i++)
		if (*word(r->p, i, 0) != r->want[i])
			wrong("merged pages", i, *word(r->p, i, 0), r->want[i]);
	ksm_write(r, from, n);
}

static void make_thp(struct race *r)
{
	make_at(r, ANON, -1, MADV_HUGEPAGE);
}

static void op_thp(struct race *r)
{
	size_t from, n = draw_range(r, &from);
	char text[96];

	switch (draw(r, 4)) {
	case 0:
		madvise(r->p + from * PAGE, n * PAGE, MADV_DONTNEED);
		emptied(r, from, n);
		check_all(r);
		break;
	case 1:
		snprintf(text, sizeof(text), "%d,0x%lx,0x%lx", getpid(), (unsigned long)r->p,
			 (unsigned long)r->p + SPAN);
		write_text(SPLIT, text);
		break;
	default:
		madvise(r->p, SPAN, MADV_COLLAPSE);
	}
	check_all(r);
	write_range(r, from, n);
	check_all(r);
}

/* --- userfaultfd ------------------------------------------------------------------------- */

static void uffd_register(struct race *r, uint64_t features, char *p, int mode)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	struct uffdio_register reg = { .range = { (uintptr_t)p, SPAN }, .mode = mode };

	if (r->uffd < 0) {
		r->uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
		if (r->uffd < 0 || ioctl(r->uffd, UFFDIO_API, &api))
			fail_setup("userfaultfd");
	}
	if (ioctl(r->uffd, UFFDIO_REGISTER, &reg))
		fail_setup("UFFDIO_REGISTER");
}

static void make_uffd_wp(struct race *r)
{
	make_anon(r);
	uffd_register(r, UFFD_FEATURE_PAGEFAULT_FLAG_WP, r->p, UFFDIO_REGISTER_MODE_WP);
}

static bool uffd_protect(struct race *r, char *p, size_t n, bool on)
{
	struct uffdio_writeprotect wp = { .range = { (uintptr_t)p, n * PAGE },
					  .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0 };

	return !ioctl(r->uffd, UFFDIO_WRITEPROTECT, &wp);
}

static void extra_uffd(struct race *r, int nr)
{
	struct pollfd pfd = { .fd = r->uffd, .events = POLLIN };
	struct uffd_msg msg;

	if (poll(&pfd, 1, 100) == 1 && read(r->uffd, &msg, sizeof(msg)) == sizeof(msg))
		while (!uffd_protect(r, (char *)(msg.arg.pagefault.address & -PAGE), 1, false))
			;
}

/* Every protected page is still so when it is written to, and the other thread lets it go. */
static void op_uffd_wp(struct race *r)
{
	size_t from, n = draw_range(r, &from), bare = 0;
	static uint64_t map[PAGES];

	while (!uffd_protect(r, r->p + from * PAGE, n, true))
		;
	check_all(r);
	pagemap_read(r->p + from * PAGE, n, map);
	for (size_t i = 0; i < n; i++)
		bare += map[i] & PM_PRESENT && !(map[i] & PM_UFFD_WP);
	if (bare)
		wrong("not protected", from, bare, 0);
	write_range(r, from, n);
	check_all(r);
}

/* After linux/userfaultfd.h of 6.8. */
struct move_arg {
	uint64_t dst, src, len, mode;
	int64_t moved;
};

static void make_uffd_move(struct race *r)
{
	make_anon(r);
	if (mmap(r->room + 2 * SPAN, SPAN, RW, ANON | MAP_FIXED, -1, 0) == MAP_FAILED)
		fail_setup("mmap");
	madvise(r->room + 2 * SPAN, SPAN, MADV_NOHUGEPAGE);
	uffd_register(r, 1 << 16, r->room, UFFDIO_REGISTER_MODE_MISSING);
	uffd_register(r, 1 << 16, r->room + 2 * SPAN, UFFDIO_REGISTER_MODE_MISSING);
}

/* All pages to the other mapping, where there are none; who is busy there is asked again. */
static void op_uffd_move(struct race *r)
{
	char *to = r->p == r->room ? r->room + 2 * SPAN : r->room;
	size_t done = 0;

	while (done < SPAN) {
		struct move_arg arg = { (uintptr_t)to + done, (uintptr_t)r->p + done, SPAN - done };

		if (ioctl(r->uffd, _IOWR(0xaa, 5, struct move_arg), &arg) && errno != EAGAIN &&
		    errno != EBUSY)
			fail_setup("UFFDIO_MOVE");
		if (arg.moved > 0)
			done += arg.moved;
	}
	r->p = to;
	check_all(r);
	write_some(r);
	check_all(r);
}

/* --- threads that fault ------------------------------------------------------------------ */

/* Each thread counts up a word of its own in every page, and finds what it has left there. */
static void extra_touch(struct race *r, int nr)
{
	static __thread uint64_t count;

	for (size_t i = 0; i < PAGES; i++) {
		if (*word(r->p, i, 2 + nr) != count)
			wrong("a thread's word", i, *word(r->p, i, 2 + nr), count);
		*word(r->p, i, 2 + nr) = count + 1;
	}
	count++;
}

static void op_touch(struct race *r)
{
	write_some(r);
	check_all(r);
}

/* --- the races --------------------------------------------------------------------------- */

const struct scene scenes[] = {
	{ "fork and exit", make_anon, op_fork },
	{ "munmap and mmap", make_anon, op_remap, .pages_go = true },
	{ "mlock and munlock", make_anon, op_mlock },
	{ "mprotect", make_anon, op_mprotect },
	{ "mremap", make_anon, op_mremap, .pages_go = true },
	{ "vmsplice", make_anon, op_vmsplice },
	{ "process_vm", make_anon, op_process_vm },
	{ "O_DIRECT", make_direct, op_direct },
	{ "long-term pins", make_longterm, op_longterm },
	{ "write-back", make_ext4, op_writeback },
	{ "truncate ext4", make_ext4, op_truncate, .pages_go = true },
	{ "truncate shmem", make_shmem, op_truncate, .pages_go = true },
	{ "swap", make_anon, op_swap, .also = "pswpout" },
	{ "swap of shmem", make_shmem, op_swap, .also = "pswpout" },
	{ "ksm", make_ksm, op_ksm, .pages_go = true, .also = "cow_ksm" },
	{ "split and collapse", make_thp, op_thp, .pages_go = true, .also = "thp_split_page" },
	{ "userfaultfd's protection", make_uffd_wp, op_uffd_wp, extra_uffd, 1 },
	{ "userfaultfd's move", make_uffd_move, op_uffd_move, .pages_go = true },
	{ "threads that fault", make_anon, op_touch, extra_touch, 3 },
	{ "threads that fault, huge pages", make_thp, op_touch, extra_touch, 3 },
	{ "threads that fault, a file", make_ext4, op_touch, extra_touch, 3 },
};

const size_t nr_scenes = ARRAY_SIZE(scenes);

// SPDX-License-Identifier: GPL-2.0
/*
 * Every state that a huge page can be in, and everything that can happen to it: one line for each pair,
 * to be compared between kernels. A line tells what the call returned, how much is mapped and by how
 * large pages, what the pages hold, and the bits of their entries.
 *
 * Left out is what depends on the moment: where frames are, and what is on which LRU list.
 */
#define _GNU_SOURCE
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "thp.h"

#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

#define MIDDLE	(100 * PAGE)

/* --- states ----------------------------------------------------------------------------- */

static pid_t child;
static int down[2], uffd = -1, pipe_fds[2] = { -1, -1 }, file = -1;

static void make_empty(char **p) { *p = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1); }
static void make_written(char **p) { *p = thp_new(); }
static void make_ptes(char **p) { *p = thp_new_ptes(); }
static void make_zero(char **p)
{
	make_empty(p);
	(void)*(volatile char *)*p;
}
static void make_readonly(char **p)
{
	*p = thp_new();
	mprotect(*p, HUGE, PROT_READ);
}
static void make_clean(char **p)
{
	*p = thp_new();
	write_text("/proc/self/clear_refs", "4");
}
static void make_free(char **p)
{
	*p = thp_new();
	madvise(*p, HUGE, MADV_FREE);
}
static void make_locked(char **p)
{
	*p = thp_new();
	mlock(*p, HUGE);
	settle_lru();
}
static void make_partial(char **p)
{
	*p = thp_new();
	madvise(*p + 300 * PAGE, 8 * PAGE, MADV_DONTNEED);
}

/* Another process has it, too, until the end. */
static void make_shared(char **p)
{
	char c;

	*p = thp_new();
	if (pipe(down))
		fail_setup("pipe");
	child = fork();
	if (!child) {
		close(down[1]);
		_exit(read(down[0], &c, 1) < 0);
	}
}
/* Another process had it. */
static void make_left(char **p)
{
	*p = thp_new();
	child = fork();
	if (!child)
		_exit(0);
	waitpid(child, NULL, 0);
	child = 0;
}
static void make_pinned(char **p)
{
	struct iovec iov;

	*p = thp_new();
	iov = (struct iovec){ *p + 5 * PAGE, 8 };
	if (pipe(pipe_fds) || vmsplice(pipe_fds[1], &iov, 1, 0) != 8)
		fail_setup("vmsplice");
}
static void make_wp(char **p)
{
	struct uffdio_api api = { .api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_ASYNC };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = { .mode = UFFDIO_WRITEPROTECT_MODE_WP };

	*p = thp_new();
	uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	reg.range = wp.range = (struct uffdio_range){ (uintptr_t)*p, HUGE };
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &reg) ||
	    ioctl(uffd, UFFDIO_WRITEPROTECT, &wp))
		fail_setup("userfaultfd");
}
static void make_shmem(char **p)
{
	*p = thp_new_shmem(&file);
}
static void make_shmem_private(char **p)
{
	char *q = thp_new_shmem(&file);

	munmap(q, HUGE);
	*p = thp_room(PAGES, MAP_PRIVATE, file);
	(void)*(volatile char *)*p;
}

static const struct {
	const char *name;
	void (*make)(char **p);
} states[] = {
	{ "empty", make_empty }, { "written", make_written }, { "ptes", make_ptes }, { "zero", make_zero },
	{ "readonly", make_readonly }, { "clean", make_clean }, { "free", make_free }, { "locked", make_locked },
	{ "partial", make_partial }, { "shared", make_shared }, { "left", make_left }, { "pinned", make_pinned },
	{ "wp", make_wp }, { "shmem", make_shmem }, { "shmem-private", make_shmem_private },
};

static void unmake(char *p)
{
	if (uffd >= 0)
		close(uffd);
	if (file >= 0)
		close(file);
	if (pipe_fds[0] >= 0) {
		close(pipe_fds[0]);
		close(pipe_fds[1]);
	}
	if (child) {
		close(down[0]);
		close(down[1]);
		waitpid(child, NULL, 0);
	}
	uffd = file = pipe_fds[0] = pipe_fds[1] = -1;
	child = 0;
	munmap(p - HUGE, 3 * HUGE);
}

/* --- events ----------------------------------------------------------------------------- */

/* As read(2) and write(2) do it: a fault that is not allowed is an error, and not the end. */
static int touch(char *at, bool write)
{
	static int zero = -1, null = -1;

	if (zero < 0) {
		zero = open("/dev/zero", O_RDONLY);
		null = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	}
	return write ? read(zero, at + 64, 1) : pwrite(null, at + 64, 1, 0);
}

static int in_child(char *p, bool write)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(write ? touch(p + MIDDLE, true) != 1 : thp_wrong(p, PAGES) & 127);
	waitpid(pid, &status, 0);
	return status;
}

static int ev_nothing(char **p) { (void)p; return 0; }
static int ev_read(char **p) { return touch(*p + MIDDLE, false); }
static int ev_write(char **p) { return touch(*p + MIDDLE, true); }
static int ev_fork_read(char **p) { return in_child(*p, false); }
static int ev_fork_write(char **p) { return in_child(*p, true); }
static int ev_fork_then_write(char **p) { int r = in_child(*p, false); return r + touch(*p + MIDDLE, true); }
static int ev_ro_part(char **p) { return mprotect(*p + MIDDLE, PAGE, PROT_READ); }
static int ev_ro(char **p) { return mprotect(*p, HUGE, PROT_READ); }
static int ev_none_and_back(char **p) { return mprotect(*p, HUGE, PROT_NONE) + mprotect(*p, HUGE, RW); }
static int ev_ro_and_write(char **p)
{
	return mprotect(*p, HUGE, PROT_READ) + mprotect(*p, HUGE, RW) + touch(*p, true);
}
static int ev_drop_part(char **p) { return madvise(*p + MIDDLE, 10 * PAGE, MADV_DONTNEED); }
static int ev_drop(char **p) { return madvise(*p, HUGE, MADV_DONTNEED); }
static int ev_free_part(char **p) { return madvise(*p + MIDDLE, 10 * PAGE, MADV_FREE); }
static int ev_free(char **p) { return madvise(*p, HUGE, MADV_FREE); }
static int ev_cold_part(char **p) { return madvise(*p + MIDDLE, 10 * PAGE, MADV_COLD); }
static int ev_cold(char **p) { return madvise(*p, HUGE, MADV_COLD); }
static int ev_unmap_part(char **p) { return munmap(*p + MIDDLE, 10 * PAGE); }
static int ev_lock_part(char **p) { return mlock(*p + MIDDLE, 10 * PAGE); }
static int ev_lock(char **p) { return mlock(*p, HUGE); }
static int ev_unlock(char **p) { return munlock(*p, HUGE); }
static int ev_split(char **p) { return split_range(*p, PAGES, 0); }
static int ev_split_4(char **p) { return split_range(*p, PAGES, 4); }
static int ev_clear_refs(char **p) { (void)p; return write_text("/proc/self/clear_refs", "4"); }
static int ev_cow_again(char **p)
{
	return touch(*p + MIDDLE, true) + touch(*p + MIDDLE + PAGE, true) + touch(*p + MIDDLE, false);
}
static int ev_collapse(char **p)
{
	settle_lru();
	return madvise(*p, HUGE, MADV_COLLAPSE);
}

static int move_to(char **p, size_t off, size_t len, size_t to)
{
	char *q = thp_room(PAGES, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (mremap(*p + off, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, q + to) == MAP_FAILED)
		return -1;
	munmap(*p - HUGE, 3 * HUGE);
	*p = q;
	return 0;
}
static int ev_move(char **p) { return move_to(p, 0, HUGE, 0); }
static int ev_move_part(char **p) { return move_to(p, MIDDLE, MIDDLE, MIDDLE); }
static int ev_move_off(char **p) { return move_to(p, MIDDLE, MIDDLE, PAGE); }

static int ev_migrate(char **p)
{
	int node = 1, status = -100;
	void *at = *p + MIDDLE;
	long ret;

	settle_lru();
	ret = syscall(SYS_move_pages, 0, 1, &at, &node, &status, 2);
	return ret ? (int)ret * 1000 : status;
}

#define EVENT(name) { #name, ev_##name }
static const struct {
	const char *name;
	int (*call)(char **p);
} events[] = {
	EVENT(nothing), EVENT(read), EVENT(write), EVENT(fork_read), EVENT(fork_write), EVENT(fork_then_write),
	EVENT(ro_part), EVENT(ro), EVENT(none_and_back), EVENT(ro_and_write), EVENT(drop_part), EVENT(drop),
	EVENT(free_part), EVENT(free), EVENT(cold_part), EVENT(cold), EVENT(unmap_part), EVENT(lock_part),
	EVENT(lock), EVENT(unlock), EVENT(split), EVENT(split_4), EVENT(clear_refs), EVENT(cow_again),
	EVENT(collapse), EVENT(move), EVENT(move_part), EVENT(move_off), EVENT(migrate),
};

/* --- what is seen ----------------------------------------------------------------------- */

/* Bits of an entry and of its page as letters. */
static void letters(const char *at, char *out)
{
	static const struct { uint64_t bit; char c; } entry[] = {
		{ PM_PRESENT, 'P' }, { PM_SWAP, 'S' }, { PM_FILE, 'F' }, { PM_EXCLUSIVE, 'X' }, { PM_UFFD_WP, 'U' },
		{ PM_SOFT_DIRTY, 'D' },
	}, page[] = {
		{ KPF(KPF_THP), 'T' }, { KPF(KPF_HEAD), 'h' }, { KPF(KPF_TAIL), 't' }, { KPF(KPF_ANON), 'a' },
		{ KPF(KPF_SWAPBACKED), 'b' }, { KPF(KPF_MLOCKED), 'm' }, { KPF(KPF_ZERO_PAGE), 'z' },
		{ KPF(KPF_DIRTY), 'd' },
	};
	uint64_t e = pagemap_of(at), f = e & PM_PRESENT ? flags_at(at) : 0;

	for (size_t i = 0; i < ARRAY_SIZE(entry); i++)
		if (e & entry[i].bit)
			*out++ = entry[i].c;
	for (size_t i = 0; i < ARRAY_SIZE(page); i++)
		if (f & page[i].bit)
			*out++ = page[i].c;
	*out = 0;
}

/* Pages that are alike are told once, with their number. */
static void print_pages(const char *p)
{
	char was[32] = "", is[32];
	int n = 0;

	for (size_t i = 0; i <= PAGES; i++) {
		if (i < PAGES)
			letters(p + i * PAGE, is);
		if (i && (i == PAGES || strcmp(was, is))) {
			printf(" %s*%d", *was ? was : "-", n);
			n = 0;
		}
		memcpy(was, is, sizeof(was));
		n++;
	}
}

/* Read last, and by a system call: what is not mapped must not end the test. */
static void print_contents(char *p)
{
	static int fd = -1;
	uint64_t word[2];
	int full = 0, zero = 0, none = 0;

	if (fd < 0)
		fd = open("/proc/self/mem", O_RDONLY);
	for (size_t i = 0; i < PAGES; i++) {
		if (pread(fd, word, 8, (off_t)(uintptr_t)p + i * PAGE) != 8)
			none++;
		else if (!word[0])
			zero++;
		else
			full++;
	}
	printf(" | %d full %d zero %d none", full, zero, none);
}

static void line(size_t s, size_t e)
{
	char *p;
	int ret;

	states[s].make(&p);
	errno = 0;
	ret = events[e].call(&p);
	printf("%s %s: %d %d | rss %ld huge %ld shmem %ld swap %ld |", states[s].name, events[e].name, ret,
	       ret < 0 ? errno : 0, smaps_kb(p + MIDDLE, "Rss"), smaps_kb(p + MIDDLE, "AnonHugePages"),
	       smaps_kb(p + MIDDLE, "ShmemPmdMapped"), smaps_kb(p + MIDDLE, "Swap"));
	print_pages(p);
	print_contents(p);
	putchar('\n');
	unmake(p);
}

/* Arguments: only this state, and this event. */
int main(int argc, char **argv)
{
	unsigned long node0 = 1;

	mount_huge();
	/* So that it is known what a move has to do. */
	if (syscall(SYS_set_mempolicy, MPOL_BIND, &node0, 64))
		fail_setup("set_mempolicy");
	write_text(THP_DIR "enabled", "madvise");
	for (size_t s = 0; s < ARRAY_SIZE(states); s++) {
		for (size_t e = 0; e < ARRAY_SIZE(events); e++) {
			if ((argc < 2 || !strcmp(argv[1], states[s].name)) &&
			    (argc < 3 || !strcmp(argv[2], events[e].name)))
				line(s, e);
		}
	}
	return 0;
}

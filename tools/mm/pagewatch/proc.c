// SPDX-License-Identifier: GPL-2.0
/* One process: its name, its VMAs, and whether it is still there. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "pagewatch.h"

const char *const kind_names[NR_KINDS] = {
	"heap", "stack", "anon", "file", "shmem", "vdso/other",
};

/* A whole text file of procfs, with a zero byte behind it; NULL and errno when that fails. */
char *read_text(int dirfd, const char *path, size_t *len)
{
	size_t cap = 65536, n = 0;
	char *text;
	int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	text = xrealloc(NULL, cap);
	for (;;) {
		ssize_t r = read(fd, text + n, cap - n - 1);

		if (r < 0 && errno == EINTR && !stop_requested())
			continue;
		if (r < 0) {
			free(text);
			text = NULL;
			break;
		}
		if (!r)
			break;
		n += r;
		if (cap - n < 4096) {
			cap *= 2;
			text = xrealloc(text, cap);
		}
	}
	close(fd);
	if (text)
		text[n] = 0;
	if (len)
		*len = n;
	return text;
}

bool proc_gone(struct proc *p)
{
	size_t len;
	char *text = read_text(p->dir, "stat", &len), *paren;
	bool gone = true;

	if (text) {
		paren = strrchr(text, ')');
		gone = !paren || len < (size_t)(paren - text) + 3 || strchr("ZX", paren[2]);
		free(text);
	}
	return gone;
}

/* Its folder and its name. -1 without a word: there is none, or it has exited. */
static int proc_find(struct proc *p, pid_t pid)
{
	char path[32], *text;

	*p = (struct proc){ .pid = pid, .dir = -1, .pidfd = -1 };
	snprintf(path, sizeof(path), "/proc/%d", pid);
	p->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	text = p->dir < 0 ? NULL : read_text(p->dir, "comm", NULL);
	if (!text || proc_gone(p)) {
		free(text);
		return -1;
	}
	text[strcspn(text, "\n")] = 0;
	/* A process names itself: no escape sequences for our terminal. */
	snprintf(p->comm, sizeof(p->comm), "%s", text_plain(text, ""));
	free(text);
#ifdef SYS_pidfd_open
	p->pidfd = syscall(SYS_pidfd_open, pid, 0);
#endif
	proc_read_tmpfs(p);
	return 0;
}

/* One of many, of which some have no memory, and some are gone by now: -1 without a word. */
int proc_open_quietly(struct proc *p, pid_t pid)
{
	return proc_find(p, pid) || proc_read_vmas(p) ? -1 : 0;
}

int proc_open(struct proc *p, pid_t pid)
{
	if (proc_find(p, pid))
		return fail(p->dir < 0 ? "no process %d" : "process %d has exited", pid);
	if (proc_read_vmas(p)) {
		if (errno == EACCES || errno == EPERM)
			return fail("needs root: not allowed to read /proc/%d/maps", pid);
		return proc_gone(p) ? fail("process %d has exited", pid) :
		       fail("process %d (%s) has no memory of its own: it is a kernel thread",
			    pid, p->comm);
	}
	return 0;
}

static void free_vmas(struct proc *p)
{
	size_t i;

	for (i = 0; i < p->nr_vmas; i++)
		free(p->vma[i].name);
	p->nr_vmas = 0;
}

void proc_close(struct proc *p)
{
	free_vmas(p);
	free(p->vma);
	free(p->shm_dev);
	if (p->dir >= 0)
		close(p->dir);
	if (p->pidfd >= 0)
		close(p->pidfd);
	*p = (struct proc){ .dir = -1, .pidfd = -1 };
}

static enum vma_kind kind_of(const struct proc *p, const char *name, uint64_t dev)
{
	static const struct {
		const char *prefix;
		enum vma_kind kind;
	} known[] = {
		{ "[heap]", K_HEAP }, { "[stack", K_STACK }, { "[anon:", K_ANON },
		{ "[anon_shmem:", K_SHMEM }, { "[", K_OTHER }, { "/anon_hugepage", K_OTHER },
		{ "/dev/zero", K_SHMEM }, { "/memfd:", K_SHMEM }, { "/SYSV", K_SHMEM },
	};
	size_t i;

	if (!*name)
		return K_ANON;
	for (i = 0; i < ARRAY_SIZE(known); i++)
		if (!strncmp(name, known[i].prefix, strlen(known[i].prefix)))
			return known[i].kind;
	return proc_is_tmpfs(p, dev) ? K_SHMEM : K_FILE;
}

static bool parse_vma(struct proc *p, char *line)
{
	unsigned long long start, end, offset, ino;
	unsigned int major, minor;
	struct vma *v;
	char perms[5];
	int name = 0;

	if (sscanf(line, "%llx-%llx %4s %llx %x:%x %llu %n", &start, &end, perms, &offset,
		   &major, &minor, &ino, &name) < 7)
		return false;
	if (p->nr_vmas == p->cap_vmas) {
		p->cap_vmas = p->cap_vmas ? p->cap_vmas * 2 : 256;
		p->vma = xrealloc(p->vma, p->cap_vmas * sizeof(*p->vma));
	}
	v = &p->vma[p->nr_vmas++];
	*v = (struct vma){ .start = start, .end = end };
	memcpy(v->perms, perms, sizeof(perms));
	v->name = xstrdup(line + name);
	v->kind = kind_of(p, v->name, makedev(major, minor));
	return true;
}

/* -1 when there are none: the process has exited, or is a kernel thread, or hides them (errno). */
int proc_read_vmas(struct proc *p)
{
	char *text, *line, *next;

	free_vmas(p);
	errno = 0;
	text = read_text(p->dir, "maps", NULL);
	if (!text)
		return -1;
	for (line = text; *line; line = next) {
		next = strchrnul(line, '\n');
		if (*next)
			*next++ = 0;
		parse_vma(p, line);
	}
	free(text);
	errno = 0;
	return p->nr_vmas ? 0 : -1;
}

/*
 * Wait, but not longer than the process lives: 0, E_GONE, or -1 when the user asks to stop.
 * @p may be NULL: just wait. @what goes before the share of the time that has passed.
 */
int proc_sleep(struct proc *p, double until, const char *what)
{
	struct pollfd pfd = { .fd = p ? p->pidfd : -1, .events = POLLIN };
	double step = isatty(STDERR_FILENO) ? 0.5 : until, start = now();

	for (;;) {
		double left = until - now();
		double wait = left < step ? left : step;
		struct timespec ts = { .tv_sec = wait, .tv_nsec = fmod(wait, 1) * 1e9 };

		if (stop_requested())
			return -1;
		if (left <= 0)
			return 0;
		progress(what, (until - start - left) * 1000, (until - start) * 1000 + 1);
		if (ppoll(&pfd, 1, &ts, NULL) > 0)
			return E_GONE;
	}
}

void proc_say_gone(const struct proc *p, unsigned int intervals)
{
	note("process %d (%s) has exited after %u complete interval%s", p->pid, p->comm,
	     intervals, intervals == 1 ? "" : "s");
}

static uint64_t rollup_field(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) * 1024 : 0;
}

/* A process that has just exited has none: -1 without a word. */
int proc_rollup(pid_t pid, uint64_t *rss, uint64_t *pss)
{
	char path[48], *text;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	text = read_text(AT_FDCWD, path, NULL);
	if (!text)
		return -1;
	*rss += rollup_field(text, "\nRss:");
	*pss += rollup_field(text, "\nPss:");
	free(text);
	return 0;
}

static uint64_t proc_resident(pid_t pid)
{
	unsigned long long resident = 0;
	char path[48], *text;

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	text = read_text(AT_FDCWD, path, NULL);
	if (text && sscanf(text, "%*u %llu", &resident) != 1)
		resident = 0;
	free(text);
	return resident * page_size;
}

/* Each process that /proc shows, once: those of a PID namespace below, not of one above. */
uint64_t proc_resident_all(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *e;
	uint64_t sum = 0, pid;

	while (dir && (e = readdir(dir))) {
		const char *at = e->d_name;

		if (text_number(&at, 10, INT_MAX, &pid))
			sum += proc_resident(pid);
	}
	if (dir)
		closedir(dir);
	return sum;
}

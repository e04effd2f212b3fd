// SPDX-License-Identifier: GPL-2.0
/* A cgroup and its descendants: their inodes, their processes, the frames charged to them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pagewatch.h"

#define CGROUP_ROOT	"/sys/fs/cgroup"

/* The folder that @name means: a path as it stands, else below the usual mount. */
char *cgroup_path(const char *name)
{
	size_t len = strlen(name) + sizeof(CGROUP_ROOT "//cgroup.procs");
	char *path = xrealloc(NULL, len);

	/* Every cgroup has this file, and nothing else has. */
	snprintf(path, len, "%s/cgroup.procs", name);
	if (*name != '/' || access(path, F_OK))
		snprintf(path, len, CGROUP_ROOT "/%s/cgroup.procs", name + (*name == '/'));
	if (!access(path, F_OK)) {
		*strrchr(path, '/') = 0;
		return path;
	}
	free(path);
	fail("no cgroup '%s' (looked for it below " CGROUP_ROOT " too)", name);
	return NULL;
}

static int by_ino(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int cgroup_open(struct cgroup *cg, const char *name)
{
	char *stat_file;
	size_t len;
	int ret;

	*cg = (struct cgroup){ .path = cgroup_path(name) };
	if (!cg->path)
		return -1;
	len = strlen(cg->path) + 16;
	stat_file = xrealloc(NULL, len);
	snprintf(stat_file, len, "%s/memory.stat", cg->path);
	ret = access(stat_file, F_OK);
	free(stat_file);
	if (ret)
		return fail("no memory is charged to %s: switch its controller on with\n"
			    "  echo +memory > %s/../cgroup.subtree_control", cg->path, cg->path);
	return 0;
}

static void add_pids(struct cgroup *cg, int dir)
{
	char *text = read_text(dir, "cgroup.procs", NULL);
	char *at = text, *end;

	while (at) {
		long pid = strtol(at, &end, 10);

		if (end == at)
			break;
		at = end;
		cg->pid = xrealloc(cg->pid, (cg->nr_pids + 1) * sizeof(*cg->pid));
		cg->pid[cg->nr_pids++] = pid;
	}
	free(text);
}

/* Groups come and go while this runs: one that is gone is left out. Takes over @fd. */
static void scan_dir(struct cgroup *cg, int fd)
{
	struct stat st;
	struct dirent *e;
	DIR *d = fdopendir(fd);

	if (!d) {
		close(fd);
		return;
	}
	if (!fstat(fd, &st)) {
		cg->ino = xrealloc(cg->ino, (cg->nr + 1) * sizeof(*cg->ino));
		cg->ino[cg->nr++] = st.st_ino;
	}
	add_pids(cg, fd);
	while ((e = readdir(d))) {
		if (e->d_type != DT_DIR || *e->d_name == '.')
			continue;
		fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0)
			scan_dir(cg, fd);
	}
	closedir(d);
}

int cgroup_scan(struct cgroup *cg)
{
	int fd = open(cg->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? E_GONE :
		       fail("cannot read %s: %s", cg->path, strerror(errno));
	cg->nr = 0;
	cg->nr_pids = 0;
	scan_dir(cg, fd);
	qsort(cg->ino, cg->nr, sizeof(*cg->ino), by_ino);
	return 0;
}

void cgroup_close(struct cgroup *cg)
{
	free(cg->path);
	free(cg->ino);
	free(cg->pid);
	*cg = (struct cgroup){ 0 };
}

bool cgroup_has(const struct cgroup *cg, uint64_t ino)
{
	return ino && bsearch(&ino, cg->ino, cg->nr, sizeof(ino), by_ino);
}

static void charged_bits(const struct cgroup *cg, const uint64_t *ino, uint64_t *bits)
{
	uint64_t last = 0;
	bool has = false;
	size_t i;

	memset(bits, 0, PIECE_BYTES);
	for (i = 0; i < PIECE_FRAMES; i++) {
		if (ino[i] != last) {
			last = ino[i];
			has = cgroup_has(cg, last);
		}
		bits[i / 64] |= (uint64_t)has << i % 64;
	}
}

/* Of the frames wanted, keep those charged here. A tail shows no owner: its head's is its own. */
int cgroup_want_frames(const struct cgroup *cg, struct frames *f)
{
	static uint64_t ino[PIECE_FRAMES], charged[PIECE_WORDS];
	int fd = kpage_open("kpagecgroup");
	size_t i, w;

	if (fd < 0)
		return -1;
	for (i = 0; i < f->nr; i++) {
		struct piece *p = f->piece[i];

		if (!p)
			continue;
		if (kpage_read(fd, "kpagecgroup", i * PIECE_FRAMES, ino, PIECE_FRAMES) < 0) {
			close(fd);
			return -1;
		}
		charged_bits(cg, ino, charged);
		frames_spread(charged, p->tail);
		for (w = 0; w < PIECE_WORDS; w++)
			p->want[w] &= charged[w];
		progress("reading charges", i + 1, f->nr);
	}
	close(fd);
	return 0;
}

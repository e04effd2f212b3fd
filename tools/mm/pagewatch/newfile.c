// SPDX-License-Identifier: GPL-2.0
/*
 * Files to write. A regular file appears whole or not at all: it is written beside its place and
 * renamed, at the far end of symbolic links, which stay. Anything else that has the name (a device,
 * a FIFO) is written to and stays what it is; so is what standard output goes to, as /dev/stdout.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pagewatch.h"

#define MAX_LINKS	40

/* The descriptor among standard output and error that goes to the file of @st, or -1. */
static int standard_fd(const struct stat *st)
{
	struct stat out;
	int fd;

	for (fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
		if (!fstat(fd, &out) && out.st_dev == st->st_dev && out.st_ino == st->st_ino)
			return fd;
	return -1;
}

/* What the link @path points to, as a path from here; NULL when it is no link. */
static char *read_link(const char *path)
{
	char to[4096], *slash, *joined;
	ssize_t len = readlink(path, to, sizeof(to) - 1);
	size_t dir;

	if (len < 0)
		return NULL;
	to[len] = 0;
	slash = *to == '/' ? NULL : strrchr(path, '/');
	dir = slash ? slash - path + 1 : 0;
	joined = xrealloc(NULL, dir + len + 1);
	memcpy(joined, path, dir);
	memcpy(joined + dir, to, len + 1);
	return joined;
}

/* The name at the end of the links, which need not exist yet. */
static char *follow(const char *path)
{
	char *at = xstrdup(path), *next;
	int i;

	for (i = 0; i < MAX_LINKS && (next = read_link(at)); i++) {
		free(at);
		at = next;
	}
	return at;
}

/* Is there something that a rename would replace by a file? */
static bool in_place(const char *path, struct stat *st)
{
	return !stat(path, st) && (!S_ISREG(st->st_mode) || standard_fd(st) >= 0);
}

/* Before any measuring, as an hour of it must not end with "no such directory". */
int newfile_check(const char *path)
{
	char *end, *slash;
	struct stat st;
	bool good;

	if (in_place(path, &st)) {
		good = !S_ISDIR(st.st_mode) && !access(path, W_OK);
		errno = S_ISDIR(st.st_mode) ? EISDIR : errno;
		return good ? 0 : fail("cannot write %s: %s", path, strerror(errno));
	}
	end = follow(path);
	slash = strrchr(end, '/');
	if (slash)
		slash[slash == end] = 0;
	good = !access(slash ? end : ".", W_OK);
	free(end);
	return good ? 0 : fail("cannot write %s: %s", path, strerror(errno));
}

static int open_in_place(struct newfile *nf, const struct stat *st)
{
	int fd = standard_fd(st);

	/* A socket cannot be opened by its name, and a file has its place to go on from. */
	fd = fd >= 0 ? dup(fd) : open(nf->path, O_WRONLY | O_CLOEXEC);
	nf->f = fd < 0 ? NULL : fdopen(fd, "w");
	fflush(stdout);
	return fd;
}

static int open_beside(struct newfile *nf)
{
	mode_t mask = umask(0), mode = 0666 & ~mask;
	char *end = follow(nf->path);
	size_t len = strlen(end) + 16;
	struct stat st;
	int fd;

	umask(mask);
	free(nf->path);
	nf->path = end;
	nf->temp = xrealloc(NULL, len);
	snprintf(nf->temp, len, "%s.tmp-XXXXXX", end);
	fd = mkstemp(nf->temp);
	if (fd < 0)
		return fd;
	/* Whose the file was, and who may read it, is no affair of ours. */
	if (!stat(end, &st)) {
		mode = st.st_mode & 0777;
		if (fchown(fd, st.st_uid, st.st_gid) && fchown(fd, -1, st.st_gid))
			mode &= 0700;
	}
	fchmod(fd, mode);
	nf->f = fdopen(fd, "w");
	return fd;
}

static void newfile_free(struct newfile *nf)
{
	free(nf->path);
	free(nf->temp);
	*nf = (struct newfile){ 0 };
}

int newfile_open(struct newfile *nf, const char *path)
{
	struct stat st;

	*nf = (struct newfile){ .path = xstrdup(path) };
	if (in_place(path, &st))
		open_in_place(nf, &st);
	else
		open_beside(nf);
	if (nf->f)
		return 0;
	fail("cannot write %s: %s", path, strerror(errno));
	newfile_free(nf);
	return -1;
}

int newfile_commit(struct newfile *nf)
{
	/* Only what is renamed must be on the disk before. */
	bool bad = fflush(nf->f) || ferror(nf->f) || (nf->temp && fsync(fileno(nf->f)));

	if (fclose(nf->f) || bad || (nf->temp && rename(nf->temp, nf->path))) {
		fail("cannot write %s: %s", nf->path, strerror(errno));
		if (nf->temp)
			unlink(nf->temp);
		newfile_free(nf);
		return -1;
	}
	newfile_free(nf);
	return 0;
}

void newfile_abort(struct newfile *nf)
{
	fclose(nf->f);
	if (nf->temp)
		unlink(nf->temp);
	newfile_free(nf);
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A file system in user space with one file, whose server answers everything but reads, until it is
 * told to: pages of the page cache that stay locked and without contents for as long as one likes.
 */
#ifndef FOLIAGE_FUSE_H
#define FOLIAGE_FUSE_H

#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>

#include "migrate.h"

#define FUSE_DIR	"/tmp/foliage-fuse"
#define FUSE_FILE	FUSE_DIR "/file"
#define FUSE_PAGES	64UL

struct fuse {
	int dev, order[2];	/* order: a byte that is written says that reads be answered */
	bool answers;
	struct {
		uint64_t unique, offset;
		uint32_t size;
	} held[FUSE_PAGES];
	size_t n;
};

static inline uint64_t fuse_word(size_t i)
{
	return 0xf000000 + i;
}

static inline void fuse_reply(struct fuse *f, uint64_t unique, int error, const void *p, size_t len)
{
	struct fuse_out_header out = { .len = sizeof(out) + len, .error = error, .unique = unique };
	struct iovec iov[2] = { { &out, sizeof(out) }, { (void *)p, len } };

	/* ENOENT: nobody waits for this any more. */
	if (writev(f->dev, iov, len ? 2 : 1) < 0 && errno != ENOENT)
		fail_setup("FUSE: reply");
}

static inline void fuse_contents(struct fuse *f, uint64_t unique, uint64_t offset, uint32_t size)
{
	uint64_t *p = malloc(size);

	for (size_t i = 0; i < size / 8; i++)
		p[i] = fuse_word(offset / 8 + i);
	fuse_reply(f, unique, 0, p, size);
	free(p);
}

static inline struct fuse_attr fuse_attr_of(uint64_t node)
{
	return (struct fuse_attr){
		.ino = node,
		.mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644,
		.size = node == FUSE_ROOT_ID ? 0 : FUSE_PAGES * PAGE,
		.nlink = 1,
	};
}

static inline void fuse_read(struct fuse *f, uint64_t unique, const struct fuse_read_in *in)
{
	if (f->answers) {
		fuse_contents(f, unique, in->offset, in->size);
		return;
	}
	f->held[f->n].unique = unique;
	f->held[f->n].offset = in->offset;
	f->held[f->n++].size = in->size;
}

static inline void fuse_request(struct fuse *f, const struct fuse_in_header *in)
{
	struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION, .minor = 31, .max_readahead = FUSE_PAGES * PAGE,
		.flags = FUSE_ASYNC_READ, .max_write = FUSE_PAGES * PAGE,
		.max_background = FUSE_PAGES, .congestion_threshold = FUSE_PAGES,
	};
	struct fuse_entry_out entry = {
		.nodeid = 2, .attr_valid = 9999, .entry_valid = 9999, .attr = fuse_attr_of(2),
	};
	struct fuse_attr_out attr = { .attr_valid = 9999, .attr = fuse_attr_of(in->nodeid) };
	struct fuse_open_out open = { .open_flags = FOPEN_KEEP_CACHE };

	switch (in->opcode) {
	case FUSE_INIT:
		return fuse_reply(f, in->unique, 0, &init, sizeof(init));
	case FUSE_LOOKUP:
		return fuse_reply(f, in->unique, 0, &entry, sizeof(entry));
	case FUSE_GETATTR:
		return fuse_reply(f, in->unique, 0, &attr, sizeof(attr));
	case FUSE_OPEN:
		return fuse_reply(f, in->unique, 0, &open, sizeof(open));
	case FUSE_READ:
		return fuse_read(f, in->unique, (const void *)(in + 1));
	case FUSE_RELEASE:
		return fuse_reply(f, in->unique, 0, NULL, 0);
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return;
	default:
		return fuse_reply(f, in->unique, -ENOSYS, NULL, 0);
	}
}

/* -> how the process ends: 0 when the file system was unmounted. */
static inline int fuse_serve(struct fuse *f)
{
	static uint64_t buf[(FUSE_PAGES + 1) * PAGE / 8];
	struct pollfd fds[2] = {
		{ .fd = f->dev, .events = POLLIN }, { .fd = f->order[0], .events = POLLIN },
	};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		if (poll(fds, f->answers ? 1 : 2, -1) < 0)
			return 2;
		if (!f->answers && fds[1].revents) {
			f->answers = true;
			for (size_t i = 0; i < f->n; i++)
				fuse_contents(f, f->held[i].unique, f->held[i].offset,
					      f->held[i].size);
		}
		if (!fds[0].revents)
			continue;
		if (read(f->dev, buf, sizeof(buf)) < 0) {
			if (errno == ENODEV)
				return 0;
			if (errno != EINTR && errno != ENOENT && errno != EAGAIN)
				return 1;
			continue;
		}
		fuse_request(f, (struct fuse_in_header *)buf);
	}
}

/* Mounted, and served by a process of its own: no request waits for the one that makes it. */
static inline pid_t fuse_start(struct fuse *f)
{
	char options[96];
	pid_t pid;

	*f = (struct fuse){ .dev = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC) };
	if (f->dev < 0 || pipe(f->order))
		fail_setup("/dev/fuse");
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", f->dev);
	mkdir(FUSE_DIR, 0755);
	if (mount("foliage", FUSE_DIR, "fuse", MS_NOSUID | MS_NODEV, options))
		fail_setup("FUSE: mount");
	pid = fork();
	if (!pid)
		_exit(fuse_serve(f));
	close(f->dev);
	return pid;
}

static inline void fuse_answer(struct fuse *f)
{
	if (write(f->order[1], "", 1) != 1)
		fail_setup("FUSE: order");
}

#endif

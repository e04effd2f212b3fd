// SPDX-License-Identifier: GPL-2.0
/*
 * Filling memory through userfaultfd. The op's size is the bytes of one ioctl; the pages are always
 * 4 KiB.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "uffd.h"

int uffd_open(const struct region *r, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)r->mem, .len = r->len },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		fail("userfaultfd: %s (needs root and CONFIG_USERFAULTFD)", strerror(errno));
	if (ioctl(fd, UFFDIO_API, &api) < 0)
		fail("userfaultfd lacks the features %#llx: %s", (unsigned long long)features,
		     strerror(errno));
	must(ioctl(fd, UFFDIO_REGISTER, &reg));
	return fd;
}

static void check_filled(const struct region *r)
{
	size_t have = region_count(r, PM_PRESENT), want = r->len / PAGE;

	if (have != want)
		fail("%zu pages of %zu are present after they were all filled", have, want);
}

void uffd_copy(struct bench *b)
{
	struct region src = region_new(b, FOLIO_4K), dst = region_map(b, FOLIO_4K, 0);
	int fd = uffd_open(&dst, 0);
	size_t at, step = b->op->size;

	meter_begin(b);
	for (at = 0; at < dst.len; at += step) {
		struct uffdio_copy c = {
			.dst = (uintptr_t)dst.mem + at, .src = (uintptr_t)src.mem + at, .len = step,
		};

		must(ioctl(fd, UFFDIO_COPY, &c));
	}
	meter_end(b, dst.len / PAGE);
	check_filled(&dst);
	if (memcmp(src.mem, dst.mem, dst.len))
		fail("UFFDIO_COPY copied something else");
	close(fd);
	region_free(&src);
	region_free(&dst);
}

void uffd_zeropage(struct bench *b)
{
	struct region dst = region_map(b, FOLIO_4K, 0);
	int fd = uffd_open(&dst, 0);
	size_t at, step = b->op->size;

	meter_begin(b);
	for (at = 0; at < dst.len; at += step) {
		struct uffdio_zeropage z = {
			.range = { .start = (uintptr_t)dst.mem + at, .len = step },
		};

		must(ioctl(fd, UFFDIO_ZEROPAGE, &z));
	}
	meter_end(b, dst.len / PAGE);
	check_filled(&dst);
	close(fd);
	region_free(&dst);
}

void uffd_move(struct bench *b)
{
	struct region src = region_new(b, FOLIO_4K), dst = region_map(b, FOLIO_4K, 0);
	int fd = uffd_open(&dst, UFFD_FEATURE_MOVE);
	size_t at, step = b->op->size;

	drain_lru();
	meter_begin(b);
	for (at = 0; at < dst.len; at += step) {
		struct uffdio_move m = {
			.dst = (uintptr_t)dst.mem + at, .src = (uintptr_t)src.mem + at, .len = step,
		};

		must(ioctl(fd, UFFDIO_MOVE, &m));
	}
	meter_end(b, dst.len / PAGE);
	check_filled(&dst);
	if (region_count(&src, PM_PRESENT))
		fail("UFFDIO_MOVE left pages at the source");
	close(fd);
	region_free(&src);
	region_free(&dst);
}

/**
 * struct handler - what the thread that resolves faults works with
 * @left: faults still to come
 * @source: a page of content
 */
struct handler {
	int fd;
	size_t left;
	void *source;
};

static void *handle_faults(void *arg)
{
	struct handler *h = arg;
	struct uffd_msg msg;

	for (; h->left; h->left--) {
		struct uffdio_copy c = { .src = (uintptr_t)h->source, .len = PAGE };

		if (must(read(h->fd, &msg, sizeof(msg))) != sizeof(msg) ||
		    msg.event != UFFD_EVENT_PAGEFAULT)
			fail("userfaultfd sent something else than a page fault");
		c.dst = msg.arg.pagefault.address & ~(PAGE - 1);
		must(ioctl(h->fd, UFFDIO_COPY, &c));
	}
	return NULL;
}

/* A fault is sent, read, answered with a page, and the faulting thread goes on. */
void uffd_fault(struct bench *b)
{
	struct region dst = region_map(b, FOLIO_4K, 0);
	struct handler h = { .fd = uffd_open(&dst, 0), .left = dst.len / PAGE };
	pthread_t thread;
	size_t at;

	h.source = aligned_alloc(PAGE, PAGE);
	if (!h.source)
		fail("no memory for a page");
	memset(h.source, 7, PAGE);
	if (pthread_create(&thread, NULL, handle_faults, &h))
		fail("could not start the thread that handles faults");
	meter_begin(b);
	for (at = 0; at < dst.len; at += PAGE)
		if (*(volatile char *)(dst.mem + at) != 7)
			fail("a fault was resolved with the wrong content");
	meter_end(b, dst.len / PAGE);
	if (pthread_join(thread, NULL))
		fail("the thread that handles faults did not end");
	close(h.fd);
	free(h.source);
	region_free(&dst);
}

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

/**
 * struct crowd - threads that wait for memory of the same userfaultfd
 * @pages: a page for each
 * @stacks: for each, all in one mapping: as many more VMAs would make each look for one longer
 * @threads: them
 * @n: how many
 */
struct crowd {
	char *pages;
	char *stacks;
	pthread_t *threads;
	size_t n;
};

#define STACK	(64UL << 10)

static void *wait_for_page(void *page)
{
	return (void *)(uintptr_t)*(volatile char *)page;
}

/* All of them wait, and have been read, when it returns. */
static struct crowd crowd_start(int fd, size_t n)
{
	struct crowd c = { .n = n };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	pthread_attr_t own;
	struct uffd_msg msg;

	if (!n)
		return c;
	c.pages = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	c.stacks = mmap(NULL, n * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	c.threads = calloc(n, sizeof(*c.threads));
	if (c.pages == MAP_FAILED || c.stacks == MAP_FAILED || !c.threads)
		fail("no memory for a page of each of %zu threads", n);
	reg.range = (struct uffdio_range){ (uintptr_t)c.pages, n * PAGE };
	must(ioctl(fd, UFFDIO_REGISTER, &reg));
	for (size_t i = 0; i < n; i++) {
		pthread_attr_init(&own);
		pthread_attr_setstack(&own, c.stacks + i * STACK, STACK);
		if (pthread_create(&c.threads[i], &own, wait_for_page, c.pages + i * PAGE))
			fail("could not start %zu threads", n);
		pthread_attr_destroy(&own);
	}
	for (size_t i = 0; i < n; i++)
		if (must(read(fd, &msg, sizeof(msg))) != sizeof(msg))
			fail("userfaultfd sent half a message");
	return c;
}

static void crowd_end(int fd, struct crowd *c)
{
	struct uffdio_zeropage z = { .range = { .start = (uintptr_t)c->pages, .len = c->n * PAGE } };

	if (!c->n)
		return;
	must(ioctl(fd, UFFDIO_ZEROPAGE, &z));
	for (size_t i = 0; i < c->n; i++)
		if (pthread_join(c->threads[i], NULL))
			fail("a thread that waited did not end");
	must(munmap(c->pages, c->n * PAGE));
	must(munmap(c->stacks, c->n * STACK));
	free(c->threads);
}

/* @folio: the largest that may come */
static void copy_beside(struct bench *b, size_t step, size_t waiting, size_t folio)
{
	struct region src = region_new(b, FOLIO_4K), dst = region_map(b, folio, 0);
	int fd = uffd_open(&dst, 0);
	struct crowd crowd = crowd_start(fd, waiting);
	size_t at;

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
	crowd_end(fd, &crowd);
	close(fd);
	region_free(&src);
	region_free(&dst);
}

void uffd_copy(struct bench *b)
{
	copy_beside(b, b->op->size, 0, FOLIO_4K);
}

/* 2 MiB a call, where folios of op->size are allowed. */
void uffd_copy_large(struct bench *b)
{
	copy_beside(b, FOLIO_2M, 0, b->op->size);
}

/* A page a call, while op->size threads wait for other pages. */
void uffd_copy_beside(struct bench *b)
{
	copy_beside(b, PAGE, b->op->size, FOLIO_4K);
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

static void move(struct bench *b, size_t step, size_t folio)
{
	struct region src = region_new(b, folio), dst = region_map(b, FOLIO_4K, 0);
	int fd = uffd_open(&dst, UFFD_FEATURE_MOVE);
	size_t at;

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

void uffd_move(struct bench *b)
{
	move(b, b->op->size, FOLIO_4K);
}

/* 2 MiB a call, of folios of op->size. */
void uffd_move_large(struct bench *b)
{
	move(b, FOLIO_2M, b->op->size);
}

static void protect(int fd, struct region *r, uint64_t mode)
{
	size_t at;

	for (at = 0; at < r->len; at += FOLIO_2M) {
		struct uffdio_writeprotect wp = {
			.range = { .start = (uintptr_t)r->mem + at, .len = FOLIO_2M }, .mode = mode,
		};

		must(ioctl(fd, UFFDIO_WRITEPROTECT, &wp));
	}
}

/* Pages of op->size are protected, or what was protected no longer is: 2 MiB a call. */
static void protect_or_not(struct bench *b, bool end)
{
	struct region r = region_new(b, b->op->size);
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)r.mem, .len = r.len }, .mode = UFFDIO_REGISTER_MODE_WP,
	};
	int fd = uffd_open(&r, 0);

	must(ioctl(fd, UFFDIO_REGISTER, &reg));
	if (end)
		protect(fd, &r, UFFDIO_WRITEPROTECT_MODE_WP);
	meter_begin(b);
	protect(fd, &r, end ? 0 : UFFDIO_WRITEPROTECT_MODE_WP);
	meter_end(b, r.len / PAGE);
	if (region_count(&r, PM_UFFD_WP) != (end ? 0 : r.len / PAGE))
		fail("UFFDIO_WRITEPROTECT left pages as they were");
	close(fd);
	region_free(&r);
}

void uffd_protect(struct bench *b)
{
	protect_or_not(b, false);
}

void uffd_unprotect(struct bench *b)
{
	protect_or_not(b, true);
}

/* Shared memory of folios of op->size that has been written through another mapping: 2 MiB a call. */
void uffd_continue(struct bench *b)
{
	struct region r = region_map(b, b->op->size, 0), dst = region_map(b, b->op->size, 0);
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MINOR };
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_MINOR_SHMEM };
	int fd = must(syscall(SYS_userfaultfd, O_CLOEXEC)), file = region_shmem(&r);
	size_t at;

	if (mmap(dst.mem, dst.len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) ==
	    MAP_FAILED)
		fail("a second mapping: %s", strerror(errno));
	reg.range = (struct uffdio_range){ (uintptr_t)dst.mem, r.len };
	must(ioctl(fd, UFFDIO_API, &api));
	must(ioctl(fd, UFFDIO_REGISTER, &reg));
	meter_begin(b);
	for (at = 0; at < r.len; at += FOLIO_2M) {
		struct uffdio_continue c = {
			.range = { .start = (uintptr_t)dst.mem + at, .len = FOLIO_2M },
		};

		must(ioctl(fd, UFFDIO_CONTINUE, &c));
	}
	meter_end(b, r.len / PAGE);
	check_filled(&dst);
	close(fd);
	close(file);
	region_free(&dst);
	region_free(&r);
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

/* A fault is sent, read, answered with a page, and the faulting thread goes on. Meanwhile others wait. */
static void fault_beside(struct bench *b, size_t waiting)
{
	struct region dst = region_map(b, FOLIO_4K, 0);
	struct handler h = { .fd = uffd_open(&dst, 0), .left = dst.len / PAGE };
	struct crowd crowd = crowd_start(h.fd, waiting);
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
	crowd_end(h.fd, &crowd);
	close(h.fd);
	free(h.source);
	region_free(&dst);
}

void uffd_fault(struct bench *b)
{
	fault_beside(b, 0);
}

/* op->size threads wait for other pages. */
void uffd_fault_beside(struct bench *b)
{
	fault_beside(b, b->op->size);
}

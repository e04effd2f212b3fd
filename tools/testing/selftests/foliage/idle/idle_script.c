// SPDX-License-Identifier: GPL-2.0
/*
 * A random access script, the same on every kernel for one seed: memory of each
 * kind, rounds of mark, touch, read; prints the idle bits by page, not by frame.
 * Two kernels must print the same.
 *
 *	idle_script [SEED]
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "foliage.h"

#define PAGES	2048UL
#define ROUNDS	6

static unsigned int state;

static unsigned int next(unsigned int below)
{
	state = state * 1103515245 + 12345;
	return (state >> 8) % below;
}

static void touch_some(struct region *r)
{
	unsigned int n = next(600);

	flush_tlb();
	while (n--) {
		char *p = r->p + next(r->pages) * PAGE + next(PAGE);

		if (next(2))
			*p = n;
		else
			(void)*(volatile char *)p;
	}
}

/* Children share the region and touch some of it themselves, one after the other. */
static void touch_as_children(struct region *r)
{
	for (unsigned int i = next(3); i > 0; i--) {
		pid_t pid = fork();

		if (!pid) {
			state += i;
			for (int k = 0; k < 50; k++)
				(void)*(volatile char *)(r->p + next(r->pages) * PAGE);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
	}
}

static void use_the_file(struct region *r)
{
	char c = 1;

	for (unsigned int n = next(100); r->fd >= 0 && n; n--) {
		off_t at = next(r->pages) * PAGE;

		if ((next(2) ? pread(r->fd, &c, 1, at) : pwrite(r->fd, &c, 1, at)) != 1)
			fail_setup("file of kind %d", r->kind);
	}
}

static void print_bits(struct region *r, int round)
{
	static bool idle[PAGES];

	region_read(r, idle);
	printf("kind %d round %d ", r->kind, round);
	for (size_t i = 0; i < r->pages; i += 4)
		printf("%x", idle[i] | idle[i + 1] << 1 | idle[i + 2] << 2 | idle[i + 3] << 3);
	printf("\n");
}

int main(int argc, char **argv)
{
	static const enum kind kinds[] = { ANON_4K, ANON_64K, ANON_2M, SHMEM, FILE_EXT4 };
	struct region r;

	state = argc > 1 ? atoi(argv[1]) : 1;
	for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
		region_make(&r, kinds[k], PAGES);
		for (int round = 0; round < ROUNDS; round++) {
			if (round != 3)
				region_mark(&r);
			touch_some(&r);
			/* A child's references to file pages outlive it; to anonymous ones not. */
			if (r.fd < 0)
				touch_as_children(&r);
			use_the_file(&r);
			print_bits(&r, round);
		}
		region_free(&r);
	}
	return 0;
}

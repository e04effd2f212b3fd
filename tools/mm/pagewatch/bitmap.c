// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/mm/page_idle/bitmap: bit i%64 of word i/64 is page frame i; 1 written marks it idle,
 * 1 read means that nothing referenced it since. Only pieces that hold a watched frame are asked
 * for, neighbours together. sysfs passes at most a page per call, whatever is asked, so a short
 * answer is normal.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "pagewatch.h"

#define BITMAP_DIR	"/sys/kernel/mm/page_idle"
#define BITMAP		BITMAP_DIR "/bitmap"
#define MAX_PIECES	32	/* 128 KiB in one call where the kernel allows it */

int bitmap_open(void)
{
	int fd = open(BITMAP, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == EACCES || errno == EPERM)
		return fail("needs root: " BITMAP " is for root alone, "
			    "and /proc/PID/pagemap hides frame numbers otherwise");
	if (errno == ENOENT)
		return fail("the kernel lacks CONFIG_IDLE_PAGE_TRACKING: no " BITMAP);
	return fail("cannot open " BITMAP ": %s", strerror(errno));
}

static bool piece_wanted(const struct piece *p)
{
	size_t w;

	for (w = 0; p && w < PIECE_WORDS; w++)
		if (p->want[w])
			return true;
	return false;
}

/* The next stretch of wanted pieces at or after *@i; its length, 0 at the end. */
static size_t next_stretch(const struct frames *f, size_t *i)
{
	size_t n = 0;

	while (*i < f->nr && !piece_wanted(f->piece[*i]))
		++*i;
	while (*i + n < f->nr && n < MAX_PIECES && piece_wanted(f->piece[*i + n]))
		n++;
	return n;
}

int bitmap_read(int fd, struct frames *f)
{
	static uint64_t buf[MAX_PIECES * PIECE_WORDS];
	size_t i, n, k;

	for (i = 0; (n = next_stretch(f, &i)); i += n) {
		size_t bytes = n * PIECE_BYTES, done = 0;

		while (done < bytes) {
			ssize_t r = pread(fd, (char *)buf + done, bytes - done,
					  i * PIECE_BYTES + done);

			if (r < 0 && errno == EINTR && !stop_requested())
				continue;
			if (r < 0 && errno == EINTR)
				return -1;
			if (r < 0)
				return fail("cannot read " BITMAP ": %s", strerror(errno));
			if (!r)
				break;		/* the end of memory */
			done += r;
		}
		memset((char *)buf + done, 0, bytes - done);
		for (k = 0; k < n; k++)
			memcpy(f->piece[i + k]->idle, buf + k * PIECE_WORDS, PIECE_BYTES);
		progress("reading idle state", i + n, f->nr);
	}
	return 0;
}

/*
 * Tails are left out: the kernel would pass over each. A watched tail needs its head marked, which
 * need not be watched itself (a process may map the middle of a folio).
 */
static void mark_words(const struct piece *p, uint64_t *out)
{
	bool owed = false;
	size_t w;

	for (w = PIECE_WORDS; w-- > 0;) {
		uint64_t tails = p->want[w] & p->tail[w];
		uint64_t heads = p->want[w] & ~p->tail[w];

		if (owed && ~p->tail[w]) {
			heads |= 1ULL << (63 - __builtin_clzll(~p->tail[w]));
			owed = false;
		}
		while (tails) {
			unsigned int b = 63 - __builtin_clzll(tails);
			uint64_t below = ~p->tail[w] & ((1ULL << b) - 1);

			if (!below) {
				owed = true;
				break;
			}
			b = 63 - __builtin_clzll(below);
			heads |= 1ULL << b;
			tails &= (1ULL << b) - 1;
		}
		out[w] = heads;
	}
}

int bitmap_mark(int fd, struct frames *f)
{
	static uint64_t buf[MAX_PIECES * PIECE_WORDS];
	size_t i, n, k;

	for (i = 0; (n = next_stretch(f, &i)); i += n) {
		size_t bytes = n * PIECE_BYTES, done = 0;

		for (k = 0; k < n; k++)
			mark_words(f->piece[i + k], buf + k * PIECE_WORDS);
		while (done < bytes) {
			ssize_t r = pwrite(fd, (char *)buf + done, bytes - done,
					   i * PIECE_BYTES + done);

			if (r < 0 && errno == EINTR && !stop_requested())
				continue;
			if (r < 0 && errno == EINTR)
				return -1;
			/* Memory ends within the piece: no frame is there to be marked. */
			if (!r || (r < 0 && errno == ENXIO))
				break;
			if (r < 0)
				return fail("cannot write " BITMAP ": %s", strerror(errno));
			done += r;
		}
		progress("marking", i + n, f->nr);
	}
	return 0;
}

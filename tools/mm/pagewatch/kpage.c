// SPDX-License-Identifier: GPL-2.0
/*
 * /proc/kpageflags and /proc/kpagecount: eight bytes a frame. A frame of kpageflags costs the
 * kernel more than its idle bit does, so they are read only where the answer can matter.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "pagewatch.h"

static uint64_t buf[PIECE_FRAMES];

int kpage_open(const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	if (errno == EACCES || errno == EPERM)
		return fail("needs root: %s is for root alone", path);
	if (errno == ENOENT)
		return fail("the kernel lacks %s: no %s",
			    strcmp(name, "kpagecgroup") ? "CONFIG_PROC_PAGE_MONITOR" :
			    "CONFIG_PROC_PAGE_MONITOR with CONFIG_MEMCG", path);
	return fail("cannot open %s: %s", path, strerror(errno));
}

/* Up to @nr entries from frame @pfn; fewer at the end of memory, the rest of @out zeroed. */
ssize_t kpage_read(int fd, const char *name, uint64_t pfn, uint64_t *out, size_t nr)
{
	size_t bytes = nr * 8, done = 0;

	/* A large machine has minutes of this: somebody may want to stop it. */
	while (done < bytes && !stop_requested()) {
		ssize_t r = pread(fd, (char *)out + done, bytes - done, pfn * 8 + done);

		if (r < 0 && errno == EINTR && !stop_requested())
			continue;
		if (r < 0)
			return errno == EINTR ? -1 :
			       fail("cannot read /proc/%s: %s", name, strerror(errno));
		if (!r)
			break;
		done += r;
	}
	if (stop_requested())
		return -1;
	memset((char *)out + done, 0, bytes - done);
	return done / 8;
}

static void decode_word(struct piece *p, size_t w, const uint64_t *flags)
{
	uint64_t tail = 0, lru = 0, mapped = 0;
	unsigned int b;

	for (b = 0; b < 64; b++) {
		tail |= (flags[b] >> KPF_TAIL & 1) << b;
		lru |= (flags[b] >> KPF_LRU & 1) << b;
		mapped |= (flags[b] >> KPF_MMAP & 1) << b;
	}
	p->tail[w] = tail;
	p->lru[w] = lru;
	p->mapped[w] = mapped;
}

static int read_words(int fd, struct piece *p, uint64_t base, size_t from, size_t to)
{
	size_t w;

	if (kpage_read(fd, "kpageflags", base + from * 64, buf, (to - from) * 64) < 0)
		return -1;
	for (w = from; w < to; w++)
		decode_word(p, w, buf + (w - from) * 64);
	return 0;
}

/*
 * A folio may begin before the words asked for. Its frames are a power of two and aligned to it,
 * so step back by 512 frames (2 MiB of 4 KiB pages, the usual largest) until a head is in sight.
 */
static int read_back(int fd, struct piece *p, uint64_t base, size_t from, size_t known)
{
	while (from > known && (p->tail[from] & 1)) {
		size_t to = from;

		from = (from - 1) & ~7UL;
		if (from < known)
			from = known;
		if (read_words(fd, p, base, from, to))
			return -1;
	}
	return 0;
}

/*
 * Learn which wanted frames are tails or on no list. One whose own idle bit is set is neither, so
 * words in which all are idle are passed over; the facts are made up to agree with that.
 */
int kpage_flags_pending(int fd, struct frames *f)
{
	size_t i, w, to;

	for (i = 0; i < f->nr; i++) {
		struct piece *p = f->piece[i];
		size_t known = 0;

		if (!p)
			continue;
		memset(p->tail, 0, sizeof(p->tail));
		memcpy(p->lru, p->want, sizeof(p->lru));
		memcpy(p->mapped, p->want, sizeof(p->mapped));
		for (w = 0; w < PIECE_WORDS; w = to) {
			to = w + 1;
			if (!(p->want[w] & ~p->idle[w]))
				continue;
			while (to < PIECE_WORDS && (p->want[to] & ~p->idle[to]))
				to++;
			if (read_words(fd, p, i * PIECE_FRAMES, w, to) ||
			    read_back(fd, p, i * PIECE_FRAMES, w, known))
				return -1;
			known = to;
		}
		progress("reading page flags", i + 1, f->nr);
	}
	return 0;
}

static bool decode_piece(struct frames *f, uint64_t pfn, size_t nr)
{
	const uint64_t user = KPF_BIT(KPF_LRU) | KPF_BIT(KPF_MMAP);
	struct piece *p = NULL;
	size_t i, w, b;

	for (i = 0; i < nr && !p; i++)
		if (buf[i] & user)
			p = frames_piece(f, pfn);
	if (!p) {
		/* It may have had user pages the last time. */
		if (pfn / PIECE_FRAMES < f->nr && f->piece[pfn / PIECE_FRAMES])
			memset(f->piece[pfn / PIECE_FRAMES], 0, offsetof(struct piece, count));
		return false;
	}
	for (w = 0; w < PIECE_WORDS; w++) {
		uint64_t anon = 0, swapbacked = 0;

		decode_word(p, w, buf + w * 64);
		for (b = 0; b < 64; b++) {
			anon |= (buf[w * 64 + b] >> KPF_ANON & 1) << b;
			swapbacked |= (buf[w * 64 + b] >> KPF_SWAPBACKED & 1) << b;
		}
		p->anon[w] = anon;
		p->swapbacked[w] = swapbacked;
	}
	/* Before 6.8 a tail showed its own flags, which say nothing about its folio. */
	frames_spread(p->lru, p->tail);
	frames_spread(p->anon, p->tail);
	frames_spread(p->swapbacked, p->tail);
	for (w = 0; w < PIECE_WORDS; w++)
		p->want[w] = p->lru[w] | p->mapped[w];
	return true;
}

/* The whole machine: want every frame that holds a user's data. */
int kpage_flags_all(int fd, struct frames *f)
{
	uint64_t pfn;

	for (pfn = 0;; pfn += PIECE_FRAMES) {
		ssize_t nr = kpage_read(fd, "kpageflags", pfn, buf, PIECE_FRAMES);

		if (nr <= 0)
			return nr;
		decode_piece(f, pfn, nr);
		progress("reading page flags, MiB", pfn * page_size >> 20, 0);
	}
}

/* How often the shared frames are mapped, for their proportional size. */
int kpage_counts(int fd, struct frames *f)
{
	size_t i, k, w, to;

	for (i = 0; i < f->nr; i++) {
		struct piece *p = f->piece[i];

		for (w = 0; p && w < PIECE_WORDS; w = to) {
			to = w + 1;
			if (!p->shared[w])
				continue;
			while (to < PIECE_WORDS && p->shared[to])
				to++;
			if (!p->count)
				p->count = xcalloc(PIECE_FRAMES, sizeof(*p->count));
			if (kpage_read(fd, "kpagecount", i * PIECE_FRAMES + w * 64, buf,
				       (to - w) * 64) < 0)
				return -1;
			for (k = 0; k < (to - w) * 64; k++)
				p->count[w * 64 + k] = buf[k] < 65535 ? buf[k] : 65535;
		}
	}
	return 0;
}

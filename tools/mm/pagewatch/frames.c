// SPDX-License-Identifier: GPL-2.0
/*
 * What is known of each page frame, a bit per fact, in pieces that are as long as one call to the
 * idle bitmap can be. Facts of 64 frames are one word, so counting costs a few operations per word.
 */
#include <stdlib.h>
#include <string.h>

#include "pagewatch.h"

struct piece *frames_piece(struct frames *f, uint64_t pfn)
{
	size_t i = pfn / PIECE_FRAMES;

	if (i >= f->nr) {
		f->piece = xrealloc(f->piece, (i + 1) * sizeof(*f->piece));
		memset(f->piece + f->nr, 0, (i + 1 - f->nr) * sizeof(*f->piece));
		f->nr = i + 1;
	}
	if (!f->piece[i])
		f->piece[i] = xcalloc(1, sizeof(struct piece));
	return f->piece[i];
}

/* The bits of word @w that [@first, @last) covers, both relative to the piece. */
static uint64_t word_mask(size_t w, uint64_t first, uint64_t last)
{
	uint64_t mask = ~0ULL;

	if (first > w * 64)
		mask <<= first - w * 64;
	if (last < (w + 1) * 64)
		mask &= ~0ULL >> ((w + 1) * 64 - last);
	return mask;
}

void frames_want(struct frames *f, uint64_t pfn, uint64_t nr, bool shared)
{
	while (nr) {
		struct piece *p = frames_piece(f, pfn);
		uint64_t first = pfn % PIECE_FRAMES;
		uint64_t last = first + nr < PIECE_FRAMES ? first + nr : PIECE_FRAMES;
		size_t w;

		for (w = first / 64; w * 64 < last; w++) {
			uint64_t mask = word_mask(w, first, last);

			p->want[w] |= mask;
			if (shared)
				p->shared[w] |= mask;
		}
		pfn += last - first;
		nr -= last - first;
	}
}

/* A new look at the target begins; what could not be marked stays known. */
void frames_forget(struct frames *f)
{
	size_t i;

	for (i = 0; i < f->nr; i++) {
		struct piece *p = f->piece[i];

		if (!p)
			continue;
		memset(p->want, 0, sizeof(p->want));
		memset(p->idle, 0, sizeof(p->idle));
		memset(p->shared, 0, sizeof(p->shared));
	}
}

void frames_free(struct frames *f)
{
	size_t i;

	for (i = 0; i < f->nr; i++) {
		if (f->piece[i])
			free(f->piece[i]->count);
		free(f->piece[i]);
	}
	free(f->piece);
	*f = (struct frames){ 0 };
}

/*
 * Give each tail the bit of its head. A run of tails within a word takes the bit before it; one
 * that begins a word takes the last bit of the word before, which has been settled by then.
 */
void frames_spread(uint64_t *bits, const uint64_t *tail)
{
	uint64_t carry = 0;
	size_t w;

	for (w = 0; w < PIECE_WORDS; w++) {
		uint64_t left = tail[w];

		bits[w] &= ~tail[w];
		while (left) {
			unsigned int b = __builtin_ctzll(left);
			uint64_t gap = ~(left >> b);
			unsigned int n = gap ? __builtin_ctzll(gap) : 64;
			uint64_t run = (n == 64 ? ~0ULL : (1ULL << n) - 1) << b;

			if (b ? bits[w] >> (b - 1) & 1 : carry)
				bits[w] |= run;
			left &= ~run;
		}
		carry = bits[w] >> 63;
	}
}

/* Only heads carry the flags that the kernel looks at: let the tails answer as their heads do. */
void frames_judge(struct frames *f)
{
	size_t i;

	for (i = 0; i < f->nr; i++) {
		struct piece *p = f->piece[i];

		if (!p)
			continue;
		frames_spread(p->idle, p->tail);
		frames_spread(p->lru, p->tail);
	}
}

/*
 * To be called when the frames have just been marked: those that were on no LRU list then were
 * passed over, and will look referenced when they are read back. They are neither.
 */
void frames_note_missed(struct frames *f)
{
	size_t i, w;

	for (i = 0; i < f->nr; i++) {
		struct piece *p = f->piece[i];

		for (w = 0; p && w < PIECE_WORDS; w++)
			p->missed[w] = p->want[w] & ~p->lru[w];
	}
}

void tally_words(const struct piece *p, size_t w, uint64_t mask, struct tally *t)
{
	uint64_t idle = p->idle[w] & mask;
	uint64_t used = p->lru[w] & ~idle & ~p->missed[w] & mask;

	t->idle += __builtin_popcountll(idle);
	t->referenced += __builtin_popcountll(used);
	t->untracked += __builtin_popcountll(mask & ~idle & ~used);
	t->rss += __builtin_popcountll(mask & (p->mapped[w] | idle));
}

static double shared_pss(const struct piece *p, size_t w, uint64_t mask)
{
	double pss = 0;

	for (; mask; mask &= mask - 1) {
		unsigned int count = p->count[w * 64 + __builtin_ctzll(mask)];

		pss += count ? 1.0 / count : 1.0;
	}
	return pss;
}

void frames_tally(const struct frames *f, uint64_t pfn, uint64_t nr, struct tally *t)
{
	while (nr) {
		const struct piece *p = f->piece[pfn / PIECE_FRAMES];
		uint64_t first = pfn % PIECE_FRAMES;
		uint64_t last = first + nr < PIECE_FRAMES ? first + nr : PIECE_FRAMES;
		size_t w;

		for (w = first / 64; w * 64 < last; w++) {
			uint64_t mask = word_mask(w, first, last);
			uint64_t shared = p->count ? p->shared[w] & mask : 0;
			uint64_t rss = p->mapped[w] | p->idle[w];

			tally_words(p, w, mask, t);
			shared &= rss;
			t->pss += __builtin_popcountll(mask & rss & ~shared);
			if (shared)
				t->pss += shared_pss(p, w, shared);
		}
		pfn += last - first;
		nr -= last - first;
	}
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Idle page tracking: arithmetic without state, so that KUnit can test it.
 */
#ifndef __MM_IDLE_WINDOW_H
#define __MM_IDLE_WINDOW_H

#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/log2.h>
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/types.h>

/* The bitmap file is an array of words, one frame a bit. */
#define IDLE_WORD_BYTES		sizeof(u64)
#define IDLE_WORD_BITS		64

/**
 * struct idle_window - the frames that one read or write of the bitmap covers
 * @start: first frame
 * @nr: number of frames, up to the end of memory
 * @bytes: length of the words that hold them
 */
struct idle_window {
	unsigned long start;
	unsigned long nr;
	size_t bytes;
};

/**
 * idle_window_plan - turn a file position and a length into frames
 * @win: filled on success
 * @pos: position in the file, in bytes
 * @count: length of the caller's buffer, in bytes
 * @max: number of the first frame that does not exist
 *
 * Return: 0; -EINVAL for a position or length that is no whole word; -ENXIO
 * for a position at or past the end. @pos is divided rather than multiplied,
 * so that no position is too large.
 */
static inline int idle_window_plan(struct idle_window *win, loff_t pos, size_t count,
				   unsigned long max)
{
	u64 word = pos, words = DIV_ROUND_UP(max, IDLE_WORD_BITS);
	u64 want = count / IDLE_WORD_BYTES;

	if (pos < 0 || pos % IDLE_WORD_BYTES || count % IDLE_WORD_BYTES)
		return -EINVAL;
	word >>= ilog2(IDLE_WORD_BYTES);
	if (word >= words)
		return -ENXIO;

	want = min(want, words - word);
	win->start = word * IDLE_WORD_BITS;
	win->nr = min_t(u64, want * IDLE_WORD_BITS, max - win->start);
	win->bytes = want * IDLE_WORD_BYTES;
	return 0;
}

/**
 * idle_window_done - how much of the buffer is finished
 * @win: the window
 * @frames: frames finished from its start
 *
 * Return: whole words, in bytes.
 */
static inline size_t idle_window_done(const struct idle_window *win, unsigned long frames)
{
	if (frames >= win->nr)
		return win->bytes;
	return frames / IDLE_WORD_BITS * IDLE_WORD_BYTES;
}

/**
 * idle_block_rest - frames from @pfn to the end of the block that holds it
 * @pfn: a frame
 * @nr: the block's length as read without a lock, so maybe nonsense
 *
 * Blocks are naturally aligned powers of two. Anything else was torn by a
 * concurrent split or free.
 *
 * Return: at least 1, and 1 for a length that is no power of two.
 */
static inline unsigned long idle_block_rest(unsigned long pfn, unsigned long nr)
{
	if (!is_power_of_2(nr))
		return 1;
	return nr - (pfn & (nr - 1));
}

/*
 * An age is a byte: the sweeps since the last reference, saturating at
 * IDLE_AGE_MAX. IDLE_AGE_TOUCHED says that a reference was consumed by somebody
 * else since the last sweep; the next sweep makes it 0.
 */
#define IDLE_AGE_MAX		128
#define IDLE_AGE_TOUCHED	255
#define IDLE_AGE_BUCKETS	9	/* 0 1 2 4 8 16 32 64 128+ */

/**
 * idle_age_next - one sweep later
 * @age: the age byte before
 * @referenced: the sweep found an Accessed bit
 *
 * Return: the age byte after.
 */
static inline u8 idle_age_next(u8 age, bool referenced)
{
	if (referenced || age == IDLE_AGE_TOUCHED)
		return 0;
	return min(age + 1, IDLE_AGE_MAX);
}

/**
 * idle_age_bucket - the line of the histogram that an age belongs to
 * @age: sweeps since the last reference, not IDLE_AGE_TOUCHED
 *
 * Return: 0 for age 0, else 1 + log2, so that a bucket's label is its lowest age.
 */
static inline unsigned int idle_age_bucket(u8 age)
{
	return age ? min(ilog2((unsigned int)age) + 1, IDLE_AGE_BUCKETS - 1) : 0;
}

/**
 * idle_bucket_label - the lowest age of a bucket
 * @bucket: 0 to IDLE_AGE_BUCKETS - 1
 *
 * Return: sweeps.
 */
static inline unsigned int idle_bucket_label(unsigned int bucket)
{
	return bucket ? 1U << (bucket - 1) : 0;
}

#endif /* __MM_IDLE_WINDOW_H */

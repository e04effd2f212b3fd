// SPDX-License-Identifier: GPL-2.0
/*
 * The names of page flags, long and short, and filters by them. Bits up to 26 are the kernel's
 * promise; those from 32 are its own affair; from 47 they are no bits of the file at all, but
 * meanings that two bits have together, or that the page table adds.
 */
#include <stdlib.h>
#include <string.h>

#include "pagewatch.h"

#define B(n)		KPF_BIT(n)
#define KERNEL_OWN	(0xffffULL << 32)

enum {
	F_ERROR = 1, F_ACTIVE = 6, F_SLAB = 7, F_WRITEBACK = 8, F_RECLAIM = 9,
	F_HEAD = 15, F_HUGE = 17, F_OWNER_2 = 34,
	F_ANON_EXCLUSIVE = 47, F_READAHEAD = 48, F_SLUB_FROZEN = 50, F_SLUB_DEBUG = 51,
};

/* "letter name" by bit, as users of page-types know them. */
static const char *const names[64] = {
	"Llocked", "Eerror", "Rreferenced", "Uuptodate", "Ddirty", "llru", "Aactive", "Sslab",
	"Wwriteback", "Ireclaim", "Bbuddy", "Mmmap", "aanonymous", "sswapcache", "bswapbacked",
	"Hcompound_head", "Tcompound_tail", "Ghuge", "uunevictable", "Xhwpoison", "nnopage",
	"xksm", "tthp", "ooffline", "zzero_page", "iidle_page", "gpgtable",
	[32] = "rreserved", "mmlocked", "downer_2", "Pprivate", "pprivate_2", "Oowner_private",
	"harch",
	[40] = "fsoftdirty", "Harch_2",
	[47] = "danon_exclusive", "Ireadahead",
	[50] = "Aslub_frozen", "Eslub_debug",
	[61] = "Ffile", "wswap", "1mmap_exclusive",
};

const char *flag_name(unsigned int bit)
{
	return names[bit] ? names[bit] + 1 : NULL;
}

char flag_letter(unsigned int bit)
{
	return names[bit] ? names[bit][0] : 0;
}

/* "lru", "l" or "l:lru". Of a letter used twice the kernel's promised bit is meant. */
static int flag_find(const char *word)
{
	const char *colon = strchr(word, ':');
	unsigned int bit;

	if (colon)
		word = colon + 1;
	for (bit = 0; bit < 64; bit++) {
		if (!names[bit])
			continue;
		if (!strcmp(names[bit] + 1, word))
			return bit;
		if (!colon && word[0] == names[bit][0] && !word[1])
			return bit;
	}
	return -1;
}

void flag_filter_add(struct flag_filter *ff, const char *spec)
{
	char *copy = xstrdup(spec), *rest = copy, *word;

	while ((word = strsep(&rest, ","))) {
		bool off = *word == '~';
		int bit = flag_find(word + off);

		if (bit < 0)
			usage_error("no flag '%s': 'pagewatch types --list-flags' lists them",
				    word + off);
		if (off)
			ff->clear |= B(bit);
		else
			ff->set |= B(bit);
	}
	free(copy);
	if (ff->set & ff->clear)
		usage_error("no frame can have a flag and not have it: '%s'", spec);
}

static uint64_t move_bit(uint64_t flags, unsigned int from, unsigned int to)
{
	return flags & B(from) ? (flags & ~B(from)) | B(to) : flags;
}

/* Some bits mean something else beside others: give these meanings names of their own. */
uint64_t flags_expand(uint64_t flags)
{
	if (flags & B(KPF_ANON))
		flags = move_bit(flags, F_OWNER_2, F_ANON_EXCLUSIVE);
	if (flags & B(F_SLAB)) {
		flags = move_bit(flags, F_ACTIVE, F_SLUB_FROZEN);
		flags = move_bit(flags, F_ERROR, F_SLUB_DEBUG);
	}
	if (!(flags & B(F_WRITEBACK)))
		flags = move_bit(flags, F_RECLAIM, F_READAHEAD);
	return flags;
}

/* Without what only kernel developers ask for. */
uint64_t flags_plain(uint64_t flags)
{
	flags &= ~KERNEL_OWN;
	return flags & B(F_HUGE) ? flags : flags & ~(B(F_HEAD) | B(KPF_TAIL));
}

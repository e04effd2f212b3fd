// SPDX-License-Identifier: GPL-2.0
/*
 * Text of others: numbers out of it, and what may go to a terminal. A file that somebody else
 * wrote, the name of a process or of a cgroup may hold anything.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pagewatch.h"

/*
 * The number that *@at goes on with, after blanks: digits alone, as strtoull() takes a sign and
 * turns -1 into the largest number that there is. A blank, a line's end or the text's follows it.
 */
bool text_number(const char **at, int base, uint64_t max, uint64_t *v)
{
	static const char digits[] = "0123456789abcdefABCDEF";
	const char *s = *at + strspn(*at, " ");
	size_t len = strspn(s, base == 16 ? digits : "0123456789");

	if (!len || !strchr(" \n", s[len]))
		return false;
	errno = 0;
	*v = strtoull(s, NULL, base);
	if (errno || *v > max)
		return false;
	*at = s + len;
	return true;
}

/* Seconds, likewise: no sign, no infinity, no hexadecimal fraction. */
bool text_seconds(const char **at, double max, double *v)
{
	const char *s = *at + strspn(*at, " ");
	size_t len = strspn(s, "0123456789.");
	char *end;

	if (!len || (s[len] && !strchr(" \n", s[len])))
		return false;
	*v = strtod(s, &end);
	if (end != s + len || !isfinite(*v) || *v > max)
		return false;
	*at = end;
	return true;
}

/* The bytes of one UTF-8 character, 0 where there is none. */
static size_t char_bytes(const unsigned char *s)
{
	size_t len = *s < 0x80 ? 1 : *s < 0xc2 ? 0 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : 4, i;

	if (*s > 0xf4)
		return 0;
	for (i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

/*
 * Replace what a terminal takes for an order by question marks, in place: control characters, the
 * upper ones too, and bytes that are no character at all. Those of @keep stay.
 */
char *text_plain(char *text, const char *keep)
{
	unsigned char *s = (unsigned char *)text;
	size_t len;

	for (; *s; s += len) {
		len = char_bytes(s);
		if (len > 1 && !(s[0] == 0xc2 && s[1] < 0xa0))
			continue;
		if (len == 1 && ((*s >= 0x20 && *s != 0x7f) || strchr(keep, *s)))
			continue;
		len = len ? len : 1;
		memset(s, '?', len);
	}
	return text;
}

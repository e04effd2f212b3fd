// SPDX-License-Identifier: GPL-2.0
/*
 * Records, read line by line: lines of words, of which the first names the format and its version, and
 * the last says that the file is whole. Whoever made it, nothing in it is trusted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pagewatch.h"

int reading_open(struct reading *rd, const char *path)
{
	*rd = (struct reading){ .path = path, .f = fopen(path, "r") };
	return rd->f ? 0 : fail("cannot read %s: %s", path, strerror(errno));
}

void reading_close(struct reading *rd)
{
	free(rd->line);
	fclose(rd->f);
}

int reading_bad(const struct reading *rd, const char *what)
{
	return fail("%s, line %lu: %s", rd->path, rd->nr, what);
}

int reading_next(struct reading *rd)
{
	ssize_t len = getline(&rd->line, &rd->cap, rd->f);

	if (len <= 0 && ferror(rd->f))
		return fail("cannot read %s: %s", rd->path, strerror(errno));
	if (len <= 0 || rd->line[len - 1] != '\n')
		return fail("%s is cut short after line %lu: record it again, or copy it whole",
			    rd->path, rd->nr);
	rd->line[len - 1] = 0;
	rd->nr++;
	return 0;
}

/* What follows "@word " in the line just read; NULL when the line begins otherwise. */
const char *reading_after(const struct reading *rd, const char *word)
{
	size_t len = strlen(word);

	return !strncmp(rd->line, word, len) && rd->line[len] == ' ' ? rd->line + len + 1 : NULL;
}

/* A line of one word and one number. */
int reading_number(struct reading *rd, const char *word, uint64_t max, uint64_t *v)
{
	const char *at;

	if (reading_next(rd))
		return -1;
	at = reading_after(rd, word);
	if (at && text_number(&at, 10, max, v) && !*at)
		return 0;
	return fail("%s, line %lu: '%s NUMBER' expected", rd->path, rd->nr, word);
}

/* The first line: "@magic @format". */
int reading_format(struct reading *rd, const char *magic, int format, const char *writer)
{
	uint64_t version;
	const char *at = NULL;

	if (getline(&rd->line, &rd->cap, rd->f) > 0)
		at = reading_after(rd, magic);
	if (!at || !text_number(&at, 10, UINT32_MAX, &version) || *at != '\n')
		return fail("%s is no record of %s", rd->path, writer);
	rd->nr = 1;
	if (version != (uint64_t)format)
		return fail("%s has format %u; this pagewatch reads format %d", rd->path,
			    (unsigned int)version, format);
	return 0;
}

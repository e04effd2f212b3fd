// SPDX-License-Identifier: GPL-2.0
/* Which devices of a process's mount table are tmpfs: files there are shared memory. */
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "pagewatch.h"

void proc_read_tmpfs(struct proc *p)
{
	char *text = read_text(p->dir, "mountinfo", NULL);
	char *line, *next, *type;
	unsigned int major, minor;

	for (line = text; line && *line; line = next) {
		next = strchrnul(line, '\n');
		if (*next)
			*next++ = 0;
		/* The file system's type is the first word after a lone dash. */
		type = strstr(line, " - ");
		if (!type || sscanf(line, "%*d %*d %u:%u", &major, &minor) != 2)
			continue;
		if (strncmp(type, " - tmpfs ", 9) && strncmp(type, " - devtmpfs ", 12))
			continue;
		p->shm_dev = xrealloc(p->shm_dev, (p->nr_shm_devs + 1) * sizeof(*p->shm_dev));
		p->shm_dev[p->nr_shm_devs++] = makedev(major, minor);
	}
	free(text);
}

bool proc_is_tmpfs(const struct proc *p, uint64_t dev)
{
	size_t i;

	for (i = 0; i < p->nr_shm_devs; i++)
		if (p->shm_dev[i] == dev)
			return true;
	return false;
}

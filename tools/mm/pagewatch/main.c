// SPDX-License-Identifier: GPL-2.0
/* pagewatch: which memory is in use, which is idle, and for how long. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pagewatch.h"

long page_size;
const struct cmd *this_cmd;

static const struct cmd commands[] = {
	{ "wss", "working-set size of a process, a cgroup or the machine",
	  "usage: pagewatch wss -p PID | -C CGROUP | --all [options]\n\n"
	  "Marks memory idle, waits, and tells how much of it was referenced meanwhile.\n\n"
	  "  -p, --pid PID            watch what a process maps\n"
	  "  -C, --cgroup CGROUP      watch what is charged to a cgroup and those below it\n"
	  "                           (a path, or a name under /sys/fs/cgroup)\n"
	  "  -a, --all                watch every user page of the machine\n"
	  "  -i, --interval SECONDS   length of an interval, fractions allowed (default 1)\n"
	  "  -n, --count COUNT        end after COUNT intervals (default: until interrupted)\n"
	  "  -v, --verbose            a line for each kind of memory\n"
	  "  -c, --cumulative         mark once: what was referenced since the start\n"
	  "      --json               one JSON document\n"
	  "  -h, --help\n"
	  "  -V, --version\n", cmd_wss },
	{ "heatmap", "picture of a process's memory use over time",
	  "usage: pagewatch heatmap -p PID -o FILE.png|FILE.svg [options]\n\n"
	  "Draws time across and the address space up; the colour is the share referenced.\n\n"
	  "  -p, --pid PID            the process\n"
	  "  -i, --interval SECONDS   width of a column, fractions allowed (default 1)\n"
	  "  -n, --count COUNT        number of columns (default 60)\n"
	  "  -o, --output FILE        picture to write, .png or .svg (needs gnuplot)\n"
	  "  -r, --record FILE        keep the measurements, for 'pagewatch report'\n"
	  "      --json               the measurements as JSON too\n"
	  "  -h, --help\n"
	  "  -V, --version\n"
	  "At least one of -o, -r and --json is needed.\n", cmd_heatmap },
	{ "report", "what a record holds, and its picture",
	  "usage: pagewatch report FILE [-o FILE.png|FILE.svg] [options]\n"
	  "       pagewatch report FILE ... [-o FILE.png|FILE.svg] [options]     of slabs\n\n"
	  "Draws a record that --record of heatmap, dirty or slabs kept; without -o, summarises it.\n"
	  "Records of slabs are drawn side by side, to the same scale.\n\n"
	  "  -o, --output FILE        picture to write, .png or .svg (needs gnuplot)\n"
	  "  -s, --size WIDTHxHEIGHT  of the picture, in pixels (default 1400x900)\n"
	  "  -r, --range FIRST,LAST   only these intervals or samples, counted from 1\n"
	  "      --json               the measurements as JSON\n"
	  "  -h, --help\n"
	  "  -V, --version\n", cmd_report },
	{ "types", "page frames counted by their flags",
	  "usage: pagewatch types [options]\n\n"
	  "Counts page frames by their combination of flags in /proc/kpageflags.\n\n"
	  "  -p, --pid PID            only what a process maps (each mapping counts)\n"
	  "  -C, --cgroup CGROUP      only what is charged to a cgroup and those below it\n"
	  "  -f, --flag SPEC          only frames whose flags fit: names with commas, each as\n"
	  "                           'lru', 'l' or 'l:lru', ~ before it for 'not set';\n"
	  "                           given again, all must fit\n"
	  "  -r, --raw                show the kernel-internal flags too\n"
	  "  -l, --list-flags         list the flag names and stop\n"
	  "      --json               one JSON document\n"
	  "  -h, --help\n"
	  "  -V, --version\n", cmd_types },
	{ "ages", "how long memory has been idle, as a histogram",
	  "usage: pagewatch ages [options]\n\n"
	  "Shows how much memory was last referenced how many sweeps ago. Needs a kernel with\n"
	  "CONFIG_FOLIAGE_IDLE, and sweeps switched on:\n"
	  "  echo 60000 > /sys/kernel/mm/page_idle/scan_period_ms\n\n"
	  "  -C, --cgroup CGROUP      a cgroup and those below it (default: the machine)\n"
	  "  -f, --file PATH          read a saved copy of the file instead\n"
	  "  -P, --prometheus FILE    write node_exporter's textfile format, atomically\n"
	  "      --json               one JSON document\n"
	  "  -h, --help\n"
	  "  -V, --version\n", cmd_ages },
	{ "thp", "how much memory is in huge pages, and why the rest is not",
	  "usage: pagewatch thp -p PID | -C CGROUP | --all [options]\n\n"
	  "Shows in folios of which sizes memory is, and for each range that could be a huge page\n"
	  "and is not, why.\n\n"
	  "  -p, --pid PID            one process, with its mappings\n"
	  "  -C, --cgroup CGROUP      the processes of a cgroup and those below it\n"
	  "  -a, --all                all processes\n"
	  "  -v, --verbose            with -p: every mapping, not only those that could be huge\n"
	  "  -z, --zeroes             read the memory, to tell how much of it is zeroes; what is\n"
	  "                           read counts as used\n"
	  "  -P, --prometheus FILE    write node_exporter's textfile format, atomically\n"
	  "      --json               one JSON document\n"
	  "  -h, --help\n"
	  "  -V, --version\n", cmd_thp },
	{ "dirty", "which pages a process writes to",
	  "usage: pagewatch dirty -p PID [options]\n\n"
	  "Tells how much memory was written to in each interval, of what the program itself has\n"
	  "registered for that: with a userfaultfd, with UFFD_FEATURE_WP_ASYNC.\n\n"
	  "  -p, --pid PID            the process\n"
	  "  -i, --interval SECONDS   length of an interval, fractions allowed (default 1)\n"
	  "  -n, --count COUNT        end after COUNT intervals (default: until interrupted)\n"
	  "  -o, --output FILE        picture to write, .png or .svg (needs gnuplot)\n"
	  "  -r, --record FILE        keep the measurements, for 'pagewatch report'\n"
	  "      --json               one JSON document\n"
	  "  -h, --help\n"
	  "  -V, --version\n", cmd_dirty },
	{ "swap", "what is swapped out, of whom, and what zswap makes of it",
	  "usage: pagewatch swap [-p PID | -C CGROUP] [--json]\n"
	  "       pagewatch swap --watch [-i SECONDS] [-n COUNT]\n\n"
	  "Shows how much is swapped out of the machine, of processes and of cgroups, how much of it\n"
	  "is in zswap, how small, and what zswap has rejected.\n\n"
	  "  -p, --pid PID            of one process\n"
	  "  -C, --cgroup CGROUP      of a cgroup and those below it, and their processes\n"
	  "  -w, --watch              of the machine, a line for each interval\n"
	  "  -i, --interval SECONDS   its length, fractions allowed (default 1)\n"
	  "  -n, --count COUNT        end after COUNT intervals (default: until interrupted)\n"
	  "      --json               one JSON document\n"
	  "  -h, --help\n"
	  "  -V, --version\n", cmd_swap },
	{ "top", "working sets of all processes or cgroups, live",
	  "usage: pagewatch top [options]\n\n"
	  "Shows what each process uses of its memory, on the whole screen, again and again.\n\n"
	  "  -i, --interval SECONDS   shortest time between two sweeps (default 2)\n"
	  "  -b, --budget PERCENT     of a CPU that its sweeps may take (default 5): they are as rare\n"
	  "                           as that needs\n"
	  "  -n, --count COUNT        end after COUNT sweeps (default: until q)\n"
	  "  -c, --cgroups            begin with cgroups\n"
	  "  -h, --help\n"
	  "  -V, --version\n"
	  "Keys: q quit, w r i h s n sort, c processes or cgroups, up and down, ENTER mappings.\n", cmd_top },
	{ "slabs", "the kernel's own objects, by cache",
	  "usage: pagewatch slabs [options]\n\n"
	  "Shows how much memory the kernel's caches of objects have, how much of that is loss, and\n"
	  "which of them grow.\n\n"
	  "  -s, --sort ORDER         size (default), loss or growth\n"
	  "  -i, --interval SECONDS   show what they grow in that time (default for growth: 1)\n"
	  "  -r, --record FILE        look once an interval and keep it, for 'pagewatch report'\n"
	  "      --slabinfo           look once an interval and tell it as 'slabinfo -X' does\n"
	  "  -n, --count COUNT        of these two: end after COUNT looks (default: until interrupted)\n"
	  "  -N, --rows COUNT         show so many (default 20)\n"
	  "  -B, --bytes              numbers of bytes, not K, M and G\n"
	  "      --json               one JSON document\n"
	  "  -h, --help\n"
	  "  -V, --version\n", cmd_slabs },
};

static void print_help(FILE *f)
{
	size_t i;

	fputs("usage: pagewatch COMMAND [options]\n\n"
	      "Shows which memory is in use and which is idle.\n\n", f);
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(f, "  %-9s %s\n", commands[i].name, commands[i].summary);
	fputs("\n'pagewatch COMMAND --help' tells a command's options; pagewatch(8) tells all.\n"
	      "Exit status: 0 done, 1 failed, 2 wrong usage.\n", f);
}

int main(int argc, char **argv)
{
	size_t i;

	page_size = sysconf(_SC_PAGESIZE);
	if (argc < 2) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		print_help(stdout);
		return out_finish() ? EXIT_FAILED : EXIT_OK;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		puts("pagewatch (Foliage) " VERSION);
		return out_finish() ? EXIT_FAILED : EXIT_OK;
	}
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		this_cmd = &commands[i];
		argv[1] = "pagewatch";
		stop_on_signals();
		return this_cmd->run(argc - 1, argv + 1);
	}
	usage_error("no command '%s'", argv[1]);
}

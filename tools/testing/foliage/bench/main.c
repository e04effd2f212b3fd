// SPDX-License-Identifier: GPL-2.0
/* Options, and one process per operation. Results go to stdout as lines of JSON. */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <regex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define MAX_ROUNDS	100
#define LEFT_OUT	3

struct options {
	regex_t only;
	bool filter;
	bool list;
	int rounds;
	struct bench params;
};

static const struct op *current_op;
static pid_t op_pid;

static const char help[] =
	"Usage: bench [OPTION]...\n"
	"Measure what operations of memory management cost per page, one line of JSON each.\n"
	"Run it in a guest: scripts/vm --icount makes a nanosecond of the guest an instruction.\n"
	"\n"
	"  -l, --list         print the operations: name, area, unit\n"
	"  -o, --only=REGEX   only the operations whose name matches (extended, whole name)\n"
	"  -s, --size=MIB     memory under test, even (default 64)\n"
	"  -c, --call=BYTES   of the idle bitmap, a power of two (default 4096: 128 MiB,\n"
	"                     to which the memory of 'idle' rows is rounded up)\n"
	"  -n, --sharers=N    processes that share pages in the 'shared' rows, or have\n"
	"                     copied them in the 'copied' one (default 9)\n"
	"  -v, --vmas=N       mappings in the rows that count VMAs (default 8000)\n"
	"  -r, --rounds=N     rounds of each operation: one to warm up, a median (default 3)\n"
	"  -h, --help         this text\n"
	"\n"
	"Exit status: 0 when every operation gave a figure, 1 when one did not, 2 for bad usage.\n";

static void json_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			putchar('\\');
		putchar((unsigned char)*s < ' ' ? ' ' : *s);
	}
	putchar('"');
}

static void report_error(const char *text)
{
	printf("{\"op\":\"%s\",\"area\":\"%s\",\"unit\":\"%s\",\"error\":", current_op->name,
	       current_op->area, current_op->unit);
	json_string(text);
	printf("}\n");
	fflush(stdout);
}

/* End this operation. Only its first process speaks; the others it knows by their exit status. */
void fail(const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (getpid() == op_pid)
		report_error(text);
	_exit(1);
}

void fail_from_here(void)
{
	op_pid = getpid();
}

void leave_out(void)
{
	_exit(LEFT_OUT);
}

static void json_count(const char *name, int64_t count)
{
	if (count < 0)
		printf("\"%s\":null,", name);
	else
		printf("\"%s\":%lld,", name, (long long)count);
}

static void report(const struct bench *b)
{
	printf("{\"op\":\"%s\",\"area\":\"%s\",\"unit\":\"%s\",", b->op->name, b->op->area,
	       b->op->unit);
	printf("\"units\":%llu,\"ns\":%llu,\"per_unit\":%.2f,", (unsigned long long)b->units,
	       (unsigned long long)b->ns, (double)b->ns / b->units);
	json_count("tlb_flushes", b->flushes);
	json_count("blocks", b->blocks);
	printf("\"mib\":%zu,\"sharers\":%d,\"vmas\":%d}\n", b->size / MiB, b->sharers, b->vmas);
	fflush(stdout);
}

static int by_time(const void *a, const void *b)
{
	uint64_t x = ((const struct bench *)a)->ns, y = ((const struct bench *)b)->ns;

	return x < y ? -1 : x > y;
}

/*
 * The first of several rounds pays for what is set up lazily; of the others, the (lower) median
 * counts.
 */
static void run_rounds(const struct op *op, const struct options *o)
{
	struct bench done[MAX_ROUNDS];
	int i, warm = o->rounds > 1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	op_pid = getpid();
	pin_here();
	settings_steady();
	for (i = 0; i < o->rounds; i++) {
		done[i] = o->params;
		done[i].op = op;
		op->run(&done[i]);
		if (!done[i].units)
			fail("the operation measured nothing");
	}
	qsort(done + warm, o->rounds - warm, sizeof(*done), by_time);
	report(&done[warm + (o->rounds - warm - 1) / 2]);
	_exit(0);
}

/* -> 0 when the operation gave a figure */
static int run_apart(const struct op *op, const struct options *o)
{
	char text[64];
	int status;
	pid_t pid;

	current_op = op;
	pid = fork();
	if (pid < 0) {
		report_error("fork failed: too little memory or too many processes");
		return 1;
	}
	if (!pid)
		run_rounds(op, o);
	if (waitpid(pid, &status, 0) != pid || WIFSIGNALED(status)) {
		snprintf(text, sizeof(text), "ended by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
		report_error(text);
	}
	/* Sharers of an operation that failed: let them go before the next one measures. */
	while (waitpid(-1, NULL, 0) > 0)
		;
	settings_restore();
	return status && !(WIFEXITED(status) && WEXITSTATUS(status) == LEFT_OUT);
}

static long number(const char *text, const char *what, long min, long max)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (errno || end == text || *end || n < min || n > max) {
		fprintf(stderr, "bench: %s takes a number from %ld to %ld, not '%s'\n", what,
			min, max, text);
		exit(2);
	}
	return n;
}

static void set_filter(struct options *o, const char *regex)
{
	char whole[8192];

	if (snprintf(whole, sizeof(whole), "^(%s)$", regex) >= (int)sizeof(whole) ||
	    regcomp(&o->only, whole, REG_EXTENDED | REG_NOSUB)) {
		fprintf(stderr, "bench: --only: '%s' is no extended regular expression\n", regex);
		exit(2);
	}
	o->filter = true;
}

static void parse(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "list", no_argument, NULL, 'l' },
		{ "only", required_argument, NULL, 'o' },
		{ "size", required_argument, NULL, 's' },
		{ "call", required_argument, NULL, 'c' },
		{ "sharers", required_argument, NULL, 'n' },
		{ "vmas", required_argument, NULL, 'v' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	int c;

	while ((c = getopt_long(argc, argv, "lo:s:c:n:v:r:h", longs, NULL)) != -1) {
		switch (c) {
		case 'l':
			o->list = true;
			break;
		case 'o':
			set_filter(o, optarg);
			break;
		case 's':
			o->params.size = (number(optarg, "--size", 2, 1 << 20) & ~1L) * MiB;
			break;
		case 'c':
			o->params.call = number(optarg, "--call", 64, 4096);
			o->params.call = 1UL << (63 - __builtin_clzl(o->params.call));
			break;
		case 'n':
			o->params.sharers = number(optarg, "--sharers", 1, 10000);
			break;
		case 'v':
			o->params.vmas = number(optarg, "--vmas", 1, 1000000);
			break;
		case 'r':
			o->rounds = number(optarg, "--rounds", 1, MAX_ROUNDS);
			break;
		case 'h':
			fputs(help, stdout);
			exit(0);
		default:
			fputs("Try 'bench --help'.\n", stderr);
			exit(2);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "bench: unexpected argument '%s'\nTry 'bench --help'.\n",
			argv[optind]);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct options o = {
		.rounds = 3,
		.params = { .size = 64 * MiB, .call = 4096, .sharers = 9, .vmas = 8000,
			    .blocks = -1 },
	};
	int failed = 0, matched = 0;
	const struct op *op;

	parse(&o, argc, argv);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	settings_save();
	for (op = ops; op->name; op++) {
		if (o.filter && regexec(&o.only, op->name, 0, NULL, 0))
			continue;
		matched++;
		if (o.list)
			printf("%s\t%s\t%s\n", op->name, op->area, op->unit);
		else
			failed += run_apart(op, &o);
	}
	if (!matched) {
		fputs("bench: --only matches no operation; --list prints them\n", stderr);
		return 2;
	}
	return failed ? 1 : 0;
}

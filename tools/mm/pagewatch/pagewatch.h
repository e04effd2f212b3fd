/* SPDX-License-Identifier: GPL-2.0 */
/*
 * pagewatch: what the files of one invocation share.
 *
 *   main    subcommand table            wss, heatmap, types, ages,
 *                                       thp, dirty, swap, slabs     one subcommand each
 *   opts    words to values             record, plot                a heatmap's data and picture
 *   out     tables, JSON, progress      watch                       mark, wait, read, judge
 *   newfile what is written to          text                        what others wrote
 *   proc    /proc/PID                   frames                      what is known of each frame
 *   cgroup  /sys/fs/cgroup              bitmap, pagemap, kpage      the kernel's big arrays
 *
 * Functions that can fail return 0 or -1 and have said why through fail(); E_GONE means that the
 * watched process has exited, which is news and no failure.
 */
#ifndef PAGEWATCH_H
#define PAGEWATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define VERSION		"1.0"
#define E_GONE		(-2)
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

enum { EXIT_OK, EXIT_FAILED, EXIT_USAGE };

/* out.c: errors, progress, text and JSON */
int fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void progress(const char *what, uint64_t done, uint64_t total);
void progress_end(void);
void *xrealloc(void *p, size_t size);
void *xcalloc(size_t nr, size_t size);
char *xstrdup(const char *s);
const char *human(uint64_t bytes, char buf[16]);
double now(void);

/* JSON on stdout; a key of NULL is an element of an array */
void json_open(const char *key, char bracket);
void json_close(char bracket);
void json_int(const char *key, uint64_t v);
void json_num(const char *key, double v);
void json_str(const char *key, const char *v);
int out_finish(void);

/* newfile.c: a file that appears whole or not at all, unless it is no regular file */
struct newfile {
	char *path;
	char *temp;		/* NULL: written in place */
	FILE *f;
};

int newfile_check(const char *path);
int newfile_open(struct newfile *nf, const char *path);
int newfile_commit(struct newfile *nf);
void newfile_abort(struct newfile *nf);

/* text.c */
bool text_number(const char **at, int base, uint64_t max, uint64_t *v);
bool text_seconds(const char **at, double max, double *v);
char *text_plain(char *text, const char *keep);

/* opts.c */
struct cmd {
	const char *name;
	const char *summary;
	const char *help;
	int (*run)(int argc, char **argv);
};

struct report;

extern const struct cmd *this_cmd;
extern long page_size;

void usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
void common_option(int c);
pid_t opt_pid(const char *s);
double opt_seconds(const char *s);
unsigned int opt_count(const char *s);
void opt_size(const char *s, struct report *how);
void opt_range(const char *s, struct report *how);
void stop_on_signals(void);
bool stop_requested(void);

/* proc.c: one process */
enum vma_kind { K_HEAP, K_STACK, K_ANON, K_FILE, K_SHMEM, K_OTHER, NR_KINDS };
extern const char *const kind_names[NR_KINDS];

struct vma {
	uint64_t start;
	uint64_t end;
	enum vma_kind kind;
	char perms[5];
	char *name;
};

struct proc {
	pid_t pid;
	int dir;		/* /proc/PID: a PID used again cannot deceive it */
	int pidfd;		/* -1 where the kernel has none */
	char comm[32];
	struct vma *vma;
	size_t nr_vmas;
	size_t cap_vmas;
	uint64_t *shm_dev;	/* devices that are tmpfs */
	size_t nr_shm_devs;
};

int proc_open(struct proc *p, pid_t pid);
int proc_open_quietly(struct proc *p, pid_t pid);
void proc_close(struct proc *p);
int proc_read_vmas(struct proc *p);
bool proc_gone(struct proc *p);
int proc_sleep(struct proc *p, double until, const char *what);
void proc_say_gone(const struct proc *p, unsigned int intervals);
char *read_text(int dirfd, const char *path, size_t *len);
int proc_rollup(pid_t pid, uint64_t *rss, uint64_t *pss);
uint64_t proc_resident_all(void);

/* tmpfs.c */
void proc_read_tmpfs(struct proc *p);
bool proc_is_tmpfs(const struct proc *p, uint64_t dev);

/* frames.c: what is known of each frame, in pieces of 32,768 */
#define PIECE_FRAMES	32768UL
#define PIECE_WORDS	(PIECE_FRAMES / 64)
#define PIECE_BYTES	(PIECE_WORDS * 8)

struct piece {
	uint64_t want[PIECE_WORDS];	/* watched */
	uint64_t idle[PIECE_WORDS];	/* as the bitmap says; after judging, tails too */
	uint64_t tail[PIECE_WORDS];	/* not the first frame of its folio */
	uint64_t lru[PIECE_WORDS];	/* on an LRU list: takes part in idle tracking */
	uint64_t missed[PIECE_WORDS];	/* watched, but could not be marked */
	uint64_t shared[PIECE_WORDS];	/* mapped more than once */
	uint64_t mapped[PIECE_WORDS];	/* by any process, through its page tables */
	uint64_t anon[PIECE_WORDS];	/* these two only for machine-wide watches */
	uint64_t swapbacked[PIECE_WORDS];
	uint16_t *count;		/* map counts, where shared */
};

struct frames {
	struct piece **piece;
	size_t nr;
};

struct tally {
	uint64_t referenced;	/* in frames */
	uint64_t idle;
	uint64_t untracked;
	uint64_t rss;		/* mapped: neither the zero page nor the vdso */
	double pss;
};

struct piece *frames_piece(struct frames *f, uint64_t pfn);
void frames_want(struct frames *f, uint64_t pfn, uint64_t nr, bool shared);
void frames_forget(struct frames *f);
void frames_free(struct frames *f);
void frames_judge(struct frames *f);
void frames_spread(uint64_t *bits, const uint64_t *tail);
void frames_note_missed(struct frames *f);
void frames_tally(const struct frames *f, uint64_t pfn, uint64_t nr, struct tally *t);
void tally_words(const struct piece *p, size_t w, uint64_t mask, struct tally *t);

/* bitmap.c: /sys/kernel/mm/page_idle/bitmap */
int bitmap_open(void);
int bitmap_read(int fd, struct frames *f);
int bitmap_mark(int fd, struct frames *f);

/* pagemap.c: which frames a process maps */
struct span {
	uint64_t addr;
	uint64_t pfn;
	uint32_t nr;
	uint32_t vma;		/* index into proc.vma */
	uint64_t bits;		/* of the pagemap entry, above the frame number */
};

#define PM_EXCLUSIVE	(1ULL << 56)
#define PM_FILE		(1ULL << 61)
#define PM_SWAPPED	(1ULL << 62)
#define PM_PRESENT	(1ULL << 63)

struct spans {
	struct span *span;
	size_t nr;
	size_t cap;
	uint64_t pages;
};

int pagemap_read(struct proc *p, struct spans *s);

/* PAGEMAP_SCAN: ranges of pages that have all of some categories, and any of others. */
#define SCAN_WPALLOWED	(1 << 0)
#define SCAN_WRITTEN	(1 << 1)
#define SCAN_PRESENT	(1 << 3)
#define SCAN_SWAPPED	(1 << 4)
#define SCAN_HUGE	(1 << 6)

struct pagemap_query {
	uint64_t from;
	uint64_t to;
	uint64_t all_of;
	uint64_t any_of;
	uint64_t wanted;	/* to be told of each range */
	bool protect;		/* against writes, what fits */
};

int pagemap_scan(int fd, const struct pagemap_query *query,
		 void (*take)(void *data, uint64_t from, uint64_t to, uint64_t categories), void *data);

/* Where PMDs map, hugetlb's among them, in the order of addresses. */
struct extent {
	uint64_t from;
	uint64_t to;
};

struct extents {
	struct extent *extent;
	size_t nr;
};

void extents_add(struct extents *e, uint64_t from, uint64_t to);
int pagemap_read_huge(struct proc *p, struct extents *e);

/* kpage.c: /proc/kpageflags, kpagecount, kpagecgroup */
#define KPF_BIT(n)	(1ULL << (n))
enum {
	KPF_LRU = 5, KPF_MMAP = 11, KPF_ANON = 12, KPF_SWAPBACKED = 14, KPF_TAIL = 16,
	KPF_NOPAGE = 20,
};

int kpage_open(const char *name);
ssize_t kpage_read(int fd, const char *name, uint64_t pfn, uint64_t *buf, size_t nr);
int kpage_flags_pending(int fd, struct frames *f);
int kpage_flags_all(int fd, struct frames *f);
int kpage_counts(int fd, struct frames *f);

/* cgroup.c */
struct cgroup {
	char *path;
	uint64_t *ino;		/* its own and its descendants', sorted */
	size_t nr;
	pid_t *pid;
	size_t nr_pids;
};

int cgroup_open(struct cgroup *cg, const char *name);
int cgroup_scan(struct cgroup *cg);
void cgroup_close(struct cgroup *cg);
bool cgroup_has(const struct cgroup *cg, uint64_t ino);
int cgroup_want_frames(const struct cgroup *cg, struct frames *f);
char *cgroup_path(const char *name);

/* watch.c: one watch over a process, a cgroup or the machine */
enum target { T_NONE, T_PID, T_CGROUP, T_ALL };

struct watch {
	enum target target;
	bool cumulative;
	bool want_pss;
	char label[40];		/* of the progress line while waiting */
	struct proc proc;
	struct cgroup cgroup;
	struct spans spans;
	struct frames frames;
	int bitmap;
	int flags;
	int counts;
	double marked_at;	/* end of the last mark */
	double from;		/* when the running interval began */
	double seconds;		/* from the mark to the last read */
	double sweep;		/* spent in the bitmap since the last interval was told */
	double work;		/* spent in all, likewise */
	bool said_slow;		/* that this was more than the interval */
};

int watch_open(struct watch *w, pid_t pid, const char *cgroup);
int watch_begin(struct watch *w);
int watch_interval(struct watch *w, double seconds);
int watch_again(struct watch *w);
void watch_close(struct watch *w);

/* flags.c: names of page flags, and filters by them */
struct flag_filter {
	uint64_t set;
	uint64_t clear;
};

const char *flag_name(unsigned int bit);
char flag_letter(unsigned int bit);
void flag_filter_add(struct flag_filter *ff, const char *spec);
uint64_t flags_expand(uint64_t flags);
uint64_t flags_plain(uint64_t flags);

/* reading.c: records, line by line */
struct reading {
	const char *path;
	FILE *f;
	char *line;
	size_t cap;
	unsigned long nr;
};

int reading_open(struct reading *rd, const char *path);
void reading_close(struct reading *rd);
int reading_format(struct reading *rd, const char *magic, int format, const char *writer);
int reading_next(struct reading *rd);
const char *reading_after(const struct reading *rd, const char *word);
int reading_number(struct reading *rd, const char *word, uint64_t max, uint64_t *v);
int reading_bad(const struct reading *rd, const char *what);

/* What a report is to be like. */
struct report {
	const char *picture;	/* its file, or NULL */
	bool json;
	unsigned int width;	/* of the picture, in pixels */
	unsigned int height;
	size_t first;		/* sample, from 1 */
	size_t last;		/* 0: the record's */
};

#define REPORT	{ .width = 1400, .height = 900, .first = 1 }

/* record.c: what heatmap keeps and report reads back */
struct cell {
	uint64_t addr;
	uint32_t referenced;
	uint32_t idle;
	uint32_t untracked;
};

struct shot {
	double time;		/* since the start */
	struct cell *cell;
	size_t nr;
};

struct region {
	uint64_t start;
	uint64_t end;
	char *name;
};

struct record {
	pid_t pid;
	char comm[32];
	bool written;		/* cells count pages written to, not referenced */
	double interval;
	uint64_t cell_bytes;
	uint64_t page_size;
	struct region *region;
	size_t nr_regions;
	struct shot *shot;
	size_t nr_shots;
};

void record_region(struct record *r, uint64_t start, uint64_t end, const char *name);
struct shot *record_shot(struct record *r, double time);
void record_cell(struct shot *s, const struct cell *c);
int record_write(const struct record *r, const char *path);
int record_read(struct record *r, const char *path);
void record_json(const struct record *r);
void record_free(struct record *r);

/* plot.c */
int plot_check(const char *path);
int plot(const struct record *r, const struct report *how);
int plot_draw(const char *path, void (*script)(const void *what, FILE *f, bool svg), const void *what);
void plot_text(FILE *f, const char *text);
void plot_terminal(FILE *f, bool svg, const struct report *how);

/* ages.c, prom.c: the age histogram */
#define NR_AGES		9

struct ages {
	uint64_t period_ms;
	uint64_t sweeps;
	uint64_t bytes[NR_AGES][3];	/* anon, file, unevictable */
};

extern const char *const age_labels[NR_AGES];
extern const char *const age_kinds[3];
void prom_label(FILE *f, const char *name, const char *value);
int prom_write(const struct ages *a, const char *cgroup, const char *path);

int cmd_wss(int argc, char **argv);
int cmd_heatmap(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_types(int argc, char **argv);
int cmd_ages(int argc, char **argv);
int cmd_thp(int argc, char **argv);
int cmd_dirty(int argc, char **argv);
int cmd_swap(int argc, char **argv);
int cmd_slabs(int argc, char **argv);
int cmd_top(int argc, char **argv);

#endif

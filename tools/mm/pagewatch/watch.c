// SPDX-License-Identifier: GPL-2.0
/*
 * One watch. At each boundary between two intervals:
 *
 *   collect   which frames belong to the target now
 *   read      their idle bits
 *   learn     what the flags say of those that are not idle
 *   judge     idle, referenced, or untracked          (the caller counts here)
 *   mark      all of them idle again                  (not when cumulative)
 *
 * A frame that joined during the interval was never marked; it counts as referenced, as whoever
 * brought it in has used it.
 */
#include <stdlib.h>
#include <unistd.h>

#include "pagewatch.h"

int watch_open(struct watch *w, pid_t pid, const char *cgroup)
{
	w->bitmap = w->flags = w->counts = -1;
	w->proc.dir = w->proc.pidfd = -1;
	w->target = pid ? T_PID : cgroup ? T_CGROUP : T_ALL;
	w->bitmap = bitmap_open();
	if (w->bitmap < 0)
		return -1;
	w->flags = kpage_open("kpageflags");
	w->counts = kpage_open("kpagecount");
	if (w->flags < 0 || w->counts < 0)
		return -1;
	if (pid)
		return proc_open(&w->proc, pid);
	return cgroup ? cgroup_open(&w->cgroup, cgroup) : 0;
}

void watch_close(struct watch *w)
{
	if (w->bitmap >= 0)
		close(w->bitmap);
	if (w->flags >= 0)
		close(w->flags);
	if (w->counts >= 0)
		close(w->counts);
	proc_close(&w->proc);
	cgroup_close(&w->cgroup);
	frames_free(&w->frames);
	free(w->spans.span);
	w->spans = (struct spans){ 0 };
}

static int collect_process(struct watch *w)
{
	size_t i;
	int err;

	if (proc_read_vmas(&w->proc))
		return stop_requested() ? -1 : E_GONE;
	err = pagemap_read(&w->proc, &w->spans);
	if (err)
		return err;
	/* An exit in the middle leaves a torn picture: better none. */
	if (proc_gone(&w->proc))
		return E_GONE;
	frames_forget(&w->frames);
	for (i = 0; i < w->spans.nr; i++) {
		const struct span *s = &w->spans.span[i];

		frames_want(&w->frames, s->pfn, s->nr, w->want_pss && !(s->bits & PM_EXCLUSIVE));
	}
	return 0;
}

static int collect(struct watch *w)
{
	int err;

	if (w->target == T_PID)
		return collect_process(w);
	err = kpage_flags_all(w->flags, &w->frames);
	if (err || w->target == T_ALL)
		return err;
	err = cgroup_scan(&w->cgroup);
	return err ? err : cgroup_want_frames(&w->cgroup, &w->frames);
}

/* Machine-wide watches have read all flags while collecting. */
static int learn(struct watch *w)
{
	if (w->target != T_PID)
		return 0;
	if (kpage_flags_pending(w->flags, &w->frames))
		return -1;
	return w->want_pss ? kpage_counts(w->counts, &w->frames) : 0;
}

static int mark(struct watch *w)
{
	double start = now();

	if (bitmap_mark(w->bitmap, &w->frames))
		return -1;
	frames_note_missed(&w->frames);
	w->marked_at = w->from = now();
	w->sweep += w->from - start;
	w->work += w->from - start;
	progress_end();
	return 0;
}

/* 0; E_GONE when the target is no more; -1 for an error, or when asked to stop. */
int watch_begin(struct watch *w)
{
	double start = now();
	int err = collect(w);

	if (err)
		return err;
	if (learn(w))
		return -1;
	w->work = now() - start;
	w->sweep = 0;
	/* Which tails are in is known now: let lru speak for them, as missed is drawn from it. */
	frames_judge(&w->frames);
	return mark(w);
}

int watch_interval(struct watch *w, double seconds)
{
	int err = proc_sleep(w->target == T_PID ? &w->proc : NULL, w->from + seconds,
			     *w->label ? w->label : "waiting");
	double start;

	if (err)
		return err;
	start = now();
	w->seconds = start - w->marked_at;
	err = collect(w);
	if (err)
		return err;
	w->sweep -= now();
	if (bitmap_read(w->bitmap, &w->frames))
		return -1;
	w->sweep += now();
	if (learn(w))
		return -1;
	frames_judge(&w->frames);
	w->work += now() - start;
	progress_end();
	if (w->work > seconds && !w->said_slow)
		note("marking and reading take %.2g s, longer than the interval of %g s: "
		     "what is told is of more time than that", w->work, seconds);
	w->said_slow |= w->work > seconds;
	return 0;
}

/* After counting, on to the next interval. */
int watch_again(struct watch *w)
{
	w->sweep = w->work = 0;
	if (!w->cumulative)
		return mark(w);
	w->from = now();
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM page_idle

#if !defined(_TRACE_PAGE_IDLE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_PAGE_IDLE_H

#include <linux/tracepoint.h>

struct idle_sweep;

TRACE_DEFINE_ENUM(IDLE_READ);
TRACE_DEFINE_ENUM(IDLE_MARK);
TRACE_DEFINE_ENUM(IDLE_AGE);

#define show_idle_op(op) \
	__print_symbolic(op, { IDLE_READ, "read" }, { IDLE_MARK, "mark" }, { IDLE_AGE, "age" })

/* A window of frames was swept; ns is 0 for a sweep that began before tracing did. */
TRACE_EVENT(idle_sweep,
	    TP_PROTO(const struct idle_sweep *s, unsigned long seen, u64 ns),
	    TP_ARGS(s, seen, ns),
	    TP_STRUCT__entry(
		__field(int,		op)
		__field(unsigned long,	start)
		__field(unsigned long,	seen)
		__field(unsigned long,	harvested)
		__field(unsigned long,	skipped)
		__field(unsigned long,	walked)
		__field(u64,		ns)
	    ),
	    TP_fast_assign(
		__entry->op = s->op;
		__entry->start = s->start;
		__entry->seen = seen;
		__entry->harvested = s->harvested;
		__entry->skipped = s->skipped;
		__entry->walked = s->walked;
		__entry->ns = ns;
	    ),
	    TP_printk("op=%s pfn=%lx seen=%lu harvested=%lu skipped=%lu walked=%lu ns=%llu",
		      show_idle_op(__entry->op), __entry->start, __entry->seen,
		      __entry->harvested, __entry->skipped, __entry->walked, __entry->ns)
);

#endif /* _TRACE_PAGE_IDLE_H */

#include <trace/define_trace.h>

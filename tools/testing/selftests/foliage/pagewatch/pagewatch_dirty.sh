#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# pagewatch dirty against a program that writes a known share of what it has registered. TAP on stdout.
#   PAGEWATCH=path TOUCHER=path ./pagewatch_dirty.sh      as root, on a kernel with PAGEMAP_SCAN (6.7)

here=$(cd "$(dirname "$0")" && pwd)
. "$here/tap.sh"

# ---- programs ----

# writes.py ARMED MIB EVERY: of 32 MiB the first ARMED MiB are registered; the first MIB are written to each EVERY s,
# after the end of the first second. ARMED 0: nothing is.
write_program() {
	cat >"$dir/writes.py" <<'EOT'
import ctypes, fcntl, struct, sys, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.syscall.restype = ctypes.c_long
MIB = 1 << 20
armed, written, every = int(sys.argv[1]) * MIB, int(sys.argv[2]) * MIB, float(sys.argv[3])
at = libc.mmap(None, 32 * MIB, 3, 0x22, -1, 0)
libc.madvise(at, 32 * MIB, 15)
def write(end):
    for p in range(0, end, 4096):
        ctypes.c_ubyte.from_address(at + p).value = 1
write(32 * MIB)
if armed:
    fd = libc.syscall(323, 0o2004000 | 1)
    if fd < 0:
        sys.exit("no userfaultfd")
    # UFFDIO_API, with UFFD_FEATURE_WP_ASYNC; UFFDIO_REGISTER for write protection.
    fcntl.ioctl(fd, 0xc018aa3f, struct.pack("QQQ", 0xaa, 1 << 15, 0))
    fcntl.ioctl(fd, 0xc020aa00, struct.pack("QQQQ", at, armed, 2, 0))
print("ready", flush=True)
while True:
    write(written)
    time.sleep(every)
EOT
}

writes() {
	start_program python3 "$dir/writes.py" "$@"
}

# The last of two intervals, in each of which a slow machine has written all: the expression knows it as i.
dirty_holds() {
	"$PW" dirty -p $pid -i 3 -n 2 --json >"$dir/dirty.json" 2>"$dir/err" || return
	cat "$dir/err"
	holds "$dir/dirty.json" "(lambda i: $1)(d['intervals'][-1])"
}

# ---- tests ----

test_writes() {
	writes 32 8 0.05
	check "dirty: a quarter is written" dirty_holds "i['written'] == 8 * 2**20 and i['tracked'] == 32 * 2**20"
	check "dirty: text" text_lines
	check "dirty: a picture, a record, and the picture again" pictures
	check "dirty: interrupted" interrupted
	stop
	writes 32 0 1
	check "dirty: nothing is written" dirty_holds "i['written'] == 0 and i['tracked'] == 32 * 2**20"
	stop
	writes 16 24 0.05
	check "dirty: half of it is tracked" dirty_holds "i['written'] == i['tracked'] == 16 * 2**20 and
i['not_tracked'] >= 16 * 2**20"
	stop
	writes 0 32 0.05
	check "dirty: nothing is tracked, so nothing is written" dirty_holds "i['written'] == i['tracked'] == 0 and
i['not_tracked'] >= 32 * 2**20"
	check "dirty: and that is said" says_untracked
	check "dirty: the process exits" exits
	stop
}

text_lines() {
	"$PW" dirty -p $pid -i 2 -n 2 >"$dir/text" || return
	cat "$dir/text"
	[ "$(grep -c " 8.0M *25.0% *32.0M " "$dir/text")" = 2 ] &&
		grep -q "TIME *WRITTEN *SHARE *TRACKED *NOT TRACKED" "$dir/text"
}

pictures() {
	if ! command -v gnuplot >/dev/null; then
		"$PW" dirty -p $pid -i 1 -n 3 --record "$dir/dirty.rec" || return
	else
		"$PW" dirty -p $pid -i 1 -n 3 -o "$dir/dirty.svg" --record "$dir/dirty.rec" &&
			"$PW" report "$dir/dirty.rec" -o "$dir/again.svg" && grep -q "share written" "$dir/dirty.svg" &&
			grep -q "share written" "$dir/again.svg" || return
	fi
	"$PW" report "$dir/dirty.rec" | tee "$dir/text"
	grep -q "on average 2[0-9]% written" "$dir/text"
}

interrupted() {
	"$PW" dirty -p $pid -i 0.2 --json >"$dir/int.json" &
	local watcher=$!

	sleep 2
	kill -INT $watcher
	wait $watcher || return
	holds "$dir/int.json" "len(d['intervals']) >= 1"
}

says_untracked() {
	"$PW" dirty -p $pid -i 0.2 -n 2 >"$dir/text" 2>"$dir/err"
	cat "$dir/text" "$dir/err"
	grep -q "tracks no writes" "$dir/err" && [ "$(grep -c " 0B *- *0B " "$dir/text")" = 2 ]
}

exits() {
	(sleep 1.5; kill $pid) &
	"$PW" dirty -p $pid -i 0.5 >"$dir/text" 2>"$dir/err" || return
	cat "$dir/text" "$dir/err"
	grep -q "has exited after [1-9] complete interval" "$dir/err"
}

test_bad_input() {
	check "dirty: no process" fails 2 "give -p PID" "$PW" dirty
	check "dirty: a word too many" fails 2 "one word too many" "$PW" dirty -p 1 here
	check "dirty: no such process" fails 1 "no process 4000000" "$PW" dirty -p 4000000
	check "dirty: a kernel thread" fails 1 "kernel thread" "$PW" dirty -p 2
	check "dirty: strange suffix" fails 2 "ends in .png or .svg" "$PW" dirty -p 1 -o map.gif
	check "dirty: unwritable record" fails 1 "cannot write" "$PW" dirty -p $$ --record /proc/none/r
}

needs /proc/self/pagemap CONFIG_PROC_PAGE_MONITOR
write_program
test_writes
test_bad_input
summary

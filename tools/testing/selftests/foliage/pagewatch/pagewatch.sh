#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# pagewatch against a program with a known access pattern, and against bad input. TAP on stdout.
#   PAGEWATCH=path TOUCHER=path ./pagewatch.sh      as root, on any kernel with CONFIG_IDLE_PAGE_TRACKING
# Without TOUCHER, toucher.c beside this file is compiled.

here=$(cd "$(dirname "$0")" && pwd)
MIB=64
HOT=25
. "$here/tap.sh"

# Of kind $2 in the last interval of $1: $3 MiB in all, HOT per cent of it referenced, give or take.
pattern() {
	holds "$1" "(lambda k: abs(k['referenced'] - $3 * 2**20 * $HOT / 100) < 3 * 2**20 and
abs(k['idle'] - $3 * 2**20 * (100 - $HOT) / 100) < 3 * 2**20)(d['intervals'][-1]['kinds']['$2'])"
}

watch_pattern() {
	"$PW" wss -p $pid -i 0.5 -n 2 -v --json >"$dir/wss.json" && pattern "$dir/wss.json" "$1" "$2"
}

# ---- wss ----

test_kind() {
	local kind=$1 vma=$2 size=$3

	if [ "$kind" = 64k ] && ! echo madvise >$THP/hugepages-64kB/enabled 2>/dev/null; then
		skip "wss: $kind" "the kernel has no 64 KiB folios"
		return
	fi
	if [ "$kind" = thp ] && ! echo madvise >$THP/hugepages-2048kB/enabled 2>/dev/null; then
		skip "wss: $kind" "the kernel has no huge pages per size"
		return
	fi
	start $MIB "$kind" $HOT
	check "wss -p: known pattern, $kind" watch_pattern "$vma" "$size"
	stop
	[ "$kind" = 64k ] && echo never >$THP/hugepages-64kB/enabled
}

test_file() {
	start $MIB file $HOT "$dir/shm"
	check "wss -p: known pattern, file on tmpfs" watch_pattern shmem $MIB
	stop
}

rss_agrees() {
	local rss

	rss=$(awk '/^Rss/ { print $2 }' /proc/$pid/smaps_rollup)
	pss=$(awk '/^Pss:/ { print $2 }' /proc/$pid/smaps_rollup)
	"$PW" wss -p $pid -i 0.1 -n 1 --json >"$dir/rss.json" || return
	echo "smaps_rollup: Rss $rss kB, Pss $pss kB"
	holds "$dir/rss.json" "(lambda i: abs(i['rss'] - $rss * 1024) < 2**18 and
abs(i['pss'] - $pss * 1024) < 2**19)(d['intervals'][0])"
}

cumulative() {
	"$PW" wss -p $pid -i 0.3 -n 4 --cumulative --json >"$dir/cum.json" || return
	holds "$dir/cum.json" "d['mode'] == 'cumulative' and len(d['intervals']) == 4 and
all(a['referenced'] <= b['referenced'] + 2**16 for a, b in zip(d['intervals'], d['intervals'][1:])) and
d['intervals'][3]['seconds'] > 1.1 and d['intervals'][3]['referenced'] >= $MIB * 2**20 * $HOT // 100"
}

text_lines() {
	"$PW" wss -p $pid -i 0.2 -n 2 -v >"$dir/text" || return
	cat "$dir/text"
	[ "$(grep -c ' total ' "$dir/text")" = 2 ] && [ "$(grep -c ' anon ' "$dir/text")" = 2 ] &&
		grep -q 'REFERENCED  *IDLE  *UNTRACKED  *RSS  *PSS' "$dir/text"
}

all_machine() {
	"$PW" wss --all -i 0.5 -n 1 -v --json >"$dir/all.json" || return
	holds "$dir/all.json" "d['intervals'][0]['kinds']['anon']['referenced'] >= ($MIB * $HOT / 100 - 2) * 2**20 and
d['intervals'][0]['kinds']['anon']['idle'] >= ($MIB * (100 - $HOT) / 100 - 2) * 2**20 and
d['intervals'][0]['rss'] >= $MIB * 2**20"
}

interrupted() {
	"$PW" wss -p $pid -i 0.2 --json >"$dir/int.json" &
	local watcher=$!

	sleep 2
	kill -INT $watcher
	wait $watcher || return
	holds "$dir/int.json" "d['ended'] == 'interrupted' and len(d['intervals']) >= 1"
}

interrupted_early() {
	"$PW" wss -p $pid -i 60 "$@" >"$dir/early" 2>"$dir/err" &
	local watcher=$! status

	sleep 2
	kill -INT $watcher
	wait $watcher
	status=$?
	cat "$dir/early" "$dir/err"
	[ $status = 1 ] && grep -q 'interrupted before the first interval' "$dir/err"
}

interrupted_early_json() {
	interrupted_early --json && holds "$dir/early" "d['ended'] == 'interrupted' and not d['intervals']"
}

# What nohup starts has hangups ignored.
outlives_hangup() {
	(
		trap '' HUP
		exec "$PW" wss -p $pid -i 0.5 -n 4 --json
	) >"$dir/hup.json" &
	local watcher=$!

	sleep 1
	kill -HUP $watcher
	wait $watcher && holds "$dir/hup.json" "d['ended'] == 'count' and len(d['intervals']) == 4"
}

sum_resident() {
	cat /proc/[0-9]*/statm 2>/dev/null | awk '{ sum += $2 } END { printf "%.0f", sum * 4096 }'
}

# Here each process is in three hierarchies, of which two are of version 1; no other program sees it.
hybrid_machine() {
	unshare -m bash -ec "mount -t tmpfs cg $CG; mkdir $CG/one $CG/two $CG/unified
mount -t cgroup -o none,name=one cg $CG/one; mount -t cgroup -o none,name=two cg $CG/two
mount -t cgroup2 cg $CG/unified; '$PW' wss --all -i 0.2 -n 1 --json" >"$dir/hybrid.json" || return
	local sum

	sum=$(sum_resident)
	echo "sum of statm: $sum"
	holds "$dir/hybrid.json" "abs(d['intervals'][0]['rss'] - $sum) < $sum * 0.2"
}

# No proportional size where there is none: a frame's flags tell that it is mapped, not by how many.
columns_of_machine() {
	"$PW" wss --all -i 0.2 -n 1 -v >"$dir/text" && cat "$dir/text" &&
		grep -q 'RSS  *MAPPED  *REF%' "$dir/text" && ! grep -q PSS "$dir/text" &&
		"$PW" wss --all -i 0.2 -n 1 -v --json >"$dir/all.json" &&
		holds "$dir/all.json" "(lambda i: 'pss' not in i and i['mapped'] >= $MIB * 2**20 and
i['mapped'] == sum(k['mapped'] for k in i['kinds'].values()))(d['intervals'][0])"
}

# What a watch costs is told: marking and reading are part of the work.
tells_cost() {
	"$PW" wss -p $pid -i 0.5 -n 2 --json >"$dir/cost.json" &&
		holds "$dir/cost.json" "all(0 < i['sweep_seconds'] <= i['work_seconds'] and
i['seconds'] >= 0.45 for i in d['intervals'])"
}

# Once, not for each interval.
tells_slow() {
	"$PW" wss --all -i 0.001 -n 3 2>"$dir/err" >"$dir/text" && cat "$dir/err" &&
		[ "$(grep -c 'longer than the interval of 0.001 s' "$dir/err")" = 1 ] &&
		"$PW" wss --all -i 5 -n 1 2>"$dir/err" >"$dir/text" && ! [ -s "$dir/err" ]
}

# Marking and reading 64 MiB takes calls by the piece, not by the page.
few_calls() {
	strace -f -o "$dir/strace" "$PW" wss -p $pid -i 0.1 -n 1 >/dev/null || return
	grep -cE 'pread64|pwrite64' "$dir/strace"
	! grep -qE '(pread64|pwrite64)\(.*, 8, [0-9]+\) = 8$' "$dir/strace" &&
		[ "$(grep -cE 'pread64|pwrite64' "$dir/strace")" -lt 2000 ]
}

test_wss() {
	test_kind 4k anon $MIB
	test_kind 64k anon $MIB
	test_kind thp anon $MIB
	test_kind half anon $((MIB / 2))
	test_kind shmem shmem $MIB
	test_file
	start $MIB 4k $HOT
	check "wss: RSS and PSS agree with smaps_rollup" rss_agrees
	check "wss --cumulative: referenced grows" cumulative
	check "wss -v: text" text_lines
	check "wss --all" all_machine
	check "wss --all: cgroups of version 1 beside" hybrid_machine
	check "wss --all: columns" columns_of_machine
	check "wss: what it costs" tells_cost
	check "wss: an interval shorter than the work" tells_slow
	check "wss: an interrupt ends it well" interrupted
	check "wss: an interrupt before there is anything" interrupted_early
	check "wss --json: an interrupt before there is anything" interrupted_early_json
	check "wss: a hangup that is ignored" outlives_hangup
	if command -v strace >/dev/null; then
		check "wss: no call per page" few_calls
	else
		skip "wss: no call per page" "no strace"
	fi
	stop
}

cgroup_pattern() {
	"$PW" wss -C "$1" -i 0.5 -n 2 -v --json >"$dir/cg.json" && pattern "$dir/cg.json" anon $MIB
}

test_cgroup() {
	echo +memory >$CG/cgroup.subtree_control 2>/dev/null
	if ! mkdir $CG/pagewatch-test || ! [ -e $CG/pagewatch-test/memory.stat ]; then
		skip "wss -C" "no cgroup v2 with a memory controller at $CG"
		skip "types -C" "no cgroup v2 with a memory controller at $CG"
		return
	fi
	cleanup_cg=$CG/pagewatch-test
	echo $BASHPID >$cleanup_cg/cgroup.procs
	start $MIB 4k $HOT
	echo $BASHPID >$CG/cgroup.procs
	check "wss -C: known pattern, by name" cgroup_pattern pagewatch-test
	check "wss -C: known pattern, by path" cgroup_pattern $CG/pagewatch-test
	check "types -C: the cgroup's frames" types_holds \
		"d['total_bytes'] in range(($MIB - 2) * 2**20, ($MIB + 8) * 2**20)" -C pagewatch-test -f anonymous
	check "wss -C -v: no sizes that are not known" columns_of_cgroup
	live_cgroup_ages
	stop
	strange_cgroup
}

columns_of_cgroup() {
	"$PW" wss -C pagewatch-test -i 0.2 -n 1 -v --json >"$dir/cg.json" &&
		holds "$dir/cg.json" "(lambda i: i['rss'] >= $MIB * 2**20 and i['pss'] <= i['rss'] and
not any('pss' in k or 'rss' in k or 'mapped' in k for k in i['kinds'].values()))(d['intervals'][0])"
}

# Nothing in a file that a terminal obeys. A newline ends each line, and bars are no ASCII.
no_orders() {
	cat -v "$1"
	! LC_ALL=C grep -qP '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|(?<![\x80-\xff])[\x80-\xbf]' "$1"
}

cgroup_orders() {
	"$PW" wss -C "$1" -i 0.1 -n 1 >"$dir/text" && no_orders "$dir/text" &&
		grep -qF 'pagewatch-?[31m??31m' "$dir/text"
}

strange_cgroup() {
	local cg=$CG/pagewatch-$'\033[31m\xc2\x9b31m'

	mkdir "$cg" && cleanup_cg="$cleanup_cg $cg"
	check "wss -C: a name with terminal escapes" cgroup_orders "${cg##*/}"
}

# ---- heatmap and report ----

is_png() {
	[ "$(head -c 8 "$1" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ]
}

is_svg() {
	head -c 400 "$1" | grep -q '<svg' && tail -n 2 "$1" | grep -q '</svg>'
}

draw_png() {
	"$PW" heatmap -p $pid -i 0.2 -n 4 -o "$dir/map.png" --record "$dir/map.record" &&
		is_png "$dir/map.png" && tail -n 1 "$dir/map.record" | grep -x 'end 4' &&
		head -n 1 "$dir/map.record" | grep -x 'pagewatch-record 1' &&
		! ls "$dir" | grep tmp-
}

record_pattern() {
	"$PW" report "$dir/map.record" --json >"$dir/map.json" || return
	[ "$(j "$dir/map.json" "(lambda c: len(d['shots']) == 4 and
abs(sum(x[1] for x in c) * 4096 - $MIB * 2**20 * $HOT / 100) < 3 * 2**20 and
abs(sum(x[2] for x in c) * 4096 - $MIB * 2**20 * (100 - $HOT) / 100) < 4 * 2**20)(d['shots'][-1]['cells'])")" = True ]
}

redraw() {
	"$PW" report "$dir/map.record" -o "$dir/re.svg" && is_svg "$dir/re.svg" &&
		"$PW" report "$dir/map.record" -o "$dir/re.png" && is_png "$dir/re.png" &&
		"$PW" report "$dir/map.record" | grep -q 'toucher.*4 intervals'
}

heatmap_json() {
	"$PW" heatmap -p $pid -i 0.1 -n 2 --json >"$dir/h.json" &&
		[ "$(j "$dir/h.json" "d['comm'] == 'toucher' and len(d['shots']) == 2")" = True ]
}

# What it says with its standard output and error in files holds no orders.
says_no_orders() {
	"$@" >"$dir/out" 2>"$dir/err"
	no_orders "$dir/out" && no_orders "$dir/err"
}

# A record of somebody else, who has written escapes into it.
strange_record() {
	local esc=$'\033]0;owned\007\xc2\x9b31m'

	sed -e "s/^comm .*/comm $esc/" -e "s/^\(region [0-9a-f]* [0-9a-f]* \).*/\1$esc/" "$dir/map.record" \
		>"$dir/strange.record"
	says_no_orders "$PW" report "$dir/strange.record" && grep -qF '(?]0;owned???31m)' "$dir/out" &&
		says_no_orders "$PW" report --json "$dir/strange.record" && j "$dir/out" "d['comm']" &&
		"$PW" report "$dir/strange.record" -o "$dir/strange.svg" && no_orders "$dir/strange.svg"
}

# Statements with one number changed, each of them refused with its line.
bad_numbers() {
	local change

	for change in 's/^pid .*/pid -1/' 's/^pid .*/pid 1x/' 's/^pid .*/pid 99999999999999999999/' \
		's/^interval .*/interval inf/' 's/^interval .*/interval -1/' 's/^interval .*/interval 0/' \
		's/^page_size .*/page_size -4096/' 's/^page_size .*/page_size 4097/' \
		's/^cell_bytes .*/cell_bytes -4096/' 's/^cell_bytes .*/cell_bytes 5000/' \
		's/^shot [^ ]*/shot -1/' 's/^shot [^ ]*/shot nan/' '/^shot/{n;s/ [0-9]*/ -1/}' \
		'/^shot/{n;s/ [0-9]*/ 4000000000/}' '/^shot/{n;s/^/-/}' '/^shot/{n;s/$/ 1/}' \
		's/^region /region -/' 's/^end .*/end -1/'; do
		sed "$change" "$dir/map.record" >"$dir/number.record"
		fails 1 'line [0-9]*:' "$PW" report "$dir/number.record" || { echo "with $change"; return 1; }
	done
	sed '1s/1$/-1/' "$dir/map.record" >"$dir/number.record"
	fails 1 'is no record' "$PW" report "$dir/number.record"
}

no_measurement() {
	sed '/^shot/,$d' "$dir/map.record" >"$dir/none.record"
	echo 'end 0' >>"$dir/none.record"
	fails 1 'holds no measurement' "$PW" report "$dir/none.record" -o "$dir/none.png" && ! [ -e "$dir/none.png" ]
}

# Pages of a mapping of 20 TiB, or a hot quarter of one of 64 MiB that moves to the end when told to.
write_touchers() {
	cat >"$dir/touch.py" <<'EOT'
import ctypes, signal, sys, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
size = 20 << 40 if sys.argv[1] == "sparse" else 64 << 20
at = libc.mmap(None, size, 3, 0x4022, -1, 0)
libc.madvise(ctypes.c_void_p(at), ctypes.c_size_t(size), 15)
pages = [0, size // 2, size - 4096] if sys.argv[1] == "sparse" else range(0, size, 4096)
def touch(pages):
    for p in pages:
        ctypes.c_ubyte.from_address(at + p).value = 1
touch(pages)
if sys.argv[1] == "moves":
    pages = range(0, size // 4, 4096)
def move(sig, frame):
    global pages
    pages = range(size - size // 4, size, 4096)
signal.signal(signal.SIGUSR1, move)
print("ready", hex(at), flush=True)
while True:
    touch(pages)
    # Taking the right to write from many pages empties the TLB, which would keep new accesses to itself.
    for right in 1, 3:
        libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(min(size, 64 << 20)), right)
        libc.mprotect(ctypes.c_void_p(at + size - 4096), ctypes.c_size_t(4096), right)
        libc.mprotect(ctypes.c_void_p(at + size // 2), ctypes.c_size_t(4096), right)
    time.sleep(0.02)
EOT
}

sparse_heatmap() {
	local at

	at=$(awk '/^ready/ { print $2 }' "$dir/ready")
	"$PW" heatmap -p $pid -i 0.5 -n 3 -o "$dir/sparse.svg" --record "$dir/sparse.record" &&
		"$PW" report --json "$dir/sparse.record" >"$dir/sparse.json" || return
	echo "mapped at $at"
	[ "$(j "$dir/sparse.json" "all(any(c[0] <= a < c[0] + d['cell_bytes'] and c[1] for c in d['shots'][-1]['cells'])
for a in ($at, $at + (10 << 40), $at + (20 << 40) - 4096))")" = True ] &&
		python3 -c 'import sys
for a in sys.argv[2:]:
    assert "%x" % int(a) in open(sys.argv[1]).read(), a
' "$dir/sparse.svg" $(($at + (10 << 40)))
}

# The share referenced of the first and of the last quarter, interval by interval.
moving_heatmap() {
	local at

	at=$(awk '/^ready/ { print $2 }' "$dir/ready")
	(sleep 4; kill -USR1 $pid) &
	"$PW" heatmap -p $pid -i 1 -n 9 --json >"$dir/moving.json" || return
	[ "$(j "$dir/moving.json" "(lambda part: print([[round(part(s, q), 2) for q in (0, 3)] for s in d['shots']],
file=sys.stderr) or (part(d['shots'][1], 0) > 0.8 and part(d['shots'][1], 3) < 0.2 and
all(part(s, 0) < 0.2 and part(s, 3) > 0.8 for s in d['shots'][-2:])))(
lambda s, q: sum(c[1] for c in s['cells'] if $at + (q << 24) <= c[0] < $at + (q + 1 << 24)) / 4096)")" = True ]
}

test_moving() {
	write_touchers
	start_program python3 "$dir/touch.py" sparse
	check "heatmap: hot pages terabytes apart" sparse_heatmap
	stop
	start_program python3 "$dir/touch.py" moves
	check "heatmap: what is hot moves" moving_heatmap
	stop
}

test_heatmap() {
	start $MIB 4k $HOT
	check "heatmap: png and record" draw_png
	check "report --json: known pattern" record_pattern
	check "report: svg and png from the record" redraw
	check "heatmap --json" heatmap_json
	stop
	head -c 700 "$dir/map.record" >"$dir/cut.record"
	grep -v ^end "$dir/map.record" >"$dir/noend.record"
	sed '1s/1$/9/' "$dir/map.record" >"$dir/new.record"
	sed '/^shot/{n;s/^[0-9a-f]* /zz /}' "$dir/map.record" >"$dir/bad.record"
	check "report: truncated in a line" fails 1 "is cut short" "$PW" report "$dir/cut.record"
	check "report: truncated before the end" fails 1 "is cut short" "$PW" report "$dir/noend.record"
	check "report: a later format" fails 1 "format 9" "$PW" report "$dir/new.record"
	check "report: a bad line" fails 1 "line [0-9]*:" "$PW" report "$dir/bad.record"
	check "report: no record at all" fails 1 "is no record" "$PW" report "$0"
	check "report: missing file" fails 1 "No such file" "$PW" report "$dir/none"
	check "report: which file?" fails 2 "give a FILE" "$PW" report
	check "report: names with terminal escapes" strange_record
	check "report: numbers that are none" bad_numbers
	check "report: nothing measured" no_measurement
	check "report: a file's name with terminal escapes" says_no_orders "$PW" report $'/none/\033[31m\x9b'
}

# ---- types ----

types_holds() {
	local expr=$1

	shift
	"$PW" types --json "$@" >"$dir/types.json" && head -c 2000 "$dir/types.json" &&
		[ "$(j "$dir/types.json" "bool($expr)")" = True ]
}

filters_add_up() {
	local on off all

	on=$("$PW" types -p $pid -f referenced | awk '/^total/ { print $2 }')
	off=$("$PW" types -p $pid -f ~referenced | awk '/^total/ { print $2 }')
	all=$("$PW" types -p $pid | awk '/^total/ { print $2 }')
	echo "$on + $off = $all"
	[ "$all" -gt 1000 ] && [ $((on + off)) -ge $((all - 8)) ] && [ $((on + off)) -le $((all + 8)) ]
}

list_json() {
	"$PW" types -l --json >"$dir/flags.json" && "$PW" types -l >"$dir/flags" || return
	holds "$dir/flags.json" "[[str(f['bit']), f['letter'], f['name']] for f in d['flags']] ==
[l.split() for l in open('$dir/flags')]"
}

# A signal at the second piece of the flags.
types_interrupted() {
	fails 1 "interrupted before all frames" \
		strace -o "$dir/strace" -P /proc/kpageflags -e inject=pread64:signal=SIGINT:when=2 \
		"$PW" types && ! [ -s "$dir/out" ]
}

test_types() {
	start $MIB 4k $HOT
	check "types: the whole machine" types_holds \
		"d['total_bytes'] >= 2**28 and sum(t['pages'] for t in d['types']) == d['total_pages']"
	check "types -f: long names" types_holds \
		"d['types'] and all('buddy' in t['names'] for t in d['types'])" -f buddy
	check "types -f: short name, both, and not" types_holds \
		"d['types'] and all('lru' in t['names'] and 'mmap' in t['names'] and 'anonymous' not in t['names']
for t in d['types'])" -f l,M:mmap -f ~anonymous
	check "types -p: anonymous memory" types_holds \
		"d['total_bytes'] in range($MIB * 2**20, ($MIB + 4) * 2**20)" -p $pid -f anonymous
	check "types -p: filters add up" filters_add_up
	check "types --list-flags --json" list_json
	if command -v strace >/dev/null; then
		check "types: an interrupt" types_interrupted
	else
		skip "types: an interrupt" "no strace"
	fi
	check "types --list-flags" eval "[ \$('$PW' types -l | wc -l) -ge 27 ]"
	stop
	check "types: unknown flag" fails 2 "no flag 'lur'" "$PW" types -f lur
	check "types: impossible filter" fails 2 "not have it" "$PW" types -f lru,~lru
	check "types: no such process" fails 1 "no process" "$PW" types -p 4000000
}

# ---- ages ----

saved_ages() {
	printf 'age anon file unevictable period_ms=5000 sweeps=12\n'
	printf '%s\n' '0 1048576 4096 0' '1 2097152 0 0' '2 0 8192 0' '4 0 0 0' '8 0 0 65536' \
		'16 0 0 0' '32 0 0 0' '64 3221225472 0 0' '128+ 0 12288 0'
}

ages_table() {
	"$PW" ages --file "$dir/ages" >"$dir/table" || return
	cat "$dir/table"
	grep -q 'a sweep every 5 s, 12 so far' "$dir/table" && grep -q '^   64 .*3.0G.*█' "$dir/table" &&
		[ "$(grep -cE '^ +[0-9]+\+? ' "$dir/table")" -ge 9 ]
}

ages_json() {
	"$PW" ages --file "$dir/ages" --json >"$dir/ages.json" &&
		holds "$dir/ages.json" "d['sweeps'] == 12 and d['period_ms'] == 5000 and len(d['ages']) == 9 and
d['ages'][7]['anon'] == 3 * 2**30 and d['ages'][8]['age'] == '128+'"
}

ages_prom() {
	"$PW" ages --file "$dir/ages" -C 'a"b\c' --prometheus "$dir/idle.prom" || return
	cat "$dir/idle.prom"
	keep_metrics "$dir/idle.prom"
	grep -qF 'foliage_idle_age_bytes{kind="anon",age="64",cgroup="a\"b\\c"} 3221225472' "$dir/idle.prom" &&
		grep -q '^# TYPE foliage_idle_age_bytes gauge' "$dir/idle.prom" &&
		grep -q '^# HELP foliage_idle_age_bytes ' "$dir/idle.prom" &&
		[ "$(grep -c '^foliage_idle_age_bytes{' "$dir/idle.prom")" = 27 ] && ! ls "$dir" | grep tmp-
}

# One number of the histogram changed, each time refused with its line.
ages_numbers() {
	local change

	for change in '1s/=5000/=-5000/' '1s/=5000/= 5000/' '1s/=12/=-1/' '1s/=12/=0x12/' '1s/=12/=12x/' \
		'3s/2097152/-2097152/' '3s/2097152/+1/' '3s/2097152/1e6/' '3s/2097152/99999999999999999999/' \
		'3s/2097152/1152921504606846976/' '3s/$/ 1/' '3s/ 0$//'; do
		sed "$change" "$dir/ages" >"$dir/number"
		fails 1 "line $(echo "$change" | head -c 1):" "$PW" ages --file "$dir/number" ||
			{ echo "with $change"; return 1; }
	done
}

ages_orders() {
	says_no_orders "$PW" ages --file "$dir/ages" -C $'\033[31m' && grep -q '^?\[31m: a sweep' "$dir/out"
}

# ---- where it writes ----

prom() { "$PW" ages --file "$dir/ages" --prometheus "$1"; }

is_prom() { [ "$(grep -c '^foliage_idle_age_bytes{' "$1")" = 27 ]; }

keeps_device() {
	mknod "$dir/null" c 1 3 && prom "$dir/null" && [ -c "$dir/null" ] &&
		"$PW" heatmap -p $$ -i 0.1 -n 1 --record "$dir/null" && [ -c "$dir/null" ]
}

full_device() {
	mknod "$dir/full" c 1 7
	fails 1 "cannot write.*No space" prom "$dir/full" && [ -c "$dir/full" ]
}

keeps_fifo() {
	mkfifo "$dir/fifo"
	timeout 10 cat "$dir/fifo" >"$dir/from-fifo" &
	local reader=$!

	prom "$dir/fifo"
	wait $reader && [ -p "$dir/fifo" ] && is_prom "$dir/from-fifo"
}

# A link to a file stays, and so does one that leads nowhere yet; what they lead to is written.
keeps_links() {
	mkdir "$dir/far" && echo old >"$dir/far/file" && ln -s far/file "$dir/link" &&
		ln -s "$dir/far/new" "$dir/far/hop" && ln -s far/hop "$dir/dangling" || return
	prom "$dir/link" && [ -L "$dir/link" ] && ! [ -L "$dir/far/file" ] && is_prom "$dir/far/file" &&
		prom "$dir/dangling" && [ -L "$dir/dangling" ] && [ -L "$dir/far/hop" ] && is_prom "$dir/far/new" &&
		! ls "$dir" "$dir/far" | grep tmp-
}

picture_by_link() {
	echo old >"$dir/far/picture.png" && ln -s far/picture.png "$dir/link.png" &&
		"$PW" report "$dir/map.record" -o "$dir/link.png" && [ -L "$dir/link.png" ] &&
		is_png "$dir/far/picture.png"
}

keeps_owner() {
	echo old >"$dir/owned" && chown 65534:65534 "$dir/owned" && chmod 640 "$dir/owned" && prom "$dir/owned" &&
		is_prom "$dir/owned" && [ "$(stat -c '%u:%g %a' "$dir/owned")" = '65534:65534 640' ]
}

to_stdout() {
	(echo first; prom /proc/self/fd/1; echo last) >"$dir/stdout" && is_prom "$dir/stdout" &&
		[ "$(head -n 1 "$dir/stdout") $(tail -n 1 "$dir/stdout")" = 'first last' ] &&
		prom /proc/self/fd/1 | cat >"$dir/piped" && is_prom "$dir/piped"
}

# At once, not after the first interval.
refuses_folder() {
	fails 1 "cannot write.*Is a directory" timeout 10 "$PW" heatmap -p $$ -i 60 -n 1 --record "$dir/far" &&
		fails 1 "cannot write" prom "$dir/far"
}

test_targets() {
	check "output: a device stays one" keeps_device
	check "output: a device that is full" full_device
	check "output: a FIFO stays one" keeps_fifo
	check "output: links stay" keeps_links
	check "output: a picture by a link" picture_by_link
	check "output: owner and mode stay" keeps_owner
	check "output: /dev/stdout" to_stdout
	check "output: no folder" refuses_folder
}

test_ages() {
	saved_ages >"$dir/ages"
	check "ages --file: table" ages_table
	check "ages --file: JSON" ages_json
	check "ages --prometheus" ages_prom
	sed '1s/period_ms=5000/period_ms=0/' "$dir/ages" >"$dir/off"
	head -n 5 "$dir/ages" >"$dir/short"
	sed '3s/2097152/many/' "$dir/ages" >"$dir/bad"
	check "ages: sweeps are off" fails 1 "echo 60000 >" "$PW" ages --file "$dir/off"
	check "ages: cut short" fails 1 "line 6: the histogram is cut short" "$PW" ages --file "$dir/short"
	check "ages: a bad number" fails 1 "line 3:" "$PW" ages --file "$dir/bad"
	check "ages: numbers that are none" ages_numbers
	check "ages: a label with terminal escapes" ages_orders
	check "ages: missing file" fails 1 "No such file" "$PW" ages --file "$dir/none"
	check "ages: unwritable output" fails 1 "cannot write" \
		"$PW" ages --file "$dir/ages" --prometheus /proc/none/idle.prom
	check "ages: no such cgroup" fails 1 "no cgroup" "$PW" ages -C none-such
	if [ -e /sys/kernel/mm/page_idle/ages ]; then
		live_ages
	else
		check "ages: the kernel has none" fails 1 "lacks CONFIG_FOLIAGE_IDLE" "$PW" ages
	fi
}

PERIOD=/sys/kernel/mm/page_idle/scan_period_ms

# In the last sweeps the hot part was used, the rest was not.
ages_pattern() {
	"$PW" ages "$@" --json >"$dir/live.json" &&
		holds "$dir/live.json" "d['sweeps'] >= 4 and
sum(a['anon'] for a in d['ages'][:2]) >= ($MIB * $HOT / 100 - 2) * 2**20 and
sum(a['anon'] for a in d['ages'][2:]) >= ($MIB * (100 - $HOT) / 100 - 2) * 2**20"
}

live_ages() {
	remember $PERIOD
	echo 0 >$PERIOD
	check "ages: live, off" fails 1 "echo 60000 >" "$PW" ages
	echo 1000 >$PERIOD
	start $MIB 4k $HOT
	sleep 9
	check "ages: live, known pattern" ages_pattern
	stop
	echo 0 >$PERIOD
}

live_cgroup_ages() {
	[ -e $CG/pagewatch-test/memory.idle_ages ] || return
	remember $PERIOD
	echo 1000 >$PERIOD
	sleep 9
	check "ages -C: live, known pattern" ages_pattern -C pagewatch-test
	echo 0 >$PERIOD
}

# ---- what goes wrong ----

exits_meanwhile() {
	start $MIB 4k $HOT
	(sleep 3; kill $pid) &
	"$PW" wss -p $pid -i 0.3 --json >"$dir/gone.json" 2>"$dir/err" || return
	cat "$dir/err"
	grep -q 'has exited after [0-9]* complete' "$dir/err" &&
		holds "$dir/gone.json" "d['ended'] == 'exited' and len(d['intervals']) >= 1"
}

exits_at_once() {
	start $MIB 4k $HOT
	(sleep 1; kill $pid) &
	fails 1 "exited after 0 complete intervals" "$PW" wss -p $pid -i 60
}

heatmap_exits() {
	start $MIB 4k $HOT
	(sleep 3; kill $pid) &
	"$PW" heatmap -p $pid -i 0.3 -n 1000 -o "$dir/gone.png" 2>"$dir/err" &&
		grep -q 'has exited' "$dir/err" && is_png "$dir/gone.png"
}

help_and_version() {
	local c

	"$PW" --help | grep -q 'usage: pagewatch' && "$PW" --version | grep -q '^pagewatch ' || return
	for c in wss heatmap report types ages thp dirty swap slabs top; do
		"$PW" $c --help | grep -q "usage: pagewatch $c" && "$PW" $c --version | grep -q '^pagewatch ' ||
			return
	done
}

full_disk() {
	fails 1 "cannot write the output" eval '"$PW" types --list-flags >/dev/full'
}

bad_options() {
	local v

	for v in -5 +5 5x 0x5 '' 0 99999999999999999999; do
		fails 2 "no process ID" "$PW" wss -p "$v" && fails 2 "no process ID" "$PW" types -p "$v" &&
			fails 2 "no process ID" "$PW" heatmap -p "$v" && fails 2 "no count" "$PW" wss -p 1 -n "$v" &&
			fails 2 "no count" "$PW" heatmap -p 1 -n "$v" || return
	done
	for v in -1 +1 1x 0x1 '' 0 nan inf 1..2 .; do
		fails 2 "no interval" "$PW" wss -p 1 -i "$v" &&
			fails 2 "no interval" "$PW" heatmap -p 1 -i "$v" || return
	done
}

# The manual page says what works for whom.
as_nobody() {
	setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}

own_process() {
	fails 1 "needs root" as_nobody bash -c '"$0" wss -p $$ -n 1; exit $?' "$PW" &&
		fails 1 "needs root" as_nobody bash -c '"$0" heatmap -p $$ -n 1 --json; exit $?' "$PW" &&
		fails 1 "needs root" as_nobody bash -c '"$0" types -p $$; exit $?' "$PW" &&
		as_nobody "$PW" types -l && as_nobody "$PW" report /proc/self/fd/0 <"$dir/map.record" &&
		as_nobody "$PW" ages --file /proc/self/fd/0 <"$dir/ages"
}

# It names itself with an upper control character, which starts an escape sequence too.
process_orders() {
	bash -c $'printf "x\xc2\x9b31m" >/proc/$$/comm; sleep 20; :' &
	local named=$! status

	sleep 1
	says_no_orders "$PW" wss -p $named -i 0.1 -n 1
	status=$?
	kill $named
	[ $status = 0 ] && grep -qF '(x??31m)' "$dir/out"
}

test_bad_input() {
	check "--help and --version, of all" help_and_version
	check "no command" fails 2 "usage:" "$PW"
	check "unknown command" fails 2 "no command 'wsss'" "$PW" wsss
	check "unknown option" fails 2 "unrecognized option" "$PW" wss --frobnicate
	check "no target" fails 2 "give one of" "$PW" wss
	check "two targets" fails 2 "give one of" "$PW" wss -p 1 --all
	check "a word too many" fails 2 "one word too many" "$PW" wss -p 1 here
	check "bad PID" fails 2 "no process ID" "$PW" wss -p 12x
	check "negative interval" fails 2 "no interval" "$PW" wss -p 1 -i -1
	check "interval of no number" fails 2 "no interval" "$PW" wss -p 1 -i nan
	check "bad count" fails 2 "no count" "$PW" wss -p 1 -n 0
	check "no such process" fails 1 "no process 4000000" "$PW" wss -p 4000000
	check "a kernel thread" fails 1 "kernel thread" "$PW" wss -p 2
	check "no such cgroup" fails 1 "no cgroup" "$PW" wss -C none-such
	check "heatmap: nothing to write" fails 2 "nothing to do" "$PW" heatmap -p 1
	check "heatmap: strange suffix" fails 2 "ends in .png or .svg" "$PW" heatmap -p 1 -o map.gif
	check "heatmap: unwritable picture" fails 1 "cannot write" "$PW" heatmap -p $$ -o /proc/none/map.png
	check "heatmap: unwritable record" fails 1 "cannot write" "$PW" heatmap -p $$ --record /proc/none/r
	check "heatmap: no gnuplot" fails 1 "gnuplot is not installed" \
		env PATH=/nowhere "$(command -v "$PW")" heatmap -p $$ -o "$dir/x.png"
	check "output: no space" full_disk
	check "the process exits: what was seen is kept" exits_meanwhile
	check "the process exits before there is anything" exits_at_once
	check "the process exits: a heatmap of what was seen" heatmap_exits
	check "numbers that are none, of every option" bad_options
	check "a process with terminal escapes in its name" process_orders
	check "not root: one's own process, and what needs no root" own_process
	check "not root: wss" fails 1 "needs root" setpriv --reuid=65534 --clear-groups "$PW" wss -p $$
	check "not root: types" fails 1 "needs root" setpriv --reuid=65534 --clear-groups "$PW" types
	check "root without CAP_SYS_ADMIN" fails 1 "needs root.*hides frame numbers" \
		setpriv --bounding-set=-sys_admin "$PW" wss -p $$
}

needs /sys/kernel/mm/page_idle/bitmap CONFIG_IDLE_PAGE_TRACKING
test_wss
test_cgroup
test_heatmap
test_moving
test_types
test_ages
test_targets
test_bad_input
summary

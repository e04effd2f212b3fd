#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# pagewatch thp against programs whose folios are known, and against bad input. TAP on stdout.
#   PAGEWATCH=path TOUCHER=path ./pagewatch_thp.sh      as root, on any kernel with transparent huge pages
# Without TOUCHER, toucher.c beside this file is compiled.

here=$(cd "$(dirname "$0")" && pwd)
MIB=32
. "$here/tap.sh"

KHUGE=$THP/khugepaged

# ---- programs ----

# maps.py WHAT: 16 MiB, and what is known of them. Each says "ready" when it is.
write_maps() {
	cat >"$dir/maps.py" <<'EOT'
import ctypes, os, signal, sys, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
MIB = 1 << 20
what = sys.argv[1]
size = 20 << 40 if what == "reserved" else 18 * MIB
if what == "process":
    libc.prctl(41, 1, 0, 0, 0)
at = libc.mmap(None, size, 3, 0x4022, -1, 0)
at = (at + 2 * MIB - 1) & -(2 * MIB)
def write(pages):
    for p in pages:
        ctypes.c_ubyte.from_address(at + p).value = 1
if what == "zeroes":
    libc.madvise(at, 16 * MIB, 14)
    write(range(0, 16 * MIB, 2 * MIB))
elif what == "read":
    libc.madvise(at, 16 * MIB, 15)
    x = sum(ctypes.c_ubyte.from_address(at + p).value for p in range(0, 16 * MIB, 4096))
elif what == "reserved":
    write([0, 1 << 30, 19 << 40])
else:
    libc.madvise(at, 16 * MIB, 15)
    write(range(0, 16 * MIB, 2 * MIB if what == "sparse" else 4096))
    libc.madvise(at, 16 * MIB, 14)
if what == "shared" and not os.fork():
    time.sleep(1000)
print("ready", flush=True)
signal.signal(signal.SIGTERM, lambda *a: (os.killpg(0, signal.SIGKILL)))
time.sleep(1000)
EOT
}

maps() {
	start_program setsid python3 "$dir/maps.py" "$@"
}

thp_holds() {
	local expr=$1

	shift
	"$PW" thp "$@" --json >"$dir/thp.json" || return
	holds "$dir/thp.json" "$expr"
}

# The largest mapping that is anonymous: a program has others besides.
HERE="max((v for v in d['vmas'] if v['kind'] == 'anon'), key=lambda v: int(v['end'], 16) - int(v['start'], 16))"

# ---- folios ----

test_folios() {
	start $MIB thp 25
	check "thp: mapped by PMDs" thp_holds "$HERE['pmd'] == $MIB * 2**20 and d['pmd'] == $MIB * 2**20 and
not any($HERE['not_huge'].values()) and not $HERE['folios']" -p $pid
	check "thp --all: they are among all" thp_holds "d['pmd'] >= $MIB * 2**20 and d['processes'] > 1" --all
	stop
	start $MIB half 25
	check "thp: mapped by entries, half of each" thp_holds "d['pmd'] == 0 and
d['folios']['2097152'] == $MIB * 2**19 and d['not_huge']['unaligned'] >= $MIB * 2**19" -p $pid
	stop
	start $MIB 4k 25
	check "thp: small pages, by advice" thp_holds "$HERE['folios'] == {'4096': $MIB * 2**20} and
$HERE['not_huge']['advice'] == $MIB * 2**20" -p $pid
	check "thp: text" text_lines
	check "thp -v: each mapping" each_mapping
	stop
	if ! echo madvise >$THP/hugepages-64kB/enabled 2>/dev/null; then
		skip "thp: 64 KiB" "the kernel has no 64 KiB folios"
		return
	fi
	echo never >$THP/hugepages-2048kB/enabled
	start $MIB 64k 25
	check "thp: 64 KiB" thp_holds "$HERE['folios'] == {'65536': $MIB * 2**20} and
$HERE['not_huge']['setting'] == $MIB * 2**20" -p $pid
	stop
	echo never >$THP/hugepages-64kB/enabled
	echo inherit >$THP/hugepages-2048kB/enabled
}

text_lines() {
	"$PW" thp -p $pid >"$dir/text" || return
	cat "$dir/text"
	grep -q "^toucher ($pid): .* mapped$" "$dir/text" && grep -q "^ *4.0K entries  *3[2-9]" "$dir/text" &&
		grep -q "^ *32.0M  advice  *MADV_NOHUGEPAGE" "$dir/text" &&
		[ "$(grep -c "^[0-9a-f]*-[0-9a-f]* " "$dir/text")" = 1 ]
}

each_mapping() {
	"$PW" thp -p $pid -v >"$dir/text" || return
	cat "$dir/text"
	[ "$(grep -c "^[0-9a-f]*-[0-9a-f]* " "$dir/text")" -gt 5 ] && grep -q "heap .*\[heap\]" "$dir/text" &&
		grep -q "stack .*\[stack\]" "$dir/text"
}

# ---- reasons ----

# reason NAME MIB: what keeps the program's memory from being huge.
reason() {
	thp_holds "$HERE['not_huge']['$1'] == $2 and sum($HERE['not_huge'].values()) == $2" -p $pid
}

test_reasons() {
	local none shared sleeps decoy

	none=$(cat $KHUGE/max_ptes_none)
	shared=$(cat $KHUGE/max_ptes_shared)
	sleeps=$(cat $KHUGE/scan_sleep_millisecs)
	saved="$saved $KHUGE/max_ptes_none=$none $KHUGE/max_ptes_shared=$shared"
	saved="$saved $KHUGE/scan_sleep_millisecs=$sleeps"
	echo 3600000 >$KHUGE/scan_sleep_millisecs
	# khugepaged sleeps so long only when it has seen something.
	maps zeroes
	decoy=$pid
	pid=
	sleep 1
	maps dense
	check "thp: nothing is in the way" reason not_yet $((16 << 20))
	stop
	maps sparse
	check "thp: one page of each is enough" reason not_yet $((8 * 4096))
	echo 0 >$KHUGE/max_ptes_none
	check "thp: too many are empty" reason empty $((8 * 4096))
	stop
	maps shared
	check "thp: shared with a child" reason shared $((16 << 20))
	echo 511 >$KHUGE/max_ptes_shared
	stop
	echo "$none" >$KHUGE/max_ptes_none
	maps process
	check "thp: a process that wants none" reason process $((16 << 20))
	stop
	maps dense
	echo never >$THP/hugepages-2048kB/enabled
	check "thp: the settings say never" reason setting $((16 << 20))
	echo always >$THP/hugepages-2048kB/enabled
	check "thp: the settings say always" reason not_yet $((16 << 20))
	echo inherit >$THP/hugepages-2048kB/enabled
	stop
	pid=$decoy
	stop
}

# ---- zeroes ----

test_zeroes() {
	maps zeroes
	check "thp -z: huge pages of which a page is used" thp_holds "d['pmd'] >= 16 * 2**20 and
d['zeroes'] >= 8 * 511 * 4096 and d['zeroes'] <= d['looked_for_zeroes']" -p $pid -z
	check "thp: nothing is read without -z" thp_holds "'zeroes' not in d" -p $pid
	stop
	maps read
	check "thp: the zero page" thp_holds "d['zero_page'] >= 16 * 2**20" -p $pid
	stop
	maps reserved
	check "thp: 20 TiB reserved" timeout 20 "$PW" thp -p $pid
	stop
}

# ---- cgroups, Prometheus, bad input ----

is_prom() {
	cat "$1"
	[ "$(grep -c '^foliage_thp_not_huge_bytes{why="[a-z_]*"' "$1")" = 8 ] &&
		[ "$(grep -c '^foliage_thp_mapped_bytes{folio="[0-9]*",by="entries"' "$1")" = 10 ] &&
		grep -q "^foliage_thp_mapped_bytes{folio=\"2097152\",by=\"pmd\"$2} $3" "$1" && keep_metrics "$1"
}

prom_of() {
	local labels=$1 bytes=$2

	shift 2
	"$PW" thp "$@" --prometheus "$dir/thp.prom" && is_prom "$dir/thp.prom" "$labels" "$bytes"
}

test_cgroup() {
	echo +memory >$CG/cgroup.subtree_control 2>/dev/null
	if ! mkdir $CG/pagewatch-thp || ! [ -e $CG/pagewatch-thp/memory.stat ]; then
		skip "thp -C" "no cgroup v2 with a memory controller at $CG"
		return
	fi
	cleanup_cg=$CG/pagewatch-thp
	echo $BASHPID >$cleanup_cg/cgroup.procs
	start $MIB thp 25
	echo $BASHPID >$CG/cgroup.procs
	check "thp -C: its processes" thp_holds "d['pmd'] == $MIB * 2**20 and d['processes'] == 1 and
'vmas' not in d" -C pagewatch-thp
	check "thp -C --prometheus" prom_of ',cgroup="pagewatch-thp"' $((MIB << 20)) -C pagewatch-thp
	check "thp -p --prometheus" prom_of ",pid=\"$pid\"" $((MIB << 20)) -p $pid
	stop
	check "thp -C: nobody is in there" says_nobody
}

says_nobody() {
	"$PW" thp -C pagewatch-thp >"$dir/out" 2>"$dir/err" && grep -q "no process in" "$dir/err"
}

test_bad_input() {
	check "thp: no target" fails 2 "give one of" "$PW" thp
	check "thp: two targets" fails 2 "give one of" "$PW" thp -p 1 --all
	check "thp: -v of many" fails 2 "only of one process" "$PW" thp --all -v
	check "thp: a word too many" fails 2 "one word too many" "$PW" thp -p 1 here
	check "thp: no such process" fails 1 "no process 4000000" "$PW" thp -p 4000000
	check "thp: a kernel thread" fails 1 "kernel thread" "$PW" thp -p 2
	check "thp: no such cgroup" fails 1 "no cgroup" "$PW" thp -C none-such
	check "thp: unwritable file" fails 1 "cannot write" "$PW" thp -p $$ -P /proc/none/thp.prom
	check "thp: not root" fails 1 "needs root" setpriv --reuid=65534 --clear-groups "$PW" thp -p $$
}

needs $THP/hpage_pmd_size CONFIG_TRANSPARENT_HUGEPAGE
write_maps
test_folios
test_reasons
test_zeroes
test_cgroup
test_bad_input
summary

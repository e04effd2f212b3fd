#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# pagewatch swap against a program that has more memory than its cgroup may have, and bad input. TAP on stdout.
#   PAGEWATCH=path TOUCHER=path ./pagewatch_swap.sh      as root; it makes swap on zram where there is none

here=$(cd "$(dirname "$0")" && pwd)
MIB=48
LIMIT=16
. "$here/tap.sh"

ZSWAP=/sys/module/zswap/parameters/enabled
zram=

# ---- swap ----

make_swap() {
	[ "$(wc -l </proc/swaps)" -gt 1 ] && return
	modprobe zram 2>/dev/null
	[ -e /sys/block/zram0 ] && echo $((256 << 20)) >/sys/block/zram0/disksize && mkswap /dev/zram0 >/dev/null &&
		swapon /dev/zram0 && zram=/dev/zram0
}

end_swap() {
	[ -z "$zram" ] || { swapoff $zram && echo 1 >/sys/block/zram0/reset; }
}

# In a cgroup that may have LIMIT MiB: what is left is swapped out. Half of it is written once.
start_in_cgroup() {
	echo +memory >$CG/cgroup.subtree_control 2>/dev/null
	mkdir -p $CG/pagewatch-swap && [ -e $CG/pagewatch-swap/memory.swap.current ] || return
	cleanup_cg=$CG/pagewatch-swap
	echo $((LIMIT << 20)) >$cleanup_cg/memory.max
	echo $BASHPID >$cleanup_cg/cgroup.procs
	start $MIB 4k 5
	echo $BASHPID >$CG/cgroup.procs
}

swap_holds() {
	local expr=$1

	shift
	"$PW" swap "$@" --json >"$dir/swap.json" || return
	holds "$dir/swap.json" "$expr"
}

OUT=$(((MIB - LIMIT - 1) << 20))

# ---- tests ----

test_without() {
	check "swap: nothing is swapped out" swap_holds "d['used'] <= d['total'] and
all(p['swap'] for p in d['processes'])"
	check "swap: of a process with nothing there" swap_holds "[p['pid'] for p in d['processes']] == [$$]" -p $$
}

test_swapped() {
	check "swap -p: what it may not have in memory" swap_holds "d['processes'][0]['pid'] == $pid and
d['processes'][0]['swap'] >= $OUT and d['processes'][0]['rss'] < $MIB * 2**20 and d['used'] >= $OUT" -p $pid
	check "swap: it is among all" swap_holds "any(p['pid'] == $pid and p['swap'] >= $OUT
for p in d['processes']) and
any(g['name'] == 'pagewatch-swap' and g['swap'] >= $OUT for g in d['cgroups']) and
all(a['swap'] >= b['swap'] for a, b in zip(d['processes'], d['processes'][1:]))"
	check "swap -C" swap_holds "len(d['cgroups']) == 1 and d['cgroups'][0]['swap'] >= $OUT and
d['cgroups'][0]['current'] <= $LIMIT * 2**20 and [p['pid'] for p in d['processes']] == [$pid]" -C pagewatch-swap
	check "swap: text" text_lines
}

text_lines() {
	"$PW" swap >"$dir/text" || return
	cat "$dir/text"
	grep -q " of .* of swap are used" "$dir/text" && grep -q "^ *$pid toucher " "$dir/text" &&
		grep -q "pagewatch-swap$" "$dir/text"
}

test_zswap() {
	local was

	if ! [ -w $ZSWAP ]; then
		skip "swap: in zswap" "the kernel has no zswap"
		return
	fi
	was=$(cat $ZSWAP)
	saved="$saved $ZSWAP=$was"
	echo Y >$ZSWAP
	start_in_cgroup
	check "swap: in zswap" swap_holds "d['zswapped'] >= $OUT and 0 < d['zswap'] < d['zswapped'] and
d['cgroups'][0]['zswapped'] >= $OUT and d['events']['zswpout'] * d['page_size'] >= $OUT" -C pagewatch-swap
	check "swap: what zswap rejects" swap_holds "'reject_compress_poor' in d['rejects']"
	check "swap --watch" watches
	check "swap: what zswap rejects of a cgroup" group_rejects
	stop
	echo "$was" >$ZSWAP
}

# It may have nothing in zswap any more, and a fourth of its memory.
group_rejects() {
	echo 0 >$cleanup_cg/memory.zswap.max
	echo $((LIMIT << 18)) >$cleanup_cg/memory.max
	if [ -e $cleanup_cg/memory.zswap.rejects ]; then
		swap_holds "d['cgroups'][0]['rejects']['cgroup_limit'] > 0 and
d['cgroups'][0]['rejects']['pool_limit'] == 0" -C pagewatch-swap
	else
		swap_holds "'rejects' not in d['cgroups'][0]" -C pagewatch-swap
	fi
}

watches() {
	(sleep 0.7; echo $((LIMIT << 19)) >$cleanup_cg/memory.max) &
	"$PW" swap --watch -i 0.5 -n 4 >"$dir/text" || return
	cat "$dir/text"
	[ "$(wc -l <"$dir/text")" = 5 ] && awk 'NR > 1 && $6 != "0B" { found = 1 } END { exit !found }' "$dir/text"
}

interrupted() {
	"$PW" swap --watch -i 0.2 >"$dir/text" &
	local watcher=$!

	sleep 1
	kill -INT $watcher
	wait $watcher && [ "$(wc -l <"$dir/text")" -gt 2 ]
}

test_bad_input() {
	check "swap --watch: interrupted" interrupted
	check "swap: two targets" fails 2 "not both" "$PW" swap -p 1 -C x
	check "swap: --watch of one process" fails 2 "of the whole machine" "$PW" swap --watch -p 1
	check "swap: a word too many" fails 2 "one word too many" "$PW" swap here
	check "swap: no such process" fails 1 "no process 4000000" "$PW" swap -p 4000000
	check "swap: a kernel thread" fails 1 "no process 2 with memory" "$PW" swap -p 2
	check "swap: no such cgroup" fails 1 "no cgroup" "$PW" swap -C none-such
	check "swap: not root" setpriv --reuid=65534 --clear-groups "$PW" swap
}

needs /proc/swaps CONFIG_SWAP
test_without
if make_swap && start_in_cgroup; then
	test_swapped
	stop
	test_zswap
else
	skip "swap: of a program that is swapped out" "no swap, or no cgroup v2 with a memory controller"
fi
test_bad_input
end_swap
summary

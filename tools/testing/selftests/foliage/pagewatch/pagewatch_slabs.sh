#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# pagewatch slabs against the kernel's own files, and bad input. TAP on stdout.
#   PAGEWATCH=path TOUCHER=path ./pagewatch_slabs.sh      as root

here=$(cd "$(dirname "$0")" && pwd)
. "$here/tap.sh"

slabs_hold() {
	local expr=$1

	shift
	"$PW" slabs "$@" --json >"$dir/slabs.json" || return
	holds "$dir/slabs.json" "$expr"
}

# What is not of a cache is in there, too: objects of more than two pages.
adds_up() {
	local slab

	slab=$(awk '/^Slab:/ { print $2 * 1024 }' /proc/meminfo)
	slabs_hold "(lambda s: 0.5 * $slab < s < 1.1 * $slab)(sum(x['bytes'] for x in d['slabs'])) and
d['caches'] == len(d['slabs']) and
all(x['used'] <= x['objects'] and x['loss'] <= x['bytes'] for x in d['slabs'])" -N 1000000
}

one_cache() {
	local f=/sys/kernel/slab/kmalloc-64

	slabs_hold "(lambda x: x['object_size'] == $(cat $f/object_size) and
abs(x['used'] - $(cut -d' ' -f1 $f/objects)) < 1000 and x['bytes'] % 4096 == 0 and
x['loss'] == x['bytes'] - x['used'] * x['object_size'])(
[x for x in d['slabs'] if x['name'] == 'kmalloc-64'][0])" -N 1000000
}

sorted_by() {
	slabs_hold "all(a['$2'] >= b['$2'] for a, b in zip(d['slabs'], d['slabs'][1:])) and
len(d['slabs']) == 20" -s "$1"
}

# Each file in memory has an inode of its own.
grows() {
	mkdir -p "$dir/many" && mount -t tmpfs none "$dir/many" || return
	(sleep 0.5; cd "$dir/many" && seq 1 20000 | xargs touch) &
	slabs_hold "d['slabs'][0]['growth'] > 4 * 2**20 and
'shmem_inode_cache' in [x['name'] for x in d['slabs'] if x['growth'] > 2**20]" -s growth -i 8
	local status=$?

	wait
	umount "$dir/many"
	return $status
}

text_lines() {
	"$PW" slabs -N 5 >"$dir/text" && "$PW" slabs -N 5 -B -i 0.2 >>"$dir/text" || return
	cat "$dir/text"
	[ "$(grep -c "^CACHE " "$dir/text")" = 2 ] && [ "$(wc -l <"$dir/text")" = 16 ] &&
		grep -q "caches, [0-9]* objects in [0-9]*, of which" "$dir/text" && grep -q "GROWTH$" "$dir/text"
}

# hidden PATH... -- COMMAND: with nothing to be seen in these places.
hidden() {
	local over=

	while [ "$1" != -- ]; do
		if [ -d "$1" ]; then
			over="$over mount -t tmpfs none $1;"
		else
			over="$over mount --bind /dev/null $1;"
		fi
		shift
	done
	shift
	unshare -m bash -c "$over"' exec "$@"' bash "$@"
}

by_slabinfo() {
	hidden /sys/kernel/slab -- "$PW" slabs -N 1000000 --json >"$dir/info.json" || return
	holds "$dir/info.json" "d['source'] == '/proc/slabinfo' and d['caches'] > 50 and
any(x['name'] == 'kmalloc-64' and x['object_size'] >= 64 for x in d['slabs'])"
}

test_slabs() {
	check "slabs: they are what /proc/meminfo says" adds_up
	check "slabs: one of them" one_cache
	check "slabs: by size" sorted_by size bytes
	check "slabs: by loss" sorted_by loss loss
	check "slabs: what grows" grows
	check "slabs: text" text_lines
	check "slabs: by /proc/slabinfo" by_slabinfo
	check "slabs: nothing to be read" fails 1 "the kernel does not tell" \
		hidden /sys/kernel/slab /proc/slabinfo -- "$PW" slabs
}

test_bad_input() {
	check "slabs: no order" fails 2 "give size, loss or growth" "$PW" slabs -s name
	check "slabs: no rows" fails 2 "no count" "$PW" slabs -N 0
	check "slabs: a word too many" fails 2 "one word too many" "$PW" slabs here
	check "slabs: not root" fails 1 "needs root" setpriv --reuid=65534 --clear-groups "$PW" slabs
}

needs /sys/kernel/slab CONFIG_SLUB_DEBUG
test_slabs
test_bad_input
summary

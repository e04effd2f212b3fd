#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# pagewatch slabs against the kernel's own files, and bad input. TAP on stdout.
#   PAGEWATCH=path TOUCHER=path ./pagewatch_slabs.sh      as root
# SLABINFO and SLABINFO_GNUPLOT: tools/mm/slabinfo of the kernel tree, built, and slabinfo-gnuplot.sh.

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

# Files in memory that come in the middle: their inodes grow from the first sample to the last.
recorded() {
	(sleep 1; mkdir -p "$dir/more" && mount -t tmpfs none "$dir/more" && cd "$dir/more" &&
		seq 1 5000 | xargs touch) &
	"$PW" slabs -r "$dir/slabs.rec" -i 0.5 -n 12 || return
	wait
	umount "$dir/more"
	"$PW" report "$dir/slabs.rec" | tee "$dir/text"
	grep -q "12 samples of 0.5 s, .* grew most" "$dir/text" &&
		"$PW" report "$dir/slabs.rec" --json >"$dir/record.json" && [ "$(j "$dir/record.json" "bool(
len(d['samples']) == 12 and 5 < d['samples'][-1]['time'] < 60 and
(lambda size: size[-1] > size[0] + 2**20)([sum(x['bytes'] for x in s['slabs']
if x['name'] == 'shmem_inode_cache') for s in d['samples']]))")" = True ]
}

# picture FILE WIDTH HEIGHT: it is a PNG of that size, and not of one colour.
picture() {
	[ "$(head -c 24 "$1" | od -An -tu1 -j16 -N8 | tr -s ' ')" = \
		" $(python3 -c 'import sys
print(*int(sys.argv[1]).to_bytes(4, "big"), *int(sys.argv[2]).to_bytes(4, "big"))' "$2" "$3")" ] &&
		[ "$(stat -c %s "$1")" -gt 8000 ]
}

drawn() {
	"$PW" report "$dir/slabs.rec" -o "$dir/one.png" && picture "$dir/one.png" 1400 900 &&
		"$PW" report "$dir/slabs.rec" "$dir/slabs.rec" -o "$dir/two.png" -s 1000x600 &&
		picture "$dir/two.png" 1000 600 &&
		"$PW" report "$dir/slabs.rec" -r 3,7 -o "$dir/part.svg" && grep -q "</svg>" "$dir/part.svg" &&
		grep -q shmem_inode_cache "$dir/part.svg"
}

in_range() {
	"$PW" report "$dir/slabs.rec" -r 3,7 --json >"$dir/part.json" || return
	holds "$dir/part.json" "len(d['samples']) == 5" >/dev/null || return
	[ "$(j "$dir/part.json" "[s['time'] for s in d['samples']]")" = \
		"$(j "$dir/record.json" "[s['time'] for s in d['samples'][2:7]]")" ]
}

# What is interrupted is kept.
interrupted() {
	timeout -s INT 2 "$PW" slabs -r "$dir/short.rec" -i 0.3
	"$PW" report "$dir/short.rec" | grep -q "samples of 0.3 s"
}

# The same numbers as slabinfo's, read a moment apart.
as_slabinfo() {
	local ours theirs

	"$PW" slabs --slabinfo -i 0.2 -n 4 >"$dir/stats" || return
	"$SLABINFO" -X -B >"$dir/theirs" || return
	head -12 "$dir/stats" "$dir/theirs"
	ours=$(awk '/Memory used/ { v = $3 } END { print v }' "$dir/stats")
	theirs=$(awk '/Memory used/ { print $3 }' "$dir/theirs")
	python3 -c "import sys; sys.exit(not 0.8 < $ours / $theirs < 1.25)"
}

by_its_script() {
	local f

	(cd "$dir" && bash "$SLABINFO_GNUPLOT" stats) || return
	for f in totals slabs-by-loss slabs-by-size; do
		cat "$dir/stats-$f"
		picture "$dir/stats-$f.png" 1500 700 2>/dev/null ||
			[ "$(stat -c %s "$dir/stats-$f.png")" -gt 3000 ] || return
		[ "$(wc -l <"$dir/stats-$f")" = 4 ] || return
	done
}

test_records() {
	check "slabs: a record" recorded
	check "slabs: pictures of records" drawn
	check "slabs: a part of a record" in_range
	check "slabs: a record that is interrupted" interrupted
	if [ -x "$SLABINFO" ]; then
		check "slabs: as slabinfo tells it" as_slabinfo
		check "slabs: slabinfo-gnuplot.sh reads it" by_its_script
	else
		skip "slabs: as slabinfo tells it" "set SLABINFO and SLABINFO_GNUPLOT"
	fi
}

# broken WORDS SED-SCRIPT: a record changed in that way is refused with these words.
broken() {
	sed "$2" "$dir/slabs.rec" >"$dir/broken.rec"
	fails 1 "$1" "$PW" report "$dir/broken.rec"
}

test_bad_records() {
	check "slabs: a record cut short" broken "cut short" '$d'
	check "slabs: a record without a sample's end" broken "samples are missing" '$s/12/13/'
	check "slabs: a record of another format" broken "reads format 1" '1s/1$/2/'
	check "slabs: a record with a bad number" broken "line 5: 'OBJECT USED" '5s/^[0-9]*/-1/'
	check "slabs: a cache without a name" broken "without a name" '5s/ [^ ]*$//'
	check "slabs: a source that is missing" broken "'source FILE' expected" '3d'
	check "report: no range" fails 2 "give FIRST,LAST" "$PW" report "$dir/slabs.rec" -r 3
	check "report: a range that is not there" fails 1 "there is none from 13 on" \
		"$PW" report "$dir/slabs.rec" -r 13,14
	check "report: no size" fails 2 "give WIDTHxHEIGHT" "$PW" report "$dir/slabs.rec" -s 10x10
	check "report: two as JSON" fails 2 "tells one record" "$PW" report "$dir/slabs.rec" "$dir/slabs.rec" --json
	check "slabs: a count without a record" fails 2 "goes with --record or --slabinfo" "$PW" slabs -n 3
	check "slabs: a record as JSON" fails 2 "goes with neither" "$PW" slabs -r "$dir/x.rec" --json
	check "slabs: no place for a record" fails 1 "cannot write" "$PW" slabs -r "$dir/none/x.rec" -n 1
}

test_bad_input() {
	check "slabs: no order" fails 2 "give size, loss or growth" "$PW" slabs -s name
	check "slabs: no rows" fails 2 "no count" "$PW" slabs -N 0
	check "slabs: a word too many" fails 2 "one word too many" "$PW" slabs here
	check "slabs: not root" fails 1 "needs root" setpriv --reuid=65534 --clear-groups "$PW" slabs
}

needs /sys/kernel/slab CONFIG_SLUB_DEBUG
test_slabs
test_records
test_bad_records
test_bad_input
summary

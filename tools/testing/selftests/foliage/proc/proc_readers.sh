#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Programs that others wrote read what /proc tells about pages: page-types, thpmaps and CRIU, against a process
# whose memory is known. TAP on stdout.
#   PAGE_TYPES=path THPMAPS=path ./proc_readers.sh      as root
# CRIU=path, PYTHON=path of a Python that has numpy; PROC_HOLDER and PROC_NONFT, of proc_holder and proc_nonft.so:
# when they are not beside this file either, they are compiled.

here=$(cd "$(dirname "$0")" && pwd)
PT=${PAGE_TYPES:-$here/../../../../mm/page-types}
TM=${THPMAPS:-$here/../../../../mm/thpmaps}
CRIU=${CRIU:-criu}
THP=/sys/kernel/mm/transparent_hugepage
CG=/sys/fs/cgroup
dir=$(mktemp -d) || exit 1
nr=0
failed=0
cleanup_cg=
cleanup_swap=
has_thp=
python=
dumped=
pid=
saved=
declare -A first pages

# ---- TAP ----

# check NAME COMMAND...: ok when the command succeeds; what it says goes to the log
check() {
	local name=$1

	shift
	nr=$((nr + 1))
	if "$@" >"$dir/log" 2>&1; then
		echo "ok $nr $name"
	else
		echo "not ok $nr $name"
		sed 's/^/# /' "$dir/log" | head -30
		failed=$((failed + 1))
	fi
}

skip() {
	nr=$((nr + 1))
	echo "ok $nr $1 # SKIP $2"
}

# within LOW N HIGH
within() {
	echo "$2, expected $1 to $3"
	[ "$2" -ge "$1" ] && [ "$2" -le "$3" ]
}

# ---- the process that is looked at ----

# The lines after line $1 of what it said, as soon as there is one.
answer() {
	for _ in $(seq 200); do
		[ "$(wc -l <"$dir/said")" -gt "$1" ] && break
		kill -0 $pid 2>/dev/null || break
		sleep 0.1
	done
	sed "1,$1d" "$dir/said"
}

# ask SIGNAL: its answer
ask() {
	local before

	before=$(wc -l <"$dir/said")
	kill -"$1" $pid && answer "$before"
}

start() {
	local word name from n

	(cd "$dir" && exec setsid "$holder" "$dir/file") </dev/null >"$dir/said" 2>&1 &
	pid=$!
	for _ in $(seq 300); do
		grep -q ^ready "$dir/said" && break
		kill -0 $pid 2>/dev/null || break
		sleep 0.1
	done
	if ! grep -q ^ready "$dir/said"; then
		echo "Bail out! proc_holder did not start: $(cat "$dir/said")"
		exit 1
	fi
	while read -r word name from n; do
		[ "$word" = area ] || continue
		first[$name]=$from
		pages[$name]=$n
	done <"$dir/said"
}

# A restored process is no child of this shell, so there may be nothing to wait for but its end.
stop() {
	[ -n "$pid" ] || return
	kill -KILL $pid 2>/dev/null
	wait $pid 2>/dev/null
	for _ in $(seq 100); do
		[ -e /proc/$pid ] || break
		sleep 0.1
	done
	pid=
}

remember() {
	saved="$saved $1=$(sed 's/.*\[\(.*\)\].*/\1/' "$1")"
}

finish() {
	local s

	stop
	for s in $saved; do
		echo "${s#*=}" >"${s%%=*}"
	done
	[ -n "$cleanup_cg" ] && rmdir "$cleanup_cg"
	if [ -n "$cleanup_swap" ]; then
		swapoff /dev/zram0
		echo 1 >/sys/block/zram0/reset
	fi
	rm -rf "$dir"
}
trap finish EXIT

# Huge pages and 64 KiB folios where they are asked for, and a place for what is swapped out.
prepare() {
	local f

	for f in $THP/hugepages-2048kB/enabled $THP/hugepages-64kB/enabled; do
		[ -e $f ] || continue
		remember $f
		echo madvise >$f
		has_thp=y
	done
	[ "$(wc -l </proc/swaps)" -gt 1 ] && return
	[ -e /sys/block/zram0 ] || return
	echo 64M >/sys/block/zram0/disksize && mkswap /dev/zram0 >/dev/null && swapon /dev/zram0 && cleanup_swap=y
}

# ---- page-types ----

# Of a summary of page-types, the frames that have all of these flags, and none of those that come with a ~.
count() {
	awk -v spec="$2" '
		BEGIN { n = split(spec, flag, ",") }
		/^0x/ {
			for (i = 1; i <= n; i++) {
				f = flag[i]
				without = sub(/^~/, "", f)
				if ((index("," $5 ",", "," f ",") > 0) == without)
					next
			}
			sum += $2
		}
		END { print sum + 0 }' "$1"
}

# area NAME SPEC=N...: page-types shows N pages with these flags in this area; without flags, in all
area() {
	local name=$1 want got bad=0

	shift
	"$PT" -r -p $pid -a "${first[$name]}+${pages[$name]}" >"$dir/types" || return
	cat "$dir/types"
	for want; do
		got=$(count "$dir/types" "${want%=*}")
		echo "$name: ${want%=*}: $got, expected ${want##*=}"
		[ "$got" = "${want##*=}" ] || bad=1
	done
	return $bad
}

# listed OPTION VALUE NAME N: page-types lists N pages of the area with this value in its second column
listed() {
	"$PT" -r -N -L "$1" -p $pid -a "${first[$3]}+${pages[$3]}" >"$dir/list" || return
	head -n 5 "$dir/list"
	awk -v value="$2" '$2 == value { n++ } END { print n + 0 }' "$dir/list" >"$dir/n"
	echo "$3: $(cat "$dir/n") pages with $1 $2, expected $4"
	[ "$(cat "$dir/n")" = "$4" ]
}

map_counts() {
	listed -M 1 small ${pages[small]} && listed -M 1 thp ${pages[thp]} && listed -M 1 torn ${pages[torn]} &&
		listed -M 2 shared ${pages[shared]} && listed -M 0 zero ${pages[zero]}
}

# The copied pages are not mapped by anybody when their flags are read.
file_pages() {
	"$PT" -r -f "$dir/file" >"$dir/types" || return
	cat "$dir/types"
	[ "$(count "$dir/types" mmap,file,~anonymous)" = 192 ] &&
		[ "$(count "$dir/types" ~mmap,file,~anonymous)" = 64 ] && [ "$(count "$dir/types" "")" = 256 ]
}

test_areas() {
	local plain=mmap,anonymous,swapbacked,uptodate,~file,~swap

	# What waits on a processor's list has not all its flags yet; this empties those.
	echo 1 >/proc/sys/vm/drop_caches
	check "page-types: 4 KiB pages" area small =2048 \
		$plain,lru,mmap_exclusive,~thp,~compound_head,~compound_tail=2048
	check "page-types: shared memory" area shared =512 mmap,swapbacked,file,~anonymous,~mmap_exclusive=512
	check "page-types: a file, a quarter of it copied" area file =256 mmap,file,~anonymous=192 $plain=64
	check "page-types: zero pages" area zero =1024 zero_page,~mmap,~anonymous=1024
	check "page-types: locked memory" area locked =256 $plain,mlocked,unevictable=256
	if [ "$(wc -l </proc/swaps)" -gt 1 ]; then
		check "page-types: swapped pages" area swapped =512 swap,~mmap,~anonymous=512
	else
		skip "page-types: swapped pages" "no swap"
	fi
	if [ -n "$has_thp" ]; then
		check "page-types: huge pages" area thp =1024 $plain,thp=1024 compound_head=2 compound_tail=1022
		check "page-types: half a huge page" area torn =256 $plain,thp,compound_tail=256 compound_head=0
		check "page-types: 64 KiB folios" area mthp =496 $plain,thp=496 compound_head=31 compound_tail=465
	else
		skip "page-types: huge pages" "the kernel has none per size"
		skip "page-types: half a huge page" "the kernel has none per size"
		skip "page-types: 64 KiB folios" "the kernel has none"
	fi
	check "page-types -M: map counts" map_counts
	check "page-types -f: pages of a file" file_pages
}

all_clean() {
	local name

	echo 4 >/proc/$pid/clear_refs || return
	for name in "${!first[@]}"; do
		area $name softdirty=0 || return
	done
}

# A sixteenth of a quarter of each area, and nothing else; of a huge page that is all of it.
written() {
	local huge=16

	[ -n "$has_thp" ] && huge=512
	[ "$(ask USR2)" = "phase 1" ] && area small =2032 softdirty=32 && area thp softdirty=$huge &&
		area torn softdirty=4 && area mthp softdirty=8 && area shared softdirty=8 && area file softdirty=4 &&
		area locked softdirty=4 && area zero softdirty=0 && area swapped softdirty=0
}

in_cgroup() {
	listed -C "@$(stat -c %i $cleanup_cg)" small ${pages[small]} && "$PT" -p $pid -c $cleanup_cg \
		-a "${first[small]}+${pages[small]}" | grep -E "^ +total[[:space:]]+${pages[small]} "
}

in_no_other() {
	"$PT" -p $pid -c $CG -a "${first[small]}+${pages[small]}" >"$dir/types" || return
	cat "$dir/types"
	grep -qE "^ +total[[:space:]]+0 " "$dir/types"
}

# ---- the whole machine ----

# The kernel's own counts are taken before and after, because the machine does not stand still.
counters() {
	echo 1 >/proc/sys/vm/stat_refresh
	cat /proc/vmstat
}

read_machine() {
	counters >"$dir/before"
	"$PT" -r >"$dir/machine" || return
	counters >"$dir/after"
}

# between NAME FLAGS LESS MORE: as many frames have the flags as the kernel counts under the name, or that many less
# or more
between() {
	local n range

	n=$(count "$dir/machine" "$2")
	range=$(awk -v name="$1" '$1 == name { print $2 }' "$dir/before" "$dir/after" | sort -n | tr '\n' ' ')
	echo "$2: $n, $1: $range"
	set -- $range "$3" "$4"
	[ "$n" -gt 0 ] && within $(($1 - $3)) "$n" $(($2 + $4))
}

lines_add_up() {
	local sum total

	sum=$(count "$dir/machine" "")
	total=$(awk '$1 == "total" { print $2 }' "$dir/machine")
	echo "$sum in the lines, $total in all"
	[ "$sum" = "$total" ]
}

# A section of 128 MiB has its array of struct pages whole, or not at all.
frames() {
	local range name from to sections

	sections=$(while read -r range name; do
		[ "$name" = ": System RAM" ] || continue
		from=$((0x${range%-*} >> 27)) to=$((0x${range#*-} >> 27))
		seq $from $to
	done < <(grep '^[0-9a-f]' /proc/iomem) | sort -un | wc -l)
	[ "$sections" -gt 0 ] && within $((sections << 15)) "$(count "$dir/machine" "~nopage")" $((sections << 15))
}

test_machine() {
	check "page-types: the whole machine" read_machine
	check "page-types: the lines add up" lines_add_up
	if [ "$(uname -m)" = x86_64 ]; then
		check "page-types: as many frames as there is memory" frames
	else
		skip "page-types: as many frames as there is memory" "sections have another size here"
	fi
	check "page-types: free memory" between nr_free_pages buddy 1024 1024
	# More: page-types has a megabyte itself, and of the half huge page both halves say that it is mapped.
	check "page-types: anonymous memory" between nr_anon_pages anonymous,mmap 64 768
	check "page-types: page tables" between nr_page_table_pages pgtable 64 64
}

test_page_types() {
	if ! [ -x "$PT" ]; then
		skip "page-types" "none at $PT: set PAGE_TYPES"
		return
	fi
	test_areas
	if [ -n "$cleanup_cg" ] && [ -e /proc/kpagecgroup ]; then
		check "page-types -C, -c: the cgroup's pages" in_cgroup
		check "page-types -c: no other cgroup's" in_no_other
	else
		skip "page-types -C, -c: the cgroup's pages" "no cgroup v2 with a memory controller at $CG"
		skip "page-types -c: no other cgroup's" "no cgroup v2 with a memory controller at $CG"
	fi
	test_machine
}

test_soft_dirty() {
	[ -x "$PT" ] || return
	check "page-types: nothing is soft-dirty when that was cleared" all_clean
	check "page-types: what was written since is soft-dirty" written
}

# ---- thpmaps ----

# thp_line LABEL KIB
thp_line() {
	echo "expected $1: $2 kB"
	grep -qE "^$1: +$2 kB" "$dir/thpmaps"
}

thp_maps() {
	"$python" "$TM" --pid $pid --rollup --inc-empty --cont 64K >"$dir/thpmaps" || { cat "$dir/thpmaps"; return 1; }
	grep -v ' 0 kB' "$dir/thpmaps"
	thp_line anon-thp-pmd-aligned-2048kB 4096 && thp_line anon-thp-pte-aligned-64kB 1984 &&
		thp_line anon-thp-pte-aligned-2048kB 0 && thp_line anon-thp-pte-unaligned-64kB 0 &&
		thp_line anon-thp-pte-partial 1024 && thp_line file-thp-pte-partial 0 &&
		thp_line anon-cont-pmd-aligned-64kB 4096 && thp_line anon-cont-pte-aligned-64kB $((1984 + 1024))
}

test_thpmaps() {
	local p

	for p in $PYTHON /usr/bin/python3 python3; do
		"$p" -c 'import numpy' 2>/dev/null && python=$p && break
	done
	if ! [ -e "$TM" ]; then
		skip "thpmaps" "none at $TM: set THPMAPS"
	elif [ -z "$python" ]; then
		skip "thpmaps" "no Python that has numpy: set PYTHON"
	elif [ -z "$has_thp" ]; then
		skip "thpmaps" "the kernel has no huge pages per size"
	else
		check "thpmaps: the sizes mapped" thp_maps
	fi
}

# ---- CRIU ----

# run_criu COMMAND FOLDER OPTION...
run_criu() {
	local command=$1 images=$dir/$2

	shift 2
	mkdir -p "$images"
	(cd "$dir" && LD_PRELOAD=$nonft "$CRIU" "$command" -v4 -o "$command.log" -D "$images" "$@") >"$dir/criu" 2>&1 &&
		return
	cat "$dir/criu"
	tail -n 25 "$images/$command.log"
	return 1
}

# What the two processes have besides: stacks, libraries, the table of what the pages hold.
OTHER=120

# All that has contents of its own: not the zero pages, nor what the file holds, nor shared memory, which a
# pre-dump leaves out.
FULL=$((2048 + 1024 + 256 + 496 + 64 + 256 + 512))

# What a phase writes, and as much of the huge pages as counts as written.
PHASE=$((32 + 4 + 8 + 4 + 4))
huge_written() {
	if [ -n "$has_thp" ]; then echo 512; else echo $((16 * $1)); fi
}

# Without those of shared memory.
image_pages() {
	local bytes

	bytes=$(cat "$dir/$1"/pages-*.img | wc -c)
	[ -n "$(ls "$dir/$1"/pagemap-shmem-*.img 2>/dev/null)" ] && bytes=$((bytes - ${pages[shared]} * 4096))
	echo $((bytes / 4096))
}

# save COMMAND FOLDER N OPTION...: in the images are N pages, and few besides
save() {
	local n

	run_criu "$1" "$2" -t $pid --track-mem "${@:4}" || return
	n=$(image_pages "$2")
	dumped="$dumped $n"
	within "$3" $n $(($3 + OTHER))
}

next_phase() {
	ask USR2 | grep "^phase $1\$"
}

second_dump() {
	next_phase 1 && save pre-dump 2 $((PHASE + $(huge_written 1))) --prev-images-dir ../1
}

last_dump() {
	next_phase 2 && save dump 3 $((2 * PHASE + $(huge_written 2))) --prev-images-dir ../2 || return
	wait $pid
	! ls -d /proc/$pid
}

intact() {
	run_criu restore 3 -d && ask USR1 | tee "$dir/answer" && grep -q '^OK [0-9]*$' "$dir/answer"
}

goes_on() {
	local a b

	a=$(ask USR1) && next_phase 3 && sleep 0.5 && b=$(ask USR1)
	echo "$a, later $b"
	[ "${a% *}" = OK ] && [ "${b% *}" = OK ] && [ "${b#* }" -gt "${a#* }" ]
}

# The first images, of which most of the memory comes, with the middle of them spoilt: a comparison that still
# succeeds compares nothing.
noticed() {
	local again=$pid image third

	stop
	pid=$again
	image=$(ls -S "$dir"/1/pages-*.img | head -n 1)
	third=$(($(stat -c %s "$image") / 4096 / 3))
	dd if=/dev/zero of="$image" bs=4096 seek=$third count=$third conv=notrunc status=none
	# A file must be as long as it was.
	truncate -s "$said_size" "$dir/said"
	run_criu restore 3 -d && ask USR1 | tee "$dir/answer" && grep -q '^BAD' "$dir/answer"
}

test_criu() {
	if ! command -v "$CRIU" >/dev/null; then
		skip "criu" "it is not installed"
		return
	fi
	start
	check "criu: the first pre-dump takes all" save pre-dump 1 $FULL
	check "criu: the second takes what was written since" second_dump
	check "criu: so does the dump" last_dump
	echo "# pages in the images:$dumped"
	said_size=$(stat -c %s "$dir/said")
	check "criu: what was restored is intact" intact
	check "criu: it goes on" goes_on
	check "criu: a spoilt image is noticed" noticed
	stop
}

# ---- all of it ----

# built NAME OPTION...: where this program is, after compiling it when it is not beside us
built() {
	if [ -e "$here/$1" ]; then
		echo "$here/$1"
	else
		${CC:-cc} -O2 -o "$dir/$1" "${@:2}" "$here/${1%.so}.c" && echo "$dir/$1"
	fi
}

[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 4; }
if ! [ -e /proc/kpageflags ]; then
	echo "1..0 # SKIP the kernel lacks CONFIG_PROC_PAGE_MONITOR"
	exit 4
fi
holder=${PROC_HOLDER:-$(built proc_holder)}
nonft=${PROC_NONFT:-$(built proc_nonft.so -shared -fPIC)}
if [ -z "$holder" ] || [ -z "$nonft" ]; then
	echo "Bail out! cannot compile: set PROC_HOLDER and PROC_NONFT"
	exit 1
fi

echo "TAP version 13"
prepare
echo +memory >$CG/cgroup.subtree_control 2>/dev/null
if mkdir $CG/proc-readers-test 2>/dev/null; then
	cleanup_cg=$CG/proc-readers-test
	echo $BASHPID >$cleanup_cg/cgroup.procs
fi
start
[ -n "$cleanup_cg" ] && echo $BASHPID >$CG/cgroup.procs
test_page_types
test_thpmaps
test_soft_dirty
stop
test_criu
echo "1..$nr"
echo "# $((nr - failed)) passed, $failed failed"
[ $failed = 0 ]

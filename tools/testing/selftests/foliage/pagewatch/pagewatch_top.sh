#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# pagewatch top, driven by keys in a terminal that tmux emulates. TAP on stdout.
#   PAGEWATCH=path TOUCHER=path ./pagewatch_top.sh      as root; needs tmux

here=$(cd "$(dirname "$0")" && pwd)
. "$here/tap.sh"

MIB=64
HOT=25

# A server for each terminal: one that was told to end may still be there.
opened=0

t() {
	tmux -L "pagewatch-$$-$opened" "$@"
}

# open_top COLUMNS LINES TERM LOCALE OPTIONS...
open_top() {
	local columns=$1 lines=$2 term=$3 locale=$4

	shift 4
	t kill-server 2>/dev/null
	opened=$((opened + 1))
	t -f /dev/null new-session -d -x "$columns" -y "$lines" \
		"TERM=$term LC_ALL=$locale '$PW' top $* 2>'$dir/top-words'
		echo status \$? >>'$dir/top-words'; sleep 600"
}

screen() {
	t capture-pane -p >"$dir/screen"
	cat "$dir/screen"
}

# until_shown REGEX: within a minute; the screen is in $dir/screen then
until_shown() {
	local i

	for i in $(seq 120); do
		screen >"$dir/seen"
		grep -qE -- "$1" "$dir/screen" && return
		sleep 0.5
	done
	echo "'$1' is not on the screen:"
	cat "$dir/screen"
	return 1
}

keys() {
	t send-keys "$@"
}

quits() {
	local i

	keys q
	for i in $(seq 40); do
		grep -q "^status" "$dir/top-words" && break
		sleep 0.5
	done
	cat "$dir/top-words"
	[ "$(cat "$dir/top-words")" = "status 0" ]
}

# The columns of the watched program: RSS REFERENCED IDLE, in MiB. Only whole sizes of it are this large.
of_toucher() {
	awk '$2 == "toucher" { for (i = 3; i <= 5; i++) { v = $i
		u = substr(v, length(v)); f = u == "M" ? 1 : u == "K" ? 1 / 1024 : u == "G" ? 1024 : 1 / 1048576
		printf "%s%d", (i > 3 ? " " : ""), v * f } print "" }' "$dir/screen"
}

# A quarter is used, the rest is not; from the second interval on.
measured() {
	local rss used idle i

	until_shown "toucher" || return
	for i in $(seq 60); do
		screen >/dev/null
		read -r rss used idle < <(of_toucher)
		[ "${rss:-0}" -ge $MIB ] && [ "$used" -ge $((MIB * HOT / 100 - 2)) ] &&
			[ "$used" -le $((MIB * HOT / 100 + 12)) ] &&
				[ "$idle" -ge $((MIB * (100 - HOT) / 100 - 12)) ] && return
		sleep 0.5
	done
	cat "$dir/screen"
	return 1
}

fits() {
	cat "$dir/screen"
	[ "$(wc -l <"$dir/screen")" = "$2" ] && [ "$(LC_ALL=C.UTF-8 wc -L <"$dir/screen")" -le "$1" ] &&
		sed -n 1p "$dir/screen" | grep -q "^[0-9]* processes by .* budget [0-9]*%)" &&
		sed -n "$2p" "$dir/screen" | grep -q "^q quit"
}

# sorted_by KEY WORD COLUMN WIDTH, of the line as it is drawn: a name may have blanks
sorted_by() {
	keys "$1"
	until_shown "by $2" || return
	cat "$dir/screen"
	sed -n '3,$p' "$dir/screen" | sed '$d' | awk -v from="$3" -v width="$4" '$1 ~ /^[0-9]+$/ {
		v = substr($0, from, width); u = substr(v, width)
		n = v * (u == "K" ? 1024 : u == "M" ? 1048576 : u == "G" ? 2^30 : 1)
		if (lines++ && n > last) bad = 1
		last = n } END { exit (bad || lines < 3) }'
}

sorted_by_name() {
	keys n
	until_shown "by NAME" || return
	cat "$dir/screen"
	sed -n '3,$p' "$dir/screen" | sed '$d' | awk '$1 ~ /^[0-9]+$/ { print $2 }' >"$dir/names"
	[ "$(wc -l <"$dir/names")" -gt 2 ] && LC_ALL=C sort -c "$dir/names"
}

picked() {
	keys r
	until_shown "by RSS" || return
	# The program is the largest; its ranges come with the next sweep.
	keys w
	until_shown "by REFERENCED" && sed -n 3p "$dir/screen" | grep -q toucher || return
	keys Enter
	until_shown "mappings by address" && until_shown "rw-p +[0-9.]+M" || return
	cat "$dir/screen"
	grep -qE " 64(\.0)?M rw-p" "$dir/screen" && keys q && until_shown "processes by"
}

cgroups() {
	keys c
	until_shown "^CGROUP" && until_shown "^/ " || return
	keys c
	until_shown "^    PID NAME"
}

resized() {
	t resize-window -x 120 -y 40
	until_shown "budget 50%\)" || return
	sleep 1
	screen
	[ "$(wc -l <"$dir/screen")" = 40 ] && sed -n 40p "$dir/screen" | grep -q "^q quit" || return
	t resize-window -x 60 -y 10
	sleep 1
	screen
	[ "$(wc -l <"$dir/screen")" = 10 ] && sed -n 10p "$dir/screen" | grep -q "^q quit"
}

goes_away() {
	stop
	local i

	for i in $(seq 60); do
		screen >/dev/null
		grep -q toucher "$dir/screen" || return 0
		sleep 0.5
	done
	return 1
}

# A line without colours and without more than ASCII.
plain_terminal() {
	open_top 80 24 vt100 C -i 1 -b 50 && until_shown "toucher" && fits 80 24 &&
		! LC_ALL=C grep -q '[^ -~]' "$dir/screen" && quits
}

# What sweeps cost is within what they may: (N.N%, budget 2%)
paced() {
	local cost i

	open_top 120 24 screen C.UTF-8 -i 0.1 -b 2 && until_shown "toucher" || return
	for i in 1 2 3; do
		until_shown "budget 2%" || return
		cost=$(sed -n 's/.*(\([0-9.]*\)%, budget.*/\1/p' "$dir/screen")
		echo "$cost"
		echo "$cost" | awk '{ exit !($1 + 0 > 0 && $1 + 0 <= 2.05) }' || return
		sleep 3
	done
	quits
}

counted() {
	open_top 80 24 screen C.UTF-8 -i 0.5 -b 100 -n 2
	local i

	for i in $(seq 120); do
		grep -q "^status 0" "$dir/top-words" && return
		sleep 0.5
	done
	cat "$dir/top-words"
	return 1
}

test_top() {
	start $MIB 4k $HOT || return
	open_top 80 24 screen C.UTF-8 -i 1 -b 50
	check "top: what is used and what is not" measured
	check "top: 80x24" fits 80 24
	check "top: by RSS" sorted_by r RSS 25 8
	check "top: by idle memory" sorted_by i IDLE 45 8
	check "top: by name" sorted_by_name
	check "top: the mappings of one" picked
	check "top: cgroups" cgroups
	check "top: another size" resized
	check "top: who exits" goes_away
	check "top: quits" quits
	start $MIB 4k $HOT || return
	check "top: a plain terminal" plain_terminal
	check "top: its budget" paced
	check "top: a number of sweeps" counted
	stop
}

test_bad_input() {
	check "top: no terminal" fails 1 "needs a terminal" "$PW" top
	check "top: no budget" fails 2 "give percent" "$PW" top -b 0
	check "top: no interval" fails 2 "no interval" "$PW" top -i -1
	check "top: a word too many" fails 2 "one word too many" "$PW" top here
}

needs /sys/kernel/mm/page_idle/bitmap CONFIG_IDLE_PAGE_TRACKING
if command -v tmux >/dev/null; then
	test_top
	t kill-server 2>/dev/null
else
	skip "top: in a terminal" "no tmux"
fi
test_bad_input
summary

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Pages of the virtio balloon are movable: inflate it, compact memory, deflate it. TAP on stdout.
#   scripts/vm --balloon -- .../migrate_balloon.sh
# The guest orders the balloon's size by files in /run/vm, see scripts/vm; without these it skips.

ORDER=/run/vm/balloon
DONE=/run/vm/balloon.done
TAKE=256	# MiB to take away
FILES=/tmp/balloon
CAP=120		# seconds for anything to happen
nr=0
failed=0

ok() {
	local name=$1

	shift
	nr=$((nr + 1))
	if "$@"; then
		echo "ok $nr $name"
	else
		echo "not ok $nr $name"
		echo "# balloon: $(grep balloon /proc/vmstat | tr '\n' ' ')"
		echo "# $(grep -E 'MemTotal|MemFree' /proc/meminfo | tr '\n' ' ')"
		failed=$((failed + 1))
	fi
}

vm() {
	awk -v name="$1" '$1 == name { print $2 }' /proc/vmstat
}

mem() {
	awk -v name="$1:" '$1 == name { print int($2 / 1024) }' /proc/meminfo
}

# until COMMAND...: true as soon as it is
until_true() {
	local end=$((SECONDS + CAP))

	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.2
	done
}

# The memory that the guest is left with.
order() {
	echo "$1" > $ORDER
	until_true grep -qx "$1" $DONE
}

total_at_most() {
	[ "$(mem MemTotal)" -le "$1" ]
}

total_at_least() {
	[ "$(mem MemTotal)" -ge "$1" ]
}

free_at_least() {
	[ "$(mem MemFree)" -ge "$1" ]
}

# counter_grew NAME FROM BY
counter_grew() {
	[ "$(vm "$1")" -ge $(($2 + $3)) ]
}

# Files of which most go again: holes above pages of the balloon, for these to be moved to.
fragment() {
	rm -rf $FILES
	mkdir -p $FILES
	split -b 64k -a 4 <(head -c 128M /dev/zero) $FILES/
	for f in $FILES/*[!aeimquy]; do
		echo "$f"
	done | xargs rm -f
}

fragment_and_compact() {
	fragment
	echo 1 > /proc/sys/vm/compact_memory
	counter_grew balloon_migrate "$1" "$2"
}

compact_until_moved() {
	until_true fragment_and_compact "$(vm balloon_migrate)" "$1"
}

balanced() {
	[ $(($(vm balloon_inflate) - $(vm balloon_deflate))) = "$1" ]
}

echo "TAP version 13"
if ! [ -r $DONE ] || ! grep -q '^balloon_migrate ' /proc/vmstat; then
	echo "1..0 # SKIP needs scripts/vm --balloon, and CONFIG_BALLOON_COMPACTION"
	exit 4
fi

# Lists of the processors hide free pages from compaction.
echo 0 > /proc/sys/vm/compaction_proactiveness
echo 1000000 > /proc/sys/vm/percpu_pagelist_high_fraction
until_true grep -qx ready $DONE
block=$((16#$(cat /sys/devices/system/memory/block_size_bytes) >> 20))
full=$((block * $(grep -l online /sys/devices/system/memory/memory*/state | wc -l)))
total=$(mem MemTotal)
free=$(mem MemFree)
inflated=$(vm balloon_inflate)
pages=$((TAKE * 256))

ok "the order to inflate is passed on" order $((full - TAKE))
ok "the balloon inflates" until_true counter_grew balloon_inflate "$inflated" $pages
ok "MemTotal shrinks" until_true total_at_most $((total - TAKE))
ok "MemFree shrinks" [ "$(mem MemFree)" -lt $((free - TAKE / 2)) ]

# What the balloon gets now is between files.
fragment
ok "the order for more is passed on" order $((full - 2 * TAKE))
ok "the balloon inflates further" until_true counter_grew balloon_inflate "$inflated" $((2 * pages))
ok "compaction moves pages of the balloon" compact_until_moved 500
ok "none was lost or won by that" balanced $((2 * pages))
rm -rf $FILES

# Compaction while the balloon gives pages back: it takes them from the same list.
before=$(vm balloon_migrate)
while :; do
	echo 1 > /proc/sys/vm/compact_memory
done &
compactor=$!
ok "the order to deflate is passed on" order $full
ok "the balloon deflates" until_true balanced 0
ok "and inflates once more" order $((full - TAKE))
ok "to its size" until_true balanced $pages
ok "and deflates" order $full
ok "to nothing" until_true balanced 0
kill $compactor
wait $compactor 2> /dev/null
echo "# moved while the balloon changed: $(($(vm balloon_migrate) - before))"
ok "MemTotal is what it was" until_true total_at_least "$total"
ok "MemFree is what it was" until_true free_at_least $((free - 64))

echo 20 > /proc/sys/vm/compaction_proactiveness
echo 0 > /proc/sys/vm/percpu_pagelist_high_fraction
echo "1..$nr"
exit $((failed > 0))

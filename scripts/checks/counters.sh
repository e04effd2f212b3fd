# SPDX-License-Identifier: GPL-2.0
# Counters of memory that must come back once nobody uses it: counters_before, the work, counters_after. Each that stayed
# is a line '@@ counter NAME BEFORE AFTER'; so is a bad reference count or map count that the kernel knows of.

# What is left of files and slabs goes first; batches on processors are emptied.
settle() {
	sync
	# A zram device keeps what was written to it, the swap header at least, until it is reset.
	swapoff -a 2> /dev/null && for i in /sys/block/zram*; do
		[ -w $i/reset ] && echo 1 > $i/reset
	done
	for i in 1 2 3; do
		echo 3 > /proc/sys/vm/drop_caches
		echo 1 > /proc/sys/vm/compact_memory
		echo 1 > /proc/sys/vm/stat_refresh
		sleep 1
	done
}

# These are 0 or nearly so when nothing runs. Pages of the programs that stay are few, and given room below.
counters() {
	grep -E '^(nr_isolated_(anon|file)|nr_mlock|nr_unevictable|nr_inactive_anon|nr_active_anon|nr_anon_pages|nr_mapped|nr_dirty|nr_writeback|nr_writeback_temp|nr_page_table_pages|nr_shmem|nr_shmem_hugepages|nr_anon_transparent_hugepages|nr_swapcached|nr_zspages|nr_free_cma|nr_foll_pin_acquired|nr_foll_pin_released) ' /proc/vmstat
	awk '/^(HugePages_(Total|Free|Rsvd|Surp)|HardwareCorrupted|SwapCached):/ { sub(":", "", $1); print $1, $2 }' /proc/meminfo
	# Of what is pinned, only the difference comes back.
	echo "file_lru $(awk '/^nr_(in)?active_file / { n += $2 } END { print n + 0 }' /proc/vmstat)"
}

counters_before() {
	settle
	counters_then=$(counters)
}

# ROOM: pages that a shell, its libraries and page tables may have more of than before.
counters_after() {
	local room=${1:-2048}

	settle
	paste -d' ' <(echo "$counters_then") <(counters) | while read -r name before _ after; do
		case $name in
		nr_isolated_*|nr_mlock|nr_writeback*|HugePages_*|nr_swapcached|SwapCached|nr_zspages|nr_shmem_hugepages)
			slack=0 ;;
		nr_foll_pin_*) continue ;;
		*) slack=$room ;;
		esac
		[ $((after - before)) -le $slack ] && [ $((before - after)) -le $((slack ? 1 << 30 : 0)) ] ||
			echo "@@ counter $name $before $after"
	done
	set -- $(awk '/^nr_foll_pin_acquired / { a = $2 } /^nr_foll_pin_released / { print a, $2 }' /proc/vmstat)
	[ "${1:-0}" = "${2:-0}" ] || echo "@@ counter pins $2 $1"
}

# SPDX-License-Identifier: GPL-2.0
# Between two test programs of one guest: settings as they were, nothing mounted, swapped or running that was not.
# remember at the start; reset fails, and says why, when a program left something that only a boot takes away.
#
# A process that is started costs a second on the debug kernel, so here are few: files are read by the shell itself.

# setting FILE: what is set there, or chosen among the words there, becomes $REPLY.
setting() {
	IFS= read -r REPLY < "$1" || [ -n "$REPLY" ] || return
	[[ $REPLY != *\[*\]* ]] || { REPLY=${REPLY#*\[}; REPLY=${REPLY%%\]*}; }
	REPLY=${REPLY//$'\t'/ }
}

settings() {
	local f
	for f in /sys/kernel/mm/transparent_hugepage/{enabled,defrag,shmem_enabled,khugepaged/defrag} \
		/sys/kernel/mm/transparent_hugepage/hugepages-*/{enabled,shmem_enabled} /sys/kernel/mm/lru_gen/enabled \
		/sys/kernel/mm/ksm/{run,merge_across_nodes} /sys/kernel/mm/page_idle/scan_period_ms \
		/sys/kernel/mm/numa/demotion_enabled /sys/kernel/mm/hugepages/*/nr_hugepages \
		/sys/kernel/mm/hugepages/*/nr_overcommit_hugepages /sys/devices/system/memory/*/state \
		/sys/devices/system/cpu/*/online /sys/module/zswap/parameters/* \
		/proc/sys/vm/{swappiness,overcommit_memory,max_map_count,numa_stat,compaction_proactiveness} \
		/proc/sys/vm/{min_free_kbytes,watermark_scale_factor,zone_reclaim_mode,page_lock_unfairness} \
		/proc/sys/vm/{dirty_background_ratio,dirty_ratio,dirty_writeback_centisecs,dirty_expire_centisecs} \
		/proc/sys/vm/unprivileged_userfaultfd /proc/sys/kernel/{numa_balancing,randomize_va_space,printk}; do
		[ ! -r "$f" ] || ! setting "$f" || echo "$f $REPLY"
	done 2> /dev/null
}

# What a program can leave behind, beside settings.
traces() {
	cut -d' ' -f2,3 /proc/mounts
	tail -n +2 /proc/swaps | cut -d' ' -f1
	find /sys/fs/cgroup -mindepth 1 -type d
	cat /sys/block/{zram,loop}*/{disksize,loop/backing_file} 2> /dev/null
	cat /proc/sys/vm/nr_hugepages
	grep -E '^(HardwareCorrupted|HugePages_(Total|Rsvd|Surp))' /proc/meminfo
	cat /sys/kernel/tracing/{current_tracer,set_event,kprobe_events} 2> /dev/null
	# Tasks with a program of their own, which kernel threads have not, but for those of this shell itself.
	readlink /proc/[0-9]*/exe 2> /dev/null | grep -vE '/(bash|readlink|grep|sort|find|cat|cut|tail)$' | sort
}

mounted() {
	cut -d' ' -f2 /proc/mounts
}

# What a program mounted, the last one first, and the groups that it made, the deepest first.
unmount() {
	local m

	mounted | tail -n +$((1 + $(wc -l <<< "$mounts_then"))) | tac | while read -r m; do
		umount "$m"
	done
	losetup -D
	find /sys/fs/cgroup -mindepth 1 -depth -type d | while read -r m; do
		grep -qxF "$m" <<< "$traces_then" || rmdir "$m"
	done
	rm -rf /tmp/foliage-*
} 2> /dev/null

remember() {
	mounts_then=$(mounted)
	settings_then=$(settings)
	traces_then=$(traces)
}

reset() {
	local f value now
	swapoff -a 2> /dev/null
	for f in /sys/block/zram*/reset; do
		echo 1 > "$f"
	done 2> /dev/null
	unmount
	while read -r f value; do
		{ setting "$f" && [ "$REPLY" = "$value" ]; } || echo "$value" > "$f"
	done 2> /dev/null <<< "$settings_then"
	sync
	echo 3 > /proc/sys/vm/drop_caches
	echo 1 > /proc/sys/vm/compact_memory
	now=$(settings)
	[ "$now" = "$settings_then" ] || { diff <(echo "$settings_then") <(echo "$now") | sed 's/^/# /'; return 1; }
	now=$(traces)
	[ "$now" = "$traces_then" ] || { diff <(echo "$traces_then") <(echo "$now") | sed 's/^/# /'; return 1; }
}

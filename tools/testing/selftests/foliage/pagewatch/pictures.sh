#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What each command of pagewatch shows of programs with known access patterns, as files in a folder.
#   PAGEWATCH=path TOUCHER=path ./pictures.sh FOLDER	as root, in a guest: it changes the machine's settings
set -euo pipefail
out=$1
PW=$PAGEWATCH
THP=/sys/kernel/mm/transparent_hugepage
CG=/sys/fs/cgroup
dir=$(mktemp -d)

# start NAME MIB KIND PERCENT: a program that keeps touching a part of its memory; its PID is in $pid
start() {
	local name=$1

	shift
	cp "$TOUCHER" "$dir/$name"
	"$dir/$name" "$@" > "$dir/$name.ready" &
	pid=$!
	for _ in $(seq 300); do
		grep -q ^ready "$dir/$name.ready" && return
		sleep 0.1
	done
	echo "pictures: $name did not start" >&2
	exit 1
}

stop() {
	kill $pid
	wait $pid 2> /dev/null || true
}

# A program whose hot part moves on, and that writes to less than it reads. It tracks its writes: the system call is
# userfaultfd(), then UFFDIO_API with UFFD_FEATURE_WP_ASYNC, and UFFDIO_REGISTER for write protection.
walker() {
	cat > "$dir/walker.py" << 'PY'
import ctypes, fcntl, struct, time
MIB, PART, libc = 64, 16, ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
at = libc.mmap(None, MIB << 20, 3, 0x22, -1, 0)
page = [ctypes.c_ubyte.from_address(at + i) for i in range(0, MIB << 20, 4096)]
for p in page:
    p.value = 1
fd = libc.syscall(323, 0o2004001)
fcntl.ioctl(fd, 0xc018aa3f, struct.pack("QQQ", 0xaa, 1 << 15, 0))
fcntl.ioctl(fd, 0xc020aa00, struct.pack("QQQQ", at, MIB << 20, 2, 0))
print("ready", flush=True)
began = time.monotonic()
while True:
    first = int((time.monotonic() - began) * 4) % (MIB - PART) << 8
    for n, p in enumerate(page[first:first + (PART << 8)]):
        if n & 15 < 4 and n < PART << 7:
            p.value = 2
        else:
            p.value
    time.sleep(0.05)
PY
	python3 "$dir/walker.py" > "$dir/walker.ready" &
	pid=$!
	while ! grep -q ^ready "$dir/walker.ready"; do sleep 0.1; done
}

screens_of_memory() {
	start cache 256 thp 30
	"$PW" wss -p $pid -i 1 -n 4 > "$out/wss.txt"
	"$PW" thp -p $pid > "$out/thp.txt"
	stop
	"$PW" types > "$out/types.txt"
}

heat() {
	walker
	"$PW" heatmap -p $pid -i 1 -n 12 -o "$out/heatmap.svg"
	"$PW" dirty -p $pid -i 1 -n 8 -o "$out/dirty.svg"
	stop
}

ages() {
	echo 1000 > /sys/kernel/mm/page_idle/scan_period_ms
	start cache 128 4k 40
	sleep 20
	"$PW" ages > "$out/ages.txt"
	stop
	echo 0 > /sys/kernel/mm/page_idle/scan_period_ms
}

swapped() {
	echo 512M > /sys/block/zram0/disksize
	mkswap /dev/zram0 > /dev/null
	swapon /dev/zram0
	echo 1 > /sys/module/zswap/parameters/enabled
	echo +memory > $CG/cgroup.subtree_control
	mkdir $CG/batch
	echo 48M > $CG/batch/memory.max
	(echo $BASHPID > $CG/batch/cgroup.procs; exec "$TOUCHER" 96 4k 20 > "$dir/batch.ready") &
	pid=$!
	while ! grep -q ^ready "$dir/batch.ready"; do sleep 0.1; done
	"$PW" swap -C batch > "$out/swap.txt"
	stop
	rmdir $CG/batch
	swapoff /dev/zram0
}

kernel_objects() {
	"$PW" slabs -N 12 > "$out/slabs.txt"
	"$PW" slabs -i 1 -n 8 --record "$dir/slabs.rec" > /dev/null &
	local watching=$!
	for i in $(seq 40); do mkdir "$dir/$i"; seq 1 100 | sed "s|^|$dir/$i/|" | xargs touch; sleep 0.1; done
	wait $watching
	# The record's name is written in it.
	(cd "$dir" && "$PW" report slabs.rec -o "$out/slabs.svg")
}

live() {
	local cache web

	start cache 128 thp 60
	cache=$pid
	start web 64 4k 25
	web=$pid
	tmux -f /dev/null new-session -d -x 80 -y 24 "TERM=screen LC_ALL=C.UTF-8 '$PW' top"
	sleep 25
	tmux capture-pane -p | sed 's/ *$//' | cat -s > "$out/top.txt"
	tmux kill-server
	kill $cache $web
}

echo madvise > $THP/hugepages-2048kB/enabled
screens_of_memory
heat
ages
swapped
kernel_objects
live

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# CRIU restores a program with its pages left behind, and answers its faults: the data is what it was, and a child that
# is forked meanwhile has all of it. TAP on stdout.
#   PROC_NONFT=path ./uffd_criu.sh	as root, in a guest; needs criu
# Then the same of a redis, whose background save is such a child.

CRIU=${CRIU:-criu}
MIB=32
dir=$(mktemp -d) || exit 1
nr=0
failed=0
pid=

check() {
	local name=$1

	shift
	nr=$((nr + 1))
	if "$@" >"$dir/log" 2>&1; then
		echo "ok $nr $name"
	else
		echo "not ok $nr $name"
		sed 's/^/# /' "$dir/log" | tail -30
		failed=$((failed + 1))
	fi
}

finish() {
	[ -z "$pid" ] || kill -9 "$pid" 2>/dev/null
	rm -rf "$dir"
}
trap finish EXIT

# until COMMAND...: within a minute
until_true() {
	local i

	for i in $(seq 300); do
		"$@" && return
		sleep 0.2
	done
	echo "not within a minute: $*"
	return 1
}

# On SIGUSR1 it writes the digest of all its data to a file; on SIGUSR2 a child of its does.
program_starts() {
	cat >"$dir/program.py" <<'EOT'
import hashlib, os, random, signal, sys, time
folder, mib = sys.argv[1], int(sys.argv[2])
random.seed(15)
data = [random.randbytes(1 << 20) for _ in range(mib)]
def tell(name):
    with open(folder + "/new", "w") as f:
        f.write(hashlib.sha256(b"".join(data)).hexdigest())
    os.rename(folder + "/new", folder + "/" + name)
def child(*_):
    if not os.fork():
        tell("child")
        os._exit(0)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, lambda *_: tell("said"))
signal.signal(signal.SIGUSR2, child)
tell("said")
while True:
    time.sleep(1)
EOT
	(cd "$dir" && exec setsid python3 "$dir/program.py" "$dir" $MIB </dev/null >"$dir/words" 2>&1) &
	pid=$!
	until_true test -s "$dir/said" && digest=$(cat "$dir/said") && [ ${#digest} = 64 ] && rm "$dir/said"
}

redis() {
	redis-cli -s "$dir/redis.socket" "$@"
}

has_digest() {
	[ "$(redis debug digest 2>&1)" = "$digest" ]
}

# A server with some data, that talks through a socket in the file system.
redis_starts() {
	(cd "$dir" && exec setsid redis-server --port 0 --unixsocket "$dir/redis.socket" --save '' --appendonly no \
		--enable-debug-command yes </dev/null >"$dir/redis.log" 2>&1) &
	pid=$!
	until_true test -S "$dir/redis.socket" && redis debug populate 20000 key 1000 &&
		digest=$(redis debug digest) && [ ${#digest} = 40 ]
}

# Its child reads all memory, page by page from who answers.
redis_saves() {
	redis bgsave && until_true saved && redis info persistence | grep rdb_last_bgsave_status:ok
}

saved() {
	redis info persistence | grep -q rdb_bgsave_in_progress:0 && [ -s "$dir/dump.rdb" ]
}

# run_criu COMMAND OPTION...: with its last words when it fails
run_criu() {
	local command=$1

	shift
	(cd "$dir" && LD_PRELOAD=$PROC_NONFT "$CRIU" "$command" -v4 -o "$command.log" -D "$dir/images" "$@") && return
	grep -E 'Error|Warn' "$dir/images/$command.log"
	return 1
}

is_dumped() {
	rm -rf "$dir/images" && mkdir "$dir/images"
	run_criu dump -t $pid && ! kill -0 $pid
}

is_restored() {
	run_criu lazy-pages &
	until_true test -S "$dir/images/lazy-pages.socket" && run_criu restore --lazy-pages -d && kill -0 $pid
}

# Who asks by SIGNAL reads the digest in FILE: told SIGNAL FILE
told() {
	kill "-$1" $pid && until_true test -s "$dir/$2" && echo "$digest before, $(cat "$dir/$2") now" &&
		[ "$(cat "$dir/$2")" = "$digest" ]
}

no_daemon() {
	! pgrep -x criu >/dev/null
}

# Or the test would show nothing.
by_faults() {
	until_true no_daemon
	grep -c 'PF\|page_fault\|uffd_copy' "$dir/images/lazy-pages.log" &&
		! grep -i ' error ' "$dir/images/lazy-pages.log"
}

for program in "$CRIU" python3 redis-server redis-cli; do
	command -v "$program" >/dev/null || { echo "1..0 # SKIP $program is not installed"; exit 4; }
done
echo "TAP version 13"
check "the program has data" program_starts
check "criu dump" is_dumped
if [ $failed = 0 ]; then
	check "criu restore --lazy-pages" is_restored
	check "a child has all data" told USR2 child
	check "the data is what it was" told USR1 said
	check "criu lazy-pages answered faults" by_faults
fi
kill -9 $pid 2>/dev/null
pid=
check "a redis has data" redis_starts
check "criu dump of redis" is_dumped
if [ $failed = 0 ]; then
	check "criu restore --lazy-pages of redis" is_restored
	check "its child saves all data" redis_saves
	check "its data is what it was" has_digest
	check "criu lazy-pages answered its faults" by_faults
fi
echo "1..$nr"
echo "# $((nr - failed)) passed, $failed failed"
[ $failed = 0 ]

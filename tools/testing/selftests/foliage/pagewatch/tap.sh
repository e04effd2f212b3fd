# SPDX-License-Identifier: GPL-2.0
# What the tests of pagewatch share: TAP, JSON, and programs to be watched. To be sourced.

PW=${PAGEWATCH:-pagewatch}
dir=$(mktemp -d) || exit 1
THP=/sys/kernel/mm/transparent_hugepage
CG=/sys/fs/cgroup
nr=0
failed=0
cleanup_cg=
pid=
saved=
documents=0
metrics=0

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

# fails WITH STATUS and TEXT in stderr: fails STATUS TEXT COMMAND...
fails() {
	local want=$1 text=$2 got

	shift 2
	"$@" >"$dir/out" 2>"$dir/err"
	got=$?
	cat "$dir/out" "$dir/err"
	echo "status $got, expected $want and '$text'"
	[ $got = "$want" ] && grep -q -- "$text" "$dir/err"
}

# value of a Python expression over the JSON document d in a file
j() {
	python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
print(eval(sys.argv[2]))' "$1" "$2"
}

# true when the expression over the JSON is
holds() {
	cat "$1"
	documents=$((documents + 1))
	cp "$1" "$dir/document-$documents.json"
	[ "$(j "$1" "bool($2)")" = True ]
}

# A file for node_exporter, to be shown to promtool at the end.
keep_metrics() {
	metrics=$((metrics + 1))
	cp "$1" "$dir/metrics-$metrics.prom"
}

# ---- the watched program ----

start() {
	start_program "$toucher" "$@"
}

# Any program that says when it is ready.
start_program() {
	local i

	"$@" >"$dir/ready" 2>&1 &
	pid=$!
	for i in $(seq 300); do
		grep -q ^ready "$dir/ready" && return
		kill -0 $pid 2>/dev/null || break
		sleep 0.1
	done
	echo "# $* did not start: $(cat "$dir/ready")"
	return 1
}

stop() {
	[ -n "$pid" ] && kill $pid 2>/dev/null && wait $pid 2>/dev/null
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
	for s in $cleanup_cg; do
		rmdir "$s"
	done
	rm -rf "$dir"
}
trap finish EXIT

# ---- the set-up, and the end ----

needs() {
	[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 4; }
	if ! [ -e "$1" ]; then
		echo "1..0 # SKIP the kernel lacks $2"
		exit 4
	fi
	command -v "$PW" >/dev/null || { echo "Bail out! no pagewatch at $PW: set PAGEWATCH"; exit 1; }
	PW=$(command -v "$PW")
	toucher=${TOUCHER:-$dir/toucher}
	if [ -z "$TOUCHER" ] && ! ${CC:-cc} -O2 -o "$toucher" "$here/toucher.c"; then
		echo "Bail out! cannot compile toucher.c: set TOUCHER"
		exit 1
	fi
	echo "TAP version 13"
	for f in $THP/hugepages-64kB/enabled $THP/hugepages-2048kB/enabled; do
		[ -e $f ] && remember $f
	done
}

# All documents of this run at once: the library takes its time to load.
as_schema_says() {
	python3 -c 'import json, jsonschema, sys
schema = json.load(open(sys.argv[1]))
for name in sys.argv[2:]:
    jsonschema.validate(json.load(open(name)), schema)
print(len(sys.argv) - 2, "documents")' "$here/../../../../mm/pagewatch/schema.json" "$dir"/document-*.json
}

as_prometheus_takes() {
	local f

	for f in "$dir"/metrics-*.prom; do
		promtool check metrics <"$f" || { cat "$f"; return 1; }
	done
}

summary() {
	if [ $metrics = 0 ]; then
		:
	elif command -v promtool >/dev/null; then
		check "metrics are what promtool takes" as_prometheus_takes
	else
		skip "metrics are what promtool takes" "no promtool, of Prometheus"
	fi
	if [ $documents = 0 ]; then
		:
	elif python3 -c 'import jsonschema' 2>/dev/null; then
		check "JSON is what schema.json says" as_schema_says
	else
		skip "JSON is what schema.json says" "no python3-jsonschema"
	fi
	echo "1..$nr"
	echo "# $((nr - failed)) passed, $failed failed"
	[ $failed = 0 ]
}

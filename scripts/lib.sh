# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# lib.sh: what the scripts share: locks, and progress of what takes long. $build is the build folder, made absolute.

# lock NAME [shared]: until this script and what it starts have ended nobody else holds build/locks/NAME, or, when it
# is shared, nobody else alone. Says whom it waits for. What a script has locked, those that it calls have too.
#
#   o-NAME       an object folder
#   src          the grafted tree: shared while it is compiled, not while it is made anew
#   stock-src    the stock tree, likewise
#   graft, ...   a script that there is but one of at a time
lock_fds=()
lock() {
	local file=$build/locks/$1 how=-x fd
	[ "${2:-}" != shared ] || how=-s
	[[ " ${FOLIAGE_LOCKS:-} " != *" $file "* ]] || return 0
	mkdir -p "$build/locks"
	exec {fd}<> "$file"
	if ! flock $how -n "$fd"; then
		echo "${0##*/}: $build: $1 is in use by $(head -n 1 "$file" 2> /dev/null || echo another); waiting" >&2
		flock $how "$fd"
	fi
	lock_fds+=("$fd")
	echo "process $$ (${0##*/})" > "$file"
	export FOLIAGE_LOCKS="${FOLIAGE_LOCKS:-} $file"
}

# progress WORDS [COMMAND...]: while the caller goes on, show WORDS, what COMMAND prints and how long it has been:
# every two seconds on a terminal, else once a minute. unprogress, or the end of the script, ends it.
progress() {
	local words=$1 start=$SECONDS every=60 caller=$$ said fd
	shift
	on_terminal=
	[ ! -t 2 ] || { every=2; on_terminal=1; }
	(
		# Neither the locks nor the caller's output are to be held by a sleeper that outlives the caller.
		for fd in "${lock_fds[@]}"; do exec {fd}>&-; done
		exec > /dev/null < /dev/null
		sleeper=
		trap '[ -z "$sleeper" ] || kill "$sleeper"; exit' TERM
		while sleep "${PROGRESS_EVERY:-$every}" 2> /dev/null & sleeper=$!; wait $sleeper; do
			kill -0 "$caller" 2> /dev/null || exit
			said=$("$@" 2> /dev/null) || :
			said=$(printf '%s%s, %d:%02d min' "$words" "${said:+ $said}" \
				$(((SECONDS - start) / 60)) $(((SECONDS - start) % 60)))
			if [ "$on_terminal" ]; then printf '\r\033[K%s' "$said" >&2; else echo "$said" >&2; fi
		done
	) &
	progress_pid=$!
	trap unprogress EXIT
}
unprogress() {
	[ -n "${progress_pid:-}" ] || return 0
	kill "$progress_pid" 2> /dev/null || :
	wait "$progress_pid" 2> /dev/null || :
	progress_pid=
	[ -z "$on_terminal" ] || printf '\r\033[K' >&2
}

# bar DONE TOTAL: how far along, for progress.
bar() {
	local total=$(($2 > $1 ? $2 : $1 + 1)) width=30 full
	full=$((width * $1 / total))
	[ -z "$on_terminal" ] || printf '[%s%s] ' "$(printf '%*s' $full '' | tr ' ' '#')" "$(printf '%*s' $((width - full)) '' | tr ' ' .)"
	printf '%d of about %d objects (%d%%)' "$1" "$total" $((100 * $1 / total))
}

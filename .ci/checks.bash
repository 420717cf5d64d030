# What the suites in this folder share. Sourced by them, with errexit set.

checks_folder=${checks_folder:-} # everything a suite makes is below it
checks_log=${checks_log:-}

say() { printf '     %s\n' "$*"; }

# fail WHAT: says what was seen, and ends the suite.
fail() {
	printf 'FAIL %s\n' "$*" >&2
	if [[ -n $checks_log && -s $checks_log ]]; then
		printf '%s\n' "---- the end of what the process in the background printed:" >&2
		tail -n 60 "$checks_log" >&2
		printf '%s\n' "----" >&2
	fi
	exit 1
}

# patiently COMMAND...: until it succeeds, however slow the machine is. Its output
# is thrown away, and a `fail` of it is none. What runs in the background having
# ended, there is nothing to wait for.
patiently() {
	local end=$((SECONDS + 600))
	until ("$@") >/dev/null 2>&1; do
		((SECONDS < end)) || return 1
		[[ -z ${background_pid:-} ]] || alive || {
			("$@") >/dev/null 2>&1
			return
		}
		sleep 0.1
	done
}

# ends_with CODE COMMAND...: the command ends with that exit code, else its
# output is shown.
ends_with() {
	local want=$1 got=0 output
	shift
	output=$("$@" 2>&1) || got=$?
	[[ $got == "$want" ]] || fail "$* ended with $got, not $want. It printed:
$output"
}

# fetch URL [CURL OPTION...]: what is served there.
fetch() { curl --silent --show-error --fail --noproxy '*' --max-time 60 "$@"; }

# refused URL: nobody listens there.
refused() {
	local code=0
	fetch "$1" --output /dev/null 2>/dev/null || code=$?
	[[ $code == 7 ]]
}

# using FOLDER: the processes that work in the folder, or name it in their
# command line. A process that renames itself, as nginx does, keeps its folder.
using() {
	local process command
	for process in /proc/[0-9]*; do
		command=$(tr '\0' ' ' 2>/dev/null <"$process/cmdline") || true
		if [[ $(readlink "$process/cwd" 2>/dev/null) == "$1"* || $command == *"$1"* ]]; then
			printf '%s %s\n' "${process#/proc/}" "$command"
		fi
	done
}

unused() { [[ -z $(using "$1") ]]; }

# background COMMAND...: starts it as a terminal would, in a process group of
# its own that Ctrl-C reaches, with its output in $checks_log.
background() {
	set -m
	"$@" </dev/null >"$checks_log" 2>&1 &
	background_pid=$!
	set +m
}

alive() { kill -0 "$background_pid" 2>/dev/null; }
ended() { ! alive; }

# interrupt [CODE]: Ctrl-C for what was started last, which must end by it, with
# 0, 130 or CODE.
interrupt() {
	local code=0 also=${1:-130}
	alive || fail "it ended by itself"
	kill -INT -- "-$background_pid"
	patiently ended || fail "still there ten minutes after Ctrl-C"
	wait "$background_pid" || code=$?
	case $code in
	0 | 130 | "$also") ;;
	*) fail "after Ctrl-C it ended with $code, not 130" ;;
	esac
	background_pid=
}

# end: nothing that was started may outlive the suite, whatever went wrong.
end() {
	local code=$?
	: "${checks_folder:?}" # every process uses the folder "", so to speak
	if [[ -n ${background_pid:-} ]]; then
		kill -KILL -- "-$background_pid" 2>/dev/null || true
	fi
	using "$checks_folder" | while read -r pid _; do kill -KILL "$pid" 2>/dev/null || true; done
	# Folders that are not writable are part of what is tested.
	chmod -R u+rwX "$checks_folder" 2>/dev/null || true
	rm -rf "$checks_folder"
	exit "$code"
}

package native

// The scripts that systemd runs around a service, as root for the system's.
// They stand in the unit itself, so that they work while instar is being
// replaced. They are given a clean environment, use no relative path, and keep
// to what every POSIX shell has built in, since each start and each end runs
// one.
//
// They share a record of one line per event, truncated by every start:
//
//	S DIGEST RELOAD N      started, with these digests, after N failures in a row
//	R RELOAD               told to reload, with this digest
//	Q                      ended because somebody asked for it
//	E CODE STATUS N        ended by itself: $EXIT_CODE and $EXIT_STATUS
//
// And one that instar adds:
//
//	X                      stays ended, although it would be started again by now
//
// A record that could not be written in full says less than it should, never
// something else: at worst a service is restarted once too often.

// startScript makes the record of a start: $1 record, $2 digest, $3 reload
// digest, $4 what the manager's own delay takes of each pause, in seconds.
//
// What failed again and again is held back, by nothing after the first
// failure, then 1, 2, 4 ... 30 seconds, unless it is another definition that
// is started, or somebody asked for it. systemd's own RestartSteps= would
// count failures for ever, and is newer than much that instar meets; see steps.
const startScript = `k= d= n=0
if [ -f "$1" ]; then
while read -r x a b c; do k=$x; case $x in S) d=$a ;; E) n=$c ;; esac; done <"$1"
fi
if [ "$k" != E ] || [ "$d" != "$2" ]; then n=0; fi
case $n in [01]) s=0 ;; 2) s=1 ;; 3) s=2 ;; 4) s=4 ;; 5) s=8 ;; 6) s=16 ;; *) s=30 ;; esac
if [ $s -gt "$4" ]; then sleep $((s - $4)); fi
printf 'S %s %s %s\n' "$2" "$3" "$n" >"$1"`

// waitScript waits until none of the units that a service comes after is on its
// way: After= alone is content when the first attempt of a run has failed, and
// then that unit is deactivating before it is activating again. Its arguments are
// the command that asks for the units' ActiveState. What isn't wanted at all, or
// has been given up, is not waited for.
const waitScript = `while :; do case $("$@") in
*=activating* | *=deactivating*) sleep 0.3 2>/dev/null || sleep 1 ;;
*) exit 0 ;;
esac; done`

// reloadScript records that the service was told: $1 record, $2 reload digest.
const reloadScript = `printf 'R %s\n' "$2" >>"$1"`

// stopScript tells an end that nobody asked for from the others, and leaves a
// marker of it: $1 record, $2 unit, $3 marker, or "" for none, $4 instance, $5
// service, then the command that asks the manager.
//
// Neither $SERVICE_RESULT nor $EXIT_CODE tells; a job does: stopping,
// restarting and shutting down are jobs. Starting is one too, so as long as the
// unit was not active since its process was started, it matters what job it is.
// One that ran for a minute forgets earlier failures.
const stopScript = `r=$1 u=$2 f=$3 i=$4 s=$5
shift 5
j= a=0 m=0
p=$("$@" show --no-pager -p Job -p ActiveEnterTimestampMonotonic -p ExecMainStartTimestampMonotonic "$u")
for l in $p; do case $l in
Job=0) ;;
Job=*) j=${l#*=} ;;
Active*=?*) a=${l#*=} ;;
Exec*=?*) m=${l#*=} ;;
esac; done
if [ -n "$j" ] && [ "$a" -lt "$m" ]; then
case $("$@" --no-legend --full list-jobs "$u") in *" stop "* | *" restart "*) ;; *) j= ;; esac
fi
if [ -n "$j" ]; then echo Q >>"$r"; exit 0; fi
n=0
if [ -f "$r" ]; then while read -r x y z c; do case $x in S) n=$c ;; esac; done <"$r"; fi
read -r t z </proc/uptime
if [ $((${t%%.*} - ${m%??????})) -ge 60 ]; then n=0; fi
n=$((n + 1))
if [ $n -gt 9 ]; then n=9; fi
printf 'E %s %s %s\n' "$EXIT_CODE" "$EXIT_STATUS" "$n" >>"$r"
if [ -n "$f" ]; then
printf '{"instance":"%s","service":"%s","code":"%s","status":"%s"}\n' "$i" "$s" "$EXIT_CODE" "$EXIT_STATUS" >"$f.tmp" && mv -f "$f.tmp" "$f"
fi`

// firedScript deals with the end of what a timer has started: $1 timer, or "" if
// it is left alone, $2 unit that is told, or "" for none, $3 who of it, $4 signal,
// then the command that asks the manager. A service that does not run needs no
// telling. And what was due while the program ran is not made up: a timer that is
// started anew goes by the time that it is now. That must be done before the
// service has ended, and cannot be waited for where somebody stops the service: a
// timer's own stop would come after that.
const firedScript = `t=$1 u=$2 w=$3 s=$4 b=
shift 4
if [ -n "$u" ] && "$@" --quiet is-active "$u"; then "$@" kill "$w" --signal="$s" "$u"; fi
if [ -z "$t" ]; then exit 0; fi
case $("$@" --no-legend list-jobs "${t%.timer}.service") in *" stop "* | *" restart "*) b=--no-block ;; esac
"$@" $b try-restart "$t"`

// becomeScript executes a program where systemd alone could not: $1 folder,
// then the command. Nothing of the shell's own enters its environment, but for
// what bash insists on where env would take the program for a variable.
const becomeScript = `cd "$1" && shift && unset PWD OLDPWD SHLVL _ || exit 200
case $1 in *=*) exec "$@" ;; *) exec /usr/bin/env -u SHLVL "$@" ;; esac`

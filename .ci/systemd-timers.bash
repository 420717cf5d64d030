# Timers under systemd: nginx-static's rotation, with the real nginx as an
# ordinary user, and what users who are not the instance's are given. Sourced by
# .ci/systemd.

# property UNIT NAME: what systemd says of it.
property() { on systemctl show --property="$2" --value "$1"; }

# fires UNIT: what its timer starts, at once, to its end.
fires() { on systemctl start "$1"; }

cp -r "$top/profiles/nginx-static" "$root/opt/nginx-static"
ends_with 0 on instar apply /opt/nginx-static --name web --user www-data --set port=7800
nothing_to_do web
[[ $(on instar status web --json | tr -d ' \n') == *'"timers":[{"name":"logs","schedule":"00***","status":"waiting"'* ]] || fail "status: $(on instar status web --json)"
[[ $(on systemctl list-timers --all) == *instar-web-logs.timer* ]] || fail "systemd has no such timer: $(on systemctl list-timers --all)"
[[ $(on date --date="$(property instar-web-logs.timer NextElapseUSecRealtime)" +%H:%M) == 00:00 ]] ||
	fail "the next rotation is at $(property instar-web-logs.timer NextElapseUSecRealtime)"
logs=$root/srv/instar/web/var/log
on curl --silent --noproxy '*' --output /dev/null http://127.0.0.1:7800/first
master=$(property instar-web-nginx.service MainPID)
fires instar-web-logs.service
grep -q first "$logs/access.log.1" || fail "the log was not put aside: $(ls -l "$logs")"
writes_on() {
	on curl --silent --noproxy '*' --output /dev/null http://127.0.0.1:7800/second
	grep -q second "$logs/access.log"
}
patiently writes_on || fail "nginx was not told: $(ls -l "$logs")"
[[ $(property instar-web-nginx.service MainPID) == "$master" ]] || fail "nginx was restarted"
fires instar-web-logs.service
gzip --decompress --stdout "$logs/access.log.2.gz" | grep -q first || fail "the old log was not compressed: $(ls -l "$logs")"
[[ $(property instar-web-logs.timer ActiveState) == active ]] || fail "the timer does not wait any more"
nothing_to_do web
[[ $(on systemctl status instar-web.slice) == *instar-web-nginx.service* ]] || fail "the slice does not show nginx"
say "nginx-static as www-data: its logs are put aside by a timer, it hears of it, and keeps its process"

ends_with 0 on instar apply web --set port=7801
[[ $(property instar-web-nginx.service MainPID) == "$master" ]] || fail "a reload restarted nginx"
reloaded() { on curl --silent --fail --noproxy '*' http://127.0.0.1:7801/; }
patiently reloaded || fail "nginx does not listen at its new port"
say "another port: nginx was reloaded, with the same process"

ends_with 0 on instar stop web
[[ $(property instar-web-logs.timer ActiveState) == inactive ]] || fail "stopped, its timer is armed"
ends_with 0 on instar start web
[[ $(property instar-web-logs.timer ActiveState) == active ]] || fail "started, its timer is not armed"
ends_with 0 on instar destroy web --purge
[[ -z $(on systemctl list-units --all --plain --no-legend 'instar-web*') ]] ||
	fail "left by destroy: $(on systemctl list-units --all --plain --no-legend 'instar-web*')"
say "stopped, started, destroyed: no timer, no slice"

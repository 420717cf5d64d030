# Whoever owns an instance can't have root run anything, nor another user; what is
# declared for others is not shown to it. Sourced by .ci/systemd.

on useradd --no-create-home --shell /bin/sh mallory
on install -d -m 1777 /run/given
install -d "$root/opt/trust"
cat >"$root/opt/trust/instance.star" <<'STAR'
"""Programs of two users, and everything that a user could replace."""
changes = param("changes", 0)
token = password("token")
conf = file("etc/app.conf", "x = %d\n" % changes)
service("app", ["sh", "-c", "exec sleep 1000 # %s" % conf], limits = {"memory": 1 << 30})
service("other", ["sh", "-c", "env >/run/given/other; exec sleep 1000"], user = "games", cwd = "/", env = {"TOKEN": token, "PLAIN": "plain-text"})
run("once", ["true"])
cron("job", "@yearly", ["true"])
cron("others-job", "@yearly", ["sh", "-c", "env >/run/given/job"], user = "games", cwd = "/", env = {"TOKEN": token})
rotate("logs", mkdir("var/log") / "*.log", service = "app", then = "HUP")
file("etc/prerm/x", "#!/bin/sh\nexit 0\n", mode = 0o750)
STAR
applied=$(on instar apply /opt/trust --name trust --user mallory 2>&1) || fail "apply: $applied"
planned=$(on instar plan trust 2>&1)
if on grep -q memory /sys/fs/cgroup/cgroup.controllers; then
	[[ $planned != *"limit memory"* ]] || fail "plan: $planned"
else
	for text in "$applied" "$planned"; do
		[[ $text == *"app: limit memory=1073741824 is not enforced: systemd has no memory controller here"* ]] || fail "it does not say what is not enforced: $text"
	done
fi
say "plan and apply say which limits systemd does not keep"

given() { on sed -n 's/^TOKEN=//p' "/run/given/$1"; }
has_token() { [[ $(given other) == ???????????????????????? ]]; }
patiently has_token || fail "the service of another user has no token: $(on cat /run/given/other)"
token=$(given other)
fires instar-trust-others-job.service
[[ $(given job) == "$token" ]] || fail "the timer of another user has no token: $(on cat /run/given/job)"
shown=$(on runuser -u mallory -- sh -c 'systemctl show --all "instar-trust-*"; systemctl cat "instar-trust-*"; ps axeww; cat /var/lib/instar/systemd/env/*' 2>/dev/null || true)
[[ $shown == *ExecStart=* && $shown != *"$token"* && $shown != *plain-text* ]] || fail "mallory is shown the environment of others, or nothing at all"
[[ $(on sh -c 'cat /etc/systemd/system/instar-trust-*') != *"$token"* ]] || fail "a unit has the token"
say "a service and a timer of another user have their secrets, and nobody else has"

# Mallory has replaced all that instar wrote by what tells on whoever runs it, and
# goes on while root applies.
cat >"$root/opt/evil" <<'SH'
#!/bin/sh
id -u >>/run/ran-by
touch /root/evil /etc/evil
exec sleep 1000
SH
chmod 755 "$root/opt/evil"
cat >"$root/opt/mallory" <<'SH'
#!/bin/sh
cd /srv/instar/trust
n=0
while :; do
	n=$((n + 1))
	for place in etc/services/app etc/services/other etc/run/once etc/cron/job etc/cron/others-job etc/prerm/x etc/services/late etc/run/late; do
		cp /opt/evil "$place.x" && chmod 755 "$place.x" && mv -f "$place.x" "$place"
	done
	ln -sfn /etc/shadow etc/app.conf
	ln -sfn /etc/passwd var/log/app.log
	for folder in etc etc/services etc/run var/log; do
		mv $folder away$n && ln -s /etc $folder && rm -f $folder && mv away$n $folder
	done
	if [ $((n % 20)) = 0 ]; then pkill -u mallory -x sleep; fi
	rm -f etc/services/late etc/run/late
done
SH
chmod 755 "$root/opt/mallory"
on install -m 666 /dev/null /run/ran-by
# What it looks at can happen: run by root, it tells.
on sh -c '/opt/evil & until [ -e /etc/evil ]; do sleep 0.1; done; kill $!'
[[ -e $root/root/evil && $(on cat /run/ran-by) == 0 ]] || fail "this test would not notice"
on sh -c 'rm /root/evil /etc/evil; : >/run/ran-by'
# Of /etc, what the machine below, whose files these are, does not change itself meanwhile.
sums() {
	on sh -c 'cd /etc && sha256sum shadow passwd group &&
		find . \( -path ./systemd -o -path ./init.d -o -path "./rc*.d" -o -path ./runlevels \) -prune -o -type f -printf "%p %m %u %g %s %T@\n" | sort'
}
before=$(sums)
other=$(property instar-trust-other.service MainPID)
on systemd-run --quiet --unit=mallory --uid=mallory /opt/mallory
for round in {1..8}; do
	on instar apply trust --set "changes=$round" >/dev/null 2>&1 || true
	on systemctl start instar-trust-job.service instar-trust-logs.service 2>/dev/null || true
done
ran() { [[ -s $root/run/ran-by ]] || on test -s /run/ran-by; }
until ran; do
	((round++ < 200)) || fail "mallory's program never ran: this test sees nothing"
	on instar apply trust --set "changes=$round" >/dev/null 2>&1 || true
done
on systemctl stop mallory
[[ $(on sort -u /run/ran-by) == "$(on id -u mallory)" ]] || fail "mallory's program was run by $(on sort -u /run/ran-by | tr '\n' ' ')"
[[ ! -e $root/root/evil && ! -e $root/etc/evil ]] || fail "mallory's program was run by root"
[[ $(sums) == "$before" ]] || fail "something in /etc has changed:
$(diff <(echo "$before") <(sums))"
[[ $(property instar-trust-other.service MainPID) == "$other" ]] || fail "another user's service was disturbed"
on sh -c 'cd /srv/instar/trust && rm -rf away*; for link in etc etc/services etc/run var/log; do [ ! -L $link ] || rm $link; done
	rm -f var/log/app.log etc/services/late* etc/run/late* etc/*/*.x'
ends_with 0 on instar apply trust
nothing_to_do trust
say "its user replaced every program, and planted links, while root applied $round times: root ran none of it"

# What is dropped into the folders is a service or a run by that alone.
on runuser -u mallory -- sh -c 'cd /srv/instar/trust && mkdir -p etc/service && cd etc &&
	printf "#!/bin/sh\nexec sleep 1000\n" | tee service/dropped services/too >/dev/null && printf "#!/bin/sh\ntouch /srv/instar/trust/var/ran\n" >run/dropped-run &&
	chmod 755 service/dropped services/too run/dropped-run'
ends_with 0 on instar apply trust
nothing_to_do trust
for service in dropped too; do
	[[ $(on ps -o user= -p "$(property "instar-trust-$service.service" MainPID)") == mallory ]] || fail "$service does not run as mallory"
done
[[ -e $root/srv/instar/trust/var/ran ]] || fail "what was dropped into etc/run did not run"
on rm /srv/instar/trust/etc/service/dropped /srv/instar/trust/etc/run/dropped-run
ends_with 0 on instar apply trust
left=$(on systemctl list-units --all --plain --no-legend 'instar-trust-dropped*')
[[ -z $left && $(property instar-trust-too.service ActiveState) == active ]] || fail "what was taken away is still there: $left"
say "drop-ins are units, as the instance's user, and go when they are taken away"

ends_with 0 on instar destroy trust --purge
left=$(on sh -c 'ls -A /var/lib/instar/systemd /var/lib/instar/systemd/env /etc/systemd/system | grep trust; systemctl list-units --all --plain --no-legend "instar-trust*"' || true)
[[ -z $left ]] || fail "left by destroy: $left"
say "destroyed: no secret is left"

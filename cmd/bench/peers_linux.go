package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxPeer is how long one run of a peer may take: what would take longer is left
// out.
const maxPeer = 2 * time.Minute

// A peer is another tool that can be told to make the same tree.
type peer struct {
	name    string
	program string
	// describe writes below dir what tells the tool to make n units below root.
	describe func(dir, root string, n int) error
	// args are those of a run.
	args    func(dir, root string) []string
	env     []string
	version []string // the arguments that have it say its version
}

var peers = []peer{
	{name: "rsync -a --checksum of a rendered tree", program: "rsync", version: []string{"--version"},
		describe: func(dir, _ string, n int) error { return limitWrite(filepath.Join(dir, "source"), n, "info") },
		args: func(dir, root string) []string {
			return []string{"-a", "--checksum", filepath.Join(dir, "source") + "/", root + "/"}
		}},
	{name: "GNU make with stamps", program: "make", describe: describeMake, version: []string{"--version"},
		args: func(dir, _ string) []string { return []string{"-s", "-C", dir} }},
	{name: "CFEngine", program: "cf-agent", describe: describeCFEngine, version: []string{"--version"},
		args: func(dir, _ string) []string { return []string{"-K", "-f", filepath.Join(dir, "promises.cf")} }},
	{name: "Puppet", program: "puppet", describe: describePuppet, version: []string{"--version"},
		args: func(dir, _ string) []string {
			return []string{"apply", "--confdir", filepath.Join(dir, "conf"), "--vardir", filepath.Join(dir, "var"), filepath.Join(dir, "units.pp")}
		}},
	{name: "Ansible", program: "ansible-playbook", describe: describeAnsible, version: []string{"--version"},
		env: []string{"ANSIBLE_NOCOWS=1", "ANSIBLE_LOCALHOST_WARNING=False"},
		args: func(dir, _ string) []string {
			return []string{"-i", "localhost,", "-c", "local", filepath.Join(dir, "units.yml")}
		}},
}

// allPeers measures every peer that is installed.
func (o options) allPeers() error {
	t := table{}
	head := []string{"seconds, wall: first / unchanged"}
	for _, n := range o.sizes {
		head = append(head, fmt.Sprintf("N = %d", n))
	}
	t.add(append(head, "peak MiB")...)
	var missing []string
	for _, p := range peers {
		program, err := exec.LookPath(p.program)
		if err != nil {
			missing = append(missing, p.name)
			continue
		}
		progress("%s", p.name)
		p.program = program
		row, err := o.peer(p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		t.add(row...)
	}
	t.print()
	if len(missing) > 0 {
		fmt.Printf("Not installed, so not measured: %s.\n\n", strings.Join(missing, ", "))
	}
	return nil
}

// peer returns the line of one peer.
func (o options) peer(p peer) ([]string, error) {
	row := []string{p.title()}
	var last time.Duration
	most := int64(0)
	for i, n := range o.sizes {
		if i > 0 && last*time.Duration(n/o.sizes[i-1]) > maxPeer {
			row = append(row, "–")
			last *= time.Duration(n / o.sizes[i-1])
			continue
		}
		firsts, same, err := o.peerRuns(p, n)
		if errors.Is(err, context.DeadlineExceeded) {
			row = append(row, "> 120")
			last = maxPeer
			continue
		}
		if err != nil {
			return nil, err
		}
		last = max(firsts.wall(), same.wall())
		for _, c := range append(firsts, same...) {
			most = max(most, c.peak)
		}
		row = append(row, fmt.Sprintf("%s / %s", seconds(firsts.wall()), seconds(same.wall())))
	}
	return append(row, fmt.Sprint(most>>20)), nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2g", d.Seconds()) }

// title is the peer's name with the version that is installed.
func (p peer) title() string {
	out, err := exec.Command(p.program, p.version...).Output()
	if err != nil {
		return p.name
	}
	line, _, _ := strings.Cut(string(out), "\n")
	for _, word := range strings.Fields(strings.Trim(line, "[]")) {
		word = strings.Trim(word, "[]")
		if word[0] >= '0' && word[0] <= '9' && strings.Contains(word, ".") {
			return p.name + " (" + word + ")"
		}
	}
	return p.name
}

// peerRuns has a peer make n units, then find that nothing is to be done; three
// times when that is quick.
func (o options) peerRuns(p peer, n int) (firsts, same samples, err error) {
	for turn := 0; turn < 3 && (turn == 0 || firsts.wall() < 2*time.Second); turn++ {
		dir := filepath.Join(o.dir, "peer", strconv.Itoa(turn))
		root := filepath.Join(dir, "root")
		if err := os.MkdirAll(filepath.Join(root, "srv"), folderMode); err != nil {
			return nil, nil, err
		}
		if err := p.describe(dir, root, n); err != nil {
			return nil, nil, err
		}
		c, err := p.run(dir, root)
		if err != nil {
			return nil, nil, err
		}
		firsts = append(firsts, c)
		for range 3 {
			if c, err = p.run(dir, root); err != nil {
				return nil, nil, err
			}
			same = append(same, c)
			if c.wall > 2*time.Second {
				break
			}
		}
		made := root
		if p.program != "" && strings.HasSuffix(p.program, "rsync") {
			made = filepath.Join(dir, "source") // what the tree speaks of
		}
		if err := limitLstat(root, n, ""); err != nil {
			return nil, nil, fmt.Errorf("it made something else: %w", err)
		}
		if err := limitCompare(made, n, "info"); err != nil {
			return nil, nil, fmt.Errorf("it made something else: %w", err)
		}
		if err := os.RemoveAll(filepath.Join(o.dir, "peer")); err != nil {
			return nil, nil, err
		}
	}
	return firsts, same, nil
}

// run runs a peer once, for maxPeer at most.
func (p peer) run(dir, root string) (cost, error) {
	ctx, cancel := context.WithTimeout(context.Background(), maxPeer)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.program, p.args(dir, root)...)
	cmd.Env = append(append(os.Environ(), "HOME="+dir, "LC_ALL=C.UTF-8"), p.env...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	start := time.Now()
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return cost{}, ctx.Err()
	}
	if err != nil {
		return cost{}, fmt.Errorf("%w\n%s", err, tail(string(out)))
	}
	c := cost{wall: time.Since(start), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.peak = usage.Maxrss << 10
	}
	return c, nil
}

// describeMake writes a Makefile that renders by sed and leaves a stamp a unit.
func describeMake(dir, root string, n int) error {
	template := plainTemplate(func(name string) string { return "@" + name + "@" })
	if err := os.WriteFile(filepath.Join(dir, "app.conf.in"), []byte(template), 0o644); err != nil {
		return err
	}
	wrapper := strings.ReplaceAll(wrapperText(root, "@dir@"), "$", "$$")
	var script strings.Builder
	for _, line := range strings.Split(strings.TrimSuffix(wrapper, "\n"), "\n") {
		fmt.Fprintf(&script, " '%s'", strings.ReplaceAll(strings.ReplaceAll(line, "'", `'\''`), "@dir@", "$(UNIT)"))
	}
	text := fmt.Sprintf(`ROOT := %s
UNITS := $(shell seq 0 %d)
.PHONY: all
all: $(UNITS:%%=stamp-%%)
stamp-%%: UNIT = $(ROOT)/srv/unit-$*
stamp-%%: app.conf.in Makefile
	@mkdir -m 750 -p $(UNIT)
	@sed -e 's|@name@|unit-$*|; s|@port@|'$$((10000+$*))'|; s|@dir@|$(UNIT)|; s|@level@|info|; s|@workers@|4|' app.conf.in > $(UNIT)/app.conf
	@chmod 640 $(UNIT)/app.conf
	@printf '%%s\n'%s > $(UNIT)/run
	@chmod 755 $(UNIT)/run
	@touch $@
`, root, n-1, script.String())
	return os.WriteFile(filepath.Join(dir, "Makefile"), []byte(text), 0o644)
}

// describeCFEngine writes a policy of three promises a unit.
func describeCFEngine(dir, root string, n int) error {
	work := filepath.Join(dir, "work")
	if err := os.MkdirAll(work, 0o700); err != nil {
		return err
	}
	template := plainTemplate(func(name string) string { return "{{{" + name + "}}}" })
	if err := os.WriteFile(filepath.Join(dir, "app.conf.mustache"), []byte(template), 0o600); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "body common control { bundlesequence => { \"units\" }; inputs => {}; }\n"+
		"body perms mode(m) { mode => \"$(m)\"; }\nbundle agent units\n{\nfiles:\n")
	for i := range n {
		unit := filepath.Join(root, fmt.Sprintf(unitFolder, i))
		fmt.Fprintf(&b, "  \"%s/.\" create => \"true\", perms => mode(\"0750\");\n", unit)
		fmt.Fprintf(&b, "  \"%s/app.conf\" create => \"true\", perms => mode(\"0640\"), template_method => \"mustache\", edit_template => \"%s/app.conf.mustache\",\n"+
			"    template_data => '{\"name\":\"unit-%d\",\"port\":%d,\"dir\":\"%s\",\"level\":\"info\",\"workers\":4}';\n", unit, dir, i, 10000+i, unit)
		text := strings.ReplaceAll(strings.ReplaceAll(wrapperText(root, unit), `\`, `\\`), `"`, `\"`)
		fmt.Fprintf(&b, "  \"%s/run\" create => \"true\", perms => mode(\"0755\"), template_method => \"inline_mustache\", edit_template_string => \"%s\", template_data => '{}';\n",
			unit, text)
	}
	b.WriteString("}\n")
	return os.WriteFile(filepath.Join(dir, "promises.cf"), []byte(b.String()), 0o600)
}

// describePuppet writes a manifest with a loop.
func describePuppet(dir, root string, n int) error {
	if err := os.MkdirAll(filepath.Join(dir, "var", "state"), 0o700); err != nil {
		return err
	}
	template := plainTemplate(func(name string) string { return "<%= $" + name + " %>" })
	wrapper := strings.ReplaceAll(strings.ReplaceAll(wrapperText(root, "${dir}"), `"`, `\"`), "$@", `\$@`)
	text := fmt.Sprintf(`$text = @(END)
%sEND
Integer[0, %d].each |$i| {
  $dir = "%s/srv/unit-${i}"
  file { $dir: ensure => directory, mode => '0750' }
  file { "${dir}/app.conf": ensure => file, mode => '0640', show_diff => false,
    content => inline_epp($text, { 'name' => "unit-${i}", 'port' => 10000 + $i, 'dir' => $dir, 'level' => 'info', 'workers' => 4 }) }
  file { "${dir}/run": ensure => file, mode => '0755', content => "%s" }
}
`, template, n-1, root, wrapper)
	return os.WriteFile(filepath.Join(dir, "units.pp"), []byte(text), 0o644)
}

// describeAnsible writes a playbook with three loops.
func describeAnsible(dir, root string, n int) error {
	template := plainTemplate(func(name string) string {
		return "{{ " + map[string]string{
			"name": "'unit-' ~ item", "port": "10000 + (item | int)", "dir": "root ~ '/srv/unit-' ~ item", "level": "'info'", "workers": "4",
		}[name] + " }}"
	})
	if err := os.WriteFile(filepath.Join(dir, "app.conf.j2"), []byte(template), 0o644); err != nil {
		return err
	}
	wrapper := strings.ReplaceAll(wrapperText(root, "{{ root }}/srv/unit-{{ item }}"), "\n", "\n          ")
	text := fmt.Sprintf(`- hosts: localhost
  gather_facts: false
  vars: {root: %s}
  tasks:
    - file: {path: "{{ root }}/srv/unit-{{ item }}", state: directory, mode: "0750"}
      with_sequence: start=0 end=%d
    - template: {src: %s/app.conf.j2, dest: "{{ root }}/srv/unit-{{ item }}/app.conf", mode: "0640"}
      with_sequence: start=0 end=%d
    - copy:
        dest: "{{ root }}/srv/unit-{{ item }}/run"
        mode: "0755"
        content: |
          %s
      with_sequence: start=0 end=%d
`, root, n-1, dir, n-1, strings.TrimSpace(wrapper), n-1)
	return os.WriteFile(filepath.Join(dir, "units.yml"), []byte(text), 0o644)
}

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"instar/builtins"
)

// families are the scripts of builtins that share one. Every other builtin has
// a script of its own name.
var families = map[string]string{
	"mkdir_once":        "mkdir",
	"file_once":         "file",
	"template_once":     "template",
	"release.find":      "release",
	"check.tcp":         "check_tcp",
	"check.socket":      "check_socket",
	"check.http":        "check_http",
	"check.command":     "check_command",
	"check.file":        "check_file",
	"check.certificate": "check_certificate",
	"check.disk":        "check_disk",
	"yaml.encode":       "yaml",
	"toml.encode":       "toml",
	"ini.encode":        "ini",
	"base64.encode":     "base64",
	"base64.decode":     "base64",
}

// TestBuiltinsAreWhole makes sure of the four parts of a builtin: its line in
// the table leads to a page of the reference, which tells its arguments as the
// table does, and to a script that ends by applying again. That it has a Go
// file, the compiler makes sure of.
func TestBuiltinsAreWhole(t *testing.T) {
	for _, b := range builtins.Table {
		t.Run(b.Name, func(t *testing.T) {
			checkPage(t, b)
			name := b.Name
			if family, ok := families[name]; ok {
				name = family
			}
			script, err := os.ReadFile(filepath.Join("testdata", "script", "builtin_"+name+".txtar"))
			if err != nil {
				t.Fatal(err)
			}
			commands, profile, _ := strings.Cut(string(script), "\n-- ")
			phases := strings.Split(commands, "\n# ")
			if last := phases[len(phases)-1]; !strings.Contains(last, "\nagain ") {
				t.Errorf("the last phase of builtin_%s.txtar does not apply again", name)
			}
			if use := regexp.MustCompile(`\b` + regexp.QuoteMeta(b.Name) + `\b`); !use.MatchString(profile) {
				t.Errorf("builtin_%s.txtar does not use %s", name, b.Name)
			}
		})
	}
}

// argumentRow is a line of a page's table of arguments.
var argumentRow = regexp.MustCompile("(?m)^\\| `(\\w+)` \\|")

// checkPage makes sure that a builtin's page has its signature alone in a line,
// and a table with just these arguments. What is no function has a title.
func checkPage(t *testing.T, b builtins.Builtin) {
	t.Helper()
	path := filepath.Join("..", "..", "docs", "reference", b.Name+".md")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	signature := b.Signature()
	if signature == b.Name {
		signature = "# " + b.Name
	}
	if !slices.Contains(strings.Split(string(page), "\n"), signature) {
		t.Errorf("%s has no line %q", path, signature)
	}
	if b.Params == "" || strings.HasPrefix(b.Params, "*") {
		return
	}
	var want, got []string
	for param := range strings.SplitSeq(b.Params, ", ") {
		name, _, _ := strings.Cut(param, "=")
		want = append(want, name)
	}
	for _, row := range argumentRow.FindAllStringSubmatch(string(page), -1) {
		got = append(got, row[1])
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s explains the arguments %q, want %q", path, got, want)
	}
}

// profileCommands are what the scripts of the profile language use besides the
// commands of [TestScripts].
//
//	again NAME [ROOT]        apply once more: no change, and not a byte or a
//	                         timestamp of state and root differs; plan agrees
//	mode MODE PATH...        these have these twelve bits, in octal
//	until PROGRAM ARGS...    run a program again and again until it succeeds
//	served NAME              wait until an `up` has converged the instance and serves it
//	repeat FILE TEXT COUNT   write a text, many times
//	serve KIND FILE          until the script ends, accept connections: unix at FILE;
//	                         tcp, http or https at a port that is written to FILE.
//	                         For https FILE.pem is the certificate
//	certificate FILE DAYS    write one that is valid for so many days
var profileCommands = map[string]func(*testscript.TestScript, bool, []string){
	"again": scriptAgain, "mode": scriptMode, "until": scriptUntil, "served": scriptServed, "repeat": scriptRepeat,
	"serve": scriptServe, "certificate": scriptCertificate,
}

func scriptAgain(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: again NAME [ROOT]")
	}
	root := "r"
	if len(args) == 2 {
		root = args[1]
	}
	snapshots := func() string {
		var all []byte
		for _, dir := range []string{"state", root} {
			scriptSnapshot(ts, false, []string{dir, ".snapshot"})
			data, err := os.ReadFile(ts.MkAbs(".snapshot"))
			ts.Check(err)
			all = append(all, data...)
		}
		ts.Check(os.Remove(ts.MkAbs(".snapshot")))
		return string(all)
	}
	before := snapshots()
	ts.Check(ts.Exec("instar", "apply", args[0], "--json"))
	var report struct {
		Complete bool              `json:"complete"`
		Changes  []json.RawMessage `json:"changes"`
		Summary  map[string]int    `json:"summary"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &report))
	if !report.Complete || len(report.Changes) > 0 {
		ts.Fatalf("apply again: complete: %v, changes: %s", report.Complete, report.Changes)
	}
	for what, n := range report.Summary {
		if what != "ok" && n != 0 {
			ts.Fatalf("apply again: %d %s", n, what)
		}
	}
	if after := snapshots(); after != before {
		ts.Fatalf("apply again: the state or the root differs:\n%s", difference(before, after))
	}
	if err := ts.Exec("instar", "plan", args[0], "--detailed-exitcode"); err != nil {
		ts.Fatalf("plan --detailed-exitcode: %v\n%s", err, ts.ReadFile("stdout"))
	}
}

// difference lists the lines that only one of two snapshots has.
func difference(before, after string) string {
	lines := map[string]int{}
	for line := range strings.Lines(before) {
		lines[line]--
	}
	for line := range strings.Lines(after) {
		lines[line]++
	}
	var out bytes.Buffer
	for line, n := range lines {
		if n != 0 {
			fmt.Fprintf(&out, "%+d %.200s\n", n, strings.TrimSpace(line))
		}
	}
	return out.String()
}

func scriptMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mode MODE PATH...")
	}
	for _, path := range args[1:] {
		info, err := os.Lstat(ts.MkAbs(path))
		ts.Check(err)
		bits := uint32(info.Mode().Perm())
		for i, bit := range []fs.FileMode{fs.ModeSticky, fs.ModeSetgid, fs.ModeSetuid} {
			if info.Mode()&bit != 0 {
				bits |= 0o1000 << i
			}
		}
		if got := fmt.Sprintf("%04o", bits); got != args[0] {
			ts.Fatalf("%s has mode %s, want %s", path, got, args[0])
		}
	}
}

func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: until PROGRAM ARGS...")
	}
	_, err := exec.LookPath(args[0])
	ts.Check(err)
	eventually(ts, strings.Join(args, " "), func() error { return ts.Exec(args[0], args[1:]...) })
}

func scriptServed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: served NAME")
	}
	// An `up` answers at its socket before it has converged; apply waits for it.
	socket := filepath.Join(ts.MkAbs("state"), "instances", args[0], socketName)
	eventually(ts, "served", func() error {
		_, err := os.Lstat(socket)
		return err
	})
	ts.Check(ts.Exec("instar", "apply", args[0]))
}

func scriptRepeat(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: repeat FILE TEXT COUNT")
	}
	var count int
	_, err := fmt.Sscan(args[2], &count)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes.Repeat([]byte(args[1]), count), 0o666))
}

func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: serve KIND FILE")
	}
	path := ts.MkAbs(args[1])
	if args[0] == "unix" {
		l, err := net.Listen("unix", path)
		ts.Check(err)
		ts.Defer(func() { l.Close() })
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	ts.Check(err)
	ts.Check(os.WriteFile(path, []byte(port), 0o666))
	if args[0] == "tcp" {
		return
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(hello))
	server.Listener.Close()
	server.Listener = l
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	ts.Defer(server.Close)
	if args[0] == "http" {
		server.Start()
		return
	}
	server.StartTLS()
	ts.Check(os.WriteFile(path+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o666))
}

// hello says hello at /, but "away" with status 503 at /away; /private wants
// the user "me" with the password "very-secret".
func hello(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	switch {
	case r.URL.Path == "/away":
		http.Error(w, "away", http.StatusServiceUnavailable)
	case r.URL.Path == "/private" && (user != "me" || password != "very-secret"):
		http.Error(w, "who are you?", http.StatusUnauthorized)
	default:
		fmt.Fprintln(w, "hello")
	}
}

func scriptCertificate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: certificate FILE DAYS")
	}
	days, err := strconv.Atoi(args[1])
	ts.Check(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	what := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(0, 0, days).Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, what, what, key.Public(), key)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o666))
}

package promise_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"instar/runtime/plan"
	"instar/runtime/promise"
	"instar/runtime/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hidden = "very-s3cret-text"

func checker() *promise.Checker {
	return &promise.Checker{Masker: secret.New([]string{hidden})}
}

// one is a case: want is "" for a check that holds, else a part of the message.
type one struct {
	name  string
	check plan.Check
	want  string
}

func run(t *testing.T, c *promise.Checker, cases []one) {
	t.Helper()
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			r := c.Check(t.Context(), plan.Promise{Name: test.name, Check: test.check, Timeout: time.Minute})
			if r.OK != (test.want == "") || !strings.Contains(r.Message, test.want) || r.Message == "" {
				t.Errorf("got %v %q, want %q", r.OK, r.Message, test.want)
			}
			if strings.Contains(r.Message, hidden) {
				t.Errorf("the secret is shown: %q", r.Message)
			}
			if r.At.IsZero() || r.Name != test.name {
				t.Errorf("incomplete result %+v", r)
			}
		})
	}
}

func hostPort(t *testing.T, a net.Addr) (string, int) {
	t.Helper()
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return host, n
}

// listen returns a listener whose connections the kernel accepts.
func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestNetwork(t *testing.T) {
	open := listen(t, "tcp", "127.0.0.1:0")
	host, port := hostPort(t, open.Addr())
	client, err := net.Dial("tcp", open.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, dead := hostPort(t, client.LocalAddr()) // taken as long as it is open, and nobody listens there
	dir := t.TempDir()
	sock := filepath.Join(dir, "s")
	listen(t, "unix", sock)
	stale := filepath.Join(dir, "stale")
	l := listen(t, "unix", stale)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	run(t, checker(), []one{
		{"tcp", plan.Check{Kind: "tcp", Host: host, Port: port}, ""},
		{"refused", plan.Check{Kind: "tcp", Host: host, Port: dead}, fmt.Sprintf("connection refused at 127.0.0.1:%d", dead)},
		{"no host", plan.Check{Kind: "tcp", Host: "no.such.host.invalid", Port: 1}, "the host \"no.such.host.invalid\""},
		{"socket", plan.Check{Kind: "socket", Path: sock}, ""},
		{"no socket", plan.Check{Kind: "socket", Path: sock + "x"}, sock + "x does not exist"},
		{"stale socket", plan.Check{Kind: "socket", Path: stale}, "connection refused at " + stale},
		{"folder", plan.Check{Kind: "socket", Path: dir}, "is a folder, not a socket"},
		{"unknown", plan.Check{Kind: "nonsense"}, `no such kind of check: "nonsense"`},
	})
}

func TestSocketLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 40))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	listen(t, "unix", "s")
	run(t, checker(), []one{
		{"long", plan.Check{Kind: "socket", Path: filepath.Join(dir, "s")}, ""},
		{"long missing", plan.Check{Kind: "socket", Path: filepath.Join(dir, "t")}, "does not exist"},
	})
}

func serve(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/":
		fmt.Fprint(w, "welcome")
	case "/moved":
		http.Redirect(w, r, "/", http.StatusFound)
	case "/bad":
		http.Error(w, "no", http.StatusBadGateway)
	case "/auth":
		if u, p, _ := r.BasicAuth(); u != "u" || p != hidden {
			w.WriteHeader(http.StatusUnauthorized)
		}
	case "/large":
		for range 3 << 10 {
			w.Write(bytes.Repeat([]byte("x"), 1<<10))
		}
		fmt.Fprint(w, "needle")
	case "/cut":
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "some")
	}
}

func text(s string) *string { return &s }
func yes(b bool) *bool      { return &b }

func TestHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(serve))
	defer server.Close()
	t.Setenv("HTTP_PROXY", server.URL)
	t.Setenv("http_proxy", server.URL)
	secure := httptest.NewTLSServer(http.HandlerFunc(serve))
	secure.Config.ErrorLog = nil
	defer secure.Close()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	write(t, ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	write(t, filepath.Join(dir, "none.pem"), []byte("nothing"))
	h, s := server.URL, secure.URL
	run(t, checker(), []one{
		{"ok", plan.Check{Kind: "http", URL: h + "/"}, ""},
		{"no proxy", plan.Check{Kind: "http", URL: "http://no.such.host.invalid/"}, `the host "no.such.host.invalid"`},
		{"contains", plan.Check{Kind: "http", URL: h + "/", Contains: text("elcom")}, ""},
		{"lacks", plan.Check{Kind: "http", URL: h + "/", Contains: text(hidden)}, "does not contain \"********\""},
		{"502", plan.Check{Kind: "http", URL: h + "/bad", Status: 200}, "status 502, want 200"},
		{"502 wanted", plan.Check{Kind: "http", URL: h + "/bad", Status: 502}, ""},
		{"redirect", plan.Check{Kind: "http", URL: h + "/moved"}, "status 302, want 200"},
		{"redirect wanted", plan.Check{Kind: "http", URL: h + "/moved", Status: 302}, ""},
		{"auth", plan.Check{Kind: "http", URL: h + "/auth", User: "u", Password: hidden}, ""},
		{"auth in URL", plan.Check{Kind: "http", URL: strings.Replace(h, "//", "//u:"+hidden+"@", 1) + "/auth"}, ""},
		{"no auth", plan.Check{Kind: "http", URL: strings.Replace(h, "//", "//u:"+hidden+"x@", 1) + "/auth"}, "status 401"},
		{"bounded", plan.Check{Kind: "http", URL: h + "/large", Contains: text("needle")}, "does not contain \"needle\" in its first MiB"},
		{"cut", plan.Check{Kind: "http", URL: h + "/cut", Contains: text("needle")}, "broke off after 4 bytes"},
		{"refused", plan.Check{Kind: "http", URL: "http://127.0.0.1:1/"}, "connection refused at 127.0.0.1:1"},
		{"untrusted", plan.Check{Kind: "http", URL: s}, "is not accepted"},
		{"insecure", plan.Check{Kind: "http", URL: s, Insecure: true}, ""},
		{"ca", plan.Check{Kind: "http", URL: s, CA: ca}, ""},
		{"no ca", plan.Check{Kind: "http", URL: s, CA: ca + "x"}, "ca.pemx does not exist"},
		{"empty ca", plan.Check{Kind: "http", URL: s, CA: filepath.Join(dir, "none.pem")}, "no PEM certificate"},
		{"not TLS", plan.Check{Kind: "http", URL: strings.Replace(h, "http:", "https:", 1)}, "does not speak TLS"},
		{"bad URL", plan.Check{Kind: "http", URL: "http://[::1" + hidden}, "cannot use the URL"},
		{"bad scheme", plan.Check{Kind: "http", URL: "gopher://x/"}, "gopher"},
	})
}

func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	c := checker()
	begun := time.Now()
	r := c.Check(t.Context(), plan.Promise{Name: "slow", Timeout: 100 * time.Millisecond, Check: plan.Check{Kind: "http", URL: server.URL}})
	if r.OK || !strings.Contains(r.Message, "no answer within 100ms: "+server.URL) {
		t.Errorf("got %+v", r)
	}
	if took := time.Since(begun); took > time.Minute {
		t.Errorf("took %s", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r = c.Check(ctx, plan.Promise{Name: "slow", Check: plan.Check{Kind: "http", URL: server.URL}})
	if r.OK || !strings.Contains(r.Message, "interrupted") {
		t.Errorf("got %+v", r)
	}
}

func TestPanicIsFailure(t *testing.T) {
	calls := 0
	c := checker()
	c.Now = func() time.Time {
		if calls++; calls == 1 {
			panic("the clock broke: " + hidden)
		}
		return time.Now()
	}
	file := filepath.Join(t.TempDir(), "f")
	write(t, file, nil)
	r := c.Check(t.Context(), plan.Promise{Name: "p", Check: plan.Check{Kind: "file", Path: file}})
	if r.OK || r.Message != "the check itself failed: the clock broke: ********" {
		t.Errorf("got %+v", r)
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func age(t *testing.T, path string, d time.Duration) {
	t.Helper()
	at := time.Now().Add(-d)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, at("empty"), nil)
	write(t, at("a.log"), []byte("old"))
	write(t, at("b.log"), []byte("new"))
	write(t, at("err"), []byte("panic: "+hidden+"\nmore\n"))
	write(t, at("lit*eral"), []byte("star"))
	age(t, at("a.log"), 3*time.Hour)
	large := bytes.Repeat([]byte("x"), 1<<20)
	copy(large[256<<10+len("needle")-3:], "needle") // across the pieces
	write(t, at("large"), large)
	if err := os.Mkdir(at("z.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := func(name string) plan.Check { return plan.Check{Kind: "file", Path: at(name)} }
	with := func(c plan.Check, f func(*plan.Check)) plan.Check { f(&c); return c }
	run(t, checker(), []one{
		{"exists", file("a.log"), ""},
		{"missing", file("nope"), at("nope") + " does not exist"},
		{"folder", plan.Check{Kind: "file", Path: dir}, "is a folder, not a file"},
		{"empty", with(file("empty"), func(c *plan.Check) { c.Empty = yes(true) }), ""},
		{"not empty", with(file("empty"), func(c *plan.Check) { c.Empty = yes(false) }), "empty is empty"},
		{"should be empty", with(file("err"), func(c *plan.Check) { c.Empty = yes(true) }), `bytes, which begin with "panic: ********"`},
		{"glob newest", with(file("*.log"), func(c *plan.Check) { c.Contains = text("new") }), ""},
		{"glob not oldest", with(file("*.log"), func(c *plan.Check) { c.Contains = text("old") }), at("b.log") + ` does not contain "old"`},
		{"glob none", file("*.none"), "no file matches " + at("*.none")},
		{"glob literal", with(file("lit*eral"), func(c *plan.Check) { c.Contains = text("star") }), ""},
		{"bad glob", file("[a"), "bad pattern"},
		{"young", with(file("a.log"), func(c *plan.Check) { c.MaxAge = 4 * time.Hour }), ""},
		{"old", with(file("a.log"), func(c *plan.Check) { c.MaxAge = time.Hour }), "was last written 3h0m ago, want at most 1h0m"},
		{"large", with(file("large"), func(c *plan.Check) { c.Contains = text("needle") }), ""},
		{"large lacks", with(file("large"), func(c *plan.Check) { c.Contains = text("needless") }), "does not contain"},
	})
}

// authority makes self-signed certificates.
func certificate(t *testing.T, name string, from, to time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestCertificate(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Now()
	dir := t.TempDir()
	put := func(name string, parts ...[]byte) plan.Check {
		write(t, filepath.Join(dir, name), bytes.Join(parts, nil))
		return plan.Check{Kind: "certificate", Path: filepath.Join(dir, name), Days: 14}
	}
	long := certificate(t, "long", now.Add(-day), now.Add(400*day))
	short := certificate(t, "short", now.Add(-day), now.Add(5*day+time.Hour))
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})
	run(t, checker(), []one{
		{"good", put("good", key, long), ""},
		{"soon", put("soon", short), `the certificate of "short" in ` + filepath.Join(dir, "soon") + " expires on"},
		{"soon in chain", put("chain", long, short), "in 5 days; want at least 14 days"},
		{"expired", put("expired", certificate(t, "old", now.Add(-9*day), now.Add(-day))), "expired on " + now.Add(-day).UTC().Format("2006-01-02")},
		{"future", put("future", certificate(t, "new", now.Add(day), now.Add(400*day))), "is not valid before"},
		{"none", put("none", key), "no PEM certificate"},
		{"broken", put("broken", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})), "cannot read certificate 1"},
		{"missing", plan.Check{Kind: "certificate", Path: filepath.Join(dir, "zzz")}, "does not exist"},
	})
}

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	run(t, checker(), []one{
		{"enough", plan.Check{Kind: "disk", Path: dir, MinFree: 1}, ""},
		{"full", plan.Check{Kind: "disk", Path: dir, MinFree: 1 << 62}, "left at " + dir + ", want 4.0 EiB"},
		{"missing", plan.Check{Kind: "disk", Path: dir + "/no", MinFree: 1}, "does not exist"},
	})
}

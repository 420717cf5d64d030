package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"instar/runtime/secret"
	"pgregory.net/rapid"
)

func TestString(t *testing.T) {
	m := secret.New([]string{"s3cret/p+ss'w\"rd&", "short\nfirst line here\r\nxy\n", ""})
	tests := []struct{ in, want string }{
		{"", ""},
		{"nothing", "nothing"},
		{"a s3cret/p+ss'w\"rd& b", "a ******** b"},
		{`{"p":"s3cret/p+ss'w\"rd\u0026"}`, `{"p":"********"}`},
		{`{"p":"s3cret\/p+ss'w\"rd&"}`, `{"p":"********"}`},
		{`'s3cret/p+ss'\''w"rd&'`, `'********'`},
		{"q=s3cret%2Fp%2Bss%27w%22rd%26&x", "q=********&x"},
		{"q=s3cret%2fp%2bss%27w%22rd%26&x", "q=********&x"},
		{"s3cret/p&#43;ss", "s3cret/p&#43;ss"}, // not the secret
		{"first line here", "********"},
		{"the short one", "the ******** one"},
		{"xy", "xy"}, // a line of fewer than 4 bytes alone
		{"short\nfirst line here\r\nxy", "********"},
	}
	for _, test := range tests {
		if got := m.String(test.in); got != test.want {
			t.Errorf("String(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}

func TestOverlap(t *testing.T) {
	m := secret.New([]string{"abcdefgh", "efghijklmn", "abcdefghij"})
	if got := m.String("-abcdefghijklmn-"); got != "-********-" {
		t.Errorf("got %q: a part of a secret remains", got)
	}
	if got := m.String("abcdefghabcdefgh"); got != "****************" {
		t.Errorf("got %q", got)
	}
}

func TestBase64(t *testing.T) {
	const word = "hunter2?>~hunter2"
	m := secret.New([]string{word})
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 7 {
			for after := range 5 {
				text := strings.Repeat("\xff", before) + word + strings.Repeat("\xff", after)
				got := m.String("x " + enc.EncodeToString([]byte(text)) + " y")
				// Only characters without any bit of the secret may remain.
				left := strings.Trim(got, "x yw=/_8")
				if left != secret.Mask {
					t.Errorf("%d before, %d after: %q", before, after, got)
				}
			}
		}
	}
}

func TestBase64Wrapped(t *testing.T) {
	word := strings.Repeat("Zq7#kP9!", 6)
	m := secret.New([]string{word})
	for before := range 80 {
		all := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", before) + word + strings.Repeat("\x00", 40)))
		var lines []string
		for part := range slices.Chunk([]byte(all), 76) {
			lines = append(lines, string(part))
		}
		got := m.String(strings.Join(lines, "\n"))
		left := strings.NewReplacer("A", "", "\n", "", "*", "", "=", "").Replace(got)
		if len(left) > 12 {
			t.Errorf("%d before: %d characters remain: %q", before, len(left), got)
		}
	}
}

func TestReplace(t *testing.T) {
	m := secret.New([]string{"passw0rd-long"})
	m.Replace("passw0rd-long", secret.ChosenAtApply)
	m.ReplaceWord("8080", secret.ChosenAtApply)
	m.Add("passw0rd-long") // the order does not matter
	tests := []struct{ in, want string }{
		{"pw passw0rd-long", "pw (chosen at apply)"},
		{base64.StdEncoding.EncodeToString([]byte("passw0rd-long")), "(chosen at apply)"},
		{"listen 8080;", "listen (chosen at apply);"},
		{"18080 80801 a8080 8080_", "18080 80801 a8080 8080_"},
		{"8080", "(chosen at apply)"},
		{"x:8080/8080", "x:(chosen at apply)/(chosen at apply)"},
	}
	for _, test := range tests {
		if got := m.String(test.in); got != test.want {
			t.Errorf("String(%q) = %q, want %q", test.in, got, test.want)
		}
	}
	m.Add("mysql://u:passw0rd-long@h:8080/")
	if got := m.String("mysql://u:passw0rd-long@h:8080/"); got != secret.Mask {
		t.Errorf("a secret that contains a chosen value: %q", got)
	}
	if !m.Contains([]byte("a passw0rd-long")) || m.Contains([]byte("8080")) {
		t.Error("Contains: chosen secrets count, chosen ports don't")
	}
}

func TestContains(t *testing.T) {
	pem := "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nuser: x\n-----END PRIVATE KEY-----\n"
	m := secret.New([]string{pem, "k\"y-of-8"})
	for text, want := range map[string]bool{
		"":                                       false,
		"-----BEGIN PRIVATE KEY-----":            false,
		"user: x":                                false, // short line of several
		"MIIEvQIBADANBgkqhkiG9w0B":               true,
		pem:                                      true,
		`"k\"y-of-8"`:                            true,
		"k%22y-of-8":                             true,
		encode(`k"y-of-8`):                       true,
		"Authorization: " + encode(`u:k"y-of-8`): true,
	} {
		if got := m.Contains([]byte(text)); got != want {
			t.Errorf("Contains(%q) = %v", text, got)
		}
	}
	if got := m.String("user: x"); got != secret.Mask {
		t.Errorf("a line of a secret is shown: %q", got)
	}
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestNone(t *testing.T) {
	var none *secret.Masker
	for _, m := range []*secret.Masker{none, secret.New(nil), secret.New([]string{"", " \n"})} {
		if m.String("x") != "x" || string(m.Bytes([]byte("x"))) != "x" || m.Contains([]byte("x")) || m.Walk("x") != any("x") {
			t.Error("a masker without secrets changes something")
		}
		var b bytes.Buffer
		w := m.Writer(&b)
		fmt.Fprint(w, "a\nb")
		if err := w.Close(); err != nil || b.String() != "a\nb" {
			t.Errorf("writer: %q, %v", b.String(), err)
		}
	}
}

func TestWalk(t *testing.T) {
	m := secret.New([]string{"topsecret", "31415926"})
	type named struct{ A string }
	got := m.Walk(map[string]any{
		"k-topsecret": []any{"topsecret", 1, 2.5, true, nil, 31415926, float64(7)},
		"m":           map[string]any{"x": "a topsecret"},
		"s":           []string{"topsecret"},
		"t":           map[string]string{"topsecret": "v"},
		"n":           named{"topsecret"},
		"c":           json.Number("31415926"),
	})
	want := map[string]any{
		"k-********": []any{"********", 1, 2.5, true, nil, "********", float64(7)},
		"m":          map[string]any{"x": "a ********"},
		"s":          []string{"********"},
		"t":          map[string]string{"********": "v"},
		"n":          map[string]any{"A": "********"},
		"c":          "********",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// encoders are what the forms promise, written independently of them.
var encoders = map[string]func(string) string{
	"itself":   func(s string) string { return s },
	"json":     func(s string) string { b, _ := json.Marshal(s); return string(b) },
	"json map": func(s string) string { b, _ := json.Marshal(map[string]any{"k": []string{"a" + s}}); return string(b) },
	"json twice": func(s string) string {
		b, _ := json.Marshal(s)
		b, _ = json.Marshal(string(b))
		return string(b)
	},
	"go":         strconv.Quote,
	"go ascii":   strconv.QuoteToASCII,
	"query":      url.QueryEscape,
	"path":       url.PathEscape,
	"userinfo":   func(s string) string { return "http://" + url.UserPassword("u", s).String() + "@h" },
	"shell":      func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" },
	"base64":     encode,
	"base64 url": func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"basic":      func(s string) string { return encode("user:" + s) },
	"base64 1":   func(s string) string { return encode("x" + s + "zz") },
	"base64 2":   func(s string) string { return encode("xy" + s + "z") },
	"hex":        func(s string) string { return hex.EncodeToString([]byte(s)) },
}

// secrets draws texts that can't occur in a mask or in what surrounds them.
func secrets() *rapid.Generator[string] {
	char := rapid.RuneFrom([]rune("abcXYZ019'\"\\$`<>&%/+=~ \n\té€😀?#@"))
	return rapid.Custom(func(t *rapid.T) string {
		return "Q" + rapid.StringOfN(char, 6, 40, -1).Draw(t, "inner") + "Q"
	})
}

func TestNoFormSurvives(t *testing.T) {
	names := make([]string, 0, len(encoders))
	for name := range encoders {
		names = append(names, name)
	}
	slices.Sort(names)
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(secrets(), 1, 4).Draw(t, "secrets")
		m := secret.New(list)
		var text strings.Builder
		for range rapid.IntRange(1, 8).Draw(t, "parts") {
			text.WriteString(rapid.StringOfN(rapid.RuneFrom([]rune("-. \nlmn")), 0, 9, -1).Draw(t, "between"))
			name := rapid.SampledFrom(names).Draw(t, "form")
			text.WriteString(encoders[name](rapid.SampledFrom(list).Draw(t, "which")))
		}
		in := text.String()
		out := m.String(in)
		for _, s := range list {
			for name, enc := range encoders {
				form := strings.Trim(enc(s), `"'`)
				if strings.Contains(out, form) {
					t.Fatalf("%s of %q survives in %q", name, s, out)
				}
			}
		}
		if !m.Contains([]byte(in)) {
			t.Fatalf("Contains(%q) = false", in)
		}
		if m.Contains([]byte(out)) {
			t.Fatalf("Contains(%q) = true after masking", out)
		}
		streamed(t, m, in, out)
	})
}

// streamed checks that a Writer says the same as String, however cut.
func streamed(t *rapid.T, m *secret.Masker, in, want string) {
	var b bytes.Buffer
	w := m.Writer(&b)
	for rest := in; rest != ""; {
		n := rapid.IntRange(1, min(len(rest), 50)).Draw(t, "chunk")
		if _, err := w.Write([]byte(rest[:n])); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != want {
		t.Fatalf("streamed %q\nwant     %q", got, want)
	}
}

func TestWriterLongLine(t *testing.T) {
	word := "longsecret" + strings.Repeat("0123456789", 30)
	m := secret.New([]string{word, "9longsecret0"})
	for _, gap := range []int{0, 1, 7, 200, 313, 63 << 10, 64<<10 - 310, 64<<10 - 5, 64 << 10, 130 << 10} {
		in := strings.Repeat(strings.Repeat("x", gap)+word, 5+(300<<10)/(gap+len(word))) + strings.Repeat("y", 200<<10)
		var b bytes.Buffer
		w := m.Writer(&b)
		for part := range slices.Chunk([]byte(in), 4093) {
			if _, err := w.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		if passed := b.Len(); passed == 0 {
			t.Error("a line without end is held back without bound")
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got, want := b.String(), m.String(in); got != want {
			t.Errorf("gap %d: streamed %d bytes, String %d", gap, len(got), len(want))
		}
	}
}

func TestWriterLinesAtOnce(t *testing.T) {
	m := secret.New([]string{"one\ntwo\nthree"})
	var b bytes.Buffer
	w := m.Writer(&b)
	steps := []struct{ in, want string }{
		{"plain\n", "plain\n"},
		{"half", ""},
		{" line\n", "half line\n"},
		{"one\n", ""}, // may be the beginning of the secret
		{"other\n", "one\nother\n"},
		{"one\ntwo\n", ""},
		{"three\n", "********\n"},
	}
	for _, step := range steps {
		b.Reset()
		fmt.Fprint(w, step.in)
		if b.String() != step.want {
			t.Errorf("after %q: %q, want %q", step.in, b.String(), step.want)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("write after close: no error")
	}
}

func BenchmarkString(b *testing.B) {
	var list []string
	for i := range 300 {
		list = append(list, fmt.Sprintf("Secret%018dQ", i*7919))
	}
	m := secret.New(list)
	text := strings.Repeat("127.0.0.1 - - [10/Oct/2026:13:55:36] \"GET /index.html HTTP/1.0\" 200 2326\n", 14000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		m.String(text)
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		secret.New([]string{"Secret0123456789abcdefgh"}).String("x")
	}
}

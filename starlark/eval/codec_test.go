package eval

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"instar/runtime/plan"
)

// anyText is text that need not be UTF-8.
var anyText = rapid.Custom(func(t *rapid.T) string { return string(rapid.SliceOf(rapid.Byte()).Draw(t, "text")) })

var anyPos = rapid.Custom(func(t *rapid.T) plan.Pos {
	return plan.Pos{
		File: rapid.SampledFrom([]string{"", "instance.star", "lib/x.star", "@std//text.star"}).Draw(t, "file"),
		Line: rapid.Int32Range(0, 1<<31-1).Draw(t, "line"),
		Col:  rapid.Int32Range(0, 1<<31-1).Draw(t, "col"),
	}
})

var anyMeta = rapid.Custom(func(t *rapid.T) plan.Meta {
	return plan.Meta{
		Path: rapid.String().Draw(t, "path"),
		Mode: plan.Mode(rapid.Uint32().Draw(t, "mode")),
		UID:  rapid.IntRange(-1, 1<<32-1).Draw(t, "uid"),
		GID:  rapid.IntRange(-1, 1<<32-1).Draw(t, "gid"),
		Once: rapid.Bool().Draw(t, "once"),
		At:   anyPos.Draw(t, "at"),
	}
})

var anyResource = rapid.Custom(func(t *rapid.T) plan.Resource {
	m := anyMeta.Draw(t, "meta")
	switch rapid.IntRange(0, 4).Draw(t, "kind") {
	case 0:
		return &plan.Dir{Meta: m, Implicit: rapid.Bool().Draw(t, "implicit")}
	case 1:
		content := []byte(anyText.Draw(t, "content"))
		return &plan.File{Meta: m, Content: content, Source: rapid.String().Draw(t, "source")}
	case 2:
		return &plan.Link{Meta: m, To: rapid.String().Draw(t, "to")}
	case 3:
		return &plan.Copy{Meta: m, From: rapid.String().Draw(t, "from"), Source: rapid.String().Draw(t, "source")}
	}
	return &plan.Command{
		Name: rapid.String().Draw(t, "name"), Changed: rapid.Bool().Draw(t, "changed"), At: m.At,
		Exec:    plan.Exec{Argv: rapid.SliceOfN(rapid.String(), 1, 3).Draw(t, "argv"), Identity: plan.Identity{UID: m.UID, Groups: []int{1}}},
		Stdin:   rapid.SampledFrom([][]byte{nil, {}, []byte("x\xff\x00")}).Draw(t, "stdin"),
		Creates: rapid.SliceOfN(rapid.String(), 1, 3).Draw(t, "creates"), Timeout: time.Duration(rapid.Int64().Draw(t, "timeout")),
	}
})

// What is encoded is decoded as it was.
func TestCodec(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &plan.Plan{
			Resources: rapid.SliceOf(anyResource).Draw(t, "resources"),
			Secrets:   rapid.SliceOfN(anyText, 1, 3).Draw(t, "secrets"),
			Values: map[string]plan.Value{
				"password/a": {Kind: "password", Text: "x", Secret: true, New: true},
				"hex/b":      {Kind: "hex", Text: "y"},
			},
			Published: map[string]any{"n": json.Number("12345678901234567890"), "l": []any{json.Number("1.0"), nil, true, "x"}, "m": map[string]any{}},
			Services: []plan.Service{{Name: "s", Exec: plan.Exec{Argv: []string{"/x"}}, StopTimeout: time.Second, Limits: plan.Limits{CPU: 0.5},
				At: plan.Pos{File: "instance.star", Line: 1}, OwnUser: true}},
			Runs: []plan.Run{{Name: "r", Script: "etc/run/r"}},
			Timers: []plan.Timer{{Name: "t", Schedule: "0 0 * * *", Exec: plan.Exec{Argv: []string{"/x"}}, Script: "etc/cron/t", OwnUser: true},
				{Name: "u", Rotation: &plan.Rotation{Files: []string{"a/*"}, Keep: 3, Service: "s", Signal: "HUP", Then: []string{"/y"}}}},
			Promises: []plan.Promise{{Name: "p", Check: plan.Check{Kind: "tcp", Port: 1}, Period: time.Minute}},
			Requests: []plan.Request{{Name: "db", Profile: "../db", Params: map[string]any{"n": json.Number("1.50"), "l": []any{nil}}, Release: "/rel", State: "stopped"}},
			Pending:  &plan.Pending{Why: "later", At: plan.Pos{File: "instance.star", Line: 3}},
			Observed: []string{"a"},
			Prints:   []plan.Print{{Text: "hello"}},
			Params:   []plan.Param{{Name: "p", Type: "int", Default: json.Number("5")}},
			Inputs:   []plan.Input{{Path: "/x", What: "exists"}},
		}
		data, err := encoded(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decoded(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range want.Resources { // no content is the same as none
			if f, ok := r.(*plan.File); ok && f.Content == nil {
				f.Content = []byte{}
			}
		}
		if len(want.Resources) == 0 {
			want.Resources = nil
		}
		if diff := cmp.Diff(want, got, withoutDigests); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		// Cut or changed anywhere, it is refused or something else, and
		// never a panic.
		cut := rapid.IntRange(0, len(data)-1).Draw(t, "cut")
		if _, err := decoded(data[:cut]); err == nil {
			t.Fatalf("accepted when cut after %d of %d bytes", cut, len(data))
		}
		changed := append([]byte(nil), data...)
		changed[cut] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		_, _ = decoded(changed)
	})
}

func TestCodecRefusesHugeCounts(t *testing.T) {
	for _, data := range []string{"", "\x00", "\x01\x06{}", "\x02", "\x02\x00", "\x02\x06\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x02\x05\xff\xff\xff\xff\x0f",
		"\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x06{}", "\x02\x07", "\x02\x09\x07{}"} {
		if p, err := decoded([]byte(data)); err == nil {
			t.Errorf("%q: accepted as %+v", data, p)
		}
	}
}

// encoded is all parts of a plan as one.
func encoded(p *plan.Plan) ([]byte, error) {
	var data []byte
	err := encode(p, func(part []byte) error {
		data = append(data, part...)
		return nil
	})
	return data, err
}

func decoded(parts ...[]byte) (*plan.Plan, error) {
	var d decoder
	for _, part := range parts {
		if err := d.part(part); err != nil {
			return nil, err
		}
	}
	return d.finish()
}

// A large plan crosses in many parts, and arrives whole.
func TestCodecParts(t *testing.T) {
	want := bigPlan()
	var parts [][]byte
	err := encode(want, func(part []byte) error {
		parts = append(parts, bytes.Clone(part))
		return nil
	})
	if err != nil || len(parts) < 5 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	got, err := decoded(parts...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, withoutDigests); diff != "" {
		t.Fatal(diff)
	}
	if _, err := decoded(parts[:len(parts)-1]...); err == nil {
		t.Error("accepted without its end")
	}
	if _, err := decoded(append(parts, parts[1])...); err == nil {
		t.Error("accepted with more behind its end")
	}
}

func bigPlan() *plan.Plan {
	p := &plan.Plan{}
	content := []byte(strings.Repeat("x", 400))
	for i := range 10_000 {
		m := plan.Meta{Path: fmt.Sprintf("srv/unit-%d", i), Mode: 0o750, UID: -1, GID: -1, At: plan.Pos{File: "instance.star", Line: 12, Col: 5}}
		p.Resources = append(p.Resources, &plan.Dir{Meta: m}, &plan.File{Meta: m, Content: content, Source: "template x.tmpl"}, &plan.File{Meta: m, Content: content[:126]})
	}
	return p
}

func BenchmarkEncode(b *testing.B) {
	p := bigPlan()
	for b.Loop() {
		if _, err := encoded(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	data, err := encoded(bigPlan())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := decoded(data); err != nil {
			b.Fatal(err)
		}
	}
}

// withoutDigests leaves out of a comparison what a plan gets on its way.
var withoutDigests = cmpopts.IgnoreFields(plan.Plan{}, "Digests")

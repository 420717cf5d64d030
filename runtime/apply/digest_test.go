package apply

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"instar/runtime/fsys"
	"instar/runtime/plan"
)

const root = "/srv/web"

func at(name string) plan.Meta { return plan.Meta{Path: name, Mode: 0o640, UID: -1, GID: -1} }

func text(name, content string) *plan.File {
	return &plan.File{Meta: at(name), Content: []byte(content)}
}

// digester returns one for a plan of these resources; made are the hashes of
// what commands made.
func digester(t *testing.T, made map[string]string, resources ...plan.Resource) *Digester {
	t.Helper()
	v := NewView(root, fsys.NewOverlay(nil).NoFollow())
	c, err := Compare(&plan.Plan{Resources: resources}, nil, v)
	if err != nil {
		t.Fatal(err)
	}
	return NewDigester(root, c, made)
}

func inputs(t *testing.T, d *Digester, texts, uses []string, except map[string]bool) []string {
	t.Helper()
	in, err := d.Inputs(texts, uses, except)
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{}, plan.SortedKeys(in)...)
}

func TestMentions(t *testing.T) {
	once := text("data/once", "x")
	once.Once = true
	d := digester(t, map[string]string{"made": "h"},
		&plan.Dir{Meta: at("etc")}, text("etc/a", "1"), text("etc/a.conf", "2"), text("etc/with space", "3"), once)
	for text, want := range map[string][]string{
		root + "/etc/a":                            {"etc/a"},
		"--config=" + root + "/etc/a":              {"etc/a"},
		root + "/etc/a:" + root + "/etc/a.conf":    {"etc/a", "etc/a.conf"},
		"'" + root + "/etc/a.conf';":               {"etc/a.conf"},
		"include " + root + "/etc/a.conf\nnext":    {"etc/a.conf"},
		root + "/etc/with space":                   {"etc/with space"},
		"x " + root + "/made y":                    {"made"},
		root + "/etc/a.confused":                   {},
		root + "/etc/ab":                           {},
		root + "/etc/a/b":                          {},
		"/mnt" + root + "/etc/a":                   {},
		root + "/etc":                              {},
		root + "/data/once":                        {},
		root + "x/etc/a":                           {},
		"etc/a":                                    {},
		root + "/etc/a\u00e9":                      {},
		"\u00e9" + root + "/etc/a":                 {},
		root + "/etc/a" + root + "/etc/a.conf":     {},
		root + "/etc/a\x00" + root + "/etc/a.conf": {"etc/a", "etc/a.conf"},
	} {
		if diff := cmp.Diff(want, inputs(t, d, []string{text}, nil, nil)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestMentionsAreFollowed(t *testing.T) {
	d := digester(t, nil,
		text("a", "see "+root+"/b"), text("b", "and "+root+"/l, "+root+"/a"),
		&plan.Link{Meta: at("l"), To: "sub/c"}, &plan.Link{Meta: at("abs"), To: root + "/sub/c"},
		&plan.Link{Meta: at("out"), To: "/usr/bin/x"},
		text("sub/c", "end"), text("other", "not mentioned"))
	for from, want := range map[string][]string{
		"a":   {"a", "b", "l", "sub/c"},
		"abs": {"abs", "sub/c"},
		"out": {"out"},
	} {
		if diff := cmp.Diff(want, inputs(t, d, []string{root + "/" + from}, nil, nil)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", from, diff)
		}
	}
	// What only an excepted file leads to is not reached.
	if diff := cmp.Diff([]string{"a"}, inputs(t, d, []string{root + "/a"}, nil, map[string]bool{"b": true})); diff != "" {
		t.Errorf("except (-want +got):\n%s", diff)
	}
}

func TestUses(t *testing.T) {
	d := digester(t, map[string]string{"conf/made": "h"},
		&plan.Dir{Meta: at("conf")}, text("conf/x", "1"), text("conf/deep/y", "2"), text("confx", "3"))
	if diff := cmp.Diff([]string{"conf/deep/y", "conf/made", "conf/x"}, inputs(t, d, nil, []string{"conf"}, nil)); diff != "" {
		t.Errorf("a folder (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"confx"}, inputs(t, d, nil, []string{root + "/confx"}, nil)); diff != "" {
		t.Errorf("an absolute path below the root (-want +got):\n%s", diff)
	}
	release := t.TempDir()
	in, err := d.Inputs(nil, []string{release}, nil)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, release+"/sub/lib.so", "1")
	grown, err := d.Inputs(nil, []string{release}, nil)
	if err != nil || grown[release] == in[release] {
		t.Errorf("a new file in the release changes nothing: %v, %v", grown, err)
	}
	writeFile(t, release+"/sub/lib.so", "2")
	edited, err := d.Inputs(nil, []string{release}, nil)
	if err != nil || edited[release] == grown[release] {
		t.Errorf("an edited file in the release changes nothing: %v, %v", edited, err)
	}
	missing, err := d.Inputs(nil, []string{release + "/none"}, nil)
	if err != nil || missing[release+"/none"] == "" {
		t.Errorf("a missing file of the release: %v, %v", missing, err)
	}
}

func TestDigestDependsOnAll(t *testing.T) {
	base := Digest([]byte("def"), map[string]string{"a": "1", "b": "2"})
	for what, other := range map[string]string{
		"definition": Digest([]byte("dex"), map[string]string{"a": "1", "b": "2"}),
		"hash":       Digest([]byte("def"), map[string]string{"a": "1", "b": "3"}),
		"path":       Digest([]byte("def"), map[string]string{"a": "1", "c": "2"}),
		"fewer":      Digest([]byte("def"), map[string]string{"a": "1"}),
	} {
		if other == base {
			t.Errorf("%s makes no difference", what)
		}
	}
	if Digest([]byte("def"), map[string]string{"b": "2", "a": "1"}) != base {
		t.Error("the order of inputs makes a difference")
	}
}

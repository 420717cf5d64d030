package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/spf13/afero"
	"github.com/spf13/pflag"

	"instar/runtime/drift"
	"instar/runtime/fsys"
	"instar/runtime/generation"
	"instar/runtime/report"
	"instar/runtime/service"
	"instar/runtime/state"
)

const verifyDoc = `Reads all that the instance owns, contents too, and asks what runs its services:
whatever is not as the last apply left it is one line. SINCE is when it was last
changed; of what is missing, when the folder was. What was made once, and what
commands make, must be there and is not compared.

It takes no lock and changes nothing; instar apply puts right what it finds. The
exit code is 0 when there is no drift and 2 when there is: as with plan
--detailed-exitcode, an apply would have something to do. 1 and 77 say that it
could not be found out.`

func verifyFlags(o *options, f *pflag.FlagSet) {
	f.BoolVar(&o.all, "all", false, "verify all instances")
}

// verified is what verify finds of one instance.
type verified struct {
	FormatVersion int           `json:"format_version,omitempty"`
	Instance      string        `json:"instance"`
	Generation    int           `json:"generation"`
	Paths         int           `json:"paths"` // that were looked at
	Drift         []drift.Row   `json:"drift"`
	Error         *report.Error `json:"error,omitempty"`
	Seconds       float64       `json:"seconds"`

	err error
}

// verify compares instances with what was applied.
func (a *app) verify(ctx context.Context, args []string) error {
	if a.opts.all == (len(args) > 0) {
		return usagef("usage: instar verify NAME, or instar verify --all", "verify takes the name of an instance, or --all")
	}
	if len(args) > 0 {
		t, _, err := a.existing(args[0])
		if err != nil {
			return err
		}
		v := a.verifyOne(ctx, t)
		if v.err != nil && v.Drift == nil {
			return v.err
		}
		if a.ui.json {
			v.FormatVersion = report.FormatVersion
			a.ui.document(v)
		} else {
			a.ui.drift([]*verified{v}, false)
		}
		return outcomeOf([]*verified{v})
	}
	if err := a.openHome(); err != nil {
		return err
	}
	names, err := a.home.Names()
	if err != nil {
		return err
	}
	all := []*verified{}
	for _, name := range names {
		all = append(all, a.verifyOne(ctx, target{name: name, folder: a.home.Instance(name)}))
	}
	if a.ui.json {
		a.ui.document(struct {
			FormatVersion int         `json:"format_version"`
			Instances     []*verified `json:"instances"`
		}{report.FormatVersion, all})
	} else {
		a.ui.drift(all, true)
	}
	return outcomeOf(all)
}

// errUnreadable says that something could not be looked at.
var errUnreadable = &permissionError{"not everything could be read", "run instar as a user who may"}

// outcomeOf is the exit code for what was found: what could not be found out
// comes first.
func outcomeOf(all []*verified) error {
	var code error
	for _, v := range all {
		switch {
		case v.err != nil:
			return reported{v.err}
		case len(v.Drift) > 0:
			code = exitWith(exitUnkept)
		}
	}
	return code
}

// verifyTries is how often an instance is looked at that is changed meanwhile.
const verifyTries = 3

// verifyOne looks at one instance. An apply may be at work: then it looks again.
func (a *app) verifyOne(ctx context.Context, t target) *verified {
	start := time.Now()
	v := &verified{Instance: t.name}
	for try := 1; ; try++ {
		st, err := t.folder.Load()
		if err != nil {
			v.err = err
			break
		}
		a.ui.learn(st.Secrets)
		v.Generation, v.Paths = st.Generation, len(st.Owned)
		if v.Drift, v.err = a.driftOf(ctx, t, st); v.err != nil || len(v.Drift) == 0 || try == verifyTries {
			break
		}
		now, err := t.folder.Load()
		if err != nil || same(st, now) {
			break
		}
	}
	if v.err == nil && slices.ContainsFunc(v.Drift, func(r drift.Row) bool { return r.What == "unreadable" }) {
		v.err = errUnreadable
	}
	if v.err != nil {
		v.Error = a.ui.errorOf(v.err)
	}
	v.Seconds = time.Since(start).Seconds()
	return v
}

// same reports whether two states say the same.
func same(a, b *state.State) bool {
	one, err1 := state.Encode(a)
	two, err2 := state.Encode(b)
	return err1 == nil && err2 == nil && string(one) == string(two)
}

// driftOf compares one instance with its state; the rows are masked.
func (a *app) driftOf(ctx context.Context, t target, st *state.State) ([]drift.Row, error) {
	rows := []drift.Row{}
	if st.Settings.Root == "" {
		return rows, nil
	}
	disk, done, err := verifyRoot(st.Settings.Root)
	if err != nil {
		return nil, err
	}
	defer done()
	found, err := drift.Files(disk, st.Owned, pastContents(t.folder, st), len(st.Secrets) > 0)
	if err != nil {
		return nil, err
	}
	rows = append(rows, found...)
	if st.Requested != state.Destroyed {
		running, err := a.driftOfServices(ctx, t, st)
		if err != nil {
			return nil, err
		}
		rows = append(rows, running...)
	}
	for i := range rows {
		r := &rows[i]
		r.Path, r.Expected, r.Found = a.ui.mask.String(r.Path), a.ui.mask.String(r.Expected), a.ui.mask.String(r.Found)
	}
	return rows, nil
}

// verifyRoot opens a root for reading; one that is gone is empty.
func verifyRoot(dir string) (drift.Root, func(), error) {
	d := &disk{dir: dir}
	root, err := d.Peek()
	return reading{root}, d.Close, err
}

// maxVerified bounds what is read of one file, in bytes.
const maxVerified = 1 << 30

// reading is a root that is only read.
type reading struct{ disk afero.Fs }

func (r reading) Lstat(name string) (fs.FileInfo, error) { return fsys.Lstat(r.disk, name) }

func (r reading) LstatEach(names []string, do func(int, fsys.Sig, error) error) error {
	return fsys.LstatEach(r.disk, names, do)
}

func (r reading) ReadFile(name string) ([]byte, error) {
	return fsys.ReadRegular(r.disk, name, maxVerified)
}

func (r reading) Readlink(name string) (string, error) { return fsys.Readlink(r.disk, name) }

// pastContents knows the contents that the current generation has.
func pastContents(folder state.Folder, st *state.State) drift.Expect {
	var g *generation.Generation
	tried := false
	return func(hash string) ([]byte, bool) {
		if !tried {
			tried = true
			read, err := generation.In(folder).Read(st, st.Generation)
			if err == nil && read.Verify() == nil {
				g = read
			}
		}
		if g == nil {
			return nil, false
		}
		data, err := g.Content(hash)
		return data, err == nil
	}
}

// driftOfServices compares what runs with what was applied, where anything
// supervises the instance's services.
func (a *app) driftOfServices(ctx context.Context, t target, st *state.State) ([]drift.Row, error) {
	in := &instance{home: a.home, folder: t.folder, name: t.name, settings: st.Settings}
	manager, release, err := a.served(ctx, in)
	if err != nil {
		return nil, err
	}
	defer release()
	if manager == nil {
		if manager, err = in.managerOrNone(); err != nil {
			return nil, err
		}
	}
	if manager == nil {
		if len(st.Services) > 0 {
			a.ui.hint(fmt.Sprintf("nothing supervises the services of %q: they are not looked at", t.name))
		}
		return nil, nil
	}
	have, err := manager.Observe(ctx, t.name)
	if err != nil {
		return nil, err
	}
	var specs []service.Spec
	if c := t.folder.LoadCache(); c != nil && json.Unmarshal(c.Specs, &specs) != nil {
		specs = nil
	}
	return drift.Services(st, specs, have), nil
}

// drift prints what was found, and one line for each instance.
func (u *ui) drift(all []*verified, named bool) {
	t := table{header: []string{"PATH", "EXPECTED", "FOUND", "SINCE"}}
	if named {
		t.header = slices.Insert(t.header, 0, "INSTANCE")
	}
	for _, v := range all {
		for _, r := range v.Drift {
			what := r.Path
			if r.Name != "" {
				what = "service " + r.Name
			}
			since := "-"
			if r.Since != nil {
				since = r.Since.Local().Format(time.DateTime)
			}
			row := []cell{{text: what}, {text: r.Expected}, {r.Found, red}, {text: since}}
			if named {
				row = slices.Insert(row, 0, cell{text: v.Instance})
			}
			t.add(row...)
		}
	}
	if len(t.rows) > 0 {
		u.print(t.render(u.outColor))
	}
	for _, v := range all {
		if v.err != nil && !errors.Is(v.err, fs.ErrNotExist) {
			u.showError(fmt.Errorf("%s: %w", v.Instance, advised(v.err)))
		}
	}
	for _, v := range all {
		if v.err == nil || v.Drift != nil {
			u.say("%s: %s of %s in %.2fs", v.Instance, counted(len(v.Drift), "difference"), counted(v.Paths, "path"), v.Seconds)
		}
	}
}

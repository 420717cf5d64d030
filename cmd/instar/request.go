package main

import (
	"context"
	"path/filepath"
	"reflect"
	"time"

	"github.com/spf13/pflag"

	"instar/runtime/node"
	"instar/runtime/report"
	requests "instar/runtime/request"
	"instar/runtime/state"
)

const requestDoc = `Writes down that the instance is wanted, and stores a copy of its profile; the
node does the rest, now or when it runs. What the instance remembers is
repeated, as by apply. Nothing is evaluated here: instar node status, and instar
history, say what came of it.

The file is documented (docs/node.md): other tools may write it, too.`

func stateFlag(o *options, f *pflag.FlagSet) {
	f.StringVar(&o.wanted, "state", state.Started, "`STATE` that the instance shall have: started or stopped")
}

func retentionFlag(o *options, f *pflag.FlagSet) {
	f.StringVar(&o.retention, "retention", "", "have the node remove what was made once after a `TIME` such as 7d or 36h")
}

// checkRetention refuses a --retention that cannot be meant.
func (a *app) checkRetention() error {
	if _, err := requests.ParseRetention(a.opts.retention); err != nil {
		return usagef("write 7d or 36h", "--%w", err)
	}
	return nil
}

// needsNode is the error of a retention, and of a purge before it has passed,
// where no node runs that could keep it.
func (a *app) needsNode(name string) error {
	if a.opts.retention != "" && unreachable(a.home) == 0 {
		return hinted("instar node install; or leave --retention out, and remove it with --purge when the time has come",
			"--retention needs a node, and none serves %q", name)
	}
	if until := node.Retained(a.home, name); a.opts.purge && time.Now().Before(until) {
		return &node.RetentionError{Instance: name, Until: until}
	}
	return nil
}

// ask requests an instance of the node.
func (a *app) ask(ctx context.Context, args []string) error {
	if err := checkManager(a.opts.manager); err != nil {
		return err
	}
	if s := a.opts.wanted; s != state.Started && s != state.Stopped {
		return usagef("it is started or stopped; instar destroy ends an instance", "--state %q", s)
	}
	if err := a.openHome(); err != nil {
		return err
	}
	t, err := a.target(args[0])
	if err != nil {
		return err
	}
	st, err := t.folder.Brief()
	if err != nil {
		return err
	}
	if st, err = a.wanted(t, st); err != nil {
		return err
	}
	if err := a.notRequested(st, "request"); err != nil {
		return err
	}
	s, err := a.settings(t, st)
	if err != nil {
		return err
	}
	w, err := identify(s.User, s.Root, true)
	if err != nil {
		return err
	}
	if err := w.still(st, s.Root); err != nil {
		return err
	}
	if err := t.folder.Make(); err != nil {
		return err
	}
	if _, err := requests.Store(t.folder, s.Profile, string(a.home), s.Root); err != nil {
		return err
	}
	if err := requests.Ask(a.home, requests.Of(t.name, s, a.opts.wanted)); err != nil {
		return err
	}
	return a.asked(ctx, t.name)
}

// wanted returns the state with the settings that are requested and not applied
// yet, where there are such.
func (a *app) wanted(t target, st *state.State) (*state.State, error) {
	r := node.Pending(a.home, t.name)
	if r == nil || r.State == state.Destroyed {
		return st, nil
	}
	next := *st
	var err error
	next.Settings, err = a.requestSettings(r)
	return &next, err
}

// asked says what happens to a request.
func (a *app) asked(ctx context.Context, name string) error {
	client, err := a.nodeClient(ctx)
	if err != nil {
		return err
	}
	switch {
	case client != nil:
		client.Close()
	case unreachable(a.home) == 0:
		a.ui.hint("no node runs: the request is fulfilled when one does; instar node install")
	}
	if a.ui.json {
		a.ui.document(struct {
			FormatVersion int    `json:"format_version"`
			Instance      string `json:"instance"`
			State         string `json:"state"`
			Request       string `json:"request"`
		}{report.FormatVersion, name, a.opts.wanted, requests.Path(a.home, name)})
		return nil
	}
	a.ui.say("%s: requested, %s", name, a.opts.wanted)
	return nil
}

// requestSettings are the settings that a request means: what it leaves out is
// remembered, or the default.
func (a *app) requestSettings(r *requests.Request) (state.Settings, error) {
	s := r.Settings()
	st, err := a.home.Instance(r.Instance).Brief()
	if err != nil {
		return s, err
	}
	if s.Release == "" {
		s.Release = defaultRelease
	}
	if s.Root == "" {
		s.Root = st.Settings.Root
	}
	if s.Root == "" {
		dir, err := defaultFolder("/srv/instar", "XDG_DATA_HOME", ".local/share")
		if err != nil {
			return s, err
		}
		s.Root = filepath.Join(dir, r.Instance)
	}
	if err := checkManager(s.Manager); err != nil {
		return s, err
	}
	t := target{r.Instance, s.Profile, a.home.Instance(r.Instance)}
	if old := st.Settings.Root; old != "" && old != s.Root {
		if full, err := t.folder.Load(); err != nil || len(full.Owned) > 0 {
			return s, hinted("instar destroy "+r.Instance+" --purge gives it up, with its data",
				"instance %q has its root at %s: it cannot move to %s", r.Instance, old, s.Root)
		}
	}
	return s, a.checkRoot(t, s.Root)
}

// rerequest has the request of an instance say what was applied here, where
// there is one, or a node runs: none could be asked to do it.
func (in *instance) rerequest() error {
	if !exists(requests.Path(in.home, in.name)) && unreachable(in.home) == 0 {
		return nil
	}
	st, err := in.folder.Load()
	if err != nil || st.Requested == state.Destroyed || !reflect.DeepEqual(st.Settings, in.settings) {
		return err // it was not applied
	}
	if err := in.storeCopy(st.Settings); err != nil {
		return err
	}
	_, err = requests.Write(in.home, requests.Of(in.name, st.Settings, st.Requested))
	return err
}

// storeCopy stores a copy of the profile, if there is none of it as it is now.
// That of an instance which another one requests was stored for it.
func (in *instance) storeCopy(s state.Settings) error {
	if s.Requester != nil || in.past != nil {
		return nil
	}
	skip := []string{string(in.home), s.Root}
	c, err := requests.Current(in.folder)
	seen, _ := requests.See(s.Profile, skip...) // that shows at once
	if err == nil && c.Source == s.Profile && c.Seen == seen {
		return nil
	}
	_, err = requests.Store(in.folder, s.Profile, skip...)
	return err
}

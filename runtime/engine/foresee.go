package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"instar/runtime/apply"
	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/planfile"
	"instar/runtime/report"
	"instar/runtime/secret"
	"instar/runtime/service"
	"instar/runtime/state"
)

// Foresight is what a processing on paper found and did, in the form in which a
// plan is saved.
type Foresight struct {
	planfile.Forecast
	// Random is set when values were chosen that another evaluation chooses
	// otherwise.
	Random bool
	// Secret is set when there are secrets.
	Secret bool

	params map[string]plan.Param
	mask   *secret.Masker // puts placeholders in the place of secrets and of chosen values
	named  map[string]bool
	others int // secrets without a name of their own

	began   bool
	view    *apply.View               // of the last round
	texts   []string                  // that are secret
	secrets *secret.Masker            // knows secrets alone
	owned   map[string]state.Owned    // at the beginning
	found   map[string]planfile.Found // by path, as it is
	first   []plan.Edit               // of the first comparison
}

// Foresee converges e, which must be on paper, and returns what it foresees too,
// as far as it came.
func (e *Engine) Foresee(ctx context.Context) (*Foresight, *report.Report, error) {
	e.foresight = &Foresight{
		Forecast: planfile.Forecast{Instance: e.Name, User: fmt.Sprintf("%s %d:%d", e.Identity.User, e.Identity.UID, e.Identity.GID),
			Edits: []planfile.Edit{}, Paths: map[string]planfile.Found{}, Inputs: map[string]string{}, Remembered: map[string]string{}},
		params: map[string]plan.Param{}, mask: secret.New(nil), secrets: secret.New(nil), named: map[string]bool{}, found: map[string]planfile.Found{},
	}
	e.Cache = nil // all of it is looked at
	r, err := e.Converge(ctx)
	return e.foresight, r, err
}

// Hides reports whether the value of a parameter holds a secret.
func (f *Foresight) Hides(name string, g state.Given) bool {
	if f.params[name].Secret {
		return true
	}
	return f.Conceals(givenText(g))
}

// Conceals reports whether a text holds a secret.
func (f *Foresight) Conceals(text string) bool { return f.secrets.String(text) != text }

func givenText(g state.Given) string {
	if g.Text != nil {
		return *g.Text
	}
	data, err := json.Marshal(g.Value)
	if err != nil {
		return fmt.Sprint(g.Value)
	}
	return string(data)
}

// evaluated takes what an evaluation tells.
func (f *Foresight) evaluated(r *run, st *state.State, p *plan.Plan) {
	if f == nil {
		return
	}
	for _, name := range plan.SortedKeys(p.Values) {
		v := p.Values[name]
		switch {
		case v.New && v.Kind == "port":
			f.name(v.Text, "("+name+", chosen at apply)", true)
		case v.New:
			f.Random = true
			f.name(v.Text, "("+name+", chosen at apply)", len(v.Text) < wordsBelow)
		case v.Secret:
			f.name(v.Text, "("+name+")", false)
		}
	}
	for _, name := range plan.SortedKeys(st.Values) {
		if v := st.Values[name]; v.Secret {
			f.name(v.Text, "("+name+")", false)
		}
	}
	for _, text := range append(append(append([]string{}, p.Secrets...), r.Settings.Secrets...), st.Secrets...) {
		if !f.named[text] {
			f.others++
			f.name(text, fmt.Sprintf("(secret %d)", f.others), false)
		}
	}
	for _, param := range p.Params {
		f.params[param.Name] = param
	}
	f.view = r.view
	f.texts = append(append(append(f.texts, st.Secrets...), p.Secrets...), r.Settings.Secrets...)
	f.secrets.Add(f.texts...)
	f.Secret = len(f.texts) > 0
	f.inputs(r, p)
	if f.began {
		return
	}
	f.began = true
	f.owned = st.Owned
	f.Requested, f.Generation = st.Requested, st.Generation
	f.Release = r.Settings.Release
	if real, err := filepath.EvalSymlinks(r.Settings.Release); err == nil {
		f.Release = real
	}
	f.remembered(st.Settings)
	if f.look(r.view, ".").Kind == planfile.Nothing {
		f.touch(r.view, ".") // it is created
	}
}

// wordsBelow is the length of chosen values that are so short that their
// characters occur elsewhere too.
const wordsBelow = 6

func (f *Foresight) name(text, placeholder string, word bool) {
	if f.named[text] {
		return
	}
	f.named[text] = true
	if word {
		f.mask.ReplaceWord(text, placeholder)
	} else {
		f.mask.Replace(text, placeholder)
	}
}

// remembered notes the settings before the plan.
func (f *Foresight) remembered(s state.Settings) {
	for name, text := range map[string]string{
		"profile": s.Profile, "root": s.Root, "release": s.Release, "user": s.User, "manager": s.Manager,
	} {
		if text != "" {
			f.Remembered[name] = f.mask.String(text)
		}
	}
	if s.Wait != 0 {
		f.Remembered["wait"] = s.Wait.String()
	}
	for name, g := range s.Params {
		text := "(secret)"
		if !f.params[name].Secret {
			text = f.mask.String(givenText(g))
		}
		f.Remembered["param "+name] = text
	}
}

// inputs notes what evaluation saw outside the root. What others say of users,
// and lists of names, show in what comes of them.
func (f *Foresight) inputs(r *run, p *plan.Plan) {
	for _, in := range p.Inputs {
		name := f.mask.String(r.inProfile(in.Path))
		switch {
		case in.What == "exists" && f.Inputs[name] == "":
			f.Inputs[name] = in.Answer
			if in.Answer == "" {
				f.Inputs[name] = planfile.Nothing
			}
		case in.What == "content" && in.Answer != "":
			data, err := os.ReadFile(in.Path)
			if err != nil || apply.Hash(data) != in.Answer {
				f.Inputs[name] = "changes while it is looked at"
				continue
			}
			f.Inputs[name] = f.digest(string(data))
		}
	}
}

// inProfile returns "//x" for x in the profile's folder, wherever that is.
func (r *run) inProfile(name string) string {
	if rest, ok := strings.CutPrefix(name, r.Source+string(filepath.Separator)); ok && r.Source != "" {
		return "//" + filepath.ToSlash(rest)
	}
	return name
}

// digest is that of texts with placeholders.
func (f *Foresight) digest(texts ...string) string {
	hash := sha256.New()
	for _, text := range texts {
		text = f.mask.String(text)
		fmt.Fprintf(hash, "%d\x00%s", len(text), text)
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil))
}

// compared takes the first comparison.
func (f *Foresight) compared(cmp *apply.Comparison) {
	if f != nil && f.first == nil {
		f.first = editsOf(cmp)
	}
}

func editsOf(cmp *apply.Comparison) []plan.Edit {
	edits := []plan.Edit{}
	for _, step := range cmp.Steps {
		edits = append(edits, step.Edits...)
	}
	return edits
}

// touch notes what stands at a path before it is touched for the first time.
func (f *Foresight) touch(view *apply.View, name string) {
	if _, known := f.found[name]; known {
		return
	}
	found := f.look(view, name)
	f.found[name], f.Paths[f.mask.String(name)] = found, found
}

// look says what stands at a path.
func (f *Foresight) look(view *apply.View, name string) planfile.Found {
	info, err := view.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR),
		errors.Is(err, fsys.ErrRefused): // where a link leads is nothing of the instance
		return planfile.Found{Kind: planfile.Nothing}
	case err != nil:
		return planfile.Found{Kind: f.mask.String(err.Error())}
	}
	found := planfile.Found{Kind: string(info.Kind), Mode: octal(info.Mode), Owner: owner(info.UID, info.GID)}
	switch info.Kind {
	case plan.KindSpecial:
		found.Kind = info.Special
	case plan.KindLink:
		found.Mode = "" // a link has none
		text, err := view.Readlink(name)
		if found.To = f.mask.String(text); err != nil {
			found.Kind = f.mask.String(err.Error())
		}
	case plan.KindFile:
		found.Content = f.content(view, name, info.Mode)
	}
	return found
}

// content describes a file's content. What was computed from a secret has no
// placeholder, and what instar has not put there may hold secrets that it does not
// know: of these there is no digest.
func (f *Foresight) content(view *apply.View, name string, mode plan.Mode) string {
	if rec, ours := f.owned[name]; ours && rec.Hash != "" && rec.By == "" && (!f.Secret || mode&0o004 != 0) {
		if data, err := view.ReadFile(name); err == nil && apply.Hash(data) == rec.Hash {
			return f.digest(string(data))
		}
	}
	fi, err := fsys.Lstat(view.Disk(), name)
	if err != nil {
		return f.mask.String(err.Error())
	}
	sig, _ := fsys.Stat(fi)
	return fmt.Sprintf("%d bytes, written %s, touched %s, inode %d", sig.Size, stamp(sig.Mtime), stamp(sig.Ctime), sig.Ino)
}

func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

func octal(m plan.Mode) string { return fmt.Sprintf("%04o", uint32(m)) }

func owner(uid, gid int) string {
	if uid < 0 && gid < 0 {
		return ""
	}
	return fmt.Sprintf("%d:%d", uid, gid)
}

// edit takes an edit that is about to be performed.
func (f *Foresight) edit(w *work, e plan.Edit) {
	if f == nil {
		return
	}
	f.touch(w.view, e.Path)
	one := planfile.Edit{Op: e.Op, Path: f.mask.String(e.Path), Why: f.mask.String(e.Why), At: e.At.String()}
	switch e.Op {
	case plan.OpRemove:
	case plan.OpLink:
		one.To, one.Owner = f.mask.String(e.To), owner(e.UID, e.GID)
	case plan.OpChown:
		one.Owner = owner(e.UID, e.GID)
	case plan.OpChmod:
		one.Mode = octal(e.Mode)
	default:
		one.Mode, one.Owner = octal(e.Mode), owner(e.UID, e.GID)
	}
	switch e.Op {
	case plan.OpWrite:
		one.Content = f.digest(string(e.Data))
	case plan.OpCopy:
		one.From = f.mask.String(w.inProfile(e.From))
		one.Content = f.source(w, e.From)
	}
	f.Edits = append(f.Edits, one)
}

// source is the digest of what is copied. Of a file in the instance that instar
// did not make, it covers what [Foresight.content] says.
func (f *Foresight) source(w *work, from string) string {
	rel, err := filepath.Rel(w.Settings.Root, from)
	if err == nil && filepath.IsLocal(rel) && !w.writes[filepath.ToSlash(rel)] {
		info, err := w.view.Lstat(filepath.ToSlash(rel))
		if err != nil {
			return f.digest(err.Error()) // the copy will say it
		}
		return f.digest(f.content(w.view, filepath.ToSlash(rel), info.Mode))
	}
	data, err := w.view.ReadFile(from)
	if err != nil {
		return f.digest(err.Error()) // the copy will say it
	}
	return f.digest(string(data))
}

// command takes a command that is about to be run.
func (f *Foresight) command(w *work, cmd *plan.Command, why string) {
	if f == nil {
		return
	}
	for _, names := range [][]string{cmd.Creates, cmd.Wipe} {
		for _, name := range names {
			f.touch(w.view, name)
		}
	}
	texts := []string{fmt.Sprint(cmd.Changed, cmd.Timeout, cmd.Stdin == nil, cmd.Exec.Identity), string(cmd.Stdin)}
	texts = append(texts, execTexts(cmd.Exec)...)
	for _, names := range [][]string{cmd.Creates, cmd.Wipe, cmd.Uses} {
		texts = append(texts, strings.Join(names, "\x00"))
	}
	f.Edits = append(f.Edits, planfile.Edit{Op: plan.OpRun, Name: cmd.Name, Definition: f.digest(texts...),
		Why: f.mask.String(why), At: cmd.At.String()})
}

// request takes what is about to be asked of a child. What that does in turn is no
// part of the plan.
func (f *Foresight) request(r *run, c *Child, why string) {
	if f == nil {
		return
	}
	settings, err := json.Marshal(c.Settings)
	if err != nil {
		settings = []byte(err.Error()) // it was JSON, or is to be
	}
	f.Edits = append(f.Edits, planfile.Edit{Op: plan.OpRequest, Name: c.Instance, Why: f.mask.String(why), At: c.Request.At.String(),
		Definition: f.digest(c.Name, c.State, r.inProfile(c.From), string(settings), f.tree(c.From, r.Settings.Root))})
}

// maxTree bounds what is read of a child's profile, in bytes; of more only the
// sizes count.
const maxTree = 64 << 20

// tree is the digest of a profile, a folder or a file, but for what is no part of
// it.
func (f *Foresight) tree(dir, except string) string {
	texts, size := []string{}, int64(0)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || name == except):
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		size += info.Size()
		text := fmt.Sprint(info.Size())
		if size <= maxTree {
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			text = f.digest(string(data))
		}
		texts = append(texts, strings.TrimPrefix(name, dir), fmt.Sprint(info.Mode()&0o111), text)
		return nil
	})
	if err != nil {
		texts = append(texts, err.Error()) // the child will say it
	}
	return f.digest(texts...)
}

// release takes that a child is about to be given up.
func (f *Foresight) release(instance, why string, at plan.Pos) {
	if f == nil {
		return
	}
	f.Edits = append(f.Edits, planfile.Edit{Op: plan.OpRelease, Name: instance, Why: why, At: at.String()})
}

// services takes what is about to be done with services.
func (f *Foresight) services(remembered map[string]state.Service, have map[string]service.State, changes []service.Change) {
	if f == nil {
		return
	}
	for _, c := range changes {
		e := planfile.Edit{Op: plan.Op(c.Op), Name: c.Name, Why: f.mask.String(c.Why), At: c.At.String()}
		if c.Op != service.Stop && c.Op != service.Unload {
			e.Definition = f.definition(c.Spec)
		}
		if now, runs := have[c.Name]; runs {
			switch now.Digest {
			case "":
				e.StartedWith = "what is not known"
			case remembered[c.Name].Digest:
				e.StartedWith = "what was applied last"
			default:
				e.StartedWith = "something else"
			}
		}
		f.Edits = append(f.Edits, e)
	}
}

// definition is the digest of what a service is started with. Files that it
// depends on are covered by name: what changes in them is an edit of its own.
func (f *Foresight) definition(s service.Spec) string {
	texts := []string{fmt.Sprint(s.Run, s.Schedule, s.ThenService, s.ThenSignal, s.Restart, s.ReloadSig, s.StopSignal,
		s.StopTimeout, s.Limits, s.Umask, s.Identity), s.Dir}
	for _, list := range [][]string{s.Argv, s.Env, s.PrivateEnv, s.After, s.ReloadArgv, plan.SortedKeys(s.Inputs), plan.SortedKeys(s.ReloadInputs)} {
		texts = append(texts, fmt.Sprint(len(list)))
		texts = append(texts, list...)
	}
	return f.digest(texts...)
}

// ended takes how the last evaluation ended.
func (f *Foresight) ended(p *plan.Plan) {
	if f == nil {
		return
	}
	f.Complete, f.Pending = p.Complete(), ""
	if p.Pending != nil {
		f.Pending = f.mask.String(p.Pending.At.String() + ": " + p.Pending.Why)
	}
}

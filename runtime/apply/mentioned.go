package apply

import (
	"instar/runtime/plan"
	"instar/runtime/state"
)

// Mentioned returns the files and links of owned that those in from lead to, as
// they stand on the disk: what their contents mention, and so on. Those in from
// are among them as far as they are owned; what was made once, or was there
// before instar, never is, since nothing removes it. What cannot be read leads
// nowhere.
func Mentioned(root string, view plan.View, owned map[string]state.Owned, from []string) map[string]bool {
	d := &Digester{root: root, files: map[string]plan.PathResource{}}
	for name, rec := range owned {
		if rec.Kind != plan.KindDir && !rec.Once && !rec.Foreign {
			d.files[name] = nil
		}
	}
	found, seen := map[string]bool{}, map[string]bool{}
	for queue := from; len(queue) > 0; queue = queue[1:] {
		name := queue[0]
		if seen[name] {
			continue
		}
		seen[name] = true
		if d.known(name) {
			found[name] = true
		}
		queue = append(queue[:len(queue):len(queue)], d.leadsTo(view, name)...)
	}
	return found
}

// leadsTo returns what the file or link at name leads to.
func (d *Digester) leadsTo(view plan.View, name string) []string {
	info, ok, err := plan.Lookup(view, name)
	switch {
	case err != nil || !ok:
		return nil
	case info.Kind == plan.KindFile:
		if data, err := view.ReadFile(name); err == nil {
			return d.mentions(string(data))
		}
	case info.Kind == plan.KindLink:
		if to, err := view.Readlink(name); err == nil {
			return d.target(name, to)
		}
	}
	return nil
}

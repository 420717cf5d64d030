package native

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"instar/runtime/service/shim"
)

// A Daemon is a part of instar itself that such an init runs as it runs shims:
// the node. Its script has instar do what it is asked for, as that of a service
// does: `instar supervise --start SPEC`.
type Daemon struct {
	Name        string // of the script, of letters, digits and "-"
	Description string // of letters that no shell looks at
	Spec        string // absolute
}

// Installed is what became of a [Daemon].
type Installed struct {
	Path    string // of the script
	Before  bool   // it was there
	Changed bool   // and was another one
}

// InstallDaemon has the init of that platform, any but systemd, start d with the
// machine. It does not start it now: see [AskDaemon].
func InstallDaemon(ctx context.Context, platform string, o Options, d Daemon) (Installed, error) {
	m, sc, err := daemonScript(platform, o, d)
	if err != nil {
		return Installed{}, err
	}
	in := Installed{Path: m.init.store().path(sc.name)}
	old, err := m.ownDaemon(in.Path, d)
	if err != nil {
		return in, err
	}
	data := m.render(sc)
	in.Before, in.Changed = old != nil, !bytes.Equal(old, data)
	if err := m.init.store().write(map[string][]byte{in.Path: data}); err != nil {
		return in, err
	}
	level := map[string]int{sc.name: 0}
	if booted, err := m.init.booted(level); err != nil || booted[sc.name] {
		return in, err
	}
	return in, m.init.enable(ctx, level)
}

// UninstallDaemon undoes that, and stops d; absent is fine.
func UninstallDaemon(ctx context.Context, platform string, o Options, d Daemon) (Installed, error) {
	m, sc, err := daemonScript(platform, o, d)
	if err != nil {
		return Installed{}, err
	}
	in := Installed{Path: m.init.store().path(sc.name)}
	old, err := m.ownDaemon(in.Path, d)
	if err != nil || old == nil {
		return in, err
	}
	in.Before = true
	if err := m.init.disable(ctx, []string{sc.name}); err != nil {
		return in, err
	}
	if bytes.Equal(old, m.render(sc)) {
		if err := m.init.stop(ctx, sc.name, ""); err != nil {
			return in, err
		}
	}
	return in, m.init.store().remove(in.Path)
}

// AskDaemon has the script of d start it, after stopping what runs of it.
func AskDaemon(ctx context.Context, platform string, o Options, d Daemon) error {
	m, sc, err := daemonScript(platform, o, d)
	if err != nil {
		return err
	}
	return m.init.restart(ctx, sc.name, shim.Place(""))
}

func daemonScript(platform string, o Options, d Daemon) (*shimmed, initScript, error) {
	m, err := New(platform, o)
	if err != nil {
		return nil, initScript{}, err
	}
	s, ok := m.(*shimmed)
	if !ok {
		return nil, initScript{}, fmt.Errorf("%s runs no scripts", platform)
	}
	return s, initScript{name: d.Name, description: d.Description, binary: s.binary, spec: d.Spec}, nil
}

// ownDaemon returns the script of d as it stands there, nil when there is none,
// and a [*ForeignError] when it is somebody else's.
func (m *shimmed) ownDaemon(path string, d Daemon) ([]byte, error) {
	data, _, err := m.init.store().read(path)
	if err != nil || data == nil {
		return nil, err
	}
	begin := m.init.head() + mark
	if strings.HasPrefix(begin, string(data)) {
		return data, nil // cut short
	}
	if !strings.HasPrefix(string(data), begin) {
		return nil, &ForeignError{Path: path}
	}
	if spec, found := m.init.specOf(string(data)); found && spec != d.Spec {
		return nil, &ForeignError{Path: path, StateDir: filepath.Dir(spec)}
	}
	return data, nil
}

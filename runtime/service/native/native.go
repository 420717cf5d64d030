// Package native puts an instance's services under the service manager of the
// machine, so that they run whether instar does or not, and come back after a
// reboot.
//
// A backend is a [service.Manager]: [New] returns the one for a platform that
// [Detect] named. What it installs is rendered whole by instar, carries a mark
// with a hash of its own content, and stands under a name that no two services
// of any instances share. What lacks the mark belongs to somebody else and is
// never touched; what differs from its hash was changed by hand, and is put
// back.
//
// The invariant is level, not edge: every start leaves a record of the digests
// that were in force for it, made by the manager itself from the definition
// that it had loaded. So whoever is killed between writing a definition and
// restarting its service, the next one sees that they differ.
package native

import (
	"fmt"
	"path/filepath"

	"instar/runtime/service"
)

// Options configure a backend. StateDir is required.
type Options struct {
	// StateDir is the node's state folder, absolute. Records of what was
	// started and markers of exits are kept in it: nobody but its owner may be
	// able to write there.
	StateDir string
	// Binary is the instar that supervises services where the manager can't,
	// absolute. Backends that need no process of their own beside a service do
	// not look at it.
	Binary string
	// User asks for the manager of the calling user's own services instead of
	// the system's.
	User bool
}

// New returns the backend for a platform, as [Detect] names them.
func New(platform string, options Options) (service.Manager, error) {
	if !filepath.IsAbs(options.StateDir) {
		return nil, fmt.Errorf("cannot use %s: the state folder %q is not absolute", platform, options.StateDir)
	}
	switch platform {
	case "systemd":
		return newSystemd(options)
	case "none":
		return nil, fmt.Errorf("no service manager that instar knows runs this machine")
	case "sysv":
		return newShimmed(newSysv(), options)
	case "openrc":
		init, err := newOpenrc()
		if err != nil {
			return nil, err
		}
		return newShimmed(init, options)
	case "launchd":
		init, err := newLaunchd(options.User)
		if err != nil {
			return nil, err
		}
		return newShimmed(init, options)
	case "windows":
		return newWindows(options)
	default:
		return nil, fmt.Errorf("there is no service manager called %q", platform)
	}
}

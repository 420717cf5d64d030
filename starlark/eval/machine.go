package eval

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"instar/builtins"
	"instar/starlark/sandbox"
)

// machine is what a profile can ask of the machine that the child runs on.
type machine struct{ child *sandbox.Child }

var _ builtins.Host = machine{}

// Observe implements [builtins.Host].
func (m machine) Observe(path string) ([]byte, error) {
	reply, err := m.child.Call(frameObserve, []byte(path))
	if err != nil {
		return nil, err
	}
	return readAnswer(reply)
}

// Stat implements [builtins.Host].
func (machine) Stat(path string) (fs.FileInfo, error) { return os.Stat(path) }

// ReadDir implements [builtins.Host].
func (machine) ReadDir(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names, nil
}

// PortFree implements [builtins.Host].
func (machine) PortFree(host string, port int) (bool, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	switch {
	case err == nil:
		return true, l.Close()
	case errors.Is(err, syscall.EADDRINUSE), errors.Is(err, fs.ErrPermission):
		return false, nil
	}
	return false, err
}

// User implements [builtins.Host].
func (machine) User(name string) (builtins.User, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return builtins.User{}, err
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return builtins.User{}, fmt.Errorf("users have no numbers here: %w", err)
	}
	found := builtins.User{Name: u.Username, UID: uid, GID: gid}
	ids, err := u.GroupIds()
	if err != nil {
		return builtins.User{}, err
	}
	for _, id := range ids {
		if n, err := strconv.Atoi(id); err == nil && n != gid {
			found.Groups = append(found.Groups, n)
		}
	}
	return found, nil
}

// Group implements [builtins.Host].
func (machine) Group(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}

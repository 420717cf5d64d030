package control

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// maxSocket is the longest path of a unix socket that every system takes.
const maxSocket = 100

// short returns a way to name the socket that fits, and a function that gives
// up what it needed for that.
func short(name string) (string, func(), error) {
	if len(name) <= maxSocket {
		return name, func() {}, nil
	}
	via, done, err := throughFolder(filepath.Dir(name))
	if err != nil {
		return "", nil, fmt.Errorf("the path of the socket %s is too long for this system (%d bytes at most): choose a shorter --state-dir: %w", name, maxSocket, err)
	}
	return filepath.Join(via, filepath.Base(name)), done, nil
}

func listen(name string) (net.Listener, error) {
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	via, done, err := short(name)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: via, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot listen at %s: %w", name, err)
	}
	l.SetUnlinkOnClose(false) // the short name is gone by then
	if err := os.Chmod(name, 0o600); err != nil {
		_ = l.Close()
		return nil, err
	}
	return &socket{l, name}, nil
}

// socket is a listener that removes its file when it is closed.
type socket struct {
	*net.UnixListener
	name string
}

func (s *socket) Close() error {
	_ = os.Remove(s.name) // closing twice is fine
	return s.UnixListener.Close()
}

func dial(ctx context.Context, name string) (net.Conn, error) {
	// Systems without unix sockets cannot say that there is none.
	if _, err := os.Lstat(name); err != nil {
		return nil, err
	}
	via, done, err := short(name)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	return d.DialContext(ctx, "unix", via)
}

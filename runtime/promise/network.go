package promise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"syscall"

	"instar/runtime/plan"
)

func address(check plan.Check) string {
	return net.JoinHostPort(check.Host, strconv.Itoa(check.Port))
}

// tcp holds when a connection is accepted.
func (c *Checker) tcp(ctx context.Context, p plan.Promise) error {
	return dial(ctx, "tcp", address(p.Check), address(p.Check))
}

// socket holds when a connection to the unix socket is accepted.
func (c *Checker) socket(ctx context.Context, p plan.Promise) error {
	path := p.Check.Path
	info, err := os.Stat(path)
	if err != nil {
		return missing(path, err)
	}
	if !isSocket(info) {
		return fmt.Errorf("%s is a %s, not a socket", path, describe(info.Mode()))
	}
	short, release, err := shortPath(path)
	if err != nil {
		return err
	}
	defer release()
	return dial(ctx, "unix", short, path)
}

// dial connects and hangs up; shown is what messages call the address.
func dial(ctx context.Context, network, address, shown string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return unreachable(shown, err)
	}
	conn.Close() // nothing was said; an error means that the other side hung up first
	return nil
}

// unreachable says in words why there is no connection to address.
func unreachable(address string, err error) error {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case isRefused(err):
		return fmt.Errorf("connection refused at %s", address)
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Errorf("cannot find the host %q", dns.Name)
	case errors.As(err, &dns):
		return fmt.Errorf("cannot look up the host %q: %s", dns.Name, dns.Err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("permission denied at %s", address)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("no connection to %s: %w", address, err)
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return fmt.Errorf("cannot connect to %s: %s", address, errno.Error())
	}
	return fmt.Errorf("cannot connect to %s: %w", address, err)
}

// missing says in words why path can't be looked at.
func missing(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s does not exist", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: permission denied", path)
	}
	var wrapped *fs.PathError
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return fmt.Errorf("cannot look at %s: %w", path, err)
}

// describe names a kind of file.
func describe(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return "file"
	case mode.IsDir():
		return "folder"
	case mode&fs.ModeNamedPipe != 0:
		return "FIFO"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeSymlink != 0:
		return "symbolic link"
	}
	return "device"
}

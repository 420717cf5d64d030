package control

import (
	"errors"
	"fmt"

	"golang.org/x/sys/windows"
)

// Available says why there are no unix sockets here, with [ErrNoSockets], or nil:
// Windows has them since 10 (1803) and Server 2019.
func Available() error {
	s, err := windows.Socket(windows.AF_UNIX, windows.SOCK_STREAM, 0)
	if errors.Is(err, windows.WSAEAFNOSUPPORT) {
		return fmt.Errorf("%w: %w", ErrNoSockets, err)
	}
	if err == nil {
		_ = windows.Closesocket(s)
	}
	return nil // what else is wrong, listening says
}

//go:build !windows

package native

import (
	"errors"

	"instar/runtime/service"
)

func newWindows(Options) (service.Manager, error) {
	return nil, errors.New("cannot use windows: this is another system")
}

//go:build !windows

package shim

import (
	"context"
	"errors"
	"io"
)

// AsService is for Windows.
func AsService(_ func(context.Context) error, stderr io.Writer) int {
	return report(stderr, errors.New("only Windows has a service control manager"))
}

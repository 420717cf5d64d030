//go:build !windows

package shim

import (
	"errors"
	"io"
)

func asService(_ Place, stderr io.Writer) int {
	return report(stderr, errors.New("only Windows has a service control manager"))
}

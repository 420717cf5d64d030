//go:build unix && !linux

package process

import "errors"

func closeRange() error { return errors.ErrUnsupported }

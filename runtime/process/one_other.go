//go:build !linux && !darwin && !windows

package process

import (
	"errors"
	"syscall"
)

// Of is not known here.
func Of(int) (Tree, error) { return Tree{}, errors.ErrUnsupported }

// Alive is never sure here, where nothing tells a program from a later one of
// the same number.
func (t Tree) Alive() bool { return false }

// Signal can't find a program of another process here.
func (t Tree) Signal(syscall.Signal) error { return errors.ErrUnsupported }

// Left is not known here.
func (t Tree) Left() (bool, error) { return false, errors.ErrUnsupported }

// ThisBoot is not known here.
func (t Tree) ThisBoot() bool { return false }

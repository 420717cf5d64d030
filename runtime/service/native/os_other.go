//go:build !linux

package native

import (
	"os"
	"time"
)

// syncAll makes the files called paths durable.
func syncAll(_ string, paths []string) error {
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		err = f.Sync()
		if errClose := f.Close(); err == nil {
			err = errClose
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// clockMonotonic is of use on Linux only.
func clockMonotonic() time.Duration { return 0 }

//go:build !linux

package fsys

// openDisk opens the top folder. dir itself may be reached through links.
func openDisk(dir string) (disk, error) { return openRootDisk(dir) }

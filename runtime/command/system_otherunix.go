//go:build unix && !linux

package command

// keepDescriptors does nothing here.
func keepDescriptors() {}

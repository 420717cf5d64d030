package command

import "golang.org/x/sys/unix"

// keepDescriptors keeps what this process inherited, apart from the standard
// streams, from being inherited by the command: the deployer may have been
// started with descriptors that nobody meant for it.
func keepDescriptors() {
	_ = unix.CloseRange(3, 1<<31, unix.CLOSE_RANGE_CLOEXEC) // Linux before 5.11 can't
}

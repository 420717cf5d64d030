//go:build unix

package sandbox

import (
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// pageFD is the page's descriptor in the child: the first of ExtraFiles.
const pageFD = 3

// attach passes the page on to a child.
func (p *page) attach(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{p.file} }

// openBoard opens the page in the child. The memory is shared, so that it
// does not count against the limit.
func openBoard() (*board, error) {
	data, err := unix.Mmap(pageFD, 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return newBoard(memory(data)), unix.Close(pageFD)
}

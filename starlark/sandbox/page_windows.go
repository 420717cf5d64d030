package sandbox

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
)

// pageVariable names the page's file in the child's environment: handles
// can't be passed on.
const pageVariable = "INSTAR_POSITION"

// attach passes the page on to a child.
func (p *page) attach(cmd *exec.Cmd) {
	cmd.Env = append(cmd.Env, pageVariable+"="+p.path)
}

// openBoard opens the page in the child.
func openBoard() (*board, error) {
	path := os.Getenv(pageVariable)
	if path == "" {
		return nil, errors.New("no position page")
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return newBoard(&fileStore{file: file}), nil
}

// A fileStore is a store in a file. A write costs microseconds, so it leaves
// out those that change the column only.
type fileStore struct {
	file *os.File
	line uint64 // the last one, with its file
}

func (s *fileStore) setWord(word uint64) {
	if line := word >> colBits; line != s.line {
		s.line = line
		_, _ = s.file.WriteAt(binary.NativeEndian.AppendUint64(nil, word), 0) // a position less
	}
}

func (s *fileStore) setName(at int, name []byte) {
	_, _ = s.file.WriteAt(name, int64(at)) // a position less
}

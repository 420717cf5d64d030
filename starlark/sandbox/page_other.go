//go:build !linux

package sandbox

import (
	"os"
	"runtime"
)

func newPage() (*page, error) {
	file, err := os.CreateTemp("", "instar-position-")
	if err != nil {
		return nil, err
	}
	p := &page{file: file, path: file.Name()}
	if err := file.Truncate(pageSize); err != nil {
		p.close()
		return nil, err
	}
	if runtime.GOOS != "windows" && os.Remove(p.path) == nil {
		p.path = ""
	}
	return p, nil
}

package eval

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"instar/starlark/interp"
)

// maxShown bounds what is read of a file to show a line of it, in bytes.
const maxShown = 16 << 20

// addSource gives the error of an evaluation that was killed the line that it
// had reached: nobody was left to read it. A line that makes a secret of a text
// is not shown, since the text stands in it.
func addSource(dir string, err error) {
	var e *interp.Error
	if !errors.As(err, &e) || e.Source != "" || e.Pos.Line == 0 || strings.HasPrefix(e.Pos.File, "@") {
		return
	}
	text, readErr := readInside(dir, e.Pos.File)
	if readErr != nil {
		return // the position must do
	}
	if e.AddSource(text); bytes.Contains([]byte(e.Source), []byte("secret(")) {
		e.Source, e.Caret = "", 0
	}
}

// readInside reads a file of the profile's folder, and of nowhere else.
func readInside(dir, name string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxShown))
}

package native

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// record is what the scripts wrote down about a service's last start; see
// scripts.go.
type record struct {
	started      bool
	digest       string
	reloadDigest string
	ended        bool // by itself
	final        bool // and stays so, whatever its definition says now
	code, status string
}

// readRecord reads the record at path. One that is missing or makes no sense
// says nothing.
func readRecord(path string) (record, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return record{}, err
	}
	return parseRecord(string(data)), nil
}

func parseRecord(text string) record {
	var r record
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if !strings.HasSuffix(line, "\n") {
			break // cut short
		}
		switch {
		case len(words) == 4 && words[0] == "S":
			r = record{started: true, digest: fromDash(words[1]), reloadDigest: fromDash(words[2])}
		case len(words) == 2 && words[0] == "R":
			r.reloadDigest = fromDash(words[1])
		case len(words) == 4 && words[0] == "E":
			r.ended, r.code, r.status = true, words[1], words[2]
		case len(words) == 1 && words[0] == "X":
			r.final = true
		}
	}
	return r
}

func fromDash(text string) string {
	if text == "-" {
		return ""
	}
	return text
}

// note adds a line to a record that there is.
func note(path string, words ...any) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, words...)
	return errors.Join(err, f.Close())
}

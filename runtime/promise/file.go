package promise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"instar/runtime/plan"
)

// maxSearch is how much of a file is searched, in bytes.
const maxSearch = 64 << 20

// file holds when the file, or the newest one that a glob matches, is as
// asked for. Only regular files count.
func (c *Checker) file(ctx context.Context, p plan.Promise) error {
	check := p.Check
	path, err := newest(ctx, check.Path)
	if err != nil {
		return err
	}
	f, info, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if check.Empty != nil && *check.Empty != (info.Size() == 0) {
		if *check.Empty {
			return fmt.Errorf("%s is not empty: %s%s", path, size(info.Size()), c.firstLine(f))
		}
		return fmt.Errorf("%s is empty", path)
	}
	if age := c.now().Sub(info.ModTime()); check.MaxAge > 0 && age > check.MaxAge {
		return fmt.Errorf("%s was last written %s ago, want at most %s", path, duration(age), duration(check.MaxAge))
	}
	if check.Contains == nil {
		return nil
	}
	return search(ctx, f, path, *check.Contains)
}

// firstLine returns ", which begin with …", since what stands in a file that
// should be empty is mostly an error message. A long line is not shown: a
// secret might be cut.
func (c *Checker) firstLine(f *os.File) string {
	if foreign(f) {
		return ""
	}
	buf := make([]byte, 4096)
	n, _ := f.Read(buf) // what can't be read is not shown
	line, _, whole := strings.Cut(string(buf[:n]), "\n")
	if line = strings.TrimSpace(line); line == "" || !whole && n == len(buf) {
		return ""
	}
	return fmt.Sprintf(", which begin with %q", c.Masker.String(strings.ToValidUTF8(line, "\uFFFD")))
}

// foreign reports whether links led to f: whoever planted them may not be allowed
// to read it, and have root tell what stands in it.
func foreign(f *os.File) bool {
	real, err := filepath.EvalSymlinks(f.Name())
	return err != nil || real != filepath.Clean(f.Name())
}

// newest returns the path itself, or that of the newest regular file that it
// matches as a glob. A file that is really called like the glob comes first.
func newest(ctx context.Context, path string) (string, error) {
	if !strings.ContainsAny(path, "*?[") {
		return path, nil
	}
	if _, err := os.Lstat(path); err == nil {
		return path, nil
	}
	matches, err := filepath.Glob(path)
	if err != nil {
		return "", fmt.Errorf("bad pattern %q: %w", path, err)
	}
	best, found := time.Time{}, ""
	for _, m := range matches {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		info, err := os.Stat(m)
		if err == nil && info.Mode().IsRegular() && (found == "" || info.ModTime().After(best)) {
			best, found = info.ModTime(), m
		}
	}
	if found == "" {
		return "", fmt.Errorf("no file matches %s", path)
	}
	return found, nil
}

// search reads f piece by piece.
func search(ctx context.Context, f *os.File, path, text string) error {
	want := []byte(text)
	buf := make([]byte, 0, 256<<10+len(want))
	limited := io.LimitReader(f, maxSearch)
	for {
		n, err := limited.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case bytes.Contains(buf, want):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF):
			return notFound(f, path, text)
		case err != nil:
			return fmt.Errorf("cannot read %s: %w", path, err)
		}
		if keep := len(want); len(buf) > keep {
			buf = buf[:copy(buf, buf[len(buf)-keep:])]
		}
	}
}

func notFound(f *os.File, path, text string) error {
	where := ""
	if info, err := f.Stat(); err == nil && info.Size() > maxSearch {
		where = " in its first 64 MiB"
	}
	return fmt.Errorf("%s does not contain %q%s", path, text, where)
}

// openRegular opens a regular file. It waits for no FIFO and no device.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is a %s, not a file", path, describe(info.Mode()))
	}
	if err != nil {
		return nil, nil, missing(path, err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, nil, missing(path, err)
	}
	info, err = f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is a %s, not a file", path, describe(info.Mode()))
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// readFile reads a regular file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, _, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %s", path, size(limit))
	}
	return data, nil
}

// duration prints d for people: two units at most.
func duration(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	case d >= time.Second:
		return d.Round(time.Second).String()
	}
	return d.String()
}

// size prints a number of bytes for people.
func size(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d bytes", n)
	}
	f, unit := float64(n), -1
	for f >= 1024 && unit < 5 {
		f /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTPE"[unit])
}

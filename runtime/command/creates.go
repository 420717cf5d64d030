package command

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// created returns what stands at each of paths, as [Record.Creates] has it,
// and those where nothing stands. It leaves root by no link, and waits for no
// FIFO.
func created(root *os.Root, paths []string) (found map[string]string, missing []string, err error) {
	found = make(map[string]string, len(paths))
	for _, path := range paths {
		what, err := content(root, filepath.FromSlash(path))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, path)
		case err != nil:
			return nil, nil, fmt.Errorf("cannot read %s, which the command should create: %w", path, err)
		default:
			found[path] = what
		}
	}
	return found, missing, nil
}

func content(root *os.Root, path string) (string, error) {
	info, err := root.Lstat(path)
	if err != nil {
		return "", err
	}
	switch {
	case info.IsDir():
		return "folder", nil
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := root.Readlink(path)
		return "link:" + target, err
	case !info.Mode().IsRegular():
		return "special", nil
	}
	f, err := root.OpenFile(path, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	opened, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !os.SameFile(info, opened) {
		return "", errors.New("it changes while it is read")
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}

// clean reports for each of paths whether it is missing or empty.
func clean(root *os.Root, paths []string) (map[string]bool, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	found := make(map[string]bool, len(paths))
	for _, path := range paths {
		empty, err := isEmpty(root, filepath.FromSlash(path))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot look at %s: %w", path, err)
		}
		found[path] = err != nil || empty
	}
	return found, nil
}

func isEmpty(root *os.Root, path string) (bool, error) {
	info, err := root.Lstat(path)
	if err != nil {
		return false, err
	}
	if !info.IsDir() {
		return info.Mode().IsRegular() && info.Size() == 0, nil
	}
	f, err := root.OpenFile(path, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

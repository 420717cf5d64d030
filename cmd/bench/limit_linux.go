package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"text/template"

	"golang.org/x/sys/unix"
)

// The limit programs do by hand, in one straight loop over the same tree, what a
// deployer cannot do without. They are run as processes of their own, so that
// their figures hold the start of a Go program, as instar's do.
var limits = map[string]func(root string, n int, level string) error{
	"lstat":   limitLstat,
	"compare": limitCompare,
	"write":   limitWrite,
}

// limit runs `bench limit NAME ROOT N LEVEL`.
func limit(args []string) error {
	if len(args) != 4 || limits[args[0]] == nil {
		return errors.New("usage: bench limit lstat|compare|write ROOT N LEVEL")
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	unix.Umask(0)
	return limits[args[0]](args[1], n, args[3])
}

func isMode(info os.FileInfo, err error, mode os.FileMode) error {
	if err == nil && info.Mode() != mode {
		err = fmt.Errorf("%s has mode %v, want %v", info.Name(), info.Mode(), mode)
	}
	return err
}

// limitLstat looks at every object: limit (a).
func limitLstat(root string, n int, _ string) error {
	for i := range n {
		dir := root + "/" + fmt.Sprintf(unitFolder, i)
		info, err := os.Lstat(dir)
		if err := isMode(info, err, os.ModeDir|folderMode); err != nil {
			return err
		}
		info, err = os.Lstat(dir + "/" + confName)
		if err := isMode(info, err, confMode); err != nil {
			return err
		}
		info, err = os.Lstat(dir + "/" + wrapperName)
		if err := isMode(info, err, wrapperMode); err != nil {
			return err
		}
	}
	return nil
}

// limitCompare renders every file, looks at it, reads it and compares: limit (b).
func limitCompare(root string, n int, level string) error {
	return render(root, n, level, func(dir string) error {
		info, err := os.Lstat(dir)
		return isMode(info, err, os.ModeDir|folderMode)
	}, func(name string, data []byte, mode os.FileMode) error {
		info, err := os.Lstat(name)
		if err := isMode(info, err, mode); err != nil {
			return err
		}
		got, err := os.ReadFile(name)
		if err == nil && !bytes.Equal(got, data) {
			err = fmt.Errorf("%s has another content", name)
		}
		return err
	})
}

// limitWrite makes the whole tree, each file under a temporary name that is then
// renamed, and has it written to the disk by one syncfs: limit (c).
func limitWrite(root string, n int, level string) error {
	if err := os.MkdirAll(filepath.Join(root, "srv"), folderMode); err != nil {
		return err
	}
	err := render(root, n, level, func(dir string) error {
		return os.Mkdir(dir, folderMode)
	}, func(name string, data []byte, mode os.FileMode) error {
		f, err := os.OpenFile(name+".tmp", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		if _, err = f.Write(data); err == nil {
			err = f.Chmod(mode)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		return os.Rename(name+".tmp", name)
	})
	if err != nil {
		return err
	}
	top, err := os.Open(root)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(top.Fd())), top.Close())
}

// render calls folder and file for what every unit consists of.
func render(root string, n int, level string, folder func(string) error, file func(name string, data []byte, mode os.FileMode) error) error {
	t, err := template.New(confName).Option("missingkey=error").Parse(templateText)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	for i := range n {
		dir := root + "/" + fmt.Sprintf(unitFolder, i)
		if err := folder(dir); err != nil {
			return err
		}
		text.Reset()
		if err := t.Execute(&text, vars(root, i, level)); err != nil {
			return err
		}
		if err := file(dir+"/"+confName, text.Bytes(), confMode); err != nil {
			return err
		}
		if err := file(dir+"/"+wrapperName, []byte(wrapperText(root, dir)), wrapperMode); err != nil {
			return err
		}
	}
	return nil
}

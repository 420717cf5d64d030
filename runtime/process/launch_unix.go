//go:build unix

package process

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

func (s Spec) checkPlatform() error {
	if !filepath.IsAbs(s.Argv[0]) {
		return errors.New("the program is not an absolute path")
	}
	if s.foreign() && os.Getuid() != 0 {
		return fmt.Errorf("only root may run it as user %q", s.Identity.User)
	}
	return nil
}

// foreign reports whether the identity is another than our own.
func (s Spec) foreign() bool {
	return s.Identity.UID >= 0 && s.Identity.UID != os.Getuid()
}

// credential returns who the program runs as, nil meaning: as we do.
func (s Spec) credential() *syscall.Credential {
	if !s.foreign() {
		return nil
	}
	cred := &syscall.Credential{Uid: uint32(s.Identity.UID), Gid: uint32(s.Identity.GID)}
	for _, g := range s.Identity.Groups {
		cred.Groups = append(cred.Groups, uint32(g))
	}
	return cred
}

// launch returns what is executed and as whom: the program itself, or the
// helper that sets limits and then becomes the program.
func (s Spec) launch() ([]string, *syscall.Credential, error) {
	if s.NoFile <= 0 && s.NProc <= 0 {
		return s.Argv, s.credential(), nil
	}
	argv, err := s.helped()
	return argv, nil, err
}

// resetSignals lets programs start with the default action where we were
// started with a signal ignored (nohup, a background job): the runtime resets
// in children what it handles, so it is made to handle these.
var resetSignals = sync.OnceFunc(func() {
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig) // never received: as good as ignored
		}
	}
})

// diagnose says what a failed start lacks.
func diagnose(spec Spec, err error) error {
	switch {
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.ENOTDIR):
		if errors.Is(err, syscall.ENOEXEC) {
			return fmt.Errorf("it is neither a program for this machine nor a script with #!: %w", err)
		}
		return err
	case spec.Dir != "" && !isDir(spec.Dir):
		return fmt.Errorf("the working folder %q does not exist: %w", spec.Dir, err)
	}
	info, serr := os.Stat(spec.Argv[0])
	switch {
	case serr != nil:
		return serr
	case info.IsDir():
		return fmt.Errorf("it is a folder: %w", err)
	case info.Mode()&0o111 == 0:
		return fmt.Errorf("it is not executable (mode %04o): %w", info.Mode().Perm(), err)
	}
	if interpreter := shebang(spec.Argv[0]); interpreter != "" {
		if ierr := unix.Access(interpreter, unix.X_OK); ierr != nil {
			return fmt.Errorf("its interpreter %q can't be executed (%v): %w", interpreter, ierr, err)
		}
	}
	if spec.foreign() {
		return fmt.Errorf("user %q may not execute it or enter %q: %w", spec.Identity.User, spec.Dir, err)
	}
	return err
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// shebang returns the interpreter that a script names, or "".
func shebang(path string) string {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	line, _ := bufio.NewReaderSize(f, 256).ReadSlice('\n') // an error leaves what was read
	rest, ok := strings.CutPrefix(string(line), "#!")
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		return ""
	}
	return fields[0]
}

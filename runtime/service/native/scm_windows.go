package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"

	"instar/runtime/plan"
	"instar/runtime/process"
	"instar/runtime/service"
	"instar/runtime/service/shim"
)

// scm is the service control manager of Windows.
type scm struct{}

func newWindows(options Options) (service.Manager, error) { return newShimmed(scm{}, options) }

const (
	// scmTime bounds how long a service is waited for that was told to end.
	scmTime = 15 * time.Second
	// deleteTime bounds how long one is waited for that was deleted: somebody,
	// such as an administrator's window, may have it open for ever.
	deleteTime = 2 * time.Second
)

func (scm) platform() string { return "windows" }

func (scm) usable(admin bool) error {
	if !admin {
		return errors.New("only an administrator can install services")
	}
	return nil
}

func (scm) store() scriptStore { return scmStore{} }

func (scm) head() string { return "" }

func (scm) text(s initScript) string { return winServiceFor(s).text() }

func (scm) specOf(text string) (string, bool) {
	w, ok := winServiceOf(text)
	args := winSplit(w.command)
	if !ok || len(args) != 4 || args[1] != "supervise" || args[2] != "--service" {
		return "", false
	}
	return args[3], true
}

// with calls fn with a service, or returns [windows.ERROR_SERVICE_DOES_NOT_EXIST].
func (scm) with(path string, fn func(m *mgr.Mgr, s *mgr.Service) error) error {
	m, err := mgr.Connect()
	if err != nil {
		return fmt.Errorf("cannot reach the service control manager: %w", err)
	}
	defer m.Disconnect()
	s, err := m.OpenService(path)
	if err != nil {
		return err
	}
	defer s.Close()
	return fn(m, s)
}

func isMissing(err error) bool {
	return errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) || errors.Is(err, windows.ERROR_SERVICE_MARKED_FOR_DELETE)
}

// booted implements [initSystem].
func (c scm) booted(levels map[string]int) (map[string]bool, error) {
	ok := map[string]bool{}
	for name := range levels {
		err := c.with(scmStore{}.path(name), func(_ *mgr.Mgr, s *mgr.Service) error {
			config, err := configOf(s)
			ok[name] = err == nil && config.startType == mgr.StartAutomatic
			return err
		})
		if err != nil && !isMissing(err) {
			return nil, err
		}
	}
	return ok, nil
}

// enable implements [initSystem]. Shims wait themselves for those that their
// services come after.
func (c scm) enable(_ context.Context, levels map[string]int) error {
	for _, name := range plan.SortedKeys(levels) {
		if err := c.startType(name, mgr.StartAutomatic); err != nil {
			return fmt.Errorf("cannot enable %s: %w", name, err)
		}
	}
	return nil
}

// disable implements [initSystem].
func (c scm) disable(_ context.Context, names []string) error {
	for _, name := range names {
		if err := c.startType(name, mgr.StartManual); err != nil && !isMissing(err) {
			return fmt.Errorf("cannot disable %s: %w", name, err)
		}
	}
	return nil
}

func (c scm) startType(name string, wanted uint32) error {
	return c.with(scmStore{}.path(name), func(_ *mgr.Mgr, s *mgr.Service) error {
		config, err := configOf(s)
		if err != nil || config.startType == wanted {
			return err
		}
		return windows.ChangeServiceConfig(s.Handle, windows.SERVICE_NO_CHANGE, wanted, windows.SERVICE_NO_CHANGE, nil, nil, nil, nil, nil, nil, nil)
	})
}

// restart implements [initSystem].
func (c scm) restart(ctx context.Context, name string, place shim.Place) error {
	if err := c.stop(ctx, name, place); err != nil {
		return err
	}
	launch := func() error { return c.launch(ctx, name) }
	if place == "" {
		return launch()
	}
	return shim.StartBy(place, launch)
}

// launch starts a service. Wine says "invalid handle" while the process that has
// told it of its end is still there.
func (c scm) launch(ctx context.Context, name string) error {
	for until := time.Now().Add(scmTime); ; {
		err := c.with(scmStore{}.path(name), func(_ *mgr.Mgr, s *mgr.Service) error { return s.Start() })
		if !errors.Is(err, windows.ERROR_INVALID_HANDLE) || time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop implements [initSystem].
func (c scm) stop(ctx context.Context, name string, place shim.Place) error {
	var failed error
	if place != "" {
		failed = shim.Stop(place)
	}
	err := c.with(scmStore{}.path(name), func(_ *mgr.Mgr, s *mgr.Service) error { return c.ended(ctx, name, s) })
	if isMissing(err) {
		err = nil
	}
	return errors.Join(failed, err)
}

// ended waits until a service has, which is told to once.
func (scm) ended(ctx context.Context, name string, s *mgr.Service) error {
	told := false
	for until := time.Now().Add(scmTime); ; {
		status, err := s.Query()
		switch {
		case err != nil:
			return err
		case status.State == svc.Stopped:
			return nil
		case time.Now().After(until):
			return fmt.Errorf("the service %s does not end", name)
		case status.State == svc.Running && !told:
			told = true
			_, err := s.Control(svc.Stop)
			if err != nil && !alive(status.ProcessId) {
				return nil // it was killed, which the manager may learn late
			}
			if err != nil && !errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE) {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func alive(pid uint32) bool {
	tree, err := process.Of(int(pid))
	return err == nil && tree.Alive()
}

// scmStore has a service for each script. What the manager says of one is
// written as its text, so that an edit by hand differs.
type scmStore struct{}

// path is the name of a service: in lower case, since the manager takes names
// for the same in either.
func (scmStore) path(name string) string { return label(name) }

func (scmStore) mode() fs.FileMode { return 0 }

func (scmStore) read(path string) (data []byte, _ fs.FileMode, err error) {
	err = scm{}.with(path, func(_ *mgr.Mgr, s *mgr.Service) error {
		config, err := configOf(s)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(config.description, strings.TrimSpace(winMark)) {
			return &ForeignError{Path: "the service " + path}
		}
		data = seal(config.text())
		return nil
	})
	if isMissing(err) {
		return nil, 0, nil
	}
	return data, 0, err
}

func (st scmStore) write(scripts map[string][]byte) error {
	for path, data := range scripts {
		there, _, err := st.read(path)
		if err != nil {
			return err
		}
		if string(there) == string(data) {
			continue
		}
		w, ok := winServiceOf(string(data))
		if !ok {
			return fmt.Errorf("cannot define the service %s: %q is no definition", path, data)
		}
		if err := st.define(path, w, there == nil); err != nil {
			return fmt.Errorf("cannot define the service %s: %w", path, err)
		}
	}
	return nil
}

// define makes or changes a service. A shim that is killed is started again
// after a second.
func (st scmStore) define(path string, w winService, fresh bool) error {
	if fresh {
		if err := st.create(path, w); err != nil {
			return err
		}
	}
	return scm{}.with(path, func(_ *mgr.Mgr, s *mgr.Service) error {
		if err := change(s, w); err != nil {
			return err
		}
		again := mgr.RecoveryAction{Type: mgr.ServiceRestart, Delay: time.Second}
		if err := s.SetRecoveryActions([]mgr.RecoveryAction{again, again, again}, 60); err != nil {
			return err
		}
		err := s.SetRecoveryActionsOnNonCrashFailures(true)
		if errors.Is(err, windows.ERROR_INVALID_LEVEL) {
			return nil // a system that knows crashes alone
		}
		return err
	})
}

// scmConfig is what counts of a service's configuration.
type scmConfig struct {
	winService
	startType uint32
}

// configOf asks for no more than that: not every system answers all that
// [mgr.Service.Config] wants to know.
func configOf(s *mgr.Service) (scmConfig, error) {
	var config scmConfig
	err := grow(func(buffer []byte, needed *uint32) error {
		q := (*windows.QUERY_SERVICE_CONFIG)(unsafe.Pointer(&buffer[0]))
		if err := windows.QueryServiceConfig(s.Handle, q, uint32(len(buffer)), needed); err != nil {
			return err
		}
		config.command, config.display = windows.UTF16PtrToString(q.BinaryPathName), windows.UTF16PtrToString(q.DisplayName)
		config.startType = q.StartType
		return nil
	})
	if err != nil {
		return config, err
	}
	err = grow(func(buffer []byte, needed *uint32) error {
		if err := windows.QueryServiceConfig2(s.Handle, windows.SERVICE_CONFIG_DESCRIPTION, &buffer[0], uint32(len(buffer)), needed); err != nil {
			return err
		}
		config.description = windows.UTF16PtrToString((*windows.SERVICE_DESCRIPTION)(unsafe.Pointer(&buffer[0])).Description)
		return nil
	})
	return config, err
}

// grow calls query with a buffer, and again with one as large as is needed.
func grow(query func(buffer []byte, needed *uint32) error) error {
	for size := uint32(1024); ; {
		needed := uint32(0)
		err := query(make([]byte, size), &needed)
		if !errors.Is(err, windows.ERROR_INSUFFICIENT_BUFFER) || needed <= size {
			return err
		}
		size = needed
	}
}

// change brings a service in line with w.
func change(s *mgr.Service, w winService) error {
	command, err := windows.UTF16PtrFromString(w.command)
	if err != nil {
		return err
	}
	display, err := windows.UTF16PtrFromString(w.display)
	if err != nil {
		return err
	}
	description, err := windows.UTF16PtrFromString(w.description)
	if err != nil {
		return err
	}
	if err := windows.ChangeServiceConfig(s.Handle, windows.SERVICE_NO_CHANGE, windows.SERVICE_NO_CHANGE, windows.SERVICE_NO_CHANGE,
		command, nil, nil, nil, nil, nil, display); err != nil {
		return err
	}
	d := windows.SERVICE_DESCRIPTION{Description: description}
	return windows.ChangeServiceConfig2(s.Handle, windows.SERVICE_CONFIG_DESCRIPTION, (*byte)(unsafe.Pointer(&d)))
}

// create makes a service that has nothing yet but its mark: what a crash leaves
// of it is ours.
func (scmStore) create(path string, w winService) error {
	m, err := mgr.Connect()
	if err != nil {
		return err
	}
	defer m.Disconnect()
	args := winSplit(w.command)
	s, err := m.CreateService(path, args[0], mgr.Config{StartType: mgr.StartManual, DisplayName: w.display}, args[1:]...)
	if err != nil {
		return err
	}
	return errors.Join(change(s, w), s.Close())
}

func (scmStore) remove(path string) error {
	err := scm{}.with(path, func(_ *mgr.Mgr, s *mgr.Service) error { return s.Delete() })
	// It goes when nobody has it open any more, and until then there cannot be
	// another one of the name.
	for until := time.Now().Add(deleteTime); (err == nil || isMissing(err)) && time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		err = scm{}.with(path, func(*mgr.Mgr, *mgr.Service) error { return nil })
		if errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) {
			return nil
		}
	}
	if isMissing(err) {
		return nil
	}
	return err
}

func (scmStore) list(prefix string) ([]string, error) {
	m, err := mgr.Connect()
	if err != nil {
		return nil, fmt.Errorf("cannot reach the service control manager: %w", err)
	}
	defer m.Disconnect()
	names, err := m.ListServices()
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, name := range names {
		if strings.HasPrefix(name, prefix) && !deleted(m, name) {
			paths = append(paths, name)
		}
	}
	return paths, nil
}

// deleted reports whether a service is only there since somebody has it open:
// it cannot be changed any more, not even in nothing.
func deleted(m *mgr.Mgr, name string) bool {
	s, err := m.OpenService(name)
	if err != nil {
		return isMissing(err)
	}
	defer s.Close()
	const same = windows.SERVICE_NO_CHANGE
	return isMissing(windows.ChangeServiceConfig(s.Handle, same, same, same, nil, nil, nil, nil, nil, nil, nil))
}

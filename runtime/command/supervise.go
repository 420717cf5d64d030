package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"instar/runtime/fsys"
	"instar/runtime/process"
	"instar/runtime/secret"
)

// Supervise is `instar supervise --once`: it runs the one command that it is
// told on in, tells the masked output on out and what goes wrong with itself
// on errs, and returns the exit code: 0 when the outcome is recorded, whatever
// it is, or nothing was begun. It changes how this process treats signals, and
// its umask: it is meant to be all that the process does.
func Supervise(in io.Reader, out, errs io.Writer) int {
	s := &supervisor{asked: survive(), out: out}
	if err := s.run(in); err != nil {
		fmt.Fprintln(errs, s.masker.String(err.Error()))
		return 1
	}
	return 0
}

type supervisor struct {
	order  order
	masker *secret.Masker
	signs  <-chan sign
	asked  <-chan os.Signal
	out    io.Writer
	root   *os.Root
	record Record

	log      *log
	audience *audience
	tail     *secret.Tail
}

func (s *supervisor) run(in io.Reader) error {
	dec := json.NewDecoder(in)
	if err := dec.Decode(&s.order); err != nil {
		return fmt.Errorf("cannot read the order: %w", err)
	}
	s.masker = secret.New(asTexts(s.order.Secrets))
	if err := CheckName(s.order.Name); err != nil {
		return err
	}
	s.signs = hear(dec)
	lock, err := s.lock()
	if err != nil || lock == nil {
		return err
	}
	defer lock.Unlock() // the end of this process does it at the latest
	if err := newSpeaker(s.out).say(answer{Ready: true}); err != nil {
		return nil // the deployer is gone
	}
	if begin, err := s.told(); !begin {
		return err
	}
	release, err := process.Adopt()
	if err != nil {
		return err
	}
	defer release()
	if s.root, err = fsys.OpenOS(s.order.Root); err != nil {
		return fmt.Errorf("cannot open the instance's root: %w", err)
	}
	defer s.root.Close()
	return s.attempt()
}

// lock takes the command's lock. nil means that another supervisor has it.
func (s *supervisor) lock() (*flock.Flock, error) {
	lock := commandLock(s.order.Dir, s.order.Name)
	ctx, cancel := context.WithTimeout(context.Background(), lockPatience)
	defer cancel()
	ok, err := lock.TryLockContext(ctx, lockPoll)
	switch {
	case ok:
		return lock, nil
	case ctx.Err() != nil:
		return nil, newSpeaker(s.out).say(answer{Busy: true})
	}
	return nil, fmt.Errorf("cannot lock %s: %w", lockPath(s.order.Dir, s.order.Name), err)
}

// told waits until the deployer says go. It does not begin for one that is
// gone, or wants it no more: another may have decided since.
func (s *supervisor) told() (begin bool, err error) {
	select {
	case sign := <-s.signs:
		if sign != signGo && sign != signGone && sign != signCancel {
			err = fmt.Errorf("it was not begun: %s", sign)
		}
		return sign == signGo, err
	case sig := <-s.asked:
		return false, fmt.Errorf("it was not begun: signal %v came first", sig)
	}
}

// attempt records that it begins, runs the command, and records how it ended.
func (s *supervisor) attempt() error {
	wipe, err := clean(s.root, s.order.Wipe)
	if err != nil {
		return err
	}
	for _, path := range s.order.Wipe {
		if !wipe[path] {
			return fmt.Errorf("%s is not empty: the attempt may not begin", path)
		}
	}
	s.record = Record{
		Name:       s.order.Name,
		Status:     Started,
		Digest:     s.order.Digest,
		Attempt:    s.order.Attempt,
		Started:    time.Now().UTC(),
		Supervisor: os.Getpid(),
		Mark:       process.Mark(s.order.Dir, "command", "", s.order.Name) + ":" + s.order.Attempt,
		Wipe:       wipe,
	}
	if err := s.takeNote(); err != nil {
		return err
	}
	reserve := s.reserve()
	if err := s.record.save(s.order.Dir); err != nil {
		return errors.Join(err, os.Remove(reserve))
	}
	s.openOutput()
	s.execute()
	s.closeOutput()
	if s.record.Status == Succeeded {
		s.takeCreated()
	}
	os.Remove(reserve) // it is only there to leave room
	if err = s.finish(); err == nil && s.record.Status == Succeeded {
		s.dropNote()
	}
	s.audience.close()
	return err
}

// execute runs the command and notes in the record how it ended.
func (s *supervisor) execute() {
	output := s.masker.Writer(s.sinks())
	defer output.Close() // its sinks don't fail
	proc, err := process.Start(s.spec(output))
	if err != nil {
		s.end(Failed, -1, err.Error())
		return
	}
	var timeout <-chan time.Time
	if s.order.Timeout > 0 {
		timer := time.NewTimer(s.order.Timeout)
		defer timer.Stop()
		timeout = timer.C
	}
	for signs := s.signs; ; {
		select {
		case <-proc.Done():
			s.exited(proc)
		case <-timeout:
			s.kill(proc, Failed, fmt.Sprintf("timeout after %s", s.order.Timeout))
		case <-s.asked:
			s.kill(proc, Interrupted, "interrupted by a signal")
		case sign := <-signs:
			if sign == signGone {
				signs = nil // we go on alone
			}
			if sign != signCancel {
				continue
			}
			s.kill(proc, Interrupted, "interrupted")
		}
		return
	}
}

func (s *supervisor) spec(output io.Writer) process.Spec {
	spec := process.Spec{
		Argv:     asTexts(s.order.Argv),
		Env:      asTexts(s.order.Env),
		Dir:      string(s.order.Cwd),
		Identity: s.order.Identity,
		Mark:     s.record.Mark,
		Stdout:   output,
		Stderr:   output,
	}
	if s.order.HasStdin {
		spec.Stdin = append([]byte{}, s.order.Stdin...) // not nil, even if empty
	}
	return spec
}

// exited notes that the program ended by itself. What it left in the
// background belongs to the attempt, which is over.
func (s *supervisor) exited(proc *process.Process) {
	exit := proc.Wait()
	left := proc.End(context.Background(), syscall.SIGTERM, s.order.Grace)
	switch {
	case !exit.Ok():
		s.end(Failed, exit.Code, exit.String())
	case left != nil:
		s.end(Failed, exit.Code, "exit 0, but "+left.Error())
	default:
		s.end(Succeeded, exit.Code, "")
	}
}

// kill ends the whole tree.
func (s *supervisor) kill(proc *process.Process, status Status, reason string) {
	if err := proc.End(context.Background(), syscall.SIGTERM, s.order.Grace); err != nil {
		reason += "; " + err.Error()
	}
	proc.Drain(parentPatience)
	s.end(status, -1, reason)
}

func (s *supervisor) end(status Status, code int, reason string) {
	s.record.Status, s.record.ExitCode, s.record.Reason = status, code, s.masker.String(reason)
	s.record.Finished = time.Now().UTC()
}

// takeCreated notes what the command made. What it should have made and is not
// there makes the attempt a failure.
func (s *supervisor) takeCreated() {
	found, missing, err := created(s.root, s.order.Creates)
	switch {
	case err != nil:
		s.end(Failed, 0, "exit 0, but: "+err.Error())
	case len(missing) > 0:
		s.end(Failed, 0, fmt.Sprintf("exit 0, but %s does not exist", missing[0]))
	}
	if len(found) > 0 {
		s.record.Creates = found
	}
	if err := s.sync(); err != nil && s.record.Status == Succeeded {
		s.end(Failed, 0, "exit 0, but what it made is not durable: "+err.Error())
	}
}

// sync makes durable what the command did below the root: a record that outlived
// it in a power cut would be of a success that left nothing.
func (s *supervisor) sync() error {
	root, err := fsys.OpenRoot(s.order.Root)
	if err != nil {
		return err
	}
	return errors.Join(root.SyncFS(), root.Close())
}

const (
	// reserved is the room kept for the outcome's record, in bytes: a command
	// may well fill the disk.
	reserved = 64 << 10

	// finishTries and finishPause say how often, and how far apart, the
	// outcome's record is tried again.
	finishTries = 20
	finishPause = 250 * time.Millisecond
)

// reserve takes room on the disk. If there is none, recording the start fails
// too.
func (s *supervisor) reserve() string {
	path := filepath.Join(s.order.Dir, s.order.Name+".room")
	_ = os.WriteFile(path, make([]byte, reserved), 0o600)
	return path
}

// finish records the outcome, which must not be lost.
func (s *supervisor) finish() error {
	err := s.record.save(s.order.Dir)
	for try := 0; err != nil && try < finishTries; try++ {
		s.record.Output = "" // the least to be recorded
		time.Sleep(finishPause)
		err = s.record.save(s.order.Dir)
	}
	if err != nil {
		return fmt.Errorf("command %q %s, but that is not recorded: %w", s.order.Name, s.record.Status, err)
	}
	return nil
}

func (s *supervisor) openOutput() {
	var unmasked *secret.Masker // what arrives there is masked already
	s.log = openLog(LogPath(s.order.Dir, s.order.Name))
	s.audience = newAudience(s.out)
	s.tail = unmasked.Tail(tailBytes)
}

// sinks are where the masked output goes. None of them fails.
func (s *supervisor) sinks() io.Writer { return io.MultiWriter(s.log, s.tail, s.audience) }

func (s *supervisor) closeOutput() {
	s.log.close()
	s.tail.Close() // a Tail's Close can't fail
	s.record.Output = s.tail.Lines(recordLines)
}

// recordLines is how many lines of output a record holds at most.
const recordLines = 50

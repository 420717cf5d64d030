// Package promise checks whether an instance works.
//
// A promise is a check with a name, a period and a patience (see
// [plan.Promise]). A [Checker] runs one ([Checker.Check]), all after an apply
// until they hold ([Checker.WaitAll]), or each again and again for as long as
// the instance is served ([Checker.Watch]).
//
// The invariant: a check ends, within its timeout, with a [Result] whose
// message a person can act on. A hanging check is a failure, a panic is a
// failure, and no message holds a secret.
package promise

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"instar/runtime/plan"
	"instar/runtime/secret"
)

// Result is the outcome of one check.
type Result struct {
	Name    string    `json:"name"`
	OK      bool      `json:"ok"`
	Message string    `json:"message"` // one or a few lines, never empty
	At      time.Time `json:"at"`      // when the check ended
}

// Checker runs checks. Its zero value works; the fields are set before it is
// used, and then left alone. It may be used by several goroutines.
type Checker struct {
	Masker *secret.Masker // masks messages
	Mark   string         // the mark of commands is this and the promise's name
	Now    func() time.Time
	// After is like time.After; for tests that own the clock.
	After func(time.Duration) <-chan time.Time

	mu    sync.Mutex
	stuck map[string]chan error // by name: the outcome of a check that nobody waits for any more
}

const (
	defaultTimeout = 20 * time.Second
	defaultPeriod  = 120 * time.Second

	// graceTime is how long after its timeout a check may still take to stop
	// before nobody waits for it any more.
	graceTime = 6 * time.Second

	// maxMessage bounds a message, in bytes.
	maxMessage = 2000
)

func (c *Checker) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

func (c *Checker) after(d time.Duration) <-chan time.Time {
	if c.After != nil {
		return c.After(d)
	}
	return time.After(d)
}

// Check runs the check of p once. It returns within p.Timeout (20 seconds when
// that is 0) and a few seconds to stop what it started. Where ctx ends first, the
// result is a failure that says so.
//
// A check that can't be stopped, on a network file system that is gone, is
// left behind; until it ends, no other of that name is begun.
func (c *Checker) Check(ctx context.Context, p plan.Promise) Result {
	timeout := p.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	err := c.guarded(ctx, p, timeout)
	r := Result{Name: p.Name, OK: err == nil, At: c.now()}
	if err != nil {
		r.Message = c.message(err)
	} else {
		r.Message = c.message(holds(p.Check))
	}
	return r
}

// message masks before it cuts, so that no half of a secret is left.
func (c *Checker) message(v any) string {
	text := strings.TrimSpace(c.Masker.String(strings.ToValidUTF8(fmt.Sprint(v), "\uFFFD")))
	if len(text) <= maxMessage {
		return text
	}
	cut := maxMessage
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// guarded runs the check in a goroutine of its own, so that neither a panic
// nor a system call that does not return is the caller's.
func (c *Checker) guarded(ctx context.Context, p plan.Promise, timeout time.Duration) error {
	if c.hangs(p.Name) {
		return errors.New("an earlier check still hangs: " + subject(p.Check))
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.recovered(limited, p) }()
	var err error
	select {
	case err = <-done:
	case <-limited.Done():
		grace := time.NewTimer(graceTime)
		defer grace.Stop()
		select {
		case err = <-done:
		case <-grace.C:
			err = limited.Err()
			c.abandon(p.Name, done)
		}
	}
	return explain(ctx, limited, p.Check, timeout, err)
}

// explain puts in words what the end of a context did.
func explain(ctx, limited context.Context, check plan.Check, timeout time.Duration, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("the check was interrupted: %s", subject(check))
	case limited.Err() != nil:
		return fmt.Errorf("no answer within %s: %s", timeout, withOutput(subject(check), err))
	}
	return err
}

// abandon remembers a check that does not stop.
func (c *Checker) abandon(name string, done chan error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stuck == nil {
		c.stuck = make(map[string]chan error)
	}
	c.stuck[name] = done
}

// hangs reports whether a check of that name was abandoned and has not ended.
func (c *Checker) hangs(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.stuck[name]:
		delete(c.stuck, name)
		return false
	default:
		return c.stuck[name] != nil
	}
}

func (c *Checker) recovered(ctx context.Context, p plan.Promise) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the check itself failed: %v", r)
		}
	}()
	k, ok := kinds[p.Check.Kind]
	if !ok {
		return fmt.Errorf("no such kind of check: %q", p.Check.Kind)
	}
	return k.run(c, ctx, p)
}

// kind is one kind of check: what it looks at, in words, and how.
type kind struct {
	subject func(plan.Check) string
	run     func(*Checker, context.Context, plan.Promise) error
}

// kinds is the table of all kinds, by [plan.Check.Kind].
var kinds = map[string]kind{
	"tcp":         {address, (*Checker).tcp},
	"socket":      {path, (*Checker).socket},
	"http":        {location, (*Checker).http},
	"command":     {program, (*Checker).command},
	"file":        {path, (*Checker).file},
	"certificate": {path, (*Checker).certificate},
	"disk":        {path, (*Checker).disk},
}

func subject(check plan.Check) string {
	if k, ok := kinds[check.Kind]; ok {
		return k.subject(check)
	}
	return check.Kind
}

// holds is the message of a check that holds.
func holds(check plan.Check) string { return "ok: " + check.Kind + " " + subject(check) }

func path(check plan.Check) string { return check.Path }

package main

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"instar/runtime/report"
	"instar/runtime/service"
)

// view is what the terminal of an `up` shows. It prints in a goroutine of its
// own: a terminal that was stopped with Ctrl-S, or a reader that does not read,
// must not keep services from being started again.
type view struct {
	ui   *ui
	name string // of the instance

	mu     sync.Mutex
	queue  []func()
	closed bool
	wake   chan struct{} // holds a token when there is something to print
	idle   chan struct{} // closed when all is printed and the goroutine has ended

	// Of the printing goroutine alone.
	starting bool              // the first processing has not ended
	ending   bool              // all services are being stopped
	services map[string]string // last status of each
	failing  map[string]bool   // promises that were shown as failing
	failure  string            // the last error shown; "" after a success
}

// viewBacklog is how much waits to be printed; what comes then is lost.
const viewBacklog = 10000

func newView(u *ui, name string) *view {
	v := &view{ui: u, name: name, wake: make(chan struct{}, 1), idle: make(chan struct{}),
		starting: true, services: map[string]string{}, failing: map[string]bool{}}
	go v.print()
	return v
}

func (v *view) print() {
	defer close(v.idle)
	for {
		v.mu.Lock()
		queue, closed := v.queue, v.closed
		v.queue = nil
		v.mu.Unlock()
		for _, f := range queue {
			f()
		}
		if closed && len(queue) == 0 {
			return
		}
		if len(queue) == 0 {
			<-v.wake
		}
	}
}

// later has f print something in its turn.
func (v *view) later(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || len(v.queue) >= viewBacklog {
		return
	}
	v.queue = append(v.queue, f)
	v.awaken()
}

func (v *view) awaken() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// closeTime is how long a terminal that does not print is waited for at the end.
const closeTime = 2 * time.Second

// close waits until everything is printed.
func (v *view) close(destroyed bool) {
	if destroyed {
		v.later(func() { v.ui.say("%s was destroyed: nothing is left to serve", v.name) })
	}
	v.mu.Lock()
	v.closed = true
	v.awaken()
	v.mu.Unlock()
	select {
	case <-v.idle:
	case <-time.After(closeTime):
	}
}

// first shows the first outcome.
func (v *view) first(r *report.Report, err error, serving bool) {
	v.later(func() {
		v.starting = false
		for _, p := range r.Promises {
			v.failing[p.Name] = !p.OK
		}
		if r.Error != nil {
			v.failure = r.Error.Message
		}
		v.ui.report(r, err)
		if serving {
			v.ui.say("serving %s until Ctrl-C", v.name)
		}
	})
}

func (v *view) stopping() {
	v.later(func() {
		v.ending = true
		v.ui.say("stopping %s", v.name)
	})
}

// show tells the operator what happens, whoever asked for it.
func (v *view) show(ev report.Event) {
	v.later(func() {
		switch ev.Kind {
		case "service":
			v.service(*ev.Service)
		case "bang":
			if ev.Name == "" { // else the service's new state tells it
				v.ui.warn(ev.Text)
			}
		case "promise":
			v.promise(ev)
		case "done":
			v.done(ev.Report)
		default:
			v.ui.follow(false)(ev)
		}
	})
}

// service shows what a service does by itself. What was asked for is shown as a
// change, but for the stopping at the end.
func (v *view) service(s report.Service) {
	before := service.Status(v.services[s.Name])
	v.services[s.Name] = s.Status
	if s.Timer {
		if service.Status(s.Status) == service.Failed {
			v.ui.warn(s.Name + ": " + s.Message + "; it waits for its next time")
		}
		return
	}
	switch service.Status(s.Status) {
	case service.Running:
		if before != service.Stopped && before != service.Running {
			v.ui.say("%s: running, pid %d%s", s.Name, s.PID, restarts(s.Restarts))
		}
	case service.Restarting:
		v.ui.warn(s.Name + " ended: " + s.Message)
	case service.Failed:
		v.ui.warn(s.Name + ": " + s.Message)
	case service.Waiting:
		v.ui.say("%s: waiting for what it is after", s.Name)
	case service.Done:
		v.ui.say("%s: done", s.Name)
	case service.Stopped:
		switch {
		case s.Message != s.Status:
			v.ui.warn(s.Name + " ended: " + s.Message + "; it is not started again")
		case v.ending && before != service.Stopped && before != service.Done:
			v.ui.say("%s: stopped", s.Name)
		}
	}
}

func restarts(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", restart %d", n)
}

// promise shows when a promise begins to fail, and when it holds again. While an
// outcome is waited for, it is progress.
func (v *view) promise(ev report.Event) {
	p := ev.Promise
	switch {
	case ev.Text == "" && !p.OK:
		v.ui.progress("waiting for promise " + p.Name + ": " + p.Message)
	case ev.Text == "" && v.starting:
		v.ui.progress("promise " + p.Name + " holds")
	default:
		v.verdict(*p)
	}
}

func (v *view) verdict(p report.Promise) {
	switch {
	case p.OK && v.failing[p.Name]:
		v.ui.say("promise %s holds again", p.Name)
	case !p.OK && !v.failing[p.Name]:
		v.ui.warn("promise " + p.Name + " does not hold: " + p.Message)
	}
	v.failing[p.Name] = !p.OK
}

// done shows how a processing went that is not the first one: what it did, and
// what is wrong, once.
func (v *view) done(r *report.Report) {
	if v.starting {
		return
	}
	for _, p := range r.Promises {
		v.verdict(p)
	}
	message := ""
	if r.Error != nil && !slices.ContainsFunc(r.Promises, func(p report.Promise) bool { return !p.OK }) {
		if message = r.Error.Message; message != v.failure {
			v.ui.showError(&remoteError{*r.Error})
		}
	}
	v.failure = message
	s := r.Summary
	if s.Changed+s.Removed+s.Restarted > 0 && !v.ui.json && !v.ui.quiet {
		v.ui.recap(r)
	}
}

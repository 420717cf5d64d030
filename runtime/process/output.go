package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// output is the three standard streams of one process: the ends that it gets,
// and the goroutines at the other ends.
type output struct {
	child   [3]*os.File // what the process gets
	owned   []*os.File  // those of child that are ours to close
	pumps   []pump
	input   *os.File // the writing end of stdin
	stdin   []byte
	running sync.WaitGroup
}

// pump copies what comes out of a pipe.
type pump struct {
	from *os.File
	to   io.Writer
}

// openOutput opens the streams that spec asks for. On error nothing is left
// open.
func openOutput(spec Spec) (*output, error) {
	o := &output{stdin: spec.Stdin}
	err := o.open(spec)
	if err != nil {
		o.abort()
		return nil, err
	}
	return o, nil
}

func (o *output) open(spec Spec) (err error) {
	if spec.Stdin == nil {
		o.child[0], err = o.null(os.O_RDONLY)
	} else {
		o.child[0], o.input, err = os.Pipe()
		o.own(o.child[0])
	}
	if err != nil {
		return err
	}
	if o.child[1], err = o.sink(spec.Stdout); err != nil {
		return err
	}
	if spec.Stderr != nil && sameWriter(spec.Stdout, spec.Stderr) {
		o.child[2] = o.child[1]
		return nil
	}
	o.child[2], err = o.sink(spec.Stderr)
	return err
}

func (o *output) null(flag int) (*os.File, error) {
	f, err := os.OpenFile(os.DevNull, flag, 0)
	if err == nil {
		o.own(f)
	}
	return f, err
}

// sink returns what the process writes to so that w receives it.
func (o *output) sink(w io.Writer) (*os.File, error) {
	switch w := w.(type) {
	case nil:
		return o.null(os.O_WRONLY)
	case *os.File:
		return w, nil
	}
	r, child, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	o.own(child)
	o.pumps = append(o.pumps, pump{r, w})
	return child, nil
}

func (o *output) own(f *os.File) {
	if f != nil {
		o.owned = append(o.owned, f)
	}
}

func (o *output) files() [3]*os.File { return o.child }

// abort closes everything, when the process could not be started.
func (o *output) abort() {
	o.closeChild()
	for _, p := range o.pumps {
		p.from.Close()
	}
	if o.input != nil {
		o.input.Close()
	}
}

func (o *output) closeChild() {
	for _, f := range o.owned {
		f.Close()
	}
	o.owned = nil
}

// begin starts copying, once the process holds its ends.
func (o *output) begin() {
	o.closeChild()
	for _, p := range o.pumps {
		o.running.Go(p.copy)
	}
	if o.input != nil {
		o.running.Go(func() {
			io.Copy(o.input, bytes.NewReader(o.stdin)) // the process need not read it
			o.input.Close()
		})
	}
}

// closeInput ends the writing of what a program that has ended did not read.
func (o *output) closeInput() {
	if o.input != nil {
		o.input.Close()
	}
}

// drain waits for the end of the output, at most d, then closes all pipes and
// waits for the goroutines.
func (o *output) drain(d time.Duration) {
	limit := time.Now().Add(d)
	deadlines := true
	for _, p := range o.pumps {
		err := p.from.SetReadDeadline(limit)
		deadlines = deadlines && !errors.Is(err, os.ErrNoDeadline)
	}
	if deadlines {
		o.running.Wait()
		return
	}
	// Windows: a reader can't be interrupted, and goes when the pipe does.
	ended := make(chan struct{})
	go func() {
		o.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(d):
	}
}

// A buffer grows with the output: most services are silent, and there may be
// thousands.
const (
	leastBuffer = 512
	mostBuffer  = 32 << 10
	pipeSize    = 64 << 10 // what a pipe holds
)

// copy moves what comes, until the end or the deadline. A writer that fails is
// no reason to block the process: the rest is read and dropped.
func (p pump) copy() {
	defer p.from.Close()
	buf := make([]byte, leastBuffer)
	broken := false
	for {
		n, err := p.from.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) { // however late we are, what was written counts
			buf = make([]byte, pipeSize)
			n = readThere(p.from, buf)
		}
		if n > 0 && !broken {
			_, werr := p.to.Write(buf[:n])
			broken = werr != nil
		}
		if err != nil {
			break
		}
		if n == len(buf) && n < mostBuffer {
			buf = make([]byte, 2*n)
		}
	}
	if f, ok := p.to.(interface{ Flush() error }); ok && !broken {
		f.Flush() // there is nobody to tell of an error
	}
}

// sameWriter reports whether both are one writer; values that can't be
// compared are not.
func sameWriter(a, b io.Writer) (same bool) {
	defer func() {
		if recover() != nil {
			same = false
		}
	}()
	return a == b
}

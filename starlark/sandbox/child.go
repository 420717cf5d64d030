package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"

	"instar/starlark/interp"
)

// argument is the first argument of a child.
const argument = "evaluate-in-sandbox"

// Exit codes of a child, apart from Go's own 2.
const (
	exitDone     = 0
	exitUsage    = 64
	exitOrphaned = 87 // the parent is gone
	exitMemory   = 88 // the watchdog saw too large a heap
)

// A Handler does the work of a child. Its error reaches the parent as an
// *interp.Error. It must not use standard input and output; what it writes
// to standard error is shown when the child crashes.
type Handler func(ctx context.Context, request []byte, c *Child) error

// Main takes over when the process is a child that Run started: it runs one
// of the handlers and exits. Otherwise it returns at once. Call it first
// thing in main and in the TestMain of every package whose tests call Run.
func Main(handlers map[string]Handler) {
	if len(os.Args) < 2 || os.Args[1] != argument {
		return
	}
	os.Exit(child(handlers, os.Args[2:]))
}

// A Child is a handler's way to its parent. It is for one goroutine.
type Child struct {
	link  link
	board *board
}

// A link carries frames to the parent.
type link interface {
	send(kind byte, data []byte) error
	call(kind byte, data []byte) ([]byte, error)
}

// Send sends a frame, without waiting for it to arrive: frames are collected
// until a Call, the end, or 64 KiB. An error means that the parent wants no
// more, and that the handler should return.
func (c *Child) Send(kind byte, data []byte) error { return c.link.send(kind, data) }

// Call sends a frame and waits for the answer. An error of the parent's
// OnFrame comes back as an *interp.Error.
func (c *Child) Call(kind byte, data []byte) ([]byte, error) { return c.link.call(kind, data) }

// Position notes the place that evaluation has reached, for the parent to
// read when the child is dead. It fits interp.Options.Position.
func (c *Child) Position(file string, line, col int32) { c.board.set(file, line, col) }

// child runs a handler and returns the exit code.
func child(handlers map[string]Handler, args []string) int {
	if len(args) != 3 {
		fmt.Fprintln(os.Stderr, "this command is for instar's own use")
		return exitUsage
	}
	memory, err1 := strconv.ParseInt(args[1], 10, 64)
	seconds, err2 := strconv.ParseInt(args[2], 10, 64)
	handler := handlers[args[0]]
	if err1 != nil || err2 != nil || handler == nil {
		fmt.Fprintf(os.Stderr, "bad request of a child: %q\n", args)
		return exitUsage
	}
	err := closeInherited()
	board, boardErr := openBoard()
	if err = errors.Join(err, boardErr); err == nil {
		err = confine(memory, seconds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot confine the evaluation process:", err)
		return exitUsage
	}
	ignoreSignals()
	collectAsUsual()
	debug.SetMaxStack(int(min(memory/4, 256<<20)))

	out := os.Stdout
	os.Stdout = os.Stderr // frames only on the real one
	pipes := &pipes{w: newFrameWriter(out), incoming: make(chan message)}
	go pipes.listen(os.Stdin)
	request := <-pipes.incoming
	err = protect(func() error {
		return handler(context.Background(), request.data, &Child{link: pipes, board: board})
	})
	typ, data := frameDone, []byte(nil)
	if err != nil {
		typ, data = frameFailed, encodeError(err)
	}
	if errors.Join(pipes.w.write(typ, 0, data), pipes.w.flush()) != nil {
		return exitOrphaned
	}
	return exitDone
}

// collectAsUsual has memory collected as usual once it has been for the first time,
// which is at 64 MiB where the limit is far: most evaluations end before that.
func collectAsUsual() {
	runtime.AddCleanup(new([16]byte), func(percent int) { debug.SetGCPercent(percent) }, usualCollect)
}

// protect turns a panic of run into an error.
func protect(run func() error) (err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = &interp.Error{
				Msg:    fmt.Sprintf("internal error: %v", problem),
				Hint:   "this is a bug of instar; please report it",
				Detail: string(debug.Stack()),
			}
		}
	}()
	return run()
}

// pipes is the link of a child process.
type pipes struct {
	w        *frameWriter
	incoming chan message
}

type message struct {
	typ  byte
	data []byte
}

// listen reads what the parent sends, and ends the process when the parent
// is gone: the evaluation may not notice for long.
func (p *pipes) listen(r io.Reader) {
	frames := newFrameReader(r)
	for {
		typ, _, data, err := frames.read()
		if err != nil {
			os.Exit(exitOrphaned)
		}
		p.incoming <- message{typ, data}
	}
}

func (p *pipes) send(kind byte, data []byte) error {
	return p.w.write(frameSend, kind, data)
}

func (p *pipes) call(kind byte, data []byte) ([]byte, error) {
	if err := errors.Join(p.w.write(frameCall, kind, data), p.w.flush()); err != nil {
		return nil, err
	}
	reply := <-p.incoming
	if reply.typ == frameRefusal {
		return nil, decodeError(reply.data)
	}
	return reply.data, nil
}

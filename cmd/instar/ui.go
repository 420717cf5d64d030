package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"instar/runtime/report"
	"instar/runtime/secret"
	"instar/starlark/interp"
)

// ui owns everything that a person is shown. It is safe for concurrent use.
type ui struct {
	json, quiet, verbose bool

	// mask hides secrets in errors and logs; reports come masked. Nil hides
	// nothing.
	mask *secret.Masker

	mu             sync.Mutex
	stdout, stderr io.Writer
	outColor       bool
	errColor       bool
	live           bool   // stderr is a terminal: progress is shown
	width          int    // of that terminal, in columns
	tty            bool   // stdout is a terminal
	progressing    bool   // the last line of the terminal shows progress
	documented     bool   // the JSON document was printed
	lines          []byte // that wait to be printed, see line
}

// newUI returns the ui of this process' streams. Color is "auto", "always" or
// "never".
func newUI() *ui {
	u := &ui{stdout: os.Stdout, stderr: os.Stderr, width: 80, tty: term.IsTerminal(int(os.Stdout.Fd()))}
	if fd := int(os.Stderr.Fd()); term.IsTerminal(fd) && os.Getenv("TERM") != "dumb" {
		u.live = true
		if w, _, err := term.GetSize(fd); err == nil && w > 0 {
			u.width = w
		}
	}
	return u
}

// setColor applies --color: "auto", "always" or "never".
func (u *ui) setColor(when string) {
	auto := func(f *os.File) bool {
		return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
	}
	switch when {
	case "always":
		u.outColor, u.errColor = true, true
	case "never":
		u.outColor, u.errColor = false, false
	default:
		u.outColor, u.errColor = auto(os.Stdout), auto(os.Stderr)
	}
}

// Colours.
const (
	bold   = "\x1b[1m"
	faint  = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	blue   = "\x1b[34m"
	cyan   = "\x1b[36m"
	plain  = "\x1b[0m"
)

// paint colours text for stdout.
func (u *ui) paint(color, text string) string { return painted(u.outColor, color, text) }

func painted(on bool, color, text string) string {
	if !on || text == "" {
		return text
	}
	return color + text + plain
}

// print writes data to stdout.
func (u *ui) print(text string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.endProgress()
	_, _ = io.WriteString(u.stdout, text) // nobody is left to be told
}

// soon is how long a line waits for others at most, where nobody watches.
const soon = 20 * time.Millisecond

// line prints one of many lines: where stdout is no terminal, soon, and several at
// once.
func (u *ui) line(text string) {
	if u.tty {
		u.print(text)
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.lines) == 0 {
		time.AfterFunc(soon, u.flush)
	}
	if u.lines = append(u.lines, text...); len(u.lines) > 32<<10 {
		u.endProgress()
	}
}

// flush prints the lines that wait.
func (u *ui) flush() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.endProgress()
}

// finish is the last flush. Once a signal has asked for the end, a reader that does
// not read is not waited for any longer than [closeTime].
func (u *ui) finish(ctx context.Context) {
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		u.flush()
	}()
	select {
	case <-flushed:
		return
	case <-ctx.Done():
	}
	select {
	case <-flushed:
	case <-time.After(closeTime):
	}
}

// log writes to stderr what is no data.
func (u *ui) log(text string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.endProgress()
	_, _ = io.WriteString(u.stderr, text)
}

// note writes one labelled line to stderr: "hint: …".
func (u *ui) note(color, label, text string) {
	text = clean(u.mask.String(text))
	u.log(painted(u.errColor, color, label+":") + " " + text + "\n")
}

func (u *ui) warn(text string) { u.note(yellow, "warning", text) }

func (u *ui) hint(text string) {
	if !u.quiet {
		u.note(cyan, "hint", text)
	}
}

// say tells what a person may want to know but no program: on stderr, and not
// with -q.
func (u *ui) say(format string, args ...any) {
	if !u.quiet {
		u.log(clean(u.mask.String(fmt.Sprintf(format, args...))) + "\n")
	}
}

// progress shows what is being waited for, in a line that the next output
// replaces. It does nothing without a terminal.
func (u *ui) progress(text string) {
	if !u.live || u.quiet || u.json {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.endProgress()
	text = clean(strings.ReplaceAll(text, "\n", " "))
	if r := []rune(text); len(r) >= u.width {
		text = string(r[:max(0, u.width-2)]) + "…"
	}
	_, _ = io.WriteString(u.stderr, painted(u.errColor, faint, text))
	u.progressing = true
}

// endProgress clears the line of progress, and prints the lines that wait. The caller
// holds mu.
func (u *ui) endProgress() {
	if u.progressing {
		_, _ = io.WriteString(u.stderr, "\r\x1b[K")
		u.progressing = false
	}
	if len(u.lines) > 0 {
		_, _ = u.stdout.Write(u.lines)
		u.lines = u.lines[:0]
	}
}

// document prints the one JSON document of a command.
func (u *ui) document(v any) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		out.Reset()
		fmt.Fprintf(&out, "{\"format_version\": %d, \"error\": {\"message\": %q, \"at\": \"\", \"hint\": \"\"}}\n", report.FormatVersion, err)
	}
	u.documented = true
	u.print(out.String())
}

// failed tells of the error that ended a command: with --json in the document
// too, unless one was printed.
func (u *ui) failed(ctx context.Context, err error) {
	var code exitWith
	var shown reported
	if errors.As(err, &code) || errors.As(err, &shown) {
		return
	}
	err = advised(unsignalled(ctx, err))
	if u.json && !u.documented {
		u.document(struct {
			FormatVersion int           `json:"format_version"`
			Error         *report.Error `json:"error"`
		}{report.FormatVersion, u.errorOf(err)})
	}
	u.showError(err)
}

// advised adds what to do about a permission that is missing, if err does not
// say so itself.
func advised(err error) error {
	var advice interface{ Hint() string }
	if errors.As(err, &advice) || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return &hintedError{err, "run instar as a user who may, or choose folders of your own with --state-dir and --root"}
}

// unsignalled replaces the error of a context that a signal ended by the
// signal's own.
func unsignalled(ctx context.Context, err error) error {
	var stop signalled
	if errors.Is(err, context.Canceled) && errors.As(context.Cause(ctx), &stop) {
		return stop
	}
	return err
}

// errorOf is the form of err in reports.
func (u *ui) errorOf(err error) *report.Error { return report.ErrorOf(err, u.mask.String) }

// showError prints error and hint to stderr: of a profile with its line, a caret and
// the stack.
func (u *ui) showError(err error) {
	var text bytes.Buffer
	text.WriteString(painted(u.errColor, bold+red, "error:") + " ")
	evaluation := profileErrors(err)
	var remote *remoteError
	if errors.As(err, &remote) && remote.told.Detail != "" {
		text.WriteString(clean(remote.told.Detail))
	} else if len(evaluation) == 0 {
		text.WriteString(clean(strings.TrimRight(err.Error(), "\n")) + "\n")
		var advice interface{ Hint() string }
		if errors.As(err, &advice) {
			for line := range strings.Lines(advice.Hint()) {
				text.WriteString(painted(u.errColor, cyan, "hint:") + " " + clean(strings.TrimRight(line, "\n")) + "\n")
			}
		}
	}
	for i, e := range evaluation {
		if i > 0 {
			text.WriteString(painted(u.errColor, bold+red, "error:") + " ")
		}
		_ = e.Render(&text, u.errColor) // a buffer does not fail
	}
	u.log(u.mask.String(text.String()))
}

// profileErrors returns the errors of a profile in err: one, or the several of a
// joined error.
func profileErrors(err error) []*interp.Error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*interp.Error
		for _, e := range many.Unwrap() {
			all = append(all, profileErrors(e)...)
		}
		return all
	}
	var one *interp.Error
	if errors.As(err, &one) {
		return []*interp.Error{one}
	}
	return nil
}

// clean replaces the control characters that would move the cursor or hide
// text: what is shown may come from anywhere.
func clean(s string) string {
	if plainText(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r < ' ' || r >= 0x7f && r < 0xa0 || slices.Contains(bidi, r):
			return '\uFFFD'
		}
		return r
	}, s)
}

// plainText reports whether all of s is printable ASCII.
func plainText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// bidi are the characters that change the direction of text.
var bidi = []rune{0x061c, 0x200e, 0x200f, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069}

// learn has the ui hide these texts from now on.
func (u *ui) learn(secrets []string) {
	if u.mask == nil {
		u.mask = secret.New(nil)
	}
	u.mask.Add(secrets...)
}

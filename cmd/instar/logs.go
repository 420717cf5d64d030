package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"instar/runtime/report"
	"instar/runtime/state"
)

// logFolders are where an instance's logs are, in the folder of its state: of
// services and runs, and of commands.
var logFolders = []string{"logs", "commands"}

const logsDoc = `Prints the end of what services, runs and commands wrote, secrets masked, each
line with the name of what wrote it; with a name, that one's alone. -f goes on
with what is written from then on, over rotations too.`

// logs prints what services, runs and commands wrote: the end of each log, one
// after another, and with -f what is written from then on.
func (a *app) logs(ctx context.Context, args []string) error {
	t, st, err := a.existing(args[0])
	if err != nil {
		return err
	}
	if a.ui.json && a.opts.follow {
		return usagef("leave one of them out", "--json prints one document, and -f has no end")
	}
	only := ""
	if len(args) > 1 {
		only = args[1]
	}
	sources, err := findLogs(t.folder, only)
	if err != nil {
		return err
	}
	in := &instance{home: a.home, folder: t.folder, name: t.name, settings: st.Settings, mask: a.ui.mask}
	if manager, err := in.managerOrNone(); err != nil {
		return err
	} else if manager != nil && manager.Platform() == "systemd" && !a.ui.json {
		names, err := journalled(ctx, manager, st, only)
		if err != nil {
			return err
		}
		if len(names) > 0 {
			return a.journal(ctx, in, names, only)
		}
	}
	if len(sources) == 0 && only != "" && !hasService(st, only) {
		return noLog(t.folder, st, only)
	}
	if a.ui.json {
		return a.logDocument(t.name, sources)
	}
	if len(sources) == 0 {
		a.ui.hint(fmt.Sprintf("nothing of instance %q has written anything yet", t.name))
	}
	p := &logPrinter{ui: a.ui}
	if only == "" {
		for _, s := range sources {
			p.width = max(p.width, len(s.name))
		}
	}
	for _, s := range sources {
		lines, err := s.tail(a.opts.lines)
		if err != nil {
			return err
		}
		p.lines(s.name, lines)
	}
	if !a.opts.follow {
		return nil
	}
	return a.followLogs(ctx, t.folder, only, sources, p)
}

// noLog is the error of a name that nothing with a log has.
func noLog(folder state.Folder, st *state.State, name string) error {
	var names []string
	for n := range st.Services {
		names = append(names, n)
	}
	sources, err := findLogs(folder, "")
	if err != nil {
		return err
	}
	for _, s := range sources {
		names = append(names, s.name)
	}
	hint := didYouMean(name, names)
	if hint == "" && len(sources) > 0 {
		var all []string
		for _, s := range sources {
			all = append(all, s.name)
		}
		hint = "there are logs of " + list(all, 10)
	}
	return hinted(hint, "instance %q has no service, run or command %q", st.Instance, name)
}

func (a *app) logDocument(name string, sources []*logSource) error {
	type line struct {
		Name string `json:"name"`
		Text string `json:"text"`
	}
	lines := []line{}
	for _, s := range sources {
		texts, err := s.tail(a.opts.lines)
		if err != nil {
			return err
		}
		for _, text := range texts {
			lines = append(lines, line{s.name, a.ui.mask.String(text)})
		}
	}
	a.ui.document(struct {
		FormatVersion int    `json:"format_version"`
		Instance      string `json:"instance"`
		Lines         []line `json:"lines"`
	}{report.FormatVersion, name, lines})
	return nil
}

// logPrinter prints lines with the name of what wrote them in front.
type logPrinter struct {
	ui    *ui
	width int // of the names; 0: none are shown
}

func (p *logPrinter) lines(name string, lines []string) {
	var text strings.Builder
	for _, line := range lines {
		if p.width > 0 {
			text.WriteString(p.ui.paint(cyan, fmt.Sprintf("%-*s", p.width, name)) + " | ")
		}
		line = p.ui.mask.String(line)
		if p.ui.tty {
			line = clean(line)
		}
		text.WriteString(line + "\n")
	}
	if text.Len() > 0 {
		p.ui.print(text.String())
	}
}

// logSource is one log, which is rotated while it is read: the file at path
// becomes path.1, that becomes path.2.
type logSource struct {
	name string
	path string

	file *os.File // being followed
	rest []byte   // of a line whose end was not written yet
}

// findLogs returns the logs of an instance, or those of one name.
func findLogs(folder state.Folder, only string) ([]*logSource, error) {
	var sources []*logSource
	for _, dir := range logFolders {
		paths, err := filepath.Glob(filepath.Join(escapeGlob(folder.Path(dir)), "*.log"))
		if err != nil {
			return nil, err
		}
		if _, err := os.ReadDir(folder.Path(dir)); err != nil && !os.IsNotExist(err) {
			return nil, err
		}
		for _, path := range paths {
			name := strings.TrimSuffix(filepath.Base(path), ".log")
			if only == "" || name == only {
				sources = append(sources, &logSource{name: name, path: path})
			}
		}
	}
	slices.SortStableFunc(sources, func(a, b *logSource) int { return strings.Compare(a.name, b.name) })
	return sources, nil
}

// escapeGlob returns a pattern that matches path alone.
func escapeGlob(path string) string {
	if filepath.Separator == '\\' {
		return path // there is no escape on Windows
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// tail returns the last n lines, also from the files that were rotated away; all
// of them when n is negative. What is followed later begins behind them.
func (s *logSource) tail(n int) ([]string, error) {
	file, err := os.Open(s.path)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var lines []string
	if err == nil {
		s.file = file
		if lines, s.rest, err = lastLines(file, n); err != nil {
			return nil, err
		}
	}
	for i := 1; n < 0 || len(lines) < n; i++ {
		older, err := os.Open(fmt.Sprintf("%s.%d", s.path, i))
		if err != nil {
			break // the oldest was read, or was rotated away just now
		}
		want := n
		if n > 0 {
			want = n - len(lines)
		}
		before, rest, err := lastLines(older, want)
		_ = older.Close() // it was only read
		if err != nil {
			return nil, err
		}
		if len(rest) > 0 {
			before = append(before, string(rest))
		}
		lines = append(before, lines...)
	}
	if len(s.rest) > 0 && n != 0 {
		lines, s.rest = append(lines, string(s.rest)), nil
	}
	return lines, nil
}

// lastLines returns the last n whole lines of a file, all for a negative n, and
// what follows the last of them; it leaves the file at its end.
func lastLines(file *os.File, n int) (lines []string, rest []byte, err error) {
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, nil, err
	}
	const block = 64 << 10
	var data []byte
	at := end
	for at > 0 && (n < 0 || bytes.Count(data, []byte("\n")) <= n) {
		size := min(at, block)
		at -= size
		part := make([]byte, size, int(size)+len(data))
		if _, err := file.ReadAt(part, at); err != nil {
			return nil, nil, err
		}
		data = append(part, data...)
	}
	last := bytes.LastIndexByte(data, '\n')
	rest = data[last+1:]
	if last >= 0 {
		lines = strings.Split(string(data[:last]), "\n")
	}
	if n >= 0 && len(lines) > n {
		lines = lines[len(lines)-n:]
	} else if at > 0 && len(lines) > 0 {
		lines = lines[1:] // its beginning was not read
	}
	return lines, bytes.Clone(rest), nil
}

// pollLogs is how often logs that are followed are looked at.
const pollLogs = 100 * time.Millisecond

// followLogs prints what is written until ctx ends.
func (a *app) followLogs(ctx context.Context, folder state.Folder, only string, sources []*logSource, p *logPrinter) error {
	known := map[string]bool{}
	defer func() {
		for _, s := range sources {
			s.close()
		}
	}()
	for _, s := range sources {
		known[s.path] = true
	}
	for {
		select {
		case <-ctx.Done():
			return exitWith(exitCode(ctx, ctx.Err())) // how following ends
		case <-time.After(pollLogs):
		}
		found, err := findLogs(folder, only)
		if err != nil {
			return err
		}
		for _, s := range found {
			if !known[s.path] {
				known[s.path] = true
				sources = append(sources, s)
				if p.width > 0 || only == "" {
					p.width = max(p.width, len(s.name))
				}
			}
		}
		for _, s := range sources {
			lines, err := s.more()
			if err != nil {
				return err
			}
			p.lines(s.name, lines)
		}
	}
}

// more returns the lines written since the last call, over a rotation too: what
// was followed is read to its end before the new file is begun.
func (s *logSource) more() ([]string, error) {
	var lines []string
	if s.file != nil {
		now, err := os.Stat(s.path)
		rotated := err != nil
		if err == nil {
			was, err := s.file.Stat()
			rotated = err != nil || !os.SameFile(was, now)
		}
		if lines, err = s.read(); err != nil {
			return nil, err
		}
		if !rotated {
			return lines, nil
		}
		s.close()
	}
	file, err := os.Open(s.path)
	if os.IsNotExist(err) {
		return lines, nil
	}
	if err != nil {
		return nil, err
	}
	s.file, s.rest = file, nil
	next, err := s.read()
	return append(lines, next...), err
}

// read returns the whole lines between here and the end.
func (s *logSource) read() ([]string, error) {
	if info, err := s.file.Stat(); err == nil {
		if at, err := s.file.Seek(0, io.SeekCurrent); err == nil && info.Size() < at {
			_, _ = s.file.Seek(0, io.SeekStart) // it was emptied
			s.rest = nil
		}
	}
	data, err := io.ReadAll(s.file)
	if err != nil {
		return nil, err
	}
	data = append(s.rest, data...)
	last := bytes.LastIndexByte(data, '\n')
	s.rest = bytes.Clone(data[last+1:])
	if last < 0 {
		return nil, nil
	}
	return strings.Split(string(data[:last]), "\n"), nil
}

func (s *logSource) close() {
	if s.file != nil {
		_ = s.file.Close() // it was only read
		s.file = nil
	}
}

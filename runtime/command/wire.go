package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"instar/runtime/plan"
)

// The deployer and the supervisor talk over two pipes. On stdin the
// supervisor gets one order, then signs; on stdout it gives one answer, then
// the masked output of the command. What is said of it in the end is the
// record. The end of stdin means that the deployer is gone.

// order is the job. Texts that may not be valid UTF-8 are bytes, which JSON
// carries in base64.
type order struct {
	Dir     string `json:"dir"`
	Name    string `json:"name"`
	Root    string `json:"root"`
	Digest  string `json:"digest"`
	Attempt string `json:"attempt"`

	Argv     [][]byte      `json:"argv"`
	Env      [][]byte      `json:"env"`
	Cwd      []byte        `json:"cwd"`
	Stdin    []byte        `json:"stdin,omitempty"`
	HasStdin bool          `json:"has_stdin,omitempty"`
	Identity plan.Identity `json:"identity"`
	Timeout  time.Duration `json:"timeout"` // nanoseconds; 0: none
	Grace    time.Duration `json:"grace"`
	Creates  []string      `json:"creates"`
	Wipe     []string      `json:"wipe"`
	Secrets  [][]byte      `json:"secrets"`
}

// sign is what the deployer says after the order.
type sign string

const (
	signGo     sign = "go"     // begin
	signCancel sign = "cancel" // end the command; or don't begin
	signGone   sign = "gone"   // there is no deployer any more; never sent
)

// answer is what the supervisor says once, before any output.
type answer struct {
	Ready bool `json:"ready"` // the lock is held: it begins at signGo
	Busy  bool `json:"busy"`  // another supervisor holds the lock
}

func asBytes(texts []string) [][]byte {
	list := make([][]byte, len(texts))
	for i, t := range texts {
		list[i] = []byte(t)
	}
	return list
}

func asTexts(list [][]byte) []string {
	texts := make([]string, len(list))
	for i, b := range list {
		texts[i] = string(b)
	}
	return texts
}

func newOrder(job Job, attempt string) order {
	cmd := job.Command
	return order{
		Dir:      job.Dir,
		Name:     cmd.Name,
		Root:     job.Root,
		Digest:   job.Digest,
		Attempt:  attempt,
		Argv:     asBytes(cmd.Exec.Argv),
		Env:      asBytes(append(cmd.Exec.Identity.Environ(), cmd.Exec.Env...)),
		Cwd:      []byte(cmd.Exec.Dir),
		Stdin:    cmd.Stdin,
		HasStdin: cmd.Stdin != nil,
		Identity: cmd.Exec.Identity,
		Timeout:  cmd.Timeout,
		Grace:    job.grace(),
		Creates:  cmd.Creates,
		Wipe:     cmd.Wipe,
		Secrets:  asBytes(job.Secrets),
	}
}

// speaker sends JSON values, from any goroutine.
type speaker struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func newSpeaker(w io.Writer) *speaker { return &speaker{enc: json.NewEncoder(w)} }

func (s *speaker) say(v any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enc.Encode(v); err != nil {
		return fmt.Errorf("cannot reach the other side: %w", err)
	}
	return nil
}

// hear receives signs until there are no more; then signGone, or why no more can
// be heard.
func hear(dec *json.Decoder) <-chan sign {
	signs := make(chan sign, 4)
	go func() {
		for {
			var s sign
			err := dec.Decode(&s)
			switch {
			case errors.Is(err, io.EOF):
				s = signGone
			case err != nil:
				s = sign("cannot hear the deployer: " + err.Error())
			}
			signs <- s
			if err != nil {
				return
			}
		}
	}()
	return signs
}

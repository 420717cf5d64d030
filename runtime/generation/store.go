package generation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"instar/runtime/state"
)

// Store is the folder of an instance's generations.
type Store struct {
	Dir string
}

// In returns the store in the folder of an instance's state, which need not
// exist.
func In(f state.Folder) Store { return Store{f.Path("generations")} }

const (
	outcomesFile = "outcomes.json"
	tmpSuffix    = ".tmp"
)

func (s Store) path(number int) string { return filepath.Join(s.Dir, strconv.Itoa(number)) }

// numbers returns the generations that have a file, in order: those that are
// kept, and those whose contents later ones refer to.
func (s Store) numbers() ([]int, error) {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil && n > 0 && strconv.Itoa(n) == e.Name() {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// known returns the generations that can be returned to when the instance is at
// the given one and follows pinned (0: none), in order.
func (s Store) known(current, pinned int) ([]int, error) {
	numbers, err := s.numbers()
	return slices.DeleteFunc(numbers, func(n int) bool {
		return n > current || n <= current-Kept && n != pinned
	}), err
}

// List returns the heads of the generations that are kept of an instance whose
// state is st, in order. One that is damaged is left out, and told as an error
// beside the others.
func (s Store) List(st *state.State) ([]*Head, error) {
	numbers, err := s.known(st.Generation, pinned(st))
	if err != nil {
		return nil, err
	}
	outcomes, err := s.outcomes()
	if err != nil {
		return nil, err
	}
	var heads []*Head
	var bad []error
	for _, n := range numbers {
		h, err := s.head(n)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		h.Outcome = outcomes[n]
		heads = append(heads, h)
	}
	return heads, errors.Join(bad...)
}

func pinned(st *state.State) int {
	if st.RolledBack == nil {
		return 0
	}
	return st.RolledBack.Generation
}

// Read returns a generation that is kept of an instance whose state is st, its
// contents not yet verified.
func (s Store) Read(st *state.State, number int) (*Generation, error) {
	known, err := s.known(st.Generation, pinned(st))
	if err != nil {
		return nil, err
	}
	if !slices.Contains(known, number) {
		return nil, &UnknownError{number, known}
	}
	g, err := s.read(number)
	if err != nil {
		return nil, err
	}
	outcomes, err := s.outcomes()
	g.Outcome = outcomes[number]
	return g, err
}

// Before returns the number of the generation before the one that the instance
// is at, or an [*UnknownError].
func (s Store) Before(st *state.State) (int, error) {
	known, err := s.known(st.Generation, pinned(st))
	if err != nil {
		return 0, err
	}
	known = slices.DeleteFunc(known, func(n int) bool { return n >= st.Generation })
	if len(known) == 0 {
		return 0, &UnknownError{st.Generation - 1, nil}
	}
	return known[len(known)-1], nil
}

// LastGood returns the last generation whose promises and runs held; where none
// was ever checked, the last one. 0: there is none.
func (s Store) LastGood(st *state.State) (int, error) {
	known, err := s.known(st.Generation, pinned(st))
	if err != nil {
		return 0, err
	}
	outcomes, err := s.outcomes()
	unjudged := 0
	for _, n := range slices.Backward(known) {
		switch o := outcomes[n]; {
		case o.Judged && o.Kept:
			return n, err
		case !o.Judged && unjudged == 0:
			unjudged = n
		}
	}
	return unjudged, err
}

// Failure says which promise or run of a generation did not hold; "" when all did,
// or when that is not known.
func (s Store) Failure(number int) string {
	all, err := s.outcomes()
	if o := all[number]; err == nil && o.Judged && !o.Kept {
		return o.Message
	}
	return ""
}

// outcomes reads what is known of the generations' outcomes. A file that cannot
// be understood says nothing.
func (s Store) outcomes() (map[int]Outcome, error) {
	all := map[int]Outcome{}
	data, err := os.ReadFile(filepath.Join(s.Dir, outcomesFile))
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	if json.Unmarshal(data, &all) != nil {
		return map[int]Outcome{}, nil
	}
	return all, nil
}

// Judge remembers whether the promises and runs of a generation held; failure,
// masked, says which did not. One that held once is good for ever; what is
// known already is not written again.
func (s Store) Judge(number int, failure string) error {
	if _, err := os.Lstat(s.path(number)); err != nil {
		return nil // it is not kept
	}
	all, err := s.outcomes()
	if err != nil {
		return err
	}
	if old := all[number]; old.Judged && (old.Kept || failure != "") {
		return nil
	}
	all[number] = Outcome{Judged: true, Kept: failure == "", Message: failure, At: time.Now().UTC().Round(time.Millisecond)}
	return s.writeOutcomes(all)
}

func (s Store) writeOutcomes(all map[int]Outcome) error {
	data, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return state.WriteFile(filepath.Join(s.Dir, outcomesFile), append(data, '\n'), 0o600)
}

// collect removes what no generation needs that is kept when the instance is at
// the given one, and what a run that was killed left. What it cannot remove
// stays for the next time.
func (s Store) collect(current, pinned int) {
	known, err := s.known(current, pinned)
	if err != nil {
		return
	}
	needed := map[int]bool{}
	for _, n := range known {
		needed[n] = true
		h, err := s.head(n)
		if err != nil {
			return // nobody knows what it needs
		}
		for pack := range h.Packs {
			needed[pack] = true
		}
	}
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err == nil && !needed[n] || filepath.Ext(e.Name()) == tmpSuffix {
			_ = os.Remove(filepath.Join(s.Dir, e.Name()))
		}
	}
	if all, err := s.outcomes(); err == nil {
		before := len(all)
		for n := range all {
			if !needed[n] || n > current {
				delete(all, n)
			}
		}
		if len(all) != before {
			_ = s.writeOutcomes(all)
		}
	}
}

// forget removes the outcome of a generation that is about to be made: one of
// that number may have been made before the state was restored.
func (s Store) forget(number int) error {
	all, err := s.outcomes()
	if err != nil {
		return err
	}
	if _, known := all[number]; !known {
		return nil
	}
	delete(all, number)
	return s.writeOutcomes(all)
}

// make creates the folder.
func (s Store) make() error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("cannot create the folder of generations: %w", err)
	}
	return nil
}

package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"instar/runtime/fsys"
)

// Holding is what an instance has that no other one of the node may have.
type Holding struct {
	Name      string
	Root      string // "" when it was never applied
	Destroyed bool
	Ports     []int
}

// Index knows the holdings of all instances of a state folder. A look at them reads
// only those states that are others than at the last one. It is safe for use by
// several goroutines.
//
// Whoever processes many instances need not have all looked at for each one: what
// was looked at since a processing was asked for is recent enough for it. See
// [Index.Asked].
type Index struct {
	home Home

	mu     sync.Mutex
	known  map[string]*entry
	looked time.Time            // when the last look at all began
	asked  map[string]time.Time // of instances that are about to be processed
	atWork map[string]bool      // whose state may change at any time by this process
}

type entry struct {
	sig     fsys.Sig // of state.json
	holding Holding
}

var indices sync.Map // by Home: what is known serves all of a process

// Index returns the index of the state folder, the same one at each call.
func (h Home) Index() *Index {
	x, _ := indices.LoadOrStore(h, &Index{home: h, known: map[string]*entry{}, asked: map[string]time.Time{}, atWork: map[string]bool{}})
	return x.(*Index)
}

// Asked says that a processing of an instance by this process was asked for. From
// now until Done, holdings that were looked at since are recent enough for it.
func (x *Index) Asked(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.asked[name] = time.Now()
}

// Begin says that this process begins to change the state of an instance.
func (x *Index) Begin(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.atWork[name] = true
}

// Done ends what Asked and Begin said.
func (x *Index) Done(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.asked, name)
	if x.atWork[name] {
		x.look(name)
		delete(x.atWork, name)
	}
}

// Others calls do for the holdings of all instances but the one called name, as far
// as their states can be read.
func (x *Index) Others(name string, do func(Holding)) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if since, ok := x.asked[name]; !ok || x.looked.Before(since) {
		if err := x.lookAtAll(); err != nil {
			return err
		}
	}
	for other := range x.atWork {
		x.look(other)
	}
	for other, e := range x.known {
		if other != name && e.holding.Root != "" {
			do(e.holding)
		}
	}
	return nil
}

func (x *Index) lookAtAll() error {
	began := time.Now()
	dir, err := os.Open(filepath.Join(string(x.home), "instances"))
	if errors.Is(err, fs.ErrNotExist) {
		clear(x.known)
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(names))
	for _, name := range names {
		if CheckName(name) == nil {
			there[name] = true
			x.look(name)
		}
	}
	for name := range x.known {
		if !there[name] {
			delete(x.known, name)
		}
	}
	x.looked = began
	return nil
}

// look reads one state, if it is another one than before.
func (x *Index) look(name string) {
	folder := x.home.Instance(name)
	sig, err := folder.stateSig()
	old := x.known[name]
	if err != nil {
		delete(x.known, name)
		return
	}
	if old != nil && old.sig == sig {
		return
	}
	e := &entry{sig: sig, holding: Holding{Name: name}}
	x.known[name] = e
	st, err := folder.Brief()
	if err != nil {
		return // its own error shows when it is used
	}
	if again, err := folder.stateSig(); err != nil || again != sig {
		e.sig = fsys.Sig{} // it was replaced meanwhile: the next look reads it again
	}
	e.holding.Root, e.holding.Destroyed = st.Settings.Root, st.Requested == Destroyed
	for _, v := range st.Values {
		if port, err := strconv.Atoi(v.Text); err == nil && v.Kind == "port" {
			e.holding.Ports = append(e.holding.Ports, port)
		}
	}
	slices.Sort(e.holding.Ports)
}

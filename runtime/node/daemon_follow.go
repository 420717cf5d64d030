package node

import (
	"path/filepath"
	"strings"
	"sync"
	"time"

	"instar/runtime/request"
)

// looking is how many sources of profiles are looked at at once. One that takes
// more than slotTime does not keep others out.
const looking = 4

// follow has those instances processed of which the source of the profile has
// changed and may be followed.
func (d *Daemon) follow(list []*kept) {
	if len(list) == 0 {
		return
	}
	now := &sources{trust: d.options.Trust, home: string(d.options.Home), seen: map[string]*source{}}
	d.work.Go(func() {
		for _, k := range list {
			if k.running() == nil {
				continue
			}
			if d.looks.wait(d.context(), func(*waiter) {}) != nil {
				return
			}
			done := sync.OnceFunc(d.looks.give)
			late := time.AfterFunc(slotTime, done)
			d.work.Go(func() {
				defer done()
				defer late.Stop()
				defer k.survive()
				k.follow(now)
			})
		}
	})
}

// follow is [Daemon.follow] of one instance.
func (k *kept) follow(now *sources) {
	c, err := request.Current(k.folder)
	if err != nil {
		return
	}
	root := ""
	if st, err := k.folder.Brief(); err == nil {
		root = st.Settings.Root
		if st.Settings.Requester != nil {
			k.followForParent(st.Settings.Requester, c)
			return
		}
	}
	if seen := now.look(c.Source, root); seen != "" && seen != c.Seen {
		k.share.refresh()
		k.submit("profile changed")
	}
}

// sources are those of many profiles, each looked at once.
type sources struct {
	trust request.Trust
	home  string

	mu   sync.Mutex
	seen map[string]*source
}

type source struct {
	once sync.Once
	seen string // "" when it may not, or cannot, be followed
}

// look is what [request.See] says of the source of an instance's profile that may
// be followed, else "".
func (s *sources) look(path, root string) string {
	skip := []string{s.home}
	key := path
	if root != "" {
		skip = append(skip, root)
		real, err := filepath.EvalSymlinks(path)
		if err != nil || strings.HasPrefix(root, filepath.Dir(real)) { // it may be part of the folder
			key += "\x00" + root
		}
	}
	s.mu.Lock()
	one := s.seen[key]
	if one == nil {
		one = &source{}
		s.seen[key] = one
	}
	s.mu.Unlock()
	one.once.Do(func() {
		if s.trust.Profile(path) == nil {
			one.seen, _ = request.See(path, skip...) // "" when it is gone
		}
	})
	return one.seen
}

// skip is what is no part of a profile, wherever it lies.
func (k *kept) skip() []string {
	skip := []string{string(k.options.Home)}
	if st, err := k.folder.Brief(); err == nil && st.Settings.Root != "" {
		skip = append(skip, st.Settings.Root)
	}
	return skip
}

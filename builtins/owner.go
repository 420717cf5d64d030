package builtins

import (
	"fmt"
	"slices"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
)

// ownIDs returns the instance's user and group, or -1 when instar cannot give
// anything to anybody.
func (s *Session) ownIDs() (uid, gid int) {
	if !s.in.Instance.Superuser {
		return -1, -1
	}
	return s.in.Instance.UID, s.in.Instance.GID
}

// meta returns what all path resources have in common.
func (c *call) meta(v starlark.Value, mode plan.Mode, owner, group starlark.Value) (plan.Meta, error) {
	rel, err := c.path(v)
	if err != nil {
		return plan.Meta{}, err
	}
	uid, gid := c.ownIDs()
	if owner != nil {
		user, err := c.user(owner)
		if err != nil {
			return plan.Meta{}, prefixed("owner", err)
		}
		uid = user.UID
	}
	if group != nil {
		if gid, err = c.group(group); err != nil {
			return plan.Meta{}, prefixed("group", err)
		}
	}
	return plan.Meta{Path: rel, Mode: mode, UID: uid, GID: gid, At: c.at()}, nil
}

// user looks a user up by name or number. Only root may name another than
// the instance's own.
func (s *Session) user(v starlark.Value) (User, error) {
	own := s.in.Instance
	me := User{Name: own.User, UID: own.UID, GID: own.GID, Groups: own.Groups}
	if id, ok := v.(starlark.Int); ok {
		n, fits := id.Int64()
		if !fits || n < 0 || n > maxID {
			return User{}, fmt.Errorf("%s is no user number", id)
		}
		if int(n) == me.UID {
			return me, nil
		}
		if !own.Superuser {
			return User{}, s.onlyRoot(id.String())
		}
		return User{Name: id.String(), UID: int(n), GID: own.GID}, nil
	}
	name, ok := v.(starlark.String)
	if !ok {
		return User{}, want("the name of a user", v)
	}
	if string(name) == me.Name {
		return me, nil
	}
	if !own.Superuser {
		return User{}, s.onlyRoot(string(name))
	}
	if user, ok := s.users[string(name)]; ok {
		return user, nil
	}
	s.accounts()
	user, err := s.host.User(string(name))
	if err != nil {
		return User{}, fmt.Errorf("no user %q: %w", string(name), err)
	}
	s.users[string(name)] = user
	return user, nil
}

// accounts notes that the plan depends on what the machine's names mean.
func (s *Session) accounts() {
	for _, file := range []string{"/etc/passwd", "/etc/group"} {
		s.input(plan.Input{Path: file, What: "content"})
	}
}

// maxID is the highest number of a user or group; the one above it means none.
const maxID = 1<<32 - 2

func (s *Session) onlyRoot(name string) error {
	return hinted("leave it out, or run instar as root",
		"only root may name another user than the instance's own, %q: got %q", s.in.Instance.User, name)
}

// group looks a group up by name or number. Others than root may name those
// that they are in.
func (s *Session) group(v starlark.Value) (int, error) {
	own := s.in.Instance
	gid := -1
	if id, ok := v.(starlark.Int); ok {
		n, fits := id.Int64()
		if !fits || n < 0 || n > maxID {
			return 0, fmt.Errorf("%s is no group number", id)
		}
		gid = int(n)
	} else if name, ok := v.(starlark.String); !ok {
		return 0, want("the name of a group", v)
	} else if string(name) == own.Group {
		gid = own.GID
	} else {
		s.accounts()
		var err error
		if gid, err = s.host.Group(string(name)); err != nil {
			return 0, fmt.Errorf("no group %q: %w", string(name), err)
		}
	}
	if !own.Superuser && gid != own.GID && !slices.Contains(own.Groups, gid) {
		return 0, hinted("leave it out, or run instar as root",
			"only root may name a group that the instance's user is not in")
	}
	return gid, nil
}

// identity returns whom a process runs as: v is None or absent, or a user.
func (s *Session) identity(v starlark.Value) (id plan.Identity, other bool, err error) {
	own := s.in.Instance
	id = plan.Identity{User: own.User, UID: -1, GID: -1, Home: own.Root}
	if own.Superuser {
		id.UID, id.GID, id.Groups = own.UID, own.GID, own.Groups
	}
	if v == nil {
		return id, false, nil
	}
	user, err := s.user(v)
	if err != nil {
		return id, false, prefixed("user", err)
	}
	if user.UID == own.UID {
		return id, false, nil
	}
	return plan.Identity{User: user.Name, UID: user.UID, GID: user.GID, Groups: user.Groups, Home: own.Root}, true, nil
}

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"

	"instar/runtime/fsys"
	"instar/runtime/plan"
	"instar/runtime/state"
)

// who is the instance's user.
type who struct {
	user, group string
	uid, gid    int
	groups      []int // supplementary
	superuser   bool  // instar may act as any user
	byDefault   bool  // nobody named that user: whoever runs instar
}

// identity is how the engine starts processes as w. Without root's rights
// nothing can be given to anybody, and everything runs as whoever runs instar.
func (w who) identity(root string) plan.Identity {
	id := plan.Identity{User: w.user, UID: -1, GID: -1, Home: root}
	if w.superuser {
		id.UID, id.GID, id.Groups = w.uid, w.gid, w.groups
	}
	return id
}

// identify finds the instance's user: the one named, else the owner of a root
// that exists, else whoever runs instar. Only root may name another. With
// mine set, a root that belongs to somebody else is an error, for all but root.
func identify(named, root string, mine bool) (who, error) {
	me, owner, ok := os.Geteuid(), -1, false
	if info, err := os.Stat(root); err == nil && info.IsDir() {
		sig, known := fsys.Stat(info)
		owner, ok = sig.UID, known && sig.UID >= 0
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) && mine {
		return who{}, badRoot(err)
	}
	if me > 0 && ok && owner != me && mine {
		return who{}, &permissionError{
			fmt.Sprintf("the root %s belongs to %s, and you are %s", root, userName(owner), userName(me)),
			"run instar as " + thoseWhoMay(owner) + ", or choose another --root"}
	}
	w, err := lookUp(named, owner, ok)
	if err != nil {
		return who{}, err
	}
	w.superuser = me == 0
	if me > 0 && w.uid != me && mine {
		return who{}, &permissionError{
			fmt.Sprintf("only root may name another user: --user %s, and you are %s", named, userName(me)), "leave --user out, or run instar as root"}
	}
	return w, nil
}

// still refuses to run an instance as root that ran as another user before, only
// because its root folder, which that user may have removed, is not there.
func (w who) still(st *state.State, root string) error {
	if !w.superuser || !w.byDefault || st.RanAs == "" || w.user == st.RanAs {
		return nil
	}
	return &permissionError{
		fmt.Sprintf("instance %q ran as %s, and its root %s is gone: it would run as %s now", st.Instance, st.RanAs, root, w.user),
		"say whom it is to run as: --user " + st.RanAs + ", or --user " + w.user}
}

func lookUp(named string, owner int, owned bool) (who, error) {
	var u *user.User
	var err error
	switch {
	case named != "":
		if u, err = user.Lookup(named); err != nil {
			if _, numErr := strconv.Atoi(named); numErr == nil {
				u, err = user.LookupId(named)
			}
		}
		if err != nil {
			return who{}, hinted("create the user first", "no user %q on this machine", named)
		}
	case owned:
		if u, err = user.LookupId(strconv.Itoa(owner)); err != nil {
			return who{user: strconv.Itoa(owner), group: strconv.Itoa(owner), uid: owner, gid: owner}, nil
		}
	default:
		if u, err = user.Current(); err != nil {
			return who{}, fmt.Errorf("cannot find out who runs instar: %w", err)
		}
	}
	w := describe(u)
	w.byDefault = named == "" && !owned
	return w, nil
}

// describe takes over what the system knows of a user. Where users have no
// numbers, they are -1.
func describe(u *user.User) who {
	w := who{user: u.Username, group: u.Gid, uid: number(u.Uid), gid: number(u.Gid)}
	if g, err := user.LookupGroupId(u.Gid); err == nil {
		w.group = g.Name
	}
	ids, err := u.GroupIds()
	if err != nil {
		return w // no supplementary groups then
	}
	for _, id := range ids {
		if n := number(id); n >= 0 && n != w.gid {
			w.groups = append(w.groups, n)
		}
	}
	slices.Sort(w.groups)
	return w
}

func number(id string) int {
	n, err := strconv.Atoi(id)
	if err != nil {
		return -1
	}
	return n
}

// thoseWhoMay names the users that may change what belongs to uid.
func thoseWhoMay(uid int) string {
	if uid == 0 {
		return "root"
	}
	return userName(uid) + " or as root"
}

// userName names a user for people.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "user " + strconv.Itoa(uid)
}

package main

import (
	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/state"
)

// relatives are the instance that requests the one of a state, and those that it
// requests, as they are remembered.
func relatives(folder state.Folder, st *state.State) (*report.Requester, []report.Requested) {
	var by *report.Requester
	if r := st.Settings.Requester; r != nil {
		by = &report.Requester{Instance: r.Instance, Name: r.Name}
	}
	var list []report.Requested
	for _, name := range plan.SortedKeys(st.Requests) {
		req := st.Requests[name]
		if req.Obsolete {
			continue
		}
		one := report.Requested{Name: name, Instance: req.Instance, State: req.State}
		child, err := state.Folder(folder.Path("..", req.Instance)).Brief()
		switch {
		case err != nil:
			one.Message = err.Error()
		case !child.Exists():
			one.Message = "it was not made yet"
		case child.Pending != "":
			one.Message = "it is pending"
		case child.Requested != req.State:
			one.Message = "it is " + child.Requested
		default:
			one.OK = true
		}
		list = append(list, one)
	}
	return by, list
}

// requested prints the instances that one requests.
func (u *ui) requested(list []report.Requested) {
	if len(list) == 0 {
		return
	}
	t := table{indent: "  "}
	for _, r := range list {
		message := r.Message
		state := verdict(r.OK)
		if r.Pending != nil && r.OK {
			state, message = cell{"pending", yellow}, *r.Pending
		}
		t.add(state, cell{text: r.Name}, cell{text: r.Instance}, cell{text: message})
	}
	u.print("requests:\n" + t.render(u.outColor))
}

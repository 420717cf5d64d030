package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"instar/runtime/control"
	"instar/runtime/history"
	"instar/runtime/report"
	requests "instar/runtime/request"
)

// nodeClient connects to the node; nil when none runs, or none can be reached.
func (a *app) nodeClient(ctx context.Context) (*control.Client, error) {
	client, err := control.Dial(ctx, filepath.Join(string(a.home), nodeSocket))
	if errors.Is(err, control.ErrNotServed) {
		return nil, nil
	}
	return client, err
}

// nodeDocument is `node status --json`.
type nodeDocument struct {
	FormatVersion int             `json:"format_version"`
	StateDir      string          `json:"state_dir"`
	PID           int             `json:"pid"`
	Instances     []report.Status `json:"instances"`
	// Warning says why the node was not asked: what is shown stands in files.
	Warning string `json:"warning,omitempty"`
}

// nodeStatus shows what the node serves.
func (a *app) nodeStatus(ctx context.Context) error {
	doc := nodeDocument{FormatVersion: report.FormatVersion, StateDir: string(a.home), Instances: []report.Status{}}
	client, err := a.nodeClient(ctx)
	if err != nil {
		return err
	}
	if client != nil {
		defer client.Close()
		doc.PID, _ = readLock(filepath.Join(string(a.home), nodeLock))
		doc.Instances, err = a.servedByNode(ctx, client)
	} else if doc.PID = unreachable(a.home); doc.PID != 0 {
		doc.Warning = "it cannot be asked: " + control.Available().Error() + "; this is what its files say"
		doc.Instances, err = a.requestedOfNode(ctx)
	} else {
		err = hinted("instar node install has the machine run it; instar node run runs it here", "no node runs for %s", a.home)
	}
	if err != nil {
		return err
	}
	if a.ui.json {
		a.ui.document(doc)
		return nil
	}
	a.ui.node(doc)
	return nil
}

// servedByNode asks the node for all that it serves.
func (a *app) servedByNode(ctx context.Context, client *control.Client) ([]report.Status, error) {
	names, err := client.Instances(ctx)
	if err != nil {
		return nil, err
	}
	all := []report.Status{}
	for _, name := range names {
		s, err := client.Status(ctx, name, false)
		if err != nil {
			s = &report.Status{Instance: name, State: "unknown", Error: a.ui.errorOf(err)}
		}
		all = append(all, *s)
	}
	return all, nil
}

// requestedOfNode finds out without it.
func (a *app) requestedOfNode(ctx context.Context) ([]report.Status, error) {
	names, err := requests.Names(a.home)
	if err != nil {
		return nil, err
	}
	n := &nodeView{app: a}
	defer n.close()
	all := []report.Status{}
	for _, name := range names {
		s, err := a.requestedStatus(ctx, name, n)
		if err != nil {
			s = &report.Status{Instance: name, State: "unknown", Error: a.ui.errorOf(err)}
		}
		all = append(all, *s)
	}
	return all, nil
}

// requestedStatus is the status of an instance that is requested of a node which
// cannot be asked: what its last processing has failed by is wrong with it.
func (a *app) requestedStatus(ctx context.Context, name string, n *nodeView) (*report.Status, error) {
	folder := a.home.Instance(name)
	st, err := folder.Brief()
	if err != nil {
		return nil, err
	}
	_, _, bad := requests.Read(a.home, name)
	if bad == nil {
		bad = a.onlyRequested(st, name)
	}
	a.ui.learn(st.Secrets)
	s, err := a.statusOf(ctx, target{name, st.Settings.Profile, folder}, st, n)
	if err != nil {
		return nil, err
	}
	if bad != nil && !errors.Is(bad, fs.ErrNotExist) {
		s.Error = a.ui.errorOf(bad)
		return s, nil
	}
	if last, err := history.Read(folder, 1); err == nil && len(last) > 0 {
		s.Error = last[0].Error
	}
	return s, nil
}

func (u *ui) node(doc nodeDocument) {
	u.say("the node of %s runs, pid %d", doc.StateDir, doc.PID)
	if doc.Warning != "" {
		u.warn(doc.Warning)
	}
	if len(doc.Instances) == 0 {
		u.say("nothing is requested of it: instar request PROFILE, or instar apply PROFILE")
		return
	}
	t := table{header: []string{"INSTANCE", "STATE", "GENERATION", "SERVICES", "PROBLEM"}}
	for _, s := range doc.Instances {
		running, problem := 0, cell{text: "-"}
		for _, one := range s.Services {
			if one.Status == "running" {
				running++
			}
		}
		if s.Error != nil {
			problem = cell{s.Error.Message, red}
		}
		t.add(cell{text: s.Instance}, stateCell(s.State, s.Pending), cell{text: strconv.Itoa(s.Generation)},
			cell{text: fmt.Sprintf("%d/%d running", running, len(s.Services))}, problem)
	}
	u.print(t.render(u.outColor))
}

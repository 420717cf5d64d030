package node

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"instar/runtime/control"
	"instar/runtime/metrics"
	"instar/runtime/plan"
	"instar/runtime/report"
	"instar/runtime/secret"
	"instar/runtime/service"
)

// value returns the value of a sample, "name label=value …", or -1.
func value(families []metrics.Family, want string) float64 {
	for _, f := range families {
		for _, s := range f.Samples {
			key := f.Name
			for i := 0; i < len(s.Labels); i += 2 {
				key += " " + s.Labels[i] + "=" + s.Labels[i+1]
			}
			if key == want {
				return s.Value
			}
		}
	}
	return -1
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		synctest.Wait()
		is := func(what string, want float64) {
			t.Helper()
			if got := value(b.Metrics(), what); got != want {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		is("instar_processings_total instance=web result=ok", 1)
		is("instar_instances state=started", 1)
		is("instar_instance_ok instance=web", 1)
		begun := float64(time.Now().Unix())
		is("instar_instance_last_success_timestamp_seconds instance=web", begun)

		b.exit("a")
		b.exit("b")
		is("instar_service_exits_total instance=web service=a", 1)
		is("instar_service_exits_total instance=web service=b", 1)
		is("instar_bangs_total instance=web", 2)

		time.Sleep(time.Second)
		b.set(fails)
		b.do(control.Action{Verb: "apply"})
		is("instar_processings_total instance=web result=failed", 1)
		is("instar_instance_ok instance=web", 0)
		is("instar_instance_last_success_timestamp_seconds instance=web", begun)

		b.check(func(context.Context) []report.Promise {
			return []report.Promise{{Name: "holds", OK: true}, {Name: "topsecret"}}
		})
		b.set(func() (*plan.Plan, error) {
			p := planOf("a")
			p.Promises = []plan.Promise{{Name: "holds"}, {Name: "topsecret"}}
			return p, nil
		})
		b.do(control.Action{Verb: "apply"})
		is("instar_processings_total instance=web result=unkept", 1)
		is("instar_promise_ok instance=web promise=holds", 1)
		is("instar_promise_ok instance=web promise="+secret.Mask, 0)

		b.set(func() (*plan.Plan, error) {
			p := planOf("a")
			p.Pending = &plan.Pending{Why: "not yet"}
			return p, nil
		})
		b.do(control.Action{Verb: "stop"})
		is("instar_processings_total instance=web result=pending", 1)
		is("instar_instances state=stopped", 1)
		is("instar_instances state=started", 0)
		b.stop()
	})
}

// All metrics are in the documentation, and no others.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/node.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented, known []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(instar_[a-z_]+)[`{]").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, m[1])
	}
	for _, f := range newFamilies().all(newTook(), "v") {
		known = append(known, f.Name)
		if counter := strings.HasSuffix(f.Name, "_total"); counter != (f.Kind == metrics.Counter) {
			t.Errorf("%s is a %s", f.Name, f.Kind)
		}
	}
	slices.Sort(documented)
	slices.Sort(known)
	if !slices.Equal(documented, known) {
		t.Errorf("documented: %v\nknown:      %v", documented, known)
	}
}

// What a daemon knows of instances that it does not process counts, too.
func TestDaemonMetrics(t *testing.T) {
	f := newFarm(t)
	f.profile("web", "service a")
	f.profile("gone", "once")
	f.request("web", "started")
	f.request("gone", "started")
	f.check(os.WriteFile(f.home.Instance("web").Path("..", "..", "requests", "junk.json"), []byte("{}"), 0o600))
	f.run()
	f.settled("web")
	f.settled("gone")
	f.do("gone", control.Action{Verb: "destroy"})
	f.manager.exits <- service.Exit{Instance: "web", Name: "a", Reason: "exit status 0", At: time.Now()}
	f.until("counted", func() bool {
		m := f.Metrics()
		return value(m, "instar_service_exits_total instance=web service=a") == 1 && value(m, "instar_bangs_total instance=web") == 1 &&
			value(m, "instar_instances state=started") == 1 && value(m, "instar_instances state=destroyed") == 1 &&
			value(m, "instar_instance_ok instance=junk") == 0 && value(m, "instar_instance_ok instance=web") == 1
	})
}

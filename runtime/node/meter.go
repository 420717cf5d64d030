package node

import (
	"errors"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"instar/runtime/engine"
	"instar/runtime/metrics"
	"instar/runtime/report"
	"instar/runtime/state"
)

// Results of a processing, as metrics call them.
const (
	resultOK          = "ok"
	resultFailed      = "failed"
	resultUnkept      = "unkept"      // a promise or run has failed
	resultPending     = "pending"     // a value does not exist yet
	resultInterrupted = "interrupted" // somebody wanted the instance, or the node ended
)

var results = []string{resultOK, resultFailed, resultUnkept, resultPending, resultInterrupted}

// meter counts what happens to one instance, for as long as this process serves
// it.
type meter struct {
	took *took

	mu          sync.Mutex
	state       string // "" while nobody has looked
	generation  int
	ok          bool // the last processing succeeded
	processings map[string]int
	exits       map[string]int // of services that nobody stopped
	bangs       int
	restarted   int // services, by processings
	succeeded   time.Time
}

// took has the durations of processings, by their results.
type took map[string]*metrics.Histogram

func newTook() *took {
	t := took{}
	for _, result := range results {
		t[result] = &metrics.Histogram{}
	}
	return &t
}

func newMeter(t *took) *meter {
	return &meter{took: t, processings: map[string]int{}, exits: map[string]int{}}
}

// processed counts one processing.
func (m *meter) processed(r *report.Report, err error) {
	if errors.Is(err, errDestroying) {
		return // it was none
	}
	result := resultOf(r, err)
	(*m.took)[result].Observe(r.Seconds)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.processings[result]++
	m.restarted += r.Summary.Restarted
	if r.Generation > 0 {
		m.generation = r.Generation
	}
	if result != resultInterrupted {
		m.ok = result == resultOK
	}
	if result == resultOK {
		m.succeeded = time.Now()
	}
}

func resultOf(r *report.Report, err error) string {
	var unkept *engine.UnkeptError
	switch {
	case errors.As(err, &unkept):
		return resultUnkept
	case errors.Is(err, ErrPreempted), errors.Is(err, ErrInterrupted), errors.Is(err, ErrGone):
		return resultInterrupted
	case err != nil:
		return resultFailed
	case r.Pending != nil:
		return resultPending
	}
	return resultOK
}

// exit counts the end of a service that nobody stopped.
func (m *meter) exit(service string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.exits[service]++
}

func (m *meter) bang() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bangs++
}

// is notes the state that the instance was asked for.
func (m *meter) is(st *state.State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state, m.generation = st.Requested, st.Generation
}

// families are all metrics of instances.
type families struct {
	instances, ok, generation, success, processings, took, restarted, exits, bangs, promises metrics.Family
	states                                                                                   map[string]int
}

func newFamilies() *families {
	family := func(name string, kind metrics.Kind, help string) metrics.Family {
		return metrics.Family{Name: "instar_" + name, Kind: kind, Help: help}
	}
	return &families{
		states:      map[string]int{state.Started: 0, state.Stopped: 0, state.Destroyed: 0},
		instances:   family("instances", metrics.Gauge, "Instances by the state that they were asked for."),
		ok:          family("instance_ok", metrics.Gauge, "Whether nothing is wrong with the instance, as far as its last processing and its request say."),
		generation:  family("instance_generation", metrics.Gauge, "Successful applies of the instance that changed something."),
		success:     family("instance_last_success_timestamp_seconds", metrics.Gauge, "When a processing of the instance last succeeded, by this process."),
		processings: family("processings_total", metrics.Counter, "Processings of the instance, by result."),
		took:        family("processing_duration_seconds", metrics.Summed, "Duration of the processings of all instances, by result."),
		restarted:   family("services_restarted_total", metrics.Counter, "Services that processings restarted, since something that they depend on had changed."),
		exits:       family("service_exits_total", metrics.Counter, "Exits of the service that nobody asked for."),
		bangs:       family("bangs_total", metrics.Counter, "Alerts of the instance."),
		promises:    family("promise_ok", metrics.Gauge, "Whether the promise held when it was last checked."),
	}
}

// add adds one instance. Its state is the one asked for as long as it has none.
// wrong says that something is the matter that no processing knows of.
func (f *families) add(name, asked string, m *meter, wrong bool, promises []report.Promise) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state != "" {
		asked = m.state
	}
	if asked != "" {
		f.states[asked]++
	}
	const instance = "instance"
	if len(m.processings) > 0 || wrong {
		f.ok.Add(metrics.One(m.ok && !wrong), instance, name)
	}
	f.generation.Add(float64(m.generation), instance, name)
	if !m.succeeded.IsZero() {
		f.success.Add(float64(m.succeeded.UnixMilli())/1000, instance, name)
	}
	for _, result := range slices.Sorted(maps.Keys(m.processings)) {
		f.processings.Add(float64(m.processings[result]), instance, name, "result", result)
	}
	f.restarted.Add(float64(m.restarted), instance, name)
	for _, service := range slices.Sorted(maps.Keys(m.exits)) {
		f.exits.Add(float64(m.exits[service]), instance, name, "service", service)
	}
	f.bangs.Add(float64(m.bangs), instance, name)
	for _, p := range promises {
		f.promises.Add(metrics.One(p.OK), instance, name, "promise", p.Name)
	}
}

// all returns the families, in order.
func (f *families) all(t *took, version string) []metrics.Family {
	build := metrics.Family{Name: "instar_build_info", Kind: metrics.Gauge, Help: "1, with what this program is."}
	build.Add(1, "version", version, "goversion", runtime.Version())
	for _, s := range []string{state.Started, state.Stopped, state.Destroyed} {
		f.instances.Add(float64(f.states[s]), "state", s)
	}
	for _, result := range results {
		f.took.Samples = append(f.took.Samples, (*t)[result].Samples("result", result)...)
	}
	return []metrics.Family{build, f.instances, f.ok, f.generation, f.success, f.processings, f.took, f.restarted, f.exits, f.bangs, f.promises}
}

// Metrics implements [control.Meter].
func (n *Instance) Metrics() []metrics.Family {
	f := newFamilies()
	f.add(n.options.Name, "", n.meter, false, n.promises())
	return f.all(n.meter.took, n.options.Version)
}

// Metrics implements [control.Meter].
func (d *Daemon) Metrics() []metrics.Family {
	f := newFamilies()
	d.each(func(k *kept) {
		var promises []report.Promise
		if node := k.running(); node != nil {
			promises = node.promises()
		}
		k.mu.Lock()
		wrong, asked := k.bad != nil || k.busy != nil, ""
		if k.request != nil {
			asked = k.request.State
		}
		k.mu.Unlock()
		f.add(k.name, asked, k.meter, wrong, promises)
	})
	return f.all(d.took, d.options.Version)
}

// promises returns the last results, by name, masked.
func (n *Instance) promises() []report.Promise {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []report.Promise
	for _, name := range slices.Sorted(maps.Keys(n.results)) {
		p := n.results[name]
		p.Name = n.mask(p.Name)
		list = append(list, p)
	}
	return list
}

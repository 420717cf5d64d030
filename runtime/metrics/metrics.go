// Package metrics writes what is measured in the text format that Prometheus
// reads (version 0.0.4).
//
// A [Family] is all that is measured under one name: its [Sample]s differ by
// their labels. A [Histogram] collects durations until somebody asks for them.
// Nothing is registered anywhere: whoever answers a scrape gathers the families
// then, from what is the case.
package metrics

import (
	"bufio"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
)

// ContentType is the media type of what [Write] writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Kind says how the values of a family are to be read.
type Kind string

// The kinds of families.
const (
	Counter Kind = "counter" // only grows, but for restarts
	Gauge   Kind = "gauge"
	Summed  Kind = "histogram" // of samples that [Histogram.Samples] made
)

// Family is one name, which ends in the unit, and in _total for a counter.
type Family struct {
	Name    string
	Help    string
	Kind    Kind
	Samples []Sample
}

// Add adds a sample with the labels "name, value, name, value".
func (f *Family) Add(value float64, labels ...string) {
	f.Samples = append(f.Samples, Sample{Labels: labels, Value: value})
}

// Sample is one value.
type Sample struct {
	suffix string
	Labels []string // name, value, name, value
	Value  float64
}

// One is 1 for what is so, and 0 for what is not.
func One(so bool) float64 {
	if so {
		return 1
	}
	return 0
}

// Write writes families in their order. One without samples is left out.
func Write(w io.Writer, families []Family) error {
	out := bufio.NewWriter(w)
	for _, f := range families {
		if len(f.Samples) == 0 {
			continue
		}
		out.WriteString("# HELP " + f.Name + " " + help.Replace(f.Help) + "\n")
		out.WriteString("# TYPE " + f.Name + " " + string(f.Kind) + "\n")
		for _, s := range f.Samples {
			out.WriteString(f.Name + s.suffix)
			writeLabels(out, s.Labels)
			out.WriteString(" " + number(s.Value) + "\n")
		}
	}
	return out.Flush()
}

var (
	help  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	label = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

func writeLabels(out *bufio.Writer, labels []string) {
	if len(labels) == 0 {
		return
	}
	for i := 0; i+1 < len(labels); i += 2 {
		out.WriteByte("{,"[min(i, 1)])
		out.WriteString(labels[i] + `="` + label.Replace(strings.ToValidUTF8(labels[i+1], "\uFFFD")) + `"`)
	}
	out.WriteByte('}')
}

func number(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// Histogram counts durations in seconds, by size. The zero value is empty. Its
// methods may be called from several goroutines.
type Histogram struct {
	mu     sync.Mutex
	counts [len(bounds) + 1]uint64
	sum    float64
}

// bounds of the sizes, in seconds: from an instance of which nothing has changed
// to one that waits for promises.
var bounds = [...]float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300}

// Observe counts one.
func (h *Histogram) Observe(seconds float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := 0
	for i < len(bounds) && seconds > bounds[i] {
		i++
	}
	h.counts[i]++
	h.sum += seconds
}

// Samples returns those of a family of the kind [Summed], with labels.
func (h *Histogram) Samples(labels ...string) []Sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []Sample
	var count uint64
	for i := range h.counts {
		count += h.counts[i]
		bound := math.Inf(1)
		if i < len(bounds) {
			bound = bounds[i]
		}
		list = append(list, Sample{"_bucket", append(labels[:len(labels):len(labels)], "le", number(bound)), float64(count)})
	}
	return append(list, Sample{"_sum", labels, h.sum}, Sample{"_count", labels, float64(count)})
}

package metrics

import (
	"runtime"
	"time"
)

// begun is about when this process began.
var begun = time.Now()

// Process returns what this process needs, under the names that Prometheus'
// client libraries give it.
func Process() []Family {
	families := []Family{
		{Name: "process_start_time_seconds", Help: "Start time of the process since unix epoch in seconds.", Kind: Gauge},
		{Name: "go_goroutines", Help: "Number of goroutines that currently exist.", Kind: Gauge},
	}
	families[0].Add(float64(begun.UnixMilli()) / 1000)
	families[1].Add(float64(runtime.NumGoroutine()))
	return append(families, usage()...)
}

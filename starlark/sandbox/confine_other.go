//go:build !linux || race

package sandbox

import (
	"fmt"
	"os"
	"runtime/metrics"
	"time"
)

// hardMemory says that the kernel enforces the memory limit. The race
// detector maps far more than any limit, so with it nothing does.
const hardMemory = false

// confine starts a watchdog that ends this process when its heap is above
// the limit.
func confine(memory, _ int64) error {
	go watch(uint64(memory), 5*time.Millisecond)
	return nil
}

func watch(limit uint64, every time.Duration) {
	sample := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
	}
	for range time.Tick(every) {
		metrics.Read(sample)
		if used := sample[0].Value.Uint64() + sample[1].Value.Uint64(); used > limit {
			fmt.Fprintln(os.Stderr, "out of memory:", used, "bytes in use")
			os.Exit(exitMemory)
		}
	}
}

package sandbox

import "testing"

// Once in fifty times the memory ran out when cgo started a thread, and the
// profile's author was told of a bug of instar.
func TestLastWordsOfAProcessWithoutMemory(t *testing.T) {
	for _, words := range []string{
		"fatal error: runtime: out of memory\n",
		"runtime/cgo: pthread_create failed: Resource temporarily unavailable\nSIGABRT: abort\n",
	} {
		if !outOfMemory(words) {
			t.Errorf("not taken for a lack of memory: %q", words)
		}
	}
	if words := "panic: runtime error: index out of range\n"; outOfMemory(words) {
		t.Errorf("taken for a lack of memory: %q", words)
	}
}

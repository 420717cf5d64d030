//go:build linux && !race

package eval_test

// hardMemory says that the kernel enforces the memory limit, see package
// sandbox.
const hardMemory = true

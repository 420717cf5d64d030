package promise

import (
	"context"
	"fmt"

	"instar/runtime/plan"
)

// disk holds when the file system that Path is on has MinFree bytes left for
// users other than root.
func (c *Checker) disk(_ context.Context, p plan.Promise) error {
	free, err := freeBytes(p.Check.Path)
	if err != nil {
		return missing(p.Check.Path, err)
	}
	if free < uint64(max(p.Check.MinFree, 0)) {
		return fmt.Errorf("%s left at %s, want %s", size(int64(min(free, 1<<62))), p.Check.Path, size(p.Check.MinFree))
	}
	return nil
}

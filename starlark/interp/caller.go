package interp

import (
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// CallerFile returns the canonical name of the file whose code called the
// running builtin: that of the innermost Starlark frame, or "" without one.
// References to files are resolved from there.
func CallerFile(thread *starlark.Thread) string {
	if pos := CallerPos(thread); pos.IsValid() {
		return pos.Filename()
	}
	return ""
}

// CallerPos returns the position in the innermost Starlark frame, that of
// the call of the running builtin. It is invalid without such a frame.
func CallerPos(thread *starlark.Thread) syntax.Position {
	for i := range thread.CallStackDepth() {
		frame := thread.DebugFrame(i)
		if _, ok := frame.Callable().(*starlark.Function); ok {
			return frame.Position()
		}
	}
	return syntax.Position{}
}

// Stack returns the thread's Starlark frames, outermost first.
func Stack(thread *starlark.Thread) []Frame {
	var frames []Frame
	for i := thread.CallStackDepth() - 1; i >= 0; i-- {
		frame := thread.DebugFrame(i)
		if fn, ok := frame.Callable().(*starlark.Function); ok {
			frames = append(frames, Frame{Name: fn.Name(), Pos: PositionOf(frame.Position())})
		}
	}
	return frames
}

// Loading reports whether the running code is called by the top level of a
// module that is being loaded, rather than by the entry file. It is false
// on a thread that is not an Interp's.
func Loading(thread *starlark.Thread) bool {
	in, ok := thread.Local(localKey).(*Interp)
	return ok && len(in.loading) > 1
}

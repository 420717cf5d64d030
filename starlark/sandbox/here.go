package sandbox

import (
	"bytes"
	"context"
	"errors"

	"instar/starlark/interp"
)

// RunHere is Run without a child: the handler runs in this process, bounded
// only as far as it obeys its context. It is for tests and debuggers. Frames
// and errors are as from a child.
func RunHere(ctx context.Context, handler Handler, l Limits, request []byte, onFrame OnFrame) error {
	l, err := l.withDefaults()
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, l.Time)
	defer cancel()
	here := &direct{onFrame: onFrame, left: l.output()}
	board := newBoard(make(memory, pageSize))
	err = protect(func() error {
		return handler(limited, bytes.Clone(request), &Child{link: here, board: board})
	})
	position, _ := readBoard(board.store.(memory))
	switch {
	case here.failure != nil:
		return here.failure
	case err == nil:
		return nil
	case here.left < 0:
		return interp.MemoryLimit(l.Memory, position)
	case ctx.Err() != nil:
		return interp.Cancelled(ctx.Err(), position)
	case limited.Err() != nil:
		return interp.TimeLimit(l.Time.String(), position)
	}
	return decodeError(encodeError(err))
}

// errEnough tells a handler to return.
var errEnough = errors.New("the run was ended")

// direct is the link of RunHere.
type direct struct {
	onFrame OnFrame
	failure error // of onFrame, for a sent frame
	left    int64 // bytes that may still be sent
}

func (d *direct) send(kind byte, data []byte) error {
	if d.left -= int64(len(data)); d.left < 0 || d.failure != nil {
		return errEnough
	}
	if _, err := d.onFrame(kind, bytes.Clone(data)); err != nil {
		d.failure = err
		return errEnough
	}
	return nil
}

func (d *direct) call(kind byte, data []byte) ([]byte, error) {
	if d.left -= int64(len(data)); d.left < 0 || d.failure != nil {
		return nil, errEnough
	}
	reply, err := d.onFrame(kind, bytes.Clone(data))
	if err != nil {
		return nil, decodeError(encodeError(err))
	}
	return reply, nil
}

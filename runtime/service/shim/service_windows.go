package shim

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
)

// AsService serves as a service of Windows: what the service control manager
// starts must answer it. The context ends when the service shall.
func AsService(serve func(context.Context) error, stderr io.Writer) int {
	// Without a console nothing could be told to end but by force.
	_, _, _ = windows.NewLazySystemDLL("kernel32.dll").NewProc("AllocConsole").Call()
	h := &handler{serve: serve}
	if err := svc.Run("instar", h); err != nil {
		return report(stderr, fmt.Errorf("this is for the service control manager to call: %w", err))
	}
	return report(stderr, h.err)
}

// handler answers the service control manager.
type handler struct {
	serve func(context.Context) error
	err   error
}

// Execute implements [svc.Handler]. What could not serve has failed, and is
// started again.
func (h *handler) Execute(_ []string, asked <-chan svc.ChangeRequest, status chan<- svc.Status) (bool, uint32) {
	status <- svc.Status{State: svc.StartPending}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- h.serve(ctx) }()
	now := svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptShutdown}
	status <- now
	for {
		select {
		case h.err = <-served:
			if h.err != nil {
				return true, exitFailed
			}
			return false, exitOK
		case r := <-asked:
			switch r.Cmd {
			case svc.Interrogate:
				status <- now
			case svc.Stop, svc.Shutdown:
				now = svc.Status{State: svc.StopPending, WaitHint: 60_000}
				status <- now
				cancel()
			}
		}
	}
}

// Helloworld-server is the software that the helloworld profile deploys: a web
// server that answers every request with the text of one file.
//
// Usage:
//
//	helloworld-server --port PORT --greeting FILE [--host ADDRESS]
//
// The file is read once, at start, as most servers read their configuration:
// whoever changes it restarts the server. SIGTERM and SIGINT end it, once the
// requests under way are answered.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// patience is how long requests under way may take after a signal to stop.
const patience = 5 * time.Second

func main() {
	log.SetFlags(0)
	log.SetPrefix("helloworld-server: ")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	switch err := run(ctx, os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		log.Fatal(err)
	}
}

// run serves until ctx is done. It returns nil after a clean shutdown.
func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("helloworld-server", flag.ContinueOnError)
	host := flags.String("host", "127.0.0.1", "`address` to listen on")
	port := flags.Int("port", 0, "TCP `port` to listen on; 0 lets the system choose one")
	path := flags.String("greeting", "", "`file` whose text is served (required)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *path == "" {
		return errors.New("--greeting is required")
	}

	greeting, err := os.ReadFile(*path)
	if err != nil {
		return fmt.Errorf("cannot read the greeting: %w", err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(*host, strconv.Itoa(*port)))
	if err != nil {
		return err
	}
	log.Printf("listening on http://%s/", listener.Addr())
	return serve(ctx, listener, greet(greeting))
}

// greet answers every request with text, as it stands.
func greet(text []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		if r.Method == http.MethodHead {
			return
		}
		if _, err := w.Write(text); err != nil {
			log.Printf("cannot answer %s: %v", r.RemoteAddr, err)
		}
	})
}

// serve answers requests on listener, which it closes, until ctx is done and
// the requests under way are answered.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: patience}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	// A context of its own: the one that is done would end the wait at once.
	wait, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := server.Shutdown(wait); err != nil {
		return fmt.Errorf("cannot stop in %s: %w", patience, err)
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

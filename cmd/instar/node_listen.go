package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"instar/runtime/control"
	"instar/runtime/plan"
)

func listenFlags(o *options, f *pflag.FlagSet) {
	f.StringVar(&o.listen, "listen", "", "show metrics at `ADDRESS`:PORT, such as 127.0.0.1:9477 (install: off ends that)")
	f.StringVar(&o.tokenFile, "listen-token-file", "", "ask for the bearer token in `FILE`; other addresses than the loopback's need one")
}

// listenOff, for --listen of `node install`, takes away what was installed.
const listenOff = "off"

// listening is where a node shows its metrics, if anywhere.
type listening struct {
	Address   string `json:"listen,omitempty"`
	TokenFile string `json:"token_file,omitempty"` // absolute
}

// listening reads the flags of the node. Nothing that others can reach is served
// without a token.
func (a *app) listening() (listening, error) {
	l := listening{Address: a.opts.listen}
	if l.Address == "" {
		if a.opts.tokenFile != "" {
			return l, usagef("add --listen ADDRESS:PORT", "--listen-token-file needs --listen")
		}
		return l, nil
	}
	host, port, err := net.SplitHostPort(l.Address)
	if n, portErr := strconv.Atoi(port); err != nil || portErr != nil || n < 0 || n > 65535 {
		return l, usagef("such as 127.0.0.1:9477, or [::1]:9477", "--listen is %q: it is no address with a port", l.Address)
	}
	switch {
	case host == "localhost":
		l.Address = net.JoinHostPort("127.0.0.1", port)
	case host != "" && net.ParseIP(host) == nil:
		return l, usagef("such as 127.0.0.1:9477", "--listen is %q: %q is no address of the network", l.Address, host)
	}
	if a.opts.tokenFile == "" {
		if !control.IsLoopback(host) {
			return l, usagef("protect it with --listen-token-file FILE, or listen at 127.0.0.1:"+port,
				"--listen is %q: others could read there what runs on this machine", l.Address)
		}
		return l, nil
	}
	if l.TokenFile, err = filepath.Abs(a.opts.tokenFile); err != nil {
		return l, err
	}
	_, err = l.token()
	return l, err
}

// A token is of that many bytes.
const (
	leastToken = 16
	mostToken  = 1024
)

// token reads the token; "" when none is asked for.
func (l listening) token() (string, error) {
	if l.TokenFile == "" {
		return "", nil
	}
	file, err := os.Open(l.TokenFile)
	if err != nil {
		return "", fmt.Errorf("cannot read the token: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", fmt.Errorf("cannot read the token: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", hinted("it holds the token alone, on one line", "%s is no file", l.TokenFile)
	}
	if plan.UnixModes && info.Mode()&0o077 != 0 {
		return "", hinted("chmod 600 "+l.TokenFile, "the token in %s may be read by others (mode %04o)", l.TokenFile, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(file, mostToken+1))
	if err != nil {
		return "", fmt.Errorf("cannot read the token: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if len(token) < leastToken || len(data) > mostToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", hinted("it is one line of at least "+strconv.Itoa(leastToken)+" printable characters; openssl rand -hex 32 makes one",
			"%s holds no token", l.TokenFile)
	}
	return token, nil
}

// listenAgain is how long until an address that is taken is tried again.
const listenAgain = 10 * time.Second

// show serves metrics until ctx ends. An address that cannot be had is told, and
// tried again: it keeps no instance waiting.
func (l listening) show(ctx context.Context, m control.Meter, token string, say func(string, ...any)) {
	told := ""
	for {
		var config net.ListenConfig
		listener, err := config.Listen(ctx, "tcp", l.Address)
		if err == nil {
			say("node: metrics at http://%s/metrics", listener.Addr())
			err = control.Public{Meter: m, Token: token}.Serve(ctx, listener)
			told = ""
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != told {
			told = err.Error()
			say("node: no metrics are shown at %s: %v", l.Address, cause(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(listenAgain):
		}
	}
}

// cause is an error of the network without the address, which the caller names.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

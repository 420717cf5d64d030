package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// options holds the flags of all commands.
type options struct {
	global  *pflag.FlagSet // as parsed, with those of the command
	state   string
	color   string
	json    bool
	quiet   bool
	verbose bool
	version bool

	name, root, release, user, manager string
	set, setFile, unset                []string
	params                             string
	reset                              bool
	wait                               time.Duration

	maxSource, maxMemory int64
	maxSteps             uint64
	maxTime              time.Duration

	message                                 string
	reveal, detailed, purge, schema, follow bool
	plan, verify, rollbackOnFailure, all    bool
	lines                                   int
	wanted, retention, out                  string
	idempotent                              bool
	listen, tokenFile                       string
}

// given reports whether a flag stood on the command line.
func (o *options) given(name string) bool { return o.global.Changed(name) }

func globalFlags(o *options, f *pflag.FlagSet) {
	f.StringVar(&o.state, "state-dir", "", "`FOLDER` of the state (INSTAR_STATE_DIR; default /var/lib/instar, or $XDG_STATE_HOME/instar)")
	f.BoolVar(&o.json, "json", false, "print one JSON document")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print errors and warnings only")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print more: diffs, output of commands")
	f.StringVar(&o.color, "color", "auto", "`WHEN` to colour: auto, always or never")
}

func profileFlags(o *options, f *pflag.FlagSet) {
	f.StringVar(&o.name, "name", "", "`NAME` of the instance (default: the folder's)")
	f.StringVar(&o.root, "root", "", "`FOLDER` of the instance (default /srv/instar/NAME, or $XDG_DATA_HOME/instar/NAME when not root)")
	f.StringVar(&o.release, "release", "", "`FOLDER` of the software (default "+defaultRelease+")")
	f.StringArrayVar(&o.set, "set", nil, "set a parameter, `KEY=VALUE`")
	f.StringArrayVar(&o.setFile, "set-file", nil, "set a parameter to the content of a file, `KEY=PATH`")
	f.StringVar(&o.params, "params", "", "set the parameters that `FILE` holds: JSON, YAML or TOML; - is stdin")
	f.StringArrayVar(&o.unset, "unset", nil, "forget a parameter, `KEY`")
	f.BoolVar(&o.reset, "reset", false, "forget all parameters first")
	f.StringVar(&o.user, "user", "", "`USER` of the instance (default: the owner of its root, else whoever runs instar)")
	f.StringVar(&o.manager, "manager", "", "service `MANAGER`: systemd, openrc, sysv, launchd, windows or none (default: what runs this machine)")
	f.Var((*seconds)(&o.wait), "wait", "how `LONG` to wait for runs and promises (default 60s)")
}

func limitFlags(o *options, f *pflag.FlagSet) {
	f.Var((*size)(&o.maxSource), "max-source", "bound the `SIZE` of the profile's source (default 16MiB)")
	f.Uint64Var(&o.maxSteps, "max-steps", 0, "bound the `NUMBER` of steps of an evaluation (default 10000000)")
	f.Var((*seconds)(&o.maxTime), "max-time", "bound the `TIME` of an evaluation (default 10s)")
	f.Var((*size)(&o.maxMemory), "max-memory", "bound the `SIZE` of an evaluation's memory (default 512MiB)")
}

func revealFlag(o *options, f *pflag.FlagSet) {
	f.BoolVar(&o.reveal, "reveal", false, "show the secrets in published values")
}

func detailedFlag(o *options, f *pflag.FlagSet) {
	f.BoolVar(&o.detailed, "detailed-exitcode", false, "exit with 2 when there are changes")
}

func purgeFlag(o *options, f *pflag.FlagSet) {
	f.BoolVar(&o.purge, "purge", false, "remove what was made once, too: all data")
}

func bangFlag(o *options, f *pflag.FlagSet) {
	f.StringVarP(&o.message, "message", "m", "", "what is wrong: `TEXT` that status shows")
}

func schemaFlag(o *options, f *pflag.FlagSet) {
	f.BoolVar(&o.schema, "json-schema", false, "print a JSON schema")
}

func followFlags(o *options, f *pflag.FlagSet) {
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what is written from now on")
	f.IntVarP(&o.lines, "lines", "n", 100, "show the last `NUMBER` of lines of each; -1 for all")
}

// seconds is a flag's duration: "90s", "5m", or a number of seconds.
type seconds time.Duration

func (s *seconds) Type() string { return "duration" }

func (s *seconds) String() string {
	if *s == 0 {
		return ""
	}
	return time.Duration(*s).String()
}

func (s *seconds) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		n, numErr := strconv.ParseFloat(text, 64)
		if numErr != nil || math.IsNaN(n) || n > math.MaxInt64/1e9 {
			return fmt.Errorf("%q is no duration such as 90s or 5m", text)
		}
		d = time.Duration(n * float64(time.Second))
	}
	if d < 0 {
		return fmt.Errorf("%q is negative", text)
	}
	*s = seconds(d)
	return nil
}

// size is a flag's number of bytes: "16MiB", "512M", "1GiB" or plain.
type size int64

func (s *size) Type() string { return "size" }

func (s *size) String() string {
	if *s == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*s), 10)
}

func (s *size) Set(text string) error {
	number := strings.TrimRight(text, "kKMGTiB")
	factor, ok := units[text[len(number):]]
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || !ok || n <= 0 || n > math.MaxInt64/factor {
		return fmt.Errorf("%q is no size such as 512MiB", text)
	}
	*s = size(n * factor)
	return nil
}

// units are powers of 1024, however they are written.
var units = map[string]int64{
	"": 1, "B": 1,
	"k": 1 << 10, "K": 1 << 10, "KiB": 1 << 10,
	"M": 1 << 20, "MB": 1 << 20, "MiB": 1 << 20,
	"G": 1 << 30, "GB": 1 << 30, "GiB": 1 << 30,
	"T": 1 << 40, "TiB": 1 << 40,
}

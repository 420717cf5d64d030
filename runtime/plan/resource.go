package plan

import "time"

// Mode is the twelve permission bits of Unix: 07777.
type Mode uint32

// Meta is what every path resource has besides its content. A UID or GID of -1
// is not looked at.
type Meta struct {
	Path     string
	Mode     Mode
	UID, GID int
	Once     bool // created if missing; never changed afterwards
	At       Pos
}

// ID implements [Resource].
func (m Meta) ID() ID { return PathID(m.Path) }

// Declared implements [Resource].
func (m Meta) Declared() Pos { return m.At }

// Target returns the path, mode and owner that are asked for.
func (m Meta) Target() Meta { return m }

// PathResource is a resource that stands at a path: all but [Command].
type PathResource interface {
	Resource
	Target() Meta
}

// Dir is a folder. An implicit one is a missing parent of something declared:
// it is created when missing and otherwise left as it is.
type Dir struct {
	Meta
	Implicit bool
}

// File is a regular file with known content.
type File struct {
	Meta
	Content []byte
	Source  string // what the content came from: "template my.cnf.tmpl"; for `why`
}

// Link is a symbolic link; its Mode is not looked at.
type Link struct {
	Meta
	To string // the link's text, verbatim
}

// Copy is a file or a folder with the content of another one. A Mode of
// [KeepMode] takes each file's mode from its source.
type Copy struct {
	Meta
	From   string // absolute path of the source
	Source string // "copy of release share/x"; for `why`
	Inside bool   // the source is in the instance: it may change while the plan is applied
}

// KeepMode as the mode of a Copy means: as in the source.
const KeepMode Mode = 1 << 31

// Exec says how a process is started. The environment is the whole of what it
// gets; nothing is inherited.
type Exec struct {
	Argv     []string // absolute program first; never split by a shell
	Env      []string // "K=V", sorted; the declared part only, see [Identity.Environ]
	Dir      string   // absolute; the instance's root by default
	Identity Identity
}

// Identity is the user that a process runs as. UID -1 means: whoever runs
// instar.
type Identity struct {
	User   string
	UID    int
	GID    int
	Groups []int // supplementary
	Home   string
}

// Command is executed while converging: until it has succeeded once, and, when
// Changed is set, again whenever its definition or a file it mentions changes.
type Command struct {
	Name    string
	Changed bool
	Exec    Exec
	Stdin   []byte   // nil: /dev/null
	Creates []string // paths that must exist afterwards
	Wipe    []string // paths emptied before a new attempt
	Uses    []string // further paths its digest depends on; see [Service]
	Timeout time.Duration
	At      Pos
}

// ID implements [Resource].
func (c *Command) ID() ID { return CommandID(c.Name) }

// Declared implements [Resource].
func (c *Command) Declared() Pos { return c.At }

// Run is started together with the services and is expected to end.
type Run struct {
	Name  string
	Exec  Exec
	After []string // runs that must have succeeded first
	Uses  []string
	At    Pos
	// Script is the path of its file below the root: "etc/run/NAME".
	Script string
	// DropIn is set for a file that nobody declared by `run`.
	DropIn bool
}

// Timer is started at the times of a schedule, and is expected to end. Without
// a Rotation it executes a command.
type Timer struct {
	Name     string
	Schedule string // five fields of numbers, see runtime/schedule
	Exec     Exec   // of a rotation: the identity and the folder alone
	Script   string // "etc/cron/NAME"; "" of a rotation
	OwnUser  bool   // runs as another user than the instance's: never through its script
	Rotation *Rotation
	At       Pos
}

// Rotation says which log files are put aside, and who is told.
type Rotation struct {
	Files []string // patterns as of path.Match, relative to the root
	Keep  int      // how many old ones of each file
	// Service is told by Signal, a name without "SIG"; both are "" when nobody is.
	Service, Signal string
	Then            []string // command that is executed after it, or nil
}

// Service is long-lived and watched.
type Service struct {
	Name        string
	Exec        Exec
	Restart     string   // "always", "on-failure", "no"
	After       []string // services started before it
	Reload      []string // command to run, or nil
	ReloadSig   string   // signal name without "SIG", or ""
	ReloadOn    []string // paths (relative to the root) that cause a reload and never a restart
	Uses        []string // paths it depends on: relative to the root, or absolute in the release
	StopSignal  string   // without "SIG": "TERM"
	StopTimeout time.Duration
	Limits      Limits
	At          Pos
	Script      string // "etc/services/NAME"
	DropIn      bool
	OwnUser     bool // runs as another user than the instance's: never through its script
}

// Limits bound one service. Zero means: not limited.
type Limits struct {
	NoFile int64   `json:"nofile,omitempty"` // open files
	NProc  int64   `json:"nproc,omitempty"`  // processes of the user
	Memory int64   `json:"memory,omitempty"` // bytes
	CPU    float64 `json:"cpu,omitempty"`    // cores
}

// Promise is a check that the instance works.
type Promise struct {
	Name     string
	Check    Check
	Period   time.Duration
	Timeout  time.Duration
	Failures int // this many in a row raise a bang
	At       Pos
}

// Check is one of the kinds of check: Kind says which, and which of the other
// fields count.
type Check struct {
	Kind string `json:"kind"` // "tcp", "socket", "http", "command", "file", "certificate", "disk"

	Host string `json:"host,omitempty"` // tcp
	Port int    `json:"port,omitempty"` // tcp, 1 to 65535
	Path string `json:"path,omitempty"` // socket, file (may be a glob), certificate, disk: absolute

	URL      string `json:"url,omitempty"` // http
	Status   int    `json:"status,omitempty"`
	CA       string `json:"ca,omitempty"` // PEM file, absolute
	Insecure bool   `json:"insecure,omitempty"`
	User     string `json:"user,omitempty"`
	Password string `json:"password,omitempty"`

	Contains *string       `json:"contains,omitempty"` // http, file
	Empty    *bool         `json:"empty,omitempty"`    // file
	MaxAge   time.Duration `json:"max_age,omitempty"`  // file; 0: any
	Days     int           `json:"days,omitempty"`     // certificate
	MinFree  int64         `json:"min_free,omitempty"` // disk, bytes

	Exec *Exec `json:"exec,omitempty"` // command
}

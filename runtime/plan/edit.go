package plan

// Op is the kind of one change, as reports name it.
type Op string

// The changes that an apply can make.
const (
	OpMkdir   Op = "mkdir"
	OpWrite   Op = "write"
	OpChmod   Op = "chmod"
	OpChown   Op = "chown"
	OpLink    Op = "link"
	OpCopy    Op = "copy"
	OpRemove  Op = "remove"
	OpRun     Op = "run"
	OpStart   Op = "start"
	OpStop    Op = "stop"
	OpRestart Op = "restart"
	OpReload  Op = "reload"
	OpUpdate  Op = "update" // of a service's definition, which does not disturb it
	OpUnload  Op = "unload"
	OpRequest Op = "request" // another instance: make it, or have it changed
	OpRelease Op = "release" // another instance: it is no longer requested, and destroyed
)

// Edit is one change that brings the machine in line with a resource. Which
// fields count depends on Op; Mode, UID and GID are those wanted, -1 for an
// owner that is left alone.
type Edit struct {
	Op       Op
	Path     string
	Mode     Mode
	UID, GID int
	Data     []byte // write: the new content
	From     string // copy: absolute path of the source file
	To       string // link: its text
	Dir      bool   // remove: a folder
	Command  *Command
	Why      string // "does not exist", "content differs", "mode is 0644"
	At       Pos
	// Foreign is set when what stands there was not put there by instar, and
	// will be lost.
	Foreign bool
}

// Kind is what stands at a path.
type Kind string

// The kinds of things that stand at a path.
const (
	KindDir     Kind = "folder"
	KindFile    Kind = "file"
	KindLink    Kind = "symbolic link"
	KindSpecial Kind = "special file" // FIFO, socket or device
)

// Info describes what stands at a path. Owners are -1 where the platform has
// none.
type Info struct {
	Kind     Kind
	Special  string // "FIFO", "socket", "device" when Kind is KindSpecial
	Mode     Mode
	UID, GID int
	Size     int64
}

// View is what evaluation and comparison see. A relative path is below the
// instance's root, where no symbolic link is followed; an absolute one is
// outside, in the release or the profile (or below the root, and then treated as
// such), where links are followed as the system does. View has no method that
// writes. A missing path is an error for which errors.Is(err, fs.ErrNotExist)
// holds.
type View interface {
	Lstat(path string) (Info, error)
	Stat(path string) (Info, error)       // follows a link outside; is Lstat inside
	ReadFile(path string) ([]byte, error) // regular files only
	Readlink(path string) (string, error)
	ReadDir(path string) ([]string, error) // names, sorted
}

// A Knower is a View that may know what a file holds without reading it.
type Knower interface {
	// Holds reports whether the file at path has this content, if that is known.
	Holds(path string, content []byte) (same, known bool)
}

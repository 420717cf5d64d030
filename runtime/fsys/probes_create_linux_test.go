package fsys

import (
	"io/fs"
	"os"
	"strings"
)

const (
	setuid = fs.ModeSetuid
	setgid = fs.ModeSetgid
	sticky = fs.ModeSticky
)

// tree is what most probes start from.
func tree(r *recorder) {
	r.mkdir("d", 0o755)
	r.mkdir("d/e", 0o700)
	r.mkdir("empty", 0o755)
	r.put("d/f", "content of f")
	r.put("d/e/g", "g")
	r.put("f", "top")
	r.symlink("f", "lf")
	r.symlink("d", "ld")
	r.symlink("nowhere", "dangling")
}

var createProbes = []probe{
	{name: "mkdir", do: func(r *recorder) { r.mkdir("a", 0o755); r.mkdir("a/b", 0o700); r.stat("a/b") }},
	{name: "mkdir exists", prepare: tree, do: func(r *recorder) { r.mkdir("d", 0o755); r.mkdir("f", 0o755); r.mkdir("lf", 0o755) }},
	{name: "mkdir on a dangling link", prepare: tree, do: func(r *recorder) { r.mkdir("dangling", 0o755) }},
	{name: "mkdir without parent", do: func(r *recorder) { r.mkdir("a/b", 0o755) }},
	{name: "mkdir below a file", prepare: tree, do: func(r *recorder) { r.mkdir("f/x", 0o755); r.mkdir("f/x/y", 0o755) }},
	{name: "mkdir of the top", do: func(r *recorder) { r.mkdir(".", 0o755); r.mkdir("/", 0o755) }},
	{name: "mkdir umask", do: func(r *recorder) { r.umask(0o027); r.mkdir("a", 0o777); r.mkdir("b", 0o777|sticky) }},
	{name: "mkdir special bits", do: func(r *recorder) { r.mkdir("a", 0o755|setgid); r.mkdir("b", 0o755|setuid); r.mkdir("c", 0o777|sticky) }},
	{name: "mkdir below setgid", prepare: func(r *recorder) { r.mkdir("s", 0o755); r.chmod("s", 0o775|setgid) },
		do: func(r *recorder) { r.mkdir("s/x", 0o755); r.put("s/f", ""); r.mkdir("s/x/y", 0o700) }},
	{name: "setgid folder of another group", asRoot: true,
		prepare: func(r *recorder) { r.mkdir("s", 0o755); r.chown("s", 11, 12); r.chmod("s", 0o775|setgid) },
		do:      func(r *recorder) { r.mkdir("s/x", 0o755); r.put("s/f", ""); r.symlink("f", "s/l") }},
	{name: "mkdirAll", do: func(r *recorder) { r.mkdirAll("a/b/c", 0o750); r.mkdirAll("a/b/c", 0o700); r.mkdirAll("a/b/d/", 0o755) }},
	{name: "mkdirAll through a file", prepare: tree, do: func(r *recorder) { r.mkdirAll("f", 0o755); r.mkdirAll("f/x/y", 0o755) }},
	{name: "mkdirAll at an existing folder", prepare: tree, do: func(r *recorder) { r.mkdirAll("d/e", 0o777); r.mkdirAll("d/e/h/i", 0o755); r.mkdirAll(".", 0o755) }},
	{name: "mkdirAll umask", do: func(r *recorder) { r.umask(0o077); r.mkdirAll("x/y", 0o777) }},
	{name: "create", do: func(r *recorder) { r.put("a", "x"); r.put("a", "longer"); r.put("a", "s"); r.cat("a") }},
	{name: "create without parent", do: func(r *recorder) { r.put("no/a", "x") }},
	{name: "create below a file", prepare: tree, do: func(r *recorder) { r.put("f/x", "x"); r.cat("f/x"); r.stat("f/x") }},
	{name: "create on a folder", prepare: tree, do: func(r *recorder) { r.put("d", "x"); r.open("d", os.O_RDWR, 0); r.open("d", os.O_RDONLY|os.O_CREATE, 0) }},
	{name: "create in a new folder", prepare: tree, do: func(r *recorder) { r.mkdir("d/new", 0o755); r.put("d/new/x", "x"); r.ls("d") }},
	{name: "create method", prepare: tree, do: func(r *recorder) {
		f, err := r.fs.Create("made")
		r.note(err, "create")
		h := &openFile{r, f}
		h.write("abc")
		h.seek(0, 0)
		h.read(10)
		h.close()
		f, err = r.fs.Create("f")
		r.note(err, "create")
		(&openFile{r, f}).stat()
		f.Close()
	}},
	{name: "file modes and umask", do: func(r *recorder) {
		r.umask(0o027)
		for i, mode := range []fs.FileMode{0, 0o777, 0o666, 0o400, 0o755 | setuid, 0o755 | setgid, 0o644 | sticky, 0o777 | setuid | setgid | sticky} {
			if f := r.open("f"+string(rune('0'+i)), os.O_CREATE|os.O_WRONLY, mode); f != nil {
				f.stat()
				f.close()
			}
		}
	}},
	{name: "mode of an existing file stays", prepare: tree, do: func(r *recorder) { r.chmod("f", 0o600); r.put("f", "new"); r.stat("f") }},
	{name: "long names", do: func(r *recorder) {
		long := strings.Repeat("n", 255)
		r.mkdir(long, 0o755)
		r.put(long+"/"+long, "x")
		r.mkdir(long+"n", 0o755)
		r.put(long+"n", "x")
		r.stat(long + "n")
		r.lstat(long + "n/x")
		r.symlink("x", long+"n")
		r.stat(strings.Repeat("d/", 2100) + "x")
	}},
	{name: "odd names", do: func(r *recorder) {
		for _, name := range []string{" ", "a b", "\n", "é", "\xff", "...", "-", "a\\b", ".x", "*"} {
			r.put(name, name)
		}
		r.ls(".")
		r.put("a\x00b", "x")
		r.stat("a\x00b")
		r.mkdir("\x00", 0o755)
	}},
}

var openProbes = []probe{
	{name: "open missing", prepare: tree, do: func(r *recorder) {
		r.open("no", os.O_RDONLY, 0)
		r.open("no/x", os.O_RDONLY, 0)
		r.open("no", os.O_WRONLY|os.O_TRUNC, 0)
		r.open("d/no", os.O_RDWR, 0)
	}},
	{name: "exclusive", prepare: tree, do: func(r *recorder) {
		const flag = os.O_CREATE | os.O_EXCL | os.O_WRONLY
		for _, name := range []string{"f", "d", "lf", "dangling", "new", "new", "ld/x", "no/x"} {
			if name == "ld/x" {
				continue // a link on the way has its own table
			}
			if f := r.open(name, flag, 0o640); f != nil {
				f.close()
			}
		}
	}},
	{name: "append", prepare: tree, do: func(r *recorder) {
		f := r.open("f", os.O_APPEND|os.O_WRONLY, 0)
		g := r.open("f", os.O_APPEND|os.O_RDWR, 0)
		f.write("1")
		g.write("2")
		f.write("3")
		g.seek(0, 0)
		g.write("4")
		g.read(5)
		g.seek(0, 0)
		g.read(50)
		g.writeAt("x", 0)
		f.close()
		g.close()
	}},
	{name: "append creates", do: func(r *recorder) {
		f := r.open("new", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		f.write("a")
		f.close()
		f = r.open("new", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
		f.write("b")
		f.close()
		r.cat("new")
	}},
	{name: "truncate at opening", prepare: tree, do: func(r *recorder) {
		f := r.open("f", os.O_RDWR|os.O_TRUNC, 0)
		f.stat()
		f.read(3)
		f.close()
	}},
	{name: "truncate when reading", prepare: tree, do: func(r *recorder) {
		f := r.open("f", os.O_RDONLY|os.O_TRUNC, 0)
		f.read(3)
		f.write("x")
		f.close()
		r.open("d", os.O_RDONLY|os.O_TRUNC, 0)
	}},
	{name: "no truncation", prepare: tree, do: func(r *recorder) {
		f := r.open("d/f", os.O_WRONLY, 0)
		f.write("CON")
		f.close()
		r.cat("d/f")
	}},
	{name: "wrong direction", prepare: tree, do: func(r *recorder) {
		f := r.open("f", os.O_RDONLY, 0)
		f.write("x")
		f.writeAt("x", 1)
		f.truncate(0)
		f.close()
		f = r.open("f", os.O_WRONLY, 0)
		f.read(1)
		f.readAt(1, 0)
		f.close()
	}},
	{name: "create for reading", do: func(r *recorder) {
		f := r.open("new", os.O_RDONLY|os.O_CREATE, 0o644)
		f.read(1)
		f.write("x")
		f.close()
	}},
	{name: "open a folder", prepare: tree, do: func(r *recorder) {
		f := r.open("d", os.O_RDONLY, 0)
		f.read(3)
		f.write("x")
		f.truncate(0)
		f.stat()
		f.readAt(1, 0)
		f.close()
		r.open("d", os.O_WRONLY, 0)
		r.open("d", os.O_RDWR|os.O_TRUNC, 0)
	}},
	{name: "no follow flag", prepare: tree, do: func(r *recorder) {
		if f := r.open("f", os.O_RDONLY|nofollow, 0); f != nil {
			f.read(3)
			f.close()
		}
	}},
	{name: "no follow flag on a link", follows: true, prepare: tree, do: func(r *recorder) {
		r.open("lf", os.O_RDONLY|nofollow, 0)
		r.open("dangling", os.O_RDONLY|nofollow, 0)
	}},
}

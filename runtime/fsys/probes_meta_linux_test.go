package fsys

import (
	"io/fs"
	"strings"
	"time"
)

var metaProbes = []probe{
	{name: "stat", prepare: tree, do: func(r *recorder) {
		for _, name := range []string{"f", "d", "d/f", "d/e/g", "no", "no/x", "f/x", "", ".", "/f"} {
			r.stat(name)
			r.lstat(name)
		}
	}},
	{name: "lstat of links", prepare: tree, do: func(r *recorder) { r.lstat("lf"); r.lstat("ld"); r.lstat("dangling") }},
	{name: "chmod", prepare: tree, do: func(r *recorder) {
		for _, mode := range []fs.FileMode{0, 0o777, 0o644 | setuid, 0o755 | setuid | setgid | sticky, 0o600} {
			r.chmod("f", mode)
			r.stat("f")
			r.chmod("d", mode|0o700)
			r.stat("d")
		}
		r.cat("d/f")
	}},
	{name: "chmod of a base folder shows its entries", prepare: tree, do: func(r *recorder) { r.chmod("d/e", 0o711); r.cat("d/e/g"); r.ls("d/e") }},
	{name: "chmod missing", prepare: tree, do: func(r *recorder) {
		r.chmod("no", 0o600)
		r.chmod("f/x", 0o600)
		r.chmod("", 0o600)
		r.chmod("f/", 0o600)
	}},
	{name: "chmod of the top", do: func(r *recorder) { r.chmod(".", 0o711); r.chmod("/", 0o755) }},
	{name: "chmod ignores the umask", prepare: tree, do: func(r *recorder) { r.umask(0o077); r.chmod("f", 0o666) }},
	{name: "chmod ignores kind bits", prepare: tree, do: func(r *recorder) { r.chmod("f", 0o600|fs.ModeDir|fs.ModeSymlink); r.stat("f") }},
	{name: "chown", asRoot: true, prepare: tree, do: func(r *recorder) {
		r.chown("f", 11, 12)
		r.stat("f")
		r.chown("f", -1, 13)
		r.stat("f")
		r.chown("d", 14, -1)
		r.chown("d", -1, -1)
		r.stat("d")
		r.chown("no", 1, 1)
		r.chown("f/x", 1, 1)
	}},
	{name: "chown to oneself", prepare: tree, do: func(r *recorder) { r.chown("f", -1, -1); r.chown("d", -1, -1); r.chown("no", -1, -1) }},
	{name: "chown clears setuid", asRoot: true, prepare: tree, do: func(r *recorder) {
		for _, mode := range []fs.FileMode{0o755 | setuid | setgid, 0o745 | setuid | setgid, 0o755 | sticky} {
			r.chmod("f", mode)
			r.chown("f", 5, 6)
			r.stat("f")
			r.chmod("d", mode)
			r.chown("d", 5, 6)
			r.stat("d")
		}
	}},
	{name: "chown keeps content and mode of the base", asRoot: true, prepare: func(r *recorder) {
		tree(r)
		r.chown("d/f", 21, 22)
		r.chown("d", 23, 24)
		r.chmod("d/f", 0o640|setgid)
	}, do: func(r *recorder) {
		f := r.open("d/f", 1, 0)
		f.write("C")
		f.close()
		r.stat("d/f")
		r.put("d/new", "")
		r.stat("d")
		r.stat("d/new")
	}},
	{name: "lchown", asRoot: true, prepare: tree, do: func(r *recorder) {
		r.lchown("lf", 31, 32)
		r.lstat("lf")
		r.stat("f")
		r.lchown("dangling", 31, 32)
		r.lstat("dangling")
		r.lchown("f", 33, 34)
		r.lchown("no", 33, 34)
	}},
	{name: "chtimes", prepare: tree, do: func(r *recorder) {
		when := time.Unix(1_000_000_000, 123_456_789)
		r.chtimes("f", when, when)
		r.mtime("f")
		r.chtimes("d", time.Time{}, when.Add(time.Hour))
		r.mtime("d")
		r.chtimes("f", when, time.Time{})
		r.mtime("f")
		r.chtimes("no", when, when)
		r.chtimes("f/x", when, when)
		r.chtimes("empty", time.Unix(-5, 0), time.Unix(-5, 7))
		r.mtime("empty")
	}},
	{name: "times of rename and chmod", prepare: tree, do: func(r *recorder) {
		when := time.Unix(1_000_000_000, 0)
		r.chtimes("f", when, when)
		r.chmod("f", 0o600)
		r.mtime("f")
		r.rename("f", "g")
		r.mtime("g")
		r.chtimes("d", when, when)
		f := r.open("d/f", 1, 0)
		f.write("x")
		f.close()
		r.mtime("d")
		r.chmod("d/f", 0o600)
		r.mtime("d")
	}},
}

var nameProbes = []probe{
	{name: "spellings", prepare: tree, do: func(r *recorder) {
		for _, name := range []string{"f", "./f", "/f", "//f", "./././f", "d/../f", "d//f", "d/./f", "/d/e/../f", "d/e/../../f"} {
			r.cat(name)
			r.stat(name)
		}
	}},
	{name: "spellings of folders", prepare: tree, do: func(r *recorder) {
		for _, name := range []string{"d", "d/", "d//", "d/.", "./d/", "d/e/..", "/d/"} {
			r.ls(name)
		}
	}},
	{name: "one file under many spellings", do: func(r *recorder) {
		r.put("./f", "1")
		r.put("/f", "2")
		r.put("f", "3")
		r.ls(".")
		r.mkdir("./d", 0o755)
		r.mkdir("/d", 0o755)
		r.put("d/../g", "4")
	}},
	{name: "slash after a file", prepare: tree, do: func(r *recorder) {
		r.stat("f/")
		r.lstat("f/")
		r.open("f/", 0, 0)
		r.cat("f/.")
		r.stat("f/..")
		r.stat("f/../f")
		r.readlink("f/")
		r.chtimes("f/", time.Unix(1, 0), time.Unix(1, 0))
		r.put("f/", "x")
		r.mkdir("f/", 0o755)
		r.symlink("x", "f/")
	}},
	{name: "slash after a folder", prepare: tree, do: func(r *recorder) {
		r.stat("d/")
		r.lstat("d//")
		r.mkdir("d/", 0o755)
		r.chmod("d/", 0o711)
		r.put("d/", "x")
		r.symlink("x", "d/")
		r.mkdir("new/", 0o755)
		r.stat("new")
	}},
	{name: "slash after nothing", prepare: tree, do: func(r *recorder) {
		r.stat("no/")
		r.open("no/", 0, 0)
		r.put("no/", "x")
		r.put("no/x/", "x")
		r.symlink("x", "no/")
		r.mkdir("no/.", 0o755)
		r.put("no/.", "x")
		r.symlink("x", "no/.")
	}},
	{name: "dots through what is missing", prepare: tree, do: func(r *recorder) {
		r.stat("no/../f")
		r.put("no/../x", "x")
		r.mkdir("f/../x", 0o755)
		r.stat("no/..")
		r.stat("d/no/..")
		r.removeAll("no/../f")
		r.rename("no/../f", "x")
		r.rename("f", "no/../x")
	}},
	{name: "dot at the end", prepare: tree, do: func(r *recorder) {
		r.mkdir("d/.", 0o755)
		r.mkdir("f/.", 0o755)
		r.symlink("x", "d/.")
		r.put("d/.", "x")
		r.put("f/.", "x")
		r.chmod("d/.", 0o711)
		r.stat("d/.")
	}},
	{name: "the empty name", do: func(r *recorder) {
		r.stat("")
		r.mkdir("", 0o755)
		r.put("", "x")
		r.rename("", "x")
		r.rename("x", "")
		r.symlink("x", "")
		r.readlink("")
	}},
	{name: "too long", do: func(r *recorder) {
		r.put(longName, "")
		r.readlink(longName)
		r.remove(longName)
		r.removeAll(longName)
		r.chmod(longName, 0o600)
		r.symlink(strings.Repeat("t", 4095), "l")
		r.symlink(strings.Repeat("t", 4096), "m")
	}},
}

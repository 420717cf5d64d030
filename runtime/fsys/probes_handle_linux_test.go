package fsys

import (
	"io"
	"os"
)

var handleProbes = []probe{
	{name: "read in parts", prepare: tree, do: func(r *recorder) {
		f := r.open("d/f", os.O_RDONLY, 0)
		f.read(3)
		f.read(0)
		f.read(100)
		f.read(1)
		f.read(0)
		f.close()
	}},
	{name: "read at", prepare: tree, do: func(r *recorder) {
		f := r.open("d/f", os.O_RDONLY, 0)
		f.readAt(3, 2)
		f.readAt(100, 5)
		f.readAt(1, 1000)
		f.readAt(1, -1)
		f.read(2)
		f.close()
	}},
	{name: "write at", prepare: tree, do: func(r *recorder) {
		f := r.open("d/f", os.O_RDWR, 0)
		f.writeAt("XY", 2)
		f.writeAt("end", 20)
		f.writeAt("", 50)
		f.writeAt("n", -1)
		f.write("0")
		f.seek(0, io.SeekStart)
		f.read(100)
		f.close()
	}},
	{name: "seek", prepare: tree, do: func(r *recorder) {
		f := r.open("d/f", os.O_RDWR, 0)
		f.seek(3, io.SeekStart)
		f.read(2)
		f.seek(-1, io.SeekCurrent)
		f.read(2)
		f.seek(-2, io.SeekEnd)
		f.read(5)
		f.seek(-1, io.SeekStart)
		f.seek(0, 9)
		f.seek(30, io.SeekStart)
		f.read(1)
		f.write("gap")
		f.seek(0, io.SeekStart)
		f.read(100)
		f.close()
	}},
	{name: "truncate", prepare: tree, do: func(r *recorder) {
		f := r.open("d/f", os.O_RDWR, 0)
		f.truncate(4)
		f.read(10)
		f.truncate(8)
		f.read(10)
		f.write("!")
		f.truncate(-1)
		f.truncate(0)
		f.write("x")
		f.stat()
		f.close()
	}},
	{name: "regrown part is zero", prepare: tree, do: func(r *recorder) {
		f := r.open("d/f", os.O_RDWR, 0)
		f.truncate(12)
		f.truncate(2)
		f.truncate(6)
		f.writeAt("z", 9)
		f.readAt(20, 0)
		f.close()
	}},
	{name: "closed", prepare: tree, do: func(r *recorder) {
		f := r.open("f", os.O_RDWR, 0)
		f.close()
		f.close()
		f.read(1)
		f.write("x")
		f.seek(0, 0)
		f.truncate(0)
		f.sync()
		f.stat()
		f.chmod(0o600)
		f.names(-1)
	}},
	{name: "two handles", prepare: tree, do: func(r *recorder) {
		f := r.open("f", os.O_RDONLY, 0)
		g := r.open("f", os.O_RDWR, 0)
		f.read(1)
		g.write("TOPPLE")
		f.read(10)
		g.truncate(1)
		f.read(10)
		f.seek(0, 0)
		f.read(10)
		f.close()
		g.close()
	}},
	{name: "handle survives rename", prepare: tree, do: func(r *recorder) {
		f := r.open("d/f", os.O_RDWR, 0)
		f.read(2)
		r.rename("d/f", "moved")
		f.write("##")
		r.cat("moved")
		f.stat()
		f.close()
	}},
	{name: "handle survives rename of the folder", prepare: tree, do: func(r *recorder) {
		f := r.open("d/e/g", os.O_APPEND|os.O_WRONLY, 0)
		r.rename("d", "moved")
		f.write("##")
		r.cat("moved/e/g")
		r.cat("d/e/g")
		f.close()
	}},
	{name: "handle survives removal", prepare: tree, do: func(r *recorder) {
		f := r.open("d/f", os.O_RDWR, 0)
		g := r.open("f", os.O_RDONLY, 0)
		r.remove("d/f")
		r.remove("f")
		f.read(3)
		f.write("##")
		f.seek(0, 0)
		f.read(50)
		f.stat()
		g.read(50)
		f.close()
		g.close()
	}},
	{name: "handle survives replacement", prepare: tree, do: func(r *recorder) {
		f := r.open("f", os.O_RDWR, 0)
		r.rename("d/f", "f")
		f.read(50)
		f.write("lost")
		r.cat("f")
		f.close()
	}},
	{name: "handle survives remove and create", prepare: tree, do: func(r *recorder) {
		f := r.open("f", os.O_RDONLY, 0)
		r.remove("f")
		r.put("f", "another")
		f.read(50)
		r.cat("f")
		f.close()
	}},
	{name: "handle survives removeAll", prepare: tree, do: func(r *recorder) {
		f := r.open("d/e/g", os.O_RDWR, 0)
		r.removeAll("d")
		f.write("still")
		f.seek(0, 0)
		f.read(9)
		f.close()
	}},
	{name: "fchmod and fchown", asRoot: true, prepare: tree, do: func(r *recorder) {
		f := r.open("f", os.O_RDWR, 0)
		f.chmod(0o4755)
		f.chmod(0o755 | setuid)
		f.stat()
		f.chown(12, -1)
		f.stat()
		f.chmod(0o755 | setgid)
		f.chown(-1, 13)
		f.stat()
		f.close()
		r.stat("f")
	}},
	{name: "fchmod", prepare: tree, do: func(r *recorder) {
		f := r.open("d", os.O_RDONLY, 0)
		f.chmod(0o711 | sticky)
		f.stat()
		f.close()
		r.stat("d")
	}},
	{name: "info is a snapshot", prepare: tree, do: func(r *recorder) {
		fi, err := r.fs.Stat("f")
		r.note(err, "stat")
		r.put("f", "much longer than before")
		r.chmod("f", 0o600)
		r.note(nil, "then %s", describe(fi))
	}},
	{name: "write clears nothing for root", asRoot: true, prepare: tree, do: func(r *recorder) {
		r.chmod("f", 0o755|setuid|setgid)
		f := r.open("f", os.O_WRONLY, 0)
		f.write("x")
		f.close()
		r.stat("f")
	}},
}

var listProbes = []probe{
	{name: "list", prepare: tree, do: func(r *recorder) { r.ls("."); r.ls("d"); r.ls("empty"); r.ls("/") }},
	{name: "list a file", prepare: tree, do: func(r *recorder) {
		f := r.open("f", os.O_RDONLY, 0)
		f.names(-1)
		f.names(1)
		f.infos(0)
		f.close()
	}},
	{name: "list in parts", prepare: tree, do: func(r *recorder) {
		f := r.open("d", os.O_RDONLY, 0)
		f.names(1)
		f.names(1)
		f.names(1)
		f.names(0)
		f.close()
	}},
	{name: "list all twice", prepare: tree, do: func(r *recorder) {
		f := r.open("d", os.O_RDONLY, 0)
		f.names(0)
		f.names(0)
		f.names(-1)
		f.names(2)
		f.seek(0, 0)
		f.names(-1)
		f.close()
	}},
	{name: "infos", prepare: tree, do: func(r *recorder) {
		f := r.open(".", os.O_RDONLY, 0)
		f.infos(-1)
		f.infos(-1)
		f.infos(1)
		f.close()
	}},
	{name: "infos in parts", prepare: tree, do: func(r *recorder) {
		f := r.open(".", os.O_RDONLY, 0)
		f.infos(4)
		f.infos(4)
		f.infos(4)
		f.close()
	}},
	{name: "list after changes", prepare: tree, do: func(r *recorder) {
		r.remove("d/f")
		r.put("d/a", "")
		r.rename("f", "d/z")
		r.rename("d/e", "e")
		r.ls(".")
		r.ls("d")
		r.ls("e")
	}},
	{name: "list an emptied folder", prepare: tree, do: func(r *recorder) {
		r.removeAll("d")
		r.mkdir("d", 0o755)
		r.ls("d")
		r.put("d/f", "new")
		r.cat("d/f")
		r.stat("d/e")
	}},
	{name: "list a removed folder", prepare: tree, do: func(r *recorder) {
		f := r.open("empty", os.O_RDONLY, 0)
		r.remove("empty")
		f.names(-1)
		f.stat()
		f.close()
	}},
	{name: "list while it changes", prepare: tree, do: func(r *recorder) {
		f := r.open("empty", os.O_RDONLY, 0)
		r.put("empty/x", "")
		f.names(-1)
		f.close()
	}},
}

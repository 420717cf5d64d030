package fsys

import "os"

var renameProbes = []probe{
	{name: "rename file", prepare: tree, do: func(r *recorder) { r.rename("f", "g"); r.cat("g"); r.stat("f") }},
	{name: "rename into folder", prepare: tree, do: func(r *recorder) { r.rename("f", "d/e/h"); r.ls("d/e") }},
	{name: "rename file onto file", prepare: tree, do: func(r *recorder) { r.rename("f", "d/f"); r.cat("d/f") }},
	{name: "rename file onto itself", prepare: tree, do: func(r *recorder) { r.rename("f", "f"); r.rename("f", "./f"); r.rename("d/f", "d/../d/f") }},
	{name: "rename file onto folder", prepare: tree, do: func(r *recorder) { r.rename("f", "d"); r.rename("f", "empty") }},
	{name: "rename folder", prepare: tree, do: func(r *recorder) {
		r.rename("d", "x")
		r.cat("x/f")
		r.cat("x/e/g")
		r.stat("d/f")
		r.put("x/e/new", "n")
		r.mkdir("d", 0o711)
		r.ls("d")
	}},
	{name: "rename folder onto file", prepare: tree, do: func(r *recorder) { r.rename("d", "f"); r.rename("empty", "lf") }},
	{name: "rename folder onto empty folder", prepare: tree, do: func(r *recorder) { r.rename("d", "empty") }},
	{name: "rename folder onto full folder", prepare: tree, do: func(r *recorder) { r.rename("empty", "d") }},
	{name: "rename folder onto itself", prepare: tree, do: func(r *recorder) { r.rename("d", "d"); r.rename("d", "./d"); r.rename("d/", "d") }},
	{name: "rename folder into itself", prepare: tree, do: func(r *recorder) { r.rename("d", "d/x"); r.rename("d", "d/e/x"); r.rename("d", "d/e") }},
	{name: "rename folder onto its parent", prepare: tree, do: func(r *recorder) { r.rename("d/e", "d"); r.rename("d/f", "d") }},
	{name: "rename missing", prepare: tree, do: func(r *recorder) {
		r.rename("no", "x")
		r.rename("no", "f")
		r.rename("no", "d")
		r.rename("f", "no/x")
		r.rename("no/x", "no/y")
		r.rename("f/x", "y")
		r.rename("f", "d/f/x")
	}},
	{name: "rename the top", prepare: tree, do: func(r *recorder) { r.rename(".", "x"); r.rename("d/.", "x"); r.rename("f", "d/."); r.rename("f", ".") }},
	{name: "rename link", prepare: tree, do: func(r *recorder) {
		r.rename("lf", "x")
		r.readlink("x")
		r.rename("dangling", "d/y")
		r.rename("f", "ld")
		r.lstat("ld")
		r.rename("d/y", "ld")
	}},
	{name: "rename onto dangling link", prepare: tree, do: func(r *recorder) { r.rename("f", "dangling"); r.lstat("dangling"); r.stat("nowhere") }},
	{name: "rename with slashes", prepare: tree, do: func(r *recorder) {
		r.rename("f/", "x")
		r.rename("f", "x/")
		r.rename("d/", "y/")
		r.rename("y", "z/")
		r.rename("no/", "x")
		r.rename("f", "z/f/")
	}},
	{name: "rename keeps mode", prepare: tree, do: func(r *recorder) {
		r.chmod("f", 0o640|setuid)
		r.chmod("d", 0o711|setgid)
		r.rename("f", "g")
		r.rename("d", "h")
		r.stat("g")
		r.stat("h")
	}},
	{name: "rename there and back", prepare: tree, do: func(r *recorder) { r.rename("d", "x"); r.rename("f", "x/f"); r.rename("x", "d"); r.cat("d/f") }},
	{name: "rename swap", prepare: tree, do: func(r *recorder) {
		r.rename("d", "t")
		r.rename("empty", "d")
		r.rename("t", "empty")
		r.ls("d")
		r.ls("empty")
		r.rename("empty/e", "d/e")
		r.cat("d/e/g")
	}},
	{name: "replace by rename again and again", prepare: tree, do: func(r *recorder) {
		for _, s := range []string{"1", "2", "3"} {
			r.put("tmp", s)
			r.rename("tmp", "d/f")
			r.cat("d/f")
		}
	}},
	{name: "too long to rename", prepare: tree, do: func(r *recorder) { r.rename("f", longName); r.rename(longName, "f") }},
}

var longName = string(make256())

func make256() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = 'a'
	}
	return b
}

var removeProbes = []probe{
	{name: "remove", prepare: tree, do: func(r *recorder) { r.remove("f"); r.stat("f"); r.remove("f"); r.remove("empty") }},
	{name: "remove full folder", prepare: tree, do: func(r *recorder) { r.remove("d"); r.remove("d/e") }},
	{name: "remove emptied folder", prepare: tree, do: func(r *recorder) {
		r.remove("d/e/g")
		r.remove("d/e")
		r.remove("d/f")
		r.remove("d")
		r.ls(".")
	}},
	{name: "remove missing", prepare: tree, do: func(r *recorder) { r.remove("no"); r.remove("no/x"); r.remove("f/x"); r.remove("") }},
	{name: "remove link", prepare: tree, do: func(r *recorder) { r.remove("lf"); r.remove("ld"); r.remove("dangling"); r.ls("d") }},
	{name: "remove with slash", prepare: tree, do: func(r *recorder) { r.remove("f/"); r.remove("empty/"); r.remove("no/") }},
	{name: "remove dots", prepare: tree, do: func(r *recorder) { r.remove("."); r.remove("empty/."); r.remove("f/."); r.remove("no/.") }},
	{name: "remove and create again", prepare: tree, do: func(r *recorder) {
		r.remove("f")
		r.mkdir("f", 0o700)
		r.remove("f")
		r.symlink("d", "f")
		r.remove("f")
		r.put("f", "back")
		r.cat("f")
		r.remove("f")
		r.stat("f")
	}},
	{name: "overwrite then remove", prepare: tree, do: func(r *recorder) { r.put("f", "other"); r.remove("f"); r.cat("f"); r.ls(".") }},
	{name: "removeAll", prepare: tree, do: func(r *recorder) { r.removeAll("d"); r.stat("d"); r.stat("d/f"); r.removeAll("f"); r.ls(".") }},
	{name: "removeAll missing", prepare: tree, do: func(r *recorder) { r.removeAll("no"); r.removeAll("no/x/y"); r.removeAll("") }},
	{name: "removeAll below a file", prepare: tree, do: func(r *recorder) { r.removeAll("f/x") }},
	{name: "removeAll of a link", prepare: tree, do: func(r *recorder) { r.removeAll("ld"); r.removeAll("dangling"); r.ls("d") }},
	{name: "removeAll dots", prepare: tree, do: func(r *recorder) { r.removeAll("."); r.removeAll("d/."); r.removeAll("no/.") }},
	{name: "removeAll with slash", prepare: tree, do: func(r *recorder) { r.removeAll("d/") }},
	{name: "removeAll and build again", prepare: tree, do: func(r *recorder) {
		r.removeAll("d")
		r.mkdirAll("d/e", 0o755)
		r.stat("d/e/g")
		r.put("d/e/g", "new")
		r.removeAll("d")
		r.stat("d")
	}},
	{name: "removeAll wide and deep", prepare: func(r *recorder) {
		for _, a := range "abcdefgh" {
			r.mkdirAll("w/"+string(a)+"/x/y/z", 0o755)
			r.put("w/"+string(a)+"/x/f", "")
		}
	}, do: func(r *recorder) { r.removeAll("w"); r.ls(".") }},
	{name: "remove what is open", prepare: tree, do: func(r *recorder) {
		f := r.open("empty", os.O_RDONLY, 0)
		r.remove("empty")
		f.stat()
		r.put("empty/x", "")
		f.close()
	}},
}

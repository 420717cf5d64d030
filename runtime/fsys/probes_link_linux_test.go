package fsys

import "os"

var linkProbes = []probe{
	{name: "symlink", prepare: tree, do: func(r *recorder) {
		r.symlink("anything at/all", "new")
		r.readlink("new")
		r.symlink("x", "f")
		r.symlink("x", "lf")
		r.symlink("x", "d")
		r.symlink("x", "no/l")
		r.symlink("x", "f/l")
		r.symlink("", "blank")
		r.symlink("../up//./x/", "d/verbatim")
		r.readlink("d/verbatim")
		r.symlink("/absolute", "abs")
		r.readlink("abs")
	}},
	{name: "readlink", prepare: tree, do: func(r *recorder) {
		for _, name := range []string{"lf", "ld", "dangling", "f", "d", "no", "f/x", "."} {
			r.readlink(name)
		}
	}},
	{name: "symlink umask", do: func(r *recorder) { r.umask(0o077); r.symlink("x", "l"); r.lstat("l") }},
	{name: "through links", follows: true, prepare: tree, do: func(r *recorder) {
		r.stat("lf")
		r.cat("lf")
		r.stat("ld")
		r.cat("ld/f")
		r.cat("ld/e/g")
		r.ls("ld")
		r.put("ld/new", "x")
		r.put("lf", "changed")
		r.cat("f")
		r.chmod("lf", 0o600)
		r.chmod("ld", 0o711)
		r.remove("ld/f")
		r.rename("ld/e", "ld/E")
		r.mkdir("ld/m", 0o755)
	}},
	{name: "dangling", follows: true, prepare: tree, do: func(r *recorder) {
		r.stat("dangling")
		r.cat("dangling")
		r.chmod("dangling", 0o600)
		r.stat("dangling/x")
		r.mkdirAll("dangling", 0o755)
		r.mkdirAll("dangling/x", 0o755)
		r.open("dangling", os.O_WRONLY, 0)
		r.put("dangling", "made through the link")
		r.cat("nowhere")
		r.symlink("no/where", "worse")
		r.put("worse", "x")
	}},
	{name: "exclusive on links", follows: true, prepare: tree, do: func(r *recorder) {
		r.open("lf", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		r.open("dangling", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if f := r.open("ld/x", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); f != nil {
			f.close()
		}
	}},
	{name: "loops", follows: true, do: func(r *recorder) {
		r.symlink("a", "a")
		r.symlink("c", "b")
		r.symlink("b", "c")
		r.stat("a")
		r.lstat("a")
		r.stat("b")
		r.put("b", "x")
		r.stat("a/x")
		r.mkdirAll("b/x", 0o755)
		r.remove("a/x")
		r.remove("a")
		r.rename("b", "d")
		r.stat("d")
	}},
	{name: "chains", follows: true, do: func(r *recorder) {
		r.put("l0", "end")
		for i := range 41 {
			r.symlink("l"+num(i), "l"+num(i+1))
		}
		r.cat("l39")
		r.cat("l40")
		r.cat("l41")
	}},
	{name: "relative targets", follows: true, do: func(r *recorder) {
		r.mkdirAll("a/b/c", 0o755)
		r.put("a/f", "af")
		r.symlink("../../f", "a/b/c/up")
		r.symlink("b/c", "a/short")
		r.cat("a/b/c/up")
		r.cat("a/short/up")
		r.ls("a/short/..")
		r.cat("a/short/../../f")
		r.symlink("../a/./b/", "a/round")
		r.ls("a/round")
		r.lstat("a/round")
	}},
	{name: "slash after a link", follows: true, prepare: tree, do: func(r *recorder) {
		r.stat("lf/")
		r.lstat("lf/")
		r.stat("ld/")
		r.lstat("ld/")
		r.readlink("ld/")
		r.ls("ld/")
		r.stat("dangling/")
		r.remove("ld/")
		r.remove("lf/")
		r.rename("ld/", "x")
		r.rename("empty", "ld/")
		r.rename("empty", "dangling/")
		r.symlink("x", "ld/")
		r.symlink("x", "dangling/")
		r.mkdir("ld/", 0o755)
		r.mkdir("dangling/", 0o755)
		r.put("dangling/", "")
		r.put("ld/", "")
	}},
	{name: "target ends in a slash", follows: true, prepare: tree, do: func(r *recorder) {
		r.symlink("f/", "bad")
		r.symlink("d/", "good")
		r.symlink("none/", "none-yet")
		r.stat("bad")
		r.cat("bad")
		r.stat("good")
		r.ls("good")
		r.put("none-yet", "x")
		r.stat("none-yet")
		r.symlink("self/", "self")
		r.put("self", "x")
		r.cat("self")
	}},
	{name: "mkdirAll through links", follows: true, prepare: tree, do: func(r *recorder) {
		r.mkdirAll("ld/x/y", 0o755)
		r.mkdirAll("ld", 0o755)
		r.mkdirAll("lf/x", 0o755)
		r.mkdirAll("lf", 0o755)
	}},
	{name: "removeAll through links", follows: true, prepare: tree, do: func(r *recorder) { r.removeAll("ld/e"); r.removeAll("ld/") }},
	{name: "chown through links", follows: true, asRoot: true, prepare: tree, do: func(r *recorder) {
		r.chown("lf", 41, 42)
		r.stat("f")
		r.lstat("lf")
		r.chown("ld/f", 43, 44)
		r.lchown("ld/e", 45, 46)
		r.chown("dangling", 1, 1)
	}},
	{name: "link replaced by folder", follows: true, prepare: tree, do: func(r *recorder) {
		r.remove("ld")
		r.mkdir("ld", 0o755)
		r.ls("ld")
		r.rename("ld", "x")
		r.symlink("x", "ld")
		r.put("ld/f", "1")
		r.cat("x/f")
	}},
}

func num(i int) string {
	if i < 10 {
		return string(rune('0' + i))
	}
	return string(rune('0'+i/10)) + string(rune('0'+i%10))
}

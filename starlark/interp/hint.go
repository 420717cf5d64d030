package interp

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// UnpackArgs is starlark.UnpackArgs with a better suggestion for an unknown
// keyword argument: that one looks at half of the names only.
func UnpackArgs(fnname string, args starlark.Tuple, kwargs []starlark.Tuple, pairs ...any) error {
	var names []string
	for i := 0; i < len(pairs); i += 2 {
		names = append(names, strings.TrimRight(pairs[i].(string), "?"))
	}
	for _, kwarg := range kwargs {
		name := string(kwarg[0].(starlark.String))
		if slices.Contains(names, name) {
			continue
		}
		e := &Error{Msg: fmt.Sprintf("%s: unexpected keyword argument %q", fnname, name)}
		if best, ok := Nearest(name, names); ok {
			e.Hint = didYouMean(best)
		} else if len(names) > 0 {
			e.Hint = "it takes " + strings.Join(names, ", ")
		}
		return e
	}
	return starlark.UnpackArgs(fnname, args, kwargs, pairs...)
}

func didYouMean(what string) string { return "did you mean " + what + "?" }

// nearMiss looks for what the program may have meant by a name that is not
// there, in failures of the interpreter itself; its own suggestions know
// neither swapped letters nor all the names.
func (in *Interp) nearMiss(e *Error, err *starlark.EvalError) string {
	if err == nil {
		return ""
	}
	if _, keyword, ok := strings.Cut(e.Msg, " got an unexpected keyword argument "); ok && argumentError(err) {
		return in.keywordHint(strings.Trim(keyword, `"`), err)
	}
	if kind, attr, ok := strings.Cut(strings.TrimSuffix(e.Msg, " field or method"), " has no ."); ok {
		names := append(attributes(kind), in.suggestions("attribute of "+kind, attr)...)
		if best, ok := Nearest(attr, names); ok {
			return didYouMean("." + best)
		}
	}
	if name, ref, ok := strings.Cut(strings.TrimPrefix(e.Msg, "load: name "), " not found in module "); ok {
		if module, err := Resolve(e.Pos.File, ref); err == nil {
			if best, ok := Nearest(name, in.modules[module].Keys()); ok {
				return didYouMean(best)
			}
		}
	}
	return ""
}

// attributes returns the names of the attributes of the language's own
// types.
func attributes(kind string) []string {
	for _, v := range []starlark.HasAttrs{
		starlark.String(""), starlark.Bytes(""), new(starlark.List), new(starlark.Dict), new(starlark.Set),
	} {
		if v.Type() == kind {
			return v.AttrNames()
		}
	}
	return nil
}

// keywordHint suggests a parameter for a keyword argument that the Starlark
// function on top of the stack does not have.
func (in *Interp) keywordHint(keyword string, err *starlark.EvalError) string {
	callee := err.CallStack[len(err.CallStack)-1]
	file, parseErr := dialect.Parse(callee.Pos.Filename(), in.sources[callee.Pos.Filename()], 0)
	if parseErr != nil {
		return ""
	}
	if best, ok := Nearest(keyword, parameters(file, callee)); ok {
		return didYouMean(best)
	}
	return ""
}

// parameters returns the names of the parameters of the function that was
// called.
func parameters(file *syntax.File, callee starlark.CallFrame) []string {
	var names []string
	syntax.Walk(file, func(n syntax.Node) bool {
		def, ok := n.(*syntax.DefStmt)
		if !ok || def.Name.Name != callee.Name {
			return true
		}
		if begin, end := def.Span(); callee.Pos.Line < begin.Line || callee.Pos.Line > end.Line {
			return true
		}
		names = names[:0]
		for _, param := range def.Params {
			if binary, ok := param.(*syntax.BinaryExpr); ok {
				param = binary.X
			}
			if id, ok := param.(*syntax.Ident); ok {
				names = append(names, id.Name)
			}
		}
		return true
	})
	return names
}

// candidates returns what name could have been meant to be.
func (in *Interp) candidates(file *syntax.File, name string) []string {
	known := append(starlark.Universe.Keys(), in.opts.Predeclared.Keys()...)
	if module, ok := file.Module.(*resolve.Module); ok {
		for _, global := range module.Globals {
			known = append(known, global.First.Name)
		}
		for _, local := range module.Locals {
			known = append(known, local.First.Name)
		}
	}
	return append(known, in.suggestions("name", name)...)
}

func (in *Interp) suggestions(kind, name string) []string {
	if in.opts.Suggest == nil {
		return nil
	}
	return in.opts.Suggest(kind, name)
}

// noSuchFile is the error of loading a file that does not exist.
func (in *Interp) noSuchFile(from, ref, name string, err error) *Error {
	e := &Error{Msg: fmt.Sprintf("cannot load %q: no such file", ref), cause: err}
	files := slices.DeleteFunc(slices.Clone(in.suggestions("file", name)), func(file string) bool {
		return slices.Contains(in.loading, file)
	})
	if best, ok := nearestFile(name, files); ok {
		e.Hint = didYouMean(fmt.Sprintf("%q", reference(from, best)))
	}
	return e
}

// nearestFile returns the file that name may have meant: one of the same
// folder with a similar name, or else of the same or a similar name
// elsewhere.
func nearestFile(name string, files []string) (string, bool) {
	var beside, elsewhere []string
	byStem := map[string]string{}
	for _, file := range slices.Sorted(slices.Values(files)) {
		if path.Dir(file) == path.Dir(name) {
			if stem(file) == stem(name) && path.Ext(file) == ".star" {
				return file, true // only the extension is wrong, or missing
			}
			beside = append(beside, stem(file))
			byStem["here/"+stem(file)] = file
			continue
		}
		if path.Base(file) == path.Base(name) {
			return file, true
		}
		elsewhere = append(elsewhere, stem(file))
		byStem["there/"+stem(file)] = file
	}
	if best, ok := Nearest(stem(name), beside); ok {
		return byStem["here/"+best], true
	}
	best, ok := Nearest(stem(name), elsewhere)
	return byStem["there/"+best], ok
}

// stem returns the name of a file without folder and extension.
func stem(file string) string {
	base := path.Base(file)
	return strings.TrimSuffix(base, path.Ext(base))
}

package service

import (
	"errors"
	"fmt"
	"strings"
)

// Validate checks what specs say about each other: names are unique, and
// `after` names what is declared, without a cycle. All that is wrong is
// reported together, with positions.
func Validate(specs []Spec) error {
	byName := make(map[string]Spec, len(specs))
	var wrong []error
	for _, s := range specs {
		if first, ok := byName[s.Name]; ok {
			wrong = append(wrong, fmt.Errorf("%s: %q is declared already (%s)", s.At, s.Name, first.At))
			continue
		}
		byName[s.Name] = s
	}
	for _, s := range specs {
		for _, name := range s.After {
			if _, ok := byName[name]; !ok {
				wrong = append(wrong, fmt.Errorf("%s: %q is after %q, which is not declared", s.At, s.Name, name))
			}
		}
	}
	if cycle := findCycle(specs, byName); cycle != nil {
		words := make([]string, len(cycle))
		for i, s := range cycle {
			words[i] = fmt.Sprintf("%q (%s)", s.Name, s.At)
		}
		wrong = append(wrong, fmt.Errorf("%s: started after each other for ever: %s", cycle[0].At, strings.Join(words, " after ")))
	}
	return errors.Join(wrong...)
}

// findCycle returns a cycle of `after`, its first element again at the end, or
// nil.
func findCycle(specs []Spec, byName map[string]Spec) []Spec {
	const open, closed = 1, 2
	state := map[string]int{}
	var path []Spec
	var visit func(s Spec) []Spec
	visit = func(s Spec) []Spec {
		state[s.Name] = open
		path = append(path, s)
		for _, name := range s.After {
			next, ok := byName[name]
			switch {
			case !ok || state[name] == closed:
			case state[name] == open:
				for i := range path {
					if path[i].Name == name {
						return append(path[i:], next)
					}
				}
			default:
				if cycle := visit(next); cycle != nil {
					return cycle
				}
			}
		}
		path = path[:len(path)-1]
		state[s.Name] = closed
		return nil
	}
	for _, s := range specs {
		if state[s.Name] == 0 {
			if cycle := visit(s); cycle != nil {
				return cycle
			}
		}
	}
	return nil
}

// StartOrder returns names so that each stands behind those that after names
// for it, and else in the order given. Names in a cycle stand where they can.
func StartOrder(names []string, after map[string][]string) []string {
	given := make(map[string]bool, len(names))
	for _, n := range names {
		given[n] = true
	}
	ordered := make([]string, 0, len(names))
	seen := make(map[string]bool, len(names))
	var place func(name string)
	place = func(name string) {
		if seen[name] || !given[name] {
			return
		}
		seen[name] = true
		for _, before := range after[name] {
			place(before)
		}
		ordered = append(ordered, name)
	}
	for _, n := range names {
		place(n)
	}
	return ordered
}

package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"

	"instar/runtime/report"
	"instar/runtime/state"
)

// promisesFile holds the last outcome of every promise, in the folder of the
// instance's state.
const promisesFile = "promises.json"

// promisesFormat is the version of that file.
const promisesFormat = 1

type rememberedPromises struct {
	FormatVersion int              `json:"format_version"`
	Promises      []report.Promise `json:"promises"`
}

// lastPromises returns the outcomes that are remembered; none when there are
// none, or when they cannot be understood: they are only shown.
func lastPromises(f state.Folder) ([]report.Promise, error) {
	data, err := os.ReadFile(f.Path(promisesFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r rememberedPromises
	if json.Unmarshal(data, &r) != nil || r.FormatVersion > promisesFormat {
		return nil, nil
	}
	return r.Promises, nil
}

// rememberPromises saves outcomes, unless all are remembered already: then they
// keep the time at which they came about.
func rememberPromises(f state.Folder, results []report.Promise) error {
	old, err := lastPromises(f)
	if err != nil {
		return err
	}
	if sameOutcomes(old, results) || len(results) == 0 && old == nil {
		return nil
	}
	data, err := json.MarshalIndent(rememberedPromises{promisesFormat, results}, "", " ")
	if err != nil {
		return err
	}
	if err := f.Make(); err != nil {
		return err
	}
	return state.WriteFile(f.Path(promisesFile), append(data, '\n'), 0o600)
}

func sameOutcomes(a, b []report.Promise) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name || a[i].OK != b[i].OK || a[i].Message != b[i].Message {
			return false
		}
	}
	return true
}

package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"instar/runtime/report"
)

const versionDoc = `The version is the tag that this program was built from, and how far from it.`

// version prints the version of this program.
func (a *app) version(context.Context, []string) error {
	if a.ui.json {
		a.ui.document(struct {
			FormatVersion int    `json:"format_version"`
			Version       string `json:"version"`
			Go            string `json:"go"`
			OS            string `json:"os"`
			Arch          string `json:"arch"`
		}{report.FormatVersion, versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH})
		return nil
	}
	a.ui.print(fmt.Sprintf("instar %s (%s, %s/%s)\n", versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH))
	return nil
}

// versionText is what the linker was told, else what Go knows of the source.
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "unknown"
}

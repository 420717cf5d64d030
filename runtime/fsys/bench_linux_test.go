package fsys

import (
	"fmt"
	"os"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/spf13/afero"
)

// The benchmarks compare with plain os in the same run, in turns, each time in a
// new folder: x-os is the median of the time that Root takes divided by the
// median of what os takes.
const (
	benchFolders = 30
	benchFiles   = 100 // in each: 3,000 a turn, 10 turns are 30,000
)

func benchPaths() []string {
	var all []string
	for i := range benchFolders {
		for j := range benchFiles {
			all = append(all, fmt.Sprintf("srv/unit-%03d/etc/file-%03d", i, j))
		}
	}
	return all
}

// bench times ours and theirs on fresh folders and reports the ratio.
func bench(b *testing.B, setup func(dir string, paths []string), ours func(r *Root, paths []string) error, theirs func(dir string, paths []string) error) {
	paths := benchPaths()
	base := b.TempDir()
	var times [2][]time.Duration
	turn := func(i, which int) {
		dir := fmt.Sprintf("%s/%d-%d", base, i, which)
		for _, p := range paths {
			if err := os.MkdirAll(path.Join(dir, path.Dir(p)), 0o755); err != nil {
				b.Fatal(err)
			}
		}
		setup(dir, paths)
		root, err := OpenRoot(dir)
		if err != nil {
			b.Fatal(err)
		}
		defer root.Close()
		start := time.Now()
		if which == 0 {
			err = ours(root, paths)
		} else {
			err = theirs(dir, paths)
		}
		times[which] = append(times[which], time.Since(start))
		if err != nil {
			b.Fatal(err)
		}
	}
	n := 0
	for b.Loop() {
		turn(n, n%2)
		turn(n, 1-n%2)
		n++
	}
	median := func(all []time.Duration) float64 {
		slices.Sort(all)
		return float64(all[len(all)/2].Nanoseconds())
	}
	b.ReportMetric(median(times[0])/median(times[1]), "x-os")
	b.ReportMetric(median(times[0])/float64(len(paths)), "ns/file")
	b.ReportMetric(0, "ns/op")
}

func nothing(string, []string) {}

var benchContent = make([]byte, 403)

// BenchmarkCreate creates, writes and closes.
func BenchmarkCreate(b *testing.B) {
	const flag = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	bench(b, nothing, func(r *Root, paths []string) error {
		for _, p := range paths {
			f, err := r.OpenFile(p, flag, 0o644)
			if err != nil {
				return err
			}
			f.Write(benchContent)
			f.Close()
		}
		return nil
	}, func(dir string, paths []string) error {
		for _, p := range paths {
			f, err := os.OpenFile(dir+"/"+p, flag, 0o644)
			if err != nil {
				return err
			}
			f.Write(benchContent)
			f.Close()
		}
		return nil
	})
}

// BenchmarkWriteFile does the whole atomic procedure, os the same by path.
func BenchmarkWriteFile(b *testing.B) {
	bench(b, nothing, func(r *Root, paths []string) error {
		for _, p := range paths {
			if err := WriteFile(r, p, benchContent, 0o640, -1, -1); err != nil {
				return err
			}
		}
		return nil
	}, func(dir string, paths []string) error {
		for _, p := range paths {
			if err := writeFileByPath(dir+"/"+p, benchContent); err != nil {
				return err
			}
		}
		return nil
	})
}

func writeFileByPath(name string, data []byte) error {
	tmp := TempName(name)
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|nofollow, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(0o640)
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

func populate(dir string, paths []string) {
	for _, p := range paths {
		os.WriteFile(dir+"/"+p, benchContent, 0o644)
	}
}

func lstatByPath(dir string, paths []string) error {
	for _, p := range paths {
		if _, err := os.Lstat(dir + "/" + p); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkLstat looks at one object after the other.
func BenchmarkLstat(b *testing.B) {
	bench(b, populate, func(r *Root, paths []string) error {
		for _, p := range paths {
			if _, err := Lstat(r, p); err != nil {
				return err
			}
		}
		return nil
	}, lstatByPath)
}

// BenchmarkLstatEach looks at all of them in one call.
func BenchmarkLstatEach(b *testing.B) {
	bench(b, populate, func(r *Root, paths []string) error {
		return LstatEach(r, paths, func(_ int, _ Sig, err error) error { return err })
	}, lstatByPath)
}

// BenchmarkReadRegular reads small files.
func BenchmarkReadRegular(b *testing.B) {
	bench(b, populate, func(r *Root, paths []string) error {
		for _, p := range paths {
			if _, err := ReadRegular(r, p, 1<<20); err != nil {
				return err
			}
		}
		return nil
	}, func(dir string, paths []string) error {
		for _, p := range paths {
			if _, err := os.ReadFile(dir + "/" + p); err != nil {
				return err
			}
		}
		return nil
	})
}

// BenchmarkOverlayRead looks through an Overlay at what is in its base.
func BenchmarkOverlayRead(b *testing.B) {
	var o afero.Fs
	bench(b, populate, func(r *Root, paths []string) error {
		o = NewOverlay(r).NoFollow()
		for _, p := range paths {
			if _, err := Lstat(o, p); err != nil {
				return err
			}
		}
		return nil
	}, lstatByPath)
}

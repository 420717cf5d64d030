package generation

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"instar/runtime/plan"
	"instar/runtime/state"
)

// large returns what an apply of n units made: each a folder, a file of 400
// bytes and one of 120; and the contents of the files.
func large(n int) (*state.State, map[string][]byte) {
	st := state.New("web")
	contents := map[string][]byte{}
	for i := range n {
		dir := fmt.Sprintf("u/%d", i)
		st.Owned[dir] = state.Owned{Kind: plan.KindDir, Mode: 0o750}
		for name, size := range map[string]int{"conf": 400, "run": 120} {
			data := fmt.Appendf(nil, "%s %d %0*d", name, i, size-20, i)
			sum := sha256.Sum256(data)
			st.Owned[dir+"/"+name] = state.Owned{Kind: plan.KindFile, Mode: 0o640, Hash: hex.EncodeToString(sum[:])}
			contents[dir+"/"+name] = data
		}
	}
	return st, contents
}

func change(st *state.State, contents map[string][]byte, i int) {
	data := fmt.Appendf(nil, "changed %d", i)
	sum := sha256.Sum256(data)
	rec := st.Owned["u/5/conf"]
	rec.Hash = hex.EncodeToString(sum[:])
	st.Owned["u/5/conf"], contents["u/5/conf"] = rec, data
}

func made(st *state.State, contents map[string][]byte) *Made {
	return &Made{State: st, Plan: &plan.Plan{}, Content: func(name, _ string) ([]byte, bool, error) {
		data, ok := contents[name]
		return data, ok, nil
	}}
}

// BenchmarkKeep tells what a generation costs: the first one, and one that
// changes one file, beside writing and syncing the same bytes as they are.
func BenchmarkKeep(b *testing.B) {
	for _, n := range []int{100, 10000} {
		st, contents := large(n)
		b.Run(fmt.Sprintf("first/%d", n), func(b *testing.B) {
			for b.Loop() {
				k := Keeper{Store: Store{filepath.Join(b.TempDir(), "g")}}
				st.Generation, st.AppliedAt = 1, time.Now()
				if err := k.Keep(made(st, contents)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("change/%d", n), func(b *testing.B) {
			k := Keeper{Store: Store{filepath.Join(b.TempDir(), "g")}}
			st.Generation = 0
			for b.Loop() {
				st.Generation++
				change(st, contents, st.Generation)
				if err := k.Keep(made(st, contents)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("write/%d", n), func(b *testing.B) {
			var all []byte
			for _, data := range contents {
				all = append(all, data...)
			}
			for b.Loop() {
				f, err := os.Create(filepath.Join(b.TempDir(), "all"))
				if err != nil {
					b.Fatal(err)
				}
				_, _ = f.Write(all)
				_ = f.Sync()
				_ = f.Close()
			}
		})
	}
}

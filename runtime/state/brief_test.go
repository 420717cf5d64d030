package state

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// A brief look takes from the cache what comes before its entries, however much
// that is, and the state itself where there is no cache that counts.
func TestBrief(t *testing.T) {
	for _, size := range []int{10, headSize - 700, headSize, 3 * headSize} {
		f := Home(t.TempDir()).Instance("web")
		s := New("web")
		s.Pending = strings.Repeat("x", size)
		s.Owned["etc"] = Owned{Kind: "folder"}
		if err := f.Save(s); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Brief(); err != nil || len(got.Owned) != 1 {
			t.Fatalf("%d, without a cache: %+v, %v", size, got, err)
		}
		c := &Cache{Brief: s}
		for i := range 5000 {
			c.Inside = append(c.Inside, Entry{Path: fmt.Sprint("etc/", i), How: Exact})
		}
		if err := f.SaveCache(c); err != nil {
			t.Fatal(err)
		}
		got, err := f.Brief()
		if err != nil || len(got.Owned) != 0 || got.Pending != s.Pending {
			t.Errorf("%d: %d owned, %d bytes, %v", size, len(got.Owned), len(got.Pending), err)
		}
		s.Generation = 7
		if err := f.Save(s); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Brief(); err != nil || got.Generation != 7 {
			t.Errorf("%d, with a cache of another state: %+v, %v", size, got, err)
		}
		if err := os.WriteFile(f.Path("stat.cache"), []byte(cacheMagic), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Brief(); err != nil || got.Generation != 7 {
			t.Errorf("%d, with half a cache: %+v, %v", size, got, err)
		}
	}
}

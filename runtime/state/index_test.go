package state

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"instar/runtime/plan"
)

// heldByOthers lists what the others of an instance hold, in order.
func heldByOthers(t *testing.T, x *Index, name string) []string {
	t.Helper()
	var all []string
	err := x.Others(name, func(h Holding) {
		all = append(all, fmt.Sprint(h.Name, " ", h.Root, " ", h.Destroyed, " ", h.Ports))
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func TestIndex(t *testing.T) {
	home := Home(t.TempDir())
	x := home.Index()
	save := func(name, root, requested string, ports ...string) {
		t.Helper()
		s := New(name)
		s.Settings.Root, s.Requested, s.Values = root, requested, map[string]plan.Value{}
		for _, port := range ports {
			s.Values[port] = plan.Value{Kind: "port", Text: port}
		}
		if err := home.Instance(name).Save(s); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(name string, want ...string) {
		t.Helper()
		if got := heldByOthers(t, x, name); !slices.Equal(got, want) {
			t.Errorf("others of %s: %q, want %q", name, got, want)
		}
	}
	expect("a")
	save("a", "/a", Started, "2", "1")
	save("b", "/b", Destroyed)
	save("new", "", Started)
	expect("a", "b /b true []")
	expect("c", "a /a false [1 2]", "b /b true []")
	if err := os.WriteFile(home.Instance("b").Path("state.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect("c", "a /a false [1 2]")
	if err := home.Instance("b").Remove(); err != nil {
		t.Fatal(err)
	}
	expect("c", "a /a false [1 2]")

	// What was looked at since it was asked for is recent enough, but for what
	// this process itself changes.
	x.Asked("c")
	expect("c", "a /a false [1 2]")
	save("d", "/d", Started)
	expect("c", "a /a false [1 2]")
	expect("a", "d /d false []")
	x.Asked("c")
	x.Begin("a")
	expect("c", "a /a false [1 2]", "d /d false []")
	save("a", "/a", Started, "3")
	expect("c", "a /a false [3]", "d /d false []")
	save("a", "/a", Started, "4")
	x.Done("a")
	expect("c", "a /a false [4]", "d /d false []")
	if err := home.Instance("d").Remove(); err != nil {
		t.Fatal(err)
	}
	x.Done("c")
	expect("c", "a /a false [4]")
}

package state

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"instar/runtime/plan"
)

// What is changed in a part of a state makes the state.json that it makes when it
// is changed in the whole.
func TestPartIsAsTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data, err := Encode(anyState.Draw(t, "state"))
		if err != nil {
			t.Fatal(err)
		}
		whole, err := decode(data)
		if err != nil {
			t.Fatal(err)
		}
		brief := *whole
		brief.Owned = map[string]Owned{}
		known := append(plan.SortedKeys(whole.Owned), "etc/a", "", "zz")
		paths := rapid.SliceOfDistinct(rapid.SampledFrom(known), rapid.ID[string]).Draw(t, "paths")
		slices.Sort(paths)
		part, err := partOf(data, &brief, paths)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			want, owned := whole.Owned[path]
			got, found := part.Owned[path]
			if owned != found || !cmp.Equal(want, got) {
				t.Fatalf("%q: got %v %v, want %v %v", path, found, got, owned, want)
			}
		}
		for range 2 { // as for a claim, and then to settle it
			part.Owned = maps.Clone(part.Owned)
			for _, path := range append(paths, rapid.StringMatching(`[a-z]{1,3}(/[a-z]){0,2}`).Draw(t, "new")) {
				if rapid.Bool().Draw(t, "goes") {
					delete(part.Owned, path)
					if slices.Contains(paths, path) {
						delete(whole.Owned, path)
					}
					continue
				}
				part.Owned[path] = anyOwned.Draw(t, "owned")
				whole.Owned[path] = part.Owned[path]
			}
			part.Generation++
			whole.Generation++
			got, err := Encode(part)
			if err != nil {
				t.Fatal(err)
			}
			want, err := Encode(whole)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("got  %s\nwant %s", got, want)
			}
			again, err := part.Whole()
			if err != nil || again.IsPart() {
				t.Fatal(again.IsPart(), err)
			}
		}
	})
}

// A state.json that is another one than the cache knows, or was written by hand,
// has no parts.
func TestPartOfAnother(t *testing.T) {
	s := New("web")
	s.Owned["etc"] = Owned{Kind: plan.KindDir}
	data, err := Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	other := *s
	other.Generation++
	if _, err := partOf(data, &other, nil); err == nil {
		t.Error("it was taken for that of another state")
	}
	if _, err := partOf(bytes.ReplaceAll(data, []byte(":"), []byte(": ")), s, nil); err == nil {
		t.Error("it was taken though it is not as instar writes it")
	}
}

// FuzzPlanned: whatever stands in plan.cache, it is read or ignored; and what was read
// is written so that the same is read.
func FuzzPlanned(f *testing.F) {
	whole := encodePlanned(&Planned{Build: "v1", Kept: 3, Rest: []string{".", "etc"}, Resources: []PlannedResource{{plan.Digest{1}, 0}, {plan.Digest{2}, -1}}}, 1<<63)
	f.Add(whole[:len(whole)-4])
	f.Add([]byte(plannedMagic + "\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		data = binary.LittleEndian.AppendUint32(data, crc32.ChecksumIEEE(data)) // nobody would guess it
		p, id, err := decodePlanned(data)
		if err != nil {
			return
		}
		again, sameID, err := decodePlanned(encodePlanned(p, id))
		if err != nil || sameID != id || !cmp.Equal(p, again, cmpopts.EquateEmpty()) {
			t.Fatalf("wrote %v, read %v: %v", p, again, err)
		}
	})
}

func TestPlannedMayBeBroken(t *testing.T) {
	p := &Planned{Build: "v1", Kept: 3, Rest: []string{"."}, Resources: []PlannedResource{{plan.Digest{1}, 0}}}
	data := encodePlanned(p, 7)
	if got, id, err := decodePlanned(data); err != nil || id != 7 || !cmp.Equal(p, got) {
		t.Fatalf("got %v, %v", got, err)
	}
	for i := range data {
		broken := bytes.Clone(data)
		broken[i] ^= 4
		if _, _, err := decodePlanned(broken); err == nil {
			t.Errorf("believed with another byte %d", i)
		}
		if _, _, err := decodePlanned(data[:i]); err == nil {
			t.Errorf("believed when cut after %d bytes", i)
		}
	}
}

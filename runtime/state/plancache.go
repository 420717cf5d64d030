package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"

	"instar/runtime/plan"
)

// Planned is what the plan was that an instance was brought in line with, as far as
// it takes to tell what another one has changed. It is kept as plan.cache beside the
// stat.cache, and like that one may be lost.
type Planned struct {
	Build string // the program that found all that is owned to be as planned
	// Kept is the generation that has the very paths of the state, 0: none is known
	// to.
	Kept int
	// Rest are the paths that are owned and that the plan does not declare, sorted.
	Rest      []string
	Resources []PlannedResource // in order of declaration
}

// PlannedResource is a folder, file or link that stood as declared.
type PlannedResource struct {
	Digest plan.Digest
	At     int // index of its path in [Cache.Inside]; -1: it is not looked at
}

// plannedMagic begins the file, with the version of its format. Then come the ID of
// the cache and the rest of a Planned, and at the end the CRC-32 of it all.
const plannedMagic = "instar plan.cache 1\n"

// LoadPlanned reads what the plan was when c was made; nil when that is not known.
func (f Folder) LoadPlanned(c *Cache) *Planned {
	data, err := os.ReadFile(f.Path("plan.cache"))
	if err != nil {
		return nil
	}
	p, id, err := decodePlanned(data)
	if err != nil || id != c.ID {
		return nil
	}
	for _, r := range p.Resources {
		if r.At < -1 || r.At >= len(c.Inside) {
			return nil
		}
	}
	return p
}

// SavePlanned writes what the plan was when c was saved.
func (f Folder) SavePlanned(c *Cache, p *Planned) error {
	return f.replace("plan.cache", encodePlanned(p, c.ID))
}

func encodePlanned(p *Planned, id uint64) []byte {
	out := make([]byte, 0, len(p.Resources)*(len(plan.Digest{})+3)+1024)
	out = append(out, plannedMagic...)
	out = binary.AppendUvarint(out, id)
	out = binary.AppendUvarint(out, uint64(len(p.Build)))
	out = append(out, p.Build...)
	out = binary.AppendUvarint(out, uint64(p.Kept))
	out = binary.AppendUvarint(out, uint64(len(p.Rest)))
	for _, path := range p.Rest {
		out = binary.AppendUvarint(out, uint64(len(path)))
		out = append(out, path...)
	}
	out = binary.AppendUvarint(out, uint64(len(p.Resources)))
	for i := range p.Resources {
		r := &p.Resources[i]
		out = append(out, r.Digest[:]...)
		out = binary.AppendUvarint(out, uint64(r.At+1))
	}
	return binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(out))
}

var errPlanned = errors.New("not a plan.cache")

func decodePlanned(data []byte) (*Planned, uint64, error) {
	end := len(data) - crc32.Size
	if end < 0 || crc32.ChecksumIEEE(data[:end]) != binary.LittleEndian.Uint32(data[end:]) {
		return nil, 0, errPlanned
	}
	text, ok := bytes.CutPrefix(data[:end], []byte(plannedMagic))
	if !ok {
		return nil, 0, errPlanned
	}
	r := &reader{rest: text}
	id := r.uint()
	p := &Planned{Build: string(r.bytes(r.uint()))}
	p.Kept = int(r.uint())
	for n := r.uint(); n > 0 && !r.bad; n-- {
		p.Rest = append(p.Rest, string(r.bytes(r.uint())))
	}
	n := r.uint()
	if r.bad || n > uint64(len(r.rest)/(len(plan.Digest{})+1)) {
		return nil, 0, errPlanned
	}
	p.Resources = make([]PlannedResource, n)
	for i := range p.Resources {
		copy(p.Resources[i].Digest[:], r.bytes(uint64(len(plan.Digest{}))))
		p.Resources[i].At = int(r.uint()) - 1
	}
	if r.bad || len(r.rest) > 0 {
		return nil, 0, errPlanned
	}
	return p, id, nil
}

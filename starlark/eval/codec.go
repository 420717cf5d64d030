package eval

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"instar/runtime/plan"
)

// A plan crosses in parts, so that one side decodes while the other encodes. The
// first begins with a version. Then come things, each a tag (1 byte) and its body:
// resources in a compact form of their own, since there may be many, names of
// files, numbered as they turn up, and at the end the rest, as JSON. A part ends
// with a thing.
//
// Numbers are varints; a text is its length and its bytes.
const version = 2

// The tags of things.
const (
	tagDir byte = iota + 1
	tagFile
	tagLink
	tagOther // JSON of a Copy or Command
	tagName  // of a file
	tagRest  // JSON, to the end of the part
)

// rest is what crosses as JSON. Texts that may not be UTF-8 are bytes.
type rest struct {
	Services  []plan.Service
	Runs      []plan.Run
	Timers    []plan.Timer
	Promises  []plan.Promise
	Requests  []plan.Request
	Values    map[string]plan.Value
	New       []string // keys of Values
	Published map[string]any
	Secrets   [][]byte
	Pending   *plan.Pending
	Observed  []string
	Prints    []plan.Print
	Params    []plan.Param
	Inputs    []plan.Input
}

// other is a resource that crosses as JSON.
type other struct {
	Copy    *plan.Copy    `json:",omitempty"`
	Command *plan.Command `json:",omitempty"`
}

// encoder appends to buf, and passes on what is a part.
type encoder struct {
	buf   []byte
	files map[string]uint64
	emit  func(part []byte) error // does not keep it
}

// encode calls emit for the parts of p, of which each is about as large as
// partSize, or as what a single thing takes.
func encode(p *plan.Plan, emit func(part []byte) error) error {
	e := encoder{buf: make([]byte, 0, partSize+partSize/4), files: map[string]uint64{}, emit: emit}
	e.buf = append(e.buf, version)
	for _, r := range p.Resources {
		if err := e.resource(r); err != nil {
			return err
		}
		if len(e.buf) >= partSize {
			if err := e.flush(); err != nil {
				return err
			}
		}
	}
	tail, err := json.Marshal(restOf(p))
	if err != nil {
		return fmt.Errorf("cannot encode the plan: %w", err)
	}
	e.buf = append(append(e.buf, tagRest), tail...)
	return e.flush()
}

func (e *encoder) flush() error {
	err := e.emit(e.buf)
	e.buf = e.buf[:0]
	return err
}

func (e *encoder) uint(n uint64) { e.buf = binary.AppendUvarint(e.buf, n) }
func (e *encoder) int(n int)     { e.buf = binary.AppendVarint(e.buf, int64(n)) }
func (e *encoder) text(s string) { e.uint(uint64(len(s))); e.buf = append(e.buf, s...) }

func (e *encoder) meta(tag byte, m plan.Meta, flag bool) {
	file, ok := e.files[m.At.File]
	if !ok {
		file = uint64(len(e.files))
		e.files[m.At.File] = file
		e.buf = append(e.buf, tagName)
		e.text(m.At.File)
	}
	flags := uint64(0)
	if m.Once {
		flags |= 1
	}
	if flag {
		flags |= 2
	}
	e.buf = append(e.buf, tag)
	e.text(m.Path)
	e.uint(uint64(m.Mode))
	e.int(m.UID)
	e.int(m.GID)
	e.uint(flags)
	e.uint(file)
	e.uint(uint64(m.At.Line))
	e.uint(uint64(m.At.Col))
}

func (e *encoder) resource(r plan.Resource) error {
	switch r := r.(type) {
	case *plan.Dir:
		e.meta(tagDir, r.Meta, r.Implicit)
	case *plan.File:
		e.meta(tagFile, r.Meta, false)
		e.text(r.Source)
		e.uint(uint64(len(r.Content)))
		e.buf = append(e.buf, r.Content...)
	case *plan.Link:
		e.meta(tagLink, r.Meta, false)
		e.text(r.To)
	case *plan.Copy:
		return e.json(other{Copy: r})
	case *plan.Command:
		return e.json(other{Command: r})
	default:
		return fmt.Errorf("cannot encode a %T", r)
	}
	return nil
}

func (e *encoder) json(o other) error {
	data, err := json.Marshal(o)
	e.buf = append(e.buf, tagOther)
	e.text(string(data))
	return err
}

func restOf(p *plan.Plan) *rest {
	r := &rest{
		Services: p.Services, Runs: p.Runs, Timers: p.Timers, Promises: p.Promises, Requests: p.Requests, Values: p.Values, Published: p.Published,
		Pending: p.Pending, Observed: p.Observed, Prints: p.Prints, Params: p.Params, Inputs: p.Inputs,
	}
	for _, key := range plan.SortedKeys(p.Values) {
		if p.Values[key].New {
			r.New = append(r.New, key)
		}
	}
	for _, text := range p.Secrets {
		r.Secrets = append(r.Secrets, []byte(text))
	}
	return r
}

// errCut is the error of an encoded plan that ends too early, or is none.
var errCut = errors.New("the evaluation sent no valid plan")

// decoder takes from buf. After a failure it yields zeros.
type decoder struct {
	buf     []byte
	names   []string
	sources map[string]string // each once
	bad     bool
	begun   bool
	plan    *plan.Plan
	ended   bool   // the rest has come
	text    []byte // that a digest is of
}

// part takes the next part of a plan. The contents of files are parts of data.
func (d *decoder) part(data []byte) error {
	if d.bad || d.ended {
		return errCut
	}
	d.buf = data
	if !d.begun {
		d.begun = true
		d.plan, d.sources = &plan.Plan{}, map[string]string{}
		if d.byte() != version {
			d.bad = true
		}
	}
	for len(d.buf) > 0 && !d.bad {
		switch d.buf[0] {
		case tagName:
			d.byte()
			d.names = append(d.names, string(d.bytes()))
		case tagRest:
			return d.rest(d.buf[1:])
		default:
			text := d.buf
			r := d.resource()
			d.bad = d.bad || r == nil
			d.plan.Resources = append(d.plan.Resources, r)
			d.plan.Digests = append(d.plan.Digests, d.digest(r, text[:len(text)-len(d.buf)]))
		}
	}
	if d.bad {
		return errCut
	}
	return nil
}

func (d *decoder) rest(data []byte) error {
	var r rest
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&r); err != nil {
		d.bad = true
		return fmt.Errorf("%w: %w", errCut, err)
	}
	r.into(d.plan)
	d.ended = true
	return nil
}

// finish returns the plan once all parts have come.
func (d *decoder) finish() (*plan.Plan, error) {
	if !d.ended {
		return nil, errCut
	}
	return d.plan, nil
}

func (r *rest) into(p *plan.Plan) {
	p.Services, p.Runs, p.Timers, p.Promises, p.Values, p.Published = r.Services, r.Runs, r.Timers, r.Promises, r.Values, r.Published
	p.Requests, p.Pending, p.Observed, p.Prints, p.Params, p.Inputs = r.Requests, r.Pending, r.Observed, r.Prints, r.Params, r.Inputs
	for _, key := range r.New {
		if value, ok := p.Values[key]; ok {
			value.New = true
			p.Values[key] = value
		}
	}
	for _, text := range r.Secrets {
		p.Secrets = append(p.Secrets, string(text))
	}
}

func (d *decoder) byte() byte {
	if len(d.buf) == 0 {
		d.bad = true
		return 0
	}
	b := d.buf[0]
	d.buf = d.buf[1:]
	return b
}

func (d *decoder) uint() uint64 {
	n, size := binary.Uvarint(d.buf)
	if size <= 0 {
		d.bad, d.buf = true, nil
		return 0
	}
	d.buf = d.buf[size:]
	return n
}

func (d *decoder) int() int {
	n, size := binary.Varint(d.buf)
	if size <= 0 {
		d.bad, d.buf = true, nil
		return 0
	}
	d.buf = d.buf[size:]
	return int(n)
}

// count takes the number of things that follow, each of at least size bytes.
func (d *decoder) count(size int) int {
	n := d.uint()
	if n > uint64(len(d.buf)/size) {
		d.bad, d.buf = true, nil
		return 0
	}
	return int(n)
}

func (d *decoder) bytes() []byte {
	n := d.count(1)
	b := d.buf[:n:n]
	d.buf = d.buf[n:]
	return b
}

// known is a text that is there many times.
func (d *decoder) known(text []byte) string {
	if s, ok := d.sources[string(text)]; ok {
		return s
	}
	s := string(text)
	if len(d.sources) < 1000 {
		d.sources[s] = s
	}
	return s
}

func (d *decoder) meta() (m plan.Meta, flag bool) {
	m.Path = string(d.bytes())
	m.Mode = plan.Mode(d.uint())
	m.UID = d.int()
	m.GID = d.int()
	flags := d.uint()
	m.Once = flags&1 != 0
	if file := d.uint(); file < uint64(len(d.names)) {
		m.At.File = d.names[file]
	} else {
		d.bad = true
	}
	m.At.Line = int32(d.uint())
	m.At.Col = int32(d.uint())
	return m, flags&2 != 0
}

// digest is that of a resource that crossed as text, which has the number of a file
// in the place of its name.
func (d *decoder) digest(r plan.Resource, text []byte) (digest plan.Digest) {
	if r == nil {
		return digest
	}
	d.text = append(append(append(d.text[:0], r.Declared().File...), 0), text...)
	sum := sha256.Sum256(d.text)
	copy(digest[:], sum[:])
	return digest
}

func (d *decoder) resource() plan.Resource {
	switch d.byte() {
	case tagDir:
		m, implicit := d.meta()
		return &plan.Dir{Meta: m, Implicit: implicit}
	case tagFile:
		m, _ := d.meta()
		source := d.known(d.bytes())
		return &plan.File{Meta: m, Source: source, Content: d.bytes()}
	case tagLink:
		m, _ := d.meta()
		return &plan.Link{Meta: m, To: string(d.bytes())}
	case tagOther:
		var o other
		if err := json.Unmarshal(d.bytes(), &o); err != nil {
			d.bad = true
		} else if o.Copy != nil {
			return o.Copy
		} else if o.Command != nil {
			return o.Command
		}
	}
	return nil
}

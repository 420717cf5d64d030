package eval

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"instar/runtime/plan"
)

// A plan crosses as a version, its resources in a compact form of their own,
// since there may be many, and the rest as JSON:
//
//	version (1 byte)
//	names of files: count, texts
//	resources: count, then each: tag (1 byte), body
//	rest: JSON to the end
//
// Numbers are varints; a text is its length and its bytes.
const version = 1

// The tags of resources.
const (
	tagDir byte = iota + 1
	tagFile
	tagLink
	tagOther // JSON of a Copy or Command
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

// encoder appends to buf. Names of files are numbered as they turn up.
type encoder struct {
	buf   []byte
	files map[string]uint64
	names []string
}

func encode(p *plan.Plan) ([]byte, error) {
	size := 0
	for _, r := range p.Resources {
		size += 96
		if file, ok := r.(*plan.File); ok {
			size += len(file.Content)
		}
	}
	e := encoder{buf: make([]byte, 0, size), files: map[string]uint64{}}
	for _, r := range p.Resources {
		if err := e.resource(r); err != nil {
			return nil, err
		}
	}
	tail, err := json.Marshal(restOf(p))
	if err != nil {
		return nil, fmt.Errorf("cannot encode the plan: %w", err)
	}
	head := encoder{buf: []byte{version}}
	head.uint(uint64(len(e.names)))
	for _, name := range e.names {
		head.text(name)
	}
	head.uint(uint64(len(p.Resources)))
	return bytes.Join([][]byte{head.buf, e.buf, tail}, nil), nil
}

func (e *encoder) uint(n uint64) { e.buf = binary.AppendUvarint(e.buf, n) }
func (e *encoder) int(n int)     { e.buf = binary.AppendVarint(e.buf, int64(n)) }
func (e *encoder) text(s string) { e.uint(uint64(len(s))); e.buf = append(e.buf, s...) }

func (e *encoder) meta(tag byte, m plan.Meta, flag bool) {
	file, ok := e.files[m.At.File]
	if !ok {
		file = uint64(len(e.names))
		e.files[m.At.File] = file
		e.names = append(e.names, m.At.File)
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
	buf   []byte
	names []string
	bad   bool
}

// decode returns the plan that data stands for. The contents of files are
// parts of data.
func decode(data []byte) (*plan.Plan, error) {
	d := decoder{buf: data}
	if d.byte() != version {
		return nil, errCut
	}
	for range d.count(1) {
		d.names = append(d.names, string(d.bytes()))
	}
	n := d.count(2)
	p := &plan.Plan{Resources: make([]plan.Resource, 0, n)}
	for range n {
		r := d.resource()
		if d.bad || r == nil {
			return nil, errCut
		}
		p.Resources = append(p.Resources, r)
	}
	if d.bad {
		return nil, errCut
	}
	var r rest
	dec := json.NewDecoder(bytes.NewReader(d.buf))
	dec.UseNumber()
	if err := dec.Decode(&r); err != nil {
		return nil, fmt.Errorf("%w: %w", errCut, err)
	}
	r.into(p)
	return p, nil
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

func (d *decoder) resource() plan.Resource {
	switch d.byte() {
	case tagDir:
		m, implicit := d.meta()
		return &plan.Dir{Meta: m, Implicit: implicit}
	case tagFile:
		m, _ := d.meta()
		source := d.bytes()
		return &plan.File{Meta: m, Source: string(source), Content: d.bytes()}
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

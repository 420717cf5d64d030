package builtins

import (
	"errors"
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
)

// promise(name, check, period=120, timeout=20, failures=3)
//
// A check that the instance works.
func promise(c *call) (starlark.Value, error) {
	var check starlark.Value
	p := plan.Promise{Period: 120 * time.Second, Timeout: 20 * time.Second, Failures: 3, At: c.at()}
	if err := c.unpack(&p.Name, &check, &p.Period, &p.Timeout, &p.Failures); err != nil {
		return nil, err
	}
	if err := title(p.Name); err != nil {
		return nil, err
	}
	how, ok := check.(*checkValue)
	if !ok {
		return nil, hinted("as in check.tcp(host, port)", "check: want what one of the check functions returns, got %s", describe(check))
	}
	if p.Failures < 1 {
		return nil, fmt.Errorf("failures: want 1 or more, got %d", p.Failures)
	}
	p.Check = how.Check
	if p.Check.Exec != nil {
		c.argvs = append(c.argvs, argv{"promise", p.Name, p.Check.Exec.Argv, p.At})
	}
	if err := c.claimName("promise", p.Name, p.At); err != nil {
		return nil, err
	}
	c.plan.Promises = append(c.plan.Promises, p)
	return starlark.None, nil
}

// checkValue is what the check functions return.
type checkValue struct{ plan.Check }

func (v *checkValue) String() string        { return "check." + v.Kind + "(…)" }
func (v *checkValue) Type() string          { return "check" }
func (v *checkValue) Freeze()               {}
func (v *checkValue) Truth() starlark.Bool  { return true }
func (v *checkValue) Hash() (uint32, error) { return 0, errors.New("unhashable: check") }

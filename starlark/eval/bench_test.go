package eval_test

import (
	"strconv"
	"strings"
	"testing"

	"instar/builtins"
	"instar/runtime/plan"
	"instar/starlark/eval"
)

// units is the profile that shared/perf.md measures: a folder, a rendered
// file and a wrapper each.
const units = `
n = param("n", 10)
for i in range(n):
    dir = mkdir("srv/unit-%d" % i)
    conf = template(dir / "app.conf", source = "app.conf.tmpl", vars = {"n": i, "dir": dir})
    wrapper(dir / "run", ["sh", "-c", "exec true", conf])
`

// unitTemplate renders to about 400 bytes.
var unitTemplate = "n = {{.n}}\nd = {{.dir}}\nport = {{.n}}\nlog = {{.dir}}/log\n" + strings.Repeat("# filler\n", 33)

func benchmark(b *testing.B, n int, evaluate func(eval.Request) (*plan.Plan, error)) {
	req := profile(b, map[string]string{"instance.star": units, "app.conf.tmpl": unitTemplate})
	req.Inputs.Params = map[string]builtins.Given{"n": builtins.GivenText(strconv.Itoa(n))}
	b.ReportAllocs()
	for b.Loop() {
		p, err := evaluate(req)
		if err != nil {
			b.Fatal(err)
		}
		if len(p.Resources) != 3*n+1 {
			b.Fatalf("got %d resources", len(p.Resources))
		}
	}
}

func BenchmarkHere10000(b *testing.B) {
	benchmark(b, 10_000, func(req eval.Request) (*plan.Plan, error) {
		return eval.EvaluateHere(b.Context(), req, absent, eval.Limits{})
	})
}

func BenchmarkChild10000(b *testing.B) {
	benchmark(b, 10_000, func(req eval.Request) (*plan.Plan, error) {
		return eval.Evaluate(b.Context(), req, absent, eval.Limits{})
	})
}

func BenchmarkChild10(b *testing.B) {
	benchmark(b, 10, func(req eval.Request) (*plan.Plan, error) {
		return eval.Evaluate(b.Context(), req, absent, eval.Limits{})
	})
}

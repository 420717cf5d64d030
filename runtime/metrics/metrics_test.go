package metrics

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func text(t *testing.T, families ...Family) string {
	t.Helper()
	var out strings.Builder
	if err := Write(&out, families); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestWrite(t *testing.T) {
	plain := Family{Name: "a_total", Help: `a \ back slash`, Kind: Counter}
	plain.Add(3)
	labelled := Family{Name: "b", Help: "two\nlines", Kind: Gauge}
	labelled.Add(0.5, "instance", "web", "promise", "says \"hi\\\"\nto \xff me")
	labelled.Add(math.Inf(-1), "instance", "x", "promise", "é")
	labelled.Add(1e21)
	labelled.Add(math.NaN())
	want := `# HELP a_total a \\ back slash
# TYPE a_total counter
a_total 3
# HELP b two\nlines
# TYPE b gauge
b{instance="web",promise="says \"hi\\\"\nto ` + "\uFFFD" + ` me"} 0.5
b{instance="x",promise="é"} -Inf
b 1e+21
b NaN
`
	if diff := cmp.Diff(want, text(t, plain, Family{Name: "none"}, labelled)); diff != "" {
		t.Error(diff)
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	for _, s := range []float64{0, 0.01, 0.011, 61, 300, 301, 1e9} {
		h.Observe(s)
	}
	got := text(t, Family{Name: "d_seconds", Help: "h", Kind: Summed, Samples: h.Samples("result", "ok")})
	for _, want := range []string{
		"# TYPE d_seconds histogram\n",
		`d_seconds_bucket{result="ok",le="0.01"} 2` + "\n",
		`d_seconds_bucket{result="ok",le="0.025"} 3` + "\n",
		`d_seconds_bucket{result="ok",le="60"} 3` + "\n",
		`d_seconds_bucket{result="ok",le="300"} 5` + "\n",
		`d_seconds_bucket{result="ok",le="+Inf"} 7` + "\n",
		`d_seconds_sum{result="ok"} 1.000000662021e+09` + "\n",
		`d_seconds_count{result="ok"} 7` + "\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
	if n := strings.Count(got, "_bucket"); n != len(bounds)+1 {
		t.Errorf("%d buckets", n)
	}
}

func TestProcess(t *testing.T) {
	got := text(t, Process()...)
	if !strings.Contains(got, "\nprocess_start_time_seconds ") || !strings.Contains(got, "\ngo_goroutines ") {
		t.Error(got)
	}
}

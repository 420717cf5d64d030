package schedule

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"pgregory.net/rapid"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	location, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return location
}

func must(t testing.TB, text string) Schedule {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What a schedule yields, time after time.
func TestNext(t *testing.T) {
	for _, test := range []struct {
		text, zone, after string
		want              []string
	}{
		{"@hourly", "UTC", "2026-03-01 10:00", []string{"2026-03-01 11:00", "2026-03-01 12:00"}},
		{"@daily", "UTC", "2026-02-27 10:00", []string{"2026-02-28 00:00", "2026-03-01 00:00"}},
		{"@weekly", "UTC", "2026-03-01 00:00", []string{"2026-03-08 00:00"}}, // a Sunday
		{"@monthly", "UTC", "2026-12-01 00:00", []string{"2027-01-01 00:00", "2027-02-01 00:00"}},
		{" @Yearly ", "UTC", "2026-12-01 00:00", []string{"2027-01-01 00:00", "2028-01-01 00:00"}},
		{"30 3 * * *", "UTC", "2026-03-01 03:29", []string{"2026-03-01 03:30", "2026-03-02 03:30"}},
		{"5-59/20 8,20 * * mon-fri", "UTC", "2026-03-06 20:25", []string{"2026-03-06 20:45", "2026-03-09 08:05"}},
		{"0 0 * * fri-sun", "UTC", "2026-03-05 12:00", []string{"2026-03-06 00:00", "2026-03-07 00:00", "2026-03-08 00:00", "2026-03-13 00:00"}},
		{"0 0 * * 7", "UTC", "2026-03-05 12:00", []string{"2026-03-08 00:00"}},
		{"0 0 31 * *", "UTC", "2026-01-31 12:00", []string{"2026-03-31 00:00", "2026-05-31 00:00"}},
		{"0 0 29 2 *", "UTC", "2096-03-01 00:00", []string{"2104-02-29 00:00"}}, // 2100 has none
		// Either of the two days, as in every cron.
		{"0 0 13 * fri", "UTC", "2026-03-05 00:00", []string{"2026-03-06 00:00", "2026-03-13 00:00", "2026-03-20 00:00"}},
		{"0 0 1 jan,jul *", "UTC", "2026-03-05 00:00", []string{"2026-07-01 00:00", "2027-01-01 00:00"}},

		// On 2026-03-29 clocks in Berlin go from 2:00 to 3:00, on 2026-10-25 from
		// 3:00 back to 2:00.
		{"30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", []string{"2026-03-29 03:30", "2026-03-30 02:30"}},
		{"30 2 * * *", "Europe/Berlin", "2026-03-29 03:10", []string{"2026-03-29 03:30", "2026-03-30 02:30"}},
		{"30 2,3 * * *", "Europe/Berlin", "2026-03-29 00:00", []string{"2026-03-29 03:30", "2026-03-30 02:30"}},
		{"30 2 * * *", "Europe/Berlin", "2026-10-25 00:00", []string{"2026-10-25 02:30", "2026-10-26 02:30"}},
		{"*/20 2 * * *", "Europe/Berlin", "2026-10-25 01:50", []string{"2026-10-25 02:00", "2026-10-25 02:20", "2026-10-25 02:40", "2026-10-26 02:00"}},
		{"0 0 * * *", "Europe/Berlin", "2026-03-28 12:00", []string{"2026-03-29 00:00", "2026-03-30 00:00"}},
		{"30 * * * *", "Europe/Berlin", "2026-03-29 01:00", []string{"2026-03-29 01:30", "2026-03-29 03:30"}},
		{"30 * * * *", "Europe/Berlin", "2026-10-25 01:45",
			[]string{"2026-10-25 02:30", "2026-10-25 02:30", "2026-10-25 03:30"}},
		// Half an hour, on Lord Howe; midnight itself is left out in Santiago.
		{"15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00", []string{"2026-10-04 02:45", "2026-10-05 02:15"}},
		{"*/15 * * * *", "Australia/Lord_Howe", "2026-10-04 01:45", []string{"2026-10-04 02:30", "2026-10-04 02:45"}},
		{"@daily", "America/Santiago", "2026-09-05 12:00", []string{"2026-09-06 01:00", "2026-09-07 00:00"}},
	} {
		s, location := must(t, test.text), zone(t, test.zone)
		at, err := time.ParseInLocation("2006-01-02 15:04", test.after, location)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for range test.want {
			next := s.Next(at.Add(999 * time.Millisecond))
			if !next.After(at) {
				t.Errorf("%s: after %v comes %v", test.text, at, next)
			}
			at = next
			got = append(got, at.Format("2006-01-02 15:04"))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s in %s after %s: got %q, want %q", test.text, test.zone, test.after, got, test.want)
		}
	}
	if next := (Schedule{}).Next(time.Now()); !next.IsZero() {
		t.Errorf("the zero schedule is due at %v", next)
	}
}

// Passing minutes are not stretched or repeated where the clock is put back.
func TestEveryMinutesGoesOn(t *testing.T) {
	s := must(t, "*/10 * * * *")
	at := time.Date(2026, 10, 25, 0, 0, 0, 0, zone(t, "Europe/Berlin"))
	for range 40 {
		next := s.Next(at)
		if next.Sub(at) != 10*time.Minute {
			t.Fatalf("after %v comes %v", at, next)
		}
		at = next
	}
}

func TestErrors(t *testing.T) {
	for _, test := range []struct{ text, want, hint string }{
		{"", `"" has 0 fields, want 5`, "@daily"},
		{"* * * *", "has 4 fields, want 5", "@daily"},
		{"0 0 * * * *", "has 6 fields, want 5", "@daily"},
		{"61 * * * *", `minute "61": "61" is not one of 0 to 59`, ""},
		{"0 24 * * *", `hour "24": "24" is not one of 0 to 23`, ""},
		{"0 0 0 * *", `day "0": "0" is not one of 1 to 31`, ""},
		{"0 0 * 13 *", `month "13": "13" is not one of 1 to 12, or JAN to DEC`, ""},
		{"0 0 * * 8", `weekday "8": "8" is not one of 0 to 7, or SUN to SAT`, ""},
		{"0 0 * * montag", `weekday "montag": "montag" is not one of`, ""},
		{"a * * * *", `minute "a": "a" is not one of`, ""},
		{"-1 * * * *", `minute "-1": "" is not one of`, ""},
		{"+1 * * * *", `minute "+1": "+1" is not one of`, ""},
		{"1, * * * *", `minute "1,": "" is not one of`, ""},
		{"*/0 * * * *", `minute "*/0": the step "0" is not one of 1 to 60`, ""},
		{"*/ * * * *", `minute "*/": the step "" is not one of 1 to 60`, ""},
		{"*/61 * * * *", `the step "61"`, ""},
		{"5/10 * * * *", `a step follows * or a range: 5-59/10`, ""},
		{"30-10 * * * *", `the range 30-10 begins behind its end`, ""},
		{"0 0 L * *", `day "L"`, ""},
		{"0 0 ? * *", `day "?"`, ""},
		{"0 0 * * 1#2", `weekday "1#2"`, ""},
		{"0 0 31 2 *", `"0 0 31 2 *" never comes`, ""},
		{"0 0 31 4,6 *", `never comes`, ""},
		{"@reboot", `"@reboot" is not a time`, "run(name, command)"},
		{"@5minutes", `"@5minutes" is not known`, "@daily"},
		{"daily", `has 1 fields`, "@daily"},
	} {
		_, err := Parse(test.text)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Error(), test.want) || !strings.Contains(e.Hint(), test.hint) {
			t.Errorf("%q: got %v (%+v), want %q", test.text, err, e, test.want)
		}
	}
}

// In UTC, the next time is the first minute that matches.
func TestNextIsTheFirstMatch(t *testing.T) {
	item := func(low, high int) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			a := rapid.IntRange(low, high).Draw(t, "a")
			b := rapid.IntRange(a, high).Draw(t, "b")
			number := strconv.Itoa
			switch rapid.IntRange(0, 4).Draw(t, "form") {
			case 0:
				return "*"
			case 1:
				return "*/" + number(rapid.IntRange(1, min(high-low, 9)).Draw(t, "step"))
			case 2:
				return number(a) + "-" + number(b)
			case 3:
				return number(a) + "-" + number(b) + "/" + number(rapid.IntRange(1, b-a+1).Draw(t, "step"))
			}
			return number(a) + "," + number(b)
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join([]string{
			item(1, 59).Draw(t, "minute"), item(1, 23).Draw(t, "hour"), item(1, 28).Draw(t, "day"),
			item(1, 12).Draw(t, "month"), item(1, 7).Draw(t, "weekday"),
		}, " ")
		s, err := Parse(text)
		if err != nil {
			t.Skip(err)
		}
		after := time.Unix(rapid.Int64Range(1_700_000_000, 2_000_000_000).Draw(t, "after"), 0).UTC()
		got := s.Next(after)
		want := after.Truncate(time.Minute).Add(time.Minute)
		for ; !s.matches(want); want = want.Add(time.Minute) {
			if !s.matchesDay(want) { // to its end
				want = want.Truncate(24 * time.Hour).Add(24*time.Hour - time.Minute)
			}
			if want.Sub(after) > 30*366*24*time.Hour {
				t.Fatalf("%s: nothing after %v, and Next says %v", text, after, got)
			}
		}
		if !got.Equal(want) {
			t.Fatalf("%s: after %v comes %v, and Next says %v", text, after, want, got)
		}
	})
}

func (s Schedule) matches(at time.Time) bool {
	return s.matchesDay(at) && slices.Contains(s.fields[minute].values, at.Minute()) && slices.Contains(s.fields[hour].values, at.Hour())
}

func (s Schedule) matchesDay(at time.Time) bool {
	d := slices.Contains(s.fields[day].values, at.Day())
	w := slices.Contains(s.fields[weekday].values, int(at.Weekday()))
	if !s.fields[day].star && !s.fields[weekday].star {
		d, w = d || w, true
	}
	return d && w && slices.Contains(s.fields[month].values, int(at.Month()))
}

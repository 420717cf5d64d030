// Package schedule reads the schedules of timers, and says when a timer is due.
//
// A [Schedule] is five fields as cron has them, or one of the short forms such
// as @daily. It has no clock and no time zone of its own: [Schedule.Next] goes by
// the location of the time that it is given.
//
// The invariant: where clocks are put forward or back, a time of day comes
// exactly once, and what is due every so many minutes stays so.
package schedule

import (
	"strings"
	"time"

	"github.com/adhocore/gronx"
)

// Schedule says at which minutes something is due. The zero value is never.
type Schedule struct {
	fields [5]field
	// expr is what gronx is given: five fields of numbers.
	expr string
}

// short are the short forms.
var short = map[string]string{
	"@hourly":   "0 * * * *",
	"@daily":    "0 0 * * *",
	"@midnight": "0 0 * * *",
	"@weekly":   "0 0 * * 0",
	"@monthly":  "0 0 1 * *",
	"@yearly":   "0 0 1 1 *",
	"@annually": "0 0 1 1 *",
}

// Parse reads a schedule: "MINUTE HOUR DAY MONTH WEEKDAY", each of them `*` or a
// list of numbers and ranges, with steps; months and weekdays may be named; or
// @hourly, @daily, @weekly, @monthly, @yearly. What is never due is an error. The
// error names the field and its value, and may have a Hint.
func Parse(text string) (Schedule, error) {
	full := strings.TrimSpace(text)
	if strings.HasPrefix(full, "@") {
		long, ok := short[strings.ToLower(full)]
		if !ok {
			return Schedule{}, unknownShort(full)
		}
		full = long
	}
	parts := strings.Fields(full)
	if len(parts) != len(kinds) {
		return Schedule{}, wrong("minute hour day month weekday, as in \"30 3 * * *\", or @daily", "%q has %d fields, want 5", text, len(parts))
	}
	var s Schedule
	for i, part := range parts {
		var err error
		if s.fields[i], err = kinds[i].parse(part); err != nil {
			return Schedule{}, err
		}
		parts[i] = s.fields[i].text
	}
	s.expr = strings.Join(parts, " ")
	// The calendar repeats itself after 400 years, and leap days come at least
	// every eight.
	if s.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Schedule{}, wrong("", "%q never comes: no such day is in these months", text)
	}
	return s, nil
}

// String returns the schedule as five fields of numbers.
func (s Schedule) String() string { return s.expr }

// Next returns the first time after `after` at which the schedule is due, in the
// same location; the zero time when there is none.
//
// Where clocks change, schedules for certain hours go by the wall: an hour that
// comes twice counts once, and what is due in one that is left out comes as much
// later as the clock is put forward. Schedules for every hour, or every so many,
// go by the time that has passed.
func (s Schedule) Next(after time.Time) time.Time {
	after = after.Round(0) // the wall's time alone
	switch {
	case s.expr == "":
		return time.Time{}
	case s.fields[hour].star:
		return s.passing(after)
	default:
		return s.wall(after)
	}
}

// passing goes through the stretches in which the clock is not changed.
func (s Schedule) passing(after time.Time) time.Time {
	at, inclusive := after, false
	for range 1000 {
		_, offset := at.Zone()
		_, end := at.ZoneBounds()
		next, err := gronx.NextTickAfter(s.expr, at.In(time.FixedZone("", offset)), inclusive)
		if err != nil {
			return time.Time{}
		}
		if end.IsZero() || next.Before(end) {
			return next.In(after.Location())
		}
		at, inclusive = end.In(after.Location()), true
	}
	return time.Time{}
}

// nearChange is more than any clock is ever put forward or back.
const nearChange = 3 * time.Hour

// wall goes by what clocks on the wall show, each time of day once.
func (s Schedule) wall(after time.Time) time.Time {
	shown := naive(after)
	if change, _ := after.ZoneBounds(); !change.IsZero() && after.Sub(change) < nearChange {
		shown = shown.Add(-nearChange) // what was left out may come now
	}
	for range 10000 {
		next, err := gronx.NextTickAfter(s.expr, shown, false)
		if err != nil {
			return time.Time{}
		}
		if at := place(next, after.Location()); at.After(after) {
			return at
		}
		shown = next
	}
	return time.Time{}
}

// naive is what a clock shows at t, as if there were no time zones.
func naive(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// place returns when the clocks of a location show something: the first time, if
// they do so twice; if never, when they would have, had they not been changed.
func place(shown time.Time, location *time.Location) time.Time {
	at := time.Date(shown.Year(), shown.Month(), shown.Day(), shown.Hour(), shown.Minute(), 0, 0, location)
	_, offset := at.Add(-nearChange).Zone()
	unchanged := shown.Add(-time.Duration(offset) * time.Second).In(location)
	if naive(unchanged).Equal(shown) || !naive(at).Equal(shown) {
		return unchanged
	}
	return at
}

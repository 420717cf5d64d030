package schedule

import (
	"fmt"
	"strings"
)

// OnCalendar returns the schedule as systemd has it, for as many OnCalendar=
// lines: two where either a day or a weekday will do.
func (s Schedule) OnCalendar() []string {
	days, weekdays := s.fields[day].calendar("%02d"), s.fields[weekday].weekdays()
	if s.expr == "" {
		return nil
	}
	if s.fields[day].star || s.fields[weekday].star {
		return []string{s.calendar(weekdays, days)}
	}
	return []string{s.calendar("", days), s.calendar(weekdays, "*")}
}

func (s Schedule) calendar(weekdays, days string) string {
	return fmt.Sprintf("%s*-%s-%s %s:%s:00", weekdays, s.fields[month].calendar("%02d"), days,
		s.fields[hour].calendar("%02d"), s.fields[minute].calendar("%02d"))
}

// calendar lists the values of a field.
func (f field) calendar(format string) string {
	if f.text == "*" {
		return "*"
	}
	texts := make([]string, len(f.values))
	for i, v := range f.values {
		texts[i] = fmt.Sprintf(format, v)
	}
	return strings.Join(texts, ",")
}

// weekdays lists weekdays, with a space behind; "" means all.
func (f field) weekdays() string {
	if f.text == "*" {
		return ""
	}
	names := make([]string, len(f.values))
	for i, v := range f.values {
		names[i] = [...]string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}[v]
	}
	return strings.Join(names, ",") + " "
}

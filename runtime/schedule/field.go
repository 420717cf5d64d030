package schedule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Error says what is wrong with a schedule.
type Error struct{ msg, hint string }

func (e *Error) Error() string { return e.msg }

// Hint says what to write instead, or is "".
func (e *Error) Hint() string { return e.hint }

func wrong(hint, format string, args ...any) error {
	return &Error{fmt.Sprintf(format, args...), hint}
}

func unknownShort(text string) error {
	if strings.EqualFold(text, "@reboot") {
		return wrong("run(name, command) is started with the services", "%q is not a time", text)
	}
	return wrong("@hourly, @daily, @weekly, @monthly and @yearly, or five fields as in \"30 3 * * *\"", "%q is not known", text)
}

// The places of the fields.
const (
	minute = iota
	hour
	day
	month
	weekday
)

// kind is what may stand in one of the five fields.
type kind struct {
	name      string
	low, high int
	names     []string // of the values from low on
}

var kinds = [5]kind{
	{"minute", 0, 59, nil},
	{"hour", 0, 23, nil},
	{"day", 1, 31, nil},
	{"month", 1, 12, []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
	{"weekday", 0, 7, []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}},
}

// field is one field of a schedule.
type field struct {
	text   string // with numbers only
	star   bool   // begins with "*"
	values []int  // sorted; of weekdays 0 to 6
}

// parse reads "*", "5", "1-5", "*/10", "10-50/10", and lists of them.
func (k kind) parse(text string) (field, error) {
	f := field{star: strings.HasPrefix(text, "*")}
	var items []string
	for item := range strings.SplitSeq(text, ",") {
		low, high, step, err := k.item(text, item)
		if err != nil {
			return f, err
		}
		for v := low; v <= high; v += step {
			if k.low == 0 && k.high == 7 {
				f.values = append(f.values, v%7)
			} else {
				f.values = append(f.values, v)
			}
		}
		items = append(items, k.itemText(item, low, high, step))
	}
	slices.Sort(f.values)
	f.values = slices.Compact(f.values)
	f.text = strings.Join(items, ",")
	return f, nil
}

// item reads one item of a list.
func (k kind) item(field, text string) (low, high, step int, err error) {
	span, every, stepped := strings.Cut(text, "/")
	first, last, ranged := strings.Cut(span, "-")
	step = 1
	switch {
	case span == "*":
		low, high = k.low, k.high
		if k.high == 7 {
			high = 6
		}
	case stepped && !ranged:
		return 0, 0, 0, wrong("", "%s %q: a step follows * or a range: %s-%d/%s", k.name, field, span, k.high, every)
	default:
		if low, err = k.value(field, first); err != nil {
			return 0, 0, 0, err
		}
		if high = low; ranged {
			if high, err = k.value(field, last); err != nil {
				return 0, 0, 0, err
			}
		}
		if k.high == 7 && ranged && high == 0 && low > 0 {
			high = 7 // FRI-SUN
		}
	}
	if low > high {
		return 0, 0, 0, wrong("", "%s %q: the range %s begins behind its end", k.name, field, span)
	}
	if stepped {
		step, err = strconv.Atoi(every)
		if most := high - low + 1; err != nil || step < 1 || step > most {
			return 0, 0, 0, wrong("", "%s %q: the step %q is not one of 1 to %d", k.name, field, every, most)
		}
	}
	return low, high, step, nil
}

// value reads a number or a name.
func (k kind) value(field, text string) (int, error) {
	if i := slices.Index(k.names, strings.ToUpper(text)); i >= 0 {
		return k.low + i, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < k.low || n > k.high || strings.Trim(text, "0123456789") != "" {
		names := ""
		if k.names != nil {
			names = ", or " + k.names[0] + " to " + k.names[len(k.names)-1]
		}
		return 0, wrong("", "%s %q: %q is not one of %d to %d%s", k.name, field, text, k.low, k.high, names)
	}
	return n, nil
}

// itemText writes an item with numbers.
func (k kind) itemText(item string, low, high, step int) string {
	switch {
	case strings.HasPrefix(item, "*"):
		return item
	case low == high:
		if k.high == 7 {
			low %= 7
		}
		return strconv.Itoa(low)
	case step == 1:
		return fmt.Sprintf("%d-%d", low, high)
	}
	return fmt.Sprintf("%d-%d/%d", low, high, step)
}

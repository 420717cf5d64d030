package native

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// maxUnitName is the longest name of a unit's file. systemd and the file
// systems allow 255; the rest is for what stands beside it.
const maxUnitName = 240

// The `-` between instance and service is the first one after the prefix, since
// those inside an instance's name are escaped. systemd reads `-` in a slice's
// name as nesting, and `@` as a template's instance.
var (
	escapeInstance = strings.NewReplacer("-", `\x2d`)
	escapeService  = strings.NewReplacer("@", `\x40`)
	unescape       = strings.NewReplacer(`\x2d`, "-", `\x40`, "@")
)

// unitPrefix is what the names of all units of an instance begin with, and
// those of no other's.
func unitPrefix(instance string) string { return "instar-" + escapeInstance.Replace(instance) + "-" }

// sliceName returns the slice that an instance's units are in.
func sliceName(instance string) string {
	return "instar-" + escapeInstance.Replace(instance) + ".slice"
}

// UnitName returns the name of the unit of a service or run under systemd.
func UnitName(instance, name string) string { return unitName(instance, name) }

// unitName returns the name of the unit of a service. A name that would be too
// long ends in a hash, behind a character that no service's name can hold.
func unitName(instance, name string) string {
	unit := unitPrefix(instance) + escapeService.Replace(name)
	if len(unit)+len(".service") > maxUnitName {
		sum := sha256.Sum256([]byte(name))
		keep := maxUnitName - len(".service") - len(`\x23`) - 32
		unit = unit[:keep] + `\x23` + hex.EncodeToString(sum[:16])
	}
	return unit + ".service"
}

// serviceOf returns the service whose unit has the given name; ok is false
// when it is not one of the instance, or not to be told from its name.
func serviceOf(instance, unit string) (name string, ok bool) {
	name, ok = strings.CutPrefix(unit, unitPrefix(instance))
	if !ok {
		return "", false
	}
	name, ok = strings.CutSuffix(name, ".service")
	return unescape.Replace(name), ok && name != "" && !strings.Contains(name, `\x23`)
}

package process

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// MarkVariable is the environment variable that carries the mark.
const MarkVariable = "INSTAR_MARK"

// Mark returns the mark of what is called name: base is the state folder, kind
// what it is ("service", "command"). A mark names one thing on this machine as
// long as state folders do.
func Mark(base, kind, instance, name string) string {
	return MarkPrefix(base, kind, instance) + name
}

// MarkPrefix returns what the marks of one kind of one instance begin with.
func MarkPrefix(base, kind, instance string) string {
	sum := sha256.Sum256([]byte(base))
	return strings.Join([]string{hex.EncodeToString(sum[:8]), kind, instance, ""}, ":")
}

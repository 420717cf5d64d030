package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"instar/runtime/secret"
)

// maxInstanceName is how long the name of an instance may be.
const maxInstanceName = 41

// hashLen is how many hexadecimal digits tell names apart that would be alike.
const hashLen = 8

// childNames returns the names that the instance requested by parent as name
// may have, the best first: "parent-name" where that is the name of an instance,
// and one that no other request can have.
func childNames(parent, name string) []string {
	plain := parent + "-" + name
	clean := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-':
			return r
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, plain)
	sum := sha256.Sum256([]byte(parent + "\x00" + name))
	hash := hex.EncodeToString(sum[:])[:hashLen]
	hashed := strings.TrimRight(clean[:min(len(clean), maxInstanceName-hashLen-1)], "-") + "-" + hash
	if clean == plain && len(plain) <= maxInstanceName {
		return []string{plain, hashed}
	}
	return []string{hashed}
}

// secretsIn returns those of secrets that stand somewhere in a JSON value.
func secretsIn(value map[string]any, secrets []string) []string {
	var found []string
	for _, text := range secrets {
		if holds(value, secret.New([]string{text})) {
			found = append(found, text)
		}
	}
	return found
}

func holds(value any, masker *secret.Masker) bool {
	switch v := value.(type) {
	case string:
		return masker.Contains([]byte(v))
	case []any:
		for _, item := range v {
			if holds(item, masker) {
				return true
			}
		}
	case map[string]any:
		for key, item := range v {
			if holds(key, masker) || holds(item, masker) {
				return true
			}
		}
	}
	return false
}

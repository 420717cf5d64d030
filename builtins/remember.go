package builtins

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
)

// remembered is a value that this evaluation asked for.
type remembered struct {
	text string
	args string // what it was asked for with
	at   plan.Pos
}

// ValueKey is the key of a remembered value in a plan and in the inputs.
func ValueKey(kind, name string) string { return kind + "/" + name }

// remember returns the value of a kind and name: the one that was asked for
// before, the one that is remembered, or a new one.
func (c *call) remember(kind, name, args string, isSecret bool, choose func() (string, error)) (string, error) {
	if err := title(name); err != nil {
		return "", err
	}
	key := ValueKey(kind, name)
	at := c.at()
	if old, ok := c.values[key]; ok {
		if old.args != args {
			return "", fmt.Errorf("%q is asked for with %s at %s, and with %s at %s", name, old.args, old.at, args, at)
		}
		return old.text, nil
	}
	value, ok := c.in.Values[key]
	if !ok {
		text, err := choose()
		if err != nil {
			return "", err
		}
		value = plan.Value{Kind: kind, Text: text, Secret: isSecret, New: true}
	}
	c.values[key] = remembered{value.Text, args, at}
	c.plan.Values[key] = value
	if value.Secret {
		c.addSecret(value.Text)
	}
	return value.Text, nil
}

const lettersAndDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// password(name, length=24, alphabet=…)
//
// A secret, chosen once: letters and digits by default.
func password(c *call) (starlark.Value, error) {
	var name string
	length, alphabet := 24, lettersAndDigits
	if err := c.unpack(&name, &length, &alphabet); err != nil {
		return nil, err
	}
	if length < minSecret || length > 1024 {
		return nil, fmt.Errorf("length: want %d to 1024, got %d", minSecret, length)
	}
	runes := []rune(alphabet)
	slices.Sort(runes)
	runes = slices.Compact(runes)
	if len(runes) < 2 || !utf8.ValidString(alphabet) || strings.ContainsFunc(alphabet, unicode.IsControl) {
		return nil, errors.New("alphabet: want at least two different printable characters")
	}
	args := fmt.Sprintf("length %d and %d characters to choose from, %s", length, len(runes), answer([]byte(string(runes)), nil)[:8])
	text, err := c.remember("password", name, args, true, func() (string, error) { return draw(runes, length) })
	return starlark.String(text), err
}

// draw picks length of the characters, each as likely as any.
func draw(from []rune, length int) (string, error) {
	n := big.NewInt(int64(len(from)))
	var b strings.Builder
	for range length {
		i, err := rand.Int(rand.Reader, n)
		if err != nil {
			return "", err
		}
		b.WriteRune(from[i.Int64()])
	}
	return b.String(), nil
}

// random_hex(name, bytes=8)
//
// Hexadecimal digits, two for each byte, chosen once. They are not secret.
func randomHex(c *call) (starlark.Value, error) {
	var name string
	size := 8
	if err := c.unpack(&name, &size); err != nil {
		return nil, err
	}
	if size < 1 || size > 1024 {
		return nil, fmt.Errorf("bytes: want 1 to 1024, got %d", size)
	}
	text, err := c.remember("hex", name, fmt.Sprintf("%d bytes", size), false, func() (string, error) {
		b := make([]byte, size)
		_, err := rand.Read(b)
		return hex.EncodeToString(b), err
	})
	return starlark.String(text), err
}

// uuid(name)
//
// A random UUID (version 4), chosen once.
func uuid(c *call) (starlark.Value, error) {
	var name string
	if err := c.unpack(&name); err != nil {
		return nil, err
	}
	text, err := c.remember("uuid", name, "no arguments", false, func() (string, error) {
		var b [16]byte
		if _, err := rand.Read(b[:]); err != nil {
			return "", err
		}
		b[6] = b[6]&0x0f | 0x40
		b[8] = b[8]&0x3f | 0x80
		return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
	})
	return starlark.String(text), err
}

// free_port(name, host="127.0.0.1", min=10000, max=32767)
//
// A TCP port, chosen once. What is tried follows from the instance and the
// name, so that it is the same again wherever it is free.
func freePort(c *call) (starlark.Value, error) {
	var name string
	host, low, high := "127.0.0.1", 10000, 32767
	if err := c.unpack(&name, &host, &low, &high); err != nil {
		return nil, err
	}
	if net.ParseIP(host) == nil && host != "localhost" {
		return nil, fmt.Errorf("host: want an IP address, got %q", shorten(host))
	}
	if low < 1 || high > 65535 || low > high {
		return nil, fmt.Errorf("want 1 <= min <= max <= 65535, got min %d, max %d", low, high)
	}
	args := fmt.Sprintf("host %q, min %d, max %d", host, low, high)
	text, err := c.remember("port", name, args, false, func() (string, error) {
		return c.choosePort(name, host, low, high)
	})
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("the remembered port %q is no number", text)
	}
	c.taken()[port] = true
	return starlark.MakeInt(port), nil
}

// taken returns the ports that no new one may be.
func (s *Session) taken() map[int]bool {
	if s.ports == nil {
		s.ports = map[int]bool{}
		for _, port := range s.in.HeldPorts {
			s.ports[port] = true
		}
		for _, value := range s.in.Values {
			if port, err := strconv.Atoi(value.Text); err == nil && value.Kind == "port" {
				s.ports[port] = true
			}
		}
	}
	return s.ports
}

// maxTries bounds the ports that are tried before the range is searched from
// its beginning.
const maxTries = 1000

func (c *call) choosePort(name, host string, low, high int) (string, error) {
	try := func(port int) (bool, error) {
		if c.taken()[port] {
			return false, nil
		}
		free, err := c.host.PortFree(host, port)
		if err != nil {
			return false, fmt.Errorf("cannot try port %d of %s: %w", port, host, err)
		}
		return free, nil
	}
	for i := range maxTries {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", c.in.Instance.Name, name, i))
		port := low + int(binary.BigEndian.Uint32(sum[:])%uint32(high-low+1))
		if ok, err := try(port); ok || err != nil {
			return strconv.Itoa(port), err
		}
	}
	for port := low; port <= high; port++ {
		if ok, err := try(port); ok || err != nil {
			return strconv.Itoa(port), err
		}
	}
	return "", fmt.Errorf("no port of %s is free from %d to %d", host, low, high)
}

// secret(text)
//
// Marks text as a secret, which is masked wherever it is shown, and returns
// it.
func secretText(c *call) (starlark.Value, error) {
	var text string
	if err := c.unpack(&text); err != nil {
		return nil, err
	}
	if text == "" {
		return starlark.String(""), nil
	}
	if utf8.RuneCountInString(text) < minSecret {
		return nil, fmt.Errorf("a secret must have at least %d characters", minSecret)
	}
	c.addSecret(text)
	return starlark.String(text), nil
}

func (s *Session) addSecret(text string) {
	if !slices.Contains(s.plan.Secrets, text) {
		s.plan.Secrets = append(s.plan.Secrets, text)
	}
}

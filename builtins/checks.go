package builtins

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	gopath "path"
	"strings"
	"unicode/utf8"

	"go.starlark.net/starlark"

	"instar/runtime/plan"
)

// check.tcp(host, port)
//
// Something accepts connections on a TCP port.
func checkTCP(c *call) (starlark.Value, error) {
	k := plan.Check{Kind: "tcp"}
	if err := c.unpack(&k.Host, &k.Port); err != nil {
		return nil, err
	}
	if k.Host == "" || strings.ContainsAny(k.Host, " /\x00[]") || strings.Contains(k.Host, ":") && net.ParseIP(zoneless(k.Host)) == nil {
		return nil, fmt.Errorf("host: %q is neither a name nor an address", shorten(k.Host))
	}
	if k.Port < 1 || k.Port > 65535 {
		return nil, fmt.Errorf("port: want 1 to 65535, got %d", k.Port)
	}
	return &checkValue{k}, nil
}

func zoneless(address string) string {
	address, _, _ = strings.Cut(address, "%")
	return address
}

// check.socket(path)
//
// Something accepts connections on a unix socket.
func checkSocket(c *call) (starlark.Value, error) {
	var path starlark.Value
	if err := c.unpack(&path); err != nil {
		return nil, err
	}
	abs, err := c.somewhere(path)
	return &checkValue{plan.Check{Kind: "socket", Path: abs}}, err
}

// check.http(url, status=200, contains=None, ca=None, verify=True, user=None, password=None)
//
// A URL answers with the given status, and with a text that contains another.
func checkHTTP(c *call) (starlark.Value, error) {
	k := plan.Check{Kind: "http", Status: 200}
	var contains, ca starlark.Value
	verify := true
	if err := c.unpack(&k.URL, &k.Status, &contains, &ca, &verify, &k.User, &k.Password); err != nil {
		return nil, err
	}
	k.Insecure = !verify
	u, err := url.Parse(k.URL)
	switch {
	case err != nil:
		return nil, errors.New("url: is not a URL")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New("url: want http://HOST/… or https://HOST/…")
	case u.User != nil:
		return nil, hinted("use user and password", "url: cannot hold a user")
	case k.Status < 100 || k.Status > 599:
		return nil, fmt.Errorf("status: want 100 to 599, got %d", k.Status)
	case k.Password != "" && k.User == "":
		return nil, errors.New("password: needs user")
	}
	if k.Contains, err = optionalText(contains); err != nil {
		return nil, prefixed("contains", err)
	}
	if ca != nil {
		if k.CA, err = c.somewhere(ca); err != nil {
			return nil, prefixed("ca", err)
		}
	}
	return &checkValue{k}, nil
}

// optionalText takes text or None.
func optionalText(v starlark.Value) (*string, error) {
	if v == nil {
		return nil, nil
	}
	text, ok := asText(v)
	if !ok {
		return nil, want("text", v)
	}
	if !utf8.ValidString(text) {
		return nil, errors.New("is not UTF-8")
	}
	return &text, nil
}

// check.command(command, env={})
//
// A command, run as the instance's user, ends with 0.
func checkCommand(c *call) (starlark.Value, error) {
	var command, env starlark.Value
	if err := c.unpack(&command, &env); err != nil {
		return nil, err
	}
	id, _, err := c.identity(nil)
	if err != nil {
		return nil, err
	}
	exec := &plan.Exec{Identity: id, Dir: c.root.dir}
	if exec.Argv, err = c.command(command); err != nil {
		return nil, prefixed("command", err)
	}
	if exec.Env, err = c.env(env, false); err != nil {
		return nil, err
	}
	for _, text := range append(exec.Argv[:len(exec.Argv):len(exec.Argv)], exec.Env...) {
		if !utf8.ValidString(text) {
			return nil, errors.New("arguments and environment must be UTF-8")
		}
	}
	return &checkValue{plan.Check{Kind: "command", Exec: exec}}, nil
}

// check.file(path, contains=None, empty=None, max_age=None)
//
// A file is there, and as it should be. Of several that a glob names, the
// newest counts.
func checkFile(c *call) (starlark.Value, error) {
	k := plan.Check{Kind: "file"}
	var path, contains, empty starlark.Value
	if err := c.unpack(&path, &contains, &empty, &k.MaxAge); err != nil {
		return nil, err
	}
	var err error
	if k.Path, err = c.somewhere(path); err != nil {
		return nil, err
	}
	if _, err := gopath.Match(k.Path, ""); err != nil {
		return nil, fmt.Errorf("path: %q is no pattern: %w", shorten(k.Path), err)
	}
	if k.Contains, err = optionalText(contains); err != nil {
		return nil, prefixed("contains", err)
	}
	if empty != nil {
		k.Empty = new(bool)
		if err := assign(empty, k.Empty); err != nil {
			return nil, prefixed("empty", err)
		}
	}
	if k.Contains != nil && k.Empty != nil && *k.Empty {
		return nil, errors.New("an empty file contains nothing: want contains or empty, not both")
	}
	return &checkValue{k}, nil
}

// check.certificate(path, days=14)
//
// A certificate in PEM is valid now, and for so many days to come.
func checkCertificate(c *call) (starlark.Value, error) {
	k := plan.Check{Kind: "certificate", Days: 14}
	var path starlark.Value
	if err := c.unpack(&path, &k.Days); err != nil {
		return nil, err
	}
	if k.Days < 0 || k.Days > 36500 {
		return nil, fmt.Errorf("days: want 0 to 36500, got %d", k.Days)
	}
	var err error
	k.Path, err = c.somewhere(path)
	return &checkValue{k}, err
}

// check.disk(path, min_free)
//
// The disk that a path is on has so many bytes free.
func checkDisk(c *call) (starlark.Value, error) {
	k := plan.Check{Kind: "disk"}
	var path starlark.Value
	if err := c.unpack(&path, &k.MinFree); err != nil {
		return nil, err
	}
	if k.MinFree < 1 {
		return nil, fmt.Errorf("min_free: want bytes, 1 or more, got %d", k.MinFree)
	}
	if text, _ := asText(path); text == c.root.dir {
		k.Path = text
		return &checkValue{k}, nil
	}
	var err error
	k.Path, err = c.somewhere(path)
	return &checkValue{k}, err
}

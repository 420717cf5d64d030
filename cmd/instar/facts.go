package main

import (
	"fmt"
	"net"
	"os"
	"runtime"

	"instar/builtins"
	"instar/runtime/service/native"
)

// facts are what profiles are told about this machine.
func facts(manager string) (builtins.Node, error) {
	name, err := os.Hostname()
	if err != nil {
		return builtins.Node{}, fmt.Errorf("cannot find out the name of this machine: %w", err)
	}
	if manager == "" {
		manager = native.Detect()
	}
	n := builtins.Node{
		Name: name, OS: runtime.GOOS, Arch: runtime.GOARCH,
		CPUs: runtime.NumCPU(), Memory: memory(), Manager: manager,
	}
	n.IPv4, n.IPv6 = addresses()
	return n, nil
}

// addresses returns the first global address of each kind, or "".
func addresses() (v4, v6 string) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return "", "" // a machine without a network
	}
	for _, a := range all {
		ip, ok := a.(*net.IPNet)
		if !ok || !ip.IP.IsGlobalUnicast() {
			continue
		}
		switch {
		case ip.IP.To4() != nil && v4 == "":
			v4 = ip.IP.String()
		case ip.IP.To4() == nil && v6 == "":
			v6 = ip.IP.String()
		}
	}
	return v4, v6
}

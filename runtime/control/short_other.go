//go:build !linux

package control

import "errors"

func throughFolder(string) (string, func(), error) {
	return "", nil, errors.New("this system has no short name for a folder")
}

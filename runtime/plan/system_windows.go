package plan

import "os"

// UnixModes says whether files here have the twelve permission bits. They do
// not: a new object has the rights of the folder that it is made in, modes are
// not compared, and what a program is its name says.
const UnixModes = false

// DefaultPath is the PATH that every process of an instance gets, and where a
// command that the release does not have is sought.
const DefaultPath = `C:\Windows\System32;C:\Windows`

// ProgramSuffixes are what a program's name may lack where it is sought.
var ProgramSuffixes = []string{"", ".exe", ".cmd", ".bat"}

// Environ returns the environment every process of an instance starts from,
// and without which few programs of this system begin. Home is the instance's
// root.
func (id Identity) Environ() []string {
	root := os.Getenv("SystemRoot")
	if root == "" {
		root = `C:\Windows`
	}
	return []string{
		"PATH=" + DefaultPath,
		"USERPROFILE=" + id.Home,
		"USERNAME=" + id.User,
		"SystemRoot=" + root,
		"TEMP=" + root + `\Temp`,
	}
}

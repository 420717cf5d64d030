//go:build !windows

package plan

// UnixModes says whether files here have the twelve permission bits.
const UnixModes = true

// DefaultPath is the PATH that every process of an instance gets, and where a
// command that the release does not have is sought.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// ProgramSuffixes are what a program's name may lack where it is sought.
var ProgramSuffixes = []string{""}

// Environ returns the environment every process of an instance starts from.
// Home is the instance's root.
func (id Identity) Environ() []string {
	return []string{
		"PATH=" + DefaultPath,
		"HOME=" + id.Home,
		"USER=" + id.User,
		"LOGNAME=" + id.User,
		"LANG=C.UTF-8",
	}
}

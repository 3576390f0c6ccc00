package testbed

import (
	"os"
	"strings"
)

// permissionHint says what this machine must permit for namespaces to work, naming the settings that forbid it.
func permissionHint() string {
	settings := []struct{ file, forbids, remedy string }{
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
			"sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
		{"/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"},
	}
	hint := strings.Builder{}
	hint.WriteString("\nThe test bed needs user, network, pid and mount namespaces of its own.")
	for _, s := range settings {
		value, err := os.ReadFile(s.file)
		if err == nil && strings.TrimSpace(string(value)) == s.forbids {
			hint.WriteString("\nThis machine forbids them; as root: " + s.remedy)
		}
	}
	hint.WriteString("\nIn a container they need --privileged, or --security-opt seccomp=unconfined" +
		" --security-opt apparmor=unconfined.")
	return hint.String()
}

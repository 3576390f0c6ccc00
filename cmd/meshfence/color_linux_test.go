package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo terminal: what is written to the one end is read at the other.
func terminal(t *testing.T) (screen, end *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	end, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end.Close() })
	return screen, end
}

// Text is in colour on a terminal alone, and not where NO_COLOR is set.
func TestColor(t *testing.T) {
	config := write(t, t.TempDir(), "fenceconfig.yaml", fenceConfig)
	for name, test := range map[string]struct {
		noColor string
		want    bool
	}{"terminal": {"", true}, "NO_COLOR": {"1", false}} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("NO_COLOR", test.noColor)
			t.Setenv("TERM", "xterm")
			screen, end := terminal(t)
			command := newCommand()
			command.SetArgs([]string{"check", "-f", "-", "--config", config})
			command.SetIn(strings.NewReader(fencedService + "---\n" + leakyRule))
			command.SetOut(end)
			command.SetErr(os.Stderr)
			if code := run(t.Context(), command); code != exitDenied {
				t.Errorf("exit code %d, want %d", code, exitDenied)
			}
			seen := make([]byte, 4096)
			n, err := screen.Read(seen)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(string(seen[:n]), "\x1b[1;31mdeny\x1b[0m: DestinationRule"); got != test.want {
				t.Errorf("in colour: %v, want %v: %q", got, test.want, seen[:n])
			}
		})
	}
}

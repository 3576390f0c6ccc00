package main

import (
	"io"
	"os"

	"golang.org/x/term"
)

// The colours of text, as a terminal takes them.
const (
	bold   = "1"
	red    = "1;31"
	yellow = "1;33"
)

// paintFor returns what gives text a colour for a writer: nothing where that is no terminal, or where the user wants
// none (https://no-color.org).
func paintFor(out io.Writer) func(color, text string) string {
	file, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return func(_, text string) string { return text }
	}
	return func(color, text string) string { return "\x1b[" + color + "m" + text + "\x1b[0m" }
}

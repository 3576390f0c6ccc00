package main

import (
	"context"
	"log/slog"

	"github.com/meshfence/meshfence/cluster"
)

// triedAgain are the errors that client-go logs at every try of what it goes on trying: of leader election
// (tools/leaderelection/leaderelection.go), and of informers that take no handler of ours (DefaultWatchErrorHandler in
// tools/cache/reflector.go).
func triedAgain(message string) bool {
	switch message {
	case "Error retrieving lease lock", "Error initially creating lease lock", "Failed to update lock", "Failed to update lease", "Failed to watch":
		return true
	}
	return false
}

// patience is a handler by which what is tried again is an error only once it has kept failing, and is told at its first failure,
// as no error.
type patience struct {
	slog.Handler

	failures *cluster.Failures
}

// Handle passes what is no such error on as it is.
func (p patience) Handle(ctx context.Context, r slog.Record) error {
	if r.Level != slog.LevelError || !triedAgain(r.Message) {
		return p.Handler.Handle(ctx, r)
	}
	what := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "type" { // of the objects that an informer watches
			what += " " + a.Value.String()
		}
		return true
	})
	begins, lasts, _ := p.failures.Failed(what)
	switch {
	case lasts:
		return p.Handler.Handle(ctx, r)
	case !begins || !p.Enabled(ctx, slog.LevelInfo):
		return nil
	}
	told := slog.NewRecord(r.Time, slog.LevelInfo, r.Message+", trying again", r.PC)
	r.Attrs(func(a slog.Attr) bool {
		told.AddAttrs(a)
		return true
	})
	return p.Handler.Handle(ctx, told)
}

// WithAttrs and WithGroup keep the patience.
func (p patience) WithAttrs(attrs []slog.Attr) slog.Handler {
	return patience{p.Handler.WithAttrs(attrs), p.failures}
}

func (p patience) WithGroup(name string) slog.Handler {
	return patience{p.Handler.WithGroup(name), p.failures}
}

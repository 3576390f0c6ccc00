package webhook

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

// quiet is how long no line of a level follows another one.
const quiet = time.Minute

// connectionLog is where http.Server writes of connections that come to nothing. Whoever knocks with garbage writes no more
// than a line a minute.
type connectionLog struct {
	log *slog.Logger

	mu   sync.Mutex
	last map[slog.Level]time.Time
	more map[slog.Level]int
}

// NewConnectionLog returns where a server that speaks TLS writes of its connections.
func NewConnectionLog(log logr.Logger) io.Writer {
	return &connectionLog{log: slog.New(logr.ToSlogHandler(log)), last: map[slog.Level]time.Time{}, more: map[slog.Level]int{}}
}

// Write logs a line, or counts it with the next one.
func (c *connectionLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	level := connectionLevel(text)
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); level == slog.LevelError || now.Sub(c.last[level]) >= quiet {
		c.log.Log(context.Background(), level, text, "more", c.more[level])
		c.last[level], c.more[level] = now, 0
	} else {
		c.more[level]++
	}
	return len(line), nil
}

// connectionLevel is how much a line matters. A client that hangs up because of the certificate, or has none that counts, may
// be the API server; who says nothing checks whether the port is open, as readiness does before there is a certificate.
func connectionLevel(text string) slog.Level {
	switch {
	case strings.HasPrefix(text, "http: panic serving"):
		return slog.LevelError
	case strings.Contains(text, "remote error: tls: "), strings.HasSuffix(text, "client didn't provide a certificate"),
		strings.Contains(text, "tls: failed to verify certificate"), strings.Contains(text, nameRefused):
		return slog.LevelWarn
	case strings.HasSuffix(text, ": EOF"), strings.HasSuffix(text, "no tls.Certificate available"), strings.HasSuffix(text, "connection reset by peer"):
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

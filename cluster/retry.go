package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
)

// The shortest and the longest pause before something that the API server refused is tried again.
const (
	retryFirst = time.Second
	retryMax   = 15 * time.Second
)

// Retry tries until it succeeds, and logs every other reason why it does not. The error is the last one, when the
// context ends.
func Retry(ctx context.Context, log logr.Logger, what string, try func() error) error {
	logged := ""
	for pause := retryFirst; ; pause = min(2*pause, retryMax) {
		err := try()
		if err == nil {
			return nil
		}
		if text := err.Error(); text != logged {
			log.Info("trying again until it succeeds", "what", what, "reason", text)
			logged = text
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		case <-time.After(pause):
		}
	}
}

package gossip

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// logBridge turns memberlist's lines into slog records. What memberlist says
// for each packet or probe becomes Debug; a change of state stays Info; what a
// person should know of is Warn, once in warnEvery for each kind.
type logBridge struct {
	log *slog.Logger

	mu     sync.Mutex // guards warned
	warned map[string]time.Time
}

const warnEvery = 10 * time.Second

func newLogBridge(log *slog.Logger) *logBridge {
	return &logBridge{log: log, warned: map[string]time.Time{}}
}

// told says at which level lines that contain a text are logged; any other is
// Debug. Each text stands for a kind of trouble.
var told = [...]struct {
	text  string
	level slog.Level
}{
	{"has failed, no acks received", slog.LevelDebug},
	{"as failed, suspect timeout reached", slog.LevelInfo},
	{"Updating address for", slog.LevelInfo},
	{"is an earlier start of", slog.LevelDebug},
	{"is used twice", slog.LevelError},
	{"ignoring alive message", slog.LevelWarn},
	{"Decrypt packet failed", slog.LevelWarn},
	{"could decrypt", slog.LevelWarn},
	{"unacceptable label", slog.LevelWarn},
	{"Conflicting address", slog.LevelWarn},
	{"UDP probes failed", slog.LevelWarn},
	{"Too many pending push/pull", slog.LevelWarn},
}

// Write takes one line "[LEVEL] memberlist: text". It never fails.
func (b *logBridge) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	if _, rest, ok := strings.Cut(text, "] "); ok && strings.HasPrefix(text, "[") {
		text = rest
	}
	text = strings.TrimPrefix(text, "memberlist: ")
	level := slog.LevelDebug
	for _, t := range told {
		if strings.Contains(text, t.text) {
			if level = t.level; level >= slog.LevelWarn && b.repeated(t.text) {
				level = slog.LevelDebug
			}
			break
		}
	}
	b.log.Log(context.Background(), level, "gossip: "+text)
	return len(line), nil
}

// repeated reports whether a kind of trouble was told of a moment ago.
func (b *logBridge) repeated(kind string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.warned[kind]) < warnEvery {
		return true
	}
	b.warned[kind] = time.Now()
	return false
}

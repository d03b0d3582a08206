package multiraft

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// logBridge turns Raft's lines into slog records. Raft has an Error for each
// request that fails, of each group: a change of state stays Info; a complaint
// becomes Warn, once in warnEvery for each kind and all groups, with how many
// were left out; all else is Debug.
type logBridge struct {
	log *slog.Logger

	mu     sync.Mutex // guards warned
	warned map[string]*complaint
}

// complaint is one kind of trouble.
type complaint struct {
	told    time.Time
	leftOut int
}

const (
	warnEvery = 10 * time.Second
	warnKinds = 256 // kinds that are told apart
)

func newLogBridge(log *slog.Logger) *logBridge {
	return &logBridge{log: log, warned: map[string]*complaint{}}
}

// warn logs a kind of trouble, if it was not told of a moment ago.
func (b *logBridge) warn(msg string, args ...any) {
	b.mu.Lock()
	c := b.warned[msg]
	if c == nil {
		if len(b.warned) >= warnKinds {
			clear(b.warned)
		}
		c = &complaint{}
		b.warned[msg] = c
	}
	if time.Since(c.told) < warnEvery {
		c.leftOut++
		b.mu.Unlock()
		return
	}
	leftOut := c.leftOut
	c.told, c.leftOut = time.Now(), 0
	b.mu.Unlock()
	if leftOut > 0 {
		args = append(args, "left out", leftOut)
	}
	b.log.Warn(msg, args...)
}

// named is Raft's logger of one group.
func (b *logBridge) named(group string) hclog.Logger {
	return &raftLogger{bridge: b, group: group}
}

// raftLogger is the hclog.Logger that Raft asks for.
type raftLogger struct {
	bridge *logBridge
	group  string
	with   []any
}

// told are Raft's lines that report a change of state.
var told = map[string]bool{
	"entering leader state":                      true,
	"election won":                               true,
	"Installed remote snapshot":                  true,
	"removed ourself, transitioning to follower": true,
}

func (l *raftLogger) Log(level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	switch {
	case level >= hclog.Warn:
		to = slog.LevelWarn
	case told[msg]:
		to = slog.LevelInfo
	}
	if !l.bridge.log.Enabled(context.Background(), to) {
		return
	}
	list := make([]any, 0, 2+len(l.with)+len(args))
	list = append(append(append(list, "group", l.group), l.with...), args...)
	for i, a := range list {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			list[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
	}
	if to == slog.LevelWarn {
		l.bridge.warn("raft: "+msg, list...)
		return
	}
	l.bridge.log.Log(context.Background(), to, "raft: "+msg, list...)
}

func (l *raftLogger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *raftLogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *raftLogger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *raftLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *raftLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *raftLogger) IsTrace() bool { return l.IsDebug() }
func (l *raftLogger) IsDebug() bool { return l.enabled(slog.LevelDebug) }
func (l *raftLogger) IsInfo() bool  { return l.enabled(slog.LevelInfo) }
func (l *raftLogger) IsWarn() bool  { return l.enabled(slog.LevelWarn) }
func (l *raftLogger) IsError() bool { return l.enabled(slog.LevelWarn) }

func (l *raftLogger) enabled(level slog.Level) bool {
	return l.bridge.log.Enabled(context.Background(), level)
}

func (l *raftLogger) With(args ...any) hclog.Logger {
	with := make([]any, 0, len(l.with)+len(args))
	return &raftLogger{l.bridge, l.group, append(append(with, l.with...), args...)}
}

func (l *raftLogger) ImpliedArgs() []any             { return l.with }
func (l *raftLogger) Name() string                   { return "raft" }
func (l *raftLogger) Named(string) hclog.Logger      { return l }
func (l *raftLogger) ResetNamed(string) hclog.Logger { return l }
func (l *raftLogger) SetLevel(hclog.Level)           {}
func (l *raftLogger) GetLevel() hclog.Level          { return hclog.NoLevel }

func (l *raftLogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return slog.NewLogLogger(l.bridge.log.Handler(), slog.LevelDebug)
}

func (l *raftLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return l.StandardLogger(nil).Writer()
}
